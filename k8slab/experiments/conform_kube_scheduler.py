"""The suite "kube-scheduler": scenarios recorded from kube-scheduler's own code, in native Kubernetes objects.

Nothing here decides. A scenario's objects become one dump, as kubectl would print it, and go
through Cluster.from_kubernetes and Workload.from_kubernetes; its plug-in arguments become a
KubeSchedulerConfiguration; the policy of that configuration judges the pod on a state of that
cluster. What comes out is written down in the form of what was recorded, and compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from k8slab.errors import InputError
from k8slab.experiments.conformance import Case, Difference, Outcome, raised, records

if TYPE_CHECKING:
    from k8slab.datasets import Cluster, Workload
    from k8slab.domain.columns import NodeColumns
    from k8slab.policies import Evaluation, Policy
    from k8slab.policies.preemption import NoCandidate
    from k8slab.policies.snapshot import Snapshot

# A scenario's lists, and the kind of what they hold.
_KINDS: Final = {
    "nodes": "Node",
    "pods": "Pod",
    "nominatedPods": "Pod",
    "namespaces": "Namespace",
    "services": "Service",
    "replicationControllers": "ReplicationController",
    "replicaSets": "ReplicaSet",
    "statefulSets": "StatefulSet",
    "podDisruptionBudgets": "PodDisruptionBudget",
}
_GROUPS: Final = {"ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "PodDisruptionBudget": "policy/v1"}
_CODES: Final = {1: "Unschedulable", 2: "UnschedulableAndUnresolvable"}
# These inform: the order of nodes changes no decision, and what a PreFilter skips shows in no verdict.
_NOT_COMPARED: Final = (("nodeOrder",), ("preFilter", "skipped"))
_ALL: Final = ""  # the decision as a whole
_SCORE_PARTS: Final = {"raw": "raw scores", "normalized": "normalized scores", "weighted": "weighted scores"}
_NOTHING: Final = "nothing"

Json = dict[str, Any]


class KubeScheduler:
    """Every node's verdict, every score, the tie set, the victims."""

    name = "kube-scheduler"
    noun = "scenario"
    source = "kube-scheduler v1.34.1's own code, default profile and feature gates"
    rule = (
        "A scenario passes only if everything recorded of it is equal, to the digit: for every node the verdict with "
        "plug-in, code and reasons; every plug-in's raw, normalized and weighted score; totals and best nodes; the "
        "event text; and with preemption every candidate, its victims and the choice."
    )
    counting = (
        "A node's verdict counts for the plug-in that refused it first, and for none where it was feasible; a score "
        "for the plug-in that gave it, on each feasible node."
    )
    verdicts = False
    facts: Mapping[str, tuple[str, ...]] = {
        "node verdicts": ("verdicts",),
        "scores": (*_SCORE_PARTS.values(), "totals"),
        "preemptions": ("preemptions",),
        "pods in sequences": ("steps",),
    }

    def cases(self, paths: Iterable[Path]) -> Iterator[Case]:
        """The scenarios of these files. Raises InputError for what is none, with file and line."""
        for where, scenario in records(paths):
            for key, kind in (("id", str), ("category", str), ("expect", dict)):
                if not isinstance(scenario.get(key), kind):
                    raise InputError(f"{where}: no {key!r} in it; wanted a recorded scheduling scenario")
            yield Case(scenario["category"], scenario["id"], scenario, where)

    def judge(self, case: Case) -> Outcome:
        """Compute a scenario's `expect` and compare."""
        expected, error = case.given["expect"], ""
        computed: Json = {}
        try:
            computed = actual(case.given)
            differences = tuple(_differences(expected, computed))
        except KeyboardInterrupt:
            raise
        except Exception as caught:
            differences = (raised(caught),)
            error = differences[0].got
        compared, equal = _agreement(expected, computed)
        return Outcome(not differences, computed, differences, compared, equal, error)


# -- what the library decides --------------------------------------------------


def actual(scenario: Mapping[str, Any]) -> Json:
    """What the library makes of a scenario, in the form of its `expect`, without what only informs."""
    from k8slab.datasets import Cluster
    from k8slab.policies.profile import policy_from_configuration

    cluster = Cluster.from_kubernetes(_dump(scenario))
    profile = {"pluginConfig": scenario.get("pluginConfig") or []}
    policy = policy_from_configuration(
        {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [profile]}
    )
    if "pending" in scenario:
        return {"steps": _steps(cluster, _workload(scenario["pending"]["items"]), policy)}
    return _one_pod(cluster, _workload([scenario["pod"]]), policy, scenario)


def _dump(scenario: Mapping[str, Any]) -> Json:
    """All objects but the pods to schedule, as one List."""
    items = []
    for key, kind in _KINDS.items():
        header = {"apiVersion": _GROUPS.get(kind, "v1"), "kind": kind}
        items += [{**header, **item} for item in (scenario.get(key) or {}).get("items") or []]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _workload(pods: list[Json]) -> Workload:
    from k8slab.datasets import Workload

    return Workload.from_kubernetes({"apiVersion": "v1", "kind": "PodList", "items": pods}, which="given")


