"""Conformance: the runner on a suite of sums, and the kube-scheduler suite held against the twin and the recorded."""

from __future__ import annotations

import copy
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from k8slab.analysis.conformance_report import render
from k8slab.analysis.frames import check_frame
from k8slab.cli import app
from k8slab.errors import InputError, Interrupted, OutputError, UnknownName
from k8slab.experiments.conform_kube_scheduler import KubeScheduler, actual
from k8slab.experiments.conformance import (
    Case,
    Conformance,
    Difference,
    Outcome,
    case_files,
    conform,
    records,
    suite,
    suite_names,
)
from tests.kube.scenario import differences, expectation

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "kube-scheduler"
CATEGORIES = (
    "edge", "gates", "images", "interpod", "mixed", "nodeaffinity", "ports", "preemption", "resources", "sequence",
    "spread", "strategy", "taints")  # fmt: skip
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
Json = dict[str, Any]


recorded_there = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded scenarios are not part of the project")


@recorded_there
@pytest.mark.parametrize("category", CATEGORIES)
def test_the_library_decides_every_sixth_scenario_as_recorded(category: str, tmp_path: Path) -> None:
    with gzip.open(RECORDED / f"{category}.jsonl.gz", "rt", encoding="utf-8") as file:
        sample = tmp_path / f"{category}.jsonl"
        sample.write_text("".join([*file][::6]), encoding="utf-8")
    decides_as_recorded(category, sample)


@pytest.mark.long
@recorded_there
@pytest.mark.parametrize("category", CATEGORIES)
def test_the_library_decides_as_recorded(category: str) -> None:
    decides_as_recorded(category, RECORDED / f"{category}.jsonl.gz")


def decides_as_recorded(category: str, path: Path) -> None:
    result = conform("kube-scheduler", [path], progress=False)
    assert result.ok, "\n".join(f"{case}: {difference}" for case, difference in result.differences(20))
    assert list(result.categories()) == [category]


# -- the runner, on sums ---------------------------------------------------------


class Sums:
    """Cases are {"id", "terms", "expect"}; a term that is no number raises."""

    name = "sums"
    noun = "sum"
    source = "a pocket calculator"
    rule = "The sum is equal."
    counting = "Every sum counts for the adder."
    facts = {"sums": ("sums",)}  # noqa: RUF012

    def cases(self, paths: Iterable[Path]) -> Iterator[Case]:
        for where, given in records(paths):
            if "expect" not in given:
                raise InputError(f"{where}: no 'expect' in it")
            yield Case(given.get("category", "plain"), given["id"], given, where)

    def judge(self, case: Case) -> Outcome:
        if case.given["terms"] == "Ctrl-C":
            raise KeyboardInterrupt
        got, wanted = sum(case.given["terms"]), case.given["expect"]
        wrong = () if got == wanted else (Difference("sum", str(wanted), str(got), plugin="adder"),)
        counted = {("adder", "sums"): 1}
        return Outcome(not wrong, {"sum": got}, wrong, counted, counted if not wrong else {})


def sums(*terms: Any, **more: Any) -> Json:
    return {"id": "-".join(map(str, terms)), "terms": list(terms), "expect": sum(terms), **more}


def write(path: Path, *cases: Any) -> Path:
    lines = "".join((case if isinstance(case, str) else json.dumps(case)) + "\n" for case in cases)
    data = lines.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def run_sums(*paths: Path) -> Conformance:
    return conform(Sums(), paths, progress=False)


def test_what_passes_and_what_does_not_is_counted_by_category(tmp_path: Path) -> None:
    wrong = {**sums(2, 2), "expect": 5}
    result = run_sums(write(tmp_path / "a.jsonl", sums(1, 2), wrong, sums(3, category="single")))
    assert result.lines() == ["plain: 1/2", "single: 1/1", "2 passed, 1 failed"]
    assert (result.passed, result.failed, result.ok) == (2, 1, False)
    assert [f"{case}: {difference}" for case, difference in result.differences()] == [
        "2-2: adder, sum: expected 5, got 4"
    ]
    assert dict(result.compared) == {("adder", "sums"): 3}
    assert dict(result.equal) == {("adder", "sums"): 2}
    check_frame("conformance.frame", result.frame)
    check_frame("conformance.agreement", result.agreement)
    assert result.frame["passed"].tolist() == [True, False, True]
    assert result.agreement.to_dict("records") == [{"name": "adder", "kind": "sums", "compared": 3, "equal": 2}]
    assert "plain" in result._repr_html_()
    assert repr(result) == "Conformance(sums: 2 passed, 1 failed)"


