"""The kernels of GPU devices equal their slow twins, keep their promises, and give what the hand gives."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from k8slab.experiments.fgd_run import _CODES, LARGEST
from k8slab.experiments.go_random import GoRandom
from k8slab.kernels import _jit, gpu
from k8slab.policies.gpu_shapes import shapes_of, typical_of
from tests import naive_gpu as naive

MODELS = ("T4", "P100")
SHAPES = st.tuples(
    st.sampled_from([0, 1000, 4000, 4000, 9000, 32_000]),
    st.sampled_from([(0, 0), (1, 1), (100, 1), (460, 1), (500, 1), (999, 1), (1000, 1), (1000, 2), (1000, 4)]),
    st.sampled_from(["", "", "T4", "T4|P100|P100"]),
).map(lambda drawn: (drawn[0], *drawn[1], drawn[2] if drawn[1][1] else ""))
NODES = st.lists(
    st.tuples(st.sampled_from([8000, 40_000, 128_000]), st.integers(0, 8), st.integers(1, 8), st.integers(0, 1)),
    min_size=1, max_size=6,
)
CASES = st.tuples(
    NODES,
    st.lists(SHAPES, min_size=1, max_size=6, unique=True).flatmap(
        lambda shapes: st.tuples(
            st.just(shapes),
            st.lists(st.tuples(st.integers(0, len(shapes) - 1), st.integers(0, 4)), max_size=30),
            st.lists(st.integers(1, 40), min_size=len(shapes), max_size=len(shapes)),
        )
    ),
)
policies = pytest.mark.parametrize("policy", naive.SCORES)


def empty_nodes(rows):
    """rows : [(cpu, memory, devices, model)]"""
    cpu, memory, devices, model = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return gpu.idle_nodes(cpu, memory, devices, model, int(devices.max()))


def naive_nodes(nodes):
    rows = zip(*(column.tolist() for column in nodes[:5]), strict=True)
    return [naive.Node(cpu, memory, milli[:n], model) for cpu, memory, milli, n, model in rows]


def pod_of(shape, memory=0):
    cpu, milli, count, spec = shape
    accepted = [m for m, model in enumerate(MODELS) if not spec or model in spec.split("|")]
    return naive.Pod(cpu, memory, milli, count, frozenset(accepted))


def placed_by_kernel(policy, nodes, shapes, pods, typical, seed=1):
    pod_shape, pod_memory = (np.array([pod[part] for pod in pods], dtype=np.int64) for part in (0, 1))
    compiled = shapes_of(shapes, MODELS)
    placed = gpu.Placed(*(np.zeros(len(pods), dtype=np.int64) for _ in range(3)))
    scratch = gpu.scratch_for(nodes, compiled, len(pods))
    state = GoRandom(seed).state()
    gpu.place(_CODES[policy], nodes, compiled, pod_shape, pod_memory, typical, LARGEST, scratch, *state, placed)
    return placed


@policies
@given(case=CASES)
def test_placing_equals_naive(policy, case):
    rows, (shapes, pods, counts) = case
    nodes = empty_nodes(rows)
    twins = naive_nodes(nodes)
    taken = list(zip(shapes, counts, strict=True))
    typical = typical_of(taken, sum(counts) + 3, MODELS)
    weighed = [(weight, pod_of(shape)) for weight, shape in zip(typical.weight.tolist(), shapes, strict=True)]
    expected = naive.naive_place(policy, twins, [pod_of(shapes[s], memory) for s, memory in pods], weighed)
    placed = placed_by_kernel(policy, nodes, shapes, pods, typical)
    assert placed.node.tolist() == [node for node, _, _ in expected]
    assert placed.devices.tolist() == [sum(1 << j for j in devices) for _, devices, _ in expected]
    assert placed.fragmented / typical.total == pytest.approx([amount for *_, amount in expected], abs=1e-6)
    check_nodes(nodes, twins)


def check_nodes(nodes, twins):
    """What is kept beside the devices is what a count of them gives."""
    assert nodes.milli.min() >= 0
    assert nodes.cpu.tolist() == [node.cpu for node in twins]
    assert nodes.memory.tolist() == [node.memory for node in twins]
    for i, node in enumerate(twins):
        assert nodes.milli[i, : nodes.devices[i]].tolist() == node.gpus
        assert not nodes.milli[i, nodes.devices[i] :].any()
        assert (nodes.idle[i], nodes.whole[i]) == (sum(node.gpus), node.gpus.count(1000))
        tags = [node.tags.get("share", 0), *(node.tags.get(f"{k}-gpu", 0) for k in range(1, nodes.tags.shape[1]))]
        assert nodes.tags[i].tolist() == tags
        assert nodes.kinds[i] == len(node.tags)


@given(case=CASES, seed=st.integers(0, 2**63 - 1))
def test_random_placement_keeps_within_capacity_and_fails_only_where_nothing_fits(case, seed):
    rows, (shapes, pods, counts) = case
    nodes = empty_nodes(rows)
    twins = naive_nodes(nodes)
    typical = typical_of(list(zip(shapes, counts, strict=True)), sum(counts), MODELS)
    placed = placed_by_kernel("01-Random", nodes, shapes, pods, typical, seed)
    for (s, memory), node, bits in zip(pods, placed.node.tolist(), placed.devices.tolist(), strict=True):
        pod = pod_of(shapes[s], memory)
        feasible = [i for i, twin in enumerate(twins) if naive.naive_fits(twin, pod)]
        assert node in (feasible or [-1])
        if node >= 0:
            devices = [j for j in range(8) if bits >> j & 1]
            assert len(devices) == pod.count
            naive.naive_take(twins[node], pod, devices)
    check_nodes(nodes, twins)


def test_random_takes_every_feasible_node_and_device_as_often():
    nodes = empty_nodes([(128_000, 9, 2, 0)] * 4)
    shape = (0, 1, 1, "")
    typical = typical_of([(shape, 1)], 1, MODELS)
    placed = placed_by_kernel("01-Random", nodes, [shape], [(0, 0)] * 4000, typical)
    chosen = np.bincount(2 * placed.node + placed.devices - 1, minlength=8)
    # 500 each, give or take five standard deviations.
    assert (np.abs(chosen - 500) < 5 * np.sqrt(4000 * 1 / 8 * 7 / 8)).all()


GPUS = st.lists(st.integers(0, 1000), min_size=1, max_size=8)


@given(GPUS, st.integers(0, 40_000), st.integers(0, 1), st.lists(st.tuples(SHAPES, st.integers(1, 9)), min_size=1))
def test_both_forms_of_fragmentation_equal_naive(gpus, cpu, model, taken):
    typical = typical_of(taken, sum(count for _, count in taken) + 1, MODELS)
    weighed = [(weight, pod_of(shape)) for weight, (shape, _) in zip(typical.weight.tolist(), taken, strict=True)]
    classes = np.empty(7)
    total = gpu.fragment(cpu, np.array(gpus), len(gpus), model, typical, classes)
    expected = naive.naive_classes(cpu, gpus, model, weighed)
    assert total == naive.naive_fragment(cpu, gpus, model, weighed)
    assert classes.tolist() == [expected[name] for name in ("q1", "q2", "q3", "q4", "xl", "xr", "no_access")]
    assert classes.sum() == pytest.approx(sum(gpus))
    node = empty_nodes([(cpu, 0, len(gpus), model)])
    node.milli[0], node.idle[0], node.whole[0] = gpus, sum(gpus), gpus.count(1000)
    assert gpu.fragment_exactly(node, 0, typical) / typical.total == pytest.approx(total, abs=1e-6)


def test_fragmentation_by_hand():
    """A node with 4 cores and devices of 300 and 1000; typical pods in quarters, each in another class."""
    typical = typical_of(
        [((1000, 0, 0, ""), 1), ((1000, 500, 1, ""), 1), ((9000, 500, 1, ""), 1), ((1000, 500, 1, "P100"), 1)],
        4,
        MODELS,
    )
    classes = np.empty(7)
    total = gpu.fragment(4000, np.array([300, 1000]), 2, 0, typical, classes)
    # q1, q2: 300 are too few; q3: 1000 serve; q4: 9 cores aren't there; xl; xr; no access
    assert classes.tolist() == [0.0, 75.0, 250.0, 325.0, 325.0, 0.0, 325.0]
    assert total == 1050.0


def test_scores_by_hand():
    node = empty_nodes([(64_000, 0, 8, 0)])
    assert gpu.dot_product(64_000, 4000, 128_000, 8000, LARGEST) == 50
    assert gpu.best_fit(64_000, 4000, 64_000, 4000, LARGEST) == 100
    assert gpu.best_fit(128_000, 8000, 0, 0, LARGEST) == 0
    assert gpu.gpu_packing(node, 0, 1000, 1) == 25  # an idle node of 8
    assert gpu.gpu_clustering(node, 0, 500, 1, LARGEST) == 25  # empty
    shapes = shapes_of([(0, 300, 1, "")], MODELS)
    gpu.take(node, 0, shapes, 0, 0, gpu.first_whole_devices(node, 0, 1))
    assert node.milli[0].tolist() == [700, *[1000] * 7]
    assert gpu.gpu_packing(node, 0, 300, 1) == 93
    assert gpu.gpu_packing(node, 0, 1000, 2) == 48
    assert gpu.gpu_clustering(node, 0, 500, 1, LARGEST) == 75
    assert gpu.gpu_clustering(node, 0, 1000, 1, LARGEST) == 0


def test_fgd_prefers_the_device_that_nobody_else_can_use():
    """A quarter of a device goes where 250 are left, not where 600 serve the typical half."""
    node = empty_nodes([(64_000, 0, 2, 0)])
    node.milli[0], node.idle[0], node.whole[0] = [600, 250], 850, 0
    shapes = shapes_of([(0, 250, 1, "")], MODELS)
    typical = typical_of([((0, 500, 1, ""), 1)], 1, MODELS)
    before = gpu.fragment_exactly(node, 0, typical)
    score, device = gpu.fgd(node, 0, before, shapes, 0, typical, gpu.scratch_for(node, shapes, 1))
    assert (before, device) == (250, 1)
    assert score == int(100 / (1 + np.exp(-0.25)))


def test_the_twin_tells_a_wrong_score():
    """The comparison above would see a score that is off by one device."""
    node = naive.Node(8000, 0, [1000, 600], 0)
    pod = naive.Pod(0, 0, 500, 1, frozenset({0}))
    typical = [(1.0, replace(pod, milli=1000))]
    assert naive.naive_fgd(node, pod, typical) == (62, [1])


class Pair(NamedTuple):
    first: np.ndarray
    second: np.ndarray


def _sum_of(pair):
    return pair.first[0] + pair.second[0]


@pytest.mark.parametrize(("options", "counted"), [({}, True), ({"_nrt": False}, False)])
def test_kernels_that_borrow_are_compiled_without_reference_counts(options, counted):
    """What `_jit.borrowing_kernel` asks of numba does what it is for, or placing pods would be 2.7 times slower."""
    inner = njit(**options)(_sum_of)
    outer = njit(**options)(lambda pair: inner(pair) + inner(pair))
    assert outer(Pair(np.array([1]), np.array([2]))) == 6
    compiled = "".join(text for function in (inner, outer) for text in function.inspect_llvm().values())
    assert ("NRT_incref" in compiled or "NRT_decref" in compiled) == counted


def test_the_kernels_here_borrow():
    assert gpu.place.targetoptions["_nrt"] is False


def test_without_the_option_they_are_compiled_all_the_same(monkeypatch):
    monkeypatch.delattr("numba.core.options.DefaultOptions._nrt")
    assert "_nrt" not in _jit.borrowing_kernel(_sum_of).targetoptions
