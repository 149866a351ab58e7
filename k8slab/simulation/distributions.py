"""How long things last: lifetimes, repair times, times between failures. Drawn as whole arrays of nanoseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER, Ints
from k8slab.errors import InputError
from k8slab.units import duration_ns

Span = str | int | float
# A drawn time beyond this, 146 years, is cut off, so that sums of an instant and a span stay int64.
LONGEST_NS = NEVER // 2


class Distribution(Protocol):
    """Time spans at random."""

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]: nanoseconds, 0 or more; as many draws from `rng` whatever else happens."""


@dataclass(frozen=True)
class Fixed:
    """Always the same. value : "10m", or seconds"""

    value: Span

    def __post_init__(self) -> None:
        duration_ns(self.value, "Fixed, value")

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]"""
        return np.full(count, duration_ns(self.value), dtype=np.int64)


@dataclass(frozen=True)
class Exponential:
    """Without memory. mean : "10m", or seconds

    >>> Exponential("1s").draw(3, np.random.default_rng(0)).tolist()
    [679931903, 1019597101, 19806662]
    """

    mean: Span

    def __post_init__(self) -> None:
        duration_ns(self.mean, "Exponential, mean", least_ns=1)

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]"""
        return whole_ns(rng.exponential(duration_ns(self.mean), count))


@dataclass(frozen=True)
class Weibull:
    """Failures that come early (shape < 1) or by wear (shape > 1). mean : "10m", or seconds"""

    mean: Span
    shape: float = 1.0

    def __post_init__(self) -> None:
        duration_ns(self.mean, "Weibull, mean", least_ns=1)
        _positive("Weibull", "shape", self.shape)

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]"""
        scale = duration_ns(self.mean) / math.gamma(1 + 1 / self.shape)
        return whole_ns(scale * rng.weibull(self.shape, count))


@dataclass(frozen=True)
class LogNormal:
    """Many short, few very long, as lifetimes of jobs are. median : "10m", or seconds; sigma : of the logarithm"""

    median: Span
    sigma: float = 1.0

    def __post_init__(self) -> None:
        duration_ns(self.median, "LogNormal, median", least_ns=1)
        _positive("LogNormal", "sigma", self.sigma)

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]"""
        return whole_ns(duration_ns(self.median) * np.exp(self.sigma * rng.standard_normal(count)))


@dataclass(frozen=True)
class Uniform:
    """Anything from `low` to `high` alike."""

    low: Span
    high: Span

    def __post_init__(self) -> None:
        low, high = duration_ns(self.low, "Uniform, low"), duration_ns(self.high, "Uniform, high")
        if low > high:
            raise InputError(f"Uniform: low {self.low!r} is above high {self.high!r}")

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]"""
        return rng.integers(duration_ns(self.low), duration_ns(self.high), count, endpoint=True)


@dataclass(frozen=True)
class Empirical:
    """One of these, each as likely: what was measured. values : texts, or seconds"""

    values: tuple[Span, ...]
    _ns: Ints = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(self.values):
            raise InputError("Empirical: no values")
        spans = [duration_ns(value, "Empirical, values") for value in self.values]
        object.__setattr__(self, "_ns", np.array(spans, dtype=np.int64))

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """int64[count]"""
        return self._ns[rng.integers(len(self._ns), size=count)]


DISTRIBUTIONS = {
    "fixed": Fixed, "exponential": Exponential, "weibull": Weibull,
    "lognormal": LogNormal, "uniform": Uniform, "empirical": Empirical,
}  # fmt: skip


def as_distribution(value: Distribution | Span) -> Distribution:
    """The distribution; a time span alone stands for itself, always."""
    return Fixed(value) if isinstance(value, str | int | float) else value


def whole_ns(spans: npt.NDArray[np.float64]) -> Ints:
    """Float nanoseconds as whole ones, none beyond LONGEST_NS."""
    return np.minimum(spans, float(LONGEST_NS)).astype(np.int64)


def _positive(kind: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{kind}: {name}={value!r}; wanted a number above 0")
