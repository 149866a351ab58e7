"""NamedTuples that kernels hand to kernels by their address, as C hands over a struct.

numba hands a NamedTuple over as the numbers that it consists of, seven or more for each array: a kernel
that is given forest, marks and relations has three hundred arguments, each of its calls copies them, and to
compile that takes most of the time. Lent, each of these is one argument, and what a kernel asks of it is read.

The lender doesn't change what it lent, and nothing else is there: LLVM is told so, and keeps what it read.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from llvmlite import ir as llvm
from numba import types
from numba.core import cgutils, ir
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.imputils import impl_ret_borrowed
from numba.core.lowering import Lower
from numba.core.typeconv import Conversion
from numba.core.typed_passes import NativeLowering
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_cast,
    lower_getattr_generic,
    models,
    register_model,
)

_BYTE, _WORD = llvm.IntType(8), llvm.IntType(64)
_WORD_BYTES = 8


class Lent(types.Type):
    """A NamedTuple by its address."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        # Short, as it is part of the name of each function that is given one.
        digest = hashlib.sha256(str(whole).encode()).hexdigest()[:12]
        super().__init__(f"Lent{whole.instance_class.__name__}{digest}")

    @property
    def key(self) -> Any:
        """What it is told apart by."""
        return self.whole

    def can_convert_to(self, typing: Any, other: Any) -> Conversion | None:
        """Into what it was before it was lent, by a copy."""
        return Conversion.safe if other == self.whole else None


def lent(kind: Any) -> Any:
    """The type by which a kernel hands over what has this type."""
    return Lent(kind) if isinstance(kind, types.BaseNamedTuple) else kind


def owned(kind: Any) -> Any:
    """The type of the same as it was before it was lent."""
    if isinstance(kind, Lent):
        return kind.whole
    if isinstance(kind, types.BaseTuple) and not isinstance(kind, types.BaseNamedTuple):
        return types.Tuple([owned(each) for each in kind])
    return kind


@register_model(Lent)
class _Address(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lent) -> None:
        super().__init__(manager, kind, _BYTE.as_pointer())


# -- where its parts are ------------------------------------------------------------------


@cache
def _places(context: Any, whole: Any) -> tuple[list[int], int]:
    """Each part's first byte, and the bytes of all."""
    places, size = [], 0
    for part in whole:
        places.append(size)
        size += _size(context, part)
    return places, size


@cache
def _size(context: Any, part: Any) -> int:
    if isinstance(part, types.BaseNamedTuple):
        return _places(context, part)[1]
    size: int = context.get_abi_sizeof(context.get_value_type(part))
    return -(-size // _WORD_BYTES) * _WORD_BYTES


def _at(builder: Any, address: Any, place: int) -> Any:
    return builder.gep(address, [_WORD(place)], inbounds=True, source_etype=_BYTE)


def _write(context: Any, builder: Any, whole: Any, value: Any, address: Any) -> None:
    for k, (part, place) in enumerate(zip(whole, _places(context, whole)[0], strict=True)):
        one, here = builder.extract_value(value, k), _at(builder, address, place)
        if isinstance(part, types.BaseNamedTuple):
            _write(context, builder, part, one, here)
        else:
            builder.store(one, builder.bitcast(here, one.type.as_pointer()))


def _read(context: Any, builder: Any, part: Any, address: Any) -> Any:
    if isinstance(part, types.BaseNamedTuple):
        parts = zip(part, _places(context, part)[0], strict=True)
        values = [_read(context, builder, each, _at(builder, address, place)) for each, place in parts]
        return context.make_tuple(builder, part, values)
    return builder.load(builder.bitcast(address, context.get_value_type(part).as_pointer()))


# -- what kernels do with it ----------------------------------------------------------------


@lower_cast(types.BaseNamedTuple, Lent)
def _lend(context: Any, builder: Any, whole: Any, _: Any, value: Any) -> Any:
    words = _places(context, whole)[1] // _WORD_BYTES
    room = cgutils.alloca_once(builder, llvm.ArrayType(_WORD, words))
    address = builder.bitcast(room, _BYTE.as_pointer())
    _write(context, builder, whole, value, address)
    return address


@lower_cast(Lent, types.BaseNamedTuple)
def _copy(context: Any, builder: Any, given: Any, whole: Any, address: Any) -> Any:
    return impl_ret_borrowed(context, builder, whole, _read(context, builder, whole, address))


@infer_getattr
class _Parts(AttributeTemplate):
    key = Lent

    def generic_resolve(self, given: Lent, name: str) -> Any:
        """A part's type."""
        fields = given.whole.fields
        return lent(given.whole[fields.index(name)]) if name in fields else None


@lower_getattr_generic(Lent)
def _part(context: Any, builder: Any, given: Any, address: Any, name: str) -> Any:
    k = given.whole.fields.index(name)
    part, here = given.whole[k], _at(builder, address, _places(context, given.whole)[0][k])
    if isinstance(part, types.BaseNamedTuple):
        return here
    return impl_ret_borrowed(context, builder, part, _read(context, builder, part, here))


@intrinsic
def _borrow(typing: Any, whole: Any) -> Any:
    """What Python gives a kernel, as kernels take it."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return context.cast(builder, given[0], whole, Lent(whole))

    return Lent(whole)(whole), generate


# -- how a kernel is compiled with it ---------------------------------------------------------


@register_pass(mutates_CFG=True, analysis_only=False)
class Borrowing(FunctionPass):
    """Lends a kernel what Python gives it, once, at its beginning."""

    _name = "borrowing"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Whether there was something to lend."""
        block, body, lends = state.func_ir.blocks[min(state.func_ir.blocks)], [], False
        for statement in block.body:
            body.append(statement)
            if not (isinstance(statement, ir.Assign) and isinstance(statement.value, ir.Arg)):
                continue
            if isinstance(state.args[statement.value.index], types.BaseNamedTuple):
                body += self._lend(statement)
                lends = True
        block.body = body
        return lends

    @staticmethod
    def _lend(given: Any) -> list[Any]:
        target, scope, loc = given.target, given.target.scope, given.loc
        given.target = scope.redefine(f"{target.name}.given", loc)
        borrow = scope.redefine("$borrow", loc)
        call = ir.Expr.call(borrow, [given.target], (), loc)
        return [ir.Assign(ir.Global("_borrow", _borrow, loc), borrow, loc), ir.Assign(call, target, loc)]


class _Lowering(Lower):
    def setup_function(self, fndesc: Any) -> None:
        """Tell LLVM of what is lent that nothing else refers to it or changes it."""
        super().setup_function(fndesc)
        kinds = {f"arg.{name}": kind for name, kind in zip(fndesc.args, fndesc.argtypes, strict=True)}
        for argument in self.call_conv.get_arguments(self.function):
            kind = kinds.get(argument.name)
            if isinstance(kind, Lent):
                argument.add_attribute("noalias")
                argument.add_attribute("captures(none)")
                argument.attributes.dereferenceable = _places(self.context, kind.whole)[1]


# Nothing looks at numba's own code after that, so what hangs on it needn't be found out again.
@register_pass(mutates_CFG=False, analysis_only=False)
class LoweringOfLent(NativeLowering):
    """To LLVM's text."""

    _name = "native_lowering"

    @property
    def lowering_class(self) -> Any:
        """As it says."""
        return _Lowering
