"""The twin of kube-scheduler v1.34 against the recorded scenarios, and on examples worked by hand."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.kube.filters import Constraint, default_selector
from tests.kube.objects import PREFERRED, REQUIRED, Cluster, Node, Pod, node_selector_matches
from tests.kube.scenario import differences, expectation

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "kube-scheduler"
CATEGORIES = (
    "edge", "gates", "images", "interpod", "mixed", "nodeaffinity", "ports", "preemption", "resources", "sequence",
    "spread", "strategy", "taints")  # fmt: skip
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
MIB = 2**20


@pytest.mark.long
@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded scenarios are not part of the project")
@pytest.mark.parametrize("category", CATEGORIES)
def test_the_twin_decides_as_recorded(category: str) -> None:
    wrong, cases = [], 0
    with gzip.open(RECORDED / f"{category}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            cases += 1
            wrong += [f"{case['id']}{where}" for where in differences(case["expect"], expectation(case))][:3]
    assert cases, f"{category} holds no case"
    assert not wrong, "\n".join(wrong)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded scenarios are not part of the project")
def test_every_recorded_category_is_tried() -> None:
    assert sorted(path.name.split(".")[0] for path in RECORDED.glob("*.jsonl.gz")) == sorted(CATEGORIES)


# -- small objects to make examples of -------------------------------------------


def node(name: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """4 cores, 8 GiB and 110 pods unless told otherwise."""
    allocatable = spec.pop("allocatable", {"cpu": "4", "memory": "8Gi", "pods": "110"})
    status = {"allocatable": allocatable, "images": spec.pop("images", [])}
    return {"metadata": {"name": name, "labels": {HOSTNAME: name, **(labels or {})}}, "spec": spec, "status": status}


def pod(name: str, on: str = "", cpu: str = "", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """In namespace default, one container; `on` is the node it is bound to."""
    metadata = {"name": name, "namespace": "default", "labels": labels or {}, **spec.pop("metadata", {})}
    status = spec.pop("status", {})
    container = {"name": "c", "image": "app", "resources": {"requests": {"cpu": cpu} if cpu else {}}}
    spec = {"containers": [container], **({"nodeName": on} if on else {}), **spec}
    return {"metadata": metadata, "spec": spec, "status": status}


def asking(*requests: dict[str, str], **spec: Any) -> Pod:
    """A pod with a container for each of the requests."""
    containers = [{"name": f"c{i}", "resources": {"requests": r}} for i, r in enumerate(requests)]
    return Pod(pod("p", containers=containers, **spec))


def scenario(nodes: list[Any], incoming: Any, pods: Any = (), category: str = "mixed", **more: Any) -> dict[str, Any]:
    lists = {"nodes": nodes, "pods": list(pods), **{k: v for k, v in more.items() if k != "pluginConfig"}}
    case = {kind: {"items": items} for kind, items in lists.items()}
    config = [{"name": name, "args": args} for name, args in more.get("pluginConfig", {}).items()]
    return {"category": category, "pod": incoming, "pluginConfig": config, **case}


def verdicts(*args: Any, **more: Any) -> dict[str, str]:
    """For each node the first letter of its verdict (F fits, U unschedulable, R unresolvable) and the reasons."""
    out = {}
    for name, verdict in expectation(scenario(*args, **more))["filter"].items():
        letter = {"Unschedulable": "U", "UnschedulableAndUnresolvable": "R"}.get(verdict.get("code", ""), "F")
        out[name] = "; ".join([letter, *verdict.get("reasons", [])])
    return out


def scores(plugin: str, *args: Any, **more: Any) -> dict[str, tuple[int, int]]:
    """Raw and normalised scores of one plug-in."""
    found = expectation(scenario(*args, **more))["scores"]
    parts = {name: entry["plugins"][plugin] for name, entry in found.items() if plugin in entry["plugins"]}
    return {name: (part["raw"], part["normalized"]) for name, part in parts.items()}


def app(name: str = "x") -> dict[str, Any]:
    return {"matchLabels": {"app": name}}


def pods_near(kind: str, selector: Any, key: str = ZONE, weight: int = 0, **more: Any) -> dict[str, Any]:
    """A pod's `affinity` with one term, preferred if it has a weight."""
    term = {"topologyKey": key, "labelSelector": selector, **more}
    if weight:
        return {kind: {PREFERRED: [{"weight": weight, "podAffinityTerm": term}]}}
    return {kind: {REQUIRED: [term]}}


