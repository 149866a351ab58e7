"""The Raft core against the cases recorded from a reference implementation, and the judge against itself."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest

from k8slab.errors import InputError
from k8slab.experiments.conform_raft import RaftSuite
from k8slab.experiments.conformance import Case, conform, suite

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "raft"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded cases are not part of the project")
CATEGORIES = (
    "confchange", "log", "network", "node", "paper", "progress", "quorum", "schedule", "script", "statistical",
    "transition",
)  # fmt: skip


SUITE = RaftSuite()


def judge(given):
    """A case's outcome, by its content."""
    return SUITE.judge(Case(given["id"].split("/")[0], given["id"], given))


def recorded_cases(category):
    return list(SUITE.cases([RECORDED / f"{category}.json"]))


@recorded
@pytest.mark.parametrize(
    "category", [pytest.param(name, marks=[pytest.mark.long] if name == "statistical" else []) for name in CATEGORIES]
)
def test_the_core_does_as_recorded(category):
    found = conform("raft", [RECORDED / f"{category}.json"], progress=False)
    assert found.ok, "\n".join(f"{case}: {difference}" for case, difference in found.differences(5))
    assert list(found.categories()) == [category]


@recorded
def test_what_was_seen_is_in_the_schema_of_what_was_expected():
    """Put in the place of the expectation, what was seen passes as well."""
    for case in recorded_cases("transition"):
        outcome = SUITE.judge(case)
        parts = {key: value for key, value in case.given.items() if key not in ("after", "out", "out_persist", "error")}
        assert judge({**parts, **outcome.actual}).passed, case.id


@recorded
@pytest.mark.parametrize(
    ("category", "spoil"),
    [
        ("quorum", lambda case: case.update(expect="no such thing")),
        ("confchange", lambda case: case.update(expect=None)),
        ("log", lambda case: case.update(expect=-1)),
        ("paper", lambda case: case["expect"].update(dict.fromkeys(case["expect"], "no such thing"))),
        ("transition", lambda case: case["after"].update(term=77)),
        ("node", lambda case: case["steps"][-1].update(expect={"term": 77})),
        ("network", lambda case: case["steps"][-1].update(expect={"1": {"term": 77}})),
        ("script", lambda case: case["steps"][0]["expect"]["nodes"]["1"].update(term=77)),
        ("schedule", lambda case: case["steps"][-1].update(leader=77)),
    ],
)
def test_a_wrong_expectation_is_told(category, spoil):
    case = next(case for case in recorded_cases(category) if category != "confchange" or "steps" not in case.given)
    wrong = copy.deepcopy(dict(case.given))
    spoil(wrong)
    outcome = judge(wrong)
    assert not outcome.passed, case.id
    assert outcome.differences, case.id


# Kinds of chance that no public case has: how often the first two of five patiences end together (23 % by
# arithmetic: 1 - sum of (j/10)^4 / 2), a text as a bound, delays that vary, a range of a far quantile.
CONFLICT = {"role": "candidate", "election_tick": 10, "voters": 5, "rounds": 5000}
FAR = {"failed": 1, "one_way_ms": [30, 40], "election_timeout_ms": [300, 600], "logs": "identical", "trials": 2500}


