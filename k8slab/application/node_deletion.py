"""Nodes on their way out: tainted, emptied by the eviction API, then given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.evictor import Evictor
from k8slab.application.node_provider import NodeProviderPort
from k8slab.application.running_pods import MOVES, RunningPods
from k8slab.domain.columns import Ints, Taint
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort

TAINT: Final = Taint("ToBeDeletedByClusterAutoscaler")


@dataclass(frozen=True)
class DeletionTimes:
    """delay_ns : between the taint and anything else; poll_ns : how often a node is looked at that is being emptied;
    leaving_ns : pods that leave a node with no others, and haven't gone after so long, go with it: its kubelet is
    dead. Upstream's is a pod's grace and 30 s; most_ns : after so long a node that isn't empty is kept"""

    delay_ns: int = 5 * SECOND_NS
    poll_ns: int = 5 * SECOND_NS
    leaving_ns: int = 60 * SECOND_NS
    most_ns: int = 720 * SECOND_NS


@dataclass
class _Deletion:
    node: int
    reason: str
    drained: bool
    since_ns: int
    next_ns: int
    started: bool = False


@dataclass(frozen=True)
class Ended:
    """A deletion that came to its end. removed : False if the node was kept"""

    node: int
    removed: bool
    drained: bool
    reason: str


class NodeDeletion:
    """Deletes nodes; `proceed` goes on with those that are due."""

    def __init__(
        self,
        state: ClusterStatePort,
        provider: NodeProviderPort,
        evictor: Evictor,
        running: RunningPods,
        times: DeletionTimes | None = None,
    ) -> None:
        self._state = state
        self._provider = provider
        self._evictor = evictor
        self._running = running
        self._times = times if times is not None else DeletionTimes()
        self._nodes: dict[int, _Deletion] = {}

    def begin(self, node: int, reason: str, now_ns: int, *, drained: bool) -> None:
        """Let no more pods come; after the delay its pods are evicted. drained : there are pods to evict"""
        taints = self._state.node_taints(node)
        if TAINT not in taints:
            self._state.update_node(node, taints=(*taints, TAINT))
        self._nodes[node] = _Deletion(node, reason, drained, now_ns, now_ns + self._times.delay_ns)

    def gone(self) -> npt.NDArray[np.bool_]:
        """bool[N]: the nodes that are on their way out."""
        found = np.zeros(self._state.node_count, dtype=np.bool_)
        found[list(self._nodes)] = True
        return found

    def in_progress(self) -> tuple[int, int]:
        """How many are being deleted that were empty, and how many that weren't."""
        drained = sum(one.drained for one in self._nodes.values())
        return len(self._nodes) - drained, drained

    def by_group(self) -> Ints:
        """int64[G]"""
        of = self._provider.group_of()[list(self._nodes)] if self._nodes else np.zeros(0, dtype=np.int32)
        return np.bincount(of[of >= 0], minlength=len(self._provider.groups))

    def next_ns(self) -> int | None:
        """When something is due."""
        return min((one.next_ns for one in self._nodes.values()), default=None)

    def proceed(self, now_ns: int) -> list[Ended]:
        """Go on with what is due; gives those that are over."""
        due = [one for one in self._nodes.values() if one.next_ns <= now_ns]
        ended = [over for one in due if (over := self._go_on(one, now_ns)) is not None]
        for over in ended:
            del self._nodes[over.node]
        return ended

    def _go_on(self, one: _Deletion, now_ns: int) -> Ended | None:
        state = self._state
        if not state.node_alive[one.node]:
            return Ended(one.node, True, one.drained, one.reason)
        rows = state.pods_on(one.node)
        # Those that leave hold the node until they are gone; daemon sets' pods go with it.
        held = rows[(self._running.kinds(rows) == MOVES) | (state.pod_leaving[rows] != 0)]
        all_leave, waited_ns = bool((state.pod_leaving[held] != 0).all()), now_ns - one.since_ns
        if all_leave and not (len(held) and (one.drained or waited_ns < self._times.leaving_ns)):
            self._evictor.forget(one.node)
            self._provider.terminate(one.node, now_ns)
            return Ended(one.node, True, one.drained, one.reason)
        blocked = not one.drained and not one.started and not all_leave
        if blocked or waited_ns >= self._times.most_ns:
            return self._keep(one, now_ns)
        if not one.started:
            one.started = True
            self._evictor.drain(one.node, one.reason, now_ns)
        one.next_ns = now_ns + self._times.poll_ns
        return None

    def _keep(self, one: _Deletion, now_ns: int) -> Ended:
        """Pods came to an empty node before the taint was there, or some won't go: the node stays."""
        taints = tuple(taint for taint in self._state.node_taints(one.node) if taint != TAINT)
        self._state.update_node(one.node, taints=taints)
        if one.started:
            self._evictor.uncordon(one.node, now_ns)
        return Ended(one.node, False, one.drained, one.reason)
