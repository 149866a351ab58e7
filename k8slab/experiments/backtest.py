"""The same time again under other autoscalers: what each costs, how long pods wait, whom it disturbs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError, Interrupted, UnknownName
from k8slab.experiments import statistics
from k8slab.experiments.progress import in_notebook, progress_bar
from k8slab.experiments.simulation import Simulation
from k8slab.experiments.simulation_run import Run
from k8slab.simulation.instance_types import GROUP_LABEL, cluster_of
from k8slab.units import duration_ns, format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from k8slab.datasets import Cluster

METRICS: Final[Mapping[str, str]] = {
    "cost": "money",
    "node_hours": "node h",
    "pending_mean": "s",
    "pending_p50": "s",
    "pending_p95": "s",
    "pending_p99": "s",
    "slo_missed": "pods",
    "slo_missed_percent": "percent of pods",
    "evictions": "pods",
    "nodes_launched": "nodes",
    "nodes_removed": "nodes",
    "pods_never_placed": "pods",
}
Autoscalers = Any | Sequence[Any]


def backtest(
    run: Run | Simulation,
    autoscalers: Mapping[str, Autoscalers] | Sequence[Autoscalers],
    *,
    seeds: Iterable[int] = range(3),
    until: str | int | float | None = None,
    slo: str | int | float = "60s",
    progress: bool = True,
) -> Backtest:
    """Run the same time under each of these autoscalers, once a seed, and compare what came of it.

    run         : what is played again: its workloads, faults, policy; until its end, if `until` isn't given
    autoscalers : name -> an autoscaler, or several that work together; a list takes their own names. They stand in
                  place of the run's autoscalers of nodes; those of pods stay
    seeds       : arrivals, lifetimes, boot times and refusals are functions of the seed, the same for all
    slo         : a pod that waits longer for a node has missed it

    A run starts on its own cluster; where that isn't made of the autoscaler's groups, on what the groups start with.
    Raises InputError for none to compare, two of one name, and what Simulation can't simulate; Interrupted after
    Ctrl-C, with what was finished as `partial`.
    """
    simulation = run.simulation if isinstance(run, Run) else run
    if until is None and not isinstance(run, Run):
        raise InputError("a backtest of a Simulation needs until; wanted a time such as '7d'")
    span = run.until_ns / SECOND_NS if until is None and isinstance(run, Run) else until
    until_ns, slo_ns = duration_ns(span or 0, "until", least_ns=1), duration_ns(slo, "slo")
    variants = _named(autoscalers)
    chosen = list(seeds)
    if not chosen:
        raise InputError("no seeds; wanted at least one")
    setups = {name: _setup(simulation, given) for name, given in variants.items()}
    rows: list[dict[str, Any]] = []
    shown = progress and not in_notebook()
    with progress_bar(f"{len(setups)} autoscalers x {len(chosen)} seeds", len(setups) * len(chosen), show=shown) as bar:
        try:
            for seed in chosen:
                for name, setup in setups.items():
                    found = setup.replaced(seed=seed).run(until_ns / SECOND_NS, progress=False)
                    rows.append({"autoscaler": name, "seed": seed, **_measured(found, slo_ns)})
                    bar.advance()
        except KeyboardInterrupt:
            partial = Backtest(pd.DataFrame(rows), tuple(variants), slo_ns, until_ns) if rows else None
            raise Interrupted(f"interrupted after {len(rows)} runs", partial=partial) from None
    return Backtest(pd.DataFrame(rows), tuple(variants), slo_ns, until_ns)


@dataclass(frozen=True, eq=False)
class Backtest:
    """Runs of the same time under several autoscalers.

    frame : one row a run: autoscaler, seed, and the metrics of METRICS
    names : of the autoscalers, in the order given; the first is the baseline
    """

    frame: pd.DataFrame
    names: tuple[str, ...]
    slo_ns: int
    until_ns: int

    def summary(self) -> pd.DataFrame:
        """One row an autoscaler and metric: mean over the seeds, low and high of its 95 % bootstrap interval."""
        rows = []
        for name in self.names:
            mine = self.frame[self.frame["autoscaler"] == name]
            for metric, unit in METRICS.items():
                interval = statistics.bootstrap_mean(mine[metric].to_numpy(float))
                rows.append((name, metric, interval.mean, interval.low, interval.high, len(mine), unit))
        return pd.DataFrame(rows, columns=["autoscaler", "metric", "mean", "low", "high", "seeds", "unit"])

    def differences(self, baseline: str | None = None) -> pd.DataFrame:
        """One row another autoscaler and metric: its difference from the baseline, paired by seed, and a verdict.

        UnknownName for a baseline that wasn't run.
        """
        base = self.names[0] if baseline is None else baseline
        if base not in self.names:
            raise UnknownName("autoscaler", base, self.names, "In this backtest.")
        others = [name for name in self.names if name != base]
        rows: list[tuple[Any, ...]] = []
        for metric in METRICS if others else ():
            wide = self.frame.pivot_table(index="seed", columns="autoscaler", values=metric).dropna()
            found = statistics.paired_differences(wide[others].to_numpy(float).T, wide[base].to_numpy(float))
            rows += [
                (name, base, metric, one.interval.mean, one.interval.low, one.interval.high, one.p_value,
                 one.distinguishable, one.verdict)
                for name, one in zip(others, found, strict=True)
            ]  # fmt: skip
        columns = ["autoscaler", "baseline", "metric", "difference", "low", "high", "p_value", "distinguishable",
                   "verdict"]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def pareto(self, x: str = "pending_p95", y: str = "cost") -> list[str]:
        """The autoscalers that none beats in both metrics at once, less being better, by their means."""
        means = self.frame.groupby("autoscaler", sort=False)[[x, y]].mean()
        points = {str(name): (float(row[x]), float(row[y])) for name, row in means.iterrows()}
        return [
            name
            for name, point in points.items()
            if not any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points.values())
        ]

    @property
    def plot(self) -> BacktestPlots:
        """`backtest.plot.pareto()`"""
        return BacktestPlots(self)

    def answer(self) -> str:
        """What came out, in a sentence or two."""
        means = self.frame.groupby("autoscaler", sort=False)[["cost", "pending_p95"]].mean()
        cheap, quick = str(means["cost"].idxmin()), str(means["pending_p95"].idxmin())
        told = (
            f"Over {format_duration(self.until_ns)} and {self.frame['seed'].nunique()} seeds {cheap} costs least, "
            f"{means.loc[cheap, 'cost']:,.2f}; "
        )
        if cheap == quick:
            return told + "no other has a shorter 95th percentile of waiting."
        waits = {name: f"{means.loc[name, 'pending_p95']:,.0f} s" for name in (cheap, quick)}
        return told + (
            f"one pod in twenty waits {waits[cheap]} or longer with it, and {waits[quick]} with {quick}, "
            f"which costs {means.loc[quick, 'cost']:,.2f}."
        )

    def __repr__(self) -> str:
        return f"<Backtest of {', '.join(self.names)}: {self.frame['seed'].nunique()} seeds>"

    def _repr_html_(self) -> str:
        wide = self.summary().pivot_table(index="metric", columns="autoscaler", values="mean")
        wide = wide.loc[list(METRICS), list(self.names)]
        return f"<p>{self.answer()}</p>{wide.to_html(float_format=lambda value: f'{value:,.2f}')}"


class BacktestPlots:
    """The pictures of a backtest."""

    def __init__(self, result: Backtest) -> None:
        self._result = result

    def pareto(self, x: str = "pending_p95", y: str = "cost", ax: Axes | None = None) -> Axes:
        """Cost against waiting: a point a run, a larger one an autoscaler's mean. See k8slab.analysis.backtests."""
        from k8slab.analysis import backtests

        return backtests.pareto(self._result, x, y, ax)

    def __repr__(self) -> str:
        return "<plots of a backtest: .pareto()>"


