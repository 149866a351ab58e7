"""Utilization: kernels against their naive twins, frames against sums done by hand."""

from __future__ import annotations

import itertools
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from k8slab.analysis.utilization import imbalance_percent, utilization_over_time, utilization_quantiles
from k8slab.analysis.utilization import stranded as stranded_frame
from k8slab.analysis.utilization import utilization as utilization_frame
from k8slab.datasets import Cluster, Workload
from k8slab.domain.columns import Codes
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, UnknownName
from k8slab.kernels.utilization import (
    dominant_and_spread,
    multiply_divide,
    quantiles,
    stranded,
    sum_by_code,
    usage,
    utilization,
    window_means,
)
from tests.naive_utilization import (
    naive_dominant_and_spread,
    naive_quantile,
    naive_stranded,
    naive_sums,
    naive_usage,
    naive_utilization,
    naive_window_mean,
)

AMOUNT = st.one_of(st.integers(0, 9), st.integers(0, 2**44))


def ints(shape: Any, elements: Any = AMOUNT, dtype: Any = np.int64) -> Any:
    return arrays(dtype, shape, elements=elements)


@st.composite
def pods_on_nodes(draw: Any) -> dict[str, Any]:
    """Pods, nodes, zones and namespaces, none of each included; some pods unplaced, some rows without a code."""
    counts = {name: draw(st.integers(0, 6)) for name in ("pods", "nodes", "zones", "namespaces")}
    resources = draw(st.integers(3, 5))
    codes = {
        name: draw(ints(counts[many], st.integers(-1, counts[of] - 1), np.int32))
        for name, many, of in (
            ("node_row", "pods", "nodes"), ("namespace", "pods", "namespaces"), ("zone", "nodes", "zones"),
        )
    }
    return {**counts, **codes, "requests": draw(ints((counts["pods"], resources))), "resources": resources}


@given(pods_on_nodes())
def test_usage_equals_naive(case: dict[str, Any]) -> None:
    R = case["resources"]
    sums = [np.full((R, case[name]), -7, dtype=np.int64) for name in ("nodes", "zones", "namespaces")]
    columns = [case[name] for name in ("requests", "node_row", "namespace", "zone")]
    usage(*columns, *sums)
    naive = naive_usage(*(column.tolist() for column in columns), case["zones"], case["namespaces"], R)
    assert [array.tolist() for array in sums] == list(naive)
    placed = case["requests"][case["node_row"] >= 0]
    assert sums[0].sum(axis=1).tolist() == placed.sum(axis=0).tolist()


@given(pods_on_nodes())
def test_sum_by_code_equals_naive(case: dict[str, Any]) -> None:
    sums = np.full((case["resources"], case["nodes"]), -7, dtype=np.int64)
    sum_by_code(np.ascontiguousarray(case["requests"].T), case["node_row"], sums)
    naive = naive_sums(case["requests"].tolist(), case["node_row"].tolist(), case["nodes"], case["resources"])
    assert sums.tolist() == naive


