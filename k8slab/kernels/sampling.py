"""Which nodes are looked at where a search ends as soon as enough will do: kube-scheduler's sampling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import kernel

Ints = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """How nodes are looked at.

    order  : int64[M]  rows of the nodes in turn; empty where all are looked at
    wanted : how many that will do are enough
    next   : int64[1]  where in `order` the next search starts
    starts : int64[P]  filled with where each pod's did
    """

    order: Ints
    wanted: int
    next: Ints
    starts: Ints


@kernel
def keep_sample(feasible, sample, pod):
    """Clear `feasible`, bool[N], where a pod's search doesn't come to: it ends once enough nodes will do."""
    nodes, start = sample.order.shape[0], sample.next[0]
    sample.starts[pod] = start
    found, place, looked = 0, start, 0
    while looked < nodes and found < sample.wanted:
        found += feasible[sample.order[place]]
        place = place + 1 if place + 1 < nodes else 0
        looked += 1
    sample.next[0] = place
    for _ in range(looked, nodes):
        feasible[sample.order[place]] = False
        place = place + 1 if place + 1 < nodes else 0
