"""The blocks of nodes, kept in step with a state: what a Placer asks where a policy looks at one node at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, NodeColumns, PodColumns
from k8slab.policies.compiled import Problem, draws, in_units, pair_of, users_scores
from k8slab.policies.engine import tree_problem
from k8slab.policies.plugins import FINE, Floats
from k8slab.policies.policy import Policy, Ties
from k8slab.policies.run import Run
from k8slab.policies.tree import (
    MOST_GROUPS,
    accepted,
    alike,
    blocks_of,
    empty_tree,
    groups_of,
    kinds_of,
    leaves_of,
    verdicts_of,
)

if TYPE_CHECKING:
    from k8slab.kernels.blocks import Blocks
    from k8slab.kernels.pair import Pair
    from k8slab.kernels.tree import Classes, Leaves, Tree

# So many kinds and groups of nodes may be new before all is made anew.
_SPARE: Final = 32
_NOBODY: Final = np.zeros(0, dtype=np.int64)
# Amounts that are larger, in their unit, are left to whoever counts in integers.
_LARGEST: Final = 2.0**52


@dataclass(eq=False)
class Kept:
    """Nodes in blocks, and the classes of pods that have asked so far; see kernels.tree for the arrays.

    A class is known by its request and the codes of its tolerations and spec in the state. Of
    those that differ in the request alone nodes' descriptions say the same: they are of one site.

    samples  : a pod of each site
    largest  : float64[R, 1]  requests up to these are exact
    kinds    : a row of verdicts -> the node's kind
    groups   : what nodes in one block share -> the number of their group
    """

    policy: Policy
    seed: int
    ties: Ties
    units: Ints
    tree: Tree
    leaves: Leaves
    asked: Classes
    blocks: Blocks
    pair: Pair
    samples: PodColumns
    by_size: bool
    kinds: dict[bytes, int]
    groups: dict[bytes, int]
    sites: dict[tuple[int, int], int]
    site_allowed: npt.NDArray[np.int32]
    classes: dict[bytes, int]
    class_site: list[int]
    largest: Floats

    @classmethod
    def of(cls, policy: Policy, nodes: NodeColumns, pods: PodColumns, seed: int, ties: Ties) -> Kept | None:
        """None where a policy looks at more than one node at a time, or nodes differ too much for blocks."""
        from k8slab.kernels.tree import Classes

        run = Run(policy, policy.snapshot(nodes, pods), seed, ties)
        problem = tree_problem(run) if len(pods) and len(nodes) else None
        if problem is None:
            return None
        column = np.full(problem.classes, -1, dtype=np.int32)
        site, samples, verdicts = verdicts_of(problem, run)
        allowed, kind, some = kinds_of(verdicts)
        first, pair = groups_of(problem, kind)[1], pair_of(problem)
        leaves = leaves_of(problem, column, allowed[:, site], kind, pair)
        if pair is None or len(first) > MOST_GROUPS:
            return None
        room = 2 * problem.classes + 16
        kinds = len(allowed)
        allowed = np.pad(allowed, ((0, _SPARE), (0, 0)))
        asked = Classes(
            np.full(room, -1, dtype=np.int32),
            np.zeros((len(problem.request), room)),
            np.zeros((kinds + _SPARE, room), dtype=np.int32),
        )
        asked.request[:, : problem.classes] = problem.request
        asked.allowed[:, : problem.classes] = allowed[:, site]
        codes = (pods.tolerations.codes, pods.specs.codes)
        by_size = bool(len(alike(*problem.allocatable, kind, problem.bonus)[1]) <= MOST_GROUPS)
        kept = cls(
            policy=policy, seed=seed, ties=ties, units=problem.units, leaves=leaves, asked=asked,
            blocks=blocks_of(problem, leaves, pair, _SPARE), pair=pair,
            tree=empty_tree(problem.nodes, 0, np.uint8, ties), samples=_copied(pods, samples), by_size=by_size,
            kinds={verdicts[node].tobytes(): number for number, node in enumerate(some.tolist())},
            groups={}, site_allowed=allowed, class_site=site.tolist(),
            largest=_largest_exact(problem),
            sites={(int(codes[0][pod]), int(codes[1][pod])): int(site[k]) for k, pod in enumerate(problem.first)},
            classes={key: k for k, key in enumerate(_keys(pods, problem.first))},
        )  # fmt: skip
        kept.groups |= {key: number for number, key in enumerate(kept._group_keys(first))}
        return kept

    # -- pods ----------------------------------------------------------------------

    def place(self, pods: PodColumns) -> Ints | None:
        """Decide on these pods one after another, and count them; None, with nothing done, for pods of a new kind."""
        from k8slab.kernels.tree import place_by_tree

        classes = [self._class_of(key, pods, pod) for pod, key in enumerate(_keys(pods, np.arange(len(pods))))]
        if None in classes:
            return None
        chosen = np.full(len(pods), -1, dtype=np.int64)
        place_by_tree(
            np.zeros(3, dtype=np.int64),
            len(pods),
            np.array(classes, dtype=np.int32),
            self.asked,
            self.tree,
            self.leaves,
            self.blocks,
            None,
            self.pair,
            (_NOBODY, _NOBODY),
            draws(pods, self.seed, self.ties),
            np.zeros(len(pods), dtype=np.bool_),
            chosen,
        )
        return chosen

    def _class_of(self, key: bytes, pods: PodColumns, pod: int) -> int | None:
        """The class of a pod, which joins the others if its site is known; None if it isn't."""
        if key not in self.classes:
            site = self.sites.get((int(pods.tolerations.codes[pod]), int(pods.specs.codes[pod])))
            request = pods.requests[pod][:, None]
            # What is finer than the unit, or larger than it was made for, needs new units.
            if site is None or (request % self.units).any() or (in_units(request, self.units) > self.largest).any():
                return None
            number = len(self.classes)
            if number == len(self.asked.column):
                more = ((0, 0), (0, number))
                self.asked = self.asked._replace(
                    column=np.full(2 * number, -1, dtype=np.int32),
                    request=np.ascontiguousarray(np.pad(self.asked.request, more)),
                    allowed=np.ascontiguousarray(np.pad(self.asked.allowed, more)),
                )
            self.asked.request[:, number] = in_units(request, self.units)[:, 0]
            self.asked.allowed[:, number] = self.site_allowed[:, site]
            self.classes[key] = number
            self.class_site.append(site)
        return self.classes[key]

    # -- nodes ---------------------------------------------------------------------

    def charge(self, node_rows: Ints, requested: Ints) -> bool:
        """What these nodes hold now, int64[R, .]; False if the units are too coarse for it, or it is too much."""
        if (requested % self.units).any():
            return False
        now = in_units(requested, self.units).T
        changed = (now != self.leaves.requested[node_rows]).any(axis=1)
        self.leaves.requested[node_rows] = now
        self._settle(node_rows[changed])
        return bool(now.max(initial=0.0) < _LARGEST)

    def describe(self, node_rows: Ints, nodes: NodeColumns) -> bool:
        """How these nodes are described now; False if one is unlike any that was there when this was made."""
        snapshot = self.policy.snapshot(nodes, self.samples)
        bonus = users_scores(self.policy, snapshot)
        allocatable = nodes.allocatable[:, node_rows]
        if bonus is None or (allocatable % self.units).any():
            return False
        now = in_units(allocatable, self.units)
        larger = (now.max(axis=1, initial=0.0) > self.leaves.allocatable.max(axis=0)).any()
        others = np.ones(len(bonus), dtype=np.bool_)
        others[node_rows] = False
        if larger or (bonus != self.leaves.bonus)[others].any():
            return False
        verdicts = accepted(self.policy, snapshot, np.arange(len(self.samples)))
        kinds = [self._kind_of(verdicts[node]) for node in node_rows.tolist()]
        self.leaves.allocatable[node_rows] = now.T
        self.leaves.bonus[node_rows] = bonus[node_rows]
        self.leaves.kind[node_rows] = kinds
        groups = [self.groups.setdefault(key, len(self.groups)) for key in self._group_keys(node_rows)]
        if max(kinds) >= len(self.site_allowed) or len(self.groups) > self.blocks.open.shape[1]:
            return False
        self.blocks.group[node_rows] = groups
        self._settle(node_rows)
        return True

    def _kind_of(self, verdicts: npt.NDArray[np.bool_]) -> int:
        """The kind of a node that these sites accept; a new one while there is room."""
        kind = self.kinds.setdefault(verdicts.tobytes(), len(self.kinds))
        if kind < len(self.site_allowed):
            self.site_allowed[kind] = -verdicts.astype(np.int32)
            self.asked.allowed[kind, : len(self.class_site)] = self.site_allowed[kind, self.class_site]
        return kind

    def _group_keys(self, node_rows: Ints) -> list[bytes]:
        state = self.leaves
        size = state.allocatable[node_rows] if self.by_size else state.allocatable[node_rows] > 0
        return [row.tobytes() for row in np.column_stack([size, state.kind[node_rows], state.bonus[node_rows]])]

    def _settle(self, node_rows: Ints) -> None:
        from k8slab.kernels.tree import rescore

        if len(node_rows):
            rescore(node_rows, self.tree, self.leaves, self.blocks, None, self.pair, self.ties == "random")


