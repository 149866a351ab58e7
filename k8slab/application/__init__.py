"""The services: decide by pure rules, act through the ports. Each loads when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from k8slab.application.auto_scaler import AutoScaler as AutoScaler
    from k8slab.application.consensus_manager import ConsensusManager as ConsensusManager
    from k8slab.application.control_loop import ControlLoop as ControlLoop
    from k8slab.application.health_monitor import HealthMonitor as HealthMonitor
    from k8slab.application.pod_scheduler import PodScheduler as PodScheduler
    from k8slab.application.queued_scheduler import Attempt as Attempt
    from k8slab.application.queued_scheduler import QueuedScheduler as QueuedScheduler
    from k8slab.application.scheduling_queue import SchedulingQueue as SchedulingQueue
    from k8slab.application.self_healer import SelfHealer as SelfHealer

_HOMES = {
    "Attempt": "queued_scheduler",
    "AutoScaler": "auto_scaler",
    "ConsensusManager": "consensus_manager",
    "ControlLoop": "control_loop",
    "HealthMonitor": "health_monitor",
    "PodScheduler": "pod_scheduler",
    "QueuedScheduler": "queued_scheduler",
    "SchedulingQueue": "scheduling_queue",
    "SelfHealer": "self_healer",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'k8slab.application' has no attribute {name!r}")
    value = getattr(import_module(f"k8slab.application.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
