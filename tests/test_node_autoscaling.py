"""Nodes come and go in a simulated cluster: when, which, why, and what they cost."""

from __future__ import annotations

import re
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pytest

import k8slab
from k8slab.analysis.run_nodes import _mean_count
from k8slab.application.calendar import Calendar
from k8slab.application.cluster_autoscaler import ClusterAutoscaler as Loop
from k8slab.domain.cluster_autoscaler.backoff import GroupBackoff
from k8slab.domain.columns import NEVER, Codes
from k8slab.domain.instants import SECOND_NS as S
from k8slab.domain.pod_spec import HOSTNAME, PodSpec, PodTerm, Requirement
from k8slab.domain.run_tables import TABLES
from k8slab.errors import InputError, UnknownName
from k8slab.experiments.scenario import scenario_of
from k8slab.simulation import (
    ClusterAutoscaler,
    DaemonSet,
    Deployment,
    Exponential,
    InstanceType,
    Job,
    NodeGroup,
    PodStream,
    Poisson,
    Uniform,
    cluster_of,
)
from k8slab.simulation.cloud import Cloud
from k8slab.simulation.faults import ListedFailures, NodeFailures
from k8slab.simulation.health import DisruptionBudget, Health

FOUR = InstanceType(name="four", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.2, boot="90s")
EIGHT = InstanceType(name="eight", resources={"cpu": 8, "memory": "32Gi"}, price_per_hour=0.5, boot="120s")
ONE_CORE = {"cpu": "1", "memory": "1Gi"}


def simulated(groups, parts, until="1h", health=None, seed=0, **options):
    autoscaler = ClusterAutoscaler(groups=groups, **options)
    simulation = k8slab.Simulation(cluster_of(groups), parts, autoscalers=[autoscaler], health=health, seed=seed)
    run = simulation.run(until)
    check(run, groups)
    return run


def check(run, groups):
    """What holds of any run: sizes within bounds, money that adds up, no node in a wrong state."""
    run._world.state.check()
    intervals = run.frames.node_intervals
    hours = (intervals["ended_s"] - intervals["launched_s"]) / 3600
    np.testing.assert_allclose(intervals["cost"], hours * intervals["price_per_hour"])
    assert run.metrics["cost"][0] == pytest.approx(intervals["cost"].sum())
    over_time = run.frames.node_groups
    spans = (over_time["end_ns"] - over_time["start_ns"]) / 3.6e12
    assert (over_time["cost_per_hour"] * spans).sum() == pytest.approx(run.metrics["cost"][0])
    for group in groups:
        mine = intervals[intervals["group"] == group.name]
        times = np.concatenate([mine["launched_s"], mine["ended_s"]])
        change = np.concatenate([np.ones(len(mine)), -np.ones(len(mine))])
        order = np.lexsort((change, times))
        size = np.cumsum(change[order])[times[order] < run.until_ns / S]
        assert (size <= group.max_size).all(), group
        assert (size[times[order][: len(size)] > 0] >= group.min_size).all(), group


def steps(run, *columns):
    frame = run.frames.node_scaling
    return [tuple(row) for row in frame[list(columns)].itertuples(index=False)]


def test_pods_that_wait_get_nodes_after_they_have_booted():
    groups = [NodeGroup(name="web", instance_type=FOUR, initial=1, max_size=5)]
    run = simulated(groups, Deployment("app", ONE_CORE, replicas=10), until="10m")
    assert steps(run, "time_ns", "action", "nodes", "pods") == [
        (10 * S, "scale-up", 2, 6),
        (100 * S, "joined", 1, 0),
        (100 * S, "joined", 1, 0),
    ]
    pods = run.frames.pods
    assert pods["pending_s"].tolist() == [0.0] * 4 + [100.0] * 6
    assert pods["node"].tolist()[4:] == ["web-1", "web-2"] * 3
    assert run.metrics["cost"][0] == pytest.approx(0.2 * (600 + 2 * 590) / 3600)
    assert run.metrics["node_hours"][0] == pytest.approx((600 + 2 * 590) / 3600)


