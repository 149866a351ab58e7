"""Autoscalers of a simulated cluster, as data: HorizontalPodAutoscalers and the threshold rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

import numpy as np

from k8slab.application.horizontal_rules import METRIC_TYPES
from k8slab.application.horizontal_scaler import HorizontalScaler, ScaledWorkload
from k8slab.application.threshold_scaler import ThresholdScaler
from k8slab.domain.autoscaling.values import (
    HorizontalPodAutoscaler,
    HpaConfig,
    MetricSpec,
    Readiness,
    ScalingPolicy,
    ScalingRules,
    Tolerance,
    with_defaults,
)
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import AutoScalingConfig
from k8slab.domain.ports import ControllerPort
from k8slab.domain.resources import CPU
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.descheduling import Descheduler
from k8slab.simulation.distributions import Span
from k8slab.simulation.karpenter import Karpenter
from k8slab.simulation.metrics import Series, SimulatedMetrics, Source
from k8slab.simulation.node_autoscalers import ClusterAutoscaler
from k8slab.simulation.scaling_record import ScalingRecord
from k8slab.simulation.vertical import VerticalAutoscaler, build_vertical
from k8slab.simulation.world import World
from k8slab.units import Quantity, amount, duration_ns, parse_quantity, round_up

_MILLI: Final = 1000
_TARGETS: Final = {
    "Resource": ("utilization", "average"),
    "ContainerResource": ("utilization", "average"),
    "Pods": ("average",),
    "Object": ("value", "average"),
    "External": ("value", "average"),
}
_TARGET_TYPES: Final = {"utilization": "Utilization", "average": "AverageValue", "value": "Value"}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What an autoscaler looks at, and what it should be: exactly one of utilization, average and value.

    kind        : Resource, ContainerResource, Pods, Object or External
    resource    : of the first two; container : of ContainerResource, the name of its pods' one container, which is
                  the deployment's
    name        : of the last three
    utilization : per cent of the pods' requests
    average     : a pod's; of Object and External the value shared by the replicas
    value       : the metric's own
    source      : where the last three come from: a number, a Series, or a function of the time in ns that gives
                  a number, or None where there is none. Of Pods it is the total, which ready pods share evenly
    """

    kind: str = "Resource"
    resource: str = CPU
    container: str = ""
    name: str = ""
    utilization: float | None = None
    average: Quantity | None = None
    value: Quantity | None = None
    source: Series | Source | Quantity | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.kind not in METRIC_TYPES:
            raise UnknownName("metric kind", self.kind, METRIC_TYPES)
        allowed = _TARGETS[self.kind]
        given = [name for name in _TARGET_TYPES if getattr(self, name) is not None]
        if len(given) != 1 or given[0] not in allowed:
            told = ", ".join(f"{name}={getattr(self, name)!r}" for name in given) or "no target"
            raise InputError(f"a {self.kind} metric with {told}; wanted exactly one of {', '.join(allowed)}")
        custom = self.kind not in ("Resource", "ContainerResource")
        if custom and (not self.name or self.source is None):
            raise InputError(f"a {self.kind} metric with name={self.name!r} and source={self.source!r}; wanted both")
        if isinstance(self.source, Mapping):
            object.__setattr__(self, "source", _made(Series, self.source, "source"))
        self.spec()

    def spec(self) -> MetricSpec:
        """As the rules want it."""
        (given,) = [name for name in _TARGET_TYPES if getattr(self, name) is not None]
        resource = self.resource if self.kind in ("Resource", "ContainerResource") else ""
        return MetricSpec(
            self.kind, _TARGET_TYPES[given], self._target(given, resource), resource, self.container or None, self.name
        )

    def _target(self, given: str, resource: str) -> int:
        value = getattr(self, given)
        if given == "utilization":
            if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
                raise InputError(f"a {self.kind} metric with utilization={value!r}; wanted a whole number of per cent")
            return int(value)
        if resource:
            return amount(resource, value, given) * (1 if resource == CPU else _MILLI)
        return round_up(parse_quantity(value, given) * _MILLI)

    def reader(self) -> Source:
        """The source as a function of time."""
        source: Any = self.source
        return source if callable(source) else Series(source)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """So many pods, or so many per cent of them, may come or go within a period."""

    type: str
    value: int
    period: Span

    def rule(self) -> ScalingPolicy:
        """As the rules want it. Raises InputError."""
        period = _seconds(self.period, "period")
        if not 1 <= period <= 1800:
            raise InputError(f"policy {self.type}: period={self.period!r}; wanted 1s to 30m")
        return ScalingPolicy(self.type, self.value, period)


