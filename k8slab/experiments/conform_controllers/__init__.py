"""The suite "controllers": recorded decisions of Kubernetes' control loops, decided again by k8slab's own rules.

Nothing here decides. A case's plain data becomes the values of a rule in the domain, the rule
is asked, and its answer is written down in the form of what was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from k8slab.errors import InputError
from k8slab.experiments.conform_controllers import (
    admission,
    cluster_autoscaler,
    disruption,
    horizontal,
    karpenter,
    kubelet,
    nodes,
    vertical,
)
from k8slab.experiments.conform_controllers.compare import differences

Json = dict[str, Any]

KINDS: Final[Mapping[str, Callable[[Json], Json]]] = {
    **horizontal.KINDS,
    **disruption.KINDS,
    **nodes.KINDS,
    **kubelet.KINDS,
    **cluster_autoscaler.KINDS,
    **karpenter.KINDS,
    **vertical.KINDS,
    **admission.KINDS,
}


@dataclass(frozen=True)
class Outcome:
    """What one case gave.

    actual : what was computed, in the form of what was expected; empty if nothing was
    """

    passed: bool
    actual: Mapping[str, Any]
    differences: list[str] = field(default_factory=list)


def cases(paths: Iterable[Path]) -> Iterator[tuple[str, str, Json]]:
    """(category, id, case) of every line, in order; a category is a file's stem.

    Raises InputError, with file and line, for what is no case or can't be read.
    """
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read cases from {str(path)!r}: {error}") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                case = _case(line, f"{path.name}, line {number}")
                yield path.stem, case["id"], case


def judge(case: Mapping[str, Any]) -> Outcome:
    """Compute a case and compare. A kind that isn't built, and whatever is raised, fails it."""
    kind = case["input"]["kind"]
    if kind not in KINDS:
        return Outcome(False, {}, [f"kind: {kind!r} isn't built; known: {', '.join(sorted(KINDS))}"])
    try:
        actual = KINDS[kind](case["input"])
    except Exception as error:  # whatever a rule raises, the next case is to be judged
        return Outcome(False, {}, [f"raises {type(error).__name__}: {error}"])
    found = list(differences(case["expect"], actual, kind))
    return Outcome(not found, actual, found)


def _case(line: str, where: str) -> Json:
    try:
        case = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    if not isinstance(case, dict) or not isinstance(case.get("id"), str):
        raise InputError(f'{where}: wanted an object with an "id"')
    if not isinstance(case.get("expect"), dict) or "kind" not in (case.get("input") or {}):
        raise InputError(f'{where}: case {case["id"]!r} has no "input" with a "kind", or no "expect"')
    return case
