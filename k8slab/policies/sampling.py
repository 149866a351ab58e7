"""kube-scheduler's sampling: nodes are looked at in turn until enough will do, the next pod from where that ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, NodeColumns
from k8slab.errors import InputError

Mask = npt.NDArray[np.bool_]
# Of each pair the first wins where a node has both.
_REGION: Final = ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region")
_ZONE: Final = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone")


@dataclass(frozen=True)
class Sampling:
    """How many nodes that will do are enough, to score no others: kube-scheduler's percentageOfNodesToScore.

    percentage : of all nodes, 1 to 100; 0 is kube-scheduler's own: 50 less a 125th of the nodes, at least 5
    at_least   : never fewer than these; on fewer nodes all are looked at

    Nodes are looked at zone by zone in turn, one after another, as by a scheduler with one
    worker: with several, which nodes it meets first is left to chance.

    >>> [Sampling().wanted(nodes) for nodes in (99, 150, 1_000, 5_000, 10_000)]
    [99, 100, 420, 500, 500]
    """

    percentage: int = 0
    at_least: int = 100

    def __post_init__(self) -> None:
        for name, given, least, most in (
            ("percentage", self.percentage, 0, 100),
            ("at_least", self.at_least, 1, 2**31 - 1),
        ):
            whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
            if not whole or not least <= given <= most:
                limits = "0 to 100" if most == 100 else "1 or more"
                raise InputError(f"sampled: {name} is {given!r}, wanted a whole number, {limits}")

    def arguments(self) -> dict[str, Any]:
        """For manifests."""
        return {"percentage": int(self.percentage), "at_least": int(self.at_least)}

    def wanted(self, nodes: int) -> int:
        """How many nodes that will do end a search among so many."""
        if nodes < self.at_least:
            return nodes
        return max(nodes * (self.percentage or max(5, 50 - nodes // 125)) // 100, int(self.at_least))

    def look(self, order: Ints, feasible: Mask, start: int, among: Mask | None = None) -> tuple[Mask, int]:
        """bool[N] the nodes that are looked at, and where the next search starts.

        order    : int64[M]  see `node_order`
        feasible : bool[N]   the nodes that will do
        start    : place in `order` of the first that is looked at
        among    : bool[N]   the nodes that the pod's own names leave, None if all
        """
        places = order if among is None else order[among[order]]
        turned = np.roll(places, -(start % max(len(places), 1)))
        will_do = np.cumsum(feasible[turned])
        enough = np.flatnonzero(will_do == self.wanted(len(places)))
        count = int(enough[0]) + 1 if len(enough) else len(turned)
        looked_at = np.zeros(len(feasible), dtype=np.bool_)
        looked_at[turned[:count]] = True
        return looked_at, (start + count) % max(len(order), 1)


def node_order(nodes: NodeColumns) -> Ints:
    """int64[M]: the rows of the nodes that are there, from each zone in turn; zones by first appearance.

    A zone is a pair of region and zone; nodes without either are one of their own.
    """
    rows = np.flatnonzero(nodes.alive)
    numbers: dict[tuple[str, str], int] = {}
    keys = list(zip(_values(nodes, _REGION), _values(nodes, _ZONE), strict=True))
    zone = np.array([numbers.setdefault(keys[row], len(numbers)) for row in rows.tolist()])
    place = np.zeros(len(rows), dtype=np.int64)
    for number in range(len(numbers)):
        mine = zone == number
        place[mine] = np.arange(mine.sum())
    return np.asarray(rows[np.lexsort((zone, place))] if len(rows) else rows, dtype=np.int64)


def _values(nodes: NodeColumns, keys: tuple[str, str]) -> list[str]:
    first, second = ((nodes.labels.get(key) or Codes.none(len(nodes))).to_array() for key in keys)
    return [(other if own is None else own) or "" for own, other in zip(first, second, strict=True)]