def test_nodes_that_nobody_needs_go_after_ten_minutes_and_never_below_the_minimum():
    groups = [NodeGroup(name="batch", instance_type=FOUR, min_size=1, initial=1, max_size=9)]
    jobs = Job("crunch", ONE_CORE, completions=12, parallelism=12, durations="5m")
    run = simulated(groups, jobs, until="1h")
    told = run.frames.node_scaling
    gone = told[told["action"] == "removed"]
    assert len(told[told["action"] == "joined"]) == 2
    assert len(gone) == 2
    # Unneeded since the first look after its jobs' end, for more than ten minutes; tainted, and gone 5 s later.
    assert (gone["time_ns"] // S).tolist() == [300 + 610 + 5, 400 + 610 + 5]
    assert gone["reason"].str.contains("utilization 0.00").all()
    assert run.frames.node_intervals["end"].value_counts().to_dict() == {"removed": 2, "still there": 1}


def test_a_pod_that_no_type_can_hold_is_told_of_once_and_asks_for_nothing():
    groups = [NodeGroup(name="web", instance_type=FOUR, min_size=1, initial=1, max_size=5)]
    huge = Deployment("huge", {"cpu": "64", "memory": "1Gi"}, replicas=1)
    run = simulated(groups, huge, until="2h")
    assert steps(run, "action") == []
    events = run.frames.events
    told = events[events["event"] == "NotTriggerScaleUp"]
    assert told["detail"].tolist() == ["pod didn't trigger scale-up: 1 Insufficient cpu"]
    assert run.metrics["pods_never_placed"][0] == 1


def test_a_group_at_its_maximum_says_so():
    groups = [NodeGroup(name="web", instance_type=FOUR, initial=1, max_size=2)]
    run = simulated(groups, Deployment("app", ONE_CORE, replicas=12), until="20m")
    events = run.frames.events
    told = events[events["event"] == "NotTriggerScaleUp"]["detail"]
    assert told.tolist() == ["pod didn't trigger scale-up: 1 max node group size reached"] * 4
    assert len(run.frames.node_intervals) == 2


@pytest.mark.parametrize(
    ("expander", "options", "chosen"),
    [
        ("least-waste", {}, "small"),  # two cores of three idle in the large, none in the small
        ("least-nodes", {}, "large"),
        (["priority", "least-waste"], {"priorities": {"9": ["^large$"], "1": [".*"]}}, "large"),
        ("price", {}, "small"),
        (["most-pods", "least-nodes"], {}, "large"),
    ],
)
def test_expanders_choose(expander, options, chosen):
    groups = [
        NodeGroup(name="small", instance_type=FOUR, initial=1, max_size=5),
        NodeGroup(name="large", instance_type=EIGHT, max_size=5),
    ]
    parts = [Deployment("app", {"cpu": "4", "memory": "16Gi"}, replicas=4)]
    run = simulated(groups, parts, until="5m", expander=expander, **options)
    ups = [group for action, group in steps(run, "action", "group") if action == "scale-up"]
    assert ups[0] == chosen


def test_a_random_expander_is_a_function_of_the_seed():
    groups = [NodeGroup(name=name, instance_type=FOUR, initial=int(name == "a"), max_size=5) for name in "abcd"]
    parts = Deployment("app", ONE_CORE, replicas=9)
    chosen = [
        next(g for a, g in steps(simulated(groups, parts, "2m", seed=s, expander="random"), "action", "group"))
        for s in (0, 0, 1, 2, 3, 4, 5)
    ]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) > 1


