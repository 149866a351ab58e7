"""Clusters and workloads drawn from a seed, of any size."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.datasets import _parts
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.workload import Workload, checked_count
from k8slab.domain.columns import Codes, Ints, Names
from k8slab.domain.pod_spec import ZONE
from k8slab.domain.resources import CPU, MEMORY, PODS
from k8slab.errors import InputError

GIB: Final = 2**30
MIB: Final = 2**20
SHAPES: Final = ((16_000, 128 * GIB, 110), (32_000, 128 * GIB, 110), (64_000, 256 * GIB, 250))
NAMESPACES: Final = 8

# Fill to reach: cpu is the tighter one. Memory stays below it, because shapes differ in memory per
# core: with both at 80 % some nodes would run out of one while the other is left, and pods with it.
CPU_FILL: Final = 0.80
MEMORY_FILL: Final = 0.70
# A request spans a quarter to seven quarters of the mean. At ten pods a node the largest is then
# 14 % of a mean node, and fits in the 20 % that stay free even if every node is filled evenly.
# LARGEST_SHARE, of the largest node, keeps that true where there are fewer pods.
SPAN: Final = (0.25, 1.75)
LARGEST_SHARE: Final = 1 / 7


def synthetic_cluster(nodes: int, zones: int, seed: int) -> Cluster:
    """See Cluster.synthetic."""
    nodes, zones = checked_count("nodes", nodes), checked_count("zones", zones)
    shape = np.arange(nodes) % len(SHAPES)
    rng = np.random.default_rng([seed, 1])
    rng.shuffle(shape)
    zone = _parts.sealed((np.arange(nodes) % zones).astype(np.int32))
    names = tuple(f"zone-{number + 1}" for number in range(min(zones, nodes)))
    return Cluster.of(
        Names(prefix="node-", count=nodes),
        _parts.sealed(np.ascontiguousarray(np.array(SHAPES, dtype=np.int64).T[:, shape])),
        labels={ZONE: Codes(zone, names)},
        source=f"Cluster.synthetic({nodes}, zones={zones}, seed={seed})",
    )


def synthetic_workload(pods: int, classes: int, seed: int, cluster: Cluster | None) -> Workload:
    """See Workload.synthetic."""
    pods = checked_count("pods", pods)
    classes = min(checked_count("classes", classes), pods)
    rng = np.random.default_rng([seed, 2])
    where = cluster or synthetic_cluster(-(-pods // 10), zones=3, seed=0)
    code = _zipf_classes(pods, classes, rng)
    requests = _class_requests(np.bincount(code, minlength=classes), where, rng)
    team = rng.integers(NAMESPACES, size=classes).astype(np.int32)
    sized = "" if cluster is None else f", sized for {len(cluster):,} nodes given"
    return Workload.of(
        Names(prefix="pod-", count=pods),
        _parts.sealed(requests[code]),
        namespaces=Codes(_parts.sealed(team[code]), tuple(f"team-{n + 1}" for n in range(NAMESPACES))),
        source=f"Workload.synthetic({pods}, classes={classes}, seed={seed}){sized}",
    )


def _zipf_classes(pods: int, classes: int, rng: np.random.Generator) -> Ints:
    """int64[P]: each pod's class. Every class once, the rest with chance 1/rank, all shuffled."""
    chance = 1.0 / np.arange(1, classes + 1)
    edges = np.cumsum(chance / chance.sum())
    drawn = np.searchsorted(edges, rng.random(pods - classes), side="right").clip(max=classes - 1)
    code = np.concatenate([np.arange(classes), drawn])
    rng.shuffle(code)
    return code


