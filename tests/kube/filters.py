"""The plug-ins that turn nodes down (§2, §4), each made for one pod and asked for one node at a time.

A plug-in's constructor is its PreFilter: it counts over all nodes what it needs. `filter(node)`
is its Filter, None if the node will do. `update(pod, node, by)` tells it that a pod came to or
went from a node meanwhile, as nominated pods and preemption do.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter

from tests.kube.objects import (
    PREFERRED,
    REQUIRED,
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Cluster,
    Node,
    Object,
    Pod,
    Status,
    is_extended,
    node_selector_matches,
    requirements,
    selector_matches,
    tolerates,
    untolerated,
)

HARD_EFFECTS = ("NoSchedule", "NoExecute")
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


class Plugin(ABC):
    def __init__(self, cluster: Cluster, pod: Pod) -> None:
        self.cluster, self.pod = cluster, pod

    @property
    def name(self) -> str:
        return type(self).__name__

    def skipped(self) -> bool:
        """Nothing to check for this pod, whatever happens later."""
        return False

    @abstractmethod
    def filter(self, node: Node) -> Status | None:
        """Why the node won't do, None if it will."""

    def update(self, pod: Pod, node: Node, by: int) -> None:  # noqa: B027  (most need not know)
        """A pod came (+1) or went (-1). Most plug-ins look at the node itself."""

    def copy(self) -> Plugin:
        return copy.copy(self)

    def resolvable(self, *reasons: str) -> Status:
        """Preemption might help."""
        return Status(UNSCHEDULABLE, self.name, list(reasons))

    def final(self, *reasons: str) -> Status:
        """Preemption cannot help."""
        return Status(UNRESOLVABLE, self.name, list(reasons))


class NodeUnschedulable(Plugin):
    def filter(self, node: Node) -> Status | None:
        taint = {"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"}
        if node.unschedulable and not any(tolerates(t, taint) for t in self.pod.tolerations):
            return self.final("node(s) were unschedulable")
        return None


class NodeName(Plugin):
    def filter(self, node: Node) -> Status | None:
        if self.pod.spec.get("nodeName") and self.pod.spec["nodeName"] != node.name:
            return self.final("node(s) didn't match the requested node name")
        return None


class TaintToleration(Plugin):
    def filter(self, node: Node) -> Status | None:
        for taint in untolerated(node.taints, self.pod.tolerations, HARD_EFFECTS):
            return self.final(f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}")
        return None


class NodeAffinity(Plugin):
    def __init__(self, cluster: Cluster, pod: Pod) -> None:
        super().__init__(cluster, pod)
        self.added = (cluster.args(self.name).get("addedAffinity") or {}).get(REQUIRED)

    def skipped(self) -> bool:
        asks = self.added or self.pod.spec.get("nodeSelector") or self.pod.required_node_affinity is not None
        return not asks

    def filter(self, node: Node) -> Status | None:
        if not node_selector_matches(self.added, node):
            return self.final("node(s) didn't match scheduler-enforced node affinity")
        if not self.pod.may_run_on(node):
            return self.final("node(s) didn't match Pod's node affinity/selector")
        return None

    def narrowed(self) -> set[str] | None:
        """The node names that the required terms leave, None for all: each term must name some."""
        names: set[str] = set()
        terms = (self.pod.required_node_affinity or {}).get("nodeSelectorTerms") or []
        for term in terms:
            fields = term.get("matchFields") or []
            listed = [set(f["values"]) for f in fields if (f["key"], f["operator"]) == ("metadata.name", "In")]
            if not listed:
                return None
            names |= set.intersection(*listed)
        return names if terms else None


class NodePorts(Plugin):
    def skipped(self) -> bool:
        return not self.pod.host_ports

    def filter(self, node: Node) -> Status | None:
        for ip, protocol, port in self.pod.host_ports:
            for other_ip, other_protocol, other_port in node.used_ports:
                same_ip = ip == other_ip or "0.0.0.0" in (ip, other_ip)
                if same_ip and (protocol, port) == (other_protocol, other_port):
                    return self.resolvable("node(s) didn't have free ports for the requested pod ports")
        return None


