"""kube-scheduler's sampling at 5,000 nodes, where 500 that will do end a search: against the full scan and the engine.

The samples are the slow twin's, whose search is written from the specification alone.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import pytest

import k8slab
from benchmarks.measuring import cpu_seconds, digest
from benchmarks.objects import HARD, HOSTNAME, SOFT, ZONE, deployments, nothing, spread
from k8slab.experiments.placement import columns

NODES, PODS = 5_000, 20_000
# How many of the pods the slower ones place.
SCANNED_PODS, STEPWISE_PODS = 4_000, 100
BY_ZONE_AND_HOST = spread({"topologyKey": ZONE, **HARD}, {"topologyKey": HOSTNAME, **SOFT})
# What pods say, and how many times as fast as the full scan a tenth of the nodes must be.
ROWS = {"plain": (nothing, 3.0), "zone spread by force, hostname spread rather": (BY_ZONE_AND_HOST, 3.0)}


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", ROWS)
def test_a_sample_of_a_tenth_of_the_nodes(benchmark: Any, name: str) -> None:
    says, wanted = ROWS[name]
    given = deployments(NODES, 200, PODS, says)
    whole = k8slab.policy("kube-default")
    sampled = whole.sampled()

    def place(policy: k8slab.Policy, pods: int, path: Any = None) -> k8slab.Placement:
        workload = given.workload.take(np.arange(pods))
        return k8slab.schedule(given.cluster, workload, policy, ties="lowest", path=path, progress=False)

    placement = benchmark.pedantic(place, (sampled, PODS), rounds=5, warmup_rounds=1)
    assert placement.path == "scan"
    assert placement.placed == PODS
    assert (placement.requested() <= placement.allocatable).all()
    slow = place(sampled, STEPWISE_PODS, "stepwise")
    assert digest(slow.node_rows) == digest(placement.node_rows[:STEPWISE_PODS])
    assert slow.starts is not None
    assert placement.starts is not None
    assert slow.starts.tolist() == placement.starts[:STEPWISE_PODS].tolist()
    rates = {"sampled": PODS / benchmark.stats.stats.median}
    place(whole, 1, "scan")
    scanned, seconds = cpu_seconds(lambda: place(whole, SCANNED_PODS, "scan"))
    rates["full scan"] = SCANNED_PODS / seconds
    place(whole, PODS)
    engine, seconds = cpu_seconds(lambda: place(whole, PODS))
    rates["exact, by the engine"] = PODS / seconds
    assert digest(scanned.node_rows) == digest(engine.node_rows[:SCANNED_PODS])
    benchmark.extra_info.update(nodes=NODES, pods=PODS, digest=digest(placement.node_rows), rates=rates)
    told = ", ".join(f"{way} {rate:,.0f}" for way, rate in rates.items())
    print(f"\n{name}: {told} pods a second; sampled is {rates['sampled'] / rates['full scan']:.1f} times the full scan")
    assert rates["sampled"] > wanted * rates["full scan"]


def test_a_search_costs_what_it_looks_at() -> None:
    """The percentage of 10,000 nodes that is looked at against the CPU time of a pod, in one run."""
    cluster = k8slab.Cluster.synthetic(nodes=10_000, zones=3, seed=0)
    workload = k8slab.Workload.synthetic(pods=4_000, classes=100, seed=0, cluster=cluster)
    inputs, each = columns(cluster, workload), {}
    for percentage in (5, 10, 20, 40, 80):
        policy = k8slab.policy("kube-default").sampled(percentage)
        policy.place(*inputs, path="scan")
        decisions, seconds = cpu_seconds(lambda policy=policy: policy.place(*inputs, path="scan"))
        looked_at = np.diff([*decisions.starts.tolist(), decisions.next_start]) % len(cluster)
        assert statistics.median(looked_at.tolist()) == 100 * percentage
        each[percentage] = 1e6 * seconds / len(workload)
    print("\n" + ", ".join(f"{share} %: {cost:.1f} us a pod" for share, cost in each.items()))
    assert each[5] < each[80] / 4
