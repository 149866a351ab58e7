"""Reads that go through no entry of the log: each waits until its leader proved to lead (thesis §6.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from k8slab.domain.raft.messages import Message
from k8slab.domain.raft.quorum import MemberId


@dataclass
class PendingRead:
    """A read, the commit index when it came, and who has confirmed the leader since."""

    request: Message
    index: int
    acks: dict[MemberId, bool] = field(default_factory=dict)


class PendingReads:
    """Reads in the order in which they came; a confirmation of one confirms all before it.

    Each gets a number of its own, which heartbeats carry. The asker's context would not do: asked
    twice with the same one, answers to the first round could confirm the second.
    """

    def __init__(self) -> None:
        self._reads: dict[int, PendingRead] = {}
        self._last = 0

    def add(self, request: Message, index: int) -> int:
        """Let a read wait; its number."""
        self._last += 1
        self._reads[self._last] = PendingRead(request, index)
        return self._last

    def acknowledge(self, member: MemberId, number: int) -> dict[MemberId, bool]:
        """Note that a member answered the heartbeat of a read; all that have, as votes."""
        read = self._reads.get(number)
        if read is None:
            return {}
        read.acks[member] = True
        return read.acks

    def take_until(self, number: int) -> list[PendingRead]:
        """The reads up to and with this one, which wait no longer."""
        return [self._reads.pop(earlier) for earlier in list(self._reads) if earlier <= number]

    @property
    def last(self) -> int | None:
        """The newest read's number: every heartbeat carries it, so a lost one is made good."""
        return next(reversed(self._reads), None)
