"""Drains that are planned: maintenance that empties nodes at a given time, and gives them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from k8slab.application.calendar import Rank
from k8slab.application.evictor import Evictor
from k8slab.domain.ports import ClusterStatePort
from k8slab.errors import UnknownName
from k8slab.units import duration_ns

if TYPE_CHECKING:
    from k8slab.simulation.faults import Duration


@dataclass(frozen=True, kw_only=True)
class Drain:
    """A node is drained at a time, and uncordoned a while later.

    uncordon : how long after its beginning; None for never
    """

    node: str
    at: Duration
    uncordon: Duration | None = None
    reason: str = "maintenance"

    def __post_init__(self) -> None:
        duration_ns(self.at, f"drain of {self.node!r}, at")
        if self.uncordon is not None:
            duration_ns(self.uncordon, f"drain of {self.node!r}, uncordon", least_ns=1)


class Drains:
    """Begins each drain when its time comes."""

    name = "drains"
    rank: int = Rank.HEALING
    heeds_pods = False

    def __init__(self, drains: Sequence[Drain], evictor: Evictor, state: ClusterStatePort) -> None:
        self._evictor = evictor
        self._state = state
        self._due: list[tuple[int, int, str | None]] = []
        for drain in drains:
            row = state.node_row(drain.node)
            if row < 0:
                raise UnknownName("node", drain.node, state.node_names, "In health, drains.")
            at_ns = duration_ns(drain.at)
            self._due.append((at_ns, row, drain.reason))
            if drain.uncordon is not None:
                self._due.append((at_ns + duration_ns(drain.uncordon), row, None))
        self._due.sort(key=lambda one: (one[0], one[2] is not None, one[1]))

    def next_ns(self, now_ns: int) -> int | None:
        return self._due[0][0] if self._due else None

    def run_once(self, now_ns: int) -> None:
        while self._due and self._due[0][0] <= now_ns:
            _, row, reason = self._due.pop(0)
            if not self._state.node_alive[row]:
                continue
            if reason is None:
                self._evictor.uncordon(row, now_ns)
            else:
                self._evictor.drain(row, reason, now_ns)
