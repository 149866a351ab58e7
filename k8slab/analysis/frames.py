"""The dictionary of public frames: every column's name, dtype, unit and meaning.

What stands here stays stable across versions; tests hold every frame against it.

A name may hold a placeholder, and then stands for any number of columns:

    <amount>     a resource's own column: cpu_milli, memory_bytes, pods, nvidia.com/gpu
    <resource>   a resource's name inside a longer one: cpu in cpu_utilization_percent
    [_unit]      the resource's unit, if it has one: cpu_requested_milli, pods_requested
    <label>      a label's key
    <plugin>     a plug-in's name
    <group>      node, zone, namespace or label:<label>

A dtype is "int64", "float64", "bool", "any" or "string" (pandas' own text column, text in an
object column, or a categorical of text; missing values are allowed).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import pandas as pd

from k8slab.domain.resources import column_of, unit_of
from k8slab.errors import UnknownName


@dataclass(frozen=True)
class Column:
    """One column of a public frame, or a family of columns if the name has a placeholder.

    optional : left out where no row has a value
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    optional: bool = False

    def matches(self, name: str) -> bool:
        """Whether a frame's column of this name is meant."""
        return re.fullmatch(_pattern(self.name), name) is not None

    @property
    def required(self) -> bool:
        """A fixed name must be there unless it is optional; a family may be empty."""
        return not self.optional and _pattern(self.name) == re.escape(self.name)


# What a placeholder stands for. An extended resource has a "/" in its name, and a colon is in
# none, so that label columns and plug-in columns are never taken for resources.
_PLACEHOLDERS: Final = {
    "<amount>": r"(?:[^:/]+_(?:milli|bytes)|pods|[^:/]+/[^:]+)",
    "<resource>": r"[^:]+?",
    "[_unit]": r"(?:_milli|_bytes)?",
    "<label>": r".+",
    "<plugin>": r".+",
    "<group>": r"(?:node|zone|namespace|label:.+)",
}
_UNITS: Final = "milli, bytes or count, as the name says"


def _pattern(name: str) -> str:
    pattern = re.escape(name)
    for placeholder, regex in _PLACEHOLDERS.items():
        pattern = pattern.replace(re.escape(placeholder), regex)
    return pattern


def resource_column(resource: str, what: str) -> str:
    """The name of a column that holds an amount of a resource, unit last.

    >>> [resource_column(name, "requested") for name in ("cpu", "ephemeral-storage", "pods")]
    ['cpu_requested_milli', 'ephemeral_storage_requested_bytes', 'pods_requested']
    """
    unit = unit_of(resource)
    return f"{stem_of(resource)}_{what}" + ("" if unit == "count" else f"_{unit}")


def percent_column(resource: str, what: str) -> str:
    """The name of a column that holds a share of a resource.

    >>> percent_column("ephemeral-storage", "utilization")
    'ephemeral_storage_utilization_percent'
    """
    return f"{stem_of(resource)}_{what}_percent"


def stem_of(resource: str) -> str:
    """A resource's name as it stands inside column names.

    >>> [stem_of(name) for name in ("cpu", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu")]
    ['cpu', 'ephemeral_storage', 'hugepages-2Mi', 'nvidia.com/gpu']
    """
    return column_of(resource).removesuffix(f"_{unit_of(resource)}")


_REQUESTED: Final = Column(
    "<resource>_requested[_unit]", "int64", _UNITS, "sum of the requests of the pods there, bound before or placed, "
    "and of foreign usage")
_USAGE: Final = (
    _REQUESTED,
    Column("<resource>_allocatable[_unit]", "int64", _UNITS, "what pods may use there"),
    Column("<resource>_utilization_percent", "float64", "percent", "requested of allocatable; missing where "
           "nothing is allocatable"),
)
_SHARE: Final = (
    _REQUESTED,
    Column("<resource>_of_cluster_percent", "float64", "percent", "requested of what the whole cluster has "
           "allocatable; missing where it has none"),
)
_NODES: Final = Column("nodes", "int64", "count", "nodes in the group")
_POLICY: Final = Column("policy", "string", "", "the policy's name")
_SEED: Final = Column("seed", "int64", "", "of the arrival order and of random ties")
_ALLOCATED: Final = Column("<resource>_allocated_percent", "float64", "percent", "requested of allocatable over the "
                           "whole cluster, foreign usage and pods bound before included; every resource but pods")

