"""GPU devices of any placement: what is allocated, what is fragmented and why, and which pods found none.

The measure is that of "Beware of Fragmentation" (USENIX ATC 2023, §3.1): idle milli that typical
pods of the workload can't use. Devices follow from the order of arrival: by the policy's own rule
if it has one, else a share gets the fullest GPU that has it. A policy that doesn't tell devices
apart may put a pod where no single GPU has its share; it then counts on the idlest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from k8slab.analysis import style
from k8slab.errors import InputError, UnknownName
from k8slab.policies.plugins import GpuDevices

if TYPE_CHECKING:
    from k8slab.experiments.placement import Placement
    from k8slab.policies.devices import DeviceTable
    from k8slab.policies.snapshot import Snapshot

_MEANING: Final = {
    "q1_lack_both": "neither GPU nor cpu is enough",
    "q2_lack_gpu": "the GPU is too full",
    "q3_satisfied": "of use: the only class that is no fragment",
    "q4_lack_cpu": "the cpu is not enough",
    "xl_satisfied": "the pod wants no GPU, and would have a place",
    "xr_lack_cpu": "the pod wants no GPU, and has no place either",
    "no_access": "the pod accepts other models only",
}


def gpu_curves(placement: Placement) -> pd.DataFrame:
    """GPUs after each pod, in order of arrival: a row a pod; percent of all GPUs or of idle ones.

    Raises InputError if the cluster has no GPUs.
    """
    snapshot = _before(placement)
    table: DeviceTable = snapshot.devices
    total = float(table.typical.total)
    capacity = int(table.nodes.devices.sum()) * 1000
    rows = []
    fragmented, idle = int(table.scratch.before.sum()), int(table.nodes.idle.sum())
    for pod, node in _arrivals(placement):
        if node >= 0:
            fragmented -= int(table.scratch.before[node])
            idle -= int(table.nodes.idle[node])
            snapshot.assume(pod, node)
            fragmented += int(table.scratch.before[node])
            idle += int(table.nodes.idle[node])
        rows.append((fragmented / total, idle))
    lost, left = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return pd.DataFrame(
        {
            "pod": list(snapshot.pods.names),
            "arrived_percent": 100.0 * np.cumsum(table.asked_milli) / capacity,
            "allocated_percent": 100.0 * (capacity - left) / capacity,
            "fragmented_percent": 100.0 * lost / capacity,
            "fragmented_of_idle_percent": 100.0 * np.divide(lost, left, out=np.zeros_like(lost), where=left > 0),
        }
    )


def gpu_classes(placement: Placement) -> pd.DataFrame:
    """Idle GPUs at the end by what keeps typical pods from them: a row for each of the seven classes."""
    from k8slab.kernels import gpu as kernels

    snapshot = _before(placement)
    for pod, node in _arrivals(placement):
        if node >= 0:
            snapshot.assume(pod, node)
    table: DeviceTable = snapshot.devices
    sums, one = np.zeros(len(kernels.CLASSES)), np.zeros(len(kernels.CLASSES))
    nodes = table.nodes
    for i in range(len(nodes.cpu)):
        kernels.fragment(nodes.cpu[i], nodes.milli[i], nodes.devices[i], nodes.model[i], table.typical, one)
        sums += one
    return pd.DataFrame(
        {
            "class": list(kernels.CLASSES),
            "meaning": [_MEANING[name] for name in kernels.CLASSES],
            "gpus": sums / 1000.0,
            "of_idle_percent": 100.0 * sums / max(float(sums.sum()), 1.0),
        }
    )


def gpu_failures(placement: Placement) -> pd.DataFrame:
    """The pods that found no node by what they asked for, most first: a row a shape."""
    table: DeviceTable = _before(placement).devices
    arrived = np.array([node < 0 for _, node in _arrivals(placement)], dtype=np.bool_)
    shapes, counts = np.unique(table.incoming_shapes[arrived], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rows = [(*table.shape_names[int(shapes[row])], int(counts[row])) for row in order]
    frame = pd.DataFrame(rows, columns=["cpu_milli", "gpu_milli", "gpus", "models", "pods"])
    return frame.astype(dict.fromkeys(("cpu_milli", "gpu_milli", "gpus", "pods"), np.int64))


_CURVES: Final = {
    "allocated_percent": ("Allocated GPUs as pods arrive", "allocated (% of all GPUs)"),
    "fragmented_percent": ("Fragmented GPUs as pods arrive", "fragmented (% of all GPUs)"),
    "fragmented_of_idle_percent": ("Fragments among the idle GPUs", "fragmented (% of idle GPUs)"),
}
_SHOWN: Final = 12


def gpu_curve(placements: Mapping[str, Placement], column: str = "fragmented_percent", ax: Axes | None = None) -> Axes:
    """A column of `gpu_curves` as pods arrive, a line a placement. placements : name -> Placement

    Raises UnknownName for a column that isn't one of its percentages.
    """
    if column not in _CURVES:
        raise UnknownName("curve", column, _CURVES)
    ax = style.new_axes(ax, 8.0, 4.4)
    for position, (name, placement) in enumerate(placements.items()):
        curve = gpu_curves(placement)
        ax.plot(curve["arrived_percent"], curve[column], linewidth=1.7, label=name,
                **style.line(position), **style.marks(position, len(curve)))
    style.legend(ax, "policy")
    ax.margins(x=0.01)
    title, y = _CURVES[column]
    return style.finish(ax, title, "arrived so far (% of the cluster's GPUs)", y)


def class_bars(placements: Mapping[str, Placement], ax: Axes | None = None) -> Axes:
    """Idle GPUs at the end by what keeps typical pods from them, a bar a placement. placements : name -> Placement"""
    ax = style.new_axes(ax, 8.0, 1.8 + 0.45 * len(placements))
    frames = {name: gpu_classes(placement).set_index("class") for name, placement in placements.items()}
    left = np.zeros(len(frames))
    for position, (kind, meaning) in enumerate(_MEANING.items()):
        gpus = np.array([float(frame["gpus"][kind]) for frame in frames.values()])
        if gpus.any():
            ax.barh(np.arange(len(frames)), gpus, left=left, height=0.62, color=style.color(position), label=meaning)
            left += gpus
    ax.set_yticks(np.arange(len(frames)), list(frames))
    ax.set_ylim(len(frames) - 0.4, -0.6)
    style.legend(ax, "to a typical pod")
    style.finish(ax, "Idle GPUs, and what keeps pods from them", "idle GPUs at the end", "", grid="x")
    style.names_on_y(ax)
    return ax


def failure_bars(placement: Placement, ax: Axes | None = None) -> Axes:
    """The pods that found no node by what they asked for, most first, a bar a shape; the dozen that lead."""
    frame = gpu_failures(placement)
    shown = frame.head(_SHOWN)
    ax = style.new_axes(ax, 8.0, 1.6 + 0.32 * max(len(shown), 1))
    names = [_shape_text(*row[:4]) for row in shown.itertuples(index=False, name=None)]
    ax.barh(np.arange(len(shown)), shown["pods"], height=0.66, color=style.color(0))
    for y, pods in enumerate(shown["pods"].tolist()):
        ax.annotate(f"{pods:,}", (pods, y), (4, 0), textcoords="offset points", va="center", fontsize=9,
                    color=style.INK)
    ax.set_yticks(np.arange(len(shown)), names)
    ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    ax.margins(x=0.08)
    rest = int(frame["pods"].sum() - shown["pods"].sum())
    note = f"{int(frame['pods'].sum()):,} pods{f', {rest:,} of them of other shapes' if rest else ''}."
    style.finish(ax, "Pods that found no node, by what they asked", "pods", "", note=note, grid="x")
    style.names_on_y(ax)
    return ax


def _shape_text(cpu: int, milli: int, gpus: int, models: str) -> str:
    several = f"{gpus} GPU{'s' if gpus > 1 else ''}"
    asked = "no GPU" if not gpus else f"{milli / 1000:g} of a GPU" if milli < 1000 else several
    return f"{cpu / 1000:g} cores, {asked}{f' ({models})' if models else ''}"


def _before(placement: Placement) -> Snapshot:
    """The cluster as it was before the first pod, pods in order of arrival, with devices."""
    from k8slab.experiments.placement import columns
    from k8slab.policies.snapshot import Snapshot

    own = next((item for item in placement.policy.filters if isinstance(item, GpuDevices)), GpuDevices())
    nodes, pods = columns(placement.cluster, placement.workload, placement.order)
    snapshot = Snapshot(nodes, pods, [own])
    snapshot.seed = placement.seed
    if snapshot.devices is None or not snapshot.devices.nodes.devices.any():
        raise InputError("the cluster has no GPUs: no node has any of the resource 'gpu' or 'nvidia.com/gpu'")
    return snapshot


def _arrivals(placement: Placement) -> Iterator[tuple[int, int]]:
    """(number of arrival, node row or -1) of each pod."""
    return enumerate(placement.node_rows[placement.arrival].tolist())
