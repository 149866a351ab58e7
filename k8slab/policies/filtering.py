"""Which nodes may have a pod: all filters in their order, nominated pods counted as kube-scheduler counts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from k8slab.policies.plugins.base import UNRESOLVABLE, UNSCHEDULABLE, Decision, Filter, Mask, Refusal, asks

Told = tuple[tuple[int, Refusal], ...]


@dataclass(frozen=True, eq=False)
class PreFilter:
    """What was decided before any filter looked at a node.

    plugin  : who narrowed the nodes
    names   : the names it left, known or not; () if it rejected the pod altogether
    reason  : "" or why there can be no node at all
    outside : bool[N]  the nodes that were never looked at
    """

    plugin: str
    names: tuple[str, ...]
    reason: str
    outside: Mask

    @property
    def told(self) -> str:
        """What the nodes outside are told."""
        return self.reason or f"node(s) didn't satisfy plugin(s) [{self.plugin}]"


@dataclass(frozen=True, eq=False)
class Filtering:
    """The verdict of all filters on all nodes.

    prefilter  : what was decided before them, None if nothing was
    refusals   : (index of the filter, Refusal) in the order in which they are told
    refused_by : int8[N]  index of the first filter that refused, -1 where none did
    code       : int8[N]  0 feasible, 1 Unschedulable, 2 UnschedulableAndUnresolvable
    active     : indices of the filters that had something to check
    """

    prefilter: PreFilter | None
    refusals: Told
    refused_by: npt.NDArray[np.int8]
    code: npt.NDArray[np.int8]
    active: tuple[int, ...]

    @property
    def feasible(self) -> Mask:
        """bool[N]"""
        return np.asarray(self.code == 0)

    @classmethod
    def of(cls, filters: Sequence[Filter], decision: Decision) -> Filtering:
        """Ask all filters about all nodes of the decision's snapshot."""
        nodes = decision.nodes
        # Asked once: what has nothing to check now can't be woken by nominated pods or by pods that leave.
        active = tuple(i for i, item in enumerate(filters) if not asks(item, "skips", decision))
        prefilter = _narrowed(filters, decision)
        refusals = refused(filters, active, decision)
        for node in decision.snapshot.nominating_nodes(decision.pod):
            refusals = _with_nominated(filters, active, decision, node, refusals)
        refused_by, code = _first(refusals, len(nodes))
        outside = ~nodes.alive if prefilter is None else prefilter.outside | ~nodes.alive
        refused_by[outside] = -1
        code[outside] = UNRESOLVABLE
        return cls(prefilter, refusals, refused_by, code, active)


def fit_message(available: int, nodes: int, told: Iterable[str]) -> str:
    """kube-scheduler's sentence about how many nodes would do, and what it tells of the others.

    >>> fit_message(0, 15, ["12 Too many pods", "3 Insufficient cpu"])
    '0/15 nodes are available: 12 Too many pods, 3 Insufficient cpu.'
    """
    reasons = ", ".join(told)
    return f"{available}/{nodes} nodes are available{': ' if reasons else ''}{reasons}."


def refused(filters: Sequence[Filter], active: Sequence[int], decision: Decision) -> Told:
    """What the filters say of the decision's nodes."""
    return tuple((index, refusal) for index in active for refusal in filters[index].refuse(decision))


def refused_one(filters: Sequence[Filter], active: Sequence[int], decision: Decision, node_row: int) -> Told:
    """What the filters say of one node, with the pods nominated to it and then without; () if it will do."""
    others = decision.snapshot.nominated_to(node_row, decision.pod)
    with decision.snapshot.trial(node_row) as trial:
        for other in others:
            trial.add(decision.snapshot.nominated, other)
        told = _one(filters, active, decision)
    return told or (_one(filters, active, decision) if others else ())


def _one(filters: Sequence[Filter], active: Sequence[int], decision: Decision) -> Told:
    decision = replace(decision)  # which remembers no sums of the node as it was before
    for index in active:
        told = tuple((index, refusal) for refusal in filters[index].refuse(decision) if refusal.nodes[0])
        if told:
            return told
    return ()


def _with_nominated(
    filters: Sequence[Filter], active: Sequence[int], decision: Decision, node_row: int, refusals: Told
) -> Told:
    """The refusals with what one node is told when the pods nominated to it are there."""
    told = refused_one(filters, active, decision.only(node_row), node_row)
    here = np.arange(len(decision.nodes)) == node_row
    elsewhere = tuple((index, replace(refusal, nodes=refusal.nodes & ~here)) for index, refusal in refusals)
    only_here = tuple((index, replace(refusal, nodes=here, final=_is_final(refusal))) for index, refusal in told)
    return (*elsewhere, *only_here)


def _is_final(refusal: Refusal) -> bool:
    return bool(np.asarray(refusal.final).any())


def _first(refusals: Told, count: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """The first filter that refused each node, and the worst code it gave."""
    refused_by, code = np.full(count, -1, dtype=np.int8), np.zeros(count, dtype=np.int8)
    for index, refusal in refusals:
        mine = refusal.nodes & ((refused_by < 0) | (refused_by == index))
        refused_by[mine] = index
        code[mine & (code == 0)] = UNSCHEDULABLE
        code[mine & np.asarray(refusal.final)] = UNRESOLVABLE
    return refused_by, code


def _narrowed(filters: Sequence[Filter], decision: Decision) -> PreFilter | None:
    for item in filters:
        narrowing = asks(item, "narrow", decision)
        if narrowing:
            left = set(narrowing.names)
            outside = np.array([name not in left for name in decision.nodes.names], dtype=np.bool_)
            return PreFilter(item.name, narrowing.names, narrowing.reason, outside)
    return None
