"""A small web shop on Kubernetes, made up: of everything that kube-scheduler looks at there is some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from k8slab.datasets.cluster import Cluster
from k8slab.datasets.workload import Workload
from k8slab.domain.pod_spec import HOSTNAME, ZONE

Object = dict[str, Any]

_SHAPES: Final = ((8, 32), (16, 64), (32, 128))  # cores, GiB
_IMAGE_MIB: Final = {"web": 300, "cart": 700, "search": 1400, "cache": 120, "db": 900, "report": 500}
_SSD: Final = {"matchExpressions": [{"key": "disktype", "operator": "In", "values": ["ssd"]}]}


def webshop(nodes: int = 60, scale: int = 1, seed: int = 0) -> tuple[Cluster, Workload]:
    """A cluster of `nodes` in three zones, one of them small, and the pods of a web shop that wait for a place.

    Six applications, made of native Kubernetes objects: services with their default spreading,
    a StatefulSet that keeps its pods on hosts of their own and evenly over zones, preferences
    for SSDs and for being near the cache, spot nodes that are disliked by all but reports, images
    that are on some nodes already, containers without requests. `scale` multiplies the replicas.
    Same arguments, same objects.

    >>> webshop()[1]
    Workload(233 pods, 6 distinct requests, 169 cores, 526.5 GiB)
    """
    rng = np.random.default_rng(seed)
    machines = [_node(number, rng) for number in range(nodes)]
    apps = {app["name"]: app for app in _apps()}
    services = [_service(name) for name in ("web", "cart", "search", "cache")]
    pods = [_pod(app, number) for app in apps.values() for number in range(app["replicas"] * scale)]
    rng.shuffle(pods)
    source = "a made-up web shop"
    cluster = Cluster.from_kubernetes({"kind": "List", "items": [*machines, *services]})
    workload = Workload.from_kubernetes({"kind": "PodList", "items": pods}, which="given")
    return replace(cluster, source=source), replace(workload, source=source)


def _node(number: int, rng: np.random.Generator) -> Object:
    zone = "abc"[min(number % 5 // 2, 2)]  # two fifths, two fifths, one fifth
    cores, gib = _SHAPES[int(rng.integers(len(_SHAPES)))]
    name = f"node-{number}"
    labels = {HOSTNAME: name, ZONE: zone, "disktype": "ssd" if rng.random() < 0.3 else "hdd"}
    spot = rng.random() < 0.2
    there = [image for image in _IMAGE_MIB if rng.random() < 0.4]
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": "spot", "value": "true", "effect": "PreferNoSchedule"}] if spot else []},
        "status": {
            "allocatable": {"cpu": str(cores), "memory": f"{gib}Gi", "pods": "110"},
            "images": [{"names": [f"{image}:v1"], "sizeBytes": _IMAGE_MIB[image] * 2**20} for image in there],
        },
    }


def _service(name: str) -> Object:
    metadata = {"name": name, "namespace": "shop"}
    return {"kind": "Service", "metadata": metadata, "spec": {"selector": {"app": name}}}


def _apps() -> Iterator[Object]:
    near_cache = {"weight": 60, "podAffinityTerm": {"topologyKey": ZONE, "labelSelector": _selector("cache")}}
    apart = {"topologyKey": HOSTNAME, "labelSelector": _selector("db")}
    even = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": _selector("db")}
    preferred, required = ("preferredDuringScheduling", "requiredDuringScheduling")
    ignored = "IgnoredDuringExecution"
    yield {"name": "web", "replicas": 80, "requests": {"cpu": "500m", "memory": "1Gi"}}
    yield {
        "name": "cart", "replicas": 40, "requests": {"cpu": "1", "memory": "2Gi"},
        "affinity": {"podAffinity": {f"{preferred}{ignored}": [near_cache]}},
    }  # fmt: skip
    yield {
        "name": "search", "replicas": 24, "requests": {"cpu": "2", "memory": "8Gi"},
        "affinity": {"nodeAffinity": {f"{preferred}{ignored}": [{"weight": 80, "preference": _SSD}]}},
    }  # fmt: skip
    yield {"name": "cache", "replicas": 20, "requests": {"cpu": "250m", "memory": "4Gi"}}
    yield {
        "name": "db", "replicas": 9, "requests": {"cpu": "4", "memory": "10752Mi"},
        "affinity": {"podAntiAffinity": {f"{required}{ignored}": [apart]}}, "spread": [even],
    }  # fmt: skip
    tolerated = [{"key": "spot", "operator": "Exists", "effect": "PreferNoSchedule"}]
    yield {"name": "report", "replicas": 60, "requests": {}, "tolerations": tolerated}


def _selector(app: str) -> Object:
    return {"matchLabels": {"app": app}}


def _pod(app: Object, number: int) -> Object:
    name = app["name"]
    container = {"name": name, "image": f"{name}:v1", "resources": {"requests": app["requests"]}}
    spec = {
        "containers": [container],
        "affinity": app.get("affinity", {}),
        "topologySpreadConstraints": app.get("spread", []),
        "tolerations": app.get("tolerations", []),
    }
    return {"metadata": {"name": f"{name}-{number}", "namespace": "shop", "labels": {"app": name}}, "spec": spec}
