"""Replication of Raft in virtual time: one leader in office, clients that write one after another.

A model of what happens between elections (Raft §5.3, thesis §10.2): appends without waiting for
answers, probing where logs may differ, one write of the disk at a time that takes all that has
come meanwhile, commit by majority, answers when applied. All entries are of the leader's term, so
a log is told by its length. Time is a float in whatever unit the model's numbers have. The object
core under the laboratory's clock is the slow twin: tests compare their distributions.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from k8slab.kernels._jit import borrowing_kernel, kernel
from k8slab.kernels.dice import uniform

Array = Any

# numpy's numbers, not Python's: for each of those that is handed to a kernel, numba compiles the kernel again.
APPEND, APPEND_RESP, HEARTBEAT, HEARTBEAT_RESP, REQUEST = map(np.int64, range(5))
PROBE, REPLICATE = map(np.int64, range(2))
_NONE: Final = np.int64(0)
# Where a letter waits: until its member has time, until its disk has what the letter says, or being written.
_AT_ONCE, _STORED, _WRITING = map(np.int64, range(3))
_LEADER: Final = np.int64(0)
_NOBODY: Final = np.int64(-1)
_YES, _NO = np.True_, np.False_
# Messages on their way at once, and of one member that wait for its disk; more make the trial void.
_MAIL: Final = 4096
_NEVER: Final = np.inf

# A member. What is the leader's view of it: match, next, state, paused, commit index sent, appends unanswered.
# The rest is its own: end of log and commit index; what was handed to the disk, and when that is done; what is
# stored and applied; until when its processor is busy; messages and replies that wait, replies being written.
_MEMBER: Final = np.dtype(
    [
        ("match", "i8"), ("next", "i8"), ("state", "i8"), ("paused", "?"), ("sent_commit", "i8"), ("first", "i8"),
        ("unanswered", "i8"), ("last", "i8"), ("commit", "i8"), ("kept_commit", "i8"), ("handed_last", "i8"),
        ("handed_commit", "i8"), ("stored", "i8"), ("applied", "i8"), ("written_at", "f8"), ("busy", "f8"),
        ("messages", "i8"), ("replies", "i8"), ("in_write", "i8"),
    ]
)  # fmt: skip
# source is the client of a request. index, hint and rejected as in the core's messages.
_LETTER: Final = np.dtype(
    [
        ("at", "f8"), ("number", "i8"), ("kind", "i8"), ("source", "i8"), ("target", "i8"), ("index", "i8"),
        ("entries", "i8"), ("commit", "i8"), ("rejected", "?"), ("hint", "i8"),
    ]
)  # fmt: skip
_CLIENT: Final = np.dtype([("asked_at", "f8")])


class ReplicationModel(NamedTuple):
    """A cluster, its network, its clients; times are floats in one unit.

    members             : int    how many, all of them up; the first one leads
    clients             : int    each asks for one write at a time
    delay_low, _high    : float  one way between members, uniform
    loss                : float  probability that a message between members is lost
    client_delay        : float  one way between a client and the leader
    disk_low, _high     : float  a write that is synced, uniform; 0 for none
    request_cpu         : float  of the leader's time for each request
    message_cpu         : float  of a member's time for each message it sends
    entry_cpu           : float  of the leader's time for each entry sent to each follower
    heartbeat           : float  between heartbeats
    max_inflight        : int    appends on their way to a follower
    parallel_write      : bool   a leader sends before its own write is done (thesis §10.2.1)
    """

    members: int
    clients: int
    delay_low: float
    delay_high: float
    loss: float
    client_delay: float
    disk_low: float
    disk_high: float
    request_cpu: float
    message_cpu: float
    entry_cpu: float
    heartbeat: float
    max_inflight: int
    parallel_write: bool


class _World(NamedTuple):
    """What changes in a trial; N members, C clients.

    members : _MEMBER[N]
    mail    : _LETTER[_MAIL]        the first count[0] are on their way, in no order
    waiting : _LETTER[3, N, _MAIL]  messages, replies and replies being written, of each member
    windows : int64[N, max_inflight] last index of each append unanswered, a ring
    owners  : int64[C + 2]          by index of the entry: whose request it is
    clients : _CLIENT[C]
    count   : int64[4]              messages on their way, messages sent, answers, messages dropped for want of room
    dice    : uint64[1]
    """

    members: Array
    mail: Array
    waiting: Array
    windows: Array
    owners: Array
    clients: Array
    count: Array
    dice: Array


# -- letters: written by a member, sent when it may, on their way -------------------


@borrowing_kernel
def _put_mail(w, at, kind, source, target, index, entries, commit, rejected, hint):
    """A letter is on its way, and arrives at a time."""
    slot = w.count[0]
    if slot == w.mail.shape[0]:
        w.count[3] += 1
        return
    letter = w.mail[slot]
    letter.at, letter.number, letter.kind, letter.source, letter.target = at, w.count[1], kind, source, target
    letter.index, letter.entries, letter.commit = index, entries, commit
    letter.rejected, letter.hint = rejected, hint
    w.count[0] = slot + 1
    w.count[1] += 1


@borrowing_kernel
def _write(w, box, kind, source, target, index, entries, commit, rejected, hint):
    """A member writes a letter that waits, _AT_ONCE or _STORED."""
    slot = w.members[source].messages if box == _AT_ONCE else w.members[source].replies
    if slot == w.waiting.shape[2]:
        w.count[3] += 1
        return
    letter = w.waiting[box, source, slot]
    letter.kind, letter.source, letter.target, letter.index = kind, source, target, index
    letter.entries, letter.commit, letter.rejected, letter.hint = entries, commit, rejected, hint
    if box == _AT_ONCE:
        w.members[source].messages += 1
    else:
        w.members[source].replies += 1


@borrowing_kernel
def _send(m, w, letter, now):
    """A letter leaves when its member's processor has time for it; the network may lose it."""
    source = letter.source
    cost = m.message_cpu + m.entry_cpu * letter.entries
    leaves = max(now, w.members[source].busy) + cost
    if cost > 0.0:
        w.members[source].busy = leaves
    if uniform(w.dice) < m.loss:
        return
    at = leaves + m.delay_low + (m.delay_high - m.delay_low) * uniform(w.dice)
    _put_mail(
        w, at, letter.kind, source, letter.target, letter.index, letter.entries, letter.commit, letter.rejected,
        letter.hint,
    )  # fmt: skip


