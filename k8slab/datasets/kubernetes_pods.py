"""What a dump's pods ask and say about where they may run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from k8slab.datasets.kubernetes_devices import pod_gpus
from k8slab.datasets.kubernetes_dump import ApiObject, Fields
from k8slab.datasets.kubernetes_requests import (
    Amounts,
    is_sidecar,
    pod_adjustments,
    pod_request,
    resize_is_infeasible,
)
from k8slab.domain.api_parsing import node_term_of, node_terms_of, selector_of, spread_constraint_of
from k8slab.domain.columns import LEAVING, NOT_STARTED, Toleration, Tolerations
from k8slab.domain.pod_spec import (
    Adjustment,
    HostPort,
    NodeTerm,
    Owner,
    PodSpec,
    PodTerm,
    Requirement,
    Selector,
    SpreadConstraint,
)
from k8slab.domain.taints import EFFECTS
from k8slab.errors import UnknownName

T = TypeVar("T")

TEMPLATE_KEYS: Final = ("affinity", "nodeSelector", "preemptionPolicy", "topologySpreadConstraints")

_FINISHED: Final = ("Succeeded", "Failed")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_LARGEST_WEIGHT: Final = 100
_INT32: Final = 2**31 - 1
_STAYS, _DELETED, _PREEMPTED = range(len(LEAVING))


def node_of(pod: ApiObject) -> str:
    """The node that a pod is bound to, "" for none."""
    return pod.spec.text("nodeName")


def is_finished(pod: ApiObject) -> bool:
    """Whether a pod has come to its end, and doesn't exist for a scheduler."""
    return pod.status.get("phase") in _FINISHED


def waits(pod: ApiObject) -> bool:
    """Whether a pod waits for a node: has none, isn't finished, being deleted or held back by a gate."""
    held = pod.metadata.get("deletionTimestamp") or pod.spec.get("schedulingGates")
    return not (is_finished(pod) or node_of(pod) or held)


def nominated_node(pod: ApiObject) -> str:
    """The node that a pod without one was promised, "" for none."""
    return "" if is_finished(pod) or node_of(pod) else pod.status.text("nominatedNodeName")


def priority(pod: ApiObject) -> int:
    """A pod's priority, 0 where it has none."""
    found = pod.spec.get("priority")
    if found is None:
        return 0
    if isinstance(found, bool) or not isinstance(found, int) or not -(2**31) <= found <= _INT32:
        pod.spec.fail("priority", found, "a whole number of 32 bits")
    return int(found)


def leaving(pod: ApiObject) -> int:
    """The code into LEAVING of a pod."""
    if not pod.metadata.get("deletionTimestamp"):
        return _STAYS
    # Only the first of these conditions is looked at, as kube-scheduler does.
    targets = [c for c in pod.status.items("conditions") if c.text("type") == "DisruptionTarget"]
    preempted = targets and (targets[0].text("status"), targets[0].text("reason")) == ("True", "PreemptionByScheduler")
    return _PREEMPTED if preempted else _DELETED


def started_ns(pod: ApiObject) -> int:
    """When a pod began to run."""
    instant = pod.status.instant("startTime")
    return NOT_STARTED if instant is None else instant


@dataclass(frozen=True)
class Said:
    """What one pod asks and says."""

    request: Amounts
    spec: PodSpec
    tolerations: Tolerations


