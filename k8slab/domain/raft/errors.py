"""Raft's errors: what a caller asked in vain, and what must stop a member.

InputError
├── MembershipError    a change of membership that its present state forbids
├── EntryTooLarge      a proposal larger than the configuration allows
└── ForeignMessage     a message of another cluster, for another member, or of one that is none
StateConflict
├── LogConflict        the log would contradict what is committed: this member must stop
├── StoreLies          a store holds what no member can have left there: this one can't start
└── MemberStopped      this member has stopped, since going on could answer wrongly
"""

from __future__ import annotations

from typing import Literal

from k8slab.errors import InputError, StateConflict

Reason = Literal["already_joint", "bad_input", "empty_voters", "in_joint", "no_voters", "not_joint", "not_simple"]


class MembershipError(InputError):
    """A change of membership that can't be made; `reason` is a word for programs."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class EntryTooLarge(InputError):
    """A proposal that is larger than an entry may be."""


class ForeignMessage(InputError):
    """A message that this member must not act on; it goes on without it."""


class StoreLies(StateConflict):
    """A store holds what no member can have left there; starting from it could answer wrongly."""


class MemberStopped(StateConflict):
    """This member has stopped; nothing it is asked will be answered."""


class LogConflict(StateConflict):
    """A message or a store contradicts entries that are committed; going on could answer wrongly."""


class NotLeader(StateConflict):
    """Only the leader of a cluster decides; the message says who that is, if it is known."""


class NotCommitted(NotLeader):
    """A majority could not be reached in time: what was asked may yet take effect, or never. Look, then ask again."""
