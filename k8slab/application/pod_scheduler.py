"""The scheduler of the orchestration API: one pod, one decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from k8slab.application.ledger import Ledger, state_of
from k8slab.domain.columns import NodeColumns
from k8slab.domain.entity_columns import node_columns_of, pod_columns_of, request_of
from k8slab.domain.models import Node, Pod, PodPhase
from k8slab.domain.ports import NodeRepositoryPort, PodRepositoryPort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.policies import Policy, as_policy
from k8slab.policies.plugins import (
    Decision,
    Floats,
    Mask,
    NodeResourcesFit,
    NodeUnschedulable,
    TaintToleration,
)
from k8slab.policies.policy import Evaluation


@dataclass(frozen=True)
class LeastUsed:
    """The node in least use: the mean of cpu and memory used by allocatable, before the pod comes."""

    name: str = "LeastUsed"
    highest: float = 0.0

    def raw(self, decision: Decision) -> Floats:
        """float64[N]: minus the mean fraction, so that the least used is the highest."""
        rows = [decision.schema.index(CPU), decision.schema.index(MEMORY)]
        allocatable = decision.nodes.allocatable[rows].astype(np.float64)
        requested = decision.nodes.requested[rows].astype(np.float64)
        # A node that has none of a resource counts as full of it.
        fraction = np.divide(requested, allocatable, out=np.ones_like(requested), where=allocatable > 0)
        return np.asarray(-fraction.sum(axis=0) / 2)

    def normalize(self, raw: Floats, feasible: Mask) -> Floats:
        """The raw score: rounding to a scale could make ties."""
        return raw

    def arguments(self) -> dict[str, Any]:
        """Nothing: there is one way to compute it."""
        return {}


LEAST_USED: Final = Policy(
    "least-used",
    "The orchestration API's preference: the least mean of cpu and memory fractions in use, before the pod.",
    (NodeUnschedulable(), TaintToleration(), NodeResourcesFit()),
    ((LeastUsed(), 1),),
    "lowest",
)


class PodScheduler:
    """Puts pods on nodes, one at a time, as the policy says.

    policy : LEAST_USED unless said otherwise: of the ready nodes whose taints the pod
             tolerates and that have room, the one with the lowest mean of
             cpu_used/cpu_allocatable and memory_used/memory_allocatable; of equals the
             one first saved. Any k8slab policy, or the name of one, will do.
    seed   : for policies that draw
    """

    def __init__(
        self,
        pod_repo: PodRepositoryPort,
        node_repo: NodeRepositoryPort,
        *,
        policy: str | Policy = LEAST_USED,
        seed: int = 0,
    ) -> None:
        self._ledger = Ledger(pod_repo, node_repo)
        self._policy = as_policy(policy)
        self._seed = seed
        self._placed = 0

    def schedule_pod(self, pod: Pod) -> bool:
        """Put the pod on its best node: stores it as running there, charges the node, updates `pod`.

        False, and nothing changed, if no node fits. A pod that is stored as running on a
        node already stays there; one that is stored otherwise is moved, and what it held
        counts as free. Raises InputError for a request that is no amount.
        """
        with self._ledger.lock:
            stored = self._ledger.pods.get_pod(pod.pod_id)
            if stored is not None and stored.phase is PodPhase.RUNNING and self._charged(stored):
                pod.node_id, pod.phase = stored.node_id, stored.phase
                return True
            columns = self._columns(stored)
            chosen = self._evaluate(columns, pod).chosen
            if chosen < 0:
                return False
            self._ledger.assign(pod, columns.names[chosen])
            self._placed += 1
            return True

    def find_best_node(self, pod: Pod) -> Node | None:
        """The node that schedule_pod would choose now, None if none fits. Changes nothing."""
        with self._ledger.lock:
            columns = self._columns(self._ledger.pods.get_pod(pod.pod_id))
            chosen = self._evaluate(columns, pod).chosen
            return None if chosen < 0 else self._ledger.nodes.get_node(columns.names[chosen])

    def explain(self, pod: Pod) -> str:
        """In a line: how many nodes fit the pod now, and why the others don't.

        For example "0/3 nodes fit: 2 insufficient cpu, 1 unschedulable".
        """
        with self._ledger.lock:
            columns = self._columns(self._ledger.pods.get_pod(pod.pod_id))
            return self._evaluate(columns, pod).message()

    def schedule_pending(self) -> int:
        """Try every stored pod that waits for a node, the highest priority first; how many found one.

        What pods that succeeded still held is free first.
        """
        with self._ledger.lock:
            self._ledger.settle()
            return sum([self.schedule_pod(pod) for pod in waiting(self._ledger.pods.list_pods())])

    def _evaluate(self, columns: NodeColumns, pod: Pod) -> Evaluation:
        pods = pod_columns_of([pod], columns.schema, first_row=self._placed)
        return self._policy.evaluate(columns, pods, 0, seed=self._seed)

    def _columns(self, stored: Pod | None) -> NodeColumns:
        """The nodes as they would be without the pod that is to be placed."""
        nodes = self._ledger.nodes
        state = state_of(nodes)
        columns = node_columns_of(nodes.list_nodes()) if state is None else state.node_columns()
        if stored is None or not self._charged(stored):
            return columns
        requested = columns.requested.copy()
        requested[:, columns.names.row(stored.node_id)] -= columns.schema.vector(request_of(stored))
        return replace(columns, requested=np.maximum(requested, 0))

    def _charged(self, stored: Pod) -> bool:
        node = self._ledger.nodes.get_node(stored.node_id) if stored.node_id else None
        return node is not None and stored.pod_id in node.pods


def waiting(pods: Iterable[Pod]) -> list[Pod]:
    """The pods that wait for a node: the highest priority first, then in the order given."""
    pending = [pod for pod in pods if pod.phase is PodPhase.PENDING and not pod.node_id]
    return sorted(pending, key=lambda pod: -pod.priority)
