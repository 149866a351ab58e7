"""The queue in which a zone's silent nodes wait to be tainted, at no more than a rate. Pure: it is told the time.

After pkg/controller/nodelifecycle/scheduler/rate_limited_queue.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

BURST: Final = 1


class TokenBucket:
    """One token at the most, filled again at `rate_per_s`; a rate of 0 never gives one, infinity always does."""

    def __init__(self, rate_per_s: float) -> None:
        if not rate_per_s >= 0:
            raise InputError(f"a rate of {rate_per_s!r} a second; wanted 0 or more")
        self.rate_per_s = rate_per_s
        self._tokens = float(BURST) if rate_per_s > 0 else 0.0
        self._filled_ns: int | None = None

    def take(self, now_ns: int) -> bool:
        """Take a token, if there is one."""
        if self.rate_per_s == float("inf"):
            return True
        if self._filled_ns is not None:
            gained = (now_ns - self._filled_ns) / SECOND_NS * self.rate_per_s
            self._tokens = min(BURST, self._tokens + gained)
        self._filled_ns = now_ns
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def next_ns(self, now_ns: int) -> int | None:
        """When there will be a token if none is taken before; None for never."""
        if self.rate_per_s == 0:
            return None
        if self.rate_per_s == float("inf") or self._filled_ns is None or self._tokens >= 1:
            return now_ns
        return max(now_ns, self._filled_ns + math.ceil((1 - self._tokens) / self.rate_per_s * SECOND_NS))


class EvictionQueue:
    """Names that wait their turn, first come first served.

    A name that was handed out successfully is known still, and isn't taken in again until
    it is removed: the node became healthy.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._limiter = TokenBucket(rate_per_s)
        self._due: dict[str, tuple[int, int]] = {}  # name -> (when it is due, its number)
        self._known: set[str] = set()
        self._numbers = 0

    @property
    def rate_per_s(self) -> float:
        """How many names a second it hands out at the most."""
        return self._limiter.rate_per_s

    def __iter__(self) -> Iterator[str]:
        """The names that wait, the next one first."""
        return iter(sorted(self._due, key=self._due.__getitem__))

    def add(self, name: str, now_ns: int) -> bool:
        """Let it wait from now on; False if it is known already."""
        if name in self._known:
            return False
        self._known.add(name)
        self._wait(name, now_ns)
        return True

    def remove(self, name: str) -> bool:
        """Forget it, so that it may come again; False if it wasn't known."""
        self._due.pop(name, None)
        known = name in self._known
        self._known.discard(name)
        return known

    def clear(self) -> None:
        """Forget all."""
        self._due.clear()
        self._known.clear()

    def swap_rate(self, rate_per_s: float, now_ns: int) -> None:
        """Another rate from now on. If the old one has no token now, neither does the new one, once."""
        if rate_per_s == self.rate_per_s:
            return
        limiter = TokenBucket(rate_per_s)
        if not self._limiter.take(now_ns):
            limiter.take(now_ns)
        self._limiter = limiter

    def next_ns(self, now_ns: int) -> int | None:
        """When the next name can be handed out, None if none waits or the rate is 0."""
        token_ns = self._limiter.next_ns(now_ns) if self._due else None
        return None if token_ns is None else max(token_ns, min(due for due, _ in self._due.values()))

    def hand_out(self, accept: Callable[[str], bool], now_ns: int, retry_after_ns: int = 0) -> list[str]:
        """Offer the names that are due, in order, while there are tokens; the names that were offered.

        One that `accept` refuses waits `retry_after_ns` and one nanosecond more, so that it
        isn't offered twice at one instant.
        """
        offered = []
        while self._due and self._limiter.take(now_ns):
            name = next(iter(self))
            if self._due[name][0] > now_ns:
                break
            offered.append(name)
            del self._due[name]
            if not accept(name):
                self._wait(name, now_ns + retry_after_ns + 1)
        return offered

    def _wait(self, name: str, due_ns: int) -> None:
        self._numbers += 1
        self._due[name] = (due_ns, self._numbers)
