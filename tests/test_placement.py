"""schedule() and the Placement that comes out: every path alike, every frame as written, every decision explained."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import k8slab
from k8slab import Cluster, Workload, schedule
from k8slab.analysis.frames import check_frame
from k8slab.domain.columns import Codes, Taint, Toleration
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, UnknownName
from k8slab.experiments.placement import columns
from tests import naive

PATHS = ("tree", "scan", "stepwise")
GPU = ResourceSchema.of(["gpu"])


def cluster_of(*nodes: tuple[int, int, int], **more) -> Cluster:
    """Nodes n0, n1, ... of (cpu, memory, pods)."""
    return Cluster.of([f"n{i}" for i in range(len(nodes))], np.array(nodes).T, **more)


def workload_of(*pods: tuple[int, int], **more) -> Workload:
    """Pods p0, p1, ... that ask for (cpu, memory)."""
    return Workload.of([f"p{i}" for i in range(len(pods))], [(*pod, 1) for pod in pods], **more)


def lived_in() -> tuple[Cluster, Workload]:
    """A cluster with all there is: taints, a cordoned node, bound pods, foreign usage, gpus; pods for it."""
    rng = np.random.default_rng(3)
    nodes, gpu = 40, (Taint("dedicated", "gpu"),)
    bound = Workload.of(["b0", "b1", "b2"], [[500, 2**30, 1, 0], [900, 2**31, 1, 500], [9000, 0, 1, 0]], GPU)
    cluster = Cluster.of(
        [f"n{i}" for i in range(nodes)],
        np.array([rng.choice([2000, 4000], nodes), rng.choice([2**32, 2**33], nodes), [6] * nodes, [0, 1000] * 20]),
        GPU,
        states=np.where(np.arange(nodes) == 5, 3, 0),
        taints=Codes.of([gpu if i % 2 else () for i in range(nodes)]),
        labels={"topology.kubernetes.io/zone": Codes.of([f"z{i % 3}" for i in range(nodes)])},
        foreign=rng.integers(0, 2, (4, nodes)) * np.array([[300], [2**28], [1], [0]]),
        bound=bound,
        bound_node=[0, 1, 2],
    )
    kinds = np.array([[100, 2**28, 1, 0], [700, 2**29, 1, 0], [300, 2**30, 1, 250], [1500, 2**27, 1, 0], [0, 0, 1, 0]])
    which = rng.integers(0, len(kinds), 260)
    tolerant = (Toleration("dedicated", "Exists"),)
    workload = Workload.of(
        [f"p{i}" for i in range(len(which))],
        kinds[which],
        GPU,
        tolerations=Codes.of([tolerant if kind == 2 else () for kind in which]),
        namespaces=Codes.of([f"team-{kind % 2}" for kind in which]),
    )
    return cluster, workload


# -- decisions ---------------------------------------------------------------------


@pytest.mark.parametrize("policy", k8slab.policy_names())
def test_every_path_gives_the_same_placement_as_the_slow_twin(policy):
    cluster, workload = lived_in()
    order = np.random.default_rng(1).permutation(len(workload))
    by_path = [schedule(cluster, workload, policy, seed=9, order=order, path=path) for path in PATHS]
    assert [placement.path for placement in by_path] == list(PATHS)
    for placement in by_path[1:]:
        assert placement.node_rows.tolist() == by_path[0].node_rows.tolist()
    nodes, pods = columns(cluster, workload, order)
    assert by_path[0].node_rows[order].tolist() == naive.place(policy, nodes, pods, 9)
    assert 0 < by_path[0].placed < len(workload)


def test_an_order_is_of_arrival_and_rows_are_the_workloads():
    cluster, workload = lived_in()
    order = np.arange(len(workload))[::-1]
    backwards = schedule(cluster, workload, "best-fit", order=order)
    taken = schedule(cluster, workload.take(order), "best-fit")
    assert backwards.node_rows[order].tolist() == taken.node_rows.tolist()
    assert backwards.arrival.tolist() == order.tolist()
    assert backwards.to_frame()["arrival"].tolist() == order.tolist()
    assert backwards.node_rows.tolist() != schedule(cluster, workload, "best-fit").node_rows.tolist()
    order[:] = 0  # the caller's array is the caller's
    assert backwards.arrival[0] == len(workload) - 1
    for array in (backwards.node_rows, backwards.arrival):
        assert not array.flags.writeable


def test_a_pod_draws_by_its_row_whenever_it_arrives():
    cluster, workload = cluster_of(*[(10**6, 10**6, 10**3)] * 50), workload_of(*[(0, 0)] * 200)
    straight = schedule(cluster, workload, "random", seed=4)
    shuffled = schedule(cluster, workload, "random", seed=4, order=np.random.default_rng(0).permutation(200))
    assert straight.node_rows.tolist() == shuffled.node_rows.tolist()


def test_seeds_decide_ties_and_nothing_else():
    cluster, workload = cluster_of(*[(4000, 4000, 10)] * 9), workload_of(*[(100, 100)] * 30)
    rows = [schedule(cluster, workload, seed=seed).node_rows.tolist() for seed in (1, np.int64(1), 2, 2**63 - 1)]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2] != rows[3]
    lowest = [schedule(cluster, workload, seed=seed, ties="lowest") for seed in (1, 2)]
    assert lowest[0].node_rows.tolist() == lowest[1].node_rows.tolist() == [i % 9 for i in range(30)]
    assert (lowest[0].ties, schedule(cluster, workload).ties) == ("lowest", "random")
    assert schedule(cluster, workload, k8slab.policy("kube-default").with_ties("lowest")).node_rows[0] == 0


def test_resources_that_only_one_side_knows():
    plain, workload = cluster_of((4000, 4000, 10)), workload_of((100, 100))
    wants_gpu = Workload.of(["g", "c"], [[100, 100, 1, 500], [100, 100, 1, 0]], GPU)
    has_gpu = Cluster.of(["a"], [[4000], [4000], [10], [1000]], GPU)
    placement = schedule(plain, wants_gpu, "best-fit")
    assert placement.node_rows.tolist() == [-1, 0]
    assert placement.unschedulable()["message"].tolist() == ["0/1 nodes are available: 1 Insufficient gpu."]
    assert placement.schema == GPU
    assert placement.allocatable[3].tolist() == [0]
    assert schedule(has_gpu, workload, "best-fit").requested().tolist() == [[100], [100], [1], [0]]
    assert list(schedule(has_gpu, workload, "best-fit").allocated_percent()) == ["cpu", "memory", "gpu"]
    for path in PATHS:
        assert schedule(plain, wants_gpu, "dot-product", path=path).node_rows.tolist() == [-1, 0]


def test_bound_pods_and_foreign_usage_count():
    bound = workload_of((600, 0))
    cluster = cluster_of((1000, 10, 2), (1000, 10, 2), foreign=[[0, 700], [0, 0], [0, 1]], bound=bound, bound_node=[0])
    placement = schedule(cluster, Workload.of(["x", "y", "z"], [[300, 1, 1]] * 3), "first-fit")
    assert placement.node_rows.tolist() == [0, 1, -1]
    assert placement.requested(before=0).tolist() == [[600, 700], [0, 0], [1, 1]]
    assert placement.requested().tolist() == [[900, 1000], [1, 1], [2, 2]]
    assert placement.unschedulable()["message"].tolist() == [
        "0/2 nodes are available: 2 Insufficient cpu, 2 Too many pods."
    ]  # a node short of both counts under both, as kube-scheduler counts


def test_pods_that_ask_for_nothing_stop_at_the_number_of_pods():
    placement = schedule(cluster_of((10, 10, 2), (0, 0, 1)), workload_of(*[(0, 0)] * 4), "best-fit")
    assert sorted(placement.node_rows.tolist()) == [-1, 0, 0, 1]


@pytest.mark.parametrize("policy", ["kube-default", "best-fit", "dot-product"])
def test_amounts_beyond_exact_floats_are_still_right(policy):
    # Odd bytes near 2**53: 10,000 times that is beyond int64 too.
    cluster = cluster_of((64_000, 2**53 - 1, 600), (64_000, 2**53 - 3, 600), (32_000, 2**52 + 1, 600))
    workload = workload_of(*[(100, 2**43 + 2 * i + 1) for i in range(600)])
    placement = schedule(cluster, workload, policy)
    assert placement.path == "stepwise"
    assert placement.node_rows.tolist() == naive.place(policy, *columns(cluster, workload), 0)
    with pytest.raises(InputError, match="can't run by path 'tree': its scores or amounts are beyond exact float64"):
        schedule(cluster, workload, policy, path="tree")


def test_large_amounts_with_a_common_unit_stay_exact_in_floats():
    cluster = cluster_of((64_000, 2**52, 600), (32_000, 2**51, 600))
    workload = workload_of(*[(100, 2**42)] * 600)
    assert schedule(cluster, workload, "best-fit").path != "stepwise"
    by_path = [schedule(cluster, workload, "best-fit", path=path).node_rows.tolist() for path in PATHS]
    assert by_path[0] == by_path[1] == by_path[2]


def test_pods_that_fit_nowhere_are_a_result():
    placement = schedule(cluster_of((10, 10, 1)), workload_of((20, 5), (5, 20)), order=[1, 0])
    assert (placement.placed, len(placement)) == (0, 2)
    frame = placement.unschedulable()
    check_frame("unschedulable", frame)
    assert frame["first_pod"].tolist() == ["p1", "p0"]
    assert frame["first_arrival"].tolist() == [0, 1]
    assert "unschedulable()" in placement._repr_html_()
    assert repr(placement) == "<Placement kube-default: 0 of 2 pods on 0 nodes>"


def test_no_pods_at_all():
    cluster, workload = cluster_of((10, 10, 1)), Workload.of([], np.empty((0, 3), dtype=np.int64))
    for order in (None, []):
        placement = schedule(cluster, workload, order=order)
        check_frame("placement", placement.to_frame())
        check_frame("unschedulable", placement.unschedulable())
        assert (placement.placed, len(placement), len(placement.to_frame())) == (0, 0, 0)
        placement.state().check()
    for path in PATHS:
        assert schedule(cluster, workload, path=path).path == path
    check_frame("diff", placement.diff(placement).frame)


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"policy": "bestfit"}, UnknownName, r"unknown policy 'bestfit'; did you mean 'best-fit'\? Known: balanced, "),
        ({"policy": 7}, InputError, r"policy=7 is neither a name nor a k8slab\.Policy"),
        ({"seed": -1}, InputError, "seed=-1 is not a whole number from 0"),
        ({"seed": 2**63}, InputError, "is not a whole number from 0"),
        ({"seed": 1.0}, InputError, r"seed=1\.0 is not a whole"),
        ({"seed": True}, InputError, "seed=True is not a whole"),
        ({"ties": "lowst"}, UnknownName, "unknown tie rule 'lowst'; did you mean 'lowest'"),
        ({"order": [0]}, InputError, r"order must hold each of the workload's 3 rows once; it is int64 of shape \(1"),
        ({"order": [0, 0, 2]}, InputError, "it lacks 1 of them, first row 1"),
        ({"order": [1, 2, 3]}, InputError, "it lacks 1 of them, first row 0"),
        ({"order": [0.0, 1.0, 2.0]}, InputError, "it is float64 of shape"),
        ({"path": "trie"}, InputError, "path='trie' is none of 'tree', 'groups', 'scan', 'stepwise'"),
    ],
)
def test_what_can_not_be_run_is_told(options, error, message):
    with pytest.raises(error, match=message):
        schedule(cluster_of((10, 10, 1)), workload_of((1, 1), (1, 1), (1, 1)), **options)


def test_an_empty_cluster_is_refused():
    with pytest.raises(InputError, match="cannot place 1 pods: the cluster has no nodes"):
        schedule(Cluster.of([], np.empty((3, 0), dtype=np.int64)), workload_of((1, 1)))


def test_requests_below_nothing_are_refused():
    with pytest.raises(InputError, match="pod 'p1': memory_bytes is -5; wanted 0"):
        workload_of((1, 1), (1, -5))


# -- what comes out ----------------------------------------------------------------


def test_the_frames_are_as_written_whatever_the_path():
    cluster, workload = lived_in()
    for path in PATHS:
        placement = schedule(cluster, workload, path=path)
        check_frame("placement", placement.to_frame())
        check_frame("unschedulable", placement.unschedulable())
        check_frame("explanation", placement.explain(0).frame)
        check_frame("diff", placement.diff(schedule(cluster, workload, "best-fit", path=path)).frame)


def test_to_frame_by_hand():
    placement = schedule(
        cluster_of((100, 100, 5)), workload_of((60, 1), (50, 2), namespaces=Codes.of(["a", None])), order=[1, 0]
    )
    frame = placement.to_frame()
    columns = ["pod", "node", "node_row", "arrival", "departure", "cpu_milli", "memory_bytes", "namespace"]
    assert frame.columns.tolist() == columns
    assert frame["node"].isna().tolist() == [True, False]
    assert frame.loc[1].tolist() == ["p1", "n0", 0, 0, -1, 50, 2, frame.loc[1, "namespace"]]
    assert frame.loc[0, ["node_row", "arrival", "cpu_milli", "namespace"]].tolist() == [-1, 1, 60, "a"]
    assert frame["namespace"].isna().tolist() == [False, True]


def test_unschedulable_groups_equal_requests_most_pods_first():
    pods = workload_of((50, 1), (200, 1), (60, 1), (200, 1), (60, 1), (60, 1))
    frame = schedule(cluster_of((100, 100, 5), (40, 100, 5)), pods, "best-fit").unschedulable()
    check_frame("unschedulable", frame)
    assert frame["unplaced"].tolist() == [3, 2]
    assert frame["first_pod"].tolist() == ["p2", "p1"]
    assert frame["first_arrival"].tolist() == [2, 1]
    assert frame["cpu_milli"].tolist() == [60, 200]
    assert frame["message"].tolist() == ["0/2 nodes are available: 2 Insufficient cpu."] * 2


def test_requested_before_every_arrival_adds_up():
    cluster, workload = lived_in()
    order = np.random.default_rng(2).permutation(len(workload))
    placement = schedule(cluster, workload, order=order)
    expected = cluster.requested().copy()
    for number, row in enumerate(order.tolist()):
        if number % 37 == 0:
            assert placement.requested(before=number).tolist() == expected.tolist()
        if placement.node_rows[row] >= 0:
            expected[:, placement.node_rows[row]] += workload.requests[row]
    assert placement.requested().tolist() == expected.tolist()
    assert placement.requested(before=10**9).tolist() == expected.tolist()


def test_the_state_holds_what_was_placed():
    cluster, workload = lived_in()
    placement = schedule(cluster, workload, "worst-fit", order=np.arange(len(workload))[::-1])
    state = placement.state()
    state.check()
    assert state.requested.tolist() == placement.requested().tolist()
    own = np.arange(len(cluster.bound), state.pod_count)
    assert state.pod_node[own].tolist() == placement.node_rows.tolist()
    assert state.pending_rows().tolist() == own[placement.node_rows < 0].tolist()
    assert POD_PHASES[state.pod_phase[0]] is PodPhase.RUNNING
    assert list(state.pod_columns(own).names) == list(workload.names)


def test_a_policy_without_fit_may_over_commit_and_its_state_says_so():
    careless = k8slab.policy("first-fit").without("NodeResourcesFit")
    placement = schedule(cluster_of((10, 10, 1)), workload_of((20, 1), (20, 1)), careless)
    assert placement.requested().tolist() == [[40], [2], [2]]
    state = placement.state()
    state.check()
    assert (state.requested > state.allocatable).any()


def test_the_manifest_is_plain_and_knows_inputs_from_others():
    cluster, workload = lived_in()
    placement = schedule(cluster, workload, "best-fit", seed=3, order=np.arange(len(workload))[::-1])
    manifest = json.loads(json.dumps(placement.manifest()))
    assert manifest["seed"] == 3
    assert manifest["order"][:2] == [259, 258]
    assert manifest["policy"]["scores"] == [{"name": "BestFit", "weight": 1}]
    assert manifest["cluster"]["sha256"] == cluster.content_hash()
    assert (manifest["workload"]["pods"], manifest["cluster"]["nodes"]) == (260, 40)
    assert {"k8slab", "python", "numpy"} <= manifest["versions"].keys()
    other = schedule(cluster, workload.take(np.arange(259)), "best-fit").manifest()
    assert other["workload"]["sha256"] != manifest["workload"]["sha256"]
    assert other["order"] is None


def test_inputs_stay_as_they_were():
    cluster, workload = lived_in()
    hashes = cluster.content_hash(), workload.content_hash()
    for path in PATHS:
        schedule(cluster, workload, path=path).explain(3)
    again = lived_in()
    assert hashes == (again[0].content_hash(), again[1].content_hash())
    assert replace(cluster).content_hash() == hashes[0]


def test_it_shows_itself():
    cluster, workload = lived_in()
    placement = schedule(cluster, workload, k8slab.policy("best-fit").renamed("<mine>"))
    html = placement._repr_html_()
    assert "&lt;mine&gt;" in html
    assert f"{placement.placed} of 260 pods" in html
    assert "gpu allocated" in html
    assert repr(placement).startswith("<Placement <mine>: ")
    for shown in (placement.explain("p0"), placement.diff(schedule(cluster, workload, "worst-fit"))):
        assert "&lt;mine&gt;" in shown._repr_html_()


# -- explanations ------------------------------------------------------------------


def test_an_explanation_by_hand():
    cluster = cluster_of((1000, 1000, 5), (2000, 1000, 5), (400, 1000, 5), (2000, 100, 5))
    placement = schedule(cluster, workload_of((500, 250)))
    told = placement.explain("p0")
    check_frame("explanation", told.frame)
    frame = told.frame.set_index("node")
    # n0: floor((50 + 75) / 2) = 62 and trunc(100 (1 - |0.5 - 0.25| / 2)) = 87; n1: 75 and 100.
    # None has a soft taint: 100, of weight 3. No image is anywhere: 0.
    scores = ["TaintToleration:weighted", "NodeResourcesFit:raw", "NodeResourcesBalancedAllocation:raw"]
    scores += ["ImageLocality:normalized", "total"]
    assert frame.loc["n0", scores].tolist() == [300, 62, 87, 0, 449]
    assert frame.loc["n1", scores].tolist() == [300, 75, 100, 0, 475]
    # The pod prefers nothing: these took no part.
    passed_over = frame.filter(regex="^(NodeAffinity|PodTopologySpread|InterPodAffinity):")
    assert (passed_over.shape, passed_over.isna().all(axis=None)) == ((4, 9), True)
    assert frame["feasible"].tolist() == [True, True, False, False]
    assert frame.loc["n2", ["refused_by", "reason"]].tolist() == ["NodeResourcesFit", "Insufficient cpu"]
    assert frame.loc["n3", "reason"] == "Insufficient memory"
    assert frame["total"].isna().tolist() == [False, False, True, True]
    assert (told.chosen, told.runner_up, told.tied) == ("n1", "n0", 1)
    assert told.message == "2/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    assert told.text == f"p0 went to n1 under kube-default. {told.message} It led n0 by 26."
    assert repr(told) == f"<Explanation {told.text}>"
    assert told.plot().get_title(loc="left") == "Why p0 went to n1"


def test_totals_are_the_weighted_scores_of_every_node():
    cluster, workload = lived_in()
    policy = k8slab.policy("kube-default").with_weight("NodeResourcesFit", 3)
    placement = schedule(cluster, workload, policy, seed=5)
    for pod in (0, 100, 259):
        frame = placement.explain(pod).frame
        weighted = frame.filter(like=":weighted").sum(axis=1)
        assert (weighted[frame["feasible"]] == frame["total"][frame["feasible"]]).all()
        fit = [frame[f"NodeResourcesFit:{what}"][frame["feasible"]] for what in ("weighted", "normalized")]
        assert (fit[0] == 3 * fit[1]).all()
        node = int(placement.node_rows[pod])
        if node >= 0:
            assert frame.loc[node, "total"] == frame["total"].max()


def test_every_decision_is_made_again_as_it_was():
    cluster, workload = lived_in()
    order = np.random.default_rng(8).permutation(260)
    placement = schedule(cluster, workload, "random", seed=2, order=order, path="tree")
    for pod in range(0, 260, 13):
        told = placement.explain(pod)
        node = int(placement.node_rows[pod])
        assert told.chosen == (cluster.names[node] if node >= 0 else None)
        assert told.pod == f"p{pod}"


def test_refusals_name_their_first_filter_and_all_its_reasons():
    gpu, both = (Taint("dedicated", "gpu"),), (Taint("soft", "", "PreferNoSchedule"), Taint("a", "x"), Taint("b", "y"))
    cluster = cluster_of(
        (10, 10, 1), (10, 10, 0), (100, 100, 9), (100, 100, 9), (1, 1, 9),
        taints=Codes.of([(), (), gpu, both, gpu]), states=[0, 0, 0, 0, 3],
    )  # fmt: skip
    placement = schedule(cluster, workload_of((20, 20)))
    told = placement.explain(0)
    assert told.frame["refused_by"].tolist() == [
        "NodeResourcesFit", "NodeResourcesFit", "TaintToleration", "TaintToleration", "NodeUnschedulable",
    ]  # fmt: skip
    assert told.frame["reason"].tolist() == [
        "Insufficient cpu, Insufficient memory",
        "Too many pods, Insufficient cpu, Insufficient memory",
        "node(s) had untolerated taint {dedicated: gpu}",
        "node(s) had untolerated taint {a: x}",  # the first that isn't tolerated, not the second, nor the soft one
        "node(s) were unschedulable",
    ]
    assert told.message == (  # sorted as text, as kube-scheduler does
        "0/5 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {a: x}, "
        "1 node(s) had untolerated taint {dedicated: gpu}, 1 node(s) were unschedulable, "
        "2 Insufficient cpu, 2 Insufficient memory."
    )
    assert told.preemption == "preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
    assert told.text == f"p0 found no node under kube-default. {told.message} {told.preemption}"
    assert schedule(cluster, workload_of((20, 20)), "best-fit").explain(0).text == (
        f"p0 found no node under best-fit. {told.message}"
    )
    assert (told.chosen, told.runner_up, told.tied) == (None, None, 0)


def test_a_tie_is_told():
    placement = schedule(cluster_of(*[(10, 10, 9)] * 3), workload_of((1, 1)), "first-fit")
    told = placement.explain(0)
    assert told.text == (
        "p0 went to n0 under first-fit. 3/3 nodes are available. "
        "3 nodes had the same highest total; the tie rule chose."
    )
    assert (told.runner_up, told.tied) == ("n1", 3)
    alone = schedule(cluster_of((10, 10, 9)), workload_of((1, 1)), "best-fit").explain(0)
    assert alone.text == "p0 went to n0 under best-fit. 1/1 nodes are available."
    assert alone.runner_up is None


def crowded() -> k8slab.Placement:
    """Two nodes with room for a pod each, one of them taken; then come: a meek pod, a hog, a boss, and one too large.

    The hog takes the node where a pod ran before and the boss the meek pod's, as these matter least.
    """
    ran = workload_of((900, 1), priority=[-2]).take(np.array([0]))
    cluster = cluster_of((1000, 9, 9), (1000, 9, 9), bound=ran, bound_node=[0])
    work = Workload.of(["meek", "hog", "boss", "vast"], [[c, 1, 1] for c in (900, 800, 300, 5000)],
                       priority=[0, 3, 3, 9])
    return schedule(cluster, work, k8slab.policy("kube-default").with_ties("lowest"))


def test_preemption_is_told_of_all_that_had_a_part_in_it():
    placement = crowded()
    assert placement.node_rows.tolist() == [-1, 0, 1, -1]
    frame = placement.preempted()
    check_frame("preempted", frame)
    assert frame.to_numpy().tolist() == [["p0", "n0", "hog", 1, True], ["meek", "n1", "boss", 2, False]]
    meek, hog, boss, vast = map(placement.explain, placement.workload.names)
    full = "0/2 nodes are available: 2 Insufficient cpu."
    assert (meek.chosen, meek.gone_for, meek.victims, meek.preemption) == ("n1", "boss", (), "")
    assert meek.text == (
        "meek went to n1 under kube-default. 1/2 nodes are available: 1 Insufficient cpu. Later it had to go for boss."
    )
    assert (hog.chosen, hog.victims, hog.runner_up, hog.tied, hog.gone_for) == ("n0", ("p0",), None, 0, None)
    assert hog.text == f"hog went to n0 under kube-default, where p0 had to go for it. {full}"
    assert hog.frame["feasible"].tolist() == [False, False]
    assert boss.text == f"boss went to n1 under kube-default, where meek had to go for it. {full}"
    assert vast.preemption == "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    assert vast.text == f"vast found no node under kube-default. {full} {vast.preemption}"
    assert hog.plot().get_title(loc="left") == "Why hog found n0 only when others had to go"
    assert vast.plot().get_title(loc="left") == "Why vast found no node"


def test_who_had_to_go_frees_its_node_and_waits():
    placement = crowded()
    assert placement.requested(before=1).tolist() == [[900, 900], [1, 1], [1, 1]]
    assert placement.requested(before=2).tolist() == [[800, 900], [1, 1], [1, 1]]
    assert placement.requested().tolist() == [[800, 300], [1, 1], [1, 1]]
    assert (placement.placed, placement.unschedulable()["first_pod"].tolist()) == (2, ["vast"])
    state = placement.state()
    state.check()
    assert state.pod_node.tolist() == [-1, -1, 0, 1, -1]  # p0, meek, hog, boss, vast
    assert state.requested.tolist() == placement.requested().tolist()


def test_preemption_in_another_order_of_arrival():
    straight, back = crowded(), [3, 2, 1, 0]
    turned = schedule(straight.cluster, straight.workload.take(np.array(back)), straight.policy, order=back)
    assert turned.preempted().to_numpy().tolist() == straight.preempted().to_numpy().tolist()
    assert turned.node_rows.tolist() == straight.node_rows[back].tolist()
    assert [turned.explain(name).text for name in straight.workload.names] == [
        straight.explain(name).text for name in straight.workload.names
    ]


def test_a_policy_preempts_only_where_it_says_so():
    placement = crowded()
    without = schedule(placement.cluster, placement.workload, replace(placement.policy, post_filter=None))
    assert (without.evictions, without.node_rows.tolist()) == ((), [1, -1, -1, -1])
    assert without.explain("hog").preemption == ""
    assert "preemption" not in without.explain("hog").text
    check_frame("preempted", without.preempted())


def test_diff_tells_preemption_from_scores():
    placement = crowded()
    without = replace(placement.policy, name="polite", post_filter=None)
    difference = placement.diff(schedule(placement.cluster, placement.workload, without))
    assert (difference.first, difference.plugin) == ("meek", None)
    assert difference.text.endswith("polite on n1; kube-default let it go for boss (arrival 2).")
    # Where both place a pod, but one only by letting others go.
    low = workload_of((900, 1), priority=[-2])
    cluster = cluster_of((1000, 9, 9), (1000, 9, 9), bound=low, bound_node=[1]).with_arrays(closed=[True, False])
    work = workload_of((900, 1))
    closed = placement.policy.with_filter(k8slab.filter_plugin(closed=k8slab.array("closed"))(opens)).renamed("closed")
    told = schedule(cluster, work, closed).diff(schedule(cluster, work, placement.policy))
    assert told.plugin is None
    assert told.text.endswith("closed put it on n1, kube-default on n0; closed let others go for it.")


def opens(closed, feasible):
    feasible[:] = ~closed


def test_a_pod_that_is_not_there_can_not_be_explained():
    placement = schedule(cluster_of((10, 10, 9)), workload_of((1, 1), (1, 1)))
    with pytest.raises(UnknownName, match="unknown pod 'p7'; did you mean 'p"):
        placement.explain("p7")
    for row in (2, -1):
        with pytest.raises(InputError, match=rf"pod row {row} is not one of 0\.\.1"):
            placement.explain(row)


# -- differences -------------------------------------------------------------------


def test_diff_names_the_plugin_that_flipped_the_first_decision():
    # n0: LeastAllocated 81, balanced 93; n1: 50 and 100. Balance must weigh 5 to win.
    cluster, workload = cluster_of((4000, 2000, 5), (2000, 500, 5)), workload_of((1000, 250), (1, 1))
    policy = k8slab.policy("kube-default").with_ties("lowest")
    one = schedule(cluster, workload, policy)
    heavier = policy.with_weight("NodeResourcesBalancedAllocation", 5).renamed("balanced x 5")
    other = schedule(cluster, workload, heavier)
    difference = one.diff(other)
    check_frame("diff", difference.frame)
    assert (one.node_rows[0], other.node_rows[0]) == (0, 1)
    assert (difference.first, difference.plugin) == ("p0", "NodeResourcesBalancedAllocation")
    assert difference.frame.loc[0].tolist() == ["p0", 0, "n0", "n1"]
    assert "first p0 (arrival 0): kube-default put it on n0, balanced x 5 on n1" in difference.text
    assert "its lead of the first node over the second is -7 in kube-default and -35 in balanced x 5" in difference.text
    assert repr(difference) == f"<Difference {difference.text}>"
    assert other.diff(one).plugin == "NodeResourcesBalancedAllocation"


def test_the_plugin_that_changed_most_but_the_other_way_did_not_flip_it():
    def score(name):
        return k8slab.score_plugin(given=k8slab.array(name), name=name)(fill)

    def fill(given, score):
        score[:] = given

    cluster = cluster_of((9, 9, 9), (9, 9, 9)).with_arrays(a=[10, 0], b=[10, 0], c=[0, 10])
    base = k8slab.policy("first-fit").with_score(score("a")).with_score(score("b")).with_score(score("c"))
    one, other = (
        base.with_weight("a", a).with_weight("b", b).with_weight("c", c).renamed(name)
        for name, a, b, c in (("one", 6, 5, 9), ("other", 1, 1, 3))
    )
    workload = workload_of((1, 1))
    # Leads of n0: 60 + 50 - 90 and 10 + 10 - 30. c's own fell most, and a's rose most.
    difference = schedule(cluster, workload, one).diff(schedule(cluster, workload, other))
    assert difference.plugin == "a"
    assert "its lead of the first node over the second is 60 in one and 10 in other" in difference.text


def test_diff_tells_ties_and_filters_from_scores():
    cluster, workload = cluster_of(*[(100, 100, 9)] * 5), workload_of(*[(1, 1)] * 10)
    one, other = (schedule(cluster, workload, "random", seed=seed) for seed in (1, 2))
    assert one.diff(other).plugin is None
    assert "the tie rule or the seed decided" in one.diff(other).text

    @k8slab.filter_plugin(first=k8slab.array("first"))
    def not_first(first, feasible):
        feasible[:] = ~first

    marked = cluster.with_arrays(first=np.arange(5) == 0)
    one, other = (
        schedule(marked, workload, policy)
        for policy in (k8slab.policy("first-fit"), k8slab.policy("first-fit").with_filter(not_first))
    )
    assert one.diff(other).plugin is None
    assert "a filter of one refused the other's node" in one.diff(other).text
    closed = schedule(marked, workload, k8slab.policy("first-fit").with_filter(refuses_all))
    assert "first-fit+refuses_all on no node" in one.diff(closed).text
    assert one.diff(closed).frame["other_node"].isna().all()


@k8slab.filter_plugin
def refuses_all(feasible):
    feasible[:] = False


def test_equal_placements_have_no_difference():
    cluster, workload = lived_in()
    difference = schedule(cluster, workload, path="tree").diff(schedule(*lived_in(), path="scan"))
    assert (difference.first, difference.plugin, len(difference.frame)) == (None, None, 0)
    assert difference.text == "kube-default and kube-default placed every pod alike."
    assert "<table" not in difference._repr_html_()


def test_only_placements_of_the_same_pods_in_the_same_order_compare():
    cluster, workload = cluster_of((9, 9, 9)), workload_of((1, 1), (2, 2))
    one = schedule(cluster, workload)
    for other in (
        schedule(cluster, workload, order=[1, 0]),
        schedule(cluster, workload_of((1, 1), (2, 3))),
        schedule(cluster_of((9, 9, 8)), workload),
    ):
        with pytest.raises(InputError, match="only placements of the same pods in the same order on the same cluster"):
            one.diff(other)


def test_what_is_no_cluster_or_workload_is_refused_by_name() -> None:
    cluster, workload = k8slab.Cluster.synthetic(2), k8slab.Workload.synthetic(3)
    with pytest.raises(InputError, match=r"cluster is a DataFrame; wanted a k8slab\.Cluster, such as .*from_frame"):
        k8slab.schedule(cluster.to_frame(), workload)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"cluster is a Workload"):
        k8slab.compare(workload, cluster)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"workload is a DataFrame"):
        k8slab.compare(cluster, workload.to_frame())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other is a int; wanted a Placement"):
        k8slab.schedule(cluster, workload).diff(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="workers=0: wanted 1 or more"):
        k8slab.compare(cluster, workload, workers=0)


def test_one_node_is_not_called_nodes() -> None:
    placement = k8slab.schedule(k8slab.Cluster.synthetic(1), k8slab.Workload.synthetic(1), "first-fit")
    assert repr(placement) == "<Placement first-fit: 1 of 1 pod on 1 node>"


def test_progress_is_told_to_a_function_or_shown_when_it_lasts(monkeypatch: pytest.MonkeyPatch):
    from k8slab.experiments import progress

    cluster, workload = Cluster.synthetic(20), Workload.synthetic(300)
    told: list[int] = []
    schedule(cluster, workload, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 300

    shown: list[int] = []

    class Drawing:
        def __init__(self, label: str, total: int, started: float) -> None:
            assert (label, total) == ("placing pods", 300)

        def update(self, done: int) -> None:
            shown.append(done)

        def close(self) -> None:
            shown.append(-1)

    monkeypatch.setattr(progress, "_RichBar", Drawing)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    schedule(cluster, workload)
    assert shown[-2:] == [300, -1]
    shown.clear()
    schedule(cluster, workload, progress=False)
    assert shown == []
