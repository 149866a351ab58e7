"""Who may import whom: the table of the design, read from the source of every module.

Three places of an import are told apart: at module level, inside a function (loaded when
called), and under `if TYPE_CHECKING` (never loaded, so it costs nothing and binds nothing).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

import k8slab

PACKAGE = Path(k8slab.__file__).parent
ROOT = PACKAGE.parent

# Layer -> the layers that it may import. Every layer may import errors and units.
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "units": set(),
    "kernels": set(),
    "domain": set(),
    "state": {"domain", "kernels"},
    "policies": {"domain", "kernels"},
    "application": {"domain", "policies", "kernels"},
    "infrastructure": {"domain", "state"},
    "datasets": {"domain", "state"},
    "facade": {"domain", "kernels", "state", "policies", "application", "infrastructure", "datasets"},
}
# "__init__" is the package itself, for its version.
LAYERS["simulation"] = {*LAYERS["facade"]}
LAYERS["analysis"] = {*LAYERS["simulation"], "simulation", "__init__"}
LAYERS["experiments"] = {*LAYERS["analysis"], "analysis"}
EVERYTHING = {"cli", "cli_raft", "cli_reproduce", "cli_simulate", "raft", "__init__", "__main__"}
FREE_FOR_ALL = {"errors", "units"}
# A plot knows the result that it draws: when called, or for the type checker.
WHEN_CALLED = {("analysis", "experiments"), ("simulation", "analysis")}

# Layer -> third-party packages that may be loaded with the module. numpy always may.
THIRD_PARTY: dict[str, set[str]] = {
    "kernels": {"numba", "llvmlite"},  # numba's own back end, where LLVM finds no SIMD by itself
    "experiments": {"pandas", "scipy", "matplotlib", "rich"},
    "analysis": {"pandas", "scipy", "matplotlib", "jinja2"},
    "cli": {"typer", "rich"},
    "cli_raft": {"typer", "rich"},
    "cli_reproduce": {"typer", "rich"},
    "cli_simulate": {"typer", "rich"},
}
# Third-party packages that any layer but the pure ones may load inside a function.
WITHIN_FUNCTIONS = {"numba", "pandas", "scipy", "matplotlib", "rich", "IPython"}
PURE = {"kernels", "domain"}
# Extras: pip install k8slab does not bring them. Only where called, never in the core or the facade. (policies:
# a profile may be written in YAML.)
EXTRAS = {"pyarrow", "yaml", "ipywidgets"}
EXTRAS_IN = {"infrastructure", "datasets", "policies", "experiments", "analysis", "cli"}

CLOCKS = {"infrastructure/clocks.py"}
DEFAULT_FACTORIES = {"domain/models.py"}
# These measure how long work took and know no date; nothing is decided by them, so results stay a
# function of their seed.
STOPWATCHES = {"time.perf_counter", "time.monotonic"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where it stands."""

    file: str
    line: int
    module: str
    place: str  # "module", "function" or "types"

    @property
    def layer(self) -> str:
        return layer_of_file(self.file)

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    @property
    def ours(self) -> str | None:
        """The layer of ours that is imported, if any."""
        parts = self.module.split(".")
        return (parts[1] if len(parts) > 1 else "__init__") if parts[0] == "k8slab" else None

    def __str__(self) -> str:
        return f"k8slab/{self.file}:{self.line} imports {self.module} ({self.place} level)"


def layer_of_file(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def sources() -> list[tuple[str, ast.Module]]:
    files = sorted(PACKAGE.rglob("*.py"))
    return [(f.relative_to(PACKAGE).as_posix(), ast.parse(f.read_text(encoding="utf-8"))) for f in files]


def imports(file: str, tree: ast.Module) -> Iterator[Import]:
    yield from _imports(file, tree.body, "module")


def _imports(file: str, body: list[ast.stmt], place: str) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name, place) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(file, node.lineno, name, place) for name in imported_from(file, node))
        else:
            inner = "function" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else place
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                inner = "types"
            for field in ("body", "handlers", "orelse", "finalbody"):
                children = getattr(node, field, [])
                if isinstance(children, list):
                    yield from _imports(file, children, inner)


def imported_from(file: str, node: ast.ImportFrom) -> list[str]:
    """`from k8slab import x` and `from . import x` name x; `from k8slab.a import x` names k8slab.a."""
    package = ["k8slab", *file.split("/")[:-1]]
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    if module != "k8slab":
        return [module]
    return [f"k8slab.{a.name}" if is_module(a.name) else "k8slab" for a in node.names]


