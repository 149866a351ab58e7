"""Clusters and workloads in CSV and Parquet files; what doesn't fit in one table lies in files beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from k8slab.datasets.cluster import Cluster
from k8slab.datasets.frame_reader import LABEL, FrameReader, resource_named_by
from k8slab.datasets.frames import cluster_frame, read_cluster, read_workload, workload_frame
from k8slab.datasets.json_values import from_json, to_json
from k8slab.datasets.workload import Workload
from k8slab.domain.api_objects import NOTHING, ApiObjects
from k8slab.domain.columns import Ints
from k8slab.errors import InputError, OutputError

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

_EMPTY_LABEL: Final = "''"  # a label's value may be empty, which a CSV can't tell from missing


def load_workload(path: str | PathLike[str]) -> Workload:
    """See Workload.load."""
    file = Path(path)
    return read_workload(read_table(file, "workload"), file.name, lines=_is_csv(file))


def load_cluster(path: str | PathLike[str]) -> Cluster:
    """See Cluster.load."""
    file = Path(path)
    cluster = read_cluster(read_table(file, "cluster"), file.name, lines=_is_csv(file))
    bound, bound_node = _load_pods(cluster, _beside(file, "bound"), "bound")
    nominated, nominated_node = _load_pods(cluster, _beside(file, "nominated"), "nominated")
    schema = cluster.schema
    for pods in (bound, nominated):
        schema = schema if pods is None else schema.union(pods.schema)
    return replace(
        cluster.with_schema(schema),
        bound=None if bound is None else bound.with_schema(schema),
        bound_node=bound_node,
        nominated=None if nominated is None else nominated.with_schema(schema),
        nominated_node=nominated_node,
        objects=_load_objects(_objects_file(file)),
    )


def save_cluster(cluster: Cluster, path: str | PathLike[str]) -> None:
    """See Cluster.save."""
    file = Path(path)
    save_frame(cluster_frame(cluster), file, "cluster")
    _save_pods(cluster, cluster.bound, cluster.bound_node, _beside(file, "bound"), "bound")
    _save_pods(cluster, cluster.nominated, cluster.nominated_node, _beside(file, "nominated"), "nominated")
    _save_objects(cluster.objects, _objects_file(file))


def save_frame(frame: pd.DataFrame, path: str | PathLike[str], what: str) -> None:
    """Writes a frame as the file's name says. Raises OutputError if it can't be written."""
    file = Path(path)
    try:
        if _is_csv(file):
            for column in frame.columns:
                if column.startswith(LABEL) and "" in frame[column].cat.categories:
                    frame[column] = frame[column].cat.rename_categories({"": _EMPTY_LABEL})
            frame.to_csv(file, index=False)
        else:
            _need_pyarrow(file, what)
            frame.to_parquet(file, index=False)
    except OSError as error:
        raise OutputError(f"cannot write the {what} to {str(file)!r}: {error.strerror or error}") from error


def _save_pods(cluster: Cluster, pods: Workload | None, node_rows: Ints, file: Path, which: str) -> None:
    if pods is None:
        file.unlink(missing_ok=True)  # else an earlier cluster's pods would come along with this one
        return
    frame = workload_frame(pods)
    frame.insert(1, "node", cluster.names.to_array()[node_rows])
    save_frame(frame, file, f"cluster's {which} pods")


def _load_pods(cluster: Cluster, file: Path, which: str) -> tuple[Workload | None, Ints]:
    """The pods of a file beside the cluster's, and the node row of each; None and no rows where there is none."""
    nobody = None, np.zeros(0, dtype=np.int64)
    if not file.exists():
        return nobody
    frame = read_table(file, f"cluster's {which} pods")
    reader = FrameReader(frame, "pod", file.name, lines=_is_csv(file))
    if not len(frame):
        return nobody
    reader.names()
    nodes = reader.texts("node")
    rows = np.array([cluster.names.row(name) for name in nodes.values] + [-1], dtype=np.int64)[nodes.codes]
    if (rows < 0).any():
        row = int(np.argmin(rows))
        reader.fail(row, "node", nodes[row], "a node of the cluster")
    return read_workload(frame.drop(columns="node"), file.name, lines=_is_csv(file)), rows


def _save_objects(objects: ApiObjects, file: Path) -> None:
    if objects == NOTHING:
        file.unlink(missing_ok=True)
        return
    try:
        file.write_text(to_json(objects) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the cluster's objects to {str(file)!r}: {error.strerror or error}") from error


def _load_objects(file: Path) -> ApiObjects:
    if not file.exists():
        return NOTHING
    try:
        objects: ApiObjects = from_json(ApiObjects, file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read a cluster's objects from {str(file)!r}: {error}") from error
    return objects


def _objects_file(file: Path) -> Path:
    """nodes.csv.gz -> nodes.objects.json"""
    return file.with_name(f"{file.name.partition('.')[0]}.objects.json")


def _beside(file: Path, what: str) -> Path:
    """nodes.csv.gz -> nodes.bound.csv.gz"""
    stem, dot, suffixes = file.name.partition(".")
    return file.with_name(f"{stem}.{what}{dot}{suffixes}")


def read_table(file: Path, what: str) -> pd.DataFrame:
    """The frame in a .csv or .parquet file. Raises InputError if there is none."""
    import pandas as pd

    if not file.is_file():
        found = "it is a folder; wanted a file" if file.is_dir() else "there is no such file"
        raise InputError(f"cannot read a {what} from {str(file)!r}: {found}")
    try:
        if not _is_csv(file):
            _need_pyarrow(file, what)
            frame: pd.DataFrame = pd.read_parquet(file)
            return frame
        return _read_csv(file)
    except (OSError, ValueError) as error:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read a {what} from {str(file)!r}: {error}") from error


def _read_csv(file: Path) -> pd.DataFrame:
    import pandas as pd

    # utf-8-sig: spreadsheets write a byte order mark. Only an empty cell is missing: "NA" is a fine name.
    how: dict[str, Any] = {"encoding": "utf-8-sig", "keep_default_na": False, "na_values": [""]}
    header = list(pd.read_csv(file, nrows=0, **how).columns)
    texts = {column: str for column in header if resource_named_by(column) is None}
    frame: pd.DataFrame = pd.read_csv(file, dtype=texts, skip_blank_lines=False, **how)
    while len(frame) and frame.iloc[-1].isna().all():
        frame = frame.iloc[:-1]
    for column in header:
        if column.startswith(LABEL):
            frame[column] = frame[column].replace(_EMPTY_LABEL, "")
    return frame


def _is_csv(file: Path) -> bool:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes[-1:] == [".parquet"]:
        return False
    if suffixes[-1:] == [".csv"] or suffixes[-2:] == [".csv", ".gz"]:
        return True
    raise InputError(f"{file.name!r}: wanted a name that ends in .csv, .csv.gz or .parquet")


def _need_pyarrow(file: Path, what: str) -> None:
    try:
        import pyarrow  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the {what} in {file.name!r} needs pyarrow: pip install 'k8slab[parquet]', or use .csv"
        ) from error
