"""The tree: scores of all nodes for classes of pods, under maxima; for rules that look at one node at a time.

Classes that many pods have get a column each. The cost of a change grows with the
columns, so the few pods of rare classes ask blocks of nodes instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.policies.compiled import Problem, allowed_nodes, draws, grouped, in_batches, pair_of, sites
from k8slab.policies.plugins import Floats
from k8slab.policies.policy import Decisions, Policy, Ties
from k8slab.policies.preempting import Preemptions, may_preempt
from k8slab.policies.run import Run
from k8slab.policies.snapshot import Snapshot

if TYPE_CHECKING:
    from k8slab.kernels.blocks import Blocks
    from k8slab.kernels.pair import Pair
    from k8slab.kernels.points import Points
    from k8slab.kernels.tree import Leaves, Tree

TREE_BYTES: Final = int(os.environ.get("K8SLAB_TREE_BYTES", 3 * 2**29))
# The top of a tree: few rows, and a level whose nodes 16 bits can count.
_TOP_ROWS: Final = 8
_TOP_LEVEL: Final = 5
# What a column costs each change, what a look at the blocks costs beside what it costs a node, and what it
# costs a change a node that there are blocks, which are now and then made anew: nanoseconds, as measured on
# 100,000 nodes. Only how they compare matters.
_COLUMN_NS: Final = {"lowest": 3.5, "random": 8.5}
_LOOK_NS: Final = 4_000.0
_LOOK_NODE_NS: Final = {"lowest": 0.45, "random": 1.2}
_KEEP_NODE_NS: Final = 0.08
# What a column costs once, a node: to be filled, mostly memory that the system has to clear.
_FILL_NODE_NS: Final = 4.0
# So few classes get a column each: that is as fast, and then the blocks needn't be compiled.
FEW: Final = 256
# Nodes in more groups than this would stand in blocks that are nearly empty.
MOST_GROUPS: Final = 64


def tree_is_faster(problem: Problem, ties: Ties) -> bool:
    """A pod costs the scan all nodes, the tree its columns; and the tree must fit in memory."""
    columns = int((columns_of(problem, ties) >= 0).sum())
    best = np.dtype(_dtype(problem)).itemsize
    size = problem.nodes * columns * (best * 8 / 7 + (ties == "random") / 5)
    return 2 * columns <= problem.nodes and size <= TREE_BYTES


def columns_of(problem: Problem, ties: Ties) -> npt.NDArray[np.int32]:
    """int32[C]: each class's column in the tree, -1 for those that cost least without."""
    pair = pair_of(problem)
    if pair is None:
        return np.arange(problem.classes, dtype=np.int32)
    chosen = np.arange(problem.classes)
    if problem.classes > FEW and len(groups_of(problem)[1]) <= MOST_GROUPS:
        chosen = _worth_a_column(problem, ties)
    # Classes that use resources alike like the same nodes: side by side they change together, 32 by 32.
    mean = problem.allocatable.sum(axis=1) / max(problem.allocatable.shape[1], 1)
    asked = [problem.request[row] / max(mean[row], 1.0) for row in (pair.first, pair.second)]
    column = np.full(problem.classes, -1, dtype=np.int32)
    column[chosen[np.argsort((asked[0] - asked[1])[chosen], kind="stable")]] = np.arange(len(chosen))
    return column


def _worth_a_column(problem: Problem, ties: Ties) -> Ints:
    """int64[.]: the classes that so many pods have that a column costs less than looks at the blocks."""
    many = np.bincount(problem.pod_class, minlength=problem.classes)
    order = np.argsort(-many, kind="stable")
    left = 1.0 - np.append(0, np.cumsum(many[order])) / max(len(problem.pod_class), 1)
    look = _LOOK_NS + _LOOK_NODE_NS[ties] * problem.nodes
    each = _COLUMN_NS[ties] + _FILL_NODE_NS * problem.nodes / max(len(problem.pod_class), 1)
    numbers = np.arange(problem.classes + 1)
    keep = _KEEP_NODE_NS * problem.nodes * (numbers < problem.classes)
    return order[: int(np.argmin(each * numbers + look * left + keep))]


def _dtype(problem: Problem) -> type[np.unsignedinteger[Any]]:
    """The smallest integer for 1 + the scores."""
    return next((kind for kind in (np.uint8, np.uint16) if problem.highest < np.iinfo(kind).max), np.uint32)


def place_by_tree(problem: Problem, run: Run, report: Callable[[int], None]) -> Decisions:
    """Place all pods; one that fits nowhere and may preempt is handed to the run, which asks in numpy."""
    if problem.nodes and len(run.snapshot.pods):
        in_batches(0, len(run.snapshot.pods), _Grown(problem, run).place, report)
    return run.decisions("tree")


