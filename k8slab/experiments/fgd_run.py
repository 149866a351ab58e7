"""One run of the FGD study: a trace, a policy, a seed; and its samples binned as the published tables are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.experiments.fgd_trace import Arrivals, Trace
from k8slab.kernels import gpu as kernels

Floats = npt.NDArray[np.float64]

# As the published tables call them -> as k8slab does.
POLICIES: Final = {
    "01-Random": "fgd-random",
    "02-DotProd": "fgd-dot-product",
    "03-GpuClustering": "fgd-gpu-clustering",
    "04-GpuPacking": "fgd-gpu-packing",
    "05-BestFit": "fgd-best-fit",
    "06-FGD": "fgd",
}
_CODES: Final = dict(
    zip(
        POLICIES,
        (kernels.RANDOM, kernels.DOT_PRODUCT, kernels.CLUSTERING, kernels.PACKING, kernels.BEST_FIT, kernels.FGD),
        strict=True,
    )
)
# The authors' largest node, whatever the cluster: 128 cores and 8 GPUs.
LARGEST: Final = kernels.Largest(128_000, 8_000)
LOADS: Final = 131  # columns of the published tables: arrived load 0 .. 130 %


@dataclass(frozen=True, eq=False)
class FgdRun:
    """Where each pod went, and the cluster after each. A pods that arrived.

    node       : int64[A]  row of the trace's nodes, -1 where none could hold the pod
    devices    : int64[A]  bits
    arrived    : int64[A]  milli asked so far, failed pods included
    used       : int64[A]  milli placed so far
    fragmented : float64[A]  expected milli that typical pods can't use
    nodes      : what is free at the end, rows as in the trace
    """

    trace: Trace
    policy: str
    seed: int
    pods: Ints
    node: Ints
    devices: Ints
    arrived: Ints
    used: Ints
    fragmented: Floats
    nodes: kernels.Nodes

    @property
    def failed(self) -> npt.NDArray[np.bool_]:
        """bool[A]: which pods found no node."""
        return self.node < 0

    def failed_by_shape(self) -> list[tuple[tuple[int, int, int, str], int]]:
        """((cpu, milli, devices, models), failed pods), most first."""
        shapes, counts = np.unique(self.trace.pod_shape[self.pods[self.failed]], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(self.trace.shape_names[int(shapes[row])], int(counts[row])) for row in order]

    def classes(self) -> dict[str, float]:
        """Idle milli at the end by what keeps typical pods from them; see kernels.gpu.CLASSES."""
        nodes, sums, one = self.nodes, np.zeros(len(kernels.CLASSES)), np.zeros(len(kernels.CLASSES))
        for i in range(len(nodes.cpu)):
            kernels.fragment(nodes.cpu[i], nodes.milli[i], nodes.devices[i], nodes.model[i], self.trace.typical, one)
            sums += one
        return dict(zip(kernels.CLASSES, sums.tolist(), strict=True))


def run_fgd(trace: Trace, policy: str, seed: int, arrivals: Arrivals | None = None) -> FgdRun:
    """Place a trace's pods by a policy of POLICIES. The same arguments give the same run.

    arrivals : trace.arrivals(seed), if they are at hand
    """
    given = arrivals or trace.arrivals(seed)
    nodes = _rows(trace.nodes, given.node_rows)
    pods = len(given.pod_rows)
    placed = kernels.Placed(*(np.zeros(pods, dtype=np.int64) for _ in kernels.Placed._fields))
    kernels.place(
        _CODES[policy], nodes, trace.shapes, trace.pod_shape[given.pod_rows], trace.pod_memory[given.pod_rows],
        trace.typical, LARGEST, kernels.scratch_for(nodes, trace.shapes, pods), given.words.copy(),
        given.cursors.copy(), placed,
    )
    asked = trace.pod_milli[given.pod_rows]
    return FgdRun(
        trace, policy, seed, given.pod_rows,
        np.append(given.node_rows, -1)[placed.node],
        placed.devices,
        np.cumsum(asked),
        np.cumsum(np.where(placed.node >= 0, asked, 0)),
        placed.fragmented / trace.typical.total,
        _rows(nodes, np.argsort(given.node_rows)),
    )


def _rows(nodes: kernels.Nodes, rows: Ints) -> kernels.Nodes:
    """A copy with these rows in this order."""
    return kernels.Nodes(*(np.ascontiguousarray(column[rows]) for column in nodes))


# -- the published tables ---------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curves:
    """A run against arrived load, as the published tables have it: float64[131] each, NaN where nothing arrived.

    allocation  : % of all GPUs that is allocated, 2 decimals
    frag_amount : fragmented milli in % of all GPUs, 2 decimals
    frag_ratio  : fragmented milli in % of idle milli
    """

    allocation: Floats
    frag_amount: Floats
    frag_ratio: Floats


def curves(run: FgdRun) -> Curves:
    """The samples after each pod, averaged by arrived load in whole percent of the GPUs.

    Rounding is that of the authors' scripts, step by step: the simulator prints 2 decimals, a
    script rounds load and allocation, pandas averages, and the averages are rounded again.
    """
    gpus = run.trace.gpus
    load = np.rint(run.arrived / gpus / 10.0)
    allocation = np.round(run.used / gpus / 10.0, 2)
    idle = gpus * kernels.WHOLE - run.used
    amount = printed(run.fragmented)
    ratio = printed(100.0 * run.fragmented / np.maximum(idle, 1))
    means = [np.full(LOADS, np.nan) for _ in range(3)]
    for column in range(LOADS):
        samples = _samples(load, column)
        if samples.stop > samples.start:
            for mean, values in zip(means, (allocation, amount, ratio), strict=True):
                mean[column] = values[samples].mean()
    return Curves(np.round(means[0], 2), np.round(100.0 * means[1] / 1000.0 / gpus, 2), means[2])


def _samples(load: Floats, column: int) -> slice:
    """The samples of a column: at its load, and where there are none, within one percent. load : rising"""
    for slack in (0, 1):
        start = int(np.searchsorted(load, column - slack, side="left"))
        stop = int(np.searchsorted(load, column + slack, side="right"))
        if stop > start:
            break
    return slice(start, stop)


def printed(values: Floats) -> Floats:
    """Rounded to 2 decimals as printf does: by the exact binary value, which a product by 100 may hide near a tie."""
    hundredths = values * 100.0
    rounded: Floats = np.rint(hundredths) / 100.0
    near = np.abs(np.abs(hundredths - np.floor(hundredths)) - 0.5) < 1e-4
    for row in np.flatnonzero(near).tolist():
        rounded[row] = round(float(values[row]), 2)
    return rounded


def summary(run: FgdRun, table: Curves) -> dict[str, Any]:
    """A run's row of results.csv."""
    by_100 = run.arrived <= run.trace.gpus * kernels.WHOLE
    row: dict[str, Any] = {"trace": run.trace.name, "policy": run.policy, "seed": run.seed}
    row |= {f"alloc_{load}": float(table.allocation[load]) for load in (100, 130)}
    row |= {f"frag_amount_{load}": float(table.frag_amount[load]) for load in (50, 100, 130)}
    # numpy's rounding, which takes a half to the even neighbour; Python's goes by the exact binary value.
    row |= {f"frag_ratio_{load}": float(np.round(table.frag_ratio[load], 4)) for load in (50, 100, 130)}
    row["failed_pods"] = int(run.failed.sum())
    row["failed_pods_by_100"] = int((run.failed & by_100).sum())
    row["pods_submitted"] = len(run.pods)
    return row
