"""The pods that hold nodes, as Karpenter sees them: who blocks a node, and what each one's eviction costs."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.running_pods import BARE, STAYS, UNSAFE, Kinds, RunningPods, _controlled, _labelled
from k8slab.domain.columns import Ints, PodColumns
from k8slab.domain.karpenter.disruption_cost import eviction_cost
from k8slab.domain.moving import DELETION_COST, DO_NOT_DISRUPT

# Why a pod blocks its node, in the words of Karpenter's events.
BLOCKED_BY: Final = {
    UNSAFE: f"pod has {DO_NOT_DISRUPT}",
    BARE: "pod has no controller, and evict_bare_pods is off",
}


class DisruptedPods(RunningPods):
    """RunningPods by Karpenter's rules: pods on local disks and system pods move like all others."""

    _cost: npt.NDArray[np.float64] = np.zeros(0)

    def eviction_costs(self, rows: Ints) -> npt.NDArray[np.float64]:
        """float64[n], those below 0 as 0."""
        self.kinds(rows)
        return np.asarray(np.maximum(self._cost[rows], 0.0))

    def owned_kinds(self, rows: Ints) -> Kinds:
        """int8[n]: as `kinds`, of pods that may have gone or be leaving: what they were before."""
        self.kinds(rows[:0])
        return self._kind[rows]

    def _judge(self, rows: Ints) -> Kinds:
        pods = self._state.pod_columns(rows)
        self._cost = np.concatenate([self._cost, self._costs(pods)])
        kind: Kinds = np.zeros(len(rows), dtype=np.int8)
        if self._bare_block:
            kind[(self._state.pod_owner[rows] < 0) & ~_controlled(pods)] = BARE
        kind[_labelled(pods, DO_NOT_DISRUPT, "true")] = UNSAFE
        kind[self._daemons(rows) | _controlled(pods, "DaemonSet") | _controlled(pods, "Node")] = STAYS
        return kind

    def _costs(self, pods: PodColumns) -> npt.NDArray[np.float64]:
        column = pods.labels.get(DELETION_COST)
        codes = np.full(len(pods), -1) if column is None else column.codes
        costs = [0, *(_whole(value) for value in (column.values if column is not None else ()))]
        asked = np.column_stack([codes + 1, pods.priority])
        known, where = np.unique(asked, axis=0, return_inverse=True)
        each = [eviction_cost(costs[code], priority) for code, priority in known.tolist()]
        return np.array(each, dtype=np.float64)[where.reshape(-1)]


def _whole(text: str | None) -> int:
    """A deletion cost; what is no whole number counts as none, as upstream's does."""
    try:
        return int(text or 0)
    except ValueError:
        return 0
