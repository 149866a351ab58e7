"""The only place where numba is configured, and where compiled code is kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
from numba.core.options import DefaultOptions

from k8slab.kernels import _compiling


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function over arrays: cached on disk, numpy's division, the GIL released.

    Kernels may call those of other files: the cache knows all of them.
    """
    return _cached(njit(error_model="numpy", nogil=True)(function))


def borrowing_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that makes no array and keeps none: compiled without reference counts.

    For kernels that hand NamedTuples of many arrays to one another: each hand-over would count
    every array up and down, which made placing pods by FGD 2.7 times slower. The option is numba's
    own but not public; a numba without it compiles the same kernel with the counts.
    """
    without_counts = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}
    return _cached(njit(error_model="numpy", nogil=True, **without_counts)(function))


def _cached(compiled: Any) -> Callable[..., Any]:
    try:
        compiled._cache = _KernelCache(compiled.py_func)
    except RuntimeError:
        # No folder can be written, not even the user's own: compile in each process then.
        compiled._cache = _NoCache()
    dispatcher: Callable[..., Any] = compiled
    return dispatcher


@cache
def _stamp() -> str:
    """A hash of all kernel files."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


class _KernelCache(FunctionCache):
    """numba's cache on disk, valid for as long as no kernel file changes.

    numba's own looks at the function's file alone; but what was compiled from it holds the
    kernels that it calls, which may stand in other files.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        base = self._impl.filename_base
        stamp = (self._impl.locator.get_source_stamp(), _stamp())
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
