"""One member, or several on a network, driven step by step: transition.json, node.json, network.json."""

from __future__ import annotations

from collections import deque
from typing import Any

from k8slab.domain.raft import Raft, Snapshot, follower, replication
from k8slab.domain.raft.messages import NOBODY, Message
from k8slab.experiments.raft_conformance.codec import (
    CORE_FIELDS,
    Json,
    change_in,
    data_in,
    entries_in,
    force,
    membership_in,
    message_in,
    message_out,
    name,
    state_in,
    state_out,
)
from k8slab.experiments.raft_conformance.outcome import Case, Outcome, changed, compared, differences

DROPPED = "raft proposal dropped"
NO_SUCH_PEER = "raft: cannot step as peer not found"
# What no other member says. A term that one of them comes with is minded as any message's.
_LOCAL = frozenset({"campaign", "beat", "check_quorum", "forget_leader", "unreachable", "snapshot_status"})


def deliver(raft: Raft, value: Json) -> str | None:
    """Give a member a message, or let it do what a local one asks; the error's words, if any."""
    kind, source, term = value["type"], name(value.get("from", 0)), value.get("term", 0)
    if kind in _LOCAL and term > raft.term:
        raft.become_follower(term, NOBODY)
    if kind in _LOCAL and 0 < term < raft.term:
        return None
    if kind == "campaign":
        raft.campaign()
    elif kind == "beat":
        raft.heartbeat()
    elif kind == "check_quorum":
        raft.check_quorum()
    elif kind == "forget_leader":
        raft.forget_leader()
    elif kind == "unreachable":
        raft.report_unreachable(source)
    elif kind == "snapshot_status":
        raft.report_snapshot(source, failed=value.get("reject", False))
    elif not raft.step(message_in(value)):
        if kind == "propose":
            return DROPPED
        return NO_SUCH_PEER if kind.endswith("_resp") else None
    return None


def flush(raft: Raft) -> None:
    """Everything a member keeps becomes durable: its own answers count, the others may leave."""
    while raft.replies:
        replies, raft.replies = raft.replies, []
        for reply in replies:
            if reply.target == raft.member_id:
                raft.step(reply)
            else:
                raft.messages.append(reply)


def sent_by(raft: Raft) -> list[Message]:
    """Flush a member, and take what may be sent."""
    flush(raft)
    sent, raft.messages = raft.messages, []
    return sent


class Recorder:
    """What of a member changes and what it sends, from one step to the next."""

    def __init__(self, state: Json, config: Json) -> None:
        self.raft = state_in(state, config)
        self.before = state_out(self.raft)
        self._messages = 0
        self._replies = 0

    def seen(self) -> Json:
        """What is new since the last look, in the words of the cases."""
        raft, after = self.raft, state_out(self.raft)
        new = {
            "expect": changed(self.before, after),
            "out": list(map(message_out, raft.messages[self._messages :])),
            "out_persist": list(map(message_out, raft.replies[self._replies :])),
        }
        self.look_away()
        return {key: value for key, value in new.items() if value}

    def look_away(self) -> None:
        """Take what is now as known."""
        self.before = state_out(self.raft)
        self._messages, self._replies = len(self.raft.messages), len(self.raft.replies)

    def flush(self) -> None:
        """Everything becomes durable: own answers count, the others may leave."""
        flush(self.raft)
        self._replies = 0

    def collect(self) -> list[Message]:
        """Flush, and take what may be sent."""
        self._messages = self._replies = 0
        return sent_by(self.raft)


def judge_transition(case: Case) -> Outcome:
    recorder = Recorder(case["before"], case["config"])
    error = deliver(recorder.raft, case["message"])
    if "inject_timeout" in case:
        recorder.raft.election_timeout = case["inject_timeout"]
    seen = recorder.seen()
    actual = {"after": seen.pop("expect", {}), **seen, **({"error": error} if error else {})}
    # A redrawn timeout is chance, and never asked.
    actual["after"].pop("randomized_timeout", None)
    expected = {key: case[key] for key in ("after", "out", "out_persist", "error") if key in case}
    return compared("C", expected, actual)


# -- node.json -------------------------------------------------------------------


def judge_node(case: Case) -> Outcome:
    recorder = Recorder(case["init"], case["config"])
    actual: list[Json] = []
    found: list[str] = []
    for position, step in enumerate(case["steps"]):
        seen = _do(recorder, step)
        expected = {
            key: step[key]
            for key in ("expect", "out", "out_persist", "error", "returns", "collected")
            if key in step and step[key] != []
        }
        actual.append(seen)
        found += differences(f"steps[{position}] {step['op']}", expected, seen)
    return Outcome(not found, "C", actual, found)


def _do(recorder: Recorder, step: Json) -> Json:
    force(recorder.raft, step.get("force", {}))
    recorder.look_away()
    special: Json = {}
    if step["op"] == "flush":
        recorder.flush()
    elif step["op"] == "collect":
        special["collected"] = list(map(message_out, recorder.collect()))
    elif step["op"] == "step":
        special["error"] = deliver(recorder.raft, step["arg"])
    else:
        special["returns"] = _OPERATIONS[step["op"]](recorder.raft, step.get("arg"))
    if "inject_timeout" in step:
        recorder.raft.election_timeout = step["inject_timeout"]
    seen = recorder.seen()
    seen.get("expect", {}).pop("randomized_timeout", None)
    if not seen.get("expect", True):
        del seen["expect"]
    return {**seen, **{key: value for key, value in special.items() if value not in (None, [])}}


