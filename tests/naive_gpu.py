"""The slow twins of kernels.gpu: one pod, one node, one device, one typical pod at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

G, C = 8000, 128_000
IDLE = ("q1", "q2", "q4", "xl", "xr", "no_access")  # in the order in which they are added


@dataclass
class Node:
    cpu: int
    memory: int
    gpus: list[int]
    model: int
    tags: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Pod:
    cpu: int
    memory: int
    milli: int
    count: int
    accepted: frozenset[int]


def naive_classes(cpu, gpus, model, typical):
    """typical : [(weight, Pod)]"""
    idle = sum(gpus)
    classes = dict.fromkeys((*IDLE, "q3"), 0.0)
    for weight, pod in typical:
        if pod.milli == 0:
            classes["xl" if cpu >= pod.cpu else "xr"] += weight * idle
        elif model not in pod.accepted:
            classes["no_access"] += weight * idle
        else:
            gpu, cores = sum(r >= pod.milli for r in gpus) >= pod.count, cpu >= pod.cpu
            if gpu and cores:
                lost = sum(r for r in gpus if r < pod.milli)
                classes["q2"] += weight * lost
                classes["q3"] += weight * (idle - lost)
            else:
                classes["q4" if gpu else "q2" if cores else "q1"] += weight * idle
    return classes


def naive_fragment(cpu, gpus, model, typical):
    classes = naive_classes(cpu, gpus, model, typical)
    total = 0.0
    for name in IDLE:
        total += classes[name]
    return total


def naive_fits(node, pod):
    if node.cpu < pod.cpu or node.memory < pod.memory:
        return False
    if pod.milli == 0:
        return True
    return node.model in pod.accepted and sum(r // pod.milli for r in node.gpus) >= pod.count


def naive_devices(node, pod):
    """The default rule."""
    if pod.milli == 0:
        return []
    if pod.milli == 1000:
        return [j for j, r in enumerate(node.gpus) if r == 1000][: pod.count]
    return [min((r, j) for j, r in enumerate(node.gpus) if r >= pod.milli)[1]]


def naive_fgd(node, pod, typical):
    """(score, devices)"""

    def score(devices):
        gpus = [r - pod.milli * (j in devices) for j, r in enumerate(node.gpus)]
        before = naive_fragment(node.cpu, node.gpus, node.model, typical)
        after = naive_fragment(node.cpu - pod.cpu, gpus, node.model, typical)
        return int(100 * (1 / (1 + math.exp(-(before - after) / 1000))))

    if 0 < pod.milli < 1000:
        options = [(score([j]), -j) for j, r in enumerate(node.gpus) if r >= pod.milli]
        best, j = max(options)
        return best, [-j]
    devices = naive_devices(node, pod)
    return score(devices), devices


def naive_dot_product(node, pod, typical):
    idle, asked = sum(node.gpus), pod.milli * pod.count
    return int(100 * (1 - (node.cpu / C * (pod.cpu / C) + idle / G * (asked / G)) / 2))


def naive_best_fit(node, pod, typical):
    """Without the rescaling, which keeps the order."""
    idle, asked = sum(node.gpus), pod.milli * pod.count
    return int((1 - (((node.cpu - pod.cpu) / C) * 0.5 + ((idle - asked) / G) * 0.5)) * 100)


def tag(pod):
    return "share" if pod.milli < 1000 else f"{pod.count}-gpu"


def naive_clustering(node, pod, typical):
    if pod.milli == 0:
        return 0
    base = 25 * (G - sum(node.gpus)) // G
    if tag(pod) in node.tags:
        return base + (75 if len(node.tags) == 1 else 50)
    return base if node.tags else base + 25


def naive_packing(node, pod, typical):
    if pod.milli == 0:
        return 0
    whole = node.gpus.count(1000)
    if whole == len(node.gpus):
        return max(33 - whole, whole)
    chosen = sorted((r, j) for j, r in enumerate(node.gpus) if r >= pod.milli)[: pod.count]
    fresh = sum(r == 1000 for r, _ in chosen)
    if fresh:
        return max(50 - fresh, 33)
    return max(100 - sum(r * 100 // 1000 for r, _ in chosen) // 10, 50)


SCORES = {
    "02-DotProd": naive_dot_product,
    "03-GpuClustering": naive_clustering,
    "04-GpuPacking": naive_packing,
    "05-BestFit": naive_best_fit,
    "06-FGD": lambda node, pod, typical: naive_fgd(node, pod, typical)[0],
}


def naive_take(node, pod, devices):
    node.cpu -= pod.cpu
    node.memory -= pod.memory
    for j in devices:
        node.gpus[j] -= pod.milli
    if devices:
        node.tags[tag(pod)] = node.tags.get(tag(pod), 0) + 1


def naive_place(policy, nodes, pods, typical):
    """[(node, devices, fragmentation of the cluster)] a pod; nodes change."""
    placed = []
    for pod in pods:
        feasible = [i for i, node in enumerate(nodes) if naive_fits(node, pod)]
        best, devices = -1, []
        if feasible:
            best = max(feasible, key=lambda i: (SCORES[policy](nodes[i], pod, typical), -i))
            node = nodes[best]
            devices = naive_fgd(node, pod, typical)[1] if policy == "06-FGD" else naive_devices(node, pod)
            naive_take(node, pod, devices)
        everything = sum(naive_fragment(node.cpu, node.gpus, node.model, typical) for node in nodes)
        placed.append((best, devices, everything))
    return placed
