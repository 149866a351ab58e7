"""A laboratory for Raft: a cluster under faults in virtual time, watched at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from typing import Final

from k8slab.domain.raft import Message, RaftConfig
from k8slab.domain.raft.errors import LogConflict
from k8slab.simulation.linearizability import check_linearizable
from k8slab.simulation.raft_faults import (
    MS,
    SECOND,
    Action,
    ClockModel,
    Crash,
    DiskModel,
    NetworkModel,
    Request,
    Restart,
    Schedule,
    random_schedule,
    random_switches,
)
from k8slab.simulation.raft_invariants import InvariantBroken
from k8slab.simulation.raft_run import LabRun, Violation, logs_of
from k8slab.simulation.raft_world import World

# Long enough for several elections with the slowest of clocks and the worst of luck.
_CALM_NS: Final = 30 * SECOND
_STEP_NS: Final = 250 * MS
_LAST_CLIENT: Final = 1_000_000


class RaftLab:
    """A Raft cluster to be played with: as many members as asked for, or named ones.

    config   : the core's switches; by default with pre-vote and check_quorum, and a removed leader steps down
    network, disk, clocks : conditions of the schedules that `run` makes up
    sessions : clients' requests are done once although they are repeated

    >>> run = RaftLab(members=3, seed=1).run()
    >>> run.violation is None, bool(run.linearizable)
    (True, True)
    """

    def __init__(
        self,
        members: int | tuple[str, ...] = 3,
        seed: int = 0,
        *,
        config: RaftConfig | None = None,
        network: NetworkModel | None = None,
        disk: DiskModel | None = None,
        clocks: ClockModel | None = None,
        sessions: bool = True,
    ) -> None:
        names = tuple(f"n{number}" for number in range(1, members + 1)) if isinstance(members, int) else members
        self.config = config if config is not None else DEFAULT
        self.sessions = sessions
        self.schedule = Schedule(
            names, seed, network or NetworkModel(), disk or DiskModel(), clocks or ClockModel(), faults_until_ns=0
        )

    def run(self, *actions: Action, until_ns: int = 4 * SECOND) -> LabRun:
        """Play actions under this lab's conditions, then let it be calm: it must elect and commit."""
        ordered = tuple(sorted(actions, key=lambda action: action.at_ns))
        return self.play(replace(self.schedule, actions=ordered, faults_until_ns=until_ns))

    def play(self, schedule: Schedule) -> LabRun:
        """Play a schedule to its end or to the first rule that is broken."""
        return play(schedule, self.config, sessions=self.sessions)

    def search(self, seeds: range, *, churn: bool = True, any_switches: bool = True) -> Iterator[LabRun]:
        """Play the random schedules of many seeds, with any safe switches or with this lab's."""
        for seed in seeds:
            config = random_switches(seed) if any_switches else self.config
            yield play(random_schedule(seed, churn=churn), config, sessions=self.sessions)

    def shrink(self, run: LabRun) -> LabRun:
        """A run with as few actions as one finds that break the same rule."""
        return shrink(run, lambda schedule: play(schedule, run.config, sessions=self.sessions))

    def __repr__(self) -> str:
        return f"<RaftLab of {', '.join(self.schedule.members)}, seed {self.schedule.seed}>"

    def _repr_html_(self) -> str:
        conditions = {
            "members": ", ".join(self.schedule.members),
            "seed": str(self.schedule.seed),
            "network": str(self.schedule.network),
            "disk": str(self.schedule.disk),
            "clocks": str(self.schedule.clocks),
        }
        rows = "".join(
            f"<tr><td style='text-align:left'>{name}</td><td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in conditions.items()
        )
        advice = "<code>.run(actions)</code> plays; <code>.search(seeds)</code> looks for faults."
        return f"<table>{rows}</table><p>{advice}</p>"


DEFAULT: Final = RaftConfig(pre_vote=True, check_quorum=True, step_down_on_removal=True)


