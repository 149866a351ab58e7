"""What a node of a group is before there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from k8slab.domain.columns import Codes, Ints, Names, NodeColumns, PlacedPods, Taints
from k8slab.domain.pod_spec import HOSTNAME
from k8slab.domain.resources import ResourceSchema


@dataclass(frozen=True, eq=False)
class NodeTemplate:
    """A node that could be.

    allocatable : int64[R]
    overhead    : int64[R]  what daemon sets will take of it at once
    """

    name: str
    allocatable: Ints
    overhead: Ints
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Taints = ()

    @property
    def room(self) -> Ints:
        """int64[R]: what it has for other pods."""
        return self.allocatable - self.overhead


def columns_of(templates: Sequence[NodeTemplate], schema: ResourceSchema) -> NodeColumns:
    """Columns of one empty node a template."""
    return with_templates(_no_nodes(schema), templates)


def with_templates(nodes: NodeColumns, templates: Sequence[NodeTemplate]) -> NodeColumns:
    """The columns with a node for each of these after the others; daemon sets' pods count as usage.

    Each bears a name of its own, and as its host's unless the template says another.
    """
    count, more = len(nodes), len(templates)
    none: Ints = np.zeros((len(nodes.schema), 0), dtype=np.int64)
    names = [f"{one.name}#{number}" for number, one in enumerate(templates)]
    told = [{HOSTNAME: name, **one.labels} for name, one in zip(names, templates, strict=True)]
    labels = {
        key: (nodes.labels.get(key) or Codes.none(count)).joined(Codes.of([one.get(key) for one in told]))
        for key in dict.fromkeys([*nodes.labels, *(key for one in told for key in one)])
    }
    return NodeColumns(
        schema=nodes.schema,
        names=Names([*nodes.names, *names]),
        allocatable=np.concatenate([nodes.allocatable, none, *(one.allocatable[:, None] for one in templates)], axis=1),
        requested=np.concatenate([nodes.requested, none, *(one.overhead[:, None] for one in templates)], axis=1),
        alive=np.concatenate([nodes.alive, np.ones(more, dtype=np.bool_)]),
        state=np.concatenate([nodes.state, np.zeros(more, dtype=np.int8)]),
        taints=nodes.taints.joined(Codes.of([one.taints for one in templates])),
        labels=labels,
        arrays={},
        images=nodes.images.joined(Codes.none(more)),
        bound=nodes.bound,
        bound_specs=nodes.bound_specs,
        nominated=None,
        objects=nodes.objects,
    )


def _no_nodes(schema: ResourceSchema) -> NodeColumns:
    amounts: Ints = np.zeros((len(schema), 0), dtype=np.int64)
    return NodeColumns(
        schema=schema, names=Names([]), allocatable=amounts, requested=amounts, alive=np.zeros(0, dtype=np.bool_),
        state=np.zeros(0, dtype=np.int8), taints=Codes.none(0), labels={}, arrays={}, images=Codes.none(0),
        bound=lambda: PlacedPods.none(schema),
    )  # fmt: skip
