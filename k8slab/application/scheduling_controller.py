"""The scheduler as a loop: pods that wait are placed in turn, those that find no node wait for what may help them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.domain.columns import Ints
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import Change, ClusterStatePort, EventSinkPort
from k8slab.domain.queueing import Backoff
from k8slab.domain.queueing.backoff import WINDOW_NS
from k8slab.domain.queueing.queue import LEFTOVER_AFTER_NS, LEFTOVER_EVERY_NS
from k8slab.kernels.course_columns import Rules

Mask = npt.NDArray[np.bool_]
_PENDING: Final = POD_PHASES.index(PodPhase.PENDING)
_FREES: Final = ("UNBOUND", "FINISHED", "POD_REMOVED")
_NODES: Final = ("NODE_ADDED", "NODE_STATE", "NODE_UPDATED")
_COMES: Final = ("POD_ADDED", "UNBOUND")
_BLOCK: Final = 64
# int64 knows no longer back-off: from here on all are the longest.
_REFUSALS: Final = 64
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
    plain    : bool[W]   whether it looks at nodes alone, not at other pods
    """

    def __init__(self) -> None:
        self.rows = self.sequence = self.refusals = self.since_ns = _NO_ROWS
        self.plain = np.zeros(0, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, mask: Mask) -> None:
        """Forget the others."""
        self.rows, self.sequence = self.rows[mask], self.sequence[mask]
        self.refusals, self.since_ns = self.refusals[mask], self.since_ns[mask]
        self.plain = self.plain[mask]

    def add(self, rows: Ints, sequence: Ints, refusals: Ints, since_ns: int | Ints, plain: Mask) -> None:
        """Those that were refused then."""
        self.rows = np.concatenate([self.rows, rows])
        self.sequence = np.concatenate([self.sequence, sequence])
        self.refusals = np.concatenate([self.refusals, refusals])
        self.since_ns = np.concatenate([self.since_ns, np.full(len(rows), since_ns)])
        self.plain = np.concatenate([self.plain, plain])


