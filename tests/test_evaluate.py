"""One pod judged by a whole policy: gates, promised room, nodes that were never looked at, and what is told of them.

The recorded scenarios say the same of kube-scheduler's own profile; here a rule each stands by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import k8slab
from k8slab import Cluster, ClusterState, Workload
from k8slab.analysis.frames import check_frame
from k8slab.domain.columns import Codes, Toleration
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.pod_spec import HOSTNAME, NodeTerm, PodSpec, PodTerm, Requirement
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError
from k8slab.experiments.placement import columns
from k8slab.policies import Evaluation, Policy, plugins
from k8slab.policies.preemption import DefaultPreemption

GPU, FPGA = "example.com/gpu", "other.org/fpga"
READY, NOT_READY, UNKNOWN, CORDONED = (
    NODE_STATES.index(state) for state in (NodeState.READY, NodeState.NOT_READY, NodeState.UNKNOWN, NodeState.CORDONED)
)


def nodes_of(*nodes: tuple[int, int], **more: Any) -> Cluster:
    """Nodes n0, n1, ... of (cpu, memory), with room for ten pods each."""
    return Cluster.of([f"n{i}" for i in range(len(nodes))], np.array([(*node, 10) for node in nodes]).T, **more)


def pods_of(*pods: tuple[int, int], name: str = "p", **more: Any) -> Workload:
    """Pods p0, p1, ... that ask for (cpu, memory)."""
    return Workload.of([f"{name}{i}" for i in range(len(pods))], [(*pod, 1) for pod in pods], **more)


def spec_of(**said: Any) -> Codes[PodSpec]:
    return Codes.of([PodSpec(**said)])


def judged(cluster: Cluster, workload: Workload, policy: str | Policy = "kube-default", pod: int = 0) -> Evaluation:
    chosen = k8slab.policy(policy) if isinstance(policy, str) else policy
    return chosen.evaluate(*columns(cluster, workload), pod)


def named(*names: str) -> NodeTerm:
    """A term that wants the node's name to be each of these."""
    return NodeTerm(fields=tuple(Requirement("metadata.name", "In", (name,)) for name in names))


# -- gates --------------------------------------------------------------------------


def test_a_gated_pod_waits_whatever_is_free() -> None:
    workload = pods_of((1, 1), (1, 1), specs=Codes.of([PodSpec(gates=("quota", "image")), None]))
    cluster = nodes_of((10, 10), (0, 0))
    found = judged(cluster, workload)
    assert found.message() == found.gate == "waiting for scheduling gates: [quota image]"
    assert (found.feasible.any(), found.chosen, found.took_part.any()) == (False, -1, False)
    assert (judged(cluster, workload, pod=1).gate, judged(cluster, workload, pod=1).chosen) == ("", 0)

    placement = k8slab.schedule(cluster, workload)
    assert placement.node_rows.tolist() == [-1, 0]
    assert placement.unschedulable()["message"].tolist() == [found.gate]
    told = placement.explain("p0")
    check_frame("explanation", told.frame)
    assert told.frame["refused_by"].tolist() == ["SchedulingGates"] * 2
    assert told.frame["reason"].tolist() == [found.gate] * 2
    assert told.text == f"p0 was not tried under kube-default: {found.gate}."
    assert told.plot().get_title(loc="left") == "Why p0 found no node"
    assert k8slab.schedule(cluster, workload, path="scan").node_rows.tolist() == [-1, 0]


def test_a_gated_pod_lets_nobody_go() -> None:
    low = pods_of((8, 1), name="low", priority=np.array([-5], dtype=np.int32))
    cluster = nodes_of((10, 10), bound=low, bound_node=[0])
    placement = k8slab.schedule(cluster, pods_of((8, 1), specs=spec_of(gates=("wait",))))
    assert (placement.placed, placement.evictions) == (0, ())
    assert k8slab.schedule(cluster, pods_of((8, 1))).placed == 1


