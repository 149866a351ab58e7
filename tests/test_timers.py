"""Timers: a compiled heap, against a list that is sorted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.columns import NEVER
from k8slab.simulation.timers import Timers

DUE = st.lists(st.tuples(st.sampled_from([0, 1, 5, 5, 9, 40, NEVER]), st.integers(0, 9)), max_size=100)


@given(st.lists(st.tuples(DUE, st.sampled_from([0, 1, 5, 6, 50])), max_size=6))
def test_timers_come_by_time_and_then_by_row(rounds):
    timers, naive = Timers(), []
    for come, before_ns in rounds:
        at, rows = np.array(come, dtype=np.int64).reshape(-1, 2).T.copy()
        timers.put(at, rows)
        naive = sorted([*naive, *(one for one in come if one[0] != NEVER)])
        assert timers.next_ns == (naive[0][0] if naive else None)
        due = [one for one in naive if one[0] < before_ns]
        assert [tuple(one) for one in timers.take_before(before_ns).T.tolist()] == due
        naive = naive[len(due) :]
