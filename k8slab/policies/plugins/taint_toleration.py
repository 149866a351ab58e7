"""TaintToleration: hard taints keep pods away, soft ones make a node less liked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from k8slab.domain.columns import NodeColumns, Taint, Taints, Tolerations
from k8slab.policies.plugins.base import Decision, Floats, Mask, Refusal, scaled_to_100
from k8slab.policies.snapshot import Snapshot


def tainted(nodes: NodeColumns, tolerations: Tolerations) -> Mask:
    """bool[N]: the nodes with a hard taint that isn't tolerated."""

    def keeps_away(taints: Taints) -> bool:
        return any(taint.hard and not any(item.tolerates(taint) for item in tolerations) for taint in taints)

    return np.array([*map(keeps_away, nodes.taints.values), False], dtype=np.bool_)[nodes.taints.codes]


@dataclass(frozen=True)
class TaintToleration:
    """No node with a NoSchedule or NoExecute taint that the pod doesn't tolerate; fewer PreferNoSchedule ones."""

    name = "TaintToleration"
    highest = 100.0

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes by the first taint that the pod doesn't tolerate."""
        tolerations = decision.tolerations
        refused: dict[str, Mask] = {}
        taints = decision.nodes.taints
        for code, taint_set in enumerate(taints.values):
            for taint in taint_set:
                if taint.hard and not any(item.tolerates(taint) for item in tolerations):
                    reason = f"node(s) had untolerated taint {taint}"
                    nodes = taints.codes == code
                    refused[reason] = refused[reason] | nodes if reason in refused else nodes
                    break
        return [Refusal(reason, nodes, final=True) for reason, nodes in refused.items() if nodes.any()]

    def raw(self, decision: Decision) -> Floats:
        """How many PreferNoSchedule taints the pod doesn't tolerate."""
        soft = [item for item in decision.tolerations if item.effect in ("", "PreferNoSchedule")]

        def unwelcome(taint: Taint) -> bool:
            return taint.effect == "PreferNoSchedule" and not any(item.tolerates(taint) for item in soft)

        taints = decision.nodes.taints
        counts = [sum(map(unwelcome, taint_set)) for taint_set in taints.values]
        return np.array([*counts, 0], dtype=np.float64)[taints.codes]

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no node has a PreferNoSchedule taint."""
        return all(taint.hard for taints in snapshot.nodes.taints.values for taint in taints)

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """The most taints give 0, none 100."""
        return scaled_to_100(raw, decision.feasible, lowest_best=True)

    def arguments(self) -> dict[str, Any]:
        """Nothing: there is one way to compute it."""
        return {}
