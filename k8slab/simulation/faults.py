"""Faults as data: what may go wrong, how often and for how long; each draws from a stream of its own.

Times are "30d", "10m", "1.5h", or numbers of seconds. `kind` is the name in a scenario's
[[faults]] table; the other fields are that table's keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np

from k8slab.domain.columns import Ints
from k8slab.domain.pod_spec import ZONE
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.fault_base import Fault, chance_of, factor_of, probability_of
from k8slab.simulation.fault_times import (
    DOWN,
    EFFECTS,
    LATE,
    SILENT,
    SLOW,
    FaultTargets,
    FaultTimes,
    Weibull,
    arrivals,
    fault_times,
    renewals,
    together,
)
from k8slab.units import duration_ns

Duration: TypeAlias = str | int | float
Range: TypeAlias = Duration | Sequence[Duration]


@dataclass(frozen=True, kw_only=True)
class NodeFailures(Fault):
    """Nodes go down one by one, each by its own renewal process, and come back.

    mtbf, shape          : mean time that a node stays up, and its Weibull shape: 1 is exponential,
                           below 1 failures come in clusters, above 1 they are regular
    repair, repair_shape : the same of the time that it is down; shape 0 is always the mean
    nodes                : names; none are all
    """

    kind: ClassVar[str] = "node"
    mtbf: Duration
    repair: Duration = "10m"
    shape: float = 1.0
    repair_shape: float = 1.0
    nodes: Sequence[str] = ()

    def check(self) -> None:
        self.weibull("mtbf", "shape")
        self.weibull("repair", "repair_shape")

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        rows = targets.rows(self.nodes)
        between, lasting = self.weibull("mtbf", "shape"), self.weibull("repair", "repair_shape")
        which, start, duration = renewals(len(rows), between, lasting, until_ns, rng)
        return fault_times(start, DOWN, rows[which], duration)


@dataclass(frozen=True, kw_only=True)
class GroupFailures(Fault):
    """All nodes that have one value of a label go down at once, and come back at once.

    mtbf   : mean time that one group stays up
    label  : what makes a group
    values : which groups; none are all
    """

    kind: ClassVar[str] = "group"
    mtbf: Duration
    label: str
    repair: Duration = "1h"
    shape: float = 1.0
    repair_shape: float = 1.0
    values: Sequence[str] = ()

    def check(self) -> None:
        self.weibull("mtbf", "shape")
        self.weibull("repair", "repair_shape")

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        groups = targets.groups(self.label, self.values)
        between, lasting = self.weibull("mtbf", "shape"), self.weibull("repair", "repair_shape")
        which, start, duration = renewals(len(groups), between, lasting, until_ns, rng)
        return _of_groups(groups, which, start, duration, DOWN)


@dataclass(frozen=True, kw_only=True)
class RackFailures(GroupFailures):
    """Whole racks go down: GroupFailures by the label `rack`."""

    kind: ClassVar[str] = "rack"
    label: str = "rack"


@dataclass(frozen=True, kw_only=True)
class ZoneFailures(GroupFailures):
    """Whole zones go down: GroupFailures by the zone's label."""

    kind: ClassVar[str] = "zone"
    label: str = ZONE


