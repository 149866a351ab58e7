"""compare(): the same pods for every policy, the same bytes each time, and nothing lost on the way."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import k8slab
from k8slab.analysis import check_frame, imbalance_percent, stranded
from k8slab.domain.pod_spec import NodeTerm, Requirement, SpreadConstraint
from k8slab.errors import InputError, Interrupted, OutputError, PluginError, UnknownName
from k8slab.experiments import manifest as manifests
from k8slab.experiments import progress
from k8slab.experiments.compare import compare, rerun
from k8slab.experiments.comparison import Comparison, arrival_order
from k8slab.kernels import _compiling
from k8slab.policies import Policy, plugins
from k8slab.policies.preemption import DefaultPreemption

POLICIES = ("kube-default", "best-fit", "first-fit")


@pytest.fixture(scope="module")
def cluster() -> k8slab.Cluster:
    return k8slab.Cluster.synthetic(12, seed=3)


@pytest.fixture(scope="module")
def workload() -> k8slab.Workload:
    """More than fits: so that policies part, and pods are turned away."""
    return k8slab.Workload.synthetic(240, classes=20, seed=3)


@pytest.fixture(scope="module")
def comparison(cluster: k8slab.Cluster, workload: k8slab.Workload) -> Comparison:
    return compare(cluster, workload, POLICIES, range(8), progress=False)


# --- what a run is


def test_frames_are_as_the_dictionary_says(comparison: Comparison) -> None:
    check_frame("comparison.frame", comparison.frame)
    check_frame("comparison.curves", comparison.curves)
    check_frame("comparison.summary", comparison.summary())
    check_frame("comparison.differences", comparison.differences())


def test_a_row_a_policy_and_seed_in_the_order_asked_for(comparison: Comparison) -> None:
    assert list(zip(comparison.frame["policy"], comparison.frame["seed"], strict=True)) == [
        (policy, seed) for policy in POLICIES for seed in range(8)
    ]


def test_every_policy_sees_the_same_arrivals_and_every_seed_others(comparison: Comparison) -> None:
    orders = {(policy, seed): comparison.placement(policy, seed).arrival for policy in POLICIES for seed in (0, 1)}
    for seed in (0, 1):
        assert np.array_equal(orders["best-fit", seed], orders["first-fit", seed])
    assert not np.array_equal(orders["best-fit", 0], orders["best-fit", 1])


@pytest.mark.parametrize("pods", [0, 1, 2, 1000])
def test_arrival_order_is_a_permutation(pods: int) -> None:
    assert sorted(arrival_order(pods, 5).tolist()) == list(range(pods))


def test_arrival_order_stays_the_same_across_versions() -> None:
    assert arrival_order(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]


@pytest.mark.parametrize(("policy", "seed"), [*itertools.product(POLICIES, (0, 7))])
def test_a_row_is_what_its_run_says(comparison: Comparison, policy: str, seed: int) -> None:
    placement = comparison.placement(policy, seed)
    frame = comparison.frame
    row = frame[(frame["policy"] == policy) & (frame["seed"] == seed)].iloc[0]
    assert row["placed"] == placement.placed
    assert row["placed_percent"] == pytest.approx(100 * placement.placed / 240)
    for resource, percent in placement.allocated_percent().items():
        assert row[f"{resource}_allocated_percent"] == pytest.approx(percent, abs=1e-6)
        lost = stranded(placement)[f"{resource}_stranded_{'milli' if resource == 'cpu' else 'bytes'}"].sum()
        whole = int(comparison.cluster.totals()[comparison.cluster.schema.index(resource)])
        assert row[f"stranded_{resource}_percent"] == pytest.approx(100 * lost / whole, abs=1e-6)
    assert row["imbalance_percent"] == pytest.approx(imbalance_percent(placement), abs=1e-6)
    assert row["nodes_used"] == len({node for node in placement.node_rows.tolist() if node >= 0})


def naive_curve(placement: k8slab.Placement, resource: str, tight: str) -> Iterator[tuple[float, float]]:
    """(arrived, allocated) in percent after each pod, in the order they came."""
    schema = placement.workload.schema
    capacity = placement.cluster.totals()
    arrived = allocated = 0
    yield 0.0, 0.0
    for came, pod in enumerate(placement.arrival.tolist(), start=1):
        arrived += int(placement.workload.requests[pod, schema.index(tight)])
        if placement.node_rows[pod] >= 0:
            allocated += int(placement.workload.requests[pod, schema.index(resource)])
        for gone in () if placement.departures is None else np.flatnonzero(placement.departures == came).tolist():
            if placement.node_rows[gone] >= 0:
                allocated -= int(placement.workload.requests[gone, schema.index(resource)])
        yield 100 * arrived / capacity[schema.index(tight)], 100 * allocated / capacity[schema.index(resource)]


@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_a_curve_is_what_its_run_says(comparison: Comparison, resource: str) -> None:
    curves = comparison.curves
    found = curves[(curves["policy"] == "best-fit") & (curves["seed"] == 2)]
    twin = list(naive_curve(comparison.placement("best-fit", 2), resource, comparison.dominant))
    points = np.interp(found["arrived_percent"], *zip(*twin, strict=True))
    assert found[f"{resource}_allocated_percent"].to_numpy() == pytest.approx(points, abs=1e-5)


@pytest.mark.parametrize("order", ["shuffled", "given"])
def test_pods_leave_when_as_many_more_have_come(
    cluster: k8slab.Cluster, workload: k8slab.Workload, tmp_path: Path, order: str
) -> None:
    """Two thirds of the pods stay for 60 arrivals, the others for good: in whatever order they come."""
    number = np.arange(len(workload))
    leaves = (number % 3 > 0) & (number + 60 < len(workload))
    departures = np.where(leaves, number + 60, -1)
    result = compare(
        cluster, workload, ["best-fit", "first-fit"], range(3), order=order, departures=departures, progress=False
    )
    for seed in range(3):
        rows = arrival_order(len(workload), seed) if order == "shuffled" else number
        left = {int(row): came + 60 for came, row in enumerate(rows) if leaves[row] and came + 60 < len(workload)}
        twin = k8slab.schedule(
            cluster, workload, "best-fit", seed=seed, order=rows, departures=[left.get(row, -1) for row in number]
        )
        placement = result.placement("best-fit", seed)
        assert placement.node_rows.tolist() == twin.node_rows.tolist()
        assert placement.departures is not None
        assert {row: when for row, when in enumerate(placement.departures.tolist()) if when >= 0} == left
        row = result.frame[(result.frame["policy"] == "best-fit") & (result.frame["seed"] == seed)].iloc[0]
        assert row["placed"] == twin.placed
        assert row["nodes_used"] == len(set(twin.rows_at_end.tolist()) - {-1})
        curve = result.curves[(result.curves["policy"] == "best-fit") & (result.curves["seed"] == seed)]
        points = np.interp(curve["arrived_percent"], *zip(*naive_curve(twin, "cpu", result.dominant), strict=True))
        assert curve["cpu_allocated_percent"].to_numpy() == pytest.approx(points, abs=1e-5)
    result.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = rerun(tmp_path / "manifest.json", cluster, workload, progress=False)
    assert again.content_hash() == result.content_hash()
    assert result.manifest()["order_rule"].endswith("pods leave when as many more have come as they were given")
    assert "departures=departures)" in result.to_html(tmp_path / "report.html").read_text()


def test_a_departure_before_the_arrival_is_told(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    with pytest.raises(InputError, match=r"departures\[0\] is 0; the pod arrives as number 0"):
        compare(cluster, workload, "best-fit", [0], departures=np.zeros(len(workload), dtype=np.int64), progress=False)
    with pytest.raises(InputError, match="departures must hold a whole number for each of the workload's 240 pods"):
        compare(cluster, workload, "best-fit", [0], departures=[1], progress=False)


def test_curves_end_where_the_frame_says_and_share_their_grid(comparison: Comparison) -> None:
    last = comparison.curves.groupby(["policy", "seed"], sort=False).last().reset_index()
    assert last["cpu_allocated_percent"].tolist() == comparison.frame["cpu_allocated_percent"].tolist()
    grids = {tuple(run["arrived_percent"]) for _, run in comparison.curves.groupby(["policy", "seed"])}
    assert len(grids) == 1


def test_what_runs_there_already_counts_but_has_not_arrived() -> None:
    bound = k8slab.Workload.from_frame({"pod": ["old"], "cpu": [2], "memory": ["1Gi"]})
    nodes = k8slab.Cluster.from_frame({"node": ["a", "b"], "cpu": [4, 4], "memory": ["8Gi", "8Gi"]})
    cluster = replace(nodes, bound=bound, bound_node=np.array([1]))
    new = k8slab.Workload.from_frame({"pod": ["new"], "cpu": [1], "memory": ["1Gi"]})
    result = compare(cluster, new, "first-fit", [0], progress=False)
    assert result.curves["cpu_allocated_percent"].iloc[[0, -1]].tolist() == [25.0, 37.5]
    assert result.curves["arrived_percent"].iloc[[0, -1]].tolist() == [0.0, 12.5]
    assert result.frame["nodes_used"].tolist() == [2]


# --- the same bytes


@pytest.mark.parametrize("workers", [1, 5])
def test_the_result_is_the_same_whatever_the_number_of_workers(comparison: Comparison, workers: int) -> None:
    again = compare(
        comparison.cluster, comparison.workload, POLICIES, range(8), workers=workers, progress=False
    )
    assert again.content_hash() == comparison.content_hash()
    assert again.frame.to_csv() == comparison.frame.to_csv()
    assert again.curves.to_csv() == comparison.curves.to_csv()


def test_a_manifest_makes_it_again(comparison: Comparison, tmp_path: Path) -> None:
    comparison.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = rerun(tmp_path / "manifest.json", comparison.cluster, comparison.workload, progress=False)
    assert again.content_hash() == comparison.content_hash()
    assert again.manifest() == comparison.manifest()
    for result, folder in ((comparison, "first"), (again, "again")):
        result.save(tmp_path / folder)
        result.to_html(tmp_path / folder / "report.html")
    written = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert written == ["curves.csv", "differences.csv", "manifest.json", "report.html", "runs.csv", "summary.csv"]
    for name in written:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name


def test_a_manifest_keeps_arguments_and_order(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    policies = [
        k8slab.policy("requested-to-capacity", shape=[(0, 0), (50, 10)]),
        k8slab.policy("best-fit", resources={"cpu": 3, "memory": 1}).with_ties("random"),
    ]
    first = compare(cluster, workload, policies, [4, 2], order="given", baseline="best-fit", progress=False)
    again = rerun(json.loads(json.dumps(first.manifest())), cluster, workload, progress=False)
    assert again.content_hash() == first.content_hash()
    assert (again.order, again.baseline, again.seeds) == ("given", "best-fit", (4, 2))


EVERY_PLUGIN = Policy(
    "every plug-in",
    "One of each, with arguments wherever it takes some.",
    (
        plugins.NodeUnschedulable(),
        plugins.NodeName(),
        plugins.TaintToleration(),
        plugins.NodeAffinity(
            (NodeTerm((Requirement("disk", "NotIn", ("hdd", "no")),)), NodeTerm(fields=(Requirement("x", "Exists"),))),
            ((7, NodeTerm((Requirement("arch", "In", ("arm64",)),))),),
        ),
        plugins.NodePorts(),
        plugins.NodeResourcesFit(ignored=("example.com/gpu",), ignored_groups=("other.org",)),
        plugins.PodTopologySpread((SpreadConstraint("rack", 2, True, None, 3, False, True),)),
        plugins.InterPodAffinity(hard_weight=7, ignore_preferred_of_existing=True),
    ),
    (
        (plugins.TaintToleration(), 3),
        (plugins.NodeResourcesFit(plugins.RequestedToCapacityRatio({"memory": 1, "cpu": 2}, ((0, 0), (9, 7)))), 2.5),
        (plugins.BalancedAllocation({"memory": 1, "cpu": 1}), 1),
        (plugins.LeastAllocated({"cpu": 3}), 1),
        (plugins.MostAllocated(), 1),
        (plugins.NodeAffinity(added_required=()), 1),
        (plugins.PodTopologySpread(()), 1),
        (plugins.InterPodAffinity(), 1),
        (plugins.ImageLocality(), 1),
        (plugins.BestFit(), 1),
        (plugins.WorstFit({"cpu": 1}), 1),
        (plugins.DotProduct(), 1),
    ),
    "random",
    DefaultPreemption(candidate_percent=20, candidates=7),
)


@pytest.mark.parametrize("name", ["every plug-in", *k8slab.policy_names()])
def test_a_manifest_holds_all_that_decides(name: str) -> None:
    policy = EVERY_PLUGIN if name == EVERY_PLUGIN.name else k8slab.policy(name)
    entry = json.loads(json.dumps(manifests.described(policy)))
    (again,) = manifests.policies({"policies": [entry]})
    assert (again.name, again.summary, again.ties) == (policy.name, policy.summary, policy.ties)
    assert (again.filters, again.scores, again.post_filter) == (policy.filters, policy.scores, policy.post_filter)
    # Floats are added in the order of the resources: dicts are equal in any.
    ordered = [[*(getattr(score, "resources", None) or ())] for score, _ in policy.scores]
    assert [[*(getattr(score, "resources", None) or ())] for score, _ in again.scores] == ordered
    assert json.loads(json.dumps(again.arguments())) == json.loads(json.dumps(policy.arguments()))


@pytest.mark.parametrize(
    ("point", "plugin", "message"),
    [
        ("filters", {"name": "NodeResourcesFit", "strategy": "Best"}, "'Best'"),
        ("filters", {"name": "NodePorts", "port": 80}, r"NodePorts with unknown \['port'\]"),
        ("filters", {"name": "InterPodAffinity", "hard_weight": "1"}, "'1' is no int"),
        ("scores", {"name": "BestFit", "weight": 1, "resources": {"cpu": -1}}, "BestFit: weight of 'cpu' is -1"),
    ],
)
def test_a_manifest_that_was_altered_is_refused(point: str, plugin: dict[str, Any], message: str) -> None:
    entry = {**manifests.described(k8slab.policy("first-fit")), point: [plugin]}
    with pytest.raises(InputError, match=f"the manifest's plug-in {plugin['name']!r} can't be made: {message}"):
        manifests.policies({"policies": [entry]})


def test_numbers_of_numpys_own_are_plain_in_a_manifest(
    cluster: k8slab.Cluster, workload: k8slab.Workload
) -> None:
    policies = [
        k8slab.policy("best-fit", resources={"cpu": np.int64(2)}).with_weight("BestFit", weight)
        for weight in (np.int64(3), np.float64(0.5))
    ]
    first = compare(cluster, workload.take(np.arange(20)), policies, [0], progress=False)
    told = [entry["scores"] for entry in first.manifest()["policies"]]
    assert told == [[{"name": "BestFit", "weight": weight, "resources": {"cpu": 2}}] for weight in (3, 0.5)]
    json.dumps(first.placement(policies[0].name, 0).manifest())
    again = rerun(first.manifest(), cluster, workload.take(np.arange(20)), progress=False)
    assert again.content_hash() == first.content_hash()


@pytest.mark.parametrize(
    "other",
    [
        replace(EVERY_PLUGIN, post_filter=None),
        replace(EVERY_PLUGIN, post_filter=DefaultPreemption()),
        EVERY_PLUGIN.without("NodePorts"),
        EVERY_PLUGIN.without("InterPodAffinity").with_filter(plugins.InterPodAffinity(hard_weight=8)),
        EVERY_PLUGIN.with_score(plugins.NodeResourcesFit(plugins.MostAllocated())),
    ],
)
def test_a_policy_that_differs_anywhere_is_not_the_manifests(other: Policy) -> None:
    with pytest.raises(InputError, match="'every plug-in' is not the one of the manifest"):
        manifests.policies({"policies": [manifests.described(EVERY_PLUGIN)]}, [other.renamed(EVERY_PLUGIN.name)])


def test_a_manifest_tells_what_a_filter_of_ones_own_reads() -> None:
    def filtered(key: str) -> Policy:
        @k8slab.filter_plugin(rack=k8slab.label(key))
        def racked(rack: Any, feasible: Any) -> None:
            feasible[:] = rack != None  # noqa: E711

        return k8slab.policy("first-fit").with_filter(racked).renamed("racked")

    told = manifests.described(filtered("rack"))
    assert told["filters"][-1].pop("code_sha256")
    assert told["filters"][-1] == {"name": "racked", "rack": "label('rack')"}
    with pytest.raises(InputError, match="'racked' is not the one of the manifest"):
        manifests.policies({"policies": [told]}, [filtered("row")])


def test_rerun_says_which_input_differs(comparison: Comparison, workload: k8slab.Workload) -> None:
    manifest = comparison.manifest()
    with pytest.raises(InputError, match="the cluster is not the one of the manifest: it has 13 nodes"):
        rerun(manifest, k8slab.Cluster.synthetic(13), workload)
    with pytest.raises(InputError, match="the workload is not the one of the manifest: it has 239 pods"):
        rerun(manifest, comparison.cluster, workload.take(np.arange(239)))


def test_rerun_warns_if_the_result_differs(comparison: Comparison) -> None:
    manifest = comparison.manifest()
    manifest["result"]["sha256"] = "0" * 64
    manifest["versions"]["numpy"] = "1.0"
    with pytest.warns(RuntimeWarning, match=r"numpy \S+ \(manifest: 1.0\)"):
        rerun(manifest, comparison.cluster, comparison.workload, progress=False)


@pytest.mark.parametrize("text", ["{", "[]", '{"seeds": [1]}'])
def test_rerun_refuses_what_is_no_manifest(comparison: Comparison, tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(InputError, match="manifest"):
        rerun(path, comparison.cluster, comparison.workload)
    with pytest.raises(InputError, match="cannot read"):
        rerun(tmp_path / "none.json", comparison.cluster, comparison.workload)


def own_policy(weight: float = 1) -> k8slab.Policy:
    @k8slab.score_plugin(weight=weight)
    def prefer_used(requested_cpu_milli: Any, score: Any) -> None:
        score[:] = np.where(requested_cpu_milli > 0, 100.0, 0.0)

    return k8slab.policy("kube-default").with_score(prefer_used).renamed("mine")


def test_rerun_needs_a_policy_of_ones_own(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    first = compare(cluster, workload, ["best-fit", own_policy()], [0], progress=False)
    with pytest.raises(InputError, match="'mine' of the manifest has the plug-in 'prefer_used'"):
        rerun(first.manifest(), cluster, workload)
    with pytest.raises(InputError, match="'mine' is not the one of the manifest"):
        rerun(first.manifest(), cluster, workload, policies=[own_policy(weight=2)])
    again = rerun(first.manifest(), cluster, workload, policies=[own_policy()], progress=False)
    assert again.content_hash() == first.content_hash()


def test_rerun_knows_a_plugin_whose_code_has_changed(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    first = compare(cluster, workload, [own_policy(), "best-fit"], [0], progress=False)

    @k8slab.score_plugin
    def prefer_used(requested_cpu_milli: Any, score: Any) -> None:
        score[:] = np.where(requested_cpu_milli > 1, 100.0, 0.0)

    other = k8slab.policy("kube-default").with_score(prefer_used).renamed("mine")
    message = "'mine' is not the one of the manifest: the code of its plug-in 'prefer_used' has changed"
    with pytest.raises(InputError, match=message):
        rerun(first.manifest(), cluster, workload, policies=[other])


# --- what it tells


def test_differences_are_paired(comparison: Comparison) -> None:
    found = comparison.differences("first-fit").set_index(["policy", "metric"])
    wide = comparison.frame.pivot_table(index="seed", columns="policy", values="placed")
    mean = (wide["best-fit"] - wide["first-fit"]).mean()
    assert found.loc[("best-fit", "placed"), "difference"] == pytest.approx(mean, abs=1e-6)
    with pytest.raises(UnknownName, match="did you mean 'best-fit'"):
        comparison.differences("best-fti")


def test_a_policy_is_equal_to_its_twin(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    twins = [k8slab.policy("best-fit"), k8slab.policy("best-fit").renamed("twin")]
    result = compare(cluster, workload, twins, range(6), progress=False)
    assert set(result.differences()["verdict"]) == {"equal"}
    assert not result.differences()["distinguishable"].any()
    assert result.answer().startswith("All 2 policies do alike")


def test_seeds_change_nothing_for_ties_by_row_in_the_given_order(
    cluster: k8slab.Cluster, workload: k8slab.Workload
) -> None:
    result = compare(cluster, workload, ["best-fit"], range(3), order="given", progress=False)
    assert len(set(result.frame["placed"])) == 1
    assert result.placement("best-fit", 1).order is None


def test_the_answer_names_the_best_and_who_cannot_be_told_from_it() -> None:
    frame = {"gpu": {"a": 90.0, "b": 90.2, "c": 80.0}, "noise": 0.5}
    result = _made_up(frame["gpu"], noise=0.5)
    assert result.answer().startswith("b allocates the most CPU, 90.")
    assert "; a is not distinguishable from it" in result.answer()
    assert "more than c" in result.answer()


def _made_up(means: Mapping[str, float], noise: float) -> Comparison:
    """A comparison whose numbers are invented, to see what is said of them."""
    dice = np.random.default_rng(2)
    cluster, workload = k8slab.Cluster.synthetic(3), k8slab.Workload.synthetic(30)
    base = compare(cluster, workload, [k8slab.policy("best-fit").renamed(name) for name in means], range(10),
                   baseline=list(means)[-1], progress=False)
    frame = base.frame.copy()
    share = frame["policy"].map(means) + dice.normal(0.0, noise, len(frame))
    frame[f"{base.dominant}_allocated_percent"] = share
    frame["placed"] = 20
    return replace(base, frame=frame)


def test_the_answer_counts_nodes_where_all_pods_fit() -> None:
    cluster = k8slab.Cluster.synthetic(20)
    result = compare(cluster, k8slab.Workload.synthetic(100), ["least-allocated", "best-fit"], range(6), progress=False)
    assert result.headline == "nodes_used"
    assert result.answer().startswith("Every pod found a node with every policy; best-fit uses the fewest nodes")
    assert "fewer than least-allocated" in result.answer()
    assert result.ranked() == ["best-fit", "least-allocated"]


def test_the_answer_says_that_nothing_fits() -> None:
    cluster = k8slab.Cluster.synthetic(3)
    giants = k8slab.Workload.from_frame({"pod": ["a", "b"], "cpu": [1000, 1000], "memory": ["1Gi", "1Gi"]})
    result = compare(cluster, giants, ["best-fit"], range(2), progress=False)
    assert result.frame["placed"].tolist() == [0, 0]
    assert result.answer().startswith("No policy placed any of the 2 pods")


def test_the_answer_admits_that_seeds_are_few(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    result = compare(cluster, workload, POLICIES, range(2), progress=False)
    assert result.answer().endswith("2 seeds are too few to tell the policies apart: 3 policies need at least 7.")
    assert set(result.differences()["verdict"]) <= {"too few seeds", "equal"}


def test_a_workload_may_ask_what_the_cluster_has_not() -> None:
    pods = k8slab.Workload.from_frame({"pod": ["a", "b"], "cpu": [1, 1], "memory": ["1Gi"] * 2, "x.org/fpga": [0, 1]})
    result = compare(k8slab.Cluster.synthetic(3), pods, ["best-fit"], [0], progress=False)
    assert result.frame["placed"].tolist() == [1]


def test_it_shows_itself(comparison: Comparison) -> None:
    html = comparison._repr_html_()
    assert "<table" in html
    assert "best-fit" in html
    assert "3 policies x 8 seeds on 12 nodes and 240 pods" in repr(comparison)
    assert comparison.table()["policy"].tolist() == comparison.ranked()


def test_names_are_escaped(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    result = compare(cluster, workload, k8slab.policy("best-fit").renamed("<script>"), [0], progress=False)
    assert "<script>" not in result._repr_html_()


def test_save_writes_all_and_says_where_it_cannot(comparison: Comparison, tmp_path: Path) -> None:
    written = comparison.save(tmp_path / "deep" / "down")
    assert [path.name for path in written] == [
        "runs.csv", "curves.csv", "summary.csv", "differences.csv", "manifest.json"
    ]
    pd.testing.assert_frame_equal(pd.read_csv(written[0]), comparison.frame, check_dtype=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        comparison.save(tmp_path / "file")


# --- bad input is found before the work


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policies": ["best-fti"]}, "unknown policy 'best-fti'; did you mean 'best-fit'"),
        ({"policies": []}, "no policies"),
        ({"policies": ["best-fit", "best-fit"]}, "policy 'best-fit' stands twice"),
        ({"policies": [7]}, "neither a name nor"),
        ({"seeds": []}, "no seeds"),
        ({"seeds": 10}, r"such as range\(10\)"),
        ({"seeds": [1, 1]}, "seed 1 stands twice"),
        ({"seeds": [-1]}, "-1"),
        ({"seeds": [0.5]}, "0.5"),
        ({"order": "shufled"}, "unknown order 'shufled'; did you mean 'shuffled'"),
        ({"policies": ["best-fit"], "baseline": "random"}, "must be one of the policies compared"),
    ],
)
def test_bad_arguments(
    cluster: k8slab.Cluster, workload: k8slab.Workload, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        compare(cluster, workload, progress=False, **arguments)
    assert raised.value.partial is None


def large_placed(placement: k8slab.Placement) -> float:
    cpu = placement.workload.requests[:, 0]
    return 100.0 * float((placement.node_rows[cpu >= np.median(cpu)] >= 0).mean())


def test_metrics_of_ones_own(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    asked = {"metrics": {"large_placed_percent": large_placed}, "progress": False}
    result = compare(cluster, workload, ["first-fit", "worst-fit"], range(3), **asked)
    row = result.frame.iloc[-1]
    assert row["large_placed_percent"] == round(large_placed(result.placement(row["policy"], row["seed"])), 6)
    assert result.summary("large_placed_percent")["policy"].tolist() == ["first-fit", "worst-fit"]
    assert result.differences(metric="large_placed_percent")["policy"].tolist() == ["worst-fit"]
    again = rerun(result.manifest(), cluster, workload, **asked)
    assert again.content_hash() == result.content_hash()


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ({"placed": lambda placement: 1.0}, InputError, "metric 'placed' has the name of a column"),
        ({"path": lambda placement: 1.0}, InputError, "metric 'path' has the name of a column"),
        ({"mine": lambda placement: np.nan}, PluginError, "metric 'mine' of first-fit with seed 0 is nan; a "),
        ({"mine": lambda placement: 1 / 0}, PluginError, "metric 'mine' of first-fit with seed 0 failed: ZeroDivision"),
    ],
)
def test_bad_metrics(
    cluster: k8slab.Cluster, workload: k8slab.Workload, metrics: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        compare(cluster, workload, ["first-fit"], [0], progress=False, metrics=metrics)


def test_nothing_to_place(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    with pytest.raises(InputError, match="the workload has no pods"):
        compare(cluster, workload.take(np.arange(0)), progress=False)


# --- nothing that was computed is lost


def test_an_interruption_keeps_what_had_finished(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    seen: list[Mapping[str, Any]] = []

    def stop_after_seven(row: Mapping[str, Any]) -> None:
        seen.append(row)
        if len(seen) == 7:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="after 7 of 30 runs") as raised:
        compare(cluster, workload, POLICIES, range(10), progress=False, on_run=stop_after_seven)
    partial = raised.value.partial
    assert len(partial.frame) == 7
    assert sorted(map(str, partial.frame.to_dict("records"))) == sorted(map(str, seen))
    # Differences rest on the seeds that every policy has seen, so that they are paired.
    complete = partial.frame.groupby("seed")["policy"].nunique().eq(3).sum()
    assert complete >= 1
    assert partial.answer()
    assert len(partial.differences()) == 2 * len(partial.metrics)


def test_an_early_interruption_has_nothing_to_keep(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    class Stopped:
        def __iter__(self) -> Iterator[int]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(cluster, workload, POLICIES, Stopped(), progress=False)


def test_a_plugin_that_fails_costs_no_other_run(cluster: k8slab.Cluster, workload: k8slab.Workload) -> None:
    calls = itertools.count()

    @k8slab.score_plugin
    def turns_bad(free_cpu_milli: Any, score: Any) -> None:
        score[:] = np.nan if next(calls) > 900 else 1.0

    bad = k8slab.policy("best-fit").with_score(turns_bad)
    with pytest.raises(PluginError) as raised:
        compare(cluster, workload, ["first-fit", bad], range(10), workers=1, progress=False)
    partial = raised.value.partial
    assert set(partial.frame["policy"]) == {"first-fit", bad.name}
    assert 0 < len(partial.frame) < 20


# --- how far it is


def test_no_bar_where_nobody_looks(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    with progress.progress_bar("comparing", 3) as bar:  # stderr is no terminal here
        bar.say("hello")
        bar.advance()
    assert capfd.readouterr() == ("", "")


def test_a_bar_in_a_terminal_on_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.progress_bar("comparing", 3) as bar:
        bar.say("compiling kernels")
        bar.advance(2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "compiling kernels" in err
    assert "comparing" in err


def test_a_bar_says_that_kernels_are_compiled_while_it_is_open(monkeypatch, capsys):
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_NotebookLine", Spoken)
    monkeypatch.setattr(progress, "_compiling_said", False)
    for _ in range(2):
        with progress.progress_bar("comparing", 3):
            _compiling.tell()
            _compiling.tell()
    assert capsys.readouterr().out == "compiling kernels for the first time (5 to 30 s, once)\n"
    _compiling.tell()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "told"), [({}, True), ({"show": False}, False), ({"show": False, "told": True}, True)]
)
def test_where_no_bar_is_drawn_one_line_on_stderr_says_so(
    options: Any, told: bool, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_compiling_said", False)
    with progress.progress_bar("comparing", 3, **options):
        _compiling.tell()
    assert capfd.readouterr() == ("", "compiling kernels for the first time (5 to 30 s, once)\n" if told else "")


class Spoken:
    """A bar of which only what it says is seen."""

    def __init__(self, *_):
        pass

    def say(self, message):
        print(message)

    def close(self):
        pass


def test_a_line_in_a_notebook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setattr(progress, "REDRAW_S", 0.0)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    shown: list[str] = []

    class Line:
        def update(self, text: object) -> None:
            shown.append(repr(text))

    monkeypatch.setattr("IPython.display.display", lambda text, display_id: Line())
    with progress.progress_bar("comparing", 4) as bar:
        bar.say("compiling kernels")
        bar.advance(2)
    assert shown[0].startswith("comparing ███████████████░░░░░░░░░░░░░░░ 2/4, ")
    assert shown[-1] == "comparing: 2 of 4 in 0 s"
    assert capsys.readouterr().out == "compiling kernels\n"


def test_short_work_shows_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.progress_bar("comparing", 2) as bar:
        bar.advance(2)
    assert capsys.readouterr() == ("", "")


def test_this_is_no_notebook() -> None:
    assert not progress.in_notebook()
