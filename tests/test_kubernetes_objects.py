"""What a dump's objects say beside amounts: into values, against the slow twin's reading, into files and back."""

from __future__ import annotations

import copy
import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab import Cluster, Workload
from k8slab.analysis.frames import check_frame
from k8slab.datasets.json_values import from_json, to_json
from k8slab.domain.api_objects import NOTHING, ApiObjects, Controller, DisruptionBudget, Service
from k8slab.domain.columns import LEAVING, NOT_STARTED, Codes
from k8slab.domain.pod_spec import (
    PLAIN,
    Adjustment,
    HostPort,
    Image,
    NodeTerm,
    Owner,
    PodSpec,
    PodTerm,
    Requirement,
    SpreadConstraint,
)
from k8slab.domain.selectors import node_terms_mask, selects
from k8slab.errors import InputError, OutputError
from tests.kube.filters import Constraint
from tests.kube.objects import PREFERRED, REQUIRED, node_selector_matches, requirements, selector_matches
from tests.kube.objects import Cluster as TwinCluster
from tests.kube.objects import Pod as TwinPod
from tests.test_kubernetes_dump import changed, container, dump, node, pod

RECORDED = Path(__file__).parents[2] / "shared" / "conformance" / "kube-scheduler"
MIB = 2**20


def only_spec(made, which="given"):
    """The spec of a dump's one pod."""
    specs = Workload.from_kubernetes(dump(made), which).specs
    return specs[0] or PLAIN


# -- pods ----------------------------------------------------------------------


def test_an_ordinary_pod_says_nothing():
    plain = [container(cpu="1", memory="1Gi")]
    workload = Workload.from_kubernetes(dump(pod("p", containers=plain), pod("q", containers=plain)), "all")
    assert workload.specs.codes.tolist() == [-1, -1]
    assert workload.specs.values == ()
    assert workload.leaving.tolist() == [0, 0]
    assert workload.started_ns.tolist() == [NOT_STARTED] * 2


def test_pods_in_the_same_words_share_one_value():
    def replica(number):
        volumes = [{"name": f"token-{number}"}]
        main = container(cpu="1", memory="1Gi", image="app:1", volumeMounts=volumes)
        return pod(f"p-{number}", on=f"n-{number}", containers=[main], volumes=volumes)

    workload = Workload.from_kubernetes(dump(*map(replica, range(3))), "all")
    assert workload.specs.values == (PodSpec(images=("app:1",)),)
    assert workload.specs.codes.tolist() == [0, 0, 0]


def test_pods_whose_words_mean_other_things_elsewhere_share_none():
    alike = [pod(name, namespace=name, **near(labelSelector={})) for name in ("x", "y")]
    specs = Workload.from_kubernetes(dump(*alike), "all").specs
    assert [specs.values[code].affinity[0].namespaces for code in specs.codes] == [("x",), ("y",)]
    owned = [pod(name) for name in ("x", "y")]
    for one in owned:
        owner = {"apiVersion": "v1", "kind": "ReplicationController", "name": one["metadata"]["name"]}
        one["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    specs = Workload.from_kubernetes(dump(*owned), "all").specs
    assert [specs.values[code].owner.name for code in specs.codes] == ["x", "y"]


def test_node_selector_and_node_affinity():
    zone = {"key": "zone", "operator": "In", "values": ["b", "a"]}
    name = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    affinity = {
        REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [zone], "matchFields": [name]}, {}]},
        PREFERRED: [{"weight": 7, "preference": {"matchExpressions": [zone]}}, {"weight": 0, "preference": {}}],
    }
    spec = only_spec(pod("p", nodeSelector={"disk": "ssd", "arch": "arm"}, affinity={"nodeAffinity": affinity}))
    in_zone = Requirement("zone", "In", ("b", "a"))
    assert spec.node_selector == (("arch", "arm"), ("disk", "ssd"))
    assert spec.node_required == (NodeTerm((in_zone,), (Requirement("metadata.name", "In", ("n1",)),)), NodeTerm())
    assert spec.node_preferred == ((7, NodeTerm((in_zone,))), (0, NodeTerm()))
    assert only_spec(pod("p", affinity={"nodeAffinity": {REQUIRED: {}}})).node_required == ()
    assert only_spec(pod("p", affinity={"nodeAffinity": {REQUIRED: None}})).node_required is None
    odd = [{"matchExpressions": [{"key": "x", "operator": "Near", "values": ["1"]}, {"key": "y", "operator": "Gt"}]}]
    terms = only_spec(pod("p", affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": odd}}})).node_required
    assert terms == (NodeTerm((Requirement("x", "Near", ("1",)), Requirement("y", "Gt"))),)


def test_pod_affinity_knows_absent_from_empty():
    exists = {"key": "tier", "operator": "Exists"}
    selector = {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [exists]}
    near = {
        REQUIRED: [
            {"topologyKey": "zone", "labelSelector": selector},
            {"topologyKey": "host", "namespaces": ["y", "x", "y"], "labelSelector": {}},
        ],
        PREFERRED: [{"weight": 5, "podAffinityTerm": {"topologyKey": "zone", "namespaceSelector": {}}}],
    }
    among = {"matchLabels": {"team": "web"}}
    far = {
        REQUIRED: [{"topologyKey": "zone", "namespaceSelector": among}],
        PREFERRED: [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}],
    }
    spec = only_spec(pod("p", namespace="shop", affinity={"podAffinity": near, "podAntiAffinity": far}))
    rules = (Requirement("a", "In", ("1",)), Requirement("b", "In", ("2",)), Requirement("tier", "Exists"))
    assert spec.affinity == (PodTerm("zone", rules, ("shop",)), PodTerm("host", (), ("x", "y")))
    assert spec.near_preferred == ((5, PodTerm("zone", None, (), among=())),)
    assert spec.anti_affinity == (PodTerm("zone", None, (), among=(Requirement("team", "In", ("web",)),)),)
    assert spec.far_preferred == ((1, PodTerm("zone", None, ("shop",))),)


SPREAD = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}


