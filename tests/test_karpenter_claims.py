"""Simulated scheduling by Karpenter's rules: the kernels against the slow twin, and what holds of any answer."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.kernels import claims
from tests.naive_karpenter import MOVING, Problem, can_hold, scheduled

FAILED = {"STUCK": claims.STUCK, "MANY": claims.MANY, "UPCOMING": claims.UPCOMING}


@st.composite
def problems(draw, most_pods=9):
    """Small amounts, so that rooms are just enough or just not; some of every list may be empty."""
    resources = draw(st.integers(1, 2))
    amounts = st.lists(st.integers(0, 4), min_size=resources, max_size=resources)
    classes = draw(st.integers(1, 4))
    nodes, options, pools = draw(st.integers(0, 4)), draw(st.integers(0, 5)), draw(st.integers(1, 2))
    pods = draw(st.integers(0, most_pods))

    def some(item, count):
        return draw(st.lists(item, min_size=count, max_size=count))

    yes = st.sampled_from([True, True, True, False])
    roomy = st.lists(st.integers(-1, 9), min_size=resources, max_size=resources)
    return Problem(
        duty=some(st.integers(0, 2), pods),
        pod_class=some(st.integers(0, classes - 1), pods),
        request=some(amounts, classes),
        allowed=[some(yes, nodes) for _ in range(classes)],
        free=some(roomy, nodes),
        is_open=some(yes, nodes),
        ready=draw(st.integers(0, nodes)),
        on_option=[some(yes, options) for _ in range(classes)],
        room=some(roomy, options),
        capacity=some(amounts, options),
        pool=some(st.integers(0, pools - 1), options),
        remaining=some(st.lists(st.integers(-1, 20), min_size=resources, max_size=resources), pools),
    )


def arrays(problem):
    resources, classes = len(problem.request[0]), len(problem.request)

    def whole(rows, *shape):
        return np.array(rows, dtype=np.int64).reshape(shape)

    return {
        "pod_class": np.array(problem.pod_class, dtype=np.int32),
        "request": whole(problem.request, classes, resources),
        "allowed": np.array(problem.allowed, dtype=np.bool_).reshape(classes, len(problem.free)),
        "free": whole(problem.free, len(problem.free), resources),
        "is_open": np.array(problem.is_open, dtype=np.bool_),
        "ready": problem.ready,
        "on_option": np.array(problem.on_option, dtype=np.bool_).reshape(classes, len(problem.room)),
        "room": whole(problem.room, len(problem.room), resources),
        "capacity": whole(problem.capacity, len(problem.room), resources),
        "pool": whole(problem.pool, len(problem.pool)),
        "remaining": whole(problem.remaining, len(problem.remaining), resources),
    }


@settings(max_examples=200, deadline=None)
@given(problems(), st.booleans(), st.integers(1, 9))
def test_scheduling_equals_naive(problem, strict, most):
    pods, given_ = len(problem.pod_class), arrays(problem)
    target = np.full(pods, -1, dtype=np.int64)
    left = np.zeros((most + 1, len(problem.room)), dtype=np.bool_)
    used, count = np.zeros((most + 1, len(problem.request[0])), dtype=np.int64), np.zeros(most + 1, dtype=np.int64)
    found = claims.schedule(
        np.arange(pods), np.array(problem.duty, dtype=np.int8), strict, **given_, most=most, target=target, left=left,
        used=used, count=count,
    )  # fmt: skip
    expected = scheduled(problem, range(pods), strict=strict, most=most)
    if isinstance(expected, str):
        assert found == FAILED[expected]
        return
    where, opened = expected
    assert found == len(opened)
    for number, claim in enumerate(opened):
        assert np.flatnonzero(left[number]).tolist() == claim.options
        assert np.flatnonzero(target == len(problem.free) + number).tolist() == claim.pods
        # What a claim promises: whichever of its options comes, it holds all its pods.
        assert all(can_hold(problem, g, claim.pods[: n + 1]) for g in claim.options for n in range(len(claim.pods)))
    assert {pod: int(node) for pod, node in enumerate(target) if 0 <= node < len(problem.free)} == where
    assert (given_["free"] >= np.minimum(np.array(problem.free).reshape(given_["free"].shape), 0)).all()


@settings(max_examples=200, deadline=None)
@given(problems(), st.data())
def test_the_first_node_that_could_go_equals_naive(problem, data):
    pods, options, count = len(problem.pod_class), len(problem.room), len(problem.free)
    nodes = data.draw(st.permutations(range(problem.ready))) if problem.ready else []
    home = data.draw(st.lists(st.integers(-1, max(len(nodes) - 1, -1)), min_size=pods, max_size=pods))
    price = data.draw(st.lists(st.integers(0, 9), min_size=len(nodes), max_size=len(nodes)))
    option_price = data.draw(st.lists(st.integers(0, 9), min_size=options, max_size=options))
    problem.duty = [MOVING if n >= 0 else duty % 2 for n, duty in zip(home, problem.duty, strict=True)]
    expected, outcomes = None, []
    for n, node in enumerate(nodes):
        queue = [pod for pod in range(pods) if home[pod] in (-1, n)]
        answer = scheduled(problem, queue, closed=(node,), strict=True, most=1)
        if isinstance(answer, str):
            outcomes.append({"STUCK": claims.NO_ROOM, "MANY": claims.TOO_MANY, "UPCOMING": claims.NOT_YET}[answer])
            continue
        cheaper = not answer[1] or any(option_price[g] < price[n] for g in answer[1][0].options)
        outcomes.append((claims.REPLACE if answer[1] else claims.DELETE) if cheaper else claims.TOO_DEAR)
        if cheaper:
            expected = answer
            break
    given_ = arrays(problem)
    outcome = np.zeros(len(nodes), dtype=np.int8)
    target, left = np.full(pods, -1, dtype=np.int64), np.zeros((2, options), dtype=np.bool_)
    by_node = [[pod for pod in range(pods) if home[pod] == n] for n in range(len(nodes))]
    head = np.cumsum([0, *map(len, by_node)])
    base = np.array([pod for pod in range(pods) if home[pod] < 0], dtype=np.int64)
    before = given_["free"].copy()
    found = claims.first_move(
        0, np.array(nodes, dtype=np.int64), np.array(price, dtype=np.float64), head,
        np.array([pod for mine in by_node for pod in mine], dtype=np.int64), base,
        np.array(problem.duty, dtype=np.int8),
        start=np.zeros(len(problem.request), dtype=np.int64), **given_,
        option_price=np.array(option_price, dtype=np.float64), outcome=outcome, target=target, left=left,
    )  # fmt: skip
    assert outcome[: len(outcomes)].tolist() == outcomes
    assert (outcome[len(outcomes) :] == claims.UNTRIED).all()
    assert found == (len(nodes) if expected is None else len(outcomes) - 1)
    np.testing.assert_array_equal(given_["free"], before)
    if expected is not None:
        where, opened = expected
        assert all(target[pod] == node for pod, node in where.items())
        assert not opened or np.flatnonzero(left[0]).tolist() == opened[0].options
        assert count == len(given_["free"])


def test_an_example_by_hand():
    """Two pods of 3 and one of 2 on options of 4 and 8: the first opens, the second narrows to the large, the last
    opens nothing but goes where pods are fewest that hold it."""
    problem = Problem(
        duty=[0, 0, 0], pod_class=[0, 0, 1], request=[[3], [2]], allowed=[[], []], free=[], is_open=[], ready=0,
        on_option=[[True, True], [True, True]], room=[[4], [8]], capacity=[[4], [8]], pool=[0, 0], remaining=[[100]],
    )  # fmt: skip
    where, opened = scheduled(problem, range(3))
    assert where == {}
    assert [(claim.options, claim.pods) for claim in opened] == [([1], [0, 1, 2])]
    problem.remaining = [[7]]
    assert scheduled(problem, range(3), most=5)[1][0].options == [0]
