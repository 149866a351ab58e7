"""The API that must keep working: names, fields, defaults and meanings, claim by claim.

Services run on every kind of repository: ours on one state and on two, a user's that keeps
copies, one that hands out what it keeps as the original did, and a mixture.
"""

from __future__ import annotations

import importlib
import inspect
import threading
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import k8slab
from k8slab.application import AutoScaler, ConsensusManager, HealthMonitor, PodScheduler, SelfHealer
from k8slab.domain import ports
from k8slab.domain.columns import Codes
from k8slab.domain.instants import from_ns, to_ns
from k8slab.domain.models import (
    AutoScalingConfig,
    ConsensusRole,
    Node,
    NodeState,
    Pod,
    PodPhase,
    RaftState,
    ScalingDirection,
    SelfHealingEvent,
)
from k8slab.domain.pod_spec import HOSTNAME, PodSpec, PodTerm, Requirement
from k8slab.domain.scaling import next_to_leave, threshold_direction, utilization_percent
from k8slab.errors import InputError
from k8slab.infrastructure import (
    FaultModel,
    InMemoryNodeRepository,
    InMemoryPodRepository,
    ReportedHealth,
    VirtualClock,
)
from tests.repositories import PAIRS, assert_accounts_balance, plain, pod, shared

RUNNING, PENDING, FAILED, SUCCEEDED = PodPhase.RUNNING, PodPhase.PENDING, PodPhase.FAILED, PodPhase.SUCCEEDED


def node(node_id: str, **changes) -> Node:
    return Node(node_id, **{"name": node_id, "state": NodeState.READY, **changes})


@pytest.fixture(params=PAIRS, ids=[make.__name__ for make in PAIRS])
def repos(request):
    """A pod and a node repository that must balance at the end of each test."""
    pods, nodes = request.param()
    yield pods, nodes
    assert_accounts_balance(pods, nodes)


# -- names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "k8slab",
            "KubernetesOrchestrator get_kubernetes_orchestrator Pod Node PodPhase NodeState ConsensusRole "
            "ScalingDirection RaftState AutoScalingConfig SelfHealingEvent",
        ),
        ("k8slab.application", "PodScheduler AutoScaler SelfHealer HealthMonitor ConsensusManager"),
        ("k8slab.infrastructure", "InMemoryPodRepository InMemoryNodeRepository"),
        (
            "k8slab.domain.models",
            "Pod Node RaftState AutoScalingConfig SelfHealingEvent PodPhase NodeState ConsensusRole ScalingDirection",
        ),
        (
            "k8slab.domain.ports",
            "PodRepositoryPort NodeRepositoryPort SchedulerPort AutoScalerPort SelfHealingPort HealthMonitorPort "
            "ConsensusPort",
        ),
    ],
)
def test_names_are_where_they_were(module, names):
    imported = importlib.import_module(module)
    for name in names.split():
        assert inspect.isclass(getattr(imported, name)) or callable(getattr(imported, name))


def test_names_are_the_same_wherever_they_are_imported_from():
    assert k8slab.Pod is Pod
    assert k8slab.NodeState is NodeState


@pytest.mark.parametrize(
    ("entity", "required", "defaults"),
    [
        (
            Pod,
            "pod_id name namespace node_id phase container_image",
            {
                "replicas": 1, "cpu_request": 0.5, "memory_request": 512, "cpu_limit": 1.0, "memory_limit": 1024,
                "restart_count": 0, "labels": {}, "created_at": datetime, "last_restart": None,
            },
        ),
        (
            Node,
            "node_id name state",
            {
                "cpu_capacity": 16.0, "memory_capacity": 64000, "cpu_allocatable": 15.0, "memory_allocatable": 60000,
                "cpu_used": 0, "memory_used": 0, "pods": [], "labels": {}, "taints": [], "last_heartbeat": datetime,
            },
        ),
        (
            RaftState,
            "node_id role",
            {
                "term": 0, "voted_for": None, "commit_index": 0, "last_applied": 0, "log": [], "votes_received": set(),
                "election_timeout": 5.0, "last_heartbeat_time": datetime,
            },
        ),
        (
            AutoScalingConfig,
            "config_id deployment_name namespace",
            {
                "min_replicas": 2, "max_replicas": 10, "target_cpu_utilization": 70.0,
                "target_memory_utilization": 80.0, "scale_up_cooldown": 60, "scale_down_cooldown": 300,
                "last_scale_time": None,
            },
        ),
        (
            SelfHealingEvent,
            "event_id timestamp event_type pod_id node_id description action_taken success",
            {"metadata": {}},
        ),
    ],
)  # fmt: skip
def test_entities_have_the_fields_defaults_and_order_that_they_had(entity, required, defaults):
    names = [*required.split(), *defaults]
    assert [field.name for field in fields(entity)][: len(names)] == names
    assert [f.name for f in fields(entity) if f.default is MISSING and f.default_factory is MISSING] == required.split()
    value = entity(*required.split())  # positional, in this order
    other = entity(**{name: name for name in required.split()})
    for name, default in defaults.items():
        found = getattr(value, name)
        if default is datetime:
            assert abs(datetime.now(UTC) - found) < timedelta(seconds=10)
        else:
            assert found == default
            assert not isinstance(found, list | dict | set) or found is not getattr(other, name)
    setattr(value, names[0], "mutable")


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (PodPhase, "pending running succeeded failed unknown"),
        (NodeState, "ready not_ready unknown cordoned"),
        (ConsensusRole, "leader follower candidate"),
        (ScalingDirection, "up down none"),
    ],
)
def test_enums_have_the_values_that_they_had(enum, values):
    assert [member.value for member in enum] == values.split()
    assert [member.name for member in enum] == values.upper().split()


