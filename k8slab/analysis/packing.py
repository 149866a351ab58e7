"""Pictures of nodes: what is packed on them, and how full they are of everything."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from k8slab.analysis import style
from k8slab.analysis.frames import percent_column
from k8slab.analysis.utilization import all_pods, in_one_schema, node_usage, stranded_amounts, utilization
from k8slab.domain.columns import Ints
from k8slab.domain.resources import CPU, PODS, ResourceSchema
from k8slab.errors import InputError, UnknownName

if TYPE_CHECKING:
    from k8slab.experiments.placement import Placement

Floats = npt.NDArray[np.float64]
# One hue from light to dark: size is an order, and lightness shows it to everyone.
_SHADES: Final = ("#c6dbef", "#85b9dc", "#3f8ac2", "#0b559f")
_FOREIGN, _FREE, _STRANDED, _EDGE, _MISSING = "#9a9a9a", "#f3f3f3", style.SECOND, "#8a8a8a", "#cccccc"
_WIDTH: Final = 0.86
_COLUMNS: Final = 160  # of the heatmap: more can't be told apart on a page


@dataclass(frozen=True)
class _Bars:
    """What the packing picture shows, in cores, GiB, ...

    rows                          : int64[n]    the nodes, fullest first
    allocatable, foreign, stranded: float64[n]
    x, bottom, height             : float64[B]  the pods' blocks; x is a position in rows
    limits                        : float64[<=3] that part the sizes; of all pods, so that two placements of
                                    one workload are shaded alike
    percent                       : requested and stranded of the whole cluster
    """

    rows: Ints
    allocatable: Floats
    foreign: Floats
    stranded: Floats
    x: Floats
    bottom: Floats
    height: Floats
    limits: Floats
    percent: tuple[float, float]


def packing(placement: Placement, nodes: int = 40, resource: str = CPU, ax: Axes | None = None) -> Axes:
    """Nodes as bars as high as they are big, pods as blocks in them, stranded space hatched.

    nodes    : how many to show; of more, every so-manyth from the fullest to the emptiest
    resource : UnknownName if nothing counts it, InputError if no node has any

    Blocks are darker the more the pod requests; grey is usage that no pod explains. What is free
    is pale, and hatched where it is stranded (k8slab.analysis.stranded says what that is).
    """
    bars = _bars(placement, nodes, resource)
    unit = style.for_people(resource)[1]
    ax = style.new_axes(ax, 9.0, 4.2)
    place = np.arange(len(bars.rows))
    ax.bar(place, bars.allocatable, _WIDTH, color=_FREE)
    ax.bar(place, bars.stranded, _WIDTH, bottom=bars.allocatable - bars.stranded, facecolor="white",
           edgecolor=_STRANDED, hatch="/////", linewidth=0.0)
    ax.bar(place, bars.foreign, _WIDTH, color=_FOREIGN)
    _draw_blocks(ax, bars)
    ax.bar(place, bars.allocatable, _WIDTH, facecolor="none", edgecolor=_EDGE, linewidth=0.7)

    sizes = zip(_shades(bars.limits), _size_texts(bars.limits), strict=True)
    handles = [Patch(facecolor=shade, label=text) for shade, text in sizes]
    handles += [Patch(facecolor=_FOREIGN, label="no known pod's")] if bars.foreign.any() else []
    handles += [Patch(facecolor=_FREE, edgecolor=_EDGE, linewidth=0.7, label="free, usable"),
                Patch(facecolor="white", edgecolor=_STRANDED, hatch="/////", linewidth=0.0, label="free, stranded")]
    style.legend(ax, f"a pod's request ({unit})", handles)
    top = max(bars.allocatable.max(), (bars.bottom + bars.height).max(initial=0.0))
    ax.set(xlim=(-0.8, len(place) - 0.2), ylim=(0, 1.03 * top))
    _name_nodes(ax, placement, bars.rows)
    count = len(placement.cluster)
    which = f"{count:,} nodes" if count == len(place) else f"{len(place):,} of {count:,} nodes"
    note = f"Of the whole cluster, {bars.percent[0]:.1f} % is requested and {bars.percent[1]:.1f} % stranded."
    title = style.sentence(f"{style.resource_name(resource)} packed on the nodes")
    return style.finish(ax, title, f"{which}, fullest first", style.amount_label(resource), note=note, grid="y")


def heatmap(placement: Placement, ax: Axes | None = None) -> Axes:
    """How full every node is of every resource: a column a node, a row a resource, but pods.

    The nodes that are fullest on the average of their resources stand first.

    Of more than 160 nodes, a column is the mean of several. Where no node of a column has the
    resource it is grey. The figure at the right is that of the whole cluster.
    """
    frame = utilization(placement)
    schema = placement.cluster.schema.union(placement.workload.schema)
    whole = _whole_percent(placement, schema)
    names = [name for name in schema.names if name != PODS and not np.isnan(whole[name])]
    columns = min(len(frame), _COLUMNS)
    percent = frame[[percent_column(name, "utilization") for name in names]]
    ranked = percent.mean(axis="columns").sort_values(ascending=False, kind="stable", na_position="last").index
    cells = np.array([_binned(values, columns) for values in percent.loc[ranked].to_numpy().T])

    ax = style.new_axes(ax, 9.0, 1.5 + 0.55 * len(names))
    ax.set_facecolor(_MISSING)
    edges = np.linspace(0, len(frame), columns + 1), np.arange(len(names) + 1)
    mesh = ax.pcolormesh(*edges, np.ma.masked_invalid(cells), cmap="Blues", vmin=0, vmax=100)
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, fraction=0.03, aspect=14)
    bar.set_label("% of allocatable", fontsize=9, color=style.INK)
    bar.ax.tick_params(labelsize=9, color=style.RULE)
    bar.outline.set_visible(False)
    for row, name in enumerate(names):
        ax.axhline(row, color="white", linewidth=3)
        ax.annotate(f"{whole[name]:.1f} %", (1, row + 0.5), (6, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", va="center", fontsize=9, color=style.INK, annotation_clip=False)
    ax.set_yticks(np.arange(len(names)) + 0.5, [style.resource_name(name) for name in names])
    ax.invert_yaxis()
    each = -(-len(frame) // columns)
    columns_are = f" A column is up to {each:,} nodes." if each > 1 else ""
    note = f"The figures at the right are the whole cluster's.{columns_are}"
    style.finish(ax, "How full the nodes are", "nodes, fullest first", "", note=note, grid="none")
    ax.spines[["left", "bottom"]].set_visible(False)
    style.whole_ticks(ax.xaxis)
    ax.tick_params(axis="y", length=0)
    return ax


# --- what the packing picture shows


def _bars(placement: Placement, nodes: int, resource: str) -> _Bars:
    cluster, workload = in_one_schema(placement)
    if resource not in cluster.schema.names:
        raise UnknownName("resource", resource, cluster.schema.names)
    if nodes < 1:
        raise InputError(f"a packing picture shows one node or more; asked for {nodes}")
    r = cluster.schema.index(resource)
    requested, allocatable = node_usage(placement), cluster.allocatable
    rows = _spread_out(requested[r], allocatable[r], nodes)
    if len(rows) == 0:
        raise InputError(f"no node has any {resource} to show")
    lost = stranded_amounts(requested, allocatable, workload.requests.sum(axis=0))[r]
    requests, node_row, _ = all_pods(cluster, workload, placement.rows_at_end, "namespace")
    scale = style.for_people(resource)[0]
    foreign = cluster.foreign[r, rows] / scale
    x, height = _blocks(requests[:, r] / scale, node_row, rows, len(cluster))
    total = allocatable[r].sum()
    return _Bars(
        rows, allocatable[r, rows] / scale, foreign, lost[rows] / scale, x.astype(np.float64),
        foreign[x] + _stacked(x, height), height, _size_limits(requests[:, r] / scale),
        (100.0 * requested[r].sum() / total, 100.0 * lost.sum() / total),
    )


def _spread_out(requested: Ints, allocatable: Ints, count: int) -> Ints:
    """Rows of the nodes to show: by utilization, the highest first, evenly spaced if there are too many."""
    has = np.flatnonzero(allocatable > 0)
    ranked = has[np.argsort(-requested[has] / allocatable[has], kind="stable")]
    if len(ranked) <= count:
        return ranked
    return ranked[np.linspace(0, len(ranked) - 1, count).round().astype(np.int64)]


def _blocks(amount: Floats, node_row: npt.NDArray[np.int32], rows: Ints, nodes: int) -> tuple[Ints, Floats]:
    """The pods on these nodes by position, the largest of each node first."""
    position = np.full(nodes + 1, -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    x = position[node_row]  # -1, unplaced, looks up the last entry, which is no node's
    here = np.flatnonzero((x >= 0) & (amount > 0))
    order = here[np.lexsort((-amount[here], x[here]))]
    return x[order], amount[order]


def _stacked(x: Ints, height: Floats) -> Floats:
    """Each block's bottom: the sum of the blocks before it on its node."""
    before = np.cumsum(height) - height
    first = np.searchsorted(x, x)
    return before - before[first]


