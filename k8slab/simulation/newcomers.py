"""What befalls nodes that join a run: the same as the others, each from streams of its own, named after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from k8slab.domain.columns import Codes, Ints, Names
from k8slab.domain.streams import Streams
from k8slab.simulation.fault_base import Fault
from k8slab.simulation.fault_times import DOWN, FaultTargets, FaultTimes, Weibull, arrivals, fault_times, together
from k8slab.simulation.faults import CorrelatedFailures, GroupFailures, ListedFailures


class Newcomer(NamedTuple):
    """A node that joins.

    neighbours : label -> (row, name) of the nodes there now, itself not among them, that have its value of a label
    """

    row: int
    name: str
    labels: Mapping[str, str]
    at_ns: int
    neighbours: Callable[[str], list[tuple[int, str]]]


@dataclass(frozen=True)
class Beginning:
    """What a fault did to the nodes that a run began with. drawn : its own alone"""

    targets: FaultTargets
    drawn: FaultTimes
    until_ns: int
    streams: Streams


Draw: TypeAlias = Callable[[Newcomer], FaultTimes]
_NONE: Final = together([])


def drawing_for(fault: Fault, beginning: Beginning) -> Draw:
    """How a fault strikes the nodes that join, one after another; its times may be of their neighbours too.

    A group's failures are those of its other nodes, whatever a fault's `values` leave. A fault that
    names its nodes strikes nobody else. All others do to the newcomer what they would do to a
    cluster of it alone, from the instant it joins.
    """
    if isinstance(fault, CorrelatedFailures):
        return _Correlated(fault, beginning).draw
    if isinstance(fault, GroupFailures):
        return lambda node: _with_its_group(fault, beginning, node)
    if isinstance(fault, ListedFailures):
        return lambda node: _listed(fault, node)
    if getattr(fault, "nodes", ()):
        return lambda node: _NONE
    return lambda node: _alone(fault, beginning, node)


def _alone(fault: Fault, beginning: Beginning, node: Newcomer) -> FaultTimes:
    one = FaultTargets(Names([node.name]), {key: Codes.of([value]) for key, value in node.labels.items()})
    rng = beginning.streams.generator(f"faults/{fault.name}/{node.name}")
    found = fault.draw(one, beginning.until_ns - node.at_ns, rng)
    return found._replace(start_ns=found.start_ns + node.at_ns, node_row=np.full_like(found.node_row, node.row))


def _with_its_group(fault: GroupFailures, beginning: Beginning, node: Newcomer) -> FaultTimes:
    value = node.labels.get(fault.label)
    if value is None or (fault.values and value not in fault.values):
        return _NONE
    column = beginning.targets.labels[fault.label]
    known = np.flatnonzero(column.equals(value)) if value in column.values else np.zeros(0, dtype=np.int64)
    if len(known):
        found = beginning.drawn.take(beginning.drawn.node_row == known[0])
    else:
        # A group that wasn't there at first: from its name, so that all who join it go down together.
        rng = beginning.streams.generator(f"faults/{fault.name}/{fault.label}={value}")
        group = FaultTargets(Names([node.name]), {fault.label: Codes.of([value])})
        found = fault.draw(group, beginning.until_ns, rng)
    return _from(found, node)


def _listed(fault: ListedFailures, node: Newcomer) -> FaultTimes:
    parts = []
    for number, event in enumerate(fault.events):
        if "label" in event and node.labels.get(event["label"]) == event["value"]:
            at, duration, effect, value = fault.event(number)
            one = np.array([at], dtype=np.int64), effect, np.array([node.row]), np.array([duration], dtype=np.int64)
            parts.append(fault_times(*one, value))
    return _from(together(parts), node)


def _from(found: FaultTimes, node: Newcomer) -> FaultTimes:
    """What is left of these when a node joins, as its own: it comes into an outage that lasts."""
    found = found.take(found.end_ns > node.at_ns)
    start = np.maximum(found.start_ns, node.at_ns)
    return found._replace(
        start_ns=start, duration_ns=found.end_ns - start, node_row=np.full_like(found.node_row, node.row)
    )


@dataclass
class _Correlated:
    """First failures take neighbours along: newcomers follow those of their group, and have their own.

    cases : value of the label -> [(who was struck, when)], of the beginning and of those that joined since
    """

    fault: CorrelatedFailures
    beginning: Beginning
    cases: dict[str, list[tuple[str, Ints]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        targets, label = self.beginning.targets, self.fault.label
        rng = self.beginning.streams.generator(f"faults/{self.fault.name}")
        at, struck = self.fault.strikes(targets, self.beginning.until_ns, rng)
        for row in np.unique(struck).tolist():
            value = targets.labels[label][row]
            assert value is not None, f"node row {row} was struck and has no label {label!r}"
            self.cases.setdefault(value, []).append((targets.names[row], at[struck == row]))

    def draw(self, node: Newcomer) -> FaultTimes:
        value = node.labels.get(self.fault.label)
        if value is None:
            return _NONE
        rng = self.beginning.streams.generator(f"faults/{self.fault.name}/{node.name}")
        until = self.beginning.until_ns - node.at_ns
        strikes = node.at_ns + arrivals(1 / self.fault.ns("mtbf"), until, rng)
        parts = [self._down(strikes, node.row, rng)]
        cases = self.cases.setdefault(value, [])
        # Whether a node follows another is drawn for the two of them: who else is there changes nothing.
        for other, at in cases:
            parts.append(self._follow(at[at >= node.at_ns], node.row, f"{other}/{node.name}"))
        for row, name in node.neighbours(self.fault.label) if len(strikes) else ():
            parts.append(self._follow(strikes, row, f"{node.name}/{name}"))
        cases.append((node.name, strikes))
        found = together(parts)
        return found.take(found.start_ns < self.beginning.until_ns)

    def _follow(self, at: Ints, row: int, pair: str) -> FaultTimes:
        if not len(at):
            return _NONE
        rng = self.beginning.streams.generator(f"faults/{self.fault.name}/{pair}")
        at = at[rng.random(len(at)) < self.fault.probability]
        return self._down(at + Weibull(self.fault.ns("lag")).draw(len(at), rng), row, rng)

    def _down(self, at: Ints, row: int, rng: np.random.Generator) -> FaultTimes:
        lasting = self.fault.weibull("repair", "repair_shape").draw(len(at), rng)
        return fault_times(at, DOWN, np.full(len(at), row, dtype=np.int64), lasting)
