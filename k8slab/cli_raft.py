"""The command `k8slab raft`: the Raft core under faults."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

raft = typer.Typer(name="raft", no_args_is_help=True, rich_markup_mode="rich", help="Put the Raft core under faults.")


@raft.callback()
def _raft() -> None:
    """Put the Raft core under faults."""


def soak_command(
    schedules: Annotated[int, typer.Option("--schedules", "-n", metavar="N", min=1, help="How many.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The first schedule's; they count up.")] = 0,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Processes. Default: one a core.")
    ] = None,
) -> None:
    """Play random fault schedules, every invariant watched at every event.

    Each schedule is a cluster of one to five members with spares, under loss,
    duplication, late messages, partitions of one or both ways, crashes with a
    torn log, drifting clocks, slow disks and membership changes, with any safe
    switches of the core. Then it is calm, and the cluster must elect and
    commit; and clients' histories must be linearizable. A schedule is a
    function of its seed; one that breaks a rule is cut down to the few actions
    that do it.

    [bold]Examples[/bold]

      k8slab raft soak
      k8slab raft soak --schedules 500 --seed 10000

    [bold]Exit status[/bold]

      0   no rule was broken
      1   some were
      2   an error, or Ctrl-C
    """
    from k8slab.experiments.raft_soak import soak_raft

    result = soak_raft(schedules, seed=seed, workers=workers)
    console = Console()
    for one in result.broken:
        console.print(f"seed {one.seed}: [bold]{escape(one.rule)}[/bold]: {escape(one.text)}", highlight=False)
        for action in one.shortest:
            console.print(f"  {escape(action)}", highlight=False)
    console.print(escape(str(result)), highlight=False, soft_wrap=True)
    if not result.ok:
        raise typer.Exit(1)