@pytest.mark.parametrize(
    ("port", "service"),
    [
        ("PodRepositoryPort", InMemoryPodRepository),
        ("NodeRepositoryPort", InMemoryNodeRepository),
        ("SchedulerPort", PodScheduler),
        ("AutoScalerPort", AutoScaler),
        ("SelfHealingPort", SelfHealer),
        ("HealthMonitorPort", HealthMonitor),
        ("ConsensusPort", ConsensusManager),
    ],
)
def test_services_have_the_methods_of_their_ports(port, service):
    for name, method in inspect.getmembers(getattr(ports, port), inspect.isfunction):
        if not name.startswith("_"):
            theirs = inspect.signature(getattr(service, name)).parameters
            assert list(theirs) == list(inspect.signature(method).parameters)
    assert issubclass(service, getattr(ports, port))  # without inheriting from it


def test_services_are_built_as_they_were():
    pods, nodes = InMemoryPodRepository(), InMemoryNodeRepository()
    for service in (PodScheduler, AutoScaler, SelfHealer, HealthMonitor):
        service(pods, nodes)
    HealthMonitor(pods, nodes, lambda pod: None, lambda node: None)
    ConsensusManager("node-1")


# -- scheduling --------------------------------------------------------------------


def test_schedule_pod_says_where_charges_the_node_and_stores_both(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    given_pod = pod("p", cpu_request=1.5, memory_request=100)
    assert PodScheduler(pods, nodes).schedule_pod(given_pod) is True
    assert (given_pod.node_id, given_pod.phase) == ("n", RUNNING)
    assert pods.get_pod("p") == given_pod
    stored = nodes.get_node("n")
    assert (stored.cpu_used, stored.memory_used, stored.pods) == (1.5, 100, ["p"])


@pytest.mark.parametrize("cannot", [{"cpu_request": 15.001}, {"memory_request": 60000.5}])
def test_no_fit_is_false_and_changes_nothing(repos, cannot):
    pods, nodes = repos
    nodes.save_node(node("n"))
    given_pod = pod("p", **cannot)
    before, host = replace(given_pod), nodes.get_node("n")
    assert PodScheduler(pods, nodes).schedule_pod(given_pod) is False
    assert given_pod == before
    assert pods.list_pods() == []
    assert nodes.list_nodes() == [host]
    assert PodScheduler(pods, nodes).find_best_node(given_pod) is None


@pytest.mark.parametrize(
    ("state", "taint", "told"),
    [
        (NodeState.NOT_READY, "not-ready", "had untolerated taint {node.kubernetes.io/not-ready: }"),
        (NodeState.UNKNOWN, "unreachable", "had untolerated taint {node.kubernetes.io/unreachable: }"),
        (NodeState.CORDONED, "unschedulable", "were unschedulable"),
    ],
)
def test_only_ready_nodes_are_candidates_but_for_pods_that_tolerate_others(repos, state, taint, told):
    pods, nodes = repos
    nodes.save_node(node("n", state=state))
    scheduler = PodScheduler(pods, nodes)
    assert not scheduler.schedule_pod(pod("p"))
    assert scheduler.explain(pod("p")) == f"0/1 nodes are available: 1 node(s) {told}."
    assert scheduler.explain(pod("q", tolerations=["node.kubernetes.io/other"])).startswith("0/1")
    assert scheduler.schedule_pod(pod("q", tolerations=[f"node.kubernetes.io/{taint}"]))
    nodes.save_node(replace(nodes.get_node("n"), state=NodeState.READY))
    assert scheduler.schedule_pod(pod("p"))


@pytest.mark.parametrize(
    ("taint", "tolerations", "fits"),
    [
        ("gpu=a100:NoSchedule", [], False),
        ("gpu=a100:NoExecute", [], False),
        ("gpu=a100:PreferNoSchedule", [], True),
        ("gpu:NoSchedule", [], False),
        ("gpu=a100", [], False),
        ("gpu", [], False),
        ("", [], True),
        ("gpu=a100:NoSchedule", ["gpu=a100:NoSchedule"], True),
        ("gpu=a100:NoSchedule", ["gpu=a100"], True),
        ("gpu=a100:NoSchedule", ["gpu"], True),
        ("gpu=a100:NoSchedule", ["gpu:NoSchedule"], True),
        ("gpu=a100:NoSchedule", ["*"], True),
        ("gpu=a100:NoSchedule", ["gpu=a100:NoExecute"], False),
        ("gpu=a100:NoSchedule", ["gpu=h100"], False),
        ("gpu=a100:NoSchedule", ["cpu"], False),
        ("gpu=a100:NoSchedule", ["", "  "], False),
        ("gpu", ["gpu"], True),
        ("gpu", [""], False),
        ("odd:text", [], False),
        ("odd:text", ["odd:text"], True),
    ],
)
def test_taints_keep_pods_away_that_do_not_tolerate_them(taint, tolerations, fits):
    for make in (shared, plain):
        pods, nodes = make()
        nodes.save_node(node("n", taints=[taint]))
        assert PodScheduler(pods, nodes).schedule_pod(pod("p", tolerations=tolerations)) is fits


def test_a_refusal_says_why():
    pods, nodes = shared()
    nodes.save_node(node("small", cpu_allocatable=0.1))
    nodes.save_node(node("tainted", taints=["dedicated=gpu"]))
    nodes.save_node(node("away", state=NodeState.CORDONED))
    assert PodScheduler(pods, nodes).explain(pod("p")) == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: gpu}, "
        "1 node(s) were unschedulable."
    )


