"""What members say to one another and to those that drive them: plain values.

Kinds and fields follow the field's usual names. A named tuple is a third as dear to make
as a frozen dataclass, and a commit in a cluster of three makes eight messages. (`index` hides
the method of that name, which nobody asks of an entry: hence the ignored assignments.)
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from k8slab.domain.raft.membership import Membership
from k8slab.domain.raft.quorum import MemberId

Kind = Literal[
    "append",
    "append_resp",
    "heartbeat",
    "heartbeat_resp",
    "pre_vote",
    "pre_vote_resp",
    "propose",
    "read_index",
    "read_index_resp",
    "snapshot",
    "timeout_now",
    "transfer_leader",
    "vote",
    "vote_resp",
]
VoteKind = Literal["vote", "pre_vote"]
RESPONSES: Final = frozenset({"append_resp", "heartbeat_resp", "pre_vote_resp", "vote_resp", "read_index_resp"})
RESPONSE_OF: Final[dict[VoteKind, Kind]] = {"vote": "vote_resp", "pre_vote": "pre_vote_resp"}

NOBODY: Final[MemberId] = ""
# The context of a vote request that a leader asked for: it overrides leader stickiness (thesis §4.2.3).
TRANSFER: Final = "CampaignTransfer"


class Entry(NamedTuple):
    """One entry of the log. Indices count from 1; data is a MembershipChange, None or the application's."""

    index: int  # type: ignore[assignment]
    term: int
    data: Any = None


class Snapshot(NamedTuple):
    """The state machine after the entry (index, term), and the membership then; data is the application's."""

    index: int  # type: ignore[assignment]
    term: int
    membership: Membership
    data: Any = None


class Message(NamedTuple):
    """One message; what a field holds depends on the kind, and 0 or None says nothing.

    append          : entries that follow (index, log_term); commit is the leader's
    append_resp     : index is the last that the follower shares; with reject the refused index, and hint
                      and log_term say where the logs may meet
    vote, pre_vote  : (index, log_term) is the candidate's last entry; context TRANSFER forces
    heartbeat       : commit is no further than the follower's log is known to agree; context is the number
                      of the leader's newest read, which the response repeats
    snapshot        : snapshot
    read_index      : context is the asker's; in the response index is what must be applied before answering
    propose         : entries whose index and term the leader fills in
    transfer_leader : source is the member that shall lead
    """

    kind: Kind
    source: MemberId = NOBODY
    target: MemberId = NOBODY
    term: int = 0
    index: int = 0  # type: ignore[assignment]
    log_term: int = 0
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    reject: bool = False
    hint: int = 0
    snapshot: Snapshot | None = None
    context: Any = None


class HardState(NamedTuple):
    """What a member must never forget. `commit` may be lost: it is learned again."""

    term: int = 0
    vote: MemberId = NOBODY
    commit: int = 0


class ReadState(NamedTuple):
    """A read that may be answered as soon as the state machine has applied `index`."""

    index: int  # type: ignore[assignment]
    context: Any


class StoreToken(NamedTuple):
    """The end of the log at the time of a ready(), and its term: what `stored` may take as durable."""

    term: int
    index: int  # type: ignore[assignment]
    log_term: int
    snapshot: int


class Ready(NamedTuple):
    """What is to be done now, by whoever drives the core.

    1. Make durable: hard_state, snapshot, entries (the first one cuts what is stored from its index
       on); term and vote first, the commit index last. must_sync False says that only the latter changed.
    2. `messages` may be sent at once, even beside 1. `replies` claim what 1 makes durable: send
       them only after it.
    3. Install snapshot, apply committed in order; each MembershipChange among them goes to
       apply_change() at its place. Answer each read when its index is applied.
    4. advance(), or stored() after 1 and applied() after 3 when storing and applying run on their own.
    """

    hard_state: HardState | None
    must_sync: bool
    snapshot: Snapshot | None
    entries: tuple[Entry, ...]
    messages: tuple[Message, ...]
    replies: tuple[Message, ...]
    committed: tuple[Entry, ...]
    reads: tuple[ReadState, ...]
    own: tuple[Message, ...]
    token: StoreToken
