"""A policy, nodes and pods as arrays of numbers, which is all that a kernel meets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.pod_spec import PLAIN, PodSpec
from k8slab.domain.resources import PODS, ResourceSchema, is_scalar
from k8slab.policies import plugins
from k8slab.policies.filtering import Filtering
from k8slab.policies.plugins import Decision, Floats, Mask, Score
from k8slab.policies.policy import Policy, Ties
from k8slab.policies.snapshot import Snapshot
from k8slab.policies.user import UserFilter, UserScore

if TYPE_CHECKING:
    from k8slab.kernels.pair import Pair
    from k8slab.kernels.scores import Scoring

_EXACT: Final = 2**53
_BATCH_SECONDS: Final = 0.1

# Positions of the scores in kernels.scores.Scoring.
KERNEL_OF: Final[dict[type, int]] = {
    plugins.LeastAllocated: 0,
    plugins.MostAllocated: 1,
    plugins.RequestedToCapacityRatio: 2,
    plugins.BalancedAllocation: 3,
    plugins.BestFit: 4,
    plugins.WorstFit: 5,
    plugins.DotProduct: 6,
}
NORMALIZED: Final[dict[type, int]] = {
    plugins.TaintToleration: 0,
    plugins.NodeAffinity: 1,
    plugins.PodTopologySpread: 2,
    plugins.InterPodAffinity: 3,
}
# What these say of a node follows from how node and pod are described.
_STATIC_FILTERS: Final = (
    plugins.NodeUnschedulable,
    plugins.NodeName,
    plugins.TaintToleration,
    plugins.NodeAffinity,
)


def is_static(item: Any) -> bool:
    """Whether what a filter says of a node follows from how node and pod are described."""
    # Not isinstance: what derives from a shipped filter may refuse otherwise.
    return type(item) in _STATIC_FILTERS or (isinstance(item, UserFilter) and item.plugin.static)


def is_idle(item: object, snapshot: Snapshot) -> bool:
    """Whether a plug-in has nothing to do for any of the pods."""
    idle = getattr(item, "idle", None)
    return idle is not None and bool(idle(snapshot))


def active_scores(policy: Policy, snapshot: Snapshot) -> list[tuple[Score, float]]:
    """The scores that tell nodes apart, NodeResourcesFit as its strategy."""
    return [
        (score.strategy if isinstance(score, plugins.NodeResourcesFit) else score, weight)
        for score, weight in policy.scores
        if not is_idle(score, snapshot)
    ]


@dataclass(frozen=True, eq=False)
class Problem:
    """What both compiled paths need; see kernels.scores for shapes and meanings.

    pod_class : int32[P]
    first     : int64[C]  a pod of each class
    adjusted  : whether nodes or pods count for anything but requests
    bonus     : float64[N]  users' scores, weighted
    highest   : no sum of weighted scores is above it
    """

    allocatable: Floats
    requested: Floats
    nonzero: Floats
    request: Floats
    held: Floats
    gained: Floats
    scored: Floats
    units: Ints
    adjusted: bool
    pod_class: npt.NDArray[np.int32]
    first: Ints
    bonus: Floats
    scoring: Scoring
    highest: float

    @classmethod
    def of(cls, policy: Policy, snapshot: Snapshot) -> Problem | None:
        """None where float64 or whole-number scores could not be exact."""
        nodes, pods = snapshot.nodes, snapshot.pods
        bonus = users_scores(policy, snapshot)
        if bonus is None:
            return None
        pod_class, first = _classes(snapshot)
        request, (held, gained, scored) = pods.requests[first], snapshot.incoming.amounts(first)
        of_nodes = (nodes.allocatable, nodes.requested, snapshot.nonzero)
        of_pods = (request.T, held.T, gained.T, scored.T)
        units = _exact_units(of_nodes, of_pods, _may_go(policy, snapshot), _most_pods(nodes, pods))
        if units is None:
            return None
        alike = all(np.array_equal(request, other) for other in (held, gained, scored))
        scores = active_scores(policy, snapshot)
        highest = sum(weight * score.highest for score, weight in scores if not isinstance(score, UserScore))
        allocatable = in_units(nodes.allocatable, units)
        return cls(
            allocatable=allocatable,
            requested=in_units(nodes.requested, units),
            nonzero=in_units(snapshot.nonzero, units),
            request=in_units(request.T, units),
            held=in_units(held.T, units),
            gained=in_units(gained.T, units),
            scored=in_units(scored.T, units),
            units=units,
            adjusted=not alike or not np.array_equal(nodes.requested, snapshot.nonzero),
            pod_class=pod_class,
            first=first,
            bonus=bonus,
            scoring=_scoring(scores, nodes.schema, allocatable),
            highest=highest + float(bonus.max(initial=0.0)),
        )

    @property
    def classes(self) -> int:
        """C"""
        return int(self.request.shape[1])

    @property
    def nodes(self) -> int:
        """N"""
        return int(self.allocatable.shape[1])


# -- classes ------------------------------------------------------------------------


def _classes(snapshot: Snapshot) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[P] the class of each pod, int64[C] a pod of each class: equal requests, tolerations, specs and kins."""
    pods = snapshot.pods
    others = [pods.tolerations.codes, pods.specs.codes]
    others += [snapshot.incoming.kin] if len(snapshot.incoming.kin) else []
    varied = [codes for codes in others if (codes != codes[:1]).any()]
    return grouped(np.column_stack([pods.requests, *varied]) if varied else pods.requests)


