"""StatefulSets in a simulated run: ordered starts, names that stay, one replacement at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import k8slab
from k8slab.application.stateful_sets import Member, next_step
from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS as S
from k8slab.errors import InputError
from k8slab.experiments.scenario import scenario_of
from k8slab.simulation import DisruptionBudget, Drain, Health, StatefulSet
from k8slab.simulation.faults import ListedFailures

CLUSTER = k8slab.Cluster.synthetic(nodes=4, zones=2, seed=0)
ONE = {"cpu": "1", "memory": "1Gi"}


def simulated(*parts, until="1h", **options):
    run = k8slab.Simulation(CLUSTER, list(parts), **options).run(until)
    run._world.state.check()
    check(run)
    return run


def lives(run):
    """(name, arrived, bound, ended) of each pod in seconds."""
    pods = run.frames.pods
    return [tuple(row) for row in pods[["pod", "arrived_s", "bound_s", "ended_s"]].itertuples(index=False)]


def check(run):
    """No two of one name at a time."""
    for _, mine in run.frames.pods.groupby("pod"):
        ends = mine["ended_s"].fillna(np.inf)
        spans = sorted(zip(mine["arrived_s"], ends, strict=True))
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans)), spans


def test_pods_come_in_order_each_when_the_one_before_is_ready():
    run = simulated(StatefulSet("db", ONE, replicas=4, startup="20s"))
    assert [(name, at) for name, at, *_ in lives(run)] == [("db-0", 0), ("db-1", 20), ("db-2", 40), ("db-3", 60)]
    at_once = simulated(StatefulSet("db", ONE, replicas=4, startup="20s", parallel=True))
    assert [at for _, at, *_ in lives(at_once)] == [0] * 4
    ready = simulated(StatefulSet("db", ONE, replicas=30))
    assert [at for _, at, *_ in lives(ready)] == [0] * 30


def test_one_that_finds_no_node_holds_up_those_after_it():
    big = {"cpu": "1000", "memory": "1Gi"}
    run = simulated(StatefulSet("big", big, replicas=3))
    assert [name for name, *_ in lives(run)] == ["big-0"]


def test_a_drained_pod_comes_back_under_its_name_one_at_a_time():
    db = StatefulSet("db", ONE, replicas=6, startup="30s")
    first = simulated(db)
    node = first.frames.pods["node"].iloc[0]
    on = first.frames.pods.query("node == @node")["pod"].tolist()
    assert len(on) >= 2
    health = Health(
        drains=[Drain(node=node, at="30m")], pod_grace="10s",
        budgets=[DisruptionBudget(name="db", workload="db", max_unavailable=1)],
    )  # fmt: skip
    run = simulated(db, health=health)
    pods = run.frames.pods
    again = pods[pods["pod"].duplicated()]
    assert sorted(again["pod"]) == sorted(on)
    assert (pods.groupby("pod").size() <= 2).all()
    # The budget lets go of one; the next goes when that is ready again: 10 s of grace and 30 s later.
    gaps = np.diff(np.sort(again["arrived_s"]))
    assert (gaps >= 40).all(), gaps
    assert set(run.frames.availability.query("time_s > 600")["ready"]) == {5, 6}


def test_a_pod_on_a_dead_node_is_not_replaced_until_it_is_gone():
    db = StatefulSet("db", ONE, replicas=4)
    web = k8slab.simulation.Deployment("web", ONE, replicas=4)
    node = simulated(db, web).frames.pods.set_index("pod").loc["db-0", "node"]
    dead = ListedFailures(events=[{"at": "10m", "duration": "30m", "node": node}])
    pods = simulated(db, web, faults=[dead]).frames.pods
    mine = pods[pods["pod"] == "db-0"]
    assert len(mine) == 2
    # Evicted some 350 s after the node died, it ends when the node is back; a deployment's successor came at once.
    assert mine["arrived_s"].tolist()[1] == 40 * 60
    later = pods[(pods["workload"] == "web") & (pods["arrived_s"] > 0)]
    assert later["arrived_s"].between(600 + 330, 600 + 370).all()
    assert len(later)


def test_a_counterfactual_compares_each_life_of_a_name():
    db = StatefulSet("db", ONE, replicas=4)
    node = simulated(db, until="1m").frames.pods["node"].iloc[0]
    faults = [ListedFailures(events=[{"at": "10m", "duration": "30m", "node": node}])]
    run = simulated(db, faults=faults)
    found = run.counterfactual()
    assert len(found.pods()) == len(run.frames.pods) > 4
    assert (found.pods()["pending_s_difference"] == 0).all()


def test_the_same_seed_gives_the_same_and_scenarios_may_have_them():
    table = {
        "cluster": {"nodes": 3}, "until": "30m",
        "statefulset": [{"name": "db", "replicas": 3, "requests": ONE, "startup": "10s"}],
        "fault": [{"kind": "pod-crash", "mtbf": "10m"}],
        "budget": [{"name": "b", "workload": "db", "min_available": 2}],
    }  # fmt: skip
    one, two = (scenario_of(table).simulation.run("30m") for _ in range(2))
    assert one.frames.pods.equals(two.frames.pods)
    assert one.metrics["restarts"][0] > 0
    table["statefulset"][0]["replica"] = 3
    with pytest.raises(InputError, match=r"\[\[statefulset\]\] 'db': unknown key 'replica'; did you mean 'replicas'"):
        scenario_of(table)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"replicas": -1}, "StatefulSet 'db': replicas=-1; wanted a whole number, 0 or more"),
        ({"parallel": 1}, "parallel=1; wanted true or false"),
        ({"replicas": 900}, "900 replicas in turn that all are ready at once; wanted a startup above 0"),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(InputError, match=message):
        StatefulSet("db", ONE, **given)


members = st.dictionaries(
    st.integers(0, 5), st.tuples(st.sampled_from([0, 5, 9, NEVER]), st.booleans()).map(lambda m: Member(1, *m))
)


@given(members, st.integers(0, 6), st.booleans())
def test_a_step_never_hurries(given_members, replicas, parallel):
    now = 5
    step = next_step(given_members, replicas, now, parallel=parallel)
    assert not set(step.make) & given_members.keys(), "a name is given twice"
    assert all(number < replicas for number in step.make)
    fine = [n for n, m in given_members.items() if m.ready_ns <= now and not m.leaving]
    if parallel:
        assert set(step.make) == set(range(replicas)) - given_members.keys()
    else:
        assert len(step.make) + len(step.remove) <= 1
        for number in step.make:
            assert set(range(number)) <= set(fine), "one before it isn't ready"
        assert not step.remove or set(range(replicas)) <= set(fine)
    if step == ((), (), NEVER) and not parallel:
        # Nothing to do: all is as wanted, or somebody is waited for whose time nobody knows.
        waits = any(m.leaving or m.ready_ns == NEVER for m in given_members.values())
        assert waits or set(given_members) == set(range(replicas))


def test_scaling_down_takes_the_highest_first():
    def life(n, ready=0, leaving=False):
        return {n: Member(n, ready * S, leaving)}

    assert next_step(life(0) | life(1) | life(2), 1, S).remove == (2,)
    assert next_step(life(0, ready=9) | life(1), 1, S) == ((), (), 9 * S)
    assert next_step(life(0) | life(1) | life(2, leaving=True), 1, S) == ((), (), NEVER)
