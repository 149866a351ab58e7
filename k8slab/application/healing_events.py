"""A row that a controller told of its healing, as the event that the orchestration API knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8slab.domain.instants import from_ns
from k8slab.domain.models import SelfHealingEvent


def healing_event(event_id: str, row: Mapping[str, Any]) -> SelfHealingEvent:
    """The event of a row of the table `healing`, with its pod and node by name ("" for none).

    >>> row = {"time_ns": 0, "action": "evict", "reason": "drain", "pod": "web-0", "node": "n", "success": True}
    >>> event = healing_event("1", {**row, "detail": ""})
    >>> event.event_type, event.description, event.metadata
    ('pod_evict', 'drain', {'reason': 'drain'})
    """
    kind = "pod" if row["pod"] else "node"
    return SelfHealingEvent(
        event_id=event_id,
        timestamp=from_ns(int(row["time_ns"])),
        event_type=f"{kind}_{row['action']}",
        pod_id=row["pod"],
        node_id=row["node"],
        description=row["detail"] or row["reason"],
        action_taken=row["action"],
        success=bool(row["success"]),
        metadata={"reason": row["reason"]},
    )
