"""What is asked of a cluster's columns: rows by name, what runs where, what policies may know."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, NodeColumns, PlacedPods, PodColumns, Taints
from k8slab.domain.devices import Held
from k8slab.domain.models import POD_PHASES
from k8slab.domain.ports import Change
from k8slab.errors import StateConflict
from k8slab.state.columns import PENDING, PodRows, StateColumns


class StateQueries(StateColumns):
    """Questions that the columns answer, and the refusal of rows that aren't there."""

    def changes(self, since: int) -> list[Change]:
        """All that was done but the first `since` verbs, in order."""
        with self.lock:
            return self.journal.changes(since)

    def touched(self, since: int) -> Ints:
        """int64[]: the pods of all that was done but the first `since` verbs, in order; -1 for none."""
        with self.lock:
            return self.journal.pods_since(since)

    def node_row(self, name: str) -> int:
        """The row of the node of this name, -1 if there is none or it was removed."""
        with self.lock:
            row = self._node_names.row(name)
            return row if row >= 0 and self.node_alive[row] else -1

    def pod_row(self, name: str) -> int:
        """The row of the pod of this name, -1 if there is none or it was removed."""
        with self.lock:
            row = self._pod_names.row(name)
            return row if row >= 0 and self.pod_alive[row] else -1

    def node_taints(self, node_row: int) -> Taints:
        """The taints of one node."""
        with self.lock:
            return self._node_taints.get()[node_row] or ()

    def node_label(self, key: str) -> Codes[str] | None:
        """What nodes have for one label, None if none ever had it."""
        with self.lock:
            return self._node_labels.get_one(key)

    def pods_on(self, node_row: int | Ints) -> Ints:
        """int64[]: rows of the pods bound to a node, or to one of several, in the order they were added."""
        with self.lock:
            self._nodes_there(node_row)
            if isinstance(node_row, int):
                self._bound.read(self.journal, self.pod_node)
                return self._bound.on(node_row, self.pod_node)
            rows = self.ever_bound()
            return np.unique(rows[np.isin(self.pod_node[rows], node_row)])

    def pending_rows(self) -> Ints:
        """int64[]: rows of the pods that wait for a node, in the order they were added."""
        with self.lock:
            return np.flatnonzero(self.pod_alive & (self.pod_phase == PENDING) & (self.pod_node < 0))

    def node_columns(self) -> NodeColumns:
        """What policies may know of all node rows, and of all that runs there."""
        with self.lock:
            return NodeColumns(
                schema=self.schema,
                names=self.node_names,
                allocatable=self.allocatable,
                requested=self.requested,
                alive=self.node_alive,
                state=self.node_state,
                taints=self._node_taints.get(),
                labels=self._node_labels.get(),
                arrays={},
                images=self._node_images.get(),
                bound=lambda: self._placed(self.pod_node),
                bound_specs=self._pod_specs.get().values,
                nominated=self._placed(self.pod_nominated) if self._has_promises() else None,
                objects=self._objects,
                devices=self._devices.nodes,
            )

    def _has_promises(self) -> bool:
        # Asked at every look at the nodes: without any promise ever, a million pods needn't be looked at.
        return self._promises and bool((self.pod_nominated >= 0).any())

    def _placed(self, node_rows: npt.NDArray[np.int32]) -> PlacedPods:
        with self.lock:
            rows = np.flatnonzero(node_rows >= 0)
            held = Held(*(column[rows] for column in self._devices.pods))
            return PlacedPods(self.pod_columns(rows), node_rows[rows].astype(np.int64), held)

    def pod_columns(self, pod_rows: npt.NDArray[Any] | None = None) -> PodColumns:
        """What policies may know of these pods, in this order; of the pending ones by default."""
        with self.lock:
            rows = self.pending_rows() if pod_rows is None else self._pods_there(pod_rows)
            # All rows in order is the common case of a fresh run: views instead of a million copies.
            whole = len(rows) == self.pod_count and bool((rows == np.arange(len(rows))).all())
            take = slice(None) if whole else rows
            names = self.pod_names if whole else self._pod_names.take(rows)
            namespaces, tolerations = self._pod_namespace.get(), self._pod_tolerations.get()
            specs = self._pod_specs.get()
            return PodColumns(
                schema=self.schema,
                names=names,
                requests=self.pod_request[take],
                rows=rows,
                namespaces=Codes(namespaces.codes[take], namespaces.values),
                tolerations=Codes(tolerations.codes[take], tolerations.values),
                priority=self.pod_priority[take],
                labels={key: Codes(c.codes[take], c.values) for key, c in self._pod_labels.get().items()},
                specs=Codes(specs.codes[take], specs.values),
                leaving=self._pod_leaving.view[take],
                started_ns=self._pod_started.view[take],
            )

    def plain(self, pod_rows: Ints) -> npt.NDArray[np.bool_]:
        """bool[n]: which of these pods have no spec, and so look at no other pod."""
        with self.lock:
            return np.asarray(self._pod_specs.get().codes[pod_rows] < 0)

    # A negative row is a legal index, so every verb asks these before it touches a column.

    def _nodes_there(self, node_rows: PodRows) -> Ints:
        nodes = np.array(node_rows, dtype=np.int64, ndmin=1)
        for node in nodes[(nodes < 0) | (nodes >= self.node_count)][:1].tolist():
            raise StateConflict(f"node row {node} is not there: {self.node_count:,} rows")
        return nodes

    def _alive_nodes(self, node_rows: PodRows) -> Ints:
        nodes = self._nodes_there(node_rows)
        for gone in nodes[~self.node_alive[nodes]][:1].tolist():
            raise StateConflict(f"node {self.node_name(gone)!r} was removed")
        return nodes

    def _pods_there(self, pod_rows: PodRows | npt.NDArray[Any]) -> Ints:
        pods = np.array(pod_rows, dtype=np.int64, ndmin=1)
        for pod in pods[(pods < 0) | (pods >= self.pod_count)][:1].tolist():
            raise StateConflict(f"pod row {pod} is not there: {self.pod_count:,} rows")
        return pods

    def _alive_pods(self, pod_rows: PodRows) -> Ints:
        pods = self._pods_there(pod_rows)
        for gone in pods[~self.pod_alive[pods]][:1].tolist():
            raise StateConflict(f"pod {self.pod_name(gone)!r} was removed")
        if len(pods) > 1 and len(np.unique(pods)) != len(pods):
            values, counts = np.unique(pods, return_counts=True)
            raise StateConflict(f"pod {self.pod_name(int(values[np.argmax(counts)]))!r} is named twice in one call")
        return pods

    def _condition(self, pod_row: int) -> str:
        phase = POD_PHASES[int(self.pod_phase[pod_row])].value
        node = int(self.pod_node[pod_row])
        return f"it is {phase}" + (f" on node {self.node_name(node)!r}" if node >= 0 else "")
