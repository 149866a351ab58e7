"""What must hold in every Raft cluster at every moment (Raft §5, figure 3; thesis §3).

election safety       : at most one leader a term
leader append-only    : a leader's log only grows
log matching          : entries of one index and term are the same, and so is all before them
leader completeness   : a leader has every entry that was committed in earlier terms
state machine safety  : nobody applies another entry at an index
committed stays       : what is committed is never undone, not even by a crash
monotonic             : terms never fall; commit and applied indices only with a restart
kept before promised  : votes and acknowledgements that leave are on the disk, and one vote goes out a term
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from k8slab.domain.raft import Entry, Message, Raft
from k8slab.domain.raft.store import MemoryLogStore
from k8slab.errors import K8slabError


class InvariantBroken(K8slabError):
    """Something happened that must never happen; `rule` names it."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


@dataclass
class _Seen:
    """What a member was like after the last event in which it took part."""

    role: str = "follower"
    term: int = 0
    committed: int = 0
    applied: int = 0
    last_index: int = 0
    last_term: int = 0


class Invariants:
    """Watches a cluster; raises InvariantBroken at the event that breaks a rule.

    Only what an event can have changed is looked at, so watching costs less than playing.
    """

    def __init__(self) -> None:
        self._leaders: dict[int, str] = {}
        self._promised: dict[str, int] = {}
        self._votes: dict[tuple[str, int], str] = {}
        # (index, term) -> term of the entry before it, and its data.
        self._entries: dict[tuple[int, int], tuple[int, Any]] = {}
        self._committed: dict[int, int] = {}
        self._last_committed = 0
        self._applied: dict[int, Entry] = {}
        self._seen: dict[str, _Seen] = {}

    def started(self, raft: Raft) -> None:
        """A member came up: its indices begin anew, its term only if it has promised nothing in it."""
        promised = self._promised.get(raft.member_id, 0)
        text = f"{raft.member_id} promised something in term {promised} and is back in {raft.term}"
        self._check("monotonic", raft.term >= promised, text)
        log = raft.log
        self._seen[raft.member_id] = _Seen(
            raft.role, raft.term, log.committed, log.applied, log.last_index, log.last_term
        )

    def after_event(self, raft: Raft) -> None:
        """Look at a member that has just taken part in an event."""
        seen, log = self._seen[raft.member_id], raft.log
        if raft.term != seen.term or raft.role != seen.role:
            self._check_term(raft, seen)
        elif raft.role == "leader" and (log.last_index, log.last_term) != (seen.last_index, seen.last_term):
            kept = log.last_index >= seen.last_index and log.term(seen.last_index) in (seen.last_term, None)
            self._check("leader append-only", kept, f"{raft.member_id} lost entries up to {seen.last_index}")
        if log.committed != seen.committed:
            self._check_commit(raft, seen)
        self._check("monotonic", log.applied >= seen.applied, f"{raft.member_id} applied {log.applied} again")
        seen.role, seen.term, seen.committed, seen.applied = raft.role, raft.term, log.committed, log.applied
        seen.last_index, seen.last_term = log.last_index, log.last_term

    def stores(self, raft: Raft, entries: tuple[Entry, ...]) -> None:
        """A member hands entries to its store: each must be what others have at its index and term."""
        for entry in entries:
            before = raft.log.term(entry.index - 1)
            if before is None:
                continue
            known = self._entries.setdefault((entry.index, entry.term), (before, entry.data))
            self._check("log matching", known == (before, entry.data), f"{raft.member_id} has another {entry}")

    def sends(self, message: Message, store: MemoryLogStore) -> None:
        """A message leaves a member: what it promises must be on the disk."""
        if message.reject or message.kind not in ("vote_resp", "append_resp"):
            return
        self._promised[message.source] = max(message.term, self._promised.get(message.source, 0))
        if message.kind == "vote_resp":
            self._check_vote(message, store)
        else:
            on_disk = max(store.last_index, store.hard_state.commit)
            text = f"{message.source} acknowledged {message.index}, but {on_disk} are stored"
            self._check("kept before promised", message.index <= on_disk, text)

    def applies(self, member: str, entry: Entry, expected_index: int) -> None:
        """A member applies an entry: in order, each once, and the same as everybody."""
        text = f"{member} applied {entry.index} where {expected_index} is next"
        self._check("state machine safety", entry.index == expected_index, text)
        known = self._applied.setdefault(entry.index, entry)
        self._check("state machine safety", known == entry, f"{member} applied {entry}, others {known}")

    def _check_vote(self, message: Message, store: MemoryLogStore) -> None:
        voter, term = message.source, message.term
        known = self._votes.setdefault((voter, term), message.target)
        text = f"{voter} voted for {known} and for {message.target} in term {term}"
        self._check("election safety", known == message.target, text)
        state = store.hard_state
        kept = state.term > term or (state.term == term and state.vote == message.target)
        self._check("kept before promised", kept, f"{voter} voted in term {term}, but {state} is stored")

    def _check_term(self, raft: Raft, seen: _Seen) -> None:
        self._check("monotonic", raft.term >= seen.term, f"{raft.member_id} went from term {seen.term} to {raft.term}")
        if raft.role != "leader":
            return
        known = self._leaders.setdefault(raft.term, raft.member_id)
        text = f"{known} and {raft.member_id} lead in term {raft.term}"
        self._check("election safety", known == raft.member_id, text)
        log = raft.log
        for index in range(log.base_index + 1, self._last_committed + 1):
            term = self._committed.get(index)
            if term is not None and term < raft.term:
                text = f"{raft.member_id} leads in term {raft.term} without entry {index} of term {term}"
                self._check("leader completeness", log.term(index) == term, text)

    def _check_commit(self, raft: Raft, seen: _Seen) -> None:
        log = raft.log
        text = f"{raft.member_id} took back its commit index from {seen.committed} to {log.committed}"
        self._check("committed stays", log.committed >= seen.committed, text)
        for index in range(max(seen.committed, log.base_index) + 1, log.committed + 1):
            term = log.term(index)
            assert term is not None, f"entry {index} is committed but not in the log"
            known = self._committed.setdefault(index, term)
            text = f"{raft.member_id} committed entry {index} of term {term}, others of term {known}"
            self._check("committed stays", known == term, text)
        self._last_committed = max(self._last_committed, log.committed)

    def _check(self, rule: str, holds: bool, text: str) -> None:
        if not holds:
            raise InvariantBroken(rule, text)
