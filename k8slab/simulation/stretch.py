"""Long stretches in which pods merely come, are placed and end: lived through in one go, not instant by instant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np

from k8slab.application.calendar import FarSighted
from k8slab.application.scheduling_controller import SchedulingController, Waiting
from k8slab.application.workload_controller import WorkloadController
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.node_template import NodeTemplate
from k8slab.domain.ports import ControllerPort
from k8slab.infrastructure.clocks import VirtualClock
from k8slab.kernels.course_columns import ADDED, BOUND, JOINED, Course, Ends, Lived, Pods, Rounds, no_joins
from k8slab.simulation.arriving import Arrivals
from k8slab.simulation.cloud import Cloud
from k8slab.simulation.kubelets import Kubelets
from k8slab.state import VERBS, ClusterState

# The state's codes of what a course tells.
_TOLD: Final = ("POD_ADDED", "BOUND", "FINISHED", "NODE_ADDED")
_VERBS: Final = np.array([VERBS.index(verb) for verb in _TOLD], dtype=np.int8)
# So many arrivals at a time, so that whoever watches hears of it now and then.
MOST: Final = 4096


@runtime_checkable
class PlayerPort(Protocol):
    """A placer that can live through comings, waits and goings: k8slab.policies.player.Player."""

    def live(self, course: Course, templates: Sequence[NodeTemplate] = ()) -> Lived | None:
        """What comes of a course; None where that can't be told ahead. templates : of the nodes that join

        Within an instant first nodes join, then the pods end whose time is over, by row, then others come, then the
        scheduler tries: who came, and if some ended or joined, all who wait. An instant in which a pod is refused that
        may not wait, or bound that may not go, or bound to a node that is down, isn't lived
        through, and nothing after it. `kind`, `ends.node` and `joins.node` of the course are filled by the player.

        The caller plays all of it into the state, and then calls `settle`.
        """

    def settle(self) -> None:
        """The state was told of all that was lived through."""


class Stretch:
    """Lives through what lies before an instant by itself, as the loops it stands for would have.

    Only where nothing else can happen: no pod of a workload ends or is bound. The journal
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
        self._cloud: Cloud | None = None
        self.covers: tuple[ControllerPort, ...] = (arrivals, kubelets, workloads, scheduler)

    def let_join(self, cloud: Cloud) -> None:
        """Nodes of this cloud may join in stretches; of one cloud only."""
        if self._cloud is None:
            self._cloud = cloud
            self.covers = (*self.covers, cloud)

    def leap(
        self,
        before_ns: int,
        beside: Collection[FarSighted] = (),
        *,
        some_may_wait: bool = True,
        nodes_may_join: bool = True,
        rounds: Rounds | None = None,
    ) -> bool:
        """Live through all instants before this one; False, and nothing done, where that can't be done at once."""
        if not self._quiet() or (len(self._scheduler.queue) and not some_may_wait):
            return False
        now_ns = self._clock.now()
        starts_ns = self._workloads.next_ns(now_ns)
        before_ns = before_ns if starts_ns is None else min(before_ns, starts_ns)
        joining, before_ns = self._joins(before_ns, nodes_may_join)
        at, rows, before_ns = self._comes(before_ns)
        lasting = self._kubelets.lifetime(rows)
        if self._kubelets.watched:
            before_ns = min(before_ns, self._kubelets.foreseen(rows, at, _ends_of(at, lasting)))
        due = [one.next_ns(now_ns) for one in beside]
        for one in beside:
            before_ns = one.look_ahead(now_ns, before_ns)
        (ends_ns, ending), before_ns = self._kubelets.take_before(before_ns)
        count, version = int(np.searchsorted(at, before_ns)), self._state.version
        stop_ns = before_ns
        joining = [one for one in joining if one[0] < before_ns]
        if count or len(ending) or joining:
            course = self._course(at[:count], rows[:count], lasting[:count], ends_ns, ending, before_ns, joining)
            course.pods.may_wait[:] &= some_may_wait
            course = course if rounds is None else course._replace(rounds=rounds)
            lived = self._placer.live(course, [template for _, template in joining])
            stop_ns = now_ns if lived is None else lived.before_ns
            later = int(np.searchsorted(ends_ns, stop_ns))
            self._kubelets.put_back(ends_ns[later:], ending[later:])
            if lived is not None:
                self._take(course, lived)
        for one in beside:
            one.go_back(stop_ns)
        # Nothing, if the first instant is for the loops themselves.
        return self._state.version != version or due != [one.next_ns(now_ns) for one in beside]

    def _quiet(self) -> bool:
        """Whether every loop has nothing to do but what time brings."""
        now_ns = self._clock.now()
        loops = (self._kubelets, self._workloads, self._scheduler)
        due = [loop.next_ns(now_ns) for loop in loops]
        awake = any(at is not None and at <= now_ns for at in due)
        queue = self._scheduler.queue
        # What watches pods start can only say what comes of those that are bound as they come.
        plain = not len(queue) or (not self._kubelets.watched and bool(queue.plain.all()))
        # Which devices a pod gets is chosen when it is bound.
        return plain and not awake and self._kubelets.foreseeable and not self._state.node_devices.capacity.any()

    def _joins(self, before_ns: int, may_join: bool) -> tuple[list[tuple[int, NodeTemplate]], int]:
        """Which nodes join, and the instant before which they do."""
        if self._cloud is None:
            return [], before_ns
        if may_join:
            return self._cloud.ahead(before_ns)
        join_ns = self._cloud.next_ns(before_ns)
        return [], before_ns if join_ns is None else min(before_ns, join_ns)

    def _comes(self, before_ns: int) -> tuple[Ints, Ints, int]:
        """The next arrivals, and the instant before which they come."""
        at, rows = self._arrivals.ahead(before_ns)
        if len(at) > MOST:
            before_ns = int(at[MOST])
        # A pod that ends in the instant it is bound is nothing for here.
        brief = self._kubelets.lifetime(rows[:MOST]) == 0
        if brief.any():
            before_ns = min(before_ns, int(at[np.argmax(brief)]))
        count = int(np.searchsorted(at, before_ns))
        return at[:count], rows[:count], before_ns

    def _course(
        self,
        at: Ints,
        rows: Ints,
        lasting: Ints,
        ends_ns: Ints,
        ending: Ints,
        before_ns: int,
        joining: Sequence[tuple[int, NodeTemplate]],
    ) -> Course:
        """These who come and those who wait, these who end, and nodes that join."""
        state, queue, come = self._state, self._scheduler.queue, len(rows)
        refusals = since_ns = sequence = np.zeros(come, dtype=np.int64)
        everybody, may_go = rows, np.ones(come, dtype=np.bool_)
        if len(queue):
            everybody = np.concatenate([rows, queue.rows])
            lasting = np.concatenate([lasting, self._kubelets.lifetime(queue.rows)])
            refusals = np.concatenate([refusals, queue.refusals])
            since_ns = np.concatenate([since_ns, queue.since_ns])
            sequence = np.concatenate([sequence, queue.sequence])
            may_go = (state.pod_owner[everybody] < 0) & (lasting > 0)
        may_wait = ~self._scheduler.helped_by_others_going(everybody)
        if self._kubelets.watched:
            may_wait[:] = False
        may_wait &= state.plain(everybody)
        kind, priority = np.zeros(len(everybody), dtype=np.int64), state.pod_priority[everybody].astype(np.int64)
        pods = Pods(
            everybody, kind, lasting, priority, may_wait, may_go, refusals.copy(), since_ns.copy(), sequence.copy()
        )
        # Side by side, as a kernel is compiled once more for numbers that aren't.
        ends_ns, ending = np.ascontiguousarray(ends_ns), np.ascontiguousarray(ending)
        ends = Ends(ends_ns, ending, np.zeros(len(ending), dtype=np.int64), state.pod_node[ending].astype(np.int64))
        rules = self._scheduler.rules(self._kubelets.nodes_down)
        line = np.arange(come, len(everybody))
        joins = no_joins()
        if joining:
            new, count = np.arange(state.node_count, state.node_count + len(joining)), len(joining)
            joins = joins._replace(at_ns=np.array([one[0] for one in joining]), row=new, node=np.full(count, -1))
        return Course(before_ns, at, pods, ends, line, self._scheduler.sequence, rules, joins)

    def _take(self, course: Course, lived: Lived) -> None:
        """Tell the state and the loops what was done for them."""
        told, pods = lived.told, course.pods
        if not len(told.at_ns):
            return
        if self._cloud is not None:
            self._cloud.join_ahead(int(np.count_nonzero(told.verb == JOINED)))
        self._state.play(told.at_ns, _VERBS[told.verb], told.pod, told.node, force=self._force)
        self._clock.sleep_until(int(told.at_ns[-1]))
        self._placer.settle()
        bound = told.verb == BOUND
        at, rows = told.at_ns[bound], told.pod[bound]
        ends = _ends_of(at, self._kubelets.lifetime(rows))
        runs = self._state.pod_node[rows] >= 0
        self._kubelets.put_back(ends[runs], rows[runs])
        self._kubelets.started(rows, at, ends)
        self._arrivals.advance(int(np.count_nonzero(told.verb == ADDED)))
        line, waiting = lived.line, Waiting()
        waiting.add(
            pods.row[line], pods.sequence[line], pods.refusals[line], pods.since_ns[line],
            np.ones(len(line), dtype=np.bool_),
        )  # fmt: skip
        self._scheduler.lived(waiting, lived.sequence, lived.tried, lived.refused_ns, pods.row[lived.refused])
        self._kubelets.passed_over()
        self._workloads.passed_over()


def _ends_of(at: Ints, lasting: Ints) -> Ints:
    """When pods end that are bound then and run for so long."""
    return at + np.minimum(lasting, NEVER - at)
