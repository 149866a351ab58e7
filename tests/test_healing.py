"""The loops that watch and heal, on simulated clusters: timelines by hand, and rules that no history may break."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from k8slab.analysis.run_health import availability_frame
from k8slab.datasets.cluster import Cluster
from k8slab.domain.columns import NEVER, Codes, Names
from k8slab.domain.detectors import FixedTimeout, LeaseMonitor
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES
from k8slab.domain.node_lifecycle.node_taints import UNREACHABLE
from k8slab.domain.pod_spec import ZONE
from k8slab.domain.probe_times import Probes
from k8slab.domain.probes import Probe, ProbeKind
from k8slab.errors import InputError, UnknownName
from k8slab.policies import as_policy
from k8slab.simulation.drains import Drain
from k8slab.simulation.engine import new_world
from k8slab.simulation.faults import (
    FlappingHeartbeats,
    ListedFailures,
    LostHeartbeats,
    NodeFailures,
    OomKills,
    PodCrashes,
    PodHangs,
    SlowNodes,
    ZoneFailures,
)
from k8slab.simulation.health import DisruptionBudget, Health, build_health
from k8slab.simulation.usage import Usage
from k8slab.simulation.workloads import DaemonSet, Deployment, Job
from k8slab.simulation.world import World

HOUR = 3600 * SECOND_NS
SMALL = {"cpu": "1", "memory": "1Gi"}


def cluster(nodes: int = 6, zones: int = 3, cores: int = 8) -> Cluster:
    zone = Codes.of(f"zone-{row % zones}" for row in range(nodes))
    room = np.tile(np.array([[cores * 1000], [cores * 2**32], [50]], dtype=np.int64), nodes)
    return Cluster.of(Names(prefix="node-", count=nodes), room, labels={ZONE: zone})


def lived(parts, faults=(), health=None, hours: float = 1, nodes=None, seed: int = 0, each=None) -> World:
    world = new_world(nodes or cluster(), parts, as_policy("least-allocated"), seed, int(hours * HOUR))
    build_health(world, faults, health)
    world.calendar.run_until(world.until_ns, None if each is None else lambda at: each(world, at))
    return world


def rows(world: World, table: str, *names: str, **only):
    columns = world.sink.columns(table)
    keep = [k for k in range(len(columns[names[0]])) if all(columns[key][k] == value for key, value in only.items())]
    return [tuple(columns[name][k] for name in names) for k in keep]


def seconds(found) -> list[float]:
    return [row[0] / SECOND_NS for row in found]


def down(node: str, at: str, duration: str, **more) -> ListedFailures:
    return ListedFailures(events=[{"node": node, "at": at, "duration": duration, **more}])


WEB = Deployment("web", SMALL, replicas=12, startup="20s")
AGENT = DaemonSet("agent", {"cpu": "100m", "memory": "64Mi"})


# -- a node dies -----------------------------------------------------------------------


def test_the_timeline_of_a_node_that_dies():
    world = lived([WEB, AGENT], [down("node-2", "10m", "20m")])
    (unknown,), (ready,) = (seconds(rows(world, "health", "time_ns", condition=c)) for c in ("Unknown", "Ready"))
    assert 600 + 45 <= unknown <= 600 + 60
    assert unknown % 5 == 0
    assert ready == 1800
    assert rows(world, "health", "truth", "node_row") == [("down", 2), ("up", 2)]
    # NoExecute at once, as few nodes are affected; 300 s later its two web pods go, the daemon stays.
    (tainted,) = seconds(rows(world, "events", "time_ns", event="TaintAdded"))
    assert tainted == unknown
    evicted = rows(world, "healing", "time_ns", "reason", "node_row", action="evict")
    assert evicted == [((unknown + 300) * SECOND_NS, f"taint {UNREACHABLE}", 2)] * 2
    # Replacements come in that instant, the old ones go when the kubelet is back.
    journal = world.state.journal.to_frame()
    made = journal[(journal.verb == "POD_ADDED") & (journal.time_ns > 0)]
    assert (made.time_ns == evicted[0][0]).all()
    assert len(made) == 2
    gone = journal[journal.verb == "POD_REMOVED"]
    assert (gone.time_ns == 1800 * SECOND_NS).all()
    assert len(gone) == 2
    assert not world.state.node_columns().taints[2]


def test_pods_of_a_lost_node_are_not_ready_until_it_returns():
    seen = {}

    def look(world, at):
        pods = world.state.pods_on(2)
        seen[at // SECOND_NS] = int((world.state.pod_ready_ns[pods] <= at).sum()), len(pods)

    lived([WEB], [down("node-2", "10m", "3m")], each=look)
    times = sorted(seen)
    unknown = next(t for t in times if t > 600 and seen[t] == (0, 2))
    assert 645 <= unknown <= 660
    # Back after 3 minutes, before anybody evicted: the containers start again, and need their 20 s.
    assert seen[780] == (0, 2)
    assert min(t for t in times if t > 780 and seen[t][1]) >= 780


def test_a_false_alarm_gives_back_what_it_took_and_moves_nobody():
    world = lived([WEB], [down("node-2", "10m", "2m", effect="silent")])
    assert [condition for _, condition in rows(world, "health", "time_ns", "condition")] == ["Unknown", "Ready"]
    assert [truth for (truth,) in rows(world, "health", "truth")] == ["up", "up"]
    assert rows(world, "healing", "action") == []
    pods = world.state.pods_on(2)
    # Ready again from the instant it was heard of again, and never restarted.
    (back,) = seconds(rows(world, "health", "time_ns", condition="Ready"))
    assert (world.state.pod_ready_ns[pods] == back * SECOND_NS).all()
    assert (world.state.pod_restarts[pods] == 0).all()


def test_a_short_outage_is_never_noticed_but_its_containers_start_again():
    world = lived([WEB], [down("node-2", "10m", "20s")])
    assert rows(world, "health", "condition") == []
    pods = world.state.pods_on(2)
    assert (world.state.pod_restarts[pods] == 1).all()
    assert (world.state.pod_runs_ns[pods] == 620 * SECOND_NS).all()


def test_nothing_ends_on_a_dead_node():
    job = Job("batch", SMALL, completions=6, parallelism=6, durations="15m")
    world = lived([job], [down("node-1", "10m", "30m")], Health(detector=FixedTimeout(10 * HOUR)))
    ends = [t // SECOND_NS for t in world.state.journal.to_frame().query("verb == 'FINISHED'").time_ns]
    assert ends[:5] == [900] * 5
    # Started again at 40 minutes, for 15.
    assert ends[5:] == [2400 + 900]


def test_toleration_seconds_say_how_long_pods_stay():
    patient = Deployment("patient", SMALL, replicas=6, tolerations=(f"{UNREACHABLE}:NoExecute@30",))
    for_ever = Deployment("forever", SMALL, replicas=6, tolerations=("*:NoExecute",))
    world = lived([patient, for_ever], [down("node-0", "10m", "1h")])
    (unknown,) = seconds(rows(world, "health", "time_ns", condition="Unknown"))
    evicted = rows(world, "healing", "time_ns", "pod_row", action="evict")
    assert {t / SECOND_NS - unknown for t, _ in evicted} == {30}
    assert all(world.state.pod_name(row).startswith("patient") for _, row in evicted)


# -- many nodes die -----------------------------------------------------------------------


def zone_event(zone: str, **more):
    return {"label": ZONE, "value": zone, "at": "10m", "duration": "2h", **more}


def test_a_zone_taints_its_nodes_at_its_rate():
    events = [{"node": f"node-{row}", "at": "10m", "duration": "2h"} for row in (0, 3, 6)]
    world = lived([WEB], [ListedFailures(events=events)], nodes=cluster(60, cores=4))
    added = seconds(rows(world, "events", "time_ns", event="TaintAdded"))
    # Three of twenty: a normal zone, a node every 10 s.
    assert np.diff(added).tolist() == [10, 10]


@pytest.mark.parametrize(("nodes", "share", "gap"), [(30, 6, None), (300, 60, 100)])
def test_a_zone_that_is_partly_disrupted_slows_down_or_stops(nodes, share, gap):
    events = [{"node": f"node-{row}", "at": "10m", "duration": "3h"} for row in range(0, 3 * share, 3)]
    world = lived([WEB], [ListedFailures(events=events)], nodes=cluster(nodes, cores=4))
    added = seconds(rows(world, "events", "time_ns", event="TaintAdded"))
    (state, *_) = [detail for (detail,) in rows(world, "events", "detail", event="ZoneState") if "Partial" in detail]
    assert state == f":zone-0: PartialDisruption, {0 if gap is None else 0.01:g} nodes/s"
    first = [t for t in added if t >= 650]
    if gap is None:
        assert len(first) <= 1
    else:
        assert set(np.round(np.diff(first[1:])).tolist()) == {gap}


def test_a_dead_zone_is_emptied_at_the_normal_rate():
    world = lived([WEB], [ListedFailures(events=[zone_event("zone-1")])])
    added = seconds(rows(world, "events", "time_ns", event="TaintAdded"))
    assert np.diff(added).tolist() == [10]
    assert rows(world, "events", "detail", event="ZoneState")[0] == (":zone-1: FullDisruption, 0.1 nodes/s",)


def test_when_all_zones_fall_silent_nobody_is_evicted():
    all_zones = ListedFailures(events=[zone_event(f"zone-{z}", effect="silent", duration="30m") for z in range(3)])
    world = lived([WEB], [all_zones], hours=2)
    assert rows(world, "healing", "action") == []
    final = world.state.node_columns()
    assert (final.state == 0).all()
    assert not any(final.taints[row] for row in range(6))
    assert any(detail.endswith(", 0 nodes/s") for (detail,) in rows(world, "events", "detail", event="ZoneState"))


def test_another_detector_acts_in_its_place():
    world = lived([WEB], [down("node-2", "10m", "20m")], Health(detector=FixedTimeout(12 * SECOND_NS)))
    (unknown,) = seconds(rows(world, "health", "time_ns", condition="Unknown"))
    assert 602 <= unknown <= 612
    assert rows(world, "health", "detector")[0] == ("FixedTimeout",)


# -- drains and budgets ------------------------------------------------------------------------


def test_a_drain_asks_again_until_its_budget_allows():
    budget = DisruptionBudget(name="web", workload="web", max_unavailable=1)
    health = Health(budgets=[budget], drains=[Drain(node="node-2", at="10m", uncordon="20m")], pod_grace="30s")
    world = lived([WEB, AGENT], (), health)
    evicted = seconds(rows(world, "healing", "time_ns", action="evict"))
    # The second waits until the first's replacement is ready, 20 s later, found at the next try 5 s apart.
    assert evicted == [600, 620]
    refused = rows(world, "healing", "time_ns", "detail", "success", action="refuse")
    # It asks every 5 s, and tells of the answer once.
    assert [t // SECOND_NS for t, _, _ in refused] == [600]
    assert refused[0][1:] == ("429: budget web wants 11 healthy and has 11", False)
    assert seconds(rows(world, "healing", "time_ns", action="drained")) == [620]
    (daemon,) = world.state.pods_on(2)[:1]
    assert world.state.pod_name(int(daemon)).startswith("agent")
    assert NODE_STATES[world.state.node_state[2]].value == "ready"


def test_without_a_budget_a_drain_takes_all_at_once_and_grace_ends_them():
    world = lived([WEB], (), Health(drains=[Drain(node="node-2", at="10m")], pod_grace="45s"))
    assert seconds(rows(world, "healing", "time_ns", action="evict")) == [600, 600]
    removed = world.state.journal.to_frame().query("verb == 'POD_REMOVED'").time_ns // SECOND_NS
    assert removed.tolist() == [645, 645]
    assert len(world.state.pods_on(2)) == 0


def test_a_budget_of_labels_counts_its_pods_only():
    own = Deployment("db", SMALL, replicas=6, labels={"app": "db"})
    budget = DisruptionBudget(name="db", labels={"app": "db"}, min_available="100%")
    world = lived([own, WEB], (), Health(budgets=[budget], drains=[Drain(node="node-2", at="10m")]))
    gone = {world.state.pod_name(row).split("-")[0] for (row,) in rows(world, "healing", "pod_row", action="evict")}
    assert gone == {"web"}
    kept = {world.state.pod_name(int(row)).split("-")[0] for row in world.state.pods_on(2)}
    assert kept == {"db"}


def test_two_budgets_for_one_pod_are_an_error_that_is_told():
    budgets = [DisruptionBudget(name=n, workload="web", max_unavailable=5) for n in ("one", "two")]
    world = lived([WEB], (), Health(budgets=budgets, drains=[Drain(node="node-2", at="10m")]), hours=0.2)
    assert rows(world, "healing", "detail", action="refuse")[0] == ("500: budgets one, two all protect it; wanted one",)


# -- containers end -----------------------------------------------------------------------


def test_crashes_wait_longer_each_time_and_start_anew_after_ten_minutes():
    one = Deployment("one", SMALL, replicas=1)
    world = lived([one], [PodCrashes(mtbf="2s", shape=0)], hours=0.4)
    details = [detail for (detail,) in rows(world, "healing", "detail", action="restart")]
    assert details[:8] == ["", *(f"CrashLoopBackOff, {wait} s" for wait in (10, 20, 40, 80, 160, 300, 300))]
    calm = lived([one], [PodCrashes(mtbf="11m", shape=0)], hours=2)
    assert {detail for (detail,) in rows(calm, "healing", "detail", action="restart")} == {""}


def test_a_job_fails_and_is_made_anew_up_to_its_limit():
    job = Job("batch", SMALL, completions=3, parallelism=1, durations="1h", backoff_limit=2)
    world = lived([job], [PodCrashes(mtbf="1m", shape=0)])
    ends = rows(world, "healing", "time_ns", "detail", action="end")
    assert [t // SECOND_NS for t, _ in ends] == [60, 120, 180]
    assert {detail for _, detail in ends} == {"exit code 1"}


def test_only_pods_that_use_more_than_their_limit_are_killed():
    greedy = Deployment("greedy", SMALL, replicas=3, usage=Usage(memory=2.0))
    world = lived([greedy, WEB], [OomKills(limit_factor=1.5, ramp="10m")], hours=0.4)
    killed = rows(world, "healing", "time_ns", "pod_row", reason="OOMKilled")
    assert {world.state.pod_name(row).split("-")[0] for _, row in killed} == {"greedy"}
    # Three quarters of the way to twice the request.
    assert {t / SECOND_NS for t, _ in killed[:3]} == {450}


def test_a_pod_that_crashes_too_often_is_moved_if_that_is_asked_for():
    one = Deployment("one", SMALL, replicas=1)
    world = lived([one], [PodCrashes(mtbf="30s", shape=0)], Health(move_after=2), hours=0.1)
    actions = [action for (action,) in rows(world, "healing", "action")][:4]
    assert actions == ["restart", "restart", "evict", "restart"]


LIVE = Probe(ProbeKind.LIVENESS, period_seconds=10, failure_threshold=3)
SERVES = Probe(ProbeKind.READINESS, period_seconds=5, failure_threshold=2)


def test_liveness_restarts_what_hangs_and_readiness_says_so_before():
    one = Deployment("one", SMALL, replicas=1, startup="12s")
    health = Health(probes={"one": Probes(liveness=LIVE, readiness=SERVES)})
    world = lived([one], [PodHangs(mtbf="61s", shape=0)], health, hours=0.03)
    # Ready at the tick after 12 s; hangs at 61: readiness has it at 70, liveness at 90.
    assert seconds(rows(world, "health", "time_ns", condition="NotReady")) == [70]
    assert rows(world, "healing", "time_ns", "reason") == [(90 * SECOND_NS, "liveness probe failed")]


def test_a_slow_node_fails_probes_that_time_out():
    health = Health(probes={"web": Probes(readiness=SERVES, latency_seconds=0.4, timeout_seconds=1)})
    slow = down("node-2", "10m", "10m", effect="slow", amount=5)
    world = lived([WEB], [slow], health, hours=0.5)
    changes = rows(world, "health", "time_ns", "condition", "node_row", detector="readiness")
    assert [(t // SECOND_NS, c, n) for t, c, n in changes] == [(605, "NotReady", 2)] * 2 + [(1200, "Ready", 2)] * 2
    # A node that is three times as slow answers in 1.2 s, one that is twice as slow in time.
    fine = down("node-2", "10m", "10m", effect="slow", amount=2)
    assert rows(lived([WEB], [fine], health, hours=0.5), "health", "condition") == []


# -- any history -----------------------------------------------------------------------------


class Watch:
    """What must hold after every instant."""

    def __init__(self, budgets) -> None:
        self.budgets = budgets
        self.told = 0

    def __call__(self, world: World, at: int) -> None:
        state = world.state
        state.check()
        assert (state.requested <= state.allocatable).all()
        assert (state.pod_node[state.pod_alive & (state.pod_phase == 1)] >= 0).all()
        if world.sink.count("healing") == self.told:
            return
        columns = world.sink.columns("healing")
        new = range(self.told, len(columns["action"]))
        self.told = len(columns["action"])
        # Taints and failures don't ask a budget; only whose pods a drain evicted must be left as many as it says.
        drained = [k for k in new if columns["action"][k] == "evict" and columns["reason"][k] == "maintenance"]
        touched = {int(state.pod_owner[columns["pod_row"][k]]) for k in drained}
        for name, desired in self.budgets.items():
            if world.workloads.owner(name) in touched:
                pods = world.workloads.pods(world.workloads.owner(name))
                pods = pods[state.pod_alive[pods] & (state.pod_leaving[pods] == 0)]
                healthy = int((state.pod_ready_ns[pods] <= at).sum())
                assert healthy >= desired, f"{healthy} of {name} are healthy after a drain, {desired} must be"


def histories():
    spans = st.sampled_from(["20m", "1h", "3h"])
    return st.fixed_dictionaries(
        {
            "nodes": st.builds(NodeFailures, mtbf=spans, repair=st.sampled_from(["30s", "3m", "20m"])),
            "zones": st.builds(ZoneFailures, mtbf=st.sampled_from(["3h", "9h"]), repair=st.just("10m")),
            "flapping": st.builds(FlappingHeartbeats, mtbf=spans, lost=st.sampled_from(["20s", "90s"])),
            "lost": st.builds(LostHeartbeats, probability=st.sampled_from([0.0, 0.1, 0.6])),
            "slow": st.builds(SlowNodes, mtbf=spans, factor=st.just((2.0, 20.0))),
            "crashes": st.builds(PodCrashes, mtbf=st.sampled_from(["5m", "2h"]), shape=st.sampled_from([0.5, 1.0])),
            "hangs": st.builds(PodHangs, mtbf=spans, duration=st.just("10m")),
            "oom": st.builds(OomKills, limit_factor=st.sampled_from([1.0, 1.2])),
        }
    )


@st.composite
def drains(draw):
    chosen = draw(st.lists(st.integers(0, 5), max_size=5, unique=True))
    return [
        Drain(node=f"node-{row}", at=draw(st.integers(0, 3000)), uncordon=draw(st.none() | st.integers(60, 3000)))
        for row in chosen
    ]


PARTS = [
    Deployment("web", SMALL, replicas=12, startup="20s", usage=Usage(memory=0.9, spread=0.3)),
    Deployment("db", SMALL, replicas=4, startup="45s", tolerations=(f"{UNREACHABLE}:NoExecute@20",)),
    Job("batch", SMALL, completions=20, parallelism=4, durations="10m"),
    AGENT,
]
PROBED = {"web": Probes(None, LIVE, SERVES, latency_seconds=0.2)}
DETECTORS = [LeaseMonitor(), LeaseMonitor(40 * SECOND_NS), FixedTimeout(15 * SECOND_NS)]


def live_through(case, hours: float) -> None:
    faults, planned, detector, seed = case
    budgets = [
        DisruptionBudget(name="web", workload="web", max_unavailable="25%"),
        DisruptionBudget(name="db", workload="db", min_available=3),
    ]
    health = Health(detector=detector, budgets=budgets, drains=planned, probes=PROBED)
    lived(PARTS, list(faults.values()), health, hours=hours, seed=seed, each=Watch({"web": 9, "db": 3}))


CASES = st.tuples(histories(), drains(), st.sampled_from(DETECTORS), st.integers(0, 2**31))
# Not made smaller when it fails: the case that is printed gives the history again.
PLAIN = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=3, phases=PLAIN)
@given(CASES)
def test_no_history_breaks_a_rule(case):
    live_through(case, hours=0.4)


@pytest.mark.long
@settings(max_examples=20, phases=PLAIN)
@given(CASES)
def test_no_long_history_breaks_a_rule(case):
    live_through(case, hours=3)


def told(world: World, *tables: str):
    return {table: {k: v.tolist() for k, v in world.sink.columns(table).items()} for table in tables}


ALL = [
    NodeFailures(mtbf="1h", repair="3m"),
    FlappingHeartbeats(mtbf="2h"),
    PodCrashes(mtbf="1h"),
    LostHeartbeats(probability=0.2),
]


def test_the_same_seed_gives_the_same_history():
    one, other = lived(PARTS, ALL), lived(PARTS, ALL)
    assert told(one, "events", "healing", "health", "faults") == told(other, "events", "healing", "health", "faults")
    a, b = one.state.journal.columns(), other.state.journal.columns()
    assert all((a[key] == b[key]).all() for key in a)
    assert len(a["verb"]) > 150
    third = lived(PARTS, ALL, seed=1)
    assert told(one, "faults") != told(third, "faults")


def test_a_fault_switched_off_leaves_the_draws_of_the_others():
    def drawn(faults, kind):
        return rows(lived(PARTS, faults), "faults", "start_ns", "end_ns", "node_row", fault=kind)

    without = [fault for fault in ALL if fault.kind != "flapping"]
    off = [*without, FlappingHeartbeats(mtbf="2h", enabled=False)]
    for kind in ("node", "lost-heartbeats"):
        assert drawn(ALL, kind) == drawn(without, kind) == drawn(off, kind)
    assert drawn(off, "flapping") == []


def test_a_detector_that_only_watches_changes_nothing():
    alone = lived(PARTS, ALL)
    watched = lived(PARTS, ALL, Health(compare={"quick": FixedTimeout(15 * SECOND_NS)}))
    assert told(alone, "events", "healing", "health") == told(watched, "events", "healing", "health")
    assert NEVER not in alone.sink.columns("faults")["end_ns"]


def test_availability_is_what_could_be_counted_after_every_instant():
    seen: dict[int, dict[str, tuple[int, int]]] = {}

    def count(world: World, at: int) -> None:
        state, found = world.state, {}
        for owner, name in enumerate(world.workloads.names):
            pods = np.flatnonzero((state.pod_owner == owner) & state.pod_alive & (state.pod_leaving == 0))
            pods = pods[state.pod_ready_ns[pods] <= at]
            found[name] = len(pods), int((~world.kubelets.down(state.pod_node[pods])).sum())
        seen[at] = found

    faults = [*ALL, ZoneFailures(mtbf="1h", repair="12m")]
    health = Health(drains=[Drain(node="node-1", at="20m", uncordon="10m")], probes=PROBED)
    world = lived(PARTS, faults, health, hours=1.5, each=count)
    frame = availability_frame(world, None)
    assert (frame["serving"] < frame["ready"]).any()
    for name in world.workloads.names:
        own = frame[frame["workload"] == name]
        at = np.rint(own["time_s"].to_numpy() * SECOND_NS).astype(np.int64)
        for instant, counted in seen.items():
            known = int(np.searchsorted(at, instant + 500, side="right")) - 1
            row = own.iloc[known] if known >= 0 else {"ready": 0, "serving": 0}
            assert (row["ready"], row["serving"]) == counted[name], f"{name} at {instant / SECOND_NS} s"


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DisruptionBudget(name="b", workload="web", max_unavailable="5 %"), "budget 'b': '5 %' is neither"),
        (lambda: DisruptionBudget(name="b", workload="web", min_available="-5%"), "budget 'b': '-5%' of a disruption"),
        (lambda: DisruptionBudget(name="b", workload="web"), "budget 'b': wanted min_available or max_unavailable"),
        (lambda: DisruptionBudget(name="b", min_available=1), "budget 'b': wanted either a workload's name or labels"),
        (lambda: Drain(node="n", at="-1h"), "drain of 'n', at: '-1h' is negative"),
        (lambda: Health(heartbeat=0), "health, heartbeat: 0 is too short"),
        (lambda: Health(node_eviction_rate=-1), "node_eviction_rate=-1; wanted nodes a second, 0 or more"),
        (lambda: Health(unhealthy_zone_threshold=55), "unhealthy_zone_threshold=55; wanted 0 to 1"),
        (lambda: Health(move_after=-1), "move_after=-1; wanted a number of restarts, 0 or more"),
    ],
)
def test_settings_that_cant_be_meant_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("faults", "health", "error", "message"),
    [
        ([down("node-77", "1m", "1m")], None, UnknownName, "unknown node 'node-77'; did you mean 'node-"),
        ([NodeFailures(mtbf="1d")] * 2, None, InputError, "two faults are named 'node'"),
        ([], Health(drains=[Drain(node="nod-1", at=0)]), UnknownName, "unknown node 'nod-1'; did you mean 'node-1'"),
        (
            [], Health(budgets=[DisruptionBudget(name="b", workload="wep", min_available=1)]), UnknownName,
            "unknown workload 'wep'; did you mean 'web'",
        ),
        ([], Health(probes={"wab": Probes()}), UnknownName, "unknown workload 'wab'; did you mean 'web'"),
        (
            [], Health(probes={"web": Probes(startup=Probe(ProbeKind.STARTUP, period_seconds=1))}), InputError,
            "its startup probe kills every container after 2 s, but it answers after 20 s",
        ),
    ],
)  # fmt: skip
def test_what_isnt_there_is_named_before_the_run(faults, health, error, message):
    world = new_world(cluster(), [WEB, AGENT], as_policy("least-allocated"), 0, HOUR)
    with pytest.raises(error, match=message):
        build_health(world, faults, health)
