"""The repositories: one contract for all adapters, and what a window on a state adds."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab import Cluster
from k8slab.domain.models import NODE_STATES, POD_PHASES, Node, NodeState, Pod, PodPhase
from k8slab.errors import InputError
from k8slab.infrastructure import InMemoryNodeRepository, InMemoryPodRepository
from k8slab.infrastructure.contract import check_node_repository, check_pod_repository
from k8slab.state import ClusterState
from tests.repositories import PlainNodes, PlainPods, ReferenceNodes, ReferencePods, pod, shared


def on_one_state_with_others() -> ClusterState:
    """A state on which other things happened: rows were removed, labels exist."""
    state = ClusterState()
    pods, nodes = InMemoryPodRepository(state), InMemoryNodeRepository(state)
    nodes.save_node(Node("gone", "gone", NodeState.READY, labels={"rack": "r1"}))
    pods.save_pod(pod("gone", node_id="gone", labels={"app": "x"}))
    pods.delete_pod("gone")
    state.remove_node(0)
    return state


@pytest.mark.parametrize(
    "make",
    [InMemoryPodRepository, PlainPods, lambda: InMemoryPodRepository(on_one_state_with_others())],
    ids=["own state", "plain", "shared state"],
)
def test_pod_repositories_keep_the_contract(make):
    check_pod_repository(make)


@pytest.mark.parametrize(
    "make",
    [InMemoryNodeRepository, PlainNodes, lambda: InMemoryNodeRepository(on_one_state_with_others())],
    ids=["own state", "plain", "shared state"],
)
def test_node_repositories_keep_the_contract(make):
    check_node_repository(make)


class RoundsAmounts(PlainPods):
    def save_pod(self, pod: Pod) -> None:
        super().save_pod(replace(pod, cpu_request=round(pod.cpu_request, 3)))


class MovesToTheEnd(PlainPods):
    def save_pod(self, pod: Pod) -> None:
        self.kept.pop(pod.pod_id, None)
        super().save_pod(pod)


class IgnoresNamespaces(PlainPods):
    def list_pods(self, namespace: str | None = None) -> list[Pod]:
        return super().list_pods()


class RaisesWhenDeletedTwice(PlainPods):
    def delete_pod(self, pod_id: str) -> bool:
        del self.kept[pod_id]
        return True


class InventsPods(PlainPods):
    def update_pod_phase(self, pod_id: str, phase: PodPhase) -> None:
        self.save_pod(pod(pod_id, phase=phase))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ReferencePods, "get_pod, after the object that was saved was changed and not saved, gives another phase"),
        (RoundsAmounts, "get_pod gives another cpu_request: 0.123, wanted 0.1234567"),
        (MovesToTheEnd, r"list_pods after saving a pod again: \['second', 'first'\]"),
        (IgnoresNamespaces, "list_pods\\('shop'\\)"),
        (InventsPods, "changes the phase alone"),
    ],
)
def test_the_contract_says_what_an_adapter_does_wrong(make, message):
    with pytest.raises(AssertionError, match=message):
        check_pod_repository(make)


def test_the_contract_lets_an_adapters_own_error_through():
    with pytest.raises(KeyError):
        check_pod_repository(RaisesWhenDeletedTwice)


def test_the_contract_says_what_a_node_adapter_does_wrong():
    with pytest.raises(AssertionError, match="get_node, after the object that was saved was changed"):
        check_node_repository(ReferenceNodes)


# -- one state behind both ---------------------------------------------------------


def node_of(nodes, node_id: str = "n") -> Node:
    node = nodes.get_node(node_id)
    assert node is not None
    return node


def usage(node: Node) -> tuple[float, float, list[str]]:
    return node.cpu_used, node.memory_used, node.pods


EMPTY = Node("n", "n", NodeState.READY)


def test_a_saved_pod_is_charged_to_its_node_and_a_deleted_one_gives_back():
    pods, nodes = shared()
    nodes.save_node(EMPTY)
    pods.save_pod(pod("p", node_id="n", phase=PodPhase.RUNNING))
    assert usage(node_of(nodes)) == (0.5, 512, ["p"])
    pods.save_pod(pod("p", node_id="n", phase=PodPhase.RUNNING, cpu_request=2.0))
    assert usage(node_of(nodes)) == (2.0, 512, ["p"])
    assert pods.delete_pod("p")
    assert usage(node_of(nodes)) == (0, 0, [])
    nodes.state.check()


@pytest.mark.parametrize("node_first", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_service_may_save_node_and_pod_in_either_order(node_first, known):
    """As services written against the ports do: read, change both, save both."""
    pods, nodes = shared()
    nodes.save_node(replace(EMPTY, cpu_used=1.0, memory_used=100.0))  # and some usage nobody explains
    if known:
        pods.save_pod(pod("p"))
    placed = pod("p", node_id="n", phase=PodPhase.RUNNING)
    charged = node_of(nodes)
    charged.cpu_used += placed.cpu_request
    charged.memory_used += placed.memory_request
    charged.pods.append("p")
    saves = [lambda: nodes.save_node(charged), lambda: pods.save_pod(placed)]
    for save in saves if node_first else reversed(saves):
        save()
    assert usage(node_of(nodes)) == (1.5, 612, ["p"])

    freed = node_of(nodes)
    freed.cpu_used -= placed.cpu_request
    freed.memory_used -= placed.memory_request
    freed.pods.remove("p")
    evicted = pod("p")
    saves = [lambda: nodes.save_node(freed), lambda: pods.save_pod(evicted)]
    for save in saves if node_first else reversed(saves):
        save()
    assert usage(node_of(nodes)) == (1.0, 100, [])
    nodes.state.check()


def test_usage_that_no_pod_explains_stays():
    pods, nodes = shared()
    nodes.save_node(replace(EMPTY, cpu_used=10.0))
    pods.save_pod(pod("p", node_id="n", phase=PodPhase.RUNNING))
    assert node_of(nodes).cpu_used == 10.5
    nodes.update_node_resources("n", cpu_used=12.25, memory_used=1000.0)
    assert usage(node_of(nodes)) == (12.25, 1000, ["p"])
    pods.delete_pod("p")
    assert usage(node_of(nodes)) == (11.75, 488, [])
    nodes.state.check()


def test_a_node_saved_beside_a_move_neither_loses_nor_doubles_the_pod():
    """A heartbeat saved from an old snapshot, while a pod came or went."""
    pods, nodes = shared()
    nodes.save_node(EMPTY)
    old = node_of(nodes)
    pods.save_pod(pod("p", node_id="n", phase=PodPhase.RUNNING))
    nodes.save_node(old)
    assert usage(node_of(nodes)) == (0.5, 512, ["p"])
    old = node_of(nodes)
    pods.save_pod(pod("p"))
    nodes.save_node(old)
    assert usage(node_of(nodes)) == (0.5, 512, ["p"])  # as was saved, until the pod says where it is
    pods.save_pod(pod("p"))
    assert usage(node_of(nodes)) == (0, 0, [])


def test_a_pod_on_an_unknown_node_waits_for_it_to_be_known():
    pods, nodes = shared()
    pods.save_pod(pod("p", node_id="later", phase=PodPhase.RUNNING))
    assert pods.get_pod("p").node_id == "later"
    nodes.save_node(Node("later", "later", NodeState.READY))
    assert usage(node_of(nodes, "later")) == (0.5, 512, ["p"])
    pods.save_pod(pod("q", node_id="never", phase=PodPhase.RUNNING))
    pods.save_pod(pod("q"))
    nodes.save_node(Node("never", "never", NodeState.READY))
    assert usage(node_of(nodes, "never")) == (0, 0, [])


def test_a_node_listing_a_pod_saved_before_it_counts_it_once():
    pods, nodes = shared()
    pods.save_pod(pod("p", node_id="n", phase=PodPhase.RUNNING))
    nodes.save_node(replace(EMPTY, cpu_used=0.5, memory_used=512, pods=["p"]))
    assert usage(node_of(nodes)) == (0.5, 512, ["p"])


def test_observed_overcommitment_is_kept():
    pods, nodes = shared()
    nodes.save_node(replace(EMPTY, cpu_allocatable=1.0))
    for name in "abc":
        pods.save_pod(pod(name, node_id="n", phase=PodPhase.RUNNING))
    assert node_of(nodes).cpu_used == 1.5
    nodes.state.check()


def test_a_succeeded_pod_gives_back_and_a_failed_one_keeps_for_its_restart():
    pods, nodes = shared()
    nodes.save_node(EMPTY)
    for name in ("done", "failed"):
        pods.save_pod(pod(name, node_id="n", phase=PodPhase.RUNNING))
    pods.update_pod_phase("done", PodPhase.SUCCEEDED)
    pods.update_pod_phase("failed", PodPhase.FAILED)
    assert usage(node_of(nodes)) == (0.5, 512, ["failed"])
    assert [one.node_id for one in pods.list_pods()] == ["n", "n"]


def test_what_the_verbs_of_the_state_do_is_seen_through_the_window():
    pods, nodes = shared()
    state = nodes.state
    nodes.save_node(EMPTY)
    pods.save_pod(pod("p", cpu_request=0.1234567, tolerations=["spot"]))
    state.bind(0, 0)
    assert (pods.get_pod("p").node_id, pods.get_pod("p").phase) == ("n", PodPhase.RUNNING)
    assert pods.get_pod("p").cpu_request == 0.1234567
    assert node_of(nodes).cpu_used == 0.124  # as Kubernetes counts: up to a whole milli-CPU
    state.update_pod(0, request=np.array([250, 2**20, 1]), priority=5, tolerations=())
    state.update_node(0, allocatable=np.array([1000, 2**30, 10]), labels={"zone": "z"})
    state.set_node_state(0, NODE_STATES.index(NodeState.CORDONED))
    seen, host = pods.get_pod("p"), node_of(nodes)
    assert (seen.cpu_request, seen.memory_request, seen.priority, seen.tolerations) == (0.25, 1, 5, [])
    assert (host.cpu_allocatable, host.memory_allocatable, host.state) == (1.0, 1024, NodeState.CORDONED)
    assert host.labels == {"zone": "z"}
    state.finish(0, POD_PHASES.index(PodPhase.FAILED))
    assert (pods.get_pod("p").node_id, pods.get_pod("p").phase) == ("n", PodPhase.FAILED)


def test_a_described_cluster_is_seen_as_entities():
    state = Cluster.synthetic(nodes=5, zones=2, seed=0).new_state()
    nodes, pods = InMemoryNodeRepository(state), InMemoryPodRepository(state)
    first = nodes.list_nodes()[0]
    assert first.node_id == state.node_name(0)
    assert first.cpu_allocatable == state.allocatable[0, 0] / 1000
    assert first.labels["topology.kubernetes.io/zone"]
    assert nodes.get_node(first.node_id) == first  # its made-up fields are made up once
    limit = int(state.allocatable[2, 0])
    nodes.save_node(replace(first, taints=["gpu"]))
    assert state.allocatable[2, 0] == limit  # what an entity doesn't speak of stays
    pods.save_pod(pod("p", node_id=first.node_id, phase=PodPhase.RUNNING))
    state.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu_request": -0.5}, "pod 'p': cpu_request is -0.5, wanted 0 or more"),
        ({"cpu_request": float("nan")}, "pod 'p': cpu_request is nan, wanted a number"),
        ({"memory_request": float("inf")}, "pod 'p': memory_request is inf, wanted a number"),
        ({"memory_request": 1e13}, "beyond what any machine has"),
        ({"priority": 2**31}, "priority is 2147483648, wanted an int32"),
        ({"phase": "running"}, "phase is 'running', wanted a PodPhase"),
        ({"labels": {"a": ["b"]}}, r"label 'a' is \['b'\], wanted texts"),
    ],
)
def test_a_pod_that_no_column_can_hold_is_refused_and_nothing_changed(changes, message):
    pods, nodes = shared()
    pods.save_pod(pod("p"))
    with pytest.raises(InputError, match=message):
        pods.save_pod(pod("p", **changes))
    assert pods.list_pods() == [replace(pods.list_pods()[0], cpu_request=0.5)]
    assert nodes.list_nodes() == []
    pods.state.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu_allocatable": float("nan")}, "node 'n': cpu_allocatable is nan"),
        ({"memory_used": 1e13}, "beyond what any machine has"),
        ({"state": "ready"}, "state is 'ready', wanted a NodeState"),
    ],
)
def test_a_node_that_no_column_can_hold_is_refused(changes, message):
    _, nodes = shared()
    with pytest.raises(InputError, match=message):
        nodes.save_node(replace(EMPTY, **changes))
    assert nodes.list_nodes() == []


def test_the_dust_of_float_sums_is_no_usage():
    _, nodes = shared()
    nodes.save_node(replace(EMPTY, cpu_used=0.1 + 0.2 - 0.3, memory_used=-1e-12))
    assert nodes.state.requested[:, 0].tolist() == [0, 0, 0]


def test_a_state_is_forgotten_with_its_windows():
    pods, _ = shared()
    pods.save_pod(pod("p"))
    state = weakref.ref(pods.state)
    del pods, _
    gc.collect()
    assert state() is None


# -- anything in any order -----------------------------------------------------------

PODS = st.sampled_from(["p", "q", "r"])
NODES = st.sampled_from(["a", "b"])
LISTED = st.lists(st.sampled_from(["p", "q", "ghost"]))
AMOUNTS = st.sampled_from([0, 0.0005, 0.1, 0.5, 1.25, 20.0])
STEPS = st.one_of(
    st.tuples(st.just("pod"), PODS, st.sampled_from(["", "a", "b", "ghost"]), st.sampled_from(POD_PHASES), AMOUNTS),
    st.tuples(st.just("node"), NODES, LISTED, st.sampled_from(NODE_STATES), AMOUNTS),
    st.tuples(st.just("delete"), PODS),
    st.tuples(st.just("usage"), NODES, AMOUNTS),
)


@given(st.lists(STEPS, max_size=25))
def test_whatever_is_saved_in_whatever_order_the_columns_add_up(steps):
    pods, nodes = shared()
    for kind, name, *rest in steps:
        if kind == "pod":
            node_id, phase, cpu = rest
            saved = pod(name, node_id=node_id, phase=phase, cpu_request=cpu)
            pods.save_pod(saved)
            assert replace(pods.get_pod(name), created_at=saved.created_at) == saved
        elif kind == "node":
            listed, state, cpu = rest
            nodes.save_node(Node(name, name, state, cpu_used=cpu, pods=listed))
        elif kind == "delete":
            pods.delete_pod(name)
        else:
            nodes.update_node_resources(name, rest[0], 0)
        nodes.state.check()
    for name in "pqr":
        pods.delete_pod(name)
    for node in nodes.list_nodes():
        nodes.save_node(replace(node, pods=[], cpu_used=0, memory_used=0))
        assert usage(node_of(nodes, node.node_id)) == (0, 0, [])
    assert not nodes.state.requested.any()
