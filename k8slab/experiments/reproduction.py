"""The result of running the FGD study again: tables, figures, and how far the published values are off."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from k8slab.errors import InputError, OutputError
from k8slab.experiments.comparison import write_text
from k8slab.experiments.manifest import versions

CURVES: Final = ("allocation", "frag_amount", "frag_ratio")
RANDOM: Final = "01-Random"
_KEY: Final = ["trace", "policy", "seed"]
_FAILED: Final = ["cpu_milli", "gpu_milli", "gpus", "models", "pods"]
_SHARED_TEXT: Final = (
    "The embedded shapes have the published trace's counts of pods and nodes of every shape, but not its order: "
    "what comes out is like the published values, not equal to them. Give the folder of the published CSVs for those."
)


@dataclass(frozen=True, eq=False)
class Reproduction:
    """The runs of a reproduction as frames.

    results   : a row a trace, policy and seed, with the columns of the published by_seed.csv
    curves    : a row a trace, policy, seed and arrived load in % of the GPUs; NaN where nothing arrived
    failures  : a row a trace, policy, seed and shape of pods that found no node, most pods first
    published : the published curves, in the same form; None if they aren't at hand
    sources   : what each trace was read from
    """

    results: pd.DataFrame
    curves: pd.DataFrame
    failures: pd.DataFrame
    published: pd.DataFrame | None
    sources: Mapping[str, str]

    @classmethod
    def reading(cls, published: Path | None, sources: Mapping[str, str]) -> Reproduction:
        """Without runs so far. InputError if the published values can't be read."""
        nothing = pd.DataFrame()
        return cls(nothing, nothing, nothing, None if published is None else read_published(published), sources)

    def of(self, runs: Sequence[Mapping[str, Any]]) -> Reproduction:
        """The same with these runs."""
        results = pd.DataFrame([run["row"] for run in runs])
        loads = len(runs[0]["allocation"])
        curves = results[_KEY].loc[results.index.repeat(loads)].reset_index(drop=True)
        curves["load"] = np.tile(np.arange(loads), len(runs))
        for name in CURVES:
            curves[name] = np.concatenate([np.array(run[name], dtype=np.float64) for run in runs])
        failed = [[*(run["row"][key] for key in _KEY), *shape] for run in runs for shape in run["failed"]]
        failures = pd.DataFrame(failed, columns=[*_KEY, *_FAILED])
        return Reproduction(results, curves, failures, self.published, self.sources)

    @property
    def embedded(self) -> bool:
        """Whether it ran on the embedded shapes, not on the published trace."""
        return any("embedded" in source for source in self.sources.values())

    @functools.cached_property
    def differences(self) -> pd.DataFrame:
        """How the published values differ, a row a policy and curve: runs, values compared, equal, largest difference.

        For 01-Random, whose draws are others, `gap` is the difference of the means at load 100, and `spread`
        the standard error of such a difference. Empty where nothing published is at hand.
        """
        columns = ["policy", "curve", "runs", "compared", "equal", "largest", "gap", "spread"]
        if self.published is None or self.embedded:
            return pd.DataFrame(columns=columns)
        both = self.curves.merge(self.published, on=[*_KEY, "load"], suffixes=("", "_published"))
        rows = []
        for policy, part in both.groupby("policy", sort=False):
            for name in CURVES:
                ours, theirs = part[name].to_numpy(), part[f"{name}_published"].to_numpy()
                off = np.where(np.isnan(ours) & np.isnan(theirs), 0.0, np.abs(ours - theirs))
                gap, spread = _gap(part[part["load"] == 100], name)
                row = (policy, name, len(part.drop_duplicates(_KEY)), len(off), int((off == 0).sum()))
                rows.append((*row, float(np.nanmax(off)), gap, spread))
        return pd.DataFrame(rows, columns=columns)

    def answer(self) -> str:
        """What came out, in a sentence or two."""
        names = self.results["trace"].tolist()
        trace = "default" if "default" in names else names[0]
        at_100 = self.results[self.results["trace"] == trace].groupby("policy")["alloc_100"].mean()
        if at_100.isna().all():
            nothing = "no pod arrives near the load of 100 %, where policies are compared"
            return f"On trace {trace} {nothing}. {self.verdict()}"
        left = (100 - at_100).sort_values(kind="stable")
        told = ", ".join(f"{policy.partition('-')[2]} {percent:.2f} %" for policy, percent in left.items())
        return f"GPUs left unallocated when as much is asked as there is, on trace {trace}: {told}. {self.verdict()}"

    def verdict(self) -> str:
        """What the published values say."""
        if self.embedded:
            return _SHARED_TEXT
        exact = self.differences[self.differences["policy"] != RANDOM]
        if len(exact) == 0:
            return "No published values were at hand to compare with."
        compared, equal = int(exact["compared"].sum()), int(exact["equal"].sum())
        if compared == equal:
            return f"All {compared:,} published values of the deterministic policies come out equal, to the last digit."
        return f"Of {compared:,} published values of the deterministic policies {equal:,} come out equal."

    def manifest(self) -> dict[str, Any]:
        """What it was made from, and the hash of what came out."""
        return {
            "study": "fgd",
            "versions": versions(),
            "traces": dict(self.sources),
            "policies": self.results["policy"].unique().tolist(),
            "seeds": self.results["seed"].unique().tolist(),
            "result": {"runs": len(self.results), "sha256": hashlib.sha256(_csv(self.results).encode()).hexdigest()},
        }

    def save(self, folder: Path) -> list[Path]:
        """Write results, curves, failures and differences as CSV, manifest.json and, with pyarrow, results.parquet.

        OutputError if one can't be written.
        """
        texts = {f"{name}.csv": _csv(getattr(self, name)) for name in ("results", "curves", "failures", "differences")}
        texts["manifest.json"] = json.dumps(self.manifest(), indent=2) + "\n"
        written = [write_text(folder / name, text) for name, text in texts.items()]
        path = folder / "results.parquet"
        try:
            self.results.to_parquet(path, index=False)
        except ImportError:
            return written  # pyarrow is an extra
        except OSError as error:
            raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
        return [*written, path]

    def to_html(self, path: Path) -> Path:
        """Write the report, one HTML file that needs no other."""
        from k8slab.analysis.reproduction import render

        return write_text(path, render(self))

    def save_figures(self, folder: Path) -> list[Path]:
        """Write the paper's figures that these runs have, an SVG each."""
        from k8slab.analysis.page import svg
        from k8slab.analysis.reproduction import figures


        drawn = figures(self.results, self.curves, self.failures)
        return [
            write_text(folder / f"{figure.name}.svg", svg(figure.draw, figure.height).decode()) for figure in drawn
        ]

    def __repr__(self) -> str:
        return f"Reproduction of {len(self.results):,} runs. {self.answer()}"


