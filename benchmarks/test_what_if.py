"""what_if() against as many calls of schedule(), on one core and on all: the same placements, and what it saves."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import k8slab
from benchmarks.measuring import digest

NODES, PODS, VARIANTS = 5_000, 100_000, 16


def variants(kind: str) -> dict[str, dict[str, Any]]:
    """Sixteen of a kind: other seeds of random ties, other weights of a score, other requests."""
    made: dict[str, dict[str, Any]] = {}
    for number in range(VARIANTS):
        changes: dict[str, dict[str, Any]] = {
            "seeds": {"seed": number, "ties": "random"},
            "weights": {"weights": {"NodeResourcesBalancedAllocation": number}},
            "requests": {"requests": {"cpu": 1 - number / 40}},
        }
        made[f"{kind} {number}"] = changes[kind]
    return made


def wall_seconds(run: Any, rounds: int = 3) -> tuple[Any, float]:
    """What a run gives, and the least seconds by the wall."""
    found, times = None, []
    for _ in range(rounds):
        start = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - start)
    return found, min(times)


@pytest.mark.parametrize("kind", ["seeds", "weights", "requests"])
def test_sixteen_variants_in_one_call(benchmark: Any, kind: str) -> None:
    cluster = k8slab.Cluster.synthetic(nodes=NODES, zones=3, seed=0)
    workload = k8slab.Workload.synthetic(pods=PODS, classes=100, seed=0, cluster=cluster)
    asked = variants(kind)
    cores = len(os.sched_getaffinity(0))

    def one_by_one() -> list[k8slab.Placement]:
        return [alone(cluster, workload, changes) for changes in asked.values()]

    def at_once(workers: int) -> k8slab.WhatIf:
        return k8slab.what_if(cluster, workload, asked, workers=workers, progress=False)

    at_once(1), one_by_one()
    separate, apart = wall_seconds(one_by_one)
    told = {"one by one": apart}
    for workers in sorted({1, cores}):
        found, told[f"{workers} at a time"] = wall_seconds(lambda workers=workers: at_once(workers))
        hashes = [digest(each.node_rows) for each in separate]
        assert [digest(each.node_rows) for each in found.placements.values()] == hashes
        assert found.frame["placed"].tolist() == [each.placed for each in separate]
    assert len(set(hashes)) > VARIANTS // 2
    benchmark.extra_info.update(nodes=NODES, pods=PODS, variants=VARIANTS, seconds=told, cores=cores)
    benchmark.pedantic(at_once, (cores,), rounds=1)
    ways = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in told.items())
    print(f"\n{VARIANTS} {kind} of {PODS:,} pods on {NODES:,} nodes: {ways}")
    # Its table of numbers is made too, which schedule() doesn't.
    assert told["1 at a time"] < 1.4 * apart
    if cores > 1:
        assert told[f"{cores} at a time"] < 0.7 * apart


def alone(cluster: k8slab.Cluster, workload: k8slab.Workload, changes: dict[str, Any]) -> k8slab.Placement:
    """A variant by schedule(): what a user would write who has no what_if()."""
    policy = k8slab.policy("kube-default")
    for score, weight in changes.get("weights", {}).items():
        policy = policy.with_weight(score, weight)
    for resource, factor in changes.get("requests", {}).items():
        requests = workload.requests.copy()
        row = workload.schema.index(resource)
        requests[:, row] = np.ceil(requests[:, row] * factor)
        workload = replace(workload, requests=requests)
    return k8slab.schedule(
        cluster, workload, policy, seed=changes.get("seed", 0), ties=changes.get("ties"), progress=False
    )
