"""Policies from a KubeSchedulerConfiguration: what is on, with which weight and arguments, and what is refused."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from k8slab.domain.api_parsing import (
    equality_of,
    node_term_of,
    node_terms_of,
    preferred_node_terms_of,
    selector_of,
    spread_constraint_of,
)
from k8slab.domain.pod_spec import NodeTerm, Requirement, SpreadConstraint
from k8slab.errors import InputError, UnknownName
from k8slab.policies import Policy, plugins, policy
from k8slab.policies.preemption import DefaultPreemption
from k8slab.policies.profile import DEFAULT_WEIGHTS, EXTENSION_POINTS, PASSED_OVER, policy_from_configuration
from k8slab.policies.sampling import Sampling

HEADER = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
Json = dict[str, Any]


def configured(points: Json | None = None, **args: Json) -> Policy:
    """The policy of one profile: its plug-ins by extension point, and arguments by plug-in."""
    config = [{"name": name, "args": given} for name, given in args.items()]
    return policy_from_configuration({**HEADER, "profiles": [{"plugins": points or {}, "pluginConfig": config}]})


def enabled(*names: str, **weights: int) -> Json:
    return {"enabled": [*({"name": name} for name in names), *({"name": n, "weight": w} for n, w in weights.items())]}


def disabled(*names: str) -> Json:
    return {"disabled": [{"name": name} for name in names]}


def filters(found: Policy) -> list[str]:
    return [plugin.name for plugin in found.filters]


def weights(found: Policy) -> dict[str, float]:
    return {plugin.name: weight for plugin, weight in found.scores}


def plugin(found: Policy, name: str) -> Any:
    return next(item for item in (*found.filters, *(score for score, _ in found.scores)) if item.name == name)


FILTERS = filters(policy("kube-default"))
WEIGHTS = weights(policy("kube-default"))


# -- which plug-ins ----------------------------------------------------------------


@pytest.mark.parametrize("source", [{}, HEADER, {"profiles": []}, {"profiles": None}, {"profiles": [{}]}])
def test_what_says_nothing_is_the_default_profile(source: Json) -> None:
    found, shipped = policy_from_configuration(source), policy("kube-default")
    assert found.filters == shipped.filters
    assert sorted(weights(found).items()) == sorted(weights(shipped).items())
    assert {plugin.name: plugin for plugin, _ in found.scores} == {plugin.name: plugin for plugin, _ in shipped.scores}
    assert found.post_filter == shipped.post_filter == DefaultPreemption()
    assert (found.ties, found.name) == ("random", "default-scheduler")


def test_every_plugin_of_the_default_profile_is_known_or_passed_over() -> None:
    ours = {*FILTERS, *WEIGHTS, "SchedulingGates", "DefaultPreemption"}
    assert ours | set(PASSED_OVER) == set(EXTENSION_POINTS)
    assert not ours & set(PASSED_OVER)
    assert {name: weight for name, weight in WEIGHTS.items() if weight != 1} == DEFAULT_WEIGHTS


def test_a_point_switches_off_by_name_or_altogether() -> None:
    assert filters(configured({"filter": disabled("NodePorts", "NodeName")})) == [
        name for name in FILTERS if name not in ("NodePorts", "NodeName")
    ]
    found = configured({"score": disabled("*")})
    assert (weights(found), filters(found)) == ({}, FILTERS)
    assert configured({"postFilter": disabled("DefaultPreemption")}).post_filter is None
    assert configured({"postFilter": disabled("*")}).post_filter is None


def test_multi_point_switches_off_everywhere() -> None:
    found = configured({"multiPoint": disabled("InterPodAffinity", "DefaultPreemption")})
    assert "InterPodAffinity" not in [*filters(found), *weights(found)]
    assert found.post_filter is None
    with pytest.warns(UserWarning, match="SchedulingGates is off"):
        found = configured({"multiPoint": {**disabled("*"), **enabled("NodeResourcesFit", "NodeName")}})
    assert (filters(found), weights(found)) == (["NodeResourcesFit", "NodeName"], {"NodeResourcesFit": 1})
    assert found.post_filter is None


def test_a_weight_that_is_missing_or_0_is_1_and_the_others_keep_theirs() -> None:
    found = configured({"score": enabled("NodeAffinity", TaintToleration=0, ImageLocality=7)})
    assert weights(found) == {**WEIGHTS, "NodeAffinity": 1, "TaintToleration": 1, "ImageLocality": 7}
    found = configured({"multiPoint": enabled("NodeAffinity", ImageLocality=7)})
    assert weights(found) == {**WEIGHTS, "NodeAffinity": 1, "ImageLocality": 7}


def test_a_points_own_weight_beats_that_of_multi_point() -> None:
    both = {"multiPoint": enabled(TaintToleration=5), "score": enabled(TaintToleration=9)}
    assert weights(configured(both))["TaintToleration"] == 9


def test_what_was_disabled_may_be_enabled_anew() -> None:
    both = {**disabled("*"), **enabled(NodeResourcesFit=3)}
    assert weights(configured({"score": both})) == {"NodeResourcesFit": 3}
    off = {**disabled("TaintToleration"), **enabled(TaintToleration=4)}
    assert weights(configured({"score": off}))["TaintToleration"] == 4


def test_filters_are_asked_in_kube_schedulers_order() -> None:
    """Named here and under multiPoint: first; then multiPoint's; last who is named here alone."""
    found = configured({"filter": enabled("NodePorts", "NodeName")})
    assert filters(found) == ["NodePorts", "NodeName", *(n for n in FILTERS if n not in ("NodePorts", "NodeName"))]
    alone = {"multiPoint": disabled("NodeName"), "filter": enabled("NodeName")}
    assert filters(configured(alone)) == [*(n for n in FILTERS if n != "NodeName"), "NodeName"]
    anew = configured({"multiPoint": enabled("NodePorts")})
    assert filters(anew) == FILTERS


