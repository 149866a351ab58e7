"""Drains and Kubernetes' healing in a cluster of orchestrators: what one leader has begun, the next goes on with."""

from __future__ import annotations

import numpy as np
import pytest

from k8slab.domain.detectors import PhiAccrual
from k8slab.domain.models import NodeState, PodPhase
from k8slab.domain.probe_times import Probes
from k8slab.domain.probes import Probe, ProbeKind
from k8slab.domain.raft.errors import NotLeader
from k8slab.errors import InputError, StateConflict, UnknownName
from k8slab.infrastructure import LocalNetwork
from tests.orchestrators import Fatal, Trio, deploy_once, mind, pod

PROBES = {"web": Probes(liveness=Probe(ProbeKind.LIVENESS), readiness=Probe(ProbeKind.READINESS))}

def on(leader, node_id):
    """Pods on a node, those that are leaving with them."""
    return sorted(one.pod_id for one in leader.pods.list_pods() if one.node_id == node_id)


def killed(trio):
    """End who leads; gives who leads next."""
    trio.kill(trio.leader().consensus.member_id)
    trio.run(20)
    return trio.leader()


def once(act, *said):
    """Ask, unless it is so already because the one asked before had it decided at its end."""

    def ask(leader):
        try:
            act(leader)
        except (InputError, StateConflict) as refused:
            if not any(word in str(refused) for word in said):
                raise

    return ask


# -- drains -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["drain", "drain_node"])
def test_a_drain_goes_on_under_the_next_leader(verb):
    trio = Trio()
    leader = trio.leader()
    leader.deploy("web", pod("t"), 6)
    trio.run(1)
    node = max(("node-1", "node-2", "node-3"), key=lambda name: len(on(leader, name)))
    if verb == "drain":
        leader.protect("budget", "web", min_available=6)
    getattr(leader, verb)(node)
    staying = on(leader, node)
    assert len(staying) >= 2
    assert leader.get_node_status(node).state is NodeState.CORDONED
    if verb == "drain":
        # The budget allows nothing until there is one pod more.
        trio.run(60)
        assert on(leader, node) == staying
    new = killed(trio)
    if verb == "drain":
        assert on(new, node) == staying
        new.scale("web", 7)
    trio.run(200)
    assert on(trio.leader(), node) == []
    running = [one for one in new.pods.list_pods() if one.phase is PodPhase.RUNNING]
    assert len(running) == (7 if verb == "drain" else 6)
    trio.leader().uncordon(node)
    trio.run(1)
    assert [member.get_node_status(node).state for member in trio.members.values()] == [NodeState.READY] * 2
    minds = [mind(member) for member in trio.members.values()]
    assert minds[0] == minds[1]


def test_a_pods_grace_ends_when_its_first_leader_said():
    trio = Trio()
    leader = trio.leader()
    leader.deploy("web", pod("t"), 2)
    trio.run(1)
    assert leader.evict("web-0")
    trio.run(5)
    killed(trio)
    assert trio.ask(lambda leader: leader.get_pod_status("web-0")) is not None
    trio.run(6)
    assert trio.ask(lambda leader: leader.get_pod_status("web-0")) is None


def test_events_of_controllers_are_told_by_every_member():
    trio = Trio()
    leader = trio.leader()
    leader.deploy("web", pod("t"), 2)
    trio.run(1)
    leader.drain("node-1")
    trio.run(60)
    rows = leader.controller_rows("healing")
    assert {"drain", "drained"} <= {row["action"] for row in rows}
    for member in trio.members.values():
        assert member.controller_rows("healing") == rows
        assert member.get_healing_events() == leader.get_healing_events()
    assert len({event.event_id for event in leader.get_healing_events()}) == len(leader.get_healing_events())


# -- healing as Kubernetes ------------------------------------------------------------------


def healing(**options):
    trio = Trio(**options)
    leader = trio.leader()
    leader.deploy("web", pod("t"), 4)
    leader.heal_as_kubernetes(probes=PROBES)
    trio.run(30)
    return trio, leader


