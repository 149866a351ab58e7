"""Scores of all nodes for all classes of pods, under one max-tree a group of nodes; and nodes that stand apart.

What brings a score to 0..100 looks at all feasible nodes, but only at few things about each: its
zone, its taints. Nodes alike in these are a group, and of a group only the best for a class matters.
What pods ask host by host breaks groups up again, but only where such pods are: those nodes are
marked for the kin of pods that asks, and the group's tree passes them over. A marked node is in the
kin's list, or it is barred, as no pod of the kin may go there. In the list, nodes of one group that
hold as many of the pods that the kin asks about are a cell: another group, as small as it may be.

A leaf of a tree, of a class and a node:
    s >= 0    the node fits and has this score before anything is normalised
    -1        it doesn't fit
    -2        it is marked

Everywhere: C classes, K kins of pods, G groups, N nodes, R resources, T counters, L layouts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.company import CONFLICTING
from k8slab.kernels.pair import Pair, score_by_pair
from k8slab.kernels.scan import ALLOWED_ROW, BONUS_ROW, HELD, PORTS_KEY, REQUEST, SCORED
from k8slab.kernels.scores import Asked, score_pairs

FANOUT = 8
# Columns of Forest.shape and place, rows of Scratch.amounts, columns, values, candidates and scores.
LEVELS, SIZE = range(2)
LEAF, GROUP = range(2)
CAN, USED, HELD_USED, NONZERO_USED = range(4)
PART, TOTAL, ROOM = range(3)
VALUE, MOST = range(2)
WHO, OF_GROUP, OF_CELL, COUNT, BASE, SLOT = range(6)
RAW, SCORE = range(2)

Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[Any]  # int16, or int32 where the scores are large


class Forest(NamedTuple):
    """The trees, their leaves before all that is above.

    best   : int16 or int32 [., C]  leaves as above; above them the best of eight, -1 for none
    ties   : int32[., C]  above the leaves: how many leaves have that best; no rows where ties aren't drawn
    fits   : int32[G, C]  how many unmarked nodes of a group fit
    offset : int64[G, levels]  first row of each level of a group's tree
    shape  : int64[G, 2]  LEVELS of its tree, SIZE: its nodes
    place  : int64[N, 2]  LEAF and GROUP of each node
    node   : int64[leaves]  the node of each leaf, rising within a group
    leaves : how many rows are leaves
    fanout : FANOUT; a number that LLVM knows makes it write out each loop over a family eight times
    """

    best: Scores
    ties: Ints32
    fits: Ints32
    offset: Ints
    shape: Ints
    place: Ints
    node: Ints
    leaves: int
    fanout: int


class Rows(NamedTuple):
    """What a node's row of scores is made of; S shapes are classes that ask for equal amounts.

    allocatable : float64[R, N]
    shape   : int64[C]
    amount  : float64[4, R, S]  as Classes.amount, by shape
    checked : bool[R]
    adjusted: whether nodes and pods count for anything but requests
    weights : float64[1 or 2, 4]  as Pair.weight: of use and balance, in two rows where these count other amounts
    key     : int64[KEYS, C]  as Classes.key
    allowed : bool[N, .], bonus : float64[N, .]  as Sites', a node's side by side
    ported  : int64[.]  the classes whose pods ask for host ports
    """

    allocatable: Floats
    shape: Ints
    amount: Floats
    checked: npt.NDArray[np.bool_]
    adjusted: bool
    weights: Floats
    key: Ints
    allowed: npt.NDArray[np.bool_]
    bonus: Floats
    ported: Ints


class Scratch(NamedTuple):
    """Room to work in.

    amounts : float64[4, R, S]  CAN, USED, HELD_USED, NONZERO_USED, as Asked
    columns : float64[3, S]     PART, TOTAL, ROOM; points : int32[S]
    values  : [2, C] as Forest.best  VALUE: a node's scores, MOST; ties : int32[C]
    candidates, scores : int64[6, M], float64[2, M]  see kernels.candidates
    seen    : bool[.]  all False
    """

    amounts: Floats
    columns: Floats
    points: Ints32
    values: Scores
    ties: Ints32
    candidates: Ints
    scores: Floats
    seen: npt.NDArray[np.bool_]


# -- a node's row -------------------------------------------------------------------


@borrowing_kernel
def score_row(node, rows, load, relations, scoring, pair, scratch):
    """Fill VALUE with a node's score for every class before anything is normalised, -1 where it doesn't fit.

    scoring, pair : Scoring and None, or None and Pair where the scores are that sum
    """
    request, room, value = rows.amount[REQUEST], scratch.columns[ROOM], scratch.values[VALUE]
    room[:] = np.inf
    for r in range(request.shape[0]):
        has, holds = rows.allocatable[r, node], load.requested[r, node]
        used, can = scratch.amounts[USED, r], scratch.amounts[CAN, r]
        for s in range(room.shape[0]):
            can[s] = has
            used[s] = holds + request[r, s]
        if rows.checked[r]:
            for s in range(room.shape[0]):
                left = has - used[s] if request[r, s] > 0.0 else np.inf
                room[s] = left if left < room[s] else room[s]
    total = scratch.columns[TOTAL]
    # None is a type of its own to numba, so what would use it isn't even compiled.
    if pair is not None:
        _score_pair(node, rows, load, pair, scratch)
    if scoring is not None:
        _score_amounts(node, rows, load, scoring, scratch)
    for s in range(room.shape[0]):
        total[s] = total[s] if room[s] >= 0.0 else -1.0
    allowed, bonus = rows.allowed[node], rows.bonus[node]
    if allowed.shape[0] == 1 and bonus.shape[0] == 1:
        usable, extra = allowed[0], bonus[0]
        for c in range(value.shape[0]):
            score = total[rows.shape[c]]
            value[c] = score + extra if usable & (score >= 0.0) else -1.0
    else:
        for c in range(value.shape[0]):
            score = total[rows.shape[c]]
            value[c] = (
                score + bonus[rows.key[BONUS_ROW, c]] if allowed[rows.key[ALLOWED_ROW, c]] & (score >= 0.0) else -1.0
            )
    for k in range(rows.ported.shape[0]):
        c = rows.ported[k]
        port = rows.key[PORTS_KEY, c]
        for j in range(relations.start[CONFLICTING, port], relations.start[CONFLICTING, port + 1]):
            if load.ports[relations.rows[j, 0], node]:
                value[c] = -1


@borrowing_kernel
def _score_pair(node, rows, load, pair, scratch):
    """As `_score_amounts`, by a pair: at once, or the use of what is scored and the balance of what is held."""
    total, points = scratch.columns[TOTAL], scratch.points
    total[:] = 0.0
    for part in range(rows.weights.shape[0]):
        holds = load.nonzero[:, node] if part == 0 else load.requested[:, node]
        asks = rows.amount[SCORED] if part == 0 else rows.amount[HELD]
        weighted = Pair(pair.first, pair.second, pair.least, rows.weights[part])
        score_by_pair(rows.allocatable[:, node], holds, asks, 0.0, weighted, points)
        for s in range(total.shape[0]):
            total[s] += np.float64(points[s] - 1)


@borrowing_kernel
def _score_amounts(node, rows, load, scoring, scratch):
    """Fill TOTAL with the weighted scores of what the node would hold."""
    used, request, can = scratch.amounts[USED], rows.amount[REQUEST], scratch.amounts[CAN]
    part, total = scratch.columns[PART], scratch.columns[TOTAL]
    if not rows.adjusted:
        asked = Asked(used, request, used, request, used, request)
        score_pairs(asked, can, scoring, part, total)
        return
    held, scored = rows.amount[HELD], rows.amount[SCORED]
    held_used, nonzero_used = scratch.amounts[HELD_USED], scratch.amounts[NONZERO_USED]
    for r in range(request.shape[0]):
        for s in range(request.shape[1]):
            held_used[r, s] = load.requested[r, node] + held[r, s]
            nonzero_used[r, s] = load.nonzero[r, node] + scored[r, s]
    asked = Asked(used, request, held_used, held, nonzero_used, scored)
    score_pairs(asked, can, scoring, part, total)


# -- the trees ------------------------------------------------------------------------


@borrowing_kernel
def raise_row(leaf, group, forest, scratch):
    """Carry a leaf's new row up its tree, as far as it changes anything."""
    index, best, most, ties = leaf - forest.offset[group, 0], forest.best, scratch.values[MOST], scratch.ties
    for level in range(forest.shape[group, LEVELS] - 1):
        index //= FANOUT
        above = forest.offset[group, level + 1] + index
        _combine(forest.offset[group, level] + index * FANOUT, forest, most, ties)
        old, changed = best[above], False
        for c in range(most.shape[0]):
            changed |= most[c] != old[c]
        if forest.ties.shape[0]:
            counts = forest.ties[above - forest.leaves]
            for c in range(most.shape[0]):
                changed |= ties[c] != counts[c]
                counts[c] = ties[c]
        if not changed:
            return
        for c in range(most.shape[0]):
            old[c] = most[c]


