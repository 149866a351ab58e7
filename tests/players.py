"""A placer that is easily understood: the node with the most free cpu, the lowest row among equals."""

from __future__ import annotations

import numpy as np

from k8slab.domain.columns import Ints
from k8slab.policies import Policy
from k8slab.state import ClusterState


class MostFree:
    """Keeps its own count of what nodes hold, from the state's columns at each `place`."""

    def __init__(self, policy: Policy, state: ClusterState, seed: int) -> None:
        self._state = state

    def place(self, pod_rows: Ints) -> Ints:
        free = self._free()
        return np.array([self._decide(free, pod) for pod in np.asarray(pod_rows).tolist()], dtype=np.int64)

    def _free(self) -> Ints:
        free = self._state.allocatable - self._state.requested
        usable = self._state.node_alive & (self._state.node_state == 0)
        return np.where(usable, free, -1)

    def _decide(self, free: Ints, pod: int) -> int:
        request = self._state.pod_request[pod]
        fits = (free >= request[:, None]).all(axis=0)
        if not fits.any():
            return -1
        node = int(np.argmax(np.where(fits, free[0], -1)))
        free[:, node] -= request
        return node


class MostFreePlayer(MostFree):
    """The same, able to look ahead over comings and goings."""

    def __init__(self, policy: Policy, state: ClusterState, seed: int) -> None:
        super().__init__(policy, state, seed)
        self.played = 0

    def play(self, pod_rows: Ints, leaves_from: Ints, leavers: Ints) -> Ints:
        free = self._free()
        where = {pod: int(self._state.pod_node[pod]) for pod in leavers.tolist()}
        nodes: list[int] = []
        for i, pod in enumerate(pod_rows.tolist()):
            for gone in leavers[leaves_from[i] : leaves_from[i + 1]].tolist():
                free[:, where[gone]] += self._state.pod_request[gone]
            node = self._decide(free, pod)
            if node < 0:
                break
            where[pod] = node
            nodes.append(node)
        self.played += len(nodes)
        return np.array(nodes, dtype=np.int64)

    def settle(self, complete: bool) -> None:
        """It reads the state each time."""
