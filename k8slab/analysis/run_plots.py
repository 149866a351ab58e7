"""Plots of a simulated run over its virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from k8slab.analysis import style
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError
from k8slab.units import format_duration

if TYPE_CHECKING:
    from k8slab.experiments.simulation_run import Run

_DAY_S = 86_400


def timeline(run: Run, ax: Axes | None = None) -> Axes:
    """Pods that run and that wait, over time: each step is a mean over its bin."""
    frame = run.frames.utilization
    hours, scale = time_of(frame["start_ns"].to_numpy(), frame["end_ns"].to_numpy())
    ax = style.new_axes(ax, 9.0, 4.0)
    for position, (column, label) in enumerate((("pods_running", "run"), ("pods_pending", "wait"))):
        ax.stairs(frame[column], hours, baseline=None, label=label, linewidth=1.5, **style.line(position))
    style.legend(ax, "pods that")
    ax.set_ylim(bottom=0)
    ax.margins(x=0.0)
    style.thousands(ax.yaxis)
    return style.finish(ax, "Pods over time", f"virtual time ({scale})", "pods", note=note_of(run))


def utilization(run: Run, ax: Axes | None = None) -> Axes:
    """What pods request and what they use, of what ready nodes have, over time."""
    frame = run.frames.utilization
    edges, scale = time_of(frame["start_ns"].to_numpy(), frame["end_ns"].to_numpy())
    ax = style.new_axes(ax, 9.0, 4.2)
    for position, stem in enumerate(_resources(run)):
        name = style.resource_name(stem)
        ax.stairs(frame[f"{stem}_requested_percent"], edges, baseline=None, color=style.color(position), linewidth=1.6,
                  label=f"{name} requested")
        ax.stairs(frame[f"{stem}_used_percent"], edges, baseline=None, color=style.color(position), linewidth=1.2,
                  linestyle=style.DASHES[1], label=f"{name} used")
    style.legend(ax)
    ax.set_ylim(0, max(102.0, ax.get_ylim()[1]))
    ax.margins(x=0.0)
    return style.finish(ax, "Utilization over time", f"virtual time ({scale})", "% of ready nodes' allocatable",
                        note=note_of(run))


def pending(run: Run, ax: Axes | None = None) -> Axes:
    """How long pods waited for a node: which share of them waited at least so long."""
    waited = np.sort(run.frames.pods["pending_s"].to_numpy())
    if not len(waited):
        raise InputError("no pod arrived, so none waited")
    ax = style.new_axes(ax, 7.6, 4.0)
    longer = waited[waited > 0]
    share = 100.0 * np.arange(len(longer), 0, -1) / len(waited)
    if len(longer):
        ax.step(longer, share, where="post", color=style.ACCENT, linewidth=1.7)
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            style.thousands(axis)
            axis.set_minor_formatter(NullFormatter())
    else:
        ax.text(0.5, 0.5, "every pod was placed in the instant it came", ha="center", transform=ax.transAxes,
                color=style.FAINT)
        ax.set(xticks=[], yticks=[])
    none = 100.0 * (1 - len(longer) / len(waited))
    note = f"{len(waited):,} pods; {none:.1f} % were placed in the instant they came."
    return style.finish(ax, "Waiting for a node", "waited at least (s)", "pods (%)", note=note)


class RunPlots:
    """The pictures of a run: `run.plot.timeline()` and the others; help() tells of each."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def timeline(self, ax: Axes | None = None) -> Axes:
        """Pods that run and wait over time. See k8slab.analysis.run_plots.timeline."""
        return timeline(self._run, ax=ax)

    def utilization(self, ax: Axes | None = None) -> Axes:
        """What is requested and used over time. See k8slab.analysis.run_plots.utilization."""
        return utilization(self._run, ax=ax)

    def pending(self, ax: Axes | None = None) -> Axes:
        """How long pods waited. See k8slab.analysis.run_plots.pending."""
        return pending(self._run, ax=ax)

    def failures(self, ax: Axes | None = None) -> Axes:
        """What broke, and what was seen of it. See k8slab.analysis.run_failures.failures."""
        from k8slab.analysis import run_failures

        return run_failures.failures(self._run, ax=ax)

    def detectors(self, ax: Axes | None = None) -> Axes:
        """How soon outages were found. See k8slab.analysis.run_failures.detectors."""
        from k8slab.analysis import run_failures

        return run_failures.detectors(self._run, ax=ax)

    def store(self, ax: Axes | None = None) -> Axes:
        """Commit latency, and when nobody led the store. See k8slab.analysis.run_store.store."""
        from k8slab.analysis import run_store

        return run_store.store(self._run, ax=ax)

    def autoscaling(self, autoscaler: str | None = None) -> Figure:
        """Replicas, and the metrics against their targets. See k8slab.analysis.run_autoscaling.autoscaling."""
        from k8slab.analysis.run_autoscaling import autoscaling

        return autoscaling(self._run, autoscaler)

    def node_groups(self, ax: Axes | None = None) -> Axes:
        """Nodes of each group over time. See k8slab.analysis.run_nodes.node_groups."""
        from k8slab.analysis import run_nodes

        return run_nodes.node_groups(self._run, ax=ax)

    def cost(self, ax: Axes | None = None) -> Axes:
        """What the nodes cost over time. See k8slab.analysis.run_nodes.cost."""
        from k8slab.analysis import run_nodes

        return run_nodes.cost(self._run, ax=ax)

    def __repr__(self) -> str:
        names = (
            "timeline", "utilization", "pending", "autoscaling", "failures", "detectors", "node_groups", "cost", "store"
        )  # fmt: skip
        return f"<plots of a run: {' '.join(f'.{name}()' for name in names)}>"


def _resources(run: Run) -> list[str]:
    columns = run.frames.utilization.columns
    return [name.removesuffix("_requested_percent") for name in columns if name.endswith("_requested_percent")]


def time_of(start_ns: np.ndarray, end_ns: np.ndarray) -> tuple[np.ndarray, str]:
    """The bins' edges in a unit for people."""
    edges = np.append(start_ns, end_ns[-1]) / SECOND_NS
    for unit, size in (("days", _DAY_S), ("hours", 3600), ("minutes", 60)):
        if edges[-1] >= 3 * size:
            return edges / size, unit
    return edges, "s"


def note_of(run: Run) -> str:
    setup = run.simulation
    return f"{setup.policy.name}, {run.nodes_text()}, {format_duration(run.until_ns)}, seed {setup.seed}."
