"""The one evictor of a run: whoever has pods go shares it, and the budgets it asks."""

from __future__ import annotations

import numpy as np

from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.evictor import Evictor
from k8slab.domain.columns import Ints
from k8slab.simulation.world import World


def evicting(world: World) -> tuple[Evictor, DisruptionBudgets]:
    """The run's evictor and its budgets; one without budgets is added where nobody heals."""
    if "evictor" not in world.parts:
        budgets = DisruptionBudgets(world.state, (), scales=world.workloads)
        evictor = Evictor(world.state, world.sink, budgets=budgets, daemons=lambda rows: daemon_pods(world, rows))
        world.calendar.add(evictor)
        world.parts["evictor"] = evictor
    found: Evictor = world.parts["evictor"]
    return found, found.budgets


def daemon_pods(world: World, rows: Ints) -> np.ndarray:
    """bool[n]: the pods of daemon sets."""
    workloads = world.workloads
    kinds = np.array([workloads.spec(owner).kind == "DaemonSet" for owner in range(len(workloads.names))] + [False])
    return np.asarray(kinds[world.state.pod_owner[rows]])
