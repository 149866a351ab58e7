"""Intervals and tests over seeds: against slow twins, and against distributions whose truth is known."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from k8slab.experiments import statistics
from k8slab.experiments.statistics import bootstrap_mean, holm, paired_differences, seeds_needed, sign_flip_p

samples = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


def naive_interval(values: list[float], resamples: int) -> tuple[float, float]:
    """The expanded percentile interval with Python's own dice and the formula as it stands in the paper."""
    n = len(values)
    dice = random.Random(1)
    means = sorted(sum(dice.choices(values, k=n)) / n for _ in range(resamples))
    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    return means[int(tail * resamples)], means[min(int((1 - tail) * resamples), resamples - 1)]


def naive_sign_flip_p(values: list[float]) -> float:
    outcomes = [abs(math.fsum(s * v for s, v in zip(signs, values, strict=True)))
                for signs in itertools.product((1, -1), repeat=len(values))]
    slack = 1e-9 * math.fsum(map(abs, values))
    return sum(outcome >= outcomes[0] - slack for outcome in outcomes) / len(outcomes)


def test_interval_is_near_its_twin() -> None:
    values = np.random.default_rng(7).gamma(2.0, size=10).tolist()
    found = bootstrap_mean(values)
    low, high = naive_interval(values, 20_000)
    # Two bootstraps of one sample differ by their dice: a tail quantile of 10,000 means is good to a few percent.
    assert found.low == pytest.approx(low, abs=0.05 * (high - low))
    assert found.high == pytest.approx(high, abs=0.05 * (high - low))


@given(samples)
def test_interval_holds_the_mean_and_stays_within_the_sample(values: list[float]) -> None:
    found = bootstrap_mean(values)
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= found.low <= found.mean + slack
    assert found.mean - slack <= found.high <= max(values) + slack


@given(samples, st.integers(-10, 10))
@settings(max_examples=25)
def test_interval_moves_with_the_sample(values: list[float], shift: int) -> None:
    here, there = bootstrap_mean(values), bootstrap_mean([value + shift for value in values])
    assert there.low - here.low == pytest.approx(shift, abs=1e-6)
    assert there.high - here.high == pytest.approx(shift, abs=1e-6)


@given(st.floats(-1e9, 1e9), st.integers(2, 20))
def test_equal_values_give_a_point(value: float, n: int) -> None:
    found = bootstrap_mean([value] * n)
    assert (found.mean, found.low, found.high) == (value, value, value)


def test_one_value_has_no_interval() -> None:
    found = bootstrap_mean([3.0])
    assert found.mean == 3.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.holds(1e9)  # it rules out nothing


@pytest.mark.parametrize(
    ("draw", "truth", "least"),
    [("normal", 5.0, 0.92), ("exponential", 1.0, 0.87), ("two values", 0.5, 0.90)],
)
def test_95_percent_intervals_hold_the_truth_about_that_often(
    draw: str, truth: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seeds, as compare() draws by default. A skewed distribution costs a few percent, as is known."""
    monkeypatch.setattr(statistics, "RESAMPLES", 1_000)
    dice = np.random.default_rng(11)
    draws = {
        "normal": lambda: dice.normal(5.0, 2.0, 10),
        "exponential": lambda: dice.exponential(1.0, 10),
        "two values": lambda: dice.integers(0, 2, 10).astype(float),
    }
    hits = np.mean([bootstrap_mean(draws[draw](), seed=i).holds(truth) for i in range(1_000)])
    assert least <= hits <= 0.985


@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=8))
def test_sign_flip_equals_its_twin(values: list[float]) -> None:
    assert sign_flip_p(values) == naive_sign_flip_p(values)


def test_sign_flip_by_hand() -> None:
    # Of the 8 sign patterns of (1, 2, 3), the sums of +++ and --- alone reach 6.
    assert sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8


def test_sign_flip_draws_where_it_cannot_try_all() -> None:
    dice = np.random.default_rng(3)
    values = dice.normal(0.4, 1.0, 40)
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue, abs=0.01)
    assert 0.0 < sign_flip_p(dice.normal(9.0, 1.0, 40)) < 1e-4


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_its_twin(p_values: list[float]) -> None:
    found = holm(p_values)
    m = len(p_values)
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        before = sorted(p_values)[: rank + 1]
        assert found[i] == min(1.0, max((m - k) * p for k, p in enumerate(before)))


def test_what_is_said_of_differences() -> None:
    dice = np.random.default_rng(5)
    baseline = dice.normal(50.0, 5.0, 10)
    # The order moves every policy by 5; paired, a shift of 1 shows through noise of 0.1.
    better = baseline + 1.0 + dice.normal(0.0, 0.1, 10)
    alike = baseline + np.array([0.2, -0.1, 0.1, -0.3, 0.2, -0.2, 0.1, 0.0, -0.1, 0.1])
    found = paired_differences(np.stack([better, alike, baseline, baseline - 2.0]), baseline)
    assert [one.verdict for one in found] == ["higher", "not distinguishable", "equal", "lower"]
    assert [one.distinguishable for one in found] == [True, False, False, True]
    assert found[0].interval.holds(1.0)
    assert not found[0].interval.holds(0.0)
    assert found[1].interval.holds(0.0)


def test_a_few_seeds_say_nothing_however_large_the_difference() -> None:
    baseline = np.array([1.0, 2.0, 3.0])
    assert paired_differences(baseline[None] + 100.0, baseline)[0].verdict == "too few seeds"
    assert paired_differences(baseline[None, :1] + 100.0, baseline[:1])[0].verdict == "too few seeds"


@pytest.mark.parametrize("comparisons", [1, 5, 9, 20])
def test_seeds_needed_are_just_enough(comparisons: int) -> None:
    n = seeds_needed(comparisons)
    assert holm([sign_flip_p(np.ones(n))] * comparisons).max() <= 0.05
    assert holm([sign_flip_p(np.ones(n - 1))] * comparisons).max() > 0.05


def test_policies_that_are_alike_are_seldom_called_different(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine policies that differ from the baseline by luck alone: a false alarm in at most about 5 % of comparisons."""
    monkeypatch.setattr(statistics, "RESAMPLES", 500)
    dice = np.random.default_rng(13)
    alarms = [
        any(one.distinguishable for one in paired_differences(dice.normal(size=(9, 10)), dice.normal(size=10)))
        for _ in range(200)
    ]
    assert np.mean(alarms) <= 0.08
