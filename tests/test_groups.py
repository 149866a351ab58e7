"""Placing by groups of alike nodes: the same as by the scan, by numpy and by the slow twin, pod by pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from k8slab import Cluster, Workload, label, policies, score_plugin
from k8slab.domain.columns import Names, NodeColumns, PodColumns
from k8slab.errors import InputError
from k8slab.experiments.placement import columns
from k8slab.kernels import candidates
from k8slab.policies import Policy, engine, grouping, scan
from k8slab.policies.profile import policy_from_configuration
from tests.group_mutants import MUTANTS, Mutant, planted
from tests.kube.scenario import expectation
from tests.scenarios import HOSTNAME, PREFERRED, REQUIRED, ZONE, cluster_of, policy_of, sequences, workload_of
from tests.test_full_form import APART, APP, EVEN, KUBE, inputs_of, node, placed, pod

SEEDS = st.integers(0, 2**63 - 1)
TIES = st.sampled_from(["lowest", "random"])
# Every topology key read host by host, as many keys as usual making groups, all of them.
PARTS = st.sampled_from([0.0, grouping.GROUPS_PART, 2.0])


def grouped(policy: Policy, nodes: NodeColumns, pods: PodColumns, part: float = 1 / 8, **options: Any) -> list[int]:
    """What the groups decide, which is what the scan decides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "GROUPS_PART", part)
        fast = placed(policy, nodes, pods, "groups", **options)
    slow = placed(policy, nodes, pods, "scan", **options)
    assert fast.node_rows.tolist() == slow.node_rows.tolist()
    assert fast.evictions == slow.evictions
    rows: list[int] = fast.node_rows.tolist()
    return rows


def repeated(scenario: Any, times: int) -> tuple[NodeColumns, PodColumns]:
    """A scenario's inputs, its pods to schedule coming again and again: cells fill, split and empty."""
    workload = workload_of(scenario)
    rows = np.tile(np.arange(len(workload)), times)
    many = replace(workload.take(rows), names=Names(prefix="q", count=len(rows)))
    return columns(cluster_of(scenario), many)


# What pods of one app say of one another.
NEAR = {"podAffinity": {REQUIRED: [{"topologyKey": HOSTNAME, "labelSelector": APP}]}}
LIKING = {
    "podAffinity": {PREFERRED: [{"weight": 9, "podAffinityTerm": {"topologyKey": HOSTNAME, "labelSelector": APP}}]}
}
NOBODY = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": "nobody"}}}
INDIFFERENT = {"podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": NOBODY}]}}
BY_HOST = [{**EVEN[0], "topologyKey": HOSTNAME}]
RATHER_BY_HOST = [{**BY_HOST[0], "whenUnsatisfiable": "ScheduleAnyway"}]
SAYINGS = [
    {},
    {"affinity": APART},
    {"affinity": NEAR},
    {"affinity": LIKING},
    {"affinity": INDIFFERENT},
    {"topologySpreadConstraints": EVEN},
    {"topologySpreadConstraints": BY_HOST},
    {"topologySpreadConstraints": RATHER_BY_HOST},
    {"topologySpreadConstraints": [*EVEN, *RATHER_BY_HOST], "affinity": LIKING},
    {"topologySpreadConstraints": [*RATHER_BY_HOST, {**EVEN[0], "whenUnsatisfiable": "ScheduleAnyway"}]},
]


@st.composite
def crowds(draw: st.DrawFn) -> tuple[NodeColumns, PodColumns]:
    """Nodes that many pods of one app fill; each pod says one thing of the others, most of them the same.

    Thirty nodes make trees of more than one level.
    """
    count = draw(st.sampled_from([2, 3, 5, 9, 30, 30]))
    sizes = draw(st.lists(st.sampled_from(["300m", "1", "4"]), min_size=count, max_size=count))
    there = [node(f"n{i}", "abc"[i * 2 % 3], cpu=size) for i, size in enumerate(sizes)]
    said = draw(st.lists(st.sampled_from(SAYINGS), min_size=1, max_size=3))
    turns = draw(st.lists(st.integers(0, len(said) - 1), min_size=4, max_size=24))
    port = draw(st.sampled_from([0, 0, 80]))
    waiting = [pod(f"p{i}", cpu="100m", **said[turn]) for i, turn in enumerate(turns)]
    for item in waiting[::2] if port else ():
        item["spec"]["containers"][0]["ports"] = [{"containerPort": port, "hostPort": port}]
    return inputs_of(there, *waiting)


# -- random clusters -----------------------------------------------------------------


@settings(max_examples=25)
@given(sequences(), SEEDS, TIES, PARTS, st.integers(1, 4))
def test_groups_decide_and_evict_as_the_scan(scenario, seed, ties, part, times):
    grouped(policy_of(scenario), *repeated(scenario, times), part, seed=seed, ties=ties)


@settings(max_examples=25)
@given(crowds(), SEEDS, TIES, PARTS)
def test_groups_decide_as_the_scan_in_a_crowd(inputs, seed, ties, part):
    grouped(KUBE, *inputs, part, seed=seed, ties=ties)


