"""Drains for whoever works with entities: the evictor over the repositories' state, its rows told as healing events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from k8slab.application.disruption_budgets import Budget, DisruptionBudgets
from k8slab.application.evictor import GRACE_NS, Evictor
from k8slab.domain.instants import from_ns
from k8slab.domain.models import SelfHealingEvent
from k8slab.domain.ports import ClusterStatePort, IntentPort
from k8slab.domain.replicas import replicate
from k8slab.errors import UnknownName

EVENT_TYPE: Final = "node_drain"


class Draining:
    """Empties nodes by the eviction API, and goes on with it whenever it is asked to.

    record : takes each healing event
    """

    def __init__(
        self,
        state: ClusterStatePort,
        record: Callable[[SelfHealingEvent], None],
        budgets: Iterable[Budget] = (),
        *,
        grace_ns: int = GRACE_NS,
    ) -> None:
        self._state = state
        self._record = record
        self._told = 0
        self._budgets = DisruptionBudgets(state, budgets)
        self.evictor = Evictor(state, self, budgets=self._budgets, grace_ns=grace_ns)

    def join(self, intents: IntentPort) -> None:
        """Drain alike with others from now on: what one of them begins, whoever leads goes on with."""
        replicate(self._budgets, "drain-budgets", intents, memory=DisruptionBudgets.MEMORY)
        replicate(self.evictor, "drain", intents, verbs=Evictor.VERBS, memory=Evictor.MEMORY)
        replicate(self, "drain-events", intents, memory=("_told",))

    def begin(self, node_id: str, reason: str, now_ns: int) -> None:
        """Cordon the node and ask for its pods, at once. UnknownName if there is no such node."""
        with self._state.lock:
            self.evictor.drain(self._row(node_id), reason, now_ns)
            self.proceed(now_ns)

    def proceed(self, now_ns: int) -> None:
        """Ask again for those that were refused, and end those whose grace is over."""
        with self._state.lock:
            at_ns = self.evictor.next_ns(now_ns)
            if at_ns is not None and at_ns <= now_ns:
                self.evictor.run_once(now_ns)

    def lasts(self, node_id: str) -> bool:
        """Whether the node's drain isn't over."""
        with self._state.lock:
            return self.evictor.draining(self._row(node_id))

    def end(self, node_id: str, now_ns: int) -> None:
        """Stop draining the node, and let pods come to it again."""
        with self._state.lock:
            self.evictor.uncordon(self._row(node_id), now_ns)

    def emit(self, table: str, **columns: Any) -> None:
        """The evictor's rows as events: EventSinkPort."""
        rows = [int(row) for row in np.atleast_1d(columns["pod_row"])]
        nodes = [int(row) for row in np.broadcast_to(np.atleast_1d(columns["node_row"]), (len(rows),))]
        for pod, node in zip(rows, nodes, strict=True):
            self._told += 1
            self._record(
                SelfHealingEvent(
                    event_id=f"drain-{self._told}",
                    timestamp=from_ns(columns["time_ns"]),
                    event_type=EVENT_TYPE,
                    pod_id=self._state.pod_name(pod) if pod >= 0 else "",
                    node_id=self._state.node_name(node) if node >= 0 else "",
                    description=columns["reason"],
                    action_taken=columns["action"] + (f": {columns['detail']}" if columns["detail"] else ""),
                    success=bool(columns["success"]),
                )
            )

    def _row(self, node_id: str) -> int:
        row = self._state.node_row(node_id)
        if row < 0:
            raise UnknownName("node", node_id, self._state.node_names)
        return row
