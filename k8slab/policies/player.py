"""Deciding over comings and goings at the speed of compiled code, where a policy looks at one node at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, PodColumns
from k8slab.domain.node_template import NodeTemplate, columns_of
from k8slab.domain.ports import Change, ClusterStatePort
from k8slab.kernels.course_columns import Course, Lived, Told
from k8slab.policies.compiled import Problem, allowed_nodes, grouped, in_units, pair_of, sites
from k8slab.policies.descriptions import description, is_blind
from k8slab.policies.engine import node_by_node
from k8slab.policies.placer import Placer
from k8slab.policies.plugins import Mask
from k8slab.policies.policy import Policy
from k8slab.policies.user import UserScore

if TYPE_CHECKING:
    from k8slab.kernels.churn import Board
    from k8slab.kernels.scores import Floats

_DESCRIBES: Final = {"NODE_ADDED", "NODE_STATE", "NODE_UPDATED", "NODE_REMOVED"}
# So many nodes may come, at least, before a table is made anew.
_RESERVE: Final = 64
Key = tuple[int, ...]


@dataclass(eq=False)
class _Table:
    """A filled board, and what it was made from. It has room for nodes that come; those that go stay until it is full.

    board  : of the nodes that it has, a part of `store`
    rows   : int64[n]  the state's row of each node of the board, ascending
    place  : int64[N]  the board's of each node row, -1 for one that it doesn't have
    gone   : float64[R] the most that a node has which isn't on the board any more
    pods   : a pod of each class, as it was then
    site   : int64[C]     see compiled.sites
    units  : int64[R, 1]
    blind  : whether of a node's description only state and taints matter
    known  : how a node was described -> bool[S], what the filters said: nodes that come and go are as they were
    templates : of nodes that will come -> bool[C], the same
    """

    store: Board
    board: Board
    rows: Ints
    place: Ints
    gone: Floats
    pods: PodColumns
    site: npt.NDArray[Any]
    samples: Ints
    units: Ints
    blind: bool
    known: dict[Any, Mask] = field(default_factory=dict)
    templates: dict[NodeTemplate, Mask] = field(default_factory=dict)

    def add(self, rows: Ints, allocatable: Floats) -> bool:
        """Nodes that came, of which only allocatable float64[n, R] is known yet; False if there is no room."""
        first, stop = len(self.rows), len(self.rows) + len(rows)
        if stop > len(self.store.allocatable) or (allocatable > self.board.largest).any():
            return False
        self.store.allocatable[first:stop] = allocatable
        self.rows = np.concatenate([self.rows, rows])
        self.place = np.concatenate([self.place, np.full(max(0, int(rows.max()) + 1 - len(self.place)), -1)])
        self.place[rows] = np.arange(first, stop)
        self.board = _first_of(self.store, stop)
        return True

    def keep(self, count: int) -> None:
        """The first so many nodes stay, the others didn't come; nobody was allowed there."""
        self.place[self.rows[count:]] = -1
        self.store.allocatable[count : len(self.rows)] = 0.0
        self.rows = self.rows[:count]
        self.board = _first_of(self.store, count)


