"""PreVote and CheckQuorum, with and without: held against the object core, and against what must be so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from k8slab.domain.raft import RaftConfig
from k8slab.errors import InputError, UnknownName
from k8slab.experiments.raft_ablation import CONDITIONS, LEVELS, SWITCHES, ablate_elections
from k8slab.simulation.dice import Dice
from k8slab.simulation.elections import ElectionSetup, run_elections
from k8slab.simulation.raft_faults import MS, SECOND, ClockModel, NetworkModel, Schedule
from k8slab.simulation.raft_world import World

SECONDS = 20


def object_leaders(seeds, pre_vote, check_quorum, loss):
    """How many leaders the object core elects, in ticks of 10 ms."""
    config = RaftConfig(
        election_ticks=15, heartbeat_ticks=5, pre_vote=pre_vote, check_quorum=check_quorum, election_entry=False
    )
    names = tuple(f"n{number}" for number in range(5))
    for seed in seeds:
        network, clocks = NetworkModel((1 * MS, 5 * MS), loss), ClockModel(tick_ns=10 * MS)
        world = World(Schedule(names, seed, network, clocks=clocks), config, watch=False)
        world.run_until(SECONDS * SECOND)
        yield sum(change.role == "leader" for change in world.record.roles)


@pytest.mark.parametrize(
    "switches", [pytest.param(name, marks=[pytest.mark.long] * (name != "both")) for name in SWITCHES]
)
def test_leaders_come_and_go_as_often_as_in_the_object_core(switches):
    """With 30 % of the messages lost; two-sample Kolmogorov-Smirnov on the number of leaders."""
    pre_vote, check_quorum = SWITCHES[switches]
    slow = list(object_leaders(range(25), pre_vote, check_quorum, 0.3))
    setup = ElectionSetup(
        timeout=(145, 295), heartbeat=50.0, delay=(1, 5), loss=0.3, pre_vote=pre_vote, check_quorum=check_quorum,
        patient_on_new_term=True,
    )  # fmt: skip
    fast = run_elections(setup, trials=2000, seed=3, until="horizon", horizon=1000 * SECONDS).leaders
    assert ks_2samp(slow, fast).pvalue > 0.01
    # And the test can tell the switches apart.
    others = ElectionSetup(**{**vars(setup), "pre_vote": not pre_vote, "check_quorum": not check_quorum})
    other = run_elections(others, trials=2000, seed=3, until="horizon", horizon=1000 * SECONDS).leaders
    if switches in ("neither", "both"):
        assert ks_2samp(slow, other).pvalue < 0.01


class _Uneven(World):
    """The laboratory with a loss of its own for each link, and a given rate for each clock."""

    def __init__(self, schedule, config, loss, rates):
        self.loss, self.dice = loss, Dice(schedule.seed, "links")
        self.rates = dict(zip(schedule.members, rates, strict=True))
        self.place = {name: number for number, name in enumerate(schedule.members)}
        super().__init__(schedule, config, watch=False)

    def _send(self, member, message):
        if not self.dice.chance(self.loss[self.place[message.source], self.place[message.target]]):
            super()._send(member, message)

    def _start_clock(self, member):
        period = round(self.schedule.clocks.tick_ns * self.rates[member.name])
        self._at(self.now + self._chances["clocks"].between(0, period), self._tick, member, member.life, period)


def uneven_leaders(seeds, setup):
    """How many leaders the object core elects under an ElectionSetup's links and clocks, in ticks of 10 ms."""
    config = RaftConfig(
        election_ticks=15, heartbeat_ticks=5, pre_vote=setup.pre_vote, check_quorum=setup.check_quorum,
        election_entry=False,
    )  # fmt: skip
    names = tuple(f"n{number}" for number in range(setup.members))
    loss = np.broadcast_to(setup.loss, (setup.members, setup.members))
    rates = setup.clock_rate or (1.0,) * setup.members
    for seed in seeds:
        schedule = Schedule(names, seed, NetworkModel((1 * MS, 5 * MS)), clocks=ClockModel(tick_ns=10 * MS))
        world = _Uneven(schedule, config, loss, rates)
        world.run_until(SECONDS * SECOND)
        yield sum(change.role == "leader" for change in world.record.roles)


