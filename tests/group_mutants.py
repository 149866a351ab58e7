"""Seeded mistakes: the kernels that place by groups, with one passage replaced, run as plain Python."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

KERNELS = "k8slab.kernels"
# From the innermost on: each takes the names of those before it.
FILES = ("forest", "marks", "candidates")


class Mutant(NamedTuple):
    """A mistake: in `file`, `right` is replaced by `wrong`."""

    name: str
    file: str
    right: str
    wrong: str


MUTANTS = [
    Mutant("the last of equals", "candidates", "lowest = min(lowest, descend(", "lowest = max(0, descend("),
    Mutant("a cell's nodes are left out of the choice", "candidates", "if in_cell else 0):", "if False else 0):"),
    Mutant("each marked node is barred", "marks", "if _is_barred(node, kin, marks, load, relations):", "if True:"),
    Mutant("a mark isn't carried up", "marks", "if carried and fitted:", "if False:"),
    Mutant("a marked node still counts", "marks", "forest.fits[group, c] -= np.int32(fitted)", "pass"),
    Mutant("the lowest amount stays", "marks", "if marks.counters[counter, LOWEST_AT] == 0:", "if False:"),
    Mutant("skew is one too much", "candidates", "high = rows[j, 2] + (", "high = 1 + rows[j, 2] + ("),
    Mutant("none may be the first", "candidates", "(rows[j, 2] == 0) | (load", "(rows[j, 2] >= 0) | (load"),
    Mutant("groups count as nodes", "candidates", "nodes += scratch.candidates[COUNT, i] if", "nodes += 1 if"),
    Mutant("company counts for nothing", "candidates", "if most > least:", "if most >= least + 1e9:"),
    Mutant("entries keep their scores", "marks", "= value[marks.classes[j, CLASS]]", "+= 0"),
    Mutant("ports that are taken are free", "forest", "if load.ports[relations.rows[j, 0], node]:", "if False:"),
]  # fmt: skip


def planted(mutant: Mutant) -> Any:
    """A function in place of `place_by_groups`, with the mistake: plain Python, as a compilation takes 20 s."""
    package = import_module(KERNELS)
    names: dict[str, dict[str, Any]] = {}
    for name in FILES:
        source = (Path(str(package.__file__)).parent / f"{name}.py").read_text(encoding="utf-8")
        if name == mutant.file:
            assert source.count(mutant.right) >= 1, f"{mutant.name}: nothing to replace in {name}.py"
            source = source.replace(mutant.right, mutant.wrong)
        source = source.replace("from k8slab.kernels._jit import", "from tests.group_mutants import")
        space: dict[str, Any] = {"__name__": f"{KERNELS}.{name}"}
        exec(compile(source, f"{name}.py", "exec"), space)
        for key, value in list(space.items()):
            # What it imports from the others comes from their copies; each has names of its own as well.
            home = str(getattr(value, "__module__", "")).removeprefix(f"{KERNELS}.")
            space[key] = names[home][key] if home in names else value
        names[name] = space
    return names["candidates"]["place_by_groups"]


def kernel(function: Any) -> Any:
    """Compiles nothing."""
    return function


borrowing_kernel = kernel