def is_module(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


IMPORTS = [found for file, tree in sources() for found in imports(file, tree)]


def told(wrong: list[Import]) -> str:
    return "\n".join(map(str, wrong))


def test_the_reader_of_imports_sees_them_all():
    text = """
import os, k8slab.state
from typing import TYPE_CHECKING
from k8slab import units
from . import plugins
if TYPE_CHECKING:
    import pandas
class C:
    def f(self):
        try:
            from ..domain.columns import Codes
        except ImportError:
            import yaml
"""
    found = [(i.module, i.place) for i in imports("policies/x.py", ast.parse(text))]
    assert found == [
        ("os", "module"), ("k8slab.state", "module"), ("typing", "module"), ("k8slab.units", "module"),
        ("k8slab.policies", "module"), ("pandas", "types"), ("k8slab.domain.columns", "function"), ("yaml", "function"),
    ]  # fmt: skip


def test_every_module_belongs_to_a_layer():
    unknown = {layer_of_file(file) for file, _ in sources()} - LAYERS.keys() - EVERYTHING
    assert not unknown, f"no rule says what these may import: {sorted(unknown)}"


def test_layers_import_only_what_lies_below_them():
    def allowed(found: Import) -> bool:
        if found.ours is None or found.layer in EVERYTHING:
            return True
        if found.ours in FREE_FOR_ALL | {found.layer} | LAYERS[found.layer]:
            return True
        return found.place != "module" and (found.layer, found.ours) in WHEN_CALLED

    wrong = [found for found in IMPORTS if not allowed(found)]
    assert not wrong, told(wrong)


def test_third_party_packages_are_loaded_only_where_the_design_says():
    def allowed(found: Import) -> bool:
        if found.ours is not None or found.top in sys.stdlib_module_names | {"numpy"} or found.place == "types":
            return True
        if found.top in EXTRAS:
            return found.place == "function" and found.layer in EXTRAS_IN
        if found.top in THIRD_PARTY.get(found.layer, set()):
            return True
        return found.place == "function" and found.top in WITHIN_FUNCTIONS and found.layer not in PURE

    wrong = [found for found in IMPORTS if not allowed(found)]
    assert not wrong, told(wrong)


def test_only_clocks_know_the_time():
    wrong = []
    for file, tree in sources():
        if file in CLOCKS:
            continue
        for node in ast.walk(tree):
            what = forbidden_source_of_chance(node)
            if what and not (file in DEFAULT_FACTORIES and what == "datetime.now"):
                wrong.append(f"k8slab/{file}:{node.lineno} uses {what}")
    assert not wrong, "\n".join(wrong)


def forbidden_source_of_chance(node: ast.AST) -> str | None:
    """What of the outside world a piece of code asks: the time, or dice without a seed."""
    if isinstance(node, ast.Import):
        return next((a.name for a in node.names if a.name in ("random", "secrets")), None)
    if isinstance(node, ast.ImportFrom) and node.module in ("random", "secrets", "time"):
        names = [f"{node.module}.{a.name}" for a in node.names]
        return next((name for name in names if name not in STOPWATCHES), None)
    if isinstance(node, ast.Attribute):
        text = ast.unparse(node)
        if text.startswith("time.") and text not in STOPWATCHES:
            return text
        if text.split(".")[-2:] in (["datetime", "now"], ["datetime", "utcnow"], ["date", "today"]):
            return "datetime.now"
        if ast.unparse(node.value) in ("np.random", "numpy.random") and node.attr[0].islower():
            return None if node.attr == "default_rng" else text  # np.random.shuffle and its like: one global state
    seedless = isinstance(node, ast.Call) and not node.args and not node.keywords
    if seedless and ast.unparse(node.func).endswith("default_rng"):
        return "default_rng() without a seed"
    return None


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import random", "random"),
        ("from time import time", "time.time"),
        ("from time import perf_counter", None),
        ("time.perf_counter()", None),
        ("time.sleep(1)", "time.sleep"),
        ("datetime.datetime.now(UTC)", "datetime.now"),
        ("datetime.now", "datetime.now"),
        ("np.random.shuffle(x)", "np.random.shuffle"),
        ("np.random.default_rng(seed).choice(x)", None),
        ("np.random.default_rng()", "default_rng() without a seed"),
        ("self.clock.now()", None),
    ],
)
def test_the_reader_of_clocks_and_dice_sees_them(code, what):
    found = [forbidden_source_of_chance(node) for node in ast.walk(ast.parse(code))]
    assert next(filter(None, found), None) == what


