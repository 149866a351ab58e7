"""The result of a comparison: what every policy did with every seed, and what that tells."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from k8slab.analysis.frames import percent_column
from k8slab.domain.columns import Ints
from k8slab.errors import OutputError, UnknownName
from k8slab.experiments import manifest as manifests
from k8slab.experiments import statistics
from k8slab.experiments.placement import Placement, schedule

if TYPE_CHECKING:
    from k8slab.analysis.plots import ComparisonPlots
    from k8slab.datasets import Cluster, Workload
    from k8slab.policies import Policy

ORDER_RULES: Final = {
    "shuffled": "pods arrive in an order drawn from the seed, the same for every policy; the seed also breaks ties "
    "where a policy breaks them at random",
    "given": "pods arrive in the workload's order, whatever the seed; the seed breaks ties where a policy breaks "
    "them at random",
}
_LEAVING: Final = "; pods leave when as many more have come as they were given"
_SUMMARY: Final = ("policy", "metric", "mean", "low", "high", "seeds")
_DIFFERENCES: Final = (
    "policy", "baseline", "metric", "difference", "low", "high", "p_value", "distinguishable", "verdict"
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Policies side by side on the same pods in the same order, seed by seed.

    frame   : one row a policy and seed, in that order; see k8slab.analysis.frames
    curves  : one row a policy, seed and point: what was allocated by the time that so much had arrived
    timings : the seconds that each run took, which no two runs share; the rest is a function of the inputs
    departures : int64[P]  when pods leave, had they come in the workload's order; see compare(). None if all stay

    After an interruption it holds the runs that had finished. What is said of policies then
    rests on the seeds that every policy has seen.
    """

    cluster: Cluster
    workload: Workload
    policies: tuple[Policy, ...]
    seeds: tuple[int, ...]
    order: str
    departures: Ints | None
    baseline: str
    dominant: str
    frame: pd.DataFrame
    curves: pd.DataFrame
    timings: pd.DataFrame

    # --- what it tells

    @property
    def metrics(self) -> list[str]:
        """The frame's columns that are measured."""
        known = ("policy", "seed", "pods", "path")
        return [str(column) for column in self.frame.columns if column not in known]

    @property
    def headline(self) -> str:
        """The metric that ranks policies: how much of the tightest resource they allocate.

        Where every pod found a node, that is the same for all, and it is the number of nodes used.
        """
        if (self.frame["placed"] == self.frame["pods"]).all():
            return "nodes_used"
        return percent_column(self.dominant, "allocated")

    @property
    def paired_seeds(self) -> int:
        """How many seeds every policy has seen: what differences rest on."""
        return len(self._paired["placed"])

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """Each policy's mean of each metric (or of this one) over the seeds, with its 95 % bootstrap interval.

        Tidy: one row a policy and metric; columns policy, metric, mean, low, high, seeds.
        UnknownName if the metric is none of `metrics`.
        """
        asked = self._asked(metric)
        return self._summary[self._summary["metric"].isin(asked)].reset_index(drop=True)

    def differences(self, baseline: str | None = None, metric: str | None = None) -> pd.DataFrame:
        """How each policy differs from the baseline, seed by seed: interval, test, verdict.

        Tidy: one row a policy but the baseline, and metric (or this one). `verdict` says "not distinguishable"
        where the interval holds 0 or the test disagrees; k8slab.experiments.statistics tells how.
        UnknownName if the baseline is no policy of this comparison, or the metric none of `metrics`.
        """
        name = self.baseline if baseline is None else baseline
        if name not in self._names:
            raise UnknownName("policy", name, self._names, "in this comparison")
        others = [other for other in self._names if other != name]
        rows: list[tuple[Any, ...]] = []
        for each in self._asked(metric) if others else ():
            wide = self._paired[each]
            if len(wide) == 0:
                continue
            found = statistics.paired_differences(wide[others].to_numpy(float).T, wide[name].to_numpy(float))
            rows += [
                (other, name, each, *_rounded(one.interval), round(one.p_value, 6), one.distinguishable, one.verdict)
                for other, one in zip(others, found, strict=True)
            ]
        return pd.DataFrame(rows, columns=list(_DIFFERENCES))

    def answer(self) -> str:
        """What came out, in one or two sentences."""
        from k8slab.experiments.answer import answer

        return answer(self)

    @property
    def plot(self) -> ComparisonPlots:
        """The plots of a comparison: allocation(), ..."""
        from k8slab.analysis.plots import ComparisonPlots

        return ComparisonPlots(self)

    # --- going on from it

    def placement(self, policy: str, seed: int) -> Placement:
        """One of the runs, made again: where every pod went. UnknownName if it is none of them."""
        if policy not in self._names:
            raise UnknownName("policy", policy, self._names, "in this comparison")
        if seed not in self.seeds:
            raise UnknownName("seed", seed, map(str, self.seeds), "in this comparison")
        chosen = self.policies[self._names.index(policy)]
        order = arrival_order(len(self.workload), seed) if self.order == "shuffled" else None
        leave = staying_as_long(self.departures, order)
        return schedule(self.cluster, self.workload, chosen, seed=seed, order=order, departures=leave)

    def manifest(self) -> dict[str, Any]:
        """All that it takes to make this result again with `rerun`, as plain data for JSON."""
        return {
            "kind": "comparison",
            "versions": manifests.versions(),
            **manifests.inputs(self.cluster, self.workload),
            "policies": [manifests.described(policy) for policy in self.policies],
            "seeds": list(self.seeds),
            "order": self.order,
            "order_rule": ORDER_RULES[self.order] + (_LEAVING if self.departures is not None else ""),
            **({} if self.departures is None else {"departures": self.departures.tolist()}),
            "baseline": self.baseline,
            "result": {"sha256": self.content_hash(), "runs": len(self.frame)},
        }

    def content_hash(self) -> str:
        """SHA-256 of the frame and curves: the same run gives the same hash."""
        digest = hashlib.sha256()
        for frame in (self.frame, self.curves):
            digest.update(frame.to_csv(index=False, lineterminator="\n").encode())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> list[Path]:
        """Write runs.csv, curves.csv, summary.csv, differences.csv and manifest.json; the paths written.

        OutputError if the folder can't be made or written.
        """
        texts = {
            "runs.csv": _csv(self.frame),
            "curves.csv": _csv(self.curves),
            "summary.csv": _csv(self._summary),
            "differences.csv": _csv(self.differences()),
            "manifest.json": json.dumps(self.manifest(), indent=2) + "\n",
        }
        return [write_text(Path(folder) / name, text) for name, text in texts.items()]

    def to_html(self, path: str | Path, *, recipe: str | None = None) -> Path:
        """Write the report: one HTML file that needs no other, to read, print and send.

        recipe : Python that loads `cluster` and `workload`, for the code that the report ends with

        OutputError if it can't be written.
        """
        from k8slab.analysis.report import render

        return write_text(Path(path), render(self, recipe))

    def _repr_html_(self) -> str:
        table = self.table().to_html(index=False, border=0, escape=True)
        table = table.replace("<td>", "<td style='white-space:nowrap'>")
        return f"<p><b>{escape(self.answer())}</b></p>{table}"

    def __repr__(self) -> str:
        return (
            f"Comparison of {len(self._names)} policies x {len(self.seeds)} seeds on {len(self.cluster):,} nodes and "
            f"{len(self.workload):,} pods. {self.answer()}"
        )

    def ranked(self) -> list[str]:
        """The policies by their mean of the headline metric, best first."""
        means = self._summary[self._summary["metric"] == self.headline].set_index("policy")["mean"]
        return [str(name) for name in means.sort_values(ascending=self.headline == "nodes_used", kind="stable").index]

    def table(self) -> pd.DataFrame:
        """The summary for people: a row a policy, best first; means with their intervals as text."""
        from k8slab.analysis.report import cell_text, label_of, shown_metrics

        texts = {(row.policy, row.metric): cell_text(row) for row in self._summary.itertuples()}
        columns = {label_of(metric): [texts[name, metric] for name in self.ranked()] for metric in shown_metrics(self)}
        return pd.DataFrame({"policy": self.ranked(), **columns})

    def _asked(self, metric: str | None) -> list[str]:
        if metric is not None and metric not in self.metrics:
            raise UnknownName("metric", metric, self.metrics)
        return self.metrics if metric is None else [metric]

    # --- kept once computed

    @property
    def _names(self) -> list[str]:
        return [policy.name for policy in self.policies]

    @functools.cached_property
    def _paired(self) -> Mapping[str, pd.DataFrame]:
        """By metric: a row a seed that every policy has seen, a column a policy."""
        wide = self.frame.pivot_table(index="seed", columns="policy", values=self.metrics, aggfunc="first")
        complete = wide["placed"].reindex(columns=self._names).notna().all(axis="columns")
        return {metric: wide.loc[complete, metric].reindex(columns=self._names) for metric in self.metrics}

    @functools.cached_property
    def _summary(self) -> pd.DataFrame:
        rows = []
        for policy, runs in self.frame.groupby("policy", sort=False):
            for metric in self.metrics:
                found = statistics.bootstrap_mean(runs[metric].to_numpy(float))
                rows.append((policy, metric, *_rounded(found), len(runs)))
        return pd.DataFrame(rows, columns=list(_SUMMARY))


