"""Syncs of autoscalers whose pods' use is known by arithmetic: one compiled call each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np

from k8slab.application.horizontal_rules import ArrayRules
from k8slab.domain.columns import NEVER, Codes32
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import ClusterStatePort, MetricsPort, ScalePort
from k8slab.kernels.horizontal_columns import Ints, Metrics, Pods, Rules, Sources

_PENDING: Final = POD_PHASES.index(PodPhase.PENDING)
_RUNNING: Final = POD_PHASES.index(PodPhase.RUNNING)
_FAILED: Final = POD_PHASES.index(PodPhase.FAILED)


@runtime_checkable
class SampledMetrics(MetricsPort, Protocol):
    """Metrics of resources that are a function of the state's columns and the time."""

    @property
    def outages(self) -> int:
        """Another number than before once a node began or ceased to answer, of which no verb tells."""

    def sources(self, owners: Ints, resources: Sequence[int]) -> Sources:
        """The columns that say what `resources` would; while the state isn't changed. owners : of each autoscaler"""


def pods_of(
    state: ClusterStatePort, target: Ints, rows: Ints, owners: Codes32, read: tuple[Ints, Ints, Ints, Ints, Ints]
) -> Pods:
    """The columns of a sync. read : what the pods use, as Quantities.read gives it"""
    return Pods(
        rows, owners, target, _PENDING, _RUNNING, _FAILED, state.pod_phase, state.pod_leaving, state.pod_alive,
        state.pod_ready_ns, state.pod_unready_ns, state.pod_started, state.pod_request, *read,
    )  # fmt: skip


class SampledSyncs:
    """Most workloads are as they were for hours: their pods are ready, and each uses as much as the others.

    What they come to is known then without a look at them; only pods of the others are
    read and counted.

    owners    : the workload of each autoscaler
    resources : those that are looked at
    """

    def __init__(
        self,
        state: ClusterStatePort,
        scale: ScalePort,
        metrics: SampledMetrics,
        engine: ArrayRules,
        looked_at: Metrics,
        owners: Sequence[int],
        resources: Sequence[int],
    ) -> None:
        self._state = state
        self._scale = scale
        self._metrics = metrics
        self._engine = engine
        self._looked_at = looked_at
        self._owners = np.array(owners, dtype=np.int64)
        self._resources = resources
        self._seen = 0
        self._outages = metrics.outages
        self._room = self._room_for(0)

    def look(self, target: Ints) -> None:
        """Know what happened to pods since the last look. target : int64[owners], as in Pods"""
        settled_ns = self._engine.counts.settled_ns
        if self._metrics.outages != self._outages:
            self._outages = self._metrics.outages
            settled_ns[:] = NEVER
        rows = self._state.touched(self._seen)
        self._seen = self._state.version
        owners = self._state.pod_owner[rows[rows >= 0]]
        mine = target[owners[(owners >= 0) & (owners < len(target))]]
        settled_ns[mine[mine >= 0]] = NEVER
        self._rows, self._of = self._scale.members()
        if len(self._rows) > len(self._room[0]):
            self._room = self._room_for(2 * len(self._rows))
        self._pods = pods_of(self._state, target, *self._room)
        self._sources = self._metrics.sources(self._owners, self._resources)

    def decide(self, now_ns: int, rules: Rules) -> None:
        """As ArrayRules.decide, after a look at the state as it is."""
        self._engine.decide_sampled(now_ns, self._rows, self._of, rules, self._looked_at, self._pods, self._sources)

    def _room_for(self, pods: int) -> tuple[Ints, Codes32, tuple[Ints, Ints, Ints, Ints, Ints]]:
        """Columns for so many pods to be counted, and what they use."""
        numbers = np.empty(pods, dtype=np.int64)
        none = np.empty((0, pods), dtype=np.int64)
        used = np.empty((len(self._resources), pods), dtype=np.int64)
        return numbers, np.empty(pods, dtype=np.int32), (used, numbers.copy(), none, none, none)
