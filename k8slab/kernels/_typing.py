"""What operators and numpy's functions give for which types, found out once.

numba asks each of an operator's dozens of definitions again wherever the operator stands.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.core.targetconfig import ConfigStack
from numba.core.types.misc import unliteral
from numba.core.typing.context import Context


class Typing(Context):
    """numba's own context, with a memory."""

    def __init__(self, context: Context) -> None:
        # One and the same: what is registered in either is in both.
        self.__dict__ = context.__dict__
        self.__dict__.setdefault("known_calls", {})

    def _resolve_user_function_type(self, func: Any, args: Any, kws: Any, literals: Any = None) -> Any:
        if kws or not isinstance(func, types.Function):
            return super()._resolve_user_function_type(func, args, kws, literals)
        plain = tuple(unliteral(each) for each in args)
        # Of numbers it is all one whether they are written out.
        args = plain if all(isinstance(each, types.Number | types.Boolean) for each in plain) else args
        key = (func, args, ConfigStack.top_or_none())
        if key not in self.known_calls:
            found = super()._resolve_user_function_type(func, args, kws, literals)
            self.known_calls[key] = (found, func.get_impl_key(found))
        found, implementation = self.known_calls[key]
        # Under other flags it may have been another.
        func._impl_keys[found.args] = implementation  # type: ignore[attr-defined]
        return found
