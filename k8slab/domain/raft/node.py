"""A member that lives: the core between a store, a transport and a state machine.

The core says what is to be done; this does it, in the one order that is safe: keep, then promise,
then apply. What it can't trust it doesn't use: a store that fails or holds something else than it
was given stops the member for good, since going on could vote twice or lose what is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from k8slab.domain.raft.config import RaftConfig
from k8slab.domain.raft.core import Raft
from k8slab.domain.raft.errors import ForeignMessage, LogConflict, MemberStopped, StoreLies
from k8slab.domain.raft.log import Log
from k8slab.domain.raft.membership import Change, Membership, MembershipChange, Transition
from k8slab.domain.raft.messages import NOBODY, RESPONSES, Entry, HardState, Message, Ready, Snapshot
from k8slab.domain.raft.quorum import MemberId
from k8slab.domain.raft.store import LogStorePort
from k8slab.errors import InputError

# What only members of one's own membership may say. A leader or candidate may be one that this member has yet
# to hear of, for its log is behind: thesis §4.1.
_MEMBERS_ONLY: Final = RESPONSES | {"propose", "read_index", "transfer_leader"}


class Envelope(NamedTuple):
    """A message with the name of its cluster, lest two clusters on one network mix."""

    cluster: str
    message: Message


class TransportPort(Protocol):
    """The way to other members. Messages may be lost, late, doubled or out of order; never altered."""

    def send(self, envelope: Envelope) -> None:
        """Send to envelope.message.target. Must neither block nor raise for a member that can't be reached."""


class NetworkPort(TransportPort, Protocol):
    """A transport that knows by name where members are."""

    def join(self, member: MemberId, receive: Callable[[Envelope], None]) -> None:
        """From now on `receive` takes the messages for this member; it may be called by any thread."""

    def leave(self, member: MemberId) -> None:
        """Messages for this member are lost from now on."""


class StateMachinePort(Protocol):
    """What the log is for: the same entries in the same order give the same state, everywhere."""

    def apply(self, entry: Entry) -> None:
        """Do what a committed entry says; entries come in order, each once. Data None says nothing."""

    def read(self, context: Any) -> None:
        """The read asked for with this context may be answered now."""

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the state by a snapshot's data."""