@dataclass(frozen=True, kw_only=True)
class ScalingBehavior:
    """behavior.scaleUp or scaleDown: what is left out is as Kubernetes has it by default.

    window    : no further than the least (up) or most (down) that was wanted within it
    policies  : limits to the steps; select takes the one that allows most ("Max"), least ("Min"), or no step
                at all ("Disabled")
    tolerance : how far a metric may be from its target, as a fraction
    """

    window: Span | None = None
    select: str = "Max"
    policies: Sequence[Policy | Mapping[str, Any]] | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.policies is not None:
            _set(self, "policies", tuple(_made(Policy, one, "policies") for one in self.policies))

    def rules(self) -> ScalingRules:
        """As the rules want it. Raises InputError."""
        window = None if self.window is None else _seconds(self.window, "window")
        if window is not None and window > 3600:
            raise InputError(f"window={self.window!r}; wanted 0s to 1h")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise InputError(f"tolerance={self.tolerance!r}; wanted a fraction, 0 or more")
        policies: Any = self.policies
        made = None if policies is None else tuple(one.rule() for one in policies)
        return ScalingRules(window, self.select, made, self.tolerance)


@dataclass(frozen=True, kw_only=True)
class AutoscalerFlags:
    """kube-controller-manager's flags of the horizontal pod autoscaler, --horizontal-pod-autoscaler-..."""

    period: Span = "15s"
    tolerance: float = 0.1
    downscale_stabilization: Span = "5m"
    cpu_initialization: Span = "5m"
    initial_readiness_delay: Span = "30s"

    def __post_init__(self) -> None:
        duration_ns(self.period, "flags, period", least_ns=1)
        if not self.tolerance >= 0:
            raise InputError(f"flags: tolerance={self.tolerance!r}; wanted a fraction, 0 or more")
        self.config()

    def config(self) -> HpaConfig:
        """As the rules want them."""
        return HpaConfig(
            Tolerance(self.tolerance, self.tolerance),
            Readiness(
                duration_ns(self.cpu_initialization, "flags, cpu_initialization"),
                duration_ns(self.initial_readiness_delay, "flags, initial_readiness_delay"),
            ),
            duration_ns(self.downscale_stabilization, "flags, downscale_stabilization"),
        )


@dataclass(frozen=True)
class HorizontalAutoscaler:
    """A HorizontalPodAutoscaler of a deployment.

    name     : the deployment's by default
    metrics  : by default cpu at 80 % of what is requested
    scale_up, scale_down : its behavior; without either, upstream's rules from before there was any
    flags    : the controller's; autoscalers with the same ones are looked at together

    A target that can't be reached shows in the frame `scaling` and in the conditions:
    ScalingLimited with TooManyReplicas, or ScalingActive False where a metric can't be had.
    """

    deployment: str
    min_replicas: int = 1
    max_replicas: int = 10
    metrics: Sequence[Metric | Mapping[str, Any]] = (Metric(utilization=80),)
    scale_up: ScalingBehavior | Mapping[str, Any] | None = None
    scale_down: ScalingBehavior | Mapping[str, Any] | None = None
    flags: AutoscalerFlags | Mapping[str, Any] = field(default_factory=AutoscalerFlags)
    name: str = ""

    def __post_init__(self) -> None:
        _set(self, "name", self.name or self.deployment)
        _whole_bounds(self)
        with _named(self):
            if not self.metrics:
                raise InputError("no metrics; wanted at least one")
            _set(self, "metrics", tuple(_made(Metric, one, "metrics") for one in self.metrics))
            for side in ("scale_up", "scale_down"):
                if getattr(self, side) is not None:
                    _set(self, side, _made(ScalingBehavior, getattr(self, side), side))
            _set(self, "flags", _made(AutoscalerFlags, self.flags, "flags"))
            self.hpa()

    def __str__(self) -> str:
        return f"autoscaler {self.name!r}"

    def hpa(self) -> HorizontalPodAutoscaler:
        """As the rules want it."""
        flags: Any = self.flags
        sides: list[Any] = [self.scale_up, self.scale_down]
        up, down = (None if side is None else side.rules() for side in sides)
        behavior = None
        if up is not None or down is not None:
            stabilization = duration_ns(flags.downscale_stabilization) // SECOND_NS
            behavior = with_defaults(up, down, stabilization)
        specs = tuple(metric.spec() for metric in self._metrics)
        scales_from_zero = any(spec.type in ("Object", "External") for spec in specs)
        if self.min_replicas == 0 and not scales_from_zero:
            raise InputError("min_replicas=0 needs an Object or External metric: pods that aren't there tell nothing")
        return HorizontalPodAutoscaler(self.max_replicas, self.min_replicas, specs, behavior)

    @property
    def _metrics(self) -> tuple[Metric, ...]:
        return self.metrics  # type: ignore[return-value]  # made ones, since __post_init__

    def build(self, world: World) -> ControllerPort:
        """The loop that runs it alone; `build_autoscalers` runs several as one."""
        return _horizontal([self], world, self.name)


