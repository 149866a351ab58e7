"""LimitRange: defaults for containers, and bounds of containers, pods and claims. Pure.

After plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from k8slab.domain.admission.pods import AdmittedPod, ContainerResources, pod_limits, pod_requests
from k8slab.domain.admission.resource_lists import Amount, ResourceList, written
from k8slab.errors import UnknownName

LIMIT_TYPES: Final = ("Container", "Pod", "PersistentVolumeClaim")


@dataclass(frozen=True)
class LimitRangeItem:
    """One entry of spec.limits; the field names are the API's."""

    type: str
    min: ResourceList = field(default_factory=dict)
    max: ResourceList = field(default_factory=dict)
    max_limit_request_ratio: ResourceList = field(default_factory=dict)
    default: ResourceList = field(default_factory=dict)
    default_request: ResourceList = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in LIMIT_TYPES:
            raise UnknownName("type of limit", self.type, LIMIT_TYPES)


def api_defaults(container: ContainerResources) -> ContainerResources:
    """What the API itself fills in before any LimitRange: a limit without a request requests as much."""
    return replace(container, requests={**container.limits, **container.requests})


def limit_range_defaults(container: ContainerResources, item: LimitRangeItem) -> ContainerResources:
    """The container with the item's defaults for the limits and requests that it doesn't state."""
    return replace(
        container,
        requests={**item.default_request, **container.requests},
        limits={**item.default, **container.limits},
    )


def with_defaults(pod: AdmittedPod, items: Sequence[LimitRangeItem]) -> AdmittedPod:
    """The pod after the defaults of all Container items, in their order."""

    def filled(container: ContainerResources) -> ContainerResources:
        for item in items:
            if item.type == "Container":
                container = limit_range_defaults(container, item)
        return container

    return replace(
        pod,
        containers=tuple(filled(container) for container in pod.containers),
        init_containers=tuple(filled(container) for container in pod.init_containers),
    )


def violations(pod: AdmittedPod, item: LimitRangeItem) -> list[str]:
    """What is wrong with a pod, its defaults filled in, by one item; nothing if it is admitted."""
    if item.type == "Container":
        every = (*pod.containers, *pod.init_containers)
        return [wrong for container in every for wrong in _wrong(container.requests, container.limits, item)]
    if item.type == "Pod":
        # What the containers ask: not the overhead, which they did not choose, nor what a resize has granted.
        asked = replace(pod, overhead={})
        return list(_wrong(pod_requests(asked, in_place_resize=False), pod_limits(asked), item))
    return []


def claim_violations(storage: Amount, item: LimitRangeItem) -> list[str]:
    """What is wrong with a claim's storage request."""
    requests = {"storage": storage}
    found = [*_below(requests, {}, item)]
    for name, most in item.max.items():
        if name not in requests:
            found.append(f"no request of {name}, which may be {written(most)} at the most")
        elif requests[name] > most:
            found.append(f"a request of {written(requests[name])} {name}, {written(most)} at the most")
    return found


def admit_pod(
    pod: AdmittedPod, items: Sequence[LimitRangeItem], operation: str, subresource: str = ""
) -> tuple[AdmittedPod, list[str]]:
    """The pod with its defaults, and what is wrong with it. Only creates of whole pods are looked at."""
    if operation != "Create" or subresource or pod.deleted_ns is not None:
        return pod, []
    filled = with_defaults(pod, items)
    return filled, [wrong for item in items for wrong in violations(filled, item)]


def _wrong(requests: ResourceList, limits: ResourceList, item: LimitRangeItem) -> Iterator[str]:
    yield from _below(requests, limits, item)
    yield from _above(requests, limits, item)
    for name, ratio in item.max_limit_request_ratio.items():
        request, limit = requests.get(name, 0), limits.get(name, 0)
        if request == 0 or limit == 0:
            yield f"no request or no limit of {name}, whose ratio may be {written(ratio)} at the most"
        elif limit > ratio * request:
            observed = f"a limit of {written(limit)} {name} to a request of {written(request)}"
            yield f"{observed}, a ratio of {written(ratio)} at the most"


def _below(requests: ResourceList, limits: ResourceList, item: LimitRangeItem) -> Iterator[str]:
    for name, least in item.min.items():
        if name not in requests:
            yield f"no request of {name}, which must be {written(least)} at the least"
        elif requests[name] < least:
            yield f"a request of {written(requests[name])} {name}, {written(least)} at the least"
        if name in limits and limits[name] < least:
            yield f"a limit of {written(limits[name])} {name}, {written(least)} at the least"


def _above(requests: ResourceList, limits: ResourceList, item: LimitRangeItem) -> Iterator[str]:
    for name, most in item.max.items():
        if name not in limits:
            yield f"no limit of {name}, which may be {written(most)} at the most"
        elif limits[name] > most:
            yield f"a limit of {written(limits[name])} {name}, {written(most)} at the most"
        if name in requests and requests[name] > most:
            yield f"a request of {written(requests[name])} {name}, {written(most)} at the most"
