"""The threshold rule: one replica up or down by average utilization. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from k8slab.domain.instants import SECOND_NS, to_ns
from k8slab.domain.models import AutoScalingConfig, Pod, PodPhase, ScalingDirection


def replicas_of(config: AutoScalingConfig, pods: Iterable[Pod]) -> list[Pod]:
    """The pods of a deployment that run or will again: by namespace and name prefix, succeeded ones left out."""
    return [
        pod
        for pod in pods
        if pod.namespace == config.namespace
        and pod.name.startswith(config.deployment_name)
        and pod.phase is not PodPhase.SUCCEEDED
    ]


def utilization_percent(requests: Sequence[float], limits: Sequence[float]) -> float:
    """100 * sum of requests / sum of limits; NaN where nothing is limited, which is above and below no target.

    >>> utilization_percent([0.5, 0.5], [1.0, 1.0])
    50.0
    """
    limit = math.fsum(limits)
    # Rounded, so that three pods at 0.35 of their limits come to 35, not to 34.999999999999993.
    return round(100 * math.fsum(requests) / limit, 9) if limit > 0 else math.nan


def threshold_direction(config: AutoScalingConfig, replicas: Sequence[Pod], now_ns: int) -> ScalingDirection:
    """Which way to go now: the original service's rule, which is no HPA.

    Up if cpu *or* memory of the running pods is above its target, down if *both* are
    below half of it; within min_replicas and max_replicas, where pods that wait or are
    to be healed count too; and not before the direction's cooldown has passed since
    the last step in either direction. No running pod, no step.
    """
    running = [pod for pod in replicas if pod.phase is PodPhase.RUNNING]
    cpu = utilization_percent([pod.cpu_request for pod in running], [pod.cpu_limit for pod in running])
    memory = utilization_percent([pod.memory_request for pod in running], [pod.memory_limit for pod in running])
    last_ns = None if config.last_scale_time is None else to_ns(config.last_scale_time)
    return threshold_step(config, cpu, memory, len(replicas), last_ns, now_ns)


def threshold_step(
    config: AutoScalingConfig, cpu: float, memory: float, replicas: int, last_ns: int | None, now_ns: int
) -> ScalingDirection:
    """The rule itself, on utilizations in per cent, NaN for none. last_ns : when the last step was taken"""

    def cooled(cooldown_s: float) -> bool:
        return last_ns is None or now_ns - last_ns >= cooldown_s * SECOND_NS

    if cpu > config.target_cpu_utilization or memory > config.target_memory_utilization:
        allowed = replicas < config.max_replicas and cooled(config.scale_up_cooldown)
        return ScalingDirection.UP if allowed else ScalingDirection.NONE
    if cpu < config.target_cpu_utilization / 2 and memory < config.target_memory_utilization / 2:
        allowed = replicas > config.min_replicas and cooled(config.scale_down_cooldown)
        return ScalingDirection.DOWN if allowed else ScalingDirection.NONE
    return ScalingDirection.NONE


def next_to_leave(replicas: Sequence[Pod]) -> Pod | None:
    """The replica that scaling down takes: one that doesn't run before one that does, then the youngest.

    Of pods of equal age the last in order goes.
    """
    ranked = [(pod.phase is not PodPhase.RUNNING, to_ns(pod.created_at), place) for place, pod in enumerate(replicas)]
    return replicas[max(ranked)[2]] if ranked else None
