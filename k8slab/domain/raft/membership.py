"""Who is a member, and how that changes: one at a time or by joint consensus (Raft §6; thesis §4).

`Membership` is a value; a change gives a new one or raises MembershipError and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from k8slab.domain.raft.errors import MembershipError
from k8slab.domain.raft.quorum import MemberId

ChangeKind = Literal["voter", "learner", "remove", "update"]
Transition = Literal["auto", "implicit", "explicit"]
NOBODY_ELSE: frozenset[MemberId] = frozenset()


@dataclass(frozen=True)
class Change:
    """One member becomes a voter or a learner or leaves; `update` changes nothing (an address, say)."""

    kind: ChangeKind
    member: MemberId


@dataclass(frozen=True)
class MembershipChange:
    """What an entry of the log asks of the membership.

    auto     : one change is made at once; several pass through a joint membership, left by itself
    implicit : through a joint membership, left by itself
    explicit : through a joint membership, left when an empty change asks for it

    >>> MembershipChange((Change("voter", "d"),)).is_joint, MembershipChange(()).leaves_joint
    (False, True)
    """

    changes: tuple[Change, ...]
    transition: Transition = "auto"

    @property
    def leaves_joint(self) -> bool:
        """Whether this asks to leave the joint membership."""
        return self.transition == "auto" and not self.changes

    @property
    def is_joint(self) -> bool:
        """Whether this passes through a joint membership."""
        return self.transition != "auto" or len(self.changes) > 1

    @property
    def auto_leave(self) -> bool:
        """Whether the joint membership that this enters is left by itself."""
        return self.transition != "explicit"


@dataclass(frozen=True)
class Membership:
    """Voters, learners, and while a change is under way the voters before it.

    outgoing      : voters before the change; empty unless the membership is joint
    learners      : receive the log and don't count
    learners_next : voters of `outgoing` that become learners when the joint membership is left
    auto_leave    : the leader leaves the joint membership by itself
    """

    voters: frozenset[MemberId] = NOBODY_ELSE
    outgoing: frozenset[MemberId] = NOBODY_ELSE
    learners: frozenset[MemberId] = NOBODY_ELSE
    learners_next: frozenset[MemberId] = NOBODY_ELSE
    auto_leave: bool = False

    @classmethod
    def of(
        cls,
        voters: Iterable[MemberId] = (),
        *,
        outgoing: Iterable[MemberId] = (),
        learners: Iterable[MemberId] = (),
        learners_next: Iterable[MemberId] = (),
        auto_leave: bool = False,
    ) -> Membership:
        """A membership from lists, each checked: nobody twice, no learner that votes.

        >>> Membership.of("abc").all_voters == {"a", "b", "c"}
        True
        """
        sets = {
            "voters": _once("voters", voters),
            "outgoing": _once("outgoing", outgoing),
            "learners": _once("learners", learners),
            "learners_next": _once("learners_next", learners_next),
        }
        membership = cls(**sets, auto_leave=auto_leave)
        membership.check()
        return membership

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    @property
    def all_voters(self) -> frozenset[MemberId]:
        """Voters of both halves: those that are asked for a vote."""
        return self.voters | self.outgoing

    @property
    def members(self) -> frozenset[MemberId]:
        """Everybody that receives the log."""
        return self.voters | self.outgoing | self.learners

    def check(self) -> None:
        """Raise MembershipError unless the sets fit together."""
        voting = self.learners & self.all_voters
        if voting:
            raise MembershipError("bad_input", f"{sorted(voting)} can't be voters and learners at once")
        if not self.learners_next <= self.outgoing:
            strange = sorted(self.learners_next - self.outgoing)
            raise MembershipError("bad_input", f"{strange} are to become learners but are no outgoing voters")
        if self.auto_leave and not self.is_joint:
            raise MembershipError("bad_input", "only a joint membership can be left by itself")

    def after(self, change: MembershipChange) -> tuple[Membership, frozenset[MemberId]]:
        """The membership after a change, and the members that begin anew in it."""
        if change.leaves_joint:
            return self.leave_joint(), NOBODY_ELSE
        if change.is_joint:
            return self.enter_joint(change.changes, auto_leave=change.auto_leave)
        return self.simple(change.changes)

    def simple(self, changes: Iterable[Change]) -> tuple[Membership, frozenset[MemberId]]:
        """Make changes that add or remove one voter at most, so that old and new majorities overlap."""
        if self.is_joint:
            raise MembershipError("in_joint", "a joint membership must be left before another change")
        editor = _Editor(self)
        editor.apply(changes)
        moved = self.voters ^ editor.voters
        if len(moved) > 1:
            raise MembershipError(
                "not_simple", f"a simple change can move one voter, not {sorted(moved)}: use a joint change"
            )
        return editor.result(NOBODY_ELSE, auto_leave=False)

    def enter_joint(self, changes: Iterable[Change], *, auto_leave: bool) -> tuple[Membership, frozenset[MemberId]]:
        """Begin a joint membership: the present voters go out, those after the changes come in."""
        if self.is_joint:
            raise MembershipError("already_joint", "the membership is joint already")
        if not self.voters:
            raise MembershipError("empty_voters", "a membership without voters can't become joint")
        editor = _Editor(self, outgoing=self.voters)
        editor.apply(changes)
        return editor.result(self.voters, auto_leave=auto_leave)

    def leave_joint(self) -> Membership:
        """End a joint membership: who is only outgoing is gone, who was to become a learner is one."""
        if not self.is_joint:
            raise MembershipError("not_joint", "the membership is not joint, so it can't be left")
        return Membership(self.voters, learners=self.learners | self.learners_next)


class _Editor:
    """The sets of a membership while changes are made one after another.

    fresh : members whose replication begins anew, for they were none before, or were removed meanwhile
    """

    def __init__(self, membership: Membership, outgoing: frozenset[MemberId] = NOBODY_ELSE) -> None:
        self.voters = set(membership.voters)
        self.outgoing = outgoing
        self.learners = set(membership.learners)
        self.learners_next = set(membership.learners_next)
        self.known = set(membership.members)
        self.fresh: set[MemberId] = set()

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if not change.member:  # nobody: a change that was struck out
                continue
            if change.kind == "voter":
                self._make_voter(change.member)
            elif change.kind == "learner":
                self._make_learner(change.member)
            elif change.kind == "remove":
                self._remove(change.member)
            elif change.kind != "update":
                raise MembershipError("bad_input", f"unknown change {change.kind!r} of member {change.member!r}")
        if not self.voters:
            raise MembershipError("no_voters", "the change would remove the last voter")

    def result(self, outgoing: frozenset[MemberId], *, auto_leave: bool) -> tuple[Membership, frozenset[MemberId]]:
        membership = Membership(
            frozenset(self.voters), outgoing, frozenset(self.learners), frozenset(self.learners_next), auto_leave
        )
        membership.check()
        return membership, frozenset(self.fresh)

    def _make_voter(self, member: MemberId) -> None:
        self._meet(member)
        self.learners.discard(member)
        self.learners_next.discard(member)
        self.voters.add(member)

    def _make_learner(self, member: MemberId) -> None:
        if member in self.learners:
            return
        if member in self.known:
            self.voters.discard(member)
        else:
            self._meet(member)
        # While an outgoing voter counts, it can't be a learner: it becomes one on leaving.
        (self.learners_next if member in self.outgoing else self.learners).add(member)

    def _remove(self, member: MemberId) -> None:
        self.voters.discard(member)
        self.learners.discard(member)
        self.learners_next.discard(member)
        if member not in self.outgoing:
            self.known.discard(member)
            self.fresh.discard(member)

    def _meet(self, member: MemberId) -> None:
        if member not in self.known:
            self.known.add(member)
            self.fresh.add(member)


def _once(what: str, members: Iterable[MemberId]) -> frozenset[MemberId]:
    listed = list(members)
    twice = sorted({member for member in listed if listed.count(member) > 1})
    if twice:
        raise MembershipError("bad_input", f"{what} lists {twice} more than once")
    if "" in listed:
        raise MembershipError("bad_input", f"{what} lists a member without a name")
    return frozenset(listed)