@pytest.mark.long
@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize(("condition", "level"), [("deaf member", 0.6), ("cut link", 1.0), ("clock drift", 0.4)])
def test_uneven_links_and_clocks_do_as_in_the_object_core(condition, level, switches):
    """Deaf, cut off from one, or with drifting clocks; two-sample Kolmogorov-Smirnov on the number of leaders."""
    pre_vote, check_quorum = SWITCHES[switches]
    setup = ElectionSetup(
        timeout=(145, 295), heartbeat=50.0, delay=(1, 5), pre_vote=pre_vote, check_quorum=check_quorum,
        patient_on_new_term=True, **CONDITIONS[condition](5, level),
    )  # fmt: skip
    slow = list(uneven_leaders(range(40), setup))
    fast = run_elections(setup, trials=2000, seed=3, until="horizon", horizon=1000 * SECONDS).leaders
    assert ks_2samp(slow, fast).pvalue > 0.01, (np.mean(slow), fast.mean())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_without_the_condition_the_first_leader_stays(condition):
    ablation = ablate_elections(condition, [0.0], trials=20, minutes=0.2, progress=False)
    for switches in SWITCHES:
        mean, low, high = ablation.value("unserved_percent", switches, 0.0)
        assert low <= mean <= high < 5.0
        if condition != "clock drift":
            assert ablation.value("leaders_per_minute", switches, 0.0)[0] == pytest.approx(5.0, abs=0.01)


def test_a_deaf_member_disturbs_unless_it_must_ask_first():
    ablation = ablate_elections("deaf member", [1.0], trials=20, minutes=0.3, progress=False)
    leaders = {switches: ablation.value("leaders_per_minute", switches, 1.0)[0] for switches in SWITCHES}
    assert min(leaders["neither"], leaders["check-quorum"]) > 20 * max(leaders["pre-vote"], leaders["both"])


def test_a_cut_link_lets_pre_vote_alone_depose_leaders_without_end():
    """Who doesn't hear the leader asks the others, who would all vote for it: nothing tells them that they hear one."""
    ablation = ablate_elections("cut link", [1.0], trials=20, minutes=0.3, progress=False)
    leaders = {switches: ablation.value("leaders_per_minute", switches, 1.0)[0] for switches in SWITCHES}
    assert leaders["pre-vote"] > 10 * leaders["both"]


def test_the_same_seed_gives_the_same_table_and_another_another():
    one, same, other = (
        ablate_elections("loss", [0.2], trials=5, minutes=0.1, seed=seed, progress=False).frame for seed in (1, 1, 2)
    )
    assert one.equals(same)
    assert not np.array_equal(one["mean"], other["mean"])


def test_levels_are_those_of_the_issue_where_none_are_given():
    assert LEVELS["loss"][0] == 0.0
    assert LEVELS["loss"][-1] == 0.3
    ablation = ablate_elections("loss", trials=2, minutes=0.01, progress=False)
    assert len(ablation.frame) == len(LEVELS["loss"]) * len(SWITCHES) * 3
    assert "<table" in ablation._repr_html_()


def test_bad_input_is_told():
    with pytest.raises(UnknownName, match="did you mean 'clock drift'"):
        ablate_elections("clock drifts", progress=False)
    with pytest.raises(InputError, match="from 0 to 1"):
        ablate_elections("loss", [1.5], progress=False)
    with pytest.raises(InputError, match="two trials or more"):
        ablate_elections("loss", trials=1, progress=False)
    ablation = ablate_elections("loss", [0.1], trials=2, minutes=0.01, progress=False)
    with pytest.raises(InputError, match=r"level=0\.2 was not played; known: 0\.1"):
        ablation.value("unserved_percent", "both", 0.2)
    with pytest.raises(UnknownName, match="switches"):
        ablation.value("unserved_percent", "all", 0.1)
