"""When something is due for which row: many timers, that come and go in batches."""

from __future__ import annotations

from typing import Final

import numpy as np

from k8slab.domain.columns import Ints

_LEAST: Final = 64


class Timers:
    """Instants and rows, the earliest first and of one instant the lowest row: a compiled heap.

    A row may have several. A timer isn't taken back: whoever asks knows which of them still count.
    """

    def __init__(self) -> None:
        self._heap: Ints = np.empty((2, _LEAST), dtype=np.int64)
        self._size = 0

    @property
    def next_ns(self) -> int | None:
        """When the next is due."""
        return int(self._heap[0, 0]) if self._size else None

    def put(self, at_ns: Ints, rows: Ints) -> None:
        """These are due then; int64[n] both. NEVER is no timer."""
        from k8slab.kernels.timers import put

        room, wanted = self._heap.shape[1], self._size + len(rows)
        if wanted > room:
            self._heap = np.concatenate([self._heap, np.empty((2, max(room, wanted - room)), dtype=np.int64)], axis=1)
        self._size = put(self._heap, self._size, at_ns, rows)

    def take_before(self, before_ns: int) -> Ints:
        """int64[2, n]: when and who, in order, of all that are due before an instant; they are gone."""
        from k8slab.kernels.timers import take_before

        size = self._size
        self._size = take_before(self._heap, size, before_ns)
        return self._heap[:, self._size : size][:, ::-1].copy()
