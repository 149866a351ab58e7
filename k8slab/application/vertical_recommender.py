"""The VerticalPodAutoscaler's recommender for many workloads at once: samples in, requests out, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.vertical.estimates import (
    CONFIDENCE_INTERVAL_NS,
    LOWER,
    MAX_AMOUNT,
    OOM_BUMP_RATIO,
    OOM_MIN_BUMP_BYTES,
    POD_MIN_CPU_MILLI,
    POD_MIN_MEMORY_BYTES,
    SAFETY_MARGIN,
    TARGET,
    UPPER,
)
from k8slab.domain.vertical.histogram import CPU_CORES, HALF_LIFE_NS, MEMORY_BYTES, ExponentialBuckets

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
CPU_WEIGHT: Final = 0.1
MEMORY_INTERVAL_NS: Final = 24 * 3600 * 10**9
_SHARES: Final = np.array([TARGET, LOWER, UPPER])


@dataclass(frozen=True, eq=False)
class Recommendations:
    """int64[W] each; see domain.vertical.estimates.Recommendation. Workloads of one container."""

    target_cpu_milli: Ints
    lower_cpu_milli: Ints
    upper_cpu_milli: Ints
    target_memory_bytes: Ints
    lower_memory_bytes: Ints
    upper_memory_bytes: Ints

    def to_frame(self, names: Sequence[str]) -> pd.DataFrame:
        """One row a workload: see the frame `recommendations`."""
        import pandas as pd

        return pd.DataFrame({"workload": np.array(names, dtype=object), **vars(self)})


class _Histograms:
    """Of one resource, all workloads'."""

    def __init__(self, workloads: int, buckets: ExponentialBuckets, half_life_ns: int) -> None:
        self._buckets = buckets
        self._half_life_ns = half_life_ns
        self._weights = np.zeros((workloads, buckets.count))
        self._total = np.zeros(workloads)
        self._reference_ns = np.full(workloads, NEVER)

    def add(self, workload: Ints, value: Floats, weight: Floats, at_ns: Ints) -> None:
        from k8slab.kernels.vertical import add_samples

        buckets = self._buckets
        add_samples(
            workload, value, weight, at_ns, buckets.first_bucket_size, buckets.ratio, self._half_life_ns, self._weights,
            self._total, self._reference_ns,
        )  # fmt: skip

    def percentiles(self) -> Floats:
        """float64[W, 3]"""
        from k8slab.kernels.vertical import percentiles

        buckets, out = self._buckets, np.empty((len(self._total), len(_SHARES)))
        percentiles(
            _SHARES, buckets.epsilon, buckets.first_bucket_size, buckets.ratio, self._weights, self._total, out
        )
        return out


