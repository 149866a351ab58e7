"""The ports: what the services need of the world. Adapters of all of them are a few verbs each.

The contract of a repository is also code: `k8slab.infrastructure.contract` runs it on any adapter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.models import (
    AutoScalingConfig,
    Node,
    Pod,
    PodPhase,
    RaftState,
    ScalingDirection,
    SelfHealingEvent,
)
from k8slab.domain.resources import ResourceSchema

# -- repositories --------------------------------------------------------------


@runtime_checkable
class PodRepositoryPort(Protocol):
    """Keeps pods by id, and gives back what was saved, equal in every field.

    Values are snapshots: changing one that was saved or fetched changes nothing here
    until it is saved again. Safe to call from several threads.
    """

    def save_pod(self, pod: Pod) -> None:
        """Keep this pod, in place of any of the same id, which keeps its place in the order."""

    def get_pod(self, pod_id: str) -> Pod | None:
        """A fresh value of the pod, None if there is none."""

    def list_pods(self, namespace: str | None = None) -> list[Pod]:
        """Fresh values of all pods, or of a namespace's, in the order first saved."""

    def delete_pod(self, pod_id: str) -> bool:
        """Forget the pod; False if there is none."""

    def update_pod_phase(self, pod_id: str, phase: PodPhase) -> None:
        """Set the phase alone. A pod that isn't there stays so."""


@runtime_checkable
class NodeRepositoryPort(Protocol):
    """Keeps nodes by id, by the same rules as PodRepositoryPort.

    A node's usage may exceed what its pods explain, and what is allocatable.
    """

    def save_node(self, node: Node) -> None:
        """Keep this node, in place of any of the same id, which keeps its place in the order."""

    def get_node(self, node_id: str) -> Node | None:
        """A fresh value of the node, None if there is none."""

    def list_nodes(self) -> list[Node]:
        """Fresh values of all nodes, in the order first saved: ties between nodes go by it."""

    def update_node_resources(self, node_id: str, cpu_used: float, memory_used: float) -> None:
        """Set the usage (cores, MiB) alone. A node that isn't there stays so."""


# -- services ------------------------------------------------------------------


@runtime_checkable
class SchedulerPort(Protocol):
    """Finds nodes for pods."""

    def schedule_pod(self, pod: Pod) -> bool:
        """Put the pod on a node, and say so in `pod`; False, and nothing changed, if none fits."""

    def find_best_node(self, pod: Pod) -> Node | None:
        """The node that the pod would get now, None if none fits."""


@runtime_checkable
class AutoScalerPort(Protocol):
    """Keeps the number of a deployment's pods in step with their use."""

    def configure_autoscaling(self, config: AutoScalingConfig) -> None:
        """Look after this deployment from now on, in place of any config of the same id."""

    def check_autoscaling(self) -> None:
        """Take each deployment one step up or down, if its rule says so now."""

    def scale_deployment(self, config: AutoScalingConfig, direction: ScalingDirection) -> None:
        """Take one step, whatever the rule says: a pod that waits for a node more, or a pod less."""


@runtime_checkable
class SelfHealingPort(Protocol):
    """Does something about pods and nodes that failed, and remembers it."""

    def heal_failed_pod(self, pod: Pod) -> None:
        """Restart the pod where it is, or have it placed anew."""

    def evacuate_node(self, node: Node) -> None:
        """Cordon the node and make its pods wait for another."""

    def record_healing_event(self, event: SelfHealingEvent) -> None:
        """Remember this event."""

    def get_healing_events(self, limit: int = 100) -> list[SelfHealingEvent]:
        """The last events, at most so many, oldest first."""


@runtime_checkable
class HealthMonitorPort(Protocol):
    """Notices pods and nodes that fail."""

    def check_pod_health(self) -> None:
        """Look at all pods once."""

    def check_node_health(self) -> None:
        """Look at all nodes once."""

    def start_monitoring(self) -> None:
        """Look again and again from now on, in the background."""


@runtime_checkable
class ConsensusPort(Protocol):
    """A member of a Raft cluster."""

    def get_raft_state(self) -> RaftState:
        """A snapshot of what the member knows."""

    def append_log_entry(self, entry: dict[str, Any]) -> bool:
        """Append to the replicated log; False unless this member leads."""

    def send_heartbeats(self) -> None:
        """Tell the followers that this member leads, if it does."""

    def conduct_election(self) -> None:
        """Stand for election now."""

    def start_consensus_protocol(self) -> None:
        """Take part from now on."""


# -- time, health, state ---------------------------------------------------------


class TimePort(Protocol):
    """Time in integer nanoseconds since 1970. Never goes back."""

    def now(self) -> int: ...


class ClockPort(TimePort, Protocol):
    """Time that can be waited for.

    VirtualClock jumps, WallClock sleeps; no other module knows which it has.
    """

    def sleep_until(self, at_ns: int) -> None: ...


class HealthSourcePort(Protocol):
    """Where news of pods and nodes come from: real reports, or a model of faults."""

    def failed_pods(self, running: Sequence[Pod], now_ns: int) -> Collection[str]:
        """The ids of those of these pods that have failed, each failure told once."""

    def heard_from(self, nodes: Sequence[Node], now_ns: int) -> Collection[str]:
        """The ids of those of these nodes whose heartbeat came since the last call."""


@runtime_checkable
class ClusterStatePort(Protocol):
    """The cluster as columns, and the verbs that place pods: what whole batches are decided on.

    A repository that is a window on a state offers it as `state`. Rows are as in the
    columns; `lock` is held from reading columns to acting on them. A verb that raises
    has changed nothing.
    """

    @property
    def schema(self) -> ResourceSchema: ...
    @property
    def lock(self) -> AbstractContextManager[Any]: ...
    def node_columns(self) -> NodeColumns: ...
    def pod_columns(self, pod_rows: npt.NDArray[Any] | None = None) -> PodColumns: ...
    def pending_rows(self) -> Ints: ...
    def bind(self, pod_rows: int | Ints, node_rows: int | Ints) -> None: ...
    def unbind(self, pod_rows: int | Ints) -> None: ...
    def finish(self, pod_rows: int | Ints) -> None: ...
    def remove_pods(self, pod_rows: int | Ints) -> None: ...
