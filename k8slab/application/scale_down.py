"""How cluster-autoscaler shrinks a cluster: which nodes nobody needs, and since when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.fits import Fits
from k8slab.application.node_provider import NodeProviderPort
from k8slab.application.running_pods import MOVES, STAYS, RunningPods
from k8slab.domain.cluster_autoscaler.deletion_budget import (
    AtomicGroup,
    DeletionBudget,
    Deletions,
    GroupNodes,
    crop_to_budget,
)
from k8slab.domain.cluster_autoscaler.scale_down import (
    UNNEEDED_NS,
    UNREADY_NS,
    UTILIZATION_THRESHOLD,
    GroupState,
    Unneeded,
)
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.ports import ClusterStatePort
from k8slab.domain.resources import CPU, GPU, MEMORY
from k8slab.policies.policy import Policy
from k8slab.policies.trying import without_node

Mask = npt.NDArray[np.bool_]
_NOT_READY, _UNKNOWN = (NODE_STATES.index(state) for state in (NodeState.NOT_READY, NodeState.UNKNOWN))
DISABLED_LABEL = "cluster-autoscaler.kubernetes.io/scale-down-disabled"


@dataclass(frozen=True)
class ScaleDownRules:
    """Flags of scaling down.

    remember_ns : a node that couldn't be emptied isn't tried again for so long
    """

    utilization_threshold: float = UTILIZATION_THRESHOLD
    unneeded_ns: int = UNNEEDED_NS
    unready_ns: int = UNREADY_NS
    unready_enabled: bool = True
    remember_ns: int = 300 * 10**9
    budget: DeletionBudget = field(default_factory=DeletionBudget)


class UnneededNodes(NamedTuple):
    """Nodes that could go, in the order in which they were tried. nodes, since_ns : int64[K]; ready : bool[K]"""

    nodes: Ints
    since_ns: Ints
    ready: Mask


_NOBODY = UnneededNodes(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))


class ScaleDown:
    """Keeps in mind which nodes nobody needs. gone : gives bool[N], nodes that are being deleted"""

    def __init__(
        self,
        state: ClusterStatePort,
        provider: NodeProviderPort,
        fits: Fits,
        policy: Policy,
        running: RunningPods,
        budgets: DisruptionBudgets,
        rules: ScaleDownRules,
        gone: Callable[[], Mask],
    ) -> None:
        self._state = state
        self._provider = provider
        self._fits = fits
        self._policy = policy
        self._running = running
        self._budgets = budgets
        self._rules = rules
        self._gone = gone
        names = state.schema.names
        gpus = [row for row, name in enumerate(names) if name == GPU or name.endswith("/gpu")]
        self._gpu_rows = np.array(gpus, dtype=np.int64)
        self._shared_rows = np.array([names.index(name) for name in (CPU, MEMORY)], dtype=np.int64)
        own = [group.utilization_threshold for group in provider.groups]
        default = rules.utilization_threshold
        self._threshold = np.array([default if one is None else one for one in own] or [default])
        self._gpu = np.array([group.gpu for group in provider.groups], dtype=np.bool_)
        self._unneeded = _NOBODY
        self._remembered: dict[int, int] = {}

    # -- who is unneeded --------------------------------------------------------------------

    @property
    def unneeded(self) -> dict[int, Unneeded]:
        """Nodes that could go, by row: since when, and whether they are ready."""
        columns = zip(*(column.tolist() for column in self._unneeded), strict=True)
        return {node: Unneeded(since_ns, ready) for node, since_ns, ready in columns}

    def take(self, node: int) -> int:
        """An unneeded node goes: since when it was unneeded."""
        known = self._unneeded
        (place,) = np.flatnonzero(known.nodes == node).tolist()
        self._unneeded = UnneededNodes(
            np.delete(known.nodes, place), np.delete(known.since_ns, place), np.delete(known.ready, place)
        )
        return int(known.since_ns[place])

    def look(self, now_ns: int) -> None:
        """Find out which nodes could go now; those that could before stay unneeded since then."""
        if any(until <= now_ns for until in self._remembered.values()):
            self._remembered = {node: until for node, until in self._remembered.items() if until > now_ns}
        known = self._unneeded
        since_ns = np.full(self._state.node_count, NEVER)
        since_ns[known.nodes] = known.since_ns
        candidates = self._candidates(since_ns)
        could = self._could_go(candidates, now_ns) if len(candidates) else candidates
        ready = ~unready_nodes(self._state)[could]
        # Since when it is unready, or ready, counts anew.
        was_ready = np.zeros(self._state.node_count, dtype=np.bool_)
        was_ready[known.nodes] = known.ready
        goes_on = (since_ns[could] != NEVER) & (was_ready[could] == ready)
        self._unneeded = UnneededNodes(could, np.where(goes_on, since_ns[could], now_ns), ready)

    def tries_again_ns(self) -> int:
        """When a node that couldn't be emptied is tried again."""
        return min(self._remembered.values(), default=NEVER)

    def longest_unneeded(self, now_ns: int) -> bool:
        """Whether any node may have been unneeded for long enough."""
        rules, groups = self._rules, self._provider.groups
        spans = [rules.unneeded_ns, rules.unready_ns, *(g.unneeded_ns for g in groups), *(g.unready_ns for g in groups)]
        least = min(span for span in spans if span is not None)
        return bool((self._unneeded.since_ns + least < now_ns).any())

    def utilization(self, node: int) -> float:
        """The larger share of cpu and memory that is requested, of a GPU node that of GPUs; else NaN."""
        is_gpu = bool(self._gpu[self._provider.group_of()[node]]) and len(self._gpu_rows) > 0
        rows = self._gpu_rows if is_gpu else self._shared_rows
        has, holds = self._state.allocatable[rows, node], self._state.requested[rows, node]
        shares = np.full(len(rows), 0.0 if is_gpu else np.nan)
        np.divide(holds, has, out=shares, where=has > 0)
        return float(shares.max())

    def _candidates(self, since_ns: Ints) -> Ints:
        """int64[]: nodes that are worth trying: first those that were unneeded, then by row. since_ns : int64[N]"""
        from k8slab.kernels.scale_down import Eligibility, worth_trying

        state, of, out = self._state, self._provider.group_of(), self._out()
        found = np.empty(state.node_count, dtype=np.int64)
        rules = Eligibility(
            _NOT_READY, _UNKNOWN, self._rules.unready_enabled, self._threshold, self._shared_rows, self._gpu,
            self._gpu_rows,
        )  # fmt: skip
        count = worth_trying(
            state.node_alive, state.node_state, of, out, state.allocatable, state.requested, rules, found
        )
        rows = found[:count]
        return np.asarray(rows[np.argsort(since_ns[rows], kind="stable")])

    def _out(self) -> Mask:
        """bool[N]: nodes that aren't worth trying, whatever runs there."""
        out = self._gone()
        if self._remembered:
            out[list(self._remembered)] = True
        disabled = self._state.node_label(DISABLED_LABEL)
        return out if disabled is None else np.asarray(out | disabled.equals("true"))

    def idle_at_most(self) -> tuple[npt.NDArray[np.float64], Ints] | None:
        """float64[N]: how much of the larger share of some resources, int64[.], may be requested of a node that comes
        to be worth trying, -1 where that doesn't matter; None if some node is unneeded already, or holds GPUs."""
        if len(self._unneeded.nodes) or self._gpu.any():
            return None
        of = self._provider.group_of()
        return np.where((of < 0) | self._out(), -1.0, self._threshold[of]), self._shared_rows

    def _could_go(self, candidates: Ints, now_ns: int) -> Ints:
        """Those whose pods could all run elsewhere, one after another; the others aren't tried again for a while."""
        state, running = self._state, self._running
        chosen = np.zeros(state.node_count, dtype=np.bool_)
        chosen[candidates] = True
        rows = running.rows()
        rows = rows[chosen[state.pod_node[rows]]]
        kinds = running.kinds(rows)
        nodes = state.pod_node[rows].astype(np.int64)
        blocked = self._blocked(nodes, kinds, rows, now_ns)
        free = candidates[~np.isin(candidates, blocked)] if len(blocked) else candidates
        moving = kinds == MOVES
        stuck = self._try(free, rows[moving], nodes[moving]) >= 0
        until_ns = now_ns + self._rules.remember_ns
        self._remembered.update(dict.fromkeys([*blocked.tolist(), *free[stuck].tolist()], until_ns))
        return np.asarray(free[~stuck])

    def _blocked(self, nodes: Ints, kinds: npt.NDArray[np.int8], rows: Ints, now_ns: int) -> Ints:
        """int64[]: nodes with a pod that may not move, or whose budget lets none go now."""
        found = [nodes[kinds > STAYS]]
        for number in range(len(self._budgets.budgets)):
            mine = np.isin(rows, self._budgets.members(number)) & (kinds == MOVES)
            if mine.any() and self._budgets.status(number, now_ns).disruptions_allowed < 1:
                found.append(nodes[mine])
        return np.unique(np.concatenate(found))

    def _try(self, candidates: Ints, rows: Ints, nodes: Ints) -> Ints:
        """int64[K]: below 0 for a node whose pods all fit elsewhere."""
        fits, state = self._fits, self._state
        classes = fits.class_of(rows)
        if len(rows) and (self._policy.scores or fits.relational[classes].any()):
            return self._try_by_policy(candidates, rows, nodes)
        from k8slab.kernels.refit import empty_in_turn, link

        # Numbered among those that are there, or may move: columns over all that ever were would be long.
        there = np.flatnonzero(state.node_alive)
        place = np.full(state.node_count, -1, dtype=np.int64)
        place[there] = np.arange(len(there))
        head = np.full(len(there), -1, dtype=np.int64)
        last, following = head.copy(), np.full(len(rows), -1, dtype=np.int64)
        link(np.arange(len(rows)), place[nodes], head, last, following)
        room = np.ascontiguousarray((state.allocatable[:, there] - state.requested[:, there]).T)
        is_open = (fits.is_open() & ~self._gone())[there]
        stuck, target = np.empty(len(candidates), dtype=np.int64), np.full(len(rows), -1, dtype=np.int64)
        empty_in_turn(
            place[candidates], head, last, following, classes, fits.request, fits.on_node(), there, room, is_open,
            target, stuck,
        )  # fmt: skip
        return stuck

    def _try_by_policy(self, candidates: Ints, rows: Ints, nodes: Ints) -> Ints:
        """The same plug-in by plug-in, each node by itself on those that are left."""
        state = self._state
        gone = self._gone().copy()
        stuck = np.full(len(candidates), -1, dtype=np.int64)
        for place, node in enumerate(candidates.tolist()):
            mine = rows[nodes == node]
            if len(mine):
                columns = without_node(state.node_columns(), node, gone)
                found = self._policy.place(columns, state.pod_columns(mine)).node_rows
                stuck[place] = mine[np.argmin(found)] if (found < 0).any() else -1
            gone[node] |= stuck[place] < 0
        return stuck

    # -- who may go now ---------------------------------------------------------------------

    def due(self, now_ns: int, sizes: Ints, ongoing: Ints, in_progress: tuple[int, int]) -> Deletions:
        """What goes now, within group minima and the budget. sizes, ongoing : int64[G]; in_progress : empty, drained"""
        empty, drain = self._ready_to_go(now_ns, sizes, ongoing)
        atomic = {
            group.name: AtomicGroup(int(sizes[number]), int(sizes[number] - self._provider.upcoming()[number]))
            for number, group in enumerate(self._provider.groups)
            if group.all_or_nothing
        }
        return crop_to_budget(self._rules.budget, empty, drain, atomic, *in_progress)

    def _ready_to_go(self, now_ns: int, sizes: Ints, ongoing: Ints) -> tuple[list[GroupNodes], list[GroupNodes]]:
        """By group, those without pods and those with: the domain's `removable` for all at once."""
        nodes, since_ns, ready = self._unneeded
        of, groups = self._provider.group_of()[nodes], self._provider.groups
        states = [self._group_state(number, sizes, ongoing) for number in range(len(groups))]
        spans = np.array([[one.unready_ns, one.unneeded_ns] for one in states], dtype=np.int64)
        long_enough = since_ns + spans[of, ready.astype(np.int64)] < now_ns
        left = [one.target_size - one.ongoing_deletions - one.min_size for one in states]
        full = self._full_nodes()[nodes]
        parts: list[list[GroupNodes]] = []
        for wanted in (False, True):
            mine = np.flatnonzero(long_enough & (full == wanted))
            found: list[GroupNodes] = []
            for number in dict.fromkeys(of[mine].tolist()):
                rows = nodes[mine[of[mine] == number]][: max(left[number], 0)]
                left[number] -= len(rows)
                if len(rows):
                    found.append(GroupNodes(groups[number].name, tuple(map(str, rows.tolist()))))
            parts.append(found)
        return parts[0], parts[1]

    def _full_nodes(self) -> Mask:
        """bool[N]: nodes with pods that would have to move."""
        rows = self._running.rows()
        moving = rows[self._running.kinds(rows) != STAYS]
        full = np.zeros(self._state.node_count, dtype=np.bool_)
        full[self._state.pod_node[moving]] = True
        return full

    def _group_state(self, number: int, sizes: Ints, ongoing: Ints) -> GroupState:
        group, rules = self._provider.groups[number], self._rules
        return GroupState(
            int(sizes[number]),
            group.min_size,
            int(ongoing[number]),
            rules.unneeded_ns if group.unneeded_ns is None else group.unneeded_ns,
            rules.unready_ns if group.unready_ns is None else group.unready_ns,
        )


def unready_nodes(state: ClusterStatePort) -> Mask:
    """bool[N]: not ready, or unknown; a cordoned node isn't one of them."""
    return np.asarray((state.node_state == _NOT_READY) | (state.node_state == _UNKNOWN))