def _class_requests(counts: Ints, cluster: Cluster, rng: np.random.Generator) -> Ints:
    """int64[C, 3]: distinct cpu, memory and one pod, so that `counts` pods of each class fill the cluster."""
    pods, classes = int(counts.sum()), len(counts)
    room, largest = _room(cluster, pods)
    columns, steps = [], []
    for r, units in enumerate((_CPU_STEPS, _MEMORY_STEPS)):
        mean = room[r] / pods
        size = rng.uniform(*SPAN, size=classes)
        size = _below(size * (room[r] / float(counts @ size)), mean, largest[r] * LARGEST_SHARE)
        # Rounding moves the sum by 2 % at most, and 8 times as many cells as classes let few collide.
        step = _step(units, mean * (SPAN[1] - SPAN[0]) / max(36.0, np.sqrt(8.0 * classes)))
        columns.append(np.maximum(np.rint(size / step).astype(np.int64), 1) * step)
        steps.append(step)
    requests = np.stack([*columns, np.ones(classes, dtype=np.int64)], axis=1)
    _make_distinct(requests, steps[1], rng)
    return requests


def _below(size: npt.NDArray[np.float64], mean: float, limit: float) -> npt.NDArray[np.float64]:
    """Sizes brought below a limit: drawn together around their mean if that will do, else all made smaller."""
    most = float(size.max())
    if most <= limit:
        return size
    return mean + (size - mean) * ((limit - mean) / (most - mean)) if mean < limit else size * (limit / most)


def _room(cluster: Cluster, pods: int) -> tuple[list[float], list[int]]:
    """(cpu and memory to ask for in all, the largest node's cpu and memory), over nodes that take plain pods."""
    open_to_all = (cluster.states == 0) & np.array(
        [taints is None or all(t.effect == "PreferNoSchedule" for t in taints) for taints in cluster.taints.to_array()]
    )
    allocatable = cluster.allocatable[:, open_to_all]
    free = np.maximum(allocatable - cluster.requested()[:, open_to_all], 0)
    if not allocatable.size:
        raise InputError(f"a workload can't be sized for {cluster!r}: no node is ready, uncordoned and untainted")
    slots = int(free[cluster.schema.index(PODS)].sum())
    if slots < pods:
        raise InputError(f"{pods:,} pods can't fit {cluster!r}: its nodes allow {slots:,} more pods")
    room, largest = [], []
    for resource, fill in ((CPU, CPU_FILL), (MEMORY, MEMORY_FILL)):
        r = cluster.schema.index(resource)
        total = float(allocatable[r].sum())
        room.append(float(free[r].sum()) - (1.0 - fill) * total)
        largest.append(int(free[r].max()))
        if room[-1] <= 0 or largest[-1] <= 0:
            raise InputError(f"no pods can be sized for {cluster!r}: its {resource} is {fill:.0%} taken already")
    cores, memory = (free[cluster.schema.index(name)].astype(np.float64) for name in (CPU, MEMORY))
    # Where some nodes have little memory per core, pods alike in shape would leave their cores unused:
    # ask for less memory, until 99 % of the cores can be reached.
    while np.minimum(cores, memory * (room[0] / room[1])).sum() < 0.99 * np.where(memory > 0, cores, 0.0).sum():
        room[1] *= 0.95
    return room, largest


_CPU_STEPS: Final = (1, 2, 5, 10, 25, 50)
_MEMORY_STEPS: Final = tuple(2**power for power in range(10, 27))  # 1 KiB .. 64 MiB


def _step(steps: tuple[int, ...], coarsest: float) -> int:
    """The largest step that is no coarser than wanted, or the finest."""
    return max((step for step in steps if step <= coarsest), default=steps[0])


def _make_distinct(requests: Ints, memory_step: int, rng: np.random.Generator) -> None:
    """Moves the memory of classes that ask the same by a step or a few, until none do."""
    while True:
        _, first = _parts.request_classes(requests)
        if len(first) == len(requests):
            return
        repeated = np.ones(len(requests), dtype=np.bool_)
        repeated[first] = False
        requests[repeated, 1] += memory_step * rng.integers(1, 4, size=int(repeated.sum()))


