"""One pod without some of its constraints, before the policy's own filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, Names, NodeColumns, PlacedPods, PodColumns, Toleration
from k8slab.domain.devices import WHOLE, Held
from k8slab.domain.pod_spec import PodSpec, PodTerm, SpreadConstraint
from k8slab.domain.resources import GPU, PODS
from k8slab.domain.selectors import selector_mask
from k8slab.experiments.constraints import SHIPPED, Constraint, Constraints, Lifted
from k8slab.policies.filtering import Filtering
from k8slab.policies.plugins import Decision, Filter, NodeAffinity, PodTopologySpread
from k8slab.policies.snapshot import Snapshot

if TYPE_CHECKING:
    from k8slab.policies import Policy

Mask = npt.NDArray[np.bool_]
V = TypeVar("V")

# Lifted not on the pod but in the cluster or in the policy.
_OUTSIDE: Final = ("existing anti-affinity", "default spread", "added node affinity")


class RelaxedPod:
    """A pod, and what the filters make of it without some of its constraints.

    asked : how many relaxed pods were put to the filters
    """

    def __init__(self, policy: Policy, nodes: NodeColumns, pods: PodColumns, pod: int) -> None:
        self.nodes = nodes
        self.pods = taken(pods, np.array([pod]))
        self.name = self.pods.names[0]
        self.constraints = Constraints(policy, nodes, self.pods)
        self.asked = 0
        self._policy = policy
        self._every = frozenset(self.constraints.all)
        self._taints = frozenset(self.constraints.of_kind("taint"))
        self._verdicts: dict[Lifted, Mask] = {}
        self._parted: dict[Lifted, NodeColumns] = {}

    # -- single constraints ---------------------------------------------------------------

    @cached_property
    def refusals(self) -> dict[Constraint, Ints]:
        """The rows of the nodes that each constraint refuses whatever else is lifted.

        That is said of those alone of which it can be said one by one: not of affinity and spread.
        A user's filter is asked about the pod with its requests cut to what is free on the node,
        and otherwise as it is.
        """
        kinds = ("node name", "node selector", "node affinity", "added node affinity", "host port", "anti-affinity")
        alone = self.constraints.of_kind(*kinds, "request", "pods")
        self.ask([self._every - {item} for item in alone])
        found = {item: np.flatnonzero(self.nodes.alive & ~self.verdict(self._every - {item})) for item in alone}
        return found | self.constraints.rows

    def refused_by_users(self, rows: Ints) -> Iterator[tuple[Constraint, Ints]]:
        """Which of these nodes each of the users' filters refuses."""
        users = self.constraints.of_kind("filter")
        if not users or not len(rows):
            return
        cuts = np.where(np.array([name == PODS for name in self.nodes.schema.names])[:, None], 0, self.cuts[:, rows])
        distinct, number = np.unique(cuts, axis=1, return_inverse=True)
        copies = self._copies(distinct.shape[1])
        requests = copies.requests - distinct.T
        if GPU in self.nodes.schema.names:
            # Who asks several GPUs takes them whole, so a part of one is cut too.
            gpu = requests[:, self.nodes.schema.index(GPU)]
            gpu -= np.where(gpu > WHOLE, gpu % WHOLE, 0)
        plugins = [self._policy.filters[item.value] for item in users]
        snapshot = Snapshot(self.nodes, replace(copies, requests=requests), plugins)
        for item, plugin in zip(users, plugins, strict=True):
            refused = np.zeros(len(self.nodes), dtype=np.bool_)
            for variant in range(distinct.shape[1]):
                mine = rows[number.reshape(-1) == variant]
                refused[mine] = ~Filtering.of((plugin,), Decision.on(snapshot, variant)).feasible[mine]
            yield item, np.flatnonzero(refused)

    @cached_property
    def cuts(self) -> Ints:
        """int64[R, N]: what each request must be cut by to fit; of pods how many more the node must allow."""
        request, names = self.pods.requests[0], self.nodes.schema.names
        cuts = np.zeros((len(names), len(self.nodes)), dtype=np.int64)
        for item in self.constraints.of_kind("request", "pods"):
            row, refused = names.index(item.resource), self.refusals[item]
            short = request[row] - self._free[row, refused]
            cuts[row, refused] = short if item.resource == PODS else np.minimum(short, request[row])
        return cuts

    @cached_property
    def _free(self) -> Ints:
        """int64[R, N]: what is free once the pods nominated to a node are there that this one must leave room for."""
        snapshot = Snapshot(self.nodes, self.pods)
        free = snapshot.nodes.allocatable - snapshot.nodes.requested
        for node in snapshot.nominating_nodes(0):
            held = np.sum([snapshot.nominated.held(row) for row in snapshot.nominated_to(node, 0)], axis=0)
            free[:, node] -= np.maximum(held, 0)
        return np.asarray(free)

    @cached_property
    def rows_that_may_count(self) -> Ints:
        """The nodes that could open others if the pod's spread constraints counted them too."""
        constraints: list[SpreadConstraint]
        constraints = [item.value for item in self.constraints.of_kind("spread", "default spread")]
        if any(constraint.min_domains > 1 for constraint in constraints):
            return np.flatnonzero(self.nodes.alive)
        placed = self.constraints.placed
        here = placed.pods.namespaces.equals(self.pods.namespaces[0] or "")
        if self.pods.spec(0).spread:
            labels = placed.pods.labels
            here &= np.logical_or.reduce([selector_mask(item.selector, labels, len(here)) for item in constraints])
        # Of default constraints the selector isn't known before they are counted: any pod of the namespace may match.
        return np.unique(placed.node_rows[here])

    # -- the filters ------------------------------------------------------------------------

    def knows(self, lifted: Lifted) -> bool:
        """Whether this was asked already."""
        return lifted in self._verdicts

    def verdict(self, lifted: Lifted) -> Mask:
        """bool[N]: the nodes that the filters asked would give the pod without these; gates and users' left out."""
        if lifted not in self._verdicts:
            self.ask([lifted])
        return self._verdicts[lifted]

    def ask(self, sets: Sequence[Lifted], filters: tuple[type, ...] = SHIPPED) -> None:
        """Put the pod, relaxed in each of these ways, to these filters: those that differ in the pod alone at once."""
        together: dict[Lifted, list[Lifted]] = {}
        for lifted in sets:
            together.setdefault(_outside(lifted), []).append(lifted)
        for alike in together.values():
            requests = np.stack([self._request(lifted) for lifted in alike])
            self._verdicts.update(zip(alike, self._judged(alike, requests, filters), strict=True))
        self.asked += len(sets)

    def holds(self, lifted: Lifted, node_row: int) -> bool:
        """Whether the filters take the pod on a node without these, its requests cut by no more than it must there."""
        names = self.nodes.schema.names
        cut = np.array([name in _resources(lifted) for name in names]) * self.cuts[:, node_row]
        cut[names.index(PODS)] = self.pods.requests[0, names.index(PODS)] if PODS in _resources(lifted) else 0
        (verdict,) = self._judged([lifted], self.pods.requests - cut, SHIPPED)
        return bool(verdict[node_row])

    def _judged(self, sets: Sequence[Lifted], requests: Ints, kinds: tuple[type, ...]) -> list[Mask]:
        outside = _outside(sets[0])
        relaxed = replace(
            self._copies(len(sets)),
            requests=requests,
            specs=Codes.of(self._spec(lifted) for lifted in sets),
            tolerations=Codes.of(self._tolerations(lifted) for lifted in sets),
        )
        filters = tuple(item for item in self._filters(outside) if isinstance(item, kinds))
        snapshot = Snapshot(self._nodes_without(outside), relaxed, filters)
        return [Filtering.of(filters, Decision.on(snapshot, row)).feasible for row in range(len(sets))]

    def _copies(self, count: int) -> PodColumns:
        return taken(self.pods, np.zeros(count, dtype=np.int64))

    def _request(self, lifted: Lifted) -> Ints:
        """What asks for nothing is refused nowhere, just as what asks for no more than is free."""
        return np.where([name in _resources(lifted) for name in self.nodes.schema.names], 0, self.pods.requests[0])

    def _spec(self, lifted: Lifted) -> PodSpec:
        gone = {(item.kind, item.value) for item in lifted}

        def stays(kind: str, values: Iterable[V]) -> tuple[V, ...]:
            return tuple(value for value in values if (kind, value) not in gone)

        spec = self.pods.spec(0)
        return replace(
            spec,
            node_name="" if ("node name", spec.node_name) in gone else spec.node_name,
            node_selector=stays("node selector", spec.node_selector),
            node_required=None if ("node affinity", True) in gone else spec.node_required,
            affinity=stays("affinity", spec.affinity),
            anti_affinity=stays("anti-affinity", spec.anti_affinity),
            spread=_softened(spec.spread, {value for kind, value in gone if kind == "spread"}),
            ports=stays("host port", spec.ports),
        )

    def _tolerations(self, lifted: Lifted) -> tuple[Toleration, ...]:
        own, more = self.pods.tolerations[0] or (), lifted & self._taints
        if more and more == self._taints:
            return (*own, Toleration(operator="Exists"))  # one instead of as many as there are taints
        return (*own, *(Toleration(key, "Equal", value) for key, value in sorted(item.value for item in more)))

    def _filters(self, outside: Lifted) -> tuple[Filter, ...]:
        softer = {item.value for item in outside if item.kind == "default spread"}
        anywhere = any(item.kind == "added node affinity" for item in outside)

        def relaxed(item: Filter) -> Filter:
            if isinstance(item, NodeAffinity) and anywhere:
                return replace(item, added_required=None)
            if isinstance(item, PodTopologySpread) and softer:
                return replace(item, defaults=_softened(item.defaults or (), softer))
            return item

        return tuple(relaxed(item) for item in self._policy.filters if isinstance(item, SHIPPED))

    def _nodes_without(self, outside: Lifted) -> NodeColumns:
        """The nodes, of whose pods none has these anti-affinity terms."""
        gone = frozenset(item for item in outside if item.kind == "existing anti-affinity")
        if gone and gone not in self._parted:
            terms, nominated = {item.value for item in gone}, self.nodes.nominated
            placed = _parted(self.constraints.placed, terms)
            self._parted[gone] = replace(
                self.nodes,
                bound=lambda: placed,
                bound_specs=tuple(_without(spec, terms) for spec in self.nodes.bound_specs),
                nominated=None if nominated is None else _parted(nominated, terms),
            )
        return self._parted[gone] if gone else self.nodes


