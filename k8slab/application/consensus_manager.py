"""The consensus manager: one member of a Raft cluster, driven by time and messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Final

from k8slab.application.background import BackgroundLoop
from k8slab.domain.instants import UtcTime, from_ns
from k8slab.domain.models import ConsensusRole, RaftState
from k8slab.domain.ports import TimePort
from k8slab.domain.raft import Message, Raft, RaftConfig

ELECTION_TIMEOUT_S: Final = 5.0
_ELECTION_TICKS: Final = 10
# To the outside, a member that only asks whether it would be elected is a candidate as well.
_ROLES: Final = {
    "leader": ConsensusRole.LEADER,
    "follower": ConsensusRole.FOLLOWER,
    "pre_candidate": ConsensusRole.CANDIDATE,
    "candidate": ConsensusRole.CANDIDATE,
}


class ConsensusManager:
    """A member of a Raft cluster: alone its own majority, otherwise nothing without the others.

    peers : ids of the other members; none by default
    send  : called with each message for another member, outside the manager's lock;
            without it messages are lost, as on a network that is down
    seed  : for the election timeout, 5 to 10 s

    Keeps its log in memory.
    """

    def __init__(
        self,
        node_id: str,
        *,
        peers: Iterable[str] = (),
        send: Callable[[Message], object] | None = None,
        clock: TimePort | None = None,
        seed: int = 0,
    ) -> None:
        # The log holds the caller's entries alone, hence no entry at an election.
        config = RaftConfig(election_ticks=_ELECTION_TICKS, election_entry=False, forward_proposals=False, seed=seed)
        self._raft = Raft(node_id, {node_id, *peers}, config=config)
        self._send = send
        self._clock = clock if clock is not None else UtcTime()
        self._lock = threading.RLock()
        self._heartbeat_ns = self._clock.now()
        self._loop = BackgroundLoop(self.tick, ELECTION_TIMEOUT_S / _ELECTION_TICKS, "k8slab-raft")

    def get_raft_state(self) -> RaftState:
        """A snapshot; the log's dicts are copies, in order, with `term` and `index` added."""
        with self._lock:
            raft = self._raft
            return RaftState(
                node_id=raft.member_id,
                role=_ROLES[raft.role],
                term=raft.term,
                voted_for=raft.vote or None,
                commit_index=raft.log.committed,
                last_applied=raft.log.applied,
                log=[{"term": entry.term, "index": entry.index, **deepcopy(entry.data)} for entry in raft.log.entries],
                votes_received={member for member, granted in raft.tracker.votes.items() if granted},
                election_timeout=ELECTION_TIMEOUT_S,
                last_heartbeat_time=from_ns(self._heartbeat_ns),
            )

    def append_log_entry(self, entry: dict[str, Any]) -> bool:
        """Append a copy of the entry; False unless this member leads.

        True says that it is in the leader's log. It is decided when commit_index has
        reached it: in a cluster of one at once, else when most members have it.
        """
        with self._lock:
            appended = self._raft.propose(deepcopy(entry))
        self._carry_out()
        return appended

    def send_heartbeats(self) -> None:
        """If this member leads, tell each follower that it lives; those that lack entries get them on answering."""
        self._do(self._raft.heartbeat)

    def conduct_election(self) -> None:
        """Stand for election now: alone it wins at once, else it is a candidate until most have voted for it."""
        self._do(self._raft.campaign)

    def tick(self) -> None:
        """Let half a second of the protocol's time pass."""
        self._do(self._raft.tick)

    def receive(self, message: Message) -> None:
        """Take a message from another member."""
        self._do(lambda: self._step(message))

    def start_consensus_protocol(self) -> None:
        """Take part: alone, stand for election now, as there is nobody to wait for; else tick in a daemon thread."""
        if self._raft.peers:
            self._loop.start()
        else:
            self.conduct_election()

    def stop(self) -> None:
        """Take no part any more; returns when the thread has ended."""
        self._loop.stop()

    def _step(self, message: Message) -> None:
        self._raft.step(message)
        if message.kind in ("append", "heartbeat") and message.source == self._raft.leader:
            self._heartbeat_ns = self._clock.now()

    def _do(self, event: Callable[[], None]) -> None:
        with self._lock:
            event()
        self._carry_out()

    def _carry_out(self) -> None:
        # The log is kept in memory, so a message never says more than is kept.
        messages: list[Message] = []
        with self._lock:
            while self._raft.has_ready:
                ready = self._raft.ready()
                messages += [*ready.messages, *ready.replies]
                self._raft.advance(ready)
            if self._raft.role == "leader":
                self._heartbeat_ns = self._clock.now()
        if self._send is not None:
            for message in messages:
                self._send(message)
