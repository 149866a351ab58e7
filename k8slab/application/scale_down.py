"""How cluster-autoscaler shrinks a cluster: which nodes nobody needs, and since when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.fits import Fits
from k8slab.application.node_provider import NodeProviderPort
from k8slab.application.running_pods import BLOCKERS, MOVES, STAYS, RunningPods
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
    Unremovable,
    removable,
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
        self._gpu_rows = [names.index(name) for name in names if name == GPU or name.endswith("/gpu")]
        own = [group.utilization_threshold for group in provider.groups]
        default = rules.utilization_threshold
        self._threshold = np.array([default if one is None else one for one in own] or [default])
        self._gpu = np.array([group.gpu for group in provider.groups], dtype=np.bool_)
        self.unneeded: dict[int, Unneeded] = {}
        self.reasons: dict[int, str] = {}
        self._remembered: dict[int, int] = {}

    # -- who is unneeded --------------------------------------------------------------------

    def look(self, now_ns: int) -> None:
        """Find out which nodes could go now; those that could before stay unneeded since then."""
        self._remembered = {node: until for node, until in self._remembered.items() if until > now_ns}
        self.reasons = {}
        candidates = self._candidates(now_ns)
        could = self._could_go(candidates, now_ns) if len(candidates) else candidates
        unready = unready_nodes(self._state)
        before = self.unneeded
        self.unneeded = {}
        for node in could.tolist():
            ready = not bool(unready[node])
            known = before.get(node)
            # Since when it is unready, or ready, counts anew.
            since = known.since_ns if known is not None and known.ready == ready else now_ns
            self.unneeded[node] = Unneeded(since, ready)

    def tries_again_ns(self) -> int:
        """When a node that couldn't be emptied is tried again."""
        return min(self._remembered.values(), default=NEVER)

    def longest_unneeded(self, now_ns: int) -> bool:
        """Whether any node may have been unneeded for long enough."""
        rules, groups = self._rules, self._provider.groups
        spans = [rules.unneeded_ns, rules.unready_ns, *(g.unneeded_ns for g in groups), *(g.unready_ns for g in groups)]
        least = min(span for span in spans if span is not None)
        return any(one.since_ns + least < now_ns for one in self.unneeded.values())

    def utilization(self) -> npt.NDArray[np.float64]:
        """float64[N]: the larger share of cpu and memory that is requested, of GPU nodes that of GPUs; else NaN."""
        state = self._state
        rows = [state.schema.index(name) for name in (CPU, MEMORY)]
        used = self._shares(rows).max(axis=0)
        of = self._provider.group_of()
        gpu = np.flatnonzero((of >= 0) & self._gpu[of]) if self._gpu.any() else np.zeros(0, dtype=np.int64)
        if len(gpu) and self._gpu_rows:
            shares = self._shares(self._gpu_rows)[:, gpu]
            used[gpu] = np.where(np.isnan(shares), 0.0, shares).max(axis=0)
        return np.asarray(used)

    def _shares(self, rows: list[int]) -> npt.NDArray[np.float64]:
        has, holds = self._state.allocatable[rows], self._state.requested[rows]
        shares = np.full(has.shape, np.nan)
        np.divide(holds, has, out=shares, where=has > 0)
        return shares

    def _candidates(self, now_ns: int) -> Ints:
        """int64[]: nodes that are worth trying: first those that were unneeded, then by row."""
        state, of = self._state, self._provider.group_of()
        able = state.node_alive & (of >= 0) & ~self._gone()
        disabled = state.node_columns().labels.get(DISABLED_LABEL)
        if disabled is not None:
            able &= ~disabled.equals("true")
        unready = unready_nodes(state)
        used = self.utilization()
        # NaN, where nothing is allocatable, is never within.
        within = used <= self._threshold[np.where(of >= 0, of, 0)]
        able &= (unready & self._rules.unready_enabled) | (~unready & within)
        if self._remembered:
            able[list(self._remembered)] = False
        rows = np.flatnonzero(able)
        was = np.array([self.unneeded[row].since_ns if row in self.unneeded else now_ns + 1 for row in rows.tolist()])
        return np.asarray(rows[np.argsort(was, kind="stable")]) if len(rows) else rows

    def _could_go(self, candidates: Ints, now_ns: int) -> Ints:
        """Those whose pods could all run elsewhere, one after another; the others aren't tried again for a while."""
        state, running = self._state, self._running
        chosen = np.zeros(state.node_count, dtype=np.bool_)
        chosen[candidates] = True
        rows = running.rows()
        rows = rows[chosen[state.pod_node[rows]]]
        kinds = running.kinds(rows)
        nodes = state.pod_node[rows].astype(np.int64)
        blocked = self._blocked(rows, nodes, kinds, now_ns)
        free = ~np.isin(candidates, list(blocked)) if blocked else np.ones(len(candidates), dtype=np.bool_)
        moving = kinds == MOVES
        stuck = self._try(candidates[free], rows[moving], nodes[moving])
        for node, pod in zip(candidates[free].tolist(), stuck.tolist(), strict=True):
            if pod >= 0:
                blocked[node] = f"NoPlaceToMovePods: {state.pod_name(pod)}"
        for node, reason in blocked.items():
            self.reasons[node] = reason
            self._remembered[node] = now_ns + self._rules.remember_ns
        return np.asarray(candidates[free][stuck < 0])

    def _blocked(self, rows: Ints, nodes: Ints, kinds: npt.NDArray[np.int8], now_ns: int) -> dict[int, str]:
        found: dict[int, str] = {}
        for place in np.flatnonzero(kinds > STAYS).tolist():
            pod = self._state.pod_name(int(rows[place]))
            found.setdefault(int(nodes[place]), f"{BLOCKERS[int(kinds[place])]}: {pod}")
        for number, budget in enumerate(self._budgets.budgets):
            mine = np.isin(rows, self._budgets.members(number)) & (kinds == MOVES)
            if mine.any() and self._budgets.status(number, now_ns).disruptions_allowed < 1:
                for node in np.unique(nodes[mine]).tolist():
                    found.setdefault(node, f"NotEnoughPdb: {budget.name}")
        return found

    def _try(self, candidates: Ints, rows: Ints, nodes: Ints) -> Ints:
        """int64[K]: -1 for a node whose pods all fit elsewhere, else the pod that doesn't."""
        fits, state = self._fits, self._state
        classes = fits.class_of(rows)
        if len(rows) and (self._policy.scores or fits.relational[classes].any()):
            return self._try_by_policy(candidates, rows, nodes)
        from k8slab.kernels.refit import empty_in_turn, link

        # Numbered among those that may move: a column over all pods that ever were would be long.
        count = len(rows)
        head = np.full(state.node_count, -1, dtype=np.int64)
        last, following = head.copy(), np.full(count, -1, dtype=np.int64)
        link(np.arange(count), nodes, head, last, following)
        is_open = fits.is_open() & ~self._gone()
        stuck, target = np.empty(len(candidates), dtype=np.int64), np.full(count, -1, dtype=np.int64)
        empty_in_turn(
            candidates, head, last, following, classes, fits.request, fits.on_node(), self._room(), is_open, target,
            stuck,
        )  # fmt: skip
        return np.where(stuck >= 0, np.append(rows, -1)[stuck], -1)

    def _room(self) -> Ints:
        return np.ascontiguousarray((self._state.allocatable - self._state.requested).T)

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
        of = self._provider.group_of()
        full = self._full_nodes()
        taken: dict[int, int] = {}
        parts: list[list[GroupNodes]] = []
        for wanted in (False, True):
            by_group: dict[int, list[str]] = {}
            for node, unneeded in self.unneeded.items():
                if bool(full[node]) is not wanted:
                    continue
                number = int(of[node])
                reason = removable(unneeded, self._group_state(number, sizes, ongoing), taken.get(number, 0), now_ns)
                if reason is Unremovable.NO_REASON:
                    taken[number] = taken.get(number, 0) + 1
                    by_group.setdefault(number, []).append(str(node))
                else:
                    self.reasons[node] = reason.value
            parts.append([GroupNodes(self._provider.groups[n].name, tuple(nodes)) for n, nodes in by_group.items()])
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
