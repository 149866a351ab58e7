"""Placing pod after pod by a tree of scores: all nodes for all classes of pods, under maxima.

N nodes, C classes, R resources; for rules that look at one node at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel, kernel
from k8slab.kernels.blocks import best_in_blocks, fill_blocks, move_node
from k8slab.kernels.choice import draw01
from k8slab.kernels.lanes import FANOUT, LANES, raise_lanes
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
    """

    best: npt.NDArray[Any]
    few: npt.NDArray[np.uint8]
    many: npt.NDArray[np.uint16]
    offset: Ints


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


@borrowing_kernel
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
    """Take in a level's eight rows below a row of the next; gives whether that changed the row."""
    rows, few, many, offset = tree
    child, row = offset[level] + parent * FANOUT, offset[level + 1] + parent
    below, above = child - offset[1], row - offset[1]
    fewer, more = below - few.shape[0], above - few.shape[0]
    changed = False
    for c in range(0, rows.shape[1], LANES):
        if not is_drawn:
            changed |= raise_lanes(rows, child, row, c, None, 0, None, 0)
        elif level == 0:
            changed |= raise_lanes(rows, child, row, c, None, 0, few, above)
        elif level == 1:
            changed |= raise_lanes(rows, child, row, c, few, below, few, above)
        elif level == 2:
            changed |= raise_lanes(rows, child, row, c, few, below, many, more)
        else:
            changed |= raise_lanes(rows, child, row, c, many, fewer, many, more)
    return changed


@borrowing_kernel
def raise_change(tree, node, is_drawn):
    """Carry a node's new row up the tree, as far as it changes anything."""
    parent = node
    for level in range(tree.offset.shape[0] - 2):
        parent //= FANOUT
        if not _raise_family(tree, level, parent, is_drawn):
            return


# A rank that no tie has.
_BEYOND = np.int64(1 << 40)


@borrowing_kernel
def _pick(tree, first, stop, c, best, held, below, skip):
    """Which of a level's rows has the tied node of this rank, and its rank there.

    held : how many below each row, from `below` on, have its best; None for one each
    """
    passed, place, before = np.int64(0), first, np.int64(0)
    for k in range(stop - first):
        # No branches: the processor would foresee half of them at best.
        passed += (tree.best[first + k, c] == best) * (np.int64(1) if held is None else np.int64(held[below + k, c]))
        place += passed <= skip
        before = passed if passed <= skip else before
    return place, skip - before


@borrowing_kernel
def _pick_at(tree, level, first, stop, c, best, is_drawn, skip):
    below = first - tree.offset[1]
    if not is_drawn or level == 0:
        return _pick(tree, first, stop, c, best, None, 0, skip)
    if level < 3:
        return _pick(tree, first, stop, c, best, tree.few, below, skip)
    return _pick(tree, first, stop, c, best, tree.many, below - tree.few.shape[0], skip)


@borrowing_kernel
def descend(tree, c, is_drawn, draw):
    """The node row of the class's best score: the lowest, or the one that `draw` in [0, 1) picks; -1 for none."""
    rows, offset = tree.best, tree.offset
    top = offset.shape[0] - 2
    first, stop = offset[top], offset[top + 1]
    best = rows[first, c]
    for row in range(first, stop):
        best = rows[row, c] if rows[row, c] > best else best
    if best == 0:
        return np.int64(-1)
    skip = np.int64(0)
    if is_drawn:
        # Past the last of them all, what a rank was lowered by is how many there are.
        skip = np.int64(draw * (_BEYOND - _pick_at(tree, top, first, stop, c, best, is_drawn, _BEYOND)[1]))
    for level in range(top, -1, -1):
        row, skip = _pick_at(tree, level, first, stop, c, best, is_drawn, skip)
        place = row - offset[level]
        if level > 0:
            first = offset[level - 1] + place * FANOUT
            stop = first + FANOUT
    return place


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


@borrowing_kernel
def _settle(node, tree, leaves, blocks, pair, is_drawn, points):
    """Take in that a node holds more or less than before, as far as that needs no memory; gives what is left to do."""
    if points.shape[0]:
        if pair is None:
            return _UNSCORED
        # Asked again so that numba leaves it out where there is none.
        if pair is not None:
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
                    node = best_in_blocks(blocks, request, c, classes.allowed, pair, is_drawn, draw)
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
