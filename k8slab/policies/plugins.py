"""The shipped plug-ins, in plain numpy: what explain() shows and small clusters run.

The kernels compute the same from the same formulas, where they are written out; a
property test says that both agree. Amounts here are int64 up to resources.LARGEST_AMOUNT, and nothing is rounded
but by the formulas.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns, Taint
from k8slab.domain.resources import CPU, MEMORY, PODS, ResourceSchema
from k8slab.errors import InputError, UnknownName

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
FINE: Final = 10_000
# A score multiplies two weighted parts of 10,000; float64 holds their sums exactly up to here.
MOST_WEIGHT: Final = 10_000


@dataclass(frozen=True, eq=False)
class Decision:
    """One pod before all nodes: what filters and scores look at.

    nodes, pods : the columns; requested of the nodes is as of this instant
    pod         : the pod's index in `pods`
    """

    nodes: NodeColumns
    pods: PodColumns
    pod: int

    @property
    def request(self) -> Ints:
        """int64[R]: what the pod asks for."""
        return np.asarray(self.pods.requests[self.pod])

    @cached_property
    def used(self) -> Ints:
        """int64[R, N]: requested once the pod is there."""
        return self.nodes.requested + self.request[:, None]

    @cached_property
    def free(self) -> Ints:
        """int64[R, N]: what is free before the pod comes; never below 0."""
        return np.asarray(np.maximum(self.nodes.allocatable - self.nodes.requested, 0))

    @property
    def schema(self) -> ResourceSchema:
        """The resources of the rows."""
        return self.nodes.schema


@dataclass(frozen=True, eq=False)
class Refusal:
    """Why some nodes can't have the pod. nodes : bool[N]."""

    reason: str
    nodes: Mask


class Filter(Protocol):
    """Says which nodes can't have a pod, and why."""

    @property
    def name(self) -> str: ...
    def refuse(self, decision: Decision) -> Sequence[Refusal]: ...


class Score(Protocol):
    """Says how good each node is for a pod: the higher the better."""

    @property
    def name(self) -> str: ...
    @property
    def highest(self) -> float: ...
    def raw(self, decision: Decision) -> Floats: ...
    def normalize(self, raw: Floats, feasible: Mask) -> Floats: ...
    def arguments(self) -> dict[str, Any]: ...


# -- filters ------------------------------------------------------------------


@dataclass(frozen=True)
class NodeUnschedulable:
    """Only ready nodes that are not cordoned."""

    name: str = "NodeUnschedulable"

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes that are cordoned, not ready or gone."""
        return [Refusal("unschedulable", ~decision.nodes.schedulable)]


@dataclass(frozen=True)
class TaintToleration:
    """No node with a NoSchedule or NoExecute taint that the pod doesn't tolerate."""

    name: str = "TaintToleration"

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes by the first taint that the pod doesn't tolerate."""
        tolerations = decision.pods.tolerations[decision.pod] or ()
        taints = decision.nodes.taints
        refused: dict[Taint, Mask] = {}
        for code, taint_set in enumerate(taints.values):
            for taint in taint_set:
                hard = taint.effect in ("NoSchedule", "NoExecute")
                if hard and not any(toleration.tolerates(taint) for toleration in tolerations):
                    nodes = taints.codes == code
                    refused[taint] = refused[taint] | nodes if taint in refused else nodes
                    break
        return [Refusal(f"untolerated taint {taint}", nodes) for taint, nodes in refused.items() if nodes.any()]


@dataclass(frozen=True)
class NodeResourcesFit:
    """What the pod asks for must be free; a resource it asks nothing of doesn't matter."""

    name: str = "NodeResourcesFit"

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes by each resource that is short; a node may be short of several."""
        short = (decision.request[:, None] > 0) & (decision.used > decision.nodes.allocatable)
        return [
            Refusal("too many pods" if name == PODS else f"insufficient {name}", short[row])
            for row, name in enumerate(decision.schema.names)
            if short[row].any()
        ]


# -- scores -------------------------------------------------------------------


@dataclass(frozen=True)
class _ResourceScore(ABC):
    """A score by weighted resources; None weighs them as the class says."""

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

    def weights(self, schema: ResourceSchema) -> Ints:
        """int64[R]: the weight of each resource of a schema."""
        if self.resources is None:
            return self._default_weights(schema)
        for resource in self.resources:
            if resource not in schema.names:
                raise UnknownName(f"resource of {self.name}", resource, schema.names)
        return np.array([int(self.resources.get(name, 0)) for name in schema.names], dtype=np.int64)

    def _default_weights(self, schema: ResourceSchema) -> Ints:
        return np.array([int(name in (CPU, MEMORY)) for name in schema.names], dtype=np.int64)

    @abstractmethod
    def raw(self, decision: Decision) -> Floats:
        """float64[N]: the score of each node, whole numbers."""

    def normalize(self, raw: Floats, feasible: Mask) -> Floats:
        """The raw score: it is on its scale already."""
        return raw

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        return {} if self.resources is None else {"resources": dict(self.resources)}


def _mean_percent(part: Ints, allocatable: Ints, weights: Ints) -> Floats:
    has = np.where(allocatable > 0, weights[:, None], 0)
    percent = 100 * part // np.maximum(allocatable, 1)
    score: Floats = ((has * percent).sum(axis=0) // np.maximum(has.sum(axis=0), 1)).astype(np.float64)
    return score


@dataclass(frozen=True)
class LeastAllocated(_ResourceScore):
    """Prefers idle nodes: kube-scheduler's LeastAllocated, 0..100."""

    name = "LeastAllocated"

    def raw(self, decision: Decision) -> Floats:
        """What would be left, in percent, floored mean by weight."""
        allocatable = decision.nodes.allocatable
        left = np.maximum(allocatable - decision.used, 0)
        return _mean_percent(left, allocatable, self.weights(decision.schema))