# -- the leader -------------------------------------------------------------------


@borrowing_kernel
def _become(w, j, state):
    w.members[j].state = state
    w.members[j].paused = False
    w.members[j].unanswered = 0
    w.members[j].next = w.members[j].match + 1
    w.members[j].sent_commit = min(w.members[j].sent_commit, w.members[j].match)


@borrowing_kernel
def _lacks(m, w, j):
    """How many entries can be sent to follower j now."""
    if w.members[j].state == REPLICATE and w.members[j].unanswered >= m.max_inflight:
        return _NONE
    return w.members[_LEADER].last + 1 - w.members[j].next


@borrowing_kernel
def _send_append(m, w, j):
    """Send follower j what it lacks, or at least the commit index; nothing if it must wait."""
    if w.members[j].paused:
        return
    entries = _lacks(m, w, j)
    commit = w.members[_LEADER].commit
    _write(w, _AT_ONCE, APPEND, _LEADER, j, w.members[j].next - 1, entries, commit, _NO, _NONE)
    if w.members[j].state == PROBE:
        w.members[j].paused = entries > 0
    else:
        if entries > 0:
            w.members[j].next += entries
            end = (w.members[j].first + w.members[j].unanswered) % m.max_inflight
            w.windows[j, end] = w.members[j].next - 1
            w.members[j].unanswered += 1
        w.members[j].paused = w.members[j].unanswered >= m.max_inflight
    w.members[j].sent_commit = commit


@borrowing_kernel
def _maybe_commit(m, w):
    """Commit what a majority has; whether that is more than before."""
    best = w.members[_LEADER].commit
    for i in range(m.members):
        index = w.members[i].match
        have = 0
        for j in range(m.members):
            have += w.members[j].match >= index
        if index > best and 2 * have > m.members:
            best = index
    moved = best > w.members[_LEADER].commit
    w.members[_LEADER].commit = best
    return moved


@borrowing_kernel
def _note_match(m, w, j, index):
    """Member j, perhaps the leader itself, has everything up to index."""
    met = w.members[j].match == index and w.members[j].state == PROBE
    if index > w.members[j].match:
        w.members[j].match = index
        w.members[j].next = max(w.members[j].next, index + 1)
        w.members[j].paused = False
    elif not met:
        return
    if w.members[j].state == PROBE:
        sent_commit = w.members[j].sent_commit
        _become(w, j, REPLICATE)
        w.members[j].sent_commit = sent_commit
    else:
        while w.members[j].unanswered > 0 and w.windows[j, w.members[j].first] <= index:
            w.members[j].first = (w.members[j].first + 1) % m.max_inflight
            w.members[j].unanswered -= 1
    sent_commit, sent_to = w.members[j].sent_commit, w.members[j].next - 1
    if _maybe_commit(m, w):
        for other in range(1, m.members):
            _send_append(m, w, other)
    elif j != _LEADER and w.members[_LEADER].commit > sent_commit and sent_commit < sent_to:
        _send_append(m, w, j)
    if j != _LEADER:
        while not w.members[j].paused and _lacks(m, w, j) > 0:
            _send_append(m, w, j)


