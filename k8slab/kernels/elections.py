"""Leader elections of Raft in virtual time: many trials of one small cluster.

A model of the election alone (Raft §5.2, thesis §9): members, timers, votes, heartbeats, and a
network with delays and losses. Logs never grow; who may win is told by ranks. Time is a float
in whatever unit the model's numbers have. The object core under the laboratory's clock is the
slow twin: tests compare their distributions.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from k8slab.kernels._jit import borrowing_kernel, kernel
from k8slab.kernels.dice import uniform

Array = Any

# numpy's numbers, not Python's: for each of those that is handed to a kernel, numba compiles the kernel again.
FOLLOWER, PRE_CANDIDATE, CANDIDATE, LEADER = map(np.int64, range(4))
VOTE, VOTE_RESP, HEARTBEAT, HEARTBEAT_RESP, PRE_VOTE, PRE_VOTE_RESP = map(np.int64, range(6))
_REFUSED, _GRANTED = map(np.int64, range(2))
# When a trial is over: a candidate has a majority, everybody alive has heard the leader, or the time is up.
UNTIL_ELECTED, UNTIL_HEARD, UNTIL_HORIZON = range(3)
# Messages on their way at once; more are lost. Two rounds of everybody to everybody, and room to spare.
_MAIL: Final = 1024
_NEVER: Final = np.inf
_NOBODY: Final = np.int64(-1)


# A pair of members, row to column: one-way delay uniform between the two, probability of loss.
LINK: Final = np.dtype([("delay_low", "f8"), ("delay_high", "f8"), ("loss", "f8")])
# A member: how much longer than true time its clock takes; it votes for candidates of its rank or a higher
# one; a member that is not alive never says anything.
MEMBER: Final = np.dtype([("rate", "f8"), ("rank", "i8"), ("alive", "?")])
# What changes of a member. votes and heard_from are bit sets of members; heard_at is when it last heard the
# leader that it knows.
_STATE: Final = np.dtype(
    [
        ("term", "i8"), ("voted", "i8"), ("role", "i8"), ("leader", "i8"), ("votes", "i8"), ("heard_from", "i8"),
        ("patience", "f8"), ("timer", "f8"), ("beat", "f8"), ("heard_at", "f8"),
    ]
)  # fmt: skip
_LETTER: Final = np.dtype(
    [("at", "f8"), ("kind", "i8"), ("source", "i8"), ("target", "i8"), ("term", "i8"), ("granted", "i8")]
)


class ElectionModel(NamedTuple):
    """A cluster and its network; N members. Records, as each array passed costs seconds of compilation.

    links                 : LINK[N, N]
    members               : MEMBER[N]
    timeout_low, _high    : float          a member's patience, uniform between them
    jitter                : float          added to patience at each use, uniform from 0
    heartbeat             : float          between a leader's heartbeats
    candidate_disk        : float          a candidate's write before it asks for votes
    voter_disk            : float          a voter's write before it answers
    pre_vote              : bool           ask before standing (thesis §9.6)
    check_quorum          : bool           leaders without answers step down, members ignore candidates while
                                           they hear a leader (thesis §6.2, §4.2.3)
    patient_on_new_term   : bool           meeting a newer term restarts the timer, as etcd's Raft does;
                                           else only a granted vote or a heartbeat does (Raft §5.2)
    """

    links: Array
    members: Array
    timeout_low: float
    timeout_high: float
    jitter: float
    heartbeat: float
    candidate_disk: float
    voter_disk: float
    pre_vote: bool
    check_quorum: bool
    patient_on_new_term: bool


class _World(NamedTuple):
    """What changes in a trial.

    members : _STATE[N]
    mail    : _LETTER[_MAIL]  the first count[0] are on their way, in no order
    count   : int64[5]        messages on their way, candidacies, elections won, last winner, messages dropped
                              for want of room
    dice    : uint64[1]
    """

    members: Array
    mail: Array
    count: Array
    dice: Array


@borrowing_kernel
def _bits(x):
    """How many members a set has."""
    n = 0
    while x:
        x &= x - 1
        n += 1
    return n


@borrowing_kernel
def _post(m, w, now, kind, source, target, term, granted):
    """Send a message, which may be lost."""
    if not m.members[target].alive or uniform(w.dice) < m.links[source, target].loss:
        return
    slot = w.count[0]
    if slot == w.mail.shape[0]:
        w.count[4] += 1
        return
    low, high = m.links[source, target].delay_low, m.links[source, target].delay_high
    w.mail[slot].at = now + low + (high - low) * uniform(w.dice)
    w.mail[slot].kind = kind
    w.mail[slot].source = source
    w.mail[slot].target = target
    w.mail[slot].term = term
    w.mail[slot].granted = granted
    w.count[0] = slot + 1


@borrowing_kernel
def _post_all(m, w, now, kind, source, term):
    for target in range(m.members.shape[0]):
        if target != source:
            _post(m, w, now, kind, source, target, term, _REFUSED)


@borrowing_kernel
def _restart_timer(m, w, i, now):
    w.members[i].timer = now + (w.members[i].patience + m.jitter * uniform(w.dice)) * m.members[i].rate


@borrowing_kernel
def _new_patience(m, w, i):
    w.members[i].patience = m.timeout_low + (m.timeout_high - m.timeout_low) * uniform(w.dice)


@borrowing_kernel
def _follow(m, w, i, term, leader, now):
    """Become a follower, in a term that may be new."""
    newer = term > w.members[i].term
    if newer:
        w.members[i].term = term
        w.members[i].voted = _NOBODY
    if w.members[i].role == LEADER or (newer and m.patient_on_new_term):
        _new_patience(m, w, i)
        _restart_timer(m, w, i, now)
    w.members[i].role = FOLLOWER
    w.members[i].leader = leader
    w.members[i].beat = _NEVER


@borrowing_kernel
def _hear_leader(m, w, i, leader, now):
    w.members[i].leader = leader
    w.members[i].heard_at = now
    _restart_timer(m, w, i, now)


@borrowing_kernel
def _lead(m, w, i, now):
    w.members[i].role = LEADER
    w.members[i].leader = i
    w.members[i].heard_from = 1 << i
    w.members[i].timer = now + m.timeout_low * m.members[i].rate if m.check_quorum else _NEVER
    w.members[i].beat = now + m.heartbeat * m.members[i].rate
    w.count[2] += 1
    w.count[3] = i
    _post_all(m, w, now, HEARTBEAT, i, w.members[i].term)


@borrowing_kernel
def _stand(m, w, i, now):
    """Begin an election in a new term."""
    w.members[i].term += 1
    w.members[i].voted = i
    w.members[i].role = CANDIDATE
    w.members[i].leader = _NOBODY
    w.members[i].votes = 1 << i
    w.count[1] += 1
    _new_patience(m, w, i)
    _restart_timer(m, w, i, now)
    if m.members.shape[0] == 1:
        _lead(m, w, i, now)
    else:
        _post_all(m, w, now + m.candidate_disk, VOTE, i, w.members[i].term)


@borrowing_kernel
def _time_out(m, w, i, now):
    """A member's timer has run out: a leader checks its quorum, another one stands."""
    if w.members[i].role == LEADER:
        enough = 2 * _bits(w.members[i].heard_from) > m.members.shape[0]
        w.members[i].heard_from = 1 << i
        w.members[i].timer = now + m.timeout_low * m.members[i].rate
        if not enough:
            _follow(m, w, i, w.members[i].term, _NOBODY, now)
    elif m.pre_vote:
        w.members[i].role = PRE_CANDIDATE
        w.members[i].leader = _NOBODY
        w.members[i].votes = 1 << i
        _restart_timer(m, w, i, now)
        _post_all(m, w, now, PRE_VOTE, i, w.members[i].term + 1)
    else:
        _stand(m, w, i, now)


