"""What hypothesis draws: amounts for kernels, whole clusters and workloads for policies.

Drawn on purpose, because rules have their corners there: no node, no capacity, nodes
that hold more than they may, pods that ask for nothing, equal nodes (ties), amounts
as large as float64 takes exactly, and larger ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from k8slab.domain.columns import NOT_STARTED, Codes, Names, NodeColumns, PodColumns, Taint, Toleration
from k8slab.domain.resources import ResourceSchema

EXACT = 2**53 // 10_000  # the kernels multiply by up to 10,000 and want whole numbers below 2**53
READY, NOT_READY, UNKNOWN, CORDONED = range(4)  # codes into domain.models.NODE_STATES


class Pairs(NamedTuple):
    """One case of the score kernels: M pairs of a node and a pod."""

    used: np.ndarray
    allocatable: np.ndarray
    request: np.ndarray
    weight: np.ndarray
    scalar: np.ndarray
    largest: np.ndarray

    @property
    def of_use(self) -> tuple[np.ndarray, ...]:
        """What the strategies are given."""
        return self.used, self.allocatable, self.request, self.weight, self.scalar

    @property
    def of_rest(self) -> tuple[np.ndarray, ...]:
        """What the packing scores are given."""
        return self.used, self.allocatable, self.weight, self.largest


def amounts(limit: int = EXACT) -> st.SearchStrategy[int]:
    """Zero, small and large amounts, each often enough to meet."""
    return st.one_of(st.just(0), st.integers(0, 12), st.integers(0, limit))


@st.composite
def pairs(draw: st.DrawFn, shape: tuple[int, int] | None = None) -> Pairs:
    """Amounts in float64 as the kernels take them; `used` holds the request, and may exceed what there is."""
    shape = shape or (draw(st.integers(1, 5)), draw(st.integers(0, 7)))
    allocatable = draw(arrays(np.int64, shape, elements=amounts()))
    largest = allocatable.max(axis=1, initial=0) + draw(arrays(np.int64, shape[0], elements=st.sampled_from([0, 0, 5])))
    largest = np.minimum(largest, EXACT)
    # No node could take a pod that asks for more than the largest has, and its scores mean nothing.
    request = np.minimum(draw(arrays(np.int64, shape, elements=amounts())), largest[:, None])
    before = draw(arrays(np.int64, shape, elements=amounts(EXACT // 2)))
    if draw(st.booleans()):
        before = np.minimum(before, allocatable)
    weight = draw(arrays(np.int64, shape[0], elements=st.integers(0, 3)))
    scalar = draw(arrays(np.bool_, shape[0]))
    columns = (np.minimum(before + request, EXACT), allocatable, request, weight, largest)
    used, allocatable, request, weight, largest = (np.ascontiguousarray(c, dtype=np.float64) for c in columns)
    return Pairs(used, allocatable, request, weight, scalar, largest)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Points of a broken line: percentages that rise, scores 0..100 that do what they like."""
    xs = sorted(draw(st.sets(st.integers(0, 100), min_size=1, max_size=5)))
    ys = draw(st.lists(st.integers(0, 10), min_size=len(xs), max_size=len(xs)))
    return np.array(xs, dtype=np.float64), np.array(ys, dtype=np.float64) * 10.0


@st.composite
def contests(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and which rows may win."""
    count = draw(st.integers(0, 12))
    score = draw(arrays(np.float64, count, elements=st.integers(0, 3).map(float)))
    return score, draw(arrays(np.bool_, count))


TAINTS = (
    (Taint("dedicated", "gpu"),),
    (),
    (Taint("dedicated", "gpu", "PreferNoSchedule"),),
    (Taint("spot", "", "NoExecute"), Taint("dedicated", "db")),
)
TOLERATIONS = (
    (Toleration("dedicated", "Equal", "gpu"),),
    (),
    (Toleration("dedicated", "Exists"), Toleration("spot", "Exists", effect="NoExecute")),
    (Toleration(operator="Exists"),),
)


@st.composite
def codes(draw: st.DrawFn, count: int, values: tuple[Any, ...]) -> Codes[Any]:
    """A column of some of these values, -1 (none) among its codes; the first value is no default."""
    known = values[: draw(st.integers(0, len(values)))]
    return Codes(draw(arrays(np.int32, count, elements=st.integers(-1, len(known) - 1))), known)


@st.composite
def clusters(draw: st.DrawFn, max_nodes: int = 20, limit: int = EXACT) -> NodeColumns:
    """Nodes of few shapes, so that ties are common; some cordoned, tainted, over-committed."""
    schema = ResourceSchema.of(draw(st.sampled_from([(), ("gpu",), ("ephemeral-storage", "example.com/nic")])))
    count, width = draw(st.integers(0, max_nodes)), len(schema)
    kinds = draw(arrays(np.int64, (3, width), elements=amounts(limit)))
    kinds[:, 2] = draw(arrays(np.int64, 3, elements=st.integers(0, 30)))
    allocatable = np.ascontiguousarray(kinds[draw(arrays(np.int64, count, elements=st.integers(0, 2)))].T)
    foreign = np.zeros_like(allocatable)
    for row in draw(st.sets(st.integers(0, count - 1), max_size=3)) if count else ():
        foreign[:, row] = draw(arrays(np.int64, width, elements=amounts(limit)))
    states = draw(arrays(np.int8, count, elements=st.sampled_from([READY] * 7 + [NOT_READY, UNKNOWN, CORDONED])))
    return NodeColumns(
        schema=schema,
        names=Names(prefix="node-", count=count),
        allocatable=allocatable,
        requested=foreign,
        alive=np.ones(count, dtype=np.bool_),
        state=states,
        taints=draw(codes(count, TAINTS)),
        labels={"topology.kubernetes.io/zone": draw(codes(count, ("a", "b")))},
        arrays={},
        images=Codes.none(count),
    )


@st.composite
def workloads(draw: st.DrawFn, nodes: NodeColumns, max_pods: int = 40) -> PodColumns:
    """Pods of few shapes cut to the size of the cluster's largest node, some of one, some asking for nothing."""
    count, width = draw(st.integers(0, max_pods)), len(nodes.schema)
    most = nodes.allocatable.max(axis=1, initial=0)
    part = draw(arrays(np.int64, (5, width), elements=st.sampled_from([0, 1, 7, 50, 130, 500, 1001])))
    kinds = (most * part) // 1000 + draw(arrays(np.int64, (5, width), elements=st.integers(0, 2)))
    kinds[:, 2] = 1
    first_row = draw(st.sampled_from([0, 3, 10**9]))
    return PodColumns(
        schema=nodes.schema,
        names=Names(prefix="pod-", count=count),
        requests=np.ascontiguousarray(kinds[draw(arrays(np.int64, count, elements=st.integers(0, 4)))]),
        rows=np.arange(first_row, first_row + count),
        namespaces=Codes.constant("default", count),
        tolerations=draw(codes(count, TOLERATIONS)),
        priority=np.zeros(count, dtype=np.int32),
        labels={},
        specs=Codes.none(count),
        leaving=np.zeros(count, dtype=np.int8),
        started_ns=np.full(count, NOT_STARTED),
    )


@st.composite
def problems(draw: st.DrawFn, limit: int = EXACT) -> tuple[NodeColumns, PodColumns]:
    """A cluster and a workload for it."""
    nodes = draw(clusters(limit=limit))
    return nodes, draw(workloads(nodes))
