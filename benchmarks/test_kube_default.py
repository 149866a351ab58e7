"""kube-default in its full form on 5,000 nodes: the engine, the full scan, numpy and the slow twin in one run."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import pytest

from benchmarks.measuring import Slower, by_library, measure
from benchmarks.objects import HARD, HOSTNAME, SOFT, ZONE, Says, affinity, apart, deployments, nothing, spread, together

NODES = 5_000
# How many of the pods the slower ones place.
SCANNED_PODS, STEPWISE_PODS, TWIN_PODS = 4_000, 100, 15
EVENLY = spread({"topologyKey": ZONE, **HARD}, {"topologyKey": HOSTNAME, **SOFT}, {"topologyKey": ZONE, **SOFT})
BY_ZONE_AND_HOST = spread({"topologyKey": ZONE, **HARD}, {"topologyKey": HOSTNAME, **SOFT})


class Row(NamedTuple):
    """says : what a pod of an app asks for; scan, reach : pods a second wanted of the full scan and of the engine.

    path : the engine's
    """

    says: Says
    apps: int
    pods: int
    scan: int
    reach: int
    path: str = "groups"
    with_services: bool = False


ROWS = {
    "plain": Row(nothing, 20, 4_000, 10_000, 10_000, path="tree"),
    "system default spread": Row(nothing, 20, 4_000, 2_000, 2_000, with_services=True),
    "hard and soft spread": Row(EVENLY, 20, 4_000, 2_000, 2_000, with_services=True),
    "anti-affinity by host": Row(affinity(apart), 20, 4_000, 2_000, 2_000),
    "affinity by zone": Row(affinity(together), 20, 4_000, 2_000, 2_000),
    "zone spread by force, hostname spread rather": Row(BY_ZONE_AND_HOST, 200, 100_000, 2_000, 50_000),
    "anti-affinity by host, preferred affinity by zone": Row(affinity(apart, together), 200, 100_000, 2_000, 30_000),
}


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", ROWS)
def test_kube_default_in_full(benchmark: Any, name: str) -> None:
    row = ROWS[name]
    given = deployments(NODES, row.apps, row.pods, row.says, with_services=row.with_services)
    slower = [
        by_library("scan", given.cluster, given.workload, SCANNED_PODS),
        by_library("stepwise", given.cluster, given.workload, STEPWISE_PODS),
        Slower("plain Python", TWIN_PODS, lambda: given.by_twin(TWIN_PODS), rounds=1),
    ]
    told = {"row": name, "classes": row.apps, "reach": row.reach}
    placement = measure(benchmark, given.cluster, given.workload, slower, rounds=5, **told)
    assert placement.path == row.path
    assert placement.placed == row.pods
    assert benchmark.extra_info["full scan"] > row.scan
    assert benchmark.extra_info["engine"] > row.reach
