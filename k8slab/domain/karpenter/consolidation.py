"""Which nodes Karpenter tries to do without, in which order, and what may replace them. Pure.

After its disruption package: single-node and multi-node consolidation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
T = TypeVar("T")
# Nodes that one multi-node consolidation takes at the most.
MOST_NODES: Final = 100
# Spot to spot, one node: as many cheaper types there must be, and from so many it is launched.
SPOT_TYPES: Final = 15
SPOT: Final = "spot"


def candidate_order(price: Floats, cost: Floats) -> Ints:
    """int64[N]: the candidates by price over disruption cost, largest first; equal ones as they stand.

    >>> candidate_order(np.array([1.0, 3.0, 2.0]), np.array([1.0, 6.0, 1.0])).tolist()
    [2, 0, 1]
    """
    return np.argsort(-(price / cost), kind="stable")


def interleaved(pool: Ints) -> Ints:
    """int64[N]: each pool's first candidate, then each one's second, ...; pools in the order they come first.

    >>> interleaved(np.array([4, 4, 7, 4, 7])).tolist()
    [0, 2, 1, 4, 3]
    """
    turn = np.zeros(len(pool), dtype=np.int64)
    seen: dict[int, int] = {}
    for place, number in enumerate(pool.tolist()):
        turn[place] = seen[number] = seen.get(number, -1) + 1
    return np.argsort(turn, kind="stable")


def within_budgets(pool: Ints, allowed: Mapping[int, int]) -> Mask:
    """bool[N]: the first candidates of each pool, as many as may be disrupted. allowed : by pool

    >>> within_budgets(np.array([0, 0, 1, 0]), {0: 2, 1: 0}).tolist()
    [True, True, False, False]
    """
    left = dict(allowed)
    taken = np.zeros(len(pool), dtype=np.bool_)
    for place, number in enumerate(pool.tolist()):
        taken[place] = left[number] > 0
        left[number] -= 1
    return taken


def largest_prefix(count: int, attempt: Callable[[int], T | None]) -> T | None:
    """What comes of the largest prefix of 2 to `count` candidates that a binary search finds to work.

    attempt : prefix's length -> what to do, None if it doesn't work. That shorter ones of a prefix that works do,
              too, is taken for granted, as upstream does

    >>> largest_prefix(9, lambda length: length if length <= 6 else None)
    6
    """
    best = None
    low, high = 2, count
    while low <= high:
        # Of indices, as upstream: the last of the prefix lies half-way.
        middle = (low - 1 + high - 1) // 2 + 1
        found = attempt(middle)
        if found is None:
            high = middle - 1
        else:
            best, low = found, middle + 1
    return best


def cheaper_options(options: Mask, price: Floats, kind: Ints, gone_kind: Ints, gone_price: Floats) -> Mask:
    """bool[G]: the options that replace nodes at a profit.

    options : bool[G]   what could hold the pods     price : float64[G]     kind : int64[G] their types
    gone_kind, gone_price : [N] of the nodes that would go

    Strictly cheaper than these together. Of several nodes, and if a replacement could be of the type of one of them:
    cheaper than the cheapest such node, for else keeping that one would do.
    """
    limit = float(gone_price.sum())
    if len(gone_kind) > 1:
        within = options & (price < limit)
        alike = np.isin(gone_kind, kind[within])
        limit = min([limit, *gone_price[alike].tolist()])
    return options & (price < limit)


def spot_options(options: Mask, price: Floats, spot: Mask, gone_spot: Mask, *, spot_to_spot: bool) -> tuple[Mask, str]:
    """bool[G] of what is left by the rules about spot capacity, and why nothing is.

    options : bool[G] cheaper ones, see `cheaper_options`     spot : bool[G]     gone_spot : bool[N]
    spot_to_spot : the feature gate

    Nodes that are all spot are replaced by spot through the gate alone; a single one only where there are 15 cheaper
    ones, from which it is launched, as a race to the cheapest would have it interrupted soon.
    """
    if not gone_spot.all() or not (options & spot).any():
        return options, ""
    if not spot_to_spot:
        return options & False, "SpotToSpotConsolidation is off: spot isn't replaced where spot could come"
    left = options & spot
    if len(gone_spot) > 1:
        return left, ""
    count = int(left.sum())
    if count < SPOT_TYPES:
        return options & False, f"{count} cheaper spot types; wanted {SPOT_TYPES} for a single spot node"
    ranked = np.flatnonzero(left)[np.argsort(price[left], kind="stable")][:SPOT_TYPES]
    found = np.zeros(len(options), dtype=np.bool_)
    found[ranked] = True
    return found, ""
