"""How far one step may go, and the memory of steps that limits it. Pure.

After upstream's convertDesiredReplicasWithRules, convertDesiredReplicasWithBehaviorRate and
storeScaleEvent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from k8slab.domain.autoscaling.values import Behavior, ScalingPolicy, ScalingRules
from k8slab.domain.instants import SECOND_NS

WITHIN_RANGE = "DesiredWithinRange"


@dataclass(frozen=True)
class ScaleEvent:
    """A step that was taken: by how many replicas, always positive, and when. Outdated ones may be overwritten."""

    change: int
    at_ns: int
    outdated: bool = False


Events = tuple[ScaleEvent, ...]


@dataclass(frozen=True)
class Limited:
    """The replicas after the limits, and which limit it was; DesiredWithinRange if none."""

    replicas: int
    reason: str


def clamp(current: int, desired: int, least: int, most: int, factor: float = 2.0, minimum: float = 4.0) -> Limited:
    """Without behavior: within the autoscaler's bounds, and at most max(factor * current, minimum).

    >>> clamp(3, 50, 1, 100), clamp(3, 0, 1, 100)
    (Limited(replicas=6, reason='ScaleUpLimit'), Limited(replicas=1, reason='TooFewReplicas'))
    """
    up_limit = int(max(factor * current, minimum))
    ceiling = Limited(up_limit, "ScaleUpLimit") if most > up_limit else Limited(most, "TooManyReplicas")
    if desired < least:
        return Limited(least, "TooFewReplicas")
    return ceiling if desired > ceiling.replicas else Limited(desired, WITHIN_RANGE)


def limit_rate(
    current: int, desired: int, least: int, most: int, behavior: Behavior, ups: Events, downs: Events, now_ns: int
) -> Limited:
    """With behavior: within the bounds, and no further than the policies of the direction allow."""
    if desired > current:
        limit = max(current, scale_up_limit(current, behavior.scale_up, ups, downs, now_ns))
        ceiling = Limited(limit, "ScaleUpLimit") if most > limit else Limited(most, "TooManyReplicas")
        return ceiling if desired > ceiling.replicas else Limited(desired, WITHIN_RANGE)
    if desired < current:
        limit = min(current, scale_down_limit(current, behavior.scale_down, ups, downs, now_ns))
        floor = Limited(limit, "ScaleDownLimit") if least < limit else Limited(least, "TooFewReplicas")
        return floor if desired < floor.replicas else Limited(desired, WITHIN_RANGE)
    return Limited(desired, WITHIN_RANGE)


def scale_up_limit(current: int, rules: ScalingRules, ups: Events, downs: Events, now_ns: int) -> int:
    """The most replicas that the policies allow. Each goes by what there was when its period began.

    Rounded up: a percentage that adds no whole pod would never scale up.
    """
    if rules.select_policy == "Disabled" or not rules.policies:
        return current
    select = min if rules.select_policy == "Min" else max
    return select(
        start + policy.value if policy.type == "Pods" else math.ceil(start * (1 + policy.value / 100))
        for policy in rules.policies
        for start in [_at_period_start(current, policy, ups, downs, now_ns)]
    )


def scale_down_limit(current: int, rules: ScalingRules, ups: Events, downs: Events, now_ns: int) -> int:
    """The fewest replicas that the policies allow. Max is the largest change, so the smallest number."""
    if rules.select_policy == "Disabled" or not rules.policies:
        return current
    select = max if rules.select_policy == "Min" else min
    return select(
        start - policy.value if policy.type == "Pods" else int(start * (1 - policy.value / 100))
        for policy in rules.policies
        for start in [_at_period_start(current, policy, ups, downs, now_ns)]
    )


def change_within(events: Iterable[ScaleEvent], period_seconds: int, now_ns: int) -> int:
    """The replicas of all steps strictly younger than the period."""
    return sum(event.change for event in events if now_ns - event.at_ns < period_seconds * SECOND_NS)


def store_event(events: Events, change: int, rules: ScalingRules | None, now_ns: int) -> Events:
    """The memory with one step more; without behavior none is kept.

    What is older than the longest period of the rules is outdated, and the last slot that
    is takes the new step.
    """
    if rules is None:
        return events
    longest_ns = max((policy.period_seconds for policy in rules.policies or ()), default=0) * SECOND_NS
    marked = [replace(event, outdated=event.outdated or now_ns - event.at_ns > longest_ns) for event in events]
    old = [slot for slot, event in enumerate(marked) if event.outdated]
    new = ScaleEvent(change, now_ns)
    if old:
        marked[old[-1]] = new
        return tuple(marked)
    return (*marked, new)


def _at_period_start(current: int, policy: ScalingPolicy, ups: Events, downs: Events, now_ns: int) -> int:
    added = change_within(ups, policy.period_seconds, now_ns)
    return current - added + change_within(downs, policy.period_seconds, now_ns)
