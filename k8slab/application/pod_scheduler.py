"""The scheduler of the orchestration API: one pod, one decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from k8slab.application.ledger import Ledger, state_of
from k8slab.application.live_preemption import LivePreemption
from k8slab.domain.entity_columns import node_columns_of, pod_columns_of, request_of
from k8slab.domain.models import Node, Pod, PodPhase
from k8slab.domain.ports import NodeRepositoryPort, PodRepositoryPort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.policies import Policy, as_policy
from k8slab.policies.plugins import (
    Decision,
    Floats,
    NodeResourcesFit,
    NodeUnschedulable,
    TaintToleration,
)
from k8slab.policies.policy import Evaluation
from k8slab.policies.snapshot import Snapshot


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

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
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
             one first saved. Any k8slab policy, or the name of one, will do. One that samples
             nodes begins where the last pod's search ended.
    seed   : for policies that draw

    Where a policy has a post_filter, pods of lower priority go for one that fits nowhere if somebody has
    set `preemption`, as the orchestrator does; without it nobody goes.
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
        self._search_start = 0
        self.preemption: LivePreemption | None = None

    @property
    def policy(self) -> Policy:
        """What it decides by."""
        return self._policy

    def schedule_pod(self, pod: Pod) -> bool:
        """Put the pod on its best node: stores it as running there, charges the node, updates `pod`.

        False, and nothing changed, if no node fits; but where others have to go for it, they are told
        to, the pod is stored as waiting, and a later round places it. A pod that is stored as running
        on a node already stays there; one that is stored otherwise is moved, and what it held counts
        as free. Raises InputError for a request that is no amount.
        """
        with self._ledger.lock:
            stored = self._ledger.pods.get_pod(pod.pod_id)
            if stored is not None and stored.phase is PodPhase.RUNNING and self._charged(stored):
                pod.node_id, pod.phase = stored.node_id, stored.phase
                return True
            if self._place(pod, stored):
                return True
            if self.preemption is not None and (stored is None or not stored.node_id):
                columns = self._snapshot(pod, stored).pods
                self.preemption.admit(columns, lambda: self._ledger.release(pod))
            return False

    def find_best_node(self, pod: Pod) -> Node | None:
        """The node that schedule_pod would choose now, None if none fits. Changes nothing."""
        with self._ledger.lock:
            chosen, _ = self._chosen(pod, self._ledger.pods.get_pod(pod.pod_id))
            return None if chosen is None else self._ledger.nodes.get_node(chosen)

    def explain(self, pod: Pod) -> str:
        """In a line: how many nodes fit the pod now, and why the others don't.

        For example "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
        """
        with self._ledger.lock:
            return self._judge(self._snapshot(pod, self._ledger.pods.get_pod(pod.pod_id))).message()

    def schedule_pending(self) -> int:
        """Try every stored pod that waits for a node, the highest priority first; how many found one.

        What pods that succeeded still held is free first.
        """
        with self._ledger.lock:
            self._ledger.settle()
            state = state_of(self._ledger.pods)
            if state is not None and not len(state.pending_rows()):
                # Most rounds of an idle cluster find nobody; making a Pod of each row to see that costs the most.
                return 0
            pods = waiting(self._ledger.pods.list_pods())
            placed = [self._place(pod, pod) for pod in pods]
            if self.preemption is not None:
                self.preemption.help([pod for pod, done in zip(pods, placed, strict=True) if not done])
            return sum(placed)

    def _place(self, pod: Pod, stored: Pod | None) -> bool:
        chosen, self._search_start = self._chosen(pod, stored)
        if chosen is None:
            return False
        self._ledger.assign(pod, chosen)
        self._placed += 1
        return True

    def _chosen(self, pod: Pod, stored: Pod | None) -> tuple[str | None, int]:
        """The node that a pod gets, None for none; and where a policy that samples nodes begins its next search."""
        snapshot = self._snapshot(pod, stored)
        promised = _promised(snapshot, pod.pod_id)
        if promised >= 0:
            # The node that it was promised goes before better ones, and no search begins.
            whole = replace(self._policy, sampling=None)
            if whole.judge(snapshot, 0, seed=self._seed).feasible[promised]:
                return snapshot.nodes.names[promised], self._search_start
        judged = self._judge(snapshot)
        return None if judged.chosen < 0 else snapshot.nodes.names[judged.chosen], judged.next_start

    def _judge(self, snapshot: Snapshot) -> Evaluation:
        snapshot.search_start = self._search_start
        return self._policy.judge(snapshot, 0, seed=self._seed)

    def _snapshot(self, pod: Pod, stored: Pod | None) -> Snapshot:
        """The nodes as they would be without the pod that is to be placed."""
        nodes = self._ledger.nodes
        state = state_of(nodes)
        columns = node_columns_of(nodes.list_nodes()) if state is None else state.node_columns()
        pods = pod_columns_of([pod], columns.schema, first_row=self._placed)
        if stored is None or not self._charged(stored):
            return self._policy.snapshot(columns, pods)
        known = -1 if columns.bound is None else columns.bound().pods.names.row(stored.pod_id)
        if known >= 0:
            # It counts neither in what its node holds nor as a pod that others like or shun.
            snapshot = self._policy.snapshot(columns, pods)
            snapshot.evict(known)
            return snapshot
        requested = columns.requested.copy()
        requested[:, columns.names.row(stored.node_id)] -= columns.schema.vector(request_of(stored))
        return self._policy.snapshot(replace(columns, requested=np.maximum(requested, 0)), pods)

    def _charged(self, stored: Pod) -> bool:
        node = self._ledger.nodes.get_node(stored.node_id) if stored.node_id else None
        return node is not None and stored.pod_id in node.pods


def _promised(snapshot: Snapshot, pod_id: str) -> int:
    """The node where others left for this pod, -1 if none was promised to it."""
    promises = snapshot.nodes.nominated
    row = -1 if promises is None else promises.pods.names.row(pod_id)
    return -1 if promises is None or row < 0 else int(promises.node_rows[row])


def waiting(pods: Iterable[Pod]) -> list[Pod]:
    """The pods that wait for a node: the highest priority first, then in the order given."""
    pending = [pod for pod in pods if pod.phase is PodPhase.PENDING and not pod.node_id]
    return sorted(pending, key=lambda pod: -pod.priority)
