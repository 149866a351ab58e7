"""GPU fragmentation, and the published study of it."""

from __future__ import annotations

from typing import Final

from k8slab.analysis.frames.column import POLICY, SEED, Column

_FAILED_SHAPES: Final = (
    Column("cpu_milli", "int64", "milli", "what a pod asks"),
    Column("gpu_milli", "int64", "milli", "what it asks of each GPU; 0 without GPU"),
    Column("gpus", "int64", "count", "how many GPUs it asks"),
    Column("models", "string", "", "the models it accepts, joined by |; empty for any"),
    Column("pods", "int64", "count", "how many pods of this shape found no node"),
)
_REPRODUCED: Final = (Column("trace", "string", "", "the pod list's name"), POLICY, SEED)

REPRODUCING: Final[dict[str, tuple[Column, ...]]] = {
    # k8slab.analysis.gpu.gpu_curves: one row a pod, in order of arrival.
    "gpu.curves": (
        Column("pod", "string", "", "the pod that has just arrived"),
        Column("arrived_percent", "float64", "percent", "asked so far, of the cluster's GPUs"),
        Column("allocated_percent", "float64", "percent", "allocated, of the cluster's GPUs"),
        Column("fragmented_percent", "float64", "percent", "idle but out of typical pods' reach, of the cluster's "
               "GPUs"),
        Column("fragmented_of_idle_percent", "float64", "percent", "the same, of the idle GPUs"),
    ),
    # k8slab.analysis.gpu.gpu_classes: one row a class.
    "gpu.classes": (
        Column("class", "string", "", "what keeps a typical pod from idle GPUs"),
        Column("meaning", "string", "", "the same in words"),
        Column("gpus", "float64", "GPUs", "idle GPUs, averaged over the typical pods"),
        Column("of_idle_percent", "float64", "percent", "the same, of the idle GPUs"),
    ),
    # k8slab.analysis.gpu.gpu_failures: one row a shape of pods that found no node, most pods first.
    "gpu.failures": _FAILED_SHAPES,
    # Reproduction.results: one row a run, with the columns of the published by_seed.csv.
    "reproduction.results": (
        *_REPRODUCED,
        *(Column(f"alloc_{load}", "float64", "% of GPUs", f"allocated while {load} % of the GPUs have been asked for; "
                 "missing where no pod arrived about then") for load in (100, 130)),
        *(Column(f"frag_amount_{load}", "float64", "% of GPUs", f"fragmented at load {load} %")
          for load in (50, 100, 130)),
        *(Column(f"frag_ratio_{load}", "float64", "% of idle GPUs", f"fragmented at load {load} %")
          for load in (50, 100, 130)),
        Column("failed_pods", "int64", "count", "pods that found no node"),
        Column("failed_pods_by_100", "int64", "count", "those among them that came up to load 100 %"),
        Column("pods_submitted", "int64", "count", "pods that arrived"),
    ),
    # Reproduction.curves: one row a run and load.
    "reproduction.curves": (
        *_REPRODUCED,
        Column("load", "int64", "% of GPUs", "asked for so far, whole"),
        Column("allocation", "float64", "% of GPUs", "allocated; missing where no pod arrived about then"),
        Column("frag_amount", "float64", "% of GPUs", "fragmented: expected to be of no use to a typical pod"),
        Column("frag_ratio", "float64", "% of idle GPUs", "fragmented"),
    ),
    # Reproduction.failures: one row a run and shape of pods that found no node, most pods first.
    "reproduction.failures": (
        *_REPRODUCED,
        *_FAILED_SHAPES,
    ),
    # Reproduction.differences: one row a policy and curve; empty where nothing published is at hand.
    "reproduction.differences": (
        POLICY,
        Column("curve", "string", "", "allocation, frag_amount or frag_ratio"),
        Column("runs", "int64", "count", "runs that both have"),
        Column("compared", "int64", "count", "values that both have"),
        Column("equal", "int64", "count", "those among them that are equal"),
        Column("largest", "float64", "as the curve", "largest difference"),
        Column("gap", "float64", "as the curve", "difference of the means at load 100 %"),
        Column("spread", "float64", "as the curve", "its standard error; missing for a single seed"),
    ),
}
