"""When a silent node's conditions become Unknown. Pure.

After the node lifecycle controller's tryUpdateNodeHealth. What a node last said is dated by
the controller's own clock: when it first saw the news, not when the node says it wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

GRACE_NS: Final = 50 * SECOND_NS  # 40 s up to Kubernetes 1.31
STARTUP_GRACE_NS: Final = 60 * SECOND_NS
NEVER_UPDATED: Final = "NodeStatusNeverUpdated"
STATUS_UNKNOWN: Final = "NodeStatusUnknown"


@dataclass(frozen=True)
class NodeSight:
    """What the controller reads of a node in one pass.

    ready            : "True", "False" or "Unknown"; None if the node never posted a status
    heartbeat_ns     : of the Ready condition, None with `ready`
    lease_renewed_ns : of the node's lease, None without one
    """

    created_ns: int
    ready: str | None = None
    heartbeat_ns: int | None = None
    lease_renewed_ns: int | None = None

    def __post_init__(self) -> None:
        if (self.ready is None) != (self.heartbeat_ns is None):
            raise InputError(f"{self}: a Ready condition and its heartbeat come together, or neither does")


@dataclass(frozen=True)
class NodeHealth:
    """What the controller remembers of a node: the news it saw last, and when it saw them."""

    heartbeat_ns: int | None
    lease_renewed_ns: int | None
    probe_ns: int


@dataclass(frozen=True)
class HealthChange:
    """What a pass makes of a node; the other conditions become Unknown with Ready.

    pods_not_ready : Ready leaves True, so the node's pods are marked not ready at once
    """

    reason: str
    pods_not_ready: bool
    ready: str = "Unknown"


@dataclass(frozen=True)
class NodeMonitor:
    """The two graces."""

    grace_ns: int = GRACE_NS
    startup_grace_ns: int = STARTUP_GRACE_NS

    def observe(
        self, sight: NodeSight, remembered: NodeHealth | None, now_ns: int
    ) -> tuple[NodeHealth, HealthChange | None]:
        """One pass over one node: what to remember, and the change, if there is one.

        Ready becomes Unknown when now > probe time + grace, strictly. A node that never
        posted a status is dated by its creation and given the startup grace.
        """
        health = _heard(sight, remembered, now_ns)
        grace_ns = self.startup_grace_ns if sight.ready is None else self.grace_ns
        if now_ns <= health.probe_ns + grace_ns or sight.ready == "Unknown":
            return health, None
        if sight.ready is None:
            return health, HealthChange(NEVER_UPDATED, pods_not_ready=False)
        return health, HealthChange(STATUS_UNKNOWN, pods_not_ready=sight.ready == "True")


def _heard(sight: NodeSight, remembered: NodeHealth | None, now_ns: int) -> NodeHealth:
    if remembered is None:
        probe_ns = sight.created_ns if sight.ready is None else now_ns
        health = NodeHealth(sight.heartbeat_ns, None, probe_ns)
    elif remembered.heartbeat_ns != sight.heartbeat_ns:
        health = replace(remembered, heartbeat_ns=sight.heartbeat_ns, probe_ns=now_ns)
    else:
        health = remembered
    renewed_ns, known_ns = sight.lease_renewed_ns, health.lease_renewed_ns
    if renewed_ns is not None and (known_ns is None or known_ns < renewed_ns):
        health = replace(health, lease_renewed_ns=renewed_ns, probe_ns=now_ns)
    return health
