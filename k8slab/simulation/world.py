"""The world of one run: what the builders of faults, autoscalers and other loops may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from k8slab.application.calendar import Calendar
from k8slab.application.event_log import EventLog
from k8slab.application.scheduling_controller import SchedulingController
from k8slab.application.workload_controller import WorkloadController
from k8slab.datasets.cluster import Cluster
from k8slab.domain.columns import Ints
from k8slab.domain.streams import Streams
from k8slab.infrastructure.clocks import VirtualClock
from k8slab.simulation.kubelets import Kubelets
from k8slab.simulation.usage import PodUsage
from k8slab.state.cluster_state import ClusterState

if TYPE_CHECKING:
    from k8slab.policies import Policy


@dataclass(eq=False)
class World:
    """One run's state, time, chance and loops.

    until_ns : when the run ends; it begins at 0
    parts    : what one builder leaves for another, by name
    on_join  : called with the rows of nodes that joined, and when; by whoever adds them
    """

    cluster: Cluster
    policy: Policy
    until_ns: int
    state: ClusterState
    clock: VirtualClock
    streams: Streams
    sink: EventLog
    calendar: Calendar
    kubelets: Kubelets
    workloads: WorkloadController
    scheduler: SchedulingController
    usage: PodUsage
    parts: dict[str, Any] = field(default_factory=dict)
    on_join: list[Callable[[Ints, int], None]] = field(default_factory=list)
