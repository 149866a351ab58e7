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
from k8slab.simulation.kubelets import Starts
from k8slab.simulation.usage import PodUsage
from k8slab.state.tables import Column

Ends = Callable[[Ints, str, int, int], object]
# When it strikes, which row, and when that pod's container started.
_Strike = tuple[int, int, int]
_LEAST: Final = 1024


def uniform(seed: int, pod_rows: Ints, attempts: Ints) -> npt.NDArray[np.float64]:
    """float64[n] in (0, 1): a draw for a pod's start that is a function of seed, row and attempt alone.

    So nobody's draw depends on what else happens in a run, or in which order.
    """
    from k8slab.kernels.draws import mix

    mixed = np.empty(len(pod_rows), dtype=np.uint64)
    mix(np.uint64(seed), pod_rows, attempts, mixed)
    return np.asarray(((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)


class ContainerFaults:
    """Ends containers some time after they start.

    after : pod rows and how often each was started before -> int64[n] how long after its start a
            container is struck; NEVER for one that isn't
    early : whether `after` may be asked of pods that are yet to come
    ends  : called with pod rows, reason, exit code and time
    """

    rank: int = Rank.FAULTS
    heeds_pods = False

    def __init__(
        self,
        name: str,
        state: ClusterStatePort,
        after: Callable[[Ints, Ints], Ints],
        ends: Ends,
        *,
        early: bool,
        reason: str,
        exit_code: int,
        down: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.bool_]],
    ) -> None:
        self.name = name
        self._state = state
        self._after = after
        self._early = early
        self._ends = ends
        self._reason = reason
        self._exit_code = exit_code
        self._down = down
        self._heap: list[_Strike] = []
        # Most pods are started once: that draw is made for all rows at once, those after it as they come.
        self._first = Column(np.int64)

    def started(self, starts: Starts) -> None:
        """Containers started."""
        for strike in self._strikes(starts):
            heapq.heappush(self._heap, strike)

    def foresee(self, starts: Starts) -> int:
        """When it would first end one of these containers; NEVER if they end before."""
        return min((at_ns for at_ns, _, _ in self._strikes(starts)), default=NEVER)

    def _strikes(self, starts: Starts) -> list[_Strike]:
        """When it strikes which row, and when that started: of those that don't end before."""
        from k8slab.kernels.draws import struck

        known, count = len(self._first.view), self._state.pod_count
        if known < count:
            new = np.arange(known, max(count, known + _LEAST) if self._early else count)
            self._first.extend(len(new), self._after(new, np.zeros(len(new), dtype=np.int64)))
        rows, start_ns, end_ns, again, before = starts
        if len(again):
            after = self._first.view[rows]
            after[again] = self._after(rows[again], before)
            places = np.flatnonzero(after < end_ns - start_ns)
            after = after[places]
        else:
            places = np.empty(len(rows), dtype=np.int64)
            places = places[: struck(self._first.view, rows, start_ns, end_ns, places)]
            if not len(places):
                return []
            after = self._first.view[rows[places]]
        return list(
            zip((start_ns[places] + after).tolist(), rows[places].tolist(), start_ns[places].tolist(), strict=True)
        )

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


class MostlyIdleFaults(ContainerFaults):
    """Container faults of which most concern nobody: they are told of, and that is all.

    concerns : row -> whether anything comes of it that this pod is struck
    tell     : called with rows, their nodes and the time, where nothing does
    """

    def __init__(
        self,
        name: str,
        state: ClusterStatePort,
        after: Callable[[Ints, Ints], Ints],
        ends: Ends,
        *,
        early: bool,
        reason: str,
        exit_code: int,
        down: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.bool_]],
        concerns: Callable[[int], bool],
        tell: Callable[[Ints, Ints, int], object],
    ) -> None:
        super().__init__(name, state, after, ends, early=early, reason=reason, exit_code=exit_code, down=down)
        self._concerns = concerns
        self._tell = tell
        # Of the last look ahead: the strikes that concern nobody, in order, and the node of each; -1 for none to tell.
        self._idle: list[tuple[_Strike, int]] = []

    def look_ahead(self, now_ns: int, before_ns: int) -> int:
        self._idle = []
        while self._heap and self._heap[0][0] < before_ns:
            at_ns, row, start_ns = strike = self._heap[0]
            nodes = self._state.pod_node[row : row + 1]
            strikes = self._runs_since(row, start_ns) and not self._down(nodes)[0]
            if strikes and self._concerns(row):
                return at_ns
            heapq.heappop(self._heap)
            self._idle.append((strike, int(nodes[0]) if strikes else -1))
        return before_ns

    def go_back(self, to_ns: int) -> None:
        for strike, node in self._idle:
            at_ns, row, _ = strike
            if at_ns >= to_ns:
                heapq.heappush(self._heap, strike)
            elif node >= 0:
                self._tell(np.array([row]), np.array([node]), at_ns)
        self._idle = []


class CrashTimes:
    """When containers crash: a Weibull time after each start, for a share of the pods."""

    def __init__(self, seed: int, mean_ns: int, shape: float, share: float) -> None:
        self._seed = seed
        self._share = share
        self._scale = mean_ns if shape == 0 else mean_ns / gamma(1 + 1 / shape)
        self._power = 0.0 if shape == 0 else 1 / shape

    def __call__(self, pod_rows: Ints, attempts: Ints) -> Ints:
        drawn = self._scale * (-np.log(uniform(self._seed, pod_rows, attempts))) ** self._power
        strikes = drawn <= 2.0**61
        if self._share < 1:
            # A draw of its own says whether a pod is of the share; attempts are never negative.
            strikes &= uniform(self._seed, pod_rows, np.full(len(pod_rows), -1)) < self._share
        after = np.maximum(np.where(strikes, drawn, 0), 1).astype(np.int64)
        return np.where(strikes, after, NEVER)


class OomTimes:
    """When containers are killed: their memory grows evenly for `ramp_ns` to what the pod uses, and meets its limit."""

    def __init__(self, usage: PodUsage, state: ClusterStatePort, limit_factor: float, ramp_ns: int) -> None:
        self._usage = usage
        self._state = state
        self._memory = state.schema.index(MEMORY)
        self._limit_factor = limit_factor
        self._ramp_ns = ramp_ns

    def __call__(self, pod_rows: Ints, attempts: Ints) -> Ints:
        used = self._usage.full(pod_rows, self._memory)
        limit = self._limit_factor * self._state.pod_request[pod_rows, self._memory]
        over = ((used > limit) & (limit > 0)).nonzero()[0]
        after = np.full(len(pod_rows), NEVER)
        if len(over):
            after[over] = np.maximum(limit[over] / used[over] * self._ramp_ns, 1).astype(np.int64)
        return after


def seed_of(sequence: np.random.SeedSequence) -> int:
    """A number of 64 bits from a stream's seed."""
    return int(sequence.generate_state(1, np.uint64)[0])
