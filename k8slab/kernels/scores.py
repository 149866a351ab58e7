"""Which nodes can hold a pod, and how good they are for it.

The kernels work on any list of (node, pod) pairs, given as columns: the scan lists all
nodes for one pod, the tree one node for all pod classes, so that both run the same formula.

Everywhere: R resources, M pairs.
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

from typing import NamedTuple

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
FINE = 10_000.0  # score of a perfect best-fit, worst-fit or dot product


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
