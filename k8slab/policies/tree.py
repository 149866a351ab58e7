"""The tree: scores of all nodes for all classes of pods, under maxima; for rules that look at one node at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.policies.compiled import Problem, allowed_nodes, draws, grouped, in_batches, sites
from k8slab.policies.plugins import Floats, Mask
from k8slab.policies.policy import Decisions, Ties
from k8slab.policies.run import Run

if TYPE_CHECKING:
    from k8slab.kernels.tree import Tree

TREE_BYTES: Final = int(os.environ.get("K8SLAB_TREE_BYTES", 3 * 2**29))


def tree_is_faster(problem: Problem, ties: Ties) -> bool:
    """A pod costs the scan all nodes, the tree all classes; and the tree must fit in memory."""
    best = np.dtype(_dtype(problem, ties)).itemsize
    size = problem.nodes * problem.classes * (best * 8 / 7 + 4 / 7 * (ties == "random"))
    return 2 * problem.classes <= problem.nodes and size <= TREE_BYTES


def _dtype(problem: Problem, ties: Ties) -> type[np.signedinteger[Any]]:
    """The smallest integer for the scores; as wide as the counts of ties, where those run beside them."""
    return np.int16 if problem.highest < 2**15 and ties == "lowest" else np.int32


def place_by_tree(problem: Problem, run: Run, report: Callable[[int], None]) -> Decisions:
    """Place all pods; none of them may preempt others."""
    from k8slab.kernels import tree as kernels

    pods = run.snapshot.pods
    if not problem.nodes or not len(pods):
        return run.decisions("tree")
    drawn = draws(pods, run.seed, run.ties)[1:]
    allocatable = np.ascontiguousarray(problem.allocatable.T)
    requested = np.ascontiguousarray(problem.requested.T)
    allowed = _allowed(problem, run)
    tree, counts = _empty_tree(problem, run.ties)
    _score_leaves(tree, problem, allocatable, requested, allowed)
    _fill_above(tree, counts)

    def place(part: tuple[int, int]) -> None:
        kernels.place_by_tree(
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
            drawn,
            run.chosen,
        )

    in_batches(0, len(pods), place, report)
    return run.decisions("tree")


def _allowed(problem: Problem, run: Run) -> tuple[Mask, npt.NDArray[np.int32]]:
    """bool[K, C] and int32[N]: whether a class may use a node of a kind, and each node's kind.

    Nodes of one kind are alike for all filters but the fit.
    """
    site, samples = sites(run.snapshot.pods, problem.first)
    verdicts = np.empty((problem.nodes, len(samples)), dtype=np.bool_)
    for column, pod in enumerate(samples.tolist()):
        verdicts[:, column] = allowed_nodes(run.policy, run.snapshot, pod)
    node_kind, sample = grouped(np.packbits(verdicts, axis=1).astype(np.int64))
    return np.ascontiguousarray(verdicts[sample][:, site]), node_kind


def _empty_tree(problem: Problem, ties: Ties) -> tuple[Tree, npt.NDArray[np.int32] | None]:
    from k8slab.kernels.tree import FANOUT, Tree

    offset, rows = [0], problem.nodes
    while rows > 1:
        offset.append(offset[-1] + -(-rows // FANOUT) * FANOUT)
        rows = -(-rows // FANOUT)
    offset.append(offset[-1] + 1)
    # Rows that pad a level to full families fit nothing, and count nothing.
    best = np.full((offset[-1], problem.classes), -1, dtype=_dtype(problem, ties))
    # A tree of one node has no level above it to count in; it still says that ties are drawn.
    counts = np.zeros((offset[-1] - offset[1], problem.classes), dtype=np.int32) if ties == "random" else None
    return Tree(best, np.array(offset, dtype=np.int64)), counts


def _score_leaves(
    tree: Tree,
    problem: Problem,
    allocatable: Floats,
    requested: Floats,
    allowed: tuple[Mask, npt.NDArray[np.int32]],
) -> None:
    """Score every node for every class; nodes of equal amounts, kind and static score have equal rows."""
    from k8slab.kernels.tree import score_nodes

    state = np.column_stack([allocatable, requested, allowed[1], problem.bonus])
    # The bits of whole floats are as good a key as their values.
    group, first = grouped(np.ascontiguousarray(state).view(np.int64))
    score_nodes(first, tree.best, allocatable, requested, problem.request, allowed, problem.bonus, problem.scoring)
    if len(first) < problem.nodes:
        tree.best[: problem.nodes] = tree.best[first][group]


def _fill_above(tree: Tree, counts: npt.NDArray[np.int32] | None) -> None:
    """Fill the levels above the leaves: maxima over families, and how many nodes below have them."""
    from k8slab.kernels.tree import FANOUT

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
