"""Wires one run: state, clock, streams and loops, from descriptions that are never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from k8slab.application.calendar import Calendar
from k8slab.application.event_log import EventLog
from k8slab.application.preemptor import WORKLOAD
from k8slab.application.scheduling_controller import PlacerPort, SchedulingController
from k8slab.application.workload_controller import WorkloadController, WorkloadSpec
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.workload import Workload
from k8slab.domain.columns import NEVER, Ints, Names
from k8slab.domain.resources import PODS, ResourceSchema
from k8slab.domain.streams import Streams
from k8slab.domain.taints import toleration_of
from k8slab.errors import InputError
from k8slab.infrastructure.clocks import VirtualClock
from k8slab.policies import Policy
from k8slab.policies.player import Player
from k8slab.simulation.arriving import Arrivals
from k8slab.simulation.distributions import as_distribution
from k8slab.simulation.kubelets import Kubelets
from k8slab.simulation.stretch import PlayerPort, Stretch
from k8slab.simulation.usage import PodUsage, Usage
from k8slab.simulation.workloads import DaemonSet, Deployment, Job, Part, PodStream, StatefulSet
from k8slab.simulation.world import World
from k8slab.state.cluster_state import ClusterState
from k8slab.units import amount, duration_ns

PlacerMaker = Callable[[Policy, ClusterState, int], PlacerPort]


def new_world(
    cluster: Cluster, parts: Sequence[Part], policy: Policy, seed: int, until_ns: int, placer: PlacerMaker | None = None
) -> World:
    """A run at its beginning: nothing has arrived, and no faults or autoscalers are there yet.

    Raises InputError where two parts share a name.
    """
    clock = VirtualClock()
    streams = Streams(seed)
    state = cluster.new_state(_schema(cluster, parts), clock=clock)
    sink = EventLog()
    kubelets = Kubelets(state)
    births = _Births(streams, kubelets)
    workloads = WorkloadController(state, sink, born=births)
    births.usage = usage = PodUsage(state, workloads)
    bare = _Bare(state, streams, until_ns)
    for part in parts:
        if isinstance(part, Workload | PodStream):
            bare.add(part, kubelets, usage)
        else:
            births.add(workloads.add(_spec(part, state.schema)), part)
    make = placer if placer is not None else (lambda policy, state, seed: Player(policy, state, seed=seed))
    decides, force, arrivals = make(policy, state, seed), not policy.checks_fit, bare.arrivals()
    scheduler = SchedulingController(state, decides, sink, force=force)
    calendar = Calendar(clock, [kubelets, arrivals, workloads, scheduler], state.lock)
    if isinstance(decides, PlayerPort):
        calendar.leaper = Stretch(state, clock, arrivals, kubelets, workloads, scheduler, decides, force=force)
    return World(
        cluster, policy, until_ns, state, clock, streams, sink, calendar, kubelets, workloads, scheduler, usage
    )


def _schema(cluster: Cluster, parts: Sequence[Part]) -> ResourceSchema:
    schema = cluster.schema
    for part in parts:
        if isinstance(part, Workload):
            schema = schema.union(part.schema)
        elif isinstance(part, PodStream):
            schema = schema.union(part.pods.schema)
        else:
            schema = schema.union(ResourceSchema.of(part.requests))
    return schema


class _Bare:
    """Gives pods that no workload owns their rows, and collects when they arrive."""

    def __init__(self, state: ClusterState, streams: Streams, until_ns: int) -> None:
        self._state = state
        self._streams = streams
        self._until_ns = until_ns
        self._names: set[str] = set()
        self._at: list[Ints] = []
        self._rows: list[Ints] = []

    def add(self, part: Workload | PodStream, kubelets: Kubelets, usage: PodUsage) -> None:
        """Pods of a trace, or of a stream that is drawn here."""
        if isinstance(part, PodStream):
            pods, at, lasting = self._drawn(part)
            startup, uses, name = duration_ns(part.startup), part.usage, part.name
        else:
            pods, at, lasting = self._recorded(part)
            startup, uses, name = 0, Usage(1.0, 1.0), "workload"
        if not len(pods):
            return
        rows = self._state.add_pods(
            pods.names, pods.with_schema(self._state.schema).requests, namespaces=pods.namespaces,
            tolerations=pods.tolerations, priority=pods.priority, labels=pods.labels, specs=pods.specs,
            startup_ns=startup, arrived=False,
        )  # fmt: skip
        kubelets.set_lifetime(rows, lasting)
        usage.set_share(rows, uses, self._streams.generator(f"usage/{name}"))
        self._at.append(at)
        self._rows.append(rows)

    def _drawn(self, stream: PodStream) -> tuple[Workload, Ints, Ints]:
        if stream.name in self._names:
            raise InputError(f"two streams are named {stream.name!r}; wanted a name of its own for each")
        self._names.add(stream.name)
        draws = {what: self._streams.generator(f"{what}/{stream.name}") for what in ("arrivals", "shapes", "lifetimes")}
        at = stream.arrivals.times(self._until_ns, draws["arrivals"])
        shapes = draws["shapes"].integers(len(stream.pods), size=len(at))
        lasting = as_distribution(stream.lifetimes).draw(len(at), draws["lifetimes"])
        return stream.pods.take(shapes, Names(prefix=f"{stream.name}-", count=len(at))), at, lasting

    def _recorded(self, workload: Workload) -> tuple[Workload, Ints, Ints]:
        at = np.zeros(len(workload), dtype=np.int64) if workload.arrival_ns is None else workload.arrival_ns
        order = np.argsort(at, kind="stable")
        order = order[at[order] < self._until_ns]
        whole = len(order) == len(workload) and bool((np.diff(order) == 1).all())
        pods = workload if whole else workload.take(order)
        lasting = np.full(len(pods), NEVER) if pods.duration_ns is None else pods.duration_ns
        return pods, at[order], lasting

    def arrivals(self) -> Arrivals:
        """The loop that lets them arrive: by time, and by row within an instant."""
        none = [np.zeros(0, dtype=np.int64)]
        at, rows = np.concatenate(self._at or none), np.concatenate(self._rows or none)
        order = np.argsort(at, kind="stable")
        return Arrivals(self._state, at[order], rows[order])


class _Births:
    """Gives the pods that a workload makes their lifetimes and usage, each workload from streams of its own."""

    usage: PodUsage

    def __init__(self, streams: Streams, kubelets: Kubelets) -> None:
        self._streams = streams
        self._kubelets = kubelets
        self._parts: dict[int, Deployment | StatefulSet | Job | DaemonSet] = {}
        self._dice: dict[int, tuple[np.random.Generator, np.random.Generator]] = {}

    def add(self, owner: int, part: Deployment | StatefulSet | Job | DaemonSet) -> None:
        """The workload of this number."""
        self._parts[owner] = part
        self._dice[owner] = (
            self._streams.generator(f"lifetimes/{part.name}"),
            self._streams.generator(f"usage/{part.name}"),
        )
        if isinstance(part, Deployment) and part.load is not None:
            self.usage.set_load(owner, part.load)

    def __call__(self, rows: Ints, owner: int) -> None:
        part = self._parts[owner]
        lifetimes, usage = self._dice[owner]
        if isinstance(part, Job):
            self._kubelets.set_lifetime(rows, as_distribution(part.durations).draw(len(rows), lifetimes))
        self.usage.set_share(rows, part.usage, usage)


def _spec(part: Deployment | StatefulSet | Job | DaemonSet, schema: ResourceSchema) -> WorkloadSpec:
    amounts = {name: amount(name, value, f"{part}, {name}") for name, value in part.requests.items()}
    spec = WorkloadSpec(
        name=part.name,
        kind="DaemonSet",
        request=schema.vector({PODS: 1, **amounts}),
        namespace=part.namespace,
        labels={**part.labels, WORKLOAD: part.name},
        tolerations=tuple(toleration_of(text) for text in part.tolerations),
        priority=part.priority,
        spec=part.pod_spec(),
        startup_ns=duration_ns(part.startup),
    )
    if isinstance(part, Deployment):
        return replace(spec, kind="Deployment", replicas=part.replicas)
    if isinstance(part, StatefulSet):
        return replace(spec, kind="StatefulSet", replicas=part.replicas, parallel=part.parallel)
    if isinstance(part, Job):
        return replace(
            spec, kind="Job", replicas=part.parallelism, completions=part.completions,
            backoff_limit=part.backoff_limit, start_ns=duration_ns(part.at),
        )  # fmt: skip
    return spec
