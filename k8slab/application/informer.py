"""What happened in the cluster, told to the scheduling queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from k8slab.domain.columns import Codes, Ints, NodeColumns
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import Change, ClusterStatePort, SchedulingQueuePort
from k8slab.domain.queueing import (
    Event,
    NodeAdded,
    NodeDeleted,
    NodeUpdated,
    PodAdded,
    PodDeleted,
    PodInfo,
    PodUpdated,
    node_info,
    pod_info,
)

_ENDS_A_PROMISE: Final = ("BOUND", "FINISHED", "POD_REMOVED")
_PENDING: Final = POD_PHASES.index(PodPhase.PENDING)


@dataclass(frozen=True, eq=False)
class _NodesTold:
    """The nodes as they were told last. foreign : int64[R, N]"""

    columns: NodeColumns
    foreign: Ints

    @classmethod
    def of(cls, state: ClusterStatePort) -> _NodesTold:
        now = state.node_columns()
        kept = replace(
            now,
            allocatable=now.allocatable.copy(),
            alive=now.alive.copy(),
            state=now.state.copy(),
            taints=Codes(now.taints.codes.copy(), now.taints.values),
            labels={key: Codes(column.codes.copy(), column.values) for key, column in now.labels.items()},
            bound=None,
            nominated=None,
        )
        return cls(kept, state.foreign.copy())

    def has(self, node_row: int) -> bool:
        return node_row < len(self.columns) and bool(self.columns.alive[node_row])


class Informer:
    """Reads a state's journal, and tells a queue what each change means: once, and nothing that changed back.

    waiting  : the pods that wait for a node, by row, as the queue knows them
    promised : the node rows that some of them were promised, by pod row

    Pods that are being deleted don't wait. What a pod or node was before is remembered
    here, since events are about what differs: about 1 KB a pod. Hold the state's lock.
    """

    def __init__(self, state: ClusterStatePort, queue: SchedulingQueuePort) -> None:
        self.waiting: dict[int, PodInfo] = {}
        self.promised: dict[int, int] = {}
        self._state = state
        self._queue = queue
        self._bound: dict[int, PodInfo] = {}
        self._nodes: _NodesTold | None = None
        self._read = 0
        self._own = 0

    def catch_up(self) -> tuple[bool, list[PodInfo]]:
        """Tell what happened since the last time; gives whether anything did, and the pods that came to wait."""
        changes = self._state.changes(self._read)
        self._read += len(changes)
        news, self._own = changes[self._own :], 0
        if not news:
            return False, []
        self._note_promises(news)
        pods = self._pods_now(_touched(news, "pods"))
        node_events = list(self._node_events(_touched(news, "nodes")))
        pod_events = [event for row, pod in pods.items() for event in self._pod_events(row, pod)]
        # Those that come now have missed nothing, so they are added last.
        for row, pod in pods.items():
            self._note(row, pod)
        if self.waiting:
            for event in (*node_events, *pod_events):
                self._queue.move_on(event)
        return True, [self._add(row, pod) for row, pod in pods.items() if self._is_new(row, pod)]

    def bound(self, pod: PodInfo, node_row: int) -> None:
        """The scheduler itself bound a pod that it popped, as the next change in the journal."""
        self._own += 1
        del self.waiting[pod.row]
        self.promised.pop(pod.row, None)
        self._bound[pod.row] = placed = replace(pod, node=self._state.node_names[node_row], nominated="")
        self._queue.done(pod)
        if self.waiting:
            self._queue.move_on(PodAdded(placed))

    # -- pods --------------------------------------------------------------------

    def _note_promises(self, news: Sequence[Change]) -> None:
        for change in news:
            if change.verb == "NOMINATED":
                self.promised.update(zip(change.pod_rows.tolist(), change.node_rows.tolist(), strict=True))
            elif change.verb in _ENDS_A_PROMISE and self.promised:
                for row in change.pod_rows.tolist():
                    self.promised.pop(row, None)

    def _pods_now(self, rows: list[int]) -> dict[int, PodInfo | None]:
        """These pods as they are, None for those that neither wait nor hold a node."""
        state, at = self._state, np.array(rows, dtype=np.int64)
        columns, names = state.pod_columns(at), state.node_names
        alive, node_rows = state.pod_alive[at], state.pod_node[at].tolist()
        waits = alive & (state.pod_phase[at] == _PENDING) & (columns.leaving == 0)
        found: dict[int, PodInfo | None] = {}
        for index, (row, node_row) in enumerate(zip(rows, node_rows, strict=True)):
            if node_row >= 0:
                found[row] = pod_info(columns, index, node=names[node_row])
            elif waits[index]:
                promised = self.promised.get(row, -1)
                found[row] = pod_info(columns, index, nominated=names[promised] if promised >= 0 else "")
            else:
                found[row] = None
        return found

    def _pod_events(self, row: int, now: PodInfo | None) -> Iterator[Event]:
        before, after = self._bound.get(row), now if now is not None and now.node else None
        if before is not None and after is not None and before.node == after.node:
            if before != after:
                yield PodUpdated(before, after)
            return
        if before is not None:
            yield PodDeleted(before)
        if after is not None:
            yield PodAdded(after)

    def _note(self, row: int, now: PodInfo | None) -> None:
        """Remember a pod as it is; the queue learns if it waits no longer, or differently."""
        self._bound.pop(row, None)
        if now is not None and now.node:
            self._bound[row] = now
        before = self.waiting.get(row)
        if before is None:
            return
        if now is None or now.node or now.key != before.key:
            del self.waiting[row]
            self._queue.delete(before)
        elif now != before:
            self.waiting[row] = now
            self._queue.update(now)

    def _is_new(self, row: int, now: PodInfo | None) -> bool:
        return now is not None and not now.node and row not in self.waiting

    def _add(self, row: int, pod: PodInfo | None) -> PodInfo:
        assert pod is not None, f"pod row {row} is gone and can't wait"
        self.waiting[row] = pod
        self._queue.add(pod)
        return pod

    # -- nodes -------------------------------------------------------------------

    def _node_events(self, rows: list[int]) -> Iterator[Event]:
        if not rows:
            return
        before, now = self._nodes, _NodesTold.of(self._state)
        self._nodes = now
        if before is None or not self.waiting:
            return
        for row in rows:
            if before.has(row) and now.has(row):
                yield from self._node_changes(row, before, now)
            elif now.has(row):
                yield NodeAdded(node_info(now.columns, row))
            elif before.has(row):
                yield NodeDeleted(node_info(before.columns, row))

    def _node_changes(self, row: int, before: _NodesTold, now: _NodesTold) -> Iterator[Event]:
        was, is_now = node_info(before.columns, row), node_info(now.columns, row)
        if was != is_now:
            yield NodeUpdated(was, is_now)
        freed = np.maximum(before.foreign[:, row] - now.foreign[:, row], 0)
        if freed.any():
            # Usage that no known pod explains is like that of a pod that nobody sees.
            amounts = dict(zip(now.columns.schema.names, freed.tolist(), strict=True))
            yield PodDeleted(PodInfo("", "", requests=amounts, node=is_now.name))


def _touched(news: Sequence[Change], what: str) -> list[int]:
    """The rows of pods, or of nodes, that changes are about, in the order they first come up."""
    about_pods = [change for change in news if change.pod_rows[0] >= 0]
    if what == "pods":
        parts = [change.pod_rows for change in about_pods]
    else:
        parts = [change.node_rows for change in news if change.pod_rows[0] < 0]
    return list(dict.fromkeys(np.concatenate(parts).tolist())) if parts else []
