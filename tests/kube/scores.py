"""The plug-ins that score the nodes that will do (§4). Each gives raw and normalised scores, None if it is skipped."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise

from tests.kube.filters import (
    HOSTNAME,
    preferred_terms,
    required_terms,
    spread_constraints,
    uses_list_defaulting,
)
from tests.kube.objects import (
    PREFERRED,
    Cluster,
    Node,
    Object,
    Pod,
    divide,
    int64,
    is_scalar,
    node_term_matches,
    round_half_away,
    untolerated,
)

Scores = tuple[list[int], list[int]]
MIB = 1024 * 1024
CPU_MEMORY = [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]


def as_they_are(raw: list[int]) -> Scores:
    return raw, raw


def taint_toleration(cluster: Cluster, pod: Pod, nodes: list[Node]) -> Scores:
    """Fewer PreferNoSchedule taints are better."""
    soft = [t for t in pod.tolerations if (t.get("effect") or "") in ("", "PreferNoSchedule")]
    raw = [len(untolerated(node.taints, soft, ("PreferNoSchedule",))) for node in nodes]
    most = max(raw)
    return raw, [100 - divide(100 * r, most) if most else 100 for r in raw]


def node_affinity(cluster: Cluster, pod: Pod, nodes: list[Node]) -> Scores | None:
    added = (cluster.args("NodeAffinity").get("addedAffinity") or {}).get(PREFERRED) or []
    terms = [*pod.preferred_node_affinity, *added]
    if not terms:
        return None
    raw = [sum(t["weight"] for t in terms if node_term_matches(t["preference"], node)) for node in nodes]
    most = max(raw)
    return raw, [divide(100 * r, most) if most else r for r in raw]


# -- resources -------------------------------------------------------------------


def resources_of(args: Object | None) -> list[tuple[str, int]]:
    """Names and weights; a weight that is 0 or missing is 1."""
    return [(entry["name"], entry.get("weight") or 1) for entry in (args or {}).get("resources") or CPU_MEMORY]


def node_resources_fit(cluster: Cluster, pod: Pod, nodes: list[Node]) -> Scores:
    strategy = cluster.args("NodeResourcesFit").get("scoringStrategy") or {}
    kind = strategy.get("type") or "LeastAllocated"
    return as_they_are([fit_score(pod, node, kind, strategy) for node in nodes])


def fit_score(pod: Pod, node: Node, kind: str, strategy: Object) -> int:
    total = weights = 0
    for name, weight in resources_of(strategy):
        request, allocatable = pod.fit_score_request.get(name, 0), node.allocatable.get(name, 0)
        if allocatable == 0 or (is_scalar(name) and request == 0):
            continue
        there = node.nonzero_requested(name) if name in ("cpu", "memory") else node.requested(name)
        requested = int64(there + request)
        if kind == "LeastAllocated":
            score = 0 if requested > allocatable else divide(int64((allocatable - requested) * 100), allocatable)
        elif kind == "MostAllocated":
            score = divide(int64(min(requested, allocatable) * 100), allocatable)
        else:
            score = shape_score(requested, allocatable, strategy["requestedToCapacityRatio"]["shape"])
            if score <= 0:
                continue  # counts neither in the sum nor in the weights
        total = int64(total + score * weight)
        weights += weight
    if not weights:
        return 0
    if kind == "RequestedToCapacityRatio":
        return round_half_away(float(total) / float(weights))
    return divide(total, weights)


def shape_score(requested: int, allocatable: int, shape: list[Object]) -> int:
    """The broken line through the shape's points; its scores go to 10."""
    x = 100 if requested > allocatable else divide(int64(requested * 100), allocatable)
    points = [(p["utilization"], 10 * p["score"]) for p in shape]
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + divide((y1 - y0) * (x - x0), x1 - x0)
    return points[-1][1]


def balanced_allocation(cluster: Cluster, pod: Pod, nodes: list[Node]) -> Scores | None:
    resources = resources_of(cluster.args("NodeResourcesBalancedAllocation"))
    if not any(pod.requested.get(name, 0) for name, _ in resources):
        return None
    return as_they_are([balance(pod, node, [name for name, _ in resources]) for node in nodes])


def balance(pod: Pod, node: Node, names: list[str]) -> int:
    fractions = []
    for name in names:
        request, allocatable = pod.requested.get(name, 0), node.allocatable.get(name, 0)
        if allocatable and not (is_scalar(name) and request == 0):
            fractions.append(min(1.0, float(int64(node.requested(name) + request)) / float(allocatable)))
    deviation = 0.0
    if len(fractions) == 2:
        deviation = abs((fractions[0] - fractions[1]) / 2)
    elif len(fractions) > 2:
        total = squares = 0.0  # `sum` adds floats more exactly than Go from Python 3.12 on
        for fraction in fractions:
            total += fraction
        mean = total / len(fractions)
        for fraction in fractions:
            squares += (fraction - mean) * (fraction - mean)
        deviation = math.sqrt(squares / len(fractions))
    return math.trunc((1 - deviation) * 100.0)


# -- images ----------------------------------------------------------------------