@borrowing_kernel
def _note_rejection(m, w, j, index, hint):
    """Follower j lacks what comes before: go back to where it says."""
    if w.members[j].state == REPLICATE:
        if index <= w.members[j].match:
            return
        _become(w, j, PROBE)
    else:
        if w.members[j].next - 1 != index:
            return
        w.members[j].next = max(min(index, hint + 1), w.members[j].match + 1)
        w.members[j].paused = False
        w.members[j].sent_commit = min(w.members[j].sent_commit, w.members[j].next - 1)
    _send_append(m, w, j)


@borrowing_kernel
def _beat(m, w):
    """Tell the followers that the leader lives; nothing of entries that one may lack."""
    for j in range(1, m.members):
        commit = min(w.members[j].match, w.members[_LEADER].commit)
        _write(w, _AT_ONCE, HEARTBEAT, _LEADER, j, _NONE, _NONE, commit, _NO, _NONE)
        w.members[j].sent_commit = commit


@borrowing_kernel
def _propose(m, w, client):
    """Append a client's entry and send it."""
    w.members[_LEADER].last += 1
    w.owners[w.members[_LEADER].last % w.owners.shape[0]] = client
    for j in range(1, m.members):
        _send_append(m, w, j)


# -- a follower -------------------------------------------------------------------


@borrowing_kernel
def _accept(w, i, index, entries, commit):
    """Take entries behind index, if the log is as long; say so once they are stored."""
    if index < w.members[i].commit:
        _write(w, _STORED, APPEND_RESP, i, _LEADER, w.members[i].commit, _NONE, _NONE, _NO, _NONE)
    elif index <= w.members[i].last:
        end = index + entries
        w.members[i].last = max(w.members[i].last, end)
        w.members[i].commit = max(w.members[i].commit, min(commit, end))
        _write(w, _STORED, APPEND_RESP, i, _LEADER, end, _NONE, _NONE, _NO, _NONE)
    else:
        _write(w, _STORED, APPEND_RESP, i, _LEADER, index, _NONE, _NONE, _YES, w.members[i].last)


# -- everybody: store, then answer, then apply ---------------------------------------


@borrowing_kernel
def _work(m, w, i, now, latency, answered_at):
    """Let member i do what it has to, until it is done or waits for its disk."""
    while w.members[i].written_at == _NEVER and (
        w.members[i].messages > 0
        or w.members[i].replies > 0
        or w.members[i].last > w.members[i].stored
        or w.members[i].commit > w.members[i].kept_commit
    ):
        if m.parallel_write or i != _LEADER:
            _send_messages(m, w, i, now)
        w.members[i].handed_last = w.members[i].last
        w.members[i].handed_commit = w.members[i].commit
        w.members[i].kept_commit = w.members[i].commit
        for k in range(w.members[i].replies):
            w.waiting[_WRITING, i, k] = w.waiting[_STORED, i, k]
        w.members[i].in_write = w.members[i].replies
        w.members[i].replies = 0
        wait = 0.0
        if w.members[i].last > w.members[i].stored and m.disk_high > 0.0:
            wait = m.disk_low + (m.disk_high - m.disk_low) * uniform(w.dice)
        if wait > 0.0:
            w.members[i].written_at = now + wait
        else:
            _finish(m, w, i, now, latency, answered_at)


@borrowing_kernel
def _send_messages(m, w, i, now):
    for k in range(w.members[i].messages):
        _send(m, w, w.waiting[_AT_ONCE, i, k], now)
    w.members[i].messages = 0


@borrowing_kernel
def _finish(m, w, i, now, latency, answered_at):
    """What was handed to the disk is there: answer, apply, count the own copy."""
    before = w.members[i].stored
    w.members[i].stored = w.members[i].handed_last
    w.members[i].written_at = _NEVER
    if not m.parallel_write and i == _LEADER:
        _send_messages(m, w, i, now)
    for k in range(w.members[i].in_write):
        _send(m, w, w.waiting[_WRITING, i, k], now)
    w.members[i].in_write = 0
    if i == _LEADER:
        for index in range(w.members[i].applied + 1, w.members[i].handed_commit + 1):
            _answer(m, w, index, now, latency, answered_at)
    w.members[i].applied = w.members[i].handed_commit
    if i == _LEADER:
        for index in range(before + 1, w.members[i].stored + 1):
            _note_match(m, w, _LEADER, index)


@borrowing_kernel
def _answer(m, w, index, now, latency, answered_at):
    """The leader has applied an entry: its client hears of it and asks for the next."""
    client = w.owners[index % w.owners.shape[0]]
    if client < 0:
        return
    at = max(now, w.members[_LEADER].busy) + m.client_delay
    if w.count[2] < latency.shape[0]:
        latency[w.count[2]] = at - w.clients[client].asked_at
        answered_at[w.count[2]] = at
    w.count[2] += 1
    w.clients[client].asked_at = at
    _put_mail(w, at + m.client_delay, REQUEST, client, _LEADER, _NONE, _NONE, _NONE, _NO, _NONE)