def _largest_exact(problem: Problem) -> Floats:
    """float64[R, 1]: up to what pods may ask: as much as any node has, where the scores of that are exact."""
    has, asked = problem.allocatable.max(axis=1, initial=0.0), problem.request.max(axis=1, initial=0.0)
    return np.asarray(np.where(2 * FINE * has < _LARGEST, np.maximum(has, asked), asked)[:, None])


def _keys(pods: PodColumns, rows: Ints) -> list[bytes]:
    """What tells these pods' classes apart."""
    codes = (pods.tolerations.codes[rows], pods.specs.codes[rows])
    return [row.tobytes() for row in np.column_stack([pods.requests[rows], *codes]).astype(np.int64)]


def _copied(pods: PodColumns, rows: Ints) -> PodColumns:
    """These pods as they are now, whatever the state makes of them later."""

    def taken(column: Codes[Any]) -> Codes[Any]:
        return column.take(rows)

    labels: Mapping[str, Codes[str]] = {key: taken(column) for key, column in pods.labels.items()}
    return replace(
        pods,
        names=pods.names.take(rows), requests=pods.requests[rows], rows=pods.rows[rows],
        namespaces=taken(pods.namespaces), tolerations=taken(pods.tolerations), priority=pods.priority[rows],
        labels=labels, specs=taken(pods.specs), leaving=pods.leaving[rows], started_ns=pods.started_ns[rows],
    )  # fmt: skip
