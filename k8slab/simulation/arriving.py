"""Pods come when their time is there: their rows are given at the start, and a cursor runs over their instants."""

from __future__ import annotations

import numpy as np

from k8slab.application.admission import Admission
from k8slab.application.calendar import Rank
from k8slab.domain.columns import Ints
from k8slab.domain.ports import ClusterStatePort


class Arrivals:
    """Lets pods that have rows already arrive, each at its instant.

    at_ns    : int64[n], sorted
    pod_rows : int64[n]
    """

    # Asked of each pod, where there is one: who isn't admitted never comes.
    gate: Admission | None = None
    name = "arrivals"
    rank: int = Rank.ARRIVALS

    def __init__(self, state: ClusterStatePort, at_ns: Ints, pod_rows: Ints) -> None:
        assert (np.diff(at_ns) >= 0).all(), "arrivals aren't sorted"
        self._state = state
        self._at = at_ns
        self._rows = pod_rows
        self._next = 0
        self._next_ns = int(at_ns[0]) if len(at_ns) else None

    def ahead(self, before_ns: int) -> tuple[Ints, Ints]:
        """int64[n] twice: the instants and rows of those who come before an instant and aren't there yet."""
        last = int(np.searchsorted(self._at, before_ns))
        return self._at[self._next : last], self._rows[self._next : last]

    def in_order(self, count: int) -> Ints:
        """int64[count]: the rows of the next, as they would be told."""
        return self._rows[self._next : self._next + count]

    def advance(self, count: int) -> None:
        """The next so many came; somebody else told the state."""
        self._next += count
        self._next_ns = int(self._at[self._next]) if self._next < len(self._at) else None

    def next_ns(self, now_ns: int) -> int | None:
        return self._next_ns

    def run_once(self, now_ns: int) -> None:
        first, last = self._next, int(np.searchsorted(self._at, now_ns, side="right"))
        rows = self._rows[first:last]
        if self.gate is not None:
            rows = rows[self.gate.screen(rows, now_ns)]
        self._state.arrive(rows)
        if self.gate is not None:
            self.gate.fill(rows)
        self.advance(last - first)
