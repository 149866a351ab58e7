"""PodDisruptionBudgets: what a budget allows, and whether an eviction is admitted. Pure.

After the disruption controller and the eviction subresource (policy/v1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

IntOrPercent = int | str

# How long an admitted eviction is held against the budget while no deletion is seen.
DISRUPTED_POD_TIMEOUT_NS: Final = 120 * SECOND_NS
_PERCENT: Final = re.compile(r"([+-]?[0-9]+)%")


def scaled_value(value: IntOrPercent, total: int, *, round_up: bool) -> int:
    """An integer as it is, a percentage of `total` rounded. Raises InputError for any other text.

    >>> scaled_value("34%", 3, round_up=True), scaled_value("34%", 3, round_up=False), scaled_value(7, 3, round_up=True)
    (2, 1, 7)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InputError(f'{value!r} is neither a whole number nor a percentage; wanted 2 or "34%"')
    share = int(match[1]) * total
    return -(-share // 100) if round_up else share // 100


@dataclass(frozen=True)
class BudgetPod:
    """A pod that a budget's selector matches.

    controller : what owns it, None for nothing
    """

    name: str
    controller: str | None = None
    ready: bool = False
    deleting: bool = False


@dataclass(frozen=True)
class BudgetSpec:
    """Either min_available or max_unavailable, as the API has it."""

    min_available: IntOrPercent | None = None
    max_unavailable: IntOrPercent | None = None
    unhealthy_pod_eviction_policy: str | None = None

    def __post_init__(self) -> None:
        if self.min_available is not None and self.max_unavailable is not None:
            raise InputError("a disruption budget has both minAvailable and maxUnavailable; wanted one of them")
        for value in (self.min_available, self.max_unavailable):
            if value is not None and scaled_value(value, 100, round_up=True) < 0:
                raise InputError(f"{value!r} of a disruption budget is negative")
        if self.unhealthy_pod_eviction_policy not in (None, "IfHealthyBudget", "AlwaysAllow"):
            raise InputError(
                f"unhealthy pod eviction policy {self.unhealthy_pod_eviction_policy!r}; "
                "wanted IfHealthyBudget or AlwaysAllow"
            )


@dataclass(frozen=True)
class BudgetStatus:
    """What the controller last found; the field names are the API's.

    disrupted_pods : pod -> when its eviction was admitted, while its deletion isn't seen
    reason         : of the condition DisruptionAllowed, "" while nobody has set it
    """

    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    disrupted_pods: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""


NO_STATUS: Final = BudgetStatus()


def budget_status(
    spec: BudgetSpec,
    pods: Sequence[BudgetPod],
    scales: Mapping[str, int],
    disrupted_pods: Mapping[str, int],
    now_ns: int,
) -> BudgetStatus:
    """What the budget allows now.

    pods   : all that its selector matches; if the selector can't be parsed the status is NO_STATUS
    scales : controller -> how many pods it is asked to run

    allowed = max(0, healthy - desired), and 0 while no pod is expected.
    """
    held = _still_disrupted(pods, disrupted_pods, now_ns)
    expected, desired = expected_and_desired(spec, pods, scales)
    healthy = sum(
        pod.ready
        and not pod.deleting
        # At exactly the timeout the pod counts again, though it is remembered for this one sync more.
        and not (pod.name in held and held[pod.name] + DISRUPTED_POD_TIMEOUT_NS > now_ns)
        for pod in pods
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    return BudgetStatus(allowed, healthy, desired, expected, held, "SufficientPods" if allowed else "InsufficientPods")


def expected_and_desired(spec: BudgetSpec, pods: Sequence[BudgetPod], scales: Mapping[str, int]) -> tuple[int, int]:
    """(pods expected, of which healthy at least).

    A whole minAvailable is what it says, of the pods there are. A percentage, or any
    maxUnavailable, is of the sum of the scales of the pods' distinct controllers, rounded
    up; pods without a controller add nothing. Raises InputError for a controller whose
    scale isn't given.
    """
    if isinstance(spec.min_available, int):
        return len(pods), spec.min_available
    expected = _expected_scale(pods, scales)
    if spec.max_unavailable is not None:
        return expected, max(0, expected - scaled_value(spec.max_unavailable, expected, round_up=True))
    if spec.min_available is not None:
        return expected, scaled_value(spec.min_available, expected, round_up=True)
    return 0, 0


class Eviction(Enum):
    """What the API server answers to an eviction."""

    ADMITTED = "deleted"
    TOO_MANY_REQUESTS = "TooManyRequests"
    MANY_BUDGETS = "InternalError"


@dataclass(frozen=True)
class EvictedPod:
    """A pod that someone asks to evict."""

    name: str
    phase: str = "Running"
    ready: bool = False
    deleting: bool = False


@dataclass(frozen=True)
class EvictionAnswer:
    """The answer, and the budget's status after it."""

    outcome: Eviction
    status: BudgetStatus | None


def admit_eviction(
    pod: EvictedPod, budgets: Sequence[tuple[BudgetSpec, BudgetStatus]], now_ns: int, *, dry_run: bool = False
) -> EvictionAnswer:
    """Whether the pod may be evicted.

    budgets : those whose selector matches the pod

    What doesn't run, or is going already, is deleted without asking. A pod that isn't
    ready may go without using up the budget: always under AlwaysAllow, and else while the
    budget has as many healthy pods as it wants and wants any. Any other is asked of the
    budget, which allows one less afterwards and remembers the pod.
    """
    status = budgets[0][1] if budgets else None
    if pod.deleting or pod.phase in ("Pending", "Succeeded", "Failed") or status is None:
        return EvictionAnswer(Eviction.ADMITTED, status)
    if len(budgets) > 1:
        return EvictionAnswer(Eviction.MANY_BUDGETS, status)
    if not pod.ready and _unhealthy_may_go(budgets[0][0], status):
        return EvictionAnswer(Eviction.ADMITTED, status)
    if status.disruptions_allowed <= 0:
        return EvictionAnswer(Eviction.TOO_MANY_REQUESTS, status)
    return EvictionAnswer(Eviction.ADMITTED, status if dry_run else _one_less(status, pod.name, now_ns))


def _still_disrupted(pods: Iterable[BudgetPod], disrupted: Mapping[str, int], now_ns: int) -> dict[str, int]:
    """The admitted evictions that no deletion has followed, and that aren't too old to believe in."""
    waiting = [pod.name for pod in pods if not pod.deleting and pod.name in disrupted]
    return {name: disrupted[name] for name in waiting if disrupted[name] + DISRUPTED_POD_TIMEOUT_NS >= now_ns}


def _expected_scale(pods: Iterable[BudgetPod], scales: Mapping[str, int]) -> int:
    controllers = {pod.controller for pod in pods if pod.controller is not None}
    missing = sorted(controllers - scales.keys())
    if missing:
        raise InputError(f"no scale of controller {missing[0]!r}, whose pods a disruption budget counts")
    return sum(scales[controller] for controller in controllers)


def _unhealthy_may_go(spec: BudgetSpec, status: BudgetStatus) -> bool:
    if spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    return status.desired_healthy > 0 and status.current_healthy >= status.desired_healthy


def _one_less(status: BudgetStatus, pod: str, now_ns: int) -> BudgetStatus:
    left = status.disruptions_allowed - 1
    return replace(
        status,
        disruptions_allowed=left,
        disrupted_pods={**status.disrupted_pods, pod: now_ns},
        reason=status.reason if left else "InsufficientPods",
    )
