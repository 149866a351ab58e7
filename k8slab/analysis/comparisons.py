"""Pictures of a comparison: policies side by side, seed by seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from k8slab.analysis import style
from k8slab.analysis.frames import percent_column
from k8slab.errors import InputError, UnknownName

if TYPE_CHECKING:
    from k8slab.experiments.comparison import Comparison

_LOWER_IS_BETTER: Final = ("nodes_used", "imbalance_percent", "stranded_")
_ALLOCATED: Final = "_allocated_percent"
_PANELS: Final = 4  # beside each other
_METRICS: Final = {
    "placed": "pods placed",
    "placed_percent": "pods placed (%)",
    "nodes_used": "nodes used",
    "imbalance_percent": "imbalance between nodes (percentage points)",
}


def allocation_curve(
    comparison: Comparison | pd.DataFrame, resource: str | None = None, *, full: bool = False, ax: Axes | None = None
) -> Axes:
    """What each policy has allocated by the time so much had arrived: a line a policy, a band over its seeds.

    comparison : a Comparison or its `curves`
    resource   : one of its resources; if not given, the one that ends fullest
    full       : from the first pod on; if not, from where the policies begin to part

    On the dotted line every pod has been placed. UnknownName for a resource without a curve.
    """
    curves = comparison if isinstance(comparison, pd.DataFrame) else comparison.curves
    column = _curve_column(curves, resource)
    name = column.removesuffix(_ALLOCATED)
    by_point = curves.groupby(["policy", "arrived_percent"], sort=False)[column].agg(["mean", "min", "max"])
    start = 0.0 if full else _where_they_part(curves, column)
    ax = style.new_axes(ax, 8.0, 4.4)
    ends: dict[str, tuple[float, Any]] = {}
    for position, policy in enumerate(curves["policy"].unique()):
        points = by_point.loc[policy]
        points = points[points.index >= start]
        ax.fill_between(points.index, points["min"], points["max"], color=style.color(position), alpha=0.13, lw=0)
        (drawn,) = ax.plot(points.index, points["mean"], linewidth=1.7, label=policy, **style.line(position),
                           **style.marks(position, len(points)))
        ends[policy] = float(points["mean"].iloc[-1]), drawn
    handles = [drawn for _, drawn in sorted(ends.values(), key=lambda end: -end[0])]
    if column == _tight(curves):
        x = points.index
        handles += ax.plot(x, x, color=style.FAINT, linewidth=0.8, linestyle=(0, (1, 2)), label="all that arrived")
    style.legend(ax, "policy, by where it ends", handles)
    ax.margins(x=0.01)
    seeds = curves["seed"].nunique()
    note = f"Mean of {seeds} seeds; the band is from the lowest to the highest." if seeds > 1 else "One seed."
    label = style.resource_name(name)
    title = style.sentence(f"{label} allocated as pods arrive")
    y = f"{label} allocated (% of allocatable)"
    return style.finish(ax, title, "arrived so far (% of what the cluster has)", y, note=note)


def allocation_panels(comparison: Comparison, ax: Axes) -> None:
    """`allocation_curve` of many policies, whose lines lie on one another: a panel each, the others in grey.

    ax : gives its place to the panels; they go by where the policies end, the fullest first
    """
    curves = comparison.curves
    column = _curve_column(curves, comparison.dominant)
    shown = curves[curves["arrived_percent"] >= _where_they_part(curves, column)]
    runs = shown.groupby(["policy", "arrived_percent"])[column].agg(["mean", "min", "max"])
    order = runs["mean"].groupby("policy").last().sort_values(ascending=False, kind="stable").index
    figure, name = ax.figure, style.resource_name(comparison.dominant)
    ax.remove()
    rows = -(-len(order) // _PANELS)
    panels = figure.subplots(rows, _PANELS, sharex=True, sharey=True, squeeze=False)
    for place, policy in zip(panels.flat, order, strict=False):
        for other in order:
            place.plot(runs.loc[other].index, runs.loc[other]["mean"], color="#d0d0d0", linewidth=0.8)
        own = runs.loc[policy]
        place.plot(own.index, own.index, color=style.FAINT, linewidth=0.8, linestyle=(0, (1, 2)))
        place.fill_between(own.index, own["min"], own["max"], color=style.ACCENT, alpha=0.25, lw=0)
        place.plot(own.index, own["mean"], color=style.ACCENT, linewidth=2.0)
        style.finish(place, policy, "", "", note=f"ends at {own['mean'].iloc[-1]:.1f} %")
        place.title.set_fontsize(10)
    for place in panels.flat[len(order) :]:
        place.set_axis_off()
    figure.supxlabel("arrived so far (% of what the cluster has)", fontsize=10, color=style.INK)
    figure.supylabel(f"{name} allocated (% of allocatable)", fontsize=10, color=style.INK)


def policy_comparison(
    comparison: Comparison | pd.DataFrame, metric: str | None = None, ax: Axes | None = None
) -> Axes:
    """Each policy's mean of one metric as a dot, with its 95 % interval; the best on top.

    comparison : a Comparison or its `summary()`
    metric     : a column of Comparison.frame; if not given, the comparison's headline, or the
                 first allocation that there is. UnknownName for one that isn't there.
    """
    summary, metric = _summary_and_metric(comparison, metric)
    lower = metric.startswith(_LOWER_IS_BETTER)
    rows = summary[summary["metric"] == metric].sort_values("mean", ascending=lower, kind="stable")
    y = np.arange(len(rows))
    ax = style.new_axes(ax, 7.2, 1.5 + 0.36 * len(rows))
    ax.hlines(y, rows["low"], rows["high"], color=style.ACCENT, linewidth=3.0, alpha=0.45)
    ax.plot(rows["mean"], y, "o", color=style.ACCENT, markersize=7)
    digits = 0 if metric in ("placed", "nodes_used") else 2
    for height, mean in zip(y, rows["mean"], strict=True):
        ax.annotate(f"{mean:,.{digits}f}", (1, height), (6, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", va="center", fontsize=9, color=style.INK, annotation_clip=False)
    ax.set_yticks(y, rows["policy"])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.margins(x=0.06)
    seeds = int(rows["seeds"].max())
    note = f"Mean of {seeds} seeds with its 95 % interval; {_better(metric)} is better."
    style.finish(ax, f"Policies by {metric_name(metric, unit=False)}", metric_name(metric), "", note=note, grid="x")
    style.names_on_y(ax)
    style.thousands(ax.xaxis)
    return ax


def stranding_comparison(comparison: Comparison | pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each policy leaves free but unusable at the end, of every resource, with 95 % intervals.

    comparison : a Comparison or its `summary()`. InputError if it holds no stranded metric.
    """
    summary = comparison if isinstance(comparison, pd.DataFrame) else comparison.summary()
    found = summary[summary["metric"].str.match(r"stranded_.*_percent$")]
    if len(found) == 0:
        raise InputError("the summary holds no stranded_<resource>_percent")
    metrics = list(found["metric"].unique())
    policies = list(found.groupby("policy", sort=False)["mean"].mean().sort_values(kind="stable").index)
    ax = style.new_axes(ax, 8.0, 1.5 + 0.42 * len(policies))
    for position, metric in enumerate(metrics):
        rows = found[found["metric"] == metric].set_index("policy").loc[policies]
        y = np.arange(len(policies)) + 0.14 * (position - (len(metrics) - 1) / 2)
        ax.hlines(y, rows["low"], rows["high"], color=style.color(position), linewidth=2.5, alpha=0.45)
        label = style.resource_name(metric.removeprefix("stranded_").removesuffix("_percent"))
        ax.plot(rows["mean"], y, style.MARKERS[position % len(style.MARKERS)], color=style.color(position),
                markersize=6.5, label=label)
    ax.set_yticks(range(len(policies)), policies)
    # One seed has no interval: its ends are NaN, which max() would take for the largest.
    top = np.nanmax([found["high"].max(), found["mean"].max(), 0.1])
    ax.set(ylim=(len(policies) - 0.4, -0.6), xlim=(-0.02 * top, 1.04 * top))
    style.legend(ax, "resource")
    x = "free but unusable for want of another resource (% of allocatable)"
    note = "Mean over the seeds with its 95 % interval; less is better."
    style.finish(ax, "Capacity stranded at the end", x, "", note=note, grid="both")
    style.names_on_y(ax)
    return ax


