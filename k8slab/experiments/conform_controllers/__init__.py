"""The suite "controllers": recorded decisions of Kubernetes' control loops, decided again by k8slab's own rules.

Nothing here decides. A case's plain data becomes the values of a rule in the domain, the rule
is asked, and its answer is written down in the form of what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from k8slab.errors import InputError, UnknownName
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
from k8slab.experiments.conform_controllers.absent import filled
from k8slab.experiments.conform_controllers.compare import differences
from k8slab.experiments.conformance import Case, Outcome, records

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


class ControllersSuite:
    """Autoscalers, disruption budgets, node lifecycle, back-off and quotas, rule by rule."""

    name = "controllers"
    noun = "case"
    source = "the tests of Kubernetes, cluster-autoscaler and Karpenter, and rows worked out from their rules"
    rule = "All that is recorded of a case must come out equal; numbers with a fraction to six digits."
    counting = "How many cases were judged, by the rule that decides them."
    facts: Mapping[str, tuple[str, ...]] = {"cases": ("cases",)}
    verdicts = False

    def cases(self, paths: Iterable[Path]) -> Iterator[Case]:
        """The cases of these files; a category is a file's name. Raises InputError for what is none, with its place."""
        for path in paths:
            for where, given in records([path]):
                if not isinstance(given.get("id"), str):
                    raise InputError(f'{where}: wanted an object with an "id"')
                if not isinstance(given.get("expect"), dict) or "kind" not in (given.get("input") or {}):
                    raise InputError(f'{where}: case {given["id"]!r} has no "input" with a "kind", or no "expect"')
                yield Case(path.name.partition(".")[0], given["id"], given, where)

    def judge(self, case: Case) -> Outcome:
        """Put a case to its rule. A kind that isn't built fails it."""
        kind = case.given["input"]["kind"]
        if kind not in KINDS:
            raise UnknownName("kind of case", kind, KINDS)
        actual = KINDS[kind](filled(case.given["input"]))
        found = tuple(differences(case.given["expect"], actual, kind))
        key = (kind, "cases")
        return Outcome(not found, actual, found, {key: 1}, {key: int(not found)})
