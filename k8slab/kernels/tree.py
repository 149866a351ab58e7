"""Placing pod after pod by a tree of scores: all nodes for all classes of pods, under maxima.

N nodes, C classes, R resources; for rules that look at one node at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel, inlined_kernel, kernel
from k8slab.kernels.blocks import best_in_blocks, fill_blocks, move_node
from k8slab.kernels.choice import draw01
from k8slab.kernels.lanes import FANOUT, LANES, OPEN, SAME, carry_lanes, raise_lanes, tied
from k8slab.kernels.pair import score_by_pair
from k8slab.kernels.points import Points, are_whole, score_whole
from k8slab.kernels.scores import Asked, Floats, Ints, score_pairs


class Tree(NamedTuple):
    """Scores of all nodes for all classes, under maxima of eight.

    best   : uint8, uint16 or uint32 [T, C]  level 0 holds a row a node: 1 + its score, 0 where a
             class doesn't fit
    few    : uint8[., C]   in levels 1 and 2, how many nodes below a row have its best; no rows
             unless ties are drawn
    many   : uint16[., C]  the same in the levels above
    offset : int64[L + 1]  first row of each level. The last level has some rows, which are looked at
             one by one: that costs a pod less than levels above them cost each change
    was, had_few, had_many : as best, few and many, [1, C]  what rows were that change, where ties are drawn
    changing : int64[.]    the columns, 32 by 32, that do
    """

    best: npt.NDArray[Any]
    few: npt.NDArray[np.uint8]
    many: npt.NDArray[np.uint16]
    offset: Ints
    was: npt.NDArray[Any]
    had_few: npt.NDArray[np.uint8]
    had_many: npt.NDArray[np.uint16]
    changing: Ints


class Leaves(NamedTuple):
    """What the nodes' rows are computed from.

    allocatable, requested : float64[N, R]  a node's resources side by side
    request : float64[R, C]
    most    : float64[R]     the most that any class asks for
    allowed : int32[K, C]    -1 where a class may use nodes of that kind, else 0
    kind    : int32[N]
    bonus   : float64[N]     a score that depends on the node alone
    points  : what else their scores hang on
    """

    allocatable: Floats
    requested: Floats
    request: Floats
    most: Floats
    allowed: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int32]
    bonus: Floats
    points: Points


class Classes(NamedTuple):
    """All classes of pods, and how those that have no column in the tree find a node.

    column  : int32[A]     the class's column in the tree, -1 for none: these ask the blocks
    request : float64[R, A]
    allowed : int32[K, A]  see Leaves
    """

    column: npt.NDArray[np.int32]
    request: Floats
    allowed: npt.NDArray[np.int32]


@inlined_kernel
def _score_by_pair(node, leaves, pair, points, best):
    """Fill a node's row: 1 + its score for every class, 0 where that doesn't fit. points : int32[C], scratch"""
    has, holds, extra, kind = leaves.allocatable[node], leaves.requested[node], leaves.bonus[node], leaves.kind[node]
    request = leaves.request
    if are_whole(has, holds, pair, leaves.points):
        score_whole(has, holds, request, extra, pair, leaves.points, leaves.allowed, kind, best, node)
        for r in range(request.shape[0]):
            left = has[r] - holds[r]
            if left < leaves.most[r] and r != pair.first and r != pair.second:
                _clear_too_large(request[r], left, best[node])
    else:
        score_by_pair(has, holds, request, extra, pair, points)
        _write_row(node, leaves, points, best)


@borrowing_kernel
def _clear_too_large(ask, left, row):
    for c in range(row.shape[0]):
        row[c] = row[c] if (ask[c] <= left) | (ask[c] <= 0.0) else 0


@borrowing_kernel
def _write_row(node, leaves, points, best):
    """A node's row is its points, but 0 for the classes that don't fit."""
    for c in range(points.shape[0]):
        best[node, c] = points[c] & leaves.allowed[leaves.kind[node], c]
    for r in range(leaves.request.shape[0]):
        left = leaves.allocatable[node, r] - leaves.requested[node, r]
        if left < leaves.most[r]:
            _clear_too_large(leaves.request[r], left, best[node])


@kernel
def _score_by_kernels(node, leaves, scoring, points, wide, best):
    """As `_score_by_pair`, for any scores. wide : float64[2 * R + 2, C], scratch."""
    request = leaves.request
    resources = request.shape[0]
    used, can, part, total = wide[:resources], wide[resources : 2 * resources], wide[-2], wide[-1]
    for r in range(resources):
        has, holds = leaves.allocatable[node, r], leaves.requested[node, r]
        for c in range(points.shape[0]):
            can[r, c] = has
            used[r, c] = holds + request[r, c]
    score_pairs(Asked(used, request, used, request, used, request), can, scoring, part, total)
    extra = leaves.bonus[node]
    for c in range(points.shape[0]):
        points[c] = np.int32(total[c] + extra) + 1
    _write_row(node, leaves, points, best)


@borrowing_kernel
def _raise_family(tree, level, parent, is_drawn):
    """Take in a level's eight rows below a row of the next."""
    rows, few, many, offset = tree.best, tree.few, tree.many, tree.offset
    child, row = offset[level] + parent * FANOUT, offset[level + 1] + parent
    below, above = child - offset[1], row - offset[1]
    fewer, more = below - few.shape[0], above - few.shape[0]
    for c in range(0, rows.shape[1], LANES):
        if not is_drawn:
            raise_lanes(rows, child, row, c, None, 0, None, 0)
        elif level == 0:
            raise_lanes(rows, child, row, c, None, 0, few, above)
        elif level == 1:
            raise_lanes(rows, child, row, c, few, below, few, above)
        elif level == 2:
            raise_lanes(rows, child, row, c, few, below, many, more)
        else:
            raise_lanes(rows, child, row, c, many, fewer, many, more)