def node_terms(*terms: Any) -> dict[str, Any]:
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


X = {"app": "x"}
ZONES = [node("a1", {ZONE: "a"}), node("a2", {ZONE: "a"}), node("b1", {ZONE: "b"})]


# -- request vectors (§1) --------------------------------------------------------


def test_amounts_are_added_exactly_and_rounded_up_once() -> None:
    assert asking(*[{"cpu": "0.4m"}] * 3).filter_request == {"cpu": 2}
    both = Node(node("n"), [asking({"cpu": "2.5m"}), asking({"cpu": "2.5m"})])
    assert both.requested("cpu") == 6


def test_only_sidecars_before_it_run_beside_an_init_container() -> None:
    first = {"name": "first", "resources": {"requests": {"cpu": "3"}}}
    sidecar = {"name": "sidecar", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}
    assert asking({"cpu": "1"}, initContainers=[first, sidecar]).filter_request["cpu"] == 3000
    assert asking({"cpu": "1"}, initContainers=[sidecar, first]).filter_request["cpu"] == 4000
    assert asking({"cpu": "1"}, initContainers=[sidecar], overhead={"cpu": "5m"}).filter_request["cpu"] == 2005


def test_pod_level_requests_count_everywhere_but_in_the_fit_score() -> None:
    it = asking({"cpu": "1"}, resources={"requests": {"cpu": "3"}})
    assert it.filter_request == it.requested == {"cpu": 3000}
    assert it.nonzero_requested == {"cpu": 3000, "memory": 200 * MIB}  # nobody names memory
    assert it.fit_score_request == {"cpu": 1000, "memory": 200 * MIB}


def test_a_container_that_lacks_requests_gets_defaults_and_an_explicit_zero_stays() -> None:
    it = asking({"cpu": "0"}, {"memory": "1Mi"})
    assert it.nonzero_requested == {"cpu": 100, "memory": 201 * MIB}
    assert it.requested == {"cpu": 0, "memory": MIB}


def test_a_resized_container_counts_the_most_of_spec_and_status() -> None:
    status = {"name": "c0", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "3"}}
    infeasible = [{"type": "PodResizePending", "reason": "Infeasible"}]
    assert asking({"cpu": "5"}, status={"containerStatuses": [status]}).requested["cpu"] == 5000
    refused = asking({"cpu": "5"}, status={"containerStatuses": [status], "conditions": infeasible})
    assert (refused.requested["cpu"], refused.filter_request["cpu"]) == (3000, 5000)


# -- filters (§4) ----------------------------------------------------------------


def test_scheduling_gates_hold_a_pod_back() -> None:
    gated = pod("p", schedulingGates=[{"name": "b"}, {"name": "a"}])
    held = {"gated": True, "plugin": "SchedulingGates", "reasons": ["waiting for scheduling gates: [b a]"]}
    assert expectation(scenario(ZONES, gated)) == {"preEnqueue": held}


def test_node_unschedulable_and_node_name() -> None:
    closed = [node("open"), node("closed", unschedulable=True)]
    assert verdicts(closed, pod("p")) == {"open": "F", "closed": "R; node(s) were unschedulable"}
    assert verdicts(closed, pod("p", tolerations=[{"operator": "Exists"}])) == {"open": "F", "closed": "F"}
    elsewhere = "R; node(s) didn't match the requested node name"
    assert verdicts(ZONES, pod("p", on="a2")) == {"a1": elsewhere, "a2": "F", "b1": elsewhere}


