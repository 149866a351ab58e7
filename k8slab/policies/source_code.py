"""What a user's function does, as one hash: for manifests, which tell whether a plug-in is still the same."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np


def code_hash(plugin: object) -> str:
    """sha256 of the code of a function, or of the methods of an object's class, and of what it reads from around it.

    Comments, layout, annotations, docstrings and decorators don't count. Defaults, closures, globals and
    what an object holds do: numbers, texts, arrays and collections of them by value, functions of the
    same module by their own code, everything else by its name alone. The same on every version of
    Python, but where there is no source, as after `exec`: then it is the byte code that is hashed.
    """
    digest = hashlib.sha256()
    for part in _code_of(_unwrapped(plugin), set()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _unwrapped(value: Any) -> Any:
    """What a decorator has wrapped: k8slab.kernel, numba's njit, functools.wraps."""
    return inspect.unwrap(getattr(value, "py_func", value))


def _code_of(plugin: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(plugin, functools.partial):
        yield from _value_parts((plugin.args, plugin.keywords), plugin.func.__module__, seen)
        plugin = _unwrapped(plugin.func)
    if isinstance(plugin, types.FunctionType):
        yield from _function_parts(plugin, seen)
        return
    kind = type(plugin)
    yield from _value_parts(getattr(plugin, "__dict__", {}), kind.__module__, seen)
    for owner in kind.__mro__:
        for name, member in sorted(vars(owner).items()):
            function = _unwrapped(getattr(member, "fget", member))
            if isinstance(function, types.FunctionType) and function.__module__ == kind.__module__:
                yield name
                yield from _function_parts(function, seen)


def _function_parts(function: types.FunctionType, seen: set[int]) -> Iterator[str]:
    if id(function) in seen:
        yield f"again {function.__name__}"
        return
    seen.add(id(function))
    yield _text(function)
    yield from _value_parts((function.__defaults__, function.__kwdefaults__), function.__module__, seen)
    for name, value in sorted(_around(function).items()):
        yield name
        yield from _value_parts(value, function.__module__, seen)


def _around(function: types.FunctionType) -> dict[str, Any]:
    """The globals and closures that a function and the functions in it read."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return found | {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _text(function: types.FunctionType) -> str:
    """The function's source in one spelling; its byte code where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return "\n".join(map(_byte_code, _codes(function.__code__)))
    defined = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    kept = defined[0] if defined else tree
    if isinstance(kept, ast.FunctionDef):
        kept.decorator_list, kept.returns = [], None
        for argument in ast.walk(kept.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        if ast.get_docstring(kept) is not None:
            kept.body = kept.body[1:] or [ast.Pass()]
    return ast.unparse(kept)


def _byte_code(code: types.CodeType) -> str:
    constants = [constant for constant in code.co_consts if not isinstance(constant, types.CodeType)]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def _value_parts(value: Any, module: str, seen: set[int]) -> Iterator[str]:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        yield repr(value)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype.str}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    elif isinstance(value, Mapping):
        yield from _all_parts(sorted(value.items(), key=lambda item: repr(item[0])), module, seen)
    elif isinstance(value, set | frozenset):
        yield from _all_parts(sorted(value, key=repr), module, seen)
    elif isinstance(value, list | tuple):
        yield from _all_parts(value, module, seen)
    elif isinstance(function := _unwrapped(value), types.FunctionType) and function.__module__ == module:
        yield from _function_parts(function, seen)
    elif isinstance(value, types.ModuleType):
        yield value.__name__
    else:
        named = value if hasattr(value, "__qualname__") else type(value)
        yield f"{named.__module__}.{named.__qualname__}"


def _all_parts(values: Iterable[Any], module: str, seen: set[int]) -> Iterator[str]:
    yield "("
    for value in values:
        yield from _value_parts(value, module, seen)
    yield ")"
