"""The store of a simulated cluster: a few Raft members, what it takes to commit, and when nobody leads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER
from k8slab.errors import InputError, UnknownName
from k8slab.units import duration_ns

Duration = str | int | float
Range = Duration | Sequence[Duration]
_MS: Final = 1_000_000
_BLOCK: Final = 1024
_LOSS_KEYS: Final = ("at", "duration", "members")


@dataclass(frozen=True, kw_only=True)
class Store:
    """Where a simulated cluster keeps what its control loops decide, as Kubernetes does in etcd.

    A loop's turn takes effect when a majority has it on disk: then it reads, decides and acts. What comes to be
    decided until then is committed along with it, as in one batch. While no member leads, nothing takes effect: pods
    run on, end and fail, nodes come and go, but nobody is bound, evicted, scaled or healed. All loops from node
    lifecycle to scheduler write through the store; kubelets, and failure detectors' ears, need it not.

    Kubelets renew their leases in etcd too, and can't while nobody leads; but whoever judges nodes by them loses its
    own lease then (kube-controller-manager after 10 s), and once elected again has patience with every node anew. So
    here leases are heard without the store: its leaderless time makes no node suspect.

    members          : how many; an odd number
    fsync            : how long a member's disk takes for a write, uniform between the two; or one length of time
    network          : one way between members, likewise
    election_timeout : a member's patience is between this and twice as much; etcd's is 1 s
    heartbeat        : of the leader; etcd's is 100 ms
    mtbf             : mean time that a member stays up, exponential; None for members that never fail by chance
    repair           : mean time that it is down then, exponential
    losses           : exactly these: mappings with `at`, `duration`, and how many `members` are lost, the leader
                       first (1)

    >>> Store(members=5, losses=[{"at": "1h", "duration": "10m"}]).majority
    3
    """

    members: int = 3
    fsync: Range = ("1ms", "5ms")
    network: Range = ("200us", "1ms")
    election_timeout: Duration = "1s"
    heartbeat: Duration = "100ms"
    mtbf: Duration | None = None
    repair: Duration = "1m"
    losses: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        members = self.members
        if isinstance(members, bool) or not isinstance(members, int) or not 1 <= members <= 63 or members % 2 == 0:
            raise InputError(f"store, members: {members!r}; wanted an odd number from 1 to 63")
        for key in ("fsync", "network"):
            self.ns_range(key)
        for key in ("election_timeout", "heartbeat", "repair", *(("mtbf",) if self.mtbf is not None else ())):
            duration_ns(getattr(self, key), f"store, {key}", least_ns=1)
        if self.ns("heartbeat") >= self.ns("election_timeout"):
            wanted = f"wanted less than the election_timeout, {self.election_timeout!r}"
            raise InputError(f"store, heartbeat: {self.heartbeat!r}; {wanted}")
        for number in range(len(self.losses)):
            self.loss(number)

    @property
    def majority(self) -> int:
        """So many must have a write."""
        return self.members // 2 + 1

    def ns(self, key: str) -> int:
        """The nanoseconds of a field that is a length of time."""
        return duration_ns(getattr(self, key), f"store, {key}")

    def ns_range(self, key: str) -> tuple[int, int]:
        """The two ends of a field that is one length of time, or a least and a greatest."""
        given = getattr(self, key)
        ends = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given, given)
        if len(ends) != 2:
            raise InputError(f"store, {key}: {given!r}; wanted one length of time, or a least and a greatest")
        low, high = (duration_ns(end, f"store, {key}") for end in ends)
        if low > high:
            raise InputError(f"store, {key}: the least, {ends[0]!r}, is above the greatest, {ends[1]!r}")
        return low, high

    def loss(self, number: int) -> tuple[int, int, int]:
        """A listed loss: at_ns, duration_ns, members."""
        event, where = self.losses[number], f"store, losses[{number}]"
        for key in event:
            if key not in _LOSS_KEYS:
                raise UnknownName("key", key, _LOSS_KEYS, f"in {where}.")
        for key in ("at", "duration"):
            if key not in event:
                raise InputError(f"{where}: no {key!r}; wanted a time such as '10m'")
        count = event.get("members", 1)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= self.members:
            raise InputError(f"{where}, members: {count!r}; wanted 1 to {self.members}, of which one is the leader")
        at = duration_ns(event["at"], f"{where}, at")
        return at, duration_ns(event["duration"], f"{where}, duration", least_ns=1), count


class Leaderless(NamedTuple):
    """A time in which nobody led; end_ns is NEVER if it doesn't end."""

    start_ns: int
    end_ns: int
    cause: str


