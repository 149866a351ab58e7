"""The only place where numba is configured, and where compiled code is kept on disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from numba import njit, version_info
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
from numba.core.options import DefaultOptions

from k8slab.kernels import _compiling

_COUNTS: Final = "_nrt"
_INLINED: Final = "forceinline"
# `_calling` is made of what numba calls internal. A numba that it wasn't tried with compiles its own, slower way.
_TRIED: Final = ((0, 68),)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function over arrays: cached on disk, numpy's division, the GIL released.

    Kernels may call those of other files: the cache knows all of them.
    """
    return _cached(function, counts=True)


def borrowing_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that makes no array and keeps none: compiled without reference counts.

    For kernels that hand NamedTuples of many arrays to one another: each hand-over would count
    every array up and down, which made placing pods by FGD 2.7 times slower. The option is numba's
    own but not public; a numba without it compiles the same kernel with the counts.
    """
    return _cached(function, counts=False)


def inlined_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A borrowing kernel whose code is put into that of each kernel that calls it.

    For small ones, called for every pod and level, that take NamedTuples of arrays: each call would copy seventy
    numbers for ten arrays, which took a third of the time of placing a pod.
    """
    return _cached(function, counts=False, inlined=True)


def _cached(function: Callable[..., Any], *, counts: bool, inlined: bool = False) -> Callable[..., Any]:
    # Told in all cases, as a kernel would else take it from the one that calls it.
    told = {_COUNTS: counts, _INLINED: inlined}
    option = {name: value for name, value in told.items() if hasattr(DefaultOptions, name)}
    compiled = _dispatcher(function, {"error_model": "numpy", "nogil": True, **option}, version_info.short)
    try:
        compiled._cache = _KernelCache(function)
    except RuntimeError:
        # No folder can be written, not even the user's own: compile in each process then.
        compiled._cache = _NoCache()
    dispatcher: Callable[..., Any] = compiled
    return dispatcher


def _dispatcher(function: Callable[..., Any], options: dict[str, Any], version: tuple[int, int]) -> Any:
    if version not in _TRIED:
        return njit(**options)(function)
    from k8slab.kernels._calling import Kernel

    return Kernel(function, options)


@cache
def _stamp(file: Path) -> str:
    """A hash of all that compiled code from a kernel's file may hold."""
    texts = (b"%s\0%s" % (each.name.encode(), each.read_bytes()) for each in sorted(_reached_from(file)))
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _reached_from(file: Path) -> set[Path]:
    """A kernel's file, all kernel files that it names, and that these name; and how they are compiled."""
    found, known = [file], {file, *Path(__file__).parent.glob("_*.py")}
    while found:
        more = _named_in(found.pop()) - known
        known |= more
        found += more
    return known


@cache
def _named_in(file: Path) -> frozenset[Path]:
    """The kernel files that a file imports, and maybe some that it only speaks of."""
    folder, text = Path(__file__).parent, file.read_text(encoding="utf-8")
    if re.search(r"^\s*from\s+\.", text, re.MULTILINE):
        return frozenset(folder.glob("*.py"))
    imported = re.findall(r"from\s+k8slab\.kernels\s+import\s+(\([^)]*\)|[^\n]*)", text)
    names = {*re.findall(r"k8slab\.kernels\.(\w+)", text), *re.findall(r"\w+", " ".join(imported))}
    return frozenset(path for name in names if (path := folder / f"{name}.py").exists())


class _KernelCache(FunctionCache):
    """numba's cache on disk, valid for as long as the kernel's file and those that it imports are as they were.

    numba's own looks at the function's file alone; but what was compiled from it holds the
    kernels that it calls, which may stand in other files. Kernels import nothing but numpy, numba
    and kernels, so no other file of the package counts.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        base = self._impl.filename_base
        stamp = (self._impl.locator.get_source_stamp(), _stamp(Path(function.__code__.co_filename)))
        self._cache_file = IndexDataCacheFile(cache_path=self._cache_path, filename_base=base, source_stamp=stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types; None, after the listener is told, if it has yet to be."""
        found = super().load_overload(sig, target_context)
        if found is None:
            _compiling.tell()
        return found


class _NoCache(NullCache):
    """Keeps nothing."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        """Nothing; the listener is told."""
        _compiling.tell()
