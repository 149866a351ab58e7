"""Who uses how much: sums of requests, their means over time, quantiles, stranding, spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import kernel

Array = npt.NDArray[Any]


@kernel
def usage(
    requests: Array,
    node_row: Array,
    namespace: Array,
    zone: Array,
    by_node: Array,
    by_zone: Array,
    by_namespace: Array,
) -> None:
    """What pods request on each node, in each zone and in each namespace, in one pass. Fills the last three.

    requests     : int64[P, R]   R >= 3: cpu, memory and pods are always there
    node_row     : int32[P]      -1 unplaced: counts nowhere
    namespace    : int32[P]      code, -1 none: counts in no namespace
    zone         : int32[N]      code, -1 none: counts in no zone
    by_node      : int64[R, N]
    by_zone      : int64[R, Z]
    by_namespace : int64[R, K]
    """
    # A pod's requests lie together, so its sums do too: one cache line a pod, not R.
    # The first three are written out: a loop of unknown length over them takes 8.6 ms for a
    # million pods on 100,000 nodes, this 5.4.
    nodes = np.zeros((by_node.shape[1], by_node.shape[0]), dtype=np.int64)
    namespaces = np.zeros((by_namespace.shape[1], by_namespace.shape[0]), dtype=np.int64)
    for p in range(requests.shape[0]):
        n, k = node_row[p], namespace[p]
        if n < 0:
            continue
        cpu, memory, pods = requests[p, 0], requests[p, 1], requests[p, 2]
        nodes[n, 0] += cpu
        nodes[n, 1] += memory
        nodes[n, 2] += pods
        if k >= 0:
            namespaces[k, 0] += cpu
            namespaces[k, 1] += memory
            namespaces[k, 2] += pods
        for r in range(3, requests.shape[1]):
            nodes[n, r] += requests[p, r]
            if k >= 0:
                namespaces[k, r] += requests[p, r]
    by_zone[:] = 0
    for r in range(by_node.shape[0]):
        for n in range(by_node.shape[1]):
            by_node[r, n] = nodes[n, r]
            if zone[n] >= 0:
                by_zone[r, zone[n]] += nodes[n, r]
        for k in range(by_namespace.shape[1]):
            by_namespace[r, k] = namespaces[k, r]


@kernel
def sum_by_code(amounts: Array, code: Array, sums: Array) -> None:
    """Sums of columns by a code: nodes by zone or label. Fills `sums`.

    amounts : int64[R, N]
    code    : int32[N]      -1 counts nowhere
    sums    : int64[R, G]
    """
    sums[:] = 0
    for r in range(amounts.shape[0]):
        for i in range(amounts.shape[1]):
            if code[i] >= 0:
                sums[r, code[i]] += amounts[r, i]


@kernel
def window_means(
    requests: Array,
    code: Array,
    start_ns: Array,
    end_ns: Array,
    edges_ns: Array,
    means: Array,
) -> None:
    """What pods that come and go request on average in each window of time, by a code. Fills `means`.

    requests : int64[P, R]
    code     : int32[P]          node, zone, namespace, or 0 for all; -1 counts nowhere
    start_ns : int64[P]
    end_ns   : int64[P]          the first instant at which the pod is gone
    edges_ns : int64[W + 1]      rising; window w is [edges_ns[w], edges_ns[w + 1])
    means    : float64[G, W, R]  integral over the window of what is requested, by its length

    A pod's whole windows are kept as exact integers, by their first and last: so a pod costs
    two binary searches however many windows it spans. Pieces of windows are float64, exact
    while request * nanoseconds stay below 2**53.
    """
    windows = means.shape[1]
    steps = np.zeros((means.shape[0], windows + 1, means.shape[2]), dtype=np.int64)
    means[:] = 0.0
    for p in range(requests.shape[0]):
        g = code[p]
        start, end = max(start_ns[p], edges_ns[0]), min(end_ns[p], edges_ns[windows])
        if g < 0 or start >= end:
            continue
        first = np.searchsorted(edges_ns, start, side="right") - 1
        last = np.searchsorted(edges_ns, end, side="left") - 1
        for r in range(requests.shape[1]):
            amount = float(requests[p, r])
            if first == last:
                means[g, first, r] += amount * (end - start)
            else:
                means[g, first, r] += amount * (edges_ns[first + 1] - start)
                means[g, last, r] += amount * (end - edges_ns[last])
                steps[g, first + 1, r] += requests[p, r]
                steps[g, last, r] -= requests[p, r]
    for g in range(means.shape[0]):
        for r in range(means.shape[2]):
            throughout = np.int64(0)
            for w in range(windows):
                throughout += steps[g, w, r]
                means[g, w, r] = throughout + means[g, w, r] / (edges_ns[w + 1] - edges_ns[w])


@kernel
def utilization(requested: Array, allocatable: Array, percent: Array) -> None:
    """100 * requested / allocatable, NaN where nothing is allocatable. Fills `percent`.

    requested, allocatable : int64[R, N]
    percent                : float64[R, N]  may exceed 100: observed clusters can be overfull
    """
    for r in range(requested.shape[0]):
        for i in range(requested.shape[1]):
            have = allocatable[r, i]
            percent[r, i] = 100.0 * requested[r, i] / have if have > 0 else np.nan


@kernel
def dominant_and_spread(percent: Array, dominant: Array, spread: Array) -> None:
    """Each node's highest utilization, and the highest less the lowest. Fills both.

    percent  : float64[R, N]  as `utilization` gives it; NaN is left out
    dominant : float64[N]     NaN where a node has none of the resources
    spread   : float64[N]     0: all resources are used alike; NaN as before
    """
    dominant[:] = np.nan
    spread[:] = np.nan
    for i in range(percent.shape[1]):
        high, low = -np.inf, np.inf
        for r in range(percent.shape[0]):
            if not np.isnan(percent[r, i]):
                high, low = max(high, percent[r, i]), min(low, percent[r, i])
        if high >= low:
            dominant[i], spread[i] = high, high - low


@kernel
def quantiles(values: Array, at_percent: Array, found: Array) -> None:
    """Nearest-rank quantiles: the smallest value that this share of the values is at or below. Fills `found`.

    values     : float64[N]  NaN is left out
    at_percent : float64[Q]  0..100; 0 is the smallest value
    found      : float64[Q]  NaN if there are no values

    Every answer is some node's own value. Whole percents are exact.
    """
    kept = np.sort(values[~np.isnan(values)])
    for q in range(at_percent.shape[0]):
        rank = int(np.ceil(at_percent[q] * kept.shape[0] / 100.0))
        found[q] = kept[max(rank, 1) - 1] if kept.shape[0] > 0 else np.nan


@kernel
def multiply_divide(a: np.int64, b: np.int64, c: np.int64) -> np.int64:
    """floor(a * b / c) where a * b need not fit in 63 bits; at least 2**62 where the result does not.

    a, b >= 0; b, c < 2**62, c > 0. Bytes times bytes is too much for int64 (and float64 would round):
    then it is long division, a bit at a time.
    """
    limit = np.int64(1) << 62
    if b == 0 or a <= limit // b:
        return a * b // c
    if a // c > limit // b:
        return limit
    quotient, rest, part = np.int64(0), np.int64(0), a % c
    for bit in range(61, -1, -1):
        quotient, rest = 2 * quotient, 2 * rest
        if rest >= c:
            quotient, rest = quotient + 1, rest - c
        if (b >> bit) & 1:
            rest += part
            if rest >= c:
                quotient, rest = quotient + 1, rest - c
    return (a // c) * b + quotient


@kernel
def stranded(requested: Array, allocatable: Array, demand: Array, amount: Array) -> None:
    """What is free on each node but unusable for want of another resource. Fills `amount`.

    requested, allocatable, amount : int64[R, N]
    demand                         : int64[R]  proportions in which pods ask; below 2**62

    With free_r = max(allocatable_r - requested_r, 0), a node can take `demand` as often as
    its scarcest resource allows, which uses of r

        usable_r = floor(min over s with demand_s > 0 of free_s * demand_r / demand_s)

    and strands the rest: amount_r = free_r - usable_r. Pods are a fluid here: what is left
    because pods are lumps is not stranded, and only the proportions of `demand` matter. What
    nobody asks for (demand_r = 0) is not stranded either. Exact integers.
    """
    amount[:] = 0
    for r in range(requested.shape[0]):
        if demand[r] <= 0:
            continue
        for i in range(requested.shape[1]):
            free = max(allocatable[r, i] - requested[r, i], 0)
            usable = free
            for s in range(requested.shape[0]):
                if demand[s] > 0 and s != r:
                    other = max(allocatable[s, i] - requested[s, i], 0)
                    usable = min(usable, multiply_divide(other, demand[r], demand[s]))
            amount[r, i] = free - usable
