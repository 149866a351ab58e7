"""The scheduling queue, obvious and slow: one list of pods, every second lived through, every order recomputed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from k8slab.domain.instants import SECOND_NS
from k8slab.domain.queueing import PodDeleted, PodInfo, PodUpdated, QueuedPodInfo, hint
from k8slab.errors import StateConflict

WAITING = ("backoff", "error", "unschedulable")
GATE_KINDS = {"SchedulingGates": (), "DefaultPreemption": (PodDeleted,)}


@dataclass
class Record:
    pod: PodInfo
    place: str = "active"
    since: int = 0
    arrival: int = 0
    attempts: int = 0
    refusals: int = 0
    errors: int = 0
    rejected_by: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    gate: str = ""
    missed: list[object] = field(default_factory=list)

    @property
    def turn(self) -> tuple[int, int, int]:
        return -self.pod.priority, self.since, self.arrival

    @property
    def expiry(self) -> int | None:
        failures = self.errors or self.refusals
        wait_s = min(10, 2 ** (failures - 1)) if failures else 0
        return (self.since + wait_s * SECOND_NS) // SECOND_NS if failures else None

    def backs_off(self, now: int) -> bool:
        return self.expiry is not None and self.expiry >= now // SECOND_NS


class NaiveQueue:
    def __init__(self, clock) -> None:
        self.clock = clock
        self.start = self.lived = clock.now()
        self.records: list[Record] = []
        self.held: set[str] = set()
        self.arrivals = 0

    # -- time

    def now(self) -> int:
        """Lives through every second, and every thirty since the start, up to now."""
        now = self.clock.now()
        seconds = range((self.lived // SECOND_NS + 1) * SECOND_NS, now + 1, SECOND_NS)
        ticks = range(self.start, now + 1, 30 * SECOND_NS)
        for instant in sorted({*seconds, *(tick for tick in ticks if tick > self.lived)}):
            if (instant - self.start) % (30 * SECOND_NS) == 0:
                self.look_for_leftovers(instant)
            if instant % SECOND_NS == 0:
                for record in self.records:
                    if record.place in ("backoff", "error") and not record.backs_off(instant):
                        record.place = "active"
        self.lived = now
        return now

    def look_for_leftovers(self, instant: int) -> None:
        late = [r for r in self.records if r.place == "unschedulable" and instant - r.since > 300 * SECOND_NS]
        for record in late:
            self.put(record, "after backoff", instant)
        if late:
            self.tell_those_in_flight("everybody")

    # -- places

    def find(self, pod: PodInfo) -> Record | None:
        return next((r for r in self.records if r.pod.key == pod.key), None)

    def stamp(self, record: Record, now: int) -> None:
        self.arrivals += 1
        record.since, record.arrival = now, self.arrivals

    def put(self, record: Record, strategy: str, now: int) -> None:
        record.gate = ""
        if strategy == "skip":
            record.place = "unschedulable"
            return
        record.gate = "SchedulingGates" if record.pod.spec.gates else ""
        if not record.gate and record.pod.key in self.held:
            record.gate = "DefaultPreemption"
        if record.gate:
            record.rejected_by.add(record.gate)
            record.place = "gated"
        elif strategy == "after backoff" and record.backs_off(now):
            record.place = "backoff" if record.rejected_by | record.pending else "error"
        else:
            record.place = "active"

    def meaning(self, record: Record, event: object) -> str:
        if event == "everybody" or event == record.pod.key:
            return "after backoff" if record.rejected_by | record.pending else "skip"
        if isinstance(event, str):
            return "skip"
        if any(hint(plugin, event, record.pod) for plugin in record.pending):
            return "at once"
        return "after backoff" if any(hint(plugin, event, record.pod) for plugin in record.rejected_by) else "skip"

    def tell_those_in_flight(self, event: object) -> None:
        for record in self.records:
            if record.place in ("in flight", "gone"):
                record.missed.append(event)

    # -- verbs

    def add(self, pod: PodInfo) -> None:
        now = self.now()
        if self.find(pod):
            raise StateConflict(pod.key)
        record = Record(pod)
        self.records.append(record)
        self.stamp(record, now)
        self.put(record, "at once", now)

    def pop(self) -> PodInfo | None:
        self.now()
        active = sorted((r for r in self.records if r.place == "active"), key=lambda r: r.turn)
        backing_off = sorted((r for r in self.records if r.place == "backoff"), key=lambda r: (r.expiry, r.turn))
        if not active + backing_off:
            return None
        record = (active + backing_off)[0]
        record.place = "in flight"
        record.attempts += 1
        record.rejected_by, record.pending, record.missed = set(), set(), []
        self.records.remove(record)
        self.records.append(record)
        return record.pod

    def land(self, pod: PodInfo) -> Record:
        record = self.find(pod)
        if record is None or record.place not in ("in flight", "gone"):
            raise StateConflict(pod.key)
        return record

    def done(self, pod: PodInfo) -> None:
        self.records.remove(self.land(pod))

    def requeue_unschedulable(self, pod: PodInfo, rejected_by: Iterable[str], pending: Iterable[str] = ()) -> str:
        now = self.now()
        record = self.land(pod)
        if record.place == "gone":
            self.records.remove(record)
            return "gone"
        record.refusals += 1
        record.errors = 0
        record.pending = set(pending)
        record.rejected_by = set(rejected_by)
        self.stamp(record, now)
        meanings = [self.meaning(record, event) for event in record.missed]
        self.put(record, next((s for s in ("at once", "after backoff") if s in meanings), "skip"), now)
        return record.place

    def requeue_error(self, pod: PodInfo) -> str:
        now = self.now()
        record = self.land(pod)
        if record.place == "gone":
            self.records.remove(record)
            return "gone"
        record.errors += 1
        self.stamp(record, now)
        self.put(record, "after backoff", now)
        return record.place

    def update(self, pod: PodInfo) -> str:
        now = self.now()
        record = self.find(pod)
        if record is None:
            self.add(pod)
            return self.find(pod).place
        before, record.pod = record.pod, pod
        if before == pod or record.place == "gone":
            return record.place
        if record.place == "in flight":
            self.tell_those_in_flight(PodUpdated(before, pod))
        elif record.place in ("unschedulable", "gated"):
            strategy = self.meaning(record, PodUpdated(before, pod))
            if strategy != "skip":
                self.put(record, strategy, now)
        if before.nominated and before.nominated != pod.nominated:
            self.move_on(PodDeleted(before))
        return record.place

    def delete(self, pod: PodInfo) -> bool:
        self.now()
        record = self.find(pod)
        if record is None or record.place == "gone":
            return False
        if record.place == "in flight":
            record.place = "gone"
        else:
            self.records.remove(record)
        self.held.discard(pod.key)
        if record.pod.nominated:
            self.move_on(PodDeleted(record.pod))
        return True

    def activate(self, pod: PodInfo) -> bool:
        now = self.now()
        record = self.find(pod)
        if record is None or record.place in ("active", "gone"):
            return False
        if record.place == "in flight":
            self.tell_those_in_flight(pod.key)
            return False
        if record.place in ("backoff", "error"):
            record.place = "active"
        else:
            self.put(record, "at once", now)
        return record.place == "active"

    def hold(self, pod: PodInfo) -> None:
        self.held.add(pod.key)

    def release(self, pod: PodInfo) -> None:
        self.held.discard(pod.key)

    def move_on(self, event) -> int:
        now = self.now()
        moved = 0
        for record in [r for r in self.records if r.place in ("unschedulable", "gated")]:
            promised = isinstance(event, PodDeleted) and not event.pod.node
            if promised and record.pod.priority > event.pod.priority:
                continue
            if record.place == "gated" and not isinstance(event, GATE_KINDS[record.gate]):
                continue
            strategy = self.meaning(record, event)
            if strategy != "skip":
                self.put(record, strategy, now)
                moved += record.place != "gated"
        self.tell_those_in_flight(event)
        return moved

    # -- what is in it

    def next_try(self, record: Record) -> int:
        if record.place == "unschedulable":
            tick = self.start
            while tick - record.since <= 300 * SECOND_NS:
                tick += 30 * SECOND_NS
            return tick
        if record.place in ("backoff", "error"):
            return (record.expiry + 1) * SECOND_NS
        return record.since if record.place == "active" else -1

    def next_flush_ns(self) -> int | None:
        return min((self.next_try(r) for r in self.records if r.place in WAITING), default=None)

    def pods(self) -> list[QueuedPodInfo]:
        self.now()
        orders = {
            "active": lambda r: r.turn, "backoff": lambda r: (r.expiry, r.turn), "error": lambda r: (r.expiry, r.turn),
            "unschedulable": lambda r: r.arrival, "gated": lambda r: r.arrival, "in flight": lambda r: 0,
        }  # fmt: skip
        listed = [r for place, key in orders.items() for r in sorted(self.at(place), key=key)]
        return [
            QueuedPodInfo(
                r.pod, r.place, r.since, r.attempts, r.refusals, r.errors, tuple(sorted(r.rejected_by | r.pending)),
                tuple(sorted(r.pending)), self.next_try(r),
            )
            for r in listed
        ]  # fmt: skip

    def at(self, place: str) -> list[Record]:
        return [r for r in self.records if r.place == place]
