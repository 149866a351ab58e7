"""What a failure detector holds of live nodes, by the heartbeats that a health source tells of."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.detectors import FailureDetector
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.ports import ClusterStatePort, HealthSourcePort, NodeRepositoryPort

# The node lifecycle controller looks at its nodes this often.
LOOK_NS: Final = 5 * SECOND_NS
_UNKNOWN: Final = NODE_STATES.index(NodeState.UNKNOWN)


class ReportedHeartbeats:
    """HeartbeatPort over a health source, which is asked every `look_ns` who was heard from since.

    A heartbeat is dated by the look that hears of it; a node that was never heard from, by the first look at it.
    """

    def __init__(
        self,
        state: ClusterStatePort,
        nodes: NodeRepositoryPort,
        health: HealthSourcePort,
        detector: FailureDetector,
        start_ns: int,
        look_ns: int = LOOK_NS,
    ) -> None:
        self._state = state
        self._nodes = nodes
        self._health = health
        self._detector = detector
        self._look_ns = look_ns
        self._next_ns = start_ns
        self._arrivals: dict[int, list[int]] = {}
        self._deadline: dict[int, int] = {}
        self._suspected: set[int] = set()

    def next_ns(self, now_ns: int) -> int | None:
        """The next look."""
        return self._next_ns

    def take(self, now_ns: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Look now: the nodes of which the detector's opinion changed."""
        self._next_ns = (now_ns // self._look_ns + 1) * self._look_ns
        nodes = self._nodes.list_nodes()
        heard = set(self._health.heard_from(nodes, now_ns))
        changed = []
        known = {self._state.node_row(node.node_id): node.node_id for node in nodes}
        for row, node_id in sorted(known.items()):
            if node_id in heard or row not in self._arrivals:
                self._hear(row, now_ns)
            suspected = now_ns >= self._deadline[row]
            if suspected != (row in self._suspected):
                changed.append((row, suspected))
        for row in self._arrivals.keys() - known.keys():
            del self._arrivals[row], self._deadline[row]
        self._suspected = {row for row in known if now_ns >= self._deadline[row]}
        rows, suspected_now = [row for row, _ in changed], [on for _, on in changed]
        return np.array(rows, dtype=np.int64), np.array(suspected_now, dtype=np.bool_)

    def begin_anew(self) -> None:
        """Another listened until now: each node is given the patience of one just heard from, but for unknown ones.

        So does a node lifecycle controller that was elected, which has seen no lease before.
        """
        state = self._state
        unknown = np.flatnonzero(state.node_alive & (state.node_state == _UNKNOWN)).tolist()
        self._arrivals, self._deadline = {row: [] for row in unknown}, dict.fromkeys(unknown, 0)
        self._suspected = set(unknown)

    def _hear(self, row: int, now_ns: int) -> None:
        arrivals = self._arrivals.setdefault(row, [])
        if not arrivals or arrivals[-1] != now_ns:
            arrivals[:] = [*arrivals, now_ns][-self._detector.memory :]
        self._deadline[row] = int(self._detector.deadlines(np.array(arrivals, dtype=np.int64))[-1])
