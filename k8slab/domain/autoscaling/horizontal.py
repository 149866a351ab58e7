"""One reconciliation of a HorizontalPodAutoscaler: what it decides, and the conditions it sets. Pure.

After upstream's reconcileAutoscaler. Deciding and writing are two: `decide` says what the
target's scale should be, the caller writes it, and `settle` says what holds after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from k8slab.domain.autoscaling.proposals import (
    Proposal,
    average_proposal,
    per_pod_proposal,
    utilization_proposal,
    value_proposal,
)
from k8slab.domain.autoscaling.rates import Events, Limited, clamp, limit_rate, store_event
from k8slab.domain.autoscaling.recommendations import (
    Log,
    Recommendation,
    Stabilized,
    stabilize,
    stabilize_with_behavior,
)
from k8slab.domain.autoscaling.values import (
    HorizontalPodAutoscaler,
    HpaConfig,
    MetricSpec,
    MetricUnavailable,
    Samples,
    ScaledPod,
    Tolerance,
)
from k8slab.domain.instants import SECOND_NS

# What a metric read: samples by pod, the values of its series, or why there is neither.
Reading = Samples | tuple[int, ...] | MetricUnavailable

_FAILED = {
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "Pods": "FailedGetPodsMetric",
    "Object": "FailedGetObjectMetric",
    "External": "FailedGetExternalMetric",
}


@dataclass(frozen=True)
class Condition:
    """A condition's status, "True" or "False", and reason."""

    status: str
    reason: str


@dataclass(frozen=True)
class HpaMemory:
    """What the controller remembers of one autoscaler.

    recommendations : None until it is first seen
    """

    recommendations: Log | None = None
    up_events: Events = ()
    down_events: Events = ()


@dataclass(frozen=True)
class ScaleTarget:
    """The scale subresource, and what its selector matches.

    selector_fault : "" , or why no metric may be read: InvalidSelector or AmbiguousSelector
    """

    spec_replicas: int
    status_replicas: int
    pods: Sequence[ScaledPod] = ()
    selector_fault: str = ""


@dataclass(frozen=True)
class HpaDecision:
    """What one pass decided.

    desired_replicas : what the target's spec should be; what it is, where nothing is to be written
    proposals        : of each metric in order, None where it couldn't be evaluated
    """

    desired_replicas: int
    rescale: bool
    conditions: Mapping[str, Condition]
    memory: HpaMemory
    proposals: Sequence[Proposal | None] = field(default=())


def decide(
    hpa: HorizontalPodAutoscaler,
    target: ScaleTarget | None,
    readings: Sequence[Reading],
    memory: HpaMemory,
    config: HpaConfig,
    now_ns: int,
) -> HpaDecision:
    """One pass.

    target   : None if the scale couldn't be read
    readings : what each of the autoscaler's metrics read, in order; not looked at where the
               bounds decide
    """
    if target is None:
        return HpaDecision(0, False, {"AbleToScale": Condition("False", "FailedGetScale")}, memory)
    spec = target.spec_replicas
    if memory.recommendations is None:
        # This alone keeps a controller that was restarted from scaling down at once.
        memory = replace(memory, recommendations=(Recommendation(spec, now_ns),))
    begun = HpaDecision(spec, False, {"AbleToScale": Condition("True", "SucceededGetScale")}, memory)
    if spec == 0 and hpa.min_replicas != 0:
        return _inactive(begun, "ScalingDisabled")
    if not hpa.min_replicas <= spec <= hpa.max_replicas:
        bound = min(max(spec, hpa.min_replicas), hpa.max_replicas)
        return replace(begun, desired_replicas=bound, rescale=True)
    if target.selector_fault:
        return _inactive(begun, target.selector_fault)
    return _by_metrics(hpa, target, readings, begun, config, now_ns)


def settle(
    hpa: HorizontalPodAutoscaler, decision: HpaDecision, spec_replicas: int, now_ns: int, *, written: bool
) -> HpaDecision:
    """What holds after the scale was written, or could not be; a decision that writes nothing stays as it is.

    spec_replicas : what the target's spec was
    """
    if not decision.rescale:
        return decision
    able = Condition("True", "SucceededRescale") if written else Condition("False", "FailedUpdateScale")
    conditions = {**decision.conditions, "AbleToScale": able}
    if not written:
        return replace(decision, desired_replicas=spec_replicas, rescale=False, conditions=conditions)
    change = decision.desired_replicas - spec_replicas
    memory, behavior = decision.memory, hpa.behavior
    if change > 0:
        rules = behavior.scale_up if behavior is not None else None
        memory = replace(memory, up_events=store_event(memory.up_events, change, rules, now_ns))
    else:
        rules = behavior.scale_down if behavior is not None else None
        memory = replace(memory, down_events=store_event(memory.down_events, -change, rules, now_ns))
    return replace(decision, conditions=conditions, memory=memory)


