"""Entities as columns: the exact integers behind the floats of pods and nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from k8slab.domain.columns import NOT_STARTED, Codes, Ints, Names, NodeColumns, PodColumns, Taints, Tolerations
from k8slab.domain.models import NODE_STATES, Node, NodeState, Pod, PodPhase
from k8slab.domain.resources import CPU, MEMORY, PODS, ResourceSchema
from k8slab.domain.taints import taint_of, toleration_of
from k8slab.errors import InputError
from k8slab.units import bytes_to_mib, cores_to_milli, mib_to_bytes, milli_to_cores

# The API's nodes have no limit on the number of their pods.
UNLIMITED_PODS: Final = 2**31 - 1
# As for all inputs: float64 counts exactly up to here, and no machine has 8 PiB of memory.
_ABSURD: Final = 2**53
_DUST: Final = 1e-9


def milli_of(cores: float, what: str) -> int:
    """milli-CPU of cores, rounded up, 0 for a negative number. Raises InputError, naming `what`, if it isn't one."""
    return _bounded(cores_to_milli(_not_negative(cores, what)), what, cores)


def bytes_of(mib: float, what: str) -> int:
    """Bytes of MiB, by the rules of `milli_of`."""
    return _bounded(mib_to_bytes(_not_negative(mib, what)), what, mib)


def whole_milli_of(cores: float, what: str) -> int:
    """milli-CPU of cores that are there, rounded down: nothing is promised that isn't. Else as `milli_of`."""
    milli = milli_of(cores, what)
    return milli if milli_to_cores(milli) <= cores + _DUST else max(milli - 1, 0)


def whole_bytes_of(mib: float, what: str) -> int:
    """Bytes of MiB that are there, by the rules of `whole_milli_of`."""
    amount = bytes_of(mib, what)
    return amount if bytes_to_mib(amount) <= mib + _DUST else max(amount - 1, 0)


def check_pod(pod: Pod) -> None:
    """Raise InputError for a pod with a phase, priority, label or amount that no column can hold."""
    what = f"pod {pod.pod_id!r}"
    if not isinstance(pod.phase, PodPhase):
        raise InputError(f"{what}: phase is {pod.phase!r}, wanted a PodPhase")
    if not -(2**31) <= pod.priority < 2**31:
        raise InputError(f"{what}: priority is {pod.priority!r}, wanted an int32")
    _check_labels(what, pod.labels)
    request_of(pod)


def check_node(node: Node) -> None:
    """Raise InputError for a node with a state, label or amount that no column can hold."""
    what = f"node {node.node_id!r}"
    if not isinstance(node.state, NodeState):
        raise InputError(f"{what}: state is {node.state!r}, wanted a NodeState")
    _check_labels(what, node.labels)
    allocatable_of(node)
    used_of(node)


def request_of(pod: Pod) -> dict[str, int]:
    """What a pod asks for by resource. Raises InputError for a negative request, NaN, or an absurd one."""
    for name, amount in (("cpu_request", pod.cpu_request), ("memory_request", pod.memory_request)):
        if amount < 0:
            raise InputError(f"pod {pod.pod_id!r}: {name} is {amount!r}, wanted 0 or more")
    return {
        CPU: milli_of(pod.cpu_request, f"pod {pod.pod_id!r}: cpu_request"),
        MEMORY: bytes_of(pod.memory_request, f"pod {pod.pod_id!r}: memory_request"),
        PODS: 1,
    }


def allocatable_of(node: Node) -> dict[str, int]:
    """What pods may use of a node by resource. Raises InputError as `milli_of` does."""
    return {
        CPU: whole_milli_of(node.cpu_allocatable, f"node {node.node_id!r}: cpu_allocatable"),
        MEMORY: whole_bytes_of(node.memory_allocatable, f"node {node.node_id!r}: memory_allocatable"),
        PODS: UNLIMITED_PODS,
    }


def used_of(node: Node) -> dict[str, int]:
    """What a node says is in use, by resource. Raises InputError as `milli_of` does."""
    return {
        CPU: milli_of(node.cpu_used, f"node {node.node_id!r}: cpu_used"),
        MEMORY: bytes_of(node.memory_used, f"node {node.node_id!r}: memory_used"),
        PODS: len(node.pods),
    }


def taints_of(node: Node) -> Taints:
    """A node's taints; empty texts are none."""
    return tuple(taint_of(text) for text in map(str.strip, node.taints) if text)


def tolerations_of(pod: Pod) -> Tolerations:
    """A pod's tolerations; empty texts are none."""
    return tuple(toleration_of(text) for text in map(str.strip, pod.tolerations) if text)


def node_columns_of(nodes: Sequence[Node]) -> NodeColumns:
    """The columns of nodes in this order: cpu, memory and pods."""
    schema = ResourceSchema()
    states = np.array([NODE_STATES.index(node.state) for node in nodes], dtype=np.int8)
    return NodeColumns(
        schema=schema,
        names=Names(node.node_id for node in nodes),
        allocatable=_stack(schema, [allocatable_of(node) for node in nodes]).T,
        requested=_stack(schema, [used_of(node) for node in nodes]).T,
        alive=np.ones(len(nodes), dtype=np.bool_),
        state=states,
        taints=Codes.of(taints_of(node) for node in nodes),
        labels=_labels([node.labels for node in nodes]),
        arrays={},
        images=Codes.none(len(nodes)),
    )


def pod_columns_of(pods: Sequence[Pod], schema: ResourceSchema, first_row: int = 0) -> PodColumns:
    """The columns of pods in this order, numbered from `first_row`."""
    return PodColumns(
        schema=schema,
        names=Names(pod.pod_id for pod in pods),
        requests=_stack(schema, [request_of(pod) for pod in pods]),
        rows=np.arange(first_row, first_row + len(pods)),
        namespaces=Codes.of(pod.namespace for pod in pods),
        tolerations=Codes.of(tolerations_of(pod) for pod in pods),
        priority=np.array([pod.priority for pod in pods], dtype=np.int32),
        labels=_labels([pod.labels for pod in pods]),
        specs=Codes.none(len(pods)),
        leaving=np.zeros(len(pods), dtype=np.int8),
        started_ns=np.full(len(pods), NOT_STARTED),
    )


def _check_labels(what: str, labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(f"{what}: label {key!r} is {value!r}, wanted texts")


def _labels(labels: Sequence[dict[str, str]]) -> dict[str, Codes[str]]:
    keys = dict.fromkeys(key for of_one in labels for key in of_one)
    return {key: Codes.of(of_one.get(key) for of_one in labels) for key in keys}


def _stack(schema: ResourceSchema, amounts: Sequence[dict[str, int]]) -> Ints:
    rows = np.zeros((len(amounts), len(schema)), dtype=np.int64)
    for row, of_one in enumerate(amounts):
        rows[row] = schema.vector(of_one)
    return rows


def _not_negative(amount: float, what: str) -> float:
    if not math.isfinite(amount):
        raise InputError(f"{what} is {amount!r}, wanted a number")
    return max(amount, 0)


def _bounded(amount: int, what: str, given: float) -> int:
    if amount > _ABSURD:
        raise InputError(f"{what} is {given!r}, beyond what any machine has")
    return amount
