"""The VerticalPodAutoscaler as a loop: it watches what pods use, and has them request it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from k8slab.application.calendar import Rank, Ticks
from k8slab.application.evictor import Evictor
from k8slab.application.vertical_recommender import Recommendations, VerticalRecommender
from k8slab.domain.columns import Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort, EventSinkPort, UsagePort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.errors import NotEnoughCapacity

MODES: Final = ("off", "initial", "recreate", "in-place")
# The updater: a target further off than this share is worth an eviction once a pod is so old.
SIGNIFICANT: Final = 0.1
OLD_NS: Final = 12 * 3600 * SECOND_NS
MIN_REPLICAS: Final = 2


class SizedWorkloads(Protocol):
    """Workloads whose pods' requests can be changed: k8slab.application.workload_controller."""

    def pods(self, owner: int) -> Ints: ...
    def request(self, owner: int) -> Ints: ...
    def set_request(self, owner: int, request: Ints) -> None: ...


@dataclass(frozen=True)
class SizedWorkload:
    """A workload to right-size. least, most : (mCPU, bytes), the VPA's minAllowed and maxAllowed"""

    name: str
    owner: int
    mode: str = "recreate"
    least: tuple[int, int] = (0, 0)
    most: tuple[int, int] = (2**62, 2**62)


class VerticalAutoscaler:
    """Samples every minute, recommends, and applies: to pods that are made, by eviction, or in place.

    kills : gives (pod rows, instants) of containers that were killed for memory since it was asked last

    Pods are evicted one workload at a time within their budgets, and never below two replicas. A pod
    that can't grow on its node stays as it is and is tried again.
    """

    name = "vertical-autoscaler"
    rank: int = Rank.AUTOSCALING
    heeds_pods = False

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        usage: UsagePort,
        workloads: SizedWorkloads,
        sized: Sequence[SizedWorkload],
        evictor: Evictor,
        *,
        kills: Callable[[], tuple[Ints, Ints]],
        period_ns: int = 60 * SECOND_NS,
    ) -> None:
        self._state = state
        self._sink = sink
        self._usage = usage
        self._workloads = workloads
        self._sized = tuple(sized)
        self._evictor = evictor
        self._kills = kills
        self._ticks = Ticks(period_ns, period_ns)
        self._recommender = VerticalRecommender(len(self._sized), state.pod_count)
        self._rows = [state.schema.index(name) for name in (CPU, MEMORY)]
        self._number = {one.owner: number for number, one in enumerate(self._sized)}

    def recommendations(self) -> Recommendations:
        """What the workloads' pods should request by what is known now, bounds not yet heeded."""
        return self._recommender.recommend()

    def next_ns(self, now_ns: int) -> int | None:
        return self._ticks.next_ns

    def run_once(self, now_ns: int) -> None:
        self._ticks.take(now_ns)
        self._sample(now_ns)
        found = self._recommender.recommend()
        for number, one in enumerate(self._sized):
            if one.mode != "off":
                self._apply(one, *self._bounds(one, found, number), now_ns)

    # -- looking -------------------------------------------------------------------------

    def _sample(self, now_ns: int) -> None:
        state = self._state
        self._recommender.grow(state.pod_count)
        rows, of = self._pods()
        running = (state.pod_node[rows] >= 0) & (state.pod_runs_ns[rows] <= now_ns)
        rows, of = rows[running], of[running]
        if len(rows):
            used = self._usage.usage(rows, now_ns)[:, self._rows]
            at = np.full(len(rows), now_ns)
            self._recommender.add_cpu(of, used[:, 0] / 1000.0, at)
            self._recommender.add_memory(rows, of, used[:, 1].astype(np.float64), at)
        killed, at = self._kills()
        mine = np.isin(state.pod_owner[killed], list(self._number))
        killed, at = killed[mine], at[mine]
        if len(killed):
            numbers = np.array([self._number[owner] for owner in state.pod_owner[killed].tolist()], dtype=np.int64)
            self._recommender.add_oom(killed, numbers, state.pod_request[killed, self._rows[1]], at)

    def _pods(self) -> tuple[Ints, Ints]:
        parts = [self._workloads.pods(one.owner) for one in self._sized]
        of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return (np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)), of

    def _bounds(self, one: SizedWorkload, found: Recommendations, number: int) -> tuple[Ints, Ints, Ints]:
        """int64[2] each, cpu and memory: target, lower and upper bound, within what the user allows."""
        least, most = np.array(one.least), np.array(one.most)
        target = np.array([found.target_cpu_milli[number], found.target_memory_bytes[number]])
        lower = np.array([found.lower_cpu_milli[number], found.lower_memory_bytes[number]])
        upper = np.array([found.upper_cpu_milli[number], found.upper_memory_bytes[number]])
        first, second, third = (np.clip(values, least, most) for values in (target, lower, upper))
        return first, second, third

    # -- acting --------------------------------------------------------------------------

    def _apply(self, one: SizedWorkload, target: Ints, lower: Ints, upper: Ints, now_ns: int) -> None:
        state = self._state
        rows = self._workloads.pods(one.owner)
        request = self._workloads.request(one.owner).copy()
        if (request[self._rows] != target).any():
            request[self._rows] = target
            self._workloads.set_request(one.owner, request)
        if one.mode == "initial" or not len(rows):
            return
        there = rows[(state.pod_node[rows] >= 0) & (state.pod_leaving[rows] == 0)]
        asked = state.pod_request[there][:, self._rows]
        outside = ((asked < lower) | (asked > upper)).any(axis=1)
        far = (np.abs(asked - target) > SIGNIFICANT * asked).any(axis=1)
        old = now_ns - state.pod_started[there] > OLD_NS
        wrong = there[outside | (far & old)]
        if not len(wrong):
            return
        if one.mode == "in-place":
            self._resize(one, wrong, target, now_ns)
        elif len(there) >= MIN_REPLICAS:
            admitted = self._evictor.evict(wrong, "right-sizing", now_ns)
            self._tell(one, "evict", wrong[admitted], target, now_ns)

    def _resize(self, one: SizedWorkload, rows: Ints, target: Ints, now_ns: int) -> None:
        done = []
        for row in rows.tolist():
            request = self._state.pod_request[row].copy()
            request[self._rows] = target
            try:
                self._state.update_pod(row, request=request)
            except NotEnoughCapacity:
                continue
            done.append(row)
        self._tell(one, "resize", np.array(done, dtype=np.int64), target, now_ns)

    def _tell(self, one: SizedWorkload, action: str, rows: Ints, target: Ints, now_ns: int) -> None:
        if len(rows):
            self._sink.emit(
                "right_sizing", time_ns=now_ns, autoscaler=self.name, workload=one.name, action=action, pod_row=rows,
                cpu_milli=int(target[0]), memory_bytes=int(target[1]),
            )  # fmt: skip
