"""Which resources a cluster counts, in which exact integer unit, under which column name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

CPU: Final = "cpu"
MEMORY: Final = "memory"
PODS: Final = "pods"
GPU: Final = "gpu"
EPHEMERAL_STORAGE: Final = "ephemeral-storage"

# kube-scheduler counts in int64 and lets sums and hundredfold amounts wrap around; so do its plug-ins here.
LARGEST_AMOUNT: Final = 2**63 - 1
# Other scores multiply by a hundred and must stay exact.
LARGEST_EXACT_AMOUNT: Final = LARGEST_AMOUNT // 100

_MILLI: Final = {CPU, GPU}
_BYTES: Final = {MEMORY, EPHEMERAL_STORAGE}


def unit_of(resource: str) -> str:
    """The unit a resource is counted in: "milli", "bytes" or "count"."""
    if resource in _MILLI:
        return "milli"
    if resource in _BYTES or resource.startswith("hugepages-"):
        return "bytes"
    return "count"


def is_extended(resource: str) -> bool:
    """Whether it is an extended resource: named with a prefix that isn't Kubernetes' own.

    >>> [is_extended(name) for name in ("nvidia.com/gpu", "kubernetes.io/x", "cpu")]
    [True, False, False]
    """
    return "/" in resource and "kubernetes.io/" not in resource and not resource.startswith("requests.")


def is_scalar(resource: str) -> bool:
    """Whether a score counts it only for pods that request it: all but cpu, memory, ephemeral-storage and pods."""
    return resource not in (CPU, MEMORY, EPHEMERAL_STORAGE, PODS)


def is_known(resource: str) -> bool:
    """Whether Kubernetes may have a resource of this name."""
    return not is_scalar(resource) or "/" in resource or resource.startswith(("hugepages-", "attachable-volumes-"))


def column_of(resource: str) -> str:
    """The name of a resource's column in frames, unit last.

    >>> [column_of(name) for name in ("cpu", "memory", "pods", "ephemeral-storage", "nvidia.com/gpu")]
    ['cpu_milli', 'memory_bytes', 'pods', 'ephemeral_storage_bytes', 'nvidia.com/gpu']
    """
    unit = unit_of(resource)
    if unit == "count":
        return resource
    return f"{resource.replace('ephemeral-storage', 'ephemeral_storage')}_{unit}"


def resource_of(column: str) -> str | None:
    """The resource whose column has this name, or None if no resource has.

    Extended resources are columns of their own name, which holds a "/".

    >>> resource_of("memory_bytes"), resource_of("nvidia.com/gpu"), resource_of("zone")
    ('memory', 'nvidia.com/gpu', None)
    """
    if column == PODS or "/" in column or column.startswith("attachable-volumes-"):
        return column
    for suffix in ("_milli", "_bytes"):
        if column.endswith(suffix):
            resource = column.removesuffix(suffix).replace("ephemeral_storage", "ephemeral-storage")
            if column_of(resource) == column:
                return resource
    return None


@dataclass(frozen=True)
class ResourceSchema:
    """The resources of a run, in row order: cpu, memory, pods, then any others.

    Amounts are exact int64 in the unit of `unit_of`: milli-CPU, bytes, counts.
    "pods" is a resource like any other: a node allows so many, a pod requests one.
    """

    names: tuple[str, ...] = (CPU, MEMORY, PODS)

    def __post_init__(self) -> None:
        assert self.names[:3] == (CPU, MEMORY, PODS), f"cpu, memory, pods must come first: {self.names}"
        assert len(set(self.names)) == len(self.names), f"a resource stands twice: {self.names}"

    @classmethod
    def of(cls, resources: Iterable[str]) -> ResourceSchema:
        """A schema of cpu, memory, pods and these, in the order given."""
        return cls(tuple(dict.fromkeys((CPU, MEMORY, PODS, *resources))))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, resource: str) -> int:
        """The row of a resource. Raises ValueError where the schema has none of that name."""
        return self.names.index(resource)

    @property
    def columns(self) -> tuple[str, ...]:
        """The frame columns of the resources, in row order."""
        return tuple(column_of(name) for name in self.names)

    def union(self, other: ResourceSchema) -> ResourceSchema:
        """A schema with the resources of both, these first."""
        return ResourceSchema.of((*self.names, *other.names))

    def rows_in(self, wider: ResourceSchema) -> npt.NDArray[np.int64]:
        """int64[R]: the row of each of these resources in a schema that has them all."""
        return np.array([wider.index(name) for name in self.names], dtype=np.int64)

    def vector(self, amounts: Mapping[str, int]) -> npt.NDArray[np.int64]:
        """int64[R] of amounts by resource name; what is not named is 0."""
        out = np.zeros(len(self.names), dtype=np.int64)
        for name, amount in amounts.items():
            out[self.index(name)] = amount
        return out
