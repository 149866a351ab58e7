"""Eviction by NoExecute taints: which pod goes when. Pure.

After pkg/controller/tainteviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from k8slab.domain.columns import Taint, Toleration, Tolerations
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.node_lifecycle.node_taints import NOT_READY, UNREACHABLE

DEFAULT_TOLERATION_SECONDS: Final = 300


@dataclass(frozen=True)
class TimedToleration:
    """A toleration, and how long it lasts once the taint is there; None is for ever."""

    toleration: Toleration
    toleration_seconds: int | None = None


@dataclass(frozen=True)
class EvictionTimer:
    """A pod that is to go, and since when that is known."""

    created_ns: int
    fires_ns: int


def default_tolerations(*, daemon_set: bool = False) -> tuple[TimedToleration, TimedToleration]:
    """What admission gives a pod that doesn't speak of dead nodes: 300 s of patience, a DaemonSet's pod endless."""
    seconds = None if daemon_set else DEFAULT_TOLERATION_SECONDS
    kinds = [Toleration(key, "Exists", "", "NoExecute") for key in (NOT_READY, UNREACHABLE)]
    return TimedToleration(kinds[0], seconds), TimedToleration(kinds[1], seconds)


def admitted_tolerations(tolerations: Tolerations, *, daemon_set: bool = False) -> list[TimedToleration]:
    """A pod's tolerations as admission leaves them: its own, and the default ones of dead nodes where it has none.

    >>> [timed.toleration_seconds for timed in admitted_tolerations((Toleration(NOT_READY, "Exists", seconds=5),))]
    [5, 300]
    """
    own = [TimedToleration(toleration, toleration.seconds) for toleration in tolerations]
    missing = [
        default
        for default in default_tolerations(daemon_set=daemon_set)
        if not any(t.key in ("", default.toleration.key) and t.effect in ("", "NoExecute") for t in tolerations)
    ]
    return [*own, *missing]


def min_toleration_seconds(seconds: Iterable[int | None]) -> int | None:
    """The least of the tolerations used; None if all last for ever, 0 if there is none or one is negative.

    >>> min_toleration_seconds([None, 30, 60]), min_toleration_seconds([None]), min_toleration_seconds([])
    (30, None, 0)
    """
    every = list(seconds)
    finite = [value for value in every if value is not None]
    if not every:
        return 0
    return max(0, min(finite)) if finite else None


def used_tolerations(taints: Iterable[Taint], tolerations: Sequence[TimedToleration]) -> list[TimedToleration] | None:
    """For each taint the first toleration that covers it; None if one is left bare."""
    used = []
    for taint in taints:
        found = next((timed for timed in tolerations if timed.toleration.tolerates(taint)), None)
        if found is None:
            return None
        used.append(found)
    return used


def eviction_timer(
    taints: Sequence[Taint], tolerations: Sequence[TimedToleration], running: EvictionTimer | None, now_ns: int
) -> EvictionTimer | None:
    """The pod's timer after its node's NoExecute taints or its own tolerations were seen to change.

    running : the timer it had; None is no timer

    No taint, or all tolerated for ever: none. A taint that nothing tolerates: it fires now.
    Else a timer that runs is left as it is, though tolerations grew or shrank since it was made;
    a new one lasts the least tolerationSeconds of those used.
    """
    if not taints:
        return None
    used = used_tolerations(taints, tolerations)
    if used is None:
        return EvictionTimer(now_ns, now_ns)
    seconds = min_toleration_seconds(timed.toleration_seconds for timed in used)
    if seconds is None:
        return None
    if running is not None:
        return running
    return EvictionTimer(now_ns, now_ns + seconds * SECOND_NS)
