"""The adapters: repositories in memory, clocks, sources of health."""

from k8slab.infrastructure.clocks import VirtualClock, WallClock
from k8slab.infrastructure.health import FaultModel, ReportedHealth
from k8slab.infrastructure.in_memory_node_repository import InMemoryNodeRepository
from k8slab.infrastructure.in_memory_pod_repository import InMemoryPodRepository

__all__ = [
    "FaultModel",
    "InMemoryNodeRepository",
    "InMemoryPodRepository",
    "ReportedHealth",
    "VirtualClock",
    "WallClock",
]
