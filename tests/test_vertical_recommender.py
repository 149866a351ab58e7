"""The recommender of many workloads against the scalar rule, workload by workload."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.analysis.frames import check_frame
from k8slab.application.vertical_recommender import MEMORY_INTERVAL_NS, VerticalRecommender
from k8slab.domain.vertical.estimates import History, oom_memory_bytes, recommend
from k8slab.domain.vertical.histogram import CPU_CORES, MEMORY_BYTES, DecayingHistogram

MINUTE, DAY = 60 * 10**9, 24 * 3600 * 10**9


class Naive:
    """One histogram a workload, one peak a pod; after upstream's ContainerState."""

    def __init__(self, workloads: int, pods: int) -> None:
        self.cpu = [DecayingHistogram(CPU_CORES) for _ in range(workloads)]
        self.memory = [DecayingHistogram(MEMORY_BYTES) for _ in range(workloads)]
        self.times: list[list[int]] = [[] for _ in range(workloads)]
        self.window_end: list[int | None] = [None] * pods
        self.last: list[int | None] = [None] * pods
        self.peak, self.oom_peak = [0.0] * pods, [0.0] * pods

    def add_cpu(self, w: int, cores: float, at: int) -> None:
        self.cpu[w].add(cores, 0.1, at)
        self.times[w].append(at)

    def add_memory(self, pod: int, w: int, value: float, at: int, *, oom: bool = False) -> None:
        last, end = self.last[pod], self.window_end[pod]
        if not oom and last is not None and at < last:
            return
        self.last[pod] = at
        end = at if end is None else end
        counts = False
        if at < end:
            highest = max(self.peak[pod], self.oom_peak[pod])
            if highest and value > highest:
                self.memory[w].subtract(highest, 1.0, end)
                counts = True
        else:
            end += (at - end) // DAY * DAY + DAY
            self.peak[pod] = self.oom_peak[pod] = 0.0
            counts = True
        if counts:
            self.memory[w].add(value, 1.0, end)
            (self.oom_peak if oom else self.peak)[pod] = value
        self.window_end[pod] = end

    def add_oom(self, pod: int, w: int, request: int, at: int) -> None:
        end = self.window_end[pod]
        if end is None or at >= end - DAY:
            self.add_memory(pod, w, float(oom_memory_bytes(request, int(self.peak[pod]))), at, oom=True)

    def recommend(self) -> list[Any]:
        histories = [History(times[0], max(times), len(times)) if times else History(0, 0, 0) for times in self.times]
        return [recommend(*each) for each in zip(self.cpu, self.memory, histories, strict=True)]


def told(naive: Naive) -> list[list[int]]:
    found = naive.recommend()
    return [
        [getattr(getattr(one, part), key) for one in found]
        for key in ("cpu_milli", "memory_bytes")
        for part in ("target", "lower_bound", "upper_bound")
    ]


samples = st.lists(
    st.tuples(
        st.sampled_from(["cpu", "memory", "oom"]),
        st.integers(0, 2),  # workload, which is the pod's too
        st.floats(0, 1e4) | st.sampled_from([0.0, 0.01, 1e9]),
        st.integers(0, 3 * DAY) | st.integers(0, 200 * DAY),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(samples)
def test_equals_the_scalar_rule(given_samples):
    fast, slow = VerticalRecommender(3, 3), Naive(3, 3)
    clock = 0
    for kind, w, value, at in given_samples:
        clock = max(clock, at)
        one, when = np.array([w]), np.array([clock if kind == "cpu" else at])
        if kind == "cpu":
            fast.add_cpu(one, np.array([value]), when)
            slow.add_cpu(w, value, clock)
        elif kind == "memory":
            fast.add_memory(one, one, np.array([np.floor(value * 1e7)]), when)
            slow.add_memory(w, w, float(np.floor(value * 1e7)), at)
        else:
            fast.add_oom(one, one, np.array([int(value)]), when)
            slow.add_oom(w, w, int(value), at)
    found = fast.recommend()
    assert [one.tolist() for one in vars(found).values()] == told(slow)
    check_frame("recommendations", found.to_frame(["a", "b", "c"]))


def test_many_samples_at_once_are_as_one_after_another():
    rng = np.random.default_rng(0)
    fast, slow = VerticalRecommender(20, 20), Naive(20, 20)
    workload = rng.integers(20, size=4000)
    at = np.sort(rng.integers(0, 5 * DAY, size=4000))
    cores, memory = rng.gamma(2.0, 0.3, 4000), np.floor(rng.gamma(3.0, 2e8, 4000))
    fast.add_cpu(workload, cores, at)
    fast.add_memory(workload, workload, memory, at)
    for w, c, m, t in zip(workload.tolist(), cores.tolist(), memory.tolist(), at.tolist(), strict=True):
        slow.add_cpu(w, c, t)
        slow.add_memory(w, w, m, t)
    assert [one.tolist() for one in vars(fast.recommend()).values()] == told(slow)


def test_a_kill_raises_the_request_and_an_old_one_does_not():
    one = np.array([0])
    fast = VerticalRecommender(1, 1)
    fast.add_cpu(np.zeros(1440, dtype=np.int64), np.full(1440, 0.2), np.arange(1440) * MINUTE)
    fast.add_memory(one, one, np.array([1e9]), np.array([0]))
    before = fast.recommend().target_memory_bytes[0]
    assert fast.add_oom(one, one, np.array([2 * 10**9]), np.array([MINUTE])).all()
    after = fast.recommend().target_memory_bytes[0]
    assert 1.15e9 <= before <= 1.3e9
    assert 2.4e9 * 1.15 <= after <= 2.4e9 * 1.15 * 1.06
    fast.add_memory(one, one, np.array([1e9]), np.array([3 * DAY]))
    assert not fast.add_oom(one, one, np.array([10**10]), np.array([DAY])).any()
    assert MEMORY_INTERVAL_NS == DAY


def test_nothing_known_asks_for_the_least_and_bounds_nothing():
    found = VerticalRecommender(1, 1).recommend()
    assert found.target_cpu_milli.tolist() == [25]
    assert found.target_memory_bytes.tolist() == [250 * 2**20]
    assert found.lower_cpu_milli.tolist() == [25]


@pytest.mark.long
def test_a_million_samples_of_ten_thousand_workloads():
    import time

    rng = np.random.default_rng(0)
    workload = rng.integers(10_000, size=1_000_000)
    at, cores = np.arange(1_000_000) * (7 * DAY // 1_000_000), rng.gamma(2.0, 0.3, 1_000_000)
    VerticalRecommender(1, 1).add_cpu(np.array([0]), np.array([1.0]), np.array([0]))
    VerticalRecommender(1, 1).recommend()
    fast = VerticalRecommender(10_000, 10_000)
    began = time.process_time()
    fast.add_cpu(workload, cores, at)
    found = fast.recommend()
    seconds = time.process_time() - began
    print(f"{seconds:.2f} s of CPU")
    assert (found.target_cpu_milli > 1000).mean() > 0.9
    assert seconds < 2