@inlined_kernel
def _carry(tree, level, index, count, is_drawn):
    """Take in a changed row of a level in the row above it, in so many of `changing`; gives how many go on changing."""
    rows, few, many, offset, was = tree.best, tree.few, tree.many, tree.offset, tree.was
    had_few, had_many, changing = tree.had_few, tree.had_many, tree.changing
    child, row = offset[level] + index, offset[level + 1] + index // FANOUT
    first = child - index % FANOUT
    below, above, family = child - offset[1], row - offset[1], first - offset[1]
    fewer, more, distant = below - few.shape[0], above - few.shape[0], family - few.shape[0]
    left = 0
    for k in range(count):
        c = changing[k]
        changing[left] = c
        if not is_drawn:
            left += raise_lanes(rows, first, row, c, None, 0, None, 0)
            continue
        if level == 0:
            told = carry_lanes(rows, child, row, c, was, None, 0, None, few, above, had_few)
            if told == OPEN:
                raise_lanes(rows, first, row, c, None, 0, few, above)
        elif level == 1:
            told = carry_lanes(rows, child, row, c, was, few, below, had_few, few, above, had_few)
            if told == OPEN:
                raise_lanes(rows, first, row, c, few, family, few, above)
        elif level == 2:
            told = carry_lanes(rows, child, row, c, was, few, below, had_few, many, more, had_many)
            if told == OPEN:
                raise_lanes(rows, first, row, c, few, family, many, more)
        else:
            told = carry_lanes(rows, child, row, c, was, many, fewer, had_many, many, more, had_many)
            if told == OPEN:
                raise_lanes(rows, first, row, c, many, distant, many, more)
        left += told != SAME
    return left


@inlined_kernel
def _remember(tree, node, is_drawn):
    """Keep a node's row, which is about to change."""
    was, row = tree.was[0], tree.best[node]
    if is_drawn:
        for c in range(row.shape[0]):
            was[c] = row[c]


