"""Elections by the ten thousand against the published figures, the thesis' formulas, and themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from k8slab.domain.raft import RaftConfig
from k8slab.errors import InputError
from k8slab.kernels.dice import uniform
from k8slab.simulation.elections import (
    ElectionSetup,
    after_crash,
    earliest_timer,
    mean_election,
    run_elections,
    split_probability,
    split_share,
    split_votes,
    wide_area,
)
from k8slab.simulation.raft_faults import MS, ClockModel, NetworkModel, Schedule
from k8slab.simulation.raft_world import World
from tests import naive

# Thesis fig. 9.8 (figure 16 of the extended Raft paper), ms: timeout -> median, 99th percentile, mean.
MEASURED = {
    (150, 175): (141.0, 466.8, 163.8),
    (150, 200): (146.5, 352.0, 156.0),
    (150, 300): (171.3, 414.6, 180.7),
    (12, 24): (30.0, 86.9, 34.7),
    (25, 50): (43.0, 118.9, 47.9),
    (50, 100): (66.7, 168.9, 71.4),
    (100, 200): (120.1, 277.1, 125.4),
}


def test_the_dice_are_splitmix64():
    dice = np.array([12345], dtype=np.uint64)
    state = 12345
    for _ in range(100):
        state = (state + naive.GOLDEN) % naive.WORD
        assert uniform(dice) == (naive.splitmix64(state) >> 11) * 2.0**-53
        assert int(dice[0]) == state


@pytest.mark.parametrize("timeout", MEASURED)
def test_time_without_a_leader_is_as_measured(timeout):
    median, slowest, mean = MEASURED[timeout]
    elections = after_crash(timeout, trials=10_000, seed=1)
    assert elections.quantile(0.5) == pytest.approx(median, rel=0.1)
    assert elections.mean == pytest.approx(mean, rel=0.1)
    assert elections.quantile(0.99) == pytest.approx(slowest, rel=0.35)


def test_timers_that_differ_by_five_milliseconds():
    assert after_crash((150, 155), trials=10_000, seed=1).quantile(0.5) == pytest.approx(287.3, rel=0.25)


def test_the_narrower_the_range_the_longer_it_takes():
    ranges = ((150, 151), (150, 155), (150, 300), (150, 200), (150, 175))
    medians = [after_crash(timeout, seed=2).quantile(0.5) for timeout in ranges]
    assert medians == sorted(medians, reverse=True)
    assert 400 < medians[0] < 3600
    assert after_crash((150, 150), trials=20, seed=2).quantile(0.5) > 8000
    assert 8000 < after_crash((150, 150), trials=100, seed=2, jitter=0.4, horizon=1e6).quantile(0.5) < 1e5


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


# Thesis §9.3, percent: (members, dead) -> split votes at a delay of 0.01, 0.05, 0.1, 0.2, 0.3 of the spread.
DELAYS = (0.01, 0.05, 0.1, 0.2, 0.3)
SPLIT_VOTES = {
    (3, 1): (1.990, 9.75, 19.00, 36.00, 51.00),
    (5, 0): (0.001, 0.116, 0.856, 5.79, 16.31),
    (5, 1): (0.059, 1.40, 5.23, 18.08, 34.83),
    (5, 2): (2.97, 14.26, 27.10, 48.80, 65.70),
    (7, 1): (0.002, 0.223, 1.585, 9.89, 25.57),
    (7, 3): (3.94, 18.55, 34.39, 59.04, 75.99),
    (9, 2): (0.003, 0.376, 2.57, 14.80, 35.29),
    (9, 3): (0.146, 3.28, 11.43, 34.46, 57.98),
    (9, 4): (4.90, 22.62, 40.95, 67.23, 83.19),
}


@pytest.mark.parametrize(
    "size", [size if size in ((3, 1), (5, 1)) else pytest.param(size, marks=pytest.mark.long) for size in SPLIT_VOTES],
    ids=str,
)  # fmt: skip
def test_split_votes_are_as_rare_as_the_formula_says(size):
    for delay, percent in zip(DELAYS, SPLIT_VOTES[size], strict=True):
        assert 100 * split_probability(*size, delay) == pytest.approx(percent, abs=0.006)
        elections = split_votes(*size, (delay, delay), seed=4)
        assert 100 * split_share(elections) == pytest.approx(percent, abs=1.0)


# Thesis §9.3: (members, dead) -> mean election in delays, at a spread of 2, 3, 5, 8, 10, 15, 20 delays.
SPREADS = (2, 3, 5, 8, 10, 15, 20)
MEAN_ELECTIONS = {
    (5, 1): (11.4, 8.0, 8.3, 10.5, 12.2, 16.7, 21.4),
    (5, 2): (28.5, 16.3, 13.9, 15.4, 17.0, 21.5, 26.3),
    (9, 4): (107.0, 34.4, 20.6, 19.2, 20.0, 23.4, 27.5),
}


@pytest.mark.parametrize("size", MEAN_ELECTIONS, ids=str)
def test_the_mean_election_is_as_the_formula_says_where_votes_seldom_split(size):
    for spread, published in zip(SPREADS, MEAN_ELECTIONS[size], strict=True):
        assert spread * mean_election(*size, 1 / spread) == pytest.approx(published, abs=0.06 if spread > 2 else 0.25)
        if spread >= 10:
            elections = split_votes(*size, (1 / spread, 1 / spread), trials=5_000, seed=4)
            # Fresh timers all around: nobody waits for a heartbeat that came a quarter earlier.
            assert spread * (elections.mean - 0.25) == pytest.approx(published, rel=0.07)
            terms = 1 / (1 - split_probability(*size, 1 / spread))
            assert elections.term.mean() == pytest.approx(terms, rel=0.06)


def test_a_spread_of_ten_to_twenty_delays_is_the_rule():
    """At most some 40 % of split votes with a bare majority up to nine servers, and a mean near 20 delays."""
    for members in (3, 5, 7, 9):
        dead = members - (members // 2 + 1)
        assert split_probability(members, dead, 1 / 10) < 0.41
        for spread in (10, 20):
            assert 11 < spread * mean_election(members, dead, 1 / spread) < 28


@pytest.mark.parametrize(("dead", "published"), [(1, 0.16), (2, 0.395)])
def test_split_votes_with_delays_that_vary(dead, published):
    assert split_share(split_votes(5, dead, (0.1, 0.2), seed=5)) == pytest.approx(published, abs=0.02)


def test_the_earliest_of_several_timers():
    """P(earliest of s uniform timers <= t) = 1 - (1 - t)^s; mean 1 / (s + 1)."""
    elections = run_elections(
        ElectionSetup(members=5, dead=1, timeout=(1.0, 2.0), delay=(0.0, 0.0)), trials=20_000, seed=6
    )
    first = elections.time - 1.0
    assert earliest_timer(4, 0.25) == pytest.approx(0.684, abs=5e-4)
    assert (first <= 0.25).mean() == pytest.approx(earliest_timer(4, 0.25), abs=0.01)
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
