"""Whether a namespace's quotas admit an object, and what they have used then. Pure.

After apiserver's resourcequota admission plug-in (CheckRequest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from k8slab.domain.admission.pods import AdmittedPod
from k8slab.domain.admission.resource_lists import (
    Amount,
    ResourceList,
    add,
    exceeded,
    mask,
    negative,
    remove_zeros,
    subtract_floor_zero,
    written,
)
from k8slab.domain.admission.scopes import ScopeSelector, matching_scopes
from k8slab.domain.admission.usage import (
    PersistentVolumeClaim,
    QuotaObject,
    Service,
    matching_resources,
    unstated,
    usage_of,
)


@dataclass(frozen=True)
class ResourceQuota:
    """A quota's status: hard limits, and what is used of them; all of its scopes must match."""

    name: str
    hard: ResourceList
    used: ResourceList
    scopes: tuple[ScopeSelector, ...] = ()


@dataclass(frozen=True)
class LimitedResource:
    """What nobody may use without a quota that covers it: admission configuration.

    kind           : "pods", "services" or "persistentvolumeclaims"
    match_contains : what a resource's name contains to be limited
    match_scopes   : the scopes that are limited
    """

    kind: str
    match_contains: tuple[str, ...] = ()
    match_scopes: tuple[ScopeSelector, ...] = ()


@dataclass(frozen=True)
class AdmissionRequest:
    """What someone asks of the API server.

    operation  : Create, Update, Delete or Connect
    old_object : what an update replaces, None if there was nothing: then it is charged as a create
    """

    operation: str
    object: QuotaObject
    old_object: QuotaObject | None = None
    subresource: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class QuotaAnswer:
    """Whether the object is admitted, the quotas after it, and why it isn't. detail : of what is exceeded, how far"""

    admitted: bool
    quotas: tuple[ResourceQuota, ...]
    message: str = ""
    detail: str = ""


def handles(operation: str, subresource: str = "", deadline_appears: bool = False, *, resize: bool = True) -> bool:
    """Whether a request for a pod is looked at: creates, and updates that change what is counted.

    deadline_appears : activeDeadlineSeconds is set where it was not, or the other way, so that
                       the pod goes from one scope to another
    resize           : in-place resize is enabled
    """
    if operation == "Create":
        return not subresource
    if operation != "Update":
        return False
    return deadline_appears if not subresource else subresource == "resize" and resize


def admit(
    request: AdmissionRequest, quotas: tuple[ResourceQuota, ...], limited: Sequence[LimitedResource], now_ns: int = 0
) -> QuotaAnswer:
    """Check the object against every quota that matches it, and charge them.

    Only what the object adds is charged, and only to resources that a quota names: one that
    is exceeded already blocks nothing that adds nothing to it. What an update gives back is
    left to the resync.
    """
    if not _is_handled(request):
        return QuotaAnswer(True, quotas)
    matching = [quota for quota in quotas if _matches(quota, request.object)]
    refusal = next(filter(None, (_unfit(quota, request.object) for quota in matching)), "")
    if refusal:
        return QuotaAnswer(False, quotas, refusal)
    usage = usage_of(request.object, now_ns)
    below = negative(usage)
    if below:
        return QuotaAnswer(False, quotas, f"quota usage is negative for {', '.join(below)}")
    delta = remove_zeros(_delta(request, usage, now_ns))
    refusal = _uncovered(request.object, usage, quotas, matching, limited) if delta else ""
    if refusal:
        return QuotaAnswer(False, quotas, refusal)
    return _charged(request, quotas, matching, delta)


def _charged(
    request: AdmissionRequest,
    quotas: tuple[ResourceQuota, ...],
    matching: Sequence[ResourceQuota],
    delta: ResourceList,
) -> QuotaAnswer:
    charged: dict[str, ResourceQuota] = {}
    for quota in matching:
        requested = mask(delta, quota.hard.keys())
        used = add(quota.used, requested)
        over = exceeded(mask(used, requested.keys()), quota.hard)
        if over:
            return QuotaAnswer(
                False, quotas, f"exceeded quota {quota.name!r}: {', '.join(over)}",
                "; ".join(_how_far(name, requested[name], quota) for name in over),
            )  # fmt: skip
        charged[quota.name] = replace(quota, used=used)
    if request.dry_run:
        return QuotaAnswer(True, quotas)
    return QuotaAnswer(True, tuple(charged.get(quota.name, quota) for quota in quotas))


def _how_far(name: str, requested: Amount, quota: ResourceQuota) -> str:
    used, hard = written(quota.used.get(name, 0)), written(quota.hard[name])
    return f"{name}: requested {written(requested)}, used {used} of {hard}"


def _is_handled(request: AdmissionRequest) -> bool:
    new, old = request.object, request.old_object
    if not isinstance(new, AdmittedPod):
        return request.operation in ("Create", "Update") and not request.subresource
    had = isinstance(old, AdmittedPod) and old.active_deadline_seconds is not None
    return handles(request.operation, request.subresource, had != (new.active_deadline_seconds is not None))


def _matches(quota: ResourceQuota, item: QuotaObject) -> bool:
    if not matching_resources(item, quota.hard):
        return False
    # Scopes are about pods; what is none is in none of them.
    return all(isinstance(item, AdmittedPod) and scope.matches(item) for scope in quota.scopes)


def _unfit(quota: ResourceQuota, item: QuotaObject) -> str:
    restricted = matching_resources(item, quota.hard)
    missing: Mapping[str, Sequence[str]] = unstated(item, restricted) if isinstance(item, AdmittedPod) else {}
    if missing:
        told = "; ".join(f"{name} for {', '.join(containers)}" for name, containers in missing.items())
        return f"failed quota {quota.name!r}: must specify {told}"
    unknown = sorted(restricted - quota.used.keys())
    return f"status unknown for quota {quota.name!r}: {', '.join(unknown)}" if unknown else ""


def _delta(request: AdmissionRequest, usage: ResourceList, now_ns: int) -> Mapping[str, Amount]:
    if request.operation != "Update" or request.old_object is None:
        return usage
    return subtract_floor_zero(usage, usage_of(request.old_object, now_ns))


def _uncovered(
    item: QuotaObject,
    usage: ResourceList,
    quotas: Sequence[ResourceQuota],
    matching: Sequence[ResourceQuota],
    limited: Sequence[LimitedResource],
) -> str:
    """What the object uses that must not be used without a quota, and no quota covers."""
    rules = [rule for rule in limited if rule.kind == _kind(item)]
    # All it uses, not only what an update adds: upstream looks before it subtracts the old object.
    used = [name for name, amount in usage.items() if amount > 0]
    names = {name for name in used for rule in rules if any(part in name for part in rule.match_contains)}
    covered = {name for quota in matching for name in matching_resources(item, quota.hard)}
    if names - covered:
        return f"insufficient quota to consume: {', '.join(sorted(names - covered))}"
    if not isinstance(item, AdmittedPod):
        return ""
    within = [scope for rule in rules for scope in matching_scopes(item, rule.match_scopes)]
    known = {scope.scope for quota in quotas for scope in matching_scopes(item, quota.scopes)}
    left = sorted({scope.scope for scope in within} - known)
    return f"insufficient quota to match these scopes: {', '.join(left)}" if left else ""


def _kind(item: QuotaObject) -> str:
    if isinstance(item, Service):
        return "services"
    return "persistentvolumeclaims" if isinstance(item, PersistentVolumeClaim) else "pods"
