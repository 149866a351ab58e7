"""Which nodes are unneeded, and which of those may go now. Pure.

After core/scaledown/eligibility and core/scaledown/unneeded. Reasons are upstream's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from k8slab.domain.cluster_autoscaler.utilization import NodePod, Skipped, node_utilization
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

BEING_DELETED_NS: Final = 300 * SECOND_NS
UTILIZATION_THRESHOLD: Final = 0.5
UNNEEDED_NS: Final = 600 * SECOND_NS
UNREADY_NS: Final = 1200 * SECOND_NS


class Unremovable(Enum):
    """Why a node stays; the value is upstream's name."""

    NO_REASON = "NoReason"
    BEING_DELETED = "CurrentlyBeingDeleted"
    DISABLED = "ScaleDownDisabledAnnotation"
    UNREADY_DISABLED = "ScaleDownUnreadyDisabled"
    NOT_UNDERUTILIZED = "NotUnderutilized"
    NOT_AUTOSCALED = "NotAutoscaled"
    NOT_UNNEEDED_LONG_ENOUGH = "NotUnneededLongEnough"
    NOT_UNREADY_LONG_ENOUGH = "NotUnreadyLongEnough"
    MIN_SIZE_REACHED = "NodeGroupMinSizeReached"
    MINIMAL_LIMIT = "MinimalResourceLimitExceeded"
    UNEXPECTED_ERROR = "UnexpectedError"


@dataclass(frozen=True)
class Candidate:
    """A node that scaling down looks at.

    to_be_deleted_ns    : when the autoscaler tainted it to delete it, None if it didn't
    scale_down_disabled : its annotation says so
    """

    name: str
    allocatable: Mapping[str, int]
    pods: Sequence[NodePod] = ()
    ready: bool = True
    to_be_deleted_ns: int | None = None
    scale_down_disabled: bool = False
    has_gpu: bool = False


@dataclass(frozen=True)
class EligibilityConfig:
    """Flags of eligibility."""

    utilization_threshold: float = UTILIZATION_THRESHOLD
    scale_down_unready_enabled: bool = True
    skipped: Skipped = field(default_factory=Skipped)


def eligibility(node: Candidate, config: EligibilityConfig, now_ns: int) -> Unremovable:
    """Why the node isn't even tried, NO_REASON if it is.

    A taint older than five minutes is that of a deletion which came to nothing. Utilization
    at the threshold is allowed, and any on an unready node; one that can't be told is an error on both.
    """
    tainted_ns = node.to_be_deleted_ns
    if tainted_ns is not None and now_ns - tainted_ns < BEING_DELETED_NS:
        return Unremovable.BEING_DELETED
    if node.scale_down_disabled:
        return Unremovable.DISABLED
    try:
        found = node_utilization(node.allocatable, node.pods, config.skipped, now_ns, has_gpu=node.has_gpu)
    except InputError:
        return Unremovable.UNEXPECTED_ERROR
    if not node.ready:
        return Unremovable.NO_REASON if config.scale_down_unready_enabled else Unremovable.UNREADY_DISABLED
    within = found.utilization <= config.utilization_threshold
    return Unremovable.NO_REASON if within else Unremovable.NOT_UNDERUTILIZED


@dataclass(frozen=True)
class GroupState:
    """A node group, and how long its nodes must be unneeded; None is a setting that can't be read."""

    target_size: int
    min_size: int = 0
    ongoing_deletions: int = 0
    unneeded_ns: int | None = UNNEEDED_NS
    unready_ns: int | None = UNREADY_NS


@dataclass(frozen=True)
class Unneeded:
    """A node that could go, and since when without interruption."""

    since_ns: int
    ready: bool = True
    scale_down_disabled: bool = False


def removable(
    node: Unneeded, group: GroupState | None, removed: int, now_ns: int, nodes_left: int | None = None
) -> Unremovable:
    """Why an unneeded node stays still, NO_REASON if it may go now.

    group      : None for a node of no group
    removed    : how many of the group were let go in this pass already
    nodes_left : how many more nodes the cluster's minimum lets go, None without one

    It must be unneeded for more than its time, strictly.
    """
    if node.scale_down_disabled:
        return Unremovable.DISABLED
    if group is None:
        return Unremovable.NOT_AUTOSCALED
    wanted_ns = group.unneeded_ns if node.ready else group.unready_ns
    if wanted_ns is None:
        return Unremovable.UNEXPECTED_ERROR
    if node.since_ns + wanted_ns >= now_ns:
        return Unremovable.NOT_UNNEEDED_LONG_ENOUGH if node.ready else Unremovable.NOT_UNREADY_LONG_ENOUGH
    if group.target_size - removed - group.ongoing_deletions <= group.min_size:
        return Unremovable.MIN_SIZE_REACHED
    return Unremovable.MINIMAL_LIMIT if nodes_left is not None and nodes_left < 1 else Unremovable.NO_REASON


def removable_at(
    empty: Sequence[Unneeded], drain: Sequence[Unneeded], group: GroupState, now_ns: int
) -> tuple[list[Unneeded], list[Unneeded]]:
    """The nodes of one group that may go now, empty ones before those that must be drained."""
    gone: list[Unneeded] = []
    counts = []
    for nodes in (empty, drain):
        for node in nodes:
            if removable(node, group, len(gone), now_ns) is Unremovable.NO_REASON:
                gone.append(node)
        counts.append(len(gone))
    return gone[: counts[0]], gone[counts[0] :]
