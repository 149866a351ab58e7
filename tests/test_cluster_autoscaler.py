"""Cluster-autoscaler's rules, worked by hand, with properties."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.cluster_autoscaler import expanders
from k8slab.domain.cluster_autoscaler.deletion_budget import AtomicGroup, DeletionBudget, GroupNodes, crop_to_budget
from k8slab.domain.cluster_autoscaler.estimator import PodGroup, decreasing_order, estimate, fastpath_group
from k8slab.domain.cluster_autoscaler.expanders import Chain, ExpansionOption, Pricing
from k8slab.domain.cluster_autoscaler.limiter import (
    EstimationLimiter,
    GroupSize,
    Threshold,
    cluster_capacity_limit,
    min_limit,
    similar_groups_limit,
)
from k8slab.domain.cluster_autoscaler.scale_down import (
    Candidate,
    EligibilityConfig,
    GroupState,
    Unneeded,
    Unremovable,
    eligibility,
    removable,
    removable_at,
)
from k8slab.domain.cluster_autoscaler.snapshot import HOSTNAME, NodeShape, PodShape, Snapshot, TopologySpread
from k8slab.domain.cluster_autoscaler.utilization import (
    InitContainer,
    NodePod,
    Skipped,
    node_utilization,
    resource_utilization,
)
from k8slab.domain.instants import SECOND_NS as S
from k8slab.errors import InputError

ZONE = "zone"
BIG = NodeShape(1000, 1000, 10, {ZONE: "new"})


def packed(*groups, template=BIG, existing=None, max_nodes=0):
    return estimate(groups, template, existing or {}, EstimationLimiter([Threshold(max_nodes, 0)]))


# -- estimator ---------------------------------------------------------------------


def test_two_pods_a_node():
    found = packed(PodGroup(PodShape(350, 1), 10))
    assert (found.nodes, found.pods, found.scheduled) == (5, 10, ((0, 10),))


def test_pods_per_node_and_host_ports_bind_too():
    assert packed(PodGroup(PodShape(1, 1), 25)).nodes == 3
    assert packed(PodGroup(PodShape(1, 1, host_ports=(80,)), 4)).nodes == 4


def test_large_pods_go_first_and_small_ones_fill_what_they_leave():
    small, large = PodGroup(PodShape(100, 1), 12), PodGroup(PodShape(600, 1), 3)
    found = packed(small, large)
    assert found.scheduled == ((1, 3), (0, 12))
    assert found.nodes == 3
    cut = packed(small, large, max_nodes=2)
    assert (cut.nodes, cut.scheduled) == (2, ((1, 2), (0, 8)))


def test_what_fits_no_node_leaves_one_empty_node_that_does_not_count():
    giant, usual = PodGroup(PodShape(1001, 1), 5), PodGroup(PodShape(500, 1), 2)
    assert packed(giant).nodes == 0
    found = packed(giant, usual, max_nodes=1)
    assert (found.nodes, found.pods) == (1, 2)  # in the node that the giant left


def test_spreading_over_zones_stops_at_the_skew():
    spread = (TopologySpread(ZONE, 2),)
    old = {"old": NodeShape(1000, 1000, 10, {ZONE: "old"})}
    found = packed(PodGroup(PodShape(20, 1, spread=spread), 8), existing=old)
    assert (found.nodes, found.pods) == (1, 2)  # "old" stays at 0
    assert packed(PodGroup(PodShape(20, 1, spread=spread), 8)).pods == 8  # one domain alone
    lonely = (TopologySpread(ZONE, 2, min_domains=2),)
    assert packed(PodGroup(PodShape(20, 1, spread=lonely), 8)).pods == 2  # too few domains: least is 0
    soft = (TopologySpread(ZONE, 1, when_unsatisfiable="ScheduleAnyway"),)
    assert packed(PodGroup(PodShape(20, 1, spread=soft), 8), existing=old).pods == 8


def test_spreading_over_hostnames_may_send_a_pod_to_an_existing_node_which_then_counts():
    pod = PodShape(20, 1, spread=(TopologySpread(HOSTNAME, 1),))
    found = packed(PodGroup(pod, 2), existing={"old": NodeShape(1000, 1000, 10)})
    # The first opens a node, the second would make a skew of 2 there and goes to "old".
    assert (found.nodes, found.pods) == (2, 2)


def test_once_no_more_nodes_may_come_later_groups_are_tried_on_new_ones_alone():
    spread = PodShape(20, 1, spread=(TopologySpread(HOSTNAME, 1),))
    old = {"old": NodeShape(1000, 1000, 10)}
    large = PodGroup(PodShape(900, 1), 2)
    assert packed(large, PodGroup(spread, 2), existing=old, max_nodes=1).scheduled == ((0, 1), (1, 1))
    assert packed(large, PodGroup(spread, 2), existing=old, max_nodes=3).scheduled == ((0, 2), (1, 2))


def test_a_node_without_the_key_takes_no_pod_that_spreads():
    snapshot = Snapshot()
    snapshot.add("bare", NodeShape(1000, 1000))
    pod = PodShape(1, 1, spread=(TopologySpread(ZONE, 1),))
    assert snapshot.refusal(pod, 0, "bare") == "PodTopologySpread"
    assert snapshot.refusal(PodShape(1001, 1), 0, "bare") == "NodeResourcesFit"
    with pytest.raises(InputError, match="has a node 'bare' already"):
        snapshot.add("bare", BIG)


def test_equal_shares_keep_their_order():
    pods = [PodShape(2, 0), PodShape(1, 600), PodShape(2, 0), PodShape(4, 0)]
    assert decreasing_order(pods, NodeShape(4, 1200)) == [3, 1, 0, 2]


@pytest.mark.parametrize(
    ("groups", "best"),
    [
        ([], -1),
        ([(30, 6), (90, 5)], 1),  # 6 - 6/2 = 3, 5 - 5/5 = 4
        ([(30, 6), (30, 6)], 1),  # the later of equals
        ([(101, 9)], -1),
    ],
)
def test_which_group_is_extrapolated(groups, best):
    shapes = [PodGroup(PodShape(cpu, 1), count) for cpu, count in groups]
    assert fastpath_group(shapes, NodeShape(100, 1000, 10)) == best


def test_a_group_that_must_be_spread_is_never_extrapolated():
    spread = PodGroup(PodShape(1, 1, spread=(TopologySpread(ZONE, 1),)), 9)
    assert fastpath_group([spread], BIG) == -1


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400), st.integers(1, 6)), max_size=4), st.integers(0, 8))
def test_an_estimate_packs_within_its_nodes_and_its_limit(given_groups, limit):
    groups = [PodGroup(PodShape(cpu, memory), count) for cpu, memory, count in given_groups]
    found = packed(*groups, max_nodes=limit)
    assert all(placed <= groups[number].count for number, placed in found.scheduled)
    assert sum(groups[number].pod.cpu_milli * placed for number, placed in found.scheduled) <= 1000 * found.nodes
    assert found.pods <= 10 * found.nodes
    if limit:
        assert found.nodes <= limit
    else:
        assert found.pods == sum(group.count for group in groups)


# -- limits ------------------------------------------------------------------------


def test_limits():
    assert [min_limit(5, 10), min_limit(0, 10), min_limit(5, 0), min_limit(0, 0), min_limit(5, -1)] == [5, 10, 5, 0, -1]
    assert [cluster_capacity_limit(most, 4) for most in (0, 10, 4, 3, -5)] == [0, 6, -1, -1, -1]
    assert similar_groups_limit(GroupSize(10, 5), [GroupSize(3, 10), GroupSize(9, 0)]) == 7
    assert similar_groups_limit(GroupSize(10, 5), []) == -1


def test_a_limiter_counts_nodes_and_time_from_each_start():
    limiter = EstimationLimiter([Threshold(0, 10 * S), Threshold(2, 60 * S)])
    assert [limiter.permits(10 * S), limiter.permits(10 * S), limiter.permits(0)] == [True, True, False]
    limiter.start(5 * S)
    assert limiter.nodes == 0
    assert limiter.permits(15 * S)
    assert not limiter.permits(15 * S + 1)
    assert limiter.nodes == 1
    assert not EstimationLimiter([Threshold(-1, 0)]).permits(0)
    assert not EstimationLimiter([Threshold(0, -1)]).permits(0)
    with pytest.raises(InputError, match="before it"):
        limiter.permits(0)


# -- expanders ---------------------------------------------------------------------


def names(options):
    return [option.group for option in options]


def test_least_waste_is_of_cpu_and_memory_together():
    pods = (PodShape(500, 500),)
    balanced = ExpansionOption("balanced", 1, pod_shapes=pods, node=NodeShape(1000, 1000))
    wide = ExpansionOption("wide", 1, pod_shapes=pods, node=NodeShape(4000, 1000))
    twice = replace(balanced, group="twice", node_count=2)
    assert names(expanders.least_waste([wide, balanced, twice])) == ["balanced"]
    assert names(expanders.least_waste([wide, replace(wide, group="same")])) == ["wide", "same"]
    assert expanders.least_waste([ExpansionOption("unknown")]) == []


def test_most_pods_and_least_nodes():
    few, many = ExpansionOption("few", 1, ("a",)), ExpansionOption("many", 3, ("a", "b"))
    none = ExpansionOption("none", 0, ("a", "b"))
    assert names(expanders.most_pods([few, many, none])) == ["many", "none"]
    assert names(expanders.least_nodes([many, few, none])) == ["few"]
    assert expanders.least_nodes([none]) == []


def test_the_highest_priority_that_matches_any():
    options = [ExpansionOption("my-t2.large"), ExpansionOption("my-m4.xlarge"), ExpansionOption("my-m4.large")]
    assert names(expanders.priority(options, {10: [r"t2\.large"], 50: [r"m4\."]})) == ["my-m4.xlarge", "my-m4.large"]
    assert names(expanders.priority(options, {10: ["t2"], 99: ["gpu"]})) == ["my-t2.large"]
    assert expanders.priority(options, {}) == options
    with pytest.raises(InputError, match=r"'\(' is no regular expression"):
        expanders.priority(options, {1: ["("]})


def test_price():
    small = ExpansionOption("small", 2, ("p",), node=NodeShape(1000, 0))
    large = ExpansionOption("large", 1, ("p",), node=NodeShape(4000, 0))
    pricing = Pricing({"small": 50.0, "large": 200.0}, {"p": 20.0}, 10.0, 4000)
    # small: unfitness 4 fades to 1 + 3 * (1 - tanh(1/15)), times 110/30; large: 210/30.
    small_score = (1 + 3 * (1 - math.tanh(1 / 15))) * 110 / 30
    assert small_score > 210 / 30
    assert names(expanders.price([small, large], pricing)) == ["large"]
    assert names(expanders.price([small, large], replace(pricing, preferred_cpu_milli=1000))) == ["small"]
    assert names(expanders.price([replace(large, exists=False), small], pricing)) == ["small"]
    assert names(expanders.price([replace(small, gpu=True), large], pricing)) == ["large"]
    assert expanders.price([small], replace(pricing, stabilization=None)) == []
    assert names(expanders.price([small, ExpansionOption("free", node=BIG)], pricing)) == ["small"]
    assert expanders.preferred_node_cores(60) == 8


def test_a_chain_stops_as_soon_as_one_is_left():
    asked = []

    def last(options):
        asked.append(list(options))
        return options[-1] if options else None

    chain = Chain([lambda options: [one for one in options if "x" in one]], last)
    assert (chain.best(["a", "xb"]), asked) == ("xb", [])
    assert (chain.best(["xa", "xb", "c"]), asked) == ("xb", [["xa", "xb"]])
    assert chain.best(["a"]) is None


# -- utilization -------------------------------------------------------------------


NODE = {"cpu": 2000, "memory": 2000}


def load(cpu, memory=0, **more):
    return NodePod({"cpu": cpu, "memory": memory}, **more)


def used(pods, node=NODE, **more):
    return node_utilization(node, pods, Skipped(**more), 0).utilization


def test_the_larger_share_decides():
    assert used([load(100, 200), load(100, 200), NodePod()]) == 0.2
    assert used([load(900, 200)]) == 0.45


def test_init_containers_count_as_the_scheduler_counts_them():
    side, init = InitContainer({"cpu": 50}, restart_always=True), InitContainer({"cpu": 120})
    assert load(100, init_containers=(side, init)).request("cpu") == 170  # 50 + max(100, 120)
    assert load(100, init_containers=(init, side)).request("cpu") == 150
    assert load(100, init_containers=(InitContainer({"cpu": 900}),)).request("cpu") == 900


def test_skipped_pods_are_neither_load_nor_capacity():
    pods = [load(500), load(1000, daemon_set=True), load(500, mirror=True)]
    assert used(pods) == 1.0
    assert used(pods, daemon_sets=True) == 1.0  # 1,000 of 1,000
    assert used(pods, daemon_sets=True, mirrors=True) == 1.0  # 500 of 500
    assert used([load(500), load(1000, daemon_set=True)], daemon_sets=True) == 0.5
    assert used([load(2000, daemon_set=True)], daemon_sets=True) == 0.0
    whole = [load(2000, daemon_set=True), load(1)]
    assert resource_utilization(NODE, whole, "cpu", Skipped(daemon_sets=True), 0) == math.inf


def test_a_pod_that_should_be_gone_does_not_count():
    assert used([load(1000, deleted_ns=-61 * S)]) == 0.0
    assert used([load(1000, deleted_ns=-60 * S)]) == 0.5
    assert used([load(1000, deleted_ns=-61 * S, grace_seconds=300)]) == 0.5


def test_gpu_nodes_are_judged_by_their_gpus():
    pods = [NodePod({"cpu": 2000, "gpu": 1})]
    assert node_utilization({**NODE, "gpu": 4}, pods, Skipped(), 0, has_gpu=True).utilization == 0.25
    assert node_utilization(NODE, pods, Skipped(), 0, has_gpu=True).utilization == 0.0


def test_a_node_without_allocatable_is_an_error():
    for node in ({"cpu": 2000}, {"cpu": 2000, "memory": 0}):
        with pytest.raises(InputError, match="no allocatable memory"):
            used([], node)


# -- scaling down ------------------------------------------------------------------


def eligible(config=None, **change):
    node = replace(Candidate("n", NODE), **change)
    return eligibility(node, config or EligibilityConfig(), 0)


def test_eligibility_in_the_order_of_its_reasons():
    full = {"pods": [load(1001)]}
    assert eligible() is Unremovable.NO_REASON
    assert eligible(pods=[load(1000)]) is Unremovable.NO_REASON  # at the threshold
    assert eligible(**full) is Unremovable.NOT_UNDERUTILIZED
    assert eligible(**full, ready=False) is Unremovable.NO_REASON
    assert eligible(EligibilityConfig(scale_down_unready_enabled=False), ready=False) is Unremovable.UNREADY_DISABLED
    assert eligible(scale_down_disabled=True) is Unremovable.DISABLED
    assert eligible(scale_down_disabled=True, to_be_deleted_ns=-299 * S) is Unremovable.BEING_DELETED
    assert eligible(to_be_deleted_ns=-300 * S) is Unremovable.NO_REASON
    assert eligible(allocatable={"cpu": 0, "memory": 0}) is Unremovable.UNEXPECTED_ERROR
    # Upstream asks for the utilization before the readiness.
    assert eligible(allocatable={"cpu": 0, "memory": 0}, ready=False) is Unremovable.UNEXPECTED_ERROR


def test_removable_in_the_order_of_its_reasons():
    node, group = Unneeded(-601 * S), GroupState(5, min_size=3, ongoing_deletions=1)
    assert removable(node, group, 0, 0) is Unremovable.NO_REASON
    assert removable(node, group, 1, 0) is Unremovable.MIN_SIZE_REACHED
    assert removable(Unneeded(-600 * S), group, 0, 0) is Unremovable.NOT_UNNEEDED_LONG_ENOUGH
    assert removable(replace(node, ready=False), group, 0, 0) is Unremovable.NOT_UNREADY_LONG_ENOUGH
    assert removable(node, None, 0, 0) is Unremovable.NOT_AUTOSCALED
    assert removable(replace(node, scale_down_disabled=True), None, 0, 0) is Unremovable.DISABLED
    assert removable(node, replace(group, unneeded_ns=None), 0, 0) is Unremovable.UNEXPECTED_ERROR
    assert removable(node, group, 0, 0, nodes_left=0) is Unremovable.MINIMAL_LIMIT


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 10), st.integers(0, 10), st.integers(0, 4))
def test_no_group_goes_below_its_minimum(empty, drain, minimum, more, ongoing):
    group = GroupState(minimum + more, minimum, ongoing)
    node = Unneeded(-(10**6) * S)
    gone = removable_at([node] * empty, [node] * drain, group, 0)
    assert len(gone[0]) + len(gone[1]) == min(empty + drain, max(0, more - ongoing))
    assert not gone[1] or len(gone[0]) == empty


# -- deletion budget ---------------------------------------------------------------


def nodes(group, count, first=0):
    return GroupNodes(group, tuple(f"{group}-{number}" for number in range(first, first + count)))


def cropped(empty, drain, atomic=None, budget=None, in_progress=(0, 0)):
    groups = {name: AtomicGroup(size, size) for name, size in (atomic or {}).items()}
    found = crop_to_budget(budget or DeletionBudget(10, 5), empty, drain, groups, *in_progress)
    return [{group.group: len(group.nodes) for group in side} for side in (found.empty, found.drain)]


def test_single_nodes_go_as_far_as_the_budget():
    assert cropped([nodes("a", 8), nodes("b", 8)], [nodes("c", 4)]) == [{"a": 8, "b": 2}, {}]
    assert cropped([nodes("a", 3)], [nodes("c", 9)]) == [{"a": 3}, {"c": 5}]
    assert cropped([nodes("a", 3)], [nodes("c", 9)], budget=DeletionBudget()) == [{"a": 3}, {"c": 1}]
    assert cropped([nodes("a", 8)], [nodes("c", 8)], in_progress=(2, 4)) == [{"a": 4}, {}]


def test_an_atomic_group_goes_first_and_one_may_overflow():
    assert cropped([nodes("a", 8), nodes("x", 3)], [], {"x": 3}) == [{"x": 3, "a": 7}, {}]
    assert cropped([nodes("x", 11), nodes("a", 8)], [], {"x": 11}) == [{"x": 11}, {}]
    assert cropped([nodes("x", 4), nodes("y", 8)], [], {"x": 4, "y": 8}) == [{"x": 4}, {}]
    assert cropped([nodes("x", 4)], [], {"x": 4}, in_progress=(5, 5)) == [{}, {}]


def test_atomic_groups_that_must_be_drained():
    assert cropped([], [nodes("x", 3), nodes("y", 2)], {"x": 3, "y": 2}) == [{}, {"x": 3, "y": 2}]
    assert cropped([], [nodes("x", 8)], {"x": 8}) == [{}, {"x": 8}]  # one may overflow
    assert cropped([], [nodes("x", 2), nodes("y", 4), nodes("z", 1)], {"x": 2, "y": 4, "z": 1}) == [{}, {"x": 2}]
    assert cropped([], [nodes("x", 2), nodes("a", 9)], {"x": 2}) == [{}, {"x": 2, "a": 3}]
    assert cropped([], [nodes("x", 4)], {"x": 4}, in_progress=(1, 5)) == [{}, {}]  # no draining left
    assert cropped([], [nodes("x", 4)], {"x": 4}, in_progress=(1, 4)) == [{}, {"x": 4}]
    assert cropped([], [nodes("c", 9)], in_progress=(0, 3)) == [{}, {"c": 2}]
    # Empty nodes are no draining; that none may be drained doesn't hold them back.
    assert cropped([nodes("x", 11)], [], {"x": 11}, in_progress=(0, 5)) == [{"x": 11}, {}]
    assert cropped([nodes("x", 1)], [nodes("x", 2, 1)], {"x": 3}, in_progress=(0, 5)) == [{}, {}]


def test_an_atomic_group_may_fill_the_budget_exactly_and_leave_the_next_none():
    both = {"x": 5, "y": 5}
    assert cropped([nodes("x", 5), nodes("y", 5)], [], both) == [both, {}]
    assert cropped([nodes("x", 2), nodes("y", 5)], [nodes("x", 3, 2)], both) == [{"x": 2, "y": 5}, {"x": 3}]
    assert cropped([], [nodes("x", 5)], {"x": 5}) == [{}, {"x": 5}]
    full = {"x": 10, "y": 1}
    assert cropped([nodes("x", 10), nodes("y", 1)], [], full) == [{"x": 10}, {}]


def test_an_atomic_group_goes_wholly_or_not_at_all():
    assert cropped([nodes("x", 2)], [nodes("x", 3, 2)], {"x": 5}) == [{"x": 2}, {"x": 3}]
    assert cropped([nodes("x", 2)], [nodes("x", 2, 2)], {"x": 5}) == [{}, {}]
    late = {"x": AtomicGroup(8, 4)}  # four of its nodes never registered
    found = crop_to_budget(DeletionBudget(), [nodes("x", 4)], [], late)
    assert [len(group.nodes) for group in found.empty] == [4]


@given(
    st.lists(st.integers(1, 9), max_size=4), st.lists(st.integers(1, 9), max_size=4),
    st.integers(0, 12), st.integers(0, 12),
)  # fmt: skip
def test_single_nodes_never_exceed_the_budget(empty, drain, parallel, draining):
    groups = [
        [nodes(f"{kind}{row}", count) for row, count in enumerate(side)] for kind, side in (("e", empty), ("d", drain))
    ]
    gone = cropped(*groups, budget=DeletionBudget(parallel, draining))
    assert sum(gone[0].values()) + sum(gone[1].values()) <= parallel
    assert sum(gone[1].values()) <= draining
    assert sum(gone[0].values()) == min(sum(empty), parallel)


def test_a_negative_budget_is_an_error():
    with pytest.raises(InputError, match="wanted 0 or more"):
        DeletionBudget(-1)
    with pytest.raises(InputError, match="max skew and min domains of 1 or more"):
        TopologySpread(ZONE, 0)
