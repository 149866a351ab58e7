"""ClusterState: the columns of nodes and pods, and the only verbs that write them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.errors import StateConflict
from k8slab.state.columns import PENDING, RUNNING, SUCCEEDED
from k8slab.state.invariants import check
from k8slab.state.journal import VERBS
from k8slab.state.node_verbs import NodeVerbs
from k8slab.state.pod_verbs import PodVerbs

# What `play` carries out, as its kernel numbers it.
_KINDS: Final = {"POD_ADDED": 0, "BOUND": 1, "FINISHED": 2, "NODE_ADDED": 3}
_PLAYED: Final = np.array([_KINDS.get(verb, -1) for verb in VERBS], dtype=np.int8)


class ClusterState(NodeVerbs, PodVerbs):
    """Nodes and pods as columns; a dozen verbs are the only writers, each asserts its rule.

    A row number is given once and never reused: a removed node or pod keeps its
    row with `alive` False. requested = requests of bound pods + foreign usage.
    Of devices that pods share, such as GPUs, it knows who holds which; see k8slab.domain.devices.
    Every verb takes `lock`, and a verb that raises has changed nothing. Arrays
    read from here are views: hold `lock` while reading them beside a writer, and
    never write them.

    schema : the resources, in row order
    clock  : `now()` in int64 nanoseconds stamps the journal; 0 for ever without one

    >>> state = ClusterState()
    >>> node = state.add_nodes(["n"], state.schema.vector({"cpu": 4000, "memory": 2**33, "pods": 110})[:, None])
    >>> pod = state.add_pods(["p"], state.schema.vector({"cpu": 500, "memory": 2**29, "pods": 1})[None])
    >>> state.bind(pod, node)
    >>> state.requested[:, 0].tolist()
    [500, 536870912, 1]
    """

    def play(
        self,
        at_ns: Ints,
        verbs: npt.NDArray[np.int8],
        pod_rows: Ints,
        node_rows: Ints,
        *,
        force: bool = False,
    ) -> None:
        """Carry out what happened at many instants, in order: pods arrive, are bound, and succeed; nodes come.

        As `arrive`, `bind`, `finish` and `add_nodes` called one after another at these instants, but
        compiled, and the clock isn't asked. Each pod may be bound once and end once; nodes that come were
        given their rows before, by `add_nodes` with there=False.

        at_ns : int64[K], sorted. verbs : int8[K], codes into VERBS of POD_ADDED, BOUND, FINISHED and NODE_ADDED.
        pod_rows, node_rows : int64[K]; the node is -1 for POD_ADDED, the pod for NODE_ADDED.

        Raises StateConflict for the first that isn't legal, and then nothing has changed.
        """
        from k8slab.kernels.play import Cluster, play

        with self.lock:
            assert (at_ns[1:] >= at_ns[:-1]).all(), "instants aren't sorted"
            kinds = _PLAYED[verbs]
            assert (kinds >= 0).all(), f"verbs {sorted({VERBS[v] for v in verbs[kinds < 0]})} can't be played"
            columns = Cluster(
                self.allocatable, self.requested, self.node_alive, self.pod_request, self.pod_alive, self.pod_phase,
                self.pod_node, self.pod_last_node, self.pod_nominated, self.pod_started, self.pod_runs_ns,
                self.pod_ready_ns, self.pod_unready_ns, self.pod_startup_ns,
            )  # fmt: skip
            wrong = play(at_ns, kinds, pod_rows, node_rows, columns, (PENDING, RUNNING, SUCCEEDED), force)
            if wrong >= 0:
                raise StateConflict(
                    f"cannot play {VERBS[verbs[wrong]]} of pod row {pod_rows[wrong]} on node row {node_rows[wrong]} at "
                    f"{at_ns[wrong]:,} ns, after the {wrong:,} before it: the pod doesn't wait, isn't there, or the "
                    "node hasn't the room"
                )
            ended = np.where(kinds == 2, SUCCEEDED, 0)
            self.journal.append_many(at_ns, verbs, pod_rows, node_rows, ended)

    def check(self) -> None:
        """Recompute every aggregate the slow way and assert that the columns agree."""
        with self.lock:
            check(self)
            self._devices.check(self.pod_node)
