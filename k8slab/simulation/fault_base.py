"""What every kind of fault has, and the checks of the values it is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from k8slab.errors import InputError
from k8slab.simulation.fault_times import FaultTargets, FaultTimes, Weibull, together
from k8slab.units import duration_ns


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What all faults have.

    name    : of its stream of draws and in frames; by default its kind. Two faults of one
              name draw the same numbers, so give them names of their own
    enabled : False leaves it out; the others draw what they drew
    """

    kind: ClassVar[str]
    name: str = ""
    enabled: bool = True

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind)
        if not isinstance(self.enabled, bool):
            raise InputError(f"{self.where('enabled')}: {self.enabled!r}; wanted true or false")
        self.check()

    def check(self) -> None:
        """Raise InputError for a field that can't be used."""

    def draw(self, targets: FaultTargets, until_ns: int, rng: np.random.Generator) -> FaultTimes:
        """All that it does to nodes from 0 until `until_ns`; faults of pods do nothing to nodes."""
        return together([])

    def where(self, key: str) -> str:
        """How a message names one of its fields."""
        return f"fault {self.name!r}, {key}"

    def ns(self, key: str, *, least_ns: int = 1) -> int:
        """The nanoseconds of a field that is a length of time."""
        return _span_ns(getattr(self, key), self.where(key), least_ns)

    def weibull(self, mean: str, shape: str) -> Weibull:
        """The lengths of time that two fields describe."""
        return Weibull(self.ns(mean), weibull_shape(getattr(self, shape), self.where(shape)))

    def ns_range(self, key: str) -> tuple[int, int]:
        """The two ends of a field that is one length of time, or a least and a greatest."""
        value = getattr(self, key)
        ends = tuple(value) if isinstance(value, list | tuple) else (value, value)
        if len(ends) != 2:
            raise InputError(f"{self.where(key)}: {value!r}; wanted one length of time, or a least and a greatest")
        low, high = (duration_ns(end, self.where(key), least_ns=1) for end in ends)
        if low > high:
            raise InputError(f"{self.where(key)}: the least, {ends[0]!r}, is above the greatest, {ends[1]!r}")
        return low, high


def _span_ns(value: Any, where: str, least_ns: int) -> int:
    return _known_ns(value, where, least_ns) if isinstance(value, str) else duration_ns(value, where, least_ns=least_ns)


# Asked again for each node that joins: reading a text takes as long as a draw.
@lru_cache(maxsize=1024)
def _known_ns(text: str, where: str, least_ns: int) -> int:
    return duration_ns(text, where, least_ns=least_ns)


def number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {value!r}; wanted a number")
    return float(value)


def weibull_shape(value: Any, where: str) -> float:
    if not 0 <= number(value, where) <= 100 or 0 < number(value, where) < 0.05:
        raise InputError(f"{where}: {value!r}; wanted a Weibull shape from 0.05 to 100, or 0 for a constant")
    return number(value, where)


def factor_of(value: Any, where: str) -> float:
    if not 1 <= number(value, where) < float("inf"):
        raise InputError(f"{where}: {value!r}; wanted a factor of 1 or more")
    return number(value, where)


def probability_of(value: Any, where: str) -> float:
    if not 0 <= number(value, where) <= 1:
        raise InputError(f"{where}: {value!r}; wanted a probability from 0 to 1")
    return number(value, where)


def chance_of(value: Any, where: str) -> float:
    if not 0 <= number(value, where) < 1:
        raise InputError(f"{where}: {value!r}; wanted a probability from 0 to below 1")
    return number(value, where)
