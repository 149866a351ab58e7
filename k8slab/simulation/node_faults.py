"""Nodes break and come back at the times that were drawn: the truth, of which nobody is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.application.evictor import Evictor
from k8slab.domain.columns import NEVER, Ints
from k8slab.simulation.fault_base import Fault
from k8slab.simulation.fault_times import DOWN, EFFECTS, LATE, SLOW, FaultTimes, merged
from k8slab.simulation.kubelets import Kubelets

_ENDS: Final = 0
_BEGINS: Final = 1
Watcher = Callable[[Ints, npt.NDArray[np.float64], int], object]


class NodeFaults:
    """Halts nodes that go down, and lets them resume; tells `slowed` which are slow.

    A node is up again when none of its faults keeps it down. What runs on a node that is
    down stops; what was told to go meanwhile ends when it is back.

    slowed : called with node rows, the factor by which each is slow from now on (1 where it isn't any
             longer), and the time
    """

    name = "node-faults"
    rank: int = Rank.FAULTS
    heeds_pods = False

    def __init__(self, faults: FaultTimes, kubelets: Kubelets, evictor: Evictor, slowed: Watcher | None = None) -> None:
        self._kubelets = kubelets
        self._evictor = evictor
        self._slowed = slowed
        down, slow = faults.only(DOWN), faults.only(SLOW)
        self.down = merged(down.node_row, down.start_ns, down.end_ns)
        self._slow = slow
        nodes = np.concatenate([self.down[0], slow.node_row if slowed is not None else slow.node_row[:0]])
        starts = np.concatenate([self.down[1], slow.start_ns if slowed is not None else slow.start_ns[:0]])
        ends = np.concatenate([self.down[2], slow.end_ns if slowed is not None else slow.end_ns[:0]])
        is_down = np.arange(len(nodes)) < len(self.down[0])
        at = np.concatenate([starts, ends])
        begins = np.repeat([_BEGINS, _ENDS], len(nodes))
        order = np.lexsort((np.tile(nodes, 2), begins, at))
        self._at = at[order]
        self._node = np.tile(nodes, 2)[order]
        self._begins = begins[order] == _BEGINS
        self._down = np.tile(is_down, 2)[order]
        self._done = 0
        self._next = int(self._at[0]) if len(order) else NEVER

    def is_up(self, node_rows: Ints) -> npt.NDArray[np.bool_]:
        """bool[n]: which of these nodes are up now, whatever anybody believes."""
        return ~self._kubelets.down(node_rows)

    def next_ns(self, now_ns: int) -> int | None:
        return None if self._next == NEVER else self._next

    def run_once(self, now_ns: int) -> None:
        begin, end = self._done, int(np.searchsorted(self._at, now_ns, side="right"))
        self._done = end
        self._next = int(self._at[end]) if end < len(self._at) else NEVER
        node, begins, down = self._node[begin:end], self._begins[begin:end], self._down[begin:end]
        # Merged, an end and a beginning at one instant are never of one node.
        self._resume(node[down & ~begins], now_ns)
        self._halt(node[down & begins], now_ns)
        if not down.all() and self._slowed is not None:
            rows = np.unique(node[~down])
            self._slowed(rows, self._factors(rows, now_ns), now_ns)

    def _resume(self, rows: Ints, now_ns: int) -> None:
        if len(rows):
            for row in rows.tolist():
                self._evictor.regain(row, now_ns)
            self._kubelets.resume(rows, now_ns)

    def _halt(self, rows: Ints, now_ns: int) -> None:
        if len(rows):
            for row in rows.tolist():
                self._evictor.lose(row)
            self._kubelets.halt(rows, now_ns)

    def _factors(self, rows: Ints, now_ns: int) -> npt.NDArray[np.float64]:
        slow = self._slow
        on = (slow.start_ns <= now_ns) & (now_ns < slow.end_ns) & np.isin(slow.node_row, rows)
        found = np.ones(len(rows))
        np.maximum.at(found, np.searchsorted(rows, slow.node_row[on]), slow.value[on])
        return found


def truth_rows(faults: Sequence[Fault], drawn: FaultTimes, until_ns: int) -> dict[str, object]:
    """The table `faults`: one row a fault of a node, in order of its beginning, cut at the run's end."""
    names = np.array([fault.name for fault in faults], dtype=object)
    pairs = zip(drawn.effect.tolist(), drawn.value.tolist(), strict=True)
    details = [_detail(effect, value) for effect, value in pairs]
    return {
        "start_ns": drawn.start_ns,
        "end_ns": np.minimum(drawn.end_ns, until_ns),
        "fault": names[drawn.source],
        "node_row": drawn.node_row,
        "pod_row": np.full(len(drawn.start_ns), -1, dtype=np.int64),
        "detail": np.array(details, dtype=object),
    }


def _detail(effect: int, value: float) -> str:
    if effect == LATE:
        return f"late by {value / 1e9:g} s"
    return f"slow by {value:.3g}" if effect == SLOW else EFFECTS[effect]