class NodeResourcesFit(Plugin):
    def filter(self, node: Node) -> Status | None:
        request, reasons, hopeless = self.pod.filter_request, [], False
        if len(node.pods) + 1 > node.allowed_pods:
            reasons.append("Too many pods")
        for name in self.checked(request):
            allocatable = node.allocatable.get(name, 0)
            # An over-committed node still takes a pod that asks for none of the scarce resource.
            if request[name] and request[name] > allocatable - node.requested(name):
                reasons.append(f"Insufficient {name}")
                hopeless = hopeless or request[name] > allocatable
        if not reasons:
            return None
        return self.final(*reasons) if hopeless else self.resolvable(*reasons)

    def checked(self, request: Object) -> list[str]:
        native = ["cpu", "memory", "ephemeral-storage"]
        scalars = sorted(name for name in request if name not in native and not self.ignored(name))
        return [name for name in native if name in request] + scalars

    def ignored(self, name: str) -> bool:
        args = self.cluster.args(self.name)
        groups, names = args.get("ignoredResourceGroups") or [], args.get("ignoredResources") or []
        return is_extended(name) and (name in names or name.split("/")[0] in groups)


# -- topology spread -------------------------------------------------------------


class Constraint:
    """One topology spread constraint, defaults filled in and matchLabelKeys folded into its selector."""

    def __init__(self, obj: Object, pod: Pod, selector: Object | None) -> None:
        self.pod = pod
        self.key: str = obj["topologyKey"]
        self.max_skew: int = obj["maxSkew"]
        self.when: str = obj["whenUnsatisfiable"]
        self.min_domains: int = obj.get("minDomains") or 1
        self.honor_affinity = (obj.get("nodeAffinityPolicy") or "Honor") == "Honor"
        self.honor_taints = (obj.get("nodeTaintsPolicy") or "Ignore") == "Honor"
        self.selector = selector
        if selector is not None:
            keys = [key for key in obj.get("matchLabelKeys") or [] if key in pod.labels]
            folded = [{"key": key, "operator": "In", "values": [pod.labels[key]]} for key in keys]
            self.selector = {"matchExpressions": requirements(selector) + folded}

    def includes(self, node: Node) -> bool:
        if self.honor_affinity and not self.pod.may_run_on(node):
            return False
        return not (self.honor_taints and untolerated(node.taints, self.pod.tolerations, HARD_EFFECTS))

    def matches(self, pod: Pod) -> bool:
        return pod.namespace == self.pod.namespace and selector_matches(self.selector, pod.labels)

    def count(self, node: Node) -> int:
        """Matching pods on a node. The slip of v1.34: a selector that matches all counts none."""
        if self.selector is None or not requirements(self.selector):
            return 0
        return sum(not pod.terminating and self.matches(pod) for pod in node.pods)


def spread_constraints(cluster: Cluster, pod: Pod, when: str) -> list[Constraint]:
    """The pod's own constraints; if it has none of any kind, the defaults."""
    own = pod.spec.get("topologySpreadConstraints") or []
    if own:
        found = [Constraint(obj, pod, obj.get("labelSelector")) for obj in own]
    else:
        selector = default_selector(cluster, pod)
        found = [Constraint(obj, pod, selector) for obj in default_constraints(cluster) if requirements(selector)]
    return [constraint for constraint in found if constraint.when == when]


def uses_list_defaulting(cluster: Cluster) -> bool:
    return cluster.args("PodTopologySpread").get("defaultingType") == "List"


def default_constraints(cluster: Cluster) -> list[Object]:
    if uses_list_defaulting(cluster):
        return cluster.args("PodTopologySpread").get("defaultConstraints") or []
    return [
        {"topologyKey": HOSTNAME, "maxSkew": 3, "whenUnsatisfiable": "ScheduleAnyway"},
        {"topologyKey": ZONE, "maxSkew": 5, "whenUnsatisfiable": "ScheduleAnyway"},
    ]


