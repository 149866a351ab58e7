"""How long a pod waits before it is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

# Pods whose back-off ends in the same window are ordered as those that are ready, and leave it together.
WINDOW_NS: Final = SECOND_NS


@dataclass(frozen=True)
class Backoff:
    """min(max, initial * 2^(n-1)) after the n-th failure; max_ns 0 turns it off.

    >>> [Backoff().duration_ns(failures) / SECOND_NS for failures in (0, 1, 2, 3, 4, 5, 99)]
    [0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    """

    initial_ns: int = SECOND_NS
    max_ns: int = 10 * SECOND_NS

    def __post_init__(self) -> None:
        if self.initial_ns <= 0:
            raise InputError(f"a back-off begins with {self.initial_ns} ns, wanted more than 0")
        if self.max_ns != 0 and self.max_ns < self.initial_ns:
            raise InputError(f"a back-off of at most {self.max_ns} ns can't begin with {self.initial_ns} ns")

    def duration_ns(self, failures: int) -> int:
        """How long a pod waits that failed so often."""
        if failures == 0:
            return 0
        # Shifting the limit down, not the start up: failures know no bound.
        if self.initial_ns > self.max_ns >> (failures - 1):
            return self.max_ns
        return self.initial_ns << (failures - 1)

    def expiry_ns(self, since_ns: int, failures: int) -> int | None:
        """The window in which the wait ends, by its first instant; None where there is no wait."""
        if failures == 0 or self.max_ns == 0:
            return None
        return aligned(since_ns + self.duration_ns(failures))


def aligned(at_ns: int) -> int:
    """The whole second that an instant lies in."""
    return at_ns - at_ns % WINDOW_NS


def waits(expiry_ns: int | None, now_ns: int) -> bool:
    """Whether a pod is still backing off; throughout the second in which its wait ends it is.

    >>> [waits(3 * SECOND_NS, now) for now in (3 * SECOND_NS, 4 * SECOND_NS - 1, 4 * SECOND_NS)]
    [True, True, False]
    """
    return expiry_ns is not None and expiry_ns >= aligned(now_ns)
