"""Preemption beside a compiled path: the dry run as a kernel on columns, the snapshot brought up to date only if asked.

The kernel decides for pods whose place hangs on amounts alone. For the others, which look at
other pods or ports, and for policies with filters of a user's, the run decides in numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.api_objects import DisruptionBudget
from k8slab.domain.columns import Ints, PlacedPods, PodColumns
from k8slab.domain.pod_spec import PLAIN
from k8slab.domain.resources import PODS
from k8slab.domain.selectors import selector_mask
from k8slab.policies import plugins
from k8slab.policies.compiled import Problem, allowed_nodes
from k8slab.policies.plugins import Mask
from k8slab.policies.policy import Eviction, draw01
from k8slab.policies.preemption import DefaultPreemption
from k8slab.policies.run import Run
from k8slab.policies.user import UserFilter

if TYPE_CHECKING:
    from k8slab.kernels.preemption import Guests, Known, Nodes, Work

# How much is kept at most of what searches found; the oldest go first.
KNOWN_BYTES: Final = int(os.environ.get("K8SLAB_PREEMPTION_BYTES", 2**27))
_KNOWN_BYTES_A_NODE: Final = 40
Codes32 = npt.NDArray[np.int32]


def may_preempt(run: Run) -> Mask:
    """bool[P]: the pods for which others might have to go if they fit nowhere."""
    pods = run.snapshot.pods
    if run.policy.post_filter is None or not len(pods):
        return np.zeros(len(pods), dtype=np.bool_)
    willing = np.array([spec.may_preempt and not spec.gates for spec in (*pods.specs.values, PLAIN)])
    return np.asarray((pods.priority > run.lowest_priority) & willing[pods.specs.codes])


def most_dry_runs(run: Run) -> int:
    """How many nodes may have to be tried without some of their pods, if no pod fits anywhere."""
    rule, nodes = run.policy.post_filter, len(run.snapshot.nodes)
    if rule is None:
        return 0
    return int(may_preempt(run).sum()) * min(nodes, max(nodes * rule.candidate_percent // 100, rule.candidates))


@dataclass(frozen=True)
class Change:
    """What a preemption changed on a node. pod : who came; victims : who went, in their order"""

    node_row: int
    pod: int
    victims: list[Eviction]


class Preemptions:
    """Decides about pods that fit nowhere, as `Run.place` does but without asking every plug-in about all nodes.

    alone : gives whether a pod's place hangs on amounts alone, as the counts of other pods now are

    The caller hands pods over in their order, and keeps its own counts by the change that it is given.
    """

    def __init__(self, run: Run, problem: Problem, alone: Callable[[int], bool] = lambda pod: True) -> None:
        from k8slab.kernels import preemption

        self._run = run
        self._pods = run.snapshot.pods
        self._pod_class = problem.pod_class
        self._alone = alone
        self._before = len(run.snapshot.placed.pods)
        self._bound_row = _by_importance(run.snapshot.placed)
        self._bound_guest = np.argsort(self._bound_row)
        self._nodes, self._guests = _nodes(run), _guests(run, self._bound_row)
        preemption.settle(run.snapshot.placed.node_rows[self._bound_row], self._nodes, self._guests)
        self._work = _work(run, len(self._guests.rows))
        self._searches = _Searches(run, problem)
        self._seen = 0  # the pods before are in the columns here

    @property
    def requested(self) -> Ints:
        """int64[N, R]: what nodes hold, as of the last pod that was handed over."""
        return self._nodes.requested

    def place(self, pod: int) -> Change | None:
        """Let others go for a pod that fits nowhere; None if it stays without a node."""
        already = len(self._run.evictions)
        found = self._search(pod) if self._searches.can(pod) and self._alone(pod) else self._ask_run(pod)
        self._seen = pod + 1
        return Change(int(self._run.chosen[pod]), pod, self._run.evictions[already:]) if found else None

    def _search(self, pod: int) -> bool:
        """Let the kernel decide, and note who had to go."""
        from k8slab.kernels import preemption

        run = self._run
        node, victims = preemption.preempt(
            pod, self._seen, self._before, run.chosen, self._pods.requests[pod], int(self._pods.priority[pod]),
            *self._searches.terms(pod), self._nodes, self._guests, self._work,
        )  # fmt: skip
        if node < 0:
            return False
        run.note(pod, node, [self._eviction(guest, node, pod) for guest in self._work.victims[:victims].tolist()])
        return True

    def _eviction(self, guest: int, node: int, by: int) -> Eviction:
        bound = guest < self._before
        return Eviction(int(self._bound_row[guest]) if bound else guest - self._before, bound, node, by)

    def _ask_run(self, pod: int) -> bool:
        """Let numpy decide, and take in what it did."""
        from k8slab.kernels import preemption

        run, before, already = self._run, self._before, len(self._run.evictions)
        preemption.arrive(before, (self._seen, pod), run.chosen, self._nodes, self._guests)
        run.catch_up(pod)
        run.place(pod)
        if run.chosen[pod] < 0:
            return False
        victims = run.evictions[already:]
        for place, victim in enumerate(victims):
            self._work.victims[place] = self._bound_guest[victim.row] if victim.bound else before + victim.row
        node = int(run.chosen[pod])
        preemption.replace_victims(before + pod, node, len(victims), self._nodes, self._guests, self._work)
        return True


class _Searches:
    """What searches of a run are made with, and what they found, by class and priority of the preemptor."""

    def __init__(self, run: Run, problem: Problem) -> None:
        snapshot, rule = run.snapshot, run.policy.post_filter
        assert rule is not None, "only a policy that preempts hands pods over"
        self._run = run
        self._problem = problem
        self._pods = snapshot.pods
        known = type(rule) is DefaultPreemption
        self._known_rules = known and not any(isinstance(item, UserFilter) for item in run.policy.filters)
        promised = [bool(spec.nominated_to) for spec in (*self._pods.specs.values, PLAIN)]
        self._promised = np.array(promised)[self._pods.specs.codes]
        fit = next(item for item in run.policy.filters if isinstance(item, plugins.NodeResourcesFit))
        names = snapshot.nodes.schema.names
        self._checked = np.array([not fit.ignores(name) for name in names], dtype=np.bool_)
        self._counted = np.array([name != PODS for name in names], dtype=np.bool_)
        self._limit = (int(rule.candidate_percent), int(rule.candidates))
        self._found: dict[tuple[int, int], Known] = {}
        nodes = len(snapshot.nodes)
        self._most = max(1, KNOWN_BYTES // (_KNOWN_BYTES_A_NODE * max(nodes, 1)))

    def can(self, pod: int) -> bool:
        """Whether the kernel knows all rules that concern a pod, but for those of other pods' counts."""
        return self._known_rules and not self._promised[pod]

    def terms(self, pod: int) -> tuple[Mask, tuple[int, int], float, Known]:
        """See kernels.preemption.find_victims."""
        run = self._run
        draw = draw01(run.seed, int(self._pods.rows[pod])) if run.ties == "random" else 0.0
        return self._checked, self._limit, draw, self._known(pod)

    def _known(self, pod: int) -> Known:
        key = int(self._problem.pod_class[pod]), int(self._pods.priority[pod])
        if key in self._found:
            return self._found[key]
        self._found[key] = known = self._nothing_found(pod, self._arrays())
        return known

    def _arrays(self) -> tuple[Codes32, Codes32, Ints]:
        """Room for what a search finds: that of the oldest one, once memory is full."""
        from k8slab.kernels.preemption import COSTS

        if len(self._found) >= self._most:
            oldest = self._found.pop(next(iter(self._found)))
            return oldest.potential, oldest.version, oldest.costs
        nodes = len(self._run.snapshot.nodes)
        return np.empty(nodes, np.int32), np.empty(nodes, np.int32), np.empty((nodes, COSTS), np.int64)

    def _nothing_found(self, pod: int, arrays: tuple[Codes32, Codes32, Ints]) -> Known:
        from k8slab.kernels.preemption import Known, potential_nodes

        potential, version, costs = arrays
        allowed = allowed_nodes(self._run.policy, self._run.snapshot, pod)
        allocatable = self._run.snapshot.nodes.allocatable
        count = potential_nodes(self._pods.requests[pod], self._checked, self._counted, allowed, allocatable, potential)
        version[:] = -1
        return Known(count, potential, version, costs)


