"""The switches of a Raft member, each of which can be turned for an experiment."""

from __future__ import annotations

from dataclasses import dataclass

from k8slab.domain.raft.log import PayloadSize, payload_size
from k8slab.domain.raft.progress import NO_LIMIT
from k8slab.errors import InputError


@dataclass(frozen=True)
class RaftConfig:
    """How a member behaves; the defaults are plain Raft, with every safety rule and no refinement.

    election_ticks        : least ticks of patience with a silent leader; each time between this and
                            twice as many, less one (Raft §5.2)
    heartbeat_ticks       : ticks between a leader's heartbeats
    pre_vote              : ask whether an election could be won before starting one (thesis §9.6)
    check_quorum          : a leader that hears no majority for an election timeout steps down (thesis §6.2)
    leader_stickiness     : with check_quorum, ignore candidates while a leader is heard (thesis §4.2.3)
    answer_older_terms    : whoever speaks in an older term is told the newer one (Raft figure 2). Without it, as in
                            etcd, a candidate is not, and a leader only with pre_vote or check_quorum: it hears of
                            newer terms from candidates, and never from one that knows only an older membership
    lease_reads           : answer reads on the leader's lease, without a round of heartbeats (thesis §6.4.1);
                            unsafe without check_quorum, or if clocks drift by more than its margin
    forward_proposals     : a follower passes proposals on to its leader instead of refusing them
    step_down_on_removal  : a leader that is removed or becomes a learner steps down at once
    validate_changes      : a leader strikes out a change of membership that can't be made now
    election_entry        : a new leader appends an empty entry, so that it can commit (Raft §8)
    fast_backtracking     : skip a whole term a message where logs differ (Raft §5.3)
    async_storage         : ready() may be asked again before what it said has been done
    max_message_bytes     : entries of one append together; one entry always goes
    max_inflight_messages : appends on their way to a follower that replicates
    max_inflight_bytes    : their bytes together
    max_uncommitted_bytes : data proposed and not yet applied; more is refused
    max_applying_bytes    : entries handed out to be applied and not yet acknowledged
    max_entry_bytes       : data of one entry; more is an error
    payload_bytes         : the size of an entry's data
    seed                  : of the election timeouts, along with the member's name
    """

    election_ticks: int = 10
    heartbeat_ticks: int = 1
    pre_vote: bool = False
    check_quorum: bool = False
    leader_stickiness: bool = True
    answer_older_terms: bool = False
    lease_reads: bool = False
    forward_proposals: bool = True
    step_down_on_removal: bool = False
    validate_changes: bool = True
    election_entry: bool = True
    fast_backtracking: bool = True
    async_storage: bool = False
    max_message_bytes: int = NO_LIMIT
    max_inflight_messages: int = 256
    max_inflight_bytes: int = NO_LIMIT
    max_uncommitted_bytes: int = NO_LIMIT
    max_applying_bytes: int = NO_LIMIT
    max_entry_bytes: int = NO_LIMIT
    payload_bytes: PayloadSize = payload_size
    seed: int = 0

    def __post_init__(self) -> None:
        if self.heartbeat_ticks < 1 or self.election_ticks <= self.heartbeat_ticks:
            raise InputError(
                f"a leader must be heard before patience ends: election_ticks={self.election_ticks} must be "
                f"more than heartbeat_ticks={self.heartbeat_ticks}, and that 1 or more"
            )
        if self.max_inflight_messages < 1:
            raise InputError(f"max_inflight_messages={self.max_inflight_messages}: a leader must be able to send one")
        if self.max_inflight_bytes < self.max_message_bytes < NO_LIMIT:
            raise InputError(
                f"max_inflight_bytes={self.max_inflight_bytes:,} is less than one message of "
                f"max_message_bytes={self.max_message_bytes:,}"
            )