@inlined_kernel
def raise_change(tree, node, is_drawn):
    """Carry a node's new row up the tree, as far as it changes anything; `tree.was` is the old one."""
    changing, count = tree.changing, 0
    for c in range(0, tree.best.shape[1], LANES):
        changing[count] = c
        count += 1
    index = node
    for level in range(tree.offset.shape[0] - 2):
        count = _carry(tree, level, index, count, is_drawn)
        if count == 0:
            return
        index //= FANOUT


# A rank that no tie has.
_BEYOND = np.int64(1 << 40)


@inlined_kernel
def _pick(tree, level, first, stop, c, best, is_drawn, skip):
    """Which of a level's rows has the tied node of this rank, and its rank there."""
    rows, few, many = tree.best, tree.few, tree.many
    below = first - tree.offset[1]
    fewer = below - few.shape[0]
    passed, before, place = np.int64(0), np.int64(0), first
    # No jumps: the processor would foresee half of them at best.
    for k in range(stop - first):
        if not is_drawn or level == 0:
            passed += tied(rows, first + k, c, best, None, 0)
        elif level < 3:
            passed += tied(rows, first + k, c, best, few, below + k)
        else:
            passed += tied(rows, first + k, c, best, many, fewer + k)
        is_before = np.int64(passed <= skip)
        place += is_before
        before = max(before, passed & -is_before)
    return place, skip - before


@inlined_kernel
def _pick_top(tree, c, is_drawn, draw):
    """The best score of a class, the row of the last level that has the node, and its rank there."""
    rows, offset = tree.best, tree.offset
    top = offset.shape[0] - 2
    first, stop = offset[top], offset[top + 1]
    best = rows[first, c]
    for row in range(first, stop):
        best = max(best, rows[row, c])
    skip = np.int64(0)
    if is_drawn:
        # Past the last of them all, what a rank was lowered by is how many there are.
        skip = np.int64(draw * (_BEYOND - _pick(tree, top, first, stop, c, best, is_drawn, _BEYOND)[1]))
    row, skip = _pick(tree, top, first, stop, c, best, is_drawn, skip)
    return best, row, skip


@inlined_kernel
def descend(tree, c, is_drawn, draw):
    """The node row of the class's best score: the lowest, or the one that `draw` in [0, 1) picks; -1 for none."""
    offset = tree.offset
    best, row, skip = _pick_top(tree, c, is_drawn, draw)
    for level in range(offset.shape[0] - 3, -1, -1):
        first = offset[level] + (row - offset[level + 1]) * FANOUT
        row, skip = _pick(tree, level, first, first + FANOUT, c, best, is_drawn, skip)
    return row if best > 0 else np.int64(-1)


@kernel
def score_nodes(nodes, best, leaves, scoring, pair):
    """Fill these nodes' rows, level 0 of a tree, for the cluster as it is. nodes : int64[]"""
    points, wide = _scratch(leaves.request)
    for i in range(nodes.shape[0]):
        if scoring is not None:
            _score_by_kernels(nodes[i], leaves, scoring, points, wide, best)
        if pair is not None:
            _score_by_pair(nodes[i], leaves, pair, points, best)


@kernel
def _scratch(request):
    resources, classes = request.shape
    return np.empty(classes, np.int32), np.empty((2 * resources + 2, classes))


