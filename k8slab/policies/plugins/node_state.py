"""NodeUnschedulable, NodeName and SchedulingGates: the short ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from k8slab.domain.columns import Codes, Taint, Taints
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.pod_spec import PodSpec
from k8slab.policies.plugins.base import Decision, Mask, Refusal

_CORDONED: Final = Taint("node.kubernetes.io/unschedulable")
# kube-scheduler doesn't look at a node's health: the control plane taints what isn't healthy.
TAINT_OF: Final = {
    NODE_STATES.index(NodeState.CORDONED): _CORDONED,
    NODE_STATES.index(NodeState.NOT_READY): Taint("node.kubernetes.io/not-ready"),
    NODE_STATES.index(NodeState.UNKNOWN): Taint("node.kubernetes.io/unreachable"),
}


@dataclass(frozen=True)
class NodeUnschedulable:
    """No cordoned node, and none that isn't ready, unless the pod tolerates the taint that says so."""

    name: str = "NodeUnschedulable"

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes that are cordoned or not ready."""
        refusals = []
        for state, taint in TAINT_OF.items():
            nodes = decision.nodes.state == state
            if taint is not _CORDONED:
                nodes &= ~_has_taint(decision.nodes.taints, taint.key)
            if nodes.any() and not any(item.tolerates(taint) for item in decision.tolerations):
                told = "were unschedulable" if taint is _CORDONED else f"had untolerated taint {taint}"
                refusals.append(Refusal(f"node(s) {told}", nodes, final=True))
        return refusals


def _has_taint(taints: Codes[Taints], key: str) -> Mask:
    """bool[N]: the nodes with a taint of this key: by that TaintToleration judges whether they are ready."""
    return np.array([*(any(taint.key == key for taint in some) for some in taints.values), False])[taints.codes]


@dataclass(frozen=True)
class NodeName:
    """The node that the pod names, if it names one."""

    name: str = "NodeName"

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """All nodes of other names."""
        wanted = decision.spec.node_name
        if not wanted:
            return []
        others = np.array([name != wanted for name in decision.nodes.names], dtype=np.bool_)
        return [Refusal("node(s) didn't match the requested node name", others, final=True)]


@dataclass(frozen=True)
class SchedulingGates:
    """Holds a pod back while it has scheduling gates; asked before the queue."""

    name: str = "SchedulingGates"

    def holds(self, spec: PodSpec) -> str:
        """Why a pod has to wait, "" if it hasn't.

        >>> SchedulingGates().holds(PodSpec(gates=("quota", "image")))
        'waiting for scheduling gates: [quota image]'
        """
        return f"waiting for scheduling gates: [{' '.join(spec.gates)}]" if spec.gates else ""