def test_topology_spread_and_its_folded_label_keys():
    version = {"key": "v", "operator": "In", "values": ["1"]}
    constraints = [
        SPREAD,
        {**SPREAD, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3, "minDomains": 4, "labelSelector": None,
         "nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor", "matchLabelKeys": ["v"]},
        {**SPREAD, "matchLabelKeys": ["v", "not-there"]},
        {**SPREAD, "labelSelector": {"matchExpressions": [version]}, "matchLabelKeys": ["v"]},
    ]  # fmt: skip
    made = pod("p", topologySpreadConstraints=constraints)
    made["metadata"]["labels"] = {"v": "1"}
    folded = SpreadConstraint("zone", 1, True, (Requirement("v", "In", ("1",)),))
    assert only_spec(made).spread == (
        SpreadConstraint("zone", 1, True, ()),
        SpreadConstraint("zone", 3, False, None, 4, honor_affinity=False, honor_taints=True),
        folded,
        folded,
    )
    other = copy.deepcopy(made)
    other["metadata"] |= {"name": "q", "labels": {"v": "2"}}
    specs = Workload.from_kubernetes(dump(made, other), "all").specs
    assert specs.codes.tolist() == [0, 1]


def test_ports_images_gates_preemption_policy_and_owner():
    def with_port(name, **port):
        return container(name, image=f"reg.io:5000/{name}", ports=[{"containerPort": 1}, port])

    init = [
        with_port("once", hostPort=1),
        with_port("side", hostPort=2, hostIP="10.0.0.1") | {"restartPolicy": "Always"},
    ]
    containers = [with_port("main", hostPort=80, protocol="UDP"), container("bare")]
    gates = [{"name": "b"}, {"name": "a"}]
    made = pod("p", containers=containers, initContainers=init, schedulingGates=gates, preemptionPolicy="Never")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d"}
    made["metadata"]["ownerReferences"] = [{**owner, "name": "else"}, {**owner, "controller": True, "uid": "u"}]
    spec = only_spec(made)
    assert spec.ports == (HostPort(80, "UDP"), HostPort(2, "TCP", "10.0.0.1"))
    assert spec.images == ("reg.io:5000/once", "reg.io:5000/side", "reg.io:5000/main", "")
    assert spec.gates == ("b", "a")
    assert not spec.may_preempt
    assert spec.owner == Owner("apps/v1", "ReplicaSet", "web-5d")
    assert only_spec(pod("p", preemptionPolicy="PreemptLowerPriority")).may_preempt


def going(conditions):
    made = pod("p", "a", status={"conditions": conditions})
    made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return made


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        ([], "deleted"),
        ([("DisruptionTarget", "True", "PreemptionByScheduler")], "preempted"),
        ([("Ready", "False", ""), ("DisruptionTarget", "True", "PreemptionByScheduler")], "preempted"),
        ([("DisruptionTarget", "False", "PreemptionByScheduler")], "deleted"),
        ([("DisruptionTarget", "True", "EvictionByEvictionAPI")], "deleted"),
        # Only the first of them counts.
        ([("DisruptionTarget", "True", "Other"), ("DisruptionTarget", "True", "PreemptionByScheduler")], "deleted"),
    ],
)
def test_why_a_pod_leaves(conditions, word):
    listed = [dict(zip(("type", "status", "reason"), condition, strict=True)) for condition in conditions]
    bound = Cluster.from_kubernetes(dump(node("a"), going(listed))).bound
    assert bound is not None
    assert LEAVING[bound.leaving[0]] == word


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("2025-06-01T12:00:00.123456789Z", 1_748_779_200_123_456_789),
        ("2025-06-01T12:00:00.1234567899Z", 1_748_779_200_123_456_789),
        ("2025-06-01t14:30:00.5+02:30", 1_748_779_200_500_000_000),
        ("1969-12-31T23:59:59Z", -(10**9)),
        (None, NOT_STARTED),
    ],
)
def test_when_a_pod_began(text, instant):
    bound = Cluster.from_kubernetes(dump(node("a"), pod("p", "a", status={"startTime": text}))).bound
    assert bound is not None
    assert bound.started_ns.tolist() == [instant]


def test_a_time_that_yaml_understood():
    yaml = pytest.importorskip("yaml")
    made = yaml.safe_load("{kind: Pod, metadata: {name: p}, status: {startTime: 1970-01-01T00:00:02Z}}")
    assert Workload.from_kubernetes(made, "all").started_ns.tolist() == [2 * 10**9]


# -- where a pod counts for other amounts --------------------------------------


def adjustments(made, bound=False):
    if bound:
        pods = Cluster.from_kubernetes(dump(node("a"), made)).bound
        assert pods is not None
    else:
        pods = Workload.from_kubernetes(dump(made), "given")
    amounts = dict(zip(pods.schema.names, pods.requests[0].tolist(), strict=True))
    spec = pods.specs[0] or PLAIN
    return {r: amount for r, amount in amounts.items() if amount and r != "pods"}, spec.adjustments


