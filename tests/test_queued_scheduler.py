"""The scheduler's loop: what it hears, whom it tries when, who must leave; on a real state, by either clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab import filter_plugin, policy
from k8slab.analysis.frames import check_frame
from k8slab.application import QueuedScheduler, SchedulingQueue, queued_scheduler
from k8slab.domain.api_objects import ApiObjects, DisruptionBudget
from k8slab.domain.columns import LEAVING, Codes, Taint
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES, POD_PHASES, NodeState, PodPhase
from k8slab.domain.pod_spec import HOSTNAME, HostPort, NodeTerm, PodSpec, PodTerm, Requirement
from k8slab.domain.ports import ClusterStatePort
from k8slab.domain.queueing import Event, NodeAdded, NodeDeleted, NodeUpdated, PodAdded, PodDeleted, PodInfo, PodUpdated
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, NotEnoughCapacity, StateConflict
from k8slab.infrastructure.clocks import VirtualClock, WallClock
from k8slab.state import ClusterState

READY, CORDONED = NODE_STATES.index(NodeState.READY), NODE_STATES.index(NodeState.CORDONED)
NOT_READY = NODE_STATES.index(NodeState.NOT_READY)
SUCCEEDED, FAILED = POD_PHASES.index(PodPhase.SUCCEEDED), POD_PHASES.index(PodPhase.FAILED)
PREEMPTED = LEAVING.index("preempted")
FULL = "0/1 nodes are available: 1 Insufficient cpu."


class HeardQueue(SchedulingQueue):
    """A queue that remembers what it was told of the cluster."""

    def __init__(self, clock: Any, **options: Any) -> None:
        super().__init__(clock, **options)
        self.heard: list[Event] = []
        self.pods_told: list[tuple[str, str]] = []

    def move_on(self, event: Event) -> int:
        self.heard.append(event)
        return super().move_on(event)

    def add(self, pod: PodInfo) -> None:
        self.pods_told.append(("add", pod.name))
        super().add(pod)

    def update(self, pod: PodInfo) -> Any:
        self.pods_told.append(("update", pod.name))
        return super().update(pod)

    def delete(self, pod: PodInfo) -> bool:
        self.pods_told.append(("delete", pod.name))
        return super().delete(pod)


@dataclass
class Lab:
    """A state, a queue and a scheduler on one clock; time begins at 100 s."""

    rule: Any = "kube-default"
    seed: int = 0
    evict: Callable[[Any], None] | None = None
    clock: Any = field(default_factory=lambda: VirtualClock(100 * SECOND_NS))
    make_state: Callable[..., ClusterState] = ClusterState

    def __post_init__(self) -> None:
        self.state = self.make_state(clock=self.clock)
        self.queue = HeardQueue(self.clock)
        self.scheduler = QueuedScheduler(
            self.state, self.rule, self.queue, self.clock, seed=self.seed, evict=self.evict
        )

    def node(self, name: str, cpu: int = 1000, pods: int = 10, **labels: str) -> int:
        column = self.state.schema.vector({"cpu": cpu, "memory": 2**30, "pods": pods})[:, None]
        named = {key: Codes.constant(value, 1) for key, value in {HOSTNAME: name, **labels}.items()}
        return int(self.state.add_nodes([name], column, labels=named)[0])

    def pod(self, name: str, cpu: int = 1000, priority: int = 0, spec: PodSpec | None = None, **labels: str) -> int:
        """Adds a pod that waits; gives its row."""
        request = self.state.schema.vector({"cpu": cpu, "pods": 1})[None]
        named = {key: Codes.constant(value, 1) for key, value in labels.items()}
        specs = None if spec is None else Codes.constant(spec, 1)
        return int(self.state.add_pods([name], request, priority=priority, labels=named, specs=specs)[0])

    def running(self, name: str, node_row: int, cpu: int = 1000, **options: Any) -> int:
        row = self.pod(name, cpu, **options)
        self.state.bind(row, node_row)
        return row

    def said(self) -> list[tuple[str, str]]:
        """(pod, outcome) of each try so far."""
        return [(attempt.pod, attempt.outcome) for attempt in self.scheduler.attempts]

    def times(self, pod: str) -> list[float]:
        """When a pod was tried, in seconds."""
        return [attempt.time_ns / SECOND_NS for attempt in self.scheduler.attempts if attempt.pod == pod]

    def where(self, pod: str) -> str:
        node_row = int(self.state.pod_node[self.state.pod_row(pod)])
        return self.state.node_name(node_row) if node_row >= 0 else ""

    def waits(self, pod: str) -> str:
        """The queue that a pod is in, "" if it doesn't wait."""
        return next((one.queue for one in self.queue.pods() if one.pod.name == pod), "")


@pytest.fixture
def lab() -> Iterator[Callable[..., Lab]]:
    labs: list[Lab] = []

    def make(**options: Any) -> Lab:
        labs.append(Lab(**options))
        return labs[-1]

    yield make
    for one in labs:
        one.state.check()
        waiting = [one.state.pod_name(row) for row in one.state.pending_rows().tolist()]
        one.scheduler.catch_up()
        assert sorted(told.pod.name for told in one.queue.pods()) == sorted(waiting), "the queue has who waits"


