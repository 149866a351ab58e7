"""Pods a second against nodes, classes of requests and plug-ins, by four ways of placing, with equal placements.

They are what `python -m benchmarks.table` draws.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

import k8slab
from benchmarks.baselines import numpy_scan, python_loop
from benchmarks.measuring import Slower, by_library, measure
from benchmarks.objects import (
    HARD,
    HOSTNAME,
    SOFT,
    ZONE,
    Says,
    affinity,
    apart,
    deployments,
    near_disks,
    nothing,
    spread,
    together,
)  # fmt: skip

in_cpu_time = pytest.mark.benchmark(timer=time.process_time)
NODES = 10_000


def measure_synthetic(benchmark: Any, nodes: int, pods: int, classes: int, **told: Any) -> None:
    """A cluster and pods that fill four fifths of it. Each slower way gets pods for about a second."""
    cluster = k8slab.Cluster.synthetic(nodes=nodes, seed=0)
    workload = k8slab.Workload.synthetic(pods=pods, classes=classes, seed=0, cluster=cluster)
    looped, vectorised, scanned = 1_000_000 // nodes, max(10_000_000 // nodes, 200), max(50_000_000 // nodes, 1_000)
    slower = [
        Slower("plain Python", looped, lambda: python_loop(cluster, workload, looped, "kube-default")()),
        Slower("numpy", vectorised, lambda: numpy_scan(cluster, workload, vectorised, "kube-default")()),
        by_library("scan", cluster, workload, min(scanned, pods)),
    ]
    placement = measure(benchmark, cluster, workload, slower, classes=classes, **told)
    assert placement.placed == pods


@in_cpu_time
@pytest.mark.parametrize("nodes", [1_000, 3_000, 10_000, 30_000, 100_000])
def test_against_nodes(benchmark: Any, nodes: int) -> None:
    """100 classes, ten pods a node."""
    measure_synthetic(benchmark, nodes, 10 * nodes, 100, sweep="nodes", x=nodes)


@in_cpu_time
@pytest.mark.parametrize("classes", [1, 10, 100, 1_000, 10_000, 50_000])
def test_against_classes(benchmark: Any, classes: int) -> None:
    """10,000 nodes, 50,000 pods; in the end each pod asks for something else."""
    measure_synthetic(benchmark, NODES, 5 * NODES, classes, sweep="classes", x=classes)


def both(*says: Says) -> Says:
    return lambda app: {key: value for each in says for key, value in each(app).items()}


EVENLY = spread({"topologyKey": ZONE, **HARD}, {"topologyKey": HOSTNAME, **SOFT})
# What makes the next score plug-in of kube-default take part: what pods say, and whether nodes are tainted.
PLUGINS: dict[str, tuple[Says, bool]] = {
    "resources": (nothing, False),
    "+ taints": (nothing, True),
    "+ node affinity": (affinity(near_disks), True),
    "+ spread": (both(EVENLY, affinity(near_disks)), True),
    "+ pod affinity": (both(EVENLY, affinity(near_disks, apart, together)), True),
}


@in_cpu_time
@pytest.mark.parametrize("name", PLUGINS)
def test_against_plugins(benchmark: Any, name: str) -> None:
    """5,000 nodes, 20,000 pods of 100 deployments; each step leaves another plug-in something to do."""
    says, tainted = PLUGINS[name]
    given = deployments(5_000, 100, 20_000, says, tainted=tainted)
    slower = [
        Slower("plain Python", 5, lambda: given.by_twin(5), rounds=1),
        by_library("stepwise", given.cluster, given.workload, 50),
        by_library("scan", given.cluster, given.workload, 2_000),
    ]
    placement = measure(benchmark, given.cluster, given.workload, slower, classes=100, sweep="plug-ins", x=name)
    assert placement.placed == 20_000
