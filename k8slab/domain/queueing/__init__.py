"""Which pod is tried next, and when one that found no node is tried again: kube-scheduler's queue.

PodQueue holds the pods and takes the time as an argument; events and hints say what may
help whom. `k8slab.application.SchedulingQueue` is the same with a clock.
"""

from k8slab.domain.queueing.backoff import Backoff
from k8slab.domain.queueing.events import (
    Event,
    NodeAdded,
    NodeDeleted,
    NodeInfo,
    NodeUpdated,
    PodAdded,
    PodDeleted,
    PodInfo,
    PodUpdated,
    node_info,
    pod_info,
)
from k8slab.domain.queueing.hints import Hints, Registration, hint, in_tree_hints
from k8slab.domain.queueing.queue import PodQueue, QueuedPodInfo

__all__ = [
    "Backoff",
    "Event",
    "Hints",
    "NodeAdded",
    "NodeDeleted",
    "NodeInfo",
    "NodeUpdated",
    "PodAdded",
    "PodDeleted",
    "PodInfo",
    "PodQueue",
    "PodUpdated",
    "QueuedPodInfo",
    "Registration",
    "hint",
    "in_tree_hints",
    "node_info",
    "pod_info",
]