def refuse_all(name: str = "picky", *, error: bool = False) -> Any:
    def refuse(feasible: Any) -> None:
        if error:
            raise ValueError("no mood")
        feasible[:] = False

    refuse.__name__ = name
    return filter_plugin(refuse)


# -- whose turn it is ---------------------------------------------------------------------


def test_higher_priority_goes_first_then_who_came_first(lab):
    it = lab()
    it.node("n", cpu=10_000)
    for name, priority in (("a", 0), ("b", 5), ("c", -3), ("d", 5), ("e", 0)):
        it.pod(name, priority=priority)
    assert it.scheduler.run() == 5
    assert it.said() == [(name, "bound") for name in "bdaec"]
    assert it.scheduler.run_once() is None


def test_pods_go_where_the_policy_says(lab):
    it = lab(rule="most-allocated")
    it.node("empty", cpu=4000)
    fuller = it.node("fuller", cpu=4000)
    it.running("old", fuller)
    it.pod("new")
    attempt = it.scheduler.run_once()
    assert (attempt.outcome, attempt.node, attempt.message) == ("bound", "fuller", "")
    assert it.where("new") == "fuller"


def test_a_search_goes_on_where_the_one_of_the_last_pod_ended(lab):
    """Two nodes that will do are enough, in whatever cycle they were tried; the fifth node joins in the middle."""
    it = lab(rule=policy("most-allocated").sampled(1, at_least=2))
    for name in "abcd":
        it.node(name)
    it.pod("1", 100)
    it.pod("2", 100)
    it.scheduler.run()
    assert [it.where("1"), it.where("2")] == ["a", "c"]
    it.pod("3", 500)
    it.scheduler.run()
    it.node("e")
    for name in "45":
        it.pod(name, 10)
    it.scheduler.run()
    # a and b; c and d; then e, and round to a.
    assert [it.where(name) for name in "345"] == ["a", "c", "a"]
    it.pod("large", 5000)
    it.pod("6", 10)
    it.scheduler.run()
    assert it.where("6") == "c"


def test_a_promised_node_is_tried_without_a_search(lab):
    leaving: list[Any] = []
    spreading = replace(policy("least-allocated"), post_filter=policy("kube-default").post_filter)
    it = lab(evict=leaving.append, rule=spreading.sampled(1, at_least=1))
    for row, name in enumerate("abc"):
        it.node(name)
        it.running(f"low-{name}", row, priority=0 if name == "b" else 50)
    it.pod("vip", priority=10)
    it.scheduler.run()
    assert it.said() == [("vip", "preempting")]
    it.state.remove_pods(leaving[0])
    it.state.remove_pods(it.state.pod_row("low-a"))
    it.scheduler.run()
    assert it.where("vip") == "b", "one that will do is enough, and a comes first; but b was promised"
    it.pod("next", 100)
    it.scheduler.run()
    assert it.where("next") == "a"


def test_errors_back_off_for_longer_and_longer(lab):
    it = lab(make_state=Refusing)
    it.node("n")
    it.pod("p")
    it.state.refusals = 6
    it.scheduler.run(until_ns=200 * SECOND_NS)
    # 1, 2, 4, 8, 10 and 10 s from each try; a second counts as over when the next begins.
    assert it.times("p") == [100, 102, 105, 110, 119, 130, 141]
    assert it.said() == [("p", "error")] * 6 + [("p", "bound")]
    assert it.clock.now() == 200 * SECOND_NS


def test_who_backs_off_is_tried_when_nobody_else_waits(lab):
    it = lab()
    it.node("n")
    small = it.running("small", 0, cpu=100)
    it.pod("big")
    it.scheduler.run()
    it.pod("other", cpu=950)
    it.state.finish(small)
    it.scheduler.run()
    assert it.said() == [("big", "unschedulable"), ("other", "bound"), ("big", "unschedulable")]
    assert it.times("big") == [100, 100], "its back-off is cut short"


