"""From histograms to a recommendation: percentiles, margin, confidence, minimum, the user's bounds. Pure.

After vertical-pod-autoscaler/pkg/recommender/logic. Amounts are whole mCPU and bytes; a
fraction is cut off at each step, as upstream's integers do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from k8slab.domain.vertical.histogram import DecayingHistogram
from k8slab.errors import InputError

MAX_AMOUNT: Final = 10**14
CONFIDENCE_INTERVAL_NS: Final = 24 * 3600 * 10**9
SAFETY_MARGIN: Final = 0.15
POD_MIN_CPU_MILLI: Final = 25
POD_MIN_MEMORY_BYTES: Final = 250 * 2**20
OOM_MIN_BUMP_BYTES: Final = 100 * 2**20
OOM_BUMP_RATIO: Final = 1.2
TARGET, LOWER, UPPER = 0.9, 0.5, 0.95


@dataclass(frozen=True)
class Amounts:
    """What to request of each resource."""

    cpu_milli: int
    memory_bytes: int


@dataclass(frozen=True)
class History:
    """How much is known of a container: its first and last sample, and the number of its cpu samples."""

    first_ns: int
    last_ns: int
    cpu_samples: int


@dataclass(frozen=True)
class ResourcePolicy:
    """minAllowed and maxAllowed of a container; None is no bound."""

    min_allowed: Amounts | None = None
    max_allowed: Amounts | None = None

    def __post_init__(self) -> None:
        low, high = self.min_allowed, self.max_allowed
        if low and high and (low.cpu_milli > high.cpu_milli or low.memory_bytes > high.memory_bytes):
            raise InputError(f"minAllowed {low} is above maxAllowed {high}")


@dataclass(frozen=True)
class Recommendation:
    """What one container should request, and between what bounds its request may stay."""

    target: Amounts
    lower_bound: Amounts
    upper_bound: Amounts


def amount_of(value: float) -> int:
    """A float as an amount: cut off, and between 0 and 10^14.

    >>> amount_of(3.99), amount_of(-1.0), amount_of(float("inf"))
    (3, 0, 100000000000000)
    """
    if not value > 0:
        return 0
    return MAX_AMOUNT if value > MAX_AMOUNT else int(value)


def confidence(history: History, interval_ns: int = CONFIDENCE_INTERVAL_NS) -> float:
    """In days: the time between the samples, or the cpu samples at one a minute, whichever is less."""
    minutes = interval_ns / (60 * 10**9)
    return min((history.last_ns - history.first_ns) / interval_ns, history.cpu_samples / minutes)


def with_confidence(amounts: Amounts, multiplier: float, exponent: float, trust: float) -> Amounts:
    """amount * (1 + multiplier / confidence) ^ exponent: wide of the mark while little is known."""
    factor = _power(1.0 + (multiplier / trust if trust > 0 else math.inf), exponent)
    return _scaled(amounts, factor)


def with_margin(amounts: Amounts, fraction: float = SAFETY_MARGIN) -> Amounts:
    """The amounts and a fraction of them more."""
    more = _scaled(amounts, fraction)
    return Amounts(amounts.cpu_milli + more.cpu_milli, amounts.memory_bytes + more.memory_bytes)


def at_least(amounts: Amounts, minimum: Amounts) -> Amounts:
    """No less than a minimum, of each."""
    return Amounts(max(amounts.cpu_milli, minimum.cpu_milli), max(amounts.memory_bytes, minimum.memory_bytes))


def at_most(amounts: Amounts, maximum: Amounts) -> Amounts:
    """No more than a maximum, of each."""
    return Amounts(min(amounts.cpu_milli, maximum.cpu_milli), min(amounts.memory_bytes, maximum.memory_bytes))


def oom_memory_bytes(request_bytes: int, recent_peak_bytes: int) -> int:
    """The memory sample that an OOM kill counts for: 100 MiB more than was used, or a fifth, whichever is more."""
    used = max(request_bytes, recent_peak_bytes)
    return amount_of(max(used + OOM_MIN_BUMP_BYTES, used * OOM_BUMP_RATIO))


def recommend(
    cpu_cores: DecayingHistogram,
    memory_bytes: DecayingHistogram,
    history: History,
    containers: int = 1,
    policy: ResourcePolicy | None = None,
) -> Recommendation:
    """One container's recommendation: p90, between p50 and p95, each with margin, confidence and minimum.

    containers : of the pod, which share its minimum evenly
    """
    if containers < 1:
        raise InputError(f"a pod of {containers} containers; wanted 1 or more")
    trust = confidence(history)
    minimum = Amounts(POD_MIN_CPU_MILLI // containers, POD_MIN_MEMORY_BYTES // containers)

    def estimated(share: float, multiplier: float = 0.0, exponent: float = 1.0) -> Amounts:
        cpu, memory = cpu_cores.percentile(share) * 1000, memory_bytes.percentile(share)
        found = with_margin(Amounts(amount_of(cpu), amount_of(memory)))
        if multiplier:
            found = with_confidence(found, multiplier, exponent, trust)
        return _within(at_least(found, minimum), policy or ResourcePolicy())

    return Recommendation(estimated(TARGET), estimated(LOWER, 0.001, -2.0), estimated(UPPER, 1.0, 1.0))


def recommend_all(
    histograms: Mapping[str, tuple[DecayingHistogram, DecayingHistogram, History]],
    policies: Mapping[str, ResourcePolicy] | None = None,
) -> dict[str, Recommendation]:
    """The recommendations of all containers of a pod, by name."""
    names: Sequence[str] = list(histograms)
    return {name: recommend(*histograms[name], len(names), (policies or {}).get(name)) for name in names}


def _within(amounts: Amounts, policy: ResourcePolicy) -> Amounts:
    low = at_least(amounts, policy.min_allowed) if policy.min_allowed is not None else amounts
    return at_most(low, policy.max_allowed) if policy.max_allowed is not None else low


def _scaled(amounts: Amounts, factor: float) -> Amounts:
    def scaled(amount: int) -> int:
        # Nothing stays nothing, however little is known of it.
        return amount_of(amount * factor) if amount else 0

    return Amounts(scaled(amounts.cpu_milli), scaled(amounts.memory_bytes))


def _power(base: float, exponent: float) -> float:
    if math.isinf(base):
        return 0.0 if exponent < 0 else base
    return math.pow(base, exponent)