@borrowing_kernel
def _asked(m, w, kind, i, source, term, now):
    """Member i is asked for its vote, or whether it would give it."""
    lately = now - w.members[i].heard_at < m.timeout_low * m.members[i].rate
    hears_leader = m.check_quorum and w.members[i].leader != _NOBODY and lately
    if term > w.members[i].term:
        if hears_leader:
            return
        if kind == VOTE:
            _follow(m, w, i, term, _NOBODY, now)
    elif term < w.members[i].term:
        if kind == PRE_VOTE:
            _post(m, w, now, PRE_VOTE_RESP, i, source, w.members[i].term, _REFUSED)
        return
    free = w.members[i].voted == _NOBODY and w.members[i].leader == _NOBODY
    may = w.members[i].voted == source or free or (kind == PRE_VOTE and term > w.members[i].term)
    granted = may and m.members[source].rank >= m.members[i].rank
    if kind == PRE_VOTE:
        _post(m, w, now, PRE_VOTE_RESP, i, source, term if granted else w.members[i].term, granted)
        return
    if granted:
        w.members[i].voted = source
        _restart_timer(m, w, i, now)
    _post(m, w, now + m.voter_disk, VOTE_RESP, i, source, w.members[i].term, granted)


@borrowing_kernel
def _answered(m, w, kind, i, source, term, granted, now):
    """Candidate i gets an answer."""
    if term > w.members[i].term and not (kind == PRE_VOTE_RESP and granted):
        _follow(m, w, i, term, _NOBODY, now)
        return
    expected = w.members[i].term + 1 if kind == PRE_VOTE_RESP else w.members[i].term
    role = PRE_CANDIDATE if kind == PRE_VOTE_RESP else CANDIDATE
    if w.members[i].role != role or not granted or term != expected:
        return
    w.members[i].votes |= 1 << source
    if 2 * _bits(w.members[i].votes) > m.members.shape[0]:
        if kind == PRE_VOTE_RESP:
            _stand(m, w, i, now)
        else:
            _lead(m, w, i, now)


