"""The groups: rules that compare nodes, at the cost of a few groups of alike nodes and of the nodes that stand apart.

What they are is told in kernels.forest. Here they are made: which layouts make groups, which pods a
kin looks at host by host, how much room all that takes, and whether it is worth while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.policies import tree
from k8slab.policies.compiled import Problem, grouped, in_batches, pair_of
from k8slab.policies.grouping import Grouping, rows_of
from k8slab.policies.policy import Decisions
from k8slab.policies.run import Run
from k8slab.policies.scan import Scan

if TYPE_CHECKING:
    from k8slab.kernels.candidates import News
    from k8slab.kernels.forest import Forest, Rows, Scratch
    from k8slab.kernels.marks import Marks
    from k8slab.kernels.pair import Pair

# Nanoseconds, measured: what the scan spends on a node; what this path spends on a pod, for each class's
# score, for each group and each listed node; and once on each score that it fills in at the start.
_SCAN_NODE, _POD, _CLASS, _GROUP, _LISTED, _FILLED = 20.0, 1_000.0, 20.0, 50.0, 2.0, 2.0
_ENTRY_BYTES: Final = 34  # of a listed node, where the kin is one class and asks about one thing


class Groups(Scan):
    """The kernel's arrays, kept in step with the run's snapshot; it can run as a plain scan, too."""

    def __init__(self, problem: Problem, run: Run) -> None:
        super().__init__(problem, run)
        self._grouped = False
        self._plan: Grouping | None = None

    # -- whether ------------------------------------------------------------------------

    def refusal(self) -> str:
        """Why these pods can't be placed by groups, "" if they can."""
        if len(self.stretches()) > 1:
            return "its pods see nodes in too many ways to hold them all at once"
        if self._problem.highest > np.iinfo(np.int32).max - 8:
            return "its scores are too large"
        return ""

    def pays_off(self) -> bool:
        """Whether groups cost a pod less than the scan of all nodes, as far as can be told beforehand."""
        problem, pods = self._problem, len(self._problem.pod_class)
        # Grouping the nodes takes as long as scanning them for a few pods.
        if pods < 16 or _POD + _CLASS * problem.classes > _SCAN_NODE * problem.nodes:
            return False
        plan = self._planned()
        filled = _FILLED * problem.nodes * problem.classes / pods
        each = _POD + _CLASS * problem.classes + _GROUP * len(plan.size) + _LISTED * plan.listed + filled
        return each < _SCAN_NODE * problem.nodes and self._bytes(plan) <= tree.TREE_BYTES

    def _planned(self) -> Grouping:
        if self._plan is None:
            self.enter(0, len(self._problem.pod_class))
            self._plan = Grouping.of(self._relations, self._sites, self._load, self._pods_of_kin())
        return self._plan

    def _pods_of_kin(self) -> Ints:
        from k8slab.kernels.scan import KIN_KEY

        kin = self._classes.key[KIN_KEY]
        return np.bincount(kin[self._problem.pod_class], minlength=int(kin.max(initial=0)) + 1)

    def _bytes(self, plan: Grouping) -> int:
        leaf = np.dtype(self._dtype()).itemsize * 8 / 7 + (4 / 7 if self._draws[0] else 0)
        leaves = self._problem.nodes + 8 * len(plan.size)
        return int(leaves * self._problem.classes * leaf + _ENTRY_BYTES * plan.start[-1])

    def _dtype(self) -> type[np.signedinteger[Any]]:
        """The smallest integer for the scores, and as far below 0 for those of marked nodes."""
        return np.int16 if self._problem.highest < np.iinfo(np.int16).max - 8 else np.int32

    # -- placing ------------------------------------------------------------------------

    def place_by_groups(self, report: Callable[[int], None]) -> Decisions:
        """Place all pods; one that fits nowhere and may preempt is handed to the run, which asks in numpy."""
        if not self._problem.nodes or not len(self._problem.pod_class):
            return self._run.decisions("groups")
        plan, self._grouped = self._planned(), True
        self._pair = pair_of(self._problem)
        self._forest, self._marks, self._rows = self._empty_forest(plan), self._no_marks(plan), self._what_rows_take()
        self._scratch, self._news = self._room(plan), self._all_nodes()
        in_batches(0, len(self._problem.pod_class), self.place, report)
        return self._run.decisions("groups")

    def _advance(self, start: int, stop: int) -> int:
        if not self._grouped:
            return super()._advance(start, stop)
        from k8slab.kernels import candidates

        news, self._news = self._news, _news(False, np.zeros(0, dtype=np.int64))
        return int(
            candidates.place_by_groups(
                (start, stop),
                news,
                self._problem.pod_class,
                self._forest,
                self._marks,
                self._load,
                self._rows,
                self._sites,
                self._relations,
                self._problem.scoring.normalized,
                self._problem.scoring if self._pair is None else None,
                self._pair,
                self._draws,
                self._stops,
                self._scratch,
                self._run.chosen,
            )
        )

    def _changed(self, node: int, slots: list[tuple[int, int]]) -> None:
        """Note what is to be scored again: the node, and those that counts elsewhere on them mark or release."""
        if self._grouped:
            found = np.array(sorted(set(slots)), dtype=np.int64).reshape(-1, 2)
            nodes = np.unique(np.concatenate([[node], *self._planned().members(found)]))
            self._news = _news(False, nodes.astype(np.int64), slots=found)

    def _all_nodes(self) -> News:
        """All nodes; those of equal amounts and descriptions have equal rows, which are scored once."""
        load, rows = self._load, self._rows
        columns: list[npt.NDArray[Any]] = [rows.allocatable.T, load.requested.T, load.nonzero.T]
        columns += [load.ports.T, rows.allowed, rows.bonus]
        # The bits of whole floats are as good a key as their values.
        alike, first = grouped(np.ascontiguousarray(np.column_stack(columns), dtype=np.float64).view(np.int64))
        return _news(True, np.arange(self._problem.nodes), like=first[alike])

    # -- the kernel's arrays ------------------------------------------------------------

    def _empty_forest(self, plan: Grouping) -> Forest:
        from k8slab.kernels.forest import FANOUT, Forest

        classes, offset, levels = self._problem.classes, *plan.levels()
        leaves, rows = plan.leaves, int(offset.max()) + 1
        node = np.full(leaves, self._problem.nodes, dtype=np.int64)
        node[plan.leaf] = np.arange(self._problem.nodes)
        drawn = rows - leaves if self._draws[0] else 0
        return Forest(
            # Rows that fill a level up to whole families fit nothing.
            best=np.full((rows, classes), -1, dtype=self._dtype()),
            ties=np.zeros((drawn, classes), dtype=np.int32),
            fits=np.zeros((len(plan.size), classes), dtype=np.int32),
            offset=offset,
            shape=np.column_stack([levels, plan.size]),
            place=np.column_stack([plan.leaf, plan.group]),
            node=node,
            leaves=leaves,
            fanout=FANOUT,
        )

    def _no_marks(self, plan: Grouping) -> Marks:
        from k8slab.kernels.company import HARD
        from k8slab.kernels.marks import Marks
        from k8slab.kernels.scan import KIN_KEY

        kin, counters, entries = self._classes.key[KIN_KEY], len(self._load.totals), int(plan.start[-1])
        room = np.diff(plan.start)
        classes = np.argsort(kin, kind="stable")
        class_start = np.searchsorted(kin[classes], np.arange(len(plan.start)))
        rank = np.empty_like(classes)
        rank[classes] = np.arange(len(classes)) - class_start[kin[classes]]
        score_start, amount_start = _starts(room * np.diff(class_start)), _starts(room * np.diff(plan.read_start))
        none, tracked = np.zeros_like(plan.start), np.zeros(counters + 1, dtype=np.int64)
        tracked[rows_of(self._relations, HARD)[:, 0]] = 1
        unset = np.zeros_like(tracked)
        return Marks(
            # In the order of the columns.
            kins=np.column_stack([plan.start, none, none, score_start, amount_start, plan.read_start, class_start]),
            entries=np.empty((entries, 4), dtype=np.int32),
            head=np.full(self._problem.nodes, -1, dtype=np.int32),
            cells=np.zeros((entries, 2), dtype=np.int32),
            score=np.empty(score_start[-1], dtype=self._dtype()),
            amount=np.empty(amount_start[-1], dtype=np.int64),
            read=plan.read,
            column=plan.column,
            classes=np.column_stack([classes, rank]),
            reader=plan.reader,
            counters=np.column_stack([plan.reader_start, unset, unset, tracked]),
            member_first=plan.member_first,
            member_start=plan.member_start,
            member=plan.member,
        )

    def _what_rows_take(self) -> Rows:
        from k8slab.kernels.company import CONFLICTING
        from k8slab.kernels.forest import Rows
        from k8slab.kernels.scan import PORTS_KEY

        classes, start = self._classes, self._relations.start
        amounts = classes.amount.reshape(-1, self._problem.classes).T
        shape, first = grouped(np.ascontiguousarray(amounts).view(np.int64))
        ports = classes.key[PORTS_KEY]
        return Rows(
            allocatable=self._problem.allocatable,
            shape=shape.astype(np.int64),
            amount=np.ascontiguousarray(classes.amount[:, :, first]),
            checked=classes.checked,
            adjusted=classes.adjusted,
            weights=_parts(self._pair, classes.adjusted),
            key=classes.key,
            allowed=np.ascontiguousarray(self._sites.allowed.T),
            bonus=np.ascontiguousarray(self._sites.bonus.T),
            ported=np.flatnonzero(start[CONFLICTING, ports + 1] > start[CONFLICTING, ports]),
        )

    def _room(self, plan: Grouping) -> Scratch:
        from k8slab.kernels.forest import Scratch

        resources, shapes = self._rows.amount.shape[1:]
        candidates = len(plan.size) + int(np.diff(plan.start).max(initial=0))
        return Scratch(
            amounts=np.empty((4, resources, shapes)),
            columns=np.empty((3, shapes)),
            points=np.empty(shapes, dtype=np.int32),
            values=np.empty((2, self._problem.classes), dtype=self._dtype()),
            ties=np.empty(self._problem.classes, dtype=np.int32),
            candidates=np.empty((6, candidates), dtype=np.int64),
            scores=np.empty((2, candidates)),
            seen=np.zeros(int(self._relations.layout.max(initial=0)) + 1, dtype=np.bool_),
        )


def _parts(pair: Pair | None, adjusted: bool) -> npt.NDArray[np.float64]:
    """float64[1 or 2, 4]: see kernels.forest.Rows."""
    if pair is None:
        return np.zeros((1, 4))
    of_use, *of_resources, of_balance = pair.weight.tolist()
    if not adjusted:
        return pair.weight[np.newaxis]
    return np.array([[of_use, *of_resources, 0.0], [0.0, *of_resources, of_balance]])


def _news(whole: bool, nodes: Ints, like: Ints | None = None, slots: Ints | None = None) -> News:
    from k8slab.kernels.candidates import News

    slots = np.zeros((0, 2), dtype=np.int64) if slots is None else slots
    return News(whole, nodes, nodes if like is None else like, slots)


def _starts(sizes: Ints) -> Ints:
    """int64[K + 1]: where parts of these sizes begin, one after the other."""
    return np.append(0, np.cumsum(sizes)).astype(np.int64)
