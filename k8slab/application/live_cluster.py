"""The controllers of simulated runs on a live cluster: workloads, autoscalers, budgets, evictions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from k8slab.application.control_loop import ControlLoop
from k8slab.application.disruption_budgets import Budget, DisruptionBudgets
from k8slab.application.evictor import GRACE_NS, Evictor
from k8slab.application.horizontal_scaler import HorizontalScaler, ScaledWorkload
from k8slab.application.workload_controller import WorkloadController, WorkloadSpec
from k8slab.domain.autoscaling.horizontal import Condition
from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler
from k8slab.domain.columns import Ints
from k8slab.domain.entity_columns import request_of, tolerations_of
from k8slab.domain.instants import from_ns
from k8slab.domain.models import Pod, SelfHealingEvent
from k8slab.domain.ports import ClockPort, ClusterStatePort, MetricsPort
from k8slab.domain.resources import PODS
from k8slab.errors import InputError, UnknownName

ROWS_KEPT: Final = 1000


class LiveCluster:
    """Adds the controllers to a control loop when they are first needed.

    record : takes what was done about pods and nodes, as an event each

    Every verb takes the state's lock. See KubernetesOrchestrator for what each does.
    """

    def __init__(
        self,
        state: ClusterStatePort,
        metrics: MetricsPort,
        control: ControlLoop,
        clock: ClockPort,
        record: Callable[[SelfHealingEvent], None],
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._control = control
        self._clock = clock
        self._record = record
        self._recorded = 0
        self.scaling: deque[dict[str, Any]] = deque(maxlen=ROWS_KEPT)
        self.workloads = WorkloadController(state, self)
        self.budgets = DisruptionBudgets(state, scales=self.workloads)
        self.evictor = Evictor(state, self, budgets=self.budgets, grace_ns=GRACE_NS)
        self._scalers: dict[str, HorizontalScaler] = {}
        for controller in (self.workloads, self.evictor):
            control.add(controller)

    # -- workloads ------------------------------------------------------------------------

    def deploy(self, name: str, template: Pod, replicas: int) -> None:
        """Keep so many pods like this one."""
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
            raise InputError(f"deployment {name!r}: replicas={replicas!r}; wanted a whole number, 0 or more")
        with self._state.lock:
            request = self._state.schema.vector({PODS: 1, **request_of(template)})
            self.workloads.add(
                WorkloadSpec(
                    name, "Deployment", request, replicas, template.namespace, dict(template.labels),
                    tolerations_of(template), template.priority, start_ns=0,
                )
            )  # fmt: skip

    def scale(self, name: str, replicas: int) -> None:
        """Another number of pods."""
        with self._state.lock:
            self.workloads.scale(self.workloads.owner(name), replicas)

    def autoscale(self, name: str, hpa: HorizontalPodAutoscaler) -> None:
        """Scale a deployment by this autoscaler from now on."""
        with self._state.lock:
            self.workloads.owner(name)
            if name in self._scalers:
                raise InputError(f"deployment {name!r} has an autoscaler; two of one would both be refused its pods")
            # A few pods: the scalar rule, which needs nothing compiled.
            scaler = HorizontalScaler(
                self._state, self.workloads, self._metrics, self, [ScaledWorkload(name, name, hpa)], compiled=False,
                start_ns=self._clock.now(), name=f"horizontal-autoscaler/{name}",
            )  # fmt: skip
            self._scalers[name] = scaler
            self._control.add(scaler)

    def conditions(self, name: str) -> dict[str, Condition]:
        """An autoscaler's conditions."""
        with self._state.lock:
            if name not in self._scalers:
                raise UnknownName("autoscaled deployment", name, self._scalers)
            return dict(self._scalers[name].conditions(name))

    # -- disruptions ------------------------------------------------------------------------

    def protect(self, budget: Budget) -> None:
        """Hold evictions to this budget as well."""
        with self._state.lock:
            self.budgets.add(budget)

    def evict(self, pod_id: str, reason: str) -> bool:
        """Whether the eviction API admits it."""
        with self._state.lock:
            row = self._row(self._state.pod_row(pod_id), "pod", pod_id)
            return bool(self.evictor.evict(np.array([row], dtype=np.int64), reason, self._clock.now())[0])

    def drain(self, node_id: str, reason: str) -> None:
        """Cordon and empty a node, as budgets allow."""
        with self._state.lock:
            row = self._row(self._state.node_row(node_id), "node", node_id)
            self.evictor.drain(row, reason, self._clock.now())

    def uncordon(self, node_id: str) -> None:
        """Let pods come to it again."""
        with self._state.lock:
            row = self._row(self._state.node_row(node_id), "node", node_id)
            self.evictor.uncordon(row, self._clock.now())

    def _row(self, row: int, kind: str, name: str) -> int:
        if row < 0:
            state = self._state
            known = state.node_names if kind == "node" else [state.pod_name(int(p)) for p in _there(state)]
            raise UnknownName(kind, name, known)
        return row

    # -- what the controllers tell -------------------------------------------------------------

    def emit(self, table: str, **columns: Any) -> None:
        """Rows of controllers: healing becomes events, steps of autoscalers are kept, the last thousand."""
        if table == "scaling":
            self.scaling.append(columns)
        elif table == "healing":
            rows, nodes = np.atleast_1d(columns["pod_row"]), np.atleast_1d(columns["node_row"])
            for row, node in zip(*np.broadcast_arrays(rows, nodes), strict=True):
                self._record(self._event(int(row), int(node), columns))

    def _event(self, pod_row: int, node_row: int, columns: dict[str, Any]) -> SelfHealingEvent:
        self._recorded += 1
        state = self._state
        pod = state.pod_name(pod_row) if pod_row >= 0 else ""
        node = state.node_name(node_row) if node_row >= 0 else ""
        return SelfHealingEvent(
            event_id=f"control-{self._recorded}",
            timestamp=from_ns(columns["time_ns"]),
            event_type=f"pod_{columns['action']}" if pod else f"node_{columns['action']}",
            pod_id=pod,
            node_id=node,
            description=columns["detail"] or columns["reason"],
            action_taken=columns["action"],
            success=columns["success"],
            metadata={"reason": columns["reason"]},
        )


def _there(state: ClusterStatePort) -> Ints:
    return np.flatnonzero(state.pod_alive)