@borrowing_kernel
def _beaten(m, w, i, source, term, now):
    """Member i gets a leader's heartbeat."""
    if term < w.members[i].term:
        # A leader of old learns of the newer term, where candidates can't tell it.
        if m.pre_vote or m.check_quorum:
            _post(m, w, now, HEARTBEAT_RESP, i, source, w.members[i].term, _REFUSED)
        return
    if term > w.members[i].term or w.members[i].role != FOLLOWER:
        _follow(m, w, i, term, source, now)
    _hear_leader(m, w, i, source, now)
    _post(m, w, now, HEARTBEAT_RESP, i, source, term, _GRANTED)


@borrowing_kernel
def _receive(m, w, slot, now):
    """Take the message out of its slot and let its receiver act."""
    kind, source, i = w.mail[slot].kind, w.mail[slot].source, w.mail[slot].target
    term, granted = w.mail[slot].term, w.mail[slot].granted
    last = w.count[0] - 1
    w.mail[slot] = w.mail[last]
    w.count[0] = last
    if kind in (VOTE, PRE_VOTE):
        _asked(m, w, kind, i, source, term, now)
    elif kind in (VOTE_RESP, PRE_VOTE_RESP):
        _answered(m, w, kind, i, source, term, granted, now)
    elif kind == HEARTBEAT:
        _beaten(m, w, i, source, term, now)
    elif term > w.members[i].term:
        _follow(m, w, i, term, _NOBODY, now)
    elif w.members[i].role == LEADER and term == w.members[i].term:
        w.members[i].heard_from |= 1 << source


@borrowing_kernel
def _served(m, w):
    """The member that leads a majority in its term, if there is one."""
    for i in range(m.members.shape[0]):
        if w.members[i].role == LEADER and m.members[i].alive:
            in_term = 0
            for j in range(m.members.shape[0]):
                in_term += m.members[j].alive and w.members[j].term == w.members[i].term
            if 2 * in_term > m.members.shape[0]:
                return i
    return _NOBODY


