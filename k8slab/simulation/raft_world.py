"""A Raft cluster in virtual time: members, disks, a network, clients, and one calendar of events.

Every event is handled to its end before the next one, in the order of (time, arrival), so a
run is a function of its schedule and configuration.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from k8slab.domain.raft import HardState, Membership, MembershipChange, Message, Raft, RaftConfig, Ready, Snapshot
from k8slab.domain.raft.store import MemoryLogStore
from k8slab.errors import InputError
from k8slab.simulation.dice import Dice
from k8slab.simulation.linearizability import Operation
from k8slab.simulation.raft_faults import (
    LEADER,
    MS,
    Action,
    ChangeMembers,
    Compact,
    Crash,
    CutOneWay,
    Heal,
    Isolate,
    Partition,
    Request,
    Restart,
    Schedule,
    SlowDisk,
    Transfer,
)
from k8slab.simulation.raft_invariants import Invariants
from k8slab.simulation.raft_machine import Command, KeyValueMachine, Values

_RETRY_NS: Final = 400 * MS


class RoleChange(NamedTuple):
    """A member has another role, or is in another term, from now on."""

    at_ns: int
    member: str
    role: str
    term: int


class Delivery(NamedTuple):
    """A message's way; arrived_ns is -1 if it was lost."""

    sent_ns: int
    arrived_ns: int
    source: str
    target: str
    kind: str
    term: int


class Commit(NamedTuple):
    """A member learned that an entry is committed."""

    at_ns: int
    member: str
    index: int  # type: ignore[assignment]
    term: int


@dataclass
class Record:
    """What happened, in order.

    helped : whether an operator had to hand snapshots over for the cluster to elect anybody
    """

    roles: list[RoleChange]
    messages: list[Delivery]
    commits: list[Commit]
    events: int = 0
    helped: bool = False


class LabMember:
    """A member with its disk and state machine; up or down."""

    def __init__(self, name: str, first: Membership, config: RaftConfig, sessions: bool) -> None:
        self.name = name
        self.config = config
        self.store = MemoryLogStore()
        # As if every first member had installed the same empty snapshot: they agree on who they are.
        if name in first.members:
            self.store = MemoryLogStore(Snapshot(1, 1, first, KeyValueMachine().image()))
            self.store.hard_state = HardState(1, "", 1)
        self.sessions = sessions
        self.life = 0
        self.slow = 1
        self.up = False
        self.start()

    def start(self) -> None:
        """Come up with what is stored, and nothing else."""
        hard_state, log = self.store.load()
        kept = self.store.snapshot
        self.raft = Raft(
            self.name, kept.membership if kept is not None else (), config=self.config, log=log, hard_state=hard_state
        )
        self.machine = KeyValueMachine(sessions=self.sessions)
        self.membership = self.raft.tracker.membership
        if kept is not None and kept.data is not None:
            self.machine.restore(kept.data)
        self.applied = log.applied
        self.writing: Ready | None = None
        self.waiting: set[tuple[int, int]] = set()
        self.reads: deque[tuple[int, tuple[int, int]]] = deque()
        self.life += 1
        self.up = True

    def install(self, snapshot: Snapshot) -> None:
        self.machine.restore(snapshot.data)
        self.membership = snapshot.membership
        self.applied = snapshot.index

    def snapshot(self) -> Snapshot:
        term = self.raft.log.term(self.applied)
        assert term is not None, f"{self.name} applied {self.applied}, which is not in its log"
        return Snapshot(self.applied, term, self.membership, self.machine.image())


