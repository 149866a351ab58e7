"""A node's points for many classes of pods by whole numbers of 32 bits, eight at a time; see `pair` for the scores.

What would be left of a resource stands in parts of 2^-24 percent of what the node has. From
two such numbers come the floors of the use, exactly, and of the balance, but where that is so near a
whole number that kube-scheduler's rounding decides: there it is computed as that does.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels._vectors import Rows, Vector, splat
from k8slab.kernels.lanes import LANES

_ABREAST = 8
_PERCENT_BITS = 24
_ALL = 100.0 * (1 << _PERCENT_BITS)
# |x - y| in this is the balance in percent: half of how far the fractions are apart.
_APART_BITS = 25
_APART = 1 << _APART_BITS
# Both are rounded down, and how far they were raised is rounded: nearer to a whole percent than that it is open.
_NEAR = 4
# What is left is raised by half a hundredth of a unit, so that a whole percent stays one whatever the rounding.
_HALF = 0.005
# So large a node's amounts may be, in their unit: else less than that half would be rounded off.
_LARGEST = 2.0**30
_LARGEST_USED = 2.0**21
# 0..100 by weights of the sum W, over W: the product with ceil(2^22 / W), shifted. Exact for W up to 200.
MEAN_BITS = 22
MOST_WEIGHT = 200


class Points(NamedTuple):
    """What a pair's points hang on beside node and requests.

    share   : int32[2]     each resource's weight in the mean times ceil(2^22 / the sum of both); 0 where that won't do
    use     : int          the weight of that mean
    balance : int32[1, C]  the weight of the balance, 0 for a class that asks for neither resource
    """

    share: npt.NDArray[np.int32]
    use: int
    balance: npt.NDArray[np.int32]


@borrowing_kernel
def are_whole(has, holds, pair, points):
    """Whether `score_whole` is exact for a node. has, holds : float64[R], a node's allocatable and requested"""
    can0, can1 = has[pair.first], has[pair.second]
    most = _LARGEST if pair.least else _LARGEST_USED
    known = (points.share[0] > 0) & (can0 > 0.0) & (can0 < most) & (can1 > 0.0) & (can1 < most)
    return known & (holds[pair.first] <= can0) & (holds[pair.second] <= can1)


@borrowing_kernel
def score_whole(has, holds, request, extra, pair, points, allowed, kind, best, node):
    """Fill best[node]: 1 + the score, 0 for classes that may not be there or ask for more than is left of the two.

    request : float64[R, C], C a multiple of 32
    extra   : a score that depends on the node alone
    allowed : int32[K, C]
    """
    can0, can1 = has[pair.first], has[pair.second]
    part0, part1 = _ALL / can0, _ALL / can1
    amounts = (can0 - holds[pair.first] + _HALF, part0, can1 - holds[pair.second] + _HALF, part1)
    # 100 % less what is left is what is left with all bits turned, from this on.
    turn = np.int32(0 if pair.least else -1)
    top0 = np.int32(0 if pair.least else np.rint(_ALL + 2 * _HALF * part0) + 1)
    top1 = np.int32(0 if pair.least else np.rint(_ALL + 2 * _HALF * part1) + 1)
    raised = np.int32(np.rint(_HALF * part0 - _HALF * part1))
    weights = (np.int32(points.share[0]), np.int32(points.share[1]), np.int32(points.use), np.int32(extra + 1))
    for c in range(0, best.shape[1], LANES):
        is_open = _score_lanes(
            request, pair.first, pair.second, c, amounts, (turn, top0, top1, raised), weights, points.balance,
            allowed, kind, best, node
        )  # fmt: skip
        if is_open:
            _score_exactly(has, holds, request, c, is_open, pair, points, weights[3], allowed[kind], best[node])


@borrowing_kernel
def _score_exactly(has, holds, request, start, is_open, pair, points, bonus, allowed, best):
    """As the lanes from `start` on whose bits are set, with the balance as kube-scheduler rounds it."""
    can0, can1, weight0, weight1 = has[pair.first], has[pair.second], pair.weight[1], pair.weight[2]
    for lane in range(LANES):
        if not (is_open >> lane) & 1:
            continue
        c = start + lane
        used0, used1 = holds[pair.first] + request[pair.first, c], holds[pair.second] + request[pair.second, c]
        part0, part1 = (can0 - used0, can1 - used1) if pair.least else (used0, used1)
        percent0, percent1 = np.floor((100.0 * part0 + 0.5) / can0), np.floor((100.0 * part1 + 0.5) / can1)
        mean = np.floor((weight0 * percent0 + weight1 * percent1 + 0.5) / (weight0 + weight1))
        balance = np.floor((1.0 - np.abs(used1 / can1 - used0 / can0) * 0.5) * 100.0)
        fits = (used0 <= can0) & (used1 <= can1)
        score = points.use * mean + points.balance[0, c] * balance
        best[c] = np.int32(score + bonus) & allowed[c] if fits else 0


