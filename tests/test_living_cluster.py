"""Invariants that hold at every step of a living cluster, whatever happens to it."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from k8slab.datasets import Cluster, Workload
from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import NODE_STATES
from k8slab.policies import policy
from k8slab.simulation.arrivals import Poisson
from k8slab.simulation.distributions import Exponential
from k8slab.simulation.engine import new_world
from k8slab.simulation.workloads import Deployment, Job, PodStream
from k8slab.state import VERBS

NODES = Cluster.of(["a", "b", "c"], [[2000, 2000, 1000], [4000, 2000, 4000], [8, 8, 4]])
PARTS = [
    PodStream("batch", Workload.of(["s", "t"], [[300, 500, 1], [700, 200, 1]]), Poisson("20s"), Exponential("90s")),
    Deployment("web", {"cpu": "250m", "memory": "100"}, replicas=3, startup="10s"),
    Job("train", {"cpu": "200m", "memory": "10"}, completions=6, parallelism=2, durations="40s"),
]


class LivingCluster(RuleBasedStateMachine):
    """Time passes, pods are evicted and crash, nodes go away and come back, deployments are scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.world = new_world(NODES, PARTS, policy("kube-default"), 7, 3600 * SECOND_NS)
        self.state = self.world.state

    @property
    def now_ns(self) -> int:
        return self.world.clock.now()

    @rule(seconds=st.integers(0, 120))
    def time_passes(self, seconds):
        self.world.calendar.run_until(self.now_ns + seconds * SECOND_NS)

    @rule(node=st.integers(0, 2), code=st.integers(0, len(NODE_STATES) - 1))
    def a_node_changes(self, node, code):
        self.state.set_node_state(node, code)

    @rule(node=st.integers(0, 2), up=st.booleans())
    def a_node_fails_or_returns(self, node, up):
        rows = np.array([node])
        (self.world.kubelets.resume if up else self.world.kubelets.halt)(rows, self.now_ns)

    @rule(number=st.integers(0, 50), how=st.sampled_from(["evict", "remove", "crash", "fail"]))
    def a_pod_suffers(self, number, how):
        bound = np.flatnonzero(self.state.pod_node >= 0)
        if not len(bound):
            return
        pod = int(bound[number % len(bound)])
        if how == "crash":
            self.world.kubelets.stop(np.array([pod]), self.now_ns)
            self.state.restart(pod, self.now_ns + 10 * SECOND_NS)
        else:
            {"evict": self.state.unbind, "remove": self.state.remove_pods,
             "fail": lambda row: self.state.finish(row, 3)}[how](pod)  # fmt: skip

    @rule(replicas=st.integers(0, 6))
    def a_deployment_is_scaled(self, replicas):
        self.world.workloads.scale(self.world.workloads.owner("web"), replicas)

    @invariant()
    def no_node_is_over_what_it_has_and_each_pod_is_in_one_place(self):
        state = self.state
        assert (state.requested <= state.allocatable).all()
        held = np.zeros_like(state.requested)
        for pod in np.flatnonzero(state.pod_node >= 0).tolist():
            assert state.pod_alive[pod]
            held[:, state.pod_node[pod]] += state.pod_request[pod]
        assert (held == state.requested).all()
        state.check()

    @invariant()
    def who_runs_holds_a_node_and_who_waits_does_not(self):
        state = self.state
        runs = state.pod_runs_ns < NEVER
        assert (state.pod_node[runs] >= 0).all()
        assert (state.pod_ready_ns[state.pod_node < 0] == NEVER).all()

    @invariant()
    def the_journal_alone_gives_where_everybody_is(self):
        state = self.state
        where = np.full(state.pod_count, -1)
        there = np.zeros(state.pod_count, dtype=bool)
        journal = state.journal.columns()
        assert (np.diff(journal["time_ns"]) >= 0).all()
        for verb, pod, node in zip(journal["verb"], journal["pod_row"], journal["node_row"], strict=True):
            name = VERBS[verb]
            if name == "POD_ADDED":
                there[pod] = True
            elif name == "BOUND":
                assert where[pod] == -1, "bound twice"
                where[pod] = node
            elif name in ("UNBOUND", "FINISHED", "POD_REMOVED"):
                assert where[pod] == node, "released where it wasn't"
                where[pod] = -1
                there[pod] &= name != "POD_REMOVED"
        assert where.tolist() == state.pod_node.tolist()
        assert there.tolist() == state.pod_alive.tolist()


LivingCluster.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestLivingCluster = LivingCluster.TestCase


def test_a_node_that_comes_back_twice_in_an_instant_ends_its_pods_once():
    world = new_world(NODES, PARTS, policy("kube-default"), 7, 3600 * SECOND_NS)
    world.calendar.run_until(125 * SECOND_NS)
    for _ in range(2):
        world.kubelets.resume(np.arange(3), world.clock.now())
    world.calendar.run_until(1800 * SECOND_NS)
    journal = world.state.journal.columns()
    ended = journal["pod_row"][journal["verb"] == VERBS.index("FINISHED")]
    assert len(ended) > 5
    assert len(set(ended.tolist())) == len(ended)
