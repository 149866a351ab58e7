"""The controllers of simulated runs on a live cluster: workloads, autoscalers, budgets, evictions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from k8slab.application.admission import Admission, NamespaceRules
from k8slab.application.control_loop import ControlLoop
from k8slab.application.disruption_budgets import Budget, DisruptionBudgets
from k8slab.application.evictor import GRACE_NS, Evictor
from k8slab.application.healing_events import healing_event
from k8slab.application.horizontal_scaler import HorizontalScaler, ScaledWorkload
from k8slab.application.live_health import LiveHealth, PodNews
from k8slab.application.live_preemption import LivePreemption
from k8slab.application.pod_prober import PodProber
from k8slab.application.preemptor import WORKLOAD, Preemptor
from k8slab.application.replicated_workloads import ReplicatedWorkloads
from k8slab.application.workload_controller import WorkloadController, WorkloadSpec
from k8slab.domain.autoscaling.horizontal import Condition
from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler
from k8slab.domain.columns import Ints
from k8slab.domain.entity_columns import request_of, tolerations_of
from k8slab.domain.models import Pod, SelfHealingEvent
from k8slab.domain.ports import (
    ClusterStatePort,
    HealthSourcePort,
    HeartbeatPort,
    IntentPort,
    MetricsPort,
    PodRepositoryPort,
    TimePort,
)
from k8slab.domain.probe_times import Probes
from k8slab.domain.replicas import replicate
from k8slab.domain.resources import PODS
from k8slab.domain.run_tables import TABLES
from k8slab.errors import InputError, StateConflict, UnknownName
from k8slab.policies import Policy

ROWS_KEPT: Final = 1000


class LiveCluster:
    """Adds the controllers to a control loop when they are first needed.

    record  : takes what was done about pods and nodes, as an event each
    intents : where several facades decide; None where one decides alone

    Every verb takes the state's lock. See KubernetesOrchestrator for what each does. Where several decide, what the
    controllers have in mind (drains under way, pods that are given their grace, back-offs, what was told) is the
    same for all, so that whoever leads next goes on with it.
    """

    def __init__(
        self,
        state: ClusterStatePort,
        metrics: MetricsPort,
        control: ControlLoop,
        clock: TimePort,
        record: Callable[[SelfHealingEvent], None],
        intents: IntentPort | None = None,
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._control = control
        self._clock = clock
        self._record = record
        self._recorded = 0
        self._rows: dict[str, deque[dict[str, Any]]] = {name: deque(maxlen=ROWS_KEPT) for name in TABLES}
        self._health: LiveHealth | None = None
        self._preemption: LivePreemption | None = None
        self._admission: Admission | None = None
        self.workloads = (
            WorkloadController(state, self) if intents is None else ReplicatedWorkloads(state, self, intents)
        )
        self.budgets = DisruptionBudgets(state, scales=self.workloads)
        self.evictor = Evictor(state, self, budgets=self.budgets, grace_ns=GRACE_NS)
        self._scalers: dict[str, HorizontalScaler] = {}
        self._intents = intents
        if intents is not None:
            self._join(intents)
        for controller in (self.workloads, self.evictor):
            control.add(controller)

    def preempting(self, policy: Policy, seed: int = 0) -> LivePreemption:
        """How pods that fit nowhere get room by this policy: others go with their grace, budgets are heeded."""
        workloads = self.workloads
        preemptor = Preemptor(
            self._state, policy, self.evictor, self.budgets, self, seed=seed,
            namespace_of=lambda name: workloads.spec(workloads.owner(name)).namespace,
        )  # fmt: skip
        self._preemption = LivePreemption(self._state, preemptor, self._clock)
        return self._preemption

    def admitting(self, rules: Sequence[NamespaceRules], priority_classes: Mapping[str, int]) -> Admission:
        """Quotas and limit ranges before every pod that enters from now on; what is there already is charged."""
        with self._state.lock:
            workloads = self.workloads
            admission = Admission(self._state, self, rules, priority_classes, workloads.try_again)
            admission.adopt()
            workloads.gate = self._admission = admission
            self._control.add(admission)
            return admission

    def _join(self, intents: IntentPort) -> None:
        replicate(self.budgets, "budgets", intents, memory=DisruptionBudgets.MEMORY)
        replicate(self.evictor, "evictor", intents, verbs=Evictor.VERBS, memory=Evictor.MEMORY)
        replicate(self, "live", intents, verbs=("autoscale", "emit", "protect"), memory=("_recorded", "_rows"))
        intents.keep("scalers", self._scaled, self._scale_these)

    def _scaled(self) -> dict[str, HorizontalPodAutoscaler]:
        """Who is autoscaled, and how."""
        return {name: scaler.autoscalers[0].hpa for name, scaler in self._scalers.items()}

    def _scale_these(self, wanted: dict[str, HorizontalPodAutoscaler]) -> None:
        for name, hpa in wanted.items():
            if name not in self._scalers:
                self.autoscale(name, hpa)

    # -- workloads ------------------------------------------------------------------------

    def deploy(self, name: str, template: Pod, replicas: int) -> None:
        """Keep so many pods like this one."""
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
            raise InputError(f"deployment {name!r}: replicas={replicas!r}; wanted a whole number, 0 or more")
        with self._state.lock:
            request = self._state.schema.vector({PODS: 1, **request_of(template)})
            # A policy that preempts knows budgets by their pods' labels.
            known_by = {} if self._preemption is None else {WORKLOAD: name}
            self.workloads.add(
                WorkloadSpec(
                    name, "Deployment", request, replicas, template.namespace, {**template.labels, **known_by},
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

    def take_over(self) -> None:
        """Go on for another live cluster, whose state this one shares by replication."""
        with self._state.lock:
            self.workloads.adopt()
            if self._admission is not None:
                self._admission.adopt()
            if self._preemption is not None:
                self._preemption.take_over()

    # -- health -----------------------------------------------------------------------------

    def watch(
        self,
        pods: PodRepositoryPort,
        source: HealthSourcePort,
        heartbeats: HeartbeatPort,
        detector: str,
        probes: Mapping[str, Probes],
        move_after: int | None,
        period_ns: int,
    ) -> None:
        """Let the controllers look after nodes and pods from now on."""
        with self._state.lock:
            if self._health is not None:
                raise StateConflict("nodes and pods are looked after as in Kubernetes already")
            health = LiveHealth(
                self._state, self, self.workloads, self.evictor, heartbeats, detector=detector, probes=probes,
                move_after=move_after,
            )  # fmt: skip
            if self._intents is not None:
                health.join(self._intents)
            news = PodNews(self._state, pods, source, health.exited, period_ns, self._clock.now())
            self._control.replace_health_checks([*health.controllers, news])
            self._health = health

    def report_ill(self, pod_id: str) -> None:
        """A pod's application answers its probes no more."""
        with self._state.lock:
            self._prober().fall_ill(self._one_pod(pod_id), self._clock.now())

    def report_well(self, pod_id: str) -> None:
        """It answers again."""
        with self._state.lock:
            self._prober().get_well(self._one_pod(pod_id), self._clock.now())

    def _prober(self) -> PodProber:
        if self._health is None:
            raise StateConflict("nobody probes pods here yet: call heal_as_kubernetes() first")
        return self._health.prober

    def _one_pod(self, pod_id: str) -> Ints:
        return np.array([self._row(self._state.pod_row(pod_id), "pod", pod_id)], dtype=np.int64)

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

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What the controllers told in a table of domain.run_tables, the last thousand rows, oldest first."""
        with self._state.lock:
            if table not in self._rows:
                raise UnknownName("table", table, self._rows)
            return [dict(row) for row in self._rows[table]]

    def emit(self, table: str, **columns: Any) -> None:
        """Rows of controllers: the last thousand of each table are kept, and healing becomes events as well."""
        names = list(columns)
        for values in zip(*np.broadcast_arrays(*map(np.atleast_1d, columns.values())), strict=True):
            row: dict[str, Any] = {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in zip(names, values, strict=True)
            }
            pod_row, node_row = row.pop("pod_row", None), row.pop("node_row", None)
            if pod_row is not None:
                row["pod"] = self._state.pod_name(pod_row) if pod_row >= 0 else ""
            if node_row is not None:
                row["node"] = self._state.node_name(node_row) if node_row >= 0 else ""
            self._rows[table].append(row)
            if table == "healing":
                self._recorded += 1
                self._record(healing_event(f"control-{self._recorded}", row))


def _there(state: ClusterStatePort) -> Ints:
    return np.flatnonzero(state.pod_alive)
