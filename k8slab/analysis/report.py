"""The report of a comparison: one HTML file that needs no other."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from k8slab.analysis import plots, style
from k8slab.analysis.comparisons import allocation_panels
from k8slab.analysis.frames import FRAMES, percent_column, stem_of
from k8slab.analysis.page import Draw, picture, template
from k8slab.policies import policy_names

if TYPE_CHECKING:
    from k8slab.experiments.comparison import Comparison
    from k8slab.experiments.placement import Placement


def render(comparison: Comparison, recipe: str | None = None) -> str:
    """The report as HTML text: pictures inside, nothing loaded from elsewhere.

    recipe : the Python that loads the inputs, for the code that the reader goes on from; by
             default it is told from where the inputs say they come from
    """
    metrics = shown_metrics(comparison)
    manifest = comparison.manifest()
    return template("report.html").render(
        title=_title(comparison),
        answer=comparison.answer(),
        facts=_facts(comparison),
        seeds=_count(len(comparison.seeds), "seed"),
        interval="95 % bootstrap intervals" if len(comparison.seeds) > 1 else "no intervals: one seed has no spread",
        order_rule=style.sentence(manifest["order_rule"]),
        baseline=comparison.baseline,
        labels=[label_of(metric) for metric in metrics],
        rows=_rows(comparison, metrics),
        sections=_sections(comparison),
        differences=_differences(comparison, metrics),
        code=_code(comparison, recipe),
        inputs=_inputs(manifest),
        least_p=_least_p(comparison),
        manifest=manifest,
        manifest_json=json.dumps(manifest, indent=2),
        policies=[_policy(policy) for policy in comparison.policies],
        glossary=_glossary(metrics),
    )


def label_of(metric: str) -> str:
    """A metric as a table calls it, with its unit.

    >>> [label_of(name) for name in ("gpu_allocated_percent", "stranded_cpu_percent", "placed", "nodes_used")]
    ['GPU allocated, %', 'CPU stranded, %', 'pods placed', 'nodes used']
    """
    if metric == "placed":
        return "pods placed"
    if metric == "placed_percent":
        return "pods placed, %"
    if metric == "imbalance_percent":
        return "imbalance, points"
    words = metric.removesuffix("_percent")
    if words.startswith("stranded_"):
        return f"{style.resource_name(words.removeprefix('stranded_'))} stranded, %"
    if words.endswith("_allocated"):
        return f"{style.resource_name(words.removesuffix('_allocated'))} allocated, %"
    return metric.replace("_", " ")


# --- words and numbers


def _title(comparison: Comparison) -> str:
    names = [policy.name for policy in comparison.policies]
    few = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    who = few if len(names) <= 3 else f"{len(names)} scheduling policies"
    return f"{who} on {len(comparison.cluster):,} nodes and {len(comparison.workload):,} pods"


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    cluster, workload = comparison.cluster, comparison.workload
    asked = comparison.curves["arrived_percent"].max()
    return [
        ("nodes", f"{len(cluster):,}"),
        ("pods", f"{len(workload):,}"),
        ("policies", f"{len(comparison.policies)}"),
        ("seeds", f"{len(comparison.seeds)}"),
        ("runs", f"{len(comparison.frame):,}"),
        (f"{style.resource_name(comparison.dominant)} asked for", f"{asked:.1f} %"),
    ]


def shown_metrics(comparison: Comparison) -> list[str]:
    """The headline first, then what explains it; the others stand in summary.csv."""
    stem = stem_of(comparison.dominant)
    wanted = [
        comparison.headline,
        percent_column(comparison.dominant, "allocated"),
        "placed",
        *(metric for metric in comparison.metrics if metric.endswith("_allocated_percent")),
        "nodes_used",
        f"stranded_{stem}_percent",
        "imbalance_percent",
    ]
    return [metric for metric in dict.fromkeys(wanted) if metric in comparison.metrics]


def _rows(comparison: Comparison, metrics: Sequence[str]) -> list[dict[str, Any]]:
    summary = comparison.summary()
    by = {(row.policy, row.metric): row for row in summary.itertuples()}
    return [
        {"policy": policy, "cells": [_cell(by[policy, metric]) for metric in metrics]} for policy in comparison.ranked()
    ]


def cell_text(row: Any) -> str:
    """A row of Comparison.summary() in one line: the mean and, if it has any width, its interval."""
    cell = _cell(row)
    return f"{cell['mean']} ({cell['range']})" if cell["range"] else cell["mean"]


def _cell(row: Any) -> dict[str, str]:
    spread = row.high > row.low
    return {
        "mean": number(row.metric, row.mean),
        "range": f"{number(row.metric, row.low)} to {number(row.metric, row.high)}" if spread else "",
    }


def number(metric: str, value: float, signed: bool = False) -> str:
    """A value as a table writes it, with as many digits as mean anything.

    >>> number("placed", 8051.3), number("gpu_allocated_percent", -1.234, signed=True)
    ('8,051', '−1.23')
    """
    digits = 0 if metric in ("placed", "nodes_used") else 2
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return text.replace("-", "−")


def _differences(comparison: Comparison, metrics: Sequence[str]) -> list[dict[str, Any]]:
    frame = comparison.differences()
    order = {policy: rank for rank, policy in enumerate(comparison.ranked())}
    tables = []
    for metric in metrics[:2]:
        rows = frame[frame["metric"] == metric].sort_values("policy", key=lambda names: names.map(order))
        if len(rows):
            tables.append({"label": label_of(metric), "rows": [_difference(row) for row in rows.itertuples()]})
    return tables


def _difference(row: Any) -> dict[str, Any]:
    low, high = (number(row.metric, end, signed=True) for end in (row.low, row.high))
    return {
        "policy": row.policy,
        "difference": number(row.metric, row.difference, signed=True),
        "interval": "" if np.isnan(row.low) else f"{low} to {high}",
        "p": f"{row.p_value:.3f}",
        "verdict": row.verdict,
        "told": row.distinguishable,
    }


# --- pictures


def _sections(comparison: Comparison) -> list[dict[str, Any]]:
    return [_arrivals(comparison), _apart(comparison), _on_the_nodes(comparison)]


def _arrivals(comparison: Comparison) -> dict[str, Any]:
    name = style.resource_name(comparison.dominant)
    return {
        "title": "As pods arrive",
        "text": f"The workload asks most of {name}, so arrivals are counted in it: at 100 % as much has been asked for "
        "as the cluster has. As long as every pod finds a node a policy stays on the diagonal; where it leaves it, "
        "pods are turned away though capacity is free. A band is from the lowest seed to the highest.",
        "figures": [
            picture(
                *_allocation(comparison), f"{name} allocated by each policy against the load that has arrived"
            ),
            picture(
                lambda ax: _turned_away(comparison, ax), 4.6, f"{name} turned away by each policy as the load arrives"
            ),
        ],
    }


def _allocation(comparison: Comparison) -> tuple[Draw, float]:
    """The curves and the height they need: more than four lie on one another, so that each gets a panel."""
    many = len(comparison.policies)
    if many <= 4:
        return lambda ax: plots.allocation_curve(comparison, comparison.dominant, ax=ax), 4.6
    return lambda ax: allocation_panels(comparison, ax), 0.6 + 2.3 * -(-many // 4)


def _turned_away(comparison: Comparison, ax: Axes) -> None:
    """What arrived and found no node: the gap between diagonal and curve, which the eye can't measure there."""
    column = percent_column(comparison.dominant, "allocated")
    name = style.resource_name(comparison.dominant)
    lines = []
    for position, policy in enumerate(comparison.curves["policy"].unique()):
        runs = comparison.curves[comparison.curves["policy"] == policy]
        at_first = runs.groupby("seed")[column].transform("first")
        gap = runs["arrived_percent"] - (runs[column] - at_first)
        mean = gap.groupby(runs["arrived_percent"]).mean()
        lines += ax.plot(mean.index, mean, linewidth=1.7, label=policy, **style.line(position),
                         **style.marks(position, len(mean)))
    style.legend(ax, "policy, by where it ends", sorted(lines, key=lambda line: float(line.get_ydata()[-1])))
    ax.margins(x=0.01)
    style.finish(ax, f"{style.sentence(name)} that found no node", "arrived so far (% of what the cluster has)",
                 f"{name} turned away (% of allocatable)", note="Mean over the seeds; less is better.")


