"""Metrics as they are reported: what pods use, and custom metrics by name."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from k8slab.domain.autoscaling.values import MetricUnavailable
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort, TimePort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.errors import InputError
from k8slab.units import cores_to_milli, mib_to_bytes

# As long as a report is taken for what a pod uses; then there is no sample of it.
FRESH_NS: Final = 60 * SECOND_NS


class ReportedMetrics:
    """A MetricsPort that says what it was told, for a minute: pods' use by name, and values by a metric's name.

    A pod has one container, of any name. Safe to call from several threads.
    """

    window_ns = 15 * SECOND_NS

    def __init__(self, state: ClusterStatePort, clock: TimePort) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[str, tuple[dict[str, int], int]] = {}
        self._values: dict[str, tuple[int, int]] = {}

    def report_usage(self, pod_id: str, cpu: float, memory: float) -> None:
        """Say what a pod uses now, in cores and MiB."""
        used = {CPU: cores_to_milli(cpu), MEMORY: mib_to_bytes(memory)}
        with self._lock:
            self._used[pod_id] = used, self._clock.now()

    def report_metric(self, name: str, value: float) -> None:
        """Say what a metric of an object or from outside is now; of pods, what each is on average."""
        if not math.isfinite(value):
            raise InputError(f"metric {name!r}: {value!r}; wanted a number")
        with self._lock:
            self._values[name] = round(value * 1000), self._clock.now()

    def resources(self, pod_rows: Ints, resources: Sequence[int], now_ns: int) -> tuple[Ints, Ints]:
        names = [self._state.schema.names[r] for r in resources]
        used = np.zeros((len(resources), len(pod_rows)), dtype=np.int64)
        taken_ns = np.full(len(pod_rows), NEVER)
        with self._lock:
            for place, row in enumerate(pod_rows.tolist()):
                told = self._used.get(self._state.pod_name(row))
                if told is not None and now_ns - told[1] <= FRESH_NS:
                    used[:, place] = [told[0].get(name, 0) for name in names]
                    taken_ns[place] = told[1]
        return used, taken_ns

    def containers(self, container: str, pod_rows: Ints, resource: int, now_ns: int) -> tuple[Ints, Ints, Ints]:
        used, taken_ns = self.resources(pod_rows, [resource], now_ns)
        return used[0], self._state.pod_request[pod_rows, resource], taken_ns

    def pods(self, name: str, pod_rows: Ints, now_ns: int) -> tuple[Ints, Ints]:
        (value,) = self.values(name, now_ns)
        return np.full(len(pod_rows), value), np.full(len(pod_rows), now_ns)

    def values(self, name: str, now_ns: int) -> tuple[int, ...]:
        with self._lock:
            told = self._values.get(name)
        if told is None or now_ns - told[1] > FRESH_NS:
            raise MetricUnavailable("no_value", f"nobody said what {name!r} is in the last minute")
        return (told[0],)

    def steady_until_ns(self, now_ns: int) -> int:
        with self._lock:
            # Anybody may report anything at any time; without any report there is nothing to look at.
            return now_ns if self._used or self._values else NEVER
