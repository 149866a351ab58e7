"""A member between store, transport and state machine: what it does, and what it stops for."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.raft import (
    Change,
    Entry,
    Envelope,
    HardState,
    Membership,
    MembershipChange,
    MemoryLogStore,
    Message,
    RaftConfig,
    RaftNode,
    Snapshot,
)
from k8slab.domain.raft.errors import EntryTooLarge, ForeignMessage, MembershipError, MemberStopped, StoreLies
from k8slab.errors import InputError


class Machine:
    """Keeps what it is told."""

    def __init__(self):
        self.done, self.reads = [], []

    def apply(self, entry):
        self.done.append(entry.data)

    def read(self, context):
        self.reads.append(context)

    def restore(self, snapshot):
        self.done = list(snapshot.data)


class Network:
    """Delivers in order until there is nothing left; also a transport for each member."""

    def __init__(self, members, *, cluster="blue", stores=None, **config):
        self.mail, self.refused = deque(), []
        self.nodes = {
            name: RaftNode(
                name, members, cluster=cluster, store=(stores or {}).get(name, MemoryLogStore()), transport=self,
                machine=Machine(), config=RaftConfig(**config),
            )
            for name in members
        }  # fmt: skip

    def send(self, envelope):
        self.mail.append(envelope)

    def settle(self):
        while self.mail:
            envelope = self.mail.popleft()
            try:
                self.nodes[envelope.message.target].receive(envelope)
            except ForeignMessage as error:
                self.refused.append(str(error))

    def elected(self, name):
        self.nodes[name].campaign()
        self.settle()
        assert self.nodes[name].raft.role == "leader"
        return self.nodes[name]


def test_three_members_replicate_read_and_change():
    network = Network("abc")
    leader = network.elected("a")
    assert leader.propose("x", "y")
    assert network.nodes["b"].propose("z")  # passed on
    network.settle()
    leader.read("now")
    leader.raft.propose_change((Change("remove", "c"),))
    leader.tick()
    network.settle()
    assert [node._machine.done for node in network.nodes.values()] == [[None, "x", "y", "z"]] * 3
    assert leader._machine.reads == ["now"]
    assert leader.raft.tracker.membership.voters == {"a", "b"}
    # Its last words came when it was no member any more.
    assert network.refused
    assert all(told.endswith("_resp from 'c', who is no member: a, b") for told in network.refused)


@given(writes=st.lists(st.text(max_size=3), min_size=1, max_size=8))
def test_a_member_starts_again_from_what_it_stored(writes):
    store = MemoryLogStore()
    one = Network("a", stores={"a": store}).elected("a")
    for write in writes:
        one.propose(write)
    again = Network("a", stores={"a": store}).elected("a")
    assert [data for data in again._machine.done if data is not None] == writes
    assert again.raft.term == 2


def test_a_member_starts_from_a_stored_snapshot():
    store = MemoryLogStore(Snapshot(5, 2, Membership.of("a"), ["old"]))
    store.hard_state = HardState(2, "a", 5)
    again = Network("a", stores={"a": store}).elected("a")
    assert again._machine.done == ["old", None]


# -- messages that are not for this member -------------------------------------------


def heard(**parts):
    return Envelope(parts.pop("cluster", "blue"), Message(**{"source": "b", "target": "a", "term": 1, **parts}))


@pytest.mark.parametrize(
    ("envelope", "words"),
    [
        (heard(kind="append", cluster="green"), "append from 'b' is of cluster 'green', but 'a' is of 'blue'"),
        (heard(kind="append", target="c"), "append from 'b' is for 'c', but came to 'a'"),
        (heard(kind="vote_resp", source="z"), "vote_resp from 'z', who is no member: a, b, c"),
        (heard(kind="propose", source="z", entries=(Entry(0, 0, "x"),)), "propose from 'z', who is no member"),
        (heard(kind="read_index", source="z"), "read_index from 'z', who is no member"),
    ],
)
def test_a_foreign_message_is_refused_and_changes_nothing(envelope, words):
    network = Network("abc")
    node = network.elected("a")
    before = (node.raft.hard_state, node.raft.role, node.raft.log.last_index)
    with pytest.raises(ForeignMessage, match=words):
        node.receive(envelope)
    assert (node.raft.hard_state, node.raft.role, node.raft.log.last_index) == before
    assert not network.mail
    assert node.propose("goes on")


def test_a_leader_that_this_member_has_yet_to_hear_of_is_followed():
    """Its log is behind, so its membership is: thesis §4.1."""
    node = Network("abc").nodes["a"]
    assert node.receive(heard(kind="heartbeat", source="z", term=7))
    assert node.raft.leader == "z"


# -- stores that fail or lie -----------------------------------------------------------


class Failing(MemoryLogStore):
    def save(self, ready):
        raise OSError(28, "No space left on device")


class Forgetful(MemoryLogStore):
    """Says that it kept what it was given, and doesn't: entries, or the vote."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def save(self, ready):
        super().save(ready._replace(**({"entries": ()} if self.what == "entries" else {"hard_state": None})))


