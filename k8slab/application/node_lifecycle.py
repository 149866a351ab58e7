"""The node lifecycle controller: silent nodes are tainted, as fast as their zone allows, and taints evict."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

import numpy as np

from k8slab.application.calendar import Rank
from k8slab.application.evictor import Evictor
from k8slab.domain.columns import Ints, Taints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.node_lifecycle.eviction_queue import EvictionQueue
from k8slab.domain.node_lifecycle.node_taints import (
    UNSCHEDULABLE,
    excluded_from_disruption,
    no_execute_taints,
    no_schedule_taints,
)
from k8slab.domain.node_lifecycle.taint_eviction import EvictionTimer, admitted_tolerations, eviction_timer
from k8slab.domain.node_lifecycle.zones import (
    UNHEALTHY_ZONE_THRESHOLD,
    DisruptionStep,
    EvictionRates,
    ZoneDisruption,
    ZoneState,
    disrupt,
    zone_key,
)
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.errors import InputError

MONITOR_PERIOD_NS: Final = 5 * SECOND_NS
# The controller looks at its queues ten times a second.
TAINT_PERIOD_NS: Final = SECOND_NS // 10
UNKNOWN: Final = NODE_STATES.index(NodeState.UNKNOWN)
NOT_READY: Final = NODE_STATES.index(NodeState.NOT_READY)
_READY: Final = {UNKNOWN: "Unknown", NOT_READY: "False"}


class NodeLifecycleController:
    """Taints nodes by their state, NoSchedule at once and NoExecute by its zone's queue, and evicts by NoExecute.

    evictor  : ends the pods; it asks no budget, as Kubernetes' doesn't here
    rates    : how fast a zone's nodes may be tainted
    daemons  : int64[n] pod rows -> bool[n]; daemon sets' pods tolerate dead nodes for ever

    It passes over the zones every 5 s, but only while something there may change: whoever
    changes a node's state or taints says so by `changed`.
    """

    name = "node-lifecycle"
    rank: int = Rank.NODE_LIFECYCLE
    heeds_pods = False
    # Where several decide: its turns, and what it has in mind between them.
    VERBS: Final = ("changed", "run_once")
    MEMORY: Final = (
        "_changed", "_counts", "_due", "_numbers", "_pass_ns", "_queues", "_states", "_timers", "_zone_of", "_zones",
    )  # fmt: skip

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        evictor: Evictor,
        *,
        rates: EvictionRates | None = None,
        unhealthy_zone_threshold: float = UNHEALTHY_ZONE_THRESHOLD,
        period_ns: int = MONITOR_PERIOD_NS,
        daemons: Callable[[Ints], np.ndarray] | None = None,
    ) -> None:
        if period_ns <= 0:
            raise InputError(f"node lifecycle: a period of {period_ns:,} ns; wanted more than 0")
        self._state = state
        self._sink = sink
        self._evictor = evictor
        self._rates = rates if rates is not None else EvictionRates()
        self._threshold = unhealthy_zone_threshold
        self._period_ns = period_ns
        self._daemons = daemons
        self._zones: list[str] = []
        self._zone_of = np.zeros(0, dtype=np.int64)
        self._counts = np.zeros(0, dtype=np.bool_)
        self._queues: dict[str, EvictionQueue] = {}
        self._changed: set[int] = set()
        self._pass_ns: int | None = None
        # Each node's pods that are to go, and the heap of when; a timer that isn't the pod's counts no more.
        self._timers: dict[int, dict[int, EvictionTimer]] = {}
        self._due: list[tuple[int, int, int, EvictionTimer, Ints]] = []
        self._numbers = 0
        # What every pass so far would have found: passes that find nothing new aren't made.
        self._know_nodes()
        found = disrupt(self._count(self._silent()), {}, self._rates, self._threshold)
        self._states = dict(found.states)
        for zone, rate in found.rates.items():
            self._queues[zone] = EvictionQueue(rate)

    # -- what others say ---------------------------------------------------------------

    def changed(self, node_row: int, now_ns: int) -> None:
        """A node's state or taints are others than before."""
        self._changed.add(node_row)
        # At the next pass, which may be now; a queue's token is taken in a pass as well.
        at_ns = -(-now_ns // self._period_ns) * self._period_ns
        self._pass_ns = at_ns if self._pass_ns is None else min(self._pass_ns, at_ns)

    def zone_states(self) -> dict[str, ZoneState]:
        """The zones' states as the last pass found them."""
        return dict(self._states)

    # -- the loop --------------------------------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        if self._changed:
            return now_ns
        times = [] if self._pass_ns is None else [self._pass_ns]
        if self._due:
            times.append(self._due[0][0])
        for queue in self._queues.values():
            token_ns = queue.next_ns(now_ns)
            if token_ns is not None:
                times.append(-(-token_ns // TAINT_PERIOD_NS) * TAINT_PERIOD_NS)
        return min(times, default=None)

    def run_once(self, now_ns: int) -> None:
        for row in sorted(self._changed):
            if self._state.node_alive[row]:
                self._taint_no_schedule(row)
                self._watch(row, now_ns)
        self._changed.clear()
        if self._pass_ns is not None and self._pass_ns <= now_ns:
            self._pass_ns = None
            self._pass(now_ns)
        for zone in sorted(self._queues):
            self._queues[zone].hand_out(lambda name: self._taint_no_execute(int(name), now_ns), now_ns)
        self._fire(now_ns)

    # -- taints -------------------------------------------------------------------------------

    def _taint_no_schedule(self, row: int) -> None:
        taints = self._taints(row)
        cordoned = any(taint.key == UNSCHEDULABLE for taint in taints)
        wanted = tuple(no_schedule_taints({"Ready": self._ready(row)}, taints, unschedulable=cordoned))
        if wanted != taints:
            self._state.update_node(row, taints=wanted)

    def _taint_no_execute(self, row: int, now_ns: int) -> bool:
        """The node's readiness told by a NoExecute taint; True, for the queue it came from."""
        if not self._state.node_alive[row]:
            return True
        taints = self._taints(row)
        wanted = tuple(no_execute_taints(self._ready(row), taints))
        if wanted != taints:
            self._state.update_node(row, taints=wanted)
            added = [taint.key for taint in wanted if taint not in taints]
            self._tell("TaintAdded" if added else "TaintRemoved", row, ", ".join(added), now_ns)
            self._watch(row, now_ns)
        return True

    def _ready(self, row: int) -> str:
        return _READY.get(int(self._state.node_state[row]), "True")

    def _taints(self, row: int) -> Taints:
        return self._state.node_taints(row)

    # -- zones ----------------------------------------------------------------------------------

    def _silent(self) -> np.ndarray:
        state = self._state.node_state
        return np.asarray((state == UNKNOWN) | (state == NOT_READY))

    def _pass(self, now_ns: int) -> None:
        self._know_nodes()
        silent = self._silent()
        for row in self._suspects(silent):
            self._judge(row, bool(silent[row]), now_ns)
        found = disrupt(self._count(silent), self._states, self._rates, self._threshold)
        self._tell_zones(found, now_ns)
        if found.step is DisruptionStep.ENTERED:
            # It is we who are cut off: nobody is evicted, and those that wait are forgotten.
            for row in self._suspects(silent):
                self._acquit(row, now_ns)
            # The next pass lets those that are still silent wait again, now at the rate 0.
            self._pass_ns = (now_ns // self._period_ns + 1) * self._period_ns
        for zone, rate in found.rates.items():
            self._queue(zone).swap_rate(rate, now_ns)
        self._states = {**self._states, **found.states}

    def _suspects(self, silent: np.ndarray) -> list[int]:
        """The nodes that a pass may do something about: those that are silent, wait in a queue, or have its taint."""
        taints = self._state.node_columns().taints
        # The last is for the code -1, of a node without taints.
        marked = np.array([*(tuple(no_execute_taints("True", value)) != value for value in taints.values), False])
        rows = silent | marked[taints.codes]
        rows[[int(name) for queue in self._queues.values() for name in queue]] = True
        return np.flatnonzero(rows & self._state.node_alive).tolist()

    def _judge(self, row: int, silent: bool, now_ns: int) -> None:
        if not silent:
            self._acquit(row, now_ns)
            return
        marked = no_execute_taints("True", self._taints(row))
        if len(marked) != len(self._taints(row)):
            self._taint_no_execute(row, now_ns)  # swapping one for the other is immediate
        else:
            self._queue(self._zone(row)).add(str(row), now_ns)

    def _acquit(self, row: int, now_ns: int) -> None:
        self._queue(self._zone(row)).remove(str(row))
        taints = self._taints(row)
        cleared = tuple(no_execute_taints("True", taints))
        if cleared != taints:
            self._state.update_node(row, taints=cleared)
            self._tell("TaintRemoved", row, "", now_ns)
            self._watch(row, now_ns)

    def _queue(self, zone: str) -> EvictionQueue:
        if zone not in self._queues:
            self._queues[zone] = EvictionQueue(self._rates.normal)
        return self._queues[zone]

    def _zone(self, row: int) -> str:
        return self._zones[int(self._zone_of[row])]

    def _count(self, silent: np.ndarray) -> dict[str, tuple[int, int]]:
        """Zone -> (ready, not ready)."""
        counted = self._state.node_alive & self._counts
        ready, lost = (
            np.bincount(self._zone_of[counted & which], minlength=len(self._zones)).tolist()
            for which in (~silent, silent)
        )
        return dict(zip(self._zones, zip(ready, lost, strict=True), strict=True))

    def _know_nodes(self) -> None:
        known, count = len(self._zone_of), self._state.node_count
        if known == count:
            return
        labels = self._state.node_columns().labels
        index = {zone: code for code, zone in enumerate(self._zones)}
        zone_of, counts = self._zone_of.tolist(), self._counts.tolist()
        for row in range(known, count):
            own = {key: value for key, column in labels.items() if (value := column[row]) is not None}
            zone_of.append(index.setdefault(zone_key(own), len(index)))
            counts.append(not excluded_from_disruption(own))
        self._zones = list(index)
        self._zone_of, self._counts = np.array(zone_of, dtype=np.int64), np.array(counts, dtype=np.bool_)

    # -- eviction by taint ------------------------------------------------------------------------

    def _watch(self, row: int, now_ns: int) -> None:
        """Give the pods of a node whose taints changed their timers, or take them away."""
        taints = [taint for taint in self._taints(row) if taint.effect == "NoExecute"]
        before = self._timers.pop(row, {})
        if not taints:
            return
        state = self._state
        pods = state.pods_on(row)
        pods = pods[state.pod_leaving[pods] == 0]
        tolerations = state.pod_columns(pods).tolerations
        daemon = [False] * len(pods) if self._daemons is None else self._daemons(pods).tolist()
        timers: dict[int, EvictionTimer] = {}
        groups: dict[EvictionTimer, list[int]] = {}
        known: dict[tuple[int, bool, EvictionTimer | None], EvictionTimer | None] = {}
        for pod, code, is_daemon in zip(pods.tolist(), tolerations.codes.tolist(), daemon, strict=True):
            case = code, is_daemon, before.get(pod)
            if case not in known:
                own = tolerations.values[code] if code >= 0 else ()
                known[case] = eviction_timer(
                    taints, admitted_tolerations(own, daemon_set=is_daemon), before.get(pod), now_ns
                )
            timer = known[case]
            if timer is not None:
                timers[pod] = timer
                if timer != before.get(pod):
                    groups.setdefault(timer, []).append(pod)
        self._timers[row] = timers
        for timer, group in groups.items():
            self._numbers += 1
            entry = (timer.fires_ns, self._numbers, row, timer, np.array(group, dtype=np.int64))
            heapq.heappush(self._due, entry)

    def _fire(self, now_ns: int) -> None:
        while self._due and self._due[0][0] <= now_ns:
            _, _, row, timer, pods = heapq.heappop(self._due)
            timers = self._timers.get(row, {})
            mine = np.array([pod for pod in pods.tolist() if timers.get(pod) == timer], dtype=np.int64)
            here = mine[self._state.pod_node[mine] == row]
            keys = ", ".join(taint.key for taint in self._taints(row) if taint.effect == "NoExecute")
            self._evictor.delete(here, f"taint {keys}", now_ns)

    # -- telling ------------------------------------------------------------------------------------

    def _tell_zones(self, found: ZoneDisruption, now_ns: int) -> None:
        for zone, state in found.states.items():
            if self._states.get(zone) is not state:
                rate = f", {found.rates[zone]:g} nodes/s" if zone in found.rates else ""
                self._tell("ZoneState", -1, f"{zone or 'no zone'}: {state.value}{rate}", now_ns)

    def _tell(self, event: str, row: int, detail: str, now_ns: int) -> None:
        self._sink.emit(
            "events", time_ns=now_ns, controller=self.name, event=event, pod_row=-1, node_row=row, detail=detail
        )