def test_the_first_untolerated_taint_is_named() -> None:
    taints = [{"key": k, "value": v, "effect": e} for k, v, e in
              (("soft", "", "PreferNoSchedule"), ("k", "1", "NoSchedule"), ("l", "2", "NoExecute"))]  # fmt: skip
    nodes = [node("n", taints=taints)]
    tolerated = [{"key": "k", "value": "1"}]
    assert verdicts(nodes, pod("p")) == {"n": "R; node(s) had untolerated taint {k: 1}"}
    assert verdicts(nodes, pod("p", tolerations=tolerated)) == {"n": "R; node(s) had untolerated taint {l: 2}"}


@pytest.mark.parametrize(
    ("term", "fits"),
    [
        ({}, False),
        ({"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["7"]}]}, True),
        ({"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["+008"]}]}, False),
        ({"matchExpressions": [{"key": "size", "operator": "Lt", "values": ["0x9"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "Lt", "values": ["9"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["9"]}]}, True),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": []}]}, False),
        ({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["m"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n", "m"]}]}, False),
    ],
)
def test_node_selector_terms(term: dict[str, Any], fits: bool) -> None:
    assert node_selector_matches({"nodeSelectorTerms": [term]}, Node(node("n", {"size": "08"}))) is fits


def test_names_in_every_term_narrow_the_nodes_and_conflicting_ones_end_the_cycle() -> None:
    def named(*names: str) -> dict[str, Any]:
        return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]} for name in names]}

    outside = "R; node(s) didn't satisfy plugin(s) [NodeAffinity]"
    either = pod("p", affinity=node_terms(named("a1"), named("a2", "b1")))
    assert verdicts(ZONES, either) == {"a1": "F", "a2": outside, "b1": outside}
    neither = expectation(scenario(ZONES, pod("p", affinity=node_terms(named("a1", "b1")))))
    assert neither["message"] == "0/3 nodes are available: pod affinity terms conflict."
    assert neither["preFilter"]["code"] == "UnschedulableAndUnresolvable"


def test_ports_conflict_with_the_wildcard_and_with_the_same_address_only() -> None:
    def on_port(name: str, ip: str, on: str = "", protocol: str = "TCP") -> dict[str, Any]:
        ports = [{"hostPort": 80, "hostIP": ip, "protocol": protocol}]
        return pod(name, on, containers=[{"name": "c", "ports": ports}])

    held = [on_port("q", "10.0.0.1", "a1"), on_port("r", "0.0.0.0", "a2"), on_port("s", "", "b1", "UDP")]
    taken = "U; node(s) didn't have free ports for the requested pod ports"
    assert verdicts(ZONES, on_port("p", ""), held) == {"a1": taken, "a2": taken, "b1": "F"}
    assert verdicts(ZONES, on_port("p", "::"), held) == {"a1": "F", "a2": taken, "b1": "F"}


def test_fit_names_all_that_is_missing_and_whether_it_can_ever_fit() -> None:
    small = {"cpu": "1", "memory": "1Gi", "pods": "1"}
    nodes = [node("full", allocatable=small), node("tiny", allocatable={**small, "cpu": "0.5"}), node("big")]
    bound = [pod("q", "full", cpu="3")]
    expected = {"full": "U; Too many pods; Insufficient cpu", "tiny": "R; Insufficient cpu", "big": "F"}
    assert verdicts(nodes, pod("p", cpu="1"), bound) == expected
    # Over-committed in cpu, but this pod asks for none.
    assert verdicts(nodes, pod("p"), bound)["full"] == "U; Too many pods"
    message = expectation(scenario(nodes[:2], pod("p", cpu="1"), bound))["message"]
    assert message == "0/2 nodes are available: 1 Too many pods, 2 Insufficient cpu."


def test_ignored_resources_are_not_checked() -> None:
    gpu = pod("p", containers=[{"name": "c", "resources": {"requests": {"nvidia.com/gpu": "1", "odd": "1"}}}])
    config = {"NodeResourcesFit": {"ignoredResourceGroups": ["nvidia.com"]}}
    assert verdicts([node("n")], gpu) == {"n": "R; Insufficient nvidia.com/gpu"}
    assert verdicts([node("n")], gpu, pluginConfig=config) == {"n": "F"}


def test_finished_pods_and_pods_of_unknown_nodes_do_not_exist() -> None:
    bound = [pod("q", "n", cpu="4", status={"phase": "Failed"}), pod("r", "gone", cpu="4")]
    assert verdicts([node("n")], pod("p", cpu="4"), bound) == {"n": "F"}


def spread(key: str = ZONE, when: str = "DoNotSchedule", selector: Any = None, **more: Any) -> list[dict[str, Any]]:
    selector = app() if selector is None else selector
    return [{"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": when, "labelSelector": selector, **more}]


SKEWED = "U; node(s) didn't match pod topology spread constraints"


def test_spread_compares_with_the_emptiest_domain() -> None:
    nodes = [*ZONES, node("bare")]
    missing = "R; node(s) didn't match pod topology spread constraints (missing required label)"
    one = [pod("q", "a1", labels=X)]
    it = pod("p", labels=X, topologySpreadConstraints=spread())
    assert verdicts(nodes, it, one) == {"a1": SKEWED, "a2": SKEWED, "b1": "F", "bare": missing}
    # A pod that doesn't match its own selector adds nothing.
    other = pod("p", topologySpreadConstraints=spread())
    assert verdicts(nodes, other, one) == {"a1": "F", "a2": "F", "b1": "F", "bare": missing}
    # Three domains are wanted and two are there: the emptiest counts 0.
    few = pod("p", labels=X, topologySpreadConstraints=spread(minDomains=3))
    assert verdicts(nodes, few, [*one, pod("r", "b1", labels=X)])["b1"] == SKEWED


def test_spread_leaves_out_terminating_pods_and_a_selector_of_everything_counts_none() -> None:
    leaving = [pod("q", "a1", labels=X, metadata={"deletionTimestamp": "2025-01-01T00:00:00Z"})]
    it = pod("p", labels=X, topologySpreadConstraints=spread())
    assert set(verdicts(ZONES, it, leaving).values()) == {"F"}
    everything = pod("p", topologySpreadConstraints=spread(selector={}))
    assert set(verdicts(ZONES, everything, [pod("q", "a1", labels=X)]).values()) == {"F"}
    constraint = Constraint({**spread()[0], "matchLabelKeys": ["v", "w"]}, Pod(pod("p", labels={"v": "1"})), app())
    assert constraint.selector == {
        "matchExpressions": [
            {"key": "app", "operator": "In", "values": ["x"]},
            {"key": "v", "operator": "In", "values": ["1"]},
        ]
    }


def test_the_first_pod_that_wants_its_own_company_may_go_anywhere_with_the_key() -> None:
    nodes = [*ZONES, node("bare")]
    alone = "R; node(s) didn't match pod affinity rules"
    it = pod("p", labels=X, affinity=pods_near("podAffinity", app()))
    assert verdicts(nodes, it) == {"a1": "F", "a2": "F", "b1": "F", "bare": alone}
    assert verdicts(nodes, it, [pod("q", "a1", labels=X)]) == {"a1": "F", "a2": "F", "b1": alone, "bare": alone}
    assert set(verdicts(nodes, pod("p", affinity=pods_near("podAffinity", app()))).values()) == {alone}


def test_anti_affinity_holds_both_ways() -> None:
    apart = pods_near("podAntiAffinity", app())
    mine = "U; node(s) didn't match pod anti-affinity rules"
    theirs = "U; node(s) didn't satisfy existing pods anti-affinity rules"
    there = [pod("q", "a1", labels=X)]
    assert verdicts(ZONES, pod("p", affinity=apart), there) == {"a1": mine, "a2": mine, "b1": "F"}
    there = [pod("q", "a1", affinity=apart)]
    assert verdicts(ZONES, pod("p", labels=X), there) == {"a1": theirs, "a2": theirs, "b1": "F"}


def test_a_negative_namespace_selector_of_the_incoming_pod_reaches_every_namespace() -> None:
    """The slip: it is tried against no labels at all."""
    negative = {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]}
    namespaces = [{"metadata": {"name": "default", "labels": {"team": "red"}}}]
    apart = pods_near("podAntiAffinity", app(), namespaceSelector=negative)
    turned_down = "U; node(s) didn't match pod anti-affinity rules"
    mine = verdicts(ZONES, pod("p", affinity=apart), [pod("q", "b1", labels=X)], namespaces=namespaces)
    assert mine == {"a1": "F", "a2": "F", "b1": turned_down}
    # An existing pod's selector is tried against the namespace's labels, as one would think.
    theirs = verdicts(ZONES, pod("p", labels=X), [pod("q", "b1", affinity=apart)], namespaces=namespaces)
    assert theirs["b1"] == "F"


def test_nominated_pods_of_at_least_the_same_priority_take_room() -> None:
    def nominated(priority: int) -> list[Any]:
        return [pod("q", cpu="4", priority=priority, status={"nominatedNodeName": "n"})]

    it = pod("p", cpu="1", priority=5)
    assert verdicts([node("n")], it, nominatedPods=nominated(5)) == {"n": "U; Insufficient cpu"}
    assert verdicts([node("n")], it, nominatedPods=nominated(4)) == {"n": "F"}
    # On its own node, and only there, a nominated pod counts for spreading too.
    there = pod("q", labels=X, priority=9, status={"nominatedNodeName": "a1"})
    even = pod("p", labels=X, topologySpreadConstraints=spread())
    assert verdicts(ZONES, even, nominatedPods=[there]) == {"a1": SKEWED, "a2": "F", "b1": "F"}
    # Nothing to check for at PreFilter: the nominated pod's anti-affinity cannot wake the plug-in up.
    apart = pod("q", priority=9, affinity=pods_near("podAntiAffinity", app()), status={"nominatedNodeName": "a1"})
    assert verdicts(ZONES, pod("p", labels=X), nominatedPods=[apart])["a1"] == "F"


# -- scores (§4) -----------------------------------------------------------------


def test_taint_score_is_reversed() -> None:
    def tainted(name: str, count: int) -> dict[str, Any]:
        return node(name, taints=[{"key": f"k{i}", "effect": "PreferNoSchedule"} for i in range(count)])

    nodes = [tainted("none", 0), tainted("one", 1), tainted("three", 3)]
    # The toleration is of another effect and helps nothing.
    it = pod("p", tolerations=[{"operator": "Exists", "effect": "NoSchedule"}])
    assert scores("TaintToleration", nodes, it) == {"none": (0, 100), "one": (1, 67), "three": (3, 0)}


def test_node_affinity_score_adds_the_profiles_preference() -> None:
    def preferring(zone: str, weight: int) -> dict[str, Any]:
        expression = {"key": ZONE, "operator": "In", "values": [zone]}
        preference = {"weight": weight, "preference": {"matchExpressions": [expression]}}
        return {PREFERRED: [preference, {"weight": 9, "preference": {}}]}

    config = {"NodeAffinity": {"addedAffinity": preferring("b", 3)}}
    it = pod("p", affinity={"nodeAffinity": preferring("a", 2)})
    assert scores("NodeAffinity", ZONES, it, pluginConfig=config) == {"a1": (2, 66), "a2": (2, 66), "b1": (3, 100)}
    assert scores("NodeAffinity", ZONES, pod("p")) == {}


SHAPE = {"shape": [{"utilization": 0, "score": 0}, {"utilization": 40, "score": 7}, {"utilization": 100, "score": 2}]}


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        # cpu: 100m of 300m asked for; memory: 200 MiB by default of 700 MiB
        ("LeastAllocated", (66 + 71) // 2),
        ("MostAllocated", (33 + 28) // 2),
        ("RequestedToCapacityRatio", 53),  # 70 * 33/40 = 57 and 70 * 28/40 = 49, mean 53
    ],
)
def test_fit_score_strategies(kind: str, raw: int) -> None:
    nodes = [node("n", allocatable={"cpu": "300m", "memory": "700Mi", "pods": "9"})]
    config = {"NodeResourcesFit": {"scoringStrategy": {"type": kind, "requestedToCapacityRatio": SHAPE}}}
    assert scores("NodeResourcesFit", nodes, pod("p"), pluginConfig=config) == {"n": (raw, raw)}


def test_a_score_of_zero_leaves_requested_to_capacity_ratio_altogether() -> None:
    shape = {"shape": [{"utilization": 50, "score": 0}, {"utilization": 100, "score": 10}]}
    strategy = {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": shape}
    config = {"NodeResourcesFit": {"scoringStrategy": strategy}}
    # cpu is 75 % full: 50. memory is 2 % full: 0, and isn't counted. The mean is 50, not 25.
    assert scores("NodeResourcesFit", [node("n")], pod("p", cpu="3"), pluginConfig=config) == {"n": (50, 50)}


def test_balanced_allocation_truncates_and_is_skipped_for_a_pod_that_asks_for_nothing() -> None:
    bound = [pod("q", "n", containers=[{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "4Gi"}}}])]
    # cpu 1.01 of 4, memory 4 of 8 GiB: (0.5 - 0.2525) / 2 = 0.12375, so 87.625
    assert scores("NodeResourcesBalancedAllocation", [node("n")], pod("p", cpu="10m"), bound) == {"n": (87, 87)}
    assert scores("NodeResourcesBalancedAllocation", [node("n")], pod("p"), bound) == {}
    # Three resources: 1/2, 1/4 and 1/4 have the standard deviation sqrt(1/72) = 0.1178...
    resources = [{"name": name} for name in ("cpu", "memory", "ephemeral-storage")]
    config = {"NodeResourcesBalancedAllocation": {"resources": resources}}
    full = node("n", allocatable={"cpu": "2", "memory": "4Gi", "ephemeral-storage": "4Gi", "pods": "9"})
    request = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
    it = pod("p", containers=[{"name": "c", "resources": {"requests": request}}])
    assert scores("NodeResourcesBalancedAllocation", [full], it, pluginConfig=config) == {"n": (88, 88)}


def test_image_score_grows_with_size_and_spread() -> None:
    images = [{"names": ["app:latest", "app@sha256:1"], "sizeBytes": 1046 * MIB}]
    nodes = [node("has", images=images), node("not")]
    # 1046 MiB on half the nodes count 523; (523 - 23) / (1000 - 23) is 51.17 %.
    assert scores("ImageLocality", nodes, pod("p")) == {"has": (51, 51), "not": (0, 0)}
    # The first node that has it says the size.
    nodes = [*nodes, node("late", images=[{"names": ["app:latest"], "sizeBytes": 1}])]
    assert scores("ImageLocality", nodes, pod("p"))["late"] == (69, 69)  # trunc(1046 * 2/3): (697.33 - 23) / 977


def test_spread_score_weighs_domains_and_ignores_nodes_without_the_key() -> None:
    nodes = [*ZONES, node("bare")]
    bound = [pod(f"q{i}", on, labels=X) for i, on in enumerate(["a1", "a1", "a2", "b1"])]
    it = pod("p", labels=X, topologySpreadConstraints=spread(when="ScheduleAnyway", maxSkew=2))
    # Two zones: 3 * ln 4 + 1 = 5.16 and 1 * ln 4 + 1 = 2.39; 100 * (5 + 2 - 5) / 5 = 40
    expected = {"a1": (5, 40), "a2": (5, 40), "b1": (2, 100), "bare": (0, 0)}
    assert scores("PodTopologySpread", nodes, it, bound) == expected


def test_spread_by_default_follows_services_and_the_owner() -> None:
    service = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": X}}
    blind = {"metadata": {"name": "t", "namespace": "default"}, "spec": {}}
    owners = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "controller": True}]
    replicas = {"metadata": {"name": "r", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"v": "1"}}}}
    it = pod("p", labels={**X, "v": "1"}, metadata={"ownerReferences": owners})
    case = scenario(ZONES, it, services=[service, blind], replicaSets=[replicas])
    owned = {"key": "v", "operator": "In", "values": ["1"]}
    assert default_selector(Cluster(case), Pod(it)) == {"matchLabels": X, "matchExpressions": [owned]}
    bound = [pod("q", "a1", labels={**X, "v": "1"})]
    # hostname: 1 * ln 5 + 2 on a1, 2 elsewhere; zone: 1 * ln 4 + 4 in a, 4 in b: 8.996, 7.386, 6
    found = scores("PodTopologySpread", ZONES, it, bound, services=[service], replicaSets=[replicas])
    assert found == {"a1": (9, 66), "a2": (7, 88), "b1": (6, 100)}
    assert scores("PodTopologySpread", ZONES, it, bound) == {}