def default_selector(cluster: Cluster, pod: Pod) -> Object:
    """The selectors of the services that select the pod, AND that of the controller that owns it."""
    labels: dict[str, str] = {}
    for service in cluster.services:
        wanted = service["spec"].get("selector")
        here = (service["metadata"].get("namespace") or "default") == pod.namespace
        if here and wanted is not None and all(pod.labels.get(k) == v for k, v in wanted.items()):
            labels.update(wanted)
    expressions = []
    for owner in pod.metadata.get("ownerReferences") or []:
        if not owner.get("controller"):
            continue
        for obj in cluster.controllers.get((owner["apiVersion"], owner["kind"]), []):
            if (obj["metadata"].get("namespace") or "default", obj["metadata"]["name"]) == (
                pod.namespace,
                owner["name"],
            ):
                selector = obj["spec"].get("selector") or {}
                if owner["kind"] == "ReplicationController":
                    labels.update(selector)  # a plain map, as a service's
                else:
                    expressions += requirements(selector)
        break  # a pod has one controller
    return {"matchLabels": labels, "matchExpressions": expressions}


class PodTopologySpread(Plugin):
    def __init__(self, cluster: Cluster, pod: Pod) -> None:
        super().__init__(cluster, pod)
        self.constraints = spread_constraints(cluster, pod, "DoNotSchedule")
        self.counts: list[Counter[str]] = [Counter() for _ in self.constraints]
        # All nodes that have the keys define values: cordoned and full ones too.
        for node in cluster.nodes:
            for constraint, counts in self.countable(node):
                counts[node.labels[constraint.key]] += constraint.count(node)

    def countable(self, node: Node) -> list[tuple[Constraint, Counter[str]]]:
        """The constraints for which this node counts."""
        if any(constraint.key not in node.labels for constraint in self.constraints):
            return []
        return [(c, n) for c, n in zip(self.constraints, self.counts, strict=True) if c.includes(node)]

    def skipped(self) -> bool:
        return not self.constraints

    def filter(self, node: Node) -> Status | None:
        problem = "node(s) didn't match pod topology spread constraints"
        for constraint, counts in zip(self.constraints, self.counts, strict=True):
            if constraint.key not in node.labels:
                return self.final(f"{problem} (missing required label)")
            least = min(counts.values(), default=2**31 - 1)
            if len(counts) < constraint.min_domains:
                least = 0
            itself = int(selector_matches(constraint.selector, self.pod.labels))
            if counts.get(node.labels[constraint.key], 0) + itself - least > constraint.max_skew:
                return self.resolvable(problem)
        return None

    def update(self, pod: Pod, node: Node, by: int) -> None:
        # Doesn't ask whether the pod terminates or whether the selector is empty (§5): a pod
        # that was never counted lowers the count when it goes.
        for constraint, counts in self.countable(node):
            if constraint.matches(pod):
                counts[node.labels[constraint.key]] += by

    def copy(self) -> Plugin:
        twin = copy.copy(self)
        twin.counts = [Counter(counts) for counts in self.counts]
        return twin


# -- affinity to pods ------------------------------------------------------------


class Term:
    """One pod (anti-)affinity term of a pod, with its weight if it is only preferred."""

    def __init__(self, owner: Pod, obj: Object, weight: int = 0) -> None:
        self.key: str = obj["topologyKey"]
        self.weight = weight
        self.selector: Object | None = obj.get("labelSelector")
        self.namespace_selector: Object | None = obj.get("namespaceSelector")
        self.namespaces = set(obj.get("namespaces") or [])
        if not self.namespaces and self.namespace_selector is None:
            self.namespaces = {owner.namespace}

    def resolved(self, cluster: Cluster) -> Term:
        """The term of an incoming pod: its namespace selector becomes names of known namespaces."""
        twin = copy.copy(self)
        if self.namespace_selector and requirements(self.namespace_selector):
            for name, labels in cluster.namespaces.items():
                if selector_matches(self.namespace_selector, labels):
                    twin.namespaces = twin.namespaces | {name}
        return twin

    def matches(self, pod: Pod, namespace_labels: Object) -> bool:
        """namespace_labels: those of the pod's namespace, for existing pods' terms. The slip of v1.34:
        for the incoming pod's terms they are empty, and the selector is tried all the same.
        """
        there = pod.namespace in self.namespaces or selector_matches(self.namespace_selector, namespace_labels)
        return there and selector_matches(self.selector, pod.labels)


def required_terms(pod: Pod, kind: str) -> list[Term]:
    return [Term(pod, obj) for obj in pod.pod_terms(kind, REQUIRED)]


