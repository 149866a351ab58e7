"""The steps that are written in vectors, against the same in numpy or one by one."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.lanes import CHANGED, LANES, OPEN, SAME, carry_lanes, count_equal, raise_lanes, tied
from k8slab.kernels.pair import Pair, score_by_pair
from k8slab.kernels.points import MEAN_BITS, Points, are_whole, enter_whole, score_slots, score_whole


@borrowing_kernel
def _raise(rows, child, row, held, counts):
    changed = False
    for c in range(0, rows.shape[1], LANES):
        if held is None:
            changed |= raise_lanes(rows, child, row, c, None, 0, counts, 0)
        else:
            changed |= raise_lanes(rows, child, row, c, held, 1, counts, 0)
    return changed


@pytest.mark.parametrize(("held", "counts"), [(None, "u1"), ("u1", "u1"), ("u1", "u2"), ("u2", "u2")])
@settings(max_examples=40)
@given(dtype=st.sampled_from(["u1", "u2", "u4"]), seed=st.integers(0, 2**32), values=st.integers(1, 9))
def test_a_row_is_the_maxima_of_eight_and_how_many_have_them(held, counts, dtype, seed, values):
    draw = np.random.default_rng(seed)
    rows = (draw.integers(0, values, (12, 2 * LANES)) + np.iinfo(dtype).max - values).astype(dtype)
    there = np.ones((9, 2 * LANES), "u1") if held is None else draw.integers(0, 32, (9, 2 * LANES)).astype(held)
    found = np.zeros((1, 2 * LANES), counts)
    most = rows[2:10].max(axis=0)
    many = (there[1:] * (rows[2:10] == most).astype("u2")).sum(axis=0)
    changes = bool((rows[11] != most).any() or many.any())
    assert _raise(rows, 2, 11, None if held is None else there, found) == changes
    assert rows[11].tolist() == most.tolist()
    assert found[0].tolist() == many.tolist()
    assert not _raise(rows, 2, 11, None if held is None else there, found)


@borrowing_kernel
def _carry(rows, was, held, had, counts, kept):
    told = np.int64(SAME)
    for c in range(0, rows.shape[1], LANES):
        if held is None:
            told = max(told, carry_lanes(rows, 4, 11, c, was, None, 0, None, counts, 0, kept))
        else:
            told = max(told, carry_lanes(rows, 4, 11, c, was, held, 3, had, counts, 0, kept))
    return told


@pytest.mark.parametrize(("held", "counts"), [(None, "u1"), ("u1", "u1"), ("u1", "u2"), ("u2", "u2")])
@settings(max_examples=40)
@given(dtype=st.sampled_from(["u1", "u2", "u4"]), seed=st.integers(0, 2**32), values=st.integers(1, 9))
def test_a_change_is_carried_as_if_all_eight_were_looked_at(held, counts, dtype, seed, values):
    draw = np.random.default_rng(seed)
    rows = (draw.integers(0, values, (12, 2 * LANES)) + np.iinfo(dtype).max - values).astype(dtype)
    there = np.ones((9, 2 * LANES), "u1") if held is None else draw.integers(1, 32, (9, 2 * LANES)).astype(held)
    found = np.zeros((1, 2 * LANES), counts)
    given_held = None if held is None else there
    _raise(rows, 2, 11, given_held, found)
    was, had, kept = rows[4:5].copy(), there[3:4].copy(), np.zeros_like(found)
    before, many_before = rows[11].copy(), found[0].copy()
    some = draw.random(2 * LANES) < draw.choice([0, 0.02, 0.5])
    rows[4] = np.where(some, (draw.integers(0, values + 1, 2 * LANES) + np.iinfo(dtype).max - values), rows[4])
    if held is not None:
        there[3] = np.where(some, draw.integers(1, 32, 2 * LANES), there[3])
    most = rows[2:10].max(axis=0)
    many = (there[1:] * (rows[2:10] == most).astype("u2")).sum(axis=0)
    told = _carry(rows, was, given_held, None if held is None else had, found, kept)
    assert was[0].tolist() == before.tolist()
    assert kept[0].tolist() == many_before.tolist()
    if told == OPEN:
        assert (most < before).any()
        _raise(rows, 2, 11, given_held, found)
    else:
        assert told == (CHANGED if (most != before).any() or (many != many_before).any() else SAME)
    assert rows[11].tolist() == most.tolist()
    assert found[0].tolist() == many.tolist()


@borrowing_kernel
def _tied(rows, row, c, best, counts):
    if counts is None:
        return tied(rows, row, c, best, None, 0)
    return tied(rows, row, c, best, counts, 1)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_a_count_counts_where_the_row_has_the_best(dtype):
    rows, counts = np.array([[1, 2], [3, 250]], dtype), np.array([[0, 0], [7, 255]], "u1")
    best = rows[1, 1]
    assert _tied(rows, 1, 1, best, None) == 1
    assert _tied(rows, 1, 1, best, counts) == 255
    assert _tied(rows, 1, 0, best, counts) == _tied(rows, 0, 1, best, None) == 0


@borrowing_kernel
def _count_equal(numbers, first, wanted):
    return count_equal(numbers, first, wanted)


@given(seed=st.integers(0, 2**32), values=st.sampled_from([1, 3, 256]), first=st.sampled_from([0, 7, LANES]))
def test_equal_numbers_are_counted_32_at_once(seed, values, first):
    numbers = (255 - np.random.default_rng(seed).integers(0, values, (1, 2 * LANES))).astype(np.uint8)
    for wanted in (numbers[0, first], np.uint8(255), np.uint8(0)):
        assert _count_equal(numbers, first, wanted) == (numbers[0, first : first + LANES] == wanted).sum()


@settings(max_examples=150)
@given(
    has=st.tuples(*[st.sampled_from([1, 4, 100, 1600, 2**17, 2**21 - 1, 2**30 - 1])] * 2),
    least=st.booleans(),
    weights=st.tuples(st.integers(0, 3), st.integers(1, 100), st.integers(1, 100), st.integers(0, 3)),
    seed=st.integers(0, 2**32),
)
def test_whole_points_are_those_of_the_pair(has, least, weights, seed):
    draw = np.random.default_rng(seed)
    steps = np.array([[max(amount // 8, 1)] for amount in has]) if seed % 2 else np.ones((2, 1))
    request = (
        draw.integers(0, 9, (2, LANES)) * steps
        if seed % 2
        else draw.integers(0, np.array(has)[:, None] + 2, (2, LANES))
    )
    request, has = request.astype(np.float64), np.array(has, dtype=np.float64)
    holds = np.floor(has * draw.choice([0, 0.25, 0.37, 0.5, 1.0], 2))
    pair = Pair(0, 1, least, np.array(weights, dtype=np.float64))
    whole = weights[1] + weights[2]
    share = np.array(weights[1:3]) * -(-(1 << MEAN_BITS) // whole)
    balance = np.where(request.sum(axis=0) > 0, weights[3], 0).astype(np.int32)
    points = Points(share.astype(np.int32), weights[0], balance[None])
    wanted = np.zeros(LANES, np.int32)
    score_by_pair(has, holds, request, 7.0, pair, wanted)
    fits = ((holds[:, None] + request <= has[:, None]) | (request <= 0)).all(axis=0)
    allowed = -draw.integers(0, 2, (2, LANES)).astype(np.int32)
    best = np.zeros((3, LANES), np.uint16)
    if not are_whole(has, holds, pair, points):
        assert not least
        assert has.max() >= 2**21
        return
    score_whole(has, holds, request, 7.0, pair, points, allowed, 1, best, 2)
    assert best[2].tolist() == (wanted * fits & allowed[1]).tolist()
    assert not best[:2].any()


def test_what_is_not_whole_is_left_to_the_pair():

    pair = Pair(0, 1, True, np.ones(4))
    points = Points(np.array([1, 1], np.int32), 1, np.zeros((1, LANES), np.int32))
    has, none = np.array([10.0, 20.0]), np.zeros(2)
    assert are_whole(has, none, pair, points)
    assert not are_whole(np.array([0.0, 20.0]), none, pair, points)
    assert not are_whole(np.array([2.0**30, 20.0]), none, pair, points)
    assert not are_whole(has, np.array([11.0, 0.0]), pair, points)
    assert not are_whole(has, none, pair, points._replace(share=np.zeros(2, np.int32)))


@borrowing_kernel
def _slots(has, holds, pair, ask, whole, first, left, part, raised, found):
    """Score one pod on nodes that stand in the slots from `first` on. has, holds : float64[2, M]"""
    for i in range(has.shape[1]):
        enter_whole(has[:, i], holds[:, i], pair, left, part, raised, first + i)
    weights = (whole[0], whole[1], whole[2], whole[3], whole[4])
    return score_slots(left, part, raised, first, ask[0], ask[1], weights, found)


def naive_slot(can, held, ask, weights, bonus):
    """1 + the score of a node, 0 where the pod doesn't fit; and the balance before it is floored."""
    left = [Fraction(c - h - a) for c, h, a in zip(can, held, ask, strict=True)]
    of_use, *of_each, of_balance = weights
    percent = [floor(100 * free / c) for free, c in zip(left, can, strict=True)]
    mean = floor(Fraction(sum(w * p for w, p in zip(of_each, percent, strict=True)), sum(of_each)))
    balance = 100 * (1 - abs(left[0] / can[0] - left[1] / can[1]) / 2)
    points = 1 + of_use * mean + (of_balance if any(ask) else 0) * floor(balance) + bonus
    return (points if min(left) >= 0 else 0), balance


