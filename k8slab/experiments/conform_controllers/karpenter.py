"""clusterautoscaler_cases: the kinds that are Karpenter's."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from k8slab.domain.karpenter.budgets import REASONS, ActiveBudget, NodeBudget, allowed_for
from k8slab.domain.karpenter.disruption_cost import Move, approves, balanced_score
from k8slab.errors import InputError

Json = dict[str, Any]


def _budget_value(case: Json) -> Json:
    budget = ActiveBudget(NodeBudget(case["nodes"]), case["active"])
    try:
        return {"allowed": budget.allowed(case["num_nodes"])}
    except InputError:
        return {"error": "invalid_nodes", "allowed": allowed_for("Empty", [budget], case["num_nodes"])}


def _budget(case: Json) -> Json:
    budgets = [_one_budget(given) for given in case["budgets"]]
    return {"allowed": {reason: allowed_for(reason, budgets, case["num_nodes"]) for reason in REASONS}}


def _one_budget(given: Json) -> ActiveBudget:
    reasons = given.get("reasons")
    return ActiveBudget(NodeBudget(given["nodes"], reasons and tuple(reasons)), given.get("active", True))


def _budget_active(case: Json) -> Json:
    duration = case.get("duration_s")
    budget = NodeBudget(
        schedule=case.get("schedule"), duration=None if duration is None else timedelta(seconds=duration)
    )
    try:
        return {"active": budget.is_active(datetime.fromisoformat(case["now_utc"]))}
    except InputError:
        return {"error": "invalid_schedule"}


def _score(case: Json) -> Json:
    move = Move(case["savings"], case["disruption_cost"], case["pool_total_cost"], case["pool_total_disruption_cost"])
    score = balanced_score(move)
    told = {} if math.isinf(score) else {"score": score}
    return {"approved": approves(move, case["k"]), **told}


KINDS = {
    "karpenter_budget_value": _budget_value,
    "karpenter_budget": _budget,
    "karpenter_budget_active": _budget_active,
    "karpenter_score": _score,
}
