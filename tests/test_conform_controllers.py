"""The suite of recorded controller cases: the cases themselves, and a judge that lets nothing pass by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k8slab.errors import InputError
from k8slab.experiments.conform_controllers import KINDS, ControllersSuite
from k8slab.experiments.conform_controllers.compare import differences
from k8slab.experiments.conformance import Case, conform

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "controllers"
FILES = (
    "hpa_cases", "hpa_extra_cases", "pdb_cases", "nodelifecycle_cases", "backoff_cases", "clusterautoscaler_cases",
    "vpa_cases", "quota_cases",
)  # fmt: skip
RESTART = {"id": "r-1", "input": {"kind": "restart", "restart_policy": "Never", "container": "exited_0"}}


SUITE = ControllersSuite()


def judge(given):
    """A case's outcome, by its content."""
    return SUITE.judge(Case("few_cases", given["id"], given))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded cases are not part of the project")
@pytest.mark.parametrize("name", FILES)
def test_the_rules_decide_as_recorded(name):
    found = conform("controllers", [RECORDED / f"{name}.jsonl"], progress=False)
    assert found.ok, "\n".join(f"{case}: {difference}" for case, difference in found.differences(5))
    assert list(found.categories()) == [name]


def test_a_wrong_answer_is_told_with_both_values():
    outcome = judge({**RESTART, "expect": {"restart": True}})
    assert not outcome.passed
    assert outcome.actual == {"restart": False}
    assert [*map(str, outcome.differences)] == ["restart: expected true, got false"]
    assert judge({**RESTART, "expect": {"restart": False}}).passed


def test_what_is_not_built_or_raises_or_is_not_computed_fails(tmp_path):
    path = tmp_path / "few_cases.jsonl"
    broken = {**RESTART, "input": {**RESTART["input"], "restart_policy": "Often"}, "expect": {}}
    given = [{"id": "x", "input": {"kind": "weather"}, "expect": {}}, broken, {**RESTART, "expect": {"colour": 1}}]
    path.write_text("".join(f"{json.dumps(case)}\n" for case in given))
    found = conform("controllers", [path], progress=False)
    assert found.lines() == ["few_cases: 0/3", "0 passed, 3 failed"]
    told = [difference.got for _, difference in found.differences()]
    assert told[0].startswith("UnknownName: unknown kind of case 'weather'")
    assert told[1].startswith("UnknownName: unknown restart policy 'Often'")
    assert told[2] == "nothing"


def test_an_error_that_was_not_expected_is_a_difference():
    (told,) = differences({}, {"error": "missing_request"}, "x")
    assert str(told) == "error: expected none, got missing_request"
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


def test_a_pod_without_containers_in_the_metrics_is_missing():
    pods = [
        {"name": name, "phase": "Running", "ready": "True", "ready_since": None, "start": -900, "deleted": False,
         "containers": [{"name": "c", "requests": {"cpu": 1000}}], "init_containers": []}
        for name in ("a", "b")
    ]  # fmt: skip
    rows = [
        {"pod": "a", "ts": 0, "window": 60, "containers": {"c": {"cpu": 900}}},
        {"pod": "b", "ts": 0, "window": 60, "containers": {}},
    ]
    asked = {
        "kind": "resource_utilization", "current_replicas": 2, "resource": "cpu", "container": None,
        "target_utilization": 30, "tolerance": {"down": 0.1, "up": 0.1}, "cpu_initialization_s": 300,
        "initial_readiness_delay_s": 30, "pods": pods, "metrics": rows,
    }  # fmt: skip
    assert KINDS["resource_utilization"](asked) == {
        "replicas": 3, "utilization_percent": 90, "raw_average_milli": 900,
    }  # fmt: skip


def test_a_try_tells_who_was_handed_out_and_who_is_to_retry_is_due_at_the_next():
    added = [{"op": "add", "value": name} for name in ("a", "b", "c")]
    tries = [{"op": "try", "answers": {"b": "retry_later"}}, {"op": "order"}, {"op": "try", "answers": {}}]
    asked = {"kind": "queue", "operations": [*added, *tries, {"op": "order"}]}
    assert KINDS["queue"](asked) == {"results": [["a", "c"], ["b"], ["b"], []]}


def test_two_changes_of_one_instant_come_one_after_the_other():
    seen = {"t": 0, "event": "pod", "pod": "p", "node": "n"}
    events = [
        {"t": 0, "event": "node_taints", "node": "n", "no_execute": [1]},
        {**seen, "tolerations": [{"taint": 1, "seconds": 1}]},
        {**seen, "tolerations": [{"taint": 1, "seconds": 100}]},
    ]
    asked = {"kind": "taint_eviction", "events": events, "horizon_s": 2}
    assert KINDS["taint_eviction"](asked) == {"deleted_at": {"p": 1}}


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ({"kind": "status", "min_available": 1, "pods": [{"name": "p", "ready": True}, {"name": "q", "ready": True}]},
         {"disruptions_allowed": 1, "current_healthy": 2, "desired_healthy": 1, "expected_pods": 2}),
        ({"kind": "eviction", "pod": {"phase": "Running"},
          "budget": {"disruptions_allowed": 0, "current_healthy": 1, "desired_healthy": 1, "selector": "matching"}},
         {"outcome": "deleted"}),
        ({"kind": "admission", "object": {"type": "Pod", "containers": []}}, {"admitted": True, "used_after": {}}),
        ({"kind": "deletion_budget", "max_scale_down_parallelism": 10, "max_drain_parallelism": 1,
          "drain": [["ng", 0, 2]]}, {"empty": [], "drain": [["ng", 0, 1]]}),
        ({"kind": "lists", "op": "max", "a": {"cpu": "1"}}, {"result": {"cpu": "1"}}),
        ({"kind": "external_value", "current_replicas": 3, "target_value_milli": 5, "values_milli": []},
         {"error": "no_metrics_returned"}),
    ],
)  # fmt: skip
def test_what_a_case_leaves_out_is_not_set(given, expect):
    assert judge({"id": "x-1", "input": given, "expect": expect}).passed


def test_cases_are_read_with_their_files_stem(tmp_path):
    path = tmp_path / "few_cases.jsonl"
    case = {**RESTART, "expect": {"restart": False}}
    path.write_text(f"{json.dumps(case)}\n\n{json.dumps({**case, 'id': 'r-2'})}\n")
    assert [(case.category, case.id) for case in SUITE.cases([path])] == [
        ("few_cases", "r-1"), ("few_cases", "r-2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"bad\.jsonl, line 2: not JSON"),
        ("{}", r'bad\.jsonl, line 2: wanted an object with an "id"'),
        ('{"id": "x", "input": {}, "expect": {}}', r"bad\.jsonl, line 2: case 'x' has no"),
        ('{"id": "x", "input": {"kind": "restart"}}', r"bad\.jsonl, line 2: case 'x' has no"),
    ],
)
def test_a_line_that_is_no_case_is_an_error_with_its_place(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps({**RESTART, 'expect': {}})}\n{line}\n")
    with pytest.raises(InputError, match=message):
        list(SUITE.cases([path]))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot read cases from .*none\.jsonl"):
        list(SUITE.cases([tmp_path / "none.jsonl"]))


def test_every_kind_has_one_answer():
    assert len(KINDS) == 70
