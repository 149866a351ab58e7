"""Disruption budgets and evictions, worked by hand, with properties."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.disruption import (
    DISRUPTED_POD_TIMEOUT_NS,
    BudgetPod,
    BudgetSpec,
    BudgetStatus,
    EvictedPod,
    Eviction,
    admit_eviction,
    budget_status,
    scaled_value,
)
from k8slab.errors import InputError

WEB = BudgetSpec(min_available=2)


def pods(ready, unready=0, controller="web"):
    return [BudgetPod(f"p{row}", controller, row < ready) for row in range(ready + unready)]


def allowed(spec, matched, scales=None, disrupted=None, now_ns=0):
    return budget_status(spec, matched, scales or {}, disrupted or {}, now_ns)


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [(7, 3, 7, 7), ("34%", 3, 2, 1), ("50%", 4, 2, 2), ("0%", 9, 0, 0), ("100%", 9, 9, 9), ("-10%", 15, -1, -2)],
)
def test_percentages_round_as_asked(value, total, up, down):
    assert scaled_value(value, total, round_up=True) == up
    assert scaled_value(value, total, round_up=False) == down


@pytest.mark.parametrize("value", ["#%", "5", "%", "1.5%", "", " 5%", True, 1.5, None])
def test_what_is_neither_a_number_nor_a_percentage(value):
    with pytest.raises(InputError, match="neither a whole number nor a percentage"):
        scaled_value(value, 10, round_up=True)


def test_a_whole_min_available_counts_the_pods_there_are():
    status = allowed(WEB, pods(3))
    assert (status.disruptions_allowed, status.current_healthy, status.desired_healthy, status.expected_pods) == (
        1, 3, 2, 3,
    )  # fmt: skip
    assert allowed(WEB, []).disruptions_allowed == 0


def test_a_percentage_counts_the_scales_of_distinct_controllers():
    mixed = [*pods(5, 6, "rc"), *(replace(pod, name=f"r{pod.name}", controller="rs") for pod in pods(4))]
    status = allowed(BudgetSpec(min_available="28%"), mixed, {"rc": 11, "rs": 11})
    # 28 % of 22 is 6.16, so 7 of the 9 that are healthy.
    assert (status.expected_pods, status.desired_healthy, status.disruptions_allowed) == (22, 7, 2)
    bare = [BudgetPod("p", None, True)]
    assert allowed(BudgetSpec(max_unavailable=1), bare).disruptions_allowed == 0


def test_max_unavailable_rounds_up_too():
    status = allowed(BudgetSpec(max_unavailable="10%"), pods(7), {"web": 7})
    assert (status.desired_healthy, status.disruptions_allowed) == (6, 1)
    assert allowed(BudgetSpec(max_unavailable=9), pods(7), {"web": 7}).desired_healthy == 0


def test_an_admitted_eviction_is_held_against_the_budget_for_two_minutes():
    assert DISRUPTED_POD_TIMEOUT_NS == 120 * 10**9
    matched = pods(3)
    held = allowed(WEB, matched, disrupted={"p0": 0, "gone": 0}, now_ns=1)
    assert (held.current_healthy, held.disruptions_allowed, dict(held.disrupted_pods)) == (2, 0, {"p0": 0})
    edge = allowed(WEB, matched, disrupted={"p0": 0}, now_ns=DISRUPTED_POD_TIMEOUT_NS)
    assert (edge.current_healthy, list(edge.disrupted_pods)) == (3, ["p0"])
    over = allowed(WEB, matched, disrupted={"p0": 0}, now_ns=DISRUPTED_POD_TIMEOUT_NS + 1)
    assert (over.current_healthy, list(over.disrupted_pods)) == (3, [])
    seen = allowed(WEB, [replace(matched[0], deleting=True), *matched[1:]], disrupted={"p0": 0}, now_ns=1)
    assert (seen.current_healthy, list(seen.disrupted_pods)) == (2, [])


def evict(pod, status, spec=WEB, **more):
    return admit_eviction(pod, [(spec, status)], 7, **more)


READY = EvictedPod("p0", ready=True)


def test_an_eviction_uses_up_the_budget():
    first = evict(READY, BudgetStatus(2, 4, 2, 4))
    assert first.outcome is Eviction.ADMITTED
    assert (first.status.disruptions_allowed, first.status.reason) == (1, "")
    last = evict(replace(READY, name="p1"), first.status)
    assert (last.status.disruptions_allowed, last.status.reason) == (0, "InsufficientPods")
    assert last.status.disrupted_pods == {"p0": 7, "p1": 7}
    assert evict(READY, last.status).outcome is Eviction.TOO_MANY_REQUESTS


def test_a_dry_run_changes_nothing():
    status = BudgetStatus(1, 3, 2, 3)
    assert evict(READY, status, dry_run=True).status == status


@pytest.mark.parametrize("pod", [EvictedPod("p", phase) for phase in ("Pending", "Succeeded", "Failed")])
def test_what_does_not_run_goes_unasked(pod):
    spent = BudgetStatus(0, 2, 2, 2)
    assert evict(pod, spent).outcome is Eviction.ADMITTED
    assert evict(replace(READY, deleting=True), spent).outcome is Eviction.ADMITTED
    assert admit_eviction(READY, [], 0).outcome is Eviction.ADMITTED


def test_a_pod_that_is_not_ready():
    sick = EvictedPod("p", ready=False)
    met, short, none_wanted = BudgetStatus(0, 2, 2, 3), BudgetStatus(0, 1, 2, 3), BudgetStatus(0, 0, 0, 0)
    assert evict(sick, met) == replace(evict(sick, met), outcome=Eviction.ADMITTED, status=met)
    assert evict(sick, short).outcome is Eviction.TOO_MANY_REQUESTS
    assert evict(sick, none_wanted).outcome is Eviction.TOO_MANY_REQUESTS
    lenient = BudgetSpec(min_available=2, unhealthy_pod_eviction_policy="AlwaysAllow")
    assert evict(sick, short, lenient).outcome is Eviction.ADMITTED
    assert evict(READY, short, lenient).outcome is Eviction.TOO_MANY_REQUESTS


def test_two_budgets_for_one_pod_are_an_error():
    both = [(WEB, BudgetStatus(1, 3, 2, 3))] * 2
    assert admit_eviction(READY, both, 0).outcome is Eviction.MANY_BUDGETS


@given(st.integers(0, 12), st.integers(0, 6), st.integers(0, 20))
def test_no_run_of_evictions_goes_below_what_is_wanted(healthy, unhealthy, wanted):
    matched = pods(healthy, unhealthy)
    spec = BudgetSpec(min_available=wanted)
    status = allowed(spec, matched)
    gone = 0
    for pod in matched[:healthy]:
        answer = admit_eviction(EvictedPod(pod.name, ready=True), [(spec, status)], 0)
        status = answer.status
        gone += answer.outcome is Eviction.ADMITTED
    assert healthy - gone >= min(healthy, wanted)
    assert gone == max(0, healthy - wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BudgetSpec(1, 1), "both minAvailable and maxUnavailable"),
        (lambda: BudgetSpec("half"), "'half' is neither"),
        (lambda: BudgetSpec(-1), "-1 of a disruption budget is negative"),
        (lambda: BudgetSpec(1, None, "Never"), "eviction policy 'Never'; wanted"),
        (lambda: allowed(BudgetSpec("50%"), pods(1)), "no scale of controller 'web'"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