class VerticalRecommender:
    """Remembers what the pods of workloads used, and says what they should request.

    workloads : W    pods : P, whose peaks of memory are told apart
    """

    def __init__(self, workloads: int, pods: int, *, half_life_ns: int = HALF_LIFE_NS) -> None:
        self._cpu = _Histograms(workloads, CPU_CORES, half_life_ns)
        self._memory = _Histograms(workloads, MEMORY_BYTES, half_life_ns)
        self._first_ns = np.full(workloads, NEVER)
        self._last_ns = np.zeros(workloads, dtype=np.int64)
        self._samples = np.zeros(workloads, dtype=np.int64)
        self._window_end_ns, self._seen_ns = np.full(pods, NEVER), np.full(pods, NEVER)
        self._peak, self._oom_peak = np.zeros(pods), np.zeros(pods)

    def grow(self, pods: int) -> None:
        """There are so many pods now."""
        more = pods - len(self._peak)
        if more > 0:
            never, none = np.full(more, NEVER), np.zeros(more)
            self._window_end_ns = np.concatenate([self._window_end_ns, never])
            self._seen_ns = np.concatenate([self._seen_ns, never])
            self._peak, self._oom_peak = np.concatenate([self._peak, none]), np.concatenate([self._oom_peak, none])

    def add_cpu(self, workload: Ints, cores: Floats, at_ns: Ints) -> None:
        """Samples of what pods used, one a minute. All [S], in the order of time."""
        self._cpu.add(workload, cores, np.full(len(workload), CPU_WEIGHT), at_ns)
        np.minimum.at(self._first_ns, workload, at_ns)
        np.maximum.at(self._last_ns, workload, at_ns)
        np.add.at(self._samples, workload, 1)

    def add_memory(self, pod: Ints, workload: Ints, memory_bytes: Floats, at_ns: Ints) -> None:
        """Samples of what pods held; of each day of a pod the highest counts. All [S], in the order of time."""
        self._add_memory(pod, workload, memory_bytes, at_ns, np.zeros(len(pod), dtype=np.bool_))

    def add_oom(self, pod: Ints, workload: Ints, request_bytes: Ints, at_ns: Ints) -> Mask:
        """bool[n]: which of these kills count; one from before a pod's last day is too old."""
        end = self._window_end_ns[pod]
        fresh = (end == NEVER) | (at_ns >= np.where(end == NEVER, 0, end) - MEMORY_INTERVAL_NS)
        used = np.maximum(request_bytes.astype(np.float64), self._peak[pod])
        needed = np.floor(np.maximum(used + OOM_MIN_BUMP_BYTES, used * OOM_BUMP_RATIO))
        self._add_memory(pod[fresh], workload[fresh], needed[fresh], at_ns[fresh], np.ones(fresh.sum(), dtype=np.bool_))
        return np.asarray(fresh)

    def _add_memory(self, pod: Ints, workload: Ints, value: Floats, at_ns: Ints, oom: Mask) -> None:
        from k8slab.kernels.vertical import memory_peaks

        # An instant in nanoseconds is exact in float64 up to 104 days; a histogram's weight needs no more.
        out = np.empty((2 * len(pod), 4))
        count = memory_peaks(
            pod, workload, value, at_ns, oom, MEMORY_INTERVAL_NS, self._window_end_ns, self._seen_ns, self._peak,
            self._oom_peak, out,
        )  # fmt: skip
        rows = out[:count]
        self._memory.add(
            rows[:, 0].astype(np.int64), rows[:, 1].copy(), rows[:, 2].copy(), rows[:, 3].astype(np.int64)
        )

    def confidence(self) -> Floats:
        """float64[W]: days between the samples, or cpu samples at one a minute, whichever is less."""
        known = self._samples > 0
        span = np.where(known, self._last_ns - np.where(known, self._first_ns, 0), 0)
        return np.minimum(span / CONFIDENCE_INTERVAL_NS, self._samples / (CONFIDENCE_INTERVAL_NS / (60 * 10**9)))

    def recommend(self) -> Recommendations:
        """What each workload's one container should request."""
        trust = self.confidence()
        cpu, memory = self._cpu.percentiles() * 1000.0, self._memory.percentiles()
        parts = [
            _estimated(_cut(values[:, k]), trust, multiplier, exponent, least)
            for values, least in ((cpu, POD_MIN_CPU_MILLI), (memory, POD_MIN_MEMORY_BYTES))
            for k, multiplier, exponent in ((0, 0.0, 1.0), (1, 0.001, -2.0), (2, 1.0, 1.0))
        ]
        return Recommendations(*parts)


def _estimated(amount: Ints, trust: Floats, multiplier: float, exponent: float, least: int) -> Ints:
    """With margin, confidence and minimum, cut off at each step as upstream's integers are."""
    amount = amount + _cut(amount * SAFETY_MARGIN)
    if multiplier:
        doubt = np.full(len(trust), np.inf)
        np.divide(multiplier, trust, out=doubt, where=trust > 0)
        factor = np.array([_power(1.0 + one, exponent) for one in doubt.tolist()])
        scaled = np.zeros(len(amount))
        np.multiply(amount, factor, out=scaled, where=amount > 0)
        amount = _cut(scaled)
    return np.asarray(np.maximum(amount, least), dtype=np.int64)


def _power(base: float, exponent: float) -> float:
    if base == float("inf"):
        return 0.0 if exponent < 0 else base
    return float(base**exponent)


def _cut(values: npt.NDArray[np.floating]) -> Ints:
    """Floats as amounts: cut off, between 0 and 10^14."""
    whole = np.nan_to_num(values, nan=0.0, posinf=float(MAX_AMOUNT))
    return np.asarray(np.clip(whole, 0.0, float(MAX_AMOUNT)), dtype=np.int64)
