"""Which pods may be bound, and where: of half a million that come few are there at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.state.journal import Journal

# So many pods may be bound, at least, before those that left are forgotten.
_FEW: Final = 4096


class BoundRows:
    """Rows among which all bound pods are: by the node they were on at the last sorting, and those bound since."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, dtype=np.int64)
        self._nodes = np.zeros(0, dtype=np.int32)
        self._recent = np.zeros(0, dtype=np.int64)
        self._count = 0
        self._known = 0

    def read(self, journal: Journal, pod_node: npt.NDArray[np.int32]) -> None:
        """Take in whom the journal says were bound since the last time."""
        recent = journal.pods_of("BOUND", self._known)
        self._known = len(journal)
        stop = self._count + len(recent)
        if stop > len(self._recent):
            rows = np.concatenate([self.all(), recent])
            rows = np.unique(rows[pod_node[rows] >= 0])
            order = np.argsort(pod_node[rows], kind="stable")
            self._rows, self._nodes = rows[order], pod_node[rows[order]]
            self._recent, self._count = np.empty(_FEW + len(rows) // 8, dtype=np.int64), 0
            return
        self._recent[self._count : stop] = recent
        self._count = stop

    def all(self) -> Ints:
        """int64[]: all of them, some twice."""
        return np.concatenate([self._rows, self._recent[: self._count]])

    def on(self, node_row: int, pod_node: npt.NDArray[np.int32]) -> Ints:
        """int64[]: those that are on one node, by row."""
        # The column's own dtype, or it would be copied.
        first, stop = self._nodes.searchsorted(np.array([node_row, node_row + 1], dtype=np.int32)).tolist()
        rows = np.concatenate([self._rows[first:stop], self._recent[: self._count]])
        rows = rows[pod_node[rows] == node_row]
        return np.unique(rows) if len(rows) > 1 else rows
