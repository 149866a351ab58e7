"""Failure detectors: deadlines by arithmetic against the rule stepped second by second."""

from __future__ import annotations

from itertools import pairwise
from statistics import NormalDist, fmean, pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.detectors import FailureDetector, FixedTimeout, LeaseMonitor, PhiAccrual, suspected
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.node_lifecycle.heartbeats import NodeMonitor, NodeSight
from k8slab.errors import InputError, PluginError

MS = 10**6
gaps = st.lists(st.integers(1, 200_000), min_size=1, max_size=40)


def arrivals_of(gaps_ms: list[int]) -> np.ndarray:
    return np.cumsum(np.array(gaps_ms, dtype=np.int64)) * MS


def stepped_lease(arrivals: list[int], grace: int, period: int, until: int) -> list[tuple[int, int]]:
    """The controller pass by pass: when Ready becomes Unknown, and when a heartbeat ends it."""
    monitor, health, found, unknown = NodeMonitor(grace), None, [], None
    for now in range(period * (arrivals[0] // period), until, period):
        came = [at for at in arrivals if at <= now]
        if not came:
            continue
        if unknown is not None and came[-1] > unknown[1]:
            found.append((unknown[0], next(at for at in arrivals if at > unknown[1])))
            unknown = None
        ready = "True" if unknown is None else "Unknown"
        health, change = monitor.observe(NodeSight(0, ready, 0, came[-1]), health, now)
        if change is not None:
            unknown = (now, came[-1])
    if unknown is not None:
        later = [at for at in arrivals if at > unknown[1]]
        found.append((unknown[0], later[0] if later else until))
    return found


@given(gaps, st.integers(1, 60), st.integers(1, 12))
def test_the_lease_monitors_deadline_is_the_pass_at_which_the_rule_changes(gaps_ms, grace_s, period_s):
    arrivals, grace, period = arrivals_of(gaps_ms), grace_s * SECOND_NS, period_s * SECOND_NS
    until = int(arrivals[-1]) + 100 * SECOND_NS
    begin, end = suspected(LeaseMonitor(grace, period), arrivals, until)
    # Between two passes a node can be heard from and be trusted again unseen; the rule sees it at its next pass.
    stepped = stepped_lease(arrivals.tolist(), grace, period, until)
    assert list(zip(begin.tolist(), end.tolist(), strict=True)) == stepped


def naive_phi(detector: PhiAccrual, arrivals: list[int], k: int) -> int:
    """From the definition: phi reaches its threshold."""
    intervals = [b - a for a, b in pairwise(arrivals[: k + 1])]
    window = [i // MS for i in intervals if i <= detector.longest_ns][-detector.window :]
    mean = fmean(window) if window else detector.expected_ns / MS
    deviation = pstdev(window) if len(window) > 1 else detector.expected_ns / MS / 4
    normal = NormalDist(mean, max(deviation, detector.min_deviation_ns / MS))
    # P_later at the threshold is 10^-threshold; by symmetry of the normal distribution.
    wait = 2 * mean - normal.inv_cdf(10**-detector.threshold)
    return arrivals[k] + max(0, int(wait * MS))


@given(gaps, st.floats(0.5, 12), st.integers(1, 12))
def test_phis_deadline_is_where_phi_reaches_its_threshold(gaps_ms, threshold, window):
    arrivals = arrivals_of(gaps_ms)
    detector = PhiAccrual(threshold, window)
    found = detector.deadlines(arrivals).tolist()
    for k, deadline in enumerate(found):
        assert deadline == pytest.approx(naive_phi(detector, arrivals.tolist(), k), abs=1000, rel=1e-12)


def test_phi_by_hand():
    # Intervals of 9, 10 and 11 s: mean 10 s, deviation sqrt(2/3) s; the chance to be later than
    # 3.09 deviations is a thousandth.
    arrivals = arrivals_of([1000, 9000, 10_000, 11_000])
    deadline = PhiAccrual(threshold=3, min_deviation_ns=1).deadlines(arrivals)[-1]
    assert (deadline - arrivals[-1]) / SECOND_NS == pytest.approx(10 + 3.0902 * (2 / 3) ** 0.5, abs=1e-3)


def test_a_silence_is_suspected_until_it_ends():
    arrivals = np.array([0, 10, 20, 100, 110], dtype=np.int64)
    begin, end = suspected(FixedTimeout(30), arrivals, until_ns=200)
    assert (begin.tolist(), end.tolist()) == ([50, 140], [100, 200])


def test_a_heartbeat_at_the_deadline_is_in_time():
    begin, _ = suspected(FixedTimeout(30), np.array([0, 30], dtype=np.int64), until_ns=60)
    assert begin.tolist() == []


class _Own:
    memory = 1

    def __init__(self, answer):
        self.answer = answer

    def deadlines(self, arrivals_ns):
        return self.answer(arrivals_ns)


def test_a_users_own_detector_is_any_object_with_deadlines():
    own = _Own(lambda arrivals: arrivals + 5)
    assert isinstance(own, FailureDetector)
    assert suspected(own, np.array([0, 10], dtype=np.int64), 12)[0].tolist() == [5]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda arrivals: arrivals[:1], r"detector _Own: deadlines of shape \(1,\) and dtype int64 for 2 arrivals"),
        (lambda arrivals: arrivals * 1.5, r"dtype float64 for 2 arrivals; wanted int64\[2\], in nanoseconds"),
        (lambda arrivals: arrivals - 1, r"deadline -1 ns is before its arrival at 0 ns"),
    ],
)
def test_a_broken_detector_is_named(answer, message):
    with pytest.raises(PluginError, match=message):
        suspected(_Own(answer), np.array([0, 10], dtype=np.int64), 20)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedTimeout(0), r"FixedTimeout\(timeout_ns=0\): timeout_ns=0; wanted more than 0"),
        (lambda: LeaseMonitor(period_ns=-5), "period_ns=-5; wanted more than 0"),
        (lambda: PhiAccrual(threshold=0), "threshold=0; wanted more than 0"),
        (lambda: PhiAccrual(threshold=400), r"a chance of 10\^-400 is no number any more"),
    ],
)
def test_a_detector_that_could_never_work_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