def test_plugins_that_decide_nothing_here_are_passed_over() -> None:
    points = {
        "queueSort": enabled("PrioritySort"),
        "bind": {**disabled("*"), **enabled("DefaultBinder")},
        "filter": disabled("VolumeZone"),
        "reserve": disabled("VolumeBinding"),
        "multiPoint": disabled("DynamicResources"),
    }
    found = configured(points, VolumeBinding={"bindTimeoutSeconds": 5}, DynamicResources={"filterTimeout": "5s"})
    assert (filters(found), weights(found)) == (FILTERS, WEIGHTS)


def test_profiles_by_the_name_of_their_scheduler() -> None:
    source = {"profiles": [{"schedulerName": "one"}, {"schedulerName": "two", "plugins": {"score": disabled("*")}}]}
    assert policy_from_configuration(source).name == "one"
    assert weights(policy_from_configuration(source, "two")) == {}
    assert policy_from_configuration(source, "two", name="mine").name == "mine"
    with pytest.raises(UnknownName, match=r"unknown profile 'tow'; did you mean 'two'\?"):
        policy_from_configuration(source, "tow")


def test_a_policy_says_what_it_is_made_of() -> None:
    found = configured(NodeResourcesFit={"scoringStrategy": {"type": "MostAllocated"}})
    assert found.summary == "The profile default-scheduler of a KubeSchedulerConfiguration."
    assert "MostAllocated" in json.dumps(found.arguments())


# -- arguments ---------------------------------------------------------------------


def test_arguments_of_the_resource_scores() -> None:
    resources = [{"name": "memory", "weight": 3}, {"name": "nvidia.com/gpu"}, {"name": "cpu", "weight": 0}]
    for kind, strategy in (("LeastAllocated", plugins.LeastAllocated), ("MostAllocated", plugins.MostAllocated)):
        found = configured(NodeResourcesFit={"scoringStrategy": {"type": kind, "resources": resources}})
        assert plugin(found, "NodeResourcesFit").strategy == strategy({"memory": 3, "nvidia.com/gpu": 1, "cpu": 1})
        assert list(plugin(found, "NodeResourcesFit").strategy.resources) == ["memory", "nvidia.com/gpu", "cpu"]
    balanced = configured(NodeResourcesBalancedAllocation={"resources": resources[1:]})
    assert plugin(balanced, "NodeResourcesBalancedAllocation").resources == {"nvidia.com/gpu": 1, "cpu": 1}
    empty = configured(NodeResourcesFit={"scoringStrategy": {"resources": []}})
    assert plugin(empty, "NodeResourcesFit") == plugins.NodeResourcesFit()


