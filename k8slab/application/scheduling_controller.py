"""The scheduler as a loop: pods that wait are placed in turn, those that find no node wait for what may help them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import numpy as np

from k8slab.application.calendar import Rank
from k8slab.domain.columns import Ints
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import Change, ClusterStatePort, EventSinkPort
from k8slab.domain.queueing import Backoff
from k8slab.domain.queueing.backoff import WINDOW_NS
from k8slab.domain.queueing.queue import LEFTOVER_AFTER_NS, LEFTOVER_EVERY_NS

_PENDING: Final = POD_PHASES.index(PodPhase.PENDING)
_FREES: Final = ("UNBOUND", "FINISHED", "POD_REMOVED")
_NODES: Final = ("NODE_ADDED", "NODE_STATE", "NODE_UPDATED")
_COMES: Final = ("POD_ADDED", "UNBOUND")
_NO_ROWS: Final[Ints] = np.zeros(0, dtype=np.int64)


class PlacerPort(Protocol):
    """What decides: k8slab.policies.placer.Placer."""

    def place(self, pod_rows: Ints) -> Ints:
        """int64[.]: a node row for each of these pods, decided one after another; -1 where none fits."""


class Waiting:
    """Pods that found no node, as columns, in the order they came back.

    rows     : int64[W]
    sequence : int64[W]  when they came back, as a count
    refusals : int64[W]  how often no node was found
    since_ns : int64[W]
    """

    def __init__(self) -> None:
        self.rows = self.sequence = self.refusals = self.since_ns = _NO_ROWS

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, mask: np.ndarray) -> None:
        """Forget the others."""
        self.rows, self.sequence = self.rows[mask], self.sequence[mask]
        self.refusals, self.since_ns = self.refusals[mask], self.since_ns[mask]

    def add(self, rows: Ints, sequence: Ints, refusals: Ints, now_ns: int) -> None:
        """Those that were refused now."""
        self.rows = np.concatenate([self.rows, rows])
        self.sequence = np.concatenate([self.sequence, sequence])
        self.refusals = np.concatenate([self.refusals, refusals])
        self.since_ns = np.concatenate([self.since_ns, np.full(len(rows), now_ns)])


class SchedulingController:
    """kube-scheduler's queue over columns, on a Placer: what one instant brings is tried as one batch.

    backoff : after a refusal; a pod that backs off is tried after all others (and at once, as nobody else is)
    force   : bind what the placer says, though a node would be overfull: for policies that don't check the fit

    The rules are domain.queueing's for pods that only room or a node's state can keep
    away: higher priority first, then who waits longer; a refused pod waits until a pod
    frees room or a node comes or changes, or five minutes. For pods that look at other
    pods (affinity, spread), a binding is such an event as well. It doesn't preempt.
    """

    name = "scheduler"
    rank: int = Rank.SCHEDULING

    def __init__(
        self,
        state: ClusterStatePort,
        placer: PlacerPort,
        sink: EventSinkPort,
        *,
        backoff: Backoff | None = None,
        force: bool = False,
    ) -> None:
        self._state = state
        self._placer = placer
        self._sink = sink
        self._backoff = backoff if backoff is not None else Backoff()
        self._force = force
        self._waiting = Waiting()
        self._fresh = state.pending_rows()
        self._sequence = len(self._fresh)
        self._tried = 0
        self._seen = 0 if len(self._fresh) else state.version

    @property
    def attempts(self) -> int:
        """How often a pod was tried."""
        return self._tried

    @property
    def waiting(self) -> int:
        """How many pods found no node so far, and wait."""
        return len(self._waiting)

    def next_ns(self, now_ns: int) -> int | None:
        if self._state.version != self._seen:
            return now_ns
        return self._leftover_ns() if len(self._waiting) else None

    def run_once(self, now_ns: int) -> None:
        fresh, helped = self._read()
        self._forget_those_who_need_no_node()
        late = len(self._waiting) > 0 and self._leftover_ns() <= now_ns
        rows, refusals = self._turn(fresh, helped, late, now_ns)
        if len(rows):
            self._try(rows, refusals, now_ns)
        self._seen = self._state.version

    # -- who is tried ----------------------------------------------------------------

    def _read(self) -> tuple[Ints, bool]:
        """The pods that came to wait, and whether anything may help those that wait already."""
        changes = self._state.changes(self._seen)
        came = [self._fresh, *(change.pod_rows for change in changes if change.verb in _COMES)]
        self._fresh = _NO_ROWS
        fresh = np.concatenate(came) if len(came) > 1 else came[0]
        return self._still_wait(fresh), len(self._waiting) > 0 and self._helps(changes)

    def _helps(self, changes: Iterable[Change]) -> bool:
        return any(
            change.verb in _NODES or (change.verb in _FREES and bool((change.node_rows >= 0).any()))
            for change in changes
        )

    def _still_wait(self, rows: Ints) -> Ints:
        """Those of these pods that wait for a node, each once, in the order they came."""
        if len(rows) > 1:
            _, first = np.unique(rows, return_index=True)
            rows = rows[np.sort(first)]
        return np.asarray(rows[self._needs_a_node(rows)])

    def _needs_a_node(self, rows: Ints) -> np.ndarray:
        state = self._state
        waits = state.pod_alive[rows] & (state.pod_phase[rows] == _PENDING) & (state.pod_node[rows] < 0)
        return np.asarray(waits & (state.pod_leaving[rows] == 0))

    def _forget_those_who_need_no_node(self) -> None:
        if len(self._waiting):
            needs = self._needs_a_node(self._waiting.rows)
            if not needs.all():
                self._waiting.keep(needs)

    def _turn(self, fresh: Ints, helped: bool, late: bool, now_ns: int) -> tuple[Ints, Ints]:
        """int64[n] twice: the pods that are tried, in turn, and how often each was refused before."""
        sequence = np.arange(self._sequence, self._sequence + len(fresh))
        self._sequence += len(fresh)
        waiting = self._waiting
        if len(waiting) and (helped or late):
            back = np.ones(len(waiting), dtype=np.bool_) if helped else self._too_late(now_ns)
        else:
            back = np.zeros(len(waiting), dtype=np.bool_)
        if not back.any():
            order = np.lexsort((sequence, -self._state.pod_priority[fresh].astype(np.int64)))
            return fresh[order], np.zeros(len(fresh), dtype=np.int64)
        rows = np.concatenate([fresh, waiting.rows[back]])
        sequence = np.concatenate([sequence, waiting.sequence[back]])
        refusals = np.concatenate([np.zeros(len(fresh), dtype=np.int64), waiting.refusals[back]])
        window = np.concatenate([np.full(len(fresh), -1), self._backs_off(back, now_ns)])
        waiting.keep(~back)
        order = np.lexsort((sequence, -self._state.pod_priority[rows].astype(np.int64), window))
        return rows[order], refusals[order]

    def _backs_off(self, back: np.ndarray, now_ns: int) -> Ints:
        """int64[n]: the second in which each pod's back-off ends, -1 where it ended before this second."""
        refusals = self._waiting.refusals[back]
        spans = np.array([self._backoff.duration_ns(n) for n in range(int(refusals.max()) + 1)], dtype=np.int64)
        window = (self._waiting.since_ns[back] + spans[refusals]) // WINDOW_NS
        over = (window < now_ns // WINDOW_NS) | (self._backoff.max_ns == 0)
        return np.where(over, -1, window)

    def _too_late(self, now_ns: int) -> np.ndarray:
        tick = now_ns - now_ns % LEFTOVER_EVERY_NS
        return np.asarray(tick - self._waiting.since_ns > LEFTOVER_AFTER_NS)

    def _leftover_ns(self) -> int:
        past = int(self._waiting.since_ns.min()) + LEFTOVER_AFTER_NS
        return (past // LEFTOVER_EVERY_NS + 1) * LEFTOVER_EVERY_NS

    # -- trying ------------------------------------------------------------------------

    def _try(self, rows: Ints, refusals: Ints, now_ns: int) -> None:
        nodes = self._placer.place(rows)
        self._tried += len(rows)
        placed = nodes >= 0
        if placed.all():
            self._state.bind(rows, nodes, force=self._force)
            return
        if placed.any():
            self._state.bind(rows[placed], nodes[placed], force=self._force)
        refused = rows[~placed]
        new = refused[refusals[~placed] == 0]
        if len(new):
            self._sink.emit(
                "events", time_ns=now_ns, controller=self.name, event="FailedScheduling", pod_row=new, node_row=-1,
                detail="no node fits",
            )  # fmt: skip
        sequence = np.arange(self._sequence, self._sequence + len(refused))
        self._sequence += len(refused)
        self._waiting.add(refused, sequence, refusals[~placed] + 1, now_ns)


