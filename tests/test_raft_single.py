"""Raft's core: a transcript of what members say and become, and the rules that a run must never break."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.raft import Entry, HardState, Log, Message, Raft, RaftConfig
from k8slab.errors import StateConflict


class Network:
    """Members by name, and the messages between them; says in words what happens."""

    def __init__(self, names: str, **switches) -> None:
        config = RaftConfig(**switches)
        self.members = {name: Raft(name, names, config=config) for name in names}
        self.mail: list[Message] = []
        self.told: list[str] = []
        self.applied: dict[str, list[Entry]] = {name: [] for name in names}

    def carry_out(self, name: str) -> None:
        member = self.members[name]
        while member.has_ready:
            ready = member.ready()
            self.mail += [*ready.messages, *ready.replies]
            self.applied[name] += ready.committed
            self.told += [f"{name} applies {entry.data} of term {entry.term}" for entry in ready.committed]
            before = member.role, member.term
            member.advance(ready)
            self.note(name, before)

    def do(self, name: str, event: str, *arguments) -> None:
        member = self.members[name]
        before = member.role, member.term
        getattr(member, event)(*arguments)
        self.note(name, before)
        self.carry_out(name)

    def note(self, name: str, before: tuple[str, int]) -> None:
        member = self.members[name]
        if (member.role, member.term) != before:
            self.told.append(f"{name} becomes {member.role} in term {member.term}")

    def deliver(self, lost=lambda message: False) -> None:
        while self.mail:
            message = self.mail.pop(0)
            fate = " (lost)" if lost(message) else ""
            self.told.append(in_words(message) + fate)
            if not fate:
                self.do(message.target, "step", message)


def in_words(m: Message) -> str:
    head = f"{m.source} -> {m.target}: {m.kind} t{m.term}"
    if m.kind == "vote":
        return f"{head} last={m.index}/t{m.log_term}"
    if m.kind == "append":
        return f"{head} after={m.index}/t{m.log_term} entries={len(m.entries)} commit={m.commit}"
    if m.kind == "heartbeat":
        return f"{head} commit={m.commit}"
    if m.kind == "heartbeat_resp":
        return head
    return f"{head} no, at {m.index}; perhaps {m.hint}/t{m.log_term}" if m.reject else f"{head} yes {m.index}"


def test_transcript_of_an_election_a_proposal_and_a_split():
    net = Network("abc")
    net.do("a", "campaign")
    net.deliver()
    net.do("a", "propose", "x")
    net.deliver(lost=lambda m: "c" in (m.source, m.target))  # c is cut off
    net.do("c", "campaign")
    net.deliver()  # c's log is short: it deposes a and is not elected
    net.do("b", "campaign")
    net.deliver()  # b's log is whole: it is, and gives c what it missed
    net.do("b", "propose", "y")
    net.deliver()
    assert "\n".join(net.told) == TRANSCRIPT


TRANSCRIPT = """\
a becomes candidate in term 1
a -> b: vote t1 last=0/t0
b becomes follower in term 1
a -> c: vote t1 last=0/t0
c becomes follower in term 1
b -> a: vote_resp t1 yes 0
a becomes leader in term 1
c -> a: vote_resp t1 yes 0
a -> b: append t1 after=0/t0 entries=1 commit=0
a -> c: append t1 after=0/t0 entries=1 commit=0
b -> a: append_resp t1 yes 1
a applies None of term 1
c -> a: append_resp t1 yes 1
a -> b: append t1 after=1/t1 entries=0 commit=1
b applies None of term 1
a -> c: append t1 after=1/t1 entries=0 commit=1
c applies None of term 1
b -> a: append_resp t1 yes 1
c -> a: append_resp t1 yes 1
a -> b: append t1 after=1/t1 entries=1 commit=1
a -> c: append t1 after=1/t1 entries=1 commit=1 (lost)
b -> a: append_resp t1 yes 2
a applies x of term 1
a -> b: append t1 after=2/t1 entries=0 commit=2
b applies x of term 1
a -> c: append t1 after=2/t1 entries=0 commit=2 (lost)
b -> a: append_resp t1 yes 2
c becomes candidate in term 2
c -> a: vote t2 last=1/t1
a becomes follower in term 2
c -> b: vote t2 last=1/t1
b becomes follower in term 2
a -> c: vote_resp t2 no, at 0; perhaps 0/t0
b -> c: vote_resp t2 no, at 0; perhaps 0/t0
c becomes follower in term 2
b becomes candidate in term 3
b -> a: vote t3 last=2/t1
a becomes follower in term 3
b -> c: vote t3 last=2/t1
c becomes follower in term 3
a -> b: vote_resp t3 yes 0
b becomes leader in term 3
c -> b: vote_resp t3 yes 0
b -> a: append t3 after=2/t1 entries=1 commit=2
b -> c: append t3 after=2/t1 entries=1 commit=2
a -> b: append_resp t3 yes 3
b applies None of term 3
c -> b: append_resp t3 no, at 2; perhaps 1/t1
b -> a: append t3 after=3/t3 entries=0 commit=3
a applies None of term 3
b -> c: append t3 after=1/t1 entries=2 commit=3
c applies x of term 1
c applies None of term 3
a -> b: append_resp t3 yes 3
c -> b: append_resp t3 yes 3
b -> a: append t3 after=3/t3 entries=1 commit=3
b -> c: append t3 after=3/t3 entries=1 commit=3
a -> b: append_resp t3 yes 4
b applies y of term 3
c -> b: append_resp t3 yes 4
b -> a: append t3 after=4/t3 entries=0 commit=4
a applies y of term 3
b -> c: append t3 after=4/t3 entries=0 commit=4
c applies y of term 3
a -> b: append_resp t3 yes 4
c -> b: append_resp t3 yes 4"""


def elected(name: str, members: str, **switches) -> Raft:
    """A leader of term 1, its first entry appended and nothing answered yet."""
    member = Raft(name, members, config=RaftConfig(**switches))
    member.campaign()
    member.advance(member.ready())
    for other in members:
        if member.role != "leader" and other != name:
            member.step(Message("vote_resp", other, name, 1))
    member.advance(member.ready())
    assert (member.role, member.term) == ("leader", 1)
    return member


def drained(member: Raft) -> list[Message]:
    """What a member says until it falls silent; all it keeps is durable at once."""
    said: list[Message] = []
    while member.has_ready:
        ready = member.ready()
        said += [*ready.messages, *ready.replies]
        member.advance(ready)
    return said


def test_a_member_alone_is_its_own_majority():
    alone = Raft("a", ["a"])
    for _ in range(9):
        alone.tick()
    assert alone.role == "follower"  # it waits for its timeout as any other
    for _ in range(10):
        alone.tick()
    assert alone.role == "candidate"  # its own vote counts once it is stored
    ready = alone.ready()
    assert (ready.hard_state, ready.must_sync) == (HardState(1, "a", 0), True)
    alone.advance(ready)
    assert (alone.role, alone.term, alone.tracker.votes) == ("leader", 1, {"a": True})
    assert alone.propose("x")
    ready = alone.ready()
    assert [entry.data for entry in ready.entries] == [None, "x"]
    assert ready.committed == ()
    alone.advance(ready)
    ready = alone.ready()
    assert [entry.data for entry in ready.committed] == [None, "x"]
    alone.advance(ready)
    assert not alone.has_ready


def test_without_most_of_the_others_nobody_leads():
    member = Raft("a", "abcde")
    for _ in range(1000):
        member.tick()
        drained(member)
        assert member.role != "leader"
    member.campaign()
    drained(member)
    member.step(Message("vote_resp", "b", "a", member.term))
    assert member.role == "candidate"  # 2 of 5
    member.step(Message("vote_resp", "b", "a", member.term))
    assert member.role == "candidate"  # the same vote twice
    member.step(Message("vote_resp", "c", "a", member.term - 1))
    assert member.role == "candidate"  # of an earlier term
    assert not member.step(Message("vote_resp", "x", "a", member.term))
    assert member.role == "candidate"  # of a stranger
    member.step(Message("vote_resp", "c", "a", member.term))
    assert member.role == "leader"


def test_one_vote_a_term():
    member = Raft("a", "abc")
    member.step(Message("vote", "b", "a", 1))
    member.step(Message("vote", "c", "a", 1))
    member.step(Message("vote", "b", "a", 1))
    ready = member.ready()
    assert [message.reject for message in ready.replies] == [False, True, False]
    # A vote may leave only after it is stored, or a restarted member could vote twice.
    assert (ready.messages, ready.hard_state, ready.must_sync) == ((), HardState(1, "b", 0), True)


def test_entries_of_earlier_terms_are_not_committed_by_counting():
    """Figure 8 of the Raft paper: copies alone don't make an old entry safe."""
    log = Log()
    log.append([Entry(1, 1, "old")])
    leader = Raft("a", "abc", log=log, hard_state=HardState(1, "a", 0))
    leader.campaign()
    drained(leader)
    leader.step(Message("vote_resp", "b", "a", 2))
    drained(leader)
    leader.step(Message("append_resp", "b", "a", 2, 1))
    assert leader.log.committed == 0
    leader.step(Message("append_resp", "b", "a", 2, 2))  # the entry of its own term
    assert leader.log.committed == 2


