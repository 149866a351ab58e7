"""Who uses how much of what, as tidy frames; k8slab.analysis.frames has their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from k8slab.analysis.frames import percent_column, resource_column
from k8slab.datasets import ZONE
from k8slab.domain.columns import Codes, Ints
from k8slab.domain.resources import PODS, ResourceSchema
from k8slab.errors import InputError, UnknownName
from k8slab.kernels import utilization as kernels

if TYPE_CHECKING:
    from k8slab.datasets import Cluster, Workload
    from k8slab.experiments.placement import Placement

Floats = npt.NDArray[np.float64]
QUANTILES: Final = (0, 5, 25, 50, 75, 95, 100)


def utilization(placement: Placement, by: str = "node") -> pd.DataFrame:
    """What is requested, of what is allocatable, once every pod has been placed.

    by : "node", "zone", "namespace" or a label's key (nodes' labels first, then pods')

    Counts placed pods, pods bound before and foreign usage, on all nodes, schedulable or not.
    A namespace or a pods' label owns no nodes: there the share is of the whole cluster. Nodes
    without the zone or label, and usage that no pod explains, are a last row with the name missing,
    so rows add up to the cluster. UnknownName for a key that no node and no pod has.
    """
    cluster, workload = in_one_schema(placement)
    key = ZONE if by == "zone" else by
    if by == "node":
        return _node_frame(cluster, node_usage(placement))
    if key in cluster.labels or by == "zone":
        owner = cluster.labels.get(key, _nothing(len(cluster)))
        return _node_group_frame("zone" if by == "zone" else f"label:{by}", owner, cluster, node_usage(placement))
    pods, bound = workload, cluster.bound
    if by != "namespace" and by not in pods.labels and (bound is None or by not in bound.labels):
        known = {"node", "zone", "namespace", *cluster.labels, *pods.labels, *(bound.labels if bound else ())}
        raise UnknownName("grouping", by, known)
    return _pod_group_frame("namespace" if by == "namespace" else f"label:{by}", by, placement)


def node_usage(placement: Placement) -> Ints:
    """int64[R, N]: what is requested on each node; R as in the cluster's schema, then the workload's others."""
    cluster, workload = in_one_schema(placement)
    requests, node_row, namespace = all_pods(cluster, workload, placement.rows_at_end, "namespace")
    return _sums(cluster, requests, node_row, namespace)[0] + cluster.foreign


def utilization_quantiles(placement: Placement, quantiles: Sequence[float] = QUANTILES) -> pd.DataFrame:
    """Utilization over the nodes: which value this share of them is at or below, for each resource.

    quantiles : in percent. Nearest rank: every answer is some node's own utilization.
    """
    cluster, _ = in_one_schema(placement)
    percent = _percent(node_usage(placement), cluster.allocatable)
    at = np.asarray(quantiles, dtype=np.float64)
    if not ((at >= 0) & (at <= 100)).all():
        raise InputError(f"quantiles are percentages from 0 to 100; found {list(quantiles)}")
    columns = {"quantile_percent": at}
    for resource, values in zip(cluster.schema.names, percent, strict=True):
        columns[percent_column(resource, "utilization")] = found = np.empty(len(at))
        kernels.quantiles(values, at, found)
    return pd.DataFrame(columns)


def imbalance_percent(placement: Placement) -> float:
    """How unequally full the nodes are: the standard deviation of their dominant utilization, in percentage points.

    A node's dominant utilization is its highest, pods left out. The deviation is the population's:
    sqrt(mean((u - mean(u))^2)). 0 where all nodes are alike; NaN where no node has anything.
    """
    dominant = utilization(placement)["dominant_percent"].to_numpy()
    known = dominant[~np.isnan(dominant)]
    return float(known.std()) if len(known) else float("nan")


def stranded(placement: Placement, demand: Mapping[str, int] | None = None) -> pd.DataFrame:
    """What is free on each node but unusable, because another resource would run out first.

    demand : proportions in which further pods would ask, by resource, such as {"cpu": 4000,
             "memory": 2**34}; if not given, as the workload as a whole asks

    A node can take the demand until its scarcest resource is used up; what is then left of the
    others is stranded. kernels.utilization.stranded has the formula. Pods are a fluid in it:
    what is left because pods are lumps is not counted. UnknownName for an unknown resource.
    """
    cluster, workload = in_one_schema(placement)
    schema = cluster.schema
    asked = workload.requests.sum(axis=0) if demand is None else _vector(schema, demand)
    requested = node_usage(placement)
    amount = stranded_amounts(requested, cluster.allocatable, asked)
    percent = _percent(amount, cluster.allocatable)
    free = np.maximum(cluster.allocatable - requested, 0)
    columns: dict[str, Any] = {"node": cluster.names.to_array()}
    for r, resource in enumerate(schema.names):
        columns[resource_column(resource, "free")] = free[r]
        columns[resource_column(resource, "stranded")] = amount[r]
        columns[percent_column(resource, "stranded")] = percent[r]
    return pd.DataFrame(columns)


def stranded_amounts(requested: Ints, allocatable: Ints, demand: Ints) -> Ints:
    """int64[R, N]: what is stranded where this is requested; demand int64[R] in any scale."""
    amount = np.empty_like(requested)
    kernels.stranded(requested, allocatable, demand, amount)
    return amount


def utilization_over_time(
    requests: Ints,
    start_ns: Ints,
    end_ns: Ints,
    edges_ns: Ints | Sequence[int],
    *,
    schema: ResourceSchema | None = None,
    group: Codes[str] | None = None,
    by: str = "namespace",
    allocatable: Ints | None = None,
) -> pd.DataFrame:
    """Mean usage by pods that come and go, weighted by time, in each window.

    requests         : int64[P, R]
    start_ns, end_ns : int64[P]      a pod counts from its start until just before its end
    edges_ns         : int64[W + 1]  rising; window w is [edges_ns[w], edges_ns[w + 1])
    group            : Codes[P]      the pods' node, zone, namespace ...; -1 counts nowhere. `by` names the column
    allocatable      : int64[R, G]   of each of group.values (or [R, 1]); then utilization stands beside

    One row a window and group, windows first. InputError if edges don't rise.
    """
    schema = schema or ResourceSchema()
    edges = np.asarray(edges_ns, dtype=np.int64)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise InputError(f"windows need two or more rising edges in ns; found {edges.tolist()[:6]}")
    codes = np.zeros(len(requests), dtype=np.int32) if group is None else group.codes
    groups, windows = 1 if group is None else len(group.values), len(edges) - 1
    means = np.empty((groups, windows, len(schema)))
    kernels.window_means(requests, codes, start_ns, end_ns, edges, means)
    columns: dict[str, Any] = {"start_ns": np.repeat(edges[:-1], groups), "end_ns": np.repeat(edges[1:], groups)}
    if group is not None:
        columns[by] = np.tile(np.array(group.values, dtype=object), windows)
    for r, resource in enumerate(schema.names):
        used = means[:, :, r].T.ravel()
        columns[resource_column(resource, "requested")] = used
        if allocatable is not None:
            has = np.tile(allocatable[r], windows)
            columns[resource_column(resource, "allocatable")] = has
            columns[percent_column(resource, "utilization")] = 100.0 * used / np.where(has > 0, has, np.nan)
    return pd.DataFrame(columns)


# --- frames


def _node_frame(cluster: Cluster, requested: Ints) -> pd.DataFrame:
    percent = _percent(requested, cluster.allocatable)
    counted = [r for r, resource in enumerate(cluster.schema.names) if resource != PODS]
    dominant, spread = np.empty((2, len(cluster)))
    kernels.dominant_and_spread(percent[counted], dominant, spread)
    return pd.DataFrame({
        "node": cluster.names.to_array(),
        "zone": _texts(cluster.labels.get(ZONE, _nothing(len(cluster)))),
        **_usage_columns(cluster.schema, requested, cluster.allocatable),
        "dominant_percent": dominant,
        "spread_percent": spread,
    })


def _node_group_frame(column: str, owner: Codes[str], cluster: Cluster, requested: Ints) -> pd.DataFrame:
    groups = _with_missing(owner)
    sums = np.empty((2, len(cluster.schema), len(groups.values)), dtype=np.int64)
    kernels.sum_by_code(requested, groups.codes, sums[0])
    kernels.sum_by_code(cluster.allocatable, groups.codes, sums[1])
    frame = pd.DataFrame({
        column: np.array(groups.values, dtype=object),
        "nodes": np.bincount(groups.codes, minlength=len(groups.values)),
        **_usage_columns(cluster.schema, *sums),
    })
    return _tidy(frame, column, frame["nodes"] > 0)


def _pod_group_frame(column: str, by: str, placement: Placement) -> pd.DataFrame:
    cluster, workload = in_one_schema(placement)
    requests, node_row, owner = all_pods(cluster, workload, placement.rows_at_end, by)
    groups = _with_missing(owner)
    sums = _sums(cluster, requests, node_row, groups)[2]
    sums[:, -1] += cluster.foreign.sum(axis=1)
    share = _percent(sums, np.broadcast_to(cluster.totals()[:, None], sums.shape))
    columns: dict[str, Any] = {column: np.array(groups.values, dtype=object)}
    for r, resource in enumerate(cluster.schema.names):
        columns[resource_column(resource, "requested")] = sums[r]
        columns[percent_column(resource, "of_cluster")] = share[r]
    frame = pd.DataFrame(columns)
    named = np.arange(len(frame)) < len(owner.values)
    return _tidy(frame, column, named | (sums > 0).any(axis=0))


def _usage_columns(schema: ResourceSchema, requested: Ints, allocatable: Ints) -> dict[str, Any]:
    percent = _percent(requested, allocatable)
    columns: dict[str, Any] = {}
    for r, resource in enumerate(schema.names):
        columns[resource_column(resource, "requested")] = requested[r]
        columns[resource_column(resource, "allocatable")] = allocatable[r]
        columns[percent_column(resource, "utilization")] = percent[r]
    return columns


def _tidy(frame: pd.DataFrame, column: str, keep: Any) -> pd.DataFrame:
    """The rows to keep, by name, the missing one last."""
    kept: pd.DataFrame = frame[keep]
    return kept.sort_values(column, na_position="last", kind="stable", ignore_index=True)


# --- sums


def in_one_schema(placement: Placement) -> tuple[Cluster, Workload]:
    """Cluster and workload with the resources of both, the cluster's first."""
    schema = placement.cluster.schema.union(placement.workload.schema)
    return placement.cluster.with_schema(schema), placement.workload.with_schema(schema)


