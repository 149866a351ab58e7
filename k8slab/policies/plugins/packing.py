"""The general packing scores: best fit, worst fit, dot product. Not kube-scheduler's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from k8slab.domain.columns import Ints
from k8slab.domain.resources import LARGEST_EXACT_AMOUNT, PODS
from k8slab.errors import InputError
from k8slab.policies.plugins.base import Decision, Floats
from k8slab.policies.plugins.node_resources import ResourceScore

FINE: Final = 10_000


@dataclass(frozen=True)
class _FineScore(ResourceScore):
    highest = float(FINE)

    def _counts(self, resource: str) -> bool:
        return resource != PODS

    def _exists(self, resource: str) -> bool:
        return True

    @staticmethod
    def _parts(amount: Ints, decision: Decision) -> Ints:
        """floor(10,000 * amount / largest), 0 where no node has the resource. amount : int64[R, ...]"""
        largest = decision.nodes.allocatable.max(axis=1, initial=0)[:, None]
        if (largest > LARGEST_EXACT_AMOUNT).any():
            most = int(largest.max())
            limit = f"{LARGEST_EXACT_AMOUNT:,}"
            raise InputError(f"a node has {most:,} of a resource; a packing score counts up to {limit}")
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
