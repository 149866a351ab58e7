"""Pictures of a backtest: what is paid for against what is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from k8slab.analysis import style
from k8slab.errors import UnknownName
from k8slab.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from k8slab.experiments.backtest import Backtest


def pareto(result: Backtest, x: str = "pending_p95", y: str = "cost", ax: Axes | None = None) -> Axes:
    """A point a run, a larger one an autoscaler's mean; the line joins those that none beats in both.

    x, y : metrics of the backtest, less being better. UnknownName for one that it hasn't.
    """
    from k8slab.experiments.backtest import METRICS

    for name in (x, y):
        if name not in METRICS:
            raise UnknownName("metric", name, METRICS)
    ax = style.new_axes(ax, 7.6, 4.6)
    means = result.frame.groupby("autoscaler", sort=False)[[x, y]].mean()
    for position, name in enumerate(result.names):
        mine = result.frame[result.frame["autoscaler"] == name]
        color = style.color(position)
        ax.scatter(mine[x], mine[y], s=14, color=color, alpha=0.45, linewidths=0)
        ax.scatter(means.loc[name, x], means.loc[name, y], s=80, color=color, label=name, zorder=3)
    best = means.loc[result.pareto(x, y)].sort_values(x)
    ax.plot(best[x], best[y], color=style.FAINT, linewidth=1.0, linestyle=(0, (3, 2)), zorder=1)
    style.legend(ax, "autoscaler")
    right = max(1.0, float(np.nanmax(result.frame[x])) * 1.06)
    # Those that never wait lie on the axis, and would be cut in half there.
    ax.set_xlim(-0.02 * right, right)
    ax.margins(y=0.12)
    joined = "; dashed: none is better in both" if len(best) > 1 else ""
    note = (
        f"{format_duration(result.until_ns)}, {result.frame['seed'].nunique()} seeds; small: one, large: their mean"
        f"{joined}."
    )
    titles = {name: _spoken(name) for name in (x, y)}
    return style.finish(
        ax, style.sentence(f"{titles[y]} against {titles[x]}"), f"{titles[x]} ({METRICS[x]})",
        f"{titles[y]} ({METRICS[y]})", note=note,
    )  # fmt: skip


def _spoken(metric: str) -> str:
    """A metric as people say it.

    >>> _spoken("pending_p95"), _spoken("node_hours"), _spoken("slo_missed_percent")
    ('waiting, 95th percentile', 'node hours', 'SLO missed')
    """
    if metric.startswith("pending_p"):
        return f"waiting, {metric.removeprefix('pending_p')}th percentile"
    spoken = metric.removesuffix("_percent").replace("pending_", "waiting, ").replace("_", " ")
    return spoken.replace("slo ", "SLO ")
