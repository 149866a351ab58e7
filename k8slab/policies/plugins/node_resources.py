"""NodeResourcesFit with its strategies, and NodeResourcesBalancedAllocation, in plain numpy.

The kernels compute the same from the same formulas, where they are written out; a
property test says that both agree. Amounts here are int64 and wrap around beyond it, as
kube-scheduler's do; nothing is rounded but by the formulas.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np

from k8slab.domain.columns import Ints
from k8slab.domain.resources import (
    CPU,
    EPHEMERAL_STORAGE,
    MEMORY,
    PODS,
    ResourceSchema,
    is_extended,
    is_known,
    is_scalar,
)
from k8slab.errors import InputError, UnknownName
from k8slab.policies.plugins.base import Decision, Floats, Mask, Refusal

# A score multiplies two weighted parts of 10,000; float64 holds their sums exactly up to here.
MOST_WEIGHT: Final = 10_000
_TOLD_FIRST: Final = (PODS, CPU, MEMORY, EPHEMERAL_STORAGE)


@dataclass(frozen=True)
class ResourceScore(ABC):
    """A score by weighted resources; None weighs them as the class says.

    A resource that neither the cluster nor a pod has is left out if its name is one that
    Kubernetes knows (cpu, memory, ... or with a "/"), and else a typing error.
    """

    resources: Mapping[str, int] | None = field(default=None)

    name = ""
    highest = 100.0

    def __post_init__(self) -> None:
        for resource, weight in (self.resources or {}).items():
            whole = isinstance(weight, int | np.integer) and not isinstance(weight, bool)
            if not whole or not 0 <= weight <= MOST_WEIGHT:
                raise InputError(
                    f"{self.name}: weight of {resource!r} is {weight!r}, not a whole number from 0 to {MOST_WEIGHT:,}"
                )

    def weighted(self, schema: ResourceSchema) -> list[tuple[int, int]]:
        """(row, weight) of the resources that count, in the order given: a float sum shows it."""
        if self.resources is None:
            return [(row, 1) for row, name in enumerate(schema.names) if self._counts(name)]
        for resource in self.resources:
            if resource not in schema.names and not is_known(resource):
                raise UnknownName(f"resource of {self.name}", resource, schema.names)
        wanted = [(name, int(weight)) for name, weight in self.resources.items() if weight and self._exists(name)]
        return [(schema.index(name), weight) for name, weight in wanted if name in schema.names]

    def weights(self, schema: ResourceSchema) -> Ints:
        """int64[R]: the weight of each resource of a schema."""
        weights = np.zeros(len(schema), dtype=np.int64)
        for row, weight in self.weighted(schema):
            weights[row] = weight
        return weights

    def _counts(self, resource: str) -> bool:
        return resource in (CPU, MEMORY)

    def _exists(self, resource: str) -> bool:
        # kube-scheduler's scores look for it among the scalar resources of a node, where it isn't.
        return resource != PODS

    @abstractmethod
    def raw(self, decision: Decision) -> Floats:
        """float64[N]: the score of each node, whole numbers."""

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """The raw score: it is on its scale already."""
        return raw

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        return {} if self.resources is None else {"resources": {name: int(w) for name, w in self.resources.items()}}


# -- NodeResourcesFit -----------------------------------------------------------


@dataclass(frozen=True)
class _Strategy(ResourceScore):
    """A mean over resources of a score of what would be used, by weight."""

    def raw(self, decision: Decision) -> Floats:
        """The mean, by weight, over the resources that a node has; of scalar ones those that the pod requests."""
        total, weights = (np.zeros(len(decision.nodes), dtype=np.int64) for _ in range(2))
        for row, weight in self.weighted(decision.schema):
            if is_scalar(decision.schema.names[row]) and not decision.scored[row]:
                continue
            allocatable, used = decision.nodes.allocatable[row], decision.scored_used[row]
            part = np.where(allocatable > 0, self._part(used, np.maximum(allocatable, 1)), 0)
            counts = np.where((allocatable > 0) & self._counted(part), weight, 0)
            total += counts * part
            weights += counts
        return self._mean(total, weights)

    @abstractmethod
    def _part(self, used: Ints, allocatable: Ints) -> Ints:
        """int64[N]: the score by one resource."""

    def _counted(self, part: Ints) -> Mask | bool:
        return True

    def _mean(self, total: Ints, weights: Ints) -> Floats:
        return quotient(total, np.maximum(weights, 1)).astype(np.float64)


@dataclass(frozen=True)
class LeastAllocated(_Strategy):
    """Prefers idle nodes: kube-scheduler's LeastAllocated, 0..100."""

    name = "LeastAllocated"

    def _part(self, used: Ints, allocatable: Ints) -> Ints:
        """What would be left, in percent."""
        return np.where(used > allocatable, 0, quotient((allocatable - used) * 100, allocatable))


@dataclass(frozen=True)
class MostAllocated(_Strategy):
    """Prefers full nodes: kube-scheduler's MostAllocated, 0..100."""

    name = "MostAllocated"

    def _part(self, used: Ints, allocatable: Ints) -> Ints:
        """What would be in use, in percent."""
        return quotient(np.minimum(used, allocatable) * 100, allocatable)


