"""compare(): every policy with every seed, on all cores, on the same pods in the same order."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from k8slab.analysis.frames import percent_column, stem_of
from k8slab.analysis.utilization import stranded_amounts
from k8slab.domain.columns import Ints
from k8slab.domain.resources import PODS
from k8slab.errors import InputError, Interrupted, K8slabError, PluginError, UnknownName
from k8slab.experiments import manifest as manifests
from k8slab.experiments.comparison import ORDER_RULES, Comparison, arrival_order, staying_as_long
from k8slab.experiments.placement import Placement, check_inputs, checked_departures, schedule
from k8slab.experiments.progress import ProgressBar, progress_bar
from k8slab.kernels import utilization as kernels
from k8slab.policies import Policy, as_policy, policy_names
from k8slab.policies.policy import check_seed

if TYPE_CHECKING:
    from k8slab.datasets import Cluster, Workload

Floats = npt.NDArray[np.float64]
Metrics = Mapping[str, Callable[[Placement], float]]

CURVE_POINTS: Final = 101
THREADS: Final = "k8slab-compare"
_BASELINE: Final = "kube-default"
_KEY: Final = ("policy", "seed")


@dataclass(frozen=True)
class Run:
    """What one policy did with one seed: a row of Comparison.frame, its curve, and how long it took.

    curve   : float64[1 + resources, CURVE_POINTS]  arrived percent, then allocated percent by resource
    seconds : kept out of the row, which the same inputs give again to the same bytes
    """

    row: Mapping[str, Any]
    curve: Floats
    seconds: float


def compare(
    cluster: Cluster,
    workload: Workload,
    policies: Iterable[str | Policy] | str | Policy | None = None,
    seeds: Iterable[int] = range(10),
    *,
    order: str = "shuffled",
    departures: npt.ArrayLike | None = None,
    progress: bool = True,
    baseline: str | None = None,
    workers: int | None = None,
    metrics: Metrics | None = None,
    on_run: Callable[[Mapping[str, Any]], None] | None = None,
) -> Comparison:
    """Run policies side by side: each with every seed, each seed the same pods in the same order for all.

    policies : names or policies; all that ship with k8slab if none are given
    order    : "shuffled": the pods arrive in an order drawn from the seed; "given": in the
               workload's order, so that seeds differ in random ties alone
    departures : int[P] as in `schedule`, said of pods that arrive in the workload's order. In another order
               each pod stays as long: until as many more have come. None if all stay
    baseline : the policy that differences are taken from; "kube-default" if it takes part, else the first
    workers  : runs at a time, one a core if not given; the result is the same whatever the number
    metrics  : name -> function of a Placement that gives a number: columns of your own in the frame,
               with intervals and differences like the others
    on_run   : called in the caller's thread with each run's row as it finishes, in no certain order

    Raises InputError or UnknownName before the first run if something can't be used. Ctrl-C raises
    Interrupted, and a policy or metric that fails its error; `error.partial` is then the Comparison of the runs
    that had finished (None if there are none).

    >>> import k8slab
    >>> cluster = k8slab.Cluster.synthetic(20)
    >>> result = k8slab.compare(cluster, k8slab.Workload.synthetic(200), ["first-fit", "best-fit"], range(2))
    >>> result.frame[["policy", "seed", "placed"]].values.tolist()
    [['first-fit', 0, 200], ['first-fit', 1, 200], ['best-fit', 0, 200], ['best-fit', 1, 200]]
    """
    check_inputs(cluster, workload)
    leave = checked_departures(departures, None, len(workload))
    plan = _Plan(cluster, workload, _policies(policies), _seeds(seeds), _order(order), dict(metrics or {}), leave)
    reference = _baseline(baseline, plan.policies)
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}: wanted 1 or more, or None for one a core")
    if len(cluster) == 0 or len(workload) == 0:
        what = "the cluster has no nodes" if len(cluster) == 0 else "the workload has no pods"
        raise InputError(f"nothing to compare: {what}")
    runs: dict[tuple[int, int], Run] = {}
    try:
        with progress_bar("comparing", len(plan), show=progress) as bar:
            for key, run in plan.execute(workers or os.cpu_count() or 1, bar):
                runs[key] = run
                if on_run is not None:
                    on_run(run.row)
    except KeyboardInterrupt:
        message = f"interrupted after {len(runs)} of {len(plan)} runs"
        raise Interrupted(message, partial=plan.result(runs, reference)) from None
    except K8slabError as error:
        error.partial = plan.result(runs, reference)
        raise
    result = plan.result(runs, reference)
    assert result is not None, "a plan has at least one run"
    return result


def rerun(
    manifest: Mapping[str, Any] | str | Path,
    cluster: Cluster,
    workload: Workload,
    *,
    policies: Iterable[Policy] = (),
    progress: bool = True,
    workers: int | None = None,
    metrics: Metrics | None = None,
) -> Comparison:
    """Make a comparison again from its manifest (a mapping, or the path of its JSON) and the same inputs.

    policies, metrics : those of the comparison that k8slab doesn't ship: code isn't kept in a manifest

    InputError says which input isn't the manifest's. If the result isn't the same, byte for byte,
    a warning says so, and which versions differ.
    """
    import warnings

    asked = manifests.read(manifest)
    manifests.check_inputs(asked, cluster, workload)
    result = compare(
        cluster, workload, manifests.policies(asked, policies), asked["seeds"],
        order=asked["order"], departures=asked.get("departures"), baseline=asked["baseline"],
        progress=progress, workers=workers, metrics=metrics,
    )
    if result.content_hash() != asked["result"]["sha256"]:
        differing = manifests.differing_versions(asked)
        reason = f"versions differ: {', '.join(differing)}" if differing else "the versions are the same"
        warnings.warn(f"the result is not the one of the manifest; {reason}", RuntimeWarning, stacklevel=2)
    return result


@dataclass(frozen=True, eq=False)
class _Plan:
    """The runs to make: (seed, policy) by their positions, seeds first, so that an interruption leaves pairs."""

    cluster: Cluster
    workload: Workload
    policies: tuple[Policy, ...]
    seeds: tuple[int, ...]
    order: str
    metrics: Metrics
    departures: Ints | None

    def __len__(self) -> int:
        return len(self.policies) * len(self.seeds)

    def execute(self, workers: int, bar: ProgressBar) -> Iterator[tuple[tuple[int, int], Run]]:
        """Runs as they finish. Kernels release the GIL, so threads use every core and share the inputs."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(workers, thread_name_prefix=THREADS)
        try:
            keys: dict[Future[Run | None], tuple[int, int]] = {
                pool.submit(self._run, s, p, stop): (s, p)
                for s in range(len(self.seeds))
                for p in range(len(self.policies))
            }
            waiting = set(keys)
            while waiting:
                # A wait without end would keep Ctrl-C and the bar waiting too.
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    run = future.result()
                    assert run is not None, "only a stopped run has no result"
                    bar.advance()
                    yield keys[future], run
                bar.tick()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def result(self, runs: Mapping[tuple[int, int], Run], baseline: str) -> Comparison | None:
        """The runs as a Comparison, by policy and then seed, whatever order they finished in."""
        if not runs:
            return None
        ordered = [runs[key] for key in sorted(runs, key=lambda key: (key[1], key[0]))]
        return Comparison(
            cluster=self.cluster, workload=self.workload, policies=self.policies, seeds=self.seeds, order=self.order,
            departures=self.departures, baseline=baseline, dominant=dominant_resource(self.cluster, self.workload),
            frame=pd.DataFrame([run.row for run in ordered]), curves=_curves_frame(ordered, counted(self.cluster)),
            timings=pd.DataFrame([{**{key: run.row[key] for key in _KEY}, "seconds": run.seconds} for run in ordered]),
        )

    def _run(self, s: int, p: int, stop: threading.Event) -> Run | None:
        if stop.is_set():
            return None
        seed = self.seeds[s]
        order = arrival_order(len(self.workload), seed) if self.order == "shuffled" else None
        leave = staying_as_long(self.departures, order)
        check = functools.partial(_check, stop)
        policy = self.policies[p]
        try:
            placement = schedule(
                self.cluster, self.workload, policy, seed=seed, order=order, departures=leave, progress=check
            )
            return measure(placement, self.metrics)
        except _Stopped:
            return None


