"""What disrupting a node costs its pods, and whether a move is worth it. Pure.

After Karpenter's disruption package: eviction cost, and the Balanced policy's score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from k8slab.errors import InputError

MOST_EVICTION_COST: Final = 10.0
BALANCED_K: Final = 2.0


def eviction_cost(deletion_cost: int = 0, priority: int = 0) -> float:
    """A pod's: 1 + deletion cost / 2^27 + priority / 2^25, between -10 and 10.

    >>> eviction_cost(), eviction_cost(deletion_cost=2**27), eviction_cost(priority=-(2**31))
    (1.0, 2.0, -10.0)
    """
    cost = 1.0 + deletion_cost / 2.0**27 + priority / 2.0**25
    return min(max(cost, -MOST_EVICTION_COST), MOST_EVICTION_COST)


def node_cost(eviction_costs: Iterable[float]) -> float:
    """A node's: 1 and the positive costs of its pods."""
    return 1.0 + sum(cost for cost in eviction_costs if cost > 0)


@dataclass(frozen=True)
class Move:
    """What disrupting some nodes saves and costs, and what their whole pool costs."""

    savings: float
    disruption_cost: float
    pool_total_cost: float
    pool_total_disruption_cost: float


def balanced_score(move: Move) -> float:
    """The share of the pool's price that is saved, by the share of its disruption that it costs.

    No savings are worth nothing; savings that disturb nobody are worth anything.
    """
    if move.savings <= 0 or move.pool_total_cost <= 0:
        return 0.0
    if move.disruption_cost <= 0 or move.pool_total_disruption_cost <= 0:
        return math.inf
    share_saved = move.savings / move.pool_total_cost
    return share_saved / (move.disruption_cost / move.pool_total_disruption_cost)


def approves(move: Move, k: float = BALANCED_K) -> bool:
    """Whether the Balanced policy makes the move: its score is at least 1 / k."""
    if k <= 0:
        raise InputError(f"k {k!r} of the Balanced policy; wanted more than 0")
    return balanced_score(move) >= 1 / k
