"""Raft's core: a transcript of what members say and become, and the rules that a run must never break."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.models import ConsensusRole
from k8slab.domain.raft import Entry, Message, Raft


class Network:
    """Members by name, and the messages between them; says in words what happens."""

    def __init__(self, names: str, seed: int = 0) -> None:
        self.members = {name: Raft(name, names, seed=seed) for name in names}
        self.mail: list[Message] = []
        self.told: list[str] = []
        self.applied: dict[str, list[Entry]] = {name: [] for name in names}

    def carry_out(self, name: str) -> None:
        ready = self.members[name].ready()
        self.mail += ready.messages
        self.applied[name] += ready.committed
        self.told += [f"{name} applies {entry.data} of term {entry.term}" for entry in ready.committed]
        self.members[name].advance()

    def do(self, name: str, event: str, *arguments) -> None:
        member = self.members[name]
        before = member.role, member.term
        getattr(member, event)(*arguments)
        if (member.role, member.term) != before:
            self.told.append(f"{name} becomes {member.role.value} in term {member.term}")
        self.carry_out(name)

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
    return f"{head} {'yes' if m.granted else 'no'} {m.index}"


def test_transcript_of_an_election_a_proposal_and_a_split():
    net = Network("abc")
    net.do("a", "campaign")
    net.deliver()
    net.do("a", "propose", "x")
    net.deliver(lost=lambda m: m.target == "c")  # c is cut off
    net.do("a", "heartbeat")
    net.deliver(lost=lambda m: m.target == "c")
    net.do("c", "campaign")
    net.deliver()  # c's log is short: it deposes a and is not elected
    net.do("b", "campaign")
    net.deliver()
    net.do("b", "propose", "y")
    net.deliver()
    assert "\n".join(net.told) == """\
a becomes candidate in term 1
a -> b: vote t1 last=0/t0
b becomes follower in term 1
a -> c: vote t1 last=0/t0
c becomes follower in term 1
b -> a: vote_reply t1 yes 0
a becomes leader in term 1
c -> a: vote_reply t1 yes 0
a -> b: append t1 after=0/t0 entries=0 commit=0
a -> c: append t1 after=0/t0 entries=0 commit=0
b -> a: append_reply t1 yes 0
c -> a: append_reply t1 yes 0
a -> b: append t1 after=0/t0 entries=1 commit=0
a -> c: append t1 after=0/t0 entries=1 commit=0 (lost)
b -> a: append_reply t1 yes 1
a applies x of term 1
a -> b: append t1 after=1/t1 entries=0 commit=1
b applies x of term 1
a -> c: append t1 after=0/t0 entries=1 commit=1 (lost)
b -> a: append_reply t1 yes 1
c becomes candidate in term 2
c -> a: vote t2 last=0/t0
a becomes follower in term 2
c -> b: vote t2 last=0/t0
b becomes follower in term 2
a -> c: vote_reply t2 no 0
b -> c: vote_reply t2 no 0
b becomes candidate in term 3
b -> a: vote t3 last=1/t1
a becomes follower in term 3
b -> c: vote t3 last=1/t1
c becomes follower in term 3
a -> b: vote_reply t3 yes 0
b becomes leader in term 3
c -> b: vote_reply t3 yes 0
b -> a: append t3 after=1/t1 entries=0 commit=1
b -> c: append t3 after=1/t1 entries=0 commit=1
a -> b: append_reply t3 yes 1
c -> b: append_reply t3 no 0
b -> c: append t3 after=0/t0 entries=1 commit=1
c applies x of term 1
c -> b: append_reply t3 yes 1
b -> a: append t3 after=1/t1 entries=1 commit=1
b -> c: append t3 after=1/t1 entries=1 commit=1
a -> b: append_reply t3 yes 2
b applies y of term 3
c -> b: append_reply t3 yes 2"""


def test_a_member_alone_is_its_own_majority():
    alone = Raft("a", ["a"])
    for _ in range(9):
        alone.tick()
    assert alone.role is ConsensusRole.FOLLOWER  # it waits for its timeout as any other
    for _ in range(10):
        alone.tick()
    assert (alone.role, alone.term, alone.votes) == (ConsensusRole.LEADER, 1, {"a"})
    assert alone.propose("x")
    ready = alone.ready()
    assert (ready.term, ready.voted_for, ready.log_from, ready.messages) == (1, "a", 1, ())
    assert ready.committed == (Entry(1, "x"),)
    alone.advance()
    assert alone.ready().committed == ()
    assert alone.ready().log_from == 0


def test_without_most_of_the_others_nobody_leads():
    member = Raft("a", "abcde")
    for _ in range(1000):
        member.tick()
        assert member.role is not ConsensusRole.LEADER
    member.step(Message("vote_reply", "b", "a", member.term, granted=True))
    assert member.role is ConsensusRole.CANDIDATE  # 2 of 5
    member.step(Message("vote_reply", "b", "a", member.term, granted=True))
    assert member.role is ConsensusRole.CANDIDATE  # the same vote twice
    member.step(Message("vote_reply", "c", "a", member.term - 1, granted=True))
    assert member.role is ConsensusRole.CANDIDATE  # of an earlier term
    member.step(Message("vote_reply", "c", "a", member.term, granted=True))
    assert member.role is ConsensusRole.LEADER


def test_one_vote_a_term():
    member = Raft("a", "abc")
    member.step(Message("vote", "b", "a", 1))
    member.step(Message("vote", "c", "a", 1))
    member.step(Message("vote", "b", "a", 1))
    assert [message.granted for message in member.ready().messages] == [True, False, True]


def test_entries_of_earlier_terms_are_not_committed_by_counting():
    """Figure 8 of the Raft paper: copies alone don't make an old entry safe."""
    leader = Raft("a", "abc")
    leader.log = [Entry(1, "old")]
    leader.term = 1
    leader.campaign()
    leader.step(Message("vote_reply", "b", "a", 2, granted=True))
    leader.step(Message("append_reply", "b", "a", 2, index=1, granted=True))
    assert leader.commit_index == 0
    leader.propose("new")
    leader.step(Message("append_reply", "b", "a", 2, index=2, granted=True))
    assert leader.commit_index == 2