def test_a_cloud_that_refuses_makes_the_group_back_off():
    never = InstanceType(
        name="rare", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.1, launch_failure=1.0
    )
    groups = [
        NodeGroup(name="home", instance_type=FOUR, initial=1, max_size=1),
        NodeGroup(name="rare", instance_type=never, max_size=5),
    ]
    run = simulated(groups, Deployment("app", ONE_CORE, replicas=6), until="70m")
    failed = [at // S for at, action in steps(run, "time_ns", "action") if action == "scale-up-failed"]
    # 5 minutes, 10, 20, 30: refused when asked, known at the next look.
    assert failed == [20, 330, 940, 2150, 3960]
    assert run.metrics["launches_failed"][0] == 5
    assert run.metrics["cost"][0] == pytest.approx(0.2 * 70 / 60)


def test_a_node_that_does_not_come_in_time_is_given_up():
    slow = InstanceType(name="slow", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.1, boot="1h")
    groups = [
        NodeGroup(name="home", instance_type=FOUR, initial=1, max_size=1),
        NodeGroup(name="slow", instance_type=slow, max_size=5),
    ]
    run = simulated(groups, Deployment("app", ONE_CORE, replicas=6), until="20m")
    assert [(at // S, action) for at, action in steps(run, "time_ns", "action")] == [
        (10, "scale-up"), (920, "scale-up-failed"),
    ]  # fmt: skip
    interval = run.frames.node_intervals.iloc[1]
    assert (interval["launched_s"], interval["ended_s"], interval["end"]) == (
        10.0, 920.0, "the node hasn't come in time",
    )  # fmt: skip


def test_backoff_doubles_and_is_forgotten():
    backoff = GroupBackoff()
    assert backoff.failed("g", 0) == 300 * S
    assert [backoff.holds("g", at * S) for at in (0, 299, 300)] == [True, True, False]
    assert backoff.failed("g", 301 * S) == 901 * S
    assert backoff.failed("g", 3000 * S) == 4200 * S
    assert backoff.failed("g", 9000 * S) == 10_800 * S
    assert backoff.failed("g", 30_000 * S) == 30_300 * S
    backoff.succeeded("g")
    assert not backoff.holds("g", 30_001 * S)
    with pytest.raises(InputError, match="a back-off from 0"):
        GroupBackoff(0)


def test_draining_heeds_budgets():
    groups = [NodeGroup(name="web", instance_type=FOUR, initial=4, max_size=4)]
    parts = Deployment("app", ONE_CORE, replicas=4, startup="60s")  # one a node, by kube-default's spreading
    free = simulated(groups, parts, until="1h")
    assert free.metrics["nodes_removed"][0] == 3
    assert free.metrics["pods_evicted"][0] >= 3
    held = Health(budgets=[DisruptionBudget(name="app", workload="app", max_unavailable=0)])
    kept = simulated(groups, parts, until="1h", health=held)
    assert kept.metrics["nodes_removed"][0] == 0
    one = Health(budgets=[DisruptionBudget(name="app", workload="app", max_unavailable=1)])
    slow = simulated(groups, parts, until="2h", health=one)
    assert slow.metrics["nodes_removed"][0] == 3
    ready = slow.frames.availability.query("workload == 'app' and time_s > 61")["ready"]
    assert ready.min() >= 3


def test_bare_pods_hold_their_node_unless_told_otherwise():
    groups = [NodeGroup(name="web", instance_type=FOUR, initial=3, max_size=3)]
    pods = k8slab.Workload.from_frame({"pod": ["a", "b", "c"], "cpu": [1, 1, 1], "memory": ["1Gi"] * 3})
    assert simulated(groups, pods).metrics["nodes_removed"][0] == 0
    assert simulated(groups, pods, evict_bare_pods=True).metrics["nodes_removed"][0] == 2


def test_a_group_goes_wholly_or_not_at_all():
    groups = [
        NodeGroup(name="home", instance_type=FOUR, min_size=1, initial=1, max_size=1),
        NodeGroup(name="slice", instance_type=EIGHT, max_size=4, all_or_nothing=True),
    ]
    parts = Job("train", {"cpu": "6", "memory": "8Gi"}, completions=2, parallelism=2, durations="5m")
    run = simulated(groups, parts, until="1h")
    ups = [nodes for action, nodes in steps(run, "action", "nodes") if action == "scale-up"]
    assert ups == [4]
    gone = [at for at, action in steps(run, "time_ns", "action") if action == "scale-down-empty"]
    assert len(gone) == 4
    assert len(set(gone)) == 1


def test_taints_labels_and_daemon_sets_are_seen_before_a_node_is_there():
    gpu = InstanceType(
        name="gpu", resources={"cpu": 8, "memory": "32Gi", "nvidia.com/gpu": 1}, price_per_hour=2.0, taints="gpu"
    )
    groups = [
        NodeGroup(name="home", instance_type=FOUR, initial=1, max_size=3),
        NodeGroup(name="ml", instance_type=gpu, max_size=3),
    ]
    agent = DaemonSet("agent", {"cpu": "500m", "memory": "100Mi"})
    plain = Deployment("plain", {"cpu": "7", "memory": "1Gi"}, replicas=1)
    learns = Deployment(
        "learns", {"cpu": "7500m", "memory": "1Gi", "nvidia.com/gpu": 1}, replicas=2, tolerations=("gpu",)
    )
    run = simulated(groups, [agent, plain, learns], until="10m")
    assert [(g, n) for a, g, n in steps(run, "action", "group", "nodes") if a == "scale-up"] == [("ml", 2)]
    pods = run.frames.pods.set_index("pod")
    assert pods.loc[["learns-0", "learns-1"], "node"].tolist() == ["ml-0", "ml-1"]
    assert pods["node"].isna().sum() == 1  # plain, which tolerates nothing
    big = DaemonSet("big", {"cpu": "5", "memory": "1Gi"})
    with pytest.raises(InputError, match=r"node group 'home': instance type 'four' is too small for daemon set 'big'"):
        simulated(groups, [big])


def test_pods_apart_by_host_ask_for_a_node_each_at_once():
    web = (Requirement("app", "In", ("web",)),)
    apart = PodSpec(anti_affinity=(PodTerm(HOSTNAME, web, ("default",)),))
    pods = k8slab.Workload.of(
        [f"web-{n}" for n in range(4)], [[500, 2**30, 1]] * 4, labels={"app": Codes.constant("web", 4)},
        specs=Codes.constant(apart, 4),
    )  # fmt: skip
    run = simulated([NodeGroup(name="a", instance_type=FOUR, initial=1, max_size=9)], pods)
    assert steps(run, "action", "nodes")[0] == ("scale-up", 3)
    assert run.frames.pods["node"].nunique() == 4


def test_scoring_finds_as_many_nodes():
    groups = [NodeGroup(name="web", instance_type=FOUR, initial=1, max_size=9)]
    parts = Deployment("app", ONE_CORE, replicas=10)
    first_fit, scored = (simulated(groups, parts, until="10m", scoring=scoring) for scoring in (False, True))
    assert first_fit.metrics["cost"] == scored.metrics["cost"]


def test_a_stream_makes_the_cluster_breathe_and_is_the_same_again():
    groups = [
        NodeGroup(name="web", instance_type=InstanceType(
            name="x", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.2, boot=Uniform("30s", "5m"),
            launch_failure=0.1,
        ), min_size=1, initial=2, max_size=20),
    ]  # fmt: skip
    shapes = k8slab.Workload.from_frame({"pod": ["a", "b"], "cpu": ["500m", 2], "memory": ["1Gi", "2Gi"]})
    stream = PodStream("batch", shapes, Poisson("20s"), Exponential("10m"))
    runs = [simulated(groups, stream, until="6h", evict_bare_pods=True, seed=3) for _ in range(2)]
    first, again = (run.frames.node_intervals for run in runs)
    assert first.equals(again)
    assert runs[0].metrics["nodes_removed"][0] > 0
    assert runs[0].metrics["launches_failed"][0] > 0
    assert (runs[0].frames.node_groups["nodes"] <= 20).all()


@pytest.mark.parametrize(("every", "joins", "scans"), [("8s", 20, 1.0), ("50s", 1, 0.95)])
def test_nodes_join_in_stretches_as_they_would_have_one_by_one(monkeypatch, every, joins, scans):
    """And where nobody waits and no node is idle, scans are left out: scans is the share that is left, at the most."""
    kinds = [
        InstanceType(name=f"x{cpu}", resources={"cpu": cpu, "memory": "16Gi"}, price_per_hour=cpu, boot=Uniform(1, 60))
        for cpu in (4, 6)
    ]
    groups = [
        NodeGroup(name=kind.name, instance_type=kind, initial=1, max_size=15, labels={kind.name: "yes"})
        for kind in kinds
    ]
    shapes = k8slab.Workload.from_frame({"pod": list("abc"), "cpu": ["900m", 2, 5], "memory": ["1Gi", "2Gi", "3Gi"]})
    stream = PodStream("batch", shapes, Poisson(every), Exponential("6m"))
    found, joined, looked = [], Counter(), []
    ahead, scan = Cloud.join_ahead, Loop._scan
    monkeypatch.setattr(Cloud, "join_ahead", lambda cloud, n: joined.update(ahead=n) or ahead(cloud, n))
    monkeypatch.setattr(Loop, "_scan", lambda loop, now_ns: joined.update(scans=1) or scan(loop, now_ns))
    for leaps in (True, False):
        if not leaps:
            monkeypatch.setattr(Calendar, "_leaps", lambda *_: False)
        run = simulated(groups, stream, until="90m", evict_bare_pods=True, seed=3, unneeded_time="2m")
        world = run._world
        columns = {name: column.tolist() for name, column in world.state.journal.columns().items()}
        tables = {name: {k: v.tolist() for k, v in world.sink.columns(name).items()} for name in TABLES}
        found.append((columns, tables, world.scheduler.attempts, run.frames.node_intervals.to_csv()))
        looked.append(joined.pop("scans"))
    assert found[0] == found[1]
    assert joined["ahead"] >= joins
    assert run.metrics["nodes_removed"][0] >= joins / 10
    assert looked[0] <= scans * looked[1]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"expander": "least-wast"}, UnknownName, r"unknown expander 'least-wast'; did you mean 'least-waste'"),
        ({"expander": "priority"}, InputError, "without priorities"),
        ({"expander": "priority", "priorities": {"high": []}}, InputError, "priority 'high'; wanted a whole number"),
        ({"expander": "priority", "priorities": {1: ["("]}}, InputError, r"'\(' is no regular expression"),
        ({"scan_interval": 0}, InputError, "scan_interval"),
        ({"utilization_threshold": 1.5}, InputError, "utilization_threshold=1.5; wanted 0 to 1"),
        ({"max_nodes_total": -1}, InputError, "max_nodes_total=-1; wanted a whole number"),
        ({"groups": []}, InputError, "no node groups"),
        ({"groups": [{"name": "a", "instance_type": "general-3"}]}, InputError, "did you mean .general-"),
        ({"groups": [{"name": "a", "instance_type": "general-4", "min_size": 3, "max_size": 2}]}, InputError,
         "group 'a': .*min_size=3 is above max_size=2"),
    ],
)  # fmt: skip
def test_what_an_autoscaler_cannot_be(given, error, message):
    with pytest.raises(error, match=message):
        ClusterAutoscaler(**{"groups": [NodeGroup(name="web", instance_type=FOUR)], **given})


