"""What a scheduling cycle knows of the cluster beside the nodes' own columns: who runs where, counted.

Pods that no selector in play can tell apart are one kin. What a selector matches is
worked out once a kin, and how many matching pods each topology domain holds is kept up
to date as pods come and go, so that a decision never meets a label.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, NodeColumns, PlacedPods, PodColumns, Tolerations
from k8slab.domain.pod_spec import PLAIN, HostPort, PodSpec, Selector
from k8slab.domain.resources import CPU, MEMORY, ResourceSchema
from k8slab.domain.selectors import selector_mask
from k8slab.policies.sampling import node_order

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Kin:
    """The distinct pods of a snapshot, as far as selectors and their own terms go: one row a kin.

    leaving : bool[G]  being deleted, which topology spreading doesn't count
    labels  : key -> Codes[str], of the keys that some selector asks for
    """

    namespaces: Codes[str]
    specs: Codes[PodSpec]
    tolerations: Codes[Tolerations]
    leaving: Mask
    labels: Mapping[str, Codes[str]]

    def __len__(self) -> int:
        return len(self.leaving)

    def spec(self, kin: int) -> PodSpec:
        """What the pods of a kin say."""
        return self.specs[kin] or PLAIN

    def selected(self, selector: Selector | None) -> Mask:
        """bool[G]: whose labels a selector matches."""
        return selector_mask(selector, self.labels, len(self))

    def in_namespaces(self, wanted: Callable[[str], bool]) -> Mask:
        """bool[G]: whose namespace is wanted."""
        return np.array([*map(wanted, self.namespaces.values), False], dtype=np.bool_)[self.namespaces.codes]

    @classmethod
    def of(cls, parts: list[PodColumns], keys: set[str]) -> tuple[Kin, npt.NDArray[np.int32]]:
        """The kins of pods one after the other, and int32[P] the kin of each pod."""
        namespaces, specs = _joined(p.namespaces for p in parts), _joined(p.specs for p in parts)
        tolerations = _joined(p.tolerations for p in parts)
        leaving = np.concatenate([part.leaving for part in parts]) > 0
        labels = {key: _joined(p.labels.get(key) or Codes.none(len(p)) for p in parts) for key in sorted(keys)}
        codes = [column.codes for column in (namespaces, specs, tolerations, *labels.values())]
        number, first = _numbered([*codes, leaving])
        distinct = {key: column.take(first) for key, column in labels.items()}
        kin = cls(namespaces.take(first), specs.take(first), tolerations.take(first), leaving[first], distinct)
        return kin, number


def _joined(columns: Iterable[Codes[Any]]) -> Codes[Any]:
    first, *rest = columns
    for other in rest:
        first = first.joined(other)
    return first


def _numbered(columns: list[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.int32], Ints]:
    """int32[P] a number for each distinct row of these columns, int64[G] a row of each number."""
    count = len(columns[0])
    number = np.zeros(count, dtype=np.int64)
    for column in columns:
        if count and (column != column[0]).any():
            values, codes = np.unique(column, return_inverse=True)
            number = np.unique(number * len(values) + codes, return_inverse=True)[1]
    first = np.unique(number, return_index=True)[1]
    return number.astype(np.int32), first


@dataclass(eq=False)
class Counter:
    """How many pods of some kind each topology domain holds.

    amounts : int64[D]  by domain
    domain  : int32[N]  each node's domain, -1 where it has none or doesn't count
    gain    : int64[G]  by how much a pod of each kin counts
    told    : int64[G]  by how much it counts when it is said to come or go within a cycle, as
              nominated pods and preemption do: kube-scheduler asks less there
    """

    amounts: Ints
    domain: npt.NDArray[np.int32]
    gain: Ints
    told: Ints

    def at_nodes(self) -> Ints:
        """int64[N]: the amount of each node's domain, 0 where it has none."""
        return np.append(self.amounts, 0)[self.domain]


