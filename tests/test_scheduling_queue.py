"""The scheduling queue: its rules by hand, its hints as tables, and the whole against an obvious twin."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab import Cluster, Workload
from k8slab.analysis.frames import check_frame
from k8slab.application import SchedulingQueue
from k8slab.domain.columns import Taint, Toleration
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.pod_spec import HostPort, NodeTerm, PodSpec, PodTerm, Requirement, SpreadConstraint
from k8slab.domain.ports import SchedulingQueuePort
from k8slab.domain.queueing import (
    Backoff,
    NodeAdded,
    NodeDeleted,
    NodeInfo,
    NodeUpdated,
    PodAdded,
    PodDeleted,
    PodInfo,
    PodUpdated,
    hint,
    in_tree_hints,
    node_info,
    pod_info,
)
from k8slab.errors import InputError, StateConflict
from k8slab.infrastructure.clocks import VirtualClock, WallClock
from tests.naive_queue import NaiveQueue

FIT = ("NodeResourcesFit",)
ROOM = NodeAdded(NodeInfo("new", allocatable={"cpu": 8000, "pods": 10}))
FREED = PodDeleted(PodInfo("gone", node="n"))


def queue_at(seconds: float = 100.0, **options) -> tuple[SchedulingQueue, VirtualClock]:
    clock = VirtualClock(round(seconds * SECOND_NS))
    return SchedulingQueue(clock, **options), clock


def with_refused(*pods: PodInfo, rejected_by=FIT, seconds: float = 100.0) -> tuple[SchedulingQueue, VirtualClock]:
    queue, clock = queue_at(seconds)
    for pod in pods:
        queue.add(pod)
        queue.requeue_unschedulable(queue.pop(), rejected_by)
    return queue, clock


def popped(queue: SchedulingQueue) -> list[str]:
    names = []
    while (pod := queue.pop()) is not None:
        names.append(pod.name)
    return names


def place(queue: SchedulingQueue, pod: PodInfo) -> str:
    return queue.get(pod).queue


def gated(*gates: str, name: str = "p") -> PodInfo:
    return PodInfo(name, spec=PodSpec(gates=gates))


# -- the port ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [SchedulingQueue, NaiveQueue])
@pytest.mark.parametrize("clock", [VirtualClock(), WallClock()], ids=["virtual", "wall"])
def test_queues_keep_the_contract(make, clock):
    queue = make(clock)
    assert isinstance(queue, SchedulingQueuePort)
    assert (queue.pop(), queue.next_flush_ns()) == (None, None)
    first, second = PodInfo("first"), PodInfo("second", priority=1)
    queue.add(first)
    queue.add(second)
    with pytest.raises(StateConflict):
        queue.add(first)
    with pytest.raises(StateConflict):
        queue.done(first)
    assert queue.pop() == second
    assert queue.requeue_unschedulable(second, ["TaintToleration"]) == "unschedulable"
    with pytest.raises(StateConflict):
        queue.requeue_error(second)
    assert queue.next_flush_ns() > clock.now()
    assert queue.pop() == first
    assert queue.pop() is None
    assert queue.requeue_error(first) == "error"
    assert queue.pop() is None
    assert queue.move_on(ROOM) == 1
    assert queue.pop() == second
    queue.done(second)
    assert queue.activate(first)
    assert not queue.activate(first)
    assert queue.pop() == first
    assert queue.delete(first)
    assert not queue.delete(first)
    assert queue.requeue_unschedulable(first, FIT) == "gone"
    assert queue.update(first) == "active"
    assert queue.delete(first)
    assert queue.pop() is None


# -- who goes first -----------------------------------------------------------------


def test_higher_priority_goes_first_then_the_longer_wait_then_the_earlier_arrival():
    queue, clock = queue_at()
    for name, priority in (("a", 0), ("b", 5), ("c", -3), ("d", 5), ("e", 0)):
        queue.add(PodInfo(name, priority=priority))
    clock.advance(1)
    queue.add(PodInfo("late", priority=5))
    assert popped(queue) == ["b", "d", "late", "a", "e", "c"]


def test_who_comes_back_goes_behind_those_of_his_priority():
    queue, clock = queue_at()
    queue.add(PodInfo("a"))
    queue.add(PodInfo("b"))
    queue.requeue_unschedulable(queue.pop(), FIT)
    queue.move_on(FREED)
    queue.add(PodInfo("c"))
    clock.advance(10)  # its second of back-off is over
    queue.add(PodInfo("d"))
    assert popped(queue) == ["b", "a", "c", "d"]


def test_int32_is_the_range_of_priorities():
    queue, _ = queue_at()
    for priority in (-(2**31), 0, 2**31 - 1):
        queue.add(PodInfo(str(priority), priority=priority))
    for _ in range(3):
        queue.requeue_unschedulable(queue.pop(), FIT)
    queue.move_on(FREED)
    assert popped(queue) == ["2147483647", "0", "-2147483648"]
    with pytest.raises(InputError, match="pod shop/web: priority is 2147483648, wanted an int32"):
        PodInfo("web", "shop", priority=2**31)


def test_a_change_of_priority_counts_at_once():
    queue, _ = queue_at()
    a, b = PodInfo("a", priority=1), PodInfo("b")
    queue.add(a)
    queue.add(b)
    for priority in (3, 1, 3):  # back and forth leaves stale places in the heap
        assert queue.update(replace(b, priority=priority)) == "active"
    assert popped(queue) == ["b", "a"]


# -- back-off ------------------------------------------------------------------------


def test_refusals_and_errors_are_counted_apart():
    queue, clock = queue_at(100.5)
    pod = PodInfo("p")
    queue.add(pod)

    def seconds_until_try(requeue) -> float:
        """From coming back to the flush that lets it go, with nobody there to pop it early."""
        came_back = clock.now()
        requeue()
        queue.move_on(ROOM)  # takes it from the pool to the back-off; nothing if it erred
        clock.sleep_until(queue.next_flush_ns())
        assert place(queue, pod) in ("backoff", "error", "active")
        assert queue.pop() == pod
        return (clock.now() - came_back) / SECOND_NS

    def refuse() -> None:
        queue.requeue_unschedulable(pod, FIT)

    def err() -> None:
        queue.requeue_error(pod)

    assert queue.pop() == pod
    # The wait ends in the second that holds it, and the flush comes after that second: 100.5 + 1 -> 102.
    assert seconds_until_try(refuse) == 1.5
    assert seconds_until_try(refuse) == 3.0  # now from whole seconds: n seconds, and the rest of the last
    assert seconds_until_try(refuse) == 5.0
    assert seconds_until_try(err) == 2.0  # the first error in a row, whatever came before
    assert seconds_until_try(err) == 3.0
    assert seconds_until_try(refuse) == 9.0  # the fourth refusal
    assert seconds_until_try(err) == 2.0  # a refusal forgave the errors
    assert seconds_until_try(refuse) == 11.0
    assert seconds_until_try(refuse) == 11.0
    standing = queue.get(pod)
    assert (standing.attempts, standing.unschedulable, standing.errors) == (10, 6, 0)


def test_backoff_leaves_in_whole_seconds_after_the_one_it_ends_in():
    pod = PodInfo("p")
    queue, clock = with_refused(pod, seconds=100.9)
    queue.move_on(FREED)
    assert place(queue, pod) == "backoff"
    assert queue.get(pod).next_try_ns == queue.next_flush_ns() == 102 * SECOND_NS
    clock.sleep_until(102 * SECOND_NS - 1)
    assert queue.flush() == 0
    clock.sleep_until(102 * SECOND_NS)
    assert queue.flush() == 1
    assert (place(queue, pod), queue.next_flush_ns()) == ("active", None)


def test_with_nobody_active_the_backoff_queue_is_popped_before_its_time():
    queue, clock = with_refused(PodInfo("low"), seconds=100.1)
    clock.advance(0.5)
    queue.add(PodInfo("high", priority=9))
    queue.requeue_unschedulable(queue.pop(), FIT)
    queue.move_on(FREED)
    queue.add(PodInfo("fresh", priority=-1))
    # Both end in second 101, so priority decides among them, and the active one goes before both.
    assert popped(queue) == ["fresh", "high", "low"]


def test_an_earlier_second_goes_before_a_higher_priority():
    queue, clock = with_refused(PodInfo("low"), seconds=100.9)
    clock.advance(0.2)
    queue.add(PodInfo("high", priority=9))
    queue.requeue_unschedulable(queue.pop(), FIT)
    queue.move_on(FREED)
    assert popped(queue) == ["low", "high"]


def test_who_erred_is_never_popped_before_its_time():
    queue, clock = queue_at()
    queue.add(PodInfo("p"))
    assert queue.requeue_error(queue.pop()) == "error"
    assert queue.pop() is None
    clock.advance(1.999)
    assert queue.pop() is None
    clock.advance(0.001)
    assert queue.pop().name == "p"


def test_a_pod_whose_backoff_is_over_goes_straight_to_the_active():
    queue, clock = with_refused(PodInfo("p"))
    clock.advance(1.999)
    assert queue.move_on(FREED) == 1
    assert place(queue, PodInfo("p")) == "backoff"
    queue, clock = with_refused(PodInfo("p"))
    clock.advance(2)
    assert queue.move_on(FREED) == 1
    assert place(queue, PodInfo("p")) == "active"


def test_without_backoff_errors_come_back_at_once():
    queue, _ = queue_at(backoff=Backoff(max_ns=0))
    queue.add(PodInfo("p"))
    assert queue.requeue_error(queue.pop()) == "active"


def test_backoff_with_other_bounds():
    backoff = Backoff(3 * SECOND_NS, 20 * SECOND_NS)
    assert [backoff.duration_ns(n) // SECOND_NS for n in (0, 1, 2, 3, 4, 500)] == [0, 3, 6, 12, 20, 20]


# -- the pool ---------------------------------------------------------------------------


def test_the_pool_is_left_at_the_first_half_minute_after_five():
    queue, clock = with_refused(PodInfo("p"), seconds=107.25)
    clock.sleep_until(round(407.25 * SECOND_NS))  # five minutes to the nanosecond are not over five
    assert queue.flush() == 0
    assert queue.next_flush_ns() == round(437.25 * SECOND_NS)  # every 30 s from the queue's start
    clock.sleep_until(round(437.25 * SECOND_NS) - 1)
    assert queue.flush() == 0
    clock.advance(1e-9)
    assert queue.flush() == 1
    assert popped(queue) == ["p"]


def test_a_late_look_finds_what_a_timely_one_would_have():
    queue, clock = with_refused(PodInfo("old"))
    clock.advance(20)
    queue.add(PodInfo("young"))
    queue.requeue_unschedulable(queue.pop(), FIT)
    clock.sleep_until(445 * SECOND_NS)  # young waits for 325 s, but only 310 at the last look
    assert queue.counts()["unschedulable"] == 2  # nothing looked yet
    assert queue.flush() == 2
    queue, clock = with_refused(PodInfo("old"))
    clock.advance(31)
    queue.add(PodInfo("young"))
    queue.requeue_unschedulable(queue.pop(), FIT)
    clock.sleep_until(459 * SECOND_NS)  # 328 s, but 299 at the last look, at 430
    assert queue.flush() == 1
    assert place(queue, PodInfo("young")) == "unschedulable"


def test_who_still_backs_off_after_five_minutes_goes_to_backoff():
    queue, clock = queue_at(backoff=Backoff(600 * SECOND_NS, 600 * SECOND_NS))
    queue.add(PodInfo("p"))
    queue.requeue_unschedulable(queue.pop(), FIT)
    clock.advance(330)
    assert queue.flush() == 1
    assert place(queue, PodInfo("p")) == "backoff"


def test_gates_hold_a_pod_until_the_last_is_gone():
    queue, clock = queue_at()
    pod = gated("a", "b")
    queue.add(pod)
    assert queue.get(pod).rejected_by == ("SchedulingGates",)
    assert queue.pop() is None
    assert queue.next_flush_ns() is None
    clock.advance(1000)
    assert queue.flush() == queue.move_on(ROOM) == queue.move_on(FREED) == 0
    assert not queue.activate(pod)
    assert queue.update(gated("b")) == "gated"
    assert queue.update(replace(gated("b"), labels={"a": "b"})) == "gated"
    assert queue.update(gated()) == "active"
    assert popped(queue) == ["p"]


def test_a_preemptor_is_held_while_deletions_are_sent():
    queue, _ = queue_at()
    pod = PodInfo("p")
    queue.add(pod)
    queue.hold(queue.pop())
    assert queue.requeue_unschedulable(pod, FIT) == "unschedulable"
    assert queue.move_on(FREED) == 0
    assert place(queue, pod) == "gated"
    assert queue.get(pod).rejected_by == ("DefaultPreemption", "NodeResourcesFit")
    queue.release(pod)
    assert queue.move_on(ROOM) == 0  # it hears of deletions alone
    assert queue.move_on(FREED) == 1
    assert place(queue, pod) == "backoff"


def test_a_preemptor_whose_deletions_failed_is_activated():
    queue, _ = queue_at()
    queue.add(PodInfo("p"))
    pod = queue.pop()
    queue.hold(pod)
    queue.requeue_unschedulable(pod, FIT)
    assert not queue.activate(pod)
    queue.release(pod)
    assert queue.activate(pod)
    assert popped(queue) == ["p"]


# -- events ---------------------------------------------------------------------------


def test_an_event_moves_only_whom_it_may_help():
    large, small = PodInfo("large", requests={"cpu": 9000}), PodInfo("small", requests={"cpu": 8000})
    queue, _ = with_refused(large, small)
    assert queue.move_on(NodeAdded(NodeInfo("n", allocatable={"cpu": 8000}))) == 0  # no pod is allowed there
    assert queue.move_on(ROOM) == 1
    assert (place(queue, large), place(queue, small)) == ("unschedulable", "backoff")


def test_any_of_the_refusing_plugins_may_be_helped():
    queue, _ = with_refused(PodInfo("p"), rejected_by=("NodeAffinity", "NodePorts", *FIT))
    assert queue.move_on(FREED) == 1


def test_a_plugin_that_pends_lets_a_pod_skip_its_backoff():
    queue, _ = queue_at()
    queue.add(PodInfo("p"))
    assert queue.requeue_unschedulable(queue.pop(), FIT, pending=("Quota",)) == "unschedulable"
    assert queue.get(PodInfo("p")).pending == ("Quota",)
    assert queue.move_on(FREED) == 1
    assert place(queue, PodInfo("p")) == "active"


def test_where_another_plugin_is_helped_the_backoff_stays():
    queue, _ = queue_at(hints={**in_tree_hints(), "Quota": ()})
    queue.add(PodInfo("p"))
    queue.requeue_unschedulable(queue.pop(), FIT, pending=("Quota",))
    assert queue.move_on(FREED) == 1
    assert place(queue, PodInfo("p")) == "backoff"


@pytest.mark.parametrize(
    ("event", "pending", "where"),
    [(FREED, (), "backoff"), (ROOM, (), "unschedulable"), (FREED, ("Quota",), "active")],
)
def test_events_in_flight_are_replayed(event, pending, where):
    queue, _ = queue_at()
    queue.add(PodInfo("p", requests={"cpu": 9000}))
    queue.move_on(FREED)  # before it was popped: seen by its cycle
    pod = queue.pop()
    queue.move_on(event)
    assert queue.requeue_unschedulable(pod, FIT, pending) == where


def test_events_are_kept_for_each_pod_from_its_own_start():
    queue, _ = queue_at()
    for name in "abc":
        queue.add(PodInfo(name))
    a = queue.pop()
    queue.move_on(FREED)
    b = queue.pop()
    assert queue.requeue_unschedulable(a, FIT) == "backoff"
    assert queue.requeue_unschedulable(b, FIT) == "unschedulable"
    c = queue.pop()
    assert queue.requeue_unschedulable(c, FIT) == "unschedulable"


def test_events_of_a_long_flight_are_let_go_of_behind_it():
    """Binding takes its time, so pods overlap; each sees what came since it was popped, and no more is kept."""
    queue, _ = queue_at()
    asks = [PodInfo(str(number), requests={"cpu": 8000 + number}) for number in range(40)]
    for pod in asks:
        queue.add(pod)
    flying = [queue.pop() for _ in range(3)]
    for number, pod in enumerate(asks[:37]):
        room = NodeInfo("n", allocatable={"cpu": 8000 + number, "pods": 1})
        queue.move_on(NodeAdded(room if number % 3 else replace(room, allocatable={})))
        assert flying.pop(0) == pod
        # Only the newest event has room for it, and that came while it flew.
        assert queue.requeue_unschedulable(pod, FIT) == ("backoff" if number % 3 else "unschedulable")
        flying.append(queue.pop())
        assert flying[-1] == asks[number + 3]
        assert len(queue._queue._events) <= 6


def test_pods_in_flight_hear_that_others_waited_too_long():
    queue, clock = with_refused(PodInfo("a", requests={"cpu": 9000}))
    clock.advance(320)
    queue.add(PodInfo("b"))
    b = queue.pop()
    clock.advance(10)  # a leaves the pool by an event that means everybody
    assert queue.requeue_unschedulable(b, FIT) == "backoff"


def test_a_pod_that_was_held_and_deleted_isnt_held_when_it_is_made_anew():
    queue, _ = with_refused(P)
    queue.hold(P)
    queue.delete(P)
    queue.add(P)
    assert popped(queue) == ["p"]


def test_activating_a_pod_in_flight_counts_when_it_is_back():
    queue, _ = queue_at()
    queue.add(PodInfo("a"))
    queue.add(PodInfo("b"))
    a, b = queue.pop(), queue.pop()
    assert not queue.activate(a)
    assert queue.requeue_unschedulable(b, FIT) == "unschedulable"
    assert queue.requeue_unschedulable(a, FIT) == "backoff"


def test_a_change_in_flight_is_kept_and_replayed():
    queue, _ = queue_at()
    pod = PodInfo("p", requests={"cpu": 9000})
    queue.add(pod)
    queue.pop()
    smaller = replace(pod, requests={"cpu": 4000})
    assert queue.update(smaller) == "in flight"
    assert queue.requeue_unschedulable(pod, FIT) == "backoff"
    assert queue.pop() == smaller


def test_a_change_of_a_refused_pod_may_help_it():
    pod = PodInfo("p")
    queue, _ = with_refused(pod, rejected_by=("TaintToleration",))
    assert queue.update(replace(pod, labels={"a": "b"})) == "unschedulable"
    assert queue.update(replace(pod, tolerations=(Toleration(operator="Exists"),))) == "backoff"
    assert queue.update(replace(pod, priority=7)) == "backoff"


def test_a_lost_nomination_frees_what_it_held_for_those_below():
    lower, higher = PodInfo("lower", priority=1), PodInfo("higher", priority=3)
    equal = PodInfo("equal", priority=2)
    queue, _ = with_refused(lower, equal, higher)
    nominee = PodInfo("nominee", priority=2, nominated="n")
    queue.add(nominee)
    assert queue.delete(nominee)
    assert [place(queue, pod) for pod in (lower, equal, higher)] == ["backoff", "backoff", "unschedulable"]
    queue, _ = with_refused(lower)
    queue.add(nominee)
    assert queue.update(replace(nominee, nominated="")) == "active"
    assert place(queue, lower) == "backoff"


def test_deleted_pods_are_forgotten_wherever_they_are():
    pods = [PodInfo("active"), PodInfo("unschedulable"), PodInfo("error"), gated("g", name="gated")]
    queue, _ = queue_at()
    for pod in pods:
        queue.add(pod)
    queue.pop()
    queue.requeue_unschedulable(queue.pop(), FIT)
    queue.requeue_error(queue.pop())
    queue.requeue_unschedulable(pods[0], FIT)
    queue.move_on(FREED)
    assert len(queue) == 4
    assert all(queue.delete(pod) for pod in pods)
    assert (len(queue), queue.pods(), queue.next_flush_ns(), queue.pop()) == (0, [], None, None)
    assert queue.move_on(FREED) == 0


# -- hints -----------------------------------------------------------------------------

WEB = (Requirement("app", "In", ("web",)),)
ZONE = "topology.kubernetes.io/zone"
IN_ZONE = (NodeTerm((Requirement(ZONE, "In", ("z1",)),)),)
NAMED = (NodeTerm(fields=(Requirement("metadata.name", "In", ("n",)),)),)
Z1, Z2, BARE = NodeInfo("n", {ZONE: "z1"}), NodeInfo("n", {ZONE: "z2"}), NodeInfo("n")
CORDONED, TAINTED = NodeInfo("n", unschedulable=True), NodeInfo("n", taints=(Taint("gpu"),))
SOFT = NodeInfo("n", taints=(Taint("gpu", effect="PreferNoSchedule"),))
SMALL, LARGE = (NodeInfo("n", allocatable={"cpu": cpu, "pods": 10}) for cpu in (1000, 4000))
MORE_PODS = NodeInfo("n", allocatable={"cpu": 1000, "pods": 11})
TOLERANT = (Toleration("node.kubernetes.io/unschedulable", "Exists"),)
P = PodInfo("p")
ASKS = PodInfo("p", requests={"cpu": 1000, "pods": 1})
WITH_PORT = PodInfo("p", spec=PodSpec(ports=(HostPort(80),)))
NEAR = PodInfo("p", spec=PodSpec(affinity=(PodTerm(ZONE, WEB, ("default",)),)))
FAR = PodInfo("p", spec=PodSpec(anti_affinity=(PodTerm(ZONE, WEB, ("default",)),)))
FAR_TWICE = PodInfo(
    "p", spec=PodSpec(anti_affinity=(PodTerm(ZONE, WEB, ("default",)), PodTerm(ZONE, (), ("shop",))))
)  # fmt: skip
ANYWHERE = PodInfo("p", spec=PodSpec(affinity=(PodTerm(ZONE, WEB, (), ()),)))
SPREAD = PodInfo("p", spec=PodSpec(spread=(SpreadConstraint(ZONE, 1, True, WEB),)))
HONOR = PodInfo("p", spec=PodSpec(spread=(SpreadConstraint(ZONE, 1, True, WEB, honor_taints=True),)))
SOFTLY = PodInfo("p", spec=PodSpec(spread=(SpreadConstraint(ZONE, 1, False, WEB),)))
SELECTS = PodInfo("p", spec=PodSpec(node_selector=((ZONE, "z1"),)))
REQUIRES = PodInfo("p", spec=PodSpec(node_required=IN_ZONE))
BY_NAME = PodInfo("p", spec=PodSpec(node_required=NAMED))
NOWHERE = PodInfo("p", spec=PodSpec(node_required=(NodeTerm(),)))


def bound(namespace="default", node="n", requests=None, ports=(), **labels) -> PodInfo:
    return PodInfo("other", namespace, labels=labels, node=node, requests=requests or {}, spec=PodSpec(ports=ports))


def now_with(pod: PodInfo, **changes) -> PodUpdated:
    return PodUpdated(pod, replace(pod, **changes))


HINTS = [
    # plug-in, event, pod, whether it may help
    ("NodeUnschedulable", NodeAdded(BARE), P, True),
    ("NodeUnschedulable", NodeAdded(CORDONED), P, False),
    ("NodeUnschedulable", NodeUpdated(CORDONED, BARE), P, True),
    ("NodeUnschedulable", NodeUpdated(BARE, CORDONED), P, False),
    ("NodeUnschedulable", NodeUpdated(TAINTED, BARE), P, False),
    ("NodeUnschedulable", NodeUpdated(Z1, Z2), P, False),
    ("NodeUnschedulable", now_with(P, tolerations=TOLERANT), P, True),
    ("NodeUnschedulable", now_with(P, tolerations=(Toleration("gpu"),)), P, False),
    ("NodeUnschedulable", now_with(PodInfo("q"), tolerations=TOLERANT), P, False),
    ("NodeName", NodeAdded(BARE), P, True),
    ("NodeName", NodeUpdated(Z1, Z2), P, False),
    ("NodeName", NodeDeleted(BARE), P, False),
    ("TaintToleration", NodeAdded(BARE), P, True),
    ("TaintToleration", NodeAdded(TAINTED), P, False),
    ("TaintToleration", NodeAdded(SOFT), P, True),
    ("TaintToleration", NodeUpdated(TAINTED, BARE), P, True),
    ("TaintToleration", NodeUpdated(TAINTED, SOFT), P, True),
    ("TaintToleration", NodeUpdated(SOFT, BARE), P, False),
    ("TaintToleration", NodeUpdated(TAINTED, BARE), PodInfo("p", tolerations=(Toleration("gpu", "Exists"),)), False),
    ("TaintToleration", now_with(P, tolerations=(Toleration("gpu"),)), P, True),
    ("TaintToleration", now_with(PodInfo("q"), tolerations=(Toleration("gpu"),)), P, False),
    ("NodeAffinity", NodeAdded(Z1), SELECTS, True),
    ("NodeAffinity", NodeAdded(Z2), SELECTS, False),
    ("NodeAffinity", NodeAdded(Z1), REQUIRES, True),
    ("NodeAffinity", NodeAdded(BARE), REQUIRES, False),
    ("NodeAffinity", NodeAdded(BARE), BY_NAME, True),
    ("NodeAffinity", NodeAdded(NodeInfo("m")), BY_NAME, False),
    ("NodeAffinity", NodeAdded(Z1), NOWHERE, False),
    ("NodeAffinity", NodeUpdated(Z2, Z1), REQUIRES, True),
    ("NodeAffinity", NodeUpdated(Z1, Z2), REQUIRES, False),
    ("NodeAffinity", NodeUpdated(Z1, replace(Z1, labels={**Z1.labels, "a": "b"})), REQUIRES, False),
    ("NodeAffinity", NodeUpdated(TAINTED, BARE), BY_NAME, False),
    ("NodePorts", NodeAdded(BARE), WITH_PORT, True),
    ("NodePorts", NodeUpdated(Z1, Z2), WITH_PORT, False),
    ("NodePorts", PodDeleted(bound(ports=(HostPort(80, ip="10.0.0.1"),))), WITH_PORT, True),
    ("NodePorts", PodDeleted(bound(ports=(HostPort(80, protocol="UDP"), HostPort(81)))), WITH_PORT, False),
    ("NodePorts", PodDeleted(bound()), WITH_PORT, False),
    ("NodePorts", PodDeleted(bound(ports=(HostPort(80),), node="")), WITH_PORT, False),
    ("NodePorts", PodDeleted(replace(bound(ports=(HostPort(80),), node=""), nominated="n")), WITH_PORT, True),
    ("NodeResourcesFit", NodeAdded(SMALL), ASKS, True),
    ("NodeResourcesFit", NodeAdded(SMALL), replace(ASKS, requests={"cpu": 1001}), False),
    ("NodeResourcesFit", NodeAdded(SMALL), replace(ASKS, requests={"nvidia.com/gpu": 1}), False),
    ("NodeResourcesFit", NodeAdded(SMALL), replace(ASKS, requests={"nvidia.com/gpu": 0}), True),
    ("NodeResourcesFit", NodeAdded(BARE), P, False),
    ("NodeResourcesFit", NodeUpdated(SMALL, LARGE), ASKS, True),
    ("NodeResourcesFit", NodeUpdated(SMALL, LARGE), P, False),
    ("NodeResourcesFit", NodeUpdated(SMALL, MORE_PODS), P, True),
    ("NodeResourcesFit", NodeUpdated(LARGE, SMALL), ASKS, False),
    ("NodeResourcesFit", NodeUpdated(SMALL, LARGE), replace(ASKS, requests={"cpu": 5000}), False),
    ("NodeResourcesFit", NodeUpdated(SMALL, replace(SMALL, labels={"a": "b"})), ASKS, False),
    ("NodeResourcesFit", NodeDeleted(SMALL), ASKS, False),
    ("NodeResourcesFit", PodDeleted(bound()), ASKS, True),
    ("NodeResourcesFit", PodDeleted(bound(node="")), ASKS, False),
    ("NodeResourcesFit", PodAdded(bound()), ASKS, False),
    ("NodeResourcesFit", now_with(bound(requests={"cpu": 900}), requests={"cpu": 800}), ASKS, True),
    ("NodeResourcesFit", now_with(bound(requests={"memory": 900}), requests={"memory": 800}), ASKS, False),
    ("NodeResourcesFit", now_with(bound(requests={"cpu": 800}), requests={"cpu": 900}), ASKS, False),
    ("NodeResourcesFit", now_with(ASKS, requests={"cpu": 900, "pods": 1}), ASKS, True),
    ("NodeResourcesFit", now_with(ASKS, labels={"a": "b"}), ASKS, False),
    ("PodTopologySpread", NodeAdded(Z1), SPREAD, True),
    ("PodTopologySpread", NodeAdded(BARE), SPREAD, False),
    ("PodTopologySpread", NodeAdded(BARE), SOFTLY, True),
    ("PodTopologySpread", NodeDeleted(Z1), SPREAD, True),
    ("PodTopologySpread", NodeDeleted(BARE), SPREAD, False),
    ("PodTopologySpread", NodeUpdated(Z1, Z2), SPREAD, True),
    ("PodTopologySpread", NodeUpdated(Z1, BARE), SPREAD, True),
    ("PodTopologySpread", NodeUpdated(BARE, Z1), SPREAD, True),
    ("PodTopologySpread", NodeUpdated(Z1, replace(Z1, labels={**Z1.labels, "a": "b"})), SPREAD, False),
    ("PodTopologySpread", NodeUpdated(Z1, replace(Z1, taints=(Taint("gpu"),))), SPREAD, True),
    ("PodTopologySpread", NodeUpdated(BARE, TAINTED), SPREAD, False),
    ("PodTopologySpread", NodeUpdated(SMALL, LARGE), SPREAD, False),
    ("PodTopologySpread", PodAdded(bound(app="web")), SPREAD, True),
    ("PodTopologySpread", PodAdded(bound(app="db")), SPREAD, False),
    ("PodTopologySpread", PodAdded(bound(app="web")), SOFTLY, False),
    ("PodTopologySpread", PodAdded(bound("shop", app="web")), SPREAD, False),
    ("PodTopologySpread", PodDeleted(bound(app="web")), SPREAD, True),
    ("PodTopologySpread", PodDeleted(bound(node="", app="web")), SPREAD, False),
    ("PodTopologySpread", now_with(bound(app="web"), labels={}), SPREAD, True),
    ("PodTopologySpread", now_with(bound(app="web"), labels={"app": "web", "a": "b"}), SPREAD, False),
    ("PodTopologySpread", now_with(SPREAD, labels={"app": "web"}), SPREAD, True),
    ("PodTopologySpread", now_with(SPREAD, tolerations=TOLERANT), SPREAD, False),
    ("PodTopologySpread", now_with(HONOR, tolerations=TOLERANT), HONOR, True),
    ("PodTopologySpread", now_with(bound(), tolerations=TOLERANT), HONOR, False),
    ("InterPodAffinity", NodeAdded(Z1), NEAR, True),
    ("InterPodAffinity", NodeAdded(BARE), NEAR, False),
    ("InterPodAffinity", NodeAdded(BARE), FAR, True),
    ("InterPodAffinity", NodeUpdated(BARE, Z1), NEAR, True),
    ("InterPodAffinity", NodeUpdated(Z1, Z2), NEAR, True),
    ("InterPodAffinity", NodeUpdated(Z1, BARE), NEAR, False),
    ("InterPodAffinity", NodeUpdated(BARE, Z1), FAR, False),
    ("InterPodAffinity", NodeUpdated(Z1, Z2), FAR, True),
    ("InterPodAffinity", NodeUpdated(Z1, BARE), FAR, True),
    ("InterPodAffinity", NodeUpdated(Z1, replace(Z1, labels={**Z1.labels, "a": "b"})), FAR, False),
    ("InterPodAffinity", NodeUpdated(TAINTED, BARE), FAR, False),
    ("InterPodAffinity", PodAdded(bound(app="web")), NEAR, True),
    ("InterPodAffinity", PodAdded(bound(app="db")), NEAR, False),
    ("InterPodAffinity", PodAdded(bound("shop", app="web")), NEAR, False),
    ("InterPodAffinity", PodAdded(bound("shop", app="web")), ANYWHERE, True),
    ("InterPodAffinity", PodAdded(bound(app="web")), FAR, False),
    ("InterPodAffinity", PodAdded(bound(app="web")), P, False),
    ("InterPodAffinity", PodDeleted(bound(app="web")), FAR, True),
    ("InterPodAffinity", PodDeleted(bound(app="web")), NEAR, False),
    ("InterPodAffinity", PodDeleted(bound(app="web")), FAR_TWICE, False),
    ("InterPodAffinity", PodDeleted(replace(bound(), spec=FAR.spec)), PodInfo("p", labels={"app": "web"}), False),
    ("InterPodAffinity", now_with(bound(app="db"), labels={"app": "web"}), NEAR, True),
    ("InterPodAffinity", now_with(bound(app="web"), labels={"app": "db"}), NEAR, False),
    ("InterPodAffinity", now_with(bound(app="web"), labels={"app": "db"}), FAR, True),
    ("InterPodAffinity", now_with(bound(app="db"), labels={"app": "web"}), FAR, False),
    ("InterPodAffinity", now_with(NEAR, labels={"app": "web"}), NEAR, False),
    ("SchedulingGates", PodUpdated(gated("a"), gated()), gated(), True),
    ("SchedulingGates", PodUpdated(gated("a", "b"), gated("a")), gated("a"), False),
    ("SchedulingGates", PodUpdated(gated("a", name="q"), gated(name="q")), gated("a"), False),
    ("SchedulingGates", NodeAdded(BARE), gated("a"), False),
    ("DefaultPreemption", PodDeleted(bound()), P, False),
    ("SomebodyElses", NodeDeleted(BARE), P, True),
    ("SomebodyElses", now_with(P, priority=3), P, True),
    ("SomebodyElses", NodeUpdated(BARE, BARE), P, False),
    ("SomebodyElses", NodeUpdated(BARE, CORDONED), P, False),
]


@pytest.mark.parametrize(("plugin", "event", "pod", "expected"), HINTS)
def test_hints(plugin, event, pod, expected):
    assert hint(plugin, event, pod) is expected


def test_every_plugin_that_refuses_has_hints_both_ways():
    told = {plugin: {expected for name, _, _, expected in HINTS if name == plugin} for plugin in in_tree_hints()}
    told.pop("DefaultPreemption")
    assert all(answers == {True, False} for answers in told.values()), told


def test_hints_know_a_profiles_added_affinity_and_default_constraints():
    hints = in_tree_hints(added_required=IN_ZONE, default_spread=lambda pod: SPREAD.spec.spread)
    assert hint("NodeAffinity", NodeAdded(Z1), P, hints)
    assert not hint("NodeAffinity", NodeAdded(Z2), P, hints)
    assert not hint("NodeAffinity", NodeUpdated(Z2, Z1), P, hints)  # the pod's own terms matched before
    assert hint("PodTopologySpread", PodAdded(bound(app="web")), P, hints)
    assert not hint("PodTopologySpread", PodAdded(bound(app="web")), SOFTLY, hints)  # it names its own


# -- values of the columns ----------------------------------------------------------------


def test_values_are_read_off_the_columns():
    state = Cluster.synthetic(nodes=3, zones=1, seed=0).new_state()
    nodes = state.node_columns()
    pods = Workload.synthetic(pods=5, seed=0).columns(nodes.schema)
    node, pod = node_info(nodes, 1), pod_info(pods, 3)
    assert (node.name, node.unschedulable) == (nodes.names[1], False)
    assert node.allocatable["cpu"] == nodes.allocatable[0, 1]
    assert node.labels[ZONE] == nodes.labels[ZONE][1]
    assert (pod.name, pod.row, pod.key) == (pods.names[3], 3, f"{pod.namespace}/{pod.name}")
    assert pod.requests["memory"] == pods.requests[3, 1]
    state.set_node_state(1, 1)
    assert node_info(state.node_columns(), 1).unschedulable


# -- for people ------------------------------------------------------------------------------


def test_frame_and_html_tell_who_waits_where_and_why():
    queue, clock = with_refused(PodInfo("<b>", priority=4))
    queue.add(gated("g"))
    queue.add(PodInfo("next"))
    clock.advance(2.5)
    frame = queue.to_frame()
    check_frame("scheduling_queue", frame)
    assert frame["pod"].tolist() == ["next", "<b>", "p"]
    assert frame["queue"].tolist() == ["active", "unschedulable", "gated"]
    assert frame["next_try_ns"].tolist() == [100 * SECOND_NS, 430 * SECOND_NS, -1]
    assert frame["rejected_by"].tolist() == ["", "NodeResourcesFit", "SchedulingGates"]
    html = queue._repr_html_()
    assert "default/&lt;b&gt;" in html
    assert "2.5 s" in html
    assert repr(queue) == "<SchedulingQueue: 1 active, 1 unschedulable, 1 gated>"
    for number in range(40):
        queue.add(PodInfo(str(number)))
    assert "and 23 more" in queue._repr_html_()
    empty, _ = queue_at()
    check_frame("scheduling_queue", empty.to_frame())
    assert repr(empty) == "<SchedulingQueue: empty>"


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda q: q.requeue_unschedulable(q.pop(), ()), "pod 'default/p': no plug-in refused it; requeue_error()"),
        (lambda q: q.requeue_unschedulable(q.pop(), "NodeName"), "rejected_by is the text 'NodeName', wanted a coll"),
        (lambda q: q.requeue_unschedulable(q.pop(), FIT, "Quota"), "pending is the text 'Quota'"),
        (lambda q: q.move_on(PodAdded(P)), "PodAdded of pod 'default/p': it is on no node; add() takes"),
        (lambda q: q.move_on(PodUpdated(P, P)), "PodUpdated of pod 'default/p': it is on no node; update() takes"),
        (lambda q: q.move_on(PodUpdated(P, bound())), "PodUpdated of pod 'default/p' gives another one"),
        (lambda q: q.move_on(PodDeleted(P)), "PodDeleted of pod 'default/p': it held no node; delete() takes"),
        (lambda q: Backoff(0), "a back-off begins with 0 ns"),
        (lambda q: Backoff(2, 1), "a back-off of at most 1 ns can't begin with 2 ns"),
        (lambda q: SchedulingQueue(VirtualClock(), leftover_ns=-1), "wait at most -1 ns for an event"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    queue, _ = queue_at()
    queue.add(P)
    with pytest.raises(InputError, match=re.escape(message)):
        make(queue)


def test_a_pod_is_in_one_place_only():
    queue, _ = queue_at()
    queue.add(P)
    with pytest.raises(StateConflict, match="cannot add pod 'default/p': the queue has one of this key, active"):
        queue.add(P)
    with pytest.raises(StateConflict, match="cannot finish pod 'default/p': it is active"):
        queue.done(P)
    with pytest.raises(StateConflict, match="cannot requeue pod 'default/q': it is not in the queue"):
        queue.requeue_error(PodInfo("q"))
    queue.delete(queue.pop())
    with pytest.raises(StateConflict, match="deleted in flight and hasn't come back; pods that share a name need diff"):
        queue.add(P)
    queue.add(replace(P, uid="2"))
    queue.done(P)
    assert popped(queue) == ["p"]


# -- anything in any order ------------------------------------------------------------------------

NAMES = st.sampled_from("abcde")
PRIORITIES = st.sampled_from([-1, 0, 0, 7])
PLUGINS = st.sampled_from(["NodeResourcesFit", "NodeAffinity", "TaintToleration", "InterPodAffinity", "SomebodyElses"])
EVENTS = st.sampled_from(
    [
        ROOM, FREED, NodeUpdated(Z2, Z1), NodeUpdated(TAINTED, BARE), NodeUpdated(BARE, BARE), NodeDeleted(Z1),
        PodAdded(bound(app="web")), PodDeleted(bound(app="web")), PodDeleted(PodInfo("x", priority=0, nominated="n")),
        now_with(bound(requests={"cpu": 2}), requests={"cpu": 1}),
    ]
)  # fmt: skip
PODS = st.builds(
    PodInfo,
    NAMES,
    priority=PRIORITIES,
    requests=st.sampled_from([{}, {"cpu": 100}, {"cpu": 9000}]),
    spec=st.sampled_from([PodSpec(), PodSpec(), REQUIRES.spec, NEAR.spec, FAR.spec, PodSpec(gates=("g",))]),
    tolerations=st.sampled_from([(), TOLERANT]),
    nominated=st.sampled_from(["", "", "n"]),
)
SECONDS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.75, 30.0, 271.5])
STEPS = st.one_of(
    st.tuples(st.just("add"), PODS),
    st.tuples(st.just("pop")),
    st.tuples(st.just("pop")),
    st.tuples(st.just("advance"), SECONDS),
    st.tuples(st.just("move_on"), EVENTS),
    st.tuples(st.just("update"), PODS),
    st.tuples(st.sampled_from(["done", "requeue_error"]), st.integers(0, 4)),
    st.tuples(st.just("refuse"), st.integers(0, 4), st.sets(PLUGINS, min_size=1), st.sets(PLUGINS, max_size=1)),
    st.tuples(st.just("refuse"), st.integers(0, 4), st.sets(PLUGINS, min_size=1), st.just(set())),
    st.tuples(st.sampled_from(["delete", "activate", "hold", "release"]), st.builds(PodInfo, NAMES)),
)


def did(queue, flying: list[PodInfo], verb: str, *arguments):
    """What a step gives, or that it is refused. Those in flight are named by number, in the order popped."""
    if verb in ("done", "requeue_error", "refuse"):
        if not flying:
            return None
        pod = flying[arguments[0] % len(flying)]
        if verb == "refuse":
            return queue.requeue_unschedulable(pod, *arguments[1:])
        return getattr(queue, verb)(pod)
    try:
        return getattr(queue, verb)(*arguments)
    except StateConflict:
        return "refused"


@given(st.integers(0, 3 * SECOND_NS), st.lists(STEPS, max_size=60))
def test_whatever_happens_the_queue_is_as_its_twin(start_ns, steps):
    clock = VirtualClock(start_ns)
    queue, twin = SchedulingQueue(clock), NaiveQueue(clock)
    flying: list[PodInfo] = []
    for verb, *arguments in steps:
        if verb == "advance":
            clock.advance(arguments[0])
            continue
        given = did(queue, flying, verb, *arguments)
        assert given == did(twin, flying, verb, *arguments)
        if verb == "pop" and given is not None:
            flying.append(given)
        elif verb in ("done", "requeue_error", "refuse") and flying:
            del flying[arguments[0] % len(flying)]
        queue.flush()
        assert queue.pods() == twin.pods()
        assert queue.next_flush_ns() == twin.next_flush_ns()
        assert sum(queue.counts().values()) == len(queue.pods())
    for pod in flying:
        assert queue.requeue_unschedulable(pod, FIT) == twin.requeue_unschedulable(pod, FIT)
    # Left alone, everybody but the gated is let go in the end, and pops in one order.
    for _ in range(200):
        due = queue.next_flush_ns()
        if due is None:
            break
        clock.sleep_until(due)
        assert queue.flush() >= 0
    while (pod := queue.pop()) is not None:
        assert pod == twin.pop()
    assert twin.pop() is None
    assert {one.queue for one in queue.pods()} <= {"gated", "in flight"}


def test_next_flush_is_when_the_first_moves_and_no_sooner():
    queue, clock = with_refused(PodInfo("a"), PodInfo("b", requests={"cpu": 9000}), seconds=3.125)
    queue.move_on(ROOM)
    moves = []
    while (due := queue.next_flush_ns()) is not None:
        clock.sleep_until(due - 1)
        assert queue.flush() == 0
        clock.sleep_until(due)
        moves.append((due / SECOND_NS, queue.flush()))
    assert moves == [(5.0, 1), (333.125, 1)]


def test_many_pods_cost_what_few_do():
    """Each verb looks at what it needs: counted, not timed."""
    looks = 0

    def looking(event, pod) -> bool:
        nonlocal looks
        looks += 1
        return pod.name == "0"

    hints = in_tree_hints()
    hints["NodeResourcesFit"] = tuple(replace(one, helps=looking) for one in hints["NodeResourcesFit"])
    queue, _ = queue_at(hints=hints)
    for number in range(2000):
        queue.add(PodInfo(str(number)))
    for number in range(2000):
        queue.requeue_unschedulable(queue.pop(), FIT if number < 3 else ("NodeAffinity",))
    assert queue.move_on(FREED) == 1
    assert looks == 3
    assert queue.move_on(NodeUpdated(Z1, Z2)) == 0  # NodeResourcesFit didn't register for labels
    assert looks == 3


def test_what_is_taken_out_and_put_back_leaves_no_heap_of_leavings():
    queue, _ = queue_at()
    for number in range(50):
        queue.add(PodInfo(str(number)))
    for turn in range(2000):
        queue.update(PodInfo(str(turn % 50), priority=turn))
    assert len(queue._queue._active._heap) < 200
    assert popped(queue)[:2] == ["49", "48"]
