"""The calendar: who is called when. One loop drives all controllers, simulated or live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from typing import Any, Final, Protocol, runtime_checkable

from k8slab.domain.columns import NEVER
from k8slab.domain.ports import ClockPort, ControllerPort
from k8slab.errors import InputError, StateConflict, UnknownName
from k8slab.kernels.course_columns import Rounds

# So often may loops answer one another within one instant; none that settles comes near.
ROUNDS: Final = 1000


class Rank(IntEnum):
    """The order within an instant: first what happens, then what is noticed, then what is done about it.

    Pods end and nodes fail before anybody looks; the scheduler comes last, so that what
    any other loop made pending is placed in the same instant, on what the others left.
    """

    FAULTS = 10
    PODS = 20
    ARRIVALS = 30
    KUBELET = 40
    HEALTH = 50
    NODE_LIFECYCLE = 60
    HEALING = 70
    AUTOSCALING = 80
    WORKLOADS = 90
    SCHEDULING = 100


class Ticks:
    """The instants of a loop with a period: `start_ns`, then every `period_ns`.

    >>> ticks = Ticks(15, start_ns=5)
    >>> ticks.next_ns, ticks.take(5), ticks.next_ns, ticks.take(52), ticks.next_ns
    (5, None, 20, None, 65)
    """

    def __init__(self, period_ns: int, start_ns: int = 0) -> None:
        if period_ns <= 0:
            raise InputError(f"a loop with a period of {period_ns:,} ns; wanted more than 0")
        self.period_ns = period_ns
        self.next_ns = start_ns

    def take(self, now_ns: int) -> None:
        """The tick that was due is done; those that a sleeping machine missed aren't made up for."""
        missed = max(0, now_ns - self.next_ns) // self.period_ns
        self.next_ns += (missed + 1) * self.period_ns


@runtime_checkable
class FarSighted(ControllerPort, Protocol):
    """A controller that can go ahead alone through those of its instants that concern nobody else."""

    def look_ahead(self, now_ns: int, before_ns: int) -> int:
        """Live through its instants before this one, up to the first at which it would act or tell; that instant, or
        `before_ns`. Only while nothing that it looks at changes until then but by time."""

    def go_back(self, to_ns: int) -> None:
        """Something changes at `to_ns` after all: be as if the last look ahead had ended there."""


@runtime_checkable
class Patient(ControllerPort, Protocol):
    """A controller that looks around in rounds, most of them for nothing, and can tell what it would take."""

    def rounds(self, now_ns: int) -> Rounds | None:
        """Its next rounds, if they are for nothing while only what they say doesn't happen; None if that can't be told.

        Rounds.before_ns : what else it is due for
        """

    def skip_rounds(self, before_ns: int) -> None:
        """Those before this instant were for nothing."""


class LeaperPort(Protocol):
    """Lives through many instants of some controllers at once, with the same outcome."""

    @property
    def covers(self) -> Collection[ControllerPort]:
        """The controllers that it stands for."""

    def leap(
        self,
        before_ns: int,
        beside: Collection[FarSighted],
        *,
        some_may_wait: bool,
        nodes_may_join: bool,
        rounds: Rounds | None,
    ) -> bool:
        """Live through all that they do before this instant, and these look ahead beside them.

        some_may_wait  : whether an instant in which a pod finds no node may be one of them
        nodes_may_join : whether one in which a node joins may be
        rounds         : of somebody who looks around, up to the first of them that isn't for nothing; None for nobody

        False, and nobody went ahead, where that must go step by step.
        """


