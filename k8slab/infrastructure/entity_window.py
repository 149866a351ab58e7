"""Pods and nodes read from the columns of a state, and written to them: what both in-memory repositories share.

Columns hold exact integers; an entity's floats, its image or its heartbeat have no column. So
the last value that was saved is kept beside the row, and each of its fields stands for as long
as it says what the column says: 0.0004 cores come back as such while the column holds 1 mCPU.

Who is where is said by the pods. What a node's own `pods` and `cpu_used` say beyond that:

- Usage above what its listed pods request is the node's foreign usage.
- A listed pod that isn't bound to the node is a claim: its share is foreign usage until the pod
  itself is saved or deleted, and so says where it is. So a service may save the node before the
  pod or after it, and the pod is charged once.
- A bound pod that isn't listed is charged on top: the node was saved before the pod was moved.
- A pod saved as on a node that isn't known waits for the node to be saved, and charges it then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from k8slab.domain.columns import Codes, Ints, NodeColumns, PodColumns
from k8slab.domain.entity_columns import (
    allocatable_of,
    bytes_of,
    check_node,
    check_pod,
    milli_of,
    request_of,
    taints_of,
    tolerations_of,
    used_of,
    whole_bytes_of,
    whole_milli_of,
)
from k8slab.domain.models import NODE_STATES, POD_PHASES, Node, Pod, PodPhase
from k8slab.domain.resources import CPU, MEMORY
from k8slab.domain.taints import taint_text, toleration_text
from k8slab.state import ClusterState
from k8slab.units import bytes_to_mib, milli_to_cores

_ENDED: Final = (PodPhase.SUCCEEDED, PodPhase.FAILED)


@dataclass
class Records:
    """What has no column.

    pods, nodes : by row, the value last saved, or first made of the columns
    claims      : by node row, the listed pods that aren't bound to the node
    stranded    : by the id of a node that isn't known, the rows of the pods saved as on it
    """

    pods: dict[int, Pod] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)
    claims: dict[int, set[str]] = field(default_factory=dict)
    stranded: dict[str, set[int]] = field(default_factory=dict)


_RECORDS: Final[WeakKeyDictionary[ClusterState, Records]] = WeakKeyDictionary()


class EntityWindow:
    """Entities in and out of a state. All windows on one state show the same."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        with state.lock:
            self._records = _RECORDS.setdefault(state, Records())
        self._cpu = state.schema.index(CPU)
        self._memory = state.schema.index(MEMORY)

    @property
    def records(self) -> Records:
        """What all windows on this state keep beside its columns."""
        return self._records

    # -- pods ----------------------------------------------------------------

    def save_pod(self, pod: Pod) -> None:
        """Add the pod or bring its row up to date, and put it where it says it is.

        A succeeded pod holds nothing; a failed one keeps its resources for its restart.
        """
        check_pod(pod)
        with self.state.lock:
            amounts = request_of(pod)
            row = self.state.pod_row(pod.pod_id)
            row = self._add_pod(pod, amounts) if row < 0 else self._update_pod(row, pod, amounts)
            self._settle_claims(pod.pod_id, self.state.pod_request[row])
            self._place(row, pod)
            self._records.pods[row] = replace(pod, labels=dict(pod.labels), tolerations=list(pod.tolerations))

    def delete_pod(self, pod_id: str) -> bool:
        """Remove the pod, wherever it is; False if there is none."""
        with self.state.lock:
            row = self.state.pod_row(pod_id)
            if row < 0:
                return False
            self._settle_claims(pod_id, self.state.pod_request[row])
            self._unstrand(row)
            self.state.remove_pods(row)
            self._records.pods.pop(row, None)
            return True

    def get_pod(self, pod_id: str) -> Pod | None:
        """A fresh value, None if there is none."""
        with self.state.lock:
            row = self.state.pod_row(pod_id)
            return None if row < 0 else self._pods(np.array([row]))[0]

    def list_pods(self, namespace: str | None = None) -> list[Pod]:
        """Fresh values in the order added, of one namespace if it is given."""
        with self.state.lock:
            pods = self._pods(np.flatnonzero(self.state.pod_alive))
        return [pod for pod in pods if namespace is None or pod.namespace == namespace]

    def _add_pod(self, pod: Pod, amounts: Mapping[str, int]) -> int:
        rows = self.state.add_pods(
            [pod.pod_id],
            self.state.schema.vector(amounts)[None],
            namespaces=Codes.constant(pod.namespace, 1),
            tolerations=Codes.constant(tolerations_of(pod), 1),
            priority=pod.priority,
            labels={key: Codes.constant(value, 1) for key, value in pod.labels.items()},
        )
        return int(rows[0])

    def _update_pod(self, row: int, pod: Pod, amounts: Mapping[str, int]) -> int:
        request = self.state.pod_request[row].copy()
        request[[self._cpu, self._memory]] = amounts[CPU], amounts[MEMORY]
        now = self._pods(np.array([row]))[0]
        same = (request == self.state.pod_request[row]).all() and _traits(now) == _traits(pod)
        if not same:
            self.state.update_pod(
                row,
                request=request,
                priority=pod.priority,
                labels=pod.labels,
                namespace=pod.namespace,
                tolerations=tolerations_of(pod),
                force=True,
            )
        return row

    def _place(self, row: int, pod: Pod) -> None:
        """Bind, unbind or end a pod, so that its row says what the pod says. What was observed is never refused."""
        state, code = self.state, POD_PHASES.index(pod.phase)
        target = state.node_row(pod.node_id) if pod.node_id else -1
        wanted = -1 if pod.phase is PodPhase.SUCCEEDED else target
        held = int(state.pod_node[row])
        self._unstrand(row)
        if held >= 0 and held != wanted:
            state.finish(row, code) if pod.phase is PodPhase.SUCCEEDED else state.unbind(row)
        if wanted >= 0 and held != wanted:
            if state.pod_phase[row] != POD_PHASES.index(PodPhase.PENDING):
                state.set_phase(row, POD_PHASES.index(PodPhase.PENDING))
            state.bind(row, wanted, force=True)
        if state.pod_phase[row] != code:
            state.set_phase(row, code)
        if pod.node_id and target < 0:
            self._records.stranded.setdefault(pod.node_id, set()).add(row)

    def _unstrand(self, row: int) -> None:
        saved = self._records.pods.get(row)
        rows = self._records.stranded.get(saved.node_id) if saved is not None else None
        if saved is not None and rows is not None:
            rows.discard(row)
            if not rows:
                del self._records.stranded[saved.node_id]

    def _pods(self, rows: Ints) -> list[Pod]:
        columns = self.state.pod_columns(rows)
        return [self._pod(row, columns, index) for index, row in enumerate(rows.tolist())]

    def _pod(self, row: int, columns: PodColumns, index: int) -> Pod:
        saved = self._records.pods.get(row)
        if saved is None:
            saved = self._records.pods[row] = _pod_of_columns(columns, index)
        cpu, memory = int(columns.requests[index, self._cpu]), int(columns.requests[index, self._memory])
        tolerations = columns.tolerations[index] or ()
        phase = POD_PHASES[self.state.pod_phase[row]]
        return replace(
            saved,
            namespace=columns.namespaces[index] or "",
            node_id=self._node_id(row, saved, phase),
            phase=phase,
            cpu_request=_exact(saved.cpu_request, cpu, milli_of, milli_to_cores),
            memory_request=_exact(saved.memory_request, memory, bytes_of, bytes_to_mib),
            labels=_in_order(saved.labels, _labels(columns.labels, index)),
            tolerations=list(saved.tolerations)
            if tolerations_of(saved) == tolerations
            else [toleration_text(toleration) for toleration in tolerations],
            priority=int(columns.priority[index]),
        )

    def _node_id(self, row: int, saved: Pod, phase: PodPhase) -> str:
        """Where the pod is; of one that ended, where it was; of one saved as on a node not known here, that one."""
        held, last = int(self.state.pod_node[row]), int(self.state.pod_last_node[row])
        if held >= 0:
            return self.state.node_name(held)
        if saved.phase is phase and (phase in _ENDED or self.state.node_row(saved.node_id) < 0):
            return saved.node_id
        return self.state.node_name(last) if phase in _ENDED and last >= 0 else ""

    # -- nodes ---------------------------------------------------------------

    def save_node(self, node: Node) -> None:
        """Add the node or bring its row up to date. Moves no pod, but for those that waited for it to be known."""
        check_node(node)
        with self.state.lock:
            allocatable = allocatable_of(node)
            row = self.state.node_row(node.node_id)
            row = self._add_node(node, allocatable) if row < 0 else self._update_node(row, node, allocatable)
            self._take_usage(row, node)
            self._records.nodes[row] = _copy_of(node)

    def get_node(self, node_id: str) -> Node | None:
        """A fresh value, None if there is none."""
        with self.state.lock:
            row = self.state.node_row(node_id)
            return None if row < 0 else self._node(row, self.state.node_columns(), self.state.pods_on(row).tolist())

    def list_nodes(self) -> list[Node]:
        """Fresh values in the order added."""
        with self.state.lock:
            columns = self.state.node_columns()
            held: dict[int, list[int]] = {}
            for pod_row in np.flatnonzero(self.state.pod_node >= 0).tolist():
                held.setdefault(int(self.state.pod_node[pod_row]), []).append(pod_row)
            rows = np.flatnonzero(self.state.node_alive).tolist()
            return [self._node(row, columns, held.get(row, [])) for row in rows]

    def _add_node(self, node: Node, allocatable: Mapping[str, int]) -> int:
        (row,) = self.state.add_nodes(
            [node.node_id],
            self.state.schema.vector(allocatable)[:, None],
            states=np.array([NODE_STATES.index(node.state)], dtype=np.int8),
            taints=Codes.constant(taints_of(node), 1),
            labels={key: Codes.constant(value, 1) for key, value in node.labels.items()},
        ).tolist()
        for pod_row in sorted(self._records.stranded.get(node.node_id, ())):
            self._place(pod_row, self._records.pods[pod_row])
        return int(row)

    def _update_node(self, row: int, node: Node, allocatable: Mapping[str, int]) -> int:
        columns = self.state.node_columns()
        amounts = columns.allocatable[:, row].copy()
        amounts[[self._cpu, self._memory]] = allocatable[CPU], allocatable[MEMORY]
        same = (
            (amounts == columns.allocatable[:, row]).all()
            and (columns.taints[row] or ()) == taints_of(node)
            and _labels(columns.labels, row) == node.labels
        )
        if not same:
            self.state.update_node(row, allocatable=amounts, taints=taints_of(node), labels=node.labels)
        self.state.set_node_state(row, NODE_STATES.index(node.state))
        return row

    def _take_usage(self, row: int, node: Node) -> None:
        """What the node's listed pods don't explain of its usage is foreign."""
        listed, used = set(node.pods), used_of(node)
        bound = {self.state.pod_name(pod_row): pod_row for pod_row in self.state.pods_on(row).tolist()}
        explained = self.state.pod_request[[bound[name] for name in bound if name in listed]].sum(axis=0)
        foreign = self.state.foreign[:, row].copy()
        for resource, name in ((self._cpu, CPU), (self._memory, MEMORY)):
            foreign[resource] = max(used[name] - int(explained[resource]), 0)
        self._set_foreign(row, foreign)
        self._records.claims[row] = listed - bound.keys()
        if not self._records.claims[row]:
            del self._records.claims[row]

    def _settle_claims(self, pod_id: str, request: Ints) -> None:
        """A pod speaks for itself now: its share of the usage of nodes that listed it is foreign no more."""
        for row, claimed in list(self._records.claims.items()):
            if pod_id not in claimed:
                continue
            claimed.discard(pod_id)
            if not claimed:
                del self._records.claims[row]
            if self.state.node_alive[row]:
                foreign = self.state.foreign[:, row].copy()
                for resource in (self._cpu, self._memory):
                    foreign[resource] = max(foreign[resource] - request[resource], 0)
                self._set_foreign(row, foreign)

    def _set_foreign(self, row: int, foreign: Ints) -> None:
        if (foreign != self.state.foreign[:, row]).any():
            self.state.set_foreign(row, foreign)

    def _node(self, row: int, columns: NodeColumns, held: Iterable[int]) -> Node:
        saved = self._records.nodes.get(row)
        if saved is None:
            saved = self._records.nodes[row] = _node_of_columns(columns, row)
        taints = columns.taints[row] or ()
        cpu, memory = columns.allocatable[[self._cpu, self._memory], row].tolist()
        cpu_used, memory_used = columns.requested[[self._cpu, self._memory], row].tolist()
        return replace(
            saved,
            state=NODE_STATES[columns.state[row]],
            cpu_allocatable=_exact(saved.cpu_allocatable, cpu, whole_milli_of, milli_to_cores),
            memory_allocatable=_exact(saved.memory_allocatable, memory, whole_bytes_of, bytes_to_mib),
            cpu_used=_exact(saved.cpu_used, cpu_used, milli_of, milli_to_cores),
            memory_used=_exact(saved.memory_used, memory_used, bytes_of, bytes_to_mib),
            pods=self._pods_listed(row, saved, held),
            labels=_in_order(saved.labels, _labels(columns.labels, row)),
            taints=list(saved.taints) if taints_of(saved) == taints else [taint_text(taint) for taint in taints],
        )

    def _pods_listed(self, row: int, saved: Node, held: Iterable[int]) -> list[str]:
        """The node's pods as they were listed, claims included, then those bound since."""
        bound = dict.fromkeys(self.state.pod_name(pod_row) for pod_row in held)
        here = bound.keys() | self._records.claims.get(row, set())
        listed = [name for name in saved.pods if name in here]
        for name in listed:
            bound.pop(name, None)
        return [*listed, *bound]


