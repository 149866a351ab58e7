"""The threshold rule over columns: domain.scaling for any number of workloads. A baseline, and no HPA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank, Ticks
from k8slab.domain.autoscaling.values import MetricUnavailable
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import POD_PHASES, AutoScalingConfig, PodPhase, ScalingDirection
from k8slab.domain.ports import ClusterStatePort, EventSinkPort, MetricsPort, ScalePort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.domain.scaling import threshold_step

PERIOD_NS: Final = 15 * SECOND_NS
_RUNNING: Final = POD_PHASES.index(PodPhase.RUNNING)


@dataclass(frozen=True)
class ThresholdSync:
    """What a pass saw: spec, ready int64[H]; cpu, memory float64[H] in per cent, NaN for none."""

    time_ns: int
    spec: Ints
    ready: Ints
    cpu: npt.NDArray[np.float64]
    memory: npt.NDArray[np.float64]


class ThresholdScaler:
    """One replica more or less, by the running pods' average use of what they request.

    configs : each one's deployment_name is a workload of `scale`; its last_scale_time isn't touched

    The rule is domain.scaling's, that the AutoScaler of the orchestration API has on requests and limits.
    """

    rank: int = Rank.AUTOSCALING
    heeds_pods = False

    def __init__(
        self,
        state: ClusterStatePort,
        scale: ScalePort,
        metrics: MetricsPort,
        sink: EventSinkPort,
        configs: Sequence[AutoScalingConfig],
        *,
        period_ns: int = PERIOD_NS,
        start_ns: int = 0,
        watch: Callable[[ThresholdSync], None] | None = None,
        name: str = "threshold-autoscaler",
    ) -> None:
        self.name = name
        self.configs = tuple(configs)
        self._state = state
        self._scale = scale
        self._metrics = metrics
        self._sink = sink
        self._watch = watch
        self._ticks = Ticks(period_ns, start_ns)
        self._owners = [scale.owner(config.deployment_name) for config in configs]
        self._last_ns: list[int | None] = [None] * len(self._owners)
        self._targets = np.array([(c.target_cpu_utilization, c.target_memory_utilization) for c in configs]).T

    def next_ns(self, now_ns: int) -> int | None:
        return self._ticks.next_ns

    def run_once(self, now_ns: int) -> None:
        self._ticks.take(now_ns)
        spec = np.array([self._scale.replicas(owner) for owner in self._owners], dtype=np.int64)
        ready, use = self._use(now_ns)
        if self._watch is not None:
            self._watch(ThresholdSync(now_ns, spec, ready, use[0], use[1]))
        # The rule is asked only where it may want a step; NaN is above and below nothing.
        wants = (use > self._targets).any(axis=0) | (use < self._targets / 2).all(axis=0)
        for h in np.flatnonzero(wants).tolist():
            self._step(h, float(use[0, h]), float(use[1, h]), int(spec[h]), now_ns)

    def _step(self, h: int, cpu: float, memory: float, replicas: int, now_ns: int) -> None:
        config = self.configs[h]
        direction = threshold_step(config, cpu, memory, replicas, self._last_ns[h], now_ns)
        if direction is ScalingDirection.NONE:
            return
        desired = replicas + (1 if direction is ScalingDirection.UP else -1)
        self._scale.scale(self._owners[h], desired)
        self._last_ns[h] = now_ns
        by_memory = not cpu > config.target_cpu_utilization and memory > config.target_memory_utilization
        self._sink.emit(
            "scaling", time_ns=now_ns, autoscaler=config.config_id, workload=config.deployment_name,
            replicas=replicas, desired=desired, proposed=desired, metric=MEMORY if by_memory else CPU,
            utilization_percent=memory if by_memory else cpu, able="SucceededRescale", active="ValidMetricFound",
            limited="DesiredWithinRange",
        )  # fmt: skip

    def _use(self, now_ns: int) -> tuple[Ints, npt.NDArray[np.float64]]:
        """int64[H] ready pods, and float64[2, H]: cpu and memory used by the running pods, in % of their requests."""
        state, count = self._state, len(self._owners)
        rows, owners = self._scale.members()
        of = np.full(max([*self._owners, int(owners.max(initial=-1))]) + 1, -1, dtype=np.int64)
        of[self._owners] = np.arange(count)
        # Which workloads are looked at isn't all: the others' pods are left out.
        mine = of[owners] >= 0
        rows, of = rows[mine], of[owners][mine]
        there = state.pod_alive[rows] & (state.pod_leaving[rows] == 0) & (state.pod_phase[rows] == _RUNNING)
        ready = np.bincount(of[there & (state.pod_ready_ns[rows] <= now_ns)], minlength=count)
        use = np.full((2, count), np.nan)
        resources = [state.schema.index(CPU), state.schema.index(MEMORY)]
        try:
            used, taken_ns = self._metrics.resources(rows, resources, now_ns)
        except MetricUnavailable:
            return ready, use
        counted = there & (taken_ns != NEVER)
        for side, r in enumerate(resources):
            amount = np.bincount(of[counted], weights=used[side, counted], minlength=count)
            asked = np.bincount(of[counted], weights=state.pod_request[rows[counted], r], minlength=count)
            np.divide(100 * amount, asked, out=use[side], where=asked > 0)
        return ready, np.round(use, 9)
