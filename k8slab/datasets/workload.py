"""A workload: pods in the order they arrive, and what each asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from k8slab.datasets import _parts
from k8slab.datasets.taints import tolerations_text
from k8slab.domain.columns import NEVER, NOT_STARTED, Codes, Codes32, Ints, Names, PodColumns, Tolerations
from k8slab.domain.pod_spec import PLAIN, PodSpec
from k8slab.domain.resources import PODS, ResourceSchema
from k8slab.errors import InputError

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

    from k8slab.datasets.cluster import Cluster
    from k8slab.state.cluster_state import ClusterState


@dataclass(frozen=True, eq=False, repr=False)
class Workload:
    """Pods in the order they arrive. Immutable: running it never changes it.

    schema      : the resources, by column of `requests`
    names       : unique pod names
    requests    : int64[P, R]  what each pod asks, in milli-CPU, bytes, counts; one "pods" each
    namespaces  : Codes[str]
    tolerations : Codes[Tolerations], () for none
    priority    : int32[P]
    labels      : key -> Codes[str], code -1 where a pod lacks the key
    specs       : Codes[PodSpec]  what else they say about where they may run; -1 nothing
    leaving     : int8[P]      code into domain.columns.LEAVING: being deleted, and why
    started_ns  : int64[P]     when they began to run, since 1970; NOT_STARTED if they haven't
    source      : where it comes from, in a sentence
    arrival_ns  : int64[P]     when each arrives, since the beginning; None where that isn't known
    duration_ns : int64[P]     how long each runs, NEVER for on and on; None where that isn't known
    """

    schema: ResourceSchema
    names: Names
    requests: Ints
    namespaces: Codes[str]
    tolerations: Codes[Tolerations]
    priority: Codes32
    labels: Mapping[str, Codes[str]]
    specs: Codes[PodSpec]
    leaving: npt.NDArray[np.int8]
    started_ns: Ints
    source: str = ""
    arrival_ns: Ints | None = None
    duration_ns: Ints | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "requests", _parts.read_only(self.requests, np.int64))
        set_field(self, "priority", _parts.read_only(self.priority, np.int32))
        set_field(self, "namespaces", _parts.read_only_codes(self.namespaces))
        set_field(self, "tolerations", _parts.read_only_codes(self.tolerations))
        set_field(self, "specs", _parts.read_only_codes(self.specs))
        set_field(self, "leaving", _parts.read_only(self.leaving, np.int8))
        set_field(self, "started_ns", _parts.read_only(self.started_ns, np.int64))
        set_field(self, "labels", {key: _parts.read_only_codes(self.labels[key]) for key in sorted(self.labels)})
        pods = len(self.names)
        assert self.requests.shape == (pods, len(self.schema)), f"{self.requests.shape} for {pods} pods"
        for pod, resource in np.argwhere(self.requests < 0)[:1].tolist():
            raise InputError(
                f"pod {self.names[pod]!r}: {self.schema.columns[resource]} is {self.requests[pod, resource]:,}; "
                "wanted 0 or more"
            )
        for name in ("arrival_ns", "duration_ns"):
            self._check_times(name)
        columns: list[Sized] = [self.namespaces, self.tolerations, self.priority, *self.labels.values()]
        columns += [self.specs, self.leaving, self.started_ns]
        for column in columns:
            assert len(column) == pods, f"a column of {len(column)} rows for {pods} pods"

    def _check_times(self, name: str) -> None:
        given = getattr(self, name)
        if given is None:
            return
        times = _parts.read_only(given, np.int64)
        object.__setattr__(self, name, times)
        if times.shape != (len(self.names),):
            raise InputError(f"{name} has shape {times.shape}; wanted one for each of {len(self.names):,} pods")
        for pod in np.flatnonzero(times < 0)[:1].tolist():
            raise InputError(f"pod {self.names[pod]!r}: {name} is {times[pod]:,}; wanted 0 or more")

    @classmethod
    def of(
        cls,
        names: Names | Iterable[str],
        requests: npt.ArrayLike,
        schema: ResourceSchema | None = None,
        *,
        namespaces: Codes[str] | None = None,
        tolerations: Codes[Tolerations] | None = None,
        priority: npt.ArrayLike | None = None,
        labels: Mapping[str, Codes[str]] | None = None,
        specs: Codes[PodSpec] | None = None,
        leaving: npt.ArrayLike | None = None,
        started_ns: npt.ArrayLike | None = None,
        source: str = "",
        arrival_ns: npt.ArrayLike | None = None,
        duration_ns: npt.ArrayLike | None = None,
    ) -> Workload:
        """A workload from arrays, the rest by default: namespace "default", priority 0, no tolerations or labels.

        >>> Workload.of(["web", "db"], [[500, 2**30, 1], [2000, 2**33, 1]])
        Workload(2 pods, 2 distinct requests, 2.5 cores, 9 GiB)
        """
        known = names if isinstance(names, Names) else Names(names)
        count = len(known)
        return cls(
            schema=schema or ResourceSchema(),
            names=known,
            requests=np.asarray(requests, dtype=np.int64).reshape(count, len(schema or ResourceSchema())),
            namespaces=namespaces if namespaces is not None else Codes.constant("default", count),
            tolerations=tolerations if tolerations is not None else Codes.constant((), count),
            priority=np.zeros(count, dtype=np.int32) if priority is None else np.asarray(priority, dtype=np.int32),
            labels=labels or {},
            specs=specs if specs is not None else Codes.none(count),
            leaving=np.zeros(count, dtype=np.int8) if leaving is None else np.asarray(leaving, dtype=np.int8),
            started_ns=np.full(count, NOT_STARTED) if started_ns is None else np.asarray(started_ns, dtype=np.int64),
            source=source,
            arrival_ns=None if arrival_ns is None else np.asarray(arrival_ns, dtype=np.int64),
            duration_ns=None if duration_ns is None else np.asarray(duration_ns, dtype=np.int64),
        )

    @classmethod
    def synthetic(cls, pods: int, classes: int = 100, seed: int = 0, cluster: Cluster | None = None) -> Workload:
        """Pods of `classes` distinct requests, Zipf-distributed and interleaved, that fill a cluster to about 80 %.

        Sized for `cluster` (its ready, untainted nodes and what is free there), or for
        Cluster.synthetic of a tenth as many nodes: all pods fit, under any policy that spreads or
        packs, and cpu, the tighter resource, ends near 80 % requested. With fewer than five or so
        pods a node requests stop at a seventh of the largest node, and the cluster stays emptier.
        Raises InputError if the cluster has no such room. Same arguments, same workload.

        >>> Workload.synthetic(1000, classes=20, seed=1)
        Workload(1,000 pods, 20 distinct requests, 2,974.9 cores, 11.6 TiB)
        """
        from k8slab.datasets.synthetic import synthetic_workload

        return synthetic_workload(pods, classes, seed, cluster)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame | Mapping[str, Any], *, source: str = "a frame") -> Workload:
        """A workload from a DataFrame (or dict of columns), one row a pod, in arrival order.

        Needs `pod`, `cpu_milli` (or `cpu`: quantities such as 2 or "500m") and `memory_bytes` (or
        `memory`: "1.5Gi"). May have `gpu_milli`, `ephemeral_storage_bytes`, extended resources
        ("nvidia.com/gpu"), `namespace`, `priority`, `tolerations` ("key=value:Effect,other:Effect"),
        `spec`, `leaving`, `started_ns`, `arrival_ns` and `duration_ns` as `to_frame` writes them, and
        `label:KEY` columns; a UserWarning names columns that mean nothing here. Raises InputError with column, row and
        pod for a missing column or amount, one that is negative, not whole or 2^53 and more, a
        name that stands twice, and a frame without rows.

        >>> Workload.from_frame({"pod": ["web", "db"], "cpu": ["500m", 2], "memory": ["1Gi", "8Gi"]})
        Workload(2 pods, 2 distinct requests, 2.5 cores, 9 GiB)
        """
        from k8slab.datasets.frames import read_workload

        return read_workload(frame, source)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Workload:
        """A workload from a .csv (also .csv.gz) or .parquet file with the columns of `from_frame`."""
        from k8slab.datasets.frame_files import load_workload

        return load_workload(path)

    @classmethod
    def from_kubernetes(
        cls,
        source: str | PathLike[str] | Mapping[str, Any] | Any,
        which: Literal["pending", "all", "given"] = "pending",
    ) -> Workload:
        """The pods of a dump (`kubectl get pods -A -o json`), oldest first.

        source : path (.json, .yaml, also .gz), open file, or the parsed object
        which  : "pending", the pods that wait for a node; "all" that aren't finished, as if none
                 were placed yet; or "given", the same in the dump's order, where the node that a
                 pod names is a wish

        Raises InputError with kind, namespace/name and field of an object that can't be read.
        """
        from k8slab.datasets.kubernetes import workload_from_kubernetes

        return workload_from_kubernetes(source, which)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        text = _parts.shape_text(self.schema, self.totals())
        distinct = _parts.counted(len(self._classes[1]), "distinct request")
        return f"Workload({_parts.counted(len(self), 'pod')}, {distinct}, {text})"

    def _repr_html_(self) -> str:
        rows = [("namespaces", f"{len(np.unique(self.namespaces.codes)):,}")]
        asked = _parts.totals(self.schema, self.totals())
        rows += [(name, f"{text} requested") for name, text in asked if name != PODS]
        codes, sample = self._classes
        counts = np.bincount(codes, minlength=len(sample))
        top = np.argsort(-counts, kind="stable")[:3]
        shapes = [f"{counts[c]:,} × ({_parts.shape_text(self.schema, self.requests[sample[c]])})" for c in top]
        rows += [("most frequent requests", "; ".join(shapes) or "none"), ("distinct requests", f"{len(sample):,}")]
        return _parts.html_table(f"Workload: {_parts.counted(len(self), 'pod')}", rows, self.source.partition("\n")[0])

    def totals(self) -> Ints:
        """int64[R]: what all pods ask together."""
        return np.asarray(self.requests.sum(axis=0), dtype=np.int64)

    def take(self, rows: npt.ArrayLike, names: Names | None = None) -> Workload:
        """The pods of these rows (numbers or a mask), in this order.

        A row may stand more than once, as in a sample with replacement. Names stay unique: what
        comes of a pod for the second time is called "name/2", or by the next number that is free;
        unless other names are given.

        >>> list(Workload.synthetic(5).take([4, 0]).names)
        ['pod-4', 'pod-0']
        >>> list(Workload.synthetic(5).take([4, 0, 4, 4]).names)
        ['pod-4', 'pod-0', 'pod-4/2', 'pod-4/3']
        """
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        index = index.astype(np.int64)
        return replace(
            self,
            names=_parts.told_apart(self.names.take(index)) if names is None else names,
            requests=self.requests[index],
            namespaces=self.namespaces.take(index),
            tolerations=self.tolerations.take(index),
            priority=self.priority[index],
            labels={key: column.take(index) for key, column in self.labels.items()},
            specs=self.specs.take(index),
            leaving=self.leaving[index],
            started_ns=self.started_ns[index],
            arrival_ns=None if self.arrival_ns is None else self.arrival_ns[index],
            duration_ns=None if self.duration_ns is None else self.duration_ns[index],
        )

    def with_times(self, arrival_ns: npt.ArrayLike, duration_ns: npt.ArrayLike | None = None) -> Workload:
        """The same pods with when each arrives and how long it runs; on and on if that isn't said.

        >>> Workload.synthetic(3).with_times([0, 5, 5]).arrival_ns.tolist()
        [0, 5, 5]
        """
        runs = np.full(len(self), NEVER) if duration_ns is None else np.asarray(duration_ns)
        return replace(self, arrival_ns=np.asarray(arrival_ns), duration_ns=runs)

    def with_schema(self, schema: ResourceSchema) -> Workload:
        """The same pods in a schema that has these resources and maybe more, of which they ask 0."""
        if schema == self.schema:
            return self
        wider = schema.union(self.schema)
        requests = np.zeros((len(self), len(wider)), dtype=np.int64)
        requests[:, self.schema.rows_in(wider)] = self.requests
        return replace(self, schema=wider, requests=_parts.sealed(requests))

    def columns(self, schema: ResourceSchema, order: Ints | None = None) -> PodColumns:
        """What a policy sees of the pods, over the resources of a schema that has theirs; in the order of arrival.

        order : int64[P]  rows in the order they arrive; None for as they stand
        """
        work = self.with_schema(schema)
        rows = np.arange(len(self)) if order is None else order
        assert work.schema == schema, f"{schema.names} lacks some of {self.schema.names}"
        work = work if order is None else work.take(order)
        return PodColumns(
            schema=schema,
            names=work.names,
            requests=work.requests,
            rows=rows,
            namespaces=work.namespaces,
            tolerations=work.tolerations,
            priority=work.priority,
            labels=work.labels,
            specs=work.specs,
            leaving=work.leaving,
            started_ns=work.started_ns,
        )

    def add_to(self, state: ClusterState) -> Ints:
        """Add the pods to a state of the same resources, where they wait; gives their rows there.

        Raises StateConflict for a name that a pod there has.
        """
        return state.add_pods(
            self.names,
            self.with_schema(state.schema).requests,
            namespaces=self.namespaces,
            tolerations=self.tolerations,
            priority=self.priority,
            labels=self.labels,
            specs=self.specs,
            leaving=self.leaving,
            started_ns=self.started_ns,
        )

    def classes(self) -> pd.DataFrame:
        """The distinct requests, most frequent first: resource columns, `count` (pods), `share` (of all pods, 0..1)."""
        import pandas as pd

        codes, sample = self._classes
        counts = np.bincount(codes, minlength=len(sample))
        order = np.argsort(-counts, kind="stable")
        columns = {
            column: self.requests[sample[order], r]
            for r, column in enumerate(self.schema.columns)
            if self.schema.names[r] != PODS
        }
        return pd.DataFrame({**columns, "count": counts[order], "share": counts[order] / max(len(self), 1)})

    def to_frame(self) -> pd.DataFrame:
        """One row a pod in arrival order: pod, cpu_milli, memory_bytes, other resources, namespace, priority,
        tolerations, then spec, leaving, started_ns, arrival_ns and duration_ns where any pod has them, label:KEY.

        Amounts are int64, priority int32, namespace, tolerations and labels categories, missing where there is none;
        spec is JSON.
        """
        from k8slab.datasets.frames import workload_frame

        return workload_frame(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes .csv (also .csv.gz) or .parquet, which `load` reads back to the same content_hash."""
        from k8slab.datasets.frame_files import save_frame

        save_frame(self.to_frame(), path, "workload")

    def content_hash(self) -> str:
        """sha256 (hex) of what the pods are: names, order, requests and the rest, but not `source`."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return _parts.content_hash(
            {
                "schema": [name.encode() for name in self.schema.names],
                "names": ["\x00".join(self.names).encode()],
                "requests": _parts.array_bytes(self.requests),
                "namespaces": _parts.codes_bytes(self.namespaces),
                "tolerations": _parts.codes_bytes(_parts.as_texts(self.tolerations, tolerations_text)),
                "priority": _parts.array_bytes(self.priority),
                "labels": _parts.labels_bytes(self.labels),
                **self._rare_parts(),
            }
        )

    def _rare_parts(self) -> dict[str, Iterable[bytes]]:
        """What most workloads have nothing of, and then isn't hashed."""
        parts: dict[str, Iterable[bytes]] = {}
        specs = _parts.as_texts(self.specs, lambda spec: "" if spec == PLAIN else repr(spec))
        if (specs.codes >= 0).any():
            parts["specs"] = _parts.codes_bytes(specs)
        if self.leaving.any():
            parts["leaving"] = _parts.array_bytes(self.leaving)
        if (self.started_ns != NOT_STARTED).any():
            parts["started_ns"] = _parts.array_bytes(self.started_ns)
        for name, times in ("arrival_ns", self.arrival_ns), ("duration_ns", self.duration_ns):
            if times is not None:
                parts[name] = _parts.array_bytes(times)
        return parts

    @cached_property
    def _classes(self) -> tuple[Ints, Ints]:
        return _parts.request_classes(self.requests)


def checked_count(what: str, count: int, least: int = 1) -> int:
    """The count, if it is one; else an InputError that says what was wanted."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
        raise InputError(f"{what}={count!r}: wanted a whole number, {least} or more")
    return int(count)
