"""What happened to the cluster, in order: the columns every history is read from."""

from __future__ import annotations

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
_CODE: Final = {verb: code for code, verb in enumerate(VERBS)}
Rows = int | npt.NDArray[np.int64]


class Journal:
    """An append-only record of verbs; a batch of a million costs one entry.

    time_ns  : int64  when, by the state's clock
    verb     : int8   code into VERBS
    pod_row  : int64  -1 where no pod is meant
    node_row : int64  -1 where no node is meant
    value    : int64  the new code of NODE_STATE, PHASE, FINISHED and LEAVING, READY's and RESTARTED's instant, else 0
    """

    def __init__(self) -> None:
        self._batches: list[tuple[int, int, Rows, Rows, int, int]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def entries(self) -> int:
        """How many verbs were recorded, a batch counting as one."""
        return len(self._batches)

    def append(self, time_ns: int, verb: str, pod_rows: Rows = -1, node_rows: Rows = -1, value: int = 0) -> None:
        """Record one verb on one row or on many; arrays are kept, so hand in copies."""
        # -1 beside an array stands for each of its rows, so a batch of none is no entry.
        count = min((np.size(rows) for rows in (pod_rows, node_rows) if np.ndim(rows)), default=1)
        if count:
            self._batches.append((time_ns, _CODE[verb], pod_rows, node_rows, value, count))
            self._length += count

    def changes(self, since: int) -> list[Change]:
        """The verbs that were recorded, but for the first `since`; of a batch all rows at once."""

        def spread(rows: Rows, count: int) -> npt.NDArray[np.int64]:
            return np.broadcast_to(np.asarray(rows, dtype=np.int64), (count,))

        return [
            Change(time_ns, VERBS[code], spread(pod_rows, count), spread(node_rows, count), value)
            for time_ns, code, pod_rows, node_rows, value, count in self._batches[since:]
        ]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The record as arrays by name, see the class."""
        counts = np.array([batch[5] for batch in self._batches], dtype=np.int64)

        def spread(field: int, dtype: type) -> npt.NDArray[Any]:
            return np.repeat(np.array([batch[field] for batch in self._batches], dtype=dtype), counts)

        def rows(field: int) -> npt.NDArray[np.int64]:
            parts = [np.broadcast_to(np.asarray(b[field], dtype=np.int64), (b[5],)) for b in self._batches]
            return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

        return {
            "time_ns": spread(0, np.int64),
            "verb": spread(1, np.int8),
            "pod_row": rows(2),
            "node_row": rows(3),
            "value": spread(4, np.int64),
        }

    def to_frame(self) -> pd.DataFrame:
        """The record as a DataFrame with the verbs spelled out."""
        import pandas as pd

        columns = self.columns()
        columns["verb"] = np.array(VERBS, dtype=object)[columns["verb"]]
        return pd.DataFrame(columns)
