"""Plots of what broke in a run, and of how well failure detectors saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from k8slab.analysis import style
from k8slab.analysis.run_plots import note_of, time_of
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from k8slab.experiments.simulation_run import Run

_WRONG: Final = "held lost though up"


def failures(run: Run, ax: Axes | None = None) -> Axes:
    """Nodes that were down, and nodes that the cluster held to be lost, over time.

    Raises InputError for a run in which nothing broke.
    """
    frames = run.frames
    truth = frames.detections[frames.detections["detector"] == _acting(run)]
    health = frames.health[frames.health["pod"].isna()]
    if not len(truth) and not len(health):
        raise InputError("nothing to draw: no node was down or held to be lost; give the Simulation faults")
    unknown = health["condition"] == "Unknown"
    edges, scale = time_of(np.array([0]), np.array([run.until_ns]))
    unit = edges[-1] / run.until_ns
    ax = style.new_axes(ax, 9.0, 4.0)
    down_at = np.concatenate([truth["down_s"], truth["up_s"]]) * 1e9
    down_by = np.repeat([1, -1], len(truth))
    gone = _gone_while_lost(health, frames.node_intervals)
    held_at = np.concatenate([health["time_ns"].to_numpy(), gone])
    held_by = np.concatenate([np.where(unknown, 1, -1), np.full(len(gone), -1)])
    for position, (label, at, by) in enumerate((("down", down_at, down_by), ("held lost", held_at, held_by))):
        order = np.argsort(at, kind="stable")
        times = np.concatenate([[0], at[order], [run.until_ns]]) * unit
        level = np.concatenate([[0], np.cumsum(by[order])])
        # An area and a line: as two lines the one would hide the other.
        if position == 0:
            ax.stairs(level, times, fill=True, color=style.SECOND, alpha=0.35, linewidth=0, label=label)
        else:
            ax.stairs(level, times, baseline=None, color=style.ACCENT, linewidth=1.4, label=label)
    style.legend(ax, "nodes")
    ax.set_ylim(bottom=0)
    ax.margins(x=0.0)
    style.whole_ticks(ax.yaxis)
    evicted, restarts = (run.metrics[name][0] for name in ("pods_evicted", "restarts"))
    done = f"{evicted:,} pods told to go, {restarts:,} restarts. {note_of(run)}"
    return style.finish(ax, "What broke, and what was seen of it", f"virtual time ({scale})", "nodes", note=done)


def detectors(run: Run, ax: Axes | None = None) -> Axes:
    """How soon each failure detector found outages; those that it missed keep its line below 100 %.

    The legend says how often it was wrong. Raises InputError for a run without outages.
    """
    scores = run.frames.detectors
    if not len(scores) or not scores["outages"].iloc[0]:
        raise InputError("nothing to draw: no node was down; give the Simulation faults such as NodeFailures")
    found = run.frames.detections
    ax = style.new_axes(ax, 7.8, 4.2)
    longest = np.nanmax([scores["delay_max_s"].max(), 1.0])
    for position, row in enumerate(scores.itertuples()):
        delay = np.sort(found.loc[found["detector"] == row.detector, "delay_s"].dropna().to_numpy())
        share = 100.0 * np.arange(len(delay) + 1) / row.outages
        name = f"{row.detector}: {row.wrong:,} of {row.suspicions:,} wrong"
        times = np.concatenate([[0.0], delay, [1.05 * longest]])
        ax.stairs(share, times, baseline=None, label=name, linewidth=1.7, **style.line(position))
    style.legend(ax, "suspicions")
    ax.set_ylim(0, 103)
    ax.set_xlim(0, 1.05 * longest)
    outages = int(scores["outages"].iloc[0])
    told = f"{outages:,} outages, short ones among them" if outages > 1 else "One outage"
    note = f"{told}. {note_of(run)}"
    return style.finish(
        ax, "How soon outages are found", "after the outage began (s)", "outages found (%)", note=note
    )


def _gone_while_lost(health: pd.DataFrame, intervals: pd.DataFrame) -> npt.NDArray[np.float64]:
    """When nodes were taken away that were held to be lost to the last; ns."""
    last = health.groupby("node", sort=False).tail(1)
    lost = last.loc[last["condition"] == "Unknown", "node"]
    ended = intervals[(intervals["end"] != "still there") & intervals["node"].isin(lost)]
    return np.asarray(ended["ended_s"] * SECOND_NS, dtype=np.float64)


def _acting(run: Run) -> str:
    scores = run.frames.detectors
    return str(scores["detector"].iloc[0]) if len(scores) else ""
