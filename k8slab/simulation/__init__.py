"""Worlds that run in virtual time: a cluster that lives, elections by the million, a laboratory for Raft's core.

What a `k8slab.Simulation` is told is made of these: what runs (PodStream, Deployment, StatefulSet,
Job, DaemonSet), when it comes (Poisson, Diurnal, Bursts, Replay), how long it lasts (Exponential,
Weibull, LogNormal, Uniform, Fixed, Empirical), and what it uses (Usage, Load); what scales it
(HorizontalAutoscaler, ThresholdAutoscaler), what breaks (NodeFailures, ZoneFailures, PodCrashes
and the other faults), and who watches and heals (Health, DisruptionBudget, Drain). What nodes an
autoscaler may add: InstanceType, InstanceCatalogue, NodeGroup; a cluster to start with: cluster_of.
Who adds them, moves pods and resizes them: ClusterAutoscaler, Karpenter (NodePool, NodeBudget), Descheduler,
VerticalAutoscaler. What may enter: Namespace, Quota, LimitRange. Where what is decided is committed: Store.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from k8slab.simulation.arrivals import Bursts as Bursts
    from k8slab.simulation.arrivals import Diurnal as Diurnal
    from k8slab.simulation.arrivals import Poisson as Poisson
    from k8slab.simulation.arrivals import Replay as Replay
    from k8slab.simulation.autoscalers import AutoscalerFlags as AutoscalerFlags
    from k8slab.simulation.autoscalers import HorizontalAutoscaler as HorizontalAutoscaler
    from k8slab.simulation.autoscalers import Metric as Metric
    from k8slab.simulation.autoscalers import ScalingBehavior as ScalingBehavior
    from k8slab.simulation.autoscalers import ThresholdAutoscaler as ThresholdAutoscaler
    from k8slab.simulation.descheduling import Descheduler as Descheduler
    from k8slab.simulation.distributions import Empirical as Empirical
    from k8slab.simulation.distributions import Exponential as Exponential
    from k8slab.simulation.distributions import Fixed as Fixed
    from k8slab.simulation.distributions import LogNormal as LogNormal
    from k8slab.simulation.distributions import Uniform as Uniform
    from k8slab.simulation.distributions import Weibull as Weibull
    from k8slab.simulation.drains import Drain as Drain
    from k8slab.simulation.faults import CorrelatedFailures as CorrelatedFailures
    from k8slab.simulation.faults import FlappingHeartbeats as FlappingHeartbeats
    from k8slab.simulation.faults import LateHeartbeats as LateHeartbeats
    from k8slab.simulation.faults import ListedFailures as ListedFailures
    from k8slab.simulation.faults import LostHeartbeats as LostHeartbeats
    from k8slab.simulation.faults import NodeFailures as NodeFailures
    from k8slab.simulation.faults import OomKills as OomKills
    from k8slab.simulation.faults import PodCrashes as PodCrashes
    from k8slab.simulation.faults import PodHangs as PodHangs
    from k8slab.simulation.faults import RackFailures as RackFailures
    from k8slab.simulation.faults import SlowNodes as SlowNodes
    from k8slab.simulation.faults import ZoneFailures as ZoneFailures
    from k8slab.simulation.health import DisruptionBudget as DisruptionBudget
    from k8slab.simulation.health import Health as Health
    from k8slab.simulation.instance_catalogue import InstanceCatalogue as InstanceCatalogue
    from k8slab.simulation.instance_types import InstanceType as InstanceType
    from k8slab.simulation.instance_types import NodeGroup as NodeGroup
    from k8slab.simulation.instance_types import cluster_of as cluster_of
    from k8slab.simulation.karpenter import Karpenter as Karpenter
    from k8slab.simulation.karpenter import NodeBudget as NodeBudget
    from k8slab.simulation.karpenter import NodePool as NodePool
    from k8slab.simulation.namespaces import LimitRange as LimitRange
    from k8slab.simulation.namespaces import Namespace as Namespace
    from k8slab.simulation.namespaces import Quota as Quota
    from k8slab.simulation.node_autoscalers import ClusterAutoscaler as ClusterAutoscaler
    from k8slab.simulation.store import Store as Store
    from k8slab.simulation.usage import Load as Load
    from k8slab.simulation.usage import Usage as Usage
    from k8slab.simulation.vertical import VerticalAutoscaler as VerticalAutoscaler
    from k8slab.simulation.workloads import DaemonSet as DaemonSet
    from k8slab.simulation.workloads import Deployment as Deployment
    from k8slab.simulation.workloads import Job as Job
    from k8slab.simulation.workloads import PodStream as PodStream
    from k8slab.simulation.workloads import StatefulSet as StatefulSet

_HOMES = {
    **dict.fromkeys(("Bursts", "Diurnal", "Poisson", "Replay"), "arrivals"),
    **dict.fromkeys(
        ("AutoscalerFlags", "HorizontalAutoscaler", "Metric", "ScalingBehavior", "ThresholdAutoscaler"), "autoscalers"
    ),
    **dict.fromkeys(("Empirical", "Exponential", "Fixed", "LogNormal", "Uniform", "Weibull"), "distributions"),
    **dict.fromkeys(("Drain",), "drains"),
    **dict.fromkeys(
        (
            "CorrelatedFailures",
            "FlappingHeartbeats",
            "LateHeartbeats",
            "ListedFailures",
            "LostHeartbeats",
            "NodeFailures",
            "OomKills",
            "PodCrashes",
            "PodHangs",
            "RackFailures",
            "SlowNodes",
            "ZoneFailures",
        ),
        "faults",
    ),
    **dict.fromkeys(("DisruptionBudget", "Health"), "health"),
    "Descheduler": "descheduling",
    "InstanceCatalogue": "instance_catalogue",
    **dict.fromkeys(("InstanceType", "NodeGroup", "cluster_of"), "instance_types"),
    **dict.fromkeys(("Karpenter", "NodeBudget", "NodePool"), "karpenter"),
    **dict.fromkeys(("LimitRange", "Namespace", "Quota"), "namespaces"),
    "ClusterAutoscaler": "node_autoscalers",
    "Store": "store",
    "VerticalAutoscaler": "vertical",
    **dict.fromkeys(("Load", "Usage"), "usage"),
    **dict.fromkeys(("DaemonSet", "Deployment", "Job", "PodStream", "StatefulSet"), "workloads"),
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'k8slab.simulation' has no attribute {name!r}")
    value = getattr(import_module(f"k8slab.simulation.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