@settings(max_examples=150)
@given(
    shape=st.tuples(*[st.sampled_from([1, 4, 100, 1600, 2**17, 2**30 - 1])] * 2),
    ask=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    weights=st.tuples(st.integers(0, 3), st.integers(1, 100), st.integers(1, 100), st.integers(0, 3)),
    seed=st.integers(0, 2**32),
)
def test_a_pods_points_on_many_nodes_are_those_of_fractions(shape, ask, weights, seed):
    draw, first, nodes, slots = np.random.default_rng(seed), 8, 13, 16
    can = np.array(shape)[:, None] * draw.integers(1, 3, (2, nodes))
    can = np.minimum(can, 2**30 - 1)
    held = np.floor(can * draw.choice([0, 0.25, 0.37, 0.5, 1.0], (2, nodes))).astype(np.int64)
    ask = [amount * max(most // 50, 1) for amount, most in zip(ask, shape, strict=True)]
    share = np.array(weights[1:3]) * -(-(1 << MEAN_BITS) // (weights[1] + weights[2]))
    whole = np.array([*share, weights[0], weights[3] if any(ask) else 0, 1 + 7], dtype=np.int32)
    pair = Pair(0, 1, True, np.array(weights, dtype=np.float64))
    left, part = np.full((2, first + slots), -np.inf), np.ones((2, first + slots))
    raised, found = np.zeros((1, first + slots), np.int32), np.full((1, slots), -9, np.int32)
    asked = np.array(ask, dtype=np.float64)
    is_open = _slots(can * 1.0, held * 1.0, pair, asked, whole, first, left, part, raised, found)
    wanted = [naive_slot(c, h, ask, weights, 7) for c, h in zip(can.T.tolist(), held.T.tolist(), strict=True)]
    if is_open:
        assert any(points and abs(balance - round(balance)) < 1e-6 for points, balance in wanted)
    else:
        assert found[0].tolist() == [points for points, _ in wanted] + [0] * (slots - nodes)


def test_no_pod_fits_into_an_empty_slot():
    left, part, raised = np.full((2, 8), -np.inf), np.ones((2, 8)), np.zeros((1, 8), np.int32)
    found, whole, none = np.full((1, 8), 5, np.int32), np.ones(5, np.int32), np.zeros((2, 0))
    assert not _slots(none, none, Pair(0, 1, True, np.ones(4)), np.zeros(2), whole, 0, left, part, raised, found)
    assert not found.any()
