"""NodePorts: a host port is taken once a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from k8slab.policies.plugins.base import Decision, Refusal
from k8slab.policies.snapshot import Snapshot


@dataclass(frozen=True)
class NodePorts:
    """No node where another pod has one of the host ports that the pod wants."""

    name: str = "NodePorts"

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no pod to schedule wants a host port."""
        return not any(spec.ports for spec in snapshot.pods.specs.values)

    def skips(self, decision: Decision) -> bool:
        """Whether the pod wants no host port."""
        return not decision.spec.ports

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes with a port in conflict."""
        rows = decision.snapshot.conflicting(decision.spec)
        taken = np.logical_or.reduce(decision.at(decision.snapshot.ports)[rows], axis=0)
        return [Refusal("node(s) didn't have free ports for the requested pod ports", taken)]
