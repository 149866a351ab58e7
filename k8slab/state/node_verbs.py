"""The verbs that write the columns of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, Names, Taints
from k8slab.domain.models import NODE_STATES
from k8slab.domain.pod_spec import Images
from k8slab.errors import StateConflict
from k8slab.state.inputs import as_amounts, as_codes, refuse_clashes, same_length
from k8slab.state.queries import StateQueries


class NodeVerbs(StateQueries):
    """Nodes come, go, and change."""

    def add_nodes(
        self,
        names: Names | Iterable[str],
        allocatable: npt.ArrayLike,
        *,
        states: npt.ArrayLike | None = None,
        taints: Codes[Taints] | None = None,
        labels: Mapping[str, Codes[str]] | None = None,
        foreign: npt.ArrayLike | None = None,
        images: Codes[Images] | None = None,
        there: bool = True,
    ) -> Ints:
        """Add nodes, ready unless `states` says otherwise; gives their rows.

        there : False gives rows to nodes that `play` lets come; nobody is told of them before

        allocatable, foreign : int64[R, n]. states : int8[n]. Raises StateConflict
        for a name that a node already has, InputError for one given twice and for
        amounts that are negative, not whole or beyond LARGEST_AMOUNT.
        """
        with self.lock:
            names = names if isinstance(names, Names) else Names(names)
            count = len(names)
            amounts = as_amounts(allocatable, (len(self.schema), count), "allocatable of nodes")
            extra = None if foreign is None else as_amounts(foreign, amounts.shape, "foreign usage of nodes")
            codes = as_codes(0 if states is None else states, count, len(NODE_STATES), "node states")
            same_length(count, {"taints": taints, "images": images, **(labels or {})})
            refuse_clashes("node", names, self._node_names, self.node_alive)
            rows = np.arange(self.node_count, self.node_count + count)
            self._node_names.extend(names)
            self._node_alive.extend(count, there)
            self._node_state.extend(count, codes)
            self._allocatable.extend(count, amounts)
            self._requested.extend(count, extra)
            self._foreign.extend(count, extra)
            self._node_taints.extend(count, Codes.constant((), count) if taints is None else taints)
            self._node_labels.extend(count, labels)
            self._node_images.extend(count, images)
            self._devices.add_nodes(amounts)
            if there:
                self._log("NODE_ADDED", node_rows=rows.copy())
            return rows

    def remove_node(self, node_row: int) -> None:
        """Take a node away. Raises StateConflict while pods are bound to it."""
        with self.lock:
            self._alive_nodes(node_row)
            held = len(self.pods_on(node_row))
            if held:
                raise StateConflict(f"cannot remove node {self.node_name(node_row)!r}: {held:,} pods are bound to it")
            self.node_alive[node_row] = False
            self._log("NODE_REMOVED", node_rows=node_row)

    def set_node_state(self, node_row: int, code: int) -> None:
        """Set a node ready, not_ready, unknown or cordoned: a code into NODE_STATES."""
        with self.lock:
            self._alive_nodes(node_row)
            assert 0 <= code < len(NODE_STATES), f"node state {code} is not one of 0..{len(NODE_STATES) - 1}"
            if self.node_state[node_row] != code:
                self.node_state[node_row] = code
                self._log("NODE_STATE", node_rows=node_row, value=code)

    def update_node(
        self,
        node_row: int,
        *,
        allocatable: npt.ArrayLike | None = None,
        taints: Taints | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Replace a node's allocatable int64[R], taints or labels; what is None stays.

        Shrinking below what is requested is allowed, as in Kubernetes: the pods stay.
        """
        with self.lock:
            self._alive_nodes(node_row)
            if allocatable is not None:
                amounts = as_amounts(allocatable, (len(self.schema),), "allocatable")
                self.allocatable[:, node_row] = amounts
                self._devices.set_capacity(node_row, amounts)
            if taints is not None:
                self._node_taints.set(node_row, taints)
            if labels is not None:
                self._node_labels.set(node_row, labels)
            self._log("NODE_UPDATED", node_rows=node_row)

    def set_foreign(self, node_row: int, foreign: npt.ArrayLike) -> None:
        """Set the usage, int64[R], that no pod known here explains; may exceed what is allocatable."""
        with self.lock:
            self._alive_nodes(node_row)
            amounts = as_amounts(foreign, (len(self.schema),), "foreign usage")
            self.requested[:, node_row] += amounts - self.foreign[:, node_row]
            self.foreign[:, node_row] = amounts
            self._log("NODE_UPDATED", node_rows=node_row)
