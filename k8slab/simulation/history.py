"""What a run's journal says about every pod, and about the whole cluster over time. Numpy only; reads, never writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.state import VERBS, ClusterState

_V: Final = {verb: code for code, verb in enumerate(VERBS)}
_READY: Final = NODE_STATES.index(NodeState.READY)


@dataclass(frozen=True, eq=False)
class Steps:
    """A quantity that changes in steps: `change[k]` is added at `at_ns[k]`; 0 before the first.

    at_ns : int64[K], sorted. change : int64[K] or float64[K]
    """

    at_ns: Ints
    change: npt.NDArray[Any]

    def value_at(self, at_ns: Ints) -> npt.NDArray[Any]:
        """What it is at these instants, what happens then included."""
        total = np.concatenate([np.zeros(1, dtype=self.change.dtype), np.cumsum(self.change)])
        return np.asarray(total[np.searchsorted(self.at_ns, at_ns, side="right")])

    def means(self, edges_ns: Ints) -> npt.NDArray[np.float64]:
        """float64[B]: its mean over each bin between neighbouring edges, by how long it had each value."""
        spans = np.diff(edges_ns).astype(np.float64)
        return np.diff(self._integral(edges_ns)) / np.where(spans > 0, spans, 1.0)

    def _integral(self, at_ns: Ints) -> npt.NDArray[np.float64]:
        # The area until t is t * value(t) less what each step missed: sum of change * its instant.
        where = np.searchsorted(self.at_ns, at_ns, side="right")
        total = np.concatenate([[0.0], np.cumsum(self.change, dtype=np.float64)])[where]
        missed = np.concatenate([[0.0], np.cumsum(self.change.astype(np.float64) * self.at_ns)])[where]
        return np.asarray(total * at_ns - missed)


class History:
    """The journal of a run, read once.

    until_ns    : when the run ended
    node_states : int8[N], those of the nodes that it began with
    """

    def __init__(self, state: ClusterState, until_ns: int, node_states: npt.NDArray[np.int8]) -> None:
        self.state = state
        self._first_states = node_states
        self.until_ns = until_ns
        journal = state.journal.columns()
        self._time, self._verb = journal["time_ns"], journal["verb"]
        self._pod, self._node, self._value = journal["pod_row"], journal["node_row"], journal["value"]

    def _where(self, *verbs: str) -> npt.NDArray[np.bool_]:
        return np.isin(self._verb, [_V[verb] for verb in verbs])

    # -- pods ----------------------------------------------------------------------------

    @cached_property
    def arrived_ns(self) -> Ints:
        """int64[P]: when each pod came; NEVER for those that had a row but didn't come before the end."""
        return self._first("POD_ADDED")

    @cached_property
    def bound_ns(self) -> Ints:
        """int64[P]: when each was bound first, NEVER if it wasn't."""
        return self._first("BOUND")

    @cached_property
    def ended_ns(self) -> Ints:
        """int64[P]: when each ended or was removed, NEVER if it is still there."""
        return self._first("FINISHED", "POD_REMOVED")

    @cached_property
    def evictions(self) -> Ints:
        """int64[P]: how often each lost its node and had to wait again."""
        return self._count("UNBOUND")

    @cached_property
    def restarts(self) -> Ints:
        """int64[P]: how often the containers of each were started again where it was."""
        return self._count("RESTARTED")

    @cached_property
    def pending_ns(self) -> Ints:
        """int64[P]: how long each waited for a node in all, until the run's end."""
        came, found = self._waits()
        total = np.zeros(self.state.pod_count, dtype=np.int64)
        np.add.at(total, self._pod[found], self._time[found])
        np.subtract.at(total, self._pod[came], self._time[came])
        still = np.zeros_like(total)
        np.add.at(still, self._pod[came], 1)
        np.subtract.at(still, self._pod[found], 1)
        return np.asarray(total + still * self.until_ns)

    def _first(self, *verbs: str) -> Ints:
        at = np.full(self.state.pod_count, NEVER, dtype=np.int64)
        chosen = self._where(*verbs)
        np.minimum.at(at, self._pod[chosen], self._time[chosen])
        return at

    def _count(self, verb: str) -> Ints:
        return np.bincount(self._pod[self._where(verb)], minlength=self.state.pod_count)

    def _waits(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Where the journal says that a pod begins to wait for a node, and where that it waits no longer."""
        nowhere = self._where("FINISHED", "POD_REMOVED") & (self._node < 0)
        first_end = nowhere & (self._time == self._ended_of(self._pod)) & ~self._ended_before()
        return self._where("POD_ADDED", "UNBOUND"), self._where("BOUND") | first_end

    def _ended_of(self, pods: Ints) -> Ints:
        ended = np.append(self.ended_ns, NEVER)
        return np.asarray(ended[np.where(pods >= 0, pods, -1)])

    def _ended_before(self) -> npt.NDArray[np.bool_]:
        """bool[J]: entries that end a pod which had ended already: its removal after it finished."""
        ends = np.flatnonzero(self._where("FINISHED", "POD_REMOVED"))
        _, first = np.unique(self._pod[ends], return_index=True)
        again = np.zeros(len(self._time), dtype=np.bool_)
        again[np.delete(ends, first)] = True
        return again

    # -- the cluster over time ----------------------------------------------------------------

    @cached_property
    def pending(self) -> Steps:
        """Pods that wait for a node."""
        came, found = self._waits()
        return self._steps(came, found)

    @cached_property
    def running(self) -> Steps:
        """Pods that hold a node."""
        return self._steps(*self._holds())

    def requested(self, resource: int) -> Steps:
        """What the pods that hold a node request of a resource, foreign usage not counted."""
        return self._weighted(self.state.pod_request[:, resource])

    def pods_of(self, owner: int) -> Steps:
        """The pods of a workload that hold a node."""
        at, change, owners = self._owned
        mine = owners == owner
        return Steps(at[mine], change[mine])

    @cached_property
    def _owned(self) -> tuple[Ints, Ints, npt.NDArray[np.int32]]:
        """When pods of workloads get a node or lose it: the instants, +1 or -1, and the workload's number."""
        up, down = self._holds()
        chosen = np.flatnonzero(up | down)
        owners = self.state.pod_owner[self._pod[chosen]]
        chosen, owners = chosen[owners >= 0], owners[owners >= 0]
        return self._time[chosen], np.where(up[chosen], 1, -1), owners

    def held(self, weight: npt.NDArray[Any]) -> Steps:
        """The sum of a weight over the pods that hold a node. weight : [P]"""
        return self._weighted(weight)

    @cached_property
    def ready_nodes(self) -> Steps:
        """Nodes that are ready and not cordoned."""
        return self._node_steps(np.ones(self.state.node_count, dtype=np.int64))

    def usable(self, resource: int) -> Steps:
        """What ready nodes have allocatable of a resource."""
        return self._node_steps(self.state.allocatable[resource])

    def _holds(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        gone = self._where("UNBOUND", "FINISHED", "POD_REMOVED") & (self._node >= 0)
        return self._where("BOUND"), gone

    def _steps(self, up: npt.NDArray[np.bool_], down: npt.NDArray[np.bool_]) -> Steps:
        chosen = up | down
        return Steps(self._time[chosen], np.where(up[chosen], 1, -1))

    def _weighted(self, weight: npt.NDArray[Any]) -> Steps:
        up, down = self._holds()
        chosen = up | down
        return Steps(self._time[chosen], np.where(up[chosen], 1, -1) * weight[self._pod[chosen]])

    def node_counts(self, verb: str) -> Ints:
        """int64[N]: how often a verb named each node."""
        return np.bincount(self._node[self._where(verb)], minlength=self.state.node_count)

    def node_means(self, resource: int) -> npt.NDArray[np.float64]:
        """float64[N]: what pods requested on each node, the mean over the run's time."""
        up, down = self._holds()
        chosen = up | down
        amount = np.where(up[chosen], 1.0, -1.0) * self.state.pod_request[self._pod[chosen], resource]
        area = amount * (self.until_ns - self._time[chosen])
        sums = np.bincount(self._node[chosen], weights=area, minlength=self.state.node_count)
        return np.asarray(sums / max(self.until_ns, 1))

    @cached_property
    def ready_ns(self) -> Ints:
        """int64[N]: how long each node was ready."""
        total = np.zeros(self.state.node_count, dtype=np.int64)
        for node, at_ns, now in self._turns():
            total[node] += self.until_ns - at_ns if now else at_ns - self.until_ns
        return total

    def _node_steps(self, weight: Ints) -> Steps:
        """The sum of a weight over nodes that are ready, over time."""
        turns = self._turns()
        change = [int(weight[node]) if now else -int(weight[node]) for node, _, now in turns]
        return Steps(np.array([at for _, at, _ in turns], dtype=np.int64), np.array(change, dtype=np.int64))

    def _turns(self) -> list[tuple[int, int, bool]]:
        """(node row, instant, whether it is ready from then on), each time that changes."""
        turns = []
        ready = np.zeros(self.state.node_count, dtype=np.bool_)
        for k in np.flatnonzero(self._where("NODE_ADDED", "NODE_STATE", "NODE_REMOVED")).tolist():
            node = int(self._node[k])
            now = self._is_ready(int(self._verb[k]), node, int(self._value[k]))
            if now != ready[node]:
                turns.append((node, int(self._time[k]), now))
                ready[node] = now
        return turns

    def _is_ready(self, verb: int, node: int, value: int) -> bool:
        """Whether an entry leaves its node ready; nodes that came later came ready."""
        if verb == _V["NODE_ADDED"]:
            return node >= len(self._first_states) or int(self._first_states[node]) == _READY
        return verb == _V["NODE_STATE"] and value == _READY