def test_what_a_container_does_not_name_is_assumed():
    asked, more = adjustments(pod("p", containers=[container(cpu="0"), container(cpu="1", memory="1Mi")]))
    assert asked == {"cpu": 1000, "memory": MIB}
    assert more == (Adjustment("memory", nonzero=200 * MIB, scored=200 * MIB),)


def test_the_score_passes_over_the_pods_own_level():
    made = pod("p", containers=[container(cpu="100m")], resources={"requests": {"cpu": "1", "hugepages-2Mi": "4Mi"}})
    asked, more = adjustments(made)
    assert asked == {"cpu": 1000, "hugepages-2Mi": 4 * MIB}
    assert more == (
        Adjustment("cpu", scored=-900),
        Adjustment("hugepages-2Mi", scored=-4 * MIB),
        Adjustment("memory", nonzero=200 * MIB, scored=200 * MIB),
    )
    named = pod("p", containers=[container(memory="5Mi"), container()], resources={"requests": {"cpu": "1"}})
    asked, more = adjustments(named)
    assert asked == {"cpu": 1000, "memory": 5 * MIB}
    assert more == (Adjustment("cpu", scored=-800), Adjustment("memory", scored=200 * MIB))


def test_a_resized_pod_holds_more_than_it_asks():
    reported = [{"name": "main", "resources": {"requests": {"cpu": "700m", "memory": "9Mi"}}}]
    made = pod("p", "a", containers=[container(cpu="500m", memory="9Mi")], status={"containerStatuses": reported})
    assert adjustments(made) == (
        {"cpu": 500, "memory": 9 * MIB},
        (Adjustment("cpu", held=200, nonzero=200),),
    )
    assert adjustments(made, bound=True) == (
        {"cpu": 700, "memory": 9 * MIB},
        (Adjustment("cpu", scored=-200),),
    )


def test_reported_resources_count_for_sidecars_and_not_for_other_init_containers():
    init = [container("once", cpu="1", memory="1Mi"), container("side", cpu="1", memory="1Mi", restartPolicy="Always")]
    reported = [{"name": name, "resources": {"requests": {"cpu": cpu}}} for name, cpu in (("once", 9), ("side", 5))]
    made = pod("p", "a", initContainers=init, status={"initContainerStatuses": reported})
    assert adjustments(made, bound=True)[0] == {"cpu": 5100, "memory": 2 * MIB}
    # Only the first word on a resize counts: here the spec's 100m stay below what is reported.
    pending = [{"type": "PodResizePending", "reason": reason} for reason in ("Deferred", "Infeasible")]
    less = [{"name": "main", "resources": {"requests": {"cpu": "50m"}}}]
    for conditions, cpu in ((pending, 100), (pending[::-1], 50)):
        made = pod("p", "a", status={"containerStatuses": less, "conditions": conditions})
        assert adjustments(made, bound=True)[0]["cpu"] == cpu
    # Resources that are reported empty still let what is allocated count.
    empty = [{"name": "main", "resources": {}, "allocatedResources": {"cpu": "3"}}]
    assert adjustments(pod("p", "a", status={"containerStatuses": empty}), bound=True)[0]["cpu"] == 3000


@pytest.mark.parametrize(("resource", "quantity", "amount"), [
    ("memory", "16Ei", 2**63 - 1), ("memory", "8Ei", 2**63 - 1), ("memory", "7Ei", 7 * 2**60),
    ("memory", str(2**63 - 1), 2**63 - 1), ("example.com/x", "9E", 9 * 10**18),
])  # fmt: skip
def test_amounts_up_to_the_largest(resource, quantity, amount):
    made = node("a", status={"allocatable": {"pods": "1", resource: quantity}})
    cluster = Cluster.from_kubernetes(dump(made))
    assert cluster.allocatable[cluster.schema.index(resource)].tolist() == [amount]


# -- clusters ------------------------------------------------------------------


def test_images_of_nodes():
    app = {"names": ["app:1", "app@sha256:0"], "sizeBytes": 10 * MIB}
    bare = {"names": None}
    status = node("a")["status"]
    nodes = [
        node("a", status={**status, "images": [app, bare]}),
        node("b"),
        node("c", status={**status, "images": []}),
        node("d", status={**status, "images": [app]}),
    ]
    images = Cluster.from_kubernetes(dump(*nodes)).images
    one = Image(("app:1", "app@sha256:0"), 10 * MIB)
    assert [images[row] for row in range(4)] == [(one, Image((), 0)), None, None, (one,)]


def test_nominated_pods_wait_for_their_node():
    promised = {"nominatedNodeName": "b"}
    objects = [
        node("a"),
        node("b"),
        pod("wants", phase="Pending", priority=9, status=promised),
        pod("bound", "a", status=promised),
        pod("done", phase="Succeeded", status={"nominatedNodeName": "b"}),
        pod("lost", phase="Pending", status={"nominatedNodeName": "gone"}),
    ]
    cluster = Cluster.from_kubernetes(dump(*objects))
    assert cluster.nominated is not None
    assert list(cluster.nominated.names) == ["default/wants"]
    assert cluster.nominated.priority.tolist() == [9]
    assert cluster.nominated.schema == cluster.schema
    assert cluster.nominated_node.tolist() == [1]
    assert cluster.source.startswith("a dump: 2 nodes, 1 bound pod, 1 nominated pod; passed over 1 pod without a node")
    assert list(Workload.from_kubernetes(dump(*objects)).names) == ["default/wants", "default/lost"]


