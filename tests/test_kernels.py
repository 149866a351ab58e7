"""Every kernel of placement equals its slow twin, keeps its promises, and gives what the hand gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from k8slab.kernels import choice, groups
from k8slab.kernels import scores as fast
from k8slab.kernels.scan import NORMALIZED
from tests import naive
from tests.strategies import Pairs, contests, pairs, shapes

GIB = 2**30
SEEDS = st.integers(0, 2**63 - 1)


def filled(kernel: Callable[..., None], *arguments: np.ndarray) -> list[float]:
    """The scores that a kernel writes, into an array that held nonsense before."""
    score = np.full(arguments[0].shape[1], -7.0)
    kernel(*arguments, score)
    return score.tolist()


def fits(case: Pairs) -> list[bool]:
    feasible = np.ones(case.used.shape[1], dtype=np.bool_)
    fast.resource_fit(case.used, case.allocatable, case.request, np.ones(len(case.weight), dtype=np.bool_), feasible)
    return feasible.tolist()


def balanced(used: np.ndarray, allocatable: np.ndarray, request: np.ndarray, resources: int) -> list[float]:
    """BalancedAllocation by the first resources, none of them a scalar one."""
    scalar = np.zeros(resources, dtype=np.bool_)
    return filled(fast.balanced_allocation, used, allocatable, request, np.arange(resources), scalar)


def column(*amounts: float) -> np.ndarray:
    """One node: float64[R, 1]."""
    return np.array(amounts, dtype=np.float64)[:, None]


def vector(*amounts: float) -> np.ndarray:
    return np.array(amounts, dtype=np.float64)


# -- equal to the twins --------------------------------------------------------


@given(pairs())
def test_resource_fit_equals_naive(case):
    feasible = np.ones(case.used.shape[1], dtype=np.bool_)
    fast.resource_fit(case.used, case.allocatable, case.request, case.scalar, feasible)
    assert feasible.tolist() == naive.resource_fit(case.used, case.allocatable, case.request, case.scalar)


@pytest.mark.parametrize("name", ["least_allocated", "most_allocated"])
@given(case=pairs())
def test_scores_of_use_equal_naive(name, case):
    assert filled(getattr(fast, name), *case.of_use) == getattr(naive, name)(*case.of_use)


@given(case=pairs(), data=st.data())
def test_balanced_allocation_equals_naive(case, data):
    rows = data.draw(st.permutations(np.flatnonzero(case.weight).tolist()))
    arguments = (case.used, case.allocatable, case.request, np.array(rows, dtype=np.int64), case.scalar)
    assert filled(fast.balanced_allocation, *arguments) == naive.balanced_allocation(*arguments)


@given(pairs(), shapes())
def test_requested_to_capacity_equals_naive(case, shape):
    arguments = (*case.of_use, *shape)
    assert filled(fast.requested_to_capacity, *arguments) == naive.requested_to_capacity(*arguments)


@pytest.mark.parametrize("name", ["best_fit", "worst_fit"])
@given(case=pairs())
def test_scores_of_what_is_left_equal_naive(name, case):
    assert filled(getattr(fast, name), *case.of_rest) == getattr(naive, name)(*case.of_rest)


@given(pairs())
def test_dot_product_equals_naive(case):
    arguments = (case.used, case.allocatable, case.weight, case.request, case.largest)
    assert filled(fast.dot_product, *arguments) == naive.dot_product(*arguments)


@given(contests())
def test_select_lowest_equals_naive(contest):
    assert choice.select_lowest(*contest) == naive.select_lowest(*contest)


@given(contests(), SEEDS, st.integers(0, 2**40))
def test_select_random_equals_naive(contest, seed, pod_row):
    found = choice.select_random(*contest, np.uint64(seed), np.int64(pod_row))
    assert found == naive.select_random(*contest, seed, pod_row)


@given(SEEDS, st.integers(0, 2**62))
def test_draw01_equals_naive(seed, pod_row):
    draw = choice.draw01(np.uint64(seed), np.int64(pod_row))
    assert draw == naive.draw01(seed, pod_row)
    assert 0.0 <= draw < 1.0


@given(pairs(), st.data(), shapes(), st.lists(st.integers(0, 3), min_size=fast.PLUGINS, max_size=fast.PLUGINS))
def test_score_pairs_is_the_weighted_sum(case, data, shape, plugin_weights):
    held, scored = (data.draw(pairs(case.used.shape)) for _ in range(2))
    rows = np.flatnonzero(case.weight)
    scoring = fast.Scoring(
        plugin_weight=np.array(plugin_weights, dtype=np.float64),
        resource_weight=np.tile(case.weight, (fast.PLUGINS, 1)),
        balanced=rows,
        scalar=case.scalar,
        largest=case.largest,
        shape_x=shape[0],
        shape_y=shape[1],
        normalized=np.zeros(NORMALIZED),
    )
    part, total = np.empty(case.used.shape[1]), np.full(case.used.shape[1], -7.0)
    asked = fast.Asked(case.used, case.request, held.used, held.request, scored.used, scored.request)
    fast.score_pairs(asked, case.allocatable, scoring, part, total)
    use = (scored.used, case.allocatable, scored.request, case.weight, case.scalar)
    twins = {
        fast.LEAST_ALLOCATED: naive.least_allocated(*use),
        fast.MOST_ALLOCATED: naive.most_allocated(*use),
        fast.REQUESTED_TO_CAPACITY: naive.requested_to_capacity(*use, *shape),
        fast.BALANCED_ALLOCATION: naive.balanced_allocation(
            held.used, case.allocatable, held.request, rows, case.scalar
        ),
        fast.BEST_FIT: naive.best_fit(*case.of_rest),
        fast.WORST_FIT: naive.worst_fit(*case.of_rest),
        fast.DOT_PRODUCT: naive.dot_product(case.used, case.allocatable, case.weight, case.request, case.largest),
    }
    sums = [sum(w * twins[p][i] for p, w in enumerate(plugin_weights)) for i in range(len(total))]
    assert total.tolist() == sums


@given(st.lists(st.tuples(*[st.sampled_from([0, 1, -1, 2**40])] * 2), max_size=60))
def test_group_rows_numbers_equal_rows_alike(rows):
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
    group, first = np.full(len(rows), -7, dtype=np.int32), np.full(len(rows), -7)
    count = groups.group_rows(table, group, first)
    distinct = list(dict.fromkeys(rows))
    assert count == len(distinct)
    assert group.tolist() == [distinct.index(row) for row in rows]
    assert first[:count].tolist() == [rows.index(row) for row in distinct]


def test_group_rows_grows_its_table():
    rows = np.arange(40_000, dtype=np.int64)[:, None] // 2
    group, first = np.empty(40_000, dtype=np.int32), np.empty(40_000, dtype=np.int64)
    assert groups.group_rows(rows, group, first) == 20_000
    assert (group == rows[:, 0]).all()
    assert (first[:20_000] == 2 * np.arange(20_000)).all()


# -- properties ----------------------------------------------------------------


@given(pairs())
def test_scores_stay_within_their_range(case):
    for name in ("least_allocated", "most_allocated"):
        assert all(0 <= s <= 100 for s in filled(getattr(fast, name), *case.of_use))
    assert all(0 <= s <= 100 for s in balanced(case.used, case.allocatable, case.request, len(case.weight)))
    for name in ("best_fit", "worst_fit"):
        assert all(0 <= s <= 10_000 for s in filled(getattr(fast, name), *case.of_rest))
    aligned = filled(fast.dot_product, case.used, case.allocatable, case.weight, case.request, case.largest)
    assert all(0 <= s <= 10_000 for s in aligned)


@given(pairs())
def test_a_pod_that_fits_never_over_commits_what_it_asks_for(case):
    for i, fit in enumerate(fits(case)):
        asked = case.request[:, i] > 0
        assert fit == bool((case.used[asked, i] <= case.allocatable[asked, i]).all())


@given(pairs())
def test_resource_fit_never_brings_back_a_node(case):
    feasible = np.zeros(case.used.shape[1], dtype=np.bool_)
    fast.resource_fit(case.used, case.allocatable, case.request, ~case.scalar, feasible)
    assert not feasible.any()


@given(pairs())
def test_least_and_most_allocated_add_up_to_100_or_the_two_floors_less(case):
    assume(case.weight.any())
    least, most = filled(fast.least_allocated, *case.of_use), filled(fast.most_allocated, *case.of_use)
    counted = (case.weight > 0)[:, None] & (case.allocatable > 0) & (~case.scalar[:, None] | (case.request > 0))
    for i in range(len(least)):
        if counted[:, i].any():
            assert 98 <= least[i] + most[i] <= 100


@given(pairs())
def test_best_fit_is_worst_fit_upside_down(case):
    best, worst = filled(fast.best_fit, *case.of_rest), filled(fast.worst_fit, *case.of_rest)
    assert [b + w for b, w in zip(best, worst, strict=True)] == [10_000] * len(best)


@given(contests(), SEEDS)
def test_the_winner_is_feasible_and_none_scores_higher(contest, seed):
    score, feasible = contest
    for row in (choice.select_lowest(*contest), choice.select_random(*contest, np.uint64(seed), np.int64(0))):
        assert (row >= 0) == bool(feasible.any())
        if row >= 0:
            assert feasible[row]
            assert score[row] == score[feasible].max()


def test_random_ties_are_even():
    score, feasible = np.zeros(4), np.array([True, False, True, True])
    rows = [choice.select_random(score, feasible, np.uint64(1), np.int64(p)) for p in range(3_000)]
    counts = np.bincount(rows, minlength=4)
    assert counts[1] == 0
    # Three in four thousand even draws leave this band: 1000 +- 3.7 standard deviations of 25.8.
    assert (abs(counts[[0, 2, 3]] - 1_000) < 95).all()


# -- by hand -------------------------------------------------------------------
# A node of 4 cores and 8 GiB that would hold 1 core and 4 GiB: 25 % and 50 % full.

USED, CAN, BOTH, ASKED = column(1000, 4 * GIB), column(4000, 8 * GIB), vector(1, 1), column(500, GIB)
NEVER = np.array([False, False])
USE = (USED, CAN, ASKED, BOTH, NEVER)


def test_resource_fit_by_hand():
    def fit(used: np.ndarray, asked: np.ndarray) -> list[bool]:
        return fits(Pairs(used, CAN, asked, BOTH, NEVER, vector(1, 1)))

    assert fit(USED, column(500, 0)) == [True]
    assert fit(column(4001, 0), column(500, 0)) == [False]
    # Memory is over-committed, but the pod asks for none.
    assert fit(column(500, 9 * GIB), column(500, 0)) == [True]
    feasible = np.array([True])
    fast.resource_fit(column(4001, 0), CAN, column(500, 0), np.array([False, True]), feasible)
    assert feasible.tolist() == [True]  # cpu isn't checked


def test_kube_scores_by_hand():
    assert filled(fast.least_allocated, *USE) == [62]  # (75 + 50) / 2 = 62.5
    assert filled(fast.most_allocated, *USE) == [37]  # (25 + 50) / 2 = 37.5
    assert filled(fast.most_allocated, *USE[:3], vector(3, 1), NEVER) == [31]  # (3 * 25 + 50) / 4 = 31.25
    assert balanced(USED, CAN, ASKED, 2) == [87]  # 1 - |0.25 - 0.5| / 2 = 0.875


def test_a_scalar_resource_counts_for_pods_that_ask_for_it():
    scalar = np.array([False, True])
    assert filled(fast.least_allocated, USED, CAN, column(500, 0), BOTH, scalar) == [75]
    assert filled(fast.most_allocated, USED, CAN, column(500, 0), BOTH, scalar) == [25]
    assert filled(fast.least_allocated, USED, CAN, column(0, GIB), BOTH, scalar) == [62]
    assert filled(fast.balanced_allocation, USED, CAN, column(500, 0), np.arange(2), scalar) == [100]


def test_balanced_allocation_takes_no_part_for_a_pod_that_asks_for_nothing_of_it():
    assert balanced(USED, CAN, column(0, 0), 2) == [0]
    assert balanced(USED, CAN, column(0, 1), 2) == [87]


def test_balanced_allocation_of_three_by_hand():
    # Fractions 0, 0.5, 1: mean 0.5, sd sqrt(0.5 / 3) = 0.408.
    assert balanced(column(0, 1, 2), column(2, 2, 2), column(0, 1, 0), 3) == [59]
    # A resource that the node lacks is no fraction; of one fraction there is no spread.
    assert balanced(column(1, 0), column(2, 0), column(1, 0), 2) == [100]


def test_requested_to_capacity_by_hand():
    rising, falling = (vector(0, 100), vector(0, 100)), (vector(0, 100), vector(100, 0))
    assert filled(fast.requested_to_capacity, *USE, *rising) == [38]  # (25 + 50) / 2 = 37.5, rounded
    assert filled(fast.requested_to_capacity, *USE, *falling) == [63]  # (75 + 50) / 2 = 62.5
    # A falling line truncates towards its left point: 100 - 100 * 10 / 30 = 100 - 33.
    one = (column(10), column(100), column(1), vector(1), NEVER[:1])
    assert filled(fast.requested_to_capacity, *one, vector(0, 30), vector(100, 0)) == [67]


def test_packing_scores_by_hand():
    largest = vector(8000, 8 * GIB)
    # 3 of 8 cores and 4 of 8 GiB left: (3750 + 5000) / 2.
    assert filled(fast.worst_fit, USED, CAN, BOTH, largest) == [4375]
    assert filled(fast.best_fit, USED, CAN, BOTH, largest) == [5625]


def test_dot_product_by_hand():
    largest, request = vector(4000, 8 * GIB), column(1000, 1 * GIB)
    # Free before the pod: 4 of 4 cores, 5 of 8 GiB. Asked: 2500 and 1250 parts of 10,000.
    # (2500 * 10000 + 1250 * 6250) / 3750 = 8750.
    assert filled(fast.dot_product, USED, CAN, BOTH, request, largest) == [8750]


def test_draws_by_hand():
    # splitmix64's own sequence from state 0 begins with 0xE220A8397B1DCDAF (Vigna's reference code).
    assert naive.splitmix64(naive.GOLDEN) == 0xE220A8397B1DCDAF
    assert choice.draw01(np.uint64(7), np.int64(0)) != choice.draw01(np.uint64(7), np.int64(1))
