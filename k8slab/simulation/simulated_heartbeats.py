"""A detector's opinions in a simulated run: known as soon as faults are, told when their time comes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.detectors import Suspicions


class SimulatedHeartbeats:
    """HeartbeatPort over what a detector will think of heartbeats that depend on faults alone.

    until_ns : suspicions that last until then don't end in this run
    """

    def __init__(self, suspicions: Suspicions, until_ns: int) -> None:
        self._until_ns = until_ns
        self._changes = _changes(suspicions, until_ns)
        self._told = 0
        self._heed()

    def renew(self, node_rows: Ints, suspicions: Suspicions, now_ns: int) -> None:
        """These are the opinions of these nodes from now on: they joined, or their faults are others."""
        kept = _take(self._changes, slice(self._told, None))
        kept = _take(kept, ~np.isin(kept.node_row, node_rows))
        new = _changes(suspicions, self._until_ns)
        new = _take(new, new.at_ns > now_ns)
        if len(new.at_ns):
            kept = _Changes(*(np.concatenate(columns) for columns in zip(kept, new, strict=True)))
            kept = _take(kept, _order(kept))
        self._changes, self._told = kept, 0
        self._heed()

    def _heed(self) -> None:
        at_ns = self._changes.at_ns
        self._next = int(at_ns[self._told]) if self._told < len(at_ns) else NEVER

    def next_ns(self, now_ns: int) -> int | None:
        """The next change."""
        return None if self._next == NEVER else self._next

    def take(self, now_ns: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The changes up to now that weren't taken before."""
        begin, end = self._told, int(np.searchsorted(self._changes.at_ns, now_ns, side="right"))
        self._told = end
        self._heed()
        return self._changes.node_row[begin:end], self._changes.suspected[begin:end]


class _Changes(NamedTuple):
    """By time, then by node, and within one the end of a suspicion first. suspected : bool[C]"""

    at_ns: Ints
    node_row: Ints
    suspected: npt.NDArray[np.bool_]


def _changes(suspicions: Suspicions, until_ns: int) -> _Changes:
    ends = suspicions.end_ns < until_ns
    found = _Changes(
        np.concatenate([suspicions.start_ns, suspicions.end_ns[ends]]),
        np.concatenate([suspicions.node_rows, suspicions.node_rows[ends]]),
        np.repeat([True, False], [len(ends), int(ends.sum())]),
    )
    return _take(found, _order(found))


def _order(changes: _Changes) -> Ints:
    return np.lexsort((changes.suspected, changes.node_row, changes.at_ns))


def _take(changes: _Changes, which: Any) -> _Changes:
    return _Changes(*(column[which] for column in changes))
