"""Raft, elections and log replication: tick, step, propose in; ready out; advance when done.

After Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014),
figure 2. No snapshots, no changes of membership. It owns no socket, file or clock; its only
dice, the election timeout, are a function of seed, member and term.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal
from zlib import crc32

from k8slab.domain.models import ConsensusRole

Kind = Literal["vote", "vote_reply", "append", "append_reply"]
NOBODY: Final = None


@dataclass(frozen=True)
class Entry:
    """One entry of the log. Indices count from 1."""

    term: int
    data: Any


@dataclass(frozen=True)
class Message:
    """What members say to one another.

    vote, append               : index and log_term of the entry before `entries`, or of the candidate's last
    vote_reply, append_reply   : granted; index is the last entry that the follower has in common, or may have
    commit                     : the leader's commit index
    """

    kind: Kind
    source: str
    target: str
    term: int
    index: int = 0
    log_term: int = 0
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    granted: bool = False


@dataclass(frozen=True)
class Ready:
    """What is to be done before the core goes on: keep term, vote and log, then send, then apply.

    log_from : index of the first log entry that changed since the last advance(), 0 for none
    """

    term: int
    voted_for: str | None
    log_from: int
    messages: tuple[Message, ...]
    committed: tuple[Entry, ...]


class Raft:
    """One member's view of the election and the log.

    A member alone is its own majority and leads as soon as it stands for election; one
    of several leads only with the votes of most of them.

    >>> alone = Raft("a", ["a"])
    >>> alone.propose("x")
    False
    >>> alone.campaign(); alone.propose("x")
    True
    >>> alone.ready().committed
    (Entry(term=1, data='x'),)
    """

    def __init__(
        self,
        node_id: str,
        members: Iterable[str],
        *,
        election_ticks: int = 10,
        heartbeat_ticks: int = 1,
        seed: int = 0,
    ) -> None:
        self.node_id = node_id
        self.peers = tuple(sorted(set(members) - {node_id}))
        self.role = ConsensusRole.FOLLOWER
        self.term = 0
        self.voted_for: str | None = NOBODY
        self.leader: str | None = NOBODY
        self.votes: set[str] = set()
        self.log: list[Entry] = []
        self.commit_index = 0
        self.last_applied = 0
        self._election_ticks = election_ticks
        self._heartbeat_ticks = heartbeat_ticks
        self._seed = seed
        self._elapsed = 0
        self._next: dict[str, int] = {}
        self._match: dict[str, int] = {}
        self._outbox: list[Message] = []
        self._log_from = 0

    # -- in ------------------------------------------------------------------

    def tick(self) -> None:
        """Let one unit of time pass: a leader sends heartbeats, the others may lose patience."""
        self._elapsed += 1
        if self.role is ConsensusRole.LEADER:
            if self._elapsed >= self._heartbeat_ticks:
                self.heartbeat()
        elif self._elapsed >= self._timeout():
            self.campaign()

    def campaign(self) -> None:
        """Stand for election in a new term. A leader has nothing to win."""
        if self.role is ConsensusRole.LEADER:
            return
        self._become_candidate()
        for peer in self.peers:
            self._send("vote", peer, index=len(self.log), log_term=self._term_at(len(self.log)))

    def heartbeat(self) -> None:
        """Send every follower what it lacks, or nothing but that the leader lives."""
        if self.role is ConsensusRole.LEADER:
            self._elapsed = 0
            for peer in self.peers:
                self._send_entries(peer)

    def propose(self, data: Any) -> bool:
        """Append to the log and start to replicate; False unless this member leads."""
        if self.role is not ConsensusRole.LEADER:
            return False
        self._append(len(self.log), (Entry(self.term, data),))
        self._commit_what_most_have()
        self.heartbeat()
        return True

    def step(self, message: Message) -> None:
        """Take a message from another member."""
        if message.term > self.term:
            self._become_follower(message.term)
        if message.kind == "vote":
            self._answer_vote(message)
        elif message.kind == "append":
            self._answer_append(message)
        elif message.term == self.term and message.kind == "vote_reply":
            self._count_vote(message)
        elif message.term == self.term and message.kind == "append_reply":
            self._note_progress(message)

    # -- out -----------------------------------------------------------------

    def ready(self) -> Ready:
        """What is to be kept, sent and applied now."""
        committed = tuple(self.log[self.last_applied : self.commit_index])
        return Ready(self.term, self.voted_for, self._log_from, tuple(self._outbox), committed)

    def advance(self) -> None:
        """All that ready() said has been done."""
        self._outbox.clear()
        self._log_from = 0
        self.last_applied = self.commit_index

    # -- roles (Raft §5.1, §5.2) -----------------------------------------------

    def _become_follower(self, term: int) -> None:
        self.role = ConsensusRole.FOLLOWER
        if term > self.term:
            self.term, self.voted_for = term, NOBODY
        self.leader = NOBODY
        self.votes = set()

    def _become_candidate(self) -> None:
        self.role = ConsensusRole.CANDIDATE
        self.term += 1
        self.voted_for = self.node_id
        self.leader = NOBODY
        self.votes = {self.node_id}
        self._elapsed = 0
        self._lead_if_elected()

    def _become_leader(self) -> None:
        self.role = ConsensusRole.LEADER
        self.leader = self.node_id
        self._next = dict.fromkeys(self.peers, len(self.log) + 1)
        self._match = dict.fromkeys(self.peers, 0)
        self.heartbeat()

    def _lead_if_elected(self) -> None:
        if self.role is ConsensusRole.CANDIDATE and len(self.votes) >= self._majority():
            self._become_leader()

    # -- votes (§5.2, §5.4.1) --------------------------------------------------

    def _answer_vote(self, message: Message) -> None:
        last = len(self.log)
        up_to_date = (message.log_term, message.index) >= (self._term_at(last), last)
        free = self.voted_for in (NOBODY, message.source)
        granted = message.term == self.term and free and up_to_date
        if granted:
            self.voted_for = message.source
            self._elapsed = 0
        self._send("vote_reply", message.source, granted=granted)

    def _count_vote(self, message: Message) -> None:
        if message.granted and self.role is ConsensusRole.CANDIDATE:
            self.votes.add(message.source)
            self._lead_if_elected()

    # -- the log (§5.3, §5.4.2) --------------------------------------------------

    def _answer_append(self, message: Message) -> None:
        if message.term < self.term:
            self._send("append_reply", message.source)
            return
        self._become_follower(message.term)
        self.leader = message.source
        self._elapsed = 0
        if message.index > len(self.log) or self._term_at(message.index) != message.log_term:
            # Where the leader should try next: no further than what is here.
            self._send("append_reply", message.source, index=min(len(self.log), message.index - 1))
            return
        self._append(message.index, message.entries)
        last = message.index + len(message.entries)
        self.commit_index = max(self.commit_index, min(message.commit, last))
        self._send("append_reply", message.source, index=last, granted=True)

    def _append(self, after: int, entries: tuple[Entry, ...]) -> None:
        """Put entries behind index `after`; only an entry that contradicts cuts the log."""
        for index, entry in enumerate(entries, start=after + 1):
            if self._term_at(index) == entry.term and index <= len(self.log):
                continue
            assert index > self.commit_index, f"entry {index} would be cut, but {self.commit_index} are committed"
            self.log[index - 1 :] = [entry]
            self._log_from = min(self._log_from or index, index)

    def _note_progress(self, message: Message) -> None:
        if self.role is not ConsensusRole.LEADER:
            return
        peer = message.source
        if message.granted:
            self._match[peer] = max(self._match[peer], message.index)
            self._next[peer] = self._match[peer] + 1
            self._commit_what_most_have()
        else:
            # An old refusal must not take back what was matched since.
            self._next[peer] = max(self._match[peer], message.index) + 1
            self._send_entries(peer)

    def _commit_what_most_have(self) -> None:
        have = sorted([len(self.log), *self._match.values()], reverse=True)[self._majority() - 1]
        # §5.4.2: entries of earlier terms are committed only along with one of this term.
        if have > self.commit_index and self._term_at(have) == self.term:
            self.commit_index = have

    # -- helpers -----------------------------------------------------------------

    def _majority(self) -> int:
        return (len(self.peers) + 1) // 2 + 1

    def _term_at(self, index: int) -> int:
        return self.log[index - 1].term if 1 <= index <= len(self.log) else 0

    def _timeout(self) -> int:
        """Ticks of patience: election_ticks to twice that, other in each term (§5.2)."""
        draw = crc32(f"{self._seed}/{self.node_id}/{self.term}".encode())
        return self._election_ticks + draw % self._election_ticks

    def _send_entries(self, peer: str) -> None:
        before = self._next[peer] - 1
        entries = tuple(self.log[before:])
        self._send(
            "append", peer, index=before, log_term=self._term_at(before), entries=entries, commit=self.commit_index
        )

    def _send(self, kind: Kind, target: str, **content: Any) -> None:
        self._outbox.append(Message(kind, self.node_id, target, self.term, **content))
