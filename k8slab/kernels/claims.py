"""Pods tried on nodes that are there and on new ones whose type is still open: a simulated scheduling by Karpenter.

M nodes in the order they are tried, G options (what could be launched: an instance type of a node pool), K node
pools in the order they are asked, C classes of pods, R resources. Pods are numbered by their place in the queue, so
a sorted list of them is a queue. Amounts are exact int64.
"""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import kernel
from k8slab.kernels.refit import _charge, _fits

# What becomes of a pod that finds no room: it goes on waiting, or all has failed. One that would move mustn't count on
# nodes that aren't there yet either.
PENDING, LEAVING, MOVING = range(3)
# How a simulated scheduling fails; 0 or more is the number of new nodes.
STUCK, MANY, UPCOMING = -1, -2, -3
# What comes of taking one node away.
UNTRIED, DELETE, REPLACE, NO_ROOM, TOO_MANY, NOT_YET, TOO_DEAR = range(7)


@kernel
def _narrow(c, request, on_option, room, left, used, claim, commit):
    """Whether a claim has an option that could hold the pod too; if so and told to, drop all others and count it in."""
    found = False
    for g in range(room.shape[0]):
        if not left[claim, g]:
            continue
        holds = on_option[c, g]
        for r in range(room.shape[1]):
            holds = holds and (request[c, r] <= 0 or used[claim, r] + request[c, r] <= room[g, r])
        found = found or holds
        if commit:
            left[claim, g] = holds
    if commit:
        for r in range(room.shape[1]):
            used[claim, r] += request[c, r]
    return found


@kernel
def _open(c, request, on_option, room, capacity, pool, remaining, left, used, claim):
    """Fill a new claim's options from the first pool that has one within its limits; gives the pool, -1 for none."""
    for k in range(remaining.shape[0]):
        found = False
        for g in range(room.shape[0]):
            left[claim, g] = pool[g] == k and on_option[c, g]
            for r in range(room.shape[1]):
                holds = request[c, r] <= 0 or request[c, r] <= room[g, r]
                left[claim, g] = left[claim, g] and holds and capacity[g, r] <= remaining[k, r]
            found = found or left[claim, g]
        if found:
            for r in range(room.shape[1]):
                used[claim, r] = request[c, r]
                largest = 0
                for g in range(room.shape[0]):
                    if left[claim, g]:
                        largest = max(largest, capacity[g, r])
                remaining[k, r] -= largest
            return k
    return -1


@kernel
def _to_claim(c, request, on_option, room, capacity, pool, remaining, left, used, count, order, claims, most):
    """The claim that takes the pod, fewest pods first, or a new one; -1 for none, `most` if one more would be needed.

    order : int64[most]  claims by how many pods they have; those of equal numbers as they came to have them
    """
    for place in range(claims):
        claim = order[place]
        if _narrow(c, request, on_option, room, left, used, claim, False):
            _narrow(c, request, on_option, room, left, used, claim, True)
            count[claim] += 1
            while place + 1 < claims and count[order[place + 1]] < count[claim]:
                order[place] = order[place + 1]
                place += 1
            order[place] = claim
            return claim
    # The one after the last is scratch: whether it could be opened is found out by opening it.
    opened = _open(c, request, on_option, room, capacity, pool, remaining, left, used, claims)
    if opened < 0:
        return -1
    if claims == most:
        return most
    count[claims] = 1
    # One pod is as few as any has.
    place = claims
    while place > 0 and count[order[place - 1]] > 1:
        order[place] = order[place - 1]
        place -= 1
    order[place] = claims
    return claims


@kernel
def _run(
    queue, length, duty, strict, pod_class, request, start, allowed, free, is_open, ready, on_option, room, capacity,
    pool, remaining, most, target, left, used, count, order,
):  # fmt: skip
    """A simulated scheduling of the queue's first `length` pods; see `schedule`. Gives claims, or how it failed."""
    claims = 0
    for i in range(length):
        pod = queue[i]
        c, target[pod] = pod_class[pod], -1
        node = start[c]
        while node < free.shape[0] and not (is_open[node] and allowed[c, node] and _fits(request, c, free, node)):
            node += 1
        start[c] = node
        if node < free.shape[0]:
            if strict and duty[pod] == MOVING and node >= ready:
                return UPCOMING
            target[pod] = node
            _charge(request, c, free, node, 1)
            continue
        claim = _to_claim(
            c, request, on_option, room, capacity, pool, remaining, left, used, count, order, claims, most
        )  # fmt: skip
        if claim == most:
            return MANY
        if claim >= 0:
            target[pod] = free.shape[0] + claim
            claims = max(claims, claim + 1)
        elif strict and duty[pod] != PENDING:
            return STUCK
    return claims


