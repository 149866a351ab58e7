"""The control loop: one step of everything that runs by itself."""

from __future__ import annotations

from k8slab.application.consensus_manager import ConsensusManager
from k8slab.application.pod_scheduler import PodScheduler
from k8slab.domain.ports import AutoScalerPort, HealthMonitorPort


class ControlLoop:
    """Drives the services: what failed is noticed and healed, deployments are scaled, what waits is placed."""

    def __init__(
        self,
        monitor: HealthMonitorPort,
        autoscaler: AutoScalerPort,
        scheduler: PodScheduler,
        consensus: ConsensusManager,
    ) -> None:
        self._monitor = monitor
        self._autoscaler = autoscaler
        self._scheduler = scheduler
        self._consensus = consensus

    def step(self) -> None:
        """Once around. Placing comes last, so that what this step made pending needn't wait for the next."""
        self._consensus.send_heartbeats()
        self._monitor.check_pod_health()
        self._monitor.check_node_health()
        self._autoscaler.check_autoscaling()
        self._scheduler.schedule_pending()
