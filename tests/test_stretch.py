"""Stretches lived through at once leave the same journal and columns as instants lived through one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.datasets import Cluster, Workload
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.probe_times import Probes
from k8slab.domain.probes import Probe, ProbeKind
from k8slab.domain.run_tables import TABLES
from k8slab.errors import StateConflict
from k8slab.policies import policy
from k8slab.simulation.arrivals import Poisson
from k8slab.simulation.autoscalers import HorizontalAutoscaler, Metric, ScalingBehavior, build_autoscalers
from k8slab.simulation.distributions import Exponential
from k8slab.simulation.engine import new_world
from k8slab.simulation.faults import FlappingHeartbeats, NodeFailures, OomKills, PodCrashes, PodHangs
from k8slab.simulation.health import Health, build_health
from k8slab.simulation.usage import Load, Usage
from k8slab.simulation.workloads import Deployment, Job, Part, PodStream
from k8slab.simulation.world import World
from k8slab.state import VERBS, ClusterState
from tests.players import MostFree, MostFreePlayer

KUBE = policy("kube-default")
NODES = Cluster.of(["a", "b", "c"], [[1000, 1000, 600], [1000, 1000, 1000], [5, 5, 5]])


def lived(parts: list[Part], until_ns: int, placer: Any, cluster: Cluster = NODES) -> World:
    world = new_world(cluster, parts, KUBE, 0, until_ns, placer)
    world.calendar.run_until(until_ns)
    world.state.check()
    return world


def columns(state: ClusterState) -> dict[str, list[Any]]:
    names = ("pod_alive", "pod_phase", "pod_node", "pod_last_node", "pod_started", "pod_runs_ns", "pod_ready_ns",
             "requested")  # fmt: skip
    return {**{name: getattr(state, name).tolist() for name in names},
            **{name: column.tolist() for name, column in state.journal.columns().items()}}  # fmt: skip


def trace(rows: list[tuple[int, int, int, int]]) -> Workload:
    """(arrival, duration, cpu, priority) of each pod; they arrive in this order where they come together."""
    at, lasting, cpu, priority = (np.array(column) for column in zip(*rows, strict=True))
    requests = np.stack([cpu, np.full(len(rows), 100), np.ones(len(rows), dtype=np.int64)], axis=1)
    pods = Workload.of([f"p{i}" for i in range(len(rows))], requests, priority=priority)
    return pods.with_times(at, lasting)


PODS = st.tuples(st.integers(0, 40), st.integers(0, 25), st.sampled_from([100, 300, 500, 700]), st.integers(0, 1))


@settings(max_examples=150, deadline=None)
@given(st.lists(PODS, min_size=1, max_size=25), st.booleans(), st.sampled_from([1, SECOND_NS // 2, 40 * SECOND_NS]))
def test_a_stretch_is_the_same_as_step_by_step(rows, with_job, scale):
    parts: list[Part] = [trace([(at * scale, lasting * scale, *others) for at, lasting, *others in rows])]
    if with_job:
        parts.append(Job("job", {"cpu": "200m"}, completions=4, parallelism=2, durations=7e-9 * scale))
    slow = lived(parts, 60 * scale, MostFree)
    fast = lived(parts, 60 * scale, MostFreePlayer)
    assert slow.calendar.leaper is None
    assert columns(fast.state) == columns(slow.state)
    assert fast.scheduler.attempts == slow.scheduler.attempts
    told = [{name: column.tolist() for name, column in one.sink.columns("events").items()} for one in (fast, slow)]
    assert told[0] == told[1]


def test_long_quiet_times_are_lived_through_at_once():
    rng = np.random.default_rng(0)
    at, lasting = rng.integers(0, 10**6, 500), rng.integers(1, 9000, 500)
    rows = [(a, b, 100, 0) for a, b in zip(at.tolist(), lasting.tolist(), strict=True)]
    steps: list[int] = []
    world = new_world(NODES, [trace(rows)], KUBE, 0, 10**6, MostFreePlayer)
    world.calendar.run_until(10**6, each=steps.append)
    assert len(steps) < 20
    assert steps == sorted(steps)
    assert (world.state.pod_phase == 2).sum() > 450


def test_a_controller_that_heeds_pods_is_woken_at_each_instant():
    class Counts:
        name, rank = "counts", 45

        def __init__(self) -> None:
            self.seen, self.times = 0, 0

        def next_ns(self, now_ns: int) -> int | None:
            return now_ns if world.state.version != self.seen else None

        def run_once(self, now_ns: int) -> None:
            self.seen, self.times = world.state.version, self.times + 1

    world = new_world(NODES, [trace([(n, 1, 100, 0) for n in range(10)])], KUBE, 0, 30, MostFreePlayer)
    counts = Counts()
    world.calendar.add(counts)
    world.calendar.run_until(30)
    assert counts.times >= 11


@pytest.mark.parametrize("seed", range(4))
def test_faults_break_into_stretches_at_the_same_instants(seed):
    parts = [
        PodStream("batch", Workload.of(["s"], [[100, 100, 1]]), Poisson("30s"), Exponential("3m"),
                  usage=Usage(memory=1, spread=0.5)),
        Deployment("web", {"cpu": "100m", "memory": "100"}, replicas=4, startup="10s"),
    ]  # fmt: skip
    faults = [
        NodeFailures(mtbf="40m", repair="5m"), PodCrashes(mtbf="30m"), OomKills(limit_factor=1.0),
        FlappingHeartbeats(mtbf="2h"), PodHangs(mtbf="20m", duration="2m"),
    ]  # fmt: skip
    health = Health(probes={"web": Probes(liveness=Probe(ProbeKind.LIVENESS))})
    found = []
    for leaps in (True, False):
        world = new_world(NODES, parts, KUBE, seed, 7200 * SECOND_NS)
        build_health(world, faults, health)
        steps: list[int] = []
        if not leaps:
            world.calendar.leaper = None
        world.calendar.run_until(world.until_ns, each=steps.append)
        world.state.check()
        tables = {name: {k: v.tolist() for k, v in world.sink.columns(name).items()} for name in TABLES}
        found.append((columns(world.state), tables))
        if leaps:
            quick = len(steps)
    assert found[0] == found[1]
    assert quick < len(steps)
    assert set(found[0][1]["faults"]["fault"]) >= {"Error", "OOMKilled", "hang"}


SWING = Load("1", swing=0.9, period="20m", peak="7m")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("load", [SWING, Load("500m")])
def test_autoscalers_that_look_ahead_live_as_they_would_have(seed, load):
    crowded = PodStream("batch", Workload.of(["s"], [[100, 100, 1]]), Poisson("20s"), Exponential("3m"))
    web = Deployment("web", {"cpu": "200m", "memory": "50"}, replicas=2, startup="10s", load=load)
    scaler = HorizontalAutoscaler("web", 1, 5, [Metric(utilization=60)], scale_down=ScalingBehavior(window="2m"))
    faults = [NodeFailures(mtbf="1h", repair="5m"), PodCrashes(mtbf="40m")]
    found = []
    for leaps in (True, False):
        world = new_world(NODES, [crowded, web], KUBE, seed, 7200 * SECOND_NS)
        build_health(world, faults, None)
        build_autoscalers([scaler], world)
        steps: list[int] = []
        if not leaps:
            world.calendar.leaper = None
        world.calendar.run_until(world.until_ns, each=steps.append)
        tables = {name: {k: v.tolist() for k, v in world.sink.columns(name).items()} for name in TABLES}
        record = {k: v.tolist() for k, v in world.parts["scaling"][0].columns().items()}
        found.append((columns(world.state), repr(tables), repr(record)))
        if leaps:
            quick = len(steps)
    assert found[0] == found[1]
    assert quick < len(steps)


@pytest.mark.parametrize("seed", range(3))
def test_counting_the_pods_to_which_something_happened_is_as_counting_all(seed, monkeypatch):
    web = [
        Deployment(name, {"cpu": "200m", "memory": "50"}, replicas=2, startup="10s", load=load)
        for name, load in (("web", SWING), ("api", Load("600m", swing=0.3, period="1h")), ("own", None))
    ]
    scalers = [
        HorizontalAutoscaler("web", 1, 5, [Metric(utilization=60)]),
        HorizontalAutoscaler("api", 2, 6, [Metric(utilization=50), Metric(resource="memory", utilization=70)]),
        HorizontalAutoscaler("own", 1, 4, [Metric(utilization=60)]),
    ]
    faults = [NodeFailures(mtbf="1h", repair="5m"), PodCrashes(mtbf="40m")]
    found = []
    for every in (False, True):
        if every:
            monkeypatch.setattr("k8slab.application.horizontal_scaler.SampledMetrics", type(None))
        world = new_world(NODES, web, KUBE, seed, 3 * 3600 * SECOND_NS)
        build_health(world, faults, None)
        build_autoscalers(scalers, world)
        world.calendar.run_until(world.until_ns)
        tables = {name: {k: v.tolist() for k, v in world.sink.columns(name).items()} for name in TABLES}
        record = {k: v.tolist() for k, v in world.parts["scaling"][0].columns().items()}
        found.append((columns(world.state), repr(tables), repr(record)))
    assert found[0] == found[1]
    assert len(world.sink.columns("scaling")["time_ns"]) > 10


# -- the state's verb ------------------------------------------------------------------


def waiting_state() -> ClusterState:
    state = NODES.new_state()
    trace([(0, 1, 600, 0), (0, 1, 600, 0), (0, 1, 100, 0)]).add_to(state)
    return state


def play(state: ClusterState, *told: tuple[int, str, int, int], force: bool = False) -> None:
    at, verbs, pods, nodes = zip(*told, strict=True)
    codes = np.array([VERBS.index(verb) for verb in verbs], dtype=np.int8)
    state.play(np.array(at), codes, np.array(pods), np.array(nodes), force=force)


def test_playing_is_as_calling_the_verbs():
    played, called = waiting_state(), waiting_state()
    play(played, (3, "BOUND", 0, 0), (5, "BOUND", 2, 0), (5, "FINISHED", 0, 0), (6, "BOUND", 1, 0))
    for step in (lambda: called.bind(0, 0), lambda: called.bind(2, 0), lambda: called.finish(0),
                 lambda: called.bind(1, 0)):  # fmt: skip
        step()
    for name in ("pod_phase", "pod_node", "pod_last_node", "requested"):
        assert getattr(played, name).tolist() == getattr(called, name).tolist()
    there, here = played.journal.columns(), called.journal.columns()
    assert all(there[name].tolist() == here[name].tolist() for name in there if name != "time_ns")
    assert there["time_ns"].tolist()[-4:] == [3, 5, 5, 6]
    assert played.version == called.version
    played.check()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((9, "BOUND", 1, 0), "cannot play BOUND of pod row 1 on node row 0 at 9 ns, after the 3 before it"),
        ((9, "BOUND", 0, 1), "cannot play BOUND of pod row 0 on node row 1"),
        ((9, "FINISHED", 1, 0), "cannot play FINISHED of pod row 1 on node row 0"),
        ((9, "FINISHED", 0, 1), "cannot play FINISHED of pod row 0 on node row 1"),
        ((9, "POD_ADDED", 1, -1), "cannot play POD_ADDED of pod row 1"),
        ((9, "BOUND", 77, 0), "of pod row 77"),
        ((9, "BOUND", 1, 77), "on node row 77"),
    ],
)
def test_what_is_not_legal_changes_nothing(wrong, message):
    state = waiting_state()
    before = columns(state)
    with pytest.raises(StateConflict, match=message):
        play(state, (3, "BOUND", 0, 0), (4, "BOUND", 2, 1), (5, "FINISHED", 2, 1), wrong)
    assert columns(state) == before
    state.check()


def test_force_fills_a_node_beyond_what_it_has():
    state = waiting_state()
    play(state, (1, "BOUND", 0, 0), (1, "BOUND", 1, 0), force=True)
    assert state.requested[0, 0] == 1200


def test_time_in_seconds_is_exact():
    world = lived([trace([(SECOND_NS, 2 * SECOND_NS, 100, 0)])], 10 * SECOND_NS, MostFreePlayer)
    assert world.state.journal.columns()["time_ns"].tolist()[-3:] == [SECOND_NS, SECOND_NS, 3 * SECOND_NS]
