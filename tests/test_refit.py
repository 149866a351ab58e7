"""Pods tried on other nodes: the kernels against the scalar rules, and what must always hold."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.domain.cluster_autoscaler.estimator import PodGroup, decreasing_order, estimate
from k8slab.domain.cluster_autoscaler.limiter import EstimationLimiter, Threshold
from k8slab.domain.cluster_autoscaler.snapshot import NodeShape, PodShape
from k8slab.kernels.refit import empty_each, empty_in_turn, fill, link, pack_new
from k8slab.kernels.scale_down import Eligibility, worth_trying


def fits(request, free):
    return all(want == 0 or want <= has for want, has in zip(request, free, strict=True))


def naive_fill(classes, request, allowed, free):
    chosen = []
    for c in classes:
        found = [n for n, has in enumerate(free) if allowed[c][n] and fits(request[c], has)]
        chosen.append(found[0] if found else -1)
        if found:
            free[found[0]] = [has - want for has, want in zip(free[found[0]], request[c], strict=True)]
    return chosen


def naive_empty(nodes, where, classes, request, allowed, free, is_open, *, in_turn):
    """Where each pod would go, and which pod of each node fits nowhere."""
    free, is_open, where = [list(has) for has in free], list(is_open), list(where)
    targets, stuck = [-1] * len(classes), []
    order = list(range(len(classes)))
    for node in nodes:
        before, came, failed = [list(has) for has in free], [], -1
        for pod in [p for p in order if where[p] == node]:
            c = classes[pod]
            found = [
                n for n, has in enumerate(free)
                if n != node and is_open[n] and allowed[c][n] and fits(request[c], has)
            ]
            if not found:
                failed = pod
                break
            came.append((pod, found[0]))
            free[found[0]] = [has - want for has, want in zip(free[found[0]], request[c], strict=True)]
        stuck.append(failed)
        if failed < 0:
            for pod, there in came:
                targets[pod] = there
        if failed >= 0 or not in_turn:
            free = before
            continue
        is_open[node] = False
        for pod, there in came:
            where[pod] = there
            order.remove(pod)
            order.append(pod)
    return targets, stuck


@st.composite
def shelves(draw: Any) -> tuple[Any, ...]:
    nodes, pods, kinds = draw(st.integers(0, 6)), draw(st.integers(0, 9)), draw(st.integers(1, 4))
    amounts = st.lists(st.integers(0, 5), min_size=3, max_size=3)
    request = draw(st.lists(amounts, min_size=kinds, max_size=kinds))
    free = draw(st.lists(st.lists(st.integers(-2, 9), min_size=3, max_size=3), min_size=nodes, max_size=nodes))
    yes = st.lists(st.booleans(), min_size=nodes, max_size=nodes)
    allowed = draw(st.lists(yes, min_size=kinds, max_size=kinds))
    classes = draw(st.lists(st.integers(0, kinds - 1), min_size=pods, max_size=pods))
    where = draw(st.lists(st.integers(0, nodes - 1), min_size=pods, max_size=pods)) if nodes else []
    return request, free, allowed, classes if nodes else [], where, draw(yes)


def arrays(request, free, allowed):
    nodes = len(free)
    return (
        np.array(request, dtype=np.int64).reshape(-1, 3),
        np.array(allowed, dtype=np.bool_).reshape(len(request), nodes),
        np.array(free, dtype=np.int64).reshape(nodes, 3),
    )


@given(shelves())
def test_fill_takes_the_first_node_with_room(case):
    request, free, allowed, classes, _, _ = case
    asked, may, room = arrays(request, free, allowed)
    chosen = np.empty(len(classes), dtype=np.int64)
    fill(np.array(classes, dtype=np.int32), asked, may, room, chosen)
    left = [list(has) for has in free]
    assert chosen.tolist() == naive_fill(classes, request, allowed, left)
    assert room.tolist() == left


def lists(where, nodes, pods):
    head = np.full(nodes, -1, dtype=np.int64)
    last, following = head.copy(), np.full(pods, -1, dtype=np.int64)
    link(np.arange(pods), np.array(where, dtype=np.int64), head, last, following)
    return head, last, following


@given(shelves(), st.randoms(use_true_random=False))
def test_emptying_nodes_equals_naive(case, random):
    request, free, allowed, classes, where, is_open = case
    nodes = list(range(len(free)))
    random.shuffle(nodes)
    asked, may, room = arrays(request, free, allowed)
    kinds, opened = np.array(classes, dtype=np.int32), np.array(is_open, dtype=np.bool_)
    for in_turn in (False, True):
        head, last, following = lists(where, len(free), len(classes))
        target, stuck = np.full(len(classes), -1, dtype=np.int64), np.empty(len(nodes), dtype=np.int64)
        rows = np.array(nodes, dtype=np.int64)
        if in_turn:
            empty_in_turn(
                rows, head, last, following, kinds, asked, may, np.arange(len(free)), room.copy(), opened.copy(),
                target, stuck,
            )
        else:
            mine = room.copy()
            empty_each(rows, head, following, kinds, asked, may, mine, opened, target, stuck)
            assert mine.tolist() == free
        targets, failed = naive_empty(nodes, where, classes, request, allowed, free, is_open, in_turn=in_turn)
        assert stuck.tolist() == failed
        moved = [t for t, node in zip(target.tolist(), where, strict=True) if failed[nodes.index(node)] < 0]
        assert moved == [t for t, node in zip(targets, where, strict=True) if failed[nodes.index(node)] < 0]


pod_shapes = st.builds(PodShape, st.integers(0, 1100), st.integers(0, 1100))


@settings(max_examples=200)
@given(
    st.lists(st.tuples(pod_shapes, st.integers(0, 9)), max_size=5),
    st.integers(0, 6),
    st.integers(1, 5),
)
def test_packing_new_nodes_is_the_estimators_rule(given_groups, limit, pods_a_node):
    groups = [PodGroup(shape, count) for shape, count in given_groups]
    template = NodeShape(1000, 1000, pods_a_node)
    limiter = EstimationLimiter([Threshold(limit, 0)])
    found = estimate(groups, template, {}, limiter)
    order = decreasing_order([group.pod for group in groups], template)
    request = np.array([[g.pod.cpu_milli, g.pod.memory_bytes, 1] for g in groups], dtype=np.int64).reshape(-1, 3)
    counts = np.array([groups[n].count for n in order], dtype=np.int64)
    placed, taken = np.zeros(len(groups), dtype=np.int64), np.zeros(3, dtype=np.int64)
    used = pack_new(
        np.array(order, dtype=np.int32), counts, request, np.ones(len(groups), dtype=np.bool_),
        np.array([1000, 1000, pods_a_node]), limit or int(counts.sum()) + len(groups), placed, taken,
    )  # fmt: skip
    assert used == found.nodes
    told = [(n, k) for n, k in zip(order, placed.tolist(), strict=True) if k]
    assert told == list(found.scheduled)
    assert taken[2] == placed.sum()


def test_a_class_that_may_not_use_the_template_leaves_an_empty_node_for_the_next():
    request = np.array([[5, 5, 1], [1, 1, 1]], dtype=np.int64)
    placed, taken = np.zeros(2, dtype=np.int64), np.zeros(3, dtype=np.int64)
    used = pack_new(
        np.array([0, 1], dtype=np.int32), np.array([3, 3]), request, np.array([False, True]), np.array([2, 9, 9]), 5,
        placed, taken,
    )  # fmt: skip
    assert (used, placed.tolist(), taken.tolist()) == (2, [0, 3], [3, 3, 3])


# -- which nodes are worth trying ----------------------------------------------------------

NODE = st.tuples(
    st.booleans(), st.integers(0, 3), st.integers(-1, 1), st.booleans(),
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
)  # fmt: skip


def naive_worth_trying(nodes, unready_enabled, thresholds, gpu_group):
    """cpu and memory are rows 0 and 1, GPUs row 2; state 1 is not ready, 2 unknown."""
    found = []
    for row, (alive, state, group, out, has, holds) in enumerate(nodes):
        if not alive or out or group < 0:
            continue
        shares = [Fraction(holds[r], has[r]) if has[r] else None for r in range(3)]
        if not gpu_group[group] and None in shares[:2]:
            continue  # a share of nothing is an error, whether the node is ready or not
        used = (shares[2] or 0) if gpu_group[group] else max(shares[:2])
        if unready_enabled if state in (1, 2) else used <= thresholds[group]:
            found.append(row)
    return found


@given(st.lists(NODE, max_size=6), st.booleans(), st.lists(st.booleans(), min_size=2, max_size=2))
def test_nodes_worth_trying_equal_naive(nodes, unready_enabled, gpu_group):
    thresholds = [Fraction(1, 2), Fraction(3, 4)]
    alive, state, group, out, has, holds = zip(*nodes, strict=True) if nodes else [()] * 6
    rules = Eligibility(
        1, 2, unready_enabled, np.array(thresholds, dtype=np.float64), np.array([0, 1]), np.array(gpu_group),
        np.array([2]),
    )  # fmt: skip
    found = np.empty(len(nodes), dtype=np.int64)
    count = worth_trying(
        np.array(alive, dtype=np.bool_), np.array(state, dtype=np.int8), np.array(group, dtype=np.int32),
        np.array(out, dtype=np.bool_), np.array(has, dtype=np.int64).reshape(-1, 3).T,
        np.array(holds, dtype=np.int64).reshape(-1, 3).T, rules, found,
    )  # fmt: skip
    assert found[:count].tolist() == naive_worth_trying(nodes, unready_enabled, thresholds, gpu_group)
