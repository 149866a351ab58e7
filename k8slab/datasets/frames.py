"""Clusters and workloads as pandas frames, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from k8slab.datasets import _parts
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.frame_reader import ARRAY, FOREIGN, LABEL, FrameReader, resource_named_by
from k8slab.datasets.json_values import to_json
from k8slab.datasets.taints import (
    TAINTS_WANTED,
    TOLERATIONS_WANTED,
    parse_taints,
    parse_tolerations,
    taints_text,
    tolerations_text,
)
from k8slab.datasets.workload import Workload
from k8slab.domain.columns import LEAVING, NOT_STARTED, Codes, Names
from k8slab.domain.models import NODE_STATES
from k8slab.domain.pod_spec import PLAIN, ZONE, Images, PodSpec
from k8slab.domain.resources import PODS, ResourceSchema
from k8slab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_PODS: Final = 110  # as the kubelet's --max-pods
STATES: Final = tuple(state.value for state in NODE_STATES)
SPEC_WANTED: Final = "a pod's spec as `Workload.to_frame` writes it"
IMAGES_WANTED: Final = "a node's images as `Cluster.to_frame` writes them"


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
    resource = resource_named_by(column)
    if resource is None:
        raise InputError(f"{reader.origin}: column {column!r} names no resource; wanted such as 'foreign:cpu_milli'")
    return resource


def _state_code(text: str) -> int:
    return STATES.index(text) if text else 0


def _leaving_code(text: str) -> int:
    return LEAVING.index(text) if text else 0


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
