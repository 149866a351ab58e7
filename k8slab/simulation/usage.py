"""What pods use, against what they request: by arithmetic, for any pod at any instant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.ports import ClusterStatePort, ScalePort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.errors import InputError
from k8slab.kernels.horizontal_columns import Sources
from k8slab.simulation.distributions import Span
from k8slab.state.tables import Rows2D
from k8slab.units import Quantity, cpu_milli, duration_ns

_PPM: Final = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Which part of its request a pod uses.

    cpu, memory : the mean over pods; above 1 is more than requested
    spread      : each pod keeps a factor of its own, log-normal with this sigma and mean 1; 0 for none
    """

    cpu: float = 0.6
    memory: float = 0.8
    spread: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cpu", "memory", "spread"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"usage: {name}={value!r}; wanted a number, 0 or more")

    def draw(self, resource: str, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]: millionths of the request that each of so many pods uses."""
        mean = {CPU: self.cpu, MEMORY: self.memory}.get(resource, 1.0)
        if not self.spread:
            return np.full(count, round(mean * _PPM), dtype=np.int64)
        factor = np.exp(self.spread * rng.standard_normal(count) - self.spread**2 / 2)
        return np.rint(mean * factor * _PPM).astype(np.int64)


@dataclass(frozen=True)
class Load:
    """Work in cores that a deployment's ready pods share: a mean that swings as a cosine over the day.

    swing : from 0, none, to 1, where it falls to nothing at the lowest point
    """

    cpu: Quantity
    swing: float = 0.0
    peak: Span = "14h"
    period: Span = "24h"

    def __post_init__(self) -> None:
        if cpu_milli(self.cpu, "load, cpu") < 0:
            raise InputError(f"load: cpu={self.cpu!r} is negative")
        duration_ns(self.peak, "load, peak")
        duration_ns(self.period, "load, period", least_ns=1)
        if not 0 <= self.swing <= 1:
            raise InputError(f"load: swing={self.swing!r}; wanted a number from 0 to 1")

    def at(self, at_ns: Ints) -> Ints:
        """int64[n]: milli-CPU at these instants."""
        turn = 2 * np.pi * ((at_ns - duration_ns(self.peak)) % duration_ns(self.period)) / duration_ns(self.period)
        return np.rint(cpu_milli(self.cpu) * (1 + self.swing * np.cos(turn))).astype(np.int64)


class PodUsage:
    """What every pod of a run uses now: its own share of its request, or its part of its deployment's load.

    A pod whose containers don't run uses nothing. A deployment's load goes to its ready
    pods alone; what each gets of it isn't limited by its request, as without a cpu limit.
    """

    def __init__(self, state: ClusterStatePort, scale: ScalePort) -> None:
        self._state = state
        self._scale = scale
        self._share = Rows2D(len(state.schema))
        self._cpu = state.schema.index(CPU)
        self.loads_by_owner: dict[int, Load] = {}
        self._curve = np.zeros((4, 0))
        self._load_of = np.full(0, -1, dtype=np.int64)

    def set_share(self, pod_rows: Ints, usage: Usage, rng: np.random.Generator) -> None:
        """Draw what these pods use; rows that were never named use what they request."""
        missing = self._state.pod_count - len(self._share.view)
        if missing > 0:
            self._share.extend(np.full((missing, len(self._state.schema)), _PPM))
        for r, resource in enumerate(self._state.schema.names):
            self._share.view[pod_rows, r] = usage.draw(resource, len(pod_rows), rng)

    def set_load(self, owner: int, load: Load) -> None:
        """The load that a deployment's pods share from now on."""
        self.loads_by_owner[owner] = load
        row = (cpu_milli(load.cpu), load.swing, duration_ns(load.peak), duration_ns(load.period))
        self._curve = np.concatenate([self._curve, np.array([row]).T], axis=1)
        if owner >= len(self._load_of):
            self._load_of = np.concatenate([self._load_of, np.full(owner + 1 - len(self._load_of), -1)])
        self._load_of[owner] = self._curve.shape[1] - 1

    def steady(self, resource: int) -> npt.NDArray[np.float64]:
        """float64[P]: what each pod uses of a resource while it runs; 0 for those that share a load."""
        state = self._state
        share = np.full(state.pod_count, float(_PPM))
        known = self._share.view[:, resource]
        share[: len(known)] = known
        used = state.pod_request[:, resource] * (share / _PPM)
        if resource == self._cpu and self.loads_by_owner:
            used[np.isin(state.pod_owner, list(self.loads_by_owner))] = 0.0
        return np.asarray(used)

    def full(self, pod_rows: Ints, resource: int) -> Ints:
        """int64[n]: what each of these pods uses of a resource while its containers run, by its own share."""
        column = self._share.view[:, resource]
        share = np.full(len(pod_rows), _PPM, dtype=np.int64)
        known = pod_rows < len(column)
        share[known] = column[pod_rows[known]]
        # In two parts: a request in bytes times a share in millionths is beyond int64.
        whole, rest = np.divmod(self._state.pod_request[pod_rows, resource], _PPM)
        return np.asarray(whole * share + rest * share // _PPM)

    def usage(self, pod_rows: Ints, now_ns: int) -> Ints:
        """int64[n, R]: what these pods use now; 0 for those whose containers don't run."""
        return self.of(pod_rows, range(len(self._state.schema)), now_ns).T

    def of(self, pod_rows: Ints, resources: Sequence[int], now_ns: int) -> Ints:
        """int64[C, n]: what these pods use now of each of these resources."""
        from k8slab.kernels.pod_usage import use_of_pods

        state = self._state
        used, owner = np.empty((len(resources), len(pod_rows)), dtype=np.int64), state.pod_owner[pod_rows]
        for place, r in enumerate(resources):
            each = self._each(now_ns) if r == self._cpu else np.zeros(0, dtype=np.int64)
            use_of_pods(
                pod_rows, state.pod_request[:, r], self._share.view[:, r], owner, each, state.pod_runs_ns,
                state.pod_ready_ns, now_ns, used[place],
            )  # fmt: skip
        return used

    def sources(self, owners: Ints, resources: Sequence[int], down: npt.NDArray[np.bool_], interval_ns: int) -> Sources:
        """What the use of these resources is known by. owners : of each autoscaler"""
        state = self._state
        cpu = list(resources).index(self._cpu) if self._cpu in resources else -1
        return Sources(
            owners, np.array(resources, dtype=np.int64), cpu, self._curve, self._load_of,
            np.empty(len(self._load_of), dtype=np.int64), self._share.view, state.pod_node, state.pod_runs_ns, down,
            interval_ns,
        )  # fmt: skip

    def _each(self, now_ns: int) -> Ints:
        """int64[owners]: milli-CPU that each ready pod of a workload has of its load; -1 for one without."""
        from k8slab.kernels.pod_usage import share_loads

        each = np.empty(len(self._load_of), dtype=np.int64)
        if len(each):
            rows, owners = self._scale.members()
            share_loads(self._curve, self._load_of, rows, owners, self._state.pod_ready_ns, now_ns, each)
        return each