# -- time ---------------------------------------------------------------------------


@borrowing_kernel
def _receive(m, w, slot, now):
    """Take a letter out of its slot and let its receiver act; the receiver."""
    letter = w.mail[slot]
    kind, source, i, index, entries = letter.kind, letter.source, letter.target, letter.index, letter.entries
    commit, rejected, hint = letter.commit, letter.rejected, letter.hint
    last = w.count[0] - 1
    w.mail[slot] = w.mail[last]
    w.count[0] = last
    if kind == APPEND:
        _accept(w, i, index, entries, commit)
    elif kind == APPEND_RESP:
        if rejected:
            _note_rejection(m, w, source, index, hint)
        else:
            _note_match(m, w, source, index)
    elif kind == HEARTBEAT:
        w.members[i].commit = max(w.members[i].commit, commit)
        _write(w, _AT_ONCE, HEARTBEAT_RESP, i, _LEADER, _NONE, _NONE, _NONE, _NO, _NONE)
    elif kind == HEARTBEAT_RESP:
        w.members[source].paused = False
        if w.members[source].match < w.members[_LEADER].last or w.members[source].state == PROBE:
            _send_append(m, w, source)
    else:
        if m.request_cpu > 0.0:
            w.members[_LEADER].busy = max(now, w.members[_LEADER].busy) + m.request_cpu
        _propose(m, w, source)
    return i


@borrowing_kernel
def _next_letter(w):
    """(time, slot) of the letter that arrives next; of two at once the one sent first. (inf, -1) for none.

    A member takes no letter while its processor is busy.
    """
    at, number, found = _NEVER, 0, -1
    for slot in range(w.count[0]):
        when = max(w.mail[slot].at, w.members[w.mail[slot].target].busy)
        if when < at or (when == at and w.mail[slot].number < number):
            at, number, found = when, w.mail[slot].number, slot
    return at, found


@borrowing_kernel
def _begin(m, w, seed):
    """A leader that has just been elected: logs are empty but for its own entry, which it sends; clients ask."""
    w.dice[0] = np.uint64(seed) * np.uint64(0xD1342543DE82EF95)
    w.count[:] = 0
    w.owners[:] = -1
    for i in range(m.members):
        member = w.members[i]
        member.match, member.next, member.state, member.paused = 0, 1, PROBE, False
        member.sent_commit, member.first, member.unanswered = 0, 0, 0
        member.last, member.commit, member.kept_commit, member.handed_last, member.handed_commit = 0, 0, 0, 0, 0
        member.stored, member.applied, member.written_at, member.busy = 0, 0, _NEVER, 0.0
        member.messages, member.replies, member.in_write = 0, 0, 0
    w.members[_LEADER].state = REPLICATE
    _propose(m, w, _NOBODY)
    for client in range(m.clients):
        w.clients[client].asked_at = 0.0
        _put_mail(w, m.client_delay, REQUEST, client, _LEADER, _NONE, _NONE, _NONE, _NO, _NONE)


@kernel
def run_replication(m, seed, horizon, latency, answered_at):
    """Play a model until every place is filled or time is up; returns (answers, messages sent, messages dropped).

    seed        : uint64
    horizon     : float
    latency     : float64[T]  from a client's asking to its being answered, in the order of the answers
    answered_at : float64[T]  when

    Messages dropped for want of room make the trial void.
    """
    w = _World(
        np.empty(m.members, _MEMBER), np.empty(_MAIL, _LETTER), np.empty((3, m.members, _MAIL), _LETTER),
        np.empty((m.members, m.max_inflight), np.int64), np.empty(m.clients + 2, np.int64),
        np.empty(m.clients, _CLIENT), np.empty(4, np.int64), np.empty(1, np.uint64),
    )  # fmt: skip
    _begin(m, w, seed)
    _work(m, w, _LEADER, 0.0, latency, answered_at)
    beat = m.heartbeat
    while w.count[2] < latency.shape[0]:
        now, slot = _next_letter(w)
        who, what = _NOBODY, 0
        if beat < now:
            now, what = beat, 1
        for i in range(m.members):
            if w.members[i].written_at < now:
                now, what, who = w.members[i].written_at, 2, i
        if now > horizon:
            break
        if what == 0:
            who = _receive(m, w, slot, now)
        elif what == 1:
            who = _LEADER
            beat = now + m.heartbeat
            _beat(m, w)
        else:
            _finish(m, w, who, now, latency, answered_at)
        _work(m, w, who, now, latency, answered_at)
    return min(w.count[2], latency.shape[0]), w.count[1], w.count[3]