def test_a_case_counts_once_however_often_it_is_given(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", sums(1, 2), sums(1, 2), {"terms": [1, 2], "id": "1-2", "expect": 3})
    copied = write(tmp_path / "b.jsonl.gz", sums(1, 2))
    assert run_sums(one, one, copied, tmp_path).lines()[-1] == "1 passed, 0 failed"


def test_the_same_name_with_other_content_is_another_case(tmp_path: Path) -> None:
    altered = {**sums(1, 2), "expect": 4}
    files = write(tmp_path / "a.jsonl", sums(1, 2)), write(tmp_path / "b.jsonl", altered)
    assert run_sums(*files).lines()[-1] == "1 passed, 1 failed"


def test_the_same_name_in_two_categories_is_two_cases(tmp_path: Path) -> None:
    assert run_sums(write(tmp_path / "a.jsonl", sums(1), sums(1, category="single"))).passed == 2


def test_what_raises_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    broken = {"id": "broken", "terms": ["x"], "expect": 0}
    result = run_sums(write(tmp_path / "a.jsonl", broken, sums(1)))
    assert (result.passed, result.failed) == (1, 1)
    ((case, difference),) = result.differences()
    assert case == "broken"
    assert difference.got.startswith("TypeError: ")
    assert re.search(r"\(test_conform.py:\d+\)$", difference.got)


def test_files_in_all_their_spellings(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", sums(1), "", sums(2))
    write(tmp_path / "b.jsonl.gz", sums(3))
    (tmp_path / "c.json").write_text(json.dumps([sums(4), sums(5)]))
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(json.dumps(sums(6)).encode()))
    (tmp_path / "FORMAT.md").write_text("not a case")
    (tmp_path / "inside").mkdir()
    result = run_sums(tmp_path)
    assert [found.id for found in result.results] == list("123456")
    assert list(result.files) == ["a.jsonl", "b.jsonl.gz", "c.json", "d.json.gz"]
    places = [where for where, _ in records(case_files([tmp_path]))]
    assert places == ["a.jsonl, line 1", "a.jsonl, line 3", "b.jsonl.gz, line 1", "c.json, item 0", "c.json, item 1",
                      "d.json.gz"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"id": "1"\n', r"a\.jsonl, line 1: not JSON"),
        ("a.jsonl", b'{"id": "1", "terms": [], "expect": 0}\n\n[]', r"a\.jsonl, line 3: found list; wanted an object"),
        ("a.jsonl", b'{"id": "1"}\n', r"a\.jsonl, line 1: no 'expect' in it"),
        ("a.jsonl", b"\xff\xfe\n", r"a\.jsonl, line 1: not JSON"),
        ("a.json", b"[1]", r"a\.json, item 0: found int; wanted an object"),
        ("a.json", b"", r"a\.json: not JSON"),
        ("a.jsonl.gz", gzip.compress(b"\n" * 9999, mtime=0)[:-9], "cannot read cases from"),
        ("a.txt", b"", "is no file of cases; wanted one that ends in"),
    ],
)
def test_what_is_no_case_is_an_error_with_file_and_line(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        run_sums(write(tmp_path / "good.jsonl", sums(1)), tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl': No such file"):
        run_sums(tmp_path / "none.jsonl")


def test_a_broken_line_is_found_before_the_first_case_is_judged(tmp_path: Path) -> None:
    judged = []
    with pytest.raises(InputError, match="line 2"):
        conform(Sums(), [write(tmp_path / "a.jsonl", sums(1), "{")], on_case=lambda *case: judged.append(case))
    assert not judged


def test_no_case_is_no_pass(tmp_path: Path) -> None:
    for result in (run_sums(), run_sums(tmp_path), run_sums(write(tmp_path / "a.jsonl"))):
        assert result.lines() == ["0 passed, 0 failed"]
        assert not result.ok
        assert "No case was found" in render(result)


def test_ctrl_c_keeps_what_was_judged(tmp_path: Path) -> None:
    stop = {"id": "stop", "terms": "Ctrl-C", "expect": 0}
    with pytest.raises(Interrupted, match="interrupted after 2 of 4 sums") as caught:
        run_sums(write(tmp_path / "a.jsonl", sums(1), sums(2), stop, sums(3)))
    assert caught.value.partial.passed == 2


def test_each_case_is_told_as_soon_as_it_is_judged(tmp_path: Path) -> None:
    told: list[tuple[str, Any]] = []

    def tell(case: Case, outcome: Outcome) -> None:
        told.append((case.id, outcome.actual))

    conform(Sums(), [write(tmp_path / "a.jsonl", sums(1), sums(1), sums(2))], on_case=tell, progress=False)
    assert told == [("1", {"sum": 1}), ("2", {"sum": 2})]


def test_a_suite_by_its_name() -> None:
    assert "kube-scheduler" in suite_names()
    for name in suite_names():
        assert suite(name).name == name
    with pytest.raises(UnknownName, match="did you mean 'kube-scheduler'"):
        suite("kube-schedular")


def test_a_long_value_is_clipped_where_it_is_printed() -> None:
    text = str(Difference("filter", "x" * 999, "y"))
    assert len(text) < 300
    assert "(999 characters)" in text


# -- the suite kube-scheduler ----------------------------------------------------


def node(name: str, zone: str, cpu: str = "4", **spec: Any) -> Json:
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "10"}
    metadata = {"name": name, "labels": {HOSTNAME: name, ZONE: zone}}
    return {"metadata": metadata, "spec": spec, "status": {"allocatable": allocatable}}


def pod(name: str, cpu: str, on: str = "", **spec: Any) -> Json:
    container = {"name": "c", "image": "app:1", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
    bound = {"nodeName": on} if on else {}
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}}
    return {"metadata": metadata, "spec": {"containers": [container], **bound, **spec}, "status": {}}