def test_a_contradicted_tail_is_cut_and_an_old_message_cuts_nothing():
    follower = Raft("a", "ab")
    follower.step(Message("append", "b", "a", 1, entries=(Entry(1, "x"), Entry(1, "y"))))
    follower.step(Message("append", "b", "a", 2, index=1, log_term=1, entries=(Entry(2, "z"),)))
    assert [entry.data for entry in follower.log] == ["x", "z"]
    follower.step(Message("append", "b", "a", 2, entries=(Entry(1, "x"),)))  # late
    assert [entry.data for entry in follower.log] == ["x", "z"]


@pytest.mark.parametrize("members", ["a", "abc", "abcde"])
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.1, 0.4]))
def test_the_rules_hold_on_a_network_that_loses_delays_and_repeats(members, seed, loss):
    """Election safety, log matching, leader completeness, state machine safety (§5, figure 3)."""
    dice = np.random.default_rng(seed)
    net = Network(members, seed=seed)
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
            if member.role is ConsensusRole.LEADER:
                assert leaders.setdefault(member.term, member.node_id) == member.node_id
                longest = max(net.applied.values(), key=len)
                newest = max(m.term for m in net.members.values())
                assert member.term < newest or member.log[: len(longest)] == longest
        check_logs(net)


def check_logs(net: Network) -> None:
    histories = sorted(net.applied.values(), key=len)
    for shorter, longer in pairwise(histories):
        assert longer[: len(shorter)] == shorter
    logs = [member.log for member in net.members.values()]
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
    (leader,) = [name for name, member in net.members.items() if member.role is ConsensusRole.LEADER]
    net.do(leader, "propose", "x")
    net.deliver()
    net.do(leader, "heartbeat")
    net.deliver()
    assert [[entry.data for entry in applied] for applied in net.applied.values()] == [["x"]] * size
