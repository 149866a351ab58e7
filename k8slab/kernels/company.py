"""What pods ask of other pods: host ports, topology spreading, affinity and anti-affinity.

A domain's amount is amounts[first + place]; where a node has no domain that is the slot that stays 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import kernel
from k8slab.kernels.scores import Floats, Ints, Mask

# Rows of Relations.start.
HARD, SOFT, AWAY, WANTED, LIKED, GAINS, CONFLICTING, TAKEN = 0, 1, 2, 3, 4, 5, 6, 7
TABLES = 8


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


@kernel
def refuse_ports(ports, relations, key, feasible):
    """Clear `feasible` where a host port in conflict is taken."""
    for j in range(relations.start[CONFLICTING, key], relations.start[CONFLICTING, key + 1]):
        taken = ports[relations.rows[j, 0]]
        for i in range(feasible.shape[0]):
            feasible[i] = feasible[i] & (not taken[i])


@kernel
def refuse_skew(amounts, relations, kin, feasible):
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
def refuse_company(amounts, totals, relations, kin, feasible):
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
def score_spread(amounts, relations, kin, feasible, weight, raw, marks, total):
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
def score_company(amounts, totals, relations, kin, feasible, weight, raw, total):
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
def count_pod(amounts, totals, relations, kin, row, sign):
    """Count a pod of a kin that goes to a node, or leaves it: sign 1 or -1."""
    for j in range(relations.start[GAINS, kin], relations.start[GAINS, kin + 1]):
        counter, gain = relations.rows[j, 0], sign * relations.rows[j, 1]
        slot = relations.layout[relations.counter[counter, 0], row]
        if slot > 0:
            amounts[relations.counter[counter, 1] + slot] += gain
            totals[counter] += gain
