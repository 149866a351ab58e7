"""The descheduler: its rules by hand and by property, and its fights with the scheduler."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import k8slab
from k8slab.domain.columns import Codes
from k8slab.domain.descheduling import (
    Movable,
    NodeUse,
    deviating,
    eviction_order,
    high_node_utilization,
    low_node_utilization,
    remove_duplicates,
    spread_evictions,
)
from k8slab.domain.pod_spec import ZONE, PodSpec, Requirement, SpreadConstraint
from k8slab.errors import InputError, UnknownName
from k8slab.simulation import Deployment, Descheduler
from k8slab.simulation.health import DisruptionBudget, Health


def node(number, *pods, has=10, schedulable=True):
    """Pods are (pod, request) of one resource."""
    movable = [Movable(pod, (request,)) for pod, request in pods]
    return NodeUse(number, (sum(r for _, r in pods),), (has,), movable, schedulable)


def test_overused_nodes_give_until_they_are_at_their_target():
    full = node(0, (1, 3), (2, 3), (3, 3))
    assert low_node_utilization([full, node(1)], [20], [50]) == [(1, 0), (2, 0)]
    assert low_node_utilization([full, node(1, has=4)], [20], [50]) == [(1, 0)]  # room for 2 alone
    assert low_node_utilization([full, node(1)], [20], [90]) == []  # at its target is not over it
    assert low_node_utilization([full, node(1, (9, 3))], [20], [50]) == []  # nobody is underused
    assert low_node_utilization([full, node(1, schedulable=False)], [20], [50]) == []
    assert low_node_utilization([full, node(1)], [20], [50], number_of_nodes=1) == []
    assert low_node_utilization([node(0), node(1)], [20], [50]) == []
    with pytest.raises(InputError, match="wanted 0 <= threshold <= target <= 100"):
        low_node_utilization([full], [60], [50])


def test_the_fullest_gives_first_and_the_least_important_goes_first():
    pods = [Movable(1, (2,), priority=5), Movable(2, (2,), qos=2), Movable(3, (2,), qos=0), Movable(4, (2,), -1)]
    assert [one.pod for one in eviction_order(pods)] == [4, 3, 2, 1]
    nodes = [node(0, (1, 6)), node(1, (2, 4), (3, 5)), node(2)]
    assert low_node_utilization(nodes, [20], [50])[0] == (2, 1)


def test_thresholds_by_deviation():
    nodes = [node(0, (1, 2)), node(1, (2, 6))]
    assert deviating(nodes, [10], [10]) == ([30.0], [50.0])
    assert deviating(nodes, [90], [90]) == ([0.0], [100.0])


def test_underused_nodes_are_emptied_where_others_have_room():
    nodes = [node(0, (1, 1)), node(1, (2, 2)), node(2, (3, 5), (4, 3))]
    assert high_node_utilization(nodes, [30]) == [(1, 0), (2, 1)]
    assert high_node_utilization([*nodes[:2], node(2, (3, 9))], [30]) == [(1, 0)]
    assert high_node_utilization(nodes[:2], [30]) == []
    assert high_node_utilization(nodes, [30], number_of_nodes=2) == []


def test_duplicates_beyond_an_even_share_go():
    groups = {"web": {0: [1, 2, 3], 1: [4]}, "db": {0: [5]}}
    assert remove_duplicates(groups, 2) == [(3, 0)]
    assert remove_duplicates(groups, 4) == [(2, 0), (3, 0)]
    assert remove_duplicates(groups, 1) == []


def test_spreading_by_hand():
    assert spread_evictions([[1, 2, 3, 4], []], 1) == [3, 4]
    assert spread_evictions([[1, 2], [3]], 1) == []
    assert spread_evictions([], 1) == []
    with pytest.raises(InputError, match="max_skew=0"):
        spread_evictions([[1]], 0)


@given(st.lists(st.integers(0, 12), max_size=6), st.integers(1, 4))
def test_spreading_takes_from_those_above_the_mean_and_makes_nothing_worse(sizes, max_skew):
    domains = [[(number, k) for k in range(size)] for number, size in enumerate(sizes)]
    gone = spread_evictions(domains, max_skew)
    assert len(set(gone)) == len(gone)
    left = [size - sum(number == pod[0] for pod in gone) for number, size in enumerate(sizes)]
    if not sizes or max(sizes) - min(sizes) <= max_skew:
        assert gone == []
        return
    assert gone
    mean = sum(sizes) / len(sizes)
    assert all(less == size or less >= int(mean) for less, size in zip(left, sizes, strict=True))
    # Those that went fill the smallest domains: then the skew is no larger, if not yet what it may be, as upstream
    # compares each domain with the others once a round.
    for _ in gone:
        left[int(np.argmin(left))] += 1
    assert max(left) - min(left) <= max(sizes) - min(sizes)


shelves = st.lists(st.lists(st.integers(1, 5), max_size=5), min_size=1, max_size=5)


@given(shelves, st.integers(0, 40), st.integers(40, 100))
def test_low_utilization_takes_no_more_than_there_is_room_for(nodes, low, high):
    uses = [node(k, *[((k, n), r) for n, r in enumerate(pods)], has=25) for k, pods in enumerate(nodes)]
    gone = low_node_utilization(uses, [low], [high])
    by_pod = {one.pod: one.request[0] for use in uses for one in use.pods}
    under = [use for use in uses if use.percent(0) <= low]
    room = sum(25 * high / 100 - use.used[0] for use in under)
    last = by_pod[gone[-1][0]] if gone else 0
    assert sum(by_pod[pod] for pod, _ in gone) - last < max(room, 1e-9) or not gone
    assert all(uses[where].percent(0) > high for _, where in gone)


# -- in a simulated cluster --------------------------------------------------------


def simulated(parts, cluster, until="1h", health=None, policy="kube-default", **options):
    run = k8slab.Simulation(
        cluster, parts, autoscalers=[Descheduler(**options)], health=health, policy=policy
    ).run(until)
    run._world.state.check()
    return run


def test_duplicates_are_spread_and_a_packing_scheduler_puts_them_back():
    cluster = k8slab.Cluster.of(["a", "b"], [[8000, 8000], [2**34] * 2, [20, 20]])
    web = Deployment("web", {"cpu": "1", "memory": "1Gi"}, replicas=4)
    fights = simulated(web, cluster, policy="most-allocated", strategies=["RemoveDuplicates"])
    assert fights.metrics["pods_descheduled"][0] >= 10  # every five minutes again
    assert fights.metrics["pods_moved_back"][0] == pytest.approx(fights.metrics["pods_descheduled"][0], abs=2)
    back = fights.frames.descheduled
    assert (back["node"] == "a").all()
    vital = Deployment("web", {"cpu": "1", "memory": "1Gi"}, replicas=4, priority=2_000_000_000)
    kept = simulated(vital, cluster, policy="most-allocated", strategies=["RemoveDuplicates"])
    assert "pods_descheduled" not in kept.metrics
    agrees = simulated(web, cluster, policy="least-allocated", strategies=["RemoveDuplicates"])
    assert "pods_descheduled" not in agrees.metrics


def test_low_utilization_moves_pods_to_empty_nodes_once():
    bound = k8slab.Workload.of([f"p{k}" for k in range(6)], [[1000, 2**30, 1]] * 6)
    cluster = k8slab.Cluster.of(
        ["a", "b"], [[8000, 8000], [2**34] * 2, [20, 20]], bound=bound, bound_node=[0] * 6
    )
    app = Deployment("app", {"cpu": "100m", "memory": "1Mi"})
    run = simulated(app, cluster, policy="least-allocated", evict_bare_pods=True)
    assert run.metrics["pods_descheduled"][0] == 2
    assert run.metrics["pods_moved_back"][0] == 0
    assert simulated(app, cluster, policy="least-allocated").metrics.get("pods_descheduled") is None
    limited = simulated(app, cluster, policy="least-allocated", evict_bare_pods=True, max_total=1, until="6m")
    assert limited.metrics["pods_descheduled"][0] == 1


def test_pods_beyond_their_skew_go_to_the_other_zone():
    spread = SpreadConstraint(ZONE, 1, True, (Requirement("app", "In", ("web",)),))
    specs = Codes.constant(PodSpec(spread=(spread,)), 4)
    labels = {"app": Codes.constant("web", 4)}
    bound = k8slab.Workload.of(
        [f"p{k}" for k in range(4)], [[1000, 2**30, 1]] * 4, specs=specs, labels=labels
    )
    cluster = k8slab.Cluster.of(
        ["a", "b"], [[8000, 8000], [2**34] * 2, [20, 20]], bound=bound, bound_node=[0] * 4,
        labels={ZONE: Codes.of(["x", "y"])},
    )  # fmt: skip
    app = Deployment("app", {"cpu": "100m", "memory": "1Mi"})
    run = simulated(
        app, cluster, strategies=["RemovePodsViolatingTopologySpreadConstraint"], evict_bare_pods=True
    )
    assert run.frames.descheduled["target"].tolist() == ["b", "b"]
    assert run.metrics["pods_moved_back"][0] == 0


def test_budgets_are_heeded():
    cluster = k8slab.Cluster.of(["a", "b"], [[8000, 8000], [2**34] * 2, [20, 20]])
    web = Deployment("web", {"cpu": "1", "memory": "1Gi"}, replicas=4)
    held = Health(budgets=[DisruptionBudget(name="web", workload="web", max_unavailable=0)])
    run = simulated(web, cluster, policy="most-allocated", strategies=["RemoveDuplicates"], health=held)
    assert "pods_descheduled" not in run.metrics


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"strategies": ["LowNodeUtilisation"]}, UnknownName, "did you mean 'LowNodeUtilization'"),
        ({"strategies": []}, InputError, "no strategies"),
        ({"thresholds": {"cpu": 120}}, InputError, "thresholds, cpu=120; wanted per cent"),
        ({"thresholds": {"cpu": 60}, "targets": {"cpu": 50}}, InputError, "of cpu, 60, is above its target 50"),
        ({"thresholds": {"cpu": 6}}, InputError, "thresholds name"),
        ({"period": 0}, InputError, "period"),
        ({"max_total": -1}, InputError, "max_total=-1; wanted a whole number"),
    ],
)
def test_what_cannot_be(given, error, message):
    with pytest.raises(error, match=message):
        Descheduler(**given)