def test_a_pod_that_is_to_be_moved_is_no_neighbour_of_itself():
    apart = PodTerm(HOSTNAME, (Requirement("app", "In", ("web",)),), ("default",))
    pods, nodes = shared()
    state = nodes.state
    state.add_nodes(["n"], [[1000], [2**30], [10]], labels={HOSTNAME: Codes.of(["n"])})
    web = {"labels": {"app": Codes.of(["web"])}, "specs": Codes.of([PodSpec(anti_affinity=(apart,))])}
    state.bind(state.add_pods(["web"], [[900, 2**20, 1]], **web), [0])
    scheduler = PodScheduler(pods, nodes, policy="kube-default")
    stored = pods.get_pod("web")
    assert scheduler.find_best_node(stored).node_id == "n"
    twin = pod("twin", labels=stored.labels, cpu_request=0.1)
    assert scheduler.explain(twin) == (
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    )
    assert scheduler.explain(pod("other", cpu_request=0.2)) == "0/1 nodes are available: 1 Insufficient cpu."
    assert scheduler.schedule_pod(pod("other", cpu_request=0.1))
    state.check()


def test_removed_nodes_are_not_counted():
    pods, nodes = shared()
    for name in ("a", "b"):
        nodes.save_node(node(name))
    nodes.state.remove_node(0)
    assert PodScheduler(pods, nodes).explain(pod("p")) == "1/1 nodes are available."


def test_no_pod_has_to_go_for_another():
    pods, nodes = shared()
    nodes.save_node(node("n"))
    scheduler = PodScheduler(pods, nodes, policy="kube-default")
    assert scheduler.schedule_pod(pod("low", cpu_request=10, priority=-1))
    assert not scheduler.schedule_pod(pod("high", cpu_request=10, priority=9))
    assert pods.get_pod("low").node_id == "n"


def test_the_least_used_node_is_preferred_by_the_mean_of_its_fractions(repos):
    pods, nodes = repos
    scheduler = PodScheduler(pods, nodes)
    # By fractions, not amounts: a has less in use, b is the emptier. Before the pod, not after.
    nodes.save_node(node("a", cpu_allocatable=4.0, memory_allocatable=8000))
    nodes.save_node(node("b", cpu_allocatable=64.0, memory_allocatable=8000))
    pods.save_pod(pod("on-a", cpu_request=2.0, memory_request=0))
    assert scheduler.find_best_node(pod("p")).node_id == "a"  # both empty: the first saved
    assert scheduler.schedule_pod(pod("on-a", cpu_request=2.0, memory_request=0))  # a: 0.25
    assert scheduler.schedule_pod(pod("on-b", cpu_request=16.0, memory_request=800))  # b: 0.175
    assert scheduler.find_best_node(pod("p")).node_id == "b"
    assert scheduler.find_best_node(pod("p")) == nodes.get_node("b")


def test_ties_go_to_the_node_first_saved(repos):
    pods, nodes = repos
    for node_id in ("z", "a", "m"):
        nodes.save_node(node(node_id))
    nodes.save_node(node("z"))  # saving again keeps the place
    placed = [pod(name) for name in "123"]
    for one in placed:
        assert PodScheduler(pods, nodes).schedule_pod(one)
    assert [one.node_id for one in placed] == ["z", "a", "m"]


def test_the_preference_equals_the_originals_loop():
    """The original's rule, written out naively, on floats of cores and MiB."""
    amounts = st.integers(0, 20).map(lambda quarter: quarter / 4)
    hosts = st.lists(st.tuples(amounts, amounts, amounts, amounts), min_size=0, max_size=6)

    @given(hosts, amounts, amounts)
    def check(drawn, cpu, memory):
        pods, nodes = shared()
        best, least = None, float("inf")
        for number, (cpu_can, memory_can, cpu_used, memory_used) in enumerate(drawn):
            host = node(
                f"n{number}",
                cpu_allocatable=cpu_can,
                memory_allocatable=memory_can,
                cpu_used=cpu_used,
                memory_used=memory_used,
            )
            nodes.save_node(host)
            if (cpu > 0 and cpu_used + cpu > cpu_can) or (memory > 0 and memory_used + memory > memory_can):
                continue
            cpu_part = cpu_used / cpu_can if cpu_can else 1.0
            memory_part = memory_used / memory_can if memory_can else 1.0
            if (cpu_part + memory_part) / 2 < least:
                best, least = host.node_id, (cpu_part + memory_part) / 2
        found = PodScheduler(pods, nodes).find_best_node(pod("p", cpu_request=cpu, memory_request=memory))
        assert (found.node_id if found else None) == best

    check()


def test_a_node_with_nothing_allocatable_divides_nothing_by_zero(repos):
    pods, nodes = repos
    nodes.save_node(node("none", cpu_allocatable=0, memory_allocatable=0))
    scheduler = PodScheduler(pods, nodes)
    assert not scheduler.schedule_pod(pod("p"))
    assert scheduler.schedule_pod(pod("wants nothing", cpu_request=0, memory_request=0))


