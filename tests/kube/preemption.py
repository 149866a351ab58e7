"""DefaultPreemption (§5): which pods would have to go, on which node."""

from __future__ import annotations

from typing import Any

from tests.kube.filters import Plugin, check
from tests.kube.objects import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Cluster,
    Node,
    Object,
    Pod,
    Status,
    requirements,
    selector_matches,
)

NOW = "9999-12-31T23:59:59Z"  # a pod that hasn't started yet starts after all that have


def preempt(
    cluster: Cluster,
    plugins: list[Plugin],
    pod: Pod,
    rejected: dict[str, Status],
    limit: tuple[int, int] = (100, 0),
) -> dict[str, Any]:
    """`rejected`: why each node was turned down; `plugins`: the filters as prepared for the pod.

    `limit`: the search may stop at this percentage of the nodes, or this number if that is more. It starts
    at the first node: where kube-scheduler starts at random, any node will do.
    """
    nobody: dict[str, Any] = {"nominatedNode": "", "nominatedTies": [], "victims": [], "candidates": {}}
    result = {"ran": True, "code": UNSCHEDULABLE, **nobody}
    problem = not_eligible(cluster, pod, rejected)
    if problem:
        return {**result, "message": post_filter_message(problem)}
    potential = [node for node in cluster.nodes if rejected[node.name].code == UNSCHEDULABLE]
    found: dict[str, tuple[list[Pod], int]] = {}
    failed: dict[str, Status] = {}
    enough = min(max(len(potential) * limit[0] // 100, limit[1]), len(potential))
    for node in potential:
        if len(found) >= enough and any(violations == 0 for _, violations in found.values()):
            break
        outcome = dry_run(cluster, plugins, pod, node)
        if isinstance(outcome, Status):
            failed[node.name] = outcome
        else:
            found[node.name] = outcome
    if failed:
        result["nonCandidates"] = {name: not_a_candidate(status) for name, status in failed.items()}
    if not found:
        unhelpful = ["Preemption is not helpful for scheduling"] * (len(cluster.nodes) - len(failed))
        reasons = [reason for status in failed.values() for reason in status.reasons]
        return {**result, "message": post_filter_message(fit_message(len(cluster.nodes), reasons + unhelpful))}
    result["candidates"] = {
        name: {"victims": [victim.key for victim in victims], "numPDBViolations": violations}
        for name, (victims, violations) in found.items()
    }
    ties = choose(found)
    chosen = ties[0]
    victims = result["candidates"][chosen]["victims"]
    return {**result, "code": "Success", "nominatedNode": chosen, "nominatedTies": ties, "victims": victims}


def fit_message(nodes: int, reasons: list[str], prefilter: str = "") -> str:
    """The fit error's text (§2): each reason with how often it was given, sorted as strings."""
    counted = sorted(f"{reasons.count(reason)} {reason}" for reason in set(reasons))
    return f"0/{nodes} nodes are available: {prefilter or ', '.join(counted)}."


def post_filter_message(message: str) -> str:
    """DynamicResources' PostFilter speaks before DefaultPreemption's."""
    return f"no new claims to deallocate, preemption: {message}"


def not_a_candidate(status: Status) -> dict[str, Any]:
    plugin = {"plugin": status.plugin} if status.plugin else {}
    return {"feasible": False, "code": status.code, **plugin, "reasons": status.reasons}


def not_eligible(cluster: Cluster, pod: Pod, rejected: dict[str, Status]) -> str:
    if pod.spec.get("preemptionPolicy") == "Never":
        return "not eligible due to preemptionPolicy=Never."
    nominated = pod.status.get("nominatedNodeName")
    for node in cluster.nodes:
        if node.name == nominated and rejected[node.name].code != UNRESOLVABLE:
            for other in node.pods:
                if other.priority < pod.priority and goes_by_preemption(other):
                    return "not eligible due to a terminating pod on the nominated node."
    return ""


def goes_by_preemption(pod: Pod) -> bool:
    targets = [c for c in pod.status.get("conditions") or [] if c["type"] == "DisruptionTarget"]
    if not pod.terminating or not targets:
        return False
    return targets[0].get("status") == "True" and targets[0].get("reason") == "PreemptionByScheduler"


def start_time(pod: Pod) -> str:
    """RFC 3339 in UTC and whole seconds sorts as text."""
    return pod.status.get("startTime") or NOW


def importance(pod: Pod) -> tuple[int, str]:
    """Sorts the most important first: highest priority, then longest running."""
    return -pod.priority, start_time(pod)


def dry_run(cluster: Cluster, plugins: list[Plugin], pod: Pod, node: Node) -> tuple[list[Pod], int] | Status:
    """The victims on a node, most important first, and how many of them break a budget."""
    trial, told = node.copy(), [plugin.copy() for plugin in plugins]

    def move(other: Pod, by: int) -> None:
        if by > 0:
            trial.add(other)
        else:
            trial.remove(other)
        for plugin in told:
            plugin.update(other, node, by)

    lower = sorted((other for other in node.pods if other.priority < pod.priority), key=importance)
    if not lower:
        return Status(UNRESOLVABLE, "", ["No preemption victims found for incoming pod"])
    for other in lower:
        move(other, -1)
    status = check(cluster, told, pod, trial)
    if status is not None:
        return status
    violating = breaking_budgets(cluster.budgets, lower)
    victims, violations = [], 0
    for other in [p for p in lower if p in violating] + [p for p in lower if p not in violating]:
        move(other, 1)
        if check(cluster, told, pod, trial) is not None:
            move(other, -1)
            victims.append(other)
            violations += other in violating
    if not victims:
        return Status("Error", "", [f'expected at least one victim pod on node "{node.name}"'])
    return sorted(victims, key=importance), violations


def breaking_budgets(budgets: list[Object], pods: list[Pod]) -> list[Pod]:
    """The pods, in order, that find a budget used up; each charges all budgets that match it."""
    allowed = [budget["status"].get("disruptionsAllowed", 0) for budget in budgets]
    violating = []
    for pod in pods:
        for i, budget in enumerate(budgets):
            if pod.labels and protects(budget, pod):
                allowed[i] -= 1
                if allowed[i] < 0 and pod not in violating:
                    violating.append(pod)
    return violating


def protects(budget: Object, pod: Pod) -> bool:
    selector = budget["spec"].get("selector")
    return (
        (budget["metadata"].get("namespace") or "default") == pod.namespace
        and bool(selector and requirements(selector))
        and selector_matches(selector, pod.labels)
        and pod.metadata["name"] not in (budget["status"].get("disruptedPods") or {})
    )


def choose(found: dict[str, tuple[list[Pod], int]]) -> list[str]:
    """The names left after all criteria, sorted; the scheduler takes any of them."""
    criteria = [
        lambda victims, violations: violations,
        lambda victims, violations: victims[0].priority,
        lambda victims, violations: sum(victim.priority + 2**31 for victim in victims),
        lambda victims, violations: len(victims),
    ]
    names = sorted(found)
    for criterion in criteria:
        lowest = min(criterion(*found[name]) for name in names)
        names = [name for name in names if criterion(*found[name]) == lowest]
    latest = max(earliest_start(found[name][0]) for name in names)
    return [name for name in names if earliest_start(found[name][0]) == latest]


def earliest_start(victims: list[Pod]) -> str:
    """Of those with the highest priority."""
    return min(start_time(victim) for victim in victims if victim.priority == victims[0].priority)
