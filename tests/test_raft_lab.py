"""The laboratory: schedules without a violation, faults one by one, shrinking, frames."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k8slab.domain.raft import Change, RaftConfig
from k8slab.errors import InputError
from k8slab.simulation.raft_faults import (
    LEADER,
    MS,
    SECOND,
    ChangeMembers,
    ClockModel,
    Compact,
    Crash,
    CutOneWay,
    DiskModel,
    Heal,
    Isolate,
    NetworkModel,
    Partition,
    Request,
    Restart,
    Schedule,
    SlowDisk,
    Transfer,
    random_schedule,
    random_switches,
)
from k8slab.simulation.raft_lab import RaftLab, play


def violations(seeds):
    return [(run.schedule.seed, run.violation) for run in RaftLab().search(seeds) if run.violation is not None]


def test_random_schedules_break_no_rule():
    assert violations(range(40)) == []


@pytest.mark.long
def test_five_hundred_random_schedules_break_no_rule():
    assert violations(range(10_000, 10_500)) == []


def test_a_run_is_a_function_of_its_schedule():
    one, other = (RaftLab().play(random_schedule(11)) for _ in range(2))
    assert one.record == other.record
    assert one.history == other.history
    assert random_schedule(11) == random_schedule(11) != random_schedule(12)
    assert random_switches(11) == random_switches(11)


def writes(count):
    return [Request(500 * MS + n * 50 * MS, client=n % 3, kind="append", key="x", value=n) for n in range(count)]


def last_values(run):
    """What the key holds after the last answered write of a calm run."""
    return max((op.answer for op in run.history if op.key == "x" and op.answer is not None), key=len)


@pytest.mark.parametrize(
    "faults",
    [
        [Crash(600 * MS, LEADER, down_ns=700 * MS)],
        [Crash(600 * MS, "n1"), Restart(900 * MS, "n1"), Crash(1200 * MS, "n2"), Restart(1500 * MS, "n2")],
        [Partition(600 * MS, (("n1", "n2"), ("n3",))), Heal(1500 * MS)],
        [Isolate(600 * MS, LEADER), Heal(1800 * MS)],
        [CutOneWay(600 * MS, "n1", "n2"), CutOneWay(600 * MS, "n2", "n3")],
        [Transfer(600 * MS, "n1"), Transfer(900 * MS, "n2"), Transfer(1200 * MS, "n3")],
        [SlowDisk(600 * MS, "n2", 20)],
        [Compact(700 * MS, LEADER), Crash(800 * MS, "n3", down_ns=500 * MS), Compact(1200 * MS, LEADER)],
    ],
    ids=lambda faults: type(faults[0]).__name__,
)
def test_every_write_is_done_exactly_once_whatever_fails(faults):
    lab = RaftLab(members=3, seed=5, network=NetworkModel(loss=0.1, duplicate=0.1), disk=DiskModel((0, 5 * MS)))
    run = lab.run(*faults, *writes(20))
    assert run.violation is None
    assert run.linearizable
    assert sorted(last_values(run)) == list(range(20))


def test_a_voter_alone_answers_reads_while_its_membership_is_joint_with_itself():
    actions = (
        ChangeMembers(420 * MS, (Change("voter", "n1"),), "explicit"),
        Request(600 * MS, client=1, kind="get", key="y"),
    )
    assert RaftLab(1).run(*actions, until_ns=SECOND).violation is None


def test_queues_on_the_way_hold_messages_up_and_break_nothing():
    """Uniform on 1 to 5 ms, and an exponential of mean 20 ms on top: a mean of 23."""
    run = RaftLab(3, seed=5, network=NetworkModel(tail_ns=20 * MS)).run(*writes(20), until_ns=2 * SECOND)
    assert run.violation is None
    assert sorted(last_values(run)) == list(range(20))
    messages = run.messages()[lambda frame: frame["sent_ns"] < 2 * SECOND]
    ways = (messages["arrived_ns"] - messages["sent_ns"]) / MS
    assert ways.mean() == pytest.approx(23, rel=0.1)
    assert ways.max() > 80


# A proposal that a follower passes on can arrive twice.
TWICE = NetworkModel(duplicate=0.5)


def test_without_sessions_a_repeated_write_is_done_twice_and_the_checker_sees_it():
    verdicts = [RaftLab(3, seed, network=TWICE, sessions=False).run(*writes(20)).violation for seed in range(5)]
    assert "linearizability" in {violation.rule for violation in verdicts if violation is not None}
    assert [RaftLab(3, seed, network=TWICE).run(*writes(20)).violation for seed in range(5)] == [None] * 5


def test_members_come_and_go_while_clients_write():
    schedule = Schedule(
        ("n1", "n2", "n3"),
        seed=3,
        spares=("n4", "n5"),
        actions=(
            *writes(20),
            ChangeMembers(700 * MS, (Change("learner", "n4"),)),
            ChangeMembers(1000 * MS, (Change("voter", "n4"), Change("voter", "n5"), Change("remove", "n1"))),
        ),
        faults_until_ns=3 * SECOND,
    )
    run = RaftLab().play(replace(schedule, actions=tuple(sorted(schedule.actions, key=lambda action: action.at_ns))))
    assert run.violation is None
    assert sorted(last_values(run)) == list(range(20))
    final = run.commits().groupby("member")["index"].max()
    assert final["n4"] == final["n5"] == final.max()


def test_leases_answer_stale_reads_when_clocks_drift_and_asking_does_not():
    """Thesis §6.4.1: a lease is as good as the clocks; one with a slow clock that is cut off reads what was."""
    config = RaftConfig(pre_vote=True, check_quorum=True, lease_reads=True, step_down_on_removal=True)
    clocks = ClockModel(drift=0.6)
    # Readers stay with the leader they know; each write is a new client's, which asks whoever leads now.
    reads = [Request(700 * MS + n * 5 * MS, client=n % 5, kind="get", key="x") for n in range(150)]
    puts = [Request(800 * MS + n * 50 * MS, client=10 + n, kind="put", key="x", value=n) for n in range(12)]
    faults = [Isolate(800 * MS, LEADER), Heal(3 * SECOND)]
    run = RaftLab(5, seed=12, config=config, clocks=clocks).run(*faults, *reads, *puts)
    assert run.violation.rule == "linearizability"
    asking = replace(config, lease_reads=False)
    assert RaftLab(5, seed=12, config=asking, clocks=clocks).run(*faults, *reads, *puts).violation is None


def test_a_run_that_broke_a_rule_is_cut_down_to_what_it_takes():
    labs = [RaftLab(3, seed, network=TWICE, sessions=False) for seed in range(5)]
    lab, run = next((lab, run) for lab in labs if (run := lab.run(*writes(20))).violation is not None)
    short = lab.shrink(run)
    assert short.violation.rule == run.violation.rule
    assert len(short.schedule.actions) < len(run.schedule.actions)
    # Nothing of what is left could go.
    for position in range(len(short.schedule.actions)):
        actions = short.schedule.actions[:position] + short.schedule.actions[position + 1 :]
        again = play(replace(short.schedule, actions=actions), short.config, sessions=False)
        assert again.violation is None or again.violation.rule != run.violation.rule


@pytest.fixture(scope="module")
def crashed():
    """A leader that crashes while clients write."""
    return RaftLab(3, seed=2).run(*writes(5), Crash(900 * MS, LEADER, down_ns=400 * MS))


def test_frames_tell_what_happened(crashed):
    roles = crashed.roles()
    assert (roles["role"] == "leader").sum() >= 2
    assert (roles["role"] == "down").sum() == 1
    messages = crashed.messages()
    assert (messages.loc[messages["arrived_ns"] >= 0, "arrived_ns"] >= messages["sent_ns"]).all()
    assert crashed.operations()["kind"].tolist().count("append") == 5
    assert (crashed.commit_latency_ns() > 0).all()
    events = crashed.events()
    assert events["at_ns"].is_monotonic_increasing
    assert (events["event"] == "request").sum() == len(crashed.history)
    assert events.loc[events["event"] == "action", "detail"].tolist() == ["Crash"]


def test_elections_say_how_long_there_was_no_leader(crashed):
    elections = crashed.elections()
    assert elections["term"].is_monotonic_increasing
    assert (elections["stood_ns"] <= elections["elected_ns"]).all()
    first, second = elections.iloc[0], elections.iloc[1]
    assert first["without_leader_ns"] == first["elected_ns"]
    assert second["without_leader_ns"] == second["elected_ns"] - 900 * MS


def test_leadership_covers_the_time_and_adds_up_to_availability(crashed):
    spans = crashed.leadership()
    assert spans["from_ns"].iloc[0] == 0
    assert spans["until_ns"].iloc[-1] == crashed.ended_ns
    assert (spans["from_ns"].iloc[1:].to_numpy() == spans["until_ns"].iloc[:-1].to_numpy()).all()
    led = spans[spans["leaders"] > 0]
    assert crashed.availability() == pytest.approx((led["until_ns"] - led["from_ns"]).sum() / crashed.ended_ns)
    without = crashed.elections()["without_leader_ns"].sum()
    assert crashed.availability() == pytest.approx(1 - without / crashed.ended_ns)
    assert 0.5 < crashed.availability() < 1.0


def test_a_run_and_a_lab_can_be_looked_at(crashed):
    assert "none broken" in crashed._repr_html_()
    assert "<LabRun seed 2: 3 members, no rule broken>" in repr(crashed)
    assert "n1, n2, n3" in RaftLab(3)._repr_html_()
    assert [log.member for log in crashed.logs] == ["n1", "n2", "n3"]
    assert len({log.terms[: log.committed - log.base_index] for log in crashed.logs}) == 1


def test_frames_of_nothing_have_their_columns_all_the_same():
    run = RaftLab(2, seed=1).play(Schedule(("a", "b"), faults_until_ns=1))
    empty = replace(run, history=(), record=type(run.record)([], [], []))
    for name in ("events", "roles", "elections", "messages", "commits", "operations", "commit_latency"):
        frame = getattr(empty, name)()
        assert frame.empty
        assert len(frame.columns) > 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Schedule(()), "without members"),
        (lambda: Schedule(("a", "b", "a")), "listed twice"),
        (lambda: NetworkModel(loss=2.0), "no probability"),
        (lambda: NetworkModel(delay_ns=(5, 1)), "low <= high"),
        (lambda: NetworkModel(tail_ns=-1), "tail_ns=-1"),
        (lambda: DiskModel(sync_ns=(5, 1)), "low <= high"),
        (lambda: ClockModel(drift=1.0), "drift"),
    ],
)
def test_what_no_cluster_can_be_like_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        wrong()
