"""What else of a dump scheduling depends on: namespaces, services, controllers, disruption budgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8slab.datasets.kubernetes_dump import API_VERSIONS, ApiObject, Dump
from k8slab.domain.api_objects import ApiObjects, Controller, DisruptionBudget, Service
from k8slab.domain.api_parsing import equality_of, selector_of
from k8slab.domain.pod_spec import Owner, Selector

_INT32: Final = 2**31 - 1


def api_objects(dump: Dump) -> ApiObjects:
    """Raises InputError with kind, namespace/name and field of what an API server would refuse."""
    return ApiObjects(
        namespaces={one.name: one.labels for one in dump.of("Namespace")},
        services=tuple(Service(one.namespace, one.name, _labels_alone(one)) for one in dump.of("Service")),
        controllers=tuple(_controllers(dump)),
        budgets=tuple(_budget(one) for one in dump.of("PodDisruptionBudget")),
    )


def _controllers(dump: Dump) -> Iterator[Controller]:
    for kind, read in (
        ("ReplicationController", _labels_alone),
        ("ReplicaSet", _selector),
        ("StatefulSet", _selector),
    ):
        for one in dump.of(kind):
            yield Controller(one.namespace, Owner(API_VERSIONS[kind], kind, one.name), read(one))


def _budget(one: ApiObject) -> DisruptionBudget:
    return DisruptionBudget(
        one.namespace,
        one.name,
        _selector(one),
        allowed=one.status.whole("disruptionsAllowed", 0, _INT32, 0),
        disrupted=tuple(sorted(one.status.inside("disruptedPods").content)),
    )


def _selector(one: ApiObject) -> Selector | None:
    return selector_of(one.spec.get("selector"), one.spec.where("selector"))


def _labels_alone(one: ApiObject) -> Selector | None:
    """A selector from before there were any but labels and their values."""
    found = one.spec.get("selector")
    return None if found is None else equality_of(found, one.spec.where("selector"))
