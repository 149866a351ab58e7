"""Between the cases' JSON and the core's values: ids, entries, messages, memberships, whole states.

Members are numbers there and names here; the names sort as the numbers do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from k8slab.domain.raft import Change, Entry, Log, Membership, MembershipChange, Message, Raft, RaftConfig, Snapshot
from k8slab.domain.raft.log import payload_size
from k8slab.domain.raft.messages import NOBODY
from k8slab.domain.raft.progress import Inflights, Progress

Json = dict[str, Any]
# Their context travels as the data of one entry there.
_READS: Final = ("read_index", "read_index_resp")
_NO_LIMIT: Final = str(2**64 - 1)
CORE_FIELDS: Final = ("role", "term", "vote", "lead", "commit", "log_base", "log", "conf")


class Fill(str):
    """Text of one repeated character, written as that character and a length."""


class OldChange(MembershipChange):
    """A change of membership in the older form of one change."""


def payload_bytes(data: Any) -> int:
    """As the reference encodes it: the older form of a change takes four bytes."""
    return 4 if isinstance(data, OldChange) else payload_size(data)


# -- ids and payloads ------------------------------------------------------------


def name(number: int) -> str:
    """
    >>> name(7) < name(10), name(0)
    (True, '')
    """
    return f"{number:020d}" if number else NOBODY


def number(member: str) -> int:
    return int(member) if member else 0


def data_in(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "fill" in value:
        return Fill(value["fill"] * value["len"])
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    return change_in(value["conf_v1"], OldChange) if "conf_v1" in value else change_in(value["conf"])


def data_out(data: Any) -> Any:
    if isinstance(data, Fill):
        return {"fill": data[0], "len": len(data)}
    if isinstance(data, bytes):
        return {"hex": data.hex()}
    if isinstance(data, MembershipChange):
        return {"conf_v1" if isinstance(data, OldChange) else "conf": change_out(data)}
    return data


def change_in(value: Json, form: type[MembershipChange] = MembershipChange) -> MembershipChange:
    changes = tuple(Change(kind, name(member)) for kind, member in value["changes"])
    return form(changes, value.get("transition", "auto"))


def change_out(change: MembershipChange) -> Json:
    return {"transition": change.transition, "changes": [[one.kind, number(one.member)] for one in change.changes]}


def entries_in(values: list[list[Any]]) -> tuple[Entry, ...]:
    return tuple(Entry(value[0], value[1], data_in(value[2]) if len(value) > 2 else None) for value in values)


def entries_out(entries: Any) -> list[list[Any]]:
    return [[e.index, e.term] if e.data is None else [e.index, e.term, data_out(e.data)] for e in entries]


# -- memberships -----------------------------------------------------------------


def membership_in(conf: Json) -> Membership:
    return Membership.of(
        map(name, conf["voters"]),
        outgoing=map(name, conf["outgoing"]),
        learners=map(name, conf["learners"]),
        learners_next=map(name, conf["learners_next"]),
        auto_leave=conf["auto_leave"],
    )


def membership_out(membership: Membership) -> Json:
    return {
        "voters": _numbers(membership.voters),
        "outgoing": _numbers(membership.outgoing),
        "learners": _numbers(membership.learners),
        "learners_next": _numbers(membership.learners_next),
        "auto_leave": membership.auto_leave,
    }


def _numbers(members: Any) -> list[int]:
    return sorted(map(number, members))


def snapshot_in(value: Json) -> Snapshot:
    return Snapshot(value["index"], value["term"], membership_in(value["conf"]))


def snapshot_out(snapshot: Snapshot) -> Json:
    return {"index": snapshot.index, "term": snapshot.term, "conf": membership_out(snapshot.membership)}


# -- messages --------------------------------------------------------------------


def message_in(value: Json) -> Message:
    entries = entries_in(value.get("entries", []))
    context = _context_in(value.get("context"))
    if value["type"] in _READS and entries:
        context, entries = entries[0].data, ()
    return Message(
        kind=value["type"],
        source=name(value.get("from", 0)),
        target=name(value.get("to", 0)),
        term=value.get("term", 0),
        index=value.get("index", 0),
        log_term=value.get("log_term", 0),
        entries=entries,
        commit=value.get("commit", 0),
        reject=value.get("reject", False),
        hint=value.get("reject_hint", 0),
        snapshot=snapshot_in(value["snapshot"]) if "snapshot" in value else None,
        context=context,
    )


def message_out(message: Message) -> Json:
    """Only what says something: no zeros, nothing empty."""
    reads = message.kind in _READS
    value = {
        "type": message.kind,
        "from": number(message.source),
        "to": number(message.target),
        "term": message.term,
        "index": message.index,
        "log_term": message.log_term,
        "entries": entries_out([Entry(0, 0, message.context)] if reads else message.entries),
        "commit": message.commit,
        "reject": message.reject,
        "reject_hint": message.hint,
        "snapshot": snapshot_out(message.snapshot) if message.snapshot is not None else None,
        "context": None if reads else _context_out(message.context),
    }
    return {key: part for key, part in value.items() if part}


def _context_in(value: Any) -> Any:
    """A read's number is eight bytes there, the least significant first."""
    context = data_in(value)
    return int.from_bytes(context, "little") if isinstance(context, bytes) else context