@kernel
def schedule(
    queue, duty, strict, pod_class, request, allowed, free, is_open, ready, on_option, room, capacity, pool, remaining,
    most, target, left, used, count,
):  # fmt: skip
    """Each pod to the first node with room, else to the new node with fewest pods that can still be of a type that
    holds them all, else to one more. Gives the number of new nodes, or STUCK, MANY, UPCOMING.

    queue     : int64[n]     pods, numbered by their place in the queue, ascending
    duty      : int8[P]      PENDING, LEAVING or MOVING; asked if strict, else a pod without a place is left out
    pod_class : int32[P]     request : int64[C, R]    allowed : bool[C, M]
    free      : int64[M, R]  of nodes in the order they are tried; lowered
    is_open   : bool[M]      ready : those from this row on aren't there yet
    on_option : bool[C, G]   may a class use such a node, as it is described
    room      : int64[G, R]  for pods of an empty one        capacity : int64[G, R]  what counts against limits
    pool      : int64[G]     remaining : int64[K, R]  of the pools' limits; lowered by the largest option of a new node
    most      : so many new nodes at the most
    target    : int64[P]     filled: a node, M + new node, or -1
    left      : bool[most + 1, G]  filled: the options of each new node      used : int64[most + 1, R]  its requests
    count     : int64[most + 1]    its pods
    """
    start = np.zeros(request.shape[0], dtype=np.int64)
    order = np.zeros(most + 1, dtype=np.int64)
    return _run(
        queue, queue.shape[0], duty, strict, pod_class, request, start, allowed, free, is_open, ready, on_option, room,
        capacity, pool, remaining, most, target, left, used, count, order,
    )  # fmt: skip


@kernel
def _merge(first, second, low, high, out):
    """Both sorted lists as one; second[low:high] alone is taken of the second. Gives its length."""
    i, j, length = 0, low, 0
    while i < first.shape[0] or j < high:
        if j == high or (i < first.shape[0] and first[i] < second[j]):
            out[length] = first[i]
            i += 1
        else:
            out[length] = second[j]
            j += 1
        length += 1
    return length


@kernel
def _first_rooms(pods, pod_class, request, allowed, free, start):
    """Raise `start` to the first node with room for each of the pods' classes, as all is before anything moves."""
    known = np.zeros(request.shape[0], dtype=np.bool_)
    for i in range(pods.shape[0]):
        c = pod_class[pods[i]]
        while not known[c] and start[c] < free.shape[0]:
            if allowed[c, start[c]] and _fits(request, c, free, start[c]):
                break
            start[c] += 1
        known[c] = True


@kernel
def first_move(
    begin, nodes, price, head, pods, base, duty, pod_class, request, start, allowed, free, is_open, ready, on_option,
    room, capacity, pool, remaining, option_price, outcome, target, left,
):  # fmt: skip
    """The first node, from candidate `begin` on, that could go: its pods elsewhere, on one new cheaper node if need be.

    Gives its number among the candidates, or their number if none could; see `schedule` for what isn't told here.

    nodes   : int64[N]      candidates, as rows of free
    price   : float64[N]    of each      option_price : float64[G]
    head    : int64[N + 1]  pods[head[n] : head[n + 1]] are candidate n's, sorted
    base    : int64[B]      pods that must be placed in any case, sorted
    start   : int64[C]      the first node that a class could ever be placed on, as no room comes back; raised
    free    : int64[M, R]   as it was when this returns      remaining : int64[K, R]  as it was
    outcome : int8[N]       filled from `begin` on: DELETE, REPLACE, or why not
    target  : int64[P]      filled for the pods of the one that could go
    left    : bool[2, G]    filled: the options of its new node, dearer ones as well
    """
    queue = np.empty(base.shape[0] + pods.shape[0], dtype=np.int64)
    used = np.zeros((2, room.shape[1]), dtype=np.int64)
    count, order = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    # For thousands of candidates each class would look through thousands of full nodes, again and again.
    _first_rooms(pods, pod_class, request, allowed, free, start)
    _first_rooms(base, pod_class, request, allowed, free, start)
    begins, limits = start.copy(), remaining.copy()
    for n in range(begin, nodes.shape[0]):
        length = _merge(base, pods, head[n], head[n + 1], queue)
        for i in range(length):
            begins[pod_class[queue[i]]] = start[pod_class[queue[i]]]
            target[queue[i]] = -1
        limits[:] = remaining
        was_open = is_open[nodes[n]]
        is_open[nodes[n]] = False
        claims = _run(
            queue, length, duty, True, pod_class, request, begins, allowed, free, is_open, ready, on_option, room,
            capacity, pool, limits, 1, target, left, used, count, order,
        )  # fmt: skip
        is_open[nodes[n]] = was_open
        for i in range(length):
            pod = queue[i]
            if 0 <= target[pod] < free.shape[0]:
                _charge(request, pod_class[pod], free, target[pod], -1)
        cheaper = False
        for g in range(room.shape[0]):
            cheaper = cheaper or (left[0, g] and option_price[g] < price[n])
        if claims == 0:
            outcome[n] = DELETE
        elif claims == 1:
            outcome[n] = REPLACE if cheaper else TOO_DEAR
        else:
            outcome[n] = NO_ROOM if claims == STUCK else TOO_MANY if claims == MANY else NOT_YET
        if outcome[n] == DELETE or outcome[n] == REPLACE:
            return n
    return nodes.shape[0]
