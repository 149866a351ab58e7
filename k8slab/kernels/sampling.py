"""Placing pods by kube-scheduler's sampling: a search ends as soon as enough nodes will do, and these alone are scored.

A node that no search comes to costs nothing. S nodes were found for a pod; all else as in kernels.scan.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel, kernel
from k8slab.kernels.choice import draw01
from k8slab.kernels.company import (
    AWAY,
    CONFLICTING,
    HARD,
    LIKED,
    SOFT,
    WANTED,
    Relations,
    score_company,
    score_spread,
)
from k8slab.kernels.scan import (
    ALLOWED_ROW,
    BONUS_ROW,
    HELD,
    KIN_KEY,
    NEIGHBOURS,
    PORTS_KEY,
    PREFERENCES,
    PREFERENCES_ROW,
    REQUEST,
    SCORED,
    SPREAD,
    TAINTS,
    TAINTS_ROW,
    charge,
    score_share,
    see_off,
)
from k8slab.kernels.scores import Asked, Floats, Ints, Mask, score_pairs

_FEWEST, _MOST = -(2**62), 2**62


class Sample(NamedTuple):
    """How nodes are looked at.

    order  : int64[M]  rows of the nodes in turn
    wanted : how many that will do are enough
    next   : int64[1]  where in `order` the next search starts; rows that are no more are counted round
    starts : int64[P]  filled with where each pod's did
    """

    order: Ints
    wanted: int
    next: Ints
    starts: Ints


class _Room(NamedTuple):
    """Room for what is gathered of the nodes found.

    rows    : int64[W]    the nodes
    request : float64[R]  what the pod asks of what must be free
    bounds  : int64[2, .] least and most of what each row of Relations.rows counts
    amounts : float64[7, R * W]
    layout  : int32[L * W]
    part, raw, total : float64[W]
    some    : bool[W]     all True
    marks   : bool[.]     all False
    """

    rows: Ints
    request: Floats
    bounds: Ints
    amounts: Floats
    layout: npt.NDArray[np.int32]
    part: Floats
    raw: Floats
    total: Floats
    some: Mask
    marks: Mask


@kernel
def place_by_sample(
    pods, left, pod_class, allocatable, load, classes, sites, relations, scoring, leaving, draws, stops, sample, chosen
):
    """Place pods one after another on the best of the first nodes that will do; gives the index of the next pod.

    sample : Sample, of which `next` and `starts` are kept up to date. All else is as in kernels.scan.place_by_scan.
    """
    is_random, seed, pod_row = draws
    room = _made(allocatable, relations, sample)
    for pod in range(pods[0], pods[1]):
        see_off(pod, leaving, left, pod_class, load, classes, relations, chosen)
        c = pod_class[pod]
        sample.starts[pod] = sample.next[0]
        _bound(classes.key[KIN_KEY, c], load, relations, room.bounds)
        found = _search(c, allocatable, load, classes, sites, relations, sample, room)
        if found == 0 and stops[pod]:
            return pod
        chosen[pod] = -1
        if found == 0:
            continue
        who, total = room.rows[:found], room.total[:found]
        _score(c, who, total, allocatable, load, classes, sites, relations, scoring, room)
        row = _drawn(who, total, draw01(seed, pod_row[pod])) if is_random else _lowest(who, total)
        chosen[pod] = row
        charge(load, classes, relations, c, row, 1)
    return pods[1]


@kernel
def _made(allocatable, relations, sample):
    """Room for a run."""
    most = min(sample.wanted, sample.order.shape[0])
    slots = 1
    for counter in range(relations.counter.shape[0]):
        slots = max(slots, relations.counter[counter, 2] + 1)
    return _Room(
        np.empty(most, np.int64),
        np.empty(allocatable.shape[0]),
        np.empty((2, relations.rows.shape[0]), np.int64),
        np.empty((7, allocatable.shape[0] * most)),
        np.empty(relations.layout.shape[0] * most, np.int32),
        np.empty(most),
        np.empty(most),
        np.empty(most),
        np.ones(most, np.bool_),
        np.zeros(slots, np.bool_),
    )


# -- which nodes will do ---------------------------------------------------------------------


@borrowing_kernel
def _bound(kin, load, relations, bounds):
    """Between what each amount must lie that a pod of a kin asks about, before any node is looked at."""
    start, rows = relations.start, relations.rows
    least = np.int64(0)  # the first of a group that wants its own company may go anywhere with the key
    for j in range(start[WANTED, kin], start[WANTED, kin + 1]):
        least |= (rows[j, 2] == 0) | (load.totals[rows[j, 0]] > 0)
    for j in range(start[WANTED, kin], start[WANTED, kin + 1]):
        bounds[0, j], bounds[1, j] = least, _MOST
    for j in range(start[AWAY, kin], start[AWAY, kin + 1]):
        bounds[0, j], bounds[1, j] = _FEWEST, 0
    for j in range(start[HARD, kin], start[HARD, kin + 1]):
        first, size = relations.counter[rows[j, 0], 1], relations.counter[rows[j, 0], 2]
        lowest = np.int64(2**31 - 1)
        for slot in range(first + 1, first + 1 + size):
            amount = load.amounts[slot]
            lowest = amount if relations.seen[slot] & (amount < lowest) else lowest
        bounds[0, j], bounds[1, j] = _FEWEST, rows[j, 2] + (lowest if rows[j, 4] >= rows[j, 3] else 0)


@borrowing_kernel
def _search(c, allocatable, load, classes, sites, relations, sample, room):
    """Look at nodes in turn until enough will do for a pod of a class; gives how many do. Fills room.rows."""
    order, rows, request, requested = sample.order, room.rows, room.request, load.requested
    nodes, wanted, looked, found = order.shape[0], rows.shape[0], 0, 0
    place = sample.next[0] % nodes
    kin, port = classes.key[KIN_KEY, c], classes.key[PORTS_KEY, c]
    asks = _asks_of_others(kin, port, relations)
    allowed = sites.allowed[classes.key[ALLOWED_ROW, c]]
    for r in range(request.shape[0]):
        request[r] = classes.amount[REQUEST, r, c] if classes.checked[r] else 0.0
    while looked < nodes and found < wanted:
        node = order[place]
        # Written out here: a call that hands over all tables takes longer than what it would do.
        will_do = allowed[node]
        for r in range(request.shape[0]):
            will_do &= (request[r] <= 0.0) | (requested[r, node] + request[r] <= allocatable[r, node])
        if will_do and asks:
            will_do = _is_welcome(node, kin, port, load, relations, room.bounds)
        rows[found] = node
        found += will_do
        place = place + 1 if place + 1 < nodes else 0
        looked += 1
    sample.next[0] = place
    return found


@borrowing_kernel
def _asks_of_others(kin, port, relations):
    """Whether it matters to a pod who is on a node."""
    start = relations.start
    asks = start[CONFLICTING, port] < start[CONFLICTING, port + 1]
    for table in (HARD, WANTED, AWAY):
        asks |= start[table, kin] < start[table, kin + 1]
    return asks


@borrowing_kernel
def _is_welcome(node, kin, port, load, relations, bounds):
    """Whether a node has the ports, breaks no hard spread constraint, and is near those wanted and no others."""
    rows = relations.rows
    for j in range(relations.start[CONFLICTING, port], relations.start[CONFLICTING, port + 1]):
        if load.ports[rows[j, 0], node]:
            return False
    for table in (HARD, WANTED, AWAY):
        for j in range(relations.start[table, kin], relations.start[table, kin + 1]):
            place = relations.layout[rows[j, 1], node]
            amount = load.amounts[relations.counter[rows[j, 0], 1] + place]
            if amount < bounds[0, j] or amount > bounds[1, j] or (place == 0 and table != AWAY):
                return False
    return True


# -- scores ----------------------------------------------------------------------------------


@kernel
def _score(c, who, total, allocatable, load, classes, sites, relations, scoring, room):
    """Fill the scores of the nodes found, int64[S], as the scan would if no others were feasible."""
    resources, found = allocatable.shape[0], who.shape[0]
    size, shape = resources * found, (resources, found)
    amounts, part, some = room.amounts, room.part[:found], room.some[:found]
    used, request = amounts[0, :size].reshape(shape), amounts[1, :size].reshape(shape)
    asked = Asked(used, request, used, request, used, request)
    _ask(load.requested, classes.amount[REQUEST], c, who, used, request)
    if classes.adjusted:
        held_used, held = amounts[2, :size].reshape(shape), amounts[3, :size].reshape(shape)
        nonzero, scored = amounts[4, :size].reshape(shape), amounts[5, :size].reshape(shape)
        asked = Asked(used, request, held_used, held, nonzero, scored)
        _ask(load.requested, classes.amount[HELD], c, who, held_used, held)
        _ask(load.nonzero, classes.amount[SCORED], c, who, nonzero, scored)
    has = amounts[6, :size].reshape(shape)
    for r in range(resources):
        _gather(allocatable[r], who, has[r])
    score_pairs(asked, has, scoring, part, total)
    _gather(sites.bonus[classes.key[BONUS_ROW, c]], who, part)
    for i in range(found):
        total[i] += part[i]
    weights = scoring.normalized
    if weights[TAINTS] > 0.0:
        _gather(sites.taints[classes.key[TAINTS_ROW, c]], who, part)
        score_share(part, some, -weights[TAINTS], total)
    if weights[PREFERENCES] > 0.0:
        _gather(sites.preferences[classes.key[PREFERENCES_ROW, c]], who, part)
        score_share(part, some, weights[PREFERENCES], total)
    kin, start = classes.key[KIN_KEY, c], relations.start
    if start[SOFT, kin] < start[SOFT, kin + 1] or start[LIKED, kin] < start[LIKED, kin + 1]:
        here = _gathered(kin, who, relations, room.layout)
        score_spread(load.amounts, here, kin, some, weights[SPREAD], room.raw[:found], room.marks, total)
        score_company(load.amounts, load.totals, here, kin, some, weights[NEIGHBOURS], room.raw[:found], total)


@kernel
def _ask(requested, request, c, who, used, asked):
    """Fill float64[R, S] each: what the nodes would hold with a pod of a class, and what it asks for."""
    for r in range(used.shape[0]):
        amount = request[r, c]
        for i in range(used.shape[1]):
            used[r, i] = requested[r, who[i]] + amount
            asked[r, i] = amount


@kernel
def _gather(source, who, target):
    for i in range(target.shape[0]):
        target[i] = source[who[i]]


@kernel
def _gathered(kin, who, relations, room):
    """The relations with the layouts of the nodes found in place of all nodes', as far as scores read them."""
    layouts, found, rows = relations.layout.shape[0], who.shape[0], relations.rows
    layout = room[: layouts * found].reshape((layouts, found))
    for j in range(relations.start[SOFT, kin], relations.start[SOFT, kin + 1]):
        _gather(relations.layout[rows[j, 1]], who, layout[rows[j, 1]])
        _gather(relations.layout[rows[j, 4]], who, layout[rows[j, 4]])
        if rows[j, 2] >= 0:
            _gather(relations.layout[rows[j, 2]], who, layout[rows[j, 2]])
    for j in range(relations.start[LIKED, kin], relations.start[LIKED, kin + 1]):
        _gather(relations.layout[rows[j, 1]], who, layout[rows[j, 1]])
    return Relations(layout, relations.counter, relations.seen, relations.logs, relations.start, rows)


# -- choice ----------------------------------------------------------------------------------


@kernel
def _lowest(who, total):
    """The lowest row of the highest score. who : int64[S] rows in any order"""
    best = total.max()
    row = np.int64(_MOST)
    for i in range(who.shape[0]):
        row = who[i] if total[i] == best and who[i] < row else row
    return row


@kernel
def _drawn(who, total, number):
    """The row of the highest score that a number in [0, 1) picks, in the order of rows."""
    best = total.max()
    ties, low, high = 0, np.int64(_MOST), np.int64(0)
    for i in range(who.shape[0]):
        if total[i] == best:
            ties += 1
            low, high = min(low, who[i]), max(high, who[i])
    wanted = int(number * ties) + 1
    # The lowest row up to which there are as many: by halves, as sorting takes longer.
    while low < high:
        middle = (low + high) // 2
        upto = 0
        for i in range(who.shape[0]):
            upto += (total[i] == best) & (who[i] <= middle)
        if upto >= wanted:
            high = middle
        else:
            low = middle + 1
    return low
