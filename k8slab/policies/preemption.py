"""DefaultPreemption: which pods would have to go, and on which node, so that a more important one can run.

After kube-scheduler 1.34: a dry run on every node where it may help removes all pods of
lower priority, then takes back as many as it can, those protected by a disruption budget
first; of the nodes that are left the one whose victims matter least is nominated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from k8slab.domain.api_objects import DisruptionBudget
from k8slab.domain.columns import LEAVING
from k8slab.domain.selectors import selects
from k8slab.errors import InputError
from k8slab.policies.filtering import fit_message, refused_one
from k8slab.policies.plugins.base import STATUS, SUCCESS, UNRESOLVABLE, UNSCHEDULABLE, Decision, Filter
from k8slab.policies.snapshot import Guest, Snapshot

if TYPE_CHECKING:
    from k8slab.policies.policy import Evaluation

_PREEMPTED: Final = LEAVING.index("preempted")
# Where all victims' priorities are added up, so that each more victim counts.
_OFFSET: Final = 2**31


@dataclass(frozen=True, eq=False)
class Candidate:
    """A node where a pod could run if others went.

    victims    : those that would have to go, the most important first
    violations : how many of them a disruption budget protects
    """

    victims: tuple[Guest, ...]
    violations: int

    def costs(self) -> tuple[int, ...]:
        """What a choice among candidates compares, in this order; less is better."""
        first = self.victims[0].priority
        started = min(victim.started_ns for victim in self.victims if victim.priority == first)
        importance = sum(victim.priority + _OFFSET for victim in self.victims)
        return self.violations, first, importance, len(self.victims), -started


@dataclass(frozen=True, eq=False)
class NoCandidate:
    """Why a node is none, though preemption might have helped there."""

    code: str
    plugin: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Preemption:
    """What preemption makes of a pod that no node could take.

    code       : "Success" if a node is nominated, else "Unschedulable" or "Error"
    message    : why none is; "" on success
    candidates : by node row, in the order they were tried
    refused    : by node row, where a dry run found no way
    ties       : int rows of the candidates that are best by all criteria
    node_row   : the one that is nominated, -1 for none
    """

    code: str
    message: str = ""
    candidates: dict[int, Candidate] | None = None
    refused: dict[int, NoCandidate] | None = None
    ties: tuple[int, ...] = ()
    node_row: int = -1

    @property
    def victims(self) -> tuple[Guest, ...]:
        """Those that have to go, the most important first."""
        return self.candidates[self.node_row].victims if self.candidates and self.node_row >= 0 else ()


@dataclass(frozen=True)
class DefaultPreemption:
    """kube-scheduler's PostFilter, for any policy.

    candidate_percent, candidates : a search may stop when it has found so many, at least one of them
        without breaking a budget: the larger of this share of the nodes where it may help, and this number
    """

    candidate_percent: int = 10
    candidates: int = 100

    name = "DefaultPreemption"

    def __post_init__(self) -> None:
        for name, given in (("candidate_percent", self.candidate_percent), ("candidates", self.candidates)):
            if isinstance(given, bool) or not isinstance(given, int | np.integer):
                raise InputError(f"{self.name}: {name} is {given!r}, wanted a whole number")
        if not 0 <= self.candidate_percent <= 100:
            raise InputError(f"{self.name}: candidate_percent is {self.candidate_percent!r}, wanted 0 to 100")
        if self.candidates < 0 or self.candidates == self.candidate_percent == 0:
            raise InputError(f"{self.name}: candidates is {self.candidates!r}, wanted 1 or more")

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        given = {"candidate_percent": int(self.candidate_percent), "candidates": int(self.candidates)}
        defaults = {"candidate_percent": 10, "candidates": 100}
        return {key: value for key, value in given.items() if value != defaults[key]}

    def preempt(
        self,
        filters: Sequence[Filter],
        snapshot: Snapshot,
        pod: int,
        judged: Evaluation,
        draw: Callable[[int], int] = lambda count: 0,
    ) -> Preemption:
        """Find the node where the least important pods would have to go.

        judged : the evaluation that found no node
        draw   : gives a number below a count: where the search begins, and which of equals is nominated
        """
        problem = _not_eligible(snapshot, pod, judged)
        if problem:
            return Preemption(STATUS[UNSCHEDULABLE], f"preemption: {problem}")
        potential = [int(row) for row in np.flatnonzero(judged.code == UNSCHEDULABLE)]
        found: dict[int, Candidate] = {}
        refused: dict[int, NoCandidate] = {}
        enough = min(max(len(potential) * self.candidate_percent // 100, self.candidates), len(potential))
        start = draw(len(potential)) if len(potential) > enough else 0
        for row in (*potential[start:], *potential[:start]):
            outcome = _DryRun(filters, snapshot, pod, judged.active, row).run()
            if isinstance(outcome, NoCandidate):
                refused[row] = outcome
                continue
            found[row] = outcome
            if len(found) >= enough and any(not candidate.violations for candidate in found.values()):
                break
        if not found:
            return Preemption(
                STATUS[UNSCHEDULABLE], f"preemption: {_no_candidates(judged, refused)}", refused=refused or None
            )
        least = min(candidate.costs() for candidate in found.values())
        ties = tuple(sorted(row for row, candidate in found.items() if candidate.costs() == least))
        return Preemption(STATUS[SUCCESS], "", found, refused or None, ties, ties[draw(len(ties))])


def _not_eligible(snapshot: Snapshot, pod: int, judged: Evaluation) -> str:
    spec, priority = snapshot.pods.spec(pod), int(snapshot.pods.priority[pod])
    if not spec.may_preempt:
        return "not eligible due to preemptionPolicy=Never."
    promised = snapshot.nodes.names.row(spec.nominated_to) if spec.nominated_to else -1
    if promised >= 0 and judged.code[promised] != UNRESOLVABLE:
        guests = snapshot.guests(promised)
        if any(guest.priority < priority and guest.leaving == _PREEMPTED for guest in guests):
            return "not eligible due to a terminating pod on the nominated node."
    return ""


def _no_candidates(judged: Evaluation, refused: dict[int, NoCandidate]) -> str:
    nodes = int(judged.alive.sum())
    counts = Counter(reason for outcome in refused.values() for reason in outcome.reasons)
    counts["Preemption is not helpful for scheduling"] += nodes - len(refused)
    return fit_message(0, nodes, sorted(f"{count} {reason}" for reason, count in counts.items() if count))


class _DryRun:
    """One node, as it would be without some of its pods."""

    def __init__(
        self, filters: Sequence[Filter], snapshot: Snapshot, pod: int, active: Sequence[int], node_row: int
    ) -> None:
        self._filters = filters
        self._snapshot = snapshot
        self._active = active
        self._node_row = node_row
        self._decision = Decision.on(snapshot, pod).only(node_row)
        self._priority = int(snapshot.pods.priority[pod])

    def run(self) -> Candidate | NoCandidate:
        """Remove all of lower priority; take back who may stay."""
        lower = [guest for guest in self._snapshot.guests(self._node_row) if guest.priority < self._priority]
        if not lower:
            return NoCandidate(STATUS[UNRESOLVABLE], "", ("No preemption victims found for incoming pod",))
        lower.sort(key=_importance)
        with self._snapshot.trial(self._node_row) as trial:
            for guest in lower:
                trial.remove(guest.crowd, guest.row)
            told = self._refused()
            if told is not None:
                return told
            protected = _breaking(self._snapshot.nodes.objects.budgets, lower)
            victims: list[Guest] = []
            for guest in (*(g for g in lower if g in protected), *(g for g in lower if g not in protected)):
                trial.add(guest.crowd, guest.row)
                if self._refused() is not None:
                    trial.remove(guest.crowd, guest.row)
                    victims.append(guest)
        if not victims:
            name = self._snapshot.nodes.names[self._node_row]
            return NoCandidate("Error", "", (f'expected at least one victim pod on node "{name}"',))
        # Of equals those that a budget protects come first: they were asked first.
        return Candidate(tuple(sorted(victims, key=_importance)), len(protected.intersection(victims)))

    def _refused(self) -> NoCandidate | None:
        told = refused_one(self._filters, self._active, self._decision, self._node_row)
        if not told:
            return None
        final = any(np.asarray(refusal.final).any() for _, refusal in told)
        reasons = tuple(refusal.reason for _, refusal in told)
        return NoCandidate(STATUS[UNRESOLVABLE if final else UNSCHEDULABLE], self._filters[told[0][0]].name, reasons)


def _importance(guest: Guest) -> tuple[int, int]:
    """Sorts the most important first: the highest priority, then the longest running."""
    return -guest.priority, guest.started_ns


def _breaking(budgets: Iterable[DisruptionBudget], guests: Iterable[Guest]) -> set[Guest]:
    """Those that find a budget used up, charged in this order; each charges all budgets that protect it."""
    left = {budget: budget.allowed for budget in budgets}
    breaking = set()
    for guest in guests:
        for budget in _protecting(left, guest):
            left[budget] -= 1
            if left[budget] < 0:
                breaking.add(guest)
    return breaking


def _protecting(budgets: Iterable[DisruptionBudget], guest: Guest) -> Iterator[DisruptionBudget]:
    labels = guest.labels
    for budget in budgets:
        same = budget.namespace == guest.namespace and guest.bare_name not in budget.disrupted
        # Unlike elsewhere an empty selector protects nobody.
        if labels and same and budget.selector and selects(budget.selector, labels):
            yield budget