class StoreRun:
    """One run's store: its leaderless times, laid out beforehand, and how long each commit takes.

    Members fail, return and are elected in one small calendar; how long an election takes is drawn from the compiled
    model of elections under these timeouts and delays, with PreVote and CheckQuorum, as etcd has them.

    leaderless : in order, apart from one another
    up         : (at_ns, members that are up from then on), in order
    """

    def __init__(
        self, store: Store, until_ns: int, faults: np.random.Generator, latencies: np.random.Generator
    ) -> None:
        self.store = store
        self.leaderless: list[Leaderless] = []
        self.up: list[tuple[int, int]] = [(0, store.members)]
        self._faults, self._latencies = faults, latencies
        self._blocks: dict[int, list[int]] = {}
        self._elections: dict[int, list[float]] = {}
        self._live(until_ns)
        self._starts = np.array([one.start_ns for one in self.leaderless], dtype=np.int64)
        self._ups = np.array([at_ns for at_ns, _ in self.up], dtype=np.int64)

    # -- commits -------------------------------------------------------------------------

    def commit_ns(self, now_ns: int) -> tuple[int, int]:
        """When a write that is asked for now is committed, NEVER if it isn't; and how often it had to be begun anew."""
        begun_ns, again = now_ns, 0
        while True:
            begun_ns = self._next_leader_ns(begun_ns)
            if begun_ns >= NEVER:
                return NEVER, again
            done_ns = begun_ns + self._latency_ns(begun_ns)
            place = int(np.searchsorted(self._starts, begun_ns, side="right"))
            if place == len(self._starts) or self._starts[place] > done_ns:
                return done_ns, again
            # Lost with its leader: a client asks again once there is another.
            begun_ns, again = int(self._starts[place]), again + 1

    def _next_leader_ns(self, at_ns: int) -> int:
        place = int(np.searchsorted(self._starts, at_ns, side="right")) - 1
        return at_ns if place < 0 else max(at_ns, self.leaderless[place].end_ns)

    def _latency_ns(self, at_ns: int) -> int:
        up = self.up[int(np.searchsorted(self._ups, at_ns, side="right")) - 1][1]
        block = self._blocks.setdefault(up, [])
        if not block:
            block += reversed(commit_latencies(self.store, up, _BLOCK, self._latencies).tolist())
        return block.pop()

    # -- members, beforehand -----------------------------------------------------------------

    def _live(self, until_ns: int) -> None:
        members = set(range(self.store.members))
        leader, since_ns, cause, elections = 0, -1, "", 0
        calendar = self._first_events(until_ns)
        while calendar:
            at_ns, _, what, subject, lasting_ns = heappop(calendar)
            if what == "loss":
                chosen = [leader, *sorted(members - {leader})] if leader >= 0 else sorted(members)
                for member in chosen[:subject]:
                    if member in members:
                        heappush(calendar, (at_ns, 1, "down", member, lasting_ns))
                continue
            if what == "down" and subject in members:
                members.discard(subject)
                heappush(calendar, (at_ns + lasting_ns, 0, "up", subject, 0))
            elif what == "up":
                members.add(subject)
                self._fail_later(calendar, at_ns, until_ns, subject)
            elif what == "elected" and subject == elections and len(members) >= self.store.majority:
                leader = sorted(members)[int(self._faults.integers(len(members)))]
                self.leaderless.append(Leaderless(since_ns, at_ns, cause))
                since_ns = -1
            if what != "elected":
                self.up.append((at_ns, len(members)))
            enough = len(members) >= self.store.majority
            if leader >= 0 and (leader not in members or not enough):
                cause = "leader lost" if leader not in members else "quorum lost"
                leader, since_ns = -1, at_ns
            if leader < 0 and what != "elected":
                # Whoever was standing starts anew: with another number of members it is another election.
                elections += 1
                if enough:
                    wait_ns = self._election_ns(self.store.members - len(members))
                    heappush(calendar, (at_ns + wait_ns, 2, "elected", elections, 0))
        if leader < 0:
            self.leaderless.append(Leaderless(since_ns, NEVER, cause))

    def _first_events(self, until_ns: int) -> list[tuple[int, int, str, int, int]]:
        calendar: list[tuple[int, int, str, int, int]] = []
        for number in range(len(self.store.losses)):
            at_ns, lasting_ns, count = self.store.loss(number)
            if at_ns < until_ns:
                calendar.append((at_ns, 1, "loss", count, lasting_ns))
        heapify(calendar)
        for member in range(self.store.members):
            self._fail_later(calendar, 0, until_ns, member)
        return calendar

    def _fail_later(
        self, calendar: list[tuple[int, int, str, int, int]], now_ns: int, until_ns: int, member: int
    ) -> None:
        if self.store.mtbf is None:
            return
        at_ns = now_ns + round(self._faults.exponential(self.store.ns("mtbf")))
        lasting_ns = max(round(self._faults.exponential(self.store.ns("repair"))), 1)
        if at_ns < until_ns:
            heappush(calendar, (at_ns, 1, "down", member, lasting_ns))

    def _election_ns(self, dead: int) -> int:
        """How long after the leader's end the others have heard the next one."""
        drawn = self._elections.setdefault(dead, [])
        if not drawn:
            drawn += self._drawn_elections(dead)
        return max(round(drawn.pop() * _MS), 1)

    def _drawn_elections(self, dead: int) -> list[float]:
        store = self.store
        if store.members == 1:
            # Alone it stands for election at once, and has to write that down.
            low, high = store.ns_range("fsync")
            return [float(time) / _MS for time in self._faults.uniform(low, high, 64)]
        from k8slab.simulation.elections import ElectionSetup, run_elections

        patience, disk = store.ns("election_timeout") / _MS, sum(store.ns_range("fsync")) / 2 / _MS
        low, high = store.ns_range("network")
        # If nobody is down any more, a leader died and is back, or a quorum is: all begin with fresh timers.
        setup = ElectionSetup(
            members=store.members, dead=dead, timeout=(patience, 2 * patience), heartbeat=store.ns("heartbeat") / _MS,
            delay=(low / _MS, high / _MS), candidate_disk=disk, voter_disk=disk, pre_vote=True, check_quorum=True,
        )  # fmt: skip
        seed = int(self._faults.integers(2**63))
        times = run_elections(setup, trials=256, seed=seed, until="heard", crash=dead > 0).time
        return [float(time) for time in times[np.isfinite(times)]]

    # -- what is told of it --------------------------------------------------------------------

    def leaderless_ns(self, until_ns: int) -> int:
        """For how long nobody led, up to this instant."""
        return sum(max(0, min(one.end_ns, until_ns) - one.start_ns) for one in self.leaderless)


def commit_latencies(store: Store, up: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """int64[count]: how long writes take of which nothing is known but that a leader takes them in, in ns.

    The leader writes while it sends; each follower writes and answers. Committed is what a majority of all members
    has, dead ones too (Raft §5.3; the leader's own write beside the sending is thesis §10.2.1).
    """
    assert store.majority <= up <= store.members, f"{up} of {store.members} members are up: no majority"
    fsync, way = store.ns_range("fsync"), store.ns_range("network")
    has = rng.uniform(*fsync, (count, up))
    has[:, 1:] += rng.uniform(*way, (count, up - 1)) + rng.uniform(*way, (count, up - 1))
    return np.maximum(np.sort(has, axis=1)[:, store.majority - 1].astype(np.int64), 1)
