"""Columns of many things: the arrays that kernels, policies and frames share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from k8slab.domain.api_objects import NOTHING, ApiObjects
from k8slab.domain.devices import Devices, Held
from k8slab.domain.pod_spec import PLAIN, Images, PodSpec
from k8slab.domain.resources import ResourceSchema

V = TypeVar("V", bound=Hashable)
Ints = npt.NDArray[np.int64]
Codes32 = npt.NDArray[np.int32]

# What PodColumns.leaving holds: the pod stays, is being deleted, or is being deleted to make room for another.
LEAVING: Final = ("no", "deleted", "preempted")
# An instant that doesn't come.
NEVER: Final = 2**63 - 1
NOT_STARTED: Final = NEVER


@dataclass(frozen=True, eq=False)
class Codes(Generic[V]):
    """A column of few distinct values: `values[codes[row]]`, code -1 where a row has none.

    codes  : int32[N]
    values : the distinct values, in order of first appearance
    """

    codes: Codes32
    values: tuple[V, ...]

    @classmethod
    def of(cls, items: Iterable[V | None]) -> Codes[V]:
        """Intern a sequence; None becomes code -1."""
        index: dict[V, int] = {}
        codes = [-1 if item is None else index.setdefault(item, len(index)) for item in items]
        return cls(np.array(codes, dtype=np.int32), tuple(index))

    @classmethod
    def none(cls, count: int) -> Codes[V]:
        """No value on any row."""
        return cls(np.full(count, -1, dtype=np.int32), ())

    @classmethod
    def constant(cls, value: V, count: int) -> Codes[V]:
        """The same value on every row."""
        return cls(np.zeros(count, dtype=np.int32), (value,))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> V | None:
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]

    def take(self, rows: npt.NDArray[Any]) -> Codes[V]:
        """The column of these rows, in this order."""
        return Codes(self.codes[rows], self.values)

    def joined(self, other: Codes[V]) -> Codes[V]:
        """These rows and then the other's, with one numbering of the values."""
        index = {value: code for code, value in enumerate(self.values)}
        assert len(index) == len(self.values), f"equal values have different codes: {self.values}"
        remap = [index.setdefault(value, len(index)) for value in other.values]
        codes = np.array([*remap, -1], dtype=np.int32)[other.codes]
        return Codes(np.concatenate([self.codes, codes]), tuple(index))

    def to_array(self) -> npt.NDArray[np.object_]:
        """object[N] of the values, None where there is none."""
        return np.array([*self.values, None], dtype=object)[self.codes]

    def equals(self, value: V) -> npt.NDArray[np.bool_]:
        """bool[N]: which rows have this value."""
        if value not in self.values:
            return np.zeros(len(self.codes), dtype=np.bool_)
        return np.asarray(self.codes == self.values.index(value))


class Names(Sequence[str]):
    """Unique names by row: a list, or "prefix-0", "prefix-1", ... made when asked for.

    A million generated names cost nothing until someone looks at them.
    """

    def __init__(self, names: Iterable[str] | None = None, *, prefix: str = "", count: int = 0) -> None:
        self._listed: list[str] | None = None if names is None else list(names)
        self._prefix = prefix
        self._count = count if self._listed is None else len(self._listed)
        self._picked: tuple[Names, npt.NDArray[Any]] | None = None
        self._rows: dict[str, int] | None = None

    @classmethod
    def beginning(cls, listed: list[str]) -> Names:
        """The names that a list has now: it isn't copied, and may only be added to."""
        names = cls(count=len(listed))
        names._listed = listed
        return names

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(self._count))]
        if not -self._count <= row < self._count:
            raise IndexError(row)
        if self._listed is not None:
            return self._listed[row % self._count]
        if self._picked is not None:
            return self._picked[0][int(self._picked[1][row])]
        return f"{self._prefix}{row % self._count}"

    def __iter__(self) -> Iterator[str]:
        if self._listed is not None:
            return islice(self._listed, self._count)
        if self._picked is not None:
            return (self._picked[0][row] for row in self._picked[1].tolist())
        return (f"{self._prefix}{row}" for row in range(self._count))

    def row(self, name: str) -> int:
        """The row of a name, -1 if no row has it."""
        if self._listed is None and self._picked is None:
            digits = name[len(self._prefix) :]
            if name.startswith(self._prefix) and digits.isdecimal():
                row = int(digits)
                return row if row < self._count and str(row) == digits else -1
            return -1
        if self._rows is None:
            self._rows = {listed: row for row, listed in enumerate(self)}
        return self._rows.get(name, -1)

    def repeated(self) -> str | None:
        """A name that stands on more than one row, None if there is none."""
        if self._listed is None:
            if self._picked is None:
                return None
            base, rows = self._picked
            if len(np.unique(rows)) == len(rows) and base.repeated() is None:
                return None
        return next((name for name, count in Counter(self).items() if count > 1), None)

    def __repr__(self) -> str:
        return f"Names({', '.join(self[:3])}{', ...' if len(self) > 3 else ''}; {len(self):,} in all)"

    def take(self, rows: npt.NDArray[Any]) -> Names:
        """The names of these rows, in this order."""
        picked = Names(count=len(rows))
        picked._picked = (self, np.asarray(rows))
        return picked

    def to_array(self) -> npt.NDArray[np.object_]:
        """object[N] of the names."""
        out = np.empty(self._count, dtype=object)
        out[:] = list(self)
        return out


@dataclass(frozen=True)
class Taint:
    """A node's taint: pods stay away unless they tolerate it."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    @property
    def hard(self) -> bool:
        """Whether it keeps pods away, and isn't just disliked."""
        return self.effect in ("NoSchedule", "NoExecute")

    def __str__(self) -> str:
        return f"{{{self.key}: {self.value}}}"


