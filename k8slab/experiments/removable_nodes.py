"""Which nodes could go now: of every node at once, where each of its pods would move, or what holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from k8slab.analysis.frames import percent_column
from k8slab.application.fits import Fits
from k8slab.application.running_pods import BLOCKERS, LOCAL, MOVES, STAYS, RunningPods
from k8slab.domain.columns import Ints
from k8slab.domain.resources import PODS
from k8slab.domain.selectors import selector_mask
from k8slab.errors import InputError
from k8slab.experiments.progress import in_notebook, progress_bar
from k8slab.policies import Policy, as_policy
from k8slab.policies.trying import filters_only, without_node

if TYPE_CHECKING:
    from k8slab.datasets import Cluster
    from k8slab.domain.ports import ClusterStatePort

Mask = npt.NDArray[np.bool_]
# What holds a node, in the words of the frame.
POD, BUDGET, AFFINITY, STORAGE, ROOM, EMPTY = "pod", "budget", "affinity", "local storage", "room", ""
_SHOWN: Final = 20


def removable_nodes(
    source: Any,
    policy: str | Policy = "kube-default",
    *,
    bare_pods_move: bool = False,
    scoring: bool = False,
    progress: bool = True,
) -> RemovableNodes:
    """What if a node went, for each node by itself, the others as they are?

    source         : a Cluster with its bound pods, a Placement, or a ClusterState
    policy         : whose filters say where a pod may go
    bare_pods_move : pods that nobody would make anew move too; else they hold their node
    scoring        : pods go where the policy would put them, not to the first node that fits

    Pods of daemon sets and static pods go with their node. The pods of one node are moved one after another in the
    order they were bound, and go to no node that isn't ready. Budgets are those of the source's objects. Raises
    InputError for a source without pods.
    """
    state = _state_of(source)
    chosen = filters_only(as_policy(policy), scoring=scoring)
    asking = _Asking(state, chosen, bare_block=not bare_pods_move)
    with progress_bar("nodes that could go", state.node_count, show=progress and not in_notebook()) as bar:
        return asking.answer(bar.advance)


@dataclass(frozen=True, eq=False)
class RemovableNodes:
    """The answer, node by node.

    frame : one row a node; see the frame `removable_nodes`
    moves : one row a pod of the nodes that could go, and where it would; see the frame `removable_nodes.moves`
    """

    frame: pd.DataFrame
    moves: pd.DataFrame

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a kind of hold-up: nodes, most first; "" for those that could go."""
        counts = self.frame["held_by"].value_counts()
        return pd.DataFrame({"held_by": counts.index.to_numpy(dtype=object), "nodes": counts.to_numpy(np.int64)})

    def __repr__(self) -> str:
        return f"<RemovableNodes: {int(self.frame['removable'].sum()):,} of {len(self.frame):,} nodes could go now>"

    def _repr_html_(self) -> str:
        could = int(self.frame["removable"].sum())
        held = [(str(kind), int(nodes)) for kind, nodes in self.summary.itertuples(index=False) if kind]
        told = ", ".join(f"{escape(kind)} {nodes:,}" for kind, nodes in held)
        shown = self.frame.head(_SHOWN).to_html(index=False, float_format=lambda value: f"{value:.1f}")
        rest = f"<p>... and {len(self.frame) - _SHOWN:,} more</p>" if len(self.frame) > _SHOWN else ""
        return (
            f"<p><b>{could:,} of {len(self.frame):,} nodes could go now</b>, each by itself"
            f"{'; held by: ' + told if told else ''}.</p>{shown}{rest}"
        )


def _state_of(source: Any) -> ClusterStatePort:
    from k8slab.datasets import Cluster as ClusterType
    from k8slab.experiments.placement import Placement
    from k8slab.state import ClusterState

    if isinstance(source, ClusterState):
        return source
    if isinstance(source, Placement):
        return source.state()
    if isinstance(source, ClusterType):
        cluster: Cluster = source
        if cluster.bound is None:
            raise InputError("the cluster has no bound pods, so all of its nodes could go; wanted one that runs some")
        return cluster.new_state()
    raise InputError(f"a {type(source).__name__}; wanted a Cluster, a Placement or a ClusterState")


