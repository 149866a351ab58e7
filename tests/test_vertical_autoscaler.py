"""Right-sizing in a simulated cluster: what is requested follows what is used."""

from __future__ import annotations

import pytest

import k8slab
from k8slab.errors import InputError, UnknownName
from k8slab.policies import policy
from k8slab.policies.placer import Placer
from k8slab.policies.player import Player
from k8slab.simulation import Deployment, Usage, VerticalAutoscaler
from k8slab.simulation.faults import OomKills
from k8slab.simulation.health import DisruptionBudget, Health
from k8slab.state import ClusterState

CLUSTER = k8slab.Cluster.synthetic(nodes=6, seed=0)
FAT = {"cpu": "4", "memory": "8Gi"}


def simulated(mode="recreate", until="1d", replicas=4, health=None, faults=(), usage=None, **options):
    web = Deployment("web", FAT, replicas=replicas, usage=usage or Usage(cpu=0.1, memory=0.2))
    run = k8slab.Simulation(
        CLUSTER, web, autoscalers=[VerticalAutoscaler("web", mode, **options)], health=health, faults=faults
    ).run(until)
    run._world.state.check()
    return run


def alive(run):
    pods = run.frames.pods
    return pods[pods["ended_s"].isna()]


def test_pods_that_ask_too_much_are_made_anew_with_less():
    run = simulated()
    pods = alive(run)
    assert len(pods) == 4
    assert (pods["cpu_milli"] < 1000).all()
    assert (pods["memory_bytes"] < 4 * 2**30).all()
    assert set(run.frames.right_sizing["action"]) == {"evict"}
    assert run.frames.utilization["cpu_requested_percent"].iloc[-1] < run.frames.utilization[
        "cpu_requested_percent"].iloc[0] / 3  # fmt: skip


def test_in_place_nobody_has_to_go():
    run = simulated("in-place")
    assert len(run.frames.pods) == 4
    assert (alive(run)["cpu_milli"] < 1000).all()
    assert set(run.frames.right_sizing["action"]) == {"resize"}


def test_off_and_initial_leave_pods_alone():
    for mode in ("off", "initial"):
        run = simulated(mode, until="6h")
        assert (run.frames.pods["cpu_milli"] == 4000).all()
        assert not len(run.frames.right_sizing)
        assert run._world.parts["vertical"].recommendations().target_cpu_milli[0] < 1000


def test_budgets_and_the_least_number_of_replicas_are_heeded():
    held = Health(budgets=[DisruptionBudget(name="web", workload="web", max_unavailable=0)])
    assert not len(simulated(health=held, until="2h").frames.right_sizing)
    assert not len(simulated(replicas=1, until="2h").frames.right_sizing)
    one = Health(budgets=[DisruptionBudget(name="web", workload="web", max_unavailable=1)])
    run = simulated(health=one)
    ready = run.frames.availability.query("workload == 'web'")["ready"]
    assert ready.iloc[5:].min() >= 3


def test_what_is_allowed_bounds_what_is_asked():
    run = simulated("in-place", min_allowed={"cpu": "2"}, max_allowed={"memory": "1Gi"})
    assert (alive(run)["cpu_milli"] == 2000).all()
    assert (alive(run)["memory_bytes"] == 2**30).all()


def test_a_kill_for_memory_raises_what_is_asked():
    usage = Usage(cpu=0.5, memory=0.95)
    kills = OomKills(limit_factor=1.0, ramp="1h", name="oom")
    calm = simulated("in-place", until="6h", usage=usage)
    killed = simulated("in-place", until="6h", usage=usage, faults=[kills])
    by_kills, without = (
        run._world.parts["vertical"].recommendations().target_memory_bytes[0] for run in (killed, calm)
    )
    if (killed.frames.healing["reason"] == "OOMKilled").any():
        assert by_kills > without


def test_a_pod_that_stood_for_its_class_may_be_resized():
    """The player's table is made anew with nodes; it must not take a resized pod for what its class requests."""
    state = ClusterState()
    state.add_nodes(["a"], [[2000], [10], [10]])
    pods = state.add_pods(["p", "q", "r"], [[1000, 1, 1]] * 3)
    player = Player(policy("most-allocated"), state)
    state.bind(pods[:1], player.place(pods[:1]))
    state.update_pod(0, request=[100, 1, 1])
    state.add_nodes(["b"], [[1500], [10], [10]])
    rows = player.place(pods[1:])
    assert rows.tolist() == Placer(policy("most-allocated"), state).place(pods[1:]).tolist() == [1, 0]
    state.bind(pods[1:], rows)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: VerticalAutoscaler("web", "recreat"), UnknownName, "'recreat'; did you mean 'recreate'"),
        (lambda: VerticalAutoscaler("web", min_allowed={"cpu": 2}, max_allowed={"cpu": 1}), InputError,
         "is above max_allowed"),
        (lambda: VerticalAutoscaler("web", min_allowed={"gpu": 2}), UnknownName, "unknown resource 'gpu'"),
        (lambda: simulated(name="x", until="1m").counterfactual(autoscalers=[VerticalAutoscaler("wep")]), UnknownName,
         "unknown deployment 'wep'; did you mean 'web'"),
    ],
)  # fmt: skip
def test_what_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()
