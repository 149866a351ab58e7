"""What filters may know of a node by itself: nodes that are described alike needn't be asked about again."""

from __future__ import annotations

from typing import Any, Final

from k8slab.domain.columns import NodeColumns, PodColumns
from k8slab.policies import plugins
from k8slab.policies.compiled import is_static
from k8slab.policies.policy import Policy

# What of a node these say to a pod without a spec are its state and taints.
_BLIND: Final = (plugins.NodeUnschedulable, plugins.NodeName, plugins.TaintToleration, plugins.NodeResourcesFit)


def is_blind(policy: Policy, pods: PodColumns) -> bool:
    """Whether of a node's description only its state and taints matter to such pods."""
    static = [item for item in policy.filters if is_static(item)]
    affinity = [item for item in static if type(item) is plugins.NodeAffinity]
    known = all(type(item) in _BLIND or item in affinity for item in static)
    asks = any(item.added_required is not None for item in affinity)
    return known and not asks and not len(pods.specs.values)


def description(nodes: NodeColumns, row: int, blind: bool) -> Any:
    """A key that is equal for nodes of which static filters say the same."""
    words = int(nodes.state[row]), bool(nodes.alive[row]), int(nodes.taints.codes[row]), int(nodes.images.codes[row])
    if blind:
        return words
    labels = tuple(int(column.codes[row]) for column in nodes.labels.values())
    return words, labels, nodes.allocatable[:, row].tobytes()
