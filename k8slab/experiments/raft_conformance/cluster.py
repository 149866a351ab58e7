"""Members with a store, a state machine and a queue of work each: script.json and schedule.json."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from k8slab.domain.raft import Entry, Membership, MembershipChange, Message, Raft, RaftConfig, Ready, Snapshot
from k8slab.domain.raft.store import MemoryLogStore
from k8slab.experiments.raft_conformance.codec import (
    CORE_FIELDS,
    Json,
    OldChange,
    change_in,
    config_in,
    data_in,
    data_out,
    membership_out,
    message_out,
    name,
    number,
    payload_bytes,
    progress_map_out,
    state_out,
)
from k8slab.experiments.raft_conformance.outcome import Case, Outcome, changed, differences

DROPPED: Final = "raft proposal dropped"
# The proposal that ends a schedule was recorded without asking whether it was refused.
_CLOSING: Final = "final"


class Work(NamedTuple):
    """A ready() whose storing or applying is done; said to the member as a message to itself."""

    target: str
    ready: Ready
    stored: bool


class App:
    """A state machine that keeps what it is given."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.index = self.term = 0
        self.membership = Membership()
        self.payloads: tuple[Any, ...] = ()
        if snapshot is not None:
            self.install(snapshot)

    def install(self, snapshot: Snapshot) -> None:
        self.index, self.term, self.membership = snapshot.index, snapshot.term, snapshot.membership
        self.payloads = snapshot.data or ()

    def apply(self, entry: Entry, raft: Raft) -> None:
        if isinstance(entry.data, MembershipChange):
            self.membership = raft.apply_change(entry.data)
        elif entry.data is not None:
            self.payloads += (entry.data,)
        self.index, self.term = entry.index, entry.term

    def snapshot(self) -> Snapshot:
        return Snapshot(self.index, self.term, self.membership, self.payloads)


class Node:
    """A member, its store and its state machine.

    installs : its state machine takes over snapshots from the leader
    """

    def __init__(self, member: int, config: RaftConfig, store: MemoryLogStore, *, installs: bool = True) -> None:
        self.member = member
        self.installs = installs
        self.config = config
        self.store = store
        self.up = False
        self.to_store: deque[Ready] = deque()
        self.to_apply: deque[Ready] = deque()
        self.start()

    def start(self) -> None:
        """Come up with what is stored and nothing else."""
        hard_state, log = self.store.load(
            max_applying_bytes=self.config.max_applying_bytes, payload_bytes=self.config.payload_bytes
        )
        self.app = App(self.store.snapshot)
        self.raft = Raft(name(self.member), self.app.membership, config=self.config, log=log, hard_state=hard_state)
        self.reads: Json = {}
        self.up = True
        self._known_roles = self._roles
        self._show()

    @property
    def _roles(self) -> tuple[str, str]:
        return self.raft.role, self.raft.leader

    @property
    def has_output(self) -> bool:
        """Whether there is anything to do or to tell: a change of role or leader is to be told too."""
        return self.raft.has_ready or self._roles != self._known_roles

    def take_ready(self) -> Ready:
        self._known_roles = self._roles
        ready = self.raft.ready()
        for read in ready.reads:
            self.reads[str(read.context)] = read.index
        return ready

    def keep(self, ready: Ready) -> None:
        self.store.save(ready)
        if ready.snapshot is not None and self.installs:
            self.app.install(ready.snapshot)
            self._show()

    def apply(self, ready: Ready) -> None:
        for entry in ready.committed:
            self.app.apply(entry, self.raft)
            self._show()

    def _show(self) -> None:
        """A follower that lags is sent the state machine as it is now, not as it was last stored."""
        if self.app.index:
            self.raft.log.snapshot = self.app.snapshot()


# -- script.json -----------------------------------------------------------------


