"""The steps that are written in vectors, against the same in numpy or one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.lanes import LANES, raise_lanes
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
