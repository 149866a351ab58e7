"""One FGD run of 1,213 nodes and some 10,900 pods, fragmentation after each, against its naive twin in one run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from k8slab.experiments.fgd_run import POLICIES, run_fgd
from k8slab.experiments.fgd_trace import Shape, Trace, read_trace
from tests import naive_gpu as naive

SEED = 42
NAIVE_PODS = 8  # a pod takes the twin half a second
TIMES_FASTER = 5_000


@pytest.fixture(scope="module")
def trace() -> Trace:
    return read_trace(None, "default")


def naive_pods(trace: Trace, rows: list[int]) -> list[naive.Pod]:
    return [pod_of(trace, trace.shape_names[trace.pod_shape[row]], int(trace.pod_memory[row])) for row in rows]


def pod_of(trace: Trace, shape: Shape, memory: int = 0) -> naive.Pod:
    cpu, milli, devices, spec = shape
    accepted = [m for m, model in enumerate(trace.models) if not spec or model in spec.split("|")]
    return naive.Pod(cpu, memory, milli, devices, frozenset(accepted))


def run_naive(trace: Trace) -> list[tuple[int, list[int], float]]:
    """Where the first pods go, rows by rank."""
    arrivals = trace.arrivals(SEED)
    rows = arrivals.node_rows.tolist()
    nodes = trace.nodes
    naive_nodes = [
        naive.Node(int(nodes.cpu[i]), int(nodes.memory[i]), [1000] * int(nodes.devices[i]), int(nodes.model[i]))
        for i in rows
    ]
    taken = {shape: pod_of(trace, shape) for shape in trace.shape_names}
    typical_rows = zip(*(column.tolist() for column in trace.typical.shapes[:3]), strict=True)
    typical = list(zip(trace.typical.weight.tolist(), [taken[*row, ""] for row in typical_rows], strict=True))
    return naive.naive_place("06-FGD", naive_nodes, naive_pods(trace, arrivals.pod_rows[:NAIVE_PODS].tolist()), typical)


# CPU time: both run on one core, and the machine's other work then shifts no ratio.
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("policy", POLICIES)
def test_one_run(benchmark: Any, trace: Trace, policy: str) -> None:
    arrivals = trace.arrivals(SEED)
    run = benchmark.pedantic(run_fgd, (trace, policy, SEED, arrivals), rounds=7, warmup_rounds=1)
    assert len(run.pods) > 10_500
    assert run.used[-1] + run.nodes.idle.sum() == 6_212_000
    assert 0.94 < run.used[-1] / 6_212_000 < 0.97 or policy != "06-FGD"


@pytest.mark.benchmark(timer=time.process_time)
def test_against_the_naive_twin(benchmark: Any, trace: Trace) -> None:
    arrivals = trace.arrivals(SEED)
    run = benchmark.pedantic(run_fgd, (trace, "06-FGD", SEED, arrivals), rounds=7, warmup_rounds=1)
    began = time.process_time()
    expected = run_naive(trace)
    naive_seconds = (time.process_time() - began) / NAIVE_PODS
    ranks = {row: rank for rank, row in enumerate(arrivals.node_rows.tolist())}
    assert [ranks[row] for row in run.node[:NAIVE_PODS].tolist()] == [node for node, *_ in expected]
    ratio = naive_seconds / (benchmark.stats.stats.median / len(run.pods))
    benchmark.extra_info["times_faster_than_naive"] = round(ratio)
    assert ratio > TIMES_FASTER
