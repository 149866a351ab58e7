"""What goes wrong and when, as columns: sorted instants, and the renewal processes that draw them.

A fault in the making is a row, not an object: millions cost no Python object each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gamma
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, Names
from k8slab.errors import UnknownName

Floats = npt.NDArray[np.float64]

# What a fault does to a node while it lasts. A column `effect` holds the index.
EFFECTS: Final = ("down", "silent", "late", "slow")
DOWN: Final = EFFECTS.index("down")  # nothing on it runs and no heartbeat leaves it
SILENT: Final = EFFECTS.index("silent")  # its heartbeats are lost, all else is well
LATE: Final = EFFECTS.index("late")  # its heartbeats arrive `value` ns late
SLOW: Final = EFFECTS.index("slow")  # all it does takes `value` times as long


class FaultTimes(NamedTuple):
    """Faults of nodes, by start and then by node.

    start_ns    : int64[F]
    effect      : int8[F]     code into EFFECTS
    node_row    : int64[F]
    duration_ns : int64[F]    above 0
    value       : float64[F]  of a late one its delay in ns, of a slow one its factor; else 0
    source      : int16[F]    which of the faults that were asked for
    """

    start_ns: Ints
    effect: npt.NDArray[np.int8]
    node_row: Ints
    duration_ns: Ints
    value: Floats
    source: npt.NDArray[np.int16]

    @property
    def end_ns(self) -> Ints:
        """int64[F]: the first instant at which each is over."""
        return self.start_ns + self.duration_ns

    def only(self, effect: int) -> FaultTimes:
        """Those of one effect."""
        return self.take(self.effect == effect)

    def take(self, which: npt.NDArray[np.bool_] | Ints) -> FaultTimes:
        """Those rows, in this order."""
        columns: Any = (column[which] for column in self)
        return FaultTimes(*columns)


@dataclass(frozen=True)
class FaultTargets:
    """What faults can befall: the nodes of a run by row.

    labels : key -> Codes[str]
    """

    names: Names
    labels: Mapping[str, Codes[str]]

    def rows(self, names: Iterable[str]) -> Ints:
        """int64[]: these nodes, all if none is named; UnknownName for one that isn't there."""
        wanted = list(names)
        if not wanted:
            return np.arange(len(self.names))
        found = [self.names.row(name) for name in wanted]
        for name, row in zip(wanted, found, strict=True):
            if row < 0:
                raise UnknownName("node", name, self.names)
        return np.array(found, dtype=np.int64)

    def groups(self, label: str, wanted: Iterable[str] = ()) -> list[Ints]:
        """The nodes of each value of a label (of those wanted, or of all); UnknownName for a label or value."""
        if label not in self.labels:
            raise UnknownName("node label", label, self.labels)
        column = self.labels[label]
        values = list(wanted) or list(column.values)
        for value in values:
            if value not in column.values:
                raise UnknownName(f"value of node label {label!r}", value, column.values)
        return [np.flatnonzero(column.equals(value)) for value in values]