def _one_pod(cluster: Cluster, workload: Workload, policy: Policy, scenario: Mapping[str, Any]) -> Json:
    from k8slab.experiments.placement import columns
    from k8slab.policies.plugins import SchedulingGates

    nodes, pods = columns(cluster, workload)
    snapshot = policy.snapshot(nodes, pods)
    evaluation = policy.judge(snapshot, 0)
    if evaluation.gate:
        return {"preEnqueue": {"gated": True, "plugin": SchedulingGates.name, "reasons": [evaluation.gate]}}
    told: Json = {"preEnqueue": {"gated": False}} if scenario["category"] == "gates" else {}
    told |= {"preFilter": _prefilter(evaluation), "filter": _verdicts(evaluation, nodes)}
    told |= _scores(evaluation, nodes) if evaluation.feasible.any() else {"message": evaluation.message()}
    if scenario["category"] == "preemption" or "preempt" in (scenario.get("tags") or []):
        told["preemption"] = _preemption(policy, snapshot, evaluation)
    return told


def _prefilter(evaluation: Evaluation) -> Json:
    found = evaluation.prefilter
    if found is None:
        return {"code": "Success"}
    if found.reason:
        return {"code": _CODES[2], "plugin": found.plugin, "reasons": [found.reason]}
    return {"code": "Success", "nodeNames": sorted(found.names)}


def _verdicts(evaluation: Evaluation, nodes: NodeColumns) -> Json:
    """By node name: feasible, or the first plug-in that refused it and why."""
    return {name: _verdict(evaluation, row) for row, name in enumerate(nodes.names)}


def _verdict(evaluation: Evaluation, row: int) -> Json:
    if evaluation.feasible[row]:
        return {"feasible": True}
    refused = {"feasible": False, "code": _CODES[int(evaluation.code[row])]}
    before = evaluation.prefilter
    if before is not None and (before.reason or before.outside[row]):
        return {**refused, "stage": "PreFilter", "plugin": before.plugin, "reasons": [before.told]}
    first = int(evaluation.refused_by[row])
    reasons = [refusal.reason for index, refusal in evaluation.refusals if index == first and refusal.nodes[row]]
    return {**refused, "stage": "Filter", "plugin": evaluation.filters[first], "reasons": reasons}


def _scores(evaluation: Evaluation, nodes: NodeColumns) -> Json:
    from k8slab.policies.profile import VOLUME_SCORES

    # Without volumes these take no part, but they are in the profile.
    weights = {name: _whole(weight) for name, weight in zip(evaluation.scores, evaluation.weights, strict=True)}
    part = [index for index, took in enumerate(evaluation.took_part) if took]
    skipped = set(weights) - {evaluation.scores[index] for index in part}
    rows = [row for row in range(len(nodes)) if evaluation.feasible[row]]
    most = max(evaluation.total[row] for row in rows)
    return {
        "weights": {**weights, **VOLUME_SCORES},
        "skippedScore": sorted({*skipped, *VOLUME_SCORES}),
        "scores": {nodes.names[row]: _node_scores(evaluation, row, part) for row in rows},
        "best": sorted(nodes.names[row] for row in rows if evaluation.total[row] == most),
    }


def _node_scores(evaluation: Evaluation, row: int, part: list[int]) -> Json:
    plugins = {}
    for index in part:
        raw, normalized = evaluation.raw[index, row], evaluation.normalized[index, row]
        weighted = evaluation.weights[index] * normalized
        numbers = {"raw": raw, "normalized": normalized, "weighted": weighted}
        plugins[evaluation.scores[index]] = {name: _whole(number) for name, number in numbers.items()}
    return {"plugins": plugins, "total": _whole(evaluation.total[row])}


def _whole(number: Any) -> int | float:
    """An int, as recorded; what isn't whole stays as it is, and differs."""
    return int(number) if float(number).is_integer() else float(number)


def _preemption(policy: Policy, snapshot: Snapshot, evaluation: Evaluation) -> Json:
    if evaluation.feasible.any():
        return {"ran": False}
    found, names = policy.preempt(snapshot, 0, evaluation), snapshot.nodes.names
    candidates = {
        names[row]: {"victims": [victim.name for victim in candidate.victims], "numPDBViolations": candidate.violations}
        for row, candidate in (found.candidates or {}).items()
    }
    # The scheduler takes any of the ties; what was recorded takes the first name.
    ties = sorted(names[row] for row in found.ties)
    told = {
        "ran": True,
        "code": found.code,
        "nominatedNode": ties[0] if ties else "",
        "nominatedTies": ties,
        "victims": candidates[ties[0]]["victims"] if ties else [],
        "candidates": candidates,
    }
    if found.message:
        # DynamicResources' PostFilter speaks first; without claims it has nothing to offer.
        told["message"] = f"no new claims to deallocate, {found.message}"
    if found.refused:
        told["nonCandidates"] = {names[row]: _no_candidate(outcome) for row, outcome in found.refused.items()}
    return told


def _no_candidate(outcome: NoCandidate) -> Json:
    plugin = {"plugin": outcome.plugin} if outcome.plugin else {}
    return {"feasible": False, "code": outcome.code, **plugin, "reasons": list(outcome.reasons)}