def test_a_leaders_own_copy_counts_only_once_it_is_stored():
    leader = elected("a", "abc")
    leader.propose("x")
    ready = leader.ready()
    leader.step(Message("append_resp", "b", "a", 1, 2))
    assert leader.log.committed == 1  # b has it, but the leader's disk may not
    leader.advance(ready)
    assert leader.log.committed == 2


def test_a_contradicted_tail_is_cut_and_an_old_message_cuts_nothing():
    follower = Raft("a", "ab")
    follower.step(Message("append", "b", "a", 1, entries=(Entry(1, 1, "x"), Entry(2, 1, "y"))))
    follower.step(Message("append", "b", "a", 2, 1, 1, entries=(Entry(2, 2, "z"),)))
    assert [entry.data for entry in follower.log.entries] == ["x", "z"]
    follower.step(Message("append", "b", "a", 2, entries=(Entry(1, 1, "x"),)))  # late
    assert [entry.data for entry in follower.log.entries] == ["x", "z"]


def test_ready_is_asked_once_before_advance():
    member = elected("a", "abc")
    ready = member.ready()
    with pytest.raises(StateConflict, match="before advance"):
        member.ready()
    member.advance(ready)
    assert not member.ready().entries


@pytest.mark.parametrize("members", ["a", "abc", "abcde"])
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.1, 0.4]), switches=st.booleans())
def test_the_rules_hold_on_a_network_that_loses_delays_and_repeats(members, seed, loss, switches):
    """Election safety, log matching, leader completeness, state machine safety (§5, figure 3)."""
    dice = np.random.default_rng(seed)
    net = Network(members, seed=seed, pre_vote=switches, check_quorum=switches)
    leaders: dict[int, str] = {}
    for turn in range(150):
        name = members[dice.integers(len(members))]
        net.do(name, "tick")
        if dice.random() < 0.2:
            net.do(name, "propose", turn)
        dice.shuffle(net.mail)
        for _ in range(min(len(net.mail), 4)):
            message = net.mail.pop()
            if dice.random() < 0.1:
                net.mail.append(message)
            if dice.random() >= loss:
                net.do(message.target, "step", message)
        for member in net.members.values():
            if member.role == "leader":
                assert leaders.setdefault(member.term, member.member_id) == member.member_id
                longest = max(net.applied.values(), key=len)
                newest = max(m.term for m in net.members.values())
                assert member.term < newest or member.log.entries[: len(longest)] == longest
        check_logs(net)


