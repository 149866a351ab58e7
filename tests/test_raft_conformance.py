"""The Raft core against the cases recorded from a reference implementation, and the judge against itself."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from k8slab.errors import InputError
from k8slab.experiments.conform_raft import cases, judge

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "raft"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded cases are not part of the project")
CATEGORIES = (
    "confchange", "log", "network", "node", "paper", "progress", "quorum", "schedule", "script", "statistical",
    "transition",
)  # fmt: skip


@recorded
@pytest.mark.parametrize("category", CATEGORIES)
def test_the_core_does_as_recorded(category):
    outcomes = {name: judge(case) for _, name, case in cases([RECORDED / f"{category}.json"])}
    assert outcomes, f"{category} holds no case"
    wrong = [f"{name}: {outcome.differences[:2]}" for name, outcome in outcomes.items() if not outcome.passed]
    assert not wrong, "\n".join(wrong)


@recorded
def test_what_was_seen_is_in_the_schema_of_what_was_expected():
    """Put in the place of the expectation, what was seen passes as well."""
    for _, name, case in cases([RECORDED / "transition.json"]):
        outcome = judge(case)
        parts = {key: value for key, value in case.items() if key not in ("after", "out", "out_persist", "error")}
        assert judge({**parts, **outcome.actual}).passed, name


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
    for _, name, case in cases([RECORDED / f"{category}.json"]):
        if category == "confchange" and "steps" in case:
            continue
        wrong = copy.deepcopy(case)
        spoil(wrong)
        outcome = judge(wrong)
        assert not outcome.passed, name
        assert outcome.differences, name
        break


def test_cases_come_with_their_category(tmp_path):
    file = tmp_path / "some.json"
    case = {"id": "quorum/x/1", "op": "vote", "voters": [1, 2, 3], "outgoing": None, "votes": {}, "expect": "pending"}
    file.write_text(json.dumps([case]))
    ((category, name, found),) = cases([file])
    assert (category, name) == ("quorum", "quorum/x/1")
    outcome = judge(found)
    assert (outcome.passed, outcome.tier, outcome.actual) == (True, "A", "pending")


def test_a_case_of_no_known_category_is_an_error():
    with pytest.raises(InputError, match="no judge for category 'poker'"):
        judge({"id": "poker/1"})


def test_a_case_that_makes_the_judge_stumble_fails_alone():
    outcome = judge({"id": "schedule/timed/1", "tier": "timed"})
    assert (outcome.passed, outcome.tier, outcome.actual) == (False, "timed", None)
    assert outcome.differences == ["KeyError: 'config'"]
