"""Plots of placements and comparisons. Each returns matplotlib Axes, and takes `ax` to draw on yours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from k8slab.analysis.comparisons import allocation_curve, metric_name, policy_comparison, stranding_comparison
from k8slab.analysis.decision import waterfall
from k8slab.analysis.distributions import stranding_distribution, utilization_distribution
from k8slab.analysis.packing import heatmap, packing
from k8slab.domain.resources import CPU

if TYPE_CHECKING:
    from k8slab.experiments.comparison import Comparison
    from k8slab.experiments.placement import Placement

__all__ = [
    "ComparisonPlots",
    "PlacementPlots",
    "allocation_curve",
    "heatmap",
    "metric_name",
    "packing",
    "policy_comparison",
    "stranding_comparison",
    "stranding_distribution",
    "utilization_distribution",
    "waterfall",
]


class PlacementPlots:
    """The pictures of a placement: `placement.plot.packing()` and the others; help() tells of each."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    def packing(self, nodes: int = 40, resource: str = CPU, ax: Axes | None = None) -> Axes:
        """Nodes as bars, pods as blocks, stranded space hatched. See k8slab.analysis.plots.packing."""
        return packing(self._placement, nodes, resource, ax=ax)

    def heatmap(self, ax: Axes | None = None) -> Axes:
        """How full every node is of every resource. See k8slab.analysis.plots.heatmap."""
        return heatmap(self._placement, ax=ax)

    def utilization(self, ax: Axes | None = None) -> Axes:
        """How utilization is distributed over nodes, a line a resource."""
        return utilization_distribution(self._placement, ax=ax)

    def stranding(self, ax: Axes | None = None) -> Axes:
        """How stranded capacity is distributed over nodes, a line a resource."""
        return stranding_distribution(self._placement, ax=ax)

    def __repr__(self) -> str:
        return "<plots of a placement: .packing() .heatmap() .utilization() .stranding()>"


class ComparisonPlots:
    """The pictures of a comparison: `comparison.plot.allocation()` and the others; help() tells of each."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def allocation(self, resource: str | None = None, full: bool = False, ax: Axes | None = None) -> Axes:
        """What is allocated against what has arrived. See k8slab.analysis.plots.allocation_curve."""
        return allocation_curve(self._comparison, resource, full=full, ax=ax)

    def policies(self, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Each policy's mean of a metric with its interval. See k8slab.analysis.plots.policy_comparison."""
        return policy_comparison(self._comparison, metric, ax=ax)

    def stranding(self, ax: Axes | None = None) -> Axes:
        """Each policy's stranded capacity, of every resource. See k8slab.analysis.plots.stranding_comparison."""
        return stranding_comparison(self._comparison, ax=ax)

    def __repr__(self) -> str:
        return "<plots of a comparison: .allocation() .policies() .stranding()>"
