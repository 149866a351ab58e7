"""Which of a target's pods count for a metric, and what they request. Pure.

After upstream's groupPods and calculateRequests (pkg/controller/podautoscaler/replica_calculator.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from k8slab.domain.autoscaling.values import MetricSample, MetricUnavailable, Readiness, Samples, ScaledPod


@dataclass(frozen=True)
class PodGroups:
    """Every pod is in exactly one: ready ones are counted, the others named in the order of the pods."""

    ready_count: int
    unready: tuple[str, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]


def group_pods(
    pods: Iterable[ScaledPod], samples: Samples, resource: str, readiness: Readiness, now_ns: int
) -> PodGroups:
    """Sort the pods; `resource` is "" for a metric that is none. Only cpu samples are doubted for a pod's youth."""
    named: dict[str, list[str]] = {"ready": [], "unready": [], "missing": [], "ignored": []}
    for pod in pods:
        named[_group(pod, samples.get(pod.name), resource, readiness, now_ns)].append(pod.name)
    return PodGroups(len(named["ready"]), tuple(named["unready"]), tuple(named["missing"]), tuple(named["ignored"]))


def _group(pod: ScaledPod, sample: MetricSample | None, resource: str, readiness: Readiness, now_ns: int) -> str:
    if pod.deleting or pod.phase == "Failed":
        return "ignored"
    if pod.phase == "Pending":
        return "unready"
    if sample is None:
        return "missing"
    return "unready" if resource == "cpu" and _too_young(pod, sample, readiness, now_ns) else "ready"


def _too_young(pod: ScaledPod, sample: MetricSample, readiness: Readiness, now_ns: int) -> bool:
    """Whether a cpu sample may be of the pod's start-up.

    A pod that was ready once and fails its probe later still counts: only one that never
    was ready since its start doesn't.
    """
    if pod.ready is None or pod.start_ns is None or pod.ready_since_ns is None:
        return True
    if pod.start_ns + readiness.cpu_initialization_ns > now_ns:
        return pod.ready == "False" or sample.timestamp_ns < pod.ready_since_ns + sample.window_ns
    return pod.ready == "False" and pod.start_ns + readiness.initial_readiness_delay_ns > pod.ready_since_ns


def requests_of(
    pods: Sequence[ScaledPod], resource: str, container: str | None, *, pod_level_resources: bool = True
) -> dict[str, int]:
    """What each pod requests, ignored ones too. Raises MetricUnavailable as `request_of` does."""
    return {pod.name: request_of(pod, resource, container, pod_level_resources=pod_level_resources) for pod in pods}


def request_of(pod: ScaledPod, resource: str, container: str | None = None, *, pod_level_resources: bool = True) -> int:
    """What a pod, or one container of it, requests of a resource.

    A pod-level request goes before the sum over containers and sidecars. Raises
    MetricUnavailable: "missing_request" if one of them states none, "container_not_found".
    """
    if container is None and pod_level_resources and pod.pod_requests and resource in pod.pod_requests:
        return pod.pod_requests[resource]
    counted = [*pod.containers, *(init for init in pod.init_containers if init.restart_always)]
    if container is not None:
        counted = [found for found in counted if found.name == container]
        if not counted:
            raise MetricUnavailable("container_not_found", f"pod {pod.name!r} has no container {container!r}")
    return sum(_stated(pod.name, found.name, found.requests, resource) for found in counted)


def _stated(pod: str, container: str, requests: Mapping[str, int], resource: str) -> int:
    if resource not in requests:
        raise MetricUnavailable(
            "missing_request", f"container {container!r} of pod {pod!r} states no request of {resource}"
        )
    return requests[resource]