class _Asking:
    """All that is worked out once, and the nodes' answers."""

    def __init__(self, state: ClusterStatePort, policy: Policy, *, bare_block: bool) -> None:
        self._state = state
        self._policy = policy
        none = np.full(state.node_count, -1, dtype=np.int32)
        self._fits = Fits(policy, state, [], lambda: none)
        self._budget_of = self._budgets()
        self._running = RunningPods(
            state, lambda rows: np.zeros(len(rows), dtype=np.bool_), bare_block=bare_block,
            protected=lambda rows: self._budget_of[rows] >= 0,
        )  # fmt: skip
        rows = self._running.rows()
        self._rows = rows[np.argsort(state.pod_node[rows], kind="stable")]
        self._nodes = state.pod_node[self._rows].astype(np.int64)
        self._kinds = self._running.kinds(self._rows)

    def _budgets(self) -> npt.NDArray[np.int32]:
        """int32[P]: a budget of each pod, the one that allows least where there are several; -1 for none."""
        state = self._state
        found = np.full(state.pod_count, -1, dtype=np.int32)
        budgets = state.objects.budgets
        if not budgets:
            return found
        rows = np.flatnonzero(state.pod_alive)
        pods = state.pod_columns(rows)
        for number in sorted(range(len(budgets)), key=lambda k: -budgets[k].allowed):
            budget = budgets[number]
            if budget.selector:
                mine = selector_mask(budget.selector, pods.labels, len(rows)) & pods.namespaces.equals(budget.namespace)
                found[rows[mine]] = number
        return found

    def answer(self, report: Callable[[int], None]) -> RemovableNodes:
        """Ask of every node that is there."""
        nodes = np.flatnonzero(self._state.node_alive)
        held_by, why, blocking = self._holds(nodes)
        target, stuck = self._tried(nodes, report)
        for place in np.flatnonzero(stuck >= 0).tolist():
            if not held_by[place]:
                held_by[place], why[place] = self._lack(int(stuck[place]), int(nodes[place]))
                blocking[place] = int(self._rows[stuck[place]])
        return RemovableNodes(self._frame(nodes, held_by, why, blocking), self._moves(nodes, held_by, target))

    # -- what holds a node whatever room there is ------------------------------------------

    def _holds(self, nodes: Ints) -> tuple[list[str], list[str], list[int]]:
        place_of = np.full(self._state.node_count, -1, dtype=np.int64)
        place_of[nodes] = np.arange(len(nodes))
        held_by, why, blocking = [EMPTY] * len(nodes), [""] * len(nodes), [-1] * len(nodes)
        budgets = self._state.objects.budgets
        allowed = np.array([budget.allowed for budget in budgets] + [1])
        of = self._budget_of[self._rows]
        spent = (allowed[of] < 1) & (self._kinds == MOVES)
        for k in np.flatnonzero((self._kinds > STAYS) | spent).tolist():
            place = int(place_of[self._nodes[k]])
            if held_by[place]:
                continue
            kind = int(self._kinds[k])
            blocking[place] = int(self._rows[k])
            if kind > STAYS:
                held_by[place], why[place] = (STORAGE if kind == LOCAL else POD), BLOCKERS[kind]
            else:
                budget = budgets[int(of[k])]
                held_by[place] = BUDGET
                why[place] = f"budget {budget.namespace}/{budget.name} allows no disruption"
        return held_by, why, blocking

    # -- where the pods would go -------------------------------------------------------------

    def _tried(self, nodes: Ints, report: Callable[[int], None]) -> tuple[Ints, Ints]:
        """Where each pod would go, and which of each node's fits nowhere (an index into rows); -1 for none."""
        from k8slab.kernels.refit import empty_each, link

        state, fits = self._state, self._fits
        movers = np.flatnonzero(self._kinds == MOVES)
        classes = fits.class_of(self._rows)
        head = np.full(state.node_count, -1, dtype=np.int64)
        last, following = head.copy(), np.full(len(self._rows), -1, dtype=np.int64)
        link(movers, self._nodes[movers], head, last, following)
        free = np.ascontiguousarray((state.allocatable - state.requested).T)
        target, stuck = np.full(len(self._rows), -1, dtype=np.int64), np.full(len(nodes), -1, dtype=np.int64)
        compared = bool(self._policy.scores)
        relational = fits.relational[classes[movers]] | compared
        slow = np.unique(self._nodes[movers][relational])
        quick = ~np.isin(nodes, slow)
        for first in range(0, len(nodes), 256):
            part = np.arange(first, min(first + 256, len(nodes)))
            mine = part[quick[part]]
            failed = np.empty(len(mine), dtype=np.int64)
            empty_each(
                nodes[mine], head, following, classes, fits.request, fits.on_node(), free, fits.is_open(), target,
                failed,
            )  # fmt: skip
            stuck[mine] = failed
            for place in part[~quick[part]].tolist():
                stuck[place] = self._tried_by_policy(int(nodes[place]), movers, target)
            report(len(part))
        return target, stuck

    def _tried_by_policy(self, node: int, movers: Ints, target: Ints) -> int:
        """The same plug-in by plug-in, for pods that look at other pods."""
        mine = movers[self._nodes[movers] == node]
        none = np.zeros(self._state.node_count, dtype=np.bool_)
        columns = without_node(self._state.node_columns(), node, none)
        found = self._policy.place(columns, self._state.pod_columns(self._rows[mine])).node_rows
        if (found < 0).any():
            return int(mine[np.argmin(found)])
        target[mine] = found
        return -1

    def _lack(self, place: int, node: int) -> tuple[str, str]:
        """What the pod that fits nowhere would need: no other node may have it, or none has the room."""
        state, fits = self._state, self._fits
        pod_class = int(fits.class_of(self._rows[place : place + 1])[0])
        others = fits.is_open() & fits.on_node()[pod_class]
        others[node] = False
        if not others.any():
            return AFFINITY, "no other node that its tolerations, selectors and affinity allow"
        request = fits.request[pod_class]
        asks = request > 0
        free = (state.allocatable - state.requested)[:, others]
        fitting = free >= request[:, None]
        if fitting[asks].all(axis=0).any():
            if fits.relational[pod_class]:
                return AFFINITY, "the rules about other pods leave no other node"
            return ROOM, "the room is taken by other pods of this node"
        for row, name in enumerate(state.schema.names):
            if asks[row] and not fitting[row].any():
                return ROOM, f"no other node has enough {name}"
        return ROOM, "no other node has enough of everything"

    # -- frames --------------------------------------------------------------------------------

    def _frame(self, nodes: Ints, held_by: list[str], why: list[str], blocking: list[int]) -> pd.DataFrame:
        state = self._state
        moving = np.bincount(self._nodes[self._kinds != STAYS], minlength=state.node_count)[nodes]
        frame: dict[str, Any] = {
            "node": _texts(state.node_name(int(node)) for node in nodes),
            "removable": np.array([not held for held in held_by], dtype=np.bool_),
            "pods": moving.astype(np.int64),
            "held_by": _texts(held_by),
            "reason": _texts(why),
            "pod": _texts(None if row < 0 else state.pod_name(row) for row in blocking),
        }
        for resource in state.schema.names:
            if resource != PODS:
                row = state.schema.index(resource)
                has, holds = state.allocatable[row, nodes], state.requested[row, nodes]
                share = np.full(len(nodes), np.nan)
                np.divide(100.0 * holds, has, out=share, where=has > 0)
                frame[percent_column(resource, "requested")] = share
        return pd.DataFrame(frame)

    def _moves(self, nodes: Ints, held_by: list[str], target: Ints) -> pd.DataFrame:
        state = self._state
        could = np.zeros(state.node_count, dtype=np.bool_)
        could[nodes] = np.array([not held for held in held_by], dtype=np.bool_)
        moved = np.flatnonzero(could[self._nodes] & (self._kinds == MOVES) & (target >= 0))
        names = state.node_names.to_array()
        return pd.DataFrame(
            {
                "node": names[self._nodes[moved]],
                "pod": _texts(state.pod_name(int(row)) for row in self._rows[moved]),
                "target": names[target[moved]],
            }
        )


def _texts(values: Any) -> npt.NDArray[np.object_]:
    listed = list(values)
    out = np.empty(len(listed), dtype=object)
    out[:] = listed
    return out
