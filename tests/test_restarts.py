"""Crash-loop back-off, restart policy and probes, worked by hand, with properties."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.instants import SECOND_NS as S
from k8slab.domain.probes import Probe, ProbedContainer, ProbeKind, ProbeResult, ProbeWorker, Sight, step
from k8slab.domain.restart_backoff import Backoff, BackoffEntry, ContainerState, restart_after_exit, restarts
from k8slab.errors import InputError, UnknownName

LIVENESS, READINESS, STARTUP = ProbeKind.LIVENESS, ProbeKind.READINESS, ProbeKind.STARTUP
OK, FAIL, UNKNOWN = ProbeResult


# -- restarts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "after_0", "after_1"), [("Always", True, True), ("OnFailure", False, True), ("Never", False, False)]
)
def test_what_exited_goes_by_the_policy(policy, after_0, after_1):
    assert restarts(policy, ContainerState.EXITED, 0) is after_0
    assert restarts(policy, ContainerState.EXITED, 137) is after_1
    assert not restarts(policy, ContainerState.RUNNING)
    assert restarts(policy, ContainerState.NO_HISTORY)
    assert restarts(policy, ContainerState.UNKNOWN)


def test_waits_double_to_five_minutes():
    backoff, entry, waits = Backoff(), None, []
    for _ in range(7):
        entry = backoff.next(entry, 0)
        waits.append(entry.wait_ns // S)
    assert waits == [10, 20, 40, 80, 160, 300, 300]


def test_ten_minutes_of_quiet_start_anew_strictly():
    backoff, entry = Backoff(), BackoffEntry(300 * S, 0)
    assert backoff.next(entry, 600 * S).wait_ns == 300 * S
    assert backoff.next(entry, 600 * S + 1).wait_ns == 10 * S
    assert not backoff.forgets(entry, 600 * S)
    assert backoff.forgets(entry, 600 * S + 1)


def test_quiet_counts_from_the_last_update():
    backoff, entry = Backoff(), BackoffEntry(300 * S, 1000 * S)
    assert backoff.next(entry, 1600 * S).wait_ns == 300 * S
    assert backoff.next(entry, 1600 * S + 1).wait_ns == 10 * S
    # What counts is when it failed, not when that is noticed.
    assert backoff.next(entry, 9999 * S, event_ns=1600 * S) == BackoffEntry(300 * S, 9999 * S)
    assert not backoff.waits(entry, 1601 * S, 1601 * S)


def test_a_back_off_may_be_of_one_length():
    assert Backoff(5, 5).next(BackoffEntry(5, 0), 1).wait_ns == 5


def test_what_waits():
    backoff, entry = Backoff(), BackoffEntry(20 * S, 100 * S)
    assert backoff.waits(entry, 105 * S, 124 * S)
    assert not backoff.waits(entry, 105 * S, 125 * S)
    assert not backoff.waits(None, 105 * S, 105 * S)
    assert backoff.waits_since_update(entry, 119 * S)
    assert not backoff.waits_since_update(entry, 120 * S)
    assert not backoff.waits_since_update(None, 0)


def test_a_container_that_always_dies_at_once():
    backoff, entry, now, starts = Backoff(), None, 0, []
    for _ in range(5):
        decision = restart_after_exit(backoff, entry, "Always", 0, now)
        now, entry = decision.at_ns, decision.entry
        starts.append(now // S)
    assert starts == [0, 10, 30, 70, 150]


def test_a_container_that_ran_long_starts_at_once():
    entry = BackoffEntry(300 * S, 0)
    long = restart_after_exit(Backoff(), entry, "OnFailure", 1, 601 * S)
    assert (long.at_ns, long.entry.wait_ns) == (601 * S, 10 * S)
    short = restart_after_exit(Backoff(), entry, "OnFailure", 1, 599 * S)
    assert (short.at_ns, short.entry.wait_ns) == (899 * S, 300 * S)
    assert restart_after_exit(Backoff(), entry, "OnFailure", 0, 5).at_ns is None


@given(st.lists(st.integers(0, 2000), max_size=20), st.integers(1, 50), st.integers(50, 400))
def test_a_wait_is_between_its_bounds(gaps, initial, most):
    backoff, entry, now = Backoff(initial * S, most * S), None, 0
    for gap in gaps:
        now += gap * S
        entry = backoff.next(entry, now)
        assert initial * S <= entry.wait_ns <= most * S
        assert entry.last_update_ns == now


def test_bad_back_off_or_policy():
    for initial, most in [(10, 5), (0, 5)]:
        with pytest.raises(InputError, match="wanted 0 < initial_ns <= max_ns"):
            Backoff(initial, most)
    with pytest.raises(UnknownName, match="did you mean 'Always'"):
        restarts("always", ContainerState.EXITED)


# -- probes ------------------------------------------------------------------------


def run(probe, *results, first=None, **more):
    """The worker after each result; the first step sees a new container."""
    worker, workers = first or ProbeWorker(), []
    for place, result in enumerate(results):
        worker = step(probe, worker, Sight(result, new_container=not place and first is None, **more))
        workers.append(worker)
    return workers


def states(workers):
    return [worker.state for worker in workers]


def test_a_result_counts_once_it_came_often_enough_in_a_row():
    probe = Probe(READINESS, success_threshold=3, failure_threshold=2)
    assert states(run(probe, OK, OK, FAIL, OK, OK, OK, FAIL, FAIL)) == [FAIL] * 5 + [OK, OK, FAIL]


def test_a_failed_liveness_probe_holds_until_there_is_another_container():
    probe = Probe(LIVENESS, failure_threshold=2)
    failed = run(probe, FAIL, FAIL, OK)
    assert states(failed) == [OK, FAIL, FAIL]
    assert [worker.on_hold for worker in failed] == [False, True, True]
    assert failed[1].run_length == 0
    anew = step(probe, failed[-1], Sight(FAIL, new_container=True))
    assert (anew.state, anew.on_hold, anew.run_length) == (OK, False, 1)


def test_a_readiness_probe_never_holds():
    assert not run(Probe(READINESS, failure_threshold=1), FAIL)[0].on_hold


def test_others_wait_for_the_startup_probe_and_it_stops_when_it_succeeded():
    startup = Probe(STARTUP)
    assert states(run(startup, FAIL, FAIL, FAIL, started=False)) == [UNKNOWN, UNKNOWN, FAIL]
    done = run(startup, OK, FAIL, started=False)
    assert (states(done), done[0].on_hold) == ([OK, OK], True)
    assert states(run(startup, FAIL, FAIL, FAIL, started=True)) == [UNKNOWN] * 3
    assert states(run(Probe(LIVENESS, failure_threshold=1), FAIL, started=False)) == [OK]


def test_during_the_initial_delay_nothing_is_probed():
    probe = Probe(LIVENESS, initial_delay_seconds=10, failure_threshold=1)
    assert states(run(probe, FAIL, container_age_seconds=9)) == [OK]
    assert states(run(probe, FAIL, container_age_seconds=10)) == [FAIL]


def test_a_probe_that_itself_broke_says_nothing():
    assert run(Probe(LIVENESS), FAIL, None)[1].run_length == 1


def test_no_status_no_state():
    for container in (ProbedContainer.NO_POD_STATUS, ProbedContainer.NO_STATUS):
        assert run(Probe(READINESS), OK, container=container) == [ProbeWorker()]


def test_the_worker_ends_with_its_pod():
    assert run(Probe(READINESS), OK, pod_phase="Succeeded")[0].ended
    leaving = run(Probe(LIVENESS), FAIL, deleting=True)[0]
    assert (leaving.state, leaving.ended) == (OK, True)
    serving = run(Probe(READINESS, success_threshold=1), OK, deleting=True)[0]
    assert (serving.state, serving.ended) == (OK, False)


def test_a_container_that_does_not_run_has_failed():
    waiting = run(Probe(READINESS), OK, container=ProbedContainer.WAITING)[0]
    assert (waiting.state, waiting.ended) == (FAIL, False)
    dead = {"container": ProbedContainer.TERMINATED}
    assert run(Probe(READINESS), OK, **dead, restart_policy="Never")[0].ended
    assert not run(Probe(READINESS), OK, **dead, restart_policy="OnFailure")[0].ended


@given(st.lists(st.sampled_from([OK, FAIL]), max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_the_state_is_that_of_the_last_run_that_was_long_enough(results, up, down):
    workers = run(Probe(READINESS, success_threshold=up, failure_threshold=down), *results)
    expected, length, last = FAIL, 0, None
    for result, worker in zip(results, workers, strict=True):
        length, last = (length + 1 if result is last else 1), result
        if length >= (up if result is OK else down):
            expected = result
        assert worker.state is expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"failure_threshold": 0}, "thresholds of 1 or more"),
        ({"period_seconds": 0}, "wanted a period of 1 s or more"),
        ({"initial_delay_seconds": -1}, "delay of 0 s or more"),
        ({"success_threshold": 2}, "success threshold 2 of a liveness probe; Kubernetes wants 1"),
    ],
)
def test_bad_probes_are_named(change, message):
    with pytest.raises(InputError, match=message):
        replace(Probe(LIVENESS), **change)
