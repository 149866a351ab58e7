"""The descheduler as a loop: now and then it evicts pods that would be better placed anew."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from k8slab.application.calendar import Rank, Ticks
from k8slab.application.evictor import Evictor
from k8slab.application.fits import Fits
from k8slab.application.running_pods import MOVES, RunningPods
from k8slab.domain.columns import Ints, PodColumns
from k8slab.domain.descheduling import (
    Movable,
    NodeUse,
    deviating,
    high_node_utilization,
    low_node_utilization,
    remove_duplicates,
    spread_evictions,
)
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.domain.selectors import selector_mask
from k8slab.policies.policy import Policy
from k8slab.policies.trying import filters_only

STRATEGIES: Final = (
    "LowNodeUtilization", "HighNodeUtilization", "RemoveDuplicates", "RemovePodsViolatingTopologySpreadConstraint",
)  # fmt: skip


# Of the priority classes system-cluster-critical and system-node-critical, and nothing below them.
SYSTEM_CRITICAL: Final = 2_000_000_000


@dataclass(frozen=True)
class Strategy:
    """One of STRATEGIES. thresholds, targets : per cent by resource row; deviation : from the mean of the nodes"""

    name: str
    resources: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = ()
    targets: tuple[float, ...] = ()
    number_of_nodes: int = 0
    deviation: bool = False


@dataclass(frozen=True)
class EvictionLimits:
    """How many pods a round may evict, of a node, of a namespace and in all; None for no limit."""

    per_node: int | None = None
    per_namespace: int | None = None
    total: int | None = None


@dataclass
class _Spent:
    nodes: Counter[int] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    total: int = 0


class Descheduler:
    """Runs its strategies every period. All that they choose goes by the eviction API and its budgets."""

    name = "descheduler"
    rank: int = Rank.HEALING
    heeds_pods = False

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        policy: Policy,
        evictor: Evictor,
        running: RunningPods,
        strategies: Sequence[Strategy],
        *,
        period_ns: int = 300 * SECOND_NS,
        limits: EvictionLimits | None = None,
    ) -> None:
        self._state = state
        self._sink = sink
        self._evictor = evictor
        self._running = running
        self._strategies = tuple(strategies)
        self._limits = limits if limits is not None else EvictionLimits()
        tries = filters_only(policy, scoring=False)
        self._fits = Fits(tries, state, [], lambda: np.full(state.node_count, -1, dtype=np.int32))
        self._ticks = Ticks(period_ns, period_ns)
        self._seen = state.version

    def next_ns(self, now_ns: int) -> int | None:
        return self._ticks.next_ns

    def run_once(self, now_ns: int) -> None:
        self._ticks.take(now_ns)
        changes = self._state.changes(self._seen)
        self._running.heed(changes)
        self._fits.heed(changes)
        self._seen = self._state.version
        spent = _Spent()
        for strategy in self._strategies:
            self._evict(strategy.name, self._chosen(strategy), spent, now_ns)

    # -- who should go ------------------------------------------------------------------

    def _chosen(self, strategy: Strategy) -> list[tuple[int, int]]:
        if strategy.name == "RemoveDuplicates":
            return remove_duplicates(self._alike(), int(self._fits.is_open().sum()))
        if strategy.name == "RemovePodsViolatingTopologySpreadConstraint":
            return self._unspread()
        nodes = self._uses(strategy.resources)
        low, high = strategy.thresholds, strategy.targets
        if strategy.deviation:
            lows, highs = deviating(nodes, low, high)
            low, high = tuple(lows), tuple(highs)
        if strategy.name == "LowNodeUtilization":
            return low_node_utilization(nodes, low, high, strategy.number_of_nodes)
        return high_node_utilization(nodes, low, strategy.number_of_nodes)

    def _movable(self) -> Ints:
        rows = self._running.rows()
        critical = self._state.pod_priority[rows] >= SYSTEM_CRITICAL
        return np.asarray(rows[(self._running.kinds(rows) == MOVES) & ~critical])

    def _uses(self, resources: tuple[int, ...]) -> list[NodeUse]:
        state, picked = self._state, list(resources)
        rows = self._movable()
        pods: dict[int, list[Movable]] = defaultdict(list)
        for row, node, priority in zip(
            rows.tolist(), state.pod_node[rows].tolist(), state.pod_priority[rows].tolist(), strict=True
        ):
            request = state.pod_request[row][picked]
            pods[node].append(Movable(row, tuple(request.tolist()), priority, int(request.any())))
        is_open = self._fits.is_open()
        return [
            NodeUse(
                node, tuple(state.requested[picked, node].tolist()), tuple(state.allocatable[picked, node].tolist()),
                pods[node], bool(is_open[node]),
            )
            for node in np.flatnonzero(state.node_alive).tolist()
        ]  # fmt: skip

    def _alike(self) -> dict[object, dict[int, list[int]]]:
        """Pods with the same owner and namespace, by node; a workload's pods have the same images."""
        state, rows = self._state, self._movable()
        columns = state.pod_columns(rows)
        groups: dict[object, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, (row, node, owner) in enumerate(
            zip(rows.tolist(), state.pod_node[rows].tolist(), state.pod_owner[rows].tolist(), strict=True)
        ):
            named = columns.spec(place).owner
            if owner >= 0 or named is not None:
                groups[(columns.namespaces[place], owner, named)][node].append(row)
        return groups

    def _unspread(self) -> list[tuple[int, int]]:
        """By each hard constraint that some pod has: those that must go to come within its skew."""
        state, rows = self._state, self._running.rows()
        columns, nodes = state.pod_columns(rows), state.node_columns()
        wanted = {
            (columns.namespaces[place] or "", one)
            for place in np.flatnonzero(columns.specs.codes >= 0).tolist()
            for one in columns.spec(place).spread
            if one.hard
        }
        movable = np.isin(rows, self._movable())
        found: dict[int, int] = {}
        for namespace, one in sorted(wanted, key=repr):
            domains = nodes.labels.get(one.topology_key)
            if domains is None:
                continue
            mine = selector_mask(one.selector, columns.labels, len(rows)) & columns.namespaces.equals(namespace)
            by_domain: dict[int, list[int]] = {
                int(code): [] for code in np.unique(domains.codes[self._fits.is_open()]) if code >= 0
            }
            for place in self._last_goes_first(np.flatnonzero(mine), movable, columns):
                code = int(domains.codes[state.pod_node[rows[place]]])
                if code >= 0:
                    by_domain.setdefault(code, []).append(place)
            for place in spread_evictions(list(by_domain.values()), one.max_skew):
                if movable[place] and self._fits_elsewhere(int(rows[place])):
                    found[int(rows[place])] = int(state.pod_node[rows[place]])
        return list(found.items())

    @staticmethod
    def _last_goes_first(places: Ints, movable: np.ndarray, columns: PodColumns) -> list[int]:
        """In an order whose last go first: those that stay, those that rules tie to nodes, then by priority."""

        def rank(place: int) -> tuple[bool, bool, int]:
            spec = columns.spec(place)
            ruled = bool(spec.node_selector or spec.node_required or spec.affinity or spec.anti_affinity)
            return bool(movable[place]), not ruled, -int(columns.priority[place])

        return sorted(places.tolist(), key=rank)

    def _fits_elsewhere(self, row: int) -> bool:
        state, fits = self._state, self._fits
        pod_class = int(fits.class_of(np.array([row]))[0])
        others = fits.is_open() & fits.on_node()[pod_class]
        others[state.pod_node[row]] = False
        request = fits.request[pod_class][:, None]
        room = (request <= state.allocatable - state.requested) | (request == 0)
        return bool((others & room.all(axis=0)).any())

    # -- evicting -------------------------------------------------------------------------

    def _evict(self, strategy: str, chosen: Sequence[tuple[int, int]], spent: _Spent, now_ns: int) -> None:
        limits, state = self._limits, self._state
        for pod, node in chosen:
            namespace = state.pod_columns(np.array([pod])).namespaces[0] or ""
            full = (
                (limits.total is not None and spent.total >= limits.total)
                or (limits.per_node is not None and spent.nodes[node] >= limits.per_node)
                or (limits.per_namespace is not None and spent.namespaces[namespace] >= limits.per_namespace)
            )
            if full or state.pod_leaving[pod]:
                continue
            if self._evictor.evict(np.array([pod]), strategy, now_ns)[0]:
                spent.nodes[node] += 1
                spent.namespaces[namespace] += 1
                spent.total += 1
                self._sink.emit("descheduling", time_ns=now_ns, strategy=strategy, pod_row=pod, node_row=node)
