"""What a simulated run was: frames, aggregates over time, plots, and the same time under another policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.resources import PODS
from k8slab.domain.run_tables import TABLES
from k8slab.errors import InputError, OutputError, UnknownName
from k8slab.units import format_duration

if TYPE_CHECKING:
    import pandas as pd

    from k8slab.analysis.run_plots import RunPlots
    from k8slab.domain.models import SelfHealingEvent
    from k8slab.experiments.counterfactual import Counterfactual
    from k8slab.experiments.simulation import Simulation
    from k8slab.simulation.history import History
    from k8slab.simulation.world import World

DERIVED: Final = ("pods", "nodes", "utilization", "autoscaling", "availability", "detectors", "detections",
                  "node_groups", "node_intervals", "descheduled")  # fmt: skip
FRAME_NAMES: Final = (*DERIVED, *TABLES)
# Those that a run has which was given a store.
STORE_FRAMES: Final = ("commits", "leaderless")
Metrics = dict[str, tuple[float, str]]


class RunFrames(Mapping[str, "pd.DataFrame"]):
    """The frames of a run, by name or as attributes: each is made when it is first asked for.

    pods, nodes   : one row each, over the whole run
    utilization   : the cluster over time
    autoscaling   : what each autoscaler saw over time
    events, scaling, node_scaling, disruptions, right_sizing, descheduling, healing, health, faults : what the loops
                    told
    node_groups   : nodes of each group over time, and what they cost
    descheduled   : one row a pod that the descheduler had evicted, and where its replacement went
    node_intervals: one row a node of a group: launched, joined, ended, what it cost
    availability  : pods of each workload that were ready, and that really served, over time
    detectors     : one row a failure detector: precision, recall, delay, and what its mistakes cost
    detections    : one row an outage and detector
    commits       : one row a turn that the store committed; of runs with a store alone, as is
    leaderless    : one row a time in which nobody led the store
    """

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history
        self._names = (*FRAME_NAMES, *(STORE_FRAMES if "store" in world.parts else ()))
        self._made: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        from k8slab.analysis import run_descheduling, run_frames, run_health, run_nodes, run_store

        if name not in self._names:
            raise UnknownName("frame", name, self._names)
        if name not in self._made:
            if name in TABLES:
                self._made[name] = run_frames.table_frame(self._world, name)
            else:
                make: Any = {
                    "autoscaling": _autoscaling_frame,
                    "pods": run_frames.pods_frame,
                    "nodes": run_frames.nodes_frame,
                    "utilization": run_frames.utilization_frame,
                    "availability": run_health.availability_frame,
                    "detectors": run_health.detectors_frame,
                    "detections": run_health.detections_frame,
                    "descheduled": run_descheduling.moves_frame,
                    "node_groups": run_nodes.node_groups_frame,
                    "node_intervals": run_nodes.node_intervals_frame,
                    "commits": run_store.commits_frame,
                    "leaderless": run_store.leaderless_frame,
                }[name]
                self._made[name] = make(self._world, self._history)
        return self._made[name]

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name in self.__dict__.get("_names", ()):
            return self[name]
        raise AttributeError(f"a run has no frame {name!r}; it has {', '.join(self._names)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._names]

    def __repr__(self) -> str:
        return f"<frames of a run: .{' .'.join(self._names)}>"


class Run:
    """One simulated time of a cluster, from its beginning to `until_ns`.

    simulation  : what was run
    seconds     : what it took, by the wall
    interrupted : whether it ended before its time, by Ctrl-C
    """

    def __init__(self, simulation: Simulation, world: World, seconds: float, *, interrupted: bool = False) -> None:
        from k8slab.simulation.history import History

        self.simulation = simulation
        self.until_ns = world.clock.now()
        self.seconds = seconds
        self.interrupted = interrupted
        self._world = world
        self._history = History(world.state, self.until_ns, world.cluster.states)
        self.frames = RunFrames(world, self._history)

    @property
    def journal_entries(self) -> int:
        """How many things happened to pods and nodes: rows of the state's journal."""
        return len(self._world.state.journal)

    # -- numbers -----------------------------------------------------------------------

    def summary(self) -> pd.DataFrame:
        """One row a metric: metric, value, unit. Means are over the run's time, each value by how long it lasted."""
        from k8slab.analysis.run_frames import summary_frame

        return summary_frame(self.metrics)

    @cached_property
    def metrics(self) -> Metrics:
        """metric -> (value, unit): what `summary` shows and `counterfactual` compares.

        pods_evicted     : that were told to leave a node, by whomever
        pods_requeued    : times that a pod lost its node and waited again
        pods_refused     : times that quotas or limits let a pod not in; only with namespaces
        unavailable_mean : of the replicas that deployments and stateful sets wanted, those not serving; only with these
        ..._told         : rows of the frame of that name
        """
        metrics = {**self._pod_metrics(), **self._wait_metrics(), **self._cluster_metrics(), **self._told_metrics()}
        if self.simulation.store is None:
            return metrics
        from k8slab.analysis.run_store import store_metrics

        return {**metrics, **store_metrics(self)}

    def _pod_metrics(self) -> Metrics:
        history = self._history
        came = history.arrived_ns < NEVER
        return {
            "pods_arrived": (int(came.sum()), "count"),
            "pods_placed": (int((history.bound_ns < NEVER).sum()), "count"),
            "pods_ended": (int((history.ended_ns < NEVER).sum()), "count"),
            "pods_never_placed": (int((came & (history.bound_ns == NEVER)).sum()), "count"),
            "restarts": (int(history.restarts.sum()), "count"),
            "pods_evicted": (self._rows("healing", "action", "evict"), "count"),
            "attempts": (self._world.scheduler.attempts, "count"),
        }

    def _wait_metrics(self) -> Metrics:
        history = self._history
        waited = history.pending_ns[history.arrived_ns < NEVER] / SECOND_NS
        at = {"mean": waited.mean() if len(waited) else np.nan}
        at |= {f"p{q}": np.percentile(waited, q) if len(waited) else np.nan for q in (50, 95, 99)}
        at["max"] = waited.max() if len(waited) else np.nan
        return {f"pending_{name}": (float(value), "s") for name, value in at.items()}

    def _cluster_metrics(self) -> Metrics:
        from k8slab.analysis.run_health import unavailable_percent

        history, state = self._history, self._world.state
        whole = np.array([0, max(self.until_ns, 1)])
        metrics: Metrics = {
            "running_mean": (float(history.running.means(whole)[0]), "pods"),
            "waiting_mean": (float(history.pending.means(whole)[0]), "pods"),
            "nodes_ready_mean": (float(history.ready_nodes.means(whole)[0]), "nodes"),
        }
        metrics["pods_requeued"] = (int(history.evictions.sum()), "count")
        if self.simulation.namespaces:
            metrics["pods_refused"] = (self._rows("events", "event", "FailedCreate"), "count")
        shares = self.frames.utilization.mean(numeric_only=True)
        for name in shares.index:
            if name.endswith("_percent"):
                metrics[f"{name.removesuffix('_percent')}_mean"] = (float(shares[name]), "percent")
        assert PODS in state.schema.names
        unavailable = unavailable_percent(self.simulation.parts, self._world)
        return metrics if unavailable is None else {**metrics, "unavailable_mean": (unavailable, "percent")}

    def _rows(self, table: str, column: str, value: str) -> int:
        """How many rows of a table that the loops told have this value."""
        return int((self._world.sink.columns(table)[column] == value).sum()) if self._world.sink.count(table) else 0

    def _told_metrics(self) -> Metrics:
        from k8slab.analysis.run_descheduling import descheduling_metrics
        from k8slab.analysis.run_nodes import node_metrics

        told: Metrics = {f"{table}_told": (self._world.sink.count(table), "count") for table in TABLES}
        # Drawn ahead; those of nodes that were taken away by then never were.
        told["faults_told"] = (len(self.frames.faults), "count")
        return {**node_metrics(self._world, self.until_ns), **descheduling_metrics(self._world), **told}

    # -- another policy on the same time -------------------------------------------------

    def counterfactual(
        self, policy: Any = None, *, seeds: int = 1, progress: bool | None = None, **changes: Any
    ) -> Counterfactual:
        """The same arrivals, lifetimes and faults under another policy (or other autoscalers, ...), and what differs.

        seeds    : so many pairs of runs, this run's seed and those after it. From two on each difference has an
                   interval, from six on it may have a verdict: of one week alone nobody knows what is chance
        progress : as `Simulation.run`; over all the runs that it takes
        changes  : arguments of Simulation to replace, beside the policy

        Raises InputError for less than one seed, and Interrupted after Ctrl-C, with the pairs so far as `partial`.
        """
        from k8slab.experiments.counterfactual import lived_otherwise

        return lived_otherwise(self, self.simulation.replaced(policy=policy, **changes), seeds, progress)

    # -- for people ------------------------------------------------------------------------

    @property
    def plot(self) -> RunPlots:
        """The pictures: `run.plot.timeline()` and the others."""
        from k8slab.analysis.run_plots import RunPlots

        return RunPlots(self)

    def healing_events(self, limit: int | None = None) -> list[SelfHealingEvent]:
        """What was done about pods and nodes, and why, as the orchestration API tells it: oldest first.

        limit : the last so many alone. The frame `healing` has the same as rows; time 0 is 1970 here.
        """
        from k8slab.application.healing_events import healing_event

        state, told = self._world.state, self._world.sink.columns("healing")
        names = {"pod": (told["pod_row"], state.pod_name), "node": (told["node_row"], state.node_name)}
        count = len(told["time_ns"])
        first = 0 if limit is None else max(0, count - limit)
        events = []
        for k in range(first, count):
            row = {name: column[k] for name, column in told.items()}
            row |= {what: name(int(rows[k])) if rows[k] >= 0 else "" for what, (rows, name) in names.items()}
            events.append(healing_event(f"healing-{k + 1}", row))
        return events

    def answer(self) -> str:
        """The run in two or three sentences."""
        value = {name: number for name, (number, _) in self.metrics.items()}
        cut = " before it was interrupted" if self.interrupted else ""
        waited = f"one in a hundred waited {shown(value['pending_p99'], 's')} or longer for a node"
        if not value["pending_max"] > 0:
            waited = "each found a node in the instant it came"
        never = f"; {value['pods_never_placed']:,.0f} never found one" if value["pods_never_placed"] else ""
        return (
            f"In {format_duration(self.until_ns)}{cut} {value['pods_arrived']:,.0f} pods came, "
            f"{value['running_mean']:,.0f} at a time on the mean; {waited}{never}. They requested "
            f"{value['cpu_requested_mean']:.1f}\u00a0% of the cores of ready nodes and used "
            f"{value['cpu_used_mean']:.1f}\u00a0%.{self._refused()}"
        )

    def _refused(self) -> str:
        """What quotas and limits did, the most frequent of their reasons first."""
        told = self.frames.events
        reasons = told.loc[told["event"] == "FailedCreate", "detail"].value_counts()
        if not len(reasons):
            return ""
        others = f", the most frequent of {len(reasons):,} reasons" if len(reasons) > 1 else ""
        times = "once" if reasons.sum() == 1 else f"{reasons.sum():,} times"
        return f" Admission let a pod not in {times}: {reasons.index[0]}{others}."

    def nodes_text(self) -> str:
        """How many nodes there were, for people: "200 nodes", or "2 to 41 nodes" where they came and went."""
        if "cloud" not in self._world.parts:
            count = self._world.state.node_count
            return f"{count:,} node{'s' if count != 1 else ''}"
        ready = self._history.ready_nodes
        counts = ready.value_at(np.unique(np.append(0, ready.at_ns)))
        return f"{int(counts.min()):,} to {int(counts.max()):,} nodes"

    def to_html(self, path: str | Path, *, against: Counterfactual | None = None) -> Path:
        """Write the report: one HTML file that needs no other. OutputError if it can't be written.

        against : what another policy made of the same time, shown beside
        """
        from k8slab.analysis.simulation_report import render
        from k8slab.experiments.comparison import write_text

        return write_text(Path(path), render(self, against))

    def manifest(self) -> dict[str, Any]:
        """What this was made from: versions, inputs, seed; with them the same bytes come again."""
        return {**self.simulation.manifest(), "until_ns": self.until_ns, "interrupted": self.interrupted}

    def save(self, folder: str | Path, *, suffix: str = ".csv") -> dict[str, Path]:
        """Writes every frame as NAME.csv, .csv.gz or .parquet, summary too, and manifest.json; gives the files by name.

        The same run gives the same bytes. Raises InputError for another suffix, OutputError
        where the folder can't be written.
        """
        import json

        writers = {".csv": _csv, ".csv.gz": _csv_gz, ".parquet": _parquet}
        if suffix not in writers:
            raise InputError(f"suffix={suffix!r}; wanted one of {', '.join(writers)}")
        target = Path(folder)
        files: dict[str, Path] = {}
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name, frame in (*self.frames.items(), ("summary", self.summary())):
                files[name] = target / f"{name}{suffix}"
                writers[suffix](frame, files[name])
            files["manifest"] = target / "manifest.json"
            files["manifest"].write_text(json.dumps(self.manifest(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write the run to {str(target)!r}: {error.strerror or error}") from error
        return files

    def __repr__(self) -> str:
        metrics = self.metrics
        cut = ", interrupted" if self.interrupted else ""
        return (
            f"<Run {self.simulation.policy.name}: {format_duration(self.until_ns)} of {self.nodes_text()}, "
            f"{int(metrics['pods_arrived'][0]):,} pods arrived{cut}>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(named(name))}</td><td>{shown(value, unit)}</td></tr>"
            for name, (value, unit) in self.metrics.items()
            if not name.endswith("_told") or value
        )
        cut = "; it was interrupted" if self.interrupted else ""
        return (
            f"<p><b>{escape(self.simulation.policy.name)}</b>: {format_duration(self.until_ns)} of "
            f"{self.nodes_text()} in {self.seconds:,.1f} s (seed {self.simulation.seed}){cut}</p>"
            f"<table>{rows}</table>"
        )


def _autoscaling_frame(world: World, history: History) -> pd.DataFrame:
    # Imported alone where it is asked for: beside it are plots, and loading matplotlib takes a second.
    from k8slab.analysis.run_autoscaling import autoscaling_frame

    return autoscaling_frame(world)


def shown(value: float, unit: str) -> str:
    """A metric for people."""
    if not np.isfinite(value):
        return "-"
    if unit == "s":
        return format_duration(round(value * SECOND_NS))
    text = f"{value:,.0f}" if unit == "count" else f"{value:,.1f}"
    text = text.removeprefix("-") if not text.strip("-0.") else text  # no "-0.0"
    return text + {"percent": "\u00a0%", "ms": "\u00a0ms"}.get(unit, "")


def named(metric: str) -> str:
    """What a metric is called for people."""
    if metric.endswith("_told"):
        return f"rows of {metric.removesuffix('_told').replace('_', ' ')}"
    return metric.replace("_", " ")


def _csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, lineterminator="\n")


def _csv_gz(frame: pd.DataFrame, path: Path) -> None:
    # gzip would write the time of day into the file.
    frame.to_csv(path, index=False, lineterminator="\n", compression={"method": "gzip", "mtime": 0})


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)
