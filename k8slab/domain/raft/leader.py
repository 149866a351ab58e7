"""What a leader does: proposals, answers of followers, reads, handing over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from k8slab.domain.raft.follower import Handler
from k8slab.domain.raft.membership import MembershipChange
from k8slab.domain.raft.messages import NOBODY, Entry, Message, ReadState
from k8slab.domain.raft.progress import Progress
from k8slab.domain.raft.quorum import MemberId
from k8slab.domain.raft.replication import (
    append_own,
    broadcast_append,
    broadcast_heartbeat,
    maybe_commit,
    send_append,
)

if TYPE_CHECKING:
    from k8slab.domain.raft.core import Raft


# -- proposals (Raft §5.3, §6) ---------------------------------------------------


def take_proposal(raft: Raft, message: Message) -> bool:
    """Append what was proposed and send it; False where that can't be."""
    if raft.member_id not in raft.tracker.progress or raft.transferee != NOBODY:
        return False
    if not append_own(raft, tuple(_admitted(raft, message.entries))):
        return False
    broadcast_append(raft)
    return True


def _admitted(raft: Raft, entries: tuple[Entry, ...]) -> list[Entry]:
    """The entries, a change of membership that can't be made now replaced by an empty one."""
    admitted = []
    for index, entry in enumerate(entries, raft.log.last_index + 1):
        if isinstance(entry.data, MembershipChange):
            if raft.config.validate_changes and not _may_change(raft, entry.data):
                entry = Entry(0, 0)
            else:
                raft.pending_change_index = index
        admitted.append(entry)
    return admitted


def _may_change(raft: Raft, change: MembershipChange) -> bool:
    """One change at a time; out of a joint membership only by leaving it, which nothing else may."""
    pending = raft.pending_change_index > raft.log.applied
    leaves = not change.changes
    return not pending and leaves == raft.tracker.membership.is_joint


# -- answers of followers (Raft §5.3) --------------------------------------------


def note_append_response(raft: Raft, message: Message) -> None:
    progress = raft.tracker.progress[message.source]
    progress.recent_active = True
    if message.reject:
        _retry_earlier(raft, message, progress)
    else:
        _note_match(raft, message, progress)


def _retry_earlier(raft: Raft, message: Message, progress: Progress) -> None:
    hint = message.hint
    if message.log_term > 0:
        # Nothing of a later term than the follower has at its hint can agree with it.
        hint, _ = raft.log.find_conflict_by_term(hint, message.log_term)
    if progress.maybe_decrease(message.index, hint):
        if progress.state == "replicate":
            progress.become_probe()
        send_append(raft, message.source)


def _note_match(raft: Raft, message: Message, progress: Progress) -> None:
    # A probe that found the logs to meet where they were known to is an answer too.
    met = progress.match == message.index and progress.state == "probe"
    if not progress.maybe_update(message.index) and not met:
        return
    _follow_on(raft, message.index, progress)
    member, me = message.source, raft.member_id
    if maybe_commit(raft):
        release_early_reads(raft)
        broadcast_append(raft)
    elif member != me and progress.can_learn_commit(raft.log.committed):
        send_append(raft, member)
    if member != me:
        # The answer may have made room for several messages.
        while send_append(raft, member, even_empty=False):
            pass
    if member == raft.transferee and progress.match == raft.log.last_index:
        send_timeout_now(raft, member)


def _follow_on(raft: Raft, index: int, progress: Progress) -> None:
    """Let an answer change how a follower is fed."""
    if progress.state == "replicate":
        progress.inflights.free_up_to(index)
    elif progress.state == "probe":
        progress.become_replicate()
    elif progress.match + 1 > raft.log.base_index:
        # It has what the log continues, whether by this snapshot or another.
        progress.become_probe()
        progress.become_replicate()


def note_heartbeat_response(raft: Raft, message: Message) -> None:
    progress = raft.tracker.progress[message.source]
    progress.recent_active = True
    progress.flow_paused = False
    if progress.match < raft.log.last_index or progress.state == "probe":
        send_append(raft, message.source)
    if not raft.config.lease_reads and message.context is not None:
        _confirm_reads(raft, message.source, message.context)


# -- reads (thesis §6.4) ---------------------------------------------------------


def take_read(raft: Raft, message: Message) -> None:
    """Find out up to where the state machine must have come for this read to be linearizable."""
    if raft.tracker.is_singleton:
        answer_read(raft, message, raft.log.committed)
    elif raft.log.term(raft.log.committed) != raft.term:
        # Until it has committed in its own term, a leader doesn't know what is committed.
        raft.early_reads.append(message)
    else:
        _confirm_lead(raft, message)


def release_early_reads(raft: Raft) -> None:
    """Go on with reads that came before the first commit of this term."""
    if raft.early_reads and raft.log.term(raft.log.committed) == raft.term:
        waiting, raft.early_reads = raft.early_reads, []
        for message in waiting:
            _confirm_lead(raft, message)


def _confirm_lead(raft: Raft, message: Message) -> None:
    if raft.config.lease_reads:
        answer_read(raft, message, raft.log.committed)
        return
    number = raft.reads.add(message, raft.log.committed)
    broadcast_heartbeat(raft, number)
    # A voter that is both halves of a joint membership is a majority by itself, and nobody's answer would come.
    _confirm_reads(raft, raft.member_id, number)


def _confirm_reads(raft: Raft, member: MemberId, number: int) -> None:
    acks = raft.reads.acknowledge(member, number)
    if acks and raft.tracker.confirmed(acks):
        for read in raft.reads.take_until(number):
            answer_read(raft, read.request, read.index)


def answer_read(raft: Raft, request: Message, index: int) -> None:
    """Give a read's index to whoever asked: this member's driver, or another member."""
    if request.source in (NOBODY, raft.member_id):
        raft.read_states.append(ReadState(index, request.context))
    else:
        raft.messages.append(
            Message("read_index_resp", raft.member_id, request.source, raft.term, index, context=request.context)
        )


# -- handing over (thesis §3.10) -------------------------------------------------


def transfer(raft: Raft, message: Message) -> bool | None:
    """Let another member lead: bring its log up to date, then tell it to stand at once."""
    target = message.source
    progress = raft.tracker.progress.get(target)
    if progress is None:
        return False
    if progress.is_learner or target == raft.transferee:
        return None
    raft.transferee = NOBODY
    if target == raft.member_id:
        return None
    # It must succeed within an election timeout, or this leader goes on.
    raft.election_elapsed = 0
    raft.transferee = target
    if progress.match == raft.log.last_index:
        send_timeout_now(raft, target)
    else:
        send_append(raft, target)
    return None


def send_timeout_now(raft: Raft, target: MemberId) -> None:
    raft.messages.append(Message("timeout_now", raft.member_id, target, raft.term))


LEADER: Final[Mapping[str, Handler]] = {
    "append_resp": note_append_response,
    "heartbeat_resp": note_heartbeat_response,
    "propose": take_proposal,
    "read_index": take_read,
    "transfer_leader": transfer,
}