class Script:
    """The reference's interactive environment: every ready and delivery is asked for."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.queue: list[Message | Work] = []

    def do(self, step: Json) -> str | None:
        """Do one step; the error's words, if it was refused."""
        refused: str | None = _SCRIPT[step["op"]](self, step)
        return refused

    @property
    def quiet(self) -> bool:
        return not self.queue and not any(
            node.has_output or node.to_store or node.to_apply for node in self.nodes.values()
        )

    def add_nodes(self, step: Json) -> None:
        config = config_in(
            {"election_tick": 3, "max_inflight_msgs": 2**31 - 1, **step},
            pre_vote=step.get("pre_vote", False),
            check_quorum=step.get("check_quorum", False),
        )
        for _ in range(step["count"]):
            member = len(self.nodes) + 1
            # State machines of that environment keep their history and install no snapshot.
            self.nodes[member] = Node(member, config, MemoryLogStore(_boot(step)), installs=False)

    def process_ready(self, member: int) -> None:
        node = self.nodes[member]
        ready = node.take_ready()
        self.queue += ready.messages
        if not node.config.async_storage:
            node.keep(ready)
            node.apply(ready)
            self.queue += ready.replies
            node.raft.advance(ready)
            return
        if ready.hard_state is not None or ready.entries or ready.snapshot or ready.replies or ready.own:
            node.to_store.append(ready)
        if ready.committed:
            node.to_apply.append(ready)

    def store_next(self, member: int) -> None:
        node = self.nodes[member]
        ready = node.to_store.popleft()
        node.keep(ready)
        self.queue += [*ready.replies, Work(name(member), ready, True)]

    def apply_next(self, member: int) -> None:
        node = self.nodes[member]
        ready = node.to_apply.popleft()
        node.apply(ready)
        self.queue.append(Work(name(member), ready, False))

    def deliver(self, member: int, *, drop: bool = False, kind: str | None = None) -> bool:
        """Deliver or drop what waits for a member now; whether there was anything."""
        target = name(member)
        taken = [one for one in self.queue if one.target == target and kind in (None, getattr(one, "kind", None))]
        self.queue = [one for one in self.queue if not any(one is other for other in taken)]
        for one in taken if not drop else ():
            self._hand_over(self.nodes[member], one)
        return bool(taken)

    def _hand_over(self, node: Node, one: Message | Work) -> None:
        if isinstance(one, Message):
            node.raft.step(one)
        elif one.stored:
            node.raft.stored(one.ready)
        else:
            node.raft.applied(one.ready)

    def stabilize(self, members: Iterable[int]) -> None:
        busy = True
        while busy:
            busy = False
            for member in members:
                if self.nodes[member].has_output:
                    busy = True
                    self.process_ready(member)
            for member in members:
                busy |= self.deliver(member)
            for member in members:
                busy |= self._drain(self.nodes[member].to_store, self.store_next, member)
            for member in members:
                busy |= self._drain(self.nodes[member].to_apply, self.apply_next, member)

    def _drain(self, work: deque[Ready], do: Callable[[int], None], member: int) -> bool:
        had = bool(work)
        while work:
            do(member)
        return had

    def send_snapshot(self, step: Json) -> None:
        node = self.nodes[step["from"]]
        self.queue.append(
            Message(
                "snapshot",
                name(step["from"]),
                name(step["to"]),
                node.raft.term,
                snapshot=node.app.snapshot(),
            )
        )

    def compact(self, step: Json) -> None:
        node = self.nodes[step["node"]]
        snapshot = node.app.snapshot()
        node.raft.offer_snapshot(snapshot)
        node.raft.compact(step["index"])
        node.store.compact(step["index"])

    def observe(self) -> Json:
        return {str(member): self._observed(node) for member, node in self.nodes.items()}

    def _observed(self, node: Node) -> Json:
        state = state_out(node.raft)
        store = node.store
        return {
            **{field: state[field] for field in (*CORE_FIELDS, "applied")},
            "disk": {
                "term": store.hard_state.term,
                "vote": number(store.hard_state.vote),
                "commit": store.hard_state.commit,
                "first_index": store.base_index + 1,
                "last_index": store.last_index,
            },
            "app": {
                "index": node.app.index,
                "data": "".join(map(str, node.app.payloads)),
                "conf": membership_out(node.app.membership),
            },
        }

    def strict(self) -> Json:
        """What only an equal implementation shows alike: progress, messages under way, who has output."""
        leaders = {str(m): node for m, node in self.nodes.items() if node.raft.role == "leader"}
        return {
            "progress": {member: progress_map_out(node.raft) for member, node in leaders.items()},
            "in_flight": [message_out(one) for one in self.queue if isinstance(one, Message)],
            "has_ready": [member for member, node in self.nodes.items() if node.has_output],
        }


