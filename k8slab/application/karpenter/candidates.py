"""Which nodes Karpenter may disrupt now, and why it may not the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.fits import Fits
from k8slab.application.karpenter.pods import BLOCKED_BY, DisruptedPods
from k8slab.application.karpenter.pools import WHEN_EMPTY, Offerings, Pool
from k8slab.application.node_provider import NodeProviderPort
from k8slab.application.running_pods import MOVES, STAYS
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.karpenter.budgets import ActiveBudget, NodeBudget, allowed_for
from k8slab.domain.moving import DO_NOT_DISRUPT
from k8slab.domain.ports import Change, ClusterStatePort

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
# A pod that came or went counts for consolidate_after.
_POD_EVENTS = ("BOUND", "UNBOUND", "FINISHED", "POD_REMOVED")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Nodes that may be disrupted now.

    rows   : int64[N]     pool : int64[N]     price : float64[N] an hour     cost : float64[N] of the disruption
    empty  : bool[N]      nobody would have to move
    movers : int64[P]     pods that would, of these nodes     home : int64[P]  their node, as an index into rows
    """

    rows: Ints
    pool: Ints
    price: Floats
    cost: Floats
    empty: Mask
    movers: Ints
    home: Ints

    def take(self, places: Ints) -> Candidates:
        """Some of them, in this order."""
        to = np.full(len(self.rows), -1, dtype=np.int64)
        to[places] = np.arange(len(places))
        kept = to[self.home] >= 0
        return Candidates(
            self.rows[places], self.pool[places], self.price[places], self.cost[places], self.empty[places],
            self.movers[kept], to[self.home[kept]],
        )  # fmt: skip