@pytest.mark.long
@settings(max_examples=1500, deadline=None)
@given(sequences(), SEEDS, TIES, PARTS, st.integers(1, 6))
def test_groups_decide_and_evict_as_the_scan_at_length(scenario, seed, ties, part, times):
    grouped(policy_of(scenario), *repeated(scenario, times), part, seed=seed, ties=ties)


@settings(max_examples=15)
@given(sequences(), PARTS)
def test_groups_decide_as_the_twin(scenario, part):
    policy = replace(policy_of(scenario), post_filter=None)
    steps = expectation(scenario)["steps"]
    chosen = [int(step["chosen"][1:]) if "chosen" in step else -1 for step in steps]
    inputs = columns(cluster_of(scenario), workload_of(scenario))
    assert grouped(policy, *inputs, part, ties="lowest") == chosen


@settings(max_examples=10)
@given(sequences(), SEEDS, TIES, PARTS)
def test_groups_decide_as_stepwise(scenario, seed, ties, part):
    policy, inputs = policy_of(scenario), repeated(scenario, 2)
    stepwise = placed(policy, *inputs, "stepwise", seed=seed, ties=ties)
    assert grouped(policy, *inputs, part, seed=seed, ties=ties) == stepwise.node_rows.tolist()


@settings(max_examples=10)
@given(sequences(), PARTS, st.data())
def test_removed_nodes_and_gated_pods_decide_alike(scenario, part, data):
    for item in scenario["pending"]["items"]:
        if data.draw(st.integers(0, 3)) == 0:
            item["spec"]["schedulingGates"] = [{"name": "quota"}]
    nodes, pods = repeated(scenario, 2)
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=len(nodes), max_size=len(nodes))))
    for index, row in enumerate(grouped(policy_of(scenario), replace(nodes, alive=alive), pods, part)):
        assert row < 0 or (alive[row] and not pods.spec(index).gates)


@settings(max_examples=10)
@given(sequences(), PARTS, st.sampled_from(["kube-default", "most-allocated", "best-fit", "balanced"]))
def test_other_policies_decide_alike_too(scenario, part, name):
    known = name if name in policies.policy_names() else "kube-default"
    grouped(policies.policy(known), *repeated(scenario, 2), part)


@settings(max_examples=10)
@given(sequences(), PARTS, st.integers(-9, 700), st.integers(-9, 9))
def test_scores_of_users_decide_alike_too(scenario, part, here, there):
    @score_plugin(inside=label(ZONE) == "a")
    def taste(inside: Any, score: Any) -> None:
        score[:] = np.where(inside, here, there)

    grouped(policy_of(scenario).with_score(taste), *repeated(scenario, 2), part)


# -- mistakes -------------------------------------------------------------------------


def search(mutant: Mutant, examples: int) -> None:
    """The first two properties above, of kernels with a mistake."""

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(sequences(), SEEDS, TIES, PARTS, st.integers(1, 4))
    def anywhere(scenario, seed, ties, part, times):
        grouped(policy_of(scenario), *repeated(scenario, times), part, seed=seed, ties=ties)

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(crowds(), SEEDS, TIES, PARTS)
    def crowded(inputs, seed, ties, part):
        grouped(KUBE, *inputs, part, seed=seed, ties=ties)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "place_by_groups", planted(mutant))
        crowded()
        anywhere()


@pytest.mark.long
def test_kernels_without_a_mistake_pass_in_plain_python_too() -> None:
    search(Mutant("none", "forest", "FANOUT = 8", "FANOUT = 8"), 50)


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_property_finds_each_mistake(mutant: Mutant) -> None:
    with pytest.raises((AssertionError, IndexError)):
        search(mutant, 400)


# -- by hand -------------------------------------------------------------------------

def nodes_of(count: int, **allocatable: str) -> list[dict[str, Any]]:
    return [node(f"n{i}", "abc"[i % 3], **allocatable) for i in range(count)]


def many(count: int, **spec: Any) -> list[dict[str, Any]]:
    return [pod(f"p{i}", cpu="100m", **spec) for i in range(count)]


def test_one_pod_a_host_and_then_none() -> None:
    # All nodes end up barred, and the last pods have no candidate.
    assert grouped(KUBE, *inputs_of(nodes_of(9), *many(11, affinity=APART))) == [*range(9), -1, -1]


def test_all_pods_go_where_the_first_went() -> None:
    assert grouped(KUBE, *inputs_of(nodes_of(9), *many(5, affinity=NEAR))) == [0] * 5


@pytest.mark.parametrize("path", ["stepwise", "scan", "groups"])
def test_what_others_prefer_counts_only_where_the_policy_heeds_it(path: Any) -> None:
    there = [*nodes_of(3), pod("drawing", on="n2", affinity=LIKING)]
    for ignoring, row in ((False, 2), (True, 0)):
        args = {"ignorePreferredTermsOfExistingPods": ignoring}
        config = {"profiles": [{"pluginConfig": [{"name": "InterPodAffinity", "args": args}]}]}
        policy = policy_from_configuration(config).with_ties("lowest")
        # One that prefers something itself is scored by what others prefer in any case.
        for spec, wanted in (({}, row), ({"affinity": INDIFFERENT}, 2)):
            inputs = inputs_of(there, pod("p", cpu="100m", **spec))
            assert placed(policy, *inputs, path).node_rows.tolist() == [wanted], (ignoring, spec)


