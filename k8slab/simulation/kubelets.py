"""The kubelets of a simulated cluster: they end each pod when its time to run is over."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import ClusterStatePort
from k8slab.state.tables import Column

# More timers than this at a time are sorted in, not pushed on the heap.
MANY: Final = 64
_NO_TIMERS: Final = np.zeros((2, 0), dtype=np.int64)
_SUCCEEDED: Final = POD_PHASES.index(PodPhase.SUCCEEDED)


class Kubelets:
    """A pod runs from its binding, or its last restart, for its lifetime; then it has succeeded.

    On a node that is down nothing ends: its pods are lost, though nobody was told. Timers
    are a column, ends_ns; the heap and the sorted arrays may hold old ones, which count no longer.
    """

    name = "kubelets"
    rank: int = Rank.PODS

    def __init__(self, state: ClusterStatePort) -> None:
        self._state = state
        self._lifetime = Column(np.int64, fill=NEVER)
        self._ends = Column(np.int64, fill=NEVER)
        self._heap: list[tuple[int, int]] = []
        # What came in large batches, by time: [_first:] is still to come.
        self._sorted = _NO_TIMERS
        self._first = 0
        self._is_down = Column(np.bool_)
        self._any_down = False
        self._watchers: list[Callable[[Ints, Ints, Ints], None]] = []
        self._foresees: list[Callable[[Ints, Ints, Ints], Ints] | None] = []
        self._seen = state.version

    # -- what others say ------------------------------------------------------------

    def set_lifetime(self, pod_rows: Ints, lifetime_ns: Ints) -> None:
        """How long these pods run each time they are started; NEVER, as for all others, for on and on."""
        self._grow()
        self._lifetime.view[pod_rows] = lifetime_ns

    def on_start(
        self,
        watcher: Callable[[Ints, Ints, Ints], None],
        foresee: Callable[[Ints, Ints, Ints], Ints] | None = None,
    ) -> None:
        """Call this with the rows of pods whose containers start, when they do, and when they would end (or NEVER).

        foresee : of the same, for pods that no workload owns and that have yet to start: int64[n] when the watcher
                  would make something of each happen, NEVER if it won't; it changes nothing. Without it nobody
                  can look ahead over starts
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
        found = self._due_before(before_ns)
        found = found[:, self._ends.view[found[1]] == found[0]]
        owned = self._state.pod_owner[found[1]] >= 0
        if owned.any():
            first = int(np.argmax(owned))
            before_ns = int(found[0, first])
            known = int(np.searchsorted(found[0], before_ns))
            self.put_back(*found[:, known:])
            found = found[:, :known]
        self._ends.view[found[1]] = NEVER
        return (found[0], found[1]), before_ns

    def _due_before(self, before_ns: int) -> Ints:
        """int64[2, n]: when and who, by time and then by row, of all timers before an instant; they are taken away."""
        heap, popped = self._heap, []
        while heap and heap[0][0] < before_ns:
            popped.append(heapq.heappop(heap))
        last = self._first + int(np.searchsorted(self._sorted[0, self._first :], before_ns))
        found, self._first = self._sorted[:, self._first : last], last
        if popped:
            found = np.concatenate([found, np.array(popped, dtype=np.int64).T], axis=1)
            found = found[:, np.lexsort((found[1], found[0]))]
        return found

    def foreseen(self, pod_rows: Ints, start_ns: Ints, end_ns: Ints) -> int:
        """When something first happens to one of these pods, that start then, before it ends; NEVER if nothing does."""
        first = NEVER
        for foresee in self._foresees:
            if foresee is not None and len(pod_rows):
                at = foresee(pod_rows, start_ns, end_ns)
                first = min(first, int(at.min()))
        return first

    def started(self, pod_rows: Ints, start_ns: Ints, end_ns: Ints) -> None:
        """These pods' containers started; somebody else minds when they end."""
        for watcher in self._watchers:
            watcher(pod_rows, start_ns, end_ns)

    def put_back(self, at_ns: Ints, pod_rows: Ints) -> None:
        """These pods end then."""
        self._grow()
        self._ends.view[pod_rows] = at_ns
        if len(at_ns) > MANY:
            # Pushed one by one, a week's half million would take longer than to place them.
            come = np.stack([at_ns, pod_rows])[:, at_ns != NEVER]
            self._sorted, self._first = _merged(self._sorted[:, self._first :], come), 0
            return
        for end, pod in zip(at_ns.tolist(), pod_rows.tolist(), strict=True):
            if end != NEVER:
                heapq.heappush(self._heap, (end, pod))

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
        heap_ns = self._heap[0][0] if self._heap else None
        if self._first == self._sorted.shape[1]:
            return heap_ns
        sorted_ns = int(self._sorted[0, self._first])
        return sorted_ns if heap_ns is None else min(heap_ns, sorted_ns)

    def run_once(self, now_ns: int) -> None:
        self._catch_up()
        at_ns, pods = self._due_before(now_ns + 1)
        over = np.unique(pods[self._ends.view[pods] == at_ns])
        if len(over):
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
        lifetime = self._lifetime.view[pod_rows]
        counted = lifetime != NEVER
        if self._any_down:
            up = ~self.down(self._state.pod_node[pod_rows])
            pod_rows, lifetime, counted = pod_rows[up], lifetime[up], counted[up]
        if self._watchers and at_ns < NEVER:
            starts = np.full(len(pod_rows), at_ns)
            ends = np.where(counted, at_ns + np.where(counted, lifetime, 0), NEVER)
            for watcher in self._watchers:
                watcher(pod_rows, starts, ends)
        for pod, end in zip(pod_rows[counted].tolist(), (at_ns + lifetime[counted]).tolist(), strict=True):
            self._ends.view[pod] = end
            heapq.heappush(self._heap, (end, pod))

    def _grow(self) -> None:
        missing = self._state.pod_count - len(self._ends.view)
        if missing > 0:
            self._ends.extend(missing)
            self._lifetime.extend(missing)

    def _pods_on(self, node_rows: Ints) -> Ints:
        return self._state.pods_on(node_rows)


def _merged(there: Ints, come: Ints) -> Ints:
    """int64[2, n]: timers by time and then by row. there : sorted already, and many more than those that come"""
    come = come[:, np.lexsort((come[1], come[0]))]
    place = np.searchsorted(there[0], come[0], side="right") + np.arange(come.shape[1])
    old = np.ones(there.shape[1] + come.shape[1], dtype=np.bool_)
    old[place] = False
    both = np.empty((2, len(old)), dtype=np.int64)
    both[:, place], both[:, old] = come, there
    at_ns, rows = both
    if ((at_ns[1:] == at_ns[:-1]) & (rows[1:] < rows[:-1])).any():
        return both[:, np.lexsort((rows, at_ns))]
    return both
