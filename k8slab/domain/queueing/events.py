"""What the queue knows of pods and nodes, and what may happen to them, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from k8slab.domain.columns import NodeColumns, PodColumns, Taints, Tolerations
from k8slab.domain.pod_spec import PLAIN, PodSpec
from k8slab.errors import InputError

Amounts = Mapping[str, int]


@dataclass(frozen=True)
class PodInfo:
    """A pod, waiting or bound.

    uid       : tells it from others of its name over time; "" where the name does
    requests  : by resource, in the resource's unit; what is missing is 0
    node      : where it is bound, "" while it waits
    nominated : the node it was promised, "" for none
    row       : its row in the state, for whoever keeps pods in columns; -1 for none

    >>> PodInfo("web-0", "shop").key
    'shop/web-0'
    """

    name: str
    namespace: str = "default"
    uid: str = ""
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: Tolerations = ()
    requests: Amounts = field(default_factory=dict)
    spec: PodSpec = PLAIN
    node: str = ""
    nominated: str = ""
    row: int = -1
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not -(2**31) <= self.priority < 2**31:
            raise InputError(f"pod {self.namespace}/{self.name}: priority is {self.priority}, wanted an int32")
        object.__setattr__(self, "key", self.uid or f"{self.namespace}/{self.name}")


@dataclass(frozen=True)
class NodeInfo:
    """A node.

    allocatable : by resource, in the resource's unit, "pods" among them; what is missing is 0
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Taints = ()
    unschedulable: bool = False
    allocatable: Amounts = field(default_factory=dict)


def pod_info(pods: PodColumns, pod: int, node: str = "", nominated: str = "") -> PodInfo:
    """One pod of the columns; its row is the run's, not that of these columns."""
    requests = dict(zip(pods.schema.names, pods.requests[pod].tolist(), strict=True))
    return PodInfo(
        name=pods.names[pod],
        namespace=pods.namespaces[pod] or "default",
        priority=int(pods.priority[pod]),
        labels=pods.labels_of(pod),
        tolerations=pods.tolerations[pod] or (),
        requests=requests,
        spec=pods.spec(pod),
        node=node,
        nominated=nominated,
        row=int(pods.rows[pod]),
    )


def node_info(nodes: NodeColumns, node_row: int) -> NodeInfo:
    """One node of the columns; one that isn't ready counts as cordoned."""
    labels = {key: column[node_row] for key, column in nodes.labels.items()}
    return NodeInfo(
        name=nodes.names[node_row],
        labels={key: value for key, value in labels.items() if value is not None},
        taints=nodes.taints[node_row] or (),
        unschedulable=not bool(nodes.schedulable[node_row]),
        allocatable=dict(zip(nodes.schema.names, nodes.allocatable[:, node_row].tolist(), strict=True)),
    )


# -- events ----------------------------------------------------------------------


@dataclass(frozen=True)
class NodeAdded:
    """A node came."""

    node: NodeInfo


@dataclass(frozen=True)
class NodeUpdated:
    """A node changed. Heartbeats and what else no filter looks at make no event."""

    before: NodeInfo
    after: NodeInfo


@dataclass(frozen=True)
class NodeDeleted:
    """A node went."""

    node: NodeInfo


@dataclass(frozen=True)
class PodAdded:
    """A pod was bound, here or by another scheduler."""

    pod: PodInfo


@dataclass(frozen=True)
class PodUpdated:
    """A bound pod changed; SchedulingQueue.update() makes it of one that waits."""

    before: PodInfo
    after: PodInfo


@dataclass(frozen=True)
class PodDeleted:
    """A bound pod went, or one that held a node by nomination alone, or a binding failed."""

    pod: PodInfo


@dataclass(frozen=True)
class Forced:
    """No object changed: pods are moved whatever refused them. key : the only pod meant, None for all."""

    key: str | None = None


Event = NodeAdded | NodeUpdated | NodeDeleted | PodAdded | PodUpdated | PodDeleted | Forced
Kinds = frozenset[str]

# What plug-ins register for: Kubernetes' resource and action, most specific first.
NODE_ADD: Final = "Node/Add"
NODE_DELETE: Final = "Node/Delete"
NODE_ALLOCATABLE: Final = "Node/UpdateNodeAllocatable"
NODE_LABEL: Final = "Node/UpdateNodeLabel"
NODE_TAINT: Final = "Node/UpdateNodeTaint"
POD_ADD: Final = "Pod/Add"
POD_DELETE: Final = "Pod/Delete"
POD_LABEL: Final = "Pod/UpdatePodLabel"
POD_SCALE_DOWN: Final = "Pod/UpdatePodScaleDown"
POD_TOLERATION: Final = "Pod/UpdatePodToleration"
POD_GATES_ELIMINATED: Final = "Pod/UpdatePodSchedulingGatesEliminated"
POD_UPDATE: Final = "Pod/Update"
FORCED: Final = "*"


def kinds_of(event: Event) -> Kinds:
    """The kinds of event that it is; none where nothing changed that a plug-in could register for.

    >>> small, large = NodeInfo("n", allocatable={"cpu": 1}), NodeInfo("n", allocatable={"cpu": 2})
    >>> sorted(kinds_of(NodeUpdated(small, large)))
    ['Node/UpdateNodeAllocatable']
    """
    match event:
        case NodeUpdated(before, after):
            return _node_changes(before, after)
        case PodUpdated(before, after):
            return _pod_changes(before, after)
    return frozenset({_PLAIN_KINDS[type(event)]})


_PLAIN_KINDS: Final[Mapping[type, str]] = {
    NodeAdded: NODE_ADD, NodeDeleted: NODE_DELETE, PodAdded: POD_ADD, PodDeleted: POD_DELETE, Forced: FORCED,
}  # fmt: skip


def _node_changes(before: NodeInfo, after: NodeInfo) -> Kinds:
    changes = {
        NODE_ALLOCATABLE: before.allocatable != after.allocatable,
        NODE_LABEL: before.labels != after.labels,
        # Uncordoning counts as a change of taints, cordoning as nothing.
        NODE_TAINT: before.taints != after.taints or (before.unschedulable and not after.unschedulable),
    }
    return frozenset(kind for kind, changed in changes.items() if changed)


def _pod_changes(before: PodInfo, after: PodInfo) -> Kinds:
    changes = {
        POD_LABEL: before.labels != after.labels,
        POD_SCALE_DOWN: any(after.requests.get(name, 0) < amount for name, amount in before.requests.items()),
        POD_GATES_ELIMINATED: bool(before.spec.gates) and not after.spec.gates,
        # By number, as kube-scheduler does: the API server lets one be added, none be changed.
        POD_TOLERATION: len(before.tolerations) != len(after.tolerations),
    }
    found = frozenset(kind for kind, changed in changes.items() if changed)
    return found or (frozenset({POD_UPDATE}) if before != after else frozenset())
