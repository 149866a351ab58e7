"""Node pools and what could be launched from them, as the loop wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.node_provider import ManagedGroup, NodeProviderPort
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.karpenter.budgets import NodeBudget
from k8slab.domain.karpenter.consolidation import SPOT
from k8slab.domain.karpenter.disruption_cost import BALANCED_K

WHEN_EMPTY: Final = "WhenEmpty"
UNDERUTILIZED: Final = "WhenEmptyOrUnderutilized"
BALANCED: Final = "Balanced"
POLICIES: Final = (WHEN_EMPTY, UNDERUTILIZED, BALANCED)
CAPACITY_TYPE: Final = "karpenter.sh/capacity-type"
# A limit that nothing reaches; sums of it and real amounts stay within int64.
UNLIMITED: Final = 2**61


@dataclass(frozen=True, eq=False)
class Pool:
    """limits : int64[R], UNLIMITED where there is none; the times NEVER for never; k : the Balanced policy's"""

    name: str
    limits: Ints
    budgets: tuple[NodeBudget, ...]
    consolidation: str = UNDERUTILIZED
    consolidate_after_ns: int = 0
    expire_after_ns: int = NEVER
    grace_ns: int = NEVER
    k: float = BALANCED_K


@dataclass(frozen=True, eq=False)
class Offerings:
    """What could be launched: one option a group of the provider, by number.

    pool     : int64[G]     its node pool, in the order they are asked
    kind     : int64[G]     its instance type          spot : bool[G]
    room     : int64[G, R]  for pods of an empty node  capacity : int64[G, R]  what counts against limits
    price    : float64[G]   an hour
    """

    pool: Ints
    kind: Ints
    spot: npt.NDArray[np.bool_]
    room: Ints
    capacity: Ints
    price: npt.NDArray[np.float64]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, provider: NodeProviderPort, pool_of: Sequence[int]) -> Offerings:
        """pool_of : of each group"""
        groups: tuple[ManagedGroup, ...] = provider.groups
        kinds = tuple(dict.fromkeys(group.kind for group in groups))
        return cls(
            np.array(pool_of, dtype=np.int64),
            np.array([kinds.index(group.kind) for group in groups], dtype=np.int64),
            np.array([group.template.labels.get(CAPACITY_TYPE) == SPOT for group in groups], dtype=np.bool_),
            np.ascontiguousarray(np.stack([group.template.room for group in groups])),
            np.ascontiguousarray(np.stack([group.template.allocatable for group in groups])),
            np.array([group.price_per_hour for group in groups], dtype=np.float64),
            kinds,
        )

    def told(self, options: npt.NDArray[np.bool_]) -> str:
        """Their types for people: "general-4, general-8 and 3 more"."""
        names = list(dict.fromkeys(self.kinds[kind] for kind in self.kind[self.ranked(options)].tolist()))
        shown = ", ".join(names[:3])
        return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown

    def ranked(self, options: npt.NDArray[np.bool_]) -> Ints:
        """int64[]: their numbers, the cheapest first."""
        rows = np.flatnonzero(options)
        return rows[np.argsort(self.price[rows], kind="stable")]
