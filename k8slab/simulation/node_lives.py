"""All that befalls the nodes of a run: of those it begins with, drawn then; of those that join, drawn when they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.detectors import FailureDetector
from k8slab.simulation.fault_base import Fault
from k8slab.simulation.fault_times import FaultTargets, FaultTimes, together
from k8slab.simulation.heartbeats import Heartbeats
from k8slab.simulation.newcomers import Beginning, Newcomer, drawing_for
from k8slab.simulation.node_faults import NodeFaults, truth_rows
from k8slab.simulation.simulated_heartbeats import SimulatedHeartbeats
from k8slab.state.journal import VERBS

if TYPE_CHECKING:
    from k8slab.simulation.world import World


class NodeLives:
    """The faults and heartbeats of all nodes so far.

    faults     : those that are on; `drawn` is what they do to the nodes of the beginning
    heartbeats : of the nodes of the beginning
    detector   : who acts, by whose opinions the run goes
    """

    def __init__(
        self,
        world: World,
        faults: Sequence[Fault],
        drawn: FaultTimes,
        heartbeats: Heartbeats,
        detector: FailureDetector,
    ) -> None:
        self._world = world
        self._on = tuple(faults)
        self._first = heartbeats
        self._detector = detector
        self._drawn = [drawn]
        self._of_row: dict[int, list[FaultTimes]] = {}
        self._joined: list[int] = []
        self._everywhere = not heartbeats.quiet(detector)
        self.opinions = SimulatedHeartbeats(
            heartbeats.suspicions(detector, everywhere=self._everywhere), world.until_ns
        )
        targets = targets_of(world)
        self._draws = [
            drawing_for(fault, Beginning(targets, drawn.take(drawn.source == k), world.until_ns, world.streams))
            for k, fault in enumerate(self._on)
        ]

    # -- what there is so far ---------------------------------------------------------------

    @property
    def any_faults(self) -> bool:
        """Whether any node has one, or any to come may."""
        return bool(self._on) and (len(self._drawn) > 1 or len(self._drawn[0].start_ns) > 0)

    @property
    def faults(self) -> FaultTimes:
        """Of all nodes so far, by start."""
        return _by_start(self._drawn)

    @property
    def heartbeats(self) -> Heartbeats:
        """Of all nodes so far."""
        return self._beats(np.array(self._joined, dtype=np.int64), self.faults)

    def _beats(self, joined: Ints, faults: FaultTimes) -> Heartbeats:
        first = self._first
        if not len(joined):
            return first
        none = np.zeros(len(joined), dtype=np.int64)
        joined = np.concatenate([np.full(len(first.phase_ns), -1), joined])
        return Heartbeats(np.append(first.phase_ns, none), faults, first.until_ns, first.interval_ns, joined)

    # -- who joins ------------------------------------------------------------------------------

    def join(self, node_rows: Ints, now_ns: int, node_faults: NodeFaults) -> None:
        """These nodes are there from now on: draw what befalls them, and say so to who must know."""
        self._joined += [now_ns] * len(node_rows)
        known, there = len(self._first.phase_ns) + len(self._joined), self._world.state.node_count
        assert known == there, f"{there:,} nodes are there, and {known:,} told that they joined"
        drawn = self._draw(node_rows, now_ns)
        touched = node_rows
        if len(drawn.start_ns):
            self._drawn.append(drawn)
            node_faults.add(drawn)
            self._world.sink.emit("faults", **truth_rows(self._on, drawn, self._world.until_ns))
            for row in np.unique(drawn.node_row).tolist():
                self._of_row.setdefault(row, []).append(drawn.take(drawn.node_row == row))
            touched = np.union1d(node_rows, drawn.node_row)
        self._renew(touched, now_ns)

    def _draw(self, node_rows: Ints, now_ns: int) -> FaultTimes:
        if not self._on:
            return together([])
        state = self._world.state
        columns = state.node_columns()
        found = []
        for row in node_rows.tolist():
            labels = {key: value for key, codes in columns.labels.items() if (value := codes[row]) is not None}

            def neighbours(label: str, row: int = row) -> list[tuple[int, str]]:
                codes = columns.labels[label].codes
                there = np.flatnonzero(columns.alive & (codes == codes[row]))
                return [(other, columns.names[other]) for other in there.tolist() if other != row]

            node = Newcomer(row, columns.names[row], labels, now_ns, neighbours)
            for k, draw in enumerate(self._draws):
                times = draw(node)
                found.append(times._replace(source=np.full(len(times.start_ns), k, dtype=np.int16)))
        return _by_start(found)

    def _renew(self, rows: Ints, now_ns: int) -> None:
        """Ask the detector anew of these nodes, alone."""
        first = self._first
        known = len(first.phase_ns)
        old = rows < known
        parts = [part for row in rows.tolist() for part in self._of_row.get(row, ())]
        if old.any():
            parts.append(self._drawn[0].take(np.isin(self._drawn[0].node_row, rows[old])))
        faults = _by_start(parts)
        place = np.searchsorted(rows, faults.node_row)
        joined = np.array([-1 if row < known else self._joined[row - known] for row in rows.tolist()], dtype=np.int64)
        phase = np.where(old, first.phase_ns[np.where(old, rows, 0)], 0) if known else np.zeros_like(rows)
        beats = Heartbeats(phase, faults._replace(node_row=place), first.until_ns, first.interval_ns, joined)
        found = beats.suspicions(self._detector, everywhere=self._everywhere)
        self.opinions.renew(rows, found._replace(node_rows=rows[found.node_rows]), now_ns)


def targets_of(world: World) -> FaultTargets:
    """The nodes of a run as they are now."""
    columns = world.state.node_columns()
    return FaultTargets(columns.names, columns.labels)


def removed_ns(world: World) -> Ints:
    """int64[N]: when each node was taken away, NEVER if it is still there."""
    journal = world.state.journal.columns()
    gone = journal["verb"] == VERBS.index("NODE_REMOVED")
    found = np.full(world.state.node_count, NEVER)
    found[journal["node_row"][gone]] = journal["time_ns"][gone]
    return found


def _by_start(parts: Sequence[FaultTimes]) -> FaultTimes:
    """Together, with their sources as they are."""
    if not parts:
        return together([])
    if len(parts) == 1:
        return parts[0]
    joined = FaultTimes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return joined.take(np.lexsort((joined.source, joined.effect, joined.node_row, joined.start_ns)))