def arrival_order(pods: int, seed: int) -> npt.NDArray[np.int64]:
    """int64[P]: the order in which pods arrive with this seed, as rows of the workload.

    Every order is equally likely. Drawn by sorting raw PCG64 words, whose stream numpy keeps
    the same across versions; Generator.permutation may change.
    """
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(pods)
    return np.argsort(words, kind="stable").astype(np.int64)


def staying_as_long(departures: Ints | None, order: Ints | None) -> Ints | None:
    """int64[P]: when pods leave that come in another order than the workload's, and stay for as many more arrivals.

    departures : int64[P]  by the workload's row, had each arrived by its number there; -1 for those that stay
    order      : int64[P]  the rows in the order they arrive

    >>> staying_as_long(np.array([1, -1, 3, -1]), np.array([2, 1, 3, 0])).tolist()
    [-1, -1, 1, -1]
    """
    if departures is None or order is None:
        return departures
    arrival = np.empty_like(order)
    arrival[order] = np.arange(len(order))
    leave = arrival + departures - np.arange(len(order))
    return np.where((departures >= 0) & (leave < len(order)), leave, -1)


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all. OutputError says which path and why."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    return path


def _csv(frame: pd.DataFrame) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _rounded(interval: statistics.Interval) -> tuple[float, float, float]:
    """To the 6 decimals that the values have, so that no sum's last bits are seen."""
    return round(interval.mean, 6), round(interval.low, 6), round(interval.high, 6)
