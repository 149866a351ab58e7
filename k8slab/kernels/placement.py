"""Fit, score, choose, and the two loops that place pod after pod.

All live in this one file because numba's cache looks at the outer function's file
alone. The score kernels work on any list of (node, pod) pairs, given as columns:
the scan lists all nodes for one pod, the tree one node for all pod classes, so
that both run the same formula.

Everywhere: R resources, M pairs, N nodes, C classes of pods that no rule tells apart.
used        : float64[R, M]  requested on the node once the pod is there
allocatable : float64[R, M]
request     : float64[R, M]  what the pod asks for
weight      : float64[R]     whole numbers; 0 leaves a resource out
scalar      : bool[R]        a score counts it only for pods that ask for it, as kube-scheduler's do
largest     : float64[R]     the biggest allocatable of the resource on any node
score       : float64[M]     filled with whole numbers

float64 is exact while 10,000 * amount < 2**53; the caller divides a resource's
amounts by what they have in common, checks, and else takes an int64 path. It is
10 times faster than int64 `//`, which no SIMD unit has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Positions in Scoring.plugin_weight: the order of the branches in `score_pairs`.
LEAST_ALLOCATED, MOST_ALLOCATED, REQUESTED_TO_CAPACITY, BALANCED_ALLOCATION = 0, 1, 2, 3
BEST_FIT, WORST_FIT, DOT_PRODUCT = 4, 5, 6
PLUGINS = 7
# Positions in Scoring.normalized.
TAINTS, PREFERENCES, SPREAD, NEIGHBOURS = 0, 1, 2, 3
NORMALIZED = 4
# Rows of Classes.key.
ALLOWED_ROW, BONUS_ROW, TAINTS_ROW, PREFERENCES_ROW, PORTS_KEY, KIN_KEY = 0, 1, 2, 3, 4, 5
KEYS = 6
# Rows of Classes.amount.
REQUEST, HELD, SCORED, NONZERO = 0, 1, 2, 3
# Rows of Relations.start.
HARD, SOFT, AWAY, WANTED, LIKED, GAINS, CONFLICTING, TAKEN = 0, 1, 2, 3, 4, 5, 6, 7
TABLES = 8
FINE = 10_000.0  # score of a perfect best-fit, worst-fit or dot product
FANOUT = 8


class Scoring(NamedTuple):
    """Which scores count, how much, and what they need.

    plugin_weight   : float64[PLUGINS]     whole numbers; 0 leaves a score out
    resource_weight : float64[PLUGINS, R]
    balanced        : int64[B]    rows of the resources that BalancedAllocation counts, in its order
    scalar          : bool[R]
    largest         : float64[R]
    shape_x         : float64[S]  utilization in percent, rising
    shape_y         : float64[S]  score there, 0..100
    normalized      : float64[NORMALIZED]  weights of the scores that the scan brings to 0..100 itself
    """

    plugin_weight: Floats
    resource_weight: Floats
    balanced: Ints
    scalar: Mask
    largest: Floats
    shape_x: Floats
    shape_y: Floats
    normalized: Floats


class Asked(NamedTuple):
    """What pods ask for and what nodes would hold with them, as three sorts of scores count it.

    used, request    : float64[R, M]  what must fit, and what the packing scores count
    held_used, held  : float64[R, M]  BalancedAllocation's
    nonzero, scored  : float64[R, M]  the strategies': with assumed amounts where a pod names none

    They may be one and the same arrays.
    """

    used: Floats
    request: Floats
    held_used: Floats
    held: Floats
    nonzero: Floats
    scored: Floats


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


class Classes(NamedTuple):
    """What tells pods apart.

    amount   : float64[4, R, C]  what they ask for, hold, and count in the strategies' score, as Asked
               says, and what the node's amount for the strategies grows by
    adjusted : whether nodes and pods count for anything but requests; if not, all these are alike
    checked  : bool[R]        the resources that must be free
    key      : int64[KEYS, C] a class's row in each table of Sites, and the keys of its ports and
               of its kin in Relations.start
    """

    amount: Floats
    adjusted: bool
    checked: Mask
    key: Ints


class Sites(NamedTuple):
    """What the nodes' own descriptions say to pods: distinct rows, shared by the classes.

    allowed     : bool[., N]     by the filters that look at nothing else
    bonus       : float64[., N]  scores that need no normalising, weighted
    taints      : float64[., N]  PreferNoSchedule taints that aren't tolerated
    preferences : float64[., N]  weights of the preferred node affinity that matches
    """

    allowed: Mask
    bonus: Floats
    taints: Floats
    preferences: Floats


class Load(NamedTuple):
    """What nodes hold; the scan keeps it up to date.

    requested, nonzero : float64[R, N]
    ports   : bool[Q, N]  host ports that are taken
    amounts : int64[A]    counters one after the other, each a slot that stays 0 and then one a domain
    totals  : int64[T]    sum over each counter
    """

    requested: Floats
    nonzero: Floats
    ports: Mask
    amounts: Ints
    totals: Ints


class Relations(NamedTuple):
    """What pods ask of other pods, by the counters of Load.amounts; policies.scan makes it.

    layout  : int32[L, N]  1 + each node's domain, 0 for none
    counter : int64[T, 3]  its layout, first slot, number of domains
    seen    : bool[A]      domains that a node which counts is in
    logs    : float64[.]   ln(size + 2) by size, as Python's math library rounds it
    start   : int64[TABLES, K + 1]  a table's list for key k is rows[start[t, k] : start[t, k + 1]]
    rows    : int64[., 5]  all lists

    The tables by kin; `place` is the layout at which a counter is read:
    HARD   : counter, place, maxSkew without the pod itself, minDomains, domains seen
    SOFT   : counter, place, layout whose values are the domains (-1: as many as nodes), maxSkew - 1,
             layout of the nodes that aren't passed over
    AWAY   : counter, place   pods that it must not be near
    WANTED : counter, place, 1 if it may be the first of those that it wants near
    LIKED  : counter, place, weight
    GAINS  : counter, by how much a pod counts
    By the key of a class's ports: CONFLICTING, TAKEN : row of Load.ports
    """

    layout: npt.NDArray[np.int32]
    counter: Ints
    seen: Mask
    logs: Floats
    start: Ints
    rows: Ints


# -- filter -----------------------------------------------------------------


@kernel
def resource_fit(used, allocatable, request, checked, feasible):
    """Clear `feasible` where the node can't hold the pod. feasible : bool[M]; checked : bool[R].

    A pod that asks for nothing of a resource fits there, however over-committed the
    node is: kube-scheduler's NodeResourcesFit.
    """
    for r in range(used.shape[0]):
        if checked[r]:
            for i in range(feasible.shape[0]):
                feasible[i] = feasible[i] & ((request[r, i] <= 0.0) | (used[r, i] <= allocatable[r, i]))


# -- scores -----------------------------------------------------------------


@kernel
def least_allocated(used, allocatable, request, weight, scalar, score):
    """Score 0 (full) .. 100 (idle): what would be left free, in percent.

    kube-scheduler's LeastAllocated: the floored mean, by weight, of
    floor(100 * (allocatable - used) / allocatable) over the resources a node has;
    0 for one that would be over-committed.
    """
    score[:] = 0.0
    weights = np.zeros(score.shape[0])
    for r in range(weight.shape[0]):
        if weight[r] > 0.0:
            # One comparison of floats: "not scalar, or asked for" on booleans takes a third longer.
            least, each = 0.0 if scalar[r] else -1.0, weight[r]
            for i in range(score.shape[0]):
                # Conditional values, not branches and not max(): both keep the loop from SIMD.
                owns = allocatable[r, i] > 0.0
                left = allocatable[r, i] - used[r, i]
                part = (100.0 * left if left > 0.0 else 0.0) / (allocatable[r, i] if owns else 1.0)
                counted = each if owns & (request[r, i] > least) else 0.0
                score[i] += np.floor(part) * counted
                weights[i] += counted
    for i in range(score.shape[0]):
        score[i] = np.floor(score[i] / (weights[i] if weights[i] > 0.0 else 1.0))


@kernel
def most_allocated(used, allocatable, request, weight, scalar, score):
    """Score 0 (idle) .. 100 (full): what would be in use, in percent.

    kube-scheduler's MostAllocated: as LeastAllocated with
    floor(100 * min(used, allocatable) / allocatable).
    """
    score[:] = 0.0
    weights = np.zeros(score.shape[0])
    for r in range(weight.shape[0]):
        if weight[r] > 0.0:
            least, each = 0.0 if scalar[r] else -1.0, weight[r]
            for i in range(score.shape[0]):
                owns = allocatable[r, i] > 0.0
                full = used[r, i] if used[r, i] < allocatable[r, i] else allocatable[r, i]
                counted = each if owns & (request[r, i] > least) else 0.0
                score[i] += np.floor(100.0 * full / (allocatable[r, i] if owns else 1.0)) * counted
                weights[i] += counted
    for i in range(score.shape[0]):
        score[i] = np.floor(score[i] / (weights[i] if weights[i] > 0.0 else 1.0))


@kernel
def requested_to_capacity(used, allocatable, request, weight, scalar, shape_x, shape_y, score):
    """Score 0 .. 100 by a broken line over utilization.

    kube-scheduler's RequestedToCapacityRatio: x = floor(100 * used / allocatable), 100
    where over-committed; y on the line through (shape_x, shape_y), truncated towards
    zero between points; the mean, by weight, over the resources with y > 0, rounded
    half up.
    """
    score[:] = 0.0
    weights = np.zeros(score.shape[0])
    points = shape_x.shape[0]
    for r in range(weight.shape[0]):
        # A piece of the line after the other, over all pairs, is SIMD; looking for each pair's piece is not.
        for s in range(points + 1 if weight[r] > 0.0 else 0):
            left, right = max(s - 1, 0), min(s, points - 1)
            above = shape_x[left] if s > 0 else -1.0
            upto = shape_x[right] if s < points else 100.0
            rise, run = shape_y[right] - shape_y[left], max(shape_x[right] - shape_x[left], 1.0)
            # As locals: for all that numba knows, writing a score could change a shape.
            counted, x0, y0, least = weight[r], shape_x[left], shape_y[left], 0.0 if scalar[r] else -1.0
            for i in range(score.shape[0]):
                owns = (allocatable[r, i] > 0.0) & (request[r, i] > least)
                full = used[r, i] if used[r, i] < allocatable[r, i] else allocatable[r, i]
                x = np.floor(100.0 * full / (allocatable[r, i] if owns else 1.0))
                y = y0 + np.trunc(rise * (x - x0) / run)
                counts = counted if owns & (above < x) & (x <= upto) & (y > 0.0) else 0.0
                score[i] += counts * y
                weights[i] += counts
    for i in range(score.shape[0]):
        score[i] = np.floor(score[i] / (weights[i] if weights[i] > 0.0 else 1.0) + 0.5)


@kernel
def balanced_allocation(used, allocatable, request, rows, scalar, score):
    """Score 0 .. 100: how equally full the node's resources would be.

    rows : int64[B]  the resources that count, in the order that the sum of floats follows

    kube-scheduler's NodeResourcesBalancedAllocation: trunc(100 * (1 - sd)) of the
    fractions min(1, used / allocatable); of two fractions sd = |f0 - f1| / 2. It takes no
    part, and adds 0, for a pod that asks for none of these resources.
    """
    score[:] = 0.0
    count = np.zeros(score.shape[0])
    total = np.zeros(score.shape[0])
    asked = np.zeros(score.shape[0])
    for k in range(rows.shape[0]):
        r, least = rows[k], 0.0 if scalar[rows[k]] else -1.0
        for i in range(score.shape[0]):
            owns = (allocatable[r, i] > 0.0) & (request[r, i] > least)
            fraction = used[r, i] / (allocatable[r, i] if owns else 1.0)
            fraction = fraction if fraction < 1.0 else 1.0
            total[i] += fraction if owns else 0.0
            count[i] += 1.0 if owns else 0.0
            asked[i] += request[r, i]
            # The sign turns at each fraction, so after two it is f1 - f0.
            score[i] = fraction - score[i] if owns else score[i]
    spread = np.zeros(score.shape[0])
    if rows.shape[0] > 2:
        for k in range(rows.shape[0]):
            r, least = rows[k], 0.0 if scalar[rows[k]] else -1.0
            for i in range(score.shape[0]):
                owns = (allocatable[r, i] > 0.0) & (request[r, i] > least)
                fraction = used[r, i] / (allocatable[r, i] if owns else 1.0)
                fraction = fraction if fraction < 1.0 else 1.0
                apart = fraction - total[i] / (count[i] if count[i] > 0.0 else 1.0)
                spread[i] += apart * apart if owns else 0.0
        for i in range(score.shape[0]):
            spread[i] = np.sqrt(spread[i] / (count[i] if count[i] > 0.0 else 1.0))
    for i in range(score.shape[0]):
        deviation = np.abs(score[i] / 2.0) if count[i] == 2.0 else spread[i]
        balance = np.trunc((1.0 - (deviation if count[i] > 1.0 else 0.0)) * 100.0)
        score[i] = balance if asked[i] > 0.0 else 0.0


@kernel
def worst_fit(used, allocatable, weight, largest, score):
    """Score 0 (nothing) .. 10,000 (a whole idle node of the largest kind): what would be left.

    The floored mean, by weight, of floor(10,000 * left / largest). A node that lacks
    a resource has 0 of it left.
    """
    score[:] = 0.0
    weights = 0.0
    for r in range(weight.shape[0]):
        if weight[r] > 0.0 and largest[r] > 0.0:
            weights += weight[r]
            for i in range(score.shape[0]):
                left = allocatable[r, i] - used[r, i]
                score[i] += weight[r] * np.floor(FINE * (left if left > 0.0 else 0.0) / largest[r])
    for i in range(score.shape[0]):
        score[i] = np.floor(score[i] / max(weights, 1.0))


@kernel
def best_fit(used, allocatable, weight, largest, score):
    """Score 0 .. 10,000 (nothing would be left): 10,000 less the worst-fit score."""
    worst_fit(used, allocatable, weight, largest, score)
    for i in range(score.shape[0]):
        score[i] = FINE - score[i]


@kernel
def dot_product(used, allocatable, weight, request, largest, score):
    """Score 0 .. 10,000: how well what is free lies along what the pod asks for.

    Tetris' alignment (Grandl et al., SIGCOMM 2014, section 3.2), the dot product of
    free and requested amounts in parts of the largest node, by the sum of the pod's
    own parts, so that scores of different pods compare: the floored mean of
    floor(10,000 * free / largest) by weight * ceil(10,000 * request / largest).
    """
    score[:] = 0.0
    weights = np.zeros(score.shape[0])
    for r in range(weight.shape[0]):
        if weight[r] > 0.0 and largest[r] > 0.0:
            for i in range(score.shape[0]):
                free = allocatable[r, i] - (used[r, i] - request[r, i])
                demand = weight[r] * np.ceil(FINE * request[r, i] / largest[r])
                score[i] += demand * np.floor(FINE * (free if free > 0.0 else 0.0) / largest[r])
                weights[i] += demand
    for i in range(score.shape[0]):
        score[i] = np.floor(score[i] / (weights[i] if weights[i] > 0.0 else 1.0))


@kernel
def score_pairs(asked, allocatable, scoring, part, total):
    """Fill `total`, float64[M], with the weighted sum of the scores that count.

    asked : Asked
    part  : float64[M]  scratch
    """
    total[:] = 0.0
    for p in range(PLUGINS):
        plugin_weight = scoring.plugin_weight[p]
        if plugin_weight == 0.0:
            continue
        weight, scalar = scoring.resource_weight[p], scoring.scalar
        if p == LEAST_ALLOCATED:
            least_allocated(asked.nonzero, allocatable, asked.scored, weight, scalar, part)
        elif p == MOST_ALLOCATED:
            most_allocated(asked.nonzero, allocatable, asked.scored, weight, scalar, part)
        elif p == REQUESTED_TO_CAPACITY:
            x, y = scoring.shape_x, scoring.shape_y
            requested_to_capacity(asked.nonzero, allocatable, asked.scored, weight, scalar, x, y, part)
        elif p == BALANCED_ALLOCATION:
            balanced_allocation(asked.held_used, allocatable, asked.held, scoring.balanced, scalar, part)
        elif p == BEST_FIT:
            best_fit(asked.used, allocatable, weight, scoring.largest, part)
        elif p == WORST_FIT:
            worst_fit(asked.used, allocatable, weight, scoring.largest, part)
        else:
            dot_product(asked.used, allocatable, weight, asked.request, scoring.largest, part)
        for i in range(total.shape[0]):
            total[i] += plugin_weight * part[i]


# -- choice -----------------------------------------------------------------


@kernel
def _mix(x):
    """splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): a bijection that scatters bits."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


