"""Placing by GPU devices in one compiled loop: for one GPU score, and pods and nodes that say nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from k8slab.domain.resources import CPU, GPU, MEMORY, PODS
from k8slab.policies import plugins
from k8slab.policies.policy import Decisions
from k8slab.policies.run import Run

_PLAIN: Final = (
    plugins.NodeUnschedulable,
    plugins.NodeName,
    plugins.TaintToleration,
    plugins.NodeAffinity,
    plugins.NodePorts,
    plugins.NodeResourcesFit,
    plugins.PodTopologySpread,
    plugins.InterPodAffinity,
)
_COUNTED: Final = {CPU, MEMORY, PODS, GPU}


def place_by_devices(run: Run, report: Callable[[int], None]) -> Decisions | None:
    """Place all pods as `place_stepwise` does; None, with nothing changed, where this can't."""
    if not _can(run):
        return None
    from k8slab.kernels import gpu

    snapshot, table = run.snapshot, run.snapshot.devices
    columns, pods = snapshot.nodes, snapshot.pods
    free = columns.allocatable - columns.requested
    if (free < 0).any():
        return None
    nodes = gpu.Nodes(*(column.copy() for column in table.nodes))
    nodes.memory[:] = free[columns.schema.index(MEMORY)]
    placed = gpu.Placed(*(np.zeros(len(pods), dtype=np.int64) for _ in gpu.Placed._fields))
    score: Any = run.policy.scores[0][0]
    gpu.place(
        getattr(gpu, score.kernel), nodes, table.shapes, table.incoming_shapes,
        np.ascontiguousarray(pods.requests[:, columns.schema.index(MEMORY)]), table.typical, table.largest,
        gpu.scratch_for(nodes, table.shapes, len(pods)), np.zeros(607, dtype=np.uint64), np.zeros(2, dtype=np.int64),
        placed,
    )
    came = np.bincount(placed.node[placed.node >= 0], minlength=len(columns))
    if (came > free[columns.schema.index(PODS)]).any():
        return None  # the loop doesn't count pods; a node that has many small ones may run out of room for them
    run.chosen[:] = placed.node
    report(len(pods))
    bits = placed.devices[:, None] >> np.arange(nodes.milli.shape[1]) & 1
    devices = bits * table.shapes.milli[table.incoming_shapes][:, None]
    return Decisions(run.chosen, "scan", devices=devices)


def _can(run: Run) -> bool:
    policy, snapshot = run.policy, run.snapshot
    devices = [item for item in policy.filters if type(item) is plugins.GpuDevices]
    others = {type(item) for item in policy.filters if type(item) is not plugins.GpuDevices}
    if len(devices) != 1 or not others <= set(_PLAIN) or plugins.NodeResourcesFit not in others:
        return False
    if len(policy.scores) != 1 or type(policy.scores[0][0]) not in plugins.GPU_SCORES or run.ties != "lowest":
        return False
    score, weight = policy.scores[0]
    if weight <= 0 or devices[0].choice != plugins.GpuDevices.for_score(score).choice or snapshot.devices is None:
        return False
    return policy.post_filter is None and not snapshot.devices.slicing and _plain(run)


def _plain(run: Run) -> bool:
    """Whether nodes and pods say nothing beside amounts, models and labels."""
    nodes, pods = run.snapshot.nodes, run.snapshot.pods
    alike = nodes.alive.all() and not nodes.state.any() and not any(nodes.taints.values)
    plain = (pods.specs.codes < 0).all() and not nodes.bound_specs and not len(run.snapshot.nominated.pods)
    one = (pods.requests[:, nodes.schema.index(PODS)] == 1).all()
    return bool(alike and plain and one and set(nodes.schema.names) <= _COUNTED)
