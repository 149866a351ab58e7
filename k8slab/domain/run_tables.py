"""The tidy tables that control loops write: what a row of each holds.

One place, so that a column means the same to who writes and who reads. `pod` and `node`
are rows of the state here; frames show names. k8slab.analysis.frames says what the
columns of the frames mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["int", "float", "text", "bool"]

TABLES: Final[Mapping[str, Mapping[str, Kind]]] = {
    # Anything that happens that no other table tells: arrivals of faults, evictions refused, pods that find no node.
    "events": {
        "time_ns": "int",
        "controller": "text",
        "event": "text",
        "pod_row": "int",
        "node_row": "int",
        "detail": "text",
    },
    # A change of a workload's scale, by whatever autoscaler, or of the reasons why it can't be what metrics want:
    # replicas before, desired now, and proposed by the metric that wants most; the conditions' reasons.
    "scaling": {
        "time_ns": "int",
        "autoscaler": "text",
        "workload": "text",
        "replicas": "int",
        "desired": "int",
        "proposed": "int",
        "metric": "text",
        "utilization_percent": "float",
        "able": "text",
        "active": "text",
        "limited": "text",
    },
    # What an autoscaler of nodes did, and what the cloud made of it: one row a step, or a node.
    "node_scaling": {
        "time_ns": "int",
        "autoscaler": "text",
        "action": "text",
        "group": "text",
        "nodes": "int",
        "pods": "int",
        "node_row": "int",
        "reason": "text",
    },
    # What Karpenter did about a node that it had launched, or why it left it alone, when that changed. A command is
    # about one node or several, a row each; savings are the whole command's.
    "disruptions": {
        "time_ns": "int",
        "autoscaler": "text",
        "command": "int",
        "method": "text",
        "reason": "text",
        "decision": "text",
        "node_row": "int",
        "price_per_hour": "float",
        "disruption_cost": "float",
        "savings_per_hour": "float",
        "replacement": "text",
        "detail": "text",
    },
    # What right-sizing did to a pod, and what it should request by then.
    "right_sizing": {
        "time_ns": "int",
        "autoscaler": "text",
        "workload": "text",
        "action": "text",
        "pod_row": "int",
        "cpu_milli": "int",
        "memory_bytes": "int",
    },
    # Pods that the descheduler had evicted, and by which strategy.
    "descheduling": {
        "time_ns": "int",
        "strategy": "text",
        "pod_row": "int",
        "node_row": "int",
    },
    # What a healer did about a pod or a node: restart, eviction, drain, replacement.
    "healing": {
        "time_ns": "int",
        "action": "text",
        "reason": "text",
        "pod_row": "int",
        "node_row": "int",
        "success": "bool",
        "detail": "text",
    },
    # What a detector holds a node (or pod) to be, when that changes; and the truth beside it.
    "health": {
        "time_ns": "int",
        "detector": "text",
        "node_row": "int",
        "pod_row": "int",
        "condition": "text",
        "truth": "text",
        "since_ns": "int",
        "reason": "text",
    },
    # The ground truth of faults: what was broken from when to when.
    "faults": {
        "start_ns": "int",
        "end_ns": "int",
        "fault": "text",
        "node_row": "int",
        "pod_row": "int",
        "detail": "text",
    },
}
