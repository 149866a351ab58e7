"""Which autoscalers' pods need not be counted again at a sync."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from k8slab.domain.columns import NEVER, Codes32
from k8slab.domain.ports import ClusterStatePort, SharedMetricsPort
from k8slab.kernels.horizontal_columns import Counts, Ints, Metrics


class SettledCounts:
    """Most workloads are as they were for hours: their pods are ready, and each uses as much as the others.

    What they come to is known then without a look at them; only the others are counted.

    owners    : the workload of each autoscaler
    resources : those that are looked at
    """

    def __init__(
        self,
        state: ClusterStatePort,
        metrics: SharedMetricsPort,
        looked_at: Metrics,
        counts: Counts,
        owners: Sequence[int],
        resources: Sequence[int],
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._looked_at = looked_at
        self._counts = counts
        self._owners = np.array(owners, dtype=np.int64)
        self._resources = resources
        self._seen = 0
        self._outages = metrics.outages

    def look(self, target: Ints) -> None:
        """Know what happened to pods since the last look. target : int64[owners], as in Pods"""
        if self._metrics.outages != self._outages:
            self._outages = self._metrics.outages
            self._counts.settled_ns[:] = NEVER
        rows = self._state.touched(self._seen)
        self._seen = self._state.version
        owners = self._state.pod_owner[rows[rows >= 0]]
        mine = target[owners[(owners >= 0) & (owners < len(target))]]
        self._counts.settled_ns[mine[mine >= 0]] = NEVER

    def left(self, rows: Ints, owners: Codes32, target: Ints, now_ns: int) -> tuple[Ints, Codes32]:
        """Those of the pods that have to be counted."""
        from k8slab.kernels.horizontal import keep

        shared = self._metrics.shared(self._owners, self._resources, now_ns)
        left, left_owners = np.empty_like(rows), np.empty_like(owners)
        count = keep(now_ns, self._looked_at, shared, rows, owners, target, self._counts, left, left_owners)
        return left[:count], left_owners[:count]
