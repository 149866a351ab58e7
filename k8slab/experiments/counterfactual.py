"""The same time lived otherwise: pairs of runs that differ in one thing, and what can be said of that."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from k8slab.errors import InputError, Interrupted
from k8slab.experiments.progress import in_notebook, progress_bar
from k8slab.units import format_duration

if TYPE_CHECKING:
    import pandas as pd

    from k8slab.experiments.simulation import Simulation
    from k8slab.experiments.simulation_run import Metrics, Run

Pair = tuple["Metrics", "Metrics"]
_DIFFERENCES: Final = ("pending_s", "restarts", "evictions")


def lived_otherwise(base: Run, otherwise: Simulation, seeds: int, progress: bool | None) -> Counterfactual:
    """See `Run.counterfactual`."""
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InputError(f"seeds={seeds!r}; wanted a whole number, 1 or more")
    shown = progress is True or (progress is None and not in_notebook())
    until_ns, runs = base.until_ns, 2 * seeds - 1
    what = f"{runs} runs of" if runs > 1 else "once more"
    done = 0
    with progress_bar(f"{what} {format_duration(until_ns)}", runs * until_ns, show=shown) as bar:

        def live(simulation: Simulation, seed: int) -> Run:
            nonlocal done
            before = done * until_ns
            run = simulation.replaced(seed=seed).run(f"{until_ns}ns", progress=lambda at_ns: bar.reach(before + at_ns))
            done += 1
            return run

        other = live(otherwise, otherwise.seed)
        pairs = [(base.metrics, other.metrics)]
        try:
            for more in range(1, seeds):
                one, two = (live(each, each.seed + more) for each in (base.simulation, otherwise))
                pairs.append((one.metrics, two.metrics))
        except Interrupted as error:
            partial = Counterfactual(base, other, pairs)
            raise Interrupted(f"{error}, after {len(pairs)} of {seeds} pairs", partial=partial) from None
    return Counterfactual(base, other, pairs)


class Counterfactual:
    """Runs of the same time that differ in one thing, metric by metric and pod by pod.

    base, other : the Runs of the first seed
    pairs       : the metrics of both, of each seed
    """

    def __init__(self, base: Run, other: Run, pairs: Sequence[Pair] | None = None) -> None:
        self.base = base
        self.other = other
        self.pairs = [(base.metrics, other.metrics)] if pairs is None else list(pairs)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a metric: metric, base, other, difference (other - base), low, high, verdict, pairs, unit.

        Of several pairs means; low and high are the 95 % interval of the mean of the paired differences, missing
        for one pair alone. See k8slab.experiments.statistics for it, and for the verdict.
        """
        import pandas as pd

        from k8slab.experiments.statistics import paired_differences

        names = [name for name in self.pairs[0][0] if all(name in one and name in two for one, two in self.pairs)]
        base, other = (
            np.array([[pair[side][name][0] for pair in self.pairs] for name in names], dtype=np.float64)
            for side in (0, 1)
        )
        # Each metric for itself: one policy against one, so there is nothing to correct for.
        found = [
            paired_differences(b[None], a)[0] if np.isfinite(b - a).all() else None
            for a, b in zip(base, other, strict=True)
        ]
        return pd.DataFrame(
            {
                "metric": np.array(names, dtype=object), "base": base.mean(axis=1), "other": other.mean(axis=1),
                "difference": (other - base).mean(axis=1),
                "low": [np.nan if one is None else one.interval.low for one in found],
                "high": [np.nan if one is None else one.interval.high for one in found],
                "verdict": np.array(["" if one is None else one.verdict for one in found], dtype=object),
                "pairs": np.full(len(names), len(self.pairs)),
                "unit": np.array([self.base.metrics[name][1] for name in names], dtype=object),
            }
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Writes `frame` as CSV. OutputError if it can't be written."""
        from k8slab.experiments.comparison import write_text

        return write_text(Path(path), self.frame.to_csv(index=False, lineterminator="\n"))

    def pods(self) -> pd.DataFrame:
        """One row a pod that came in both of the first pair, by name: its wait, restarts and node in each, and the
        differences."""
        columns: list[Any] = ["pod", "node", *_DIFFERENCES]
        one, two = (
            # A stateful set gives a name again: the first of it is compared with the first, and so on.
            pods[columns].assign(again=pods.groupby("pod").cumcount())
            for pods in (self.base.frames.pods, self.other.frames.pods)
        )
        both = one.merge(two, on=["pod", "again"], suffixes=("_base", "_other"), validate="one_to_one")
        both = both.drop(columns="again")
        for name in _DIFFERENCES:
            both[f"{name}_difference"] = both[f"{name}_other"] - both[f"{name}_base"]
        return both

    def __repr__(self) -> str:
        pairs = f", {len(self.pairs)} pairs" if len(self.pairs) > 1 else ""
        return f"<Counterfactual: {self.base!r} against {self.other!r}{pairs}>"

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(index=False, float_format=lambda value: f"{value:,.3f}", na_rep="-"))
