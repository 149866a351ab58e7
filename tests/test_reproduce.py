"""Reproducing the FGD study: the matrix, what a kill leaves, what is written, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from k8slab.analysis import reproduction as pictures
from k8slab.cli import app
from k8slab.errors import InputError, Interrupted, OutputError, UnknownName
from k8slab.experiments import reproduce
from k8slab.experiments.fgd_run import POLICIES
from k8slab.experiments.reproduce import JOURNAL, reproduce_fgd
from k8slab.experiments.reproduction import CURVES

COLUMNS = [
    "trace", "policy", "seed", "alloc_100", "alloc_130", "frag_amount_50", "frag_amount_100", "frag_amount_130",
    "frag_ratio_50", "frag_ratio_100", "frag_ratio_130", "failed_pods", "failed_pods_by_100", "pods_submitted",
]  # fmt: skip
SMALL = {"policies": ["fgd", "02-DotProd", "01-Random"], "seeds": [1, 2]}


@pytest.fixture
def folder(tmp_path):
    """Two traces of 60 pods for 4 nodes."""
    data = tmp_path / "data"
    data.mkdir()
    nodes = [f"n-{i},{32_000 * (i + 1)},262144,{2 * i + 2},{'T4' if i % 2 else 'G2'}" for i in range(4)]
    (data / "openb_node_list_gpu_node.csv").write_text("\n".join(["sn,cpu_milli,memory_mib,gpu,model", *nodes]))
    asked = ["4000,1024,1,460", "8000,2048,1,1000", "6000,1024,0,0", "3000,512,1,250", "16000,4096,2,1000"]
    for trace, step in (("default", 1), ("gpushare40", 3)):
        pods = [f"p-{i:02},{asked[i * step % 5]}" for i in range(60)]
        header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli"
        (data / f"openb_pod_list_{trace}.csv").write_text("\n".join([header, *pods]))
    return data


def small(folder, out, **changes):
    arguments = {"traces": ["default", "gpushare40"], "progress": False, **SMALL, **changes}
    return reproduce_fgd(folder, out, **arguments)


def test_the_matrix_is_run_and_written(folder, tmp_path):
    result = small(folder, tmp_path / "out")
    rows = result.results[["trace", "policy", "seed"]].values.tolist()
    policies = ["01-Random", "02-DotProd", "06-FGD"]
    assert rows == [[t, p, s] for t in ("default", "gpushare40") for s in (1, 2) for p in policies]
    written = [path.name for path in result.save(tmp_path / "out")]
    assert {"results.csv", "curves.csv", "failures.csv", "differences.csv", "manifest.json"} <= set(written)
    assert list(pd.read_csv(tmp_path / "out" / "results.csv").columns) == COLUMNS
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    assert list(curves.columns) == ["trace", "policy", "seed", "load", *CURVES]
    assert len(curves) == 12 * 131
    failed = result.failures.groupby(["trace", "policy", "seed"])["pods"].sum()
    for row in result.results.to_dict("records"):
        assert failed.get((row["trace"], row["policy"], row["seed"]), 0) == row["failed_pods"]


def test_the_parquet_holds_the_same(folder, tmp_path):
    pytest.importorskip("pyarrow")
    result = small(folder, tmp_path / "out", traces=["default"])
    result.save(tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "results.parquet"), result.results)


def test_the_number_of_workers_changes_nothing(folder, tmp_path):
    one, three = (small(folder, tmp_path / f"out{workers}", workers=workers) for workers in (1, 3))
    for name in ("results", "curves", "failures"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(three, name))
    assert one.manifest() == three.manifest()


@pytest.fixture
def made(monkeypatch):
    """The runs that are made, as they are made."""
    runs = []

    def run_fgd(trace, policy, seed, arrivals):
        runs.append((trace.name, policy, seed))
        return real(trace, policy, seed, arrivals)

    real = reproduce.run_fgd
    monkeypatch.setattr(reproduce, "run_fgd", run_fgd)
    return runs


def test_after_a_kill_only_the_missing_runs_are_made(folder, tmp_path, made):
    whole = small(folder, tmp_path / "out")
    journal = tmp_path / "out" / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    assert (len(lines), len(made)) == (12, 12)
    journal.write_text("".join(lines[:-2]) + lines[-2][:100])
    made.clear()
    again = small(folder, tmp_path / "out")
    assert len(made) == 2
    pd.testing.assert_frame_equal(again.curves, whole.curves)
    pd.testing.assert_frame_equal(again.results, whole.results)
    made.clear()
    small(folder, tmp_path / "out")
    assert made == []


def test_runs_of_other_inputs_are_not_taken_for_these(folder, tmp_path, made):
    small(folder, tmp_path / "out")
    pods = folder / "openb_pod_list_default.csv"
    pods.write_text(pods.read_text().replace("4000,1024,1,460", "4000,1024,1,470"))
    made.clear()
    small(folder, tmp_path / "out")
    assert {trace for trace, *_ in made} == {"default"}
    assert len(made) == 6


def test_a_trace_too_small_for_the_comparison_says_so(folder, tmp_path):
    (folder / "openb_pod_list_default.csv").write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,8,1000\n")
    (folder / "openb_node_list_gpu_node.csv").write_text("sn,cpu_milli,memory_mib,gpu,model\nn,64000,9,8,T4\n")
    assert "no pod arrives near the load of 100 %" not in small(folder, tmp_path / "out", traces=["default"]).answer()
    (folder / "openb_node_list_gpu_node.csv").write_text("sn,cpu_milli,memory_mib,gpu,model\nn,64000,9,4,T4\n")
    assert "no pod arrives near the load of 100 %" in small(folder, tmp_path / "out", traces=["default"]).answer()


def test_other_runs_of_the_folder_are_kept(folder, tmp_path, made):
    small(folder, tmp_path / "out")
    small(folder, tmp_path / "out", traces=["default"], policies=["05-BestFit"])
    made.clear()
    result = small(folder, tmp_path / "out", policies=[*SMALL["policies"], "05-BestFit"])
    assert sorted(made) == [("gpushare40", "05-BestFit", 1), ("gpushare40", "05-BestFit", 2)]
    assert len(result.results) == 16


def test_control_c_says_how_to_go_on(folder, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reproduce, "wait", interrupted)
        with pytest.raises(Interrupted, match=r"interrupted after \d+ of 12 runs; the same command goes on"):
            small(folder, tmp_path / "out")
    assert len(small(folder, tmp_path / "out").results) == 12


def test_a_run_that_fails_is_not_hidden(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "curves", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small(folder, tmp_path / "out")


# -- the published values ---------------------------------------------------------


def publish(result, folder, **changes):
    """Write the result's own curves as published ones."""
    folder.mkdir()
    for name in CURVES:
        wide = result.curves.pivot_table(index=["trace", "policy", "seed"], columns="load", values=name, dropna=False)
        wide = wide.reset_index().astype(dict.fromkeys(range(131), float))
        if name in changes:
            row = wide.index[wide["policy"] == "06-FGD"][0]
            wide.loc[row, wide.loc[row, range(131)].first_valid_index()] += changes[name]
        wide.to_csv(folder / f"{name}.csv.gz", index=False)
    return folder


