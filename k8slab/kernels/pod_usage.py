"""What simulated pods use at an instant, and how many of each workload are ready."""

from __future__ import annotations

from k8slab.kernels._jit import borrowing_kernel

PPM = 1_000_000


@borrowing_kernel
def use_of_pods(rows, request, share, owner, each, runs_ns, ready_ns, now_ns, used):
    """What these pods use of one resource. Fills `used`.

    rows     : int64[n]
    request  : int64[P]       in the resource's unit
    share    : int64[S]       millionths of the request that a pod uses; all of it beyond S
    owner    : int32[P]       a pod's workload, -1 for none
    each     : int64[owners]  what a ready pod of the workload uses instead, -1 for nothing of the kind
    runs_ns, ready_ns : int64[P]
    used     : int64[n]       0 where no container runs, or a load goes to others
    """
    for i in range(rows.shape[0]):
        p = rows[i]
        load = each[owner[p]] if 0 <= owner[p] < each.shape[0] else -1
        if runs_ns[p] > now_ns:
            used[i] = 0
        elif load >= 0:
            used[i] = load if ready_ns[p] <= now_ns else 0
        else:
            # In two parts: a request in bytes times a share in millionths is beyond int64.
            part = share[p] if p < share.shape[0] else PPM
            used[i] = request[p] // PPM * part + request[p] % PPM * part // PPM


@borrowing_kernel
def count_ready(rows, owners, ready_ns, now_ns, ready):
    """How many of these pods are ready, by workload. Fills `ready`.

    rows : int64[n], owners : int32[n], ready_ns : int64[P], ready : int64[owners]
    """
    ready[:] = 0
    for i in range(rows.shape[0]):
        if owners[i] < ready.shape[0] and ready_ns[rows[i]] <= now_ns:
            ready[owners[i]] += 1


@borrowing_kernel
def share_loads(served, load_of, loads, ready, each):
    """What each ready pod of a workload has of its load. Fills `each` where there is one.

    served : int64[n], workloads with a load; load_of, ready, each : int64[owners]; loads : int64[L]
    """
    for i in range(served.shape[0]):
        owner = served[i]
        each[owner] = loads[load_of[owner]] // max(ready[owner], 1)


@borrowing_kernel
def when_sampled(rows, node, runs_ns, down, at_ns, interval_ns, taken_ns):
    """When a metrics server that looks at `at_ns` looked at each pod: then, or never. Fills `taken_ns`.

    rows    : int64[n]
    node    : int32[P]
    runs_ns : int64[P]   a container must have run for a whole interval
    down    : bool[d]    nodes that don't answer; those beyond d do
    taken_ns: int64[n]
    """
    for i in range(rows.shape[0]):
        p = rows[i]
        seen = node[p] >= 0 and runs_ns[p] <= at_ns - interval_ns
        if seen and node[p] < down.shape[0] and down[node[p]]:
            seen = False
        taken_ns[i] = at_ns if seen else 2**63 - 1