# -- the kernel's columns ------------------------------------------------------------


def _nodes(run: Run) -> Nodes:
    """The nodes, without guests."""
    from k8slab.kernels.preemption import NOBODY, Nodes

    columns = run.snapshot.nodes
    return Nodes(
        allocatable=np.ascontiguousarray(columns.allocatable.T),
        # A copy in any case: of one node the transposed array is contiguous already.
        requested=columns.requested.T.copy(order="C"),
        least=np.full(len(columns), -1, dtype=np.int32),
        lowest=np.full(len(columns), NOBODY, dtype=np.int32),
        version=np.zeros(len(columns), dtype=np.int32),
    )


def _by_importance(placed: PlacedPods) -> Ints:
    """int64[B]: bound pods by node, those of each from the most important on: a search then reads memory in line."""
    pods = placed.pods
    keys = (np.arange(len(pods)), pods.started_ns, -pods.priority.astype(np.int64), placed.node_rows)
    return np.lexsort(keys)


def _guests(run: Run, bound: Ints) -> Guests:
    """The pods that ran before, in this order, then those to schedule."""
    from k8slab.kernels.preemption import HELD, NEXT, PRIORITY, STARTED, Guests

    crowds = ((run.snapshot.bound, bound), (run.snapshot.incoming, np.arange(len(run.snapshot.pods))))
    rows = np.empty((sum(len(which) for _, which in crowds), HELD + len(run.snapshot.nodes.schema)), dtype=np.int64)
    rows[:, NEXT] = -1
    rows[:, PRIORITY] = np.concatenate([crowd.pods.priority[which] for crowd, which in crowds])
    rows[:, STARTED] = np.concatenate([crowd.pods.started_ns[which] for crowd, which in crowds])
    rows[:, HELD:] = np.concatenate([crowd.amounts(which)[0] for crowd, which in crowds])
    charged = [np.concatenate([_protects(budget, crowd.pods)[which] for crowd, which in crowds])
               for budget in run.snapshot.nodes.objects.budgets]  # fmt: skip
    return Guests(rows, *_protected(charged, len(rows)))


