"""Plug-ins as a notebook cell defines them: what they may ask for, how they mix, what is said when they misbehave.

That every path decides alike with them, and the commonest errors, stand in test_policies.
"""

from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest

import k8slab
from k8slab import Cluster, Workload, schedule
from k8slab.domain.columns import Codes, Taint
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, PluginError, UnknownName
from k8slab.experiments.placement import columns
from k8slab.policies.plugins import (
    BestFit,
    Decision,
    LeastAllocated,
    NodePorts,
    RequestedToCapacityRatio,
    TaintToleration,
)

PATHS = ("tree", "scan", "stepwise")
SCHEMA = ResourceSchema.of(["example.com/nic"])


def cluster_of_four() -> Cluster:
    """n0 .. n3 in racks 7, none, 12 and x; the second tainted; 100 cpu and 1,000 memory used of the first."""
    return Cluster.of(
        ["n0", "n1", "n2", "n3"],
        [[1000, 2000, 3000, 4000], [9000] * 4, [5] * 4, [0, 2, 0, 4]],
        SCHEMA,
        taints=Codes.of([(), (Taint("spot", "", "PreferNoSchedule"), Taint("a")), None, ()]),
        labels={"rack": Codes.of(["7", None, "12", "x"]), "size": Codes.of(["7", None, "12", "-3.5"])},
        foreign=[[100, 0, 0, 0], [1000, 0, 0, 0], [0] * 4, [0] * 4],
    ).with_arrays(watts=[10, 20, 30, 40], hot=[True, False, False, True])


def pods(count: int = 1) -> Workload:
    """Pods that ask for (200, 300) and one nic."""
    return Workload.of([f"p{i}" for i in range(count)], [[200, 300, 1, 1]] * count, SCHEMA)


def decision() -> Decision:
    """p0 before the four nodes."""
    return Decision.of(*columns(cluster_of_four(), pods()), 0)


def function_of(*parameters: str, does=lambda *arrays: None):
    """A function of these parameters and `score`, as a user would have written it."""

    def function(*arrays):
        return does(*arrays)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in (*parameters, "score")])
    return function


def seen(*names: str, **inputs) -> dict:
    """What a plug-in's parameters, named or declared, were when it ran."""
    got: dict = {}

    def remember(*arrays):
        *given, score = arrays
        got.update(zip((*names, *inputs), (array.tolist() for array in given), strict=True))
        score[:] = 0.0

    k8slab.score_plugin(**inputs)(function_of(*names, *inputs, does=remember)).raw(decision())
    return got


# -- inputs ------------------------------------------------------------------------

INPUTS = [
    (k8slab.label("rack"), ["7", None, "12", "x"], "label('rack')"),
    (k8slab.label("none"), [None] * 4, "label('none')"),
    (k8slab.label("rack") == "7", [True, False, False, False], "label('rack') == '7'"),
    (k8slab.label("rack") != "7", [False, True, True, True], "label('rack') != '7'"),
    (k8slab.label("none") == "7", [False] * 4, "label('none') == '7'"),
    (k8slab.label("rack").isin(["7", "x"]), [True, False, False, True], "label('rack').isin(['7', 'x'])"),
    (k8slab.label("rack").exists(), [True, False, True, True], "label('rack').exists()"),
    (k8slab.label("size").number(), [7.0, 0.0, 12.0, -3.5], "label('size').number(0.0)"),
    (k8slab.label("size").number(missing=-1), [7.0, -1.0, 12.0, -3.5], "label('size').number(-1)"),
    (k8slab.label("none").number(missing=3), [3.0] * 4, "label('none').number(3)"),
    (k8slab.taint("spot"), [False, True, False, False], "taint('spot')"),
    (k8slab.taint("a"), [False, True, False, False], "taint('a')"),
    (k8slab.taint("none"), [False] * 4, "taint('none')"),
    (k8slab.taint("spot") == False, [True, False, True, True], "taint('spot') == False"),  # noqa: E712
    (k8slab.array("watts"), [10, 20, 30, 40], "array('watts')"),
    (k8slab.array("watts") == 30, [False, False, True, False], "array('watts') == 30"),
    (k8slab.array("watts").isin([10, 40]), [True, False, False, True], "array('watts').isin([10, 40])"),
    (k8slab.array("hot"), [True, False, False, True], "array('hot')"),
]