def test_no_nodes_is_no_fit(repos):
    assert not PodScheduler(*repos).schedule_pod(pod("p"))


def test_a_pod_that_runs_is_charged_once_however_often_it_is_scheduled(repos):
    pods, nodes = repos
    for node_id in "ab":
        nodes.save_node(node(node_id))
    scheduler = PodScheduler(pods, nodes)
    for _ in range(3):
        again = pod("p")
        assert scheduler.schedule_pod(again)
        assert (again.node_id, again.phase) == ("a", RUNNING)
    assert [host.cpu_used for host in nodes.list_nodes()] == [0.5, 0]


def test_a_failed_pod_is_moved_and_what_it_held_counts_as_free(repos):
    pods, nodes = repos
    nodes.save_node(node("n", cpu_allocatable=1.0))
    scheduler = PodScheduler(pods, nodes)
    assert scheduler.schedule_pod(pod("p", cpu_request=0.8))
    pods.update_pod_phase("p", FAILED)
    bigger = pod("p", cpu_request=0.9)
    assert scheduler.schedule_pod(bigger)
    assert nodes.get_node("n").cpu_used == 0.9


def test_tenths_of_cores_fill_a_node_exactly(repos):
    """Ten times 0.1 is not 1.0 in floats."""
    pods, nodes = repos
    nodes.save_node(node("n", cpu_allocatable=1.0))
    scheduler = PodScheduler(pods, nodes)
    assert sum(scheduler.schedule_pod(pod(f"p{i}", cpu_request=0.1)) for i in range(12)) == 10
    assert nodes.get_node("n").cpu_used == 1.0


def test_no_part_of_a_milli_is_promised_that_is_not_there(repos):
    pods, nodes = repos
    nodes.save_node(node("n", cpu_allocatable=0.9996))
    assert not PodScheduler(pods, nodes).schedule_pod(pod("p", cpu_request=1.0))
    assert PodScheduler(pods, nodes).schedule_pod(pod("p", cpu_request=0.999))


