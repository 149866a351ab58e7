"""Policies: every path decides as the slow twin does, over random clusters and workloads; users' plug-ins too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from k8slab import policies
from k8slab.domain.columns import NOT_STARTED, Codes, Names, NodeColumns, PodColumns, Taint, Toleration
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, PluginError, UnknownName
from k8slab.policies import engine, tree
from k8slab.policies.policy import draw01
from tests import naive
from tests.strategies import EXACT, clusters, problems, workloads

ZONE = "topology.kubernetes.io/zone"
PATHS = ("tree", "scan", "stepwise")
SEEDS = st.integers(0, 2**63 - 1)
TIES = st.sampled_from([None, "lowest", "random"])
KUBE = policies.policy("kube-default")


def nodes_of(*allocatable, requested=None, taints=None, zones=None, schedulable=None) -> NodeColumns:
    """Nodes of (cpu, memory, pods), all free and open unless said."""
    amounts = np.array(allocatable, dtype=np.int64).reshape(-1, 3).T.copy()
    count = amounts.shape[1]
    return NodeColumns(
        schema=ResourceSchema(),
        names=Names(prefix="node-", count=count),
        allocatable=amounts,
        requested=np.zeros_like(amounts) if requested is None else np.array(requested, dtype=np.int64).T.copy(),
        alive=np.ones(count, dtype=np.bool_),
        state=np.zeros(count, dtype=np.int8) if schedulable is None else np.where(schedulable, 0, 3).astype(np.int8),
        taints=Codes.constant((), count) if taints is None else Codes.of(taints),
        labels={} if zones is None else {ZONE: Codes.of(zones)},
        arrays={},
        images=Codes.none(count),
    )


def pods_of(*requests: tuple[int, int], tolerations=None) -> PodColumns:
    """Pods that ask for (cpu, memory)."""
    count = len(requests)
    return PodColumns(
        schema=ResourceSchema(),
        names=Names(prefix="pod-", count=count),
        requests=np.array([(*request, 1) for request in requests], dtype=np.int64).reshape(count, 3),
        rows=np.arange(count),
        namespaces=Codes.constant("default", count),
        tolerations=Codes.constant((), count) if tolerations is None else Codes.of(tolerations),
        priority=np.zeros(count, dtype=np.int32),
        labels={},
        specs=Codes.none(count),
        leaving=np.zeros(count, dtype=np.int8),
        started_ns=np.full(count, NOT_STARTED),
    )


def placed(policy, nodes, pods, path=None, **options) -> list[int]:
    """The node rows by one path, which is the path that was asked for."""
    decisions = policy.place(nodes, pods, path=path, **options)
    assert path in (None, decisions.path)
    return decisions.node_rows.tolist()


def by_every_path(policy, nodes, pods, **options) -> list[int]:
    """The node rows, the same by every path; a score that compares nodes has no tree."""
    compares = any(score.name == "TaintToleration" and dislikes(nodes) for score, _ in policy.scores)
    rows = {path: placed(policy, nodes, pods, path, **options) for path in (PATHS[1:] if compares else PATHS)}
    assert all(found == rows["stepwise"] for found in rows.values())
    if compares:
        with pytest.raises(InputError, match="score 'TaintToleration' compares nodes; path='groups', path='scan' and"):
            placed(policy, nodes, pods, "tree", **options)
    return rows["stepwise"]


def dislikes(nodes: NodeColumns) -> bool:
    """Whether the taints that are in use hold a PreferNoSchedule one."""
    return any(taint.effect == "PreferNoSchedule" for taints in nodes.taints.values for taint in taints)


# -- stepwise = scan = tree = naive ------------------------------------------------


@pytest.mark.parametrize("name", policies.policy_names())
@settings(max_examples=40)
@given(problem=problems(EXACT // 4), seed=SEEDS, ties=TIES)
def test_every_path_decides_as_the_naive_loop(name, problem, seed, ties):
    rows = by_every_path(policies.policy(name), *problem, seed=seed, ties=ties)
    assert rows == naive.place(name, *problem, seed, ties)


@pytest.mark.parametrize("name", ["kube-default", "best-fit", "dot-product"])
@settings(max_examples=40)
@given(problem=problems(2**49), seed=SEEDS)
def test_amounts_beyond_exact_floats_are_decided_in_integers(name, problem, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "SMALL_PODS", -1)  # so that the size alone sends nothing to numpy
        assert placed(policies.policy(name), *problem, seed=seed) == naive.place(name, *problem, seed)


@pytest.mark.parametrize("name", ["kube-default", "most-allocated", "balanced"])
@settings(max_examples=40)
@given(problem=problems(EXACT // 4), seed=SEEDS, ties=TIES, look=st.sampled_from([0.0, 5.0, 20.0]))
def test_classes_without_a_column_decide_alike(name, problem, seed, ties, look):
    assume(not dislikes(problem[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "FEW", 0)
        patch.setattr(tree, "_LOOK_NS", look)
        patch.setattr(tree, "_LOOK_NODE_NS", {"lowest": 0.0, "random": 0.0})
        rows = placed(policies.policy(name), *problem, "tree", seed=seed, ties=ties)
    assert rows == placed(policies.policy(name), *problem, "stepwise", seed=seed, ties=ties)


@pytest.mark.parametrize("ties", ["lowest", "random"])
def test_many_nodes_and_pods_of_many_requests_decide_as_the_scan(ties):
    rng = np.random.default_rng(0)
    shapes = rng.choice([(4000, 9000, 30), (8000, 7000, 10), (0, 9000, 40)], size=700)
    used = (shapes * rng.random((700, 1)) // 2).astype(np.int64)
    zones = rng.choice(["a", "b"], size=700).tolist()
    nodes = nodes_of(*shapes.tolist(), requested=used, zones=zones, schedulable=rng.random(700) < 0.9)
    pods = pods_of(*rng.integers(0, 900, size=(4_000, 2)).tolist())
    assert placed(KUBE, nodes, pods, "tree", ties=ties) == placed(KUBE, nodes, pods, "scan", ties=ties)


@settings(max_examples=40)
@given(problem=problems(EXACT // 4), seed=SEEDS, ties=TIES, data=st.data())
def test_pods_that_make_room_go_alike_by_every_path(problem, seed, ties, data):
    nodes, pods = problem
    ranks = st.sampled_from([0, 0, 5, 10])
    priority = np.array(data.draw(st.lists(ranks, min_size=len(pods), max_size=len(pods))), dtype=np.int32)
    paths = PATHS[1:] if dislikes(nodes) else PATHS
    found = [
        policies.policy("kube-default").place(nodes, replace(pods, priority=priority), path=path, seed=seed, ties=ties)
        for path in paths
    ]
    assert len({tuple(decisions.node_rows.tolist()) for decisions in found}) == 1
    assert all(decisions.evictions == found[-1].evictions for decisions in found)


@settings(max_examples=40)
@given(problem=problems(EXACT // 4), seed=SEEDS, weights=st.lists(st.integers(0, 3), min_size=7, max_size=7))
def test_every_mix_of_scores_decides_alike_by_every_path(problem, seed, weights):
    singles = [name for name in policies.policy_names() if len(policies.policy(name).scores) == 1]
    mixed = policies.policy("random")
    for name, weight in zip(singles, weights, strict=True):
        mixed = mixed.with_score(policies.policy(name).scores[0][0], weight)
    by_every_path(mixed, *problem, seed=seed)


@settings(max_examples=40)
@given(problem=problems(EXACT // 4), gone=st.sampled_from(["NodeUnschedulable", "TaintToleration"]))
def test_a_policy_without_a_filter_decides_alike_by_every_path(problem, gone):
    nodes, pods = problem
    policy = policies.policy("best-fit").without(gone)
    if gone == "NodeUnschedulable":
        opened = replace(nodes, state=np.zeros(len(nodes), dtype=np.int8))
    else:
        opened = replace(nodes, taints=Codes.constant((), len(nodes)))
    assert by_every_path(policy, nodes, pods) == naive.place("best-fit", opened, pods, 0)


def test_a_deep_tree_decides_as_the_scan():
    # Three levels of fan-out 8 and a ragged end: 601 nodes, 2,000 pods.
    rng = np.random.default_rng(5)
    nodes = nodes_of(*[(int(c), int(m), 20) for c, m in rng.integers(3, 9, (601, 2)) * (1000, 2**30)])
    pods = pods_of(*[(int(c) * 100, int(m) * 2**26) for c, m in rng.integers(0, 12, (2000, 2))])
    for name in ("kube-default", "best-fit", "random"):
        policy = policies.policy(name)
        assert placed(policy, nodes, pods, "tree", seed=3) == placed(policy, nodes, pods, "scan", seed=3)


# -- properties --------------------------------------------------------------------


@settings(max_examples=40)
@given(problem=problems(EXACT // 4), name=st.sampled_from(policies.policy_names()), seed=SEEDS)
def test_nothing_is_over_committed_and_no_closed_node_taken(problem, name, seed):
    nodes, pods = problem
    before = nodes.requested.copy()
    rows = policies.policy(name).place(nodes, pods, seed=seed).node_rows
    assert (nodes.requested == before).all(), "the caller's columns changed"
    there = rows >= 0
    added = np.zeros_like(before)
    np.add.at(added.T, rows[there], pods.requests[there])
    for pod in np.flatnonzero(there).tolist():
        assert naive.open_nodes(nodes, pods.tolerations[pod] or ())[rows[pod]]
    assert ((before + added <= nodes.allocatable) | (added == 0)).all()


@settings(max_examples=40)
@given(data=st.data(), nodes=clusters(limit=EXACT // 4))
def test_the_reasons_count_every_node_that_does_not_fit(data, nodes):
    pods = data.draw(workloads(nodes).filter(len))
    evaluation = policies.policy("kube-default").evaluate(nodes, pods, 0)
    assert ((evaluation.refused_by < 0) == evaluation.feasible).all()
    short = sum(evaluation.reasons().values())
    # A node short of two resources is counted for both, as kube-scheduler counts it.
    assert short >= int((~evaluation.feasible).sum())
    assert evaluation.chosen == naive.place("kube-default", nodes, replace_first(pods), 0)[0]


def replace_first(pods: PodColumns) -> PodColumns:
    """The first pod alone."""
    return replace(pods, requests=pods.requests[:1], rows=pods.rows[:1], names=pods.names.take(np.arange(1)))


@given(SEEDS, st.integers(0, 2**62))
def test_the_draw_of_the_numpy_path_is_the_kernels(seed, pod_row):
    assert draw01(seed, pod_row) == naive.draw01(seed, pod_row)


# -- tie rules ---------------------------------------------------------------------


def test_ties_go_to_the_lowest_row():
    nodes, pods = nodes_of(*[(1000, 1000, 10)] * 5), pods_of(*[(100, 100)] * 5)
    assert by_every_path(policies.policy("least-allocated"), nodes, pods) == [0, 1, 2, 3, 4]
    assert by_every_path(policies.policy("most-allocated"), nodes, pods) == [0] * 5


def test_random_ties_follow_the_seed_and_reach_every_node():
    nodes, pods = nodes_of(*[(1000, 1000, 1000)] * 5), pods_of(*[(0, 0)] * 400)
    policy = policies.policy("random")
    rows = by_every_path(policy, nodes, pods, seed=1)
    assert rows == by_every_path(policy, nodes, pods, seed=1)
    assert rows != by_every_path(policy, nodes, pods, seed=2)
    assert min(np.bincount(rows, minlength=5)) > 50  # 80 each, standard deviation 8


def test_a_pods_draw_does_not_depend_on_the_pods_before_it():
    nodes, pods = nodes_of(*[(1000, 1000, 1000)] * 7), pods_of(*[(0, 0)] * 50)
    policy = policies.policy("random")
    later = replace(pods, requests=pods.requests[20:], rows=pods.rows[20:], names=Names(prefix="pod-", count=30))
    later = replace(later, tolerations=Codes.constant((), 30))
    assert by_every_path(policy, nodes, pods)[20:] == by_every_path(policy, nodes, later)


# -- filters by hand ---------------------------------------------------------------


def test_cordoned_and_tainted_nodes_by_hand():
    gpu = (Taint("dedicated", "gpu"),)
    nodes = nodes_of(
        *[(1000, 1000, 10)] * 4, taints=[gpu, (Taint("a", "", "PreferNoSchedule"),), gpu, ()],
        schedulable=[True, True, True, False],
    )  # fmt: skip
    tolerant = (Toleration("dedicated", "Exists"),)
    pods = pods_of((1, 1), (1, 1), (900, 1), (900, 1), tolerations=[(), tolerant, tolerant, ()])
    assert by_every_path(policies.policy("first-fit"), nodes, pods) == [1, 0, 0, 1]


def test_no_node_fits_is_told_with_its_reasons():
    gpu = (Taint("dedicated", "gpu"),)
    nodes = nodes_of(*[(1000, 1000, 10)] * 3, *[(1000, 10, 0)] * 2, taints=[gpu, (), (), (), ()])
    evaluation = policies.policy("kube-default").evaluate(nodes, pods_of((2000, 5)), 0)
    assert evaluation.chosen == -1
    told = "node(s) had untolerated taint {dedicated: gpu}"
    assert evaluation.reasons() == {told: 1, "Insufficient cpu": 4, "Too many pods": 2}
    assert evaluation.message() == f"0/5 nodes are available: 1 {told}, 2 Too many pods, 4 Insufficient cpu."


def test_an_over_committed_node_takes_a_pod_that_asks_for_none_of_it():
    nodes = nodes_of((1000, 1000, 10), requested=[(5000, 0, 1)])
    assert by_every_path(policies.policy("best-fit"), nodes, pods_of((0, 5), (1, 5))) == [0, -1]


@pytest.mark.parametrize("nodes", [nodes_of(), nodes_of((0, 0, 0))])
@pytest.mark.parametrize("pods", [pods_of(), pods_of((1, 1), (0, 0))])
@pytest.mark.parametrize("name", policies.policy_names())
def test_nothing_to_place_on_or_nothing_to_place(name, nodes, pods):
    assert by_every_path(policies.policy(name), nodes, pods) == [-1] * len(pods)


def test_the_path_is_chosen_by_size():
    nodes, few = nodes_of(*[(10**6, 10**6, 10**6)] * 600), pods_of((1, 1))
    policy = policies.policy("best-fit")
    assert policy.place(nodes, few).path == "stepwise"
    assert policy.place(nodes, pods_of(*[(1, 1)] * 1000)).path == "tree"
    assert policy.place(nodes, pods_of(*[(i, 1) for i in range(1000)])).path == "scan"


def test_progress_ends_with_the_number_of_pods():
    nodes, pods = nodes_of((1000, 1000, 1000)), pods_of(*[(1, 1)] * 321)
    for path in PATHS:
        done: list[int] = []
        policies.policy("best-fit").place(nodes, pods, path=path, progress=done.append)
        assert done == sorted(done)
        assert done[-1] == 321


# -- users' plug-ins ---------------------------------------------------------------


@policies.score_plugin(weight=2, near=policies.label(ZONE) == "a")
def prefer_a(near, score):
    score[:] = np.where(near, 100.0, 0.0)


@policies.score_plugin(weight=2, near=policies.label(ZONE) == "a", name="prefer_a")
@policies.kernel
def prefer_a_compiled(near, score):
    for i in range(score.shape[0]):
        score[i] = 100.0 if near[i] else 0.0


@policies.filter_plugin(zone=policies.label(ZONE))
def has_zone(zone, feasible):
    feasible[:] = [item is not None for item in zone]


@policies.score_plugin(normalize="highest")
def free_cpu(free_cpu_milli, score):
    score[:] = free_cpu_milli


@settings(max_examples=30)
@given(problem=problems(EXACT // 4))
def test_a_static_plugin_runs_on_every_path_in_numpy_and_compiled(problem):
    plain = policies.policy("best-fit").with_score(prefer_a).with_filter(has_zone)
    compiled = policies.policy("best-fit").with_score(prefer_a_compiled).with_filter(has_zone)
    rows = by_every_path(plain, *problem)
    assert rows == by_every_path(compiled, *problem)
    nodes, _ = problem
    zones = nodes.labels[ZONE]
    assert all(zones[row] is not None for row in rows if row >= 0)


def test_a_static_score_wins_by_hand():
    nodes = nodes_of(*[(1000, 1000, 2)] * 4, zones=["b", "a", None, "a"])
    policy = policies.policy("first-fit").with_score(prefer_a)
    assert by_every_path(policy, nodes, pods_of(*[(1, 1)] * 6)) == [1, 1, 3, 3, 0, 0]
    assert by_every_path(policy.with_filter(has_zone), nodes, pods_of(*[(1, 1)] * 7)) == [1, 1, 3, 3, 0, 0, -1]


def test_a_dynamic_plugin_runs_stepwise_and_says_why_not_elsewhere():
    nodes = nodes_of((1000, 1000, 9), (1500, 1000, 9))
    policy = policies.policy("first-fit").with_score(free_cpu)
    pods = pods_of(*[(400, 1)] * 4)
    assert policy.place(nodes, pods).node_rows.tolist() == [1, 1, 0, 1]
    with pytest.raises(InputError, match="free_cpu"):
        policy.place(nodes, pods, path="tree")


def test_a_score_of_fractions_is_not_rounded():
    @policies.score_plugin(weight=0.5)
    def slightly(allocatable_cpu_milli, score):
        score[:] = allocatable_cpu_milli / 1000.0

    nodes = nodes_of((1000, 1000, 9), (1001, 1000, 9))
    policy = policies.policy("first-fit").with_score(slightly)
    assert placed(policy, nodes, pods_of(*[(0, 0)] * 2000)) == [1] * 9 + [0] * 9 + [-1] * 1982


def test_arrays_and_taints_are_inputs():
    @policies.score_plugin(power=policies.array("watts"), spot=policies.taint("spot"))
    def frugal(power, spot, score):
        score[:] = 1000 - power - 500 * spot

    nodes = replace(
        nodes_of(*[(1000, 1000, 1)] * 3, taints=[(Taint("spot", "", "PreferNoSchedule"),), (), ()]),
        arrays={"watts": np.array([100, 300, 200])},
    )
    policy = policies.policy("first-fit").with_score(frugal)
    assert by_every_path(policy, nodes, pods_of(*[(0, 0)] * 4)) == [2, 1, 0, -1]


# -- plug-ins that misbehave -------------------------------------------------------


def run(plugin) -> None:
    nodes = replace(nodes_of(*[(1000, 1000, 2)] * 3), arrays={"short": np.zeros(2)})
    policies.policy("best-fit").with_score(plugin).place(nodes, pods_of((1, 1)))


def test_nan_names_the_plugin_the_node_and_the_pod():
    @policies.score_plugin
    def oops(allocatable_cpu_milli, score):
        score[:] = 1.0
        score[1] = np.nan

    with pytest.raises(PluginError, match=r"'oops' left nan .* 1 of 3 nodes, first 'node-1', for pod 'pod-0'"):
        run(oops)


def test_a_score_left_unfilled_is_no_zero():
    @policies.score_plugin
    def forgets(score):
        pass

    with pytest.raises(PluginError, match="forgets"):
        run(forgets)


def test_a_wrong_shape_is_told():
    @policies.score_plugin
    def wide(score):
        score[:] = np.zeros(7)

    @policies.score_plugin(short=policies.array("short"))
    def narrow(short, score):
        score[:] = 0.0

    with pytest.raises(PluginError, match=r"'wide' failed: ValueError.*\(7,\).*\(3,\)"):
        run(wide)
    with pytest.raises(PluginError, match=r"input 'short' has shape \(2,\), not \(3,\)"):
        run(narrow)


def test_what_numba_can_not_compile_is_told():
    @policies.score_plugin
    @policies.kernel
    def wild(score):
        score[:] = {"a": [1, "b"]}["a"]

    with pytest.raises(PluginError, match="numba can't compile plug-in 'wild'"):
        run(wild)


def test_a_returned_array_is_told():
    @policies.score_plugin
    def returns(score):
        return score + 1

    with pytest.raises(PluginError, match="'returns' returned ndarray; it must fill 'score'"):
        run(returns)


def test_a_plugins_own_error_is_kept():
    @policies.score_plugin
    def divides(score):
        score[:] = 1 // 0

    with pytest.raises(PluginError, match="'divides' failed: ZeroDivisionError") as caught:
        run(divides)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_unknown_inputs_and_names_say_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'free_cpu_milli'"):

        @policies.score_plugin
        def misspelt(fre_cpu_milli, score):
            score[:] = 0.0

    with pytest.raises(PluginError, match="last parameter must be 'score'"):

        @policies.score_plugin
        def headless(free):
            free[:] = 0.0

    with pytest.raises(PluginError, match="is no input"):
        policies.score_plugin(spot="true")(lambda spot, score: None)
    with pytest.raises(UnknownName, match="did you mean 'best-fit'"):
        policies.policy("bestfit")
    with pytest.raises(InputError, match="not 'shape'"):
        policies.policy("best-fit", shape=[(0, 0)])
    with pytest.raises(InputError, match="weight"):
        policies.policy("best-fit").with_weight("BestFit", -1)
