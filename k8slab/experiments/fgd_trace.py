"""The inputs of the FGD study: a trace's pods tuned to 130 % of the GPUs, in an order of the seed, and ranked nodes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.datasets import Cluster, Workload, openb
from k8slab.datasets.openb import GPU_MODEL, GPU_SPEC
from k8slab.domain.columns import Codes, Ints
from k8slab.domain.devices import MOST_DEVICES
from k8slab.domain.resources import CPU, GPU, MEMORY
from k8slab.errors import InputError
from k8slab.experiments.go_random import GoRandom
from k8slab.kernels.gpu import WHOLE, Nodes, Shapes, Typical, idle_nodes
from k8slab.policies.gpu_shapes import Shape, accepted, counted, most_frequent, pod_shapes, shapes_of, typical_of

# The paper's 17 traces by the figure that they are drawn in. gpushare20 has no published values.
FIGURES: Final = {
    "7": ("default",),
    "11": ("gpushare40", "gpushare60", "gpushare80", "gpushare100"),
    "12": ("multigpu20", "multigpu30", "multigpu40", "multigpu50"),
    "13": ("gpuspec10", "gpuspec20", "gpuspec25", "gpuspec33"),
    "14": ("cpu050", "cpu100", "cpu200", "cpu250"),
}
TRACES: Final = tuple(trace for traces in FIGURES.values() for trace in traces)
LOAD_TENTHS: Final = 13  # what arrives, in tenths of the cluster's GPUs
# Ten clients of the authors' simulator each draw one number between the pods' tuning and the nodes' ranks.
WATCHERS: Final = 10



@dataclass(frozen=True, eq=False)
class Trace:
    """A cluster and the pods of a trace, both by name, as kernels take them.

    nodes      : what is free when the cluster is empty, rows by name
    pod_shape  : int64[P]  row of shapes
    pod_memory : int64[P]  bytes
    pod_milli  : int64[P]  milli of all its devices
    source     : what it was read from
    digest     : of the cluster and the pods, so that results of other inputs aren't taken for theirs
    """

    name: str
    node_names: tuple[str, ...]
    nodes: Nodes
    models: tuple[str, ...]
    pod_names: tuple[str, ...]
    pod_shape: Ints
    pod_memory: Ints
    pod_milli: Ints
    shape_names: tuple[Shape, ...]
    shapes: Shapes
    typical: Typical
    source: str
    digest: str

    @property
    def gpus(self) -> int:
        """How many the cluster has."""
        return int(self.nodes.devices.sum())

    def arrivals(self, seed: int) -> Arrivals:
        """The pods in the order of a seed, tuned to 130 % of the GPUs, and the nodes' ranks."""
        random = GoRandom(seed)
        random.skip(1)
        pods = list(range(len(self.pod_names)))
        random.shuffle(pods)
        pods = self._tuned(pods, random)
        random.skip(WATCHERS)
        rank = np.array(random.perm(len(self.node_names)), dtype=np.int64)
        return Arrivals(np.array(pods, dtype=np.int64), np.argsort(rank), *random.state())

    def _tuned(self, pods: list[int], random: GoRandom) -> list[int]:
        """Pods taken away at random while they ask too much, or clones put behind while they ask too little."""
        target = self.gpus * WHOLE * LOAD_TENTHS // 10
        milli = self.pod_milli.tolist()
        # What the authors' loop compares with its target: a clone of several devices may overshoot.
        of_each = np.minimum(self.pod_milli, WHOLE).tolist()
        asked = sum(milli)
        if asked >= target:
            while asked > target:
                asked -= milli[pods.pop(random.intn(len(pods)))]
            return pods
        # Only a draw that is too large ends it: at the target itself, pods without GPU are still drawn.
        clone = random.intn(len(milli))
        while asked + of_each[clone] <= target:
            pods.append(clone)
            asked += milli[clone]
            clone = random.intn(len(milli))
        return pods


@dataclass(frozen=True, eq=False)
class Arrivals:
    """What a seed decides.

    pod_rows  : int64[A]  rows of Trace, as they arrive; a row may come more than once
    node_rows : int64[N]  rows of Trace by rank; the first wins ties
    words, cursors : the state of GoRandom from which 01-Random draws on
    """

    pod_rows: Ints
    node_rows: Ints
    words: npt.NDArray[np.uint64]
    cursors: Ints


