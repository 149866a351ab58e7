"""Living through the comings, waits and goings of pods: who is tried when, on a table of nodes' points.

N nodes, C classes, as in kernels.churn; columns as in kernels.course_columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from k8slab.kernels._jit import borrowing_kernel, kernel
from k8slab.kernels.churn import best_node, charge, rescore_one, scratch_for
from k8slab.kernels.course_columns import ADDED, BOUND, ENDED, JOINED
from k8slab.kernels.timers import pop, rise

MAX = np.int64(2**63 - 1)
# The counters of Desk.counts: rows told, ends and arrivals that are past, timers, nodes freed in this instant, pods
# tried in it, pods that wait, the next sequence number, all tries, first refusals, nodes that came, those that grew
# idle, the next look of Rounds.
TOLD, PAST_ENDS, CAME, TIMERS, FREED, BATCH, WAITS, SEQUENCE, TRIES, REFUSED, NODES = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
IDLE, LOOK_NS, COUNTERS = 11, 12, 13


class Desk(NamedTuple):
    """What is worked with.

    counts  : int64[COUNTERS]
    timers  : int64[3, n + W]  a heap of when, whose row, whose place among the pods
    where   : int64[n + W]     the table's node that a pod was put on here, -1 for none
    window  : int64[n + W]     in which its back-off ends
    batch   : int64[n + W]     places of those that are tried in this instant
    refused : int64[n + W]     places of those that were refused in it
    freed   : int64[D + n + W + J] nodes where pods ended in it, or that came
    node, kind : int64[K]      of the rows told, by the table's numbers
    """

    counts: np.ndarray
    timers: np.ndarray
    where: np.ndarray
    window: np.ndarray
    batch: np.ndarray
    refused: np.ndarray
    freed: np.ndarray
    node: np.ndarray
    kind: np.ndarray


# -- the queue -----------------------------------------------------------------------


@borrowing_kernel
def _late_ns(since_ns, rules):
    """When who waits since then is tried, whatever happens."""
    return ((since_ns + rules.late_ns) // rules.every_ns + 1) * rules.every_ns


@borrowing_kernel
def _first_late_ns(course):
    first = MAX
    for i in range(course.line.shape[0]):
        first = min(first, course.pods.since_ns[course.line[i]])
    return MAX if first == MAX else _late_ns(first, course.rules)


@borrowing_kernel
def _window(place, now_ns, pods, rules):
    """The window in which a pod's back-off ends, -1 if that is past."""
    span_ns = rules.spans_ns[min(pods.refusals[place], rules.spans_ns.shape[0] - 1)]
    window = (pods.since_ns[place] + span_ns) // rules.window_ns
    return np.int64(-1) if window < now_ns // rules.window_ns or not rules.backs_off else window


@borrowing_kernel
def _in_turn(batch, count, window, pods):
    """Sort: who backs off last, then by priority, then by who came back first. Almost sorted as a rule."""
    for i in range(1, count):
        place, at = batch[i], i
        while at > 0:
            other = batch[at - 1]
            if window[other] != window[place]:
                before = window[other] < window[place]
            elif pods.priority[other] != pods.priority[place]:
                before = pods.priority[other] > pods.priority[place]
            else:
                before = pods.sequence[other] < pods.sequence[place]
            if before:
                break
            batch[at] = other
            at -= 1
        batch[at] = place


@borrowing_kernel
def _may_fit(kind, freed, free, board):
    """Who waits fits nowhere but where something changed."""
    fits = False
    for i in range(free):
        fits = fits or board.points[freed[i], kind] > 0
    return fits


# -- who looks around ----------------------------------------------------------------


@borrowing_kernel
def _is_idle(board, node, row, rounds):
    """Whether a node has become one that the loop of `rounds` looks at; 0 or 1."""
    if row >= rounds.most.shape[0] or rounds.most[row] < 0.0:
        return 0
    idle = 1
    for i in range(rounds.shared.shape[0]):
        r = rounds.shared[i]
        has = board.allocatable[node, r]
        if has > 0.0 and board.requested[node, r] / has > rounds.most[row]:
            idle = 0
    return idle


@borrowing_kernel
def _looked_until(limit_ns, rounds, count):
    """The next look up to this instant that isn't for nothing, MAX if there is none; those before are past."""
    if rounds.every_ns == 0 or count[LOOK_NS] > limit_ns:
        return MAX
    if count[WAITS] > 0 or count[IDLE] > 0:
        return count[LOOK_NS]
    ahead_ns = limit_ns - count[LOOK_NS]
    count[LOOK_NS] += (ahead_ns + rounds.every_ns - 1) // rounds.every_ns * rounds.every_ns
    # A look in the very instant of something else goes step by step.
    return count[LOOK_NS] if count[LOOK_NS] == limit_ns else MAX


# -- an instant ----------------------------------------------------------------------