class Old(MemoryLogStore):
    """Can't be read back."""

    def tail(self):
        raise ValueError("checksum of block 3 is wrong")


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (Failing(), r"stops: its store failed: OSError: \[Errno 28\] No space left on device"),
        (Old(), "stops: its store failed: ValueError: checksum of block 3 is wrong"),
        (Forgetful("vote"), "was given term 1 with a vote for 'a', .* and holds term 0 with no vote"),
        (Forgetful("entries"), "entries up to 1 of term 1 and holds .* entries up to 0 of term 0"),
    ],
    ids=["full", "unreadable", "forgets the vote", "forgets entries"],
)
def test_a_store_that_fails_or_lies_stops_the_member(store, words):
    node = Network("a", stores={"a": store}).nodes["a"]
    with pytest.raises(MemberStopped, match=words):
        node.campaign()
    for ask in (node.tick, node.campaign, lambda: node.propose("x"), lambda: node.read(1)):
        with pytest.raises(MemberStopped, match="'a' has stopped and answers nothing more: its store"):
            ask()
    assert node._machine.done == []


def test_a_member_whose_store_failed_promises_nothing():
    """It must not have voted: no answer leaves."""
    network = Network("abc", stores={"b": Failing()})
    network.nodes["a"].campaign()
    asked = next(envelope for envelope in network.mail if envelope.message.target == "b")
    network.mail.clear()
    with pytest.raises(MemberStopped):
        network.nodes["b"].receive(asked)
    assert not network.mail
    with pytest.raises(MemberStopped):
        network.nodes["b"].receive(asked)


def test_a_member_that_lost_committed_entries_stops_when_it_learns_of_them():
    node = Network("abc").nodes["a"]
    with pytest.raises(MemberStopped, match="entry 7 is committed elsewhere, but the log ends with 0"):
        node.receive(heard(kind="heartbeat", commit=7))


@pytest.mark.parametrize(
    ("state", "entries", "words"),
    [
        (HardState(3, "", 0), [Entry(1, 1), Entry(3, 1)], "a gap or out of order behind 0"),
        (HardState(3, "", 0), [Entry(1, 2), Entry(2, 1)], "entries whose terms fall"),
        (HardState(3, "", 0), [Entry(1, 4)], "an entry of term 4, but 3 as the newest term"),
        (HardState(3, "", 2), [Entry(1, 3)], "2 as committed, but entries up to 1 only: some were lost"),
    ],
)
def test_a_store_that_holds_what_cannot_be_is_not_started_from(state, entries, words):
    store = MemoryLogStore()
    store.hard_state, store.entries = state, entries
    with pytest.raises(StoreLies, match=f"member 'a' can't start: its store has .*{words}"):
        Network("a", stores={"a": store})


# -- what is asked in vain ---------------------------------------------------------------


def test_a_member_listed_twice_and_nobody_at_all():
    with pytest.raises(MembershipError, match=r"voters lists \['a'\] more than once"):
        Network("aba")
    alone = Network("a").nodes["a"]
    with pytest.raises(MembershipError, match="would remove the last voter"):
        alone.raft.apply_change(MembershipChange((Change("remove", "a"),)))
    with pytest.raises(InputError, match="a cluster needs a name"):
        Network("a", cluster="")


def test_a_member_of_an_empty_membership_never_leads():
    node = RaftNode("a", cluster="blue", store=MemoryLogStore(), transport=Network("b"), machine=Machine())
    for _ in range(100):
        node.tick()
    assert node.raft.role == "follower"
    assert not node.propose("x")


def test_an_entry_that_is_too_large_is_an_error_and_the_member_goes_on():
    leader = Network("a", max_entry_bytes=3).elected("a")
    with pytest.raises(EntryTooLarge, match="4 bytes: at most 3"):
        leader.propose("four")
    assert leader.propose("two")


@pytest.mark.parametrize("forward", [True, False])
def test_a_proposal_to_a_follower_is_passed_on_or_refused_by_a_switch(forward):
    network = Network("abc", forward_proposals=forward)
    network.elected("a")
    assert network.nodes["b"].propose("x") is forward
    network.settle()
    assert ("x" in network.nodes["c"]._machine.done) is forward


# -- snapshots and office -----------------------------------------------------------------


def test_a_member_compacts_and_brings_others_up_with_the_snapshot():
    network = Network("abc")
    leader = network.elected("a")
    absent = network.nodes.pop("c")
    for letter in "xyz":
        leader.propose(letter)
        network.mail = deque(envelope for envelope in network.mail if envelope.message.target != "c")
        while network.mail:
            envelope = network.mail.popleft()
            if envelope.message.target != "c":
                network.nodes[envelope.message.target].receive(envelope)
    snapshot = leader.compact(list(leader._machine.done))
    assert (snapshot.index, snapshot.data) == (4, [None, "x", "y", "z"])
    assert leader.compact(["nothing new"]).index == 4
    assert leader.raft.log.entries == []
    network.nodes["c"] = absent
    leader.heartbeat()
    network.settle()
    assert absent._machine.done == [None, "x", "y", "z"]
    assert network.nodes["c"].raft.log.applied == 4


def test_a_leader_hands_over():
    network = Network("abc")
    leader = network.elected("a")
    assert leader.transfer_leadership("b")
    assert not leader.transfer_leadership("z")
    network.settle()
    assert [node.raft.role for node in network.nodes.values()] == ["follower", "leader", "follower"]


def test_a_store_that_fails_to_compact_stops_the_member():
    class Stuck(MemoryLogStore):
        def compact(self, index):
            raise OSError(5, "Input/output error")

    leader = Network("a", stores={"a": Stuck()}).elected("a")
    with pytest.raises(MemberStopped, match="Input/output error"):
        leader.compact([])
    assert leader.raft.role == "follower"
