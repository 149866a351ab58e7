"""Placing pod after pod by a tree of scores: all nodes for all classes of pods, under maxima.

N nodes, C classes, R resources; for rules that look at one node at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import kernel
from k8slab.kernels.choice import draw01
from k8slab.kernels.scores import Asked, score_pairs

FANOUT = 8


class Tree(NamedTuple):
    """Scores of all nodes for all classes, under a max-tree of fan-out 8.

    best   : int16 or int32 [T, C]  level 0 holds a row a node; -1 where a class doesn't fit
    offset : int64[L + 1]           first row of each level; the last level is one row

    Beside it, where ties are drawn, `counts`: int32[T - N0, C], from level 1 up, how
    many nodes below have that best. Where ties go to the lowest row `counts` is None,
    a type of its own to numba: what counts ties is then not even compiled.
    """

    best: npt.NDArray[Any]
    offset: npt.NDArray[np.int64]


@kernel
def _score_node(node, allocatable, requested, request, allowed, bonus, scoring, scratch, row):
    """Fill a tree row: the node's score for every class, -1 for those that don't fit.

    allocatable, requested : float64[N, R]  a node's resources side by side
    scratch : used, can: float64[R, C]; part, total, room: float64[C]
    """
    used, can, part, total, room = scratch
    kind_allowed, node_kind = allowed
    kind = node_kind[node]
    for c in range(room.shape[0]):
        room[c] = np.inf if kind_allowed[kind, c] else -np.inf
    # `resource_fit` in the same pass, on float64: booleans are an eighth as wide, and would end SIMD.
    for r in range(used.shape[0]):
        has, holds = allocatable[node, r], requested[node, r]
        for c in range(used.shape[1]):
            can[r, c] = has
            used[r, c] = holds + request[r, c]
            left = has - used[r, c] if request[r, c] > 0.0 else np.inf
            room[c] = left if left < room[c] else room[c]
    score_pairs(Asked(used, request, used, request, used, request), can, scoring, part, total)
    extra = bonus[node]
    for c in range(row.shape[0]):
        row[c] = total[c] + extra if room[c] >= 0.0 else -1.0


@kernel
def _combine(tree, counts, level, parent, best, ties):
    """Fill `best` (and `ties`) with the maximum over the parent's children, a class at a time.

    Indices of rows and columns, no views of rows: counting a view's references takes
    longer than the maximum does.
    """
    rows = tree.best
    child = tree.offset[level] + parent * FANOUT
    below = child - tree.offset[1]
    if counts is None:
        for c in range(best.shape[0]):
            most = rows[child, c]
            for k in range(1, FANOUT):
                other = rows[child + k, c]
                most = other if other > most else most
            best[c] = most
    else:
        # A class that fits nowhere below counts empty ties; nobody asks.
        for c in range(best.shape[0]):
            best[c] = rows[child, c]
            ties[c] = 1 if level == 0 else counts[below, c]
        for k in range(1, FANOUT):
            for c in range(best.shape[0]):
                other = rows[child + k, c]
                many = np.int32(1) if level == 0 else counts[below + k, c]
                ties[c] = many if other > best[c] else ties[c] + (many if other == best[c] else np.int32(0))
                best[c] = other if other > best[c] else best[c]


@kernel
def _raise_change(tree, counts, node, best, ties):
    """Carry a node's new row up the tree, as far as it changes anything."""
    parent = node
    for level in range(tree.offset.shape[0] - 2):
        parent //= FANOUT
        _combine(tree, counts, level, parent, best, ties)
        row = tree.offset[level + 1] + parent
        changed = False
        for c in range(best.shape[0]):
            changed |= best[c] != tree.best[row, c]
        if counts is not None:
            above = row - tree.offset[1]
            for c in range(best.shape[0]):
                changed |= ties[c] != counts[above, c]
                counts[above, c] = ties[c]
        if not changed:
            return
        for c in range(best.shape[0]):
            tree.best[row, c] = best[c]


@kernel
def _descend(tree, counts, c, draw):
    """The node row of the class's best score: the lowest, or the one that `draw` in [0, 1) picks."""
    top = tree.offset.shape[0] - 2
    root = tree.offset[top]
    best = tree.best[root, c]
    if best < 0:
        return -1
    skip = 0
    if counts is not None and top > 0:
        skip = int(draw * counts[root - tree.offset[1], c])
    place = 0
    for level in range(top - 1, -1, -1):
        row = tree.offset[level] + place * FANOUT
        place *= FANOUT
        for k in range(FANOUT):
            if tree.best[row + k, c] == best:
                here = 1
                if counts is not None and level > 0:
                    here = counts[row + k - tree.offset[1], c]
                if counts is None or skip < here:
                    place += k
                    break
                skip -= here
    return place


@kernel
def _scratch(resources, classes):
    """What _score_node works in, made once a call."""
    return (
        np.empty((resources, classes)),
        np.empty((resources, classes)),
        np.empty(classes),
        np.empty(classes),
        np.empty(classes),
    )


@kernel
def score_nodes(nodes, best, allocatable, requested, request, allowed, bonus, scoring):
    """Fill these nodes' rows, level 0 of a tree, for the cluster as it is. nodes : int64[]"""
    scratch = _scratch(allocatable.shape[1], best.shape[1])
    for i in range(nodes.shape[0]):
        node = nodes[i]
        _score_node(node, allocatable, requested, request, allowed, bonus, scoring, scratch, best[node])


@kernel
def place_by_tree(
    pods, tree, counts, allocatable, requested, request, pod_class, allowed, bonus, scoring, draws, chosen
):
    """Place pods one after another by a filled tree. Changes `requested` and the tree.

    A placement changes one node, so one row is scored again, for all classes at once,
    and carried up: the cost of a pod hardly knows how many nodes there are.

    allocatable, requested : float64[N, R]
    request   : float64[R, C]
    pod_class : int32[P]
    allowed   : bool[K, C] and int32[N]  may a class use a node of that kind; each node's kind
    bonus     : float64[N]  a score that depends on the node alone
    draws     : (seed: uint64, pod_row: int64[P]); whether ties are drawn is said by `counts`
    chosen    : int64[P]  filled with node rows, -1 where no node fits
    """
    seed, pod_row = draws
    resources = allocatable.shape[1]
    scratch = _scratch(resources, tree.best.shape[1])
    best = np.empty_like(tree.best[0])
    ties = None if counts is None else np.empty(best.shape[0], np.int32)
    for pod in range(pods[0], pods[1]):
        c = pod_class[pod]
        draw = 0.0
        if counts is not None:
            draw = draw01(seed, pod_row[pod])
        node = _descend(tree, counts, c, draw)
        chosen[pod] = node
        if node >= 0:
            for r in range(resources):
                requested[node, r] += request[r, c]
            _score_node(node, allocatable, requested, request, allowed, bonus, scoring, scratch, tree.best[node])
            _raise_change(tree, counts, node, best, ties)
