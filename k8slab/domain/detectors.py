"""Failure detectors: until when a node that was heard from at these times is trusted. Pure.

A detector is arithmetic on the times at which heartbeats arrived. Each arrival moves its deadline;
it suspects the node from the deadline on, until the next arrival. So a node that is heard from in
time makes no event, and a silent one makes one, at a time that is known as soon as it falls silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.node_lifecycle.heartbeats import GRACE_NS
from k8slab.errors import InputError, PluginError

MILLISECOND_NS: Final = 1_000_000


@runtime_checkable
class FailureDetector(Protocol):
    """Any object with these two members is a detector; a user's own may stand in a notebook cell.

    memory : how many of the last arrivals a deadline depends on, at the most

    One that has `patience_ns` as well promises to suspect no node that was silent no longer than
    that, so that shorter faults needn't be looked at.
    """

    @property
    def memory(self) -> int: ...

    def deadlines(self, arrivals_ns: Ints) -> Ints:
        """int64[K]: from when on the node is suspected if nothing came after each of these arrivals.

        arrivals_ns : int64[K], ascending. Deadline k may depend on arrivals 0..k alone, and
                      isn't before arrival k.
        """


@dataclass(frozen=True)
class FixedTimeout:
    """Suspects a node that was silent for `timeout_ns`."""

    timeout_ns: int
    memory = 1

    def __post_init__(self) -> None:
        _positive(self, "timeout_ns")

    @property
    def patience_ns(self) -> int:
        """Shorter silence is none."""
        return self.timeout_ns

    def deadlines(self, arrivals_ns: Ints) -> Ints:
        """Each arrival and the timeout."""
        return arrivals_ns + self.timeout_ns


@dataclass(frozen=True)
class LeaseMonitor:
    """The node lifecycle controller: it looks every `period_ns`, and only what it saw counts.

    A heartbeat is dated by the pass that sees it, the first one at or after it. The node is Unknown
    at the first pass that is later than that by more than `grace_ns`, strictly; so between grace
    and grace + 2 periods after the heartbeat. This is `NodeMonitor.observe` told in one step.

    >>> LeaseMonitor().deadlines(np.array([1, 5], dtype=np.int64) * SECOND_NS) // SECOND_NS
    array([60, 60])
    """

    grace_ns: int = GRACE_NS
    period_ns: int = 5 * SECOND_NS
    memory = 1

    def __post_init__(self) -> None:
        _positive(self, "grace_ns", "period_ns")

    @property
    def patience_ns(self) -> int:
        """Shorter silence is none: a heartbeat is never seen before it arrives."""
        return self.grace_ns

    def deadlines(self, arrivals_ns: Ints) -> Ints:
        """The pass at which each would be judged too old."""
        seen = -(-arrivals_ns // self.period_ns) * self.period_ns
        return ((seen + self.grace_ns) // self.period_ns + 1) * self.period_ns


@dataclass(frozen=True)
class PhiAccrual:
    """Suspects a node once its silence is as unlikely as 10^-threshold, by the intervals seen so far.

    Hayashibara, Defago, Yared, Katayama, "The phi accrual failure detector" (SRDS 2004), section 4:
    phi(t) = -log10(P_later(t - t_last)), where P_later is the tail of a normal distribution with
    the mean and variance of the last `window` intervals. phi is at the threshold when
    t = t_last + mean + deviation * Q(10^-threshold), Q the normal tail's inverse.

    expected_ns      : the interval that is assumed before there is one
    min_deviation_ns : the deviation is never taken for less: intervals that never vary would make
                       a heartbeat that is a millisecond late unbelievable
    longest_ns       : longer intervals were failures, not the network, and aren't learnt from

    Intervals are measured in milliseconds, so that sums are exact integers.
    """

    threshold: float = 8.0
    window: int = 100
    expected_ns: int = 10 * SECOND_NS
    min_deviation_ns: int = 500 * MILLISECOND_NS
    longest_ns: int = 120 * SECOND_NS

    def __post_init__(self) -> None:
        _positive(self, "threshold", "window", "expected_ns", "min_deviation_ns", "longest_ns")
        if self.threshold > 300:
            raise InputError(f"{self}: a chance of 10^-{self.threshold:g} is no number any more; wanted 300 or less")

    @property
    def memory(self) -> int:
        return self.window + 1

    @property
    def deviations(self) -> float:
        """How many deviations beyond the mean the threshold is."""
        return -NormalDist().inv_cdf(10.0**-self.threshold)

    def deadlines(self, arrivals_ns: Ints) -> Ints:
        """Each arrival, the mean interval, and the threshold's deviations."""
        mean_ms, deviation_ms = self._learnt(np.diff(arrivals_ns))
        wait_ns = (mean_ms + self.deviations * deviation_ms) * MILLISECOND_NS
        return arrivals_ns + np.maximum(wait_ns, 0).astype(np.int64)

    def _learnt(self, intervals_ns: Ints) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Mean and deviation in milliseconds after each arrival."""
        ms = intervals_ns // MILLISECOND_NS
        believed = intervals_ns <= self.longest_ns
        sums = _running(ms[believed])
        squares = _running((ms * ms)[believed])
        # Before the first arrival there is no interval; then as many as were believed.
        last = np.concatenate([[0], np.cumsum(believed)])
        first = np.maximum(last - self.window, 0)
        count = last - first
        total, square = sums[last] - sums[first], squares[last] - squares[first]
        some = np.maximum(count, 1)
        mean = total / some
        spread = np.sqrt(some * square - total * total) / some
        floor = self.min_deviation_ns / MILLISECOND_NS
        expected = self.expected_ns / MILLISECOND_NS
        # An interval alone has no deviation; the first guess is a quarter, as Akka takes it.
        mean = np.where(count > 0, mean, expected)
        return mean, np.maximum(np.where(count > 1, spread, expected / 4), floor)


class Suspicions(NamedTuple):
    """When a detector suspected nodes, by node and then by time.

    node_rows : int64[S]
    start_ns  : int64[S]
    end_ns    : int64[S]  when it heard from the node again, or the run's end
    """

    node_rows: Ints
    start_ns: Ints
    end_ns: Ints


def suspected(detector: FailureDetector, arrivals_ns: Ints, until_ns: int) -> tuple[Ints, Ints]:
    """(start, end) int64[S] of the times at which one node is suspected.

    arrivals_ns : int64[K], ascending; before the first the node is trusted
    until_ns    : the end of the last suspicion, if nothing ends it earlier

    Raises PluginError where a detector of the user's returns anything but K deadlines, none of
    them before its arrival.
    """
    if not len(arrivals_ns):
        return arrivals_ns[:0], arrivals_ns[:0]
    deadlines = _checked(detector, arrivals_ns)
    ends = np.append(arrivals_ns[1:], until_ns)
    late = deadlines < ends
    return deadlines[late], ends[late]


def _checked(detector: FailureDetector, arrivals_ns: Ints) -> Ints:
    found: Any = np.asarray(detector.deadlines(arrivals_ns))
    name = type(detector).__name__
    if found.shape != arrivals_ns.shape or found.dtype.kind not in "iu":
        raise PluginError(
            f"detector {name}: deadlines of shape {found.shape} and dtype {found.dtype} for {len(arrivals_ns):,} "
            f"arrivals; wanted int64[{len(arrivals_ns)}], in nanoseconds"
        )
    early = found < arrivals_ns
    if early.any():
        k = int(np.argmax(early))
        raise PluginError(
            f"detector {name}: deadline {int(found[k]):,} ns is before its arrival at {int(arrivals_ns[k]):,} ns"
        )
    return np.asarray(found, dtype=np.int64)


def _running(values: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(values)])


def _positive(detector: object, *names: str) -> None:
    for name in names:
        if not getattr(detector, name) > 0:
            raise InputError(f"{detector}: {name}={getattr(detector, name)!r}; wanted more than 0")
