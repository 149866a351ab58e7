"""The report of a conformance run: one HTML file that needs no other."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from k8slab.analysis.page import template

if TYPE_CHECKING:
    from k8slab.experiments.conformance import Conformance, Difference

_MOST_DIFFERENCES: Final = 50
_LONGEST: Final = 600  # characters of a value in the table of differences


def render(result: Conformance) -> str:
    """The report as HTML text: nothing loaded from elsewhere, the same bytes each time."""
    manifest = result.manifest()
    shown = [(case, _short(difference)) for case, difference in result.differences(_MOST_DIFFERENCES)]
    kinds = _column_kinds(result)
    return template("conformance.html").render(
        title=_title(result),
        answer=_answer(result),
        facts=[(f"{result.suite.noun}s", f"{len(result.results):,}"), *_facts(result)],
        suite=result.suite,
        categories=_categories(result),
        matrix={"kinds": kinds, "rows": _matrix(result, kinds)},
        others=_others(result, kinds),
        differences=shown,
        told=_told(len(shown), len(result.differences())),
        manifest=manifest,
        manifest_json=json.dumps(manifest, indent=2),
    )


def _title(result: Conformance) -> str:
    cases = f"{len(result.results):,} {result.suite.noun}s"
    return f"{result.suite.name}: {result.passed:,} of {cases} come out the same"


def _answer(result: Conformance) -> str:
    if not result.results:
        return "No case was found, and that is no pass."
    everything, same = sum(result.compared.values()), sum(result.equal.values())
    if result.ok:
        parts = [f"{value} {name}" for name, value in _facts(result)]
        listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
        return f"Everything that was recorded came out equal{f': {listed}' if listed else ''}."
    count = len(result.differences())
    told = f"{result.failed:,} of {len(result.results):,} {result.suite.noun}s fail, with {_counted(count)}."
    return f"{told} Of {everything:,} things compared {same:,} are equal." if everything else told


def _facts(result: Conformance) -> list[tuple[str, str]]:
    """What the suite tells by number, of what there was any."""
    by_kind: Counter[str] = Counter()
    for (_, kind), count in result.compared.items():
        by_kind[kind] += count
    sums = {label: sum(by_kind[kind] for kind in kinds) for label, kinds in result.suite.facts.items()}
    return [(label, f"{count:,}") for label, count in sums.items() if count]


def _categories(result: Conformance) -> list[dict[str, str]]:
    differences: Counter[str] = Counter()
    for found in result.results:
        differences[found.category] += len(found.differences)
    return [
        {
            "category": category,
            "cases": f"{count:,}",
            "passed": f"{passed:,}",
            "failed": f"{count - passed:,}",
            "differences": f"{differences[category]:,}",
        }
        for category, (passed, count) in result.categories().items()
    ]


def _column_kinds(result: Conformance) -> list[str]:
    """The kinds that several names have, as they came: columns of the table. The others have a row each."""
    names = Counter(kind for name, kind in result.compared if name)
    return [kind for kind in dict.fromkeys(kind for _, kind in result.compared) if names[kind] > 1]


def _matrix(result: Conformance, kinds: list[str]) -> list[dict[str, Any]]:
    """A row a plug-in: how many of each kind, and the share of all that is equal."""
    names = sorted({name for name, kind in result.compared if kind in kinds})
    return [
        {
            "name": name,
            "cells": [_cell(result, (name, kind)) for kind in kinds],
            "agreement": _share(result, [(name, kind) for kind in kinds]),
        }
        for name in names
    ]


def _cell(result: Conformance, key: tuple[str, str]) -> dict[str, Any]:
    compared, equal = result.compared.get(key), result.equal.get(key, 0)
    if compared is None:
        return {"text": "", "differs": False}
    text = f"{compared:,}" if equal == compared else f"{equal:,} of {compared:,}"
    return {"text": text, "differs": equal != compared}


def _others(result: Conformance, kinds: list[str]) -> list[dict[str, str]]:
    return [
        {
            "what": f"{kind}, {name}" if name else kind,
            "compared": f"{count:,}",
            "equal": f"{result.equal.get((name, kind), 0):,}",
            "agreement": _share(result, [(name, kind)]),
        }
        for (name, kind), count in sorted(result.compared.items(), key=lambda item: item[0][1])
        if kind not in kinds
    ]


def _share(result: Conformance, keys: list[tuple[str, str]]) -> str:
    """In percent, rounded down: 100 says that all are equal."""
    compared = sum(result.compared.get(key, 0) for key in keys)
    equal = sum(result.equal.get(key, 0) for key in keys)
    return f"{math.floor(10_000 * equal / compared) / 100:g} %"


def _short(difference: Difference) -> Difference:
    return replace(difference, expected=_clipped(difference.expected), got=_clipped(difference.got))


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _told(shown: int, count: int) -> str:
    return f"{_counted(count)}:" if shown == count else f"The first {shown} of {count:,}:"


def _counted(count: int) -> str:
    return f"{count:,} difference{'' if count == 1 else 's'}"