def test_a_request_that_is_no_amount_is_refused_before_anything_changes(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    with pytest.raises(InputError, match="pod 'p': cpu_request is -1"):
        PodScheduler(pods, nodes).schedule_pod(pod("p", cpu_request=-1))
    assert pods.list_pods() == []


def test_what_waits_is_placed_by_priority_then_in_order(repos):
    pods, nodes = repos
    nodes.save_node(node("n", cpu_allocatable=1.0))
    for name, priority in (("low", 0), ("high", 10), ("next", 0)):
        pods.save_pod(pod(name, priority=priority))
    pods.save_pod(pod("done", phase=SUCCEEDED))
    assert PodScheduler(pods, nodes).schedule_pending() == 2
    assert [one.phase for one in pods.list_pods()] == [RUNNING, RUNNING, PENDING, SUCCEEDED]


def test_placing_what_waits_first_takes_back_what_ended(repos):
    pods, nodes = repos
    nodes.save_node(node("n", cpu_allocatable=0.5))
    scheduler = PodScheduler(pods, nodes)
    assert scheduler.schedule_pod(pod("p"))
    pods.save_pod(pod("q"))
    pods.update_pod_phase("p", SUCCEEDED)
    assert scheduler.schedule_pending() == 1
    assert nodes.get_node("n").pods == ["q"]
    assert pods.get_pod("p").node_id == "n"


def test_any_policy_can_choose():
    pods, nodes = shared()
    for node_id in "ab":
        nodes.save_node(node(node_id))
    packing = PodScheduler(pods, nodes, policy="most-allocated")
    placed = [pod(name) for name in "123"]
    assert all(packing.schedule_pod(one) for one in placed)
    assert [one.node_id for one in placed] == ["a", "a", "a"]
    with pytest.raises(InputError, match="did you mean 'best-fit'"):
        PodScheduler(pods, nodes, policy="bestfit")


@pytest.mark.parametrize("make", PAIRS)
def test_eight_threads_overfill_no_node_and_lose_no_pod(make):
    pods, nodes = make()
    for number in range(4):
        nodes.save_node(node(f"n{number}", cpu_allocatable=2.0))
    # Half of the threads have a scheduler of their own on the same repositories.
    common = PodScheduler(pods, nodes)
    schedulers = [common if number % 2 else PodScheduler(pods, nodes) for number in range(8)]
    results: list[tuple[Pod, bool]] = []

    def run(number: int) -> None:
        for count in range(5):
            one = pod(f"p{number}-{count}")
            results.append((one, schedulers[number].schedule_pod(one)))

    in_threads(8, run)
    assert sum(placed for _, placed in results) == 16  # 4 nodes x 2.0 / 0.5
    assert {one.pod_id for one, placed in results if placed} == {one.pod_id for one in pods.list_pods()}
    assert all(host.cpu_used == 2.0 for host in nodes.list_nodes())
    assert_accounts_balance(pods, nodes)


def test_services_of_all_kinds_at_once_keep_the_accounts():
    pods, nodes = shared()
    for number in range(3):
        nodes.save_node(node(f"n{number}"))
    scheduler, healer, scaler = PodScheduler(pods, nodes), SelfHealer(pods, nodes), AutoScaler(pods, nodes)
    config = AutoScalingConfig("c", "p", "default")

    def run(number: int) -> None:
        for count in range(15):
            one = pod(f"p{number}-{count}", cpu_request=0.1)
            scheduler.schedule_pod(one)
            if number == 0:
                scaler.scale_deployment(config, ScalingDirection.DOWN)
            elif number == 1:
                one.phase = FAILED
                healer.heal_failed_pod(one)
            elif number == 2 and count % 5 == 0:
                healer.evacuate_node(node(f"n{count // 5}"))
                nodes.save_node(replace(nodes.get_node(f"n{count // 5}"), state=NodeState.READY))

    in_threads(4, run)
    scheduler.schedule_pending()
    assert_accounts_balance(pods, nodes)


def in_threads(count: int, run) -> None:
    """Run in several threads; an error in one is raised here."""
    raised = []

    def guarded(number: int) -> None:
        try:
            run(number)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


# -- scaling -----------------------------------------------------------------------

MINUTE = timedelta(minutes=1)
START = datetime(2024, 1, 1, tzinfo=UTC)


def config_of(**changes) -> AutoScalingConfig:
    return AutoScalingConfig("c", "web", "default", **changes)


def replicas(count: int, cpu: float, memory: float = 0.5, phase: PodPhase = RUNNING) -> list[Pod]:
    """Pods that request these parts of their limits."""
    parts = {"cpu_request": cpu, "cpu_limit": 1.0, "memory_request": memory * 1000, "memory_limit": 1000}
    return [pod(f"web-{i}", phase=phase, created_at=START, **parts) for i in range(count)]


@pytest.mark.parametrize(
    ("cpu", "memory", "count", "expected"),
    [
        (0.71, 0.1, 3, "up"),  # cpu or memory above its target
        (0.1, 0.81, 3, "up"),
        (0.70, 0.80, 3, "none"),  # not at it
        (0.34, 0.39, 3, "down"),  # both below half of it
        (0.35, 0.39, 3, "none"),
        (0.34, 0.40, 3, "none"),
        (0.9, 0.9, 10, "none"),  # bounds
        (0.1, 0.1, 2, "none"),
        (0.1, 0.1, 0, "none"),
    ],
)
def test_the_threshold_rule(cpu, memory, count, expected):
    direction = threshold_direction(config_of(), replicas(count, cpu, memory), to_ns(START))
    assert direction is ScalingDirection(expected)


@pytest.mark.parametrize(
    ("cpu", "seconds", "expected"),
    [(0.9, 59, "none"), (0.9, 60, "up"), (0.1, 60, "none"), (0.1, 299, "none"), (0.1, 300, "down")],
)
def test_both_cooldowns_read_one_clock(cpu, seconds, expected):
    config = config_of(last_scale_time=START)
    now = to_ns(START + timedelta(seconds=seconds))
    assert threshold_direction(config, replicas(3, cpu, cpu), now) is ScalingDirection(expected)


def test_pods_that_wait_are_not_averaged_but_count_as_replicas():
    pods = [*replicas(1, 0.9), *replicas(9, 0.0, phase=PENDING)]
    assert threshold_direction(config_of(), pods, 0) is ScalingDirection.NONE
    assert threshold_direction(config_of(max_replicas=11), pods, 0) is ScalingDirection.UP


def test_pods_without_limits_have_no_utilization():
    assert not utilization_percent([1.0], [0.0]) > 0
    unlimited = [replace(one, cpu_limit=0.0) for one in replicas(3, 0.9, 0.1)]
    assert threshold_direction(config_of(), unlimited, 0) is ScalingDirection.NONE


def test_who_leaves_first():
    old, young = replicas(2, 0.5)
    young.created_at = START + MINUTE
    waits = replace(old, phase=PENDING)
    assert next_to_leave([]) is None
    assert next_to_leave([young, old]) is young
    assert next_to_leave([young, waits, old]) is waits
    assert next_to_leave([old, replace(old, pod_id="last")]).pod_id == "last"


def place(pods, nodes, wanted: list[Pod]) -> None:
    for one in wanted:
        assert PodScheduler(pods, nodes).schedule_pod(one)


def test_scaling_up_stores_a_pending_pod_like_the_others(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    clock = VirtualClock(to_ns(START))
    place(pods, nodes, [replace(one, labels={"app": "web"}, priority=4) for one in replicas(2, 0.9)])
    scaler, config = AutoScaler(pods, nodes, clock=clock), config_of()
    scaler.configure_autoscaling(config)
    scaler.check_autoscaling()
    new = pods.list_pods()[-1]
    assert (new.phase, new.node_id, new.namespace, new.labels) == (PENDING, "", "default", {"app": "web"})
    assert (new.cpu_request, new.priority, new.created_at) == (0.9, 4, START)
    assert new.name.startswith("web")
    assert config.last_scale_time == START
    scaler.check_autoscaling()
    assert len(pods.list_pods()) == 3  # cooling down
    clock.advance(60)
    scaler.check_autoscaling()
    assert len({one.pod_id for one in pods.list_pods()}) == 4


def test_scaling_down_gives_the_resources_back(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    place(pods, nodes, replicas(3, 0.1, 0.1))
    scaler = AutoScaler(pods, nodes, clock=VirtualClock(to_ns(START)))
    scaler.configure_autoscaling(config_of())
    scaler.check_autoscaling()
    assert [one.pod_id for one in pods.list_pods()] == ["web-0", "web-1"]
    assert nodes.get_node("n").cpu_used == 0.2
    assert nodes.get_node("n").memory_used == 200


def test_only_pods_of_the_namespace_and_prefix_belong(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    place(pods, nodes, [pod("web-a", cpu_request=0.9), pod("api-a", cpu_request=0.1)])
    place(pods, nodes, [pod("other", name="web-b", namespace="shop", cpu_request=0.1)])
    scaler = AutoScaler(pods, nodes)
    scaler.scale_deployment(config_of(), ScalingDirection.DOWN)
    assert [one.pod_id for one in pods.list_pods()] == ["api-a", "other"]
    scaler.scale_deployment(config_of(), ScalingDirection.DOWN)
    assert len(pods.list_pods()) == 2


def test_scaling_by_hand(repos):
    pods, nodes = repos
    scaler, config = AutoScaler(pods, nodes), config_of()
    scaler.scale_deployment(config, ScalingDirection.NONE)
    scaler.scale_deployment(config, ScalingDirection.DOWN)
    assert config.last_scale_time is None  # no step was taken
    scaler.scale_deployment(config, ScalingDirection.UP)
    assert [(one.phase, one.cpu_request) for one in pods.list_pods()] == [(PENDING, 0.5)]
    assert config.last_scale_time is not None


def test_a_naive_datetime_is_taken_as_utc():
    config = config_of(last_scale_time=START.replace(tzinfo=None))
    assert threshold_direction(config, replicas(3, 0.9), to_ns(START + MINUTE)) is ScalingDirection.UP
    assert from_ns(to_ns(START.replace(tzinfo=None))) == START


# -- healing -----------------------------------------------------------------------


def test_a_failed_pod_restarts_three_times_and_is_then_placed_anew(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    clock = VirtualClock(to_ns(START))
    healer, one = SelfHealer(pods, nodes, clock=clock), pod("p")
    PodScheduler(pods, nodes).schedule_pod(one)
    for count in (1, 2, 3):
        clock.advance(60)
        one.phase = FAILED
        healer.heal_failed_pod(one)
        assert (one.phase, one.node_id, one.restart_count) == (RUNNING, "n", count)
        assert one.last_restart == START + count * MINUTE
        assert pods.get_pod("p") == one
        assert nodes.get_node("n").cpu_used == 0.5
    one.phase = FAILED
    pods.save_pod(one)
    healer.heal_failed_pod(one)
    assert (one.phase, one.node_id, one.restart_count) == (PENDING, "", 3)
    assert one.last_restart == START + 3 * MINUTE
    assert pods.get_pod("p") == one
    assert (nodes.get_node("n").cpu_used, nodes.get_node("n").pods) == (0, [])
    events = healer.get_healing_events()
    assert [event.event_type for event in events] == ["pod_failure"] * 4
    assert {event.node_id for event in events} == {"n"}
    assert len({event.event_id for event in events}) == 4
    assert PodScheduler(pods, nodes).schedule_pending() == 1


def test_a_failure_reported_twice_is_healed_once(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    PodScheduler(pods, nodes).schedule_pod(pod("p"))
    pods.update_pod_phase("p", FAILED)
    first, second = replace(pods.get_pod("p")), replace(pods.get_pod("p"))
    healer = SelfHealer(pods, nodes)
    healer.heal_failed_pod(first)
    healer.heal_failed_pod(second)
    assert pods.get_pod("p").restart_count == second.restart_count == 1
    assert len(healer.get_healing_events()) == 1


@pytest.mark.parametrize("state", [NodeState.NOT_READY, NodeState.UNKNOWN])
def test_a_pod_does_not_restart_on_a_node_that_is_away(repos, state):
    pods, nodes = repos
    nodes.save_node(node("n"))
    one = pod("p")
    PodScheduler(pods, nodes).schedule_pod(one)
    nodes.save_node(replace(nodes.get_node("n"), state=state))
    SelfHealer(pods, nodes).heal_failed_pod(one)
    assert (one.phase, one.node_id, one.restart_count) == (PENDING, "", 0)


def test_healing_bears_a_pod_or_a_node_that_nobody_knows(repos):
    pods, nodes = repos
    healer = SelfHealer(pods, nodes)
    stray = pod("p", node_id="ghost", phase=FAILED)
    healer.heal_failed_pod(stray)
    assert (stray.phase, stray.node_id, stray.restart_count) == (RUNNING, "ghost", 1)
    nowhere = pod("q", phase=FAILED)
    healer.heal_failed_pod(nowhere)
    assert nowhere.phase is PENDING
    healer.evacuate_node(node("ghost"))
    assert pods.get_pod("p").phase is PENDING


def test_evacuation_cordons_and_empties_a_node(repos):
    pods, nodes = repos
    for node_id in "ab":
        nodes.save_node(node(node_id))
    placed = [pod(name) for name in "1234"]
    place(pods, nodes, placed)
    pods.update_pod_phase("3", SUCCEEDED)
    healer, given_node = SelfHealer(pods, nodes), nodes.get_node("a")
    healer.evacuate_node(given_node)
    for emptied in (given_node, nodes.get_node("a")):
        assert (emptied.state, emptied.pods) == (NodeState.CORDONED, [])
        assert (emptied.cpu_used, emptied.memory_used) == (0, 0)
    assert [(one.phase, one.node_id) for one in pods.list_pods()] == [
        (PENDING, ""), (RUNNING, "b"), (SUCCEEDED, "a"), (RUNNING, "b"),
    ]  # fmt: skip
    (event,) = healer.get_healing_events()
    assert (event.event_type, event.pod_id, event.node_id, event.success) == ("node_evacuation", "1", "a", True)


def test_evacuation_empties_a_node_of_what_nobody_explains():
    for make in PAIRS:
        pods, nodes = make()
        nodes.save_node(node("n", cpu_used=3.0, memory_used=10.0, pods=["ghost"]))
        SelfHealer(pods, nodes).evacuate_node(nodes.get_node("n"))
        assert (nodes.get_node("n").cpu_used, nodes.get_node("n").pods) == (0, [])


def test_the_last_thousand_events_are_kept():
    healer = SelfHealer(*shared())
    for number in range(1005):
        healer.record_healing_event(
            SelfHealingEvent(str(number), START, "pod_failure", "p", "n", "it failed", "none", False)
        )
    assert [event.event_id for event in healer.get_healing_events(2)] == ["1003", "1004"]
    assert len(healer.get_healing_events()) == 100
    assert healer.get_healing_events(5000)[0].event_id == "5"
    assert healer.get_healing_events(0) == []
    healer.get_healing_events(1)[0].metadata["changed"] = True
    assert healer.get_healing_events(1)[0].metadata == {}


# -- health ------------------------------------------------------------------------


class Calls:
    """Remembers whom it was called back for."""

    def __init__(self) -> None:
        self.pods: list[str] = []
        self.nodes: list[str] = []

    def monitor(self, repos, **more) -> HealthMonitor:
        return HealthMonitor(
            *repos,
            on_pod_failure=lambda pod: self.pods.append(pod.pod_id),
            on_node_failure=lambda node: self.nodes.append(node.node_id),
            **more,
        )


def test_a_ready_node_silent_for_more_than_30_s_is_not_ready(repos):
    _, nodes = repos
    clock, calls = VirtualClock(to_ns(START)), Calls()
    monitor = calls.monitor(repos, clock=clock)
    nodes.save_node(node("n", last_heartbeat=START))
    nodes.save_node(node("beats", last_heartbeat=START + MINUTE))
    nodes.save_node(node("cordoned", state=NodeState.CORDONED, last_heartbeat=START))
    clock.advance(30)
    monitor.check_node_health()
    assert calls.nodes == []
    clock.advance(0.001)
    monitor.check_node_health()
    monitor.check_node_health()
    assert calls.nodes == ["n"]
    assert [one.state.value for one in nodes.list_nodes()] == ["not_ready", "ready", "cordoned"]


def test_a_reported_heartbeat_keeps_a_node_ready(repos):
    _, nodes = repos
    clock, calls, health = VirtualClock(to_ns(START)), Calls(), ReportedHealth(beating=["own"])
    monitor = calls.monitor(repos, clock=clock, health=health)
    for node_id in ("own", "reports", "silent"):
        nodes.save_node(node(node_id, last_heartbeat=START))
    for _ in range(4):
        clock.advance(20)
        health.report_heartbeat("reports")
        health.report_heartbeat("nobody")
        monitor.check_node_health()
    assert calls.nodes == ["silent"]
    assert nodes.get_node("own").last_heartbeat == START + 80 * timedelta(seconds=1)
    health.silence("own")
    clock.advance(31)
    monitor.check_node_health()
    assert calls.nodes == ["silent", "own", "reports"]


def test_a_running_pod_found_failed_is_told_once_a_failure(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    health, calls = ReportedHealth(), Calls()
    monitor = calls.monitor(repos, health=health)
    place(pods, nodes, [pod("p"), pod("q")])
    monitor.check_pod_health()
    assert calls.pods == []
    health.report_failure("p")
    health.report_failure("nobody")
    monitor.check_pod_health()
    monitor.check_pod_health()
    assert calls.pods == ["p"]
    assert pods.get_pod("p").phase is FAILED
    pods.update_pod_phase("q", FAILED)  # by someone else
    monitor.check_pod_health()
    assert calls.pods == ["p", "q"]
    pods.update_pod_phase("p", RUNNING)
    monitor.check_pod_health()
    pods.update_pod_phase("p", FAILED)
    monitor.check_pod_health()
    assert calls.pods == ["p", "q", "p"]


def test_a_pod_healed_at_once_can_fail_again_before_the_next_check(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    place(pods, nodes, [pod("p")])
    health, healer = ReportedHealth(), SelfHealer(pods, nodes)
    monitor = HealthMonitor(pods, nodes, on_pod_failure=healer.heal_failed_pod, health=health)
    for _ in range(4):
        health.report_failure("p")
        monitor.check_pod_health()
    assert (pods.get_pod("p").phase, pods.get_pod("p").restart_count) == (PENDING, 3)


def test_no_dice_are_thrown_without_a_fault_model(repos):
    pods, nodes = repos
    nodes.save_node(node("n"))
    place(pods, nodes, [pod("p")])
    calls = Calls()
    monitor = calls.monitor(repos)
    for _ in range(1000):
        monitor.check_pod_health()
    assert calls.pods == []


def test_the_fault_model_is_a_function_of_its_seed():
    def history(seed: int) -> list[tuple[str, ...]]:
        model, pods, nodes = FaultModel(pod_mtbf_s=100, node_mtbf_s=200, repair_s=60, seed=seed), [], []
        pods = [pod(f"p{i}") for i in range(20)]
        nodes = [node(f"n{i}") for i in range(20)]
        told = []
        for second in range(0, 600, 10):
            told.append(tuple(sorted(model.failed_pods(pods, second * 10**9))))
            told.append(tuple(sorted(model.heard_from(nodes, second * 10**9))))
        return told

    assert history(1) == history(1) != history(2)


def test_the_fault_model_fails_as_often_as_it_says():
    model, pods = FaultModel(pod_mtbf_s=1000), [pod(f"p{i}") for i in range(100)]
    failures = sum(len(model.failed_pods(pods, second * 10**9)) for second in range(0, 10_001, 10))
    assert 900 < failures < 1100  # 100 pods x 10,000 s / 1,000 s, give or take 3 sigma
    assert len(FaultModel().heard_from([node("n")], 0)) == 1
    with pytest.raises(InputError, match="pod_mtbf_s=0"):
        FaultModel(pod_mtbf_s=0)


def test_a_silent_node_of_the_fault_model_comes_back():
    model, hosts = FaultModel(node_mtbf_s=50, repair_s=40, seed=3), [node("n")]
    heard = [bool(model.heard_from(hosts, second * 10**9)) for second in range(0, 1000, 10)]
    runs = "".join("." if beat else "x" for beat in heard).rstrip("x").split(".")
    assert {len(run) % 4 for run in runs if run} == {0}  # 40 s is four checks of 10 s
    assert heard.count(True) > 10


def test_monitoring_runs_in_the_background_until_stopped(monkeypatch):
    monkeypatch.setattr("k8slab.application.health_monitor.INTERVAL_S", 0.01)
    pods, nodes = shared()
    nodes.save_node(node("n", last_heartbeat=START))
    found = threading.Event()
    monitor = HealthMonitor(pods, nodes, on_node_failure=lambda node: found.set())
    monitor.start_monitoring()
    monitor.start_monitoring()
    assert found.wait(10)
    monitor.stop_monitoring()
    assert not [thread for thread in threading.enumerate() if thread.name == "k8slab-health"]


# -- consensus -----------------------------------------------------------------------


def test_a_manager_alone_follows_until_it_elects_itself():
    manager = ConsensusManager("n")
    state = manager.get_raft_state()
    assert (state.role, state.term, state.voted_for, state.log) == (ConsensusRole.FOLLOWER, 0, None, [])
    assert manager.append_log_entry({"op": "bind"}) is False
    manager.conduct_election()
    state = manager.get_raft_state()
    assert (state.role, state.term, state.voted_for) == (ConsensusRole.LEADER, 1, "n")
    assert state.votes_received == {"n"}
    assert state.election_timeout == 5.0


def test_the_log_holds_the_callers_own_entries_and_no_others():
    manager = ConsensusManager("n")
    manager.start_consensus_protocol()
    entries = [{"op": "bind", "pods": ["p"]}, {"op": "scale"}, {"term": "the caller's"}]
    assert all(manager.append_log_entry(entry) for entry in entries)
    entries[0]["pods"].append("changed later")
    state = manager.get_raft_state()
    assert state.log == [
        {"term": 1, "index": 1, "op": "bind", "pods": ["p"]},
        {"term": 1, "index": 2, "op": "scale"},
        {"term": "the caller's", "index": 3},
    ]
    assert state.commit_index == state.last_applied == 3
    state.log[0]["pods"].clear()
    assert manager.get_raft_state().log[0]["pods"] == ["p"]


def test_a_leader_alone_remains_so():
    clock = VirtualClock()
    manager = ConsensusManager("n", clock=clock)
    manager.start_consensus_protocol()
    for _ in range(50):
        clock.advance(0.5)
        manager.tick()
        manager.send_heartbeats()
        manager.conduct_election()
    state = manager.get_raft_state()
    assert (state.role, state.term) == (ConsensusRole.LEADER, 1)
    assert state.last_heartbeat_time == from_ns(clock.now())


def test_a_member_of_a_larger_cluster_whose_peers_are_silent_never_leads():
    """The original made up the votes of two absent members."""
    manager = ConsensusManager("n", peers=["m", "o"])
    for _ in range(500):
        manager.tick()
        assert manager.get_raft_state().role is not ConsensusRole.LEADER
    manager.conduct_election()
    state = manager.get_raft_state()
    assert (state.role, state.votes_received) == (ConsensusRole.CANDIDATE, {"n"})
    assert not manager.append_log_entry({"op": "bind"})


def test_three_managers_that_hear_one_another_elect_one_and_copy_its_log():
    managers: dict[str, ConsensusManager] = {}
    mail = []
    for name in "abc":
        managers[name] = ConsensusManager(name, peers="abc", send=mail.append, seed=1)  # its own name does no harm

    def deliver() -> None:
        while mail:
            message = mail.pop(0)
            managers[message.target].receive(message)

    for _ in range(40):
        for manager in managers.values():
            manager.tick()
            deliver()
    leaders = [m for m in managers.values() if m.get_raft_state().role is ConsensusRole.LEADER]
    assert len(leaders) == 1
    assert leaders[0].append_log_entry({"op": "cordon"})
    deliver()
    leaders[0].send_heartbeats()
    deliver()
    logs = [(m.get_raft_state().log, m.get_raft_state().commit_index) for m in managers.values()]
    assert logs == [([{"term": leaders[0].get_raft_state().term, "index": 1, "op": "cordon"}], 1)] * 3


def test_a_member_of_a_cluster_ticks_in_the_background_until_stopped():
    manager = ConsensusManager("n", peers=["m"])
    manager.start_consensus_protocol()
    assert [thread for thread in threading.enumerate() if thread.name == "k8slab-raft"]
    manager.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "k8slab-raft"]
