"""Deciding over comings and goings at the speed of compiled code, where a policy looks at one node at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.ports import Change, ClusterStatePort
from k8slab.policies.compiled import Problem, allowed_nodes, grouped, in_units, sites
from k8slab.policies.engine import node_by_node
from k8slab.policies.placer import Placer
from k8slab.policies.plugins import Mask
from k8slab.policies.policy import Policy

if TYPE_CHECKING:
    from k8slab.kernels.churn import Board

_DESCRIBES: Final = ("NODE_STATE", "NODE_UPDATED")
_NODES: Final = ("NODE_ADDED", "NODE_REMOVED")
Key = tuple[int, ...]


@dataclass(eq=False)
class _Table:
    """A filled board, and what it was made from.

    pods   : a pod of each class, as it was then
    site   : int64[C]     see compiled.sites
    units  : int64[R, 1]
    known  : how a node was described -> bool[S], what the filters said: nodes that come and go are as they were
    """

    board: Board
    pods: PodColumns
    site: npt.NDArray[Any]
    samples: Ints
    units: Ints
    known: dict[Any, Mask] = field(default_factory=dict)


class Player:
    """A Placer that also looks ahead over pods that come and go; ties go to the lowest row.

    Its table has a row of points a node; what is done to the state is read from its journal, and the
    nodes it names are scored anew. Where the policy, or a pod, looks at more than one node
    at a time, a Placer decides, and there is no looking ahead: `play` gives no node.
    """

    def __init__(self, policy: Policy, state: ClusterStatePort, *, seed: int = 0) -> None:
        self._policy = replace(policy, post_filter=None)
        self._state = state
        self._placer = Placer(policy, state, seed=seed)
        self._classes: dict[Key, int] = {}
        self._class_of = np.full(0, -1, dtype=np.int64)
        self._numbered = 0
        self._sample: list[int] = []
        self._table: _Table | None = None
        self._able = policy.checks_fit
        self._promised = state.node_columns().nominated is not None
        self._read = state.version
        self._ahead: Ints = np.zeros(0, dtype=np.int64)

    @property
    def path(self) -> str:
        """How it decides: "churn", or as the Placer does."""
        return "churn" if self._able else self._placer.path

    # -- deciding ------------------------------------------------------------------------

    def place(self, pod_rows: Ints) -> Ints:
        """int64[.]: a node row for each of these waiting pods, decided one after another; -1 where none fits."""
        rows = np.asarray(pod_rows, dtype=np.int64)
        classes = self._ready_for(rows)
        if classes is None:
            self._ahead = np.zeros(0, dtype=np.int64)
            return self._placer.place(rows)
        nobody = np.zeros(0, dtype=np.int64)
        chosen, _ = self._play(classes, np.zeros(len(rows) + 1, dtype=np.int64), nobody, nobody, nobody, stop=False)
        return chosen

    def play(self, pod_rows: Ints, leaves_from: Ints, leavers: Ints) -> Ints:
        """int64[k]: nodes of the first k pods, up to the first that fits nowhere; see simulation.stretch.PlayerPort."""
        both = np.concatenate([pod_rows, leavers])
        classes = self._ready_for(both)
        if classes is None:
            return np.zeros(0, dtype=np.int64)
        count = len(pod_rows)
        index = np.full(len(leavers), -1, dtype=np.int64)
        order = np.argsort(pod_rows)
        if count:
            place = order[np.clip(np.searchsorted(pod_rows, leavers, sorter=order), 0, count - 1)]
            index = np.where(pod_rows[place] == leavers, place, -1)
        node = np.where(index < 0, self._state.pod_node[leavers], -1).astype(np.int64)
        chosen, done = self._play(classes[:count], leaves_from, classes[count:], node, index, stop=True)
        return chosen[:done]

    def settle(self, complete: bool) -> None:
        """The caller played into the state what was decided; all of it, or only a part: then the rest is forgotten."""
        if complete:
            self._read = self._state.version
            self._ahead = self._ahead[:0]

    def _play(
        self, classes: Ints, leaves_from: Ints, leaver_class: Ints, leaver_node: Ints, leaver_pod: Ints, *, stop: bool
    ) -> tuple[Ints, int]:
        from k8slab.kernels.churn import play

        assert self._table is not None, "no table to decide by"
        chosen = np.full(len(classes), -1, dtype=np.int64)
        done = int(
            play(classes, leaves_from, leaver_class, leaver_node, leaver_pod, self._table.board, stop, chosen)
        )
        # What the state isn't told of must be read from it again.
        touched = np.concatenate([self._ahead, chosen[chosen >= 0], leaver_node[leaver_node >= 0]])
        self._ahead = np.unique(touched)
        return chosen, done

    # -- keeping in step --------------------------------------------------------------------

    def _ready_for(self, rows: Ints) -> Ints | None:
        """int64[n] the class of each of these pods, with the table in step; None where a Placer has to decide."""
        if not self._able:
            return None
        self._sync()
        if self._promised:
            # A pod that is promised a node keeps others from it: that is for the Placer, while there is one.
            self._promised = self._state.node_columns().nominated is not None
            if self._promised:
                return None
        if not self._able:
            return None
        classes = self._known(rows)
        if self._table is None:
            self._build()
        return classes if self._able else None

    def _sync(self) -> None:
        changes = self._state.changes(self._read)
        self._read += len(changes)
        for change in changes:
            if change.verb == "POD_UPDATED":
                self._class_of[change.pod_rows[change.pod_rows < len(self._class_of)]] = -1
                if not set(self._sample).isdisjoint(change.pod_rows.tolist()):
                    self._forget_classes()
        if self._table is None:
            return
        if any(change.verb in _NODES for change in changes):
            self._table = None
            return
        if any(change.verb == "NOMINATED" and bool((change.node_rows >= 0).any()) for change in changes):
            self._promised = True
            self._table = None
            return
        described = self._nodes_of(change for change in changes if change.verb in _DESCRIBES)
        touched = np.unique(np.concatenate([self._ahead, self._nodes_of(changes)]))
        self._ahead = self._ahead[:0]
        if len(described) and not self._describe(described):
            self._table = None
        elif len(touched):
            self._score(touched)

    def _forget_classes(self) -> None:
        """A pod that stood for its class is another now: all are numbered anew."""
        self._classes.clear()
        self._sample.clear()
        self._class_of[:] = -1
        self._numbered = 0
        self._table = None

    def _nodes_of(self, changes: Iterable[Change]) -> Ints:
        parts = [change.node_rows for change in changes]
        nodes = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
        return nodes[nodes >= 0]

    def _score(self, nodes: Ints) -> None:
        """Read what these nodes have and hold from the state, and score them."""
        from k8slab.kernels.churn import rescore

        table, state = self._table, self._state
        assert table is not None
        has, holds = state.allocatable[:, nodes], state.requested[:, nodes]
        if (has % table.units).any() or (holds % table.units).any():
            self._table = None
            return
        board, now_has = table.board, in_units(has, table.units).T
        resized = bool((board.allocatable[nodes] != now_has).any())
        board.allocatable[nodes] = now_has
        board.requested[nodes] = in_units(holds, table.units).T
        if resized and (board.allocatable.max(axis=0, initial=0.0) != board.scoring.largest).any():
            # The largest node is no longer as large as the scores think that measure by it.
            self._table = None
            return
        rescore(nodes, board)

    def _describe(self, nodes: Ints) -> bool:
        """Ask the filters of these nodes again; False if a score has come to tell nodes apart that didn't."""
        table, rows, columns = self._table, np.unique(nodes), self._state.node_columns()
        assert table is not None
        told = [_description(columns, row) for row in rows.tolist()]
        new = np.array([description not in table.known for description in told], dtype=np.bool_)
        if new.any():
            snapshot = self._policy.snapshot(columns.take(rows[new]), table.pods)
            if node_by_node(self._policy, snapshot):
                return False
            verdicts = np.array([allowed_nodes(self._policy, snapshot, pod) for pod in table.samples.tolist()])
            for place, verdict in zip(np.flatnonzero(new).tolist(), verdicts.T, strict=True):
                table.known[told[place]] = verdict
        table.board.allowed[rows] = np.array([table.known[description] for description in told])[:, table.site]
        return True

    def _known(self, rows: Ints) -> Ints:
        """int64[n]: the classes of these pods; a class that is new asks for a new table."""
        known, there = self._numbered, self._state.pod_count
        if there > len(self._class_of):
            self._class_of = np.concatenate([self._class_of, np.full(max(there, 64), -1)])
        if there > known:
            # All that have a row, though most may come in days: once, not at each stretch.
            self._number(np.arange(known, there))
            self._numbered = there
        classes = self._class_of[rows]
        if (classes < 0).any():
            self._number(rows[classes < 0])
            classes = self._class_of[rows]
        return classes

    def _number(self, rows: Ints) -> None:
        pods = self._state.pod_columns(rows)
        keys = np.column_stack([pods.requests, pods.tolerations.codes, pods.specs.codes])
        where, first = grouped(keys)
        numbers = []
        for key, sample in zip(map(tuple, keys[first].tolist()), rows[first].tolist(), strict=True):
            if key not in self._classes:
                self._classes[key] = len(self._sample)
                self._sample.append(sample)
                self._table = None
            numbers.append(self._classes[key])
        self._class_of[rows] = np.array(numbers, dtype=np.int64)[where]

    def _build(self) -> None:
        """A table of all nodes for all classes so far."""
        from k8slab.kernels.churn import SIZE, Board, rescore

        sample = np.array(self._sample, dtype=np.int64)
        snapshot = self._policy.snapshot(self._state.node_columns(), self._state.pod_columns(sample))
        problem = None if node_by_node(self._policy, snapshot) else Problem.of(self._policy, snapshot)
        if problem is None or problem.adjusted or problem.highest >= 2**31 - 1:
            self._able = False
            return
        numbers = problem.pod_class
        site, samples = sites(snapshot.pods, problem.first)
        verdicts: Mask = np.empty((problem.nodes, len(samples)), dtype=np.bool_)
        for column, pod in enumerate(samples.tolist()):
            verdicts[:, column] = allowed_nodes(self._policy, snapshot, pod)
        where = site[numbers]
        blocks = -(-problem.nodes // SIZE)
        board = Board(
            points=np.zeros((blocks * SIZE, len(sample)), dtype=np.int32),
            best=np.zeros((blocks, len(sample)), dtype=np.int32),
            allocatable=np.ascontiguousarray(problem.allocatable.T),
            requested=np.ascontiguousarray(problem.requested.T),
            request=np.ascontiguousarray(problem.request[:, numbers]),
            allowed=np.ascontiguousarray(verdicts[:, where]),
            bonus=problem.bonus,
            scoring=problem.scoring,
        )
        rescore(np.arange(problem.nodes), board)
        self._table = _Table(board, snapshot.pods, where, samples, problem.units)
        self._ahead = self._ahead[:0]

    def __repr__(self) -> str:
        return f"<Player {self._policy.name}: by {self.path}, {len(self._sample):,} classes>"


def _description(nodes: NodeColumns, row: int) -> Any:
    """All that filters may know of a node by itself."""
    labels = tuple(int(column.codes[row]) for column in nodes.labels.values())
    words = int(nodes.state[row]), bool(nodes.alive[row]), int(nodes.taints.codes[row]), int(nodes.images.codes[row])
    return words, labels, nodes.allocatable[:, row].tobytes()
