"""The Raft core judged by cases recorded from a reference implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from k8slab.errors import InputError
from k8slab.experiments.conformance import Case, Difference, Outcome, records
from k8slab.experiments.raft_conformance import chance, cluster, member, paper, pure
from k8slab.experiments.raft_conformance.outcome import Outcome as Judged
from k8slab.experiments.raft_conformance.outcome import Tier

_JUDGES: Final[dict[str, Callable[[dict[str, Any]], Judged]]] = {
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
# How much of a case has to be equal, as its judge says it.
_TIERS: Final[dict[Tier, str]] = {
    "A": "everything: functions and rules",
    "B": "what members agree on",
    "C": "everything: one member, to the last message",
    "timed": "what members agree on, ticks driving elections",
    "statistical": "within a tolerance",
}


class RaftSuite:
    """k8slab's Raft core, judged by the tests of a reference implementation."""

    name = "raft"
    noun = "case"
    source = "etcd's raft library, run as an oracle"
    rule = (
        "Pure functions, single rules and single members must come out equal in all, to the last message; of several "
        "members what the cluster agrees on: roles, terms, votes, commit indexes, logs and configurations; "
        "simulated elections within the tolerance that each case gives."
    )
    counting = "How many cases were judged, by how much of a case has to be equal."
    facts: Mapping[str, tuple[str, ...]] = {"cases": ("cases",)}
    verdicts = True

    def cases(self, paths: Iterable[Path]) -> Iterator[Case]:
        """The cases of these files. Raises InputError for what is none, with file and place."""
        for where, given in records(paths):
            category = str(given.get("id", "")).partition("/")[0]
            if category not in _JUDGES:
                known = ", ".join(_JUDGES)
                raise InputError(f"{where}: id is {given.get('id')!r}; wanted a slash after one of {known}")
            yield Case(category, given["id"], given, where)

    def judge(self, case: Case) -> Outcome:
        """Put a case to the core."""
        found = _JUDGES[case.category](dict(case.given))
        told = tuple(Difference(text, "", "") for text in found.differences if not found.passed)
        kind = (_TIERS[found.tier], "cases")
        return Outcome(found.passed, found.actual, told, {kind: 1}, {kind: int(found.passed)})
