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
from k8slab.kernels.pair import score_by_pair
from k8slab.kernels.scores import Asked, Floats, Ints, score_pairs

FANOUT = 8


class Tree(NamedTuple):
    """Scores of all nodes for all classes, under maxima of eight.

    best   : uint8, uint16 or uint32 [T, C]  level 0 holds a row a node: 1 + its score, 0 where a
             class doesn't fit
    counts : uint16[T - N0, C]  from level 1 up, how many nodes below have that best; no rows
             unless ties are drawn
    offset : int64[L + 1]  first row of each level. The last level has some rows, which are looked at
             one by one: that costs a pod less than levels above them cost each change
    """

    best: npt.NDArray[Any]
    counts: npt.NDArray[np.uint16]
    offset: Ints


class Leaves(NamedTuple):
    """What the nodes' rows are computed from.

    allocatable, requested : float64[N, R]  a node's resources side by side
    request : float64[R, C]
    most    : float64[R]     the most that any class asks for
    allowed : int32[K, C]    -1 where a class may use nodes of that kind, else 0
    kind    : int32[N]
    bonus   : float64[N]     a score that depends on the node alone
    """

    allocatable: Floats
    requested: Floats
    request: Floats
    most: Floats
    allowed: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int32]
    bonus: Floats


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
def _score_by_pair(node, leaves, pair, points):
    """Fill `points`, int32[C]: 1 + the node's score for every class, whether it fits or not."""
    has, holds = leaves.allocatable[node], leaves.requested[node]
    score_by_pair(has, holds, leaves.request, leaves.bonus[node], pair, points)


@borrowing_kernel
def _write_row(node, leaves, points, best):
    """A node's row is its points, but 0 for the classes that don't fit."""
    request, kind = leaves.request, leaves.kind[node]
    for r in range(request.shape[0]):
        left = leaves.allocatable[node, r] - leaves.requested[node, r]
        if left < leaves.most[r]:
            for c in range(points.shape[0]):
                points[c] = points[c] if (request[r, c] <= left) | (request[r, c] <= 0.0) else 0
    for c in range(points.shape[0]):
        points[c] &= leaves.allowed[kind, c]
    for c in range(points.shape[0]):
        best[node, c] = points[c]


@kernel
def _score_by_kernels(node, leaves, scoring, points, wide):
    """As `score_by_pair`, for any scores. wide : float64[2 * R + 2, C], scratch."""
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


@borrowing_kernel
def _combine(rows, child, most):
    """Fill `most` with the maxima over the eight rows from `child` on, a class at a time."""
    # Written out: what numba makes of a loop over the eight is not SIMD.
    for c in range(most.shape[0]):
        left, right = rows[child, c], rows[child + 1, c]
        first = left if left > right else right
        left, right = rows[child + 2, c], rows[child + 3, c]
        second = left if left > right else right
        left, right = rows[child + 4, c], rows[child + 5, c]
        third = left if left > right else right
        left, right = rows[child + 6, c], rows[child + 7, c]
        fourth = left if left > right else right
        first = first if first > second else second
        third = third if third > fourth else fourth
        most[c] = first if first > third else third


@borrowing_kernel
def _count_leaves(rows, child, most, many):
    """Fill `many` with how many of the eight nodes from `child` on have the maximum."""
    for c in range(many.shape[0]):
        best = most[c]
        low = np.uint16(rows[child, c] == best) + np.uint16(rows[child + 1, c] == best)
        low += np.uint16(rows[child + 2, c] == best) + np.uint16(rows[child + 3, c] == best)
        high = np.uint16(rows[child + 4, c] == best) + np.uint16(rows[child + 5, c] == best)
        high += np.uint16(rows[child + 6, c] == best) + np.uint16(rows[child + 7, c] == best)
        many[c] = low + high


@borrowing_kernel
def _count_below(rows, held, child, below, most, many):
    """Fill `many` with how many nodes below the eight rows from `child` on have the maximum."""
    for c in range(many.shape[0]):
        best = most[c]
        # Products: conditional values would end SIMD.
        low = held[below, c] * (rows[child, c] == best) + held[below + 1, c] * (rows[child + 1, c] == best)
        low += held[below + 2, c] * (rows[child + 2, c] == best) + held[below + 3, c] * (rows[child + 3, c] == best)
        high = held[below + 4, c] * (rows[child + 4, c] == best) + held[below + 5, c] * (rows[child + 5, c] == best)
        high += held[below + 6, c] * (rows[child + 6, c] == best) + held[below + 7, c] * (rows[child + 7, c] == best)
        many[c] = low + high


@borrowing_kernel
def _replace(row, new):
    """Copy `new` into a row; gives whether they differed."""
    same = True
    for c in range(new.shape[0]):
        same &= row[c] == new[c]
    if same:
        return False
    for c in range(new.shape[0]):
        row[c] = new[c]
    return True


