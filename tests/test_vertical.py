"""The vertical recommender's histograms and estimates, worked by hand, with properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.vertical.estimates import (
    MAX_AMOUNT,
    Amounts,
    History,
    ResourcePolicy,
    amount_of,
    at_least,
    confidence,
    oom_memory_bytes,
    recommend,
    recommend_all,
    with_confidence,
    with_margin,
)
from k8slab.domain.vertical.histogram import (
    CPU_CORES,
    MEMORY_BYTES,
    DecayingHistogram,
    ExponentialBuckets,
    LinearBuckets,
)
from k8slab.errors import InputError

DAY = 24 * 3600 * 10**9
HOUR = DAY // 24
TENTHS = LinearBuckets(10.0, 1.0, 1e-15)


def histogram(*samples, half_life=None, buckets=TENTHS):
    made = DecayingHistogram(buckets, half_life)
    for value, weight, at in samples:
        made.add(value, weight, at)
    return made


def test_a_percentile_is_the_end_of_its_bucket():
    made = histogram((1, 1, 0), (2, 2, 0), (3, 3, 0))
    assert [made.percentile(share) for share in (-1, 0, 1 / 6, 0.17, 0.5, 0.51, 1, 2)] == [2, 2, 2, 3, 3, 4, 4, 4]
    assert histogram((10, 1, 0)).percentile(0.5) == 10.0  # the last one has no end
    assert histogram().percentile(0.5) == 0.0


def test_old_samples_fade():
    fading = histogram((1, 1, 0), (2, 1, HOUR), (3, 1, 2 * HOUR), half_life=HOUR)  # 1 : 2 : 4
    assert [fading.percentile(share) for share in (1 / 7, 0.15, 3 / 7, 0.43, 1)] == [2, 3, 3, 4, 4]


def test_the_reference_time_moves_without_a_change():
    whole = histogram((1, 1, 0), (2, 1, 100 * HOUR), (3, 1, 101 * HOUR), (3, 1, 205 * HOUR), half_life=HOUR)
    assert whole.percentile(0.01) == 4.0  # the others weigh less than epsilon now
    near = histogram((1, 1, 150 * HOUR), (2, 1, 151 * HOUR), half_life=HOUR)
    assert [near.percentile(share) for share in (1 / 3, 0.34)] == [2, 3]


def test_a_peak_gives_way_to_a_higher_one():
    made = histogram((1, 1, 0), (5, 1, 0), half_life=HOUR)
    made.subtract(1, 1, 0)
    assert made.percentile(0) == 6.0
    made.subtract(5, 3, HOUR)
    assert made.empty
    made.subtract(5, 3, HOUR)
    assert made.percentile(1) == 0.0


def test_exponential_buckets_grow_by_a_twentieth():
    assert CPU_CORES.find(0.0099) == 0
    assert CPU_CORES.find(0.01) == 1
    assert [CPU_CORES.start(bucket) for bucket in (0, 1, 2)] == pytest.approx([0.0, 0.01, 0.0205])
    assert CPU_CORES.find(1e9) == CPU_CORES.count - 1
    assert CPU_CORES.start(CPU_CORES.count - 1) >= 1000.0
    assert MEMORY_BYTES.start(1) == pytest.approx(1e7)


@given(st.floats(0, 2000), st.sampled_from([CPU_CORES, TENTHS]))
def test_a_value_lies_in_its_bucket(value, buckets):
    bucket = buckets.find(value)
    assert buckets.start(bucket) <= value * (1 + 1e-9)
    if bucket + 1 < buckets.count:
        assert value <= buckets.start(bucket + 1) * (1 + 1e-9)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 5), st.integers(0, 10**15)), min_size=1, max_size=20))
def test_percentiles_grow_with_their_share(samples):
    made = histogram(*sorted(samples, key=lambda sample: sample[2]), half_life=HOUR)
    found = [made.percentile(share / 10) for share in range(11)]
    assert found == sorted(found)


def test_bad_histograms():
    for make in (
        lambda: LinearBuckets(0, 1),
        lambda: ExponentialBuckets(1, 1, 1.0),
        lambda: DecayingHistogram(TENTHS, 0),
        lambda: histogram((1, -1, 0)),
        lambda: histogram((1, math.nan, 0)),
    ):
        with pytest.raises(InputError, match="wanted"):
            make()


# -- estimates -----------------------------------------------------------------------


def test_confidence_is_the_lesser_of_time_and_samples():
    assert confidence(History(0, DAY, 720)) == 0.5
    assert confidence(History(0, DAY // 4, 1440)) == 0.25
    assert confidence(History(5, 5, 0)) == 0.0


def test_confidence_widens_what_little_is_known():
    base = Amounts(3140, 1000)
    assert with_confidence(base, 0.1, 2.0, 0.5) == Amounts(4521, 1440)  # times 1.2 squared
    assert with_confidence(base, 0.1, 2.0, 0.0) == Amounts(MAX_AMOUNT, MAX_AMOUNT)
    assert with_confidence(base, 1.0, -1.0, 0.0) == Amounts(0, 0)
    assert with_confidence(Amounts(0, 0), 1.0, 1.0, 0.0) == Amounts(0, 0)


def test_margin_minimum_and_cutting():
    assert with_margin(Amounts(3140, 999), 0.1) == Amounts(3454, 1098)
    assert at_least(Amounts(3140, 100), Amounts(200, 400)) == Amounts(3140, 400)
    assert [amount_of(value) for value in (0.999, -5, math.nan, 1e20)] == [0, 0, 0, MAX_AMOUNT]


def test_an_oom_kill_counts_for_more_than_was_used():
    assert oom_memory_bytes(0, 10) == 10 + 100 * 2**20
    assert oom_memory_bytes(2**30, 1) == int(2**30 * 1.2)


def usage(value, buckets, count=1440):
    return histogram(*((value, 0.1, number) for number in range(count)), buckets=buckets)


def test_a_recommendation_from_a_day():
    history = History(0, DAY, 1440)
    found = recommend(usage(1.0, CPU_CORES), usage(1e9, MEMORY_BYTES), history)
    # 1 core lies in bucket 36, which ends at 0.01 * (1.05^37 - 1) / 0.05 = 1.016 cores; 15 % more.
    end = CPU_CORES.start(CPU_CORES.find(1.0) + 1)
    assert found.target.cpu_milli == int(end * 1000) + int(int(end * 1000) * 0.15)
    assert found.upper_bound.cpu_milli == 2 * found.target.cpu_milli
    assert found.lower_bound.cpu_milli == int(found.target.cpu_milli / 1.001**2)


def test_no_history_is_the_minimum_and_no_upper_bound_but_the_users():
    none = DecayingHistogram(CPU_CORES), DecayingHistogram(MEMORY_BYTES), History(0, 0, 0)
    found = recommend_all({"a": none, "b": none}, {"b": ResourcePolicy(Amounts(500, 1), Amounts(400 + 200, 2))})
    assert found["a"].target == Amounts(12, 125 * 2**20)
    assert found["b"].target == Amounts(500, 2)
    little = usage(1.0, CPU_CORES, 1), usage(1e9, MEMORY_BYTES, 1), History(0, 0, 1)
    assert recommend(*little).upper_bound == Amounts(MAX_AMOUNT, MAX_AMOUNT)
    assert recommend(*little).lower_bound == Amounts(25, 250 * 2**20)


def test_bad_estimates():
    with pytest.raises(InputError, match="is above maxAllowed"):
        ResourcePolicy(Amounts(2, 2), Amounts(1, 2))
    with pytest.raises(InputError, match="a pod of 0 containers"):
        recommend(DecayingHistogram(CPU_CORES), DecayingHistogram(MEMORY_BYTES), History(0, 0, 0), 0)
