"""The memory of proposals, and the windows that hold a step back. Pure.

After upstream's stabilizeRecommendation and stabilizeRecommendationWithBehaviors. The log is a
list of slots, as there: a proposal too old to matter is overwritten, so the log stays short.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recommendation:
    """What was proposed, before any limit, and when."""

    replicas: int
    at_ns: int


Log = tuple[Recommendation, ...]


@dataclass(frozen=True)
class Stabilized:
    """The replicas that the windows let through, and the log with the new proposal in it."""

    replicas: int
    log: Log
    reason: str


def stabilize(log: Log, desired: int, window_ns: int, now_ns: int) -> Stabilized:
    """Without behavior: the largest proposal of the window, one exactly as old as the window included."""
    old = [slot for slot, past in enumerate(log) if now_ns - past.at_ns > window_ns]
    recent = [past.replicas for past in log if now_ns - past.at_ns <= window_ns]
    replicas = max([desired, *recent])
    return Stabilized(replicas, _stored(log, old, Recommendation(desired, now_ns)), "ScaleDownStabilized")


def stabilize_with_behavior(
    log: Log, current: int, desired: int, up_window_ns: int, down_window_ns: int, now_ns: int
) -> Stabilized:
    """With behavior: no more than the largest of the down window, no less than the smallest of the up window.

    A proposal exactly as old as a window no longer counts, but a slot is used again only
    when it is older than both.
    """
    up = min([desired, *(past.replicas for past in log if now_ns - past.at_ns < up_window_ns)])
    down = max([desired, *(past.replicas for past in log if now_ns - past.at_ns < down_window_ns)])
    old = [slot for slot, past in enumerate(log) if now_ns - past.at_ns > max(up_window_ns, down_window_ns)]
    replicas = min(max(current, up), down)
    reason = "ScaleUpStabilized" if desired >= current else "ScaleDownStabilized"
    return Stabilized(replicas, _stored(log, old, Recommendation(desired, now_ns)), reason)


def _stored(log: Log, old: list[int], new: Recommendation) -> Log:
    """The last slot that is free takes the new one."""
    if not old:
        return (*log, new)
    return (*log[: old[-1]], new, *log[old[-1] + 1 :])
