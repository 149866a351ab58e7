"""Clusters and workloads from what `kubectl get nodes,pods,... -A -o json` prints, as kube-scheduler reads it."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from k8slab.datasets._parts import counted
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.kubernetes_devices import check_gpu_index, gpu_labels, node_gpus
from k8slab.datasets.kubernetes_dump import ApiObject, Dump, Source, uncollected
from k8slab.datasets.kubernetes_moving import moving_labels
from k8slab.datasets.kubernetes_objects import api_objects
from k8slab.datasets.kubernetes_pods import (
    PodReader,
    Said,
    is_finished,
    leaving,
    node_of,
    nominated_node,
    priority,
    started_ns,
    waits,
)
from k8slab.datasets.kubernetes_requests import Amounts, counts, whole_amount
from k8slab.datasets.workload import Workload
from k8slab.domain.columns import Codes, Ints, Names, Taint, Taints
from k8slab.domain.devices import device_capacity
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.pod_spec import PLAIN, Image, Images
from k8slab.domain.resources import ResourceSchema
from k8slab.domain.taints import EFFECTS
from k8slab.errors import InputError

Which = Literal["pending", "all", "given"]

_WHICH: Final = {"pending": "pending pod", "all": "unfinished pod", "given": "unfinished pod"}
_STATE: Final = {state: code for code, state in enumerate(NODE_STATES)}
# What the Ready condition says that isn't "True", and the taint by which kube-scheduler knows.
_UNREADY: Final = {
    ("False", "node.kubernetes.io/not-ready"): NodeState.NOT_READY,
    ("Unknown", "node.kubernetes.io/unreachable"): NodeState.UNKNOWN,
}
_LARGEST: Final = 2**63 - 1


@uncollected()
def cluster_from_kubernetes(source: Source) -> Cluster:
    """See Cluster.from_kubernetes."""
    dump = Dump.read(source)
    nodes = dump.of("Node")
    if not nodes:
        raise InputError(f"{dump.origin}: no nodes in it ({dump.found()}); wanted `kubectl get nodes,pods -A -o json`")
    rows = {node.name: row for row, node in enumerate(nodes)}
    bound = [pod for pod in dump.of("Pod") if not is_finished(pod) and node_of(pod) in rows]
    promised = [pod for pod in dump.of("Pod") if nominated_node(pod) in rows]
    reader, waiting = PodReader(bound=True), PodReader()
    bound_said = [reader.read(pod) for pod in bound]
    promised_said = [waiting.read(pod) for pod in promised]
    allocatable = [_allocatable(node) for node in nodes]
    schema = _schema(allocatable, [*bound_said, *promised_said])
    capacity = _matrix(schema, allocatable).T
    devices = (device_capacity(schema.names, capacity) > 0).sum(axis=1).tolist()
    for pod in bound:
        check_gpu_index(pod, nodes[rows[node_of(pod)]], devices[rows[node_of(pod)]])
    taints: Codes[Taints] = Codes.of(_taints(node) for node in nodes)
    return Cluster.of(
        Names(rows),
        capacity,
        schema,
        states=[_node_state(node, taints[row] or ()) for row, node in enumerate(nodes)],
        taints=taints,
        labels=_labels(nodes),
        bound=_workload(bound, bound_said, schema, dump.origin) if bound else None,
        bound_node=[rows[node_of(pod)] for pod in bound],
        images=_images(nodes),
        nominated=_workload(promised, promised_said, schema, dump.origin) if promised else None,
        nominated_node=[rows[nominated_node(pod)] for pod in promised],
        objects=api_objects(dump),
        source=_source(dump, len(bound), len(promised)),
    )


@uncollected()
def workload_from_kubernetes(source: Source, which: Which) -> Workload:
    """See Workload.from_kubernetes."""
    if which not in _WHICH:
        raise InputError(f'which={which!r}: wanted "pending", "all" or "given"')
    dump, what = Dump.read(source), _WHICH[which]
    pods = [pod for pod in dump.of("Pod") if (waits(pod) if which == "pending" else not is_finished(pod))]
    if not pods:
        raise InputError(f"{dump.origin}: no {what}s in it ({dump.found()})")
    if which != "given":
        pods.sort(key=lambda pod: str(pod.metadata.get("creationTimestamp") or ""))
    reader = PodReader(keep_node=which == "given")
    said = [reader.read(pod) for pod in pods]
    left = len(dump.of("Pod")) - len(pods)
    rest = f"; passed over {counted(left, 'other pod')}" if left else ""
    return _workload(pods, said, _schema([], said), f"{dump.origin}: {counted(len(pods), what)}{rest}")


# -- nodes ---------------------------------------------------------------------


def _allocatable(node: ApiObject) -> Amounts:
    exact = node.status.quantities("allocatable")
    amounts = {resource: whole_amount(node, resource, value) for resource, value in exact.items() if counts(resource)}
    return node_gpus(node, amounts)


def _taints(node: ApiObject) -> Taints:
    return tuple(
        Taint(taint.text("key"), taint.text("value"), taint.choice("effect", EFFECTS, EFFECTS[0]))
        for taint in node.spec.items("taints")
    )


def _node_state(node: ApiObject, taints: Taints) -> int:
    """What kube-scheduler goes by: cordons and taints. A condition that no taint confirms doesn't count."""
    if node.spec.flag("unschedulable"):
        return _STATE[NodeState.CORDONED]
    ready = [c.text("status") for c in node.status.items("conditions") if c.text("type") == "Ready"][:1]
    said = {(status, taint.key) for status in ready for taint in taints}
    return _STATE[next((_UNREADY[pair] for pair in said if pair in _UNREADY), NodeState.READY)]


