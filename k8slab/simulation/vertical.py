"""VerticalPodAutoscalers of a simulated cluster, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from k8slab.application.vertical_autoscaler import MODES, SizedWorkload
from k8slab.application.vertical_autoscaler import VerticalAutoscaler as VerticalAutoscalerLoop
from k8slab.domain.columns import Ints
from k8slab.domain.ports import ControllerPort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.evicting import evicting
from k8slab.simulation.world import World
from k8slab.units import Quantity, amount

_LARGEST = 2**62


@dataclass(frozen=True)
class VerticalAutoscaler:
    """A VerticalPodAutoscaler of a deployment: what its pods request follows what they use.

    update_mode : "recreate" evicts pods whose request is far off, "in-place" changes it where the node has room,
                  "initial" sizes only pods that are made anew, "off" only watches
    min_allowed, max_allowed : {"cpu": "100m", "memory": "256Mi"}

    Raises InputError that names the autoscaler, the key and the value.
    """

    deployment: str
    update_mode: str = "recreate"
    min_allowed: Mapping[str, Quantity] = field(default_factory=dict)
    max_allowed: Mapping[str, Quantity] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or f"{self.deployment}-size")
        if self.update_mode not in MODES:
            raise UnknownName("update mode", self.update_mode, MODES, f"In {self}.")
        least, most = self._amounts("min_allowed", 0), self._amounts("max_allowed", _LARGEST)
        if least[0] > most[0] or least[1] > most[1]:
            raise InputError(f"{self}: min_allowed={self.min_allowed!r} is above max_allowed={self.max_allowed!r}")

    def __str__(self) -> str:
        return f"autoscaler {self.name!r}"

    def sized(self, world: World) -> SizedWorkload:
        """As the loop wants it. UnknownName for a deployment that isn't there."""
        workloads = world.workloads
        names = [name for n, name in enumerate(workloads.names) if workloads.spec(n).kind == "Deployment"]
        if self.deployment not in names:
            raise UnknownName("deployment", self.deployment, names, f"In {self}.")
        return SizedWorkload(
            self.deployment, workloads.owner(self.deployment), self.update_mode, self._amounts("min_allowed", 0),
            self._amounts("max_allowed", _LARGEST),
        )  # fmt: skip

    def _amounts(self, key: str, default: int) -> tuple[int, int]:
        given = getattr(self, key)
        for name in given:
            if name not in (CPU, MEMORY):
                raise UnknownName("resource", name, (CPU, MEMORY), f"In {self}, {key}.")
        cpu, memory = (
            amount(name, given[name], f"{self}: {key}, {name}") if name in given else default for name in (CPU, MEMORY)
        )
        return cpu, memory


def build_vertical(autoscalers: Sequence[VerticalAutoscaler], world: World) -> ControllerPort:
    """One loop of all of them."""
    evictor, _ = evicting(world)
    sized = [one.sized(world) for one in autoscalers]
    loop = VerticalAutoscalerLoop(
        world.state, world.sink, world.usage, world.workloads, sized, evictor, kills=_kills(world)
    )
    world.parts["vertical"] = loop
    return loop


def _kills(world: World) -> Callable[[], tuple[Ints, Ints]]:
    """The containers that were killed for memory since the last time, by what the healers told."""
    seen = 0

    def since() -> tuple[Ints, Ints]:
        nonlocal seen
        told = world.sink.since("healing", seen)
        seen += len(told["time_ns"])
        killed = told["reason"] == "OOMKilled"
        return told["pod_row"][killed].astype(np.int64), told["time_ns"][killed].astype(np.int64)

    return since
