"""Live, healing as Kubernetes does: the controllers of simulated runs under the facade, on a clock moved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from k8slab import KubernetesOrchestrator, NodeState
from k8slab.domain.columns import NEVER
from k8slab.domain.detectors import FixedTimeout
from k8slab.domain.instants import SECOND_NS as S
from k8slab.domain.probe_times import Probes
from k8slab.domain.probes import Probe, ProbeKind
from k8slab.errors import StateConflict, UnknownName
from k8slab.infrastructure import VirtualClock
from tests.repositories import pod

START_NS = 1_700_000_000 * S


@pytest.fixture
def clock():
    return VirtualClock(START_NS)


@pytest.fixture
def made(clock):
    with KubernetesOrchestrator(clock=clock) as orchestrator:
        yield orchestrator
        orchestrator.pods.state.check()


def live(made, clock, seconds, by=5):
    for _ in range(seconds // by):
        clock.advance(by)
        made.step()


def seconds_since(rows, began_ns):
    return [(row["time_ns"] - began_ns) / S for row in rows]


def test_a_silent_node_is_unknown_then_tainted_and_its_pods_are_evicted(made, clock):
    made.deploy("web", pod("template"), 3)
    made.heal_as_kubernetes()
    live(made, clock, 30)
    lost = made.get_pod_status("web-0").node_id
    before = {p.pod_id for p in made.pods.list_pods()}
    began = clock.now()
    made.health.silence(lost)
    live(made, clock, 50)
    assert made.get_node_status(lost).state is NodeState.READY
    live(made, clock, 10)
    # Seen last at the look before it fell silent, and given up at the first look later than that by over 50 s.
    assert made.get_node_status(lost).state is NodeState.UNKNOWN
    state = made.pods.state
    row = state.pod_row("web-0")
    assert state.pod_ready_ns[row] == NEVER
    live(made, clock, 10)
    keys = {(taint.key, taint.effect) for taint in state.node_taints(state.node_row(lost))}
    assert ("node.kubernetes.io/unreachable", "NoExecute") in keys
    live(made, clock, 290)
    evicted = made.controller_rows("healing")
    assert {(r["action"], r["pod"], r["node"]) for r in evicted} == {("evict", "web-0", lost)}
    assert seconds_since(evicted, began)[0] == pytest.approx(355, abs=10)
    (event,) = made.get_healing_events()
    assert (event.event_type, event.pod_id, event.metadata["reason"].split()[0]) == ("pod_evict", "web-0", "taint")
    # Another was made at once, and runs elsewhere; the lost one is there until its node is heard from.
    after = {p.pod_id for p in made.pods.list_pods()}
    assert before < after
    made.health.report_heartbeat(lost)
    live(made, clock, 40)
    assert made.get_node_status(lost).state is NodeState.READY or "web-0" not in {
        p.pod_id for p in made.pods.list_pods()
    }
    assert "web-0" not in {p.pod_id for p in made.pods.list_pods()}


def test_a_node_that_is_heard_from_again_is_ready_and_keeps_its_pods(made, clock):
    made.deploy("web", pod("template"), 3)
    made.heal_as_kubernetes(detector=FixedTimeout(20 * S))
    live(made, clock, 10)
    lost = made.get_pod_status("web-0").node_id
    made.health.silence(lost)
    live(made, clock, 40)
    assert made.get_node_status(lost).state is NodeState.UNKNOWN
    made.health.report_heartbeat(lost)
    live(made, clock, 5)
    assert made.get_node_status(lost).state is NodeState.READY
    assert made.get_pod_status("web-0").node_id == lost
    conditions = [(row["node"], row["condition"]) for row in made.controller_rows("health")]
    assert conditions == [(lost, "Unknown"), (lost, "Ready")]
    assert made.pods.state.node_taints(made.pods.state.node_row(lost)) == ()


def test_a_container_that_fails_again_and_again_waits_longer_each_time(made, clock):
    made.deploy("web", pod("template"), 1)
    made.heal_as_kubernetes()
    live(made, clock, 5)
    host = made.get_pod_status("web-0").node_id
    for _ in range(4):
        made.health.report_failure("web-0")
        made.step()
        live(made, clock, 50)
    told = made.controller_rows("healing")
    assert [row["detail"] for row in told] == [
        "", "CrashLoopBackOff, 10 s", "CrashLoopBackOff, 20 s", "CrashLoopBackOff, 40 s",
    ]  # fmt: skip
    state = made.pods.state
    assert int(state.pod_restarts[state.pod_row("web-0")]) == 4
    assert made.get_pod_status("web-0").node_id == host


def test_a_pod_that_moves_after_so_many_restarts(made, clock):
    made.deploy("web", pod("template"), 1)
    made.heal_as_kubernetes(move_after=1)
    live(made, clock, 5)
    for _ in range(2):
        made.health.report_failure("web-0")
        live(made, clock, 40)
    assert [p.pod_id for p in made.pods.list_pods()] == ["web-1"]


def test_probes_notice_what_is_reported_ill(made, clock):
    made.deploy("web", pod("template"), 1)
    probes = Probes(
        readiness=Probe(ProbeKind.READINESS, period_seconds=5, failure_threshold=2),
        liveness=Probe(ProbeKind.LIVENESS, period_seconds=10, failure_threshold=6),
    )
    made.heal_as_kubernetes(probes={"web": probes})
    live(made, clock, 30)
    state = made.pods.state
    row = np.array([state.pod_row("web-0")])
    assert state.pod_ready_ns[row] <= clock.now()
    made.report_ill("web-0")
    live(made, clock, 15)
    assert state.pod_ready_ns[row] == NEVER
    made.report_well("web-0")
    live(made, clock, 10)
    assert state.pod_ready_ns[row] <= clock.now()
    made.report_ill("web-0")
    live(made, clock, 90)
    assert [row["reason"] for row in made.controller_rows("healing")] == ["liveness probe failed"]


def test_bad_input_is_named(made):
    made.deploy("web", pod("template"), 1)
    with pytest.raises(StateConflict, match="call heal_as_kubernetes"):
        made.report_ill("web-0")
    with pytest.raises(UnknownName, match="unknown workload 'wep'; did you mean 'web'"):
        made.heal_as_kubernetes(probes={"wep": Probes()})
    made.heal_as_kubernetes()
    with pytest.raises(StateConflict, match="looked after as in Kubernetes already"):
        made.heal_as_kubernetes()
    with pytest.raises(UnknownName, match="unknown table 'healng'; did you mean 'healing'"):
        made.controller_rows("healng")
    with pytest.raises(UnknownName, match="unknown pod 'web-9'"):
        made.report_ill("web-9")


def test_left_alone_it_stays_healthy(made, clock):
    made.deploy("web", pod("template"), 3)
    made.heal_as_kubernetes()
    live(made, clock, 3600, by=60)
    assert made.controller_rows("healing") == []
    assert made.controller_rows("health") == []
    assert {node.state for node in made.nodes.list_nodes()} == {NodeState.READY}
