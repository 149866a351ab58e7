"""Pods tried on nodes that are there and on nodes that could be: first fit, packing of new nodes, emptying of old ones.

N nodes, C classes of pods, R resources, for filters that look at one node at a time. Amounts are
exact int64. Nodes are tried from the lowest row on, so that an answer is a function of the input.
"""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import kernel


@kernel
def _fits(request, c, free, node):
    """Whether a pod of class c has room; of what it doesn't ask for a node may be over-full."""
    room = True
    for r in range(request.shape[1]):
        room = room and (request[c, r] <= 0 or request[c, r] <= free[node, r])
    return room


@kernel
def _charge(request, c, free, node, sign):
    for r in range(request.shape[1]):
        free[node, r] -= sign * request[c, r]


@kernel
def fill(pod_class, request, allowed, free, chosen):
    """Each pod in turn to the first node that has room for it. Fills `chosen`, lowers `free`.

    pod_class : int32[P]
    request   : int64[C, R]
    allowed   : bool[C, N]
    free      : int64[N, R]  may be negative
    chosen    : int64[P]     -1 where none has
    """
    # Room only shrinks, so a class never has to look again at nodes that refused it.
    start = np.zeros(request.shape[0], dtype=np.int64)
    for i in range(pod_class.shape[0]):
        c = pod_class[i]
        node = start[c]
        while node < free.shape[0] and not (allowed[c, node] and _fits(request, c, free, node)):
            node += 1
        start[c] = node
        chosen[i] = -1
        if node < free.shape[0]:
            chosen[i] = node
            _charge(request, c, free, node, 1)


@kernel
def pack_new(group_class, group_count, request, allowed, room, most, placed, taken):
    """First-fit decreasing over new nodes of one template; gives how many got a pod.

    group_class : int32[G]     groups of equal pods in the order they are tried
    group_count : int64[G]
    request     : int64[C, R]
    allowed     : bool[C]      may a class use such a node
    room        : int64[R]     of an empty one
    most        : so many nodes at the most
    placed      : int64[G]     filled: how many pods of each group found room
    taken       : int64[R]     filled: what they request together

    domain.cluster_autoscaler.estimator's rule: a group's pods on the nodes that were added, in order,
    up to the first that fits nowhere; the rest on one new node after another. A node that got none
    stays, and no other is added while it is the last.
    """
    free = np.empty((most, room.shape[0]), dtype=np.int64)
    empty = np.ones(most, dtype=np.bool_)
    added = used = 0
    stop = False
    taken[:] = 0
    for g in range(group_class.shape[0]):
        c, left = group_class[g], group_count[g]
        node = 0
        while left > 0 and node < added and allowed[c]:
            if _fits(request, c, free, node):
                _charge(request, c, free, node, 1)
                used += 1 if empty[node] else 0
                empty[node] = False
                left -= 1
            else:
                node += 1
        while left > 0 and not stop:
            if added and empty[added - 1]:
                break  # an empty node refused it: so would the next
            if added == most:
                stop = True
                break
            free[added] = room
            added += 1
            node = added - 1
            while left > 0 and allowed[c] and _fits(request, c, free, node):
                _charge(request, c, free, node, 1)
                used += 1 if empty[node] else 0
                empty[node] = False
                left -= 1
        placed[g] = group_count[g] - left
        for r in range(room.shape[0]):
            taken[r] += placed[g] * request[c, r]
    return used


@kernel
def _empty_one(node, head, following, pod_class, request, allowed, free, is_open, trial):
    """Move all pods of a node elsewhere; gives -1, or the pod that fits nowhere, all others put back.

    trial : int64[P]  filled: where each goes
    """
    pod = head[node]
    while pod >= 0:
        c, trial[pod] = pod_class[pod], -1
        for other in range(free.shape[0]):
            if other != node and is_open[other] and allowed[c, other] and _fits(request, c, free, other):
                trial[pod] = other
                _charge(request, c, free, other, 1)
                break
        if trial[pod] < 0:
            back = head[node]
            while back != pod:
                _charge(request, pod_class[back], free, trial[back], -1)
                back = following[back]
            return pod
        pod = following[pod]
    return -1


