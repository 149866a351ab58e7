"""Preemption in a simulated run: who goes, when, whose budget is charged, and what the frames say."""

from __future__ import annotations

import pytest

from k8slab import Cluster, Simulation, Workload
from k8slab.simulation import Deployment
from k8slab.simulation.health import DisruptionBudget, Health

S = 10**9


def trace(rows):
    """(arrival in s, duration in s, cpu, priority)"""
    at, lasting, cpu, priority = zip(*rows, strict=True)
    pods = Workload.of([f"p{i}" for i in range(len(rows))], [[c, 100, 1] for c in cpu], priority=list(priority))
    return pods.with_times([a * S for a in at], [d * S for d in lasting])


def nodes(count, cpu=1000):
    return Cluster.of([f"n{i}" for i in range(count)], [[cpu] * count, [10_000] * count, [10] * count])


def told(run, action):
    rows = run.frames.healing.query("action == @action")
    return [(row.time_ns / S, row.pod, row.node, row.reason) for row in rows.itertuples()]


def test_a_more_important_pod_takes_the_room_after_the_victims_grace():
    run = Simulation(nodes(1), trace([(0, 1000, 800, 0), (10, 50, 800, 5)])).run("5m")
    assert told(run, "preempt") == [(10, "p0", "n0", "preempted by p1")]
    pods = run.frames.pods.set_index("pod")
    assert pods.loc["p1", "bound_s"] == 40  # 30 s of grace later
    assert pods.loc["p1", "ended_s"] == 90
    assert pods.loc["p0", "outcome"] == "running"  # it waited, and came back when there was room
    assert run.frames.events.query("event == 'Nominated'")[["pod", "node"]].to_numpy().tolist() == [["p1", "n0"]]


def test_nobody_goes_for_an_equal():
    run = Simulation(nodes(1), trace([(0, 1000, 800, 5), (10, 50, 800, 5)])).run("5m")
    assert told(run, "preempt") == []
    assert run.frames.pods.set_index("pod").loc["p1", "outcome"] == "pending"


def test_its_room_is_kept_from_those_of_lower_priority():
    # p2 would fit where p0 leaves, and comes while p1 waits for that.
    run = Simulation(nodes(1), trace([(0, 1000, 800, 0), (10, 500, 900, 5), (20, 50, 150, 0)])).run("2m")
    pods = run.frames.pods.set_index("pod")
    assert pods.loc["p1", "bound_s"] == 40
    assert pods.loc["p2", "outcome"] == "pending"


def test_victims_are_those_that_no_budget_protects():
    web = [Deployment(name, {"cpu": "800m", "memory": "100"}, replicas=1) for name in ("held", "free")]
    budget = DisruptionBudget(name="held", workload="held", min_available=1)
    urgent = trace([(60, 500, 800, 5)])
    run = Simulation(nodes(2), [*web, urgent], health=Health(budgets=[budget])).run("3m")
    assert [(pod, reason) for _, pod, _, reason in told(run, "preempt")] == [("free-0", "preempted by p0")]
    both = Health(budgets=[budget, DisruptionBudget(name="free", workload="free", min_available=1)])
    run = Simulation(nodes(2), [*web, urgent], health=both).run("3m")
    # Budgets are honoured as far as that goes: somebody has to go all the same.
    assert len(told(run, "preempt")) == 1


def test_a_policy_without_a_post_filter_preempts_nobody():
    rows = trace([(0, 1000, 800, 0), (10, 50, 800, 5)])
    run = Simulation(nodes(1), rows, policy="least-allocated").run("5m")
    assert told(run, "preempt") == []


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_same_each_time_and_the_table_serves_again_afterwards(seed):
    rows = [(t, 40, 400, t % 4) for t in range(0, 600, 9)]
    made = Simulation(nodes(2), trace(rows), seed=seed)
    one, two = made.run("30m"), made.run("30m")
    assert one.frames.healing.equals(two.frames.healing)
    assert (one.frames.healing["action"] == "preempt").any()
    one._world.state.check()
    assert one._world.scheduler._placer.path == "churn"
    assert (one.frames.pods["outcome"] == "succeeded").all()