class _Grown:
    """A filled tree, kept in step with the run's snapshot."""

    def __init__(self, problem: Problem, run: Run) -> None:
        from k8slab.kernels.tree import Classes, fill_above, score_nodes

        self._problem = problem
        self._run = run
        self._draws = draws(run.snapshot.pods, run.seed, run.ties)
        self._stops = may_preempt(run)
        self._preemptions: Preemptions | None = None
        self._at = np.zeros(3, dtype=np.int64)
        column = columns_of(problem, run.ties)
        site, _, verdicts = verdicts_of(problem, run)
        by_site, kind, _ = kinds_of(verdicts)
        allowed = np.ascontiguousarray(by_site[:, site])
        self._pair = pair_of(problem)
        self._leaves = state = leaves_of(problem, column, allowed, kind, self._pair)
        self._classes = Classes(column, problem.request, allowed)
        self._scoring = problem.scoring if self._pair is None else None
        self._blocks = None
        if self._pair is not None and (column < 0).any():
            self._blocks = blocks_of(problem, self._leaves, self._pair)
        self._tree = empty_tree(problem.nodes, state.request.shape[1], _dtype(problem), run.ties)
        # Nodes of equal amounts, kind and static score have equal rows.
        group, first = alike(state.allocatable, state.requested, state.kind, state.bonus)
        score_nodes(first, self._tree.best, state, self._scoring, self._pair)
        if len(first) < problem.nodes:
            self._tree.best[: problem.nodes] = self._tree.best[first][group]
        fill_above(self._tree, self._draws[0])

    def place(self, part: tuple[int, int]) -> None:
        """Place the pods (start, stop)."""
        from k8slab.kernels.tree import place_by_tree

        at, stop = self._at, part[1]
        while at[0] < stop:
            place_by_tree(
                at,
                stop,
                self._problem.pod_class,
                self._classes,
                self._tree,
                self._leaves,
                self._blocks,
                self._scoring,
                self._pair,
                self._run.leaving,
                self._draws,
                self._stops,
                self._run.chosen,
            )
            if at[0] < stop:
                self._hand_over(int(at[0]))
                at[0] += 1

    def _hand_over(self, pod: int) -> None:
        """Let others go for a pod, and score the node again where that happened."""
        from k8slab.kernels.tree import rescore

        if self._preemptions is None:
            self._preemptions = Preemptions(self._run, self._problem)
        change = self._preemptions.place(pod)
        if change is not None:
            node_row = change.node_row
            self._leaves.requested[node_row] = self._preemptions.requested[node_row] // self._problem.units[:, 0]
            rescore(
                np.array([node_row]), self._tree, self._leaves, self._blocks, self._scoring, self._pair, self._draws[0]
            )


def leaves_of(
    problem: Problem,
    column: npt.NDArray[np.int32],
    allowed: npt.NDArray[np.int32],
    kind: npt.NDArray[np.int32],
    pair: Pair | None,
) -> Leaves:
    from k8slab.kernels.lanes import LANES
    from k8slab.kernels.tree import Leaves

    classes = np.flatnonzero(column >= 0)
    classes = classes[np.argsort(column[classes])]
    odd = ((0, 0), (0, -len(classes) % LANES))
    request = np.ascontiguousarray(np.pad(problem.request[:, classes], odd))
    return Leaves(
        allocatable=np.ascontiguousarray(problem.allocatable.T),
        requested=np.ascontiguousarray(problem.requested.T),
        request=request,
        most=request.max(axis=1, initial=0.0),
        allowed=np.ascontiguousarray(np.pad(allowed[:, classes], odd)),
        kind=kind,
        bonus=problem.bonus,
        points=_points_of(request, pair),
    )