@kernel
def fill_above(tree, is_drawn):
    """Fill the levels above the leaves."""
    offset = tree.offset
    for level in range(offset.shape[0] - 2):
        for parent in range((offset[level + 1] - offset[level]) // FANOUT):
            _raise_family(tree, level, parent, is_drawn)


# What interrupts a run: all pods placed, a pod that fits nowhere, a node to score by kernels that
# need memory, blocks that are full.
_DONE, _STOPPED, _UNSCORED, _FULL = 0, 1, 2, 3


@inlined_kernel
def _settle(node, tree, leaves, blocks, pair, is_drawn, points):
    """Take in that a node holds more or less than before, as far as that needs no memory; gives what is left to do."""
    if points.shape[0]:
        if pair is None:
            return _UNSCORED
        # Asked again so that numba leaves it out where there is none.
        if pair is not None:
            _remember(tree, node, is_drawn)
            _score_by_pair(node, leaves, pair, points, tree.best)
        raise_change(tree, node, is_drawn)
    if blocks is not None and not move_node(blocks, node, leaves, pair):
        return _FULL
    return _DONE


@borrowing_kernel
def _run(at, stop, pod_class, classes, tree, leaves, blocks, pair, leaving, draws, stops, chosen, points):
    """Place pods from at[0] on until something interrupts, and say what; at[2] is the node concerned."""
    is_drawn, seed, pod_row = draws
    leaves_from, leavers = leaving
    requested, request, column = leaves.requested, classes.request, classes.column
    while True:
        pod = at[0]
        if leaves_from.shape[0] and at[1] < leaves_from[pod] and pod < stop:
            gone = leavers[at[1]]
            at[1] += 1
            node, c, sign = chosen[gone], pod_class[gone], -1.0
        elif pod == stop:
            return _DONE
        else:
            c, sign = pod_class[pod], 1.0
            draw = draw01(seed, pod_row[pod]) if is_drawn else 0.0
            if column[c] >= 0:
                node = descend(tree, column[c], is_drawn, draw)
            else:
                node = -1
                if blocks is not None:
                    share = leaves.points.share
                    node = best_in_blocks(blocks, request, c, classes.allowed, pair, share, is_drawn, draw)
            if node < 0 and stops[pod]:
                return _STOPPED
            chosen[pod] = node
            at[0] += 1
        if node >= 0:
            at[2] = node
            for r in range(requested.shape[1]):
                requested[node, r] += sign * request[r, c]
            left = _settle(node, tree, leaves, blocks, pair, is_drawn, points)
            if left != _DONE:
                return left


@kernel
def _finish(node, tree, leaves, blocks, scoring, pair, is_drawn, points, wide):
    """Do what `_settle` left to do about a node."""
    if scoring is not None:
        _remember(tree, node, is_drawn)
        _score_by_kernels(node, leaves, scoring, points, wide, tree.best)
        raise_change(tree, node, is_drawn)
    if blocks is not None:
        fill_blocks(blocks, leaves, pair)


@kernel
def rescore(nodes, tree, leaves, blocks, scoring, pair, is_drawn):
    """Take in that the caller changed what these nodes hold. nodes : int64[]"""
    points, wide = _scratch(leaves.request)
    for i in range(nodes.shape[0]):
        if _settle(nodes[i], tree, leaves, blocks, pair, is_drawn, points) != _DONE:
            _finish(nodes[i], tree, leaves, blocks, scoring, pair, is_drawn, points, wide)


@kernel
def place_by_tree(at, stop, pod_class, classes, tree, leaves, blocks, scoring, pair, leaving, draws, stops, chosen):
    """Place pods one after another by a filled tree, and keep tree, blocks and what nodes hold in step.

    A placement changes one node, so one row is scored again, for all classes at once,
    and carried up: the cost of a pod hardly knows how many nodes there are.

    at        : int64[3]  the next pod, the next to leave; afterwards how far it came, which is before
                `stop` where a pod stops it
    pod_class : int32[P]
    blocks    : Blocks, or None where all classes have a column
    scoring, pair : Scoring and None, or None and Pair where the scores are that sum; only then there can
                be blocks. None is a type of its own to numba, so what would use it isn't even compiled
    leaving   : int64[P], int64[.]  the pods second[: first[p]] have left before pod p comes, in this
                order; both are empty where none leaves
    draws     : (random: bool, seed: uint64, pod_row: int64[P])
    stops     : bool[P]   come back to the caller before a pod that fits nowhere
    chosen    : int64[P]  filled with node rows, -1 where no node fits
    """
    points, wide = _scratch(leaves.request)
    while True:
        left = _run(at, stop, pod_class, classes, tree, leaves, blocks, pair, leaving, draws, stops, chosen, points)
        if left <= _STOPPED:
            return
        _finish(at[2], tree, leaves, blocks, scoring, pair, draws[0], points, wide)
