"""Nodes that come and go, at size: what-if for every node, a million samples of usage, an autoscaled cluster."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from k8slab import Cluster, Simulation, Workload, removable_nodes, schedule
from k8slab.application.vertical_recommender import VerticalRecommender
from k8slab.simulation import (
    ClusterAutoscaler,
    Diurnal,
    Exponential,
    InstanceCatalogue,
    Karpenter,
    NodeGroup,
    NodePool,
    PodStream,
    cluster_of,
)

DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(("nodes", "pods", "most_s"), [(1_000, 30_000, 5), (5_000, 150_000, 60)])
@pytest.mark.parametrize("policy", ["least-allocated", "most-allocated"])
def test_what_if_for_every_node(nodes, pods, most_s, policy, record_property):
    cluster = Cluster.synthetic(nodes=nodes, seed=0)
    state = schedule(cluster, Workload.synthetic(pods=pods, classes=100, cluster=cluster, seed=0), policy).state()
    removable_nodes(schedule(Cluster.synthetic(3), Workload.synthetic(pods=9)), bare_pods_move=True, progress=False)
    began = time.process_time()
    found = removable_nodes(state, bare_pods_move=True, progress=False)
    seconds = time.process_time() - began
    record_property("cpu_s", seconds)
    print(f"{nodes:,} nodes, {pods:,} pods, {policy}: {seconds:.2f} s of CPU; {found}")
    moved = found.moves.groupby("node", sort=False).size()
    could = found.frame[found.frame["removable"] & (found.frame["pods"] > 0)].set_index("node")["pods"]
    assert (moved.reindex(could.index) == could).all()
    assert (found.moves["node"] != found.moves["target"]).all()
    assert seconds < most_s


def test_a_million_samples_of_ten_thousand_workloads(record_property):
    rng = np.random.default_rng(0)
    count, workloads = 1_000_000, 10_000
    workload, cores = rng.integers(workloads, size=count), rng.gamma(2.0, 0.3, count)
    memory = np.floor(rng.gamma(3.0, 2e8, count))
    at = np.arange(count) * (7 * DAY_NS // count)
    VerticalRecommender(1, 1).recommend()
    for each in (VerticalRecommender(1, 1), VerticalRecommender(workloads, workloads)):
        few = slice(1) if each.confidence().size == 1 else slice(None)
        who = np.zeros(1, dtype=np.int64) if each.confidence().size == 1 else workload
        began = time.process_time()
        each.add_cpu(who, cores[few], at[few])
        each.add_memory(who, who, memory[few], at[few])
        found = each.recommend()
    seconds = time.process_time() - began
    record_property("cpu_s", seconds)
    print(f"a million samples of each, ten thousand workloads: {seconds:.2f} s of CPU")
    # The 90th percentile of gamma(2, 0.3) is 1.167 cores: with the bucket's end and 15 % more.
    assert 1.167 * 1.10 < np.median(found.target_cpu_milli) / 1000 < 1.167 * 1.30
    assert seconds < 2


SHAPES = Workload.synthetic(pods=30_000, classes=100, cluster=Cluster.synthetic(nodes=5_000, seed=0), seed=0)


def autoscaled(pods: int, days: float) -> Simulation:
    """The week's 28,000 pods at a time, for long: some 6,000 nodes come, and few go."""
    catalogue = InstanceCatalogue.example()
    groups = [
        NodeGroup(name="general", instance_type=catalogue["general-32"], min_size=500, initial=1_000, max_size=8_000),
        NodeGroup(name="memory", instance_type=catalogue["memory-32"], min_size=0, max_size=8_000),
    ]
    every = days * 86_400 / pods
    stream = PodStream("batch", SHAPES, Diurnal(every, swing=0.6), Exponential(28_000 * every))
    autoscaler = ClusterAutoscaler(
        groups=groups, evict_bare_pods=True, max_drain_parallelism=10, max_scale_down_parallelism=50
    )
    return Simulation(cluster_of(groups), stream, autoscalers=[autoscaler])


@pytest.mark.parametrize("share", [0.03, 0.1, 1.0])
def test_a_part_of_the_autoscaled_week(share, record_property):
    """Near linear in time; 90 s are wanted of the whole: 84 s on two shared cores, too near to be asserted."""
    simulation = autoscaled(500_000, 7)
    simulation.run("20m")
    began = time.process_time()
    run = simulation.run(7 * share * 86_400.0)
    seconds = time.process_time() - began
    record_property("cpu_s", seconds)
    nodes = run.frames.node_groups.groupby("start_ns")["nodes"].sum()
    pods = hashlib.sha256(run.frames.pods.to_csv().encode()).hexdigest()[:12]
    print(
        f"{share:g} of the week: {seconds:.1f} s of CPU; {nodes.min():,.0f} to {nodes.max():,.0f} nodes; {run}; "
        f"{run.metrics['node_hours'][0]:,.0f} node hours, pods {pods}"
    )
    assert run.metrics["nodes_launched"][0] > 0
    assert run.metrics["pods_placed"][0] + run.metrics["pods_never_placed"][0] == run.metrics["pods_arrived"][0]
    assert run.metrics["pods_never_placed"][0] < 0.01 * run.metrics["pods_arrived"][0]
    # Money is for nodes that are there or on their way: no less than for those that are there.
    assert run.metrics["node_hours"][0] >= run.metrics["nodes_ready_mean"][0] * 7 * 24 * share * 0.999


