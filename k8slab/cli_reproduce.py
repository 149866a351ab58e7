"""The command `k8slab reproduce`: a published study, run again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from k8slab.experiments.reproduction import Reproduction


class Study(StrEnum):
    """What can be reproduced."""

    fgd = "fgd"


def reproduce_command(
    study: Annotated[Study, typer.Argument(metavar="STUDY", help="What to run again: fgd")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR",
            help="The folder of the published CSVs (openb_node_list_gpu_node.csv, openb_pod_list_default.csv ...). "
            "Default: the embedded shapes, a like-shaped workload.",
        ),
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option("--trace", metavar="NAME", help="A trace; give it several times. Default: the paper's 17."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", "-p", metavar="NAME",
            help="A policy, as 06-FGD or fgd, 05-BestFit or fgd-best-fit ...; give it several times. Default: all six.",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", metavar="N", help="A seed; give it several times. Default: 42 to 51.")
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            "--published", metavar="DIR",
            help="The folder of published values to compare with: allocation.csv.gz, frag_amount.csv.gz, "
            "frag_ratio.csv.gz. Default: the folder of --data, if they are there.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where everything goes.")] = Path("fgd"),
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Runs at a time. Default: one a core.")
    ] = None,
) -> None:
    """Run a published study again, and write its tables, figures and a report.

    fgd is "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with
    Fragmentation Gradient Descent" (USENIX ATC 2023): six policies on 17
    traces with 10 seeds, 1,020 runs. From the published CSVs the five
    deterministic policies give the published values to the last digit; the
    random one agrees in mean.

    Runs that have finished are kept in the folder --out: after a kill or
    Ctrl-C the same command goes on where it was.

    [bold]Examples[/bold]

      k8slab reproduce fgd --data csv
      k8slab reproduce fgd --data csv --trace default -p fgd -p 05-BestFit
      k8slab reproduce fgd --data csv --published expected --out again
      k8slab reproduce fgd

    [bold]What it writes[/bold] into the folder --out

      report.html       the report: one file, open it in a browser
      figures           the paper's figures 7, 9(a), 9(c), 11 to 14
      results.csv       a row a trace, policy and seed; also results.parquet
      curves.csv        the same against the load that has arrived
      failures.csv      the pods that found no node, by shape
      differences.csv   from the published values
      manifest.json     versions and hashes
      runs.jsonl        each run as it finished

    [bold]Exit status[/bold]

      0   done
      2   an error, or Ctrl-C
    """
    from k8slab.experiments.reproduce import reproduce_fgd

    console = Console(stderr=True)
    if data is None:
        _say("no --data: the embedded shapes, a workload like the published one but not the trace itself")
    result = reproduce_fgd(
        data, out, traces=trace, policies=policy, seeds=seed, published=published, workers=workers
    )
    with console.status("drawing the report ..."):
        written = result.save(out)
        result.save_figures(out / "figures")
        report = result.to_html(out / "report.html")
    if not any(path.suffix == ".parquet" for path in written):
        _say("no results.parquet, only results.csv: it needs pyarrow, as pip install 'k8slab[parquet]' brings")
    _show(result, report)


def _show(result: Reproduction, report: Path) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    policies = result.results["policy"].unique().tolist()
    table.add_column("unallocated GPUs, %", no_wrap=True)
    for policy in policies:
        table.add_column(policy.partition("-")[2], justify="right", no_wrap=True)
    means = result.results.groupby(["trace", "policy"], sort=False)["alloc_100"].mean()
    for trace in result.results["trace"].unique():
        table.add_row(trace, *(f"{100 - means[trace, policy]:.2f}" for policy in policies))
    console = Console()
    console.print(table)
    console.print(f"\n{escape(result.answer())}", highlight=False)
    console.print(f"\nReport: [bold]{escape(str(report))}[/bold]", highlight=False, soft_wrap=True)


def _say(message: str) -> None:
    Console(stderr=True).print(escape(message), highlight=False, soft_wrap=True)