@dataclass(frozen=True)
class ThresholdAutoscaler:
    """The orchestration API's rule: one replica up above a target, one down below half of both. No HPA.

    target_cpu, target_memory : per cent of what the running pods request, on average
    """

    deployment: str
    min_replicas: int = 1
    max_replicas: int = 10
    target_cpu: float = 70.0
    target_memory: float = 80.0
    scale_up_cooldown: Span = "60s"
    scale_down_cooldown: Span = "300s"
    period: Span = "15s"
    name: str = ""

    def __post_init__(self) -> None:
        _set(self, "name", self.name or self.deployment)
        _whole_bounds(self)
        with _named(self):
            for key in ("scale_up_cooldown", "scale_down_cooldown"):
                duration_ns(getattr(self, key), key)
            duration_ns(self.period, "period", least_ns=1)
            for key in ("target_cpu", "target_memory"):
                if not getattr(self, key) > 0:
                    raise InputError(f"{key}={getattr(self, key)!r}; wanted per cent above 0")

    def __str__(self) -> str:
        return f"autoscaler {self.name!r}"

    def config(self) -> AutoScalingConfig:
        """As the rule wants it."""
        return AutoScalingConfig(
            self.name, self.deployment, "", min_replicas=self.min_replicas, max_replicas=self.max_replicas,
            target_cpu_utilization=self.target_cpu, target_memory_utilization=self.target_memory,
            scale_up_cooldown=duration_ns(self.scale_up_cooldown) / SECOND_NS,
            scale_down_cooldown=duration_ns(self.scale_down_cooldown) / SECOND_NS,
        )  # fmt: skip

    def build(self, world: World) -> ControllerPort:
        """The loop that runs it alone."""
        return _threshold([self], world, self.name)


Autoscaler = (
    HorizontalAutoscaler | ThresholdAutoscaler | ClusterAutoscaler | Karpenter | VerticalAutoscaler | Descheduler
)


def build_autoscalers(autoscalers: Sequence[Autoscaler], world: World) -> None:
    """Add the loops of a run's autoscalers to its calendar: those with the same flags, or period, are one loop.

    Leaves a ScalingRecord for each loop in world.parts["scaling"]. Raises InputError for two
    of one name or what is no autoscaler, UnknownName for a deployment that isn't there.
    """
    for one in autoscalers:
        if not isinstance(one, Autoscaler):
            raise InputError(
                f"autoscalers holds a {type(one).__name__}; wanted HorizontalAutoscaler or ThresholdAutoscaler, "
                "ClusterAutoscaler, Karpenter, VerticalAutoscaler or Descheduler"
            )
        if sum(other.name == one.name for other in autoscalers) > 1:
            raise InputError(f"two autoscalers are named {one.name!r}; wanted a name of its own for each")
    horizontal = _grouped([one for one in autoscalers if isinstance(one, HorizontalAutoscaler)], lambda one: one.flags)
    threshold = _grouped([one for one in autoscalers if isinstance(one, ThresholdAutoscaler)], lambda one: one.period)
    for number, group in enumerate(horizontal, start=1):
        world.calendar.add(_horizontal(group, world, _numbered("horizontal-autoscaler", number)))
    for number, slow in enumerate(threshold, start=1):
        world.calendar.add(_threshold(slow, world, _numbered("threshold-autoscaler", number)))
    sized = [one for one in autoscalers if isinstance(one, VerticalAutoscaler)]
    if sized:
        world.calendar.add(build_vertical(sized, world))
    of_nodes = [one for one in autoscalers if isinstance(one, ClusterAutoscaler | Karpenter)]
    if len(of_nodes) > 1:
        raise InputError(f"{len(of_nodes)} autoscalers of nodes; wanted one, with all the groups")
    for each in of_nodes:
        world.calendar.add(each.build(world))
    for again in (one for one in autoscalers if isinstance(one, Descheduler)):
        world.calendar.add(again.build(world))


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _grouped(autoscalers: Sequence[T], key: Callable[[T], Any]) -> list[list[T]]:
    groups: dict[Any, list[T]] = {}
    for one in autoscalers:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def _horizontal(autoscalers: Sequence[HorizontalAutoscaler], world: World, name: str) -> ControllerPort:
    workloads = []
    for one in autoscalers:
        _check_deployment(one, world)
        hpa = one.hpa()
        # Each autoscaler's sources are its own, so that two may call theirs the same.
        specs = tuple(replace(m, name=f"{one.name}/{m.name}") if m.name else m for m in hpa.metrics)
        workloads.append(ScaledWorkload(one.name, one.deployment, replace(hpa, metrics=specs)))
    sources = {
        f"{one.name}/{metric.name}": metric.reader() for one in autoscalers for metric in one._metrics if metric.name
    }
    flags: Any = autoscalers[0].flags
    period_ns = duration_ns(flags.period)
    record = ScalingRecord(
        [one.name for one in autoscalers],
        [one.deployment for one in autoscalers],
        [one.hpa().metrics for one in autoscalers],
        world.until_ns,
        period_ns,
    )
    world.parts.setdefault("scaling", []).append(record)
    return HorizontalScaler(
        world.state, world.workloads, _metrics(world, sources), world.sink, workloads, config=flags.config(),
        period_ns=period_ns, watch=record.horizontal, forget=record.forget, name=name,
    )  # fmt: skip


