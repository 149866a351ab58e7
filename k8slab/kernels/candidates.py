"""Placing pods whose scores compare nodes, by looking at groups of nodes and at few nodes; see kernels.forest.

A candidate is a group, standing for its unmarked nodes that fit, or a cell of the pod's kin. Filters
and scores are those of the scan, over candidates in place of nodes: within one, all that normalising
looks at is equal, and how many nodes fit is known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.choice import draw01
from k8slab.kernels.company import AWAY, HARD, LIKED, SOFT, TAKEN, WANTED
from k8slab.kernels.forest import (
    BASE,
    COUNT,
    LEAF,
    OF_CELL,
    OF_GROUP,
    RAW,
    SCORE,
    SLOT,
    VALUE,
    WHO,
    Ints,
    descend,
    fill_above,
    root_of,
    score_row,
    ties_below,
    ties_of,
)
from k8slab.kernels.marks import (
    ALIKE,
    AMOUNTS,
    CELL,
    CELLS,
    LISTED,
    LOWEST,
    MANY,
    NODE,
    RANK,
    READS,
    SCORES,
    START,
    TRACKED,
    count,
    find_lowest,
    mark_all,
    mark_domain,
    renew,
)
from k8slab.kernels.scan import (
    HELD,
    KIN_KEY,
    NEIGHBOURS,
    NONZERO,
    PORTS_KEY,
    PREFERENCES,
    PREFERENCES_ROW,
    SPREAD,
    TAINTS,
    TAINTS_ROW,
)

_FEWEST, _MOST = -(2**62), 2**62


class News(NamedTuple):
    """What is to be taken in before pods are placed.

    whole : everything, as nothing is filled in yet
    nodes : int64[.]  the nodes whose rows are to be scored; if whole, all
    like  : int64[.]  for each the node whose row is the same: itself, or one before it
    slots : int64[., 2]  counter and slot where other amounts stand than before
    """

    whole: bool
    nodes: Ints
    like: Ints
    slots: Ints


@borrowing_kernel
def place_by_groups(
    pods, news, pod_class, forest, marks, load, rows, sites, relations, weights, scoring, pair, draws, stops, scratch,
    chosen,
):  # fmt: skip
    """Place pods one after another; gives the index of the next pod. Changes `load`, the forest and the marks.

    pods      : (start, stop) of the pods to place now
    pod_class : int32[P]
    weights   : float64[NORMALIZED]  of the scores that are normalised here
    scoring, pair : Scoring and None, or None and Pair where the other scores are that sum
    draws     : (random: bool, seed: uint64, pod_row: int64[P])
    stops     : bool[P]   come back to the caller before a pod that fits nowhere
    chosen    : int64[P]  filled with node rows, -1 where no node fits
    """
    is_random, seed, pod_row = draws
    for i in range(news.slots.shape[0]):
        counter = news.slots[i, 0]
        if marks.counters[counter, TRACKED]:
            find_lowest(counter, marks, load, relations)
        mark_domain(counter, news.slots[i, 1], -1, forest, marks, load, relations)
    # One loop over the news and the pods: each place where a row is scored takes seconds to compile.
    fresh = news.nodes.shape[0]
    for step in range(pods[0] - fresh, pods[1]):
        if step < pods[0]:
            at = step - pods[0] + fresh
            node = news.nodes[at]
            if news.like[at] != node:
                _copy_leaf(news.like[at], node, forest)
                continue
        else:
            if step == pods[0] and news.whole:
                mark_all(forest, marks, load, relations)
                fill_above(forest, scratch)
            c = np.int64(pod_class[step])
            kin = rows.key[KIN_KEY, c]
            found = _feasible(c, kin, forest, marks, load, relations, scratch)
            if found == 0 and stops[step]:
                return step
            chosen[step] = -1
            if found == 0:
                continue
            _score(found, c, kin, rows, sites, weights, marks, load, relations, scratch)
            if is_random:
                node = _draw(found, c, kin, draw01(seed, pod_row[step]), forest, marks, scratch)
            else:
                node = _lowest(found, c, kin, forest, marks, scratch)
            chosen[step] = node
            _charge(c, node, rows, load, relations)
            count(kin, node, forest, marks, load, relations)
        score_row(node, rows, load, relations, scoring, pair, scratch)
        if news.whole and step < pods[0]:
            _write_leaf(node, forest, scratch)
        else:
            renew(node, forest, marks, scratch)
    return pods[1]


@borrowing_kernel
def _copy_leaf(like, node, forest):
    source, row = forest.best[forest.place[like, LEAF]], forest.best[forest.place[node, LEAF]]
    for c in range(row.shape[0]):
        row[c] = source[c]


@borrowing_kernel
def _write_leaf(node, forest, scratch):
    row = forest.best[forest.place[node, LEAF]]
    for c in range(row.shape[0]):
        row[c] = scratch.values[VALUE, c]


@borrowing_kernel
def _charge(c, node, rows, load, relations):
    """Charge a node with a pod of a class: amounts and ports."""
    for r in range(load.requested.shape[0]):
        load.requested[r, node] += rows.amount[HELD, r, rows.shape[c]]
        load.nonzero[r, node] += rows.amount[NONZERO, r, rows.shape[c]]
    port = rows.key[PORTS_KEY, c]
    for j in range(relations.start[TAKEN, port], relations.start[TAKEN, port + 1]):
        load.ports[relations.rows[j, 0], node] = True


# -- candidates ---------------------------------------------------------------------------


@borrowing_kernel
def _feasible(c, kin, forest, marks, load, relations, scratch):
    """Find the candidates for a class; gives how many there are. Fills the rows of scratch.candidates.

    WHO      : a node of the group, which stands for all in whatever makes groups
    OF_GROUP : the group whose unmarked nodes it is, -1 for a cell
    OF_CELL  : the kin's cell, -1 for a group
    COUNT    : how many nodes fit
    BASE     : their best score before anything is normalised
    SLOT     : by cell, which candidate it is, -1 for none
    """
    found, start, of = 0, marks.kins[kin, START], scratch.candidates
    for group in range(forest.offset.shape[0]):
        if forest.fits[group, c] > 0:
            of[WHO, found], of[OF_GROUP, found], of[OF_CELL, found] = _sample(group, forest), group, -1
            found += 1
    for cell in range(marks.kins[kin, CELLS]):
        of[SLOT, cell] = -1
        if marks.cells[start + cell, MANY] > 0:
            who = _sample(np.int64(marks.cells[start + cell, ALIKE]), forest)
            of[WHO, found], of[OF_GROUP, found], of[OF_CELL, found] = who, -1, cell
            found += 1
    found = _refuse(found, kin, marks, load, relations, scratch)
    return _fitting(found, c, kin, forest, marks, scratch)


@borrowing_kernel
def _sample(group, forest):
    return forest.node[forest.offset[group, 0]]


@borrowing_kernel
def _fitting(found, c, kin, forest, marks, scratch):
    """Keep the candidates with nodes that fit; fill COUNT, BASE, and SLOT of the cells."""
    of = scratch.candidates
    for i in range(found):
        group, of[COUNT, i], of[BASE, i] = of[OF_GROUP, i], 0, -1
        if group >= 0:
            of[COUNT, i], of[BASE, i] = forest.fits[group, c], forest.best[root_of(group, forest), c]
        else:
            of[SLOT, of[OF_CELL, i]] = i
    start, score = marks.kins[kin, START], _scores_at(c, kin, marks)
    for place in range(marks.kins[kin, LISTED]):
        cell, base = marks.entries[start + place, CELL], np.int64(marks.score[score + place])
        if cell >= 0 and base >= 0 and of[SLOT, cell] >= 0:
            i = of[SLOT, cell]
            of[COUNT, i] += 1
            of[BASE, i] = max(of[BASE, i], base)
    kept = 0
    for i in range(found):
        keep, cell = of[COUNT, i] > 0, of[OF_CELL, i]
        of[COUNT, kept], of[BASE, kept] = of[COUNT, i], of[BASE, i]
        _move(i, kept, of)
        if cell >= 0:
            of[SLOT, cell] = kept if keep else -1
        kept += keep
    return kept


@borrowing_kernel
def _scores_at(c, kin, marks):
    """Where the scores of the kin's list for a class begin."""
    return marks.kins[kin, SCORES] + marks.classes[c, RANK] * (marks.kins[kin + 1, START] - marks.kins[kin, START])