def _work(run: Run, guests: int) -> Work:
    from k8slab.kernels.preemption import Work

    nodes, resources = len(run.snapshot.nodes), len(run.snapshot.nodes.schema)
    allowed = np.array([budget.allowed for budget in run.snapshot.nodes.objects.budgets], dtype=np.int64)
    return Work(
        tied=np.empty(nodes, dtype=np.int64),
        lower=np.empty(guests, dtype=np.int32),
        breaking=np.zeros(guests, dtype=np.bool_),
        victim=np.zeros(guests, dtype=np.bool_),
        left=allowed.copy(),
        allowed=allowed,
        free=np.empty(resources, dtype=np.int64),
        asks=np.empty(resources, dtype=np.int64),
        victims=np.empty(guests, dtype=np.int32),
    )


def _protected(charged: list[Mask], guests: int) -> tuple[Codes32, Codes32]:
    """int32[G + 1] where each guest's budgets begin, and int32[.] the budgets. charged : bool[G] of each budget"""
    guest, budget = np.nonzero(np.array(charged, dtype=np.bool_).reshape(-1, guests).T)
    start = np.zeros(guests + 1, dtype=np.int32)
    start[1:] = np.cumsum(np.bincount(guest, minlength=guests))
    return start, budget.astype(np.int32)


def _protects(budget: DisruptionBudget, pods: PodColumns) -> Mask:
    """bool[P]: as preemption._protecting tells it of one pod."""
    if not budget.selector:
        return np.zeros(len(pods), dtype=np.bool_)
    there = [(value or "") == budget.namespace for value in (*pods.namespaces.values, None)]
    mask = np.array(there, dtype=np.bool_)[pods.namespaces.codes]
    labelled = np.zeros(len(pods), dtype=np.bool_)
    for column in pods.labels.values():
        labelled |= column.codes >= 0
    mask &= labelled & selector_mask(budget.selector, pods.labels, len(pods))
    if budget.disrupted:
        known = {*budget.disrupted}
        for row in np.flatnonzero(mask).tolist():
            mask[row] = pods.names[row].removeprefix(f"{budget.namespace}/") not in known
    return mask