class Refusing(ClusterState):
    """A state whose binding fails a few times, as an API server's may."""

    refusals = 0

    def bind(self, pod_rows: Any, node_rows: Any, **how: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StateConflict("the API server said: conflict")
        super().bind(pod_rows, node_rows, **how)


def test_a_binding_that_fails_is_told_and_the_others_go_on(lab):
    it = lab(make_state=Refusing)
    it.node("n", cpu=2000)
    it.pod("first")
    it.pod("second")
    it.state.refusals = 1
    assert it.scheduler.run_once().message == "the API server said: conflict"
    assert it.waits("first") == "error"
    assert it.scheduler.run() == 1
    assert it.said() == [("first", "error"), ("second", "bound")]
    it.state.check()
    it.clock.sleep_until(it.scheduler.next_ns())
    assert it.scheduler.run() == 1
    assert it.where("first") == "n"


def test_a_plug_in_that_fails_is_told_and_tried_again(lab):
    it = lab(rule=policy("first-fit").with_filter(refuse_all(error=True)))
    it.node("n")
    it.pod("p")
    it.scheduler.run(until_ns=103 * SECOND_NS)
    assert it.times("p") == [100, 102]
    assert all(one.outcome == "error" and "no mood" in one.message for one in it.scheduler.attempts)


def test_a_fault_ends_the_loop_but_loses_no_pod(lab):
    @dataclass(frozen=True)
    class Broken:
        name: str = "Broken"

        def refuse(self, decision: Any) -> Any:
            raise ZeroDivisionError("a bug")

    it = lab(rule=replace(policy("first-fit"), filters=(Broken(),)))
    it.node("n")
    it.pod("p")
    with pytest.raises(ZeroDivisionError):
        it.scheduler.run()
    assert it.waits("p") == "error"


# -- what lets a pod try again ---------------------------------------------------------------


def test_a_node_that_helps_lets_a_pod_try_again_and_no_other(lab):
    it = lab()
    it.node("n", cpu=500)
    it.pod("p")
    assert it.scheduler.run_once().message == FULL
    it.node("small", cpu=900)
    assert it.scheduler.run() == 0
    assert it.waits("p") == "unschedulable"
    it.node("large", cpu=1000)
    assert it.scheduler.run() == 1
    assert it.where("p") == "large"


@pytest.mark.parametrize(
    ("hindered", "helped"),
    [
        (lambda s: s.set_node_state(0, CORDONED), lambda s: s.set_node_state(0, READY)),
        (lambda s: s.set_node_state(0, NOT_READY), lambda s: s.set_node_state(0, READY)),
        (lambda s: s.update_node(0, taints=(Taint("a"),)), lambda s: s.update_node(0, taints=())),
        (lambda s: s.update_node(0, allocatable=[999, 2**30, 9]), lambda s: s.update_node(0, allocatable=[1000, 1, 1])),
        (lambda s: s.set_foreign(0, [1, 0, 0]), lambda s: s.set_foreign(0, [0, 5, 0])),
        (lambda s: s.update_pod(0, request=[1001, 0, 1]), lambda s: s.update_pod(0, request=[1000, 0, 1])),
    ],
    ids=["uncordoned", "ready", "untainted", "grown", "less foreign usage", "asks for less"],
)
def test_changes_that_help(lab, hindered, helped):
    it = lab()
    it.node("n")
    it.pod("p")
    hindered(it.state)
    assert it.scheduler.run() == 1
    it.state.update_node(0, labels={"colour": "red"})
    it.state.set_foreign(0, it.state.foreign[:, 0])
    assert it.scheduler.run() == 0, "not what it waits for"
    helped(it.state)
    assert it.scheduler.run() == 1
    assert it.said() == [("p", "unschedulable"), ("p", "bound")]


@pytest.mark.parametrize("end", ["finish", "remove_pods", "unbind"])
def test_room_that_a_pod_leaves(lab, end):
    it = lab()
    it.node("n")
    old = it.running("old", 0)
    it.pod("new")
    assert it.scheduler.run_once().outcome == "unschedulable"
    it.clock.advance(20)
    getattr(it.state, end)(old)
    it.scheduler.run()
    # An evicted pod came last, and is active; one whose back-off is over is active again from when it came.
    assert it.where("new") == "n"
    assert it.waits("old") == ("unschedulable" if end == "unbind" else "")


def test_a_pod_near_which_another_wants_to_be(lab):
    near = PodSpec(affinity=(PodTerm(HOSTNAME, (Requirement("app", "In", ("db",)),), ("default",)),))
    it = lab()
    for name in ("a", "b", "c"):
        it.node(name)
    it.pod("web", cpu=100, spec=near)
    assert it.scheduler.run_once().message == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    it.pod("cache", cpu=100, app="cache")
    it.pod("db", cpu=100, app="db")
    it.scheduler.run()
    assert it.said()[1:] == [("cache", "bound"), ("db", "bound"), ("web", "bound")]
    assert it.where("web") == it.where("db")


def test_a_pod_that_names_its_node_waits_for_it(lab):
    named = NodeTerm(fields=(Requirement("metadata.name", "In", ("mine",)),))
    it = lab()
    it.node("other")
    it.pod("p", spec=PodSpec(node_required=(named,)))
    told = "0/1 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    assert it.scheduler.run_once().message == told
    it.node("another")
    assert it.scheduler.run() == 0
    it.node("mine")
    it.scheduler.run()
    assert it.where("p") == "mine"


def test_gates_hold_a_pod_until_the_last_is_gone(lab):
    it = lab()
    it.node("n")
    row = it.pod("p", spec=PodSpec(gates=("quota", "image")))
    assert it.scheduler.run() == 0
    (told,) = it.scheduler.attempts
    assert (told.outcome, told.message) == ("gated", "waiting for scheduling gates: [quota image]")
    it.state.update_pod(row, spec=PodSpec(gates=("image",)))
    assert it.scheduler.run() == 0
    it.state.update_pod(row, spec=PodSpec())
    assert it.scheduler.run() == 1
    assert it.where("p") == "n"


def test_five_minutes_are_enough(lab):
    it = lab()
    it.node("n", cpu=500)
    it.pod("p")
    it.scheduler.run()
    assert it.scheduler.next_ns() == 430 * SECOND_NS
    it.scheduler.run(until_ns=900 * SECOND_NS)
    # Looked at every 30 s from the start of the queue on, for those that wait for more than 300 s.
    assert it.times("p") == [100, 430, 760]


def test_without_nodes_a_pod_backs_off(lab):
    it = lab()
    it.pod("p")
    attempt = it.scheduler.run_once()
    assert (attempt.outcome, attempt.message) == ("unschedulable", "no nodes available to schedule pods")
    assert it.waits("p") == "error"
    it.node("n")
    assert it.scheduler.run() == 0, "nothing refused it, so nothing can help but time"
    it.scheduler.run(until_ns=102 * SECOND_NS)
    assert it.where("p") == "n"


# -- what it hears --------------------------------------------------------------------------


def heard(it: Lab) -> list[Event]:
    it.queue.heard.clear()
    it.scheduler.catch_up()
    return list(it.queue.heard)


def test_each_change_is_one_event_told_once(lab):
    it = lab()
    first, second = it.node("first"), it.node("second", cpu=1)
    runs = it.running("runs", first, cpu=10, app="web")
    it.pod("waits", cpu=5000)
    it.scheduler.run()
    assert heard(it) == []

    it.state.set_node_state(second, CORDONED)
    (cordoned,) = heard(it)
    assert isinstance(cordoned, NodeUpdated)
    assert (cordoned.before.unschedulable, cordoned.after.unschedulable) == (False, True)
    it.state.remove_node(second)
    (gone,) = heard(it)
    assert isinstance(gone, NodeDeleted)
    assert gone.node == cordoned.after
    third = it.node("third", cpu=1)
    (came,) = heard(it)
    assert isinstance(came, NodeAdded)
    assert came.node.name == "third"

    it.state.update_pod(runs, request=[5, 0, 1], labels={"app": "db"})
    (changed,) = heard(it)
    assert isinstance(changed, PodUpdated)
    assert (changed.before.requests["cpu"], changed.after.requests["cpu"]) == (10, 5)
    assert (changed.before.labels, changed.after.labels) == ({"app": "web"}, {"app": "db"})
    it.state.unbind(runs)
    it.state.bind(runs, third, force=True)
    left, arrived = heard(it)
    assert (type(left), left.pod) == (PodDeleted, changed.after)
    assert (type(arrived), arrived.pod) == (PodAdded, replace(changed.after, node="third"))
    it.state.set_foreign(first, [7, 0, 0])
    assert heard(it) == []
    it.state.set_foreign(first, [3, 0, 0])
    (freed,) = heard(it)
    assert (freed.pod.node, freed.pod.requests["cpu"]) == ("first", 4)
    assert heard(it) == []


def test_what_changed_back_is_no_news(lab):
    it = lab()
    it.node("n")
    runs = it.running("runs", 0)
    it.pod("waits")
    it.scheduler.run()
    it.state.set_node_state(0, CORDONED)
    it.state.set_node_state(0, READY)
    it.state.unbind(runs)
    it.state.bind(runs, 0)
    brief = it.node("brief")
    it.state.remove_node(brief)
    it.state.remove_pods(it.pod("brief"))
    told = len(it.queue.pods_told)
    assert heard(it) == []
    assert len(it.queue.pods_told) == told


def test_what_it_did_itself_it_tells_once(lab):
    it = lab()
    it.node("n")
    it.pod("waits", cpu=9000, priority=1)
    it.pod("p")
    it.scheduler.run()
    it.scheduler.catch_up()
    (bound,) = it.queue.heard
    assert (type(bound), bound.pod.name, bound.pod.node) == (PodAdded, "p", "n")
    assert it.queue.pods_told == [("add", "waits"), ("add", "p")]


def test_a_pod_that_somebody_else_binds_removes_or_renames_leaves_the_queue(lab):
    it = lab()
    it.node("n", cpu=2000)
    rows = [it.pod(name, cpu=9000) for name in ("bound", "removed", "moved", "leaving", "failed")]
    it.scheduler.run()
    it.state.bind(rows[0], 0, force=True)
    it.state.remove_pods(rows[1])
    it.state.update_pod(rows[2], namespace="elsewhere")
    it.state.set_leaving(rows[3], LEAVING.index("deleted"))
    it.state.set_phase(rows[4], FAILED)
    it.queue.pods_told.clear()
    it.scheduler.run()
    gone = [("delete", name) for name in ("bound", "removed", "moved", "leaving", "failed")]
    assert it.queue.pods_told == [*gone, ("add", "moved")]
    assert [(one.pod.name, one.pod.namespace) for one in it.queue.pods()] == [("moved", "elsewhere")]
    it.state.remove_pods(rows[3])


def test_a_pod_that_was_replaced_by_one_of_its_name_is_another(lab):
    it = lab()
    it.node("n", cpu=500)
    old = it.pod("p")
    it.scheduler.run()
    it.state.remove_pods(old)
    new = it.pod("p", cpu=500)
    it.scheduler.run()
    assert int(it.state.pod_node[new]) == 0


def test_it_begins_with_what_is_there(lab):
    it = lab()
    it.node("n", cpu=3000)
    it.running("before", 0)
    it.state.finish(it.running("ended", 0))
    promised = it.pod("promised")
    it.state.nominate(promised, 0)
    it.pod("p")
    it.scheduler.run()
    assert it.said() == [("promised", "bound"), ("p", "bound")]
    assert it.queue.heard == [PodAdded(it.queue.heard[0].pod)], "of its own binding, while somebody waited"


def test_a_promise_ends_where_the_pod_had_a_node(lab):
    it = lab(rule="best-fit")
    it.node("n")
    promised = it.pod("promised", cpu=5000)
    it.state.nominate(promised, 0)
    it.scheduler.run()
    assert [one.pod.nominated for one in it.queue.pods()] == ["n"]
    it.state.bind(promised, 0, force=True)
    it.state.unbind(promised)
    it.scheduler.catch_up()
    assert [one.pod.nominated for one in it.queue.pods()] == [""]


def test_objects_that_change_are_seen(lab):
    it = lab()
    it.node("n", cpu=5000)
    for name in "abcde":
        it.pod(name)
    it.scheduler.run_once()
    it.scheduler.run_once()  # on a snapshot that the third could share
    it.state.set_objects(ApiObjects(namespaces={"default": {"team": "x"}}))
    judged: list[ApiObjects] = []
    look = it.state.node_columns
    it.state.node_columns = lambda: (judged.append(it.state.objects), look())[1]
    it.scheduler.run_once()
    assert judged[-1] is it.state.objects


# -- preemption --------------------------------------------------------------------------------


def test_a_victim_goes_and_the_preemptor_gets_its_node(lab):
    it = lab()
    it.node("n")
    low = it.running("low", 0)
    it.pod("vip", priority=1)
    attempt = it.scheduler.run_once()
    assert (attempt.outcome, attempt.node, attempt.victims) == ("preempting", "n", ("low",))
    assert attempt.message == FULL
    assert not it.state.pod_alive[low]
    assert it.waits("vip") == "unschedulable", "until the deletion is heard of"
    assert it.scheduler.run() == 1
    assert it.where("vip") == "n"
    verbs = [(one.verb, one.value) for one in it.state.changes(0)]
    assert verbs[-4:] == [("NOMINATED", 0), ("LEAVING", PREEMPTED), ("POD_REMOVED", 0), ("BOUND", 0)]


@pytest.mark.parametrize("priority", [10, 3])
def test_a_promised_node_is_kept_for_the_preemptor(lab, priority):
    leaving: list[Any] = []
    it = lab(evict=leaving.append)
    it.node("n")
    low = it.running("low", 0)
    it.pod("vip", priority=10)
    it.scheduler.run()
    assert [rows.tolist() for rows in leaving] == [[low]]
    assert it.said() == [("vip", "preempting")]
    it.clock.advance(5)
    it.pod("rival", priority=priority)
    it.scheduler.run()
    assert it.said()[1:] == [("rival", "unschedulable")]
    it.clock.advance(25)
    it.state.remove_pods(leaving[0])
    it.pod("late", priority=priority)
    it.scheduler.run()
    assert it.where("vip") == "n"
    assert {it.where("rival"), it.where("late")} == {""}


def test_a_more_important_pod_takes_the_promised_node(lab):
    leaving: list[Any] = []
    it = lab(evict=leaving.append)
    it.node("n")
    it.running("low", 0)
    it.pod("vip", priority=10)
    it.scheduler.run()
    it.pod("boss", priority=20)
    it.scheduler.run()
    assert it.said() == [("vip", "preempting"), ("boss", "preempting"), ("vip", "unschedulable")]
    assert len(leaving) == 1, "who leaves already isn't told again"
    assert [one.pod.nominated for one in it.queue.pods() if one.pod.name == "vip"] == [""]
    it.state.remove_pods(leaving[0])
    it.scheduler.run()
    assert (it.where("boss"), it.where("vip")) == ("n", "")


def test_promises_of_other_nodes_stand(lab):
    it = lab(evict=lambda rows: None)
    for row in (it.node("a"), it.node("b")):
        it.running(f"low-{row}", row)
    for name, priority in (("vip-0", 10), ("vip-1", 10), ("boss", 20)):
        it.pod(name, priority=priority)
        it.scheduler.run()
    promised = it.state.node_columns().nominated
    assert sorted(promised.node_rows.tolist()) == [0, 1]
    assert "boss" in list(promised.pods.names)


def test_an_error_takes_the_promise_back(lab):
    leaving: list[Any] = []
    it = lab(evict=leaving.append, make_state=Refusing)
    it.node("n")
    it.running("low", 0)
    it.pod("vip", priority=10)
    it.scheduler.run()
    it.state.remove_pods(leaving[0])
    it.state.refusals = 1
    it.scheduler.run()
    assert it.said() == [("vip", "preempting"), ("vip", "error")]
    assert it.state.node_columns().nominated is None


def test_while_victims_end_no_others_are_asked(lab):
    leaving: list[Any] = []
    it = lab(evict=leaving.append)
    for row in (it.node("a"), it.node("b")):
        it.running(f"low-{row}", row)
    it.pod("vip", priority=10)
    it.scheduler.run()
    it.scheduler.run(until_ns=500 * SECOND_NS)
    assert it.said() == [("vip", "preempting"), ("vip", "unschedulable")]
    assert len(leaving) == 1
    assert [one.pod.nominated for one in it.queue.pods()] == ["a"], "the promise stands"


def test_the_promised_node_goes_before_better_ones_once_there_is_room(lab):
    leaving: list[Any] = []
    spreading = replace(policy("least-allocated"), post_filter=policy("kube-default").post_filter)
    it = lab(evict=leaving.append, rule=spreading)
    it.node("n", cpu=2000)
    it.running("stays", 0, priority=50)
    it.running("low", 0)
    it.pod("vip", priority=10)
    it.scheduler.run()
    it.state.remove_pods(leaving[0])
    it.node("better", cpu=64_000)
    it.scheduler.run()
    assert it.where("vip") == "n"


def test_another_node_is_taken_while_the_promised_one_is_full(lab):
    it = lab(evict=lambda rows: None)
    it.node("n")
    it.running("low", 0)
    it.pod("vip", priority=10)
    it.scheduler.run()
    it.node("new")
    it.scheduler.run()
    assert it.where("vip") == "new"
    assert it.state.node_columns().nominated is None


def test_budgets_decide_where_victims_are(lab):
    it = lab()
    for row, app in ((it.node("guarded"), "db"), (it.node("free"), "web")):
        it.running(f"low-{app}", row, app=app)
    budget = DisruptionBudget("default", "db", (Requirement("app", "In", ("db",)),), allowed=0)
    it.state.set_objects(ApiObjects(budgets=(budget,)))
    it.pod("vip", priority=10)
    it.scheduler.run()
    assert it.said() == [("vip", "preempting"), ("vip", "bound")]
    assert (it.where("vip"), it.where("low-db")) == ("free", "guarded")


def test_who_may_not_preempt_waits(lab):
    it = lab()
    it.node("n")
    it.running("low", 0)
    it.pod("meek", priority=10, spec=PodSpec(may_preempt=False))
    it.pod("equal")
    it.scheduler.run()
    assert it.said() == [("meek", "unschedulable"), ("equal", "unschedulable")]
    assert it.where("low") == "n"


def test_without_a_post_filter_nobody_preempts(lab):
    it = lab(rule="best-fit")
    it.node("n")
    it.running("low", 0)
    it.pod("vip", priority=10)
    assert it.scheduler.run_once().outcome == "unschedulable"
    assert it.where("low") == "n"


def test_a_promise_is_taken_back_when_preemption_can_no_longer_help(lab):
    leaving: list[Any] = []
    it = lab(evict=leaving.append)
    it.node("n")
    it.running("low", 0)
    it.pod("vip", priority=10)
    it.scheduler.run()
    it.state.remove_pods(leaving[0])
    it.running("static", 0, priority=100)
    it.scheduler.run()
    # Once more because a promise that is taken back makes room, as kube-scheduler sees it.
    assert it.said() == [("vip", "preempting"), ("vip", "unschedulable"), ("vip", "unschedulable")]
    assert it.state.node_columns().nominated is None


def test_victims_that_refuse_to_leave_are_an_error(lab):
    def refuse(rows: Any) -> None:
        raise StateConflict("the API server said: no")

    it = lab(evict=refuse)
    it.node("n")
    it.running("low", 0)
    it.pod("vip", priority=10)
    attempt = it.scheduler.run_once()
    assert (attempt.outcome, attempt.message, attempt.victims) == ("error", "the API server said: no", ("low",))
    assert it.waits("vip") == "active", "it may try again at once"
    assert it.where("low") == "n"


def test_a_plug_in_that_fails_in_the_dry_run_is_an_error(lab):
    asked: list[int] = []

    def moody(feasible: Any) -> None:
        asked.append(len(feasible))
        if len(asked) > 1:
            raise ValueError("no mood")
        feasible[:] = False

    it = lab(rule=policy("kube-default").with_filter(filter_plugin(moody)))
    it.node("n", cpu=2000)
    it.running("low", 0)
    it.pod("vip", priority=10)
    assert it.scheduler.run_once().outcome == "error"
    assert it.where("low") == "n"
    assert it.waits("vip") == "error"


# -- policies and seeds -----------------------------------------------------------------------


def test_a_policy_that_overcommits_may(lab):
    it = lab(rule=policy("first-fit").without("NodeResourcesFit"))
    it.node("n")
    it.pod("a", cpu=800)
    it.pod("b", cpu=800)
    it.scheduler.run()
    assert it.state.requested[0, 0] == 1600
    with pytest.raises(NotEnoughCapacity):
        it.state.bind(it.pod("c"), 0)


def test_what_users_filters_refuse_any_event_may_help(lab):
    it = lab(rule=policy("first-fit").with_filter(refuse_all()))
    it.node("n")
    it.pod("p")
    assert it.scheduler.run() == 1
    it.state.update_node(0, labels={"colour": "red"})
    assert it.scheduler.run() == 1
    assert [one.rejected_by for one in it.queue.pods()] == [("picky",)]


def filled(seed: int = 0) -> Lab:
    """A run that has everything: ties, priorities, pods that end and nodes that come and go."""
    it = Lab(seed=seed)
    for number in range(8):
        it.node(f"n{number}", cpu=4000)
    rng = np.random.default_rng(3)
    for _ in range(6):
        for _ in range(10):
            it.pod(f"p{it.state.pod_count}", int(rng.integers(1, 6)) * 500, int(rng.integers(0, 4)))
        it.scheduler.run(until_ns=it.clock.now() + 7 * SECOND_NS)
        running = np.flatnonzero(it.state.pod_node >= 0)
        it.state.finish(rng.choice(running, len(running) // 3, replace=False))
        it.state.set_node_state(int(rng.integers(8)), int(rng.choice([READY, CORDONED])))
    it.scheduler.run(until_ns=it.clock.now() + 60 * SECOND_NS)
    it.state.check()
    return it


def test_a_run_is_a_function_of_its_seed():
    frame = filled().scheduler.to_frame()
    assert set(frame["outcome"]) == {"bound", "unschedulable", "preempting"}
    assert frame.to_csv().encode() == filled().scheduler.to_frame().to_csv().encode()
    assert not frame.equals(filled(seed=1).scheduler.to_frame())
    check_frame("scheduling_attempts", frame)


def test_ties_are_drawn_by_the_seed(lab):
    frames = []
    for seed in (0, 0, 1):
        it = lab(seed=seed)
        for number in range(4):
            it.node(f"n{number}", cpu=8000)
        for number in range(20):
            it.pod(f"p{number}")
        it.scheduler.run()
        frames.append(it.scheduler.to_frame())
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])


def test_a_seed_that_is_none():
    clock = VirtualClock()
    with pytest.raises(InputError, match="seed"):
        QueuedScheduler(ClusterState(), "kube-default", SchedulingQueue(clock), clock, seed=-1)


# -- against one snapshot a pod -----------------------------------------------------------------

APP = PodTerm(HOSTNAME, (Requirement("app", "In", ("a",)),), ("default",))
SPECS = (
    None, PodSpec(anti_affinity=(APP,)), PodSpec(affinity=(APP,)), PodSpec(ports=(HostPort(80),)),
    PodSpec(gates=("g",)), PodSpec(far_preferred=((5, APP),)), PodSpec(node_name="n1"),
)  # fmt: skip
POD = st.tuples(st.sampled_from([0, 300, 600]), st.integers(0, 3), st.sampled_from(SPECS), st.sampled_from("ab"))
DEED = st.one_of(
    st.tuples(st.just("pods"), st.lists(POD, min_size=1, max_size=6)),
    st.tuples(st.just("node"), st.sampled_from([500, 1000])),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("unbind"), st.integers(0, 30)),
    st.tuples(st.just("ungate"), st.integers(0, 30)),
    st.tuples(st.just("cordon"), st.integers(0, 30)),
    st.tuples(st.just("sleep"), st.integers(1, 400)),
    st.tuples(st.just("tries"), st.integers(1, 3)),
)