def _first_of(store: Board, nodes: int) -> Board:
    """The board of the first so many nodes."""
    from k8slab.kernels.churn import SIZE

    blocks = -(-nodes // SIZE)
    return store._replace(
        points=store.points[: blocks * SIZE], allocatable=store.allocatable[:nodes],
        requested=store.requested[:nodes], allowed=store.allowed[:nodes], bonus=store.bonus[:nodes],
    )  # fmt: skip


class Player:
    """A Placer that also looks ahead over pods that come and go; ties go to the lowest row.

    Its table has a row of points a node; what is done to the state is read from its journal, and the
    nodes it names are scored anew. Where the policy, or a pod, looks at more than one node
    at a time, a Placer decides, and there is no looking ahead: `live` gives None.
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
        return self._place(classes)

    def _place(self, classes: Ints) -> Ints:
        from k8slab.kernels.churn import place_each

        table = self._filled
        chosen = np.full(len(classes), -1, dtype=np.int64)
        place_each(classes, table.board, chosen)
        placed = chosen >= 0
        chosen[placed] = table.rows[chosen[placed]]
        # What the state isn't told of must be read from it again.
        self._ahead = np.unique(np.concatenate([self._ahead, chosen[placed]]))
        return chosen

    def live(self, course: Course, templates: Sequence[NodeTemplate] = ()) -> Lived | None:
        """What comes of a course; None where a Placer decides. See simulation.stretch.PlayerPort."""
        from k8slab.kernels.course import NODES, REFUSED, SEQUENCE, TOLD, TRIES, WAITS, live

        come, end = len(course.pods.row), len(course.ends.row)
        kinds = self._ready_for(np.concatenate([course.pods.row, course.ends.row]))
        if kinds is None:
            return None
        table, coming, there = self._filled, len(course.at_ns), len(self._filled.rows)
        allowed = self._announce(course.joins.row, templates)
        if allowed is None:
            return None
        course = course._replace(
            pods=course.pods._replace(kind=kinds[:come]),
            ends=course.ends._replace(kind=kinds[come:], node=table.place[course.ends.node]),
            joins=course.joins._replace(node=table.place[course.joins.row], allowed=allowed),
        )
        # Each may end; those who come may be told of coming, being bound and ending, those who wait of the last two.
        most = end + coming + 2 * come + len(templates)
        told = Told(_numbers(most), np.empty(most, dtype=np.int8), _numbers(most), _numbers(most))
        line = np.concatenate([course.line, _numbers(coming)])
        refused_ns, refused = _numbers(coming), _numbers(coming)
        count, before_ns = live(course, table.board, table.rows, told, line, refused_ns, refused)
        if len(templates):
            table.keep(there + int(count[NODES]))
        many, first = slice(count[TOLD]), slice(count[REFUSED])
        return Lived(
            Told(told.at_ns[many], told.verb[many], told.pod[many], told.node[many]), int(before_ns),
            line[: count[WAITS]], int(count[SEQUENCE]), int(count[TRIES]), refused_ns[first], refused[first],
        )  # fmt: skip

    def _announce(self, rows: Ints, templates: Sequence[NodeTemplate]) -> Mask | None:
        """bool[J, C]: who may use these nodes once they are there; None, and nothing is done, if that can't be told."""
        table = self._filled
        none = np.zeros((0, table.board.allowed.shape[1]), dtype=np.bool_)
        if not templates:
            return none
        allowed = [self._verdict(template) for template in templates]
        has = np.stack([template.allocatable for template in templates], axis=1)
        known = [verdict for verdict in allowed if verdict is not None]
        odd = len(known) < len(allowed) or self._has_users_scores or bool((has % table.units).any())
        return None if odd or not table.add(rows, in_units(has, table.units).T) else np.array(known)

    def _verdict(self, template: NodeTemplate) -> Mask | None:
        """bool[C]: which classes may use an empty node of a template; None if a score would tell it from others."""
        table = self._filled
        if template not in table.templates:
            snapshot = self._policy.snapshot(columns_of([template], self._state.schema), table.pods)
            if node_by_node(self._policy, snapshot):
                return None
            verdict = [allowed_nodes(self._policy, snapshot, pod)[0] for pod in table.samples.tolist()]
            table.templates[template] = np.array(verdict, dtype=np.bool_)[table.site]
        return table.templates[template]

    def settle(self) -> None:
        """The state was told of all that was lived through."""
        self._read = self._state.version

    @property
    def _filled(self) -> _Table:
        assert self._table is not None, "no table to decide by"
        return self._table

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
        verbs = {change.verb for change in changes}
        if "NOMINATED" in verbs and any(
            change.verb == "NOMINATED" and bool((change.node_rows >= 0).any()) for change in changes
        ):
            self._promised = True
            self._table = None
            return
        touched = {*self._ahead.tolist(), *_nodes_of(changes)}
        self._ahead = self._ahead[:0]
        described = _nodes_of(change for change in changes if change.verb in _DESCRIBES)
        if described:
            come = _as_rows(_nodes_of(change for change in changes if change.verb == "NODE_ADDED"))
            if (len(come) and not self._add(come)) or not self._describe(_as_rows(described)):
                self._table = None
        if touched and self._table is not None:
            self._score(_as_rows(touched), resized=bool(described))

    def _add(self, rows: Ints) -> bool:
        """Nodes that came get a place in the table; False if it has to be made anew."""
        table, has = self._filled, self._state.allocatable[:, rows]
        if self._has_users_scores or (has % table.units).any():
            return False
        return table.add(rows, in_units(has, table.units).T)

    @property
    def _has_users_scores(self) -> bool:
        return any(isinstance(score, UserScore) for score, _ in self._policy.scores)

    def _forget_classes(self) -> None:
        """A pod that stood for its class is another now: all are numbered anew."""
        self._classes.clear()
        self._sample.clear()
        self._class_of[:] = -1
        self._numbered = 0
        self._table = None

    def _score(self, nodes: Ints, *, resized: bool) -> None:
        """Read what these nodes hold from the state, and what they have where it may be another; and score them."""
        from k8slab.kernels.churn import rescore

        table, places = self._filled, self._filled.place[nodes]
        holds = self._state.requested[:, nodes]
        if (holds % table.units).any() or (resized and not self._resize(nodes, places)):
            self._table = None
            return
        table.board.requested[places] = in_units(holds, table.units).T
        rescore(places, table.board)

    def _resize(self, nodes: Ints, places: Ints) -> bool:
        """Read what these nodes have; False if the table has to be made anew."""
        table, has = self._filled, self._state.allocatable[:, nodes]
        if (has % table.units).any():
            return False
        board, now_has = table.board, in_units(has, table.units).T
        changes = bool((board.allocatable[places] != now_has).any())
        board.allocatable[places] = now_has
        if changes and (board.allocatable.max(axis=0, initial=0.0) != board.largest).any():
            # The largest node is no longer as large as the scores think that measure by it.
            largest = np.maximum(board.allocatable.max(axis=0, initial=0.0), table.gone)
            return not (largest != board.largest).any()
        return True

    def _describe(self, rows: Ints) -> bool:
        """Ask the filters of these nodes again; False if a score has come to tell nodes apart that didn't."""
        table, columns = self._filled, self._state.node_columns()
        told = [description(columns, row, table.blind) for row in rows.tolist()]
        new = np.array([one not in table.known for one in told], dtype=np.bool_)
        if new.any():
            snapshot = self._policy.snapshot(columns.take(rows[new]), table.pods)
            if node_by_node(self._policy, snapshot):
                return False
            verdicts = np.array([allowed_nodes(self._policy, snapshot, pod) for pod in table.samples.tolist()])
            for place, verdict in zip(np.flatnonzero(new).tolist(), verdicts.T, strict=True):
                table.known[told[place]] = verdict
        table.board.allowed[table.place[rows]] = np.array([table.known[one] for one in told])[:, table.site]
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
        from k8slab.kernels.churn import rescore

        sample = np.array(self._sample, dtype=np.int64)
        snapshot = self._policy.snapshot(self._state.node_columns(), self._state.pod_columns(sample))
        problem = None if node_by_node(self._policy, snapshot) else Problem.of(self._policy, snapshot)
        if problem is None or problem.adjusted or problem.highest >= 2**31 - 1:
            self._able = False
            return
        site, samples = sites(snapshot.pods, problem.first)
        here = np.flatnonzero(snapshot.nodes.alive)
        verdicts: Mask = np.empty((len(here), len(samples)), dtype=np.bool_)
        for column, pod in enumerate(samples.tolist()):
            verdicts[:, column] = allowed_nodes(self._policy, snapshot, pod)[here]
        where = site[problem.pod_class]
        store = _room_for(problem, len(here) + max(_RESERVE, len(here) // 4))
        board = _first_of(store, len(here))
        board.allocatable[:], board.requested[:] = problem.allocatable.T[here], problem.requested.T[here]
        board.allowed[:], board.bonus[:] = verdicts[:, where], problem.bonus[here]
        rescore(np.arange(len(here)), board)
        place = np.full(problem.nodes, -1, dtype=np.int64)
        place[here] = np.arange(len(here))
        gone = np.where(snapshot.nodes.alive, 0.0, problem.allocatable).max(axis=1, initial=0.0)
        self._table = _Table(
            store, board, here, place, gone, snapshot.pods, where, samples, problem.units,
            is_blind(self._policy, snapshot.pods),
        )  # fmt: skip
        self._ahead = self._ahead[:0]

    def __repr__(self) -> str:
        return f"<Player {self._policy.name}: by {self.path}, {len(self._sample):,} classes>"


def _room_for(problem: Problem, nodes: int) -> Board:
    """A board for so many nodes, on which nothing is yet."""
    from k8slab.kernels.churn import SIZE, Board

    blocks, classes, resources = -(-nodes // SIZE), len(problem.pod_class), len(problem.units)
    nodes, pair = blocks * SIZE, pair_of(problem)
    return Board(
        points=np.zeros((nodes, classes), dtype=np.int32),
        best=np.zeros((classes, blocks), dtype=np.int32),
        allocatable=np.zeros((nodes, resources)),
        requested=np.zeros((nodes, resources)),
        request=np.ascontiguousarray(problem.request[:, problem.pod_class]),
        allowed=np.zeros((nodes, classes), dtype=np.bool_),
        bonus=np.zeros(nodes),
        largest=problem.scoring.largest,
        scoring=problem.scoring if pair is None else None,
        pair=pair,
    )


def _nodes_of(changes: Iterable[Change]) -> set[int]:
    found: set[int] = set()
    for change in changes:
        found.update(change.node_rows.tolist())
    return found - {-1}


def _as_rows(nodes: set[int]) -> Ints:
    return np.array(sorted(nodes), dtype=np.int64)


def _numbers(count: int) -> Ints:
    return np.empty(count, dtype=np.int64)