def grouped(rows: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[P] the group of each row, int64[G] the first row of each group."""
    from k8slab.kernels.groups import group_rows

    # A workload's arrays are read-only, which is a type of its own to numba: one type, one compilation.
    rows = np.ascontiguousarray(rows).view()
    rows.setflags(write=False)
    group = np.empty(len(rows), dtype=np.int32)
    first = np.empty(len(rows), dtype=np.int64)
    return group, first[: group_rows(rows, group, first)].copy()


def by_spec(pods: PodColumns, first: Ints, key: Callable[[PodSpec], Any]) -> tuple[Ints, list[PodSpec]]:
    """int64[C] which key each class's spec has, and a spec of each key."""
    numbers: dict[Any, int] = {}
    samples: list[PodSpec] = []
    codes = []
    for spec in (*pods.specs.values, PLAIN):  # the last is for the code -1, of pods that say nothing
        codes.append(numbers.setdefault(key(spec), len(numbers)))
        samples += [spec] if codes[-1] == len(samples) else []
    return np.array(codes, dtype=np.int64)[pods.specs.codes[first]], samples


def sites(pods: PodColumns, first: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[C] the site of each class, int64[S] a pod of each: what nodes' own descriptions can mean to a pod."""

    def wishes(spec: PodSpec) -> Any:
        wanted = (spec.node_name, spec.node_selector, spec.node_required, spec.node_preferred)
        return (*wanted, spec.images, bool(spec.gates))

    wished, _ = by_spec(pods, first, wishes)
    site, sample = grouped(np.column_stack([pods.tolerations.codes[first], wished]).astype(np.int64))
    return site, first[sample]


def allowed_nodes(policy: Policy, snapshot: Snapshot, pod: int) -> Mask:
    """bool[N]: what the filters that look at nodes' descriptions alone leave to a pod; nothing while it is gated."""
    static = [item for item in policy.filters if is_static(item)]
    return Filtering.of(static, Decision.on(snapshot, pod)).feasible & (not snapshot.pods.spec(pod).gates)


# -- amounts ------------------------------------------------------------------------


def _most_pods(nodes: NodeColumns, pods: PodColumns) -> int:
    """How many of the pods one node may get at most."""
    row = nodes.schema.index(PODS)
    if not len(pods) or pods.requests[:, row].min() < 1:
        return len(pods)
    return min(len(pods), int(nodes.allocatable[row].max(initial=0)))


def _may_go(policy: Policy, snapshot: Snapshot) -> tuple[Ints, ...]:
    """int64[R, B] each: what nodes' amounts may fall by as pods that run have to go; () where none has to."""
    if policy.post_filter is None or not len(snapshot.placed.pods):
        return ()
    held, nonzero, _ = snapshot.bound.amounts(np.arange(len(snapshot.placed.pods)))
    return held.T, nonzero.T


def _exact_units(
    of_nodes: tuple[Ints, ...], of_pods: tuple[Ints, ...], going: tuple[Ints, ...], pods: int
) -> Ints | None:
    """int64[R, 1]: the largest unit that divides all amounts of a resource; None where float64 couldn't hold them.

    of_nodes : int64[R, N] each, allocatable first
    of_pods  : int64[R, C] each, what must fit first
    going    : int64[R, B] each, what nodes' amounts may fall by
    pods     : how many may come to one node

    Every score is a ratio of amounts of one resource, so the unit doesn't matter.
    """
    both = [np.gcd.reduce(part, axis=1) for part in (*of_nodes, *of_pods, *going)]
    units: Ints = np.maximum(np.gcd.reduce(np.array(both), axis=0), 1)
    has = [part.max(axis=1, initial=0).astype(np.float64) for part in of_nodes]
    asks = [part.max(axis=1, initial=0).astype(np.float64) for part in of_pods]
    # What scores multiply stays within what the largest node has or a pod asks for; sums needn't.
    multiplied = plugins.FINE * (has[0] + asks[0]) / units
    summed = np.max(has, axis=0) + pods * np.max(asks, axis=0)
    return units[:, None] if max(multiplied.max(), summed.max()) < _EXACT else None


def in_units(amounts: Ints, units: Ints) -> Floats:
    """Amounts int64[R, ...] as whole float64 in these units."""
    return np.ascontiguousarray(amounts // units, dtype=np.float64)


# -- scores -------------------------------------------------------------------------


def users_scores(policy: Policy, snapshot: Snapshot) -> Floats | None:
    """float64[N]: the weighted users' scores, which depend on the node's description alone; None if one is not whole.

    Where some are negative all are raised alike, which changes no order: -1 is the tree's "does not fit".
    """
    total = np.zeros(len(snapshot.nodes))
    for score, weight in policy.scores:
        if isinstance(score, UserScore) and len(snapshot.pods):
            part = weight * score.raw(Decision.on(snapshot, 0))
            if (part != np.floor(part)).any() or np.abs(part).max(initial=0.0) >= 2**31:
                return None
            total += part
    return np.asarray(total - total.min(initial=0.0))


def _scoring(scores: list[tuple[Score, float]], schema: ResourceSchema, allocatable: Floats) -> Scoring:
    from k8slab.kernels import scores as kernels
    from k8slab.kernels.scan import NORMALIZED as NORMALIZING

    weights, normalized = np.zeros(kernels.PLUGINS), np.zeros(NORMALIZING)
    resource_weights = np.zeros((kernels.PLUGINS, len(schema)))
    shape, balanced = np.array([(0.0, 0.0)]), np.zeros(0, dtype=np.int64)
    for score, weight in scores:
        if isinstance(score, plugins.ResourceScore):
            place = KERNEL_OF[type(score)]
            weights[place] = weight
            resource_weights[place] = score.weights(schema)
            if isinstance(score, plugins.RequestedToCapacityRatio):
                shape = np.array(score.shape, dtype=np.float64) * (1.0, 10.0)
            if isinstance(score, plugins.BalancedAllocation):
                balanced = np.array([row for row, _ in score.weighted(schema)], dtype=np.int64)
        elif type(score) in NORMALIZED:
            normalized[NORMALIZED[type(score)]] = weight
    return kernels.Scoring(
        plugin_weight=weights,
        resource_weight=resource_weights,
        balanced=balanced,
        scalar=np.array([is_scalar(name) for name in schema.names], dtype=np.bool_),
        largest=allocatable.max(axis=1, initial=0.0),
        shape_x=shape[:, 0].copy(),
        shape_y=shape[:, 1].copy(),
        normalized=normalized,
    )


def pair_of(problem: Problem) -> Pair | None:
    """The scores as a sum over two resources; None where they are another, or the amounts are too large."""
    from k8slab.kernels import scores as kernels
    from k8slab.kernels.pair import Pair

    scoring, of_use = problem.scoring, (kernels.LEAST_ALLOCATED, kernels.MOST_ALLOCATED)
    weight = scoring.plugin_weight
    place = of_use[1] if weight[of_use[1]] else of_use[0]
    of_balance = weight[kernels.BALANCED_ALLOCATION]
    counted = [np.flatnonzero(scoring.resource_weight[place]).tolist()] if weight[place] else []
    counted += [sorted(scoring.balanced.tolist())] if of_balance else []
    rows = counted[0] if counted and counted[0] == counted[-1] else []
    others = weight.sum() - weight[place] - of_balance
    each = scoring.resource_weight[place][rows] if weight[place] else np.zeros(len(rows))
    usable = len(rows) == 2 and not others and not scoring.scalar[rows].any() and each.max(initial=0.0) <= 1_000
    if not usable or problem.allocatable.max(initial=0.0) >= 2**40:
        return None
    return Pair(rows[0], rows[1], place == of_use[0], np.array([weight[place], *each, of_balance]))


# -- running ------------------------------------------------------------------------


def in_batches(
    start: int, count: int, run: Callable[[tuple[int, int]], object], report: Callable[[int], None]
) -> None:
    """Run (start, stop) after (start, stop), each about a tenth of a second: Ctrl-C comes through between."""
    size = 64
    while start < count:
        stop = min(start + size, count)
        began = time.perf_counter()
        run((start, stop))
        took = time.perf_counter() - began
        report(stop)
        start = stop
        if took < _BATCH_SECONDS:
            size *= 4


def draws(pods: PodColumns, seed: int, ties: Ties) -> tuple[bool, Any, Ints]:
    """Whether ties are drawn, and what they are drawn from."""
    return ties == "random", np.uint64(seed), np.ascontiguousarray(pods.rows, dtype=np.int64)