def _steps(cluster: Cluster, workload: Workload, policy: Policy) -> list[Json]:
    """One pod after another, each bound to the first name of its best nodes."""
    schema = cluster.schema.union(workload.schema)
    state, pods = cluster.new_state(schema), workload.columns(schema)
    steps = []
    for row, name in enumerate(workload.names):
        nodes = state.node_columns()
        evaluation = policy.evaluate(nodes, pods, row)
        if not evaluation.feasible.any():
            steps.append({"pod": name, "feasible": 0, "message": evaluation.message()})
            continue
        totals = evaluation.total[evaluation.feasible]
        best = sorted(_best(evaluation, nodes))
        steps.append(
            {
                "pod": name,
                "feasible": len(totals),
                "bestTotal": _whole(totals.max()),
                "sumTotals": _whole(totals.sum()),
                "best": best,
                "chosen": best[0],
            }
        )
        state.bind(workload.take([row]).add_to(state), state.node_row(best[0]), force=True)
    return steps


def _best(evaluation: Evaluation, nodes: NodeColumns) -> list[str]:
    most = evaluation.total[evaluation.feasible].max()
    return [
        name
        for row, name in enumerate(nodes.names)
        if evaluation.feasible[row] and evaluation.total[row] == most
    ]


# -- comparing -----------------------------------------------------------------


def _differences(expected: Any, got: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Everything that is not equal in value and type, with what is missing on either side."""
    if path in _NOT_COMPARED:
        return
    if path == ("steps",) and isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        expected, got = ({str(number): step for number, step in enumerate(steps)} for steps in (expected, got))
    if _is_a_verdict(path) or not (isinstance(expected, dict) and isinstance(got, dict)):
        if not _same(expected, got):
            yield _difference(path, expected, got)
        return
    for key in sorted({*expected, *got}):
        yield from _differences(expected.get(key, _Missing), got.get(key, _Missing), (*path, key))


class _Missing:
    """Stands where one side has nothing."""


def _is_a_verdict(path: tuple[str, ...]) -> bool:
    """A node's verdict is told as a whole."""
    return len(path) == 2 and path[0] == "filter"


def _same(a: Any, b: Any) -> bool:
    """Equal in type as well: True is not 1, and 3.0 is not 3."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _difference(path: tuple[str, ...], expected: Any, got: Any) -> Difference:
    node, where = "", list(path)
    plugin = {"preemption": "DefaultPreemption", "preEnqueue": "SchedulingGates"}.get(path[0], "")
    if len(path) > 1 and path[0] in ("filter", "scores"):
        node = where.pop(1)
    elif len(path) > 2 and path[1] in ("candidates", "nonCandidates"):
        node = where.pop(2)
    if where[:2] == ["scores", "plugins"] and len(where) > 2:
        plugin = where.pop(2)
        where.remove("plugins")
    for side in (expected, got):
        if isinstance(side, dict):
            plugin = plugin or str(side.get("plugin") or "")
    return Difference("/".join(where), _text(expected), _text(got), node, plugin)


def _text(value: Any) -> str:
    return _NOTHING if value is _Missing else json.dumps(value, sort_keys=True)


def _agreement(expected: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[Counter[Any], Counter[Any]]:
    """By (plug-in, kind): how many decisions and scores were recorded, and how many of them came out equal."""
    compared: Counter[tuple[str, str]] = Counter()
    equal: Counter[tuple[str, str]] = Counter()

    def count(name: str, kind: str, *path: Any) -> None:
        compared[name, kind] += 1
        equal[name, kind] += _same(_at(expected, path), _at(got, path))

    for node, verdict in expected.get("filter", {}).items():
        count(verdict.get("plugin", "none: feasible"), "verdicts", "filter", node)
    for node, entry in expected.get("scores", {}).items():
        for plugin in entry["plugins"]:
            for part, kind in _SCORE_PARTS.items():
                count(plugin, kind, "scores", node, "plugins", plugin, part)
        count(_ALL, "totals", "scores", node, "total")
    for key, name, kind in (
        ("preEnqueue", "SchedulingGates", "gates"),
        ("message", _ALL, "event texts"),
        ("skippedScore", _ALL, "sets of skipped scores"),
        ("best", _ALL, "sets of best nodes"),
    ):
        if key in expected:
            count(name, kind, key)
    if expected.get("preemption", {}).get("ran"):
        count("DefaultPreemption", "preemptions", "preemption")
    for part, kind in (("candidates", "candidates"), ("nonCandidates", "nodes without victims")):
        for node in expected.get("preemption", {}).get(part, {}):
            count("DefaultPreemption", kind, "preemption", part, node)
    for number in range(len(expected.get("steps", ()))):
        count(_ALL, "steps", "steps", number)
    return compared, equal


def _at(value: Any, path: Iterable[Any]) -> Any:
    for key in path:
        if isinstance(value, list):
            value = value[key] if isinstance(key, int) and key < len(value) else _Missing
        else:
            value = value.get(key, _Missing) if isinstance(value, dict) else _Missing
    return value
