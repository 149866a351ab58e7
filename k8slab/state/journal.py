"""What happened to the cluster, in order: the columns every history is read from."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.ports import Change

if TYPE_CHECKING:
    import pandas as pd

VERBS: Final = (
    "NODE_ADDED",
    "NODE_REMOVED",
    "NODE_STATE",
    "NODE_UPDATED",
    "POD_ADDED",
    "BOUND",
    "UNBOUND",
    "PHASE",
    "FINISHED",
    "POD_REMOVED",
    "POD_UPDATED",
    "NOMINATED",
    "LEAVING",
    "READY",
    "RESTARTED",
)
_FEW: Final = 256
_CODE: Final = {verb: code for code, verb in enumerate(VERBS)}
Ints = npt.NDArray[np.int64]
Rows = int | Ints
_FIELDS: Final = (("time_ns", np.int64), ("verb", np.int8), ("pod_row", np.int64), ("node_row", np.int64),
                  ("value", np.int64))  # fmt: skip


class Journal:
    """An append-only record of verbs, as columns: 33 bytes a row; a batch of a million is one entry.

    time_ns  : int64  when, by the state's clock
    verb     : int8   code into VERBS
    pod_row  : int64  -1 where no pod is meant
    node_row : int64  -1 where no node is meant
    value    : int64  the new code of NODE_STATE, PHASE, FINISHED and LEAVING, READY's and RESTARTED's instant; of
                      BOUND the bits of the devices that the pod got; else 0
    """

    def __init__(self) -> None:
        self._data: list[npt.NDArray[Any]] = [np.empty(0, dtype=dtype) for _, dtype in _FIELDS]
        self._length = 0
        self._first = np.empty(0, dtype=np.int64)
        self._entries = 0
        # The changes that were read last, and the number of the first.
        self._told: tuple[int, list[Change]] = 0, []

    def __len__(self) -> int:
        return self._length

    @property
    def entries(self) -> int:
        """How many verbs were recorded, a batch counting as one."""
        return self._entries

    def append(self, time_ns: int, verb: str, pod_rows: Rows = -1, node_rows: Rows = -1, value: Rows = 0) -> None:
        """Record one verb on one row or on many."""
        # -1 beside an array stands for each of its rows, so a batch of none is no entry.
        count = 1
        for rows in (node_rows, pod_rows):
            if not isinstance(rows, int):
                count = np.size(rows) if np.ndim(rows) else count
        if count:
            start = self._grow(count)
            for column, given in zip(self._data, (time_ns, _CODE[verb], pod_rows, node_rows, value), strict=True):
                column[start : self._length] = given
            self._enter(np.array([start]))

    def append_many(
        self, at_ns: npt.NDArray[np.int64], verbs: npt.NDArray[np.int8], pod_rows: Rows, node_rows: Rows, value: Rows
    ) -> None:
        """Record verbs of several instants, each on one row; neighbours of one instant and verb are one entry."""
        count = len(at_ns)
        if not count:
            return
        start = self._grow(count)
        for column, given in zip(self._data, (at_ns, verbs, pod_rows, node_rows, value), strict=True):
            column[start : self._length] = given
        begins = np.ones(count, dtype=np.bool_)
        begins[1:] = (at_ns[1:] != at_ns[:-1]) | (verbs[1:] != verbs[:-1])
        self._enter(start + begins.nonzero()[0])

    def _grow(self, count: int) -> int:
        """Make room for so many more rows; gives the first of them."""
        start = self._length
        self._length += count
        if self._length > len(self._data[0]):
            room = max(self._length, 2 * len(self._data[0]), 64)
            for k, column in enumerate(self._data):
                self._data[k] = np.empty(room, dtype=column.dtype)
                self._data[k][:start] = column[:start]
        return start

    def _enter(self, firsts: npt.NDArray[np.int64]) -> None:
        """Entries that begin at these rows."""
        stop = self._entries + len(firsts)
        if stop > len(self._first):
            more = np.empty(max(64, stop), dtype=np.int64)
            self._first = np.concatenate([self._first[: self._entries], more])
        self._first[self._entries : stop] = firsts
        self._entries = stop

    def changes(self, since: int) -> list[Change]:
        """The verbs that were recorded, but for the first `since`; of a batch all rows at once."""
        if since >= self._entries:
            return []
        # Several loops ask for the same few, one after another.
        begin, told = self._told
        if not begin <= since <= begin + len(told) or len(told) > _FEW:
            begin, told = self._told = since, []
        if begin + len(told) < self._entries:
            told += self._read(begin + len(told))
        return told[since - begin :]

    def _read(self, since: int) -> list[Change]:
        edges = [*self._first[since : self._entries].tolist(), self._length]
        time_ns, verb, pod, node, value = self._data
        return [
            self._change(VERBS[verb[k]], int(time_ns[k]), pod[k:stop], node[k:stop], value[k:stop])
            for k, stop in pairwise(edges)
        ]

    @staticmethod
    def _change(verb: str, time_ns: int, pod_rows: Ints, node_rows: Ints, value: Ints) -> Change:
        if verb != "BOUND":
            return Change(time_ns, verb, pod_rows, node_rows, int(value[0]))
        return Change(time_ns, verb, pod_rows, node_rows, 0, value if value.any() else None)

    def pods_since(self, since: int) -> Ints:
        """int64[]: the pods of all verbs but the first `since`, in their order; -1 where none was meant."""
        start = int(self._first[since]) if since < self._entries else self._length
        return self._data[2][start : self._length]

    def pods_of(self, verb: str, since: int) -> Ints:
        """int64[]: the pods of this verb's rows, but for the first `since` rows; in their order."""
        _, verbs, pods, _, _ = self._data
        return np.asarray(pods[since : self._length][verbs[since : self._length] == _CODE[verb]])

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The record as arrays by name, see the class."""
        return {name: column[: self._length].copy() for (name, _), column in zip(_FIELDS, self._data, strict=True)}

    def to_frame(self) -> pd.DataFrame:
        """The record as a DataFrame with the verbs spelled out."""
        import pandas as pd

        columns = self.columns()
        columns["verb"] = np.array(VERBS, dtype=object)[columns["verb"]]
        return pd.DataFrame(columns)
