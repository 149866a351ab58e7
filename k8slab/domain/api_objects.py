"""What else an API server holds that scheduling depends on: namespaces, services, controllers, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from k8slab.domain.pod_spec import Owner, Selector

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """A service. selector : None selects no pod, () all of its namespace."""

    namespace: str
    name: str
    selector: Selector | None


@dataclass(frozen=True)
class Controller:
    """A ReplicationController, ReplicaSet or StatefulSet, and the pods it means."""

    namespace: str
    owner: Owner
    selector: Selector | None


@dataclass(frozen=True)
class DisruptionBudget:
    """A PodDisruptionBudget: how many of its pods may go now.

    selector  : None and () protect no pod
    allowed   : status.disruptionsAllowed
    disrupted : names of pods whose eviction is counted already
    """

    namespace: str
    name: str
    selector: Selector | None
    allowed: int
    disrupted: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApiObjects:
    """All of these of one cluster. namespaces : name -> labels, only those that are known."""

    namespaces: Mapping[str, Labels] = field(default_factory=dict)
    services: tuple[Service, ...] = ()
    controllers: tuple[Controller, ...] = ()
    budgets: tuple[DisruptionBudget, ...] = ()


NOTHING: Final = ApiObjects()
