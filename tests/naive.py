"""The slow, obvious twins of the kernels: one node at a time, Python's integers and fractions.

Written from the formulas (kube-scheduler's, and the papers named), not from the
kernels. Arguments are the kernels' arrays without the one they fill; scores come
back as lists. `place` is the twin of a whole policy: for each pod every node is
filtered, scored and compared, and nothing is remembered between pods.

Shapes as in the kernels: amounts [R, M] for M pairs of a node and a pod, weights [R].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from k8slab.domain.columns import NodeColumns, PodColumns, Taint, Tolerations

# By code: ready, not ready, unknown, cordoned.
STATE_TAINTS = [
    [Taint(f"node.kubernetes.io/{why}") for why in reasons]
    for reasons in ([], ["not-ready"], ["unreachable"], ["unschedulable"])
]
GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64


def _nodes(*columns: np.ndarray) -> Iterator[tuple[list[int], ...]]:
    """Each node's amounts, one list a column, as Python integers."""
    for i in range(columns[0].shape[1]):
        yield tuple([int(amount) for amount in column[:, i]] for column in columns)


def _mean(parts: Sequence[tuple[int, int]]) -> int:
    """Weighted mean of (weight, score), floored; 0 where nothing has weight."""
    total = sum(weight for weight, _ in parts)
    return sum(weight * score for weight, score in parts) // total if total else 0


def resource_fit(used, allocatable, request, checked) -> list[bool]:
    """A pod fits where each thing that it asks for is free, before it comes, in that amount; some may not matter."""
    return [
        all(ask <= a - (u - ask) for u, a, ask, cares in zip(us, al, asks, checked, strict=True) if ask > 0 and cares)
        for us, al, asks in _nodes(used, allocatable, request)
    ]


def _counted(used, allocatable, request, weight, scalar) -> Iterator[list[tuple[int, int, int]]]:
    """For each pair (weight, used, allocatable) of what counts: what the node has, and scalars only if asked for."""
    for us, al, asks in _nodes(used, allocatable, request):
        rows = zip(weight, us, al, asks, scalar, strict=True)
        yield [(int(w), u, a) for w, u, a, ask, extra in rows if w and a and (ask or not extra)]


