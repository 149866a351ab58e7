"""The control loop: everything that runs by itself, on one calendar by the wall clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Final

from k8slab.application.calendar import Calendar, Rank, Ticks
from k8slab.application.consensus_manager import ConsensusManager
from k8slab.application.pod_scheduler import PodScheduler
from k8slab.application.self_healer import SelfHealer
from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import AutoScalerPort, ClockPort, ControllerPort, HealthMonitorPort

# The services' checks of pods and nodes.
HEALTH_CHECKS: Final = ("pod-check", "node-check")


class PeriodicController:
    """A service's check as a control loop: every so often, and when it is asked for.

    act : called without arguments
    """

    def __init__(self, name: str, rank: int, act: Callable[[], object], period_ns: int, start_ns: int) -> None:
        self.name = name
        self.rank = rank
        self._act = act
        self._ticks = Ticks(period_ns, start_ns)

    def next_ns(self, now_ns: int) -> int | None:
        return self._ticks.next_ns

    def run_once(self, now_ns: int) -> None:
        # Taken first: what fails is tried again a period later, and not at once for ever.
        self._ticks.take(now_ns)
        self._act()

    def ask(self, now_ns: int) -> None:
        """Be due now; the next time is a period later."""
        self._ticks.next_ns = now_ns


class ControlLoop:
    """The services' checks and any further controllers on one calendar: the one that simulations run on, too.

    interval_s : how often the services check
    lock       : held while an instant's controllers run

    What failed is noticed and healed, deployments are scaled, what waits is placed: in this
    order, so that what one made pending needn't wait for the next round.
    """

    def __init__(
        self,
        monitor: HealthMonitorPort,
        autoscaler: AutoScalerPort,
        scheduler: PodScheduler,
        consensus: ConsensusManager,
        healer: SelfHealer,
        *,
        clock: ClockPort,
        interval_s: float,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._clock = clock
        # Whoever adds a controller waits until the instant is over.
        self._lock = lock if lock is not None else threading.RLock()
        period_ns = max(round(interval_s * SECOND_NS), 1)
        checks = (
            ("consensus-check", Rank.ARRIVALS, consensus.send_heartbeats),
            ("pod-check", Rank.KUBELET, monitor.check_pod_health),
            ("node-check", Rank.HEALTH, monitor.check_node_health),
            ("drain-check", Rank.HEALING, healer.continue_drains),
            ("autoscaling-check", Rank.AUTOSCALING, autoscaler.check_autoscaling),
            ("pending-check", Rank.SCHEDULING, scheduler.schedule_pending),
        )
        start_ns = clock.now() + period_ns
        self._services = [PeriodicController(name, rank, act, period_ns, start_ns) for name, rank, act in checks]
        self.calendar = Calendar(clock, self._services, self._lock)

    def add(self, controller: ControllerPort) -> None:
        """One more controller. Raises StateConflict if one has its name."""
        with self._lock:
            self.calendar.add(controller)

    def replace_health_checks(self, controllers: Iterable[ControllerPort]) -> None:
        """Let these look after nodes and pods, and the services' checks of them no more."""
        with self._lock:
            for name in HEALTH_CHECKS:
                self.calendar.remove(name)
            self._services = [one for one in self._services if one.name not in HEALTH_CHECKS]
            for controller in controllers:
                self.calendar.add(controller)

    def step(self) -> None:
        """Check everything now, and let every controller that is due have its turn."""
        now_ns = self._clock.now()
        for service in self._services:
            service.ask(now_ns)
        self.calendar.step()

    def run_due(self) -> float | None:
        """Let those have their turn who are due; gives in how many seconds the next is, None for never."""
        self.calendar.step()
        at_ns = self.calendar.next_ns()
        return None if at_ns == NEVER else max(at_ns - self._clock.now(), 0) / SECOND_NS
