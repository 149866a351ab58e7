"""What plug-ins are given, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns, Tolerations
from k8slab.domain.pod_spec import PodSpec
from k8slab.domain.resources import ResourceSchema
from k8slab.policies.snapshot import Snapshot

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = slice | Ints

# Status codes of a node, as kube-scheduler names them: preemption might help, or can't.
SUCCESS, UNSCHEDULABLE, UNRESOLVABLE = 0, 1, 2
STATUS: Final = ("Success", "Unschedulable", "UnschedulableAndUnresolvable")


@dataclass(frozen=True, eq=False)
class Decision:
    """One pod before nodes: what filters and scores look at.

    snapshot : the cluster as of this instant, and what is counted in it
    pod      : the pod's index in `pods`
    nodes    : the columns of the nodes that are asked about: all, or one of them
    rows     : which of the snapshot's nodes these are
    feasible : bool[N]  the nodes that no filter refused; filters see all True
    """

    snapshot: Snapshot
    pod: int
    nodes: NodeColumns
    rows: Rows = field(default_factory=lambda: slice(None))
    feasible: Mask = field(default_factory=lambda: np.ones(0, dtype=np.bool_))

    @classmethod
    def of(cls, nodes: NodeColumns, pods: PodColumns, pod: int) -> Decision:
        """One pod before all nodes, of which nothing is counted."""
        return cls.on(Snapshot(nodes, pods), pod)

    @classmethod
    def on(cls, snapshot: Snapshot, pod: int) -> Decision:
        """One pod before all nodes of a snapshot."""
        return cls(snapshot, pod, snapshot.nodes, feasible=np.ones(len(snapshot.nodes), dtype=np.bool_))

    def only(self, node_row: int) -> Decision:
        """The same pod before one of the nodes."""
        one = slice(node_row, node_row + 1)
        return replace(self, nodes=self.nodes.only(node_row), rows=one, feasible=self.feasible[one])

    def among(self, feasible: Mask) -> Decision:
        """The same pod before the same nodes, of which these are feasible."""
        return replace(self, feasible=feasible)

    def at(self, of_all: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Of an array [..., N] over all nodes what concerns these."""
        return of_all[..., self.rows]

    @property
    def pods(self) -> PodColumns:
        """The pods to schedule, of which this is one."""
        return self.snapshot.pods

    @property
    def spec(self) -> PodSpec:
        """What the pod says about where it may run."""
        return self.pods.spec(self.pod)

    @property
    def tolerations(self) -> Tolerations:
        """The pod's tolerations."""
        return self.pods.tolerations[self.pod] or ()

    @property
    def kin(self) -> int:
        """The pod's kin in the snapshot."""
        return int(self.snapshot.incoming.kin[self.pod])

    @property
    def request(self) -> Ints:
        """int64[R]: what the pod asks for."""
        return np.asarray(self.pods.requests[self.pod])

    @cached_property
    def used(self) -> Ints:
        """int64[R, N]: requested once the pod is there."""
        return self.nodes.requested + self.request[:, None]

    @property
    def held(self) -> Ints:
        """int64[R]: what the node's requested would grow by."""
        return self.snapshot.incoming.held(self.pod)

    @cached_property
    def held_used(self) -> Ints:
        """int64[R, N]: requested as it would stand with the pod."""
        return self.nodes.requested + self.held[:, None]

    @property
    def scored(self) -> Ints:
        """int64[R]: what the pod counts in NodeResourcesFit's score."""
        return self.snapshot.incoming.scored(self.pod)

    @cached_property
    def scored_used(self) -> Ints:
        """int64[R, N]: NonZeroRequested with what the pod counts in NodeResourcesFit's score."""
        return self.at(self.snapshot.nonzero) + self.scored[:, None]

    @cached_property
    def free(self) -> Ints:
        """int64[R, N]: what is free before the pod comes; never below 0."""
        return np.asarray(np.maximum(self.nodes.allocatable - self.nodes.requested, 0))

    @property
    def schema(self) -> ResourceSchema:
        """The resources of the rows."""
        return self.nodes.schema


@dataclass(frozen=True, eq=False)
class Refusal:
    """Why some nodes can't have the pod.

    nodes : bool[N]
    final : no pod's leaving could help, on all of these nodes or bool[N] on some
    """

    reason: str
    nodes: Mask
    final: bool | Mask = False


class Filter(Protocol):
    """Says which nodes can't have a pod, and why.

    It may also have `skips(decision) -> bool`: nothing to check for this pod, asked once
    before all nodes; `narrow(decision) -> Narrowing | None`, kube-scheduler's PreFilter; and
    `idle(snapshot) -> bool`: nothing to check for any of the pods.
    """

    @property
    def name(self) -> str: ...
    def refuse(self, decision: Decision) -> Sequence[Refusal]: ...


class Score(Protocol):
    """Says how good each feasible node is for a pod: the higher the better.

    It may also have `passes_over(decision) -> bool`: takes no part for this pod; and
    `idle(snapshot) -> bool`: scores all nodes alike for each of the pods.
    """

    @property
    def name(self) -> str: ...
    @property
    def highest(self) -> float: ...
    def raw(self, decision: Decision) -> Floats: ...
    def normalize(self, raw: Floats, decision: Decision) -> Floats: ...
    def arguments(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Narrowing:
    """What a PreFilter leaves of the nodes before any filter looks.

    names  : the names it leaves, known or not
    reason : "" or why there can be no node at all
    """

    names: tuple[str, ...]
    reason: str = ""


def asks(plugin: object, question: str, decision: Decision) -> Any:
    """A plug-in's answer to a question that it needn't have an answer to; None then."""
    method = getattr(plugin, question, None)
    return None if method is None else method(decision)


def scaled_to_100(raw: Floats, feasible: Mask, *, lowest_best: bool = False) -> Floats:
    """kube-scheduler's default normalisation: the highest feasible raw score becomes 100; 0 where the lowest is best.

    raw : float64[N] of whole numbers, 0 or more
    """
    most = float(raw[feasible].max(initial=0.0))
    if most == 0.0:
        return np.full(len(raw), 100.0) if lowest_best else raw
    scaled = np.trunc(100.0 * raw / most)
    return 100.0 - scaled if lowest_best else scaled