@pytest.mark.parametrize(("given", "values", "text"), INPUTS, ids=[text for _, _, text in INPUTS])
def test_declared_inputs(given, values, text):
    assert seen(given=given)["given"] == values
    assert repr(given) == f"NodeInput({text})"


def test_a_number_is_always_float():
    assert k8slab.label("none").number(missing=3).read(decision().nodes).dtype == np.float64


def test_named_inputs():
    cpu = [f"{name}_cpu_milli" for name in ("allocatable", "requested", "used", "free", "request")]
    assert seen(*cpu) == {
        "allocatable_cpu_milli": [1000, 2000, 3000, 4000],
        "requested_cpu_milli": [100, 0, 0, 0],
        "used_cpu_milli": [300, 200, 200, 200],
        "free_cpu_milli": [900, 2000, 3000, 4000],
        "request_cpu_milli": 200,
    }
    whole = seen("allocatable", "requested", "used", "free", "request")
    assert whole["request"] == [200, 300, 1, 1]
    assert whole["free"] == [[900, 2000, 3000, 4000], [8000, 9000, 9000, 9000], [5] * 4, [0, 2, 0, 4]]
    assert whole["used"][1] == [1300, 300, 300, 300]
    assert (whole["allocatable"][2], whole["requested"][1]) == ([5] * 4, [1000, 0, 0, 0])
    assert seen("free_pods", "free_memory_bytes")["free_pods"] == [5] * 4


def test_free_is_never_below_nothing():
    cluster = Cluster.of(["a"], [[10], [10], [5]], foreign=[[99], [0], [0]])

    @k8slab.score_plugin
    def left(free_cpu_milli, score):
        assert free_cpu_milli[0] == 0
        score[:] = 1

    schedule(cluster, Workload.of(["p"], [[0, 1, 1]]), k8slab.policy("first-fit").with_score(left))


@pytest.mark.parametrize(
    ("parameters", "static"),
    [
        ((), True),
        (("allocatable",), True),
        (("allocatable_cpu_milli", "given"), True),
        (("given",), True),
        (("request",), False),
        (("request_cpu_milli",), False),
        (("requested",), False),
        (("requested_pods",), False),
        (("used_cpu_milli",), False),
        (("free",), False),
        (("given", "free_memory_bytes"), False),
    ],
)
def test_what_depends_on_the_node_alone_is_known(parameters, static):
    inputs = {"given": k8slab.label("rack")} if "given" in parameters else {}
    assert k8slab.score_plugin(**inputs)(function_of(*parameters)).plugin.static is static


def test_inputs_can_not_be_written():
    @k8slab.score_plugin
    def greedy(free, score):
        free[:] = 0
        score[:] = 1

    @k8slab.score_plugin(watts=k8slab.array("watts"))
    def spoils(watts, score):
        watts[0] = 0
        score[:] = 1

    for plugin in (greedy, spoils):
        with pytest.raises(PluginError, match="failed: ValueError: assignment destination is read-only"):
            plugin.raw(decision())


# -- fast and slow -----------------------------------------------------------------


def likes(watts, score):
    score[:] = watts


likes_loop = k8slab.kernel(likes)
dislikes = k8slab.score_plugin(watts=k8slab.array("watts"))(lambda watts, score: score.__setitem__(slice(None), -watts))
likes_static = k8slab.score_plugin(watts=k8slab.array("watts"), weight=2)(likes)
likes_dynamic = k8slab.score_plugin(weight=2, watts=k8slab.array("watts"))(
    lambda watts, free, score: score.__setitem__(slice(None), watts)
)


def by_every_path(policy, count: int = 15) -> list[int]:
    """The same placement by every path."""
    work = Workload.of([f"p{i}" for i in range(count)], [[200, 300, 1]] * count)
    rows = {path: schedule(cluster_of_four(), work, policy, path=path).node_rows.tolist() for path in PATHS}
    assert rows["tree"] == rows["scan"] == rows["stepwise"]
    return rows["stepwise"]