def test_what_does_not_suit_the_cluster():
    groups = [NodeGroup(name="web", instance_type=FOUR, min_size=2)]
    autoscaler = ClusterAutoscaler(groups=groups)
    app = Deployment("app", ONE_CORE)
    with pytest.raises(InputError, match="'web': 0 nodes of the cluster have its label node-group; wanted 2 to 10"):
        k8slab.Simulation(k8slab.Cluster.synthetic(2), app, autoscalers=[autoscaler]).run("1m")
    two = [autoscaler, ClusterAutoscaler(groups=groups, name="other")]
    with pytest.raises(InputError, match="2 autoscalers of nodes; wanted one"):
        k8slab.Simulation(cluster_of(groups), app, autoscalers=two).run("1m")


def test_nodes_that_fail_and_nodes_that_come_live_together():
    groups = [NodeGroup(name="web", instance_type=FOUR, min_size=2, initial=4, max_size=12)]
    parts = [Deployment("app", ONE_CORE, replicas=14), DaemonSet("agent", {"cpu": "100m", "memory": "1Mi"})]
    autoscaler = ClusterAutoscaler(groups=groups)
    faults = [NodeFailures(name="crash", mtbf="2h", repair="20m")]
    run = k8slab.Simulation(cluster_of(groups), parts, autoscalers=[autoscaler], faults=faults, seed=2).run("8h")
    run._world.state.check()
    assert len(run.frames.faults)
    assert (run.frames.node_scaling["action"] == "joined").any()
    for name in run.frames:
        assert run.frames[name] is not None
    assert run.frames.node_groups["nodes"].max() <= 12


