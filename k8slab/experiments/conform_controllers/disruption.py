"""pdb_cases: budgets, evictions, whole numbers and percentages."""

from __future__ import annotations

from typing import Any

from k8slab.domain.disruption import (
    NO_STATUS,
    BudgetPod,
    BudgetSpec,
    BudgetStatus,
    EvictedPod,
    admit_eviction,
    budget_status,
    scaled_value,
)
from k8slab.errors import InputError
from k8slab.experiments.conform_controllers.times import ns

Json = dict[str, Any]


def _status(case: Json) -> Json:
    pods = [
        BudgetPod(pod["name"], pod.get("owner"), pod.get("ready", False), pod.get("deleted", False))
        for pod in case["pods"]
    ]
    spec = BudgetSpec(case["min_available"], case["max_unavailable"])
    disrupted = {pod: ns(at) for pod, at in case["disrupted_pods"].items()}
    status = budget_status(spec, pods, case["controllers"], disrupted, 0)
    if case["selector"] == "unparsable":
        status = NO_STATUS
    return {
        "disruptions_allowed": status.disruptions_allowed,
        "current_healthy": status.current_healthy,
        "desired_healthy": status.desired_healthy,
        "expected_pods": status.expected_pods,
        "disrupted_pods": sorted(status.disrupted_pods),
    }


def _eviction(case: Json) -> Json:
    given, budget = case["pod"], case["budget"]
    pod = EvictedPod("pod", given.get("phase") or "", given.get("ready") == "True", given.get("deleting", False))
    spec = BudgetSpec(unhealthy_pod_eviction_policy=case["policy"])
    status = BudgetStatus(budget["disruptions_allowed"], budget["current_healthy"], budget["desired_healthy"])
    matching = [(spec, status)] if budget["selector"] != "not matching" else []
    answer = admit_eviction(pod, matching, 0, dry_run=case.get("dry_run", False))
    after = answer.status if answer.status is not None else status
    return {
        "outcome": answer.outcome.value,
        "disruptions_allowed_after": after.disruptions_allowed,
        "condition_reason_after": after.reason,
    }


def _int_or_percent(case: Json) -> Json:
    try:
        return {"value": scaled_value(case["value"], case["total"], round_up=case["round_up"])}
    except InputError:
        return {"error": "invalid"}


KINDS = {"status": _status, "eviction": _eviction, "int_or_percent": _int_or_percent}
