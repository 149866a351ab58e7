"""The clocks: the only modules that know the time are here."""

from __future__ import annotations

import threading
import time

from k8slab.domain.instants import SECOND_NS


class WallClock:
    """The time of day, held still where the system's clock is set back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest_ns = 0

    def now(self) -> int:
        """Nanoseconds since 1970."""
        with self._lock:
            self._latest_ns = max(self._latest_ns, time.time_ns())
            return self._latest_ns

    def sleep_until(self, at_ns: int) -> None:
        """Return once it is `at_ns`; at once if that is past."""
        while (left_ns := at_ns - self.now()) > 0:
            time.sleep(left_ns / SECOND_NS)


class VirtualClock:
    """Time that stands still until it is told to move, and then jumps.

    >>> clock = VirtualClock()
    >>> clock.advance(1.5); clock.now()
    1500000000
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._lock = threading.Lock()
        self._now_ns = start_ns

    def now(self) -> int:
        """Nanoseconds since 1970."""
        with self._lock:
            return self._now_ns

    def sleep_until(self, at_ns: int) -> None:
        """Make it `at_ns`, unless that is past."""
        with self._lock:
            self._now_ns = max(self._now_ns, at_ns)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        assert seconds >= 0, f"time can't go back by {-seconds} s"
        with self._lock:
            self._now_ns += round(seconds * SECOND_NS)
