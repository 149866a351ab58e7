"""what_if(): one placement under many changes at once, on all cores, over one copy of the inputs."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.resources import PODS
from k8slab.errors import InputError, Interrupted, UnknownName
from k8slab.experiments import manifest as manifests
from k8slab.experiments.compare import measured_row
from k8slab.experiments.placement import (
    Placement,
    check_inputs,
    checked_departures,
    checked_order,
    columns,
    place_columns,
)
from k8slab.experiments.progress import ProgressBar, progress_bar
from k8slab.policies import Policy, Ties, as_policy
from k8slab.policies.policy import check_seed, check_ties

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from k8slab.datasets import Cluster, Workload

CHANGES: Final = ("policy", "seed", "ties", "weights", "requests")
Changes = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class WhatIf:
    """The placements of all variants, in their order.

    placements : variant -> Placement, each as `schedule` gives it
    frame      : one row a variant, see FRAMES["what_if"]
    """

    variants: Mapping[str, Changes]
    placements: Mapping[str, Placement]
    frame: pd.DataFrame

    def __getitem__(self, variant: str) -> Placement:
        if variant not in self.placements:
            raise UnknownName("variant", variant, self.placements)
        return self.placements[variant]

    def __len__(self) -> int:
        return len(self.placements)

    def plot(self, metric: str = "placed_percent", ax: Axes | None = None) -> Axes:
        """One bar a variant of a number of `frame`. Raises UnknownName for a column that isn't one."""
        from k8slab.analysis.comparisons import metric_name
        from k8slab.analysis.style import color, finish, names_on_y, new_axes

        numbers = [name for name in self.frame if self.frame[name].dtype.kind in "if"]
        if metric not in numbers:
            raise UnknownName("metric", metric, numbers)
        axes = new_axes(ax, height=1.2 + 0.35 * len(self))
        axes.barh(self.frame["variant"], self.frame[metric], color=color(0))
        axes.invert_yaxis()
        names_on_y(axes)
        return finish(axes, "What if", metric_name(metric), "", grid="x")

    def manifest(self) -> dict[str, Any]:
        """What this was made from: versions, hashes of the inputs, and each variant's policy, seed and changes."""
        first = next(iter(self.placements.values()))
        told = {}
        for name, placement in self.placements.items():
            changes = self.variants[name]
            scaled = {"requests": changes["requests"]} if "requests" in changes else {}
            told[name] = {
                "policy": placement.policy.arguments(), "seed": placement.seed, "ties": placement.ties,
                "workload_sha256": placement.workload.content_hash(), **scaled,
            }  # fmt: skip
        order = None if first.order is None else first.order.tolist()
        left = None if first.departures is None else first.departures.tolist()
        return {
            "versions": manifests.versions(), **manifests.inputs(first.cluster, first.workload),
            "order": order, "departures": left, "variants": told,
        }  # fmt: skip

    def __repr__(self) -> str:
        names = list(self.placements)
        return f"<WhatIf {len(self)} variants: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}>"

    def _repr_html_(self) -> str:
        first = next(iter(self.placements))
        what = f"<p>{len(self)} variants; <code>moved</code> counts pods against {escape(first)}.</p>"
        table: str = self.frame.to_html(index=False, float_format=lambda value: f"{value:.1f}")
        return what + table


def what_if(
    cluster: Cluster,
    workload: Workload,
    variants: Mapping[str, Changes],
    policy: str | Policy = "kube-default",
    *,
    seed: int = 0,
    ties: Ties | None = None,
    order: npt.ArrayLike | None = None,
    departures: npt.ArrayLike | None = None,
    progress: bool | None = None,
    workers: int | None = None,
) -> WhatIf:
    """Place a workload under many variants in one call, in parallel on the cores; gives a WhatIf.

    variants : name -> what is changed, {} for nothing:
               "policy": a name or a Policy; "seed": a number; "ties": "lowest" or "random";
               "weights": {score: weight} on the policy's scores;
               "requests": a factor, or {resource: factor}, of what pods ask, rounded up; not of "pods"
    policy, seed, ties, order, departures : as in `schedule`, for all variants that don't change them
    workers  : variants at a time, one a core if not given; the result is the same whatever the number

    Each placement is the one that `schedule` gives. The columns of cluster and workload are made
    once and shared by all variants that ask the same.
    Raises UnknownName or InputError before the first run for what can't be used. Ctrl-C raises Interrupted, whose
    `partial` is the WhatIf of the variants that had finished (None if there are none).

    >>> import k8slab
    >>> cluster = k8slab.Cluster.synthetic(20)
    >>> workload = k8slab.Workload.synthetic(200, cluster=cluster)
    >>> result = k8slab.what_if(cluster, workload, {"as it is": {}, "a third more": {"requests": 4 / 3}})
    >>> result.frame[["variant", "placed"]].values.tolist()
    [['as it is', 200], ['a third more', 187]]
    """
    check_inputs(cluster, workload)
    plan = _Plan.of(cluster, workload, variants, as_policy(policy), check_seed(seed), ties, order, departures)
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}: wanted 1 or more, or None for one a core")
    done: dict[str, _Done] = {}
    try:
        with progress_bar("what if", len(plan.cases), show=progress is not False) as bar:
            plan.execute(workers or os.cpu_count() or 1, bar, done)
    except KeyboardInterrupt:
        message = f"interrupted after {len(done)} of {len(plan.cases)} variants"
        raise Interrupted(message, partial=plan.result(done)) from None
    result = plan.result(done)
    assert result is not None, "a plan has at least one variant"
    return result


