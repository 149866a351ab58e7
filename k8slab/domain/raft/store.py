"""Where a member keeps what it must never forget: the port, and one that keeps it in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from k8slab.domain.raft.errors import LogConflict
from k8slab.domain.raft.log import Log
from k8slab.domain.raft.messages import Entry, HardState, Ready, Snapshot
from k8slab.errors import InputError


class LogStorePort(Protocol):
    """Stable storage of one member.

    A store keeps all of a save() or raises, and a member whose store raised must stop: it can't
    know what is kept. What was saved with must_sync survives a crash once save() has returned.
    """

    def save(self, ready: Ready) -> None:
        """Keep hard_state, snapshot and entries of a ready(): term and vote first, the commit index last."""

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot of the own state machine, beside the entries."""

    def compact(self, index: int) -> None:
        """Forget entries up to `index`, for which a kept snapshot stands."""

    def load(self, **limits: Any) -> tuple[HardState, Log]:
        """What is kept, as a member starts from it: with the snapshot applied, and nothing behind it."""

    def tail(self) -> tuple[HardState, int, int]:
        """What is kept last, read where it is kept: hard_state, and index and term of the last entry."""


class MemoryLogStore:
    """A store that forgets nothing as long as the process lives.

    >>> store = MemoryLogStore()
    >>> store.append([Entry(1, 1, "x"), Entry(2, 1, "y")])
    >>> store.append([Entry(2, 2, "z")])
    >>> store.last_index, store.entries[-1].data
    (2, 'z')
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.hard_state = HardState()
        self.snapshot = snapshot
        self.base_index, self.base_term = (snapshot.index, snapshot.term) if snapshot is not None else (0, 0)
        self.entries: list[Entry] = []

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.entries)

    def save(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        if ready.snapshot is not None:
            self.install(ready.snapshot)
        self.append(ready.entries)

    def install(self, snapshot: Snapshot) -> None:
        """Let a leader's snapshot stand for everything."""
        self.snapshot = snapshot
        self.base_index, self.base_term = snapshot.index, snapshot.term
        self.entries = []

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries in; the first one cuts what is stored from its index on. Compacted ones are left out."""
        if not entries or entries[-1].index <= self.base_index:
            return
        first = entries[0].index
        if first > self.last_index + 1:
            raise LogConflict(f"entry {first} would leave a gap behind {self.last_index}, the last one stored")
        if first <= self.base_index:
            entries = entries[self.base_index + 1 - first :]
        del self.entries[entries[0].index - 1 - self.base_index :]
        self.entries.extend(entries)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        if self.snapshot is None or snapshot.index >= self.snapshot.index:
            self.snapshot = snapshot

    def compact(self, index: int) -> None:
        if not self.base_index < index <= self.last_index:
            raise InputError(
                f"cannot compact to {index}: entries {self.base_index + 1} to {self.last_index} are stored"
            )
        kept = index - self.base_index
        self.base_term = self.entries[kept - 1].term
        del self.entries[:kept]
        self.base_index = index

    def tail(self) -> tuple[HardState, int, int]:
        return self.hard_state, self.last_index, self.entries[-1].term if self.entries else self.base_term

    def load(self, **limits: Any) -> tuple[HardState, Log]:
        log = Log(**limits)
        log.base_index, log.base_term = self.base_index, self.base_term
        log.entries = list(self.entries)
        log.stable = log.storing = self.last_index
        log.snapshot = self.snapshot
        applied = max(self.base_index, self.snapshot.index if self.snapshot is not None else 0)
        log.committed = log.applying = log.applied = applied
        return self.hard_state, log