@kernel
def draw01(seed, pod_row):
    """A number in [0, 1) that depends on the seed and the pod alone, not on what came before.

    So two policies under one seed draw the same for the same pod.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    x = _mix(_mix(np.uint64(seed) + golden) + golden * (np.uint64(pod_row) + np.uint64(1)))
    return np.float64(x >> np.uint64(11)) * 2.0**-53


@kernel
def select_lowest(score, feasible):
    """The lowest row of the highest score among the feasible, -1 if none is. score : float64[N]."""
    best = -np.inf
    row = -1
    for i in range(score.shape[0]):
        if feasible[i] and score[i] > best:
            best = score[i]
            row = i
    return row


@kernel
def select_random(score, feasible, seed, pod_row):
    """One of the feasible rows of the highest score, each as likely as the others; -1 if none is."""
    best = -np.inf
    ties = 0
    for i in range(score.shape[0]):
        if feasible[i] and score[i] > best:
            best = score[i]
            ties = 1
        elif feasible[i] and score[i] == best:
            ties += 1
    skip = int(draw01(seed, pod_row) * ties)
    for i in range(score.shape[0]):
        if feasible[i] and score[i] == best:
            if skip == 0:
                return i
            skip -= 1
    return -1


# -- pods with equal rows are one class ---------------------------------------


@kernel
def group_rows(rows, group, first):
    """Number equal rows alike, in order of first appearance; gives how many differ.

    rows  : int64[P, K]
    group : int32[P]  filled with each row's number
    first : int64[P]  first[g] filled with the first row of group g

    A hash table with open addressing, at most half full: one pass, where sorting
    a million rows takes a second.
    """
    slots = 16
    while slots < 2 * rows.shape[0]:
        slots *= 2
    # A table as large as the pods' number misses the cache at each look; few groups need few slots.
    slots = min(slots, 1 << 14)
    table = np.full(slots, -1, np.int32)
    count = 0
    for i in range(rows.shape[0]):
        if 2 * count >= slots:
            slots *= 4
            table = np.full(slots, -1, np.int32)
            for g in range(count):
                slot = _row_slot(rows[first[g]], slots)
                while table[slot] >= 0:
                    slot = (slot + 1) & (slots - 1)
                table[slot] = g
        slot = _row_slot(rows[i], slots)
        while True:
            g = table[slot]
            if g < 0:
                table[slot] = count
                first[count] = i
                group[i] = count
                count += 1
                break
            same = True
            for k in range(rows.shape[1]):
                same &= rows[i, k] == rows[first[g], k]
            if same:
                group[i] = g
                break
            slot = (slot + 1) & (slots - 1)
    return count


@kernel
def _row_slot(row, slots):
    x = np.uint64(0)
    for k in range(row.shape[0]):
        x = _mix(x + np.uint64(row[k]) + np.uint64(0x9E3779B97F4A7C15))
    return np.int64(x & np.uint64(slots - 1))


# -- what pods ask of other pods ------------------------------------------------
# A domain's amount is amounts[first + place]; where a node has no domain that is the slot that stays 0.


@kernel
def _refuse_ports(ports, relations, key, feasible):
    """Clear `feasible` where a host port in conflict is taken."""
    for j in range(relations.start[CONFLICTING, key], relations.start[CONFLICTING, key + 1]):
        taken = ports[relations.rows[j, 0]]
        for i in range(feasible.shape[0]):
            feasible[i] = feasible[i] & (not taken[i])


@kernel
def _refuse_skew(amounts, relations, kin, feasible):
    """Clear `feasible` where a hard spread constraint would be broken, or its key is lacking."""
    rows, seen = relations.rows, relations.seen
    for j in range(relations.start[HARD, kin], relations.start[HARD, kin + 1]):
        first, size = relations.counter[rows[j, 0], 1], relations.counter[rows[j, 0], 2]
        least = np.int64(2**31 - 1)
        for slot in range(first + 1, first + 1 + size):
            amount = amounts[slot]
            least = amount if seen[slot] & (amount < least) else least
        most = rows[j, 2] + (least if rows[j, 4] >= rows[j, 3] else 0)
        place = relations.layout[rows[j, 1]]
        for i in range(feasible.shape[0]):
            feasible[i] = feasible[i] & (place[i] > 0) & (amounts[first + place[i]] <= most)


@kernel
def _refuse_company(amounts, totals, relations, kin, feasible):
    """Clear `feasible` where wanted pods are not, and where unwanted ones are."""
    start, rows = relations.start, relations.rows
    least = np.int64(0)  # the first of a group that wants its own company may go anywhere with the key
    for j in range(start[WANTED, kin], start[WANTED, kin + 1]):
        least |= (rows[j, 2] == 0) | (totals[rows[j, 0]] > 0)
    for j in range(start[WANTED, kin], start[WANTED, kin + 1]):
        first, place = relations.counter[rows[j, 0], 1], relations.layout[rows[j, 1]]
        for i in range(feasible.shape[0]):
            feasible[i] = feasible[i] & (place[i] > 0) & (amounts[first + place[i]] >= least)
    for j in range(start[AWAY, kin], start[AWAY, kin + 1]):
        if totals[rows[j, 0]] > 0:
            first, place = relations.counter[rows[j, 0], 1], relations.layout[rows[j, 1]]
            for i in range(feasible.shape[0]):
                feasible[i] = feasible[i] & (amounts[first + place[i]] <= 0)


@kernel
def _score_spread(amounts, relations, kin, feasible, weight, raw, marks, total):
    """Add PodTopologySpread's score to `total`, weighted. raw : float64[N], marks : bool[] all False, scratch."""
    rows, start, stop = relations.rows, relations.start[SOFT, kin], relations.start[SOFT, kin + 1]
    if start == stop:
        return
    usable = relations.layout[rows[start, 4]]
    candidates = 0
    for i in range(raw.shape[0]):
        raw[i] = 0.0
        candidates += feasible[i] & (usable[i] > 0)
    for j in range(start, stop):
        first, size = relations.counter[rows[j, 0], 1], candidates
        if rows[j, 2] >= 0:
            slots = relations.counter[rows[j, 0], 2] + 1
            size = _distinct(relations.layout[rows[j, 2]], feasible, usable, marks[:slots])
        log, extra, place = relations.logs[size], np.float64(rows[j, 3]), relations.layout[rows[j, 1]]
        for i in range(raw.shape[0]):
            amount = np.float64(amounts[first + place[i]]) * log + extra
            raw[i] += amount if place[i] > 0 else 0.0
    least, most = np.inf, -np.inf
    for i in range(raw.shape[0]):
        whole = np.trunc(raw[i])
        whole += 1.0 if raw[i] - whole >= 0.5 else 0.0
        raw[i] = whole
        counts = feasible[i] & (usable[i] > 0)
        least = whole if counts & (whole < least) else least
        most = whole if counts & (whole > most) else most
    for i in range(raw.shape[0]):
        scaled = np.trunc(100.0 * (most + least - raw[i]) / most) if most > 0.0 else 100.0
        total[i] += weight * scaled if usable[i] > 0 else 0.0


