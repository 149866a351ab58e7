"""The k8slab command. What it imports at the top is what `k8slab --help` waits for: typer and rich, no more."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from k8slab.cli_raft import raft, soak_command
from k8slab.cli_reproduce import reproduce_command
from k8slab.cli_simulate import simulate_command
from k8slab.errors import InputError, K8slabError, OutputError

if TYPE_CHECKING:
    from k8slab.datasets import Cluster, Workload
    from k8slab.experiments.comparison import Comparison
    from k8slab.experiments.conformance import Case, Conformance, Outcome
    from k8slab.experiments.placement import Placement

P = ParamSpec("P")
_WRITTEN = ("report.html", "runs.csv", "curves.csv", "summary.csv", "differences.csv", "manifest.json")

app = typer.Typer(
    name="k8slab",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Order(StrEnum):
    """In which order pods arrive."""

    shuffled = "shuffled"
    given = "given"


_CLUSTER_HELP = (
    "The nodes: CSV or parquet with the columns node, cpu_milli, memory_bytes and any other resources; or what "
    "kubectl get nodes,pods -A prints as JSON or YAML. Default: the embedded openb cluster."
)
_WORKLOAD_HELP = (
    "The pods as they arrive: CSV or parquet with the columns pod, cpu_milli, memory_bytes and any other resources; "
    "or kubectl's output. Default: the pending pods of kubectl's --cluster, or the pods of openb."
)
ClusterFile = Annotated[Path | None, typer.Option("--cluster", metavar="FILE", help=_CLUSTER_HELP)]
WorkloadFile = Annotated[Path | None, typer.Option("--workload", metavar="FILE", help=_WORKLOAD_HELP)]


def main() -> None:
    """Run the command. Exit status: 0 done, 1 where cases differ, 2 for what went wrong, said in one line on stderr."""
    try:
        app()
    except SystemExit as leaving:
        if any(thread.name.startswith("k8slab-compare") for thread in threading.enumerate()):
            # A compiler in another thread can't be stopped, and Python would wait for it. All that matters is on disk.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(leaving.code or 0))
        raise


def _complete_policy(incomplete: str) -> list[tuple[str, str]]:
    from k8slab.policies import gpu_policy_names, policy, policy_names

    names = (*policy_names(), *gpu_policy_names())
    return [(name, policy(name).summary) for name in names if name.startswith(incomplete)]


def _complete_suite(incomplete: str) -> list[str]:
    from k8slab.experiments.conformance import suite_names

    return [name for name in suite_names() if name.startswith(incomplete)]


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    Console(stderr=True).print(f"[bold]warning:[/bold] {escape(str(message))}", highlight=False, soft_wrap=True)


def _errors_in_one_line(command: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                command(*args, **kwargs)
            sys.stdout.flush()  # what can't be written is found here, and not by Python as it leaves
        except BrokenPipeError:
            # Who reads our stdout has seen enough (`| head`). Python would complain once more when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except K8slabError as error:
            _fail(str(error))
        except OSError as error:
            if error.filename is not None:
                _fail(f"cannot use {str(error.filename)!r}: {error.strerror}")
            # stdout, as on a full disk behind `>`. Python would complain once more when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _fail(f"cannot write to stdout: {error.strerror or error}")
        except KeyboardInterrupt:
            _fail("interrupted")

    return run


def _version(wanted: bool) -> None:
    if wanted:
        from k8slab.experiments.manifest import versions

        print(" ".join(f"{name} {version}" for name, version in versions().items()))
        raise typer.Exit


@app.callback()
def _k8slab(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """A laboratory for Kubernetes scheduling.

    Places the pods of a workload on the nodes of a cluster, with one
    scheduling policy or with many side by side, and shows what comes out.
    Nothing is deployed: clusters are data, and a million pods take seconds.
    The same seed gives the same result, to the byte.

    [bold]Start here[/bold]

      k8slab compare          all policies on a production GPU cluster
      k8slab compare --help   the same on your own nodes and pods
      k8slab policies         what there is to compare
      k8slab conform --help   hold it against recorded decisions
      k8slab reproduce --help run a published study again
      k8slab simulate --help  let a cluster live for a week

    [bold]From Python[/bold]

      import k8slab
      cluster, workload = k8slab.datasets.openb()
      k8slab.compare(cluster, workload).to_html("report.html")
    """


@app.command("compare")
@_errors_in_one_line
def compare_command(
    cluster: ClusterFile = None,
    workload: WorkloadFile = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", "-p", metavar="NAME", autocompletion=_complete_policy,
            help="A policy to take part; give it several times. `k8slab policies` lists them. Default: all.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", "-s", metavar="N", min=1, help="Run every policy with the seeds 0 to N-1.")
    ] = 10,
    order: Annotated[
        Order,
        typer.Option(
            "--order",
            help="How pods arrive: shuffled by the seed, alike for every policy; or as given, where the seed "
            "only breaks random ties.",
        ),
    ] = Order.shuffled,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="NAME", autocompletion=_complete_policy,
            help="The policy to take differences from. Default: kube-default if it takes part, else the first.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where the report goes. An earlier report there is replaced."),
    ] = Path("report"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Runs at a time. Default: one a core.")
    ] = None,
) -> None:
    """Compare policies on a cluster and a workload, and write the report.

    Every policy places the same pods in the same order, once for each seed,
    so that policies are compared seed by seed. Without options it takes every
    shipped policy, ten seeds, and 8,152 pods on 1,213 nodes of a production
    GPU cluster.

    [bold]Examples[/bold]

      k8slab compare
      k8slab compare -p kube-default -p best-fit --seeds 20
      k8slab compare --cluster nodes.csv --workload pods.csv --out mine
      k8slab compare --json | jq -r .answer

      kubectl get nodes,pods -A -o json > dump.json
      k8slab compare --cluster dump.json

    [bold]What it writes[/bold] into the folder --out

      report.html       the report: one file, open it in a browser
      runs.csv          a row a policy and seed, written as runs finish
      curves.csv        what was allocated when so much had arrived
      summary.csv       means with 95 % bootstrap intervals
      differences.csv   paired differences from the baseline, verdicts
      manifest.json     with it, k8slab.rerun() makes it all again

    [bold]Exit status[/bold]

      0   done
      2   an error, or Ctrl-C; runs that had finished are saved
    """
    from k8slab.experiments.compare import compare

    nodes, pods, recipe = _inputs(cluster, workload)
    with RunsFile(out) as runs:
        try:
            result = compare(
                nodes, pods, policy or None, range(seeds),
                order=order.value, baseline=baseline, workers=workers, on_run=runs.append,
            )
        except K8slabError as error:
            if error.partial is not None:
                error.partial.save(out)
                _say(f"{runs.count} finished runs are saved in {out}{os.sep}")
            raise
    files = _write(result, out, recipe)
    if as_json:
        print(json.dumps(_as_json(result, files), indent=2))
    else:
        _show(result, files["report.html"])
    if not result.frame["placed"].any():
        _fits_nowhere(result.placement(result.ranked()[0], result.seeds[0]))


@app.command("schedule")
@_errors_in_one_line
def schedule_command(
    cluster: ClusterFile = None,
    workload: WorkloadFile = None,
    policy: Annotated[
        str, typer.Option("--policy", "-p", metavar="NAME", autocompletion=_complete_policy, help="The policy.")
    ] = "kube-default",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Shuffles arrivals, breaks random ties.")] = 0,
    order: Annotated[Order, typer.Option("--order", help="How pods arrive: as given, or shuffled by the seed.")] = (
        Order.given
    ),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the CSV goes. Default: stdout.")
    ] = None,
) -> None:
    """Place the pods with one policy, and write where each one went as CSV.

    A row a pod, in the workload's order: pod, node (empty where none fitted),
    node_row, arrival, and what it requests.

    [bold]Examples[/bold]

      k8slab schedule --policy best-fit > placement.csv
      k8slab schedule --cluster dump.json --out placement.csv
    """
    from k8slab.experiments.comparison import arrival_order, write_text
    from k8slab.experiments.placement import schedule

    nodes, pods, _ = _inputs(cluster, workload)
    arrivals = arrival_order(len(pods), seed) if order is Order.shuffled else None
    placement = schedule(nodes, pods, policy, seed=seed, order=arrivals)
    text = placement.to_frame().to_csv(index=False, lineterminator="\n")
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
    _say(f"{placement.policy.name} placed {placement.placed:,} of {len(pods):,} pods on {len(nodes):,} nodes")
    if len(pods) and not placement.placed:
        _fits_nowhere(placement)


@app.command("policies")
@_errors_in_one_line
def policies_command() -> None:
    """List the policies that ship with k8slab.

    One of your own takes a few lines of Python: see k8slab.score_plugin and
    the second notebook.
    """
    from k8slab.policies import gpu_policy_names, policy, policy_names

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("policy", style="bold", no_wrap=True)
    table.add_column("what it prefers")
    table.add_column("ties go to", no_wrap=True)
    for name in (*policy_names(), *gpu_policy_names()):
        known = policy(name)
        table.add_row(name, escape(known.summary), "the lowest row" if known.ties == "lowest" else "one by the seed")
    Console().print(table)


@app.command("conform")
@_errors_in_one_line
def conform_command(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE", autocompletion=_complete_suite, help="kube-scheduler, controllers or raft."
        ),
    ],
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES", help="Recorded cases: .jsonl or .json files, also .gz, or folders of them."),
    ],
    show: Annotated[
        int, typer.Option("--show", metavar="K", min=0, help="Print the first K differences, one a line.")
    ] = 0,
    actual: Annotated[
        Path | None,
        typer.Option(
            "--actual", metavar="FILE",
            help='Write what was computed, a line {"id", "actual"} a case, of raft "passed" too.',
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a readable report, one HTML file.")
    ] = None,
) -> None:
    """Compute recorded cases again, and count how many come out the same.

    The suite kube-scheduler holds k8slab's scheduling against what was
    recorded from kube-scheduler v1.34's own code: for every node the verdict
    with plug-in and reasons, every plug-in's raw, normalized and weighted
    score, the best nodes, the event text, the victims of preemption. A
    scenario passes if all of it is equal, to the digit.

    The suite raft puts k8slab's Raft core through the tests of etcd's own:
    quorums, membership changes, logs, single messages, whole clusters. What
    isn't exact by nature, as simulated elections, has a tolerance. The suite
    controllers puts the rules of autoscalers, budgets and node lifecycle
    through the tests of Kubernetes' own.

    Prints a line a category, passed/all, and then the sum. Each case counts
    once, however often its file is named. A case that raises has failed.

    [bold]Examples[/bold]

      k8slab conform kube-scheduler scenarios/*.jsonl.gz
      k8slab conform kube-scheduler scenarios --report conformance.html
      k8slab conform kube-scheduler spread.jsonl --show 20
      k8slab conform kube-scheduler spread.jsonl --actual computed.jsonl
      k8slab conform raft cases/*.json
      k8slab conform controllers cases/*.jsonl

    [bold]Exit status[/bold]

      0   all cases passed
      1   some failed, or there was none
      2   an error, such as a file that can't be read, or Ctrl-C
    """
    from k8slab.experiments import conformance

    chosen = conformance.suite(suite)
    _refuse_to_overwrite(conformance.case_files(files), actual, report)
    with ActualFile(actual, chosen.verdicts) as computed:
        result = conformance.conform(chosen, files, on_case=computed.append)
    if report is not None:
        with Console(stderr=True).status("drawing the report ..."):
            result.to_html(report)
    _show_conformance(result, show)
    if not result.ok:
        raise typer.Exit(1)


app.command("reproduce")(_errors_in_one_line(reproduce_command))
raft.command("soak")(_errors_in_one_line(soak_command))
app.add_typer(raft)
app.command("simulate")(_errors_in_one_line(simulate_command))


# --- what goes in


def _inputs(cluster: Path | None, workload: Path | None) -> tuple[Cluster, Workload, str]:
    """The cluster, the workload, and the Python that loads them."""
    from k8slab.datasets import Cluster, Workload, openb

    if cluster is None and workload is None:
        nodes, pods = openb()
        return nodes, pods, "cluster, workload = k8slab.datasets.openb()"
    if cluster is None:
        raise InputError("--workload needs a --cluster to run on: give both, or neither for the embedded openb")
    if workload is None and not _is_dump(cluster):
        raise InputError(f"--cluster {str(cluster)!r} has no pods in it: give --workload too")
    nodes, nodes_code = _load(Cluster, cluster)
    pods, pods_code = _load(Workload, workload or cluster)
    return nodes, pods, f"cluster = {nodes_code}\nworkload = {pods_code}"


def _load(kind: Any, path: Path) -> tuple[Any, str]:
    method = "from_kubernetes" if _is_dump(path) else "load"
    return getattr(kind, method)(path), f"k8slab.{kind.__name__}.{method}({str(path)!r})"


def _is_dump(path: Path) -> bool:
    return bool({".json", ".yaml", ".yml"} & {suffix.lower() for suffix in path.suffixes})


# --- what comes out


class RunsFile:
    """runs.csv while the runs are made: a row is on disk as soon as its run has finished.

    Whether the folder can be written is found at once; what an earlier comparison left there
    is replaced when the first run has finished, so that a typo costs nobody a report.
    """

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._folder = folder
        self._file: TextIO | None = None
        with self._saying_where():
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / "runs.csv.part"
            probe.touch()
            probe.unlink()

    def append(self, row: Mapping[str, Any]) -> None:
        """One more run."""
        import csv

        with self._saying_where():
            if self._file is None:
                for name in _WRITTEN:
                    (self._folder / name).unlink(missing_ok=True)
                self._file = (self._folder / "runs.csv").open("w", encoding="utf-8", newline="")
                csv.writer(self._file, lineterminator="\n").writerow(row)
            csv.writer(self._file, lineterminator="\n").writerow(row.values())
            self._file.flush()
        self.count += 1

    @contextmanager
    def _saying_where(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"cannot write into the folder {str(self._folder)!r}: {reason}") from error

    def __enter__(self) -> RunsFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _write(result: Comparison, out: Path, recipe: str) -> dict[str, Path]:
    paths = result.save(out)
    try:
        with Console(stderr=True).status("drawing the report ..."):
            paths.append(result.to_html(out / "report.html", recipe=recipe))
    except KeyboardInterrupt:
        _say(f"all {len(result.frame)} runs are saved in {out}{os.sep}; only report.html is missing")
        raise
    return {path.name: path for path in paths}


def _as_json(result: Comparison, files: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "answer": result.answer(),
        "summary": _records(result.summary()),
        "differences": _records(result.differences()),
        "files": {name: str(path) for name, path in files.items()},
        "manifest": result.manifest(),
    }


def _records(frame: Any) -> list[dict[str, Any]]:
    """Rows as plain data. JSON has no NaN: a missing number is null."""
    return [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in record.items()}
        for record in frame.to_dict("records")
    ]


def _show(result: Comparison, report: Path) -> None:
    from k8slab.analysis.report import cell_text, label_of, number

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("policy", f"{label_of(result.headline)} (interval)", "placed", f"from {result.baseline}"):
        table.add_column(heading, justify="right" if heading == "placed" else "left", no_wrap=True)
    summary = {(row.policy, row.metric): row for row in result.summary().itertuples()}
    gaps = {row.policy: row for row in result.differences().itertuples() if row.metric == result.headline}
    for name in result.ranked():
        gap = gaps.get(name)
        difference = f"{number(gap.metric, gap.difference, signed=True)} {gap.verdict}" if gap else ""
        placed = number("placed", summary[name, "placed"].mean)
        table.add_row(name, cell_text(summary[name, result.headline]), placed, difference)
    console = Console()
    console.print(table)
    console.print(f"\n{escape(result.answer())}", highlight=False)
    console.print(f"\nReport: [bold]{escape(str(report))}[/bold]", highlight=False, soft_wrap=True)


def _refuse_to_overwrite(cases: list[Path], *outputs: Path | None) -> None:
    known = {path.resolve() for path in cases}
    for output in filter(None, outputs):
        if output.resolve() in known:
            raise InputError(f"{str(output)!r} holds the cases themselves: write to another file")


class ActualFile:
    """What was computed, a JSON line a case, on disk as soon as the case is done; or nowhere, without a path.

    Whether it can be written is found at once; an earlier one is replaced when the first case is done.
    """

    def __init__(self, path: Path | None, verdicts: bool) -> None:
        self._path = path
        self._verdicts = verdicts
        self._file: TextIO | None = None
        if path is not None:
            with self._saying_where():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.open("a").close()

    def append(self, case: Case, outcome: Outcome) -> None:
        """One more case; one that raised says what."""
        if self._path is None:
            return
        verdict = {"passed": outcome.passed} if self._verdicts else {}
        line: dict[str, Any] = {"id": case.id, **verdict, "actual": outcome.actual}
        if outcome.error:
            line["error"] = outcome.error
        with self._saying_where():
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8", newline="\n")
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    @contextmanager
    def _saying_where(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"cannot write {str(self._path)!r}: {error.strerror or error}") from error

    def __enter__(self) -> ActualFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _show_conformance(result: Conformance, show: int) -> None:
    differences = result.differences()
    for case, difference in differences[:show]:
        print(f"{case}: {difference}")
    if len(differences) > show > 0:
        print(f"... and {len(differences) - show:,} more differences")
    print("\n".join(result.lines()))
    sys.stdout.flush()  # an exit status of 1 leaves by a way on which nobody finds what can't be written
    if not result.results:
        _say("no case found, and that is no pass")
    elif differences and not show:
        _say(f"{len(differences):,} differences; --show 10 prints the first ten")


def _fits_nowhere(placement: Placement) -> NoReturn:
    """A result, which stands; but a command that placed nothing did not do what it was asked for."""
    why = placement.unschedulable().iloc[0]
    raise InputError(
        f"none of the {len(placement):,} pods found a node; the first request that failed, of {why['first_pod']}: "
        f"{why['message']}"
    )


def _say(message: str) -> None:
    Console(stderr=True).print(escape(message), highlight=False, soft_wrap=True)
