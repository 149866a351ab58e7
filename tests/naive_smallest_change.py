"""The smallest change by trying every set of constraints on the objects themselves, with the slow scheduler."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from tests.kube.filters import prepare
from tests.kube.objects import REQUIRED, Cluster, Node, Pod
from tests.kube.scenario import turned_down

Json = dict[str, Any]
Atom = tuple[Any, ...]
UNSCHEDULABLE = ("node.kubernetes.io/unschedulable", "")


def naive_smallest_changes(scenario: Json, pod: Json, most: int) -> dict[frozenset[Atom], set[str]]:
    """The nodes that each set of the fewest constraints opens; {} if no set of up to `most` opens any."""
    found = sorted(set(atoms(scenario, pod)))
    for size in range(most + 1):
        opened = {frozenset(some): set(opened_by(scenario, pod, set(some))) for some in combinations(found, size)}
        opened = {some: nodes for some, nodes in opened.items() if nodes}
        if opened:
            return opened
    return {}


# -- what may be lifted ----------------------------------------------------------


def atoms(scenario: Json, pod: Json) -> Iterator[Atom]:
    spec = pod["spec"]
    if spec.get("schedulingGates"):
        yield ("scheduling gates",)
    if spec.get("nodeName"):
        yield ("node name",)
    yield from (("node selector", key, value) for key, value in (spec.get("nodeSelector") or {}).items())
    if required_node_affinity(spec):
        yield ("node affinity",)
    for node in scenario["nodes"]["items"]:
        yield from (("taint", *taint) for taint in taints(node))
    yield from (("host port", port) for port in ports(spec))
    yield from (("request", name) for name in requests(pod))
    yield ("pods",)
    yield from (("spread", *constraint_id(item)) for item in hard(spec.get("topologySpreadConstraints")))
    for kind in ("podAffinity", "podAntiAffinity"):
        yield from ((kind, *term_id(term)) for term in terms(spec, kind))
    for other in (*scenario["pods"]["items"], *scenario["nominatedPods"]["items"]):
        yield from (("existing", *term_id(term)) for term in terms(other["spec"], "podAntiAffinity"))
    for entry in scenario["pluginConfig"]:
        if entry["name"] == "NodeAffinity":
            yield ("added",)
        elif not spec.get("topologySpreadConstraints"):
            yield from (("default spread", *constraint_id(item)) for item in hard(entry["args"]["defaultConstraints"]))


def required_node_affinity(spec: Json) -> Any:
    return ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)


def taints(node: Json) -> list[tuple[str, str]]:
    found = [(taint["key"], taint.get("value", "")) for taint in node["spec"].get("taints") or []]
    return [*found, *([UNSCHEDULABLE] if node["spec"].get("unschedulable") else [])]


def ports(spec: Json) -> list[int]:
    return [port["hostPort"] for port in spec["containers"][0].get("ports") or []]


def requests(pod: Json) -> dict[str, int]:
    """One container's, in whole milli or bytes."""
    return Pod(pod).filter_request


def hard(constraints: list[Json] | None) -> list[Json]:
    return [item for item in constraints or [] if item["whenUnsatisfiable"] == "DoNotSchedule"]


def constraint_id(item: Json) -> Atom:
    return item["topologyKey"], item["maxSkew"]


def terms(spec: Json, kind: str) -> list[Json]:
    return ((spec.get("affinity") or {}).get(kind) or {}).get(REQUIRED) or []


def term_id(term: Json) -> Atom:
    return term["labelSelector"]["matchLabels"]["app"], term["topologyKey"]


# -- lifting it -------------------------------------------------------------------


