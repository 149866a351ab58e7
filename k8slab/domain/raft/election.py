"""Elections: standing, voting, counting (Raft §5.2, §5.4.1), with pre-vote (thesis §9.6) and transfer (§3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from k8slab.domain.raft.messages import NOBODY, RESPONSE_OF, TRANSFER, Message, VoteKind
from k8slab.domain.raft.replication import broadcast_append

if TYPE_CHECKING:
    from k8slab.domain.raft.core import Raft

Campaign = Literal["pre_vote", "vote", "transfer"]


def stand(raft: Raft, campaign: Campaign) -> None:
    """Stand for election, unless leading already, not eligible, or behind with changes of membership."""
    if raft.role == "leader" or not raft.is_promotable or raft.log.has_unapplied_change:
        return
    ask_for_votes(raft, campaign)


def ask_for_votes(raft: Raft, campaign: Campaign) -> None:
    """Become a candidate, or with `pre_vote` ask first whether it would be elected; vote for itself."""
    kind: VoteKind = "pre_vote" if campaign == "pre_vote" else "vote"
    if kind == "pre_vote":
        raft.become_pre_candidate()
        term = raft.term + 1
    else:
        raft.become_candidate()
        term = raft.term
    context = TRANSFER if campaign == "transfer" else None
    log, me = raft.log, raft.member_id
    for voter in sorted(raft.tracker.membership.all_voters):
        if voter == me:
            # The own vote counts as the others' do: once it is durable.
            raft.reply(Message(RESPONSE_OF[kind], me, me, term))
        else:
            raft.messages.append(Message(kind, me, voter, term, log.last_index, log.last_term, context=context))


def ignores_candidate(raft: Raft, message: Message) -> bool:
    """Whether a leader was heard so recently that a candidate can only disturb (thesis §4.2.3)."""
    config = raft.config
    return (
        config.check_quorum
        and config.leader_stickiness
        and raft.leader != NOBODY
        and raft.election_elapsed < config.election_ticks
        and message.context != TRANSFER
    )


def answer_vote(raft: Raft, message: Message) -> None:
    """Vote for a candidate whose log holds no less than the own: one candidate a term.

    A pre-vote promises nothing, so it binds nobody. Learners vote too when asked: the candidate
    may know of a promotion that they have yet to learn of.
    """
    kind: VoteKind = "pre_vote" if message.kind == "pre_vote" else "vote"
    free = raft.vote == NOBODY and raft.leader == NOBODY
    may = raft.vote == message.source or free or (kind == "pre_vote" and message.term > raft.term)
    if may and raft.log.is_up_to_date(message.index, message.log_term):
        # With the term that was asked for: a pre-vote's is not (yet) the own.
        raft.reply(Message(RESPONSE_OF[kind], raft.member_id, message.source, message.term))
        if kind == "vote":
            raft.election_elapsed = 0
            raft.vote = message.source
    else:
        raft.reply(Message(RESPONSE_OF[kind], raft.member_id, message.source, raft.term, reject=True))


def count_vote(raft: Raft, message: Message) -> None:
    """Count an answer; a majority for it makes a leader, or of a pre-candidate a candidate."""
    asked: VoteKind = "pre_vote" if raft.role == "pre_candidate" else "vote"
    if message.kind != RESPONSE_OF[asked]:
        return
    result = raft.tracker.record_vote(message.source, not message.reject)
    if result == "lost":
        raft.become_follower(raft.term, NOBODY)
    elif result == "won" and asked == "pre_vote":
        ask_for_votes(raft, "vote")
    elif result == "won":
        raft.become_leader()
        broadcast_append(raft)
