"""Long stretches in which pods merely come, are placed and end: lived through in one go, not instant by instant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np

from k8slab.application.calendar import FarSighted
from k8slab.application.scheduling_controller import SchedulingController
from k8slab.application.workload_controller import WorkloadController
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.ports import ControllerPort
from k8slab.infrastructure.clocks import VirtualClock
from k8slab.simulation.arriving import Arrivals
from k8slab.simulation.kubelets import Kubelets
from k8slab.state import VERBS, ClusterState

_ADDED, _BOUND, _FINISHED = (VERBS.index(verb) for verb in ("POD_ADDED", "BOUND", "FINISHED"))
# So many arrivals at a time, so that whoever watches hears of it now and then.
MOST: Final = 4096


@runtime_checkable
class PlayerPort(Protocol):
    """A placer that can look ahead over comings and goings: k8slab.policies.placer.Placer."""

    def play(self, pod_rows: Ints, leaves_from: Ints, leavers: Ints) -> Ints:
        """int64[k]: nodes of the first k pods, up to the first that fits nowhere.

        leaves_from : int64[n + 1]  leavers[leaves_from[i] : leaves_from[i + 1]] end before pod i is decided on
        leavers     : int64[.]      rows of pods that are bound, or stand among pod_rows before; those behind
                                    leaves_from[n] end after the last pod

        The caller plays into the state what it decided and let go, as far as it came.
        """

    def settle(self, complete: bool) -> None:
        """The state was told of all that was decided and let go, or only of a part: the rest is forgotten then."""


@dataclass(frozen=True, eq=False)
class _Endings:
    """Pods that end: at_ns int64[D] sorted, pods int64[D]."""

    at_ns: Ints
    pods: Ints

    def __getitem__(self, part: slice) -> _Endings:
        return _Endings(self.at_ns[part], self.pods[part])


class Stretch:
    """Lives through what lies before an instant by itself, as the loops it stands for would have.

    Only where nothing else can happen: no pod waits, no pod of a workload ends. The journal
    and all columns are then as they would be, row for row.
    """

    def __init__(
        self,
        state: ClusterState,
        clock: VirtualClock,
        arrivals: Arrivals,
        kubelets: Kubelets,
        workloads: WorkloadController,
        scheduler: SchedulingController,
        placer: PlayerPort,
        *,
        force: bool = False,
    ) -> None:
        self._state = state
        self._clock = clock
        self._arrivals = arrivals
        self._kubelets = kubelets
        self._scheduler = scheduler
        self._workloads = workloads
        self._placer = placer
        self._force = force
        self.covers: tuple[ControllerPort, ...] = (arrivals, kubelets, workloads, scheduler)

    def leap(self, before_ns: int, beside: Collection[FarSighted] = ()) -> bool:
        """Live through all instants before this one; False, and nothing done, where that can't be done at once."""
        if not self._quiet():
            return False
        now_ns = self._clock.now()
        starts_ns = self._workloads.next_ns(now_ns)
        at, rows, before_ns = self._comes(before_ns if starts_ns is None else min(before_ns, starts_ns))
        ends = self._ends_of(at, rows)
        before_ns = min(before_ns, self._kubelets.foreseen(rows, at, ends))
        due = [one.next_ns(now_ns) for one in beside]
        for one in beside:
            before_ns = one.look_ahead(now_ns, before_ns)
        endings, before_ns = self._kubelets.take_before(before_ns)
        old, count, version = _Endings(*endings), int(np.searchsorted(at, before_ns)), self._state.version
        if count or len(old.pods):
            before_ns = self._live(at[:count], rows[:count], ends[:count], old, before_ns)
        for one in beside:
            one.go_back(before_ns)
        # Nothing, if the first to come fits nowhere: that is for the scheduler.
        return self._state.version != version or due != [one.next_ns(now_ns) for one in beside]

    def _quiet(self) -> bool:
        """Whether every loop has nothing to do but what time brings."""
        now_ns = self._clock.now()
        loops = (self._kubelets, self._workloads, self._scheduler)
        due = [loop.next_ns(now_ns) for loop in loops]
        awake = any(at is not None and at <= now_ns for at in due)
        plain = self._scheduler.waiting == 0 and self._kubelets.foreseeable
        # Which devices a pod gets is chosen when it is bound.
        return plain and not awake and not self._state.node_devices.capacity.any()

    def _comes(self, before_ns: int) -> tuple[Ints, Ints, int]:
        """The next arrivals in the order they take their turn, and the instant before which they come."""
        at, rows = self._arrivals.ahead(before_ns)
        if len(at) > MOST:
            before_ns = int(at[MOST])
        # A pod that ends in the instant it is bound is nothing for here.
        brief = self._kubelets.lifetime(rows[:MOST]) == 0
        if brief.any():
            before_ns = min(before_ns, int(at[np.argmax(brief)]))
        count = int(np.searchsorted(at, before_ns))
        at, rows = at[:count], rows[:count]
        if len(at) > 1 and (np.diff(at) == 0).any():
            order = np.lexsort((-self._state.pod_priority[rows].astype(np.int64), at))
            rows = rows[order]
        return at, rows, before_ns

    def _live(self, at: Ints, rows: Ints, ends: Ints, old: _Endings, before_ns: int) -> int:
        """Live through what lies before an instant; gives that, or an earlier one that must go step by step."""
        known, soon = old.at_ns < before_ns, ends < before_ns
        endings = _sorted(
            np.concatenate([old.at_ns[known], ends[soon]]), np.concatenate([old.pods[known], rows[soon]])
        )
        leaves_from = np.concatenate([[0], np.searchsorted(endings.at_ns, at, side="right")])
        nodes = self._placer.play(rows, leaves_from, endings.pods)
        # What is put on a node that is down, which nobody knows yet, doesn't end.
        lost = self._kubelets.down(nodes)
        done = int(np.argmax(lost)) if lost.any() else len(nodes)
        cut = done < len(rows)
        if cut:
            before_ns = int(at[done])
            done, endings = self._cut(at, rows, done, endings)
            nodes, at, rows, ends = nodes[:done], at[:done], rows[:done], ends[:done]
        self._play(at, rows, nodes, endings)
        self._placer.settle(complete=not cut)
        self._hand_back(at, rows, ends, old)
        return before_ns

    def _ends_of(self, at: Ints, rows: Ints) -> Ints:
        lasting = self._kubelets.lifetime(rows)
        return np.where(lasting > NEVER - at, NEVER, at + np.minimum(lasting, NEVER - at))

    def _cut(self, at: Ints, rows: Ints, done: int, endings: _Endings) -> tuple[int, _Endings]:
        """A pod fits nowhere: what lies before its instant stands, and who ends in it, as that comes first."""
        instant = int(at[done])
        first = int(np.searchsorted(at, instant))
        return first, endings[: int(np.searchsorted(endings.at_ns, instant, side="right"))]

    def _play(self, at: Ints, rows: Ints, nodes: Ints, endings: _Endings) -> None:
        where = self._state.pod_node[endings.pods].astype(np.int64)
        if len(rows):
            order = np.argsort(rows)
            place = order[np.clip(np.searchsorted(rows, endings.pods, sorter=order), 0, len(rows) - 1)]
            new = rows[place] == endings.pods
            where[new] = nodes[place[new]]
        parts: Sequence[tuple[Ints, int, Ints, Ints]] = (
            (endings.at_ns, _FINISHED, endings.pods, where),
            (at, _ADDED, self._arrivals.in_order(len(rows)), np.full(len(rows), -1)),
            (at, _BOUND, rows, nodes),
        )
        times = np.concatenate([part[0] for part in parts])
        # Within an instant: first who ends, then who comes, then who is bound, each in their order.
        order = np.argsort(times, kind="stable")
        verbs = np.concatenate([np.full(len(part[0]), part[1], dtype=np.int8) for part in parts])
        pods = np.concatenate([part[2] for part in parts])
        targets = np.concatenate([part[3] for part in parts])
        self._state.play(times[order], verbs[order], pods[order], targets[order], force=self._force)
        if len(times):
            self._clock.sleep_until(int(times[order[-1]]))

    def _hand_back(self, at: Ints, rows: Ints, ends: Ints, old: _Endings) -> None:
        """Tell the loops what was done for them."""
        gone = self._state.pod_node[old.pods] < 0
        self._kubelets.put_back(old.at_ns[~gone], old.pods[~gone])
        runs = self._state.pod_node[rows] >= 0
        self._kubelets.put_back(ends[runs], rows[runs])
        self._kubelets.started(rows, at, ends)
        self._arrivals.advance(len(rows))
        self._scheduler.passed_over(len(rows))
        self._kubelets.passed_over()
        self._workloads.passed_over()


def _sorted(at_ns: Ints, pods: Ints) -> _Endings:
    order = np.lexsort((pods, at_ns))
    return _Endings(at_ns[order], pods[order])
