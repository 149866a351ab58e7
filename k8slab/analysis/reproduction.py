"""The FGD study's figures redrawn, and the report of its reproduction."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from k8slab.analysis import style
from k8slab.analysis.page import Draw, picture, template

if TYPE_CHECKING:
    from k8slab.experiments.reproduction import Reproduction

# A policy has its colour whoever else is drawn.
_ORDER: Final = ("06-FGD", "05-BestFit", "04-GpuPacking", "03-GpuClustering", "02-DotProd", "01-Random")
_NAMES: Final = {
    "01-Random": "random", "02-DotProd": "dot product", "03-GpuClustering": "GPU clustering",
    "04-GpuPacking": "GPU packing", "05-BestFit": "best fit", "06-FGD": "FGD",
}  # fmt: skip
_ARRIVED: Final = "arrived so far (% of the cluster's GPUs)"
_UNALLOCATED: Final = "unallocated GPUs (% of all)"
_LAST_LOAD: Final = 120
# Figures of bars: the first part of the traces' names, which pods there are more of, what the percentage counts, and
# what the name's number is divided by.
_BARS: Final = {
    "fig11": ("gpushare", "share a GPU", "of the GPUs asked for, share asked by pods that share one", 1),
    "fig12": ("multigpu", "ask several GPUs", "of the GPUs asked for, share asked by pods of several", 1),
    "fig13": ("gpuspec", "accept certain models only", "share of GPU pods that accept certain models only", 1),
    "fig14": ("cpu", "ask no GPU", "share of pods that ask no GPU", 10),
}
_KINDS: Final = ("no GPU", "a share", "1 GPU", "2 GPUs", "4 GPUs", "8 GPUs", "other")


@dataclass(frozen=True)
class Figure:
    """One of the paper's figures. height : inches"""

    name: str
    title: str
    draw: Draw
    height: float = 4.4


def figures(results: pd.DataFrame, curves: pd.DataFrame, failures: pd.DataFrame) -> list[Figure]:
    """Those of the paper's figures that these runs have, in its order.

    results, curves, failures : as Reproduction has them
    """
    found = []
    default = curves[curves["trace"] == "default"]
    if len(default):
        failed = failures[failures["trace"] == "default"]
        runs = results[results["trace"] == "default"]
        found += [
            Figure("fig7a", "Figure 7(a)", functools.partial(fragmentation, default, "frag_amount")),
            Figure("fig7b", "Figure 7(b)", functools.partial(fragmentation, default, "frag_ratio")),
            Figure("fig9a", "Figure 9(a)", functools.partial(unallocated, default)),
            Figure("fig9c", "Figure 9(c)", functools.partial(failed_pods, failed, runs), 3.6),
        ]
    for name, (prefix, which, what, divisor) in _BARS.items():
        shares = {trace: _share(trace, prefix, divisor) for trace in results["trace"].unique() if _is(trace, prefix)}
        if shares:
            rows = results[results["trace"].isin(shares)].assign(share=lambda at: at["trace"].map(shares))  # noqa: B023
            found.append(Figure(name, f"Figure {name[3:]}", functools.partial(unallocated_by, rows, which, what)))
    return found


def _is(trace: str, prefix: str) -> bool:
    return trace.startswith(prefix) and trace.removeprefix(prefix).isdecimal()


def _share(trace: str, prefix: str, divisor: int) -> float:
    return int(trace.removeprefix(prefix)) / divisor


def fragmentation(curves: pd.DataFrame, column: str, ax: Axes | None = None) -> Axes:
    """Figure 7: frag_amount or frag_ratio as load arrives, a line a policy."""
    ax = style.new_axes(ax, 8.0, 4.4)
    ratio = column == "frag_ratio"
    # The ratios all end near 100 %.
    _lines(ax, curves, curves[column], 80 if ratio else _LAST_LOAD)
    if ratio:
        ax.set_ylim(-2, 102)
    title = "Fragments among the idle GPUs" if ratio else "Fragmented GPUs as pods arrive"
    y = "fragmented (% of idle GPUs)" if ratio else "fragmented (% of all GPUs)"
    return style.finish(ax, title, _ARRIVED, y, note=_note(curves))


