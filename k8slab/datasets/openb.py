"""openb: a production GPU cluster's nodes and pods, as embedded frequency tables or from the published CSVs."""

from __future__ import annotations

import csv
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from k8slab.datasets import _parts
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.workload import Workload
from k8slab.domain.columns import NEVER, Codes, Ints, Names
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.resources import GPU, ResourceSchema
from k8slab.errors import InputError, UnknownName

if TYPE_CHECKING:
    from k8slab.datasets.frame_reader import FrameReader

GPU_MODEL: Final = "gpu-model"
GPU_SPEC: Final = "gpu-spec"
QOS: Final = "qos"
# The trace doesn't limit pods a node; neither does this number: no node has cores for so many.
PODS_PER_NODE: Final = 250
ARRIVAL_SEED: Final = 2023

OPENB_CARD: Final = """\
openb, of Alibaba's cluster-trace-gpu-v2023: a production cluster that runs machine learning jobs,
1,213 GPU nodes with 6,212 GPUs of seven models, and the 8,152 pods of its default list, which ask
98 % of the GPUs, 80 % of the cores and 60 % of the memory if all are there at once.

Embedded here  frequency tables only: 15 node shapes and 151 pod shapes (cores, memory, GPUs) with
               their counts. Node and arrival order are a fixed shuffle, not the trace's. Times,
               QoS and names are not in it; openb(path=DIR) reads the published CSVs instead.
Counted        GPUs as one scalar resource "gpu" in milli-GPU a node (8 GPUs are 8000). A pod that
               shares a GPU asks less than 1000. Single devices are not told apart.
Source         github.com/alibaba/clusterdata, folder cluster-trace-gpu-v2023. The simulator
               repository github.com/hkust-adsl/kubernetes-scheduler-simulator holds the same CSVs.
Terms          the trace may be used for research or study; its repository has no licence file. The
               simulator repository is Apache-2.0. The tables here are counts taken from the trace.
Please cite    Weng, Yang, Yu, Wang, Tang, Yang, Zhang: Beware of Fragmentation: Scheduling
               GPU-Sharing Workloads with Fragmentation Gradient Descent. USENIX ATC 2023.
"""


def openb(
    path: str | PathLike[str] | None = None, pods: str = "default", nodes: str = "gpu"
) -> tuple[Cluster, Workload]:
    """A production GPU cluster and its pods, (Cluster, Workload); see OPENB_CARD for source and terms.

    path  : the folder of the published CSVs, for the trace itself; else the embedded shapes
    pods  : the list, as in openb_pod_list_default.csv: "default", "gpuspec33", "multigpu20", ...; or a .csv file
    nodes : "gpu", "all" (with the nodes that have no GPU), or a .csv file

    Resources are cpu, memory, pods and gpu (milli). Nodes have the label "gpu-model"; pods read
    from CSVs have the labels "gpu-spec" (models that they ask for, no rule yet) and "qos".
    Raises InputError with file, line and column for what can't be read.

    >>> cluster, workload = openb()
    >>> cluster
    Cluster(1,213 nodes, 107,018 cores, 480.5 TiB, 6,212 gpu)
    >>> workload
    Workload(8,152 pods, 151 distinct requests, 85,436 cores, 289.5 TiB, 6,086.8 gpu)
    """
    if path is None and not pods.endswith(".csv") and not nodes.endswith(".csv"):
        if (pods, nodes) != ("default", "gpu"):
            raise InputError(
                f"openb(pods={pods!r}, nodes={nodes!r}): embedded are pods='default' and nodes='gpu' only; "
                "pass path=FOLDER of the published CSVs for the rest"
            )
        return _embedded_cluster(), _embedded_workload()
    folder = Path() if path is None else Path(path)
    return (
        _read_nodes(_file(folder, "openb_node_list_", nodes, "_node.csv", "node list")),
        _read_pods(_file(folder, "openb_pod_list_", pods, ".csv", "pod list")),
    )


def _embedded_cluster() -> Cluster:
    table = _table("openb_node_shapes.csv")
    shape = _shuffled(table)
    models = Codes.of(row["model"] for row in table).take(shape)
    numbers = _numbers(table, "cpu_milli", "memory_mib", "gpu")[shape]
    return _cluster(Names(prefix="node-", count=len(shape)), numbers, models, "openb, embedded shapes")