def api(kind, name, spec=None, namespace="shop", **more):
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec or {}, **more}


X = (Requirement("app", "In", ("x",)),)
SELECTOR = {"matchLabels": {"app": "x"}}
OBJECTS = (
    {"kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "web"}}},
    {"kind": "Namespace", "metadata": {"name": "bare"}},
    api("Service", "nil"),
    api("Service", "all", {"selector": {}}, namespace=None),
    api("Service", "some", {"selector": {"tier": "db", "app": "x"}}),
    api("StatefulSet", "set", {"selector": SELECTOR}),
    api("ReplicationController", "rc", {"selector": {"app": "x"}}),
    api("ReplicaSet", "rs", {"selector": SELECTOR}, apiVersion="apps/v1"),
    api("PodDisruptionBudget", "pdb", {"selector": SELECTOR},
        status={"disruptionsAllowed": 2, "disruptedPods": {"q": "2026-01-01T00:00:00Z", "p": None}}),
    api("PodDisruptionBudget", "new"),
)  # fmt: skip


def test_namespaces_services_controllers_and_budgets():
    assert Cluster.from_kubernetes(dump(node("a"))).objects == NOTHING
    assert Cluster.from_kubernetes(dump(node("a"), *OBJECTS)).objects == ApiObjects(
        namespaces={"shop": {"team": "web"}, "bare": {}},
        services=(
            Service("shop", "nil", None),
            Service("default", "all", ()),
            Service("shop", "some", (*X, Requirement("tier", "In", ("db",)))),
        ),
        controllers=(
            Controller("shop", Owner("v1", "ReplicationController", "rc"), X),
            Controller("shop", Owner("apps/v1", "ReplicaSet", "rs"), X),
            Controller("shop", Owner("apps/v1", "StatefulSet", "set"), X),
        ),
        budgets=(
            DisruptionBudget("shop", "pdb", X, 2, ("p", "q")),
            DisruptionBudget("shop", "new", None, 0),
        ),
    )


# -- what an API server would refuse -------------------------------------------


def affinity(kind, when, *terms):
    return {"affinity": {kind: {when: list(terms)}}}


def near(**term):
    return affinity("podAffinity", REQUIRED, {"topologyKey": "zone", **term})


def selecting(**rule):
    return near(labelSelector={"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"], **rule}]})


def preferring(weight, **preferred):
    return affinity("nodeAffinity", PREFERRED, {"weight": weight, "preference": {}, **preferred})


def spreading(**constraint):
    return {"topologySpreadConstraints": [{**SPREAD, **constraint}]}


def on_port(**port):
    return {"containers": [container(ports=[port])]}


NEAR = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
RULE = f"{NEAR}.labelSelector.matchExpressions[0]"
WISH = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]"
EVEN = "spec.topologySpreadConstraints[0]"
PORT = "spec.containers[0].ports[0]"
TERMS = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": [1]}]}]}
TERM = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (selecting(operator="Near"), f"{RULE}.operator is 'Near'; wanted one of In, NotIn, Exists, DoesNotExist"),
        (selecting(operator=None), f"{RULE}.operator is None; wanted"),
        (selecting(key=5), f"{RULE}.key is 5; wanted a text"),
        (selecting(values="v"), f"{RULE}.values is 'v'; wanted a list"),
        (selecting(values=[True]), f"{RULE}.values[0] is True; wanted a text"),
        (selecting(values=[]), f"{RULE}.values is []; wanted one value or more for In"),
        (selecting(operator="Exists"), f"{RULE}.values is ['v']; wanted no values for Exists"),
        (near(labelSelector=[]), f"{NEAR}.labelSelector is []; wanted an object"),
        (near(labelSelector={"matchLabels": {"k": 1}}), f"{NEAR}.labelSelector.matchLabels.k is 1; wanted a text"),
        (near(namespaceSelector="x"), f"{NEAR}.namespaceSelector is 'x'; wanted an object"),
        (near(namespaces="x"), f"{NEAR}.namespaces is 'x'; wanted a list"),
        (near(namespaces=[1]), f"{NEAR}.namespaces[0] is 1; wanted a text"),
        (near(topologyKey=None), f"{NEAR}.topologyKey is None; wanted a text"),
        (near(topologyKey=""), f"{NEAR}.topologyKey is ''; wanted a text"),
        ({"affinity": {"nodeAffinity": {REQUIRED: TERMS}}}, f"{TERM}.matchExpressions[0].values[0] is 1; wanted a"),
        (preferring(-1), f"{WISH}.weight is -1; wanted a whole number from 0 to 100"),
        (preferring(101), f"{WISH}.weight is 101; wanted"),
        (preferring(1.5), f"{WISH}.weight is 1.5; wanted"),
        (preferring(True), f"{WISH}.weight is True; wanted"),
        (preferring(1, preference=[]), f"{WISH}.preference is []; wanted an object"),
        (affinity("podAntiAffinity", PREFERRED, {"weight": -5, "podAffinityTerm": {"topologyKey": "z"}}),
         "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight is -5; wanted"),
        (affinity("podAffinity", PREFERRED, {"weight": 5}),
         "preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey is None; wanted a text"),
        (spreading(whenUnsatisfiable=None), f"{EVEN}.whenUnsatisfiable is None; wanted one of DoNotSchedule, Sched"),
        (spreading(whenUnsatisfiable="Never"), f"{EVEN}.whenUnsatisfiable is 'Never'; wanted one of"),
        (spreading(maxSkew=0), f"{EVEN}.maxSkew is 0; wanted a whole number from 1"),
        (spreading(maxSkew=None), f"{EVEN}.maxSkew is None; wanted"),
        (spreading(minDomains=0), f"{EVEN}.minDomains is 0; wanted a whole number from 1"),
        (spreading(topologyKey=None), f"{EVEN}.topologyKey is None; wanted a text"),
        (spreading(topologyKey=""), f"{EVEN}.topologyKey is ''; wanted a text"),
        (spreading(nodeTaintsPolicy="Maybe"), f"{EVEN}.nodeTaintsPolicy is 'Maybe'; wanted one of Honor, Ignore"),
        (spreading(matchLabelKeys="v"), f"{EVEN}.matchLabelKeys is 'v'; wanted a list"),
        ({"topologySpreadConstraints": {}}, "spec.topologySpreadConstraints is {}; wanted a list"),
        (on_port(hostPort="80"), f"{PORT}.hostPort is '80'; wanted a whole number from 0 to 65,535"),
        (on_port(hostPort=65536), f"{PORT}.hostPort is 65536; wanted"),
        (on_port(hostPort=-1), f"{PORT}.hostPort is -1; wanted"),
        (on_port(hostPort=True), f"{PORT}.hostPort is True; wanted"),
        (on_port(hostPort=80, protocol="tcp"), f"{PORT}.protocol is 'tcp'; wanted one of TCP, UDP, SCTP"),
        (on_port(hostPort=80, protocol=6), f"{PORT}.protocol is 6; wanted a text"),
        (on_port(hostPort=80, hostIP=1), f"{PORT}.hostIP is 1; wanted a text"),
        ({"containers": [container(image=5)]}, "spec.containers[0].image is 5; wanted a text"),
        ({"nodeSelector": {"disk": 1}}, "spec.nodeSelector.disk is 1; wanted a text"),
        ({"nodeSelector": "disk"}, "spec.nodeSelector is 'disk'; wanted an object"),
        ({"affinity": []}, "spec.affinity is []; wanted an object"),
        ({"schedulingGates": [{}]}, "spec.schedulingGates[0].name is None; wanted a text"),
        ({"preemptionPolicy": "Maybe"}, "spec.preemptionPolicy is 'Maybe'; wanted one of PreemptLowerPriority, Never"),
        ({"nodeName": 5}, "spec.nodeName is 5; wanted a text"),
    ],
)  # fmt: skip
def test_a_bad_field_of_a_pod_is_named(spec, message):
    with pytest.raises(InputError) as caught:
        Workload.from_kubernetes(dump(pod("web", namespace="shop", **spec)), "given")
    assert str(caught.value).startswith("Pod shop/web: ")
    assert message in str(caught.value)


