"""How a leader keeps its followers' logs like its own: appends, heartbeats, snapshots (Raft §5.3, §7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8slab.domain.raft.log import payload_sizes
from k8slab.domain.raft.messages import Entry, Message
from k8slab.domain.raft.progress import NO_LIMIT, Progress
from k8slab.domain.raft.quorum import MemberId

if TYPE_CHECKING:
    from k8slab.domain.raft.core import Raft


def append_own(raft: Raft, entries: tuple[Entry, ...]) -> bool:
    """Append a leader's new entries and note that it will have them; False if too much is uncommitted."""
    if not _reserve(raft, entries):
        return False
    first, term = raft.log.last_index + 1, raft.term
    last = raft.log.append([Entry(index, term, entry.data) for index, entry in enumerate(entries, first)])
    # The leader's own copy counts once it is durable, as any other (thesis §10.2.1).
    raft.reply(Message("append_resp", raft.member_id, raft.member_id, term, last))
    return True


def _reserve(raft: Raft, entries: tuple[Entry, ...]) -> bool:
    """Count the bytes of new entries. The first ones always fit, and empty ones: a leader needs its own."""
    config = raft.config
    size = payload_sizes(entries, config.payload_bytes)
    if raft.uncommitted_bytes and size and raft.uncommitted_bytes + size > config.max_uncommitted_bytes:
        return False
    raft.uncommitted_bytes += size
    return True


def release(raft: Raft, entries: tuple[Entry, ...]) -> None:
    """Entries have been applied: their bytes are uncommitted no more."""
    # Entries of earlier leaders were never counted here, so the count could fall below zero.
    raft.uncommitted_bytes = max(0, raft.uncommitted_bytes - payload_sizes(entries, raft.config.payload_bytes))


def maybe_commit(raft: Raft) -> bool:
    """Commit what a majority has, if its last entry is of this term (Raft §5.4.2)."""
    return raft.log.maybe_commit(raft.tracker.committed(), raft.term)


def broadcast_append(raft: Raft) -> None:
    """Send every other member what it lacks, or at least the commit index."""
    for member in raft.tracker.progress:
        if member != raft.member_id:
            send_append(raft, member)


def send_append(raft: Raft, target: MemberId, *, even_empty: bool = True) -> bool:
    """Send a member the next entries; False if it must wait or, without `even_empty`, lacks nothing."""
    progress = raft.tracker.progress[target]
    if progress.paused:
        return False
    log = raft.log
    before = progress.next - 1
    # Mostly asked once more after all was sent.
    if not even_empty and before == log.last_index:
        return False
    log_term = log.term(before)
    if log_term is None:
        return _send_snapshot(raft, target, progress)
    entries = _next_entries(raft, progress)
    if not entries and not even_empty:
        return False
    raft.messages.append(Message("append", raft.member_id, target, raft.term, before, log_term, entries, log.committed))
    # Bytes are only counted where they are limited.
    limited = raft.config.max_inflight_bytes < NO_LIMIT
    progress.sent(len(entries), payload_sizes(entries, raft.config.payload_bytes) if limited else 0)
    progress.sent_commit_index(log.committed)
    return True


def _next_entries(raft: Raft, progress: Progress) -> tuple[Entry, ...]:
    log = raft.log
    # To a follower with a full window, an empty append still carries the commit index.
    if progress.next > log.last_index or (progress.state == "replicate" and progress.inflights.full):
        return ()
    return log.slice(progress.next, log.last_index, raft.config.max_message_bytes)


def _send_snapshot(raft: Raft, target: MemberId, progress: Progress) -> bool:
    """Send the newest snapshot to a member that lags behind the log; not to one that is silent."""
    snapshot = raft.log.snapshot
    if not progress.recent_active or snapshot is None:
        return False
    progress.become_snapshot(snapshot.index)
    raft.messages.append(Message("snapshot", raft.member_id, target, raft.term, snapshot=snapshot))
    return True


def broadcast_heartbeat(raft: Raft, context: Any = None) -> None:
    """Tell every other member that the leader lives."""
    for member in raft.tracker.progress:
        if member != raft.member_id:
            send_heartbeat(raft, member, context)


def send_heartbeat(raft: Raft, target: MemberId, context: Any = None) -> None:
    """A heartbeat says nothing of entries that the follower may lack: it would take others for them."""
    progress = raft.tracker.progress[target]
    commit = min(progress.match, raft.log.committed)
    raft.messages.append(Message("heartbeat", raft.member_id, target, raft.term, commit=commit, context=context))
    progress.sent_commit_index(commit)
