"""The consensus manager: one member of a Raft cluster, driven by time and messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Final, TypeVar

from k8slab.application.background import BackgroundLoop
from k8slab.domain.instants import SECOND_NS, UtcTime, from_ns
from k8slab.domain.models import ConsensusRole, RaftState
from k8slab.domain.ports import TimePort
from k8slab.domain.raft import (
    Entry,
    Envelope,
    LogStorePort,
    MemoryLogStore,
    Message,
    RaftConfig,
    RaftNode,
    Snapshot,
    TransportPort,
)
from k8slab.domain.raft.errors import MemberStopped
from k8slab.errors import InputError

Result = TypeVar("Result")

ELECTION_TIMEOUT_S: Final = 5.0
ELECTION_TICKS: Final = 10
# etcd takes a snapshot after so many entries.
SNAPSHOT_EVERY: Final = 10_000
# To the outside, a member that only asks whether it would be elected is a candidate as well.
_ROLES: Final = {
    "leader": ConsensusRole.LEADER,
    "follower": ConsensusRole.FOLLOWER,
    "pre_candidate": ConsensusRole.CANDIDATE,
    "candidate": ConsensusRole.CANDIDATE,
}


class _Outbox:
    """Messages that wait until the manager's lock is free; a transport, to the member."""

    def __init__(self, transport: TransportPort | None, send: Callable[[Message], object] | None) -> None:
        self._transport, self._send = transport, send
        self._waiting: list[Envelope] = []

    def send(self, envelope: Envelope) -> None:
        self._waiting.append(envelope)

    def take(self) -> list[Envelope]:
        taken, self._waiting = self._waiting, []
        return taken

    def post(self, envelopes: list[Envelope]) -> None:
        for envelope in envelopes:
            if self._transport is not None:
                self._transport.send(envelope)
            elif self._send is not None:
                self._send(envelope.message)


class _Machine:
    """What is committed is handed to one function, what a snapshot holds to another."""

    def __init__(
        self, apply: Callable[[dict[str, Any]], object] | None, restore: Callable[[Any], object] | None
    ) -> None:
        self._apply, self._restore = apply, restore

    def apply(self, entry: Entry) -> None:
        if self._apply is not None and entry.data is not None:
            self._apply(deepcopy(entry.data))

    def read(self, context: Any) -> None:
        """Nobody asks this way."""

    def restore(self, snapshot: Snapshot) -> None:
        if self._restore is not None:
            self._restore(deepcopy(snapshot.data))


