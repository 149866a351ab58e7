"""k8slab: a laboratory for Kubernetes scheduling, exact and fast, in a notebook.

    import k8slab
    cluster, workload = k8slab.datasets.openb()
    placement = k8slab.schedule(cluster, workload, policy="best-fit")
    k8slab.compare(cluster, workload).to_html("report.html")

Names load when first used, so importing this costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from k8slab import datasets as datasets
    from k8slab import errors as errors
    from k8slab import raft as raft
    from k8slab import simulation as simulation
    from k8slab.datasets.cluster import Cluster as Cluster
    from k8slab.datasets.workload import Workload as Workload
    from k8slab.domain.models import AutoScalingConfig as AutoScalingConfig
    from k8slab.domain.models import ConsensusRole as ConsensusRole
    from k8slab.domain.models import Node as Node
    from k8slab.domain.models import NodeState as NodeState
    from k8slab.domain.models import Pod as Pod
    from k8slab.domain.models import PodPhase as PodPhase
    from k8slab.domain.models import RaftState as RaftState
    from k8slab.domain.models import ScalingDirection as ScalingDirection
    from k8slab.domain.models import SelfHealingEvent as SelfHealingEvent
    from k8slab.domain.resources import ResourceSchema as ResourceSchema
    from k8slab.experiments.backtest import Backtest as Backtest
    from k8slab.experiments.backtest import backtest as backtest
    from k8slab.experiments.compare import compare as compare
    from k8slab.experiments.compare import rerun as rerun
    from k8slab.experiments.comparison import Comparison as Comparison
    from k8slab.experiments.placement import Placement as Placement
    from k8slab.experiments.placement import schedule as schedule
    from k8slab.experiments.removable_nodes import removable_nodes as removable_nodes
    from k8slab.experiments.simulation import Simulation as Simulation
    from k8slab.experiments.variants import WhatIf as WhatIf
    from k8slab.experiments.variants import what_if as what_if
    from k8slab.facade import KubernetesOrchestrator as KubernetesOrchestrator
    from k8slab.facade import get_kubernetes_orchestrator as get_kubernetes_orchestrator
    from k8slab.policies import DefaultPreemption as DefaultPreemption
    from k8slab.policies import Policy as Policy
    from k8slab.policies import array as array
    from k8slab.policies import filter_plugin as filter_plugin
    from k8slab.policies import kernel as kernel
    from k8slab.policies import label as label
    from k8slab.policies import policy as policy
    from k8slab.policies import policy_names as policy_names
    from k8slab.policies import score_plugin as score_plugin
    from k8slab.policies import taint as taint
    from k8slab.policies.profile import policy_from_configuration as policy_from_configuration
    from k8slab.simulation.linearizability import check_linearizable as check_linearizable
    from k8slab.simulation.raft_lab import RaftLab as RaftLab
    from k8slab.state import ClusterState as ClusterState

_MODELS = (
    "AutoScalingConfig",
    "ConsensusRole",
    "Node",
    "NodeState",
    "Pod",
    "PodPhase",
    "RaftState",
    "ScalingDirection",
    "SelfHealingEvent",
)
_POLICIES = (
    "DefaultPreemption",
    "Policy",
    "array",
    "filter_plugin",
    "kernel",
    "label",
    "policy",
    "policy_names",
    "score_plugin",
    "taint",
)
_HOMES = {
    **dict.fromkeys(_MODELS, "k8slab.domain.models"),
    **dict.fromkeys(_POLICIES, "k8slab.policies"),
    "Backtest": "k8slab.experiments.backtest",
    "Cluster": "k8slab.datasets.cluster",
    "ClusterState": "k8slab.state",
    "Comparison": "k8slab.experiments.comparison",
    "KubernetesOrchestrator": "k8slab.facade",
    "Placement": "k8slab.experiments.placement",
    "RaftLab": "k8slab.simulation.raft_lab",
    "ResourceSchema": "k8slab.domain.resources",
    "Simulation": "k8slab.experiments.simulation",
    "WhatIf": "k8slab.experiments.variants",
    "Workload": "k8slab.datasets.workload",
    "backtest": "k8slab.experiments.backtest",
    "check_linearizable": "k8slab.simulation.linearizability",
    "compare": "k8slab.experiments.compare",
    "get_kubernetes_orchestrator": "k8slab.facade",
    "policy_from_configuration": "k8slab.policies.profile",
    "removable_nodes": "k8slab.experiments.removable_nodes",
    "rerun": "k8slab.experiments.compare",
    "schedule": "k8slab.experiments.placement",
    "what_if": "k8slab.experiments.variants",
}
_MODULES = ("datasets", "errors", "raft", "simulation")

__all__ = ["__version__", *sorted((*_HOMES, *_MODULES))]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"k8slab.{name}")
    else:
        raise AttributeError(f"module 'k8slab' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
