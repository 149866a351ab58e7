"""The Player decides as the Placer does, whatever happens to nodes and pods between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from k8slab.datasets import Cluster, Workload
from k8slab.domain.columns import Codes, Taint
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.node_template import NodeTemplate
from k8slab.domain.pod_spec import PodSpec, SpreadConstraint
from k8slab.kernels.course_columns import ADDED, BOUND, ENDED, JOINED, Course, Ends, Joins, Pods, Rules, no_joins
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
@given(st.lists(PODS, min_size=1, max_size=25), st.sampled_from(POLICIES), st.sampled_from([1, 30 * SECOND_NS]))
def test_a_run_is_the_same_under_player_and_placer(rows, name, scale):
    rows = [(at * scale, lasting * scale, *others) for at, lasting, *others in rows]
    parts = [trace(rows), Deployment("web", {"cpu": "150m", "memory": "200"}, replicas=2),
             Job("job", {"cpu": "200m"}, completions=4, parallelism=2, durations=7e-9)]  # fmt: skip
    states = []
    for maker in (Player, Placer):
        make = lambda p, s, seed, maker=maker: maker(p, s, seed=seed)  # noqa: E731
        world = new_world(NODES, parts, policy(name), 0, 60 * scale, make)
        world.calendar.run_until(60 * scale)
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
    assert player.live(course([(0, rows[0], 10)])) is None


def course(come: list[tuple[int, int, int]], **pods: Any) -> Course:
    """(when, row, lifetime) of pods that come; none waits, none runs."""
    at, rows, lasting = (np.array(column, dtype=np.int64) for column in zip(*come, strict=True))
    numbers = {name: np.zeros(len(come), dtype=np.int64) for name in Pods._fields}
    given = {**numbers, "may_wait": np.ones(len(come), bool), "may_go": np.ones(len(come), bool), **pods}
    none = np.zeros(0, dtype=np.int64)
    rules = Rules(np.zeros(1, np.int64), 10**9, True, 300, 30, np.zeros(0, bool))
    come_and_run = Pods(**{**given, "row": rows, "lifetime_ns": lasting})
    return Course(100, at, come_and_run, Ends(none, none, none, none), none, 0, rules, no_joins())


def test_what_something_else_would_follow_from_is_not_lived_through():
    state = NODES.new_state()
    player = Player(policy("most-allocated"), state)
    work = Workload.of(["a", "b", "c", "d"], [[1900, 10, 1], [1900, 10, 1], [100, 10, 1], [100, 10, 1]])
    a, b, c = work.add_to(state)[:3].tolist()
    come = [(1, a, 50), (2, b, 50), (2, c, 50)]
    told = player.live(course(come, may_wait=np.zeros(3, bool)))
    # The second fits nowhere: its instant isn't begun, and all is as before it.
    assert told is not None
    assert (told.before_ns, told.told.pod.tolist(), told.told.verb.tolist()) == (2, [a, a], [ADDED, BOUND])
    assert (player._filled.board.requested * player._filled.units.T).sum(axis=0).tolist() == [1900, 10, 1]


def test_those_who_wait_are_tried_when_a_pod_ends():
    state = NODES.new_state()
    player = Player(policy("most-allocated"), state)
    work = Workload.of(["a", "b", "c"], [[1900, 10, 1], [1900, 10, 1], [100, 10, 1]])
    a, b, c = work.add_to(state).tolist()
    told = player.live(course([(1, a, 50), (2, b, 50), (3, c, 10)]))
    assert told is not None
    assert told.before_ns == 100
    happened = zip(told.told.at_ns.tolist(), told.told.verb.tolist(), told.told.pod.tolist(), strict=True)
    assert list(happened) == [
        (1, ADDED, a), (1, BOUND, a), (2, ADDED, b), (3, ADDED, c), (3, BOUND, c), (13, ENDED, c),
        (51, ENDED, a), (51, BOUND, b),
    ]  # fmt: skip
    assert (told.line.tolist(), told.tried, told.refused_ns.tolist(), told.refused.tolist()) == ([], 5, [2], [1])


def test_nodes_that_join_are_open_from_then_on_and_those_that_did_not_are_forgotten():
    state = NODES.new_state()
    player = Player(policy("most-allocated"), state)
    work = Workload.of(["a", "b", "c"], [[1900, 10, 1], [1900, 10, 1], [1900, 10, 1]])
    a, b, c = work.add_to(state).tolist()
    like = NodeTemplate("big", np.array([2000, 1000, 5]), np.zeros(3, dtype=np.int64))
    small, there = NodeTemplate("small", np.array([100, 10, 5]), np.zeros(3, dtype=np.int64)), state.node_count
    joins = Joins(np.array([3, 5, 9]), np.arange(there, there + 3), np.full(3, -1), no_joins().allowed)
    come = course([(1, a, 50), (2, b, 50), (6, c, 50)], may_wait=np.array([True, True, False]))._replace(joins=joins)
    told = player.live(come, [small, like, like])
    assert told is not None
    # b waits until a node comes that is large enough; c finds none at 6, which is for somebody else to live through.
    happened = zip(told.told.at_ns.tolist(), told.told.verb.tolist(), told.told.node.tolist(), strict=True)
    assert list(happened) == [
        (1, ADDED, -1), (1, BOUND, told.told.node[1]), (2, ADDED, -1), (3, JOINED, there), (5, JOINED, there + 1),
        (5, BOUND, there + 1),
    ]  # fmt: skip
    assert (told.before_ns, player._filled.rows.tolist()[-2:]) == (6, [there, there + 1])
    assert not player._filled.board.allowed[len(player._filled.rows) :].any()


def test_nodes_that_come_and_go_get_rows_of_the_table():
    state = NODES.new_state()
    player = Player(policy("kube-default"), state)
    for step in range(200):
        rows = pod(state, f"p{step}", 300)
        asked, told = Placer(policy("kube-default"), state).place(rows), player.place(rows)
        assert told.tolist() == asked.tolist()
        state.bind(rows[told >= 0], told[told >= 0])
        state.add_nodes([f"new-{step}"], [[1000 + 100 * (step % 5)], [1000], [5]])
        if step % 3 == 0 and step:
            gone = int(np.flatnonzero(state.node_alive)[step % 4])
            state.finish(state.pods_on(gone))
            state.remove_node(gone)
    assert len(player._filled.rows) < state.node_count
    with pytest.raises(AssertionError, match="no table"):
        Player(policy("kube-default"), state)._place(np.zeros(0, dtype=np.int64))