@dataclass(frozen=True)
class Weibull:
    """Lengths of time whose mean is `mean_ns`: shape 1 is exponential, below 1 many are short and a few very long.

    shape : 0 stands for lengths that are all the same
    """

    mean_ns: float
    shape: float = 1.0

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count], each at least 1 ns."""
        if self.shape == 0:
            return np.full(count, max(1, round(self.mean_ns)), dtype=np.int64)
        scale = self.mean_ns / gamma(1 + 1 / self.shape)
        # Beyond a thousand years nothing is simulated, and int64 ends after 292.
        drawn = np.minimum(scale * rng.weibull(self.shape, count), 2.0**62)
        return np.maximum(drawn, 1).astype(np.int64)


def renewals(
    count: int, between: Weibull, lasting: Weibull, until_ns: int, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """(which, start, duration) int64[F]: things that fail, last a while, and begin anew, each as good as new at 0.

    As many rounds of draws as the one that fails most often fails; what starts at `until_ns` or later is left out.
    """
    parts = []
    now = np.zeros(count, dtype=np.int64)
    running = np.arange(count)
    while len(running):
        start = now[running] + between.draw(len(running), rng)
        within = start < until_ns
        running, start = running[within], start[within]
        duration = lasting.draw(len(running), rng)
        parts.append((running, start, duration))
        now[running] = start + duration
    which, start, duration = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else _NOTHING
    return which, start, duration


def arrivals(rate_per_ns: float, until_ns: int, rng: np.random.Generator) -> Ints:
    """int64[A], ascending: the instants of a Poisson process from 0 until `until_ns`."""
    count = int(rng.poisson(rate_per_ns * until_ns))
    return np.sort(rng.integers(0, until_ns, count)) if count else np.zeros(0, dtype=np.int64)


def fault_times(
    start_ns: Ints,
    effect: int,
    node_row: Ints,
    duration_ns: Ints,
    value: Floats | float = 0.0,
) -> FaultTimes:
    """Faults of one effect, unsorted."""
    count = len(start_ns)
    return FaultTimes(
        start_ns,
        np.full(count, effect, dtype=np.int8),
        node_row.astype(np.int64),
        duration_ns,
        np.broadcast_to(np.asarray(value, dtype=np.float64), (count,)).copy(),
        np.zeros(count, dtype=np.int16),
    )


def together(parts: Iterable[FaultTimes]) -> FaultTimes:
    """All of them in order: by start, node and effect; `source` says from which part each is."""
    given = [part._replace(source=np.full(len(part.start_ns), s, dtype=np.int16)) for s, part in enumerate(parts)]
    if not given:
        return fault_times(*_EMPTY)
    joined = FaultTimes(*(np.concatenate(columns) for columns in zip(*given, strict=True)))
    return joined.take(np.lexsort((joined.source, joined.effect, joined.node_row, joined.start_ns)))


def merged(node_row: Ints, start_ns: Ints, end_ns: Ints) -> tuple[Ints, Ints, Ints]:
    """(node, start, end) of the times at which at least one of these intervals lasts, by node and then by start.

    Intervals that touch are one.

    >>> [column.tolist() for column in merged(np.array([1, 0, 1]), np.array([5, 0, 2]), np.array([9, 1, 5]))]
    [[0, 1], [0, 2], [1, 9]]
    """
    order = np.lexsort((start_ns, node_row))
    node, start, end = node_row[order], start_ns[order], end_ns[order]
    if not len(node):
        return node, start, end
    first, reach = _apart(node, start, end)
    last = np.append(np.flatnonzero(first)[1:] - 1, len(node) - 1)
    return node[first], start[first], reach[last]


def clustered(node_row: Ints, start_ns: Ints, end_ns: Ints) -> Ints:
    """int64[F]: which of the intervals that `merged` gives each of these is a part of.

    >>> clustered(np.array([1, 0, 1]), np.array([5, 0, 2]), np.array([9, 1, 5])).tolist()
    [1, 0, 1]
    """
    order = np.lexsort((start_ns, node_row))
    found = np.zeros(len(order), dtype=np.int64)
    if len(order):
        first, _ = _apart(node_row[order], start_ns[order], end_ns[order])
        found[order] = np.cumsum(first) - 1
    return found


def _apart(node: Ints, start: Ints, end: Ints) -> tuple[npt.NDArray[np.bool_], Ints]:
    """bool[F] where a merged interval begins, and int64[F] how far it reaches so far; by node and start."""
    reach = _reach(node, end)
    return np.append(True, (node[1:] != node[:-1]) | (start[1:] > reach[:-1])), reach


def _reach(node: Ints, end: Ints) -> Ints:
    """The latest end so far among the intervals of the same node; nodes ascending."""
    # One running maximum for all nodes: ranks instead of times, so that a node's lie above those before it.
    by_end = np.lexsort((end, node))
    rank = np.empty(len(end), dtype=np.int64)
    rank[by_end] = np.arange(len(end))
    return end[by_end][np.maximum.accumulate(rank)]


_NOTHING: Final = (np.zeros(0, dtype=np.int64),) * 3
_EMPTY: Final = (np.zeros(0, dtype=np.int64), DOWN, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