def test_differences_from_published_values(folder, tmp_path):
    result = small(folder, tmp_path / "out")
    assert len(result.differences) == 0
    assert "No published values" in result.answer()
    same = small(folder, tmp_path / "out", published=publish(result, tmp_path / "same"))
    assert (same.differences["equal"] == same.differences["compared"]).all()
    assert (same.differences["compared"] == 4 * 131).all()
    assert "All 3,144 published values of the deterministic policies come out equal" in same.answer()
    other = small(folder, tmp_path / "out", published=publish(result, tmp_path / "other", frag_amount=0.01))
    off = other.differences.set_index(["policy", "curve"]).loc[("06-FGD", "frag_amount")]
    assert (off["compared"] - off["equal"], off["largest"]) == (1, pytest.approx(0.01))
    assert "Of 3,144 published values of the deterministic policies 3,143 come out equal" in other.answer()


def test_published_values_that_are_not_there_or_are_no_table(folder, tmp_path):
    with pytest.raises(InputError, match=r"no published values in .*: there is no file allocation\.csv\.gz"):
        small(folder, tmp_path / "out", published=tmp_path)
    for name in CURVES:
        pd.DataFrame({"trace": ["default"], "seed": [1]}).to_csv(tmp_path / f"{name}.csv.gz", index=False)
    with pytest.raises(InputError, match=r"allocation\.csv\.gz: no column 'policy'\. Found: trace, seed"):
        small(folder, tmp_path / "out", published=tmp_path)
    (tmp_path / "allocation.csv.gz").write_text("no gzip")
    with pytest.raises(InputError, match="cannot read the published values"):
        small(folder, tmp_path / "out", published=tmp_path)


