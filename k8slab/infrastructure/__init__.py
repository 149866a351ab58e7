"""The adapters: repositories in memory, clocks, sources of health."""

from k8slab.infrastructure.clocks import VirtualClock, WallClock
from k8slab.infrastructure.health import FaultModel, ReportedHealth
from k8slab.infrastructure.in_memory_node_repository import InMemoryNodeRepository
from k8slab.infrastructure.in_memory_pod_repository import InMemoryPodRepository
from k8slab.infrastructure.local_network import LocalNetwork

__all__ = [
    "FaultModel",
    "InMemoryNodeRepository",
    "InMemoryPodRepository",
    "LocalNetwork",
    "ReportedHealth",
    "VirtualClock",
    "WallClock",
]
