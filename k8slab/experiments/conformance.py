"""Conformance: recorded cases, computed again and compared, and what came of it.

A suite knows one kind of case: where a file holds them, how the library computes what a case
recorded, and where the two differ. The runner does the rest, and lets nothing pass by
accident: a case that raises has failed, one given twice counts once, and no case is no pass.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from k8slab.errors import InputError, Interrupted, UnknownName
from k8slab.experiments.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

# Each is loaded when it is asked for.
_SUITES: Final = {
    "kube-scheduler": "k8slab.experiments.conform_kube_scheduler:KubeScheduler",
    "controllers": "k8slab.experiments.conform_controllers:ControllersSuite",
    "raft": "k8slab.experiments.conform_raft:RaftSuite",
}
_SUFFIXES: Final = (".jsonl.gz", ".jsonl", ".json.gz", ".json")
_LONGEST: Final = 200  # characters of a value in a message


@dataclass(frozen=True)
class Case:
    """One recorded case.

    given : all that the file says of it, what it expects too
    where : file and line, for messages
    """

    category: str
    id: str
    given: Mapping[str, Any]
    where: str = ""


@dataclass(frozen=True)
class Difference:
    """One thing that was computed otherwise than recorded.

    expected, got : "" both where `where` says it all
    node, plugin  : whose it is, "" where that means nothing
    """

    where: str
    expected: str
    got: str
    node: str = ""
    plugin: str = ""

    def __str__(self) -> str:
        place = ", ".join(filter(None, (self.node and f"node {self.node}", self.plugin, self.where)))
        if not self.expected and not self.got:
            return _clipped(place)
        return f"{place}: expected {_clipped(self.expected)}, got {_clipped(self.got)}"


@dataclass(frozen=True)
class Outcome:
    """What one case gave.

    actual   : what was computed, in the form of what was expected
    compared : (name, kind) -> how many things were compared; a name is a plug-in's or of
               whatever else decided, "" for the decision as a whole
    equal    : (name, kind) -> how many of them were equal
    error    : what was raised, "" for nothing
    """

    passed: bool
    actual: Any
    differences: tuple[Difference, ...] = ()
    compared: Mapping[tuple[str, str], int] = field(default_factory=dict)
    equal: Mapping[tuple[str, str], int] = field(default_factory=dict)
    error: str = ""


class Suite(Protocol):
    """One kind of recorded cases.

    name     : what the command calls it
    noun     : what its cases are called, one of them
    source   : where they were recorded, in a few words
    rule     : when one passes, in a sentence or two
    counting : what was counted for whom, likewise
    facts    : what the report tells by number: label -> the kinds of `Outcome.compared` that it adds up
    verdicts : whether what is written of each case says if it passed: not everything in it had to be equal
    """

    name: str
    noun: str
    source: str
    rule: str
    counting: str
    facts: Mapping[str, tuple[str, ...]]
    verdicts: bool

    def cases(self, paths: Iterable[Path]) -> Iterator[Case]:
        """The cases of these files, in order. Raises InputError for what is no case, with file and line."""

    def judge(self, case: Case) -> Outcome:
        """Compute a case and compare. What it raises fails the case."""


@dataclass(frozen=True)
class CaseResult:
    """A case that was judged."""

    category: str
    id: str
    differences: tuple[Difference, ...]
    passed: bool


@dataclass(frozen=True, eq=False, repr=False)
class Conformance:
    """What came of a suite's cases.

    results  : a case each, in the order of the files
    compared : (name, kind) -> how many things were compared
    equal    : (name, kind) -> how many of them were equal
    files    : file name -> sha256 of its content
    """

    suite: Suite
    results: tuple[CaseResult, ...]
    compared: Mapping[tuple[str, str], int]
    equal: Mapping[tuple[str, str], int]
    files: Mapping[str, str]

    @property
    def passed(self) -> int:
        """How many cases passed."""
        return sum(result.passed for result in self.results)

    @property
    def failed(self) -> int:
        """How many did not."""
        return len(self.results) - self.passed

    @property
    def ok(self) -> bool:
        """Whether there were cases, and all of them passed."""
        return bool(self.results) and not self.failed

    def categories(self) -> dict[str, tuple[int, int]]:
        """Category -> (passed, all), in order of first appearance."""
        every = Counter(result.category for result in self.results)
        passed = Counter(result.category for result in self.results if result.passed)
        return {category: (passed[category], count) for category, count in every.items()}

    def lines(self) -> list[str]:
        """A line a category, and the sum: what the command prints."""
        told = [f"{category}: {passed}/{count}" for category, (passed, count) in self.categories().items()]
        return [*told, f"{self.passed} passed, {self.failed} failed"]

    def differences(self, most: int | None = None) -> list[tuple[str, Difference]]:
        """(case, difference), the first of all that there are."""
        found = [(result.id, difference) for result in self.results for difference in result.differences]
        return found[:most]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a case: category, case, passed, differences."""
        import pandas as pd

        rows = [(result.category, result.id, result.passed, len(result.differences)) for result in self.results]
        return pd.DataFrame(rows, columns=["category", "case", "passed", "differences"]).astype(
            {"passed": "bool", "differences": "int64"}
        )

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """One row a name and kind of thing that was compared: name, kind, compared, equal."""
        import pandas as pd

        rows = [(*key, count, self.equal.get(key, 0)) for key, count in sorted(self.compared.items())]
        return pd.DataFrame(rows, columns=["name", "kind", "compared", "equal"]).astype(
            {"compared": "int64", "equal": "int64"}
        )

    def manifest(self) -> dict[str, Any]:
        """Which files, by which versions, with what result."""
        from k8slab.experiments.manifest import versions

        return {
            "suite": self.suite.name,
            "files": dict(self.files),
            "versions": versions(),
            "result": {"passed": self.passed, "failed": self.failed, "sha256": self.content_hash()},
        }

    def content_hash(self) -> str:
        """sha256 (hex) of every case's verdict and differences."""
        told = [[r.category, r.id, r.passed, [str(difference) for difference in r.differences]] for r in self.results]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def to_html(self, path: str | Path) -> Path:
        """Write the report, one HTML file. Raises OutputError."""
        from k8slab.analysis.conformance_report import render
        from k8slab.experiments.comparison import write_text

        return write_text(Path(path), render(self))

    def __repr__(self) -> str:
        return f"Conformance({self.suite.name}: {self.lines()[-1]})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(category)}</td><td>{passed}/{count}</td></tr>"
            for category, (passed, count) in self.categories().items()
        )
        total = f"<b>{escape(self.suite.name)}</b>: {self.lines()[-1]}"
        return f"{total}<table><tr><th>category</th><th>passed</th></tr>{rows}</table>"


