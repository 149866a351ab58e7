"""Containers that crash, hang or are killed for their memory: each instant is known when the container starts."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import gamma
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.ports import ClusterStatePort
from k8slab.domain.resources import MEMORY
from k8slab.simulation.usage import PodUsage
from k8slab.state.tables import Column

Ends = Callable[[Ints, str, int, int], object]
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, pod_rows: Ints, attempts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """float64[n] in (0, 1): a draw for a pod's start that is a function of seed, row and attempt alone.

    So nobody's draw depends on what else happens in a run, or in which order. splitmix64's
    mixer (Steele, Lea, Flood, OOPSLA 2014) over the three.
    """
    mixed = np.full(len(pod_rows), seed, dtype=np.uint64)
    for word in (pod_rows, attempts):
        mixed = (mixed ^ np.asarray(word).astype(np.uint64)) + _GOLDEN
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray(((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)


class ContainerFaults:
    """Ends containers at the instants that `when` gives for each start.

    when : pod rows, the attempt's number of each and the instant of its start -> int64[n] when it
           ends; NEVER for those that don't
    ends : called with pod rows, reason, exit code and time
    """

    rank: int = Rank.FAULTS

    def __init__(
        self,
        name: str,
        state: ClusterStatePort,
        when: Callable[[Ints, Ints, Ints], Ints],
        ends: Ends,
        *,
        reason: str,
        exit_code: int,
        down: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.bool_]],
    ) -> None:
        self.name = name
        self._state = state
        self._when = when
        self._ends = ends
        self._reason = reason
        self._exit_code = exit_code
        self._down = down
        self._heap: list[tuple[int, int, int]] = []
        self._starts = Column(np.int64)

    def started(self, pod_rows: Ints, start_ns: Ints, end_ns: Ints) -> None:
        """Containers started, that would end by themselves at `end_ns`."""
        self._starts.extend(max(0, self._state.pod_count - len(self._starts.view)))
        at = self._when(pod_rows, self._starts.view[pod_rows], start_ns)
        self._starts.view[pod_rows] += 1
        early = at < end_ns
        for row, start, when in zip(
            pod_rows[early].tolist(), start_ns[early].tolist(), at[early].tolist(), strict=True
        ):
            heapq.heappush(self._heap, (when, row, start))

    def next_ns(self, now_ns: int) -> int | None:
        return self._heap[0][0] if self._heap else None

    def run_once(self, now_ns: int) -> None:
        due = []
        while self._heap and self._heap[0][0] <= now_ns:
            _, row, start = heapq.heappop(self._heap)
            due.append((row, start))
        rows = np.array(sorted(row for row, start in due if self._runs_since(row, start)), dtype=np.int64)
        rows = rows[~self._down(self._state.pod_node[rows])] if len(rows) else rows
        if len(rows):
            self._ends(rows, self._reason, self._exit_code, now_ns)

    def _runs_since(self, row: int, start_ns: int) -> bool:
        """Whether it is still the same container."""
        state = self._state
        return bool(state.pod_alive[row] and state.pod_node[row] >= 0 and state.pod_runs_ns[row] == start_ns)


class CrashTimes:
    """When containers crash: a Weibull time after each start, for a share of the pods."""

    def __init__(self, seed: int, mean_ns: int, shape: float, share: float) -> None:
        self._seed = seed
        self._share = share
        self._scale = mean_ns if shape == 0 else mean_ns / gamma(1 + 1 / shape)
        self._power = 0.0 if shape == 0 else 1 / shape

    def __call__(self, pod_rows: Ints, attempts: Ints, start_ns: Ints) -> Ints:
        drawn = self._scale * (-np.log(uniform(self._seed, pod_rows, attempts))) ** self._power
        # A draw of its own says whether a pod is of the share; attempts are never negative.
        prone = uniform(self._seed, pod_rows, np.full(len(pod_rows), -1)) < self._share
        late = drawn > 2.0**61
        at = start_ns + np.maximum(np.where(late, 0, drawn), 1).astype(np.int64)
        return np.where(prone & ~late & (start_ns < NEVER), at, NEVER)


class OomTimes:
    """When containers are killed: their memory grows evenly for `ramp_ns` to what the pod uses, and meets its limit."""

    def __init__(self, usage: PodUsage, state: ClusterStatePort, limit_factor: float, ramp_ns: int) -> None:
        self._usage = usage
        self._state = state
        self._memory = state.schema.index(MEMORY)
        self._limit_factor = limit_factor
        self._ramp_ns = ramp_ns

    def __call__(self, pod_rows: Ints, attempts: Ints, start_ns: Ints) -> Ints:
        at = np.full(len(pod_rows), NEVER)
        for start in np.unique(start_ns[start_ns < NEVER]).tolist():
            now = start_ns == start
            used = self._usage.usage(pod_rows[now], start)[:, self._memory]
            limit = self._limit_factor * self._state.pod_request[pod_rows[now], self._memory]
            share = np.minimum(limit / np.maximum(used, 1), 1.0)
            killed = start + np.maximum(share * self._ramp_ns, 1).astype(np.int64)
            at[now] = np.where((used > limit) & (limit > 0), killed, NEVER)
        return at


def seed_of(sequence: np.random.SeedSequence) -> int:
    """A number of 64 bits from a stream's seed."""
    return int(sequence.generate_state(1, np.uint64)[0])
