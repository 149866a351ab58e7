"""The best node for a pod of any request, without a look at every node: blocks of nodes alike, under bounds.

Nodes stand in blocks of 64: of one group (alike for static filters and scores), and near one
another in what they hold. What the nodes of a block hold lies between bounds, and so does
their score, for whatever request. The blocks that could have the best node are looked
at, and no others: a few dozen of thousands. A node that changes leaves its block for one of
those that collect changed nodes; when these are full all blocks are made anew.

The scores are those of `pair`. S slots, B blocks, G groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel, kernel
from k8slab.kernels.lanes import LANES, count_equal
from k8slab.kernels.points import are_whole, enter_whole, score_slots
from k8slab.kernels.scores import Floats, Ints

SIZE = 64
# How finely use is told apart when nodes are ordered by it.
_BINS = 1024
_RISEN, _FALLEN = 0, 1
# Bounds are computed otherwise than scores; by so much less they may come out.
_SLACK = 1e-6


class Blocks(NamedTuple):
    """Nodes in blocks.

    allocatable, requested : float64[R, S]
    inverse  : float64[2, S]  1 / allocatable of the pair's resources, 0 where a node has none
    node     : int32[S]       the node in a slot, -1 for none
    slot     : int32[N]       the slot of each node
    left, part : float64[2, S], raised : int32[1, S]  see score_slots
    whole    : bool[B]        whether all of a block's nodes may be scored so
    free     : float64[R, B]  the most that is free on any node of a block
    least, most : float64[2, B] the least and most 1 / allocatable
    share    : float64[2, B]  what each of the resources counts in the mean
    half     : float64[B]     1/2, or 0 where a resource is lacking and nothing can be uneven
    emptiest, fullest : float64[B] the least and most mean of the fractions requested
    low, high : float64[B]    the least and most by which the first fraction is above the second
    lowest   : int32[B]       the lowest node row that ever came to a block
    owner    : int32[B]       the group whose nodes stand in a block
    kind     : int32[B]       see Leaves
    bonus    : float64[B]
    group    : int32[N]       each node's group
    open     : int64[2, G]    where the next node of a group goes that holds more than before, or less; -1 nowhere yet
    made     : int64[3]       blocks in use, how many of them were made last time, and the stamp of those now tied
    bound    : int32[B]       scratch
    points   : int32[1, 64]   scratch
    tied     : uint8[1, .]    scratch: the last stamp of each node; as long as a multiple of 32
    """

    allocatable: Floats
    requested: Floats
    inverse: Floats
    node: npt.NDArray[np.int32]
    slot: npt.NDArray[np.int32]
    left: Floats
    part: Floats
    raised: npt.NDArray[np.int32]
    whole: npt.NDArray[np.bool_]
    free: Floats
    least: Floats
    most: Floats
    share: Floats
    half: Floats
    emptiest: Floats
    fullest: Floats
    low: Floats
    high: Floats
    lowest: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int32]
    bonus: Floats
    group: npt.NDArray[np.int32]
    open: Ints
    made: Ints
    bound: npt.NDArray[np.int32]
    points: npt.NDArray[np.int32]
    tied: npt.NDArray[np.uint8]


# -- asking ------------------------------------------------------------------------


@borrowing_kernel
def _bound_blocks(blocks, request, c, pair):
    """Fill `blocks.bound`: 1 + a score that no node of the block exceeds, 0 where none can have the pod.

    Where a pod fits, its node will be as full as it was and as the pod asks for: a fraction
    f of a resource becomes f + ask / allocatable. So how full it will be in the mean, and
    how far from even, lies as far from the block's bounds for every node of one size; the
    floors of the single resources only make it less.
    """
    count, bound = blocks.made[0], blocks.bound
    ask0, ask1 = request[pair.first, c], request[pair.second, c]
    share0, share1 = blocks.share[0], blocks.share[1]
    most0, most1, least0, least1 = blocks.most[0], blocks.most[1], blocks.least[0], blocks.least[1]
    emptiest, fullest, low, high, half = blocks.emptiest, blocks.fullest, blocks.low, blocks.high, blocks.half
    bonus, of_use = blocks.bonus, pair.weight[0]
    of_balance = pair.weight[3] if ask0 + ask1 > 0.0 else 0.0
    sign = 1.0 if pair.least else 0.0
    for b in range(count):
        empty = 1.0 - emptiest[b] - share0[b] * ask0 * least0[b] - share1[b] * ask1 * least1[b]
        full = fullest[b] + share0[b] * ask0 * most0[b] + share1[b] * ask1 * most1[b]
        use = np.floor(100.0 * (sign * empty + (1.0 - sign) * full) + _SLACK)
        use = use if use < 100.0 else 100.0
        use = use if use > 0.0 else 0.0
        over = low[b] + ask0 * least0[b] - ask1 * most1[b]
        under = ask1 * least1[b] - ask0 * most0[b] - high[b]
        apart = over if over > under else under
        apart = apart if apart > 0.0 else 0.0
        balance = np.floor((1.0 - apart * half[b]) * 100.0 + _SLACK)
        balance = balance if balance > 0.0 else 0.0
        bound[b] = np.int32(of_use * use + of_balance * balance + bonus[b]) + 1
    for r in range(request.shape[0]):
        ask, free = request[r, c], blocks.free[r]
        if ask > 0.0:
            for b in range(count):
                bound[b] = bound[b] if ask <= free[b] else 0


@borrowing_kernel
def _score_block(blocks, b, request, c, pair, share):
    """Fill `blocks.points`: 1 + the score of the node in each slot, 0 where the pod doesn't fit. share : see Points"""
    if not blocks.whole[b] or _score_whole(blocks, b, request, c, pair, share):
        _score_exactly(blocks, b, request, c, pair)


