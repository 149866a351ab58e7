"""Karpenter, as data: node pools whose nodes may be of many types, and the loop that is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from k8slab.application.karpenter.loop import STARTS, KarpenterConfig
from k8slab.application.karpenter.loop import Karpenter as KarpenterLoop
from k8slab.application.karpenter.pods import DisruptedPods
from k8slab.application.karpenter.pools import BALANCED, POLICIES, UNDERUTILIZED, UNLIMITED, Pool
from k8slab.domain.columns import NEVER
from k8slab.domain.karpenter import budgets
from k8slab.domain.karpenter.budgets import REASONS
from k8slab.domain.karpenter.cron import Cron
from k8slab.domain.karpenter.disruption_cost import BALANCED_K
from k8slab.domain.ports import ControllerPort
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.cloud import Cloud
from k8slab.simulation.distributions import Span
from k8slab.simulation.evicting import daemon_pods, evicting
from k8slab.simulation.instance_catalogue import InstanceCatalogue, catalogue_of
from k8slab.simulation.instance_types import InstanceType, NodeGroup, check_groups
from k8slab.simulation.world import World
from k8slab.units import Quantity, amount, duration_ns

POOL_LABEL: Final = "karpenter.sh/nodepool"
# Of one type of a pool; what bounds a pool are its limits.
MOST_NODES: Final = 1_000_000
_SPANS: Final = ("batch_idle", "batch_max", "poll", "validation", "registration")


@dataclass(frozen=True, kw_only=True)
class NodeBudget:
    """How many of a pool's nodes may be disrupted at once; the default pool's is 10 %.

    nodes    : "10" or "10%", of the pool's nodes, rounded up; those that are on their way out or not ready count
    reasons  : what it holds for, of Empty, Underutilized and Drifted; none for all
    schedule : cron in UTC, or @daily; it holds for `duration` from each hit, and always without either

    Raises InputError that names the key and the value.
    """

    nodes: str = "10%"
    reasons: Sequence[str] = ()
    schedule: str | None = None
    duration: Span | None = None

    def __post_init__(self) -> None:
        for reason in self.reasons:
            if reason not in REASONS:
                raise UnknownName("reason", reason, REASONS, f"In {self}.")
        try:
            self.rule().allowed(1)
            if self.schedule is not None:
                Cron.parse(self.schedule)
        except InputError as error:
            raise InputError(f"{self}: {error}") from error

    def __str__(self) -> str:
        return f"budget of {self.nodes!r} nodes"

    def rule(self) -> budgets.NodeBudget:
        """As the rules want it."""
        lasts = None
        if self.duration is not None:
            lasts = timedelta(microseconds=duration_ns(self.duration, f"{self}: duration", least_ns=1000) // 1000)
        return budgets.NodeBudget(str(self.nodes), tuple(self.reasons) or None, self.schedule, lasts)


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """Nodes that are launched and ended one by one, each of whichever type is cheapest for its pods.

    instance_types : InstanceTypes, or names in the autoscaler's catalogue; () for all of it. One with the label
                     karpenter.sh/capacity-type "spot" is spot capacity
    weight         : pools of larger weight are asked first, those of equal weight by name
    limits         : of what all its nodes have together, {"cpu": 1000, "memory": "1000Gi"}
    labels, taints : of its nodes, beside the types' own      zones : of which each node has one; () for none
    consolidation_policy : WhenEmpty, WhenEmptyOrUnderutilized or Balanced (with balanced_k)
    consolidate_after : a node may go so long after a pod last came or went there; "Never" for never
    budgets        : NodeBudgets or tables of their keys; () holds nothing back
    expire_after   : nodes go at this age, whatever budgets say; "Never", where upstream has 720h
    termination_grace_period : after so long a node goes whatever holds it; None for as long as it takes
    initial        : {"general-4": 2}, how many there are at the start, in clusters that `cluster_of` makes

    Raises InputError that names the pool, the key and the value.
    """

    name: str = "default"
    instance_types: Sequence[InstanceType | str] = ()
    weight: int = 0
    limits: Mapping[str, Quantity] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: str | Sequence[str] = ()
    zones: Sequence[str] = ()
    consolidation_policy: str = UNDERUTILIZED
    consolidate_after: Span = 0
    balanced_k: float = BALANCED_K
    budgets: Sequence[NodeBudget | Mapping[str, Any]] = (NodeBudget(),)
    expire_after: Span = "Never"
    termination_grace_period: Span | None = None
    initial: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.consolidation_policy not in POLICIES:
            raise UnknownName("consolidation policy", self.consolidation_policy, POLICIES, f"In {self}.")
        if self.balanced_k != BALANCED_K and self.consolidation_policy != BALANCED:
            raise InputError(f"{self}: balanced_k={self.balanced_k!r} without consolidation_policy={BALANCED!r}")
        k = self.balanced_k
        if isinstance(k, bool) or not isinstance(k, int | float) or not 0 < k < float("inf"):
            raise InputError(f"{self}: balanced_k={k!r}; wanted a number above 0")
        whole = isinstance(self.weight, int | np.integer) and not isinstance(self.weight, bool)
        if not whole or not 0 <= self.weight <= 100:
            raise InputError(f"{self}: weight={self.weight!r}; wanted a whole number from 0 to 100")
        for name, value in self.limits.items():
            if amount(name, value, f"{self}, limits, {name}") < 0:
                raise InputError(f"{self}: limits, {name}={value!r} is negative")
        _span(self, "consolidate_after", 0)
        _span(self, "expire_after", 1)
        if self.termination_grace_period is not None:
            duration_ns(self.termination_grace_period, f"{self}: termination_grace_period")
        object.__setattr__(self, "budgets", tuple(self._budget(one) for one in self.budgets))

    def __str__(self) -> str:
        return f"node pool {self.name!r}"

    def _budget(self, given: NodeBudget | Mapping[str, Any]) -> NodeBudget:
        if isinstance(given, NodeBudget):
            return given
        if not isinstance(given, Mapping):
            raise InputError(f"{self}: budgets holds {given!r}; wanted a NodeBudget or its keys and values")
        known = [one.name for one in fields(NodeBudget)]
        for key in given:
            if key not in known:
                raise UnknownName("key", str(key), known, f"In {self}, budgets.")
        try:
            return NodeBudget(**given)
        except UnknownName:
            raise
        except InputError as error:
            raise InputError(f"{self}: {error}") from error

    def groups(self, types: Sequence[InstanceType]) -> tuple[NodeGroup, ...]:
        """A node group for each of these types, and zone: what its nodes are counted and paid by."""
        known = [one.name for one in types]
        for name in self.initial:
            if name not in known:
                raise UnknownName("instance type", name, known, f"In {self}, initial.")
        labels = {**self.labels, POOL_LABEL: self.name}
        found = []
        for one in types:
            for number, zone in enumerate(self.zones or ("",)):
                name = f"{self.name}.{one.name}{'.' + zone if zone else ''}"
                # Those of the start are shared out over the zones, the first ones get one more.
                share, rest = divmod(self.initial.get(one.name, 0), len(self.zones) or 1)
                found.append(
                    NodeGroup(
                        name=name, instance_type=one, max_size=MOST_NODES, initial=share + (number < rest),
                        labels=labels, taints=self.taints, zone=zone,
                    )
                )  # fmt: skip
        return tuple(found)

    def rules(self, schema: ResourceSchema) -> Pool:
        """As the loop wants it. UnknownName for a limit on what no node has."""
        limits = np.full(len(schema), UNLIMITED, dtype=np.int64)
        for name, value in self.limits.items():
            if name not in schema.names:
                raise UnknownName("resource", name, schema.names, f"In {self}, limits.")
            limits[schema.index(name)] = min(amount(name, value), UNLIMITED - 1)
        grace = self.termination_grace_period
        return Pool(
            self.name, limits, tuple(one.rule() for one in self.budgets if isinstance(one, NodeBudget)),
            self.consolidation_policy, _span(self, "consolidate_after", 0), _span(self, "expire_after", 1),
            NEVER if grace is None else duration_ns(grace), float(self.balanced_k),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Karpenter:
    """Karpenter; the defaults are upstream's.

    node_pools : NodePools, or tables of their keys
    catalogue  : an InstanceCatalogue or a file of one; the embedded example by default
    batch_idle, batch_max : pods are looked at together so long after the last of them came, or the first
    poll       : how often nodes are looked at; validation : a decision is looked at again after so long
    registration : a node that isn't there after so long is given up
    spot_to_spot : the feature gate SpotToSpotConsolidation
    evict_bare_pods : pods of no workload are evicted like all others, and wait for another node; False keeps their node
    starts     : the date of the run's beginning in UTC, for budgets with a schedule; a Monday at midnight by default

    Raises InputError that names the autoscaler, the key and the value.
    """

    node_pools: Sequence[NodePool | Mapping[str, Any]] = field(default_factory=lambda: (NodePool(),))
    catalogue: InstanceCatalogue | str | None = None
    batch_idle: Span = "1s"
    batch_max: Span = "10s"
    poll: Span = "10s"
    validation: Span = "15s"
    registration: Span = "15m"
    spot_to_spot: bool = False
    evict_bare_pods: bool = True
    starts: str | datetime = STARTS
    name: str = "karpenter"

    def __post_init__(self) -> None:
        object.__setattr__(self, "node_pools", pools_of(self.node_pools, f"{self}"))
        for key in _SPANS:
            duration_ns(getattr(self, key), f"{self}: {key}", least_ns=int(key == "poll"))
        self.config()
        object.__setattr__(self, "_groups", self._made_groups())

    def __str__(self) -> str:
        return f"autoscaler {self.name!r}"

    @property
    def groups(self) -> tuple[NodeGroup, ...]:
        """A node group for each type and zone of each pool; `cluster_of` makes a cluster of them."""
        found: tuple[NodeGroup, ...] = self._groups  # type: ignore[attr-defined]  # set above: the dataclass is frozen
        return found

    def _ordered(self) -> list[NodePool]:
        pools: Any = self.node_pools
        return sorted(pools, key=lambda pool: (-pool.weight, pool.name))

    def _made_groups(self) -> tuple[NodeGroup, ...]:
        types = catalogue_of(self.catalogue, f"{self}")
        found: list[NodeGroup] = []
        for pool in self._ordered():
            try:
                kinds = [types[one] if isinstance(one, str) else one for one in pool.instance_types or types.values()]
                found += pool.groups(kinds)
                check_groups(found)
            except InputError as error:
                raise InputError(f"{self}: {pool}: {error}") from error
        return tuple(found)

    def config(self) -> KarpenterConfig:
        """As the loop wants it."""
        ns = {key: duration_ns(getattr(self, key)) for key in _SPANS}
        if ns["batch_idle"] > ns["batch_max"]:
            raise InputError(f"{self}: batch_idle={self.batch_idle!r} is above batch_max={self.batch_max!r}")
        return KarpenterConfig(
            idle_ns=ns["batch_idle"], most_ns=ns["batch_max"], poll_ns=ns["poll"], validation_ns=ns["validation"],
            registration_ns=ns["registration"], spot_to_spot=self.spot_to_spot, starts=self._date(),
        )  # fmt: skip

    def _date(self) -> datetime:
        try:
            date = datetime.fromisoformat(self.starts) if isinstance(self.starts, str) else self.starts
            return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (AttributeError, ValueError) as error:
            raise InputError(f'{self}: starts={self.starts!r}; wanted a date such as "2024-01-01T08:00"') from error

    def build(self, world: World) -> ControllerPort:
        """The loop; adds the cloud, and an evictor if nobody else has brought one."""
        pools = self._ordered()
        cloud = Cloud(world, self.groups)
        evictor, pdbs = evicting(world)
        pods = DisruptedPods(world.state, lambda rows: daemon_pods(world, rows), bare_block=not self.evict_bare_pods)
        world.calendar.add(cloud)
        world.parts["cloud"] = cloud
        names = [pool.name for pool in pools]
        return KarpenterLoop(
            world.state, cloud, world.sink, world.policy, waiting=lambda: world.scheduler.waiting_rows,
            pools=[pool.rules(world.state.schema) for pool in pools],
            pool_of=[names.index(group.labels[POOL_LABEL]) for group in self.groups],
            pods=pods, evictor=evictor, budgets=pdbs, config=self.config(), name=self.name,
        )  # fmt: skip


def pools_of(given: Sequence[NodePool | Mapping[str, Any]], where: str) -> tuple[NodePool, ...]:
    """The pools, those that are tables made. Raises InputError that says where, for none and for two of one name."""
    known = [one.name for one in fields(NodePool)]
    found: list[NodePool] = []
    for one in given:
        if isinstance(one, NodePool):
            found.append(one)
            continue
        if not isinstance(one, Mapping):
            raise InputError(f"{where}: node_pools holds {one!r}; wanted a NodePool or its keys and values")
        for key in one:
            if key not in known:
                raise UnknownName("key", str(key), known, f"In {where}, node pool {one.get('name', 'default')!r}.")
        try:
            found.append(NodePool(**one))
        except UnknownName:
            raise
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    if not found:
        raise InputError(f"{where}: no node pools; wanted at least one")
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: two node pools are named {name!r}; wanted a name of its own for each")
    return tuple(found)


def _span(pool: NodePool, key: str, least_ns: int) -> int:
    value = getattr(pool, key)
    return NEVER if value == "Never" else duration_ns(value, f"{pool}: {key}", least_ns=least_ns)
