"""kube-default in its full form on 5,000 nodes: the scan and the groups, numpy and the slow twin in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import k8slab
from k8slab.domain.columns import Names
from k8slab.policies import Path
from tests.kube.scenario import expectation

NODES, PODS, APPS = 5_000, 4_000, 20
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
# How many of the pods the slower ones place.
STEPWISE_PODS, TWIN_PODS = 100, 25
Object = dict[str, Any]


def selector(app: int) -> Object:
    return {"matchLabels": {"app": f"app-{app}"}}


def spread(app: int) -> Object:
    """Even over zones by force, and over hosts and zones as far as can be."""
    hard, soft = {"whenUnsatisfiable": "DoNotSchedule"}, {"whenUnsatisfiable": "ScheduleAnyway"}
    rules = [{"topologyKey": ZONE, **hard}, {"topologyKey": HOSTNAME, **soft}, {"topologyKey": ZONE, **soft}]
    return {"topologySpreadConstraints": [{"maxSkew": 1, "labelSelector": selector(app), **rule} for rule in rules]}


def apart(app: int) -> Object:
    """No two pods of an app on one host, each host a domain of its own."""
    return {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOSTNAME, "labelSelector": selector(app)}]}}}


def together(app: int) -> Object:
    """The pods of an app rather in one zone."""
    term = {"topologyKey": ZONE, "labelSelector": selector(app)}
    return {"affinity": {"podAffinity": {PREFERRED: [{"weight": 50, "podAffinityTerm": term}]}}}


# name: (what a pod of an app says, whether services bring the default spreading, pods a second wanted)
WORKLOADS: dict[str, tuple[Callable[[int], Object], bool, int]] = {
    "plain": (lambda app: {}, False, 10_000),
    "system default spread": (lambda app: {}, True, 2_000),
    "hard and soft spread": (spread, True, 2_000),
    "anti-affinity by host": (apart, False, 2_000),
    "affinity by zone": (together, False, 2_000),
}


def nodes() -> list[Object]:
    """Six shapes in three zones; names whose order is that of the rows."""
    return [
        {
            "kind": "Node",
            "metadata": {"name": f"n{i:05}", "labels": {HOSTNAME: f"n{i:05}", ZONE: "abc"[i % 3]}},
            "spec": {},
            "status": {
                "allocatable": {"cpu": ("8", "16", "32")[i // 3 % 3], "memory": f"{32 * (1 + i % 2)}Gi", "pods": "110"}
            },
        }
        for i in range(NODES)
    ]


def pods(says: Callable[[int], Object]) -> list[Object]:
    """Pods of 20 apps, in 40 sizes."""
    made = []
    for i in range(PODS):
        requests = {"cpu": f"{100 * (1 + i % 10)}m", "memory": f"{256 * (1 + i // 10 % 4)}Mi"}
        spec = {"containers": [{"name": "c", "image": "app", "resources": {"requests": requests}}], **says(i % APPS)}
        metadata = {"name": f"p{i:05}", "namespace": "default", "labels": {"app": f"app-{i % APPS}"}}
        made.append({"kind": "Pod", "metadata": metadata, "spec": spec, "status": {}})
    return made


def services() -> list[Object]:
    return [
        {
            "kind": "Service",
            "metadata": {"name": f"s{app}", "namespace": "default"},
            "spec": {"selector": {"app": f"app-{app}"}},
        }
        for app in range(APPS)
    ]


def rows(cluster: k8slab.Cluster, workload: k8slab.Workload, path: Path) -> list[int]:
    return k8slab.schedule(cluster, workload, ties="lowest", path=path).node_rows.tolist()


def timed(run: Callable[[], list[int]]) -> tuple[list[int], float]:
    """What a run gives, and its CPU seconds."""
    start = time.process_time()
    found = run()
    return found, time.process_time() - start


# CPU time: all three run on one core, and the machine's other work then shifts no ratio.
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", WORKLOADS)
def test_kube_default_in_full(benchmark: Any, name: str) -> None:
    says, with_services, wanted = WORKLOADS[name]
    objects = {"nodes": nodes(), "services": services() if with_services else [], "pending": pods(says)}
    cluster = k8slab.Cluster.from_kubernetes({"kind": "List", "items": [*objects["nodes"], *objects["services"]]})
    workload = k8slab.Workload.from_kubernetes({"kind": "List", "items": objects["pending"]})
    placed = benchmark.pedantic(rows, (cluster, workload, "scan"), rounds=5, warmup_rounds=1)
    assert min(placed) >= 0
    rate = PODS / benchmark.stats.stats.median
    print(f"\n{name}: {rate:,.0f} pods a second, wants {wanted:,}")

    few = workload.take(np.arange(STEPWISE_PODS))
    stepwise, seconds = timed(lambda: rows(cluster, few, "stepwise"))
    assert stepwise == placed[:STEPWISE_PODS]
    compare(benchmark, "numpy", rate, STEPWISE_PODS / seconds)

    scenario: Object = {key: {"items": items} for key, items in objects.items()}
    scenario |= {"category": "sequence", "pluginConfig": [], "pods": {"items": []}}
    scenario["pending"] = {"items": objects["pending"][:TWIN_PODS]}
    twin, seconds = timed(lambda: [int(step["chosen"][1:]) for step in expectation(scenario)["steps"]])
    assert twin == placed[:TWIN_PODS]
    compare(benchmark, "the slow twin", rate, TWIN_PODS / seconds)
    assert rate > wanted


def compare(benchmark: Any, name: str, rate: float, slower: float) -> None:
    benchmark.extra_info.update({f"{name}: pods a second": slower, f"times {name}": rate / slower})
    print(f"    {name}: {slower:,.1f} pods a second; {rate / slower:,.0f} times")


# -- by groups ---------------------------------------------------------------------------

DEPLOYMENTS, MANY = 200, 100_000
# How many of the pods the scan places, for its answer and its rate.
SCANNED_PODS = 4_000


def spread_over_zones_and_hosts(app: int) -> Object:
    """Even over zones by force, over hosts as far as can be."""
    rules = [
        {"topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"},
        {"topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway"},
    ]
    return {"topologySpreadConstraints": [{"maxSkew": 1, "labelSelector": selector(app), **rule} for rule in rules]}


def apart_by_host_near_by_zone(app: int) -> Object:
    """No two pods of a deployment on one host, rather all in one zone."""
    return {"affinity": apart(app)["affinity"] | together(app)["affinity"]}


# name: (what a pod of a deployment says, pods a second wanted)
RELATED: dict[str, tuple[Callable[[int], Object], int]] = {
    "zone spread by force, hostname spread rather": (spread_over_zones_and_hosts, 50_000),
    "anti-affinity by host, preferred affinity by zone": (apart_by_host_near_by_zone, 30_000),
}


def deployments(says: Callable[[int], Object]) -> k8slab.Workload:
    """100,000 pods of 200 deployments, each of a size of its own, in an order drawn once."""
    made = []
    for app in range(DEPLOYMENTS):
        requests = {"cpu": f"{50 * (1 + app % 20)}m", "memory": f"{128 * (1 + app // 20)}Mi"}
        spec = {"containers": [{"name": "c", "image": "app", "resources": {"requests": requests}}], **says(app)}
        metadata = {"name": f"p{app:05}", "namespace": "default", "labels": {"app": f"app-{app}"}}
        made.append({"kind": "Pod", "metadata": metadata, "spec": spec, "status": {}})
    one_each = k8slab.Workload.from_kubernetes({"kind": "List", "items": made})
    order = np.random.default_rng(0).permutation(np.arange(MANY) % DEPLOYMENTS)
    return replace(one_each.take(order), names=Names(prefix="p", count=MANY))


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", RELATED)
def test_pods_that_look_at_one_another(benchmark: Any, name: str) -> None:
    says, wanted = RELATED[name]
    cluster = k8slab.Cluster.from_kubernetes({"kind": "List", "items": nodes()})
    workload = deployments(says)
    placement = benchmark.pedantic(
        k8slab.schedule, (cluster, workload), {"ties": "lowest"}, rounds=5, warmup_rounds=1
    )
    assert placement.path == "groups"
    placed = placement.node_rows.tolist()
    assert min(placed) >= 0
    rate = MANY / benchmark.stats.stats.median
    print(f"\n{name}: {rate:,.0f} pods a second, wants {wanted:,}")

    few = workload.take(np.arange(SCANNED_PODS))
    rows(cluster, workload.take(np.arange(1)), "scan")  # compiled, or read from disk
    scanned, seconds = timed(lambda: rows(cluster, few, "scan"))
    assert scanned == placed[:SCANNED_PODS]
    compare(benchmark, "the scan", rate, SCANNED_PODS / seconds)
    few = workload.take(np.arange(STEPWISE_PODS))
    stepwise, seconds = timed(lambda: rows(cluster, few, "stepwise"))
    assert stepwise == placed[:STEPWISE_PODS]
    compare(benchmark, "numpy", rate, STEPWISE_PODS / seconds)
    assert rate > wanted
