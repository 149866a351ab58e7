"""The Raft core against the cases recorded from a reference implementation, and the judge against itself."""

from __future__ import annotations

import copy
import json
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
@pytest.mark.parametrize("category", CATEGORIES)
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
