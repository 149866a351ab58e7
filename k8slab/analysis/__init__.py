"""Looking at results: tidy frames here; `plots` and `report` load matplotlib and jinja2 when imported."""

from k8slab.analysis.frames import FRAMES, Column, check_frame, describe
from k8slab.analysis.utilization import (
    imbalance_percent,
    stranded,
    utilization,
    utilization_over_time,
    utilization_quantiles,
)

__all__ = [
    "FRAMES",
    "Column",
    "check_frame",
    "describe",
    "imbalance_percent",
    "stranded",
    "utilization",
    "utilization_over_time",
    "utilization_quantiles",
]
