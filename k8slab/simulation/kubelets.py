"""The kubelets of a simulated cluster: they end each pod when its time to run is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import ClusterStatePort
from k8slab.simulation.timers import Timers
from k8slab.state.tables import Column

_SUCCEEDED: Final = POD_PHASES.index(PodPhase.SUCCEEDED)


class Starts(NamedTuple):
    """Containers that start: int64[n] the first three, no row twice.

    end_ns : when they would end by themselves, or NEVER
    again  : the places of those that were started before; before : how often, of these
    """

    pod_rows: Ints
    start_ns: Ints
    end_ns: Ints
    again: Ints
    before: Ints


class Kubelets:
    """A pod runs from its binding, or its last restart, for its lifetime; then it has succeeded.

    On a node that is down nothing ends: its pods are lost, though nobody was told. Timers
    are a column, ends_ns; what is set may be old ones, which count no longer.
    """

    name = "kubelets"
    rank: int = Rank.PODS

    def __init__(self, state: ClusterStatePort) -> None:
        self._state = state
        self._lifetime = Column(np.int64, fill=NEVER)
        self._ends = Column(np.int64, fill=NEVER)
        self._timers = Timers()
        self._is_down = Column(np.bool_)
        self._any_down = False
        # How often nodes went down or came back.
        self.turns = 0
        self._watchers: list[Callable[[Starts], None]] = []
        self._foresees: list[Callable[[Starts], int] | None] = []
        self._begun = Column(np.int64)
        self._seen = state.version

    # -- what others say ------------------------------------------------------------

    def set_lifetime(self, pod_rows: Ints, lifetime_ns: Ints) -> None:
        """How long these pods run each time they are started; NEVER, as for all others, for on and on."""
        self._grow()
        self._lifetime.view[pod_rows] = lifetime_ns

    def on_start(
        self,
        watcher: Callable[[Starts], None],
        foresee: Callable[[Starts], int] | None = None,
    ) -> None:
        """Call this when containers start.

        foresee : of the same, for pods that no workload owns and that have yet to start: when the watcher would
                  first make something happen to one of them, NEVER if it won't; it changes nothing. Without it
                  nobody can look ahead over starts
        """
        self._watchers.append(watcher)
        self._foresees.append(foresee)

    def halt(self, node_rows: Ints, now_ns: int) -> None:
        """These nodes are down: what runs there stops, and doesn't end."""
        self._catch_up()
        self._mark(node_rows, True)
        self._ends.view[self._pods_on(node_rows)] = NEVER

    def resume(self, node_rows: Ints, now_ns: int) -> None:
        """These nodes are up again: the containers of the pods that still are theirs start anew."""
        self._mark(node_rows, False)
        pods = self._pods_on(node_rows)
        if len(pods):
            self._state.restart(pods, now_ns)

    def stop(self, pod_rows: Ints, now_ns: int) -> None:
        """These pods' containers ended before their time: they run for their lifetime anew when they are restarted."""
        self._catch_up()
        self._ends.view[pod_rows] = NEVER

    def down(self, node_rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """bool[n]: which of these nodes are down; none where there is no node."""
        if not self._any_down:
            return np.zeros(np.shape(node_rows), dtype=np.bool_)
        known = (node_rows >= 0) & (node_rows < len(self._is_down.view))
        return np.asarray(known & self._is_down.view[np.where(known, node_rows, 0)])

    def _mark(self, node_rows: Ints, down: bool) -> None:
        self._is_down.extend(max(0, self._state.node_count - len(self._is_down.view)))
        self._is_down.view[node_rows] = down
        self._any_down = bool(self._is_down.view.any())
        self.turns += 1

    @property
    def watched(self) -> bool:
        """Whether somebody wants to know of containers that start."""
        return bool(self._watchers)

    @property
    def foreseeable(self) -> bool:
        """Whether it can be told ahead what comes of containers that start."""
        return all(foresee is not None for foresee in self._foresees)

    # -- for whoever lives through many instants at once ----------------------------------

    def lifetime(self, pod_rows: Ints) -> Ints:
        """int64[n]: how long these pods run each time they are started."""
        self._grow()
        return np.asarray(self._lifetime.view[pod_rows])

    def take_before(self, before_ns: int) -> tuple[tuple[Ints, Ints], int]:
        """((when, who) of the next that end, and the instant before which that is all): no pod of a workload is among
        them, as its end concerns others. They are this loop's no longer."""
        found = self._timers.take_before(before_ns)
        found = found[:, self._ends.view[found[1]] == found[0]]
        # One that was started twice in an instant has two timers, which are neighbours here.
        again = (found[0, 1:] == found[0, :-1]) & (found[1, 1:] == found[1, :-1])
        found = found[:, np.append(True, ~again)[: found.shape[1]]]
        owned = self._state.pod_owner[found[1]] >= 0
        if owned.any():
            first = int(np.argmax(owned))
            before_ns = int(found[0, first])
            known = int(np.searchsorted(found[0], before_ns))
            self.put_back(*found[:, known:])
            found = found[:, :known]
        self._ends.view[found[1]] = NEVER
        return (found[0], found[1]), before_ns

    def foreseen(self, pod_rows: Ints, start_ns: Ints, end_ns: Ints) -> int:
        """When something first happens to one of these pods, that start then, before it ends; NEVER if nothing does."""
        if not len(pod_rows):
            return NEVER
        starts = self._starts(pod_rows, start_ns, end_ns)
        return min(foresee(starts) for foresee in self._foresees if foresee is not None)

    def started(self, pod_rows: Ints, start_ns: Ints, end_ns: Ints) -> None:
        """These pods' containers started; somebody else minds when they end."""
        if self._watchers:
            starts = self._starts(pod_rows, start_ns, end_ns)
            self._begun.view[pod_rows] += 1
            for watcher in self._watchers:
                watcher(starts)

    def _starts(self, pod_rows: Ints, start_ns: Ints, end_ns: Ints) -> Starts:
        self._grow()
        before = self._begun.view[pod_rows]
        again = before.nonzero()[0]
        return Starts(pod_rows, start_ns, end_ns, again, before[again])

    def put_back(self, at_ns: Ints, pod_rows: Ints) -> None:
        """These pods end then."""
        self._grow()
        self._ends.view[pod_rows] = at_ns
        self._timers.put(at_ns, pod_rows)

    def passed_over(self) -> None:
        """What the state tells up to now was minded by somebody else."""
        self._seen = self._state.version

    @property
    def nodes_down(self) -> npt.NDArray[np.bool_]:
        """bool[n]: which nodes are down, as far as any ever was."""
        return self._is_down.view

    # -- the loop -----------------------------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        if self._state.version != self._seen:
            return now_ns
        return self._timers.next_ns

    def run_once(self, now_ns: int) -> None:
        self._catch_up()
        at_ns, pods = self._timers.take_before(now_ns + 1)
        if len(pods):
            over = np.unique(pods[self._ends.view[pods] == at_ns])
            self._ends.view[over] = NEVER
            self._state.finish(over, _SUCCEEDED)
            self._seen = self._state.version

    def _catch_up(self) -> None:
        for change in self._state.changes(self._seen):
            if change.verb == "BOUND":
                self._start(change.pod_rows, change.time_ns)
            elif change.verb == "RESTARTED":
                self._start(change.pod_rows, change.value)
            elif change.verb in ("UNBOUND", "FINISHED", "POD_REMOVED"):
                self._grow()
                self._ends.view[change.pod_rows] = NEVER
        self._seen = self._state.version

    def _start(self, pod_rows: Ints, at_ns: int) -> None:
        self._grow()
        if self._any_down:
            pod_rows = pod_rows[~self.down(self._state.pod_node[pod_rows])]
        ends = at_ns + np.minimum(self._lifetime.view[pod_rows], NEVER - at_ns)
        if at_ns < NEVER:
            self.started(pod_rows, np.full(len(pod_rows), at_ns), ends)
        self.put_back(ends, pod_rows)

    def _grow(self) -> None:
        missing = self._state.pod_count - len(self._ends.view)
        if missing > 0:
            self._ends.extend(missing)
            self._lifetime.extend(missing)
            self._begun.extend(missing)

    def _pods_on(self, node_rows: Ints) -> Ints:
        return self._state.pods_on(node_rows)

