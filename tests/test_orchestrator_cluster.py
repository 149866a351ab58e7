"""Three orchestrators in one process: what one decides is so for all, and a killed leader loses and doubles nothing."""

from __future__ import annotations

import inspect
import re
import threading
from dataclasses import replace

import pytest

from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler
from k8slab.domain.models import AutoScalingConfig, ConsensusRole, NodeState, PodPhase
from k8slab.domain.raft import MemoryLogStore
from k8slab.domain.raft.errors import MembershipError, MemberStopped, NotCommitted, NotLeader
from k8slab.errors import InputError
from k8slab.facade import KubernetesOrchestrator
from k8slab.infrastructure import LocalNetwork, VirtualClock
from k8slab.infrastructure.replicated import STATE_VERBS
from k8slab.state import ClusterState
from tests.orchestrators import NAMES, Fatal, Trio, deploy_once, pod, told


def story(trio):
    """A day of a cluster: placements, a scaling, a restart, a lost node; gives the pods that were promised."""
    promised = []
    for number in range(3):
        placed = pod(f"p-{number}")
        assert trio.ask(lambda leader, placed=placed: leader.schedule_pod(placed))
        promised.append(placed.pod_id)
    trio.ask(deploy_once("web", 3))
    trio.run(1)
    trio.health.report_failure("p-0")
    trio.ask(deploy_once("web", 5))
    trio.run(2)
    trio.health.silence("node-2")
    trio.run(40)
    trio.ask(deploy_once("web", 4))
    trio.run(10)
    return promised


def judge(trio, promised):
    trio.run(10)
    leader = trio.leader()
    pods, nodes = told(leader)
    names = [one.pod_id for one in pods]
    assert set(promised) <= set(names), "a promised pod is lost"
    assert len(set(names)) == len(names)
    assert sum(name.startswith("web-") for name in names) == 4, names
    assert {one.phase for one in pods} == {PodPhase.RUNNING}
    ready = {node.node_id for node in nodes if node.state is NodeState.READY}
    assert {one.node_id for one in pods} <= ready == {"node-1", "node-3"}
    assert sorted(name for node in nodes for name in node.pods) == sorted(names), "a pod is on no node, or on two"
    assert sum(node.cpu_used for node in nodes) == pytest.approx(0.25 * len(names))
    # Reported once, it may have been told to the one that was killed.
    assert {event.pod_id for event in leader.get_healing_events() if event.event_type == "pod_failure"} <= {"p-0"}
    for member in trio.members.values():
        assert told(member) == (pods, nodes)
        assert member.get_healing_events() == leader.get_healing_events()
        member.pods.state.check()


def test_each_holds_what_the_leader_decided():
    trio = Trio()
    judge(trio, story(trio))
    assert len(trio.members) == 3
    roles = sorted(member.get_raft_state().role.value for member in trio.members.values())
    assert roles == ["follower", "follower", "leader"]
    intents = {entry.get("intent") for entry in trio.leader().get_raft_state().log}
    assert {"save_pod", "save_node", "deploy", "scale", "add_pods"} <= intents
    logs = [
        [(entry["term"], entry["index"], entry.get("intent"), entry.get("by")) for entry in member.get_raft_state().log]
        for member in trio.members.values()
    ]
    assert logs[0] == logs[1] == logs[2]


def sends_of_a_story():
    trio = Trio(Fatal())
    trio.network.victim = trio.leader().consensus.member_id
    story(trio)
    return trio.network.sent


def killed_at(point):
    trio = Trio(Fatal())
    victim = trio.leader().consensus.member_id
    trio.network.victim, trio.network.left = victim, point
    promised = story(trio)
    judge(trio, promised)
    assert victim not in trio.members, "it outlived its end"
    # It comes back with what it had stored, and holds what the others hold.
    trio.network.victim = ""
    trio.start(victim)
    judge(trio, promised)


@pytest.mark.parametrize("point", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144])
def test_a_killed_leader_loses_and_doubles_no_pod(point):
    killed_at(point)