def preferred_terms(pod: Pod, kind: str) -> list[Term]:
    return [Term(pod, obj["podAffinityTerm"], obj["weight"]) for obj in pod.pod_terms(kind, PREFERRED)]


class InterPodAffinity(Plugin):
    def __init__(self, cluster: Cluster, pod: Pod) -> None:
        super().__init__(cluster, pod)
        self.affinity = [term.resolved(cluster) for term in required_terms(pod, "podAffinity")]
        self.anti_affinity = [term.resolved(cluster) for term in required_terms(pod, "podAntiAffinity")]
        # E, A and N of §4: matches per (key, value).
        self.existing: Counter[tuple[str, str]] = Counter()
        self.wanted: Counter[tuple[str, str]] = Counter()
        self.unwanted: Counter[tuple[str, str]] = Counter()
        for node in cluster.nodes:
            for other in node.pods:
                self.update(other, node, 1)

    def update(self, pod: Pod, node: Node, by: int) -> None:
        namespace_labels = self.cluster.namespace_labels(self.pod.namespace)
        for term in required_terms(pod, "podAntiAffinity"):
            if term.matches(self.pod, namespace_labels):
                self.count(self.existing, term, node, by)
        if self.affinity and all(term.matches(pod, {}) for term in self.affinity):
            for term in self.affinity:
                self.count(self.wanted, term, node, by)
        for term in self.anti_affinity:
            if term.matches(pod, {}):
                self.count(self.unwanted, term, node, by)

    @staticmethod
    def count(counts: Counter[tuple[str, str]], term: Term, node: Node, by: int) -> None:
        if term.key in node.labels:
            pair = (term.key, node.labels[term.key])
            counts[pair] += by
            if not counts[pair]:
                del counts[pair]  # so that "empty" means no match anywhere

    def skipped(self) -> bool:
        return not (self.existing or self.affinity or self.anti_affinity)

    def filter(self, node: Node) -> Status | None:
        if not self.affinity_satisfied(node):
            return self.final("node(s) didn't match pod affinity rules")
        here = [(term.key, node.labels[term.key]) for term in self.anti_affinity if term.key in node.labels]
        if any(self.unwanted[pair] > 0 for pair in here):
            return self.resolvable("node(s) didn't match pod anti-affinity rules")
        if any(self.existing[pair] > 0 for pair in node.labels.items()):
            return self.resolvable("node(s) didn't satisfy existing pods anti-affinity rules")
        return None

    def affinity_satisfied(self, node: Node) -> bool:
        if any(term.key not in node.labels for term in self.affinity):
            return False
        if all(self.wanted[term.key, node.labels[term.key]] > 0 for term in self.affinity):
            return True
        # The first of a group that wants its own company may go anywhere.
        return not self.wanted and all(term.matches(self.pod, {}) for term in self.affinity)

    def copy(self) -> Plugin:
        twin = copy.copy(self)
        twin.existing, twin.wanted = Counter(self.existing), Counter(self.wanted)
        twin.unwanted = Counter(self.unwanted)
        return twin


# -- all together ----------------------------------------------------------------

# §2's order, without the plug-ins for volumes and claims.
FILTERS: list[type[Plugin]] = [
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
]


def prepare(cluster: Cluster, pod: Pod) -> list[Plugin]:
    """PreFilter of all: what is skipped stays out, and nominated pods cannot wake it up (§2)."""
    return [plugin for plugin in (make(cluster, pod) for make in FILTERS) if not plugin.skipped()]


def first_failure(plugins: list[Plugin], node: Node) -> Status | None:
    for plugin in plugins:
        status = plugin.filter(node)
        if status is not None:
            return status
    return None


def check(cluster: Cluster, plugins: list[Plugin], pod: Pod, node: Node) -> Status | None:
    """All filters, first with the pods that are nominated to the node, then without; both must pass (§2)."""
    nominated = [
        other
        for other in cluster.nominated
        if other.status.get("nominatedNodeName") == node.name
        and other.priority >= pod.priority
        and other.key != pod.key
    ]
    if nominated:
        crowded, told = node.copy(), [plugin.copy() for plugin in plugins]
        for other in nominated:
            crowded.add(other)
            for plugin in told:
                plugin.update(other, node, 1)
        status = first_failure(told, crowded)
        if status is not None:
            return status
    return first_failure(plugins, node)
