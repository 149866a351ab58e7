"""The same drains and detectors under the entities' API, on a clock that is moved by hand."""

from __future__ import annotations

import pytest

from k8slab.application.disruption_budgets import Budget
from k8slab.application.health_monitor import HealthMonitor
from k8slab.application.self_healer import SelfHealer
from k8slab.domain.detectors import PhiAccrual
from k8slab.domain.disruption import BudgetSpec
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import Node, NodeState, Pod, PodPhase
from k8slab.domain.pod_spec import Requirement
from k8slab.errors import InputError, UnknownName
from k8slab.facade import KubernetesOrchestrator
from k8slab.infrastructure.clocks import VirtualClock
from k8slab.infrastructure.health import ReportedHealth
from k8slab.infrastructure.in_memory_node_repository import InMemoryNodeRepository
from k8slab.infrastructure.in_memory_pod_repository import InMemoryPodRepository
from k8slab.state import ClusterState

WEB = Requirement("app", "In", ("web",))


def web(number: int) -> Pod:
    return Pod(f"web-{number}", f"web-{number}", "default", "", PodPhase.PENDING, "nginx", labels={"app": "web"})


def orchestrator(*budgets: Budget) -> KubernetesOrchestrator:
    return KubernetesOrchestrator(clock=VirtualClock(1_000 * SECOND_NS), budgets=budgets)


def settle(made: KubernetesOrchestrator, seconds: float) -> None:
    for _ in range(int(seconds / 5)):
        made.clock.advance(5)
        made.step()


def actions(made: KubernetesOrchestrator) -> list[str]:
    return [event.action_taken for event in made.get_healing_events(1000) if event.event_type == "node_drain"]


def test_a_drain_empties_a_node_and_its_pods_run_elsewhere():
    made = orchestrator()
    pods = [web(number) for number in range(6)]
    assert all(made.schedule_pod(pod) for pod in pods)
    node = made.get_node_status("node-1")
    assert len(node.pods) == 2
    made.healer.drain_node(node)
    assert node.state is NodeState.CORDONED
    assert actions(made)[0] == "drain: 2 pods"
    assert made.healer.drain_lasts(node)
    # The pods hold their node for their grace of 30 s.
    settle(made, 25)
    assert len(made.get_node_status("node-1").pods) == 2
    settle(made, 10)
    assert made.get_node_status("node-1").pods == []
    assert not made.healer.drain_lasts(node)
    assert {made.get_pod_status(pod.pod_id).node_id for pod in pods} == {"node-2", "node-3"}
    made.healer.uncordon_node(node)
    assert node.state is NodeState.READY
    assert made.schedule_pod(web(9))


def test_a_drain_honours_a_budget_and_asks_again():
    budget = Budget("web", BudgetSpec(min_available=5), selector=(WEB,))
    made = orchestrator(budget)
    assert all(made.schedule_pod(web(number)) for number in range(6))
    assert made.drain_node("node-1")
    assert not made.drain_node("node-9")
    assert actions(made)[:3] == ["drain: 2 pods", "evict", "refuse: 429: budget web wants 5 healthy and has 5"]
    fewest = 6
    for _ in range(20):
        settle(made, 5)
        state = made.nodes.state
        ready = (state.pod_ready_ns <= made.clock.now()) & (state.pod_leaving == 0)
        fewest = min(fewest, int(ready.sum()))
    assert fewest == 5
    assert made.get_node_status("node-1").pods == []
    assert actions(made).count("evict") == 2
    assert actions(made)[-1].startswith("drained: all admitted after 3")
    refused = [event for event in made.get_healing_events(1000) if not event.success]
    assert len(refused) == 1  # told once, however often it asks


def test_a_node_that_isnt_there_and_repositories_of_their_own():
    made = orchestrator()
    with pytest.raises(UnknownName, match=r"unknown node 'node-9'; did you mean 'node-[123]'\?"):
        made.healer.drain_node(Node("node-9", "node-9", NodeState.READY))
    apart = SelfHealer(InMemoryPodRepository(ClusterState()), InMemoryNodeRepository(ClusterState()))
    with pytest.raises(InputError, match="these have none: use evacuate_node"):
        apart.drain_node(Node("node-1", "node-1", NodeState.READY))
    apart.continue_drains()


def test_a_detector_of_ones_choice_learns_how_often_a_node_is_heard_from():
    state, clock = ClusterState(), VirtualClock(1_000 * SECOND_NS)
    pods, nodes, failed = InMemoryPodRepository(state), InMemoryNodeRepository(state), []
    nodes.save_node(Node("n", "n", NodeState.READY))
    health = ReportedHealth()
    monitor = HealthMonitor(
        pods, nodes, None, failed.append, health=health, clock=clock,
        detector=PhiAccrual(threshold=8, expected_ns=60 * SECOND_NS, min_deviation_ns=SECOND_NS),
    )  # fmt: skip
    for _ in range(20):
        health.report_heartbeat("n")
        monitor.check_node_health()
        clock.advance(60)
    # 60 s is what this node always takes: 5.6 deviations of a second more, and it is given up.
    clock.advance(5)
    monitor.check_node_health()
    assert failed == []
    clock.advance(1)
    monitor.check_node_health()
    assert [node.node_id for node in failed] == ["n"]
    assert nodes.get_node("n").state is NodeState.NOT_READY
