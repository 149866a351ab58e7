"""How pods are placed: which of three paths runs, and the arrays it runs on.

    stepwise   numpy, plug-in by plug-in: any policy, no compilation, no rounding
    scan       one compiled loop over all nodes a pod: many classes, few pods of each
    tree       one compiled step a pod, whatever the number of nodes: few classes

All decide alike, bit for bit; tests say so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.errors import InputError
from k8slab.policies import plugins
from k8slab.policies.plugins import Decision, Floats, Mask
from k8slab.policies.policy import Decisions, Path, Policy, Ties
from k8slab.policies.user import UserFilter, UserScore

if TYPE_CHECKING:
    from k8slab.kernels.placement import Scoring, Tree

# Up to here numpy answers sooner than numba has loaded.
SMALL_PODS: Final = 512
SMALL_PAIRS: Final = 250_000
TREE_BYTES: Final = int(os.environ.get("K8SLAB_TREE_BYTES", 3 * 2**29))
_EXACT: Final = 2**53
_BATCH_SECONDS: Final = 0.1


def place(
    policy: Policy,
    nodes: NodeColumns,
    pods: PodColumns,
    seed: int,
    ties: Ties,
    path: Path | None,
    progress: Callable[[int], None] | None,
) -> Decisions:
    """Place the pods by the path asked for, or by the fastest; see Policy.place."""
    if path not in (None, *get_args(Path)):
        raise InputError(f"path={path!r} is none of {', '.join(map(repr, get_args(Path)))}")
    report = progress or (lambda done: None)
    small = len(pods) <= SMALL_PODS and len(pods) * len(nodes) <= SMALL_PAIRS
    if path == "stepwise" or (path is None and small):
        return _stepwise(policy, nodes, pods, seed, ties, report)
    reason = _cannot_compile(policy)
    problem = None if reason else _Problem.of(policy, nodes, pods)
    if problem is None:
        if path is not None:
            raise InputError(
                f"policy {policy.name!r} can't run by path {path!r}: "
                f"{reason or 'its scores or amounts are beyond exact float64'}; path='stepwise' can"
            )
        return _stepwise(policy, nodes, pods, seed, ties, report)
    run = _by_tree if (path or problem.faster_path(ties)) == "tree" else _by_scan
    return run(problem, pods, seed, ties, report)


# -- stepwise --------------------------------------------------------------------


def _stepwise(
    policy: Policy, nodes: NodeColumns, pods: PodColumns, seed: int, ties: Ties, report: Callable[[int], None]
) -> Decisions:
    # One copy that grows as pods are placed; the caller's columns stay as they are.
    now = replace(nodes, requested=nodes.requested.copy())
    chosen = np.full(len(pods), -1, dtype=np.int64)
    for pod in range(len(pods)):
        row = policy.evaluate(now, pods, pod, seed=seed, ties=ties).chosen
        chosen[pod] = row
        if row >= 0:
            now.requested[:, row] += pods.requests[pod]
        if pod % 100 == 99:
            report(pod + 1)
    report(len(pods))
    return Decisions(chosen, "stepwise")


# -- what the compiled paths need ---------------------------------------------------


_KERNEL_OF: Final[dict[type, int]] = {
    plugins.LeastAllocated: 0,
    plugins.MostAllocated: 1,
    plugins.RequestedToCapacityRatio: 2,
    plugins.BalancedAllocation: 3,
    plugins.BestFit: 4,
    plugins.WorstFit: 5,
    plugins.DotProduct: 6,
}
_KERNEL_FILTERS: Final = (plugins.NodeUnschedulable, plugins.TaintToleration, plugins.NodeResourcesFit)


def _cannot_compile(policy: Policy) -> str:
    """Why the compiled paths can't run a policy, "" if they can by its shape."""
    if not policy.checks_fit:
        return "it has no NodeResourcesFit"
    for item in policy.filters:
        # Not isinstance: what derives from a shipped filter may refuse otherwise.
        if type(item) not in _KERNEL_FILTERS and not (isinstance(item, UserFilter) and item.plugin.static):
            return f"filter {item.name!r} looks at more than the node's own description"
    seen: set[type] = set()
    for score, weight in policy.scores:
        if isinstance(score, UserScore):
            if not score.plugin.static or score.normalizing is not None:
                return f"score {score.name!r} looks at more than the node's own description"
        elif type(score) not in _KERNEL_OF or type(score) in seen:
            return f"score {score.name!r} has no kernel"
        if weight != int(weight):
            return f"weight {weight} of {score.name!r} is no whole number"
        seen.add(type(score))
    return ""


