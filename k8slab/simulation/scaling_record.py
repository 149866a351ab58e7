"""What a run's autoscalers saw over time, at most some two thousand times a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.application.horizontal_quantities import metric_label
from k8slab.application.horizontal_scaler import Sync
from k8slab.application.threshold_scaler import ThresholdSync
from k8slab.domain.autoscaling.values import MetricSpec
from k8slab.domain.columns import Ints
from k8slab.domain.resources import CPU, unit_of

SAMPLES: Final = 2016  # every five minutes of a week
_MILLI: Final = 1000


class ScalingRecord:
    """Keeps a sync's replicas and metrics, the first of each sampling interval; changes nothing that is simulated.

    autoscalers, workloads : [H] names
    metrics   : of each
    """

    def __init__(
        self,
        autoscalers: Sequence[str],
        workloads: Sequence[str],
        metrics: Sequence[Sequence[MetricSpec]],
        until_ns: int,
        period_ns: int,
    ) -> None:
        self.autoscalers = tuple(autoscalers)
        self.workloads = tuple(workloads)
        self.metrics = tuple(tuple(each) for each in metrics)
        self._every_ns = max(period_ns, until_ns // SAMPLES)
        self._next_ns = 0
        self._flat = [metric for each in self.metrics for metric in each]
        self._relative = np.array([metric.target_type == "Utilization" for metric in self._flat], dtype=np.bool_)
        self._times: list[int] = []
        self._replicas: list[npt.NDArray[np.int32]] = []
        self._values: list[npt.NDArray[np.float64]] = []

    def horizontal(self, sync: Sync) -> None:
        """Take note of a HorizontalScaler's sync."""
        if sync.time_ns >= self._next_ns:
            verdict = sync.verdict
            seen = np.where(self._relative, verdict.utilization, verdict.usage).astype(np.float64)
            seen[verdict.wanted < 0] = np.nan
            self._add(sync.time_ns, sync.spec, verdict.desired, sync.ready, seen)

    def forget(self, from_ns: int) -> None:
        """What was noted of that instant and later was of syncs that will be made anew."""
        while self._times and self._times[-1] >= from_ns:
            for notes in (self._times, self._replicas, self._values):
                notes.pop()
        self._next_ns = (self._times[-1] // self._every_ns + 1) * self._every_ns if self._times else 0

    def threshold(self, sync: ThresholdSync) -> None:
        """Take note of a ThresholdScaler's pass."""
        if sync.time_ns >= self._next_ns:
            self._add(sync.time_ns, sync.spec, sync.spec, sync.ready, np.stack([sync.cpu, sync.memory], axis=1).ravel())

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """A row for each time, autoscaler and metric, in this order: see the frame `autoscaling`."""
        times, count = len(self._times), len(self._flat)
        of = np.repeat(np.arange(len(self.autoscalers)), [len(each) for each in self.metrics])
        replicas = np.array(self._replicas, dtype=np.int64).reshape(times, 3, len(self.autoscalers))[:, :, of]
        scale = np.array([_scale(metric) for metric in self._flat])

        def each(values: Sequence[str | float]) -> npt.NDArray[Any]:
            return np.tile(np.array(values, dtype=object if isinstance(values[0], str) else np.float64), times)

        return {
            "time_ns": np.repeat(np.array(self._times, dtype=np.int64), count),
            "autoscaler": each([self.autoscalers[h] for h in of]),
            "workload": each([self.workloads[h] for h in of]),
            "replicas": replicas[:, 0].ravel(),
            "desired": replicas[:, 1].ravel(),
            "ready": replicas[:, 2].ravel(),
            "metric": each([metric_label(metric) for metric in self._flat]),
            "value": (np.array(self._values).reshape(times, count) / scale).ravel(),
            "target": each([metric.target / one for metric, one in zip(self._flat, scale.tolist(), strict=True)]),
            "unit": each([metric_unit(metric) for metric in self._flat]),
        }

    def _add(self, time_ns: int, spec: Ints, desired: Ints, ready: Ints, values: npt.NDArray[np.float64]) -> None:
        self._next_ns = (time_ns // self._every_ns + 1) * self._every_ns
        self._times.append(time_ns)
        self._replicas.append(np.stack([spec, desired, ready]).astype(np.int32))
        self._values.append(values)


def metric_unit(metric: MetricSpec) -> str:
    """What a metric's value and target are in."""
    if metric.target_type == "Utilization":
        return "% of requests"
    if metric.type in ("Resource", "ContainerResource"):
        return f"{'mCPU' if metric.resource == CPU else unit_of(metric.resource) or 'count'} a pod"
    return "" if metric.target_type == "Value" else "a pod"


def _scale(metric: MetricSpec) -> float:
    """What the rules' unit is divided by."""
    if metric.target_type == "Utilization" or (metric.type != "Pods" and metric.resource == CPU):
        return 1.0
    return float(_MILLI)