@st.composite
def pods_in_time(draw: Any, amount: Any, instant: Any) -> dict[str, Any]:
    pods, groups, resources = draw(st.integers(0, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    edges = sorted(draw(st.sets(instant, min_size=2, max_size=6)))
    return {
        "requests": draw(ints((pods, resources), amount)),
        "code": draw(ints(pods, st.integers(-1, groups - 1), np.int32)),
        "start_ns": draw(ints(pods, instant)),
        "end_ns": draw(ints(pods, instant)),
        "edges_ns": np.array(edges, dtype=np.int64),
        "groups": groups,
    }


def means_of(case: dict[str, Any]) -> tuple[Any, list[Fraction]]:
    """What the kernel gives, flat, and the exact means."""
    edges, resources = case["edges_ns"].tolist(), case["requests"].shape[1]
    means = np.full((case["groups"], len(edges) - 1, resources), -7.0)
    columns = [case[name] for name in ("requests", "code", "start_ns", "end_ns")]
    window_means(*columns, case["edges_ns"], means)
    lists = [column.tolist() for column in columns]
    exact = [
        naive_window_mean(*lists, lo, hi, g, r)
        for g in range(case["groups"])
        for lo, hi in itertools.pairwise(edges)
        for r in range(resources)
    ]
    return means.ravel().tolist(), exact


@given(pods_in_time(st.integers(0, 1000), st.integers(-50, 50)))
def test_window_means_equal_naive_to_the_last_bit_of_one_division(case: dict[str, Any]) -> None:
    found, exact = means_of(case)
    # The whole windows are added to the quotient, so at most two roundings away.
    assert all(abs(Fraction(f) - e) <= abs(e) * Fraction(2, 2**53) for f, e in zip(found, exact, strict=True))


@given(pods_in_time(st.integers(0, 2**44), st.integers(0, 2**60)))
def test_window_means_of_bytes_over_years_are_close(case: dict[str, Any]) -> None:
    found, exact = means_of(case)
    np.testing.assert_allclose(found, [float(mean) for mean in exact], rtol=1e-12)


def test_window_means_by_hand() -> None:
    """1,000 milli from 5 to 25 in windows of 10: half the first, all the second, half the third."""
    means = np.empty((1, 3, 1))
    column = np.array([[1000]]), np.array([0]), np.array([5]), np.array([25])
    window_means(*column, np.array([0, 10, 20, 30]), means)
    assert means.ravel().tolist() == [500.0, 1000.0, 500.0]


@st.composite
def usages(draw: Any) -> tuple[Any, Any]:
    """requested, allocatable: nodes without a resource, empty, overfull, and no nodes at all."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(0, 5)))
    return draw(ints(shape)), draw(ints(shape))


@given(usages())
def test_utilization_and_spread_equal_naive(case: tuple[Any, Any]) -> None:
    requested, allocatable = case
    percent = np.empty(requested.shape)
    utilization(requested, allocatable, percent)
    np.testing.assert_array_equal(percent, naive_utilization(requested.tolist(), allocatable.tolist()))
    dominant, spread = np.empty((2, requested.shape[1]))
    dominant_and_spread(percent, dominant, spread)
    naive = naive_dominant_and_spread(percent.tolist())
    np.testing.assert_array_equal(dominant, naive[0])
    np.testing.assert_array_equal(spread, naive[1])


@given(
    arrays(np.float64, st.integers(0, 300), elements=st.one_of(st.just(np.nan), st.floats(0, 200))),
    st.lists(st.integers(0, 100), max_size=5),
)
def test_quantiles_equal_naive(values: Any, percents: list[int]) -> None:
    found = np.empty(len(percents))
    quantiles(values, np.array(percents, dtype=np.float64), found)
    np.testing.assert_array_equal(found, [naive_quantile(values.tolist(), percent) for percent in percents])


@given(usages(), st.data())
def test_stranded_equals_naive(case: tuple[Any, Any], data: Any) -> None:
    requested, allocatable = case
    demand = data.draw(ints(requested.shape[0], st.one_of(st.integers(0, 9), st.integers(0, 2**61))))
    amount = np.full(requested.shape, -7, dtype=np.int64)
    stranded(requested, allocatable, demand, amount)
    assert amount.tolist() == naive_stranded(requested.tolist(), allocatable.tolist(), demand.tolist())
    free = np.maximum(allocatable - requested, 0)
    assert (amount >= 0).all()
    assert (amount <= free).all()
    # Some resource is always used up: a node never strands a part of every resource that is asked for.
    asked = demand > 0
    assert not asked.any() or ((amount == 0) & asked[:, None]).any(axis=0).all()


def test_stranded_by_hand() -> None:
    """Pods ask 1 cpu with 4 GiB. 10 cpus and 8 GiB are free: 2 pods' worth, so 8 cpus are stranded."""
    allocatable = np.array([[16], [64], [110]])
    requested = np.array([[6], [56], [3]])
    amount = np.empty((3, 1), dtype=np.int64)
    stranded(requested, allocatable, np.array([1, 4, 0]), amount)
    assert amount.ravel().tolist() == [8, 0, 0]


@given(st.integers(0, 2**53), st.integers(0, 2**62 - 1), st.integers(1, 2**62 - 1))
def test_multiply_divide_equals_python(a: int, b: int, c: int) -> None:
    exact = a * b // c
    found = multiply_divide(a, b, c)
    assert found == exact if exact <= 2**62 else found >= 2**62


# --- frames

GIB = 2**30


def small_placement() -> Any:
    """Four nodes in two zones and none, a gpu on one; three pods placed, one not, one bound before, foreign usage.

    cpu in milli: n0 has 4000 with 1000 + 500 + 250 bound, n1 4000 with 2000, n2 8000 idle, n3 8000 with 100 foreign.
    """
    schema = ResourceSchema.of(["gpu"])
    foreign = np.zeros((4, 4), dtype=np.int64)
    foreign[:2, 3] = 100, GIB
    bound = Workload.of(["old"], [[250, GIB, 1, 0]], schema, namespaces=Codes.of(["ops"]))
    cluster = Cluster.of(
        ["n0", "n1", "n2", "n3"],
        [[4000, 4000, 8000, 8000], [8 * GIB] * 4, [10] * 4, [0, 0, 0, 1000]],
        schema,
        labels={
            "topology.kubernetes.io/zone": Codes.of(["west", "east", "west", None]),
            "disk": Codes.of(["ssd", "ssd", "hdd", "hdd"]),
        },
        foreign=foreign, bound=bound, bound_node=[0],
    )
    workload = Workload.of(
        ["a", "b", "c", "d"],
        [[1000, 2 * GIB, 1], [500, GIB, 1], [2000, 4 * GIB, 1], [99_000, GIB, 1]],
        namespaces=Codes.of(["web", "ops", "web", "huge"]),
        labels={"app": Codes.of(["shop", None, "shop", "sim"])},
    )
    rows = np.array([0, 0, 1, -1])
    return SimpleNamespace(cluster=cluster, workload=workload, node_rows=rows, rows_at_end=rows)


def test_utilization_by_node_by_hand() -> None:
    frame = utilization_frame(small_placement())
    assert frame["node"].tolist() == ["n0", "n1", "n2", "n3"]
    assert frame["zone"].tolist()[:3] == ["west", "east", "west"]
    assert frame["cpu_requested_milli"].tolist() == [1750, 2000, 0, 100]
    assert frame["cpu_utilization_percent"].tolist() == [43.75, 50.0, 0.0, 1.25]
    assert frame["memory_requested_bytes"].tolist() == [4 * GIB, 4 * GIB, 0, GIB]
    assert frame["pods_requested"].tolist() == [3, 1, 0, 0]
    assert frame["gpu_utilization_percent"].isna().tolist() == [True, True, True, False]
    assert frame["dominant_percent"].tolist() == [50.0, 50.0, 0.0, 12.5]
    assert frame["spread_percent"].tolist() == [6.25, 0.0, 0.0, 12.5]


def test_utilization_by_zone_and_label_by_hand() -> None:
    zones = utilization_frame(small_placement(), "zone")
    assert zones["zone"].tolist()[:2] == ["east", "west"]
    assert zones["nodes"].tolist() == [1, 2, 1]
    assert zones["cpu_requested_milli"].tolist() == [2000, 1750, 100]
    assert zones["cpu_allocatable_milli"].tolist() == [4000, 12000, 8000]
    disks = utilization_frame(small_placement(), "disk")
    assert dict(zip(disks["label:disk"], disks["cpu_requested_milli"], strict=True)) == {"hdd": 100, "ssd": 3750}


def test_utilization_by_namespace_by_hand() -> None:
    frame = utilization_frame(small_placement(), "namespace")
    assert frame["namespace"].tolist()[:3] == ["huge", "ops", "web"]
    assert frame["cpu_requested_milli"].tolist() == [0, 750, 3000, 100]
    assert frame["cpu_of_cluster_percent"].tolist() == [0.0, 3.125, 12.5, 100 / 240]
    apps = utilization_frame(small_placement(), "app")
    assert apps["cpu_requested_milli"].tolist() == [3000, 0, 850]


@pytest.mark.parametrize("by", ["node", "zone", "namespace", "disk", "app"])
def test_rows_add_up_to_the_cluster(by: str) -> None:
    placement = small_placement()
    placed = placement.workload.requests[placement.node_rows >= 0].sum(axis=0)
    wanted = placement.cluster.requested()[:3].sum(axis=1) + placed
    frame = utilization_frame(placement, by)
    columns = ["cpu_requested_milli", "memory_requested_bytes", "pods_requested"]
    assert frame[columns].sum().tolist() == wanted.tolist()


def test_an_unknown_label_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'dsik'; did you mean 'disk'"):
        utilization_frame(small_placement(), "dsik")


def test_quantiles_of_nodes_by_hand() -> None:
    frame = utilization_quantiles(small_placement(), (0, 50, 100))
    assert frame["cpu_utilization_percent"].tolist() == [0.0, 1.25, 50.0]
    assert frame["gpu_utilization_percent"].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match="from 0 to 100"):
        utilization_quantiles(small_placement(), (0.5, 101))


def test_stranded_frame_by_hand() -> None:
    """Further pods would ask 1 cpu with 4 GiB: n0 has 2.25 cpus and 4 GiB free, so takes one and strands 1.25 cpus."""
    frame = stranded_frame(small_placement(), {"cpu": 1000, "memory": 4 * GIB})
    assert frame["cpu_free_milli"].tolist() == [2250, 2000, 8000, 7900]
    assert frame["cpu_stranded_milli"].tolist() == [1250, 1000, 6000, 6150]
    assert frame["cpu_stranded_percent"].tolist()[:2] == [31.25, 25.0]
    assert frame["memory_stranded_bytes"].tolist() == [0, 0, 0, 0]
    with pytest.raises(UnknownName, match="resource 'cpus'; did you mean 'cpu'"):
        stranded_frame(small_placement(), {"cpus": 1})


def test_imbalance_by_hand() -> None:
    """Dominant utilizations 50, 50, 0 and 12.5: mean 28.125, deviations 21.875 (twice), 28.125, 15.625."""
    assert imbalance_percent(small_placement()) == pytest.approx(((2 * 21.875**2 + 28.125**2 + 15.625**2) / 4) ** 0.5)


def test_utilization_over_time_by_hand() -> None:
    requests = np.array([[1000, GIB, 1], [500, GIB, 1]])
    frame = utilization_over_time(
        requests, np.array([0, 5]), np.array([10, 15]), [0, 10, 20],
        group=Codes.of(["web", "ops"]), allocatable=np.array([[2000, 1000], [GIB, GIB], [10, 0]]),
    )
    assert frame["namespace"].tolist() == ["web", "ops", "web", "ops"]
    assert frame["cpu_requested_milli"].tolist() == [1000.0, 250.0, 0.0, 250.0]
    assert frame["cpu_utilization_percent"].tolist() == [50.0, 25.0, 0.0, 25.0]
    assert frame["pods_utilization_percent"].isna().tolist() == [False, True, False, True]
    with pytest.raises(InputError, match="rising edges"):
        utilization_over_time(requests, np.array([0, 5]), np.array([10, 15]), [0, 0])
