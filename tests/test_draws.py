"""Draws that depend on what they are for alone: the compiled mixer against Python's whole numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from k8slab.simulation.pod_faults import uniform

WORD = 2**64 - 1


def mixed(seed: int, *words: int) -> int:
    for word in words:
        seed = ((seed ^ (word & WORD)) + 0x9E3779B97F4A7C15) & WORD
        seed = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 & WORD
        seed = (seed ^ (seed >> 27)) * 0x94D049BB133111EB & WORD
        seed ^= seed >> 31
    return seed


@given(st.integers(0, WORD), st.lists(st.tuples(st.integers(0, 2**62), st.integers(-1, 9)), max_size=5))
def test_a_draw_is_a_function_of_seed_row_and_attempt(seed, starts):
    rows, attempts = np.array(starts, dtype=np.int64).reshape(-1, 2).T.copy()
    expected = [((mixed(seed, *start) >> 11) + 0.5) / 2.0**53 for start in starts]
    assert uniform(seed, rows, attempts).tolist() == expected