def test_nothing_prints_but_the_command_the_progress_bar_and_who_tells_of_compiling():
    allowed = ("experiments/progress.py", "kernels/_compiling.py")
    wrong = [
        f"k8slab/{file}:{node.lineno}"
        for file, tree in sources()
        if not layer_of_file(file).startswith("cli") and file not in allowed
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert not wrong, wrong


# -- the public face -------------------------------------------------------------


def python(code: str) -> str:
    """What a new interpreter prints when it runs this."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


HEAVY = ("numba", "pandas", "matplotlib", "scipy", "typer", "rich", "jinja2")
LOADED = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
PUBLIC = [
    "AutoScalingConfig", "Backtest", "Cluster", "ClusterState", "Comparison", "ConsensusRole", "DefaultPreemption",
    "KubernetesOrchestrator", "Node", "NodeState", "Placement", "Pod", "PodPhase", "Policy", "RaftLab", "RaftState",
    "ResourceSchema", "ScalingDirection", "SelfHealingEvent", "Simulation", "WhatIf", "Workload", "__version__",
    "array", "backtest", "check_linearizable", "compare", "datasets", "errors", "filter_plugin",
    "get_kubernetes_orchestrator", "kernel", "label", "policy", "policy_from_configuration", "policy_names", "raft",
    "removable_nodes", "rerun", "schedule", "score_plugin", "simulation", "taint", "what_if",
]  # fmt: skip


def test_the_public_names():
    assert sorted(k8slab.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(k8slab, name) is not None
    assert set(PUBLIC) <= set(dir(k8slab))
    with pytest.raises(AttributeError, match="no attribute 'schedul'"):
        _ = k8slab.schedul


def test_every_name_of_the_raft_laboratory_is_there():
    for name in k8slab.raft.__all__:
        assert getattr(k8slab.raft, name) is not None
    assert dir(k8slab.raft) == k8slab.raft.__all__
    with pytest.raises(AttributeError, match="no attribute 'RaftLob'"):
        _ = k8slab.raft.RaftLob


def test_the_original_services_names():
    original = {
        "k8slab.application": ["PodScheduler", "AutoScaler", "SelfHealer", "HealthMonitor", "ConsensusManager"],
        "k8slab.infrastructure": ["InMemoryPodRepository", "InMemoryNodeRepository"],
        "k8slab.domain.models": [
            "Pod", "Node", "PodPhase", "NodeState", "ConsensusRole", "ScalingDirection", "RaftState",
            "AutoScalingConfig", "SelfHealingEvent",
        ],
        "k8slab.domain.ports": [
            "PodRepositoryPort", "NodeRepositoryPort", "SchedulerPort", "AutoScalerPort", "SelfHealingPort",
            "HealthMonitorPort", "ConsensusPort",
        ],
    }  # fmt: skip
    for module, names in original.items():
        found = import_module(module)
        assert [name for name in names if not hasattr(found, name)] == [], module


def test_importing_takes_half_a_second_and_loads_nothing_heavy():
    code = f"import time; t = time.process_time(); import k8slab; print(time.process_time() - t); {LOADED}"
    # The least of three: the machine's other work is not ours.
    runs = [python(code).splitlines() for _ in range(3)]
    assert all(loaded == "[]" for _, loaded in runs), runs
    assert min(float(seconds) for seconds, _ in runs) < 0.5


def test_the_facades_first_pod_takes_a_second_and_loads_nothing_heavy():
    # CPU time, Python's own start with it: by the wall the machine's other work would count.
    code = f"""
import time
import k8slab
with k8slab.KubernetesOrchestrator() as orchestrator:
    pod = k8slab.Pod("p-1", "web", "default", "", k8slab.PodPhase.PENDING, "nginx")
    assert orchestrator.schedule_pod(pod) and pod.node_id
    print(time.process_time())
    {LOADED}
"""
    runs = [python(code).splitlines() for _ in range(3)]
    assert all(loaded == "[]" for _, loaded in runs), runs
    assert min(float(seconds) for seconds, _ in runs) < 1.0
