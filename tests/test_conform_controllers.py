"""The suite of recorded controller cases: the cases themselves, and a judge that lets nothing pass by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k8slab.errors import InputError
from k8slab.experiments.conform_controllers import KINDS, cases, judge
from k8slab.experiments.conform_controllers.compare import differences

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "controllers"
FILES = (
    "hpa_cases", "hpa_extra_cases", "pdb_cases", "nodelifecycle_cases", "backoff_cases", "clusterautoscaler_cases",
    "vpa_cases", "quota_cases",
)  # fmt: skip
RESTART = {"id": "r-1", "input": {"kind": "restart", "restart_policy": "Never", "container": "exited_0"}}


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded cases are not part of the project")
@pytest.mark.parametrize("name", FILES)
def test_the_rules_decide_as_recorded(name):
    judged = [(case_id, judge(case)) for _, case_id, case in cases([RECORDED / f"{name}.jsonl"])]
    assert judged
    assert [(case_id, outcome.differences) for case_id, outcome in judged if not outcome.passed] == []


def test_a_wrong_answer_is_told_with_both_values():
    outcome = judge({**RESTART, "expect": {"restart": True}})
    assert not outcome.passed
    assert outcome.actual == {"restart": False}
    assert outcome.differences == ["restart: expected true, got false"]
    assert judge({**RESTART, "expect": {"restart": False}}).passed


def test_what_is_not_built_or_raises_or_is_not_computed_fails():
    unknown = judge({"id": "x", "input": {"kind": "weather"}, "expect": {}})
    assert not unknown.passed
    assert "'weather' isn't built" in unknown.differences[0]
    broken = judge({"id": "x", "input": {**RESTART["input"], "restart_policy": "Often"}, "expect": {}})
    assert not broken.passed
    assert broken.differences[0].startswith("raises UnknownName: unknown restart policy 'Often'")
    missing = judge({**RESTART, "expect": {"colour": 1}})
    assert missing.differences == ["colour: expected 1, got nothing"]


def test_an_error_that_was_not_expected_is_a_difference():
    assert list(differences({}, {"error": "missing_request"}, "x")) == ["error: expected none, got missing_request"]
    assert list(differences({"error": "a"}, {"error": "a"}, "x")) == []


@pytest.mark.parametrize(
    ("expected", "actual", "kind", "same"),
    [
        ({"ratio": 1.0}, {"ratio": 1.0 + 1e-7}, "utilization_ratio", True),
        ({"ratio": 1.0}, {"ratio": 1.0 + 1e-5}, "utilization_ratio", False),
        ({"utilization": 1.0}, {"utilization": 1.005}, "utilization", True),
        ({"utilization": 1.0}, {"utilization": 1.02}, "utilization", False),
        ({"usage": {"memory": "1Gi"}}, {"usage": {"memory": "1024Mi"}}, "usage", True),
        ({"usage": {"memory": "1Gi"}}, {"usage": {"memory": "1G"}}, "usage", False),
        ({"usage": {"memory": "1Gi"}}, {"usage": {"memory": "1Gi", "cpu": "1"}}, "usage", False),
        ({"no_execute": ["a", "b"]}, {"no_execute": ["b", "a"]}, "no_execute_taint", True),
        ({"log": [1, 2]}, {"log": [2, 1]}, "stabilize_with_behavior", False),
        ({"restart": True}, {"restart": 1}, "restart", False),
        ({"replicas": None}, {"replicas": 0}, "x", False),
        ({"replicas": 3}, {"replicas": 3, "more": 1}, "x", True),
    ],
)
def test_what_counts_as_equal(expected, actual, kind, same):
    assert (list(differences(expected, actual, kind)) == []) is same


def test_cases_are_read_with_their_files_stem(tmp_path):
    path = tmp_path / "few_cases.jsonl"
    case = {**RESTART, "expect": {"restart": False}}
    path.write_text(f"{json.dumps(case)}\n\n{json.dumps({**case, 'id': 'r-2'})}\n")
    assert [(category, case_id) for category, case_id, _ in cases([path])] == [
        ("few_cases", "r-1"), ("few_cases", "r-2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"bad\.jsonl, line 2: not JSON"),
        ("[]", r'bad\.jsonl, line 2: wanted an object with an "id"'),
        ('{"id": "x", "input": {}, "expect": {}}', r"bad\.jsonl, line 2: case 'x' has no"),
        ('{"id": "x", "input": {"kind": "restart"}}', r"bad\.jsonl, line 2: case 'x' has no"),
    ],
)
def test_a_line_that_is_no_case_is_an_error_with_its_place(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps({**RESTART, 'expect': {}})}\n{line}\n")
    with pytest.raises(InputError, match=message):
        list(cases([path]))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot read cases from .*none\.jsonl"):
        list(cases([tmp_path / "none.jsonl"]))


def test_every_kind_has_one_answer():
    assert len(KINDS) == 70