# -- nominated pods -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "priority", "chosen", "reason"),
    [
        ("other", 5, 1, "Insufficient cpu"),  # as important: its room is kept
        ("other", 6, 1, "Insufficient cpu"),
        ("other", 4, 0, None),  # less important: it will find another node
        ("p0", 5, 0, None),  # the pod itself, come back for the room that was made for it
    ],
)
def test_room_is_kept_for_nominated_pods_as_important(
    name: str, priority: int, chosen: int, reason: str | None
) -> None:
    promised = Workload.of([name], [(8, 1, 1)], priority=np.array([priority], dtype=np.int32))
    cluster = nodes_of((10, 10), (4, 4), nominated=promised, nominated_node=[0])
    workload = pods_of((4, 4), priority=np.array([5], dtype=np.int32))
    found = judged(cluster, workload)
    assert found.chosen == chosen
    assert found.reasons() == ({} if reason is None else {reason: 1})
    assert found.feasible.tolist() == [reason is None, True]
    # What is promised isn't in use: it counts in no score.
    fit = found.raw[found.scores.index("NodeResourcesFit")]
    assert fit[1] == 0
    if reason is None:
        assert fit[0] == (60 + 60) // 2


def test_a_node_must_do_without_the_nominated_pods_too() -> None:
    # p0 wants to be where a web pod is; one is promised n0, but it may never come.
    app = {"app": Codes.of(["web"])}
    near = PodTerm(HOSTNAME, (Requirement("app", "In", ("web",)),), ("default",))
    hosts = {HOSTNAME: Codes.of(["n0", "n1"])}
    web = pods_of((1, 1), name="web", labels=app)
    workload = pods_of((1, 1), specs=spec_of(affinity=(near,)))
    promised = nodes_of((10, 10), (10, 10), labels=hosts, nominated=web, nominated_node=[0])
    assert judged(promised, workload).message() == (
        "0/2 nodes are available: 2 node(s) didn't match pod affinity rules."
    )
    running = nodes_of((10, 10), (10, 10), labels=hosts, bound=web, bound_node=[0])
    assert judged(running, workload).chosen == 0


# -- before the filters ---------------------------------------------------------------


def test_terms_that_contradict_each_other_reject_the_pod_altogether() -> None:
    workload = pods_of((1, 1), specs=spec_of(node_required=(named("n0", "n1"),)))
    cluster = nodes_of((10, 10), (10, 10), (0, 0))
    found = judged(cluster, workload)
    assert found.prefilter is not None
    assert (found.prefilter.plugin, found.prefilter.names) == ("NodeAffinity", ())
    assert found.message() == "0/3 nodes are available: pod affinity terms conflict."
    assert found.reasons() == {"pod affinity terms conflict": 3}
    assert found.code.tolist() == [2, 2, 2]
    frame = k8slab.schedule(cluster, workload).explain(0).frame
    check_frame("explanation", frame)
    assert frame["refused_by"].tolist() == ["NodeAffinity"] * 3
    assert frame["reason"].tolist() == ["pod affinity terms conflict"] * 3


def test_nodes_that_the_pod_does_not_name_are_never_looked_at() -> None:
    terms = tuple(map(named, ("n2", "n3", "elsewhere")))
    workload = pods_of((5, 5), specs=spec_of(node_required=terms))
    cluster = nodes_of((9, 9), (0, 0), (1, 1), (9, 9))
    found = judged(cluster, workload)
    assert (found.feasible.tolist(), found.code.tolist()) == ([False, False, False, True], [2, 2, 2, 0])
    assert found.message() == (
        "1/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, "
        "2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    )
    frame = k8slab.schedule(cluster, workload).explain(0).frame
    outside = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
    assert frame["reason"].fillna("").tolist() == [outside, outside, "Insufficient cpu, Insufficient memory", ""]
    assert frame["refused_by"].fillna("").tolist() == ["NodeAffinity", "NodeAffinity", "NodeResourcesFit", ""]
    without = judged(cluster, workload, k8slab.policy("kube-default").without("NodeAffinity"))
    assert (without.prefilter, without.feasible.tolist()) == (None, [True, False, False, True])


# -- nodes that aren't in order ---------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "key", "told"),
    [
        (NOT_READY, "node.kubernetes.io/not-ready", "had untolerated taint {node.kubernetes.io/not-ready: }"),
        (UNKNOWN, "node.kubernetes.io/unreachable", "had untolerated taint {node.kubernetes.io/unreachable: }"),
        (CORDONED, "node.kubernetes.io/unschedulable", "were unschedulable"),
    ],
)
def test_a_node_out_of_order_takes_pods_that_tolerate_it(state: int, key: str, told: str) -> None:
    cluster = nodes_of((10, 10), states=[state])
    tolerations: list[tuple[Toleration, ...]] = [
        (),
        (Toleration(key, "Exists", effect="NoSchedule"),),
        (Toleration(key, "Exists", effect="NoExecute"),),  # another effect
        (Toleration("other", "Exists"),),
        (Toleration(operator="Exists"),),
    ]
    workload = pods_of(*[(1, 1)] * 5, tolerations=Codes.of(tolerations))
    for pod, fits in enumerate((False, True, False, False, True)):
        found = judged(cluster, workload, pod=pod)
        assert found.feasible.tolist() == [fits]
        if not fits:
            assert found.message() == f"0/1 nodes are available: 1 node(s) {told}."
            assert (found.filters[found.refused_by[0]], found.code[0]) == ("NodeUnschedulable", 2)
    # By every path, and without that filter any pod is taken.
    for path in ("stepwise", "scan", "tree"):
        rows = k8slab.schedule(cluster, workload, "best-fit", path=path).node_rows
        assert rows.tolist() == [-1, 0, -1, -1, 0]
    assert judged(cluster, workload, k8slab.policy("best-fit").without("NodeUnschedulable")).chosen == 0