@dataclass(frozen=True, eq=False)
class Guest:
    """A pod on a node: one that ran before, or one that was placed since."""

    crowd: Crowd
    row: int

    @property
    def name(self) -> str:
        """As the columns have it."""
        return self.crowd.pods.names[self.row]

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.crowd.pods.namespaces[self.row] or ""

    @property
    def bare_name(self) -> str:
        """Its name without the namespace that dumps put before it."""
        return self.name.removeprefix(f"{self.namespace}/")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.crowd.pods.labels_of(self.row)

    @property
    def priority(self) -> int:
        """Its priority."""
        return int(self.crowd.pods.priority[self.row])

    @property
    def started_ns(self) -> int:
        """When it began to run; NOT_STARTED sorts last."""
        return int(self.crowd.pods.started_ns[self.row])

    @property
    def leaving(self) -> int:
        """Code into LEAVING."""
        return int(self.crowd.pods.leaving[self.row])


class Crowd:
    """Some pods with what they count for: those to schedule, those that run, or those nominated.

    kin : int32[P]  see Kin; empty while nothing is counted by kin
    """

    def __init__(self, pods: PodColumns, schema: ResourceSchema) -> None:
        self.pods = pods
        self.kin: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        tables = np.zeros((3, len(pods.specs.values) + 1, len(schema)), dtype=np.int64)
        for code, spec in enumerate(pods.specs.values):
            for item in spec.adjustments:
                if item.resource in schema.names:
                    # Only cpu and memory have a NonZeroRequested of their own; of the others it is Requested.
                    nonzero = item.nonzero if item.resource in (CPU, MEMORY) else item.held
                    tables[:, code, schema.index(item.resource)] = item.held, nonzero, item.scored
        self._tables = tables
        # Whether any counts for other amounts than it requests.
        self.adjusted = bool(tables.any())

    def held(self, pod: int) -> Ints:
        """int64[R]: what a node's requested grows by."""
        return self._amount(0, pod)

    def nonzero(self, pod: int) -> Ints:
        """int64[R]: what a node's NonZeroRequested grows by."""
        return self._amount(1, pod)

    def scored(self, pod: int) -> Ints:
        """int64[R]: what NodeResourcesFit's score adds."""
        return self._amount(2, pod)

    def _amount(self, which: int, pod: int) -> Ints:
        return np.asarray(self.pods.requests[pod] + self._tables[which, self.pods.specs.codes[pod]])

    def amounts(self, pods: Ints) -> tuple[Ints, Ints, Ints]:
        """int64[P, R] each: `held`, `nonzero` and `scored` of these pods."""
        requests, codes = self.pods.requests[pods], self.pods.specs.codes[pods]
        held, nonzero, scored = (np.asarray(requests + table[codes]) for table in self._tables)
        return held, nonzero, scored

    def extras(self, pods: Ints | slice = slice(None)) -> tuple[Ints, Ints]:
        """int64[P, R] each: what a node's requested and NonZeroRequested grow by beside these pods' requests."""
        codes = self.pods.specs.codes[pods]
        return np.asarray(self._tables[0][codes]), np.asarray(self._tables[1][codes])


