"""A run of pods on a snapshot, one after another: who went where and who had to go; the path that any policy has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from k8slab.domain.columns import Ints
from k8slab.policies.policy import Decisions, Eviction, Path, Policy, Ties
from k8slab.policies.snapshot import Guest, Snapshot


@dataclass(eq=False)
class Run:
    """Pods on their way: the snapshot as it is now, and what was decided.

    departures : int64[P]  how many pods have arrived when it leaves, -1 if it stays; None if all stay
    chosen    : int64[P]  node rows, -1 for none; a pod that had to go is on none
    evictions : who had to go, in order
    starts    : int64[P]  where each pod's search among the nodes began; None where all nodes are looked at

    What is decided elsewhere is told by `chosen` and `note`; `catch_up` then brings the snapshot along.
    """

    policy: Policy
    snapshot: Snapshot
    seed: int
    ties: Ties
    departures: Ints | None = None
    chosen: Ints = field(init=False)
    evictions: list[Eviction] = field(default_factory=list)
    starts: Ints | None = None
    _lowest: int | None = None
    # Up to which pod, and which eviction, the snapshot knows what was decided.
    _known_pods: int = 0
    _known_evictions: int = 0
    _left: int = 0

    def __post_init__(self) -> None:
        self.chosen = np.full(len(self.snapshot.pods), -1, dtype=np.int64)
        self.snapshot.seed = self.seed
        if self.policy.sampling is not None:
            self.starts = np.zeros(len(self.chosen), dtype=np.int64)

    @cached_property
    def leaving(self) -> tuple[Ints, Ints]:
        """int64[P], int64[.]: the pods second[: first[p]] have left before pod p comes; both are empty if all stay."""
        if self.departures is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        who = np.flatnonzero(self.departures >= 0)
        who = who[np.argsort(self.departures[who], kind="stable")]
        return np.searchsorted(self.departures[who], np.arange(len(self.departures)), side="right"), who

    def see_off(self, pod: int) -> None:
        """Let those go that leave before a pod comes."""
        first, who = self.leaving
        if len(first):
            for gone in who[self._left : first[pod]].tolist():
                if self.chosen[gone] >= 0:
                    self.snapshot.forget(gone, int(self.chosen[gone]))
            self._left = int(first[pod])

    def place(self, pod: int) -> None:
        """Judge the next pod, let others go for it where the policy does that, and charge its node."""
        if self.starts is not None:
            self.starts[pod] = self.snapshot.search_start
        judged = self.policy.judge(self.snapshot, pod, seed=self.seed, ties=self.ties)
        self.snapshot.search_start = judged.next_start
        node_row = judged.chosen
        if node_row < 0 and self.may_preempt(pod):
            found = self.policy.preempt(self.snapshot, pod, judged, seed=self.seed, ties=self.ties)
            node_row = found.node_row
            for victim in found.victims:
                self._evict(victim, node_row, pod)
            self.snapshot.withdraw(node_row, int(self.snapshot.pods.priority[pod]))
        if node_row >= 0:
            self.chosen[pod] = node_row
            self.snapshot.assume(pod, node_row)
        self._known_pods, self._known_evictions = pod + 1, len(self.evictions)

    def may_preempt(self, pod: int) -> bool:
        """Whether any pod there may be matters less, so that it is worth asking."""
        if self.policy.post_filter is None or self.snapshot.pods.spec(pod).gates:
            return False
        return bool(self.snapshot.pods.priority[pod] > self.lowest_priority)

    @property
    def lowest_priority(self) -> int:
        """The lowest of all pods', bound or to be scheduled."""
        if self._lowest is None:
            priorities = (self.snapshot.placed.pods.priority, self.snapshot.pods.priority)
            self._lowest = min((int(part.min()) for part in priorities if len(part)), default=0)
        return self._lowest

    def _evict(self, victim: Guest, node_row: int, by: int) -> None:
        # The victims' grace passes before the next pod comes: here a preemptor has its node at once.
        ran_before = victim.crowd is self.snapshot.bound
        if ran_before:
            self.snapshot.evict(victim.row)
        else:
            self.snapshot.forget(victim.row, node_row)
            self.chosen[victim.row] = -1
        self.evictions.append(Eviction(victim.row, ran_before, node_row, by))

    # -- decided elsewhere -----------------------------------------------------------

    def note(self, pod: int, node_row: int, evictions: list[Eviction]) -> None:
        """Others had to go for a pod: it has their node. The snapshot isn't told."""
        for eviction in evictions:
            if not eviction.bound:
                self.chosen[eviction.row] = -1
        self.evictions += evictions
        self.chosen[pod] = node_row

    def catch_up(self, pod: int) -> None:
        """Bring the snapshot to how it is before a pod, after all that was decided without it, in that order."""
        gone = self.evictions[self._known_evictions :]
        where = self.chosen[self._known_pods : pod].copy()
        for eviction in gone:
            if not eviction.bound and eviction.row >= self._known_pods:
                where[eviction.row - self._known_pods] = eviction.node_row
        first = start = self._known_pods
        for eviction in gone:
            start = self._assume(where, first, start, eviction.by)
            if eviction.bound:
                self.snapshot.evict(eviction.row)
            else:
                self.snapshot.forget(eviction.row, eviction.node_row)
        self._assume(where, first, start, pod)
        if self.starts is not None:
            self.snapshot.search_start = int(self.starts[pod])
        self._known_pods, self._known_evictions = pod, len(self.evictions)

    def _assume(self, where: Ints, first: int, start: int, stop: int) -> int:
        """Assume the pods from `start` to before `stop` that had a node; gives `stop`. where : of pod `first` and on"""
        pods = np.arange(start, stop)
        node_rows = where[start - first : stop - first]
        if (node_rows >= 0).any():
            self.snapshot.assume_all(pods[node_rows >= 0], node_rows[node_rows >= 0])
        return stop

    def decisions(self, path: Path) -> Decisions:
        """What came of it."""
        next_start = self.snapshot.search_start
        return Decisions(self.chosen, path, tuple(self.evictions), self._devices(), self.starts, next_start)

    def _devices(self) -> Ints | None:
        table = self.snapshot.devices
        if table is None or not len(self.chosen):
            return None
        return np.stack([table.held(pod, node) for pod, node in enumerate(self.chosen.tolist())])


def place_stepwise(run: Run, report: Callable[[int], None], start: int = 0) -> Decisions:
    """Place all pods from `start` on in numpy, plug-in by plug-in: any policy, no compilation, no rounding."""
    pods = len(run.snapshot.pods)
    for pod in range(start, pods):
        run.see_off(pod)
        run.place(pod)
        if pod % 100 == 99:
            report(pod + 1)
    report(pods)
    return run.decisions("stepwise")
