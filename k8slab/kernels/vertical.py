"""Decaying histograms of many workloads at once: domain.vertical.histogram over columns, bit for bit.

W workloads, B exponential buckets: bucket n starts at first * (ratio^n - 1) / (ratio - 1). A sample's
weight doubles with each half-life that it is younger.
"""

from __future__ import annotations

import math

import numpy as np

from k8slab.kernels._jit import kernel

NO_TIME = np.int64(2**63 - 1)
# A weight is 2 to this many half-lives at the most, before a workload's reference time is moved.
MAX_DECAY_EXPONENT = 100


@kernel
def _bucket(value, first, ratio, buckets):
    if value < first:
        return 0
    place = math.log(value * (ratio - 1.0) / first + 1.0) / math.log(ratio)
    # Compared as floats: an infinite value has no integer.
    return buckets - 1 if place >= buckets - 1 else int(place)


@kernel
def _start(bucket, first, ratio):
    return first * (ratio**bucket - 1.0) / (ratio - 1.0)


@kernel
def _decay(at_ns, w, half_life_ns, weights, total, reference_ns):
    """What a sample of this instant weighs, the reference time moved near it if that were too much."""
    reference = reference_ns[w]
    if reference == NO_TIME or at_ns > reference + half_life_ns * MAX_DECAY_EXPONENT:
        rounded = (at_ns + half_life_ns // 2) // half_life_ns * half_life_ns
        if reference != NO_TIME:
            # By whole half-lives, so that weights change by powers of two alone.
            factor = 2.0 ** float((reference - rounded) // half_life_ns)
            for b in range(weights.shape[1]):
                weights[w, b] *= factor
            total[w] *= factor
        reference_ns[w] = rounded
        reference = rounded
    return 2.0 ** ((at_ns - reference) / half_life_ns)


@kernel
def add_samples(workload, value, weight, at_ns, first, ratio, half_life_ns, weights, total, reference_ns):
    """Count samples, one after another; a negative weight takes one away, never below nothing.

    workload     : int64[S]
    value        : float64[S]    cores or bytes
    weight       : float64[S]
    at_ns        : int64[S]
    first, ratio : of the buckets
    weights      : float64[W, B] changed
    total        : float64[W]    changed
    reference_ns : int64[W]      changed; NO_TIME before the first sample
    """
    for i in range(workload.shape[0]):
        w = workload[i]
        decayed = abs(weight[i]) * _decay(at_ns[i], w, half_life_ns, weights, total, reference_ns)
        b = _bucket(value[i], first, ratio, weights.shape[1])
        if weight[i] < 0.0:
            decayed = -min(decayed, weights[w, b])
        weights[w, b] += decayed
        total[w] += decayed


@kernel
def percentiles(share, epsilon, first, ratio, weights, total, out):
    """The end of each workload's first bucket that has a share of the weight below its end; 0 where all are empty.

    share : float64[K]    weights : float64[W, B]    total : float64[W]    out : float64[W, K], filled
    """
    buckets = weights.shape[1]
    for w in range(weights.shape[0]):
        low, high = -1, -1
        for b in range(buckets):
            if weights[w, b] >= epsilon:
                low = b if low < 0 else low
                high = b
        for k in range(share.shape[0]):
            if low < 0:
                out[w, k] = 0.0
                continue
            threshold, partial, b = share[k] * total[w], 0.0, low
            while b < high:
                partial += weights[w, b]
                if partial >= threshold:
                    break
                b += 1
            out[w, k] = _start(min(b + 1, buckets - 1), first, ratio)


@kernel
def memory_peaks(pod, workload, value, at_ns, oom, interval_ns, window_end_ns, last_ns, peak, oom_peak, out):
    """Which samples of memory count in the histograms: a pod's highest of each interval; gives how many rows of `out`.

    pod, workload : int64[S]    value : float64[S]    at_ns : int64[S]    oom : bool[S]
    window_end_ns, last_ns : int64[P]  NO_TIME before a pod's first sample; changed
    peak, oom_peak : float64[P]  of the interval; changed
    out           : float64[2 S, 4]  filled with (workload, value, weight, at): weight 1 counts a sample, at the
                    interval's end, and -1 takes away the one that it replaces

    A sample older than the last one is passed over, but for an OOM kill's.
    """
    count = 0
    for i in range(pod.shape[0]):
        p, at = pod[i], at_ns[i]
        if not oom[i] and last_ns[p] != NO_TIME and at < last_ns[p]:
            continue
        last_ns[p] = at
        if window_end_ns[p] == NO_TIME:
            window_end_ns[p] = at
        counts = False
        if at < window_end_ns[p]:
            highest = max(peak[p], oom_peak[p])
            if highest != 0.0 and value[i] > highest:
                out[count, 0], out[count, 1], out[count, 2] = workload[i], highest, -1.0
                out[count, 3] = window_end_ns[p]
                count += 1
                counts = True
        else:
            window_end_ns[p] += (at - window_end_ns[p]) // interval_ns * interval_ns + interval_ns
            peak[p] = oom_peak[p] = 0.0
            counts = True
        if counts:
            out[count, 0], out[count, 1], out[count, 2] = workload[i], value[i], 1.0
            out[count, 3] = window_end_ns[p]
            count += 1
            if oom[i]:
                oom_peak[p] = value[i]
            else:
                peak[p] = value[i]
    return count
