"""Which of several groups to grow: the expanders, each a filter that keeps the best options, ties and all. Pure.

After cluster-autoscaler's expander packages. A chain narrows until one is left; what is left of
more is the fallback's choice, at random in upstream.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from k8slab.domain.cluster_autoscaler.snapshot import NodeShape, PodShape
from k8slab.errors import InputError

GPU_UNFITNESS: Final = 1000.0
NOT_EXIST_COEFFICIENT: Final = 2.0
# (nodes in the cluster at most, cores of the node to prefer); beyond the last, LARGEST_CORES
_PREFERRED: Final = ((2, 1), (6, 2), (20, 4), (60, 8), (200, 16))
_LARGEST_CORES: Final = 32

T = TypeVar("T")


@dataclass(frozen=True)
class ExpansionOption:
    """A group that could grow: by how many nodes, for which pods.

    node   : what a node of it is, None if that isn't known
    exists : False for a group that would first be created
    """

    group: str
    node_count: int = 1
    pods: tuple[str, ...] = ()
    pod_shapes: tuple[PodShape, ...] = ()
    node: NodeShape | None = None
    exists: bool = True
    gpu: bool = False


Options = Sequence[ExpansionOption]


def least_waste(options: Options) -> list[ExpansionOption]:
    """Those with the smallest sum of the shares of cpu and memory that the new nodes would leave idle.

    An option whose node isn't known is dropped.
    """
    return _least([(option, _waste(option, option.node)) for option in options if option.node is not None])


def most_pods(options: Options) -> list[ExpansionOption]:
    """Those that help the most pods."""
    return _least([(option, -len(option.pods)) for option in options])


def least_nodes(options: Options) -> list[ExpansionOption]:
    """Those with the fewest nodes; an option of none is dropped."""
    return _least([(option, option.node_count) for option in options if option.node_count > 0])


def priority(options: Options, priorities: Mapping[int, Sequence[str]]) -> list[ExpansionOption]:
    """Those whose group's name matches a pattern of the highest priority that matches any; all, if none does.

    Raises InputError for a pattern that is no regular expression.
    """
    ranked = []
    for option in options:
        found = [rank for rank, patterns in priorities.items() if _matches(option.group, patterns)]
        if found:
            ranked.append((option, -max(found)))
    return _least(ranked) or list(options)


@dataclass(frozen=True)
class Pricing:
    """What things cost; a name that isn't there has no known price.

    stabilization : the price of a pod of 500 mCPU and 500 MiB for an hour, which keeps options
                    with few pods from extremes
    """

    nodes: Mapping[str, float]
    pods: Mapping[str, float]
    stabilization: float | None
    preferred_cpu_milli: int


def price(options: Options, pricing: Pricing) -> list[ExpansionOption]:
    """Those with the smallest unfitness * (nodes' price + stab) / (pods' price + stab).

    Unfitness is how far the node's cpu is from the preferred one, fading to 1 as more nodes
    are added; a GPU node's is 1,000, and a group that isn't there yet counts double. An option
    whose price isn't known is dropped; without a stabilization price all are.
    """
    scored = []
    for option in options:
        known = option.group in pricing.nodes and all(pod in pricing.pods for pod in option.pods)
        if known and pricing.stabilization is not None and option.node is not None:
            scored.append((option, _price_score(option, option.node, pricing, pricing.stabilization)))
    return _least(scored)


def preferred_node_cores(cluster_nodes: int) -> int:
    """The cores of the node that the price expander prefers in a cluster of this size.

    >>> preferred_node_cores(2), preferred_node_cores(7), preferred_node_cores(201)
    (1, 4, 32)
    """
    return next((cores for most, cores in _PREFERRED if cluster_nodes <= most), _LARGEST_CORES)


@dataclass(frozen=True)
class Chain(Generic[T]):
    """Filters in a row, and what chooses where they leave more than one."""

    filters: Sequence[Callable[[Sequence[T]], Sequence[T]]]
    fallback: Callable[[Sequence[T]], T | None]

    def best(self, options: Sequence[T]) -> T | None:
        """The option that is left; None if there is none."""
        left = options
        for narrow in self.filters:
            left = narrow(left)
            if len(left) == 1:
                return left[0]
        return self.fallback(left)


def _least(scored: Sequence[tuple[T, float]]) -> list[T]:
    least = min((score for _, score in scored), default=0.0)
    return [option for option, score in scored if score == least]


def _waste(option: ExpansionOption, node: NodeShape) -> float:
    def idle(amount: int, requested: int) -> float:
        total = amount * option.node_count
        return (total - requested) / total if total else 0.0

    cpu = idle(node.cpu_milli, sum(pod.cpu_milli for pod in option.pod_shapes))
    return cpu + idle(node.memory_bytes, sum(pod.memory_bytes for pod in option.pod_shapes))


def _matches(group: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        try:
            if re.search(pattern, group):
                return True
        except re.error as error:
            raise InputError(f"priority expander: {pattern!r} is no regular expression: {error}") from error
    return False


def _price_score(option: ExpansionOption, node: NodeShape, pricing: Pricing, stabilization: float) -> float:
    nodes_price = pricing.nodes[option.group] * option.node_count
    pods_price = sum(pricing.pods[pod] for pod in option.pods)
    preferred, offered = pricing.preferred_cpu_milli, node.cpu_milli
    unfitness = max(preferred / offered, offered / preferred)
    fading = 1.0 - math.tanh((option.node_count - 1) / 15.0)
    suppressed = GPU_UNFITNESS if option.gpu else (unfitness - 1.0) * fading + 1.0
    score = suppressed * (nodes_price + stabilization) / (pods_price + stabilization)
    return score if option.exists else score * NOT_EXIST_COEFFICIENT
