"""Thousands of random fault schedules against the Raft core: what a change to it must survive."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from html import escape
from multiprocessing import get_context
from typing import Any, Final

from k8slab.errors import InputError, Interrupted, K8slabError
from k8slab.experiments.progress import progress_bar
from k8slab.simulation.raft_lab import RaftLab

# About half a second of work: short enough for the bar to move and for Ctrl-C to be prompt.
_BLOCK: Final = 20


@dataclass(frozen=True)
class BrokenRule:
    """A schedule in which a rule was broken.

    seed     : of the schedule: random_schedule(seed) under random_switches(seed)
    shortest : the actions that are left of it when all are gone without which the rule still breaks
    """

    seed: int
    rule: str
    text: str
    shortest: tuple[str, ...]


@dataclass(frozen=True)
class Soak:
    """What came of many schedules, each a function of its seed.

    events     : messages, ticks, crashes and so on, with every invariant looked at after each
    commits    : entries applied, each member's own
    elections  : leaders elected
    operations : requests of clients, each history judged linearizable or not
    helped     : schedules after which nobody could be elected until an operator handed over a snapshot: what changes
                 of membership that count once they are applied can come to
    """

    first_seed: int
    schedules: int
    events: int
    commits: int
    elections: int
    operations: int
    helped: int
    broken: tuple[BrokenRule, ...]

    @property
    def ok(self) -> bool:
        """Whether there was something to play and no rule was broken."""
        return self.schedules > 0 and not self.broken

    def __add__(self, other: Soak) -> Soak:
        sums: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return Soak(first_seed=min(self.first_seed, other.first_seed), **sums)

    def __str__(self) -> str:
        return (
            f"{self.schedules:,} schedules, {len(self.broken):,} violations: {self.events:,} events, "
            f"{self.elections:,} elections, {self.commits:,} entries applied, {self.operations:,} requests judged"
            f"{f'; {self.helped:,} needed an operator' if self.helped else ''}"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{one.seed}</td><td>{escape(one.rule)}</td><td>{escape(one.text)}</td></tr>" for one in self.broken
        )
        table = f"<table><tr><th>seed</th><th>rule</th><th>what happened</th></tr>{rows}</table>" if rows else ""
        return f"<p>{escape(str(self))}</p>{table}"


_SUMS: Final = ("schedules", "events", "commits", "elections", "operations", "helped", "broken")


def soak_raft(schedules: int = 10_000, *, seed: int = 0, workers: int | None = None, progress: bool = True) -> Soak:
    """Play random fault schedules of the seeds from `seed` on, with every invariant watched.

    workers : processes; None for one a core

    Raises Interrupted on Ctrl-C, with what was played as `partial`.

    >>> soak_raft(5, workers=1).ok
    True
    """
    if schedules < 1 or seed < 0:
        raise InputError(f"schedules={schedules}, seed={seed}: wanted one schedule or more, and a seed of 0 or more")
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}: wanted 1 or more, or None for one a core")
    blocks = [range(first, min(first + _BLOCK, seed + schedules)) for first in range(seed, seed + schedules, _BLOCK)]
    total = Soak(seed, 0, 0, 0, 0, 0, 0, ())
    with progress_bar("fault schedules", schedules, show=progress) as bar:
        try:
            for part in _played(blocks, workers or os.cpu_count() or 1, bar.tick):
                total += part
                bar.advance(part.schedules)
        except KeyboardInterrupt:
            stopped = Interrupted(f"interrupted after {total.schedules:,} of {schedules:,} schedules: {total}")
            stopped.partial = total
            raise stopped from None
    assert total.schedules == schedules, f"{total.schedules} of {schedules} schedules were played"
    return total


def _played(blocks: list[range], workers: int, tick: Callable[[], None]) -> Iterator[Soak]:
    """Blocks as they end; here if one worker is asked for, else in processes of their own."""
    if workers == 1 or len(blocks) == 1:
        yield from map(play_block, blocks)
        return
    # Spawned, not forked: a fork of a process with threads, as a notebook's is, may hang.
    pool = ProcessPoolExecutor(min(workers, len(blocks)), get_context("spawn"), _leave_interrupts_to_the_first)
    try:
        waiting: set[Future[Soak]] = {pool.submit(play_block, block) for block in blocks}
        while waiting:
            done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            tick()
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise K8slabError("a worker process died, for want of memory or by a kill: try fewer workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_to_the_first() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def play_block(seeds: range) -> Soak:
    """The schedules of these seeds."""
    events = commits = elections = operations = helped = 0
    broken = []
    lab = RaftLab()
    for run in lab.search(seeds):
        events += run.record.events
        commits += len(run.record.commits)
        elections += sum(change.role == "leader" for change in run.record.roles)
        operations += len(run.history)
        helped += run.record.helped
        if run.violation is not None:
            short = lab.shrink(run)
            actions = tuple(str(action) for action in short.schedule.actions)
            broken.append(BrokenRule(run.schedule.seed, run.violation.rule, run.violation.text, actions))
    return Soak(seeds.start, len(seeds), events, commits, elections, operations, helped, tuple(broken))
