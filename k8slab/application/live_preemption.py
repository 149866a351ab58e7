"""Preemption under the orchestration API: the simulations' Preemptor, asked by pods that a caller or a round brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from k8slab.application.preemptor import Preemptor
from k8slab.domain.columns import PodColumns
from k8slab.domain.models import Pod
from k8slab.domain.ports import ClusterStatePort, TimePort


class LivePreemption:
    """Finds out who has to go for pods that fit nowhere, and has them go.

    The victims have their grace; the pod waits for them, stored as pending, and the node is promised to it.
    """

    def __init__(self, state: ClusterStatePort, preemptor: Preemptor, clock: TimePort) -> None:
        self._state = state
        self._preemptor = preemptor
        self._clock = clock

    def help(self, pods: Sequence[Pod]) -> None:
        """Help these stored pods, that found no node, in this order."""
        rows = np.array([self._state.pod_row(pod.pod_id) for pod in pods], dtype=np.int64)
        self._preemptor.preempt(rows[rows >= 0], self._clock.now())

    def admit(self, pod: PodColumns, store: Callable[[], object]) -> bool:
        """Whether others have to go for this one pod, and go: `store` is called before, so that it is there to wait."""
        now_ns = self._clock.now()
        found = self._preemptor.find(pod, now_ns)
        if found is None:
            return False
        store()
        self._preemptor.act(self._state.pod_row(pod.names[0]), found, now_ns)
        return True

    def take_over(self) -> None:
        """Go on for another, whose promises and victims the state tells."""
        self._preemptor.adopt()
