"""Nodes break and come back at the times that were drawn: the truth, of which nobody is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.application.evictor import Evictor
from k8slab.domain.columns import NEVER, Ints
from k8slab.simulation.fault_base import Fault
from k8slab.simulation.fault_times import DOWN, EFFECTS, LATE, SLOW, FaultTimes, merged
from k8slab.simulation.kubelets import Kubelets

Watcher = Callable[[Ints, npt.NDArray[np.float64], int], object]
_Changes: TypeAlias = tuple[Ints, Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


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
        self._down = [_spells(faults, DOWN)]
        self._slow = [_spells(faults, SLOW)]
        # How many spells keep a node down now; those of the beginning are apart, those of later may overlap.
        self._holds: dict[int, int] = {}
        node, start, end = merged(*self._down[0][:3])
        self._changes = _changes([(node, start, end, True), *self._watched(self._slow[0])])
        self._done = 0
        self._heed()

    @property
    def down(self) -> tuple[Ints, Ints, Ints]:
        """(node, start, end) of all outages known so far, apart, by node and then by start."""
        node, start, end, _ = (np.concatenate(columns) for columns in zip(*self._down, strict=True))
        return merged(node, start, end)

    def add(self, faults: FaultTimes) -> None:
        """More of them, none of which began before now."""
        down, slow = _spells(faults, DOWN), _spells(faults, SLOW)
        self._down.append(down)
        self._slow.append(slow)
        new = _changes([(*down[:3], True), *self._watched(slow)])
        left = _rows(self._changes, self._done, None)
        self._changes = _sorted(tuple(np.concatenate(pair) for pair in zip(left, new, strict=True)))
        self._done = 0
        self._heed()

    def _watched(self, slow: _Spells) -> list[tuple[Ints, Ints, Ints, bool]]:
        return [] if self._slowed is None else [(*slow[:3], False)]

    def _heed(self) -> None:
        at_ns = self._changes[0]
        self._next = int(at_ns[self._done]) if self._done < len(at_ns) else NEVER

    def is_up(self, node_rows: Ints) -> npt.NDArray[np.bool_]:
        """bool[n]: which of these nodes are up now, whatever anybody believes."""
        return ~self._kubelets.down(node_rows)

    def next_ns(self, now_ns: int) -> int | None:
        return None if self._next == NEVER else self._next

    def run_once(self, now_ns: int) -> None:
        begin, end = self._done, int(np.searchsorted(self._changes[0], now_ns, side="right"))
        self._done = end
        self._heed()
        _, node, begins, down = _rows(self._changes, begin, end)
        up, lost = self._count(node[down], begins[down])
        self._resume(up, now_ns)
        self._halt(lost, now_ns)
        if not down.all() and self._slowed is not None:
            rows = np.unique(node[~down])
            self._slowed(rows, self._factors(rows, now_ns), now_ns)

    def _count(self, node: Ints, begins: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """The nodes that are up again, and those that are down from now on, each ascending."""
        rows, where = np.unique(node, return_inverse=True)
        change = np.bincount(where, weights=np.where(begins, 1, -1), minlength=len(rows)).astype(np.int64)
        before = np.array([self._holds.get(row, 0) for row in rows.tolist()], dtype=np.int64)
        after = before + change
        self._holds.update(zip(rows.tolist(), after.tolist(), strict=True))
        assert not (after < 0).any(), f"nodes {rows[after < 0]} came back more often than they went"
        return rows[(before > 0) & (after == 0)], rows[(before == 0) & (after > 0)]

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
        if len(self._slow) > 1:
            self._slow = [_Spells(*(np.concatenate(columns) for columns in zip(*self._slow, strict=True)))]
        slow = self._slow[0]
        on = (slow.start_ns <= now_ns) & (now_ns < slow.end_ns) & np.isin(slow.node_row, rows)
        found = np.ones(len(rows))
        np.maximum.at(found, np.searchsorted(rows, slow.node_row[on]), slow.value[on])
        return found


class _Spells(NamedTuple):
    """Faults of one effect."""

    node_row: Ints
    start_ns: Ints
    end_ns: Ints
    value: npt.NDArray[np.float64]


def _spells(faults: FaultTimes, effect: int) -> _Spells:
    found = faults.only(effect)
    return _Spells(found.node_row, found.start_ns, found.end_ns, found.value)


def _changes(spells: list[tuple[Ints, Ints, Ints, bool]]) -> _Changes:
    """(when, node, whether it begins, whether it is one of being down): by time, ends first."""
    parts = [
        (
            np.concatenate([start, end]),
            np.tile(node, 2),
            np.repeat([True, False], len(node)),
            np.full(2 * len(node), is_down),
        )
        for node, start, end, is_down in spells
    ]
    return _sorted(tuple(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _rows(changes: _Changes, begin: int, end: int | None) -> _Changes:
    at, node, begins, down = changes
    return at[begin:end], node[begin:end], begins[begin:end], down[begin:end]


def _sorted(changes: tuple[Any, ...]) -> _Changes:
    at, node, begins, down = changes
    order = np.lexsort((node, begins, at))
    return at[order], node[order], begins[order], down[order]


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
