"""Pods that leave while others come: every path decides as a loop that takes them off one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import k8slab
from k8slab import policies
from k8slab.domain.columns import NodeColumns, PodColumns
from k8slab.errors import InputError
from k8slab.experiments.placement import columns
from k8slab.policies import Policy, tree
from tests.scenarios import cluster_of, policy_of, sequences, workload_of
from tests.strategies import EXACT, problems
from tests.test_policies import dislikes

SEEDS = st.integers(0, 2**63 - 1)
TIES = st.sampled_from(["lowest", "random"])


def departures(pods: int) -> st.SearchStrategy[np.ndarray]:
    """When each of the pods leaves: soon, late, or never."""
    each = [st.integers(number, pods - 1).map(lambda at, own=number: at if at > own else -1) for number in range(pods)]
    return st.tuples(*each).map(lambda numbers: np.array(numbers, dtype=np.int64))


def one_by_one(policy: Policy, nodes: NodeColumns, pods: PodColumns, leave: np.ndarray, seed: int, ties) -> list[int]:
    """The rows by a loop over pods, before each of which those that leave give back what they held."""
    requested, rows = nodes.requested.copy(), []
    for pod in range(len(pods)):
        for gone in np.flatnonzero(leave[:pod] == pod).tolist():
            if rows[gone] >= 0:
                requested[:, rows[gone]] -= pods.requests[gone]
        row = policy.evaluate(replace(nodes, requested=requested), pods, pod, seed=seed, ties=ties).chosen
        if row >= 0:
            requested[:, row] += pods.requests[pod]
        rows.append(row)
    return rows


@pytest.mark.parametrize("name", ["kube-default", "best-fit"])
@settings(max_examples=30)
@given(problem=problems(EXACT // 4), seed=SEEDS, ties=TIES, look=st.sampled_from([0.0, 1e9]), data=st.data())
def test_every_path_decides_as_the_loop(name, problem, seed, ties, look, data):
    nodes, pods = problem
    leave = data.draw(departures(len(pods)))
    policy = policies.policy(name)
    wanted = one_by_one(policy, nodes, pods, leave, seed, ties)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "FEW", 0)
        patch.setattr(tree, "_LOOK_NS", look)
        compares = name == "kube-default" and dislikes(nodes)
        for path in ("stepwise", "scan") if compares else ("stepwise", "scan", "tree"):
            found = policy.place(nodes, pods, seed=seed, ties=ties, path=path, departures=leave)
            assert found.path == path
            assert found.node_rows.tolist() == wanted


@settings(max_examples=25)
@given(sequences(), SEEDS, TIES, st.data())
def test_who_left_keeps_nobody_away_and_attracts_nobody(scenario, seed, ties, data):
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    leave, policy = data.draw(departures(len(inputs[1]))), replace(policy_of(scenario), post_filter=None)
    fast, slow = (
        policy.place(*inputs, seed=seed, ties=ties, path=path, departures=leave) for path in ("scan", "stepwise")
    )
    assert fast.node_rows.tolist() == slow.node_rows.tolist()


# -- what a user sees ----------------------------------------------------------------


def crowded() -> tuple[k8slab.Cluster, k8slab.Workload]:
    """A node for two pods, and four pods."""
    cluster = k8slab.Cluster.of(["n"], [[1000], [4000], [5]])
    return cluster, k8slab.Workload.of([f"p{i}" for i in range(4)], [[500, 1000, 1]] * 4)


def test_those_that_leave_make_room() -> None:
    assert k8slab.schedule(*crowded()).node_rows.tolist() == [0, 0, -1, -1]
    placement = k8slab.schedule(*crowded(), departures=[2, -1, 3, -1])
    assert placement.node_rows.tolist() == [0, 0, 0, 0]
    assert placement.rows_at_end.tolist() == [-1, 0, -1, 0]
    assert placement.requested()[:, 0].tolist() == [1000, 2000, 2]
    assert [placement.requested(before)[2, 0] for before in range(5)] == [0, 1, 1, 1, 2]
    assert placement.to_frame()["departure"].tolist() == [2, -1, 3, -1]
    assert placement.utilization()["cpu_requested_milli"].tolist() == [1000]
    assert placement.manifest()["departures"] == [2, -1, 3, -1]
    assert repr(placement) == "<Placement kube-default: 4 of 4 pods on 1 node, 2 there at the end>"
    state = placement.state()
    state.check()
    assert state.pod_alive.tolist() == [False, True, False, True]
    assert [judged.chosen for judged in placement.replay(range(4))] == [0, 0, 0, 0]


def test_where_pods_leave_and_others_may_preempt_numpy_decides() -> None:
    cluster, workload = crowded()
    ranked = k8slab.Workload.of(["a", "b", "c", "d"], workload.requests, priority=[0, 0, 0, 9])
    placement = k8slab.schedule(cluster, ranked, departures=[-1, 2, -1, -1])
    assert placement.path == "stepwise"
    assert placement.node_rows.tolist() == [0, 0, -1, 0]
    assert [eviction.row for eviction in placement.evictions] == [2]
    with pytest.raises(InputError, match="'scan': pods leave while others may preempt; path='stepwise' can"):
        k8slab.schedule(cluster, ranked, departures=[-1, 2, -1, -1], path="scan")


def test_departures_count_arrivals_whatever_the_order() -> None:
    placement = k8slab.schedule(*crowded(), order=[3, 2, 1, 0], departures=[-1, -1, -1, 2])
    assert placement.node_rows.tolist() == [-1, 0, 0, 0]


@pytest.mark.parametrize(
    ("leave", "message"),
    [
        ([1, 2], r"departures must hold a whole number for each of the workload's 4 pods; it is int64 of shape \(2,\)"),
        ([0.5, 1, 1, 1], "it is float64 of shape"),
        ([0, -1, -1, -1], r"departures\[0\] is 0; the pod arrives as number 0, so it can leave before .* from 1 to 3"),
        ([-1, -1, 4, -1], r"departures\[2\] is 4; the pod arrives as number 2, .* from 3 to 3, or stay: -1"),
        ([-2, -1, -1, -1], r"departures\[0\] is -2"),
    ],
)
def test_departures_that_are_none_are_refused(leave: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        k8slab.schedule(*crowded(), departures=leave)