class Client:
    """Asks one request at a time, and again until it is answered; first whoever answered it last."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.serial = 0
        self.todo: deque[Request] = deque()
        self.current: Command | None = None
        self.invoked_ns = 0
        self.server = ""


class World:
    """The cluster and everything around it."""

    def __init__(self, schedule: Schedule, config: RaftConfig, *, sessions: bool = True, watch: bool = True) -> None:
        self.schedule = schedule
        self.now = 0
        self.record = Record([], [], [])
        self.history: list[Operation] = []
        self.invariants = Invariants() if watch else None
        self.network = schedule.network
        self._chances = {what: Dice(schedule.seed, what) for what in ("network", "disk", "clients", "clocks")}
        self._calendar: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._arrivals = 0
        self._blocked: set[tuple[str, str]] = set()
        first = Membership.of(schedule.members)
        seeded = replace(config, seed=config.seed + schedule.seed)
        self.members = {
            name: LabMember(name, first, seeded, sessions) for name in (*schedule.members, *schedule.spares)
        }
        self._roles = dict.fromkeys(self.members, ("", -1))
        self.clients: dict[int, Client] = {}
        for member in self.members.values():
            self._watch_start(member)
            self._start_clock(member)
        for action in schedule.actions:
            self._at(action.at_ns, self.act, action)

    # -- the calendar ----------------------------------------------------------

    def run_until(self, at_ns: int) -> None:
        """Handle every event up to a time."""
        calendar = self._calendar
        while calendar and calendar[0][0] <= at_ns:
            self.now, _, handle, arguments = heappop(calendar)
            self.record.events += 1
            handle(*arguments)
        self.now = at_ns

    def _at(self, at_ns: int, handle: Callable[..., None], *arguments: Any) -> None:
        self._arrivals += 1
        heappush(self._calendar, (at_ns, self._arrivals, handle, arguments))

    def _start_clock(self, member: LabMember) -> None:
        clocks, dice = self.schedule.clocks, self._chances["clocks"]
        rate = 1.0 + clocks.drift * (2.0 * dice.uniform() - 1.0)
        period = max(1, round(clocks.tick_ns * rate))
        self._at(self.now + dice.between(0, period), self._tick, member, member.life, period)

    def _tick(self, member: LabMember, life: int, period: int) -> None:
        if member.up and member.life == life:
            self._at(self.now + period, self._tick, member, life, period)
            member.raft.tick()
            self._work(member)

    # -- a member's work: store, then send, then apply ---------------------------

    def _work(self, member: LabMember) -> None:
        """Let a member do what it has to, until it is done or waits for its disk."""
        raft = member.raft
        while member.up and member.writing is None and raft.has_ready:
            ready = raft.ready()
            if self.invariants is not None:
                self.invariants.stores(raft, ready.entries)
            for message in ready.messages:
                self._send(member, message)
            wait = self._sync_time(member) if ready.must_sync else 0
            if wait:
                member.writing = ready
                self._at(self.now + wait, self._synced, member, member.life)
            else:
                self._finish(member, ready)
        self._observe(member)

    def _sync_time(self, member: LabMember) -> int:
        low, high = self.schedule.disk.sync_ns
        return self._chances["disk"].between(low, high) * member.slow if high else 0

    def _synced(self, member: LabMember, life: int) -> None:
        if member.up and member.life == life and member.writing is not None:
            ready, member.writing = member.writing, None
            self._finish(member, ready)
            self._work(member)

    def _finish(self, member: LabMember, ready: Ready) -> None:
        member.store.save(ready)
        for message in ready.replies:
            self._send(member, message)
        if ready.snapshot is not None:
            member.install(ready.snapshot)
        for entry in ready.committed:
            self._apply(member, entry)
        member.raft.advance(ready)
        if any(isinstance(entry.data, MembershipChange) for entry in ready.committed):
            # An older snapshot doesn't know the new members, who would have no part in it and refuse it.
            self._keep_snapshot(member)
        member.reads.extend((read.index, read.context) for read in ready.reads)
        self._answer_reads(member)

    def _apply(self, member: LabMember, entry: Any) -> None:
        if self.invariants is not None:
            self.invariants.applies(member.name, entry, member.applied + 1)
        member.applied = entry.index
        self.record.commits.append(Commit(self.now, member.name, entry.index, entry.term))
        if isinstance(entry.data, MembershipChange):
            member.membership = member.raft.apply_change(entry.data)
        elif isinstance(entry.data, Command):
            answer = member.machine.apply(entry.data)
            asked = (entry.data.client, entry.data.serial)
            if asked in member.waiting:
                member.waiting.remove(asked)
                self._answer(member, entry.data.client, entry.data.serial, answer)

    def _observe(self, member: LabMember) -> None:
        if member.up and self.invariants is not None:
            self.invariants.after_event(member.raft)
        role, term = member.raft.role if member.up else "down", member.raft.term
        if (role, term) != self._roles[member.name]:
            self._roles[member.name] = role, term
            self.record.roles.append(RoleChange(self.now, member.name, role, term))

    def _watch_start(self, member: LabMember) -> None:
        if self.invariants is not None:
            self.invariants.started(member.raft)
        self._observe(member)

    # -- the network -------------------------------------------------------------

    def _send(self, member: LabMember, message: Message) -> None:
        if self.invariants is not None:
            self.invariants.sends(message, member.store)
        network, dice = self.network, self._chances["network"]
        copies = 2 if dice.chance(network.duplicate) else 1
        lost = message.target not in self.members or (message.source, message.target) in self._blocked
        for _ in range(copies):
            if lost or dice.chance(network.loss):
                self._lose(member, message)
                continue
            delay = dice.between(*network.delay_ns) * (10 if dice.chance(network.late) else 1)
            if network.tail_ns:
                delay += dice.exponential(network.tail_ns)
            self.record.messages.append(
                Delivery(self.now, self.now + delay, message.source, message.target, message.kind, message.term)
            )
            self._at(self.now + delay, self.deliver, message)

    def _lose(self, member: LabMember, message: Message) -> None:
        self.record.messages.append(Delivery(self.now, -1, message.source, message.target, message.kind, message.term))
        if message.kind == "snapshot":
            self._tell_of_snapshot(member, message.target, failed=True)

    def _tell_of_snapshot(self, sender: LabMember, target: str, *, failed: bool) -> None:
        """A snapshot goes over a connection of its own, whose end the sender notices."""
        self._at(self.now + _RETRY_NS, self._snapshot_over, sender, sender.life, target, failed)

    def _snapshot_over(self, sender: LabMember, life: int, target: str, failed: bool) -> None:
        if sender.up and sender.life == life:
            sender.raft.report_snapshot(target, failed=failed)
            self._work(sender)

    def deliver(self, message: Message) -> None:
        """Let a message arrive now."""
        member = self.members[message.target]
        if message.kind == "snapshot":
            self._tell_of_snapshot(self.members[message.source], message.target, failed=not member.up)
        if member.up:
            member.raft.step(message)
            self._work(member)

    # -- actions -----------------------------------------------------------------

    def act(self, action: Action) -> None:
        """Do what an action says; what makes no sense now, such as to crash a member that is down, does nothing."""
        if isinstance(action, Crash):
            self._crash(action)
        elif isinstance(action, Isolate):
            self._isolate(self._named(action.member))
        elif isinstance(action, Restart):
            self.restart(action.member)
        elif isinstance(action, Partition):
            self._partition(action.groups)
        elif isinstance(action, CutOneWay):
            self._blocked.add((action.source, action.target))
        elif isinstance(action, Heal):
            self.heal()
        elif isinstance(action, SlowDisk):
            self.members[action.member].slow = action.factor
        elif isinstance(action, Request):
            self._request(action)
        else:
            self._ask_a_member(action)

    def _named(self, name: str) -> str:
        """A member's name; there may be no leader to be meant."""
        return self.leader if name == LEADER else name

    def _crash(self, action: Crash) -> None:
        member = self.members.get(self._named(action.member))
        if member is None or not member.up:
            return
        member.up = False
        if action.down_ns:
            self._at(self.now + action.down_ns, self.restart, member.name)
        if member.writing is not None and self._chances["disk"].chance(self.schedule.disk.torn):
            self._tear(member, member.writing)
        self._observe(member)

    def _tear(self, member: LabMember, ready: Ready) -> None:
        """A part of what was being written is on the disk: its beginning, and no commit index beyond it."""
        count = 0 if ready.snapshot is not None else self._chances["disk"].between(0, len(ready.entries))
        entries = ready.entries[:count]
        state = ready.hard_state
        if state is not None:
            last = entries[-1].index if entries else min(member.store.hard_state.commit, state.commit)
            state = state._replace(commit=min(state.commit, last))
        member.store.save(ready._replace(hard_state=state, snapshot=None, entries=entries))

    def restart(self, name: str) -> None:
        """Start a member that is down."""
        member = self.members[name]
        if not member.up:
            member.start()
            self._watch_start(member)
            self._start_clock(member)
            self._work(member)

    def _isolate(self, name: str) -> None:
        self._blocked |= {pair for other in self.members for pair in ((name, other), (other, name))}

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self._blocked.clear()

    def _partition(self, groups: tuple[tuple[str, ...], ...]) -> None:
        group_of: dict[str, int] = {}
        for number, group in enumerate(groups):
            for name in group:
                group_of.setdefault(self._named(name), number)
        self._blocked = {
            (one, other) for one in self.members for other in self.members if group_of.get(one) != group_of.get(other)
        }

    def _ask_a_member(self, action: ChangeMembers | Transfer | Compact) -> None:
        name = self._named(action.member) if isinstance(action, Compact) else self.leader
        member = self.members.get(name)
        if member is None or not member.up:
            return
        if isinstance(action, ChangeMembers):
            self._change(member, action)
        elif isinstance(action, Transfer):
            member.raft.transfer_leadership(action.member)
        elif member.applied > member.raft.log.base_index and member.writing is None:
            self._compact(member)
        self._work(member)

    def _change(self, member: LabMember, action: ChangeMembers) -> None:
        """Ask for a change that can be made; an operator checks that first, and so does the core.

        No leader is asked to leave a cluster of two: a change counts from when it is applied, and if
        the other one doesn't learn that it is, it needs the vote of the one that left (thesis §4.2.2).
        """
        try:
            after, _ = member.membership.after(MembershipChange(action.changes, action.transition))
        except InputError:
            return
        if member.name not in after.voters and len(member.membership.voters) <= 2:
            return
        member.raft.propose_change(action.changes, action.transition)

    def _keep_snapshot(self, member: LabMember) -> int:
        snapshot = member.snapshot()
        member.raft.offer_snapshot(snapshot)
        member.store.keep_snapshot(snapshot)
        return snapshot.index

    def _compact(self, member: LabMember) -> None:
        index = self._keep_snapshot(member)
        member.raft.compact(index)
        member.store.compact(index)

    @property
    def leader(self) -> str:
        """The leader with the highest term, "" for none."""
        leaders = [(m.raft.term, m.name) for m in self.members.values() if m.up and m.raft.role == "leader"]
        return max(leaders)[1] if leaders else ""

    # -- clients -----------------------------------------------------------------

    def _request(self, request: Request) -> None:
        client = self.clients.setdefault(request.client, Client(request.client))
        client.todo.append(request)
        if client.current is None:
            self._next_request(client)

    def _next_request(self, client: Client) -> None:
        if not client.todo:
            client.current = None
            return
        request = client.todo.popleft()
        client.serial += 1
        client.current = Command(client.number, client.serial, request.kind, request.key, request.value)
        client.invoked_ns = self.now
        self._ask(client, client.serial)

    def _ask(self, client: Client, serial: int) -> None:
        """Ask the leader one believes in, or anybody; ask again if there is no answer in time."""
        command = client.current
        if command is None or command.serial != serial:
            return
        self._at(self.now + _RETRY_NS, self._ask, client, serial)
        dice = self._chances["clients"]
        if not client.server:
            client.server = self.leader if dice.chance(0.7) else dice.pick(list(self.members))
        member = self.members.get(client.server)
        client.server = ""
        if member is None or not member.up:
            return
        key = (command.client, command.serial)
        if command.kind == "get":
            member.raft.read(key)
        elif member.raft.propose(command):
            member.waiting.add(key)
        self._work(member)

    def _answer_reads(self, member: LabMember) -> None:
        waiting, member.reads = member.reads, deque()
        for index, (number, serial) in waiting:
            if index > member.applied:
                member.reads.append((index, (number, serial)))
                continue
            command = self.clients[number].current
            if command is not None and command.serial == serial:
                self._answer(member, number, serial, member.machine.read(command.key))

    def _answer(self, member: LabMember, number: int, serial: int, answer: Values) -> None:
        client = self.clients[number]
        command = client.current
        if command is None or command.serial != serial:
            return
        self.history.append(_operation(command, client.invoked_ns, self.now, answer))
        client.server = member.name
        # The next request comes as an event of its own, not from within this member's work.
        client.current = None
        self._at(self.now + 1, self._after_answer, client)

    def _after_answer(self, client: Client) -> None:
        if client.current is None:
            self._next_request(client)

    def open_operations(self) -> list[Operation]:
        """Requests that were never answered; they may have been done or not."""
        return [
            _operation(client.current, client.invoked_ns, None, None)
            for client in self.clients.values()
            if client.current is not None
        ]


def _operation(command: Command, invoked: int, returned: int | None, answer: Values | None) -> Operation:
    return Operation(command.client, command.kind, command.key, command.value, answer, invoked, returned)
