"""Containers that ended are started again on their node: at once, or after a back-off that doubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.domain.restart_backoff import Backoff, BackoffEntry, moves_on, restart_after_exit

_FAILED: Final = POD_PHASES.index(PodPhase.FAILED)
_SUCCEEDED: Final = POD_PHASES.index(PodPhase.SUCCEEDED)


class PodRestarts:
    """The kubelets' way with containers that exit, by domain.restart_backoff.

    policy_of  : int64[n] pod rows -> the restart policy of each; without it all are restarted Always
    move_after : so many restarts on one node, and the pod is given to `move` to be placed anew;
                 None, as in Kubernetes, for never
    move       : called with pod rows, a reason and the time

    It keeps no timers: when a pod runs again is known as it ends, and is said to the state.
    """

    # Where several decide: how long each pod's next wait is.
    MEMORY: Final = ("_entries",)

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        *,
        backoff: Backoff | None = None,
        policy_of: Callable[[Ints], Sequence[str]] | None = None,
        move_after: int | None = None,
        move: Callable[[Ints, str, int], object] | None = None,
    ) -> None:
        self._state = state
        self._sink = sink
        self._backoff = backoff if backoff is not None else Backoff()
        self._policy_of = policy_of
        self._move_after = move_after
        self._move = move
        # A pod's entry, and when it was bound to the node whose kubelet keeps it.
        self._entries: dict[int, tuple[BackoffEntry, int]] = {}

    def exited(self, pod_rows: Ints, reason: str, now_ns: int, exit_code: int = 1) -> None:
        """These pods' containers ended now; those that don't run are passed over."""
        state = self._state
        rows = pod_rows[state.pod_alive[pod_rows] & (state.pod_node[pod_rows] >= 0)]
        rows = rows[state.pod_runs_ns[rows] <= now_ns]
        if self._move_after is not None and self._move is not None:
            counts = state.pod_restarts[rows].tolist()
            tired = np.array([moves_on(count, self._move_after) for count in counts], dtype=np.bool_)
            if tired.any():
                self._move(rows[tired], reason, now_ns)
            rows = rows[~tired]
        policies = self._policy_of(rows) if self._policy_of is not None else ["Always"] * len(rows)
        at = [self._decide(row, policy, exit_code, now_ns) for row, policy in zip(rows.tolist(), policies, strict=True)]
        self._apply(rows, np.array(at, dtype=np.int64), reason, now_ns, exit_code)

    def _decide(self, row: int, policy: str, exit_code: int, now_ns: int) -> int:
        bound_ns = int(self._state.pod_started[row])
        kept = self._entries.get(row)
        entry = kept[0] if kept is not None and kept[1] == bound_ns else None
        decision = restart_after_exit(self._backoff, entry, policy, exit_code, now_ns)
        if decision.at_ns is None:
            self._entries.pop(row, None)
            return NEVER
        if decision.entry is not None:
            self._entries[row] = decision.entry, bound_ns
        return decision.at_ns

    def _apply(self, rows: Ints, at_ns: Ints, reason: str, now_ns: int, exit_code: int) -> None:
        state = self._state
        over = at_ns == NEVER
        nodes = state.pod_node[rows].astype(np.int64)
        for at in np.unique(at_ns[~over]).tolist():
            which = at_ns == at
            state.restart(rows[which], at)
            wait = (at - now_ns) / SECOND_NS
            detail = f"CrashLoopBackOff, {wait:g} s" if wait else ""
            self._tell("restart", reason, rows[which], nodes[which], detail, now_ns)
        if over.any():
            state.finish(rows[over], _SUCCEEDED if exit_code == 0 else _FAILED)
            self._tell("end", reason, rows[over], nodes[over], f"exit code {exit_code}", now_ns)

    def _tell(self, action: str, reason: str, rows: Ints, nodes: Ints, detail: str, now_ns: int) -> None:
        self._sink.emit(
            "healing", time_ns=now_ns, action=action, reason=reason, pod_row=rows, node_row=nodes, success=True,
            detail=detail,
        )  # fmt: skip