def _context_out(context: Any) -> Any:
    return data_out(context.to_bytes(8, "little")) if isinstance(context, int) else context


# -- configurations and states ---------------------------------------------------


def config_in(config: Json, *, pre_vote: bool = False, check_quorum: bool = False) -> RaftConfig:
    return RaftConfig(
        election_ticks=config.get("election_tick", 10),
        heartbeat_ticks=config.get("heartbeat_tick", 1),
        pre_vote=pre_vote,
        check_quorum=check_quorum,
        lease_reads=config.get("read_only") == "lease",
        forward_proposals=not config.get("disable_proposal_forwarding", False),
        step_down_on_removal=config.get("step_down_on_removal", False),
        validate_changes=not config.get("disable_conf_change_validation", False),
        async_storage=config.get("async_storage", False),
        max_message_bytes=int(config.get("max_size_per_msg", _NO_LIMIT)),
        max_inflight_messages=config.get("max_inflight_msgs", 256),
        max_inflight_bytes=int(config.get("max_inflight_bytes", _NO_LIMIT)),
        max_uncommitted_bytes=int(config.get("max_uncommitted_size", _NO_LIMIT)),
        max_applying_bytes=int(config.get("max_committed_bytes_per_ready", _NO_LIMIT)),
        payload_bytes=payload_bytes,
    )


def state_in(state: Json, config: Json) -> Raft:
    """A member in the middle of its life."""
    settings = config_in(config, pre_vote=state["pre_vote"], check_quorum=state["check_quorum"])
    raft = Raft(name(state["id"]), membership_in(state["conf"]), config=settings, log=_log_in(state, settings))
    force(raft, state)
    return raft


def _log_in(state: Json, config: RaftConfig) -> Log:
    base, base_term = state["log_base"]
    snapshot = Snapshot(base, base_term, membership_in(state["conf"]))
    log = Log.starting_at(snapshot, max_applying_bytes=config.max_applying_bytes, payload_bytes=payload_bytes)
    log.entries = list(entries_in(state["log"]))
    return log


def force(raft: Raft, fields: Json) -> None:
    """Set fields of a state by hand, as the reference's tests do."""
    # Progress last: a membership, set before it, begins everybody's anew. The log first, from its base.
    order = {"log_base": -2, "log": -1, "progress": 1}
    for field in sorted(fields, key=lambda field: order.get(field, 0)):
        if field in _SETTERS:
            _SETTERS[field](raft, fields[field])
        else:
            setattr(raft, _ATTRIBUTES[field], fields[field])


def state_out(raft: Raft) -> Json:
    log = raft.log
    leads = raft.role == "leader"
    candidate = raft.role in ("candidate", "pre_candidate")
    return {
        "id": number(raft.member_id),
        "role": raft.role,
        "term": raft.term,
        "vote": number(raft.vote),
        "lead": number(raft.leader),
        "commit": log.committed,
        "applied": log.applied,
        "log_base": [log.base_index, log.base_term],
        "log": entries_out(log.entries),
        "stable": log.stable,
        "unstable_snapshot": log.received.index if log.received is not None else 0,
        "conf": membership_out(raft.tracker.membership),
        "pre_vote": raft.config.pre_vote,
        "check_quorum": raft.config.check_quorum,
        "election_elapsed": raft.election_elapsed,
        "heartbeat_elapsed": raft.heartbeat_elapsed,
        "randomized_timeout": raft.election_timeout,
        "lead_transferee": number(raft.transferee),
        "votes": {str(number(m)): granted for m, granted in raft.tracker.votes.items()} if candidate else {},
        "read_states": [[read.index, data_out(read.context)] for read in raft.read_states],
        "progress": progress_map_out(raft) if leads else {},
        "pending_conf_index": raft.pending_change_index,
        "uncommitted_size": raft.uncommitted_bytes,
    }