def _boot(step: Json) -> Snapshot | None:
    """The snapshot that nodes start from, as if the cluster had lived before."""
    if "boot_index" not in step:
        return None
    membership = Membership.of(map(name, step.get("voters", [])), learners=map(name, step.get("learners", [])))
    return Snapshot(step["boot_index"], 1, membership)


def _propose(script: Script, step: Json) -> str | None:
    return None if script.nodes[step["node"]].raft.propose(data_in(step["data"])) else DROPPED


def _propose_change(script: Script, step: Json) -> str | None:
    change = change_in(step, OldChange if step.get("v1") else MembershipChange)
    return None if script.nodes[step["node"]].raft.propose(change) else DROPPED


def _tick(script: Script, step: Json) -> None:
    node = script.nodes[step["node"]]
    for _ in range(node.config.election_ticks if step["op"] == "tick_election" else node.config.heartbeat_ticks):
        node.raft.tick()


def _deliver(script: Script, step: Json) -> None:
    for member in step["to"]:
        script.deliver(member, kind=step.get("type"))
    for member in step["drop_to"]:
        script.deliver(member, drop=True, kind=step.get("type"))


def _for_nodes(do: Callable[[Script, int], None]) -> Callable[[Script, Json], None]:
    def for_each(script: Script, step: Json) -> None:
        for member in step.get("nodes") or [step["node"]]:
            do(script, member)

    return for_each


def _set_timeout(script: Script, step: Json) -> None:
    script.nodes[step["node"]].raft.election_timeout = step["ticks"]


def _transfer(script: Script, step: Json) -> None:
    script.nodes[step["from"]].raft.transfer_leadership(name(step["to"]))


_SCRIPT: Final[dict[str, Callable[[Script, Json], Any]]] = {
    "add_nodes": Script.add_nodes,
    "campaign": lambda script, step: script.nodes[step["node"]].raft.campaign(),
    "compact": Script.compact,
    "deliver": _deliver,
    "forget_leader": lambda script, step: script.nodes[step["node"]].raft.forget_leader(),
    "observe": lambda script, step: None,
    "process_append_thread": _for_nodes(Script.store_next),
    "process_apply_thread": _for_nodes(Script.apply_next),
    "process_ready": _for_nodes(Script.process_ready),
    "propose": _propose,
    "propose_conf_change": _propose_change,
    "report_unreachable": lambda script, step: script.nodes[step["node"]].raft.report_unreachable(name(step["peer"])),
    "send_snapshot": Script.send_snapshot,
    "set_election_timeout": _set_timeout,
    "stabilize": lambda script, step: script.stabilize(step["nodes"] or list(script.nodes)),
    "tick_election": _tick,
    "tick_heartbeat": _tick,
    "transfer_leadership": _transfer,
}


def judge_script(case: Case) -> Outcome:
    """Judged where the cluster is quiet; elsewhere, and for messages and progress, differences are only told."""
    script = Script()
    before: Json = {}
    known_progress: Json = {}
    actual: list[Json] = []
    core: list[str] = []
    beyond: list[str] = []
    for position, step in enumerate(case["steps"]):
        where = f"steps[{position}] {step['op']}"
        error = script.do(step)
        now = script.observe()
        strict = script.strict()
        # Progress is listed where it changed.
        progress = strict["progress"]
        strict["progress"] = changed(known_progress, progress)
        strict["progress"].update({member: {} for member in known_progress if member not in progress})
        known_progress = progress
        seen: Json = {"expect": {"nodes": _changed_nodes(before, now), "quiet": script.quiet}, "strict": strict}
        if error:
            seen["error"] = error
        before = now
        actual.append(seen)
        strictly = core if step["expect"]["quiet"] else beyond
        strictly += differences(f"{where}.expect", step["expect"], seen["expect"])
        core += differences(f"{where}.error", step.get("error"), error)
        beyond += differences(f"{where}.strict", step["strict"], strict)
    return Outcome(not core, "B", actual, core + [f"beyond the core: {one}" for one in beyond])


