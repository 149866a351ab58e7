"""Columns that all HorizontalPodAutoscalers of a sync are decided on, without anything compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.int8]

# How a metric compares, of Metrics.kind.
UTILIZATION, AVERAGE, VALUE, SHARED_VALUE = 0, 1, 2, 3
# What a pass came to, of Verdict.outcome.
SCALED_BY_METRICS, BOUND, DISABLED, AMBIGUOUS, NO_METRICS = 0, 1, 2, 3, 4
# Which limit it was, of Verdict.limit.
WITHIN, TOO_FEW, TOO_MANY, UP_LIMIT, DOWN_LIMIT = 0, 1, 2, 3, 4
# Of Rules.select.
MAX, MIN, DISABLED_POLICY = 0, 1, 2
# The rows of Verdict.reasons, and the codes in each: why of AbleToScale, ScalingActive and ScalingLimited.
ABLE, ACTIVE, LIMITED = 0, 1, 2
GOT_SCALE, READY, DOWN_HELD, UP_HELD, RESCALED, WRITE_FAILED = 0, 1, 2, 3, 4, 5
UNKNOWN_REASON, VALID, SWITCHED_OFF, SHARED_SELECTOR, FIRST_FAILURE = 0, 1, 2, 3, 4
LIMIT_REASON = 1
UP, DOWN = 0, 1
# The columns of Counts.sums.
COUNTED, UNREADY, MISSING, USED, ASKED, ASKED_UNREADY, ASKED_MISSING, FILLED_MISSING = 0, 1, 2, 3, 4, 5, 6, 7
MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


class Pods(NamedTuple):
    """The pods of workloads, of which those of the targets are looked at: n pods, of the P of a state.

    row, owner : int64[n], int32[n]  in any order
    target   : int64[owners]  the autoscaler of each workload, -1 for none
    pending, running, failed : codes of `phase`
    phase, leaving : int8[P], alive : bool[P]
    ready_ns, unready_ns, started_ns : int64[P]  as k8slab.state has them
    request  : int64[P, R]    in the resources' units; 0 is none
    used     : int64[C, n]    of the resources that are looked at, in their units
    taken_ns : int64[n]       when a pod was looked at; NEVER where there is no sample
    own, own_request, own_taken_ns : int64[Q, n]  other quantities, in milli
    """

    row: Ints
    owner: npt.NDArray[np.int32]
    target: Ints
    pending: int
    running: int
    failed: int
    phase: Bytes
    leaving: Bytes
    alive: Mask
    ready_ns: Ints
    unready_ns: Ints
    started_ns: Ints
    request: Ints
    used: Ints
    taken_ns: Ints
    own: Ints
    own_request: Ints
    own_taken_ns: Ints


class Counts(NamedTuple):
    """What there is of each metric's and each target's pods.

    sums   : int64[M, 8]  COUNTED, UNREADY, MISSING pods; USED and ASKED by the counted, ASKED by the unready and
             by the missing, and what the missing are taken to use on the way down; COUNTED is -1 where a request lacks
    status, serving : int64[H]  pods that the target has, and that run and are ready
    ready  : int64[H]
    matched : int64[H]  pods that the target's selector matches, those on their way out or failed too
    alters : bool[1]  whether time alone will change what pods count as
    settled_ns : int64[H] from when on, while no pod changes, all count alike: they are ready, were looked at since and
             aren't young; MAX_INT64 where that isn't so
    kept   : bool[H]  this is still what was counted then, but for what is used: nobody looks at the pods
    """

    sums: Ints
    status: Ints
    serving: Ints
    ready: Ints
    matched: Ints
    alters: Mask
    settled_ns: Ints
    kept: Mask


class Sources(NamedTuple):
    """What the pods' use of resources is known by, without a look at each: see kernels.pod_usage.

    owner   : int64[H]        the workload of each autoscaler
    resource : int64[C]       those that are looked at, by their column of Pods.request
    cpu     : int             which of them is a load's, -1 for none
    curve, load_of : as share_loads has them
    each    : int64[owners]   filled: what each ready pod of a workload has of its load
    share   : int64[S, R]     millionths of its request that a pod uses
    node    : int32[P]
    runs_ns : int64[P]
    down    : bool[d]         nodes that don't answer
    interval_ns : int         so often all pods are looked at
    """

    owner: Ints
    resource: Ints
    cpu: int
    curve: Floats
    load_of: Ints
    each: Ints
    share: Ints
    node: npt.NDArray[np.int32]
    runs_ns: Ints
    down: Mask
    interval_ns: int


class Metrics(NamedTuple):
    """The M metrics of all autoscalers, those of one together.

    first    : int64[H + 1]
    kind     : int8[M]   UTILIZATION, AVERAGE, VALUE or SHARED_VALUE
    target   : int64[M]  per cent or milli
    column   : int64[M]  row of Pods.used, -1 for one of Pods.own's
    resource : int64[M]  column of Pods.request, or row of Pods.own
    factor   : int64[M]  from the resource's unit to milli
    is_cpu   : bool[M]   whether young pods' samples are doubted
    value    : int64[M]  what the last two kinds read, in milli
    failed   : bool[M]   it couldn't be read
    failure  : int8[M]   the code for ACTIVE where it can't be evaluated
    """

    first: Ints
    kind: Bytes
    target: Ints
    column: Ints
    resource: Ints
    factor: Ints
    is_cpu: Mask
    value: Ints
    failed: Mask
    failure: Bytes


class Rules(NamedTuple):
    """The H autoscalers.

    least, most : int64[H]
    spec     : int64[H]  what the target should have
    ambiguous  : bool[H]     another autoscaler has the same target
    by_rules   : bool[H]     with behavior
    tolerance  : float64[2, H]  UP, DOWN
    window_ns  : int64[2, H]    UP, DOWN; without behavior DOWN is the flag's
    select     : int8[2, H]
    first      : int64[2, H + 1]  policies of a side: rows first[d, h] : first[d, h + 1]
    policies   : int64[., 3]      1 for Percent and 0 for Pods, value, period in ns
    factor, minimum : without behavior a step goes to at most max(factor * spec, minimum)
    periods_ns : int64[3]  cpu initialization, initial readiness delay, and how long a sample's window is
    """

    least: Ints
    most: Ints
    spec: Ints
    ambiguous: Mask
    by_rules: Mask
    tolerance: Floats
    window_ns: Ints
    select: Bytes
    first: Ints
    policies: Ints
    factor: float
    minimum: float
    periods_ns: Ints


class Memory(NamedTuple):
    """What is remembered of each autoscaler: proposals, equal ones in a row as one, and steps taken.

    seen       : bool[H]     whether there ever was a pass
    proposed   : int64[H, K] a ring; K is above the passes that the longest window holds
    proposed_ns : int64[H, K]  when it was proposed last; far in the past for a free place
    at         : int64[H]    the place written last
    steps      : int64[2, H, E]  rings of changes, always positive; UP, DOWN
    steps_ns   : int64[2, H, E]
    steps_at   : int64[2, H]
    """

    seen: Mask
    proposed: Ints
    proposed_ns: Ints
    at: Ints
    steps: Ints
    steps_ns: Ints
    steps_at: Ints


class Verdict(NamedTuple):
    """What a pass decided.

    wanted, usage, utilization : int64[M]  of each metric; wanted -1 and the others 0 where it couldn't be
                  evaluated, utilization -1 for one that isn't relative to requests
    proposed, stabilized, desired : int64[H]
    outcome     : int8[H]
    limit       : int8[H]
    failing     : int64[H]  the first metric that couldn't be evaluated, -1 for none
    reasons     : int8[3, H]  of ABLE, ACTIVE, LIMITED: why; LIMITED has LIMIT_REASON + limit, 0 for unknown
    steady      : bool[H]   with the same pods and samples, later passes will decide the same
    """

    wanted: Ints
    usage: Ints
    utilization: Ints
    proposed: Ints
    stabilized: Ints
    desired: Ints
    outcome: Bytes
    limit: Bytes
    failing: Ints
    reasons: Bytes
    steady: Mask
