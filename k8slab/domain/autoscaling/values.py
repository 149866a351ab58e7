"""The fields of a HorizontalPodAutoscaler, and what it sees of pods and metrics. Values only.

Amounts are in milli of their unit (mCPU, thousandths of a byte), as upstream's
int64 MilliValue; instants are in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError, K8slabError, UnknownName

MAX_INT32: Final = 2**31 - 1
MAX_INT64: Final = 2**63 - 1
TARGET_TYPES: Final = ("Utilization", "AverageValue", "Value")
SELECT_POLICIES: Final = ("Max", "Min", "Disabled")
POLICY_TYPES: Final = ("Pods", "Percent")


class MetricUnavailable(K8slabError):
    """A metric can't be evaluated now; `code` says why, in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class ScaledContainer:
    """A container, with what it requests; restart policy Always makes an init container a sidecar."""

    name: str
    requests: Mapping[str, int] = field(default_factory=dict)
    restart_always: bool = False


@dataclass(frozen=True)
class ScaledPod:
    """A pod that the target's selector matches.

    ready          : the Ready condition's status, None without the condition
    ready_since_ns : its last transition
    start_ns       : status.startTime
    """

    name: str
    phase: str = "Running"
    ready: str | None = "True"
    ready_since_ns: int | None = None
    start_ns: int | None = None
    deleting: bool = False
    containers: tuple[ScaledContainer, ...] = ()
    init_containers: tuple[ScaledContainer, ...] = ()
    pod_requests: Mapping[str, int] | None = None


@dataclass(frozen=True)
class MetricSample:
    """What one pod used, averaged over a window that ended at `timestamp_ns`."""

    value: int
    timestamp_ns: int = 0
    window_ns: int = 60 * SECOND_NS


Samples = Mapping[str, MetricSample]


@dataclass(frozen=True)
class Tolerance:
    """How far a ratio may be from 1 without a change: within [1 - down, 1 + up], both ends included."""

    down: float = 0.1
    up: float = 0.1

    def holds(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True)
class Readiness:
    """The two periods in which a young pod's cpu sample is doubted."""

    cpu_initialization_ns: int = 300 * SECOND_NS
    initial_readiness_delay_ns: int = 30 * SECOND_NS


@dataclass(frozen=True)
class MetricSpec:
    """One entry of spec.metrics.

    type   : Resource, ContainerResource, Pods, Object or External; any other is refused when evaluated
    target : per cent for Utilization, else milli
    name   : of a Pods, Object or External metric, by which its source knows it
    """

    type: str
    target_type: str = "Utilization"
    target: int = 0
    resource: str = ""
    container: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if self.type in ("Resource", "ContainerResource", "Pods", "Object", "External"):
            if self.target_type not in TARGET_TYPES:
                raise UnknownName("target type", self.target_type, TARGET_TYPES)
            if self.target <= 0:
                raise InputError(f"a {self.type} metric with target {self.target:,}; wanted more than 0")

    @property
    def has_target(self) -> bool:
        """Whether its type knows its type of target; a Pods metric takes any for an AverageValue."""
        allowed = {"Object": ("Value", "AverageValue"), "External": ("Value", "AverageValue")}
        resource = ("Utilization", "AverageValue")
        return self.type == "Pods" or self.target_type in allowed.get(self.type, resource)


@dataclass(frozen=True)
class ScalingPolicy:
    """At most so many pods, or so many per cent, in a period."""

    type: str
    value: int
    period_seconds: int

    def __post_init__(self) -> None:
        if self.type not in POLICY_TYPES:
            raise UnknownName("scaling policy type", self.type, POLICY_TYPES)
        if self.value <= 0 or self.period_seconds <= 0:
            raise InputError(f"{self}: wanted a value and a period of more than 0")


@dataclass(frozen=True)
class ScalingRules:
    """behavior.scaleUp or behavior.scaleDown; None is the default of its side."""

    stabilization_window_seconds: int | None = None
    select_policy: str | None = None
    policies: tuple[ScalingPolicy, ...] | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.select_policy is not None and self.select_policy not in SELECT_POLICIES:
            raise UnknownName("select policy", self.select_policy, SELECT_POLICIES)


@dataclass(frozen=True)
class Behavior:
    """spec.behavior, with each field that was left out at its default."""

    scale_up: ScalingRules
    scale_down: ScalingRules


DEFAULT_UP_POLICIES: Final = (ScalingPolicy("Pods", 4, 15), ScalingPolicy("Percent", 100, 15))
DEFAULT_DOWN_POLICIES: Final = (ScalingPolicy("Percent", 100, 15),)


def with_defaults(
    scale_up: ScalingRules | None, scale_down: ScalingRules | None, downscale_stabilization_seconds: int = 300
) -> Behavior:
    """The behavior of what a user wrote, each field of it at its default where they wrote nothing."""
    return Behavior(
        _filled(scale_up, 0, DEFAULT_UP_POLICIES),
        _filled(scale_down, downscale_stabilization_seconds, DEFAULT_DOWN_POLICIES),
    )


def _filled(rules: ScalingRules | None, window_seconds: int, policies: tuple[ScalingPolicy, ...]) -> ScalingRules:
    given = rules if rules is not None else ScalingRules()
    window = given.stabilization_window_seconds
    return ScalingRules(
        window_seconds if window is None else window,
        given.select_policy or "Max",
        policies if given.policies is None else given.policies,
        given.tolerance,
    )


DEFAULT_METRICS: Final = (MetricSpec("Resource", "Utilization", 80, "cpu"),)


@dataclass(frozen=True)
class HorizontalPodAutoscaler:
    """spec of one autoscaler; the field names are the API's.

    metrics : cpu at 80 % of what is requested where it is empty, as the API has it
    """

    max_replicas: int
    min_replicas: int = 1
    metrics: tuple[MetricSpec, ...] = DEFAULT_METRICS
    behavior: Behavior | None = None

    def __post_init__(self) -> None:
        if not self.metrics:
            object.__setattr__(self, "metrics", DEFAULT_METRICS)
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise InputError(
                f"minReplicas {self.min_replicas} and maxReplicas {self.max_replicas}; "
                "wanted 0 <= minReplicas <= maxReplicas, and maxReplicas >= 1"
            )


@dataclass(frozen=True)
class HpaConfig:
    """What kube-controller-manager's flags say for all autoscalers.

    scale_up_limit_factor, scale_up_limit_minimum : without behavior a step goes to at most max(factor * spec, minimum)
    """

    tolerance: Tolerance = Tolerance()
    readiness: Readiness = Readiness()
    downscale_stabilization_ns: int = 300 * SECOND_NS
    scale_up_limit_factor: float = 2.0
    scale_up_limit_minimum: float = 4.0
    pod_level_resources: bool = True