@borrowing_kernel
def _combine(child, forest, most, ties):
    """Fill `most`, and `ties` where they are drawn, over the eight rows from `child`, a class at a time."""
    best = forest.best
    most[:] = -1
    if forest.ties.shape[0] == 0:
        for k in range(forest.fanout):
            row = best[child + k]
            for c in range(most.shape[0]):
                most[c] = row[c] if row[c] > most[c] else most[c]
        return
    # What fits nowhere below counts empty ties; nobody asks.
    ties[:] = 0
    for k in range(forest.fanout):
        row = best[child + k]
        if child < forest.leaves:
            for c in range(most.shape[0]):
                higher, equal = row[c] > most[c], row[c] == most[c]
                ties[c] = 1 if higher else ties[c] + np.int32(equal)
                most[c] = row[c] if higher else most[c]
        else:
            counts = forest.ties[child + k - forest.leaves]
            for c in range(most.shape[0]):
                higher, equal = row[c] > most[c], row[c] == most[c]
                ties[c] = counts[c] if higher else ties[c] + (counts[c] if equal else np.int32(0))
                most[c] = row[c] if higher else most[c]


@borrowing_kernel
def raise_class(leaf, group, c, forest):
    """Carry a leaf's new score for one class up its tree, as far as it changes anything."""
    index, drawn = leaf - forest.offset[group, 0], forest.ties.shape[0] > 0
    for level in range(forest.shape[group, LEVELS] - 1):
        index //= FANOUT
        child, above = forest.offset[group, level] + index * FANOUT, forest.offset[group, level + 1] + index
        most, ties = np.int64(-1), 0
        for k in range(forest.fanout):
            score = np.int64(forest.best[child + k, c])
            if score >= most:
                here = ties_of(child + k, c, forest)
                ties = here if score > most else ties + here
                most = score
        changed = forest.best[above, c] != most
        forest.best[above, c] = most
        if drawn:
            changed |= forest.ties[above - forest.leaves, c] != ties
            forest.ties[above - forest.leaves, c] = ties
        if not changed:
            return


