"""What PreVote and CheckQuorum buy under loss, broken links and drifting clocks: elections with and without them.

The thesis describes both (§9.6, §6.2) and measures neither; nobody has published the ablation. The switches
are etcd's: that members who hear a leader ignore candidates, and refuse pre-votes, comes with CheckQuorum. Clusters
are played by the compiled model of elections, which a test holds against the object core under the
same loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from k8slab.errors import InputError, UnknownName
from k8slab.experiments.progress import progress_bar
from k8slab.experiments.statistics import bootstrap_mean
from k8slab.simulation.elections import Elections, ElectionSetup, run_elections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Switches -> pre_vote, check_quorum.
SWITCHES: Final = {
    "neither": (False, False),
    "pre-vote": (True, False),
    "check-quorum": (False, True),
    "both": (True, True),
}
METRICS: Final = ("unserved_percent", "leaders_per_minute", "candidacies_per_minute")
# Messages that a drifting clock must be seen against: without loss, the fastest clock leads in peace.
_DRIFT_LOSS: Final = 0.1
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def _loss(members: int, level: float) -> dict[str, Any]:
    return {"loss": level}


def _deaf(members: int, level: float) -> dict[str, Any]:
    """The last member loses this share of what it is sent; what it sends arrives."""
    loss: Matrix = np.zeros((members, members))
    loss[:, -1] = level
    return {"loss": loss}


def _cut_link(members: int, level: float) -> dict[str, Any]:
    """Between the first and the last member, both ways, this share of messages is lost."""
    loss: Matrix = np.zeros((members, members))
    loss[0, -1] = loss[-1, 0] = level
    return {"loss": loss}


def _drift(members: int, level: float) -> dict[str, Any]:
    """Clocks from this much too fast to this much too slow, evenly spread."""
    rates = np.linspace(1 - level, 1 + level, members)
    return {"loss": _DRIFT_LOSS, "clock_rate": tuple(float(rate) for rate in rates)}


# Condition -> how a level of it, a share from 0 to 1, is set up.
CONDITIONS: Final[dict[str, Callable[[int, float], dict[str, Any]]]] = {
    "loss": _loss,
    "deaf member": _deaf,
    "cut link": _cut_link,
    "clock drift": _drift,
}
LEVELS: Final[dict[str, tuple[float, ...]]] = {
    "loss": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
    "deaf member": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "cut link": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "clock drift": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
}


@dataclass(frozen=True, eq=False)
class Ablation:
    """What a condition does to clusters with and without the switches.

    frame : one row a level, set of switches and metric; `frames.describe("raft.ablation")` tells of the columns
    """

    condition: str
    setup: ElectionSetup
    frame: pd.DataFrame

    def value(self, metric: str, switches: str, level: float) -> tuple[float, float, float]:
        """(mean, low, high) of a metric; level as it was asked for, a share."""
        if metric not in METRICS:
            raise UnknownName("metric", metric, METRICS)
        if switches not in SWITCHES:
            raise UnknownName("switches", switches, SWITCHES)
        rows = self.frame[(self.frame["metric"] == metric) & (self.frame["switches"] == switches)]
        row = rows[np.isclose(rows["level_percent"], 100 * level)]
        if row.empty:
            known = ", ".join(f"{percent / 100:g}" for percent in rows["level_percent"])
            raise InputError(f"level={level:g} was not played; known: {known}")
        mean, low, high = row[["mean", "low", "high"]].iloc[0]
        return float(mean), float(low), float(high)

    def plot(self, metric: str = "unserved_percent", ax: Axes | None = None) -> Axes:
        """A line a set of switches over the levels, with the means' intervals."""
        from k8slab.analysis.raft_plots import ablation_plot

        return ablation_plot(self, metric, ax=ax)

    def _repr_html_(self) -> str:
        table = self.frame[self.frame["metric"] == METRICS[0]].pivot_table(
            index="level_percent", columns="switches", values="mean", sort=False
        )
        return f"<p>{self.condition}: time without a usable leader, %</p>{table.round(2).to_html()}"


def ablate_elections(
    condition: str,
    levels: Iterable[float] | None = None,
    *,
    setup: ElectionSetup | None = None,
    trials: int = 200,
    minutes: float = 1.0,
    seed: int = 0,
    progress: bool = True,
) -> Ablation:
    """Play clusters under a condition at several levels, with and without PreVote and CheckQuorum.

    condition : loss (of every message), deaf member (it loses what it is sent), cut link (between two
                members), clock drift (clocks from too fast to too slow, with 10 % loss)
    levels    : shares from 0 to 1
    setup     : the cluster; the condition sets its loss or clocks, and the switches are set in turn
    trials    : clusters a point, the same dice for all switches; minutes of virtual time each

    >>> ablation = ablate_elections("loss", [0.0, 0.3], trials=20, minutes=0.2, progress=False)
    >>> ablation.value("leaders_per_minute", "both", 0.3) < ablation.value("leaders_per_minute", "neither", 0.3)
    True
    """
    if condition not in CONDITIONS:
        raise UnknownName("condition", condition, CONDITIONS)
    chosen = [float(level) for level in (LEVELS[condition] if levels is None else levels)]
    most = 1.0 if condition != "clock drift" else 0.99
    if not chosen or not all(0.0 <= level <= most for level in chosen):
        raise InputError(f"levels={chosen}: wanted one or more from 0 to {most:g}")
    if trials < 2 or minutes <= 0.0:
        raise InputError(f"trials={trials}, minutes={minutes}: wanted two trials or more, and a time to play")
    base = setup if setup is not None else DEFAULT
    rows: list[tuple[Any, ...]] = []
    with progress_bar(f"elections: {condition}", len(chosen) * len(SWITCHES), show=progress) as bar:
        for level in chosen:
            for name, (pre_vote, check_quorum) in SWITCHES.items():
                parts = {**vars(base), **CONDITIONS[condition](base.members, level)}
                parts |= {"pre_vote": pre_vote, "check_quorum": check_quorum}
                played = run_elections(
                    ElectionSetup(**parts), trials=trials, seed=seed, until="horizon", horizon=60_000.0 * minutes
                )
                rows += _rows(condition, level, name, played, minutes)
                bar.advance()
    columns = ["condition", "level_percent", "switches", "metric", "mean", "low", "high", "trials"]
    return Ablation(condition, base, pd.DataFrame(rows, columns=columns))


# etcd's timings in ticks of 10 ms by tenths: heartbeats thrice in the least patience; a local network.
DEFAULT: Final = ElectionSetup(timeout=(150.0, 300.0), heartbeat=50.0, delay=(1.0, 5.0), patient_on_new_term=True)


def _rows(condition: str, level: float, switches: str, played: Elections, minutes: float) -> list[tuple[Any, ...]]:
    values = {
        "unserved_percent": 100.0 * (1.0 - played.served_share),
        "leaders_per_minute": played.leaders / minutes,
        "candidacies_per_minute": played.candidacies / minutes,
    }
    rows = []
    for metric, sample in values.items():
        interval = bootstrap_mean(sample)
        spread = (interval.mean, interval.low, interval.high)
        rows.append((condition, 100.0 * level, switches, metric, *spread, len(sample)))
    return rows