@borrowing_kernel
def _score_whole(blocks, b, request, c, pair, share):
    """As `_score_block`, by whole numbers; gives whether that won't do."""
    points, first = blocks.points[0], b * SIZE
    stop = first + SIZE
    ask0, ask1 = request[pair.first, c], request[pair.second, c]
    of_balance = np.int32(pair.weight[3] if ask0 + ask1 > 0.0 else 0.0)
    weights = (share[0], share[1], np.int32(pair.weight[0]), of_balance, np.int32(blocks.bonus[b] + 1.0))
    if score_slots(blocks.left, blocks.part, blocks.raised, first, ask0, ask1, weights, blocks.points):
        return True
    for r in range(request.shape[0]):
        ask, can, held = request[r, c], blocks.allocatable[r][first:stop], blocks.requested[r][first:stop]
        if ask > 0.0 and r != pair.first and r != pair.second:
            for i in range(points.shape[0]):
                points[i] = points[i] if held[i] + ask <= can[i] else 0
    return False


@borrowing_kernel
def _score_exactly(blocks, b, request, c, pair):
    points, first = blocks.points[0], b * SIZE
    stop = first + SIZE
    ask0, ask1 = request[pair.first, c], request[pair.second, c]
    can0, can1 = blocks.allocatable[pair.first][first:stop], blocks.allocatable[pair.second][first:stop]
    held0, held1 = blocks.requested[pair.first][first:stop], blocks.requested[pair.second][first:stop]
    part0, part1 = blocks.inverse[0][first:stop], blocks.inverse[1][first:stop]
    of_use, weight0, weight1, of_balance = pair.weight[0], pair.weight[1], pair.weight[2], pair.weight[3]
    of_balance = of_balance if ask0 + ask1 > 0.0 else 0.0
    counted0 = weight0 if blocks.share[0, b] > 0.0 else 0.0
    counted1 = weight1 if blocks.share[1, b] > 0.0 else 0.0
    whole, half = 1.0 / (counted0 + counted1) if counted0 + counted1 > 0.0 else 1.0, blocks.half[b]
    start, sign, bonus = (1.0, -1.0, blocks.bonus[b]) if pair.least else (0.0, 1.0, blocks.bonus[b])
    for i in range(points.shape[0]):
        used0, used1 = held0[i] + ask0, held1[i] + ask1
        share0, share1 = start * can0[i] + sign * used0, start * can1[i] + sign * used1
        share0, share1 = share0 if share0 > 0.0 else 0.0, share1 if share1 > 0.0 else 0.0
        share0, share1 = share0 if share0 < can0[i] else can0[i], share1 if share1 < can1[i] else can1[i]
        score0 = np.floor((100.0 * share0 + 0.5) * part0[i])
        score1 = np.floor((100.0 * share1 + 0.5) * part1[i])
        use = np.floor((counted0 * score0 + counted1 * score1 + 0.5) * whole)
        full0 = used0 / (can0[i] if can0[i] > 0.0 else 1.0)
        full1 = used1 / (can1[i] if can1[i] > 0.0 else 1.0)
        full0, full1 = full0 if full0 < 1.0 else 1.0, full1 if full1 < 1.0 else 1.0
        balance = np.floor((1.0 - np.abs(full1 - full0) * half) * 100.0)
        points[i] = np.int32(of_use * use + of_balance * balance + bonus) + 1
    for r in range(request.shape[0]):
        ask, can, held = request[r, c], blocks.allocatable[r][first:stop], blocks.requested[r][first:stop]
        if ask > 0.0:
            for i in range(points.shape[0]):
                points[i] = points[i] if held[i] + ask <= can[i] else 0
    node = blocks.node[first:stop]
    for i in range(points.shape[0]):
        points[i] = points[i] if node[i] >= 0 else 0


