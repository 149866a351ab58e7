"""The ports: what the services need of the world. Adapters of all of them are a few verbs each.

The contract of a repository is also code: `k8slab.infrastructure.contract` runs it on any adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from k8slab.domain.api_objects import ApiObjects
from k8slab.domain.columns import (
    NOT_STARTED,
    Codes,
    Codes32,
    Ints,
    Names,
    NodeColumns,
    PodColumns,
    Taints,
    Tolerations,
)
from k8slab.domain.models import (
    AutoScalingConfig,
    Node,
    Pod,
    PodPhase,
    RaftState,
    ScalingDirection,
    SelfHealingEvent,
)
from k8slab.domain.pod_spec import PodSpec
from k8slab.domain.resources import ResourceSchema

if TYPE_CHECKING:
    from k8slab.domain.queueing import Event, PodInfo

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


@runtime_checkable
class SchedulingQueuePort(Protocol):
    """Pods that wait for a node, and which of them is tried next; it has its own clock.

    A pod that was popped is in flight until `done` or one of the `requeue` verbs is called
    for it, once; else, and for a pod that is added twice, StateConflict is raised. What the
    scheduler hears of the cluster it passes on by `move_on`, for others may wait for it.
    """

    def add(self, pod: PodInfo) -> None:
        """A new pod waits: to be popped, or held by its scheduling gates."""

    def pop(self) -> PodInfo | None:
        """The pod whose turn it is, None if it is nobody's: higher priority first, then who waits longer."""

    def done(self, pod: PodInfo) -> None:
        """A popped pod is bound, or never comes back."""

    def requeue_unschedulable(self, pod: PodInfo, rejected_by: Iterable[str], pending: Iterable[str] = ()) -> str:
        """A popped pod was refused by these plug-ins and waits for what may help it; gives where."""

    def requeue_error(self, pod: PodInfo) -> str:
        """A popped pod comes back because of an error, and waits a while; gives where."""

    def update(self, pod: PodInfo) -> str:
        """A pod that waits changed, which may help it; one that is unknown is added. Gives where it is."""

    def delete(self, pod: PodInfo) -> bool:
        """Forget a pod, which if it is in flight won't come back; False if there is none."""

    def activate(self, pod: PodInfo) -> bool:
        """Let a pod be popped now; False if it waits for nothing, or is held or unknown."""

    def move_on(self, event: Event) -> int:
        """Something happened in the cluster; gives how many pods it lets try again."""

    def next_flush_ns(self) -> int | None:
        """When time alone lets a pod try again, None if it never does."""


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


class Change(NamedTuple):
    """A verb that a state carried out, on one row or on many.

    verb      : NODE_ADDED, BOUND, ...: see k8slab.state.VERBS
    pod_rows  : int64[]  -1 where no pod is meant
    node_rows : int64[]  -1 where no node is meant
    value     : what the verb set, as the journal has it
    devices   : int64[]  of BOUND, the devices that each pod got, as bits; None where no node has any
    """

    time_ns: int
    verb: str
    pod_rows: Ints
    node_rows: Ints
    value: int
    devices: Ints | None = None


