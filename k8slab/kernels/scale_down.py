"""Which nodes cluster-autoscaler tries to do without: domain.cluster_autoscaler.scale_down.eligibility over columns.

N nodes, R resources, G groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import kernel

Ints = npt.NDArray[np.int64]


class Eligibility(NamedTuple):
    """Flags.

    not_ready, unknown : codes of a node's state
    unready_enabled    : nodes that are either may go
    threshold : float64[G]  the most that a ready node may use
    shared    : int64[.]    rows of the resources of which the larger share counts
    gpu_group : bool[G]     of whose nodes the share of GPUs counts
    gpu_rows  : int64[.]    of kinds of GPUs
    """

    not_ready: int
    unknown: int
    unready_enabled: bool
    threshold: npt.NDArray[np.float64]
    shared: Ints
    gpu_group: npt.NDArray[np.bool_]
    gpu_rows: Ints


@kernel
def _utilization(node, is_gpu, allocatable, requested, rules):
    """NaN where there is nothing of a resource, but 0 of a kind of GPU."""
    most = 0.0
    for row in rules.gpu_rows if is_gpu else rules.shared:
        has = allocatable[row, node]
        if has > 0:
            most = max(most, requested[row, node] / has)
        elif not is_gpu:
            return np.nan
    return most


@kernel
def worth_trying(alive, state, group, out, allocatable, requested, rules, found):
    """Fill `found` with rows; gives how many.

    alive : bool[N]   state : int8[N]   group : int32[N], -1 for none   out : bool[N], not these
    allocatable, requested : int64[R, N]
    found : int64[N]
    """
    count = 0
    for node in range(alive.shape[0]):
        if not alive[node] or group[node] < 0 or out[node]:
            continue
        is_gpu = rules.gpu_group[group[node]] and rules.gpu_rows.shape[0] > 0
        used = _utilization(node, is_gpu, allocatable, requested, rules)
        if state[node] == rules.not_ready or state[node] == rules.unknown:
            tried = rules.unready_enabled and not np.isnan(used)
        else:
            tried = used <= rules.threshold[group[node]]
        if tried:
            found[count] = node
            count += 1
    return count
