"""Naive twins of k8slab.kernels.utilization: obvious, slow, in whole numbers and fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Rows = Sequence[Sequence[int]]


def naive_sums(requests: Rows, codes: Sequence[int], groups: int, resources: int) -> list[list[int]]:
    """[R][G] sums of the pods' requests by code."""
    sums = [[0] * groups for _ in range(resources)]
    for request, code in zip(requests, codes, strict=True):
        if code >= 0:
            for r, amount in enumerate(request):
                sums[r][code] += amount
    return sums


def naive_usage(
    requests: Rows, node_row: Sequence[int], namespace: Sequence[int], zone: Sequence[int], zones: int, namespaces: int,
    resources: int,
) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """[R][N], [R][Z], [R][K]: each pod looked up anew for each sum."""
    zone_of_pod = [zone[n] if n >= 0 else -1 for n in node_row]
    placed_in = [k if n >= 0 else -1 for n, k in zip(node_row, namespace, strict=True)]
    return (
        naive_sums(requests, node_row, len(zone), resources),
        naive_sums(requests, zone_of_pod, zones, resources),
        naive_sums(requests, placed_in, namespaces, resources),
    )


def naive_window_mean(
    requests: Rows, codes: Sequence[int], start: Sequence[int], end: Sequence[int], lo: int, hi: int, group: int, r: int
) -> Fraction:
    """The exact mean of what one group requests of one resource over [lo, hi)."""
    pods = zip(requests, codes, start, end, strict=True)
    integral = sum(q[r] * max(min(e, hi) - max(s, lo), 0) for q, g, s, e in pods if g == group)
    return Fraction(integral, hi - lo)


def naive_utilization(requested: Rows, allocatable: Rows) -> list[list[float]]:
    """[R][N] in percent."""
    return [
        [100.0 * used / can if can else math.nan for used, can in zip(*rows, strict=True)]
        for rows in zip(requested, allocatable, strict=True)
    ]


def naive_dominant_and_spread(percent: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """[N], [N]: the highest, and highest less lowest, of what is no NaN."""
    columns = [[value for value in column if not math.isnan(value)] for column in zip(*percent, strict=True)]
    return (
        [max(column) if column else math.nan for column in columns],
        [max(column) - min(column) if column else math.nan for column in columns],
    )


def naive_quantile(values: Sequence[float], percent: int) -> float:
    """The first of the sorted values that enough values are at or below."""
    kept = sorted(value for value in values if not math.isnan(value))
    for count, value in enumerate(kept, start=1):
        if 100 * count >= percent * len(kept):
            return value
    return math.nan


def naive_stranded(requested: Rows, allocatable: Rows, demand: Sequence[int]) -> list[list[int]]:
    """[R][N]: fill each node with the demand as far as fractions go; what is left of r is stranded."""
    out = [[0] * len(requested[0]) for _ in requested]
    for n in range(len(requested[0])):
        free = [max(can[n] - used[n], 0) for used, can in zip(requested, allocatable, strict=True)]
        times = min((Fraction(f, d) for f, d in zip(free, demand, strict=True) if d), default=Fraction(0))
        for r, d in enumerate(demand):
            out[r][n] = free[r] - math.floor(times * d) if d else 0
    return out
