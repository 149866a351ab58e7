"""What the laboratory does to a Raft cluster, as data: conditions that last, and actions at their time.

Times are whole nanoseconds of virtual time. Everything here is a value: a schedule can be
printed, kept, cut shorter and played again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from k8slab.domain.raft import RaftConfig
from k8slab.domain.raft.membership import Change, Transition
from k8slab.domain.raft.progress import NO_LIMIT
from k8slab.errors import InputError
from k8slab.simulation.dice import Dice

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS

# -- conditions ------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkModel:
    """How messages travel: each takes its own time, so they overtake one another.

    delay_ns  : one way, uniform between the two
    tail_ns   : mean of an exponential delay on top, as queues make; 0 for none
    loss      : probability that a message is lost
    duplicate : probability that it arrives twice
    late      : probability that it is held up ten times as long
    """

    delay_ns: tuple[int, int] = (1 * MS, 5 * MS)
    loss: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    tail_ns: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ns[0] <= self.delay_ns[1] or self.tail_ns < 0:
            raise InputError(f"delay_ns={self.delay_ns}, tail_ns={self.tail_ns}: wanted 0 <= low <= high, tail >= 0")
        for name in ("loss", "duplicate", "late"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name}={getattr(self, name)} is no probability")


@dataclass(frozen=True)
class DiskModel:
    """How long a sync takes, and what a crash in the middle leaves.

    sync_ns : uniform between the two; 0 for a disk that takes no time, which a crash can't interrupt
    torn    : probability that a crash leaves a part of what was being written, instead of nothing
    """

    sync_ns: tuple[int, int] = (0, 0)
    torn: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.sync_ns[0] <= self.sync_ns[1] or not 0.0 <= self.torn <= 1.0:
            raise InputError(f"{self}: wanted 0 <= low <= high, and torn from 0 to 1")


@dataclass(frozen=True)
class ClockModel:
    """How fast members' clocks run: each tick takes `tick_ns`, off by up to `drift` of it, the same for life."""

    tick_ns: int = 20 * MS
    drift: float = 0.0

    def __post_init__(self) -> None:
        if self.tick_ns < 1 or not 0.0 <= self.drift < 1.0:
            raise InputError(f"{self}: wanted a tick of 1 ns at least, and drift from 0 to below 1")


# -- actions ---------------------------------------------------------------------

# In the place of a member's name: whoever leads then.
LEADER: Final = "leader"


@dataclass(frozen=True)
class Crash:
    """A member stops at once; what was not synced is lost, or torn. Up again after `down_ns`, if not 0."""

    at_ns: int
    member: str
    down_ns: int = 0


@dataclass(frozen=True)
class Restart:
    """A member starts again from what it has stored."""

    at_ns: int
    member: str


@dataclass(frozen=True)
class Partition:
    """Only members of one group reach one another; replaces earlier partitions. Who is named twice is in the first."""

    at_ns: int
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Isolate:
    """A member reaches nobody and nobody reaches it."""

    at_ns: int
    member: str


@dataclass(frozen=True)
class CutOneWay:
    """Messages from one member to another are lost; the other way they arrive."""

    at_ns: int
    source: str
    target: str


@dataclass(frozen=True)
class Heal:
    """Everybody reaches everybody again."""

    at_ns: int


@dataclass(frozen=True)
class SlowDisk:
    """A member's syncs take `factor` times as long from now on."""

    at_ns: int
    member: str
    factor: int


@dataclass(frozen=True)
class ChangeMembers:
    """Whoever leads then is asked to change the membership."""

    at_ns: int
    changes: tuple[Change, ...]
    transition: Transition = "auto"


@dataclass(frozen=True)
class Transfer:
    """Whoever leads then is asked to hand over to a member."""

    at_ns: int
    member: str


@dataclass(frozen=True)
class Compact:
    """A member takes a snapshot of its state machine and forgets the entries before it."""

    at_ns: int
    member: str


@dataclass(frozen=True)
class Request:
    """A client asks: put key value, get key, or append key value."""

    at_ns: int
    client: int
    kind: str
    key: str
    value: int = 0


Action = (
    Crash | Restart | Partition | Isolate | CutOneWay | Heal | SlowDisk | ChangeMembers | Transfer | Compact | Request
)


@dataclass(frozen=True)
class Schedule:
    """Conditions, and actions in the order of their times; after `faults_until_ns` nothing goes wrong any more."""

    members: tuple[str, ...]
    seed: int = 0
    network: NetworkModel = field(default_factory=NetworkModel)
    disk: DiskModel = field(default_factory=DiskModel)
    clocks: ClockModel = field(default_factory=ClockModel)
    actions: tuple[Action, ...] = ()
    faults_until_ns: int = 4 * SECOND
    spares: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = (*self.members, *self.spares)
        if not self.members:
            raise InputError("a cluster without members does nothing")
        if len(set(names)) != len(names):
            raise InputError(f"a member is listed twice: {', '.join(names)}")