def progress_map_out(raft: Raft) -> Json:
    return {str(number(member)): progress_out(progress) for member, progress in raft.tracker.progress.items()}


def progress_out(progress: Progress) -> Json:
    value = {
        "match": progress.match,
        "next": progress.next,
        "state": progress.state,
        "paused": progress.flow_paused,
        "recent_active": progress.recent_active,
        "learner": progress.is_learner,
        "inflight": progress.inflights.count,
    }
    if progress.pending_snapshot:
        value["pending_snapshot"] = progress.pending_snapshot
    return value


def progress_in(value: Json, like: Inflights) -> Progress:
    """A follower's progress; which entries are in flight is not said, so the last ones are taken."""
    inflights = Inflights(like.size, like.max_bytes)
    count = value.get("inflight", 0)
    for index in range(value["next"] - count, value["next"]):
        inflights.add(index, 0)
    progress = Progress(
        match=value["match"],
        next_index=value["next"],
        inflights=inflights,
        is_learner=value.get("learner", False),
        recent_active=value.get("recent_active", False),
    )
    progress.state = value["state"]
    progress.flow_paused = value.get("paused", False)
    progress.pending_snapshot = value.get("pending_snapshot", 0)
    return progress


def _set_progress(raft: Raft, value: Json) -> None:
    for member, one in value.items():
        inflights = Inflights(raft.config.max_inflight_messages, raft.config.max_inflight_bytes)
        raft.tracker.progress[name(int(member))] = progress_in(one, inflights)


def _set_base(raft: Raft, value: list[int]) -> None:
    log, (index, term) = raft.log, value
    log.entries = [entry for entry in log.entries if entry.index > index]
    log.base_index, log.base_term = index, term
    if log.snapshot is None or log.snapshot.index < index:
        log.snapshot = Snapshot(index, term, raft.tracker.membership)


def _set_log(raft: Raft, value: list[list[Any]]) -> None:
    raft.log.entries = list(entries_in(value))


def _set_stable(raft: Raft, value: int) -> None:
    raft.log.stable = raft.log.storing = value


def _set_applied(raft: Raft, value: int) -> None:
    raft.log.applied = value
    raft.log.applying = max(raft.log.applying, value)


def _set_received(raft: Raft, value: int) -> None:
    log = raft.log
    log.received = Snapshot(value, log.base_term, raft.tracker.membership) if value else None


def _set_membership(raft: Raft, value: Json) -> None:
    membership = membership_in(value)
    if membership != raft.tracker.membership:
        raft.tracker.change(membership, membership.members, raft.log.last_index)


def _set_votes(raft: Raft, value: Json) -> None:
    raft.tracker.votes = {name(int(member)): granted for member, granted in value.items()}


_ATTRIBUTES: Final = {
    "role": "role",
    "term": "term",
    "election_elapsed": "election_elapsed",
    "heartbeat_elapsed": "heartbeat_elapsed",
    "randomized_timeout": "election_timeout",
    "pending_conf_index": "pending_change_index",
    "uncommitted_size": "uncommitted_bytes",
}
_SETTERS: Final[dict[str, Any]] = {
    "id": lambda raft, value: setattr(raft, "member_id", name(value)),
    "vote": lambda raft, value: setattr(raft, "vote", name(value)),
    "lead": lambda raft, value: setattr(raft, "leader", name(value)),
    "lead_transferee": lambda raft, value: setattr(raft, "transferee", name(value)),
    "commit": lambda raft, value: setattr(raft.log, "committed", value),
    "applied": _set_applied,
    "log_base": _set_base,
    "log": _set_log,
    "stable": _set_stable,
    "unstable_snapshot": _set_received,
    "conf": _set_membership,
    "pre_vote": lambda raft, value: setattr(raft, "config", replace(raft.config, pre_vote=value)),
    "check_quorum": lambda raft, value: setattr(raft, "config", replace(raft.config, check_quorum=value)),
    "votes": _set_votes,
    "read_states": lambda raft, value: setattr(raft, "read_states", []),
    "progress": _set_progress,
}
