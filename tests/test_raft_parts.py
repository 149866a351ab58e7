"""The pure parts of Raft, each against its slow twin or by its properties: quorum, membership, progress, log."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.raft import Change, Entry, Log, Membership, MembershipChange, Raft, RaftConfig, Snapshot
from k8slab.domain.raft.errors import EntryTooLarge, LogConflict, MembershipError
from k8slab.domain.raft.log import entry_size, within
from k8slab.domain.raft.messages import StoreToken
from k8slab.domain.raft.progress import Inflights, Progress
from k8slab.domain.raft.quorum import (
    UNBOUNDED,
    committed_index,
    joint_committed_index,
    joint_vote_result,
    vote_result,
)
from k8slab.domain.raft.store import MemoryLogStore
from k8slab.domain.raft.timeouts import ElectionTimeouts
from k8slab.errors import InputError

voter_sets = st.sets(st.sampled_from("abcdefg"))

# -- quorum ----------------------------------------------------------------------


def majorities(voters):
    """Every set of voters that decides."""
    return [set(some) for size in range(len(voters) // 2 + 1, len(voters) + 1) for some in combinations(voters, size)]


def naive_committed(voters, acked):
    """The highest index such that some majority has it."""
    if not voters:
        return UNBOUNDED
    return max(min(acked.get(voter, 0) for voter in some) for some in majorities(voters))


def naive_vote(voters, votes):
    if not voters or any(all(votes.get(voter) for voter in some) for some in majorities(voters)):
        return "won"
    if any(all(votes.get(voter, True) for voter in some) for some in majorities(voters)):
        return "pending"
    return "lost"


@given(voters=voter_sets, acked=st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 9)))
def test_committed_is_what_some_majority_has(voters, acked):
    assert committed_index(voters, acked) == naive_committed(voters, acked)


@given(voters=voter_sets, votes=st.dictionaries(st.sampled_from("abcdefg"), st.booleans()))
def test_a_vote_is_decided_when_no_more_votes_could_change_it(voters, votes):
    assert vote_result(voters, votes) == naive_vote(voters, votes)


@given(
    voters=voter_sets,
    outgoing=voter_sets,
    votes=st.dictionaries(st.sampled_from("abcdefg"), st.booleans()),
    acked=st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 9)),
)
def test_a_joint_decision_is_one_of_both_halves(voters, outgoing, votes, acked):
    assert joint_committed_index(voters, outgoing, acked) == joint_committed_index(outgoing, voters, acked)
    assert joint_committed_index(voters, (), acked) == committed_index(voters, acked)
    assert joint_vote_result(voters, voters, votes) == vote_result(voters, votes)
    result = joint_vote_result(voters, outgoing, votes)
    halves = (vote_result(voters, votes), vote_result(outgoing, votes))
    assert (result == "won") == (halves == ("won", "won"))
    assert (result == "lost") == ("lost" in halves)


# -- membership ------------------------------------------------------------------

changes = st.lists(
    st.builds(Change, st.sampled_from(["voter", "learner", "remove", "update"]), st.sampled_from("abcdef")), max_size=4
)
change_requests = st.builds(
    lambda some, transition: MembershipChange(tuple(some), transition),
    changes,
    st.sampled_from(["auto", "implicit", "explicit"]),
)


@given(st.lists(change_requests, max_size=8))
def test_whatever_is_asked_a_membership_fits_together_and_old_and_new_majorities_meet(requests):
    membership = Membership.of("abc")
    for request in requests:
        try:
            after, fresh = membership.after(request)
        except MembershipError:
            continue
        after.check()
        assert after.voters
        assert fresh <= after.members
        assert fresh.isdisjoint(membership.members - {change.member for change in request.changes})
        if not after.is_joint and not membership.is_joint:
            for old in majorities(membership.voters):
                assert all(old & new for new in majorities(after.voters))
        membership = after


def test_a_joint_change_swaps_members_and_makes_an_outgoing_voter_a_learner():
    request = MembershipChange((Change("voter", "d"), Change("learner", "a"), Change("remove", "b")))
    joint, fresh = Membership.of("abc").after(request)
    assert (sorted(joint.voters), sorted(joint.outgoing), sorted(joint.learners_next)) == (
        ["c", "d"], ["a", "b", "c"], ["a"],
    )  # fmt: skip
    assert (joint.learners, joint.auto_leave, fresh) == (frozenset(), True, {"d"})
    left, _ = joint.after(MembershipChange(()))
    assert left == Membership.of("cd", learners="a")


@pytest.mark.parametrize(
    ("membership", "change", "reason"),
    [
        (Membership.of("abc"), MembershipChange(()), "not_joint"),
        (Membership.of("ab", outgoing="abc"), MembershipChange((Change("voter", "d"),)), "in_joint"),
        (Membership.of("ab", outgoing="abc"), MembershipChange((), "explicit"), "already_joint"),
        (Membership(), MembershipChange((Change("voter", "a"),), "explicit"), "empty_voters"),
        (Membership.of("a"), MembershipChange((Change("remove", "a"),)), "no_voters"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(membership, change, reason):
    with pytest.raises(MembershipError) as told:
        membership.after(change)
    assert told.value.reason == reason


def test_a_simple_change_moves_one_voter():
    with pytest.raises(MembershipError, match="one voter"):
        Membership.of("abc").simple([Change("voter", "d"), Change("voter", "e")])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"voters": ["a", "b", "a"]}, r"\['a'\] more than once"),
        ({"voters": ["a", ""]}, "without a name"),
        ({"voters": "ab", "learners": "b"}, "voters and learners at once"),
        ({"voters": "ab", "learners_next": "c"}, "no outgoing voters"),
        ({"voters": "ab", "auto_leave": True}, "only a joint membership"),
    ],
)
def test_a_membership_that_does_not_fit_together_is_refused(wrong, words):
    with pytest.raises(MembershipError, match=words):
        Membership.of(**wrong)


# -- progress --------------------------------------------------------------------


@given(
    size=st.integers(1, 5),
    max_bytes=st.integers(0, 300),
    steps=st.lists(st.one_of(st.integers(1, 200), st.just("free")), max_size=40),
)
def test_appends_in_flight_are_counted_as_a_list_would(size, max_bytes, steps):
    inflights, naive, index = Inflights(size, max_bytes), [], 0
    for step in steps:
        if step == "free":
            naive = naive[len(naive) // 2 + 1 :]
            inflights.free_up_to(naive[0][0] - 1 if naive else index)
        elif not inflights.full:
            index += 1
            naive.append((index, step))
            inflights.add(index, step)
        assert (inflights.count, inflights.bytes) == (len(naive), sum(bytes_ for _, bytes_ in naive))
        full = len(naive) >= size or (max_bytes > 0 and sum(bytes_ for _, bytes_ in naive) >= max_bytes)
        assert inflights.full == full


def test_a_full_window_takes_no_more():
    inflights = Inflights(1)
    inflights.add(1, 0)
    with pytest.raises(InputError, match="unanswered"):
        inflights.add(2, 0)


def test_a_probe_waits_for_its_answer_and_replication_does_not():
    progress = Progress(next_index=5, inflights=Inflights(2))
    progress.sent(3, 0)
    assert (progress.paused, progress.next) == (True, 5)
    assert progress.maybe_update(7)
    progress.become_replicate()
    progress.sent(1, 0)
    assert (progress.paused, progress.next) == (False, 9)
    progress.sent(1, 0)
    assert (progress.paused, progress.next) == (True, 10)  # the window is full


def test_an_old_refusal_changes_nothing():
    progress = Progress(match=5, next_index=9, inflights=Inflights(2))
    assert not progress.maybe_decrease(3, 2)  # not the last probe
    progress.become_replicate()
    assert not progress.maybe_decrease(5, 4)  # it has been matched since
    assert progress.next == 6


# -- log -------------------------------------------------------------------------

terms = st.lists(st.integers(1, 4), max_size=12).map(sorted)


def log_of(terms_, base=0):
    log = Log.starting_at(Snapshot(base, terms_[0] if base and terms_ else 0, Membership()))
    log.append([Entry(index, term) for index, term in enumerate(terms_, base + 1)])
    return log


@given(mine=terms, theirs=terms, index=st.integers(0, 12), count=st.integers(0, 12), commit=st.integers(0, 20))
def test_taking_a_leaders_entries_makes_the_logs_alike_up_to_them(mine, theirs, index, count, commit):
    """And touches nothing if they don't meet; entries that follow are kept unless contradicted."""
    if index > len(theirs):
        return
    log = log_of(mine)
    entries = [Entry(i, term) for i, term in enumerate(theirs, 1)][index : index + count]
    before = list(log.entries)
    last = log.maybe_append(index, theirs[index - 1] if index else 0, entries, commit)
    met = index == 0 or (index <= len(mine) and mine[index - 1] == theirs[index - 1])
    assert (last is not None) == met
    if last is None:
        assert log.entries == before
        return
    assert log.entries[index:last] == entries
    assert log.committed == min(commit, last)
    contradicted = before[index:last] != entries[: len(before[index:last])]
    assert log.last_index == (last if contradicted else max(last, len(before)))


