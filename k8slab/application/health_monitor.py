"""The health monitor: notices failed pods and silent nodes, and calls whoever acts on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np

from k8slab.application.background import BackgroundLoop
from k8slab.application.lazy_pods import LazyPods
from k8slab.application.ledger import lock_of, state_of
from k8slab.domain.detectors import FailureDetector, FixedTimeout
from k8slab.domain.instants import SECOND_NS, UtcTime, from_ns, to_ns
from k8slab.domain.models import POD_PHASES, Node, NodeState, Pod, PodPhase
from k8slab.domain.ports import HealthSourcePort, NodeRepositoryPort, PodRepositoryPort, TimePort

HEARTBEAT_TIMEOUT_NS: Final = 30 * SECOND_NS
INTERVAL_S: Final = 10.0
_FAILED: Final = POD_PHASES.index(PodPhase.FAILED)


class _NoNews:
    """The health source of a monitor that is given none: only what is saved counts."""

    def failed_pods(self, running: Sequence[Pod], now_ns: int) -> Collection[str]:
        return ()

    def heard_from(self, nodes: Sequence[Node], now_ns: int) -> Collection[str]:
        return ()


class HealthMonitor:
    """Calls back when a pod has failed, or a ready node hasn't been heard from for 30 s.

    on_pod_failure(pod), on_node_failure(node) : called outside all locks, with fresh
    values, once a failure
    health : says what failed and who was heard from; without one, a pod has failed when
             it is saved as FAILED, and a node was heard from at its saved last_heartbeat
    detector : when a silent node is given up, by the instants at which it was heard from; by
             default after 30 s
    """

    def __init__(
        self,
        pod_repo: PodRepositoryPort,
        node_repo: NodeRepositoryPort,
        on_pod_failure: Callable[[Pod], object] | None = None,
        on_node_failure: Callable[[Node], object] | None = None,
        *,
        health: HealthSourcePort | None = None,
        clock: TimePort | None = None,
        detector: FailureDetector | None = None,
    ) -> None:
        self._pods = pod_repo
        self._nodes = node_repo
        self._lock = lock_of(node_repo)
        self._on_pod_failure = on_pod_failure
        self._on_node_failure = on_node_failure
        self._health: HealthSourcePort = health if health is not None else _NoNews()
        self._clock = clock if clock is not None else UtcTime()
        self._detector = detector if detector is not None else FixedTimeout(HEARTBEAT_TIMEOUT_NS)
        self._arrivals: dict[str, list[int]] = {}
        self._told: set[tuple[str, int]] = set()
        self._loop = BackgroundLoop(self.check, INTERVAL_S, "k8slab-health")

    def check(self) -> None:
        """Look at all pods and all nodes once."""
        self.check_pod_health()
        self.check_node_health()

    def check_pod_health(self) -> None:
        """Save as FAILED what the health source says has failed, and call back for every new failure."""
        for pod in self._newly_failed():
            if self._on_pod_failure is not None:
                self._on_pod_failure(pod)
            self._forget_if_healed(pod)

    def check_node_health(self) -> None:
        """Save heartbeats that came; save ready nodes silent for over 30 s as NOT_READY, and call back for each."""
        for node in self._fallen_silent():
            if self._on_node_failure is not None:
                self._on_node_failure(node)

    def start_monitoring(self) -> None:
        """Check every 10 s in a daemon thread, until stop_monitoring() or until nobody holds the monitor."""
        self._loop.start()

    def stop_monitoring(self) -> None:
        """End the thread that start_monitoring() began, if any; returns when it has ended."""
        self._loop.stop()

    def _newly_failed(self) -> list[Pod]:
        with self._lock:
            asked = LazyPods(lambda: [pod for pod in self._pods.list_pods() if pod.phase is PodPhase.RUNNING])
            reported = set(self._health.failed_pods(asked, self._clock.now()))
            if not reported and self._none_failed():
                self._told = set()
                return []
            pods = self._pods.list_pods()
            running = [pod for pod in pods if pod.phase is PodPhase.RUNNING]
            for pod in running:
                if pod.pod_id in reported:
                    self._pods.update_pod_phase(pod.pod_id, PodPhase.FAILED)
                    pod.phase = PodPhase.FAILED
            failed = {(pod.pod_id, pod.restart_count): pod for pod in pods if pod.phase is PodPhase.FAILED}
            new = [pod for key, pod in failed.items() if key not in self._told]
            self._told = set(failed)
            return new

    def _none_failed(self) -> bool:
        """Whether the columns say that no pod is FAILED; False where there are none to ask."""
        state = state_of(self._pods)
        return state is not None and not (state.pod_alive & (state.pod_phase == _FAILED)).any()

    def _forget_if_healed(self, pod: Pod) -> None:
        # Healed at once, it can fail again before the next check, and that is another failure.
        with self._lock:
            now = self._pods.get_pod(pod.pod_id)
            if now is None or now.phase is not PodPhase.FAILED:
                self._told = {key for key in self._told if key[0] != pod.pod_id}

    def _fallen_silent(self) -> list[Node]:
        with self._lock:
            now = self._clock.now()
            nodes = self._nodes.list_nodes()
            heard = set(self._health.heard_from(nodes, now))
            silent = []
            for node in nodes:
                if node.node_id in heard:
                    node.last_heartbeat = from_ns(now)
                    self._nodes.save_node(node)
                self._hear(node)
                if node.node_id not in heard and node.state is NodeState.READY and now > self._deadline(node):
                    node.state = NodeState.NOT_READY
                    self._nodes.save_node(node)
                    silent.append(node)
            known = {node.node_id for node in nodes}
            self._arrivals = {node_id: at for node_id, at in self._arrivals.items() if node_id in known}
            return silent

    def _hear(self, node: Node) -> None:
        """Keep in mind when the node was heard from last, and as much of before as the detector goes by."""
        arrivals = self._arrivals.setdefault(node.node_id, [])
        at_ns = to_ns(node.last_heartbeat)
        if not arrivals or at_ns != arrivals[-1]:
            # One that was saved with an earlier heartbeat began anew.
            arrivals[:] = [*(at for at in arrivals if at < at_ns), at_ns][-self._detector.memory :]

    def _deadline(self, node: Node) -> int:
        return int(self._detector.deadlines(np.array(self._arrivals[node.node_id], dtype=np.int64))[-1])
