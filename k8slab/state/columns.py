"""The columns of nodes and pods: what ClusterState holds, and the views that others read."""

from __future__ import annotations

import threading
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.domain.api_objects import NOTHING, ApiObjects
from k8slab.domain.columns import NEVER, NOT_STARTED, Ints, Names, Taints, Tolerations
from k8slab.domain.devices import Devices, Held
from k8slab.domain.models import NODE_STATES, POD_PHASES, NodeState, PodPhase
from k8slab.domain.pod_spec import Images, PodSpec
from k8slab.domain.resources import ResourceSchema
from k8slab.state.bound_rows import BoundRows
from k8slab.state.devices import DeviceLedger
from k8slab.state.journal import Journal
from k8slab.state.tables import CodeColumn, Column, LabelTable, NameTable, Rows2D

READY: Final = NODE_STATES.index(NodeState.READY)
PENDING: Final = POD_PHASES.index(PodPhase.PENDING)
RUNNING: Final = POD_PHASES.index(PodPhase.RUNNING)
SUCCEEDED: Final = POD_PHASES.index(PodPhase.SUCCEEDED)
FAILED: Final = POD_PHASES.index(PodPhase.FAILED)
PodRows = int | npt.NDArray[np.int64]


class _Clock(Protocol):
    def now(self) -> int: ...


class StateColumns:
    """Nodes and pods as columns, and nothing that writes them but what appends to the journal."""

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
        self._bound = BoundRows()
        self._lowest_priority = 2**31 - 1

    def ever_bound(self) -> Ints:
        """Rows among which all bound pods are, some twice: of half a million that come few are there at once."""
        self._bound.read(self.journal, self.pod_node)
        return self._bound.all()

    @property
    def lowest_priority(self) -> int:
        """No pod here ever had a lower one."""
        return self._lowest_priority

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
    def pod_nominated(self) -> npt.NDArray[np.int32]:
        """int32[P]: the node that a waiting pod was promised, -1 for none."""
        return self._pod_nominated.view

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

    def _now(self) -> int:
        return 0 if self._clock is None else self._clock.now()

    def _log(
        self,
        verb: str,
        pod_rows: PodRows = -1,
        node_rows: PodRows = -1,
        value: int | Ints = 0,
        now_ns: int | None = None,
    ) -> None:
        self.journal.append(self._now() if now_ns is None else now_ns, verb, pod_rows, node_rows, value)
