"""The command `k8slab simulate`: a scenario file, lived through in virtual time."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from k8slab.errors import InputError, Interrupted

if TYPE_CHECKING:
    from k8slab.experiments.counterfactual import Counterfactual
    from k8slab.experiments.simulation_run import Run


def simulate_command(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="SCENARIO", help="What is to be simulated: a TOML file; - for stdin.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="How long, as 7d or 90m. Default: the scenario's.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", metavar="NAME", help="The policy. Default: the scenario's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Of all that is random. Default: the scenario's.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="NAME", help="A second policy on the same time, and what differs."),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", metavar="N", min=1, help="With --against: pairs of runs, for intervals of what differs."
        ),
    ] = 1,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where everything goes. Files there are replaced.")
    ] = Path("simulation"),
    parquet: Annotated[bool, typer.Option("--parquet", help="Write frames as parquet instead of CSV.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on stdout, and nothing else there.")
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a scenario to begin with, every key explained, and do no more.")
    ] = False,
) -> None:
    """Let a cluster live for a time: pods come and go, loops act, nodes fail.

    A scenario says which cluster, what runs there, under which policy,
    autoscalers and faults, and from which seed. The same scenario gives the
    same files, to the byte.

    [bold]A scenario[/bold] ([bold]--example[/bold] prints a longer one, with comments)

      until = "1d"
      policy = "kube-default"
      \\[cluster]
      nodes = 100
      \\[\\[stream]]
      name = "batch"
      pods = { classes = 20 }
      arrivals = { kind = "diurnal", every = "30s", swing = 0.8 }
      lifetimes = { kind = "lognormal", median = "2h" }
      \\[\\[deployment]]
      name = "web"
      replicas = 20
      requests = { cpu = "500m", memory = "1Gi" }
      \\[\\[fault]]
      kind = "node"
      mtbf = "30d"

    [bold]Examples[/bold]

      k8slab simulate --example > scenario.toml
      k8slab simulate scenario.toml
      k8slab simulate --example | k8slab simulate - --until 6h
      k8slab simulate scenario.toml --until 7d --against most-allocated --seeds 10
      k8slab simulate scenario.toml --json | jq .summary

    [bold]What it writes[/bold] into the folder --out

      report.html       the report: one file, open it in a browser
      pods.csv ...      what happened to each pod, node, and over time
      summary.csv       one number a row
      differences.csv   from the second policy, with --against
      manifest.json     versions, inputs, seed

    [bold]Exit status[/bold]

      0   done
      2   an error, or Ctrl-C; the frames up to that instant are saved
    """
    from k8slab.experiments.scenario import example_scenario, load_scenario, parse_scenario

    if example:
        print(example_scenario(), end="")
        return
    if scenario is None:
        raise InputError(
            "nothing to simulate: wanted a scenario, a TOML file. To begin with one: "
            "k8slab simulate --example > scenario.toml && k8slab simulate scenario.toml"
        )
    changes: dict[str, Any] = {"until": until, "policy": policy, "seed": seed}
    if str(scenario) == "-":
        told = parse_scenario(sys.stdin.read(), "stdin", **changes)
    else:
        told = load_scenario(scenario, **changes)
    suffix = ".parquet" if parquet else ".csv"
    try:
        run = told.simulation.run(told.until)
    except Interrupted as error:
        if error.partial is not None:
            error.partial.save(out, suffix=suffix)
            _say(f"the frames up to that instant are saved in {out}")
        raise
    files = run.save(out, suffix=suffix)
    other = run.counterfactual(policy=against, seeds=seeds) if against is not None else None
    if other is not None:
        files["differences"] = other.save(out / "differences.csv")
    with Console(stderr=True).status("drawing the report ..."):
        files["report"] = run.to_html(out / "report.html", against=other)
    if as_json:
        print(json.dumps(_as_json(run, other, files), indent=2))
    else:
        _show(run, other, files["report"])


def _as_json(run: Run, other: Counterfactual | None, files: dict[str, Path]) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    found: dict[str, Any] = {
        "answer": run.answer(),
        "summary": {name: {"value": number(value), "unit": unit} for name, (value, unit) in run.metrics.items()},
        "files": {name: str(path) for name, path in files.items()},
        "manifest": run.manifest(),
    }
    if other is not None:
        rows = other.frame.to_dict("records")
        found["differences"] = [
            {key: number(value) if isinstance(value, float) else value for key, value in row.items()} for row in rows
        ]
    return found


def _show(run: Run, other: Counterfactual | None, report: Path) -> None:
    from k8slab.experiments.simulation_run import named, shown

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column(run.simulation.policy.name, justify="right")
    if other is not None:
        table.add_column(other.other.simulation.policy.name, justify="right")
    for name, (value, unit) in run.metrics.items():
        if name.endswith("_told"):
            continue
        cells = [shown(value, unit)]
        if other is not None:
            cells.append(shown(*other.other.metrics[name]))
        table.add_row(named(name), *cells)
    console = Console()
    console.print(table)
    console.print(f"\n{escape(run.answer())}", highlight=False)
    console.print(f"\nReport: [bold]{escape(str(report))}[/bold]", highlight=False, soft_wrap=True)


def _say(message: str) -> None:
    Console(stderr=True).print(escape(message), highlight=False, soft_wrap=True)