OWNED = ("metadata", "ownerReferences")
STARTED = ("status", "startTime")
TIME = "wanted a time such as 2026-01-31T12:00:00Z, from 1678 to 2262"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (changed(pod("p"), STARTED, "yesterday"), f"Pod default/p: status.startTime is 'yesterday'; {TIME}"),
        (changed(pod("p"), STARTED, "2026-13-01T00:00:00Z"), "status.startTime is '2026-13-01T00:00:00Z'; wanted"),
        (changed(pod("p"), STARTED, "2026-01-01T00:00:00"), "status.startTime is '2026-01-01T00:00:00'; wanted"),
        (changed(pod("p"), STARTED, "0001-01-01T00:00:00Z"), "status.startTime is '0001-01-01T00:00:00Z'; wanted"),
        (changed(pod("p"), STARTED, 5), "status.startTime is 5; wanted"),
        (changed(pod("p"), ("status", "conditions"), "x"), "Pod default/p: status.conditions is 'x'; wanted a list"),
        (changed(pod("p"), OWNED, [{"controller": "yes"}]), "ownerReferences[0].controller is 'yes'; wanted true or"),
        (changed(pod("p"), OWNED, [{"controller": True, "kind": "Job", "name": "j"}]),
         "Pod default/p: metadata.ownerReferences[0].apiVersion is None; wanted a text"),
    ],
)  # fmt: skip
def test_a_bad_field_around_a_pods_spec_is_named(made, message):
    with pytest.raises(InputError) as caught:
        Workload.from_kubernetes(dump(made), "given")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (changed(node("b"), ("status", "images"), [{"names": ["a"], "sizeBytes": -1}]),
         "Node b: status.images[0].sizeBytes is -1; wanted a whole number from 0"),
        (changed(node("b"), ("status", "images"), [{"names": "a"}]), "Node b: status.images[0].names is 'a'; wanted a"),
        (api("Service", "s", {"selector": ["app"]}), "Service shop/s: spec.selector is ['app']; wanted an object"),
        (api("Service", "s", {"selector": {"app": 1}}), "Service shop/s: spec.selector.app is 1; wanted a text"),
        (api("ReplicationController", "r", {"selector": {"app": None}}),
         "ReplicationController shop/r: spec.selector.app is None; wanted a text"),
        (api("ReplicaSet", "r", {"selector": {"matchLabels": 1}}),
         "ReplicaSet shop/r: spec.selector.matchLabels is 1; wanted an object"),
        (api("StatefulSet", "s", {"selector": {"matchExpressions": [{"key": "k", "operator": "Gt"}]}}),
         "StatefulSet shop/s: spec.selector.matchExpressions[0].operator is 'Gt'; wanted one of In"),
        (api("PodDisruptionBudget", "b", status={"disruptionsAllowed": "1"}),
         "PodDisruptionBudget shop/b: status.disruptionsAllowed is '1'; wanted a whole number"),
        (api("PodDisruptionBudget", "b", status={"disruptedPods": []}),
         "PodDisruptionBudget shop/b: status.disruptedPods is []; wanted an object"),
        (api("PodDisruptionBudget", "b", {"selector": "x"}),
         "PodDisruptionBudget shop/b: spec.selector is 'x'; wanted an object"),
        (changed(OBJECTS[0], ("metadata", "labels"), []), "Namespace shop: metadata.labels is []; wanted an object"),
        (api("Service", None), "Service number 1 of the dump: metadata.name is None; wanted a name"),
    ],
)  # fmt: skip
def test_a_bad_field_of_another_object_is_named(made, message):
    with pytest.raises(InputError) as caught:
        Cluster.from_kubernetes(dump(node("a"), made))
    assert message in str(caught.value)