# -- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seeds": [-1]}, InputError, r"seed -1 is out of range; wanted a whole number from 0 to 2\^63 - 1"),
        ({"policies": ["06-FDG"]}, UnknownName, r"unknown policy of the study '06-FDG'; did you mean '06-FGD'\?"),
        ({"traces": ["gpushare"]}, UnknownName, r"unknown pod list 'gpushare'; did you mean 'gpushare40'\?"),
        ({"workers": 0}, InputError, "workers=0: wanted 1 or more"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_written(folder, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        small(folder, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_the_embedded_shapes_are_of_one_trace(tmp_path):
    with pytest.raises(InputError, match=r"trace 'cpu100': without the folder of the published CSVs"):
        reproduce_fgd(None, tmp_path, traces=["default", "cpu100"])


def test_a_folder_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write into the folder"):
        small(folder, tmp_path / "file")


# -- pictures, report, command ----------------------------------------------------------


def test_the_figures_that_the_runs_have(folder, tmp_path):
    result = small(folder, tmp_path / "out", policies=list(POLICIES))
    drawn = pictures.figures(result.results, result.curves, result.failures)
    assert [figure.name for figure in drawn] == ["fig7a", "fig7b", "fig9a", "fig9c", "fig11"]
    paths = result.save_figures(tmp_path / "figures")
    assert [path.name for path in paths] == [f"{figure.name}.svg" for figure in drawn]
    assert all("<svg" in path.read_text() for path in paths)


def test_what_the_pictures_show(folder, tmp_path):
    result = small(folder, tmp_path / "out")
    default = result.curves[result.curves["trace"] == "default"]
    ax = pictures.unallocated(default)
    line = next(line for line in ax.get_lines() if line.get_label() == "FGD")
    own = default[default["policy"] == "06-FGD"].groupby("load")["allocation"].median()
    assert np.allclose(line.get_ydata(), (100 - own[own.index <= 120]).to_numpy(), equal_nan=True)
    runs = result.results[result.results["trace"] == "default"]
    bars = pictures.failed_pods(result.failures[result.failures["trace"] == "default"], runs)
    widths = {text.xy[1]: text.xy[0] for text in bars.texts if text.get_text().isdecimal()}
    means = runs.groupby("policy")["failed_pods"].mean()
    assert [widths[y] for y in range(3)] == pytest.approx([means[p] for p in ("06-FGD", "02-DotProd", "01-Random")])
    shares = result.results[result.results["trace"] == "gpushare40"].assign(share=40.0)
    ax = pictures.unallocated_by(shares, "share a GPU", "share asked by pods that share one")
    heights = [container.patches[0].get_height() for container in ax.containers if hasattr(container, "patches")]
    at_100 = shares.groupby("policy")["alloc_100"].mean()
    assert heights == pytest.approx([100 - at_100[p] for p in ("06-FGD", "02-DotProd", "01-Random")])


def test_the_report_stands_alone_and_says_what_came_out(folder, tmp_path):
    result = small(folder, tmp_path / "out")
    text = small(folder, tmp_path / "out", published=publish(result, tmp_path / "same")).to_html(
        tmp_path / "report.html"
    ).read_text()
    assert "Beware of Fragmentation, again" in text
    assert "come out equal, to the last digit" in text
    assert text.count("<img") == 5
    assert "http" not in text.replace("http://www.w3.org", "")


def invoke(*arguments):
    return CliRunner().invoke(app, ["reproduce", "fgd", *map(str, arguments)])


def test_the_command(folder, tmp_path):
    out = tmp_path / "again"
    ran = invoke("--data", folder, "--trace", "default", "-p", "fgd", "-p", "05-BestFit", "--seed", "3", "--out", out)
    assert ran.exit_code == 0, ran.output
    assert {path.name for path in out.iterdir()} >= {"report.html", "results.csv", "figures", JOURNAL, "manifest.json"}
    assert json.loads((out / "manifest.json").read_text())["result"]["runs"] == 2
    assert "unallocated GPUs, %" in ran.output


def test_published_values_beside_the_traces_are_found(folder, tmp_path):
    result = small(folder, tmp_path / "out")
    for path in publish(result, tmp_path / "same").iterdir():
        path.rename(folder / path.name)
    assert len(small(folder, tmp_path / "out").differences) == 9


def test_without_pyarrow_it_says_what_is_missing(folder, tmp_path, monkeypatch):
    def missing(*_, **__):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    ran = invoke("--data", folder, "--trace", "default", "-p", "fgd", "--seed", "3", "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert "no results.parquet, only results.csv: it needs pyarrow" in ran.output


KILLED = """
import sys
from pathlib import Path
from k8slab.experiments import reproduce
real = reproduce.run_fgd
def run_fgd(*arguments):
    if len(list(open(Path(sys.argv[2]) / reproduce.JOURNAL))) >= 5:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
reproduce.run_fgd = run_fgd
reproduce.reproduce_fgd(Path(sys.argv[1]), Path(sys.argv[2]), traces=["default", "gpushare40"], seeds=[1, 2],
                        policies=["fgd", "02-DotProd", "01-Random"], workers=2, progress=False)
"""


@pytest.mark.long
def test_a_killed_process_loses_the_runs_in_flight_alone(folder, tmp_path, made):
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(out)], timeout=300, check=False)
    assert killed.returncode == -9
    finished = len((out / JOURNAL).read_text().splitlines())
    assert finished >= 5
    result = small(folder, out)
    assert len(made) == 12 - finished
    pd.testing.assert_frame_equal(result.curves, small(folder, tmp_path / "whole").curves)


def test_the_command_without_data_says_that_it_is_not_the_trace(tmp_path):
    ran = invoke("-p", "fgd", "--seed", "42", "--out", tmp_path / "fgd")
    assert ran.exit_code == 0, ran.output
    assert "no --data: the embedded shapes" in ran.output
    assert "not equal to them" in (tmp_path / "fgd" / "report.html").read_text()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    ran = invoke("--data", tmp_path / "nowhere", "--out", tmp_path / "fgd")
    assert ran.exit_code == 2
    assert "there is no such folder" in ran.output
    assert len(ran.output.strip().splitlines()) == 1
