"""The simulated cluster's store: what commits take, who leads, and what waits for both."""

from __future__ import annotations

import heapq
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

import k8slab
from k8slab import raft
from k8slab.domain.columns import NEVER
from k8slab.errors import InputError, UnknownName
from k8slab.experiments.scenario import scenario_of
from k8slab.simulation import Deployment, PodStream, Store
from k8slab.simulation.arrivals import Poisson
from k8slab.simulation.faults import ListedFailures
from k8slab.simulation.store import StoreRun, commit_latencies

MS, SECOND = 1_000_000, 1_000_000_000


def simulation(store, **more):
    cluster = k8slab.Cluster.synthetic(nodes=4)
    web = Deployment("web", replicas=6, requests={"cpu": "500m", "memory": "1Gi"})
    stream = PodStream("batch", k8slab.Workload.synthetic(pods=20, classes=3), Poisson(every="20s"), "2m")
    return k8slab.Simulation(cluster, [web, stream], store=store, seed=3, **more)


def stored_run():
    return simulation(Store(losses=[{"at": "2m", "duration": "1m", "members": 2}])).run("10m")


def a_run_of(store, until_ns=3600 * SECOND, seed=0):
    return StoreRun(store, until_ns, np.random.default_rng(seed), np.random.default_rng(seed + 1))


# -- latencies -----------------------------------------------------------------------


def naive_latency(store, up, rng):
    """One write, told step by step: who has it when, and when a majority has."""
    has = []
    disks = rng.uniform(*store.ns_range("fsync"), (1, up))[0]
    there = rng.uniform(*store.ns_range("network"), (1, up - 1))[0]
    back = rng.uniform(*store.ns_range("network"), (1, up - 1))[0]
    for member in range(up):
        heapq.heappush(has, disks[member] + (there[member - 1] + back[member - 1] if member else 0))
    return int([heapq.heappop(has) for _ in range(store.majority)][-1])