class ConsensusManager:
    """A member of a Raft cluster: alone its own majority, otherwise nothing without the others.

    peers     : ids of the other members; none by default
    send      : called with each message for another member, outside the manager's lock
    transport : the same with the cluster's name around each message; one of the two, or none: then messages are
                lost, as on a network that is down
    store     : where log, term and vote are kept; in memory by default. One that fails or lies stops the member,
                and MemberStopped says why
    apply     : called with a copy of each entry as it is committed, in order, each once
    restore   : called with a copy of what `compact` was given, here or at the leader, in place of the entries that
                stands for
    cluster   : messages of a cluster of another name are refused
    seed      : for the election timeout, 5 to 10 s
    config    : the member's switches, in place of plain Raft's with that seed
    snapshot_every : so many entries after the last snapshot the log is compacted, and half as many stay for members
                that lag behind. Without `apply` that is done by itself, as nobody but the log makes anything of its
                entries; else whoever keeps what they made calls `compact`
    """

    def __init__(
        self,
        node_id: str,
        *,
        peers: Iterable[str] = (),
        send: Callable[[Message], object] | None = None,
        transport: TransportPort | None = None,
        store: LogStorePort | None = None,
        apply: Callable[[dict[str, Any]], object] | None = None,
        restore: Callable[[Any], object] | None = None,
        cluster: str = "k8slab",
        clock: TimePort | None = None,
        seed: int = 0,
        config: RaftConfig | None = None,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        if send is not None and transport is not None:
            raise InputError("messages can go to one place: give send or transport, not both")
        if isinstance(snapshot_every, bool) or not isinstance(snapshot_every, int) or snapshot_every < 1:
            raise InputError(f"snapshot_every={snapshot_every!r}: wanted a whole number of entries, 1 or more")
        self._snapshot_every = snapshot_every
        self._alone_with_log = apply is None
        # The log holds the caller's entries alone, hence no entry at an election.
        plain = RaftConfig(election_ticks=ELECTION_TICKS, election_entry=False, forward_proposals=False, seed=seed)
        self._outbox = _Outbox(transport, send)
        self._node = RaftNode(
            node_id,
            # That it counts itself among the others is no mistake; that it counts one of them twice is.
            [node_id, *(peer for peer in peers if peer != node_id)],
            cluster=cluster,
            store=store if store is not None else MemoryLogStore(),
            transport=self._outbox,
            machine=_Machine(apply, restore),
            config=config if config is not None else plain,
        )
        self._raft = self._node.raft
        self._clock = clock if clock is not None else UtcTime()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._heartbeat_ns = self._ticked_ns = self._clock.now()
        self._loop = BackgroundLoop(self.tick, ELECTION_TIMEOUT_S / ELECTION_TICKS, "k8slab-raft")

    def get_raft_state(self) -> RaftState:
        """A snapshot; the log's dicts are copies, in order, with `term` and `index` added.

        Entries that were compacted are in it no more.
        """
        with self._lock:
            raft = self._raft
            return RaftState(
                node_id=raft.member_id,
                role=_ROLES[raft.role],
                term=raft.term,
                voted_for=raft.vote or None,
                commit_index=raft.log.committed,
                last_applied=raft.log.applied,
                log=[
                    {"term": entry.term, "index": entry.index, **deepcopy(entry.data or {})}
                    for entry in raft.log.entries
                ],
                votes_received={member for member, granted in raft.tracker.votes.items() if granted},
                election_timeout=ELECTION_TIMEOUT_S,
                last_heartbeat_time=from_ns(self._heartbeat_ns),
            )

    @property
    def member_id(self) -> str:
        """This member's name."""
        return self._raft.member_id

    @property
    def leader(self) -> str:
        """Who leads as far as this member knows, "" if it knows of nobody."""
        return self._raft.leader

    @property
    def standing(self) -> tuple[ConsensusRole, int]:
        """This member's role and term."""
        with self._lock:
            return _ROLES[self._raft.role], self._raft.term

    def settled_term(self, wait_s: float) -> int:
        """The term in which this member leads and has applied all of its log, an entry of that term with it.

        0 if it doesn't lead, or that isn't so within `wait_s`. Whoever decides then knows all that was decided
        (Raft §8: what is committed is known once an entry of the own term is).
        """
        raft = self._raft

        def settled() -> bool:
            log = raft.log
            return log.applied == log.last_index and log.last_term == raft.term

        with self._changed:
            self._changed.wait_for(lambda: raft.role != "leader" or settled(), wait_s)
            return raft.term if raft.role == "leader" and settled() else 0

    def propose_and_wait(self, entry: dict[str, Any], term: int, wait_s: float) -> bool:
        """Append a copy of the entry if this member leads in this term; whether its place is applied in time.

        What is applied there is this entry, unless the lead was lost meanwhile.
        """
        raft = self._raft

        def propose() -> int:
            leads = raft.role == "leader" and raft.term == term
            return raft.log.last_index if leads and self._node.propose(deepcopy(entry)) else 0

        index = self._do(propose)
        if not index:
            return False
        with self._changed:
            self._changed.wait_for(lambda: raft.log.applied >= index or raft.term != term, wait_s)
            return raft.log.applied >= index

    def append_log_entry(self, entry: dict[str, Any]) -> bool:
        """Append a copy of the entry; False unless this member leads.

        True says that it is in the leader's log. It is decided when commit_index has
        reached it: in a cluster of one at once, else when most members have it.
        """
        return self._do(lambda: self._node.propose(deepcopy(entry)))

    def send_heartbeats(self) -> None:
        """If this member leads, tell each follower that it lives; those that lack entries get them on answering."""
        self._do(self._node.heartbeat)

    def compact(self, take: Callable[[], Any]) -> bool:
        """If that is due, let a snapshot stand for what was applied; whether it does.

        take : gives what the applied entries made, for `restore`; None if it can't say so now. Nothing is applied
               while it is called
        """
        return self._do(lambda: self._compact(take))

    def _compact(self, take: Callable[[], Any]) -> bool:
        log = self._raft.log
        kept = log.snapshot.index if log.snapshot is not None else 0
        if log.applied - kept < self._snapshot_every or self._node.stopped:
            return False
        made = take()
        if made is None:
            return False
        self._node.compact(made, keep=self._snapshot_every // 2)
        return True

    def conduct_election(self) -> None:
        """Stand for election now: alone it wins at once, else it is a candidate until most have voted for it."""
        self._do(self._node.campaign)

    def tick(self) -> None:
        """Let half a second of the protocol's time pass."""
        self._do(self._node.tick)

    def pass_time(self) -> None:
        """tick() if half a second has passed by the clock since the last one; a longer sleep isn't made up for."""
        now_ns = self._clock.now()
        if now_ns - self._ticked_ns >= ELECTION_TIMEOUT_S / ELECTION_TICKS * SECOND_NS:
            self._ticked_ns = now_ns
            self.tick()

    def receive(self, message: Message | Envelope) -> None:
        """Take a message from another member; ForeignMessage for one of another cluster, or of no member."""
        envelope = message if isinstance(message, Envelope) else Envelope(self._node.cluster, message)
        self._do(lambda: self._step(envelope))

    def start_consensus_protocol(self) -> None:
        """Take part: alone, stand for election now, as there is nobody to wait for; else tick in a daemon thread."""
        if self._raft.peers:
            self._loop.start()
        else:
            self.conduct_election()

    def stop(self) -> None:
        """Take no part any more; returns when the thread has ended."""
        self._loop.stop()

    def _step(self, envelope: Envelope) -> None:
        self._node.receive(envelope)
        message = envelope.message
        if message.kind in ("append", "heartbeat") and message.source == self._raft.leader:
            self._heartbeat_ns = self._clock.now()

    def _do(self, event: Callable[[], Result]) -> Result:
        """Let the member act, then send what it has to say."""
        with self._lock:
            try:
                result = event()
                if self._alone_with_log:
                    self._compact(dict)
            except MemberStopped:
                self._loop.stop()
                raise
            if self._raft.role == "leader":
                self._heartbeat_ns = self._clock.now()
            envelopes = self._outbox.take()
            self._changed.notify_all()
        self._outbox.post(envelopes)
        return result