def test_the_shape_of_requested_to_capacity_ratio() -> None:
    shape = [{"utilization": 0, "score": 10}, {"utilization": 40}, {"utilization": 100, "score": 3}]
    strategy = {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}}
    found = plugin(configured(NodeResourcesFit={"scoringStrategy": strategy}), "NodeResourcesFit").strategy
    assert found == plugins.RequestedToCapacityRatio(None, ((0, 10), (40, 0), (100, 3)))


def test_ignored_resources() -> None:
    found = configured(NodeResourcesFit={"ignoredResources": ["a.io/x"], "ignoredResourceGroups": ["b.io", "c.io"]})
    fit = plugin(found, "NodeResourcesFit")
    assert (fit.ignored, fit.ignored_groups) == (("a.io/x",), ("b.io", "c.io"))
    (score,) = (score for score, _ in found.scores if score.name == fit.name)
    assert score == fit


def test_added_node_affinity() -> None:
    term = {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["r1"]}]}
    added = {REQUIRED: {"nodeSelectorTerms": [term]}, PREFERRED: [{"weight": 7, "preference": term}]}
    found = plugin(configured(NodeAffinity={"addedAffinity": added}), "NodeAffinity")
    parsed = NodeTerm((Requirement("rack", "In", ("r1",)),))
    assert (found.added_required, found.added_preferred) == ((parsed,), ((7, parsed),))
    assert plugin(configured(NodeAffinity={"addedAffinity": None}), "NodeAffinity") == plugins.NodeAffinity()


def test_default_spread_constraints() -> None:
    constraint = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule", "minDomains": 3}
    found = configured(PodTopologySpread={"defaultingType": "List", "defaultConstraints": [constraint]})
    expected = (SpreadConstraint("rack", 2, True, None, min_domains=3),)
    assert plugin(found, "PodTopologySpread").defaults == expected
    none = configured(PodTopologySpread={"defaultingType": "List"})
    assert plugin(none, "PodTopologySpread").defaults == ()
    assert plugin(configured(PodTopologySpread={"defaultingType": "System"}), "PodTopologySpread").defaults is None


def test_arguments_of_inter_pod_affinity_and_preemption() -> None:
    args = {"hardPodAffinityWeight": 0, "ignorePreferredTermsOfExistingPods": True}
    found = plugin(configured(InterPodAffinity=args), "InterPodAffinity")
    assert (found.hard_weight, found.ignore_preferred_of_existing) == (0, True)
    args = {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 3}
    assert configured(DefaultPreemption=args).post_filter == DefaultPreemption(0, 3)


def test_args_may_carry_their_kind() -> None:
    header = {"apiVersion": HEADER["apiVersion"], "kind": "InterPodAffinityArgs"}
    found = configured(InterPodAffinity={**header, "hardPodAffinityWeight": 5}, ImageLocality={})
    assert plugin(found, "InterPodAffinity").hard_weight == 5


# -- where it comes from -----------------------------------------------------------

YAML = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
percentageOfNodesToScore: 100
profiles:
- schedulerName: packer
  plugins:
    score:
      disabled:
      - name: PodTopologySpread
      enabled:
      - name: NodeResourcesFit
        weight: 5
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy:
        type: MostAllocated