@pytest.mark.parametrize(
    ("case", "passes"),
    [
        ({"id": "statistical/nonconflict/a", **CONFLICT, "expect": "P(conflict) <= 0.3"}, True),
        ({"id": "statistical/nonconflict/b", **CONFLICT, "expect": 0.3}, True),
        ({"id": "statistical/nonconflict/c", **CONFLICT, "expect": 0.233, "tolerance": 0.02}, True),
        ({"id": "statistical/nonconflict/d", **CONFLICT, "expect": "at most 20% of the rounds"}, False),
        ({"id": "statistical/nonconflict/e", **CONFLICT, "role": "follower", "expect": "at least 0.2"}, True),
        ({"id": "statistical/split/u", "setup": {"cluster": 5, "failed": 1, "one_way": [0.1, 0.2]}, "expect": 0.16,
          "tolerance_abs": 0.02}, True),
        ({"id": "statistical/variable/u", "setup": {"cluster": 5, "failed": 2, "one_way": "U(0.1, 0.2)"},
          "expect": 0.395, "tolerance_abs": 0.02}, True),
        ({"id": "statistical/split/v", "setup": {"cluster": 5, "failed": 1, "one_way": {"uniform": [0.1, 0.2]}},
          "expect": 0.25, "tolerance_abs": 0.02}, False),
        ({"id": "statistical/paper/x", "setup": FAR, "expect": {"mean": 468.6}, "range_p999": [None, 1500]}, True),
        ({"id": "statistical/paper/y", "setup": FAR, "expect": {"mean": 468.6}, "range_p999": [1500, None]}, False),
        ({"id": "statistical/paper/z", "setup": FAR, "expect": {"mean": 600.0}, "tolerance_mean": 0.05}, False),
    ],
    ids=lambda value: value["id"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_chance_of_every_kind_is_judged(case, passes):
    outcome = judge(case)
    assert (outcome.passed, bool(outcome.differences)) == (passes, not passes)


def test_chance_of_an_unknown_kind_is_an_error_that_says_which_there_are():
    with pytest.raises(InputError, match="no judge for 'weather'; known: past_timeout, randomized"):
        judge({"id": "statistical/weather/1", "expect": 1})


def test_cases_come_with_their_category(tmp_path):
    file = tmp_path / "some.json"
    given = {"id": "quorum/x/1", "op": "vote", "voters": [1, 2, 3], "outgoing": None, "votes": {}, "expect": "pending"}
    file.write_text(json.dumps([given]))
    (case,) = suite("raft").cases([file])
    assert (case.category, case.id) == ("quorum", "quorum/x/1")
    outcome = SUITE.judge(case)
    assert (outcome.passed, outcome.actual) == (True, "pending")
    assert outcome.compared == outcome.equal == {("everything: functions and rules", "cases"): 1}


def test_a_case_of_no_known_category_is_an_error(tmp_path):
    file = tmp_path / "some.json"
    file.write_text(json.dumps([{"id": "poker/1"}]))
    with pytest.raises(InputError, match=r"some\.json, item 0: id is 'poker/1'; wanted a slash after one of quorum"):
        conform("raft", [file], progress=False)


def test_a_case_that_makes_the_judge_stumble_fails_alone(tmp_path):
    file = tmp_path / "some.json"
    good = {"id": "quorum/x/1", "op": "vote", "voters": [1, 2, 3], "outgoing": None, "votes": {}, "expect": "pending"}
    file.write_text(json.dumps([{"id": "schedule/timed/1", "tier": "timed"}, good]))
    found = conform("raft", [file], progress=False)
    assert found.lines() == ["schedule: 0/1", "quorum: 1/1", "1 passed, 1 failed"]
    ((case, difference),) = found.differences()
    assert (case, difference.got[:18]) == ("schedule/timed/1", "KeyError: 'config'")


def perturbed(case, dice, steps):
    """A recorded schedule with other switches, more members, or steps of other schedules strewn in."""
    case = copy.deepcopy(case)
    case["config"]["pre_vote"], case["config"]["check_quorum"] = (dice.random() < 0.5 for _ in range(2))
    case["nodes"] += dice.randrange(3)
    for _ in range(dice.randrange(8)):
        step = {**copy.deepcopy(dice.choice(steps)), "expect": {}}
        if step.get("node", 1) <= case["nodes"]:
            case["steps"].insert(dice.randrange(len(case["steps"]) + 1), step)
    return case


@recorded
@pytest.mark.long
def test_schedules_that_nobody_recorded_are_played_to_their_end():
    """Cases that decide hold other parameters than these: none may make the core refuse or the judge stumble."""
    dice, cases = random.Random(0), [copy.deepcopy(dict(case.given)) for case in recorded_cases("schedule")]
    # Which entries can be compacted depends on the rest of the schedule.
    for case in cases:
        case["steps"] = [step for step in case["steps"] if step["op"] != "compact"]
    steps = [step for case in cases for step in case["steps"]]
    for _ in range(300):
        case = perturbed(dice.choice(cases), dice, steps)
        played = judge(case)
        assert isinstance(played.actual, list)
        assert len(played.actual) == len(case["steps"])
