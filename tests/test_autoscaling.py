"""HorizontalPodAutoscaler v2, worked by hand, with properties."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.autoscaling.horizontal import Condition, HpaMemory, ScaleTarget, decide, settle
from k8slab.domain.autoscaling.pod_groups import group_pods, request_of
from k8slab.domain.autoscaling.proposals import (
    average_proposal,
    per_pod_proposal,
    usage_ratio,
    utilization_proposal,
    utilization_ratio,
    value_proposal,
)
from k8slab.domain.autoscaling.rates import ScaleEvent, clamp, limit_rate, scale_down_limit, scale_up_limit, store_event
from k8slab.domain.autoscaling.recommendations import Recommendation, stabilize, stabilize_with_behavior
from k8slab.domain.autoscaling.values import (
    MAX_INT32,
    MAX_INT64,
    HorizontalPodAutoscaler,
    HpaConfig,
    MetricSample,
    MetricSpec,
    MetricUnavailable,
    Readiness,
    ScaledContainer,
    ScaledPod,
    ScalingPolicy,
    ScalingRules,
    Tolerance,
    with_defaults,
)
from k8slab.domain.instants import SECOND_NS as S
from k8slab.errors import InputError, UnknownName

AGO = -(10**6) * S
CONFIG = HpaConfig()
READINESS = Readiness(120 * S, 10 * S)
TOLERANCE = Tolerance()


def pod(name, request=1000, **more):
    container = ScaledContainer("c", {"cpu": request} if request is not None else {})
    return ScaledPod(name, **{"ready_since_ns": AGO, "start_ns": AGO, "containers": (container,), **more})


def pods(count, request=1000, **more):
    return [pod(f"p{row}", request, **more) for row in range(count)]


def samples(*values):
    return {f"p{row}": MetricSample(value) for row, value in enumerate(values) if value is not None}


def cpu(matched, used, current, target, config=CONFIG):
    return utilization_proposal(matched, used, current, "cpu", target, config, 0)


# -- which pods count --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sample", "resource", "group"),
    [
        ({}, MetricSample(1), "cpu", "ready"),
        ({"deleting": True}, MetricSample(1), "cpu", "ignored"),
        ({"phase": "Failed"}, MetricSample(1), "memory", "ignored"),
        ({"phase": "Pending"}, None, "cpu", "unready"),
        ({}, None, "cpu", "missing"),
        ({"ready": None}, MetricSample(1), "cpu", "unready"),
        ({"ready": None}, MetricSample(1), "memory", "ready"),
        ({"start_ns": None}, MetricSample(1), "cpu", "unready"),
        # Young: not ready, or its sample begins before it was ready.
        ({"start_ns": -60 * S, "ready": "False", "ready_since_ns": -5 * S}, MetricSample(1), "cpu", "unready"),
        ({"start_ns": -90 * S, "ready_since_ns": -60 * S}, MetricSample(1, 0, 60 * S), "cpu", "ready"),
        ({"start_ns": -90 * S, "ready_since_ns": -60 * S}, MetricSample(1, -1, 60 * S), "cpu", "unready"),
        # Exactly as old as the period is young no more.
        ({"start_ns": -120 * S, "ready_since_ns": -60 * S}, MetricSample(1, -1, 60 * S), "cpu", "ready"),
        # Old: unready only if it never was ready.
        ({"ready": "False", "start_ns": -200 * S, "ready_since_ns": -191 * S}, MetricSample(1), "cpu", "unready"),
        ({"ready": "False", "start_ns": -200 * S, "ready_since_ns": -190 * S}, MetricSample(1), "cpu", "ready"),
    ],
)  # fmt: skip
def test_a_pod_is_in_one_group(change, sample, resource, group):
    groups = group_pods([pod("p", **change)], {"p": sample} if sample else {}, resource, READINESS, 0)
    assert groups.ready_count == (group == "ready")
    assert {"unready": groups.unready, "missing": groups.missing, "ignored": groups.ignored} == {
        name: (("p",) if name == group else ()) for name in ("unready", "missing", "ignored")
    }


def test_a_request_is_the_containers_and_sidecars_or_the_pods_own():
    side, init = ScaledContainer("side", {"cpu": 7}, restart_always=True), ScaledContainer("init", {"cpu": 900})
    two = ScaledPod(
        "p",
        containers=(ScaledContainer("a", {"cpu": 100}), ScaledContainer("b", {"cpu": 50})),
        init_containers=(side, init),
        pod_requests={"cpu": 800},
    )
    assert request_of(two, "cpu") == 800
    assert request_of(two, "cpu", pod_level_resources=False) == 157
    assert request_of(two, "cpu", "b") == 50
    with pytest.raises(MetricUnavailable, match="no container 'x'") as missing:
        request_of(two, "cpu", "x")
    assert missing.value.code == "container_not_found"
    with pytest.raises(MetricUnavailable, match="container 'a' of pod 'p' states no request of memory") as unstated:
        request_of(two, "memory")
    assert unstated.value.code == "missing_request"


# -- what one metric wants -----------------------------------------------------------


def test_the_truncated_percentage_decides():
    # 166 of 300 is 55.3 %, taken as 55 %: 1.1 times the target, which is within tolerance.
    assert cpu(pods(3, 100), samples(56, 55, 55), 3, 50).replicas == 3
    proposal = cpu(pods(3, 100), samples(57, 57, 57), 3, 50)  # 57 / 50 * 3 = 3.42
    assert (proposal.replicas, proposal.utilization, proposal.usage) == (4, 57, 57)


def test_ready_pods_are_multiplied_not_the_replicas_there_are():
    assert cpu(pods(3), samples(2000, 2000, 2000), 7, 100).replicas == 6


def test_missing_pods_use_nothing_on_the_way_up_and_all_they_request_on_the_way_down():
    up = cpu(pods(4), samples(3000, 3000, None, None), 4, 100)  # 6000 / 4000 * 4
    assert (up.replicas, up.utilization) == (6, 300)
    down = cpu(pods(4), samples(100, 100, None, None), 4, 100)  # (200 + 2000) / 4000 -> 55 % of 4
    assert (down.replicas, down.utilization) == (3, 10)
    assert cpu(pods(2), samples(1000, None), 2, 100).replicas == 2  # on target: nothing is filled in


def test_missing_pods_use_the_target_where_it_is_above_their_request():
    assert cpu(pods(2), samples(200, None), 2, 200).replicas == 2  # (200 + 2000) / 2000 = 110 %: 0.55 * 2 -> 2
    assert cpu(pods(4), samples(200, None, 200, 200), 4, 200).replicas == 2  # (600 + 2000) / 4000 = 65 %: 1.3 -> 2


def test_unready_pods_use_nothing_on_the_way_up_only():
    young = {"ready": "False"}
    mixed = [*pods(2), pod("p2", **young), pod("p3", **young)]
    assert cpu(mixed, samples(3000, 3000, 0, 0), 4, 100).replicas == 6
    assert cpu(mixed, samples(300, 300, 0, 0), 4, 100).replicas == 1  # 0.3 of the two ready ones


def test_a_change_that_turns_with_what_is_filled_in_is_none():
    # One of four at 1.5 times the target; with zeros for the others 0.375: the other way.
    turned = average_proposal(pods(4), samples(15000), 4, 10000, CONFIG, 0)
    assert (turned.replicas, turned.usage) == (4, 15000)


def test_what_is_filled_in_on_target_is_nothing_but_unready_pods_do_not_wait_there():
    # Exactly on target with one pod missing and one unready: the average of what reports stays.
    mixed = [*pods(3), pod("p3", ready="False")]
    assert average_proposal(mixed, samples(1000, 1000, None, 9), 9, 1000, CONFIG, 0, resource="cpu").replicas == 9
    # With the tolerance at nothing it is the pods that report, 2, which points the other way than 9 does.
    strict = replace(CONFIG, tolerance=Tolerance(0.0, 0.0))
    assert average_proposal(mixed, samples(1000, 1000, None, 9), 9, 1000, strict, 0, resource="cpu").replicas == 9


def test_a_proposal_of_filled_in_pods_never_passes_what_there_is_the_other_way():
    # Down by ratio, but more pods report or are filled in than there should be replicas: no step up.
    down = average_proposal(pods(6), samples(100, 100, 100, 100, 100, None), 2, 1000, CONFIG, 0)
    assert down.replicas == 2  # (500 + 1000) / 6 -> 0.25 * 6 -> 2, not above
    assert average_proposal(pods(6), samples(700, 700, 700, 700, 700, None), 2, 1000, CONFIG, 0).replicas == 2
    # Up by ratio, but fewer pods than replicas: no step down.
    assert average_proposal(pods(3), samples(4000, 4000, None), 9, 1000, CONFIG, 0).replicas == 9
    assert average_proposal(pods(3), samples(4000, 4000, None), 7, 1000, CONFIG, 0).replicas == 8
    assert average_proposal(pods(3), samples(4000, 4000, None), 8, 1000, CONFIG, 0).replicas == 8


def test_filled_in_exactly_to_the_target_is_no_turn_but_no_change_either():
    strict = replace(CONFIG, tolerance=Tolerance(0.0, 0.0))
    # Two of four at twice the target are, with zeros for the others, exactly on it.
    assert average_proposal(pods(4), samples(2000, 2000, None, None), 6, 1000, strict, 0).replicas == 6


def test_no_sample_of_a_pod_that_counts():
    for matched, used in [(pods(2), {}), ([], samples(1)), ([pod("p0", phase="Pending")], samples(1))]:
        with pytest.raises(MetricUnavailable) as error:
            cpu(matched, used, 2, 50)
        assert error.value.code == "no_metrics_returned"
    with pytest.raises(MetricUnavailable) as error:
        utilization_ratio({"a": 1}, {"b": 1}, 50)
    assert error.value.code == "no_metrics_match_pods"


def test_pods_metrics_doubt_no_youth():
    fresh = [pod("p0", start_ns=0, ready="False")]
    assert average_proposal(fresh, samples(30000), 1, 10000, CONFIG, 0).replicas == 3
    with pytest.raises(MetricUnavailable):
        average_proposal(fresh, samples(30000), 1, 10000, CONFIG, 0, resource="cpu")


def test_usage_averages_towards_zero():
    assert usage_ratio({"a": -3, "b": 0}, 2).usage == -1
    assert usage_ratio({"a": 50000, "b": 15000, "c": 30000}, 15000).usage == 31666


def test_values():
    ready = pods(3)
    assert value_proposal(ready, [20666], 3, 20000, TOLERANCE).replicas == 3
    assert value_proposal(ready, [20666], 3, 20000, Tolerance(0.1, 0.01)).replicas == 4
    assert value_proposal([*ready, pod("q", ready="False")], [40000], 4, 20000, TOLERANCE).replicas == 6
    assert value_proposal([], [1], 0, 20000, TOLERANCE).replicas == 1  # from nothing: the ratio itself
    assert value_proposal([], [0], 0, 20000, TOLERANCE).replicas == 0
    assert value_proposal(ready, [MAX_INT64, 1], 3, 1, TOLERANCE).replicas == MAX_INT32


def test_values_of_no_pod_or_no_series_fail():
    # Upstream's replica calculator fails then, so that a workload whose pods aren't made yet isn't scaled to nothing.
    with pytest.raises(MetricUnavailable) as caught:
        value_proposal([], [40000], 4, 20000, TOLERANCE)
    assert caught.value.code == "no_pods"
    assert value_proposal([], [20000], 4, 20000, TOLERANCE).replicas == 4  # nothing to change, nothing to count
    assert value_proposal([pod("p", ready="False")], [40000], 4, 20000, TOLERANCE).replicas == 0
    with pytest.raises(MetricUnavailable, match="no series"):
        value_proposal(pods(3), [], 3, 1, TOLERANCE)
    with pytest.raises(MetricUnavailable, match="no series"):
        per_pod_proposal([], 3, 1, TOLERANCE)


def test_values_per_pod_go_by_the_replicas_there_are():
    assert per_pod_proposal([200, 200], 2, 100, TOLERANCE).replicas == 4
    assert per_pod_proposal([8600], 3, 2200, TOLERANCE).replicas == 4  # 1.3 times the target of the three
    within = per_pod_proposal([8600], 4, 2200, TOLERANCE)
    assert (within.replicas, within.usage) == (4, 2150)
    beyond = per_pod_proposal([20208], 4, 5000, Tolerance(0.1, 0.01))
    assert (beyond.replicas, beyond.usage) == (5, 5052)
    assert per_pod_proposal([10000], 0, 5000, TOLERANCE).replicas == 2


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8), st.integers(1, 200), st.integers(1, 20))
def test_within_tolerance_nothing_changes_and_beyond_it_the_direction_is_right(used, target, current):
    matched = pods(len(used))
    ratio = utilization_ratio(dict(enumerate(used)), dict.fromkeys(range(len(used)), 1000), target).ratio
    replicas = cpu(matched, samples(*used), current, target).replicas
    if TOLERANCE.holds(ratio):
        assert replicas == current
    else:
        assert (replicas <= len(used)) == (ratio < 1) or replicas == len(used)


# -- windows and limits ----------------------------------------------------------------


def log(*entries):
    return tuple(Recommendation(replicas, at * S) for replicas, at in entries)


def test_without_behavior_the_window_includes_its_edge():
    held = stabilize(log((9, -300)), 3, 300 * S, 0)
    assert (held.replicas, len(held.log)) == (9, 2)
    passed = stabilize(log((9, -301), (5, -400)), 3, 300 * S, 0)
    assert (passed.replicas, passed.log) == (3, (Recommendation(9, -301 * S), Recommendation(3, 0)))


def test_with_behavior_the_edge_is_out_but_its_slot_is_kept():
    found = stabilize_with_behavior(log((9, -300)), 9, 3, 0, 300 * S, 0)
    assert (found.replicas, [past.replicas for past in found.log]) == (3, [9, 3])
    up = stabilize_with_behavior(log((4, -10)), 3, 8, 60 * S, 0, 0)
    assert (up.replicas, up.reason) == (4, "ScaleUpStabilized")


def test_the_up_window_leaves_its_edge_out_too():
    assert stabilize_with_behavior(log((4, -60)), 3, 8, 60 * S, 0, 0).replicas == 8
    assert stabilize_with_behavior(log((4, -59)), 3, 8, 60 * S, 0, 0).replicas == 4
    assert stabilize_with_behavior(log(), 3, 3, 0, 0, 0).reason == "ScaleUpStabilized"


def test_the_last_slot_older_than_both_windows_is_used_again():
    entries = log((1, -900), (2, -301), (3, -300), (4, -10))
    found = stabilize_with_behavior(entries, 4, 9, 60 * S, 300 * S, 0)
    assert [past.replicas for past in found.log] == [1, 9, 3, 4]
    assert [past.replicas for past in stabilize(entries, 9, 300 * S, 0).log] == [1, 9, 3, 4]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(-600, 0)), max_size=6),
    st.integers(0, 50), st.integers(0, 50), st.integers(0, 600), st.integers(0, 600),
)  # fmt: skip
def test_a_stabilized_answer_lies_between_what_is_and_what_is_wanted(past, current, desired, up, down):
    found = stabilize_with_behavior(log(*past), current, desired, up * S, down * S, 0)
    assert min(current, desired) <= found.replicas <= max(current, desired)
    assert Recommendation(desired, 0) in found.log


def test_without_behavior_a_step_doubles_at_most():
    assert clamp(4, 50, 1, 20) == clamp(4, 9, 1, 20) == replace(clamp(4, 8, 1, 20), reason="ScaleUpLimit")
    assert clamp(1, 50, 1, 20).replicas == 4
    assert clamp(50, 90, 1, 60).reason == "TooManyReplicas"


def test_exactly_at_a_limit_nothing_is_limited():
    within = "DesiredWithinRange"
    assert [clamp(4, desired, 2, 20).reason for desired in (2, 8)] == [within, within]
    # Where the limit is the maximum, the maximum is named.
    assert clamp(4, 9, 2, 8).reason == "TooManyReplicas"
    slow = with_defaults(ScalingRules(policies=(policy("Pods", 2),)), ScalingRules(policies=(policy("Pods", 2),)))

    def limited(desired, least=1, most=100):
        return limit_rate(10, desired, least, most, slow, (), (), 0)

    assert [limited(desired).reason for desired in (8, 10, 12)] == [within] * 3
    assert (limited(13).replicas, limited(13).reason) == (12, "ScaleUpLimit")
    assert (limited(7).replicas, limited(7).reason) == (8, "ScaleDownLimit")
    assert limited(13, most=12).reason == "TooManyReplicas"
    assert limited(7, least=8).reason == "TooFewReplicas"
    # A target that isn't moved is not held to bounds that it is outside of.
    assert limited(10, least=11) == limited(10, most=9) == limited(10)


def test_rules_without_policies_allow_no_step():
    assert scale_up_limit(7, ScalingRules(policies=()), (), (), 0) == 7
    assert scale_down_limit(7, ScalingRules(policies=()), (), (), 0) == 7


def policy(kind, value, period=60):
    return ScalingPolicy(kind, value, period)


def test_policies_go_by_what_there_was_when_their_period_began():
    events = (ScaleEvent(5, -30 * S), ScaleEvent(7, -60 * S))
    rules = ScalingRules(0, "Max", (policy("Pods", 4), policy("Percent", 50)))
    # 15 before the 5 of the last minute; what is a minute old to the second no longer counts.
    assert scale_up_limit(20, rules, events, (), 0) == 23  # max(19, ceil(22.5))
    assert scale_up_limit(20, replace(rules, select_policy="Min"), events, (), 0) == 19
    assert scale_up_limit(20, replace(rules, select_policy="Disabled"), events, (), 0) == 20
    assert scale_down_limit(20, rules, (), events, 0) == 12  # 25 before: min(21, 12.5 cut off)
    assert scale_down_limit(20, replace(rules, select_policy="Min"), (), events, 0) == 21


def test_a_limit_never_turns_a_step_round():
    slow = with_defaults(ScalingRules(policies=(policy("Pods", 1),)), ScalingRules(policies=(policy("Pods", 1),)))
    spent = (ScaleEvent(9, -1),)
    assert limit_rate(20, 30, 1, 100, slow, spent, (), 0).replicas == 20
    assert limit_rate(20, 10, 1, 100, slow, (), spent, 0).replicas == 20


def test_steps_are_kept_while_a_policy_may_ask_for_them():
    rules = ScalingRules(0, "Max", (policy("Pods", 4, 60), policy("Pods", 4, 30)))
    events = (ScaleEvent(7, -61 * S), ScaleEvent(8, -60 * S), ScaleEvent(9, -62 * S))
    stored = store_event(events, 5, rules, 0)
    assert stored == (ScaleEvent(7, -61 * S, outdated=True), ScaleEvent(8, -60 * S), ScaleEvent(5, 0))
    assert store_event(events, 5, None, 0) == events


# -- one pass --------------------------------------------------------------------------


HPA = HorizontalPodAutoscaler(10, 2, (MetricSpec("Resource", "Utilization", 50, "cpu"),))
BUSY = [samples(1000, 1000, 1000)]
SEEN = HpaMemory(recommendations=())


def decided(hpa=HPA, spec=3, readings=BUSY, memory=SEEN, **more):
    target = ScaleTarget(spec, spec, pods(3), **more)
    return decide(hpa, target, readings, memory, CONFIG, 0)


def reasons(decision):
    return {kind: (found.status, found.reason) for kind, found in decision.conditions.items()}


def test_a_pass_that_scales():
    decision = decided()
    assert (decision.desired_replicas, decision.rescale) == (6, True)
    done = settle(HPA, decision, 3, 0, written=True)
    assert reasons(done) == {
        "AbleToScale": ("True", "SucceededRescale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("False", "DesiredWithinRange"),
    }
    assert done.memory.recommendations == (Recommendation(6, 0),)
    assert done.memory.up_events == ()  # without behavior no step is remembered
    failed = settle(HPA, decision, 3, 0, written=False)
    assert (failed.desired_replicas, failed.rescale) == (3, False)
    assert failed.conditions["AbleToScale"] == Condition("False", "FailedUpdateScale")


def test_steps_are_remembered_with_behavior():
    hpa = replace(HPA, behavior=with_defaults(None, None))
    done = settle(hpa, decided(hpa), 3, 7, written=True)
    assert done.memory.up_events == (ScaleEvent(3, 7),)
    idle = decided(hpa, readings=[samples(0, 0, 0)])
    assert settle(hpa, idle, 3, 7, written=True).memory.down_events == (ScaleEvent(1, 7),)


def test_outside_its_bounds_no_metric_is_read():
    unread = [MetricUnavailable("x", "never looked at")]
    assert decided(spec=12, readings=unread).desired_replicas == 10
    assert decided(spec=1, readings=unread).desired_replicas == 2
    assert reasons(decided(spec=12, readings=unread)) == {"AbleToScale": ("True", "SucceededGetScale")}


def test_at_its_bounds_metrics_are_read():
    for spec in (2, 10):
        assert decided(spec=spec).conditions["ScalingActive"].reason == "ValidMetricFound"


def test_the_windows_of_behavior_are_seconds():
    hpa = replace(HPA, behavior=with_defaults(ScalingRules(60), ScalingRules(120)))
    idle, past = [samples(0, 0, 0)], {"up": log((3, -59)), "down": log((3, -119))}
    held_up = decided(hpa, memory=HpaMemory(past["up"]))
    assert (held_up.desired_replicas, held_up.conditions["AbleToScale"].reason) == (3, "ScaleUpStabilized")
    assert decided(hpa, readings=idle, memory=HpaMemory(past["down"])).desired_replicas == 3
    assert decided(hpa, memory=HpaMemory(log((3, -60)))).desired_replicas == 6
    assert decided(hpa, readings=idle, memory=HpaMemory(log((3, -120)))).desired_replicas == 2


def test_a_target_at_zero_is_switched_off():
    decision = decided(spec=0)
    assert not decision.rescale
    assert decision.conditions["ScalingActive"] == Condition("False", "ScalingDisabled")


def test_an_autoscaler_just_seen_remembers_what_there_is():
    first = decided(spec=3, readings=[samples(0, 0, 0)], memory=HpaMemory())
    assert first.desired_replicas == 3
    assert first.conditions["AbleToScale"].reason == "ScaleDownStabilized"


def test_a_broken_metric_blocks_the_way_down_and_never_up():
    two = replace(HPA, metrics=(MetricSpec("External", "Value", 10), *HPA.metrics))
    broken = MetricUnavailable("api_error", "down")
    assert decided(two, readings=[broken, *BUSY]).desired_replicas == 6
    blocked = decided(two, readings=[broken, samples(0, 0, 0)])
    assert (blocked.rescale, blocked.desired_replicas) == (False, 3)
    assert blocked.conditions["ScalingActive"] == Condition("False", "FailedGetExternalMetric")
    same = decided(two, readings=[broken, samples(500, 500, 500)])  # wants what there is
    assert same.conditions["ScalingActive"].reason == "ValidMetricFound"
    none = replace(
        HPA, min_replicas=0, metrics=(MetricSpec("External", "Value", 10), MetricSpec("External", "Value", 9))
    )
    assert decided(none, spec=0, readings=[broken, broken]).conditions["ScalingActive"].status == "False"
    odd = decided(replace(HPA, metrics=(MetricSpec("Weather"),)), readings=[()])
    assert odd.conditions["ScalingActive"] == Condition("False", "InvalidMetricSourceType")


def test_the_largest_proposal_wins():
    two = replace(HPA, metrics=(*HPA.metrics, MetricSpec("Object", "Value", 1000)))
    assert decided(two, readings=[*BUSY, (2500,)]).desired_replicas == 6  # 2.5 * 3 = 8, but a step doubles at most
    assert [found.replicas for found in decided(two, readings=[*BUSY, (2500,)]).proposals] == [6, 8]


def test_a_scale_or_selector_that_cannot_be_read():
    assert reasons(decide(HPA, None, [], SEEN, CONFIG, 0)) == {"AbleToScale": ("False", "FailedGetScale")}
    assert decided(selector_fault="AmbiguousSelector").conditions["ScalingActive"].reason == "AmbiguousSelector"


def test_a_sides_own_tolerance_goes_before_the_clusters():
    near = [samples(540, 540, 540)]
    assert decided(readings=near).desired_replicas == 3
    strict = replace(HPA, behavior=with_defaults(ScalingRules(tolerance=0.05), None))
    assert decided(strict, readings=near).desired_replicas == 4


@given(st.integers(0, 15), st.lists(st.integers(0, 4000), min_size=3, max_size=3), st.booleans())
def test_what_is_written_is_within_the_bounds(spec, used, with_behavior):
    hpa = replace(HPA, behavior=with_defaults(None, None) if with_behavior else None)
    decision = decided(hpa, spec=spec, readings=[samples(*used)])
    if decision.rescale:
        assert 2 <= decision.desired_replicas <= 10
    else:
        assert decision.desired_replicas == spec


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: HorizontalPodAutoscaler(1, 2), InputError, "minReplicas 2 and maxReplicas 1"),
        (lambda: HorizontalPodAutoscaler(0, 0), InputError, "wanted 0 <= minReplicas"),
        (lambda: MetricSpec("Pods", "Average", 1), UnknownName, "unknown target type 'Average'"),
        (lambda: MetricSpec("Pods", "AverageValue", 0), InputError, "target 0; wanted more than 0"),
        (lambda: ScalingPolicy("Pod", 1, 1), UnknownName, "did you mean 'Pods'"),
        (lambda: ScalingPolicy("Pods", 1, 0), InputError, "wanted a value and a period of more than 0"),
        (lambda: ScalingRules(select_policy="Most"), UnknownName, "unknown select policy 'Most'"),
    ],
)
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "reading", "reason"),
    [
        (MetricSpec("Resource", "Value", 500, "cpu"), samples(900, 900, 900), "FailedGetResourceMetric"),
        (MetricSpec("ContainerResource", "Value", 9, "cpu", "c"), samples(9, 9, 9), "FailedGetContainerResourceMetric"),
        (MetricSpec("Object", "Utilization", 50), (9000,), "FailedGetObjectMetric"),
        (MetricSpec("External", "Utilization", 50), (9000,), "FailedGetExternalMetric"),
    ],
)
def test_a_metric_whose_type_has_no_such_target_fails(metric, reading, reason):
    decision = decided(replace(HPA, metrics=(metric,)), readings=[reading])
    assert decision.conditions["ScalingActive"] == Condition("False", reason)
    assert not decision.rescale


def test_a_pods_metric_is_an_average_whatever_its_target_is_called():
    told = [
        decided(replace(HPA, metrics=(MetricSpec("Pods", kind, 300),)), readings=[samples(600, 600, 600)])
        for kind in ("AverageValue", "Utilization", "Value")
    ]
    assert {decision.desired_replicas for decision in told} == {6}


def test_a_negative_value_wants_no_pod_and_the_bounds_hold():
    hpa = replace(HPA, metrics=(MetricSpec("Object", "Value", 1000),))
    decision = decided(hpa, readings=[(-5000,)], memory=HpaMemory(()))
    assert decision.conditions["ScalingActive"] == Condition("True", "ValidMetricFound")
    assert decision.desired_replicas == 2


def test_an_autoscaler_without_metrics_goes_by_cpu():
    assert HorizontalPodAutoscaler(9, metrics=()).metrics == (MetricSpec("Resource", "Utilization", 80, "cpu"),)