class _Stopped(Exception):
    """The comparison is over; a run in the middle need not go on."""


def _check(stop: threading.Event, done: int) -> None:
    if stop.is_set():
        raise _Stopped


# --- what a run is measured by


def counted(cluster: Cluster) -> list[str]:
    """The resources that allocation is told of: all that the cluster has some of, but pods."""
    return [name for name, has in zip(cluster.schema.names, cluster.totals(), strict=True) if has and name != PODS]


def dominant_resource(cluster: Cluster, workload: Workload) -> str:
    """The resource that the workload asks the largest share of the cluster of: the tightest one."""
    names = counted(cluster)
    asked = dict(zip(workload.schema.names, workload.totals().tolist(), strict=True))
    has = dict(zip(cluster.schema.names, cluster.totals().tolist(), strict=True))
    return max(names, key=lambda name: asked.get(name, 0) / has[name], default=cluster.schema.names[0])


def measure(placement: Placement, metrics: Metrics) -> Run:
    """A run's row, the user's metrics in it, and its curve."""
    requested = placement.requested()
    row = measured_row(placement, metrics, requested)
    names = counted(placement.cluster)
    rows = np.array([placement.schema.index(name) for name in names], dtype=np.int64)
    requests = placement.workload.with_schema(placement.schema).requests
    tightest = names.index(dominant_resource(placement.cluster, placement.workload))
    capacity = placement.allocatable.sum(axis=1)[rows]
    curve = _curve(requests[:, rows], placement, requested[rows].sum(axis=1), capacity, tightest)
    return Run(row, curve, placement.seconds)