@kernel
def _distinct(layout, feasible, usable, marks):
    """How many distinct values a layout has on the nodes that count; `marks` is all False before and after."""
    for i in range(layout.shape[0]):
        marks[layout[i]] |= feasible[i] & (usable[i] > 0)
    size = 0
    for slot in range(marks.shape[0]):
        size += marks[slot]
        marks[slot] = False
    return size


@kernel
def _score_company(amounts, totals, relations, kin, feasible, weight, raw, total):
    """Add InterPodAffinity's score to `total`, weighted. raw : float64[N], scratch."""
    rows = relations.rows
    anywhere = False
    raw[:] = 0.0
    for j in range(relations.start[LIKED, kin], relations.start[LIKED, kin + 1]):
        if totals[rows[j, 0]] > 0:
            anywhere = True
            first, place, each = relations.counter[rows[j, 0], 1], relations.layout[rows[j, 1]], rows[j, 2]
            for i in range(raw.shape[0]):
                raw[i] += np.float64(each * amounts[first + place[i]])
    if anywhere:
        least, most = np.inf, -np.inf
        for i in range(raw.shape[0]):
            least = raw[i] if feasible[i] & (raw[i] < least) else least
            most = raw[i] if feasible[i] & (raw[i] > most) else most
        if most > least:
            for i in range(raw.shape[0]):
                total[i] += weight * np.trunc(100.0 * ((raw[i] - least) / (most - least)))


