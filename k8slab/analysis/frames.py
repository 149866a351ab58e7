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
    """One column of a public frame, or a family of columns if the name has a placeholder."""

    name: str
    dtype: str
    unit: str
    meaning: str

    def matches(self, name: str) -> bool:
        """Whether a frame's column of this name is meant."""
        return re.fullmatch(_pattern(self.name), name) is not None

    @property
    def required(self) -> bool:
        """A fixed name must be there; a family may be empty."""
        return _pattern(self.name) == re.escape(self.name)


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

FRAMES: Final[dict[str, tuple[Column, ...]]] = {
    # Cluster.to_frame(): one row a node, in row order.
    "cluster": (
        Column("node", "string", "", "the node's name, unique"),
        Column("zone", "string", "", "its label topology.kubernetes.io/zone; missing where it has none"),
        Column("<amount>", "int64", _UNITS, "allocatable: what pods may use"),
        Column("state", "string", "", "ready, not_ready, unknown or cordoned"),
        Column("taints", "string", "", "key=value:effect, joined by commas; empty where there are none"),
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
        Column("label:<label>", "string", "", "the label's value; missing where the pod has none"),
    ),
    # Placement.to_frame(): one row a pod, in the workload's order.
    "placement": (
        Column("pod", "string", "", "the pod's name"),
        Column("node", "string", "", "where it went; missing where no node fitted"),
        Column("node_row", "int64", "", "the node's row in the cluster; -1 where no node fitted"),
        Column("arrival", "int64", "count", "how many pods arrived before it"),
        Column("<amount>", "int64", _UNITS, "the pod's request; every resource but pods"),
        Column("namespace", "string", "", "the pod's namespace"),
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
    # Explanation.frame: one row a node, in row order.
    "explanation": (
        Column("node", "string", "", "the node's name"),
        Column("node_row", "int64", "", "its row in the cluster"),
        Column("feasible", "bool", "", "no filter refused it"),
        Column("refused_by", "string", "", "the first filter that did; missing where none"),
        Column("reason", "string", "", "in that filter's words; missing where none"),
        Column("total", "float64", "score", "sum of the weighted scores; missing where refused"),
        Column("<plugin>:raw", "float64", "score", "as the plug-in gave it; missing where refused"),
        Column("<plugin>:normalized", "float64", "score", "after its normalisation"),
        Column("<plugin>:weighted", "float64", "score", "normalised, times the plug-in's weight"),
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
        Column("placed", "int64", "count", "pods that arrived and were on a node at the end"),
        Column("placed_percent", "float64", "percent", "placed of pods"),
        _ALLOCATED,
        Column("nodes_used", "int64", "count", "nodes with a pod at the end, placed or bound before"),
        Column("stranded_<resource>_percent", "float64", "percent", "stranded at the end, of the cluster's "
               "allocatable; every resource but pods"),
        Column("imbalance_percent", "float64", "percentage points", "standard deviation over nodes of the dominant "
               "utilization"),
        Column("path", "string", "", "how it was computed: tree, scan or stepwise"),
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
    # ClusterState.journal.to_frame(): one row a change, in order.
    "journal": (
        Column("time_ns", "int64", "ns", "when, by the state's clock"),
        Column("verb", "string", "", "what was done: NODE_ADDED, BOUND, ..."),
        Column("pod_row", "int64", "", "the pod's row; -1 where none is meant"),
        Column("node_row", "int64", "", "the node's row; -1 where none is meant"),
        Column("value", "int64", "", "the new code of NODE_STATE, PHASE and FINISHED, else 0"),
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