class Calendar:
    """Calls each controller when it is due, by rank and then by name, until none is due at this instant.

    clock       : a VirtualClock jumps from one instant to the next, a WallClock sleeps
    controllers : no two of one name
    lock        : held while an instant's controllers run; the state's, where others use the state as well

    A controller that has `heeds_pods = False` promises not to be woken by pods that come,
    are bound and succeed; if all do, a leaper may live through long stretches of that. One that
    has `heeds_waiting = True` beside is woken by pods that find no node; where all have `heeds_nodes = False`,
    nobody is woken by nodes that join.
    """

    leaper: LeaperPort | None = None

    def __init__(
        self,
        clock: ClockPort,
        controllers: Iterable[ControllerPort] = (),
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._clock = clock
        self._lock = lock if lock is not None else nullcontext()
        self._controllers: list[ControllerPort] = []
        self._far_sighted: list[FarSighted] = []
        # The first of those that have rounds: whether one has takes long to ask.
        self._patient: Patient | None = None
        for controller in controllers:
            self.add(controller)

    @property
    def controllers(self) -> tuple[ControllerPort, ...]:
        """In the order in which they are called."""
        return tuple(self._controllers)

    def add(self, controller: ControllerPort) -> None:
        """One more controller. Raises StateConflict if one has its name."""
        if any(other.name == controller.name for other in self._controllers):
            raise StateConflict(f"two controllers are named {controller.name!r}")
        self._controllers.append(controller)
        if isinstance(controller, FarSighted):
            self._far_sighted.append(controller)
        self._controllers.sort(key=lambda one: (one.rank, one.name))
        self._look_for_patient()

    def remove(self, name: str) -> None:
        """Call this controller no more. UnknownName if there is none of this name."""
        names = [one.name for one in self._controllers]
        if name not in names:
            raise UnknownName("controller", name, names)
        gone = self._controllers.pop(names.index(name))
        self._far_sighted = [one for one in self._far_sighted if one is not gone]
        self._look_for_patient()

    def wrap(self, make: Callable[[ControllerPort], ControllerPort]) -> None:
        """Let each controller be called through what `make` makes of it: of the same name and rank."""
        self._controllers = [make(one) for one in self._controllers]
        self._far_sighted = [one for one in self._controllers if isinstance(one, FarSighted)]
        self._look_for_patient()

    def _look_for_patient(self) -> None:
        self._patient = next((one for one in self._controllers if isinstance(one, Patient)), None)

    def next_ns(self) -> int:
        """When a controller is due next, NEVER if none is."""
        now_ns = self._clock.now()
        due = [at_ns for one in self._controllers if (at_ns := one.next_ns(now_ns)) is not None]
        return max(min(due), now_ns) if due else NEVER

    def step(self) -> bool:
        """Run all that are due now, again until none is; False if nobody was."""
        now_ns = self._clock.now()
        with self._lock:
            for round_number in range(ROUNDS):
                ran = [one for one in self._controllers if self._run(one, now_ns)]
                if not ran:
                    return round_number > 0
        raise StateConflict(
            f"controllers wake one another without end at {now_ns:,} ns: {', '.join(one.name for one in ran)}"
        )

    def run_until(self, until_ns: int, each: Callable[[int], None] | None = None) -> None:
        """Live through all instants up to and with `until_ns`, and let it be that late.

        each : called after every instant with its time

        Raises InputError if that is past.
        """
        now_ns = self._clock.now()
        if until_ns < now_ns:
            raise InputError(f"can't run until {until_ns:,} ns: it is {now_ns:,} ns, and time doesn't go back")
        while (at_ns := self.next_ns()) <= until_ns:
            if not self._leaps(at_ns, until_ns):
                self._clock.sleep_until(at_ns)
                self.step()
            if each is not None:
                each(self._clock.now())
        self._clock.sleep_until(until_ns)

    def _leaps(self, at_ns: int, until_ns: int) -> bool:
        """Whether the leaper lived through what comes before anybody else is due."""
        leaper = self.leaper
        if leaper is None:
            return False
        now_ns, before_ns = self._clock.now(), until_ns + 1
        rounds: Rounds | None = None
        for one in self._controllers:
            if one not in leaper.covers:
                if getattr(one, "heeds_pods", True):
                    return False
                if one in self._far_sighted:
                    continue
                if one is self._patient and (rounds := self._patient.rounds(now_ns)) is not None:
                    before_ns = min(before_ns, rounds.before_ns)
                    continue
                due_ns = one.next_ns(now_ns)
                before_ns = before_ns if due_ns is None else min(before_ns, due_ns)
        if before_ns <= at_ns:
            return False
        some_may_wait = not any(getattr(one, "heeds_waiting", False) for one in self._controllers)
        nodes_may_join = not any(
            getattr(one, "heeds_nodes", True) for one in self._controllers if one not in leaper.covers
        )
        with self._lock:
            leapt = leaper.leap(
                before_ns, self._far_sighted, some_may_wait=some_may_wait, nodes_may_join=nodes_may_join, rounds=rounds
            )
        if self._patient is not None and rounds is not None and leapt:
            self._patient.skip_rounds(self._clock.now())
        return leapt

    @staticmethod
    def _run(controller: ControllerPort, now_ns: int) -> bool:
        at_ns = controller.next_ns(now_ns)
        if at_ns is None or at_ns > now_ns:
            return False
        controller.run_once(now_ns)
        return True