def do(it: Lab, deed: str, what: Any) -> None:
    state = it.state
    running, waiting = np.flatnonzero(state.pod_node >= 0), state.pending_rows()
    match deed:
        case "pods":
            for cpu, priority, spec, app in what:
                it.pod(f"p{state.pod_count}", cpu, priority, spec, app=app)
        case "node":
            it.node(f"n{state.node_count}", cpu=what)
        case "end" | "unbind" if len(running):
            (state.finish if deed == "end" else state.unbind)(int(running[what % len(running)]))
        case "ungate" if len(waiting):
            state.update_pod(int(waiting[what % len(waiting)]), spec=PodSpec())
        case "cordon" if state.node_count:
            node = what % state.node_count
            state.set_node_state(node, READY if state.node_state[node] == CORDONED else CORDONED)
        case "sleep":
            it.scheduler.run(until_ns=it.clock.now() + what * SECOND_NS)
        case "tries":
            for _ in range(what):
                it.scheduler.run_once()


@given(deeds=st.lists(DEED, max_size=12))
def test_sharing_a_snapshot_decides_nothing(deeds):
    frames = []
    with pytest.MonkeyPatch.context() as patch:
        for shared in (1, 1024):
            patch.setattr(queued_scheduler, "_SHARED", shared)
            it = Lab()
            it.node("n0")
            for deed, what in (*deeds, ("sleep", 20)):
                do(it, deed, what)
                it.state.check()
            frames.append(it.scheduler.to_frame().to_csv())
            waiting = [it.state.pod_name(row) for row in it.state.pending_rows().tolist()]
            assert sorted(one.pod.name for one in it.queue.pods()) == sorted(waiting)
    assert frames[0] == frames[1]


