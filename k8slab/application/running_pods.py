"""The pods that hold nodes, and what becomes of them if their node goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, PodColumns
from k8slab.domain.moving import LOCAL_STORAGE, SAFE_TO_EVICT
from k8slab.domain.ports import Change, ClusterStatePort

Kinds = npt.NDArray[np.int8]

SYSTEM: Final = "kube-system"

# What a pod is to somebody who wants its node empty: it moves, it stays with its node, or it blocks, and why.
MOVES, STAYS, BARE, LOCAL, UNSAFE, SYSTEM_POD = range(6)
BLOCKERS: Final[Mapping[int, str]] = {
    BARE: "NotReplicated",
    LOCAL: "LocalStorageRequested",
    UNSAFE: "NotSafeToEvictAnnotation",
    SYSTEM_POD: "UnmovableKubeSystemPod",
}


class RunningPods:
    """Rows of the pods that are bound, in the order they were, without a look at all the others.

    daemons    : int64[n] pod rows -> bool[n], daemon sets' pods
    bare_block : a pod of no workload blocks its node, as nobody would make it anew; else it moves
    protected  : int64[n] -> bool[n], pods that a disruption budget has; those of kube-system block without one
    """

    def __init__(
        self,
        state: ClusterStatePort,
        daemons: Callable[[Ints], npt.NDArray[np.bool_]],
        *,
        bare_block: bool = True,
        protected: Callable[[Ints], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self._state = state
        self._daemons = daemons
        self._bare_block = bare_block
        self._protected = protected
        self._rows: Ints = np.flatnonzero(state.pod_node >= 0)
        self._bound: list[Ints] = []
        self._left = False
        self._kind: Kinds = np.zeros(0, dtype=np.int8)

    def heed(self, changes: Sequence[Change]) -> None:
        """Take note of what was done to the state."""
        self._bound += [change.pod_rows for change in changes if change.verb == "BOUND"]
        self._left = self._left or any(change.verb == "UNBOUND" for change in changes)

    def rows(self) -> Ints:
        """int64[]"""
        rows = np.concatenate([self._rows, *self._bound])
        rows = rows[self._state.pod_node[rows] >= 0]
        if self._left and self._bound and len(rows):
            # One that left and was bound again stands twice: where it was bound last counts.
            _, last = np.unique(rows[::-1], return_index=True)
            rows = rows[np.sort(len(rows) - 1 - last)]
        self._rows, self._left = rows, False
        self._bound.clear()
        return self._rows

    def kinds(self, rows: Ints) -> Kinds:
        """int8[n]: MOVES, STAYS or why it blocks; one that is leaving is in nobody's way."""
        count = self._state.pod_count
        if count > len(self._kind):
            self._kind = np.concatenate([self._kind, self._judge(np.arange(len(self._kind), count))])
        leaving = self._state.pod_leaving[rows] != 0
        return np.where(leaving, np.int8(STAYS), self._kind[rows])

    def _judge(self, rows: Ints) -> Kinds:
        pods = self._state.pod_columns(rows)
        kind: Kinds = np.zeros(len(rows), dtype=np.int8)
        safe, unsafe = _labelled(pods, SAFE_TO_EVICT, "true"), _labelled(pods, SAFE_TO_EVICT, "false")
        system = pods.namespaces.equals(SYSTEM)
        if system.any() and self._protected is not None:
            system &= ~self._protected(rows)
        if self._bare_block:
            kind[(self._state.pod_owner[rows] < 0) & ~_controlled(pods)] = BARE
        kind[system] = SYSTEM_POD
        kind[_labelled(pods, LOCAL_STORAGE, "true")] = LOCAL
        kind[safe] = MOVES
        kind[unsafe] = UNSAFE
        # Static pods are owned by their node.
        kind[self._daemons(rows) | _controlled(pods, "DaemonSet") | _controlled(pods, "Node")] = STAYS
        return kind


def _labelled(pods: PodColumns, key: str, value: str) -> npt.NDArray[np.bool_]:
    column = pods.labels.get(key)
    return column.equals(value) if column is not None else np.zeros(len(pods), dtype=np.bool_)


def _controlled(pods: PodColumns, kind: str = "") -> npt.NDArray[np.bool_]:
    """bool[n]: pods whose spec names a controller, of this kind if one is given."""
    owners = [spec.owner for spec in pods.specs.values]
    found = [owner is not None and kind in ("", owner.kind) for owner in owners]
    return np.array([*found, False], dtype=np.bool_)[pods.specs.codes]