@borrowing_kernel
def _amount(i, j, kin, marks, load, relations, scratch):
    """How much there is in a candidate's domain of what row j of Relations.rows counts.

    Of what isn't counted by groups an unmarked node has none, or it would be marked.
    """
    column = marks.column[j]
    if column < 0:
        place = relations.layout[relations.rows[j, 1], scratch.candidates[WHO, i]]
        return load.amounts[relations.counter[relations.rows[j, 0], 1] + place]
    if scratch.candidates[OF_CELL, i] < 0:
        return np.int64(0)
    width = marks.kins[kin + 1, READS] - marks.kins[kin, READS]
    return marks.amount[marks.kins[kin, AMOUNTS] + scratch.candidates[OF_CELL, i] * width + column]


@borrowing_kernel
def _move(i, kept, of):
    of[WHO, kept], of[OF_GROUP, kept], of[OF_CELL, kept] = of[WHO, i], of[OF_GROUP, i], of[OF_CELL, i]


@borrowing_kernel
def _within(found, j, least, most, keyed, kin, marks, load, relations, scratch):
    """Keep the candidates where what row j counts is within bounds, and where its key is if it must be."""
    place, of, kept = relations.layout[relations.rows[j, 1]], scratch.candidates, 0
    for i in range(found):
        here = _amount(i, j, kin, marks, load, relations, scratch)
        keep = (here >= least) & (here <= most) & (not keyed or place[of[WHO, i]] > 0)
        _move(i, kept, of)
        kept += keep
    return kept


