"""The Placer decides as a fresh policy on the state as it is, whatever happened to the state before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k8slab import policies
from k8slab.domain.columns import Codes, Taint
from k8slab.domain.pod_spec import PodSpec
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import StateConflict
from k8slab.policies import Policy, placer
from k8slab.policies.placer import Placer
from k8slab.state import ClusterState

ZONE = "topology.kubernetes.io/zone"
SPOT = (Taint("spot", "", "NoExecute"),)
ASKS = [(100, 1), (100, 1), (250, 4), (900, 2), (0, 0), (333, 7)]
SIZES = [(1000, 8), (2000, 16), (4000, 8), (0, 0)]
VERBS = ["unbind", "finish", "remove", "node", "capacity", "labels", "foreign", "join", "leave", "ask"]
SPECS = [None, None, None, PodSpec(node_selector=((ZONE, "a"),))]


def a_state() -> ClusterState:
    return ClusterState(ResourceSchema())


class History:
    """Random verbs on a state, drawn by hypothesis; what is legal at the time."""

    def __init__(self, data: st.DataObject) -> None:
        self.state = a_state()
        self._draw = data.draw
        self._names = 0

    def pick(self, options: Any) -> Any:
        return self._draw(st.sampled_from(list(options)))

    def _named(self, kind: str) -> list[str]:
        self._names += 1
        return [f"{kind}{self._names}"]

    def add_nodes(self) -> None:
        for _ in range(self.pick([1, 2, 5])):
            size = np.array([*self.pick(SIZES), self.pick([1, 3, 10])])[:, None]
            labels = {ZONE: Codes.of([self.pick(["a", "b"])])}
            taints = Codes.of([self.pick([(), (), SPOT])])
            self.state.add_nodes(self._named("n"), size, labels=labels, taints=taints)

    def add_pods(self) -> np.ndarray:
        rows = []
        for _ in range(self.pick([1, 3, 8])):
            asks = np.array([[*self.pick(ASKS), 1]])
            specs, rank = Codes.of([self.pick(SPECS)]), self.pick([0, 10])
            rows.append(self.state.add_pods(self._named("p"), asks, specs=specs, priority=rank))
        return np.concatenate(rows)

    def change(self) -> None:
        """One verb that isn't the placer's."""
        state = self.state
        nodes = np.flatnonzero(state.node_alive)
        bound = np.flatnonzero(state.pod_node >= 0)
        verb = self.pick(VERBS)
        if verb == "join" or not len(nodes):
            self.add_nodes()
        elif verb in ("unbind", "finish", "remove") and len(bound):
            {"unbind": state.unbind, "finish": state.finish, "remove": state.remove_pods}[verb](int(self.pick(bound)))
        elif verb == "node":
            state.set_node_state(int(self.pick(nodes)), self.pick([0, 0, 1, 2, 3]))
        elif verb == "capacity":
            state.update_node(int(self.pick(nodes)), allocatable=np.array([*self.pick(SIZES), 4]))
        elif verb == "labels":
            state.update_node(int(self.pick(nodes)), labels={ZONE: self.pick(["a", "b"])}, taints=self.pick([(), SPOT]))
        elif verb == "foreign":
            state.set_foreign(int(self.pick(nodes)), np.array([self.pick([0, 100]), 1, 0]))
        elif verb == "leave":
            node = int(self.pick(nodes))
            if len(state.pods_on(node)):
                state.remove_pods(state.pods_on(node))
            state.remove_node(node)
        elif verb == "ask" and len(bound):
            state.update_pod(int(self.pick(bound)), request=np.array([*self.pick(ASKS), 1]), force=True)


def expected(policy: Policy, state: ClusterState, rows: np.ndarray, seed: int, ties: Any) -> list[int]:
    alone = replace(policy, post_filter=None)
    nodes, pods = state.node_columns(), state.pod_columns(rows)
    return alone.place(nodes, pods, seed=seed, ties=ties, path="stepwise").node_rows.tolist()


NAMES = ["kube-default", "most-allocated", "best-fit", "first-fit"]


@pytest.fixture(params=[False, True], ids=["small", "large"])
def large(request, monkeypatch) -> bool:
    """Whether what is small is decided as what is large: by structures that are kept."""
    if request.param:
        monkeypatch.setattr(placer, "SMALL_PODS", -1)
    return request.param


SAME_FOR_ALL = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SAME_FOR_ALL
@given(st.data(), st.sampled_from(NAMES), st.integers(0, 5), st.sampled_from(["lowest", "random"]))
def test_a_placer_decides_as_a_fresh_policy_after_any_history(large, data, name, seed, ties):
    history, policy = History(data), policies.policy(name)
    history.add_nodes()
    decider = Placer(policy, history.state, seed=seed, ties=ties)
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(data.draw(st.integers(0, 3))):
            history.change()
        history.add_pods()
        waiting = history.state.pending_rows()
        wanted = expected(policy, history.state, waiting, seed, ties)
        found = decider.place(waiting)
        assert found.tolist() == wanted
        placed = found >= 0
        history.state.bind(waiting[placed], found[placed])
    history.state.check()


@SAME_FOR_ALL
@given(st.data(), st.sampled_from(NAMES), st.sampled_from(["lowest", "random"]))
def test_pods_that_are_placed_and_not_bound_yet_count(large, data, name, ties):
    history, policy = History(data), policies.policy(name)
    history.add_nodes()
    decider = Placer(policy, history.state, ties=ties)
    history.add_pods()
    waiting = history.state.pending_rows()
    wanted = expected(policy, history.state, waiting, 0, ties)
    assert [int(decider.place(row)[0]) for row in waiting] == wanted
    decider.forget(waiting)
    assert decider.place(waiting).tolist() == wanted


@SAME_FOR_ALL
@given(st.data(), st.sampled_from([1, 40, 70]), st.integers(1, 3), st.sampled_from(["lowest", "random"]))
def test_a_sampling_policy_searches_on_where_it_ended(large, data, percentage, at_least, ties):
    history = History(data)
    policy = policies.policy("kube-default").sampled(percentage, at_least=at_least)
    history.add_nodes()
    decider, start = Placer(policy, history.state, ties=ties), 0
    for _ in range(data.draw(st.integers(1, 5))):
        history.change()
        history.add_pods()
        waiting = history.state.pending_rows()
        nodes, pods = history.state.node_columns(), history.state.pod_columns(waiting)
        alone = replace(policy, post_filter=None)
        wanted = alone.place(nodes, pods, ties=ties, path="stepwise", search_start=start)
        start = wanted.next_start
        found = decider.place(waiting)
        assert found.tolist() == wanted.node_rows.tolist()
        placed = found >= 0
        history.state.bind(waiting[placed], found[placed])


def test_each_pod_begins_where_the_search_for_the_last_one_ended(large) -> None:
    """Two nodes that will do are enough, of four that are alike: first two, then the other two."""
    state = a_state()
    state.add_nodes([f"n{i}" for i in range(4)], [[9000] * 4, [9000] * 4, [9] * 4])
    decider = Placer(policies.policy("first-fit").sampled(1, at_least=2), state)
    rows = []
    for name in ("a", "b", "c"):
        pod = state.add_pods([name], [[100, 100, 1]])
        rows += decider.place(pod).tolist()
    # The third isn't bound yet when the fourth comes.
    assert rows == [0, 2, 0]
    assert decider.path == "stepwise"


def test_what_is_kept_serves_again_and_new_requests_join(monkeypatch) -> None:
    monkeypatch.setattr(placer, "SMALL_PODS", -1)
    made = []
    monkeypatch.setattr(placer.Kept, "of", lambda *given, of=placer.Kept.of: made.append(1) or of(*given))
    state, rng = a_state(), np.random.default_rng(0)
    state.add_nodes([f"n{i}" for i in range(200)], rng.integers(8, 10, size=(3, 200)) * [[900], [1000], [9]])
    policy = policies.policy("kube-default")
    decider = Placer(policy, state)
    for step in range(40):
        asks = np.column_stack([rng.integers(0, 900, size=(20, 2)), np.ones(20, dtype=np.int64)])
        pods = state.add_pods([f"p{step}-{i}" for i in range(20)], asks)
        wanted = expected(policy, state, pods, 0, "lowest")
        rows = decider.place(pods)
        assert rows.tolist() == wanted
        assert decider.path == "tree"
        state.bind(pods, rows)
        state.finish(rng.choice(np.flatnonzero(state.pod_node >= 0), 10, replace=False))
        failing = int(rng.integers(200))
        state.set_node_state(failing, 1 - int(state.node_state[failing]))
    # The first time, and for requests larger than those before, and for a node that is the first to fail.
    assert len(made) <= 8


def two_nodes() -> tuple[ClusterState, Placer]:
    state = a_state()
    state.add_nodes(["n0", "n1"], [[1000, 4000], [4000, 4000], [5, 5]])
    return state, Placer(policies.policy("first-fit"), state)


def test_pods_fill_one_node_then_the_next_and_come_back_when_one_leaves() -> None:
    state, decider = two_nodes()
    pods = state.add_pods([f"p{i}" for i in range(3)], [[600, 1000, 1]] * 3)
    rows = decider.place(pods)
    assert rows.tolist() == [0, 1, 1]
    state.bind(pods, rows)
    state.finish(pods[:1])
    assert decider.place(state.add_pods(["late"], [[600, 1000, 1]])).tolist() == [0]


def test_a_node_that_fails_takes_no_pod() -> None:
    state, decider = two_nodes()
    state.set_node_state(0, 1)
    assert decider.place(state.add_pods(["p"], [[600, 1000, 1]])).tolist() == [1]


def test_nobody_is_preempted() -> None:
    state = a_state()
    state.add_nodes(["n0"], [[1000], [4000], [5]])
    low = state.add_pods(["low"], [[1000, 1000, 1]])
    state.bind(low, 0)
    high = state.add_pods(["high"], [[1000, 1000, 1]], priority=10)
    assert Placer(policies.policy("kube-default"), state).place(high).tolist() == [-1]


def test_a_users_plugin_reads_the_arrays_that_were_given() -> None:
    state, _ = two_nodes()

    @policies.score_plugin(heat=policies.array("heat"))
    def cool(heat, score):
        score[:] = -heat

    decider = Placer(
        policies.policy("first-fit").with_score(cool), state, arrays={"heat": np.array([5.0, 1.0])}, ties="lowest"
    )
    assert decider.place(state.add_pods(["p"], [[600, 1000, 1]])).tolist() == [1]


def test_a_pod_that_has_a_node_is_refused() -> None:
    state, decider = two_nodes()
    pod = state.add_pods(["p"], [[600, 1000, 1]])
    decider.place(pod)
    with pytest.raises(StateConflict, match="cannot place pod row 0: it has a node already, 'n0'"):
        decider.place(pod)
    state.bind(pod, 0)
    with pytest.raises(StateConflict, match="it has a node already, 'n0'"):
        decider.place(pod)
    state.remove_pods(pod)
    with pytest.raises(StateConflict, match="cannot place pod row 0: it was removed"):
        decider.place(pod)
