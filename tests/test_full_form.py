"""kube-default with all its plug-ins: scan = stepwise = the slow twin, for whole sequences, with preemption too."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab import Cluster, Workload, policies
from k8slab.domain.columns import NodeColumns, PodColumns
from k8slab.errors import InputError
from k8slab.experiments.placement import columns
from k8slab.policies import Decisions, Policy, engine, scan
from tests.kube.scenario import expectation
from tests.scenarios import HOSTNAME, REQUIRED, ZONE, cluster_of, policy_of, sequences, workload_of

SEEDS = st.integers(0, 2**63 - 1)
TIES = st.sampled_from(["lowest", "random"])


def placed(policy: Policy, nodes: NodeColumns, pods: PodColumns, path: Any, **options: Any) -> Decisions:
    decisions = policy.place(nodes, pods, path=path, **options)
    assert decisions.path == path
    return decisions


def scanned(policy: Policy, nodes: NodeColumns, pods: PodColumns, **options: Any) -> Decisions:
    """What the scan decides, which is what numpy decides."""
    fast, slow = (placed(policy, nodes, pods, path, **options) for path in ("scan", "stepwise"))
    assert fast.node_rows.tolist() == slow.node_rows.tolist()
    assert fast.evictions == slow.evictions
    return fast


# -- random clusters -----------------------------------------------------------------


@settings(max_examples=25)
@given(sequences())
def test_the_scan_decides_as_the_twin(scenario):
    policy = replace(policy_of(scenario), post_filter=None)
    steps = expectation(scenario)["steps"]
    chosen = [int(step["chosen"][1:]) if "chosen" in step else -1 for step in steps]
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    assert placed(policy, *inputs, "scan", ties="lowest").node_rows.tolist() == chosen


@settings(max_examples=25)
@given(sequences(), SEEDS, TIES)
def test_the_scan_decides_as_stepwise_and_evicts_the_same(scenario, seed, ties):
    scanned(policy_of(scenario), *columns(cluster_of(scenario), workload_of(scenario)), seed=seed, ties=ties)


@settings(max_examples=15)
@given(sequences(), st.data())
def test_removed_nodes_and_gated_pods_decide_alike(scenario, data):
    for pod in scenario["pending"]["items"]:
        if data.draw(st.integers(0, 3)) == 0:
            pod["spec"]["schedulingGates"] = [{"name": "quota"}]
    nodes, pods = columns(cluster_of(scenario), workload_of(scenario))
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=len(nodes), max_size=len(nodes))))
    decisions = scanned(policy_of(scenario), replace(nodes, alive=alive), pods)
    for pod, row in enumerate(decisions.node_rows.tolist()):
        assert row < 0 or (alive[row] and not pods.spec(pod).gates)


@settings(max_examples=15)
@given(sequences(), st.sampled_from(policies.policy_names()))
def test_every_shipped_policy_heeds_other_pods_by_the_scan(scenario, name):
    scanned(policies.policy(name), *columns(cluster_of(scenario), workload_of(scenario)))


@settings(max_examples=10)
@given(sequences())
def test_tables_that_do_not_fit_in_memory_together_are_made_one_after_another(scenario):
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    whole = placed(policy_of(scenario), *inputs, "scan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "SITE_BYTES", 1)
        parts = placed(policy_of(scenario), *inputs, "scan")
    assert parts.node_rows.tolist() == whole.node_rows.tolist()
    assert parts.evictions == whole.evictions


# -- by hand -------------------------------------------------------------------------


def node(name: str, zone: str = "a", **allocatable: str) -> dict[str, Any]:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110", **allocatable}
    labels = {HOSTNAME: name, ZONE: zone}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"allocatable": amounts}}


def pod(name: str, on: str = "", cpu: str = "1", priority: int = 0, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "app", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
    spec = {"containers": [container], "priority": priority, **({"nodeName": on} if on else {}), **spec}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": "x"}}, "spec": spec}


def inputs_of(there: list[dict[str, Any]], *waiting: dict[str, Any]) -> tuple[NodeColumns, PodColumns]:
    cluster = Cluster.from_kubernetes({"kind": "List", "items": there})
    return columns(cluster, Workload.from_kubernetes({"kind": "List", "items": list(waiting)}))


APP = {"matchLabels": {"app": "x"}}
APART = {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOSTNAME, "labelSelector": APP}]}}
EVEN = [{"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": APP}]
KUBE = policies.policy("kube-default").with_ties("lowest")


def test_one_pod_a_host_and_then_none() -> None:
    nodes = [node(f"n{i}") for i in range(3)]
    inputs = inputs_of(nodes, *[pod(f"p{i}", affinity=APART) for i in range(4)])
    assert scanned(KUBE, *inputs).node_rows.tolist() == [0, 1, 2, -1]


def test_zones_fill_evenly() -> None:
    nodes = [node("n0", "a", cpu="64"), node("n1", "a", cpu="64"), node("n2", "b")]
    inputs = inputs_of(nodes, *[pod(f"p{i}", topologySpreadConstraints=EVEN) for i in range(10)])
    rows = scanned(KUBE, *inputs).node_rows
    # The small zone takes four pods; the large one may be one ahead.
    assert [(rows == 2).sum(), (rows < 0).sum()] == [4, 1]


def test_too_few_domains_count_an_empty_one() -> None:
    nodes = [node("n0", "a"), node("n1", "b")]
    three = [{**EVEN[0], "minDomains": 3}]
    inputs = inputs_of(nodes, *[pod(f"p{i}", topologySpreadConstraints=three) for i in range(3)])
    assert scanned(KUBE, *inputs).node_rows.tolist() == [0, 1, -1]


def test_pods_make_room_one_after_another_and_what_came_between_is_known() -> None:
    nodes = [node("n0"), node("n1"), pod("old", "n0", cpu="4"), pod("older", "n1", cpu="3")]
    waiting = (
        pod("small"),  # n1 is full now
        pod("first", cpu="4", priority=10),  # "old" goes
        pod("late"),  # nothing is free, and nobody matters less
        pod("second", cpu="4", priority=10),  # "older" and "small" go
        pod("third", cpu="4", priority=10),
    )
    decisions = scanned(KUBE, *inputs_of(nodes, *waiting))
    assert decisions.node_rows.tolist() == [-1, 0, -1, 1, -1]
    assert [(e.row, e.bound, e.node_row, e.by) for e in decisions.evictions] == [
        (0, True, 0, 1), (1, True, 1, 3), (0, False, 1, 3)]  # fmt: skip


def test_the_tree_knows_who_made_room() -> None:
    nodes = [node("n0"), node("n1"), pod("old", "n0", cpu="4"), pod("older", "n1", cpu="3")]
    waiting = (pod("small"), pod("first", cpu="4", priority=10), pod("late"), pod("next", priority=10), pod("last"))
    inputs = inputs_of(nodes, *waiting)
    decisions = placed(KUBE, *inputs, "tree")
    assert decisions.node_rows.tolist() == [-1, 0, -1, 1, -1]
    assert decisions.evictions == placed(KUBE, *inputs, "stepwise").evictions
    assert len(decisions.evictions) == 2


def test_a_pod_that_never_preempts_stays_out() -> None:
    nodes = [node("n0"), pod("old", "n0", cpu="4")]
    inputs = inputs_of(nodes, pod("meek", priority=10, preemptionPolicy="Never"), pod("p", priority=10))
    assert scanned(KUBE, *inputs).node_rows.tolist() == [-1, 0]


# -- which path ----------------------------------------------------------------------


def test_the_fastest_path_that_heeds_all_is_taken(monkeypatch) -> None:
    monkeypatch.setattr(engine, "SMALL_PODS", -1)
    nodes, plain = [node(f"n{i}") for i in range(3)], pod("p")
    assert KUBE.place(*inputs_of(nodes, plain)).path == "tree"
    assert KUBE.place(*inputs_of(nodes, pod("p", affinity=APART))).path == "scan"
    bound = pod("old", "n0", priority=-1)
    assert KUBE.place(*inputs_of([*nodes, bound], plain)).path == "tree"
    promised = {**pod("q"), "status": {"nominatedNodeName": "n0"}}
    assert KUBE.place(*inputs_of([*nodes, promised], plain)).path == "stepwise"


def nothing_asked() -> dict[str, Any]:
    made = copy.deepcopy(pod("p"))
    made["spec"]["containers"][0]["resources"] = {}
    return made


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (pod("p", affinity=APART), "filter 'InterPodAffinity' looks at other pods"),
        (pod("p", topologySpreadConstraints=EVEN), "filter 'PodTopologySpread' looks at other pods"),
        (nothing_asked(), "a pod counts for other amounts than it requests"),
    ],
)
def test_why_there_is_no_tree_is_told(waiting: dict[str, Any], reason: str) -> None:
    inputs = inputs_of([node("n0"), pod("old", "n0")], waiting)
    others = "path='groups', path='scan' and path='stepwise' can"
    with pytest.raises(InputError, match=f"can't run by path 'tree': {reason}; {others}"):
        KUBE.place(*inputs, path="tree")


def test_why_there_is_no_compiled_path_is_told() -> None:
    promised = {**pod("q"), "status": {"nominatedNodeName": "n0"}}
    inputs = inputs_of([node("n0"), promised], pod("p"))
    with pytest.raises(InputError, match="path 'scan': a node is promised to a waiting pod; path='stepwise' can"):
        KUBE.place(*inputs, path="scan")
