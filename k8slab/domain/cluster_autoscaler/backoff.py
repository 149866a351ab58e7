"""Node groups that failed to grow are left alone for a while. Pure.

After cluster-autoscaler's utils/backoff: 5 minutes, doubling to 30, forgotten 3 hours after the last
failure. Failures while a group is left alone anyway lengthen nothing further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

INITIAL_NS: Final = 300 * SECOND_NS
MAX_NS: Final = 1800 * SECOND_NS
RESET_NS: Final = 3 * 3600 * SECOND_NS


@dataclass
class _Entry:
    duration_ns: int
    until_ns: int
    failed_ns: int


class GroupBackoff:
    """Until when each group is left alone.

    >>> backoff = GroupBackoff()
    >>> [backoff.failed("web", at * SECOND_NS) // SECOND_NS for at in (0, 100, 401)]
    [300, 400, 1001]
    """

    def __init__(self, initial_ns: int = INITIAL_NS, max_ns: int = MAX_NS, reset_ns: int = RESET_NS) -> None:
        if not 0 < initial_ns <= max_ns:
            raise InputError(f"a back-off from {initial_ns:,} to {max_ns:,} ns; wanted more than 0, and no less then")
        self._initial_ns = initial_ns
        self._max_ns = max_ns
        self._reset_ns = reset_ns
        self._groups: dict[str, _Entry] = {}

    def failed(self, group: str, now_ns: int) -> int:
        """A group failed to grow; gives the instant until when it is left alone now."""
        self.forget_old(now_ns)
        known = self._groups.get(group)
        duration_ns = self._initial_ns
        if known is not None:
            over = known.until_ns < now_ns
            duration_ns = min(2 * known.duration_ns, self._max_ns) if over else known.duration_ns
        self._groups[group] = _Entry(duration_ns, now_ns + duration_ns, now_ns)
        return now_ns + duration_ns

    def holds(self, group: str, now_ns: int) -> bool:
        """Whether a group is left alone now."""
        known = self._groups.get(group)
        return known is not None and now_ns < known.until_ns

    def succeeded(self, group: str) -> None:
        """A group has grown: its failures are forgotten."""
        self._groups.pop(group, None)

    def forget_old(self, now_ns: int) -> None:
        """Forget the failures of long ago."""
        for group in [name for name, one in self._groups.items() if one.failed_ns + self._reset_ns < now_ns]:
            del self._groups[group]
