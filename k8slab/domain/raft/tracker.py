"""What a leader and a candidate know of all members: progress, votes, and what they add up to."""

from __future__ import annotations

from collections.abc import Collection

from k8slab.domain.raft.config import RaftConfig
from k8slab.domain.raft.membership import Membership
from k8slab.domain.raft.progress import Inflights, Progress
from k8slab.domain.raft.quorum import MemberId, VoteResult, joint_vote_result, majority, vote_result


class Tracker:
    """The membership, each member's progress and the votes of an election.

    progress : by member, in the order of their names, so that a run is a function of its inputs
    """

    def __init__(self, config: RaftConfig) -> None:
        self._config = config
        self.membership = Membership()
        self.progress: dict[MemberId, Progress] = {}
        self.votes: dict[MemberId, bool] = {}

    def change(self, membership: Membership, fresh: Collection[MemberId], last_index: int) -> None:
        """Track the members of a new membership; those that are `fresh` begin anew behind `last_index`."""
        known = self.progress
        self.membership = membership
        self.progress = {
            member: known[member] if member in known and member not in fresh else self._fresh(last_index)
            for member in sorted(membership.members)
        }
        for member, progress in self.progress.items():
            progress.is_learner = member in membership.learners

    def reset(self, self_id: MemberId, last_index: int) -> None:
        """Know nothing but the own log, as at the start of a term."""
        for member in self.progress:
            self.progress[member] = Progress(
                match=last_index if member == self_id else 0,
                next_index=last_index + 1,
                inflights=self._inflights(),
                is_learner=member in self.membership.learners,
            )

    def committed(self) -> int:
        """The highest index that a majority has, of each half if joint."""
        index = self._majority_has(self.membership.voters)
        if self.membership.outgoing:
            index = min(index, self._majority_has(self.membership.outgoing))
        return index

    def _majority_has(self, voters: Collection[MemberId]) -> int:
        progress = self.progress
        matches = sorted([progress[voter].match for voter in voters])
        return matches[len(matches) - majority(len(matches))] if matches else 0

    def quorum_active(self, self_id: MemberId) -> bool:
        """Whether a majority was heard since the last check."""
        active = {
            member: member == self_id or progress.recent_active
            for member, progress in self.progress.items()
            if not progress.is_learner
        }
        return self._result(active) == "won"

    def forget_activity(self, self_id: MemberId) -> None:
        """Begin a new period in which members must be heard."""
        for member, progress in self.progress.items():
            if member != self_id:
                progress.recent_active = False

    def confirmed(self, acks: dict[MemberId, bool]) -> bool:
        """Whether those that acknowledged are a majority."""
        return self._result(acks) == "won"

    def record_vote(self, member: MemberId, granted: bool) -> VoteResult:
        """Count a vote, the first of each member; how the election stands."""
        self.votes.setdefault(member, granted)
        return self._result(self.votes)

    @property
    def is_singleton(self) -> bool:
        """Whether one voter alone decides."""
        return len(self.membership.voters) == 1 and not self.membership.outgoing

    def _result(self, votes: dict[MemberId, bool]) -> VoteResult:
        if not self.membership.outgoing:
            return vote_result(self.membership.voters, votes)
        return joint_vote_result(self.membership.voters, self.membership.outgoing, votes)

    def _fresh(self, last_index: int) -> Progress:
        # Active at first, lest a leader that has just added it believes that it lost its quorum.
        return Progress(next_index=max(last_index, 1), inflights=self._inflights(), recent_active=True)

    def _inflights(self) -> Inflights:
        return Inflights(self._config.max_inflight_messages, self._config.max_inflight_bytes)