def test_a_node_taken_away_while_it_was_down_is_held_lost_no_longer():
    groups = [NodeGroup(name="web", instance_type=FOUR, initial=3)]
    faults = [ListedFailures(events=[{"node": "web-0", "at": "10m", "duration": "6h"}])]
    autoscaler = ClusterAutoscaler(groups=groups)
    app = Deployment("app", ONE_CORE, replicas=6)
    run = k8slab.Simulation(cluster_of(groups), app, autoscalers=[autoscaler], faults=faults).run("2h")
    assert run.frames.health["condition"].tolist() == ["Unknown"]
    # Its drain fails, as nobody is there to end its pods; found with none but those, it goes after twenty minutes.
    assert steps(run, "action", "node") == [
        ("scale-down", "web-0"), ("scale-down-failed", "web-0"), ("scale-down-empty", "web-0"), ("removed", "web-0"),
    ]  # fmt: skip
    assert run.metrics["unavailable_mean"][0] < 1.0
    (held,) = [patch for patch in run.plot.failures().patches if patch.get_label() == "held lost"]
    assert held.get_data().values.tolist() == [0, 1, 0]
    assert re.fullmatch(r"<Run kube-default: 2h of \d+ to 3 nodes, \d+ pods arrived>", repr(run))
    plt.close("all")


