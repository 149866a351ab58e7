"""Kubernetes objects as the scheduler reads them (§1, §3): request vectors, selectors, tolerations, nodes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from k8slab.units import parse_quantity, round_up

Object = Mapping[str, Any]
Amounts = dict[str, Fraction]
Vector = dict[str, int]

DEFAULTS: Amounts = {"cpu": Fraction(100, 1000), "memory": Fraction(200 * 1024 * 1024)}
UNSCHEDULABLE, UNRESOLVABLE = "Unschedulable", "UnschedulableAndUnresolvable"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
INTEGER = re.compile(r"[+-]?[0-9]+")


class Status(NamedTuple):
    """Why a node was turned down."""

    code: str
    plugin: str
    reasons: list[str]


def int64(value: int) -> int:
    """Go's integers are 64 bits wide and wrap around; Python's are as wide as they need be."""
    return (value + 2**63) % 2**64 - 2**63


def divide(a: int, b: int) -> int:
    """Go's `/`: towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def round_half_away(value: float) -> int:
    """Go's math.Round; Python's round goes to the even neighbour."""
    whole = math.trunc(value)
    return whole + (1 if value > 0 else -1) if abs(value - whole) >= 0.5 else whole


# -- quantities (§1) -------------------------------------------------------------


def is_extended(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def is_scalar(name: str) -> bool:
    native = "kubernetes.io/" in name
    return name.startswith(("hugepages-", "attachable-volumes-")) or native or is_extended(name)


def amounts(quantities: Object | None) -> Amounts:
    return {name: parse_quantity(quantity) for name, quantity in (quantities or {}).items()}


def plus(a: Amounts, b: Amounts) -> Amounts:
    return {name: a.get(name, Fraction(0)) + b.get(name, Fraction(0)) for name in {**a, **b}}


def maximum(*parts: Amounts) -> Amounts:
    """The largest of each resource, among those that name it."""
    names = {name for part in parts for name in part}
    return {name: max(part[name] for part in parts if name in part) for name in names}


def whole(exact: Amounts) -> Vector:
    """Milli-CPU, and units of all else, rounded up once; names that the scheduler doesn't count are gone."""
    counted = {name for name in exact if name in ("cpu", "memory", "ephemeral-storage") or is_scalar(name)}
    return {name: round_up(exact[name] * (1000 if name == "cpu" else 1)) for name in counted}


# -- matching (§3) ---------------------------------------------------------------


def requirement_matches(requirement: Object, labels: Object) -> bool:
    """One matchExpression of a label selector."""
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or []
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    raise ValueError(f"label selector operator {operator!r}")


def requirements(selector: Object) -> list[Object]:
    """matchLabels and matchExpressions, all as expressions."""
    pairs = (selector.get("matchLabels") or {}).items()
    equal = [{"key": key, "operator": "In", "values": [value]} for key, value in pairs]
    return equal + list(selector.get("matchExpressions") or [])


def selector_matches(selector: Object | None, labels: Object) -> bool:
    """An absent selector matches nothing, an empty one everything."""
    return selector is not None and all(requirement_matches(r, labels) for r in requirements(selector))


def parse_int64(text: str) -> int | None:
    """A base-10 int64, None if it is none."""
    value = int(text) if INTEGER.fullmatch(text) else 2**63
    return value if -(2**63) <= value < 2**63 else None


def node_requirement_matches(requirement: Object, labels: Object) -> bool:
    """One matchExpression of a node selector: a label selector's operators, and Gt and Lt.

    What doesn't parse matches nothing, and so does its term.
    """
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or []
    if operator in ("Gt", "Lt"):
        bound = parse_int64(values[0]) if len(values) == 1 else None
        value = parse_int64(labels.get(key, ""))
        if value is None or bound is None:
            return False
        return value > bound if operator == "Gt" else value < bound
    parses = {"In": bool(values), "NotIn": bool(values), "Exists": not values, "DoesNotExist": not values}
    return parses.get(operator, False) and requirement_matches(requirement, labels)


def field_matches(requirement: Object, node_name: str) -> bool:
    """One matchField: only the name, and exactly one value."""
    values = requirement.get("values") or []
    if requirement["key"] != "metadata.name" or len(values) != 1:
        return False
    return {"In": values[0] == node_name, "NotIn": values[0] != node_name}.get(requirement["operator"], False)


def node_term_matches(term: Object, node: Node) -> bool:
    """Requirements are ANDed; a term without any matches no node."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(node_requirement_matches(e, node.labels) for e in expressions) and all(
        field_matches(f, node.name) for f in fields
    )


def node_selector_matches(selector: Object | None, node: Node) -> bool:
    """Terms are ORed. No selector at all asks for nothing."""
    return selector is None or any(node_term_matches(term, node) for term in selector.get("nodeSelectorTerms") or [])


def tolerates(toleration: Object, taint: Object) -> bool:
    effect, key = toleration.get("effect") or "", toleration.get("key") or ""
    operator = toleration.get("operator") or "Equal"
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return (
        (not effect or effect == taint["effect"])
        and (not key or key == taint["key"])
        and (operator == "Exists" or (operator == "Equal" and same_value))
    )


def untolerated(taints: Iterable[Object], tolerations: list[Object], effects: tuple[str, ...]) -> list[Object]:
    """The taints of these effects that no toleration tolerates, in order."""
    return [t for t in taints if t["effect"] in effects and not any(tolerates(x, t) for x in tolerations)]


# -- pods and nodes --------------------------------------------------------------


class Pod:
    """A v1 Pod and what the scheduler makes of it. Vectors are worked out once, as the objects never change."""

    def __init__(self, obj: Object) -> None:
        self.object = obj
        self.metadata: Object = obj["metadata"]
        self.spec: Object = obj.get("spec") or {}
        self.status: Object = obj.get("status") or {}
        self.namespace: str = self.metadata.get("namespace") or "default"
        self.key = f"{self.namespace}/{self.metadata['name']}"
        self.labels: Object = self.metadata.get("labels") or {}
        self.priority: int = self.spec.get("priority") or 0
        self.terminating = bool(self.metadata.get("deletionTimestamp"))
        self.finished = self.status.get("phase") in ("Succeeded", "Failed")
        self.containers: list[Object] = self.spec.get("containers") or []
        self.init_containers: list[Object] = self.spec.get("initContainers") or []
        self.tolerations: list[Object] = self.spec.get("tolerations") or []
        self.affinity: Object = self.spec.get("affinity") or {}

    def pod_terms(self, kind: str, when: str) -> list[Object]:
        """podAffinity's or podAntiAffinity's required or preferred terms."""
        return (self.affinity.get(kind) or {}).get(when) or []

    @property
    def required_node_affinity(self) -> Object | None:
        return (self.affinity.get("nodeAffinity") or {}).get(REQUIRED)

    @property
    def preferred_node_affinity(self) -> list[Object]:
        return (self.affinity.get("nodeAffinity") or {}).get(PREFERRED) or []

    def may_run_on(self, node: Node) -> bool:
        """nodeSelector AND required node affinity."""
        wanted = self.spec.get("nodeSelector") or {}
        return all(node.labels.get(k) == v for k, v in wanted.items()) and node_selector_matches(
            self.required_node_affinity, node
        )

    @cached_property
    def host_ports(self) -> list[tuple[str, str, int]]:
        """(ip, protocol, port) of containers and restartable init containers (§4 NodePorts)."""
        holders = self.containers + [c for c in self.init_containers if c.get("restartPolicy") == "Always"]
        return [
            (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"])
            for container in holders
            for port in container.get("ports") or []
            if port.get("hostPort", 0) > 0
        ]

    # The four vectors of §1's table.

    @cached_property
    def filter_request(self) -> Vector:
        return whole(self.total(use_status=False))

    @cached_property
    def requested(self) -> Vector:
        return whole(self.total(use_status=True))

    @cached_property
    def nonzero_requested(self) -> Vector:
        plain = self.total(use_status=True)
        defaults = DEFAULTS
        if self.pod_level:
            # Only what nobody names at all, neither the pod nor any container.
            defaults = {name: amount for name, amount in DEFAULTS.items() if name not in plain}
        return whole(self.total(use_status=True, defaults=defaults))

    @cached_property
    def fit_score_request(self) -> Vector:
        # The slip of v1.34: the pod's own level is passed over here, and only here.
        return whole(self.total(use_status=False, defaults=DEFAULTS, use_pod_level=False))

    @property
    def pod_level(self) -> Amounts:
        requests = amounts((self.spec.get("resources") or {}).get("requests"))
        return {n: a for n, a in requests.items() if n in ("cpu", "memory") or n.startswith("hugepages-")}

    def total(self, use_status: bool, defaults: Object | None = None, use_pod_level: bool = True) -> Amounts:
        """The pod's exact request vector, by the five steps of §1."""
        total: Amounts = {}
        for container in self.containers:
            total = plus(total, self.container_request(container, use_status, defaults))
        side: Amounts = {}
        init: Amounts = {}
        for container in self.init_containers:
            restartable = container.get("restartPolicy") == "Always"
            request = self.container_request(container, use_status and restartable, defaults)
            if restartable:
                total = plus(total, request)
                side = plus(side, request)
                level = side
            else:
                level = plus(request, side)
            init = maximum(init, level)
        total = maximum(total, init)
        if use_pod_level:
            total = {**total, **self.pod_level}
        return plus(total, amounts(self.spec.get("overhead")))

    def container_request(self, container: Object, use_status: bool, defaults: Object | None) -> Amounts:
        request = amounts((container.get("resources") or {}).get("requests"))
        status = self.container_statuses.get(container["name"]) if use_status else None
        if status is not None and status.get("resources") is not None:
            granted = amounts(status["resources"].get("requests")), amounts(status.get("allocatedResources"))
            request = maximum(*granted) if self.resize_infeasible else maximum(request, *granted)
        return {**(defaults or {}), **request}

    @cached_property
    def container_statuses(self) -> dict[str, Object]:
        both = (self.status.get("containerStatuses") or []) + (self.status.get("initContainerStatuses") or [])
        return {status["name"]: status for status in both}

    @property
    def resize_infeasible(self) -> bool:
        pending = [c for c in self.status.get("conditions") or [] if c["type"] == "PodResizePending"]
        return bool(pending) and pending[0].get("reason") == "Infeasible"


class Node:
    """A v1 Node and the pods bound to it."""

    def __init__(self, obj: Object, pods: Iterable[Pod] = ()) -> None:
        self.object = obj
        self.name: str = obj["metadata"]["name"]
        self.labels: Object = obj["metadata"].get("labels") or {}
        self.taints: list[Object] = (obj.get("spec") or {}).get("taints") or []
        self.unschedulable = bool((obj.get("spec") or {}).get("unschedulable"))
        self.images: list[Object] = (obj.get("status") or {}).get("images") or []
        exact = amounts((obj.get("status") or {}).get("allocatable"))
        self.allocatable = whole(exact)
        self.allowed_pods = round_up(exact.get("pods", Fraction(0)))
        self.pods: list[Pod] = []
        # A set (§4 NodePorts): of two pods on one port, the first to go frees it.
        self.used_ports: set[tuple[str, str, int]] = set()
        for pod in pods:
            self.add(pod)

    def add(self, pod: Pod) -> None:
        self.pods.append(pod)
        self.used_ports.update(pod.host_ports)

    def remove(self, pod: Pod) -> None:
        self.pods.remove(pod)
        self.used_ports.difference_update(pod.host_ports)

    def copy(self) -> Node:
        twin = Node(self.object, self.pods)
        twin.used_ports = set(self.used_ports)
        return twin

    def requested(self, name: str) -> int:
        return int64(sum(pod.requested.get(name, 0) for pod in self.pods))

    def nonzero_requested(self, name: str) -> int:
        return int64(sum(pod.nonzero_requested.get(name, 0) for pod in self.pods))


class Cluster:
    """All that the scheduler has in its caches: the scenario's objects without the pod to schedule."""

    def __init__(self, scenario: Object) -> None:
        def items(kind: str) -> list[Object]:
            return (scenario.get(kind) or {}).get("items") or []

        self.nodes = [Node(obj) for obj in items("nodes")]
        by_name = {node.name: node for node in self.nodes}
        for pod in map(Pod, items("pods")):
            # Finished pods do not exist (§1); neither do pods of nodes that do not.
            if not pod.finished and pod.spec.get("nodeName") in by_name:
                by_name[pod.spec["nodeName"]].add(pod)
        self.nominated = [Pod(obj) for obj in items("nominatedPods")]
        self.namespaces = {o["metadata"]["name"]: o["metadata"].get("labels") or {} for o in items("namespaces")}
        self.services = items("services")
        self.controllers = {
            ("v1", "ReplicationController"): items("replicationControllers"),
            ("apps/v1", "ReplicaSet"): items("replicaSets"),
            ("apps/v1", "StatefulSet"): items("statefulSets"),
        }
        self.budgets = items("podDisruptionBudgets")
        self.config = {entry["name"]: entry.get("args") or {} for entry in scenario.get("pluginConfig") or []}

    def args(self, plugin: str) -> Object:
        return self.config.get(plugin, {})

    def namespace_labels(self, namespace: str) -> Object:
        return self.namespaces.get(namespace, {})
