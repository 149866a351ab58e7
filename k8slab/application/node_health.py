"""The health of nodes: what a failure detector holds of them becomes what the cluster believes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.node_lifecycle.heartbeats import STATUS_UNKNOWN
from k8slab.domain.ports import ClusterStatePort, EventSinkPort, HeartbeatPort

READY: Final = NODE_STATES.index(NodeState.READY)
UNKNOWN: Final = NODE_STATES.index(NodeState.UNKNOWN)
CORDONED: Final = NODE_STATES.index(NodeState.CORDONED)
Watcher = Callable[[int, bool, int], object]


class NodeHealthMonitor:
    """Sets suspected nodes unknown and their pods not ready, and takes both back when they are heard from again.

    heartbeats : the detector's opinions
    detector   : its name in the table `health`
    cordoned   : node row -> whether it is cordoned, which a node that was unknown is again
    watchers   : called for each change with node row, whether it is suspected, and the time
    truth      : int64[n] node rows -> bool[n] whether they are really up; None where nobody knows
    """

    name = "node-health"
    rank: int = Rank.HEALTH
    heeds_pods = False
    # Where several decide: what it holds of nodes is for whoever hears them, what it makes of that for all.
    VERBS: Final = ("judge",)
    MEMORY: Final = ("_before", "_since")

    def __init__(
        self,
        state: ClusterStatePort,
        heartbeats: HeartbeatPort,
        sink: EventSinkPort,
        *,
        detector: str = "lease",
        cordoned: Callable[[int], bool] | None = None,
        watchers: tuple[Watcher, ...] = (),
        truth: Callable[[Ints], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self._state = state
        self._heartbeats = heartbeats
        self._sink = sink
        self._detector = detector
        self._cordoned = cordoned
        self._watchers = watchers
        self._truth = truth
        self._since: dict[int, int] = {}
        # Per suspected node: its pods, when each ran and was ready.
        self._before: dict[int, tuple[Ints, Ints, Ints]] = {}

    def next_ns(self, now_ns: int) -> int | None:
        return self._heartbeats.next_ns(now_ns)

    def run_once(self, now_ns: int) -> None:
        rows, suspected = self._heartbeats.take(now_ns)
        # Of several opinions of one node within a sleep the last one counts.
        latest: dict[int, bool] = dict(zip(rows.tolist(), suspected.tolist(), strict=True))
        for row, suspects in latest.items():
            if self._state.node_alive[row] and suspects != (self._state.node_state[row] == UNKNOWN):
                self.judge(row, suspects, now_ns)

    def judge(self, row: int, suspects: bool, now_ns: int) -> None:
        """Believe another of a node than before."""
        (self._suspect if suspects else self._trust)(row, now_ns)
        for watcher in self._watchers:
            watcher(row, suspects, now_ns)

    def _suspect(self, row: int, now_ns: int) -> None:
        state = self._state
        pods = state.pods_on(row)
        pods = pods[state.pod_ready_ns[pods] != NEVER]
        self._before[row] = pods, state.pod_runs_ns[pods].copy(), state.pod_ready_ns[pods].copy()
        state.set_node_state(row, UNKNOWN)
        if len(pods):
            state.set_ready(pods, NEVER)
        self._tell(row, "Unknown", now_ns)

    def _trust(self, row: int, now_ns: int) -> None:
        state = self._state
        cordoned = self._cordoned is not None and self._cordoned(row)
        state.set_node_state(row, CORDONED if cordoned else READY)
        pods, runs, ready = self._before.pop(row, (np.zeros(0, dtype=np.int64),) * 3)
        # Those that went, or whose containers started anew since, are told of by who did that.
        same = state.pod_alive[pods] & (state.pod_node[pods] == row) & (state.pod_runs_ns[pods] == runs)
        pods, ready = pods[same], np.maximum(ready[same], now_ns)
        for at_ns in np.unique(ready).tolist():
            state.set_ready(pods[ready == at_ns], at_ns)
        self._tell(row, "Ready", now_ns)

    def _tell(self, row: int, condition: str, now_ns: int) -> None:
        truth: Any = "" if self._truth is None else ("up" if self._truth(np.array([row]))[0] else "down")
        self._sink.emit(
            "health", time_ns=now_ns, detector=self._detector, node_row=row, pod_row=-1, condition=condition,
            truth=truth, since_ns=self._since.get(row, 0), reason=STATUS_UNKNOWN if condition == "Unknown" else "",
        )  # fmt: skip
        self._since[row] = now_ns
