"""How many nodes one estimate may add. Pure.

After estimator/threshold_based_limiter.go and its thresholds. Of a limit, 0 is none and -1 is
that nothing is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from k8slab.errors import InputError

NOTHING = -1
UNLIMITED = 0


def min_limit(base: int, target: int) -> int:
    """The tighter of two limits; a negative one allows nothing.

    >>> min_limit(5, 10), min_limit(0, 10), min_limit(5, 0), min_limit(-3, 10)
    (5, 10, 5, -1)
    """
    if base < 0 or target < 0:
        return NOTHING
    return min(base, target) if base and target else base or target


def cluster_capacity_limit(max_nodes_total: int, current_nodes: int) -> int:
    """How many nodes the cluster may still take; no limit where it has none."""
    if max_nodes_total == 0:
        return UNLIMITED
    room = max_nodes_total - current_nodes
    return room if max_nodes_total > 0 and room > 0 else NOTHING


@dataclass(frozen=True)
class GroupSize:
    """A node group's target size and its maximum."""

    current: int
    max: int


def similar_groups_limit(group: GroupSize, similar: Iterable[GroupSize]) -> int:
    """The room in the group and those like it together; one that is over its maximum adds nothing."""
    room = sum(max(0, size.max - size.current) for size in (group, *similar))
    return room if room > 0 else NOTHING


@dataclass(frozen=True)
class Threshold:
    """One limit to an estimate, of nodes and of time; upstream's default is 1,000 nodes and 10 s a group."""

    max_nodes: int = 1000
    max_duration_ns: int = 10 * 10**9


class EstimationLimiter:
    """Counts the nodes of one estimate against the tightest of its thresholds. It is told the time."""

    def __init__(self, thresholds: Iterable[Threshold]) -> None:
        self._max_nodes = self._max_duration_ns = UNLIMITED
        for threshold in thresholds:
            self._max_nodes = min_limit(self._max_nodes, threshold.max_nodes)
            self._max_duration_ns = min_limit(self._max_duration_ns, threshold.max_duration_ns)
        self.start(0)

    def start(self, now_ns: int) -> None:
        """Begin another estimate."""
        self._started_ns = now_ns
        self.nodes = 0

    def permits(self, now_ns: int) -> bool:
        """Whether one more node may be added; if so, it is counted."""
        if now_ns < self._started_ns:
            raise InputError(f"an estimate begun at {self._started_ns:,} ns is asked at {now_ns:,} ns, before it")
        too_many = self._max_nodes < 0 or (self._max_nodes > 0 and self.nodes >= self._max_nodes)
        spent_ns = now_ns - self._started_ns
        too_late = self._max_duration_ns < 0 or (self._max_duration_ns > 0 and spent_ns > self._max_duration_ns)
        if too_many or too_late:
            return False
        self.nodes += 1
        return True