def least_allocated(used, allocatable, request, weight, scalar) -> list[int]:
    """kube-scheduler: 100 idle, 0 full or over."""
    pairs = _counted(used, allocatable, request, weight, scalar)
    return [_mean([(w, 0 if u > a else (a - u) * 100 // a) for w, u, a in pair]) for pair in pairs]


def most_allocated(used, allocatable, request, weight, scalar) -> list[int]:
    """kube-scheduler: 0 idle, 100 full or over."""
    pairs = _counted(used, allocatable, request, weight, scalar)
    return [_mean([(w, min(u, a) * 100 // a) for w, u, a in pair]) for pair in pairs]


def broken_line(x: int, xs: Sequence[int], ys: Sequence[int]) -> int:
    """A line through points, flat outside them; Go's division, which truncates."""
    if x <= xs[0]:
        return ys[0]
    for i in range(1, len(xs)):
        if x <= xs[i]:
            rise = (ys[i] - ys[i - 1]) * (x - xs[i - 1])
            step = abs(rise) // (xs[i] - xs[i - 1])
            return ys[i - 1] + (step if rise >= 0 else -step)
    return ys[-1]


def requested_to_capacity(used, allocatable, request, weight, scalar, shape_x, shape_y) -> list[int]:
    """kube-scheduler: a broken line over the percentage used; only scores above 0 count."""
    xs, ys = [int(x) for x in shape_x], [int(y) for y in shape_y]
    scores = []
    for pair in _counted(used, allocatable, request, weight, scalar):
        top = bottom = 0
        for w, u, a in pair:
            score = broken_line(100 if u > a else u * 100 // a, xs, ys)
            if score > 0:
                top += w * score
                bottom += w
        scores.append((2 * top + bottom) // (2 * bottom) if bottom else 0)  # half away from zero, as Go rounds
    return scores


def balanced_allocation(used, allocatable, request, rows, scalar) -> list[int]:
    """kube-scheduler: 100 where all resources are equally full; IEEE doubles in this very order.

    rows : the resources that count. A pod that asks for none of them isn't scored, which adds 0.
    """
    scores = []
    for us, al, asks in _nodes(used, allocatable, request):
        rows_here = [r for r in rows if al[r] and (asks[r] or not scalar[r])]
        full = [min(1.0, float(us[r]) / float(al[r])) for r in rows_here]
        if len(full) == 2:
            deviation = abs((full[0] - full[1]) / 2)
        elif len(full) > 2:
            total = 0.0
            for f in full:
                total += f
            mean = total / len(full)
            squares = 0.0
            for f in full:
                squares += (f - mean) * (f - mean)
            deviation = math.sqrt(squares / len(full))
        else:
            deviation = 0.0
        scores.append(math.trunc((1 - deviation) * 100.0) if any(asks[r] for r in rows) else 0)
    return scores


def worst_fit(used, allocatable, weight, largest) -> list[int]:
    """What would be left, in parts of 10,000 of the largest node; a node without the resource has 0 left."""
    return [
        _mean(
            [
                (int(w), 10_000 * max(a - u, 0) // int(big))
                for u, a, w, big in zip(us, al, weight, largest, strict=True)
                if big > 0
            ]
        )
        for us, al in _nodes(used, allocatable)
    ]


def best_fit(used, allocatable, weight, largest) -> list[int]:
    """The other way round: 10,000 where nothing would be left."""
    return [10_000 - score for score in worst_fit(used, allocatable, weight, largest)]


def dot_product(used, allocatable, weight, request, largest) -> list[int]:
    """Tetris (Grandl et al., SIGCOMM 2014): what is free now, weighted by what the pod asks for."""
    scores = []
    for us, al, asks in _nodes(used, allocatable, request):
        parts = []
        for u, a, ask, w, big in zip(us, al, asks, weight, largest, strict=True):
            if big > 0:
                free = 10_000 * max(a - (u - ask), 0) // int(big)
                demand = int(w) * -(-10_000 * ask // int(big))
                parts.append((demand, free))
        scores.append(_mean(parts))
    return scores


def select_lowest(score, feasible) -> int:
    """The lowest row of those that fit and score highest, -1 if none fits."""
    rows = [i for i, fits in enumerate(feasible) if fits]
    return max(rows, key=lambda i: (score[i], -i)) if rows else -1


def select_random(score, feasible, seed: int, pod_row: int) -> int:
    """One of those that fit and score highest, drawn from the seed and the pod's number."""
    rows = [i for i, fits in enumerate(feasible) if fits]
    if not rows:
        return -1
    best = max(score[i] for i in rows)
    tied = [i for i in rows if score[i] == best]
    return tied[math.floor(draw01(seed, pod_row) * len(tied))]


def draw01(seed: int, pod_row: int) -> float:
    """splitmix64 of the seed, then of the pod's place in that stream: 53 bits in [0, 1)."""
    start = splitmix64((seed + GOLDEN) % WORD)
    return (splitmix64((start + GOLDEN * (pod_row + 1)) % WORD) >> 11) * 2.0**-53


def splitmix64(x: int) -> int:
    """The finaliser of Steele, Lea and Flood's SplitMix (OOPSLA 2014), as Vigna publishes it."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % WORD
    return x ^ (x >> 31)


# -- whole policies ------------------------------------------------------------

Score = Callable[["Ask"], list[int]]


@dataclass(frozen=True)
class Ask:
    """What one score may look at: the nodes as they would be with the pod on each, and the pod."""

    used: np.ndarray
    allocatable: np.ndarray
    request: np.ndarray
    names: tuple[str, ...]
    fits: list[bool]
    disliked: list[int]

    @property
    def kube(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int], list[bool]]:
        """What kube-scheduler's scores by resources are given."""
        return self.used, self.allocatable, self.request, self.cpu_memory, [False] * len(self.names)

    @property
    def largest(self) -> np.ndarray:
        """The biggest allocatable amount of each resource on any node."""
        return np.array([max((int(a) for a in row), default=0) for row in self.allocatable])

    @property
    def cpu_memory(self) -> list[int]:
        """kube-scheduler's default weights."""
        return [int(name in ("cpu", "memory")) for name in self.names]

    @property
    def all_but_pods(self) -> list[int]:
        """The packing scores' weights."""
        return [int(name != "pods") for name in self.names]


SCORES: dict[str, list[tuple[int, Score]]] = {
    "kube-default": [
        (3, lambda q: taint_toleration(q.disliked, q.fits)),
        (1, lambda q: least_allocated(*q.kube)),
        (1, lambda q: balanced_allocation(*q.kube[:3], [0, 1], q.kube[4])),
    ],
    "least-allocated": [(1, lambda q: least_allocated(*q.kube))],
    "most-allocated": [(1, lambda q: most_allocated(*q.kube))],
    "requested-to-capacity": [(1, lambda q: requested_to_capacity(*q.kube, [0, 70, 100], [0, 100, 50]))],
    "balanced": [(1, lambda q: balanced_allocation(*q.kube[:3], [0, 1], q.kube[4]))],
    "best-fit": [(1, lambda q: best_fit(q.used, q.allocatable, q.all_but_pods, q.largest))],
    "worst-fit": [(1, lambda q: worst_fit(q.used, q.allocatable, q.all_but_pods, q.largest))],
    "first-fit": [],
    "dot-product": [(1, lambda q: dot_product(q.used, q.allocatable, q.all_but_pods, q.request, q.largest))],
    "random": [],
}
RANDOM_TIES = {"kube-default", "random"}


def tolerated(taint: Taint, tolerations: Tolerations) -> bool:
    """Kubernetes' rule, once more in other words."""
    for t in tolerations:
        same_effect = not t.effect or t.effect == taint.effect
        same_key = not t.key or t.key == taint.key
        same_value = t.operator == "Exists" or (t.operator in ("", "Equal") and t.value == taint.value)
        if same_effect and same_key and same_value:
            return True
    return False


def taint_toleration(disliked: list[int], fits: list[bool]) -> list[int]:
    """kube-scheduler: 100 for a node without a disliked taint, 0 for the feasible one with most."""
    most = max((count for count, fit in zip(disliked, fits, strict=True) if fit), default=0)
    return [100 - 100 * count // most if most else 100 for count in disliked]


def disliked_taints(nodes: NodeColumns, tolerations: Tolerations) -> list[int]:
    """How many PreferNoSchedule taints of each node the pod doesn't tolerate."""
    soft = tuple(t for t in tolerations if t.effect in ("", "PreferNoSchedule"))
    return [
        sum(taint.effect == "PreferNoSchedule" and not tolerated(taint, soft) for taint in nodes.taints[i] or ())
        for i in range(len(nodes))
    ]


def open_nodes(nodes: NodeColumns, tolerations: Tolerations) -> list[bool]:
    """Without a NoSchedule or NoExecute taint that the pod doesn't tolerate, be it the one that a state implies."""
    return [
        all(
            taint.effect not in ("NoSchedule", "NoExecute") or tolerated(taint, tolerations)
            for taint in (*(nodes.taints[i] or ()), *STATE_TAINTS[int(nodes.state[i])])
        )
        for i in range(len(nodes))
    ]


def place(policy: str, nodes: NodeColumns, pods: PodColumns, seed: int, ties: str | None = None) -> list[int]:
    """The node row of each pod, -1 for none: every node looked at for every pod."""
    ties = ties or ("random" if policy in RANDOM_TIES else "lowest")
    requested = nodes.requested.copy()
    out = []
    for p in range(len(pods)):
        request = np.repeat(pods.requests[p][:, None], len(nodes), axis=1)
        tolerations = pods.tolerations[p] or ()
        room = resource_fit(requested + request, nodes.allocatable, request, [True] * len(request))
        fits = [a and b for a, b in zip(room, open_nodes(nodes, tolerations), strict=True)]
        disliked = disliked_taints(nodes, tolerations)
        ask = Ask(requested + request, nodes.allocatable, request, nodes.schema.names, fits, disliked)
        total = [0] * len(nodes)
        for weight, score in SCORES[policy]:
            total = [t + weight * s for t, s in zip(total, score(ask), strict=True)]
        row = select_lowest(total, fits) if ties == "lowest" else select_random(total, fits, seed, int(pods.rows[p]))
        if row >= 0:
            requested[:, row] += pods.requests[p]
        out.append(row)
    return out
