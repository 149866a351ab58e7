"""Quotas, limit ranges and priority classes before every pod that enters a live cluster, whichever way it comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab import AutoScalingConfig, KubernetesOrchestrator, PodPhase
from k8slab.domain.models import ScalingDirection
from k8slab.errors import AdmissionRefused, InputError
from k8slab.infrastructure import InMemoryNodeRepository, InMemoryPodRepository, VirtualClock
from k8slab.simulation import LimitRange, Namespace, Quota
from k8slab.state import ClusterState
from tests.repositories import PlainNodes, PlainPods, assert_accounts_balance, pod
from tests.test_orchestrator_cluster import Trio

CPU_3 = Namespace(quotas=[Quota(hard={"requests.cpu": "3", "pods": 10})])


@pytest.fixture
def clock():
    return VirtualClock(1_700_000_000 * 10**9)


def made(clock, *namespaces, **options):
    return KubernetesOrchestrator(clock=clock, namespaces=namespaces, **options)


def live(orchestrator, clock, seconds=5):
    for _ in range(seconds // 5):
        clock.advance(5)
        orchestrator.step()


def used(orchestrator, namespace="default"):
    return {name: float(amount) for name, amount in orchestrator.quotas(namespace)[0].used.items()}


def test_a_refusal_says_what_is_used_and_what_the_limit_is(clock):
    orchestrator = made(clock, CPU_3)
    for number in range(2):
        assert orchestrator.schedule_pod(pod(f"p{number}", cpu_request=1.25))
    late = pod("late", cpu_request=1.25)
    message = (
        r"pod 'late' may not enter namespace 'default': exceeded quota 'quota': requests.cpu "
        r"\(requests.cpu: requested 1.25, used 2.5 of 3\)"
    )
    with pytest.raises(AdmissionRefused, match=message):
        orchestrator.schedule_pod(late)
    with pytest.raises(AdmissionRefused, match=message):
        orchestrator.pods.save_pod(late)
    assert orchestrator.get_pod_status("late") is None
    assert (late.node_id, late.phase) == ("", PodPhase.PENDING)
    assert [row["event"] for row in orchestrator.controller_rows("events")] == ["FailedCreate"] * 2
    assert orchestrator.schedule_pod(pod("small", cpu_request=0.5))
    assert orchestrator.schedule_pod(pod("elsewhere", cpu_request=5.0, namespace="other"))
    assert used(orchestrator) == {"requests.cpu": 3, "pods": 3}
    # Room comes back when a pod ends or is deleted.
    orchestrator.pods.update_pod_phase("p0", PodPhase.SUCCEEDED)
    assert orchestrator.pods.delete_pod("small")
    assert used(orchestrator) == {"requests.cpu": 1.25, "pods": 1}
    assert orchestrator.schedule_pod(late)
    assert_accounts_balance(orchestrator.pods, orchestrator.nodes)


def test_a_deployment_gets_what_may_enter_and_the_rest_when_there_is_room(clock):
    orchestrator = made(clock, CPU_3)
    orchestrator.deploy("web", pod("template", cpu_request=1.0), 5)
    live(orchestrator, clock)
    names = [one.pod_id for one in orchestrator.pods.list_pods()]
    assert names == ["web-0", "web-1", "web-2"]
    told = [row["detail"] for row in orchestrator.controller_rows("events") if row["event"] == "FailedCreate"]
    assert told == ["web: exceeded quota 'quota': requests.cpu"]
    orchestrator.pods.delete_pod("web-1")
    live(orchestrator, clock)
    assert [one.pod_id for one in orchestrator.pods.list_pods()] == ["web-0", "web-2", "web-3"]


def test_an_autoscaler_that_is_refused_goes_on(clock):
    orchestrator = made(clock, CPU_3)
    for number in range(3):
        assert orchestrator.schedule_pod(pod(f"web-{number}", cpu_request=1.0))
    config = AutoScalingConfig("c", "web", "default", min_replicas=1, max_replicas=9)
    before = config.last_scale_time
    orchestrator.configure_autoscaling(config)
    orchestrator.autoscaler.scale_deployment(config, ScalingDirection.UP)
    assert len(orchestrator.pods.list_pods()) == 3
    assert config.last_scale_time == before
    assert orchestrator.controller_rows("events")[-1]["event"] == "FailedCreate"


def test_limit_ranges_fill_in_and_keep_out(clock):
    limits = [LimitRange(default_request={"cpu": "250m"}, max={"memory": "2Gi"}, default={"memory": "1Gi"})]
    orchestrator = made(clock, Namespace(name="team", limits=limits))
    plain = pod("plain", namespace="team", cpu_request=0.0)
    assert orchestrator.schedule_pod(plain)
    assert plain.cpu_request == 0.25
    assert plain.node_id
    assert orchestrator.get_node_status(plain.node_id).cpu_used == 0.25
    with pytest.raises(AdmissionRefused, match=r"pod 'fat' may not enter namespace 'team': .*memory"):
        orchestrator.schedule_pod(pod("fat", namespace="team", memory_request=3000.0))
    saved = pod("saved", namespace="team", cpu_request=0.0)
    orchestrator.pods.save_pod(saved)
    assert orchestrator.get_pod_status("saved").cpu_request == 0.25


def test_priority_classes_have_quotas_of_their_own(clock):
    urgent = Quota(name="urgent", hard={"pods": 1}, priority_classes=["urgent"])
    orchestrator = made(clock, Namespace(quotas=[urgent]), priority_classes={"urgent": 1000})
    assert orchestrator.schedule_pod(pod("a", priority=1000))
    assert orchestrator.schedule_pod(pod("b", priority=0))
    with pytest.raises(AdmissionRefused, match=r"exceeded quota 'urgent': pods .*used 1 of 1"):
        orchestrator.schedule_pod(pod("c", priority=1000))


def test_a_pod_that_grows_is_asked_again(clock):
    orchestrator = made(clock, CPU_3, Namespace(name="small", quotas=[Quota(hard={"pods": 0})]))
    grows = pod("grows", cpu_request=1.0)
    assert orchestrator.schedule_pod(grows)
    grows.cpu_request = 2.5
    orchestrator.pods.save_pod(grows)
    assert used(orchestrator) == {"requests.cpu": 2.5, "pods": 1}
    grows.cpu_request = 3.5
    with pytest.raises(AdmissionRefused, match=r"requested 1, used 2\.5 of 3"):
        orchestrator.pods.save_pod(grows)
    assert orchestrator.get_pod_status("grows").cpu_request == 2.5
    grows.cpu_request, grows.namespace = 0.5, "small"
    with pytest.raises(AdmissionRefused, match="namespace 'small': exceeded quota 'quota': pods"):
        orchestrator.pods.save_pod(grows)
    grows.namespace = "free"
    orchestrator.pods.save_pod(grows)
    assert used(orchestrator) == {"requests.cpu": 0, "pods": 0}


def test_what_was_there_before_is_charged_though_it_exceeds(clock):
    state = ClusterState(clock=clock)
    pods, nodes = InMemoryPodRepository(state), InMemoryNodeRepository(state)
    for number in range(4):
        pods.save_pod(pod(f"old-{number}", cpu_request=1.0))
    orchestrator = made(clock, CPU_3, pods=pods, nodes=nodes)
    assert used(orchestrator) == {"requests.cpu": 4, "pods": 4}
    live(orchestrator, clock)
    assert {one.phase for one in orchestrator.pods.list_pods()} == {PodPhase.RUNNING}
    with pytest.raises(AdmissionRefused):
        orchestrator.schedule_pod(pod("new", cpu_request=0.1))
    with pytest.raises(AdmissionRefused, match=r"must specify requests\.cpu"):
        orchestrator.schedule_pod(pod("unsaid", cpu_request=0.0))


def test_bad_input(clock):
    with pytest.raises(InputError, match="two namespaces are named 'default'"):
        made(clock, CPU_3, CPU_3)
    with pytest.raises(InputError, match=r"priority class 'high': 1\.5; wanted a whole number"):
        made(clock, CPU_3, priority_classes={"high": 1.5})
    with pytest.raises(InputError, match="namespaces need pods that are kept in a state"):
        made(clock, CPU_3, pods=PlainPods(), nodes=PlainNodes())
    with pytest.raises(InputError, match="no quotas"):
        KubernetesOrchestrator(clock=clock).quotas("default")


def test_a_new_leader_charges_what_is_there():
    class Ruled(Trio):
        def start(self, name):
            self.members[name] = KubernetesOrchestrator(
                name, peers=("a", "b", "c"), network=self.network, clock=self.clock, health=self.health,
                store=self.stores[name], namespaces=[CPU_3],
            )  # fmt: skip

    trio = Ruled()
    for number in range(2):
        assert trio.ask(lambda leader, number=number: leader.schedule_pod(pod(f"p{number}", cpu_request=1.25)))
    with pytest.raises(AdmissionRefused):
        trio.ask(lambda leader: leader.schedule_pod(pod("late", cpu_request=1.25)))
    trio.kill(trio.leader().consensus.member_id)
    trio.run(20)
    assert used(trio.leader()) == {"requests.cpu": 2.5, "pods": 2}
    with pytest.raises(AdmissionRefused):
        trio.ask(lambda leader: leader.schedule_pod(pod("late", cpu_request=1.25)))


steps = st.lists(
    st.tuples(st.sampled_from(["schedule", "save", "delete", "end", "grow"]), st.integers(0, 4), st.integers(0, 8)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_a_quota_is_never_exceeded_and_always_the_sum_of_what_is_there(history):
    orchestrator = KubernetesOrchestrator(clock=VirtualClock(0), namespaces=[CPU_3])
    for verb, number, quarters in history:
        name, held = f"p{number}", orchestrator.get_pod_status(f"p{number}")
        try:
            if verb == "delete":
                orchestrator.pods.delete_pod(name)
            elif verb == "end" and held is not None and held.phase is PodPhase.RUNNING:
                orchestrator.pods.update_pod_phase(name, PodPhase.SUCCEEDED)
            elif verb == "grow" and held is not None:
                held.cpu_request = quarters / 4
                orchestrator.pods.save_pod(held)
            elif verb in ("schedule", "save") and held is None:
                one = pod(name, cpu_request=quarters / 4)
                orchestrator.schedule_pod(one) if verb == "schedule" else orchestrator.pods.save_pod(one)
        except AdmissionRefused:
            pass
        there = [one for one in orchestrator.pods.list_pods() if one.phase is not PodPhase.SUCCEEDED]
        assert used(orchestrator) == {"requests.cpu": sum(one.cpu_request for one in there), "pods": len(there)}
        assert used(orchestrator)["requests.cpu"] <= 3