@dataclass(frozen=True)
class _Case:
    """What a variant is placed by; `workload` and `given` are shared."""

    policy: Policy
    seed: int
    ties: Ties
    workload: Workload
    given: tuple[NodeColumns, PodColumns]


@dataclass(frozen=True, eq=False)
class _Done:
    """A variant's placement, and its numbers."""

    placement: Placement
    row: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Plan:
    cluster: Cluster
    variants: Mapping[str, Changes]
    arrival: Ints | None
    leave: Ints | None
    cases: Mapping[str, _Case]

    @classmethod
    def of(
        cls,
        cluster: Cluster,
        workload: Workload,
        variants: Mapping[str, Changes],
        policy: Policy,
        seed: int,
        ties: Ties | None,
        order: npt.ArrayLike | None,
        departures: npt.ArrayLike | None,
    ) -> _Plan:
        """Raises InputError or UnknownName for what can't be placed."""
        if not isinstance(variants, Mapping) or not variants:
            raise InputError(f"variants is {variants!r}; wanted a mapping of a name to its changes, one or more")
        if not len(cluster):
            raise InputError(f"cannot place {len(workload):,} pods: the cluster has no nodes")
        arrival = checked_order(order, len(workload))
        leave = checked_departures(departures, arrival, len(workload))
        shared: dict[str, tuple[Workload, tuple[NodeColumns, PodColumns]]] = {}
        cases = {}
        for name, changes in variants.items():
            _check(name, changes)
            factors = _factors(name, changes.get("requests", 1.0), workload)
            key = repr(sorted(factors.items()))
            if key not in shared:
                scaled = _scaled(workload, factors)
                shared[key] = scaled, columns(cluster, scaled, arrival)
            chosen = as_policy(changes.get("policy", policy))
            for plugin, weight in changes.get("weights", {}).items():
                chosen = chosen.with_weight(plugin, weight)
            rule = changes.get("ties", ties)
            rule = chosen.ties if rule is None else check_ties(rule)
            cases[name] = _Case(chosen, check_seed(changes.get("seed", seed)), rule, *shared[key])
        return cls(cluster, dict(variants), arrival, leave, cases)

    def execute(self, workers: int, bar: ProgressBar, done: dict[str, _Done]) -> None:
        """Fill `done` as variants finish. Kernels release the GIL, so threads use every core."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="k8slab-what-if")
        try:
            names: dict[Future[_Done | None], str] = {
                pool.submit(self._run, case, stop): name for name, case in self.cases.items()
            }
            waiting = set(names)
            while waiting:
                # A wait without end would keep Ctrl-C and the bar waiting too.
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in finished:
                    found = future.result()
                    assert found is not None, "only a stopped run has no result"
                    done[names[future]] = found
                    bar.advance()
                bar.tick()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, case: _Case, stop: threading.Event) -> _Done | None:
        def check(pods: int) -> None:
            if stop.is_set():
                raise _Stopped

        try:
            check(0)
            placement = place_columns(
                self.cluster, case.workload, case.policy, case.given,
                seed=case.seed, ties=case.ties, arrival=self.arrival, path=None, progress=check,
                leave=self.leave,
            )  # fmt: skip
            # Here, and not when all have finished: this takes its time too, and there are other cores.
            return _Done(placement, measured_row(placement, {}))
        except _Stopped:
            return None

    def result(self, done: Mapping[str, _Done]) -> WhatIf | None:
        """By the variants' order, whatever order they finished in."""
        names = [name for name in self.cases if name in done]
        if not names:
            return None
        first = done[names[0]].placement.node_rows
        rows = [
            {
                "variant": name,
                **done[name].row,
                "moved": int((done[name].placement.node_rows != first).sum()),
                "evicted": len(done[name].placement.evictions),
            }
            for name in names
        ]
        return WhatIf(self.variants, {name: done[name].placement for name in names}, pd.DataFrame(rows))


class _Stopped(Exception):
    """The call is over; a run in the middle need not go on."""


def _check(name: str, changes: object) -> None:
    if not isinstance(changes, Mapping):
        raise InputError(f"variant {name!r} is {changes!r}; wanted a mapping such as {{'seed': 1}}, {{}} for no change")
    for key in changes:
        if key not in CHANGES:
            raise UnknownName(f"change of variant {name!r}", str(key), CHANGES)


def _factors(name: str, given: Any, workload: Workload) -> dict[str, float]:
    """Of each resource whose requests change."""
    names = [resource for resource in workload.schema.names if resource != PODS]
    factors = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for resource, factor in factors.items():
        if resource not in names:
            raise UnknownName(f"resource of variant {name!r}", resource, names)
        number = isinstance(factor, int | float | np.integer | np.floating) and not isinstance(factor, bool)
        if not number or not 0 <= factor < np.inf:
            raise InputError(f"variant {name!r}: requests of {resource} times {factor!r}; wanted a number, 0 or more")
    return {resource: float(factor) for resource, factor in factors.items() if factor != 1}


def _scaled(workload: Workload, factors: Mapping[str, float]) -> Workload:
    if not factors:
        return workload
    requests = workload.requests.copy()
    for resource, factor in factors.items():
        row = workload.schema.index(resource)
        requests[:, row] = np.ceil(requests[:, row] * factor)
    told = ", ".join(f"{resource} times {factor:g}" for resource, factor in factors.items())
    return replace(workload, requests=requests, source=f"{workload.source}; requests of {told}")


