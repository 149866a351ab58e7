"""What the engine is measured against: the original service's loop, and a scan in vectorised numpy.

Both are written as well as their kind allows, place under the same rules (fit, score in
whole numbers, highest score, lowest row) and give the same rows, which the benchmarks
assert. The numpy scores are also what the kernels are compared with, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from k8slab.datasets.cluster import Cluster
from k8slab.datasets.workload import Workload

Floats = np.ndarray
Score = Callable[..., Floats]


# -- the original's loop -------------------------------------------------------


@dataclass(slots=True)
class PlainNode:
    """A node as the original service held it, in a list; amounts are whole."""

    ready: bool
    cpu_milli: int
    memory_bytes: int
    pods: int
    cpu_used: int = 0
    memory_used: int = 0
    pods_used: int = 0


def plain_nodes(cluster: Cluster) -> list[PlainNode]:
    """The cluster's nodes as entities."""
    assert cluster.schema.names == ("cpu", "memory", "pods")
    ready = (cluster.states == 0).tolist()
    return [PlainNode(*row) for row in zip(ready, *cluster.allocatable.tolist(), strict=True)]


def python_loop(cluster: Cluster, workload: Workload, pods: int, policy: str) -> Callable[[], list[int]]:
    """Places the first pods: for each one a loop over all nodes that filters, scores and keeps the best.

    policy : one of SCORES, which has its score in numpy
    """
    nodes, most, balanced = plain_nodes(cluster), policy == "most-allocated", policy == "kube-default"
    requests = [tuple(request) for request in workload.requests[:pods].tolist()]
    return lambda: [_place_one(nodes, *request, most, balanced) for request in requests]