def _outside(lifted: Lifted) -> Lifted:
    return frozenset(item for item in lifted if item.kind in _OUTSIDE)


def _resources(lifted: Lifted) -> set[str]:
    return {item.resource for item in lifted if item.resource}


def _softened(constraints: Iterable[SpreadConstraint], softer: set[SpreadConstraint]) -> tuple[SpreadConstraint, ...]:
    return tuple(replace(item, hard=False) if item in softer else item for item in constraints)


def _without(spec: PodSpec, terms: set[PodTerm]) -> PodSpec:
    if terms.isdisjoint(spec.anti_affinity):
        return spec
    return replace(spec, anti_affinity=tuple(term for term in spec.anti_affinity if term not in terms))


def _parted(placed: PlacedPods, terms: set[PodTerm]) -> PlacedPods:
    specs = placed.pods.specs
    # Specs that differed in such a term alone are one now: a column holds no value twice.
    fewer = Codes.of(_without(spec, terms) for spec in specs.values)
    codes = np.append(fewer.codes, np.int32(-1))[specs.codes]
    return PlacedPods(replace(placed.pods, specs=Codes(codes, fewer.values)), placed.node_rows, placed.devices)


# -- columns ---------------------------------------------------------------------------


def taken(pods: PodColumns, rows: Ints) -> PodColumns:
    """The columns of these pods, in this order; a row may come more than once."""
    return replace(
        pods,
        names=Names([pods.names[row] for row in rows.tolist()]),
        requests=pods.requests[rows],
        rows=pods.rows[rows],
        namespaces=pods.namespaces.take(rows),
        tolerations=pods.tolerations.take(rows),
        priority=pods.priority[rows],
        labels={key: column.take(rows) for key, column in pods.labels.items()},
        specs=pods.specs.take(rows),
        leaving=pods.leaving[rows],
        started_ns=pods.started_ns[rows],
    )


