"""The pods that wait, each in one of five places, and the moves between them.

add ──> active <──────────────── flush ─── backoff, error
          │ pop                              ▲    ▲
          ▼                                  │    │
      in flight ── requeue_unschedulable ────┤    │
          │   │          │                   │    │
          │   │          └──> unschedulable ─┴── an event, or 5 minutes
          │   └── requeue_error ──────────────────┘
          └── done
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from k8slab.domain.instants import SECOND_NS
from k8slab.domain.queueing.backoff import WINDOW_NS, Backoff, waits
from k8slab.domain.queueing.events import (
    Event,
    Forced,
    Kinds,
    PodAdded,
    PodDeleted,
    PodInfo,
    PodUpdated,
    kinds_of,
)
from k8slab.domain.queueing.hints import IN_TREE, Hints, helps, registered
from k8slab.errors import InputError, StateConflict

Place = Literal["active", "backoff", "error", "unschedulable", "gated", "in flight", "gone"]
LEFTOVER_EVERY_NS: Final = 30 * SECOND_NS
LEFTOVER_AFTER_NS: Final = 300 * SECOND_NS
# Turns are one integer: the priority, an int32, above the sequence. Room for 2**48 comings of pods.
_SEQUENCE_BITS: Final = 48
_TURN_BITS: Final = _SEQUENCE_BITS + 33

# What an event means for a pod: nothing, another try once its back-off ends, another try at once.
Strategy = Literal["skip", "after backoff", "at once"]


@dataclass(frozen=True)
class QueuedPodInfo:
    """A pod of the queue, as it stands.

    queue       : active, backoff, error, unschedulable, gated or in flight
    since_ns    : when it was added, or came back
    attempts    : how often it was popped
    unschedulable, errors : refusals so far; errors in a row since the last refusal
    rejected_by : the plug-ins that refused it last, sorted
    pending     : those of them that wait for something and then skip the back-off
    next_try_ns : when it is tried at the latest if no event helps; -1 if only an event can
    """

    pod: PodInfo
    queue: Place
    since_ns: int
    attempts: int
    unschedulable: int
    errors: int
    rejected_by: tuple[str, ...]
    pending: tuple[str, ...]
    next_try_ns: int


class _Entry:
    """A pod and what the queue remembers of it."""

    __slots__ = (
        "attempts", "errors", "expiry_ns", "first_event", "order", "pending", "place", "pod", "rejected_by",
        "sequence", "since_ns", "unschedulable",
    )  # fmt: skip

    def __init__(self, pod: PodInfo) -> None:
        self.pod = pod
        self.place: Place = "in flight"
        self.since_ns = 0
        self.sequence = 0
        self.order = 0
        self.attempts = 0
        self.unschedulable = 0
        self.errors = 0
        self.expiry_ns: int | None = None
        self.rejected_by: frozenset[str] = frozenset()
        self.pending: frozenset[str] = frozenset()
        self.first_event = 0

    @property
    def turn(self) -> int:
        """Higher priority first, then who waits longer, then who came first.

        The sequence is given with the time, which never goes back, so it says both of the latter.
        """
        return (-self.pod.priority << _SEQUENCE_BITS) + self.sequence


class _Heap:
    """Entries by an integer, lowest first, any of which can be taken out: its integer then stays until it surfaces.

    Integers, because a heap of a million tuples is twice as slow, and Python's garbage collector walks through them.
    """

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, order: int, entry: _Entry) -> None:
        """Add an entry that isn't in; no other has this order."""
        entry.order = order
        self._entries[order] = entry
        heapq.heappush(self._heap, order)
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = sorted(self._entries)

    def discard(self, entry: _Entry) -> None:
        """Take out an entry that is in."""
        del self._entries[entry.order]

    def head(self) -> _Entry | None:
        """The first entry, None if there is none."""
        heap, entries = self._heap, self._entries
        while heap:
            entry = entries.get(heap[0])
            if entry is not None:
                return entry
            heapq.heappop(heap)
        return None

    def entries(self) -> Iterator[_Entry]:
        """All of them, in order."""
        return (self._entries[order] for order in sorted(self._entries))


