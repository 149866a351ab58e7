"""Raft's core as a pure state machine."""

from k8slab.domain.raft.config import RaftConfig
from k8slab.domain.raft.core import Raft
from k8slab.domain.raft.log import Log
from k8slab.domain.raft.membership import Change, Membership, MembershipChange
from k8slab.domain.raft.messages import Entry, HardState, Message, ReadState, Ready, Snapshot
from k8slab.domain.raft.node import Envelope, NetworkPort, RaftNode, StateMachinePort, TransportPort
from k8slab.domain.raft.store import LogStorePort, MemoryLogStore

__all__ = [
    "Change",
    "Entry",
    "Envelope",
    "HardState",
    "Log",
    "LogStorePort",
    "Membership",
    "MembershipChange",
    "MemoryLogStore",
    "Message",
    "NetworkPort",
    "Raft",
    "RaftConfig",
    "RaftNode",
    "ReadState",
    "Ready",
    "Snapshot",
    "StateMachinePort",
    "TransportPort",
]
