"""Preemption as the scheduler's loop does it: for a pod that fits nowhere, others of lower priority are told to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.evictor import Evictor
from k8slab.domain.api_objects import DisruptionBudget
from k8slab.domain.columns import Ints, PodColumns
from k8slab.domain.pod_spec import Requirement
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.policies import Policy

# The label by which budgets of a workload know its pods here.
WORKLOAD: Final = "k8slab.io/workload"


class Found(NamedTuple):
    """What a search came to: the node, and the rows of the pods that have to go from there."""

    node_row: int
    victims: Ints


class Preemptor:
    """Asks a policy's post_filter who has to go, nominates the node, and tells the victims.

    evictor : ends them with their grace, asking no budget: the choice has preferred victims that no budget protects
    budgets : what they allow now is told to the policy
    seed    : draws where a search begins, for policies that draw

    The victims hold their node until their grace is over; the pod waits for that, and its nomination
    keeps its room from those of lower priority. A pod whose victims are on their way out isn't helped twice.
    """

    def __init__(
        self,
        state: ClusterStatePort,
        policy: Policy,
        evictor: Evictor,
        budgets: DisruptionBudgets,
        sink: EventSinkPort,
        *,
        seed: int = 0,
        namespace_of: Callable[[str], str] = lambda workload: "default",
    ) -> None:
        self._state = state
        self._policy = policy
        self._evictor = evictor
        self._budgets = budgets
        self._sink = sink
        self._seed = seed
        self._namespace_of = namespace_of
        # pod -> the node that it was promised and the pods that are on their way out of there.
        self._waits: dict[int, tuple[int, Ints]] = {}

    def preempt(self, pod_rows: Ints, now_ns: int) -> None:
        """Help these pods, which fit nowhere, in this order."""
        state = self._state
        if state.pod_priority[pod_rows].max(initial=state.lowest_priority) <= state.lowest_priority:
            # Nobody has a lower one, whether he has a node or not; looking for the lowest that has takes all pods.
            return
        lowest = self._lowest()
        if lowest is None:
            return
        for pod in pod_rows[state.pod_priority[pod_rows] > lowest].tolist():
            if not self._waits_for_victims(pod):
                found = self._search(state.pod_columns(np.array([pod])), now_ns)
                if found is not None:
                    self.act(pod, found, now_ns)

    def find(self, pod: PodColumns, now_ns: int) -> Found | None:
        """Who has to go for one pod that fits nowhere, None if nobody may or it wouldn't help. Changes nothing.

        pod : it need have no row in the state
        """
        row, lowest = self._state.pod_row(pod.names[0]), self._lowest()
        if lowest is None or pod.priority[0] <= lowest or (row >= 0 and self._waits_for_victims(row)):
            return None
        return self._search(pod, now_ns)

    def act(self, pod: int, found: Found, now_ns: int) -> None:
        """Promise this pod the node, and tell the victims."""
        state = self._state
        state.nominate(pod, found.node_row)
        self._waits[pod] = found.node_row, found.victims
        self._sink.emit(
            "events", time_ns=now_ns, controller="scheduler", event="Nominated", pod_row=pod, node_row=found.node_row,
            detail=f"{len(found.victims)} have to go",
        )  # fmt: skip
        self._evictor.preempt(found.victims, f"preempted by {state.pod_name(pod)}", now_ns)

    def adopt(self) -> None:
        """Go on for another preemptor: who waits for whom is read off promises and pods on their way out."""
        state, promises = self._state, self._state.node_columns().nominated
        self._waits.clear()
        if promises is not None:
            for pod, node in zip(promises.pods.rows.tolist(), promises.node_rows.tolist(), strict=True):
                there = state.pods_on(node)
                self._waits[pod] = node, there[state.pod_leaving[there] != 0]

    def _lowest(self) -> int | None:
        """The lowest priority of a pod that has a node; None where nobody could go."""
        bound = self._state.pod_priority[self._state.pod_node >= 0]
        return int(bound.min()) if self._policy.post_filter is not None and len(bound) else None

    def _waits_for_victims(self, pod: int) -> bool:
        node, victims = self._waits.get(pod, (-1, np.zeros(0, dtype=np.int64)))
        state = self._state
        return node >= 0 and bool((state.pod_alive[victims] & (state.pod_node[victims] == node)).any())

    def _search(self, pod: PodColumns, now_ns: int) -> Found | None:
        columns = self._state.node_columns()
        nodes = replace(columns, objects=replace(columns.objects, budgets=self._allowed(now_ns)))
        snapshot = self._policy.snapshot(nodes, pod)
        judged = self._policy.judge(snapshot, 0, seed=self._seed)
        if judged.chosen >= 0:
            return None
        found = self._policy.preempt(snapshot, 0, judged, seed=self._seed)
        if found.node_row < 0:
            return None
        placed = snapshot.placed.pods.rows
        return Found(
            found.node_row, np.array(sorted(int(placed[victim.row]) for victim in found.victims), dtype=np.int64)
        )

    def _allowed(self, now_ns: int) -> tuple[DisruptionBudget, ...]:
        """The budgets as the policy knows them."""
        found = []
        for number, budget in enumerate(self._budgets.budgets):
            selector, namespace = budget.selector, budget.namespace
            if budget.workload:
                selector = (Requirement(WORKLOAD, "In", (budget.workload,)),)
                namespace = self._namespace_of(budget.workload)
            allowed = self._budgets.status(number, now_ns).disruptions_allowed
            found.append(DisruptionBudget(namespace, budget.name, selector, allowed))
        return tuple(found)