@dataclass(frozen=True)
class RequestedToCapacityRatio(_Strategy):
    """Scores utilization by a broken line: kube-scheduler's RequestedToCapacityRatio, 0..100.

    shape : points (utilization in percent, score 0..10), utilization rising. The
    default is best near 70 %. (kube-scheduler has none; its manual's, (0, 0), (100, 10),
    is MostAllocated by another name.)
    """

    shape: tuple[tuple[int, int], ...] = ((0, 0), (70, 10), (100, 5))
    name = "RequestedToCapacityRatio"

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            points = tuple((operator.index(x), operator.index(y)) for x, y in self.shape)
        except (TypeError, ValueError):
            points = ()
        rising = all(before[0] < after[0] for before, after in pairwise(points))
        inside = all(0 <= x <= 100 and 0 <= y <= 10 for x, y in points)
        if not points or not rising or not inside:
            raise InputError(
                f"{self.name}: shape {self.shape!r} must be points of whole numbers "
                "(utilization 0..100, score 0..10), utilization rising"
            )
        object.__setattr__(self, "shape", points)

    def _part(self, used: Ints, allocatable: Ints) -> Ints:
        """The line's value."""
        percent = np.where(used > allocatable, 100, quotient(used * 100, allocatable))
        x, y = self.shape[0]
        line = np.full(percent.shape, 10 * y, dtype=np.int64)
        for next_x, next_y in self.shape[1:]:
            step = quotient(10 * (next_y - y) * (percent - x), np.asarray(next_x - x))
            line = np.where(percent > x, np.where(percent <= next_x, 10 * y + step, 10 * next_y), line)
            x, y = next_x, next_y
        return line

    def _counted(self, part: Ints) -> Mask | bool:
        return part > 0

    def _mean(self, total: Ints, weights: Ints) -> Floats:
        mean = total.astype(np.float64) / np.maximum(weights, 1).astype(np.float64)
        return np.asarray(np.floor(mean + 0.5))

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        return super().arguments() | {"shape": [list(point) for point in self.shape]}


def quotient(a: Ints, b: Ints) -> Ints:
    """a / b towards zero, as Go divides; numpy's // goes down. b : above 0"""
    down: Ints = a // b
    return np.asarray(down + ((a < 0) & (down * b != a)))


@dataclass(frozen=True)
class NodeResourcesFit:
    """What the pod asks for must be free; a resource it asks nothing of doesn't matter. Scores by a strategy.

    ignored, ignored_groups : extended resources, or prefixes of their names, that the filter passes over
    """

    strategy: ResourceScore = field(default_factory=LeastAllocated)
    ignored: tuple[str, ...] = ()
    ignored_groups: tuple[str, ...] = ()

    name = "NodeResourcesFit"

    @property
    def highest(self) -> float:
        """The strategy's."""
        return self.strategy.highest

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes by each resource that is short; a node may be short of several."""
        nodes, refusals = decision.nodes, []
        for row in self._order(decision.schema):
            name, asked = decision.schema.names[row], decision.request[row]
            if asked > 0 and not self.ignores(name):
                short = asked > nodes.allocatable[row] - nodes.requested[row]
                if short.any():
                    reason = "Too many pods" if name == PODS else f"Insufficient {name}"
                    hopeless = False if name == PODS else asked > nodes.allocatable[row]
                    refusals.append(Refusal(reason, short, final=hopeless))
        return refusals

    @staticmethod
    def _order(schema: ResourceSchema) -> list[int]:
        """As kube-scheduler tells them: pods, cpu, memory, ephemeral-storage, the others by name."""
        first = [schema.index(name) for name in _TOLD_FIRST if name in schema.names]
        return first + [schema.index(name) for name in sorted(set(schema.names) - set(_TOLD_FIRST))]

    def ignores(self, name: str) -> bool:
        """Whether the filter passes over a resource."""
        return is_extended(name) and (name in self.ignored or name.split("/")[0] in self.ignored_groups)

    def raw(self, decision: Decision) -> Floats:
        """The strategy's score."""
        return self.strategy.raw(decision)

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """The raw score: it is on its scale already."""
        return raw

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        ignoring = {"ignored": list(self.ignored), "ignored_groups": list(self.ignored_groups)}
        changed = {key: value for key, value in ignoring.items() if value}
        return {"strategy": self.strategy.name, **self.strategy.arguments(), **changed}


# -- NodeResourcesBalancedAllocation ----------------------------------------------


@dataclass(frozen=True)
class BalancedAllocation(ResourceScore):
    """Prefers nodes whose resources would be equally full: kube-scheduler's, 0..100."""

    name = "NodeResourcesBalancedAllocation"

    def passes_over(self, decision: Decision) -> bool:
        """Whether the pod asks for none of the resources."""
        return not any(decision.held[row] for row, _ in self.weighted(decision.schema))

    def raw(self, decision: Decision) -> Floats:
        """trunc(100 * (1 - standard deviation of the fractions))."""
        rows = [row for row, _ in self.weighted(decision.schema)]
        rows = [row for row in rows if decision.held[row] or not is_scalar(decision.schema.names[row])]
        allocatable = decision.nodes.allocatable[rows]
        has = allocatable > 0
        fractions = np.minimum(1.0, decision.held_used[rows] / np.maximum(allocatable, 1))
        count = has.sum(axis=0)
        total, spread, apart = (np.zeros(count.shape) for _ in range(3))
        for row, owns in zip(fractions, has, strict=True):  # row by row: the order of a float sum shows
            total += np.where(owns, row, 0.0)
            apart = np.where(owns, row - apart, apart)
        mean = total / np.maximum(count, 1)
        for row, owns in zip(fractions, has, strict=True):
            spread += np.where(owns, (row - mean) * (row - mean), 0.0)
        deviation = np.sqrt(spread / np.maximum(count, 1))
        deviation = np.where(count == 2, np.abs(apart / 2.0), np.where(count < 2, 0.0, deviation))
        return np.asarray(np.trunc((1.0 - deviation) * 100.0), dtype=np.float64)
