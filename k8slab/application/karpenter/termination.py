"""Nodes on their way out by Karpenter: tainted, emptied by the eviction API for as long as it takes, given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.evictor import Evictor
from k8slab.application.karpenter.pods import DisruptedPods
from k8slab.application.node_provider import NodeProviderPort
from k8slab.application.running_pods import STAYS
from k8slab.domain.columns import NEVER, Taint
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort

TAINT: Final = Taint("karpenter.sh/disrupted")
POLL_NS: Final = 5 * SECOND_NS


@dataclass
class _Going:
    node: int
    reason: str
    since_ns: int
    force_ns: int
    next_ns: int
    drained: bool = False


class Termination:
    """Marks nodes, and empties and ends those that are told to go."""

    def __init__(
        self, state: ClusterStatePort, provider: NodeProviderPort, evictor: Evictor, pods: DisruptedPods
    ) -> None:
        self._state = state
        self._provider = provider
        self._evictor = evictor
        self._pods = pods
        self._marked: set[int] = set()
        self._going: dict[int, _Going] = {}

    def marked(self) -> npt.NDArray[np.bool_]:
        """bool[N]: nodes that are going, or will when their replacement is there."""
        found = np.zeros(self._state.node_count, dtype=np.bool_)
        found[list(self._marked)] = True
        return found

    def mark(self, node: int) -> None:
        """Let no more pods come to this node."""
        self._marked.add(node)
        taints = self._state.node_taints(node)
        if TAINT not in taints:
            self._state.update_node(node, taints=(*taints, TAINT))

    def unmark(self, node: int) -> None:
        """It stays after all."""
        self._marked.discard(node)
        if self._state.node_alive[node]:
            taints = tuple(taint for taint in self._state.node_taints(node) if taint != TAINT)
            self._state.update_node(node, taints=taints)

    def begin(self, node: int, reason: str, now_ns: int, grace_ns: int = NEVER) -> None:
        """Empty the node and give it back. grace_ns : its pods end without being asked after so long"""
        self.mark(node)
        force_ns = NEVER if grace_ns == NEVER else now_ns + grace_ns
        self._going.setdefault(node, _Going(node, reason, now_ns, force_ns, now_ns))

    def next_ns(self) -> int | None:
        return min((one.next_ns for one in self._going.values()), default=None)

    def proceed(self, now_ns: int) -> list[tuple[int, str]]:
        """Go on with those that are due; gives the nodes that are gone, and why they went."""
        due = [one for one in self._going.values() if one.next_ns <= now_ns]
        gone = [one for one in due if self._go_on(one, now_ns)]
        for one in gone:
            del self._going[one.node]
            self._marked.discard(one.node)
        return [(one.node, one.reason) for one in gone]

    def _go_on(self, one: _Going, now_ns: int) -> bool:
        state = self._state
        if not state.node_alive[one.node]:
            return True
        rows = state.pods_on(one.node)
        kinds = self._pods.kinds(rows)
        # Those that leave hold the node until they are gone; daemon sets' pods go with it.
        held = rows[(kinds != STAYS) | (state.pod_leaving[rows] != 0)]
        if not len(held):
            self._evictor.forget(one.node)
            self._provider.terminate(one.node, now_ns)
            return True
        if now_ns >= one.force_ns:
            self._evictor.delete(held, one.reason, now_ns, grace_ns=0)
        elif not one.drained and not (kinds > STAYS).any():
            # Pods that mustn't be disturbed are waited for.
            one.drained = True
            self._evictor.drain(one.node, one.reason, now_ns)
        one.next_ns = now_ns + POLL_NS if one.force_ns <= now_ns else min(now_ns + POLL_NS, one.force_ns)
        return False
