"""What a horizontal scaler reads of pods: their resources, and quantities of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler, MetricSpec, MetricUnavailable
from k8slab.domain.columns import NEVER, Codes32
from k8slab.domain.ports import MetricsPort
from k8slab.domain.resources import CPU
from k8slab.kernels.horizontal_columns import Ints, Metrics

_MILLI: Final = 1000


class Quantities:
    """What pods are measured by: their resources, and quantities of their own, of a container or a custom metric.

    Custom metrics of different autoscalers share rows, as no pod has two autoscalers.

    resources : those that are read, by their place in the schema
    plain  : whether that is all
    places : of each metric its row among the resources' (-1 for another), column or row, and factor to milli
    """

    def __init__(self, hpas: Sequence[HorizontalPodAutoscaler], names: Sequence[str]) -> None:
        self._names = list(names)
        self._specs = [(h, metric) for h, hpa in enumerate(hpas) for metric in hpa.metrics]
        plain = {metric.resource for _, metric in self._specs if self._is_plain(metric)}
        self.resources = [r for r, name in enumerate(self._names) if name in plain]
        self.places = [self._place(metric, slot) for hpa in hpas for slot, metric in enumerate(hpa.metrics)]
        self._slots = max((place[1] + 1 for place in self.places if place[0] < 0), default=0)
        self._untargeted = np.array([not metric.has_target for _, metric in self._specs], dtype=np.bool_)
        self.plain = bool(self._specs) and all(self._is_plain(one) and one.has_target for _, one in self._specs)
        self._others = [(m, h, one) for m, (h, one) in enumerate(self._specs) if not self._is_plain(one)]

    def _is_plain(self, metric: MetricSpec) -> bool:
        return metric.type == "Resource" and metric.resource in self._names

    def _place(self, metric: MetricSpec, slot: int) -> tuple[int, int, int]:
        if self._is_plain(metric):
            r = self._names.index(metric.resource)
            return self.resources.index(r), r, _factor(metric)
        return -1, 0 if metric.type in ("Object", "External") else slot, 1

    def read(
        self,
        looked_at: Metrics,
        metrics: MetricsPort,
        rows: Ints,
        owners: Codes32,
        targets: Sequence[int],
        now_ns: int,
    ) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """used, taken_ns, own, own_request, own_taken_ns of Pods; values and failures go into `looked_at`."""
        looked_at.failed[:] = self._untargeted
        used, taken_ns = np.zeros((0, len(rows)), dtype=np.int64), np.zeros(0, dtype=np.int64)
        if self.resources:
            try:
                used, taken_ns = metrics.resources(rows, self.resources, now_ns)
            except MetricUnavailable:
                looked_at.failed[looked_at.column >= 0] = True
        shape = (self._slots, len(rows))
        own, asked, own_taken = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, NEVER)
        for m, h, metric in self._others:
            try:
                if metric.type in ("Object", "External"):
                    looked_at.value[m] = min(sum(metrics.values(metric.name, now_ns)), NEVER)
                    continue
                mine, slot = np.flatnonzero(owners == targets[h]), self.places[m][1]
                if metric.type == "Pods":
                    own[slot, mine], own_taken[slot, mine] = metrics.pods(metric.name, rows[mine], now_ns)
                else:
                    own[slot, mine], asked[slot, mine], own_taken[slot, mine] = self._container(
                        metric, metrics, rows[mine], now_ns
                    )
            except MetricUnavailable:
                looked_at.failed[m] = True
        return used, taken_ns, own, asked, own_taken

    def _container(self, metric: MetricSpec, metrics: MetricsPort, rows: Ints, now_ns: int) -> tuple[Ints, Ints, Ints]:
        if metric.type != "ContainerResource" or metric.resource not in self._names:
            raise MetricUnavailable("unknown_source", f"no {metric.type} metric of {metric.resource!r}")
        r, factor = self._names.index(metric.resource), _factor(metric)
        used, asked, taken_ns = metrics.containers(metric.container or "", rows, r, now_ns)
        return used * factor, asked * factor, taken_ns


def _factor(metric: MetricSpec) -> int:
    return 1 if metric.resource == CPU else _MILLI


def metric_label(metric: MetricSpec) -> str:
    """A metric in a word or two: cpu, app/cpu, requests."""
    if metric.type in ("Resource", "ContainerResource"):
        return f"{metric.container}/{metric.resource}" if metric.container else metric.resource
    return metric.name
