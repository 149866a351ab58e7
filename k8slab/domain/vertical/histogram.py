"""Histograms whose old samples fade: what the recommender remembers of a container. The scalar rule.

After vertical-pod-autoscaler/pkg/recommender/util.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.errors import InputError

EPSILON: Final = 1e-4
# A weight is 2 to this many half-lives at the most, before the reference time is moved.
MAX_DECAY_EXPONENT: Final = 100
HALF_LIFE_NS: Final = 24 * 3600 * 10**9


class Buckets(Protocol):
    """How values fall into buckets 0 .. count - 1."""

    @property
    def count(self) -> int: ...
    @property
    def epsilon(self) -> float: ...
    def find(self, value: float) -> int: ...
    def start(self, bucket: int) -> float: ...


@dataclass(frozen=True)
class LinearBuckets:
    """Buckets of one size, up to and including the one of `max_value`."""

    max_value: float
    bucket_size: float
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        if self.max_value <= 0 or self.bucket_size <= 0 or self.epsilon <= 0:
            raise InputError(f"{self}: wanted a maximum, a size and an epsilon of more than 0")

    @property
    def count(self) -> int:
        return math.ceil(self.max_value / self.bucket_size) + 1

    def find(self, value: float) -> int:
        return min(max(int(value / self.bucket_size), 0), self.count - 1)

    def start(self, bucket: int) -> float:
        return bucket * self.bucket_size


@dataclass(frozen=True)
class ExponentialBuckets:
    """Buckets that grow by `ratio`: bucket n starts at first_bucket_size * (ratio^n - 1) / (ratio - 1)."""

    max_value: float
    first_bucket_size: float
    ratio: float = 1.05
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        if self.max_value <= 0 or self.first_bucket_size <= 0 or self.ratio <= 1 or self.epsilon <= 0:
            raise InputError(f"{self}: wanted a maximum, a size and an epsilon of more than 0, a ratio of more than 1")

    @property
    def count(self) -> int:
        return math.ceil(self._place(self.max_value)) + 1

    def find(self, value: float) -> int:
        if value < self.first_bucket_size:
            return 0
        return min(int(self._place(value)), self.count - 1)

    def start(self, bucket: int) -> float:
        return self.first_bucket_size * (self.ratio**bucket - 1) / (self.ratio - 1)

    def _place(self, value: float) -> float:
        return math.log(value * (self.ratio - 1) / self.first_bucket_size + 1) / math.log(self.ratio)


CPU_CORES: Final = ExponentialBuckets(1000.0, 0.01)
MEMORY_BYTES: Final = ExponentialBuckets(1e12, 1e7)


class DecayingHistogram:
    """Weights by bucket; a sample weighs twice as much as one that is a half-life older.

    half_life_ns : None for one that forgets nothing
    """

    def __init__(self, buckets: Buckets, half_life_ns: int | None = HALF_LIFE_NS) -> None:
        if half_life_ns is not None and half_life_ns <= 0:
            raise InputError(f"a half-life of {half_life_ns:,} ns; wanted more than 0")
        self.buckets = buckets
        self.half_life_ns = half_life_ns
        self._weights: npt.NDArray[np.float64] = np.zeros(buckets.count)
        self._total = 0.0
        self._reference_ns: int | None = None

    @property
    def empty(self) -> bool:
        """Whether no bucket weighs as much as epsilon."""
        return not bool((self._weights >= self.buckets.epsilon).any())

    def add(self, value: float, weight: float, at_ns: int) -> None:
        """Count a sample. Raises InputError for a negative weight."""
        if not weight >= 0:
            raise InputError(f"a sample of weight {weight!r}; wanted 0 or more")
        self._add(value, weight * self._decay(at_ns))

    def subtract(self, value: float, weight: float, at_ns: int) -> None:
        """Take a sample away again, as when an interval's peak gives way to a higher one; never below nothing."""
        self._add(value, -min(weight * self._decay(at_ns), float(self._weights[self.buckets.find(value)])))

    def percentile(self, share: float) -> float:
        """The end of the first bucket that has `share` of the weight below its end, 0 if empty.

        The last bucket has no end, so its start stands for it. A share below 0 gives the end
        of the first bucket that isn't empty, one above 1 that of the last.
        """
        filled = np.flatnonzero(self._weights >= self.buckets.epsilon)
        if not len(filled):
            return 0.0
        first, last = int(filled[0]), int(filled[-1])
        threshold, partial, bucket = share * self._total, 0.0, first
        while bucket < last:
            partial += float(self._weights[bucket])
            if partial >= threshold:
                break
            bucket += 1
        return self.buckets.start(min(bucket + 1, self.buckets.count - 1))

    def _add(self, value: float, weight: float) -> None:
        self._weights[self.buckets.find(value)] += weight
        self._total += weight

    def _decay(self, at_ns: int) -> float:
        if self.half_life_ns is None:
            return 1.0
        reference_ns = self._reference_ns
        if reference_ns is None or at_ns > reference_ns + self.half_life_ns * MAX_DECAY_EXPONENT:
            reference_ns = self._shift(at_ns, self.half_life_ns)
        return float(2.0 ** ((at_ns - reference_ns) / self.half_life_ns))

    def _shift(self, at_ns: int, half_life_ns: int) -> int:
        """Move the reference time near `at_ns`, by whole half-lives, so that weights change by powers of two alone."""
        rounded_ns = (at_ns + half_life_ns // 2) // half_life_ns * half_life_ns
        if self._reference_ns is not None:
            factor = 2.0 ** ((self._reference_ns - rounded_ns) // half_life_ns)
            self._weights *= factor
            self._total *= factor
        self._reference_ns = rounded_ns
        return rounded_ns