def _apart(comparison: Comparison) -> dict[str, Any]:
    rows = len(comparison.policies)
    return {
        "title": "How far apart they are",
        "text": "What is free at the end is not all of use: stranded capacity is free on a node that has run out of "
        "something else that pods need.",
        "figures": [
            picture(lambda ax: plots.policy_comparison(comparison, ax=ax), 1.5 + 0.33 * rows,
                     f"{label_of(comparison.headline)} by policy, with intervals"),
            picture(lambda ax: plots.stranding_comparison(comparison, ax=ax), 1.5 + 0.36 * rows,
                     "Stranded capacity by policy and resource, with intervals"),
        ],
    }


def _on_the_nodes(comparison: Comparison) -> dict[str, Any]:
    """The best and the worst policy with a seed that both have seen."""
    ranked = comparison.ranked()
    ends = list(dict.fromkeys((ranked[0], ranked[-1])))
    seed = int(comparison.frame["seed"].iloc[0])
    placements = {policy: comparison.placement(policy, seed) for policy in ends}
    resource = comparison.dominant
    name = style.resource_name(resource)
    figures = [
        picture(_packing(placement, resource), 3.9, f"{name} packed on the nodes by {policy}", title=policy)
        for policy, placement in placements.items()
    ]
    figures += [
        picture(lambda ax: plots.utilization_distribution(placements, resource, ax=ax), 3.6,
                 f"Distribution of the nodes' {name} utilization"),
        picture(lambda ax: plots.stranding_distribution(placements, resource, ax=ax), 3.6,
                 f"Distribution of the nodes' stranded {name}"),
    ]
    who = f"{ends[0]} (the best) and {ends[1]} (the worst)" if len(ends) > 1 else ends[0]
    return {
        "title": "On the nodes",
        "text": f"How the run with seed {seed} ended with {who}. A bar is a node, a block a pod.",
        "figures": figures,
    }


