"""How something is distributed over the nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Union, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from k8slab.analysis import style
from k8slab.analysis.frames import percent_column
from k8slab.analysis.utilization import stranded, utilization
from k8slab.domain.resources import PODS
from k8slab.errors import InputError, UnknownName

if TYPE_CHECKING:
    from k8slab.experiments.placement import Placement

Placements = Union["Placement", Mapping[str, "Placement"], Iterable["Placement"]]
Floats = npt.NDArray[np.float64]


def utilization_distribution(placements: Placements, resource: str | None = None, ax: Axes | None = None) -> Axes:
    """Which share of the nodes is at most so full.

    placements : a Placement: a line a resource; or several (named by their policies, or by the
                 keys of a mapping): a line each, of one resource
    resource   : that one; if not given, all for one placement, the fullest for several

    Nodes that lack the resource are left out. UnknownName for a resource that no placement has.
    """
    title, lines = _lines(placements, resource, utilization, "utilization")
    ax = _draw(title, lines, style.new_axes(ax))
    return style.finish(ax, f"How full the nodes are{title[0]}", "requested (% of the node's allocatable)",
                        "nodes at or below (%)", note=_NOTE)


def stranding_distribution(placements: Placements, resource: str | None = None, ax: Axes | None = None) -> Axes:
    """On which share of the nodes at most so much is free but unusable for want of another resource.

    Arguments and errors as for utilization_distribution; k8slab.analysis.stranded says what counts.
    """
    title, lines = _lines(placements, resource, stranded, "stranded")
    ax = _draw(title, lines, style.new_axes(ax))
    return style.finish(ax, f"What the nodes strand{title[0]}",
                        "free but unusable for want of another resource (% of the node's allocatable)",
                        "nodes at or below (%)", note=_NOTE)


_NOTE = "The further left and up a line runs, the more nodes have little."
Title = tuple[str, str]  # what the plot's title ends in, and the legend's title


def _lines(
    placements: Placements, resource: str | None, frame_of: Callable[..., pd.DataFrame], what: str
) -> tuple[Title, dict[str, Floats]]:
    """What is drawn: sorted values by the line's name."""
    several = _named(placements)
    if several is None:
        placement = cast("Placement", placements)
        frame = frame_of(placement)
        names = _resources(placement) if resource is None else [_known(placement, resource)]
        lines = {style.resource_name(name): _sorted(frame, percent_column(name, what)) for name in names}
        return ("", "resource"), {name: values for name, values in lines.items() if len(values)}
    first = next(iter(several.values()), None)
    if first is None:
        raise InputError("no placements to show")
    chosen = _fullest(first) if resource is None else _known(first, resource)
    lines = {name: _sorted(frame_of(one), percent_column(chosen, what)) for name, one in several.items()}
    return (f": {style.resource_name(chosen)}", "placement"), lines


def _named(placements: Placements) -> dict[str, Placement] | None:
    """Several placements by name; None if it is a single one."""
    if isinstance(placements, Mapping):
        return dict(placements)
    if not isinstance(placements, Iterable):
        return None
    found: dict[str, Placement] = {}
    for placement in placements:
        name = placement.policy.name
        found[name if name not in found else f"{name}, seed {placement.seed}"] = placement
    return found


def _resources(placement: Placement) -> list[str]:
    schema = placement.cluster.schema.union(placement.workload.schema)
    return [name for name in schema.names if name != PODS]


def _known(placement: Placement, resource: str) -> str:
    names = _resources(placement)
    if resource not in names:
        raise UnknownName("resource", resource, names)
    return resource


def _fullest(placement: Placement) -> str:
    """The resource that has the highest mean utilization over the nodes."""
    frame = utilization(placement)
    means = {name: float(frame[percent_column(name, "utilization")].mean()) for name in _resources(placement)}
    return max(means, key=lambda name: -1.0 if np.isnan(means[name]) else means[name])


def _sorted(frame: pd.DataFrame, column: str) -> Floats:
    return np.sort(frame[column].dropna().to_numpy(dtype=np.float64))


def _draw(title: Title, lines: Mapping[str, Floats], ax: Axes) -> Axes:
    """Steps of the cumulated share of nodes."""
    top = max((100.0, *(float(values[-1]) for values in lines.values() if len(values))))
    for position, (name, values) in enumerate(lines.items()):
        # A thousand steps are finer than any screen; a hundred thousand make slow files.
        at = np.unique(np.linspace(0, len(values) - 1, min(len(values), 1000)).round().astype(np.int64))
        share = 100.0 * (at + 1) / len(values)
        x, y = np.concatenate(([0.0], values[at], [top])), np.concatenate(([0.0], share, [100.0]))
        ax.step(x, y, where="post", linewidth=1.8, label=name, **style.line(position))
    style.percent_axes(ax, top)
    style.legend(ax, title[1])
    return ax
