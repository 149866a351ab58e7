"""What became of the pods that the descheduler had evicted: did the scheduler put them back where they were?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from k8slab.domain.instants import SECOND_NS
from k8slab.state import VERBS

if TYPE_CHECKING:
    from k8slab.simulation.history import History
    from k8slab.simulation.world import World


def moves_frame(world: World, history: History | None = None) -> pd.DataFrame:
    """One row an eviction of the descheduler: the pod that came instead, where it went, and whether that is back.

    Of a workload's pods the replacement is the next that the workload made since; a bare pod replaces itself.
    """
    told = world.sink.columns("descheduling")
    instead, target = _replacements(world, told["pod_row"], told["time_ns"])
    state = world.state
    names = [None if row < 0 else state.node_name(int(row)) for row in target]
    return pd.DataFrame(
        {
            "time_s": told["time_ns"] / SECOND_NS,
            "strategy": told["strategy"],
            "pod": _texts(state.pod_name(int(row)) for row in told["pod_row"]),
            "node": _texts(state.node_name(int(row)) for row in told["node_row"]),
            "replacement": _texts(None if row < 0 else state.pod_name(int(row)) for row in instead),
            "target": _texts(names),
            "moved_back": target == told["node_row"],
        }
    )


def descheduling_metrics(world: World) -> dict[str, tuple[float, str]]:
    """How many pods were evicted, and how many came back to the node they were taken from; nothing without any."""
    if not world.sink.count("descheduling"):
        return {}
    frame = moves_frame(world)
    return {
        "pods_descheduled": (len(frame), "count"),
        "pods_moved_back": (int(frame["moved_back"].sum()), "count"),
    }


def _replacements(world: World, pods: Any, times: Any) -> tuple[np.ndarray, np.ndarray]:
    """int64[n] twice: the pod that came instead, and its node; -1 for none yet."""
    state = world.state
    journal = state.journal.columns()
    added, bound = (journal["verb"] == VERBS.index(verb) for verb in ("POD_ADDED", "BOUND"))
    first_node: dict[int, list[tuple[int, int]]] = {}
    columns = (journal[name][bound] for name in ("time_ns", "pod_row", "node_row"))
    for at, pod, node in zip(*columns, strict=True):
        first_node.setdefault(int(pod), []).append((int(at), int(node)))
    made: dict[int, list[tuple[int, int]]] = {}
    for at, pod in zip(journal["time_ns"][added], journal["pod_row"][added], strict=True):
        owner = int(state.pod_owner[pod])
        if owner >= 0:
            made.setdefault(owner, []).append((int(at), int(pod)))
    taken: set[int] = set()
    instead, target = np.full(len(pods), -1), np.full(len(pods), -1)
    for place, (row, at) in enumerate(zip(pods.tolist(), times.tolist(), strict=True)):
        owner = int(state.pod_owner[row])
        if owner < 0:
            found = row
        else:
            found = next((pod for when, pod in made.get(owner, ()) if when >= at and pod not in taken), -1)
            taken.add(found)
        instead[place] = found
        target[place] = next((node for when, node in first_node.get(found, ()) if when >= at), -1)
    return instead, target


def _texts(values: Any) -> Any:
    listed = list(values)
    out = np.empty(len(listed), dtype=object)
    out[:] = listed
    return out
