"""Simulation: a cluster lives for a time, under a policy, autoscalers and faults, from one seed."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from k8slab.domain.streams import Streams
from k8slab.errors import InputError, Interrupted, UnknownName
from k8slab.experiments.progress import in_notebook, progress_bar
from k8slab.policies import Policy, as_policy
from k8slab.units import duration_ns, format_duration

if TYPE_CHECKING:
    from k8slab.datasets import Cluster
    from k8slab.experiments.simulation_run import Run
    from k8slab.simulation.fault_base import Fault
    from k8slab.simulation.health import Health
    from k8slab.simulation.namespaces import Namespace
    from k8slab.simulation.store import Store
    from k8slab.simulation.workloads import Part

# So many objects are made before cyclic garbage is looked for; Python's own is 700.
_OBJECTS: Final = 200_000
Progress = bool | Callable[[int], None] | None


class Simulation:
    """What is to be simulated; `run` makes a run of it, as often as you like, the same each time.

    cluster     : the nodes, and what already runs there
    workload    : a Workload, whose pods come at its arrival_ns (at once, if it has none) and run for its
                  duration_ns (on and on); or a PodStream, Deployment, StatefulSet, Job or DaemonSet; or several
    autoscalers : of k8slab.simulation.autoscalers
    faults      : of k8slab.simulation.faults
    health      : who watches and heals, see k8slab.simulation.health.Health; Kubernetes' own ways by default
    store       : a k8slab.simulation.Store, through which all loops write: they act once it has committed, and
                  not while nobody leads it. By default what is decided takes effect at once
    policy      : a name of policy_names(), or a Policy
    namespaces  : k8slab.simulation.namespaces.Namespace, whose quotas and limits every pod that enters must pass
    priority_classes : name -> value, for quotas of the scope PriorityClass
    seed        : everything random is a function of it

    Raises InputError for what can't be simulated.

    >>> import k8slab
    >>> cluster = k8slab.Cluster.synthetic(nodes=3)
    >>> k8slab.Simulation(cluster, k8slab.Workload.synthetic(pods=20)).run(until="1h")
    <Run kube-default: 1h of 3 nodes, 20 pods arrived>
    """

    def __init__(
        self,
        cluster: Cluster,
        workload: Part | Sequence[Part],
        *,
        autoscalers: Sequence[Any] = (),
        faults: Sequence[Fault] = (),
        health: Health | None = None,
        store: Store | None = None,
        policy: str | Policy = "kube-default",
        namespaces: Sequence[Namespace] = (),
        priority_classes: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        from k8slab.datasets import Cluster as ClusterType

        if not isinstance(cluster, ClusterType):
            raise InputError(f"cluster is a {type(cluster).__name__}; wanted a k8slab.Cluster")
        if not len(cluster):
            raise InputError("cannot simulate a cluster without nodes")
        self.cluster = cluster
        self.parts = _parts_of(workload)
        _check_resources(self.parts, cluster)
        self.autoscalers = tuple(autoscalers)
        self.faults = tuple(faults)
        self.health = health
        self.store = store
        self.policy = as_policy(policy)
        self.namespaces = tuple(namespaces)
        self.priority_classes = dict(priority_classes or {})
        self.seed = Streams(seed).seed

    def run(self, until: str | int | float = "1d", *, progress: Progress = None) -> Run:
        """Live from 0 to `until`: "7d", "90m", or seconds.

        progress : True shows virtual time and time left once it has lasted two seconds, None in a terminal
                   alone; or a function that is called after each instant with its time in ns

        Raises InputError for a time that is none, and Interrupted after Ctrl-C: its `partial` is the
        Run up to that instant.
        """
        from k8slab.experiments.simulation_run import Run

        until_ns = duration_ns(until, "until", least_ns=1)
        world = self._world(until_ns)
        began = time.perf_counter()
        shown = progress is True or (progress is None and not in_notebook())
        with progress_bar(f"simulating {format_duration(until_ns)}", until_ns, show=shown) as bar, _stoppable() as stop:
            told = progress if callable(progress) else bar.reach

            def each(at_ns: int) -> None:
                told(at_ns)
                if stop.is_set():
                    raise KeyboardInterrupt

            try:
                with _rarely_collected():
                    world.calendar.run_until(until_ns, each)
            except KeyboardInterrupt:
                partial = Run(self, world, time.perf_counter() - began, interrupted=True)
                message = f"interrupted at {format_duration(partial.until_ns)} of {format_duration(until_ns)}"
                raise Interrupted(message, partial=partial) from None
        return Run(self, world, time.perf_counter() - began)

    def check(self) -> None:
        """Raises InputError for whatever `run` would raise it for before it lives: two workloads of one name, say."""
        self._world(1)

    def replaced(self, **changes: Any) -> Simulation:
        """The same with other arguments; None leaves one as it is."""
        arguments: dict[str, Any] = {
            "autoscalers": self.autoscalers, "faults": self.faults, "health": self.health, "store": self.store,
            "policy": self.policy, "namespaces": self.namespaces, "priority_classes": self.priority_classes,
            "seed": self.seed,
        }  # fmt: skip
        given = {name: value for name, value in changes.items() if value is not None}
        cluster, workload = given.pop("cluster", self.cluster), given.pop("workload", self.parts)
        return Simulation(cluster, workload, **{**arguments, **given})

    def manifest(self) -> dict[str, Any]:
        """Versions, the cluster's hash, what runs there, the policy and the seed."""
        from k8slab.datasets import Workload
        from k8slab.experiments import manifest

        def told(part: Part) -> Any:
            if isinstance(part, Workload):
                return {"workload": part.content_hash(), "pods": len(part), "source": part.source}
            return repr(part)

        return {
            "versions": manifest.versions(),
            "cluster": {
                "sha256": self.cluster.content_hash(), "nodes": len(self.cluster), "source": self.cluster.source,
            },
            "parts": [told(part) for part in self.parts],
            "autoscalers": [repr(one) for one in self.autoscalers],
            "faults": [repr(one) for one in self.faults],
            "health": repr(self.health),
            **({} if self.store is None else {"store": repr(self.store)}),
            "policy": self.policy.arguments(),
            "namespaces": [repr(one) for one in self.namespaces],
            "priority_classes": self.priority_classes,
            "seed": self.seed,
        }  # fmt: skip

    def _world(self, until_ns: int) -> Any:
        from k8slab.simulation.engine import new_world

        world = new_world(self.cluster, self.parts, self.policy, self.seed, until_ns)
        from k8slab.simulation.health import build_health, build_preemption

        if self.faults or self.health is not None:
            build_health(world, self.faults, self.health)
        else:
            build_preemption(world)
        if self.namespaces:
            from k8slab.simulation.namespaces import build_admission

            build_admission(world, self.namespaces, self.priority_classes)
        if self.autoscalers:
            from k8slab.simulation.autoscalers import build_autoscalers

            build_autoscalers(self.autoscalers, world)
        if self.store is not None:
            from k8slab.simulation.committing import build_store

            build_store(world, self.store)
        return world

    def __repr__(self) -> str:
        parts = f"{len(self.parts)} part{'s' if len(self.parts) != 1 else ''}"
        return f"<Simulation {self.policy.name}: {len(self.cluster):,} nodes, {parts}, seed {self.seed}>"


