"""The pure parts judged on their own: quorum.json, confchange.json, log.json, progress.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from k8slab.domain.raft import Log, Membership, RaftConfig, Snapshot
from k8slab.domain.raft.errors import LogConflict, MembershipError
from k8slab.domain.raft.membership import MembershipChange
from k8slab.domain.raft.progress import Inflights, Progress
from k8slab.domain.raft.quorum import UNBOUNDED, joint_committed_index, joint_vote_result
from k8slab.domain.raft.store import MemoryLogStore
from k8slab.domain.raft.tracker import Tracker
from k8slab.errors import InputError
from k8slab.experiments.raft_conformance.codec import (
    Json,
    change_in,
    entries_in,
    entries_out,
    membership_in,
    membership_out,
    name,
    number,
)
from k8slab.experiments.raft_conformance.outcome import Case, Outcome, compared

# -- quorum.json -----------------------------------------------------------------


def judge_quorum(case: Case) -> Outcome:
    """As the case says, and the same with the halves swapped or one half joined with itself or nothing."""
    voters, outgoing = case["voters"], case["outgoing"] or []
    halves = [(voters, outgoing), (outgoing, voters)]
    if not outgoing:
        halves.append((voters, voters))
    results = [_quorum(case, *pair) for pair in halves]
    differing = next((result for result in results if result != results[0]), results[0])
    return compared("A", case["expect"], differing)


def _quorum(case: Case, voters: list[int], outgoing: list[int]) -> Any:
    incoming_names, outgoing_names = list(map(name, voters)), list(map(name, outgoing))
    if case["op"] == "vote":
        votes = {name(int(member)): granted for member, granted in case["votes"].items()}
        return joint_vote_result(incoming_names, outgoing_names, votes)
    acked = {name(int(member)): index for member, index in case["acked"].items()}
    index = joint_committed_index(incoming_names, outgoing_names, acked)
    return "inf" if index == UNBOUNDED else index


# -- confchange.json -------------------------------------------------------------


def judge_confchange(case: Case) -> Outcome:
    if "steps" in case:
        tracker = Tracker(RaftConfig(max_inflight_messages=case.get("max_inflight", 10)))
        actual = [_change(tracker, step) for step in case["steps"]]
        return compared("A", [step["expect"] for step in case["steps"]], actual)
    return compared("A", case["expect"], _CONFCHANGE[case["op"]](case))


def _change(tracker: Tracker, step: Json) -> Json:
    changes = change_in({"changes": step["changes"]}).changes
    present, fresh = tracker.membership, frozenset[str]()
    try:
        if step["op"] == "simple":
            membership, fresh = present.simple(changes)
        elif step["op"] == "enter_joint":
            membership, fresh = present.enter_joint(changes, auto_leave=step["auto_leave"])
        else:
            membership = present.leave_joint()
    except MembershipError as error:
        return {"error": error.reason}
    tracker.change(membership, fresh, step["last_index"])
    return {"config": membership_out(membership), "progress": _progress_of(tracker)}


def _progress_of(tracker: Tracker) -> Json:
    return {
        str(number(member)): {
            "state": progress.state,
            "match": progress.match,
            "next": progress.next,
            "learner": progress.is_learner,
        }
        for member, progress in tracker.progress.items()
    }


def _restore(case: Case) -> Json:
    """Through a tracker, whose progress must cover exactly the members."""
    tracker = Tracker(RaftConfig())
    membership = membership_in(case["conf_state"])
    tracker.change(membership, membership.members, case["last_index"])
    restored = Membership.of(
        [m for m in tracker.progress if m in membership.voters],
        outgoing=[m for m in tracker.progress if m in membership.outgoing],
        learners=[m for m, progress in tracker.progress.items() if progress.is_learner],
        learners_next=membership.learners_next,
        auto_leave=membership.auto_leave,
    )
    return {"config": membership_out(restored)}


def _is_leave_joint(case: Case) -> bool:
    change: MembershipChange = change_in(case)
    return change.leaves_joint


def _equivalent(case: Case) -> bool:
    return _unchecked(case["a"]) == _unchecked(case["b"])


def _unchecked(conf: Json) -> Membership:
    """A membership of any sets, even such as none may have."""
    voters, outgoing, learners, learners_next = (
        frozenset(map(name, conf[key])) for key in ("voters", "outgoing", "learners", "learners_next")
    )
    return Membership(voters, outgoing, learners, learners_next, conf["auto_leave"])


_CONFCHANGE: Final[dict[str, Callable[[Case], Any]]] = {
    "restore": _restore,
    "is_leave_joint": _is_leave_joint,
    "equivalent": _equivalent,
}

# -- log.json --------------------------------------------------------------------


def judge_log(case: Case) -> Outcome:
    return compared("A", case["expect"], _LOG[case["op"]](case))


def _log(case: Case, entries: str = "log") -> Log:
    index, term = case.get("log_base", [0, 0])
    log = Log.starting_at(Snapshot(index, term, Membership()))
    log.append(entries_in(case[entries]))
    log.start_storing()
    log.stored_to(log.last_index, log.last_term)
    log.commit_to(case.get("commit", 0))
    return log


def _append(case: Case) -> Json:
    log = _log(case, "stable_log")
    last = log.append(entries_in(case["entries"]))
    return {"last_index": last, "log": entries_out(log.entries), "first_unstable": log.stable + 1}


def _maybe_append(case: Case) -> Json:
    log = _log(case)
    try:
        index, term = case["prev"]
        last = log.maybe_append(index, term, entries_in(case["entries"]), case["leader_commit"])
    except LogConflict:
        return {"panic": True}
    return {"last_new": last or 0, "ok": last is not None, "commit": log.committed}


def _store(case: Case) -> MemoryLogStore:
    index, term = case["log_base"]
    store = MemoryLogStore(Snapshot(index, term, Membership()))
    store.append(entries_in(case["log"]))
    return store


def _storage_term(case: Case) -> Any:
    _, log = _store(case).load()
    term = log.term(case["index"])
    if term is None:
        return "compacted" if case["index"] < log.base_index else "unavailable"
    return term


def _storage_compact(case: Case) -> Json:
    store = _store(case)
    error: Json = {}
    try:
        store.compact(case["index"])
    except InputError:
        error = {"error": "compacted" if case["index"] <= store.base_index else "unavailable"}
    return {**error, "log_base": [store.base_index, store.base_term], "log": entries_out(store.entries)}


def _storage_append(case: Case) -> Json:
    store = _store(case)
    try:
        store.append(entries_in(case["entries"]))
    except LogConflict:
        return {"panic": True}
    return {"log": entries_out(store.entries)}


_LOG: Final[dict[str, Callable[[Case], Any]]] = {
    "find_conflict": lambda case: _log(case).find_conflict(entries_in(case["entries"])),
    "find_conflict_by_term": lambda case: _log(case).find_conflict_by_term(case["index"], case["term"])[0],
    "is_up_to_date": lambda case: _log(case).is_up_to_date(case["last_index"], case["last_term"]),
    "append": _append,
    "maybe_append": _maybe_append,
    "storage_term": _storage_term,
    "storage_compact": _storage_compact,
    "storage_append": _storage_append,
}

# -- progress.json ---------------------------------------------------------------


def judge_progress(case: Case) -> Outcome:
    if case["op"] == "inflights_seq":
        return compared("A", [step.get("expect") for step in case["steps"]], _inflights_seq(case))
    if case["op"] == "inflights_full":
        asked = ("full_after", "full_again_after")
        return compared("A", {key: case[key] for key in asked if key in case}, _inflights_full(case))
    return compared("A", case["expect"], _PROGRESS[case["op"]](case))


def _progress(state: Json) -> Progress:
    progress = Progress(match=state.get("match", 0), next_index=state.get("next", 1), inflights=Inflights(256))
    progress.state = state.get("state", "probe")
    progress.flow_paused = state.get("flow_paused", False)
    progress.pending_snapshot = state.get("pending_snapshot", 0)
    return progress


def _become(case: Case) -> Json:
    progress = _progress(case["before"])
    if case["op"] == "become_snapshot":
        progress.become_snapshot(case["index"])
    elif case["op"] == "become_probe":
        progress.become_probe()
    else:
        progress.become_replicate()
    return {key: getattr(progress, key) for key in case["expect"]}


def _maybe_update(case: Case) -> Json:
    progress = _progress(case)
    updated = progress.maybe_update(case["ack"])
    return {"match": progress.match, "next": progress.next, "updated": updated}


def _maybe_decrease(case: Case) -> Json:
    progress = _progress(case)
    ok = progress.maybe_decrease(case["rejected"], case["hint"])
    return {"ok": ok, "match": progress.match, "next": progress.next}


def _inflights_full(case: Case) -> Json:
    inflights = Inflights(case["size"], case["max_bytes"])
    added = _fill(inflights, 0)
    actual = {"full_after": added}
    if "full_again_after" in case:
        inflights.free_up_to(case["free_le"])
        actual["full_again_after"] = _fill(inflights, added)
    return actual


def _fill(inflights: Inflights, added: int) -> int:
    """Add appends until no more may be sent; how many there were in all."""
    while not inflights.full:
        inflights.add(added, 100 + added)
        added += 1
    return added


def _inflights_seq(case: Case) -> list[Json | None]:
    inflights = Inflights(case["size"], case["max_bytes"])
    actual: list[Json | None] = []
    for step in case["steps"]:
        for index, size in step.get("add", []):
            inflights.add(index, size)
        if "free_le" in step:
            inflights.free_up_to(step["free_le"])
        actual.append({"count": inflights.count, "bytes": inflights.bytes} if "expect" in step else None)
    return actual


_PROGRESS: Final[dict[str, Callable[[Case], Any]]] = {
    "is_paused": lambda case: _progress(case).paused,
    "become_probe": _become,
    "become_replicate": _become,
    "become_snapshot": _become,
    "maybe_update": _maybe_update,
    "maybe_decrease": _maybe_decrease,
}
