"""How many of the nodes that may go, go at once. Pure.

After core/scaledown/budgets. Groups that scale all or nothing ("atomic") go first, wholly or not
at all; one of them may be more than the budget, while any budget is left, lest it starve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from k8slab.errors import InputError


@dataclass(frozen=True)
class GroupNodes:
    """Nodes of one group, in order."""

    group: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class DeletionBudget:
    """How many nodes may be on their way out; the field names are cluster-autoscaler's flags."""

    max_scale_down_parallelism: int = 10
    max_drain_parallelism: int = 1

    def __post_init__(self) -> None:
        if self.max_scale_down_parallelism < 0 or self.max_drain_parallelism < 0:
            raise InputError(f"{self}: wanted 0 or more")


@dataclass(frozen=True)
class AtomicGroup:
    """An all-or-nothing group: the size it should have, and how many nodes have registered."""

    target_size: int
    registered: int


@dataclass(frozen=True)
class Deletions:
    """What may go now, by group."""

    empty: list[GroupNodes]
    drain: list[GroupNodes]


def crop_to_budget(
    budget: DeletionBudget,
    empty: Sequence[GroupNodes],
    drain: Sequence[GroupNodes],
    atomic: Mapping[str, AtomicGroup],
    empty_in_progress: int = 0,
    drain_in_progress: int = 0,
) -> Deletions:
    """The nodes that go now; each group is named once in `empty` and once in `drain` at most."""
    left = _Left(
        budget.max_scale_down_parallelism - empty_in_progress - drain_in_progress,
        budget.max_drain_parallelism - drain_in_progress,
    )
    chosen = Deletions([], [])
    draining = {group.group: group for group in drain if group.group in atomic}
    for group in empty:
        if group.group in atomic and not left.take_atomic(
            group, draining.get(group.group), atomic[group.group], chosen
        ):
            break
    # From here on what is drained counts against both.
    left.drain = min(left.all, left.drain)
    with_empty = {group.group for group in empty}
    for group in drain:
        wanted = group.group in atomic and group.group not in with_empty
        if wanted and not left.take_atomic(None, group, atomic[group.group], chosen):
            break
    left.all -= _crop(chosen.empty, [group for group in empty if group.group not in atomic], left.all)
    left.drain = min(left.all, left.drain)
    _crop(chosen.drain, [group for group in drain if group.group not in atomic], left.drain)
    return chosen


@dataclass
class _Left:
    """What is left of the budget: of all nodes, and of those that must be drained."""

    all: int
    drain: int
    may_overflow: bool = True

    def take_atomic(
        self, empty: GroupNodes | None, drain: GroupNodes | None, group: AtomicGroup, chosen: Deletions
    ) -> bool:
        """Take the group's nodes if they are the whole of it; False if no budget is left for it, nor for any after."""
        drained = len(drain.nodes) if drain is not None else 0
        nodes = drained + (len(empty.nodes) if empty is not None else 0)
        if self.all < nodes or self.drain < drained:
            spent = self.all <= 0 or (drained > 0 and self.drain <= 0)
            if spent or not self.may_overflow:
                return False
        if nodes not in (group.target_size, group.registered):
            return True
        chosen.empty.extend([empty] if empty is not None else [])
        chosen.drain.extend([drain] if drain is not None else [])
        self.all -= nodes
        self.drain -= drained
        self.may_overflow = False
        return True


def _crop(chosen: list[GroupNodes], groups: Sequence[GroupNodes], budget: int) -> int:
    """Add nodes while there is budget; how many were added."""
    left = budget
    for group in groups:
        if left < 1:
            break
        taken = group.nodes[:left]
        chosen.append(GroupNodes(group.group, taken))
        left -= len(taken)
    return budget - left
