"""Policies by name: `policy("best-fit")` gives one, `policy_names()` lists them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path as FilePath
from typing import Any, Final

from k8slab.errors import InputError, UnknownName
from k8slab.policies import plugins
from k8slab.policies.policy import Decisions, Evaluation, Path, Policy, Ties
from k8slab.policies.preemption import DefaultPreemption
from k8slab.policies.user import array, filter_plugin, kernel, label, score_plugin, taint

__all__ = [
    "Decisions",
    "DefaultPreemption",
    "Evaluation",
    "Path",
    "Policy",
    "Ties",
    "array",
    "filter_plugin",
    "gpu_policy_names",
    "kernel",
    "label",
    "policy",
    "policy_names",
    "score_plugin",
    "taint",
]

_FIT: Final = plugins.NodeResourcesFit()
_SPREAD: Final = plugins.PodTopologySpread()
_NEAR: Final = plugins.InterPodAffinity()
# kube-scheduler's, in its order.
FILTERS: Final = (
    plugins.NodeUnschedulable(),
    plugins.NodeName(),
    plugins.TaintToleration(),
    plugins.NodeAffinity(),
    plugins.NodePorts(),
    _FIT,
    _SPREAD,
    _NEAR,
)
Weights = Mapping[str, int] | None


def _kube_default(resources: Weights = None) -> Policy:
    scores = (
        (plugins.TaintToleration(), 3),
        (plugins.NodeAffinity(), 2),
        (_SPREAD, 2),
        (_NEAR, 2),
        (plugins.NodeResourcesFit(plugins.LeastAllocated(resources)), 1),
        (plugins.BalancedAllocation(resources), 1),
        (plugins.ImageLocality(), 1),
    )
    made = _make("kube-default", "kube-scheduler 1.34 as it comes: all its plug-ins, spreading.", scores)
    return replace(made, post_filter=DefaultPreemption())


def _single(name: str, summary: str, plugin: Callable[..., Any]) -> Callable[..., Policy]:
    def make(resources: Weights = None) -> Policy:
        return _make(name, summary, ((plugin(resources), 1),))

    return make


def _ratio(
    resources: Weights = None, shape: Iterable[tuple[int, int]] = plugins.RequestedToCapacityRatio.shape
) -> Policy:
    plugin = plugins.RequestedToCapacityRatio(resources, tuple(shape))
    summary = "Scores utilization by a broken line; by default best near 70 %."
    return _make("requested-to-capacity", summary, ((plugin, 1),))


def _make(name: str, summary: str, scores: tuple[tuple[Any, float], ...]) -> Policy:
    ties: Ties = "random" if name in ("kube-default", "random") else "lowest"
    return Policy(name, summary, FILTERS, scores, ties)


_SHIPPED: Final[dict[str, Callable[..., Policy]]] = {
    "kube-default": _kube_default,
    "least-allocated": _single(
        "least-allocated", "Spreads: the node with most cpu and memory left, in percent.", plugins.LeastAllocated
    ),
    "most-allocated": _single(
        "most-allocated", "Packs: the node with most cpu and memory in use, in percent.", plugins.MostAllocated
    ),
    "requested-to-capacity": _ratio,
    "balanced": _single(
        "balanced", "Keeps cpu and memory of a node equally full.", plugins.BalancedAllocation
    ),
    "best-fit": _single(
        "best-fit", "Packs: least left over all resources, in parts of the largest node.", plugins.BestFit
    ),
    "worst-fit": _single(
        "worst-fit", "Spreads: most left over all resources, in parts of the largest node.", plugins.WorstFit
    ),
    "first-fit": lambda: _make("first-fit", "The first node that fits.", ()),
    "dot-product": _single(
        "dot-product", "Tetris: the node whose free resources lie along the pod's request.", plugins.DotProduct
    ),
    "random": lambda: _make("random", "Any node that fits, each as likely.", ()),
}


def _gpu(name: str, summary: str, *scores: plugins.GpuScore) -> Callable[..., Policy]:
    """A policy of the FGD study: GPU devices told apart, and one of its scores or none."""

    def make(
        typical: Any = None, largest_cpu_milli: int | None = None, largest_gpus: int | None = None
    ) -> Policy:
        counted = None
        if typical is not None:
            from k8slab.policies.gpu_shapes import counted_shapes

            counted = counted_shapes(typical)
        devices = plugins.GpuDevices.for_score(
            next(iter(scores), None), typical=counted, largest_cpu_milli=largest_cpu_milli, largest_gpus=largest_gpus
        )
        weighted = tuple((score, 1.0) for score in scores)
        return Policy(name, summary, (*FILTERS, devices), weighted, "lowest" if scores else "random")

    return make


# Of the study "Beware of Fragmentation". Of clusters without GPUs they say nothing, and so they aren't among the
# names that stand for all policies.
_GPU_SHIPPED: Final[dict[str, Callable[..., Policy]]] = {
    "fgd": _gpu("fgd", "Where least of the GPUs gets out of typical pods' reach.", plugins.FragmentationGradient()),
    "fgd-best-fit": _gpu(
        "fgd-best-fit", "Least cpu and GPU left, in parts of the largest node.", plugins.GpuBestFit()
    ),
    "fgd-dot-product": _gpu(
        "fgd-dot-product", "The smallest product of free and asked cpu and GPU.", plugins.GpuDotProduct()
    ),
    "fgd-gpu-packing": _gpu(
        "fgd-gpu-packing", "First GPUs in use, then nodes in use, then idle nodes.", plugins.GpuPacking()
    ),
    "fgd-gpu-clustering": _gpu(
        "fgd-gpu-clustering", "Pods together that ask alike of GPUs.", plugins.GpuClustering()
    ),
    "fgd-random": _gpu("fgd-random", "Any node with GPU devices for the pod, each as likely."),
}


def policy_names() -> tuple[str, ...]:
    """The names of the shipped policies for any cluster; `gpu_policy_names` has those for GPUs."""
    return tuple(_SHIPPED)


def gpu_policy_names() -> tuple[str, ...]:
    """The names of the shipped policies that tell GPU devices apart."""
    return tuple(_GPU_SHIPPED)


def policy(name: str, **arguments: Any) -> Policy:
    """A shipped policy by its name.

    arguments : `resources={"cpu": 1, "nvidia.com/gpu": 5}` weighs the resources of its
    scores; `shape=[(0, 0), (100, 10)]` is requested-to-capacity's line. Of the GPU policies: `typical`,
    a Workload or rows (mCPU, milli of each GPU, GPUs, models, pods), are the pods to keep GPUs of use
    for, else those to schedule; `largest_cpu_milli` and `largest_gpus` are what scores are in parts of, else
    the cluster's largest node.

    Raises UnknownName for a name that no policy has, with the nearest; InputError for
    an argument that it doesn't take.

    >>> policy("best-fit").scores
    ((BestFit(resources=None), 1),)
    """
    known_names = {**_SHIPPED, **_GPU_SHIPPED}
    if name not in known_names:
        raise UnknownName("policy", name, known_names)
    make = known_names[name]
    known = tuple(inspect.signature(make).parameters)
    for argument in arguments:
        if argument not in known:
            raise InputError(f"policy {name!r} takes {', '.join(known) or 'no arguments'}, not {argument!r}")
    return make(**arguments)


def as_policy(given: str | PathLike[str] | Policy) -> Policy:
    """A policy from itself, a name, or the file of a KubeSchedulerConfiguration. Raises UnknownName or InputError."""
    if isinstance(given, Policy):
        return given
    if isinstance(given, PathLike) or (isinstance(given, str) and given.endswith((".yaml", ".yml", ".json"))):
        from k8slab.policies.profile import policy_from_configuration

        return policy_from_configuration(FilePath(given))
    if isinstance(given, str):
        return policy(given)
    raise InputError(f"policy={given!r} is neither a name nor a k8slab.Policy")
