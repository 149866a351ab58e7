"""Karpenter's budgets, schedules and scores, worked by hand, with properties."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.karpenter.budgets import UNLIMITED, ActiveBudget, NodeBudget, allowed_for
from k8slab.domain.karpenter.cron import Cron
from k8slab.domain.karpenter.disruption_cost import Move, approves, balanced_score, eviction_cost, node_cost
from k8slab.errors import InputError

NOON = datetime(2000, 6, 15, 12, 30, 30, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("schedule", "hit"),
    [
        ("* * * * *", datetime(2000, 6, 15, 12, 31, tzinfo=UTC)),
        ("@yearly", datetime(2001, 1, 1, tzinfo=UTC)),
        ("@hourly", datetime(2000, 6, 15, 13, 0, tzinfo=UTC)),
        ("0 9 * * mon-fri", datetime(2000, 6, 16, 9, 0, tzinfo=UTC)),
        ("15,45 9-17/4 * JUN ?", datetime(2000, 6, 15, 13, 15, tzinfo=UTC)),
        ("5/25 * * * *", datetime(2000, 6, 15, 12, 55, tzinfo=UTC)),
        ("0 0 1 * sun", datetime(2000, 6, 18, tzinfo=UTC)),  # the first of a month, or a Sunday
        ("0 0 */2 * sun", datetime(2000, 6, 17, tzinfo=UTC)),  # a step is no star: either day
        ("0 0 13 * */1", datetime(2000, 7, 13, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2004, 2, 29, tzinfo=UTC)),
        ("0 0 30 2 *", None),
    ],
)
def test_the_next_hit(schedule, hit):
    assert Cron.parse(schedule).next_after(NOON) == hit


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("* * * *", "found 4 fields; wanted five"),
        ("0 0 * * tue-mon", "day of week: 'tue-mon' is out of order"),
        ("60 * * * *", "minute: '60' is out of order or of range; wanted 0 to 59"),
        ("* * 0 * *", "day of month: '0'"),
        ("* * * * 7", "day of week: '7'"),
        ("*/0 * * * *", "steps of 1 or more"),
        ("* x * * *", "hour: 'x' is no number"),
        ("@sometimes", "found 1 fields"),
        (",5 * * * *", "minute: '' is no number"),
    ],
)
def test_what_is_no_schedule(schedule, message):
    with pytest.raises(InputError, match=message):
        Cron.parse(schedule)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)),
    st.sampled_from(["* * * * *", "*/7 3 * * *", "0 0 1 * *", "30 6 * * mon", "0 12 15 * fri"]),
)
def test_a_hit_is_later_and_the_next_one_from_just_before_it(moment, schedule):
    cron = Cron.parse(schedule)
    hit = cron.next_after(moment)
    assert hit > moment
    assert cron.next_after(hit - timedelta(seconds=1)) == hit
    assert cron.next_after(hit) > hit


def test_a_budget_is_active_from_its_hit_for_its_duration():
    budget = NodeBudget(schedule="0 12 * * *", duration=timedelta(hours=1))
    for minute, active in [(-1, False), (0, True), (59, True), (60, False)]:
        assert budget.is_active(datetime(2000, 6, 15, 12, tzinfo=UTC) + timedelta(minutes=minute)) is active
    assert NodeBudget().is_active(NOON)


def test_what_a_budget_allows():
    assert [NodeBudget(nodes).allowed(15) for nodes in ("10", "10%", "0", "100%")] == [10, 2, 0, 15]
    assert ActiveBudget(NodeBudget("1"), active=False).allowed(15) == UNLIMITED
    with pytest.raises(InputError, match="'10a%' is neither"):
        NodeBudget("10a%").allowed(15)


def test_the_least_of_the_budgets_that_hold_for_a_reason():
    budgets = [
        ActiveBudget(NodeBudget("10")),
        ActiveBudget(NodeBudget("5", ("Drifted",))),
        ActiveBudget(NodeBudget("1"), active=False),
    ]
    assert [allowed_for(reason, budgets, 100) for reason in ("Empty", "Drifted")] == [10, 5]
    assert allowed_for("Empty", [], 100) == UNLIMITED
    assert allowed_for("Empty", [*budgets, ActiveBudget(NodeBudget("x"))], 100) == 0


def test_a_schedule_needs_a_duration():
    with pytest.raises(InputError, match="wanted both or neither"):
        NodeBudget(schedule="@daily")


def test_costs():
    assert eviction_cost() == 1.0
    assert eviction_cost(priority=10**9) == 10.0
    assert eviction_cost(deletion_cost=-(2**31) + 1) == pytest.approx(-10.0, abs=5)
    assert node_cost([1.0, 2.0, -3.0]) == 4.0


@pytest.mark.parametrize(
    ("savings", "cost", "score", "approved"),
    [
        (8.0, 4.0, 2.8, True),
        (2.0, 5.0, 0.56, True),
        (2.0, 7.0, 0.4, False),
        (0.0, 9.0, 0.0, False),
        (-1, 0, 0.0, False),
    ],
)
def test_a_moves_score(savings, cost, score, approved):
    move = Move(savings, cost, 50.0, 70.0)
    assert balanced_score(move) == pytest.approx(score)
    assert approves(move) is approved


def test_savings_that_disturb_nobody_are_always_worth_it():
    move = Move(0.01, 0.0, 50.0, 70.0)
    assert balanced_score(move) == math.inf
    assert approves(move)
    assert approves(Move(2.0, 5.0, 50.0, 70.0), k=1.0) is False
    with pytest.raises(InputError, match="k 0 of the Balanced policy"):
        approves(move, 0)
