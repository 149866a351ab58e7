"""What runs in a simulated cluster: streams of pods that come and go, and workloads that are kept at a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from k8slab.datasets.workload import Workload
from k8slab.errors import InputError
from k8slab.simulation.arrivals import ArrivalProcess
from k8slab.simulation.distributions import Distribution, Span, as_distribution
from k8slab.simulation.usage import Load, Usage
from k8slab.units import Quantity, duration_ns


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

    requests : {"cpu": "500m", "memory": "1Gi"}
    startup  : how long until a container is ready after its start
    usage    : what a pod uses of its request
    """

    name: str
    requests: Mapping[str, Quantity]
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[str, ...] = ()
    priority: int = 0
    startup: Span = 0
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        duration_ns(self.startup, f"{self}: startup")

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

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


Part = Workload | PodStream | Deployment | Job | DaemonSet