def test_removed_nodes_are_neither_chosen_nor_counted() -> None:
    state = ClusterState()
    state.add_nodes(["a", "b", "c"], [[10, 10, 1], [10, 10, 1], [10, 10, 10]])
    state.add_pods(["p", "q"], [(5, 5, 1), (50, 5, 1)])
    state.remove_node(0)
    for name in ("kube-default", "first-fit"):
        policy = k8slab.policy(name)
        fits, large = (policy.evaluate(state.node_columns(), state.pod_columns(), pod) for pod in (0, 1))
        assert fits.chosen == 1
        assert fits.message() == "1/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
        assert large.message() == "0/2 nodes are available: 1 Insufficient memory, 2 Insufficient cpu."
        assert (large.refused_by[0], large.code[0]) == (-1, 2)
        for path in ("stepwise", "scan", "tree"):
            rows = policy.place(state.node_columns(), state.pod_columns(), path=path).node_rows
            assert rows.tolist() == [1, -1]
    bare = k8slab.policy("first-fit").without("NodeUnschedulable").without("NodeResourcesFit")
    assert bare.evaluate(state.node_columns(), state.pod_columns(), 0).feasible.tolist() == [False, True, True]


# -- NodeResourcesFit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ignoring", "reasons"),
    [
        ({}, {"Insufficient cpu": 1, f"Insufficient {GPU}": 1, f"Insufficient {FPGA}": 1}),
        ({"ignored": (GPU,)}, {"Insufficient cpu": 1, f"Insufficient {FPGA}": 1}),
        ({"ignored_groups": ("other.org",)}, {"Insufficient cpu": 1, f"Insufficient {GPU}": 1}),
        ({"ignored": (GPU,), "ignored_groups": ("other.org",)}, {"Insufficient cpu": 1}),
        # Only extended resources can be ignored, and a group is no part of a name.
        ({"ignored": ("cpu",), "ignored_groups": ("cpu", "other", "example.com/gpu")}, {
            "Insufficient cpu": 1, f"Insufficient {GPU}": 1, f"Insufficient {FPGA}": 1}),
    ],
)  # fmt: skip
def test_fit_passes_over_extended_resources_that_it_is_told_to_ignore(
    ignoring: dict[str, tuple[str, ...]], reasons: dict[str, int]
) -> None:
    schema = ResourceSchema.of([GPU, FPGA])
    cluster = Cluster.of(["n0", "n1"], [[1, 10], [10, 10], [5, 5], [0, 8], [0, 8]], schema)
    workload = Workload.of(["p"], [[2, 2, 1, 1, 1]], schema)
    fit = plugins.NodeResourcesFit(**ignoring)
    policy = k8slab.policy("first-fit").without("NodeResourcesFit").with_filter(fit)
    assert judged(cluster, workload, policy).reasons() == reasons
    both = Workload.of(["a", "b"], [[0, 0, 1, 9, 9], [0, 0, 1, 9, 0]], schema)
    without_gpu = GPU in ignoring.get("ignored", ())
    for path in ("stepwise", "scan"):
        rows = k8slab.schedule(cluster, both, policy, path=path).node_rows
        assert (rows >= 0).tolist() == [without_gpu and "ignored_groups" in ignoring, without_gpu]


