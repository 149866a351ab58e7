"""How full a node is, as scaling down sees it. Pure.

After simulator/utilization/info.go: requests over allocatable, the larger of cpu and memory; of
a node with GPUs, its GPUs alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

LONG_TERMINATING_NS: Final = 30 * SECOND_NS
GPU: Final = "gpu"


@dataclass(frozen=True)
class InitContainer:
    """Its requests; restart policy Always makes it a sidecar."""

    requests: Mapping[str, int]
    restart_always: bool = False


@dataclass(frozen=True)
class NodePod:
    """A pod on the node.

    requests  : of its containers together
    deleted_ns: when its deletion was asked for, None if it wasn't
    """

    requests: Mapping[str, int] = field(default_factory=dict)
    init_containers: tuple[InitContainer, ...] = ()
    daemon_set: bool = False
    mirror: bool = False
    deleted_ns: int | None = None
    grace_seconds: int = 30

    def request(self, resource: str) -> int:
        """What it needs at once: its containers and sidecars, or an init container and the sidecars before it."""
        sidecars = peak = 0
        for init in self.init_containers:
            amount = init.requests.get(resource, 0)
            if init.restart_always:
                sidecars += amount
            else:
                peak = max(peak, sidecars + amount)
        return max(peak, sidecars + self.requests.get(resource, 0))

    def long_terminating(self, now_ns: int) -> bool:
        """Whether it should be gone since half a minute and more."""
        if self.deleted_ns is None:
            return False
        return self.deleted_ns + self.grace_seconds * SECOND_NS + LONG_TERMINATING_NS < now_ns


@dataclass(frozen=True)
class Skipped:
    """Which pods count neither as used nor as capacity: --ignore-{daemonsets,mirror-pods}-utilization."""

    daemon_sets: bool = False
    mirrors: bool = False

    def takes(self, pod: NodePod) -> bool:
        return (self.daemon_sets and pod.daemon_set) or (self.mirrors and pod.mirror)


@dataclass(frozen=True)
class Utilization:
    """The share that decides, and of which resources it is the largest."""

    utilization: float
    by_resource: Mapping[str, float]


def node_utilization(
    allocatable: Mapping[str, int], pods: Iterable[NodePod], skipped: Skipped, now_ns: int, *, has_gpu: bool = False
) -> Utilization:
    """The node's utilization; a GPU that is announced and not allocatable yet counts as idle.

    allocatable : "cpu" in milli, "memory" in bytes, "gpu"

    Raises InputError if cpu or memory isn't allocatable, or is 0.
    """
    on_node = list(pods)
    if has_gpu:
        used = resource_utilization(allocatable, on_node, GPU, skipped, now_ns) if allocatable.get(GPU) else 0.0
        return Utilization(used, {GPU: used})
    shares = {
        resource: resource_utilization(allocatable, on_node, resource, skipped, now_ns)
        for resource in ("cpu", "memory")
    }
    return Utilization(shares["cpu"] if shares["cpu"] > shares["memory"] else shares["memory"], shares)


def resource_utilization(
    allocatable: Mapping[str, int], pods: Iterable[NodePod], resource: str, skipped: Skipped, now_ns: int
) -> float:
    """Requests / allocatable of one resource; what skipped pods request is taken from both."""
    capacity = allocatable.get(resource, 0)
    if capacity == 0:
        raise InputError(f"a node has no allocatable {resource}; its utilization can't be told")
    used = 0
    for pod in pods:
        if skipped.takes(pod):
            capacity -= pod.request(resource)
        elif not pod.long_terminating(now_ns):
            used += pod.request(resource)
    if capacity == 0:
        return math.inf if used else 0.0
    return used / capacity