def metric_name(metric: str, unit: bool = True) -> str:
    """A metric in words.

    >>> metric_name("gpu_allocated_percent"), metric_name("stranded_cpu_percent", unit=False)
    ('GPU allocated (% of allocatable)', 'CPU stranded')
    """
    name = _METRICS.get(metric)
    if name is None and metric.endswith("_percent"):
        stem, word = metric.removesuffix("_percent").removesuffix("_allocated"), "allocated"
        if stem.startswith("stranded_"):
            stem, word = stem.removeprefix("stranded_"), "stranded"
        name = f"{style.resource_name(stem)} {word} (% of allocatable)"
    name = name or metric
    return name if unit else name.partition(" (")[0]


def _better(metric: str) -> str:
    if metric == "nodes_used":
        return "fewer, if every pod is placed,"
    return "less" if metric.startswith(_LOWER_IS_BETTER) else "more"


def _curve_column(curves: pd.DataFrame, resource: str | None) -> str:
    if resource is None:
        return _tight(curves)
    column = percent_column(resource, "allocated")
    if column not in curves:
        raise UnknownName("resource", resource, [name.removesuffix(_ALLOCATED) for name in _allocated(curves)])
    return column


def _tight(curves: pd.DataFrame) -> str:
    """The column of the resource that ends fullest: arrivals are counted in it."""
    columns = _allocated(curves)
    if not columns:
        raise InputError(f"the curves have no <resource>{_ALLOCATED} column")
    return str(curves[columns].max().idxmax())


def _allocated(curves: pd.DataFrame) -> list[str]:
    return [str(name) for name in curves.columns if str(name).endswith(_ALLOCATED)]


def _where_they_part(curves: pd.DataFrame, column: str) -> float:
    """The point at which policies and seeds are two fifths as far apart as they ever are: before it all look alike.

    The first point if they are never half a percentage point apart.
    """
    spread = curves.groupby("arrived_percent")[column].agg(np.ptp)
    return float(spread.index[(spread >= 0.4 * spread.max()).argmax()]) if spread.max() > 0.5 else 0.0


def _summary_and_metric(comparison: Comparison | pd.DataFrame, metric: str | None) -> tuple[pd.DataFrame, str]:
    if isinstance(comparison, pd.DataFrame):
        summary, known = comparison, list(comparison["metric"].unique())
        metric = metric or next((name for name in known if name.endswith(_ALLOCATED)), known[0])
    else:
        summary, metric = comparison.summary(), metric or comparison.headline
        known = list(summary["metric"].unique())
    if metric not in known:
        raise UnknownName("metric", metric, known)
    return summary, metric
