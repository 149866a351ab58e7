"""What a cloud sells, and the groups of nodes that autoscalers make of it: plain values, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from k8slab.datasets.cluster import Cluster
from k8slab.datasets.taints import TAINTS_WANTED, parse_taints
from k8slab.domain.columns import Codes, Ints, Taints
from k8slab.domain.pod_spec import HOSTNAME, ZONE
from k8slab.domain.resources import CPU, MEMORY, PODS, ResourceSchema, is_known
from k8slab.errors import InputError
from k8slab.simulation.distributions import DISTRIBUTIONS, Distribution, Span, as_distribution
from k8slab.units import Quantity, amount, format_amount

# Tells which group a node is of; a node without it belongs to none, and no autoscaler touches it.
GROUP_LABEL: Final = "node-group"
TYPE_LABEL: Final = "node.kubernetes.io/instance-type"


@dataclass(frozen=True, kw_only=True)
class InstanceType:
    """A kind of machine: what pods may use of it, what it costs, and how it comes.

    resources      : allocatable, {"cpu": "3920m", "memory": "14Gi", "pods": 58, "nvidia.com/gpu": 1}; else 110 pods
    price_per_hour : of a node, from the instant it is launched until it is gone; in any one currency
    boot           : from launch until the node is ready: a distribution, or a time span
    launch_failure : the share of launches that the cloud refuses, from 0 to 1
    limit          : so many at one time at the most, over all groups; None for no limit
    family         : for people

    Raises InputError that names the type, the key and the value.
    """

    name: str
    resources: Mapping[str, Quantity]
    price_per_hour: float
    family: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: str | Sequence[str] = ()
    boot: Distribution | Span | Mapping[str, Any] = "60s"
    launch_failure: float = 0.0
    limit: int | None = None

    def __post_init__(self) -> None:
        for name in (CPU, MEMORY):
            if name not in self.resources:
                raise InputError(f"{self}: no {name}; wanted what pods may use of each of cpu and memory")
        for name, value in self.resources.items():
            if not is_known(name):
                raise InputError(f"{self}: {name!r} is no resource that Kubernetes could have")
            if amount(name, value, f"{self}, {name}") < 0:
                raise InputError(f"{self}: {name}={value!r} is negative")
        _number(self, "price_per_hour", 0.0)
        _number(self, "launch_failure", 0.0, 1.0)
        if self.limit is not None:
            _whole(self, "limit", 0)
        _parsed_taints(self)
        if isinstance(self.boot, Mapping):
            object.__setattr__(self, "boot", _distribution(self.boot, f"{self}, boot"))
        as_distribution(self.boot)  # type: ignore[arg-type]  # a mapping no more

    def __str__(self) -> str:
        return f"instance type {self.name!r}"

    def amounts(self) -> dict[str, int]:
        """Allocatable in whole milli-CPU, bytes and counts, by resource."""
        return {PODS: 110, **{name: amount(name, value) for name, value in self.resources.items()}}

    def vector(self, schema: ResourceSchema) -> Ints:
        """int64[R]: allocatable of the schema's resources; of others nobody asks anything."""
        return schema.vector({name: value for name, value in self.amounts().items() if name in schema.names})


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Nodes of one instance type, of which there are between `min_size` and `max_size`.

    initial        : how many there are at the start, in clusters that `cluster_of` makes; min_size by default
    labels, taints : beside the type's own
    zone           : of all its nodes
    all_or_nothing : it has either no nodes or max_size of them
    utilization_threshold, unneeded_time, unready_time : of this group in place of the autoscaler's

    Raises InputError that names the group, the key and the value.
    """

    name: str
    instance_type: InstanceType
    min_size: int = 0
    max_size: int = 10
    initial: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: str | Sequence[str] = ()
    zone: str = ""
    all_or_nothing: bool = False
    utilization_threshold: float | None = None
    unneeded_time: Span | None = None
    unready_time: Span | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.instance_type, InstanceType):
            raise InputError(f"{self}: instance_type={self.instance_type!r}; wanted an InstanceType")
        _whole(self, "min_size", 0)
        _whole(self, "max_size", 1)
        if self.min_size > self.max_size:
            raise InputError(f"{self}: min_size={self.min_size} is above max_size={self.max_size}")
        if self.initial is not None:
            _whole(self, "initial", 0)
            if not self.min_size <= self.initial <= self.max_size:
                raise InputError(
                    f"{self}: initial={self.initial} is not within min_size={self.min_size} and "
                    f"max_size={self.max_size}"
                )
        limit = self.instance_type.limit
        if limit is not None and self.min_size > limit:
            raise InputError(f"{self}: min_size={self.min_size} is above the limit of {self.instance_type}, {limit}")
        if self.all_or_nothing and self.initial not in (None, 0, self.max_size):
            raise InputError(f"{self}: all or nothing, but initial={self.initial}; wanted 0 or {self.max_size}")
        if self.all_or_nothing and self.min_size not in (0, self.max_size):
            raise InputError(f"{self}: all or nothing, but min_size={self.min_size}; wanted 0 or {self.max_size}")
        if self.utilization_threshold is not None:
            _number(self, "utilization_threshold", 0.0, 1.0)
        _parsed_taints(self)

    def __str__(self) -> str:
        return f"node group {self.name!r}"

    @property
    def first_size(self) -> int:
        """How many nodes it starts with."""
        return self.min_size if self.initial is None else self.initial

    def node_labels(self) -> dict[str, str]:
        """What its nodes are labelled with."""
        own = {GROUP_LABEL: self.name, TYPE_LABEL: self.instance_type.name, **self.labels}
        return {**self.instance_type.labels, **own, **({ZONE: self.zone} if self.zone else {})}

    def node_taints(self) -> Taints:
        """What its nodes are tainted with."""
        return (*_parsed_taints(self.instance_type), *_parsed_taints(self))


def cluster_of(groups: Sequence[NodeGroup]) -> Cluster:
    """A cluster of what the groups start with, its nodes called GROUP-0, GROUP-1, ...

    Raises InputError for two groups of one name, and where there would be no node at all.

    >>> small = InstanceType(name="small", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.2)
    >>> cluster_of([NodeGroup(name="web", instance_type=small, initial=3)])
    Cluster(3 nodes, 12 cores, 48 GiB)
    """
    check_groups(groups)
    each = [group for group in groups for _ in range(group.first_size)]
    if not each:
        raise InputError("no group starts with a node; wanted initial=1 or more for one of them")
    schema = ResourceSchema.of([name for group in groups for name in group.instance_type.resources])
    names = [f"{group.name}-{number}" for group in groups for number in range(group.first_size)]
    labels = [group.node_labels() for group in each]
    keys = dict.fromkeys(key for found in labels for key in found)
    return Cluster.of(
        names,
        np.stack([group.instance_type.vector(schema) for group in each], axis=1),
        schema,
        # As every node has it, and those that join later do.
        labels={**{key: Codes.of([found.get(key) for found in labels]) for key in keys}, HOSTNAME: Codes.of(names)},
        taints=Codes.of([group.node_taints() for group in each]),
        source=f"node groups {', '.join(group.name for group in groups)}",
    )


def check_groups(groups: Sequence[NodeGroup]) -> None:
    """Raises InputError for none, for what is no group, for two of one name, and for limits that minima exceed."""
    if not groups:
        raise InputError("no node groups; wanted at least one")
    names = []
    least: dict[str, int] = {}
    for group in groups:
        if not isinstance(group, NodeGroup):
            raise InputError(f"groups holds a {type(group).__name__}; wanted a NodeGroup")
        names.append(group.name)
        if names.count(group.name) > 1:
            raise InputError(f"two node groups are named {group.name!r}; wanted a name of its own for each")
        kind = group.instance_type
        least[kind.name] = least.get(kind.name, 0) + group.first_size
        if kind.limit is not None and least[kind.name] > kind.limit:
            raise InputError(f"{group}: with it {least[kind.name]} of {kind} are there from the start, of {kind.limit}")


def told(one: InstanceType) -> str:
    """What a type has, for people: "3.92 cpu, 14 GiB, 58 pods"."""
    return ", ".join(f"{format_amount(name, value)} {name}" for name, value in one.amounts().items())


def _distribution(table: Mapping[str, Any], where: str) -> Distribution:
    kind = table.get("kind")
    if kind not in DISTRIBUTIONS:
        raise InputError(f"{where}: kind={kind!r}; wanted one of {', '.join(DISTRIBUTIONS)}")
    made = DISTRIBUTIONS[kind]
    known = [one.name for one in fields(made) if one.init]
    given = {key: value for key, value in table.items() if key != "kind"}
    for key in given:
        if key not in known:
            raise InputError(f"{where}: {kind} has no {key!r}; wanted {', '.join(known)}")
    try:
        found: Distribution = made(**given)
    except (TypeError, InputError) as error:
        raise InputError(f"{where}: {error}") from error
    return found


def _parsed_taints(one: InstanceType | NodeGroup) -> Taints:
    listed = (one.taints,) if isinstance(one.taints, str) else one.taints
    for text in listed:
        if not isinstance(text, str):
            raise InputError(f"{one}: taint {text!r}; wanted {TAINTS_WANTED}")
    try:
        return parse_taints(",".join(listed))
    except ValueError as error:
        raise InputError(f"{one}: taint {error.args[0]!r}; wanted {TAINTS_WANTED}") from error


def _number(one: object, key: str, low: float, high: float = float("inf")) -> None:
    value = getattr(one, key)
    wanted = f"a number, {low:g} or more" if high == float("inf") else f"a number from {low:g} to {high:g}"
    good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not good or value == float("inf"):
        raise InputError(f"{one}: {key}={value!r}; wanted {wanted}")


def _whole(one: object, key: str, least: int) -> None:
    value = getattr(one, key)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{one}: {key}={value!r}; wanted a whole number, {least} or more")
