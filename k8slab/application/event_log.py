"""What control loops did, as columns: the rows of k8slab.domain.run_tables, kept in order."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.run_tables import TABLES

_DTYPES: Final = {"int": np.int64, "float": np.float64, "bool": np.bool_, "text": object}


class EventLog:
    """Keeps every row that is emitted.

    >>> log = EventLog()
    >>> log.emit("healing", time_ns=5, action="restart", reason="crash", pod_row=3, node_row=1, success=True, detail="")
    >>> log.columns("healing")["action"].tolist()
    ['restart']
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in TABLES}

    def emit(self, table: str, **columns: Any) -> None:
        """Add a row, or one for each element of the arrays among the values."""
        fields = TABLES[table]
        assert columns.keys() == fields.keys(), f"{table}: columns {sorted(columns)}, wanted {sorted(fields)}"
        values = [columns[name] for name in fields]
        counts = {len(value) for value in values if isinstance(value, np.ndarray | list)}
        if not counts:
            self._rows[table].append(tuple(values))
            return
        assert len(counts) == 1, f"{table}: columns of {sorted(counts)} rows"
        (count,) = counts
        spread = [value if isinstance(value, np.ndarray | list) else [value] * count for value in values]
        self._rows[table] += zip(*(s.tolist() if isinstance(s, np.ndarray) else s for s in spread), strict=True)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return len(self._rows[table])

    def columns(self, table: str) -> dict[str, npt.NDArray[Any]]:
        """The table as arrays by name, in the order the rows were told."""
        return self.since(table, 0)

    def since(self, table: str, first: int) -> dict[str, npt.NDArray[Any]]:
        """The same of all rows but the first so many."""
        rows = self._rows[table][first:]
        width = len(TABLES[table])
        flat = list(chain.from_iterable(rows))
        return {
            name: np.array(flat[at::width], dtype=_DTYPES[kind])
            for at, (name, kind) in enumerate(TABLES[table].items())
        }