def test_pod_affinity_score_counts_both_sides_preferences() -> None:
    bound = [
        pod("q", "a1", labels={"app": "y"}, affinity=pods_near("podAffinity", app())),  # required: hard weight
        pod("r", "b1", labels={"app": "y"}, affinity=pods_near("podAntiAffinity", app(), HOSTNAME, weight=7)),
    ]
    it = pod("p", labels=X, affinity=pods_near("podAffinity", app("y"), weight=4))
    # a: 4 + 1; b1: 4 - 7. Truncated: 100 * (5 + 3) / 8
    assert scores("InterPodAffinity", ZONES, it, bound) == {"a1": (5, 100), "a2": (5, 100), "b1": (-3, 0)}
    heavy = {"InterPodAffinity": {"hardPodAffinityWeight": 20, "ignorePreferredTermsOfExistingPods": True}}
    assert scores("InterPodAffinity", ZONES, it, bound, pluginConfig=heavy)["a1"] == (24, 100)
    assert scores("InterPodAffinity", ZONES, pod("p", labels=X), bound, pluginConfig=heavy) == {}
    assert scores("InterPodAffinity", ZONES, pod("p", labels={"app": "z"}), bound) == {}


# -- preemption (§5) -------------------------------------------------------------


def preempting(nodes: list[Any], pods: list[Any], cpu: str = "2", **more: Any) -> dict[str, Any]:
    spec = {"priority": 10, **more.pop("spec", {})}
    return expectation(scenario(nodes, pod("p", cpu=cpu, **spec), pods, category="preemption", **more))["preemption"]


