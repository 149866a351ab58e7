"""A simulated run: its pods and nodes, and what its control loops did."""

from __future__ import annotations

from typing import Final

from k8slab.analysis.frames.column import UNITS, Column

RUNNING: Final[dict[str, tuple[Column, ...]]] = {
    # Run.frames.pods: one row a pod that came, in the order their rows were given.
    "run_pods": (
        Column("pod", "string", "", "the pod's name"),
        Column("namespace", "string", "", "the pod's namespace"),
        Column("workload", "string", "", "the deployment, job or daemon set it belongs to; missing for bare pods"),
        Column("node", "string", "", "where it was last; missing if it never had a node"),
        Column("outcome", "string", "", "pending, running, succeeded, failed, or removed"),
        Column("arrived_s", "float64", "s", "when it came"),
        Column("bound_s", "float64", "s", "when it was first bound; missing if it wasn't"),
        Column("ended_s", "float64", "s", "when it ended or was removed; missing if it is still there"),
        Column("pending_s", "float64", "s", "how long it waited for a node, all waits added up"),
        Column("restarts", "int64", "count", "how often its containers were started again"),
        Column("evictions", "int64", "count", "how often it lost its node and waited again"),
        Column("priority", "int64", "", "higher goes first"),
        Column("<amount>", "int64", UNITS, "the pod's request; every resource but pods"),
    ),
    # Run.frames.nodes: one row a node.
    "run_nodes": (
        Column("node", "string", "", "the node's name"),
        Column("zone", "string", "", "the node's zone; missing where it has none"),
        Column("state", "string", "", "ready, not_ready, unknown or cordoned, at the end"),
        Column("ready_s", "float64", "s", "how long it was ready and not cordoned"),
        Column("pods_bound", "int64", "count", "pods that were bound to it"),
        Column("pods_evicted", "int64", "count", "pods that lost it and waited again"),
        Column("<resource>_requested_percent", "float64", "percent", "requested by its pods, of allocatable: the mean "
               "over the run's time"),
    ),
    # Run.frames.utilization: one row a bin of time, each value its mean over the bin, by how long it lasted.
    "run_utilization": (
        Column("start_ns", "int64", "ns", "when the bin begins"),
        Column("end_ns", "int64", "ns", "when it ends"),
        Column("pods_running", "float64", "pods", "pods that hold a node"),
        Column("pods_pending", "float64", "pods", "pods that wait for one"),
        Column("nodes_ready", "float64", "nodes", "nodes that are ready and not cordoned"),
        Column("<resource>_requested_percent", "float64", "percent", "requested by pods, of what ready nodes have"),
        Column("<resource>_used_percent", "float64", "percent", "used by pods, of what ready nodes have"),
    ),
    # Run.frames.events: one row an event that no other table tells.
    "run_events": (
        Column("time_ns", "int64", "ns", "when"),
        Column("controller", "string", "", "the loop that tells it"),
        Column("event", "string", "", "what: FailedScheduling, ..."),
        Column("pod", "string", "", "the pod; missing where none is meant"),
        Column("node", "string", "", "the node; missing where none is meant"),
        Column("detail", "string", "", "more about it, for people"),
    ),
    # Run.summary(): one row a metric.
    "run_summary": (
        Column("metric", "string", "", "what was counted or measured"),
        Column("value", "float64", "as unit says", "how much; missing where there was nothing to measure"),
        Column("unit", "string", "", "count, s, pods, nodes or percent"),
    ),
    # Run.frames.healing: one row a pod or node that something was done about, in order.
    "run_healing": (
        Column("time_ns", "int64", "ns", "when, in virtual time"),
        Column("action", "string", "", "restart, end, evict, preempt, refuse, drain, drained or uncordon"),
        Column("reason", "string", "", "Error, OOMKilled, a failed probe, taint KEY, preempted by POD, a drain's"),
        Column("pod", "string", "", "the pod; missing where a node is meant"),
        Column("node", "string", "", "its node, or the node that is meant"),
        Column("success", "bool", "", "whether it was done; False for an eviction that was refused"),
        Column("detail", "string", "", "the wait before a restart, or why an eviction was refused"),
    ),
    # Run.frames.health: one row a change of what a detector or a readiness probe holds.
    "run_health": (
        Column("time_ns", "int64", "ns", "when, in virtual time"),
        Column("detector", "string", "", "the detector's kind, or readiness"),
        Column("node", "string", "", "the node"),
        Column("pod", "string", "", "the pod; missing where the node is meant"),
        Column("condition", "string", "", "Unknown or Ready of a node, NotReady or Ready of a pod"),
        Column("truth", "string", "", "whether the node was up or down then; empty of a pod"),
        Column("since_ns", "int64", "ns", "since when it held the other before"),
        Column("reason", "string", "", "NodeStatusUnknown, or the probe"),
    ),
    # Run.frames.faults: one row a fault that happened, of nodes first.
    "run_faults": (
        Column("start_ns", "int64", "ns", "when it began, in virtual time"),
        Column("end_ns", "int64", "ns", "when it was over, the run's end at the latest"),
        Column("fault", "string", "", "the fault's name, or what ended a container"),
        Column("node", "string", "", "the node"),
        Column("pod", "string", "", "the pod; missing where the node is meant"),
        Column("detail", "string", "", "down, silent, late by how long or slow by which factor; empty of a pod"),
    ),
    # Run.frames.availability: one row each time that a number changes, by workload and then by time.
    "run_availability": (
        Column("time_s", "float64", "s", "from when on, in virtual time"),
        Column("workload", "string", "", "the deployment, job or daemon set"),
        Column("ready", "int64", "count", "its pods that the cluster held to be ready, and that weren't told to leave"),
        Column("serving", "int64", "count", "those whose node was really up"),
    ),
    # Run.frames.detectors: one row a failure detector, the one that acted first.
    "run_detectors": (
        Column("detector", "string", "", "its kind, or the name it was given"),
        Column("acted", "bool", "", "whether the run went by it; the others only watched"),
        Column("outages", "int64", "count", "times that a node was down"),
        Column("found", "int64", "count", "outages of which it suspected the node"),
        Column("suspicions", "int64", "count", "times that it suspected a node"),
        Column("right", "int64", "count", "suspicions of a node that was down at some time of them"),
        Column("wrong", "int64", "count", "suspicions of a node that was up all the time"),
        Column("precision", "float64", "share", "right of suspicions; missing where there were none"),
        Column("recall", "float64", "share", "found of outages; missing where there were none"),
        Column("delay_mean_s", "float64", "s", "from an outage's beginning to its suspicion; missing where none was "
               "found"),
        Column("delay_median_s", "float64", "s", "the same, median"),
        Column("delay_p95_s", "float64", "s", "the same, 95th percentile"),
        Column("delay_max_s", "float64", "s", "the same, longest"),
        Column("wrong_s", "float64", "node s", "how long it suspected nodes that were up, summed over nodes"),
        Column("moved", "float64", "count", "pods that were evicted by taint; missing unless it acted, as all below"),
        Column("moved_for_nothing", "float64", "count", "those whose node was up"),
        Column("lost_pod_s", "float64", "pod s", "from each eviction until the pod, or what its workload made for it, "
               "was bound and had started up"),
        Column("lost_pod_s_for_nothing", "float64", "pod s", "the same of those whose node was up"),
        Column("work_lost_s_for_nothing", "float64", "pod s", "how long the containers of those had run"),
    ),
    # Run.frames.detections: one row an outage of a node and detector.
    "run_detections": (
        Column("detector", "string", "", "its kind, or the name it was given"),
        Column("node", "string", "", "the node that was down"),
        Column("down_s", "float64", "s", "when the outage began, in virtual time"),
        Column("up_s", "float64", "s", "when it was over, the run's end at the latest"),
        Column("found_s", "float64", "s", "when the detector suspected the node; missing where it didn't"),
        Column("delay_s", "float64", "s", "found less down"),
    ),
    # Run.frames.commits: one row a turn of a loop that the store committed.
    "run_commits": (
        Column("asked_ns", "int64", "ns", "when the loop was due, in virtual time"),
        Column("committed_ns", "int64", "ns", "when a majority of the store's members had it, and it took effect"),
        Column("latency_ms", "float64", "ms", "committed less asked, waiting for a leader included"),
        Column("controller", "string", "", "the loop's name"),
        Column("writes", "int64", "count", "verbs that it carried out"),
        Column("retries", "int64", "count", "how often it was lost with a leader and asked for again"),
    ),
    # Run.frames.leaderless: one row a time in which nobody led the store.
    "run_leaderless": (
        Column("start_ns", "int64", "ns", "virtual time"),
        Column("end_ns", "int64", "ns", "virtual time, the run's end at the latest"),
        Column("lasted_s", "float64", "s", "end less start"),
        Column("cause", "string", "", "leader lost, or quorum lost"),
    ),
    # Run.frames.scaling: one row a step of an autoscaler, and a change of why it can't do what its metrics want.
    "run_scaling": (
        Column("time_ns", "int64", "ns", "virtual time"),
        Column("autoscaler", "string", "", "its name"),
        Column("workload", "string", "", "whose replicas it sets"),
        Column("replicas", "int64", "count", "that the workload should have had until then"),
        Column("desired", "int64", "count", "that it should have from then on"),
        Column("proposed", "int64", "count", "by the metric that wants most, before windows and limits"),
        Column("metric", "string", "", "that metric; empty where none could be had"),
        Column("utilization_percent", "float64", "% of requests", "what it saw; missing unless it is relative to them"),
        Column("able", "string", "", "reason of the condition AbleToScale"),
        Column("active", "string", "", "reason of the condition ScalingActive; empty if it isn't known"),
        Column("limited", "string", "", "reason of the condition ScalingLimited; empty if it isn't known"),
    ),
    # Run.frames.autoscaling: one row an autoscaler, metric and sampled instant.
    "run_autoscaling": (
        Column("time_ns", "int64", "ns", "virtual time"),
        Column("autoscaler", "string", "", "its name"),
        Column("workload", "string", "", "whose replicas it sets"),
        Column("replicas", "int64", "count", "that the workload should have had until then"),
        Column("desired", "int64", "count", "that it should have from then on"),
        Column("ready", "int64", "count", "pods that are ready"),
        Column("metric", "string", "", "what it looked at"),
        Column("value", "float64", "unit", "what it saw; missing where it couldn't be had"),
        Column("target", "float64", "unit", "what it should be"),
        Column("unit", "string", "", "of value and target; empty for a number"),
    ),
}