@borrowing_kernel
def _due_ns(course, desk):
    """When pods end or come next, or a node comes."""
    count, due_ns = desk.counts, MAX
    if count[CAME] < course.at_ns.shape[0]:
        due_ns = min(due_ns, course.at_ns[count[CAME]])
    if count[PAST_ENDS] < course.ends.at_ns.shape[0]:
        due_ns = min(due_ns, course.ends.at_ns[count[PAST_ENDS]])
    if count[TIMERS] > 0:
        due_ns = min(due_ns, desk.timers[0, 0])
    if count[NODES] < course.joins.at_ns.shape[0]:
        due_ns = min(due_ns, course.joins.at_ns[count[NODES]])
    return due_ns


@borrowing_kernel
def _tell(at_ns, verb, pod, node, kind, rows, desk, told):
    k = desk.counts[TOLD]
    desk.counts[TOLD] = k + 1
    desk.node[k], desk.kind[k] = node, kind
    told.at_ns[k], told.verb[k], told.pod[k] = at_ns, verb, pod
    told.node[k] = rows[node] if node >= 0 else -1


@borrowing_kernel
def _allow(board, node, allowed):
    """allowed : bool[C]"""
    for c in range(board.allowed.shape[1]):
        board.allowed[node, c] = allowed[c]


@borrowing_kernel
def _shut(board, node):
    for c in range(board.allowed.shape[1]):
        board.allowed[node, c] = False


@borrowing_kernel
def _join_due(now_ns, course, board, rows, scratch, desk, told):
    """Nodes come."""
    joins, count = course.joins, desk.counts
    count[FREED] = 0
    while count[NODES] < joins.at_ns.shape[0] and joins.at_ns[count[NODES]] == now_ns:
        node = joins.node[count[NODES]]
        _allow(board, node, joins.allowed[count[NODES]])
        rescore_one(board, node, scratch)
        desk.freed[count[FREED]] = node
        count[FREED] += 1
        count[NODES] += 1
        count[IDLE] += 1
        _tell(now_ns, JOINED, -1, node, -1, rows, desk, told)


@borrowing_kernel
def _end_due(now_ns, course, board, rows, scratch, desk, told):
    """Those whose time is over, by row."""
    ends, pods, count, timers = course.ends, course.pods, desk.counts, desk.timers
    while True:
        k = count[PAST_ENDS]
        known = k < ends.at_ns.shape[0] and ends.at_ns[k] == now_ns
        new = count[TIMERS] > 0 and timers[0, 0] == now_ns
        if not known and not new:
            return
        if known and not (new and timers[1, 0] < ends.row[k]):
            row, node, kind = ends.row[k], ends.node[k], ends.kind[k]
            count[PAST_ENDS] += 1
        else:
            place = timers[2, 0]
            row, node, kind = pods.row[place], desk.where[place], pods.kind[place]
            count[TIMERS] -= 1
            pop(timers, count[TIMERS])
        charge(board, node, kind, -1.0)
        rescore_one(board, node, scratch)
        count[IDLE] += _is_idle(board, node, rows[node], course.rounds)
        desk.freed[count[FREED]] = node
        count[FREED] += 1
        _tell(now_ns, ENDED, row, node, kind, rows, desk, told)


@borrowing_kernel
def _gather(now_ns, course, rows, desk, told, line):
    """Who is tried: those that come, and those that wait if a pod ended or a node came."""
    pods, count, batch = course.pods, desk.counts, desk.batch
    count[BATCH] = 0
    while count[CAME] < course.at_ns.shape[0] and course.at_ns[count[CAME]] == now_ns:
        place = count[CAME]
        _tell(now_ns, ADDED, pods.row[place], -1, -1, rows, desk, told)
        pods.sequence[place], desk.window[place] = count[SEQUENCE] + count[BATCH], -1
        batch[count[BATCH]] = place
        count[BATCH] += 1
        count[CAME] += 1
    count[SEQUENCE] += count[BATCH]
    if count[FREED] > 0:
        for i in range(count[WAITS]):
            desk.window[line[i]] = _window(line[i], now_ns, pods, course.rules)
            batch[count[BATCH]] = line[i]
            count[BATCH] += 1
    _in_turn(batch, count[BATCH], desk.window, pods)


@borrowing_kernel
def _try(now_ns, first_told, course, board, rows, scratch, desk, told):
    """Place the batch; gives how many were refused, -1 where something else follows: then nothing happened."""
    pods, down, refusals = course.pods, course.rules.down, 0
    for i in range(desk.counts[BATCH]):
        place, node = desk.batch[i], -1
        kind = pods.kind[place]
        if pods.refusals[place] == 0 or _may_fit(kind, desk.freed, desk.counts[FREED], board):
            node = best_node(board, kind)
        if node < 0:
            desk.refused[refusals] = place
            refusals += 1
            as_foreseen = pods.may_wait[place]
        else:
            charge(board, node, kind, 1.0)
            rescore_one(board, node, scratch)
            desk.where[place] = node
            _tell(now_ns, BOUND, pods.row[place], node, kind, rows, desk, told)
            row = rows[node]
            as_foreseen = pods.may_go[place] and not (row < down.shape[0] and down[row])
        if not as_foreseen:
            _take_back(first_told, board, scratch, desk, told)
            return -1
    return refusals