class RaftNode:
    """One member, driven by tick(), receive() and propose().

    cluster : its name; messages of another are refused
    members : the first voters; what a stored snapshot says goes before
    store   : what is in it is where the member starts from; checked first

    A call may raise InputError for what was asked in vain. MemberStopped says that this member has
    stopped: whoever runs it must repair its store, or let a new member take its place.
    """

    def __init__(
        self,
        member_id: MemberId,
        members: Iterable[MemberId] = (),
        *,
        cluster: str,
        store: LogStorePort,
        transport: TransportPort,
        machine: StateMachinePort,
        config: RaftConfig | None = None,
    ) -> None:
        if not cluster:
            raise InputError("a cluster needs a name")
        self.cluster = cluster
        self.stopped = ""
        self._store, self._transport, self._machine = store, transport, machine
        self._unanswered: dict[MemberId, int] = {}
        config = config if config is not None else RaftConfig()
        hard_state, log = store.load(max_applying_bytes=config.max_applying_bytes, payload_bytes=config.payload_bytes)
        check_stored(member_id, hard_state, log)
        kept = log.snapshot
        membership = kept.membership if kept is not None else Membership.of(members)
        self.raft = Raft(member_id, membership, config=config, log=log, hard_state=hard_state)
        if kept is not None:
            machine.restore(kept)

    # -- in ------------------------------------------------------------------

    def tick(self) -> None:
        """Let one unit of time pass."""
        self._ensure_running()
        self.raft.tick()
        self._miss_snapshots()
        self._work()

    def _miss_snapshots(self) -> None:
        """A snapshot that isn't answered within an election timeout was lost: whoever waits for it gets another.

        The transport says nothing of what it loses, and until somebody does a leader sends such a member nothing else.
        """
        raft = self.raft
        waiting = {
            member: self._unanswered.get(member, 0) + 1
            for member, progress in raft.tracker.progress.items()
            if raft.role == "leader" and progress.state == "snapshot"
        }
        for member, ticks in waiting.items():
            if ticks >= raft.config.election_ticks:
                raft.report_snapshot(member, failed=True)
        self._unanswered = waiting if raft.role == "leader" else {}

    def receive(self, envelope: Envelope) -> bool:
        """Take a message; False if it could not be acted on. ForeignMessage for one that isn't for this member."""
        self._ensure_running()
        self._check_sender(envelope)
        try:
            taken = self.raft.step(envelope.message)
        except LogConflict as conflict:
            raise self._stop(str(conflict)) from conflict
        self._work()
        return taken

    def propose(self, *data: Any) -> bool:
        """Propose entries; False if that is impossible now. See Raft.propose."""
        self._ensure_running()
        taken = self.raft.propose(*data)
        self._work()
        return taken

    def read(self, context: Any) -> bool:
        """Ask for a linearizable read: the machine is told when it may be answered. False if no leader is known."""
        self._ensure_running()
        taken = self.raft.read(context)
        self._work()
        return taken

    def campaign(self) -> None:
        """Stand for election now."""
        self._ensure_running()
        self.raft.campaign()
        self._work()

    def heartbeat(self) -> None:
        """A leader tells the others that it lives; anybody else does nothing."""
        self._ensure_running()
        self.raft.heartbeat()
        self._work()

    def propose_change(self, changes: Iterable[Change], transition: Transition = "auto") -> bool:
        """Propose a change of membership. See Raft.propose_change."""
        return self.propose(MembershipChange(tuple(changes), transition))

    def transfer_leadership(self, target: MemberId) -> bool:
        """Let `target` lead; False if no leader or no such member is known."""
        self._ensure_running()
        taken = self.raft.transfer_leadership(target)
        self._work()
        return taken

    def compact(self, data: Any, *, keep: int = 0) -> Snapshot:
        """Let a snapshot of the state machine, as it is now, stand for all that was applied; that snapshot.

        keep : so many of the entries that it stands for stay in the log, for members that lag behind by less
        """
        self._ensure_running()
        log = self.raft.log
        term = log.term(log.applied)
        assert term is not None, f"entry {log.applied} was applied but is not in the log"
        snapshot = Snapshot(log.applied, term, self.raft.tracker.membership, data)
        if log.snapshot is None or log.applied > log.snapshot.index:
            self.raft.offer_snapshot(snapshot)
            first = snapshot.index - keep
            try:
                self._store.keep_snapshot(snapshot)
                if first > log.base_index:
                    self._store.compact(first)
            except Exception as failure:
                raise self._stop(f"its store failed: {type(failure).__name__}: {failure}") from failure
            if first > log.base_index:
                self.raft.compact(first)
        return snapshot

    # -- what is refused -------------------------------------------------------

    def _ensure_running(self) -> None:
        if self.stopped:
            raise MemberStopped(f"member {self.raft.member_id!r} has stopped and answers nothing more: {self.stopped}")

    def _stop(self, reason: str) -> MemberStopped:
        self.stopped = reason
        # Whoever looks at it must not take it for a leader.
        self.raft.become_follower(self.raft.term, NOBODY)
        return MemberStopped(f"member {self.raft.member_id!r} stops: {reason}")

    def _check_sender(self, envelope: Envelope) -> None:
        message, me = envelope.message, self.raft.member_id
        what = f"{message.kind} from {message.source!r}"
        if envelope.cluster != self.cluster:
            raise ForeignMessage(f"{what} is of cluster {envelope.cluster!r}, but {me!r} is of {self.cluster!r}")
        if message.target != me:
            raise ForeignMessage(f"{what} is for {message.target!r}, but came to {me!r}")
        known = self.raft.tracker.progress
        # A transfer names the one who shall lead in the place of its sender.
        if message.kind in _MEMBERS_ONLY and message.source not in known:
            raise ForeignMessage(f"{what}, who is no member: {', '.join(known) or 'nobody is'}")

    # -- out -----------------------------------------------------------------

    def _work(self) -> None:
        """Do what the core says until it is done."""
        while self.raft.has_ready:
            ready = self.raft.ready()
            self._send(ready.messages)
            self._keep(ready)
            self._send(ready.replies)
            if ready.snapshot is not None:
                self._machine.restore(ready.snapshot)
            for entry in ready.committed:
                self._apply(entry)
            self.raft.advance(ready)
            for read in ready.reads:
                self._machine.read(read.context)

    def _send(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            self._transport.send(Envelope(self.cluster, message))

    def _keep(self, ready: Ready) -> None:
        """Store, and see that it is stored: a promise that is not kept is worse than a member that is gone."""
        if ready.hard_state is None and ready.snapshot is None and not ready.entries:
            return
        try:
            self._store.save(ready)
            held = self._store.tail()
        except Exception as failure:
            raise self._stop(f"its store failed: {type(failure).__name__}: {failure}") from failure
        log = self.raft.log
        wanted = (self.raft.hard_state, log.last_index, log.last_term)
        if held != wanted:
            raise self._stop(f"its store was given {_end(*wanted)} and holds {_end(*held)}")

    def _apply(self, entry: Entry) -> None:
        if isinstance(entry.data, MembershipChange):
            self.raft.apply_change(entry.data)
        else:
            self._machine.apply(entry)


def check_stored(member_id: MemberId, state: HardState, log: Log) -> None:
    """StoreLies if what a store holds can't be what a member left there."""
    terms = [log.base_term, *(entry.term for entry in log.entries)]
    indices = [entry.index for entry in log.entries]
    wrong = ""
    if indices != list(range(log.base_index + 1, log.base_index + 1 + len(indices))):
        wrong = f"entries with a gap or out of order behind {log.base_index}"
    elif terms != sorted(terms):
        wrong = "entries whose terms fall"
    elif terms[-1] > state.term:
        wrong = f"an entry of term {terms[-1]}, but {state.term} as the newest term"
    elif state.commit > log.last_index:
        wrong = f"{state.commit} as committed, but entries up to {log.last_index} only: some were lost"
    if wrong:
        raise StoreLies(f"member {member_id!r} can't start: its store has {wrong}")


def _end(state: HardState, index: int, term: int) -> str:
    vote = f"a vote for {state.vote!r}" if state.vote else "no vote"
    return f"term {state.term} with {vote}, commit {state.commit}, entries up to {index} of term {term}"
