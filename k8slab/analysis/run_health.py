"""Frames of what detectors saw in a run, and of what their mistakes cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.simulation.availability import Steps, ready_spells, serving_spells, workload_steps
from k8slab.simulation.detection import Detection, all_detectors, detect, repairs
from k8slab.simulation.workloads import Deployment, Part, StatefulSet

if TYPE_CHECKING:
    from k8slab.simulation.history import History
    from k8slab.simulation.world import World

_COUNTS: Final = ("outages", "found", "suspicions", "right", "wrong")
_SCORES: Final = (
    *_COUNTS, "precision", "recall", "delay_mean_s", "delay_median_s", "delay_p95_s", "delay_max_s", "wrong_s",
)  # fmt: skip
_COSTS: Final = ("moved", "moved_for_nothing", "lost_pod_s", "lost_pod_s_for_nothing", "work_lost_s_for_nothing")


def detectors_frame(world: World, history: History) -> pd.DataFrame:
    """One row a detector, the one that acted first; what mistakes cost is known of that one alone."""
    frame: dict[str, list[Any]] = {name: [] for name in ("detector", "acted", *_SCORES, *_COSTS)}
    for number, (name, detection) in enumerate(_detections(world)):
        costs = repairs(world).costs() if number == 0 else dict.fromkeys(_COSTS, np.nan)
        row = {"detector": name, "acted": number == 0, **detection.scores(), **costs}
        for column, value in row.items():
            frame[column].append(value)
    kinds = {"detector": object, "acted": np.bool_, **dict.fromkeys(_COUNTS, np.int64)}
    return pd.DataFrame({name: np.array(values, dtype=kinds.get(name, np.float64)) for name, values in frame.items()})


def detections_frame(world: World, history: History) -> pd.DataFrame:
    """One row an outage of a node and detector: when the detector found it, if it did."""
    names = world.state.node_names
    parts = [
        pd.DataFrame(
            {
                "detector": np.full(len(detection.found_ns), name, dtype=object),
                "node": np.array([names[row] for row in detection.down_node.tolist()], dtype=object),
                "down_s": detection.down_start_ns / SECOND_NS,
                "up_s": detection.down_end_ns / SECOND_NS,
                "found_s": np.where(detection.found_ns == NEVER, np.nan, detection.found_ns / SECOND_NS),
                "delay_s": detection.delay_s,
            }
        )
        for name, detection in _detections(world)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(_NO_DETECTIONS)


def availability_frame(world: World, history: History) -> pd.DataFrame:
    """One row each time that the number of a workload's ready or serving pods changes, by workload."""
    ready = ready_spells(world)
    serving = serving_spells(world, ready)
    frame: dict[str, list[Any]] = {name: [] for name in ("time_s", "workload", "ready", "serving")}
    for owner, name in enumerate(world.workloads.names):
        counts = [workload_steps(world, spells, owner) for spells in (ready, serving)]
        at = np.unique(np.concatenate([steps.at_ns for steps in counts]))
        frame["time_s"].append(at / SECOND_NS)
        frame["workload"].append(np.full(len(at), name, dtype=object))
        for column, steps in zip(("ready", "serving"), counts, strict=True):
            known = np.searchsorted(steps.at_ns, at, side="right")
            frame[column].append(np.append(0, steps.value)[known])
    empty = {"time_s": np.float64, "workload": object, "ready": np.int64, "serving": np.int64}
    return pd.DataFrame(
        {name: np.concatenate([np.zeros(0, dtype=empty[name]), *parts]) for name, parts in frame.items()}
    )


def unavailable_percent(parts: Sequence[Part], world: World) -> float | None:
    """Pod-seconds that deployments and stateful sets wanted and had nobody to serve, of all that they wanted.

    What they want changes as autoscalers decide. None where nothing was wanted.
    """
    kept = {part.name: part.replicas for part in parts if isinstance(part, Deployment | StatefulSet)}
    if not kept:
        return None
    until_ns, told = world.clock.now(), world.sink.columns("scaling")
    serving = serving_spells(world, ready_spells(world))
    missing = wanted = 0
    for owner, name in enumerate(world.workloads.names):
        if name not in kept:
            continue
        have = workload_steps(world, serving, owner)
        mine = np.asarray(told["workload"] == name)
        want = Steps(np.append(0, told["time_ns"][mine]), np.append(kept[name], told["desired"][mine]))
        at = np.unique(np.concatenate([want.at_ns, have.at_ns]))
        lasted = np.diff(np.append(at, until_ns))
        replicas = want.value[np.searchsorted(want.at_ns, at, side="right") - 1]
        there = np.append(0, have.value)[np.searchsorted(have.at_ns, at, side="right")]
        missing += int((np.maximum(replicas - there, 0) * lasted).sum())
        wanted += int((replicas * lasted).sum())
    return 100.0 * missing / wanted if wanted else None


_NO_DETECTIONS: Final = {
    "detector": np.zeros(0, dtype=object),
    "node": np.zeros(0, dtype=object),
    **{name: np.zeros(0) for name in ("down_s", "up_s", "found_s", "delay_s")},
}


def _detections(world: World) -> list[tuple[str, Detection]]:
    if "health" not in world.parts:
        return []
    return [(name, detect(world, detector)) for name, detector in all_detectors(world).items()]
