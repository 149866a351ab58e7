"""Which pods a quota with scopes counts. Pure.

After pkg/quota/v1/evaluator/core/pods.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from k8slab.domain.admission.pods import AdmittedPod, is_best_effort
from k8slab.errors import UnknownName

SCOPES: Final = (
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
)  # fmt: skip
OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True)
class ScopeSelector:
    """A scope; only PriorityClass has an operator and values."""

    scope: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise UnknownName("quota scope", self.scope, SCOPES)
        if self.operator not in OPERATORS:
            raise UnknownName("scope operator", self.operator, OPERATORS)

    def matches(self, pod: AdmittedPod) -> bool:
        """Whether the pod is within the scope."""
        terminating = pod.active_deadline_seconds is not None and pod.active_deadline_seconds >= 0
        if self.scope in ("Terminating", "NotTerminating"):
            return terminating == (self.scope == "Terminating")
        if self.scope in ("BestEffort", "NotBestEffort"):
            return is_best_effort(pod) == (self.scope == "BestEffort")
        if self.scope == "CrossNamespacePodAffinity":
            return any(term.namespaces or term.namespace_selector is not None for term in pod.affinity_terms)
        return self._matches_class(pod.priority_class)

    def _matches_class(self, name: str) -> bool:
        if self.operator in ("Exists", "DoesNotExist"):
            return bool(name) == (self.operator == "Exists")
        # As a label selector: what has no class is in none of the values.
        return (bool(name) and name in self.values) == (self.operator == "In")


def matching_scopes(pod: AdmittedPod, selectors: Sequence[ScopeSelector]) -> list[ScopeSelector]:
    """Those that the pod is within, in their order."""
    return [selector for selector in selectors if selector.matches(pod)]
