"""The shipped plug-ins, named as Kubernetes names them, in plain numpy: what explain() shows and small clusters run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from k8slab.errors import UnknownName
from k8slab.policies.plugins.base import (
    STATUS,
    SUCCESS,
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Decision,
    Filter,
    Floats,
    Mask,
    Narrowing,
    Refusal,
    Score,
)
from k8slab.policies.plugins.gpu import (
    GPU_SCORES,
    FragmentationGradient,
    GpuBestFit,
    GpuClustering,
    GpuDevices,
    GpuDotProduct,
    GpuPacking,
    GpuScore,
)
from k8slab.policies.plugins.image_locality import ImageLocality
from k8slab.policies.plugins.inter_pod_affinity import InterPodAffinity
from k8slab.policies.plugins.node_affinity import NodeAffinity
from k8slab.policies.plugins.node_ports import NodePorts
from k8slab.policies.plugins.node_resources import (
    BalancedAllocation,
    LeastAllocated,
    MostAllocated,
    NodeResourcesFit,
    RequestedToCapacityRatio,
    ResourceScore,
)
from k8slab.policies.plugins.node_state import NodeName, NodeUnschedulable, SchedulingGates
from k8slab.policies.plugins.packing import FINE, BestFit, DotProduct, WorstFit
from k8slab.policies.plugins.pod_topology_spread import PodTopologySpread
from k8slab.policies.plugins.taint_toleration import TaintToleration

__all__ = [
    "FINE",
    "GPU_SCORES",
    "STATUS",
    "SUCCESS",
    "UNRESOLVABLE",
    "UNSCHEDULABLE",
    "BalancedAllocation",
    "BestFit",
    "Decision",
    "DotProduct",
    "Filter",
    "Floats",
    "FragmentationGradient",
    "GpuBestFit",
    "GpuClustering",
    "GpuDevices",
    "GpuDotProduct",
    "GpuPacking",
    "GpuScore",
    "ImageLocality",
    "InterPodAffinity",
    "LeastAllocated",
    "Mask",
    "MostAllocated",
    "Narrowing",
    "NodeAffinity",
    "NodeName",
    "NodePorts",
    "NodeResourcesFit",
    "NodeUnschedulable",
    "PodTopologySpread",
    "Refusal",
    "RequestedToCapacityRatio",
    "ResourceScore",
    "SchedulingGates",
    "Score",
    "TaintToleration",
    "WorstFit",
    "shipped_score",
]

_SCORES: Final[tuple[Callable[[], Score], ...]] = (
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
    NodeResourcesFit,
    BalancedAllocation,
    ImageLocality,
    NodeAffinity,
    TaintToleration,
    PodTopologySpread,
    InterPodAffinity,
    BestFit,
    WorstFit,
    DotProduct,
    *GPU_SCORES,
)


def shipped_score(name: str) -> Score:
    """A shipped score by its name, with its defaults. Raises UnknownName.

    >>> shipped_score("BestFit")
    BestFit(resources=None)
    """
    scores = {score.name: score for score in (make() for make in _SCORES)}
    if name not in scores:
        raise UnknownName("score", name, scores)
    return scores[name]