def items(*objects: Json) -> Json:
    return {"items": list(objects)}


NODES = items(
    node("n1", "a"),
    node("n2", "b", taints=[{"key": "team", "value": "db", "effect": "NoSchedule"}]),
    node("n3", "b", cpu="500m"),
    node("n4", "b", cpu="6"),
)
SPREAD = {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway",
          "labelSelector": {"matchLabels": {"app": "web"}}}  # fmt: skip
ONLY_N4 = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n4", "gone"]}]}]}}}  # fmt: skip
BASE: Json = {"nodes": NODES, "pods": items(pod("old", "1", "n1"), pod("low", "3", "n4"))}
GIVEN: dict[str, Json] = {
    "scores": {"category": "mixed", "pod": pod("new", "1", topologySpreadConstraints=[SPREAD])},
    "narrowed": {"category": "nodeaffinity", "pod": pod("new", "1", affinity=ONLY_N4)},
    "nowhere": {"category": "mixed", "pod": pod("new", "7")},
    "nominated": {
        "category": "mixed",
        "pod": pod("new", "3"),
        "nominatedPods": items({**pod("next", "2", priority=9), "status": {"nominatedNodeName": "n4"}}),
    },
    "preempts": {
        "category": "preemption",
        "pod": pod("new", "4", priority=10),
        "podDisruptionBudgets": items(
            {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
             "status": {"disruptionsAllowed": 0}}
        ),
    },
    "needs nobody": {"category": "preemption", "pod": pod("new", "1")},
    "may not preempt": {"category": "preemption", "pod": pod("new", "4", preemptionPolicy="Never", priority=10)},
    "gated": {"category": "gates", "pod": pod("new", "1", schedulingGates=[{"name": "b"}, {"name": "a"}])},
    "open": {"category": "gates", "pod": pod("new", "1")},
    "sequence": {"category": "sequence", "pending": items(pod("p1", "2"), pod("p2", "2"), pod("p3", "7"))},
    "configured": {
        "category": "strategy",
        "pod": pod("new", "1"),
        "pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}],
    },
}  # fmt: skip


def recorded(name: str) -> Json:
    """A small scenario with what the twin expects of it."""
    scenario = {"id": name, **BASE, **GIVEN[name]}
    return {**scenario, "expect": {**expectation(scenario), "nodeOrder": ["n1", "n2", "n3", "n4"]}}


def judged(scenario: Json) -> Outcome:
    return KubeScheduler().judge(Case(scenario["category"], scenario["id"], scenario))


@pytest.mark.parametrize("name", GIVEN)
def test_small_scenarios_come_out_as_the_twin_says(name: str) -> None:
    scenario = recorded(name)
    assert not list(differences(scenario["expect"], actual(scenario)))
    outcome = judged(scenario)
    assert outcome.passed, outcome.differences
    assert outcome.compared == outcome.equal
    assert sum(outcome.compared.values()) > 0


