"""Zones, heartbeats, taints and the queue of nodes to taint, worked by hand, with properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.columns import Taint, Toleration
from k8slab.domain.instants import SECOND_NS as S
from k8slab.domain.node_lifecycle.eviction_queue import EvictionQueue, TokenBucket
from k8slab.domain.node_lifecycle.heartbeats import NodeMonitor, NodeSight
from k8slab.domain.node_lifecycle.node_taints import (
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    excluded_from_disruption,
    no_execute_taints,
    no_schedule_taints,
)
from k8slab.domain.node_lifecycle.taint_eviction import (
    EvictionTimer,
    TimedToleration,
    default_tolerations,
    eviction_timer,
    min_toleration_seconds,
)
from k8slab.domain.node_lifecycle.zones import DisruptionStep, EvictionRates, ZoneState, disrupt, zone_key, zone_state
from k8slab.errors import InputError

NORMAL, PARTIAL, FULL = ZoneState
RATES = EvictionRates()


# -- zones -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ready", "not_ready", "state"),
    [(0, 0, NORMAL), (5, 0, NORMAL), (0, 1, FULL), (1, 2, NORMAL), (2, 3, PARTIAL), (9, 11, PARTIAL), (46, 54, NORMAL)],
)
def test_a_zones_state(ready, not_ready, state):
    assert zone_state(ready, not_ready) is state


def test_a_zones_rate():
    assert RATES.of_zone(NORMAL, 10) == RATES.of_zone(FULL, 10) == 0.1
    assert (RATES.of_zone(PARTIAL, 51), RATES.of_zone(PARTIAL, 50)) == (0.01, 0.0)
    assert RATES.of_zone(FULL, 99, all_zones_full=True) == 0.0


def test_when_every_zone_falls_silent_it_is_us():
    first = disrupt({"a": (5, 0), "b": (5, 0)}, {}, RATES)
    assert (first.step, first.rates) == (DisruptionStep.NONE, {"a": 0.1, "b": 0.1})
    one = disrupt({"a": (0, 5), "b": (5, 0)}, first.states, RATES)
    assert (one.step, one.rates, one.states["a"]) == (DisruptionStep.NONE, {"a": 0.1}, FULL)
    dark = disrupt({"a": (0, 5), "b": (0, 5)}, one.states, RATES)
    assert (dark.step, dark.rates) == (DisruptionStep.ENTERED, {"a": 0.0, "b": 0.0})
    still = disrupt({"a": (0, 5), "b": (0, 5)}, dark.states, RATES)
    assert (still.step, still.rates) == (DisruptionStep.NONE, {})
    back = disrupt({"a": (0, 5), "b": (1, 4)}, still.states, RATES)
    assert (back.step, back.rates) == (DisruptionStep.LEFT, {"a": 0.1, "b": 0.0})


def test_a_zone_whose_nodes_are_all_excluded_is_not_looked_at():
    found = disrupt({"a": (0, 5), "b": (0, 0)}, {}, RATES)
    assert (found.step, dict(found.states)) == (DisruptionStep.ENTERED, {"a": FULL})


def test_labels():
    assert excluded_from_disruption({"node.kubernetes.io/exclude-disruption": "false"})
    assert not excluded_from_disruption({})
    assert zone_key({"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "a"}) == "eu:a"
    assert zone_key({"topology.kubernetes.io/zone": "a"}) == ":a"
    assert zone_key({}) == ""


@pytest.mark.parametrize("counts", [(-1, 0), (0, -1)])
def test_no_zone_has_less_than_no_nodes(counts):
    with pytest.raises(InputError, match="wanted 0 or more of each"):
        zone_state(*counts)


@given(st.integers(0, 300), st.integers(0, 300))
def test_more_silent_nodes_are_never_a_better_state(ready, not_ready):
    order = [NORMAL, PARTIAL, FULL]
    worse = zone_state(max(0, ready - 1), not_ready + 1)
    assert order.index(worse) >= order.index(zone_state(ready, not_ready))


# -- heartbeats --------------------------------------------------------------------


MONITOR = NodeMonitor(40 * S, 60 * S)


def seen(heartbeat=0, lease=None, ready="True"):
    return NodeSight(-(10**6) * S, ready, heartbeat, lease)


def test_a_node_is_unknown_strictly_after_its_grace():
    health, change = MONITOR.observe(seen(-900 * S), None, 0)
    assert change is None  # first seen now, however old it says it is
    assert MONITOR.observe(seen(-900 * S), health, 40 * S)[1] is None
    _, change = MONITOR.observe(seen(-900 * S), health, 40 * S + 1)
    assert (change.ready, change.reason, change.pods_not_ready) == ("Unknown", "NodeStatusUnknown", True)
    _, not_ready = MONITOR.observe(seen(-900 * S, ready="False"), health, 41 * S)
    assert (not_ready.reason, not_ready.pods_not_ready) == ("NodeStatusUnknown", False)
    assert MONITOR.observe(seen(-900 * S, ready="Unknown"), health, 41 * S)[1] is None


@pytest.mark.parametrize("news", [{"heartbeat": 1}, {"lease": 2}])
def test_any_news_counts_from_when_it_is_seen(news):
    health, _ = MONITOR.observe(seen(lease=1), None, 0)
    health, change = MONITOR.observe(seen(**{"lease": 1, **news}), health, 3600 * S)
    assert change is None
    assert health.probe_ns == 3600 * S


def test_an_older_lease_or_the_same_is_no_news():
    health, _ = MONITOR.observe(seen(lease=5), None, 0)
    for lease in (4, 5):
        assert MONITOR.observe(seen(lease=lease), health, 41 * S)[1].reason == "NodeStatusUnknown"


def test_the_graces_are_kube_controller_managers():
    assert (NodeMonitor().grace_ns, NodeMonitor().startup_grace_ns) == (50 * S, 60 * S)


def test_a_node_that_never_spoke_has_the_startup_grace_from_its_creation():
    silent = NodeSight(0)
    health, change = MONITOR.observe(silent, None, 60 * S)
    assert change is None
    _, change = MONITOR.observe(silent, health, 60 * S + 1)
    assert (change.reason, change.pods_not_ready) == ("NodeStatusNeverUpdated", False)
    renewed, _ = MONITOR.observe(NodeSight(0, lease_renewed_ns=3600 * S), health, 3600 * S)
    assert renewed.probe_ns == 3600 * S


def test_a_heartbeat_without_a_condition_is_an_error():
    with pytest.raises(InputError, match="come together"):
        NodeSight(0, "True")


# -- taints ------------------------------------------------------------------------


def test_conditions_are_told_by_taints():
    foreign = [Taint("gpu", "", "NoSchedule"), Taint(UNREACHABLE, "", "NoExecute")]
    stale = Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule")
    conditions = {"Ready": "False", "MemoryPressure": "True", "DiskPressure": "False"}
    after = no_schedule_taints(conditions, [*foreign, stale], unschedulable=True)
    assert after[:2] == foreign
    assert [taint.key for taint in after[2:]] == [NOT_READY, "node.kubernetes.io/memory-pressure", UNSCHEDULABLE]
    assert no_schedule_taints({"Ready": "True"}, after)[:] == foreign


def test_one_no_execute_taint_tells_readiness():
    other = Taint("maintenance", "", "NoExecute")
    unreachable = no_execute_taints("Unknown", [other])
    assert unreachable == [other, Taint(UNREACHABLE, "", "NoExecute")]
    assert no_execute_taints("False", unreachable) == [other, Taint(NOT_READY, "", "NoExecute")]
    assert no_execute_taints("True", unreachable) == [other]


# -- eviction by taint -------------------------------------------------------------


ONE, TWO = Taint("one", "", "NoExecute"), Taint("two", "", "NoExecute")


def tolerates(taint, seconds=None):
    return TimedToleration(Toleration(taint.key, "Exists", "", "NoExecute"), seconds)


def test_every_taint_must_be_tolerated():
    assert eviction_timer([ONE, TWO], [tolerates(ONE, 9)], None, 5) == EvictionTimer(5, 5)
    assert eviction_timer([ONE, TWO], [tolerates(ONE, 9), tolerates(TWO)], None, 5) == EvictionTimer(5, 5 + 9 * S)
    assert eviction_timer([ONE], [tolerates(ONE)], EvictionTimer(0, 1), 5) is None
    assert eviction_timer([], [], EvictionTimer(0, 1), 5) is None


def test_a_running_timer_is_not_moved_but_fires_when_a_toleration_goes():
    running = eviction_timer([ONE], [tolerates(ONE, 100)], None, 0)
    assert eviction_timer([ONE], [tolerates(ONE, 1)], running, 5) == running
    assert eviction_timer([ONE], [tolerates(ONE, 900)], running, 5) == running
    assert eviction_timer([ONE], [], running, 5) == EvictionTimer(5, 5)
    # Not even in the instant in which it was made: what comes second comes later, whatever the clock's grain.
    assert eviction_timer([ONE], [tolerates(ONE, 1)], running, 0) == running


def test_what_admission_gives_every_pod():
    assert [timed.toleration_seconds for timed in default_tolerations()] == [300, 300]
    dead = no_execute_taints("Unknown", [])
    assert eviction_timer(dead, default_tolerations(), None, 0) == EvictionTimer(0, 300 * S)
    assert eviction_timer(dead, default_tolerations(daemon_set=True), None, 0) is None


@pytest.mark.parametrize(
    ("seconds", "least"), [([], 0), ([None], None), ([5, None], 5), ([-1, 9], 0), ([0], 0), ([7, 3], 3)]
)
def test_the_least_toleration(seconds, least):
    assert min_toleration_seconds(seconds) == least


# -- the queue ---------------------------------------------------------------------


def test_a_name_that_was_handed_out_comes_back_only_after_it_was_removed():
    queue = EvictionQueue(float("inf"))
    assert [queue.add(name, 0) for name in ("a", "b", "a")] == [True, True, False]
    assert queue.hand_out(lambda name: True, 0) == ["a", "b"]
    assert not queue.add("a", 1)
    assert queue.remove("a")
    assert not queue.remove("a")
    assert queue.add("a", 2)
    queue.clear()
    assert list(queue) == []
    assert queue.add("b", 3)


def test_a_name_that_was_refused_waits_and_lets_the_others_by():
    queue = EvictionQueue(float("inf"))
    for name in "abc":
        queue.add(name, 0)
    assert queue.hand_out(lambda name: name != "b", 0, retry_after_ns=5) == ["a", "b", "c"]
    assert queue.hand_out(lambda name: True, 5) == []
    assert queue.hand_out(lambda name: True, 6) == ["b"]


def test_the_rate_holds_and_a_burst_is_one():
    queue = EvictionQueue(0.1)
    for row in range(100):
        queue.add(f"n{row}", 0)
    out = [queue.hand_out(lambda name: True, second * S) for second in range(0, 101, 5)]
    assert [len(names) for names in out] == [1, 0] * 10 + [1]
    queue.swap_rate(0.0, 101 * S)
    assert queue.hand_out(lambda name: True, 999 * S) == []
    assert queue.rate_per_s == 0.0


def test_a_swapped_rate_takes_the_empty_bucket_along():
    queue = EvictionQueue(1.0)
    queue.add("a", 0)
    queue.add("b", 0)
    assert queue.hand_out(lambda name: True, 0) == ["a"]
    queue.swap_rate(0.5, 0)
    assert queue.hand_out(lambda name: True, S) == []
    assert queue.hand_out(lambda name: True, 2 * S) == ["b"]


def test_a_negative_rate_is_an_error():
    with pytest.raises(InputError, match="a rate of -1 a second"):
        TokenBucket(-1)
    with pytest.raises(InputError, match="nan"):
        EvictionQueue(float("nan"))


@given(st.lists(st.integers(0, 60), max_size=40), st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_no_more_than_the_rate_in_any_time(gaps, rate):
    bucket, now, taken = TokenBucket(rate), 0, 0
    for gap in gaps:
        now += gap * S
        taken += bucket.take(now)
    assert taken <= 1 + rate * now / S + 1e-6