def _packing(placement: Placement, resource: str) -> Draw:
    return lambda ax: plots.packing(placement, 60, resource, ax=ax)


# --- what was run


def _policy(policy: Any) -> dict[str, str]:
    scores = ", ".join(f"{weight:g} × {score.name}" for score, weight in policy.scores) or "no score"
    ties = "to the lowest row" if policy.ties == "lowest" else "to one drawn by the seed"
    return {"name": policy.name, "summary": policy.summary, "scores": scores, "ties": ties}


def _glossary(metrics: Sequence[str]) -> list[tuple[str, str]]:
    """The shown metrics by what the dictionary of frames says of them."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        column = next(column for column in FRAMES["comparison.frame"] if column.matches(metric))
        found.setdefault(column.meaning, []).append(label_of(metric))
    return [("; ".join(labels), style.sentence(meaning) + ".") for meaning, labels in found.items()]


def _inputs(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Where cluster and workload come from: in one row if it is the same place."""
    rows: list[dict[str, Any]] = []
    for kind in ("cluster", "workload"):
        source, sha256 = manifest[kind]["source"], manifest[kind]["sha256"]
        title, _, card = source.partition("\n")
        if rows and rows[0]["full"] == source:
            rows[0]["name"] += f", {kind}"
        else:
            rows.append({"name": kind, "full": source, "source": title, "card": card.strip(), "hashes": []})
        rows[-1]["hashes"].append(f"{kind} sha256 {sha256}")
    return rows


def _least_p(comparison: Comparison) -> str:
    others, seeds = len(comparison.policies) - 1, comparison.frame["seed"].nunique()
    least = min(1.0, others * 2.0 / 2**seeds)
    return f"With {_count(seeds, 'seed')} and {_count(others, 'difference')} no p can be lower than {least:.2g}."


def _code(comparison: Comparison, recipe: str | None) -> str:
    best = json.dumps(comparison.ranked()[0])
    return f"""\
import numpy as np
import k8slab

{recipe or _recipe(comparison)}
{_compare_call(comparison)}
comparison.frame                               # a row a policy and seed
comparison.plot.allocation()

placement = comparison.placement({best}, seed={comparison.seeds[0]})
placement.plot.packing()
placement.unschedulable()                      # why the others found no node
placement.explain(workload.names[0]).plot()    # one decision, node by node

@k8slab.score_plugin(weight=10)
def keep_idle_nodes_idle(requested_cpu_milli, score):
    score[:] = np.where(requested_cpu_milli > 0, 100.0, 0.0)

mine = k8slab.policy("kube-default").with_score(keep_idle_nodes_idle)
k8slab.compare(cluster, workload, [{best}, mine]).to_html("mine.html")
"""


def _compare_call(comparison: Comparison) -> str:
    """The call that made it; what stands at its default is left out, policies that aren't shipped are the reader's."""
    names = [policy.name for policy in comparison.policies]
    shipped = [name for name in names if name in policy_names()]
    lines = []
    if names != list(policy_names()):
        lines += textwrap.wrap(f"policies = {json.dumps(shipped)}", 96, subsequent_indent=" " * 12)
    if len(shipped) < len(names):
        lines.append(f"# and yours: {', '.join(name for name in names if name not in shipped)}")
    arguments = ["cluster", "workload", *(["policies"] if lines else [])]
    seeds = comparison.seeds
    if list(seeds) != list(range(10)):
        arguments.append(f"seeds=range({len(seeds)})" if list(seeds) == list(range(len(seeds))) else f"seeds={seeds}")
    if comparison.order != "shuffled":
        arguments.append(f'order="{comparison.order}"')
    if comparison.departures is not None:
        lines.append("# departures: the array that says when pods leave")
        arguments.append("departures=departures")
    return "\n".join([*lines, f"comparison = k8slab.compare({', '.join(arguments)})"])


def _recipe(comparison: Comparison) -> str:
    if all(what.source.startswith("openb, embedded") for what in (comparison.cluster, comparison.workload)):
        return "cluster, workload = k8slab.datasets.openb()"
    return f"cluster = {_origin(comparison.cluster, 'Cluster')}\nworkload = {_origin(comparison.workload, 'Workload')}"


def _origin(what: Any, kind: str) -> str:
    if what.source.startswith(f"{kind}.synthetic("):
        return f"k8slab.{what.source}"
    return f'k8slab.{kind}.load("{kind.lower()}.csv")    # {what.source.partition(chr(10))[0]}'


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