def started(second: int) -> dict[str, Any]:
    return {"startTime": f"2025-01-01T00:00:{second:02}Z"}


def test_the_most_important_pods_are_reprieved_first() -> None:
    bound = [
        pod("young", "n", cpu="1", priority=5, status=started(9)),
        pod("old", "n", cpu="1", priority=5, status=started(1)),
        pod("low", "n", cpu="1"),
        pod("high", "n", cpu="1", priority=10),
    ]
    found = preempting([node("n"), node("tiny", allocatable={"cpu": "1", "pods": "9"})], bound)
    assert found["candidates"] == {"n": {"victims": ["default/young", "default/low"], "numPDBViolations": 0}}
    assert (found["code"], found["nominatedNode"]) == ("Success", "n")


def test_budgets_are_charged_in_order_of_importance_and_their_pods_reprieved_first() -> None:
    def budget(name: str, selector: Any, allowed: int) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "default"}
        return {"metadata": metadata, "spec": {"selector": selector}, "status": {"disruptionsAllowed": allowed}}

    bound = [pod("q", "n", cpu="2", priority=5, labels=X), pod("r", "n", cpu="2", priority=4, labels=X)]
    budgets = [budget("x", app(), 1), budget("all", {}, 0)]  # an empty selector protects nobody
    found = preempting([node("n")], bound, podDisruptionBudgets=budgets)
    # q may go, r would be one too many: so r stays although it matters less.
    assert found["candidates"] == {"n": {"victims": ["default/q"], "numPDBViolations": 0}}
    found = preempting([node("n")], bound, cpu="4", podDisruptionBudgets=budgets)
    assert found["candidates"] == {"n": {"victims": ["default/q", "default/r"], "numPDBViolations": 1}}