class CandidateFinder:
    """Looks at nodes and what happened on them.

    marked : gives bool[N], nodes that are on their way out
    utc    : gives the date of a time in ns, for budgets with a schedule
    """

    def __init__(
        self,
        state: ClusterStatePort,
        provider: NodeProviderPort,
        pods: DisruptedPods,
        budgets: DisruptionBudgets,
        fits: Fits,
        pools: Sequence[Pool],
        offerings: Offerings,
        marked: Callable[[], Mask],
        starts: datetime,
    ) -> None:
        self._state = state
        self._provider = provider
        self._pods = pods
        self._budgets = budgets
        self._fits = fits
        self._pools = pools
        self._offerings = offerings
        self._marked = marked
        self._starts = starts
        self._touched: Ints = np.zeros(state.node_count, dtype=np.int64)
        self._nominated: Ints = self._touched.copy()
        self._joined: Ints = self._touched.copy()
        self._activity: dict[NodeBudget, tuple[bool, int]] = {}
        self._after = np.array([pool.consolidate_after_ns for pool in pools], dtype=np.int64)
        # Names of nodes that are left alone, and why, as found the last time.
        self.blocked: dict[int, str] = {}
        self.changes_ns = NEVER

    def heed(self, changes: Sequence[Change]) -> None:
        """Take note of when pods came and went, and nodes joined."""
        self._grow()
        for change in changes:
            if change.verb == "NODE_ADDED":
                self._touched[change.node_rows] = self._joined[change.node_rows] = change.time_ns
            elif change.verb in _POD_EVENTS:
                rows, nodes = change.pod_rows, change.node_rows
                there = (nodes >= 0) & (self._pods.owned_kinds(rows) != STAYS)
                self._touched[nodes[there]] = change.time_ns

    def nominate(self, node_rows: Ints, until_ns: int) -> None:
        """Pods were planned to go to these nodes: they are left alone for a while."""
        self._grow()
        self._nominated[node_rows] = until_ns

    def _grow(self) -> None:
        more = self._state.node_count - len(self._touched)
        if more:
            none: Ints = np.zeros(more, dtype=np.int64)
            self._touched = np.concatenate([self._touched, none])
            self._nominated = np.concatenate([self._nominated, none])
            self._joined = np.concatenate([self._joined, none])

    # -- candidates -----------------------------------------------------------------------------

    def pool_of(self) -> Ints:
        """int64[N]: each node's pool, -1 for those of nobody."""
        of = self._provider.group_of()
        return np.where(of >= 0, self._offerings.pool[of], -1)

    def find(self, now_ns: int) -> Candidates:
        """All of them, by row; fills `blocked` and `changes_ns`, when that may become otherwise by time alone."""
        self._grow()
        state, of = self._state, self._provider.group_of()
        pool = self.pool_of()
        able = self._fits.is_open() & (pool >= 0) & ~self._marked()
        self.blocked = {}
        alone = state.node_columns().labels.get(DO_NOT_DISRUPT)
        if alone is not None:
            self._block(able, np.flatnonzero(able & alone.equals("true")), f"node has {DO_NOT_DISRUPT}")
        later = self._not_yet(able, pool, now_ns)
        self.changes_ns = int(later[later > now_ns].min(initial=NEVER))
        able &= later <= now_ns
        rows = self._pods.rows()
        rows = rows[able[state.pod_node[rows]]]
        kinds = self._pods.kinds(rows)
        self._block_by_pods(able, rows, kinds, now_ns)
        return self._made(np.flatnonzero(able), rows[kinds == MOVES], pool, of)

    def _not_yet(self, able: Mask, pool: Ints, now_ns: int) -> Ints:
        """int64[N]: when each of these may be disrupted at the earliest, 0 for all others."""
        after = self._after[pool]
        quiet = np.where(after == NEVER, NEVER, self._touched + np.minimum(after, NEVER - self._touched))
        return np.where(able, np.maximum(quiet, self._nominated), 0)

    def _block(self, able: Mask, nodes: Ints, why: str) -> None:
        for node in nodes.tolist():
            if able[node]:
                self.blocked[node] = why
                able[node] = False

    def _block_by_pods(self, able: Mask, rows: Ints, kinds: npt.NDArray[np.int8], now_ns: int) -> None:
        state = self._state
        nodes = state.pod_node[rows].astype(np.int64)
        for place in np.flatnonzero(kinds > STAYS).tolist():
            why = f"{BLOCKED_BY[int(kinds[place])]}: {state.pod_name(int(rows[place]))}"
            self._block(able, nodes[place : place + 1], why)
        for number, budget in enumerate(self._budgets.budgets):
            mine = np.isin(rows, self._budgets.members(number)) & (kinds == MOVES)
            if mine.any() and self._budgets.status(number, now_ns).disruptions_allowed < 1:
                self._block(able, np.unique(nodes[mine]), f"pdb {budget.name} prevents pod evictions")

    def _made(self, nodes: Ints, movers: Ints, pool: Ints, of: npt.NDArray[np.int32]) -> Candidates:
        state = self._state
        place = np.full(state.node_count, -1, dtype=np.int64)
        place[nodes] = np.arange(len(nodes))
        home = place[state.pod_node[movers]]
        movers, home = movers[home >= 0], home[home >= 0]
        pods = np.bincount(home, minlength=len(nodes))
        costs = np.bincount(home, weights=self._pods.eviction_costs(movers), minlength=len(nodes))
        cost = 1.0 + costs.astype(np.float64)
        return Candidates(nodes, pool[nodes], self._offerings.price[of[nodes]], cost, pods == 0, movers, home)

    def older_than(self, spans_ns: Ints, now_ns: int) -> Candidates:
        """Nodes older than their pool's span, and not on their way out yet; with all pods that they hold."""
        state, of, pool = self._state, self._provider.group_of(), self.pool_of()
        spans = np.where(pool >= 0, spans_ns[pool], NEVER)
        self._grow()
        old = state.node_alive & (pool >= 0) & ~self._marked() & (now_ns - self._joined >= spans)
        rows = self._pods.rows()
        rows = rows[old[state.pod_node[rows]]]
        return self._made(np.flatnonzero(old), rows[self._pods.kinds(rows) == MOVES], pool, of)

    def consolidatable(self, found: Candidates) -> Ints:
        """int64[]: places of those whose pool lets nodes with pods go."""
        allowed = np.array([pool.consolidation != WHEN_EMPTY for pool in self._pools], dtype=np.bool_)
        return np.flatnonzero(~found.empty & allowed[found.pool])

    def pool_totals(self, number: int) -> tuple[float, float]:
        """What a pool's nodes cost an hour, and what disrupting all of them would."""
        state, of = self._state, self._provider.group_of()
        nodes = np.flatnonzero(state.node_alive & (self.pool_of() == number))
        rows = self._pods.rows()
        rows = rows[np.isin(state.pod_node[rows], nodes)]
        rows = rows[self._pods.kinds(rows) == MOVES]
        return (
            float(self._offerings.price[of[nodes]].sum()),
            float(len(nodes) + self._pods.eviction_costs(rows).sum()),
        )

    # -- budgets ----------------------------------------------------------------------------------

    def allowed(self, reason: str, now_ns: int) -> dict[int, int]:
        """How many more nodes of each pool may be disrupted for this reason now; lowers `changes_ns`."""
        state, pool, marked = self._state, self.pool_of(), self._marked()
        there = state.node_alive & (pool >= 0)
        busy = there & (marked | ~self._fits.is_open())
        nodes = np.bincount(pool[there], minlength=len(self._pools)).tolist()
        disrupted = np.bincount(pool[busy], minlength=len(self._pools)).tolist()
        return {
            number: max(0, allowed_for(reason, self._active(one, now_ns), nodes[number]) - disrupted[number])
            for number, one in enumerate(self._pools)
        }

    def _active(self, pool: Pool, now_ns: int) -> list[ActiveBudget]:
        found = []
        for budget in pool.budgets:
            active, until_ns = self._activity.get(budget, (False, 0))
            if until_ns <= now_ns:
                active, until = budget.active_until(self._starts + timedelta(microseconds=now_ns // 1000))
                until_ns = NEVER if until is None else (until - self._starts) // timedelta(microseconds=1) * 1000
                self._activity[budget] = (active, until_ns)
            self.changes_ns = min(self.changes_ns, until_ns)
            found.append(ActiveBudget(budget, active))
        return found
