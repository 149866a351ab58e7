"""The table and the picture made of the benchmarks' JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table

MACHINE = {"python_version": "3.11.7", "machine": "x86_64", "cpu": {"brand_raw": "CPU X", "count": 2}, "numpy": "2.4"}
RATES = {"plain Python": 8.34, "numpy": 812.4, "full scan": 16_349.0, "engine": 1_503_211.0}


def told(*infos: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    benchmarks = [{"params": {"name": name} if name else None, "extra_info": info} for info in infos]
    return {"machine_info": MACHINE, "benchmarks": benchmarks, "datetime": "2026-11-23T18:00:00"}


def row(**more: Any) -> dict[str, Any]:
    return {"row": "plain", "nodes": 5_000, "pods": 100_000, "path": "tree", "peak_bytes": 3 * 2**20, **RATES, **more}


def test_a_row_a_workload() -> None:
    lines = table.table(told(row(), {"numpy_s": 1.0}, row(sweep="nodes", x=5_000))).splitlines()
    assert lines[2] == "| plain | 5,000 | 100,000 | 8.3 | 812 | 16,300 | 1,500,000 | 91.9 | tree | 3 MiB |"
    assert lines[3] == ""
    assert lines[4] == (
        "CPU seconds of one core, medians; CPU X, 2 cores; Python 3.11.7, numpy 2.4, numba ?; 2026-11-23."
    )
    assert len({line.count("|") for line in lines[:3]}) == 1


def test_runs_in_several_files_are_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, other = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    first.write_text(json.dumps(told(row())))
    second.write_text(json.dumps(told(row(row="churn"))))
    other.write_text(json.dumps(told(row()) | {"machine_info": {**MACHINE, "numpy": "1.0"}}))
    table.main([str(first), str(second)])
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[2:4]] == ["| plain", "| churn"]
    with pytest.raises(SystemExit):
        table.main([str(first), str(other)])
    assert "c.json is of another machine than a.json" in " ".join(capsys.readouterr().err.split())


def test_what_was_not_measured_stays_empty_and_the_parameter_names_the_row() -> None:
    found = table.table(told({"engine": 12.34}, name="100 classes")).splitlines()[2]
    assert found == "| 100 classes |  |  |  |  |  | 12 |  |  |  |"


def test_the_picture_has_a_plot_a_sweep_and_a_line_a_way() -> None:
    points = [row(sweep="nodes", x=nodes) for nodes in (10_000, 1_000)]
    figure = table.picture(told(*points, row(sweep="plug-ins", x="+ taints")))
    nodes, plugins = figure.axes
    assert [line.get_label() for line in nodes.get_lines()] == list(table.PATHS)
    assert nodes.get_lines()[3].get_xydata().tolist() == [[1_000.0, RATES["engine"]], [10_000.0, RATES["engine"]]]
    assert (nodes.get_xscale(), nodes.get_yscale(), nodes.get_ylabel()) == ("log", "log", "pods a second")
    assert [tick.get_text() for tick in plugins.get_xticklabels()] == ["+ taints"]


def test_the_command_draws_and_replaces_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, readme, drawn = tmp_path / "r.json", tmp_path / "README.md", tmp_path / "speed.svg"
    results.write_text(json.dumps(told(row(), row(sweep="classes", x=100))))
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.main([str(results), "--readme", str(readme), "--picture", str(drawn)])
    printed = capsys.readouterr().out
    assert readme.read_text() == f"before\n{table.BEGIN}\n{printed}{table.END}\nafter\n"
    assert drawn.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("infos", "text", "message"),
    [
        ([{"numpy_s": 1.0}], "", "r.json has no benchmark with an engine's pods a second; wanted what `pytest"),
        ([row()], "no marks", "there is no place for the table: wanted <!-- speed table --> and, after it,"),
    ],
)
def test_it_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], infos: list[Any], text: str, message: str
) -> None:
    results, readme = tmp_path / "r.json", tmp_path / "README.md"
    results.write_text(json.dumps(told(*infos)))
    readme.write_text(text)
    with pytest.raises(SystemExit):
        table.main([str(results), "--readme", str(readme)])
    assert message in " ".join(capsys.readouterr().err.split())
    assert readme.read_text() == text


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="there is nothing to draw: no benchmark of benchmarks/test_sweeps"):
        table.picture(told(row()))