@dataclass(frozen=True)
class MostAllocated(_ResourceScore):
    """Prefers full nodes: kube-scheduler's MostAllocated, 0..100."""

    name = "MostAllocated"

    def raw(self, decision: Decision) -> Floats:
        """What would be in use, in percent, floored mean by weight."""
        allocatable = decision.nodes.allocatable
        return _mean_percent(np.minimum(decision.used, allocatable), allocatable, self.weights(decision.schema))


@dataclass(frozen=True)
class RequestedToCapacityRatio(_ResourceScore):
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

    def raw(self, decision: Decision) -> Floats:
        """The rounded mean, by weight, of the line's values above 0."""
        allocatable = decision.nodes.allocatable
        percent = 100 * np.minimum(decision.used, allocatable) // np.maximum(allocatable, 1)
        line = np.where(allocatable > 0, self._line(percent), 0)
        weights = np.where(line > 0, self.weights(decision.schema)[:, None], 0)
        mean = (weights * line).sum(axis=0) / np.maximum(weights.sum(axis=0), 1)
        return np.asarray(np.floor(mean + 0.5), dtype=np.float64)

    def _line(self, percent: Ints) -> Ints:
        x, y = self.shape[0]
        line = np.full(percent.shape, 10 * y, dtype=np.int64)
        for next_x, next_y in self.shape[1:]:
            rise = 10 * (next_y - y) * (percent - x)
            # Go truncates towards zero where Python floors.
            step = np.sign(rise) * (np.abs(rise) // (next_x - x))
            line = np.where(percent > x, np.where(percent <= next_x, 10 * y + step, 10 * next_y), line)
            x, y = next_x, next_y
        return line

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        return super().arguments() | {"shape": [list(point) for point in self.shape]}


@dataclass(frozen=True)
class BalancedAllocation(_ResourceScore):
    """Prefers nodes whose resources would be equally full: kube-scheduler's, 0..100."""

    name = "NodeResourcesBalancedAllocation"

    def raw(self, decision: Decision) -> Floats:
        """trunc(100 * (1 - standard deviation of the fractions))."""
        rows = np.flatnonzero(self.weights(decision.schema))
        allocatable = decision.nodes.allocatable[rows]
        has = allocatable > 0
        fractions = np.minimum(1.0, decision.used[rows] / np.maximum(allocatable, 1))
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


@dataclass(frozen=True)
class _FineScore(_ResourceScore):
    highest = float(FINE)

    def _default_weights(self, schema: ResourceSchema) -> Ints:
        return np.array([int(name != PODS) for name in schema.names], dtype=np.int64)

    @staticmethod
    def _parts(amount: Ints, decision: Decision) -> Ints:
        """floor(10,000 * amount / largest), 0 where no node has the resource. amount : int64[R, ...]"""
        largest = decision.nodes.allocatable.max(axis=1, initial=0)[:, None]
        # By a hundredth and then a hundredth of that: 10,000 times the largest amount is beyond int64.
        hundredths, rest = np.divmod(100 * amount, np.maximum(largest, 1))
        parts: Ints = 100 * hundredths + 100 * rest // np.maximum(largest, 1)
        return np.where(largest > 0, parts, 0)

    def _left(self, decision: Decision) -> Ints:
        largest = decision.nodes.allocatable.max(axis=1, initial=0)
        weights = np.where(largest > 0, self.weights(decision.schema), 0)
        left = self._parts(np.maximum(decision.nodes.allocatable - decision.used, 0), decision)
        mean: Ints = (weights[:, None] * left).sum(axis=0) // max(int(weights.sum()), 1)
        return mean


@dataclass(frozen=True)
class WorstFit(_FineScore):
    """Prefers the node where most would be left, in parts of the largest node, 0..10,000."""

    name = "WorstFit"

    def raw(self, decision: Decision) -> Floats:
        """What would be left."""
        return self._left(decision).astype(np.float64)


@dataclass(frozen=True)
class BestFit(_FineScore):
    """Prefers the node where least would be left, in parts of the largest node, 0..10,000."""

    name = "BestFit"

    def raw(self, decision: Decision) -> Floats:
        """10,000 less what would be left."""
        return (FINE - self._left(decision)).astype(np.float64)


@dataclass(frozen=True)
class DotProduct(_FineScore):
    """Prefers the node whose free resources lie along the pod's request (Tetris), 0..10,000."""

    name = "DotProduct"

    def raw(self, decision: Decision) -> Floats:
        """The mean of what is free, weighed by what is asked for, rounded up."""
        weights = self.weights(decision.schema)
        demand = weights * -self._parts(-decision.request[:, None], decision)[:, 0]
        free = self._parts(decision.free, decision)
        mean: Ints = (demand[:, None] * free).sum(axis=0) // max(int(demand.sum()), 1)
        return mean.astype(np.float64)


_SCORES: Final[tuple[Callable[[], Score], ...]] = (
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
    BalancedAllocation,
    BestFit,
    WorstFit,
    DotProduct,
)


def shipped_score(name: str) -> Score:
    """A shipped score by its name, with its defaults. Raises UnknownName.

    >>> shipped_score("BestFit")
    BestFit(resources=None)
    """
    scores = {score.name: score for score in (make() for make in _SCORES)}
    if name not in scores:
        raise UnknownName("score", name, scores)
    return scores[name]