@intrinsic
def _score_lanes(
    typing: Any, request: Any, first: Any, second: Any, c: Any, amounts: Any, turned: Any, weights: Any,
    balance: Any, allowed: Any, kind: Any, best: Any, node: Any,
) -> Any:  # fmt: skip
    """Fill best[node, c : c + 32]; gives a bit for each whose balance is open. See `score_whole` for the rest."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        tables = [
            Rows(context, builder, kind, value)
            for kind, value in zip(signature.args, given, strict=True)
            if isinstance(kind, types.Array)
        ]
        numbers = [cgutils.unpack_tuple(builder, given[place]) for place in (4, 5, 6)]
        first, second, start, kind, node = (given[place] for place in (1, 2, 3, 9, 11))
        totals: list[Vector] = []
        doubts: list[Vector] = []
        for step in range(0, LANES, _ABREAST):
            c = builder.add(start, ir.Constant(start.type, step))
            total, near = _points(tables, (first, second, kind, c), numbers)
            totals.append(total)
            doubts.append(near)
        while len(totals) > 1:
            totals = [one.beside(two) for one, two in zip(totals[::2], totals[1::2], strict=True)]
        found, wanted = totals[0].value, ir.VectorType(tables[3].number, LANES)
        tables[3].store(node, start, found if found.type == wanted else builder.trunc(found, wanted))
        bits = (builder.zext(doubt.negative(), start.type) for doubt in doubts)
        return reduce(
            builder.or_, (builder.shl(each, ir.Constant(start.type, k * _ABREAST)) for k, each in enumerate(bits))
        )

    number = types.intp
    told = (types.UniTuple(types.float64, 4), types.UniTuple(types.int32, 4), types.UniTuple(types.int32, 4))
    arguments = (request, number, number, number, *told, balance, allowed, number, best, number)
    return number(*arguments), generate


def _points(tables: list[Rows], at: tuple[Any, ...], numbers: list[Any]) -> tuple[Vector, Vector]:
    """Eight classes' points, and below 0 where a balance is open."""
    request, balances, allowed, _ = tables
    first, second, kind, c = at
    (free0, part0, free1, part1), turned, weights = numbers
    builder = request.builder
    x = ((splat(builder, free0, _ABREAST) - request.load(first, c, _ABREAST)).at_least(-1.0) * part0).whole()
    y = ((splat(builder, free1, _ABREAST) - request.load(second, c, _ABREAST)).at_least(-1.0) * part1).whole()
    total, near = _of_left(x, y, turned, weights, balances.load(ir.Constant(c.type, 0), c, _ABREAST))
    return total & allowed.load(kind, c, _ABREAST), near


def _of_left(x: Vector, y: Vector, turned: Any, weights: Any, of_balance: Any) -> tuple[Vector, Vector]:
    """The points where so much would be left of both, and below 0 where a balance is open."""
    (turn, top0, top1, raised), (share0, share1, use, bonus) = turned, weights
    fits = ((x | y) >> 31) ^ -1
    percent0, percent1 = ((x ^ turn) + top0) >> _PERCENT_BITS, ((y ^ turn) + top1) >> _PERCENT_BITS
    mean = (percent0 * share0 + percent1 * share1) >> MEAN_BITS
    apart = (x - y - raised).distance()
    # 100 - n is (n ^ -1) + 101.
    balance = (((apart + (_APART - 1)) >> _APART_BITS) ^ -1) + 101
    near = (((apart + _NEAR) & (_APART - 1)) - 2 * _NEAR) & fits
    return (mean * use + balance * of_balance + bonus) & fits, near


# -- one pod on many nodes -----------------------------------------------------------


@borrowing_kernel
def enter_whole(has, holds, pair, left, part, raised, slot):
    """Note in a slot what `score_slots` asks about a node. See there, and `are_whole`, for the arrays."""
    for k in range(2):
        r = pair.second if k else pair.first
        left[k, slot], part[k, slot] = has[r] - holds[r] + _HALF, _ALL / has[r]
    raised[0, slot] = np.int32(np.rint(_HALF * part[0, slot] - _HALF * part[1, slot]))


@borrowing_kernel
def score_slots(left, part, raised, first, ask0, ask1, weights, found):
    """Fill found[0] with 1 + the score of the nodes in the slots from `first` on, 0 where a pod doesn't fit.

    Gives whether a balance is open: then what was found is nothing. For LeastAllocated alone.

    left, part : float64[2, S]  what is free of both resources, -inf in an empty slot; parts of 100 % in a unit
    raised     : int32[1, S]
    weights    : int32: the share of each resource, as Points; the weights of use and of balance; 1 + what the
                 score is raised by
    found      : int32[1, .], a multiple of 8
    """
    is_open = False
    for i in range(0, found.shape[1], _ABREAST):
        is_open |= _score_eight(left, part, raised, first + i, (ask0, ask1), weights, found, i)
    return is_open


@intrinsic
def _score_eight(
    typing: Any, left: Any, part: Any, raised: Any, slot: Any, asks: Any, weights: Any, found: Any, i: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        tables = [Rows(context, builder, signature.args[place], given[place]) for place in (0, 1, 2, 6)]
        asked, (share0, share1, use, of_balance, bonus) = (cgutils.unpack_tuple(builder, given[k]) for k in (4, 5))
        slot, rows = given[3], [ir.Constant(given[3].type, row) for row in (0, 1)]
        free, parts = ([table.load(row, slot, _ABREAST) for row in rows] for table in tables[:2])
        x, y = (((free[k] - asked[k]).at_least(-1.0) * parts[k]).whole() for k in (0, 1))
        turned = (0, 0, 0, tables[2].load(rows[0], slot, _ABREAST))
        total, near = _of_left(x, y, turned, (share0, share1, use, bonus), of_balance)
        tables[3].store(rows[0], given[7], total.value)
        return near.any_negative()

    told = (types.UniTuple(types.float64, 2), types.UniTuple(types.int32, 5))
    return types.boolean(left, part, raised, types.intp, *told, found, types.intp), generate
