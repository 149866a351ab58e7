"""Kubernetes objects to measure by: nodes of six shapes in three zones, and deployments with their pods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

import k8slab
from k8slab.domain.columns import Names
from tests.kube.scenario import expectation

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
HARD: Final = {"whenUnsatisfiable": "DoNotSchedule"}
SOFT: Final = {"whenUnsatisfiable": "ScheduleAnyway"}
Object = dict[str, Any]
Says = Callable[[int], Object]


def selector(app: int) -> Object:
    return {"matchLabels": {"app": f"app-{app}"}}


def nothing(app: int) -> Object:
    return {}


def spread(*rules: Object) -> Says:
    """Even over domains, by rules of topologyKey and whenUnsatisfiable."""
    return lambda app: {
        "topologySpreadConstraints": [{"maxSkew": 1, "labelSelector": selector(app), **rule} for rule in rules]
    }


def apart(app: int) -> Object:
    """No two pods of an app on one host, each host a domain of its own."""
    return {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOSTNAME, "labelSelector": selector(app)}]}}


def together(app: int) -> Object:
    """The pods of an app rather in one zone."""
    term = {"topologyKey": ZONE, "labelSelector": selector(app)}
    return {"podAffinity": {PREFERRED: [{"weight": 50, "podAffinityTerm": term}]}}


def near_disks(app: int) -> Object:
    """Rather on a node with the disk that the app likes."""
    rule = {"key": "disk", "operator": "In", "values": [("ssd", "hdd")[app % 2]]}
    return {"nodeAffinity": {PREFERRED: [{"weight": 10, "preference": {"matchExpressions": [rule]}}]}}


def affinity(*terms: Says) -> Says:
    """All of these in a pod's affinity."""
    return lambda app: {"affinity": {key: value for term in terms for key, value in term(app).items()}}


def nodes(count: int, tainted: bool = False) -> list[Object]:
    """Names whose order is that of the rows. tainted : every fourth would rather have no pods."""
    taint = {"key": "old", "value": "", "effect": "PreferNoSchedule"}
    return [
        {
            "kind": "Node",
            "metadata": {
                "name": f"n{i:05}",
                "labels": {HOSTNAME: f"n{i:05}", ZONE: "abc"[i % 3], "disk": ("ssd", "hdd")[i % 5 > 1]},
            },
            "spec": {"taints": [taint]} if tainted and i % 4 == 0 else {},
            "status": {
                "allocatable": {"cpu": ("8", "16", "32")[i // 3 % 3], "memory": f"{32 * (1 + i % 2)}Gi", "pods": "110"}
            },
        }
        for i in range(count)
    ]


def services(apps: int) -> list[Object]:
    """A service an app, which brings kube-scheduler's default spreading."""
    return [
        {
            "kind": "Service",
            "metadata": {"name": f"s{app}", "namespace": "default"},
            "spec": {"selector": {"app": f"app-{app}"}},
        }
        for app in range(apps)
    ]


def pod(app: int, says: Says) -> Object:
    """A pod of an app; apps ask for up to 200 different amounts."""
    requests = {"cpu": f"{50 * (1 + app % 20)}m", "memory": f"{128 * (1 + app // 20 % 10)}Mi"}
    spec = {"containers": [{"name": "c", "image": "app", "resources": {"requests": requests}}], **says(app)}
    metadata = {"name": f"p{app}", "namespace": "default", "labels": {"app": f"app-{app}"}}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {}}


class Deployments(NamedTuple):
    """A cluster and the pods of its apps in a random order, for the library and for the slow twin."""

    cluster: k8slab.Cluster
    workload: k8slab.Workload
    objects: dict[str, list[Object]]
    apps: np.ndarray

    def by_twin(self, pods: int) -> list[int]:
        """Node rows of the first pods by plain Python, plug-in by plug-in and node by node."""
        kinds = self.objects["pods"]
        pending = [
            {**kinds[app], "metadata": {**kinds[app]["metadata"], "name": f"p{i}"}}
            for i, app in enumerate(self.apps[:pods].tolist())
        ]
        scenario: Object = {key: {"items": self.objects[key]} for key in ("nodes", "services")}
        scenario |= {"category": "sequence", "pluginConfig": [], "pods": {"items": []}, "pending": {"items": pending}}
        return [int(step["chosen"][1:]) for step in expectation(scenario)["steps"]]


def deployments(
    count: int, apps: int, pods: int, says: Says, *, with_services: bool = False, tainted: bool = False
) -> Deployments:
    """So many nodes, and so many pods of so many apps."""
    objects = {"nodes": nodes(count, tainted), "services": services(apps) if with_services else []}
    objects["pods"] = [pod(app, says) for app in range(apps)]
    order = np.random.default_rng(0).permutation(np.arange(pods) % apps)
    cluster = k8slab.Cluster.from_kubernetes({"kind": "List", "items": [*objects["nodes"], *objects["services"]]})
    kinds = k8slab.Workload.from_kubernetes({"kind": "List", "items": objects["pods"]})
    return Deployments(cluster, replace(kinds.take(order), names=Names(prefix="p", count=pods)), objects, order)