def _parts_of(workload: Part | Sequence[Part]) -> tuple[Part, ...]:
    from k8slab.datasets import Workload
    from k8slab.simulation.workloads import DaemonSet, Deployment, Job, PodStream, StatefulSet

    kinds = (Workload, PodStream, Deployment, StatefulSet, Job, DaemonSet)
    parts = (workload,) if isinstance(workload, kinds) else tuple(workload)
    for part in parts:
        if not isinstance(part, kinds):
            names = ", ".join(kind.__name__ for kind in kinds)
            raise InputError(f"workload holds a {type(part).__name__}; wanted one of {names}")
    return parts


def _check_resources(parts: Sequence[Part], cluster: Cluster) -> None:
    """UnknownName for a request that no node could ever hold, as it is misspelt: "cpus". Traces ask what they ask."""
    from k8slab.datasets import Workload
    from k8slab.domain.resources import CPU, EPHEMERAL_STORAGE, MEMORY, is_known
    from k8slab.simulation.workloads import PodStream

    there = cluster.schema.names
    for part in parts:
        if isinstance(part, Workload):
            continue
        asked = part.pods.schema.names if isinstance(part, PodStream) else part.requests
        for name in asked:
            if name not in there and not is_known(name):
                known = {CPU, MEMORY, EPHEMERAL_STORAGE, *there}
                hint = f'In the requests of {part.name!r}; others are named as "nvidia.com/gpu".'
                raise UnknownName("resource", name, known, hint)


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Cyclic garbage is looked for seldom: what a run makes is kept, has no cycles, and took a fifth of its time to
    be looked through again and again."""
    before = gc.get_threshold()
    if before[0]:
        gc.set_threshold(max(before[0], _OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that the run ends between two instants and not within one."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
