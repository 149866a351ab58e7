"""Faults as data, and the heartbeats that they leave: columns against loops, near nodes against all."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.columns import Codes, Names
from k8slab.domain.detectors import FixedTimeout, LeaseMonitor, PhiAccrual
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.pod_spec import ZONE
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.fault_times import (
    DOWN,
    EFFECTS,
    LATE,
    SILENT,
    SLOW,
    FaultTargets,
    Weibull,
    fault_times,
    merged,
    renewals,
    together,
)
from k8slab.simulation.faults import (
    CorrelatedFailures,
    FlappingHeartbeats,
    LateHeartbeats,
    ListedFailures,
    LostHeartbeats,
    NodeFailures,
    RackFailures,
    SlowNodes,
    ZoneFailures,
    fault_of,
)
from k8slab.simulation.heartbeats import Heartbeats

HOUR, DAY = 3600 * SECOND_NS, 86_400 * SECOND_NS
WEEK = 7 * DAY


def targets(nodes: int = 60, zones: int = 3, racks: int = 6) -> FaultTargets:
    rows = np.arange(nodes)
    labels = {
        ZONE: Codes.of(f"zone-{row % zones}" for row in rows.tolist()),
        "rack": Codes.of(f"rack-{row % racks}" for row in rows.tolist()),
    }
    return FaultTargets(Names(prefix="node-", count=nodes), labels)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- what is drawn ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [0.6, 1.0, 3.0, 0])
def test_lengths_of_time_have_the_mean_that_was_asked_for(shape):
    drawn = Weibull(5 * HOUR, shape).draw(40_000, rng())
    assert drawn.mean() == pytest.approx(5 * HOUR, rel=0.03)
    assert drawn.min() >= 1


def test_exponential_lengths_have_no_memory_and_weibull_below_one_comes_in_bursts():
    def spread(shape: float) -> float:
        drawn = Weibull(HOUR, shape).draw(40_000, rng())
        return float(drawn.std() / drawn.mean())

    assert spread(1.0) == pytest.approx(1.0, rel=0.03)
    assert spread(0.5) > 2
    assert spread(4.0) < 0.3


def test_a_node_fails_again_only_when_it_is_back():
    which, start, duration = renewals(20, Weibull(HOUR), Weibull(HOUR), WEEK, rng())
    for node in range(20):
        mine = np.argsort(start[which == node])
        begins, ends = start[which == node][mine], (start + duration)[which == node][mine]
        assert (begins[1:] > ends[:-1]).all()
    # Up an hour, down an hour: half the week's hours are failures' starts, on each node.
    assert len(start) / 20 == pytest.approx(84, rel=0.1)
    assert start.max() < WEEK


def test_a_zone_goes_down_at_once_and_whole():
    found = ZoneFailures(mtbf="1d", repair="30m", repair_shape=0).draw(targets(), WEEK, rng())
    found = together([found])
    assert len(found.start_ns)
    for start in np.unique(found.start_ns):
        hit = found.node_row[found.start_ns == start]
        assert (hit % 3 == hit[0] % 3).all()
        assert len(hit) == 20
    assert (found.duration_ns == 30 * 60 * SECOND_NS).all()


def test_racks_and_named_groups():
    found = RackFailures(mtbf="12h", values=["rack-2"]).draw(targets(), WEEK, rng())
    assert len(found.node_row)
    assert (found.node_row % 6 == 2).all()


def test_a_correlated_failure_takes_neighbours_along_and_nobody_else():
    fault = CorrelatedFailures(mtbf="100d", probability=0.5, lag="20s")
    found = together([fault.draw(targets(600, racks=20), WEEK, rng())])
    firsts = found.start_ns[np.append(True, np.diff(found.start_ns) > 600 * SECOND_NS)]
    spells = np.searchsorted(firsts, found.start_ns, side="right")
    assert len(firsts) == pytest.approx(600 / 100 * 7, rel=0.4)
    sizes = []
    for spell in range(1, len(firsts) + 1):
        racks = found.node_row[spells == spell] % 20
        sizes.append(len(racks))
        assert (racks == racks[0]).all()
    # One, and half of the other 29 of its rack.
    assert np.mean(sizes) == pytest.approx(1 + 29 / 2, rel=0.1)


def test_nobody_follows_at_probability_zero_and_all_do_at_one():
    def struck(probability: float) -> int:
        found = CorrelatedFailures(mtbf="1000d", probability=probability).draw(targets(600), 100 * DAY, rng())
        return len(found.start_ns)

    alone = struck(0.0)
    assert alone == pytest.approx(60, rel=0.5)
    assert struck(1.0) == 100 * alone


def test_listed_failures_are_those_of_the_list():
    fault = ListedFailures(
        events=[
            {"at": "2h", "duration": "10m", "label": ZONE, "value": "zone-1"},
            {"at": "1h", "duration": "5m", "node": "node-7"},
            {"at": "1h", "duration": "5m", "node": "node-8", "effect": "slow", "amount": 4},
            {"at": 60, "duration": 30, "node": "node-9", "effect": "late", "amount": "20s"},
            {"at": "9d", "duration": "5m", "node": "node-1"},
        ]
    )
    found = fault.draw(targets(), WEEK, rng())
    rows = [(s // SECOND_NS, EFFECTS[e], n, d // SECOND_NS, v) for s, e, n, d, v, _ in zip(*found, strict=True)][:3]
    assert rows == [(60, "late", 9, 30, 20e9), (3600, "down", 7, 300, 0), (3600, "slow", 8, 300, 4)]
    assert found.node_row[3:].tolist() == list(range(1, 60, 3))


def test_a_lost_heartbeat_is_lost_with_its_probability():
    found = together([LostHeartbeats(probability=0.05).draw(targets(40), DAY, rng())])
    beats = Heartbeats(np.zeros(40, dtype=np.int64), found, DAY)
    arrived = sum(len(beats.arrivals(row)) for row in range(40))
    assert arrived / (40 * 8640) == pytest.approx(0.95, abs=0.002)


def test_a_late_heartbeat_arrives_within_its_delay():
    found = together([LateHeartbeats(probability=0.1, delay=("2s", "4s")).draw(targets(4), DAY, rng())])
    beats = Heartbeats(np.zeros(4, dtype=np.int64), found, DAY)
    offset = np.concatenate([beats.arrivals(row) % (10 * SECOND_NS) for row in range(4)])
    late = offset > 0
    assert late.mean() == pytest.approx(0.1, abs=0.01)
    assert (offset[late].min() >= 2 * SECOND_NS)
    assert (offset[late].max() <= 4 * SECOND_NS)


def test_a_spell_of_flapping_loses_heartbeats_and_lets_some_through():
    fault = FlappingHeartbeats(mtbf="6h", duration="20m", lost="60s", heard="30s")
    found = together([fault.draw(targets(50), WEEK, rng())])
    assert (found.effect == SILENT).all()
    # Two thirds of spells that take 20 of 380 minutes.
    lost = found.duration_ns.sum() / (50 * WEEK)
    assert lost == pytest.approx(2 / 3 * 20 / 380, rel=0.15)


def test_slow_nodes_are_slow_by_a_factor_in_the_range():
    found = SlowNodes(mtbf="1d", factor=(3, 5)).draw(targets(), WEEK, rng())
    assert (found.effect == SLOW).all()
    assert len(found.value) > 100
    assert (found.value >= 3).all()
    assert (found.value <= 5).all()


def test_one_fault_more_or_less_leaves_the_draws_of_the_others():
    fault = NodeFailures(mtbf="2d")
    again = replace(fault, nodes=[])
    one, other = fault.draw(targets(), WEEK, rng(3)), again.draw(targets(), WEEK, rng(3))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    longer = fault.draw(targets(), 2 * WEEK, rng(3))
    assert len(longer.start_ns) > len(one.start_ns)


def test_a_million_faults_are_a_few_arrays():
    found = NodeFailures(mtbf="1h", repair="1m").draw(targets(10_000), 4 * DAY, rng())
    assert len(found.start_ns) > 900_000
    assert all(isinstance(column, np.ndarray) for column in found)


intervals = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(1, 12)), max_size=12)


@given(intervals)
def test_merged_intervals_cover_what_the_single_ones_cover(given_intervals):
    node, start, length = (np.array([row[c] for row in given_intervals], dtype=np.int64) for c in range(3))
    found = merged(node, start, start + length)
    covered = {(n, t) for n, s, d in given_intervals for t in range(s, s + d)}
    again = [(n, t) for n, s, e in zip(*(column.tolist() for column in found), strict=True) for t in range(s, e)]
    assert sorted(again) == sorted(covered)
    for n in set(node.tolist()):
        mine = found[0] == n
        assert (found[1][mine][1:] > found[2][mine][:-1]).all()


# -- heartbeats -----------------------------------------------------------------------


@st.composite
def schedules(draw):
    """A few faults of a few nodes, in seconds that collide with heartbeats now and then."""
    count = draw(st.integers(0, 6))
    at = [draw(st.integers(0, 900)) for _ in range(count)]
    length = [draw(st.integers(1, 400)) for _ in range(count)]
    node = [draw(st.integers(0, 2)) for _ in range(count)]
    effect = [draw(st.sampled_from([DOWN, SILENT, LATE, SLOW])) for _ in range(count)]
    size = [draw(st.integers(1, 40)) for _ in range(count)]
    value = [{LATE: s * 1e9, SLOW: 1 + s / 8}.get(e, 0.0) for s, e in zip(size, effect, strict=True)]
    rows = [
        fault_times(np.array([s * SECOND_NS]), e, np.array([n]), np.array([d * SECOND_NS]), v)
        for s, e, n, d, v in zip(at, effect, node, length, value, strict=True)
    ]
    phase = np.array([draw(st.integers(0, 9)) for _ in range(3)], dtype=np.int64) * SECOND_NS
    # Some nodes join later, among faults that were theirs before.
    joined = [draw(st.integers(-1, 900)) * draw(st.booleans()) for _ in range(3)]
    joined_ns = np.array([s * SECOND_NS if s > 0 else -1 for s in joined], dtype=np.int64)
    return Heartbeats(phase, together(rows), 2000 * SECOND_NS, joined_ns=draw(st.sampled_from([joined_ns, None])))


DETECTORS = [
    FixedTimeout(25 * SECOND_NS),
    LeaseMonitor(40 * SECOND_NS),
    PhiAccrual(threshold=5, window=7),
    FixedTimeout(9 * SECOND_NS),  # doubts every node between two heartbeats
]


@given(schedules(), st.sampled_from(DETECTORS))
def test_looking_near_faults_finds_what_looking_everywhere_finds(beats, detector):
    near, everywhere = beats.suspicions(detector), beats.suspicions(detector, everywhere=True)
    assert [column.tolist() for column in near] == [column.tolist() for column in everywhere]


@given(schedules())
def test_arrivals_equal_a_node_that_beats_in_a_loop(beats):
    for row in range(3):
        assert beats.arrivals(row).tolist() == _looped(beats, row)


def _looped(beats: Heartbeats, row: int) -> list[int]:
    """A kubelet in steps of one second of progress at full speed; times are whole eighths of seconds."""
    faults = [f for f in zip(*(c.tolist() for c in beats.faults), strict=True) if f[2] == row]

    def holds(effect: int, at: float) -> list[float]:
        return [f[4] for f in faults if f[1] == effect and f[0] <= at < f[0] + f[3]]

    edges = sorted({t for f in faults if f[1] in (DOWN, SLOW) for t in (f[0], f[0] + f[3])} | {beats.until_ns})
    now, wait, was_down, found = 0, int(beats.phase_ns[row]), False, []
    joined = -1 if beats.joined_ns is None else int(beats.joined_ns[row])
    if joined >= 0:
        now, wait = joined, 0
    factor = 1.0
    while now < beats.until_ns:
        if holds(DOWN, now):
            now, was_down = next(e for e in edges if e > now), True
            continue
        new = max([1.0, *holds(SLOW, now)])
        interval = int(beats.interval_ns * new)
        wait = 0 if was_down else wait * interval // int(beats.interval_ns * factor)
        factor, was_down = new, False
        end = next(e for e in edges if e > now)
        while now + wait < min(end, beats.until_ns):
            now, wait = now + wait, interval
            if not holds(SILENT, now):
                found.append(now + max([0, *(int(v) for v in holds(LATE, now))]))
        now, wait = end, now + wait - end
    if joined >= 0 and joined not in found:
        found.append(joined)
    return sorted(t for t in found if t < beats.until_ns)


def test_a_healthy_node_is_not_looked_at():
    asked = []

    class Counting:
        memory = 1

        def deadlines(self, arrivals_ns):
            asked.append(len(arrivals_ns))
            return arrivals_ns + 40 * SECOND_NS

    fault = fault_times(np.array([DAY]), DOWN, np.array([3]), np.array([HOUR]))
    beats = Heartbeats(np.zeros(5000, dtype=np.int64), together([fault]), WEEK)
    found = beats.suspicions(Counting())
    # 302 million heartbeats in this week.
    assert sum(asked) < 1000
    assert found.node_rows.tolist() == [3]
    assert (found.start_ns[0] - DAY) / SECOND_NS == 30
    assert found.end_ns[0] == DAY + HOUR


def test_a_dead_node_is_unknown_35_to_50_seconds_after_its_death():
    at = np.arange(1000, dtype=np.int64) * 1_234_567_891 + DAY
    fault = fault_times(at, DOWN, np.arange(1000), np.full(1000, HOUR))
    beats = Heartbeats.drawn(1000, together([fault]), 2 * DAY, rng())
    delay = (beats.suspicions(LeaseMonitor(40 * SECOND_NS)).start_ns - at) / SECOND_NS
    # Seen at a look, so 45 s after that look is the first that is later than it by more than 40 s; the
    # last heartbeat came up to 10 s before the end, and up to 5 s before the look.
    assert 35 < delay.min() < 36
    assert 49 < delay.max() <= 50


# -- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "nod", "mtbf": "1d"}, r"unknown kind of fault 'nod'; did you mean 'node'\?.*In scenario.toml"),
        ({"mtbf": "1d"}, "unknown kind of fault 'None'"),
        ({"kind": "node", "mtfb": "1d"}, r"unknown key of fault 'node' 'mtfb'; did you mean 'mtbf'\?"),
        ({"kind": "node"}, "scenario.toml: fault 'node' has no 'mtbf'"),
        ({"kind": "node", "mtbf": "-3d"}, "scenario.toml: fault 'node', mtbf: '-3d' is negative; wanted"),
        ({"kind": "node", "mtbf": 0}, "fault 'node', mtbf: 0 is too short; wanted"),
        ({"kind": "node", "mtbf": "soon"}, "mtbf: 'soon' is no time span; wanted"),
        ({"kind": "node", "mtbf": "1d", "repair": "-5m"}, "fault 'node', repair: '-5m' is negative; wanted"),
        ({"kind": "node", "mtbf": "1d", "shape": -1}, "fault 'node', shape: -1; wanted a Weibull shape"),
        ({"kind": "slow", "mtbf": "1d", "factor": [5, 2]}, "factor: the least, 5, is above the greatest, 2"),
        ({"kind": "slow", "mtbf": "1d", "factor": 0.5}, "factor: 0.5; wanted a factor of 1 or more"),
        (
            {"kind": "late-heartbeats", "probability": 0.1, "delay": ["60s", "5s"]},
            "delay: the least, '60s', is above the greatest, '5s'",
        ),
        ({"kind": "lost-heartbeats", "probability": 1.0}, "probability: 1.0; wanted a probability from 0 to below 1"),
        ({"kind": "correlated", "mtbf": "1d", "probability": "half"}, "probability: 'half'; wanted a number"),
        ({"kind": "list", "events": [{"at": "1h"}]}, r"events\[0\]: no 'duration'"),
        ({"kind": "list", "events": [{"at": 1, "duration": 1}]}, "wanted either a node, or a label and its value"),
        ({"kind": "list", "events": [{"at": 1, "duration": 1, "nod": "a"}]}, "did you mean 'node'"),
        (
            {"kind": "list", "events": [{"at": 1, "duration": 1, "node": "a", "effect": "dwn"}]},
            r"unknown effect 'dwn'; did you mean 'down'\?",
        ),
        (
            {"kind": "list", "events": [{"at": 1, "duration": 1, "node": "a", "effect": "slow"}]},
            "want an amount, and they alone",
        ),
    ],
)
def test_a_table_that_cant_be_used_names_key_and_value(table, message):
    with pytest.raises(InputError, match=message):
        fault_of(table, "scenario.toml")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (NodeFailures(mtbf="1d", nodes=["node-600"]), r"unknown node 'node-600'; did you mean 'node-60?0?'\?"),
        (RackFailures(mtbf="1d", values=["rack-9"]), r"unknown value of node label 'rack' 'rack-9'; did you mean"),
        (RackFailures(mtbf="1d", label="rak"), r"unknown node label 'rak'; did you mean 'rack'\?"),
        (ListedFailures(events=[{"at": 1, "duration": 1, "node": "nde-5"}]), r"did you mean 'node-5'\?"),
    ],
)
def test_a_fault_on_what_isnt_there_says_what_is(fault, message):
    with pytest.raises(UnknownName, match=message):
        fault.draw(targets(), DAY, rng())


def test_a_heartbeat_is_lost_with_windows_of_its_interval():
    # The chance that no window of a Poisson process of this rate holds a given heartbeat.
    assert 1 - np.exp(np.log1p(-0.3)) == pytest.approx(0.3)
    assert -log(1 - 0.3) == pytest.approx(0.3567, abs=1e-4)
