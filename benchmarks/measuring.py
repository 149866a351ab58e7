"""How the benchmarks of placing measure, and what each leaves in the JSON for `python -m benchmarks.table`.

Seconds are CPU seconds of the whole call, from Cluster and Workload to a finished Placement:
all ways of placing run on one core, and the machine's other work then shifts no ratio.
"""

from __future__ import annotations

import gc
import hashlib
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import k8slab

# From the slowest on; pods a second stand under these names in `extra_info`.
PATHS: Final = ("plain Python", "numpy", "full scan", "engine")
ROUNDS: Final = 3


class Slower(NamedTuple):
    """Another way of placing the first pods. run gives their node rows."""

    path: str
    pods: int
    run: Callable[[], Any]
    rounds: int = ROUNDS


def cpu_seconds(run: Callable[[], Any], rounds: int = ROUNDS) -> tuple[Any, float]:
    """What a run gives, and the median of its CPU seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        found = run()
        times.append(time.process_time() - start)
    return found, statistics.median(times)


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most that a run held at once beyond what was there, its result included.

    Of arrays and objects made from Python; what a kernel allocates for itself isn't seen.
    """
    gc.collect()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def digest(node_rows: Any) -> str:
    """Twelve hex digits that differ where any pod went elsewhere."""
    return hashlib.sha256(node_rows.astype("<i8").tobytes()).hexdigest()[:12]


def measure(
    benchmark: Any,
    cluster: k8slab.Cluster,
    workload: k8slab.Workload,
    slower: list[Slower],
    *,
    rounds: int = ROUNDS,
    **told: Any,
) -> k8slab.Placement:
    """Time kube-default by the engine, and its first pods by slower ways, which must send them to the same nodes.

    told : what else is to stand in the JSON, such as `row` and `reach` of the table, or `sweep` and `x` of a plot
    """

    def place() -> k8slab.Placement:
        return k8slab.schedule(cluster, workload, "kube-default", ties="lowest", progress=False)

    placement = benchmark.pedantic(place, rounds=rounds, warmup_rounds=1)
    assert (placement.requested() <= placement.allocatable).all()
    rates = {"engine": len(workload) / benchmark.stats.stats.median}
    for path, pods, run, times in slower:
        found, seconds = cpu_seconds(run, times)
        assert list(found) == placement.node_rows[:pods].tolist(), f"{path} places otherwise"
        rates[path] = pods / seconds
    sizes = {"nodes": len(cluster), "pods": len(workload), "path": placement.path}
    memory = {"digest": digest(placement.node_rows), "peak_bytes": peak_bytes(place)}
    benchmark.extra_info.update(sizes | memory | told | rates)
    print(f"\n{', '.join(f'{path} {rate:,.0f}' for path, rate in rates.items())} pods a second by {placement.path}")
    return placement


def by_library(
    path: str, cluster: k8slab.Cluster, workload: k8slab.Workload, pods: int, rounds: int = ROUNDS
) -> Slower:
    """kube-default by path "scan" or "stepwise" of the library; compiled beforehand."""
    first = workload.take(range(pods))

    def run() -> list[int]:
        rows = k8slab.schedule(cluster, first, "kube-default", ties="lowest", path=path, progress=False).node_rows
        return rows.tolist()

    k8slab.schedule(cluster, first.take(range(1)), "kube-default", ties="lowest", path=path, progress=False)
    return Slower({"scan": "full scan", "stepwise": "numpy"}[path], pods, run, rounds)
