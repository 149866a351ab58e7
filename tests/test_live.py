"""Live: the controllers of simulated runs under the facade, in one thread, by any clock."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from k8slab import KubernetesOrchestrator, NodeState, PodPhase, facade
from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler, MetricSpec
from k8slab.errors import InputError, StateConflict, UnknownName
from k8slab.infrastructure import VirtualClock
from tests.repositories import PlainNodes, PlainPods, assert_accounts_balance, pod

HPA = HorizontalPodAutoscaler(8, 2, (MetricSpec("Resource", "Utilization", 50, "cpu"),))


@pytest.fixture
def clock():
    return VirtualClock(1_700_000_000 * 10**9)


@pytest.fixture
def orchestrator(clock):
    with KubernetesOrchestrator(clock=clock) as made:
        yield made
        made.pods.state.check()
        assert_accounts_balance(made.pods, made.nodes)


def live(orchestrator, clock, seconds, each=None):
    for _ in range(seconds // 5):
        clock.advance(5)
        if each is not None:
            each()
        orchestrator.step()


def running(orchestrator, prefix="web"):
    pods = orchestrator.pods.list_pods()
    return [one.pod_id for one in pods if one.phase is PodPhase.RUNNING and one.pod_id.startswith(prefix)]


def test_a_deployment_is_kept_at_its_number(orchestrator):
    orchestrator.deploy("web", pod("template", cpu_request=1.0, labels={"app": "web"}), 3)
    orchestrator.step()
    assert running(orchestrator) == ["web-0", "web-1", "web-2"]
    assert orchestrator.get_pod_status("web-1").labels == {"app": "web"}
    orchestrator.pods.delete_pod("web-1")
    orchestrator.step()
    assert running(orchestrator) == ["web-0", "web-2", "web-3"]
    orchestrator.scale("web", 1)
    orchestrator.step()
    assert len(running(orchestrator)) == 1


def test_an_autoscaler_follows_reported_use(orchestrator, clock):
    orchestrator.deploy("web", pod("template", cpu_request=1.0), 2)
    orchestrator.autoscale("web", HPA)

    def report(cores):
        def each():
            for one in running(orchestrator):
                orchestrator.metrics.report_usage(one, cpu=cores, memory=100)

        return each

    live(orchestrator, clock, 900, report(1.0))
    assert len(running(orchestrator)) == 8
    limited = orchestrator.autoscaler_conditions("web")["ScalingLimited"]
    assert (limited.status, limited.reason) == ("True", "TooManyReplicas")
    live(orchestrator, clock, 200, report(0.1))
    assert len(running(orchestrator)) == 8  # what was wanted five minutes ago still counts
    live(orchestrator, clock, 400, report(0.1))
    assert len(running(orchestrator)) == 2
    live(orchestrator, clock, 120)  # nobody reports: nothing is known, and nothing done
    assert orchestrator.autoscaler_conditions("web")["ScalingActive"].reason == "FailedGetResourceMetric"
    assert len(running(orchestrator)) == 2


def test_evictions_charge_the_budget_and_victims_are_made_anew_or_wait(orchestrator, clock):
    orchestrator.deploy("web", pod("template"), 3)
    orchestrator.step()
    orchestrator.protect("web", "web", min_available=2)
    assert orchestrator.evict("web-0")
    assert not orchestrator.evict("web-1")
    orchestrator.step()
    assert "web-3" in running(orchestrator)  # made anew at once
    live(orchestrator, clock, 30)
    assert running(orchestrator) == ["web-1", "web-2", "web-3"]
    assert orchestrator.evict("web-1")
    refused = [event for event in orchestrator.get_healing_events() if not event.success]
    assert [(event.pod_id, event.action_taken) for event in refused] == [("web-1", "refuse")]
    orchestrator.schedule_pod(pod("bare"))
    assert orchestrator.evict("bare", "test")
    live(orchestrator, clock, 30)
    assert orchestrator.get_pod_status("bare").phase is PodPhase.RUNNING  # it waited, and was placed again


def test_a_drain_waits_for_the_budget_and_ends(orchestrator, clock):
    orchestrator.deploy("web", pod("template"), 3)
    orchestrator.step()
    orchestrator.protect("web", "web", max_unavailable=1)
    host = orchestrator.get_pod_status("web-0").node_id
    orchestrator.drain(host)
    orchestrator.step()
    assert orchestrator.get_node_status(host).state is NodeState.CORDONED
    live(orchestrator, clock, 120)
    assert orchestrator.get_node_status(host).pods == []
    assert len(running(orchestrator)) == 3
    orchestrator.uncordon(host)
    assert orchestrator.get_node_status(host).state is NodeState.READY
    assert {"node_drain", "pod_evict", "node_drained"} <= {e.event_type for e in orchestrator.get_healing_events()}


def test_a_controller_of_ones_own_runs_on_the_same_calendar(orchestrator, clock):
    class Counter:
        name, rank = "counter", 75

        def __init__(self):
            self.seen = []

        def next_ns(self, now_ns):
            return None if len(self.seen) == 2 else now_ns

        def run_once(self, now_ns):
            self.seen.append(now_ns)

    counter = Counter()
    orchestrator.add_controller(counter)
    orchestrator.step()
    assert counter.seen == [clock.now()] * 2
    with pytest.raises(StateConflict, match="two controllers are named 'counter'"):
        orchestrator.add_controller(Counter())


def test_bad_input_is_named(orchestrator):
    orchestrator.deploy("web", pod("template"), 1)
    for act, message in (
        (lambda: orchestrator.deploy("web", pod("t"), 1), "two workloads are named 'web'"),
        (lambda: orchestrator.deploy("x", pod("t"), -1), "replicas=-1; wanted a whole number"),
        (lambda: orchestrator.scale("wep", 1), "unknown workload 'wep'; did you mean 'web'"),
        (lambda: orchestrator.autoscale("wep", HPA), "unknown workload 'wep'"),
        (lambda: orchestrator.autoscaler_conditions("web"), "unknown autoscaled deployment 'web'"),
        (lambda: orchestrator.protect("b", "web"), "wanted one of min_available and max_unavailable"),
        (lambda: orchestrator.protect("b", "web", min_available="8x%"), "8x%"),
        (lambda: orchestrator.evict("web-9"), "unknown pod 'web-9'"),
        (lambda: orchestrator.drain("node-9"), "unknown node 'node-9'; did you mean 'node-"),
        (lambda: orchestrator.metrics.report_metric("q", float("nan")), "metric 'q': nan; wanted a number"),
    ):
        with pytest.raises(InputError, match=message):
            act()
    orchestrator.autoscale("web", HPA)
    with pytest.raises(InputError, match="deployment 'web' has an autoscaler"):
        orchestrator.autoscale("web", HPA)
    with (
        KubernetesOrchestrator(pods=PlainPods(), nodes=PlainNodes(), background=False) as plain,
        pytest.raises(InputError, match="kept in one state"),
    ):
        plain.deploy("web", pod("t"))
    assert issubclass(UnknownName, InputError)


# -- one thread ------------------------------------------------------------------------------


def test_one_thread_does_it_all_and_is_woken_when_something_is_due():
    with KubernetesOrchestrator() as orchestrator:
        orchestrator.deploy("web", pod("template"), 2)
        orchestrator.autoscale("web", HPA)
        deadline = time.monotonic() + 20  # the services' own checks come after 5 s
        while len(orchestrator.pods.list_pods()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(orchestrator.pods.list_pods()) == 2
        assert [t.name for t in threading.enumerate() if t.name.startswith("k8slab-")] == ["k8slab-control"]
    assert not [t for t in threading.enumerate() if t.name.startswith("k8slab-")]
    orchestrator.scale("web", 1)  # it still answers
    orchestrator.step()
    assert len(orchestrator.pods.list_pods()) == 1


def test_many_threads_at_once_keep_the_accounts(monkeypatch):
    monkeypatch.setattr(facade, "INTERVAL_S", 0.02)
    raised = []
    with KubernetesOrchestrator() as orchestrator:
        orchestrator.deploy("web", pod("template", cpu_request=0.1), 6)
        orchestrator.autoscale("web", HorizontalPodAutoscaler(8, 2))
        orchestrator.protect("web", "web", max_unavailable="50%")

        def use(number):
            try:
                for count in range(12):
                    orchestrator.schedule_pod(pod(f"p{number}-{count}", cpu_request=0.1))
                    orchestrator.scale("web", 4 + (number + count) % 4)
                    for one in running(orchestrator)[:2]:
                        orchestrator.metrics.report_usage(one, 0.1, 10)
                    if count % 4 == 0:
                        for one in running(orchestrator)[:1]:
                            with contextlib.suppress(UnknownName):  # gone since
                                orchestrator.evict(one)
                    if number == 0 and count == 6:
                        orchestrator.drain("node-1")
            except Exception as error:
                raised.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not raised
    orchestrator.step()
    orchestrator.pods.state.check()
    assert_accounts_balance(orchestrator.pods, orchestrator.nodes)


def test_it_idles_at_under_a_hundredth_of_a_core():
    """A hundred pods, a deployment and an autoscaler: what its thread takes of the CPU over 11 s, two rounds."""
    spent = []
    with KubernetesOrchestrator() as orchestrator:
        orchestrator.deploy("web", pod("template", cpu_request=0.1), 10)
        orchestrator.autoscale("web", HPA)
        for number in range(90):
            orchestrator.schedule_pod(pod(f"p{number}", cpu_request=0.1))
        time.sleep(0.5)

        class Meter:
            """Says what the thread had used when it was asked."""

            name, rank = "meter", 1000

            def __init__(self):
                self.at_ns = orchestrator.clock.now()

            def next_ns(self, now_ns):
                return self.at_ns

            def run_once(self, now_ns):
                spent.append((time.thread_time(), now_ns))
                self.at_ns = now_ns + 11 * 10**9

        orchestrator.add_controller(Meter())
        deadline = time.monotonic() + 30
        while len(spent) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
    (cpu, began), (after, ended) = spent[:2]
    assert (after - cpu) / ((ended - began) / 1e9) < 0.01