def _images(nodes: list[ApiObject]) -> Codes[Images]:
    # Nodes list the same images, each in an order of its own: read once.
    known: dict[str, Image] = {}
    listed: list[Images | None] = []
    for node in nodes:
        images = []
        for fields in node.status.items("images"):
            worded = repr(fields.content)
            if worded not in known:
                known[worded] = Image(fields.texts("names"), fields.whole("sizeBytes", 0, _LARGEST, 0))
            images.append(known[worded])
        listed.append(tuple(images) or None)
    return Codes.of(listed)


# -- columns -------------------------------------------------------------------


def _workload(pods: list[ApiObject], said: list[Said], schema: ResourceSchema, source: str) -> Workload:
    return Workload.of(
        Names([pod.full_name for pod in pods]),
        _matrix(schema, [one.request for one in said]),
        schema,
        namespaces=Codes.of(pod.namespace for pod in pods),
        tolerations=Codes.of(one.tolerations for one in said),
        priority=[priority(pod) for pod in pods],
        labels=_labels(pods),
        specs=Codes.of(None if one.spec == PLAIN else one.spec for one in said),
        leaving=[leaving(pod) for pod in pods],
        started_ns=[started_ns(pod) for pod in pods],
        source=source,
    )


def _labels(objects: list[ApiObject]) -> dict[str, Codes[str]]:
    codes: dict[str, Ints] = {}
    values: dict[str, dict[str, int]] = {}
    for row, one in enumerate(objects):
        extra = {**gpu_labels(one), **moving_labels(one)} if one.kind == "Pod" else {}
        for key, value in {**one.labels, **extra}.items():
            if key not in codes:
                codes[key], values[key] = np.full(len(objects), -1, dtype=np.int64), {}
            codes[key][row] = values[key].setdefault(value, len(values[key]))
    return {key: Codes(codes[key].astype(np.int32), tuple(values[key])) for key in sorted(codes)}


def _schema(nodes: list[Amounts], pods: list[Said]) -> ResourceSchema:
    """All resources that any of these has more than 0 of."""
    said = {id(one.request): one.request for one in pods}.values()
    found = {resource for vector in (*nodes, *said) for resource, value in vector.items() if value}
    found |= {adjustment.resource for one in pods for adjustment in one.spec.adjustments}
    return ResourceSchema.of(sorted(found, key=lambda resource: (resource != "ephemeral-storage", resource)))


def _matrix(schema: ResourceSchema, vectors: list[Amounts]) -> Ints:
    """int64[rows, R]"""
    rows = [[vector.get(resource, 0) for resource in schema.names] for vector in vectors]
    return np.array(rows, dtype=np.int64).reshape(len(vectors), len(schema))


# -- words ---------------------------------------------------------------------


def _source(dump: Dump, bound: int, promised: int) -> str:
    pods = dump.of("Pod")
    finished = sum(map(is_finished, pods))
    waiting = sum(not is_finished(pod) and not node_of(pod) for pod in pods)
    lost = len(pods) - bound - finished - waiting
    counts_left = (
        (waiting - promised, "pod", " without a node"),
        (finished, "finished pod", ""),
        (lost, "pod", " on nodes that are not in it"),
        (sum(dump.others.values()), "object", f" of other kinds ({', '.join(sorted(dump.others))})"),
    )
    said = ", ".join(counted(count, what) + where for count, what, where in counts_left if count)
    nominated = f", {counted(promised, 'nominated pod')}" if promised else ""
    return f"{dump.origin}: {counted(len(dump.of('Node')), 'node')}, {counted(bound, 'bound pod')}{nominated}" + (
        f"; passed over {said}" if said else ""
    )