def change(path: str, value: Any) -> Callable[[Json], None]:
    """Sets (or with ... removes) what stands at a path in a scenario's `expect`."""

    def apply(expect: Json) -> None:
        *keys, last = (int(key) if key.isdigit() else key for key in path.split("/"))
        for key in keys:
            expect = expect[key]
        if value is ...:
            del expect[last]
        else:
            assert expect.get(last) != value if isinstance(expect, dict) else expect[last] != value
            expect[last] = value

    return apply


@pytest.mark.parametrize(
    ("name", "path", "value", "told"),
    [
        ("scores", "filter/n2/reasons/0", "node(s) had untolerated taint {team: }", "node n2, TaintToleration, filter"),
        ("scores", "filter/n3/code", "Unschedulable", "node n3, NodeResourcesFit, filter"),
        ("scores", "filter/n1", ..., "node n1, filter: expected nothing"),
        ("scores", "scores/n1/plugins/PodTopologySpread/raw", 77, "node n1, PodTopologySpread, scores/raw"),
        ("scores", "scores/n1/plugins/ImageLocality/normalized", 1, "node n1, ImageLocality, scores/normalized"),
        ("scores", "scores/n4/plugins/TaintToleration/weighted", 299, "node n4, TaintToleration, scores/weighted"),
        ("scores", "scores/n4/plugins/TaintToleration", ..., "node n4, TaintToleration, scores: expected nothing"),
        ("scores", "scores/n4/total", 0, "node n4, scores/total: expected 0"),
        ("scores", "best", ["n3"], 'best: expected ["n3"]'),
        ("scores", "weights/NodeAffinity", 1, "weights/NodeAffinity: expected 1, got 2"),
        ("scores", "skippedScore", [], "skippedScore: expected []"),
        ("scores", "preFilter/code", "Unschedulable", "preFilter/code"),
        ("scores", "message", "0/4 nodes are available: .", "message: expected"),
        ("scores", "unheard-of", 0, "unheard-of: expected 0, got nothing"),
        ("narrowed", "preFilter/nodeNames", ["n4"], 'preFilter/nodeNames: expected ["n4"], got ["gone", "n4"]'),
        ("narrowed", "filter/n1/stage", "Filter", "node n1, NodeAffinity, filter"),
        ("nowhere", "message", "0/4 nodes are available.", "message: expected"),
        ("preempts", "preemption/candidates/n4/victims", [], "node n4, DefaultPreemption, preemption/cand"),
        ("preempts", "preemption/candidates/n4/numPDBViolations", 0, "node n4, DefaultPreemption, preemption/cand"),
        ("preempts", "preemption/nominatedNode", "n4", "DefaultPreemption, preemption/nominatedNode"),
        ("preempts", "preemption/code", "Unschedulable", "DefaultPreemption, preemption/code"),
        ("may not preempt", "preemption/message", "", "DefaultPreemption, preemption/message"),
        ("needs nobody", "preemption/ran", True, "DefaultPreemption, preemption/ran: expected true, got false"),
        ("gated", "preEnqueue/reasons", [], "SchedulingGates, preEnqueue/reasons"),
        ("open", "preEnqueue", ..., "SchedulingGates, preEnqueue: expected nothing"),
        ("sequence", "steps/1/chosen", "n3", "steps/1/chosen"),
        ("sequence", "steps/0/sumTotals", 1, "steps/0/sumTotals"),
        ("sequence", "steps/2", ..., "steps"),
    ],
)  # fmt: skip
def test_a_case_altered_by_hand_fails(name: str, path: str, value: Any, told: str) -> None:
    scenario = recorded(name)
    change(path, value)(scenario["expect"])
    outcome = judged(scenario)
    assert not outcome.passed
    (difference,) = outcome.differences
    assert str(difference).startswith(told), difference


def test_types_are_compared_as_well() -> None:
    for value in (100.0, True, "100"):
        scenario = recorded("scores")
        scenario["expect"]["scores"]["n1"]["plugins"]["TaintToleration"]["normalized"] = value
        assert not judged(scenario).passed, value
    scenario = recorded("scores")
    scenario["expect"]["filter"]["n1"]["feasible"] = 1
    assert not judged(scenario).passed


def test_what_only_informs_is_not_compared() -> None:
    scenario = recorded("scores")
    scenario["expect"]["nodeOrder"] = ["n4"]
    scenario["expect"]["preFilter"]["skipped"] = ["NodePorts"]
    assert judged(scenario).passed
    scenario["expect"]["preFilter"]["skipped!"] = []
    assert not judged(scenario).passed