def unallocated(curves: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Figure 9(a): what is not allocated as load arrives, against what no policy can beat."""
    ax = style.new_axes(ax, 8.0, 4.4)
    lines = _lines(ax, curves, 100.0 - curves["allocation"])
    load = np.arange(_LAST_LOAD + 1)
    lines += ax.plot(load, np.maximum(100 - load, 0), color=style.FAINT, linewidth=0.8, linestyle=(0, (1, 2)),
                     label="every pod placed")
    style.legend(ax, f"policy, by load {_LAST_LOAD} %", lines)
    ax.set(xlim=(60, _LAST_LOAD + 1), ylim=(-1, 42))
    return style.finish(ax, "GPUs that stay unallocated as pods arrive", _ARRIVED, _UNALLOCATED, note=_note(curves))


def _lines(ax: Axes, curves: pd.DataFrame, values: pd.Series[Any], ranked_at: int = _LAST_LOAD) -> list[Any]:
    """A median line a policy with the middle half of its seeds; the handles, highest first at a load."""
    ends = []
    for policy in _present(curves):
        own = (curves["policy"] == policy) & (curves["load"] <= _LAST_LOAD)
        low, middle, high = (values[own].groupby(curves["load"][own]).quantile(part) for part in (0.25, 0.5, 0.75))
        position = _ORDER.index(policy)
        ax.fill_between(middle.index, low, high, color=style.color(position), alpha=0.15, lw=0)
        (line,) = ax.plot(middle.index, middle, linewidth=1.7, label=_NAMES[policy], **style.line(position),
                          **style.marks(position, len(middle)))
        ends.append((float(middle[ranked_at]), line))
    handles = [line for _, line in sorted(ends, key=lambda end: -end[0])]
    style.legend(ax, f"policy, by load {ranked_at} %", handles)
    ax.margins(x=0.01)
    return handles


def failed_pods(failures: pd.DataFrame, runs: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Figure 9(c): the pods that found no node by what they asked for, a bar a policy; means over the seeds."""
    policies = _present(runs)
    ax = style.new_axes(ax, 8.0, 1.4 + 0.4 * len(policies))
    kinds = failures.assign(kind=[_kind(milli, gpus) for milli, gpus in zip(failures["gpu_milli"], failures["gpus"],
                                                                             strict=True)])
    sums = kinds.pivot_table(index="policy", columns="kind", values="pods", aggfunc="sum", fill_value=0)
    means = sums.div(runs.groupby("policy")["seed"].nunique(), axis=0).reindex(policies).fillna(0.0)
    left = np.zeros(len(policies))
    # Shades, as colours stand for policies in the other figures.
    shade = matplotlib.colormaps["YlGnBu"]
    for kind in (kind for kind in _KINDS if kind in means.columns):
        color = shade(0.2 + 0.75 * _KINDS.index(kind) / (len(_KINDS) - 1))
        ax.barh(np.arange(len(policies)), means[kind], left=left, height=0.62, label=kind, color=color)
        left += means[kind].to_numpy()
    for y, total in enumerate(left):
        ax.annotate(f"{total:,.0f}", (total, y), (5, 0), textcoords="offset points", va="center", fontsize=9,
                    color=style.INK)
    ax.set_yticks(np.arange(len(policies)), [_NAMES[policy] for policy in policies])
    ax.set_ylim(len(policies) - 0.4, -0.6)
    ax.margins(x=0.08)
    style.legend(ax, "the pod asks")
    style.thousands(ax.xaxis)
    style.finish(ax, "Pods that found no node", "pods, when 130 % of the GPUs have been asked for", "",
                 note=f"Mean of {_seeds(runs)}.", grid="x")
    style.names_on_y(ax)
    return ax


def _kind(milli: int, gpus: int) -> str:
    if gpus == 0:
        return "no GPU"
    if milli < 1000:
        return "a share"
    kind = f"{gpus} GPU{'s' if gpus > 1 else ''}"
    return kind if kind in _KINDS else "other"


def unallocated_by(results: pd.DataFrame, which: str, what: str, ax: Axes | None = None) -> Axes:
    """Figures 11 to 14: what is not allocated at load 100, a group of bars a trace, with one standard deviation.

    results : with the column share, in percent
    which   : what the pods do that there are more of from group to group
    what    : what the share is of
    """
    ax = style.new_axes(ax, 8.0, 4.4)
    shares = sorted(results["share"].unique())
    policies = _present(results)
    width = 0.8 / len(policies)
    left = 100.0 - results["alloc_100"]
    for slot, policy in enumerate(policies):
        by_share = left[results["policy"] == policy].groupby(results["share"])
        mean, deviation = by_share.mean().reindex(shares), by_share.std(ddof=1).reindex(shares)
        x = np.arange(len(shares)) + (slot - (len(policies) - 1) / 2) * width
        ax.bar(x, mean, width * 0.92, color=style.color(_ORDER.index(policy)), label=_NAMES[policy])
        ax.errorbar(x, mean, deviation, fmt="none", ecolor=style.INK, elinewidth=0.8)
    ax.set_xticks(np.arange(len(shares)), [f"{share:g} %" for share in shares])
    style.legend(ax, "policy")
    note = f"Mean of {_seeds(results)}, when as much is asked as there is; the whisker is one standard deviation."
    title = f"GPUs that stay unallocated as more pods {which}"
    return style.finish(ax, title, what, _UNALLOCATED, note=note, grid="y")


def _present(frame: pd.DataFrame) -> list[str]:
    found = set(frame["policy"])
    return [policy for policy in _ORDER if policy in found]


def _seeds(frame: pd.DataFrame) -> str:
    count = frame["seed"].nunique()
    return f"{count} seeds" if count > 1 else "one seed"


def _note(curves: pd.DataFrame) -> str:
    return f"Median of {_seeds(curves)}; the band holds the middle half of them."


# -- the report ---------------------------------------------------------------------


def render(result: Reproduction) -> str:
    """The report as HTML text: pictures inside, nothing loaded from elsewhere."""
    results = result.results
    drawn = figures(results, result.curves, result.failures)
    manifest = result.manifest()
    policies = _present(results)
    return template("reproduction.html").render(
        title="Like Beware of Fragmentation" if result.embedded else "Beware of Fragmentation, again",
        answer=result.answer(),
        facts=_facts(result),
        policies=[_NAMES[policy] for policy in policies],
        rows=[_row(results, trace, policies) for trace in results["trace"].unique()],
        figures=[picture(figure.draw, figure.height, figure.title, figure.title) for figure in drawn],
        differences=_differences(result.differences),
        verdict=result.verdict(),
        manifest=manifest,
        manifest_json=json.dumps(manifest, indent=2),
    )


def _facts(result: Reproduction) -> list[tuple[str, str]]:
    results = result.results
    facts = [("runs", len(results)), ("traces", results["trace"].nunique()), ("policies", results["policy"].nunique()),
             ("seeds", results["seed"].nunique()), ("pods placed or refused", int(results["pods_submitted"].sum()))]
    return [(name, f"{value:,}") for name, value in facts]


def _row(results: pd.DataFrame, trace: str, policies: Sequence[str]) -> dict[str, Any]:
    at = results[results["trace"] == trace]
    left = {policy: 100.0 - at.loc[at["policy"] == policy, "alloc_100"] for policy in policies}
    means = {policy: float(values.mean()) for policy, values in left.items()}
    best = min(means.values())
    cells = [
        {"mean": _two(means[policy]), "range": f"± {values.std(ddof=1):.2f}" if len(values) > 1 else "",
         "best": means[policy] == best}
        for policy, values in left.items()
    ]
    return {"trace": trace, "cells": cells}


def _two(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


def _differences(frame: pd.DataFrame) -> list[dict[str, str]]:
    shown: list[tuple[str, Callable[[Any], str]]] = [
        ("runs", "{:,}".format), ("compared", "{:,}".format), ("equal", "{:,}".format), ("largest", "{:.4g}".format),
        ("gap", "{:+.3f}".format), ("spread", "{:.3f}".format),
    ]
    return [
        {"policy": _NAMES[row["policy"]], "curve": row["curve"].replace("_", " "),
         **{name: text(row[name]) for name, text in shown}}
        for row in frame.to_dict("records")
    ]