def test_a_static_plugin_runs_on_the_tree_and_a_dynamic_one_stepwise_alike():
    base = k8slab.policy("worst-fit").without("TaintToleration")
    fast = by_every_path(base.with_score(likes_static))
    work = Workload.of([f"p{i}" for i in range(15)], [[200, 300, 1]] * 15)
    slow = schedule(cluster_of_four(), work, base.with_score(likes_dynamic))
    assert (slow.path, slow.node_rows.tolist()) == ("stepwise", fast)
    for path in ("tree", "scan"):
        with pytest.raises(InputError, match="looks at more than the node's own description; path='stepwise' can"):
            schedule(cluster_of_four(), work, base.with_score(likes_dynamic), path=path)


def test_a_score_below_zero_runs_on_every_path():
    assert by_every_path(k8slab.policy("first-fit").with_score(dislikes), 6) == [0, 0, 0, 0, 2, 2]
    assert by_every_path(k8slab.policy("worst-fit").with_score(dislikes, 100).with_score(likes_static)) is not None


def test_scores_that_cancel_beyond_exactness_run_stepwise():
    def far(sign):
        name = f"far{sign}"
        return k8slab.score_plugin(name=name)(lambda score: score.__setitem__(slice(None), sign * 2.0**60))

    policy = k8slab.policy("worst-fit").with_score(far(1)).with_score(far(-1))
    with pytest.raises(InputError, match="beyond exact float64"):
        schedule(cluster_of_four(), pods(), policy, path="tree")
    assert schedule(cluster_of_four(), pods(), policy).path == "stepwise"


def test_a_filter_that_is_static_runs_on_every_path():
    @k8slab.filter_plugin(rack=k8slab.label("rack"))
    def racked(rack, feasible):
        feasible[:] = [item is not None for item in rack]

    policy = k8slab.policy("first-fit").without("TaintToleration").with_filter(racked)
    assert 1 not in by_every_path(policy)
    assert 1 in by_every_path(k8slab.policy("first-fit").without("TaintToleration"), 16)


def test_a_derived_filter_is_not_taken_for_the_shipped_one():
    class Lenient(TaintToleration):
        def refuse(self, decision):
            return []

    policy = k8slab.policy("first-fit").without("TaintToleration").with_filter(Lenient())
    work = Workload.of([f"p{i}" for i in range(6)], [[0, 0, 1]] * 6)
    assert schedule(cluster_of_four(), work, policy).node_rows.tolist() == [0] * 5 + [1]
    with pytest.raises(InputError, match="can't run by path 'tree'"):
        schedule(cluster_of_four(), work, policy, path="tree")


