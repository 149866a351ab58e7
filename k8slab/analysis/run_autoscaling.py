"""What a run's autoscalers saw and did over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from k8slab.analysis import style
from k8slab.analysis.run_plots import note_of, time_of
from k8slab.errors import InputError, UnknownName

if TYPE_CHECKING:
    from k8slab.experiments.simulation_run import Run
    from k8slab.simulation.world import World

_DTYPES = {
    "time_ns": np.int64, "autoscaler": object, "workload": object, "replicas": np.int64, "desired": np.int64,
    "ready": np.int64, "metric": object, "value": np.float64, "target": np.float64, "unit": object,
}  # fmt: skip


def autoscaling_frame(world: World) -> pd.DataFrame:
    """One row an autoscaler, metric and sampled instant, some two thousand of them at most."""
    parts: list[dict[str, Any]] = [record.columns() for record in world.parts.get("scaling", [])]
    if not parts:
        return pd.DataFrame({name: np.zeros(0, dtype=dtype) for name, dtype in _DTYPES.items()})
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def autoscaling(run: Run, autoscaler: str | None = None) -> Figure:
    """An autoscaler's replicas, and below them what it looks at against its targets.

    autoscaler : its name; by default the one that took most steps, the first of equals

    Raises InputError where the run has none, UnknownName for a name that none has.
    """
    frame = run.frames.autoscaling
    names = list(dict.fromkeys(frame["autoscaler"]))
    if not names:
        raise InputError("the run has no autoscaler; give some to Simulation(autoscalers=[...])")
    if autoscaler is not None and autoscaler not in names:
        raise UnknownName("autoscaler", autoscaler, names)
    steps = run.frames.scaling
    steps = steps[steps["desired"] != steps["replicas"]]
    chosen = autoscaler if autoscaler is not None else max(names, key=lambda name: (steps["autoscaler"] == name).sum())
    own, taken = frame[frame["autoscaler"] == chosen], steps[steps["autoscaler"] == chosen]
    metrics = list(dict.fromkeys(own["metric"]))
    height = 2.9 + 1.9 * len(metrics)
    figure, axes = plt.subplots(
        1 + len(metrics), 1, figsize=(9.0, height), sharex=True, layout="constrained", squeeze=False,
        height_ratios=[1.3, *[1.0] * len(metrics)],
    )  # fmt: skip
    _, scale = time_of(np.array([0]), np.array([run.until_ns]))
    divisor = run.until_ns / time_of(np.array([0]), np.array([run.until_ns]))[0][-1]
    _replicas(axes[0, 0], own[own["metric"] == metrics[0]], taken, divisor, run.until_ns)
    style.finish(axes[0, 0], f"Autoscaler {chosen}", "", "pods", note=f"{len(taken):,} steps. {note_of(run)}")
    for ax, metric in zip(axes[1:, 0], metrics, strict=True):
        _metric(ax, own[own["metric"] == metric], divisor)
        unit = own.loc[own["metric"] == metric, "unit"].iloc[0]
        label = f"{style.resource_name(metric)} ({unit})" if unit else style.resource_name(metric)
        style.finish(ax, "", "", label)
    axes[-1, 0].set_xlabel(f"virtual time ({scale})", fontsize=10, color=style.INK)
    return figure


def _replicas(ax: Any, seen: pd.DataFrame, taken: pd.DataFrame, divisor: float, until_ns: int) -> None:
    """What is wanted changes with each step, so it is drawn from the steps; ready pods are sampled."""
    first = int(seen["replicas"].iloc[0])
    times = np.concatenate([[0], taken["time_ns"].to_numpy(), [until_ns]]) / divisor
    wanted = np.concatenate([[first], taken["desired"].to_numpy()])
    # An area and a line: as two lines the one would hide the other, which it mostly equals.
    ax.fill_between(
        seen["time_ns"] / divisor, seen["ready"], step="post", color=style.SECOND, alpha=0.3, linewidth=0, label="ready"
    )
    ax.stairs(wanted, times, baseline=None, color=style.ACCENT, linewidth=1.7, label="desired")
    style.legend(ax)
    ax.set_ylim(bottom=0)
    ax.margins(x=0.0)
    style.whole_ticks(ax.yaxis)


def _metric(ax: Any, seen: pd.DataFrame, divisor: float) -> None:
    """The metric as it was sampled, and its target."""
    ax.plot(seen["time_ns"] / divisor, seen["value"], color=style.color(2), linewidth=1.0, label="seen")
    # Dashes as long as the legend can show: dots ran together on the page and not there.
    ax.axhline(seen["target"].iloc[0], color=style.INK, linewidth=1.3, linestyle=style.DASHES[1], label="target")
    style.legend(ax)
    ax.set_ylim(bottom=0)
    ax.margins(x=0.0)
