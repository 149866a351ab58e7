"""A cluster: nodes, what they allow, and what already runs there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from k8slab.datasets import _parts
from k8slab.datasets.taints import taints_text
from k8slab.datasets.workload import Workload
from k8slab.domain.api_objects import NOTHING, ApiObjects
from k8slab.domain.columns import Codes, Ints, Names, Taints
from k8slab.domain.devices import INDEX_LABEL, MOST_DEVICES, asked_units
from k8slab.domain.pod_spec import ZONE, Images
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

    from k8slab.domain.ports import ClockPort
    from k8slab.state.cluster_state import ClusterState



@dataclass(frozen=True, eq=False, repr=False)
class Cluster:
    """Nodes and what already runs on them. Immutable: a run works on a `new_state()`.

    schema      : the resources, by row of `allocatable`
    names       : unique node names
    allocatable : int64[R, N]  what pods may use, in milli-CPU, bytes, counts
    states      : int8[N]      code into domain.models.NODE_STATES: ready, not_ready, unknown, cordoned
    taints      : Codes[Taints], () for none
    labels      : key -> Codes[str], code -1 where a node lacks the key; the zone is the label ZONE
    foreign     : int64[R, N]  usage that no known pod explains
    bound       : the pods that already run here, or None
    bound_node  : int64[B]     the node row of each of them
    images      : Codes[Images], -1 where a node has none
    nominated   : pods that wait for a node they were promised, or None
    nominated_node : int64[W]  the node row of each of them
    objects     : namespaces, services, controllers and disruption budgets
    source      : where it comes from, in a sentence
    arrays      : name -> [N]  a user's own numbers about the nodes, for plug-ins
    """

    schema: ResourceSchema
    names: Names
    allocatable: Ints
    states: npt.NDArray[np.int8]
    taints: Codes[Taints]
    labels: Mapping[str, Codes[str]]
    foreign: Ints
    bound: Workload | None
    bound_node: Ints
    images: Codes[Images]
    nominated: Workload | None
    nominated_node: Ints
    objects: ApiObjects = NOTHING
    source: str = ""
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "allocatable", _parts.read_only(self.allocatable, np.int64))
        set_field(self, "foreign", _parts.read_only(self.foreign, np.int64))
        set_field(self, "states", _parts.read_only(self.states, np.int8))
        set_field(self, "taints", _parts.read_only_codes(self.taints))
        set_field(self, "labels", {key: _parts.read_only_codes(self.labels[key]) for key in sorted(self.labels)})
        set_field(self, "bound_node", _parts.read_only(self.bound_node, np.int64))
        set_field(self, "nominated_node", _parts.read_only(self.nominated_node, np.int64))
        set_field(self, "images", _parts.read_only_codes(self.images))
        set_field(self, "arrays", {name: _user_array(name, self.arrays[name], len(self)) for name in self.arrays})
        shape = (len(self.schema), len(self.names))
        assert self.allocatable.shape == shape, f"{self.allocatable.shape} allocatable for {shape}"
        assert self.foreign.shape == shape, f"{self.foreign.shape} foreign for {shape}"
        columns: list[Sized] = [self.states, self.taints, self.images, *self.labels.values()]
        for column in columns:
            assert len(column) == shape[1], f"a column of {len(column)} rows for {shape[1]} nodes"
        bound = 0 if self.bound is None else len(self.bound)
        assert len(self.bound_node) == bound, f"{len(self.bound_node)} node rows for {bound} bound pods"
        assert self.bound is None or self.bound.schema == self.schema, f"{self.bound.schema} != {self.schema}"

    @classmethod
    def of(
        cls,
        names: Names | Iterable[str],
        allocatable: npt.ArrayLike,
        schema: ResourceSchema | None = None,
        *,
        states: npt.ArrayLike | None = None,
        taints: Codes[Taints] | None = None,
        labels: Mapping[str, Codes[str]] | None = None,
        foreign: npt.ArrayLike | None = None,
        bound: Workload | None = None,
        bound_node: npt.ArrayLike = (),
        images: Codes[Images] | None = None,
        nominated: Workload | None = None,
        nominated_node: npt.ArrayLike = (),
        objects: ApiObjects = NOTHING,
        source: str = "",
    ) -> Cluster:
        """A cluster from arrays, the rest by default: ready nodes without taints, labels, usage or pods.

        allocatable : int64[R, N]

        >>> Cluster.of(["a", "b"], [[4000, 8000], [2**34, 2**35], [110, 110]])
        Cluster(2 nodes, 12 cores, 48 GiB)
        """
        known = names if isinstance(names, Names) else Names(names)
        count = len(known)
        shape = (len(schema or ResourceSchema()), count)
        return cls(
            schema=schema or ResourceSchema(),
            names=known,
            allocatable=np.asarray(allocatable, dtype=np.int64).reshape(shape),
            states=np.zeros(count, dtype=np.int8) if states is None else np.asarray(states, dtype=np.int8),
            taints=taints if taints is not None else Codes.constant((), count),
            labels=labels or {},
            foreign=np.zeros(shape, dtype=np.int64) if foreign is None else np.asarray(foreign, dtype=np.int64),
            bound=bound,
            bound_node=np.asarray(bound_node, dtype=np.int64),
            images=images if images is not None else Codes.none(count),
            nominated=nominated,
            nominated_node=np.asarray(nominated_node, dtype=np.int64),
            objects=objects,
            source=source,
        )

    @classmethod
    def synthetic(cls, nodes: int, zones: int = 3, seed: int = 0) -> Cluster:
        """Nodes of three shapes (16 cores/128 GiB, 32/128, 64/256), a third each, shuffled, over zones in turn.

        Same arguments, same cluster.

        >>> Cluster.synthetic(100, zones=2)
        Cluster(100 nodes in 2 zones, 3,712 cores, 16.6 TiB)
        """
        from k8slab.datasets.synthetic import synthetic_cluster

        return synthetic_cluster(nodes, zones, seed)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame | Mapping[str, Any], *, source: str = "a frame") -> Cluster:
        """A cluster from a DataFrame (or dict of columns), one row a node.

        Needs `node`, `cpu_milli` (or `cpu`: quantities such as 16 or "15500m") and `memory_bytes`
        (or `memory`: "64Gi"): what pods may use. May have `pods` (else 110), `gpu_milli`,
        `ephemeral_storage_bytes`, extended resources ("nvidia.com/gpu"), `zone`, `state`, `taints`
        ("key=value:NoSchedule,other:NoExecute"), `images` as `to_frame` writes them, `label:KEY`,
        `foreign:RESOURCE_COLUMN` and `array:NAME` columns; a UserWarning names columns that mean
        nothing here. Raises InputError with column, row and node for a missing column or amount,
        one that is negative, not whole or 2^53 and more, a name that stands twice, and a frame
        without rows.

        >>> Cluster.from_frame({"node": ["a", "b"], "cpu": [16, "7500m"], "memory": ["64Gi", "30Gi"]})
        Cluster(2 nodes, 23.5 cores, 94 GiB)
        """
        from k8slab.datasets.frames import read_cluster

        return read_cluster(frame, source)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Cluster:
        """A cluster from a .csv (also .csv.gz) or .parquet file with the columns of `from_frame`.

        What `save` wrote beside it (nodes.bound.csv, nodes.nominated.csv, nodes.objects.json) comes along.
        """
        from k8slab.datasets.frame_files import load_cluster

        return load_cluster(path)

    @classmethod
    def from_kubernetes(cls, source: str | PathLike[str] | Mapping[str, Any] | Any) -> Cluster:
        """The nodes of a dump with the pods bound or promised to them: `kubectl get nodes,pods -A -o json`.

        source : path (.json, .yaml, also .gz), open file, or the parsed object; lists of one kind
                 or of several. Namespaces, services, replication controllers, replica sets,
                 stateful sets and disruption budgets count too where they are in it. Objects of
                 other kinds, finished pods and pods on nodes that the dump lacks are passed over;
                 `.source` says how many.

        A node is as ready as its taints say, as for kube-scheduler: a Ready condition counts only
        with the taint that belongs to it.

        `nvidia.com/gpu`, `nvidia.com/mig-...` and `aliyun.com/gpu-mem` are counted as kube-scheduler counts them. A
        node's `alibabacloud.com/gpu-count` becomes the resource "gpu", 1000 milli each, which pods ask by the
        annotations gpu-milli, gpu-count and gpu-card-model of that prefix; a bound pod's GPUs are those of gpu-index
        or ALIYUN_COM_GPU_MEM_IDX.

        Raises InputError with kind, namespace/name and field of an object that can't be read.
        """
        from k8slab.datasets.kubernetes import cluster_from_kubernetes

        return cluster_from_kubernetes(source)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        has = _parts.shape_text(self.schema, self.totals())
        zones = f" in {_parts.counted(len(self.zones), 'zone')}" if self.zones else ""
        pods = f", {_parts.counted(len(self.bound), 'bound pod')}" if self.bound is not None else ""
        return f"Cluster({_parts.counted(len(self), 'node')}{zones}, {has}{pods})"

    def _repr_html_(self) -> str:
        rows = [("zones", ", ".join(self.zones[:8]) + (", ..." if len(self.zones) > 8 else "") or "none")]
        rows += [(name, f"{text} allocatable") for name, text in _parts.totals(self.schema, self.totals())]
        codes, sample = _parts.request_classes(self.allocatable.T)
        counts = np.bincount(codes, minlength=len(sample))
        top = np.argsort(-counts, kind="stable")[:4]
        shapes = [f"{counts[c]:,} × ({_parts.shape_text(self.schema, self.allocatable[:, sample[c]])})" for c in top]
        more = f"; and {len(sample) - len(top)} more" if len(sample) > len(top) else ""
        rows.append((_parts.counted(len(sample), "shape"), "; ".join(shapes) + more))
        unready = int((self.states != 0).sum())
        if unready:
            rows.append(("not schedulable", f"{_parts.counted(unready, 'node')} cordoned or not ready"))
        if self.bound is not None:
            rows.append(("bound pods", f"{len(self.bound):,}"))
        return _parts.html_table(f"Cluster: {_parts.counted(len(self), 'node')}", rows, self.source.partition("\n")[0])

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones that nodes are in, by first appearance."""
        return self.labels[ZONE].values if ZONE in self.labels else ()

    def totals(self) -> Ints:
        """int64[R]: what all nodes allow together."""
        return np.asarray(self.allocatable.sum(axis=1), dtype=np.int64)

    def requested(self) -> Ints:
        """int64[R, N]: what is taken from the start: bound pods and foreign usage."""
        taken = self.foreign.copy()
        if self.bound is not None:
            for r in range(len(self.schema)):
                np.add.at(taken[r], self.bound_node, self.bound.requests[:, r])
        return taken

    def with_arrays(self, **arrays: npt.ArrayLike) -> Cluster:
        """The same cluster with numbers (or bools) of yours, one a node, which plug-ins can ask for by name.

        Raises InputError on another length or kind.

        >>> sorted(Cluster.synthetic(3).with_arrays(watts=[200.0, 180.0, 310.0]).arrays)
        ['watts']
        """
        return replace(self, arrays={**self.arrays, **{name: np.asarray(array) for name, array in arrays.items()}})

    def without_pods(self) -> Cluster:
        """The same nodes before any pod came: nothing bound or promised, no foreign usage."""
        none = np.zeros(0, dtype=np.int64)
        bare = replace(self, bound=None, bound_node=none, nominated=None, nominated_node=none)
        return replace(bare, foreign=np.zeros_like(self.foreign))

    def with_schema(self, schema: ResourceSchema) -> Cluster:
        """The same nodes in a schema that has these resources and maybe more, of which they have 0."""
        if schema == self.schema:
            return self
        wider = schema.union(self.schema)
        return replace(
            self,
            schema=wider,
            allocatable=_parts.widened(self.allocatable, self.schema, wider),
            foreign=_parts.widened(self.foreign, self.schema, wider),
            bound=None if self.bound is None else self.bound.with_schema(wider),
            nominated=None if self.nominated is None else self.nominated.with_schema(wider),
        )

    def new_state(self, schema: ResourceSchema | None = None, *, clock: ClockPort | None = None) -> ClusterState:
        """A fresh ClusterState of these nodes, the bound pods bound and the nominated ones waiting, to run on.

        schema : resources that the run counts beside the cluster's own, such as a workload's
        """
        from k8slab.state.cluster_state import ClusterState

        here = self.with_schema(schema or self.schema)
        state = ClusterState(here.schema, clock=clock)
        node_rows = state.add_nodes(
            here.names,
            here.allocatable,
            states=here.states,
            taints=here.taints,
            labels=here.labels,
            foreign=here.foreign,
            images=here.images,
        )
        state.set_objects(here.objects)
        if here.bound is not None and len(here.bound):
            bound, nodes = here.bound.add_to(state), node_rows[here.bound_node]
            said, devices = here._said_devices(here.bound, state.node_devices.capacity)
            # force: an observed cluster may be overcommitted, after a resize or by static pods
            state.bind(bound[said], nodes[said], devices=devices, force=True)
            state.bind(bound[~said], nodes[~said], force=True)
        if here.nominated is not None and len(here.nominated):
            state.nominate(here.nominated.add_to(state), node_rows[here.nominated_node])
        return state

    def _said_devices(self, pods: Workload, capacity: Ints) -> tuple[npt.NDArray[np.bool_], Ints]:
        """bool[B] which bound pods have a label that says which devices they have, and int[., D] what of each.

        capacity : int64[N, D]. Raises InputError for a device that the node hasn't.
        """
        index = pods.labels.get(INDEX_LABEL) or Codes.none(len(pods))
        wants = asked_units(pods.schema.names, pods.requests)
        said = (index.codes >= 0) & (wants > 0)
        devices = np.zeros((int(said.sum()), capacity.shape[1]), dtype=np.int64)
        for held, row in zip(devices, np.flatnonzero(said).tolist(), strict=True):
            node, text = int(self.bound_node[row]), str(index[row])
            numbers = [int(part) if part.isdecimal() else MOST_DEVICES for part in text.split("-")]
            there = int((capacity[node] > 0).sum())
            if max(numbers) >= there:
                raise InputError(
                    f"pod {pods.names[row]!r}: label {INDEX_LABEL!r} is {text!r}; wanted devices of node "
                    f"{self.names[node]!r} joined by -, which has {there:,}, from 0"
                )
            held[numbers] = int(wants[row]) // len(numbers)
        return said, devices

    def to_frame(self) -> pd.DataFrame:
        """One row a node: node, zone, cpu_milli, memory_bytes, pods, other resources, state, taints, images
        where there are any, label:KEY, then foreign:COLUMN where there is any and array:NAME.

        Amounts are int64; zone, state, taints, images (JSON) and labels categories, missing where there is none.
        """
        from k8slab.datasets.frames import cluster_frame

        return cluster_frame(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes .csv (also .csv.gz) or .parquet, which `load` reads back to the same content_hash.

        Bound pods, nominated pods and API objects go to files beside it: nodes.csv and nodes.bound.csv,
        nodes.nominated.csv, nodes.objects.json.
        """
        from k8slab.datasets.frame_files import save_cluster

        save_cluster(self, path)

    def content_hash(self) -> str:
        """sha256 (hex) of what the cluster is: nodes, their order and all about them, but not `source`."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return _parts.content_hash(
            {
                "schema": [name.encode() for name in self.schema.names],
                "names": ["\x00".join(self.names).encode()],
                "allocatable": _parts.array_bytes(self.allocatable),
                "states": _parts.array_bytes(self.states),
                "taints": _parts.codes_bytes(_parts.as_texts(self.taints, taints_text)),
                "labels": _parts.labels_bytes(self.labels),
                "foreign": _parts.array_bytes(self.foreign),
                "bound": [] if self.bound is None else [self.bound.content_hash().encode()],
                "bound_node": _parts.array_bytes(self.bound_node),
                **self._rare_parts(),
                "arrays": (
                    chunk
                    for name in sorted(self.arrays)
                    for chunk in (name.encode(), *_parts.array_bytes(self.arrays[name]))
                ),
            }
        )

    def _rare_parts(self) -> dict[str, Iterable[bytes]]:
        """What most clusters have nothing of, and then isn't hashed."""
        parts: dict[str, Iterable[bytes]] = {}
        images = _parts.as_texts(self.images, lambda images: repr(images) if images else "")
        if (images.codes >= 0).any():
            parts["images"] = _parts.codes_bytes(images)
        if self.nominated is not None:
            parts["nominated"] = [self.nominated.content_hash().encode(), *_parts.array_bytes(self.nominated_node)]
        if self.objects != NOTHING:
            parts["objects"] = [repr(self.objects).encode()]
        return parts


def _user_array(name: str, values: npt.ArrayLike, nodes: int) -> npt.NDArray[Any]:
    """A user's array, checked, as bool, int64 or float64, read-only."""
    array = np.asarray(values)
    if array.shape != (nodes,):
        raise InputError(f"array {name!r} has shape {array.shape}; wanted one value for each of {nodes:,} nodes")
    if array.dtype == np.bool_:
        return _parts.read_only(array, np.bool_)
    if array.dtype.kind in "iu":
        return _parts.read_only(array, np.int64)
    if array.dtype.kind == "f":
        return _parts.read_only(array, np.float64)
    raise InputError(f"array {name!r} holds {array.dtype}; wanted numbers or bools (texts go into labels)")