def _changed_nodes(before: Json, now: Json) -> Json:
    changes = {member: changed(before.get(member, {}), state) for member, state in now.items()}
    return {member: change for member, change in changes.items() if change}


# -- schedule.json ---------------------------------------------------------------


@dataclass
class Lost:
    """A snapshot that did not arrive: its sender hears of it later."""

    sender: int
    receiver: str


class Schedule:
    """Nodes with synchronous stores on one queue, settled after every step."""

    def __init__(self, case: Case) -> None:
        self.queue: deque[Message] = deque()
        self.lost: list[Lost] = []
        self.blocked: set[tuple[int, int]] = set()
        config = replace(
            config_in(case["config"], pre_vote=case["config"]["pre_vote"], check_quorum=case["config"]["check_quorum"]),
            step_down_on_removal=True,
            payload_bytes=payload_bytes,
        )
        self.nodes = {m: self._node(case, config, m) for m in range(1, case["nodes"] + 1)}

    def _node(self, case: Case, config: RaftConfig, member: int) -> Node:
        if member > case["boot_voters"]:
            return Node(member, config, MemoryLogStore())
        voters = Membership.of(map(name, range(1, case["boot_voters"] + 1)))
        store = MemoryLogStore(Snapshot(case["boot_index"], case["boot_term"], voters))
        store.hard_state = store.hard_state._replace(term=case["boot_term"], commit=case["boot_index"])
        return Node(member, config, store)

    def do(self, step: Json) -> Json:
        """Do one step and settle; what is seen of it beside the nodes."""
        return _SCHEDULE[step["op"]](self, step) or {}

    def settle(self) -> None:
        while True:
            for node in self.nodes.values():
                while node.up and node.has_output:
                    self._process(node)
            if not self.queue:
                return
            self._deliver(self.queue.popleft())

    def _process(self, node: Node) -> None:
        ready = node.take_ready()
        node.keep(ready)
        self.queue.extend(ready.messages)
        self.queue.extend(ready.replies)
        node.apply(ready)
        node.raft.advance(ready)

    def _deliver(self, message: Message) -> None:
        source, target = number(message.source), number(message.target)
        # A member may be added that there is not (yet): it is as one that is down.
        node = self.nodes.get(target)
        if node is None or not node.up or (source, target) in self.blocked:
            if message.kind == "snapshot":
                self.lost.append(Lost(source, message.target))
            return
        node.raft.step(message)
        if message.kind == "snapshot" and self.nodes[source].up:
            self.nodes[source].raft.report_snapshot(message.target, failed=False)

    def report_lost(self) -> None:
        """Tell senders that are up of the snapshots that did not arrive."""
        for lost in self.lost:
            if self.nodes[lost.sender].up:
                self.nodes[lost.sender].raft.report_snapshot(lost.receiver, failed=True)
        self.lost.clear()

    def tick(self, member: int) -> None:
        raft = self.nodes[member].raft
        # Chance is left out: each node has a patience of its own.
        raft.election_timeout = raft.config.election_ticks + member
        raft.tick()

    def observe(self) -> Json:
        return {str(member): self._observed(node) for member, node in self.nodes.items()}

    def _observed(self, node: Node) -> Json:
        if not node.up:
            return {"up": False}
        state = state_out(node.raft)
        return {
            "up": True,
            **{field: state[field] for field in (*CORE_FIELDS, "applied")},
            "app": list(map(data_out, node.app.payloads)),
            "reads": dict(node.reads),
        }

    @property
    def leader(self) -> int:
        """The leader with the highest term, 0 for none."""
        leaders = [(n.raft.term, m) for m, n in self.nodes.items() if n.up and n.raft.role == "leader"]
        return max(leaders)[1] if leaders else 0


