"""What a run's store did: frames of its commits and of the times without a leader, and their picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from k8slab.analysis import style
from k8slab.analysis.run_plots import note_of, time_of
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

if TYPE_CHECKING:
    from k8slab.experiments.simulation_run import Metrics, Run
    from k8slab.simulation.history import History
    from k8slab.simulation.world import World

_MS: Final = 1_000_000
# More points than that are drawn faint, lest they hide one another.
_FEW: Final = 1_500


def commits_frame(world: World, history: History) -> pd.DataFrame:
    """One row a turn of a loop that wrote something, in the order committed."""
    commits = world.parts["store"]
    asked, committed = (np.array(at, dtype=np.int64) for at in (commits.asked_ns, commits.committed_ns))
    return pd.DataFrame(
        {
            "asked_ns": asked,
            "committed_ns": committed,
            "latency_ms": (committed - asked) / _MS,
            "controller": np.array(commits.controller, dtype=object),
            "writes": np.array(commits.writes, dtype=np.int64),
            "retries": np.array(commits.retries, dtype=np.int64),
        }
    )


def leaderless_frame(world: World, history: History) -> pd.DataFrame:
    """One row a time in which nobody led, cut at the run's end."""
    spans = [one for one in world.parts["store"].run.leaderless if one.start_ns < history.until_ns]
    start = np.array([one.start_ns for one in spans], dtype=np.int64)
    end = np.minimum(np.array([one.end_ns for one in spans], dtype=np.int64), history.until_ns)
    return pd.DataFrame(
        {
            "start_ns": start,
            "end_ns": end,
            "lasted_s": (end - start) / SECOND_NS,
            "cause": np.array([one.cause for one in spans], dtype=object),
        }
    )


def store_metrics(run: Run) -> Metrics:
    """What `summary` says of the store."""
    latency = run.frames["commits"]["latency_ms"].to_numpy()
    leaderless = run.frames["leaderless"]
    at = {f"commit_latency_p{q}": np.percentile(latency, q) if len(latency) else np.nan for q in (50, 99)}
    return {
        "commits": (len(latency), "count"),
        **{name: (float(value), "ms") for name, value in at.items()},
        "leader_losses": (len(leaderless), "count"),
        "leaderless": (float(leaderless["lasted_s"].sum()), "s"),
    }


def store(run: Run, ax: Axes | None = None) -> Axes:
    """How long each turn of a loop waited for its commit, and when nobody led the store.

    Raises InputError for a run without a store.
    """
    if run.simulation.store is None:
        raise InputError("nothing to draw: the run has no store; give the Simulation store=Store()")
    commits, spans = run.frames["commits"], run.frames["leaderless"]
    edges, scale = time_of(np.array([0]), np.array([run.until_ns]))
    unit = edges[-1] / run.until_ns
    ax = style.new_axes(ax, 9.0, 4.2)
    handles: list[Any] = []
    few = len(commits) <= _FEW
    for position, (name, rows) in enumerate(commits.groupby("controller")):
        handles += ax.plot(
            rows["committed_ns"] * unit, rows["latency_ms"], linestyle="", markersize=3.5 if few else 2.0, label=name,
            color=style.color(position), marker="os^Dv"[position % 5], alpha=0.75 if few else 0.3, mew=0,
        )  # fmt: skip
    for row in spans.itertuples():
        # An election takes a second or two: in a run of days that is less than a line's width.
        ax.axvspan(row.start_ns * unit, row.end_ns * unit, color=style.color(3), alpha=0.4, linewidth=1.0)
    if len(spans):
        handles.append(Patch(color=style.color(3), alpha=0.4, label="nobody led"))
    if handles:
        style.legend(ax, "loop", handles)
        for handle in _legend_handles(ax):
            handle.set_alpha(0.8)
            if isinstance(handle, Line2D):
                handle.set_markersize(4.0)
    if len(commits):
        low, high = commits["latency_ms"].min(), commits["latency_ms"].max()
        # Whole powers of ten, so that each label stands at one.
        ax.set(yscale="log", ylim=(10.0 ** np.floor(np.log10(low)), 10.0 ** (np.floor(np.log10(high)) + 1)))
        style.thousands(ax.yaxis)
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(0, edges[-1])
    store, times = run.simulation.store, "time" if len(spans) == 1 else "times"
    note = f"{store.members} members; {len(spans):,} {times} without a leader. {note_of(run)}"
    return style.finish(ax, "From asking to committed", f"virtual time ({scale})", "ms", note=note)


def _legend_handles(ax: Axes) -> list[Any]:
    legend = ax.get_legend()
    return [] if legend is None else list(legend.legend_handles)
