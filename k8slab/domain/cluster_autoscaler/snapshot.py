"""The nodes that an estimate tries pods on, with the filters that it goes by: the scalar rule. Pure.

Filters in the order of kube-scheduler's default profile: host ports, then cpu, memory and pods,
then topology spread. Scores play no part: the first node that fits takes the pod.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from k8slab.errors import InputError

HOSTNAME: Final = "kubernetes.io/hostname"


@dataclass(frozen=True)
class TopologySpread:
    """One entry of topologySpreadConstraints; its selector matches the pod's own workload."""

    topology_key: str
    max_skew: int
    min_domains: int = 1
    when_unsatisfiable: str = "DoNotSchedule"

    def __post_init__(self) -> None:
        if self.max_skew < 1 or self.min_domains < 1:
            raise InputError(f"{self}: wanted a max skew and min domains of 1 or more")


@dataclass(frozen=True)
class PodShape:
    """What of a pod an estimate looks at."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    host_ports: tuple[int, ...] = ()
    spread: tuple[TopologySpread, ...] = ()

    def spreads_over(self, topology_key: str) -> bool:
        """Whether it must be spread over this key's domains."""
        return any(one.topology_key == topology_key for one in self.required_spread)

    @property
    def required_spread(self) -> tuple[TopologySpread, ...]:
        return tuple(one for one in self.spread if one.when_unsatisfiable == "DoNotSchedule")


@dataclass(frozen=True)
class NodeShape:
    """A node's allocatable, or a template's."""

    cpu_milli: int
    memory_bytes: int
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Held:
    """What the pods on a node hold."""

    pods: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    ports: set[int] = field(default_factory=set)


class Snapshot:
    """Nodes in the order they were added, and what was placed on them.

    A workload is told by its number: pods of one are equal, and spread among themselves.
    """

    def __init__(self) -> None:
        self._shapes: dict[str, NodeShape] = {}
        self._held: dict[str, _Held] = {}
        self._counts: dict[tuple[int, str], Counter[str]] = {}  # (workload, topology key) -> domain -> pods
        self._domains: dict[str, Counter[str]] = {}  # topology key -> domain -> nodes

    @property
    def nodes(self) -> list[str]:
        """The nodes' names."""
        return list(self._shapes)

    def add(self, name: str, shape: NodeShape) -> None:
        """Add an empty node; its hostname is its name. Raises InputError if there is one of that name."""
        if name in self._shapes:
            raise InputError(f"the snapshot has a node {name!r} already")
        self._shapes[name] = NodeShape(
            shape.cpu_milli, shape.memory_bytes, shape.max_pods, {**shape.labels, HOSTNAME: name}
        )
        self._held[name] = _Held()
        for key, value in self._shapes[name].labels.items():
            self._domains.setdefault(key, Counter())[value] += 1

    def refusal(self, pod: PodShape, workload: int, node: str) -> str:
        """Which filter refuses the pod: NodePorts, NodeResourcesFit, PodTopologySpread; "" for none."""
        shape, held = self._shapes[node], self._held[node]
        if not held.ports.isdisjoint(pod.host_ports):
            return "NodePorts"
        if (
            held.pods + 1 > shape.max_pods
            or (pod.cpu_milli and held.cpu_milli + pod.cpu_milli > shape.cpu_milli)
            or (pod.memory_bytes and held.memory_bytes + pod.memory_bytes > shape.memory_bytes)
        ):
            return "NodeResourcesFit"
        spread = all(self._spread_holds(one, workload, node) for one in pod.required_spread)
        return "" if spread else "PodTopologySpread"

    def place(self, pod: PodShape, workload: int, node: str) -> None:
        """Put the pod on the node, whatever the filters say."""
        held = self._held[node]
        held.pods += 1
        held.cpu_milli += pod.cpu_milli
        held.memory_bytes += pod.memory_bytes
        held.ports |= set(pod.host_ports)
        for key, value in self._shapes[node].labels.items():
            self._counts.setdefault((workload, key), Counter())[value] += 1

    def _spread_holds(self, one: TopologySpread, workload: int, node: str) -> bool:
        """count of the node's domain + 1 - least count of a domain <= max skew; least is 0 with too few domains."""
        domain = self._shapes[node].labels.get(one.topology_key)
        if domain is None:
            return False
        counts, domains = self._counts.get((workload, one.topology_key), Counter()), self._domains[one.topology_key]
        least = min(counts[value] for value in domains) if len(domains) >= one.min_domains else 0
        return counts[domain] + 1 - least <= one.max_skew
