"""ClusterState: the columns of nodes and pods, and the only verbs that write them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.domain.api_objects import NOTHING, ApiObjects
from k8slab.domain.columns import (
    LEAVING,
    NEVER,
    NOT_STARTED,
    Codes,
    Ints,
    Names,
    NodeColumns,
    PlacedPods,
    PodColumns,
    Taints,
    Tolerations,
)
from k8slab.domain.devices import SLICE_LABEL, SLICING_LABEL, Devices, Held
from k8slab.domain.models import NODE_STATES, POD_PHASES, NodeState, PodPhase
from k8slab.domain.pod_spec import Images, PodSpec
from k8slab.domain.ports import Change
from k8slab.domain.resources import LARGEST_AMOUNT, ResourceSchema
from k8slab.errors import InputError, NotEnoughCapacity, StateConflict
from k8slab.state.devices import DeviceLedger
from k8slab.state.journal import VERBS, Journal
from k8slab.state.tables import CodeColumn, Column, LabelTable, NameTable, Rows2D

READY: Final = NODE_STATES.index(NodeState.READY)
PENDING: Final = POD_PHASES.index(PodPhase.PENDING)
RUNNING: Final = POD_PHASES.index(PodPhase.RUNNING)
SUCCEEDED: Final = POD_PHASES.index(PodPhase.SUCCEEDED)
FAILED: Final = POD_PHASES.index(PodPhase.FAILED)
# What `play` carries out, as its kernel numbers it.
_PLAYED: Final = np.array(
    [{"POD_ADDED": 0, "BOUND": 1, "FINISHED": 2}.get(verb, -1) for verb in VERBS], dtype=np.int8
)
PodRows = int | npt.NDArray[np.int64]


class _Clock(Protocol):
    def now(self) -> int: ...


class ClusterState:
    """Nodes and pods as columns; a dozen verbs are the only writers, each asserts its rule.

    A row number is given once and never reused: a removed node or pod keeps its
    row with `alive` False. requested = requests of bound pods + foreign usage.
    Of devices that pods share, such as GPUs, it knows who holds which; see k8slab.domain.devices.
    Every verb takes `lock`, and a verb that raises has changed nothing. Arrays
    read from here are views: hold `lock` while reading them beside a writer, and
    never write them.

    schema : the resources, in row order
    clock  : `now()` in int64 nanoseconds stamps the journal; 0 for ever without one

    >>> state = ClusterState()
    >>> node = state.add_nodes(["n"], state.schema.vector({"cpu": 4000, "memory": 2**33, "pods": 110})[:, None])
    >>> pod = state.add_pods(["p"], state.schema.vector({"cpu": 500, "memory": 2**29, "pods": 1})[None])
    >>> state.bind(pod, node)
    >>> state.requested[:, 0].tolist()
    [500, 536870912, 1]
    """

    def __init__(self, schema: ResourceSchema | None = None, *, clock: _Clock | None = None) -> None:
        self.schema = schema if schema is not None else ResourceSchema()
        self.lock = threading.RLock()
        self.journal = Journal()
        self._clock = clock
        width = len(self.schema)
        self._node_names = NameTable()
        self._node_alive = Column(np.bool_)
        self._node_state = Column(np.int8)
        self._allocatable = Column(np.int64, leading=(width,))
        self._requested = Column(np.int64, leading=(width,))
        self._foreign = Column(np.int64, leading=(width,))
        self._node_taints: CodeColumn[Taints] = CodeColumn()
        self._node_labels = LabelTable()
        self._node_images: CodeColumn[Images] = CodeColumn()
        self._objects = NOTHING
        self._pod_names = NameTable()
        self._pod_alive = Column(np.bool_)
        self._pod_phase = Column(np.int8)
        self._pod_node = Column(np.int32, fill=-1)
        self._pod_last_node = Column(np.int32, fill=-1)
        self._pod_priority = Column(np.int32)
        self._pod_request = Rows2D(width)
        self._pod_namespace: CodeColumn[str] = CodeColumn()
        self._pod_tolerations: CodeColumn[Tolerations] = CodeColumn()
        self._pod_labels = LabelTable()
        self._pod_specs: CodeColumn[PodSpec] = CodeColumn()
        self._pod_leaving = Column(np.int8)
        self._pod_started = Column(np.int64, fill=NOT_STARTED)
        self._pod_nominated = Column(np.int32, fill=-1)
        self._promises = False
        self._devices = DeviceLedger(self.schema)
        self._pod_owner = Column(np.int32, fill=-1)
        self._pod_startup = Column(np.int64)
        self._pod_runs = Column(np.int64, fill=NEVER)
        self._pod_ready = Column(np.int64, fill=NEVER)
        self._pod_unready = Column(np.int64, fill=NEVER)
        self._pod_restarts = Column(np.int32)

    # -- columns -----------------------------------------------------------

    @property
    def node_count(self) -> int:
        """Rows given to nodes so far, removed ones included."""
        return len(self._node_names)

    @property
    def pod_count(self) -> int:
        """Rows given to pods so far, removed ones included."""
        return len(self._pod_names)

    @property
    def node_alive(self) -> npt.NDArray[np.bool_]:
        """bool[N]: not removed."""
        return self._node_alive.view

    @property
    def node_state(self) -> npt.NDArray[np.int8]:
        """int8[N]: code into domain.models.NODE_STATES."""
        return self._node_state.view

    @property
    def allocatable(self) -> Ints:
        """int64[R, N]: what pods may use of a node."""
        return self._allocatable.view

    @property
    def requested(self) -> Ints:
        """int64[R, N]: requests of bound pods, and foreign usage."""
        return self._requested.view

    @property
    def foreign(self) -> Ints:
        """int64[R, N]: usage that no pod known here explains."""
        return self._foreign.view

    @property
    def pod_alive(self) -> npt.NDArray[np.bool_]:
        """bool[P]: not removed."""
        return self._pod_alive.view

    @property
    def pod_phase(self) -> npt.NDArray[np.int8]:
        """int8[P]: code into domain.models.POD_PHASES."""
        return self._pod_phase.view

    @property
    def pod_node(self) -> npt.NDArray[np.int32]:
        """int32[P]: the node a pod holds resources of, -1 for none."""
        return self._pod_node.view

    @property
    def pod_last_node(self) -> npt.NDArray[np.int32]:
        """int32[P]: the node a pod was last bound to, -1 if never."""
        return self._pod_last_node.view

    @property
    def pod_request(self) -> Ints:
        """int64[P, R]"""
        return self._pod_request.view

    @property
    def pod_priority(self) -> npt.NDArray[np.int32]:
        """int32[P]"""
        return self._pod_priority.view

    @property
    def node_devices(self) -> Devices:
        """Capacity, use and slots of each device, int64[N, D] each; D = 0 where nobody has any."""
        return self._devices.nodes

    @property
    def pod_devices(self) -> Held:
        """What pods hold of their node's devices, int32[P, D] each."""
        return self._devices.pods

    @property
    def pod_leaving(self) -> npt.NDArray[np.int8]:
        """int8[P]: code into domain.columns.LEAVING."""
        return self._pod_leaving.view

    @property
    def pod_started(self) -> Ints:
        """int64[P]: when a pod was bound last, by the state's clock; NOT_STARTED if it is on no node."""
        return self._pod_started.view

    @property
    def pod_owner(self) -> npt.NDArray[np.int32]:
        """int32[P]: the number of the workload that a pod belongs to, -1 for none."""
        return self._pod_owner.view

    @property
    def pod_runs_ns(self) -> Ints:
        """int64[P]: since when a pod's containers run, or from when on if that lies ahead; NEVER if they don't."""
        return self._pod_runs.view

    @property
    def pod_ready_ns(self) -> Ints:
        """int64[P]: since when a pod is ready, or from when on if that lies ahead; NEVER if it isn't."""
        return self._pod_ready.view

    @property
    def pod_startup_ns(self) -> Ints:
        """int64[P]: how long after its containers' start a pod is ready."""
        return self._pod_startup.view

    @property
    def pod_unready_ns(self) -> Ints:
        """int64[P]: when a pod was ready last, or came to its node if it never was ready there; NEVER on no node.

        While it isn't ready, this is when its Ready condition changed last.
        """
        return self._pod_unready.view

    @property
    def pod_restarts(self) -> npt.NDArray[np.int32]:
        """int32[P]: how often a pod's containers were started again on the node where it is."""
        return self._pod_restarts.view

    @property
    def version(self) -> int:
        """How many verbs were carried out: `changes(version)` is empty until the next one."""
        return self.journal.entries

    @property
    def node_names(self) -> Names:
        """The names of all node rows."""
        with self.lock:
            return self._node_names.snapshot()

    @property
    def pod_names(self) -> Names:
        """The names of all pod rows."""
        with self.lock:
            return self._pod_names.snapshot()

    def node_name(self, node_row: int) -> str:
        """The name of one node row."""
        return self._node_names[node_row]

    def pod_name(self, pod_row: int) -> str:
        """The name of one pod row."""
        return self._pod_names[pod_row]

    @property
    def objects(self) -> ApiObjects:
        """The namespaces, services, controllers and budgets that policies see; the same value until it is replaced."""
        return self._objects

    # -- queries -----------------------------------------------------------

    def changes(self, since: int) -> list[Change]:
        """All that was done but the first `since` verbs, in order."""
        with self.lock:
            return self.journal.changes(since)

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

    def pods_on(self, node_row: int) -> Ints:
        """int64[]: rows of the pods bound to a node, in the order they were added."""
        with self.lock:
            self._nodes_there(node_row)
            return np.flatnonzero(self.pod_node == node_row)

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
                nominated=self._placed(self._pod_nominated.view) if self._has_promises() else None,
                objects=self._objects,
                devices=self._devices.nodes,
            )

    def _has_promises(self) -> bool:
        # Asked at every look at the nodes: without any promise ever, a million pods needn't be looked at.
        return self._promises and bool((self._pod_nominated.view >= 0).any())

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

    # -- verbs on nodes ----------------------------------------------------

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
    ) -> Ints:
        """Add nodes, ready unless `states` says otherwise; gives their rows.

        allocatable, foreign : int64[R, n]. states : int8[n]. Raises StateConflict
        for a name that a node already has, InputError for one given twice and for
        amounts that are negative, not whole or beyond LARGEST_AMOUNT.
        """
        with self.lock:
            names = names if isinstance(names, Names) else Names(names)
            count = len(names)
            amounts = self._amounts(allocatable, (len(self.schema), count), "allocatable of nodes")
            extra = None if foreign is None else self._amounts(foreign, amounts.shape, "foreign usage of nodes")
            codes = self._codes(0 if states is None else states, count, len(NODE_STATES), "node states")
            self._same_length(count, {"taints": taints, "images": images, **(labels or {})})
            self._refuse_clashes("node", names, self._node_names, self.node_alive)
            rows = np.arange(self.node_count, self.node_count + count)
            self._node_names.extend(names)
            self._node_alive.extend(count, True)
            self._node_state.extend(count, codes)
            self._allocatable.extend(count, amounts)
            self._requested.extend(count, extra)
            self._foreign.extend(count, extra)
            self._node_taints.extend(count, Codes.constant((), count) if taints is None else taints)
            self._node_labels.extend(count, labels)
            self._node_images.extend(count, images)
            self._devices.add_nodes(amounts)
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
                amounts = self._amounts(allocatable, (len(self.schema),), "allocatable")
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
            amounts = self._amounts(foreign, (len(self.schema),), "foreign usage")
            self.requested[:, node_row] += amounts - self.foreign[:, node_row]
            self.foreign[:, node_row] = amounts
            self._log("NODE_UPDATED", node_rows=node_row)

    # -- verbs on pods -----------------------------------------------------

    def add_pods(
        self,
        names: Names | Iterable[str],
        requests: npt.ArrayLike,
        *,
        namespaces: Codes[str] | None = None,
        tolerations: Codes[Tolerations] | None = None,
        priority: npt.ArrayLike | None = None,
        labels: Mapping[str, Codes[str]] | None = None,
        specs: Codes[PodSpec] | None = None,
        leaving: npt.ArrayLike = 0,
        started_ns: npt.ArrayLike = NOT_STARTED,
        owner: npt.ArrayLike = -1,
        startup_ns: npt.ArrayLike = 0,
        arrived: bool = True,
    ) -> Ints:
        """Add pods that wait for a node; gives their rows.

        requests : int64[n, R]. leaving : int8[n], codes into LEAVING. started_ns : int64[n].
        owner : int32[n]. startup_ns : int64[n], how long after their containers' start they are ready.
        arrived : False gives them rows only; they aren't there until `arrive`.
        Raises StateConflict for a name that a pod already has,
        InputError for one given twice, amounts as in `add_nodes`, a priority beyond int32.
        """
        with self.lock:
            names = names if isinstance(names, Names) else Names(names)
            count = len(names)
            amounts = self._amounts(requests, (count, len(self.schema)), "requests of pods")
            ranks = self._priorities(0 if priority is None else priority, count)
            going = self._codes(leaving, count, len(LEAVING), "codes of leaving")
            columns = {"namespaces": namespaces, "tolerations": tolerations, "specs": specs}
            self._same_length(count, {**columns, **(labels or {})})
            self._refuse_clashes("pod", names, self._pod_names, self.pod_alive)
            rows = np.arange(self.pod_count, self.pod_count + count)
            self._pod_names.extend(names)
            self._pod_alive.extend(count, arrived)
            self._pod_phase.extend(count, PENDING)
            self._pod_node.extend(count)
            self._pod_last_node.extend(count)
            self._pod_priority.extend(count, ranks)
            self._pod_request.extend(amounts)
            self._pod_namespace.extend(count, Codes.constant("default", count) if namespaces is None else namespaces)
            self._pod_tolerations.extend(count, Codes.constant((), count) if tolerations is None else tolerations)
            self._pod_labels.extend(count, labels)
            self._pod_specs.extend(count, specs)
            self._pod_leaving.extend(count, going)
            self._pod_started.extend(count, started_ns)
            self._pod_nominated.extend(count)
            self._devices.add_pods(count)
            self._pod_owner.extend(count, owner)
            self._pod_startup.extend(count, startup_ns)
            self._pod_runs.extend(count)
            self._pod_ready.extend(count)
            self._pod_unready.extend(count)
            self._pod_restarts.extend(count)
            if arrived:
                self._log("POD_ADDED", pod_rows=rows.copy())
            return rows

    def arrive(self, pod_rows: PodRows) -> None:
        """Pods that were given rows ahead of their time are there now, and wait.

        Raises StateConflict for one that is there, or was.
        """
        with self.lock:
            pods = self._pods_there(pod_rows)
            early = ~self.pod_alive[pods] & (self.pod_phase[pods] == PENDING) & (self._pod_last_node.view[pods] < 0)
            if not early.all():
                first = int(pods[np.argmin(early)])
                raise StateConflict(f"pod {self.pod_name(first)!r} can't arrive: it is there, or was removed")
            if len(pods):
                self.pod_alive[pods] = True
                self._log("POD_ADDED", pod_rows=pods)

    def bind(
        self, pod_rows: PodRows, node_rows: PodRows, *, devices: npt.ArrayLike | None = None, force: bool = False
    ) -> None:
        """Give waiting pods their nodes; they run.

        devices : int[n, D], the units that each takes of its node's devices, as a policy chose; None for
                  the fullest that has a share, the first that are free for whole ones

        Raises StateConflict for a pod that doesn't wait or a node that isn't there, and
        NotEnoughCapacity where a node would hold more than it may of something
        that the pods ask for. `force` skips that last rule: for loading what a
        real cluster was seen to do.
        """
        with self.lock:
            pods, nodes = self._alive_pods(pod_rows), self._alive_nodes(node_rows)
            assert len(pods) == len(nodes), f"{len(pods)} pods but {len(nodes)} nodes"
            if not len(pods):
                return
            waiting = (self.pod_phase[pods] == PENDING) & (self.pod_node[pods] < 0)
            if not waiting.all():
                first = int(pods[np.argmin(waiting)])
                raise StateConflict(f"cannot bind pod {self.pod_name(first)!r}: {self._condition(first)}, not waiting")
            held = self._chosen_devices(pods, nodes, self.pod_request[pods], devices, force)
            self._charge(pods, nodes, force)
            taken = self._devices.hold(pods, nodes, held)
            self.pod_node[pods] = nodes
            self.pod_last_node[pods] = nodes
            self._pod_nominated.view[pods] = -1
            self.pod_phase[pods] = RUNNING
            now_ns = self._now()
            self._start(pods, now_ns)
            self._log("BOUND", pod_rows=pods, node_rows=nodes, value=taken, now_ns=now_ns)

    def unbind(self, pod_rows: PodRows) -> None:
        """Evict pods: they wait again, and their nodes get the resources back.

        Raises StateConflict for a pod that is on no node.
        """
        with self.lock:
            pods = self._alive_pods(pod_rows)
            for pod in pods[self.pod_node[pods] < 0][:1].tolist():
                raise StateConflict(f"cannot unbind pod {self.pod_name(pod)!r}: {self._condition(pod)}, on no node")
            if len(pods):
                self._log("UNBOUND", pod_rows=pods, node_rows=self._release(pods))
                self.pod_phase[pods] = PENDING
                self._pod_started.view[pods] = NOT_STARTED
                self._pod_restarts.view[pods] = 0

    def nominate(self, pod_rows: PodRows, node_rows: PodRows) -> None:
        """Promise waiting pods a node, where others leave to make room for them; -1 takes a promise back.

        Raises StateConflict for a pod that doesn't wait or a node that isn't there.
        """
        with self.lock:
            pods = self._alive_pods(pod_rows)
            nodes = np.broadcast_to(np.array(node_rows, dtype=np.int64, ndmin=1), pods.shape)
            self._alive_nodes(nodes[nodes >= 0])
            for pod in pods[(self.pod_phase[pods] != PENDING) | (self.pod_node[pods] >= 0)][:1].tolist():
                raise StateConflict(f"cannot nominate pod {self.pod_name(pod)!r}: {self._condition(pod)}, not waiting")
            if len(pods):
                self._promises = True
                self._pod_nominated.view[pods] = nodes
                self._log("NOMINATED", pod_rows=pods, node_rows=nodes.copy())

    def set_leaving(self, pod_rows: PodRows, code: int) -> None:
        """Mark pods as being deleted, a code into domain.columns.LEAVING; what they hold they keep until they end."""
        with self.lock:
            assert 0 <= code < len(LEAVING), f"code of leaving {code} is not one of 0..{len(LEAVING) - 1}"
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self._pod_leaving.view[pods] = code
                self._log("LEAVING", pod_rows=pods, value=code)

    def set_ready(self, pod_rows: PodRows, at_ns: int) -> None:
        """Pods that hold a node are ready from an instant on, NEVER for not ready."""
        with self.lock:
            pods = self._holding(pod_rows, "set ready")
            if len(pods):
                self._note_unready(pods, at_ns)
                self._pod_ready.view[pods] = at_ns
                self._log("READY", pod_rows=pods, value=at_ns)

    def restart(self, pod_rows: PodRows, at_ns: int) -> None:
        """The containers of pods that hold a node ended, and run again from an instant on, which may lie ahead.

        They are ready when their time to start up has passed after that. Raises
        StateConflict for a pod that is on no node.
        """
        with self.lock:
            pods = self._holding(pod_rows, "restart")
            if len(pods):
                self._note_unready(pods, at_ns + self._pod_startup.view[pods])
                self._pod_runs.view[pods] = at_ns
                self._pod_ready.view[pods] = at_ns + self._pod_startup.view[pods]
                self._pod_restarts.view[pods] += 1
                self._log("RESTARTED", pod_rows=pods, value=at_ns)

    def set_objects(self, objects: ApiObjects) -> None:
        """Replace the namespaces, services, controllers and budgets that policies see."""
        with self.lock:
            self._objects = objects

    def set_phase(self, pod_rows: PodRows, code: int) -> None:
        """Set pods' phase, a code into POD_PHASES; what they hold they keep."""
        with self.lock:
            assert 0 <= code < len(POD_PHASES), f"phase {code} is not one of 0..{len(POD_PHASES) - 1}"
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self.pod_phase[pods] = code
                self._log("PHASE", pod_rows=pods, value=code)

    def finish(self, pod_rows: PodRows, code: int = SUCCEEDED) -> None:
        """End pods in a phase (succeeded or failed); their nodes get the resources back."""
        with self.lock:
            assert code in (SUCCEEDED, FAILED), f"phase {code} is no end: not {SUCCEEDED} or {FAILED}"
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self._log("FINISHED", pod_rows=pods, node_rows=self._release(pods), value=code)
                self.pod_phase[pods] = code
                self._pod_nominated.view[pods] = -1

    def remove_pods(self, pod_rows: PodRows) -> None:
        """Take pods away; their nodes get the resources back."""
        with self.lock:
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self._log("POD_REMOVED", pod_rows=pods, node_rows=self._release(pods))
                self.pod_alive[pods] = False
                self._pod_nominated.view[pods] = -1

    def play(
        self,
        at_ns: Ints,
        verbs: npt.NDArray[np.int8],
        pod_rows: Ints,
        node_rows: Ints,
        *,
        force: bool = False,
    ) -> None:
        """Carry out what happened at many instants, in order: pods arrive, are bound, and succeed.

        As `arrive`, `bind` and `finish` called one after another at these instants, but
        compiled, and the clock isn't asked. Each pod may be bound once and end once.

        at_ns : int64[K], sorted. verbs : int8[K], codes into VERBS of POD_ADDED, BOUND and FINISHED.
        pod_rows, node_rows : int64[K]; the node is -1 for POD_ADDED.

        Raises StateConflict for the first that isn't legal, and then nothing has changed.
        """
        from k8slab.kernels.play import Cluster, play

        with self.lock:
            assert (np.diff(at_ns) >= 0).all(), "instants aren't sorted"
            kinds = _PLAYED[verbs]
            assert (kinds >= 0).all(), f"verbs {sorted({VERBS[v] for v in verbs[kinds < 0]})} can't be played"
            columns = Cluster(
                self.allocatable, self.requested, self.node_alive, self.pod_request, self.pod_alive, self.pod_phase,
                self.pod_node, self.pod_last_node,
            )  # fmt: skip
            wrong = play(kinds, pod_rows, node_rows, columns, (PENDING, RUNNING, SUCCEEDED), force)
            if wrong >= 0:
                raise StateConflict(
                    f"cannot play {VERBS[verbs[wrong]]} of pod row {pod_rows[wrong]} on node row {node_rows[wrong]} at "
                    f"{at_ns[wrong]:,} ns, after the {wrong:,} before it: the pod doesn't wait, isn't there, or the "
                    "node hasn't the room"
                )
            self._stamp(at_ns, kinds, pod_rows, node_rows)
            ended = np.where(kinds == 2, SUCCEEDED, 0)
            self.journal.append_many(at_ns, verbs, pod_rows, node_rows, ended)

    def _stamp(self, at_ns: Ints, kinds: npt.NDArray[np.int8], pod_rows: Ints, node_rows: Ints) -> None:
        """Since when pods that were bound run and are ready; those that ended are no more."""
        bound, ended = kinds == 1, pod_rows[kinds == 2]
        pods, at = pod_rows[bound], at_ns[bound]
        self.pod_last_node[pods] = node_rows[bound]
        self._pod_started.view[pods] = np.minimum(self._pod_started.view[pods], at)
        self._pod_runs.view[pods] = at
        self._pod_ready.view[pods] = at + self._pod_startup.view[pods]
        self._pod_unready.view[pods] = at
        self._pod_runs.view[ended] = NEVER
        self._pod_ready.view[ended] = NEVER
        self._pod_unready.view[ended] = NEVER
        self._pod_nominated.view[pod_rows] = -1

    def update_pod(
        self,
        pod_row: int,
        *,
        request: npt.ArrayLike | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
        tolerations: Tolerations | None = None,
        spec: PodSpec | None = None,
        force: bool = False,
    ) -> None:
        """Replace what is given of a pod; a bound pod's node is charged the difference.

        Raises NotEnoughCapacity where its node can't hold a grown request, unless `force`;
        InputError as `add_pods` does.
        """
        with self.lock:
            row = self._alive_pods(pod_row)
            rank = None if priority is None else self._priorities(priority, 1)
            if request is not None:
                self._resize(row, self._amounts(request, (len(self.schema),), "request"), force)
            if rank is not None:
                self.pod_priority[row] = rank
            if labels is not None:
                self._pod_labels.set(pod_row, labels)
            if namespace is not None:
                self._pod_namespace.set(pod_row, namespace)
            if tolerations is not None:
                self._pod_tolerations.set(pod_row, tolerations)
            if spec is not None:
                self._pod_specs.set(pod_row, spec)
            self._log("POD_UPDATED", pod_rows=pod_row)

    # -- the invariants ----------------------------------------------------

    def check(self) -> None:
        """Recompute every aggregate the slow way and assert that the columns agree."""
        with self.lock:
            self._check_table("node", self.node_names, self.node_alive, self.node_state, len(NODE_STATES))
            self._check_table("pod", self.pod_names, self.pod_alive, self.pod_phase, len(POD_PHASES))
            expected = self.foreign.copy()
            for pod_row, node_row in enumerate(self.pod_node.tolist()):
                if node_row >= 0:
                    last = int(self.pod_last_node[pod_row])
                    assert self.pod_alive[pod_row], f"pod row {pod_row} was removed but holds node row {node_row}"
                    assert self.node_alive[node_row], f"pod row {pod_row} is on removed node row {node_row}"
                    assert last == node_row, f"pod row {pod_row} is on node row {node_row}, was last bound to {last}"
                    expected[:, node_row] += self.pod_request[pod_row]
            wrong = np.argwhere(expected != self.requested)
            for resource, node_row in wrong[:1].tolist():
                raise AssertionError(
                    f"node row {node_row} should have {expected[resource, node_row]:,} of "
                    f"{self.schema.columns[resource]} requested but the column says "
                    f"{self.requested[resource, node_row]:,}"
                )
            promised = (self._pod_nominated.view >= 0) & (~self.pod_alive | (self.pod_node >= 0))
            assert not promised.any(), f"pod row {np.argmax(promised)} doesn't wait but was promised a node"
            self._devices.check(self.pod_node)
            assert (self.allocatable >= 0).all(), "a node has a negative amount allocatable"
            assert (self.foreign >= 0).all(), "a node has negative foreign usage"
            assert (self.pod_request >= 0).all(), "a pod requests a negative amount"

    @staticmethod
    def _check_table(
        kind: str, names: Names, alive: npt.NDArray[np.bool_], code: npt.NDArray[np.int8], codes: int
    ) -> None:
        assert len(names) == len(alive) == len(code), f"{len(names)} names of {kind}s, {len(alive)} rows"
        assert ((code >= 0) & (code < codes)).all(), f"a {kind}'s code is not one of 0..{codes - 1}"
        repeated = names.take(np.flatnonzero(alive)).repeated()
        assert repeated is None, f"two {kind}s have the name {repeated!r}"

    # -- helpers -----------------------------------------------------------

    def _holding(self, pod_rows: PodRows, act: str) -> Ints:
        pods = self._alive_pods(pod_rows)
        for pod in pods[self.pod_node[pods] < 0][:1].tolist():
            raise StateConflict(f"cannot {act} pod {self.pod_name(pod)!r}: {self._condition(pod)}, on no node")
        return pods

    def _now(self) -> int:
        return 0 if self._clock is None else self._clock.now()

    def _start(self, pods: Ints, now_ns: int) -> None:
        """The containers of pods run from now on, if there is a clock to say when that is."""
        if self._clock is not None:
            # A pod that was seen to run before keeps the instant that was told.
            self._pod_started.view[pods] = np.minimum(self._pod_started.view[pods], now_ns)
            self._pod_runs.view[pods] = now_ns
            self._pod_ready.view[pods] = now_ns + self._pod_startup.view[pods]
            self._pod_unready.view[pods] = now_ns

    def _note_unready(self, pods: Ints, ready_ns: int | Ints) -> None:
        """Pods that are ready now and, with this for their `pod_ready_ns`, won't be."""
        now_ns = self._now()
        ceases = (self._pod_ready.view[pods] <= now_ns) & (ready_ns > np.int64(now_ns))
        self._pod_unready.view[pods[ceases]] = now_ns

    def _log(
        self,
        verb: str,
        pod_rows: PodRows = -1,
        node_rows: PodRows = -1,
        value: int | Ints = 0,
        now_ns: int | None = None,
    ) -> None:
        self.journal.append(self._now() if now_ns is None else now_ns, verb, pod_rows, node_rows, value)

    def _amounts(self, given: npt.ArrayLike, shape: tuple[int, ...], what: str) -> Ints:
        found = np.asarray(given)
        assert found.shape == shape, f"{what} have shape {found.shape}, not {shape}"
        if found.size and found.dtype.kind not in "iu":
            raise InputError(f"{what}: {found.dtype} where whole numbers are wanted")
        low, high = int(found.min(initial=0)), int(found.max(initial=0))
        if low < 0:
            raise InputError(f"{what}: {low:,} is negative")
        if high > LARGEST_AMOUNT:
            raise InputError(f"{what}: {high:,} is beyond {LARGEST_AMOUNT:,}")
        return found.astype(np.int64, copy=False)

    @staticmethod
    def _codes(given: npt.ArrayLike, count: int, codes: int, what: str) -> npt.NDArray[np.int8]:
        found = np.broadcast_to(np.asarray(given), (count,))
        assert ((found >= 0) & (found < codes)).all(), f"{what} are not all in 0..{codes - 1}"
        return found.astype(np.int8)

    @staticmethod
    def _priorities(given: npt.ArrayLike, count: int) -> npt.NDArray[np.int32]:
        found = np.broadcast_to(np.asarray(given), (count,))
        for wrong in found[(found < -(2**31)) | (found >= 2**31)][:1].tolist():
            raise InputError(f"priority {wrong:,} is beyond int32, as Kubernetes has it")
        return found.astype(np.int32)

    @staticmethod
    def _same_length(count: int, columns: Mapping[str, Codes[Any] | None]) -> None:
        for name, column in columns.items():
            assert column is None or len(column) == count, f"{name} has {len(column or ())} rows for {count}"

    @staticmethod
    def _refuse_clashes(kind: str, names: Names, table: NameTable, alive: npt.NDArray[np.bool_]) -> None:
        repeated = names.repeated()
        if repeated is not None:
            raise InputError(f"cannot add {kind} {repeated!r} twice")
        for name, row in table.clashes(names):
            if alive[row]:
                raise StateConflict(f"cannot add {kind} {name!r}: row {row:,} has that name")

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

    def _charge(self, pods: Ints, nodes: Ints, force: bool) -> None:
        if len(pods) == 1:
            charge, touched = self.pod_request[pods[0]][:, None], nodes
        else:
            touched, where = np.unique(nodes, return_inverse=True)
            charge = np.zeros((len(self.schema), len(touched)), dtype=np.int64)
            requests = self.pod_request[pods]
            for resource in range(len(self.schema)):
                np.add.at(charge[resource], where, requests[:, resource])
        after = self.requested[:, touched] + charge
        if not force:
            self._refuse_overcommit("bind {} to", pods, nodes, touched, charge, after)
        self.requested[:, touched] = after

    def _refuse_overcommit(self, act: str, pods: Ints, nodes: Ints, touched: Ints, charge: Ints, after: Ints) -> None:
        # As Kubernetes: a pod that asks for nothing of an over-committed resource still fits.
        over = (charge > 0) & (after > self.allocatable[:, touched])
        for resource, place in np.argwhere(over)[:1].tolist():
            node = int(touched[place])
            which = [int(pod) for pod in pods[nodes == node]]
            who = f"pod {self.pod_name(which[0])!r}" if len(which) == 1 else f"{len(which):,} pods"
            capacity = int(self.allocatable[resource, node])
            raise NotEnoughCapacity(
                f"cannot {act.format(who)} node {self.node_name(node)!r}: {int(charge[resource, place]):,} more "
                f"{self.schema.columns[resource]} requested but "
                f"{max(capacity - int(self.requested[resource, node]), 0):,} of {capacity:,} are free"
            )

    def _release(self, pods: Ints) -> Ints:
        nodes = self.pod_node[pods].astype(np.int64)
        held = nodes >= 0
        for resource in range(len(self.schema)):
            np.subtract.at(self.requested[resource], nodes[held], self.pod_request[pods[held], resource])
        self._devices.release(pods[held], nodes[held])
        self.pod_node[pods] = -1
        self._pod_runs.view[pods] = NEVER
        self._pod_ready.view[pods] = NEVER
        self._pod_unready.view[pods] = NEVER
        return nodes

    def _resize(self, pod: Ints, request: Ints, force: bool) -> None:
        node = self.pod_node[pod].astype(np.int64)
        if node[0] >= 0:
            growth = request - self.pod_request[pod[0]]
            after = self.requested[:, node] + growth[:, None]
            if not force:
                self._refuse_overcommit("grow {} on", pod, node, node, growth[:, None], after)
            self.requested[:, node] = after
            self._devices.release(pod, node)
            self._devices.hold(pod, node, self._chosen_devices(pod, node, request[None], None, force))
        self.pod_request[pod[0]] = request

    def _chosen_devices(
        self, pods: Ints, nodes: Ints, requests: Ints, given: npt.ArrayLike | None, force: bool
    ) -> Held | None:
        slicings, slices = self._node_labels.get_one(SLICING_LABEL), self._pod_labels.get_one(SLICE_LABEL)
        wanted = None if slices is None else [slices[row] for row in pods.tolist()]
        return self._devices.choose(nodes, requests, slicings, wanted, given, force)