def _pod_of_columns(columns: PodColumns, index: int) -> Pod:
    """A pod that came by a verb of the state, or from a description: the rest of its fields are made up once."""
    name = columns.names[index]
    cpu = milli_to_cores(int(columns.requests[index, columns.schema.index(CPU)]))
    memory = bytes_to_mib(int(columns.requests[index, columns.schema.index(MEMORY)]))
    return Pod(
        pod_id=name,
        name=name,
        namespace="",
        node_id="",
        phase=PodPhase.PENDING,
        container_image="",
        cpu_request=cpu,
        memory_request=memory,
        cpu_limit=cpu,
        memory_limit=memory,
    )


def _node_of_columns(columns: NodeColumns, row: int) -> Node:
    name = columns.names[row]
    cpu = milli_to_cores(int(columns.allocatable[columns.schema.index(CPU), row]))
    memory = bytes_to_mib(int(columns.allocatable[columns.schema.index(MEMORY), row]))
    return Node(name, name, NODE_STATES[columns.state[row]], cpu, memory, cpu, memory)


def _copy_of(node: Node) -> Node:
    return replace(node, pods=list(node.pods), labels=dict(node.labels), taints=list(node.taints))


def _exact(saved: float, column: int, to_int: Callable[[float, str], int], back: Callable[[int], float]) -> float:
    """The float as it was saved while it says what the column says, else the column's."""
    return saved if to_int(saved, "a saved amount") == column else back(column)


def _labels(columns: Mapping[str, Codes[str]], row: int) -> dict[str, str]:
    found = ((key, column[row]) for key, column in columns.items())
    return {key: value for key, value in found if value is not None}


def _in_order(saved: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    return dict(saved) if saved == found else found


def _traits(pod: Pod) -> tuple[object, ...]:
    return pod.namespace, pod.priority, pod.labels, tolerations_of(pod)
