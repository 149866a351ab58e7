"""Workloads of which several facades keep the same list: what there is to be is decided for all of them."""

from __future__ import annotations

from typing import Final

from k8slab.application.workload_controller import WorkloadController, WorkloadSpec
from k8slab.domain.ports import ClusterStatePort, EventSinkPort, IntentPort
from k8slab.domain.replicas import replicate

# Of the pods that there are only whoever leads keeps count, and reads it off the state when it begins to.
_MEMORY: Final = (
    "_daemons", "_failed", "_made", "_numbered", "_numbers", "_pods", "_replicas", "_specs", "_starts", "_succeeded",
)  # fmt: skip


class ReplicatedWorkloads(WorkloadController):
    """A WorkloadController whose workloads and scales are intents; the pods that it makes of them are the state's.

    The log says in which order workloads came, so each has the same number for every member.
    """

    def __init__(self, state: ClusterStatePort, sink: EventSinkPort, intents: IntentPort) -> None:
        super().__init__(state, sink)
        self._intents = intents
        intents.register("deploy", super().add)
        intents.register("scale", super().scale)
        replicate(self, "workloads", intents, memory=_MEMORY)

    def add(self, spec: WorkloadSpec) -> int:
        """One more workload, everywhere."""
        owner: int = self._intents.decide("deploy", spec)
        return owner

    def scale(self, owner: int, replicas: int) -> None:
        """Ask for another number of pods, everywhere; what is so already needs no decision."""
        if self.replicas(owner) != replicas:
            self._intents.decide("scale", owner, replicas)