def test_pods_that_go_one_after_another_share_a_snapshot(lab):
    it = lab()
    it.node("n", cpu=10**6, pods=1000)
    for number in range(200):
        it.pod(f"p{number}", cpu=1, priority=number % 3)
    looks: list[int] = []
    look = it.state.node_columns
    it.state.node_columns = lambda: (looks.append(1), look())[1]
    it.scheduler.run()
    assert len(it.scheduler.attempts) == 200
    assert len(looks) < 20, "so many snapshots were taken"


# -- clocks, threads, people ------------------------------------------------------------------------


def test_it_is_the_same_by_the_wall_clock(lab):
    it = lab(clock=WallClock(), make_state=Refusing)
    it.node("n")
    it.running("low", 0)
    it.pod("vip", priority=10)
    it.state.refusals = 1
    began = it.clock.now()
    it.scheduler.run(until_ns=began + 3 * SECOND_NS)
    assert it.said() == [("vip", "preempting"), ("vip", "error"), ("vip", "bound")]
    took = it.clock.now() - began
    assert 3 * SECOND_NS <= took < 10 * SECOND_NS
    assert 1 <= it.times("vip")[2] - it.times("vip")[1] <= 3


def test_others_may_change_the_state_meanwhile(lab):
    it = lab(clock=WallClock())
    it.node("n", cpu=100_000, pods=1000)

    def others() -> None:
        for number in range(100):
            row = it.pod(f"p{number}", cpu=10)
            if number % 3 == 0:
                it.state.remove_pods(row)

    thread = threading.Thread(target=others)
    thread.start()
    while thread.is_alive():
        it.scheduler.run()
    thread.join()
    it.scheduler.run()
    it.scheduler.catch_up()
    assert len(it.state.pending_rows()) == 0
    assert int((it.state.pod_node >= 0).sum()) == 66


