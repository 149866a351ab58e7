"""schedule(): one policy, one workload, one cluster; and the Placement that comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from k8slab.datasets._parts import counted
from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.resources import PODS, ResourceSchema
from k8slab.errors import InputError, UnknownName
from k8slab.experiments.progress import in_notebook, progress_bar
from k8slab.policies import Evaluation, Path, Policy, Ties, as_policy
from k8slab.policies.policy import Eviction, check_seed, check_ties
from k8slab.policies.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

    from k8slab.analysis.plots import PlacementPlots
    from k8slab.datasets import Cluster, Workload
    from k8slab.experiments.explanation import Difference, Explanation
    from k8slab.state import ClusterState


def schedule(
    cluster: Cluster,
    workload: Workload,
    policy: str | Policy = "kube-default",
    *,
    seed: int = 0,
    ties: Ties | None = None,
    order: npt.ArrayLike | None = None,
    departures: npt.ArrayLike | None = None,
    path: Path | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> Placement:
    """Place a workload's pods one after another on a cluster; gives the Placement.

    policy   : a name of `policy_names()`, or a Policy
    seed     : draws among equal nodes where the tie rule is random; whole, from 0
    ties     : "lowest" or "random"; None leaves the policy's own rule
    order    : int[P], the workload's rows in the order they arrive; None for as they stand
    departures : int[P], by the workload's rows: how many pods have arrived when a pod leaves its node, so that it
               isn't there when the pod of that number (from 0) comes; -1 for those that stay. None if all stay
    path     : "tree", "groups", "scan" or "stepwise"; None for the fastest that can. All decide alike.
    progress : True shows how far it is once it has lasted two seconds, in a terminal or notebook; None
               in a terminal alone, as a notebook would keep the line; or a function that is called
               now and then with how many pods were decided

    A pod that no node can take stays unplaced: that is a result, see `unschedulable()`.
    Raises UnknownName for a policy that isn't, InputError for an empty cluster, a seed
    that is none, an order that isn't one, a pod that leaves before it comes, PluginError
    where a user's plug-in misbehaves.

    >>> import k8slab
    >>> cluster = k8slab.Cluster.synthetic(nodes=10, seed=1)
    >>> k8slab.schedule(cluster, k8slab.Workload.synthetic(pods=100, seed=1), policy="best-fit")
    <Placement best-fit: 100 of 100 pods on 10 nodes>

    Pods that leave make room: here each when ten more have come.

    >>> number = np.arange(100)
    >>> churn = np.where(number < 90, number + 10, -1)
    >>> k8slab.schedule(cluster, k8slab.Workload.synthetic(pods=100, seed=1), departures=churn)
    <Placement kube-default: 100 of 100 pods on 10 nodes, 10 there at the end>
    """
    check_inputs(cluster, workload)
    chosen = as_policy(policy)
    seed = check_seed(seed)
    rule = chosen.ties if ties is None else check_ties(ties)
    if not len(cluster):
        raise InputError(f"cannot place {len(workload):,} pods: the cluster has no nodes")
    arrival = checked_order(order, len(workload))
    leave = checked_departures(departures, arrival, len(workload))
    shown = progress is True or (progress is None and not in_notebook())
    with progress_bar("placing pods", len(workload), show=shown, told=progress is not False) as bar:
        report = progress if callable(progress) else bar.reach
        return place_columns(
            cluster, workload, chosen, columns(cluster, workload, arrival),
            seed=seed, ties=rule, arrival=arrival, path=path, progress=report, leave=leave,
        )  # fmt: skip


def place_columns(
    cluster: Cluster,
    workload: Workload,
    policy: Policy,
    given: tuple[NodeColumns, PodColumns],
    *,
    seed: int,
    ties: Ties,
    arrival: Ints | None,
    path: Path | None,
    progress: Callable[[int], None],
    leave: Ints | None = None,
) -> Placement:
    """`schedule` with its arguments checked, and with the columns made: they may serve many, at a time too."""
    nodes, pods = given
    in_turn = leave if leave is None or arrival is None else leave[arrival]
    began = time.perf_counter()
    decisions = policy.place(nodes, pods, seed=seed, ties=ties, path=path, progress=progress, departures=in_turn)
    seconds = time.perf_counter() - began
    node_rows, evictions, devices = decisions.node_rows, decisions.evictions, decisions.devices
    if arrival is not None:
        node_rows = np.empty_like(node_rows)
        node_rows[arrival] = decisions.node_rows
        devices = None if devices is None else devices[np.argsort(arrival)]
        evictions = tuple(e if e.bound else e._replace(row=int(arrival[e.row])) for e in evictions)
    node_rows.setflags(write=False)
    return Placement(
        cluster, workload, policy, seed, ties, arrival, node_rows, decisions.path, seconds, evictions, devices,
        decisions.starts, leave,
    )  # fmt: skip


def check_inputs(cluster: object, workload: object) -> None:
    """Raises InputError unless these are a Cluster and a Workload: frames are easily taken for them."""
    from k8slab.datasets import Cluster, Workload

    for kind, value in (Cluster, cluster), (Workload, workload):
        if not isinstance(value, kind):
            name, wanted = kind.__name__.lower(), f"k8slab.{kind.__name__}"
            raise InputError(
                f"{name} is a {type(value).__name__}; wanted a {wanted}, such as {wanted}.from_frame(frame) gives"
            )


def columns(cluster: Cluster, workload: Workload, order: Ints | None = None) -> tuple[NodeColumns, PodColumns]:
    """What a policy sees of a cluster before a workload arrives, over the resources of both."""
    schema = cluster.schema.union(workload.schema)
    nodes = replace(cluster.new_state(schema).node_columns(), arrays=cluster.arrays)
    return nodes, workload.columns(schema, order)


def checked_order(order: npt.ArrayLike | None, pods: int) -> Ints | None:
    if order is None:
        return None
    rows = np.asarray(order)
    wanted = f"order must hold each of the workload's {pods:,} rows once"
    if rows.shape != (pods,) or (pods and rows.dtype.kind not in "iu"):
        raise InputError(f"{wanted}; it is {rows.dtype} of shape {rows.shape}")
    missing = np.setdiff1d(np.arange(pods), rows)
    if len(missing):
        raise InputError(f"{wanted}; it lacks {len(missing):,} of them, first row {missing[0]:,}")
    arrival = rows.astype(np.int64)
    arrival.setflags(write=False)
    return arrival


def checked_departures(departures: npt.ArrayLike | None, order: Ints | None, pods: int) -> Ints | None:
    if departures is None:
        return None
    numbers = np.asarray(departures)
    if numbers.shape != (pods,) or (pods and numbers.dtype.kind not in "iu"):
        wanted = f"departures must hold a whole number for each of the workload's {pods:,} pods"
        raise InputError(f"{wanted}; it is {numbers.dtype} of shape {numbers.shape}")
    arrival = np.arange(pods)
    if order is not None:
        arrival[order] = np.arange(pods)
    wrong = (numbers >= pods) | ((numbers <= arrival) & (numbers != -1))
    for row in np.flatnonzero(wrong)[:1].tolist():
        raise InputError(
            f"departures[{row}] is {numbers[row]:,}; the pod arrives as number {arrival[row]:,}, so it can leave "
            f"before a number from {arrival[row] + 1:,} to {pods - 1:,}, or stay: -1"
        )
    leave = numbers.astype(np.int64)
    leave.setflags(write=False)
    return leave


@dataclass(frozen=True, eq=False)
class Placement:
    """Where every pod of a workload went, and all that is needed to say why.

    cluster, workload, policy, seed, ties : what was run
    order     : int64[P]  the workload's rows in the order they arrived; None for as they stand
    node_rows : int64[P]  by the workload's row; -1 where no node fitted
    path      : "tree", "groups", "scan" or "stepwise": how it was computed, which changes no decision
    seconds   : what the decisions took, by the wall
    evictions : pods that had to go for more important ones: rows of the workload, or of the cluster's
                bound pods; `by` is the number at which the pod arrived that they made room for
    starts    : int64[P]  by arrival: where the search among the nodes began; None unless the policy samples them
    devices   : int64[P, D]  milli that each pod has of its node's GPUs; None unless the policy tells them apart
    departures : int64[P]  by the workload's row: how many pods had arrived when it left, -1 if it stayed; None
                if all stayed
    """

    cluster: Cluster
    workload: Workload
    policy: Policy
    seed: int
    ties: Ties
    order: Ints | None
    node_rows: Ints
    path: Path
    seconds: float
    evictions: tuple[Eviction, ...] = ()
    devices: Ints | None = None
    starts: Ints | None = None
    departures: Ints | None = None

    # -- numbers -------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.workload)

    @property
    def schema(self) -> ResourceSchema:
        """The resources of cluster and workload."""
        return self.cluster.schema.union(self.workload.schema)

    @property
    def placed(self) -> int:
        """How many pods found a node."""
        return int((self.node_rows >= 0).sum())

    @cached_property
    def rows_at_end(self) -> Ints:
        """int64[P]: where each pod is at the end, by the workload's row; -1 for those that left too."""
        left = np.bool_(False) if self.departures is None else self.departures >= 0
        return np.where(left, -1, self.node_rows)

    @property
    def allocatable(self) -> Ints:
        """int64[R, N] over `schema`."""
        return self._nodes.allocatable

    def requested(self, before: int | None = None) -> Ints:
        """int64[R, N]: requested at the end, or before the pod that arrived as number `before`.

        Pods bound before the run and foreign usage count.
        """
        specs = (*self._nodes.bound_specs, *self._pods.specs.values)
        if before is not None or self.evictions or any(spec.adjustments for spec in specs):
            return self._fill(Snapshot(self._nodes, self._pods), before).nodes.requested
        # The same, several times as fast: all that counts is what pods request, where they are at the end.
        there = self.rows_at_end >= 0
        requested, node_rows = self._nodes.requested.copy(), self.rows_at_end[there]
        for amounts, asked in zip(requested, self._pods.requests.T, strict=True):
            np.add.at(amounts, node_rows, asked[there])
        return requested

    def _fill(self, snapshot: Snapshot, before: int | None) -> Snapshot:
        """A fresh snapshot brought to how it was before the pod that arrived as number `before`, or to the end."""
        number = len(self) if before is None else before
        where = self.node_rows.copy()
        for eviction in self.evictions:
            if eviction.bound and eviction.by < number:
                snapshot.evict(eviction.row)
            elif not eviction.bound and eviction.by >= number:
                where[eviction.row] = eviction.node_row
        if self.departures is not None:
            where[(self.departures >= 0) & (self.departures <= number)] = -1
        arrived = self.arrival[:number]
        held = arrived[where[arrived] >= 0]
        snapshot.assume_all(held, where[held])
        return snapshot

    @cached_property
    def arrival(self) -> Ints:
        """int64[P]: the workload's rows in the order they arrived."""
        return np.arange(len(self.workload)) if self.order is None else self.order

    def utilization(self, by: str = "node") -> pd.DataFrame:
        """What is requested and allocatable at the end, by "node", "zone", "namespace" or a label's key."""
        from k8slab.analysis.utilization import utilization

        return utilization(self, by=by)

    def to_frame(self) -> pd.DataFrame:
        """One row a pod, in the workload's order: pod, node (missing where none), arrival, departure, requests."""
        import pandas as pd

        names = np.array([*self.cluster.names, None], dtype=object)
        frame = {
            "pod": self.workload.names.to_array(),
            "node": names[self.node_rows],
            "node_row": self.node_rows,
            "arrival": self._arrival_of,
            "departure": np.full(len(self), -1) if self.departures is None else self.departures,
        }
        for resource, column in zip(self.workload.schema.names, self.workload.schema.columns, strict=True):
            if resource != PODS:
                frame[column] = self.workload.requests[:, self.workload.schema.index(resource)]
        frame["namespace"] = self.workload.namespaces.to_array()
        if self.devices is not None:
            named = ("-".join(map(str, np.flatnonzero(held).tolist())) or None for held in self.devices)
            frame["gpu_index"] = np.array(list(named), dtype=object)
        return pd.DataFrame(frame)

    def unschedulable(self) -> pd.DataFrame:
        """One row a request that some pod of it found no node for, as it was when the first one failed."""
        import pandas as pd

        lost = [eviction.row for eviction in self.evictions if not eviction.bound]
        failed = np.setdiff1d(self.arrival[self.node_rows[self.arrival] < 0], lost)
        failed = failed[np.argsort(self._arrival_of[failed])]
        pods = self._pods
        # Pods that ask the same but may go elsewhere fail for reasons of their own.
        kinds = [pods.specs.codes[failed], pods.tolerations.codes[failed]]
        shapes, first, counts = _distinct(np.column_stack([pods.requests[failed], *kinds]))
        rows, schema = failed[first], self.schema
        arrival = self._arrival_of[rows]
        frame = pd.DataFrame(
            {
                "unplaced": counts,
                "first_pod": self.workload.names.take(rows).to_array(),
                "first_arrival": arrival,
                **{c: shapes[:, r] for r, c in enumerate(schema.columns) if schema.names[r] != PODS},
                "message": np.array([self.evaluate(number).message() for number in arrival.tolist()], dtype=object),
            }
        )
        return frame.sort_values(["unplaced", "first_arrival"], ascending=[False, True], ignore_index=True)

    def preempted(self) -> pd.DataFrame:
        """One row a pod that had to go for a more important one, in order: pod, node, by, arrival (of that one)."""
        import pandas as pd

        before = self.cluster.bound.names if self.cluster.bound is not None else ()
        pods = [before[e.row] if e.bound else self.workload.names[e.row] for e in self.evictions]
        return pd.DataFrame(
            {
                "pod": np.array(pods, dtype=object),
                "node": np.array([self.cluster.names[e.node_row] for e in self.evictions], dtype=object),
                "by": np.array([self.workload.names[int(self.arrival[e.by])] for e in self.evictions], dtype=object),
                "arrival": np.array([e.by for e in self.evictions], dtype=np.int64),
                "ran_before": np.array([e.bound for e in self.evictions], dtype=np.bool_),
            }
        )

    # -- decisions -------------------------------------------------------------

    def evaluate(self, arrival: int, policy: Policy | None = None) -> Evaluation:
        """The decision on the pod that arrived as number `arrival`, made again plug-in by plug-in."""
        chosen = self.policy if policy is None else policy
        return chosen.judge(
            self.snapshot(arrival, chosen), int(self.arrival[arrival]), seed=self.seed, ties=self.ties
        )

    def replay(self, numbers: Iterable[int]) -> Iterator[Evaluation]:
        """The decisions on the pods that arrived as these numbers, rising, each as it stood then.

        As `evaluate` for each of them, but one snapshot serves them all. Raises InputError for numbers that fall.
        """
        snapshot = self._empty(self.policy)
        known = 0
        for number in numbers:
            if number < known:
                raise InputError(f"arrival {number} comes after {known}: numbers must rise")
            if self.departures is not None or any(known <= eviction.by < number for eviction in self.evictions):
                snapshot = self.snapshot(number)
            else:
                arrived = self.arrival[known:number]
                where = self._first_rows[arrived]
                snapshot.assume_all(arrived[where >= 0], where[where >= 0])
            known = number
            snapshot.search_start = self._start_of(number)
            yield self.policy.judge(snapshot, int(self.arrival[number]), seed=self.seed, ties=self.ties)

    @cached_property
    def _first_rows(self) -> Ints:
        """int64[P]: where pods went when they came, though some had to go later."""
        where = self.node_rows.copy()
        for eviction in self.evictions:
            if not eviction.bound:
                where[eviction.row] = eviction.node_row
        return where

    def snapshot(self, before: int | None = None, policy: Policy | None = None) -> Snapshot:
        """The cluster as a policy saw it before the pod that arrived as number `before`, or as it was at the end.

        Its pods are the workload's, in the workload's order.
        """
        snapshot = self._fill(self._empty(self.policy if policy is None else policy), before)
        snapshot.search_start = 0 if before is None else self._start_of(before)
        return snapshot

    def _start_of(self, number: int) -> int:
        return 0 if self.starts is None or number >= len(self) else int(self.starts[number])

    def _empty(self, policy: Policy) -> Snapshot:
        snapshot = policy.snapshot(self._nodes, self._pods)
        snapshot.seed = self.seed
        return snapshot

    def explain(self, pod: str | int) -> Explanation:
        """Why a pod went where it went, or nowhere: every node, every plug-in, at that instant.

        pod : its name, or its row in the workload. Raises UnknownName for a pod that isn't.
        """
        from k8slab.experiments.explanation import Explanation

        row = self._row_of(pod)
        return Explanation.of(self, row, int(self._arrival_of[row]))

    def diff(self, other: Placement) -> Difference:
        """Where two placements of one workload part, by which plug-in, and which pods moved.

        Raises InputError unless both placed the same pods in the same order.
        """
        from k8slab.experiments.explanation import Difference

        if not isinstance(other, Placement):
            raise InputError(f"other is a {type(other).__name__}; wanted a Placement, as k8slab.schedule() gives")
        return Difference.of(self, other)

    def manifest(self) -> dict[str, Any]:
        """What this was made from: versions, hashes of the inputs, policy, seed, order."""
        from k8slab.experiments import manifest

        return {
            "versions": manifest.versions(),
            **manifest.inputs(self.cluster, self.workload),
            "policy": self.policy.arguments(),
            "seed": self.seed,
            "ties": self.ties,
            "order": None if self.order is None else self.order.tolist(),
            "departures": None if self.departures is None else self.departures.tolist(),
        }

    def state(self) -> ClusterState:
        """A fresh ClusterState with the placed pods bound and the others waiting, those that had to go among them."""
        schema = self.schema
        state = self.cluster.new_state(schema)
        # A nominated pod waits there already.
        rows = np.array([state.pod_row(name) for name in self.workload.names], dtype=np.int64)
        rows[rows < 0] = self.workload.take(rows < 0).add_to(state)
        lost = [eviction.row for eviction in self.evictions if eviction.bound]
        if lost:
            # Their controllers make them anew: they wait.
            state.unbind(np.array(lost))
        gone = np.flatnonzero(self.rows_at_end != self.node_rows)
        if len(gone):
            state.remove_pods(rows[gone])
        placed = self.arrival[self.rows_at_end[self.arrival] >= 0]
        devices = None if self.devices is None else self.devices[placed]
        state.bind(rows[placed], self.node_rows[placed], devices=devices, force=not self.policy.checks_fit)
        return state

    # -- looking -----------------------------------------------------------------

    @property
    def plot(self) -> PlacementPlots:
        """Plots: packing(), heatmap(), utilization(), stranding(); each gives matplotlib Axes."""
        from k8slab.analysis.plots import PlacementPlots

        return PlacementPlots(self)

    def allocated_percent(self) -> dict[str, float]:
        """Requested of allocatable over the whole cluster, by resource; pods left out."""
        requested, allocatable = self.requested().sum(axis=1), self.allocatable.sum(axis=1)
        return {
            name: 100.0 * float(requested[row]) / float(allocatable[row])
            for row, name in enumerate(self.schema.names)
            if name != PODS and allocatable[row] > 0
        }

    def __repr__(self) -> str:
        used = len(np.unique(self.node_rows[self.node_rows >= 0]))
        pods, nodes = counted(len(self), "pod"), counted(used, "node")
        there = "" if self.departures is None else f", {int((self.rows_at_end >= 0).sum()):,} there at the end"
        return f"<Placement {self.policy.name}: {self.placed:,} of {pods} on {nodes}{there}>"

    def _repr_html_(self) -> str:
        allocated = "".join(
            f"<tr><td style='text-align:left'>{escape(name)} allocated</td><td>{percent:.1f} %</td></tr>"
            for name, percent in self.allocated_percent().items()
        )
        used = len(np.unique(self.node_rows[self.node_rows >= 0]))
        failed = len(self) - self.placed
        advice = "<p>Why the others found none: <code>.unschedulable()</code></p>" if failed else ""
        return (
            f"<p><b>{escape(self.policy.name)}</b> placed {self.placed:,} of {len(self):,} pods on {used:,} of "
            f"{len(self.cluster):,} nodes (seed {self.seed}, ties {self.ties}, path {self.path})</p>"
            f"<table>{allocated}</table>{advice}"
        )

    # -- helpers -------------------------------------------------------------------

    @cached_property
    def _columns(self) -> tuple[NodeColumns, PodColumns]:
        return columns(self.cluster, self.workload)

    @cached_property
    def _arrival_of(self) -> Ints:
        """int64[P]: how many pods arrived before each, by the workload's row."""
        before = np.empty(len(self), dtype=np.int64)
        before[self.arrival] = np.arange(len(self))
        return before

    @property
    def _nodes(self) -> NodeColumns:
        return self._columns[0]

    @property
    def _pods(self) -> PodColumns:
        """In the workload's order, whatever the order of arrival."""
        return self._columns[1]

    def _row_of(self, pod: str | int) -> int:
        if isinstance(pod, str):
            row = self.workload.names.row(pod)
            if row < 0:
                few = self.workload.names[: min(len(self), 20_000)]
                raise UnknownName("pod", pod, few)
            return row
        if not 0 <= pod < len(self):
            raise InputError(f"pod row {pod} is not one of 0..{len(self) - 1}")
        return int(pod)


def _distinct(rows: Ints) -> tuple[Ints, Ints, Ints]:
    """Distinct rows in order of first appearance, the first row of each, and how many there are."""
    shapes, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    return shapes[order], first[order], counts[order]