def read_trace(folder: Path | None, name: str) -> Trace:
    """A trace from the folder of the published CSVs, or the embedded shapes (then only "default").

    Raises InputError with file, line and column for what can't be used.
    """
    files = ("the embedded nodes", "the embedded pods")
    if folder is not None:
        files = ("openb_node_list_gpu_node.csv", f"openb_pod_list_{name}.csv")
    stamps = tuple(_stamp(folder / file) for file in files) if folder is not None else ()
    return _read_trace(folder, name, files, stamps)


def _stamp(file: Path) -> tuple[int, int]:
    """What is another when the file is."""
    try:
        found = file.stat()
    except OSError:
        return (0, 0)  # whoever reads it says what is wrong
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=len(TRACES))
def _read_trace(
    folder: Path | None, name: str, files: tuple[str, str], stamps: tuple[tuple[int, int], ...]
) -> Trace:
    node_file, pod_file = files
    cluster, workload = openb(folder, pods=name)
    _check_devices(cluster, node_file)
    _check_models(workload, pod_file, cluster)
    if not workload.requests[:, workload.schema.index(GPU)].any():
        raise InputError(f"{pod_file}: no pod asks a GPU; wanted some with num_gpu, to fill 130 % of the cluster's")
    return trace_of(name, cluster, workload)


def trace_of(name: str, cluster: Cluster, workload: Workload) -> Trace:
    """A trace from a cluster and pods that have the resource "gpu" (milli) and the labels of `datasets.openb`."""
    by_name = np.argsort(np.array(cluster.names, dtype=object), kind="stable")
    models = cluster.labels[GPU_MODEL].values
    pods_by_name = np.argsort(np.array(workload.names, dtype=object), kind="stable")
    requests = workload.requests[pods_by_name]
    memory, gpu = (requests[:, workload.schema.index(resource)] for resource in (MEMORY, GPU))
    index: dict[Shape, int] = {}
    pod_shape = np.array([index.setdefault(shape, len(index)) for shape in pod_shapes(workload.take(pods_by_name))])
    shape_names = tuple(index)
    return Trace(
        name,
        tuple(cluster.names[row] for row in by_name.tolist()),
        _empty_nodes(cluster, by_name),
        models,
        tuple(workload.names[row] for row in pods_by_name.tolist()),
        pod_shape,
        memory,
        gpu,
        shape_names,
        shapes_of(shape_names, models),
        typical_of(most_frequent(counted(shape_names, pod_shape)), len(pod_shape), models),
        workload.source.partition("\n")[0],
        f"{cluster.content_hash()[:32]}{workload.content_hash()[:32]}",
    )


def _check_devices(cluster: Cluster, file: str) -> None:
    gpus = cluster.allocatable[cluster.schema.index(GPU)]
    missing = cluster.labels[GPU_MODEL].codes < 0
    for bad, column, shown, wanted in (
        (gpus == 0, "gpu", "", "1 or more: the policies of this study place pods on nodes with GPUs"),
        (gpus > MOST_DEVICES * WHOLE, "gpu", "", f"{MOST_DEVICES} or less"),
        (missing, "model", "missing", "the model of its GPUs"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            where = f"{file}, line {row + 2} (node {cluster.names[row]!r})"
            raise InputError(f"{where}: {column} is {shown or gpus[row] // WHOLE}; wanted {wanted}")


def _check_models(workload: Workload, file: str, cluster: Cluster) -> None:
    specs = workload.labels.get(GPU_SPEC) or Codes.none(len(workload))
    known = cluster.labels[GPU_MODEL].values
    for code, spec in enumerate(specs.values):
        unknown = [model for model in accepted(spec) if model not in known]
        if unknown:
            row = int(np.argmax(specs.codes == code))
            raise InputError(
                f"{file}, line {row + 2} (pod {workload.names[row]!r}): gpu_spec is {spec!r}, but no node has the "
                f"model {unknown[0]!r}; wanted models of the node list, joined by |: {', '.join(sorted(known))}"
            )


def _empty_nodes(cluster: Cluster, rows: Ints) -> Nodes:
    allocatable = cluster.allocatable[:, rows]
    cpu, memory, gpu = (allocatable[cluster.schema.index(resource)].copy() for resource in (CPU, MEMORY, GPU))
    devices = gpu // WHOLE
    model = cluster.labels[GPU_MODEL].codes[rows].astype(np.int64)
    return idle_nodes(cpu, memory, devices, model, int(devices.max()))
