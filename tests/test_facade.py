"""The orchestrator: everything wired together."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from datetime import timedelta
from pathlib import Path

import pytest

import k8slab
from k8slab import (
    AutoScalingConfig,
    ConsensusRole,
    KubernetesOrchestrator,
    Node,
    NodeState,
    PodPhase,
    facade,
    get_kubernetes_orchestrator,
)
from k8slab.domain.instants import from_ns
from k8slab.infrastructure import FaultModel, InMemoryNodeRepository, VirtualClock, WallClock
from tests.repositories import PAIRS, PlainNodes, PlainPods, ReferenceNodes, assert_accounts_balance, pod

ROOT = Path(k8slab.__file__).parent.parent


@pytest.fixture
def clock():
    return VirtualClock(1_700_000_000 * 10**9)


@pytest.fixture(params=[None, *PAIRS], ids=["default", *(make.__name__ for make in PAIRS)])
def orchestrator(request, clock):
    """An orchestrator on a clock that stands still, on each kind of repository."""
    repos = dict(zip(("pods", "nodes"), request.param(), strict=True)) if request.param else {}
    with KubernetesOrchestrator(clock=clock, **repos) as made:
        yield made
    assert_accounts_balance(made.pods, made.nodes)


def live(orchestrator, clock, seconds: float) -> None:
    """Let time pass, with a control step every 5 s."""
    for _ in range(int(seconds / 5)):
        clock.advance(5)
        orchestrator.step()


# -- what is there -------------------------------------------------------------------


def test_three_ready_nodes_are_there(orchestrator):
    nodes = [orchestrator.get_node_status(f"node-{number}") for number in (1, 2, 3)]
    assert [node.name for node in nodes] == ["k8s-node-1", "k8s-node-2", "k8s-node-3"]
    assert [node.labels["zone"] for node in nodes] == ["zone-2", "zone-3", "zone-1"]
    assert {node.labels["node-type"] for node in nodes} == {"worker"}
    assert {node.state for node in nodes} == {NodeState.READY}
    assert orchestrator.get_node_status("node-4") is None
    assert orchestrator.get_pod_status("nobody") is None


def test_the_statistics_are_those_of_an_empty_cluster_then_of_a_full_one(orchestrator):
    assert orchestrator.get_cluster_stats() == {
        "total_nodes": 3,
        "ready_nodes": 3,
        "total_pods": 0,
        "running_pods": 0,
        "failed_pods": 0,
        "cpu_utilization": 0.0,
        "memory_utilization": 0.0,
        "raft_role": "leader",
        "raft_term": 1,
        "healing_events": 0,
    }
    assert orchestrator.schedule_pod(pod("p", cpu_request=12.0, memory_request=48000))
    orchestrator.pods.save_pod(pod("f", phase=PodPhase.FAILED))
    stats = orchestrator.get_cluster_stats()
    assert (stats["total_pods"], stats["running_pods"], stats["failed_pods"]) == (2, 1, 1)
    assert stats["cpu_utilization"] == 100 * 12 / 48  # of capacity
    assert stats["memory_utilization"] == 100 * 48000 / 192000


def test_scheduling_under_the_facade(orchestrator):
    pods = [pod(f"p{number}") for number in range(4)]
    assert all(orchestrator.schedule_pod(one) for one in pods)
    assert [one.node_id for one in pods] == ["node-1", "node-2", "node-3", "node-1"]
    assert orchestrator.get_pod_status("p0") == pods[0]
    assert orchestrator.get_node_status("node-1").pods == ["p0", "p3"]
    assert not orchestrator.schedule_pod(pod("huge", cpu_request=15.5))
    assert orchestrator.get_pod_status("huge") is None


def test_what_was_fetched_and_changed_counts_when_saved(orchestrator):
    node = orchestrator.get_node_status("node-1")
    node.state = NodeState.CORDONED
    if not isinstance(orchestrator.nodes, ReferenceNodes):
        assert orchestrator.get_node_status("node-1").state is NodeState.READY
    orchestrator.nodes.save_node(node)
    assert orchestrator.get_node_status("node-1").state is NodeState.CORDONED


def test_the_log_of_a_cluster_of_one(orchestrator):
    assert orchestrator.get_raft_state().role is ConsensusRole.LEADER
    assert orchestrator.append_log_entry({"op": "bind"})
    state = orchestrator.get_raft_state()
    assert (state.node_id, state.commit_index, state.log) == ("node-1", 1, [{"term": 1, "index": 1, "op": "bind"}])


def test_a_node_id_names_the_member_of_the_raft_cluster(clock):
    assert KubernetesOrchestrator("other", clock=clock).get_raft_state().node_id == "other"


# -- what it does by itself ------------------------------------------------------------


def test_left_alone_it_stays_healthy(orchestrator, clock):
    assert orchestrator.schedule_pod(pod("p"))
    live(orchestrator, clock, seconds=600)
    stats = orchestrator.get_cluster_stats()
    assert (stats["ready_nodes"], stats["running_pods"], stats["healing_events"]) == (3, 1, 0)
    assert orchestrator.get_node_status("node-1").last_heartbeat == from_ns(clock.now())


def test_left_alone_for_long_between_two_steps_it_stays_healthy(orchestrator, clock):
    """A laptop that slept."""
    clock.advance(24 * 3600)
    orchestrator.step()
    assert orchestrator.get_cluster_stats()["ready_nodes"] == 3


def test_a_failed_pod_reaches_the_healer(orchestrator):
    orchestrator.schedule_pod(pod("p"))
    for count in (1, 2, 3):
        orchestrator.health.report_failure("p")
        orchestrator.step()
        healed = orchestrator.get_pod_status("p")
        assert (healed.phase, healed.node_id, healed.restart_count) == (PodPhase.RUNNING, "node-1", count)
    orchestrator.pods.update_pod_phase("p", PodPhase.FAILED)
    orchestrator.step()  # taken off, and placed by the same step
    moved = orchestrator.get_pod_status("p")
    assert (moved.phase, moved.node_id, moved.restart_count) == (PodPhase.RUNNING, "node-1", 3)
    assert [event.event_type for event in orchestrator.get_healing_events()] == ["pod_failure"] * 4
    assert len(orchestrator.get_healing_events(limit=2)) == 2


def test_a_silent_node_is_evacuated_and_its_pods_are_placed_elsewhere(orchestrator, clock):
    for number in range(6):
        assert orchestrator.schedule_pod(pod(f"p{number}"))
    orchestrator.health.silence("node-2")
    live(orchestrator, clock, seconds=30)
    assert orchestrator.get_node_status("node-2").state is NodeState.READY
    live(orchestrator, clock, seconds=5)
    gone = orchestrator.get_node_status("node-2")
    assert (gone.state, gone.pods, gone.cpu_used) == (NodeState.CORDONED, [], 0)
    stats = orchestrator.get_cluster_stats()
    assert (stats["ready_nodes"], stats["running_pods"], stats["healing_events"]) == (2, 6, 2)
    assert {event.event_type for event in orchestrator.get_healing_events()} == {"node_evacuation"}


def test_what_finds_no_node_waits_until_there_is_one(orchestrator, clock):
    for number in (1, 2, 3):
        orchestrator.schedule_pod(pod(f"p{number}", cpu_request=10.0))
    orchestrator.health.silence("node-3")
    live(orchestrator, clock, seconds=40)
    assert orchestrator.get_pod_status("p3").phase is PodPhase.PENDING
    orchestrator.nodes.save_node(Node("node-4", "k8s-node-4", NodeState.READY, last_heartbeat=from_ns(clock.now())))
    orchestrator.step()
    assert orchestrator.get_pod_status("p3").node_id == "node-4"


def test_check_autoscaling_ends_with_a_scheduling_step(orchestrator, clock):
    for number in range(2):
        orchestrator.schedule_pod(pod(f"web-{number}", cpu_request=0.9))
    config = AutoScalingConfig("c", "web", "default")
    orchestrator.configure_autoscaling(config)
    orchestrator.check_autoscaling()
    assert orchestrator.get_cluster_stats()["running_pods"] == 3
    assert config.last_scale_time == from_ns(clock.now())
    live(orchestrator, clock, seconds=59)
    assert orchestrator.get_cluster_stats()["running_pods"] == 3
    live(orchestrator, clock, seconds=3600)
    assert orchestrator.get_cluster_stats()["running_pods"] == 10


def test_faults_come_only_when_they_are_switched_on(clock):
    health = FaultModel(pod_mtbf_s=300, seed=7)
    with KubernetesOrchestrator(clock=clock, health=health) as orchestrator:
        for number in range(10):
            orchestrator.schedule_pod(pod(f"p{number}"))
        live(orchestrator, clock, seconds=3600)
        stats = orchestrator.get_cluster_stats()
        assert stats["healing_events"] > 50
        assert (stats["running_pods"], stats["ready_nodes"]) == (10, 3)
        assert_accounts_balance(orchestrator.pods, orchestrator.nodes)


def test_a_run_is_a_function_of_its_seed():
    def run(seed: int) -> list[tuple[str, ...]]:
        clock = VirtualClock()
        health = FaultModel(pod_mtbf_s=60, node_mtbf_s=2000, seed=seed)
        with KubernetesOrchestrator(clock=clock, health=health) as orchestrator:
            for number in range(10):
                orchestrator.schedule_pod(pod(f"p{number}"))
            live(orchestrator, clock, seconds=600)
            return [(e.timestamp.isoformat(), e.pod_id, e.action_taken) for e in orchestrator.get_healing_events(1000)]

    assert run(1) == run(1) != run(2)


# -- adapters of the user's --------------------------------------------------------------


def test_nodes_of_the_users_own_are_all_there_are(clock):
    nodes = InMemoryNodeRepository()
    nodes.save_node(Node("mine", "mine", NodeState.READY, last_heartbeat=from_ns(clock.now())))
    orchestrator = KubernetesOrchestrator(nodes=nodes, clock=clock)
    assert orchestrator.get_cluster_stats()["total_nodes"] == 1
    orchestrator.health.report_heartbeat("mine")
    clock.advance(60)
    orchestrator.step()
    assert orchestrator.get_cluster_stats()["ready_nodes"] == 1
    clock.advance(31)
    orchestrator.step()
    assert orchestrator.get_cluster_stats()["ready_nodes"] == 0


def test_another_orchestrator_takes_over_what_is_stored(clock):
    pods, nodes = PlainPods(), PlainNodes()
    with KubernetesOrchestrator(pods=pods, nodes=nodes, clock=clock) as first:
        first.schedule_pod(pod("p"))
    clock.advance(3600)
    with KubernetesOrchestrator(pods=pods, nodes=nodes, clock=clock) as second:
        second.step()
        assert second.get_cluster_stats()["ready_nodes"] == 3
        assert second.get_pod_status("p").phase is PodPhase.RUNNING


def test_a_policy_by_name(clock):
    orchestrator = KubernetesOrchestrator(clock=clock, policy="most-allocated")
    pods = [pod(f"p{number}") for number in range(3)]
    assert all(orchestrator.schedule_pod(one) for one in pods)
    assert {one.node_id for one in pods} == {"node-1"}


# -- threads -------------------------------------------------------------------------------


def control_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("k8slab-")]


def test_the_background_thread_steps_and_stops(monkeypatch):
    monkeypatch.setattr(facade, "INTERVAL_S", 0.01)
    placed = threading.Event()
    with KubernetesOrchestrator() as orchestrator:
        assert all(thread.daemon for thread in control_threads())
        orchestrator.pods.save_pod(pod("p"))
        for _ in range(1000):
            if orchestrator.get_pod_status("p").phase is PodPhase.RUNNING:
                placed.set()
                break
            threading.Event().wait(0.01)
    assert placed.is_set()
    assert control_threads() == []
    assert orchestrator.schedule_pod(pod("q"))  # it still answers
    orchestrator.close()


def test_a_step_that_fails_is_logged_and_the_next_one_comes(monkeypatch, caplog):
    monkeypatch.setattr(facade, "INTERVAL_S", 0.01)
    again = threading.Event()

    class Flaky(PlainPods):
        calls = 0

        def list_pods(self, namespace=None):
            self.calls += 1
            if self.calls == 1:
                raise OSError("the database is away")
            again.set()
            return super().list_pods(namespace)

    with KubernetesOrchestrator(pods=Flaky()):
        assert again.wait(10)
    assert "the database is away" in caplog.text


def test_an_orchestrator_that_nobody_holds_is_gone_with_its_thread():
    orchestrator = KubernetesOrchestrator()
    (thread,) = control_threads()
    gone = weakref.ref(orchestrator)
    del orchestrator
    gc.collect()
    assert gone() is None
    thread.join(10)
    assert not thread.is_alive()


def test_a_clock_of_ones_own_starts_no_thread_unless_told_to(clock):
    with KubernetesOrchestrator(clock=clock):
        assert control_threads() == []
    with KubernetesOrchestrator(clock=WallClock(), background=True):
        assert len(control_threads()) == 1
    with KubernetesOrchestrator(background=False):
        assert control_threads() == []


def test_there_is_one_orchestrator_also_under_concurrent_first_calls(monkeypatch):
    monkeypatch.setattr(facade, "_instance", None)
    start, got = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        got.append(get_kubernetes_orchestrator())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(got) == 8
        assert len(set(map(id, got))) == 1
        assert get_kubernetes_orchestrator() is got[0]
        assert len(control_threads()) == 1
    finally:
        got[0].close()


def test_a_wall_clock_never_goes_back(monkeypatch):
    times = iter([100, 90, 110])
    monkeypatch.setattr("k8slab.infrastructure.clocks.time.time_ns", lambda: next(times))
    clock = WallClock()
    assert [clock.now(), clock.now(), clock.now()] == [100, 100, 110]


def test_clocks_wait():
    clock = WallClock()
    before = clock.now()
    clock.sleep_until(before + 10**7)
    assert clock.now() >= before + 10**7
    clock.sleep_until(before)
    virtual = VirtualClock()
    virtual.sleep_until(5)
    virtual.sleep_until(3)
    assert virtual.now() == 5
    assert from_ns(virtual.now()) - from_ns(0) == timedelta(0)


# -- a fresh process -------------------------------------------------------------------------

FIRST_POD = """
import sys, time
start = time.process_time()
from k8slab import KubernetesOrchestrator, Pod, PodPhase
orchestrator = KubernetesOrchestrator()
assert orchestrator.schedule_pod(Pod("p", "p", "default", "", PodPhase.PENDING, "nginx"))
print(time.process_time() - start, *sorted({"numba", "pandas", "matplotlib", "scipy"} & sys.modules.keys()))
"""


def test_the_first_pod_is_placed_within_a_second_and_nothing_heavy_is_loaded():
    """And the process ends although the orchestrator was never closed."""
    runs = [run_python(FIRST_POD).split() for _ in range(3)]  # the machine may have other things to do
    assert [heavy for _, *heavy in runs] == [[], [], []]
    assert min(float(seconds) for seconds, *_ in runs) < 1.0


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def test_repr_says_how_the_cluster_is() -> None:
    with KubernetesOrchestrator() as orchestrator:
        assert repr(orchestrator) == "<KubernetesOrchestrator: 3 of 3 nodes ready, 0 of 0 pods running>"
