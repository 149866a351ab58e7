"""PodDisruptionBudgets over columns: whose pods they are, what they allow, and what an eviction is answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from k8slab.domain.columns import Ints
from k8slab.domain.disruption import (
    BudgetPod,
    BudgetSpec,
    BudgetStatus,
    EvictedPod,
    Eviction,
    admit_eviction,
    budget_status,
)
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.pod_spec import Selector
from k8slab.domain.ports import ClusterStatePort, ScalePort
from k8slab.domain.selectors import selector_mask
from k8slab.errors import InputError

_RUNNING: Final = POD_PHASES.index(PodPhase.RUNNING)
_ENDED: Final = (POD_PHASES.index(PodPhase.SUCCEEDED), POD_PHASES.index(PodPhase.FAILED))
_PHASE_NAMES: Final = tuple(phase.value.capitalize() for phase in POD_PHASES)


@dataclass(frozen=True)
class Budget:
    """A budget and whose pods it protects: those of a namespace that its selector matches, or a workload's.

    selector : None matches nothing, () all of the namespace
    workload : the workload's name; then the selector isn't asked
    """

    name: str
    spec: BudgetSpec
    namespace: str = "default"
    selector: Selector | None = None
    workload: str = ""


class DisruptionBudgets:
    """All budgets of a cluster, and what they remember of evictions.

    scales : the controllers' scales, of which percentages are taken

    A pod's labels are looked at once, when the pod is first asked for. A status is counted
    anew whenever it is asked for: the disruption controller of a cluster does the same a
    little later.
    """

    # Where several decide: what there is of it beside the state.
    MEMORY: Final = ("_disrupted", "_known", "_members", "_owners", "_protected_by", "budgets")

    def __init__(
        self, state: ClusterStatePort, budgets: Iterable[Budget] = (), *, scales: ScalePort | None = None
    ) -> None:
        self._state = state
        self._scales = scales
        self.budgets = tuple(budgets)
        self._owners = [self._owner(budget) for budget in self.budgets]
        self._members = [np.zeros(0, dtype=np.int64) for _ in self.budgets]
        self._protected_by: dict[int, tuple[int, ...]] = {}
        self._known = 0
        self._disrupted: list[dict[str, int]] = [{} for _ in self.budgets]
        names = [budget.name for budget in self.budgets]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two disruption budgets are named {name!r}; wanted a name of its own for each")

    def add(self, budget: Budget) -> None:
        """One budget more, for pods that are there as well. Raises InputError for one whose name is taken."""
        if any(budget.name == other.name for other in self.budgets):
            raise InputError(f"two disruption budgets are named {budget.name!r}; wanted a name of its own for each")
        self._owners.append(self._owner(budget))
        self.budgets = (*self.budgets, budget)
        self._disrupted.append({})
        # Who is protected by what is found out anew; what was evicted is remembered.
        self._members = [np.zeros(0, dtype=np.int64) for _ in self.budgets]
        self._protected_by.clear()
        self._known = 0

    def members(self, number: int) -> Ints:
        """int64[]: rows of the pods that a budget protects, which are there and haven't ended."""
        self._look_at_new_pods()
        rows, state = self._members[number], self._state
        ended = np.isin(state.pod_phase[rows], _ENDED)
        # Those that ended or went don't come back; others may have a row before they are there.
        gone = ended | (~state.pod_alive[rows] & (state.pod_last_node[rows] >= 0))
        if gone.any():
            rows = self._members[number] = rows[~gone]
        return np.asarray(rows[state.pod_alive[rows]])

    def status(self, number: int, now_ns: int) -> BudgetStatus:
        """What a budget allows now."""
        state = self._state
        rows = self.members(number)
        ready = state.pod_ready_ns[rows] <= now_ns
        leaving = state.pod_leaving[rows] != 0
        owners = state.pod_owner[rows]
        pods = [
            BudgetPod(str(row), str(owner) if owner >= 0 else None, is_ready, is_leaving)
            for row, owner, is_ready, is_leaving in zip(
                rows.tolist(), owners.tolist(), ready.tolist(), leaving.tolist(), strict=True
            )
        ]
        scales = {str(owner): self._scale(owner) for owner in np.unique(owners[owners >= 0]).tolist()}
        status = budget_status(self.budgets[number].spec, pods, scales, self._disrupted[number], now_ns)
        self._disrupted[number] = dict(status.disrupted_pods)
        return status

    def admit(self, pod_row: int, now_ns: int) -> tuple[Eviction, str]:
        """What the API answers to an eviction of this pod, and why; if it is admitted, the budget remembers it."""
        state = self._state
        self._look_at_new_pods()
        asked = self._protected_by.get(pod_row, ())
        statuses = [(self.budgets[number].spec, self.status(number, now_ns)) for number in asked]
        pod = EvictedPod(
            str(pod_row),
            _PHASE_NAMES[int(state.pod_phase[pod_row])],
            bool(state.pod_ready_ns[pod_row] <= now_ns),
            bool(state.pod_leaving[pod_row]),
        )
        answer = admit_eviction(pod, statuses, now_ns)
        if len(asked) == 1 and answer.status is not None:
            self._disrupted[asked[0]] = dict(answer.status.disrupted_pods)
        return answer.outcome, _because(answer.outcome, [self.budgets[number].name for number in asked], statuses)

    def _look_at_new_pods(self) -> None:
        count = self._state.pod_count
        if count == self._known or not self.budgets:
            return
        rows = np.arange(self._known, count)
        self._known = count
        for number, budget in enumerate(self.budgets):
            mine = rows[self._mask(budget, self._owners[number], rows)]
            self._members[number] = np.concatenate([self._members[number], mine])
            for row in mine.tolist():
                self._protected_by[row] = (*self._protected_by.get(row, ()), number)

    def _mask(self, budget: Budget, owner: int | None, rows: Ints) -> np.ndarray:
        if owner is not None:
            return np.asarray(self._state.pod_owner[rows] == owner)
        columns = self._state.pod_columns(rows)
        mask = selector_mask(budget.selector, columns.labels, len(rows))
        return np.asarray(mask & columns.namespaces.equals(budget.namespace))

    def _owner(self, budget: Budget) -> int | None:
        if not budget.workload:
            return None
        if self._scales is None:
            raise InputError(f"budget {budget.name!r}: workload {budget.workload!r}, but there are no workloads here")
        return self._scales.owner(budget.workload)

    def _scale(self, owner: int) -> int:
        return self._scales.replicas(owner) if self._scales is not None else 0


def _because(outcome: Eviction, names: list[str], statuses: list[tuple[BudgetSpec, BudgetStatus]]) -> str:
    if outcome is Eviction.MANY_BUDGETS:
        return f"500: budgets {', '.join(names)} all protect it; wanted one"
    if outcome is Eviction.TOO_MANY_REQUESTS:
        status = statuses[0][1]
        return f"429: budget {names[0]} wants {status.desired_healthy} healthy and has {status.current_healthy}"
    return ""