@dataclass(frozen=True, eq=False)
class _Problem:
    """A policy, nodes and pods as the kernels take them; see kernels.placement for shapes."""

    allocatable: Floats
    requested: Floats
    request: Floats
    pod_class: npt.NDArray[np.int32]
    kind_allowed: Mask
    node_kind: npt.NDArray[np.int32]
    bonus: Floats
    scoring: Scoring
    highest: float

    @classmethod
    def of(cls, policy: Policy, nodes: NodeColumns, pods: PodColumns) -> _Problem | None:
        """None where float64 or whole-number scores could not be exact."""
        pod_class, first = _classes(pods)
        bonus = _static_score(policy, nodes, pods)
        if bonus is None:
            return None
        highest = sum(weight * score.highest for score, weight in policy.scores if not isinstance(score, UserScore))
        highest += float(bonus.max(initial=0.0))
        if highest >= 2**31:
            return None
        asked = pods.requests[first].T
        exact = _exact_floats(nodes.allocatable, nodes.requested, asked)
        if exact is None:
            return None
        allocatable, requested, request = exact
        kind_allowed, node_kind = _allowed(policy, nodes, pods, first)
        return cls(
            allocatable=allocatable,
            requested=requested,
            request=request,
            pod_class=pod_class,
            kind_allowed=kind_allowed,
            node_kind=node_kind,
            bonus=bonus,
            scoring=_scoring(policy, nodes, allocatable),
            highest=highest,
        )

    @property
    def classes(self) -> int:
        return int(self.request.shape[1])

    @property
    def nodes(self) -> int:
        return int(self.allocatable.shape[1])

    def tree_dtype(self, ties: Ties) -> type[np.signedinteger[Any]]:
        """The smallest integer for the scores; as wide as the counts of ties, where those run beside them."""
        return np.int16 if self.highest < 2**15 and ties == "lowest" else np.int32

    def faster_path(self, ties: Ties) -> Path:
        """A pod costs the scan all nodes, the tree all classes; and the tree must fit in memory."""
        best = np.dtype(self.tree_dtype(ties)).itemsize
        tree = self.nodes * self.classes * (best * 8 / 7 + 4 / 7 * (ties == "random"))
        return "tree" if 2 * self.classes <= self.nodes and tree <= TREE_BYTES else "scan"


def _classes(pods: PodColumns) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[P] the class of each pod, int64[C] a pod of each class: equal requests and tolerations."""
    rows = pods.requests
    tolerations = pods.tolerations.codes
    if (tolerations != tolerations[:1]).any():
        rows = np.column_stack([rows, tolerations])
    return _grouped(rows)


def _grouped(rows: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[P] the group of each row, int64[G] the first row of each group."""
    from k8slab.kernels.placement import group_rows

    # A workload's arrays are read-only, which is a type of its own to numba: one type, one compilation.
    rows = np.ascontiguousarray(rows).view()
    rows.setflags(write=False)
    group = np.empty(len(rows), dtype=np.int32)
    first = np.empty(len(rows), dtype=np.int64)
    return group, first[: group_rows(rows, group, first)].copy()


