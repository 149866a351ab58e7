"""The report of a simulated run: one HTML file that needs no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from k8slab.analysis import run_plots, run_store
from k8slab.analysis.page import picture, template
from k8slab.units import format_duration

if TYPE_CHECKING:
    from k8slab.experiments.counterfactual import Counterfactual
    from k8slab.experiments.simulation_run import Run

_WORST: Final = 10


def render(run: Run, against: Counterfactual | None = None) -> str:
    """The report as HTML text: pictures inside, nothing loaded from elsewhere, the same bytes each time."""
    setup, manifest = run.simulation, run.manifest()
    return template("simulation.html").render(
        title=f"{format_duration(run.until_ns)} of {len(setup.cluster):,} nodes under {setup.policy.name}",
        answer=run.answer(),
        facts=_facts(run),
        sections=_sections(run),
        columns=[setup.policy.name] + ([against.other.simulation.policy.name, "difference"] if against else []),
        rows=_rows(run, against),
        worst=_worst(run),
        manifest=manifest,
        manifest_json=json.dumps(manifest, indent=2),
        parts=[_part(part) for part in (*setup.parts, *setup.autoscalers, *setup.faults)],
        policy=f"{setup.policy.name}: {setup.policy.summary}",
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    metrics = run.metrics
    return [
        ("virtual time", format_duration(run.until_ns)),
        ("nodes", f"{len(run.simulation.cluster):,}"),
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
    if run.simulation.store is not None:
        text = "How long loops waited until the store had committed their turn, and when nobody led it."
        sections.append(
            {"title": "The store", "text": text, "figures": [picture(lambda ax: run_store.store(run, ax), 3.8, text)]}
        )
    return sections


def _rows(run: Run, against: Counterfactual | None) -> list[dict[str, Any]]:
    from k8slab.experiments.simulation_run import shown

    rows = []
    for name, (value, unit) in run.metrics.items():
        cells = [shown(value, unit)]
        if against is not None:
            other = against.other.metrics[name][0]
            cells += [shown(other, unit), shown(other - value, unit)]
        if not name.endswith("_told") or value:
            rows.append({"name": name.replace("_", " "), "cells": cells})
    return rows


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


def _part(part: Any) -> dict[str, str]:
    return {"kind": type(part).__name__, "text": repr(part)}