def _gap(at_100: pd.DataFrame, name: str) -> tuple[float, float]:
    """The difference of the means, and the standard error of such a difference over traces and seeds."""
    gap = at_100[name].mean() - at_100[f"{name}_published"].mean()
    within = at_100.groupby("trace")[[name, f"{name}_published"]].var(ddof=1).mean().sum()
    return float(gap), float(np.sqrt(within / len(at_100)))


def _csv(frame: pd.DataFrame) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n"))


def read_published(folder: Path) -> pd.DataFrame:
    """Published curves: a row a trace, policy, seed and load. InputError with the file for what can't be read."""
    tables = []
    for name in CURVES:
        path = folder / f"{name}.csv.gz"
        try:
            wide = pd.read_csv(path)
        except FileNotFoundError as error:
            raise InputError(f"no published values in {str(folder)!r}: there is no file {path.name}") from error
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read the published values {str(path)!r}: {error}") from error
        missing = [column for column in _KEY if column not in wide.columns]
        if missing:
            found = ", ".join(map(str, wide.columns[:8]))
            raise InputError(f"{path.name}: no column {missing[0]!r}. Found: {found} ...")
        long = wide.melt(id_vars=_KEY, var_name="load", value_name=name)
        tables.append(long.astype({"load": np.int64}).set_index([*_KEY, "load"]))
    return pd.concat(tables, axis=1).reset_index()
