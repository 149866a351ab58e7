"""Draws that are functions of what they are for."""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import borrowing_kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@borrowing_kernel
def mix(seed, rows, attempts, mixed):
    """64 random bits for each row and attempt: splitmix64's mixer (Steele, Lea, Flood, OOPSLA 2014). Fills `mixed`.

    seed : uint64. rows, attempts : int64[n]. mixed : uint64[n]
    """
    for i in range(rows.shape[0]):
        state = seed
        for word in (rows[i], attempts[i]):
            state = (state ^ np.uint64(word)) + GOLDEN
            state = (state ^ (state >> np.uint64(30))) * FIRST
            state = (state ^ (state >> np.uint64(27))) * SECOND
            state ^= state >> np.uint64(31)
        mixed[i] = state


@borrowing_kernel
def struck(after_ns, rows, start_ns, end_ns, places):
    """Which of these containers are struck before they end. Fills `places`; gives how many.

    after_ns : int64[P]  how long after its start a pod's container is, NEVER if it isn't
    rows, start_ns, end_ns, places : int64[n]
    """
    count = 0
    for i in range(rows.shape[0]):
        if after_ns[rows[i]] < end_ns[i] - start_ns[i]:
            places[count] = i
            count += 1
    return count
