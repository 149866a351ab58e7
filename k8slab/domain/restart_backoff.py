"""When a container that ended runs again: the restart policy, and the wait before it. Pure.

The kubelet's rules (kuberuntime, client-go's flowcontrol.Backoff without jitter).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError, UnknownName

CRASH_LOOP_INITIAL_NS: Final = 10 * SECOND_NS
CRASH_LOOP_MAX_NS: Final = 300 * SECOND_NS
RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")


class ContainerState(Enum):
    """What the kubelet knows of a container."""

    NO_HISTORY = "no_history"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


def restarts(restart_policy: str, state: ContainerState, exit_code: int = 0) -> bool:
    """Whether the kubelet starts the container.

    What runs is left alone, what never ran or can't be told is started, and what exited
    goes by the policy. Raises UnknownName for the policy.

    >>> restarts("OnFailure", ContainerState.EXITED, exit_code=1), restarts("Never", ContainerState.NO_HISTORY)
    (True, True)
    """
    if restart_policy not in RESTART_POLICIES:
        raise UnknownName("restart policy", restart_policy, RESTART_POLICIES)
    if state is not ContainerState.EXITED:
        return state is not ContainerState.RUNNING
    return restart_policy == "Always" or (restart_policy == "OnFailure" and exit_code != 0)


def moves_on(restarts_there: int, most: int | None) -> bool:
    """Whether a pod that was restarted so often on one node is placed anew when it fails; None is never, as the
    kubelet has it.

    >>> moves_on(2, 3), moves_on(3, 3), moves_on(99, None)
    (False, True, False)
    """
    return most is not None and restarts_there >= most


@dataclass(frozen=True)
class BackoffEntry:
    """How long one container waits, and when that was last doubled."""

    wait_ns: int
    last_update_ns: int


@dataclass(frozen=True)
class Backoff:
    """Waits that double from an initial one to a maximum, and start anew after two maxima of quiet.

    Entries are values, the caller keeps them, one a container; None is a container that
    never failed. All ages are compared strictly: two maxima to the nanosecond are no
    quiet yet.
    """

    initial_ns: int = CRASH_LOOP_INITIAL_NS
    max_ns: int = CRASH_LOOP_MAX_NS

    def __post_init__(self) -> None:
        if not 0 < self.initial_ns <= self.max_ns:
            raise InputError(
                f"a back-off from {self.initial_ns:,} ns to {self.max_ns:,} ns; wanted 0 < initial_ns <= max_ns"
            )

    def next(self, entry: BackoffEntry | None, now_ns: int, event_ns: int | None = None) -> BackoffEntry:
        """The entry after one more failure, that happened at `event_ns` (now, if it isn't said)."""
        if entry is None or self._quiet(entry, now_ns if event_ns is None else event_ns):
            return BackoffEntry(self.initial_ns, now_ns)
        return BackoffEntry(min(2 * entry.wait_ns, self.max_ns), now_ns)

    def waits(self, entry: BackoffEntry | None, event_ns: int, now_ns: int) -> bool:
        """Whether what ended at `event_ns` must wait still."""
        return entry is not None and not self._quiet(entry, event_ns) and now_ns - event_ns < entry.wait_ns

    def waits_since_update(self, entry: BackoffEntry | None, now_ns: int) -> bool:
        """Whether the wait that began with the entry's last update lasts still."""
        if entry is None or self._quiet(entry, now_ns):
            return False
        return now_ns - entry.last_update_ns < entry.wait_ns

    def forgets(self, entry: BackoffEntry, now_ns: int) -> bool:
        """Whether the entry is so old that it may be thrown away: the next failure would start anew."""
        return self._quiet(entry, now_ns)

    def _quiet(self, entry: BackoffEntry, at_ns: int) -> bool:
        return at_ns - entry.last_update_ns > 2 * self.max_ns


@dataclass(frozen=True)
class RestartDecision:
    """What becomes of a container that ended.

    at_ns : when it starts, None for never
    entry : its back-off from then on
    """

    at_ns: int | None
    entry: BackoffEntry | None


def restart_after_exit(
    backoff: Backoff, entry: BackoffEntry | None, restart_policy: str, exit_code: int, finished_ns: int
) -> RestartDecision:
    """When a container that ended at `finished_ns` starts again.

    It waits from its end for the back-off that its earlier failures earned, then the
    back-off is doubled; ending well counts as a failure does. A container that ran for
    more than two maxima starts at once, with the initial wait ahead of the next time.
    """
    if not restarts(restart_policy, ContainerState.EXITED, exit_code):
        return RestartDecision(None, entry)
    held = backoff.waits(entry, finished_ns, finished_ns)
    at_ns = finished_ns + (entry.wait_ns if entry is not None and held else 0)
    return RestartDecision(at_ns, backoff.next(entry, at_ns, finished_ns))