def measured_row(placement: Placement, metrics: Metrics, requested: Ints | None = None) -> dict[str, Any]:
    """A run's numbers, the user's metrics among them. requested : int64[R, N] at the end, if it is known

    Percentages are rounded to 6 decimals, so that no CPU's rounding is seen in them.
    """
    schema = placement.schema
    names = counted(placement.cluster)
    rows = np.array([schema.index(name) for name in names], dtype=np.int64)
    requested = placement.requested() if requested is None else requested
    allocatable = placement.allocatable
    stranded = stranded_amounts(requested, allocatable, placement.workload.with_schema(schema).requests.sum(axis=0))
    pods, placed = len(placement.workload), placement.placed
    capacity = allocatable.sum(axis=1)[rows]
    row = {
        "policy": placement.policy.name,
        "seed": placement.seed,
        "pods": pods,
        "placed": placed,
        "placed_percent": round(100.0 * placed / pods, 6),
        **_shares("{}_allocated_percent", names, requested[rows].sum(axis=1), capacity),
        "nodes_used": _nodes_used(placement),
        **_shares("stranded_{}_percent", names, stranded[rows].sum(axis=1), capacity),
        "imbalance_percent": _imbalance(requested[rows], allocatable[rows]),
    }
    last = {"path": placement.path}
    for name, function in metrics.items():
        if name in row or name in last:
            raise InputError(f"metric {name!r} has the name of a column that every comparison has; call it otherwise")
        row[name] = _metric(name, function, placement)
    return row | last


def _metric(name: str, function: Callable[[Placement], float], placement: Placement) -> float:
    where = f"metric {name!r} of {placement.policy.name} with seed {placement.seed}"
    try:
        value = float(function(placement))
    except K8slabError:
        raise
    except Exception as error:
        raise PluginError(f"{where} failed: {type(error).__name__}: {error}") from error
    if not np.isfinite(value):
        raise PluginError(f"{where} is {value}; a metric is a finite number")
    return round(value, 6)


def _shares(column: str, names: Sequence[str], amounts: Ints, capacity: Ints) -> dict[str, float]:
    return {
        column.format(stem_of(name)): round(100.0 * amount / has, 6)
        for name, amount, has in zip(names, amounts.tolist(), capacity.tolist(), strict=True)
    }


