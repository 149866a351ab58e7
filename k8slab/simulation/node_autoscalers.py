"""Autoscalers of nodes, as data: cluster-autoscaler over node groups, and the loops that are made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from k8slab.application.cluster_autoscaler import AutoscalerConfig
from k8slab.application.cluster_autoscaler import ClusterAutoscaler as ClusterAutoscalerLoop
from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.running_pods import RunningPods
from k8slab.application.scale_down import ScaleDownRules
from k8slab.application.scale_up import ScaleUpLimits
from k8slab.domain.cluster_autoscaler import expanders
from k8slab.domain.cluster_autoscaler.deletion_budget import DeletionBudget
from k8slab.domain.cluster_autoscaler.expanders import Chain, ExpansionOption, Options, Pricing
from k8slab.domain.columns import Ints
from k8slab.domain.ports import ControllerPort
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.cloud import Cloud
from k8slab.simulation.distributions import Span
from k8slab.simulation.evicting import daemon_pods, evicting
from k8slab.simulation.instance_catalogue import InstanceCatalogue, catalogue_of
from k8slab.simulation.instance_types import NodeGroup, check_groups
from k8slab.simulation.stretch import Stretch
from k8slab.simulation.world import World
from k8slab.units import duration_ns

EXPANDERS: Final = ("least-waste", "most-pods", "least-nodes", "priority", "price", "random")
# What cluster-autoscaler's price model asks for a core and for a gibibyte, an hour.
_CORE_PRICE: Final = 0.033174
_GIB_PRICE: Final = 0.004446
_SPANS: Final = (
    "scan_interval", "new_pod_delay", "delay_after_add", "delay_after_failure", "delay_after_delete", "unneeded_time",
    "unready_time", "max_node_provision_time",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClusterAutoscaler:
    """cluster-autoscaler; the defaults are upstream's flags.

    groups        : NodeGroups; or tables of their keys, whose instance_type is a name in `catalogue`
    catalogue     : an InstanceCatalogue or a file of one; the embedded example by default
    expander      : a name of EXPANDERS, or several: each narrows what the one before left, the last draw is random
    priorities    : of the expander "priority": {50: ["spot-.*"], 10: [".*"]}; the highest wins
    scan_interval : how often it looks
    scoring       : its simulation of the scheduler goes by the policy's scores too, where upstream takes the first fit
    evict_bare_pods : pods of no workload may be evicted too, and wait for another node; upstream's answer is no
    max_nodes_total : of the whole cluster, 0 for no limit

    Raises InputError that names the autoscaler, the key and the value; UnknownName for an expander that isn't.
    """

    groups: Sequence[NodeGroup | Mapping[str, Any]]
    catalogue: InstanceCatalogue | str | None = None
    expander: str | Sequence[str] = "least-waste"
    priorities: Mapping[Any, Sequence[str]] = field(default_factory=dict)
    scan_interval: Span = "10s"
    new_pod_delay: Span = 0
    expendable_pods_priority_cutoff: int = -10
    scoring: bool = False
    scale_down: bool = True
    utilization_threshold: float = 0.5
    unneeded_time: Span = "10m"
    unready_time: Span = "20m"
    delay_after_add: Span = "10m"
    delay_after_failure: Span = "3m"
    delay_after_delete: Span = 0
    max_scale_down_parallelism: int = 10
    max_drain_parallelism: int = 1
    max_nodes_total: int = 0
    max_nodes_per_scale_up: int = 1000
    max_node_provision_time: Span = "15m"
    max_unready_percent: float = 45.0
    ok_unready: int = 3
    evict_bare_pods: bool = False
    name: str = "cluster-autoscaler"

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", groups_of(self.groups, self.catalogue, f"{self}"))
        chain = self.expander.split(",") if isinstance(self.expander, str) else self.expander
        wanted = tuple(str(name).strip() for name in chain)
        object.__setattr__(self, "expander", wanted)
        for name in wanted:
            if name not in EXPANDERS:
                raise UnknownName("expander", name, EXPANDERS, f"In {self}.")
        if "priority" in wanted and not self.priorities:
            raise InputError(f'{self}: expander "priority" without priorities; wanted {{50: ["spot-.*"], 10: [".*"]}}')
        self._ranked()
        for key in _SPANS:
            duration_ns(getattr(self, key), f"{self}: {key}", least_ns=int(key == "scan_interval"))
        if not 0 <= self.utilization_threshold <= 1:
            raise InputError(f"{self}: utilization_threshold={self.utilization_threshold!r}; wanted 0 to 1")
        for key in ("max_nodes_total", "max_nodes_per_scale_up", "max_scale_down_parallelism", "max_drain_parallelism"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
                raise InputError(f"{self}: {key}={value!r}; wanted a whole number, 0 or more")

    def __str__(self) -> str:
        return f"autoscaler {self.name!r}"

    def config(self) -> AutoscalerConfig:
        """As the loop wants it."""
        ns = {key: duration_ns(getattr(self, key)) for key in _SPANS}
        budget = DeletionBudget(self.max_scale_down_parallelism, self.max_drain_parallelism)
        return AutoscalerConfig(
            scan_ns=ns["scan_interval"],
            new_pod_delay_ns=ns["new_pod_delay"],
            expendable_below=self.expendable_pods_priority_cutoff,
            scoring=self.scoring,
            scale_down=self.scale_down,
            delay_after_add_ns=ns["delay_after_add"],
            delay_after_failure_ns=ns["delay_after_failure"],
            delay_after_delete_ns=ns["delay_after_delete"],
            provision_ns=ns["max_node_provision_time"],
            max_unready_percent=self.max_unready_percent,
            ok_unready=self.ok_unready,
            limits=ScaleUpLimits(self.max_nodes_total, self.max_nodes_per_scale_up),
            rules=ScaleDownRules(
                self.utilization_threshold, ns["unneeded_time"], ns["unready_time"], budget=budget
            ),
        )

    def build(self, world: World) -> ControllerPort:
        """The loop; adds the cloud, and an evictor if nobody else has brought one."""
        groups: Any = self.groups
        cloud = Cloud(world, groups)
        evictor, budgets = evicting(world)
        running = RunningPods(
            world.state, lambda rows: daemon_pods(world, rows), bare_block=not self.evict_bare_pods,
            protected=lambda rows: protected(budgets, rows),
        )  # fmt: skip
        world.calendar.add(cloud)
        if isinstance(world.calendar.leaper, Stretch):
            world.calendar.leaper.let_join(cloud)
        world.parts["cloud"] = cloud
        return ClusterAutoscalerLoop(
            world.state, cloud, world.sink, world.policy, waiting=lambda: world.scheduler.waiting_rows,
            choose=self._chooser(cloud, world), running=running, evictor=evictor, budgets=budgets,
            config=self.config(), name=self.name,
        )  # fmt: skip

    def _ranked(self) -> dict[int, tuple[str, ...]]:
        found = {}
        for rank, patterns in self.priorities.items():
            if not str(rank).lstrip("-").isdigit():
                raise InputError(f"{self}: priority {rank!r}; wanted a whole number")
            for pattern in patterns:
                try:
                    re.compile(pattern)
                except re.error as error:
                    wrong = f"{pattern!r} is no regular expression: {error}"
                    raise InputError(f"{self}: priority {rank}: {wrong}") from error
            found[int(rank)] = tuple(patterns)
        return found

    def _chooser(self, cloud: Cloud, world: World) -> Callable[[Options], ExpansionOption | None]:
        rng = world.streams.generator(f"expander/{self.name}")
        filters: dict[str, Callable[[Options], list[ExpansionOption]]] = {
            "least-waste": expanders.least_waste,
            "most-pods": expanders.most_pods,
            "least-nodes": expanders.least_nodes,
            "priority": lambda options: expanders.priority(options, self._ranked()),
            "price": lambda options: expanders.price(options, _pricing(options, cloud, world)),
        }
        chain = Chain[ExpansionOption](
            [filters[name] for name in self.expander if name != "random"],
            lambda left: left[int(rng.integers(len(left)))] if left else None,
        )
        return chain.best


def groups_of(
    given: Sequence[NodeGroup | Mapping[str, Any]], catalogue: InstanceCatalogue | str | None, where: str
) -> tuple[NodeGroup, ...]:
    """The groups, those that are tables made. Raises InputError that says where."""
    types = catalogue_of(catalogue, where)
    if isinstance(given, str | Mapping):
        raise InputError(f"{where}: groups={given!r}; wanted a list of NodeGroups, or of their keys and values")
    known = [one.name for one in fields(NodeGroup)]
    found = []
    for one in given:
        if isinstance(one, Mapping):
            name = f"group {one.get('name')!r}"
            for key in one:
                if key not in known:
                    raise UnknownName("key", str(key), known, f"In {where}, {name}.")
            for key in ("name", "instance_type"):
                if key not in one:
                    raise InputError(f"{where}: {name}: {key} is missing; wanted name and instance_type")
            try:
                kind = one["instance_type"]
                found.append(NodeGroup(**{**one, "instance_type": types[kind] if isinstance(kind, str) else kind}))
            except InputError as error:
                raise InputError(f"{where}: {name}: {error}") from error
        else:
            found.append(one)
    try:
        check_groups(found)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return tuple(found)


def protected(budgets: DisruptionBudgets, rows: Ints) -> np.ndarray:
    """bool[n]: the pods that some budget protects."""
    found = np.zeros(len(rows), dtype=np.bool_)
    for number in range(len(budgets.budgets)):
        found |= np.isin(rows, budgets.members(number))
    return found


def _pricing(options: Options, cloud: Cloud, world: World) -> Pricing:
    nodes = {group.name: group.price_per_hour for group in cloud.groups}
    pods = {
        name: _asked(shape.cpu_milli, shape.memory_bytes)
        for option in options
        for name, shape in zip(option.pods, option.pod_shapes, strict=True)
    }
    preferred = expanders.preferred_node_cores(int(world.state.node_alive.sum()))
    return Pricing(nodes, pods, _asked(500, 500 * 2**20), preferred * 1000)


def _asked(cpu_milli: int, memory_bytes: int) -> float:
    return _CORE_PRICE * cpu_milli / 1000 + _GIB_PRICE * memory_bytes / 2**30
