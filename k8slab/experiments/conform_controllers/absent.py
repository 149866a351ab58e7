"""What a case means that leaves a key out: what is not set, not asked for, or not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Json = dict[str, Any]

_NO_EVENTS: Final = {"up_events": (), "down_events": ()}
_NO_METRICS: Final = {"pods": (), "resource_metrics": (), "custom_pod_metrics": (), "external_values_milli": ()}
_ABSENT: Final[Mapping[str, Json]] = {
    "resource_utilization": {"container": None, "pods": (), "metrics": ()},
    "pods_metric": {"pods": (), "metrics": ()},
    "object_value": {"pods": ()},
    "external_value": {"pods": ()},
    "utilization_ratio": {"metrics_milli": {}, "requests_milli": {}},
    "group_pods": {"pods": (), "metrics": {}},
    "pod_request": {"container": None, "pod_level_resources_enabled": False},
    "scale_limit": _NO_EVENTS,
    "stabilize_without_behavior": {"recommendations": ()},
    "stabilize_with_behavior": {"recommendations": ()},
    "rate_limit": _NO_EVENTS,
    "store_event": {"prev_events": (), "rules": None},
    "reconcile": {**_NO_METRICS, "object_value_milli": None, "behavior": None, "recommendations": None, "faults": ()},
    "status": {
        "selector": "matching", "min_available": None, "max_unavailable": None, "controllers": {}, "pods": (),
        "disrupted_pods": {},
    },
    "eviction": {"policy": None},
    "int_or_percent": {"round_up": False},
    "zone_rate": {"all_zones_full": False},
    "node_status": {
        "heartbeat": None, "lease_renewed": None, "then_advance_s": 0, "heartbeat_after": None,
        "lease_renewed_after": None,
    },
    "taints": {"conditions": {}, "taints_before": ()},
    "no_execute_taint": {"no_execute_before": ()},
    "disruption_exclusion": {"labels": None},
    "binpacking": {"existing_nodes": (), "max_nodes": 0, "groups": ()},
    "fastpath_group": {"groups": ()},
    "pod_order": {"pods": ()},
    "limiter": {"elapsed_at_start_s": 0},
    "similar_groups_threshold": {"similar_groups": ()},
    "expander": {
        "options": (), "node_price": {}, "pod_price": {}, "stabilization_pod_price": None,
    },
    "expander_chain": {"filters_keep_names_containing": (), "options": ()},
    "utilization": {"pods": (), "skip_daemonsets": False, "skip_mirror": False},
    "eligibility": {"pods_on_first_regular_node": (), "ignore_daemonsets": False, "scale_down_unready_enabled": True},
    "removable_count": {"empty": 0, "drain": 0, "ongoing_deletions": 0},
    "unremovable_reason": {
        "ready": True, "scale_down_disabled": False, "in_node_group": True, "min_nodes_quota": None,
        "config_error": False,
    },
    "deletion_budget": {
        "empty_deletions_in_progress": 0, "drain_deletions_in_progress": 0, "atomic_target_sizes": {}, "empty": (),
        "drain": (), "other_nodes": (),
    },
    "karpenter_budget_value": {"active": True},
    "percentiles": {"half_life_s": None, "samples": ()},
    "usage_stats": {"pods": ()},
    "handles": {"subresource": ""},
    "lists": {"a": {}},
    "admission": {"quotas": (), "limited_resources": (), "dry_run": False, "operation": "Create", "subresource": ""},
    "limit_pvc": {"min": None, "max": None},
    "limit_admission": {"limits": (), "operation": "Create", "subresource": "", "terminating": False},
}  # fmt: skip


def filled(case: Json) -> Json:
    """The case with what it leaves out; what it states as null stays null."""
    return {**_ABSENT.get(case["kind"], {}), **case}
