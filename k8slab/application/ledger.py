"""Who is where: pods and the nodes that are charged for them, kept in step through the two repositories."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from k8slab.domain.models import Node, Pod, PodPhase
from k8slab.domain.ports import ClusterStatePort, NodeRepositoryPort, PodRepositoryPort

E = TypeVar("E", Pod, Node)
_LOCKS: Final[WeakKeyDictionary[object, Any]] = WeakKeyDictionary()
_ANY_OTHER: Final = threading.RLock()
_REGISTRY: Final = threading.Lock()


class Ledger:
    """The verbs that move pods, for any pair of repositories.

    After each verb a pod stands in the `pods` of exactly the node that it is on, and
    that node is charged for it once. Repositories that share a state see to that
    themselves when the pod is saved. `lock` is one for all services on the same node
    repository: hold it from deciding to acting.
    """

    def __init__(self, pods: PodRepositoryPort, nodes: NodeRepositoryPort) -> None:
        self.pods = pods
        self.nodes = nodes
        self.lock = lock_of(nodes)
        self._shared = state_of(nodes) is not None and state_of(nodes) is state_of(pods)

    def assign(self, pod: Pod, node_id: str) -> None:
        """Store the pod as running on this node, and say so in `pod`."""
        with self.lock:
            held = self._stored(pod.pod_id)
            if held is not None and held.node_id and (held.node_id != node_id or _request(held) != _request(pod)):
                self.release(held)
            self._store(pod, node_id, PodPhase.RUNNING)
            self._charge(node_id, pod, +1)

    def release(self, pod: Pod) -> None:
        """Store the pod as waiting for a node, and say so in `pod`; its node gets the resources back."""
        with self.lock:
            held = self._stored(pod.pod_id)
            self._store(pod, "", PodPhase.PENDING)
            if held is not None:
                self._charge(held.node_id, held, -1)

    def remove(self, pod: Pod) -> None:
        """Delete the pod; its node gets the resources back."""
        with self.lock:
            held = self._stored(pod.pod_id)
            if held is not None:
                self.pods.delete_pod(pod.pod_id)
                self._charge(held.node_id, held, -1)

    def settle(self) -> None:
        """Give back what pods that succeeded hold: repositories without a shared state can't know."""
        if self._shared:
            return
        with self.lock:
            for pod in self.pods.list_pods():
                if pod.phase is PodPhase.SUCCEEDED:
                    self._charge(pod.node_id, pod, -1)

    def _stored(self, pod_id: str) -> Pod | None:
        # A copy: there are repositories that hand out the very object that they keep.
        pod = self.pods.get_pod(pod_id)
        return None if pod is None else replace(pod)

    def _store(self, pod: Pod, node_id: str, phase: PodPhase) -> None:
        # Saved first, so that an adapter that raises leaves the caller's object as it was.
        self.pods.save_pod(replace(pod, node_id=node_id, phase=phase))
        pod.node_id, pod.phase = node_id, phase

    def _charge(self, node_id: str, pod: Pod, sign: int) -> None:
        """Add the pod to the node, or take it off, unless that is so already."""
        if self._shared:
            return
        node = self.nodes.get_node(node_id) if node_id else None
        if node is None or (pod.pod_id in node.pods) == (sign > 0):
            return
        node.cpu_used = _sum(node.cpu_used, sign * pod.cpu_request)
        node.memory_used = _sum(node.memory_used, sign * pod.memory_request)
        if sign > 0:
            node.pods.append(pod.pod_id)
        else:
            node.pods.remove(pod.pod_id)
        self.nodes.save_node(node)


def update(entity: E, newer: E) -> None:
    """Make an object that a caller holds equal to a newer value."""
    for field in fields(entity):
        setattr(entity, field.name, getattr(newer, field.name))


def state_of(repository: object) -> ClusterStatePort | None:
    """The state that a repository is a window on, None if it is a plain one."""
    state = getattr(repository, "state", None)
    return state if isinstance(state, ClusterStatePort) else None


def lock_of(repository: object) -> AbstractContextManager[Any]:
    """The reentrant lock that services hold over a repository: its state's, or one that is kept for it here.

    A repository that can't be looked up in a dictionary shares a lock with others of its kind.
    """
    state = state_of(repository)
    if state is not None:
        return state.lock
    try:
        with _REGISTRY:
            return cast(AbstractContextManager[Any], _LOCKS.setdefault(repository, threading.RLock()))
    except TypeError:  # unhashable, or without weak references
        return _ANY_OTHER


def _request(pod: Pod) -> tuple[float, float]:
    return pod.cpu_request, pod.memory_request


def _sum(used: float, change: float) -> float:
    # To a billionth, Kubernetes' own precision: 0.1 + 0.2 - 0.3 is to be 0, not 5e-17.
    return max(round(used + change, 9), 0)