@borrowing_kernel
def _take_back(first_told, board, scratch, desk, told):
    """The instant that begins with this row hasn't begun."""
    for k in range(first_told, desk.counts[TOLD]):
        if told.verb[k] == JOINED:
            _shut(board, desk.node[k])
        elif told.verb[k] != ADDED:
            charge(board, desk.node[k], desk.kind[k], -1.0 if told.verb[k] == BOUND else 1.0)
        if told.verb[k] != ADDED:
            rescore_one(board, desk.node[k], scratch)
    desk.counts[TOLD] = first_told


@borrowing_kernel
def _start(now_ns, course, desk):
    """Those of the batch that found a node run, and end before the course does or aren't minded here."""
    timers = desk.timers
    for i in range(desk.counts[BATCH]):
        place, size = desk.batch[i], desk.counts[TIMERS]
        lasting = course.pods.lifetime_ns[place]
        if desk.where[place] >= 0 and lasting < course.before_ns - now_ns:
            timers[0, size], timers[1, size], timers[2, size] = now_ns + lasting, course.pods.row[place], place
            rise(timers, size)
            desk.counts[TIMERS] += 1


@borrowing_kernel
def _wait(now_ns, first, refusals, course, desk, line, refused_ns, refused):
    """Those of the batch that were refused wait from now on, from this place of the line."""
    pods, count = course.pods, desk.counts
    for i in range(refusals):
        place = desk.refused[i]
        pods.refusals[place] += 1
        pods.since_ns[place], pods.sequence[place] = now_ns, count[SEQUENCE] + i
        line[first + i] = place
        if pods.refusals[place] == 1:
            refused_ns[count[REFUSED]], refused[count[REFUSED]] = now_ns, place
            count[REFUSED] += 1
    count[SEQUENCE] += refusals
    count[WAITS] = first + refusals


@kernel
def _desk_for(course, told):
    everybody = course.pods.row.shape[0]
    counts = np.zeros(COUNTERS, dtype=np.int64)
    counts[WAITS], counts[SEQUENCE] = course.line.shape[0], course.sequence
    counts[LOOK_NS] = course.rounds.next_ns
    return Desk(
        counts,
        np.empty((3, everybody), dtype=np.int64),
        np.full(everybody, -1, dtype=np.int64),
        np.empty(everybody, dtype=np.int64),
        np.empty(everybody, dtype=np.int64),
        np.empty(everybody, dtype=np.int64),
        np.empty(course.ends.row.shape[0] + everybody + course.joins.row.shape[0], dtype=np.int64),
        np.empty(told.pod.shape[0], dtype=np.int64),
        np.empty(told.pod.shape[0], dtype=np.int64),
    )


@kernel
def live(course, board, rows, told, line, refused_ns, refused):
    """Live through a course; gives Desk.counts, and the first instant that wasn't, as something else would follow.

    Within an instant nodes come; pods end, by row; then others come; then the scheduler tries them, and if some
    ended or nodes came those that wait as well.

    rows        : int64[N]      the state's row of each of the table's nodes, ascending; course.ends.node and
                                course.joins.node are the table's. Nodes that come are on it, allowed to nobody
    told        : int64[K] each, filled, counts[TOLD] rows
    line        : int64[n + W]  the course's; then who waits now, counts[WAITS]
    refused_ns, refused : int64[n]  filled, counts[REFUSED] rows: who was refused for the first time, and when
    """
    scratch, desk = scratch_for(board), _desk_for(course, told)
    count = desk.counts
    late_ns = _first_late_ns(course)
    while True:
        now_ns = _due_ns(course, desk)
        stop_ns = min(course.before_ns, late_ns)
        stop_ns = min(stop_ns, _looked_until(min(now_ns, stop_ns), course.rounds, count))
        if now_ns >= stop_ns:
            return count, stop_ns
        first_told = count[TOLD]
        _join_due(now_ns, course, board, rows, scratch, desk, told)
        _end_due(now_ns, course, board, rows, scratch, desk, told)
        sequence = count[SEQUENCE]
        _gather(now_ns, course, rows, desk, told, line)
        refusals = _try(now_ns, first_told, course, board, rows, scratch, desk, told)
        if refusals < 0:
            count[SEQUENCE] = sequence
            return count, now_ns
        count[TRIES] += count[BATCH]
        _start(now_ns, course, desk)
        kept = count[WAITS] if count[FREED] == 0 else 0
        _wait(now_ns, kept, refusals, course, desk, line, refused_ns, refused)
        if kept == 0:
            late_ns = _late_ns(now_ns, course.rules) if refusals > 0 else MAX