def _place_one(nodes: list[PlainNode], cpu: int, memory: int, slots: int, most: bool, balanced: bool) -> int:
    best_score, best_row = -1, -1
    for row, node in enumerate(nodes):
        if not node.ready:
            continue
        cpu_used = node.cpu_used + cpu
        memory_used = node.memory_used + memory
        if cpu_used > node.cpu_milli or memory_used > node.memory_bytes or node.pods_used + slots > node.pods:
            continue
        if most:
            score = (100 * cpu_used // node.cpu_milli + 100 * memory_used // node.memory_bytes) // 2
        else:
            cpu_left = 100 * (node.cpu_milli - cpu_used) // node.cpu_milli
            score = (cpu_left + 100 * (node.memory_bytes - memory_used) // node.memory_bytes) // 2
        if balanced:
            apart = abs(cpu_used / node.cpu_milli - memory_used / node.memory_bytes)
            score += int((1.0 - apart / 2.0) * 100.0)
        if score > best_score:
            best_score, best_row = score, row
    if best_row >= 0:
        chosen = nodes[best_row]
        chosen.cpu_used += cpu
        chosen.memory_used += memory
        chosen.pods_used += slots
    return best_row


# -- vectorised numpy ----------------------------------------------------------


def numpy_scan(cluster: Cluster, workload: Workload, pods: int, policy: str) -> Callable[[], list[int]]:
    """Places the first pods: for each one a filter, the scores and an argmax over whole columns.

    As general as the engine: any resources, any weights, nodes that lack a resource.
    Resource-major and float64, the faster choices in numpy too.
    """
    allocatable = cluster.allocatable.astype(np.float64)
    requested = cluster.requested().astype(np.float64)
    ready = cluster.states == 0
    requests = workload.requests[:pods].astype(np.float64)
    weight = np.array([float(name in ("cpu", "memory")) for name in cluster.schema.names])
    scores = SCORES[policy]

    def place() -> list[int]:
        rows = []
        for request in requests:
            used = requested + request[:, None]
            feasible = ready & resource_fit(used, allocatable, request[:, None])
            score = scores[0](used, allocatable, weight)
            for more in scores[1:]:
                score += more(used, allocatable, weight)
            row = select_lowest(score, feasible)
            row = row if feasible[row] else -1
            if row >= 0:
                requested[:, row] += request
            rows.append(row)
        return rows

    return place


def resource_fit(used: Floats, allocatable: Floats, request: Floats) -> np.ndarray:
    """bool[N]: what the pod asks for is free."""
    return ((request <= 0.0) | (used <= allocatable)).all(axis=0)


def _mean(parts: Floats, allocatable: Floats, weight: Floats) -> Floats:
    weights = weight[:, None] * (allocatable > 0.0)
    return np.floor((weights * parts).sum(axis=0) / np.maximum(weights.sum(axis=0), 1.0))


def least_allocated(used: Floats, allocatable: Floats, weight: Floats) -> Floats:
    """kube-scheduler's LeastAllocated."""
    left = np.maximum(allocatable - used, 0.0)
    return _mean(np.floor(100.0 * left / np.maximum(allocatable, 1.0)), allocatable, weight)


def most_allocated(used: Floats, allocatable: Floats, weight: Floats) -> Floats:
    """kube-scheduler's MostAllocated."""
    full = np.minimum(used, allocatable)
    return _mean(np.floor(100.0 * full / np.maximum(allocatable, 1.0)), allocatable, weight)


def requested_to_capacity(
    used: Floats, allocatable: Floats, weight: Floats, shape_x: Floats, shape_y: Floats
) -> Floats:
    """kube-scheduler's RequestedToCapacityRatio, by a table of its 101 values."""
    percent = np.floor(100.0 * np.minimum(used, allocatable) / np.maximum(allocatable, 1.0)).astype(np.int64)
    line = np.array([_on_line(x, shape_x, shape_y) for x in range(101)])[percent]
    weights = weight[:, None] * ((allocatable > 0.0) & (line > 0.0))
    return np.floor((weights * line).sum(axis=0) / np.maximum(weights.sum(axis=0), 1.0) + 0.5)


def _on_line(x: int, shape_x: Floats, shape_y: Floats) -> float:
    after = int(np.searchsorted(shape_x, x))
    if after in (0, len(shape_x)):
        return float(shape_y[min(after, len(shape_y) - 1)])
    rise = (shape_y[after] - shape_y[after - 1]) * (x - shape_x[after - 1])
    return float(shape_y[after - 1] + np.trunc(rise / (shape_x[after] - shape_x[after - 1])))


def balanced_allocation(used: Floats, allocatable: Floats, weight: Floats) -> Floats:
    """kube-scheduler's NodeResourcesBalancedAllocation, of two resources that every node has."""
    first, second = np.minimum(1.0, used[weight > 0.0] / allocatable[weight > 0.0])
    return np.trunc((1.0 - np.abs((first - second) / 2.0)) * 100.0)


# By policy; those of kube-default that pods take part in who say nothing but what they request.
SCORES: dict[str, tuple[Score, ...]] = {
    "most-allocated": (most_allocated,),
    "least-allocated": (least_allocated,),
    "kube-default": (least_allocated, balanced_allocation),
}


def worst_fit(used: Floats, allocatable: Floats, weight: Floats, largest: Floats) -> Floats:
    """What would be left, in parts of 10,000 of the largest node."""
    left = np.floor(10_000.0 * np.maximum(allocatable - used, 0.0) / largest[:, None])
    return np.floor((weight[:, None] * left).sum(axis=0) / weight.sum())


def best_fit(used: Floats, allocatable: Floats, weight: Floats, largest: Floats) -> Floats:
    """The other way round."""
    return 10_000.0 - worst_fit(used, allocatable, weight, largest)


def dot_product(used: Floats, allocatable: Floats, weight: Floats, request: Floats, largest: Floats) -> Floats:
    """Tetris' alignment."""
    free = np.floor(10_000.0 * np.maximum(allocatable - (used - request), 0.0) / largest[:, None])
    demand = weight[:, None] * np.ceil(10_000.0 * request / largest[:, None])
    return np.floor((demand * free).sum(axis=0) / demand.sum(axis=0))


def select_lowest(score: Floats, feasible: np.ndarray) -> int:
    """The lowest feasible row of the highest score."""
    return int(np.argmax(np.where(feasible, score, -1.0)))


def select_random(score: Floats, feasible: np.ndarray, draw: float) -> int:
    """The feasible row of the highest score that a draw in [0, 1) picks."""
    masked = np.where(feasible, score, -1.0)
    tied: Any = np.flatnonzero(masked == masked.max())
    return int(tied[int(draw * len(tied))])