@borrowing_kernel
def best_in_blocks(blocks, request, c, allowed, pair, share, is_drawn, draw):
    """The node row of the best score for a class: the lowest, or the one that `draw` in [0, 1) picks; -1 for none.

    request : float64[R, C]
    allowed : int32[K, C]  -1 where a class may use nodes of a kind, else 0
    share   : int32[2]     see Points
    """
    _bound_blocks(blocks, request, c, pair)
    bound, points, tied = blocks.bound, blocks.points[0], blocks.tied[0]
    likely = 0
    for b in range(blocks.made[0]):
        bound[b] &= allowed[blocks.kind[b], c]
        likely = b if bound[b] > bound[likely] else likely
    best, many, row, stamp = np.int32(1), 0, -1, _next_stamp(blocks)
    for k in range(-1, blocks.made[0]):
        # The likeliest first: the better what was found, the fewer are looked at.
        b = likely if k < 0 else k
        if bound[b] < best or (k == likely) or (not is_drawn and bound[b] == best and blocks.lowest[b] > row >= 0):
            continue
        _score_block(blocks, b, request, c, pair, share)
        most = np.int32(0)
        for i in range(points.shape[0]):
            most = points[i] if points[i] > most else most
        if most < best:
            continue
        if most > best:
            best, many, row = most, 0, -1
            stamp = _next_stamp(blocks)
        for i in range(points.shape[0]):
            if points[i] == best:
                node = blocks.node[b * SIZE + i]
                if is_drawn:
                    tied[node] = stamp
                    many += 1
                else:
                    row = node if row < 0 or node < row else row
    return _stamped(blocks.tied, stamp, int(draw * many)) if many > 0 else np.int64(row)


@borrowing_kernel
def _next_stamp(blocks):
    """A stamp that no node has."""
    made, tied = blocks.made, blocks.tied
    made[2] += 1
    if made[2] == 256:
        made[2] = 1
        tied[:, :] = 0
    return np.uint8(made[2])


@borrowing_kernel
def _stamped(stamps, stamp, rank):
    """The row of this rank among those that bear a stamp; so many there must be. stamps : see Blocks.tied

    A fresh cluster's nodes are tied by the ten thousands, and to list them in order takes as long as to
    score them.
    """
    rows, start = stamps[0], 0
    here = count_equal(stamps, 0, stamp)
    while here <= rank:
        rank -= here
        start += LANES
        here = count_equal(stamps, start, stamp)
    for row in range(start, start + LANES):
        if rows[row] == stamp:
            if rank == 0:
                return np.int64(row)
            rank -= 1
    return np.int64(-1)


# -- keeping up ----------------------------------------------------------------------


@borrowing_kernel
def _enter(blocks, slot, node, leaves, pair):
    """Put a node in a slot, and widen the block's bounds by it."""
    b = slot // SIZE
    blocks.node[slot] = node
    blocks.slot[node] = slot
    blocks.lowest[b] = min(blocks.lowest[b], node)
    for r in range(blocks.free.shape[0]):
        can, holds = leaves.allocatable[node, r], leaves.requested[node, r]
        blocks.allocatable[r, slot], blocks.requested[r, slot] = can, holds
        blocks.free[r, b] = max(blocks.free[r, b], can - holds)
    has, holds = leaves.allocatable[node], leaves.requested[node]
    if pair.least and are_whole(has, holds, pair, leaves.points):
        enter_whole(has, holds, pair, blocks.left, blocks.part, blocks.raised, slot)
    else:
        blocks.whole[b] = False
    part0, full0 = _full(leaves, node, pair.first)
    part1, full1 = _full(leaves, node, pair.second)
    blocks.inverse[0, slot], blocks.inverse[1, slot] = part0, part1
    blocks.most[0, b], blocks.most[1, b] = max(blocks.most[0, b], part0), max(blocks.most[1, b], part1)
    blocks.least[0, b], blocks.least[1, b] = min(blocks.least[0, b], part0), min(blocks.least[1, b], part1)
    weight0 = pair.weight[1] if part0 > 0.0 else 0.0
    weight1 = pair.weight[2] if part1 > 0.0 else 0.0
    weights = weight0 + weight1 if weight0 + weight1 > 0.0 else 1.0
    # The same for all nodes of a group.
    blocks.share[0, b], blocks.share[1, b] = weight0 / weights, weight1 / weights
    blocks.half[b] = 0.5 if (part0 > 0.0) & (part1 > 0.0) else 0.0
    mean = (weight0 * full0 + weight1 * full1) / weights
    blocks.emptiest[b], blocks.fullest[b] = min(blocks.emptiest[b], mean), max(blocks.fullest[b], mean)
    blocks.low[b], blocks.high[b] = min(blocks.low[b], full0 - full1), max(blocks.high[b], full0 - full1)


@borrowing_kernel
def _leave(blocks, slot):
    """Empty a slot."""
    blocks.node[slot] = -1
    blocks.left[0, slot], blocks.part[0, slot] = -np.inf, 1.0