def _exact_floats(*amounts: Ints) -> tuple[Floats, ...] | None:
    """Amounts [R, ...] as float64, each resource in its largest common unit; None beyond 2**53 / 10,000.

    Every score is a ratio of amounts of one resource, so the unit doesn't matter.
    """
    units = np.gcd.reduce(np.concatenate([np.gcd.reduce(part, axis=1)[:, None] for part in amounts], axis=1), axis=1)
    units = np.maximum(units, 1)[:, None]
    scaled = [np.ascontiguousarray(part // units, dtype=np.float64) for part in amounts]
    most = sum(float(part.max(initial=0.0)) for part in scaled)
    return tuple(scaled) if plugins.FINE * most < _EXACT else None


def _static_score(policy: Policy, nodes: NodeColumns, pods: PodColumns) -> Floats | None:
    """float64[N]: the weighted users' scores, which depend on the node's description alone; None if one is not whole.

    Where some are negative all are raised alike, which changes no order: -1 is the tree's "does not fit".
    """
    total = np.zeros(len(nodes))
    for score, weight in policy.scores:
        if isinstance(score, UserScore) and len(pods):
            part = weight * score.raw(Decision(nodes, pods, 0))
            if (part != np.floor(part)).any() or np.abs(part).max(initial=0.0) >= 2**31:
                return None
            total += part
    return np.asarray(total - total.min(initial=0.0))


def _allowed(policy: Policy, nodes: NodeColumns, pods: PodColumns, first: Ints) -> tuple[Mask, npt.NDArray[np.int32]]:
    """bool[K, C] and int32[N]: whether a class may use a node of a kind, and each node's kind.

    Nodes of one kind are alike for all filters but the fit: schedulable, taints, and
    the users' verdicts.
    """
    verdict = np.ones(len(nodes), dtype=np.bool_)
    for item in policy.filters:
        if isinstance(item, UserFilter) and len(pods):
            for refusal in item.refuse(Decision(nodes, pods, 0)):
                verdict &= ~refusal.nodes
        elif isinstance(item, plugins.NodeUnschedulable):
            verdict &= nodes.schedulable
    heeds_taints = any(isinstance(item, plugins.TaintToleration) for item in policy.filters)
    taints = nodes.taints.codes if heeds_taints else np.full(len(nodes), -1, dtype=np.int32)
    # A kind is a code into the taints, -1 for none, or -2: closed to every pod.
    kinds, node_kind = np.unique(np.where(verdict, taints, -2), return_inverse=True)
    allowed = np.ones((len(kinds), len(first)), dtype=np.bool_)
    classes_of = pods.tolerations.codes[first]
    for place, kind in enumerate(kinds.tolist()):
        taint_set = nodes.taints.values[kind] if kind >= 0 else ()
        hard = [taint for taint in taint_set if taint.effect in ("NoSchedule", "NoExecute")]
        for code in np.unique(classes_of).tolist():
            tolerations = pods.tolerations.values[code] if code >= 0 else ()
            allowed[place, classes_of == code] = kind != -2 and all(
                any(item.tolerates(taint) for item in tolerations) for taint in hard
            )
    return allowed, node_kind.astype(np.int32)


def _scoring(policy: Policy, nodes: NodeColumns, allocatable: Floats) -> Scoring:
    from k8slab.kernels.placement import PLUGINS, Scoring

    weights = np.zeros(PLUGINS)
    resource_weights = np.zeros((PLUGINS, len(nodes.schema)))
    shape = np.array([(0.0, 0.0)])
    for score, weight in policy.scores:
        if not isinstance(score, UserScore):
            place = _KERNEL_OF[type(score)]
            weights[place] = weight
            resource_weights[place] = score.weights(nodes.schema)  # type: ignore[attr-defined]
            if isinstance(score, plugins.RequestedToCapacityRatio):
                shape = np.array(score.shape, dtype=np.float64) * (1.0, 10.0)
    largest = allocatable.max(axis=1, initial=0.0)
    return Scoring(weights, resource_weights, largest, shape[:, 0].copy(), shape[:, 1].copy())


# -- the compiled paths ----------------------------------------------------------------


def _in_batches(count: int, run: Callable[[tuple[int, int]], None], report: Callable[[int], None]) -> None:
    """Run (start, stop) after (start, stop), each about a tenth of a second: Ctrl-C comes through between."""
    start, size = 0, 64
    while start < count:
        stop = min(start + size, count)
        began = time.perf_counter()
        run((start, stop))
        took = time.perf_counter() - began
        report(stop)
        start = stop
        if took < _BATCH_SECONDS:
            size *= 4


def _draws(pods: PodColumns, seed: int, ties: Ties) -> tuple[bool, Any, Ints]:
    return ties == "random", np.uint64(seed), np.ascontiguousarray(pods.rows, dtype=np.int64)


def _by_scan(problem: _Problem, pods: PodColumns, seed: int, ties: Ties, report: Callable[[int], None]) -> Decisions:
    from k8slab.kernels.placement import place_by_scan

    chosen = np.full(len(pods), -1, dtype=np.int32)
    draws = _draws(pods, seed, ties)
    requested = problem.requested.copy()

    def run(part: tuple[int, int]) -> None:
        place_by_scan(
            part,
            problem.allocatable,
            requested,
            problem.request,
            problem.pod_class,
            (problem.kind_allowed, problem.node_kind),
            problem.bonus,
            problem.scoring,
            draws,
            chosen,
        )

    _in_batches(len(pods), run, report)
    return Decisions(chosen.astype(np.int64), "scan")


def _by_tree(problem: _Problem, pods: PodColumns, seed: int, ties: Ties, report: Callable[[int], None]) -> Decisions:
    from k8slab.kernels.placement import place_by_tree

    chosen = np.full(len(pods), -1, dtype=np.int32)
    if not problem.nodes or not len(pods):
        return Decisions(chosen.astype(np.int64), "tree")
    draws = _draws(pods, seed, ties)[1:]
    allocatable = np.ascontiguousarray(problem.allocatable.T)
    requested = np.ascontiguousarray(problem.requested.T)
    allowed = (problem.kind_allowed, problem.node_kind)
    tree, counts = _empty_tree(problem, ties)
    _score_leaves(tree, problem, allocatable, requested)
    _fill_above(tree, counts)

    def run(part: tuple[int, int]) -> None:
        place_by_tree(
            part,
            tree,
            counts,
            allocatable,
            requested,
            problem.request,
            problem.pod_class,
            allowed,
            problem.bonus,
            problem.scoring,
            draws,
            chosen,
        )

    _in_batches(len(pods), run, report)
    return Decisions(chosen.astype(np.int64), "tree")


def _empty_tree(problem: _Problem, ties: Ties) -> tuple[Tree, npt.NDArray[np.int32] | None]:
    from k8slab.kernels.placement import FANOUT, Tree

    offset, rows = [0], problem.nodes
    while rows > 1:
        offset.append(offset[-1] + -(-rows // FANOUT) * FANOUT)
        rows = -(-rows // FANOUT)
    offset.append(offset[-1] + 1)
    # Rows that pad a level to full families fit nothing, and count nothing.
    best = np.full((offset[-1], problem.classes), -1, dtype=problem.tree_dtype(ties))
    # A tree of one node has no level above it to count in; it still says that ties are drawn.
    counts = np.zeros((offset[-1] - offset[1], problem.classes), dtype=np.int32) if ties == "random" else None
    return Tree(best, np.array(offset, dtype=np.int64)), counts


def _score_leaves(tree: Tree, problem: _Problem, allocatable: Floats, requested: Floats) -> None:
    """Score every node for every class; nodes of equal amounts, kind and static score have equal rows."""
    from k8slab.kernels.placement import score_nodes

    state = np.column_stack([allocatable, requested, problem.node_kind, problem.bonus])
    # The bits of whole floats are as good a key as their values.
    group, first = _grouped(np.ascontiguousarray(state).view(np.int64))
    allowed = (problem.kind_allowed, problem.node_kind)
    score_nodes(first, tree.best, allocatable, requested, problem.request, allowed, problem.bonus, problem.scoring)
    if len(first) < problem.nodes:
        tree.best[: problem.nodes] = tree.best[first][group]


def _fill_above(tree: Tree, counts: npt.NDArray[np.int32] | None) -> None:
    """Fill the levels above the leaves: maxima over families, and how many nodes below have them."""
    from k8slab.kernels.placement import FANOUT

    offset = tree.offset.tolist()
    for level in range(len(offset) - 2):
        families = tree.best[offset[level] : offset[level + 1]].reshape(-1, FANOUT, tree.best.shape[1])
        rows = slice(offset[level + 1], offset[level + 1] + len(families))
        tree.best[rows] = families.max(axis=1)
        if counts is not None:
            leads = families == tree.best[rows][:, None]
            if level:
                below = counts[offset[level] - offset[1] : offset[level + 1] - offset[1]]
                leads = np.where(leads, below.reshape(families.shape), 0)
            counts[rows.start - offset[1] : rows.stop - offset[1]] = leads.sum(axis=1, dtype=np.int32)
