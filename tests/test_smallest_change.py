"""The smallest change that would let a pod run: against every set tried, and worked by hand."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import k8slab
from k8slab import Cluster, Workload
from k8slab.analysis.frames import check_frame
from k8slab.domain.pod_spec import NodeTerm, Requirement, SpreadConstraint
from k8slab.experiments import smallest_change as module
from k8slab.experiments.constraints import Constraint
from k8slab.experiments.placement import columns
from k8slab.experiments.smallest_change import MOST, SmallestChange, smallest_change, smallest_change_on
from k8slab.policies import Policy
from k8slab.policies.plugins import NodeAffinity, PodTopologySpread
from tests.kube.objects import REQUIRED
from tests.naive_smallest_change import Json, naive_smallest_changes

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
GPU = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
SPOT = {"key": "spot", "value": "", "effect": "NoExecute"}


# -- small objects ---------------------------------------------------------------


def node(name: str, zone: str = "", cpu: str = "2", pods: int = 10, **spec: Any) -> Json:
    labels = {HOSTNAME: name, **({ZONE: zone} if zone else {}), **spec.pop("labels", {})}
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": str(pods)}
    metadata = {"name": name, "labels": labels}
    return {"kind": "Node", "metadata": metadata, "spec": spec, "status": {"allocatable": allocatable}}


def pod(name: str, on: str = "", cpu: str = "", app: str = "web", port: int = 0, **spec: Any) -> Json:
    container: Json = {"name": "c", "image": "app", "resources": {"requests": {"cpu": cpu} if cpu else {}}}
    if port:
        container["ports"] = [{"containerPort": port, "hostPort": port}]
    status = {"nominatedNodeName": spec.pop("nominated")} if "nominated" in spec else {}
    labels = {"app": app}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [container], **({"nodeName": on} if on else {}), **spec},
        "status": {"phase": "Running" if on else "Pending", **status},
    }


def term(app: str, key: str) -> Json:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}


def near(*terms: Json) -> Json:
    return {"podAffinity": {REQUIRED: list(terms)}}


def far(*terms: Json) -> Json:
    return {"podAntiAffinity": {REQUIRED: list(terms)}}


def in_zone(*zones: str) -> Json:
    rule = {"key": ZONE, "operator": "In", "values": list(zones)}
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}}


def spread(key: str = ZONE, skew: int = 1, app: str = "web", **more: Any) -> Json:
    made = {"topologyKey": key, "maxSkew": skew, "labelSelector": {"matchLabels": {"app": app}}}
    return {**made, "whenUnsatisfiable": "DoNotSchedule", **more}


def service(app: str) -> Json:
    metadata = {"name": app, "namespace": "default"}
    return {"kind": "Service", "metadata": metadata, "spec": {"selector": {"app": app}}}


def inputs(objects: list[Json], asked: Json) -> tuple[Any, Any]:
    items = {"kind": "List", "apiVersion": "v1", "items": objects}
    workload = Workload.from_kubernetes({"kind": "List", "apiVersion": "v1", "items": [asked]}, "given")
    return columns(Cluster.from_kubernetes(items), workload)


def ask(objects: list[Json], asked: Json, policy: Policy | None = None) -> SmallestChange:
    found = smallest_change(policy or k8slab.policy("kube-default"), *inputs(objects, asked), 0)
    check_frame("smallest_change", found.frame)
    return found


def told(found: SmallestChange) -> list[tuple[list[tuple[str, str]], list[str]]]:
    return [([(item.kind, item.what) for item in change.constraints], list(change.nodes)) for change in found.changes]


# -- one constraint of every kind, by hand -----------------------------------------


@pytest.mark.parametrize(
    ("objects", "asked", "kind", "what", "nodes", "words"),
    [
        (
            [node("a"), node("b")],
            pod("p", nodeSelector={"disk": "ssd"}),
            "node selector", "disk=ssd", ["a", "b"], "its node selector didn't ask for disk=ssd",
        ),
        (
            [node("a", "z1"), node("b")],
            pod("p", affinity=in_zone("z2")),
            "node affinity", "required", ["a", "b"], "it had no required node affinity",
        ),
        ([node("a"), node("b")], pod("p", on="c"), "node name", "c", ["a", "b"], "it didn't name c"),
        (
            [node("a", taints=[GPU]), node("b", taints=[GPU, SPOT])],
            pod("p"),
            "taint", "{dedicated: gpu}", ["a"], "it tolerated {dedicated: gpu}",
        ),
        (
            [node("a", unschedulable=True)],
            pod("p"),
            "taint", "{node.kubernetes.io/unschedulable: }", ["a"],
            "the node was uncordoned or it tolerated {node.kubernetes.io/unschedulable: }",
        ),
        (
            [node("a"), node("b", cpu="1500m"), pod("q", "a", "1")],
            pod("p", cpu="2"),
            "request", "cpu", ["a", "b"], "it asked for 500m less cpu (on 1 of them more than that)",
        ),
        ([node("a", pods=1), pod("q", "a"), pod("r", "a")], pod("p"), "pods", "pods", ["a"],
         "the node allowed 2 more pods"),
        (
            [node("a"), pod("q", "a", port=80)],
            pod("p", port=80),
            "host port", "80/TCP", ["a"], "it didn't ask for host port 80/TCP",
        ),
        (
            [node("a", "z1"), node("b", "z2", cpu="0"), pod("q", "a")],
            pod("p", cpu="1", topologySpreadConstraints=[spread(nodeAffinityPolicy="Ignore")]),
            "spread", f"{ZONE}, max skew 1", ["a"],
            f"its spread over {ZONE} were only preferred (ScheduleAnyway)",
        ),
        (
            [node("a", "z1"), node("b")],
            pod("p", affinity=near(term("db", ZONE))),
            "affinity", f"pods of app=db over {ZONE}", ["a", "b"], f"it had no affinity to pods of app=db over {ZONE}",
        ),
        (
            [node("a", "z1"), node("b", "z1"), pod("q", "a", app="db")],
            pod("p", affinity=far(term("db", ZONE))),
            "anti-affinity", f"pods of app=db over {ZONE}", ["a", "b"],
            f"it had no anti-affinity to pods of app=db over {ZONE}",
        ),
        (
            [node("a", "z1"), node("b", "z1"), *(pod(f"q{i}", "a", app="db", affinity=far(term("web", ZONE)))
                                                 for i in range(5))],
            pod("p"),
            "existing anti-affinity",
            f"default/q0, default/q1, default/q2 and 2 more pods to pods of app=web over {ZONE}", ["a", "b"],
            "default/q0, default/q1, default/q2 and 2 more pods had no anti-affinity to pods of app=web "
            f"over {ZONE}",
        ),
        (
            [node("a"), node("b")],
            pod("p", schedulingGates=[{"name": "quota"}, {"name": "image"}]),
            "scheduling gates", "[quota image]", ["a", "b"], "its scheduling gates [quota image] were removed",
        ),
    ],
)  # fmt: skip
def test_one_constraint(objects: list[Json], asked: Json, kind: str, what: str, nodes: list[str], words: str) -> None:
    found = ask(objects, asked)
    small = [change for change in found.changes if [item.kind for item in change.constraints] == [kind]]
    assert [(item.constraints[0].what, list(item.nodes), item.text) for item in small] == [(what, nodes, words)]
    if len(found.changes) == 1:
        assert found.text.startswith("default/p would run on ")
        assert found.text.endswith(f" if {words}.")


def test_the_profiles_own_constraints() -> None:
    base = k8slab.policy("kube-default")
    affinity = NodeAffinity(added_required=(NodeTerm((Requirement("disk", "In", ("ssd",)),)),))
    added = replace(base, filters=tuple(affinity if f.name == affinity.name else f for f in base.filters))
    assert told(ask([node("a")], pod("p"), added)) == [([("added node affinity", "required")], ["a"])]
    default = PodTopologySpread(defaults=(SpreadConstraint(ZONE, 1, True, None),))
    spreading = replace(base, filters=tuple(default if f.name == default.name else f for f in base.filters))
    objects = [node("a", "z1"), node("b", "z2", cpu="0"), pod("q", "a"), service("web")]
    assert told(ask(objects, pod("p", cpu="1"), spreading)) == [
        ([("request", "cpu")], ["b"]), ([("default spread", f"{ZONE}, max skew 1")], ["a"]),
    ][::-1]  # fmt: skip
    # One of its own, and the default doesn't hold.
    own = pod("p", cpu="1", topologySpreadConstraints=[spread(HOSTNAME, 5)])
    assert told(ask(objects, own, spreading)) == [([], ["a"])]


def test_a_users_filter_is_asked_about_the_cut_request() -> None:
    @k8slab.filter_plugin
    def half_empty(used_cpu_milli, allocatable_cpu_milli, feasible):
        feasible[:] = 2 * used_cpu_milli <= allocatable_cpu_milli

    @k8slab.filter_plugin
    def not_small(request_cpu_milli, feasible):
        feasible[:] = request_cpu_milli >= 600

    policy = k8slab.policy("kube-default").with_filter(half_empty)
    objects = [node("a", cpu="1")]
    assert told(ask(objects, pod("p", cpu="700m"), policy)) == [([("filter", "half_empty")], ["a"])]
    # Cut to what fits it still is more than half.
    asked = pod("p", cpu="3")
    both = [("request", "cpu"), ("filter", "half_empty")]
    assert told(ask(objects, asked, policy)) == [(both, ["a"])]
    # On a the cut leaves 500m, on b 700m.
    policy = k8slab.policy("kube-default").with_filter(not_small)
    found = ask([node("a", cpu="500m"), node("b", cpu="700m")], pod("p", cpu="1"), policy)
    assert told(found) == [([("request", "cpu")], ["b"])]
    assert found.changes[0].text == "it asked for 300m less cpu"


def test_pods_that_differ_in_a_lifted_term_alone_are_told_apart_from_others() -> None:
    objects = [
        node("a", "z1", cpu="3"), node("b", cpu="0"),
        pod("q", "a", "1", affinity=far(term("web", ZONE))), pod("r", "a", "1"),
        pod("s", "b", affinity=far(term("web", HOSTNAME))),
    ]  # fmt: skip
    (change,) = ask(objects, pod("p", cpu="1")).changes
    assert [item.what for item in change.constraints] == [f"default/q to pods of app=web over {ZONE}"]
    assert change.nodes == ("a",)


# -- several constraints -------------------------------------------------------------


def test_all_sets_as_small_are_told_those_that_open_most_first() -> None:
    objects = [
        node("a", taints=[GPU]), node("b", taints=[GPU]), node("c", cpu="500m"), node("d", taints=[SPOT, GPU]),
        node("e", cpu="900m"),
    ]  # fmt: skip
    found = ask([*objects, node("f", taints=[SPOT], cpu="0")], pod("p", cpu="1"))
    assert told(found) == [([("taint", "{dedicated: gpu}")], ["a", "b"]), ([("request", "cpu")], ["c", "e"])]
    assert found.text == (
        "default/p would run on 2 nodes (a, b) if it tolerated {dedicated: gpu}; "
        "or on 2 nodes (e, c) if it asked for 100m less cpu (on 1 of them more than that)."
    )
    second = found.frame.iloc[1].to_dict()
    assert second == {"change": 1, "constraint": "request", "what": "cpu", "cut": 100, "unit": "milli",
                     "best_node": "e", "enough_on": 1, "nodes": 2}  # fmt: skip
    assert found.size == 1
    assert found.complete


def test_siblings_keep_apart_both_ways() -> None:
    apart = far(term("web", HOSTNAME))
    objects = [node("a"), node("b"), pod("q", "a", affinity=apart), pod("r", "b", affinity=apart)]
    kinds = [("anti-affinity", f"pods of app=web over {HOSTNAME}"),
             ("existing anti-affinity", f"default/q and default/r to pods of app=web over {HOSTNAME}")]  # fmt: skip
    assert told(ask(objects, pod("p", affinity=apart))) == [(kinds, ["a", "b"])]


def test_several_requests_are_cut_on_the_node_that_has_most_of_them() -> None:
    asked = pod("p", cpu="4")
    asked["spec"]["containers"][0]["resources"]["requests"]["memory"] = "16Gi"
    found = ask([node("a", cpu="1"), node("b", cpu="3"), node("c", cpu="2")], asked)
    (change,) = found.changes
    assert (change.best, change.cuts, change.enough) == ("b", {"cpu": 1000, "memory": 8 * 2**30}, 1)
    words = "it asked for 1 core less cpu and it asked for 8 GiB less memory (on 2 of them more than that)"
    assert change.text == words


def test_what_a_spread_counts_follows_from_other_constraints() -> None:
    # z1 has one pod that counts, on a. In z2 two run behind a taint: were it tolerated, z2 would hold two.
    objects = [
        node("a", "z1"), node("b", "z2", cpu="0"), node("c", "z2", cpu="0", taints=[GPU]),
        pod("q", "a"), pod("r", "c"), pod("s", "c"),
    ]  # fmt: skip
    asked = pod("p", cpu="1", topologySpreadConstraints=[spread(nodeTaintsPolicy="Honor")])
    changes = told(ask(objects, asked))
    assert ([("taint", "{dedicated: gpu}")], ["a"]) in changes
    ignoring = pod("p", cpu="1", topologySpreadConstraints=[spread()])
    assert told(ask(objects, ignoring)) == [([], ["a"])]


def test_lifting_one_constraint_may_not_be_enough_as_it_lets_an_empty_domain_count() -> None:
    # Without the label z2 counts too, and is empty: then a would hold too many.
    objects = [node("a", "z1", cpu="1"), node("b", "z2", cpu="0"), pod("q", "a")]
    asked = pod("p", cpu="1", nodeSelector={"disk": "ssd"}, topologySpreadConstraints=[spread()])
    objects[0]["metadata"]["labels"]["disk"] = "hdd"
    assert told(ask(objects, asked)) == [
        ([("node selector", "disk=ssd"), ("spread", f"{ZONE}, max skew 1")], ["a"]),
        ([("node selector", "disk=ssd"), ("request", "cpu")], ["b"]),
    ]


def test_without_an_affinity_term_the_pod_may_be_the_first_of_its_group() -> None:
    # It matches the first term itself, but not the second: without that it is alone in its group.
    asked = pod("p", affinity=near(term("web", HOSTNAME), term("db", HOSTNAME)))
    assert told(ask([node("a")], asked)) == [([("affinity", f"pods of app=db over {HOSTNAME}")], ["a"])]


# -- none, and nothing to do ----------------------------------------------------------


def test_a_pod_that_fits_needs_no_change() -> None:
    found = ask([node("a"), node("b", cpu="0")], pod("p", cpu="1"))
    assert told(found) == [([], ["a"])]
    assert found.text == "default/p needs no change: 1 node (a) would take it as it is."
    assert len(found.frame) == 0


def test_more_than_a_few_constraints_are_no_small_change() -> None:
    labels = {f"l{number}": "x" for number in range(MOST)}
    assert ask([node("a")], pod("p", nodeSelector=labels)).size == MOST
    found = ask([node("a")], pod("p", cpu="9", nodeSelector=labels))
    assert (found.size, found.fewest, found.changes) == (-1, MOST + 1, ())
    assert found.text == "No change of up to 4 constraints would let default/p run. Each node needs at least 5 lifted."
    assert len(found.frame) == 0


def test_a_search_that_is_broken_off_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIED", 3)
    apps = [term(f"db{number}", HOSTNAME) for number in range(3)]
    found = ask([node("a")], pod("p", affinity=near(*apps)))
    assert (found.size, found.complete) == (-1, False)
    assert found.text == ("No change of up to 4 constraints is known that would let default/p run. "
                          "The search was broken off after 3 relaxed pods, so there may be others.")  # fmt: skip


def test_a_cluster_without_nodes() -> None:
    nodes, pods = inputs([node("a")], pod("p"))
    nodes = replace(nodes, alive=np.zeros(1, dtype=np.bool_))
    found = smallest_change(k8slab.policy("kube-default"), nodes, pods, 0)
    assert found.text == "default/p can't run: there are no nodes."


def test_names_are_escaped_and_the_table_is_shown() -> None:
    found = ask([node("a", taints=[{"key": "<b>", "value": "", "effect": "NoSchedule"}])], pod("p"))
    assert "&lt;b&gt;" in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    assert "<table" in found._repr_html_()
    assert repr(found) == f"<SmallestChange {found.text}>"


# -- in the midst of a run -----------------------------------------------------------------


def test_pods_that_came_and_went_since_count() -> None:
    apart = far(term("web", HOSTNAME))
    waiting = [pod("w0", cpu="1", port=80, affinity=apart), pod("w1", cpu="2", port=80, affinity=apart)]
    items = {"items": [node("a"), pod("q", "a", "1500m", app="db"), pod("r", "a", app="db", port=80)]}
    cluster = Cluster.from_kubernetes({"kind": "List", "apiVersion": "v1", **items})
    workload = Workload.from_kubernetes({"kind": "List", "apiVersion": "v1", "items": waiting}, "given")
    policy = k8slab.policy("kube-default")
    snapshot = policy.snapshot(*columns(cluster, workload))
    snapshot.evict(0)
    snapshot.evict(1)
    snapshot.assume(0, 0)
    before = snapshot.nodes.requested.copy()
    found = smallest_change_on(policy, snapshot, 1)
    (change,) = found.changes
    assert [item.kind for item in change.constraints] == [
        "host port", "request", "anti-affinity", "existing anti-affinity"
    ]  # fmt: skip
    assert change.cuts == {"cpu": 1000}
    assert change.constraints[-1].what.startswith("default/w0 to ")
    assert np.array_equal(before, snapshot.nodes.requested)
    assert len(snapshot.guests(0)) == 1


# -- every set tried -------------------------------------------------------------------------

APPS, KEYS = ("web", "db"), (ZONE, HOSTNAME)
TERMS = st.lists(st.builds(term, st.sampled_from(APPS), st.sampled_from(KEYS)), max_size=1)


@st.composite
def nodes_drawn(draw: st.DrawFn) -> list[Json]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        disk = draw(st.sampled_from(["", "ssd", "hdd"]))
        spec: Json = {"labels": {"disk": disk} if disk else {}}
        taints = draw(st.sampled_from([[], [], [GPU], [SPOT], [GPU, SPOT]]))
        if taints:
            spec["taints"] = taints
        if draw(st.integers(0, 9)) == 0:
            spec["unschedulable"] = True
        zone, cpu = draw(st.sampled_from(["", "z1", "z2", "z3"])), draw(st.sampled_from(["500m", "1", "2"]))
        made.append(node(f"n{number}", zone, cpu, draw(st.sampled_from([1, 3, 10])), **spec))
    return made


@st.composite
def existing_drawn(draw: st.DrawFn, nodes: list[Json]) -> list[Json]:
    made = []
    for number in range(draw(st.integers(0, 5))):
        where = draw(st.sampled_from(nodes))["metadata"]["name"]
        terms = draw(TERMS)
        spec = {"affinity": far(*terms)} if terms else {}
        port, cpu = draw(st.sampled_from([0, 0, 80])), draw(st.sampled_from(["", "300m", "1"]))
        made.append(pod(f"e{number}", where, cpu, draw(st.sampled_from(APPS)), port, **spec))
    return made


@st.composite
def asked_drawn(draw: st.DrawFn) -> Json:
    spec: Json = {"affinity": {}}
    if draw(st.integers(0, 2)) == 0:
        spec["nodeSelector"] = {"disk": "ssd"}
    if draw(st.integers(0, 2)) == 0:
        spec["affinity"] |= in_zone(*draw(st.sampled_from([["z1"], ["z1", "z2"], ["z9"]])))
    spec["affinity"] |= near(*draw(TERMS), *draw(TERMS)) if draw(st.booleans()) else {}
    spec["affinity"] |= far(*draw(TERMS)) if draw(st.booleans()) else {}
    policies = st.sampled_from(["Honor", "Ignore"])
    constraints = [
        spread(key, draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from(["web", "web", "db"])),
               nodeAffinityPolicy=draw(policies), nodeTaintsPolicy=draw(policies),
               minDomains=draw(st.sampled_from([1, 1, 2, 3])))
        for key in KEYS if draw(st.booleans())
    ]  # fmt: skip
    if constraints:
        spec["topologySpreadConstraints"] = constraints
    if draw(st.integers(0, 5)) == 0:
        spec["tolerations"] = [{"key": "dedicated", "operator": "Exists"}]
    if draw(st.integers(0, 7)) == 0:
        spec["schedulingGates"] = [{"name": "quota"}]
    if draw(st.integers(0, 7)) == 0:
        spec["nodeName"] = draw(st.sampled_from(["n0", "n9"]))
    cpu, port = draw(st.sampled_from(["", "400m", "1500m", "3"])), draw(st.sampled_from([0, 0, 80]))
    return pod("p", cpu=cpu, port=port, **spec)


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[Json, Json]:
    nodes = draw(nodes_drawn())
    config = []
    if draw(st.integers(0, 5)) == 0:
        config.append({"name": "NodeAffinity", "args": {"addedAffinity": in_zone("z1", "z2")["nodeAffinity"]}})
    services = [service("web")] if draw(st.integers(0, 3)) == 0 else []
    if services:
        defaults = [{"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
        args = {"defaultingType": "List", "defaultConstraints": defaults}
        config.append({"name": "PodTopologySpread", "args": args})
    nominated = []
    if draw(st.integers(0, 3)) == 0:
        where, terms = draw(st.sampled_from(nodes))["metadata"]["name"], draw(TERMS)
        cpu, port = draw(st.sampled_from(["300m", "1"])), draw(st.sampled_from([0, 80]))
        spec = {"affinity": far(*terms)} if terms else {}
        nominated.append(pod("w", "", cpu, draw(st.sampled_from(APPS)), port, nominated=where, **spec))
    scenario = {
        "nodes": {"items": nodes}, "pods": {"items": draw(existing_drawn(nodes))}, "services": {"items": services},
        "nominatedPods": {"items": nominated}, "pluginConfig": config,
    }  # fmt: skip
    return scenario, draw(asked_drawn())


def profile(config: list[Json]) -> Policy:
    policy = k8slab.policy("kube-default")
    plugins: dict[str, Any] = {}
    for entry in config:
        if entry["name"] == "NodeAffinity":
            rule = Requirement(ZONE, "In", ("z1", "z2"))
            plugins["NodeAffinity"] = NodeAffinity(added_required=(NodeTerm((rule,)),))
        else:
            plugins["PodTopologySpread"] = PodTopologySpread(defaults=(SpreadConstraint(ZONE, 1, True, None),))
    return replace(policy, filters=tuple(plugins.get(item.name, item) for item in policy.filters))


def atom(item: Constraint) -> tuple[Any, ...]:
    """As the twin calls it."""
    value = item.value
    if item.kind in ("taint", "node selector"):
        return (item.kind, *value)
    if item.kind == "host port":
        return item.kind, value.port
    if item.kind == "request":
        return item.kind, value
    if item.kind in ("spread", "default spread"):
        return item.kind, value.topology_key, value.max_skew
    names = {"affinity": "podAffinity", "anti-affinity": "podAntiAffinity", "existing anti-affinity": "existing"}
    if item.kind in names:
        return names[item.kind], value.selector[0].values[0], value.topology_key
    return ({"added node affinity": "added"}.get(item.kind, item.kind),)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_the_smallest_sets_are_those_that_trying_all_finds(case: tuple[Json, Json]) -> None:
    scenario, asked = case
    kinds = ("nodes", "pods", "services", "nominatedPods")
    objects = [item for kind in kinds for item in scenario[kind]["items"]]
    found = ask(objects, asked, profile(scenario["pluginConfig"]))
    assert found.complete
    got = {frozenset(map(atom, change.constraints)): set(change.nodes) for change in found.changes}
    assert got == naive_smallest_changes(scenario, asked, MOST)


# -- large clusters ------------------------------------------------------------------------


def large(spec: Json) -> tuple[Any, Any]:
    """5,000 nodes with 50 taints in 3 zones, each with two pods; a 6th of the cpu is free."""
    nodes, pods = [], []
    for number in range(5_000):
        taints = [{"key": "team", "value": f"t{number % 50}", "effect": "NoSchedule"}]
        nodes.append(node(f"n{number}", f"z{number % 3}", "3", taints=taints))
        pods += [pod(f"e{number}-{i}", f"n{number}", "900m", APPS[i], affinity=far(term("x", HOSTNAME)))
                 for i in range(2)]  # fmt: skip
    return inputs([*nodes, *pods], pod("p", cpu="1", **spec))


@pytest.mark.parametrize(
    ("spec", "size", "sets", "complete"),
    [
        ({}, 1, 50, True),
        # The label, the two terms, and one of the taints.
        (
            {"nodeSelector": {"disk": "ssd"}, "affinity": {**near(term("x", ZONE)), **far(term("web", HOSTNAME))}},
            4, 50, True,
        ),
        # Of nodes with one taint the zones hold 33, 34 and 33 pods.
        ({"topologySpreadConstraints": [spread(nodeTaintsPolicy="Honor")]}, 1, 50, True),
        # Taint, zone and spread; with 50 taints that decide who counts there are more sets than are tried.
        (
            {"nodeSelector": {ZONE: "z9"},
             "topologySpreadConstraints": [spread(nodeTaintsPolicy="Honor", minDomains=9)]},
            3, 5, False,
        ),
    ],
    ids=["plain", "affinity", "spread", "interaction"],
)  # fmt: skip
def test_5000_nodes_take_two_seconds(spec: Json, size: int, sets: int, complete: bool) -> None:
    nodes, pods = large(spec)
    before = nodes.requested.copy()
    began = time.process_time()
    found = smallest_change(k8slab.policy("kube-default"), nodes, pods, 0)
    assert time.process_time() - began < 2.0
    assert (found.size, len(found.changes), found.complete) == (size, sets, complete)
    assert np.array_equal(nodes.requested, before)
