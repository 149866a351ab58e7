"""kube-default, as it comes, on up to 100,000 nodes: the engine, the full scan and plain numpy in one run.

Seconds are CPU seconds of the whole call, from Cluster and Workload to a finished Placement.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import k8slab
from benchmarks.measuring import digest, peak_bytes
from k8slab.experiments.placement import columns
from k8slab.policies.policy import Decisions


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
@pytest.mark.parametrize("ties", ["lowest", "random"])
@pytest.mark.parametrize("name", ROWS)
def test_table(benchmark: Any, name: str, ties: Any) -> None:
    row = ROWS[name]
    cluster, workload, leave = inputs(row)
    options = {"departures": leave, "ties": ties, "progress": False}
    placement = benchmark.pedantic(
        k8slab.schedule, (cluster, workload), options, rounds=row.rounds, warmup_rounds=1
    )
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
            slow, seconds = timed(cluster, first, path=path, ties=ties)
            assert digest(slow.node_rows) == digest(placement.node_rows[:pods])
            times.append(seconds)
        told[way] = pods / statistics.median(times)
    sizes = {"nodes": row.nodes, "pods": row.pods, "classes": row.classes, "path": placement.path}
    memory = peak_bytes(lambda: timed(cluster, workload, departures=leave, ties=ties))
    benchmark.extra_info.update(told | sizes, row=f"{name}, ties {ties}", digest=found, peak_bytes=memory)
    benchmark.extra_info["reach"] = row.pods / row.reach
    rates = ", ".join(f"{way} {rate:,.0f}" for way, rate in told.items())
    print(f"\n{name}, ties {ties}: {benchmark.stats.stats.median:.3f} s, wants {row.reach:.3f}", end="; ")
    print(f"pods a second: {rates}; {memory / 2**20:,.0f} MiB; {found}")


@pytest.mark.parametrize("ties", ["lowest", "random"])
@pytest.mark.parametrize("classes", [100, 1_000])
def test_a_pod_costs_little_more_on_ten_times_the_nodes(classes: int, ties: Any) -> None:
    """From 10,000 to 100,000 nodes, ten pods a node on both: 1.3 times as much a pod is wanted."""
    each = []
    for nodes in (10_000, 100_000):
        cluster = k8slab.Cluster.synthetic(nodes=nodes, zones=3, seed=0)
        workload = k8slab.Workload.synthetic(pods=10 * nodes, classes=classes, seed=0, cluster=cluster)
        timed(cluster, workload, ties=ties)
        each.append(min(timed(cluster, workload, ties=ties)[1] for _ in range(3)) / len(workload))
    print(f"\n{classes} classes, ties {ties}: {1e6 * each[0]:.2f} us a pod, then {1e6 * each[1]:.2f}", end=": ")
    print(f"{each[1] / each[0]:.2f} times, wants 1.3")
    assert each[1] < 3 * each[0]


@pytest.mark.parametrize("ties", ["lowest", "random"])
def test_memory_a_pod_and_a_node(ties: Any) -> None:
    """Beyond the columns, 1,000 classes on 20,000 nodes: under 100 bytes a pod and 3 KB a node are wanted.

    A pod's share is what twice as many pods take more, and a node's what is left of the peak.
    """
    nodes, peaks = 20_000, []
    cluster = k8slab.Cluster.synthetic(nodes=nodes, zones=3, seed=0)
    for pods in (100_000, 200_000):
        workload = k8slab.Workload.synthetic(pods=pods, classes=1_000, seed=0, cluster=cluster)
        peaks.append(peak_bytes(placing(cluster, workload, ties)))
    a_pod = (peaks[1] - peaks[0]) / 100_000
    a_node = (peaks[0] - 100_000 * a_pod) / nodes
    print(f"\nties {ties}: {a_pod:,.1f} bytes a pod, wants 100; {a_node:,.0f} bytes a node, wants 3,000")
    assert a_pod < 100
    assert a_node < 3_000


def placing(cluster: k8slab.Cluster, workload: k8slab.Workload, ties: Any) -> Callable[[], Decisions]:
    """Decides on all pods, by the engine, on columns that are made already."""
    nodes, pods = columns(cluster, workload)
    policy = k8slab.policy("kube-default")

    def place() -> Decisions:
        decisions = policy.place(nodes, pods, ties=ties)
        assert decisions.path == "tree"
        assert (decisions.node_rows >= 0).all()
        return decisions

    place()
    return place
