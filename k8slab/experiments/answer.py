"""The sentences that say what came out of a comparison, and no more than the numbers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from k8slab.experiments.statistics import seeds_needed

if TYPE_CHECKING:
    from k8slab.experiments.comparison import Comparison

_WHY: Final = "k8slab.schedule(cluster, workload).unschedulable() says why."


def answer(comparison: Comparison) -> str:
    """Which policy did best on the headline metric, who can't be told from it, and how far the baseline is."""
    frame = comparison.frame
    pods = len(comparison.workload)
    if (frame["placed"] == 0).all():
        return f"No policy placed any of the {pods:,} pods: no node takes any of them. {_WHY}"
    summary = comparison.summary()
    means = summary[summary["metric"] == comparison.headline].set_index("policy")
    best = str(means["mean"].idxmin() if comparison.headline == "nodes_used" else means["mean"].idxmax())
    if len(means) == 1:
        return f"{_lead(comparison, best, means)}."
    gaps = comparison.differences(baseline=best)
    gaps = gaps[gaps["metric"] == comparison.headline].set_index("policy")
    if len(gaps) == 0:
        return f"{_lead(comparison, best, means)} so far; no seed has been run with every policy yet."
    if (gaps["verdict"] == "equal").all():
        return _alike(comparison, means, best)
    if (gaps["verdict"] == "too few seeds").any():
        seeds = comparison.paired_seeds
        few = "one seed is" if seeds == 1 else f"{seeds} seeds are"
        need = f"{len(means)} policies need at least {seeds_needed(len(means) - 1)}"
        return f"{_lead(comparison, best, means)}, but {few} too few to tell the policies apart: {need}."
    tied = [str(name) for name in gaps.index[~gaps["distinguishable"]]]
    ties = f"; {_listed(tied)} {'is' if len(tied) == 1 else 'are'} not distinguishable from it" if tied else ""
    more = f"{_against_baseline(comparison, best, gaps)}{_most_pods(comparison, best)}"
    return f"{_lead(comparison, best, means)}{ties}.{more}"


def _lead(comparison: Comparison, best: str, means: pd.DataFrame) -> str:
    value = _value(comparison, means, best)
    if comparison.headline == "nodes_used":
        return f"Every pod found a node with every policy; {best} uses the fewest nodes, {value}"
    return f"{best} allocates the most {_name(comparison)}, {value} of the cluster's"


def _name(comparison: Comparison) -> str:
    from k8slab.analysis.style import resource_name

    return resource_name(comparison.dominant)


def _alike(comparison: Comparison, means: pd.DataFrame, policy: str) -> str:
    value = _value(comparison, means, policy)
    if comparison.headline == "nodes_used":
        return f"All {len(means)} policies do alike: every pod finds a node, and {value} nodes are used."
    placed = comparison.frame["placed"].mean()
    pods = f"{placed:,.0f} of {len(comparison.workload):,} pods"
    return f"All {len(means)} policies do alike: they allocate {value} of the cluster's {_name(comparison)}, to {pods}."


def _value(comparison: Comparison, means: pd.DataFrame, policy: str) -> str:
    row = means.loc[policy]
    digits, unit = (1, "") if comparison.headline == "nodes_used" else (2, " %")
    interval = ""
    if row["high"] > row["low"]:
        interval = f" (95 % interval {row['low']:,.{digits}f} to {row['high']:,.{digits}f})"
    return f"{row['mean']:,.{digits}f}{unit}{interval}"


def _against_baseline(comparison: Comparison, best: str, gaps: pd.DataFrame) -> str:
    base = comparison.baseline
    if base == best or not gaps.loc[base, "distinguishable"]:
        return ""
    gap = abs(float(gaps.loc[base, "difference"]))
    if comparison.headline == "nodes_used":
        return f" That is {gap:,.1f} fewer than {base}."
    return f" That is {gap:.2f} percentage points more than {base}."


def _most_pods(comparison: Comparison, best: str) -> str:
    """Allocating most and placing most pods are two things; who is better at the second is said too."""
    placed = comparison.frame.groupby("policy")["placed"].mean()
    most = str(placed.idxmax())
    if comparison.headline == "nodes_used" or most == best:
        return ""
    gaps = comparison.differences(baseline=best)
    row = gaps[(gaps["metric"] == "placed") & (gaps["policy"] == most)].iloc[0]
    if not row["distinguishable"]:
        return ""
    count = f"{placed[most]:,.0f} of {len(comparison.workload):,}"
    return f" {most} places the most pods, {count}; {best} {placed[best]:,.0f}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
