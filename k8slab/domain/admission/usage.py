"""What an object uses of a quota, and what a quota makes it state. Pure.

After pkg/quota/v1/evaluator/core: pods, services, claims.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from k8slab.domain.admission.pods import AdmittedPod, pod_limits, pod_requests
from k8slab.domain.admission.resource_lists import Amount, ResourceList, add
from k8slab.domain.admission.scopes import ScopeSelector
from k8slab.domain.instants import SECOND_NS

_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")
# Every container must state these where a quota tracks them; others only count.
_STATED: Final = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_POD_RESOURCES: Final = frozenset(
    {"pods", "count/pods", *_COMPUTE, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in _COMPUTE)}
)
_STORAGE_CLASS: Final = ".storageclass.storage.k8s.io/"


@dataclass(frozen=True)
class Service:
    """A service, as quotas count it.

    ports      : how many it has
    node_ports : how many of them get a node port; None is all, where its type has node ports
    """

    service_type: str = "ClusterIP"
    ports: int = 0
    node_ports: int | None = None


@dataclass(frozen=True)
class PersistentVolumeClaim:
    """A claim, as quotas count it."""

    storage: Amount
    storage_class: str = ""


QuotaObject = AdmittedPod | Service | PersistentVolumeClaim


def counts(pod: AdmittedPod, now_ns: int) -> bool:
    """Whether more of the pod than its number counts: it hasn't ended, and isn't past its deletion grace."""
    if pod.phase in ("Failed", "Succeeded"):
        return False
    if pod.deleted_ns is None or pod.deletion_grace_seconds is None:
        return True
    return now_ns <= pod.deleted_ns + pod.deletion_grace_seconds * SECOND_NS


def pod_usage(pod: AdmittedPod, now_ns: int, *, in_place_resize: bool = True) -> dict[str, Amount]:
    """What a pod uses: count/pods always, and while it counts pods, requests and limits."""
    number: dict[str, Amount] = {"count/pods": 1}
    if not counts(pod, now_ns):
        return number
    return {**number, **compute_usage(pod_requests(pod, in_place_resize=in_place_resize), pod_limits(pod))}


def compute_usage(requests: ResourceList, limits: ResourceList) -> dict[str, Amount]:
    """Requests and limits under the names that quotas have for them, and one pod.

    cpu, memory and ephemeral-storage stand for their requests; hugepages too; of extended
    resources there are only requests.
    """
    usage: dict[str, Amount] = {"pods": 1}
    for name, amount in requests.items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            usage |= {name: amount, f"requests.{name}": amount}
        elif is_extended(name):
            usage[f"requests.{name}"] = amount
    return {**usage, **{f"limits.{name}": amount for name, amount in limits.items() if name in _COMPUTE}}


def is_extended(resource: str) -> bool:
    """Whether it is a device plug-in's: it has a domain, and not Kubernetes' own.

    >>> is_extended("example.com/dongle"), is_extended("cpu"), is_extended("kubernetes.io/batch-cpu")
    (True, False, False)
    """
    return "/" in resource and "kubernetes.io/" not in resource and not resource.startswith("requests.")


def usage_of(item: QuotaObject, now_ns: int) -> dict[str, Amount]:
    """What an object uses."""
    if isinstance(item, Service):
        return _service_usage(item)
    return _claim_usage(item) if isinstance(item, PersistentVolumeClaim) else pod_usage(item, now_ns)


def total_usage(pods: Iterable[AdmittedPod], scopes: Sequence[ScopeSelector], now_ns: int) -> dict[str, Amount]:
    """What the pods within all the scopes use together: what the quota controller finds at its resync."""
    total: dict[str, Amount] = {}
    for pod in pods:
        if all(scope.matches(pod) for scope in scopes):
            total = add(total, pod_usage(pod, now_ns))
    return total


def matching_resources(item: QuotaObject, names: Iterable[str]) -> set[str]:
    """Those of a quota's resources that objects of this kind use at all."""
    if isinstance(item, Service):
        return {name for name in names if name in ("count/services", "services", *_SERVICE_PARTS)}
    if isinstance(item, PersistentVolumeClaim):
        return {name for name in names if name in _CLAIM_RESOURCES or _STORAGE_CLASS in name}
    return {name for name in names if name in _POD_RESOURCES or _counted_by_requests(name)}


def unstated(pod: AdmittedPod, required: Collection[str]) -> dict[str, list[str]]:
    """Resource -> the containers that should state it and don't.

    Nothing is asked of the containers of a pod that states resources itself.
    """
    missing: dict[str, list[str]] = {}
    if pod.has_pod_level_resources:
        return missing
    for container in (*pod.containers, *pod.init_containers):
        stated = compute_usage(container.requests, container.limits)
        for name in _STATED.intersection(required) - stated.keys():
            missing.setdefault(name, []).append(container.name)
    return {name: sorted(set(containers)) for name, containers in sorted(missing.items())}


_SERVICE_PARTS: Final = ("services.loadbalancers", "services.nodeports")
_CLAIM_RESOURCES: Final = ("count/persistentvolumeclaims", "persistentvolumeclaims", "requests.storage")


def _counted_by_requests(name: str) -> bool:
    plain = name.removeprefix("requests.")
    return plain.startswith("hugepages-") or (plain != name and is_extended(plain))


def _service_usage(service: Service) -> dict[str, Amount]:
    node_ports = service.ports if service.node_ports is None else service.node_ports
    return {
        "count/services": 1,
        "services": 1,
        "services.loadbalancers": int(service.service_type == "LoadBalancer"),
        "services.nodeports": node_ports if service.service_type in ("LoadBalancer", "NodePort") else 0,
    }


def _claim_usage(claim: PersistentVolumeClaim) -> dict[str, Amount]:
    usage: dict[str, Amount] = dict(zip(_CLAIM_RESOURCES, (1, 1, claim.storage), strict=True))
    if claim.storage_class:
        prefix = claim.storage_class + _STORAGE_CLASS
        usage |= {f"{prefix}persistentvolumeclaims": 1, f"{prefix}requests.storage": claim.storage}
    return usage
