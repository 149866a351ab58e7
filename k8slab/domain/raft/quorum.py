"""Majorities: which index is committed, and how a vote stands (Raft §5.2, §5.3; thesis §4.3).

A joint membership decides only what both its halves decide. An empty half agrees with
everything, so that joining with nothing changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

MemberId = str
VoteResult = Literal["won", "lost", "pending"]

# The commit index of an empty majority: the other half decides.
UNBOUNDED: Final = 2**64 - 1


def majority(size: int) -> int:
    """How many of `size` voters decide."""
    return size // 2 + 1


def committed_index(voters: Collection[MemberId], acked: Mapping[MemberId, int]) -> int:
    """The highest index that most voters have; a voter that acknowledged nothing has 0.

    >>> committed_index(["a", "b", "c"], {"a": 5, "b": 3})
    3
    """
    if not voters:
        return UNBOUNDED
    indices = sorted(acked.get(voter, 0) for voter in voters)
    return indices[len(indices) - majority(len(indices))]


def joint_committed_index(
    incoming: Collection[MemberId], outgoing: Collection[MemberId], acked: Mapping[MemberId, int]
) -> int:
    """The highest index that most voters of either half have."""
    return min(committed_index(incoming, acked), committed_index(outgoing, acked))


def vote_result(voters: Collection[MemberId], votes: Mapping[MemberId, bool]) -> VoteResult:
    """How an election stands after these votes; a voter that is absent may still vote.

    >>> vote_result(["a", "b", "c"], {"a": True, "b": False})
    'pending'
    """
    if not voters:
        return "won"
    cast = [votes[voter] for voter in voters if voter in votes]
    needed = majority(len(voters))
    if sum(cast) >= needed:
        return "won"
    if sum(cast) + len(voters) - len(cast) >= needed:
        return "pending"
    return "lost"


def joint_vote_result(
    incoming: Collection[MemberId], outgoing: Collection[MemberId], votes: Mapping[MemberId, bool]
) -> VoteResult:
    """Won if both halves are won, lost as soon as one is lost."""
    results = {vote_result(incoming, votes), vote_result(outgoing, votes)}
    if len(results) == 1:
        return results.pop()
    return "lost" if "lost" in results else "pending"
