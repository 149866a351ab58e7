"""Admission before all of a run's pods: see k8slab.application.namespaces for what namespaces ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from k8slab.application.admission import Admission
from k8slab.application.namespaces import LimitRange, Namespace, Quota, all_rules

if TYPE_CHECKING:
    from k8slab.simulation.world import World

__all__ = ["LimitRange", "Namespace", "Quota", "build_admission"]


def build_admission(
    world: World, namespaces: Sequence[Namespace], priority_classes: Mapping[str, int] | None = None
) -> Admission:
    """Put admission before all of a run's pods. Leaves it in world.parts["admission"]; InputError for two of a name."""
    rules = all_rules(namespaces, priority_classes or {})
    admission = Admission(world.state, world.sink, rules, priority_classes, world.workloads.try_again)
    for loop in world.calendar.controllers:
        if loop.name in ("arrivals", "workloads"):
            loop.gate = admission  # type: ignore[attr-defined]  # both have it
    world.calendar.add(admission)
    world.parts["admission"] = admission
    return admission