def test_a_compiled_function_is_the_plain_one():
    rng = np.random.default_rng(0)

    @k8slab.kernel
    def mix(free, request, weight, score):
        for i in range(score.shape[0]):
            score[i] = 0.0
            for r in range(free.shape[0]):
                score[i] += weight[i] * (free[r, i] - request[r]) // 7

    free, request, weight = rng.integers(0, 10**6, (3, 50)), rng.integers(0, 10**6, 3), rng.integers(0, 9, 50)
    compiled, plain = np.empty(50), np.empty(50)
    mix(free, request, weight, compiled)
    mix.__wrapped__(free, request, weight, plain)
    assert compiled.tolist() == plain.tolist() == ((weight * (free - request[:, None])) // 7).sum(axis=0).tolist()
    assert mix.__name__ == "mix"
    score = k8slab.score_plugin(watts=k8slab.array("watts"))(likes_loop)
    assert score.raw(decision()).tolist() == [10, 20, 30, 40]


def test_text_for_numba_is_told_before_numba_is_asked():
    @k8slab.score_plugin(rack=k8slab.label("rack"))
    @k8slab.kernel
    def reads(rack, score):
        score[:] = 1.0

    with pytest.raises(PluginError, match=r"'reads' wants a label's text, which numba can't take; .*label\(\"zone\"\)"):
        reads.raw(decision())


# -- weights and normalisation -----------------------------------------------------


def test_normalisation_by_hand():
    feasible = np.array([True, True, True, False])

    def scaled(how, *raw):
        plugin = k8slab.score_plugin(normalize=how)(lambda score: None)
        return plugin.normalize(np.array(raw), decision().among(feasible))[:3].tolist()

    given = (10.0, 0.0, 40.0, 999.0)
    assert (scaled(None, *given), scaled("highest", *given), scaled("lowest", *given)) == (
        [10, 0, 40], [25, 0, 100], [75, 100, 0],
    )  # fmt: skip
    none = (0.0, 0.0, 0.0, 999.0)
    assert (scaled("lowest", *none), scaled("highest", *none)) == ([100] * 3, [0] * 3)
    with pytest.raises(InputError, match="normalize='most' is not one of"):
        k8slab.score_plugin(normalize="most")


def test_weights_come_with_the_plugin_unless_given():
    base = k8slab.policy("best-fit")
    assert base.with_score(likes_static).scores[-1] == (likes_static, 2)
    assert base.with_score(likes_static, 5).scores[-1][1] == 5
    assert base.with_score(LeastAllocated()).scores[-1][1] == 1
    for weight in (-1, np.nan, np.inf, "2", None):
        with pytest.raises(InputError, match="must be a number from 0 up"):
            k8slab.score_plugin(weight=weight)
        if weight is not None:
            with pytest.raises(InputError, match="must be a number from 0 up"):
                base.with_score(likes_static, weight)
            with pytest.raises(InputError, match="weight of 'BestFit'"):
                base.with_weight("BestFit", weight)


def test_a_weight_of_a_half_runs_stepwise_and_counts():
    work = Workload.of(["p"], [[0, 0, 1]])
    policy = k8slab.policy("first-fit").without("TaintToleration").with_score(likes_static, 0.5)
    placement = schedule(cluster_of_four(), work, policy)
    assert placement.explain("p").frame["likes:weighted"].tolist() == [5, 10, 15, 20]
    with pytest.raises(InputError, match=r"weight 0\.5 of 'likes' is no whole number"):
        schedule(cluster_of_four(), work, policy, path="tree")


# -- policies made of others -------------------------------------------------------


def test_variations_are_new_policies():
    base = k8slab.policy("kube-default")
    made = base.with_score(likes_static).without("ImageLocality").with_weight("likes", 3).with_ties("lowest")
    assert made.plugin_names == (
        # filters
        "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
        "PodTopologySpread", "InterPodAffinity",
        # scores
        "TaintToleration", "NodeAffinity", "PodTopologySpread", "InterPodAffinity", "NodeResourcesFit",
        "NodeResourcesBalancedAllocation", "likes",
    )  # fmt: skip
    assert (made.ties, base.ties, len(base.scores)) == ("lowest", "random", 7)
    assert made.post_filter == base.post_filter is not None
    assert made.name == "kube-default+likes-ImageLocality(likes=3)"
    assert made.renamed("mine").name == "mine"
    told = made.arguments()["scores"][-1]
    assert len(told.pop("code_sha256")) == 64
    assert told == {"name": "likes", "weight": 3, "watts": "array('watts')"}
    bare = base
    for item in base.filters:
        assert bare.checks_fit is (item.name not in ("PodTopologySpread", "InterPodAffinity"))
        bare = bare.without(item.name)
    assert "filters none" in repr(bare)
    # What goes by the name of a filter that scores too goes as both.
    assert [score.name for score, _ in bare.scores] == ["NodeResourcesBalancedAllocation", "ImageLocality"]
    assert "<td>filter</td><td style='text-align:left'>TaintToleration</td>" in made._repr_html_()


def test_a_score_of_the_same_name_takes_its_place():
    heavier = k8slab.policy("best-fit").with_score(BestFit({"cpu": 1}), 7)
    ((score, weight),) = heavier.scores
    assert (score.resources, weight) == ({"cpu": 1}, 7)


def test_unknown_plugins_are_told_with_the_nearest():
    policy = k8slab.policy("kube-default")
    with pytest.raises(UnknownName, match="unknown plug-in of kube-default 'ImageLocalty'; did you mean 'Image"):
        policy.without("ImageLocalty")
    # A filter that doesn't score has no weight.
    with pytest.raises(UnknownName, match="unknown score of kube-default 'NodePorts'"):
        policy.with_weight("NodePorts", 2)
    assert {score.name: weight for score, weight in policy.with_weight("NodeResourcesFit", 2).scores} == {
        "TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2, "NodeResourcesFit": 2,
        "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1,
    }  # fmt: skip
    with pytest.raises(UnknownName, match="unknown tie rule 'first'"):
        policy.with_ties("first")


def test_without_takes_a_plugin_out_of_filters_and_scores():
    lenient = k8slab.policy("kube-default").without("TaintToleration")
    assert "TaintToleration" not in lenient.plugin_names
    evaluation = lenient.evaluate(*columns(cluster_of_four(), pods()), 0)
    assert evaluation.refusals[0][1].reason == "Insufficient example.com/nic"  # n1's taint "a" keeps no one away
    assert evaluation.feasible.tolist() == [False, True, False, True]


def test_what_is_no_plugin_is_told():
    policy = k8slab.policy("best-fit")
    with pytest.raises(PluginError, match=r"likes .* is no score; make one with @k8slab\.score_plugin"):
        policy.with_score(likes)
    with pytest.raises(PluginError, match=r"NodePorts\(.*is no score"):
        policy.with_score(NodePorts())
    with pytest.raises(PluginError, match=r"is no filter; make one with @k8slab\.filter_plugin"):
        policy.with_filter(BestFit())
    with pytest.raises(PluginError, match=r"is no filter; make one with @k8slab\.filter_plugin"):
        policy.with_filter(likes_static)


def test_resource_weights_and_shapes_are_checked():
    for weight in (-1, 1.5, True, "2", 10_001, np.nan):
        with pytest.raises(InputError, match=r"LeastAllocated: weight of 'cpu' is .*, not a whole number from 0 to"):
            k8slab.policy("least-allocated", resources={"cpu": weight})
    with pytest.raises(UnknownName, match="unknown resource of BestFit 'gpus'"):
        schedule(cluster_of_four(), pods(), k8slab.policy("best-fit", resources={"gpus": 1}))
    for policy, plugin in (("kube-default", "LeastAllocated"), ("balanced", "NodeResourcesBalancedAllocation")):
        with pytest.raises(UnknownName, match=f"unknown resource of {plugin} 'memry'; did you mean 'memory'"):
            schedule(cluster_of_four(), pods(), k8slab.policy(policy, resources={"memry": 1}))
    for shape in ([], [(0, 0), (0, 5)], [(50, 1), (40, 2)], [(0, 11)], [(101, 1)], [(0.5, 1)], [1, 2], ["ab"]):
        with pytest.raises(InputError, match="must be points of whole numbers"):
            k8slab.policy("requested-to-capacity", shape=shape)
    line = k8slab.policy("requested-to-capacity", shape=[[0, 10], [100, 0]]).scores[0][0]
    assert (line.shape, RequestedToCapacityRatio().shape) == (((0, 10), (100, 0)), ((0, 0), (70, 10), (100, 5)))


def test_resources_that_nobody_has_are_left_out_if_kubernetes_knows_their_name():
    # A profile is written for many clusters: "example.com/none" may be elsewhere, "gpus" is a typing error.
    for policy in ("kube-default", "best-fit", "dot-product", "requested-to-capacity"):
        plain, more = ({"cpu": 2, "memory": 1} | extra for extra in ({}, {"example.com/none": 5, "hugepages-2Mi": 1}))
        rows = [
            schedule(cluster_of_four(), pods(4), k8slab.policy(policy, resources=weights).with_ties("lowest")).node_rows
            for weights in (plain, more)
        ]
        assert rows[0].tolist() == rows[1].tolist()
    none = schedule(cluster_of_four(), pods(), k8slab.policy("least-allocated", resources={"example.com/none": 1}))
    assert none.explain("p0").frame["LeastAllocated:raw"].dropna().tolist() == [0]


# -- plug-ins that misbehave -------------------------------------------------------


def explained(plugin) -> None:
    """Run a plug-in within a policy, as a user would."""
    schedule(cluster_of_four(), pods(), k8slab.policy("best-fit").with_score(plugin))


def test_infinity_is_told_as_nan_is():
    @k8slab.score_plugin
    def endless(free_cpu_milli, score):
        score[:] = np.where(free_cpu_milli > 2500, np.inf, 1.0)

    with pytest.raises(PluginError, match="'endless' left inf as the score of 2 of 4 nodes, first 'n2', for pod 'p0'"):
        explained(endless)


def test_a_score_left_unfilled_in_part_is_told():
    @k8slab.score_plugin
    def half(score):
        score[:2] = 1.0

    with pytest.raises(PluginError, match="'half' left nan as the score of 2 of 4 nodes, first 'n2'"):
        explained(half)


def test_a_filter_that_fails_or_returns_is_told():
    @k8slab.filter_plugin
    def breaks(feasible):
        raise KeyError("rack")

    @k8slab.filter_plugin
    def returns(feasible):
        return [True]

    told = {breaks: "'breaks' failed: KeyError: 'rack'", returns: "'returns' returned list; it must fill 'feasible'"}
    for plugin, message in told.items():
        with pytest.raises(PluginError, match=message):
            schedule(cluster_of_four(), pods(), k8slab.policy("best-fit").with_filter(plugin))


def test_a_filter_may_look_at_what_runs_there_and_its_refusals_are_told():
    @k8slab.filter_plugin(name="half full at most")
    def cautious(used_cpu_milli, allocatable_cpu_milli, feasible):
        feasible[:] = 2 * used_cpu_milli <= allocatable_cpu_milli

    work = Workload.of([f"p{i}" for i in range(9)], [[600, 1, 1]] * 9)
    policy = k8slab.policy("first-fit").without("TaintToleration").with_filter(cautious)
    placement = schedule(cluster_of_four(), work, policy)
    assert placement.node_rows.tolist() == [1, 2, 2, 3, 3, 3, -1, -1, -1]
    assert placement.explain(8).message == "0/4 nodes are available: 4 refused by half full at most."


def test_missing_arrays_and_columns_are_told_when_it_runs():
    @k8slab.score_plugin(power=k8slab.array("wats"))
    def frugal(power, score):
        score[:] = power

    @k8slab.score_plugin
    def typo(free_cpu_mili, score):
        score[:] = free_cpu_mili

    @k8slab.score_plugin(number=k8slab.label("rack").number())
    def counts(number, score):
        score[:] = number

    with pytest.raises(UnknownName, match=r"unknown array of nodes 'wats'; did you mean 'watts'.*with_arrays"):
        explained(frugal)
    with pytest.raises(UnknownName, match="unknown column of plug-in 'typo' 'cpu_mili'; did you mean 'cpu_milli'"):
        explained(typo)
    with pytest.raises(PluginError, match=r"label\('rack'\)\.number\(\): could not convert string to float: 'x'"):
        explained(counts)


def test_what_can_not_be_a_plugin_is_told_when_it_is_made():
    with pytest.raises(PluginError, match=r"'f': its last parameter must be 'score', to be filled; it has \(\)"):
        k8slab.score_plugin(name="f")(lambda: None)
    with pytest.raises(PluginError, match="last parameter must be 'feasible'"):
        k8slab.filter_plugin(likes)
    with pytest.raises(PluginError, match="'f' declares 'rack' but its function has only"):
        k8slab.score_plugin(name="f", rack=k8slab.label("rack"))(lambda score: None)
    with pytest.raises(PluginError, match=r"'f': rack='7' is no input; use k8slab\.label"):
        k8slab.score_plugin(name="f", rack="7")(lambda rack, score: None)
    with pytest.raises(UnknownName, match=r"unknown input of plug-in 'f' 'rak'; did you mean 'rack'.*decorator"):
        k8slab.score_plugin(name="f", rack=k8slab.label("rack"))(lambda rak, rack, score: None)
    with pytest.raises(UnknownName, match="unknown input of plug-in 'f' 'watts'"):
        k8slab.score_plugin(name="f")(likes)


def test_a_function_without_a_name_is_a_plugin_too():
    def scaled(factor, watts, score):
        score[:] = factor * watts

    plugin = k8slab.score_plugin(watts=k8slab.array("watts"))(partial(scaled, 3))
    assert (plugin.name, plugin.raw(decision()).tolist()) == ("partial", [30, 60, 90, 120])


def test_a_label_that_is_one_mistake_from_a_known_one_is_warned_of():
    with pytest.warns(UserWarning, match="no node has the label 'rakc'; did you mean 'rack'"):
        seen(rakc=k8slab.label("rakc"))


def test_a_compiled_function_is_shown_by_its_name():
    @k8slab.kernel
    def mine(score):
        score[:] = 1.0

    assert repr(mine) == "<k8slab.kernel mine>"
