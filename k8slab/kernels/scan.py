"""Placing pod after pod by looking at every node: all of a policy's rules in one loop.

N nodes, C classes of pods that no rule tells apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from k8slab.kernels._jit import kernel
from k8slab.kernels.choice import select_lowest, select_random
from k8slab.kernels.company import (
    TAKEN,
    count_pod,
    refuse_company,
    refuse_ports,
    refuse_skew,
    score_company,
    score_spread,
)
from k8slab.kernels.scores import Asked, Floats, Ints, Mask, resource_fit, score_pairs

# Positions in Scoring.normalized.
TAINTS, PREFERENCES, SPREAD, NEIGHBOURS = 0, 1, 2, 3
NORMALIZED = 4
# Rows of Classes.key.
ALLOWED_ROW, BONUS_ROW, TAINTS_ROW, PREFERENCES_ROW, PORTS_KEY, KIN_KEY = 0, 1, 2, 3, 4, 5
KEYS = 6
# Rows of Classes.amount.
REQUEST, HELD, SCORED, NONZERO = 0, 1, 2, 3


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


@kernel
def score_share(raw, feasible, weight, total):
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


@kernel
def place_by_scan(
    pods, left, pod_class, allocatable, load, classes, sites, relations, scoring, leaving, draws, stops, chosen
):
    """Place pods one after another, each looking at every node; gives the index of the next pod. Changes `load`.

    pods        : (start, stop) of the pods to place now
    left        : int64[1]  how many have left so far; kept up to date
    pod_class   : int32[P]
    allocatable : float64[R, N]
    leaving     : int64[P], int64[.]  the pods second[: first[p]] have left before pod p comes; both are
                  empty where none leaves
    draws       : (random: bool, seed: uint64, pod_row: int64[P])
    stops       : bool[P]   come back to the caller before a pod that fits nowhere
    chosen      : int64[P]  filled with node rows, -1 where no node fits
    """
    resources, nodes = allocatable.shape
    is_random, seed, pod_row = draws
    requested, nonzero, ports = load.requested, load.nonzero, load.ports
    amounts, totals = load.amounts, load.totals
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
        see_off(pod, leaving, left, pod_class, load, classes, relations, chosen)
        c = pod_class[pod]
        kin, port = classes.key[KIN_KEY, c], classes.key[PORTS_KEY, c]
        allowed = sites.allowed[classes.key[ALLOWED_ROW, c]]
        for i in range(nodes):
            feasible[i] = allowed[i]
        _ask(requested, classes.amount[REQUEST], c, asked.used, asked.request)
        resource_fit(asked.used, allocatable, asked.request, classes.checked, feasible)
        refuse_ports(ports, relations, port, feasible)
        refuse_skew(amounts, relations, kin, feasible)
        refuse_company(amounts, totals, relations, kin, feasible)
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
        score_share(sites.taints[classes.key[TAINTS_ROW, c]], feasible, -weights[TAINTS], total)
        score_share(sites.preferences[classes.key[PREFERENCES_ROW, c]], feasible, weights[PREFERENCES], total)
        score_spread(amounts, relations, kin, feasible, weights[SPREAD], part, marks, total)
        score_company(amounts, totals, relations, kin, feasible, weights[NEIGHBOURS], part, total)
        row = select_random(total, feasible, seed, pod_row[pod]) if is_random else select_lowest(total, feasible)
        chosen[pod] = row
        charge(load, classes, relations, c, row, 1)
    return pods[1]


@kernel
def see_off(pod, leaving, left, pod_class, load, classes, relations, chosen):
    """Take those off their nodes that leave before a pod comes; see place_by_scan."""
    leaves_from, leavers = leaving
    while leaves_from.shape[0] and left[0] < leaves_from[pod]:
        gone = leavers[left[0]]
        left[0] += 1
        if chosen[gone] >= 0:
            charge(load, classes, relations, pod_class[gone], chosen[gone], -1)


@kernel
def charge(load, classes, relations, c, row, sign):
    """A pod of a class comes to a node, or leaves it: sign 1 or -1."""
    requested, nonzero = load.requested, load.nonzero
    kin, port = classes.key[KIN_KEY, c], classes.key[PORTS_KEY, c]
    for r in range(requested.shape[0]):
        requested[r, row] += sign * classes.amount[HELD, r, c]
        nonzero[r, row] += sign * classes.amount[NONZERO, r, c]
    for j in range(relations.start[TAKEN, port], relations.start[TAKEN, port + 1]):
        load.ports[relations.rows[j, 0], row] = sign > 0
    count_pod(load.amounts, load.totals, relations, kin, row, sign)


@kernel
def _ask(requested, request, c, used, asked):
    """Fill float64[R, N] each: what nodes would hold with a pod of a class, and what it asks for."""
    for r in range(used.shape[0]):
        amount = request[r, c]
        for i in range(used.shape[1]):
            used[r, i] = requested[r, i] + amount
            asked[r, i] = amount