def test_a_silent_node_is_given_up_by_whoever_leads():
    trio, leader = healing()
    lost = on(leader, "node-2")
    assert lost
    trio.health.silence("node-2")
    trio.run(70)
    assert [member.get_node_status("node-2").state for member in trio.members.values()] == [NodeState.UNKNOWN] * 3
    # Its pods are to go 300 s after it was tainted, whoever leads then.
    tainted = next(row["time_ns"] for row in leader.controller_rows("events") if row["event"] == "TaintAdded")
    new = killed(trio)
    trio.run((tainted - trio.clock.now()) / 1e9 + 290)
    assert new.get_node_status("node-2").state is NodeState.UNKNOWN
    assert "evict" not in {row["action"] for row in new.controller_rows("healing")}
    trio.run(20)
    evicted = [row for row in new.controller_rows("healing") if row["action"] == "evict"]
    assert sorted(row["pod"] for row in evicted) == lost
    assert {round((row["time_ns"] - tainted) / 1e9) for row in evicted} == {300}
    there = [one for one in new.pods.list_pods() if one.pod_id not in lost]
    assert len(there) == 4
    assert {one.node_id for one in there} == {"node-1", "node-3"}
    # Heard from again, it is trusted, and what was told to go there is gone.
    trio.health._beating.add("node-2")
    trio.run(10)
    assert new.get_node_status("node-2").state is NodeState.READY
    assert sorted(one.pod_id for one in new.pods.list_pods()) == sorted(one.pod_id for one in there)
    minds = [mind(member) for member in trio.members.values()]
    assert minds[0] == minds[1]


def test_a_new_leader_has_patience_with_all_it_has_not_heard_and_with_none_that_is_unknown():
    trio, _ = healing()
    trio.health.silence("node-2")
    trio.run(70)
    trio.health.silence("node-3")
    trio.run(40)
    new = killed(trio)
    state = lambda name: new.get_node_status(name).state  # noqa: E731
    assert (state("node-2"), state("node-3")) == (NodeState.UNKNOWN, NodeState.READY)
    trio.run(35)
    assert state("node-3") is NodeState.READY, "the leader before had no patience left, the new one has"
    trio.run(30)
    assert state("node-3") is NodeState.UNKNOWN


def test_a_back_off_is_not_begun_anew_by_the_next_leader():
    trio, leader = healing()
    for _ in range(3):
        trio.health.report_failure("web-0")
        trio.run(60)
    details = [row["detail"] for row in leader.controller_rows("healing") if row["pod"] == "web-0"]
    assert details[1:] == ["CrashLoopBackOff, 10 s", "CrashLoopBackOff, 20 s"]
    new = killed(trio)
    trio.health.report_failure("web-0")
    trio.run(6)
    rows = [row for row in new.controller_rows("healing") if row["pod"] == "web-0"]
    assert [row["detail"] for row in rows] == [*details, "CrashLoopBackOff, 40 s"]


def test_a_probe_that_fails_under_one_leader_has_its_container_restarted_under_the_next():
    trio, leader = healing()
    leader.report_ill("web-0")
    trio.run(6)
    row = leader.pods.state.pod_row("web-0")
    new = killed(trio)
    trio.run(30)
    restarted = [one for one in new.controller_rows("healing") if one["action"] == "restart"]
    assert [(one["pod"], one["reason"]) for one in restarted] == [("web-0", "liveness probe failed")]
    for member in trio.members.values():
        assert int(member.pods.state.pod_restarts[row]) == 1


