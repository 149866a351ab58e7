"""Clusters and workloads as pandas frames and as CSV or Parquet files, with errors that say where."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never

import numpy as np
import numpy.typing as npt

from k8slab.datasets import _parts
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.json_values import from_json, to_json
from k8slab.datasets.taints import (
    TAINTS_WANTED,
    TOLERATIONS_WANTED,
    parse_taints,
    parse_tolerations,
    taints_text,
    tolerations_text,
)
from k8slab.datasets.workload import Workload
from k8slab.domain.api_objects import NOTHING, ApiObjects
from k8slab.domain.columns import LEAVING, NEVER, NOT_STARTED, Codes, Ints, Names
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES
from k8slab.domain.pod_spec import PLAIN, ZONE, Images, PodSpec
from k8slab.domain.resources import CPU, GPU, MEMORY, PODS, ResourceSchema, column_of, resource_of, unit_of
from k8slab.errors import InputError, OutputError
from k8slab.units import amount

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

LIMIT: Final = 2**53  # float64 counts exactly up to here, and no cluster has 8 PiB in one node
DEFAULT_PODS: Final = 110  # as the kubelet's --max-pods
STATES: Final = tuple(state.value for state in NODE_STATES)
LABEL, FOREIGN, ARRAY = "label:", "foreign:", "array:"
SPEC_WANTED: Final = "a pod's spec as `Workload.to_frame` writes it"
IMAGES_WANTED: Final = "a node's images as `Cluster.to_frame` writes them"
_INT64: Final = re.compile(r"-?[0-9]{1,19}")
EMPTY_LABEL: Final = "''"  # a label's value may be empty, which a CSV can't tell from missing


# -- reading ---------------------------------------------------------------


class FrameReader:
    """One frame being read: columns come out as exact arrays, or as an error that says where.

    what   : "node" or "pod"
    origin : how messages call the frame: its file name, or "a frame"
    key    : the column of the names, if it isn't called as `what`
    lines  : the rows are lines of a file with one heading line
    """

    def __init__(
        self,
        frame: pd.DataFrame | Mapping[str, Any],
        what: str,
        origin: str,
        *,
        key: str | None = None,
        lines: bool = False,
    ) -> None:
        import pandas as pd

        try:
            self.frame = frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame)
        except (TypeError, ValueError) as error:
            raise InputError(f"{origin}: no table of {what}s: {error}") from error
        self.what, self.origin = what, origin
        self._key, self._lines = key or what, lines
        self._used: set[str] = set()
        self._names: list[str] = []
        self.columns = [str(column) for column in self.frame.columns]
        self.frame = self.frame.set_axis(self.columns, axis="columns")
        twice = [column for column in self.columns if self.columns.count(column) > 1]
        if twice:
            raise InputError(f"{origin}: column {twice[0]!r} stands twice")

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def names(self) -> Names:
        """The names, each there and unique."""
        series = self._column(self._key)
        if not len(series):
            raise InputError(f"{self.origin}: it has no rows; wanted at least one {self.what}")
        names = [_text(name) for name in series.tolist()]
        if None in names or "" in names:
            row = next(row for row, name in enumerate(names) if not name)
            self.fail(row, self._key, names[row], "a name")
        self._names = [name for name in names if name is not None]
        seen: dict[str, int] = {}
        for row, name in enumerate(self._names):
            if seen.setdefault(name, row) != row:
                raise InputError(
                    f"{self.origin}, {self._row(row)}: {self.what} {name!r} stands already in {self._row(seen[name])}; "
                    f"every {self.what} needs a name of its own"
                )
        return Names(self._names)

    def resources(self, *, leave_out: Iterable[str] = ()) -> tuple[ResourceSchema, dict[str, Ints]]:
        """The schema that the columns make, and each resource's int64[rows]."""
        amounts = {CPU: self._required(CPU, "cpu"), MEMORY: self._required(MEMORY, "memory")}
        for column in self.columns:
            resource = _resource_of(column)
            if resource is not None and resource not in amounts and column not in leave_out and ":" not in column:
                amounts[resource] = self.amounts(column)
        return ResourceSchema.of(amounts), amounts

    def _required(self, resource: str, quantities: str) -> Ints:
        exact = column_of(resource)
        if exact in self and quantities in self:
            raise InputError(f"{self.origin}: it has both {exact!r} and {quantities!r}; wanted one of them")
        if quantities in self:
            return self.quantities(resource, quantities)
        if exact not in self:
            self._missing(exact, f" (nor {quantities!r}, which may hold quantities)")
        return self.amounts(exact)

    def amounts(self, column: str) -> Ints:
        """int64[rows] of whole numbers from 0 to below 2^53."""
        import pandas as pd

        series = self._column(column)
        resource = _resource_of(column)
        unit = "" if resource is None or unit_of(resource) == "count" else f" of {_unit_name(resource)}"
        known = pd.to_numeric(series, errors="coerce")
        numbers: npt.NDArray[np.float64] = known.to_numpy(dtype=np.float64, na_value=np.nan)
        with np.errstate(invalid="ignore"):
            good = (numbers >= 0) & (numbers < LIMIT) & (numbers == np.floor(numbers))
        if not good.all():
            row = int(np.argmin(good))
            self.fail(row, column, series.iloc[row], f"a whole number{unit}, 0 or more and below 2^53")
        whole: Ints = numbers.astype(np.int64)
        return whole

    def quantities(self, resource: str, column: str) -> Ints:
        """int64[rows] of Kubernetes quantities, in the resource's unit."""
        import pandas as pd

        codes, values = pd.factorize(self._column(column))
        if (codes < 0).any():
            self.fail(int(np.argmin(codes)), column, None, 'a quantity such as 2, "500m" or "1.5Gi"')
        first = np.zeros(len(values), dtype=np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last write wins: the row of first appearance
        parsed = []
        for row, value in zip(first.tolist(), values, strict=True):
            exact = amount(resource, value, f"{self.origin}, {self._row(row)}, column {column}")
            if not 0 <= exact < LIMIT:
                self.fail(row, column, value, f"0 or more and below 2^53 {_unit_name(resource)}")
            parsed.append(exact)
        exact_by_row: Ints = np.array(parsed, dtype=np.int64)[codes]
        return exact_by_row

    def texts(self, column: str) -> Codes[str]:
        """A column of texts, interned; -1 where missing."""
        import pandas as pd

        codes, values = pd.factorize(self._column(column))
        written = Codes(codes.astype(np.int32), tuple(_text(value) or "" for value in values))
        return Codes.of(written.to_array()) if len(set(written.values)) < len(written.values) else written

    def parsed(self, column: str, parse: Callable[[str], Any], wanted: str) -> Codes[Any]:
        """A column of texts that `parse` understands (ValueError if not); a missing one is parsed as ""."""
        texts = self.texts(column)
        values = []
        for code, text in enumerate(texts.values):
            try:
                values.append(parse(text))
            except ValueError:
                self.fail(int(np.argmax(texts.codes == code)), column, text, wanted)
        index = {value: code for code, value in enumerate(dict.fromkeys([*values, parse("")]))}
        renumbered = np.array([index[value] for value in [*values, parse("")]], dtype=np.int32)
        return Codes(renumbered[texts.codes], tuple(index))

    def values_of(self, column: str, kind: Any, wanted: str, nothing: object) -> Codes[Any]:
        """A column of JSON texts as values of a type; -1 where missing or `nothing`."""
        found = self.parsed(column, lambda text: from_json(kind, text) if text else nothing, wanted)
        index: dict[Any, int] = {}
        number = [-1 if value == nothing else index.setdefault(value, len(index)) for value in found.values]
        return Codes(np.array([*number, -1], dtype=np.int32)[found.codes], tuple(index))

    def instants(self, column: str) -> Ints:
        """int64[rows] of nanoseconds since 1970, which are more than a float holds; a missing one is NOT_STARTED."""
        series = self._column(column)
        if series.dtype == np.int64:
            return np.asarray(series, dtype=np.int64)
        written = self.texts(column)
        known = []
        for code, text in enumerate(written.values):
            if not _INT64.fullmatch(text) or not -NOT_STARTED <= int(text) <= NOT_STARTED:
                self.fail(int(np.argmax(written.codes == code)), column, text, "whole nanoseconds since 1970")
            known.append(int(text))
        by_row: Ints = np.array([*known, NOT_STARTED], dtype=np.int64)[written.codes]
        return by_row

    def spans(self, column: str) -> Ints:
        """int64[rows] of nanoseconds, 0 or more; a missing one is NEVER."""
        found = self.instants(column)
        if (found < 0).any():
            row = int(np.argmax(found < 0))
            self.fail(row, column, int(found[row]), "nanoseconds, 0 or more")
        return found

    def spans_of_seconds(self, column: str) -> Ints:
        """int64[rows] of nanoseconds from a column of whole seconds; a missing one is NEVER."""
        missing = self._column(column).isna().to_numpy()
        return np.where(missing, NEVER, self.integers(column, 0, 2**33) * SECOND_NS)

    def integers(self, column: str, least: int, most: int) -> Ints:
        """int64[rows] of whole numbers in a range; a missing one is 0."""
        import pandas as pd

        series = self._column(column)
        known = pd.to_numeric(series, errors="coerce").mask(series.isna(), 0)
        numbers: npt.NDArray[np.float64] = known.to_numpy(dtype=np.float64, na_value=np.nan)
        good = (numbers >= least) & (numbers <= most) & (numbers == np.floor(numbers))
        if not good.all():
            row = int(np.argmin(good))
            self.fail(row, column, series.iloc[row], f"a whole number from {least:,} to {most:,}")
        whole: Ints = numbers.astype(np.int64)
        return whole

    def values(self, column: str) -> npt.NDArray[Any]:
        """A column as it is; texts that all are bools or numbers as those."""
        values: npt.NDArray[Any] = self._column(column).to_numpy()
        if not all(isinstance(value, str) or value != value for value in values.tolist()):
            return values
        if set(values.tolist()) <= {"True", "False"}:
            return np.asarray(values == "True")
        for dtype in (np.int64, np.float64):
            try:
                return values.astype(dtype)
            except (TypeError, ValueError):
                continue
        return values

    def labels(self) -> dict[str, Codes[str]]:
        """The label:KEY columns by key."""
        return {column.removeprefix(LABEL): self.texts(column) for column in self.columns if column.startswith(LABEL)}

    def warn_of_the_rest(self) -> None:
        """One warning that names the columns nobody asked for."""
        rest = [column for column in self.columns if column not in self._used]
        if rest:
            warnings.warn(
                f"{self.origin}: passed over column{'s' if len(rest) > 1 else ''} {', '.join(rest)} "
                f"(text about {self.what}s can go into label:KEY columns)",
                stacklevel=4,
            )

    def fail(self, row: int, column: str, found: object, wanted: str) -> Never:
        """Raises the InputError of one cell."""
        text = _text(found)
        shown = "is missing" if text is None else f"is {text if not isinstance(found, str) else repr(text)}"
        named = f" ({self.what} {self._names[row]!r})" if row < len(self._names) else ""
        raise InputError(f"{self.origin}, {self._row(row)}{named}: {column} {shown}; wanted {wanted}")

    def _row(self, row: int) -> str:
        return f"line {row + 2}" if self._lines else f"row {row}"

    def _column(self, column: str) -> pd.Series[Any]:
        if column not in self:
            self._missing(column)
        self._used.add(column)
        return self.frame[column]

    def _missing(self, column: str, also: str = "") -> Never:
        near = difflib.get_close_matches(column, self.columns, n=1, cutoff=0.5)
        nearest = f"; the nearest is {near[0]!r}" if near else ""
        found = ", ".join(sorted(self.columns)) or "no columns at all"
        raise InputError(f"{self.origin}: no column {column!r}{also}{nearest}. Found: {found}")


def read_workload(frame: pd.DataFrame | Mapping[str, Any], origin: str, *, lines: bool = False) -> Workload:
    """See Workload.from_frame."""
    reader = FrameReader(frame, "pod", origin, lines=lines)
    names = reader.names()
    schema, amounts = reader.resources(leave_out=[PODS])
    requests = np.empty((len(names), len(schema)), dtype=np.int64)
    for r, resource in enumerate(schema.names):
        requests[:, r] = amounts.get(resource, 1)
    namespaces, tolerations, priority = None, None, None
    if "namespace" in reader:
        namespaces = reader.parsed("namespace", lambda text: text or "default", "a namespace")
    if "tolerations" in reader:
        tolerations = reader.parsed("tolerations", parse_tolerations, TOLERATIONS_WANTED)
    if "priority" in reader:
        priority = reader.integers("priority", -(2**31), 2**31 - 1)
    specs, leaving, started = None, None, None
    if "spec" in reader:
        specs = reader.values_of("spec", PodSpec, SPEC_WANTED, PLAIN)
    if "leaving" in reader:
        column = reader.parsed("leaving", _leaving_code, f"one of {', '.join(LEAVING)}")
        leaving = np.array(column.values, dtype=np.int8)[column.codes]
    if "started_ns" in reader:
        started = reader.instants("started_ns")
    workload = Workload.of(
        names,
        _parts.sealed(requests),
        schema,
        namespaces=namespaces,
        tolerations=tolerations,
        priority=priority,
        labels=reader.labels(),
        specs=specs,
        leaving=leaving,
        started_ns=started,
        source=origin,
        arrival_ns=reader.spans("arrival_ns") if "arrival_ns" in reader else None,
        duration_ns=reader.spans("duration_ns") if "duration_ns" in reader else None,
    )
    reader.warn_of_the_rest()
    return workload


def read_cluster(frame: pd.DataFrame | Mapping[str, Any], origin: str, *, lines: bool = False) -> Cluster:
    """See Cluster.from_frame."""
    reader = FrameReader(frame, "node", origin, lines=lines)
    names = reader.names()
    schema, amounts = reader.resources()
    foreign = {column: reader.amounts(column) for column in reader.columns if column.startswith(FOREIGN)}
    schema = ResourceSchema.of([*schema.names, *(_foreign_resource(column, reader) for column in foreign)])
    amounts.setdefault(PODS, np.full(len(names), DEFAULT_PODS, dtype=np.int64))
    nothing = np.zeros(len(names), dtype=np.int64)
    labels = reader.labels()
    if "zone" in reader:
        labels[ZONE] = reader.texts("zone")
    states, taints = None, None
    if "state" in reader:
        column = reader.parsed("state", _state_code, f"one of {', '.join(STATES)}")
        states = np.array(column.values, dtype=np.int8)[column.codes]
    if "taints" in reader:
        taints = reader.parsed("taints", parse_taints, TAINTS_WANTED)
    images = reader.values_of("images", Images, IMAGES_WANTED, ()) if "images" in reader else None
    cluster = Cluster.of(
        names,
        _parts.sealed(np.stack([amounts.get(resource, nothing) for resource in schema.names])),
        schema,
        states=states,
        taints=taints,
        labels=labels,
        foreign=np.stack([foreign.get(FOREIGN + column, nothing) for column in schema.columns]),
        images=images,
        source=origin,
    )
    arrays = {column: reader.values(column) for column in reader.columns if column.startswith(ARRAY)}
    reader.warn_of_the_rest()
    return cluster.with_arrays(**{column.removeprefix(ARRAY): values for column, values in arrays.items()})


def _foreign_resource(column: str, reader: FrameReader) -> str:
    resource = _resource_of(column)
    if resource is None:
        raise InputError(f"{reader.origin}: column {column!r} names no resource; wanted such as 'foreign:cpu_milli'")
    return resource


def _resource_of(column: str) -> str | None:
    """The resource that a column holds amounts of, usage too; a label's key may look like one, but isn't."""
    return None if column.startswith((LABEL, ARRAY)) else resource_of(column.removeprefix(FOREIGN))


def _state_code(text: str) -> int:
    return STATES.index(text) if text else 0


def _leaving_code(text: str) -> int:
    return LEAVING.index(text) if text else 0


def _unit_name(resource: str) -> str:
    return {CPU: "mCPU", GPU: "milli-GPU"}.get(resource, unit_of(resource))


def _text(value: object) -> str | None:
    """A cell as text, None if it is missing; 3.0 is "3", as integers become floats beside a missing one."""
    if value is None or value != value:  # NaN and NaT are not equal to themselves
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return None if text == "<NA>" else text


# -- writing ---------------------------------------------------------------


def workload_frame(workload: Workload) -> pd.DataFrame:
    """See Workload.to_frame."""
    import pandas as pd

    schema = workload.schema
    columns: dict[str, Any] = {"pod": _name_column(workload.names)}
    for r, resource in enumerate(schema.names):
        if resource != PODS:
            columns[schema.columns[r]] = workload.requests[:, r]
    columns["namespace"] = _category(workload.namespaces)
    columns["priority"] = workload.priority.astype(np.int64)
    columns["tolerations"] = _category(_parts.as_texts(workload.tolerations, tolerations_text), missing="")
    specs = _parts.as_texts(workload.specs, lambda spec: "" if spec == PLAIN else to_json(spec))
    if (specs.codes >= 0).any():
        columns["spec"] = _category(specs)
    if workload.leaving.any():
        columns["leaving"] = _category(Codes(workload.leaving.astype(np.int32) - 1, LEAVING[1:]))
    if (workload.started_ns != NOT_STARTED).any():
        columns["started_ns"] = workload.started_ns
    if workload.arrival_ns is not None:
        columns["arrival_ns"] = workload.arrival_ns
    if workload.duration_ns is not None:
        columns["duration_ns"] = workload.duration_ns
    columns |= {LABEL + key: _category(column) for key, column in workload.labels.items()}
    return pd.DataFrame(columns)


def cluster_frame(cluster: Cluster) -> pd.DataFrame:
    """See Cluster.to_frame."""
    import pandas as pd

    nowhere: Codes[str] = Codes(np.full(len(cluster), -1, dtype=np.int32), ())
    columns: dict[str, Any] = {
        "node": _name_column(cluster.names),
        "zone": _category(cluster.labels.get(ZONE, nowhere)),
    }
    columns |= dict(zip(cluster.schema.columns, cluster.allocatable, strict=True))
    columns["state"] = _category(Codes(cluster.states.astype(np.int32), STATES))
    columns["taints"] = _category(_parts.as_texts(cluster.taints, taints_text), missing="")
    images = _parts.as_texts(cluster.images, lambda images: to_json(images) if images else "")
    if (images.codes >= 0).any():
        columns["images"] = _category(images)
    columns |= {LABEL + key: _category(column) for key, column in cluster.labels.items() if key != ZONE}
    for column, usage in zip(cluster.schema.columns, cluster.foreign, strict=True):
        if usage.any():
            columns[FOREIGN + column] = usage
    columns |= {ARRAY + name: array for name, array in cluster.arrays.items()}
    return pd.DataFrame(columns)


def _name_column(names: Names) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(names.to_array(), dtype="str")


def _category(column: Codes[str], missing: str | None = None) -> pd.Categorical:
    """A categorical of the column; `missing` stands where a row has no value."""
    import pandas as pd

    codes, values = column.codes, list(column.values)
    if missing is not None and (codes < 0).any():
        codes, values = np.where(codes < 0, len(values), codes), [*values, missing]
    return pd.Categorical.from_codes(codes, categories=pd.Index(values, dtype="str"))


# -- files -----------------------------------------------------------------


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
                    frame[column] = frame[column].cat.rename_categories({"": EMPTY_LABEL})
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
    texts = {column: str for column in header if _resource_of(column) is None}
    frame: pd.DataFrame = pd.read_csv(file, dtype=texts, skip_blank_lines=False, **how)
    while len(frame) and frame.iloc[-1].isna().all():
        frame = frame.iloc[:-1]
    for column in header:
        if column.startswith(LABEL):
            frame[column] = frame[column].replace(EMPTY_LABEL, "")
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
