"""The report: one file, complete, the same each time, and its code runs."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import k8slab
from k8slab.analysis.report import render
from k8slab.errors import OutputError
from k8slab.experiments.comparison import Comparison

_VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    cluster, workload = k8slab.Cluster.synthetic(12, seed=3), k8slab.Workload.synthetic(240, classes=20, seed=3)
    return k8slab.compare(cluster, workload, ["kube-default", "best-fit", "first-fit"], range(8), progress=False)


@pytest.fixture(scope="module")
def html(comparison: Comparison) -> str:
    return render(comparison)


class _Page(HTMLParser):
    """Every tag with its attributes, the text, and whether tags close in the order they open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_needs_no_other_file(html: str) -> None:
    page = _Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_are_inside_and_say_what_they_show(html: str) -> None:
    images = [attributes for tag, attributes in _Page(html).tags if tag == "img"]
    assert len(images) == 8
    for attributes in images:
        assert attributes["alt"]
        kind, _, data = str(attributes["src"]).partition(",")
        assert kind == "data:image/svg+xml;base64"
        svg = base64.b64decode(data, validate=True).decode()
        assert "<svg" in svg
        names = r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE.*?>|<metadata>.*?</metadata>'  # these load nothing
        assert "http" not in re.sub(names, "", svg, flags=re.DOTALL)


def test_it_says_what_was_asked_and_what_came_out(comparison: Comparison, html: str) -> None:
    text = " ".join(_Page(html).text.split())
    assert comparison.answer() in text
    assert "3 scheduling policies on" not in text  # few policies are called by their names
    assert "kube-default, best-fit and first-fit on 12 nodes and 240 pods" in text
    manifest = comparison.manifest()
    for piece in (manifest["cluster"]["sha256"], manifest["workload"]["sha256"], manifest["result"]["sha256"]):
        assert piece in text
    for policy in comparison.policies:
        assert policy.summary in text
    for heading in ("best first", "Differences from kube-default", "Go on from here", "What was run"):
        assert heading in text


def test_the_same_comparison_gives_the_same_bytes(comparison: Comparison, html: str) -> None:
    assert render(comparison) == html


def test_no_figure_is_left_open(comparison: Comparison) -> None:
    before = plt.get_fignums()
    render(comparison)
    assert plt.get_fignums() == before


def test_its_code_runs(comparison: Comparison, html: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = _code(html)
    assert "k8slab.Cluster.synthetic(12, zones=3, seed=3)" in code
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(code, "report.html", "exec"), namespace)
    plt.close("all")
    again = namespace["comparison"]
    assert isinstance(again, Comparison)
    assert again.content_hash() == comparison.content_hash()
    assert (tmp_path / "mine.html").stat().st_size > 100_000


def _code(html: str) -> str:
    class Code(HTMLParser):
        inside, found = False, ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.inside = self.inside or tag == "pre"

        def handle_endtag(self, tag: str) -> None:
            self.inside = self.inside and tag != "pre"

        def handle_data(self, data: str) -> None:
            self.found += data if self.inside else ""

    parser = Code()
    parser.feed(html[html.index("Go on from here") : html.index("What was run")])
    return parser.found


def test_whatever_stands_in_names_and_sources_is_text(comparison: Comparison) -> None:
    hostile = "<script>alert('x')</script>&amp;"
    cluster = replace(comparison.cluster, source=hostile)
    policy = k8slab.policy("best-fit").renamed(hostile)
    html = render(k8slab.compare(cluster, comparison.workload, [policy, "random"], range(2), progress=False))
    page = _Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert hostile in page.text


@pytest.mark.parametrize(("policies", "seeds"), [(["best-fit"], 1), (["best-fit"], 3), (["best-fit", "random"], 1)])
def test_few_policies_and_few_seeds(comparison: Comparison, policies: list[str], seeds: int) -> None:
    result = k8slab.compare(comparison.cluster, comparison.workload, policies, range(seeds), progress=False)
    assert "nan" not in _Page(render(result)).text.split()


def test_pods_that_fit_nowhere(tmp_path: Path) -> None:
    giants = k8slab.Workload.from_frame({"pod": ["a", "b"], "cpu": [1000, 1000], "memory": ["1Gi", "1Gi"]})
    result = k8slab.compare(k8slab.Cluster.synthetic(3), giants, ["best-fit", "random"], range(3), progress=False)
    path = result.to_html(tmp_path / "new" / "report.html")
    assert "No policy placed any of the 2 pods" in path.read_text(encoding="utf-8")


def test_an_unwritable_path(comparison: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        comparison.to_html(tmp_path / "file" / "report.html")


def test_openb_is_loaded_by_its_name() -> None:
    cluster, workload = k8slab.datasets.openb()
    few = workload.take(range(300))
    assert few.source == workload.source
    html = render(k8slab.compare(cluster, few, ["first-fit"], [0], order="given", progress=False))
    assert "cluster, workload = k8slab.datasets.openb()" in html
    assert 'k8slab.compare(cluster, workload, policies, seeds=range(1), order="given")' in _code(html)
    assert "USENIX ATC 2023" in html


def test_many_policies_get_a_panel_each_the_fullest_first(comparison: Comparison) -> None:
    from matplotlib.figure import Figure

    from k8slab.analysis.comparisons import allocation_panels

    figure = Figure(layout="constrained")
    allocation_panels(comparison, figure.subplots())
    shown = [ax for ax in figure.axes if ax.get_title(loc="left")]
    column = f"{comparison.dominant}_allocated_percent"
    last = comparison.curves.groupby(["policy", "seed"])[column].last().groupby("policy").mean()
    assert [ax.get_title(loc="left") for ax in shown] == list(last.sort_values(ascending=False).index)
    for ax in shown:
        drawn = ax.get_lines()[-1]
        assert drawn.get_ydata()[-1] == pytest.approx(last[ax.get_title(loc="left")])


def test_two_placements_of_one_workload_are_shaded_alike(comparison: Comparison) -> None:
    from matplotlib.figure import Figure

    legends = []
    for policy in ("best-fit", comparison.ranked()[-1]):
        ax = Figure().subplots()
        comparison.placement(policy, 0).plot.packing(nodes=3, ax=ax)
        legends.append([text.get_text() for text in ax.get_legend().get_texts() if text.get_text()[:4] != "free"])
    assert legends[0] == legends[1]
    assert len(legends[0]) >= 2