@borrowing_kernel
def _refuse(found, kin, marks, load, relations, scratch):
    """Keep the candidates that break no hard spread constraint, and are near those wanted and no others."""
    start, rows = relations.start, relations.rows
    least = np.int64(0)  # the first of a group that wants its own company may go anywhere with the key
    for j in range(start[WANTED, kin], start[WANTED, kin + 1]):
        least |= (rows[j, 2] == 0) | (load.totals[rows[j, 0]] > 0)
    # One call for all three, as each takes its time to compile.
    for table in (HARD, WANTED, AWAY):
        for j in range(start[table, kin], start[table, kin + 1]):
            low, high = np.int64(_FEWEST), np.int64(_MOST)
            if table == HARD:
                high = rows[j, 2] + (marks.counters[rows[j, 0], LOWEST] if rows[j, 4] >= rows[j, 3] else 0)
            elif table == WANTED:
                low = least
            else:
                high = 0
            found = _within(found, j, low, high, table != AWAY, kin, marks, load, relations, scratch)
    return found


# -- scores ---------------------------------------------------------------------------------


@borrowing_kernel
def _score(found, c, kin, rows, sites, weights, marks, load, relations, scratch):
    """Fill the candidates' scores, of their best nodes."""
    for i in range(found):
        scratch.scores[SCORE, i] = scratch.candidates[BASE, i]
    _score_share(found, sites.taints[rows.key[TAINTS_ROW, c]], -weights[TAINTS], scratch)
    _score_share(found, sites.preferences[rows.key[PREFERENCES_ROW, c]], weights[PREFERENCES], scratch)
    _score_spread(found, kin, weights[SPREAD], marks, load, relations, scratch)
    _score_company(found, kin, weights[NEIGHBOURS], marks, load, relations, scratch)


@borrowing_kernel
def _score_share(found, raw, weight, scratch):
    """Add weight * trunc(100 * raw / the highest raw): kube-scheduler's own normalisation. raw : float64[N]

    A negative weight is for where the lowest is best: 100 less the share, of which the
    100 are left out, as they change no order.
    """
    if weight == 0.0:
        return
    most = 0.0
    for i in range(found):
        most = max(most, raw[scratch.candidates[WHO, i]])
    if most > 0.0:
        for i in range(found):
            scratch.scores[SCORE, i] += weight * np.trunc(100.0 * raw[scratch.candidates[WHO, i]] / most)


@borrowing_kernel
def _score_spread(found, kin, weight, marks, load, relations, scratch):
    """Add PodTopologySpread's score, weighted."""
    rows, start, stop = relations.rows, relations.start[SOFT, kin], relations.start[SOFT, kin + 1]
    if start == stop:
        return
    usable, raw, who, nodes = relations.layout[rows[start, 4]], scratch.scores[RAW], scratch.candidates[WHO], 0
    for i in range(found):
        raw[i] = 0.0
        nodes += scratch.candidates[COUNT, i] if usable[who[i]] > 0 else 0
    for j in range(start, stop):
        size = nodes if rows[j, 2] < 0 else _distinct(found, relations.layout[rows[j, 2]], usable, scratch)
        log, extra, place = relations.logs[size], np.float64(rows[j, 3]), relations.layout[rows[j, 1]]
        for i in range(found):
            amount = np.float64(_amount(i, j, kin, marks, load, relations, scratch)) * log + extra
            raw[i] += amount if place[who[i]] > 0 else 0.0
    least, most = np.inf, -np.inf
    for i in range(found):
        whole = np.trunc(raw[i])
        whole += 1.0 if raw[i] - whole >= 0.5 else 0.0
        raw[i] = whole
        counts = usable[who[i]] > 0
        least = whole if counts & (whole < least) else least
        most = whole if counts & (whole > most) else most
    for i in range(found):
        scaled = np.trunc(100.0 * (most + least - raw[i]) / most) if most > 0.0 else 100.0
        scratch.scores[SCORE, i] += weight * scaled if usable[who[i]] > 0 else 0.0