@kernel
def empty_each(nodes, head, following, pod_class, request, allowed, free, is_open, target, stuck):
    """Of each node by itself, the others as they are: could all its pods go elsewhere, and where?

    nodes     : int64[K]
    head      : int64[N]    a node's first pod that would have to move, -1 for none
    following : int64[P]    the next pod of the same node, -1 after the last
    pod_class : int32[P]    request : int64[C, R]    allowed : bool[C, N]
    free      : int64[N, R] as it was when this returns
    is_open   : bool[N]     takes pods
    target    : int64[P]    filled for the pods of nodes that could go: where each goes; left as it is for others
    stuck     : int64[K]    filled: -1 if all go, else the pod that fits nowhere
    """
    trial = np.empty(target.shape[0], dtype=np.int64)
    for k in range(nodes.shape[0]):
        node = nodes[k]
        stuck[k] = _empty_one(node, head, following, pod_class, request, allowed, free, is_open, trial)
        pod = head[node]
        while stuck[k] < 0 and pod >= 0:
            target[pod] = trial[pod]
            _charge(request, pod_class[pod], free, target[pod], -1)
            pod = following[pod]


@kernel
def _first_room(c, node, request, allowed, rows, free, is_open, start):
    """The first node from start[c] on, but this one, with room for the class; the number of nodes if none has."""
    other = start[c]
    while other < free.shape[0] and not (
        other != node and is_open[other] and allowed[c, rows[other]] and _fits(request, c, free, other)
    ):
        other += 1
    return other


@kernel
def _move_all(node, head, following, pod_class, request, allowed, rows, free, is_open, start, trial):
    """Move all pods of a node elsewhere; gives -1, or the pod that fits nowhere, all others put back.

    start : int64[C]  where each class looks first; raised, also where all are put back
    trial : int64[P]  filled: where each goes
    """
    pod = head[node]
    while pod >= 0:
        c = pod_class[pod]
        # A class never has to look again at nodes that refused it: each pod only makes less room.
        start[c] = trial[pod] = _first_room(c, node, request, allowed, rows, free, is_open, start)
        if trial[pod] == free.shape[0]:
            back = head[node]
            while back != pod:
                _charge(request, pod_class[back], free, trial[back], -1)
                back = following[back]
            return pod
        _charge(request, c, free, trial[pod], 1)
        pod = following[pod]
    return -1


@kernel
def empty_in_turn(nodes, head, last, following, pod_class, request, allowed, rows, free, is_open, target, stuck):
    """One node after another goes if all its pods fit elsewhere; what moved stays moved, and moves on if need be.

    As `empty_each`, but `free`, `is_open` and the lists are changed. last : int64[N] a node's last pod, -1 for none
    allowed : bool[C, .]  by `rows`, int64[N]
    """
    trial = np.empty(target.shape[0], dtype=np.int64)
    start, before = np.zeros(request.shape[0], dtype=np.int64), np.zeros(request.shape[0], dtype=np.int64)
    for k in range(nodes.shape[0]):
        node = nodes[k]
        stuck[k] = _move_all(
            node, head, following, pod_class, request, allowed, rows, free, is_open, start, trial
        )
        pod = head[node]
        if stuck[k] >= 0:
            while pod >= 0:
                # What was put back has its room again.
                start[pod_class[pod]] = before[pod_class[pod]]
                pod = following[pod]
            continue
        is_open[node] = False
        while pod >= 0:
            after, there = following[pod], trial[pod]
            before[pod_class[pod]] = start[pod_class[pod]]
            target[pod] = there
            following[pod] = -1
            if head[there] < 0:
                head[there] = pod
            else:
                following[last[there]] = pod
            last[there] = pod
            pod = after
        head[node] = last[node] = -1


@kernel
def link(pods, nodes, head, last, following):
    """Fill the lists of pods by node, in the order given; all are -1 before. pods, nodes : int64[n]"""
    for i in range(pods.shape[0]):
        pod, node = pods[i], nodes[i]
        if head[node] < 0:
            head[node] = pod
        else:
            following[last[node]] = pod
        last[node] = pod