def check_logs(net: Network) -> None:
    histories = sorted(net.applied.values(), key=len)
    for shorter, longer in pairwise(histories):
        assert longer[: len(shorter)] == shorter
    logs = [member.log.entries for member in net.members.values()]
    for one in logs:
        for other in logs:
            agreed = [i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x.term == y.term]
            assert not agreed or one[: agreed[-1] + 1] == other[: agreed[-1] + 1]


@given(seed=st.integers(0, 1000), size=st.sampled_from([3, 5]))
def test_on_a_network_that_works_someone_leads_and_all_apply_the_same(seed, size):
    net = Network("abcde"[:size], seed=seed)
    for _ in range(200):
        for name in net.members:
            net.do(name, "tick")
            net.deliver()
    (leader,) = [name for name, member in net.members.items() if member.role == "leader"]
    net.do(leader, "propose", "x")
    net.deliver()
    decided = [[entry.data for entry in applied if entry.data is not None] for applied in net.applied.values()]
    assert decided == [["x"]] * size


def test_a_transfer_that_a_follower_passes_on_is_of_its_term():
    follower = Raft("b", ["a", "b", "c"])
    follower.step(Message("heartbeat", "a", "b", 3))
    assert follower.transfer_leadership("b")
    passed_on = follower.ready().messages[-1]
    assert (passed_on.kind, passed_on.source, passed_on.target, passed_on.term) == ("transfer_leader", "b", "a", 3)
    # By the time it arrives another may lead in a term of its own, whom nobody asked.
    other = Raft("a", ["a", "b", "c"], hard_state=HardState(4))
    other.become_candidate()
    other.become_leader()
    other.step(passed_on)
    assert other.transferee == ""
