"""Preemption as the scheduler's loop does it: for a pod that fits nowhere, others of lower priority are told to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.evictor import Evictor
from k8slab.domain.api_objects import DisruptionBudget
from k8slab.domain.columns import Ints
from k8slab.domain.pod_spec import Requirement
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.policies import Policy

# The label by which budgets of a workload know its pods here.
WORKLOAD: Final = "k8slab.io/workload"


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
        if self._policy.post_filter is None or state.pod_priority[pod_rows].max() <= state.lowest_priority:
            return
        bound = state.pod_priority[state.pod_node >= 0]
        if not len(bound):
            return
        for pod in pod_rows[state.pod_priority[pod_rows] > bound.min()].tolist():
            if not self._waits_for_victims(pod):
                self._help(pod, now_ns)

    def _waits_for_victims(self, pod: int) -> bool:
        node, victims = self._waits.get(pod, (-1, np.zeros(0, dtype=np.int64)))
        state = self._state
        return node >= 0 and bool((state.pod_alive[victims] & (state.pod_node[victims] == node)).any())

    def _help(self, pod: int, now_ns: int) -> None:
        state = self._state
        columns = state.node_columns()
        nodes = replace(columns, objects=replace(columns.objects, budgets=self._allowed(now_ns)))
        snapshot = self._policy.snapshot(nodes, state.pod_columns(np.array([pod])))
        judged = self._policy.judge(snapshot, 0, seed=self._seed)
        if judged.chosen >= 0:
            return
        found = self._policy.preempt(snapshot, 0, judged, seed=self._seed)
        if found.node_row < 0:
            return
        placed = snapshot.placed.pods.rows
        victims = np.array(sorted(int(placed[victim.row]) for victim in found.victims), dtype=np.int64)
        state.nominate(pod, found.node_row)
        self._waits[pod] = found.node_row, victims
        self._sink.emit(
            "events", time_ns=now_ns, controller="scheduler", event="Nominated", pod_row=pod, node_row=found.node_row,
            detail=f"{len(victims)} have to go",
        )  # fmt: skip
        self._evictor.preempt(victims, f"preempted by {state.pod_name(pod)}", now_ns)

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

