"""What hypothesis draws where whole decisions are compared: small clusters and pods as Kubernetes' own objects.

Few labels, zones, ports and sizes, so that pods meet: most draws have ties, full domains,
pods that want one another and pods that don't, and some pods that fit nowhere.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from k8slab import Cluster, Policy, Workload
from k8slab.policies.profile import policy_from_configuration

Object = dict[str, Any]
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
KINDS = {
    "nodes": "Node",
    "pods": "Pod",
    "services": "Service",
    "replicaSets": "ReplicaSet",
    "namespaces": "Namespace",
    "podDisruptionBudgets": "PodDisruptionBudget",
}
APPS = st.sampled_from("abc")
KEYS = st.sampled_from([ZONE, ZONE, HOSTNAME, "rack"])
WEIGHTS = st.sampled_from([1, 3, 50, 100])


def rarely(value: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    """One time in four."""
    return st.integers(0, 3).flatmap(lambda draw: value if draw == 0 else st.just(otherwise))


def lists(items: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, max_size=most)


def without_none(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries(fields).map(lambda made: {k: v for k, v in made.items() if v is not None})


# -- nodes -------------------------------------------------------------------------

TAINTS = st.sampled_from(
    [
        {"key": "gpu", "value": "1", "effect": "NoSchedule"},
        {"key": "spot", "effect": "PreferNoSchedule"},
        {"key": "old", "value": "x", "effect": "PreferNoSchedule"},
        {"key": "gone", "effect": "NoExecute"},
    ]
)
IMAGES = st.sampled_from(
    [
        {"names": ["app:latest"], "sizeBytes": 900 * 2**20},
        {"names": ["db:v1", "db@sha256:1"], "sizeBytes": 300 * 2**20},
        {"names": ["app:latest"], "sizeBytes": 30 * 2**20},
    ]
)


@st.composite
def node(draw: st.DrawFn, number: int) -> Object:
    name = f"n{number:02}"
    labels = {HOSTNAME: name}
    for key, values in ((ZONE, ["a", "b", "c", "a", "b", None]), ("rack", ["1", "2", "", None])):
        value = draw(st.sampled_from(values))
        labels |= {} if value is None else {key: value}
    if draw(rarely(st.just(True), False)) and draw(st.booleans()):
        del labels[HOSTNAME]
    allocatable = {
        "cpu": draw(st.sampled_from(["1", "2", "4", "3900m"])),
        "memory": draw(st.sampled_from(["1Gi", "4Gi", "4Gi", "8Gi", "0"])),
        "pods": draw(st.sampled_from(["2", "5", "110"])),
        **draw(rarely(st.just({"example.com/gpu": "3"}), {})),
    }
    cordoned = draw(rarely(rarely(st.just(True), False), False))
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": draw(rarely(lists(TAINTS, 2), [])), "unschedulable": cordoned},
        "status": {"allocatable": allocatable, "images": draw(rarely(lists(IMAGES, 2), []))},
    }


# -- pods --------------------------------------------------------------------------


@st.composite
def label_selector(draw: st.DrawFn) -> Object:
    kind = draw(st.integers(0, 5))
    if kind == 0:
        operator = draw(st.sampled_from(["In", "NotIn"]))
        return {"matchExpressions": [{"key": "app", "operator": operator, "values": draw(st.lists(APPS, min_size=1))}]}
    if kind == 1:
        return {"matchExpressions": [{"key": "tier", "operator": draw(st.sampled_from(["Exists", "DoesNotExist"]))}]}
    return {} if kind == 2 else {"matchLabels": {"app": draw(APPS)}}


def pod_term() -> st.SearchStrategy[Object]:
    return without_none(
        topologyKey=KEYS,
        labelSelector=label_selector(),
        namespaces=rarely(st.just(["other"]), None),
        namespaceSelector=rarely(st.sampled_from([{}, {"matchLabels": {"team": "red"}}]), None),
    )


def weighted(name: str, of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Object]]:
    return lists(st.fixed_dictionaries({"weight": WEIGHTS, name: of}), 2)


def both_sides() -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries(
        {REQUIRED: rarely(lists(pod_term(), 2), []), PREFERRED: rarely(weighted("podAffinityTerm", pod_term()), [])}
    )


NODE_TERM = st.one_of(
    st.sampled_from(["a", "b"]).map(
        lambda zone: {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
    ),
    st.just({"matchExpressions": [{"key": "rack", "operator": "Exists"}]}),
    st.sampled_from(["n00", "n01"]).map(
        lambda name: {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
    ),
)


@st.composite
def affinity(draw: st.DrawFn) -> Object:
    made: Object = {"podAffinity": draw(both_sides()), "podAntiAffinity": draw(both_sides())}
    if draw(st.integers(0, 2)) == 0:
        made["nodeAffinity"] = {PREFERRED: draw(weighted("preference", NODE_TERM))}
        if draw(st.booleans()):
            made["nodeAffinity"][REQUIRED] = {"nodeSelectorTerms": draw(st.lists(NODE_TERM, min_size=1, max_size=2))}
    return made


@st.composite
def spread(draw: st.DrawFn) -> Object:
    hard = draw(st.booleans())
    made = {
        "topologyKey": draw(KEYS),
        "maxSkew": draw(st.integers(1, 2)),
        "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
        "labelSelector": draw(label_selector()),
        "nodeAffinityPolicy": draw(st.sampled_from(["Honor", "Ignore"])),
        "nodeTaintsPolicy": draw(st.sampled_from(["Honor", "Ignore"])),
    }
    return made | ({"minDomains": draw(st.integers(1, 3))} if hard and draw(st.booleans()) else {})


@st.composite
def container(draw: st.DrawFn) -> Object:
    amounts = {
        "cpu": draw(st.sampled_from([None, "100m", "500m", "1", "0"])),
        "memory": draw(st.sampled_from([None, "256Mi", "1Gi"])),
        "example.com/gpu": draw(rarely(st.just("1"), None)),
    }
    ip, protocol = draw(st.sampled_from([("", "TCP"), ("10.0.0.1", "TCP"), ("", "UDP"), ("10.0.0.2", "TCP")]))
    return {
        "name": "c",
        "image": draw(st.sampled_from(["app", "db:v1", "none"])),
        "resources": {"requests": {key: amount for key, amount in amounts.items() if amount is not None}},
        "ports": draw(rarely(st.just([{"containerPort": 8, "hostPort": 80, "hostIP": ip, "protocol": protocol}]), [])),
    }


TOLERATIONS = st.sampled_from(
    [
        {"operator": "Exists"},
        {"key": "gpu", "operator": "Exists"},
        {"key": "spot", "operator": "Equal", "value": ""},
        {"key": "old", "operator": "Exists", "effect": "NoSchedule"},
    ]
)


@st.composite
def pod(draw: st.DrawFn, name: str, priorities: tuple[int, ...] = (0, 10, 1000)) -> Object:
    labels = {"app": draw(APPS), **draw(rarely(st.just({"tier": "1"}), {}))}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "1", "controller": True}
    spec = {
        "containers": draw(st.lists(container(), min_size=1, max_size=2)),
        "tolerations": draw(rarely(lists(TOLERATIONS, 2), [])),
        "nodeSelector": draw(rarely(rarely(st.just({ZONE: "a"}), {}), {})),
        "affinity": draw(st.one_of(st.just({}), affinity())),
        "topologySpreadConstraints": draw(st.one_of(st.just([]), st.just([]), lists(spread(), 2))),
        "priority": draw(st.sampled_from(priorities)),
        "preemptionPolicy": draw(rarely(st.just("Never"), "PreemptLowerPriority")),
        "overhead": draw(rarely(st.just({"cpu": "50m"}), {})),
    }
    metadata = {
        "name": name,
        "namespace": draw(rarely(st.just("other"), "default")),
        "labels": labels,
        "ownerReferences": draw(rarely(st.just([owner]), [])),
    }
    return {"metadata": metadata, "spec": spec, "status": {}}


@st.composite
def bound_pod(draw: st.DrawFn, number: int, nodes: int) -> Object:
    made = draw(pod(f"b{number:02}", (0, 0, 10)))
    made["spec"]["nodeName"] = f"n{draw(st.integers(0, nodes - 1)):02}"
    made["status"] = {"startTime": f"2025-01-01T00:00:{draw(st.integers(0, 3)):02}Z"}
    if draw(rarely(st.just(True), False)):
        made["metadata"]["deletionTimestamp"] = "2025-01-02T00:00:00Z"
    return made


# -- scenarios ---------------------------------------------------------------------


def named(name: str, namespace: str = "default", labels: Object | None = None) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels or {}}}


SERVICE = APPS.map(lambda app: {**named("s"), "spec": {"selector": {"app": app}}})
REPLICA_SET = APPS.map(lambda app: {**named("rs"), "spec": {"selector": {"matchLabels": {"app": app}}}})
BUDGET = st.integers(0, 1).map(
    lambda left: {
        **named("budget"),
        "spec": {"selector": {"matchLabels": {"app": "a"}}},
        "status": {"disruptionsAllowed": left},
    }
)
NAMESPACES = [named("default", labels={"team": "blue"}), named("other", labels={"team": "red"})]
FIT = st.fixed_dictionaries(
    {
        "scoringStrategy": st.fixed_dictionaries(
            {
                "type": st.sampled_from(["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"]),
                "resources": st.lists(
                    st.sampled_from(["cpu", "memory", "example.com/gpu"]), min_size=1, max_size=3, unique=True
                ).map(lambda names: [{"name": name, "weight": 1 + len(name) % 3} for name in names]),
                "requestedToCapacityRatio": st.just(
                    {"shape": [{"utilization": 0, "score": 0}, {"utilization": 60, "score": 10},
                               {"utilization": 100, "score": 3}]}
                ),
            }
        ),
        "ignoredResources": rarely(st.just(["example.com/gpu"]), []),
    }
)  # fmt: skip
BALANCED = st.permutations(["cpu", "memory", "example.com/gpu"]).map(
    lambda names: {"resources": [{"name": name, "weight": 1} for name in names]}
)
COMPANY = st.fixed_dictionaries(
    {"hardPodAffinityWeight": st.sampled_from([0, 1, 7]), "ignorePreferredTermsOfExistingPods": st.booleans()}
)
DEFAULT_SPREAD = {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "NodeResourcesFit": FIT,
        "NodeResourcesBalancedAllocation": BALANCED,
        "InterPodAffinity": COMPANY,
        "PodTopologySpread": st.just({"defaultingType": "List", "defaultConstraints": [DEFAULT_SPREAD]}),
    },
)


@st.composite
def sequences(draw: st.DrawFn) -> Object:
    """A cluster and pods to schedule one after another, as the recorded scenarios hold them."""
    count = draw(st.integers(1, 6))
    bound = draw(st.integers(0, 3 * count))
    found = {
        "nodes": [draw(node(number)) for number in range(count)],
        "pods": [draw(bound_pod(number, count)) for number in range(bound)],
        "pending": [draw(pod(f"p{number:02}")) for number in range(draw(st.integers(1, 7)))],
        "services": draw(rarely(lists(SERVICE, 1), [])),
        "replicaSets": draw(rarely(lists(REPLICA_SET, 1), [])),
        "namespaces": draw(st.sampled_from([[], NAMESPACES])),
        "podDisruptionBudgets": draw(rarely(lists(BUDGET, 1), [])),
    }
    arguments = draw(rarely(ARGUMENTS, {}))
    config = [{"name": name, "args": args} for name, args in arguments.items()]
    lists_of = {key: {"items": items} for key, items in found.items()}
    return {"category": "sequence", "pluginConfig": config, **lists_of}


def cluster_of(scenario: Object) -> Cluster:
    """The library's cluster: all but the pods to schedule."""
    items = [{"kind": kind, **item} for key, kind in KINDS.items() for item in scenario[key]["items"]]
    return Cluster.from_kubernetes({"kind": "List", "items": items})


def workload_of(scenario: Object) -> Workload:
    """The pods to schedule."""
    return Workload.from_kubernetes({"kind": "PodList", "items": scenario["pending"]["items"]}, which="given")


def policy_of(scenario: Object) -> Policy:
    """The default profile with the scenario's arguments."""
    return policy_from_configuration({"profiles": [{"pluginConfig": scenario["pluginConfig"]}]})
