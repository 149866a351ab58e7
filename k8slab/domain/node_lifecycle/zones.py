"""Disruption modes: how fast nodes of a zone may be tainted when many of them fall silent. Pure.

After the node lifecycle controller's ComputeZoneState, handleDisruption and setLimiterInZone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from k8slab.errors import InputError

UNHEALTHY_ZONE_THRESHOLD: Final = 0.55
LARGE_CLUSTER_SIZE: Final = 50


class ZoneState(Enum):
    """How much of a zone answers."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


class DisruptionStep(Enum):
    """What a pass asks of the caller beyond the rates.

    ENTERED : every zone fell silent, so it is we who are cut off: all NoExecute taints and
              all that waits to be tainted go
    LEFT    : the first zone is back: every node's probe time becomes now, so that nobody is
              judged on the blind time
    """

    NONE = "none"
    ENTERED = "entered"
    LEFT = "left"


@dataclass(frozen=True)
class EvictionRates:
    """Nodes a second that a zone's queue may taint; the field names are kube-controller-manager's flags.

    normal    : --node-eviction-rate
    secondary : --secondary-node-eviction-rate, in a partly disrupted zone of a large cluster
    large_cluster_size : --large-cluster-size-threshold; a zone is large above it
    """

    normal: float = 0.1
    secondary: float = 0.01
    large_cluster_size: int = LARGE_CLUSTER_SIZE

    def of_zone(self, state: ZoneState, nodes: int, *, all_zones_full: bool = False) -> float:
        """The rate of a zone of so many nodes; 0 is never."""
        if all_zones_full:
            return 0.0
        if state is ZoneState.PARTIAL:
            return self.secondary if nodes > self.large_cluster_size else 0.0
        return self.normal


@dataclass(frozen=True)
class ZoneDisruption:
    """What one pass over all zones finds.

    rates : zone -> its rate from now on; a zone that isn't there keeps the one it has
    """

    states: Mapping[str, ZoneState]
    rates: Mapping[str, float]
    step: DisruptionStep


def zone_state(ready: int, not_ready: int, unhealthy_zone_threshold: float = UNHEALTHY_ZONE_THRESHOLD) -> ZoneState:
    """The state of a zone with so many nodes, those excluded from disruption left out.

    No node ready and one or more not: full. More than two not ready, and their share at
    the threshold or above: partial. Upstream divides in 32 bits, where 11 of 20 reaches 0.55.

    >>> zone_state(9, 11).value, zone_state(46, 54).value, zone_state(0, 1).value
    ('PartialDisruption', 'Normal', 'FullDisruption')
    """
    if ready < 0 or not_ready < 0:
        raise InputError(f"a zone of {ready} ready and {not_ready} not ready nodes; wanted 0 or more of each")
    if ready == 0 and not_ready > 0:
        return ZoneState.FULL
    if not_ready > 2 and np.float32(not_ready) / np.float32(ready + not_ready) >= np.float32(unhealthy_zone_threshold):
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def disrupt(
    counts: Mapping[str, tuple[int, int]],
    before: Mapping[str, ZoneState],
    rates: EvictionRates,
    unhealthy_zone_threshold: float = UNHEALTHY_ZONE_THRESHOLD,
) -> ZoneDisruption:
    """One pass: each zone's state and rate, and whether the whole cluster fell silent or came back.

    counts : zone -> (ready, not ready); a zone that has none of either isn't looked at
    before : the states of the last pass, empty at the first

    A rate is set when the zone's state changes, or when the whole cluster fell silent or
    came back; a zone that only grows past the threshold keeps the one it has.
    """
    states = {zone: zone_state(*count, unhealthy_zone_threshold) for zone, count in counts.items() if any(count)}
    all_full = bool(states) and all(state is ZoneState.FULL for state in states.values())
    was_full = bool(before) and all(before.get(zone) is ZoneState.FULL for zone in states)
    step = DisruptionStep.NONE
    if all_full and not was_full:
        step = DisruptionStep.ENTERED
    elif was_full and not all_full:
        step = DisruptionStep.LEFT
    changed = {
        zone: rates.of_zone(state, sum(counts[zone]), all_zones_full=all_full)
        for zone, state in states.items()
        if step is not DisruptionStep.NONE or before.get(zone) is not state
    }
    return ZoneDisruption(states, changed, step)


def zone_key(labels: Mapping[str, str]) -> str:
    """What zone a node is in: its region and zone, "" without either."""
    region, zone = labels.get("topology.kubernetes.io/region", ""), labels.get("topology.kubernetes.io/zone", "")
    return f"{region}:{zone}" if region or zone else ""
