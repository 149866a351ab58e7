"""The scan: all of a policy's rules in one compiled loop over nodes a pod, and the arrays that it runs on."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.pod_spec import HOSTNAME, PodSpec
from k8slab.policies import plugins
from k8slab.policies.compiled import Problem, active_scores, allowed_nodes, by_spec, draws, in_batches, in_units, sites
from k8slab.policies.plugins import Decision
from k8slab.policies.plugins.inter_pod_affinity import Neighbour, Neighbours
from k8slab.policies.plugins.pod_topology_spread import Spread, Spreads
from k8slab.policies.policy import Decisions
from k8slab.policies.preempting import Preemptions, may_preempt
from k8slab.policies.run import Run
from k8slab.policies.snapshot import Crowd

if TYPE_CHECKING:
    from k8slab.kernels.company import Relations
    from k8slab.kernels.sampling import Sample
    from k8slab.kernels.scan import Classes, Load, Sites

SITE_BYTES: Final = int(os.environ.get("K8SLAB_SITE_BYTES", 2**28))
_NO_SPREADS: Final = Spreads((), (), np.zeros(0, dtype=np.bool_))
_NOBODY: Final = Neighbours()
Row = tuple[int, ...]


class Scan:
    """The kernel's arrays, kept in step with the run's snapshot."""

    def __init__(self, problem: Problem, run: Run) -> None:
        self._problem = problem
        self._run = run
        self._snapshot = run.snapshot
        self._site, self._samples = sites(run.snapshot.pods, problem.first)
        related = _Related(run, problem.first)
        self._relations, self._classes = related.relations(), related.classes(problem)
        self._related = related
        self._load = self._read_load()
        self._draws = draws(run.snapshot.pods, run.seed, run.ties)
        self._stops = may_preempt(run)
        self._sample = _sample(run)
        self._left = np.zeros(1, dtype=np.int64)
        self._preemptions: Preemptions | None = None

    # -- what nodes' descriptions say ----------------------------------------------

    def stretches(self) -> Sequence[tuple[int, int]]:
        """Pods (start, stop) whose tables fit in memory together."""
        most = max(1, SITE_BYTES // (25 * max(self._problem.nodes, 1)))
        pods = len(self._problem.pod_class)
        if len(self._samples) <= most:
            return [(0, pods)]
        starts, there = [0], set[int]()
        for pod, site in enumerate(self._site[self._problem.pod_class].tolist()):
            if site not in there and len(there) == most:
                starts.append(pod)
                there.clear()
            there.add(site)
        return list(zip(starts, [*starts[1:], pods], strict=True))

    def enter(self, start: int, stop: int) -> None:
        """Ask filters and scores about the nodes for the pods of a stretch."""
        here = np.unique(self._site[self._problem.pod_class[start:stop]])
        rows, self._sites = _described(self._run, self._problem, self._samples[here].tolist())
        of_site = np.zeros((len(rows), len(self._samples)), dtype=np.int64)
        of_site[:, here] = rows
        self._classes.key[:4] = of_site[:, self._site]

    # -- placing -------------------------------------------------------------------

    def place_all(self, report: Callable[[int], None]) -> Decisions:
        """Place all pods, each looking at all nodes or the policy's sample; where none fits others may have to go."""
        for start, stop in self.stretches():
            self.enter(start, stop)
            in_batches(start, stop, self.place, report)
        return self._run.decisions("scan")

    def place(self, part: tuple[int, int]) -> None:
        """Place the pods (start, stop)."""
        start, stop = part
        while start < stop:
            start = self._advance(start, stop)
            if start < stop:
                self._hand_over(start)
                start += 1

    def _advance(self, start: int, stop: int) -> int:
        """Place pods up to `stop`, or to one that is to be handed over; gives where it ended."""
        from k8slab.kernels import sampling
        from k8slab.kernels import scan as kernels

        problem, run = self._problem, self._run
        given = (
            (start, stop),
            self._left,
            problem.pod_class,
            problem.allocatable,
            self._load,
            self._classes,
            self._sites,
            self._relations,
            problem.scoring,
            run.leaving,
            self._draws,
            self._stops,
        )
        if self._sample is None:
            return int(kernels.place_by_scan(*given, run.chosen))
        reached = int(sampling.place_by_sample(*given, self._sample, run.chosen))
        run.snapshot.search_start = int(self._sample.next[0])
        return reached

    def _hand_over(self, pod: int) -> None:
        """Let others go for a pod, and count what that changed."""
        if self._preemptions is None:
            self._preemptions = Preemptions(self._run, self._problem, self._is_alone)
        change = self._preemptions.place(pod)
        if change is None:
            return
        node = change.node_row
        self._load.requested[:, node] = self._preemptions.requested[node] // self._problem.units[:, 0]
        slots: list[tuple[int, int]] = []
        if self._classes.adjusted or len(self._load.ports) or len(self._load.totals):
            for victim in change.victims:
                crowd = self._snapshot.bound if victim.bound else self._snapshot.incoming
                slots += self._count(crowd, victim.row, node, -1)
            slots += self._count(self._snapshot.incoming, pod, node, 1)
        self._changed(node, slots)

    def _changed(self, node: int, slots: list[tuple[int, int]]) -> None:
        """For those who keep more than counts: a node's amounts changed, and what counters hold in these slots."""

    def _is_alone(self, pod: int) -> bool:
        """Whether the pod's place hangs on amounts alone."""
        from k8slab.kernels.company import AWAY, CONFLICTING, HARD, WANTED
        from k8slab.kernels.scan import KIN_KEY, PORTS_KEY

        if not (len(self._load.ports) or len(self._load.totals)):
            return True
        start, key = self._relations.start, self._classes.key[:, self._problem.pod_class[pod]]
        kin, port = key[KIN_KEY], key[PORTS_KEY]
        lists = ((HARD, kin), (WANTED, kin), (CONFLICTING, port))
        if any(start[table, place] < start[table, place + 1] for table, place in lists):
            return False
        away = self._relations.rows[start[AWAY, kin] : start[AWAY, kin + 1], 0]
        return not self._load.totals[away].any()

    def _count(self, crowd: Crowd, row: int, node: int, by: int) -> list[tuple[int, int]]:
        """Count a pod that came to a node, or went, beside what is requested; gives counters and slots."""
        load, slots = self._load, []
        load.nonzero[:, node] += by * (crowd.nonzero(row) // self._problem.units[:, 0])
        load.ports[self._snapshot.port_rows(crowd.pods.spec(row)), node] = by > 0
        for number, gain in self._related.gains(int(crowd.kin[row])) if len(load.totals) else ():
            layout, first, _ = self._relations.counter[number].tolist()
            slot = self._relations.layout[layout, node]
            if slot > 0:
                load.amounts[first + slot] += by * gain
                load.totals[number] += by * gain
                slots.append((number, int(slot)))
        return slots

    def _read_load(self) -> Load:
        from k8slab.kernels.scan import Load

        snapshot, units = self._snapshot, self._problem.units
        amounts = [np.append(0, counter.amounts) for counter in snapshot.counters]
        return Load(
            requested=in_units(snapshot.nodes.requested, units),
            nonzero=in_units(snapshot.nonzero, units),
            ports=snapshot.ports.copy(),
            amounts=np.concatenate([np.zeros(0, dtype=np.int64), *amounts]),
            totals=np.array([part.sum() for part in amounts], dtype=np.int64),
        )


def _sample(run: Run) -> Sample | None:
    from k8slab.kernels.sampling import Sample

    if run.starts is None or run.policy.sampling is None:
        return None
    order = run.snapshot.search_order
    start = np.array([run.snapshot.search_start], dtype=np.int64)
    return Sample(order, run.policy.sampling.wanted(len(order)), start, run.starts)


# -- tables of what nodes' descriptions say ----------------------------------------------


class _Distinct:
    """Rows of an array, equal ones once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._rows: list[npt.NDArray[Any]] = []

    def add(self, row: npt.NDArray[Any]) -> int:
        """The number of this row."""
        key = row.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self._rows)
            self._rows.append(row)
        return self._numbers[key]

    def table(self, nodes: int, dtype: type) -> npt.NDArray[Any]:
        """[., N]: the rows by their numbers."""
        return np.array(self._rows, dtype=dtype).reshape(len(self._rows), nodes)


def _described(run: Run, problem: Problem, samples: list[int]) -> tuple[Ints, Sites]:
    """int64[4, S] a row in each table for each of these pods, and the tables."""
    from k8slab.kernels.scan import Sites

    scores = {type(score): (score, weight) for score, weight in active_scores(run.policy, run.snapshot)}
    allowed, bonus, taints, preferences = tables = [_Distinct() for _ in range(4)]
    nothing = np.zeros(problem.nodes)
    rows = np.zeros((4, len(samples)), dtype=np.int64)
    for column, pod in enumerate(samples):
        decision = Decision.on(run.snapshot, pod)

        def raw(kind: type, decision: Decision = decision) -> npt.NDArray[np.float64]:
            return scores[kind][0].raw(decision) if kind in scores else nothing

        weight = scores[plugins.ImageLocality][1] if plugins.ImageLocality in scores else 0.0
        rows[:, column] = (
            allowed.add(allowed_nodes(run.policy, run.snapshot, pod)),
            bonus.add(problem.bonus + weight * raw(plugins.ImageLocality)),
            taints.add(raw(plugins.TaintToleration)),
            preferences.add(raw(plugins.NodeAffinity)),
        )
    dtypes = (np.bool_, np.float64, np.float64, np.float64)
    return rows, Sites(*(table.table(problem.nodes, dtype) for table, dtype in zip(tables, dtypes, strict=True)))


# -- tables of what pods ask of other pods -------------------------------------------------


class _Related:
    """Writes down by numbers what the plug-ins prepared in a snapshot, and what ports pods want."""

    def __init__(self, run: Run, first: Ints) -> None:
        self._policy = run.policy
        self._snapshot = run.snapshot
        self._first = first
        self._kins = run.snapshot.incoming_kin or [0]
        self._ports, self._port_specs = by_spec(run.snapshot.pods, first, lambda spec: spec.ports)
        self._layouts = _Distinct()
        self._gains_of: dict[int, list[Row]] = {}
        self._numbers = {id(counter): number for number, counter in enumerate(run.snapshot.counters)}

    def classes(self, problem: Problem) -> Classes:
        """What tells pods apart; their sites are still to come."""
        from k8slab.kernels.scan import KEYS, KIN_KEY, PORTS_KEY, Classes

        fit = next(item for item in self._policy.filters if isinstance(item, plugins.NodeResourcesFit))
        kin = self._snapshot.incoming.kin
        place = np.searchsorted(self._kins, kin[self._first]) if len(kin) else np.zeros(len(self._first))
        key = np.zeros((KEYS, problem.classes), dtype=np.int64)
        key[PORTS_KEY], key[KIN_KEY] = self._ports, place
        return Classes(
            amount=np.array([problem.request, problem.held, problem.scored, problem.gained]),
            adjusted=problem.adjusted,
            checked=np.array([not fit.ignores(name) for name in self._snapshot.nodes.schema.names], dtype=np.bool_),
            key=key,
        )

    def relations(self) -> Relations:
        """All tables."""
        from k8slab.kernels.company import Relations

        scores = [score for score, _ in self._policy.scores]
        hard, soft = self._spreads(self._policy.filters), self._spreads(scores)
        near, liking = self._neighbours(self._policy.filters), self._neighbours(scores)
        # In the order of company.HARD, SOFT, ...
        tables: list[list[list[Row]]] = [
            [[self._hard(spread) for spread in of.hard] for of in hard],
            [[self._soft(spread, of.usable) for spread in of.soft] for of in soft],
            [[self._near(item) for item in (*of.existing, *of.unwanted)] for of in near],
            [[(*self._near(item), int(of.alone)) for item in of.wanted] for of in near],
            [[(*self._near(item), item.weight) for item in of.liked] for of in liking],
            [self.gains(kin) for kin in self._kins],
            [self._conflicting(spec) for spec in self._port_specs],
            [_column(self._snapshot.port_rows(spec)) for spec in self._port_specs],
        ]
        counter, seen = self._counter()
        start, rows = _written(tables)
        return Relations(
            layout=self._layouts.table(len(self._snapshot.nodes), np.int32),
            counter=counter,
            seen=seen,
            logs=np.array([math.log(size + 2) for size in range(self._most_domains() + 1)]),
            start=start,
            rows=rows,
        )

    # -- what each kin looks at -------------------------------------------------------

    def _spreads(self, items: Iterable[object]) -> list[Spreads]:
        return self._prepared(items, plugins.PodTopologySpread, _NO_SPREADS)

    def _neighbours(self, items: Iterable[object]) -> list[Neighbours]:
        return self._prepared(items, plugins.InterPodAffinity, _NOBODY)

    def _prepared(self, items: Iterable[object], kind: type, nothing: Any) -> list[Any]:
        """What the plug-in of a kind prepared for each kin with pods to schedule."""
        found = [self._snapshot.prepared(item) or {} for item in items if type(item) is kind]
        return [found[0].get(kin, nothing) if found else nothing for kin in self._kins]

    def _hard(self, spread: Spread) -> Row:
        most = spread.constraint.max_skew - spread.itself
        return (*self._near(spread), most, spread.constraint.min_domains, int(spread.seen.sum()))

    def _soft(self, spread: Spread, usable: npt.NDArray[np.bool_]) -> Row:
        place = self._layout(np.where(spread.has_key, spread.domain, -1))
        sized = -1 if spread.constraint.topology_key == HOSTNAME else self._layout(spread.domain)
        counted = self._layout(np.where(usable, 0, -1))
        return self._numbers[id(spread.counter)], place, sized, spread.constraint.max_skew - 1, counted

    def _near(self, item: Spread | Neighbour) -> Row:
        return self._numbers[id(item.counter)], self._layout(item.domain)

    def _conflicting(self, spec: PodSpec) -> list[Row]:
        checked = any(type(item) is plugins.NodePorts for item in self._policy.filters)
        return _column(self._snapshot.conflicting(spec)) if checked else []

    def _layout(self, domain: npt.NDArray[Any]) -> int:
        return self._layouts.add((1 + domain).astype(np.int32))

    # -- what is counted --------------------------------------------------------------

    def gains(self, kin: int) -> list[Row]:
        """(counter, by how much) a pod of a kin counts."""
        if kin not in self._gains_of:
            each = [int(counter.gain[kin]) for counter in self._snapshot.counters]
            self._gains_of[kin] = [(number, gain) for number, gain in enumerate(each) if gain]
        return self._gains_of[kin]

    def _counter(self) -> tuple[Ints, npt.NDArray[np.bool_]]:
        rows, seen = [], [np.zeros(0, dtype=np.bool_)]
        first = 0
        for counter in self._snapshot.counters:
            rows.append((self._layout(counter.domain), first, len(counter.amounts)))
            seen.append(np.zeros(len(counter.amounts) + 1, dtype=np.bool_))
            seen[-1][1 + counter.domain[counter.domain >= 0]] = True
            first += len(seen[-1])
        return np.array(rows, dtype=np.int64).reshape(-1, 3), np.concatenate(seen)

    def _most_domains(self) -> int:
        return max(len(self._snapshot.nodes), *(len(counter.amounts) + 1 for counter in self._snapshot.counters), 0)


def _column(numbers: Ints) -> list[Row]:
    return [(number,) for number in numbers.tolist()]


def _written(tables: list[list[list[Row]]]) -> tuple[Ints, Ints]:
    """The tables' lists one after the other, and where each begins; see kernels.company.Relations."""
    longest = max(map(len, tables))
    lists = [rows for table in tables for rows in (*table, *([[]] * (longest + 1 - len(table))))]
    start = np.cumsum([0, *map(len, lists[:-1])], dtype=np.int64).reshape(len(tables), longest + 1)
    width = 5
    rows = [(*row, *([0] * (width - len(row)))) for rows in lists for row in rows]
    return start, np.array(rows, dtype=np.int64).reshape(-1, width)
