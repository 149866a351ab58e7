"""The tidy frames of a simulated run: what happened to every pod, node and workload, and the cluster over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from k8slab.analysis.frames import percent_column
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES, POD_PHASES
from k8slab.domain.pod_spec import ZONE
from k8slab.domain.resources import CPU, PODS
from k8slab.domain.run_tables import TABLES
from k8slab.simulation.node_lives import removed_ns

if TYPE_CHECKING:
    from k8slab.simulation.history import History
    from k8slab.simulation.world import World

BINS: Final = 336  # half an hour each, in a week


def pods_frame(world: World, history: History) -> pd.DataFrame:
    """One row a pod that came, in the order their rows were given."""
    state = world.state
    rows = np.flatnonzero(history.arrived_ns < NEVER)
    columns = state.pod_columns(rows)
    frame: dict[str, Any] = {
        "pod": columns.names.to_array(),
        "namespace": columns.namespaces.to_array(),
        "workload": _names(world.workloads.names, state.pod_owner[rows]),
        "node": _names(state.node_names, state.pod_last_node[rows]),
        "outcome": _outcome(world, rows),
        "arrived_s": history.arrived_ns[rows] / SECOND_NS,
        "bound_s": _seconds(history.bound_ns[rows]),
        "ended_s": _seconds(history.ended_ns[rows]),
        "pending_s": history.pending_ns[rows] / SECOND_NS,
        "restarts": history.restarts[rows],
        "evictions": history.evictions[rows],
        "priority": columns.priority.astype(np.int64),
    }
    for resource, column in zip(state.schema.names, state.schema.columns, strict=True):
        if resource != PODS:
            frame[column] = columns.requests[:, state.schema.index(resource)]
    return pd.DataFrame(frame)


def nodes_frame(world: World, history: History) -> pd.DataFrame:
    """One row a node."""
    state = world.state
    columns = state.node_columns()
    frame: dict[str, Any] = {
        "node": state.node_names.to_array(),
        "zone": columns.labels[ZONE].to_array() if ZONE in columns.labels else np.full(len(columns), None),
        "state": np.array([value.value for value in NODE_STATES], dtype=object)[state.node_state],
        "ready_s": history.ready_ns / SECOND_NS,
        "pods_bound": history.node_counts("BOUND"),
        "pods_evicted": history.node_counts("UNBOUND"),
    }
    for resource in state.schema.names:
        if resource != PODS:
            mean = history.node_means(state.schema.index(resource))
            room = state.allocatable[state.schema.index(resource)]
            frame[percent_column(resource, "requested")] = _percent(mean, room)
    return pd.DataFrame(frame)


def utilization_frame(world: World, history: History, bins: int = BINS) -> pd.DataFrame:
    """The cluster over time: one row a bin, each value its mean by time over the bin."""
    state = world.state
    edges = np.linspace(0, history.until_ns, bins + 1).astype(np.int64)
    frame: dict[str, Any] = {
        "start_ns": edges[:-1],
        "end_ns": edges[1:],
        "pods_running": history.running.means(edges),
        "pods_pending": history.pending.means(edges),
        "nodes_ready": history.ready_nodes.means(edges),
    }
    for resource in state.schema.names:
        row = state.schema.index(resource)
        if resource != PODS:
            room = history.usable(row).means(edges)
            asked = history.requested(row).means(edges)
            frame[percent_column(resource, "requested")] = _percent(asked, room)
            frame[percent_column(resource, "used")] = _percent(_used(world, history, row, edges), room)
    return pd.DataFrame(frame)


def _used(world: World, history: History, resource: int, edges: Ints) -> npt.NDArray[np.float64]:
    """float64[B]: what pods use, by their own shares; and the loads that deployments share, at the bins' middles."""
    used = history.held(world.usage.steady(resource)).means(edges)
    if world.state.schema.names[resource] == CPU:
        middles = (edges[:-1] + edges[1:]) // 2
        for owner, load in world.usage.loads_by_owner.items():
            served = history.pods_of(owner).value_at(middles) > 0
            used += np.where(served, load.at(middles), 0)
    return used


def table_frame(world: World, table: str) -> pd.DataFrame:
    """A table that the loops wrote, with names for rows."""
    columns = world.sink.columns(table)
    if table == "faults":
        columns = _lived_through(columns, removed_ns(world))
    frame: dict[str, Any] = {}
    for name in TABLES[table]:
        if name == "pod_row":
            frame["pod"] = _names(world.state.pod_names, columns[name])
        elif name == "node_row":
            frame["node"] = _names(world.state.node_names, columns[name])
        else:
            frame[name] = columns[name]
    return pd.DataFrame(frame)


def _lived_through(faults: dict[str, Any], until_ns: Ints) -> dict[str, Any]:
    """Faults of nodes were drawn ahead: those whose node was taken away by then never were."""
    until = np.append(until_ns, NEVER)[faults["node_row"]]
    lived = faults["start_ns"] < until
    cut = {**faults, "end_ns": np.minimum(faults["end_ns"], until)}
    return {name: column[lived] for name, column in cut.items()}


def summary_frame(metrics: dict[str, tuple[float, str]]) -> pd.DataFrame:
    """One row a metric."""
    return pd.DataFrame(
        {
            "metric": np.array(list(metrics), dtype=object),
            "value": np.array([float(value) for value, _ in metrics.values()], dtype=np.float64),
            "unit": np.array([unit for _, unit in metrics.values()], dtype=object),
        }
    )


def _outcome(world: World, rows: Ints) -> npt.NDArray[np.object_]:
    state = world.state
    names = np.array([*(phase.value for phase in POD_PHASES), "removed"], dtype=object)
    return np.asarray(names[np.where(state.pod_alive[rows], state.pod_phase[rows], len(POD_PHASES))])


def _names(names: Any, rows: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """The names of these rows, None for -1; only those that occur are made."""
    found, where = np.unique(rows, return_inverse=True)
    texts = np.array([None if row < 0 else names[row] for row in found.tolist()], dtype=object)
    return np.asarray(texts[where])


def _seconds(at_ns: Ints) -> npt.NDArray[np.float64]:
    """Instants in seconds, missing where they didn't come."""
    return np.where(at_ns == NEVER, np.nan, at_ns / SECOND_NS)


def _percent(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    share = np.full(np.shape(part), np.nan)
    np.divide(100.0 * part, whole, out=share, where=np.asarray(whole) > 0)
    return share
