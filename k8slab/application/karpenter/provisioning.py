"""A batch of pods gets nodes: which ones are launched, for whom, and who can't be helped."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from k8slab.application.karpenter.candidates import CandidateFinder
from k8slab.application.karpenter.launching import Launcher
from k8slab.application.karpenter.pools import Offerings
from k8slab.application.karpenter.telling import Teller
from k8slab.application.karpenter.trial import LEAVING, NOWHERE, PENDING, Scene, TrialScheduler
from k8slab.domain.columns import Ints
from k8slab.domain.ports import ClusterStatePort

Mask = npt.NDArray[np.bool_]
_DESCRIBED = "didn't match the pod's tolerations or affinity"
_UNAVAILABLE = "can't be had now"
_LIMITS = "would exceed the pool's limits"


class Provisioner:
    """Launches nodes for pods that wait. most_ns : of a batch; nodes that pods are planned for are left alone twice
    as long"""

    def __init__(
        self,
        state: ClusterStatePort,
        trials: TrialScheduler,
        launcher: Launcher,
        finder: CandidateFinder,
        teller: Teller,
        offerings: Offerings,
        most_ns: int,
    ) -> None:
        self._state = state
        self._trials = trials
        self._launcher = launcher
        self._finder = finder
        self._teller = teller
        self._offerings = offerings
        self._most_ns = most_ns
        self._last: tuple[int, bytes] = (-1, b"")

    def provision(self, waiting: Ints, leaving: Ints, now_ns: int) -> None:
        """Plan for these, launch what is wanted, and tell of those who can't be helped."""
        usable = self._launcher.usable(now_ns)
        key = (self._state.version, usable.tobytes())
        if key == self._last or not len(waiting) + len(leaving):
            return
        duty = np.repeat(np.array([PENDING, LEAVING], dtype=np.int8), (len(waiting), len(leaving)))
        scene = self._trials.scene(np.concatenate([waiting, leaving]), duty, usable)
        trial = self._trials.place(scene)
        # Later than the nodes that were launched for the last batch are ready, at best.
        self._finder.nominate(np.unique(trial.node[trial.node >= 0]), now_ns + max(2 * self._most_ns, 10 * 10**9))
        for claim in trial.claims:
            option, launched, refused = self._launcher.launch(claim.options, now_ns)
            self._teller.refused(refused, now_ns)
            if launched is None:
                self._teller.none_left(claim, now_ns)
            else:
                told = f"the cheapest that can be had of {self._offerings.told(claim.options)}"
                self._teller.launched(option, len(claim.pods), told, now_ns)
        self._tell_unhelped(scene, trial.pods[(trial.node == NOWHERE) & (scene.duty == PENDING)], usable, now_ns)
        # The same pods on the same nodes would be answered the same.
        self._last = (-1, b"") if trial.claims else key

    def _tell_unhelped(self, scene: Scene, pods: Ints, usable: Mask, now_ns: int) -> None:
        if not len(pods):
            return
        classes = scene.classes[np.isin(scene.pods, pods)]
        for pod_class in np.unique(classes).tolist():
            self._teller.unhelped(pods[classes == pod_class], self._why_not(pod_class, usable), now_ns)

    def _why_not(self, pod_class: int, usable: Mask) -> str:
        """What each instance type lacks for this class: "3 Insufficient cpu, 1 can't be had now"."""
        request, room = self._trials.request[pod_class], self._offerings.room
        described = self._trials.on_option(pod_class)
        counts: Counter[str] = Counter()
        for option in range(len(usable)):
            short = np.flatnonzero((request > 0) & (request > room[option]))
            if not described[option]:
                counts[_DESCRIBED] += 1
            elif len(short):
                counts[f"Insufficient {self._state.schema.names[int(short[0])]}"] += 1
            else:
                counts[_LIMITS if usable[option] else _UNAVAILABLE] += 1
        ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        return f"no instance type would do: {', '.join(f'{count} {why}' for why, count in ranked)}"
