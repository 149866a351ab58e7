"""What a pod requests and may use as a whole, and its quality of service. Pure.

After component-helpers/resource/helpers.go and pkg/apis/core/v1/helper/qos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from k8slab.domain.admission.resource_lists import Amount, ResourceList, add, maximum


@dataclass(frozen=True)
class ContainerResources:
    """A container's requests and limits.

    status_requests : what the kubelet has granted, while a resize is under way
    """

    name: str = ""
    requests: ResourceList = field(default_factory=dict)
    limits: ResourceList = field(default_factory=dict)
    restart_always: bool = False
    status_requests: ResourceList | None = None


@dataclass(frozen=True)
class AffinityTerm:
    """A pod (anti-)affinity term, as far as namespaces go; a selector, even an empty one, isn't None."""

    namespaces: tuple[str, ...] = ()
    namespace_selector: Mapping[str, object] | None = None


@dataclass(frozen=True)
class AdmittedPod:
    """A pod as admission looks at it.

    requests, limits : of the pod itself (pod-level resources), None where it states none
    deleted_ns       : when it was to be deleted, None if it wasn't
    """

    containers: tuple[ContainerResources, ...] = ()
    init_containers: tuple[ContainerResources, ...] = ()
    requests: ResourceList | None = None
    limits: ResourceList | None = None
    overhead: ResourceList = field(default_factory=dict)
    phase: str = ""
    active_deadline_seconds: int | None = None
    priority_class: str = ""
    deleted_ns: int | None = None
    deletion_grace_seconds: int | None = None
    affinity_terms: tuple[AffinityTerm, ...] = ()

    @property
    def has_pod_level_resources(self) -> bool:
        """Whether the pod itself states a request or limit that pods may state."""
        return any(map(_pod_level, [*(self.requests or {}), *(self.limits or {})]))


def pod_requests(pod: AdmittedPod, *, in_place_resize: bool = True) -> dict[str, Amount]:
    """What it needs at once, overhead included; while it is resized, the larger of asked and granted."""

    def of_container(container: ContainerResources) -> ResourceList:
        if not in_place_resize or container.status_requests is None:
            return container.requests
        return maximum(container.requests, container.status_requests)

    return add(_aggregated(pod, of_container, pod.requests), pod.overhead)


def pod_limits(pod: AdmittedPod) -> dict[str, Amount]:
    """What it may use at once; overhead is added only to a limit that there is."""
    limits = _aggregated(pod, lambda container: container.limits, pod.limits)
    return {name: amount + pod.overhead.get(name, 0) for name, amount in limits.items()}


def is_best_effort(pod: AdmittedPod) -> bool:
    """Whether nothing of it requests or limits cpu or memory; its own resources go before its containers'."""
    if pod.has_pod_level_resources:
        lists = [pod.requests or {}, pod.limits or {}]
    else:
        every = [*pod.containers, *pod.init_containers]
        lists = [amounts for container in every for amounts in (container.requests, container.limits)]
    return not any(amounts.get(name, 0) > 0 for amounts in lists for name in ("cpu", "memory"))


def _aggregated(
    pod: AdmittedPod, amounts_of: Callable[[ContainerResources], ResourceList], pod_level: ResourceList | None
) -> dict[str, Amount]:
    """The containers and sidecars together, or an init container with the sidecars started before it, if more."""
    sidecars: dict[str, Amount] = {}
    peak: dict[str, Amount] = {}
    for init in pod.init_containers:
        if init.restart_always:
            sidecars = add(sidecars, amounts_of(init))
        else:
            peak = maximum(peak, add(sidecars, amounts_of(init)))
    total = sidecars
    for container in pod.containers:
        total = add(total, amounts_of(container))
    whole = {name: amount for name, amount in (pod_level or {}).items() if _pod_level(name)}
    return {**maximum(total, peak), **whole}


def _pod_level(resource: str) -> bool:
    return resource in ("cpu", "memory") or resource.startswith("hugepages-")