def opened_by(scenario: Json, pod: Json, lifted: set[Atom]) -> Iterator[str]:
    """The nodes that take the pod without these."""
    if pod["spec"].get("schedulingGates") and ("scheduling gates",) not in lifted:
        return
    cluster = Cluster(relaxed_cluster(scenario, lifted))
    whole = relaxed_pod(pod, lifted)
    verdicts: dict[str, set[str]] = {}
    for node in cluster.nodes:
        fitting = cut_to_fit(whole, {atom[1] for atom in lifted if atom[0] == "request"}, cluster, node)
        key = str(fitting)
        if key not in verdicts:
            made = Pod(fitting)
            _, rejected = turned_down(cluster, prepare(cluster, made), made)
            verdicts[key] = {other.name for other in cluster.nodes} - set(rejected)
        if node.name in verdicts[key]:
            yield node.name


def cut_to_fit(pod: Json, resources: set[str], cluster: Cluster, node: Node) -> Json:
    """The pod with no more of these resources than is free on a node, less what nominated pods will take."""
    pod, me = copy.deepcopy(pod), Pod(pod)
    nominated = [other for other in cluster.nominated if other.status["nominatedNodeName"] == node.name]
    coming = [other for other in nominated if other.priority >= me.priority and other.key != me.key]
    for name in resources:
        held = node.requested(name) + sum(other.requested.get(name, 0) for other in coming)
        free = max(node.allocatable.get(name, 0) - held, 0)
        if me.filter_request[name] > free:
            amount = f"{free}m" if name == "cpu" else str(free)
            pod["spec"]["containers"][0]["resources"]["requests"][name] = amount
    return pod


def relaxed_pod(pod: Json, lifted: set[Atom]) -> Json:
    pod = copy.deepcopy(pod)
    spec = pod["spec"]
    if ("node name",) in lifted:
        del spec["nodeName"]
    if ("node affinity",) in lifted:
        del spec["affinity"]["nodeAffinity"]
    labels = spec.get("nodeSelector") or {}
    spec["nodeSelector"] = {key: labels[key] for key in labels if ("node selector", key, labels[key]) not in lifted}
    mended = [{"key": rest[0], "operator": "Equal", "value": rest[1]} for kind, *rest in lifted if kind == "taint"]
    spec["tolerations"] = [*(spec.get("tolerations") or []), *mended]
    container = spec["containers"][0]
    kept = [port for port in container.get("ports") or [] if ("host port", port["hostPort"]) not in lifted]
    container["ports"] = kept
    spec["topologySpreadConstraints"] = softened(spec.get("topologySpreadConstraints") or [], "spread", lifted)
    for kind in ("podAffinity", "podAntiAffinity"):
        drop_terms(spec, kind, {atom[1:] for atom in lifted if atom[0] == kind})
    return pod


def relaxed_cluster(scenario: Json, lifted: set[Atom]) -> Json:
    scenario = copy.deepcopy(scenario)
    for node in scenario["nodes"]["items"] if ("pods",) in lifted else ():
        node["status"]["allocatable"]["pods"] = "1000"
    gone = {atom[1:] for atom in lifted if atom[0] == "existing"}
    for other in (*scenario["pods"]["items"], *scenario["nominatedPods"]["items"]):
        drop_terms(other["spec"], "podAntiAffinity", gone)
    for entry in list(scenario["pluginConfig"]):
        if entry["name"] == "NodeAffinity" and ("added",) in lifted:
            scenario["pluginConfig"].remove(entry)
        elif entry["name"] == "PodTopologySpread":
            args = entry["args"]
            args["defaultConstraints"] = softened(args["defaultConstraints"], "default spread", lifted)
    return scenario


def softened(constraints: list[Json], kind: str, lifted: set[Atom]) -> list[Json]:
    return [
        {**item, "whenUnsatisfiable": "ScheduleAnyway"} if (kind, *constraint_id(item)) in lifted else item
        for item in constraints
    ]


def drop_terms(spec: Json, kind: str, gone: set[Atom]) -> None:
    kept = [term for term in terms(spec, kind) if term_id(term) not in gone]
    if (spec.get("affinity") or {}).get(kind):
        spec["affinity"][kind][REQUIRED] = kept

