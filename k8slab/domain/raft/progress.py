"""What a leader knows of one follower, and how much it may send unanswered (Raft §5.3; thesis §10.2.1).

probe     : where the logs meet is unknown; one message at a time
replicate : the logs meet; messages follow one another without waiting, up to the limits
snapshot  : the follower is further behind than the log reaches; nothing until it has the snapshot
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

from k8slab.errors import InputError

ProgressState = Literal["probe", "replicate", "snapshot"]
NO_LIMIT: Final = 2**64 - 1


class Inflights:
    """The appends sent and not yet answered: last index and bytes of each, oldest first.

    size      : so many at most
    max_bytes : full once their bytes reach this; one may pass beyond it. 0 is no limit
    """

    __slots__ = ("_sent", "bytes", "max_bytes", "size")

    def __init__(self, size: int, max_bytes: int = 0) -> None:
        self.size = size
        self.max_bytes = max_bytes
        self.bytes = 0
        self._sent: deque[tuple[int, int]] = deque()

    @property
    def count(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        return len(self._sent) >= self.size or (0 < self.max_bytes <= self.bytes)

    def add(self, index: int, size_bytes: int) -> None:
        """Note an append whose last entry is `index`."""
        if self.full:
            raise InputError(f"cannot send entry {index}: {self.count} appends of {self.bytes} bytes are unanswered")
        self._sent.append((index, size_bytes))
        self.bytes += size_bytes

    def free_up_to(self, index: int) -> None:
        """The follower has answered for everything up to `index`."""
        sent = self._sent
        while sent and sent[0][0] <= index:
            self.bytes -= sent.popleft()[1]

    def clear(self) -> None:
        self._sent.clear()
        self.bytes = 0


class Progress:
    """One follower as its leader sees it.

    match            : the last entry that it is known to share
    next             : the entry to send next
    paused           : in probe and replicate, nothing more until an answer or a heartbeat's answer
    pending_snapshot : index of the snapshot it was sent
    sent_commit      : the highest commit index that it was sent and can act on
    recent_active    : it was heard since the last check of the quorum
    """

    __slots__ = (
        "flow_paused",
        "inflights",
        "is_learner",
        "match",
        "next",
        "pending_snapshot",
        "recent_active",
        "sent_commit",
        "state",
    )

    def __init__(
        self,
        *,
        match: int = 0,
        next_index: int = 1,
        inflights: Inflights | None = None,
        is_learner: bool = False,
        recent_active: bool = False,
    ) -> None:
        self.match = match
        self.next = next_index
        self.state: ProgressState = "probe"
        self.flow_paused = False
        self.pending_snapshot = 0
        self.sent_commit = 0
        self.recent_active = recent_active
        self.is_learner = is_learner
        self.inflights = inflights if inflights is not None else Inflights(1)

    @property
    def paused(self) -> bool:
        return self.flow_paused or self.state == "snapshot"

    def become_probe(self) -> None:
        """Look for where the logs meet: behind what is known, or behind the snapshot it was sent."""
        after = self.pending_snapshot if self.state == "snapshot" else 0
        self._become("probe")
        self.next = max(self.match, after) + 1
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        """Send without waiting from what is known to match."""
        self._become("replicate")
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        """Wait until it has the snapshot that ends with `index`."""
        self._become("snapshot")
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def sent(self, entries: int, size_bytes: int) -> None:
        """Note that an append left; expect it to arrive, and go on behind it."""
        if self.state == "replicate":
            if entries:
                self.next += entries
                self.inflights.add(self.next - 1, size_bytes)
            self.flow_paused = self.inflights.full
        elif self.state == "probe":
            self.flow_paused = self.flow_paused or entries > 0
        else:
            raise InputError("nothing is sent to a follower that waits for a snapshot")

    def sent_commit_index(self, commit: int) -> None:
        self.sent_commit = commit

    def can_learn_commit(self, commit: int) -> bool:
        """Whether telling it this commit index could move its own: it must have been sent such entries."""
        return commit > self.sent_commit and self.sent_commit < self.next - 1

    def maybe_update(self, index: int) -> bool:
        """It shares everything up to `index`; False if that is old news."""
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.flow_paused = False
        return True

    def maybe_decrease(self, rejected: int, hint: int) -> bool:
        """It refused entries behind `rejected` and may share those up to `hint`; False for an old refusal."""
        if self.state == "replicate":
            if rejected <= self.match:
                return False
            self.next = self.match + 1
        else:
            # Only the last probe counts, and that was for the entry behind `rejected`.
            if self.next - 1 != rejected:
                return False
            self.next = max(min(rejected, hint + 1), self.match + 1)
            self.flow_paused = False
        self.sent_commit = min(self.sent_commit, self.next - 1)
        return True

    def _become(self, state: ProgressState) -> None:
        self.state = state
        self.flow_paused = False
        self.pending_snapshot = 0
        self.inflights.clear()