@dataclass(frozen=True, kw_only=True)
class CorrelatedFailures(Fault):
    """A node goes down and takes some of its neighbours with it, a little later.

    mtbf        : mean time between such first failures of one node
    label       : nodes with the same value are neighbours
    probability : that a neighbour follows
    lag         : mean time until it does, exponential
    """

    kind: ClassVar[str] = "correlated"
    mtbf: Duration
    label: str = "rack"
    probability: float = 0.2
    lag: Duration = "30s"
    repair: Duration = "10m"
    repair_shape: float = 1.0

    def check(self) -> None:
        self.ns("mtbf"), self.ns("lag")
        self.weibull("repair", "repair_shape")
        probability_of(self.probability, self.where("probability"))

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        at, struck = self.strikes(targets, until_ns, rng)
        if not len(at):
            return together([])
        case, member, itself = _neighbourhoods(targets.groups(self.label), struck)
        follows = itself | (rng.random(len(case)) < self.probability)
        lag = np.where(itself, 0, Weibull(self.ns("lag")).draw(len(case), rng))
        start = (at[case] + lag)[follows]
        duration = self.weibull("repair", "repair_shape").draw(len(start), rng)
        found = fault_times(start, DOWN, member[follows], duration)
        return found.take(found.start_ns < until_ns)

    def strikes(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """(when, node) int64[A]: the first failures, by time."""
        nodes = np.concatenate([*targets.groups(self.label), np.zeros(0, dtype=np.int64)])
        at = arrivals(len(nodes) / self.ns("mtbf"), until_ns, rng)
        return at, nodes[rng.integers(0, len(nodes), len(at))] if len(at) else nodes[:0]


@dataclass(frozen=True, kw_only=True)
class ListedFailures(Fault):
    """Exactly these: mappings with `at` and `duration`, and either `node`, or `label` and `value`.

    `effect` is down (the default), silent, late or slow; of the last two `amount` says how late, or
    how many times slower.

    >>> ListedFailures(events=[{"at": "1h", "duration": "10m", "node": "node-3"}]).kind
    'list'
    """

    kind: ClassVar[str] = "list"
    events: Sequence[Mapping[str, Any]]
    _KEYS: ClassVar = ("at", "duration", "node", "label", "value", "effect", "amount")

    def check(self) -> None:
        for number in range(len(self.events)):
            self.event(number)

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        parts = []
        for number in range(len(self.events)):
            at, duration, effect, value = self.event(number)
            rows = self._rows(self.events[number], targets)
            start = np.full(len(rows), at, dtype=np.int64)
            parts.append(fault_times(start, effect, rows, np.full(len(rows), duration, dtype=np.int64), value))
        found = together(parts)
        return found.take(found.start_ns < until_ns)

    def event(self, number: int) -> tuple[int, int, int, float]:
        """(at, duration, effect, value) of one of them."""
        event, where = self.events[number], f"fault {self.name!r}, events[{number}]"
        for key in event:
            if key not in self._KEYS:
                raise UnknownName("key", key, self._KEYS, f"in {where}.")
        for key in ("at", "duration"):
            if key not in event:
                raise InputError(f"{where}: no {key!r}; wanted a time such as '10m'")
        if ("node" in event) == ("label" in event) or ("label" in event) != ("value" in event):
            raise InputError(f"{where}: {dict(event)}; wanted either a node, or a label and its value")
        effect = event.get("effect", "down")
        if effect not in EFFECTS:
            raise UnknownName("effect", effect, EFFECTS, f"in {where}.")
        code = EFFECTS.index(effect)
        at = duration_ns(event["at"], f"{where}, at")
        duration = duration_ns(event["duration"], f"{where}, duration", least_ns=1)
        return at, duration, code, self._amount(event, code, where)

    @staticmethod
    def _amount(event: Mapping[str, Any], effect: int, where: str) -> float:
        if (effect in (LATE, SLOW)) != ("amount" in event):
            raise InputError(f"{where}: effects 'late' (how long) and 'slow' (a factor) want an amount, and they alone")
        if effect == LATE:
            return duration_ns(event["amount"], f"{where}, amount")
        return factor_of(event["amount"], f"{where}, amount") if effect == SLOW else 0.0

    @staticmethod
    def _rows(event: Mapping[str, Any], targets: FaultTargets) -> Ints:
        if "node" in event:
            return targets.rows([event["node"]])
        return targets.groups(event["label"], [event["value"]])[0]


@dataclass(frozen=True, kw_only=True)
class FlappingHeartbeats(Fault):
    """Nodes whose heartbeats come and go for a while, though nothing else is wrong with them.

    mtbf     : mean time between such spells of one node, exponential
    duration : of a spell, exponential
    lost, heard : mean of the times within a spell in which heartbeats are lost, and come; exponential
    """

    kind: ClassVar[str] = "flapping"
    mtbf: Duration
    duration: Duration = "10m"
    lost: Duration = "60s"
    heard: Duration = "30s"
    nodes: Sequence[str] = ()

    def check(self) -> None:
        for key in ("mtbf", "duration", "lost", "heard"):
            self.ns(key)

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        rows = targets.rows(self.nodes)
        which, start, length = renewals(
            len(rows), Weibull(self.ns("mtbf")), Weibull(self.ns("duration")), until_ns, rng
        )
        parts = []
        now, end = start.copy(), start + length
        while len(now):
            lost = np.minimum(Weibull(self.ns("lost")).draw(len(now), rng), end - now)
            parts.append(fault_times(now, SILENT, rows[which], lost))
            now = now + lost + Weibull(self.ns("heard")).draw(len(now), rng)
            on = now < np.minimum(end, until_ns)
            now, end, which = now[on], end[on], which[on]
        return together(parts)


@dataclass(frozen=True, kw_only=True)
class SlowNodes(Fault):
    """Nodes that are slow for a while: with their heartbeats, and with answers to probes; the pods' work goes on.

    factor : how many times as long; a least and a greatest, or one number
    """

    kind: ClassVar[str] = "slow"
    mtbf: Duration
    duration: Duration = "30m"
    factor: float | Sequence[float] = (2.0, 10.0)
    nodes: Sequence[str] = ()

    def check(self) -> None:
        self.ns("mtbf"), self.ns("duration"), self._factors()

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        rows = targets.rows(self.nodes)
        which, start, duration = renewals(
            len(rows), Weibull(self.ns("mtbf")), Weibull(self.ns("duration")), until_ns, rng
        )
        return fault_times(start, SLOW, rows[which], duration, rng.uniform(*self._factors(), len(start)))

    def _factors(self) -> tuple[float, float]:
        given = self.factor
        ends = tuple(given) if isinstance(given, Sequence) else (given, given)
        if len(ends) != 2:
            raise InputError(f"{self.where('factor')}: {given!r}; wanted a factor, or a least and a greatest")
        low, high = (factor_of(end, self.where("factor")) for end in ends)
        if low > high:
            raise InputError(f"{self.where('factor')}: the least, {low:g}, is above the greatest, {high:g}")
        return low, high


@dataclass(frozen=True, kw_only=True)
class LostHeartbeats(Fault):
    """Each heartbeat is lost with a probability, independently of all others.

    every : the heartbeats' interval. A window of that length holds one heartbeat, so windows at the
            instants of a Poisson process of rate -ln(1 - p) / every lose each with probability p
    """

    kind: ClassVar[str] = "lost-heartbeats"
    probability: float
    every: Duration = "10s"
    nodes: Sequence[str] = ()

    def check(self) -> None:
        chance_of(self.probability, self.where("probability")), self.ns("every")

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        rows, every = targets.rows(self.nodes), self.ns("every")
        start = arrivals(_rate(self.probability, every) * len(rows), until_ns, rng)
        node = rows[rng.integers(0, len(rows), len(start))] if len(rows) else start
        return fault_times(start, SILENT, node, np.full(len(start), every, dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class LateHeartbeats(LostHeartbeats):
    """Each heartbeat is late with a probability, by a delay that is uniform between two lengths of time."""

    kind: ClassVar[str] = "late-heartbeats"
    delay: Range = ("5s", "60s")

    def check(self) -> None:
        super().check()
        self.ns_range("delay")

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        lost = super().draw(targets, until_ns, rng)
        low, high = self.ns_range("delay")
        delay = np.floor(rng.uniform(low, high, len(lost.start_ns)))
        return lost._replace(effect=np.full(len(delay), LATE, dtype=np.int8), value=delay)


@dataclass(frozen=True, kw_only=True)
class PodCrashes(Fault):
    """Containers exit by themselves, each after a time that is drawn anew at each start.

    mtbf, shape : of the time that a container runs, Weibull
    share       : of the pods that ever crash; which ones is drawn once
    exit_code   : 0 counts as done under the restart policy OnFailure
    """

    kind: ClassVar[str] = "pod-crash"
    mtbf: Duration
    shape: float = 1.0
    share: float = 1.0
    exit_code: int = 1

    def check(self) -> None:
        self.weibull("mtbf", "shape")
        probability_of(self.share, self.where("share"))


@dataclass(frozen=True, kw_only=True)
class OomKills(Fault):
    """Containers are killed when they use more memory than their limit.

    limit_factor : a pod's limit as a multiple of its request
    ramp         : how long after its start a container takes to use all that its pod will use; it
                   grows evenly, so when it meets its limit is known when it starts
    """

    kind: ClassVar[str] = "oom"
    limit_factor: float = 1.0
    ramp: Duration = "10m"

    def check(self) -> None:
        factor_of(self.limit_factor, self.where("limit_factor"))
        self.ns("ramp")


@dataclass(frozen=True, kw_only=True)
class PodHangs(Fault):
    """Applications stop answering, though their container runs; what notices that is a probe.

    mtbf, shape : of the time from a container's start until it hangs, Weibull
    duration    : how long it hangs unless it is restarted
    share       : of the pods that ever hang
    """

    kind: ClassVar[str] = "pod-hang"
    mtbf: Duration
    duration: Duration = "1h"
    shape: float = 1.0
    share: float = 1.0

    def check(self) -> None:
        self.weibull("mtbf", "shape")
        self.ns("duration")
        probability_of(self.share, self.where("share"))


KINDS: Final[dict[str, type[Fault]]] = {
    fault.kind: fault
    for fault in (
        NodeFailures, GroupFailures, RackFailures, ZoneFailures, CorrelatedFailures, ListedFailures, FlappingHeartbeats,
        SlowNodes, LostHeartbeats, LateHeartbeats, PodCrashes, PodHangs, OomKills,
    )
}  # fmt: skip


def fault_of(table: Mapping[str, Any], where: str = "faults") -> Fault:
    """The fault that a scenario's table describes; UnknownName for its kind or a key, InputError for a value.

    >>> fault_of({"kind": "node", "mtbf": "30d"})
    NodeFailures(name='node', enabled=True, mtbf='30d', repair='10m', shape=1.0, repair_shape=1.0, nodes=())
    """
    kind = table.get("kind")
    if kind not in KINDS:
        raise UnknownName("kind of fault", kind, KINDS, f"In {where}.")
    fault = KINDS[kind]
    keys = {each.name: each for each in fields(fault)}
    for key in table:
        if key != "kind" and key not in keys:
            raise UnknownName(f"key of fault {kind!r}", key, ["kind", *keys], f"In {where}.")
    try:
        return fault(**{key: value for key, value in table.items() if key != "kind"})
    except TypeError:
        missing = next(key for key in ("mtbf", "label", "probability", "events") if key in keys and key not in table)
        raise InputError(f"{where}: fault {kind!r} has no {missing!r}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _of_groups(groups: Sequence[Ints], which: Ints, start: Ints, duration: Ints, effect: int) -> FaultTimes:
    size = np.array([len(group) for group in groups], dtype=np.int64)[which] if len(groups) else which
    rows = np.concatenate([*(groups[group] for group in which.tolist()), np.zeros(0, dtype=np.int64)])
    return fault_times(np.repeat(start, size), effect, rows, np.repeat(duration, size))


def _neighbourhoods(groups: Sequence[Ints], struck: Ints) -> tuple[Ints, Ints, Any]:
    """Each case strikes a node: (case, node, whether that is it) of all nodes of its group."""
    nodes = np.concatenate(groups)
    size = np.array([len(group) for group in groups], dtype=np.int64)
    group_of, begin = np.repeat(np.arange(len(groups)), size), np.cumsum(size) - size
    by_row = np.argsort(nodes)
    group = group_of[by_row[np.searchsorted(nodes[by_row], struck)]]
    count = size[group]
    case = np.repeat(np.arange(len(struck)), count)
    offset = np.arange(len(case)) - np.repeat(np.cumsum(count) - count, count)
    member = nodes[begin[group][case] + offset]
    return case, member, member == struck[case]


def _rate(probability: float, every_ns: int) -> float:
    return -math.log1p(-probability) / every_ns