"""


def is_the_packer(found: Policy) -> bool:
    strategy = plugin(found, "NodeResourcesFit").strategy
    return (found.name, weights(found)["NodeResourcesFit"], strategy) == ("packer", 5, plugins.MostAllocated())


def test_text_and_files_in_yaml_and_json(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load(YAML)
    (tmp_path / "config.yaml").write_text(YAML)
    (tmp_path / "config.json").write_text(json.dumps(content))
    paths = (tmp_path / "config.yaml", str(tmp_path / "config.json"))
    for source in (YAML, json.dumps(content), content, *paths):
        assert is_the_packer(policy_from_configuration(source))


def test_json_needs_no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_yaml(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    assert policy_from_configuration(json.dumps({"profiles": [{"schedulerName": "x"}]})).name == "x"
    with pytest.raises(InputError, match=r"pip install 'k8slab\[yaml\]'"):
        policy_from_configuration(YAML)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.yaml", "cannot read a configuration from 'none.yaml': No such file"),
        ("{", "the configuration: not JSON"),
        ("a:\n- b: [", "the configuration: not YAML"),
        ("a\nb", "the configuration is 'a b'; wanted an object"),
        ([], "wanted a path, a text or an object"),
        ({"kind": "Pod"}, "kind is 'Pod'; wanted KubeSchedulerConfiguration"),
        ({"apiVersion": "kubescheduler.config.k8s.io/v1beta3"}, "apiVersion is 'kubescheduler.config.k8s.io/v1beta3'"),
        ({"profile": []}, "unknown field 'profile'; did you mean 'profiles'?"),
        ({"profiles": {}}, "profiles is {}; wanted a list"),
        ({"profiles": [[]]}, "profiles[0] is []; wanted an object"),
        ({"profiles": [{"plugin": {}}]}, "did you mean 'plugins'? Known: percentageOfNodesToScore"),
        ({"profiles": [{}, {}]}, "profiles[1].schedulerName is 'default-scheduler'; wanted a name of its own"),
        ({"profiles": [{"schedulerName": 7}]}, "profiles[0].schedulerName is 7; wanted a text"),
        ({"percentageOfNodesToScore": 101}, "percentageOfNodesToScore is 101; wanted a whole number from 0 to 100"),
        ({1: 2}, "wanted keys that are texts, not 1"),
    ],
)
def test_what_is_no_configuration(source: Any, message: str) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(InputError) as caught:
        policy_from_configuration(source)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"scores": {}}, "unknown extension point 'scores'; did you mean 'score'?"),
        ({"score": []}, "plugins.score is []; wanted an object"),
        ({"score": {"enable": []}}, "unknown field 'enable'; did you mean 'enabled'?"),
        ({"score": enabled("NodeResourceFit")}, "unknown plug-in 'NodeResourceFit'; did you mean 'NodeResourcesFit'?"),
        ({"score": enabled("NodeResourceFit")}, "It stands in profiles[0].plugins.score.enabled[0].name."),
        ({"multiPoint": disabled("Coscheduling")}, "unknown plug-in 'Coscheduling'"),
        ({"score": enabled("ImageLocality", "ImageLocality")}, "enabled[1].name is 'ImageLocality'; wanted each"),
        ({"score": enabled(ImageLocality=-1)}, "enabled[0].weight is -1; wanted a whole number from 0"),
        ({"score": enabled(ImageLocality="2")}, "enabled[0].weight is '2'; wanted a whole number"),
        ({"filter": enabled("ImageLocality")}, "filter.enabled is 'ImageLocality'; wanted a plug-in that has filter"),
        ({"score": {"enabled": [{}]}}, "score.enabled[0].name is None; wanted a text"),
        ({"preFilter": disabled("NodeResourcesFit")}, "NodeResourcesFit is off at preFilter and on at filter"),
        ({"preScore": disabled("*")}, "is off at preScore and on at score"),
    ],
)  # fmt: skip
def test_plugins_that_kube_scheduler_would_refuse(points: Json, message: str) -> None:
    with pytest.raises(InputError) as caught:
        configured(points)
    assert message in str(caught.value)


TERM = {"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]}
RATIO = {"type": "RequestedToCapacityRatio"}
POINT = {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("NodeResourcesFi", {}, "did you mean 'NodeResourcesFit'?"),
        ("NodeResourcesFit", [], "pluginConfig[0].args is []; wanted an object"),
        ("NodeResourcesFit", {"kind": "NodeAffinityArgs"}, "args.kind is 'NodeAffinityArgs'; wanted NodeResourcesFitA"),
        ("NodeResourcesFit", {"scoringStrategi": {}}, "unknown argument of NodeResourcesFit 'scoringStrategi'"),
        ("NodeResourcesFit", {"ignoredResources": "x"}, "args.ignoredResources is 'x'; wanted a list of texts"),
        ("NodeResourcesFit", {"ignoredResourceGroups": ["a/b"]}, "ignoredResourceGroups[0] is 'a/b'; wanted a group"),
        ("NodeResourcesFit", {"scoringStrategy": {"type": "Most"}}, "scoringStrategy.type is 'Most'; wanted one of"),
        ("NodeResourcesFit", {"scoringStrategy": {"kind": "x"}}, "unknown field 'kind'"),
        ("NodeResourcesFit", {"scoringStrategy": {"resources": [{}]}}, "resources[0].name is None; wanted a text"),
        ("NodeResourcesFit", {"scoringStrategy": {"resources": [{"name": "cpu", "weight": 101}]}}, "from 0 to 100"),
        ("NodeResourcesFit", {"scoringStrategy": {"resources": [{"name": "cpu"}] * 2}}, "wanted each resource once"),
        ("NodeResourcesFit", {"scoringStrategy": RATIO}, "requestedToCapacityRatio is None; wanted an object"),
        ("NodeResourcesBalancedAllocation", {"resources": [{"name": "cpu", "weight": 2}]}, "number from 0 to 1"),
        ("NodeAffinity", {"addedAffinity": {"required": {}}}, "unknown field 'required'. Known: preferredDuring"),
        ("NodeAffinity", {"addedAffinity": {REQUIRED: {"nodeSelectorTerms": [TERM]}}}, "operator is 'Is'; wanted one"),
        ("NodeAffinity", {"addedAffinity": {PREFERRED: [{"weight": -1, "preference": {}}]}}, "[0].weight is -1"),
        ("PodTopologySpread", {"defaultConstraints": [POINT]}, "defaultingType is 'System'; wanted List"),
        ("PodTopologySpread", {"defaultingType": "list"}, "defaultingType is 'list'; wanted one of System, List"),
        ("PodTopologySpread", {"defaultConstraints": [{**POINT, "maxSkw": 1}]}, "did you mean 'maxSkew'?"),
        ("PodTopologySpread", {"defaultConstraints": [{**POINT, "labelSelector": {}}]}, "labelSelector is {}"),
        ("PodTopologySpread", {"defaultConstraints": [POINT] * 2}, "defaultingType is 'System'"),
        ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "hardPodAffinityWeight is 101; wanted a whole number"),
        ("InterPodAffinity", {"hardPodAffinityWeight": True}, "hardPodAffinityWeight is True"),
        ("InterPodAffinity", {"ignorePreferredTermsOfExistingPods": 1}, "is 1; wanted true or false"),
        ("DefaultPreemption", {"minCandidateNodesPercentage": 101}, "minCandidateNodesPercentage is 101"),
        ("DefaultPreemption", {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}, "above 0"),
        ("ImageLocality", {"threshold": 1}, "ImageLocality takes no arguments"),
    ],
)  # fmt: skip
def test_arguments_that_kube_scheduler_would_refuse(name: str, args: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        configured(**{name: args})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], "shape is []; wanted one point or more"),
        ([{"utilization": 101, "score": 1}], "shape[0].utilization is 101; wanted a whole number from 0 to 100"),
        ([{"utilization": 5, "score": 11}], "shape[0].score is 11; wanted a whole number from 0 to 10"),
        ([{"utilization": 5}, {"utilization": 5}], "shape[1].utilization is 5; wanted a whole number from 6 to 100"),
        ([{"utilization": True}], "shape[0].utilization is True"),
        ([{"utilisation": 5}], "did you mean 'utilization'?"),
    ],
)
def test_shapes_that_do_not_rise(shape: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        configured(NodeResourcesFit={"scoringStrategy": {**RATIO, "requestedToCapacityRatio": {"shape": shape}}})
    assert message in str(caught.value)


def test_the_same_plugin_configured_twice() -> None:
    twice = {"profiles": [{"pluginConfig": [{"name": "ImageLocality"}] * 2}]}
    with pytest.raises(InputError, match=r"pluginConfig\[1\].name is 'ImageLocality'; wanted each plug-in once"):
        policy_from_configuration(twice)


def test_the_same_default_constraint_twice() -> None:
    with pytest.raises(InputError, match=r"defaultConstraints\[1\] is 'rack'; wanted each topologyKey once"):
        configured(PodTopologySpread={"defaultingType": "List", "defaultConstraints": [POINT, POINT]})


@pytest.mark.parametrize(
    ("document", "percentage"),
    [
        ({"percentageOfNodesToScore": 30}, 30),
        ({"profiles": [{"percentageOfNodesToScore": 5}], "percentageOfNodesToScore": 100}, 5),
        ({"profiles": [{"percentageOfNodesToScore": 0}], "percentageOfNodesToScore": 30}, None),
        ({"profiles": [{}], "percentageOfNodesToScore": 100}, None),
        ({"percentageOfNodesToScore": None}, None),
    ],
)
def test_the_share_of_nodes_to_score_is_heeded(document: Any, percentage: int | None) -> None:
    sampling = policy_from_configuration(document).sampling
    assert sampling == (None if percentage is None else Sampling(percentage))


def test_what_asks_others_is_said() -> None:
    with pytest.warns(UserWarning, match="extenders are not asked"):
        policy_from_configuration({"extenders": [{"urlPrefix": "http://x"}]})


# -- the parsers that objects of a dump share ----------------------------------------


def test_selectors() -> None:
    assert selector_of(None, "s") is None
    assert selector_of({}, "s") == ()
    rule = {"key": "b", "operator": "NotIn", "values": ["2", "1"]}
    assert selector_of({"matchExpressions": [rule], "matchLabels": {"c": "", "a": "1"}}, "s") == (
        Requirement("a", "In", ("1",)), Requirement("c", "In", ("",)), Requirement("b", "NotIn", ("2", "1"))
    )  # fmt: skip
    assert equality_of({}, "s") == ()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "s is []; wanted an object"),
        ({"matchLabels": {"a": 1}}, "s.matchLabels.a is 1; wanted a text"),
        ({"matchExpressions": {}}, "s.matchExpressions is {}; wanted a list"),
        ({"matchExpressions": [{"operator": "In"}]}, "s.matchExpressions[0].key is None; wanted a text"),
        ({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}, "operator is 'Gt'; wanted one of In"),
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, "values is []; wanted one value or more for In"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["1"]}]}, "wanted no values for Exists"),
    ],
)
def test_selectors_that_do_not_parse(found: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        selector_of(found, "s")
    assert message in str(caught.value)


def test_a_node_term_that_kube_scheduler_lets_match_nothing_is_kept_unless_told_otherwise() -> None:
    for rule in (
        {"key": "a", "operator": "Is", "values": ["b"]},
        {"key": "a", "operator": "Gt", "values": ["1", "2"]},
        {"key": "a", "operator": "In"},
    ):
        term = {"matchExpressions": [rule]}
        kept = Requirement(rule["key"], rule["operator"], tuple(rule.get("values", ())))  # type: ignore[arg-type]
        assert node_term_of(term, "t") == NodeTerm((kept,))
        with pytest.raises(InputError, match=r"t\.matchExpressions\[0\]"):
            node_term_of(term, "t", strict=True)
    with pytest.raises(InputError, match="did you mean 'matchFields'"):
        node_term_of({"matchField": []}, "t", strict=True)
    assert node_term_of({}, "t") == NodeTerm()


def test_node_terms() -> None:
    assert node_terms_of(None, "t") is None
    assert node_terms_of({}, "t") == ()
    fields = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    term = NodeTerm((), (Requirement("metadata.name", "In", ("n1",)),))
    assert node_terms_of({"nodeSelectorTerms": [fields]}, "t") == (term,)
    assert preferred_node_terms_of([{"weight": 0, "preference": fields}], "p") == ((0, term),)
    with pytest.raises(InputError, match=r"p\[0\]\.weight is None; wanted a whole number"):
        preferred_node_terms_of([{"preference": fields}], "p")


def test_spread_constraints() -> None:
    policies = {"nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor", "labelSelector": {}}
    assert spread_constraint_of({**POINT, **policies}, "c") == SpreadConstraint("rack", 1, False, (), 1, False, True)
    for change, message in (
        ({"whenUnsatisfiable": None}, "c.whenUnsatisfiable is None; wanted one of DoNotSchedule, ScheduleAnyway"),
        ({"maxSkew": 0}, "c.maxSkew is 0; wanted a whole number from 1"),
        ({"nodeTaintsPolicy": "honor"}, "c.nodeTaintsPolicy is 'honor'; wanted one of Honor, Ignore"),
    ):
        with pytest.raises(InputError) as caught:
            spread_constraint_of({**POINT, **change}, "c")
        assert message in str(caught.value)