def tolerance_of(hpa: HorizontalPodAutoscaler, config: HpaConfig) -> Tolerance:
    """The cluster's tolerance, each side of it as the autoscaler's behavior says where it does."""
    if hpa.behavior is None:
        return config.tolerance
    down, up = hpa.behavior.scale_down.tolerance, hpa.behavior.scale_up.tolerance
    return Tolerance(
        config.tolerance.down if down is None else down,
        config.tolerance.up if up is None else up,
    )


def _by_metrics(
    hpa: HorizontalPodAutoscaler,
    target: ScaleTarget,
    readings: Sequence[Reading],
    begun: HpaDecision,
    config: HpaConfig,
    now_ns: int,
) -> HpaDecision:
    """The largest proposal, unless a metric that failed might have wanted more than what is now."""
    tolerance = tolerance_of(hpa, config)
    proposals: list[Proposal | None] = []
    failed = ""
    for metric, reading in zip(hpa.metrics, readings, strict=True):
        try:
            proposals.append(_proposal(metric, reading, target, config, tolerance, now_ns))
        except MetricUnavailable:
            proposals.append(None)
            failed = failed or _FAILED.get(metric.type, "InvalidMetricSourceType")
    wanted = max((proposal.replicas for proposal in proposals if proposal is not None), default=None)
    begun = replace(begun, proposals=proposals)
    if wanted is None or (failed and wanted < target.spec_replicas):
        return _inactive(begun, failed)
    return _normalized(hpa, target.spec_replicas, wanted, begun, config, now_ns)


def _proposal(
    metric: MetricSpec, reading: Reading, target: ScaleTarget, config: HpaConfig, tolerance: Tolerance, now_ns: int
) -> Proposal:
    if isinstance(reading, MetricUnavailable):
        raise reading
    if metric.type not in _FAILED:
        raise MetricUnavailable("unknown_source", f"{metric.type!r} is no type of metric")
    if not metric.has_target:
        raise MetricUnavailable("no_target", f"a {metric.type} metric has no target of type {metric.target_type}")
    if isinstance(reading, tuple):
        if metric.target_type == "AverageValue":
            return per_pod_proposal(reading, target.status_replicas, metric.target, tolerance)
        return value_proposal(target.pods, reading, target.spec_replicas, metric.target, tolerance)
    resource = "" if metric.type == "Pods" else metric.resource
    if metric.target_type == "Utilization" and metric.type != "Pods":
        return utilization_proposal(
            target.pods, reading, target.spec_replicas, resource, metric.target, config, now_ns,
            container=metric.container, tolerance=tolerance,
        )  # fmt: skip
    return average_proposal(
        target.pods, reading, target.spec_replicas, metric.target, config, now_ns,
        resource=resource, tolerance=tolerance,
    )  # fmt: skip


def _normalized(
    hpa: HorizontalPodAutoscaler, spec: int, wanted: int, begun: HpaDecision, config: HpaConfig, now_ns: int
) -> HpaDecision:
    stabilized, limited = _limited(hpa, spec, wanted, begun.memory, config, now_ns)
    conditions = {
        "AbleToScale": Condition("True", "ReadyForNewScale" if stabilized.replicas == wanted else stabilized.reason),
        "ScalingActive": Condition("True", "ValidMetricFound"),
        "ScalingLimited": Condition(str(limited.replicas != stabilized.replicas), limited.reason),
    }
    return replace(
        begun,
        desired_replicas=limited.replicas,
        rescale=limited.replicas != spec,
        conditions=conditions,
        memory=replace(begun.memory, recommendations=stabilized.log),
    )


def _limited(
    hpa: HorizontalPodAutoscaler, spec: int, wanted: int, memory: HpaMemory, config: HpaConfig, now_ns: int
) -> tuple[Stabilized, Limited]:
    log, behavior = memory.recommendations or (), hpa.behavior
    if behavior is None:
        stabilized = stabilize(log, wanted, config.downscale_stabilization_ns, now_ns)
        return stabilized, clamp(
            spec, stabilized.replicas, hpa.min_replicas, hpa.max_replicas,
            config.scale_up_limit_factor, config.scale_up_limit_minimum,
        )  # fmt: skip
    stabilized = stabilize_with_behavior(
        log, spec, wanted,
        (behavior.scale_up.stabilization_window_seconds or 0) * SECOND_NS,
        (behavior.scale_down.stabilization_window_seconds or 0) * SECOND_NS,
        now_ns,
    )  # fmt: skip
    return stabilized, limit_rate(
        spec, stabilized.replicas, hpa.min_replicas, hpa.max_replicas,
        behavior, memory.up_events, memory.down_events, now_ns,
    )  # fmt: skip


def _inactive(begun: HpaDecision, reason: str) -> HpaDecision:
    return replace(begun, conditions={**begun.conditions, "ScalingActive": Condition("False", reason)})
