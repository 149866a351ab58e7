"""Which taints the node lifecycle controller keeps on a node, from its conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from k8slab.domain.columns import Taint

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
EXCLUDE_DISRUPTION: Final = "node.kubernetes.io/exclude-disruption"

# Condition type -> status -> the key of the taint that stands for it.
CONDITION_TAINTS: Final[Mapping[str, Mapping[str, str]]] = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_MANAGED: Final = {key for keys in CONDITION_TAINTS.values() for key in keys.values()} | {UNSCHEDULABLE}


def no_schedule_taints(
    conditions: Mapping[str, str], taints: Iterable[Taint], *, unschedulable: bool = False
) -> list[Taint]:
    """The node's taints once its conditions are told by NoSchedule taints; all others stay as they are.

    >>> no_schedule_taints({"Ready": "Unknown"}, [])
    [Taint(key='node.kubernetes.io/unreachable', value='', effect='NoSchedule')]
    """
    told = [keys[conditions[kind]] for kind, keys in CONDITION_TAINTS.items() if conditions.get(kind) in keys]
    wanted = [*told, *([UNSCHEDULABLE] if unschedulable else [])]
    kept = [taint for taint in taints if not (taint.effect == "NoSchedule" and taint.key in _MANAGED)]
    return [*kept, *(Taint(key, "", "NoSchedule") for key in wanted)]


def no_execute_taints(ready: str, taints: Iterable[Taint]) -> list[Taint]:
    """The node's taints once its readiness is told by one NoExecute taint, or none where it is ready.

    Taking it away, or one for the other, is immediate; giving a node its first one waits
    for the zone's queue (eviction_queue).
    """
    wanted = CONDITION_TAINTS["Ready"].get(ready)
    kept = [taint for taint in taints if not (taint.effect == "NoExecute" and taint.key in (NOT_READY, UNREACHABLE))]
    return [*kept, *([Taint(wanted, "", "NoExecute")] if wanted is not None else [])]


def excluded_from_disruption(labels: Mapping[str, str]) -> bool:
    """Whether a node is left out when its zone's state is computed: by the label's presence, whatever its value."""
    return EXCLUDE_DISRUPTION in labels
