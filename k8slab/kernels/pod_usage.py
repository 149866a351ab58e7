"""What simulated pods use at an instant, and how many of each workload are ready."""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import borrowing_kernel

PPM = 1_000_000


@borrowing_kernel
def use_of_pods(rows, request, share, owner, each, runs_ns, ready_ns, now_ns, used):
    """What these pods use of one resource. Fills `used`.

    rows     : int64[n]
    request  : int64[P]       in the resource's unit
    share    : int64[S]       millionths of the request that a pod uses; all of it beyond S
    owner    : int32[n]       a pod's workload, -1 for none
    each     : int64[owners]  what a ready pod of the workload uses instead, -1 for nothing of the kind
    runs_ns, ready_ns : int64[P]
    used     : int64[n, or more]  0 where no container runs, or a load goes to others
    """
    for i in range(rows.shape[0]):
        p = rows[i]
        load = each[owner[i]] if 0 <= owner[i] < each.shape[0] else -1
        if runs_ns[p] > now_ns:
            used[i] = 0
        elif load >= 0:
            used[i] = load if ready_ns[p] <= now_ns else 0
        else:
            # In two parts: a request in bytes times a share in millionths is beyond int64.
            part = share[p] if p < share.shape[0] else PPM
            used[i] = request[p] // PPM * part + request[p] % PPM * part // PPM


@borrowing_kernel
def share_loads(curve, load_of, rows, owners, ready_ns, now_ns, each):
    """What each ready pod of a workload has of its load now. Fills `each`; -1 for a workload without one.

    curve   : float64[4, L]   a load's mean in milli-CPU, its swing, and when it peaks and how often, in ns
    load_of : int64[owners]   a workload's load, -1 for none
    rows, owners : int64[n], int32[n]  pods of workloads
    ready_ns: int64[P]
    each    : int64[owners]   milli-CPU
    """
    for owner in range(each.shape[0]):
        each[owner] = -1 if load_of[owner] < 0 else 0
    for i in range(rows.shape[0]):
        owner = owners[i]
        if owner < each.shape[0] and each[owner] >= 0 and ready_ns[rows[i]] <= now_ns:
            each[owner] += 1
    for owner in range(each.shape[0]):
        if each[owner] >= 0:
            mean, swing, peak, period = curve[:, load_of[owner]]
            turn = 2 * np.pi * ((now_ns - peak) % period) / period
            each[owner] = np.int64(np.rint(mean * (1 + swing * np.cos(turn)))) // max(each[owner], 1)


@borrowing_kernel
def when_sampled(rows, node, runs_ns, down, at_ns, interval_ns, taken_ns):
    """When a metrics server that looks at `at_ns` looked at each pod: then, or never. Fills `taken_ns`.

    rows    : int64[n]
    node    : int32[P]
    runs_ns : int64[P]   a container must have run for a whole interval
    down    : bool[d]    nodes that don't answer; those beyond d do
    taken_ns: int64[n, or more]
    """
    for i in range(rows.shape[0]):
        p = rows[i]
        seen = node[p] >= 0 and runs_ns[p] <= at_ns - interval_ns
        if seen and node[p] < down.shape[0] and down[node[p]]:
            seen = False
        taken_ns[i] = at_ns if seen else 2**63 - 1
