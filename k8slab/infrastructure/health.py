"""Where news of pods and nodes come from: what they report, or a model of how they fail."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import Node, Pod
from k8slab.errors import InputError


class ReportedHealth:
    """Real reports: a pod fails when someone says so, a node lives while someone says so.

    beating : ids of nodes that beat by themselves, as long as this process lives
    """

    def __init__(self, beating: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._beating = set(beating)
        self._heard: set[str] = set()
        self._failed: set[str] = set()

    def report_failure(self, pod_id: str) -> None:
        """Say that a running pod has failed."""
        with self._lock:
            self._failed.add(pod_id)

    def report_heartbeat(self, node_id: str) -> None:
        """Say that a node lives, once."""
        with self._lock:
            self._heard.add(node_id)

    def silence(self, node_id: str) -> None:
        """Let a node beat by itself no longer."""
        with self._lock:
            self._beating.discard(node_id)
            self._heard.discard(node_id)

    def failed_pods(self, running: Sequence[Pod], now_ns: int) -> Collection[str]:
        """The running pods reported since the last call; a report about any other pod has no effect."""
        with self._lock:
            failed, self._failed = self._failed, set()
        # Without a report nobody looks at the pods, which may be made only when looked at.
        return failed.intersection(pod.pod_id for pod in running) if failed else ()

    def heard_from(self, nodes: Sequence[Node], now_ns: int) -> Collection[str]:
        """The nodes that beat, and those reported since the last call."""
        with self._lock:
            heard, self._heard = self._heard | self._beating, set()
        return heard.intersection(node.node_id for node in nodes)


class FaultModel:
    """Pods fail and nodes fall silent at random, each after a time that is exponential.

    pod_mtbf_s, node_mtbf_s : mean seconds between the failures of one pod, of one node
    repair_s                : how long a node stays silent
    seed                    : what happens is a function of it, and of when it is asked

    Every node but the silent ones beats. Nothing fails before the first call.
    """

    def __init__(
        self,
        *,
        pod_mtbf_s: float = math.inf,
        node_mtbf_s: float = math.inf,
        repair_s: float = 300.0,
        seed: int = 0,
    ) -> None:
        for name, mean in (("pod_mtbf_s", pod_mtbf_s), ("node_mtbf_s", node_mtbf_s)):
            if not mean > 0:
                raise InputError(f"{name}={mean!r}: wanted a mean time in seconds above 0")
        self._lock = threading.Lock()
        self._pod_mtbf_s = pod_mtbf_s
        self._node_mtbf_s = node_mtbf_s
        self._repair_ns = round(repair_s * SECOND_NS)
        # A generator each, so that the number of pods doesn't shift the nodes' draws.
        self._pod_dice, self._node_dice = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
        self._pods_asked_ns: int | None = None
        self._nodes_asked_ns: int | None = None
        self._silent_until_ns: dict[str, int] = {}

    def failed_pods(self, running: Sequence[Pod], now_ns: int) -> Collection[str]:
        """The pods that failed since the last call."""
        with self._lock:
            chance = _chance(self._pods_asked_ns, now_ns, self._pod_mtbf_s)
            self._pods_asked_ns = now_ns
            if math.isinf(self._pod_mtbf_s):
                return ()
            draws = self._pod_dice.random(len(running))
            return {pod.pod_id for pod, draw in zip(running, draws, strict=True) if draw < chance}

    def heard_from(self, nodes: Sequence[Node], now_ns: int) -> Collection[str]:
        """The nodes that aren't silent now."""
        with self._lock:
            chance = _chance(self._nodes_asked_ns, now_ns, self._node_mtbf_s)
            self._nodes_asked_ns = now_ns
            draws = self._node_dice.random(len(nodes))
            for node, draw in zip(nodes, draws, strict=True):
                if draw < chance and now_ns >= self._silent_until_ns.get(node.node_id, 0):
                    self._silent_until_ns[node.node_id] = now_ns + self._repair_ns
            return {node.node_id for node in nodes if now_ns >= self._silent_until_ns.get(node.node_id, 0)}


def _chance(before_ns: int | None, now_ns: int, mean_s: float) -> float:
    """The chance to fail between two instants: 1 - exp(-time / mean)."""
    if before_ns is None:
        return 0.0
    return -math.expm1(-(now_ns - before_ns) / SECOND_NS / mean_s)