@given(st.sampled_from([1, 3, 5, 7]), st.data(), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_commit_takes_until_a_majority_has_it(members, data, seed):
    store = Store(members=members, fsync=("1ms", "7ms"), network=("1ms", "3ms"))
    up = data.draw(st.integers(store.majority, members))
    fast = commit_latencies(store, up, 1, np.random.default_rng(seed))
    assert fast.tolist() == [naive_latency(store, up, np.random.default_rng(seed))]


@pytest.mark.long
@pytest.mark.parametrize("members", [3, 5])
def test_latencies_are_those_of_the_object_core(members):
    """The lab's leader sends an entry while it syncs; a commit is known when a majority has answered."""
    network, disk = raft.NetworkModel((1 * MS, 3 * MS)), raft.DiskModel(sync_ns=(2 * MS, 6 * MS))
    writes = [
        raft.Request(at_ns=(2000 + 50 * number) * MS, client=1, kind="put", key="x", value=number)
        for number in range(600)
    ]
    lab = raft.RaftLab(members, seed=5, network=network, disk=disk, clocks=raft.ClockModel(drift=0.0))
    run = lab.run(*writes, until_ns=33 * SECOND)
    assert run.violation is None
    answered = run.commit_latency()
    measured = answered[answered["client"] == 1]["latency_ns"] / MS
    store = Store(members=members, fsync=("2ms", "6ms"), network=("1ms", "3ms"))
    drawn = commit_latencies(store, members, 4000, np.random.default_rng(1)) / MS
    assert len(measured) > 400
    assert ks_2samp(measured, drawn).pvalue > 0.001, (np.mean(measured), drawn.mean())


# -- leaders -------------------------------------------------------------------------


def test_a_lost_leader_costs_an_election_and_a_lost_majority_all_of_its_time():
    store = Store(losses=[{"at": "10m", "duration": "5m"}, {"at": "30m", "duration": "5m", "members": 2}])
    run = a_run_of(store)
    first, second = run.leaderless
    assert (first.start_ns, first.cause) == (600 * SECOND, "leader lost")
    assert 0.5 * SECOND < first.end_ns - first.start_ns < 10 * SECOND
    assert second.start_ns == 1800 * SECOND
    assert 300 * SECOND < second.end_ns - second.start_ns < 310 * SECOND
    assert [up for _, up in run.up] == [3, 2, 3, 2, 1, 2, 3]


def test_one_that_is_never_back_leaves_the_cluster_without_a_leader_for_good():
    run = a_run_of(Store(members=1, losses=[{"at": "10m", "duration": "9999d"}]), until_ns=600 * SECOND + 1)
    assert [(one.start_ns, one.end_ns > 10**17) for one in run.leaderless] == [(600 * SECOND, True)]
    assert run.commit_ns(599 * SECOND)[0] < 600 * SECOND
    assert run.commit_ns(600 * SECOND)[0] > 10**17


@given(st.sampled_from([1, 3, 5]), st.floats(20, 2000), st.floats(5, 500), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_nobody_leads_exactly_while_there_is_no_majority_and_a_moment_longer(members, mtbf, repair, seed):
    store = Store(members=members, mtbf=f"{mtbf}s", repair=f"{repair}s")
    run = a_run_of(store, seed=seed)
    for one, following in pairwise(run.leaderless):
        assert one.start_ns < one.end_ns < following.start_ns
    for (at_ns, up), (until_ns, _) in pairwise([*run.up, (NEVER, 0)]):
        assert 0 <= up <= members
        if up < store.majority and until_ns < NEVER:
            covers = [one for one in run.leaderless if one.start_ns <= at_ns and one.end_ns >= until_ns]
            assert covers, f"somebody led with {up} of {members} members"
    for at_ns in np.random.default_rng(seed).integers(0, 3600 * SECOND, 50).tolist():
        done_ns, again = run.commit_ns(at_ns)
        assert done_ns > at_ns
        begun_in = [one for one in run.leaderless if one.start_ns <= done_ns < one.end_ns]
        assert done_ns >= NEVER or not begun_in, "committed while nobody led"
        assert again <= len(run.leaderless)


def test_chance_takes_members_as_often_as_it_should():
    store = Store(members=3, mtbf="1h", repair="1m")
    run = a_run_of(store, until_ns=2000 * 3600 * SECOND, seed=7)
    # Each fails once in 61 minutes, and a third of those led.
    losses = len(run.leaderless)
    assert losses == pytest.approx(2000 * 60 / 61, rel=0.08)


# -- the cluster over it --------------------------------------------------------------


def test_pods_are_bound_when_that_is_committed():
    run = simulation(Store(fsync="4ms", network="1ms")).run("10m")
    pods = run.frames.pods
    assert (pods["pending_s"] > 0).all()
    # A turn takes up what comes until it is committed, so none waits for longer than one commit and its like before.
    assert pods["pending_s"].max() <= 0.012 + 1e-9
    commits = run.frames.commits
    assert set(commits["controller"]) == {"scheduler", "workloads"}
    assert commits["latency_ms"].tolist() == [6.0] * len(commits)
    assert run.metrics["leaderless"] == (0.0, "s")


def test_while_nobody_leads_nothing_is_bound_and_then_everything():
    run = stored_run()
    (gap,) = run.frames.leaderless.itertuples()
    assert (gap.start_ns, gap.cause) == (120 * SECOND, "leader lost")
    assert 60 < gap.lasted_s < 70
    commits = run.frames.commits
    inside = (commits["committed_ns"] > gap.start_ns) & (commits["committed_ns"] < gap.end_ns)
    assert not inside.any()
    pods = run.frames.pods
    came = pods[(pods["arrived_s"] * SECOND > gap.start_ns) & (pods["arrived_s"] * SECOND < gap.end_ns)]
    assert len(came) >= 2
    assert (came["bound_s"] * SECOND >= gap.end_ns).all()
    assert run.metrics["commit_latency_p99"][0] > 1000
    assert run.metrics["leader_losses"] == (1, "count")
    assert f"{run.metrics['commit_latency_p50'][0]:,.1f}\u00a0ms" in run._repr_html_()
    again = stored_run()
    for name in run.frames:
        assert run.frames[name].equals(again.frames[name]), name


def test_healing_waits_for_a_leader():
    fault = [ListedFailures(events=[{"at": "100s", "duration": "20m", "node": "node-0"}])]
    plain = simulation(Store(), faults=fault).run("20m")
    held_up = simulation(Store(losses=[{"at": "2m", "duration": "10m", "members": 2}]), faults=fault).run("20m")

    def first_eviction(run):
        healing = run.frames.healing
        return healing[healing["action"].isin(["evict", "delete"])]["time_ns"].min() / SECOND

    # Five minutes from the taint, which is written 40 s after the node's last heartbeat, or when somebody leads again.
    assert 430 < first_eviction(plain) < 460
    assert 1020 < first_eviction(held_up) < 1030


def test_without_a_store_nothing_is_different():
    plain, twice = simulation(None), simulation(None)
    assert "store" not in plain.manifest()
    run, again = plain.run("10m"), twice.run("10m")
    assert "commits" not in list(run.frames)
    assert not any(name.startswith(("commit", "leader")) for name in run.metrics)
    assert list(run.frames) == list(again.frames)
    with pytest.raises(UnknownName, match="unknown frame 'commits'"):
        _ = run.frames["commits"]
    with pytest.raises(AttributeError, match="has no frame 'leaderless'"):
        _ = run.frames.leaderless
    with pytest.raises(InputError, match="the run has no store"):
        run.plot.store()


def test_a_store_that_takes_no_time_changes_no_placement():
    quick = Store(members=1, fsync="1ns", network="1ns")
    plain, stored = simulation(None).run("10m"), simulation(quick).run("10m")
    names = ["pod", "node", "outcome"]
    assert plain.frames.pods[names].equals(stored.frames.pods[names])
    counterfactual = plain.counterfactual(store=quick)
    assert counterfactual.frame.set_index("metric").loc["pods_placed", "difference"] == 0


def test_a_scenario_may_have_a_store():
    table = {
        "cluster": {"nodes": 3},
        "deployment": [{"name": "web", "replicas": 2, "requests": {"cpu": "1", "memory": "1Gi"}}],
        "store": {"members": 5, "fsync": ["2ms", "9ms"], "losses": [{"at": "1h", "duration": "5m"}]},
    }
    store = scenario_of(table).simulation.store
    assert (store.members, store.ns_range("fsync"), store.loss(0)) == (
        5,
        (2 * MS, 9 * MS),
        (3600 * SECOND, 300 * SECOND, 1),
    )
    with pytest.raises(InputError, match=r"scenario, \[store\]: unknown key 'fsinc'; did you mean 'fsync'"):
        scenario_of({**table, "store": {"fsinc": "1ms"}})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"members": 4}, "store, members: 4; wanted an odd number from 1 to 63"),
        ({"members": True}, "members: True"),
        ({"fsync": ("5ms", "1ms")}, "fsync: the least, '5ms', is above the greatest, '1ms'"),
        ({"network": ("1ms", "2ms", "3ms")}, "wanted one length of time, or a least and a greatest"),
        ({"heartbeat": "2s"}, "heartbeat: '2s'; wanted less than the election_timeout, '1s'"),
        ({"mtbf": "soon"}, "store, mtbf"),
        ({"losses": [{"at": "1h"}]}, r"losses\[0\]: no 'duration'"),
        ({"losses": [{"at": "1h", "duration": "1m", "members": 4}]}, r"losses\[0\], members: 4; wanted 1 to 3"),
        ({"losses": [{"at": "1h", "durations": "1m"}]}, "unknown key 'durations'; did you mean 'duration'"),
    ],
)
def test_a_store_that_cannot_be_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Store(**given)


def test_the_picture_shows_commits_and_when_nobody_led():
    axes = stored_run().plot.store()
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["scheduler", "workloads", "nobody led"]
    assert len(axes.patches) == 1