class PodQueue:
    """kube-scheduler v1.34's scheduling queue with its default features, as a function of its calls.

    backoff      : how long refused pods wait
    hints        : what plug-ins registered for
    start_ns     : when it began; every 30 s from then on it looks for pods that wait too long
    leftover_ns  : how long that is

    Every verb takes the time, which never goes back; what was due by then has happened
    before the verb does anything. Not safe to call from several threads.

    >>> queue = PodQueue()
    >>> queue.add(PodInfo("low"), now_ns=0); queue.add(PodInfo("high", priority=5), now_ns=0)
    >>> high = queue.pop(now_ns=0); high.name
    'high'
    >>> queue.requeue_unschedulable(high, {"NodeResourcesFit"}, now_ns=0)
    'unschedulable'
    """

    def __init__(
        self,
        backoff: Backoff | None = None,
        hints: Hints | None = None,
        start_ns: int = 0,
        leftover_ns: int = LEFTOVER_AFTER_NS,
    ) -> None:
        if leftover_ns < 0:
            raise InputError(f"pods are to wait at most {leftover_ns} ns for an event, wanted 0 or more")
        self._backoff = backoff or Backoff()
        self._hints = IN_TREE if hints is None else hints
        self._start_ns = start_ns
        self._leftover_ns = leftover_ns
        self._next_leftover_ns = start_ns
        # Nothing is due before; it may turn out that nothing is then, either.
        self._due_ns = start_ns
        self._entries: dict[str, _Entry] = {}
        self._active, self._waiting, self._erred, self._pool = _Heap(), _Heap(), _Heap(), _Heap()
        self._heaps: dict[Place, _Heap] = {
            "active": self._active, "backoff": self._waiting, "error": self._erred, "unschedulable": self._pool,
        }  # fmt: skip
        # What pods of the pool wait for, by the plug-in that refused them; and the gate of those that have one.
        self._rejected: dict[str, dict[str, _Entry]] = {}
        self._gated: dict[str, str] = {}
        self._held: set[str] = set()
        # Ordered by when they were popped; a plain dict forgets its first ones only in linear time.
        self._in_flight: OrderedDict[str, _Entry] = OrderedDict()
        self._events: list[tuple[Event, Kinds]] = []
        self._first_event = 0
        self._sequence = 0

    # -- verbs ---------------------------------------------------------------------

    def add(self, pod: PodInfo, now_ns: int) -> None:
        """A new pod. StateConflict if the queue has one of its key."""
        self.flush(now_ns)
        known = self._entries.get(pod.key)
        if known is not None and known.place == "gone":
            why = "it was deleted in flight and hasn't come back; pods that share a name need different uids"
            raise StateConflict(f"cannot add pod {pod.key!r}: {why}")
        if known is not None:
            raise StateConflict(f"cannot add pod {pod.key!r}: the queue has one of this key, {known.place}")
        entry = _Entry(pod)
        self._entries[pod.key] = entry
        self._stamp(entry, now_ns)
        self._to_active(entry)

    def pop(self, now_ns: int) -> PodInfo | None:
        """The pod to be scheduled now, None if there is none. It is in flight until it is done or comes back.

        With nobody active, the first that backs off goes before its time; not so pods that met an error.
        """
        self.flush(now_ns)
        entry = self._active.head() or self._waiting.head()
        if entry is None:
            return None
        self._take_out(entry)
        entry.attempts += 1
        entry.place = "in flight"
        entry.expiry_ns = None
        entry.rejected_by = entry.pending = frozenset()
        entry.first_event = self._first_event + len(self._events)
        self._in_flight[entry.pod.key] = entry
        return entry.pod

    def done(self, pod: PodInfo) -> None:
        """A popped pod is bound, or never comes back."""
        entry = self._land(pod, "finish")
        if self._entries.get(pod.key) is entry:
            del self._entries[pod.key]

    def requeue_unschedulable(
        self, pod: PodInfo, rejected_by: Iterable[str], pending: Iterable[str] = (), *, now_ns: int
    ) -> Place:
        """A popped pod that plug-ins refused comes back; gives where it went, "gone" if it was deleted meanwhile.

        rejected_by : every plug-in that refused some node, or the cycle
        pending     : those that wait for something; once a hint of theirs says so the pod skips its back-off

        Events that came while it was in flight are looked at now.
        """
        refused, waited = _names(rejected_by, "rejected_by"), _names(pending, "pending")
        if not refused and not waited:
            raise InputError(f"pod {pod.key!r}: no plug-in refused it; requeue_error() is for what is no refusal")
        self.flush(now_ns)
        return self._come_back(pod, refused, waited, now_ns)

    def requeue_error(self, pod: PodInfo, now_ns: int) -> Place:
        """A popped pod comes back for no fault of its own: an API call failed, or its binding did.

        It backs off, by errors in a row, whatever happened meanwhile. So does a pod for which there were no nodes.
        """
        self.flush(now_ns)
        return self._come_back(pod, frozenset(), frozenset(), now_ns)

    def update(self, pod: PodInfo, now_ns: int) -> Place:
        """A pod that waits changed; gives where it is now. One that isn't known is added."""
        self.flush(now_ns)
        entry = self._entries.get(pod.key)
        if entry is None:
            self.add(pod, now_ns)
            return self._entries[pod.key].place
        before, entry.pod = entry.pod, pod
        if before == pod or entry.place == "gone":
            return entry.place
        self._note_change(entry, PodUpdated(before, pod), now_ns)
        if before.nominated and before.nominated != pod.nominated:
            self.move_on(PodDeleted(before), now_ns)
        return entry.place

    def delete(self, pod: PodInfo, now_ns: int) -> bool:
        """Forget a pod that waits, False if there is none. In flight, it is forgotten when it comes back."""
        self.flush(now_ns)
        entry = self._entries.get(pod.key)
        if entry is None or entry.place == "gone":
            return False
        if entry.place == "in flight":
            entry.place = "gone"
        else:
            self._take_out(entry)
            del self._entries[pod.key]
        self._held.discard(pod.key)
        if entry.pod.nominated:
            self.move_on(PodDeleted(entry.pod), now_ns)
        return True

    def activate(self, pod: PodInfo, now_ns: int) -> bool:
        """Try a pod now, whatever it waits for; False if it can't be moved. In flight, it is when it comes back."""
        self.flush(now_ns)
        entry = self._entries.get(pod.key)
        if entry is None or entry.place in ("active", "gone"):
            return False
        if entry.place == "in flight":
            self._record(Forced(pod.key))
            return False
        if entry.place in ("backoff", "error"):
            self._take_out(entry)
            self._push_active(entry)
        else:
            self._take_out(entry)
            self._to_active(entry)
        return entry.place == "active"

    def hold(self, pod: PodInfo) -> None:
        """Its victims' deletions are being sent: the pod stays out of the queues until release()."""
        self._held.add(pod.key)

    def release(self, pod: PodInfo) -> None:
        """They are sent: the next deletion that may help moves it. Where they failed activate() it."""
        self._held.discard(pod.key)

    def move_on(self, event: Event, now_ns: int) -> int:
        """Something happened in the cluster; gives how many pods it moved."""
        _check(event)
        self.flush(now_ns)
        kinds = kinds_of(event)
        if not kinds:
            return 0
        moved = self._move(self._concerned(event, kinds), event, kinds, now_ns)
        self._record(event)
        return moved

    def flush(self, now_ns: int) -> int:
        """Let happen what is due; gives how many pods that moved. Every verb does so first."""
        if now_ns < self._due_ns:
            return 0
        moved = 0
        if now_ns >= self._next_leftover_ns:
            tick_ns = now_ns - (now_ns - self._start_ns) % LEFTOVER_EVERY_NS
            self._next_leftover_ns = tick_ns + LEFTOVER_EVERY_NS
            moved += self._flush_leftover(tick_ns)
        for heap in (self._waiting, self._erred):
            while (entry := heap.head()) is not None and not waits(entry.expiry_ns, now_ns):
                heap.discard(entry)
                self._push_active(entry)
                moved += 1
        heads = [entry for heap in (self._waiting, self._erred) if (entry := heap.head()) is not None]
        self._due_ns = min([self._next_leftover_ns, *map(self._next_try_ns, heads)])
        return moved

    def next_flush_ns(self) -> int | None:
        """When flush() has something to do next if nothing else happens, None if never."""
        heads = (self._waiting.head(), self._erred.head(), self._pool.head())
        times = [self._next_try_ns(entry) for entry in heads if entry is not None]
        return min(times, default=None)

    # -- what is in it -----------------------------------------------------------------

    def __len__(self) -> int:
        """How many pods wait: in any place but in flight."""
        return len(self._entries) - len(self._in_flight)

    def counts(self) -> dict[Place, int]:
        """How many pods are where."""
        flying = sum(entry.place == "in flight" for entry in self._in_flight.values())
        waiting: dict[Place, int] = {place: len(heap) for place, heap in self._heaps.items()}
        return {**waiting, "gated": len(self._gated), "in flight": flying}

    def get(self, pod: PodInfo) -> QueuedPodInfo | None:
        """How a pod stands, None if the queue doesn't know it."""
        entry = self._entries.get(pod.key)
        return None if entry is None or entry.place == "gone" else self._told(entry)

    def pods(self) -> list[QueuedPodInfo]:
        """How all of them stand: the active in the order they go, and so on; gated and in flight last."""
        heaps = self._heaps.values()
        gated = sorted((self._entries[key] for key in self._gated), key=lambda entry: entry.sequence)
        flying = (entry for entry in self._in_flight.values() if entry.place == "in flight")
        return [self._told(entry) for group in (*(heap.entries() for heap in heaps), gated, flying) for entry in group]

    # -- moves ---------------------------------------------------------------------------

    def _stamp(self, entry: _Entry, now_ns: int) -> None:
        self._sequence += 1
        entry.since_ns, entry.sequence = now_ns, self._sequence

    def _come_back(self, pod: PodInfo, rejected_by: frozenset[str], pending: frozenset[str], now_ns: int) -> Place:
        first = self._in_flight[pod.key].first_event if pod.key in self._in_flight else 0
        missed = self._events[first - self._first_event :]
        entry = self._land(pod, "requeue")
        if entry.place == "gone":
            del self._entries[pod.key]
            return "gone"
        is_error = not rejected_by and not pending
        entry.errors = entry.errors + 1 if is_error else 0
        entry.unschedulable += not is_error
        entry.rejected_by, entry.pending = rejected_by, pending
        self._stamp(entry, now_ns)
        # Errors are counted apart, so that a long wait for room isn't held against the first of them.
        entry.expiry_ns = self._backoff.expiry_ns(now_ns, entry.errors or entry.unschedulable)
        strategies = {self._meaning(entry, event, kinds) for event, kinds in missed}
        strategy: Strategy = "skip"
        if "at once" in strategies:
            strategy = "at once"
        elif is_error or "after backoff" in strategies:
            strategy = "after backoff"
        self._place(entry, strategy, now_ns)
        return entry.place

    def _land(self, pod: PodInfo, verb: str) -> _Entry:
        entry = self._in_flight.pop(pod.key, None)
        if entry is None:
            known = self._entries.get(pod.key)
            where = "not in the queue" if known is None else known.place
            raise StateConflict(f"cannot {verb} pod {pod.key!r}: it is {where}, and only a popped pod is in flight")
        # Events before the oldest pod in flight was popped are nobody's any more. Half of the list
        # at a time, so that each is moved once.
        first = next(iter(self._in_flight.values())).first_event if self._in_flight else None
        if first is None:
            self._events.clear()
        elif 2 * (first - self._first_event) > len(self._events):
            del self._events[: first - self._first_event]
            self._first_event = first
        return entry

    def _place(self, entry: _Entry, strategy: Strategy, now_ns: int) -> None:
        if strategy == "skip":
            self._to_pool(entry)
        elif strategy == "after backoff" and waits(entry.expiry_ns, now_ns):
            self._to_backoff(entry)
        else:
            self._to_active(entry)

    def _to_active(self, entry: _Entry) -> None:
        if not self._gate(entry):
            self._push_active(entry)

    def _push_active(self, entry: _Entry) -> None:
        entry.place = "active"
        self._active.push(entry.turn, entry)

    def _to_backoff(self, entry: _Entry) -> None:
        if self._gate(entry):
            return
        entry.place = "backoff" if entry.rejected_by or entry.pending else "error"
        self._push_backoff(entry)

    def _push_backoff(self, entry: _Entry) -> None:
        assert entry.expiry_ns is not None, f"{entry.pod.key} backs off without an end"
        self._heaps[entry.place].push((entry.expiry_ns // WINDOW_NS << _TURN_BITS) + entry.turn, entry)
        self._due_ns = min(self._due_ns, entry.expiry_ns + WINDOW_NS)

    def _to_pool(self, entry: _Entry) -> None:
        entry.place = "unschedulable"
        self._pool.push(entry.sequence, entry)
        self._index(entry)

    def _gate(self, entry: _Entry) -> bool:
        """PreEnqueue: whether something holds the pod back, in which case it waits with its gate."""
        key = entry.pod.key
        gate = "SchedulingGates" if entry.pod.spec.gates else "DefaultPreemption" if key in self._held else ""
        if gate:
            entry.place = "gated"
            entry.rejected_by |= {gate}
            self._gated[key] = gate
            self._index(entry)
        return bool(gate)

    def _index(self, entry: _Entry) -> None:
        for plugin in entry.rejected_by | entry.pending:
            self._rejected.setdefault(plugin, {})[entry.pod.key] = entry

    def _take_out(self, entry: _Entry) -> None:
        """Out of wherever it waits."""
        if entry.place in ("unschedulable", "gated"):
            for plugin in entry.rejected_by | entry.pending:
                waiting = self._rejected[plugin]
                del waiting[entry.pod.key]
                if not waiting:
                    del self._rejected[plugin]
            self._gated.pop(entry.pod.key, None)
        if entry.place != "gated":
            self._heaps[entry.place].discard(entry)

    # -- events --------------------------------------------------------------------------

    def _concerned(self, event: Event, kinds: Kinds) -> list[_Entry]:
        """Pods of the pool that were refused by a plug-in which registered for such an event."""
        found: dict[str, _Entry] = {}
        for plugin, entries in self._rejected.items():
            if registered(plugin, kinds, self._hints):
                found.update(entries)
        if isinstance(event, PodDeleted) and not event.pod.node:
            # A promise counts only for those that had to respect it.
            return [entry for entry in found.values() if entry.pod.priority <= event.pod.priority]
        return list(found.values())

    def _move(self, entries: Iterable[_Entry], event: Event, kinds: Kinds, now_ns: int) -> int:
        moved = 0
        for entry in entries:
            gate = self._gated.get(entry.pod.key)
            if gate is not None and not registered(gate, kinds, self._hints):
                continue
            strategy = self._meaning(entry, event, kinds)
            if strategy != "skip":
                self._take_out(entry)
                self._place(entry, strategy, now_ns)
                moved += entry.place != "gated"
        return moved

    def _meaning(self, entry: _Entry, event: Event, kinds: Kinds) -> Strategy:
        # Activation and the five minutes move a pod after its back-off even past a plug-in that pends.
        pending = () if isinstance(event, Forced) else entry.pending
        if any(helps(plugin, event, kinds, entry.pod, self._hints) for plugin in pending):
            return "at once"
        plugins = entry.rejected_by | entry.pending if isinstance(event, Forced) else entry.rejected_by
        if any(helps(plugin, event, kinds, entry.pod, self._hints) for plugin in plugins):
            return "after backoff"
        return "skip"

    def _note_change(self, entry: _Entry, event: PodUpdated, now_ns: int) -> None:
        """The pod itself changed: in flight it is told later, in a heap it may move, the pool it may leave."""
        if entry.place == "in flight":
            self._record(event)
        elif entry.place == "active":
            self._take_out(entry)
            self._push_active(entry)
        elif entry.place in ("backoff", "error"):
            self._take_out(entry)
            self._push_backoff(entry)
        else:
            strategy = self._meaning(entry, event, kinds_of(event))
            if strategy != "skip":
                self._take_out(entry)
                self._place(entry, strategy, now_ns)

    def _record(self, event: Event) -> None:
        if self._in_flight:
            self._events.append((event, kinds_of(event)))

    # -- time -----------------------------------------------------------------------------

    def _flush_leftover(self, tick_ns: int) -> int:
        late = moved = 0
        while (entry := self._pool.head()) is not None and tick_ns - entry.since_ns > self._leftover_ns:
            self._take_out(entry)
            self._place(entry, "after backoff", tick_ns)
            late += 1
            moved += entry.place != "gated"
        if late:
            self._record(Forced())
        return moved

    def _next_try_ns(self, entry: _Entry) -> int:
        if entry.place == "unschedulable":
            # The first look that finds it waiting for longer.
            past = entry.since_ns + self._leftover_ns - self._start_ns
            return self._start_ns + (past // LEFTOVER_EVERY_NS + 1) * LEFTOVER_EVERY_NS
        if entry.place == "active":
            return entry.since_ns
        # A second is flushed once it is over.
        return -1 if entry.place in ("gated", "in flight") or entry.expiry_ns is None else entry.expiry_ns + WINDOW_NS

    def _told(self, entry: _Entry) -> QueuedPodInfo:
        return QueuedPodInfo(
            entry.pod, entry.place, entry.since_ns, entry.attempts, entry.unschedulable, entry.errors,
            tuple(sorted(entry.rejected_by | entry.pending)), tuple(sorted(entry.pending)), self._next_try_ns(entry),
        )  # fmt: skip


def _names(plugins: Iterable[str], what: str) -> frozenset[str]:
    if isinstance(plugins, str):
        raise InputError(f"{what} is the text {plugins!r}, wanted a collection of plug-ins' names")
    return frozenset(plugins)


def _check(event: Event) -> None:
    """Pods that wait come and go by other verbs, and are no event to the others."""
    match event:
        case PodAdded(pod) if not pod.node:
            raise InputError(f"PodAdded of pod {pod.key!r}: it is on no node; add() takes pods that wait")
        case PodUpdated(_, pod) if not pod.node:
            raise InputError(f"PodUpdated of pod {pod.key!r}: it is on no node; update() takes pods that wait")
        case PodUpdated(before, pod) if before.key != pod.key:
            raise InputError(f"PodUpdated of pod {before.key!r} gives another one, {pod.key!r}")
        case PodDeleted(pod) if not pod.node and not pod.nominated:
            raise InputError(f"PodDeleted of pod {pod.key!r}: it held no node; delete() takes pods that wait")
