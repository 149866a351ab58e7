"""Raft's core as a pure state machine."""

from k8slab.domain.raft.core import Entry, Message, Raft, Ready

__all__ = ["Entry", "Message", "Raft", "Ready"]
