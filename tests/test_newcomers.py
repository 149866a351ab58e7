"""Nodes that join a run live as the others do: they fail, fall silent and are slow, and are found out."""

from __future__ import annotations

import numpy as np
import pytest

import k8slab
from k8slab.domain.columns import Codes, Names
from k8slab.domain.instants import SECOND_NS as S
from k8slab.domain.probe_times import Probes
from k8slab.domain.probes import Probe, ProbeKind
from k8slab.domain.streams import Streams
from k8slab.simulation import ClusterAutoscaler, DaemonSet, Deployment, InstanceType, NodeGroup, cluster_of
from k8slab.simulation.fault_times import FaultTargets, together
from k8slab.simulation.faults import (
    CorrelatedFailures,
    FlappingHeartbeats,
    LateHeartbeats,
    ListedFailures,
    LostHeartbeats,
    NodeFailures,
    RackFailures,
    SlowNodes,
)
from k8slab.simulation.health import Health
from k8slab.simulation.newcomers import Beginning, Newcomer, drawing_for

FOUR = InstanceType(name="four", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.2, boot="90s")
GROUP = NodeGroup(name="web", instance_type=FOUR, min_size=1, initial=1, max_size=12)
HOUR = 3600 * S
DAY = 24 * HOUR


def simulation(faults, replicas=14, health=None, seed=0, **options):
    parts = [
        Deployment("app", {"cpu": "1", "memory": "1Gi"}, replicas=replicas),
        DaemonSet("agent", {"cpu": "100m", "memory": "1Mi"}),
    ]
    autoscaler = ClusterAutoscaler(groups=[GROUP], **options)
    return k8slab.Simulation(
        cluster_of([GROUP]), parts, autoscalers=[autoscaler], faults=faults, health=health, seed=seed
    )


ALL = [
    NodeFailures(mtbf="2h", repair="20m"), FlappingHeartbeats(mtbf="6h"), LostHeartbeats(probability=0.01),
    LateHeartbeats(probability=0.01), SlowNodes(mtbf="6h"),
    CorrelatedFailures(mtbf="12h", label="node-group", probability=0.5),
]  # fmt: skip


def test_newcomers_break_as_often_as_the_others_and_are_found_out():
    run = simulation(ALL, seed=3).run("12h")
    run._world.state.check()
    faults, lived = run.frames.faults, run.frames.node_intervals.set_index("node")
    by_node = faults[faults["fault"] == "node"].groupby("node").size()
    assert (by_node.drop("web-0", errors="ignore") > 0).sum() >= 4
    # Five nodes or so for 12 h, each down once in 140 minutes.
    hours = (lived["ended_s"] - lived["joined_s"]).sum() / 3600
    assert 0.5 < by_node.sum() / (hours / (2 + 1 / 3)) < 1.6
    for row in faults.itertuples():
        spell = lived.loc[row.node]
        assert spell["joined_s"] * S <= row.start_ns < row.end_ns <= spell["ended_s"] * S + 1, row
    found = run.frames.detections
    long = found[found["up_s"] - found["down_s"] > 61]
    assert set(long["node"]) - {"web-0"}
    # At once where it flapped before.
    assert long["delay_s"].between(0, 60).all(), long
    # What the run did about it is what the detector says of it afterwards.
    health = run.frames.health
    told = health[health["condition"] == "Unknown"].groupby("node").size()
    said = run._world.parts["lives"].heartbeats.suspicions(Health().detector)
    names = [run._world.state.node_name(row) for row in said.node_rows.tolist()]
    alive = [n for n, at in zip(names, said.start_ns.tolist(), strict=True) if at < lived.loc[n, "ended_s"] * S]
    assert told.to_dict() == {name: alive.count(name) for name in set(alive)}
    assert (run.frames.healing["node"].isin(set(lived.index) - {"web-0"})).any()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    files = [simulation(ALL, seed=3).run("3h").save(tmp_path / name) for name in ("one", "two")]
    for name, path in files[0].items():
        assert path.read_bytes() == files[1][name].read_bytes(), name


def test_what_befalls_the_first_nodes_is_the_same_whoever_joins():
    def of_the_first(replicas):
        faults = simulation(ALL[:-1], replicas, seed=5, scale_down=False).run("6h").frames.faults
        return faults[faults["node"] == "web-0"].reset_index(drop=True)

    few, many = of_the_first(3), of_the_first(30)
    assert len(few)
    assert few.equals(many)


def test_a_node_shares_the_fate_of_its_group_from_the_instant_it_joins():
    outage = {"at": "60s", "duration": "10m", "label": "node-group", "value": "web"}
    run = simulation([ListedFailures(events=[outage])], replicas=5).run("1h")
    faults = run.frames.faults
    # web-1 was asked for at 10 s and boots for 90 s: into the outage.
    assert faults[["node", "start_ns", "end_ns"]].values.tolist() == [
        ["web-0", 60 * S, 660 * S],
        ["web-1", 100 * S, 660 * S],
    ]
    health = run.frames.health
    assert set(health[health["condition"] == "Unknown"]["node"]) == {"web-0", "web-1"}
    assert run.frames.detections["found_s"].notna().all()


