"""Elections by the ten thousand against the published figures, the thesis' formulas, and themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from k8slab.domain.raft import RaftConfig
from k8slab.errors import InputError
from k8slab.simulation.elections import (
    ElectionSetup,
    after_crash,
    run_elections,
    split_probability,
    split_share,
    split_votes,
    wide_area,
)
from k8slab.simulation.raft_faults import MS, ClockModel, NetworkModel, Schedule
from k8slab.simulation.raft_world import World

# Thesis fig. 9.8 (figure 16 of the extended Raft paper), ms: timeout -> p10, median, p90, mean.
MEASURED = {
    (150, 175): (106.8, 141.0, 291.2, 163.8),
    (150, 200): (110.5, 146.5, 193.5, 156.0),
    (150, 300): (124.7, 171.3, 244.3, 180.7),
    (12, 24): (19.7, 30.0, 53.0, 34.7),
    (25, 50): (30.6, 43.0, 73.7, 47.9),
    (50, 100): (47.5, 66.7, 95.8, 71.4),
    (100, 200): (85.1, 120.1, 165.5, 125.4),
}


@pytest.mark.parametrize("timeout", MEASURED)
def test_time_without_a_leader_is_as_measured(timeout):
    _, median, _, mean = MEASURED[timeout]
    elections = after_crash(timeout, trials=10_000, seed=1)
    assert elections.quantile(0.5) == pytest.approx(median, rel=0.1)
    assert elections.mean == pytest.approx(mean, rel=0.1)


def test_the_narrower_the_range_the_longer_it_takes():
    ranges = ((150, 151), (150, 155), (150, 300), (150, 200), (150, 175))
    medians = [after_crash(timeout, seed=2).quantile(0.5) for timeout in ranges]
    assert medians == sorted(medians, reverse=True)
    assert 400 < medians[0] < 3600
    assert after_crash((150, 150), trials=20, seed=2).quantile(0.5) > 8000


@pytest.mark.parametrize(
    ("dead", "same_logs", "median", "mean", "within"),
    [
        (0, True, 409.5, 429.9, 0.05),
        (1, True, 423.2, 468.6, 0.05),
        (2, True, 468.7, 631.4, 0.05),
        (0, False, 470.6, 492.5, 0.1),
        (1, False, 501.8, 550.4, 0.1),
        (2, False, 598.5, 714.5, 0.1),
    ],
)
def test_a_wide_area_network_is_as_the_thesis_simulated(dead, same_logs, median, mean, within):
    elections = wide_area(dead, same_logs=same_logs, seed=3)
    assert elections.quantile(0.5) == pytest.approx(median, rel=within)
    assert elections.mean == pytest.approx(mean, rel=within)
    if same_logs and dead:
        assert elections.quantile(0.999) < (1500 if dead == 1 else 3000)


@pytest.mark.parametrize(
    ("members", "dead", "delay", "published"),
    [(3, 1, 0.1, 0.19), (5, 1, 0.1, 0.0523), (5, 1, 0.2, 0.1808), (5, 2, 0.1, 0.271), (9, 4, 0.2, 0.6723)],
)
def test_split_votes_are_as_rare_as_the_formula_says(members, dead, delay, published):
    assert split_probability(members, dead, delay) == pytest.approx(published, abs=1e-4)
    assert split_share(split_votes(members, dead, (delay, delay), seed=4)) == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize(("dead", "published"), [(1, 0.16), (2, 0.395)])
def test_split_votes_with_delays_that_vary(dead, published):
    assert split_share(split_votes(5, dead, (0.1, 0.2), seed=5)) == pytest.approx(published, abs=0.02)


def test_the_earliest_of_several_timers():
    """P(earliest of s uniform timers <= t) = 1 - (1 - t)^s; mean 1 / (s + 1)."""
    elections = run_elections(
        ElectionSetup(members=5, dead=1, timeout=(1.0, 2.0), delay=(0.0, 0.0)), trials=20_000, seed=6
    )
    first = elections.time - 1.0
    assert (first <= 0.25).mean() == pytest.approx(1 - 0.75**4, abs=0.01)
    assert first.mean() == pytest.approx(1 / 5, abs=0.005)


@given(seed=st.integers(0, 2**63), members=st.integers(1, 7), loss=st.sampled_from([0.0, 0.2]))
def test_a_trial_is_a_function_of_its_seed(seed, members, loss):
    setup = ElectionSetup(members=members, loss=loss)
    one, other = (run_elections(setup, trials=5, seed=seed) for _ in range(2))
    assert one.time.tolist() == other.time.tolist()
    assert run_elections(setup, trials=2, seed=seed).time.tolist() == one.time[:2].tolist()
    assert (one.time >= 150).all()
    assert (one.term >= 1).all()


def test_without_a_majority_nobody_leads():
    elections = run_elections(ElectionSetup(members=4, dead=2), trials=10, horizon=10_000)
    assert np.isinf(elections.time).all()
    assert elections.leaders.sum() == 0
    assert elections.candidacies.min() > 10


def test_a_member_whom_nobody_reaches_deposes_leaders_unless_it_asks_first():
    """Its messages arrive, none arrive at it. With check_quorum and pre-vote it must ask, and nobody agrees."""
    loss = np.zeros((5, 5))
    loss[:, 4] = 1.0
    share = {}
    for careful in (False, True):
        setup = ElectionSetup(loss=loss, pre_vote=careful, check_quorum=careful, patient_on_new_term=True)
        played = run_elections(setup, trials=20, seed=8, until="horizon", horizon=20_000)
        share[careful] = played.served_share.mean()
        assert (played.leaders.mean() > 3) != careful
    assert share[False] < 0.9 < 0.95 < share[True]


def test_frames_have_a_row_a_trial():
    frame = after_crash((150, 300), trials=7).to_frame()
    assert list(frame) == ["trial", "time", "term", "served_share", "candidacies", "leaders"]
    assert len(frame) == 7


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"members": 0}, "1 to 63 members"),
        ({"members": 3, "dead": 3}, "one alive"),
        ({"timeout": (300, 150)}, "low <= high"),
        ({"timeout": (0, 0)}, "more than 0"),
        ({"members": 3, "log_rank": (1, 2)}, "log_rank names 2 members"),
        ({"loss": 1.5}, "from 0 to 1"),
    ],
)
def test_a_setup_that_cannot_be_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        ElectionSetup(**wrong)


def test_unknown_ends_are_refused():
    with pytest.raises(InputError, match="wanted one of elected, heard, horizon"):
        run_elections(ElectionSetup(), until="doomsday")
    with pytest.raises(InputError, match="one trial at least"):
        run_elections(ElectionSetup(), trials=0)


def object_elections(seeds, members, delay_ms, loss):
    """When the object core's first leader was elected, in ms, under the laboratory's clock with ticks of 5 ms."""
    names = tuple(f"n{number}" for number in range(members))
    network = NetworkModel((delay_ms[0] * MS, delay_ms[1] * MS), loss)
    for seed in seeds:
        schedule = Schedule(names, seed, network, clocks=ClockModel(tick_ns=5 * MS))
        world = World(schedule, RaftConfig(election_ticks=30, heartbeat_ticks=10), watch=False)
        while not world.leader:
            world.run_until(world.now + 100 * MS)
        yield next(change.at_ns for change in world.record.roles if change.role == "leader") / MS


@pytest.mark.parametrize(
    ("members", "delay_ms", "loss"), [(3, (1, 5), 0.0), (5, (10, 30), 0.0), (5, (10, 30), 0.2)], ids=str
)
def test_the_compiled_model_is_distributed_as_the_object_core(members, delay_ms, loss):
    """Two-sample Kolmogorov-Smirnov; 30 to 59 ticks of 5 ms, the first of them cut short, are 145 to 295 ms."""
    slow = list(object_elections(range(300), members, delay_ms, loss))
    setup = ElectionSetup(members=members, timeout=(145, 295), delay=delay_ms, loss=loss, patient_on_new_term=True)
    fast = run_elections(setup, trials=10_000, seed=9).time
    assert ks_2samp(slow, fast).pvalue > 0.01
    # And the test can tell: a tenth more patience would not pass.
    assert ks_2samp(slow, fast * 1.1).pvalue < 0.01