def all_pods(
    cluster: Cluster, workload: Workload, node_rows: npt.NDArray[Any], by: str
) -> tuple[Ints, npt.NDArray[np.int32], Codes[str]]:
    """Requests, node rows and group of the workload's pods, then of those bound before."""
    requests, rows, owner = workload.requests, node_rows, _owner(workload, by)
    if cluster.bound is not None:
        requests = np.concatenate([requests, cluster.bound.requests])
        rows = np.concatenate([rows, cluster.bound_node])
        owner = _joined(owner, _owner(cluster.bound, by))
    return requests, rows.astype(np.int32), owner


def _sums(
    cluster: Cluster, requests: Ints, node_row: npt.NDArray[np.int32], owner: Codes[str]
) -> tuple[Ints, Ints, Ints]:
    """int64[R, N], [R, Z], [R, K]: the pods' requests by node, zone and owner."""
    zone = cluster.labels.get(ZONE, _nothing(len(cluster)))
    counts = (len(cluster), len(zone.values), len(owner.values))
    node, of_zone, of_owner = (np.empty((len(cluster.schema), count), dtype=np.int64) for count in counts)
    kernels.usage(requests, node_row, owner.codes, zone.codes, node, of_zone, of_owner)
    return node, of_zone, of_owner


def _percent(requested: Ints, allocatable: Ints) -> Floats:
    percent = np.empty(requested.shape)
    kernels.utilization(requested, allocatable, percent)
    return percent


