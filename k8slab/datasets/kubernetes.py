"""Clusters and workloads from what `kubectl get nodes,pods -A -o json` prints.

Amounts are counted as kube-scheduler counts them: a pod asks the larger of its running containers
(sidecars among them) and its init containers' peak, pod-level requests come instead, overhead on
top; exact sums, rounded up once.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, Literal, Never, TypeAlias

import numpy as np

from k8slab.datasets._parts import counted
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.workload import Workload
from k8slab.domain.columns import Codes, Ints, Names, Taint, Taints, Toleration, Tolerations
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.resources import CPU, MEMORY, PODS, ResourceSchema
from k8slab.domain.taints import EFFECTS
from k8slab.errors import InputError
from k8slab.units import amount, parse_quantity

Source: TypeAlias = str | PathLike[str] | Mapping[str, Any] | IO[str] | IO[bytes]
Exact: TypeAlias = dict[str, Fraction]
Amounts: TypeAlias = dict[str, int]

_STATE: Final = {state: code for code, state in enumerate(NODE_STATES)}
_READY: Final = {"True": NodeState.READY, "False": NodeState.NOT_READY, "Unknown": NodeState.UNKNOWN}
_FINISHED: Final = ("Succeeded", "Failed")
_LIMIT: Final = 2**63


def cluster_from_kubernetes(source: Source) -> Cluster:
    """See Cluster.from_kubernetes."""
    dump = _Dump.read(source)
    if not dump.nodes:
        raise InputError(f"{dump.origin}: no nodes in it ({dump.found()}); wanted `kubectl get nodes,pods -A -o json`")
    names = Names([node.name for node in dump.nodes])
    rows = {name: row for row, name in enumerate(names)}
    bound = [pod for pod in dump.pods if not pod.finished and pod.node in rows]
    node_amounts = [_allocatable(node) for node in dump.nodes]
    pod_amounts = [pod_request(pod, bound=True) for pod in bound]
    schema = _schema([*node_amounts, *pod_amounts])
    taints: Codes[Taints] = Codes.of(_taints(node) for node in dump.nodes)
    return Cluster.of(
        names,
        _matrix(schema, node_amounts).T,
        schema,
        states=[_node_state(node) for node in dump.nodes],
        taints=taints,
        labels=_labels(dump.nodes),
        bound=_workload(bound, pod_amounts, schema, dump.origin) if bound else None,
        bound_node=[rows[pod.node] for pod in bound],
        source=f"{dump.origin}: {counted(len(names), 'node')}, {counted(len(bound), 'bound pod')}"
        + _passed_over(dump, bound, rows),
    )


def workload_from_kubernetes(source: Source, which: Literal["pending", "all"]) -> Workload:
    """See Workload.from_kubernetes."""
    if which not in ("pending", "all"):
        raise InputError(f'which={which!r}: wanted "pending" or "all"')
    dump = _Dump.read(source)
    pods = [pod for pod in dump.pods if (pod.waits if which == "pending" else not pod.finished)]
    wanted = "pending" if which == "pending" else "unfinished"
    if not pods:
        raise InputError(f"{dump.origin}: no {wanted} pods in it ({dump.found()})")
    pods.sort(key=lambda pod: pod.created)
    amounts = [pod_request(pod, bound=False) for pod in pods]
    left = len(dump.pods) - len(pods)
    rest = f"; passed over {counted(left, 'other pod')}" if left else ""
    return _workload(pods, amounts, _schema(amounts), f"{dump.origin}: {counted(len(pods), wanted + ' pod')}{rest}")


def pod_request(pod: _Object, *, bound: bool) -> Amounts:
    """What kube-scheduler counts a pod as asking, by resource, in exact integers.

    bound : the pod is on a node, where the resources that the kubelet reports count too (in-place resize)
    """
    statuses = _container_statuses(pod) if bound else {}
    infeasible = bound and _resize_is_infeasible(pod)
    total: Exact = {}
    for path, container in pod.objects("spec.containers"):
        _add(total, _container_request(pod, path, container, statuses, infeasible))
    sidecars: Exact = {}
    peak: Exact = {}
    for path, container in pod.objects("spec.initContainers"):
        level = _container_request(pod, path, container, statuses, infeasible)
        if container.get("restartPolicy") == "Always":  # a sidecar goes on beside all that follows
            _add(total, level)
            _add(sidecars, level)
            level = sidecars
        else:
            _add(level, sidecars)
        _raise_to(peak, level)
    _raise_to(total, peak)
    for resource, value in pod.quantities("spec.resources.requests").items():
        if resource in (CPU, MEMORY) or resource.startswith("hugepages-"):
            total[resource] = value
    _add(total, pod.quantities("spec.overhead"))
    return {resource: pod.whole(resource, value) for resource, value in total.items() if _counts(resource)} | {PODS: 1}


def _container_request(
    pod: _Object, path: str, container: Mapping[str, Any], statuses: Mapping[str, tuple[str, Any]], infeasible: bool
) -> Exact:
    asked = pod.quantities("resources.requests", container, path)
    where, status = statuses.get(str(container.get("name")), ("", {}))
    if not status.get("resources"):
        return asked
    seen = {} if infeasible else asked
    _raise_to(seen, pod.quantities("resources.requests", status, where))
    _raise_to(seen, pod.quantities("allocatedResources", status, where))
    return seen


def _container_statuses(pod: _Object) -> dict[str, tuple[str, Any]]:
    lists = ("status.containerStatuses", "status.initContainerStatuses")
    return {str(status.get("name")): (path, status) for name in lists for path, status in pod.objects(name)}


def _resize_is_infeasible(pod: _Object) -> bool:
    conditions = [condition for _, condition in pod.objects("status.conditions")]
    return any(c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible" for c in conditions)


def _allocatable(node: _Object) -> Amounts:
    exact = node.quantities("status.allocatable")
    return {resource: node.whole(resource, value) for resource, value in exact.items() if _counts(resource)}


def _node_state(node: _Object) -> int:
    if node.get("spec.unschedulable"):
        return _STATE[NodeState.CORDONED]
    ready = [c.get("status") for _, c in node.objects("status.conditions") if c.get("type") == "Ready"]
    # Without a Ready condition (a dump made by hand) the node counts: kube-scheduler itself looks at taints only.
    return _STATE[_READY.get(str(ready[0]), NodeState.NOT_READY) if ready else NodeState.READY]


def _taints(node: _Object) -> Taints:
    return tuple(
        Taint(node.text(t, "key", path), node.text(t, "value", path), node.choice(t, "effect", path, EFFECTS))
        for path, t in node.objects("spec.taints")
    )


def _tolerations(pod: _Object) -> Tolerations:
    return tuple(
        Toleration(
            pod.text(t, "key", path),
            pod.choice(t, "operator", path, ("Equal", "Exists")),
            pod.text(t, "value", path),
            pod.choice(t, "effect", path, ("", *EFFECTS)),
        )
        for path, t in pod.objects("spec.tolerations")
        if t.get("operator") not in ("Lt", "Gt")  # alpha, compare numbers: nothing here is tolerated by them
    )


def _workload(pods: list[_Object], amounts: list[Amounts], schema: ResourceSchema, source: str) -> Workload:
    names = Names([f"{pod.namespace}/{pod.name}" for pod in pods])
    tolerations: Codes[Tolerations] = Codes.of(_tolerations(pod) for pod in pods)
    return Workload.of(
        names,
        _matrix(schema, amounts),
        schema,
        namespaces=Codes.of(pod.namespace for pod in pods),
        tolerations=tolerations,
        priority=[pod.priority for pod in pods],
        labels=_labels(pods),
        source=source,
    )


def _labels(objects: list[_Object]) -> dict[str, Codes[str]]:
    by_object = [{key: str(value) for key, value in o.mapping("metadata.labels").items()} for o in objects]
    return {key: Codes.of(labels.get(key) for labels in by_object) for key in sorted(set().union(*by_object))}


def _schema(vectors: Iterable[Amounts]) -> ResourceSchema:
    """All resources that any of these has more than 0 of."""
    found = {resource for vector in vectors for resource, value in vector.items() if value}
    return ResourceSchema.of(sorted(found, key=lambda resource: (resource != "ephemeral-storage", resource)))


def _matrix(schema: ResourceSchema, vectors: list[Amounts]) -> Ints:
    """int64[rows, R]"""
    rows = [[vector.get(resource, 0) for resource in schema.names] for vector in vectors]
    return np.array(rows, dtype=np.int64).reshape(len(vectors), len(schema))


def _passed_over(dump: _Dump, bound: list[_Object], rows: Mapping[str, int]) -> str:
    finished = sum(pod.finished for pod in dump.pods)
    waiting = sum(not pod.finished and not pod.node for pod in dump.pods)
    lost = len(dump.pods) - len(bound) - finished - waiting
    counts = (
        (waiting, "pod", " without a node"),
        (finished, "finished pod", ""),
        (lost, "pod", " on nodes that are not in it"),
        (sum(dump.others.values()), "object", f" of other kinds ({', '.join(sorted(dump.others))})"),
    )
    said = ", ".join(counted(count, what) + where for count, what, where in counts if count)
    return f"; passed over {said}" if said else ""


def _counts(resource: str) -> bool:
    """Whether kube-scheduler counts a resource of this name at all."""
    return (
        resource in (CPU, MEMORY, PODS, "ephemeral-storage")
        or resource.startswith(("hugepages-", "attachable-volumes-"))
        or "kubernetes.io/" in resource
        or ("/" in resource and not resource.startswith("requests."))
    )


def _add(total: Exact, more: Exact) -> None:
    for resource, value in more.items():
        total[resource] = total.get(resource, Fraction(0)) + value


def _raise_to(total: Exact, least: Exact) -> None:
    for resource, value in least.items():
        total[resource] = max(total.get(resource, value), value)


@dataclass(frozen=True)
class _Object:
    """One Node or Pod of a dump: fields by path, and errors that name object and path."""

    kind: str
    content: Mapping[str, Any]
    number: int

    @property
    def name(self) -> str:
        name = self.get("metadata.name")
        if not isinstance(name, str) or not name:
            raise InputError(f"{self.kind} number {self.number} of the dump: metadata.name is {name!r}; wanted a name")
        return name

    @property
    def namespace(self) -> str:
        return str(self.get("metadata.namespace") or "default")

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.kind == 'Pod' else ''}{self.name}"

    @property
    def node(self) -> str:
        return str(self.get("spec.nodeName") or "")

    @property
    def created(self) -> str:
        return str(self.get("metadata.creationTimestamp") or "")

    @property
    def finished(self) -> bool:
        return self.get("status.phase") in _FINISHED

    @property
    def waits(self) -> bool:
        """Waits for a node: has none, isn't finished, being deleted or held back by a gate."""
        held = self.get("metadata.deletionTimestamp") or self.get("spec.schedulingGates")
        return not (self.finished or self.node or held)

    @property
    def priority(self) -> int:
        priority = self.get("spec.priority")
        if priority is None:
            return 0
        if isinstance(priority, bool) or not isinstance(priority, int) or not -(2**31) <= priority < 2**31:
            self.fail("spec.priority", priority, "a whole number of 32 bits")
        return int(priority)

    def get(self, path: str, inside: Mapping[str, Any] | None = None, at: str = "") -> Any:
        """The value at a dotted path, None where there is none; `inside` an object that stands `at` a path."""
        value: Any = self.content if inside is None else inside
        walked = at
        for key in path.split("."):
            if value is None:
                return None
            if not isinstance(value, Mapping):
                self.fail(walked, value, "an object")
            walked = f"{walked}.{key}" if walked else key
            value = value.get(key)
        return value

    def mapping(self, path: str, inside: Mapping[str, Any] | None = None, at: str = "") -> Mapping[str, Any]:
        value = self.get(path, inside, at)
        if value is not None and not isinstance(value, Mapping):
            self.fail(f"{at}.{path}" if at else path, value, "an object")
        return value or {}

    def objects(self, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(path, object) of each in a list of objects."""
        items = self.get(path)
        if items is not None and not isinstance(items, list):
            self.fail(path, items, "a list")
        for number, item in enumerate(items or ()):
            if not isinstance(item, Mapping):
                self.fail(f"{path}[{number}]", item, "an object")
            yield f"{path}[{number}]", item

    def quantities(self, path: str, inside: Mapping[str, Any] | None = None, at: str = "") -> Exact:
        """The quantities of a mapping by resource."""
        exact: Exact = {}
        for resource, quantity in self.mapping(path, inside, at).items():
            where = f"{self}: {at}{'.' if at else ''}{path}.{resource}"
            exact[resource] = parse_quantity(quantity, where)
            if exact[resource] < 0:
                raise InputError(f"{where} is {quantity!r}; wanted 0 or more")
        return exact

    def whole(self, resource: str, value: Fraction) -> int:
        """The exact integer of an amount, rounded up."""
        number = amount(resource, value)
        if number >= _LIMIT:
            raise InputError(f"{self}: {number:,} of {resource}; wanted less than 2^63")
        return number

    def text(self, inside: Mapping[str, Any], key: str, path: str) -> str:
        value = inside.get(key)
        if value is not None and not isinstance(value, str):
            self.fail(f"{path}.{key}", value, "a text")
        return value or ""

    def choice(self, inside: Mapping[str, Any], key: str, path: str, options: tuple[str, ...]) -> str:
        value = self.text(inside, key, path) or options[0]
        if value not in options:
            self.fail(f"{path}.{key}", value, f"one of {', '.join(filter(None, options))}")
        return value

    def fail(self, path: str, found: object, wanted: str) -> Never:
        """Raises the InputError of one field."""
        raise InputError(f"{self}: {path} is {found!r}; wanted {wanted}")


@dataclass(frozen=True)
class _Dump:
    """The nodes and pods of a dump, and how many objects of other kinds it has."""

    origin: str
    nodes: list[_Object]
    pods: list[_Object]
    others: Counter[str]

    @classmethod
    def read(cls, source: Source) -> _Dump:
        origin, documents = _documents(source)
        nodes: dict[str, _Object] = {}
        pods: dict[str, _Object] = {}
        others: Counter[str] = Counter()
        for number, (kind, content) in enumerate(_items(documents, origin)):
            if kind not in ("Node", "Pod"):
                others[kind] += 1
                continue
            one = _Object(kind, content, number)
            among, name = (nodes, one.name) if kind == "Node" else (pods, f"{one.namespace}/{one.name}")
            if name in among:
                raise InputError(f"{origin}: {one} stands twice")
            among[name] = one
        return cls(origin, list(nodes.values()), list(pods.values()), others)

    def found(self) -> str:
        """What is in it, for messages."""
        counts = Counter({"Node": len(self.nodes), "Pod": len(self.pods)}) + self.others
        return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "it is empty"


def _items(documents: Iterable[Any], origin: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(kind, object) of every object in lists or alone."""
    for document in documents:
        if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
            raise InputError(f"{origin}: no Kubernetes object with a kind; wanted `kubectl get nodes,pods -A -o json`")
        kind = document["kind"]
        if not kind.endswith("List"):
            yield kind, document
            continue
        items, paging = document.get("items"), document.get("metadata")
        if not isinstance(items, list):
            raise InputError(f"{origin}: {kind}.items is {type(items).__name__}; wanted a list")
        if isinstance(paging, Mapping) and paging.get("continue"):
            more = paging.get("remainingItemCount", "an unknown number of")
            raise InputError(f"{origin}: {kind} is one page, {more} objects are on the next; wanted the whole list")
        for number, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise InputError(f"{origin}: {kind}.items[{number}] is {type(item).__name__}; wanted an object")
            yield str(item.get("kind") or kind.removesuffix("List")), item


def _documents(source: Source) -> tuple[str, list[Any]]:
    """What messages call the source, and its documents, parsed."""
    if isinstance(source, Mapping):
        return "a dump", [source]
    if isinstance(source, str | PathLike):
        path = Path(source)
        try:
            content: str | bytes = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read a dump from {str(path)!r}: {error.strerror or error}") from error
        return path.name, _parse(content, path.name)
    name = Path(str(getattr(source, "name", "a dump"))).name
    return name, _parse(source.read(), name)


def _parse(content: str | bytes, origin: str) -> list[Any]:
    """JSON or YAML, gzipped or not: told by the content, whatever the file is called."""
    try:
        if isinstance(content, bytes):
            content = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode("utf-8-sig")
        if content.lstrip()[:1] in ("{", "["):
            return [json.loads(content)]
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{origin}: not a JSON dump: {error}") from error
    return _parse_yaml(content, origin)


def _parse_yaml(content: str, origin: str) -> list[Any]:
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError(f"{origin}: no JSON, and YAML needs pyyaml: pip install 'k8slab[yaml]'") from error
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # written in C, 10 times as fast
        return [document for document in yaml.load_all(content, loader) if document is not None]
    except yaml.YAMLError as error:
        raise InputError(f"{origin}: neither JSON nor YAML: {error}") from error
