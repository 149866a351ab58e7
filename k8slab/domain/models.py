"""The entities of the orchestration API: small mutable values, read from and saved to repositories.

An entity is a snapshot: changing one changes nothing else until it is saved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final


def utc_now() -> datetime:
    """The present, in UTC: what a new entity is stamped with when nothing else is said."""
    return datetime.now(UTC)


class PodPhase(Enum):
    """Where a pod is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class NodeState(Enum):
    """Whether a node can take pods: only a ready one can."""

    READY = "ready"
    NOT_READY = "not_ready"
    UNKNOWN = "unknown"
    CORDONED = "cordoned"


class ConsensusRole(Enum):
    """What a member of a Raft cluster is at the moment."""

    LEADER = "leader"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"


class ScalingDirection(Enum):
    """Which way a deployment goes, by one replica."""

    UP = "up"
    DOWN = "down"
    NONE = "none"


# In columns a phase or state is its index here.
POD_PHASES: Final = tuple(PodPhase)
NODE_STATES: Final = tuple(NodeState)


@dataclass
class Pod:
    """One pod: what it asks for, where it is, how it fares.

    node_id     : the node it is on, "" for none
    cpu_*       : cores
    memory_*    : MiB
    tolerations : "key=value:Effect", "key=value", "key:Effect", "key" (any value), "*" (any key)
    priority    : of several pods that wait, the highest is placed first
    """

    pod_id: str
    name: str
    namespace: str
    node_id: str
    phase: PodPhase
    container_image: str
    replicas: int = 1
    cpu_request: float = 0.5
    memory_request: float = 512
    cpu_limit: float = 1.0
    memory_limit: float = 1024
    restart_count: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    created_at: datetime = field(default_factory=utc_now)
    last_restart: datetime | None = None
    tolerations: list[str] = field(default_factory=list)
    priority: int = 0


@dataclass
class Node:
    """One node: what it has, what of it is in use, and by which pods.

    cpu_*       : cores
    memory_*    : MiB
    *_used      : requests of its pods, and any usage that no known pod explains
    pods        : ids
    taints      : "key=value:Effect", "key=value", "key:Effect", "key"; NoSchedule if no effect is said
    """

    node_id: str
    name: str
    state: NodeState
    cpu_capacity: float = 16.0
    memory_capacity: float = 64000
    cpu_allocatable: float = 15.0
    memory_allocatable: float = 60000
    cpu_used: float = 0
    memory_used: float = 0
    pods: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    taints: list[str] = field(default_factory=list)
    last_heartbeat: datetime = field(default_factory=utc_now)


@dataclass
class RaftState:
    """What a member of a Raft cluster knows.

    log              : the caller's entries in order; each has its `term` and `index` (from 1) beside
                       the caller's own keys, which win where they are the same
    commit_index     : entries up to this one are decided
    election_timeout : seconds without a leader before an election, at least
    """

    node_id: str
    role: ConsensusRole
    term: int = 0
    voted_for: str | None = None
    commit_index: int = 0
    last_applied: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    votes_received: set[str] = field(default_factory=set)
    election_timeout: float = 5.0
    last_heartbeat_time: datetime = field(default_factory=utc_now)


@dataclass
class AutoScalingConfig:
    """How a deployment, the pods of a namespace whose names start with its name, is scaled.

    target_*        : percent of the limits that the requests of running pods should come to
    *_cooldown      : seconds since the last step, in either direction
    last_scale_time : set by the scaler
    """

    config_id: str
    deployment_name: str
    namespace: str
    min_replicas: int = 2
    max_replicas: int = 10
    target_cpu_utilization: float = 70.0
    target_memory_utilization: float = 80.0
    scale_up_cooldown: float = 60
    scale_down_cooldown: float = 300
    last_scale_time: datetime | None = None


@dataclass
class SelfHealingEvent:
    """What the healer saw and did.

    event_type : "pod_failure" or "node_evacuation"
    """

    event_id: str
    timestamp: datetime
    event_type: str
    pod_id: str
    node_id: str
    description: str
    action_taken: str
    success: bool
    metadata: dict[str, Any] = field(default_factory=dict)