def test_a_picture_of_many_groups_keeps_the_largest_apart():
    groups = [NodeGroup(name=f"g{n}", instance_type=FOUR, initial=n, max_size=12) for n in range(11)]
    run = simulated(groups, Deployment("app", ONE_CORE), until="1m")
    ax = run.plot.node_groups()
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    # One never had a node.
    assert names == ["g4", "g5", "g6", "g7", "g8", "g9", "g10", "3 smaller ones"]
    assert max(patch.get_data().values.max() for patch in ax.patches) == 55
    assert [patch.get_facecolor() for patch in ax.patches].count(ax.patches[0].get_facecolor()) == 1
    plt.close("all")


def test_counts_over_bins():
    start, end = np.array([0, 5]), np.array([NEVER, 15])
    np.testing.assert_allclose(_mean_count(start, end, np.array([0, 10, 20])), [1.5, 1.5])


def test_a_scenario_file_may_have_one():
    groups = [{"name": "web", "instance_type": "general-4", "initial": 1}]
    scenario = scenario_of(
        {
            "cluster": {"groups": groups},
            "deployment": [{"name": "app", "requests": {"cpu": "1", "memory": "1Gi"}, "replicas": 9}],
            "autoscaler": [{"kind": "cluster", "groups": groups, "expander": ["most-pods", "least-waste"]}],
            "until": "10m",
        }
    )
    run = scenario.simulation.run(scenario.until)
    assert run.metrics["nodes_launched"][0] == 2
    with pytest.raises(InputError, match=r"unknown expander 'cheapest'"):
        scenario_of(
            {
                "cluster": {"groups": groups},
                "deployment": [{"name": "app", "requests": {"cpu": "1", "memory": "1Gi"}}],
                "autoscaler": [{"kind": "cluster", "groups": groups, "expander": "cheapest"}],
            }
        )
