"""What namespaces ask of their pods, as data: quotas, limit ranges, priority classes; and how a run heeds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8slab.application.admission import Admission, NamespaceRules
from k8slab.domain.admission.limit_range import LimitRangeItem
from k8slab.domain.admission.quota import ResourceQuota
from k8slab.domain.admission.resource_lists import Amount
from k8slab.domain.admission.scopes import ScopeSelector
from k8slab.errors import InputError
from k8slab.units import Quantity, parse_quantity

if TYPE_CHECKING:
    from k8slab.simulation.world import World

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
        scopes = [ScopeSelector(scope) for scope in self.scopes]
        if self.priority_classes:
            scopes.append(ScopeSelector("PriorityClass", "In", tuple(self.priority_classes)))
        used: dict[str, Amount] = dict.fromkeys(hard, 0)
        return ResourceQuota(self.name, hard, used, tuple(scopes))


@dataclass(frozen=True, kw_only=True)
class LimitRange:
    """One item of a LimitRange: bounds and defaults of containers or pods; amounts such as {"cpu": "100m"}."""

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


def build_admission(
    world: World, namespaces: Sequence[Namespace], priority_classes: Mapping[str, int] | None = None
) -> Admission:
    """Put admission before all of a run's pods. Leaves it in world.parts["admission"]; InputError for two of a name."""
    names = [one.name for one in namespaces]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two namespaces are named {name!r}; wanted one, with all its quotas")
    for name, value in (priority_classes or {}).items():
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
            raise InputError(f"priority class {name!r}: {value!r}; wanted a whole number within int32")
    admission = Admission(
        world.state, world.sink, [one.rules() for one in namespaces], priority_classes, world.workloads.try_again
    )
    for loop in world.calendar.controllers:
        if loop.name in ("arrivals", "workloads"):
            loop.gate = admission  # type: ignore[attr-defined]  # both have it
    world.calendar.add(admission)
    world.parts["admission"] = admission
    return admission


def _amounts(given: Amounts, where: str) -> dict[str, Amount]:
    found: dict[str, Amount] = {}
    for name, quantity in given.items():
        value = parse_quantity(quantity, f"{where}, {name}")
        if value < 0:
            raise InputError(f"{where}, {name}: {quantity!r} is negative")
        found[name] = value
    return found
