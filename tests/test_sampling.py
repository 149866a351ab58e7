"""A policy that samples nodes: scan = stepwise = the slow twin; what it tells, and what it takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import k8slab
from k8slab import Cluster, Workload, policies
from k8slab.errors import InputError
from k8slab.experiments.placement import columns
from k8slab.policies.run import Run, place_stepwise
from k8slab.policies.sampling import Sampling, node_order
from tests.kube.objects import Cluster as TwinCluster
from tests.kube.objects import Pod
from tests.kube.sampling import Search
from tests.kube.scenario import step
from tests.scenarios import cluster_of, policy_of, sequences, workload_of
from tests.test_full_form import inputs_of
from tests.test_full_form import node as node_of
from tests.test_full_form import pod as pod_of

PERCENTAGES = st.sampled_from([0, 1, 30, 50, 70, 100])
AT_LEAST = st.integers(1, 4)
BETA_ZONE, REGION = "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/region"


@settings(max_examples=25)
@given(sequences(), PERCENTAGES, AT_LEAST, st.integers(0, 2**63 - 1), st.sampled_from(["lowest", "random"]), st.data())
def test_the_scan_samples_as_stepwise_does(scenario, percentage, at_least, seed, ties, data):
    policy = policy_of(scenario).sampled(percentage, at_least=at_least)
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    given = {"seed": seed, "ties": ties, "search_start": data.draw(st.integers(0, 20))}
    slow = policy.place(*inputs, path="stepwise", **given)
    fast = policy.place(*inputs, **given, path=None if narrows(scenario) else "scan")
    assert fast.node_rows.tolist() == slow.node_rows.tolist()
    assert fast.evictions == slow.evictions
    assert (fast.starts is None) or fast.starts.tolist() == slow.starts.tolist()
    assert fast.next_start == slow.next_start


@settings(max_examples=10)
@given(sequences(), PERCENTAGES, AT_LEAST, st.data())
def test_pods_leave_as_stepwise_lets_them(scenario, percentage, at_least, data):
    policy = replace(policy_of(scenario).sampled(percentage, at_least=at_least), post_filter=None)
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    pods = len(inputs[1])
    leave = [data.draw(st.sampled_from([-1, *range(pod + 1, pods)])) for pod in range(pods)]
    slow, fast = (
        policy.place(*inputs, path=path, departures=np.array(leave, dtype=np.int64))
        for path in ("stepwise", None if narrows(scenario) else "scan")
    )
    assert fast.node_rows.tolist() == slow.node_rows.tolist()
    assert fast.next_start == slow.next_start


@settings(max_examples=10)
@given(sequences(), PERCENTAGES, AT_LEAST, st.integers(0, 6))
def test_a_search_goes_on_where_the_last_call_ended(scenario, percentage, at_least, first):
    """Placed in two calls, the later one told of the earlier, pods go where they go in one."""
    policy = replace(policy_of(scenario).sampled(percentage, at_least=at_least), post_filter=None)
    cluster, workload = cluster_of(scenario), workload_of(scenario)
    nodes, pods = columns(cluster, workload)
    once = policy.place(nodes, pods, path="stepwise", ties="lowest")
    run = Run(policy, policy.snapshot(nodes, pods), 0, "lowest")
    part = min(first, len(pods))
    for pod in range(part):
        run.place(pod)
    start = run.snapshot.search_start
    run = Run(policy, policy.snapshot(nodes, pods), 0, "lowest")
    placed = np.flatnonzero(once.node_rows[:part] >= 0)
    run.snapshot.assume_all(placed, once.node_rows[placed])
    run.snapshot.search_start = start
    again = place_stepwise(run, lambda done: None, part)
    assert again.node_rows[part:].tolist() == once.node_rows[part:].tolist()
    # Where all nodes are looked at, it is of no matter where a search begins.
    assert once.starts is None or again.next_start == once.next_start


def narrows(scenario) -> bool:
    return "metadata.name" in json.dumps(scenario["pending"])


@settings(max_examples=10)
@given(sequences(), PERCENTAGES, AT_LEAST, st.data())
def test_samples_are_the_twins(scenario, percentage, at_least, data):
    for item in scenario["nodes"]["items"]:
        for key, values in ((REGION, ["r1", "r2", None]), (BETA_ZONE, [None, None, "b"])):
            found = data.draw(st.sampled_from(values))
            item["metadata"]["labels"] |= {} if found is None else {key: found}
    policy = replace(policy_of(scenario).sampled(percentage, at_least=at_least), post_filter=None)
    twin = TwinCluster(scenario)
    search = Search(len(twin.nodes), percentage, at_least)
    steps = [step(twin, Pod(item), search) for item in scenario["pending"]["items"]]
    chosen = [int(told["chosen"][1:]) if "chosen" in told else -1 for told in steps]
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    assert policy.place(*inputs, path="stepwise", ties="lowest").node_rows.tolist() == chosen


def test_how_many_are_enough_is_kube_schedulers_own() -> None:
    twin = Search(0, 0, 100)
    for nodes in (0, 1, 99, 100, 101, 199, 250, 1_000, 3_000, 5_000, 5_625, 6_000, 15_000, 100_000):
        assert Sampling().wanted(nodes) == twin.wanted(nodes)
    assert [Sampling(10).wanted(nodes) for nodes in (99, 500, 5_000)] == [99, 100, 500]


def test_nodes_are_taken_zone_by_zone() -> None:
    nodes, _ = inputs_of([node_of(f"n{i}", zone) for i, zone in enumerate("aabbbac")], pod_of("p"))
    assert node_order(nodes).tolist() == [0, 2, 6, 1, 3, 5, 4]
    gone = replace(nodes, alive=np.array([False, *[True] * 6]))
    assert node_order(gone).tolist() == [1, 2, 6, 5, 3, 4]
    assert node_order(replace(nodes, alive=np.zeros(7, dtype=np.bool_))).tolist() == []


def test_each_search_begins_where_the_last_one_ended() -> None:
    """Two that will do are enough; n1 is full, so the first search comes to three nodes."""
    there = [node_of(f"n{i}") for i in range(5)] + [pod_of("old", "n1", cpu="4")]
    inputs = inputs_of(there, *[pod_of(f"p{i}") for i in range(4)])
    policy = policies.policy("least-allocated").sampled(1, at_least=2)
    for path in ("scan", "stepwise"):
        decisions = policy.place(*inputs, path=path)
        assert decisions.starts.tolist() == [0, 3, 0, 3]
        assert decisions.next_start == 0
        assert decisions.node_rows.tolist() == [0, 3, 2, 4]


def test_a_search_that_finds_nothing_ends_where_it_began() -> None:
    """Of five nodes n1 alone has room for the large pod; it is the one that makes the search go all the way round."""
    there = [node_of(f"n{i}", cpu="2" if i != 1 else "4") for i in range(5)]
    inputs = inputs_of(there, *[pod_of(f"p{i}", cpu=cpu) for i, cpu in enumerate(["1", "9", "3", "3", "1"])])
    policy = policies.policy("least-allocated").sampled(1, at_least=2)
    for path in ("scan", "stepwise"):
        decisions = policy.place(*inputs, path=path, search_start=9)
        assert decisions.starts.tolist() == [9, 1, 1, 1, 1]
        assert decisions.node_rows.tolist() == [0, -1, 1, -1, 2]


def test_large_clusters_are_sampled_alike_by_all_ties() -> None:
    """400 of 1,000 nodes are looked at or more, with ties among many of them in an order that isn't that of rows."""
    cluster = Cluster.synthetic(1_000, zones=7)
    inputs = columns(cluster, Workload.synthetic(150, 10, cluster=cluster))
    for policy in (policies.policy(name).sampled() for name in ("kube-default", "first-fit")):
        for ties in ("lowest", "random"):
            slow, fast = (policy.place(*inputs, path=path, ties=ties, seed=3) for path in ("stepwise", "scan"))
            assert fast.node_rows.tolist() == slow.node_rows.tolist()
            assert fast.starts.tolist() == slow.starts.tolist()


