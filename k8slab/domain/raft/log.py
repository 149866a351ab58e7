"""The log of one member: what is stored, committed, applied, and what is still on its way (Raft §5.3, §7).

Indices count from 1. Entries up to `base_index` are gone: a snapshot stands for them.

    base_index < ... applied <= applying <= committed <= last_index
                 ... stable <= storing <= last_index

`storing` and `applying` have been handed out by a ready() and are not yet acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from k8slab.domain.raft.errors import LogConflict
from k8slab.domain.raft.membership import MembershipChange
from k8slab.domain.raft.messages import Entry, Snapshot
from k8slab.domain.raft.progress import NO_LIMIT
from k8slab.errors import InputError

PayloadSize = Callable[[Any], int]


def payload_size(data: Any) -> int:
    """Bytes of an entry's data: text and bytes by their length, a change of membership about 6 a member.

    Of other data the size is unknown and 0: whoever limits bytes passes a function of their own.
    """
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, str):
        return len(data.encode())
    if isinstance(data, MembershipChange):
        return 6 * len(data.changes) + 2 * (data.transition != "auto")
    return 0


def entry_size(entry: Entry, payload_bytes: PayloadSize = payload_size) -> int:
    """Bytes of an entry on the wire: its data, and index, term and lengths as varints."""
    payload = payload_bytes(entry.data)
    size = 4 + _varint(entry.index) + _varint(entry.term)
    return size + (1 + _varint(payload) + payload if payload else 0)


def payload_sizes(entries: Iterable[Entry], payload_bytes: PayloadSize = payload_size) -> int:
    total = 0
    for entry in entries:
        total += payload_bytes(entry.data)
    return total


def within(entries: Sequence[Entry], max_bytes: int, size: Callable[[Entry], int]) -> Sequence[Entry]:
    """The first entries that fit in `max_bytes` together, and one at least."""
    if max_bytes >= NO_LIMIT:
        return entries
    total = 0
    for count, entry in enumerate(entries):
        total += size(entry)
        if total > max_bytes and count:
            return entries[:count]
    return entries


def _varint(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)


class Log:
    """The log as a value that grows at its end and is cut at both.

    max_applying_bytes : at most about so much is handed out to be applied and not acknowledged
    received           : a snapshot that came from the leader and is not stored yet
    snapshot           : the newest snapshot of the own state machine, for followers that lag behind

    >>> log = Log()
    >>> log.append([Entry(1, 1, "x"), Entry(2, 1, "y")])
    2
    >>> log.maybe_append(1, 1, [Entry(2, 2, "z")], commit=2), log.committed
    (2, 2)
    """

    def __init__(self, *, max_applying_bytes: int = NO_LIMIT, payload_bytes: PayloadSize = payload_size) -> None:
        self.base_index = 0
        self.base_term = 0
        self.entries: list[Entry] = []
        self.stable = 0
        self.storing = 0
        self.committed = 0
        self.applying = 0
        self.applied = 0
        self.received: Snapshot | None = None
        self.snapshot: Snapshot | None = None
        self._received_in_progress = False
        self._payload_bytes = payload_bytes
        self._max_applying_bytes = max_applying_bytes
        self._applying_bytes = 0
        self._applying_paused = False

    @classmethod
    def starting_at(cls, snapshot: Snapshot, **limits: Any) -> Log:
        """A log whose entries up to a snapshot are gone, committed and applied."""
        log = cls(**limits)
        log.base_index, log.base_term = snapshot.index, snapshot.term
        log.stable = log.storing = log.committed = log.applying = log.applied = snapshot.index
        log.snapshot = snapshot
        return log

    # -- reading ---------------------------------------------------------------

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.base_term

    def term(self, index: int) -> int | None:
        """The term of an entry, None where it is not known: compacted or not there yet."""
        offset = index - self.base_index
        if offset <= 0:
            return self.base_term if offset == 0 else None
        return self.entries[offset - 1].term if offset <= len(self.entries) else None

    def matches(self, index: int, term: int) -> bool:
        return self.term(index) == term

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Whether a log that ends with (index, term) holds no less than this one (Raft §5.4.1)."""
        return (term, index) >= (self.last_term, self.last_index)

    def slice(self, first: int, last: int, max_bytes: int = NO_LIMIT) -> tuple[Entry, ...]:
        """Entries first..last, cut behind max_bytes, but one at least."""
        entries = self.entries[first - 1 - self.base_index : last - self.base_index]
        if max_bytes >= NO_LIMIT:
            return tuple(entries)
        return tuple(within(entries, max_bytes, self._wire_size))

    def find_conflict(self, entries: Iterable[Entry]) -> int:
        """The index of the first entry that differs from what is here or is new, 0 for none."""
        for entry in entries:
            if not self.matches(entry.index, entry.term):
                return entry.index
        return 0

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """The last entry up to `index` whose term is `term` at most: where two logs may meet at best.

        Skips a whole term at a time when logs are compared (Raft §5.3, the optimization at its
        end). An index whose term is not known is returned as it is, with term 0.
        """
        while index > 0:
            own = self.term(index)
            if own is None:
                return index, 0
            if own <= term:
                return index, own
            index -= 1
        return 0, 0

    # -- growing ---------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> int:
        """Put entries in, cutting what is behind the first one; the last index then."""
        if not entries:
            return self.last_index
        after = entries[0].index - 1
        if after < self.committed:
            raise LogConflict(f"entry {after + 1} would be replaced, but all up to {self.committed} are committed")
        if after > self.last_index:
            raise LogConflict(f"entry {after + 1} would leave a gap behind {self.last_index}, the last one here")
        if after < self.last_index:
            del self.entries[after - self.base_index :]
            self.stable = min(self.stable, after)
            self.storing = min(self.storing, after)
        self.entries.extend(entries)
        return self.last_index

    def maybe_append(self, index: int, term: int, entries: Sequence[Entry], commit: int) -> int | None:
        """Take a leader's entries behind (index, term); the last one's index, None if the logs differ there.

        Entries that are here already are kept, with what follows: a late message cuts nothing.
        """
        if not self.matches(index, term):
            return None
        last_new = index + len(entries)
        conflict = self.find_conflict(entries)
        if conflict:
            self.append(entries[conflict - index - 1 :])
        self.commit_to(min(commit, last_new))
        return last_new

    def commit_to(self, index: int) -> None:
        """Everything up to `index` is committed; what is committed stays so."""
        if index <= self.committed:
            return
        if index > self.last_index:
            raise LogConflict(
                f"entry {index} is committed elsewhere, but the log ends with {self.last_index}: entries were lost"
            )
        self.committed = index

    def maybe_commit(self, index: int, term: int) -> bool:
        """Commit up to `index` if its entry is of `term`; whether that moved anything (Raft §5.4.2)."""
        if index <= self.committed or not self.matches(index, term):
            return False
        self.commit_to(index)
        return True

    def restore(self, snapshot: Snapshot) -> None:
        """Let a snapshot from the leader stand for everything."""
        self.base_index, self.base_term = snapshot.index, snapshot.term
        self.entries = []
        self.stable = self.storing = self.committed = snapshot.index
        self.received = snapshot
        self._received_in_progress = False

    # -- storing ---------------------------------------------------------------

    @property
    def unstored(self) -> tuple[Entry, ...]:
        """Entries that no ready() has handed out yet."""
        first = self.storing - self.base_index
        return tuple(self.entries[first:]) if first < len(self.entries) else ()

    @property
    def snapshot_to_store(self) -> Snapshot | None:
        return None if self._received_in_progress else self.received

    def start_storing(self) -> None:
        """What was to be stored has been handed out."""
        self.storing = self.last_index
        self._received_in_progress = self.received is not None

    def stored_to(self, index: int, term: int) -> None:
        """The log is durable up to (index, term); ignored if those entries have been replaced since."""
        if index > self.stable and self.matches(index, term):
            self.stable = index
            self.storing = max(self.storing, index)

    def stored_snapshot(self, index: int) -> None:
        """The snapshot that ends with `index` is durable, and installed."""
        if self.received is not None and self.received.index == index:
            self.snapshot = self.received
            self.received = None
            self._received_in_progress = False
            self.applied_to(index, 0)

    # -- applying --------------------------------------------------------------

    def may_apply(self, *, unstable: bool) -> bool:
        """Whether there are committed entries to hand out; without `unstable` durable ones."""
        last = self.committed if unstable else min(self.committed, self.stable)
        return self.applying < last and not self._applying_paused and self.received is None

    def to_apply(self, *, unstable: bool) -> tuple[Entry, ...]:
        """Committed entries that were not handed out yet; without `unstable` only durable ones."""
        if not self.may_apply(unstable=unstable):
            return ()
        last = self.committed if unstable else min(self.committed, self.stable)
        room = self._max_applying_bytes - self._applying_bytes
        return self.slice(self.applying + 1, last, NO_LIMIT if self._max_applying_bytes >= NO_LIMIT else room)

    def start_applying(self, entries: Sequence[Entry], *, unstable: bool) -> None:
        """These entries have been handed out to be applied."""
        self.applying = entries[-1].index
        if self._max_applying_bytes < NO_LIMIT:
            last = self.committed if unstable else min(self.committed, self.stable)
            self._applying_bytes += self._wire_sizes(entries)
            self._applying_paused = self._applying_bytes >= self._max_applying_bytes or self.applying < last

    def applied_to(self, index: int, size_bytes: int) -> None:
        """Everything up to `index` has been applied; `size_bytes` of it were handed out."""
        if index > self.committed or index < self.applied:
            raise LogConflict(f"entry {index} was applied, but {self.applied} were and {self.committed} are committed")
        self.applied = index
        self.applying = max(self.applying, index)
        self._applying_bytes = max(0, self._applying_bytes - size_bytes)
        self._applying_paused = self._applying_bytes >= self._max_applying_bytes

    def applied_entries(self, entries: Sequence[Entry]) -> None:
        """These entries, handed out before, have been applied."""
        bounded = self._max_applying_bytes < NO_LIMIT
        self.applied_to(max(entries[-1].index, self.applied), self._wire_sizes(entries) if bounded else 0)

    @property
    def has_unapplied_change(self) -> bool:
        """Whether a committed change of membership waits to be applied."""
        waiting = self.entries[max(0, self.applied - self.base_index) : self.committed - self.base_index]
        return any(isinstance(entry.data, MembershipChange) for entry in waiting)

    # -- compaction (Raft §7) ------------------------------------------------------

    def offer(self, snapshot: Snapshot) -> None:
        """A newer snapshot of the state machine, for followers that lag behind; keeps the entries."""
        if snapshot.index > self.applied:
            raise InputError(f"a snapshot of entry {snapshot.index}, but only {self.applied} are applied")
        if self.snapshot is None or snapshot.index >= self.snapshot.index:
            self.snapshot = snapshot

    def compact(self, index: int) -> None:
        """Drop the entries up to `index`, for which a snapshot must stand."""
        if index <= self.base_index:
            raise InputError(f"cannot compact to {index}: entries up to {self.base_index} are gone already")
        kept = self.snapshot.index if self.snapshot is not None else 0
        if index > kept:
            raise InputError(f"cannot compact to {index}: the newest snapshot ends with {kept}")
        term = self.term(index)
        assert term is not None, f"entry {index} is covered by snapshot {kept} but not in the log"
        del self.entries[: index - self.base_index]
        self.base_index, self.base_term = index, term

    def _wire_size(self, entry: Entry) -> int:
        return entry_size(entry, self._payload_bytes)

    def _wire_sizes(self, entries: Iterable[Entry]) -> int:
        return sum(self._wire_size(entry) for entry in entries)
