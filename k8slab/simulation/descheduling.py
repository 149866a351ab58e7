"""A descheduler of a simulated cluster, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from k8slab.application.descheduler import STRATEGIES, EvictionLimits, Strategy
from k8slab.application.descheduler import Descheduler as DeschedulerLoop
from k8slab.application.running_pods import RunningPods
from k8slab.domain.ports import ControllerPort
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.distributions import Span
from k8slab.simulation.evicting import daemon_pods, evicting
from k8slab.simulation.node_autoscalers import protected
from k8slab.simulation.world import World
from k8slab.units import duration_ns

_LOW = {"cpu": 20.0, "memory": 20.0, "pods": 20.0}
_HIGH = {"cpu": 50.0, "memory": 50.0, "pods": 50.0}


@dataclass(frozen=True, kw_only=True)
class Descheduler:
    """sigs.k8s.io/descheduler with some of its strategies, in this order, every `period`.

    strategies : names of STRATEGIES
    thresholds : per cent by resource: a node at or below all of them is underused
    targets    : of LowNodeUtilization: a node above any of them is overused
    deviation  : thresholds and targets are distances from the nodes' mean
    number_of_nodes : nothing is done unless more nodes than this are underused
    max_per_node, max_per_namespace, max_total : evictions a round, None for no limit
    evict_bare_pods : pods of no workload too

    Raises InputError that names the key and the value; UnknownName for a strategy that isn't.
    """

    strategies: Sequence[str] = ("LowNodeUtilization",)
    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(_LOW))
    targets: Mapping[str, float] = field(default_factory=lambda: dict(_HIGH))
    deviation: bool = False
    number_of_nodes: int = 0
    period: Span = "5m"
    max_per_node: int | None = None
    max_per_namespace: int | None = None
    max_total: int | None = None
    evict_bare_pods: bool = False
    name: str = "descheduler"

    def __post_init__(self) -> None:
        if not self.strategies:
            raise InputError(f"{self}: no strategies; wanted some of {', '.join(STRATEGIES)}")
        for name in self.strategies:
            if name not in STRATEGIES:
                raise UnknownName("strategy", name, STRATEGIES, f"In {self}.")
        duration_ns(self.period, f"{self}: period", least_ns=1)
        for key in ("thresholds", "targets"):
            for resource, value in getattr(self, key).items():
                if not 0 <= value <= 100:
                    raise InputError(f"{self}: {key}, {resource}={value!r}; wanted per cent from 0 to 100")
        if "LowNodeUtilization" in self.strategies:
            if set(self.thresholds) != set(self.targets):
                raise InputError(f"{self}: thresholds name {sorted(self.thresholds)}, targets {sorted(self.targets)}")
            for name, value in self.thresholds.items():
                if not self.deviation and value > self.targets[name]:
                    above = f"is above its target {self.targets[name]!r}"
                    raise InputError(f"{self}: threshold of {name}, {value!r}, {above}")
        for key in ("max_per_node", "max_per_namespace", "max_total"):
            value = getattr(self, key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise InputError(f"{self}: {key}={value!r}; wanted a whole number, 0 or more")

    def __str__(self) -> str:
        return f"descheduler {self.name!r}"

    def build(self, world: World) -> ControllerPort:
        """The loop."""
        evictor, budgets = evicting(world)
        schema = world.state.schema
        for name in self.thresholds:
            if name not in schema.names:
                raise UnknownName("resource", name, schema.names, f"In {self}, thresholds.")
        rows = tuple(schema.index(name) for name in self.thresholds)
        low = tuple(float(value) for value in self.thresholds.values())
        high = tuple(float(self.targets.get(name, 100.0)) for name in self.thresholds)
        running = RunningPods(
            world.state, lambda pods: daemon_pods(world, pods), bare_block=not self.evict_bare_pods,
            protected=lambda pods: protected(budgets, pods),
        )  # fmt: skip
        strategies = [Strategy(name, rows, low, high, self.number_of_nodes, self.deviation) for name in self.strategies]
        limits = EvictionLimits(self.max_per_node, self.max_per_namespace, self.max_total)
        return DeschedulerLoop(
            world.state, world.sink, world.policy, evictor, running, strategies, period_ns=duration_ns(self.period),
            limits=limits,
        )  # fmt: skip
