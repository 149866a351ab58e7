"""Preemption on the compiled paths: the kernel's dry run = the numpy one = the slow twin's = what was recorded."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab import Cluster, DefaultPreemption, Policy, Workload, policies
from k8slab.domain.columns import NodeColumns, PodColumns
from k8slab.experiments.placement import columns
from k8slab.policies import Decisions, preempting
from k8slab.policies.run import Run
from tests.kube.objects import Cluster as TwinCluster
from tests.kube.objects import Pod
from tests.kube.scenario import expectation, placed_in_turn
from tests.scenarios import (
    BUDGET,
    HOSTNAME,
    KINDS,
    REQUIRED,
    bound_pod,
    cluster_of,
    lists,
    node,
    pod,
    policy_of,
    workload_of,
)
from tests.test_full_form import SEEDS, TIES, inputs_of
from tests.test_full_form import node as node_of
from tests.test_full_form import pod as pod_of

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "kube-scheduler"
KUBE = policies.policy("kube-default").with_ties("lowest")
Object = dict[str, Any]


def plain(made: Object) -> Object:
    """A pod without anything that looks at other pods or ports; what it asks and tolerates stays."""
    made["spec"] |= {"affinity": {}, "topologySpreadConstraints": []}
    for container in made["spec"]["containers"]:
        container["ports"] = []
    return made


@st.composite
def crowds(draw: st.DrawFn, most_pending: int = 12) -> Object:
    """Full nodes of pods of few priorities and starts, some protected; and pods that want in."""
    count = draw(st.integers(1, 6))
    bound = draw(st.integers(count, 5 * count))
    found = {
        "nodes": [draw(node(number)) for number in range(count)],
        "pods": [plain(draw(bound_pod(number, count))) for number in range(bound)],
        "pending": [plain(draw(pod(f"p{number:02}"))) for number in range(draw(st.integers(1, most_pending)))],
        "services": [],
        "replicaSets": [],
        "namespaces": [],
        "podDisruptionBudgets": draw(lists(BUDGET, 3)),
    }
    for number, item in enumerate(found["podDisruptionBudgets"]):
        item["metadata"] = {"name": f"budget{number}", "namespace": "default"}
        selector = draw(st.sampled_from([{"matchLabels": {"app": "a"}}, {"matchLabels": {"tier": "1"}}, {}]))
        item["spec"] = {"selector": selector}
        disrupted = draw(st.sampled_from([{}, {"b00": "2025-01-01T00:00:00Z"}]))
        item["status"] = {**item["status"], "disruptedPods": disrupted}
    return {"category": "sequence", "pluginConfig": [], **{key: {"items": items} for key, items in found.items()}}


def both(policy: Policy, nodes: NodeColumns, pods: PodColumns, **options: Any) -> Decisions:
    """What the scan decides, which is what numpy decides."""
    fast, slow = (policy.place(nodes, pods, path=path, **options) for path in ("scan", "stepwise"))
    assert fast.node_rows.tolist() == slow.node_rows.tolist()
    assert fast.evictions == slow.evictions
    return fast


RULES = st.builds(DefaultPreemption, candidate_percent=st.sampled_from([0, 10, 50, 100]), candidates=st.integers(1, 3))


@settings(max_examples=15)
@given(crowds(), RULES, SEEDS, TIES)
def test_the_kernel_lets_go_whom_numpy_lets_go(scenario, rule, seed, ties):
    assert_kernel_as_numpy(scenario, rule, seed, ties)


@pytest.mark.long
@settings(max_examples=1_000)
@given(crowds(), RULES, SEEDS, TIES)
def test_the_kernel_lets_go_whom_numpy_lets_go_a_thousand_times(scenario, rule, seed, ties):
    assert_kernel_as_numpy(scenario, rule, seed, ties)


def assert_kernel_as_numpy(scenario: Object, rule: DefaultPreemption, seed: int, ties: Any) -> None:
    policy = replace(policy_of(scenario), post_filter=rule)
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    slow = policy.place(*inputs, path="stepwise", seed=seed, ties=ties)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "place", None)  # the scan must not ask numpy
        fast = policy.place(*inputs, path="scan", seed=seed, ties=ties)
    assert fast.node_rows.tolist() == slow.node_rows.tolist()
    assert fast.evictions == slow.evictions


@settings(max_examples=10)
@given(crowds(most_pending=1))
def test_the_kernel_decides_as_the_twin(scenario):
    (waiting,) = scenario["pending"]["items"]
    rest = {key: value for key, value in scenario.items() if key != "pending"}
    expected = expectation({**rest, "category": "preemption", "pod": waiting})
    decisions = policy_of(scenario).place(
        *columns(cluster_of(scenario), workload_of(scenario)), path="scan", ties="lowest"
    )
    assert_as_told(scenario, expected["preemption"], decisions)


@settings(max_examples=10)
@given(crowds(most_pending=8), RULES)
def test_pod_after_pod_is_decided_as_by_the_twin(scenario, rule):
    waiting = [Pod(item) for item in scenario["pending"]["items"]]
    told = placed_in_turn(TwinCluster(scenario), waiting, (rule.candidate_percent, rule.candidates))
    cluster, workload = cluster_of(scenario), workload_of(scenario)
    policy = replace(policy_of(scenario), post_filter=rule)
    decisions = policy.place(*columns(cluster, workload), path="scan", ties="lowest")
    assert in_turn(decisions, cluster, workload) == told


def in_turn(decisions: Decisions, cluster: Cluster, workload: Workload) -> list[tuple[str, list[str]]]:
    """As the twin tells it: where each pod went when it came, and who had to go for it."""
    where = decisions.node_rows.tolist()
    victims: list[list[str]] = [[] for _ in where]
    for eviction in decisions.evictions:
        running = cluster.bound if eviction.bound else workload
        assert running is not None
        victims[eviction.by].append(running.names[eviction.row])
        if not eviction.bound:
            where[eviction.row] = eviction.node_row
    return [("" if row < 0 else cluster.names[row], gone) for row, gone in zip(where, victims, strict=True)]


def assert_as_told(scenario: Object, expected: Object, decisions: Decisions) -> None:
    names = [item["metadata"]["name"] for item in scenario["nodes"]["items"]]
    if not expected["ran"]:
        assert not decisions.evictions
        return
    (row,) = decisions.node_rows.tolist()
    assert ("" if row < 0 else names[row]) == min(expected["nominatedTies"], key=names.index, default="")
    if row >= 0:
        running = cluster_of(scenario).bound
        assert running is not None
        gone = [running.names[eviction.row] for eviction in decisions.evictions]
        assert gone == expected["candidates"][names[row]]["victims"]


@pytest.mark.skipif(not RECORDED.exists(), reason="needs the recordings of kube-scheduler")
def test_the_compiled_path_decides_as_kube_scheduler_was_seen_to_do() -> None:
    preempted = 0
    with gzip.open(RECORDED / "preemption.jsonl.gz", "rt") as lines:
        for scenario in map(json.loads, lines):
            if scenario.get("nominatedPods"):
                continue  # those are stepwise
            whole = {**{key: {"items": []} for key in KINDS}, "pluginConfig": [], **scenario}
            whole["pending"] = {"items": [scenario["pod"]]}
            decisions = both(policy_of(whole), *columns(cluster_of(whole), workload_of(whole)), ties="lowest")
            assert_as_told(whole, scenario["expect"]["preemption"], decisions)
            preempted += bool(decisions.evictions)
    assert preempted >= 20


# -- by hand ----------------------------------------------------------------------------


def test_what_stays_when_odd_amounts_go_is_counted_to_the_last_unit() -> None:
    """The unit of cpu has to divide what may go, not only what is there and what comes: 1.5 cores stay, not 1."""
    there = [node_of("n0"), pod_of("odd", "n0", cpu="2500m"), pod_of("stays", "n0", cpu="1500m", priority=9)]
    waiting = [pod_of("first", cpu="2", priority=5), pod_of("second", cpu="1")]
    decisions = both(KUBE, *inputs_of(there, *waiting))
    assert decisions.node_rows.tolist() == [0, -1]


def test_of_equals_those_whom_a_budget_protects_are_named_first() -> None:
    budget = {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"kept": "yes"}}},
        "status": {"disruptionsAllowed": 0},
    }
    free, kept = pod_of("free", "n0", cpu="2"), pod_of("kept", "n0", cpu="2")
    kept["metadata"]["labels"]["kept"] = "yes"
    decisions = both(KUBE, *inputs_of([node_of("n0"), free, kept, budget], pod_of("p", cpu="4", priority=1)))
    assert [eviction.row for eviction in decisions.evictions] == [1, 0]


def test_a_pod_that_looks_at_others_is_decided_by_numpy_in_between() -> None:
    apart = {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": "x"}}}]}}
    there = [node_of(f"n{i}") for i in range(3)] + [pod_of(f"old{i}", f"n{i}", cpu="4", priority=i) for i in range(3)]
    for item in there[3:]:
        item["metadata"]["labels"] = {"app": "y"}
    waiting = [pod_of(f"p{i}", cpu="3", priority=10 + i, affinity=apart if i % 2 else {}) for i in range(5)]
    decisions = both(KUBE, *inputs_of(there, *waiting))
    assert decisions.node_rows.tolist() == [-1, -1, 2, 0, 1]


def test_on_one_node_nothing_is_counted_twice() -> None:
    web = [{"containerPort": 8, "hostPort": 80}]
    waiting = [pod_of("p0"), pod_of("p1", priority=10), pod_of("p2")]
    for item in waiting[:2]:
        item["spec"]["containers"][0]["ports"] = web
    assert both(KUBE, *inputs_of([node_of("n0", pods="2")], *waiting)).node_rows.tolist() == [-1, 0, 0]


@pytest.mark.parametrize("bytes_kept", [0, 10**9])
def test_what_searches_found_may_be_forgotten(monkeypatch: pytest.MonkeyPatch, bytes_kept: int) -> None:
    monkeypatch.setattr(preempting, "KNOWN_BYTES", bytes_kept)
    there = [node_of(f"n{i}") for i in range(4)]
    there += [pod_of(f"old{i}", f"n{i % 4}", cpu="2", priority=i % 3) for i in range(8)]
    waiting = [pod_of(f"p{i}", cpu=str(1 + i % 3), priority=1 + i % 4) for i in range(12)]
    assert len(both(KUBE, *inputs_of(there, *waiting)).evictions) == 9