def test_the_choice_falls_on_low_priority_then_few_then_young_victims() -> None:
    nodes = [node(name) for name in ("a", "b", "c", "d")]
    bound = [
        pod("a1", "a", cpu="4", priority=2, status=started(9)),
        pod("b1", "b", cpu="4", priority=1, status=started(1)),
        pod("c1", "c", cpu="4", priority=1, status=started(2)),
        pod("d1", "d", cpu="2", priority=1, status=started(9)),
        pod("d2", "d", cpu="2", priority=1, status=started(9)),
    ]
    assert preempting(nodes, bound, cpu="3")["nominatedTies"] == ["c"]


def test_a_terminating_pod_was_never_counted_but_lowers_the_spread_when_it_goes() -> None:
    """The slip of the incremental update: zone a counts 1 - 1 = 0 once `leaving` is taken away."""
    gone = {"deletionTimestamp": "2025-01-01T00:00:00Z"}
    bound = [pod("q", "a1", labels=X, priority=99), pod("leaving", "a1", labels=X, metadata=gone)]
    spec = {"metadata": {"labels": X}, "topologySpreadConstraints": spread()}
    found = preempting([ZONES[0], node("b1", {ZONE: "b"}, unschedulable=True)], bound, spec=spec)
    assert found["candidates"] == {"a1": {"victims": ["default/leaving"], "numPDBViolations": 0}}


