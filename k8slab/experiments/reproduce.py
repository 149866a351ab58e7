"""The FGD study again: every trace, policy and seed, on all cores, and what the published values say of it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from k8slab import __version__
from k8slab.errors import InputError, Interrupted, OutputError, UnknownName
from k8slab.experiments.compare import THREADS
from k8slab.experiments.fgd_run import POLICIES, curves, run_fgd, summary
from k8slab.experiments.fgd_trace import TRACES, Trace, read_trace
from k8slab.experiments.go_random import check_go_seed
from k8slab.experiments.progress import ProgressBar, progress_bar
from k8slab.experiments.reproduction import CURVES, Reproduction

SEEDS: Final = tuple(range(42, 52))
JOURNAL: Final = "runs.jsonl"
Finished = dict[str, Any]


class Key(NamedTuple):
    """Which run."""

    trace: str
    policy: str
    seed: int


def reproduce_fgd(
    folder: Path | None,
    out: Path,
    *,
    traces: Iterable[str] | None = None,
    policies: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    published: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Reproduction:
    """Run the study "Beware of Fragmentation" (USENIX ATC 2023) again: 17 traces, 6 policies, 10 seeds by default.

    folder    : of the published CSVs; None takes the embedded shapes, which are alike but not the trace
    out       : where each run is written as it finishes, into runs.jsonl; runs that stand there already, of
                the same inputs and version, aren't made again
    policies  : as the published tables call them ("06-FGD") or as k8slab does ("fgd")
    published : the folder of allocation.csv.gz, frag_amount.csv.gz and frag_ratio.csv.gz to compare with; by default
                the folder of the traces, if they are there

    The same arguments give the same result, whatever the number of workers. Raises InputError or UnknownName
    before the first run if something can't be used, and Interrupted after Ctrl-C: the same call then goes on.
    """
    read = {name: read_trace(folder, name) for name in _traces(folder, traces)}
    keys = [Key(trace, policy, seed) for trace in read for seed in _seeds(seeds) for policy in _policies(policies)]
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}: wanted 1 or more, or None for one a core")
    if published is None and folder is not None and all((folder / f"{name}.csv.gz").is_file() for name in CURVES):
        published = folder
    result = Reproduction.reading(published, {name: trace.source for name, trace in read.items()})
    with Journal(out, read) as journal, progress_bar("reproducing", len(keys), show=progress) as bar:
        missing = [key for key in keys if key not in journal.finished]
        bar.reach(len(keys) - len(missing))
        try:
            for _ in _run_all(missing, read, journal, workers or os.cpu_count() or 1, bar):
                pass
        except KeyboardInterrupt:
            done = sum(key in journal.finished for key in keys)
            raise Interrupted(f"interrupted after {done:,} of {len(keys):,} runs; the same command goes on") from None
        return result.of([journal.finished[key] for key in keys])


def _run_all(
    keys: list[Key], read: dict[str, Trace], journal: Journal, workers: int, bar: ProgressBar
) -> Iterator[Future[None]]:
    """The groups of runs as they finish: those of a trace and a seed share its order of arrivals."""
    groups: dict[tuple[str, int], list[Key]] = {}
    for key in keys:
        groups.setdefault((key.trace, key.seed), []).append(key)
    at_first = before = len(journal.finished)
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=THREADS)
    try:
        # Kernels release the GIL, so threads use every core and share the inputs.
        waiting = {pool.submit(_run_group, read[trace], group, journal, stop) for (trace, _), group in groups.items()}
        while waiting:
            # A wait without end would keep Ctrl-C and the bar waiting too.
            done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                yield future
            bar.advance(len(journal.finished) - before)
            before = len(journal.finished)
        assert before - at_first == len(keys), f"{before - at_first} of {len(keys)} runs were made"
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _run_group(trace: Trace, group: list[Key], journal: Journal, stop: threading.Event) -> None:
    arrivals = trace.arrivals(group[0].seed)
    for key in group:
        if not stop.is_set():
            run = run_fgd(trace, key.policy, key.seed, arrivals)
            table = curves(run)
            finished: Finished = {"row": summary(run, table)}
            finished |= {name: getattr(table, name).tolist() for name in CURVES}
            finished["failed"] = [[*shape, count] for shape, count in run.failed_by_shape()]
            journal.append(key, finished)


class Journal:
    """Runs on disk, a JSON line each, written as they finish by any thread: a kill loses those in flight alone.

    finished : those of the same inputs and version; lines of others, and one that a kill cut off, are dropped
    """

    def __init__(self, folder: Path, read: dict[str, Trace]) -> None:
        self._path = folder / JOURNAL
        self._inputs = {name: f"{__version__} {trace.digest}" for name, trace in read.items()}
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self.finished: dict[Key, Finished] = {}

    def append(self, key: Key, finished: Finished) -> None:
        """One more run."""
        line = json.dumps({"inputs": self._inputs[key.trace], **finished})
        with self._lock:
            assert self._file is not None, "the journal is open while runs are made"
            self._file.write(f"{line}\n")
            self._file.flush()
            self.finished[key] = finished

    def __enter__(self) -> Journal:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._kept()
            part = self._path.with_name(f"{JOURNAL}.part")
            part.write_text("".join(kept), encoding="utf-8")
            part.replace(self._path)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"cannot write into the folder {str(self._path.parent)!r}: {reason}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def _kept(self) -> list[str]:
        """The lines to keep: whole ones of these inputs, and those of traces that take no part now."""
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True) if self._path.exists() else []
        kept = []
        for line in lines:
            try:
                found = json.loads(line)
                key = Key(found["row"]["trace"], found["row"]["policy"], found["row"]["seed"])
                inputs = found.pop("inputs")
            except (ValueError, KeyError, TypeError):
                continue
            if line.endswith("\n") and self._inputs.get(key.trace, inputs) == inputs:
                kept.append(line)
                self.finished[key] = found
        return kept


# -- what was asked for -------------------------------------------------------------


def _traces(folder: Path | None, names: Iterable[str] | None) -> list[str]:
    asked = list(dict.fromkeys(names or ())) or list(TRACES if folder else TRACES[:1])
    if folder is None and asked != ["default"]:
        other = next(name for name in asked if name != "default")
        raise InputError(
            f"trace {other!r}: without the folder of the published CSVs there are the embedded shapes of 'default' only"
        )
    return asked


def _policies(names: Iterable[str] | None) -> list[str]:
    """The published names of policies asked for by either name, in the published order."""
    ours = {name: label for label, name in POLICIES.items()}
    asked = list(names or POLICIES)
    for name in asked:
        if name not in POLICIES and name not in ours:
            raise UnknownName("policy of the study", name, [*POLICIES, *ours])
    chosen = {ours.get(name, name) for name in asked}
    return [label for label in POLICIES if label in chosen]


def _seeds(seeds: Iterable[int] | None) -> list[int]:
    return [check_go_seed(seed) for seed in dict.fromkeys(SEEDS if seeds is None else seeds)] or list(SEEDS)
