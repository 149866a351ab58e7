"""Carrying out what happens to pods at many instants, in order: they come, are bound, and end; and nodes come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel, inlined_kernel

Ints = npt.NDArray[np.int64]
ADDED, BOUND, ENDED, JOINED = 0, 1, 2, 3
NEVER = 2**63 - 1


class Cluster(NamedTuple):
    """The columns that are read and changed; codes are those of the caller.

    allocatable, requested : int64[R, N]
    node_alive             : bool[N]
    request                : int64[P, R]
    alive                  : bool[P]
    phase                  : int8[P]
    node                   : int32[P]  -1 for none
    last_node              : int32[P]  -1 if it never had one
    nominated              : int32[P]
    started, runs, ready, unready : int64[P]  as k8slab.state has them
    startup                : int64[P]  how long after its start it is ready
    """

    allocatable: Ints
    requested: Ints
    node_alive: npt.NDArray[np.bool_]
    request: Ints
    alive: npt.NDArray[np.bool_]
    phase: npt.NDArray[np.int8]
    node: npt.NDArray[np.int32]
    last_node: npt.NDArray[np.int32]
    nominated: npt.NDArray[np.int32]
    started: Ints
    runs: Ints
    ready: Ints
    unready: Ints
    startup: Ints


@inlined_kernel
def _fits(cluster, pod, node):
    """Whether a node has what a pod asks for; of what it doesn't ask for there may be too little."""
    for r in range(cluster.request.shape[1]):
        asked = cluster.request[pod, r]
        if asked > 0 and cluster.requested[r, node] + asked > cluster.allocatable[r, node]:
            return False
    return True


@inlined_kernel
def _legal(cluster, kind, pod, node, phases, force):
    pending, running, _ = phases
    if kind == JOINED:
        return 0 <= node < cluster.node_alive.shape[0] and not cluster.node_alive[node]
    if pod < 0 or pod >= cluster.alive.shape[0]:
        return False
    if kind == ADDED:
        return not cluster.alive[pod] and cluster.phase[pod] == pending and cluster.last_node[pod] < 0
    if node < 0 or node >= cluster.node_alive.shape[0] or not cluster.alive[pod]:
        return False
    if kind == BOUND:
        waits = cluster.phase[pod] == pending and cluster.node[pod] < 0
        return waits and cluster.node_alive[node] and (force or _fits(cluster, pod, node))
    return cluster.node[pod] == node and cluster.phase[pod] == running


@inlined_kernel
def _charge(cluster, pod, node, sign):
    for r in range(cluster.request.shape[1]):
        cluster.requested[r, node] += sign * cluster.request[pod, r]


@inlined_kernel
def _act(cluster, kind, pod, node, phases):
    if kind == JOINED:
        cluster.node_alive[node] = True
    elif kind == ADDED:
        cluster.alive[pod] = True
    elif kind == BOUND:
        _charge(cluster, pod, node, 1)
        cluster.node[pod] = node
        cluster.phase[pod] = phases[1]
    else:
        _charge(cluster, pod, node, -1)
        cluster.node[pod] = -1
        cluster.phase[pod] = phases[2]


@inlined_kernel
def _undo(cluster, kind, pod, node, phases):
    if kind == JOINED:
        cluster.node_alive[node] = False
    elif kind == ADDED:
        cluster.alive[pod] = False
    elif kind == BOUND:
        _charge(cluster, pod, node, -1)
        cluster.node[pod] = -1
        cluster.phase[pod] = phases[0]
    else:
        _charge(cluster, pod, node, 1)
        cluster.node[pod] = node
        cluster.phase[pod] = phases[1]


@inlined_kernel
def _stamp(cluster, at_ns, kind, pod, node):
    """Since when a pod that was bound runs and is ready; one that ended is no more."""
    if kind != JOINED:
        cluster.nominated[pod] = -1
    if kind == BOUND:
        cluster.last_node[pod] = node
        # A pod that was seen to run before keeps the instant that was told.
        cluster.started[pod] = min(cluster.started[pod], at_ns)
        cluster.runs[pod] = cluster.unready[pod] = at_ns
        cluster.ready[pod] = at_ns + cluster.startup[pod]
    elif kind == ENDED:
        cluster.runs[pod] = cluster.ready[pod] = cluster.unready[pod] = NEVER


@borrowing_kernel
def play(at_ns, kinds, pods, nodes, cluster, phases, force):
    """Carry out all of them, in order; gives -1, or the first that isn't legal, and then nothing is changed.

    at_ns  : int64[K]
    kinds  : int8[K]   ADDED, BOUND, ENDED or JOINED
    pods   : int64[K]  -1 for JOINED
    nodes  : int64[K]  -1 for ADDED
    phases : (pending, running, succeeded)
    force  : bind though a node has too little
    """
    for k in range(kinds.shape[0]):
        if not _legal(cluster, kinds[k], pods[k], nodes[k], phases, force):
            for back in range(k - 1, -1, -1):
                _undo(cluster, kinds[back], pods[back], nodes[back], phases)
            return k
        _act(cluster, kinds[k], pods[k], nodes[k], phases)
    for k in range(kinds.shape[0]):
        _stamp(cluster, at_ns[k], kinds[k], pods[k], nodes[k])
    return -1