@pytest.mark.long
def test_a_leader_killed_anywhere_loses_and_doubles_no_pod():
    total = sends_of_a_story()
    assert total > 400
    for point in range(0, total, 11):
        killed_at(point)


@pytest.mark.parametrize("seed", range(3))
def test_lost_messages_lose_and_double_no_pod(seed):
    trio = Trio(LocalNetwork(loss=0.15, seed=seed))
    promised = story(trio)
    trio.network._loss = 0.0
    judge(trio, promised)


def test_a_leader_cut_off_decides_nothing_and_learns_what_was_decided():
    trio = Trio()
    old = trio.leader()
    trio.network.cut(old.consensus.member_id)
    with pytest.raises(NotCommitted, match=r"could not have 'save_pod' committed.*look, then ask again"):
        old.schedule_pod(pod("lost"))
    trio.run(30)
    assert not old.leads
    new = trio.leader()
    assert new.schedule_pod(pod("kept"))
    trio.network.heal()
    trio.run(10)
    assert [member.get_pod_status("lost") for member in trio.members.values()] == [None] * 3
    assert {member.get_pod_status("kept").node_id for member in trio.members.values()} == {"node-1"}


def test_who_does_not_lead_says_who_does():
    trio = Trio()
    leader = trio.leader()
    trio.run(1)
    follower = next(member for member in trio.members.values() if not member.leads)
    for ask in (
        lambda: follower.schedule_pod(pod("p")),
        lambda: follower.deploy("web", pod("t"), 2),
        lambda: follower.pods.save_pod(pod("p")),
        lambda: follower.configure_autoscaling(AutoScalingConfig("c", "web", "default")),
        lambda: follower.drain_node("node-1"),
    ):
        with pytest.raises(NotLeader, match=f"can't decide: it doesn't lead now, '{leader.consensus.member_id}' does"):
            ask()
    assert follower.append_log_entry({"op": "note"}) is False
    assert follower.get_cluster_stats()["total_nodes"] == 3
    alone = KubernetesOrchestrator("a", peers=NAMES, network=LocalNetwork(), clock=VirtualClock())
    with pytest.raises(NotLeader, match="nobody is known to"):
        alone.schedule_pod(pod("p"))


def test_what_was_configured_outlives_the_leader():
    trio = Trio()
    leader = trio.leader()
    leader.deploy("web", pod("t"), 4)
    leader.protect("budget", "web", min_available=3)
    leader.autoscale("web", HorizontalPodAutoscaler(min_replicas=2, max_replicas=6))
    leader.configure_autoscaling(AutoScalingConfig("c", "batch", "default", min_replicas=2, max_replicas=3))
    trio.run(1)
    first = leader.pods.list_pods()[0]
    assert leader.evict(first.pod_id)
    trio.kill(leader.consensus.member_id)
    trio.run(30)
    new = trio.leader()
    with pytest.raises(InputError, match="'web' has an autoscaler"):
        new.autoscale("web", HorizontalPodAutoscaler(min_replicas=2, max_replicas=6))
    trio.run(40)
    # The pod that was told to go is gone, another is there, and the budget is asked still.
    names = sorted(one.pod_id for one in new.pods.list_pods() if one.pod_id.startswith("web"))
    assert names == ["web-1", "web-2", "web-3", "web-4"]
    assert [new.evict(name) for name in names] == [True, False, False, False]
    assert trio.leader() is new


def test_entries_of_ones_own_are_replicated_and_never_carried_out():
    trio = Trio()
    leader = trio.leader()
    assert leader.append_log_entry({"op": "note", "text": "hello"})
    with pytest.raises(InputError, match="'intent' would be carried out as a decision"):
        leader.append_log_entry({"intent": "remove_pods"})
    trio.run(1)
    for member in trio.members.values():
        assert [entry["text"] for entry in member.get_raft_state().log if entry.get("op") == "note"] == ["hello"]


def test_a_refused_verb_is_refused_to_who_asked_and_changes_nothing_anywhere():
    trio = Trio()
    leader = trio.leader()
    before = told(leader)
    with pytest.raises(InputError, match="cpu_request"):
        leader.pods.save_pod(pod("p", cpu_request=-1.0))
    trio.run(1)
    assert [[one.pod_id for one in told(member)[0]] for member in trio.members.values()] == [[]] * 3
    assert told(leader)[0] == before[0]
    assert leader.schedule_pod(pod("p"))