@borrowing_kernel
def _distinct(found, layout, usable, scratch):
    """How many distinct values a layout has on the candidates that count."""
    size, seen = 0, scratch.seen
    for i in range(found):
        node = scratch.candidates[WHO, i]
        if usable[node] > 0 and not seen[layout[node]]:
            seen[layout[node]] = True
            size += 1
    for i in range(found):
        seen[layout[scratch.candidates[WHO, i]]] = False
    return size


@borrowing_kernel
def _score_company(found, kin, weight, marks, load, relations, scratch):
    """Add InterPodAffinity's score, weighted."""
    rows, raw, anywhere = relations.rows, scratch.scores[RAW], False
    for i in range(found):
        raw[i] = 0.0
    for j in range(relations.start[LIKED, kin], relations.start[LIKED, kin + 1]):
        if load.totals[rows[j, 0]] > 0:
            anywhere = True
            for i in range(found):
                raw[i] += np.float64(rows[j, 2] * _amount(i, j, kin, marks, load, relations, scratch))
    if not anywhere:
        return
    least, most = np.inf, -np.inf
    for i in range(found):
        least, most = min(least, raw[i]), max(most, raw[i])
    if most > least:
        for i in range(found):
            scratch.scores[SCORE, i] += weight * np.trunc(100.0 * ((raw[i] - least) / (most - least)))


# -- choice -----------------------------------------------------------------------------------


@borrowing_kernel
def _highest(found, scratch):
    """The highest score, and whether a cell has it."""
    most, in_cell = -np.inf, False
    for i in range(found):
        most = max(most, scratch.scores[SCORE, i])
    for i in range(found):
        in_cell |= (scratch.candidates[OF_CELL, i] >= 0) & (scratch.scores[SCORE, i] == most)
    return most, in_cell


@borrowing_kernel
def _leads(entry, at, most, marks, scratch):
    """Whether an entry has the highest score of all; `at` is where its own score stands."""
    cell = marks.entries[entry, CELL]
    if cell < 0 or scratch.candidates[SLOT, cell] < 0:
        return False
    i = scratch.candidates[SLOT, cell]
    return scratch.scores[SCORE, i] == most and scratch.candidates[BASE, i] == marks.score[at]


@borrowing_kernel
def _lowest(found, c, kin, forest, marks, scratch):
    """The lowest node of the highest score."""
    most, in_cell = _highest(found, scratch)
    lowest = forest.place.shape[0]
    for i in range(found):
        if scratch.candidates[OF_GROUP, i] >= 0 and scratch.scores[SCORE, i] == most:
            lowest = min(lowest, descend(scratch.candidates[OF_GROUP, i], c, 0, forest))
    start, score = marks.kins[kin, START], _scores_at(c, kin, marks)
    for place in range(marks.kins[kin, LISTED] if in_cell else 0):
        if _leads(start + place, score + place, most, marks, scratch):
            lowest = min(lowest, np.int64(marks.entries[start + place, NODE]))
    return lowest


@borrowing_kernel
def _draw(found, c, kin, draw, forest, marks, scratch):
    """One of the nodes of the highest score, the one that `draw` in [0, 1) picks by their rows."""
    most, in_cell = _highest(found, scratch)
    groups, nodes, ties = scratch.candidates[OF_GROUP], scratch.candidates[WHO], 0
    leaders, alone = 0, 0
    for i in range(found):
        if groups[i] >= 0 and scratch.scores[SCORE, i] == most:
            groups[leaders] = groups[i]
            ties += ties_of(root_of(groups[leaders], forest), c, forest)
            leaders += 1
    start, score = marks.kins[kin, START], _scores_at(c, kin, marks)
    for place in range(marks.kins[kin, LISTED] if in_cell else 0):
        if _leads(start + place, score + place, most, marks, scratch):
            nodes[alone] = marks.entries[start + place, NODE]
            alone += 1
    skip = int(draw * (ties + alone))
    if leaders == 1 and alone == 0:
        return descend(groups[0], c, skip, forest)
    # The first row that has more than `skip` of them up to itself.
    low, high = 0, forest.place.shape[0] - 1
    while low < high:
        middle, before = (low + high) // 2, 0
        for i in range(leaders):
            before += ties_below(groups[i], c, middle + 1, forest)
        for i in range(alone):
            before += nodes[i] <= middle
        if before > skip:
            high = middle
        else:
            low = middle + 1
    return low
