"""What runs in a simulated cluster: streams of pods that come and go, and workloads that are kept at a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from k8slab.datasets.kubernetes_pods import template_spec
from k8slab.datasets.taints import parse_tolerations
from k8slab.datasets.workload import Workload
from k8slab.domain.pod_spec import PodSpec
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.arrivals import ArrivalProcess
from k8slab.simulation.distributions import Distribution, Span, as_distribution
from k8slab.simulation.usage import Load, Usage
from k8slab.units import Quantity, amount, duration_ns


@dataclass(frozen=True)
class PodStream:
    """Bare pods that arrive by a process and run for a time.

    pods      : a Workload, each of whose pods is as likely the shape of the next that arrives
    arrivals  : Poisson, Diurnal, Bursts or Replay
    lifetimes : how long each runs, from the instant it is bound: a distribution, or a time span
    startup   : how long until it is ready after that
    usage     : what it uses of its request
    """

    name: str
    pods: Workload
    arrivals: ArrivalProcess
    lifetimes: Distribution | Span
    startup: Span = 0
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        as_distribution(self.lifetimes)
        duration_ns(self.startup, f"stream {self.name!r}: startup")
        if not len(self.pods):
            raise InputError(f"stream {self.name!r}: pods is an empty workload; wanted shapes to draw from")


@dataclass(frozen=True)
class _Template:
    """What the pods of a workload are like.

    requests    : {"cpu": "500m", "memory": "1Gi"}
    tolerations : as ("dedicated=gpu:NoSchedule", "spot")
    priority    : a whole number, the higher the sooner
    startup     : how long until a container is ready after its start
    usage       : what a pod uses of its request
    spec        : what else says where it may run, in a manifest's words: nodeSelector, affinity,
                  topologySpreadConstraints; and preemptionPolicy

    Raises InputError that names the workload, the key and the value.
    """

    name: str
    requests: Mapping[str, Quantity]
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[str, ...] = ()
    priority: int = 0
    startup: Span = 0
    usage: Usage = field(default_factory=Usage)
    spec: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("name", "namespace"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key):
                raise InputError(f"{self}: {key}={getattr(self, key)!r}; wanted a text")
        for key in ("requests", "labels", "spec"):
            if not isinstance(getattr(self, key), Mapping):
                raise InputError(f"{self}: {key}={getattr(self, key)!r}; wanted keys and values")
        for name, quantity in self.requests.items():
            if amount(name, quantity, f"{self}: requests, {name}") < 0:
                raise InputError(f"{self}: requests, {name}={quantity!r} is negative")
        for name, value in self.labels.items():
            if not isinstance(value, str):
                raise InputError(f"{self}: label {name}={value!r}; wanted a text")
        self._check_tolerations()
        self._whole("priority", self.priority, -(2**31))
        duration_ns(self.startup, f"{self}: startup")
        self.pod_spec()

    def pod_spec(self) -> PodSpec:
        """What a scheduler reads of `spec`."""
        metadata = {"name": self.name, "namespace": self.namespace, "labels": dict(self.labels)}
        try:
            return template_spec(type(self).__name__, metadata, self.spec)
        except UnknownName as error:
            raise InputError(f"{self}: spec: {error}") from error

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def _check_tolerations(self) -> None:
        listed = not isinstance(self.tolerations, str) and isinstance(self.tolerations, Sequence)
        for text in self.tolerations if listed else (self.tolerations,):
            try:
                fine = listed and isinstance(text, str) and len(parse_tolerations(text)) == 1
            except ValueError:
                fine = False
            if not fine:
                raise InputError(f'{self}: tolerations, {text!r}; wanted texts as "key=value:Effect", "key" or "*"')

    def _whole(self, key: str, value: Any, least: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{self}: {key}={value!r}; wanted a whole number, {least} or more")


@dataclass(frozen=True)
class Deployment(_Template):
    """A number of equal pods that serve for ever; one that is lost is made anew.

    replicas : how many, until an autoscaler says otherwise
    load     : work that is shared evenly among those that are ready, in place of `usage`'s cpu
    """

    replicas: int = 1
    load: Load | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("replicas", self.replicas, 0)


# Each takes a round of the loops in one instant, of which there are a thousand.
MOST_AT_ONCE: Final = 300


@dataclass(frozen=True)
class StatefulSet(_Template):
    """Pods with names that stay, NAME-0 to NAME-(replicas - 1): one that is lost comes back under its name.

    They are made in order, each when those before it are ready; one on a node that is lost is replaced only
    when it is known to be gone, as two of one name must never run.

    replicas : how many
    parallel : podManagementPolicy Parallel: they don't wait for one another
    """

    replicas: int = 1
    parallel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("replicas", self.replicas, 0)
        if not isinstance(self.parallel, bool):
            raise InputError(f"{self}: parallel={self.parallel!r}; wanted true or false")
        if self.replicas > MOST_AT_ONCE and not self.parallel and not duration_ns(self.startup):
            raise InputError(
                f"{self}: {self.replicas:,} replicas in turn that all are ready at once; wanted a startup above 0, "
                f"parallel=True, or {MOST_AT_ONCE} replicas at most"
            )


@dataclass(frozen=True)
class Job(_Template):
    """Pods that run to an end: so many must succeed, so many at a time.

    at            : when it starts
    durations     : how long each pod runs
    backoff_limit : so many pods may fail before the job does
    """

    completions: int = 1
    parallelism: int = 1
    at: Span = 0
    durations: Distribution | Span = "10m"
    backoff_limit: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("completions", self.completions, 1)
        self._whole("parallelism", self.parallelism, 1)
        self._whole("backoff_limit", self.backoff_limit, 0)
        duration_ns(self.at, f"{self}: at")
        as_distribution(self.durations)


@dataclass(frozen=True)
class DaemonSet(_Template):
    """A pod on every node, whatever state the node is in; put there by its own controller, where there is room."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spec:
            raise InputError(f"{self}: spec={self.spec!r}; a daemon set has a pod on every node here, wanted none")


Part = Workload | PodStream | Deployment | StatefulSet | Job | DaemonSet
