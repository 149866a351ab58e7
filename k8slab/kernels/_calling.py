"""Kernels that call kernels, compiled once instead of once a level.

numba compiles each function as if Python might call it: with wrappers that take its arguments out of
Python objects, optimised and turned into machine code by itself; then links all that into every function
that calls it, and optimises it there again. With sixty kernels in ten levels under `place_by_groups`
that took 60 s where this takes 14. Here a function that is called by another is brought as far as LLVM's
text, and left to the one that Python calls, which is optimised as a whole.

What numba calls internal is used, all of it here and in `_lending`, `_steps` and `_typing`, which this file alone
uses; `kernels._jit` is its only user.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.dispatcher import _FunctionCompiler  # type: ignore[attr-defined]
from numba.core.registry import CPUDispatcher
from numba.core.types.misc import unliteral

from k8slab.kernels._lending import lent, owned
from k8slab.kernels._steps import Pipeline
from k8slab.kernels._typing import Typing


class _Flags(compiler.Flags):
    """numba's flags, compared by what is set; numba asks for all thirty options 30,000 times for a large kernel."""

    __slots__ = ()
    _one = hash(compiler.Flags())

    def __hash__(self) -> int:
        # All flags have one hash, that of the options' names.
        return self._one

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, compiler.Flags):
            return NotImplemented
        # What neither was told is as it is by default in both.
        told = self._values.keys() | other._values.keys()
        return self._values == other._values or all(getattr(self, name) == getattr(other, name) for name in told)


class _Library(JITCodeLibrary):
    """Code to be linked into that of a caller: not optimised as a whole, and no machine code."""

    def _optimize_final_module(self) -> None:
        """The caller does."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@contextmanager
def _keeping_garbage() -> Iterator[None]:
    """Python looks for garbage again and again as numba makes a million objects: a tenth of the time, for 50 MB."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looks:
            gc.enable()


class _Compiler(_FunctionCompiler):
    """Compiles a function for Python; without the wrapper that C would call."""

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        with _keeping_garbage():
            return self._compile(args, return_type, self._flags(), lambda: None)

    def _flags(self) -> Any:
        flags = _Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        flags.no_cfunc_wrapper = True
        return flags

    def _compile(self, args: Any, return_type: Any, flags: Any, make_library: Callable[[], Any]) -> Any:
        result = compiler.compile_extra(
            Typing(self.targetdescr.typing_context), self.targetdescr.target_context, self.py_func,
            args=args, return_type=return_type, flags=flags, locals=self.locals,
            library=make_library(), pipeline_class=self.pipeline_class,
        )  # fmt: skip
        # What was lent may be something else by the time that it is looked at: it is given back as a copy.
        given_back = owned(result.signature.return_type)
        if given_back == result.signature.return_type:
            return result
        return self._compile(args, given_back, flags, make_library)


class _CalledCompiler(_Compiler):
    """Compiles a function for other compiled functions alone."""

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        flags = self._flags()
        flags.no_cpython_wrapper = True
        flags.no_compile = True
        context = self.targetdescr.target_context
        libraries: list[_Library] = []

        def library() -> _Library:
            libraries.append(_Library(context.codegen(), self.py_func.__qualname__))
            return libraries[-1]

        result = self._compile(args, return_type, flags, library)
        # What callers find it by; numba's own is the function for Python, which isn't there.
        entry = object()
        context.insert_user_function(entry, result.fndesc, [result.library or libraries[-1]])
        return result._replace(entry_point=entry)


class _Called(CPUDispatcher):
    """A kernel as other kernels see it."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        super().__init__(function, targetoptions=options)
        self._compiler = _CalledCompiler(function, self.targetdescr, options, {}, Pipeline)

    def add_overload(self, cres: Any) -> None:
        """Only kernels call it, so there is nothing to tell Python's side."""
        self.overloads[tuple(cres.signature.args)] = cres


class Kernel(CPUDispatcher):
    """A kernel as Python sees it, which hands other kernels to `_Called`."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        super().__init__(function, targetoptions={**options, "nopython": True})
        options = self.targetoptions
        self._compiler = _Compiler(function, self.targetdescr, options, {}, Pipeline)
        self._called = _Called(function, options)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """How a kernel types its call: a number written out is no type of its own, to be compiled for once more."""
        plain = {name: lent(unliteral(value)) for name, value in dict(kws).items()}
        return self._called.get_call_template(tuple(lent(unliteral(value)) for value in args), plain)

    def get_overload(self, sig: Any) -> Any:
        """What a kernel's call is compiled to."""
        return self._called.get_overload(sig)
