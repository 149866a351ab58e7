"""The kube-scheduler plug-ins by their properties, on scenarios that hypothesis makes: the library against
the twin to the digit, what the order of nodes or one more node may change, and what a snapshot keeps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from k8slab.datasets import Cluster, Workload
from k8slab.experiments.conform_kube_scheduler import actual
from k8slab.experiments.placement import columns
from k8slab.policies.policy import Policy
from k8slab.policies.profile import policy_from_configuration
from k8slab.policies.snapshot import Snapshot
from tests.kube.filters import spread_constraints
from tests.kube.generate import PLUGINS, mixed_scenarios, nodes, random_scenario, scenarios
from tests.kube.objects import Cluster as TwinCluster
from tests.kube.objects import Pod as TwinPod
from tests.kube.scenario import differences, expectation
from tests.kube.scores import image_name

Json = dict[str, Any]

CATEGORIES = ("mixed", "preemption", "sequence", "gates")
NEW = "new"
# Enough to meet each rule's corners in seconds; the long tests try thousands.
few = settings(max_examples=10, derandomize=True, database=None)
some = settings(max_examples=20, derandomize=True, database=None)


# -- the library against the twin ------------------------------------------------


def assert_as_the_twin(case: Json) -> None:
    wrong = list(differences(expectation(case), actual(case)))
    assert not wrong, "\n".join(wrong[:5])


@pytest.mark.parametrize("plugin", PLUGINS)
@few
@given(data=st.data())
def test_each_plugin_decides_as_its_twin(plugin: str, data: st.DataObject) -> None:
    category = data.draw(st.sampled_from(CATEGORIES[:3]))
    assert_as_the_twin(data.draw(scenarios(*PLUGINS[plugin], category=category)))


@pytest.mark.parametrize("category", CATEGORIES)
@few
@given(data=st.data())
def test_all_plugins_together_decide_as_their_twins(category: str, data: st.DataObject) -> None:
    assert_as_the_twin(data.draw(mixed_scenarios(category)))


@pytest.mark.parametrize("category", CATEGORIES)
def test_evenly_drawn_scenarios_are_decided_as_by_the_twin(category: str) -> None:
    for seed in range(30):
        assert_as_the_twin(random_scenario(seed, category))


@pytest.mark.long
@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("first", range(0, 2000, 500))
def test_thousands_of_scenarios_are_decided_as_by_the_twin(category: str, first: int) -> None:
    for seed in range(first, first + 500):
        assert_as_the_twin(random_scenario(seed, category))


def test_the_scenarios_meet_what_they_are_made_for() -> None:
    """Strategies that drift away from the rules would leave the properties true and empty."""
    refused: dict[str, int] = {}
    told = {"scored": 0, "candidates": 0, "several best nodes": 0, "budgets broken": 0}
    scored: set[str] = set()
    for seed in range(150):
        expected = expectation(random_scenario(seed, "preemption" if seed % 2 else "mixed"))
        for verdict in expected["filter"].values():
            name = verdict.get("plugin", "feasible")
            refused[name] = refused.get(name, 0) + 1
        for entry in expected.get("scores", {}).values():
            scored |= {name for name, part in entry["plugins"].items() if part["raw"]}
        candidates = expected.get("preemption", {}).get("candidates") or {}
        told["scored"] += "scores" in expected
        told["several best nodes"] += len(expected.get("best", ())) > 1
        told["candidates"] += bool(candidates)
        told["budgets broken"] += any(candidate["numPDBViolations"] for candidate in candidates.values())
    assert sorted(refused) == [
        "InterPodAffinity", "NodeAffinity", "NodeName", "NodePorts", "NodeResourcesFit", "NodeUnschedulable",
        "PodTopologySpread", "TaintToleration", "feasible",
    ]  # fmt: skip
    assert sorted(scored) == [
        "ImageLocality", "InterPodAffinity", "NodeAffinity", "NodeResourcesBalancedAllocation", "NodeResourcesFit",
        "PodTopologySpread", "TaintToleration",
    ]  # fmt: skip
    assert all(told.values()), told


# -- the order of nodes ------------------------------------------------------------


@pytest.mark.parametrize("category", ["mixed", "preemption"])
@some
@given(data=st.data())
def test_the_order_of_nodes_changes_nothing(category: str, data: st.DataObject) -> None:
    """Ties are told as sets. The one thing that shows the order is an image that nodes give different sizes:
    the first node's counts, so here all images are of one size.
    """
    case = data.draw(mixed_scenarios(category))
    for image in images_of(case):
        image["sizeBytes"] = 2**29
    turned = copy.deepcopy(case)
    turned["nodes"]["items"] = data.draw(st.permutations(turned["nodes"]["items"]))
    assert list(differences(actual(case), actual(turned))) == []


def images_of(case: Json) -> Iterator[Json]:
    for node in case["nodes"]["items"]:
        yield from node["status"].get("images") or []


# -- one more node -------------------------------------------------------------------


@pytest.mark.parametrize("category", ["mixed", "preemption"])
@some
@given(data=st.data())
def test_a_node_that_fails_a_filter_changes_nothing_elsewhere(category: str, data: st.DataObject) -> None:
    """But for two that count nodes. PodTopologySpread's filter: one that has all the keys and is included
    brings a domain, which may be the emptiest. ImageLocality's score: an image is spread over more nodes.
    """
    case = data.draw(mixed_scenarios(category))
    more = copy.deepcopy(case)
    more["nodes"]["items"].append(data.draw(nodes(NEW)))
    before, after = actual(case), actual(more)
    assume(not after.get("filter", {}).get(NEW, {"feasible": True})["feasible"])
    new = after["filter"].pop(NEW)
    assert new["reasons"]
    if brings_a_domain(more):
        # Whom an earlier plug-in refused is refused as before; the others, only by the plug-ins from there on.
        spreading = ("PodTopologySpread", "InterPodAffinity")
        moved = [name for name, verdict in after["filter"].items() if verdict != before["filter"][name]]
        verdicts = [told["filter"][name] for told in (before, after) for name in moved]
        assert {verdict.get("plugin", spreading[0]) for verdict in verdicts} <= set(spreading)
        return
    assert after["filter"] == before["filter"]
    assert after["preFilter"] == before["preFilter"]
    keys = ("weights", "skippedScore", "scores", "best")
    if wants_a_listed_image(more):
        for told in (before, after):
            told.pop("best", None)
            for entry in told.get("scores", {}).values():
                del entry["plugins"]["ImageLocality"], entry["total"]
    assert [after.get(key) for key in keys] == [before.get(key) for key in keys]
    assert others_preempted(after) == others_preempted(before)


def brings_a_domain(more: Json) -> bool:
    """Whether the last node counts for a DoNotSchedule constraint."""
    cluster, pod = TwinCluster(more), TwinPod(more["pod"])
    node = cluster.nodes[-1]
    hard = spread_constraints(cluster, pod, "DoNotSchedule")
    return all(rule.key in node.labels for rule in hard) and any(rule.includes(node) for rule in hard)


def wants_a_listed_image(more: Json) -> bool:
    listed = {name for image in images_of(more) for name in image["names"]}
    spec = more["pod"]["spec"]
    return any(image_name(c["image"]) in listed for c in [*spec["containers"], *spec.get("initContainers", [])])


def others_preempted(told: Json) -> Any:
    """What preemption would do on the nodes but the new one."""
    found = told.get("preemption", {})
    parts = [found.get(key) or {} for key in ("candidates", "nonCandidates")]
    return found.get("ran"), [{name: one for name, one in part.items() if name != NEW} for part in parts]


# -- what a snapshot keeps ---------------------------------------------------------------


def policy_of(case: Json) -> Policy:
    return policy_from_configuration({"profiles": [{"pluginConfig": case.get("pluginConfig") or []}]})


def snapshot_of(case: Json, bound: dict[str, str] | None = None) -> Snapshot:
    """The cluster of a sequence before its pending pods; some of which may be bound beforehand, under other names."""
    pods = copy.deepcopy(case["pending"]["items"])
    for name, node in (bound or {}).items():
        pod = copy.deepcopy(next(pod for pod in pods if pod["metadata"]["name"] == name))
        pod["metadata"]["name"] += "-bound"
        pod["spec"]["nodeName"] = node
        case = {**case, "pods": {"items": [*case["pods"]["items"], pod]}}
    kinds = {
        "nodes": "Node", "pods": "Pod", "nominatedPods": "Pod", "namespaces": "Namespace", "services": "Service",
        "replicationControllers": "ReplicationController", "replicaSets": "ReplicaSet", "statefulSets": "StatefulSet",
    }  # fmt: skip
    items = [{**item, "kind": kind} for key, kind in kinds.items() for item in case.get(key, {}).get("items", [])]
    cluster = Cluster.from_kubernetes({"kind": "List", "items": items})
    workload = Workload.from_kubernetes({"kind": "PodList", "items": pods}, which="given")
    return policy_of(case).snapshot(*columns(cluster, workload))


def kept(snapshot: Snapshot, *, ports: bool = True) -> Json:
    """All that a snapshot keeps up to date, by names that another of the same cluster has as well."""
    names = snapshot.nodes.schema.names
    amounts = {"requested": snapshot.nodes.requested, "nonzero": snapshot.nonzero}
    return {
        **{key: dict(zip(names, held.tolist(), strict=True)) for key, held in amounts.items()},
        "counters": {identity: counter.amounts.tolist() for identity, counter in snapshot._counters.items()},
        "promised": {node: list(rows) for node, rows in snapshot._promised.items() if rows},
        "ports": {port: snapshot.ports[row].tolist() for port, row in snapshot._port_rows.items()} if ports else {},
        "guests": [
            [guest.name.removesuffix("-bound") for guest in snapshot.guests(row)] for row in range(len(snapshot.nodes))
        ],
    }


@st.composite
def placements(draw: st.DrawFn) -> tuple[Json, list[tuple[int, int]]]:
    """A sequence, and (pod, node row) of some of its pods in an order."""
    case = draw(mixed_scenarios("sequence"))
    pods = draw(st.permutations(range(len(case["pending"]["items"]))))
    rows = st.integers(0, len(case["nodes"]["items"]) - 1)
    return case, [(pod, draw(rows)) for pod in pods[: draw(st.integers(0, len(pods)))]]


@some
@given(placements())
def test_forgetting_takes_back_what_assuming_did(drawn: tuple[Json, list[tuple[int, int]]]) -> None:
    """Ports aside: they are a set, so a pod that goes frees its own even where another has them too."""
    case, placed = drawn
    snapshot = snapshot_of(case)
    before, ports = kept(snapshot, ports=False), snapshot.ports.copy()
    for pod, row in placed:
        snapshot.assume(pod, row)
    for pod, row in reversed(placed):
        snapshot.forget(pod, row)
    assert kept(snapshot, ports=False) == before
    freed = np.zeros_like(ports)
    for pod, row in placed:
        for port in snapshot.pods.spec(pod).ports:
            freed[snapshot._port_rows[port], row] = True
    assert snapshot.ports.tolist() == (ports & ~freed).tolist()


@some
@given(placements())
def test_one_by_one_at_once_or_bound_before_is_the_same(drawn: tuple[Json, list[tuple[int, int]]]) -> None:
    case, placed = drawn
    one_by_one, at_once = snapshot_of(case), snapshot_of(case)
    for pod, row in placed:
        one_by_one.assume(pod, row)
    pods, rows = (np.array([pair[i] for pair in placed], dtype=np.int64) for i in (0, 1))
    at_once.assume_all(pods, rows)
    assert kept(at_once) == kept(one_by_one)
    names = [one["metadata"]["name"] for one in case["pending"]["items"]]
    node_names = [one["metadata"]["name"] for one in case["nodes"]["items"]]
    fresh = snapshot_of(case, {names[pod]: node_names[row] for pod, row in placed})
    assert kept(fresh) == kept(one_by_one)
    policy = policy_of(case)
    for pod in range(len(names)):
        here, there = policy.judge(one_by_one, pod), policy.judge(fresh, pod)
        assert (here.message(), here.raw.tolist(), here.total.tolist()) == (
            there.message(), there.raw.tolist(), there.total.tolist())  # fmt: skip


@some
@given(placements(), st.data())
def test_a_trial_leaves_everything_as_it_was(drawn: tuple[Json, list[tuple[int, int]]], data: st.DataObject) -> None:
    case, placed = drawn
    snapshot = snapshot_of(case)
    for pod, row in placed:
        snapshot.assume(pod, row)
    before = kept(snapshot)
    row = data.draw(st.integers(0, len(snapshot.nodes) - 1))
    guests = snapshot.guests(row)
    with snapshot.trial(row) as trial:
        for guest in data.draw(st.permutations(guests)):
            trial.remove(guest.crowd, guest.row)
            if data.draw(st.booleans()):
                trial.add(guest.crowd, guest.row)
        for other in snapshot.nominated_to(row, 0):
            trial.add(snapshot.nominated, other)
    assert kept(snapshot) == before


# -- what these properties have found ----------------------------------------------------------


def scenario(nodes: list[Json], pods: list[Json], **more: Any) -> Json:
    return {"category": "mixed", "nodes": {"items": nodes}, "pods": {"items": pods}, **more}


def node(name: str, labels: Json | None = None, **spec: Any) -> Json:
    status = {
        "allocatable": {"cpu": "4", "memory": "4Gi", "pods": "9", "hugepages-2Mi": "8Mi"},
        **spec.pop("status", {}),
    }
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": status}


def pod(name: str, on: str = "", requests: Json | None = None, status: Json | None = None, **spec: Any) -> Json:
    spec = {"containers": [{"name": "c", "resources": {"requests": requests or {}}}], "nodeName": on, **spec}
    return {"metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec, "status": status or {}}


def test_a_node_that_is_not_ready_is_refused_by_its_taint() -> None:
    """Not by its condition under another plug-in's name: who tolerates the taint may go there."""
    taints = [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]
    unready = node("n", status={"conditions": [{"type": "Ready", "status": "False"}]}, taints=taints)
    refused = scenario([unready], [], pod=pod("p"))
    assert actual(refused)["filter"]["n"]["plugin"] == "TaintToleration"
    assert_as_the_twin(refused)
    tolerant = pod(
        "p", tolerations=[{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
    )
    assert actual(scenario([unready], [], pod=tolerant))["filter"] == {"n": {"feasible": True}}


def test_the_number_of_pods_is_no_resource_to_score() -> None:
    resources = {"resources": [{"name": "pods", "weight": 1}, {"name": "cpu", "weight": 1}]}
    fit = {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "LeastAllocated", **resources}}}
    balance = {"name": "NodeResourcesBalancedAllocation", "args": resources}
    case = scenario([node("n")], [], pod=pod("p", requests={"memory": "1Gi"}), pluginConfig=[fit, balance])
    told = actual(case)
    assert told["scores"]["n"]["plugins"]["NodeResourcesFit"]["raw"] == 97  # cpu alone: 3900 of 4000
    assert "NodeResourcesBalancedAllocation" in told["skippedScore"]
    assert_as_the_twin(case)