_FAILED_SHAPES: Final = (
    Column("cpu_milli", "int64", "milli", "what a pod asks"),
    Column("gpu_milli", "int64", "milli", "what it asks of each GPU; 0 without GPU"),
    Column("gpus", "int64", "count", "how many GPUs it asks"),
    Column("models", "string", "", "the models it accepts, joined by |; empty for any"),
    Column("pods", "int64", "count", "how many pods of this shape found no node"),
)
_REPRODUCED: Final = (Column("trace", "string", "", "the pod list's name"), _POLICY, _SEED)

FRAMES: Final[dict[str, tuple[Column, ...]]] = {
    # Cluster.to_frame(): one row a node, in row order.
    "cluster": (
        Column("node", "string", "", "the node's name, unique"),
        Column("zone", "string", "", "its label topology.kubernetes.io/zone; missing where it has none"),
        Column("<amount>", "int64", _UNITS, "allocatable: what pods may use"),
        Column("state", "string", "", "ready, not_ready, unknown or cordoned"),
        Column("taints", "string", "", "key=value:effect, joined by commas; empty where there are none"),
        Column("images", "string", "", "the images it has, as JSON; missing where it has none", optional=True),
        Column("label:<label>", "string", "", "the label's value; missing where the node has none"),
        Column("foreign:<amount>", "int64", _UNITS, "usage that no known pod explains, if there is any"),
        Column("array:<label>", "any", "the user's", "the user's own numbers about the nodes"),
    ),
    # Workload.to_frame(): one row a pod, in arrival order.
    "workload": (
        Column("pod", "string", "", "the pod's name, unique"),
        Column("<amount>", "int64", _UNITS, "the pod's request; every resource but pods"),
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
        Column("<amount>", "int64", _UNITS, "the pod's request; every resource but pods"),
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
        Column("<resource>_requested[_unit]", "float64", _UNITS, "mean over the window: integral by length"),
        Column("<resource>_allocatable[_unit]", "int64", _UNITS, "what pods may use there, if it was given"),
        Column("<resource>_utilization_percent", "float64", "percent", "requested of allocatable"),
    ),
    # analysis.stranded(placement): one row a node.
    "stranded": (
        Column("node", "string", "", "the node's name"),
        Column("<resource>_free[_unit]", "int64", _UNITS, "allocatable less requested, never below 0"),
        Column("<resource>_stranded[_unit]", "int64", _UNITS, "free, but unusable for want of another resource"),
        Column("<resource>_stranded_percent", "float64", "percent", "stranded of the node's allocatable; missing "
               "where nothing is allocatable"),
    ),
    # Placement.unschedulable(): one row a distinct request of which some pod found no node, most pods first.
    "unschedulable": (
        Column("unplaced", "int64", "count", "pods with this request that found no node"),
        Column("first_pod", "string", "", "the first of them"),
        Column("first_arrival", "int64", "count", "how many pods arrived before that one"),
        Column("<amount>", "int64", _UNITS, "the request; every resource but pods"),
        Column("message", "string", "", "why that first one found none: how many nodes refused it, by reason"),
    ),
    # weight_flips(): one row a score and factor.
    "weight_flips": (
        Column("plugin", "string", "", "the score whose weight was changed"),
        Column("weight", "float64", "times", "its weight in the policy"),
        Column("factor", "float64", "times", "what the weight was multiplied by; 0 leaves the score out"),
        Column("decisions", "int64", "count", "how many decisions were looked at"),
        Column("flipped", "int64", "count", "how many of them would not have chosen the same node"),
        Column("flipped_percent", "float64", "percent", "the same in percent"),
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
    # Difference.frame, of placement.diff(other): one row a pod that went elsewhere, in arrival order.
    "diff": (
        Column("pod", "string", "", "the pod's name"),
        Column("arrival", "int64", "count", "how many pods arrived before it"),
        Column("node", "string", "", "where the first placement put it; missing where nowhere"),
        Column("other_node", "string", "", "where the other put it; missing where nowhere"),
    ),
    # Comparison.frame: one row a policy and seed.
    "comparison.frame": (
        _POLICY,
        _SEED,
        Column("pods", "int64", "count", "pods that arrived"),
        Column("placed", "int64", "count", "pods that arrived and kept their node, to the end or until they left"),
        Column("placed_percent", "float64", "percent", "placed of pods"),
        _ALLOCATED,
        Column("nodes_used", "int64", "count", "nodes with a pod at the end, placed or bound before"),
        Column("stranded_<resource>_percent", "float64", "percent", "stranded at the end, of the cluster's "
               "allocatable; every resource but pods"),
        Column("imbalance_percent", "float64", "percentage points", "standard deviation over nodes of the dominant "
               "utilization"),
        Column("path", "string", "", "how it was computed: tree, scan or stepwise"),
    ),
    # WhatIf.frame: one row a variant.
    "what_if": (
        Column("variant", "string", "", "its name"),
        _POLICY,
        _SEED,
        Column("pods", "int64", "count", "pods that arrived"),
        Column("placed", "int64", "count", "pods that arrived and kept their node, to the end or until they left"),
        Column("placed_percent", "float64", "percent", "placed of pods"),
        _ALLOCATED,
        Column("nodes_used", "int64", "count", "nodes with a pod at the end, placed or bound before"),
        Column("stranded_<resource>_percent", "float64", "percent", "stranded at the end, of the cluster's "
               "allocatable; every resource but pods"),
        Column("imbalance_percent", "float64", "percentage points", "standard deviation over nodes of the dominant "
               "utilization"),
        Column("path", "string", "", "how it was computed"),
        Column("moved", "int64", "count", "pods that ended elsewhere than in the first variant"),
        Column("evicted", "int64", "count", "how often a pod had to go for a more important one"),
    ),
    # Comparison.timings: one row a policy and seed; all that isn't a function of the inputs.
    "comparison.timings": (
        _POLICY,
        _SEED,
        Column("seconds", "float64", "s", "deciding alone, compilation and reading left out"),
    ),
    # Comparison.curves: one row a policy, seed and point of a grid common to all of them.
    "comparison.curves": (
        _POLICY,
        _SEED,
        Column("arrived_percent", "float64", "percent", "requests that arrived so far, of the cluster's allocatable, "
               "in the resource that the whole workload asks most of; 100 is as much as the cluster has"),
        _ALLOCATED,
    ),
    # Comparison.summary(): one row a policy and metric (a number column of Comparison.frame).
    "comparison.summary": (
        _POLICY,
        Column("metric", "string", "", "a column of comparison.frame; its unit is the metric's"),
        Column("mean", "float64", "the metric's", "over the seeds"),
        Column("low", "float64", "the metric's", "lower end of the 95 % bootstrap interval of the mean"),
        Column("high", "float64", "the metric's", "upper end"),
        Column("seeds", "int64", "count", "how many seeds"),
    ),
    # Comparison.differences(baseline): one row a policy but the baseline, and metric.
    "comparison.differences": (
        _POLICY,
        Column("baseline", "string", "", "the policy it is held against"),
        Column("metric", "string", "", "a column of comparison.frame; its unit is the metric's"),
        Column("difference", "float64", "the metric's", "mean over seeds of policy less baseline, paired by seed"),
        Column("low", "float64", "the metric's", "lower end of the 95 % bootstrap interval of that mean"),
        Column("high", "float64", "the metric's", "upper end"),
        Column("p_value", "float64", "", "two-sided sign-flip test, Holm-corrected over the policies compared"),
        Column("distinguishable", "bool", "", "the interval leaves out 0, and the test agrees at 5 %"),
        Column("verdict", "string", "", "higher, lower, equal, not distinguishable or too few seeds"),
    ),
    # Conformance.frame: one row a recorded case.
    "conformance.frame": (
        Column("category", "string", "", "the category that the case stands in"),
        Column("case", "string", "", "its name"),
        Column("passed", "bool", "", "everything computed is equal to what was recorded"),
        Column("differences", "int64", "count", "how many things are not"),
    ),
    # Conformance.agreement: one row a plug-in and kind of thing that was compared.
    "conformance.agreement": (
        Column("name", "string", "", "the plug-in, or what else decided; empty for the decision as a whole"),
        Column("kind", "string", "", "verdicts, raw scores, ..."),
        Column("compared", "int64", "count", "how many were compared"),
        Column("equal", "int64", "count", "how many of them are equal"),
    ),
    # ClusterState.journal.to_frame(): one row a change, in order.
    "journal": (
        Column("time_ns", "int64", "ns", "when, by the state's clock"),
        Column("verb", "string", "", "what was done: NODE_ADDED, BOUND, ..."),
        Column("pod_row", "int64", "", "the pod's row; -1 where none is meant"),
        Column("node_row", "int64", "", "the node's row; -1 where none is meant"),
        Column("value", "int64", "", "the new code of NODE_STATE, PHASE and FINISHED, else 0"),
    ),
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
        Column("<amount>", "int64", _UNITS, "the pod's request; every resource but pods"),
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
    # Counterfactual.frame: one row a metric.
    "counterfactual": (
        Column("metric", "string", "", "what was counted or measured"),
        Column("base", "float64", "as unit says", "in the run; the mean of several"),
        Column("other", "float64", "as unit says", "in the same time lived otherwise; the mean of several"),
        Column("difference", "float64", "as unit says", "other - base"),
        Column("low", "float64", "as unit says", "of the difference's 95 % interval; missing for one pair of runs"),
        Column("high", "float64", "as unit says", "the same, above"),
        Column("verdict", "string", "", "higher, lower, equal, not distinguishable or too few seeds"),
        Column("pairs", "int64", "", "how many pairs of runs"),
        Column("unit", "string", "", "count, s, pods, nodes or percent"),
    ),
    # Counterfactual.pods(): one row a pod that came in both, by name.
    "counterfactual_pods": (
        Column("pod", "string", "", "the pod's name"),
        *(
            Column(f"{name}_{run}", dtype, unit, f"{meaning}, in the {'run' if run == 'base' else 'other'}")
            for run in ("base", "other")
            for name, dtype, unit, meaning in (
                ("node", "string", "", "where it was last"),
                ("pending_s", "float64", "s", "how long it waited"),
                ("restarts", "int64", "count", "restarts"),
                ("evictions", "int64", "count", "evictions"),
            )
        ),
        *(
            Column(f"{name}_difference", dtype, unit, "other - base")
            for name, dtype, unit in (
                ("pending_s", "float64", "s"), ("restarts", "int64", "count"), ("evictions", "int64", "count"),
            )
        ),
    ),
    # k8slab.analysis.gpu.gpu_curves: one row a pod, in order of arrival.
    "gpu.curves": (
        Column("pod", "string", "", "the pod that has just arrived"),
        Column("arrived_percent", "float64", "percent", "asked so far, of the cluster's GPUs"),
        Column("allocated_percent", "float64", "percent", "allocated, of the cluster's GPUs"),
        Column("fragmented_percent", "float64", "percent", "idle but out of typical pods' reach, of the cluster's "
               "GPUs"),
        Column("fragmented_of_idle_percent", "float64", "percent", "the same, of the idle GPUs"),
    ),
    # k8slab.analysis.gpu.gpu_classes: one row a class.
    "gpu.classes": (
        Column("class", "string", "", "what keeps a typical pod from idle GPUs"),
        Column("meaning", "string", "", "the same in words"),
        Column("gpus", "float64", "GPUs", "idle GPUs, averaged over the typical pods"),
        Column("of_idle_percent", "float64", "percent", "the same, of the idle GPUs"),
    ),
    # k8slab.analysis.gpu.gpu_failures: one row a shape of pods that found no node, most pods first.
    "gpu.failures": _FAILED_SHAPES,
    # Reproduction.results: one row a run, with the columns of the published by_seed.csv.
    "reproduction.results": (
        *_REPRODUCED,
        *(Column(f"alloc_{load}", "float64", "% of GPUs", f"allocated while {load} % of the GPUs have been asked for; "
                 "missing where no pod arrived about then") for load in (100, 130)),
        *(Column(f"frag_amount_{load}", "float64", "% of GPUs", f"fragmented at load {load} %")
          for load in (50, 100, 130)),
        *(Column(f"frag_ratio_{load}", "float64", "% of idle GPUs", f"fragmented at load {load} %")
          for load in (50, 100, 130)),
        Column("failed_pods", "int64", "count", "pods that found no node"),
        Column("failed_pods_by_100", "int64", "count", "those among them that came up to load 100 %"),
        Column("pods_submitted", "int64", "count", "pods that arrived"),
    ),
    # Reproduction.curves: one row a run and load.
    "reproduction.curves": (
        *_REPRODUCED,
        Column("load", "int64", "% of GPUs", "asked for so far, whole"),
        Column("allocation", "float64", "% of GPUs", "allocated; missing where no pod arrived about then"),
        Column("frag_amount", "float64", "% of GPUs", "fragmented: expected to be of no use to a typical pod"),
        Column("frag_ratio", "float64", "% of idle GPUs", "fragmented"),
    ),
    # Reproduction.failures: one row a run and shape of pods that found no node, most pods first.
    "reproduction.failures": (
        *_REPRODUCED,
        *_FAILED_SHAPES,
    ),
    # Reproduction.differences: one row a policy and curve; empty where nothing published is at hand.
    "reproduction.differences": (
        _POLICY,
        Column("curve", "string", "", "allocation, frag_amount or frag_ratio"),
        Column("runs", "int64", "count", "runs that both have"),
        Column("compared", "int64", "count", "values that both have"),
        Column("equal", "int64", "count", "those among them that are equal"),
        Column("largest", "float64", "as the curve", "largest difference"),
        Column("gap", "float64", "as the curve", "difference of the means at load 100 %"),
        Column("spread", "float64", "as the curve", "its standard error; missing for a single seed"),
    ),
    # LabRun: what happened in one schedule of the Raft laboratory.
    "raft.events": (
        Column("at_ns", "int64", "ns", "virtual time"),
        Column("event", "string", "", "action (a fault, a change), role, request or answer"),
        Column("member", "string", "", "whose it is; empty where that means nothing"),
        Column("term", "int64", "", "of a role; 0 elsewhere"),
        Column("detail", "string", "", "the action, the role, or who asked what"),
    ),
    "raft.roles": (
        Column("at_ns", "int64", "ns", "from when on a member has this role in this term"),
        Column("member", "string", "", "who"),
        Column("role", "string", "", "follower, pre_candidate, candidate, leader or down"),
        Column("term", "int64", "", "in which term"),
    ),
    "raft.elections": (
        Column("term", "int64", "", "the term that was won"),
        Column("leader", "string", "", "who won it"),
        Column("stood_ns", "int64", "ns", "since when it had been a candidate, in this term or earlier ones"),
        Column("elected_ns", "int64", "ns", "when it won"),
        Column("without_leader_ns", "int64", "ns", "how long nobody had led before; 0 if somebody still did"),
    ),
    "raft.messages": (
        Column("sent_ns", "int64", "ns", "when it left"),
        Column("arrived_ns", "int64", "ns", "when it arrives; -1 if it was lost"),
        Column("source", "string", "", "who sent it"),
        Column("target", "string", "", "to whom"),
        Column("kind", "string", "", "append, vote, heartbeat and so on, and their answers"),
        Column("term", "int64", "", "the sender's term"),
    ),
    "raft.commits": (
        Column("at_ns", "int64", "ns", "when the member applied the entry"),
        Column("member", "string", "", "who"),
        Column("index", "int64", "", "the entry's place in the log"),
        Column("term", "int64", "", "the entry's term"),
    ),
    "raft.operations": (
        Column("client", "int64", "", "the client's number"),
        Column("kind", "string", "", "put, append, get"),
        Column("key", "string", "", "of the key-value store"),
        Column("argument", "any", "", "what was put or appended"),
        Column("answer", "any", "", "the key's values afterwards; missing if there was no answer"),
        Column("invoked_ns", "int64", "ns", "when it was asked for the first time"),
        Column("returned_ns", "int64", "ns", "when it was answered; -1 if never"),
    ),
    "raft.leadership": (
        Column("from_ns", "int64", "ns", "beginning of a time in which the same members led"),
        Column("until_ns", "int64", "ns", "its end"),
        Column("leader", "string", "", "who led, several by commas; missing where nobody did"),
        Column("leaders", "int64", "count", "how many led, in different terms"),
    ),
    "raft.commit_latency": (
        Column("client", "int64", "", "the client's number"),
        Column("kind", "string", "", "put or append"),
        Column("key", "string", "", "of the key-value store"),
        Column("invoked_ns", "int64", "ns", "when it was asked for the first time"),
        Column("latency_ns", "int64", "ns", "from then until it was answered"),
    ),
    # Elections.to_frame(): one row a trial.
    "raft.trials": (
        Column("trial", "int64", "", "its number; with the seed it can be played again"),
        Column("time", "float64", "the setup's unit, ms", "when it was over; infinite if not within the horizon"),
        Column("term", "int64", "", "of the last leader, 0 without"),
        Column("served_share", "float64", "share", "of the time in which a leader had a majority in its term"),
        Column("candidacies", "int64", "count", "terms that were begun"),
        Column("leaders", "int64", "count", "elections won"),
    ),
    # Replication.to_frame(): one row a write.
    "raft.writes": (
        Column("write", "int64", "", "its number, in the order of the answers"),
        Column("latency_ms", "float64", "ms", "from a client's asking to its being answered"),
        Column("answered_ms", "float64", "ms", "when, since the leader's election"),
    ),
    # Ablation.frame: one row a condition, level, set of switches and metric.
    "raft.ablation": (
        Column("condition", "string", "", "loss, deaf member, cut link or clock drift"),
        Column("level_percent", "float64", "percent", "how bad it is"),
        Column("switches", "string", "", "neither, pre-vote, check-quorum or both"),
        Column("metric", "string", "", "unserved_percent, leaders_per_minute or candidacies_per_minute"),
        Column("mean", "float64", "as the metric", "over the trials"),
        Column("low", "float64", "as the metric", "lower end of the mean's 95 % bootstrap interval"),
        Column("high", "float64", "as the metric", "its upper end"),
        Column("trials", "int64", "count", "clusters played, each with its own dice"),
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
    # InstanceCatalogue.to_frame(): one row a type, in the catalogue's order.
    "instance_types": (
        Column("instance_type", "string", "", "its name"),
        Column("family", "string", "", "general, compute, ...; empty if nobody says"),
        Column("price_per_hour", "float64", "money an hour", "of a node, from its launch until it is gone"),
        Column("launch_failure", "float64", "share", "of launches that the cloud refuses"),
        Column("<amount>", "int64", _UNITS, "what pods may use of a node"),
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
    # Backtest.frame: one row a run.
    "backtest": (
        Column("autoscaler", "string", "", "its name"),
        Column("seed", "int64", "", "of arrivals, lifetimes, boot times, refusals"),
        Column("cost", "float64", "money", "of the nodes of groups, from launch to end"),
        Column("node_hours", "float64", "node h", "of those nodes"),
        Column("pending_mean", "float64", "s", "that a pod waited for a node, over all pods"),
        Column("pending_p50", "float64", "s", "the same, median"),
        Column("pending_p95", "float64", "s", "the same, 95th percentile"),
        Column("pending_p99", "float64", "s", "the same, 99th percentile"),
        Column("slo_missed", "float64", "pods", "pods that waited longer than the slo"),
        Column("slo_missed_percent", "float64", "percent", "the same of all pods"),
        Column("evictions", "float64", "pods", "pods that were told to go"),
        Column("nodes_launched", "float64", "nodes", "that were asked for"),
        Column("nodes_removed", "float64", "nodes", "that were given back"),
        Column("pods_never_placed", "float64", "pods", "that found no node to the end"),
    ),
    # Backtest.summary(): one row an autoscaler and metric.
    "backtest.summary": (
        Column("autoscaler", "string", "", "its name"),
        Column("metric", "string", "", "a column of Backtest.frame"),
        Column("mean", "float64", "unit", "over the seeds"),
        Column("low", "float64", "unit", "lower end of its 95 % bootstrap interval"),
        Column("high", "float64", "unit", "upper end"),
        Column("seeds", "int64", "count", "runs"),
        Column("unit", "string", "", "of mean, low and high"),
    ),
    # Backtest.differences(): one row an autoscaler that isn't the baseline, and metric.
    "backtest.differences": (
        Column("autoscaler", "string", "", "its name"),
        Column("baseline", "string", "", "the autoscaler it is held against"),
        Column("metric", "string", "", "a column of Backtest.frame"),
        Column("difference", "float64", "the metric's", "mean over seeds of this less baseline, paired by seed"),
        Column("low", "float64", "the metric's", "lower end of the 95 % bootstrap interval of that mean"),
        Column("high", "float64", "the metric's", "upper end"),
        Column("p_value", "float64", "", "two-sided sign-flip test, Holm-corrected"),
        Column("distinguishable", "bool", "", "the interval leaves out 0, and the test agrees at 5 %"),
        Column("verdict", "string", "", "higher, lower, equal, not distinguishable or too few seeds"),
    ),
    # Recommendations.to_frame(): one row a workload.
    "recommendations": (
        Column("workload", "string", "", "its name"),
        Column("target_cpu_milli", "int64", "milli", "what to request of cpu"),
        Column("lower_cpu_milli", "int64", "milli", "a request below this should grow: cpu"),
        Column("upper_cpu_milli", "int64", "milli", "a request above this should shrink: cpu"),
        Column("target_memory_bytes", "int64", "bytes", "what to request of memory"),
        Column("lower_memory_bytes", "int64", "bytes", "a request below this should grow: memory"),
        Column("upper_memory_bytes", "int64", "bytes", "a request above this should shrink: memory"),
    ),
    # removable_nodes(...).frame: one row a node.
    "removable_nodes": (
        Column("node", "string", "", "its name"),
        Column("removable", "bool", "", "all its pods could run elsewhere, and nothing holds it"),
        Column("pods", "int64", "count", "that would have to move; those of daemon sets wouldn't"),
        Column("held_by", "string", "", "pod, budget, affinity, local storage or room; empty if it could go"),
        Column("reason", "string", "", "what is the matter, in words"),
        Column("pod", "string", "", "the pod that holds it"),
        Column("<resource>_requested_percent", "float64", "percent", "of the node's allocatable; missing where it "
               "has none"),
    ),
    # removable_nodes(...).moves: one row a pod of a node that could go.
    "removable_nodes.moves": (
        Column("node", "string", "", "the node that could go"),
        Column("pod", "string", "", "a pod of it"),
        Column("target", "string", "", "where it would go"),
    ),
    # Run.frames.descheduling: one row an eviction.
    "run_descheduling": (
        Column("time_ns", "int64", "ns", "virtual time"),
        Column("strategy", "string", "", "which chose the pod"),
        Column("pod", "string", "", "the pod"),
        Column("node", "string", "", "where it was"),
    ),
    # Run.frames.descheduled: the same, with what came of it.
    "run_descheduled": (
        Column("time_s", "float64", "s", "virtual time"),
        Column("strategy", "string", "", "which chose the pod"),
        Column("pod", "string", "", "the pod"),
        Column("node", "string", "", "where it was"),
        Column("replacement", "string", "", "the pod that came instead, itself if no workload owns it; missing so far"),
        Column("target", "string", "", "where that was bound; missing so far"),
        Column("moved_back", "bool", "", "that is the node it was taken from"),
    ),
    # Run.frames.right_sizing: one row a pod whose request was changed, or that was evicted for it.
    "run_right_sizing": (
        Column("time_ns", "int64", "ns", "virtual time"),
        Column("autoscaler", "string", "", "the loop"),
        Column("workload", "string", "", "the deployment"),
        Column("action", "string", "", "evict or resize"),
        Column("pod", "string", "", "the pod"),
        Column("cpu_milli", "int64", "milli", "what it should request"),
        Column("memory_bytes", "int64", "bytes", "what it should request"),
    ),
    # Run.frames.node_scaling: one row a step of an autoscaler of nodes, and a node that joined.
    "run_node_scaling": (
        Column("time_ns", "int64", "ns", "virtual time"),
        Column("autoscaler", "string", "", "its name, or cloud"),
        Column("action", "string", "", "scale-up, scale-up-failed, joined, scale-down (after its pods are evicted), "
               "scale-down-empty, removed, scale-down-failed, halt or resume"),
        Column("group", "string", "", "the node group; empty where all are meant"),
        Column("nodes", "int64", "count", "that are asked for, failed, or go"),
        Column("pods", "int64", "count", "that a scale-up is for"),
        Column("node", "string", "", "the node, where one is meant"),
        Column("reason", "string", "", "in words"),
    ),
    # Run.frames.disruptions: one row a node and step of a command of Karpenter's, or why a node is left alone.
    "run_disruptions": (
        Column("time_ns", "int64", "ns", "virtual time"),
        Column("autoscaler", "string", "", "its name"),
        Column("command", "int64", "", "number of the command, that may be about several nodes; -1 for none"),
        Column("method", "string", "", "emptiness, multi- or single-node consolidation, expiration; empty for none"),
        Column("reason", "string", "", "as budgets call it: Empty, Underutilized; Expired, which they don't; or empty"),
        Column("decision", "string", "", "delete or replace, when it is carried out; invalid: it no longer held when "
               "looked at again; failed: the replacement didn't come; keep: the node is left alone"),
        Column("node", "string", "", "its name"),
        Column("price_per_hour", "float64", "money an hour", "of the node"),
        Column("disruption_cost", "float64", "pod evictions", "1 and what its pods' evictions cost"),
        Column("savings_per_hour", "float64", "money an hour", "of the whole command"),
        Column("replacement", "string", "", "types that a new node may be of; empty for none"),
        Column("detail", "string", "", "in words; why, of a node that is kept"),
    ),
    # Run.frames.node_intervals: one row a node of a group.
    "run_node_intervals": (
        Column("node", "string", "", "its name; missing where it never joined"),
        Column("group", "string", "", "its group"),
        Column("instance_type", "string", "", "its type"),
        Column("launched_s", "float64", "s", "when it was asked for; 0 for those of the start"),
        Column("joined_s", "float64", "s", "when it was ready; missing if it never was"),
        Column("ended_s", "float64", "s", "when it was gone, the run's end at the latest"),
        Column("hours", "float64", "h", "from launch to end"),
        Column("price_per_hour", "float64", "money an hour", "of its type"),
        Column("cost", "float64", "money", "hours times the price"),
        Column("end", "string", "", "removed, still there, or why it never joined"),
    ),
    # Run.frames.node_groups: one row a group and bin of time.
    "run_node_groups": (
        Column("start_ns", "int64", "ns", "from when on, in virtual time"),
        Column("end_ns", "int64", "ns", "until when"),
        Column("group", "string", "", "the node group"),
        Column("nodes", "float64", "nodes", "that had joined, the mean over the bin"),
        Column("upcoming", "float64", "nodes", "that were asked for and hadn't"),
        Column("min_size", "int64", "count", "no fewer nodes"),
        Column("max_size", "int64", "count", "no more nodes"),
        Column("cost_per_hour", "float64", "money an hour", "of both"),
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


def describe(kind: str) -> pd.DataFrame:
    """The dictionary's entry as a frame: column, dtype, unit, meaning. UnknownName for an unknown kind."""
    rows = [(column.name, column.dtype, column.unit, column.meaning) for column in _columns_of(kind)]
    return pd.DataFrame(rows, columns=["column", "dtype", "unit", "meaning"])


def check_frame(kind: str, frame: pd.DataFrame) -> None:
    """AssertionError if a frame is not what FRAMES[kind] says.

    Every fixed column must be there, in the dictionary's order; every column must be in the
    dictionary; every dtype must be as it says. Values are not looked at.
    """
    columns = _columns_of(kind)
    names = list(frame.columns)
    assert len(set(names)) == len(names), f"{kind}: a column stands twice: {names}"
    fixed = [column.name for column in columns if column.required]
    found = [name for name in names if name in fixed]
    assert found == fixed, f"{kind}: has columns {found}, wants {fixed}"
    for name in names:
        column = next((column for column in columns if column.matches(name)), None)
        assert column is not None, f"{kind}: column {name!r} is not in the dictionary"
        assert _dtype_is(frame[name], column.dtype), f"{kind}: {name} is {frame[name].dtype}, wants {column.dtype}"


def _columns_of(kind: str) -> tuple[Column, ...]:
    if kind not in FRAMES:
        raise UnknownName("frame", kind, FRAMES)
    return FRAMES[kind]


def _dtype_is(column: pd.Series, dtype: str) -> bool:
    if dtype != "string":
        return dtype in ("any", str(column.dtype))
    # Values are looked at, not the dtype alone: text is object, str or categorical by pandas'
    # version, and a column of missing values has no text by which pandas could know it.
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.dropna()
    return all(isinstance(value, str) for value in values)