class SchedulingController:
    """kube-scheduler's queue over columns, on a Placer: what one instant brings is tried as one batch.

    backoff : after a refusal; a pod that backs off is tried after all others (and at once, as nobody else is)
    force   : bind what the placer says, though a node would be overfull: for policies that don't check the fit

    The rules are domain.queueing's for pods that only room or a node's state can keep
    away: higher priority first, then who waits longer; a refused pod waits until a pod
    frees room or a node comes or changes, or five minutes. For pods that look at other
    pods (affinity, spread), a binding is such an event as well. `preempt`, if somebody sets it, is called
    with the pods that found no node, in their order, and the time: see application.preemptor.

    A pod that waits and looks at nodes alone can only fit where something changed, so it
    counts as refused again without asking the placer if no node that changed has room.
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
        self.preempt: Callable[[Ints, int], object] | None = None
        self._state = state
        self._placer = placer
        self._sink = sink
        self._backoff = backoff if backoff is not None else Backoff()
        self._force = force
        self._spans = _NO_ROWS
        self._first_spans: Ints = np.array([self._backoff.duration_ns(n) for n in range(_REFUSALS)], dtype=np.int64)
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

    @property
    def waiting_rows(self) -> Ints:
        """int64[]: those pods, in the order they came back."""
        return self._waiting.rows

    @property
    def queue(self) -> Waiting:
        """Those pods as columns, for who lives through many instants for this loop; not to be written."""
        return self._waiting

    @property
    def sequence(self) -> int:
        """What the next pod to come back is numbered."""
        return self._sequence

    def rules(self, down: Mask) -> Rules:
        """How pods that are refused wait. down : bool[d], nodes on which nothing ends"""
        return Rules(
            self._first_spans, WINDOW_NS, self._backoff.max_ns != 0, LEFTOVER_AFTER_NS, LEFTOVER_EVERY_NS, down
        )

    def helped_by_others_going(self, pod_rows: Ints) -> Mask:
        """bool[n]: for which of these, should they be refused, others might have to go; some too many."""
        if self.preempt is None:
            return np.zeros(len(pod_rows), dtype=np.bool_)
        return np.asarray(self._state.pod_priority[pod_rows] > self._state.lowest_priority)

    def lived(self, waiting: Waiting, sequence: int, tried: int, refused_ns: Ints, refused: Ints) -> None:
        """Somebody else tried pods for this loop up to now, so often; these wait, and these never had been refused."""
        self._waiting = waiting
        self._sequence = sequence
        self._tried += tried
        if len(refused):
            self._tell_refused(refused, refused_ns)
        self._seen = self._state.version

    def next_ns(self, now_ns: int) -> int | None:
        if self._state.version != self._seen:
            return now_ns
        return self._leftover_ns() if len(self._waiting) else None

    def run_once(self, now_ns: int) -> None:
        changes = self._state.changes(self._seen)
        fresh = self._came(changes)
        self._forget_those_who_need_no_node()
        if not len(self._waiting):
            if len(fresh):
                self._try(self._in_turn(fresh), np.zeros(len(fresh), dtype=np.int64), now_ns)
        else:
            self._with_those_who_wait(fresh, changes, now_ns)
        self._seen = self._state.version

    # -- who is tried ----------------------------------------------------------------

    def _came(self, changes: Sequence[Change]) -> Ints:
        """The pods that came to wait since the last time."""
        came = [self._fresh, *(change.pod_rows for change in changes if change.verb in _COMES)]
        self._fresh = _NO_ROWS
        rows = np.concatenate(came) if len(came) > 1 else came[0]
        return self._still_wait(rows) if len(rows) else rows

    def _still_wait(self, rows: Ints) -> Ints:
        """Those of these pods that wait for a node, each once, in the order they came."""
        if len(rows) > 1:
            _, first = np.unique(rows, return_index=True)
            rows = rows[np.sort(first)]
        return np.asarray(rows[self._needs_a_node(rows)])

    def _needs_a_node(self, rows: Ints) -> Mask:
        state = self._state
        waits = state.pod_alive[rows] & (state.pod_phase[rows] == _PENDING) & (state.pod_node[rows] < 0)
        return np.asarray(waits & (state.pod_leaving[rows] == 0))

    def _forget_those_who_need_no_node(self) -> None:
        if len(self._waiting):
            needs = self._needs_a_node(self._waiting.rows)
            if not needs.all():
                self._waiting.keep(needs)

    def _in_turn(self, fresh: Ints) -> Ints:
        """Pods that nobody refused yet: higher priority first, then in the order they came."""
        self._sequence += len(fresh)
        return fresh if len(fresh) == 1 else fresh[np.argsort(-self._priority(fresh), kind="stable")]

    def _priority(self, rows: Ints) -> Ints:
        return self._state.pod_priority[rows].astype(np.int64)

    def _with_those_who_wait(self, fresh: Ints, changes: Sequence[Change], now_ns: int) -> None:
        """Try new pods, and those of the waiting that something may help or that waited too long."""
        waiting = self._waiting
        changed = self._changed(changes)
        others = any(change.verb == "BOUND" for change in changes)
        back = self._too_late(now_ns) | (len(changed) > 0) | (others & ~waiting.plain)
        if not back.any():
            if len(fresh):
                self._try(self._in_turn(fresh), np.zeros(len(fresh), dtype=np.int64), now_ns)
            return
        mine = np.arange(self._sequence, self._sequence + len(fresh))
        self._sequence += len(fresh)
        rows = np.concatenate([fresh, waiting.rows[back]])
        sequence = np.concatenate([mine, waiting.sequence[back]])
        refusals = np.concatenate([np.zeros(len(fresh), dtype=np.int64), waiting.refusals[back]])
        window = np.concatenate([np.full(len(fresh), -1), self._backs_off(back, now_ns)])
        ask = np.concatenate([np.ones(len(fresh), dtype=np.bool_), self._may_fit(back, changed)])
        waiting.keep(~back)
        order = np.lexsort((sequence, -self._priority(rows), window))
        self._try(rows[order], refusals[order], now_ns, ask[order])

    def _changed(self, changes: Iterable[Change]) -> Ints:
        """int64[]: the nodes where a pod freed room, or that came or changed."""
        found = [change.node_rows for change in changes if change.verb in _FREES or change.verb in _NODES]
        nodes = np.unique(np.concatenate(found)) if found else _NO_ROWS
        return nodes[nodes >= 0]

    def _may_fit(self, back: Mask, changed: Ints) -> Mask:
        """bool[n]: which of those pods that come back have room on a node that changed, or look at more than that."""
        state, waiting = self._state, self._waiting
        free = state.allocatable[:, changed] - state.requested[:, changed]
        request = state.pod_request[waiting.rows[back]]
        fits = np.zeros(len(request), dtype=np.bool_)
        # By blocks: a thousand nodes that come back at once, times all that wait, would be a large table.
        for first in range(0, len(changed), _BLOCK):
            part = free[:, first : first + _BLOCK]
            fits |= ((request[:, :, None] <= part) | (request[:, :, None] == 0)).all(axis=1).any(axis=1)
        return np.asarray(fits | ~waiting.plain[back])

    def _backs_off(self, back: Mask, now_ns: int) -> Ints:
        """int64[n]: the second in which each pod's back-off ends, -1 where it ended before this second."""
        refusals = self._waiting.refusals[back]
        most = int(refusals.max())
        if most >= len(self._spans):
            # Where a cluster is full for days a pod is refused hundreds of times.
            self._spans = np.array([self._backoff.duration_ns(n) for n in range(2 * most + 1)], dtype=np.int64)
        window = (self._waiting.since_ns[back] + self._spans[refusals]) // WINDOW_NS
        over = (window < now_ns // WINDOW_NS) | (self._backoff.max_ns == 0)
        return np.where(over, -1, window)

    def _too_late(self, now_ns: int) -> Mask:
        tick = now_ns - now_ns % LEFTOVER_EVERY_NS
        return np.asarray(tick - self._waiting.since_ns > LEFTOVER_AFTER_NS)

    def _leftover_ns(self) -> int:
        past = int(self._waiting.since_ns.min()) + LEFTOVER_AFTER_NS
        return (past // LEFTOVER_EVERY_NS + 1) * LEFTOVER_EVERY_NS

    # -- trying ------------------------------------------------------------------------

    def _try(self, rows: Ints, refusals: Ints, now_ns: int, ask: Mask | None = None) -> None:
        """Place these pods in this order. ask : bool[n], those that may fit; all by default"""
        self._tried += len(rows)
        if ask is None:
            nodes = self._placer.place(rows)
        else:
            nodes = np.full(len(rows), -1, dtype=np.int64)
            if ask.any():
                nodes[ask] = self._placer.place(rows[ask])
        placed = nodes >= 0
        if placed.all():
            self._state.bind(rows, nodes, force=self._force)
            return
        if placed.any():
            self._state.bind(rows[placed], nodes[placed], force=self._force)
        self._wait(rows[~placed], refusals[~placed] + 1, now_ns)
        if self.preempt is not None:
            self.preempt(rows[~placed], now_ns)

    def _wait(self, rows: Ints, refusals: Ints, now_ns: int) -> None:
        new = rows[refusals == 1]
        if len(new):
            self._tell_refused(new, now_ns)
        sequence = np.arange(self._sequence, self._sequence + len(rows))
        self._sequence += len(rows)
        plain = self._state.pod_columns(rows).specs.codes < 0
        self._waiting.add(rows, sequence, refusals, now_ns, plain)

    def _tell_refused(self, rows: Ints, at_ns: int | Ints) -> None:
        self._sink.emit(
            "events", time_ns=at_ns, controller=self.name, event="FailedScheduling", pod_row=rows, node_row=-1,
            detail="no node fits",
        )  # fmt: skip