class PodReader:
    """Reads pods; what many say in the same words, as a controller's pods do, is read once.

    bound     : they are on their nodes: the request is what they take there, not what they need to get in
    keep_node : spec.nodeName is a wish like any other
    """

    def __init__(self, *, bound: bool = False, keep_node: bool = False) -> None:
        self._bound = bound
        self._keep_node = keep_node
        self._requests: dict[str, tuple[Amounts, tuple[Adjustment, ...]]] = {}
        self._specs: dict[str, PodSpec] = {}
        self._tolerations: dict[str, Tolerations] = {}

    def read(self, pod: ApiObject) -> Said:
        """Raises InputError with kind, namespace/name and field of what an API server would refuse."""
        containers = pod.spec.items("containers"), pod.spec.items("initContainers")
        request, adjustments = _once(self._requests, _asked(pod, *containers), lambda: self._request(pod))
        node = node_of(pod) if self._keep_node else ""
        spec = _once(
            self._specs, repr((_worded(pod, *containers), adjustments, node)), lambda: _spec(pod, adjustments, node)
        )
        tolerated = repr(pod.spec.get("tolerations"))
        tolerations = _once(self._tolerations, tolerated, lambda: _tolerations(pod))
        gpus = pod_gpus(pod)
        return Said({**request, **gpus} if gpus else request, spec, tolerations)

    def _request(self, pod: ApiObject) -> tuple[Amounts, tuple[Adjustment, ...]]:
        request = pod_request(pod, bound=self._bound)
        return request, pod_adjustments(pod, request)