@given(terms_=terms, index=st.integers(0, 14), term=st.integers(0, 5))
def test_where_logs_may_meet_is_the_last_entry_that_is_not_newer(terms_, index, term):
    log = log_of(terms_)
    found, found_term = log.find_conflict_by_term(index, term)
    if index > len(terms_):
        assert (found, found_term) == (index, 0)
    else:
        fitting = [i for i in range(1, index + 1) if terms_[i - 1] <= term]
        assert found == max(fitting, default=0)
        assert found_term == (terms_[found - 1] if found else 0)


def test_what_is_committed_is_never_replaced():
    log = log_of([1, 1, 1])
    log.commit_to(2)
    with pytest.raises(LogConflict, match="up to 2 are committed"):
        log.append([Entry(2, 2)])
    with pytest.raises(LogConflict, match="entries were lost"):
        log.commit_to(4)
    with pytest.raises(LogConflict, match="gap"):
        log.append([Entry(9, 2)])


def test_a_log_is_compacted_only_where_a_snapshot_stands_for_it():
    log = log_of([1, 1, 2, 2])
    log.commit_to(4)
    log.applied_to(3, 0)
    with pytest.raises(InputError, match="newest snapshot ends with 0"):
        log.compact(2)
    with pytest.raises(InputError, match="only 3 are applied"):
        log.offer(Snapshot(4, 2, Membership()))
    log.offer(Snapshot(3, 2, Membership()))
    log.compact(2)
    assert (log.base_index, log.base_term, log.last_index, log.term(1), log.term(3)) == (2, 1, 4, None, 2)
    with pytest.raises(InputError, match="gone already"):
        log.compact(2)