@pytest.mark.parametrize("made", OBJECTS[2:], ids=lambda made: made["metadata"]["name"])
def test_no_object_may_stand_twice(made):
    named = f"{made['kind']} {made['metadata']['namespace'] or 'default'}/{made['metadata']['name']}"
    with pytest.raises(InputError, match=f"{named} stands twice"):
        Cluster.from_kubernetes(dump(node("a"), made, made))
    elsewhere = changed(made, ("metadata", "namespace"), "other")
    assert Cluster.from_kubernetes(dump(node("a"), made, elsewhere)).objects != NOTHING


# -- into files and back -------------------------------------------------------


def full_cluster():
    owner = [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "controller": True}]
    rich = pod("rich", "b", status={"startTime": "2025-06-01T12:00:00.123456789Z"}, **near(labelSelector={}))
    rich["metadata"]["ownerReferences"] = owner
    images = [{"names": ["app:1", 'quo"ted, image'], "sizeBytes": MIB}]
    return Cluster.from_kubernetes(
        dump(
            node("a"),
            node("b", status={**node("b")["status"], "images": images}),
            rich,
            going([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]),
            pod("plain", "a"),
            pod("wants", phase="Pending", status={"nominatedNodeName": "b"}, **spreading(), **on_port(hostPort=80)),
            *OBJECTS,
        )
    )


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_all_of_it_comes_back_from_files(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    cluster, path = full_cluster(), tmp_path / f"nodes{suffix}"
    cluster.save(path)
    back = Cluster.load(path)
    assert back.content_hash() == cluster.content_hash()
    assert back.objects == cluster.objects
    assert [back.images[row] for row in range(2)] == [cluster.images[row] for row in range(2)]
    for ours, theirs in ((cluster.bound, back.bound), (cluster.nominated, back.nominated)):
        assert ours is not None
        assert theirs is not None
        assert [theirs.specs[row] for row in range(len(ours))] == [ours.specs[row] for row in range(len(ours))]
        assert theirs.leaving.tolist() == ours.leaving.tolist()
        assert theirs.started_ns.tolist() == ours.started_ns.tolist()
        pods = tmp_path / f"pods{suffix}"
        ours.save(pods)
        assert Workload.load(pods).content_hash() == ours.content_hash()
        assert Workload.from_frame(ours.to_frame()).content_hash() == ours.content_hash()
    assert back.nominated_node.tolist() == [1]
    bare = cluster.without_pods()
    assert Cluster.from_frame(bare.to_frame()).images[1] == cluster.images[1]


def test_frames_have_the_rare_columns_only_where_something_stands_in_them():
    cluster = full_cluster()
    assert cluster.bound is not None
    frame = cluster.bound.to_frame()
    check_frame("workload", frame)
    check_frame("cluster", cluster.to_frame())
    assert frame["leaving"].tolist()[1:2] == ["preempted"]
    assert frame["leaving"].isna().tolist() == [True, False, True]
    assert json.loads(frame["spec"][0])["owner"] == {"api_version": "batch/v1", "kind": "Job", "name": "j"}
    plain = Cluster.from_kubernetes(dump(node("a"), pod("p", "a", containers=[container(cpu="1", memory="1Gi")])))
    assert plain.bound is not None
    assert not {"spec", "leaving", "started_ns"} & set(plain.bound.to_frame().columns)
    assert "images" not in plain.to_frame().columns


def test_a_cluster_saved_later_does_not_find_an_earlier_ones_files(tmp_path):
    full_cluster().save(tmp_path / "nodes.csv")
    written = {"nodes.csv", "nodes.bound.csv", "nodes.nominated.csv", "nodes.objects.json"}
    assert {file.name for file in tmp_path.iterdir()} == written
    Cluster.from_kubernetes(dump(node("a"))).save(tmp_path / "nodes.csv")
    assert {file.name for file in tmp_path.iterdir()} == {"nodes.csv"}
    back = Cluster.load(tmp_path / "nodes.csv")
    assert (back.bound, back.nominated, back.objects) == (None, None, NOTHING)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"services":[{"name":"s"}]}', '{"more":1}', '{"budgets":[{"allowed":true}]}', "\xff"]
)
def test_a_file_of_objects_that_is_none_says_so(tmp_path, text):
    full_cluster().save(tmp_path / "nodes.csv")
    (tmp_path / "nodes.objects.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"cannot read a cluster's objects from '.*nodes\.objects\.json'"):
        Cluster.load(tmp_path / "nodes.csv")


def test_objects_that_can_not_be_written_say_so(tmp_path):
    (tmp_path / "nodes.objects.json").mkdir()
    with pytest.raises(OutputError, match="cannot write the cluster's objects to"):
        full_cluster().save(tmp_path / "nodes.csv")


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("spec", '{"ports":[{"port":"80"}]}', """spec is '{"ports":[{"port":"80"}]}'; wanted a pod's spec as"""),
        ("spec", "nonsense", "row 1 (pod 'b'): spec is 'nonsense'; wanted a pod's spec as"),
        ("leaving", "maybe", "row 1 (pod 'b'): leaving is 'maybe'; wanted one of no, deleted, preempted"),
        ("started_ns", "noon", "row 1 (pod 'b'): started_ns is 'noon'; wanted whole nanoseconds since 1970"),
        ("started_ns", str(2**63), "started_ns is '9223372036854775808'; wanted whole"),
    ],
)  # fmt: skip
def test_a_bad_cell_says_where(column, cell, message):
    frame = {"pod": ["a", "b"], "cpu_milli": [1, 2], "memory_bytes": [1, 2], column: [None, cell]}
    with pytest.raises(InputError) as caught:
        Workload.from_frame(frame)
    assert message in str(caught.value)


