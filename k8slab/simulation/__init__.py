"""Worlds that run in virtual time: a cluster that lives, elections by the million, a laboratory for Raft's core.

What a `k8slab.Simulation` is told is made of these: what runs (PodStream, Deployment, Job,
DaemonSet), when it comes (Poisson, Diurnal, Bursts, Replay), how long it lasts (Exponential,
Weibull, LogNormal, Uniform, Fixed, Empirical), and what it uses (Usage, Load).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from k8slab.simulation.arrivals import Bursts as Bursts
    from k8slab.simulation.arrivals import Diurnal as Diurnal
    from k8slab.simulation.arrivals import Poisson as Poisson
    from k8slab.simulation.arrivals import Replay as Replay
    from k8slab.simulation.distributions import Empirical as Empirical
    from k8slab.simulation.distributions import Exponential as Exponential
    from k8slab.simulation.distributions import Fixed as Fixed
    from k8slab.simulation.distributions import LogNormal as LogNormal
    from k8slab.simulation.distributions import Uniform as Uniform
    from k8slab.simulation.distributions import Weibull as Weibull
    from k8slab.simulation.usage import Load as Load
    from k8slab.simulation.usage import Usage as Usage
    from k8slab.simulation.workloads import DaemonSet as DaemonSet
    from k8slab.simulation.workloads import Deployment as Deployment
    from k8slab.simulation.workloads import Job as Job
    from k8slab.simulation.workloads import PodStream as PodStream

_HOMES = {
    **dict.fromkeys(("Bursts", "Diurnal", "Poisson", "Replay"), "arrivals"),
    **dict.fromkeys(("Empirical", "Exponential", "Fixed", "LogNormal", "Uniform", "Weibull"), "distributions"),
    **dict.fromkeys(("Load", "Usage"), "usage"),
    **dict.fromkeys(("DaemonSet", "Deployment", "Job", "PodStream"), "workloads"),
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'k8slab.simulation' has no attribute {name!r}")
    value = getattr(import_module(f"k8slab.simulation.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