def test_the_record_is_a_frame_and_a_page(lab):
    it = lab()
    assert repr(it.scheduler) == "<QueuedScheduler kube-default: no pod tried>"
    check_frame("scheduling_attempts", it.scheduler.to_frame())
    assert len(it.scheduler.to_frame()) == 0
    it.node("n")
    for name in ("low", "<b>"):
        it.running(name, 0, cpu=500)
    it.pod("vip", priority=10)
    it.pod("big", cpu=5000, spec=PodSpec(gates=("g",)))
    it.scheduler.run()
    frame = it.scheduler.to_frame()
    check_frame("scheduling_attempts", frame)
    assert frame["outcome"].tolist() == ["gated", "preempting", "bound"]
    assert frame["node"].isna().tolist() == [True, False, False]
    assert frame["node"].tolist()[1:] == ["n", "n"]
    assert sorted(frame["victims"][1].split(", ")) == ["<b>", "low"]
    page = it.scheduler._repr_html_()
    assert "1 bound, 1 preempting, 1 gated" in page
    assert "&lt;b&gt;" in page
    assert "<b>, low" not in page


def test_the_page_shows_the_last_tries(lab):
    it = lab()
    it.node("n", cpu=10**6, pods=100)
    for number in range(25):
        it.pod(f"p{number}")
    it.scheduler.run()
    page = it.scheduler._repr_html_()
    assert "and 5 before" in page
    assert "default/p24<" in page
    assert "default/p4<" not in page


