"""Raft as a pure state machine: tick, step, propose in; ready out; advance when done.

After Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), and
Ongaro's thesis (2014); where they leave a choice, as etcd's Raft chooses. A member owns no
socket, file or clock; its only dice, the election timeout, are a function of seed and name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from k8slab.domain.raft import election, replication
from k8slab.domain.raft.config import RaftConfig
from k8slab.domain.raft.errors import EntryTooLarge
from k8slab.domain.raft.follower import CANDIDATE, FOLLOWER, Handler
from k8slab.domain.raft.leader import LEADER
from k8slab.domain.raft.log import Log
from k8slab.domain.raft.membership import Change, Membership, MembershipChange, Transition
from k8slab.domain.raft.messages import (
    NOBODY,
    RESPONSES,
    Entry,
    HardState,
    Message,
    ReadState,
    Ready,
    Snapshot,
    StoreToken,
)
from k8slab.domain.raft.progress import NO_LIMIT
from k8slab.domain.raft.quorum import MemberId
from k8slab.domain.raft.reads import PendingReads
from k8slab.domain.raft.timeouts import ElectionTimeouts
from k8slab.domain.raft.tracker import Tracker
from k8slab.errors import InputError, StateConflict

Role = Literal["follower", "pre_candidate", "candidate", "leader"]
_HANDLERS: Final[Mapping[Role, Mapping[str, Handler]]] = {
    "follower": FOLLOWER,
    "pre_candidate": CANDIDATE,
    "candidate": CANDIDATE,
    "leader": LEADER,
}
_LEAVE_JOINT: Final = MembershipChange(())


class Raft:
    """One member's view of elections and the log.

    A member alone is its own majority and leads as soon as it stands for election; one
    of several leads only with the votes of most of them.

    members    : names of the first voters, or a Membership; none for a member that waits to be added
    log        : what it has stored; given back by whoever stores it when the member starts again
    hard_state : the term, vote and commit index that it has stored

    >>> alone = Raft("a", ["a"])
    >>> alone.propose("x")
    False
    >>> alone.campaign()
    >>> alone.advance(alone.ready())  # its vote is stored: it leads
    >>> alone.propose("x")
    True
    >>> alone.advance(alone.ready())
    >>> alone.ready().committed
    (Entry(index=1, term=1, data=None), Entry(index=2, term=1, data='x'))
    """

    def __init__(
        self,
        member_id: MemberId,
        members: Iterable[MemberId] | Membership = (),
        *,
        config: RaftConfig | None = None,
        log: Log | None = None,
        hard_state: HardState | None = None,
    ) -> None:
        if not member_id:
            raise InputError("a member needs a name")
        self.member_id = member_id
        self.config = config if config is not None else RaftConfig()
        self.log = log if log is not None else self._empty_log()
        self.role: Role = "follower"
        self.term = 0
        self.vote: MemberId = NOBODY
        self.leader: MemberId = NOBODY
        self.transferee: MemberId = NOBODY
        self.tracker = Tracker(self.config)
        self.pending_change_index = 0
        self.uncommitted_bytes = 0
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.election_timeout = 0
        self.reads = PendingReads()
        self.early_reads: list[Message] = []
        self.read_states: list[ReadState] = []
        self.messages: list[Message] = []
        self.replies: list[Message] = []
        self._timeouts = ElectionTimeouts(self.config.seed, member_id)
        self._outstanding: Ready | None = None
        membership = members if isinstance(members, Membership) else Membership.of(members)
        self.tracker.change(membership, (), self.log.last_index)
        self._load(hard_state if hard_state is not None else HardState())
        self.become_follower(self.term, NOBODY)
        self._kept = self.hard_state

    def _empty_log(self) -> Log:
        return Log(max_applying_bytes=self.config.max_applying_bytes, payload_bytes=self.config.payload_bytes)

    def _load(self, state: HardState) -> None:
        self.term, self.vote = state.term, state.vote
        self.log.commit_to(state.commit)

    # -- in ------------------------------------------------------------------

    def tick(self) -> None:
        """Let one unit of time pass: a leader sends heartbeats, the others may lose patience."""
        self.election_elapsed += 1
        if self.role == "leader":
            self._tick_leader()
        elif self.is_promotable and self.election_elapsed >= self.election_timeout:
            self.election_elapsed = 0
            self.campaign()

    def _tick_leader(self) -> None:
        self.heartbeat_elapsed += 1
        if self.election_elapsed >= self.config.election_ticks:
            self.election_elapsed = 0
            if self.config.check_quorum:
                self.check_quorum()
            if self.role == "leader":
                self.transferee = NOBODY  # it did not take over in time
        if self.role == "leader" and self.heartbeat_elapsed >= self.config.heartbeat_ticks:
            self.heartbeat()

    def step(self, message: Message) -> bool:
        """Take a message from another member.

        False if it was refused: a proposal that can't be appended or passed on, or an answer
        of somebody who is no member. Whether an accepted proposal is committed is told by
        ready() alone.
        """
        kind = message.kind
        if kind in RESPONSES and message.source not in self.tracker.progress:
            return False
        if message.term and not self._minds(message):
            return True
        if kind in ("vote", "pre_vote"):
            election.answer_vote(self, message)
            return True
        handler = _HANDLERS[self.role].get(kind)
        return handler is None or handler(self, message) is not False

    def propose(self, *data: Any) -> bool:
        """Propose entries: append and replicate them, or pass them on to the leader. False if neither is possible.

        True is no promise: the leader may lose its office first. Decided is what ready() says is committed.
        """
        size, limit = self.config.payload_bytes, self.config.max_entry_bytes
        if limit < NO_LIMIT and any(size(one) > limit for one in data):
            largest = max(size(one) for one in data)
            raise EntryTooLarge(f"cannot propose an entry of {largest:,} bytes: at most {limit:,} are allowed")
        return self.step(Message("propose", self.member_id, entries=tuple(Entry(0, 0, one) for one in data)))

    def propose_change(self, changes: Iterable[Change], transition: Transition = "auto") -> bool:
        """Propose a change of membership; a leader that can't make it now appends an empty entry instead."""
        return self.propose(MembershipChange(tuple(changes), transition))

    def campaign(self) -> None:
        """Stand for election now. A leader has nothing to win, a learner may not."""
        election.stand(self, "pre_vote" if self.config.pre_vote else "vote")

    def heartbeat(self) -> None:
        """A leader tells the others that it lives; anybody else does nothing."""
        if self.role == "leader":
            self.heartbeat_elapsed = 0
            replication.broadcast_heartbeat(self, self.reads.last)

    def check_quorum(self) -> None:
        """A leader that has not heard a majority since the last check steps down (thesis §6.2)."""
        if self.role != "leader":
            return
        if not self.tracker.quorum_active(self.member_id):
            self.become_follower(self.term, NOBODY)
        self.tracker.forget_activity(self.member_id)

    def read(self, context: Any) -> bool:
        """Ask for the index that a read must wait for; a ready() gives it, with `context`.

        False if no leader is known. A read may get lost with its leader: ask again.
        """
        return self.step(Message("read_index", self.member_id, context=context))

    def transfer_leadership(self, target: MemberId) -> bool:
        """Let `target` lead; a follower passes this on. False if no leader or no such member is known."""
        return self.step(Message("transfer_leader", target))

    def forget_leader(self) -> None:
        """A follower trusts its leader no more, and may vote for another. Not with lease reads."""
        if self.role == "follower" and not self.config.lease_reads:
            self.leader = NOBODY

    def report_unreachable(self, member: MemberId) -> None:
        """A message to `member` was lost: a leader sends one at a time until it answers."""
        progress = self.tracker.progress.get(member)
        if self.role == "leader" and progress is not None and progress.state == "replicate":
            progress.become_probe()

    def report_snapshot(self, member: MemberId, *, failed: bool) -> None:
        """The snapshot sent to `member` has arrived or failed: a leader goes on from there."""
        progress = self.tracker.progress.get(member)
        if self.role != "leader" or progress is None or progress.state != "snapshot":
            return
        if failed:
            progress.pending_snapshot = 0
        progress.become_probe()
        # It needs a moment to install it: wait for its next answer.
        progress.flow_paused = True

    def apply_change(self, change: MembershipChange) -> Membership:
        """Make a committed change of membership, when its entry is applied; the membership then."""
        membership, fresh = self.tracker.membership.after(change)
        self.tracker.change(membership, fresh, self.log.last_index)
        self._adopt(membership)
        return membership

    def offer_snapshot(self, snapshot: Snapshot) -> None:
        """The state machine's newest snapshot, to be sent to followers that lag behind the log."""
        self.log.offer(snapshot)

    def compact(self, index: int) -> None:
        """Forget entries up to `index`, for which an offered snapshot stands."""
        self.log.compact(index)

    # -- out -----------------------------------------------------------------

    @property
    def hard_state(self) -> HardState:
        return HardState(self.term, self.vote, self.log.committed)

    @property
    def has_ready(self) -> bool:
        """Whether ready() would say anything."""
        # Asked twice an event: it makes no tuple and no list.
        log, kept = self.log, self._kept
        return bool(
            self.messages
            or self.replies
            or self.read_states
            or log.storing < log.base_index + len(log.entries)
            or log.committed != kept.commit
            or self.term != kept.term
            or self.vote != kept.vote
            or log.snapshot_to_store is not None
            or log.may_apply(unstable=not self.config.async_storage)
        )

    def ready(self) -> Ready:
        """Hand out what is to be done now; each thing once.

        Must be followed by advance() before it is asked again, unless async_storage is set.
        """
        if self._outstanding is not None:
            raise StateConflict("ready() was asked again before advance() said that it was done")
        log, state, kept = self.log, self.hard_state, self._kept
        entries, snapshot = log.unstored, log.snapshot_to_store
        committed = log.to_apply(unstable=self._applies_unstable)
        replies, own = self._split_replies() if self.replies else ((), ())
        # By position: a tenth of all the time of a commit goes by here.
        ready = Ready(
            state if state != kept else None,
            bool(entries) or snapshot is not None or state.term != kept.term or state.vote != kept.vote,
            snapshot,
            entries,
            tuple(self.messages),
            replies,
            committed,
            tuple(self.read_states),
            own,
            self._token(snapshot),
        )
        self._hand_out(ready, state)
        return ready

    def _split_replies(self) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
        """Replies for others, and those for oneself."""
        me = self.member_id
        others = tuple([reply for reply in self.replies if reply.target != me])
        if len(others) == len(self.replies):
            return others, ()
        return others, tuple([reply for reply in self.replies if reply.target == me])

    def advance(self, ready: Ready) -> None:
        """All that ready() said has been done."""
        self._outstanding = None
        self.stored(ready)
        self.applied(ready)

    def stored(self, ready: Ready) -> None:
        """What ready() said to keep is durable, so this member's own votes and entries count."""
        for message in ready.own:
            self.step(message)
        token = ready.token
        # Said in an earlier term, it could mean entries that were replaced and came back since.
        if token.index and token.term == self.term:
            self.log.stored_to(token.index, token.log_term)
        if token.snapshot:
            self.log.stored_snapshot(token.snapshot)

    def applied(self, ready: Ready) -> None:
        """What ready() said is committed has been applied."""
        if not ready.committed:
            return
        self.log.applied_entries(ready.committed)
        replication.release(self, ready.committed)
        if (
            self.role == "leader"
            and self.tracker.membership.auto_leave
            and self.log.applied >= self.pending_change_index
        ):
            self.propose(_LEAVE_JOINT)

    @property
    def _applies_unstable(self) -> bool:
        # In one ready() the driver stores before it applies, so a committed entry need not be stored yet.
        return not self.config.async_storage

    def _token(self, snapshot: Snapshot | None) -> StoreToken:
        log = self.log
        last = log.base_index + len(log.entries)
        if log.stable < last:
            return StoreToken(self.term, last, log.last_term, snapshot.index if snapshot else 0)
        return StoreToken(self.term, 0, 0, snapshot.index if snapshot else 0)

    def _hand_out(self, ready: Ready, state: HardState) -> None:
        if self.messages:
            self.messages = []
        if self.replies:
            self.replies = []
        if self.read_states:
            self.read_states = []
        self._kept = state
        self.log.start_storing()
        if ready.committed:
            self.log.start_applying(ready.committed, unstable=self._applies_unstable)
        if not self.config.async_storage:
            self._outstanding = ready

    # -- roles (Raft §5.1, §5.2) -----------------------------------------------

    def become_follower(self, term: int, leader: MemberId) -> None:
        self._reset(term)
        self.tracker.votes.clear()
        self.role = "follower"
        self.leader = leader

    def become_pre_candidate(self) -> None:
        """Ask for votes without a new term: neither term nor vote changes (thesis §9.6)."""
        assert self.role != "leader", f"leader {self.member_id} of term {self.term} can't be a candidate"
        self.role = "pre_candidate"
        self.leader = NOBODY
        self.tracker.votes.clear()

    def become_candidate(self) -> None:
        assert self.role != "leader", f"leader {self.member_id} of term {self.term} can't be a candidate"
        self._reset(self.term + 1)
        self.tracker.votes.clear()
        self.role = "candidate"
        self.vote = self.member_id

    def become_leader(self) -> None:
        assert self.role != "follower", f"follower {self.member_id} of term {self.term} was not elected"
        self._reset(self.term)
        self.role = "leader"
        self.leader = self.member_id
        own = self.tracker.progress[self.member_id]
        own.become_replicate()
        own.recent_active = True
        # A change in the log may not be applied yet: wait for all of it before another (Raft §6).
        self.pending_change_index = self.log.last_index
        if self.config.election_entry:
            replication.append_own(self, (Entry(0, 0),))

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term, self.vote = term, NOBODY
        self.leader = NOBODY
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.election_timeout = self._timeouts.draw(self.config.election_ticks)
        self.transferee = NOBODY
        self.tracker.reset(self.member_id, self.log.last_index)
        self.pending_change_index = 0
        self.uncommitted_bytes = 0
        self.reads = PendingReads()

    # -- terms (Raft §5.1) -------------------------------------------------------

    def _minds(self, message: Message) -> bool:
        """Compare terms first; whether the message is worth a look then."""
        if message.term > self.term:
            return self._meet_newer_term(message)
        if message.term < self.term:
            self._answer_older_term(message)
            return False
        return True

    def _meet_newer_term(self, message: Message) -> bool:
        kind = message.kind
        if kind in ("vote", "pre_vote") and election.ignores_candidate(self, message):
            return False
        # A pre-vote asks about a term that may never come; its granted answer repeats that term.
        if kind == "pre_vote" or (kind == "pre_vote_resp" and not message.reject):
            return True
        leads = kind in ("append", "heartbeat", "snapshot")
        self.become_follower(message.term, message.source if leads else NOBODY)
        return True

    def _answer_older_term(self, message: Message) -> None:
        """Mostly silence. But a leader of old must learn the new term from somebody.

        With pre-vote or check_quorum a member that was cut off has a term of its own and can't make
        itself heard by candidacy; its answer to the leader's message frees it (thesis §9.6).
        """
        config = self.config
        speaks = config.check_quorum or config.pre_vote or config.answer_older_terms
        if message.kind in ("append", "heartbeat") and speaks:
            self.reply(Message("append_resp", self.member_id, message.source, self.term))
        elif message.kind == "pre_vote":
            self.reply(Message("pre_vote_resp", self.member_id, message.source, self.term, reject=True))
        elif message.kind == "vote" and config.answer_older_terms:
            self.reply(Message("vote_resp", self.member_id, message.source, self.term, reject=True))

    # -- helpers -----------------------------------------------------------------

    @property
    def is_promotable(self) -> bool:
        """Whether this member may lead: it is a voter, and its log is whole."""
        progress = self.tracker.progress.get(self.member_id)
        return progress is not None and not progress.is_learner and self.log.received is None

    @property
    def peers(self) -> tuple[MemberId, ...]:
        """The other members, by name."""
        return tuple(member for member in self.tracker.progress if member != self.member_id)

    def reply(self, message: Message) -> None:
        """Send what claims that something is kept, once it is."""
        self.replies.append(message)

    def _adopt(self, membership: Membership) -> None:
        """Act on a membership that has just come into force."""
        if self.role != "leader":
            return
        own = self.tracker.progress.get(self.member_id)
        if own is None or own.is_learner:
            if self.config.step_down_on_removal:
                self.become_follower(self.term, NOBODY)
            return
        if replication.maybe_commit(self):
            # A smaller majority may have what the larger had not.
            replication.broadcast_append(self)
        else:
            for member in self.peers:
                replication.send_append(self, member, even_empty=False)
        if self.transferee not in membership.all_voters:
            self.transferee = NOBODY