def test_a_liked_host_wins_until_it_is_full() -> None:
    rows = grouped(KUBE, *inputs_of(nodes_of(9, cpu="300m"), *many(7, affinity=LIKING)))
    assert sorted(np.bincount(rows).tolist()) == [0, 1, 3, 3] or rows == [0, 0, 0, 1, 1, 1, 2]


def test_hosts_fill_level_by_level_by_force() -> None:
    rows = grouped(KUBE, *inputs_of(nodes_of(9), *many(27, topologySpreadConstraints=BY_HOST)))
    assert [sorted(rows[i : i + 9]) for i in (0, 9, 18)] == [list(range(9))] * 3


def test_all_nodes_stand_apart_and_scores_still_tie() -> None:
    # Every node holds a pod of the kin before the first comes: nothing but one cell is left.
    nodes = nodes_of(9)
    there = [pod(f"old{i}", f"n{i}", cpu="100m") for i in range(9)]
    rows = grouped(KUBE, *inputs_of([*nodes, *there], *many(18, topologySpreadConstraints=RATHER_BY_HOST)))
    assert sorted(rows[:9]) == sorted(rows[9:]) == list(range(9))


def test_nodes_without_labels_are_passed_over_by_force_only() -> None:
    nodes = nodes_of(4)
    for item in nodes[:2]:
        item["metadata"]["labels"] = {}
    assert grouped(KUBE, *inputs_of(nodes, *many(4, topologySpreadConstraints=BY_HOST))) == [2, 3, 2, 3]
    assert set(grouped(KUBE, *inputs_of(nodes, *many(4, topologySpreadConstraints=RATHER_BY_HOST)))) == {2, 3}


@pytest.mark.parametrize("part", [0.0, 2.0])
def test_ties_are_drawn_among_groups_cells_and_rows(part: float) -> None:
    inputs = inputs_of(nodes_of(30), *many(60, topologySpreadConstraints=RATHER_BY_HOST, affinity=LIKING))
    rows = {tuple(grouped(KUBE, *inputs, part, ties="random", seed=seed)) for seed in range(5)}
    assert len(rows) == 5


def test_a_victim_that_barred_its_node_leaves_it_to_others() -> None:
    nodes = [node("n0"), node("n1", cpu="1")]
    mates = {"app": "mate"}
    away = {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": mates}}]}}
    barring = pod("barring", "n0", cpu="4")
    barring["metadata"]["labels"] = mates
    waiting = [pod("early", cpu="500m", affinity=away), pod("first", cpu="3", priority=10)]
    waiting += [pod("late", cpu="800m", affinity=away)]
    assert grouped(KUBE, *inputs_of([*nodes, barring], *waiting)) == [1, 0, 0]


@pytest.mark.long  # compiles everything for wider integers
def test_large_scores_have_room() -> None:
    heavy = KUBE.with_weight("NodeResourcesFit", 1_000_000)
    grouped(heavy, *inputs_of(nodes_of(9), *many(30, topologySpreadConstraints=RATHER_BY_HOST)), ties="random")


# -- which path ----------------------------------------------------------------------


def test_groups_are_taken_where_they_pay_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SMALL_PODS", -1)
    inputs = inputs_of(nodes_of(200), *many(20, affinity=APART))
    assert KUBE.place(*inputs).path == "groups"
    assert KUBE.place(*inputs).node_rows.tolist() == placed(KUBE, *inputs, "scan").node_rows.tolist()
    few = inputs_of(nodes_of(20), *many(20, affinity=APART))
    assert KUBE.place(*few).path == "scan"


def test_why_there_are_no_groups_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    promised = {**pod("q"), "status": {"nominatedNodeName": "n0"}}
    with pytest.raises(InputError, match="path 'groups': a node is promised to a waiting pod; path='stepwise' can"):
        KUBE.place(*inputs_of([node("n0"), promised], pod("p")), path="groups")
    selecting = [pod("p"), pod("q", nodeSelector={ZONE: "a"})]
    monkeypatch.setattr(scan, "SITE_BYTES", 1)
    with pytest.raises(InputError, match=r"path 'groups': its pods see nodes in too many ways .*; path='scan' and"):
        KUBE.place(*inputs_of([node("n0")], *selecting), path="groups")


def test_no_pods_are_placed_by_groups_too() -> None:
    cluster = Cluster.from_kubernetes({"kind": "List", "items": [node("n0")]})
    none = Workload.from_kubernetes({"kind": "List", "items": [pod("p")]}).take(np.zeros(0, dtype=np.int64))
    assert len(placed(KUBE, *columns(cluster, none), "groups").node_rows) == 0
