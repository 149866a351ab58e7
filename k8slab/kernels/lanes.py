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

from k8slab.kernels._vectors import Rows, splat

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


# What carry_lanes tells.
SAME, CHANGED, OPEN = 0, 1, 2


@intrinsic
def carry_lanes(
    typing: Any, rows: Any, child: Any, row: Any, c: Any, was: Any, held: Any, below: Any, had: Any, counts: Any,
    above: Any, kept: Any,
) -> Any:  # fmt: skip
    """Take in a row, 32 columns of it, that one of the eight below it changed, as far as these two alone can tell.

    Where others below have the best as well, the siblings needn't be read. Gives SAME or CHANGED; or OPEN,
    where the row changed to what only they know: then raise_lanes has to follow.

    child  : which of the eight changed; the row of its own counts is `below`
    was    : as rows, [1, C]  what `child` was; afterwards what `row` was
    had    : as held, [1, C]  how many below `child` had what it was; None for one each
    kept   : as counts, [1, C]  filled with how many had what `row` was
    The others are as told of raise_lanes.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        of_held = signature.args[5]
        _, child, row, c, _, _, below, _, _, above, _ = given

        def table(place: int) -> Rows:
            return Rows(context, builder, signature.args[place], given[place])

        none, told = ir.Constant(child.type, 0), types.intp
        best, before = table(0), table(4)
        old, new, most = (at.load(r, c, LANES).value for at, r in ((before, none), (best, child), (best, row)))
        fell = builder.icmp_unsigned("==", old, most)
        equals, higher = builder.icmp_unsigned("==", new, most), builder.icmp_unsigned(">", new, most)
        before.store(none, c, most)
        raised = builder.select(higher, new, most)
        counted, recorded = table(8), table(10)
        wide = ir.VectorType(counted.number, LANES)
        many = counted.load(above, c, LANES).value
        if isinstance(of_held, types.NoneType):
            one = ir.Constant(wide, [1] * LANES)
            lost, won, all_new = builder.zext(fell, wide), builder.zext(equals, wide), one
        else:
            once, now = table(7).load(none, c, LANES).value, table(5).load(below, c, LANES).value
            once, now = (each if each.type == wide else builder.zext(each, wide) for each in (once, now))
            lost, won, all_new = (
                builder.and_(builder.sext(fell, wide), once), builder.and_(builder.sext(equals, wide), now), now
            )  # fmt: skip
        after = builder.select(higher, all_new, builder.add(builder.sub(many, lost), won))
        best.store(row, c, raised)
        counted.store(above, c, after)
        recorded.store(none, c, many)
        empty = builder.icmp_unsigned("==", after, ir.Constant(wide, [0] * LANES))
        changed = builder.or_(higher, builder.icmp_unsigned("!=", after, many))
        return _told(builder, context.get_value_type(told), _any(builder, empty), _any(builder, changed))

    index = (types.intp,) * 3
    arguments = (rows, *index, was, held, types.intp, had, counts, types.intp, kept)
    return types.intp(*arguments), generate


def _told(builder: Any, number: Any, is_open: Any, changed: Any) -> Any:
    """OPEN, CHANGED or SAME."""
    known = builder.select(changed, ir.Constant(number, CHANGED), ir.Constant(number, SAME))
    return builder.select(is_open, ir.Constant(number, OPEN), known)


def _any(builder: Any, lanes: Any) -> Any:
    """Whether one of 32 bits is set."""
    word = ir.IntType(LANES)
    return builder.icmp_unsigned("!=", builder.bitcast(lanes, word), ir.Constant(word, 0))


@intrinsic
def tied(typing: Any, rows: Any, row: Any, c: Any, best: Any, counts: Any, below: Any) -> Any:
    """counts[below, c], or 1 where `counts` is None, if rows[row, c] is `best`, else 0.

    Of the same in Python LLVM makes a jump around the load of the count, which is foreseen half of the time.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        of_rows, of_counts, number = signature.args[0], signature.args[4], context.get_value_type(types.intp)
        rows, row, c, best, _, below = given
        is_best = builder.icmp_unsigned("==", Rows(context, builder, of_rows, rows).one(row, c), best)
        if isinstance(of_counts, types.NoneType):
            return builder.zext(is_best, number)
        many = Rows(context, builder, of_counts, given[4]).one(below, c)
        return builder.and_(builder.sext(is_best, number), builder.zext(many, number))

    return types.intp(rows, types.intp, types.intp, rows.dtype, counts, types.intp), generate


@intrinsic
def count_equal(typing: Any, numbers: Any, first: Any, wanted: Any) -> Any:
    """How many of the 32 numbers of a uint8[1, .] from `first` on are `wanted`."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        table = Rows(context, builder, signature.args[0], given[0])
        there = table.load(ir.Constant(given[1].type, 0), given[1], LANES).value
        equal = builder.icmp_unsigned("==", there, splat(builder, given[2], LANES).value)
        bits = builder.bitcast(equal, ir.IntType(LANES))
        return builder.zext(builder.ctpop(bits), given[1].type)

    return types.intp(numbers, types.intp, numbers.dtype), generate


def _family(builder: Any, table: Rows, child: Any, c: Any) -> list[Any]:
    """The eight rows from `child` on."""
    rows = [builder.add(child, ir.Constant(child.type, k)) for k in range(FANOUT)]
    return [table.load(row, c, LANES).value for row in rows]


def _replace(builder: Any, table: Rows, row: Any, c: Any, new: Any) -> Any:
    """Write, and give whether any lane changed."""
    differs = builder.icmp_unsigned("!=", table.load(row, c, LANES).value, new)
    table.store(row, c, new)
    return _any(builder, differs)


def _in_pairs(values: list[Any], of_two: Callable[[Any, Any], Any]) -> Any:
    """One value of many, by halves: what hardware can do side by side."""
    while len(values) > 1:
        values = [of_two(one, two) for one, two in zip(values[::2], values[1::2], strict=True)]
    return values[0]