def image_locality(cluster: Cluster, pod: Pod, nodes: list[Node]) -> Scores:
    containers = [*pod.init_containers, *pod.containers]
    names = [image_name(container.get("image") or "") for container in containers]
    low, high = 23 * MIB, 1000 * MIB * len(containers)
    raw = []
    for node in nodes:
        local = {name for image in node.images for name in image.get("names") or []}
        total = sum(spread_size(cluster, name) for name in names if name in local)
        raw.append(divide(100 * (max(low, min(total, high)) - low), high - low))
    return as_they_are(raw)


def image_name(name: str) -> str:
    """With a tag. A digest has a colon of its own after the last slash."""
    return name if name.rfind(":") > name.rfind("/") else name + ":latest"


def spread_size(cluster: Cluster, name: str) -> int:
    """An image's size, less where few nodes have it; the first node that has it says the size."""
    sizes = []
    for node in cluster.nodes:
        here = [image.get("sizeBytes") or 0 for image in node.images if name in (image.get("names") or [])]
        sizes += here[:1]
    return math.trunc(float(sizes[0]) * (float(len(sizes)) / float(len(cluster.nodes))))


# -- topology spread -------------------------------------------------------------


def pod_topology_spread(cluster: Cluster, pod: Pod, nodes: list[Node]) -> Scores | None:
    constraints = spread_constraints(cluster, pod, "ScheduleAnyway")
    if not constraints:
        return None
    own = bool(pod.spec.get("topologySpreadConstraints"))
    require_all = own or uses_list_defaulting(cluster)

    def usable(node: Node) -> bool:
        return not require_all or all(constraint.key in node.labels for constraint in constraints)

    candidates = [node for node in nodes if usable(node)]  # the others are "ignored"
    sums = {node.name: 0.0 for node in candidates}
    for constraint in constraints:
        if constraint.key == HOSTNAME:
            size = len(candidates)
        else:
            # A node without the key brings the value "", where keys are not required.
            counts = {node.labels.get(constraint.key, ""): 0 for node in candidates}
            size = len(counts)
            for node in cluster.nodes:
                value = node.labels.get(constraint.key, "")
                if value in counts and usable(node) and constraint.includes(node):
                    counts[value] += constraint.count(node)
        weight = math.log(size + 2)
        for node in candidates:
            if constraint.key in node.labels:
                own_count = constraint.key == HOSTNAME
                count = constraint.count(node) if own_count else counts[node.labels[constraint.key]]
                sums[node.name] += float(count) * weight + float(constraint.max_skew - 1)
    rounded = {name: round_half_away(total) for name, total in sums.items()}
    least, most = min(rounded.values(), default=0), max(rounded.values(), default=0)
    normalized = {name: divide(100 * (most + least - r), most) if most else 100 for name, r in rounded.items()}
    return [rounded.get(node.name, 0) for node in nodes], [normalized.get(node.name, 0) for node in nodes]


# -- affinity to pods ------------------------------------------------------------


def inter_pod_affinity(cluster: Cluster, pod: Pod, nodes: list[Node]) -> Scores | None:
    args = cluster.args("InterPodAffinity")
    hard_weight = args.get("hardPodAffinityWeight", 1)
    wanted = [term.resolved(cluster) for term in preferred_terms(pod, "podAffinity")]
    unwanted = [term.resolved(cluster) for term in preferred_terms(pod, "podAntiAffinity")]
    if args.get("ignorePreferredTermsOfExistingPods") and not (wanted or unwanted):
        return None
    namespace_labels = cluster.namespace_labels(pod.namespace)
    amounts: dict[tuple[str, str], int] = defaultdict(int)
    for node in cluster.nodes:
        for other in node.pods:
            # Without preferences of its own only pods with affinities matter: the others add nothing then.
            for terms, sign in ((wanted, 1), (unwanted, -1)):
                for term in terms:
                    if term.key in node.labels and term.matches(other, {}):
                        amounts[term.key, node.labels[term.key]] += sign * term.weight
            theirs = [(term, hard_weight) for term in required_terms(other, "podAffinity") if hard_weight > 0]
            theirs += [(term, term.weight) for term in preferred_terms(other, "podAffinity")]
            theirs += [(term, -term.weight) for term in preferred_terms(other, "podAntiAffinity")]
            for term, weight in theirs:
                if term.key in node.labels and term.matches(pod, namespace_labels):
                    amounts[term.key, node.labels[term.key]] += weight
    if not amounts:
        return None
    raw = [sum(amounts.get(pair, 0) for pair in node.labels.items()) for node in nodes]
    least, most = min(raw), max(raw)
    if most == least:
        return raw, [0 for _ in raw]
    return raw, [math.trunc(100.0 * (float(r - least) / float(most - least))) for r in raw]


# §2's weights. Without volumes VolumeBinding is skipped always.
SCORES = {
    "TaintToleration": (3, taint_toleration),
    "NodeAffinity": (2, node_affinity),
    "PodTopologySpread": (2, pod_topology_spread),
    "InterPodAffinity": (2, inter_pod_affinity),
    "NodeResourcesFit": (1, node_resources_fit),
    "NodeResourcesBalancedAllocation": (1, balanced_allocation),
    "ImageLocality": (1, image_locality),
    "VolumeBinding": (1, lambda cluster, pod, nodes: None),
}
