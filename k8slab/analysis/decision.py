"""The picture of one decision: how the scores of the chosen node and the runner-up add up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from k8slab.analysis import style

if TYPE_CHECKING:
    from k8slab.experiments.explanation import Explanation

Floats = npt.NDArray[np.float64]
_SUFFIX: Final = ":weighted"
_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"color": style.ACCENT},
    {"facecolor": "white", "edgecolor": style.SECOND, "hatch": "/////"},
)


def waterfall(explanation: Explanation, ax: Axes | None = None) -> Axes:
    """Weighted scores of a decision, plug-in by plug-in up to the total: the chosen node against the runner-up.

    At the right stands by how much the chosen node leads. Scores that took no part or gave neither
    node a point are left out. If no node fitted, what refused how many nodes instead.
    """
    frame = explanation.frame.set_index("node")
    if explanation.chosen is None or np.isnan(frame.loc[explanation.chosen, "total"]):
        return _refusals(explanation, ax)
    nodes = [node for node in (explanation.chosen, explanation.runner_up) if node is not None]
    weighted = frame.loc[nodes].filter(regex=f"{_SUFFIX}$")
    weighted = weighted.loc[:, (weighted.fillna(0.0) != 0.0).any()]
    plugins = [str(column).removesuffix(_SUFFIX) for column in weighted.columns]
    parts = weighted.to_numpy(dtype=np.float64)
    totals = frame.loc[nodes, "total"].to_numpy(dtype=np.float64)

    # As wide as long names of plug-ins, at the left, and nodes, in the legend, leave room for the bars.
    names = max(map(len, plugins), default=0) + max(map(len, nodes))
    ax = style.new_axes(ax, 8.4 + 0.08 * max(names - 24, 0), 1.7 + 0.62 * (len(plugins) + 1))
    ends = np.cumsum(parts, axis=1)
    low, high = float(min(0.0, (ends - parts).min(initial=0.0), ends.min(initial=0.0))), float(ends.max(initial=1.0))
    for which, node in enumerate(nodes):
        role = "runner-up" if which else "chosen"
        _steps(ax, which, parts[which], float(totals[which]), f"{node} ({role})", len(nodes))
    if len(nodes) == 2:
        _leads(ax, [*(parts[0] - parts[1]), totals[0] - totals[1]])
    ax.axvline(0.0, color="#bdbdbd", linewidth=0.8)
    if plugins:
        ax.axhline(len(plugins) - 0.5, color="#bdbdbd", linewidth=0.8)
    ax.set_yticks(range(len(plugins) + 1), [*plugins, "total"])
    room = 0.28 if len(nodes) == 2 else 0.12
    ax.set(ylim=(len(plugins) + 0.55, -0.55), xlim=(low - 0.02 * (high - low), high + room * (high - low)))
    style.legend(ax)
    style.finish(ax, f"Why {explanation.pod} went to {explanation.chosen}", "weighted score (points)", "",
                 note=_outcome(explanation, totals, len(plugins)), grid="x")
    style.names_on_y(ax)
    style.thousands(ax.xaxis)
    return ax


def _steps(ax: Axes, which: int, parts: Floats, total: float, label: str, nodes: int) -> None:
    """One node's bars, each beginning where the one before ended, then the total from 0."""
    height = 0.36 if nodes == 2 else 0.5
    y = np.arange(len(parts) + 1) + (0.2 * (2 * which - 1) if nodes == 2 else 0.0)
    ends = np.cumsum(parts)
    left, width = np.append(ends - parts, 0.0), np.append(parts, total)
    ax.barh(y, width, height, left=left, linewidth=1.0, label=label, **_LOOKS[which])
    edge = style.SECOND if which else style.ACCENT
    ax.vlines(ends, y[:-1], y[1:], color=edge, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0.9)
    for height_at, start, value in zip(y, left, width, strict=True):
        ax.annotate(f"{value:,g}", (max(start, start + value), height_at), (4, 0), textcoords="offset points",
                    va="center", fontsize=8.5, color=style.INK,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})


def _leads(ax: Axes, leads: list[float]) -> None:
    """By how much the chosen node leads, in a column at the right."""
    ax.annotate("lead", (1, 1), (-4, -2), xycoords="axes fraction", textcoords="offset points", fontsize=9,
                color=style.FAINT, ha="right", va="top")
    for y, lead in enumerate(leads):
        ax.annotate(f"{lead:+,g}".replace("-", "\N{MINUS SIGN}") if lead else "0", (1, y), (-4, 0),
                    xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", va="center", fontsize=9,
                    color=style.INK, fontweight="bold" if y == len(leads) - 1 else "normal")


def _outcome(explanation: Explanation, totals: Floats, plugins: int) -> str:
    if len(totals) == 1:
        return "No other node could take it."
    if plugins == 0:
        return f"The policy scores nothing; its tie rule chose among {explanation.tied:,} nodes."
    if totals[0] == totals[1]:
        return f"{explanation.tied:,} nodes had the highest total; the tie rule chose among them."
    lead = totals[0] - totals[1]
    return f"It leads the runner-up by {lead:,g} point{'' if lead == 1 else 's'}."


def _refusals(explanation: Explanation, ax: Axes | None) -> Axes:
    """How many nodes each reason refused; a node can have several."""
    told = explanation.frame["reason"].dropna()
    counts = Counter(reason for text in told for reason in str(text).split(", "))
    reasons = counts.most_common(8)
    ax = style.new_axes(ax, 7.2, 1.6 + 0.4 * len(reasons))
    y = np.arange(len(reasons))
    bars = ax.barh(y, [count for _, count in reasons], 0.6, color=style.ACCENT)
    ax.bar_label(bars, [f"{count:,}" for _, count in reasons], padding=4, fontsize=9, color=style.INK)
    ax.set_yticks(y, [reason for reason, _ in reasons])
    ax.set_ylim(len(reasons) - 0.4, -0.6)
    ax.margins(x=0.1)
    found = "no node" if explanation.chosen is None else f"{explanation.chosen} only when others had to go"
    style.finish(ax, f"Why {explanation.pod} found {found}", "nodes that refused it, of "
                 f"{len(explanation.frame):,}", "", note="A node can refuse for several reasons.", grid="x")
    style.names_on_y(ax)
    style.whole_ticks(ax.xaxis)
    return ax
