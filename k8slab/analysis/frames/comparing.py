"""Runs, policies, variants and autoscalers held against one another."""

from __future__ import annotations

from typing import Final

from k8slab.analysis.frames.column import POLICY, SEED, Column

_ALLOCATED: Final = Column("<resource>_allocated_percent", "float64", "percent", "requested of allocatable over the "
                           "whole cluster, foreign usage and pods bound before included; every resource but pods")

COMPARING: Final[dict[str, tuple[Column, ...]]] = {
    # weight_flips(): one row a score and factor.
    "weight_flips": (
        Column("plugin", "string", "", "the score whose weight was changed"),
        Column("weight", "float64", "times", "its weight in the policy"),
        Column("factor", "float64", "times", "what the weight was multiplied by; 0 leaves the score out"),
        Column("decisions", "int64", "count", "how many decisions were looked at"),
        Column("flipped", "int64", "count", "how many of them would not have chosen the same node"),
        Column("flipped_percent", "float64", "percent", "the same in percent"),
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
        POLICY,
        SEED,
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
        POLICY,
        SEED,
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
        POLICY,
        SEED,
        Column("seconds", "float64", "s", "deciding alone, compilation and reading left out"),
    ),
    # Comparison.curves: one row a policy, seed and point of a grid common to all of them.
    "comparison.curves": (
        POLICY,
        SEED,
        Column("arrived_percent", "float64", "percent", "requests that arrived so far, of the cluster's allocatable, "
               "in the resource that the whole workload asks most of; 100 is as much as the cluster has"),
        _ALLOCATED,
    ),
    # Comparison.summary(): one row a policy and metric (a number column of Comparison.frame).
    "comparison.summary": (
        POLICY,
        Column("metric", "string", "", "a column of comparison.frame; its unit is the metric's"),
        Column("mean", "float64", "the metric's", "over the seeds"),
        Column("low", "float64", "the metric's", "lower end of the 95 % bootstrap interval of the mean"),
        Column("high", "float64", "the metric's", "upper end"),
        Column("seeds", "int64", "count", "how many seeds"),
    ),
    # Comparison.differences(baseline): one row a policy but the baseline, and metric.
    "comparison.differences": (
        POLICY,
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
}
