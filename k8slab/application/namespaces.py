"""What namespaces ask of their pods, as data: quotas and limit ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from k8slab.application.admission import NamespaceRules
from k8slab.domain.admission.limit_range import LimitRangeItem
from k8slab.domain.admission.quota import ResourceQuota
from k8slab.domain.admission.resource_lists import Amount
from k8slab.domain.admission.scopes import ScopeSelector
from k8slab.errors import InputError, UnknownName
from k8slab.units import Quantity, parse_quantity

# What a quota may name: of pods, these; those that pods may request beside them; and what isn't theirs.
_STANDARD: Final = ("cpu", "memory", "ephemeral-storage")
_NAMES: Final = (
    "pods", *_STANDARD, *(f"{part}.{name}" for part in ("requests", "limits") for name in _STANDARD),
    "requests.storage", "persistentvolumeclaims", "services", "services.loadbalancers", "services.nodeports",
    "configmaps", "secrets", "replicationcontrollers", "resourcequotas",
)  # fmt: skip
_OTHERS: Final = re.compile(r"count/.+|.*\.storageclass\..+|((requests|limits)\.)?hugepages-.+|requests\..+/.+")
Amounts = Mapping[str, Quantity]


@dataclass(frozen=True, kw_only=True)
class Quota:
    """A ResourceQuota. hard : {"requests.cpu": "10", "pods": 50}; scopes : such as ("BestEffort",)"""

    name: str = "quota"
    hard: Amounts
    scopes: Sequence[str] = ()
    priority_classes: Sequence[str] = ()

    def rule(self) -> ResourceQuota:
        """As the rules want it. Raises InputError."""
        hard = _amounts(self.hard, f"quota {self.name!r}")
        for name in hard:
            if name not in _NAMES and not _OTHERS.fullmatch(name):
                raise UnknownName("resource of a quota", name, _NAMES, f"In quota {self.name!r}.")
        scopes = [ScopeSelector(scope) for scope in self.scopes]
        if self.priority_classes:
            scopes.append(ScopeSelector("PriorityClass", "In", tuple(self.priority_classes)))
        used: dict[str, Amount] = dict.fromkeys(hard, 0)
        return ResourceQuota(self.name, hard, used, tuple(scopes))


@dataclass(frozen=True, kw_only=True)
class LimitRange:
    """One item of a LimitRange: bounds and defaults of containers or pods; amounts such as {"cpu": "100m"}.

    As the API does when a LimitRange is made, one of containers takes what it doesn't say from what it does:
    `default` limits from `max`, and `default_request` from `default`, then from `min`.
    """

    type: str = "Container"
    min: Amounts = field(default_factory=dict)
    max: Amounts = field(default_factory=dict)
    max_limit_request_ratio: Amounts = field(default_factory=dict)
    default: Amounts = field(default_factory=dict)
    default_request: Amounts = field(default_factory=dict)

    def rule(self) -> LimitRangeItem:
        """As the rules want it. Raises InputError."""
        parts = {
            key: _amounts(getattr(self, key), f"limit range, {key}")
            for key in ("min", "max", "max_limit_request_ratio", "default", "default_request")
        }
        for name, least in parts["min"].items():
            most = parts["max"].get(name)
            if most is not None and most < least:
                raise InputError(f"limit range: min {name} {self.min[name]!r} is above max {self.max[name]!r}")
        if self.type == "Container":
            parts["default"] = {**parts["max"], **parts["default"]}
            parts["default_request"] = {**parts["min"], **parts["default"], **parts["default_request"]}
        return LimitRangeItem(self.type, **parts)


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A namespace with its quotas and limit ranges; pods of namespaces that nobody names enter unasked."""

    name: str = "default"
    quotas: Sequence[Quota] = ()
    limits: Sequence[LimitRange] = ()

    def __post_init__(self) -> None:
        self.rules()

    def rules(self) -> NamespaceRules:
        """As admission wants them. Raises InputError that names the namespace."""
        try:
            names = [quota.name for quota in self.quotas]
            for name in names:
                if names.count(name) > 1:
                    raise InputError(f"two quotas are named {name!r}; wanted a name of its own for each")
            quotas = tuple(quota.rule() for quota in self.quotas)
            return NamespaceRules(self.name, quotas, tuple(one.rule() for one in self.limits))
        except InputError as error:
            raise InputError(f"namespace {self.name!r}: {error}") from error


def all_rules(namespaces: Sequence[Namespace], priority_classes: Mapping[str, int]) -> list[NamespaceRules]:
    """The rules of all of them. Raises InputError for two of a name, and for a priority class that is no int32
    or that isn't there."""
    names = [one.name for one in namespaces]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two namespaces are named {name!r}; wanted one, with all its quotas")
    for name, value in priority_classes.items():
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
            raise InputError(f"priority class {name!r}: {value!r}; wanted a whole number within int32")
    for namespace in namespaces:
        for quota in namespace.quotas:
            for wanted in quota.priority_classes:
                if wanted not in priority_classes:
                    where = f"In namespace {namespace.name!r}, quota {quota.name!r}."
                    raise UnknownName("priority class", wanted, priority_classes, where)
    return [one.rules() for one in namespaces]


def _amounts(given: Amounts, where: str) -> dict[str, Amount]:
    found: dict[str, Amount] = {}
    for name, quantity in given.items():
        value = parse_quantity(quantity, f"{where}, {name}")
        if value < 0:
            raise InputError(f"{where}, {name}: {quantity!r} is negative")
        found[name] = value
    return found