@runtime_checkable
class ClusterStatePort(Protocol):
    """The cluster as columns, and the verbs that write them: what whole batches are decided on.

    A repository that is a window on a state offers it as `state`. Rows are as in the
    columns; `lock` is held from reading columns to acting on them. A verb that raises
    has changed nothing. `changes(since)` tells all that was done but the first `since`
    verbs, `version` how many they are. See k8slab.state.ClusterState for each.
    """

    @property
    def schema(self) -> ResourceSchema: ...
    @property
    def lock(self) -> AbstractContextManager[Any]: ...
    @property
    def version(self) -> int: ...
    @property
    def objects(self) -> ApiObjects: ...

    # nodes
    @property
    def node_count(self) -> int: ...
    @property
    def node_names(self) -> Names: ...
    @property
    def node_alive(self) -> npt.NDArray[np.bool_]: ...
    @property
    def node_state(self) -> npt.NDArray[np.int8]: ...
    @property
    def allocatable(self) -> Ints: ...
    @property
    def requested(self) -> Ints: ...
    @property
    def foreign(self) -> Ints: ...

    # pods
    @property
    def pod_count(self) -> int: ...
    @property
    def lowest_priority(self) -> int: ...
    @property
    def pod_alive(self) -> npt.NDArray[np.bool_]: ...
    @property
    def pod_phase(self) -> npt.NDArray[np.int8]: ...
    @property
    def pod_node(self) -> Codes32: ...
    @property
    def pod_last_node(self) -> Codes32: ...
    @property
    def pod_priority(self) -> Codes32: ...
    @property
    def pod_request(self) -> Ints: ...
    @property
    def pod_leaving(self) -> npt.NDArray[np.int8]: ...
    @property
    def pod_owner(self) -> Codes32: ...
    @property
    def pod_started(self) -> Ints: ...
    @property
    def pod_runs_ns(self) -> Ints: ...
    @property
    def pod_ready_ns(self) -> Ints: ...
    @property
    def pod_unready_ns(self) -> Ints: ...
    @property
    def pod_restarts(self) -> Codes32: ...

    # what is read of them
    def node_name(self, node_row: int) -> str: ...
    def pod_name(self, pod_row: int) -> str: ...
    def node_row(self, name: str) -> int: ...
    def pod_row(self, name: str) -> int: ...
    def node_columns(self) -> NodeColumns: ...
    def node_taints(self, node_row: int) -> Taints: ...
    def pod_columns(self, pod_rows: npt.NDArray[Any] | None = None) -> PodColumns: ...
    def pending_rows(self) -> Ints: ...
    def pods_on(self, node_row: int | Ints) -> Ints: ...
    def node_label(self, key: str) -> Codes[str] | None: ...
    def changes(self, since: int) -> Sequence[Change]: ...
    def touched(self, since: int) -> Ints: ...

    # verbs on nodes
    def set_node_state(self, node_row: int, code: int) -> None: ...
    def update_node(
        self,
        node_row: int,
        *,
        allocatable: npt.ArrayLike | None = None,
        taints: Taints | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None: ...
    def remove_node(self, node_row: int) -> None: ...
    def set_objects(self, objects: ApiObjects) -> None: ...

    # verbs on pods
    def add_pods(
        self,
        names: Names | Iterable[str],
        requests: npt.ArrayLike,
        *,
        namespaces: Codes[str] | None = None,
        tolerations: Codes[Tolerations] | None = None,
        priority: npt.ArrayLike | None = None,
        labels: Mapping[str, Codes[str]] | None = None,
        specs: Codes[PodSpec] | None = None,
        leaving: npt.ArrayLike = 0,
        started_ns: npt.ArrayLike = NOT_STARTED,
        owner: npt.ArrayLike = -1,
        startup_ns: npt.ArrayLike = 0,
        arrived: bool = True,
    ) -> Ints: ...
    def update_pod(self, pod_row: int, *, request: npt.ArrayLike | None = None, force: bool = False) -> None: ...
    def arrive(self, pod_rows: int | Ints) -> None: ...
    def bind(
        self, pod_rows: int | Ints, node_rows: int | Ints, *, devices: npt.ArrayLike | None = None, force: bool = False
    ) -> None: ...
    def unbind(self, pod_rows: int | Ints) -> None: ...
    def nominate(self, pod_rows: int | Ints, node_rows: int | Ints) -> None: ...
    def set_leaving(self, pod_rows: int | Ints, code: int) -> None: ...
    def set_ready(self, pod_rows: int | Ints, at_ns: int) -> None: ...
    def restart(self, pod_rows: int | Ints, at_ns: int) -> None: ...
    def finish(self, pod_rows: int | Ints, code: int = ...) -> None: ...
    def remove_pods(self, pod_rows: int | Ints) -> None: ...


class IntentPort(TimePort, Protocol):
    """Where what changes the cluster is decided: by one member, for all of them.

    `now()` is the time of the decision while one is carried out, so that all members stamp the same.
    """

    def register(self, verb: str, act: Callable[..., Any]) -> None:
        """How this member carries out decisions of this name: the same way as every other."""

    def keep(self, part: str, take: Callable[[], Any], put: Callable[[Any], object]) -> None:
        """What intents make, for snapshots: `take` gives a copy of it, `put` has it from one, in place of what is here.

        Parts are put back in the order in which they came to be kept.
        """

    def decide(self, verb: str, *arguments: Any, **named: Any) -> Any:
        """Have it decided and carry it out here; gives what that gives, or raises what that raises.

        While another decision is carried out, this is a part of it. NotLeader unless this member leads,
        NotCommitted where that can't be said in time.
        """


# -- loops, and what they need -----------------------------------------------------


class ControllerPort(Protocol):
    """A control loop: it reads the state, decides by pure rules, and acts through the state's verbs.

    The same object runs live and simulated: it is called with the time and asks no clock.
    `k8slab.application.Calendar` calls it, with the state's lock held.

    name : unique in a calendar; its stream of draws and its rows in the frames go by it
    rank : its place among those that are due at one instant: see k8slab.application.calendar.Rank

    One that sets `heeds_pods = False` is not woken by pods that merely come, are bound and
    succeed, though the state's version moves; long stretches of that may then be lived through at once.
    With `heeds_waiting = True` beside it is woken by pods that find no node, and such an instant isn't.
    One that sets `heeds_nodes = False` is not woken by nodes that join.
    """

    @property
    def name(self) -> str: ...
    @property
    def rank(self) -> int: ...

    def next_ns(self, now_ns: int) -> int | None:
        """When it is due: `now_ns` or before for at once, None if nothing is due unless something changes.

        Asked often, after every instant: it must cost a microsecond.
        """

    def run_once(self, now_ns: int) -> None:
        """Do what is due. After it `next_ns(now_ns)` lies ahead, unless somebody acted since."""


class HeartbeatPort(Protocol):
    """What a failure detector holds of nodes, told when it changes: by arithmetic in a simulation, by reports live."""

    def next_ns(self, now_ns: int) -> int | None:
        """When it holds another opinion of some node next, if nothing comes before; None if it won't."""

    def take(self, now_ns: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """int64[C] and bool[C]: the nodes of which its opinion changed up to now, in order, and whether it suspects."""


class EventSinkPort(Protocol):
    """Where loops tell what they did, as rows of tidy tables."""

    def emit(self, table: str, **columns: Any) -> None:
        """Add rows to a table of k8slab.domain.run_tables; values are scalars or arrays of one length.

        Every column of the table is named; telling changes nothing that is simulated.
        """


class UsagePort(Protocol):
    """What pods use, as a metrics server would say: known by arithmetic in a simulation, measured live."""

    def usage(self, pod_rows: Ints, now_ns: int) -> Ints:
        """int64[n, R]: what these pods use now, in the resources' units; 0 for those that don't run."""


class MetricsPort(Protocol):
    """What the metrics APIs answer. MetricUnavailable where there is no answer.

    An instant of NEVER says that there is no sample of a pod.
    """

    @property
    def window_ns(self) -> int:
        """Over how long a sample is averaged."""

    def resources(self, pod_rows: Ints, resources: Sequence[int], now_ns: int) -> tuple[Ints, Ints]:
        """int64[C, n] and int64[n]: what these pods used of these, in their units, and when each was looked at."""

    def containers(self, container: str, pod_rows: Ints, resource: int, now_ns: int) -> tuple[Ints, Ints, Ints]:
        """int64[n] three times: what the container of this name of each pod used and requests, and when."""

    def pods(self, name: str, pod_rows: Ints, now_ns: int) -> tuple[Ints, Ints]:
        """int64[n] and int64[n]: a custom metric of these pods, in thousandths, and when each was looked at."""

    def values(self, name: str, now_ns: int) -> tuple[int, ...]:
        """The series of a metric of an object or from outside, in thousandths."""

    def steady_until_ns(self, now_ns: int) -> int:
        """Until when all answers stay as they are while no pod changes; `now_ns` where they change by themselves."""


class ScalePort(Protocol):
    """The scale of workloads that are kept at a number of pods, by the number of the workload."""

    def owner(self, name: str) -> int:
        """The number of the workload of this name; raises UnknownName if there is none."""

    def replicas(self, owner: int) -> int:
        """How many pods the workload should have (spec.replicas)."""

    def all_replicas(self) -> Ints:
        """int64[workloads]: the same of each."""

    def pods(self, owner: int) -> Ints:
        """int64[]: rows of the pods that the workload has now, in the order they were added."""

    def members(self) -> tuple[Ints, Codes32]:
        """int64[] and int32[]: the pods that all workloads have now, and the workload of each; the same arrays
        until one comes or goes."""

    def scale(self, owner: int, replicas: int) -> None:
        """Ask for another number of pods; they come and go when the workload's controller runs next."""