def test_the_first_of_two_pods_on_a_port_frees_it() -> None:
    """The node's ports are a set: `stays` still has the port when `goes` has taken it out."""
    on_80 = {"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]}
    bound = [pod("stays", "n", priority=99, **on_80), pod("goes", "n", **on_80)]
    found = preempting([node("n")], bound, spec=on_80)
    assert found["candidates"] == {"n": {"victims": ["default/goes"], "numPDBViolations": 0}}


def test_why_no_pod_is_preempted() -> None:
    full, tiny = [pod("q", "n", cpu="4", priority=10)], node("tiny", allocatable={"cpu": "1", "pods": "9"})
    never = preempting([node("n")], full, spec={"preemptionPolicy": "Never"})
    assert never["message"].endswith("preemption: not eligible due to preemptionPolicy=Never.")
    none = preempting([node("n"), tiny], full)
    assert none["nonCandidates"]["n"]["reasons"] == ["No preemption victims found for incoming pod"]
    assert none["message"].endswith(
        "0/2 nodes are available: 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling."
    )
    going = {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}
    leaving = pod("q", "n", cpu="4", metadata={"deletionTimestamp": "2025-01-01T00:00:00Z"}, status=going)
    waiting = preempting([node("n")], [leaving], spec={"status": {"nominatedNodeName": "n"}})
    assert waiting["message"].endswith("not eligible due to a terminating pod on the nominated node.")


# -- sequences, and the comparison itself ----------------------------------------


def test_each_pod_of_a_sequence_finds_the_ones_before_it() -> None:
    nodes = [node("a"), node("b")]
    case = {"category": "sequence", "nodes": {"items": nodes}, "pods": {"items": []}}
    case["pending"] = {"items": [pod(f"p{i}", cpu="3") for i in range(3)]}
    first, second, third = expectation(case)["steps"]
    assert (first["feasible"], first["best"], first["chosen"]) == (2, ["a", "b"], "a")
    assert (second["feasible"], second["chosen"]) == (1, "b")
    assert third == {"pod": "default/p2", "feasible": 0, "message": "0/2 nodes are available: 2 Insufficient cpu."}


def test_an_altered_expectation_is_noticed() -> None:
    case = scenario(ZONES, pod("p", cpu="1"))
    right = expectation(case)
    wrong = copy.deepcopy(right)
    wrong["nodeOrder"], wrong["preFilter"]["skipped"] = ["b1"], ["NodePorts"]
    assert list(differences(wrong, expectation(case))) == []
    wrong["scores"]["a2"]["plugins"]["NodeResourcesFit"]["raw"] += 1
    del wrong["filter"]["b1"]
    wrong["best"] = wrong["best"][:1]
    found = [difference.split(":")[0] for difference in differences(wrong, expectation(case))]
    assert found == ["/best", "/filter/b1", "/scores/a2/plugins/NodeResourcesFit/raw"]
