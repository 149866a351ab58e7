"""Single rules of the Raft paper, a small cluster at a time: paper.json.

A case gives a member or a cluster, a stimulus (one message, votes, acknowledgements or actions)
and some facts; the facts asked for are looked up by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from k8slab.domain.raft import Log, Membership, Message, Raft, RaftConfig, Snapshot, follower, replication
from k8slab.domain.raft.messages import Entry
from k8slab.experiments.raft_conformance.codec import Json, entries_in, entries_out, name, number
from k8slab.experiments.raft_conformance.member import sent_by
from k8slab.experiments.raft_conformance.outcome import Case, Outcome, compared

_ME: Final = 1


def judge_paper(case: Case) -> Outcome:
    actual = _RULES[case["rule"]](case)
    return compared("A", case["expect"], actual)


# -- members and clusters --------------------------------------------------------


def build(given: Json, member: int = _ME) -> Raft:
    """A member with the log, term, vote and role given; its voters by list, size or alone."""
    voters = given.get("voters") or range(1, given.get("size", 1) + 1)
    log = Log.starting_at(Snapshot(0, 0, Membership()))
    log.append(entries_in(given.get("log", [])))
    log.start_storing()
    log.stored_to(log.last_index, log.last_term)
    log.commit_to(given.get("commit", 0))
    config = RaftConfig(pre_vote=given.get("pre_vote", False))
    raft = Raft(name(member), map(name, voters), config=config, log=log)
    raft.term = given.get("term", log.last_term)
    _take_role(raft, given.get("role", "follower"))
    raft.vote = name(given.get("vote", number(raft.vote)))
    raft.leader = name(given.get("lead", number(raft.leader)))
    return raft


def _take_role(raft: Raft, role: str) -> None:
    """Let it have come into this role in its present term."""
    if role in ("candidate", "leader"):
        raft.term -= 1
        raft.become_candidate()
    if role == "leader":
        # Its first entry is of no matter here, and would be in the way of logs given whole.
        raft.role, raft.leader = "leader", raft.member_id
    elif role == "pre_candidate":
        raft.become_pre_candidate()


class Cluster:
    """Members whose stores are instant, and a network that delivers in order or, to the dead, never."""

    def __init__(self, members: dict[int, Raft]) -> None:
        self.members = {name(member): raft for member, raft in members.items()}

    def settle(self) -> None:
        """Deliver until nobody has anything to say."""
        while mail := [message for raft in self.members.values() for message in sent_by(raft)]:
            for message in mail:
                if message.target in self.members:
                    self.members[message.target].step(message)


def _request(raft: Raft, request: Json) -> Message:
    vote = request["type"] in ("vote", "pre_vote")
    return Message(
        kind=request["type"],
        source=name(request.get("from", 0)),
        target=raft.member_id,
        term=request["term"],
        index=request.get("last_log_index" if vote else "prev_log_index", 0),
        log_term=request.get("last_log_term" if vote else "prev_log_term", 0),
        entries=entries_in(request.get("entries", [])),
        commit=request["commit"] if "commit" in request else request.get("leader_commit", 0),
    )


# -- rules with one member and one message -----------------------------------------


def _one_message(case: Case) -> Json:
    raft = build(case["given"])
    message = _request(raft, case["request"])
    if "handler called directly" in case["request"].get("note", ""):
        (follower.accept_append if message.kind == "append" else follower.accept_heartbeat)(raft, message)
    else:
        raft.step(message)
    answers = sent_by(raft) if message.source else raft.replies
    return {fact: _FACTS[fact](raft, answers) for fact in case["expect"]}


def _answer(answers: list[Message]) -> Message:
    (answer,) = answers
    return answer


def _to_apply(raft: Raft, answers: list[Message]) -> Any:
    return entries_out(raft.log.to_apply(unstable=True))


_FACTS: Final[dict[str, Callable[[Raft, list[Message]], Any]]] = {
    "granted": lambda raft, answers: not _answer(answers).reject,
    "success": lambda raft, answers: not _answer(answers).reject,
    "index": lambda raft, answers: _answer(answers).index,
    "hint_index": lambda raft, answers: _answer(answers).hint,
    "hint_term": lambda raft, answers: _answer(answers).log_term,
    "role": lambda raft, answers: raft.role,
    "term": lambda raft, answers: raft.term,
    "lead": lambda raft, answers: number(raft.leader),
    "vote": lambda raft, answers: number(raft.vote),
    "commit": lambda raft, answers: raft.log.committed,
    "log": lambda raft, answers: entries_out(raft.log.entries),
    "last_index": lambda raft, answers: raft.log.last_index,
    "newly_written": lambda raft, answers: entries_out(raft.log.unstored),
    "to_apply": _to_apply,
}

# -- elections -------------------------------------------------------------------


def _election_outcome(case: Case) -> Json:
    raft = build(case["given"])
    raft.campaign()
    sent_by(raft)
    for voter, granted in case["votes"].items():
        raft.step(Message("vote_resp", name(int(voter)), raft.member_id, raft.term, reject=not granted))
    return {"role": raft.role, "term": raft.term}


def _election_with_dead_peers(case: Case) -> Json:
    given = case["given"]
    shape = {"size": given["size"], "pre_vote": given["pre_vote"]}
    alive = [member for member in range(1, given["size"] + 1) if member not in given["dead"]]
    cluster = Cluster({m: build({**shape, "log": given["logs"].get(str(m), [])}, m) for m in alive})
    subject = cluster.members[name(_ME)]
    subject.campaign()
    cluster.settle()
    return {"role": subject.role, "term": subject.term}


def _vote_request(case: Case) -> Json:
    raft = build(case["given"])
    while raft.role == "follower":
        raft.tick()
    return {
        "requests": [
            {
                "to": number(message.target),
                "term": message.term,
                "last_log_index": message.index,
                "last_log_term": message.log_term,
            }
            for message in sent_by(raft)
        ]
    }


# -- replication -----------------------------------------------------------------


def _elected(given: Json) -> Raft:
    """A member that has just won an election, its first entry appended and its messages lost."""
    raft = build(given)
    raft.become_candidate()
    raft.become_leader()
    sent_by(raft)
    return raft


def _acknowledge(raft: Raft, member: int, index: int) -> None:
    raft.step(Message("append_resp", name(member), raft.member_id, raft.term, index))


def _commit_on_majority(case: Case) -> Json:
    size = case["given"]["size"]
    raft = _elected({"size": size})
    for member in range(2, size + 1):
        _acknowledge(raft, member, raft.log.last_index)
    raft.propose("some data")
    sent_by(raft)
    for member in case["acks"]:
        _acknowledge(raft, member, raft.log.last_index)
    return {"committed": raft.log.committed == raft.log.last_index}


def _commit_includes_older_terms(case: Case) -> Json:
    raft = _elected(case["given"])
    raft.propose(None)
    sent_by(raft)
    for member in case["given"]["voters"][1:]:
        _acknowledge(raft, member, raft.log.last_index)
    return {"commit": raft.log.committed, "log": entries_out(raft.log.entries)}


def _no_direct_commit(case: Case) -> Json:
    raft = _elected(case["given"])
    raft.propose(None)
    sent_by(raft)
    _acknowledge(raft, case["ack"]["from"], case["ack"]["index"])
    return {"commit": raft.log.committed}


def _commit_rule(case: Case) -> Json:
    raft = build({**case["given"], "role": "leader"})
    for member, match in enumerate(case["given"]["match"], 1):
        raft.tracker.progress[name(member)].match = match
    replication.maybe_commit(raft)
    return {"commit": raft.log.committed}


def _progress_update(case: Case) -> Json:
    given, response = case["given"], case["response"]
    raft = _elected({**given, "term": given["term"] - 1})
    index, reject = response["index"], not response["success"]
    raft.step(
        Message("append_resp", name(response["from"]), raft.member_id, raft.term, index, reject=reject, hint=index)
    )
    sent = sent_by(raft)
    progress = raft.tracker.progress[name(response["from"])]
    facts = {"match": progress.match, "next": progress.next, "messages": len(sent)}
    if sent and "prev_index" in case["expect"]:
        facts.update(prev_index=sent[0].index, commit=sent[0].commit)
    return facts


def _repairs_log(case: Case) -> Json:
    given, three = case["given"], {"voters": [1, 2, 3]}
    leader, other = build({**given["leader"], **three}), build({**given["follower"], **three}, 2)
    cluster = Cluster({1: leader, 2: other})
    leader.campaign()
    cluster.settle()
    leader.step(Message("vote_resp", name(3), leader.member_id, leader.term))
    cluster.settle()
    leader.propose(None)
    cluster.settle()
    same = leader.log.entries == other.log.entries
    return {"both_logs": entries_out(leader.log.entries) if same else "they differ"}


def _fast_backtracking(case: Case) -> Json:
    given = case["given"]
    leader = _elected({**given["leader"], "voters": [1, 2]})
    other = build({**given["follower"], "voters": [1, 2]}, 2)
    _compact(other.log, given["follower"].get("compacted_to", 0))
    replication.send_append(leader, other.member_id)
    (probe,) = sent_by(leader)
    other.step(probe)
    (refusal,) = sent_by(other)
    leader.step(refusal)
    (second,) = sent_by(leader)
    return {
        "reject_hint": {"term": refusal.log_term, "index": refusal.hint},
        "next_probe": {"term": second.log_term, "index": second.index},
    }


def _compact(log: Log, index: int) -> None:
    """Let entries be gone though they are not committed, which takes more than compact() allows."""
    if index:
        log.base_term = log.entries[index - 1].term
        log.base_index, log.entries = index, log.entries[index:]


def _proposal_needs_quorum(case: Case) -> Json:
    given = case["given"]
    alive = [member for member in range(1, given["size"] + 1) if member not in given["dead"]]
    cluster = Cluster({member: build({"size": given["size"]}, member) for member in alive})
    subject = cluster.members[name(_ME)]
    subject.campaign()
    cluster.settle()
    subject.propose("some data")
    cluster.settle()
    wanted = (Entry(1, 1), Entry(2, 1, "some data"))
    return {"term": subject.term, "committed": subject.log.slice(1, subject.log.committed) == wanted}


def _replication(case: Case) -> Json:
    size = case["given"]["size"]
    cluster = Cluster({member: build({"size": size}, member) for member in range(1, size + 1)})
    for action in case["actions"]:
        verb, member = action.split()
        subject = cluster.members[name(int(member))]
        if verb == "campaign":
            subject.campaign()
        else:
            subject.propose("some data")
        cluster.settle()
    commits = {raft.log.committed for raft in cluster.members.values()}
    return {"commit": commits.pop() if len(commits) == 1 else "they differ"}


_RULES: Final[dict[str, Callable[[Case], Json]]] = {
    "append_conflict_removal": _one_message,
    "append_consistency_check": _one_message,
    "append_rules_1_2_3": _one_message,
    "candidate_recognises_leader": _one_message,
    "follower_applies_committed": _one_message,
    "heartbeat_commit": _one_message,
    "higher_term_steps_down": _one_message,
    "one_vote_per_term": _one_message,
    "stale_term_ignored": _one_message,
    "vote_grant_matrix": _one_message,
    "vote_up_to_date": _one_message,
    "commit_includes_older_terms": _commit_includes_older_terms,
    "commit_needs_majority_and_current_term": _commit_rule,
    "commit_on_majority": _commit_on_majority,
    "election_outcome": _election_outcome,
    "election_with_dead_peers": _election_with_dead_peers,
    "fast_log_backtracking": _fast_backtracking,
    "leader_progress_update": _progress_update,
    "leader_repairs_follower_log": _repairs_log,
    "no_direct_commit_of_older_terms": _no_direct_commit,
    "proposal_needs_quorum": _proposal_needs_quorum,
    "replication": _replication,
    "vote_request_carries_last_entry": _vote_request,
}
