"""What a follower does with what it is told, and what a candidate does when there is a leader after all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from k8slab.domain.raft import election
from k8slab.domain.raft.messages import NOBODY, Message, ReadState, Snapshot

if TYPE_CHECKING:
    from k8slab.domain.raft.core import Raft

# False says that the message was refused, None that it was dealt with.
Handler = Callable[["Raft", Message], bool | None]


def accept_append(raft: Raft, message: Message) -> None:
    """Take entries if the logs agree in front of them; otherwise say where they may (Raft §5.3)."""
    log, me = raft.log, raft.member_id
    if message.index < log.committed:
        raft.reply(Message("append_resp", me, message.source, raft.term, log.committed))
        return
    last = log.maybe_append(message.index, message.log_term, message.entries, message.commit)
    if last is not None:
        raft.reply(Message("append_resp", me, message.source, raft.term, last))
        return
    hint = min(message.index, log.last_index)
    hint_term = 0
    if raft.config.fast_backtracking:
        hint, hint_term = log.find_conflict_by_term(hint, message.log_term)
    elif hint == message.index:
        hint -= 1  # that entry is the one that differs
    raft.reply(Message("append_resp", me, message.source, raft.term, message.index, hint_term, reject=True, hint=hint))


def accept_heartbeat(raft: Raft, message: Message) -> None:
    raft.log.commit_to(message.commit)
    raft.messages.append(Message("heartbeat_resp", raft.member_id, message.source, raft.term, context=message.context))


def accept_snapshot(raft: Raft, message: Message) -> None:
    """Let a snapshot stand for the log if it is ahead of it (Raft §7)."""
    snapshot = message.snapshot
    restored = snapshot is not None and restore(raft, snapshot)
    index = raft.log.last_index if restored else raft.log.committed
    raft.reply(Message("append_resp", raft.member_id, message.source, raft.term, index))


def restore(raft: Raft, snapshot: Snapshot) -> bool:
    """Replace log and membership by a snapshot; False if it brings nothing or this member has no part in it."""
    log = raft.log
    if snapshot.index <= log.committed or raft.member_id not in snapshot.membership.members:
        return False
    if log.matches(snapshot.index, snapshot.term):
        # The entries are here: knowing that they are committed is cheaper.
        log.commit_to(snapshot.index)
        return False
    log.restore(snapshot)
    raft.tracker.change(snapshot.membership, snapshot.membership.members, log.last_index)
    return True


def _from_leader(accept: Callable[[Raft, Message], None]) -> Handler:
    """Whoever sends this leads in this term: follow it."""

    def handle(raft: Raft, message: Message) -> None:
        if raft.role != "follower":
            raft.become_follower(message.term, message.source)
        raft.election_elapsed = 0
        raft.leader = message.source
        accept(raft, message)

    return handle


def _forward_proposal(raft: Raft, message: Message) -> bool | None:
    if raft.leader == NOBODY or not raft.config.forward_proposals:
        return False
    return _forward(raft, message)


def _forward(raft: Raft, message: Message) -> bool | None:
    if raft.leader == NOBODY:
        return False
    raft.messages.append(message._replace(source=message.source or raft.member_id, target=raft.leader))
    return None


def _forward_transfer(raft: Raft, message: Message) -> bool | None:
    # Proposals and reads may wait for any leader; whose office is to be handed over is this term's.
    return _forward(raft, message._replace(term=raft.term))


def _take_over(raft: Raft, message: Message) -> None:
    """The leader hands over: stand without asking first, and over the others' stickiness (thesis §3.10)."""
    election.stand(raft, "transfer")


def _read_is_ready(raft: Raft, message: Message) -> None:
    raft.read_states.append(ReadState(message.index, message.context))


def _refuse(raft: Raft, message: Message) -> bool:
    return False


FROM_LEADER: Final[Mapping[str, Handler]] = {
    "append": _from_leader(accept_append),
    "heartbeat": _from_leader(accept_heartbeat),
    "snapshot": _from_leader(accept_snapshot),
}
FOLLOWER: Final[Mapping[str, Handler]] = {
    **FROM_LEADER,
    "propose": _forward_proposal,
    "read_index": _forward,
    "read_index_resp": _read_is_ready,
    "timeout_now": _take_over,
    "transfer_leader": _forward_transfer,
}
CANDIDATE: Final[Mapping[str, Handler]] = {
    **FROM_LEADER,
    "pre_vote_resp": election.count_vote,
    "propose": _refuse,
    "vote_resp": election.count_vote,
}