def test_a_bad_cell_of_images_says_where():
    frame = {"node": ["a"], "cpu_milli": [1], "memory_bytes": [1], "images": ['[{"names":[1],"size_bytes":1}]']}
    with pytest.raises(InputError, match=r"row 0 \(node 'a'\): images is .*; wanted a node's images as"):
        Cluster.from_frame(frame)


words = st.text("ab/.é\"',\n", max_size=4)
tuples = st.lists(words, max_size=2).map(tuple)
rules = st.builds(Requirement, words, words, tuples)
selectors = st.lists(rules, max_size=2).map(tuple)
node_terms = st.builds(NodeTerm, selectors, selectors)
pod_terms = st.builds(PodTerm, words, st.none() | selectors, tuples, st.none() | selectors)
numbers = st.integers(-(2**63), 2**63 - 1)


def some(values):
    return st.lists(values, max_size=2).map(tuple)


specs = st.builds(
    PodSpec,
    node_name=words,
    node_selector=some(st.tuples(words, words)),
    node_required=st.none() | some(node_terms),
    node_preferred=some(st.tuples(numbers, node_terms)),
    affinity=some(pod_terms),
    far_preferred=some(st.tuples(numbers, pod_terms)),
    spread=some(st.builds(SpreadConstraint, words, numbers, st.booleans(), st.none() | selectors, numbers)),
    ports=some(st.builds(HostPort, numbers, words, words)),
    images=tuples,
    may_preempt=st.booleans(),
    owner=st.none() | st.builds(Owner, words, words, words),
    adjustments=some(st.builds(Adjustment, words, numbers, numbers, numbers)),
)


@given(specs)
def test_a_spec_comes_back_from_its_text(spec):
    back = from_json(PodSpec, to_json(spec))
    assert back == spec
    assert repr(back) == repr(spec)  # what content_hash reads
    assert "\n" not in to_json(spec)