def test_stored_entries_that_were_replaced_meanwhile_do_not_count():
    log = log_of([1, 1])
    log.start_storing()
    log.append([Entry(2, 2)])
    log.stored_to(2, 1)
    assert log.stable == 0
    log.stored_to(2, 2)
    assert log.stable == 2


def test_an_answer_of_the_store_from_an_earlier_term_does_not_count():
    """Entries can be replaced and come back: only an answer of this term says what is on the disk now."""
    member = Raft("a", "abc", config=RaftConfig(async_storage=True))
    log = member.log
    log.append([Entry(1, 1)])
    ready = member.ready()
    assert ready.token == StoreToken(0, 1, 1, 0)
    member.become_follower(2, "b")
    member.stored(ready)
    assert log.stable == 0


def test_entries_handed_out_to_be_applied_are_bounded_by_bytes():
    log = Log(max_applying_bytes=20)
    log.append([Entry(index, 1, "x" * 10) for index in range(1, 6)])
    log.commit_to(5)
    first = log.to_apply(unstable=True)
    assert [entry.index for entry in first] == [1]
    log.start_applying(first, unstable=True)
    assert log.to_apply(unstable=True) == ()  # until it is acknowledged
    log.applied_entries(first)
    assert [entry.index for entry in log.to_apply(unstable=True)] == [2]


@given(sizes=st.lists(st.integers(0, 50), max_size=8), limit=st.integers(0, 100))
def test_a_message_holds_as_many_entries_as_fit_and_one_at_least(sizes, limit):
    entries = [Entry(index, 1, "x" * size) for index, size in enumerate(sizes, 1)]
    taken = list(within(entries, limit, entry_size))
    assert taken == entries[: len(taken)]
    assert len(taken) >= min(1, len(entries))
    assert len(taken) <= 1 or sum(map(entry_size, taken)) <= limit
    assert taken == entries or sum(map(entry_size, entries[: len(taken) + 1])) > limit


# -- store, timeouts, configuration ----------------------------------------------


def test_a_member_starts_from_what_its_store_kept():
    store = MemoryLogStore()
    member = Raft("a", "a")
    member.campaign()
    member.advance(member.ready())
    member.propose("x")
    while member.has_ready:
        ready = member.ready()
        store.save(ready)
        member.advance(ready)
    hard_state, log = store.load()
    again = Raft("a", "a", log=log, hard_state=hard_state)
    assert (again.role, again.term, again.vote, again.log.committed) == ("follower", 1, "a", 2)
    assert [entry.data for entry in again.ready().committed] == [None, "x"]


def test_a_store_that_lost_committed_entries_stops_the_member():
    store = MemoryLogStore()
    store.hard_state = store.hard_state._replace(term=3, commit=7)
    hard_state, log = store.load()
    with pytest.raises(LogConflict, match="entry 7 is committed elsewhere, but the log ends with 0"):
        Raft("a", "abc", log=log, hard_state=hard_state)


def test_patience_differs_between_members_and_draws_and_covers_its_range():
    draws = {name: ElectionTimeouts(7, name) for name in "ab"}
    seen = {name: [timeouts.draw(10) for _ in range(500)] for name, timeouts in draws.items()}
    assert seen["a"] != seen["b"]
    assert set(seen["a"]) == set(seen["b"]) == set(range(10, 20))
    again = ElectionTimeouts(7, "a")
    assert seen["a"] == [again.draw(10) for _ in range(500)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"election_ticks": 1}, "election_ticks=1 must be more"),
        ({"heartbeat_ticks": 0}, "heartbeat_ticks=0"),
        ({"max_inflight_messages": 0}, "max_inflight_messages=0"),
        ({"max_inflight_bytes": 10, "max_message_bytes": 20}, "less than one message"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        RaftConfig(**wrong)


def test_an_entry_that_is_too_large_is_an_error_and_not_proposed():
    member = Raft("a", "a", config=RaftConfig(max_entry_bytes=3))
    with pytest.raises(EntryTooLarge, match="4 bytes: at most 3"):
        member.propose("abcd")
    assert member.log.last_index == 0