def _points_of(request: Floats, pair: Pair | None) -> Points:
    from k8slab.kernels.points import MEAN_BITS, MOST_WEIGHT, Points

    if pair is None:
        return Points(np.zeros(2, np.int32), 0, np.zeros((1, 0), np.int32))
    use, first, second, balance = pair.weight.tolist()
    whole = int(first + second)
    share = np.array([first, second]) * (-(-(1 << MEAN_BITS) // whole) if 0 < whole <= MOST_WEIGHT else 0)
    balances = np.where(request[pair.first] + request[pair.second] > 0, balance, 0).astype(np.int32)
    return Points(share.astype(np.int32), int(use), np.ascontiguousarray(balances[None]))


def verdicts_of(problem: Problem, run: Run) -> tuple[npt.NDArray[np.int32], Ints, npt.NDArray[np.bool_]]:
    """int32[C] the site of each class, int64[S] a pod of each, bool[N, S] the nodes whose descriptions it accepts."""
    site, samples = sites(run.snapshot.pods, problem.first)
    return site, samples, accepted(run.policy, run.snapshot, samples)


def accepted(policy: Policy, snapshot: Snapshot, samples: Ints) -> npt.NDArray[np.bool_]:
    """bool[N, S]: the nodes that these pods may use, by all filters but the fit."""
    verdicts = np.empty((len(snapshot.nodes), len(samples)), dtype=np.bool_)
    for column, pod in enumerate(samples.tolist()):
        verdicts[:, column] = allowed_nodes(policy, snapshot, pod)
    return verdicts


def kinds_of(verdicts: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Ints]:
    """int32[K, S] -1 where a site may use nodes of a kind, else 0; int32[N] nodes' kinds; int64[K] a node of each."""
    kind, first = grouped(np.packbits(verdicts, axis=1).astype(np.int64))
    return np.ascontiguousarray(-verdicts[first].astype(np.int32)), kind, first


def alike(*columns: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[N] a number for equal rows of whole numbers, and int64[G] a row of each."""
    # The bits of whole floats are as good a key as their values.
    return grouped(np.column_stack(columns).astype(np.float64).view(np.int64))


# -- empty structures ------------------------------------------------------------------


def empty_tree(nodes: int, classes: int, dtype: type[np.unsignedinteger[Any]], ties: Ties) -> Tree:
    """A tree over so many nodes, none of which fits any class."""
    from k8slab.kernels.lanes import FANOUT, LANES
    from k8slab.kernels.tree import Tree

    offset, rows = [0], nodes
    while rows > _TOP_ROWS and len(offset) <= _TOP_LEVEL:
        offset.append(offset[-1] + -(-rows // FANOUT) * FANOUT)
        rows = -(-rows // FANOUT)
    offset.append(offset[-1] + rows)
    # Rows that pad a level to full families fit nothing.
    few = offset[min(3, len(offset) - 1)] - offset[1] if ties == "random" else 0
    many = offset[-1] - offset[1] - few if ties == "random" else 0
    return Tree(
        np.zeros((offset[-1], classes), dtype=dtype),
        np.zeros((few, classes), dtype=np.uint8),
        np.zeros((many, classes), dtype=np.uint16),
        np.array(offset, dtype=np.int64),
        was=np.zeros((1, classes), dtype=dtype),
        had_few=np.zeros((1, classes), dtype=np.uint8),
        had_many=np.zeros((1, classes), dtype=np.uint16),
        changing=np.zeros(-(-classes // LANES), dtype=np.int64),
    )


def groups_of(problem: Problem, kind: npt.NDArray[np.int32] | None = None) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[N] and int64[G]: nodes that may stand in one block.

    They must be alike in kind, static score and which resources they have. Alike in size they needn't be, but
    where there are few sizes the bounds are closer.
    """
    kinds = np.zeros(problem.nodes) if kind is None else kind
    by_size = alike(*problem.allocatable, kinds, problem.bonus)
    return by_size if len(by_size[1]) <= MOST_GROUPS else alike(*(problem.allocatable > 0), kinds, problem.bonus)


def blocks_of(problem: Problem, leaves: Leaves, pair: Pair, spare: int = 0) -> Blocks:
    """The nodes in blocks. spare : so many groups may come later"""
    from k8slab.kernels.blocks import SIZE, Blocks, fill_blocks
    from k8slab.kernels.lanes import LANES

    nodes = problem.nodes
    group, first = groups_of(problem, leaves.kind)
    groups = len(first) + spare
    full = -(-nodes // SIZE) + groups
    # Room for those that change, until all are ordered anew: little, as all of it has to be looked at.
    count = full + 2 + full // 48 + 2 * groups
    resources = len(problem.allocatable)

    def floats(width: int, rows: int = resources) -> npt.NDArray[np.float64]:
        return np.zeros((rows, width))

    def codes(width: int) -> npt.NDArray[np.int32]:
        return np.zeros(width, dtype=np.int32)

    blocks = Blocks(
        allocatable=floats(count * SIZE), requested=floats(count * SIZE), inverse=floats(count * SIZE, 2),
        node=codes(count * SIZE), slot=codes(nodes),
        left=floats(count * SIZE, 2), part=floats(count * SIZE, 2), raised=codes(count * SIZE)[None],
        whole=np.zeros(count, dtype=np.bool_),
        free=floats(count), least=floats(count, 2), most=floats(count, 2), share=floats(count, 2),
        half=np.zeros(count), emptiest=np.zeros(count), fullest=np.zeros(count), low=np.zeros(count),
        high=np.zeros(count),
        lowest=codes(count), owner=codes(count), kind=codes(count), bonus=np.zeros(count), group=group,
        open=np.zeros((2, groups), dtype=np.int64), made=np.zeros(3, dtype=np.int64),
        bound=codes(count), points=codes(SIZE)[None], tied=np.zeros((1, nodes + -nodes % LANES), dtype=np.uint8),
    )  # fmt: skip
    fill_blocks(blocks, leaves, pair)
    return blocks