# -- scores that take no part ---------------------------------------------------------------


def test_scores_that_pass_a_pod_over_count_nothing_whatever_their_weight() -> None:
    workload = pods_of((0, 0), (1, 1))
    cluster = nodes_of((10, 10), (20, 10))
    heavy = k8slab.policy("kube-default").with_weight("NodeAffinity", 50).with_weight("PodTopologySpread", 50)
    asks_nothing, asks = (judged(cluster, workload, heavy, pod) for pod in (0, 1))

    def taking_part(found: Evaluation) -> list[str]:
        return [name for name, took_part in zip(found.scores, found.took_part, strict=True) if took_part]

    assert taking_part(asks_nothing) == ["TaintToleration", "NodeResourcesFit", "ImageLocality"]
    assert taking_part(asks) == [
        "TaintToleration", "NodeResourcesFit", "NodeResourcesBalancedAllocation", "ImageLocality",
    ]  # fmt: skip
    assert asks_nothing.total.tolist() == [300 + 100, 300 + 100]
    assert not asks_nothing.normalized[~asks_nothing.took_part].any()
    frame = k8slab.schedule(cluster, workload, heavy).explain(0).frame
    for name, took_part in zip(asks_nothing.scores, asks_nothing.took_part, strict=True):
        for what in ("raw", "normalized", "weighted"):
            assert frame[f"{name}:{what}"].notna().tolist() == [took_part] * 2
    assert not judged(nodes_of((0, 0)), pods_of((5, 5))).took_part.any()  # nothing to score


# -- preemption ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidate_percent": -1}, "DefaultPreemption: candidate_percent is -1, wanted 0 to 100"),
        ({"candidate_percent": 101}, "DefaultPreemption: candidate_percent is 101, wanted 0 to 100"),
        ({"candidates": -1}, "DefaultPreemption: candidates is -1, wanted 1 or more"),
        ({"candidate_percent": 0, "candidates": 0}, "DefaultPreemption: candidates is 0, wanted 1 or more"),
        ({"candidate_percent": "10"}, "DefaultPreemption: candidate_percent is '10', wanted a whole number"),
        ({"candidate_percent": None}, "DefaultPreemption: candidate_percent is None, wanted a whole number"),
        ({"candidates": 1.5}, r"DefaultPreemption: candidates is 1\.5, wanted a whole number"),
        ({"candidates": True}, "DefaultPreemption: candidates is True, wanted a whole number"),
    ],
)
def test_bad_arguments_of_preemption_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DefaultPreemption(**arguments)


def test_either_bound_of_the_search_may_be_nothing() -> None:
    assert DefaultPreemption(candidates=0).arguments() == {"candidates": 0}
    assert DefaultPreemption(candidate_percent=0).arguments() == {"candidate_percent": 0}
    assert DefaultPreemption().arguments() == {}


def test_a_policy_without_a_post_filter_refuses_to_preempt() -> None:
    low = pods_of((8, 1), name="low", priority=np.array([-5], dtype=np.int32))
    cluster, workload = nodes_of((10, 10), bound=low, bound_node=[0]), pods_of((8, 1))
    best_fit = k8slab.policy("best-fit")
    snapshot = best_fit.snapshot(*columns(cluster, workload))
    found = best_fit.judge(snapshot, 0)
    with pytest.raises(InputError, match="policy 'best-fit' preempts no pods: it has no post_filter"):
        best_fit.preempt(snapshot, 0, found)
    assert k8slab.schedule(cluster, workload, best_fit).placed == 0
    # Any policy may have one, and kube-default may do without.
    preempting = best_fit.with_post_filter(DefaultPreemption(candidates=1))
    assert preempting.arguments()["post_filter"] == {"name": "DefaultPreemption", "candidates": 1}
    assert k8slab.schedule(cluster, workload, preempting).preempted()["pod"].tolist() == ["low0"]
    polite = k8slab.policy("kube-default").with_post_filter(None)
    assert (polite.post_filter, k8slab.schedule(cluster, workload, polite).placed) == (None, 0)
