"""Karpenter's rules of batches and consolidation, by hand and against obvious twins."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.application.karpenter import relational, trial
from k8slab.domain.karpenter.batching import BatchWindow
from k8slab.domain.karpenter.budgets import NodeBudget
from k8slab.domain.karpenter.consolidation import (
    SPOT_TYPES,
    candidate_order,
    cheaper_options,
    interleaved,
    largest_prefix,
    spot_options,
    within_budgets,
)
from k8slab.errors import InputError
from k8slab.kernels import claims


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 8))
def test_a_batch_closes_after_a_pause_or_in_all(times, idle, more):
    """Second by second: open since the first trigger, closed when nothing came for `idle`, or after `most`."""
    most = idle + more
    window, opened, last, closed = BatchWindow(idle, most), None, None, []
    expected = []
    for now in range(60):
        if now in times:
            window.trigger(now)
            opened, last = (now if opened is None else opened), now
        if opened is not None and (now - last >= idle or now - opened >= most):
            expected.append(now)
            opened = None
        if window.closes_ns is not None and window.closes_ns <= now:
            closed.append(now)
            window.close()
    assert closed == expected


def test_a_batch_cannot_pause_for_longer_than_it_lasts():
    with pytest.raises(InputError, match="a batch waits 5 ns for another pod and 4 ns in all"):
        BatchWindow(5, 4)


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2024, 3, 1)),
    st.sampled_from(["*/7 3 * * *", "0 0 1 * *", "30 6 * * mon", "@hourly", "0 0 30 2 *"]),
    st.integers(1, 300),
    st.integers(0, 20_000),
)
def test_a_budget_stays_as_it_is_until_it_says(moment, schedule, minutes, later):
    budget = NodeBudget(schedule=schedule, duration=timedelta(minutes=minutes))
    now = moment.replace(tzinfo=UTC)
    active, until = budget.active_until(now)
    other = now + timedelta(seconds=later)
    assert until is None or until > now
    if until is None or other < until:
        assert budget.is_active(other) is active


def test_a_budget_without_a_schedule_is_active_for_ever():
    assert NodeBudget().active_until(datetime(2024, 1, 1, tzinfo=UTC)) == (True, None)


@given(st.lists(st.integers(0, 4), max_size=20))
def test_pools_take_turns(pools):
    order = interleaved(np.array(pools, dtype=np.int64)).tolist()
    queues = {pool: [place for place, other in enumerate(pools) if other == pool] for pool in dict.fromkeys(pools)}
    turns = []
    while any(queues.values()):
        turns += sorted(queue.pop(0) for queue in queues.values() if queue)
    assert order == turns


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=12))
def test_the_dearest_for_their_disruption_come_first(nodes):
    price, cost = (np.array([node[k] for node in nodes], dtype=np.float64) for k in (0, 1))
    assert candidate_order(price, cost).tolist() == sorted(range(len(nodes)), key=lambda n: -nodes[n][0] / nodes[n][1])


@given(st.lists(st.integers(0, 2), max_size=20), st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_no_pool_loses_more_than_its_budget(pools, allowed):
    taken = within_budgets(np.array(pools, dtype=np.int64), dict(enumerate(allowed)))
    for pool, most in enumerate(allowed):
        mine = [bool(taken[place]) for place, other in enumerate(pools) if other == pool]
        assert mine == [number < most for number in range(len(mine))]


@given(st.integers(0, 120), st.integers(0, 130))
def test_the_largest_prefix_that_works_is_found_in_few_attempts(count, works):
    asked = []

    def attempt(length):
        asked.append(length)
        return length if length <= works else None

    assert largest_prefix(count, attempt) == (min(count, works) if count >= 2 and works >= 2 else None)
    assert len(asked) <= math.ceil(math.log2(max(count, 1) + 1)) + 1
    assert all(2 <= length <= count for length in asked)


def test_the_search_is_upstreams():
    """Of 9 candidates: indices 1 to 8, half-way 4, so five nodes are tried first."""
    asked = []
    assert largest_prefix(9, lambda length: asked.append(length)) is None
    assert asked == [5, 3, 2]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 2)), max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=4),
)
def test_a_replacement_pays(options, gone):
    found = cheaper_options(
        np.array([one[0] for one in options], dtype=np.bool_),
        np.array([one[1] for one in options], dtype=np.float64),
        np.array([one[2] for one in options], dtype=np.int64),
        np.array([one[1] for one in gone], dtype=np.int64),
        np.array([one[0] for one in gone], dtype=np.float64),
    )
    whole = sum(price for price, _ in gone)
    within = [number for number, (possible, price, _) in enumerate(options) if possible and price < whole]
    if len(gone) > 1:
        kinds = {options[number][2] for number in within}
        alike = [price for price, kind in gone if kind in kinds]
        within = [number for number in within if options[number][1] < min(alike, default=math.inf)]
    assert np.flatnonzero(found).tolist() == within


def test_two_nodes_are_not_replaced_by_one_of_theirs():
    """Two of type 0 at 2.0 by one of type 1 at 3.0; or by type 0, where keeping one of them would do."""
    price, kind = np.array([2.0, 3.0]), np.array([0, 1])
    gone = np.array([0, 0]), np.array([2.0, 2.0])
    assert cheaper_options(np.array([True, True]), price, kind, *gone).tolist() == [False, False]
    assert cheaper_options(np.array([False, True]), price, kind, *gone).tolist() == [False, True]


def spot_case(spot_types, nodes=1, gate=True, mixed=False):
    """So many cheaper spot options, dearest first, and one on demand."""
    price = np.array([*range(spot_types, 0, -1), 0.5])
    spot = np.array([True] * spot_types + [False])
    gone = np.array([True] * nodes)
    gone[-1] &= not mixed
    return spot_options(np.ones(len(price), dtype=np.bool_), price, spot, gone, spot_to_spot=gate)


def test_spot_is_replaced_by_spot_through_the_gate_alone():
    assert not spot_case(20, gate=False)[0].any()
    assert "is off" in spot_case(20, gate=False)[1]
    assert spot_case(20, gate=False, mixed=True)[0].all()
    assert spot_case(0, gate=False)[0].tolist() == [True]


def test_one_spot_node_needs_fifteen_cheaper_types_and_is_launched_from_those():
    few, why = spot_case(SPOT_TYPES - 1)
    assert not few.any()
    assert why == "14 cheaper spot types; wanted 15 for a single spot node"
    many, _ = spot_case(SPOT_TYPES + 3)
    assert np.flatnonzero(many).tolist() == list(range(3, SPOT_TYPES + 3))
    assert spot_case(3, nodes=2)[0].tolist() == [True] * 3 + [False]


def test_the_loop_and_the_kernels_mean_the_same():
    for name in ("DELETE", "REPLACE", "NO_ROOM", "TOO_MANY", "NOT_YET", "TOO_DEAR"):
        assert getattr(trial, name) == getattr(claims, name), name
    for name in ("PENDING", "LEAVING", "MOVING", "STUCK", "MANY", "UPCOMING"):
        assert getattr(relational, name) == getattr(claims, name), name
