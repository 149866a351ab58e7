"""Karpenter in a simulated cluster: which nodes come and go, when, and why; and what holds of any run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import k8slab
from k8slab.application.karpenter.trial import TrialScheduler
from k8slab.domain.columns import Codes
from k8slab.domain.instants import SECOND_NS as S
from k8slab.domain.moving import DO_NOT_DISRUPT
from k8slab.domain.pod_spec import HOSTNAME, ZONE, PodSpec, PodTerm, Requirement, SpreadConstraint
from k8slab.errors import InputError, UnknownName
from k8slab.experiments.scenario import scenario_of
from k8slab.simulation import (
    DaemonSet,
    Deployment,
    Exponential,
    InstanceType,
    Job,
    Karpenter,
    NodeBudget,
    NodePool,
    PodStream,
    Poisson,
    cluster_of,
)
from k8slab.simulation.faults import NodeFailures
from k8slab.simulation.health import DisruptionBudget, Health


def kind(cores, price, name="", **options):
    named = name or {2: "two", 4: "four", 8: "eight", 16: "sixteen"}[cores]
    resources = {"cpu": cores, "memory": f"{4 * cores}Gi"}
    return InstanceType(name=named, resources=resources, price_per_hour=price, **{"boot": "30s", **options})


TWO, FOUR, EIGHT = kind(2, 0.1), kind(4, 0.2), kind(8, 0.39)
ONE_CORE = {"cpu": "1", "memory": "1Gi"}
FREE = (NodeBudget(nodes="100%"),)


def simulated(pools, parts, until="30m", health=None, seed=0, faults=(), policy="kube-default", **options):
    pools = [pools] if isinstance(pools, dict) else pools
    pools = [
        NodePool(**{"instance_types": [TWO, FOUR, EIGHT], "initial": {"two": 1}, **pool})
        if isinstance(pool, dict) else pool
        for pool in pools
    ]  # fmt: skip
    autoscaler = Karpenter(node_pools=pools, **options)
    cluster = cluster_of(autoscaler.groups)
    run = k8slab.Simulation(
        cluster, parts, autoscalers=[autoscaler], health=health, seed=seed, faults=faults, policy=policy
    ).run(until)
    check(run, autoscaler)
    return run


def check(run, autoscaler):
    """What holds of any run: money adds up, pools stay within limits, and no budget is exceeded at any time."""
    run._world.state.check()
    nodes = run.frames.node_intervals
    hours = (nodes["ended_s"] - nodes["launched_s"]) / 3600
    np.testing.assert_allclose(nodes["cost"], hours * nodes["price_per_hour"])
    assert run.metrics["cost"][0] == pytest.approx(nodes["cost"].sum())
    for pool in autoscaler.node_pools:
        mine = nodes[nodes["group"].str.startswith(f"{pool.name}.")]
        types = {group.instance_type.name: group.instance_type for group in autoscaler.groups}
        for resource, limit in pool.limits.items():
            has = np.array([types[name].amounts()[resource] for name in mine["instance_type"]], dtype=np.int64)
            most = k8slab.units.amount(resource, limit)
            assert peak(mine["launched_s"], mine["ended_s"], has) <= most, resource
        plain = [one for one in pool.budgets if one.schedule is None and not one.reasons]
        within_budget(run, pool, mine, plain)


def peak(start, end, weight):
    times = np.concatenate([start, end])
    change = np.concatenate([weight, -weight])
    order = np.lexsort((change, times))
    return int(np.cumsum(change[order]).max(initial=0))


def within_budget(run, pool, nodes, budgets):
    """At each command: what goes already and what it takes is no more than each budget lets of the nodes there."""
    told = run.frames.disruptions
    told = told[told["decision"].isin(["delete", "replace"]) & (told["reason"] != "Expired")]
    told = told[told["node"].isin(nodes["node"])]
    failed = run.frames.disruptions.query("decision == 'failed'")
    ended = dict(zip(nodes["node"], nodes["ended_s"], strict=True))
    undone = dict(zip(failed["node"], failed["time_ns"] / S, strict=True))
    begun = told[["node", "time_ns"]].itertuples(index=False)
    spans = [(at / S, min(ended[node], undone.get(node, np.inf)), node) for node, at in begun]
    for at_ns, command in told.groupby("time_ns"):
        at, taken = at_ns / S, set(command["node"])
        there = int(((nodes["joined_s"] <= at) & ((nodes["ended_s"] > at) | nodes["node"].isin(taken))).sum())
        going = {node for start, end, node in spans if start < at < end or node in taken}
        for budget in budgets:
            assert len(going) <= max(budget.rule().allowed(there), 0), (pool.name, at)


def steps(run, *columns, actions=None):
    frame = run.frames.node_scaling
    frame = frame if actions is None else frame[frame["action"].isin(actions)]
    return [tuple(row) for row in frame[list(columns)].itertuples(index=False)]


def decided(run, *columns):
    frame = run.frames.disruptions
    return [tuple(row) for row in frame[frame["decision"] != "keep"][list(columns)].itertuples(index=False)]


# -- provisioning ----------------------------------------------------------------------------------------------


def test_a_batch_gets_the_cheapest_type_that_holds_all_its_pods():
    run = simulated({"consolidate_after": "Never"}, Deployment("app", ONE_CORE, replicas=8), until="5m")
    # Two run; the other six were told of at once, and looked at a second later.
    assert steps(run, "time_ns", "action", "group", "pods") == [
        (1 * S, "scale-up", "default.eight", 6),
        (31 * S, "joined", "default.eight", 0),
    ]
    assert run.frames.pods["pending_s"].tolist() == [0.0] * 2 + [31.0] * 6
    assert run.metrics["cost"][0] == pytest.approx((0.1 * 300 + 0.39 * 299) / 3600)


def test_the_batch_stays_open_while_pods_come_and_ten_seconds_at_most():
    pods = k8slab.Workload.from_frame(
        {"pod": [f"p{n}" for n in range(60)], "cpu": ["500m"] * 60, "memory": ["1Gi"] * 60,
         "arrival_ns": [n * S // 2 for n in range(60)]}
    )  # fmt: skip
    run = simulated({"budgets": ()}, pods, until="90s")
    ups = sorted({at for at, in steps(run, "time_ns", actions=["scale-up"])})
    # The first that finds no room comes at 2 s, and from then on one every half second until 29.5 s.
    assert ups == [12 * S, 22 * S, 30_500_000_000]


def test_a_pod_that_no_type_can_hold_is_told_of_once_and_asks_for_nothing():
    huge = Deployment("huge", {"cpu": "64", "memory": "1Gi"}, replicas=2)
    run = simulated({"initial": {"two": 1}, "consolidation_policy": "WhenEmpty", "budgets": [{"nodes": "0"}]}, huge)
    assert steps(run, "action") == []
    told = run.frames.events.query("event == 'FailedScheduling' and controller == 'karpenter'")
    assert told["detail"].tolist() == ["no instance type would do: 3 Insufficient cpu"] * 2
    assert run.metrics["pods_never_placed"][0] == 2


def test_a_pool_at_its_limits_says_so():
    run = simulated({"limits": {"cpu": 10}}, Deployment("app", ONE_CORE, replicas=14), until="10m")
    assert run.metrics["nodes_launched"][0] == 1
    told = run.frames.events.query("event == 'FailedScheduling' and controller == 'karpenter'")
    assert set(told["detail"]) == {"no instance type would do: 3 would exceed the pool's limits"}
    assert len(told) == 4


def test_pools_are_asked_by_weight_and_what_they_accept():
    pools = [
        {"name": "plain", "weight": 1},
        {"name": "first", "weight": 50, "taints": "team=a:NoSchedule", "initial": {}},
    ]
    parts = [
        Deployment("anyone", {"cpu": "2", "memory": "1Gi"}, replicas=2),
        Deployment("theirs", {"cpu": "4", "memory": "1Gi"}, replicas=1, tolerations=("team=a",)),
    ]
    run = simulated(pools, parts, until="5m")
    assert sorted(steps(run, "group", "pods", actions=["scale-up"])) == [("first.four", 1), ("plain.two", 1)]


def test_the_cloud_that_refuses_is_asked_for_the_next_cheapest_at_once():
    rare = kind(4, 0.15, "rare", launch_failure=1.0)
    pool = {"instance_types": [TWO, rare, EIGHT], "budgets": ()}
    run = simulated(pool, Deployment("app", {"cpu": "3", "memory": "1Gi"}, replicas=1), until="3m")
    assert steps(run, "time_ns", "action", "group", actions=["scale-up", "scale-up-failed"]) == [
        (S, "scale-up-failed", "default.rare"), (S, "scale-up", "default.eight"),
    ]  # fmt: skip
    alone = simulated({**pool, "instance_types": [TWO, rare]}, Deployment("app", {"cpu": "3", "memory": "1Gi"}), "11m")
    failed = [at // S for at, in steps(alone, "time_ns", actions=["scale-up-failed"])]
    # Not asked for again before three minutes have passed, however often the pod is looked at.
    assert failed == [1, 181, 361, 541] or all(b - a >= 180 for a, b in pairwise(failed))
    assert 2 <= len(failed) <= 4


def test_types_at_their_limit_are_left_out():
    few = kind(4, 0.2, limit=1)
    pool = {"instance_types": [TWO, few, EIGHT], "budgets": ()}
    run = simulated(pool, Deployment("app", {"cpu": "3", "memory": "1Gi"}, replicas=3), until="5m")
    launched = [group for group, in steps(run, "group", actions=["scale-up"])]
    assert sorted(launched) in (["default.eight", "default.eight"], ["default.eight", "default.four"])


def test_daemon_sets_are_counted_in_and_a_type_too_small_for_one_is_an_error():
    agent = DaemonSet("agent", {"cpu": "500m", "memory": "100Mi"})
    run = simulated({"initial": {"four": 1}}, [agent, Deployment("app", {"cpu": "4", "memory": "1Gi"})], until="5m")
    assert [group for group, in steps(run, "group", actions=["scale-up"])] == ["default.eight"]
    big = DaemonSet("big", {"cpu": "3", "memory": "1Gi"})
    with pytest.raises(InputError, match=r"'default.two': instance type 'two' is too small for daemon set 'big'"):
        simulated({}, [big])


# -- disruption ---------------------------------------------------------------------------------------------------


def test_an_empty_node_goes_after_it_was_looked_at_twice():
    job = Job("crunch", ONE_CORE, completions=6, parallelism=6, durations="5m")
    stays = Deployment("stays", ONE_CORE, replicas=2)
    run = simulated({"consolidation_policy": "WhenEmpty"}, [stays, job], until="20m")
    # It ran from 31 s until 331 s; the next look is at 340 s, and 15 s later it is still empty.
    assert decided(run, "time_ns", "method", "reason", "decision", "node") == [
        (355 * S, "emptiness", "Empty", "delete", "default.eight-0"),
    ]  # fmt: skip
    assert run.frames.node_intervals["ended_s"].tolist() == [1200.0, 355.0]


def test_consolidate_after_counts_from_the_last_pod():
    job = Job("crunch", ONE_CORE, completions=6, parallelism=6, durations="5m")
    stays = Deployment("stays", ONE_CORE, replicas=2)
    pool = {"consolidation_policy": "WhenEmpty", "consolidate_after": "2m"}
    run = simulated(pool, [stays, job], until="20m")
    assert [at // S for at, in decided(run, "time_ns")] == [460 + 15]
    never = simulated({"consolidate_after": "Never"}, [stays, job], until="20m")
    assert decided(never, "time_ns") == []


def shrinking(**pool):
    """Two large nodes, of which one and a small one would do after five minutes."""
    jobs = Job("crunch", {"cpu": "5", "memory": "1Gi"}, completions=2, parallelism=2, durations="5m")
    web = Deployment("web", ONE_CORE, replicas=4)
    return {"initial": {"eight": 2}, "budgets": FREE, **pool}, [jobs, web]


def test_consolidation_replaces_or_removes_nodes_that_cost_more_than_they_should():
    run = simulated(*shrinking(), until="1h")
    methods = {method for method, in decided(run, "method")}
    assert methods & {"multi-node consolidation", "single-node consolidation"}
    left = run.frames.node_intervals.query("end == 'still there'")
    assert left["instance_type"].tolist() == ["four"]
    assert run.frames.pods.query("workload == 'web'")["node"].notna().sum() >= 4
    replaced = run.frames.disruptions.query("decision == 'replace'")
    assert (replaced["savings_per_hour"] > 0).all()
    # A replaced node goes after its replacement is there.
    joined = run.frames.node_intervals.query("end == 'still there'")["joined_s"].iloc[0]
    assert (run.frames.node_intervals.query("end == 'removed'")["ended_s"].max()) > joined


def test_when_empty_leaves_nodes_with_pods_alone_and_balanced_those_not_worth_it():
    pool, parts = shrinking(consolidation_policy="WhenEmpty")
    assert decided(simulated(pool, parts, until="1h"), "method") == []
    pool, parts = shrinking(consolidation_policy="Balanced")
    assert len(decided(simulated(pool, parts, until="1h"), "method"))
    # Four pods on a node of eight cores at 0.39: a smaller node saves too little of it for the trouble.
    pool = {"initial": {"eight": 1}, "budgets": FREE, "consolidation_policy": "Balanced", "balanced_k": 0.5,
            "instance_types": [kind(8, 0.39), kind(4, 0.36)]}  # fmt: skip
    kept = simulated(pool, Deployment("web", ONE_CORE, replicas=4), until="20m")
    assert decided(kept, "method") == []
    assert kept.frames.disruptions["detail"].str.contains("Balanced: score").any()


def test_budgets_hold_consolidation_back_and_schedules_open_it():
    pool, parts = shrinking(budgets=[{"nodes": "0"}])
    none = simulated(pool, parts, until="30m")
    assert decided(none, "method") == []
    assert "the pool's disruption budget allows none now" in set(none.frames.disruptions["detail"])
    # Nothing in the first half of each hour.
    shut = NodeBudget(nodes="0", schedule="0 * * * *", duration="30m")
    pool, parts = shrinking(budgets=[shut, *FREE])
    later = simulated(pool, parts, until="50m")
    assert min(at for at, in decided(later, "time_ns")) >= 30 * 60 * S
    only_empty = NodeBudget(nodes="0", reasons=["Underutilized"])
    pool, parts = shrinking(budgets=[only_empty, *FREE])
    assert decided(simulated(pool, parts, until="30m"), "method") == []


def test_evictions_honour_disruption_budgets():
    pool, parts = shrinking()
    held = Health(budgets=[DisruptionBudget(name="web", workload="web", max_unavailable=0)])
    kept = simulated(pool, parts, until="30m", health=held)
    assert kept.metrics["pods_evicted"][0] == 0
    assert kept.frames.disruptions["detail"].str.contains("pdb web prevents pod evictions").any()
    one = Health(budgets=[DisruptionBudget(name="web", workload="web", max_unavailable=1)])
    slow = simulated(pool, parts, until="1h", health=one)
    assert slow.metrics["pods_evicted"][0] >= 2
    ready = slow.frames.availability.query("workload == 'web' and time_s > 1")["ready"]
    assert ready.min() >= 3


def test_pods_and_nodes_that_must_not_be_disturbed():
    pods = k8slab.Workload.from_frame(
        {"pod": ["a", "b"], "cpu": [1, 1], "memory": ["1Gi"] * 2, f"label:{DO_NOT_DISRUPT}": ["true", None]}
    )
    pool = {"initial": {"eight": 2}, "budgets": FREE}
    run = simulated(pool, pods, policy="first-fit")
    gone = {node for node, in decided(run, "node")}
    home = run.frames.pods.set_index("pod").loc["a", "node"]
    assert home not in gone
    assert run.frames.disruptions.query("node == @home")["detail"].str.contains("do-not-disrupt: a").any()
    kept = simulated({**pool, "labels": {DO_NOT_DISRUPT: "true"}}, pods)
    assert decided(kept, "node") == []
    bare = simulated(pool, pods, evict_bare_pods=False)
    assert bare.metrics["pods_evicted"][0] == 0


def test_nodes_expire_whatever_budgets_say_and_their_pods_move_on():
    pool = {"expire_after": "10m", "budgets": [{"nodes": "0"}], "initial": {"four": 1}}
    run = simulated(pool, Deployment("web", ONE_CORE, replicas=3), until="16m")
    expired = decided(run, "time_ns", "method", "reason")
    assert expired[0] == (600 * S, "expiration", "Expired")
    assert run.frames.node_intervals["end"].value_counts().to_dict() == {"removed": 1, "still there": 1}
    # The new node is asked for as soon as the old one is to go.
    assert run.frames.node_intervals["launched_s"].tolist()[1] == 601.0
    assert run.frames.pods.query("node == 'default.four-1'")["pod"].size == 3


def test_a_node_that_will_not_empty_goes_after_its_grace():
    held = Health(budgets=[DisruptionBudget(name="web", workload="web", max_unavailable=0)])
    pool = {"expire_after": "10m", "initial": {"four": 1}, "budgets": [{"nodes": "0"}]}
    web = Deployment("web", ONE_CORE, replicas=2)
    stuck = simulated(pool, web, until="30m", health=held)
    assert stuck.frames.node_intervals["end"].iloc[0] == "still there"
    forced = simulated({**pool, "termination_grace_period": "5m"}, web, until="16m", health=held)
    ended = forced.frames.node_intervals.query("end == 'removed'")["ended_s"].tolist()
    assert ended
    assert 900 <= ended[0] <= 910


def test_a_replacement_that_never_comes_lets_its_node_stay():
    pool, parts = shrinking(instance_types=[kind(4, 0.2, boot="1h"), EIGHT])
    run = simulated(pool, parts, until="40m", registration="5m")
    assert ("failed", "its replacement hasn't come in time") in decided(run, "decision", "detail")
    assert run.metrics["pods_evicted"][0] == 0 or "delete" in {d for d, in decided(run, "decision")}
    assert not [t for t in run._world.state.node_taints(0) if t.key == "karpenter.sh/disrupted"] or (
        run.frames.disruptions["decision"].iloc[-1] == "replace"
    )


# -- pods that look at other pods --------------------------------------------------------------------------------


def owned(count, cpu, **rules):
    """Pods of app web with these rules about other pods."""
    app = {"app": Codes.constant("web", count)}
    amounts = [[cpu, 2**30, 1]] * count
    specs = Codes.constant(PodSpec(**rules), count)
    return k8slab.Workload.of([f"web-{n}" for n in range(count)], amounts, labels=app, specs=specs)


WEB = (Requirement("app", "In", ("web",)),)


def test_pods_apart_get_a_node_each_and_keep_it():
    apart = owned(4, 500, anti_affinity=(PodTerm(HOSTNAME, WEB, ("default",)),))
    run = simulated({"budgets": FREE}, apart, until="10m")
    placed = run.frames.pods["node"]
    assert placed.notna().all()
    assert placed.nunique() == 4
    assert set(run.frames.node_intervals["instance_type"]) == {"two"}
    assert decided(run, "decision") == []


def test_pods_spread_over_zones_have_nodes_launched_where_they_are_wanted():
    even = owned(7, 1500, spread=(SpreadConstraint(ZONE, 1, True, WEB),))
    run = simulated({"zones": ["a", "b", "c"], "consolidate_after": "Never"}, even, until="5m")
    zone = run.frames.pods["node"].str.split(".").str[2].str[0]
    assert sorted(zone.value_counts()) == [2, 2, 3]
    near = owned(5, 1500, affinity=(PodTerm(ZONE, WEB, ("default",)),))
    together = simulated({"zones": ["a", "b", "c"], "consolidate_after": "Never"}, near, until="5m")
    assert together.frames.pods["node"].notna().all()
    assert together.frames.pods["node"].str.split(".").str[2].str[0].nunique() == 1


@pytest.mark.parametrize("seed", range(2))
def test_plug_in_by_plug_in_plans_what_the_kernels_plan(monkeypatch, seed):
    quick = breathing(seed, until="20m", budgets=FREE, limits={"cpu": 40})
    monkeypatch.setattr(TrialScheduler, "_slow", lambda self, scene: True)
    slow = breathing(seed, until="20m", budgets=FREE, limits={"cpu": 40})
    assert len(decided(quick, "method")) > 1
    assert quick.frames.node_scaling.equals(slow.frames.node_scaling)
    assert quick.frames.disruptions.equals(slow.frames.disruptions)


# -- together ------------------------------------------------------------------------------------------------------


def breathing(seed, until="1h", **pool):
    shapes = k8slab.Workload.from_frame({"pod": ["a", "b"], "cpu": ["500m", 3], "memory": ["1Gi", "2Gi"]})
    stream = PodStream("batch", shapes, Poisson("30s"), Exponential("6m"))
    types = [TWO, kind(4, 0.2, launch_failure=0.2), EIGHT, kind(16, 0.75)]
    pool = {"instance_types": types, "initial": {"two": 1}, **pool}
    return simulated(pool, stream, until=until, seed=seed)


def test_a_stream_makes_the_cluster_breathe_and_is_the_same_again():
    first, again = breathing(3), breathing(3)
    assert first.frames.node_intervals.equals(again.frames.node_intervals)
    assert first.frames.disruptions.equals(again.frames.disruptions)
    assert first.metrics["nodes_removed"][0] > 3
    assert {"emptiness"} <= {method for method, in decided(first, "method")}
    assert first.frames.node_scaling["reason"].str.contains("cheapest that can be had of").any()


@settings(max_examples=6, deadline=None, phases=[Phase.generate])  # a run takes half a second: none is made smaller
@given(
    st.integers(0, 99),
    st.sampled_from(["0", "1", "2", "10%", "50%"]),
    st.sampled_from(["WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced"]),
    st.sampled_from([12, 40, 1000]),
)
def test_limits_budgets_and_money_in_any_history(seed, nodes, policy, cores):
    """`simulated` checks each."""
    breathing(seed, budgets=[NodeBudget(nodes=nodes)], consolidation_policy=policy, limits={"cpu": cores})


def test_nodes_that_fail_and_nodes_that_come_live_together():
    parts = [Deployment("app", ONE_CORE, replicas=14), DaemonSet("agent", {"cpu": "100m", "memory": "1Mi"})]
    faults = [NodeFailures(name="crash", mtbf="2h", repair="20m")]
    run = simulated({}, parts, until="6h", faults=faults, seed=2)
    assert len(run.frames.faults)
    for name in run.frames:
        assert run.frames[name] is not None


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"consolidation_policy": "WhenUnderutilized"}, UnknownName,
         "unknown consolidation policy 'WhenUnderutilized'; did you mean 'WhenEmptyOrUnderutilized'"),
        ({"consolidate_after": "soon"}, InputError, "node pool 'default': consolidate_after"),
        ({"expire_after": 0}, InputError, "node pool 'default': expire_after"),
        ({"weight": 101}, InputError, "weight=101; wanted a whole number from 0 to 100"),
        ({"balanced_k": 0, "consolidation_policy": "Balanced"}, InputError, "balanced_k=0; wanted a number above 0"),
        ({"balanced_k": 3}, InputError, "balanced_k=3 without consolidation_policy='Balanced'"),
        ({"limits": {"cpu": -1}}, InputError, "limits, cpu"),
        ({"budgets": [{"nodes": "1O%"}]}, InputError, "node pool 'default': budget of '1O%' nodes"),
        ({"budgets": [{"nodes": "1", "schedule": "@dayly", "duration": "1h"}]}, InputError,
         "schedule '@dayly': found 1 fields; wanted five"),
        ({"budgets": [{"nodes": "1", "schedule": "0 25 * * *", "duration": "1h"}]}, InputError,
         "hour: '25' is out of order or of range"),
        ({"budgets": [{"nodes": "1", "schedule": "@daily"}]}, InputError, "wanted both or neither"),
        ({"budgets": [{"reasons": ["Emtpy"]}]}, UnknownName, "unknown reason 'Emtpy'; did you mean 'Empty'"),
        ({"budgets": [{"node": "1"}]}, UnknownName, "unknown key 'node'; did you mean 'nodes'"),
        ({"budgets": ["10%"]}, InputError, "budgets holds '10%'; wanted a NodeBudget or its keys and values"),
    ],
)  # fmt: skip
def test_what_a_node_pool_cannot_be(given, error, message):
    with pytest.raises(error, match=message):
        NodePool(**given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"node_pools": []}, InputError, "autoscaler 'karpenter': no node pools"),
        ({"node_pools": [NodePool(), NodePool()]}, InputError, "two node pools are named 'default'"),
        ({"node_pools": [{"nam": "a"}]}, UnknownName, "unknown key 'nam'; did you mean 'name'"),
        ({"node_pools": ["default"]}, InputError, "node_pools holds 'default'; wanted a NodePool"),
        ({"node_pools": [{"instance_types": ["general-3"]}]}, InputError, "did you mean .general-"),
        ({"node_pools": [{"initial": {"general-5": 1}}]}, InputError,
         "node pool 'default': .*unknown instance type 'general-5'"),
        ({"batch_idle": "20s"}, InputError, "batch_idle='20s' is above batch_max='10s'"),
        ({"poll": 0}, InputError, "poll"),
        ({"starts": "monday"}, InputError, "starts='monday'; wanted a date such as"),
    ],
)  # fmt: skip
def test_what_karpenter_cannot_be(given, error, message):
    with pytest.raises(error, match=message):
        Karpenter(**given)


def test_a_limit_on_what_no_node_has():
    with pytest.raises(UnknownName, match=r"unknown resource 'nvidia.com/gpu'.*node pool 'default', limits"):
        simulated({"limits": {"nvidia.com/gpu": 4}}, Deployment("app", ONE_CORE), until="1m")


def test_a_scenario_file_may_have_one():
    pools = [{"name": "general", "instance_types": ["general-4", "general-8"], "initial": {"general-4": 1},
              "budgets": [{"nodes": "20%", "schedule": "@daily", "duration": "8h"}]}]  # fmt: skip
    table = {
        "cluster": {"node_pools": pools},
        "deployment": [{"name": "app", "requests": {"cpu": "1", "memory": "1Gi"}, "replicas": 9}],
        "autoscaler": [{"kind": "karpenter", "node_pools": pools, "consolidation": "x"}],
        "until": "10m",
    }
    with pytest.raises(InputError, match="unknown key 'consolidation'"):
        scenario_of(table)
    del table["autoscaler"][0]["consolidation"]
    scenario = scenario_of(table)
    run = scenario.simulation.run(scenario.until)
    assert run.metrics["nodes_launched"][0] == 1
    assert run.metrics["pods_never_placed"][0] == 0


def test_karpenter_and_cluster_autoscaler_do_not_share_a_cluster():
    two = [Karpenter(node_pools=[{"initial": {"general-4": 1}}]), Karpenter(name="other")]
    with pytest.raises(InputError, match="2 autoscalers of nodes; wanted one"):
        k8slab.Simulation(cluster_of(two[0].groups), Deployment("app", ONE_CORE), autoscalers=two).run("1m")
