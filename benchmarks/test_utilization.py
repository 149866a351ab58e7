"""Utilization of 1,000,000 pods on 100,000 nodes, by node, zone and namespace, against pandas in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from k8slab.kernels.utilization import usage

PODS, NODES, ZONES, NAMESPACES, RESOURCES = 1_000_000, 100_000, 3, 200, 3
AMOUNTS, KEYS = ["cpu", "memory", "pods"], ("node", "zone", "namespace")


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    requests = draw.integers(1, 2**34, (PODS, RESOURCES))
    requests[:, 2] = 1
    return {
        "requests": requests,
        "node_row": draw.integers(-1, NODES, PODS, dtype=np.int32),
        "namespace": draw.integers(0, NAMESPACES, PODS, dtype=np.int32),
        "zone": draw.integers(0, ZONES, NODES, dtype=np.int32),
    }


def by_kernel(columns: dict[str, Any]) -> list[Any]:
    """[R, N], [R, Z] and [R, K] in one call."""
    sums = [np.empty((RESOURCES, groups), dtype=np.int64) for groups in (NODES, ZONES, NAMESPACES)]
    usage(*columns.values(), *sums)
    return sums


def placed_pods(columns: dict[str, Any]) -> pd.DataFrame:
    """What a researcher holds: a row a placed pod, with the names of its node, zone and namespace."""
    placed = columns["node_row"] >= 0
    node = columns["node_row"][placed]
    frame = pd.DataFrame(columns["requests"][placed], columns=AMOUNTS)
    codes = {"node": node, "zone": columns["zone"][node], "namespace": columns["namespace"][placed]}
    return frame.assign(**{key: np.array([f"{key}-{i}" for i in range(NODES)])[code] for key, code in codes.items()})


def by_pandas(pods: pd.DataFrame) -> list[pd.DataFrame]:
    """The same sums by groupby."""
    return [pods.groupby(key)[AMOUNTS].sum() for key in KEYS]


def best_of(rounds: int, work: Callable[[], object]) -> float:
    """The least seconds of several runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def test_usage_of_a_million_pods(benchmark: Any, columns: dict[str, Any]) -> None:
    pods = placed_pods(columns)
    by_kernel(columns)  # compiles
    sums = benchmark.pedantic(by_kernel, (columns,), rounds=100)
    for key, found, wanted in zip(KEYS, sums, by_pandas(pods), strict=True):
        named = wanted.reindex([f"{key}-{i}" for i in range(found.shape[1])], fill_value=0)
        np.testing.assert_array_equal(found, named.to_numpy().T)

    numbered = pods.assign(**{key: pods[key].str.rsplit("-").str[-1].astype("int32") for key in KEYS})
    ours, names, numbers = (
        benchmark.stats.stats.min, best_of(2, lambda: by_pandas(pods)), best_of(2, lambda: by_pandas(numbered)),
    )
    benchmark.extra_info.update(pandas_s=names, pandas_integer_keys_s=numbers)
    print(f"\n1,000,000 pods: {1e3 * ours:.1f} ms, pandas groupby {1e3 * names:.0f} ms by name ({names / ours:.0f} x), "
          f"{1e3 * numbers:.0f} ms by number ({numbers / ours:.0f} x)")
    assert ours < 0.020, f"{1000 * ours:.1f} ms for a million pods, wants less than 20"
    assert names > 20 * ours, f"pandas took {names / ours:.1f} times as long, wants 20"
