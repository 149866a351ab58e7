"""Preemption under the orchestrator: the same services as in a simulation, by the clock that one is given."""

from __future__ import annotations

import pytest

from k8slab import Cluster, KubernetesOrchestrator, PodPhase, Simulation, Workload
from k8slab.infrastructure import VirtualClock
from tests.repositories import PlainNodes, PlainPods, assert_accounts_balance, pod
from tests.test_orchestrator_cluster import Trio

BEGIN = 1_700_000_000 * 10**9
BIG = {"cpu_request": 14.0, "memory_request": 100.0}


@pytest.fixture
def clock():
    return VirtualClock(BEGIN)


@pytest.fixture
def orchestrator(clock):
    with KubernetesOrchestrator(clock=clock, policy="kube-default") as made:
        yield made
        made.pods.state.check()
        assert_accounts_balance(made.pods, made.nodes)


def live(orchestrator, clock, seconds):
    for _ in range(seconds // 5):
        clock.advance(5)
        orchestrator.step()


def where(orchestrator, name):
    found = orchestrator.get_pod_status(name)
    return None if found is None else (found.node_id, found.phase)


def told(orchestrator, action="preempt"):
    rows = [row for row in orchestrator.controller_rows("healing") if row["action"] == action]
    return [((row["time_ns"] - BEGIN) / 1e9, row["pod"], row["node"], row["reason"]) for row in rows]


def fill(orchestrator):
    for number, priority in enumerate((3, 1, 2)):
        assert orchestrator.schedule_pod(pod(f"low-{number}", priority=priority, **BIG))


def test_a_more_important_pod_takes_the_room_after_the_victims_grace(orchestrator, clock):
    fill(orchestrator)
    victim_on = {name: where(orchestrator, name)[0] for name in ("low-0", "low-1", "low-2")}["low-1"]
    vip = pod("vip", priority=10, **BIG)
    assert not orchestrator.schedule_pod(vip)
    assert (vip.node_id, vip.phase) == ("", PodPhase.PENDING)
    assert told(orchestrator) == [(0, "low-1", victim_on, "preempted by vip")]
    assert [row["event"] for row in orchestrator.controller_rows("events")] == ["Nominated"]
    live(orchestrator, clock, 25)
    assert where(orchestrator, "vip") == ("", PodPhase.PENDING)
    assert where(orchestrator, "low-1") == (victim_on, PodPhase.RUNNING)  # it has its 30 s
    assert not orchestrator.schedule_pod(pod("vip", priority=10, **BIG))
    assert len(told(orchestrator)) == 1, "a pod whose victims are on their way out isn't helped twice"
    live(orchestrator, clock, 5)
    assert where(orchestrator, "vip") == (victim_on, PodPhase.RUNNING)
    assert where(orchestrator, "low-1") == ("", PodPhase.PENDING)
    assert any(event.pod_id == "low-1" for event in orchestrator.get_healing_events())


def test_the_room_is_kept_from_those_of_lower_priority(orchestrator, clock):
    fill(orchestrator)
    clock.advance(2)
    assert not orchestrator.schedule_pod(pod("vip", priority=10, **BIG))
    live(orchestrator, clock, 30 - 5)
    orchestrator.step()
    clock.advance(5)
    # Only what is due: the victim ends; the round that places pods comes 3 s later.
    orchestrator._control.calendar.remove("pending-check")
    orchestrator._control.run_due()
    assert where(orchestrator, "low-1") == ("", PodPhase.PENDING)
    assert not orchestrator.schedule_pod(pod("sly", priority=2, **BIG))
    assert orchestrator.get_pod_status("sly") is None
    assert orchestrator.schedule_pod(pod("vip", priority=10, **BIG))


def test_nobody_goes_in_vain_or_for_an_equal(orchestrator):
    fill(orchestrator)
    for name, priority, cpu in (("equal", 1, 14.0), ("huge", 10, 15.5)):
        assert not orchestrator.schedule_pod(pod(name, priority=priority, cpu_request=cpu))
        assert orchestrator.get_pod_status(name) is None, "nothing changed"
    assert told(orchestrator) == []


@pytest.mark.parametrize("plain", [False, True])
def test_policies_that_preempt_nobody_and_repositories_without_a_state(clock, plain):
    options = {"pods": PlainPods(), "nodes": PlainNodes(), "policy": "kube-default"} if plain else {}
    with KubernetesOrchestrator(clock=clock, **options) as orchestrator:
        fill(orchestrator)
        assert not orchestrator.schedule_pod(pod("vip", priority=10, **BIG))
        assert orchestrator.get_pod_status("vip") is None
        live(orchestrator, clock, 60)
        assert where(orchestrator, "low-1")[1] is PodPhase.RUNNING


def test_victims_are_those_that_no_budget_protects(orchestrator, clock):
    for name in ("held", "free"):
        orchestrator.deploy(name, pod("template", **BIG), 1)
    orchestrator.protect("held", "held", min_available=1)
    orchestrator.step()
    assert orchestrator.schedule_pod(pod("other", priority=5, **BIG))
    assert not orchestrator.schedule_pod(pod("vip", priority=5, **BIG))
    assert [(name, reason) for _, name, _, reason in told(orchestrator)] == [("free-0", "preempted by vip")]
    live(orchestrator, clock, 30)
    assert where(orchestrator, "vip")[1] is PodPhase.RUNNING
    assert where(orchestrator, "free-0") is None
    assert where(orchestrator, "free-1") == ("", PodPhase.PENDING)


def test_who_waits_already_is_helped_in_a_round(orchestrator, clock):
    fill(orchestrator)
    for name, priority in (("later", 4), ("first", 10)):
        orchestrator.pods.save_pod(pod(name, priority=priority, **BIG))
    live(orchestrator, clock, 5)
    assert [(at, name, reason) for at, name, _, reason in told(orchestrator)] == [
        (5, "low-1", "preempted by first"),
        (5, "low-2", "preempted by later"),
    ]
    live(orchestrator, clock, 30)
    assert {where(orchestrator, name)[1] for name in ("first", "later")} == {PodPhase.RUNNING}


def test_a_simulation_of_the_same_chooses_the_same(orchestrator, clock):
    """Ten pods on three nodes: who goes, from where, when, and who has which node in the end."""
    shapes = [(9, 0), (9, 1), (9, 2), (5, 0), (5, 1), (4, 0), (8, 5), (12, 7), (6, 6), (14, 9)]
    rows = [(f"p{k}", cpu, priority) for k, (cpu, priority) in enumerate(shapes)]
    at = [70 * number for number in range(len(rows))]
    nodes = orchestrator.nodes.list_nodes()
    cluster = Cluster.of(
        [node.node_id for node in nodes],
        [[1000 * round(node.cpu_allocatable) for node in nodes],
         [2**20 * round(node.memory_allocatable) for node in nodes], [110] * len(nodes)],
    )  # fmt: skip
    workload = Workload.of(
        [name for name, _, _ in rows], [[1000 * cpu, 2**30, 1] for _, cpu, _ in rows],
        priority=[priority for *_, priority in rows],
    ).with_times([10**9 * t for t in at], [10**13] * len(rows))  # fmt: skip
    policy = orchestrator.scheduler.policy.with_ties("lowest")
    run = Simulation(cluster, workload, policy=policy).run("15m")
    orchestrator.scheduler._policy = policy
    orchestrator.scheduler.preemption._preemptor._policy = policy
    for name, cpu, priority in rows:
        orchestrator.schedule_pod(pod(name, cpu_request=float(cpu), memory_request=1024.0, priority=priority))
        if orchestrator.get_pod_status(name) is None:
            orchestrator.pods.save_pod(pod(name, cpu_request=float(cpu), memory_request=1024.0, priority=priority))
        live(orchestrator, clock, 70)
    live(orchestrator, clock, 900 - 70 * len(rows))
    healing = run.frames.healing.query("action == 'preempt'")
    simulated = [(row.time_ns / 1e9, row.pod, row.node, row.reason) for row in healing.itertuples()]
    assert len(simulated) >= 3
    assert told(orchestrator) == simulated
    pods = run.frames.pods.set_index("pod")
    for name, *_ in rows:
        node, phase = where(orchestrator, name)
        assert phase.value.lower() == pods.loc[name, "outcome"], name
        if phase is PodPhase.RUNNING:
            assert node == pods.loc[name, "node"], name


def test_a_new_leader_goes_on_with_the_victims_of_the_last(monkeypatch):
    class Preempting(Trio):
        def start(self, name):
            self.members[name] = KubernetesOrchestrator(
                name, peers=("a", "b", "c"), network=self.network, clock=self.clock, health=self.health,
                store=self.stores[name], policy="kube-default",
            )  # fmt: skip

    trio = Preempting()
    for number, priority in enumerate((3, 1, 2)):
        low = pod(f"low-{number}", priority=priority, **BIG)
        assert trio.ask(lambda leader, low=low: leader.schedule_pod(low))
    assert not trio.ask(lambda leader: leader.schedule_pod(pod("vip", priority=10, **BIG)))
    trio.run(5)
    trio.kill(trio.leader().consensus.member_id)
    trio.run(70)
    names = {one.pod_id: one.phase for one in trio.leader().pods.list_pods()}
    running = {name for name, phase in names.items() if phase is PodPhase.RUNNING}
    assert running == {"vip", "low-0", "low-2"}, "one victim, and only one"