def test_agreement_is_counted_by_plugin() -> None:
    scenario = recorded("scores")
    change("scores/n1/plugins/TaintToleration/raw", 3)(scenario["expect"])
    change("filter/n2/code", "Unschedulable")(scenario["expect"])
    outcome = judged(scenario)
    key = "TaintToleration"
    kinds = ("verdicts", "raw scores", "normalized scores", "weighted scores")
    assert [outcome.compared[key, kind] for kind in kinds] == [1, 2, 2, 2]
    assert [outcome.equal[key, kind] for kind in kinds] == [0, 1, 2, 2]
    assert (outcome.compared["none: feasible", "verdicts"], outcome.compared["", "totals"]) == (2, 2)


def test_a_scenario_that_raises_fails_and_its_decisions_count_as_unequal() -> None:
    scenario = recorded("scores")
    scenario["nodes"] = copy.deepcopy(NODES)
    scenario["nodes"]["items"][0]["status"]["allocatable"]["cpu"] = "4 cores"
    outcome = judged(scenario)
    assert not outcome.passed
    assert "QuantityError" in outcome.error
    assert sum(outcome.equal.values()) == 0 < sum(outcome.compared.values())


@pytest.mark.parametrize("missing", ["id", "category", "expect"])
def test_what_is_no_scenario(missing: str, tmp_path: Path) -> None:
    scenario = recorded("open")
    del scenario[missing]
    with pytest.raises(InputError, match=rf"a\.jsonl, line 1: no '{missing}' in it"):
        conform("kube-scheduler", [write(tmp_path / "a.jsonl", scenario)], progress=False)


# -- the command -----------------------------------------------------------------


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    return write(tmp_path / "small.jsonl.gz", recorded("scores"), recorded("narrowed"), recorded("nowhere"))


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    wrong = recorded("scores")
    change("scores/n1/plugins/TaintToleration/raw", 3)(wrong["expect"])
    change("scores/n1/total", 1)(wrong["expect"])
    change("filter/n2/code", "Unschedulable")(wrong["expect"])
    return write(tmp_path / "altered.jsonl", wrong, recorded("nowhere"))


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["conform", *map(str, arguments)])


def test_a_line_a_category_and_then_the_sum(scenarios: Path) -> None:
    result = run("kube-scheduler", scenarios, scenarios)
    assert result.exit_code == 0, result.output
    assert result.stdout == "mixed: 2/2\nnodeaffinity: 1/1\n3 passed, 0 failed\n"


def test_one_that_fails_is_exit_status_1(altered: Path) -> None:
    result = run("kube-scheduler", altered)
    assert result.exit_code == 1
    assert result.stdout == "mixed: 1/2\n1 passed, 1 failed\n"
    assert "3 differences; --show 10 prints" in result.stderr


def test_show_prints_the_first_differences(altered: Path) -> None:
    lines = run("kube-scheduler", altered, "--show", "2").stdout.splitlines()
    assert lines[0].startswith('scores: node n2, TaintToleration, filter: expected {"code": "Unschedulable"')
    assert lines[1] == "scores: node n1, TaintToleration, scores/raw: expected 3, got 0"
    assert lines[2:] == ["... and 1 more differences", "mixed: 1/2", "1 passed, 1 failed"]


def test_no_case_found_is_exit_status_1(tmp_path: Path) -> None:
    result = run("kube-scheduler", tmp_path)
    assert result.exit_code == 1
    assert result.stdout == "0 passed, 0 failed\n"
    assert "no case found" in result.stderr


def test_actual_is_a_line_a_case_that_anyone_can_compare(altered: Path, tmp_path: Path) -> None:
    broken = recorded("open")
    broken["pod"] = pod("new", "much")
    write(tmp_path / "broken.jsonl", broken)
    out = tmp_path / "new" / "actual.jsonl"
    run("kube-scheduler", altered, tmp_path / "broken.jsonl", "--actual", out)
    first, second, third = map(json.loads, out.read_text().splitlines())
    assert [line["id"] for line in (first, second, third)] == ["scores", "nowhere", "open"]
    assert not list(differences(expectation({"id": "", **BASE, **GIVEN["scores"]}), first["actual"]))
    assert set(first) == set(second) == {"id", "actual"}
    assert third["actual"] == {}
    assert "QuantityError" in third["error"]


