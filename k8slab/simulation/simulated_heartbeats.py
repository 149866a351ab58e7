"""A detector's opinions in a simulated run: all known at its beginning, told when their time comes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.detectors import Suspicions


class SimulatedHeartbeats:
    """HeartbeatPort over what a detector will think of heartbeats that depend on faults alone.

    until_ns : suspicions that last until then don't end in this run
    """

    def __init__(self, suspicions: Suspicions, until_ns: int) -> None:
        ends = suspicions.end_ns < until_ns
        at = np.concatenate([suspicions.start_ns, suspicions.end_ns[ends]])
        node = np.concatenate([suspicions.node_rows, suspicions.node_rows[ends]])
        suspected = np.concatenate([np.ones(len(ends), dtype=np.bool_), np.zeros(int(ends.sum()), dtype=np.bool_)])
        order = np.lexsort((suspected, node, at))
        self._at, self._node, self._suspected = at[order], node[order], suspected[order]
        self._told = 0
        self._next = int(self._at[0]) if len(order) else NEVER

    def next_ns(self, now_ns: int) -> int | None:
        """The next change."""
        return None if self._next == NEVER else self._next

    def take(self, now_ns: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The changes up to now that weren't taken before."""
        begin, end = self._told, int(np.searchsorted(self._at, now_ns, side="right"))
        self._told = end
        self._next = int(self._at[end]) if end < len(self._at) else NEVER
        return self._node[begin:end], self._suspected[begin:end]
