"""The k8slab command: what it prints, writes, and says when something is wrong."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import k8slab
from k8slab.analysis import check_frame
from k8slab.cli import app

FILES = ("curves.csv", "differences.csv", "manifest.json", "report.html", "runs.csv", "summary.csv")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """--cluster and --workload of a small case where policies part."""
    folder = tmp_path_factory.mktemp("inputs")
    k8slab.Cluster.synthetic(12, seed=3).save(folder / "nodes.csv")
    k8slab.Workload.synthetic(240, classes=20, seed=3).save(folder / "pods.csv")
    return ["--cluster", str(folder / "nodes.csv"), "--workload", str(folder / "pods.csv")]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report without its pictures, which take seconds: for tests of something else."""
    monkeypatch.setattr("k8slab.analysis.report.picture", lambda draw, height, alt, title="": {"alt": alt, "src": ""})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def fails(*arguments: str, message: str) -> str:
    """Exit status 2 and one error on stderr, no traceback; the message."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert message in " ".join(result.stderr.replace("│", " ").split()), result.stderr
    return result.stderr


def process(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The command in a process of its own, as its entry point runs it."""
    # Started in the background of a shell, the tests, and so this process, would ignore Ctrl-C.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = heed + "import sys; sys.argv[0] = 'k8slab'; from k8slab.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(k8slab.__file__).parents[1])])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


# --- compare


def test_compare_writes_the_report_and_says_what_came_out(inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "mine"
    result = run("compare", *inputs, "-p", "best-fit", "-p", "random", "--seeds", "6", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    runs = pd.read_csv(out / "runs.csv")
    check_frame("comparison.frame", runs)
    assert len(runs) == 12
    check_frame("comparison.differences", pd.read_csv(out / "differences.csv"))
    assert "best-fit" in result.stdout
    assert str(out / "report.html") in result.stdout.replace("\n", "")
    assert repr(inputs[1]) in (out / "report.html").read_text(encoding="utf-8").replace("&#39;", "'")


@pytest.mark.usefixtures("undrawn")
def test_json_is_all_there_is_on_stdout_and_can_be_run_again(inputs: list[str], tmp_path: Path) -> None:
    result = run("compare", *inputs, "-p", "best-fit", "-p", "random", "--seeds", "2", "--out", str(tmp_path), "--json")
    found = json.loads(result.stdout)
    assert set(found) == {"answer", "summary", "differences", "files", "manifest"}
    assert sorted(found["files"]) == sorted(FILES)
    again = k8slab.rerun(
        found["manifest"], k8slab.Cluster.load(inputs[1]), k8slab.Workload.load(inputs[3]), progress=False
    )
    assert again.content_hash() == found["manifest"]["result"]["sha256"]
    assert again.answer() == found["answer"]


@pytest.mark.usefixtures("undrawn")
def test_one_seed_has_no_interval_and_json_no_nan(inputs: list[str], tmp_path: Path) -> None:
    result = run("compare", *inputs, "-p", "best-fit", "--seeds", "1", "--out", str(tmp_path), "--json")
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert found["summary"][0]["low"] is None


@pytest.mark.usefixtures("undrawn")
def test_order_and_baseline(inputs: list[str], tmp_path: Path) -> None:
    arguments = ["-p", "best-fit", "-p", "first-fit", "--seeds", "2", "--order", "given", "--baseline", "first-fit"]
    found = json.loads(run("compare", *inputs, *arguments, "--out", str(tmp_path), "--json").stdout)
    assert (found["manifest"]["order"], found["manifest"]["baseline"]) == ("given", "first-fit")


@pytest.mark.usefixtures("undrawn")
def test_a_dump_of_kubectl_stands_for_both(tmp_path: Path) -> None:
    def pod(name: str, node: str | None) -> dict[str, object]:
        request = {"requests": {"cpu": "500m", "memory": "1Gi"}}
        spec = {"containers": [{"name": "c", "resources": request}], **({"nodeName": node} if node else {})}
        return {"kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec,
                "status": {"phase": "Running" if node else "Pending"}}

    node = {"kind": "Node", "metadata": {"name": "a"}, "spec": {},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"},
                       "conditions": [{"type": "Ready", "status": "True"}]}}
    dump = tmp_path / "dump.json"
    items = [node, pod("old", "a"), pod("new-1", None), pod("new-2", None)]
    dump.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
    arguments = ["-p", "best-fit", "--seeds", "1", "--out", str(tmp_path / "out"), "--json"]
    result = run("compare", "--cluster", str(dump), *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["manifest"]["cluster"]["nodes"], found["manifest"]["workload"]["pods"]) == (1, 2)


@pytest.mark.long
def test_the_main_job(tmp_path: Path) -> None:
    started = time.monotonic()
    command = process("compare", "--json", cwd=tmp_path)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 0, err
    found = json.loads(out)
    assert len(pd.read_csv(tmp_path / "report" / "runs.csv")) == 10 * len(k8slab.policy_names()) >= 60
    assert found["manifest"]["workload"]["pods"] == 8152
    assert time.monotonic() - started < 300


# --- when something is wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "best-fti"], "error: unknown policy 'best-fti'; did you mean 'best-fit'?"),
        (["--seeds", "0"], "Invalid value for '--seeds'"),
        (["--seeds", "many"], "Invalid value for '--seeds'"),
        (["--order", "shuffeld"], "shuffeld"),
        (["--baseline", "best-fti"], "did you mean 'best-fit'?"),
        (["--polcy", "best-fit"], "No such option: --polcy"),
        (["--workload", "pods.csv"], "--workload needs a --cluster"),
        (["--cluster", "nodes.csv"], "give --workload too"),
        (["--cluster", "none.csv", "--workload", "none.csv"], "none.csv"),
        (["--cluster", "none.json"], "none.json"),
    ],
)
def test_bad_options(arguments: Sequence[str], message: str, tmp_path: Path) -> None:
    fails("compare", *arguments, "--out", str(tmp_path / "out"), message=message)


