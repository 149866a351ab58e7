"""Karpenter's simulated scheduling, the obvious and slow way: lists of options, one pod after another."""

from __future__ import annotations

from dataclasses import dataclass, field

PENDING, LEAVING, MOVING = range(3)


@dataclass
class Claim:
    pool: int
    options: list[int]
    pods: list[int] = field(default_factory=list)


@dataclass
class Problem:
    """As kernels.claims has it, as lists."""

    duty: list[int]
    pod_class: list[int]
    request: list[list[int]]
    allowed: list[list[bool]]
    free: list[list[int]]
    is_open: list[bool]
    ready: int
    on_option: list[list[bool]]
    room: list[list[int]]
    capacity: list[list[int]]
    pool: list[int]
    remaining: list[list[int]]


def holds(want, has):
    return all(w <= 0 or w <= h for w, h in zip(want, has, strict=True))


def total(problem, pods):
    return [sum(problem.request[problem.pod_class[pod]][r] for pod in pods) for r in range(len(problem.request[0]))]


def can_hold(problem, option, pods):
    """Each pod may use it, and together they have room; what the last of them doesn't ask isn't looked at."""
    if not all(problem.on_option[problem.pod_class[pod]][option] for pod in pods):
        return False
    last, whole = problem.request[problem.pod_class[pods[-1]]], total(problem, pods)
    return all(w <= 0 or t <= h for w, t, h in zip(last, whole, problem.room[option], strict=True))


def scheduled(problem, queue, closed=(), strict=False, most=10**6):
    """(where each pod goes, claims), or the word for how it failed."""
    free = [list(row) for row in problem.free]
    remaining = [list(row) for row in problem.remaining]
    claims, by_pods, where = [], [], {}
    for pod in queue:
        kind = problem.pod_class[pod]
        want = problem.request[kind]
        nodes = [
            m for m, row in enumerate(free)
            if problem.is_open[m] and m not in closed and problem.allowed[kind][m] and holds(want, row)
        ]  # fmt: skip
        if nodes:
            if strict and problem.duty[pod] == MOVING and nodes[0] >= problem.ready:
                return "UPCOMING"
            where[pod] = nodes[0]
            free[nodes[0]] = [h - w for h, w in zip(free[nodes[0]], want, strict=True)]
            continue
        by_pods.sort(key=lambda claim: len(claim.pods))
        for claim in by_pods:
            options = [g for g in claim.options if can_hold(problem, g, [*claim.pods, pod])]
            if options:
                claim.options = options
                claim.pods.append(pod)
                break
        else:
            opened = new_claim(problem, pod, remaining)
            if opened is None:
                if strict and problem.duty[pod] != PENDING:
                    return "STUCK"
                continue
            if len(claims) == most:
                return "MANY"
            claims.append(opened)
            by_pods.append(opened)
    return where, claims


def new_claim(problem, pod, remaining):
    for k, left in enumerate(remaining):
        options = [
            g for g in range(len(problem.room))
            if problem.pool[g] == k and can_hold(problem, g, [pod])
            and all(c <= limit for c, limit in zip(problem.capacity[g], left, strict=True))
        ]  # fmt: skip
        if options:
            for r in range(len(left)):
                left[r] -= max(problem.capacity[g][r] for g in options)
            return Claim(k, options, [pod])
    return None
