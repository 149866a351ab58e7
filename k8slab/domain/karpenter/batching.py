"""When pods that wait are looked at together. Pure; times in ns."""

from __future__ import annotations

from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

IDLE_NS: Final = SECOND_NS
MOST_NS: Final = 10 * SECOND_NS


class BatchWindow:
    """Opened by the first pod, closed after `idle_ns` without another or `most_ns` in all.

    >>> window = BatchWindow(idle_ns=1, most_ns=10)
    >>> window.trigger(5)
    >>> window.closes_ns
    6
    """

    def __init__(self, idle_ns: int = IDLE_NS, most_ns: int = MOST_NS) -> None:
        if not 0 <= idle_ns <= most_ns:
            raise InputError(
                f"a batch waits {idle_ns:,} ns for another pod and {most_ns:,} ns in all; "
                "wanted 0 or more, and the first no longer than the other"
            )
        self._idle_ns = idle_ns
        self._most_ns = most_ns
        self._opened_ns: int | None = None
        self._last_ns = 0

    @property
    def closes_ns(self) -> int | None:
        """When, if no other pod comes; None while it isn't open."""
        if self._opened_ns is None:
            return None
        return min(self._last_ns + self._idle_ns, self._opened_ns + self._most_ns)

    def trigger(self, now_ns: int) -> None:
        """A pod has come, or one looks for a node again."""
        if self._opened_ns is None:
            self._opened_ns = now_ns
        self._last_ns = now_ns

    def close(self) -> None:
        """The pods are looked at now; the next one opens it anew."""
        self._opened_ns = None