def _vector(schema: ResourceSchema, amounts: Mapping[str, int]) -> Ints:
    for name in amounts:
        if name not in schema.names:
            raise UnknownName("resource", name, schema.names)
    return schema.vector(amounts)


# --- columns of codes


def _owner(workload: Workload, by: str) -> Codes[str]:
    return workload.namespaces if by == "namespace" else workload.labels.get(by, _nothing(len(workload)))


def _nothing(count: int) -> Codes[str]:
    return Codes(np.full(count, -1, dtype=np.int32), ())


def _joined(first: Codes[str], second: Codes[str]) -> Codes[str]:
    """One column after the other, under one set of values."""
    code = {value: number for number, value in enumerate(dict.fromkeys((*first.values, *second.values)))}
    parts = [
        np.array([*(code[value] for value in column.values), -1], dtype=np.int32)[column.codes]
        for column in (first, second)
    ]
    return Codes(np.concatenate(parts), tuple(code))


def _with_missing(column: Codes[str]) -> Codes[Any]:
    """The same with a last value None for the rows that had none."""
    codes = np.where(column.codes < 0, len(column.values), column.codes).astype(np.int32)
    return Codes(codes, (*column.values, None))


def _texts(column: Codes[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(column.codes, pd.Index(column.values, dtype="str"))
