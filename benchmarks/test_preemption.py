"""Preemption on a full cluster of 5,000 nodes, four priorities: the kernel, numpy and the slow twin in one run."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import k8slab
from benchmarks.measuring import PATHS, cpu_seconds, peak_bytes
from k8slab.domain.columns import NOT_STARTED
from tests.kube.objects import Cluster as TwinCluster
from tests.kube.objects import Pod
from tests.kube.scenario import placed_in_turn

NODES, PODS, WANTED = 5_000, 20_000, 5_000
PRIORITIES = (0, 100, 1_000, 10_000)
# How many of the pods the slower ones place.
STEPWISE_PODS, TWIN_PODS = 10, 3
Object = dict[str, Any]
Placed = tuple[list[int], tuple[Any, ...]]


def sizes(rng: np.random.Generator) -> list[tuple[int, int]]:
    """mCPU and MiB of pods that fill 16 cores and are a little less than fits in their memory."""
    cores = [16]
    while cores[-1] > 0:
        cores.append(cores[-1] - int(rng.integers(1, 4)))
    steps = [before - max(after, 0) for before, after in pairwise(cores)]
    return [(1000 * step, 1024 * int(rng.integers(1, 5))) for step in steps]


def node(number: int) -> Object:
    allocatable = {"cpu": "16", "memory": "64Gi", "pods": "110"}
    return {"kind": "Node", "metadata": {"name": f"n{number:05}"}, "status": {"allocatable": allocatable}}


def pod(name: str, size: tuple[int, int], priority: int, on: str = "", started: int = 0) -> Object:
    requests = {"cpu": f"{size[0]}m", "memory": f"{size[1]}Mi"}
    spec: Object = {"containers": [{"name": "c", "resources": {"requests": requests}}], "priority": priority}
    status: Object = {}
    if on:
        spec["nodeName"] = on
        status["startTime"] = f"2026-01-{1 + started // 1440:02}T{started // 60 % 24:02}:{started % 60:02}:00Z"
    metadata = {"name": name, "namespace": "default", "labels": {"app": "x"}}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


@pytest.fixture(scope="module")
def objects() -> dict[str, list[Object]]:
    """No core is free, and each pod that wants in asks for one to three."""
    rng = np.random.default_rng(7)
    running = []
    for number in range(NODES):
        for size in sizes(rng):
            priority, started = int(rng.choice(PRIORITIES)), int(rng.integers(30 * 1440))
            running.append(pod(f"old{len(running):06}", size, priority, f"n{number:05}", started))
    pending = [
        pod(f"p{i:05}", (1000 * int(rng.integers(1, 4)), 1024 * int(rng.integers(1, 5))), int(rng.choice(PRIORITIES)))
        for i in range(PODS)
    ]
    return {"nodes": [node(number) for number in range(NODES)], "pods": running, "pending": pending}


def placed(cluster: k8slab.Cluster, workload: k8slab.Workload, path: Any, ties: Any) -> Placed:
    placement = k8slab.schedule(cluster, workload, path=path, ties=ties)
    return placement.node_rows.tolist(), placement.evictions


# CPU time: all run on one core, and the machine's other work then shifts no ratio.
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("ties", ["lowest", "random"])
def test_preemption_on_a_full_cluster(benchmark: Any, objects: dict[str, list[Object]], ties: Any) -> None:
    cluster = k8slab.Cluster.from_kubernetes({"kind": "List", "items": [*objects["nodes"], *objects["pods"]]})
    workload = k8slab.Workload.from_kubernetes({"kind": "List", "items": objects["pending"]})
    rows, evictions = benchmark.pedantic(placed, (cluster, workload, None, ties), rounds=5, warmup_rounds=1)
    rate = PODS / benchmark.stats.stats.median
    print(f"\nties {ties}: {rate:,.0f} pods a second, wants {WANTED:,}; {len(evictions):,} had to go")
    assert_plausible(cluster, workload, rows, evictions)
    row = f"preemption on a full cluster, 4 priorities, ties {ties}"
    peak = peak_bytes(lambda: k8slab.schedule(cluster, workload, ties=ties))
    print(f"at most {peak / 2**20:.0f} MiB at once, {peak / len(rows):,.0f} bytes a pod")
    told = {"row": row, "nodes": NODES, "pods": PODS, "reach": WANTED, "path": "scan", "peak_bytes": peak}
    benchmark.extra_info.update(told, engine=rate)

    few = workload.take(np.arange(STEPWISE_PODS))
    slow, seconds = cpu_seconds(lambda: placed(cluster, few, "stepwise", ties), rounds=1)
    assert slow == placed(cluster, few, "scan", ties)
    benchmark.extra_info["numpy"] = STEPWISE_PODS / seconds
    if ties == "lowest":
        few = workload.take(np.arange(TWIN_PODS))
        lists = {key: {"items": items} for key, items in objects.items() if key != "pending"}
        twin, waiting = TwinCluster({**lists, "pluginConfig": []}), [Pod(obj) for obj in objects["pending"][:TWIN_PODS]]
        told, seconds = cpu_seconds(lambda: placed_in_turn(twin, waiting, (10, 100)), rounds=1)
        assert told == in_turn(cluster, few, *placed(cluster, few, "scan", ties))
        benchmark.extra_info["plain Python"] = TWIN_PODS / seconds
    print({path: f"{value:,.2f}" for path, value in benchmark.extra_info.items() if path in PATHS})
    assert rate > WANTED


def assert_plausible(cluster: k8slab.Cluster, workload: k8slab.Workload, rows: list[int], evictions: Any) -> None:
    """Nobody goes for a pod that matters no more, no node holds more than it has, and most of the room is in use."""
    running = cluster.bound
    assert running is not None
    left = np.ones(len(running), dtype=np.bool_)
    for eviction in evictions:
        victim = running.priority[eviction.row] if eviction.bound else workload.priority[eviction.row]
        assert victim < workload.priority[eviction.by]
        left[eviction.row] &= not eviction.bound
    held = np.zeros_like(cluster.allocatable)
    there = np.array(rows)
    for row in range(len(held)):
        np.add.at(held[row], cluster.bound_node[left], running.requests[left, row])
        np.add.at(held[row], there[there >= 0], workload.requests[there >= 0, row])
    assert (held <= cluster.allocatable).all()
    assert held[0].sum() > 0.98 * cluster.allocatable[0].sum()
    assert (running.started_ns != NOT_STARTED).all()


def in_turn(cluster: k8slab.Cluster, workload: k8slab.Workload, rows: list[int], evictions: Any) -> list[Any]:
    """As the twin tells it; of these few pods none goes again."""
    running = cluster.bound
    assert running is not None
    assert all(eviction.bound for eviction in evictions)
    gone = [[running.names[e.row] for e in evictions if e.by == pod] for pod in range(len(rows))]
    return [("" if row < 0 else cluster.names[row], names) for row, names in zip(rows, gone, strict=True)]

