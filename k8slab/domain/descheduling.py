"""The descheduler's rules: which pods should go so that the scheduler may place them better. Pure.

After sigs.k8s.io/descheduler's plug-ins. Nodes and pods are numbers here; amounts stand side by side, a
tuple a node or pod, resource by resource.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from k8slab.errors import InputError

Amounts = Sequence[float]


@dataclass(frozen=True)
class Movable:
    """A pod that may be evicted. qos : 0 BestEffort, 1 Burstable, 2 Guaranteed"""

    pod: int
    request: Amounts
    priority: int = 0
    qos: int = 1


@dataclass(frozen=True)
class NodeUse:
    """A node: what pods request, what they may, and those that may be evicted."""

    node: int
    used: Amounts
    allocatable: Amounts
    pods: Sequence[Movable] = ()
    schedulable: bool = True

    def percent(self, resource: int) -> float:
        """Requested of allocatable; 0 where nothing is."""
        has = self.allocatable[resource]
        return 100.0 * self.used[resource] / has if has else 0.0


def eviction_order(pods: Iterable[Movable]) -> list[Movable]:
    """Lowest priority first, then BestEffort before Burstable before Guaranteed."""
    return sorted(pods, key=lambda one: (one.priority, one.qos))


def deviating(nodes: Sequence[NodeUse], low: Amounts, high: Amounts) -> tuple[list[float], list[float]]:
    """Thresholds as deviations from the mean: mean - low and mean + high, within 0 to 100."""
    count = max(len(nodes), 1)
    means = [sum(node.percent(r) for node in nodes) / count for r in range(len(low))]
    return (
        [min(max(mean - less, 0.0), 100.0) for mean, less in zip(means, low, strict=True)],
        [min(max(mean + more, 0.0), 100.0) for mean, more in zip(means, high, strict=True)],
    )


def low_node_utilization(
    nodes: Sequence[NodeUse], thresholds: Amounts, targets: Amounts, number_of_nodes: int = 0
) -> list[tuple[int, int]]:
    """(pod, node) to evict, in order: from nodes over any target, while those under all thresholds have room.

    thresholds, targets : per cent by resource. Raises InputError where a threshold is above its target.
    """
    for low, high in zip(thresholds, targets, strict=True):
        if not 0 <= low <= high <= 100:
            told = f"thresholds {list(thresholds)} and targets {list(targets)}"
            raise InputError(f"{told}; wanted 0 <= threshold <= target <= 100")
    resources = range(len(targets))
    under = [n for n in nodes if n.schedulable and all(n.percent(r) <= thresholds[r] for r in resources)]
    over = [n for n in nodes if any(n.percent(r) > targets[r] for r in resources)]
    if not under or len(under) <= number_of_nodes or len(under) == len(nodes) or not over:
        return []
    room = [sum(n.allocatable[r] * targets[r] / 100 - n.used[r] for n in under) for r in resources]
    return _evicted(
        sorted(over, key=lambda n: -_weight(n)),
        room,
        lambda node, used: any(used[r] > node.allocatable[r] * targets[r] / 100 for r in resources),
    )


def high_node_utilization(
    nodes: Sequence[NodeUse], thresholds: Amounts, number_of_nodes: int = 0
) -> list[tuple[int, int]]:
    """(pod, node) to evict, in order: nodes with all resources at or below the thresholds are emptied, the least
    used first, while the other schedulable nodes have room."""
    resources = range(len(thresholds))
    under = [n for n in nodes if all(n.percent(r) <= thresholds[r] for r in resources)]
    little = {n.node for n in under}
    others = [n for n in nodes if n.node not in little and n.schedulable]
    if not under or len(under) <= number_of_nodes or len(under) == len(nodes) or not others:
        return []
    room = [sum(n.allocatable[r] - n.used[r] for n in others) for r in resources]
    return _evicted(sorted(under, key=_weight), room, lambda node, used: True)


def _weight(node: NodeUse) -> float:
    return float(sum(node.used))


def _evicted(
    nodes: Sequence[NodeUse], room: list[float], goes_on: Callable[[NodeUse, list[float]], bool]
) -> list[tuple[int, int]]:
    found = []
    for node in nodes:
        used = list(node.used)
        for one in eviction_order(node.pods):
            if not goes_on(node, used) or min(room, default=0.0) <= 0:
                break
            found.append((one.pod, node.node))
            for r, amount in enumerate(one.request):
                used[r] -= amount
                room[r] -= amount
    return found


def remove_duplicates(
    groups: Mapping[object, Mapping[int, Sequence[int]]], feasible_nodes: int
) -> list[tuple[int, int]]:
    """(pod, node) to evict: of each group of like pods those beyond ceil(count / feasible nodes) on a node.

    groups : what makes pods alike (owners, namespace, images) -> node -> its pods, in the order they came
    """
    found: list[tuple[int, int]] = []
    if feasible_nodes < 2:
        return found
    for by_node in groups.values():
        count = sum(len(pods) for pods in by_node.values())
        most = -(-count // feasible_nodes)
        for node, pods in by_node.items():
            found += [(pod, node) for pod in pods[most:]] if len(pods) > 1 else []
    return found


def spread_evictions(domains: Sequence[Sequence[int]], max_skew: int) -> list[int]:
    """Pods to evict so that domains come within the skew; each domain's pods, those to go first last.

    From the largest domain to the smallest at most half of what is beyond the skew moves, and no further
    than the mean.
    """
    if max_skew < 1:
        raise InputError(f"max_skew={max_skew}; wanted 1 or more")
    sizes = sorted((list(pods) for pods in domains), key=len)
    found: list[int] = []
    if not sizes:
        return found
    mean = sum(map(len, sizes)) / len(sizes)
    low, high = 0, len(sizes) - 1
    while low < high:
        if len(sizes[high]) <= mean:
            high -= 1
            continue
        skew = len(sizes[high]) - len(sizes[low])
        if skew <= max_skew:
            low += 1
            continue
        above, below = math.ceil(len(sizes[high]) - mean), math.ceil(mean - len(sizes[low]))
        moving = min(above, below, math.ceil((skew - max_skew) / 2))
        if moving <= 0:
            low += 1
            continue
        gone = sizes[high][-moving:]
        del sizes[high][-moving:]
        sizes[low] += gone
        found += gone
    return found
