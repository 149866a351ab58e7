"""Deciding on a cluster that changes: pods come and go, nodes fail and join, and a policy's structures keep in step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.ports import Change, ClusterStatePort
from k8slab.errors import StateConflict
from k8slab.policies.policy import Path, Policy, Ties, check_seed, check_ties
from k8slab.policies.run import Run, place_stepwise
from k8slab.policies.snapshot import Snapshot

# A pod of these is no longer where it was decided to go.
_MOVES = ("BOUND", "UNBOUND", "FINISHED", "POD_REMOVED")


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
    removed; or until `forget`.

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
        with state.lock:
            self._read = len(state.changes(0))

    @property
    def path(self) -> Path:
        """How it decides: "stepwise", "scan" or "tree"; all decide alike."""
        return "stepwise"

    def sync(self) -> None:
        """Take in what was done to the state since the last time; `place` does so first."""
        with self._state.lock:
            changes = self._state.changes(self._read)
            self._read += len(changes)
            self._settle(changes)

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
            self._assumed.pop(pod, None)

    def _settle(self, changes: Iterable[Change]) -> None:
        """The state knows of these pods now."""
        for change in changes:
            if change.verb in _MOVES:
                for pod in change.pod_rows.tolist() if self._assumed else ():
                    self._assumed.pop(pod, None)

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

    def _decide(self, rows: Ints) -> Ints:
        before = np.array(list(self._assumed), dtype=np.int64)
        run = Run(self._policy, self._snapshot(np.concatenate([before, rows])), self._seed, self._ties)
        run.snapshot.assume_all(np.arange(len(before)), np.array(list(self._assumed.values()), dtype=np.int64))
        return place_stepwise(run, lambda done: None, len(before)).node_rows[len(before) :]

    def _snapshot(self, pod_rows: Ints) -> Snapshot:
        nodes = replace(self._state.node_columns(), arrays=self._arrays)
        return self._policy.snapshot(nodes, self._state.pod_columns(pod_rows))

    def __repr__(self) -> str:
        return f"<Placer {self._policy.name}: by {self.path}, ties {self._ties}>"
