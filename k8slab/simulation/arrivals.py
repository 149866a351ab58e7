"""When pods arrive: processes in time, drawn as sorted arrays of instants."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError
from k8slab.simulation.distributions import Span
from k8slab.units import duration_ns

DAY_NS: Final = 86_400 * SECOND_NS


class ArrivalProcess(Protocol):
    """Instants at random."""

    def times(self, until_ns: int, rng: np.random.Generator) -> Ints:
        """int64[]: the instants in [0, until_ns), sorted."""


@dataclass(frozen=True)
class Poisson:
    """Arrivals that know nothing of each other, at a steady rate. every : the mean time between two"""

    every: Span

    def __post_init__(self) -> None:
        duration_ns(self.every, "Poisson, every", least_ns=1)

    def times(self, until_ns: int, rng: np.random.Generator) -> Ints:
        """int64[]"""
        return _uniform(until_ns / duration_ns(self.every), until_ns, rng)


@dataclass(frozen=True)
class Diurnal:
    """A Poisson process whose rate swings as a cosine: highest at `peak` of each period, mean 1 / `every`.

    swing : from 0, none, to 1, where nothing arrives at the lowest point
    """

    every: Span
    swing: float = 0.5
    peak: Span = "14h"
    period: Span = "24h"

    def __post_init__(self) -> None:
        duration_ns(self.every, "Diurnal, every", least_ns=1)
        duration_ns(self.peak, "Diurnal, peak")
        duration_ns(self.period, "Diurnal, period", least_ns=1)
        if not 0 <= self.swing <= 1:
            raise InputError(f"Diurnal: swing={self.swing!r}; wanted a number from 0 to 1")

    def times(self, until_ns: int, rng: np.random.Generator) -> Ints:
        """int64[]"""
        peak, period = duration_ns(self.peak), duration_ns(self.period)
        # Thinning (Lewis and Shedler 1979): draw at the highest rate, keep each by the rate of its instant.
        drawn = _uniform(until_ns / duration_ns(self.every) * (1 + self.swing), until_ns, rng)
        rate = 1 + self.swing * np.cos(2 * np.pi * ((drawn - peak) % period) / period)
        return drawn[rng.random(len(drawn)) * (1 + self.swing) < rate]


@dataclass(frozen=True)
class Bursts:
    """Quiet and bursts by turns, each of exponential length; Poisson within, faster in a burst (a two-state MMPP).

    every, burst_every : mean time between arrivals in quiet, and in a burst
    quiet, burst       : mean length of each
    """

    every: Span
    burst_every: Span
    quiet: Span = "50m"
    burst: Span = "10m"

    def __post_init__(self) -> None:
        for name in ("every", "burst_every", "quiet", "burst"):
            duration_ns(getattr(self, name), f"Bursts, {name}", least_ns=1)

    def times(self, until_ns: int, rng: np.random.Generator) -> Ints:
        """int64[]"""
        means = duration_ns(self.quiet), duration_ns(self.burst)
        gaps = duration_ns(self.every), duration_ns(self.burst_every)
        parts, start, bursting = [], 0.0, False
        while start < until_ns:
            stop = min(start + rng.exponential(means[bursting]), float(until_ns))
            parts.append(int(start) + _uniform((stop - start) / gaps[bursting], int(stop) - int(start), rng))
            start, bursting = stop, not bursting
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Replay:
    """The instants that were recorded. at_ns : int64[], any order; those of the run's length count"""

    at_ns: npt.ArrayLike
    _sorted: Ints = field(init=False, repr=False)

    def __post_init__(self) -> None:
        times = np.sort(np.asarray(self.at_ns, dtype=np.int64))
        if len(times) and times[0] < 0:
            raise InputError(f"Replay: at_ns holds {times[0]:,}; wanted 0 or more, the run's beginning")
        object.__setattr__(self, "_sorted", times)

    def times(self, until_ns: int, rng: np.random.Generator) -> Ints:
        """int64[]"""
        return self._sorted[: np.searchsorted(self._sorted, until_ns)]


ARRIVALS: Final = {"poisson": Poisson, "diurnal": Diurnal, "bursts": Bursts}


def _uniform(mean: float, until_ns: int, rng: np.random.Generator) -> Ints:
    """A Poisson number of instants, alike over the whole time."""
    if not math.isfinite(mean) or mean > 2e9:
        raise InputError(f"{mean:,.0f} arrivals are too many; wanted at most 2,000,000,000")
    return np.sort(rng.integers(0, max(until_ns, 1), size=int(rng.poisson(mean)) if until_ns > 0 else 0))