def _sched_propose(schedule: Schedule, step: Json) -> Json:
    raft = schedule.nodes[step["node"]].raft
    dropped = [data for data in step["data"] if not raft.propose(data)]
    schedule.settle()
    return {"dropped": dropped}


def _sched_heartbeat(schedule: Schedule, step: Json) -> None:
    for _ in range(step["n"]):
        schedule.tick(step["node"])
        schedule.settle()


def _sched_rounds(schedule: Schedule, step: Json) -> None:
    for _ in range(step["n"]):
        for member, node in schedule.nodes.items():
            if node.up:
                schedule.tick(member)
        schedule.settle()


def _sched_partition(schedule: Schedule, step: Json) -> None:
    group_of = {member: group for group in map(tuple, step["groups"]) for member in group}
    members = list(schedule.nodes)
    schedule.blocked = {
        (one, other)
        for one in members
        for other in members
        if group_of.get(one, (one,)) != group_of.get(other, (other,))
    }
    schedule.settle()


def _sched_heal(schedule: Schedule, step: Json) -> None:
    schedule.blocked.clear()
    schedule.report_lost()
    schedule.settle()


def _sched_crash(schedule: Schedule, step: Json) -> None:
    schedule.nodes[step["node"]].up = False
    schedule.settle()


def _sched_restart(schedule: Schedule, step: Json) -> None:
    schedule.nodes[step["node"]].start()
    schedule.report_lost()
    schedule.settle()


def _sched_compact(schedule: Schedule, step: Json) -> None:
    node = schedule.nodes[step["node"]]
    snapshot = node.app.snapshot()
    node.raft.offer_snapshot(snapshot)
    node.store.keep_snapshot(snapshot)
    node.raft.compact(step["index"])
    node.store.compact(step["index"])
    schedule.settle()


def _sched_member(act: Callable[[Raft, Json], Any]) -> Callable[[Schedule, Json], None]:
    """A step that asks one member for something."""

    def do(schedule: Schedule, step: Json) -> None:
        act(schedule.nodes[step["node"]].raft, step)
        schedule.settle()

    return do


_SCHEDULE: Final[dict[str, Callable[[Schedule, Json], Json | None]]] = {
    "campaign": _sched_member(lambda raft, step: raft.campaign()),
    "compact": _sched_compact,
    "conf_change": _sched_member(lambda raft, step: raft.propose(change_in(step["conf"]))),
    "crash": _sched_crash,
    "heal": _sched_heal,
    "heartbeat": _sched_heartbeat,
    "partition": _sched_partition,
    "propose": _sched_propose,
    "read_index": _sched_member(lambda raft, step: raft.read(step["ctx"])),
    "restart": _sched_restart,
    "rounds": _sched_rounds,
    "transfer_leader": _sched_member(lambda raft, step: raft.transfer_leadership(name(step["to"]))),
}


def judge_schedule(case: Case) -> Outcome:
    schedule = Schedule(case)
    before: Json = {}
    actual: list[Json] = []
    found: list[str] = []
    for position, step in enumerate(case["steps"]):
        seen = schedule.do(step)
        now = schedule.observe()
        # A node that was down shows all of itself again.
        known = {member: state for member, state in before.items() if state["up"]}
        moved = {m: state for m, state in now.items() if before.get(m) != state or (state["up"] and m not in known)}
        seen = {**seen, "expect": moved, "leader": schedule.leader}
        before = now
        actual.append(seen)
        expected = {key: step[key] for key in ("expect", "leader", "dropped") if key in step}
        if step.get("data") == [_CLOSING]:
            expected["dropped"] = seen["dropped"]
        found += differences(f"steps[{position}] {step['op']}", expected, seen)
    return Outcome(not found, "timed" if case["tier"] == "timed" else "B", actual, found)