@borrowing_kernel
def _full(leaves, node, r):
    """1 / allocatable and the fraction that is requested, 1 at most; 0 and 0 of what a node doesn't have."""
    can = leaves.allocatable[node, r]
    part = 1.0 / can if can > 0.0 else 0.0
    return part, min(leaves.requested[node, r] * part, 1.0)


@borrowing_kernel
def _next_block(blocks, group, kind, bonus):
    """An empty block; gives its first slot."""
    b = blocks.made[0]
    blocks.made[0] += 1
    blocks.owner[b], blocks.kind[b], blocks.bonus[b], blocks.lowest[b] = group, kind, bonus, 2**31 - 1
    blocks.free[:, b] = -np.inf
    blocks.most[:, b], blocks.least[:, b] = 0.0, np.inf
    blocks.emptiest[b], blocks.fullest[b] = np.inf, -np.inf
    blocks.low[b], blocks.high[b] = np.inf, -np.inf
    blocks.whole[b] = True
    for slot in range(b * SIZE, (b + 1) * SIZE):
        _leave(blocks, slot)
    return b * SIZE


@borrowing_kernel
def move_node(blocks, node, leaves, pair):
    """Take in that a node changed, by what `leaves` says of it; False if there is no room, and nothing was done."""
    old = blocks.slot[node]
    slot = np.int64(old)
    group = blocks.group[node]
    if old < blocks.made[1] * SIZE or blocks.owner[old // SIZE] != group:
        fallen = leaves.requested[node, pair.first] < blocks.requested[pair.first, old]
        where = _FALLEN if fallen else _RISEN
        slot = blocks.open[where, group]
        if slot < 0 or slot % SIZE == 0:
            if blocks.made[0] == blocks.bound.shape[0]:
                return False
            slot = _next_block(blocks, group, leaves.kind[node], leaves.bonus[node])
        blocks.open[where, group] = slot + 1
        _leave(blocks, old)
    _enter(blocks, slot, node, leaves, pair)
    return True


@kernel
def fill_blocks(blocks, leaves, pair):
    """Put all nodes in blocks anew: group by group, by how full they are, and then by how evenly."""
    nodes = blocks.slot.shape[0]
    sums, tilts = np.empty(nodes), np.empty(nodes)
    for node in range(nodes):
        full0, full1 = _full(leaves, node, pair.first)[1], _full(leaves, node, pair.second)[1]
        sums[node], tilts[node] = full0 + full1, full0 - full1
    order, first = _counted(blocks.group, blocks.open.shape[1], np.arange(nodes))
    blocks.made[0] = 0
    for group in range(blocks.open.shape[1]):
        blocks.open[:, group] = -1
        members = order[first[group] : first[group + 1]]
        slot = 0
        for node in _ordered(members, sums, tilts):
            if slot % SIZE == 0:
                slot = _next_block(blocks, group, leaves.kind[node], leaves.bonus[node])
            _enter(blocks, slot, node, leaves, pair)
            slot += 1
    blocks.made[1] = blocks.made[0]


@kernel
def _ordered(members, sums, tilts):
    """These nodes in strips of equal sum, as many as blocks in a strip, each by tilt."""
    count = members.shape[0]
    by_sum = _counted(_binned(members, sums), _BINS, members)[0]
    strips = max(int(np.sqrt(count / SIZE)), 1)
    each = max((-(-count // strips) + SIZE - 1) // SIZE, 1) * SIZE
    for start in range(0, count, each):
        strip = by_sum[start : start + each]
        ordered = _counted(_binned(strip, tilts), _BINS, strip)[0]
        # One by one: for a slice numba also compiles the message that it would not fit, which takes 4 seconds.
        for i in range(strip.shape[0]):
            strip[i] = ordered[i]
    return by_sum


@kernel
def _binned(members, values):
    """int32[M]: each member's value, by 1,024 steps between the least and the most."""
    low, high = np.inf, -np.inf
    for node in members:
        low, high = min(low, values[node]), max(high, values[node])
    scale = (_BINS - 1) / (high - low) if high > low else 0.0
    bins = np.empty(members.shape[0], np.int32)
    for i in range(members.shape[0]):
        bins[i] = np.int32((values[members[i]] - low) * scale)
    return bins


@kernel
def _counted(keys, count, values):
    """The values by their keys 0..count-1, equals as they stand, and where each key begins: a counting sort."""
    first = np.zeros(count + 1, np.int64)
    for key in keys:
        first[key + 1] += 1
    for key in range(count):
        first[key + 1] += first[key]
    place, ordered = first.copy(), np.empty_like(values)
    for i in range(keys.shape[0]):
        ordered[place[keys[i]]] = values[i]
        place[keys[i]] += 1
    return ordered, first