class Snapshot:
    """The cluster as a scheduling cycle sees it; `assume`, `forget` and `evict` keep it up to date.

    nodes    : the columns; `requested` is a copy that grows as pods are assumed
    nonzero  : int64[R, N]  the same with assumed amounts of cpu and memory where pods name none
    ports    : bool[Q, N]   which host ports are taken: a set, as kube-scheduler keeps it, so of two
               pods on one port the first to go frees it
    incoming : the pods to schedule
    plugins  : those of the policy, whose counts are to be kept
    devices  : the nodes' GPU devices, None unless a plug-in keeps them
    seed     : of a run, by which random ones are drawn

    The term is kube-scheduler's. Nothing that was passed in is changed.
    """

    def __init__(self, nodes: NodeColumns, pods: PodColumns, plugins: Iterable[Any] = ()) -> None:
        self.nodes = nodes
        self.incoming = Crowd(pods, nodes.schema)
        self._counters: dict[Hashable, Counter] = {}
        self._counters_of: dict[int, list[Counter]] = {}
        self._prepared: dict[Any, Any] = {}
        self.devices: Any = None
        # Where in `search_order` a policy that samples nodes begins; see sampling.Sampling.
        self.search_start = 0
        self.seed = 0
        nominated = PlacedPods.none(nodes.schema) if nodes.nominated is None else nodes.nominated
        self.nominated = Crowd(nominated.pods, nodes.schema)
        self._promised: dict[int, list[int]] = {}
        for row, node in enumerate(nominated.node_rows.tolist()):
            self._promised.setdefault(node, []).append(row)
        self._port_rows = {port: row for row, port in enumerate(self._all_ports())}
        self.ports = self._used_ports()
        requested, self.nonzero = self._charged(nodes.requested)
        self.nodes = replace(nodes, requested=requested)
        self._arrived: list[tuple[Ints, Ints]] = []
        self._listed: dict[int, list[int]] = {}
        self._evicted: set[int] = set()
        relational = dict.fromkeys(item for item in plugins if hasattr(item, "prepare"))
        concerned = [item for item in relational if not item.idle(self)]
        if concerned:
            self.kin = self._number_kins({key for item in concerned for key in item.label_keys(self)})
        for item in concerned:
            self._prepared[item] = item.prepare(self)

    # -- who is there ---------------------------------------------------------

    @property
    def pods(self) -> PodColumns:
        """The pods to schedule."""
        return self.incoming.pods

    @cached_property
    def specs(self) -> tuple[PodSpec, ...]:
        """All that any pod says: bound, nominated or to be scheduled."""
        others = (*self.nodes.bound_specs, *self.nominated.pods.specs.values)
        return tuple(dict.fromkeys((*others, *self.pods.specs.values)))

    @cached_property
    def placed(self) -> PlacedPods:
        """The pods that run, none if nobody has them; they are read when first asked for."""
        return PlacedPods.none(self.nodes.schema) if self.nodes.bound is None else self.nodes.bound()

    @cached_property
    def bound(self) -> Crowd:
        """The pods that run, with what they count for."""
        return Crowd(self.placed.pods, self.nodes.schema)

    @cached_property
    def search_order(self) -> Ints:
        """int64[M]: the nodes in the order in which a policy that samples them looks at them."""
        return node_order(self.nodes)

    def _number_kins(self, keys: set[str]) -> Kin:
        crowds = (self.bound, self.nominated, self.incoming)
        kin, number = Kin.of([crowd.pods for crowd in crowds], keys)
        start = 0
        for crowd in crowds:
            crowd.kin = number[start : start + len(crowd.pods)]
            start += len(crowd.pods)
        return kin

    @property
    def incoming_kin(self) -> list[int]:
        """The kins that have pods to schedule."""
        return [int(kin) for kin in np.unique(self.incoming.kin)]

    def prepared(self, plugin: object) -> Any:
        """What a plug-in's `prepare` gave; None if nothing here concerns it."""
        return self._prepared.get(plugin)

    # -- counts by topology domain ----------------------------------------------

    def counter(
        self,
        identity: Hashable,
        domains: tuple[npt.NDArray[np.int32], int],
        gain: npt.NDArray[Any],
        *,
        counting: Callable[[], Mask] | None = None,
        told: npt.NDArray[Any] | None = None,
    ) -> Counter:
        """Counts pods by topology domain; the counter of this identity if there is one already.

        domains    : int32[N] each node's domain or -1, and how many domains there are
        gain, told : int64[G] or bool[G], see Counter
        counting   : gives bool[N], the nodes that count at all
        """
        if identity not in self._counters:
            counts = self.nodes.alive if counting is None else self.nodes.alive & counting()
            domain = np.where(counts, domains[0], -1).astype(np.int32)
            each = np.asarray(gain, dtype=np.int64)
            again = each if told is None else np.asarray(told, dtype=np.int64)
            counter = Counter(np.zeros(domains[1], dtype=np.int64), domain, each, again)
            self._fill(counter)
            self._counters[identity] = counter
        return self._counters[identity]

    def _fill(self, counter: Counter) -> None:
        if len(self.placed.pods) and counter.gain.any():
            self._tally(counter, self.bound.kin, self.placed.node_rows)

    @staticmethod
    def _tally(counter: Counter, kins: npt.NDArray[np.int32], node_rows: Ints) -> None:
        here, each = counter.domain[node_rows], counter.gain[kins]
        counted = (here >= 0) & (each != 0)
        np.add.at(counter.amounts, here[counted], each[counted])

    def domains(self, key: str) -> Codes[str]:
        """The nodes' values of a label."""
        return self.nodes.labels.get(key) or Codes.none(len(self.nodes))

    @property
    def counters(self) -> tuple[Counter, ...]:
        """All that are kept."""
        return tuple(self._counters.values())

    # -- amounts and ports at the start ---------------------------------------------

    def _charged(self, requested: Ints) -> tuple[Ints, Ints]:
        """Requested and NonZeroRequested: what bound pods count for beside their requests is added."""
        held, nonzero = requested.copy(), requested.copy()
        if any(spec.adjustments for spec in self.nodes.bound_specs):
            for amounts, extra in zip((held, nonzero), self.bound.extras(), strict=True):
                for row in range(len(amounts)):
                    np.add.at(amounts[row], self.placed.node_rows, extra[:, row])
        return held, nonzero

    def _all_ports(self) -> list[HostPort]:
        return list(dict.fromkeys(port for spec in self.specs for port in spec.ports))

    def _used_ports(self) -> Mask:
        used = np.zeros((len(self._port_rows), len(self.nodes)), dtype=np.bool_)
        if any(spec.ports for spec in self.nodes.bound_specs):
            specs = self.placed.pods.specs
            for code, spec in enumerate(specs.values):
                if spec.ports:
                    rows = self.placed.node_rows[specs.codes == code]
                    for port in spec.ports:
                        used[self._port_rows[port], rows] = True
        return used

    def conflicting(self, spec: PodSpec) -> Ints:
        """int64[]: the rows of `ports` that keep a pod of this spec away."""
        rows = [row for port, row in self._port_rows.items() if any(port.conflicts(own) for own in spec.ports)]
        return np.array(rows, dtype=np.int64)

    def port_rows(self, spec: PodSpec) -> Ints:
        """int64[]: the rows of `ports` that a pod of this spec takes."""
        return np.array([self._port_rows[port] for port in spec.ports], dtype=np.int64)

    # -- coming and going -------------------------------------------------------------

    def assume(self, pod: int, node_row: int) -> None:
        """Charge a node with a pod to schedule, as if it were bound."""
        self._move(self.incoming, pod, node_row, 1)
        self._arrived.append((np.array([pod]), np.array([node_row])))
        self._keep_promise(pod)

    def assume_all(self, pods: Ints, node_rows: Ints) -> None:
        """Charge nodes with many pods to schedule at once, as if each had been assumed in this order."""
        crowd = self.incoming
        requests = np.ascontiguousarray(crowd.pods.requests[pods].T)
        extras = crowd.extras(pods) if crowd.adjusted else ()
        for which, amounts in enumerate((self.nodes.requested, self.nonzero)):
            charge = requests + extras[which].T if extras else requests
            for row in range(len(amounts)):
                np.add.at(amounts[row], node_rows, charge[row])
        for code, spec in enumerate(crowd.pods.specs.values):
            if spec.ports:
                there = node_rows[crowd.pods.specs.codes[pods] == code]
                for port in spec.ports:
                    self.ports[self._port_rows[port], there] = True
        for counter in self._counters.values():
            self._tally(counter, crowd.kin[pods], node_rows)
        self._arrived.append((pods, node_rows))
        for pod, node_row in zip(pods.tolist(), node_rows.tolist(), strict=True) if self.devices is not None else ():
            self.devices.move(crowd, pod, node_row, 1)
        for pod in pods.tolist() if self._promised else ():
            self._keep_promise(pod)

    def forget(self, pod: int, node_row: int) -> None:
        """Take an assumed pod off its node."""
        self._move(self.incoming, pod, node_row, -1)
        self._assumed()[node_row].remove(pod)

    def evict(self, bound_row: int) -> None:
        """Take a pod that ran off its node."""
        self._move(self.bound, bound_row, int(self.placed.node_rows[bound_row]), -1)
        self._evicted.add(bound_row)

    def guests(self, node_row: int) -> list[Guest]:
        """The pods on a node, in the order they came."""
        order, start = self._by_node
        bound = order[start[node_row] : start[node_row + 1]].tolist()
        there = [Guest(self.bound, row) for row in bound if row not in self._evicted]
        return there + [Guest(self.incoming, pod) for pod in self._assumed().get(node_row, ())]

    def _assumed(self) -> dict[int, list[int]]:
        """The assumed pods by node, listed when somebody asks: few runs do."""
        for pods, node_rows in self._arrived:
            for pod, node_row in zip(pods.tolist(), node_rows.tolist(), strict=True):
                self._listed.setdefault(node_row, []).append(pod)
        self._arrived.clear()
        return self._listed

    @cached_property
    def _by_node(self) -> tuple[Ints, Ints]:
        """int64[B] bound pods by node, and int64[N + 1] where each node's begin."""
        rows = self.placed.node_rows
        order = np.argsort(rows, kind="stable")
        return order, np.searchsorted(rows[order], np.arange(len(self.nodes) + 1))

    @contextmanager
    def trial(self, node_row: int) -> Iterator[Trial]:
        """Let pods come to and go from one node; all is as it was at the end."""
        trial = Trial(self, node_row)
        ports = self.ports[:, node_row].copy()
        try:
            yield trial
        finally:
            trial.undo()
            self.ports[:, node_row] = ports

    def nominated_to(self, node_row: int, pod: int) -> list[int]:
        """Rows of the nominated pods that a pod must leave room for on a node: as important, and not itself."""
        others, name = self.nominated.pods, self.pods.names[pod]
        least, rows = self.pods.priority[pod], self._promised.get(node_row, [])
        return [row for row in rows if others.priority[row] >= least and others.names[row] != name]

    def nominating_nodes(self, pod: int) -> list[int]:
        """The nodes with nominated pods that this pod must leave room for."""
        return [node for node in self._promised if self.nominated_to(node, pod)]

    def _keep_promise(self, pod: int) -> None:
        """A pod that has a node waits no longer for the one it was promised."""
        if self._promised:
            row = self.nominated.pods.names.row(self.pods.names[pod])
            for rows in self._promised.values():
                rows[:] = [other for other in rows if other != row]

    def withdraw(self, node_row: int, below: int) -> None:
        """Pods of a priority below this lose the promise of a node: a more important one goes there."""
        rows = self._promised.get(node_row, [])
        rows[:] = [row for row in rows if self.nominated.pods.priority[row] >= below]

    def _move(self, crowd: Crowd, pod: int, node_row: int, by: int, *, settled: bool = True) -> None:
        self.nodes.requested[:, node_row] += by * crowd.held(pod)
        self.nonzero[:, node_row] += by * crowd.nonzero(pod)
        for port in crowd.pods.spec(pod).ports:
            self.ports[self._port_rows[port], node_row] = by > 0
        if self.devices is not None:
            self.devices.move(crowd, pod, node_row, by)
        if not self._counters:
            return
        kin = int(crowd.kin[pod])
        if kin not in self._counters_of:
            self._counters_of[kin] = [c for c in self._counters.values() if c.gain[kin] or c.told[kin]]
        for counter in self._counters_of[kin]:
            domain = counter.domain[node_row]
            if domain >= 0:
                counter.amounts[domain] += by * (counter.gain[kin] if settled else counter.told[kin])


class Trial:
    """Pods that come to or go from one node for the length of a question; see Snapshot.trial."""

    def __init__(self, snapshot: Snapshot, node_row: int) -> None:
        self._snapshot = snapshot
        self._node_row = node_row
        self._done: list[tuple[Crowd, int, int]] = []

    def remove(self, crowd: Crowd, pod: int) -> None:
        """The pod goes."""
        self._tell(crowd, pod, -1)

    def add(self, crowd: Crowd, pod: int) -> None:
        """The pod comes."""
        self._tell(crowd, pod, 1)

    def undo(self) -> None:
        """Take back all that came or went."""
        for crowd, pod, by in reversed(self._done):
            self._snapshot._move(crowd, pod, self._node_row, -by, settled=False)
        self._done.clear()

    def _tell(self, crowd: Crowd, pod: int, by: int) -> None:
        self._snapshot._move(crowd, pod, self._node_row, by, settled=False)
        self._done.append((crowd, pod, by))