@borrowing_kernel
def _is_over(m, w, until):
    if until == UNTIL_HORIZON or w.count[2] == 0:
        return False
    if until == UNTIL_ELECTED:
        return True
    leader = w.count[3]
    for i in range(m.members.shape[0]):
        if m.members[i].alive and (w.members[i].leader != leader or w.members[i].term != w.members[leader].term):
            return False
    return w.members[leader].role == LEADER


@borrowing_kernel
def _begin(m, w, crash, seed, trial):
    """All members alive in a first term: fresh timers, or a leader that crashes in its heartbeat interval."""
    w.dice[0] = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(trial) * np.uint64(0x2545F4914F6CDD1D)
    w.count[:] = 0
    last_beat = -m.heartbeat * uniform(w.dice) if crash >= 0 else 0.0
    for i in range(m.members.shape[0]):
        w.members[i].term = 1 if crash >= 0 else 0
        w.members[i].voted = crash
        w.members[i].leader = crash
        w.members[i].role = FOLLOWER
        w.members[i].votes = 0
        w.members[i].heard_from = 0
        w.members[i].beat = _NEVER
        _new_patience(m, w, i)
        start = last_beat
        if crash >= 0:
            low, high = m.links[crash, i].delay_low, m.links[crash, i].delay_high
            start += low + (high - low) * uniform(w.dice)
        w.members[i].heard_at = start
        _restart_timer(m, w, i, start)
        if not m.members[i].alive:
            w.members[i].timer = _NEVER


@borrowing_kernel
def _next(m, w):
    """What happens next: (time, what, who), what 0 a timer, 1 a heartbeat to send, 2 a message's slot."""
    at, what, who = _NEVER, 0, 0
    for i in range(m.members.shape[0]):
        if w.members[i].timer < at:
            at, what, who = w.members[i].timer, 0, i
        if w.members[i].beat < at:
            at, what, who = w.members[i].beat, 1, i
    for slot in range(w.count[0]):
        if w.mail[slot].at < at:
            at, what, who = w.mail[slot].at, 2, slot
    return at, what, who


@kernel
def run_elections(m, crash, until, horizon, seed, first_trial, ended, term, served, candidacies, leaders):
    """Play trials of a model; fills the arrays, one value a trial, T trials.

    crash       : the leader that dies at time 0 somewhere in its heartbeat interval, -1 for none: all timers fresh
    until       : UNTIL_ELECTED, UNTIL_HEARD or UNTIL_HORIZON
    horizon     : float      no trial is longer
    seed        : uint64     trial t draws from (seed, first_trial + t) alone, so any part can be played again
    ended       : float64[T] when it was over; inf if it was not within the horizon
    term        : int64[T]   the term of the last leader, 0 without
    served      : float64[T] share of the time in which a leader had a majority in its term
    candidacies : int64[T]   terms that were begun
    leaders     : int64[T]   elections won

    Returns how many messages were dropped for want of room; anything but 0 makes the trials void.
    """
    n = m.members.shape[0]
    w = _World(np.empty(n, _STATE), np.empty(_MAIL, _LETTER), np.zeros(5, np.int64), np.zeros(1, np.uint64))
    dropped = 0
    for trial in range(ended.shape[0]):
        _begin(m, w, crash, seed, first_trial + trial)
        now, led = 0.0, 0.0
        over = False
        while not over:
            at, what, who = _next(m, w)
            if _served(m, w) >= 0:
                led += min(at, horizon) - now
            now = at
            if at >= horizon:
                break
            if what == 0:
                _time_out(m, w, who, now)
            elif what == 1:
                w.members[who].beat = now + m.heartbeat * m.members[who].rate
                _post_all(m, w, now, HEARTBEAT, who, w.members[who].term)
            else:
                _receive(m, w, who, now)
            over = _is_over(m, w, until)
        ended[trial] = now if over else _NEVER
        term[trial] = w.members[w.count[3]].term if w.count[2] else 0
        served[trial] = led / min(now, horizon) if min(now, horizon) > 0.0 else 0.0
        candidacies[trial] = w.count[1]
        leaders[trial] = w.count[2]
        dropped += w.count[4]
    return dropped
