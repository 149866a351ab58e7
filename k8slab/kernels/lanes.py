"""The innermost steps of the tree, 32 columns side by side: maxima and counts over eight rows.

Written in LLVM's vectors. Of the same loops in Python LLVM can't tell whether a row that is written is
one of the many that are read, and gives up on SIMD: 40 times slower. On hardware of any width it makes
of a vector what fits there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from k8slab.kernels._vectors import Rows

FANOUT = 8
LANES = 32


@intrinsic
def raise_lanes(
    typing: Any, rows: Any, child: Any, row: Any, c: Any, held: Any, below: Any, counts: Any, above: Any
) -> Any:
    """rows[row, c : c + 32] = the maxima of the eight rows from `child` on; gives whether that changed anything.

    And counts[above, c : c + 32] = how many have that maximum; nothing is counted where `counts` is None.

    rows   : uint8, uint16 or uint32 [., C], C a multiple of 32
    held   : unsigned integers [., C]  how many below each of the eight, from row `below` on, have what it has;
             None for one each
    counts : unsigned integers [., C], as wide or wider
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        of_rows, of_held, of_counts = signature.args[0], signature.args[4], signature.args[6]
        _, child, row, c, _, below, _, above = given
        table = Rows(context, builder, of_rows, given[0])
        family = _family(builder, table, child, c)
        most = _in_pairs(family, lambda one, two: builder.select(builder.icmp_unsigned(">", one, two), one, two))
        changed = _replace(builder, table, row, c, most)
        if isinstance(of_counts, types.NoneType):
            return changed
        counted = Rows(context, builder, of_counts, given[6])
        wide = ir.VectorType(counted.number, LANES)
        shares = [builder.icmp_unsigned("==", each, most) for each in family]
        if isinstance(of_held, types.NoneType):
            shares = [builder.zext(share, wide) for share in shares]
        else:
            there = _family(builder, Rows(context, builder, of_held, given[4]), below, c)
            pairs = zip(shares, there, strict=True)
            shares = [builder.and_(builder.sext(share, many.type), many) for share, many in pairs]
            shares = [share if share.type == wide else builder.zext(share, wide) for share in shares]
        return builder.or_(changed, _replace(builder, counted, above, c, _in_pairs(shares, builder.add)))

    index = (types.intp,) * 3
    return types.boolean(rows, *index, held, types.intp, counts, types.intp), generate


def _family(builder: Any, table: Rows, child: Any, c: Any) -> list[Any]:
    """The eight rows from `child` on."""
    rows = [builder.add(child, ir.Constant(child.type, k)) for k in range(FANOUT)]
    return [table.load(row, c, LANES).value for row in rows]


def _replace(builder: Any, table: Rows, row: Any, c: Any, new: Any) -> Any:
    """Write, and give whether any lane changed."""
    differs, word = builder.icmp_unsigned("!=", table.load(row, c, LANES).value, new), ir.IntType(LANES)
    table.store(row, c, new)
    return builder.icmp_unsigned("!=", builder.bitcast(differs, word), ir.Constant(word, 0))


def _in_pairs(values: list[Any], of_two: Callable[[Any, Any], Any]) -> Any:
    """One value of many, by halves: what hardware can do side by side."""
    while len(values) > 1:
        values = [of_two(one, two) for one, two in zip(values[::2], values[1::2], strict=True)]
    return values[0]
