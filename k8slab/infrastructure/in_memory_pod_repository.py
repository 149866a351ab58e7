"""Pods in memory: the PodRepositoryPort as a window on a state."""

from __future__ import annotations

from k8slab.domain.models import Pod, PodPhase
from k8slab.infrastructure.entity_window import EntityWindow
from k8slab.state import ClusterState


class InMemoryPodRepository:
    """Keeps pods in the columns of a state, its own or one that it shares with a node repository.

    On a shared state, a pod saved as on a node is charged to the node, and a pod that
    is deleted or moved gives its resources back, without more ado. Thread-safe.
    """

    def __init__(self, state: ClusterState | None = None) -> None:
        self.state = state if state is not None else ClusterState()
        self._window = EntityWindow(self.state)

    def save_pod(self, pod: Pod) -> None:
        """Keep this pod. Raises InputError for a request that is negative, or no number."""
        self._window.save_pod(pod)

    def get_pod(self, pod_id: str) -> Pod | None:
        """A fresh value of the pod, None if there is none."""
        return self._window.get_pod(pod_id)

    def list_pods(self, namespace: str | None = None) -> list[Pod]:
        """Fresh values of all pods, or of a namespace's, in the order first saved."""
        return self._window.list_pods(namespace)

    def delete_pod(self, pod_id: str) -> bool:
        """Forget the pod; False if there is none."""
        return self._window.delete_pod(pod_id)

    def update_pod_phase(self, pod_id: str, phase: PodPhase) -> None:
        """Set the phase alone. A pod that isn't there stays so."""
        with self.state.lock:
            pod = self.get_pod(pod_id)
            if pod is not None:
                pod.phase = phase
                self.save_pod(pod)