@borrowing_kernel
def raise_change(tree, node, is_drawn, most, many):
    """Carry a node's new row up the tree, as far as it changes anything. most, many : [C], scratch."""
    rows, counts, offset = tree
    parent = node
    for level in range(offset.shape[0] - 2):
        parent //= FANOUT
        child, row = offset[level] + parent * FANOUT, offset[level + 1] + parent
        _combine(rows, child, most)
        changed = _replace(rows[row], most)
        if is_drawn:
            above = row - offset[1]
            if level == 0:
                _count_leaves(rows, child, most, many)
            else:
                _count_below(rows, counts, child, child - offset[1], most, many)
            changed |= _replace(counts[above], many)
        if not changed:
            return


@borrowing_kernel
def descend(tree, c, is_drawn, draw):
    """The node row of the class's best score: the lowest, or the one that `draw` in [0, 1) picks; -1 for none."""
    rows, counts, offset = tree
    top = offset.shape[0] - 2
    best, many = rows[offset[top], c], 0
    for row in range(offset[top], offset[top + 1]):
        here = rows[row, c]
        if here > best:
            best, many = here, 0
        if is_drawn & (here == best):
            many += np.int64(counts[row - offset[1], c]) if top > 0 else 1
    if best == 0:
        return -1
    skip = int(draw * many)
    first, stop = offset[top], offset[top + 1]
    place = 0
    for level in range(top, -1, -1):
        for row in range(first, stop):
            if rows[row, c] == best:
                here = 1
                if is_drawn & (level > 0):
                    here = np.int64(counts[row - offset[1], c])
                if not is_drawn or skip < here:
                    place = row - offset[level]
                    break
                skip -= here
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
            _score_by_kernels(nodes[i], leaves, scoring, points, wide)
        if pair is not None:
            _score_by_pair(nodes[i], leaves, pair, points)
        _write_row(nodes[i], leaves, points, best)


@kernel
def _scratch(request):
    resources, classes = request.shape
    return np.empty(classes, np.int32), np.empty((2 * resources + 2, classes))


@kernel
def fill_above(tree, is_drawn):
    """Fill the levels above the leaves."""
    rows, counts, offset = tree
    for level in range(offset.shape[0] - 2):
        for parent in range(offset[level + 2] - offset[level + 1]):
            child, row = offset[level] + parent * FANOUT, offset[level + 1] + parent
            if child < offset[level + 1]:
                _combine(rows, child, rows[row])
                if is_drawn and level == 0:
                    _count_leaves(rows, child, rows[row], counts[row - offset[1]])
                elif is_drawn:
                    _count_below(rows, counts, child, child - offset[1], rows[row], counts[row - offset[1]])


# What interrupts a run: all pods placed, a pod that fits nowhere, a node to score by kernels that
# need memory, blocks that are full.
_DONE, _STOPPED, _UNSCORED, _FULL = 0, 1, 2, 3


@borrowing_kernel
def _settle(node, tree, leaves, blocks, pair, is_drawn, scratch):
    """Take in that a node holds more or less than before, as far as that needs no memory; gives what is left to do."""
    points, most, many = scratch
    if points.shape[0]:
        if pair is None:
            return _UNSCORED
        # Asked again so that numba leaves it out where there is none.
        if pair is not None:
            _score_by_pair(node, leaves, pair, points)
        _write_row(node, leaves, points, tree.best)
        raise_change(tree, node, is_drawn, most, many)
    if blocks is not None and not move_node(blocks, node, leaves, pair):
        return _FULL
    return _DONE


@borrowing_kernel
def _run(at, stop, pod_class, classes, tree, leaves, blocks, pair, leaving, draws, stops, chosen, scratch):
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
            left = _settle(node, tree, leaves, blocks, pair, is_drawn, scratch)
            if left != _DONE:
                return left


@kernel
def _finish(node, tree, leaves, blocks, scoring, pair, is_drawn, scratch, wide):
    """Do what `_settle` left to do about a node."""
    points, most, many = scratch
    if scoring is not None:
        _score_by_kernels(node, leaves, scoring, points, wide)
        _write_row(node, leaves, points, tree.best)
        raise_change(tree, node, is_drawn, most, many)
    if blocks is not None:
        fill_blocks(blocks, leaves, pair)


@kernel
def _row_scratch(tree, points):
    return points, np.empty(points.shape[0], tree.best.dtype), np.empty(points.shape[0], np.uint16)


@kernel
def rescore(nodes, tree, leaves, blocks, scoring, pair, is_drawn):
    """Take in that the caller changed what these nodes hold. nodes : int64[]"""
    points, wide = _scratch(leaves.request)
    scratch = _row_scratch(tree, points)
    for i in range(nodes.shape[0]):
        if _settle(nodes[i], tree, leaves, blocks, pair, is_drawn, scratch) != _DONE:
            _finish(nodes[i], tree, leaves, blocks, scoring, pair, is_drawn, scratch, wide)


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
    scratch = _row_scratch(tree, points)
    while True:
        left = _run(at, stop, pod_class, classes, tree, leaves, blocks, pair, leaving, draws, stops, chosen, scratch)
        if left <= _STOPPED:
            return
        _finish(at[2], tree, leaves, blocks, scoring, pair, draws[0], scratch, wide)