def template_spec(kind: str, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> PodSpec:
    """What a template's pods say about where they may run, of a manifest's words.

    metadata : name, namespace and labels of the workload's pods
    spec     : of a manifest's pod spec what TEMPLATE_KEYS names

    Raises InputError with kind, namespace/name and field of what an API server would refuse.
    """
    for key in spec:
        if key not in TEMPLATE_KEYS:
            raise UnknownName("key of a template's spec", key, TEMPLATE_KEYS)
    return _spec(ApiObject(kind, {"metadata": metadata, "spec": spec}), (), "")


def _once(known: dict[str, T], worded: str, read: Callable[[], T]) -> T:
    found = known.get(worded)
    if found is None:
        found = known[worded] = read()
    return found


def _asked(pod: ApiObject, *containers: list[Fields]) -> str:
    """All that a pod's request depends on, in one text. Its volumes' names, unique to each pod, do not belong to it."""
    statuses = pod.status.items("containerStatuses"), pod.status.items("initContainerStatuses")
    parts = (
        [[(c.get("name"), c.get("restartPolicy"), c.get("resources")) for c in some] for some in containers],
        [[(s.get("name"), s.get("resources"), s.get("allocatedResources")) for s in some] for some in statuses],
        (pod.spec.get("resources"), pod.spec.get("overhead"), resize_is_infeasible(pod)),
    )
    return repr(parts)


def _worded(pod: ApiObject, *containers: list[Fields]) -> tuple[Any, ...]:
    """All that the rest of a pod's spec depends on."""
    fields = ("nodeSelector", "affinity", "topologySpreadConstraints", "schedulingGates", "preemptionPolicy")
    return (
        [pod.spec.get(field) for field in fields],
        [[(c.get("restartPolicy"), c.get("image"), c.get("ports")) for c in some] for some in containers],
        pod.metadata.get("ownerReferences"),
        nominated_node(pod),
        pod.namespace if pod.spec.get("affinity") else None,
        pod.metadata.get("labels") if pod.spec.get("topologySpreadConstraints") else None,
    )


def _spec(pod: ApiObject, adjustments: tuple[Adjustment, ...], node_name: str) -> PodSpec:
    affinity = pod.spec.inside("affinity")
    node, near, far = (affinity.inside(kind) for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity"))
    return PodSpec(
        node_name=node_name,
        node_selector=tuple(sorted((pod.spec.pairs("nodeSelector") or {}).items())),
        node_required=node_terms_of(node.get(_REQUIRED), node.where(_REQUIRED)),
        node_preferred=tuple(_preferred_nodes(node)),
        affinity=tuple(_pod_term(term) for term in near.items(_REQUIRED)),
        anti_affinity=tuple(_pod_term(term) for term in far.items(_REQUIRED)),
        near_preferred=tuple(_preferred_pods(near)),
        far_preferred=tuple(_preferred_pods(far)),
        spread=tuple(_spread(constraint) for constraint in pod.spec.items("topologySpreadConstraints")),
        ports=tuple(_host_ports(pod)),
        images=_images(pod),
        gates=tuple(gate.named("name") for gate in pod.spec.items("schedulingGates")),
        may_preempt=pod.spec.choice("preemptionPolicy", ("PreemptLowerPriority", "Never"), "") != "Never",
        owner=_owner(pod),
        nominated_to=nominated_node(pod),
        adjustments=adjustments,
    )


def _preferred_nodes(node: Fields) -> Iterator[tuple[int, NodeTerm]]:
    for preferred in node.items(_PREFERRED):
        term = node_term_of(preferred.inside("preference").content, preferred.where("preference"))
        yield preferred.whole("weight", 0, _LARGEST_WEIGHT, 0), term


def _preferred_pods(pods: Fields) -> Iterator[tuple[int, PodTerm]]:
    for preferred in pods.items(_PREFERRED):
        yield preferred.whole("weight", 0, _LARGEST_WEIGHT, 0), _pod_term(preferred.inside("podAffinityTerm"))


def _pod_term(term: Fields) -> PodTerm:
    # matchLabelKeys and mismatchLabelKeys are not looked at: the API server has folded them into the selector.
    namespaces, among = term.texts("namespaces"), _selector(term, "namespaceSelector")
    if not namespaces and among is None:
        namespaces = (term.whose.namespace,)
    return PodTerm(
        topology_key=term.named("topologyKey"),
        selector=_selector(term, "labelSelector"),
        namespaces=tuple(sorted(set(namespaces))),
        among=among,
    )


def _selector(fields: Fields, key: str) -> Selector | None:
    return selector_of(fields.get(key), fields.where(key))


def _spread(fields: Fields) -> SpreadConstraint:
    fields.named("topologyKey")
    keys, labels = fields.texts("matchLabelKeys"), fields.whose.labels
    constraint = spread_constraint_of(fields.content, f"{fields.whose}: {fields.path}")
    if constraint.selector is None:
        return constraint
    folded = (Requirement(key, "In", (labels[key],)) for key in keys if key in labels)
    # The API server may have folded them in before.
    return replace(constraint, selector=tuple(dict.fromkeys((*constraint.selector, *folded))))


def _host_ports(pod: ApiObject) -> Iterator[HostPort]:
    sidecars = [container for container in pod.spec.items("initContainers") if is_sidecar(container)]
    for container in (*pod.spec.items("containers"), *sidecars):
        for port in container.items("ports"):
            number = port.whole("hostPort", 0, 65535, 0)
            protocol = port.choice("protocol", ("TCP", "UDP", "SCTP"), "TCP")
            if number:
                yield HostPort(number, protocol, port.text("hostIP") or "0.0.0.0")


def _images(pod: ApiObject) -> tuple[str, ...]:
    containers = [*pod.spec.items("initContainers"), *pod.spec.items("containers")]
    images = tuple(container.text("image") for container in containers)
    return images if any(images) else ()  # without any image none is anywhere: nothing is said


def _owner(pod: ApiObject) -> Owner | None:
    for owner in pod.metadata.items("ownerReferences"):
        if owner.flag("controller"):
            return Owner(owner.named("apiVersion"), owner.named("kind"), owner.named("name"))
    return None


def _tolerations(pod: ApiObject) -> Tolerations:
    return tuple(
        Toleration(
            t.text("key"),
            t.choice("operator", ("Equal", "Exists"), "Equal"),
            t.text("value"),
            t.choice("effect", EFFECTS, ""),
            # Negative is none at all.
            None if t.get("tolerationSeconds") is None else max(0, t.whole("tolerationSeconds", -(2**63), 2**63 - 1)),
        )
        for t in pod.spec.items("tolerations")
        if t.get("operator") not in ("Lt", "Gt")  # alpha, compare numbers: nothing here is tolerated by them
    )
