"""Who makes nodes: the port of a cloud, and a node group as autoscalers see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from k8slab.domain.columns import Codes32, Ints
from k8slab.domain.node_template import NodeTemplate


@dataclass(frozen=True, eq=False)
class ManagedGroup:
    """Nodes of one template, of which there are between min_size and max_size.

    price_per_hour : of one of its nodes
    kind, limit    : its instance type, and how many of that there may be over all groups; None for no limit
    utilization_threshold, unneeded_ns, unready_ns : its own, None for the autoscaler's
    """

    name: str
    template: NodeTemplate
    min_size: int
    max_size: int
    price_per_hour: float
    kind: str
    limit: int | None = None
    all_or_nothing: bool = False
    gpu: bool = False
    utilization_threshold: float | None = None
    unneeded_ns: int | None = None
    unready_ns: int | None = None


@dataclass(frozen=True)
class Refusal:
    """Nodes that a cloud was asked for and didn't make. group : its number; late : it gave up on them"""

    group: int
    count: int
    reason: str
    late: bool = False


class LaunchedPort(Protocol):
    """A node that was asked for and wasn't refused. node_row : -1 until it joins; ended_ns : NEVER until it is gone"""

    @property
    def node_row(self) -> int: ...
    @property
    def ended_ns(self) -> int: ...


class NodeProviderPort(Protocol):
    """A cloud that makes nodes of groups, later, and takes them away."""

    @property
    def groups(self) -> tuple[ManagedGroup, ...]:
        """By number."""

    def group_of(self) -> Codes32:
        """int32[N]: the group of each node row, -1 for none."""

    def upcoming(self) -> Ints:
        """int64[G]: nodes of each group that were asked for and aren't there yet."""

    def launch(self, group: int, count: int, now_ns: int) -> Sequence[LaunchedPort]:
        """Ask for nodes; they come in their time. Gives those that weren't refused."""

    def take_refusals(self, late_ns: int, now_ns: int) -> list[Refusal]:
        """What was refused since the last time; and what was asked for before `late_ns` and hasn't come, given up."""

    def gives_up_ns(self, after_ns: int) -> int:
        """Until when `take_refusals` has nothing to tell, if it gives up after so long: 0 for now, NEVER for ever."""

    def terminate(self, node_row: int, now_ns: int) -> None:
        """Take a node away, with the daemon sets' pods that are left on it."""
