"""How many nodes of one template a set of pending pods needs: first-fit decreasing. Pure.

After estimator/binpacking_estimator.go and decreasing_pod_orderer.go. Here groups of equal size
keep their order, and nodes are tried from the first on, so that an estimate is a function of its
input; upstream goes on from the node after the last that fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from k8slab.domain.cluster_autoscaler.limiter import EstimationLimiter
from k8slab.domain.cluster_autoscaler.snapshot import HOSTNAME, NodeShape, PodShape, Snapshot


@dataclass(frozen=True)
class PodGroup:
    """Equal pods of one workload."""

    pod: PodShape
    count: int


@dataclass(frozen=True)
class Estimate:
    """What an estimate found.

    nodes     : how many got at least one pod
    scheduled : (group, pods placed) in the order the groups were tried; those with none are left out
    """

    nodes: int
    scheduled: tuple[tuple[int, int], ...]

    @property
    def pods(self) -> int:
        """How many pods were placed."""
        return sum(count for _, count in self.scheduled)


def decreasing_order(pods: Sequence[PodShape], node: NodeShape) -> list[int]:
    """The pods' numbers, the largest share of the node first: cpu / allocatable + memory / allocatable."""

    def share(pod: PodShape) -> float:
        cpu = pod.cpu_milli / node.cpu_milli if node.cpu_milli else 0.0
        return cpu + (pod.memory_bytes / node.memory_bytes if node.memory_bytes else 0.0)

    return sorted(range(len(pods)), key=lambda number: -share(pods[number]))


def estimate(
    groups: Sequence[PodGroup],
    template: NodeShape,
    existing: Mapping[str, NodeShape],
    limiter: EstimationLimiter,
    now_ns: int = 0,
) -> Estimate:
    """Pack the groups into new nodes like the template.

    existing : the cluster's nodes, which take a pod only where spreading over hostnames sends it there
    limiter  : is asked before each node, and begins anew
    """
    limiter.start(now_ns)
    packing = _Packing(template, existing, limiter, now_ns)
    scheduled = []
    for number in decreasing_order([group.pod for group in groups], template):
        placed = packing.pack(groups[number], number)
        if placed:
            scheduled.append((number, placed))
    return Estimate(len(packing.used), tuple(scheduled))


def fastpath_group(groups: Iterable[PodGroup], node: NodeShape) -> int:
    """Which group's node count may best be extrapolated from one packed node; -1 for none.

    The one that saves the most tries, pods - pods / nodes in whole numbers, the later one of
    equals; never one that must be spread, nor one whose pod fits no node.
    """
    best, most = -1, -1
    for number, group in enumerate(groups):
        fitting = _fitting(group.pod, node)
        if group.pod.required_spread or not fitting or not group.count:
            continue
        nodes = -(-group.count // fitting)
        saved = group.count - group.count // nodes
        if saved >= most:
            best, most = number, saved
    return best


@dataclass
class _Packing:
    """An estimate under way.

    added : the new nodes, in order
    used  : the nodes that got a pod; an existing one counts too, as upstream has it
    full  : the limiter refused a node; what comes after is tried on the added ones alone
    """

    template: NodeShape
    existing: Mapping[str, NodeShape]
    limiter: EstimationLimiter
    now_ns: int
    added: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    full: bool = False

    def __post_init__(self) -> None:
        self.snapshot = Snapshot()
        for name, shape in self.existing.items():
            self.snapshot.add(name, shape)

    def pack(self, group: PodGroup, workload: int) -> int:
        """Place what can be placed of a group; how many pods that were."""
        placed = 0
        while placed < group.count and self._placed_on_any(group.pod, workload, self.added):
            placed += 1
        while placed < group.count and not self.full and self._placed_on_new(group.pod, workload):
            placed += 1
        return placed

    def _placed_on_new(self, pod: PodShape, workload: int) -> bool:
        """On the last node, on another one that spreading sends it to, or on one more."""
        if self.added:
            refusal = self.snapshot.refusal(pod, workload, self.added[-1])
            if not refusal:
                return self._place(pod, workload, self.added[-1])
            if refusal == "PodTopologySpread" and pod.spreads_over(HOSTNAME):
                others = [name for name in self.snapshot.nodes if name != self.added[-1]]
                if self._placed_on_any(pod, workload, others):
                    return True
            if self.added[-1] not in self.used:
                return False  # an empty node refused it: so would the next
        if not self.limiter.permits(self.now_ns):
            self.full = True
            return False
        self._add_node()
        # Refused even there: the empty node stays, for the next group to find.
        return self._placed_on_any(pod, workload, self.added[-1:])

    def _placed_on_any(self, pod: PodShape, workload: int, nodes: Iterable[str]) -> bool:
        for name in nodes:
            if not self.snapshot.refusal(pod, workload, name):
                return self._place(pod, workload, name)
        return False

    def _place(self, pod: PodShape, workload: int, node: str) -> bool:
        self.snapshot.place(pod, workload, node)
        self.used.add(node)
        return True

    def _add_node(self) -> None:
        name = f"template-{len(self.added)}"
        while name in self.existing:
            name += "-new"
        self.snapshot.add(name, self.template)
        self.added.append(name)


def _fitting(pod: PodShape, node: NodeShape) -> int:
    """How many such pods an empty node takes."""
    limits = [node.max_pods]
    if pod.cpu_milli:
        limits.append(node.cpu_milli // pod.cpu_milli)
    if pod.memory_bytes:
        limits.append(node.memory_bytes // pod.memory_bytes)
    if pod.host_ports:
        limits.append(1)
    return max(0, min(limits))