@dataclass(frozen=True)
class Toleration:
    """A pod's toleration. Empty key or effect stands for any; operator Exists ignores the value.

    seconds : how long a NoExecute taint is tolerated once it is there; None is for ever
    """

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    seconds: int | None = None

    def tolerates(self, taint: Taint) -> bool:
        """Kubernetes' rule: effect, key and value match, where an empty one matches all."""
        return (
            self.effect in ("", taint.effect)
            and self.key in ("", taint.key)
            and (self.operator == "Exists" or (self.operator in ("", "Equal") and self.value == taint.value))
        )


Taints = tuple[Taint, ...]
Tolerations = tuple[Toleration, ...]


@dataclass(frozen=True, eq=False)
class PodColumns:
    """What a policy may know of pods, in this order: of those that wait, or of those that run.

    requests    : int64[P, R]  what they need room for; where they count otherwise their spec says so
    rows        : int64[P]     each pod's number in the run; seeds its random draws
    namespaces  : Codes[str]
    tolerations : Codes[Tolerations]
    priority    : int32[P]
    labels      : key -> Codes[str]
    specs       : Codes[PodSpec]  what else they say about where they may run; -1 nothing
    leaving     : int8[P]      code into LEAVING: whether they are being deleted, and why
    started_ns  : int64[P]     when they began to run, since 1970; NOT_STARTED if they haven't
    """

    schema: ResourceSchema
    names: Names
    requests: Ints
    rows: Ints
    namespaces: Codes[str]
    tolerations: Codes[Tolerations]
    priority: Codes32
    labels: Mapping[str, Codes[str]]
    specs: Codes[PodSpec]
    leaving: npt.NDArray[np.int8]
    started_ns: Ints

    def __len__(self) -> int:
        return int(self.requests.shape[0])

    @classmethod
    def none(cls, schema: ResourceSchema) -> PodColumns:
        """No pods."""
        rows = np.zeros(0, dtype=np.int64)
        return cls(
            schema=schema,
            names=Names([]),
            requests=np.zeros((0, len(schema)), dtype=np.int64),
            rows=rows,
            namespaces=Codes.none(0),
            tolerations=Codes.none(0),
            priority=np.zeros(0, dtype=np.int32),
            labels={},
            specs=Codes.none(0),
            leaving=np.zeros(0, dtype=np.int8),
            started_ns=rows,
        )

    def spec(self, pod: int) -> PodSpec:
        """What a pod says about where it may run."""
        return self.specs[pod] or PLAIN

    def labels_of(self, pod: int) -> dict[str, str]:
        """The labels of one pod."""
        found = {key: column[pod] for key, column in self.labels.items()}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, eq=False)
class PlacedPods:
    """Pods and the node of each: those that run, or those that were promised a node.

    node_rows : int64[P]
    devices   : what they hold of their node's devices; None where nobody says
    """

    pods: PodColumns
    node_rows: Ints
    devices: Held | None = None

    @classmethod
    def none(cls, schema: ResourceSchema) -> PlacedPods:
        """No pods."""
        return cls(PodColumns.none(schema), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class NodeColumns:
    """What a policy may know of the cluster: views of the state's arrays, not to be written.

    allocatable : int64[R, N]  what pods may use
    requested   : int64[R, N]  bound pods and foreign usage
    alive       : bool[N]      not removed
    state       : int8[N]      code into domain.models.NODE_STATES
    taints      : Codes[Taints]
    labels      : key -> Codes[str]
    arrays      : name -> any per-node array a user attached, [N]
    images      : Codes[Images], -1 where a node has none
    bound       : gives the pods that run, read when asked for; None where nobody has them
    bound_specs : what any of those may say; () if all are plain
    nominated   : pods that wait for a node they were promised, or None
    objects     : namespaces, services, controllers and budgets
    devices     : capacity, use and slots of the nodes' devices; None where nobody says
    """

    schema: ResourceSchema
    names: Names
    allocatable: Ints
    requested: Ints
    alive: npt.NDArray[np.bool_]
    state: npt.NDArray[np.int8]
    taints: Codes[Taints]
    labels: Mapping[str, Codes[str]]
    arrays: Mapping[str, npt.NDArray[Any]]
    images: Codes[Images]
    bound: Callable[[], PlacedPods] | None = None
    bound_specs: tuple[PodSpec, ...] = ()
    nominated: PlacedPods | None = None
    objects: ApiObjects = NOTHING
    devices: Devices | None = None

    def __len__(self) -> int:
        return int(self.allocatable.shape[1])

    def only(self, node_row: int) -> NodeColumns:
        """The columns of one node: views, so that what is written to these arrays shows there."""
        return self._part(slice(node_row, node_row + 1), np.array([node_row]))

    def take(self, node_rows: Ints) -> NodeColumns:
        """The columns of these nodes, in this order."""
        return self._part(node_rows, node_rows)

    def _part(self, which: slice | Ints, node_rows: Ints) -> NodeColumns:
        return replace(
            self,
            names=self.names.take(node_rows),
            allocatable=self.allocatable[:, which],
            requested=self.requested[:, which],
            alive=self.alive[which],
            state=self.state[which],
            taints=Codes(self.taints.codes[which], self.taints.values),
            labels={key: Codes(column.codes[which], column.values) for key, column in self.labels.items()},
            arrays={name: array[which] for name, array in self.arrays.items()},
            images=Codes(self.images.codes[which], self.images.values),
            devices=None if self.devices is None else Devices(*(column[which] for column in self.devices)),
        )

    @property
    def schedulable(self) -> npt.NDArray[np.bool_]:
        """bool[N]: ready, not cordoned, not removed."""
        return np.asarray(self.alive & (self.state == 0))
