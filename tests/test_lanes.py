"""The steps that are written in vectors, against the same in numpy or one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.lanes import CHANGED, LANES, OPEN, SAME, carry_lanes, count_equal, raise_lanes, tied
from k8slab.kernels.pair import Pair, score_by_pair
from k8slab.kernels.points import MEAN_BITS, Points, are_whole, score_whole


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
