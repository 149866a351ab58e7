"""What if each node went: held against one node at a time on a cluster without it, and worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import k8slab
from k8slab.analysis.frames import check_frame
from k8slab.domain.api_objects import ApiObjects, DisruptionBudget
from k8slab.domain.columns import Codes
from k8slab.domain.moving import LOCAL_STORAGE, SAFE_TO_EVICT
from k8slab.domain.pod_spec import HOSTNAME, Owner, PodSpec, PodTerm, Requirement
from k8slab.errors import InputError
from k8slab.state import ClusterState

OWNED = PodSpec(owner=Owner("apps/v1", "ReplicaSet", "web"))


def state_of(nodes, pods, **columns):
    """nodes : cores; pods : (node, cores)"""
    state = ClusterState()
    amounts = np.array([[1000 * cores for cores in nodes], [2**34] * len(nodes), [20] * len(nodes)])
    labels = {HOSTNAME: Codes.of([f"n{k}" for k in range(len(nodes))])}
    state.add_nodes([f"n{k}" for k in range(len(nodes))], amounts, labels=labels)
    if pods:
        given_specs = {"specs": Codes.constant(OWNED, len(pods)), **columns}
        rows = state.add_pods(
            [f"p{k}" for k in range(len(pods))], [[1000 * cores, 1, 1] for _, cores in pods], **given_specs
        )
        state.bind(rows, np.array([node for node, _ in pods]))
    return state


def naive(nodes, pods):
    """Each node by itself: its pods one after another to the first other node with room."""
    answer = []
    for node in range(len(nodes)):
        free = [cores - sum(c for n, c in pods if n == k) for k, cores in enumerate(nodes)]
        moves = []
        for number, (where, cores) in enumerate(pods):
            if where == node:
                found = next((k for k in range(len(nodes)) if k != node and free[k] >= cores), None)
                if found is None:
                    break
                free[found] -= cores
                moves.append((f"p{number}", f"n{found}"))
        answer.append(moves if len(moves) == sum(where == node for where, _ in pods) else None)
    return answer


@st.composite
def shelves(draw: Any) -> tuple[list[int], list[tuple[int, int]]]:
    nodes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    pods = []
    for node, cores in enumerate(nodes):
        while cores and draw(st.booleans()):
            asked = draw(st.integers(1, cores))
            cores -= asked
            pods.append((node, asked))
    return nodes, pods


@settings(max_examples=40, deadline=None)
@given(shelves())
def test_equals_one_node_at_a_time(case):
    nodes, pods = case
    found = k8slab.removable_nodes(state_of(nodes, pods), progress=False)
    answer = naive(nodes, pods)
    assert found.frame["removable"].tolist() == [moves is not None for moves in answer]
    for node, moves in enumerate(answer):
        mine = found.moves[found.moves["node"] == f"n{node}"]
        assert list(zip(mine["pod"], mine["target"], strict=True)) == (moves or [])


@settings(max_examples=10, deadline=None)
@given(shelves())
def test_pods_that_look_at_others_are_tried_alike_where_the_rules_bind_nobody(case):
    nodes, pods = case
    away = PodTerm("rack", (Requirement("app", "In", ("none",)),))  # no node has a rack
    specs = Codes.constant(PodSpec(owner=OWNED.owner, anti_affinity=(away,)), len(pods))
    plain = k8slab.removable_nodes(state_of(nodes, pods), progress=False)
    found = k8slab.removable_nodes(state_of(nodes, pods, specs=specs), progress=False)
    assert found.frame["removable"].tolist() == plain.frame["removable"].tolist()
    assert found.moves.equals(plain.moves)


def test_everything_that_holds_a_node():
    pods = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 4), (5, 1), (7, 1)]
    labels = {
        LOCAL_STORAGE: Codes.of([None, "true", None, None, None, None, None]),
        SAFE_TO_EVICT: Codes.of([None, None, "false", None, None, None, None]),
        "app": Codes.of([None, None, None, "web", None, "lone", None]),
    }
    only = PodSpec(owner=OWNED.owner, node_selector=((HOSTNAME, "n5"),))
    specs = Codes.of([None, OWNED, OWNED, OWNED, OWNED, only, PodSpec(owner=Owner("v1", "DaemonSet", "agent"))])
    state = state_of([4, 4, 4, 4, 4, 4, 0, 4], pods, labels=labels, specs=specs)
    budget = DisruptionBudget("default", "web", (Requirement("app", "In", ("web",)),), 0)
    state.set_objects(ApiObjects(budgets=(budget,)))
    found = k8slab.removable_nodes(state, progress=False)
    check_frame("removable_nodes", found.frame)
    check_frame("removable_nodes.moves", found.moves)
    told = found.frame[["held_by", "reason", "pod"]].to_numpy(dtype=object).tolist()
    assert [row[:2] for row in told] == [
        ["pod", "NotReplicated"],
        ["local storage", "LocalStorageRequested"],
        ["pod", "NotSafeToEvictAnnotation"],
        ["budget", "budget default/web allows no disruption"],
        ["room", "no other node has enough cpu"],
        ["affinity", "no other node that its tolerations, selectors and affinity allow"],
        ["", ""],
        ["", ""],
    ]
    assert [row[2] for row in told[:6]] == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert found.frame["pods"].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert "2 of 8 nodes could go now" in found._repr_html_()
    assert found.summary["nodes"].sum() == 8
    moving = k8slab.removable_nodes(state, bare_pods_move=True, progress=False)
    assert moving.frame["removable"].tolist() == [True, *[False] * 5, True, True]
    assert moving.moves.to_numpy(dtype=object).tolist() == [["n0", "p0", "n1"]]


def test_anti_affinity_holds_a_node():
    alone = PodTerm(HOSTNAME, (Requirement("app", "In", ("db",)),), ("default",))
    spec = PodSpec(owner=OWNED.owner, anti_affinity=(alone,))
    labels = {"app": Codes.constant("db", 2)}
    state = state_of([4, 4], [(0, 1), (1, 1)], specs=Codes.constant(spec, 2), labels=labels)
    found = k8slab.removable_nodes(state, progress=False)
    assert found.frame["held_by"].tolist() == ["affinity", "affinity"]
    assert found.frame["reason"][0] == "the rules about other pods leave no other node"


def test_two_pods_of_a_node_may_want_the_same_room():
    found = k8slab.removable_nodes(state_of([8, 3], [(0, 2), (0, 2), (1, 0)]), progress=False)
    assert found.frame["reason"].tolist() == ["the room is taken by other pods of this node", ""]


def test_scoring_sends_pods_where_the_policy_would():
    state = state_of([4, 8, 8], [(0, 1), (1, 4)])
    first, best = (
        k8slab.removable_nodes(state, "least-allocated", scoring=scoring, progress=False).moves["target"][0]
        for scoring in (False, True)
    )
    assert (first, best) == ("n1", "n2")


def test_what_cannot_be_asked():
    with pytest.raises(InputError, match="has no bound pods"):
        k8slab.removable_nodes(k8slab.Cluster.synthetic(2))
    with pytest.raises(InputError, match="a str; wanted a Cluster, a Placement or a ClusterState"):
        k8slab.removable_nodes("cluster")


def test_a_placement_can_be_asked():
    cluster = k8slab.Cluster.synthetic(20)
    placement = k8slab.schedule(cluster, k8slab.Workload.synthetic(pods=100, cluster=cluster), "most-allocated")
    found = k8slab.removable_nodes(placement, bare_pods_move=True, progress=False)
    assert len(found.frame) == 20
    assert found.frame["removable"].any()
