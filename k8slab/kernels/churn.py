"""Placing pods that come and go: a table of all nodes' points for all classes of pods, under maxima of blocks.

N nodes, C classes, B blocks of 8 nodes, R resources; for rules that look at one node at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel, kernel
from k8slab.kernels.pair import Pair, score_by_pair
from k8slab.kernels.scores import Asked, Floats, Scoring, score_pairs

SIZE = 8


class Board(NamedTuple):
    """What decides.

    points      : int32[B * 8, C]   1 + the node's score for a class, 0 where it doesn't fit or there is no node
    best        : int32[C, >= B]    the most of a block: a class's side by side, which are looked through for each pod
    allocatable, requested : float64[N, R]  a node's resources side by side
    request     : float64[R, C]
    allowed     : bool[N, C]        may a class use a node, as far as both are described
    bonus       : float64[N]        a score that depends on the node alone
    largest     : float64[R]        the most that a node has
    scoring     : how scores are computed; None where `pair` says it, so that it isn't even compiled
    pair        : the same as a sum over two resources, which is faster; None where they aren't one
    """

    points: npt.NDArray[np.int32]
    best: npt.NDArray[np.int32]
    allocatable: Floats
    requested: Floats
    request: Floats
    allowed: npt.NDArray[np.bool_]
    bonus: Floats
    largest: Floats
    scoring: Scoring | None
    pair: Pair | None


@kernel
def scratch_for(board):
    """What `rescore_one` works with."""
    resources, classes = board.request.shape
    return (
        np.empty((resources, classes)),
        np.empty((resources, classes)),
        np.empty(classes),
        np.empty(classes),
        np.empty(classes, dtype=np.int32),
    )


@borrowing_kernel
def _score_by_plugins(board, node, scoring, scratch):
    """Fill the node's points, whether a pod fits or not."""
    used, can, part, total, _ = scratch
    request = board.request
    for r in range(request.shape[0]):
        has, holds = board.allocatable[node, r], board.requested[node, r]
        for c in range(request.shape[1]):
            can[r, c] = has
            used[r, c] = holds + request[r, c]
    score_pairs(Asked(used, request, used, request, used, request), can, scoring, part, total)
    extra = board.bonus[node] + 1.0
    for c in range(total.shape[0]):
        board.points[node, c] = np.int32(total[c] + extra)


@borrowing_kernel
def _score(board, node, scoring, pair, scratch):
    # Each asked by itself, as numba leaves out what would use a None.
    if scoring is not None:
        _score_by_plugins(board, node, scoring, scratch)
    if pair is not None:
        has, holds = board.allocatable[node], board.requested[node]
        score_by_pair(has, holds, board.request, board.bonus[node], pair, board.points[node])


@borrowing_kernel
def rescore_one(board, node, scratch):
    """A node holds more or less than before, or is described otherwise."""
    _, _, part, _, top = scratch
    request, points = board.request, board.points[node]
    _score(board, node, board.scoring, board.pair, scratch)
    # Floats that say whether it fits: booleans are an eighth as wide, and would end SIMD.
    for c in range(part.shape[0]):
        part[c] = 1.0 if board.allowed[node, c] else 0.0
    for r in range(request.shape[0]):
        left = board.allocatable[node, r] - board.requested[node, r]
        for c in range(part.shape[0]):
            short = request[r, c] - left if request[r, c] > 0.0 else 0.0
            part[c] = part[c] if short <= 0.0 else 0.0
    for c in range(part.shape[0]):
        points[c] = points[c] if part[c] > 0.0 else 0
    _raise(board, node // SIZE, top)


@borrowing_kernel
def _raise(board, block, top):
    """The most of a block, all classes at once: that is SIMD, where the few that changed wouldn't be."""
    points, best, first = board.points, board.best, block * SIZE
    for c in range(points.shape[1]):
        top[c] = points[first, c]
    for row in range(first + 1, first + SIZE):
        for c in range(points.shape[1]):
            here = points[row, c]
            top[c] = here if here > top[c] else top[c]
    for c in range(points.shape[1]):
        best[c, block] = top[c]


@kernel
def rescore(nodes, board):
    """Take in that these nodes changed. nodes : int64[]"""
    scratch = scratch_for(board)
    for i in range(nodes.shape[0]):
        rescore_one(board, nodes[i], scratch)


@borrowing_kernel
def best_node(board, c):
    """The lowest row of the best nodes for a class, -1 if it fits nowhere."""
    of_blocks, best = board.best[c], np.int32(0)
    # The most alone is SIMD; where it is would not be.
    for block in range(board.points.shape[0] // SIZE):
        best = of_blocks[block] if of_blocks[block] > best else best
    if best == 0:
        return -1
    node = 0
    while of_blocks[node // SIZE] != best:
        node += SIZE
    while board.points[node, c] != best:
        node += 1
    return node


@borrowing_kernel
def charge(board, node, c, sign):
    """A pod of a class comes to a node, or goes; `rescore_one` is for the caller."""
    for r in range(board.request.shape[0]):
        board.requested[node, r] += sign * board.request[r, c]


@kernel
def place_each(pod_class, board, chosen):
    """Decide on pods one after another, each on what the others left.

    pod_class : int64[n]
    chosen    : int64[n]  filled with node rows, -1 where no node fits
    """
    scratch = scratch_for(board)
    for i in range(pod_class.shape[0]):
        chosen[i] = best_node(board, pod_class[i])
        if chosen[i] >= 0:
            charge(board, chosen[i], pod_class[i], 1.0)
            rescore_one(board, chosen[i], scratch)
