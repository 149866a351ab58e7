"""How many replicas one metric wants: the scalar rule. Pure.

After upstream's ReplicaCalculator and metrics.GetResourceUtilizationRatio. Division that
upstream does in integers truncates towards zero; ratios are float64, as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from k8slab.domain.autoscaling.pod_groups import PodGroups, group_pods, requests_of
from k8slab.domain.autoscaling.values import (
    MAX_INT32,
    MAX_INT64,
    HpaConfig,
    MetricUnavailable,
    Samples,
    ScaledPod,
    Tolerance,
)


@dataclass(frozen=True)
class Proposal:
    """What a metric wants, and what it says it saw.

    usage       : the raw average, or value, in milli
    utilization : per cent of the requests, None for a metric that isn't relative to them
    """

    replicas: int
    usage: int
    utilization: int | None = None


@dataclass(frozen=True)
class Ratio:
    """Usage against target: 1 is on target, more is too few replicas."""

    ratio: float
    usage: int
    utilization: int | None = None


def utilization_ratio(usage: Mapping[str, int], requests: Mapping[str, int], target_percent: int) -> Ratio:
    """100 * sum of usage / sum of requests over the pods that have both, truncated, by the target.

    The truncated percentage decides, not the exact quotient. The raw average is over the
    same pods. Raises MetricUnavailable "no_metrics_match_pods".

    >>> utilization_ratio({"a": 56, "b": 55, "c": 55}, {"a": 100, "b": 100, "c": 100}, 50)
    Ratio(ratio=1.1, usage=55, utilization=55)
    """
    both = [pod for pod in usage if pod in requests]
    requested = sum(requests[pod] for pod in both)
    if requested == 0:
        raise MetricUnavailable("no_metrics_match_pods", "no pod has both a sample and a request")
    used = sum(usage[pod] for pod in both)
    utilization = _truncated(used * 100, requested)
    return Ratio(utilization / target_percent, _truncated(used, len(both)), utilization)


def usage_ratio(usage: Mapping[str, int], target: int) -> Ratio:
    """The average usage, truncated, by the target."""
    average = _truncated(sum(usage.values()), len(usage))
    return Ratio(average / target, average)


def utilization_proposal(
    pods: Sequence[ScaledPod],
    samples: Samples,
    current: int,
    resource: str,
    target_percent: int,
    config: HpaConfig,
    now_ns: int,
    container: str | None = None,
    tolerance: Tolerance | None = None,
) -> Proposal:
    """What a Resource or ContainerResource metric with a utilization target wants.

    Raises MetricUnavailable "no_metrics_returned", "no_metrics_match_pods", "missing_request".
    """
    groups, usage = _counted(pods, samples, resource, config, now_ns)
    requests = requests_of(pods, resource, container, pod_level_resources=config.pod_level_resources)
    # Missing pods are taken to use all they request, or the target where that is above 100 %.
    fallback = {pod: requests[pod] * max(100, target_percent) // 100 for pod in groups.missing}
    return _damped(
        groups,
        usage,
        fallback,
        current,
        lambda known: utilization_ratio(known, requests, target_percent),
        tolerance or config.tolerance,
    )


def average_proposal(
    pods: Sequence[ScaledPod],
    samples: Samples,
    current: int,
    target: int,
    config: HpaConfig,
    now_ns: int,
    resource: str = "",
    tolerance: Tolerance | None = None,
) -> Proposal:
    """What a Pods metric, or a resource with an AverageValue target, wants. Raises MetricUnavailable."""
    groups, usage = _counted(pods, samples, resource, config, now_ns)
    fallback = dict.fromkeys(groups.missing, target)
    return _damped(
        groups, usage, fallback, current, lambda known: usage_ratio(known, target), tolerance or config.tolerance
    )


def value_proposal(
    pods: Collection[ScaledPod], values: Collection[int], spec_replicas: int, target: int, tolerance: Tolerance
) -> Proposal:
    """What an Object or External metric with a Value target wants, for the pods that run and are ready.

    At 0 replicas the ratio itself is the answer, and no tolerance applies. Raises MetricUnavailable
    "no_metrics_returned" without a value, "no_pods" where the selector matches none: to multiply by
    that nothing would scale a workload to its minimum whose pods are only not made yet.
    """
    usage = _summed(values)
    ratio = usage / target
    if spec_replicas == 0:
        return Proposal(_replicas(ratio), usage)
    if tolerance.holds(ratio):
        return Proposal(spec_replicas, usage)
    if not pods:
        raise MetricUnavailable("no_pods", "the selector matches no pod")
    ready = sum(pod.phase == "Running" and pod.ready == "True" for pod in pods)
    return Proposal(_replicas(ratio * ready), usage)


def per_pod_proposal(values: Collection[int], status_replicas: int, target: int, tolerance: Tolerance) -> Proposal:
    """What an Object or External metric with an AverageValue target wants; it goes by the replicas there are.

    Raises MetricUnavailable "no_metrics_returned" without a value.
    """
    usage = _summed(values)
    if status_replicas == 0:
        # No replica to share the usage: upstream divides by zero, which no tolerance holds.
        return Proposal(_replicas(usage / target), usage)
    each = _saturated(math.ceil(usage / status_replicas))
    ratio = usage / (float(target) * status_replicas)
    return Proposal(status_replicas if tolerance.holds(ratio) else _replicas(usage / target), each)


def _counted(
    pods: Sequence[ScaledPod], samples: Samples, resource: str, config: HpaConfig, now_ns: int
) -> tuple[PodGroups, dict[str, int]]:
    groups = group_pods(pods, samples, resource, config.readiness, now_ns)
    dropped = {*groups.ignored, *groups.unready}
    usage = {pod: sample.value for pod, sample in samples.items() if pod not in dropped}
    if not pods or not usage:
        raise MetricUnavailable("no_metrics_returned", "no sample of a pod that counts; its pods might be unready")
    return groups, usage


def _damped(
    groups: PodGroups,
    usage: dict[str, int],
    fallback: Mapping[str, int],
    current: int,
    ratio_of: Callable[[Mapping[str, int]], Ratio],
    tolerance: Tolerance,
) -> Proposal:
    """The proposal of known usage, and again with unknown usage filled in against the change.

    On the way up, missing and unready pods use nothing; on the way down, missing ones use
    what `fallback` says. What then is within tolerance, or points the other way, changes nothing.
    """
    first = ratio_of(usage)
    rebalance = bool(groups.unready) and first.ratio > 1.0

    def told(replicas: int) -> Proposal:
        return Proposal(replicas, first.usage, first.utilization)

    if not rebalance and not groups.missing:
        return told(current if tolerance.holds(first.ratio) else _replicas(first.ratio * groups.ready_count))
    filled = dict(usage)
    if first.ratio < 1.0:
        filled |= fallback
    elif first.ratio > 1.0:
        filled |= dict.fromkeys(groups.missing, 0)
    if rebalance:
        filled |= dict.fromkeys(groups.unready, 0)
    second = ratio_of(filled).ratio
    turned = (first.ratio < 1.0 < second) or (second < 1.0 < first.ratio)
    if turned or tolerance.holds(second):
        return told(current)
    replicas = _replicas(second * len(filled))
    if (second < 1.0 and replicas > current) or (second > 1.0 and replicas < current):
        return told(current)
    return told(replicas)


def _replicas(wanted: float) -> int:
    # An object's value may be negative; upstream takes the largest proposal, and 0.
    return max(0, min(math.ceil(wanted), MAX_INT32))


def _summed(values: Collection[int]) -> int:
    if not values:
        raise MetricUnavailable("no_metrics_returned", "the metric has no series")
    return _saturated(sum(values))


def _saturated(amount: int) -> int:
    return min(amount, MAX_INT64)


def _truncated(dividend: int, divisor: int) -> int:
    """Division towards zero, as Go's."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient
