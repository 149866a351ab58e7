"""quota_cases: ResourceQuota and LimitRange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from k8slab.domain.admission import resource_lists
from k8slab.domain.admission.limit_range import (
    LimitRangeItem,
    admit_pod,
    api_defaults,
    claim_violations,
    limit_range_defaults,
    violations,
)
from k8slab.domain.admission.pods import AdmittedPod, AffinityTerm, ContainerResources
from k8slab.domain.admission.quota import (
    AdmissionRequest,
    LimitedResource,
    ResourceQuota,
    admit,
    handles,
)
from k8slab.domain.admission.resource_lists import Amount, ResourceList
from k8slab.domain.admission.scopes import ScopeSelector, matching_scopes
from k8slab.domain.admission.usage import (
    PersistentVolumeClaim,
    QuotaObject,
    Service,
    pod_usage,
    total_usage,
    unstated,
)
from k8slab.experiments.conform_controllers.times import ns
from k8slab.units import parse_quantity

Json = dict[str, Any]


# -- reading and writing -------------------------------------------------------------


def _amounts(given: Mapping[str, str] | None) -> dict[str, Amount]:
    return {name: parse_quantity(text) for name, text in (given or {}).items()}


def _texts(amounts: ResourceList) -> dict[str, str]:
    return {name: _text(name, Fraction(amount)) for name, amount in amounts.items()}


def _text(name: str, amount: Fraction) -> str:
    """The amount in the largest unit that leaves a whole number; binary ones where bytes are counted."""
    if amount.denominator != 1:
        scale = next(power for power in (3, 6, 9) if (amount * 10**power).denominator == 1)
        return f"{amount * 10**scale}{'m' if scale == 3 else 'u' if scale == 6 else 'n'}"
    whole = int(amount)
    units = [*_BINARY, *_DECIMAL] if any(part in name for part in ("memory", "storage", "hugepages")) else _DECIMAL
    for suffix, size in units:
        if whole and whole % size == 0:
            return f"{whole // size}{suffix}"
    return str(whole)


_BINARY = [(f"{letter}i", 1024**power) for power, letter in zip(range(6, 0, -1), "EPTGMK", strict=True)]
_DECIMAL = [(letter, 1000**power) for power, letter in zip(range(6, 0, -1), "EPTGMk", strict=True)]


def _container(given: Json) -> ContainerResources:
    status = given.get("status_requests")
    return ContainerResources(
        given.get("name", ""),
        _amounts(given.get("requests")),
        _amounts(given.get("limits")),
        bool(given.get("restart_always")),
        None if status is None else _amounts(status),
    )


def _pod(given: Json) -> AdmittedPod:
    own, deleted = given.get("pod_resources"), given.get("deletion_timestamp_s_ago")
    return AdmittedPod(
        tuple(_container(found) for found in given.get("containers") or ()),
        tuple(_container(found) for found in given.get("init_containers") or ()),
        _amounts(own.get("requests")) if own else None,
        _amounts(own.get("limits")) if own else None,
        _amounts(given.get("overhead")),
        given.get("phase") or "",
        given.get("active_deadline_s"),
        given.get("priority_class") or "",
        None if deleted is None else -ns(deleted),
        given.get("deletion_grace_s"),
        tuple(_term(term) for term in given.get("pod_affinity_terms") or ()),
    )


def _term(given: Json) -> AffinityTerm:
    return AffinityTerm(tuple(given.get("namespaces") or ()), given.get("namespace_selector"))


def _selectors(given: list[Any] | None) -> tuple[ScopeSelector, ...]:
    """Scopes by name, or as selectors with operator and values."""
    return tuple(
        ScopeSelector(one)
        if isinstance(one, str)
        else ScopeSelector(one["scope"], one.get("operator") or "Exists", tuple(one.get("values") or ()))
        for one in given or ()
    )


def _scopes(given: Json) -> tuple[ScopeSelector, ...]:
    return (*_selectors(given.get("scopes")), *_selectors(given.get("scope_selector")))


def _object(given: Json) -> QuotaObject:
    kind = given.get("type", "Pod")
    if kind == "Service":
        return Service(given["service_type"], given["ports"], given.get("node_ports"))
    if kind == "PersistentVolumeClaim":
        return PersistentVolumeClaim(parse_quantity(given["storage"]), given.get("storage_class") or "")
    return _pod(given)


# -- kinds ---------------------------------------------------------------------------


def _constraints(case: Json) -> Json:
    return {"missing": unstated(_pod(case["pod"]), case["required"])}


def _usage(case: Json) -> Json:
    enabled = case.get("in_place_resize_enabled", True)
    return {"usage": _texts(pod_usage(_pod(case["pod"]), 0, in_place_resize=enabled))}


def _usage_stats(case: Json) -> Json:
    return {"usage": _texts(total_usage([_pod(given) for given in case["pods"]], _scopes(case), 0))}


def _matching_scopes(case: Json) -> Json:
    found = matching_scopes(_pod(case["pod"]), _selectors(case["selectors"]))
    return {"matching": [selector.scope for selector in found]}


def _handles(case: Json) -> Json:
    appears = (case.get("old_active_deadline_s") is None) != (case.get("new_active_deadline_s") is None)
    enabled = case.get("in_place_resize_enabled", True)
    return {"handled": handles(case["operation"], case["subresource"], appears, resize=enabled)}


_LISTS: dict[str, Callable[..., Any]] = {
    "equals": resource_lists.equals,
    "less_or_equal": resource_lists.less_or_equal,
    "max": resource_lists.maximum,
    "add": resource_lists.add,
    "subtract": resource_lists.subtract,
    "subtract_floor_zero": resource_lists.subtract_floor_zero,
    "is_zero": resource_lists.is_zero,
    "remove_zeros": resource_lists.remove_zeros,
    "is_negative": resource_lists.negative,
}
_OF_ONE = ("is_zero", "remove_zeros", "is_negative")


def _lists(case: Json) -> Json:
    operation = _LISTS[case["op"]]
    sides = ("a",) if case["op"] in _OF_ONE else ("a", "b")
    result = operation(*(_amounts(case.get(side)) for side in sides))
    return {"result": _texts(result) if isinstance(result, dict) else result}


def _admission(case: Json) -> Json:
    old = case.get("old_object") if case.get("old_object_exists") else None
    request = AdmissionRequest(
        case["operation"],
        _object(case["object"]),
        None if old is None else _object(old),
        case["subresource"],
        case["dry_run"],
    )
    quotas = tuple(
        ResourceQuota(given["name"], _amounts(given["hard"]), _amounts(given["used"]), _scopes(given))
        for given in case["quotas"]
    )
    answer = admit(request, quotas, [_limited(given) for given in case["limited_resources"]])
    return {
        "admitted": answer.admitted,
        "used_after": {quota.name: _texts(quota.used) for quota in answer.quotas},
    }


def _limited(given: Json) -> LimitedResource:
    return LimitedResource(
        given["resource"], tuple(given.get("match_contains") or ()), _selectors(given.get("match_scopes"))
    )


def _item(given: Json) -> LimitRangeItem:
    return LimitRangeItem(
        given["type"],
        _amounts(given.get("min")),
        _amounts(given.get("max")),
        _amounts(given.get("max_limit_request_ratio")),
        _amounts(given.get("default")),
        _amounts(given.get("default_request")),
    )


def _limit_validate(case: Json) -> Json:
    return {"admitted": not violations(_pod(case["pod"]), _item(case["limit"]))}


def _limit_defaults(case: Json) -> Json:
    filled = limit_range_defaults(_container(case["container"]), _item({"type": "Container", **case}))
    return {"requests": _texts(filled.requests), "limits": _texts(filled.limits)}


def _limit_pvc(case: Json) -> Json:
    bounds = {
        side: {"storage": parse_quantity(case[side])} if case[side] is not None else {} for side in ("min", "max")
    }
    item = LimitRangeItem("PersistentVolumeClaim", **bounds)
    return {"admitted": not claim_violations(parse_quantity(case["storage"]), item)}


def _limit_admission(case: Json) -> Json:
    pod = _pod({**case["pod"], "deletion_timestamp_s_ago": 0 if case["terminating"] else None})
    defaulted = replace(
        pod,
        containers=tuple(map(api_defaults, pod.containers)),
        init_containers=tuple(map(api_defaults, pod.init_containers)),
    )
    items = [_item(limit) for limit in case["limits"]]
    return {"admitted": not admit_pod(defaulted, items, case["operation"], case["subresource"])[1]}


KINDS = {
    "constraints": _constraints,
    "usage": _usage,
    "usage_stats": _usage_stats,
    "matching_scopes": _matching_scopes,
    "handles": _handles,
    "lists": _lists,
    "admission": _admission,
    "limit_validate": _limit_validate,
    "limit_defaults": _limit_defaults,
    "limit_pvc": _limit_pvc,
    "limit_admission": _limit_admission,
}