def _threshold(autoscalers: Sequence[ThresholdAutoscaler], world: World, name: str) -> ControllerPort:
    for one in autoscalers:
        _check_deployment(one, world)
    period_ns = duration_ns(autoscalers[0].period)
    targets = [
        (MetricSpec("Resource", "Utilization", round(one.target_cpu), "cpu"),
         MetricSpec("Resource", "Utilization", round(one.target_memory), "memory"))
        for one in autoscalers
    ]  # fmt: skip
    record = ScalingRecord(
        [one.name for one in autoscalers], [one.deployment for one in autoscalers], targets, world.until_ns, period_ns
    )
    world.parts.setdefault("scaling", []).append(record)
    return ThresholdScaler(
        world.state, world.workloads, _metrics(world, {}), world.sink, [one.config() for one in autoscalers],
        period_ns=period_ns, watch=record.threshold, name=name,
    )  # fmt: skip


def _metrics(world: World, sources: Mapping[str, Source]) -> SimulatedMetrics:
    workloads = world.workloads
    return SimulatedMetrics(
        world.state, world.usage, world.kubelets, sources, lambda: workloads.names,
        lambda: "lives" in world.parts and world.parts["lives"].any_faults,
    )  # fmt: skip


def _check_deployment(one: HorizontalAutoscaler | ThresholdAutoscaler, world: World) -> None:
    workloads = world.workloads
    deployments = [name for n, name in enumerate(workloads.names) if workloads.spec(n).kind == "Deployment"]
    if one.deployment not in deployments:
        raise UnknownName("deployment", one.deployment, deployments, f"In {one}.")


@contextmanager
def _named(one: object) -> Iterator[None]:
    """Errors within say which autoscaler it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{one}: {error}") from error


def _whole_bounds(one: HorizontalAutoscaler | ThresholdAutoscaler) -> None:
    least, most = one.min_replicas, one.max_replicas
    for key, value, lowest in (("min_replicas", least, 0), ("max_replicas", most, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
            raise InputError(f"{one}: {key}={value!r}; wanted a whole number, {lowest} or more")
    if least > most:
        raise InputError(f"{one}: min_replicas={least} is above max_replicas={most}")


def _made(kind: type[T], value: Any, where: str) -> T:
    """A value, or one made of a table such as TOML gives. Raises UnknownName for a key that nothing has."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: {value!r}; wanted a {kind.__name__} or its keys and values")
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            raise UnknownName("key", str(key), known, f"In {where}.")
    try:
        return kind(**value)
    except TypeError as error:
        raise InputError(f"{where}: {error}") from error


def _set(one: object, key: str, value: object) -> None:
    object.__setattr__(one, key, value)


def _seconds(span: Span, where: str) -> int:
    whole, rest = divmod(duration_ns(span, where), SECOND_NS)
    if rest:
        raise InputError(f"{where}={span!r}; wanted whole seconds, as Kubernetes does")
    return whole