@borrowing_kernel
def ties_of(row, c, forest):
    """How many leaves at or below a row have its best."""
    if row < forest.leaves or forest.ties.shape[0] == 0:
        return 1
    return np.int64(forest.ties[row - forest.leaves, c])


@borrowing_kernel
def root_of(group, forest):
    """The row of a group's whole."""
    return forest.offset[group, forest.shape[group, LEVELS] - 1]


@borrowing_kernel
def descend(group, c, skip, forest):
    """The node of a group that has its best score for a class: the lowest, or the one after `skip` of them."""
    index, score = 0, forest.best[root_of(group, forest), c]
    for level in range(forest.shape[group, LEVELS] - 2, -1, -1):
        child = forest.offset[group, level] + index * FANOUT
        index *= FANOUT
        for k in range(forest.fanout):
            if forest.best[child + k, c] == score:
                here = ties_of(child + k, c, forest)
                if skip < here:
                    index += k
                    break
                skip -= here
    return forest.node[forest.offset[group, 0] + index]


@borrowing_kernel
def ties_below(group, c, node, forest):
    """How many nodes of a group before this one have its best score for a class."""
    first = forest.offset[group, 0]
    low, high = 0, forest.shape[group, SIZE]
    while low < high:
        middle = (low + high) // 2
        if forest.node[first + middle] < node:
            low = middle + 1
        else:
            high = middle
    root = root_of(group, forest)
    if low == forest.shape[group, SIZE]:
        return ties_of(root, c, forest)
    score, count = forest.best[root, c], 0
    for level in range(forest.shape[group, LEVELS] - 1):
        row = forest.offset[group, level] + low
        for k in range(low % FANOUT):
            if forest.best[row - 1 - k, c] == score:
                count += ties_of(row - 1 - k, c, forest)
        low //= FANOUT
    return count


@borrowing_kernel
def fill_above(forest, scratch):
    """Fill all that is above filled leaves, and how many nodes fit."""
    forest.fits[:] = 0
    for group in range(forest.offset.shape[0]):
        fits, first = forest.fits[group], forest.offset[group, 0]
        for leaf in range(first, first + forest.shape[group, SIZE]):
            row = forest.best[leaf]
            for c in range(row.shape[0]):
                fits[c] += np.int32(row[c] >= 0)
        rows = forest.shape[group, SIZE]
        for level in range(forest.shape[group, LEVELS] - 1):
            rows = (rows + FANOUT - 1) // FANOUT
            for index in range(rows):
                above = forest.offset[group, level + 1] + index
                _combine(forest.offset[group, level] + index * FANOUT, forest, scratch.values[MOST], scratch.ties)
                for c in range(scratch.ties.shape[0]):
                    forest.best[above, c] = scratch.values[MOST, c]
                    if forest.ties.shape[0]:
                        forest.ties[above - forest.leaves, c] = scratch.ties[c]