def _load_state(raft: Raft, state: Json) -> None:
    raft.term, raft.vote = state["term"], name(state["vote"])
    raft.log.commit_to(state["commit"])


def _leader_append(raft: Raft, entries: list[list[Any]]) -> bool:
    return replication.append_own(raft, entries_in(entries))


def _send_append(raft: Raft, arg: Json) -> None:
    replication.send_append(raft, name(arg["to"]))


def _send_heartbeat(raft: Raft, arg: Json) -> None:
    replication.send_heartbeat(raft, name(arg["to"]), data_in(arg.get("context")))


def _handle(raft: Raft, arg: Json) -> None:
    accept = {
        "append": follower.accept_append,
        "heartbeat": follower.accept_heartbeat,
        "snapshot": follower.accept_snapshot,
    }
    accept[arg["type"]](raft, message_in(arg))


def _restore(raft: Raft, arg: Json) -> bool:
    return follower.restore(raft, Snapshot(arg["index"], arg["term"], membership_in(arg["conf"])))


def _apply_change(raft: Raft, arg: Json) -> None:
    raft.apply_change(change_in(arg))


_OPERATIONS: dict[str, Any] = {
    "tick": lambda raft, arg: raft.tick(),
    "become_follower": lambda raft, arg: raft.become_follower(arg["term"], name(arg["lead"])),
    "become_candidate": lambda raft, arg: raft.become_candidate(),
    "become_pre_candidate": lambda raft, arg: raft.become_pre_candidate(),
    "become_leader": lambda raft, arg: raft.become_leader(),
    "load_state": _load_state,
    "apply_conf_change": _apply_change,
    "leader_append": _leader_append,
    "maybe_commit": lambda raft, arg: replication.maybe_commit(raft),
    "broadcast_append": lambda raft, arg: replication.broadcast_append(raft),
    "send_append": _send_append,
    "send_heartbeat": _send_heartbeat,
    "handle": _handle,
    "restore": _restore,
}


# -- network.json ----------------------------------------------------------------


class FifoNetwork:
    """Members and a queue; messages are dropped where they are sent, by rules that can be changed."""

    def __init__(self, case: Case) -> None:
        self.recorders = {
            int(member): Recorder(state, case["configs"][member])
            for member, state in case["init"].items()
            if state != "blackhole"
        }
        self.cut: set[tuple[int, int]] = set()
        self.ignored: set[str] = set()

    def send(self, values: list[Json]) -> None:
        queue = deque(values)
        while queue:
            value = queue.popleft()
            recorder = self.recorders.get(value.get("to", 0))
            if recorder is None:
                continue
            deliver(recorder.raft, value)
            queue.extend(sent for sent in map(message_out, recorder.collect()) if self._passes(sent))

    def change(self, step: Json) -> None:
        """Change the rules by which messages are dropped."""
        op: str = step["op"]
        arg: Any = step.get("arg")
        if op == "cut":
            self.cut |= {(arg[0], arg[1]), (arg[1], arg[0])}
        elif op == "isolate":
            self.cut |= {pair for other in range(1, 10) for pair in ((arg, other), (other, arg)) if other != arg}
        elif op == "drop" and arg["p"] >= 1:
            self.cut.add((arg["from"], arg["to"]))
        elif op == "ignore_type":
            self.ignored.add(arg)
        elif op == "heal":
            self.cut.clear()
            self.ignored.clear()

    def _passes(self, value: Json) -> bool:
        return value["type"] not in self.ignored and (value.get("from", 0), value.get("to", 0)) not in self.cut


def judge_network(case: Case) -> Outcome:
    network = FifoNetwork(case)
    actual: list[Json] = []
    core: list[str] = []
    beyond: list[str] = []
    for position, step in enumerate(case["steps"]):
        seen = _do_on_network(network, step)
        actual.append({"expect": seen} if seen else {})
        for difference in differences(f"steps[{position}] {step['op']}", step.get("expect", {}), seen):
            (core if _is_core(difference) else beyond).append(difference)
    return Outcome(not core, "B", actual, core + [f"beyond the core: {one}" for one in beyond])


def _do_on_network(network: FifoNetwork, step: Json) -> Json:
    for member, fields in step.get("force", {}).items():
        force(network.recorders[int(member)].raft, fields)
        network.recorders[int(member)].look_away()
    if step["op"] == "send":
        network.send(step["arg"])
    else:
        network.change(step)
    seen = {}
    for member, recorder in network.recorders.items():
        if str(member) in step.get("inject_timeout", {}):
            recorder.raft.election_timeout = step["inject_timeout"][str(member)]
        new = recorder.seen().get("expect", {})
        new.pop("randomized_timeout", None)
        if new:
            seen[str(member)] = new
    return seen


def _is_core(difference: str) -> bool:
    """Whether a difference, told as `steps[1] send.2.commit: ...`, is in a field of the core."""
    parts = difference.split(":")[0].split(".")
    return len(parts) < 3 or parts[2].split("[")[0] in CORE_FIELDS