class Full(MemoryLogStore):
    """A disk that fills up."""

    full = False

    def save(self, ready):
        if self.full:
            raise OSError(28, "No space left on device")
        super().save(ready)


def test_a_leader_whose_store_fails_stops_and_the_others_go_on():
    trio = Trio(store=Full)
    leader = trio.leader()
    name = leader.consensus.member_id
    trio.stores[name].full = True
    with pytest.raises(MemberStopped, match=f"'{name}' stops: its store failed: OSError"):
        leader.schedule_pod(pod("p"))
    assert not leader.leads
    with pytest.raises(MemberStopped, match="answers nothing more"):
        leader.append_log_entry({"op": "note"})
    trio.kill(name)
    assert trio.ask(lambda leader: leader.schedule_pod(pod("p")))
    assert [member.get_pod_status("p").node_id for member in trio.members.values() if member.leads] == ["node-1"]


def test_a_cluster_needs_a_network_and_keeps_its_own_repositories():
    with pytest.raises(InputError, match=r"member 'a' has peers \(b, c\) and no network: give LocalNetwork\(\)"):
        KubernetesOrchestrator("a", peers=NAMES, clock=VirtualClock())
    alone = KubernetesOrchestrator(clock=VirtualClock())
    with pytest.raises(InputError, match="keeps its own pods and nodes"):
        KubernetesOrchestrator("a", peers=NAMES, network=LocalNetwork(), pods=alone.pods, clock=VirtualClock())
    with pytest.raises(MembershipError, match=r"voters lists \['b'\] more than once"):
        KubernetesOrchestrator("a", peers=["b", "c", "b"], network=LocalNetwork(), clock=VirtualClock())
    with pytest.raises(MembershipError, match="voters lists a member without a name"):
        KubernetesOrchestrator("a", peers=["b", ""], network=LocalNetwork(), clock=VirtualClock())
    with pytest.raises(InputError, match=r"loss=1.5: wanted a probability"):
        LocalNetwork(loss=1.5)


def test_every_verb_that_changes_a_state_is_an_intent():
    changes = {
        name
        for name, verb in inspect.getmembers(ClusterState, inspect.isfunction)
        if not name.startswith("_") and re.search(r"self\._log\(|self\._stamp\(", inspect.getsource(verb))
    }
    # Stretches of simulated runs alone are played; services, budgets and the like are in no journal.
    assert changes - {"play"} | {"set_objects"} == set(STATE_VERBS)
    assert all(callable(getattr(ClusterState, verb)) for verb in STATE_VERBS)


def test_threads_may_ask_while_members_live_by_the_wall_clock():
    network = LocalNetwork()
    members = [KubernetesOrchestrator(name, peers=NAMES, network=network) for name in NAMES]
    try:
        leader = members[0]
        leader.consensus.conduct_election()
        assert leader.consensus.standing[0] is ConsensusRole.LEADER
        wrong = []

        def ask(who):
            for number in range(20):
                if not leader.schedule_pod(pod(f"p-{who}-{number}", cpu_request=0.001, memory_request=1)):
                    wrong.append((who, number))
                members[1].get_cluster_stats()

        threads = [threading.Thread(target=ask, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong
        assert not any(thread.is_alive() for thread in threads)
        leader.consensus.send_heartbeats()
        for member in members:
            names = [one.pod_id for one in told(member)[0]]
            assert len(names) == len(set(names)) == 80
            member.pods.state.check()
    finally:
        for member in members:
            member.close()


def test_a_pod_in_the_log_is_not_the_callers():
    trio = Trio()
    mine = pod("p", labels={"app": "web"})
    assert trio.leader().schedule_pod(mine)
    mine.labels["app"] = "changed"
    trio.run(1)
    assert {member.get_pod_status("p").labels["app"] for member in trio.members.values()} == {"web"}
    assert replace(mine, labels={"app": "web"}) == trio.leader().get_pod_status("p")
