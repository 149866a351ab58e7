"""Columns that grow: the storage below ClusterState."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Names

V = TypeVar("V", bound=Hashable)


class Column:
    """An array whose last axis grows by doubling. `view` is the part in use."""

    def __init__(self, dtype: npt.DTypeLike, fill: int = 0, leading: tuple[int, ...] = ()) -> None:
        self._data: npt.NDArray[Any] = np.full((*leading, 0), fill, dtype=dtype)
        self._fill = fill
        self._length = 0

    @property
    def view(self) -> npt.NDArray[Any]:
        return self._data[..., : self._length]

    def extend(self, count: int, values: npt.ArrayLike | None = None) -> None:
        """Add `count` rows of these values, or of the fill value."""
        start, stop = self._length, self._length + count
        if stop > self._data.shape[-1]:
            # The first batch fits exactly, so that its view is contiguous.
            capacity = stop if start == 0 else max(stop, 2 * self._data.shape[-1], 8)
            grown = np.full((*self._data.shape[:-1], capacity), self._fill, dtype=self._data.dtype)
            grown[..., :start] = self.view
            self._data = grown
        if values is not None:
            self._data[..., start:stop] = values
        self._length = stop


class Rows2D:
    """A table whose first axis grows by doubling: one row a pod."""

    def __init__(self, width: int) -> None:
        self._data: npt.NDArray[np.int64] = np.zeros((0, width), dtype=np.int64)
        self._length = 0

    @property
    def view(self) -> npt.NDArray[np.int64]:
        return self._data[: self._length]

    def extend(self, values: npt.NDArray[np.int64]) -> None:
        """Add these rows."""
        start, stop = self._length, self._length + len(values)
        if stop > len(self._data):
            grown = np.zeros((max(stop, 2 * len(self._data)), self._data.shape[1]), dtype=np.int64)
            grown[:start] = self.view
            self._data = grown
        self._data[start:stop] = values
        self._length = stop


class Grid:
    """A table that grows both ways, 0 where nothing was written. `view` is the part in use."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._data: npt.NDArray[Any] = np.zeros((0, 0), dtype=dtype)
        self._length = 0

    @property
    def view(self) -> npt.NDArray[Any]:
        return self._data[: self._length]

    @property
    def width(self) -> int:
        return int(self._data.shape[1])

    def widen(self, width: int) -> None:
        """At least so many columns."""
        if width > self.width:
            self._data = np.pad(self._data, ((0, 0), (0, width - self.width)))

    def extend(self, count: int) -> None:
        """Add so many rows of zeros."""
        self._length += count
        if self._length > len(self._data):
            more = max(self._length, 2 * len(self._data)) - len(self._data)
            self._data = np.pad(self._data, ((0, more), (0, 0)))


class CodeColumn(Generic[V]):
    """Codes that grow: values interned as they come, -1 where a row has none."""

    def __init__(self, rows: int = 0) -> None:
        self._codes = Column(np.int32, fill=-1)
        self._codes.extend(rows)
        self._index: dict[V, int] = {}
        self._values: tuple[V, ...] = ()

    def _intern(self, value: V) -> int:
        return self._index.setdefault(value, len(self._index))

    def extend(self, count: int, codes: Codes[V] | None = None) -> None:
        """Add `count` rows, without a value where no codes are given."""
        if codes is None:
            self._codes.extend(count)
            return
        remap = np.array([*(self._intern(value) for value in codes.values), -1], dtype=np.int32)
        self._codes.extend(count, remap[codes.codes])

    def set(self, row: int, value: V | None) -> None:
        self._codes.view[row] = -1 if value is None else self._intern(value)

    def get(self) -> Codes[V]:
        # Values only come: with a label that names each of thousands of nodes, telling them anew takes longer than all
        # that is done with them.
        if len(self._values) != len(self._index):
            self._values = tuple(self._index)
        return Codes(self._codes.view, self._values)


class LabelTable:
    """One CodeColumn a label key, all of the same length."""

    def __init__(self) -> None:
        self._columns: dict[str, CodeColumn[str]] = {}
        self._length = 0

    def _column(self, key: str) -> CodeColumn[str]:
        if key not in self._columns:
            self._columns[key] = CodeColumn(self._length)
        return self._columns[key]

    def extend(self, count: int, labels: Mapping[str, Codes[str]] | None) -> None:
        labels = labels or {}
        for key in labels:
            self._column(key)
        for key, column in self._columns.items():
            column.extend(count, labels.get(key))
        self._length += count

    def set(self, row: int, labels: Mapping[str, str]) -> None:
        """These labels and no others on this row."""
        for key in labels:
            self._column(key)
        for key, column in self._columns.items():
            column.set(row, labels.get(key))

    def get(self) -> Mapping[str, Codes[str]]:
        return _Labels(dict(self._columns), self._length)

    def get_one(self, key: str) -> Codes[str] | None:
        """One label, None if no row ever had it."""
        return self._columns[key].get() if key in self._columns else None


class _Labels(Mapping[str, Codes[str]]):
    """A table's labels; a column is looked at when it is asked for, as one that names each node is long."""

    def __init__(self, columns: dict[str, CodeColumn[str]], length: int) -> None:
        self._columns = columns
        self._length = length

    def __getitem__(self, key: str) -> Codes[str]:
        column = self._columns[key].get()
        return Codes(column.codes[: self._length], column.values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class NameTable:
    """Names by row, and the newest row of a name.

    The first batch may be generated names, which stay unmade until asked for.
    """

    def __init__(self) -> None:
        self._first = Names([])
        self._later: list[str] = []
        self._listed: list[str] = []
        self._all = Names([])
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._first) + len(self._later)

    def __getitem__(self, row: int) -> str:
        first = len(self._first)
        return self._first[row] if row < first else self._later[row - first]

    def extend(self, names: Names) -> None:
        if not len(self):
            self._first = names
            return
        for row, name in enumerate(names, start=len(self)):
            self._rows[name] = row
        self._later.extend(names)

    def row(self, name: str) -> int:
        """The newest row that got this name, -1 if none did."""
        return self._rows.get(name, self._first.row(name))

    def clashes(self, names: Names) -> Iterable[tuple[str, int]]:
        """(name, row) of those names that a row already has."""
        if not len(self):
            return []
        return [(name, row) for name in names if (row := self.row(name)) >= 0]

    def take(self, rows: npt.NDArray[Any]) -> Names:
        """The names of these rows, made when asked for while they can be."""
        return Names([self[row] for row in rows.tolist()]) if self._later else self._first.take(rows)

    def snapshot(self) -> Names:
        """All names; made anew only when names came."""
        if not self._later:
            return self._first
        if len(self._all) != len(self):
            # Thousands of nodes come one by one: the names before are listed once.
            listed = self._listed = self._listed or list(self._first)
            listed += self._later[len(listed) - len(self._first) :]
            self._all = Names.beginning(listed)
        return self._all
