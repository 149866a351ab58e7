"""The Player decides as the Placer does, whatever happens to nodes and pods between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from k8slab.datasets import Cluster, Workload
from k8slab.domain.columns import Codes, Taint
from k8slab.domain.pod_spec import PodSpec, SpreadConstraint
from k8slab.policies import policy
from k8slab.policies.placer import Placer
from k8slab.policies.player import Player
from k8slab.simulation.engine import new_world
from k8slab.simulation.workloads import Deployment, Job
from k8slab.state import ClusterState
from tests.test_stretch import PODS, columns, trace

NODES = Cluster.of(["a", "b", "c", "d"], [[1000, 1000, 600, 2000], [1000, 2000, 1000, 1500], [5, 5, 5, 9]])
POLICIES = ("kube-default", "most-allocated", "best-fit", "worst-fit")


@settings(max_examples=15, deadline=None)
@given(st.lists(PODS, min_size=1, max_size=25), st.sampled_from(POLICIES))
def test_a_run_is_the_same_under_player_and_placer(rows, name):
    parts = [trace(rows), Deployment("web", {"cpu": "150m", "memory": "200"}, replicas=2),
             Job("job", {"cpu": "200m"}, completions=4, parallelism=2, durations=7e-9)]  # fmt: skip
    states = []
    for maker in (Player, Placer):
        world = new_world(NODES, parts, policy(name), 0, 60, lambda p, s, seed, maker=maker: maker(p, s, seed=seed))
        world.calendar.run_until(60)
        world.state.check()
        states.append(columns(world.state))
    assert states[0] == states[1]


def pod(state: ClusterState, name: str, cpu: int, **more: Any) -> np.ndarray:
    return state.add_pods([name], state.schema.vector({"cpu": cpu, "memory": 100, "pods": 1})[None], **more)


ACTIONS = st.one_of(
    st.tuples(st.just("place"), st.lists(st.sampled_from([100, 300, 700]), min_size=1, max_size=3)),
    st.tuples(st.just("end"), st.integers(0, 50)),
    st.tuples(st.just("state"), st.tuples(st.integers(0, 3), st.integers(0, 3))),
    st.tuples(st.just("taint"), st.tuples(st.integers(0, 3), st.sampled_from(["", "NoSchedule", "PreferNoSchedule"]))),
    st.tuples(st.just("grow"), st.tuples(st.integers(0, 3), st.sampled_from([1000, 1001, 3000]))),
    st.tuples(st.just("node"), st.integers(1, 3)),
)


@settings(max_examples=40, deadline=None)
@example([("place", [700]), ("state", (3, 1)), ("grow", (1, 3000)), ("place", [700])], "best-fit")
@given(st.lists(ACTIONS, max_size=14), st.sampled_from(POLICIES))
def test_it_keeps_in_step_with_any_history(actions, name):
    state = NODES.new_state()
    player = Player(policy(name), state)
    count = 0
    for act, what in [*actions, ("place", [300, 100])]:
        if act == "place":
            rows = np.concatenate([pod(state, f"p{count + k}", cpu) for k, cpu in enumerate(what)])
            count += len(what)
            asked = Placer(policy(name), state).place(rows)
            told = player.place(rows)
            assert told.tolist() == asked.tolist()
            state.bind(rows[told >= 0], told[told >= 0])
        elif act == "end":
            bound = np.flatnonzero(state.pod_node >= 0)
            if len(bound):
                state.finish(int(bound[what % len(bound)]))
        elif act == "state":
            state.set_node_state(*what)
        elif act == "taint":
            state.update_node(what[0], taints=(Taint("k", effect=what[1]),) if what[1] else ())
        elif act == "grow":
            state.update_node(what[0], allocatable=[what[1], 2000, 9])
        else:
            state.add_nodes([f"n{state.node_count}"], [[what * 700], [1000], [4]])


def test_a_policy_that_compares_nodes_is_left_to_the_placer():
    state = NODES.new_state()
    player = Player(policy("kube-default"), state)
    spread = PodSpec(spread=(SpreadConstraint("zone", 1, False, ()),))
    assert player.path == "churn"
    rows = pod(state, "p", 100, specs=Codes.constant(spread, 1))
    assert player.place(rows).tolist() == Placer(policy("kube-default"), state).place(rows).tolist()
    assert player.path == "stepwise"
    assert player.play(rows, np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int64)).tolist() == []


def test_looking_ahead_stops_at_the_first_that_fits_nowhere():
    state = NODES.new_state()
    player = Player(policy("most-allocated"), state)
    work = Workload.of(["a", "b", "c"], [[1900, 10, 1], [1900, 10, 1], [100, 10, 1]])
    rows = work.add_to(state)
    none = np.zeros(0, dtype=np.int64)
    assert player.play(rows, np.zeros(4, dtype=np.int64), none).tolist() == [3]
    state.bind(rows[:1], [3])
    player.settle(complete=False)
    # The first ends before the second comes.
    assert player.play(rows[1:], np.array([0, 1, 1]), rows[:1]).tolist() == [3, 3]
    with pytest.raises(AssertionError, match="no table"):
        Player(policy("kube-default"), state)._play(none, none, none, none, none, stop=True)