def _imbalance(requested: Ints, allocatable: Ints) -> float:
    """Standard deviation over nodes of the dominant utilization, in percentage points."""
    share = np.empty(requested.shape)
    kernels.utilization(requested, allocatable, share)
    dominant, spread = np.empty(len(share.T)), np.empty(len(share.T))
    kernels.dominant_and_spread(share, dominant, spread)
    known = dominant[~np.isnan(dominant)]
    return round(float(known.std()), 6) if len(known) else 0.0


def _nodes_used(placement: Placement) -> int:
    used = np.zeros(len(placement.cluster), dtype=np.bool_)
    used[placement.cluster.bound_node] = True
    used[placement.rows_at_end[placement.rows_at_end >= 0]] = True
    return int(used.sum())


def _curve(requests: Ints, placement: Placement, requested: Ints, capacity: Ints, tightest: int) -> Floats:
    """float64[1 + R, CURVE_POINTS]: arrived percent of the tightest resource, then allocated percent of each.

    requests            : int64[P, R]  in the workload's order
    requested, capacity : int64[R]     of the cluster, at the end
    """
    came = requests[placement.arrival]
    placed = (placement.node_rows[placement.arrival] >= 0)[:, None]
    arrived, taken = np.zeros(len(came) + 1, dtype=np.int64), np.zeros((len(came) + 1, len(capacity)), dtype=np.int64)
    np.cumsum(came[:, tightest], out=arrived[1:])
    taken[1:] = came * placed
    if placement.departures is not None:
        left = placement.departures[placement.arrival]
        np.subtract.at(taken, left[left >= 0], (came * placed)[left >= 0])
    np.cumsum(taken, axis=0, out=taken)
    grid = np.linspace(0.0, float(arrived[-1]), CURVE_POINTS)
    # Between two arrivals as if the pod came bit by bit: else whoever places all seems to lag by half a pod.
    allocated = np.stack([np.interp(grid, arrived, amount) for amount in taken.T])
    # What was there before the first pod came: all that is requested at the end, less what is left of these.
    allocated += (requested - taken[-1])[:, None]
    return np.round(100.0 * np.vstack([grid / capacity[tightest], allocated / capacity[:, None]]), 6)


def _curves_frame(runs: Sequence[Run], names: Sequence[str]) -> pd.DataFrame:
    points = np.hstack([run.curve for run in runs])
    columns = ["arrived_percent", *(percent_column(name, "allocated") for name in names)]
    return pd.DataFrame({
        "policy": np.repeat([run.row["policy"] for run in runs], CURVE_POINTS),
        "seed": np.repeat([run.row["seed"] for run in runs], CURVE_POINTS),
        **dict(zip(columns, points, strict=True)),
    })


# --- what was asked for


def _policies(asked: Iterable[str | Policy] | str | Policy | None) -> tuple[Policy, ...]:
    if asked is None:
        asked = policy_names()
    elif isinstance(asked, (str, Policy)):
        asked = (asked,)
    found = tuple(as_policy(one) for one in asked)
    if not found:
        raise InputError("no policies to compare: name at least one, or leave them out for all")
    _no_doubles("policy", [policy.name for policy in found], "; give one of them another name")
    return found


def _seeds(asked: Iterable[int]) -> tuple[int, ...]:
    if isinstance(asked, int):
        raise InputError(f"seeds are a list of numbers, such as range({asked}); found the number {asked}")
    found = tuple(check_seed(seed) for seed in asked)
    if not found:
        raise InputError("no seeds: give at least one, such as range(10)")
    _no_doubles("seed", found)
    return found


def _no_doubles(kind: str, values: Sequence[object], hint: str = "") -> None:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise InputError(f"the {kind} {twice!r} stands twice{hint}")


def _order(asked: str) -> str:
    if asked not in ORDER_RULES:
        raise UnknownName("order", asked, ORDER_RULES)
    return asked


def _baseline(asked: str | None, policies: Sequence[Policy]) -> str:
    names = [policy.name for policy in policies]
    if asked is None:
        return _BASELINE if _BASELINE in names else names[0]
    if asked not in names:
        raise UnknownName("baseline", asked, names, "It must be one of the policies compared.")
    return asked