def test_an_unknown_command_has_the_nearest() -> None:
    assert "compare" in fails("comapre", message="No such command 'comapre'")


def test_a_bad_table_is_one_line(inputs: list[str], tmp_path: Path) -> None:
    frame = pd.read_csv(inputs[1])
    frame.loc[2, "cpu_milli"] = -5
    frame.to_csv(tmp_path / "bad.csv", index=False)
    arguments = ["--cluster", str(tmp_path / "bad.csv"), *inputs[2:], "--out", str(tmp_path / "out")]
    text = fails("compare", *arguments, message="cpu_milli")
    assert text.count("\n") == 1
    assert "-5" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("command", [["compare", "-p", "best-fit", "--seeds", "2"], ["schedule", "-p", "best-fit"]])
def test_pods_that_fit_nowhere_are_a_result_and_an_error(command: list[str], inputs: list[str], tmp_path: Path) -> None:
    vast = tmp_path / "vast.csv"
    vast.write_text("pod,cpu_milli,memory_bytes\nvast-0,100000000,1\nvast-1,100000000,1\n")
    out = tmp_path / "out"
    result = run(*command, *inputs[:2], "--workload", str(vast), "--out", str(out))
    assert result.exit_code == 2
    assert out.exists()
    told = " ".join(result.stderr.split())
    assert "error: none of the 2 pods found a node; the first request that failed, of vast-" in told
    assert ": 0/12 nodes are available: 12 Insufficient cpu." in told


def test_an_unwritable_folder_is_found_before_the_work(inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    started = time.monotonic()
    arguments = ["compare", *inputs, "--seeds", "100000", "--out", str(tmp_path / "file")]
    fails(*arguments, message="cannot write into the folder")
    assert time.monotonic() - started < 60
    assert (tmp_path / "file").read_text() == "mine"


def test_an_earlier_report_does_not_stand_beside_other_runs(inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of an earlier comparison")
    fails("compare", *inputs, "--policy", "none", "--out", str(tmp_path), message="unknown policy")
    assert (tmp_path / "report.html").exists()  # nothing has been run yet
    command = process("compare", *inputs, "-p", "best-fit", "--seeds", "1", "--out", str(tmp_path))
    command.communicate(timeout=240)
    assert "best-fit" in (tmp_path / "report.html").read_text(encoding="utf-8")


def many_runs_begun(inputs: list[str], out: Path) -> subprocess.Popen[str]:
    """4,000 runs in a process of its own, of which the first six or more have finished."""
    policies = ["-p", "first-fit", "-p", "best-fit"]
    command = process("compare", *inputs, *policies, "--seeds", "2000", "--out", str(out))
    runs = out / "runs.csv"
    deadline = time.monotonic() + 240  # a first run compiles
    while not (runs.exists() and runs.read_text().count("\n") > 6):
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return command


def test_ctrl_c_saves_what_had_finished(inputs: list[str], tmp_path: Path) -> None:
    command = many_runs_begun(inputs, tmp_path)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=240)  # it still draws the plots of what had finished
    assert command.returncode == 2
    assert "Traceback" not in err
    assert "error: interrupted after" in err
    assert "finished runs are saved in" in err
    saved = pd.read_csv(tmp_path / "runs.csv")
    check_frame("comparison.frame", saved)
    assert f"after {len(saved)} of 4000 runs" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(FILES) - {"report.html"})