def _embedded_workload() -> Workload:
    table = _table("openb_pod_shapes.csv")
    shape = _shuffled(table)
    numbers = _numbers(table, "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
    return _workload(Names(prefix="pod-", count=len(shape)), numbers[shape], {}, "openb, embedded shapes")


def _cluster(names: Names, numbers: Ints, models: Codes[str], source: str) -> Cluster:
    """numbers : int64[N, 3] milli-CPU, MiB, GPUs"""
    cpu, mib, gpus = numbers.T
    allocatable = np.stack([cpu, mib * 2**20, np.full(len(names), PODS_PER_NODE), gpus * 1000])
    return Cluster.of(
        names,
        _parts.sealed(allocatable),
        ResourceSchema.of([GPU]),
        labels={GPU_MODEL: models},
        source=f"{source}\n{OPENB_CARD}",
    )


def _workload(names: Names, numbers: Ints, labels: dict[str, Codes[str]], source: str) -> Workload:
    """numbers : int64[P, 4] milli-CPU, MiB, GPUs, milli of each GPU"""
    cpu, mib, gpus, milli = numbers.T
    requests = np.stack([cpu, mib * 2**20, np.ones(len(names), dtype=np.int64), gpus * milli], axis=1)
    return Workload.of(
        names, _parts.sealed(requests), ResourceSchema.of([GPU]), labels=labels, source=f"{source}\n{OPENB_CARD}"
    )


def _table(file: str) -> list[dict[str, str]]:
    text = resources.files("k8slab.datasets").joinpath(file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _numbers(table: list[dict[str, str]], *columns: str) -> Ints:
    return np.array([[int(row[column]) for column in columns] for row in table], dtype=np.int64)


def _shuffled(table: list[dict[str, str]]) -> Ints:
    """int64[rows]: each shape as often as its count says, in an order that is always the same."""
    shape = np.repeat(np.arange(len(table)), _numbers(table, "count")[:, 0])
    rng = np.random.default_rng(ARRIVAL_SEED)
    rng.shuffle(shape)
    return shape


# -- the published CSVs ----------------------------------------------------


def _file(folder: Path, prefix: str, name: str, suffix: str, what: str) -> Path:
    if name.endswith(".csv"):
        return Path(name) if Path(name).is_file() else folder / name
    if not folder.is_dir():
        raise InputError(f"cannot read openb from {str(folder)!r}: there is no such folder")
    file = folder / f"{prefix}{name}{suffix}"
    if not file.is_file():
        known = [other.name.removeprefix(prefix).removesuffix(suffix) for other in folder.glob(f"{prefix}*{suffix}")]
        raise UnknownName(what, name, known, f"(no file {file.name} in {str(folder)!r})")
    return file


def _read_nodes(file: Path) -> Cluster:
    reader = _reader(file, "node", "sn")
    names = reader.names()
    numbers = np.stack([reader.amounts(column) for column in ("cpu_milli", "memory_mib", "gpu")], axis=1)
    _check_mib(reader, numbers[:, 1])
    return _cluster(names, numbers, reader.texts("model"), f"openb, {file.name}")


def _read_pods(file: Path) -> Workload:
    reader = _reader(file, "pod", "name")
    names = reader.names()
    columns = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
    numbers = np.stack([reader.amounts(column) for column in columns], axis=1)
    _check_mib(reader, numbers[:, 1])
    _check(reader, "gpu_milli", numbers[:, 3], 1000, "milli of each GPU, 1000 or less")
    _check(reader, "num_gpu", numbers[:, 2], 2**20, "a number of GPUs")
    gpus, milli = numbers[:, 2], numbers[:, 3]
    shared = np.where(gpus > 1, milli, 1000) < 1000
    _check(reader, "gpu_milli", np.where(shared, milli, 0), 0, "1000: who asks several GPUs takes them whole")
    _check(reader, "num_gpu", np.where(milli == 0, gpus, 0), 0, "0, or milli of each GPU in gpu_milli")
    optional = {GPU_SPEC: "gpu_spec", QOS: "qos"}
    labels = {key: reader.texts(column) for key, column in optional.items() if column in reader}
    return _timed(_workload(names, numbers, labels, f"openb, {file.name}"), reader)


def _timed(workload: Workload, reader: FrameReader) -> Workload:
    """With the trace's seconds, where the file has them: created, and from scheduled (if ever) to deleted."""
    if not all(column in reader for column in ("creation_time", "deletion_time")):
        return workload
    created, deleted = (reader.amounts(column) * SECOND_NS for column in ("creation_time", "deletion_time"))
    began = created
    if "scheduled_time" in reader:
        scheduled = reader.spans_of_seconds("scheduled_time")
        began = np.where(scheduled == NEVER, created, scheduled)
    late = np.where(created > deleted, created // SECOND_NS, 0)
    _check(reader, "creation_time", late, 0, "no later than deletion_time")
    return workload.with_times(created, np.maximum(deleted - began, 0))


def _reader(file: Path, what: str, key: str) -> FrameReader:
    from k8slab.datasets.frame_files import read_table
    from k8slab.datasets.frame_reader import FrameReader

    return FrameReader(read_table(file, f"openb {what} list"), what, file.name, key=key, lines=True)


def _check_mib(reader: FrameReader, mib: Ints) -> None:
    _check(reader, "memory_mib", mib, 2**33 - 1, "MiB that make less than 2^53 bytes")


def _check(reader: FrameReader, column: str, values: Ints, most: int, wanted: str) -> None:
    if (values > most).any():
        row = int(np.argmax(values > most))
        reader.fail(row, column, int(values[row]), wanted)


__all__ = ["OPENB_CARD", "openb"]
