"""What elastic clusters add: node groups, right-sizing, descheduling, nodes that could go."""

from __future__ import annotations

from typing import Final

from k8slab.analysis.frames.column import UNITS, Column

ELASTIC: Final[dict[str, tuple[Column, ...]]] = {
    # InstanceCatalogue.to_frame(): one row a type, in the catalogue's order.
    "instance_types": (
        Column("instance_type", "string", "", "its name"),
        Column("family", "string", "", "general, compute, ...; empty if nobody says"),
        Column("price_per_hour", "float64", "money an hour", "of a node, from its launch until it is gone"),
        Column("launch_failure", "float64", "share", "of launches that the cloud refuses"),
        Column("<amount>", "int64", UNITS, "what pods may use of a node"),
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
}
