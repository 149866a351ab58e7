"""What is placed, where, and why: clusters, workloads, placements, queues and the journal."""

from __future__ import annotations

from typing import Final

from k8slab.analysis.frames.column import UNITS, Column

_REQUESTED: Final = Column(
    "<resource>_requested[_unit]", "int64", UNITS, "sum of the requests of the pods there, bound before or placed, "
    "and of foreign usage")
_USAGE: Final = (
    _REQUESTED,
    Column("<resource>_allocatable[_unit]", "int64", UNITS, "what pods may use there"),
    Column("<resource>_utilization_percent", "float64", "percent", "requested of allocatable; missing where "
           "nothing is allocatable"),
)
_SHARE: Final = (
    _REQUESTED,
    Column("<resource>_of_cluster_percent", "float64", "percent", "requested of what the whole cluster has "
           "allocatable; missing where it has none"),
)
_NODES: Final = Column("nodes", "int64", "count", "nodes in the group")

PLACING: Final[dict[str, tuple[Column, ...]]] = {
    # Cluster.to_frame(): one row a node, in row order.
    "cluster": (
        Column("node", "string", "", "the node's name, unique"),
        Column("zone", "string", "", "its label topology.kubernetes.io/zone; missing where it has none"),
        Column("<amount>", "int64", UNITS, "allocatable: what pods may use"),
        Column("state", "string", "", "ready, not_ready, unknown or cordoned"),
        Column("taints", "string", "", "key=value:effect, joined by commas; empty where there are none"),
        Column("images", "string", "", "the images it has, as JSON; missing where it has none", optional=True),
        Column("label:<label>", "string", "", "the label's value; missing where the node has none"),
        Column("foreign:<amount>", "int64", UNITS, "usage that no known pod explains, if there is any"),
        Column("array:<label>", "any", "the user's", "the user's own numbers about the nodes"),
    ),
    # Workload.to_frame(): one row a pod, in arrival order.
    "workload": (
        Column("pod", "string", "", "the pod's name, unique"),
        Column("<amount>", "int64", UNITS, "the pod's request; every resource but pods"),
        Column("namespace", "string", "", "the pod's namespace"),
        Column("priority", "int64", "", "higher goes first"),
        Column("tolerations", "string", "", "taints it tolerates, joined by commas; empty where there are none"),
        Column("spec", "string", "", "what else it says about where it may run, as JSON; missing where nothing",
               optional=True),
        Column("leaving", "string", "", "deleted, or preempted to make room; missing where it stays", optional=True),
        Column("started_ns", "int64", "ns", "when it began to run, since 1970; 2^63 - 1 where it hasn't",
               optional=True),
        Column("arrival_ns", "int64", "ns", "when it arrives, since the beginning", optional=True),
        Column("duration_ns", "int64", "ns", "how long it runs; 2^63 - 1 for on and on", optional=True),
        Column("label:<label>", "string", "", "the label's value; missing where the pod has none"),
    ),
    # Placement.to_frame(): one row a pod, in the workload's order.
    "placement": (
        Column("pod", "string", "", "the pod's name"),
        Column("node", "string", "", "where it went; missing where no node fitted"),
        Column("node_row", "int64", "", "the node's row in the cluster; -1 where no node fitted"),
        Column("arrival", "int64", "count", "how many pods arrived before it"),
        Column("departure", "int64", "count", "how many pods had arrived when it left its node; -1 if it stayed"),
        Column("<amount>", "int64", UNITS, "the pod's request; every resource but pods"),
        Column("namespace", "string", "", "the pod's namespace"),
        Column("gpu_index", "string", "", "its GPUs on the node, as 0-1; missing where it has none", optional=True),
    ),
    # Placement.utilization(by=...): one row a node, zone, namespace, or value of a label. A missing
    # zone, namespace or value is a row of its own (last), so that rows always add up to the cluster.
    "utilization.node": (
        Column("node", "string", "", "the node's name"),
        Column("zone", "string", "", "its zone; missing where it has none"),
        *_USAGE,
        Column("dominant_percent", "float64", "percent", "the node's highest utilization, pods left out"),
        Column("spread_percent", "float64", "percent", "its highest utilization less its lowest, pods left out"),
    ),
    "utilization.zone": (Column("zone", "string", "", "the zone"), _NODES, *_USAGE),
    "utilization.namespace": (Column("namespace", "string", "", "the namespace; missing for foreign usage"), *_SHARE),
    "utilization.node_label": (Column("label:<label>", "string", "", "the label's value"), _NODES, *_USAGE),
    "utilization.pod_label": (
        Column("label:<label>", "string", "", "the label's value; missing for pods without it and foreign usage"),
        *_SHARE,
    ),
    # analysis.utilization_quantiles(placement)
    "utilization.quantiles": (
        Column("quantile_percent", "float64", "percent", "this share of the nodes is at or below"),
        Column("<resource>_utilization_percent", "float64", "percent", "the node's utilization at that rank, nodes "
               "without the resource left out"),
    ),
    # analysis.utilization_over_time(...): one row a window and group.
    "utilization.over_time": (
        Column("start_ns", "int64", "ns", "the window's first instant"),
        Column("end_ns", "int64", "ns", "the first instant after it"),
        Column("<group>", "string", "", "what the sums are by; absent for the whole cluster"),
        Column("<resource>_requested[_unit]", "float64", UNITS, "mean over the window: integral by length"),
        Column("<resource>_allocatable[_unit]", "int64", UNITS, "what pods may use there, if it was given"),
        Column("<resource>_utilization_percent", "float64", "percent", "requested of allocatable"),
    ),
    # analysis.stranded(placement): one row a node.
    "stranded": (
        Column("node", "string", "", "the node's name"),
        Column("<resource>_free[_unit]", "int64", UNITS, "allocatable less requested, never below 0"),
        Column("<resource>_stranded[_unit]", "int64", UNITS, "free, but unusable for want of another resource"),
        Column("<resource>_stranded_percent", "float64", "percent", "stranded of the node's allocatable; missing "
               "where nothing is allocatable"),
    ),
    # Placement.unschedulable(): one row a distinct request of which some pod found no node, most pods first.
    "unschedulable": (
        Column("unplaced", "int64", "count", "pods with this request that found no node"),
        Column("first_pod", "string", "", "the first of them"),
        Column("first_arrival", "int64", "count", "how many pods arrived before that one"),
        Column("<amount>", "int64", UNITS, "the request; every resource but pods"),
        Column("message", "string", "", "why that first one found none: how many nodes refused it, by reason"),
    ),
    # Placement.preempted(): one row a pod that had to go for a more important one, in order.
    "preempted": (
        Column("pod", "string", "", "the pod that had to go"),
        Column("node", "string", "", "where it was"),
        Column("by", "string", "", "the pod it made room for"),
        Column("arrival", "int64", "count", "how many pods arrived before that one"),
        Column("ran_before", "bool", "", "whether it ran before the workload came"),
    ),
    # SchedulingQueue.to_frame(): one row a pod, the active in the order they go, then the other queues.
    "scheduling_queue": (
        Column("pod", "string", "", "the pod's name"),
        Column("namespace", "string", "", "its namespace"),
        Column("queue", "string", "", "active, backoff, error, unschedulable, gated or in flight"),
        Column("attempts", "int64", "count", "how often it was tried"),
        Column("priority", "int64", "", "higher goes first"),
        Column("since_ns", "int64", "ns", "when it was added, or came back from its last try"),
        Column("next_try_ns", "int64", "ns", "when it is let go at the latest; -1 where only an event can do that"),
        Column("rejected_by", "string", "", "plug-ins that refused it last, joined by commas; empty where none did"),
    ),
    # QueuedScheduler.to_frame(): one row a try of a pod, in order; pods that came with gates have one too.
    "scheduling_attempts": (
        Column("time_ns", "int64", "ns", "when, by the scheduler's clock"),
        Column("pod", "string", "", "the pod's name"),
        Column("namespace", "string", "", "its namespace"),
        Column("outcome", "string", "", "bound, unschedulable, preempting, error or gated"),
        Column("node", "string", "", "where it was bound, or which it was promised; missing where neither"),
        Column("message", "string", "", "why it wasn't bound: the scheduler's event text, or the error"),
        Column("victims", "string", "", "pods that were made to leave for it, joined by commas; empty where none"),
    ),
    # Explanation.frame: one row a node, in row order.
    "explanation": (
        Column("node", "string", "", "the node's name"),
        Column("node_row", "int64", "", "its row in the cluster"),
        Column("feasible", "bool", "", "no filter refused it"),
        Column("refused_by", "string", "", "the first plug-in that did; missing where none"),
        Column("reason", "string", "", "in that plug-in's words, several joined by commas; missing where none"),
        Column("total", "float64", "score", "sum of the weighted scores; missing where refused"),
        Column("<plugin>:raw", "float64", "score", "as the plug-in gave it; missing where refused, and where the "
               "plug-in had nothing to say of this pod"),
        Column("<plugin>:normalized", "float64", "score", "after its normalisation"),
        Column("<plugin>:weighted", "float64", "score", "normalised, times the plug-in's weight"),
    ),
    # SmallestChange.frame: one row a change and constraint; those of one change must be lifted together.
    "smallest_change": (
        Column("change", "int64", "", "its number, from 0: those that open most nodes first"),
        Column("constraint", "string", "", "the kind: taint, request, node selector, spread, ..."),
        Column("what", "string", "", "which one"),
        Column("cut", "int64", "as in unit", "by how much less must be asked on the best node; of pods how many more "
               "it must allow; 0 for what is no amount"),
        Column("unit", "string", "", "milli, bytes or count; missing for what is no amount"),
        Column("best_node", "string", "", "the node where the change's cuts are least, by the sum of their shares"),
        Column("enough_on", "int64", "count", "nodes that the change opens with the cuts of the best node"),
        Column("nodes", "int64", "count", "nodes that it opens with the cuts that each of them needs"),
    ),
    # ClusterState.journal.to_frame(): one row a change, in order.
    "journal": (
        Column("time_ns", "int64", "ns", "when, by the state's clock"),
        Column("verb", "string", "", "what was done: NODE_ADDED, BOUND, ..."),
        Column("pod_row", "int64", "", "the pod's row; -1 where none is meant"),
        Column("node_row", "int64", "", "the node's row; -1 where none is meant"),
        Column("value", "int64", "", "the new code of NODE_STATE, PHASE and FINISHED, else 0"),
    ),
}
