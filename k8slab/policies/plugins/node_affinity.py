"""NodeAffinity: the labels that a pod, or the profile, wants of its node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from k8slab.domain.columns import NodeColumns
from k8slab.domain.pod_spec import NodeTerm, NodeTerms, PodSpec
from k8slab.domain.selectors import node_term_mask, node_terms_mask
from k8slab.policies.plugins.base import Decision, Floats, Mask, Narrowing, Refusal, scaled_to_100
from k8slab.policies.snapshot import Snapshot


def wanted_nodes(spec: PodSpec, nodes: NodeColumns) -> Mask:
    """bool[N]: nodeSelector and required node affinity, both."""
    mask = node_terms_mask(spec.node_required, nodes.labels, nodes.names)
    for key, value in spec.node_selector:
        column = nodes.labels.get(key)
        mask &= np.zeros(len(nodes), dtype=np.bool_) if column is None else column.equals(value)
    return mask


@dataclass(frozen=True)
class NodeAffinity:
    """nodeSelector and node affinity: required terms filter, preferred ones score.

    added_required, added_preferred : the profile's own, for all pods
    """

    added_required: NodeTerms | None = None
    added_preferred: tuple[tuple[int, NodeTerm], ...] = ()

    name = "NodeAffinity"
    highest = 100.0

    def skips(self, decision: Decision) -> bool:
        """Whether nobody requires anything."""
        spec = decision.spec
        return self.added_required is None and spec.node_required is None and not spec.node_selector

    def narrow(self, decision: Decision) -> Narrowing | None:
        """Where each required term names its nodes, the nodes that are named."""
        terms = decision.spec.node_required or ()
        left: set[str] = set()
        for term in terms:
            named = [set(r.values) for r in term.fields if (r.key, r.operator) == ("metadata.name", "In")]
            if not named:
                return None
            left |= set.intersection(*named)
        if not terms:
            return None
        return Narrowing(tuple(sorted(left)), "" if left else "pod affinity terms conflict")

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes that the profile doesn't want, then those that the pod doesn't."""
        nodes = decision.nodes
        enforced = node_terms_mask(self.added_required, nodes.labels, nodes.names)
        unwanted = enforced & ~wanted_nodes(decision.spec, nodes)
        return [
            Refusal("node(s) didn't match scheduler-enforced node affinity", ~enforced, final=True),
            Refusal("node(s) didn't match Pod's node affinity/selector", unwanted, final=True),
        ]

    def passes_over(self, decision: Decision) -> bool:
        """Whether nobody prefers anything."""
        return not (decision.spec.node_preferred or self.added_preferred)

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no pod to schedule prefers anything; what is required is a static filter."""
        return not (self.added_preferred or any(spec.node_preferred for spec in snapshot.pods.specs.values))

    def raw(self, decision: Decision) -> Floats:
        """The sum of the weights of the preferred terms that match."""
        nodes, score = decision.nodes, np.zeros(len(decision.nodes))
        for weight, term in (*decision.spec.node_preferred, *self.added_preferred):
            score += weight * node_term_mask(term, nodes.labels, nodes.names)
        return score

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """The highest becomes 100."""
        return scaled_to_100(raw, decision.feasible)

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        changed: dict[str, Any] = {}
        if self.added_required is not None:
            changed["added_required"] = [asdict(term) for term in self.added_required]
        if self.added_preferred:
            changed["added_preferred"] = [[weight, asdict(term)] for weight, term in self.added_preferred]
        return changed