# -- what the loop needs of a state ---------------------------------------------------------------


def test_the_state_is_an_adapter_of_the_port():
    assert isinstance(ClusterState(), ClusterStatePort)


def test_changes_are_told_from_where_one_left_off(lab):
    it = lab()
    it.node("a")
    it.pod("p")
    read = len(it.state.changes(0))
    it.state.bind(0, 0)
    it.state.set_node_state(0, CORDONED)
    bound, cordoned = it.state.changes(read)
    assert (bound.verb, bound.pod_rows.tolist(), bound.node_rows.tolist()) == ("BOUND", [0], [0])
    assert (cordoned.verb, cordoned.pod_rows.tolist(), cordoned.value) == ("NODE_STATE", [-1], CORDONED)
    assert bound.time_ns == it.clock.now()
    assert it.state.changes(read + 2) == []


@pytest.mark.parametrize("end", ["finish", "remove_pods"])
def test_who_is_gone_was_promised_nothing(lab, end):
    it = lab()
    it.node("n")
    row = it.pod("p")
    it.state.nominate(row, 0)
    it.state.check()
    getattr(it.state, end)(row)
    assert it.state.node_columns().nominated is None


def test_pods_get_the_devices_that_the_policy_chose(lab):
    it = lab(rule="fgd-random", seed=5, make_state=partial(ClusterState, ResourceSchema.of(["gpu"])))
    node = it.state.schema.vector({"cpu": 1000, "memory": 2**30, "pods": 99, "gpu": 4000})
    it.state.add_nodes(["n"], node[:, None])
    pods = it.state.add_pods([f"p{i}" for i in range(20)], [it.state.schema.vector({"pods": 1, "gpu": 100})] * 20)
    chosen = policy("fgd-random").place(it.state.node_columns(), it.state.pod_columns(pods), seed=5).devices
    it.scheduler.run()
    assert it.state.pod_devices.amounts.tolist() == chosen.tolist()
    assert (chosen.sum(axis=0) > 0).all(), "the state's own rule would have filled one"