def suite_names() -> tuple[str, ...]:
    """The names of the suites."""
    return tuple(_SUITES)


def suite(name: str) -> Suite:
    """A suite by its name. Raises UnknownName."""
    if name not in _SUITES:
        raise UnknownName("suite", name, _SUITES)
    module, _, kind = _SUITES[name].partition(":")
    found: Suite = getattr(import_module(module), kind)()
    return found


def conform(
    which: Suite | str,
    paths: Iterable[str | Path],
    *,
    progress: bool = True,
    on_case: Callable[[Case, Outcome], None] | None = None,
) -> Conformance:
    """Judge all cases of these files and folders.

    on_case : called with each case as soon as it is judged

    Every case counts once, however often it is given; the same name with other content is
    another case. All files are read before the first case is judged. Raises UnknownName for a
    suite, InputError for a file or line that holds no case; Ctrl-C raises Interrupted with what
    had been judged as its `partial`.
    """
    chosen = suite(which) if isinstance(which, str) else which
    files = case_files(paths)
    count, repeated = _census(chosen.cases(files))
    tally = _Tally(chosen, files)
    with progress_bar(chosen.name, count, show=progress and count > 0) as bar:
        try:
            for number, case in enumerate(chosen.cases(files)):
                if number in repeated:
                    continue
                outcome = _judged(chosen, case)
                tally.add(case, outcome)
                if on_case is not None:
                    on_case(case, outcome)
                bar.advance()
        except KeyboardInterrupt as stop:
            done = tally.result()
            raise Interrupted(f"interrupted after {len(done.results)} of {count} {chosen.noun}s", done) from stop
    return tally.result()


def _judged(chosen: Suite, case: Case) -> Outcome:
    try:
        return chosen.judge(case)
    except KeyboardInterrupt:  # k8slab's own Interrupted is an Exception, too
        raise
    except Exception as error:
        return Outcome(False, {}, (raised(error),), error=raised(error).got)


def raised(error: Exception) -> Difference:
    """An exception as a case's difference, with the line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    at = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in last)
    return Difference("raises", "nothing", f"{type(error).__name__}: {error}{at}")


def _census(cases: Iterable[Case]) -> tuple[int, frozenset[int]]:
    """How many distinct cases there are, and which ordinal numbers repeat one."""
    seen: set[tuple[str, str, bytes]] = set()
    repeated = set()
    for number, case in enumerate(cases):
        content = json.dumps(case.given, sort_keys=True, ensure_ascii=False).encode()
        key = (case.category, case.id, hashlib.sha256(content).digest())
        if key in seen:
            repeated.add(number)
        seen.add(key)
    return len(seen), frozenset(repeated)


class _Tally:
    """What has been judged so far."""

    def __init__(self, chosen: Suite, files: Iterable[Path]) -> None:
        self._suite = chosen
        self._files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        self._results: list[CaseResult] = []
        self._compared: Counter[tuple[str, str]] = Counter()
        self._equal: Counter[tuple[str, str]] = Counter()

    def add(self, case: Case, outcome: Outcome) -> None:
        self._results.append(CaseResult(case.category, case.id, outcome.differences, outcome.passed))
        self._compared.update(outcome.compared)
        self._equal.update(outcome.equal)

    def result(self) -> Conformance:
        equal = {key: self._equal[key] for key in self._compared}
        return Conformance(self._suite, tuple(self._results), dict(self._compared), equal, self._files)


# -- files ---------------------------------------------------------------------


def case_files(paths: Iterable[str | Path]) -> list[Path]:
    """The files named, and those that lie in the folders named, each once. Raises InputError."""
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        inside = [path]
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
        elif not path.name.endswith(_SUFFIXES):
            raise InputError(f"{str(path)!r} is no file of cases; wanted one that ends in {', '.join(_SUFFIXES)}")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def records(paths: Iterable[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where, object) of every line of a .jsonl file, and every item of a .json file's array."""
    for path in paths:
        yield from _records_of(path)


def _records_of(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            if ".jsonl" in path.name[-len(".jsonl.gz") :]:
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield f"{path.name}, line {number}", _object(line, f"{path.name}, line {number}")
            else:
                yield from _items(_parsed(stream.read(), path.name), path.name)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read cases from {str(path)!r}: {reason}") from error


def _items(content: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    items = content if isinstance(content, list) else [content]
    for number, item in enumerate(items):
        where = f"{name}, item {number}" if isinstance(content, list) else name
        if not isinstance(item, dict):
            raise InputError(f"{where}: found {type(item).__name__}; wanted an object")
        yield where, item


def _object(line: bytes, where: str) -> Mapping[str, Any]:
    found = _parsed(line, where)
    if not isinstance(found, dict):
        raise InputError(f"{where}: found {type(found).__name__}; wanted an object")
    return found


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from error


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"
