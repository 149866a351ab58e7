"""The consensus manager behind its ports: transport, log store, clock."""

from __future__ import annotations

from collections import deque

import pytest

from k8slab.application import ConsensusManager
from k8slab.domain.models import ConsensusRole
from k8slab.domain.raft import Envelope, MemoryLogStore, Message
from k8slab.domain.raft.errors import ForeignMessage, MemberStopped
from k8slab.errors import InputError


class Wire:
    """A transport for several managers in one thread."""

    def __init__(self, names, **options):
        self.mail, self.applied = deque(), {name: [] for name in names}
        self.managers = {
            name: ConsensusManager(name, peers=names, transport=self, apply=self.applied[name].append, **options)
            for name in names
        }

    def send(self, envelope):
        self.mail.append(envelope)

    def settle(self):
        while self.mail:
            envelope = self.mail.popleft()
            self.managers[envelope.message.target].receive(envelope)

    def leader(self):
        for _ in range(60):
            for manager in self.managers.values():
                manager.tick()
                self.settle()
        return next(m for m in self.managers.values() if m.get_raft_state().role is ConsensusRole.LEADER)


def test_entries_are_applied_everywhere_in_one_order_each_once():
    wire = Wire("abc", seed=3)
    leader = wire.leader()
    for number in range(5):
        assert leader.append_log_entry({"intent": number})
        wire.settle()
    leader.send_heartbeats()
    wire.settle()
    assert list(wire.applied.values()) == [[{"intent": number} for number in range(5)]] * 3


def test_a_manager_starts_again_from_its_store():
    store = MemoryLogStore()
    manager = ConsensusManager("n", store=store)
    manager.start_consensus_protocol()
    assert manager.append_log_entry({"op": "bind"})
    seen = []
    again = ConsensusManager("n", store=store, apply=seen.append)
    state = again.get_raft_state()
    assert (state.role, state.term, state.voted_for) == (ConsensusRole.FOLLOWER, 1, "n")
    again.start_consensus_protocol()
    assert again.append_log_entry({"op": "scale"})
    assert [entry["op"] for entry in again.get_raft_state().log] == ["bind", "scale"]
    assert seen == [{"op": "bind"}, {"op": "scale"}]


class Full(MemoryLogStore):
    """A disk that is full after so many writes."""

    def __init__(self, writes):
        super().__init__()
        self.left = writes

    def save(self, ready):
        if not self.left:
            raise OSError(28, "No space left on device")
        self.left -= 1
        super().save(ready)


def test_a_manager_whose_store_fails_leads_no_more_and_says_why():
    manager = ConsensusManager("n", store=Full(writes=3))
    manager.start_consensus_protocol()
    assert manager.append_log_entry({"number": 0})
    with pytest.raises(MemberStopped, match="'n' stops: its store failed: OSError"):
        manager.append_log_entry({"number": 1})
    assert manager.get_raft_state().role is ConsensusRole.FOLLOWER
    with pytest.raises(MemberStopped, match="'n' has stopped and answers nothing more"):
        manager.append_log_entry({"number": 9})
    with pytest.raises(MemberStopped):
        manager.conduct_election()


def test_messages_of_another_cluster_or_of_nobody_are_refused():
    manager = ConsensusManager("n", peers=["m"], cluster="blue")
    with pytest.raises(ForeignMessage, match="of cluster 'green', but 'n' is of 'blue'"):
        manager.receive(Envelope("green", Message("heartbeat", "m", "n", 1)))
    with pytest.raises(ForeignMessage, match="who is no member: m, n"):
        manager.receive(Message("vote_resp", "z", "n", 1))
    assert manager.get_raft_state().term == 0


def test_messages_go_to_one_place():
    with pytest.raises(InputError, match="give send or transport, not both"):
        ConsensusManager("n", send=print, transport=Wire("a"))
