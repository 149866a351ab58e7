"""How many nodes of a pool may be disrupted at once. Pure.

After Karpenter's NodePool disruption budgets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from k8slab.domain.disruption import scaled_value
from k8slab.domain.karpenter.cron import Cron
from k8slab.errors import InputError

REASONS: Final = ("Empty", "Underutilized", "Drifted")
UNLIMITED: Final = 2**31 - 1


@dataclass(frozen=True)
class NodeBudget:
    """One entry of a pool's budgets; the field names are the API's.

    nodes    : "10" or "10%"
    reasons  : what it holds for, None for everything
    schedule : cron in UTC; None with `duration` is always
    """

    nodes: str = "10%"
    reasons: tuple[str, ...] | None = None
    schedule: str | None = None
    duration: timedelta | None = None

    def __post_init__(self) -> None:
        if (self.schedule is None) != (self.duration is None):
            raise InputError(f"a budget of {self.nodes!r} nodes has a schedule or a duration; wanted both or neither")

    def is_active(self, now: datetime) -> bool:
        """Whether a hit of its schedule lies in (now - duration, now]. Raises InputError for a bad schedule."""
        return self.active_until(now)[0]

    def active_until(self, now: datetime) -> tuple[bool, datetime | None]:
        """Whether it is active, and until when at least that stays so; None for ever. Raises as `is_active`."""
        if self.schedule is None or self.duration is None:
            return True, None
        hit = Cron.parse(self.schedule).next_after(now - self.duration)
        if hit is None:
            return False, None
        return (True, hit + self.duration) if hit <= now else (False, hit)

    def allowed(self, nodes: int) -> int:
        """How many of so many nodes it allows, a percentage rounded up. Raises InputError for bad `nodes`."""
        return scaled_value(int(self.nodes) if _is_whole(self.nodes) else self.nodes, nodes, round_up=True)


@dataclass(frozen=True)
class ActiveBudget:
    """A budget, and whether it holds now."""

    budget: NodeBudget
    active: bool = True

    def allowed(self, nodes: int) -> int:
        """How many nodes it allows; no limit while it isn't active. Raises InputError."""
        return self.budget.allowed(nodes) if self.active else UNLIMITED


def allowed_for(reason: str, budgets: Iterable[ActiveBudget], nodes: int) -> int:
    """How many of a pool's initialized nodes may be disrupted for a reason: the least of the budgets that hold for it.

    A budget that can't be read allows none. Nodes already being disrupted, and those not
    ready, are for the caller to take off.
    """
    least = UNLIMITED
    for one in budgets:
        if one.budget.reasons is None or reason in one.budget.reasons:
            try:
                least = min(least, one.allowed(nodes))
            except InputError:
                return 0
    return least


def _is_whole(text: str) -> bool:
    return text.lstrip("+-").isdigit() and text.isascii()
