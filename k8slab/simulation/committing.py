"""Control loops whose turns take effect when the store has committed them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from k8slab.application.calendar import Rank
from k8slab.domain.columns import NEVER
from k8slab.domain.ports import ClusterStatePort, ControllerPort
from k8slab.simulation.store import Store, StoreRun

if TYPE_CHECKING:
    from k8slab.simulation.world import World

# What is noticed is heard without the store; what is done about it goes through it.
FIRST_WRITER: Final = Rank.NODE_LIFECYCLE


@dataclass
class Commits:
    """Every turn that wrote something, as columns, and the store that took it."""

    run: StoreRun
    asked_ns: list[int] = field(default_factory=list)
    committed_ns: list[int] = field(default_factory=list)
    controller: list[str] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    retries: list[int] = field(default_factory=list)


class Committed:
    """A control loop that is asked as it would be, and has its turn when that is committed.

    A turn that wrote nothing is not told.
    """

    def __init__(self, loop: ControllerPort, state: ClusterStatePort, commits: Commits) -> None:
        self.loop = loop
        self.name = loop.name
        self.rank = loop.rank
        self._state = state
        self._commits = commits
        self._asked_ns = 0
        self._retries = 0
        self._commit_ns: int | None = None

    def next_ns(self, now_ns: int) -> int | None:
        if self._commit_ns is not None:
            return None if self._commit_ns >= NEVER else self._commit_ns
        return self.loop.next_ns(now_ns)

    def run_once(self, now_ns: int) -> None:
        if self._commit_ns is None:
            self._asked_ns = now_ns
            self._commit_ns, self._retries = self._commits.run.commit_ns(now_ns)
            return
        self._commit_ns = None
        before = self._state.version
        self.loop.run_once(now_ns)
        if self._state.version != before:
            told = self._commits
            told.asked_ns.append(self._asked_ns)
            told.committed_ns.append(now_ns)
            told.controller.append(self.name)
            told.writes.append(self._state.version - before)
            told.retries.append(self._retries)


def build_store(world: World, store: Store) -> None:
    """Put a store between a world's loops and its state; call it when all loops are there."""
    streams = world.streams
    run = StoreRun(store, world.until_ns, streams.generator("store/faults"), streams.generator("store/latencies"))
    commits = Commits(run)
    world.calendar.wrap(lambda loop: Committed(loop, world.state, commits) if loop.rank >= FIRST_WRITER else loop)
    # What is lived through at a stretch binds pods in the instant they come.
    world.calendar.leaper = None
    world.parts["store"] = commits
