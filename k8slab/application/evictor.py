"""Pods are asked to go: by the eviction API with its budgets, by drains that ask again, or without asking."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.domain.columns import LEAVING, Ints
from k8slab.domain.disruption import Eviction
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.node_lifecycle.node_taints import UNSCHEDULABLE, no_schedule_taints
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.errors import InputError

GRACE_NS: Final = 30 * SECOND_NS
# kubectl drain asks again so long after a 429.
RETRY_NS: Final = 5 * SECOND_NS
READY: Final = NODE_STATES.index(NodeState.READY)
CORDONED: Final = NODE_STATES.index(NodeState.CORDONED)
Mask = npt.NDArray[np.bool_]
# Codes into LEAVING.
DELETED: Final = LEAVING.index("deleted")
PREEMPTED: Final = LEAVING.index("preempted")


@dataclass
class _Drain:
    """A node that is being emptied: the pods that were not admitted yet, and why not when they were last asked for."""

    node_row: int
    reason: str
    since_ns: int
    next_ns: int
    left: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


class Evictor:
    """Ends pods with their grace, and drains nodes.

    budgets   : what the eviction API asks; None admits all
    grace_ns  : how long a pod takes to end once it is told to
    retry_ns  : how long a drain waits after it was refused
    daemons   : int64[n] pod rows -> bool[n], those that drains leave alone

    A pod of a workload is leaving until its grace is over and is removed then; its workload
    makes another at once. A bare pod is taken off its node when its grace is over, and
    waits for another. On a node whose kubelet is lost nothing ends: the pods of workloads
    stay there until it returns, bare pods are given up at once.
    """

    name = "evictor"
    rank: int = Rank.HEALING
    heeds_pods = False
    heeds_nodes = False
    # Where several decide: its verbs, and what they leave in its mind.
    VERBS: Final = ("cordon", "delete", "drain", "evict", "forget", "lose", "preempt", "regain", "run_once", "uncordon")
    MEMORY: Final = ("_drains", "_ends", "_lost", "_numbers")

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        *,
        budgets: DisruptionBudgets | None = None,
        grace_ns: int = GRACE_NS,
        retry_ns: int = RETRY_NS,
        daemons: Callable[[Ints], Mask] | None = None,
    ) -> None:
        if grace_ns < 0 or retry_ns <= 0:
            raise InputError(f"grace_ns={grace_ns:,}, retry_ns={retry_ns:,}; wanted 0 or more, and above 0")
        self._state = state
        self._sink = sink
        self.budgets = budgets if budgets is not None else DisruptionBudgets(state)
        self._grace_ns = grace_ns
        self._retry_ns = retry_ns
        self._daemons = daemons
        self._ends: list[tuple[int, int, Ints]] = []
        self._numbers = 0
        self._lost: set[int] = set()
        self._drains: dict[int, _Drain] = {}

    # -- what others ask -----------------------------------------------------------------

    def delete(self, pod_rows: Ints, reason: str, now_ns: int, *, grace_ns: int | None = None) -> None:
        """End these pods, and ask no budget: taints do this. Those that are leaving already are passed over."""
        state = self._state
        rows = np.asarray(pod_rows, dtype=np.int64)
        rows = rows[state.pod_alive[rows] & (state.pod_leaving[rows] == 0) & (state.pod_node[rows] >= 0)]
        if len(rows):
            self._tell("evict", reason, rows, "", now_ns)
            self._begin_to_end(rows, now_ns, self._grace_ns if grace_ns is None else grace_ns)

    def preempt(self, pod_rows: Ints, reason: str, now_ns: int) -> None:
        """End these pods with their grace, so that a more important one has their room."""
        rows = pod_rows[self._state.pod_leaving[pod_rows] == 0]
        if len(rows):
            self._tell("preempt", reason, rows, "", now_ns)
            self._begin_to_end(rows, now_ns, self._grace_ns, PREEMPTED)

    def evict(self, pod_rows: Ints, reason: str, now_ns: int, known: dict[int, str] | None = None) -> Mask:
        """bool[n]: which of these the eviction API admits, one after another; those end with their grace.

        known : pod row -> why it was refused before, which isn't told again; takes what is refused now
        """
        known = {} if known is None else known
        admitted = np.zeros(len(pod_rows), dtype=np.bool_)
        for place, row in enumerate(np.asarray(pod_rows, dtype=np.int64).tolist()):
            outcome, detail = self.budgets.admit(row, now_ns)
            admitted[place] = outcome is Eviction.ADMITTED
            one = np.array([row], dtype=np.int64)
            if admitted[place]:
                self.delete(one, reason, now_ns)
            elif known.get(row) != detail:
                known[row] = detail
                self._tell("refuse", reason, one, detail, now_ns, success=False)
        return admitted

    def drain(self, node_row: int, reason: str, now_ns: int) -> None:
        """Cordon a node and evict its pods, again and again until all are admitted; as kubectl drain does.

        Daemon sets' pods stay. A node that is being drained already goes on as it is.
        """
        if node_row in self._drains:
            return
        self.cordon(node_row, now_ns)
        rows = self._state.pods_on(node_row)
        if self._daemons is not None:
            rows = rows[~self._daemons(rows)]
        self._drains[node_row] = _Drain(node_row, reason, now_ns, now_ns, rows.tolist())
        self._tell_node("drain", reason, node_row, f"{len(rows)} pods", now_ns)

    def cordon(self, node_row: int, now_ns: int) -> None:
        """Let no more pods come to a node."""
        state = self._state
        self._mark(node_row, unschedulable=True)
        if state.node_state[node_row] == READY:
            state.set_node_state(node_row, CORDONED)

    def uncordon(self, node_row: int, now_ns: int) -> None:
        """Let pods come to a node again, and stop draining it."""
        self._drains.pop(node_row, None)
        self._mark(node_row, unschedulable=False)
        if self._state.node_state[node_row] == CORDONED:
            self._state.set_node_state(node_row, READY)
        self._tell_node("uncordon", "", node_row, "", now_ns)

    def forget(self, node_row: int) -> None:
        """This node goes: there is nothing left to drain."""
        self._drains.pop(node_row, None)

    def draining(self, node_row: int) -> bool:
        """Whether a drain of this node still has pods to evict, or pods that it evicted are still there."""
        if node_row in self._drains:
            return True
        rows = self._state.pods_on(node_row)
        return bool((self._state.pod_leaving[rows] != 0).any())

    def lose(self, node_row: int) -> None:
        """The kubelet of this node answers no more."""
        self._lost.add(node_row)

    def regain(self, node_row: int, now_ns: int) -> None:
        """The kubelet of this node is back: what was told to go meanwhile ends now."""
        self._lost.discard(node_row)
        rows = self._state.pods_on(node_row)
        self._end(rows[self._state.pod_leaving[rows] != 0])

    # -- the loop --------------------------------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        times = [drain.next_ns for drain in self._drains.values()]
        if self._ends:
            times.append(self._ends[0][0])
        return min(times, default=None)

    def run_once(self, now_ns: int) -> None:
        while self._ends and self._ends[0][0] <= now_ns:
            rows = heapq.heappop(self._ends)[2]
            on = self._state.pod_node[rows]
            lost = np.isin(on, list(self._lost))
            self._end(rows[~lost])
        for drain in sorted(self._drains.values(), key=lambda one: (one.since_ns, one.node_row)):
            if drain.next_ns <= now_ns:
                self._ask(drain, now_ns)

    def _ask(self, drain: _Drain, now_ns: int) -> None:
        state = self._state
        rows = np.array(drain.left, dtype=np.int64)
        rows = rows[state.pod_alive[rows] & (state.pod_node[rows] == drain.node_row)]
        admitted = self.evict(rows, drain.reason, now_ns, drain.refused)
        drain.left = rows[~admitted].tolist()
        drain.next_ns = now_ns + self._retry_ns
        if not drain.left:
            del self._drains[drain.node_row]
            took = (now_ns - drain.since_ns) / SECOND_NS
            self._tell_node("drained", drain.reason, drain.node_row, f"all admitted after {took:g} s", now_ns)

    # -- ending pods -----------------------------------------------------------------------

    def _begin_to_end(self, rows: Ints, now_ns: int, grace_ns: int, why: int = DELETED) -> None:
        state = self._state
        lost = np.isin(state.pod_node[rows], list(self._lost))
        bare = state.pod_owner[rows] < 0
        self._end(rows[lost & bare])
        rows = rows[~(lost & bare)]
        if len(rows):
            state.set_leaving(rows, why)
            self._numbers += 1
            heapq.heappush(self._ends, (now_ns + grace_ns, self._numbers, rows))

    def _end(self, rows: Ints) -> None:
        """Pods that ended: a workload's is removed, a bare one waits for a node."""
        state = self._state
        rows = rows[state.pod_alive[rows] & (state.pod_node[rows] >= 0)]
        owned = rows[state.pod_owner[rows] >= 0]
        if len(owned):
            state.remove_pods(owned)
        bare = rows[state.pod_owner[rows] < 0]
        if len(bare):
            state.unbind(bare)
            state.set_leaving(bare, 0)

    # -- telling ---------------------------------------------------------------------------

    def _mark(self, node_row: int, *, unschedulable: bool) -> None:
        taints = self._state.node_taints(node_row)
        kept = [taint for taint in taints if taint.key != UNSCHEDULABLE]
        wanted = (*kept, *no_schedule_taints({}, [], unschedulable=unschedulable))
        if wanted != taints:
            self._state.update_node(node_row, taints=wanted)

    def _tell(
        self, action: str, reason: str, rows: Ints, detail: str, now_ns: int, *, success: bool = True
    ) -> None:
        nodes: Any = self._state.pod_node[rows].astype(np.int64)
        self._sink.emit(
            "healing", time_ns=now_ns, action=action, reason=reason, pod_row=rows, node_row=nodes, success=success,
            detail=detail,
        )  # fmt: skip

    def _tell_node(self, action: str, reason: str, node_row: int, detail: str, now_ns: int) -> None:
        self._sink.emit(
            "healing", time_ns=now_ns, action=action, reason=reason, pod_row=-1, node_row=node_row, success=True,
            detail=detail,
        )  # fmt: skip