def test_what_is_refused_alone_is_refused_in_a_cluster():
    trio = Trio()
    leader = trio.leader()
    with pytest.raises(UnknownName, match="unknown workload 'wep'"):
        leader.heal_as_kubernetes(probes={"wep": Probes()})
    leader.heal_as_kubernetes(detector=PhiAccrual())
    with pytest.raises(StateConflict, match="looked after as in Kubernetes already"):
        leader.heal_as_kubernetes()
    with pytest.raises(UnknownName):
        leader.report_ill("nobody")
    trio.run(1)
    follower = next(member for member in trio.members.values() if member is not leader)
    for ask in (follower.heal_as_kubernetes, lambda: follower.evict("web-0"), lambda: follower.drain("node-1")):
        with pytest.raises(NotLeader, match="can't decide"):
            ask()


# -- a leader's end anywhere in a story of drains and healing ---------------------------------------


def story(trio):
    """Two bare pods and a workload under a budget, a drain, a crash, an illness and a lost node."""
    trio.ask(deploy_once("web", 4))
    trio.ask(once(lambda leader: leader.heal_as_kubernetes(probes=PROBES), "already"))
    trio.ask(once(lambda leader: leader.protect("budget", "web", min_available=3), "named"))
    for number in range(2):
        placed = pod(f"p-{number}")
        assert trio.ask(lambda leader, placed=placed: leader.schedule_pod(placed))
    trio.run(15)
    trio.ask(lambda leader: leader.drain("node-1"))
    trio.run(4)
    trio.health.report_failure("p-0")
    trio.ask(lambda leader: leader.report_ill("web-1") if leader.get_pod_status("web-1") else None)
    trio.run(60)
    trio.health.silence("node-2")
    trio.run(130)
    trio.ask(deploy_once("web", 5))
    trio.run(330)


def judge(trio):
    trio.run(10)
    leader = trio.leader()
    pods, nodes = leader.pods.list_pods(), {node.node_id: node for node in leader.nodes.list_nodes()}
    state = leader.pods.state
    leaving = {state.pod_name(row) for row in np.flatnonzero(state.pod_alive & (state.pod_leaving != 0)).tolist()}
    there = [one for one in pods if one.pod_id not in leaving]
    assert sorted(one.pod_id for one in there if one.pod_id.startswith("p-")) == ["p-0", "p-1"], "a pod is lost"
    assert sum(one.pod_id.startswith("web-") for one in there) == 5
    assert {(one.node_id, one.phase) for one in there} == {("node-3", PodPhase.RUNNING)}
    assert nodes["node-1"].state is NodeState.CORDONED
    assert nodes["node-1"].pods == [], "its drain has ended with who began it"
    assert nodes["node-2"].state is NodeState.UNKNOWN
    assert set(nodes["node-2"].pods) == leaving, "nobody is there to end them"
    drained = [row for row in leader.controller_rows("healing") if row["action"] == "drained"]
    assert [row["node"] for row in drained] == ["node-1"]
    minds = [mind(member) for member in trio.members.values()]
    assert all(one == minds[0] for one in minds[1:])
    for member in trio.members.values():
        member.pods.state.check()


def killed_at(point):
    trio = Trio(Fatal(), snapshot_every=60)
    victim = trio.leader().consensus.member_id
    trio.network.victim, trio.network.left = victim, point
    story(trio)
    judge(trio)
    assert victim not in trio.members, "it outlived its end"
    trio.network.victim = ""
    trio.start(victim)
    trio.run(10)
    judge(trio)


def test_the_story_ends_well_by_itself_and_with_messages_lost():
    for network in (LocalNetwork(), LocalNetwork(loss=0.1, seed=1)):
        trio = Trio(network, snapshot_every=60)
        story(trio)
        network._loss = 0.0
        judge(trio)


@pytest.mark.parametrize("point", [40, 77, 150, 400, 900])
def test_a_killed_leader_forgets_no_drain_and_no_node(point):
    killed_at(point)


@pytest.mark.long
def test_a_leader_killed_anywhere_forgets_no_drain_and_no_node():
    trio = Trio(Fatal(), snapshot_every=60)
    trio.network.victim = trio.leader().consensus.member_id
    story(trio)
    assert trio.network.sent > 1500
    for point in range(0, trio.network.sent, 41):
        killed_at(point)
