"""What a simulated cluster's metrics APIs answer: a metrics server over the pods' usage, and custom series."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from k8slab.domain.autoscaling.values import MetricUnavailable
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort
from k8slab.errors import InputError
from k8slab.kernels.horizontal_columns import Sources
from k8slab.simulation.distributions import Span
from k8slab.simulation.kubelets import Kubelets
from k8slab.simulation.usage import PodUsage
from k8slab.units import Quantity, duration_ns, parse_quantity

# metrics-server's own --metric-resolution.
RESOLUTION_NS: Final = 15 * SECOND_NS
_MILLI: Final = 1000


@dataclass(frozen=True)
class Series:
    """A number that swings as a cosine over the day: requests a second, the length of a queue.

    swing : from 0, none, to 1, where it falls to nothing at the lowest point
    """

    mean: Quantity
    swing: float = 0.0
    peak: Span = "14h"
    period: Span = "24h"

    def __post_init__(self) -> None:
        if parse_quantity(self.mean, "series, mean") < 0:
            raise InputError(f"series: mean={self.mean!r}; wanted 0 or more")
        duration_ns(self.peak, "series, peak")
        duration_ns(self.period, "series, period", least_ns=1)
        if not 0 <= self.swing <= 1:
            raise InputError(f"series: swing={self.swing!r}; wanted a number from 0 to 1")

    def __call__(self, now_ns: int) -> float:
        """Its value at an instant."""
        turn = (now_ns - duration_ns(self.peak)) % duration_ns(self.period) / duration_ns(self.period)
        return float(parse_quantity(self.mean)) * (1 + self.swing * math.cos(2 * math.pi * turn))


# What a custom metric is at an instant; None where the API has no answer.
Source = Callable[[int], float | None]


class SimulatedMetrics:
    """A metrics server that looks every 15 s, and custom metrics by name.

    sources : by name; a metric of pods is a total that the ready pods share evenly
    workloads : the workloads' names by number
    nodes_break : whether nodes ever do

    A pod is sampled once its container has run for a whole interval, as long as its node
    is up. A pod has one container, which is called as its workload.
    """

    window_ns = RESOLUTION_NS

    def __init__(
        self,
        state: ClusterStatePort,
        usage: PodUsage,
        kubelets: Kubelets,
        sources: Mapping[str, Source],
        workloads: Callable[[], tuple[str, ...]],
        nodes_break: Callable[[], bool],
    ) -> None:
        self._state = state
        self._usage = usage
        self._kubelets = kubelets
        self._sources = dict(sources)
        self._workloads = workloads
        self._nodes_break = nodes_break

    def resources(self, pod_rows: Ints, resources: Sequence[int], now_ns: int) -> tuple[Ints, Ints]:
        at_ns = now_ns - now_ns % RESOLUTION_NS
        return self._usage.of(pod_rows, resources, at_ns), self._taken(pod_rows, at_ns)

    @property
    def outages(self) -> int:
        return self._kubelets.turns

    def sources(self, owners: Ints, resources: Sequence[int]) -> Sources:
        return self._usage.sources(owners, resources, self._kubelets.nodes_down, RESOLUTION_NS)

    def containers(self, container: str, pod_rows: Ints, resource: int, now_ns: int) -> tuple[Ints, Ints, Ints]:
        owners, names = self._state.pod_owner[pod_rows].tolist(), self._workloads()
        if any(names[owner] != container for owner in owners):
            raise MetricUnavailable("container_not_found", f"no container {container!r}")
        used, taken_ns = self.resources(pod_rows, [resource], now_ns)
        return used[0], self._state.pod_request[pod_rows, resource], taken_ns

    def pods(self, name: str, pod_rows: Ints, now_ns: int) -> tuple[Ints, Ints]:
        at_ns = now_ns - now_ns % RESOLUTION_NS
        (total,) = self.values(name, at_ns)
        ready = self._state.pod_ready_ns[pod_rows] <= at_ns
        each = total // max(int(ready.sum()), 1)
        return np.where(ready, each, 0), self._taken(pod_rows, at_ns)

    def values(self, name: str, now_ns: int) -> tuple[int, ...]:
        value = self._sources[name](now_ns)
        if value is None:
            raise MetricUnavailable("no_value", f"no value of {name!r} now")
        return (round(value * _MILLI),)

    def steady_until_ns(self, now_ns: int) -> int:
        swings = any(load.swing for load in self._usage.loads_by_owner.values())
        varies = any(not (isinstance(one, Series) and not one.swing) for one in self._sources.values())
        # A node that breaks answers no more, and no verb says so.
        return now_ns if swings or varies or self._nodes_break() else NEVER

    def _taken(self, pod_rows: Ints, at_ns: int) -> Ints:
        from k8slab.kernels.pod_usage import when_sampled

        taken_ns = np.empty(len(pod_rows), dtype=np.int64)
        when_sampled(
            pod_rows, self._state.pod_node, self._state.pod_runs_ns, self._kubelets.nodes_down, at_ns, RESOLUTION_NS,
            taken_ns,
        )  # fmt: skip
        return taken_ns
