"""The report of a simulated run: one HTML file that needs no other."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from k8slab.analysis import run_autoscaling, run_failures, run_nodes, run_plots, run_store
from k8slab.analysis.page import picture, template, whole_picture
from k8slab.units import format_duration

if TYPE_CHECKING:
    from k8slab.experiments.counterfactual import Counterfactual
    from k8slab.experiments.simulation import Simulation
    from k8slab.experiments.simulation_run import Run

_WORST: Final = 10
_AUTOSCALERS: Final = 3
# So many of a kind are told one by one.
_ALIKE: Final = 6


def render(run: Run, against: Counterfactual | None = None) -> str:
    """The report as HTML text: pictures inside, nothing loaded from elsewhere, the same bytes each time."""
    setup, manifest = run.simulation, run.manifest()
    return template("simulation.html").render(
        title=f"{format_duration(run.until_ns)} of {run.nodes_text()} under {setup.policy.name}",
        answer=run.answer(),
        facts=_facts(run),
        sections=_sections(run),
        columns=[setup.policy.name] + ([against.other.simulation.policy.name, "difference"] if against else []),
        rows=_rows(run, against),
        rows_note=_note(run, against),
        worst=_worst(run),
        manifest=manifest,
        manifest_json=json.dumps(manifest, indent=2),
        parts=_parts(setup),
        policy=f"{setup.policy.name}: {setup.policy.summary}",
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    metrics = run.metrics
    return [
        ("virtual time", format_duration(run.until_ns)),
        ("nodes", run.nodes_text().removesuffix(" nodes").removesuffix(" node")),
        ("pods that came", f"{metrics['pods_arrived'][0]:,.0f}"),
        ("at a time", f"{metrics['running_mean'][0]:,.0f}"),
        ("CPU requested", f"{metrics['cpu_requested_mean'][0]:.1f} %"),
        ("seed", f"{run.simulation.seed}"),
    ]


def _sections(run: Run) -> list[dict[str, Any]]:
    sections = [
        {
            "title": "Pods over time",
            "text": "How many pods held a node, and how many waited for one.",
            "figures": [picture(lambda ax: run_plots.timeline(run, ax), 3.6, "pods that run and wait over time")],
        },
        {
            "title": "Utilization over time",
            "text": "What pods requested and what they used, of what ready nodes had allocatable.",
            "figures": [picture(lambda ax: run_plots.utilization(run, ax), 3.8, "utilization over time")],
        },
    ]
    if run.metrics["pending_max"][0] > 0:
        sections.append(
            {
                "title": "Waiting",
                "text": "Which share of the pods waited at least so long for a node, all its waits added up.",
                "figures": [picture(lambda ax: run_plots.pending(run, ax), 3.6, "share of pods by time waited")],
            }
        )
    return [*sections, *_of_autoscalers(run), *_of_failures(run), *_of_the_store(run)]


def _of_autoscalers(run: Run) -> list[dict[str, Any]]:
    """A section for each autoscaler of pods, at most three, and one for groups of nodes."""
    steps = run.frames.scaling
    taken = steps[steps["desired"] != steps["replicas"]]["autoscaler"].value_counts()
    names = sorted(dict.fromkeys(run.frames.autoscaling["autoscaler"]), key=lambda name: (-taken.get(name, 0), name))
    sections = []
    if names:
        left = len(names) - _AUTOSCALERS
        few = f" Of {len(names)} autoscalers, those that took most steps." if left > 0 else ""
        figures = [
            whole_picture(partial(run_autoscaling.autoscaling, run, name), f"autoscaler {name} over time")
            for name in names[:_AUTOSCALERS]
        ]
        text = f"What each wanted and what was ready, and below it the metric that it looks at.{few}"
        sections.append({"title": "Autoscalers", "text": text, "figures": figures})
    if len(run.frames.node_groups):
        figures = [
            picture(lambda ax: run_nodes.node_groups(run, ax), 3.8, "nodes of each group over time"),
            picture(lambda ax: run_nodes.cost(run, ax), 3.4, "what the nodes cost over time"),
        ]
        text = "How many nodes each group had, and what they cost."
        sections.append({"title": "Nodes that come and go", "text": text, "figures": figures})
    return sections


def _of_failures(run: Run) -> list[dict[str, Any]]:
    """What broke, where something did; how well it was found, where a node was down."""
    if not len(run.frames.detections) and not run.frames.health["pod"].isna().any():
        return []
    figures = [picture(lambda ax: run_failures.failures(run, ax), 3.6, "nodes down and held lost over time")]
    scores = run.frames.detectors
    if len(scores) and scores["outages"].iloc[0]:
        figures.append(picture(lambda ax: run_failures.detectors(run, ax), 3.6, "outages found, by delay"))
    text = "Nodes that were down, and those that the cluster held to be; how long it took until it knew."
    return [{"title": "Failures", "text": text, "figures": figures}]


def _of_the_store(run: Run) -> list[dict[str, Any]]:
    sections = []
    if run.simulation.store is not None:
        text = "How long loops waited until the store had committed their turn, and when nobody led it."
        sections.append(
            {"title": "The store", "text": text, "figures": [picture(lambda ax: run_store.store(run, ax), 3.8, text)]}
        )
    return sections


def _rows(run: Run, against: Counterfactual | None) -> list[dict[str, Any]]:
    from k8slab.experiments.simulation_run import named, shown

    beside = {} if against is None else {row.metric: row for row in against.frame.itertuples()}
    rows = []
    for name, (value, unit) in run.metrics.items():
        if name.endswith("_told") and not value:
            continue
        row = beside.get(name)
        cells = [shown(value if row is None else row.base, unit)]
        if against is not None:
            cells += ["-", "-"] if row is None else [shown(row.other, unit), _differs(row, unit)]
        rows.append({"name": named(name), "cells": cells})
    return rows


def _note(run: Run, against: Counterfactual | None) -> str:
    pairs = 1 if against is None else len(against.pairs)
    seeds = f"{run.simulation.seed} to {run.simulation.seed + pairs - 1}"
    of_pairs = (
        f" Each number is the mean over {pairs} pairs of runs, of the seeds {seeds}; in brackets is the 95 % interval "
        "of the mean difference within a pair."
    )
    return "Means are over the run's time, each value by how long it lasted." + (of_pairs if pairs > 1 else "")


def _differs(row: Any, unit: str) -> str:
    from k8slab.experiments.simulation_run import shown

    if not row.low < row.high:
        return shown(row.difference, unit)
    return f"{shown(row.difference, unit)} ({shown(row.low, unit)} to {shown(row.high, unit)})"


def _worst(run: Run) -> list[dict[str, Any]]:
    pods = run.frames.pods
    longest = pods[pods["pending_s"] > 0].nlargest(_WORST, "pending_s", keep="first")
    return [
        {
            "pod": row.pod, "waited": format_duration(round(row.pending_s * 1e9)), "outcome": row.outcome,
            "restarts": f"{row.restarts:,}", "evictions": f"{row.evictions:,}",
        }
        for row in longest.itertuples()
    ]  # fmt: skip


def _parts(setup: Simulation) -> list[dict[str, str]]:
    """What was run, of each kind the first few: two hundred deployments would hide the rest."""
    others = [one for one in (setup.health, setup.store) if one is not None]
    parts = [*setup.parts, *setup.autoscalers, *setup.faults, *others, *setup.namespaces]
    found = []
    for kind in dict.fromkeys(type(part).__name__ for part in parts):
        alike = [part for part in parts if type(part).__name__ == kind]
        shown = alike if len(alike) <= _ALIKE else alike[: _ALIKE - 1]
        found += [{"kind": kind, "text": repr(part)} for part in shown]
        if len(alike) > len(shown):
            found.append({"kind": kind, "text": f"... and {len(alike) - len(shown):,} more, all in the manifest below"})
    return found
