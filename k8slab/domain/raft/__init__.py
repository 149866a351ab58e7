"""Raft's core as a pure state machine."""

from k8slab.domain.raft.config import RaftConfig
from k8slab.domain.raft.core import Raft
from k8slab.domain.raft.log import Log
from k8slab.domain.raft.membership import Change, Membership, MembershipChange
from k8slab.domain.raft.messages import Entry, HardState, Message, ReadState, Ready, Snapshot

__all__ = [
    "Change",
    "Entry",
    "HardState",
    "Log",
    "Membership",
    "MembershipChange",
    "Message",
    "Raft",
    "RaftConfig",
    "ReadState",
    "Ready",
    "Snapshot",
]
