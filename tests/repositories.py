"""Repositories to run services and contracts on: ours, and such as users write in an evening."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from k8slab.domain.models import Node, Pod, PodPhase
from k8slab.infrastructure import InMemoryNodeRepository, InMemoryPodRepository
from k8slab.state import ClusterState


class PlainPods:
    """A dictionary of copies, with the old methods only. Its own lock isn't reentrant, as a user's may not be."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: dict[str, Pod] = {}

    def save_pod(self, pod: Pod) -> None:
        with self.lock:
            self.kept[pod.pod_id] = deepcopy(pod)

    def get_pod(self, pod_id: str) -> Pod | None:
        with self.lock:
            return deepcopy(self.kept.get(pod_id))

    def list_pods(self, namespace: str | None = None) -> list[Pod]:
        with self.lock:
            return [deepcopy(pod) for pod in self.kept.values() if namespace in (None, pod.namespace)]

    def delete_pod(self, pod_id: str) -> bool:
        with self.lock:
            return self.kept.pop(pod_id, None) is not None

    def update_pod_phase(self, pod_id: str, phase: PodPhase) -> None:
        with self.lock:
            if pod_id in self.kept:
                self.kept[pod_id].phase = phase


class PlainNodes:
    """As PlainPods. Its `state` is no cluster state, which no service must take it for."""

    __hash__ = None  # type: ignore[assignment]  # as a dataclass of a user's has none

    def __init__(self) -> None:
        self.state = "open"
        self.lock = threading.Lock()
        self.kept: dict[str, Node] = {}

    def save_node(self, node: Node) -> None:
        with self.lock:
            self.kept[node.node_id] = deepcopy(node)

    def get_node(self, node_id: str) -> Node | None:
        with self.lock:
            return deepcopy(self.kept.get(node_id))

    def list_nodes(self) -> list[Node]:
        with self.lock:
            return [deepcopy(node) for node in self.kept.values()]

    def update_node_resources(self, node_id: str, cpu_used: float, memory_used: float) -> None:
        with self.lock:
            if node_id in self.kept:
                self.kept[node_id].cpu_used, self.kept[node_id].memory_used = cpu_used, memory_used


class ReferencePods(PlainPods):
    """The original's: hands out the very objects that it keeps. Breaks the contract, and services bear it."""

    def save_pod(self, pod: Pod) -> None:
        self.kept[pod.pod_id] = pod

    def get_pod(self, pod_id: str) -> Pod | None:
        return self.kept.get(pod_id)

    def list_pods(self, namespace: str | None = None) -> list[Pod]:
        return [pod for pod in self.kept.values() if namespace in (None, pod.namespace)]


class ReferenceNodes(PlainNodes):
    """As ReferencePods."""

    def save_node(self, node: Node) -> None:
        self.kept[node.node_id] = node

    def get_node(self, node_id: str) -> Node | None:
        return self.kept.get(node_id)

    def list_nodes(self) -> list[Node]:
        return list(self.kept.values())


def shared() -> tuple[Any, Any]:
    state = ClusterState()
    return InMemoryPodRepository(state), InMemoryNodeRepository(state)


def separate() -> tuple[Any, Any]:
    return InMemoryPodRepository(), InMemoryNodeRepository()


def plain() -> tuple[Any, Any]:
    return PlainPods(), PlainNodes()


def references() -> tuple[Any, Any]:
    return ReferencePods(), ReferenceNodes()


def mixed() -> tuple[Any, Any]:
    return PlainPods(), InMemoryNodeRepository()


PAIRS: list[Callable[[], tuple[Any, Any]]] = [shared, separate, plain, references, mixed]


def pod(pod_id: str, **changes: Any) -> Pod:
    """A pending pod of 0.5 cores and 512 MiB."""
    given: dict[str, Any] = {
        "name": pod_id,
        "namespace": "default",
        "node_id": "",
        "phase": PodPhase.PENDING,
        "container_image": "nginx:1.27",
    }
    return Pod(pod_id, **{**given, **changes})


def assert_accounts_balance(pods: Any, nodes: Any) -> None:
    """Every pod on a node stands in its list and no other, and each node's usage is the sum of their requests."""
    for node in nodes.list_nodes():
        here = [one for one in pods.list_pods() if one.node_id == node.node_id and one.phase is not PodPhase.SUCCEEDED]
        assert sorted(node.pods) == sorted(one.pod_id for one in here)
        assert abs(node.cpu_used - sum(one.cpu_request for one in here)) < 1e-9
        assert abs(node.memory_used - sum(one.memory_request for one in here)) < 1e-9
    for repository in (pods, nodes):
        if isinstance(getattr(repository, "state", None), ClusterState):
            repository.state.check()