def random_schedule(seed: int, members: int = 0, *, churn: bool = True) -> Schedule:
    """A schedule of everything that can go wrong, a function of its seed; 0 members for a random number of them."""
    dice = Dice(seed, "schedule")
    count = members or dice.pick((1, 3, 3, 3, 4, 5, 5))
    names = tuple(f"n{number}" for number in range(1, count + 1))
    spares = ("n8", "n9") if churn and dice.chance(0.5) else ()
    network = NetworkModel(
        (1 * MS, dice.pick((2, 10, 60)) * MS), dice.pick((0.0, 0.02, 0.2)), dice.pick((0.0, 0.1)), dice.pick((0.0, 0.1))
    )
    disk = DiskModel((0, dice.pick((0, 5, 50)) * MS), torn=0.5)
    clocks = ClockModel(drift=dice.pick((0.0, 0.05, 0.3)))
    until = dice.between(2, 4) * SECOND
    actions = [*_faults(dice, names + spares, until), *_requests(dice, until)]
    if spares:
        actions += _churn(dice, names, spares, until)
    ordered = tuple(sorted(actions, key=lambda action: action.at_ns))
    return Schedule(names, seed, network, disk, clocks, ordered, until, spares)


def _faults(dice: Dice, names: tuple[str, ...], until: int) -> list[Action]:
    """Faults of all kinds, half of them the leader's: what goes wrong there goes wrong for everybody."""
    return [
        _fault(dice, dice.between(0, until), LEADER if dice.chance(0.5) else dice.pick(names), names)
        for _ in range(dice.pick((0, 5, 15, 30)))
    ]


def _fault(dice: Dice, at: int, member: str, names: tuple[str, ...]) -> Action:
    kind = dice.pick(("crash", "crash", "isolate", "isolate", "heal", "heal", "partition", "other"))
    if kind == "crash":
        return Crash(at, member, down_ns=dice.between(1, 1000) * MS)
    if kind == "isolate":
        return Isolate(at, member)
    if kind == "heal":
        return Heal(at)
    if kind == "partition":
        alone = tuple(name for name in names if dice.chance(0.4))
        return Partition(at, (alone, tuple(name for name in names if name not in alone)))
    others: tuple[Action, ...] = (
        CutOneWay(at, dice.pick(names), dice.pick(names)),
        Compact(at, member),
        Compact(at, dice.pick(names)),
        Transfer(at, dice.pick(names)),
        SlowDisk(at, dice.pick(names), dice.pick((1, 5, 20))),
    )
    return dice.pick(others)


def _churn(dice: Dice, members: tuple[str, ...], spares: tuple[str, ...], until: int) -> list[Action]:
    """Members come and go; while they do, the leader may find itself alone with the new ones."""
    actions: list[Action] = []
    for _ in range(dice.between(1, 6)):
        at = dice.between(0, until)
        transition: Transition = dice.pick(("auto", "implicit", "explicit"))
        actions.append(ChangeMembers(at, _changes(dice, members, spares), transition))
        if transition == "explicit":
            actions.append(ChangeMembers(at + dice.between(0, SECOND), ()))
        if dice.chance(0.3):
            soon = min(at + dice.between(0, 200) * MS, until)
            actions.append(Partition(soon, ((LEADER, *spares), members)))
    return actions


def _changes(dice: Dice, members: tuple[str, ...], spares: tuple[str, ...]) -> tuple[Change, ...]:
    """A few changes at random, or many at once: the spares instead of two others."""
    if dice.chance(0.3):
        leaving = {dice.pick(members), dice.pick(members)}
        return (*(Change("voter", name) for name in spares), *(Change("remove", name) for name in sorted(leaving)))
    return tuple(
        Change(dice.pick(("voter", "voter", "learner", "remove")), dice.pick(members + spares))
        for _ in range(dice.pick((1, 1, 2, 3)))
    )


def _requests(dice: Dice, until: int) -> list[Action]:
    return [
        Request(
            dice.between(0, until),
            client=dice.between(1, 4),
            kind=dice.pick(("put", "append", "get", "get")),
            key=dice.pick(("x", "y")),
            value=number,
        )
        for number in range(dice.between(5, 40))
    ]


def random_switches(seed: int) -> RaftConfig:
    """Switches of the core, a function of their seed; all of them safe."""
    dice = Dice(seed, "switches")
    return RaftConfig(
        pre_vote=dice.chance(0.5),
        check_quorum=dice.chance(0.5),
        leader_stickiness=dice.chance(0.7),
        # Without it a voter that was away while others joined may stand in newer terms for ever, unheard by them.
        answer_older_terms=True,
        # Without it a removed leader leads on, until whoever runs it stops it.
        step_down_on_removal=True,
        fast_backtracking=dice.chance(0.7),
        election_entry=dice.chance(0.7),
        max_inflight_messages=dice.pick((1, 2, 256)),
        max_message_bytes=dice.pick((1, 100, NO_LIMIT)),
    )