@given(st.lists(st.none() | specs, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_a_workloads_specs_come_back_from_a_csv(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("specs") / "pods.csv"
    workload = Workload.of([f"p{row}" for row in range(len(drawn))], [[1, 1, 1]] * len(drawn), specs=Codes.of(drawn))
    workload.save(path)
    back = Workload.load(path)
    assert [back.specs[row] or PLAIN for row in range(len(drawn))] == [spec or PLAIN for spec in drawn]
    assert back.content_hash() == workload.content_hash()


# -- against the twin's reading ------------------------------------------------

CATEGORIES = sorted(path.name.partition(".")[0] for path in RECORDED.glob("*.jsonl.gz"))
KINDS = {
    "nodes": "Node", "pods": "Pod", "nominatedPods": "Pod", "namespaces": "Namespace", "services": "Service",
    "replicationControllers": "ReplicationController", "replicaSets": "ReplicaSet", "statefulSets": "StatefulSet",
    "podDisruptionBudgets": "PodDisruptionBudget",
}  # fmt: skip


def scenario_dump(scenario):
    named = [(KINDS[key], item) for key in KINDS for item in (scenario.get(key) or {}).get("items") or ()]
    return dump(*({**item, "kind": kind} for kind, item in named))


def check_amounts(twin, pods, row, bound):
    """All four request vectors, from the request and what is to be added to it."""
    names = pods.schema.names
    base = dict(zip(names, pods.requests[row].tolist(), strict=True))
    assert base.pop("pods") == 1
    more = {a.resource: a for a in (pods.specs[row] or PLAIN).adjustments}
    nothing = Adjustment("")

    def vector(part):
        return {name: base[name] + getattr(more.get(name, nothing), part) for name in base}

    def padded(amounts, only=None):
        return {name: amounts.get(name, 0) for name in (only or base)}

    assert base == padded(twin.requested if bound else twin.filter_request), twin.key
    assert vector("held") == padded(twin.requested), twin.key
    assert vector("scored") == padded(twin.fit_score_request), twin.key
    nonzero = vector("nonzero")
    assert {name: nonzero[name] for name in ("cpu", "memory")} == padded(twin.nonzero_requested, ("cpu", "memory"))
    for amounts in (twin.filter_request, twin.requested, twin.fit_score_request):
        assert all(name in base for name, amount in amounts.items() if amount), twin.key


def check_selectors(twin, spec, cluster, twins, labels):
    """Every selector of a pod, by what it matches among all labels of a scenario."""

    def same(ours, theirs, against=labels):
        assert (ours is None) == (theirs is None)
        for one in against:
            assert selects(ours, one) == selector_matches(theirs, one), (twin.key, theirs, one)

    pairs = [
        (spec.affinity, twin.pod_terms("podAffinity", REQUIRED)),
        (spec.anti_affinity, twin.pod_terms("podAntiAffinity", REQUIRED)),
        (spec.near_preferred, twin.pod_terms("podAffinity", PREFERRED)),
        (spec.far_preferred, twin.pod_terms("podAntiAffinity", PREFERRED)),
    ]
    for ours, theirs in pairs:
        for mine, obj in zip(ours, theirs, strict=True):
            weight, term = mine if isinstance(mine, tuple) else (None, mine)
            assert weight == obj.get("weight")
            obj = obj.get("podAffinityTerm") or obj
            assert term.topology_key == obj["topologyKey"]
            own = [] if obj.get("namespaces") or obj.get("namespaceSelector") is not None else [twin.namespace]
            assert list(term.namespaces) == sorted(set(obj.get("namespaces") or own))
            same(term.selector, obj.get("labelSelector"))
            same(term.among, obj.get("namespaceSelector"), [*cluster.objects.namespaces.values(), {}])
    for mine, obj in zip(spec.spread, twin.spec.get("topologySpreadConstraints") or [], strict=True):
        theirs = Constraint(obj, twin, obj.get("labelSelector"))
        said = (mine.topology_key, mine.max_skew, mine.min_domains, mine.honor_affinity, mine.honor_taints)
        assert said == (theirs.key, theirs.max_skew, theirs.min_domains, theirs.honor_affinity, theirs.honor_taints)
        assert mine.hard == (theirs.when == "DoNotSchedule")
        assert bool(mine.selector) == bool(theirs.selector and requirements(theirs.selector))
        same(mine.selector, theirs.selector)
    wanted = node_terms_mask(spec.node_required, cluster.labels, cluster.names).tolist()
    assert wanted == [node_selector_matches(twin.required_node_affinity, one) for one in twins]
    weights = [
        (weight, node_terms_mask((term,), cluster.labels, cluster.names).sum()) for weight, term in spec.node_preferred
    ]
    assert weights == [
        (p["weight"], sum(node_selector_matches({"nodeSelectorTerms": [p["preference"]]}, one) for one in twins))
        for p in twin.preferred_node_affinity
    ]
    assert dict(spec.node_selector) == (twin.spec.get("nodeSelector") or {})
    assert [(port.ip, port.protocol, port.port) for port in spec.ports] == twin.host_ports


def check_pods(pods, twins, cluster, nodes, *, bound):
    labels = {json.dumps(twin.labels, sort_keys=True): twin.labels for twin in twins}.values()
    assert list(pods.names) == [twin.key for twin in twins]
    for row, twin in enumerate(twins):
        spec = pods.specs[row] or PLAIN
        check_amounts(twin, pods, row, bound)
        check_selectors(twin, spec, cluster, nodes, labels)
        assert bool(pods.leaving[row]) == twin.terminating
        assert pods.priority[row] == twin.priority
        assert spec.node_name == ("" if bound else twin.spec.get("nodeName") or "")
        assert {key for key in pods.labels if pods.labels[key].codes[row] >= 0} == set(twin.labels)


@pytest.mark.long
@pytest.mark.skipif(not CATEGORIES, reason="the recorded scenarios are not part of the project")
@pytest.mark.parametrize("category", CATEGORIES)
def test_recorded_objects_are_read_as_the_twin_reads_them(category):
    cases = 0
    with gzip.open(RECORDED / f"{category}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for scenario in map(json.loads, lines):
            cases += 1
            cluster, twin = Cluster.from_kubernetes(scenario_dump(scenario)), TwinCluster(scenario)
            nodes = twin.nodes
            allocatable = [{**one.allocatable, "pods": one.allowed_pods} for one in nodes]
            assert cluster.allocatable.T.tolist() == [
                [one.get(r, 0) for r in cluster.schema.names] for one in allocatable
            ]
            assert [bool(state) for state in cluster.states] == [one.unschedulable for one in nodes]
            for row, one in enumerate(nodes):
                listed = [Image(tuple(image["names"]), image.get("sizeBytes", 0)) for image in one.images]
                assert cluster.images[row] == (tuple(listed) or None)
            if cluster.bound is None:
                assert not any(one.pods for one in nodes)
            else:
                by_node = sorted(range(len(cluster.bound)), key=lambda row: cluster.bound_node[row])
                twins = list(itertools.chain.from_iterable(one.pods for one in nodes))
                check_pods(cluster.bound.take(by_node), twins, cluster, nodes, bound=True)
            if cluster.nominated is not None:
                check_pods(cluster.nominated, twin.nominated, cluster, nodes, bound=False)
            assert (0 if cluster.nominated is None else len(cluster.nominated)) == len(twin.nominated)
            incoming = scenario["pending"]["items"] if "pending" in scenario else [scenario["pod"]]
            workload = Workload.from_kubernetes({"kind": "PodList", "apiVersion": "v1", "items": incoming}, "given")
            check_pods(workload, [TwinPod(obj) for obj in incoming], cluster, nodes, bound=False)
            counts = (len(twin.services), sum(map(len, twin.controllers.values())), len(twin.budgets))
            objects = cluster.objects
            assert (len(objects.services), len(objects.controllers), len(objects.budgets)) == counts
            assert objects.namespaces == twin.namespaces
            assert np.array_equal(cluster.new_state().allocatable, cluster.allocatable)
    assert cases > 0