def play(schedule: Schedule, config: RaftConfig = DEFAULT, *, sessions: bool = True) -> LabRun:
    """Play a schedule; a run is a function of schedule and configuration."""
    world = World(schedule, config, sessions=sessions)
    violation = None
    try:
        world.run_until(schedule.faults_until_ns)
        violation = _calm_down(world)
    except InvariantBroken as broken:
        violation = Violation(broken.rule, str(broken), world.now)
    except (LogConflict, AssertionError) as refused:
        violation = Violation("refusal", str(refused), world.now)
    history = (*world.history, *world.open_operations())
    if violation is None and not check_linearizable(history):
        violation = Violation("linearizability", "no order of the requests explains their answers", world.now)
    return LabRun(schedule, config, violation, world.record, history, world.now, logs_of(world))


def _calm_down(world: World) -> Violation | None:
    """Let nothing go wrong any more: there must be a leader and a request must be done in time."""
    world.network = NetworkModel((1 * MS, 2 * MS))
    for member in world.members.values():
        member.slow = 1
        world.act(Restart(world.now, member.name))
    world.heal()
    helps, ends = world.now + _CALM_NS // 2, world.now + _CALM_NS
    while world.now < ends:
        # Written again and again: a leader without an entry of its own term can't answer reads.
        world.act(Request(world.now, _LAST_CLIENT, "put", "last", 1))
        world.run_until(world.now + _STEP_NS)
        _stop_removed(world)
        if all(client.current is None for client in world.clients.values()):
            return None
        if world.now >= helps and not world.leader and not world.record.helped:
            _hand_over(world)
    leader = world.leader
    text = f"{leader} leads but commits nothing" if leader else "nobody leads"
    return Violation("liveness", f"{text} after {_CALM_NS // SECOND} s of calm", world.now)


def _hand_over(world: World) -> None:
    """An operator gives members that lag behind the newest snapshot there is.

    A change of membership counts once it is applied, as in etcd. If those who applied it are the ones that it removed,
    who remain may need the votes of the removed, which have longer logs and refuse, though they may not stand
    themselves: nobody can win until those who remain learn what was committed. A snapshot says it, and holds
    nothing that isn't committed.
    """
    world.record.helped = True
    newest = max(world.members.values(), key=lambda member: member.applied)
    for member in world.members.values():
        if member.up and member.applied < newest.applied:
            snapshot = newest.snapshot()
            world.deliver(Message("snapshot", newest.name, member.name, member.raft.term, snapshot=snapshot))


def _stop_removed(world: World) -> None:
    """An operator stops members that were removed, unless the switches keep them from disturbing by themselves.

    One that never learned of its removal begins term after term; ignoring it while a leader is heard, and having it
    ask first, are what the thesis has against that (§4.2.3, §9.6).
    """
    newest = max(world.members.values(), key=lambda member: member.applied)
    switches = newest.config
    if switches.pre_vote and switches.check_quorum and switches.leader_stickiness:
        return
    for member in world.members.values():
        # Who was never a member may be about to become one, and disturbs nobody.
        was_member = member.name in member.membership.members
        if member.up and was_member and member.name not in newest.membership.members:
            world.act(Crash(world.now, member.name))


def shrink(run: LabRun, replay: Callable[[Schedule], LabRun]) -> LabRun:
    """Leave out actions, many at once and then one by one, as long as the same rule is broken."""
    assert run.violation is not None, "a run that broke no rule can't be shrunk"
    rule = run.violation.rule
    chunk = max(1, len(run.schedule.actions) // 2)
    while True:
        start = 0
        while start < len(run.schedule.actions):
            actions = run.schedule.actions
            fewer = replace(run.schedule, actions=actions[:start] + actions[start + chunk :])
            again = replay(fewer)
            if again.violation is not None and again.violation.rule == rule:
                run = again
            else:
                start += chunk
        if chunk == 1:
            return run
        chunk //= 2
