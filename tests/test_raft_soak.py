"""The soak: many schedules in one command, counted, and a broken rule cut down and told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from k8slab.cli import app
from k8slab.domain.raft import election
from k8slab.errors import InputError, Interrupted
from k8slab.experiments import raft_soak
from k8slab.experiments.raft_soak import BrokenRule, Soak, play_block, soak_raft
from k8slab.simulation.raft_faults import random_schedule, random_switches
from k8slab.simulation.raft_lab import play as play_schedule


@pytest.fixture
def votes_for_any_log(monkeypatch):
    """A member that votes for a candidate whatever is in its log."""
    monkeypatch.setattr(election, "answer_vote", _vote_always)


def _vote_always(raft, message):
    raft.log.is_up_to_date = lambda index, term: True
    _ANSWER(raft, message)


_ANSWER = election.answer_vote


def test_a_soak_is_the_sum_of_its_schedules():
    whole = soak_raft(22, seed=3, workers=2)
    assert whole == play_block(range(3, 23)) + play_block(range(23, 25))
    assert whole.ok
    assert whole.schedules == 22
    assert str(whole).startswith("22 schedules, 0 violations: ")


def test_a_broken_rule_is_cut_down_and_told(votes_for_any_log):
    found = soak_raft(10, workers=1)
    assert not found.ok
    one = found.broken[0]
    assert one.rule in ("leader completeness", "committed stays", "state machine safety", "refusal", "linearizability")
    assert f"<td>{one.seed}</td>" in found._repr_html_()


def test_the_command_says_what_came_and_leaves_with_it(monkeypatch):
    broken = BrokenRule(17, "log matching", "n1 has another entry", ("Crash(at_ns=5, member='n1')",))
    monkeypatch.setattr(raft_soak, "play_block", lambda seeds: Soak(seeds.start, len(seeds), 9, 8, 7, 6, 0, (broken,)))
    run = CliRunner().invoke(app, ["raft", "soak", "--schedules", "20", "--workers", "1"])
    assert run.exit_code == 1, run.output
    assert run.output.splitlines() == [
        "seed 17: log matching: n1 has another entry",
        "  Crash(at_ns=5, member='n1')",
        "20 schedules, 1 violations: 9 events, 7 elections, 8 entries applied, 6 requests judged",
    ]


def test_the_command_passes_on_the_shipped_core():
    run = CliRunner().invoke(app, ["raft", "soak", "--schedules", "3", "--workers", "1"])
    assert (run.exit_code, run.output[:26]) == (0, "3 schedules, 0 violations:")


def test_an_interrupted_soak_hands_over_what_it_played(monkeypatch):
    blocks = iter([play_block])

    def one_then_interrupt(seeds):
        for play in blocks:
            return play(seeds)
        raise KeyboardInterrupt

    monkeypatch.setattr(raft_soak, "play_block", one_then_interrupt)
    with pytest.raises(Interrupted, match=r"interrupted after 20 of 60 schedules: 20 schedules, 0 violations") as told:
        soak_raft(60, workers=1)
    assert told.value.partial.schedules == 20


@pytest.mark.parametrize("wrong", [{"schedules": 0}, {"seed": -1}, {"workers": 0}])
def test_a_soak_of_nothing_is_refused(wrong):
    with pytest.raises(InputError, match="wanted"):
        soak_raft(**{"schedules": 1, **wrong})


def test_without_the_answer_to_older_terms_a_cluster_may_never_elect_again():
    """A voter that was away while others joined stands in ever newer terms, and they never hear of it."""
    schedule, config = random_schedule(2999), random_switches(2999)
    assert play_schedule(schedule, config).violation is None
    as_in_etcd = play_schedule(schedule, replace(config, answer_older_terms=False)).violation
    assert as_in_etcd is not None
    assert as_in_etcd.rule == "liveness"


def test_voters_that_lag_behind_a_change_of_membership_may_need_an_operator():
    """Those who applied the change are no voters any more, the others want their votes, and have shorter logs."""
    run = play_schedule(random_schedule(5280), random_switches(5280))
    assert run.violation is None
    assert run.record.helped
    assert str(play_block(range(5280, 5281))).endswith("; 1 needed an operator")