def breathing(pods: int, days: float) -> Simulation:
    """Pods that run for four hours and come by day: each day some 4,500 nodes join, and about as many are drained."""
    catalogue = InstanceCatalogue.example()
    groups = [
        NodeGroup(name="general", instance_type=catalogue["general-16"], min_size=1_000, initial=1_000, max_size=8_000),
        NodeGroup(name="memory", instance_type=catalogue["memory-16"], min_size=0, max_size=8_000),
    ]
    stream = PodStream("batch", SHAPES, Diurnal(days * 86_400 / pods, swing=0.95), Exponential("4h"))
    autoscaler = ClusterAutoscaler(
        groups=groups, evict_bare_pods=True, max_drain_parallelism=10, max_scale_down_parallelism=50,
        max_nodes_total=8_000,
    )  # fmt: skip
    return Simulation(cluster_of(groups), stream, autoscalers=[autoscaler])


@pytest.mark.parametrize(("days", "joined", "removed"), [(0.5, 3_500, 0), (1.0, 5_500, 1_500), (2.0, 10_000, 5_500)])
def test_days_of_nodes_that_come_and_go(days, joined, removed, record_property):
    """Of a week with 500,000 pods; 90 s are wanted of the whole, which isn't reached yet."""
    simulation = breathing(500_000, 7)
    simulation.run("20m")
    began = time.process_time()
    run = simulation.run(days * 86_400.0)
    seconds = time.process_time() - began
    record_property("cpu_s", seconds)
    nodes = run.frames.node_groups.groupby("start_ns")["nodes"].sum()
    found = {name: int(run.metrics[name][0]) for name in ("nodes_launched", "nodes_removed", "pods_evicted")}
    print(f"{days:g} days: {seconds:.1f} s of CPU; {nodes.min():,.0f} to {nodes.max():,.0f} nodes; {run}; {found}")
    assert run.metrics["pods_placed"][0] + run.metrics["pods_never_placed"][0] == run.metrics["pods_arrived"][0] > 0
    # Some wait for nodes that boot while the run ends.
    assert run.metrics["pods_never_placed"][0] < 0.01 * run.metrics["pods_arrived"][0]
    assert found["nodes_launched"] > joined
    assert found["nodes_removed"] >= removed
    intervals = run.frames.node_intervals
    assert (intervals["end"] == "removed").sum() == found["nodes_removed"]
    assert nodes.min() >= 1_000
    assert nodes.max() <= 8_000
    # A node goes once its pods are gone: none runs where there is no node.
    assert run._world.state.node_alive[run._world.state.pod_node[run._world.state.pod_node >= 0]].all()


@pytest.mark.parametrize("share", [0.03, 0.045])
def test_a_part_of_the_week_under_karpenter(share, record_property):
    """Its cost grows with nodes times polls: no whole week yet."""
    types = ["general-16", "general-32", "memory-16", "memory-32", "compute-16", "compute-36"]
    pool = NodePool(instance_types=types, initial={"general-16": 1_000}, consolidate_after="5m")
    karpenter = Karpenter(node_pools=[pool])
    stream = PodStream("batch", SHAPES, Diurnal(7 * 86_400 / 500_000, swing=0.95), Exponential("4h"))
    simulation = Simulation(cluster_of(karpenter.groups), stream, autoscalers=[karpenter])
    simulation.run("10m")
    began = time.process_time()
    run = simulation.run(7 * share * 86_400.0)
    seconds = time.process_time() - began
    record_property("cpu_s", seconds)
    found = {name: int(run.metrics[name][0]) for name in ("nodes_launched", "nodes_removed", "pods_evicted")}
    print(f"{share:g} of the week under Karpenter: {seconds:.1f} s of CPU; {run}; {found}")
    assert run.metrics["pods_never_placed"][0] < 0.01 * run.metrics["pods_arrived"][0]
    assert found["nodes_launched"] > 100
    # The thousand that nobody needs at night are consolidated away.
    assert found["nodes_removed"] > 900
    assert (run.frames.node_intervals["end"] == "removed").sum() == found["nodes_removed"]