def _size_limits(amounts: Floats) -> Floats:
    """Up to three round amounts that part those above 0 into sizes of like count."""
    amounts = amounts[amounts > 0]
    if len(amounts) == 0:
        return np.empty(0)
    quarters = np.quantile(amounts, (0.25, 0.5, 0.75), method="inverted_cdf")
    digits = [float(f"{value:.2g}") for value in quarters]
    return np.unique([digit if digit < amounts.max() else amounts.min() for digit in digits])


def _size_texts(limits: Floats) -> list[str]:
    texts = [f"{limit:,g}" for limit in limits]
    if not texts:
        return []
    between = [f"{low} to {high}" for low, high in itertools.pairwise(texts)]
    return [f"up to {texts[0]}", *between, f"above {texts[-1]}"]


def _shades(limits: Floats) -> list[str]:
    """A shade for each size that the limits part, from the lightest to the darkest."""
    count = len(limits) + 1 if len(limits) else 0
    return [_SHADES[i] for i in np.linspace(0, len(_SHADES) - 1, count).round().astype(int).tolist()]


def _draw_blocks(ax: Axes, bars: _Bars) -> None:
    left, right = bars.x - _WIDTH / 2, bars.x + _WIDTH / 2
    top = bars.bottom + bars.height
    corners = np.stack([(left, bars.bottom), (left, top), (right, top), (right, bars.bottom)]).transpose(2, 0, 1)
    shades = np.array(_shades(bars.limits))[np.searchsorted(bars.limits, bars.height)]
    # A white line parts blocks; many thin ones would be all line.
    crowded = len(bars.x) > 25 * len(bars.rows)
    width = 0.2 if crowded else 0.6
    ax.add_collection(PolyCollection(list(corners), facecolors=shades, edgecolors="white", linewidths=width))


def _name_nodes(ax: Axes, placement: Placement, rows: Ints) -> None:
    """Names under the bars if there is room for them."""
    if len(rows) > 24:
        ax.set_xticks([])
        return
    names = [placement.cluster.names[int(row)] for row in rows]
    upright = max(map(len, names)) * len(names) > 60
    ax.set_xticks(range(len(rows)), names, rotation=90 if upright else 0)


# --- what the heatmap shows


def _whole_percent(placement: Placement, schema: ResourceSchema) -> dict[str, float]:
    requested = node_usage(placement).sum(axis=1)
    allocatable = in_one_schema(placement)[0].totals()
    return {
        name: 100.0 * used / has if has else float("nan")
        for name, used, has in zip(schema.names, requested.tolist(), allocatable.tolist(), strict=True)
    }


def _binned(values: Floats, columns: int) -> Any:
    """The means of `columns` runs of values, NaN left out; NaN for a run of nothing else."""
    run = np.arange(len(values)) * columns // max(len(values), 1)
    known = ~np.isnan(values)
    count = np.bincount(run[known], minlength=columns)
    total = np.bincount(run[known], weights=values[known], minlength=columns)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
