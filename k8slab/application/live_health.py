"""Nodes and pods of a live cluster watched and healed by the controllers that simulations run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from k8slab.application.calendar import Rank, Ticks
from k8slab.application.evictor import Evictor
from k8slab.application.lazy_pods import LazyPods
from k8slab.application.node_health import NodeHealthMonitor
from k8slab.application.node_lifecycle import NodeLifecycleController
from k8slab.application.pod_prober import PodProber, ready_after
from k8slab.application.pod_restarts import PodRestarts
from k8slab.application.workload_controller import WorkloadController
from k8slab.domain.columns import Ints
from k8slab.domain.models import Pod
from k8slab.domain.node_lifecycle.node_taints import UNSCHEDULABLE
from k8slab.domain.ports import (
    ClusterStatePort,
    ControllerPort,
    EventSinkPort,
    HealthSourcePort,
    HeartbeatPort,
    IntentPort,
    PodRepositoryPort,
)
from k8slab.domain.probe_times import Probes
from k8slab.domain.replicas import replicate
from k8slab.errors import UnknownName


class PodNews:
    """Asks a health source every so often which containers have ended, and has them restarted.

    pods : as the source is asked about them
    """

    name = "pod-news"
    rank: int = Rank.KUBELET

    def __init__(
        self,
        state: ClusterStatePort,
        pods: PodRepositoryPort,
        health: HealthSourcePort,
        exited: Callable[[Ints, str, int], object],
        period_ns: int,
        start_ns: int,
    ) -> None:
        self._state = state
        self._pods = pods
        self._health = health
        self._exited = exited
        self._ticks = Ticks(period_ns, start_ns)

    def next_ns(self, now_ns: int) -> int | None:
        return self._ticks.next_ns

    def run_once(self, now_ns: int) -> None:
        self._ticks.take(now_ns)
        state = self._state
        failed = self._health.failed_pods(LazyPods(lambda: self._running(now_ns)), now_ns)
        if failed:
            rows = np.array(sorted(state.pod_row(pod_id) for pod_id in failed), dtype=np.int64)
            self._exited(rows, "Error", now_ns)

    def _running(self, now_ns: int) -> list[Pod]:
        state = self._state
        runs = state.pod_alive & (state.pod_node >= 0) & (state.pod_runs_ns <= now_ns)
        names = {state.pod_name(row) for row in np.flatnonzero(runs).tolist()}
        return [pod for pod in self._pods.list_pods() if pod.pod_id in names]


class LiveHealth:
    """The loops: node health and lifecycle, taint-based eviction, probes, restarts with their back-off.

    probes     : workload -> its containers' probes
    move_after : so many restarts on one node, and a pod is placed anew; None, as in Kubernetes, for never

    A node that is given up keeps the pods of workloads until it is heard from again, as nobody is there to end them.
    """

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        workloads: WorkloadController,
        evictor: Evictor,
        heartbeats: HeartbeatPort,
        *,
        detector: str,
        probes: Mapping[str, Probes],
        move_after: int | None = None,
    ) -> None:
        self._state = state
        self._evictor = evictor
        self._probes: dict[int, Probes] = {}
        for name, own in probes.items():
            if name not in workloads.names:
                raise UnknownName("workload", name, workloads.names, "In probes.")
            owner = workloads.owner(name)
            workloads.set_ready_after(owner, ready_after(own, 0, f"probes of {name!r}"))
            self._probes[owner] = own
        self.restarts = PodRestarts(state, sink, move_after=move_after, move=evictor.delete)
        self.prober = PodProber(state, sink, self.restarts, self._probes_of, lambda row: 0)
        self._lifecycle = NodeLifecycleController(state, sink, evictor)
        self._monitor = NodeHealthMonitor(
            state, heartbeats, sink, detector=detector, cordoned=self._cordoned, watchers=(self._told,)
        )
        self.controllers: tuple[ControllerPort, ...] = (self.prober, self._monitor, self._lifecycle)

    def join(self, intents: IntentPort) -> None:
        """Watch alike with others from now on. Who is heard from, and what has ended, is known where that is asked."""
        replicate(self, "containers", intents, verbs=("exited",), memory=())
        replicate(self.restarts, "restarts", intents, memory=PodRestarts.MEMORY)
        replicate(self.prober, "prober", intents, verbs=PodProber.VERBS, memory=PodProber.MEMORY)
        monitor, lifecycle = NodeHealthMonitor, NodeLifecycleController
        replicate(self._monitor, "node-health", intents, verbs=monitor.VERBS, memory=monitor.MEMORY)
        replicate(self._lifecycle, "node-lifecycle", intents, verbs=lifecycle.VERBS, memory=lifecycle.MEMORY)

    def exited(self, rows: Ints, reason: str, now_ns: int) -> None:
        """These containers ended."""
        self.restarts.exited(rows, reason, now_ns)

    def _told(self, row: int, suspected: bool, now_ns: int) -> None:
        if suspected:
            self._evictor.lose(row)
        else:
            self._evictor.regain(row, now_ns)
        self._lifecycle.changed(row, now_ns)

    def _cordoned(self, row: int) -> bool:
        return any(taint.key == UNSCHEDULABLE for taint in self._state.node_taints(row))

    def _probes_of(self, row: int) -> Probes | None:
        return self._probes.get(int(self._state.pod_owner[row]))