@kernel
def _score_share(raw, feasible, weight, total):
    """Add weight * trunc(100 * raw / the highest feasible raw) to `total`: kube-scheduler's own normalisation.

    A negative weight is for where the lowest is best: 100 less the share, of which the
    100 are left out, as they change no order.
    """
    most = 0.0
    for i in range(raw.shape[0]):
        most = raw[i] if feasible[i] & (raw[i] > most) else most
    if most > 0.0:
        for i in range(raw.shape[0]):
            total[i] += weight * np.trunc(100.0 * raw[i] / most)


# -- placing, by scanning all nodes -------------------------------------------


@kernel
def place_by_scan(pods, pod_class, allocatable, load, classes, sites, relations, scoring, draws, stops, chosen):
    """Place pods one after another, each looking at every node; gives the index of the next pod. Changes `load`.

    pods        : (start, stop) of the pods to place now
    pod_class   : int32[P]
    allocatable : float64[R, N]
    draws       : (random: bool, seed: uint64, pod_row: int64[P])
    stops       : bool[P]   come back to the caller before a pod that fits nowhere
    chosen      : int64[P]  filled with node rows, -1 where no node fits
    """
    resources, nodes = allocatable.shape
    is_random, seed, pod_row = draws
    requested, nonzero, ports, amounts, totals = load
    used, request = np.empty((resources, nodes)), np.empty((resources, nodes))
    asked = Asked(used, request, used, request, used, request)
    if classes.adjusted:
        held_used, held = np.empty((resources, nodes)), np.empty((resources, nodes))
        asked = Asked(used, request, held_used, held, np.empty((resources, nodes)), np.empty((resources, nodes)))
    feasible, part, total = np.empty(nodes, np.bool_), np.empty(nodes), np.empty(nodes)
    slots = 1
    for counter in range(relations.counter.shape[0]):
        slots = max(slots, relations.counter[counter, 2] + 1)
    marks = np.zeros(slots, np.bool_)
    for pod in range(pods[0], pods[1]):
        c = pod_class[pod]
        kin, port = classes.key[KIN_KEY, c], classes.key[PORTS_KEY, c]
        allowed = sites.allowed[classes.key[ALLOWED_ROW, c]]
        for i in range(nodes):
            feasible[i] = allowed[i]
        _ask(requested, classes.amount[REQUEST], c, asked.used, asked.request)
        resource_fit(asked.used, allocatable, asked.request, classes.checked, feasible)
        _refuse_ports(ports, relations, port, feasible)
        _refuse_skew(amounts, relations, kin, feasible)
        _refuse_company(amounts, totals, relations, kin, feasible)
        fits = False
        for i in range(nodes):
            fits |= feasible[i]
        if not fits and stops[pod]:
            return pod
        chosen[pod] = -1
        if not fits:
            continue
        if classes.adjusted:
            _ask(requested, classes.amount[HELD], c, asked.held_used, asked.held)
            _ask(nonzero, classes.amount[SCORED], c, asked.nonzero, asked.scored)
        score_pairs(asked, allocatable, scoring, part, total)
        bonus, weights = sites.bonus[classes.key[BONUS_ROW, c]], scoring.normalized
        for i in range(nodes):
            total[i] += bonus[i]
        _score_share(sites.taints[classes.key[TAINTS_ROW, c]], feasible, -weights[TAINTS], total)
        _score_share(sites.preferences[classes.key[PREFERENCES_ROW, c]], feasible, weights[PREFERENCES], total)
        _score_spread(amounts, relations, kin, feasible, weights[SPREAD], part, marks, total)
        _score_company(amounts, totals, relations, kin, feasible, weights[NEIGHBOURS], part, total)
        row = select_random(total, feasible, seed, pod_row[pod]) if is_random else select_lowest(total, feasible)
        chosen[pod] = row
        for r in range(resources):
            requested[r, row] += classes.amount[HELD, r, c]
            nonzero[r, row] += classes.amount[NONZERO, r, c]
        for j in range(relations.start[TAKEN, port], relations.start[TAKEN, port + 1]):
            ports[relations.rows[j, 0], row] = True
        _count(amounts, totals, relations, kin, row)
    return pods[1]


@kernel
def _ask(requested, request, c, used, asked):
    """Fill float64[R, N] each: what nodes would hold with a pod of a class, and what it asks for."""
    for r in range(used.shape[0]):
        amount = request[r, c]
        for i in range(used.shape[1]):
            used[r, i] = requested[r, i] + amount
            asked[r, i] = amount


@kernel
def _count(amounts, totals, relations, kin, row):
    """Count a pod of a kin that goes to a node."""
    for j in range(relations.start[GAINS, kin], relations.start[GAINS, kin + 1]):
        counter, gain = relations.rows[j, 0], relations.rows[j, 1]
        slot = relations.layout[relations.counter[counter, 0], row]
        if slot > 0:
            amounts[relations.counter[counter, 1] + slot] += gain
            totals[counter] += gain


# -- placing, by a tree over all classes ---------------------------------------


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
