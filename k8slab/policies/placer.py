"""Deciding on a cluster that changes: pods come and go, nodes fail and join, and a policy's structures keep in step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.ports import Change, ClusterStatePort
from k8slab.errors import StateConflict
from k8slab.policies.engine import SMALL_PAIRS, SMALL_PODS, place
from k8slab.policies.kept import Kept
from k8slab.policies.policy import Decisions, Path, Policy, Ties, check_seed, check_ties
from k8slab.policies.run import Run, place_stepwise

# A pod of these is no longer where it was decided to go.
_MOVES: Final = ("BOUND", "UNBOUND", "FINISHED", "POD_REMOVED")


class Placer:
    """Decides on a state's pods as a policy would, again and again, without starting anew each time.

    policy : decides; its post_filter is left aside, as who has to go is for the caller to ask and to do
    state  : its columns are read, and what was done to them is read from its journal; nothing is written
    seed   : draws among equal nodes where ties are random
    ties   : "lowest", "random", or None for the policy's own rule
    arrays : name -> [N], the per-node arrays that users' plug-ins ask for, over all node rows

    Each decision is, bit for bit, that of `Policy.place` on the state's columns as they are
    then. A pod that was given a node counts as if it were bound there, until the state says
    what became of it: that it was bound, as it is by `state.bind` with the same rows, or
    removed; or until `forget`. A policy that samples nodes begins each search where the last one ended.

    >>> from k8slab.policies import policy
    >>> from k8slab.state import ClusterState
    >>> state = ClusterState()
    >>> nodes = state.add_nodes(["n0", "n1"], [[1000, 4000], [4000, 4000], [5, 5]])
    >>> pods = state.add_pods(["p0", "p1"], [[600, 1000, 1], [600, 1000, 1]])
    >>> placer = Placer(policy("most-allocated"), state)
    >>> rows = placer.place(pods)
    >>> rows.tolist()
    [0, 1]
    >>> state.bind(pods, rows)
    """

    def __init__(
        self,
        policy: Policy,
        state: ClusterStatePort,
        *,
        seed: int = 0,
        ties: Ties | None = "lowest",
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        self._policy = replace(policy, post_filter=None)
        self._state = state
        self._seed = check_seed(seed)
        self._ties: Ties = policy.ties if ties is None else check_ties(ties)
        self._arrays = dict(arrays or {})
        self._assumed: dict[int, int] = {}
        self._charged: list[Ints] = []
        self._described: list[Ints] = []
        self._kept: Kept | None = None
        self._told: tuple[Any, ...] = ()
        self._hopeless = False
        self._path: Path = "stepwise"
        self._pods = self._pairs = 0
        self._search_start = 0
        with state.lock:
            self._read = len(state.changes(0))

    @property
    def path(self) -> Path:
        """How it decided last: "tree" for structures that are kept, else as `Policy.place`; all decide alike."""
        return self._path

    def sync(self) -> None:
        """Take in what was done to the state since the last time; `place` does so first."""
        with self._state.lock:
            changes = self._state.changes(self._read)
            self._read += len(changes)
            for change in changes:
                self._note(change)
            self._bring_up_to_date()

    def place(self, pod_rows: npt.ArrayLike) -> Ints:
        """Decide on these pods one after another; gives int64[.] node rows, -1 where none fits.

        Raises StateConflict for a pod that isn't waiting, or that has a node already, by the state or from here;
        PluginError where a user's plug-in misbehaves. Nothing has changed then.
        """
        rows = np.array(pod_rows, dtype=np.int64, ndmin=1)
        with self._state.lock:
            self.sync()
            self._refuse(rows)
            chosen = self._decide(rows)
        self._assumed.update((pod, node) for pod, node in zip(rows.tolist(), chosen.tolist(), strict=True) if node >= 0)
        return chosen

    def forget(self, pod_rows: npt.ArrayLike) -> None:
        """These pods won't be bound where `place` said: they count no longer."""
        for pod in np.array(pod_rows, dtype=np.int64, ndmin=1).tolist():
            if pod in self._assumed:
                self._charged.append(np.array([self._assumed.pop(pod)]))

    # -- what happened ---------------------------------------------------------------

    def _note(self, change: Change) -> None:
        """The state knows more now of these pods and nodes."""
        if change.verb in _MOVES:
            for pod in change.pod_rows.tolist() if self._assumed else ():
                if pod in self._assumed:
                    self._charged.append(np.array([self._assumed.pop(pod)]))
            self._charged.append(change.node_rows)
        elif change.verb == "POD_UPDATED":
            self._charged.append(self._state.pod_node[change.pod_rows].astype(np.int64))
        elif change.verb == "NODE_ADDED":
            self._kept = None
        elif change.verb.startswith("NODE_"):
            self._charged.append(change.node_rows)
            self._described.append(change.node_rows)

    def _bring_up_to_date(self) -> None:
        """Tell what is kept of the nodes that changed; give it up if they are unlike all that it knows."""
        charged, described = _distinct(self._charged), _distinct(self._described)
        self._charged.clear()
        self._described.clear()
        if self._kept is None or not (len(charged) or len(described)):
            return
        nodes = self._nodes()
        known = not len(described) or self._kept.describe(described, nodes)
        if not (known and self._kept.charge(charged, self._requested(nodes, charged))):
            self._kept = None

    def _requested(self, nodes: NodeColumns, node_rows: Ints) -> Ints:
        """int64[R, .]: what these nodes hold, with the pods that aren't bound yet."""
        requested = nodes.requested[:, node_rows]
        place = {node: column for column, node in enumerate(node_rows.tolist())}
        for pod, node in self._assumed.items():
            if node in place:
                requested[:, place[node]] += self._state.pod_columns(np.array([pod])).requests[0]
        return requested

    def _refuse(self, rows: Ints) -> None:
        state, twice = self._state, np.unique(rows)
        assert len(twice) == len(rows), "a pod row stands twice in one call"
        assert not len(rows) or 0 <= twice[0] <= twice[-1] < len(state.pod_node), f"no pod rows: {rows}"
        for pod in rows.tolist():
            node = self._assumed.get(pod, int(state.pod_node[pod]))
            if node >= 0:
                name = state.node_names[node]
                raise StateConflict(f"cannot place pod row {pod}: it has a node already, {name!r}")
            if not state.pod_alive[pod]:
                raise StateConflict(f"cannot place pod row {pod}: it was removed")

    # -- deciding --------------------------------------------------------------------

    def _decide(self, rows: Ints) -> Ints:
        nodes, pods = self._nodes(), self._state.pod_columns(rows)
        self._pairs += len(rows) * len(nodes)
        self._pods += len(rows)
        whole = self._policy.for_nodes(nodes)
        many = whole.sampling is None and (self._pods > SMALL_PODS or self._pairs > SMALL_PAIRS)
        chosen = self._by_kept(whole, nodes, pods) if many else None
        if chosen is not None:
            self._path = "tree"
            return chosen
        # What is kept doesn't hear of what is decided without it.
        self._kept = None
        decisions = self._afresh(nodes, rows)
        self._path, self._search_start = decisions.path, decisions.next_start
        return decisions.node_rows[-len(rows) :] if len(rows) else np.zeros(0, dtype=np.int64)

    def _by_kept(self, policy: Policy, nodes: NodeColumns, pods: PodColumns) -> Ints | None:
        """Decide by what is kept, made anew if it has to be; None where nothing can be kept."""
        # Whether other pods matter to these hangs on what any pod, service or taint says; all of these only grow.
        told = (nodes.bound_specs, nodes.taints.values, nodes.images.values, id(nodes.objects), nodes.nominated is None)
        if told != self._told:
            self._told, self._kept, self._hopeless = told, None, False
        if self._hopeless or not len(pods):
            return None
        if self._kept is not None:
            chosen = self._kept.place(pods)
            if chosen is not None:
                return chosen
        self._kept = Kept.of(policy, nodes, pods, self._seed, self._ties)
        self._hopeless = self._kept is None
        if self._kept is None:
            return None
        waiting = np.unique(np.array(list(self._assumed.values()), dtype=np.int64))
        if len(waiting) and not self._kept.charge(waiting, self._requested(nodes, waiting)):
            return None
        return self._kept.place(pods)

    def _afresh(self, nodes: NodeColumns, rows: Ints) -> Decisions:
        """Decide as a policy does that meets the state for the first time."""
        before = np.array(list(self._assumed), dtype=np.int64)
        pods = self._state.pod_columns(np.concatenate([before, rows]))
        if not len(before):
            return place(self._policy, nodes, pods, self._seed, self._ties, None, None, None, self._search_start)
        run = Run(self._policy, self._policy.snapshot(nodes, pods), self._seed, self._ties)
        run.snapshot.search_start = self._search_start
        run.snapshot.assume_all(np.arange(len(before)), np.array(list(self._assumed.values()), dtype=np.int64))
        return place_stepwise(run, lambda done: None, len(before))

    def _nodes(self) -> NodeColumns:
        return replace(self._state.node_columns(), arrays=self._arrays)

    def __repr__(self) -> str:
        return f"<Placer {self._policy.name}: by {self.path}, ties {self._ties}>"


def _distinct(parts: list[Ints]) -> Ints:
    """The node rows among these."""
    rows = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))
    return rows[rows >= 0]
