"""When nodes' heartbeats arrive under faults, and so when a detector suspects whom: arithmetic, not events.

A healthy node beats every `interval_ns` at a phase of its own, and no detector that is worth the
name ever doubts it; so only the neighbourhoods of faults are looked at: `memory` heartbeats
before the first one, and as many after the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.detectors import FailureDetector, Suspicions, suspected
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError
from k8slab.simulation.fault_times import DOWN, LATE, SILENT, SLOW, FaultTimes, clustered, merged

Mask = npt.NDArray[np.bool_]

_PHASES: Final = 64
# A node with more pieces to look at than this is looked at whole: a heartbeat costs less than a piece.
_PIECES: Final = 8


class _Pace(NamedTuple):
    """From `start_ns` on, until the next pace: heartbeats at `first_ns` and every `interval_ns`; none if that is 0."""

    start_ns: int
    first_ns: int
    interval_ns: int


@dataclass(frozen=True)
class Heartbeats:
    """The heartbeats of all nodes from 0 to `until_ns`.

    phase_ns    : int64[N]  when each node first beats, from 0 to below the interval
    interval_ns : the kubelet renews its lease this often (Kubernetes: 10 s)
    joined_ns   : int64[N]  when each joined, below 0 if it was there from the beginning; None if all were

    Before 0 all nodes beat regularly, for as long as a detector remembers. A node that joins later
    is first heard of in that instant, whatever its state, and beats from then on; its phase is of
    no account. A node that went down beats again the moment it is back, and then every interval.
    On a slow node the interval is longer by its factor; where slow times overlap the larger one counts.
    """

    phase_ns: Ints
    faults: FaultTimes
    until_ns: int
    interval_ns: int = 10 * SECOND_NS
    joined_ns: Ints | None = None

    def __post_init__(self) -> None:
        if self.interval_ns < 1 or self.until_ns < 0:
            raise InputError(f"heartbeats every {self.interval_ns:,} ns until {self.until_ns:,} ns; wanted 1 or more")
        if len(self.phase_ns) and not 0 <= self.phase_ns.min() <= self.phase_ns.max() < self.interval_ns:
            raise InputError(f"phases of heartbeats are not all from 0 to below {self.interval_ns:,} ns")

    @classmethod
    def drawn(
        cls, nodes: int, faults: FaultTimes, until_ns: int, rng: np.random.Generator, interval_ns: int = 10 * SECOND_NS
    ) -> Heartbeats:
        """With phases at random."""
        return cls(rng.integers(0, interval_ns, nodes), faults, until_ns, interval_ns)

    def suspicions(self, detector: FailureDetector, *, everywhere: bool | None = None) -> Suspicions:
        """When the detector suspects which node.

        everywhere : look at every heartbeat of every node, which gives the same and takes as long as
                     there are heartbeats. By default for a detector that isn't `quiet`: its answers are
                     then many.
        """
        everywhere = not self.quiet(detector) if everywhere is None else everywhere
        parts = self._of_all_nodes(detector) if everywhere else self._of_faulty_nodes(detector)
        found = list(parts)
        node = np.repeat([row for row, _, _ in found], [len(start) for _, start, _ in found]).astype(np.int64)
        none = np.zeros(0, dtype=np.int64)
        return Suspicions(
            node,
            np.concatenate([none, *(start for _, start, _ in found)]),
            np.concatenate([none, *(end for _, _, end in found)]),
        )

    def arrivals(self, node_row: int, from_ns: int = 0, until_ns: int | None = None) -> Ints:
        """int64[K], ascending: when those heartbeats of a node arrive that it sends in this time."""
        faults = self.faults.take(np.flatnonzero(self.faults.node_row == node_row))
        return self._arrivals(node_row, faults, from_ns, self.until_ns if until_ns is None else until_ns)

    # -- which heartbeats are looked at ----------------------------------------------

    def _of_all_nodes(self, detector: FailureDetector) -> Iterator[tuple[int, Ints, Ints]]:
        by_node = dict(self._by_node())
        nothing = np.zeros(0, dtype=np.int64)
        for row in range(len(self.phase_ns)):
            faults = self.faults.take(by_node.get(row, nothing))
            yield row, *self._between(detector, row, faults, -self._margin(detector), self.until_ns)

    def _of_faulty_nodes(self, detector: FailureDetector) -> Iterator[tuple[int, Ints, Ints]]:
        margin, telling = self._margin(detector), self._telling(detector)
        by_node, none = dict(self._by_node()), np.zeros(0, dtype=np.int64)
        for row in sorted({*by_node, *self._newcomers()}):
            mine = by_node.get(row, none)
            asked = self.faults.take(mine[telling[mine]])
            begin, end = asked.start_ns - margin, _over(asked) + margin
            joined = self._joined(row)
            if joined >= 0:
                # A detector may doubt a node that it has yet to get to know.
                begin, end = np.append(begin, joined), np.append(end, joined + margin)
            if not len(begin):
                continue
            faults = self.faults.take(mine)
            _, starts, ends = merged(np.full(len(begin), row), begin, end)
            if len(starts) > _PIECES:
                yield row, *self._between(detector, row, faults, -margin, self.until_ns)
                continue
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                yield row, *self._between(detector, row, faults, start, end)

    def _telling(self, detector: FailureDetector) -> Mask:
        """bool[F]: the faults that may make a node silent for longer than the detector's patience.

        Where nothing is slow, an interval without a heartbeat holds a fault. So silence lasts no longer than
        faults that follow one another within an interval, and an interval at each end.
        """
        faults, patience_ns = self.faults, getattr(detector, "patience_ns", 0)
        case = faults.node_row, faults.start_ns - self.interval_ns, _over(faults)
        _, first, last = merged(*case)
        long = (last - first + self.interval_ns > patience_ns)[clustered(*case)]
        slow = np.isin(faults.node_row, faults.node_row[faults.effect == SLOW])
        return np.asarray(long | slow)

    def _margin(self, detector: FailureDetector) -> int:
        # Two intervals beyond what it remembers: the one that a fault cuts short, and the one it is in.
        return (detector.memory + 2) * self.interval_ns

    def _between(
        self, detector: FailureDetector, row: int, faults: FaultTimes, start_ns: int, end_ns: int
    ) -> tuple[Ints, Ints]:
        """The suspicions of a node between two instants, by which it has long been regular."""
        arrivals = self._arrivals(row, faults, start_ns, min(end_ns, self.until_ns))
        ongoing = end_ns < self.until_ns and len(arrivals) > 0
        until_ns = int(arrivals[-1]) if ongoing else self.until_ns
        begin, end = suspected(detector, arrivals[:-1] if ongoing else arrivals, until_ns)
        # The first deadlines are those of a detector that begins to learn, not its own: unless the node is new to it.
        learns = start_ns > self._joined(row) or self._joined(row) < 0
        known = begin >= max(0, start_ns + learns * detector.memory * self.interval_ns)
        return begin[known], end[known]

    def _joined(self, row: int) -> int:
        return -1 if self.joined_ns is None else int(self.joined_ns[row])

    def _newcomers(self) -> list[int]:
        return [] if self.joined_ns is None else np.flatnonzero(self.joined_ns >= 0).tolist()

    def _by_node(self) -> Iterator[tuple[int, Ints]]:
        """Nodes that have faults, and which those are."""
        order = np.argsort(self.faults.node_row, kind="stable")
        rows, first = np.unique(self.faults.node_row[order], return_index=True)
        for row, begin, end in zip(rows.tolist(), first, np.append(first, len(order))[1:], strict=True):
            yield row, order[begin:end]

    def quiet(self, detector: FailureDetector) -> bool:
        """Whether it never doubts a node that beats regularly: tried at many phases, once it knows the pace."""
        beats = np.arange(2 * detector.memory + 3, dtype=np.int64) * self.interval_ns
        phases = np.arange(_PHASES) * self.interval_ns // _PHASES
        shifted = (beats + phase + odd for phase in phases.tolist() for odd in (0, 1))
        return not any(
            (suspected(detector, some, int(some[-1]))[0] >= some[detector.memory]).any() for some in shifted
        )

    # -- when they arrive ----------------------------------------------------------------

    def _arrivals(self, row: int, faults: FaultTimes, from_ns: int, until_ns: int) -> Ints:
        found, joined = self._arrivals_of_beats(row, faults, from_ns, until_ns), self._joined(row)
        heard = joined < max(from_ns, 0) or joined >= until_ns or joined in found[:1]
        return found if heard else np.append(joined, found)

    def _arrivals_of_beats(self, row: int, faults: FaultTimes, from_ns: int, until_ns: int) -> Ints:
        sent = _sent(self._paces(row, faults), from_ns, until_ns)
        silent = faults.only(SILENT)
        _, start, end = merged(silent.node_row, silent.start_ns, silent.end_ns)
        sent = sent[~_within(sent, start, end)]
        late = faults.only(LATE)
        if not len(late.start_ns):
            return sent
        first, last = np.searchsorted(sent, late.start_ns), np.searchsorted(sent, late.end_ns)
        # One row for each heartbeat of each late time: mostly one.
        count = last - first
        which = np.repeat(first, count) + np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        arrived = sent.copy()
        np.maximum.at(arrived, which, sent[which] + np.repeat(late.value.astype(np.int64), count))
        arrived.sort()
        return arrived[arrived < self.until_ns]

    def _paces(self, row: int, faults: FaultTimes) -> list[_Pace]:
        """How the node beats over the run: one entry for each time that changes."""
        down, slow = faults.only(DOWN), faults.only(SLOW)
        edges = np.unique(np.concatenate([down.start_ns, down.end_ns, slow.start_ns, slow.end_ns]))
        paces = [_Pace(0, int(self.phase_ns[row]), self.interval_ns)]
        joined = self._joined(row)
        if joined >= 0:
            paces = [_Pace(0, joined, 0), _Pace(joined, joined, self._interval(joined, down, slow))]
        for at_ns in edges[(edges < self.until_ns) & (edges > joined)].tolist():
            interval = self._interval(at_ns, down, slow)
            last = paces[-1]
            if interval == last.interval_ns:
                continue
            if interval == 0:
                paces.append(_Pace(at_ns, at_ns, 0))
            elif last.interval_ns == 0:
                paces.append(_Pace(at_ns, at_ns, interval))
            else:
                # What was left to wait is waited at the new pace.
                left = (last.first_ns - at_ns) % last.interval_ns if at_ns > last.first_ns else last.first_ns - at_ns
                paces.append(_Pace(at_ns, at_ns + left * interval // last.interval_ns, interval))
        return paces

    def _interval(self, at_ns: int, down: FaultTimes, slow: FaultTimes) -> int:
        if ((down.start_ns <= at_ns) & (at_ns < down.end_ns)).any():
            return 0
        factors = slow.value[(slow.start_ns <= at_ns) & (at_ns < slow.end_ns)]
        return int(self.interval_ns * factors.max()) if len(factors) else self.interval_ns


def _over(faults: FaultTimes) -> Ints:
    """When the last heartbeat that a fault touched has arrived."""
    delay = np.where(faults.effect == LATE, faults.value, 0.0)
    return faults.end_ns + delay.astype(np.int64)


def _sent(paces: list[_Pace], from_ns: int, until_ns: int) -> Ints:
    """The heartbeats from `from_ns` on, before `until_ns`; the first pace holds before 0 as well."""
    parts = [np.zeros(0, dtype=np.int64)]
    ends = [pace.start_ns for pace in paces[1:]] + [until_ns]
    for number, (pace, end_ns) in enumerate(zip(paces, ends, strict=True)):
        if pace.interval_ns and end_ns > from_ns:
            skipped = -(-(from_ns - pace.first_ns) // pace.interval_ns)
            first = pace.first_ns + (max(0, skipped) if number else skipped) * pace.interval_ns
            parts.append(np.arange(first, min(end_ns, until_ns), pace.interval_ns, dtype=np.int64))
    return np.concatenate(parts)


def _within(instants: Ints, start: Ints, end: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """bool[K]: whether each lies in one of these intervals, which are sorted and apart."""
    if not len(start):
        return np.zeros(len(instants), dtype=np.bool_)
    at = np.searchsorted(start, instants, side="right") - 1
    return (at >= 0) & (instants < end[at])