def test_slow_newcomers_fail_probes():
    slow = {"at": "10m", "duration": "30m", "label": "node-group", "value": "web", "effect": "slow", "amount": 30.0}
    probes = Probes(liveness=Probe(ProbeKind.LIVENESS))
    run = simulation([ListedFailures(events=[slow])], health=Health(probes={"app": probes})).run("1h")
    restarts = run.frames.healing
    restarts = restarts[restarts["action"] == "restart"]
    assert len(set(restarts["node"])) > 1


def test_a_node_that_went_has_no_faults_any_more():
    jobs = k8slab.simulation.Job(
        "crunch", {"cpu": "1", "memory": "1Gi"}, completions=20, parallelism=20, durations="30m"
    )
    run = k8slab.Simulation(
        cluster_of([GROUP]), jobs, autoscalers=[ClusterAutoscaler(groups=[GROUP])],
        faults=[NodeFailures(mtbf="1h", repair="5m")], seed=1,
    ).run("12h")  # fmt: skip
    lived, faults = run.frames.node_intervals.set_index("node"), run.frames.faults
    assert (lived["end"] == "removed").sum() == 4
    assert len(faults) == run.metrics["faults_told"][0] < run._world.sink.count("faults")
    assert len(run.frames.detections) == (faults["fault"] == "node").sum()
    for row in faults.itertuples():
        assert row.end_ns <= lived.loc[row.node, "ended_s"] * S + 1


# -- draws ----------------------------------------------------------------------------


def beginning(fault, racks=("a", "a", "b"), seed=1):
    rows = [f"n-{row}" for row in range(len(racks))]
    targets = FaultTargets(Names(rows), {"rack": Codes.of(racks)})
    streams = Streams(seed)
    drawn = together([fault.draw(targets, 100 * DAY, streams.generator(f"faults/{fault.name}"))])
    return Beginning(targets, drawn, 100 * DAY, streams)


def newcomer(name, row, rack="a", at=DAY, neighbours=()):
    return Newcomer(row, name, {"rack": rack}, at, lambda label: list(neighbours))


def lists(times):
    return [column.tolist() for column in times]


@pytest.mark.parametrize("fault", [*ALL[:5], CorrelatedFailures(mtbf="5d")], ids=lambda fault: fault.kind)
def test_draws_depend_on_seed_and_name_alone(fault):
    begun = beginning(fault)
    one = drawing_for(fault, begun)(newcomer("x", 3))
    assert len(one.start_ns)
    assert (one.start_ns >= DAY).all()
    assert set(one.node_row.tolist()) == {3}
    others = drawing_for(fault, begun)
    others(newcomer("y", 3, rack="b"))
    again = others(newcomer("x", 4))
    assert lists(one._replace(node_row=one.node_row + 1)) == lists(again)
    other_name, other_seed = drawing_for(fault, begun), drawing_for(fault, beginning(fault, seed=2))
    assert lists(other_name(newcomer("z", 3)))[0] != lists(one)[0] != lists(other_seed(newcomer("x", 3)))[0]


def test_faults_of_named_nodes_and_of_pods_leave_newcomers_alone():
    named = NodeFailures(mtbf="1h", nodes=["n-0"])
    crash = k8slab.simulation.PodCrashes(mtbf="1h")
    for fault in (named, crash):
        assert not len(drawing_for(fault, beginning(fault))(newcomer("x", 3)).start_ns)


def test_a_rack_that_was_not_there_has_outages_that_all_its_nodes_share():
    fault = RackFailures(mtbf="5d", repair="1h")
    draw = drawing_for(fault, beginning(fault))
    known = draw(newcomer("x", 3, rack="a"))
    mine = beginning(fault).drawn
    expected = mine.take((mine.node_row == 0) & (mine.end_ns > DAY))
    assert known.end_ns.tolist() == expected.end_ns.tolist()
    first, late = draw(newcomer("y", 4, rack="c")), draw(newcomer("z", 5, rack="c", at=50 * DAY))
    assert len(first.start_ns) > 5
    assert first.start_ns.tolist() != known.start_ns.tolist()
    assert late.end_ns.tolist() == [end for end in first.end_ns.tolist() if end > 50 * DAY]
    only = RackFailures(mtbf="5d", values=["b"])
    assert not len(drawing_for(only, beginning(only))(newcomer("x", 3)).start_ns)


def test_correlated_failures_go_both_ways():
    fault = CorrelatedFailures(mtbf="5d", probability=1.0, lag="30s")
    begun = beginning(fault)
    draw = drawing_for(fault, begun)
    found = draw(newcomer("x", 3, neighbours=[(0, "n-0"), (1, "n-1")]))
    own, taken = found.take(found.node_row == 3), found.take(found.node_row != 3)
    at, struck = fault.strikes(begun.targets, 100 * DAY, begun.streams.generator(f"faults/{fault.name}"))
    followed = at[(struck < 2) & (at >= DAY)]
    strikes = [s for s in own.start_ns.tolist() if not _soon_after(s, followed)]
    assert len(own.start_ns) == len(strikes) + len(followed)
    assert np.bincount(taken.node_row).tolist() == [len(strikes)] * 2
    # Who joins later follows the strikes of all three.
    later = draw(newcomer("y", 4, at=50 * DAY))
    before = [s for s in [*strikes, *followed.tolist()] if s >= 50 * DAY]
    assert sum(_soon_after(s, np.array(before)) for s in later.start_ns.tolist()) == len(before)


def _soon_after(at, others):
    gap = at - others
    return bool(((gap >= 0) & (gap < HOUR)).any())
