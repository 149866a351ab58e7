"""kube-default, as it comes, on up to 100,000 nodes: the engine, the full scan and plain numpy in one run.

Seconds are CPU seconds of the whole call, from Cluster and Workload to a finished Placement.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

import numpy as np
import pytest

import k8slab
from benchmarks.measuring import digest, peak_bytes


class Row(NamedTuple):
    """A workload of the table. reach : seconds wanted; scanned : how many first pods the full scan places too."""

    nodes: int
    pods: int
    classes: int
    churn: bool
    reach: float
    rounds: int
    scanned: int


ROWS = {
    "100 classes, 5,000 nodes": Row(5_000, 100_000, 100, False, 1 / 15, 5, 2_000),
    "100 classes, 100,000 nodes": Row(100_000, 1_000_000, 100, False, 1.0, 5, 200),
    "1,000 classes, 100,000 nodes": Row(100_000, 1_000_000, 1_000, False, 4.0, 3, 200),
    "every pod its own": Row(100_000, 1_000_000, 1_000_000, False, 60.0, 1, 200),
    "50 % churn, 1,000 classes": Row(100_000, 1_000_000, 1_000, True, 8.0, 3, 200),
}


def inputs(row: Row) -> tuple[k8slab.Cluster, k8slab.Workload, np.ndarray | None]:
    """A cluster, pods for four fifths of it, and when half of them leave: when as many have come as there are nodes."""
    cluster = k8slab.Cluster.synthetic(nodes=row.nodes, zones=3, seed=0)
    workload = k8slab.Workload.synthetic(pods=row.pods, classes=row.classes, seed=0, cluster=cluster)
    if not row.churn:
        return cluster, workload, None
    number = np.arange(row.pods)
    leaves = (number % 2 == 0) & (number + row.nodes < row.pods)
    return cluster, workload, np.where(leaves, number + row.nodes, -1)


def timed(cluster: k8slab.Cluster, workload: k8slab.Workload, **options: Any) -> tuple[k8slab.Placement, float]:
    start = time.process_time()
    placement = k8slab.schedule(cluster, workload, "kube-default", progress=False, **options)
    return placement, time.process_time() - start


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", ROWS)
def test_table(benchmark: Any, name: str) -> None:
    row = ROWS[name]
    cluster, workload, leave = inputs(row)
    placement = benchmark.pedantic(
        k8slab.schedule, (cluster, workload), {"departures": leave, "progress": False}, rounds=row.rounds,
        warmup_rounds=1,
    )  # fmt: skip
    assert placement.path == "tree"
    assert placement.placed == row.pods
    assert (placement.requested() <= cluster.allocatable).all()
    found = digest(placement.node_rows)
    each = benchmark.stats.stats.median / row.pods
    told = {"engine": 1 / each}
    for way, path, pods in (("full scan", "scan", row.scanned), ("numpy", "stepwise", 50)):
        first = workload.take(np.arange(pods))
        times = []
        for _ in range(3):
            slow, seconds = timed(cluster, first, path=path)
            assert slow.node_rows.tolist() == placement.node_rows[:pods].tolist()
            times.append(seconds)
        told[way] = pods / statistics.median(times)
    sizes = {"nodes": row.nodes, "pods": row.pods, "classes": row.classes, "path": placement.path}
    memory = peak_bytes(lambda: timed(cluster, workload, departures=leave))
    benchmark.extra_info.update(told | sizes, row=name, digest=found, peak_bytes=memory)
    rates = ", ".join(f"{way} {rate:,.0f}" for way, rate in told.items())
    print(f"\n{name}: {benchmark.stats.stats.median:.3f} s, wants {row.reach:.3f}; pods a second: {rates}; {found}")


@pytest.mark.parametrize("classes", [100, 1_000])
def test_a_pod_costs_little_more_on_ten_times_the_nodes(classes: int) -> None:
    """From 10,000 to 100,000 nodes, ten pods a node on both: 1.3 times as much a pod is wanted."""
    each = []
    for nodes in (10_000, 100_000):
        cluster = k8slab.Cluster.synthetic(nodes=nodes, zones=3, seed=0)
        workload = k8slab.Workload.synthetic(pods=10 * nodes, classes=classes, seed=0, cluster=cluster)
        timed(cluster, workload)
        each.append(min(timed(cluster, workload)[1] for _ in range(3)) / len(workload))
    print(f"\n{classes} classes: {1e6 * each[0]:.2f} us a pod, then {1e6 * each[1]:.2f}")
    assert each[1] < 3 * each[0]
