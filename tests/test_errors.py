"""The tree of errors that `k8slab.errors` draws is the tree that the code has."""

from __future__ import annotations

import importlib
import pkgutil
import re

import k8slab
from k8slab import errors
from k8slab.errors import K8slabError

ERROR = re.compile(r"^    ([│├└─ ]*)(\w+)(?: \((\w+)\))?(?: +\S|$)")


def drawn() -> dict[str, set[str]]:
    """Each error of the drawing with its parents: the one it hangs from, and Python's own in brackets."""
    path: list[str] = []
    tree: dict[str, set[str]] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = ERROR.match(line)
        if found:
            branch, name, builtin = found.groups()
            depth = len(branch) // 4
            assert name not in tree, f"{name} is drawn twice"
            tree[name] = {*path[depth - 1 : depth], *([builtin] if builtin else [])}
            path[depth:] = [name]
    return tree


def descendants(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(descendants(below) for below in kind.__subclasses__()))


def test_the_drawing_is_the_tree() -> None:
    for module in pkgutil.walk_packages(k8slab.__path__, "k8slab."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = [kind for kind in descendants(K8slabError) if kind.__module__.startswith("k8slab.")]
    there = {kind.__name__: {base.__name__ for base in kind.__bases__} for kind in ours}
    there["K8slabError"].remove("Exception")
    assert drawn() == there
