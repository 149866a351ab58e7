"""The calendar: who is called when, in which order; and the streams that loops draw from."""

from __future__ import annotations

import pytest

from k8slab.application.calendar import Calendar, Rank, Ticks
from k8slab.application.event_log import EventLog
from k8slab.domain.columns import NEVER
from k8slab.domain.run_tables import TABLES
from k8slab.domain.streams import Streams
from k8slab.errors import InputError, StateConflict
from k8slab.infrastructure.clocks import VirtualClock


class Loop:
    """Due at these instants; tells when it ran."""

    def __init__(self, name: str, rank: int, due: list[int], told: list[tuple[int, str]]) -> None:
        self.name = name
        self.rank = rank
        self.due = due
        self._told = told

    def next_ns(self, now_ns: int) -> int | None:
        return self.due[0] if self.due else None

    def run_once(self, now_ns: int) -> None:
        self.due.pop(0)
        self._told.append((now_ns, self.name))


def test_controllers_run_by_time_then_rank_then_name():
    told: list[tuple[int, str]] = []
    loops = [
        Loop("scheduler", Rank.SCHEDULING, [5, 7], told),
        Loop("pods", Rank.PODS, [5], told),
        Loop("b", Rank.HEALTH, [0, 5], told),
        Loop("a", Rank.HEALTH, [5, 30], told),
    ]
    clock = VirtualClock()
    seen: list[int] = []
    calendar = Calendar(clock, loops)
    assert calendar.next_ns() == 0
    calendar.run_until(20, each=seen.append)
    assert told == [(0, "b"), (5, "pods"), (5, "a"), (5, "b"), (5, "scheduler"), (7, "scheduler")]
    assert seen == [0, 5, 7]
    assert clock.now() == 20
    assert calendar.next_ns() == 30
    calendar.run_until(30)
    assert calendar.next_ns() == NEVER


def test_what_a_later_rank_wakes_runs_again_in_the_same_instant():
    told: list[tuple[int, str]] = []
    first = Loop("first", Rank.PODS, [], told)

    class Waker(Loop):
        def run_once(self, now_ns: int) -> None:
            super().run_once(now_ns)
            first.due.append(now_ns)

    calendar = Calendar(VirtualClock(), [first, Waker("waker", Rank.SCHEDULING, [3], told)])
    calendar.run_until(3)
    assert told == [(3, "waker"), (3, "first")]


def test_loops_that_never_settle_are_named():
    class Restless(Loop):
        def next_ns(self, now_ns: int) -> int | None:
            return now_ns

        def run_once(self, now_ns: int) -> None:
            pass

    calendar = Calendar(VirtualClock(), [Restless("restless", Rank.HEALTH, [], [])])
    with pytest.raises(StateConflict, match="wake one another without end at 0 ns: restless"):
        calendar.run_until(1)


def test_time_does_not_go_back_and_names_are_unique():
    clock = VirtualClock(start_ns=10)
    calendar = Calendar(clock, [Loop("a", Rank.HEALTH, [], [])])
    with pytest.raises(InputError, match="can't run until 9 ns: it is 10 ns"):
        calendar.run_until(9)
    with pytest.raises(StateConflict, match="two controllers are named 'a'"):
        calendar.add(Loop("a", Rank.PODS, [], []))


def test_ticks_that_were_slept_through_are_not_made_up_for():
    ticks = Ticks(15)
    ticks.take(0)
    assert ticks.next_ns == 15
    ticks.take(46)
    assert ticks.next_ns == 60
    ticks.take(60)
    assert ticks.next_ns == 75
    with pytest.raises(InputError, match="period of 0 ns"):
        Ticks(0)


def test_a_stream_is_a_function_of_seed_and_name_alone():
    ask = Streams(3)
    drawn = {name: ask.generator(name).random(3).tolist() for name in ("faults", "arrivals")}
    other = Streams(3)
    other.generator("one more subsystem").random(100)
    assert other.generator("arrivals").random(3).tolist() == drawn["arrivals"]
    assert other.generator("faults").random(3).tolist() == drawn["faults"]
    assert drawn["faults"] != drawn["arrivals"]
    assert Streams(4).generator("faults").random(3).tolist() != drawn["faults"]
    with pytest.raises(InputError, match="seed=-1: wanted a whole number"):
        Streams(-1)


def test_the_event_log_keeps_rows_in_order():
    log = EventLog()
    rest = {"event": "Evicted", "node_row": -1, "detail": ""}
    log.emit("events", time_ns=1, controller="a", pod_row=[4, 5], **rest)
    log.emit("events", time_ns=2, controller="b", pod_row=-1, **rest)
    columns = log.columns("events")
    assert list(columns) == list(TABLES["events"])
    assert columns["pod_row"].tolist() == [4, 5, -1]
    assert columns["controller"].tolist() == ["a", "a", "b"]
    assert log.count("events") == 3
    assert {name: len(column) for name, column in log.columns("scaling").items()} == dict.fromkeys(TABLES["scaling"], 0)
    with pytest.raises(AssertionError, match="events: columns"):
        log.emit("events", time_ns=2)