def test_what_was_not_looked_at_is_told() -> None:
    there = {"kind": "List", "items": [node_of(f"n{i}") for i in range(4)]}
    waiting = {"kind": "List", "items": [pod_of(f"p{i}") for i in range(3)]}
    policy = policies.policy("kube-default").with_ties("lowest").sampled(1, at_least=2)
    placement = k8slab.schedule(Cluster.from_kubernetes(there), Workload.from_kubernetes(waiting), policy)
    assert placement.node_rows.tolist() == [0, 2, 1]
    told = placement.explain("default/p1")
    assert told.frame["reason"][:2].tolist() == ["not looked at: enough nodes would do before"] * 2
    assert told.frame["reason"][2:].isna().all()
    assert told.frame["feasible"].tolist() == [False, False, True, True]
    assert [judged.chosen for judged in placement.replay(range(3))] == [0, 2, 1]
    assert placement.manifest()["policy"]["sampling"] == {"percentage": 1, "at_least": 2}


def test_where_all_are_looked_at_the_fast_paths_run() -> None:
    cluster, workload = Cluster.synthetic(90), Workload.synthetic(2_000, 10, cluster=Cluster.synthetic(90))
    policy = policies.policy("most-allocated")
    whole, sampled = (k8slab.schedule(cluster, workload, each) for each in (policy, policy.sampled()))
    assert sampled.path == whole.path == "tree"
    assert sampled.node_rows.tolist() == whole.node_rows.tolist()


def test_a_comparison_can_be_made_again_with_its_samples() -> None:
    cluster = Cluster.synthetic(120)
    workload = Workload.synthetic(300, cluster=cluster)
    chosen = ["best-fit", policies.policy("best-fit").sampled(5, at_least=10)]
    result = k8slab.compare(cluster, workload, chosen, range(2), progress=False)
    again = k8slab.rerun(result.manifest(), cluster, workload, progress=False)
    assert again.content_hash() == result.content_hash()
    assert result.frame["policy"].unique().tolist() == ["best-fit", "best-fit+sampled(5%)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"percentage": 101}, "sampled: percentage is 101, wanted a whole number, 0 to 100"),
        ({"percentage": 2.5}, "sampled: percentage is 2.5, wanted a whole number, 0 to 100"),
        ({"at_least": 0}, "sampled: at_least is 0, wanted a whole number, 1 or more"),
    ],
)
def test_bad_shares_are_told(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        policies.policy("best-fit").sampled(**arguments)


def test_the_paths_that_look_at_all_nodes_refuse() -> None:
    inputs = inputs_of([node_of(f"n{i}") for i in range(4)], pod_of("p"))
    policy = policies.policy("best-fit").sampled(1, at_least=2)
    for path in ("tree", "groups"):
        with pytest.raises(InputError, match=f"can't run by path '{path}': it looks at a sample of the nodes"):
            policy.place(*inputs, path=path)
