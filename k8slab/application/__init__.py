"""The services: decide by pure rules, act through the ports."""

from k8slab.application.auto_scaler import AutoScaler
from k8slab.application.consensus_manager import ConsensusManager
from k8slab.application.control_loop import ControlLoop
from k8slab.application.health_monitor import HealthMonitor
from k8slab.application.pod_scheduler import PodScheduler
from k8slab.application.queued_scheduler import Attempt, QueuedScheduler
from k8slab.application.scheduling_queue import SchedulingQueue
from k8slab.application.self_healer import SelfHealer

__all__ = [
    "Attempt", "AutoScaler", "ConsensusManager", "ControlLoop", "HealthMonitor", "PodScheduler", "QueuedScheduler",
    "SchedulingQueue", "SelfHealer",
]  # fmt: skip
