"""State and repositories whose every change is an intent: what a cluster of several facades keeps its cluster in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final

from k8slab.domain.models import Node, Pod, PodPhase
from k8slab.domain.ports import IntentPort
from k8slab.domain.replicas import replicate
from k8slab.domain.resources import ResourceSchema
from k8slab.infrastructure.in_memory_node_repository import InMemoryNodeRepository
from k8slab.infrastructure.in_memory_pod_repository import InMemoryPodRepository
from k8slab.state import ClusterState

# Rows are given in the order of the log, so a row means the same node or pod to every member.
STATE_VERBS: Final = (
    "add_nodes", "add_pods", "arrive", "bind", "finish", "nominate", "remove_node", "remove_pods", "restart",
    "set_foreign", "set_leaving", "set_node_state", "set_objects", "set_phase", "set_ready", "unbind", "update_node",
    "update_pod",
)  # fmt: skip


class ReplicatedState(ClusterState):
    """A ClusterState that reads as any other; what would change it goes to `intents` first."""

    def __init__(self, intents: IntentPort, schema: ResourceSchema | None = None) -> None:
        super().__init__(schema, clock=intents)
        self._intents = intents
        for verb in STATE_VERBS:
            intents.register(verb, partial(getattr(ClusterState, verb), self))
        own = {"_clock", "_intents", "lock", "schema"}
        replicate(self, "state", intents, memory=sorted(vars(self).keys() - own))


def _decided(verb: str) -> Callable[..., Any]:
    @wraps(getattr(ClusterState, verb))
    def decide(state: ReplicatedState, *arguments: Any, **named: Any) -> Any:
        return state._intents.decide(verb, *arguments, **named)

    return decide


for _verb in STATE_VERBS:
    setattr(ReplicatedState, _verb, _decided(_verb))


class ReplicatedPods(InMemoryPodRepository):
    """Pods of a replicated state: saving one is one intent, all its fields with it."""

    def __init__(self, state: ReplicatedState, intents: IntentPort) -> None:
        super().__init__(state)
        self._intents = intents
        for verb, act in (
            ("save_pod", super().save_pod),
            ("delete_pod", super().delete_pod),
            ("update_pod_phase", super().update_pod_phase),
        ):
            intents.register(verb, act)
        records = self._window.records
        replicate(records, "records", intents, memory=vars(records))

    def save_pod(self, pod: Pod) -> None:
        """Keep this pod, everywhere."""
        self._intents.decide("save_pod", pod)

    def delete_pod(self, pod_id: str) -> bool:
        """Forget the pod, everywhere; False if there is none."""
        found: bool = self._intents.decide("delete_pod", pod_id)
        return found

    def update_pod_phase(self, pod_id: str, phase: PodPhase) -> None:
        """Set the phase alone, everywhere."""
        self._intents.decide("update_pod_phase", pod_id, phase)


class ReplicatedNodes(InMemoryNodeRepository):
    """Nodes of a replicated state: saving one is one intent."""

    def __init__(self, state: ReplicatedState, intents: IntentPort) -> None:
        super().__init__(state)
        self._intents = intents
        intents.register("save_node", super().save_node)
        intents.register("update_node_resources", super().update_node_resources)

    def save_node(self, node: Node) -> None:
        """Keep this node, everywhere."""
        self._intents.decide("save_node", node)

    def update_node_resources(self, node_id: str, cpu_used: float, memory_used: float) -> None:
        """Set the usage alone, everywhere."""
        self._intents.decide("update_node_resources", node_id, cpu_used, memory_used)