def _named(given: Mapping[str, Autoscalers] | Sequence[Autoscalers]) -> dict[str, tuple[Any, ...]]:
    if isinstance(given, Mapping):
        found = {str(name): _listed(one) for name, one in given.items()}
    else:
        names = [" + ".join(one.name for one in _listed(each)) for each in given]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two autoscalers are named {name!r}; wanted a name for each, or name -> autoscaler")
        found = dict(zip(names, map(_listed, given), strict=True))
    if not found:
        raise InputError("no autoscalers to compare; wanted at least one")
    return found


def _listed(one: Autoscalers) -> tuple[Any, ...]:
    return tuple(one) if isinstance(one, list | tuple) else (one,)


def _setup(simulation: Simulation, autoscalers: tuple[Any, ...]) -> Simulation:
    """The simulation under these, on its own cluster or on what their groups start with."""
    kept = tuple(one for one in simulation.autoscalers if not hasattr(one, "groups"))
    groups: list[Any] = [group for one in autoscalers for group in getattr(one, "groups", ())]
    cluster = simulation.cluster
    if groups and not _is_of(cluster, {group.name for group in groups}):
        cluster = cluster_of(groups)
    return simulation.replaced(cluster=cluster, autoscalers=(*kept, *autoscalers))


def _is_of(cluster: Cluster, names: set[str]) -> bool:
    column = cluster.labels.get(GROUP_LABEL)
    return column is not None and set(column.to_array().tolist()) <= names


def _measured(run: Run, slo_ns: int) -> dict[str, float]:
    metrics = {name: value for name, (value, _) in run.metrics.items()}
    waited = run.frames.pods["pending_s"].to_numpy()
    missed = int((waited * SECOND_NS > slo_ns).sum())
    found = {name: float(metrics.get(name, 0.0)) for name in METRICS}
    found["slo_missed"] = float(missed)
    found["slo_missed_percent"] = 100.0 * missed / max(len(waited), 1)
    found["evictions"] = float(metrics.get("pods_evicted", 0.0))
    return found