def joined(one: PodColumns, other: PodColumns) -> PodColumns:
    """The columns of these pods and then of the others."""

    def of(pods: PodColumns, key: str) -> Codes[str]:
        return pods.labels.get(key) or Codes.none(len(pods))

    return replace(
        one,
        names=Names([*one.names, *other.names]),
        requests=np.concatenate([one.requests, other.requests]),
        rows=np.concatenate([one.rows, other.rows]),
        namespaces=one.namespaces.joined(other.namespaces),
        tolerations=one.tolerations.joined(other.tolerations),
        priority=np.concatenate([one.priority, other.priority]),
        labels={key: of(one, key).joined(of(other, key)) for key in {**one.labels, **other.labels}},
        specs=one.specs.joined(other.specs),
        leaving=np.concatenate([one.leaving, other.leaving]),
        started_ns=np.concatenate([one.started_ns, other.started_ns]),
    )


def as_it_is(snapshot: Snapshot, pod: int) -> NodeColumns:
    """A snapshot's nodes with the pods that are there now, bound or assumed, as columns to count afresh.

    pod : of the snapshot; of nominated pods only those stay that it must leave room for
    """
    guests = [(guest, node) for node in range(len(snapshot.nodes)) for guest in snapshot.guests(node)]
    parts, requested, table = [], snapshot.nodes.requested.copy(), snapshot.devices
    for crowd in (snapshot.bound, snapshot.incoming):
        mine = [(guest.row, node) for guest, node in guests if guest.crowd is crowd]
        rows, there = np.array(mine, dtype=np.int64).reshape(-1, 2).T
        # What a pod counts for beside its request is added again when a snapshot is made of this.
        for row, extra in enumerate(crowd.extras(rows)[0].T):
            np.subtract.at(requested[row], there, extra)
        parts.append(PlacedPods(taken(crowd.pods, rows), there, table and table.held_by(crowd, rows)))
    placed = PlacedPods(
        joined(parts[0].pods, parts[1].pods),
        np.concatenate([part.node_rows for part in parts]),
        table and Held(*(np.concatenate(columns) for columns in zip(*(part.devices for part in parts), strict=True))),
    )
    promised = [(row, node) for node in snapshot.nominating_nodes(pod) for row in snapshot.nominated_to(node, pod)]
    rows, there = np.array(promised, dtype=np.int64).reshape(-1, 2).T
    return replace(
        snapshot.nodes,
        requested=requested,
        bound=lambda: placed,
        bound_specs=placed.pods.specs.values,
        nominated=PlacedPods(taken(snapshot.nominated.pods, rows), there),
    )
