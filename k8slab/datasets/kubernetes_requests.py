"""What a pod counts as asking: kube-scheduler's request vectors, which differ by where they are used.

A pod asks the larger of its running containers (sidecars among them) and its init containers'
peak, pod-level requests come instead, overhead on top; exact sums, rounded up once.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final, TypeAlias

from k8slab.datasets.kubernetes_dump import ApiObject, Exact, Fields
from k8slab.domain.pod_spec import Adjustment
from k8slab.domain.resources import CPU, MEMORY, PODS
from k8slab.errors import InputError
from k8slab.units import amount

Amounts: TypeAlias = dict[str, int]

_LIMIT: Final = 2**63
# What a container is taken to ask that doesn't say.
_ASSUMED: Final[Exact] = {CPU: Fraction(100, 1000), MEMORY: Fraction(200 * 2**20)}


def pod_request(pod: ApiObject, *, bound: bool) -> Amounts:
    """What a pod needs room for, or takes on its node, by resource, in exact integers.

    bound : the pod is on a node, where the resources that the kubelet reports count too (in-place resize)
    """
    return _rounded(pod, pod_total(pod, reported=bound)) | {PODS: 1}


def pod_adjustments(pod: ApiObject, request: Amounts) -> tuple[Adjustment, ...]:
    """Where a pod counts for other amounts than `request`, by resource."""
    held = pod_total(pod, reported=True)
    # A slip of v1.34: the pod's own level is passed over in this one vector.
    scored = _rounded(pod, pod_total(pod, assumed=_ASSUMED, pod_level=False))
    # With requests of its own, a pod counts for an assumed amount only of what nobody names at all.
    left = {resource: least for resource, least in _ASSUMED.items() if resource not in held}
    nonzero = _rounded(pod, pod_total(pod, reported=True, assumed=left if _pod_level(pod) else _ASSUMED))
    taken = _rounded(pod, held)
    adjusted = []
    for resource in sorted({*request, *taken, *scored} - {PODS}):
        base = request.get(resource, 0)
        more = Adjustment(
            resource,
            held=taken.get(resource, 0) - base,
            nonzero=nonzero.get(resource, 0) - base if resource in _ASSUMED else 0,
            scored=scored.get(resource, 0) - base,
        )
        if more != Adjustment(resource):
            adjusted.append(more)
    return tuple(adjusted)


def pod_total(pod: ApiObject, *, reported: bool = False, assumed: Exact | None = None, pod_level: bool = True) -> Exact:
    """A pod's exact request vector.

    reported  : with the resources that the kubelet reports
    assumed   : what a container asks of a resource that it doesn't name
    pod_level : the pod's own requests come instead of its containers'
    """
    statuses = _reported(pod) if reported else {}
    infeasible = reported and resize_is_infeasible(pod)
    total: Exact = {}
    for container in pod.spec.items("containers"):
        _add(total, _container_request(container, statuses, infeasible, assumed))
    sidecars: Exact = {}
    peak: Exact = {}
    for container in pod.spec.items("initContainers"):
        if is_sidecar(container):  # goes on beside all that follows
            request = _container_request(container, statuses, infeasible, assumed)
            _add(total, request)
            _add(sidecars, request)
            level = sidecars
        else:
            level = _container_request(container, {}, False, assumed)
            _add(level, sidecars)
        _raise_to(peak, level)
    _raise_to(total, peak)
    if pod_level:
        total |= _pod_level(pod)
    _add(total, pod.spec.quantities("overhead"))
    return total


def counts(resource: str) -> bool:
    """Whether kube-scheduler counts a resource of this name at all."""
    return (
        resource in (CPU, MEMORY, PODS, "ephemeral-storage")
        or resource.startswith(("hugepages-", "attachable-volumes-"))
        or "kubernetes.io/" in resource
        or ("/" in resource and not resource.startswith("requests."))
    )


def whole_amount(whose: ApiObject, resource: str, exact: Fraction) -> int:
    """The integer of an amount, rounded up."""
    number = amount(resource, exact)
    if number >= _LIMIT:
        raise InputError(f"{whose}: {number:,} of {resource}; wanted less than 2^63")
    return number


def is_sidecar(container: Fields) -> bool:
    """Whether an init container runs on beside the others."""
    return container.text("restartPolicy") == "Always"


def resize_is_infeasible(pod: ApiObject) -> bool:
    """Whether the kubelet says that it can't give what the pod now asks."""
    pending = [c for c in pod.status.items("conditions") if c.text("type") == "PodResizePending"]
    return bool(pending) and pending[0].text("reason") == "Infeasible"


def _container_request(
    container: Fields, statuses: Mapping[str, Fields], infeasible: bool, assumed: Exact | None
) -> Exact:
    asked = container.inside("resources").quantities("requests")
    status = statuses.get(container.text("name"))
    if status is not None:
        if infeasible:
            asked = {}
        _raise_to(asked, status.inside("resources").quantities("requests"))
        _raise_to(asked, status.quantities("allocatedResources"))
    return {**assumed, **asked} if assumed else asked


def _reported(pod: ApiObject) -> dict[str, Fields]:
    """The statuses that report resources, by container."""
    statuses = pod.status.items("containerStatuses") + pod.status.items("initContainerStatuses")
    by_name = {status.text("name"): status for status in statuses}
    return {name: status for name, status in by_name.items() if status.get("resources") is not None}


def _pod_level(pod: ApiObject) -> Exact:
    asked = pod.spec.inside("resources").quantities("requests")
    return {r: value for r, value in asked.items() if r in (CPU, MEMORY) or r.startswith("hugepages-")}


def _rounded(pod: ApiObject, exact: Exact) -> Amounts:
    return {resource: whole_amount(pod, resource, value) for resource, value in exact.items() if counts(resource)}


def _add(total: Exact, more: Exact) -> None:
    for resource, value in more.items():
        total[resource] = total.get(resource, Fraction(0)) + value


def _raise_to(total: Exact, least: Exact) -> None:
    for resource, value in least.items():
        total[resource] = max(total.get(resource, value), value)
