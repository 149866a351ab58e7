"""The Raft core judged by cases recorded from a reference implementation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from k8slab.errors import InputError
from k8slab.experiments.raft_conformance import chance, cluster, member, paper, pure
from k8slab.experiments.raft_conformance.outcome import Case, Outcome, Tier

_JUDGES: Final[dict[str, Callable[[Case], Outcome]]] = {
    "quorum": pure.judge_quorum,
    "confchange": pure.judge_confchange,
    "log": pure.judge_log,
    "progress": pure.judge_progress,
    "paper": paper.judge_paper,
    "transition": member.judge_transition,
    "node": member.judge_node,
    "network": member.judge_network,
    "script": cluster.judge_script,
    "schedule": cluster.judge_schedule,
    "statistical": chance.judge_statistical,
}
# The categories that are not of tier A.
_TIERS: Final[dict[str, Tier]] = {
    "transition": "C",
    "node": "C",
    "network": "B",
    "script": "B",
    "schedule": "B",
    "statistical": "statistical",
}


def cases(paths: Iterable[str | Path]) -> Iterator[tuple[str, str, Case]]:
    """The cases of files, one JSON array each: category, id, case."""
    for path in map(Path, paths):
        for case in json.loads(path.read_text(encoding="utf-8")):
            yield case["id"].split("/")[0], case["id"], case


def judge(case: Case) -> Outcome:
    """Put a case to the core. What makes it or its judge stumble is a failure of this case alone."""
    category = case["id"].split("/")[0]
    if category not in _JUDGES:
        raise InputError(f"case {case['id']!r}: no judge for category {category!r}; known: {', '.join(_JUDGES)}")
    try:
        return _JUDGES[category](case)
    except Exception as error:
        return Outcome(False, _tier(category, case), None, [f"{type(error).__name__}: {error}"])


def _tier(category: str, case: Case) -> Tier:
    if category == "schedule" and case.get("tier") == "timed":
        return "timed"
    return _TIERS.get(category, "A")
