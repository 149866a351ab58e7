"""A scenario's `expect`, computed: one pod's whole cycle, or a sequence of pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.kube.filters import NodeAffinity, Plugin, check, prepare
from tests.kube.objects import UNRESOLVABLE, Cluster, Node, Object, Pod, Status
from tests.kube.preemption import fit_message, preempt
from tests.kube.scores import SCORES

Expectation = dict[str, Any]


def expectation(scenario: Object) -> Expectation:
    """What kube-scheduler would have been seen to do, without `nodeOrder` and `preFilter.skipped`."""
    cluster = Cluster(scenario)
    if "pending" in scenario:
        return {"steps": [step(cluster, Pod(obj)) for obj in scenario["pending"]["items"]]}
    pod, out = Pod(scenario["pod"]), {}
    gates = [gate["name"] for gate in pod.spec.get("schedulingGates") or []]
    if gates:
        reason = f"waiting for scheduling gates: [{' '.join(gates)}]"
        return {"preEnqueue": {"gated": True, "plugin": "SchedulingGates", "reasons": [reason]}}
    if scenario["category"] == "gates":
        out["preEnqueue"] = {"gated": False}
    out |= cycle(cluster, pod)
    if scenario["category"] == "preemption" or "preempt" in (scenario.get("tags") or []):
        out["preemption"] = preemption(cluster, pod)
    return out


Search = Callable[[list[Node], set[str]], list[Node]]


def cycle(cluster: Cluster, pod: Pod, search: Search = lambda nodes, will_do: nodes) -> Expectation:
    """Filter all nodes and score those that will do. search : the nodes that it comes to."""
    plugins = prepare(cluster, pod)
    prefilter, rejected = turned_down(cluster, plugins, pod)
    out: Expectation = {"preFilter": prefilter, "filter": {}}
    for node in cluster.nodes:
        out["filter"][node.name] = {"feasible": True}
        if node.name in rejected:
            stage, status = rejected[node.name]
            out["filter"][node.name] = {"feasible": False, "stage": stage, **status._asdict()}
    names = prefilter.get("nodeNames")
    among = [node for node in cluster.nodes if names is None or node.name in names]
    come_to = search(among, {node.name for node in among} - set(rejected))
    feasible = [node for node in cluster.nodes if node in come_to and node.name not in rejected]
    if not feasible:
        reasons = [reason for _, status in rejected.values() for reason in status.reasons]
        out["message"] = fit_message(len(cluster.nodes), reasons, ", ".join(prefilter.get("reasons", [])))
        return out
    scored = {name: score(cluster, pod, feasible) for name, (_, score) in SCORES.items()}
    out["weights"] = {name: weight for name, (weight, _) in SCORES.items()}
    out["skippedScore"] = sorted(name for name, scores in scored.items() if scores is None)
    out["scores"] = {}
    for i, node in enumerate(feasible):
        parts = {}
        for name, scores in scored.items():
            if scores is not None:
                raw, normalized = scores[0][i], scores[1][i]
                parts[name] = {"raw": raw, "normalized": normalized, "weighted": normalized * SCORES[name][0]}
        total = sum(part["weighted"] for part in parts.values())
        out["scores"][node.name] = {"plugins": parts, "total": total}
    most = max(entry["total"] for entry in out["scores"].values())
    out["best"] = sorted(name for name, entry in out["scores"].items() if entry["total"] == most)
    return out


def turned_down(cluster: Cluster, plugins: list[Plugin], pod: Pod) -> tuple[Expectation, dict[str, tuple[str, Status]]]:
    """PreFilter's verdict, and the stage and reason for each node that will not do."""
    names = NodeAffinity(cluster, pod).narrowed()
    if names is not None and not names:
        status = Status(UNRESOLVABLE, "NodeAffinity", ["pod affinity terms conflict"])
        return status._asdict(), {node.name: ("PreFilter", status) for node in cluster.nodes}
    outside = Status(UNRESOLVABLE, "NodeAffinity", ["node(s) didn't satisfy plugin(s) [NodeAffinity]"])
    rejected = {}
    for node in cluster.nodes:
        if names is not None and node.name not in names:
            rejected[node.name] = ("PreFilter", outside)
            continue
        status = check(cluster, plugins, pod, node)
        if status is not None:
            rejected[node.name] = ("Filter", status)
    prefilter: Expectation = {"code": "Success"}
    if names is not None:
        prefilter["nodeNames"] = sorted(names)
    return prefilter, rejected


def preemption(cluster: Cluster, pod: Pod, limit: tuple[int, int] = (100, 0)) -> Expectation:
    """PostFilter: only when no node will do (§5)."""
    plugins = prepare(cluster, pod)
    _, rejected = turned_down(cluster, plugins, pod)
    if len(rejected) < len(cluster.nodes):
        return {"ran": False}
    return preempt(cluster, plugins, pod, {name: status for name, (_, status) in rejected.items()}, limit)


def step(cluster: Cluster, pod: Pod, search: Search = lambda nodes, will_do: nodes) -> Expectation:
    """One pod of a sequence, bound to the first name of the best."""
    result = cycle(cluster, pod, search)
    if "message" in result:
        return {"pod": pod.key, "feasible": 0, "message": result["message"]}
    totals = [entry["total"] for entry in result["scores"].values()]
    chosen = result["best"][0]
    for node in cluster.nodes:
        if node.name == chosen:
            node.add(pod)
    return {
        "pod": pod.key,
        "feasible": len(totals),
        "bestTotal": max(totals),
        "sumTotals": sum(totals),
        "best": result["best"],
        "chosen": chosen,
    }


def placed_in_turn(cluster: Cluster, pods: list[Pod], limit: tuple[int, int]) -> list[tuple[str, list[str]]]:
    """(node or "", who had to go) of each pod of a sequence, where victims leave at once."""
    told = []
    for pod in pods:
        chosen, victims = step(cluster, pod).get("chosen", ""), []
        if not chosen:
            found = preemption(cluster, pod, limit)
            chosen, victims = found["nominatedNode"], found["victims"]
            for node in cluster.nodes:
                if node.name == chosen:
                    for other in [other for other in node.pods if other.key in victims]:
                        node.remove(other)
                    node.add(pod)
        told.append((chosen, victims))
    return told


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Where two expectations are not equal. `nodeOrder` and `preFilter.skipped` inform only."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(set(expected) | set(actual)):
            here = f"{path}/{key}"
            if here not in ("/nodeOrder", "/preFilter/skipped"):
                yield from differences(expected.get(key, "nothing"), actual.get(key, "nothing"), here)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for i, (a, b) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(a, b, f"{path}/{i}")
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{path}: expected {expected!r}, got {actual!r}"
