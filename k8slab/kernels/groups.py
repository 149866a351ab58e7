"""Rows of equal numbers are one group: pods of one class, nodes in one state."""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import kernel
from k8slab.kernels.choice import mix


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
        x = mix(x + np.uint64(row[k]) + np.uint64(0x9E3779B97F4A7C15))
    return np.int64(x & np.uint64(slots - 1))
