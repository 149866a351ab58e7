"""Writing a kernel's innermost step in LLVM's vectors, where LLVM itself finds no SIMD in a loop."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

INT32, FLOAT64 = ir.IntType(32), ir.DoubleType()


class Vector:
    """Numbers side by side, int32 or float64, and what can be done to all of them at once.

    The other of two may be a Vector, a Python number or one number of LLVM's.
    """

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    def __add__(self, other: Any) -> Vector:
        return self._by("add", other)

    def __sub__(self, other: Any) -> Vector:
        return self._by("sub", other)

    def __mul__(self, other: Any) -> Vector:
        return self._by("mul", other)

    def __and__(self, other: Any) -> Vector:
        return Vector(self.builder, self.builder.and_(self.value, self._like(other)))

    def __or__(self, other: Any) -> Vector:
        return Vector(self.builder, self.builder.or_(self.value, self._like(other)))

    def __xor__(self, other: Any) -> Vector:
        return Vector(self.builder, self.builder.xor(self.value, self._like(other)))

    def __rshift__(self, bits: Any) -> Vector:
        return Vector(self.builder, self.builder.ashr(self.value, self._like(bits)))

    def at_least(self, other: float) -> Vector:
        """The larger of both."""
        least, builder = self._like(other), self.builder
        return Vector(builder, builder.select(builder.fcmp_ordered(">", self.value, least), self.value, least))

    def distance(self) -> Vector:
        """Without the sign."""
        none, builder = self._like(0), self.builder
        negative = builder.icmp_signed("<", self.value, none)
        return Vector(builder, builder.select(negative, builder.sub(none, self.value), self.value))

    def whole(self) -> Vector:
        """float64 to int32, towards zero."""
        return Vector(self.builder, self.builder.fptosi(self.value, ir.VectorType(INT32, self._count)))

    def negative(self) -> Any:
        """A bit for each."""
        bits = self.builder.icmp_signed("<", self.value, self._like(0))
        return self.builder.bitcast(bits, ir.IntType(self._count))

    def any_negative(self) -> Any:
        """One bit for all."""
        bits = self.negative()
        return self.builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    def beside(self, other: Vector) -> Vector:
        """Both as one, twice as long."""
        every = ir.Constant(ir.VectorType(INT32, 2 * self._count), list(range(2 * self._count)))
        return Vector(self.builder, self.builder.shuffle_vector(self.value, other.value, every))

    @property
    def _count(self) -> int:
        return int(self.value.type.count)

    def _by(self, operation: str, other: Any) -> Vector:
        kind = "f" if self.value.type.element == FLOAT64 else ""
        return Vector(self.builder, getattr(self.builder, kind + operation)(self.value, self._like(other)))

    def _like(self, other: Any) -> Any:
        if isinstance(other, Vector):
            return other.value
        kind = self.value.type
        if isinstance(other, int | float):
            return ir.Constant(kind, [other] * kind.count)
        return splat(self.builder, other, kind.count).value


def splat(builder: Any, number: Any, count: int) -> Vector:
    """The same number, so many times."""
    kind = ir.VectorType(number.type, count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(INT32, 0))
    return Vector(builder, builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(INT32, count), None)))


class Rows:
    """An array of numba's, [., C], as its rows lie in memory."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self.number = context.get_data_type(kind.dtype)
        self.width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
        self.builder = builder
        self._data = array.data

    def place(self, row: Any, c: Any, count: int) -> Any:
        """Where so many numbers begin."""
        at = self.builder.add(self.builder.mul(row, self.width), c)
        kind = ir.VectorType(self.number, count)
        return self.builder.bitcast(self.builder.gep(self._data, [at]), kind.as_pointer())

    def one(self, row: Any, c: Any) -> Any:
        """A single number."""
        at = self.builder.add(self.builder.mul(row, self.width), c)
        return self.builder.load(self.builder.gep(self._data, [at]))

    def load(self, row: Any, c: Any, count: int) -> Vector:
        """So many numbers of a row."""
        return Vector(self.builder, self.builder.load(self.place(row, c, count), align=1))

    def store(self, row: Any, c: Any, new: Any) -> None:
        """Write numbers into a row."""
        self.builder.store(new, self.place(row, c, new.type.count), align=1)