def test_the_report_tells_what_was_compared(scenarios: Path, altered: Path, tmp_path: Path) -> None:
    result = run("kube-scheduler", scenarios, "--report", tmp_path / "good.html")
    assert result.exit_code == 0, result.output
    good = text_of((tmp_path / "good.html").read_text(encoding="utf-8"))
    assert "kube-scheduler: 3 of 3 scenarios come out the same" in good
    assert "Everything that was recorded came out equal" in good
    assert "small.jsonl.gz" in good
    run("kube-scheduler", altered, "--report", tmp_path / "bad.html")
    bad = text_of((tmp_path / "bad.html").read_text(encoding="utf-8"))
    assert "1 of 2 scenarios fail, with 3 differences." in bad
    assert "TaintToleration 1 of 2 1 of 2 2 2 75 %" in bad
    assert "scores scores/raw n1 TaintToleration 3 0" in bad


def text_of(html: str) -> str:
    """What a page says; nothing in it may be loaded from elsewhere."""

    class Page(HTMLParser):
        text = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "iframe", "img"), tag
            assert not {"src", "href"} & {name for name, _ in attrs}

        def handle_data(self, data: str) -> None:
            self.text += f" {data}"

    page = Page()
    page.feed(html)
    return " ".join(page.text.split())


def test_the_report_is_the_same_each_time_and_takes_names_as_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    result = run_sums(write(tmp_path / "a.jsonl", {**sums(1), "id": hostile, "category": hostile, "expect": 0}))
    html = render(result)
    assert render(result) == html
    assert hostile in text_of(html)
    assert "1 of 1 sums fail, with 1 difference." in text_of(html)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kube-schedular", "x.jsonl"], "did you mean 'kube-scheduler'?"),
        (["kube-scheduler"], "Missing argument 'FILES'"),
        (["kube-scheduler", "none.jsonl"], "none.jsonl': No such file"),
        (["kube-scheduler", "README.md"], "is no file of cases"),
        (["kube-scheduler", ".", "--show", "-1"], "Invalid value for '--show'"),
        (["kube-scheduler", ".", "--shwo", "1"], "No such option: --shwo"),
    ],
)
def test_bad_options_are_exit_status_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in " ".join(result.stderr.replace("│", " ").split()), result.stderr


def test_a_broken_line_is_exit_status_2(scenarios: Path, tmp_path: Path) -> None:
    result = run("kube-scheduler", scenarios, write(tmp_path / "b.jsonl", "{}"))
    assert result.exit_code == 2
    assert "b.jsonl, line 1: no 'id' in it" in " ".join(result.stderr.split())


def test_outputs_never_overwrite_the_cases(scenarios: Path) -> None:
    before = scenarios.read_bytes()
    for option in ("--actual", "--report"):
        result = run("kube-scheduler", scenarios.parent, option, scenarios)
        assert result.exit_code == 2
        assert "holds the cases themselves" in " ".join(result.stderr.split())
    assert scenarios.read_bytes() == before


def test_what_cannot_be_written_is_found_before_the_work(
    scenarios: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KubeScheduler, "judge", lambda *_: pytest.fail("judged"))
    (tmp_path / "file").write_text("mine")
    result = run("kube-scheduler", scenarios, "--actual", tmp_path / "file" / "actual.jsonl")
    assert result.exit_code == 2
    assert "cannot write" in result.stderr


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"):
        run_sums(write(tmp_path / "a.jsonl", sums(1))).to_html(tmp_path / "file" / "report.html")


def test_ctrl_c_is_one_line_and_leaves_what_was_computed(
    scenarios: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = KubeScheduler.judge

    def interrupted(self: KubeScheduler, case: Case) -> Outcome:
        if case.id == "narrowed":
            raise KeyboardInterrupt
        return judge(self, case)

    monkeypatch.setattr(KubeScheduler, "judge", interrupted)
    result = run("kube-scheduler", scenarios, "--actual", tmp_path / "actual.jsonl")
    assert result.exit_code == 2
    assert result.stderr == "error: interrupted after 1 of 3 scenarios\n"
    assert [json.loads(line)["id"] for line in (tmp_path / "actual.jsonl").read_text().splitlines()] == ["scores"]


def test_help_is_a_manual_page() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "--actual" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_loading_the_runner_loads_no_suite_and_nothing_heavy() -> None:
    code = (
        "import sys, k8slab.experiments.conformance\n"
        "loaded = {'numba', 'pandas', 'matplotlib', 'scipy', 'k8slab.experiments.conform_kube_scheduler'}\n"
        "assert not loaded & set(sys.modules), loaded & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