def test_a_kill_leaves_the_rows_that_had_finished(inputs: list[str], tmp_path: Path) -> None:
    command = many_runs_begun(inputs, tmp_path)
    command.kill()
    command.communicate()
    assert len(pd.read_csv(tmp_path / "runs.csv")) >= 6


# --- the other commands


def test_schedule_writes_where_every_pod_went(inputs: list[str], tmp_path: Path) -> None:
    placement = k8slab.schedule(k8slab.Cluster.load(inputs[1]), k8slab.Workload.load(inputs[3]), "best-fit")
    printed = run("schedule", *inputs, "-p", "best-fit")
    assert printed.stdout == placement.to_frame().to_csv(index=False, lineterminator="\n")
    assert f"best-fit placed {placement.placed} of 240 pods on 12 nodes" in printed.stderr
    written = run("schedule", *inputs, "-p", "best-fit", "--out", str(tmp_path / "placement.csv"))
    assert written.stdout == ""
    assert (tmp_path / "placement.csv").read_text() == printed.stdout


def test_schedule_shuffles_as_compare_does(inputs: list[str]) -> None:
    printed = run("schedule", *inputs, "-p", "best-fit", "--order", "shuffled", "--seed", "3")
    frame = pd.read_csv(io.StringIO(printed.stdout))
    cluster, workload = k8slab.Cluster.load(inputs[1]), k8slab.Workload.load(inputs[3])
    result = k8slab.compare(cluster, workload, "best-fit", [3], progress=False)
    assert np.array_equal(frame["node_row"], result.placement("best-fit", 3).node_rows)


def test_policies_lists_them_all() -> None:
    result = run("policies")
    for name in k8slab.policy_names():
        assert name in result.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["schedule", "-h"], ["policies", "--help"]])
def test_help_is_a_manual_page(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_no_command_shows_the_help() -> None:
    assert "compare" in run().output


def test_version() -> None:
    assert run("--version").stdout.startswith(f"k8slab {k8slab.__version__} python 3.")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['k8slab', '--help']\n"
        "from k8slab.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=240)


def test_a_reader_that_leaves_early_is_no_error(inputs: list[str]) -> None:
    command = process("schedule", *inputs, "-p", "best-fit")
    assert command.stdout is not None
    command.stdout.close()
    assert command.stderr is not None
    assert "Traceback" not in command.stderr.read()
    assert command.wait() == 0
    command.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["schedule", "policies"])
def test_stdout_that_cannot_be_written_is_one_error(inputs: list[str], command: str) -> None:
    arguments = [command, *(inputs if command == "schedule" else [])]
    code = "import sys; sys.argv[0] = 'k8slab'; from k8slab.cli import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: cannot write to stdout: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.usefixtures("undrawn")
def test_a_warning_is_one_line_without_source(inputs: list[str], tmp_path: Path) -> None:
    pods = tmp_path / "pods.csv"
    pods.write_text("pod,cpu_milli,memory_bytes,team\np,500,1000,a\n", encoding="utf-8")
    running = process("schedule", *inputs[:2], "--workload", str(pods))
    _, said = running.communicate()
    assert running.returncode == 0
    assert said.startswith("warning: pods.csv: passed over column team")
    assert "UserWarning" not in said


def test_a_folder_is_no_table(inputs: list[str], tmp_path: Path) -> None:
    fails("schedule", *inputs[:2], "--workload", str(tmp_path), message="it is a folder; wanted a file")


def test_ctrl_c_while_the_report_is_drawn_says_what_is_saved(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(k8slab.Comparison, "to_html", interrupted)
    result = run("compare", *inputs, "-p", "best-fit", "-p", "first-fit", "--seeds", "2", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "all 4 runs are saved in" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [name for name in FILES if name != "report.html"]


def test_ctrl_c_while_the_command_loads_is_one_error() -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from k8slab.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: interrupted\n")


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "k8slab", "policies"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "best-fit" in done.stdout
