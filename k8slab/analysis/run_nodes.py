"""Nodes that came and went in a run: what each cost, how large the groups were, and the pictures of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from k8slab.analysis import style
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from k8slab.experiments.simulation_run import Run
    from k8slab.simulation.history import History
    from k8slab.simulation.world import World

BINS: Final = 336
# So many groups have a colour of their own in a picture.
_APART: Final = 7
_HOUR_NS: Final = 3600 * SECOND_NS


def node_intervals_frame(world: World, history: History) -> pd.DataFrame:
    """One row a node of a group, from its launch until it was gone; see the frame `run_node_intervals`."""
    cloud = world.parts.get("cloud")
    leases = cloud.leases if cloud is not None else []
    groups = cloud.groups if cloud is not None else ()
    group = np.array([lease.group for lease in leases], dtype=np.int64)
    start, joined, end = (
        np.array([getattr(lease, f"{name}_ns") for lease in leases], dtype=np.int64)
        for name in ("launched", "joined", "ended")
    )
    ended = np.minimum(end, history.until_ns)
    prices = np.array([one.price_per_hour for one in groups] or [0.0])
    price = prices[group] if len(group) else np.zeros(0)
    return pd.DataFrame(
        {
            "node": _texts(world.state.node_name(lease.node_row) if lease.node_row >= 0 else None for lease in leases),
            "group": _texts(groups[number].name for number in group.tolist()),
            "instance_type": _texts(groups[number].kind for number in group.tolist()),
            "launched_s": start / SECOND_NS,
            "joined_s": np.where(joined == NEVER, np.nan, joined / SECOND_NS),
            "ended_s": ended / SECOND_NS,
            "hours": (ended - start) / _HOUR_NS,
            "price_per_hour": price.astype(np.float64),
            "cost": price * ((ended - start) / _HOUR_NS),
            "end": _texts(lease.end or "still there" for lease in leases),
        }
    )


def node_groups_frame(world: World, history: History, bins: int = BINS) -> pd.DataFrame:
    """The groups over time: one row a bin and group, each value its mean by time over the bin."""
    cloud: Any = world.parts.get("cloud")
    edges = np.linspace(0, history.until_ns, bins + 1).astype(np.int64)
    parts = []
    for number, group in enumerate(cloud.groups if cloud is not None else ()):
        mine = [lease for lease in cloud.leases if lease.group == number]
        launched = np.array([lease.launched_ns for lease in mine], dtype=np.int64)
        joined = np.array([lease.joined_ns for lease in mine], dtype=np.int64)
        ended = np.array([lease.ended_ns for lease in mine], dtype=np.int64)
        asked, there = _mean_count(launched, ended, edges), _mean_count(joined, ended, edges)
        parts.append(
            pd.DataFrame(
                {
                    "start_ns": edges[:-1],
                    "end_ns": edges[1:],
                    "group": _texts([group.name] * bins),
                    "nodes": there,
                    "upcoming": asked - there,
                    "min_size": np.full(bins, group.min_size),
                    "max_size": np.full(bins, group.max_size),
                    "cost_per_hour": asked * group.price_per_hour,
                }
            )
        )
    if parts:
        return pd.concat(parts, ignore_index=True)
    none = np.zeros(0, dtype=np.int64)
    whole = dict.fromkeys(("start_ns", "end_ns"), none)
    floats = dict.fromkeys(("nodes", "upcoming"), np.zeros(0))
    sizes = dict.fromkeys(("min_size", "max_size"), none)
    return pd.DataFrame({**whole, "group": _texts([]), **floats, **sizes, "cost_per_hour": np.zeros(0)})


def node_metrics(world: World, until_ns: int) -> dict[str, tuple[float, str]]:
    """What the nodes of groups cost in all; nothing where there are no groups."""
    cloud = world.parts.get("cloud")
    if cloud is None:
        return {}
    hours = [(min(lease.ended_ns, until_ns) - lease.launched_ns) / _HOUR_NS for lease in cloud.leases]
    prices = [cloud.groups[lease.group].price_per_hour for lease in cloud.leases]
    told = world.sink.columns("node_scaling")
    actions = told["action"].tolist()
    added = int(told["nodes"][told["action"] == "scale-up"].sum()) if actions else 0
    return {
        "node_hours": (float(sum(hours)), "node h"),
        "cost": (float(sum(hour * price for hour, price in zip(hours, prices, strict=True))), "money"),
        "nodes_launched": (added, "count"),
        "nodes_removed": (actions.count("removed"), "count"),
        "launches_failed": (int(told["nodes"][told["action"] == "scale-up-failed"].sum()) if actions else 0, "count"),
    }


def node_groups(run: Run, ax: Axes | None = None) -> Axes:
    """Nodes of each group over time, stacked; those that boot are lighter, and small groups are one where there are
    many. InputError where no group is."""
    from k8slab.analysis.run_plots import note_of, time_of

    frame = run.frames.node_groups
    if not len(frame):
        raise InputError("the run has no node groups; wanted a ClusterAutoscaler or Karpenter among its autoscalers")
    ax = style.new_axes(ax, 9.0, 4.2)
    first = frame[frame["group"] == frame["group"].iloc[0]]
    edges, scale = time_of(first["start_ns"].to_numpy(), first["end_ns"].to_numpy())
    below = np.zeros(len(first))
    for position, (name, there, coming) in enumerate(_stacked(frame, len(first))):
        color = style.color(position) if position < _APART else style.FAINT
        ax.stairs(below + there, edges, baseline=below, fill=True, color=color, label=name, linewidth=0)
        below = below + there
        if coming.any():
            ax.stairs(below + coming, edges, baseline=below, fill=True, color=color, alpha=0.35, linewidth=0)
            below = below + coming
    style.legend(ax)
    ax.margins(x=0.0)
    ax.set_ylim(0, max(1.0, below.max() * 1.08))
    note = f"Lighter: launched, not there yet. {note_of(run)}"
    return style.finish(ax, "Nodes of each group", f"virtual time ({scale})", "nodes", note=note)


def _stacked(frame: pd.DataFrame, bins: int) -> list[tuple[str, npt.NDArray[Any], npt.NDArray[Any]]]:
    """(name, nodes there, nodes that boot) of each group that ever had a node; the smaller ones as one, last."""
    names = list(dict.fromkeys(frame["group"]))
    there, coming = (frame[column].to_numpy().reshape(len(names), bins) for column in ("nodes", "upcoming"))
    size = (there + coming).sum(axis=1)
    used = [k for k in range(len(names)) if size[k] > 0] or [0]
    kept = used if len(used) <= _APART else sorted(sorted(used, key=lambda k: -size[k])[:_APART])
    found = [(names[k], there[k], coming[k]) for k in kept]
    rest = [k for k in used if k not in kept]
    if rest:
        found.append((f"{len(rest)} smaller ones", there[rest].sum(axis=0), coming[rest].sum(axis=0)))
    return found


def cost(run: Run, ax: Axes | None = None) -> Axes:
    """What the groups cost an hour, over time. InputError where no group is."""
    from k8slab.analysis.run_plots import note_of, time_of

    frame = run.frames.node_groups
    if not len(frame):
        raise InputError("the run has no node groups; wanted a ClusterAutoscaler or Karpenter among its autoscalers")
    ax = style.new_axes(ax, 9.0, 3.6)
    total = frame.groupby(["start_ns", "end_ns"], sort=True)["cost_per_hour"].sum().reset_index()
    edges, scale = time_of(total["start_ns"].to_numpy(), total["end_ns"].to_numpy())
    ax.stairs(total["cost_per_hour"].to_numpy(), edges, baseline=0, fill=True, color=style.ACCENT, linewidth=0)
    ax.margins(x=0.0)
    ax.set_ylim(0)
    whole = run.metrics["cost"][0]
    note = f"{whole:,.2f} in all. {note_of(run)}"
    return style.finish(ax, "What the nodes cost", f"virtual time ({scale})", "money an hour", note=note)


def _mean_count(start: Ints, end: Ints, edges: Ints) -> npt.NDArray[np.float64]:
    """float64[B]: how many of these spans there are, the mean over each bin."""
    lengths = np.diff(edges).astype(np.float64)
    return (_lived(start, edges) - _lived(np.maximum(end, start), edges)) / np.where(lengths > 0, lengths, 1.0)


def _lived(since: Ints, edges: Ints) -> npt.NDArray[np.float64]:
    """float64[B]: time of each bin that lies after each of these instants, summed."""
    order = np.sort(since)
    # Until t: sum of t - since over all that began before.
    count = np.searchsorted(order, edges)
    sums = np.concatenate([[0.0], np.cumsum(order.astype(np.float64))])[count]
    return np.asarray(np.diff(count * edges.astype(np.float64) - sums))


def _texts(values: Any) -> npt.NDArray[np.object_]:
    listed = list(values)
    out = np.empty(len(listed), dtype=object)
    out[:] = listed
    return out