def test_of_equal_victims_those_that_a_budget_protects_are_told_first() -> None:
    started = {"startTime": "2026-01-01T00:00:00Z"}
    bound = [pod(name, "n", {"cpu": "2"}, started) for name in ("free", "kept")]
    bound[0]["metadata"]["labels"] = {"app": "y"}
    budget = {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "x"}}}, "status": {}}
    preemptor = pod("p", requests={"cpu": "4"}, priority=9)
    case = scenario([node("n")], bound, pod=preemptor, podDisruptionBudgets={"items": [budget]})
    case["category"] = "preemption"
    assert actual(case)["preemption"]["victims"] == ["default/kept", "default/free"]
    assert_as_the_twin(case)


def test_an_empty_domain_is_not_a_missing_one() -> None:
    term = {"topologyKey": "rack", "labelSelector": {"matchLabels": {"app": "x"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    case = scenario([node("n", {"rack": ""}), node("m")], [pod("q", "n")], pod=pod("p", affinity=apart))
    assert [verdict["feasible"] for verdict in actual(case)["filter"].values()] == [False, True]
    assert_as_the_twin(case)


def test_a_resized_pod_counts_the_same_assumed_or_bound_before() -> None:
    resized = {"name": "c", "resources": {"requests": {"hugepages-2Mi": "4Mi"}}}
    waiting = pod("p", requests={"hugepages-2Mi": "2Mi"}, status={"containerStatuses": [resized]})
    del waiting["spec"]["nodeName"]
    case = scenario([node("n")], [], pending={"items": [waiting]})
    assumed = snapshot_of(case)
    assumed.assume(0, 0)
    assert kept(assumed)["nonzero"]["hugepages-2Mi"] == [2**22]
    assert kept(assumed) == kept(snapshot_of(case, {"p": "n"}))


def test_the_pods_of_a_sequence_leave_room_for_nominated_ones() -> None:
    nominated = pod("m", requests={"cpu": "3"}, status={"nominatedNodeName": "n"})
    case = scenario([node("n")], [], pending={"items": [pod("p", requests={"cpu": "2"})]})
    case["nominatedPods"] = {"items": [nominated]}
    assert actual(case)["steps"][0]["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    assert_as_the_twin(case)
