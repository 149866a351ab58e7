"""Pods tried on nodes that could be, by a policy's plug-ins one after another: for pods that look at other pods.

The rules are those of kernels.refit, which does the same for pods that look at one node at a time.
Without scores the lowest row that fits is taken; with them the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from k8slab.domain.columns import Ints, NodeColumns, PlacedPods, PodColumns
from k8slab.domain.node_template import NodeTemplate, with_templates
from k8slab.domain.pod_spec import HOSTNAME
from k8slab.policies.plugins import Mask
from k8slab.policies.policy import Policy


def filters_only(policy: Policy, *, scoring: bool) -> Policy:
    """The policy as autoscalers try pods: no preemption, no sample of the nodes, and scores only if asked for."""
    scores = policy.scores if scoring else ()
    return replace(policy, post_filter=None, sampling=None, scores=scores, ties="lowest")


def fill_by_policy(
    policy: Policy, nodes: NodeColumns, templates: Sequence[NodeTemplate], pods: PodColumns
) -> Ints:
    """int64[P]: where pods go one after another, rows from len(nodes) on are the templates'; -1 where none fits."""
    return policy.place(with_templates(nodes, templates), pods).node_rows


def pack_by_policy(
    policy: Policy, nodes: NodeColumns, template: NodeTemplate, pods: PodColumns, groups: Sequence[Ints], most: int
) -> tuple[int, list[int]]:
    """How many new nodes got a pod, and how many pods of each group found room; see kernels.refit.pack_new.

    groups : of each group the indices of its pods, in the order they are tried
    most   : so many new nodes at the most
    """
    packing = _Packing(policy, nodes, template, pods, most)
    placed = [packing.pack(group.tolist()) for group in groups]
    return len(packing.used), placed


class _Packing:
    """Nodes are added one by one: the snapshot is made anew then, with all that was placed."""

    def __init__(
        self, policy: Policy, nodes: NodeColumns, template: NodeTemplate, pods: PodColumns, most: int
    ) -> None:
        self._policy = policy
        self._nodes = nodes
        self._template = template
        self._pods = pods
        self._most = most
        self._full = False
        self._added = 0
        self._where: list[tuple[int, int]] = []
        self.used: set[int] = set()
        self._renew()

    def pack(self, group: Sequence[int]) -> int:
        placed = 0
        new = slice(len(self._nodes), None)
        while placed < len(group) and self._place(group[placed], new):
            placed += 1
        while placed < len(group) and not self._full and self._place_on_new(group[placed]):
            placed += 1
        return placed

    def _place_on_new(self, pod: int) -> bool:
        if self._added:
            last = len(self._nodes) + self._added - 1
            if self._place(pod, slice(last, last + 1)):
                return True
            if self._spreads_over_hosts(pod) and self._place(pod, slice(0, last)):
                return True
            if last not in self.used:
                return False
        if self._added == self._most:
            self._full = True
            return False
        self._added += 1
        self._renew()
        return self._place(pod, slice(len(self._nodes) + self._added - 1, None))

    def _spreads_over_hosts(self, pod: int) -> bool:
        spread = self._pods.spec(pod).spread or ()
        return any(one.topology_key == HOSTNAME for one in spread)

    def _place(self, pod: int, where: slice) -> bool:
        """On the best of these rows, if any will do."""
        judged = self._policy.judge(self._snapshot, pod)
        feasible: Mask = judged.feasible[where]
        if not feasible.any():
            return False
        total = np.where(feasible, judged.total[where], -np.inf)
        node = int(np.argmax(total)) + (where.start or 0)
        self._snapshot.assume(pod, node)
        self._where.append((pod, node))
        self.used.add(node)
        return True

    def _renew(self) -> None:
        columns = with_templates(self._nodes, [self._template] * self._added)
        self._snapshot = self._policy.snapshot(columns, self._pods)
        if self._where:
            pods, nodes = (np.array(part, dtype=np.int64) for part in zip(*self._where, strict=True))
            self._snapshot.assume_all(pods, nodes)


def without_node(nodes: NodeColumns, node_row: int, gone: Mask) -> NodeColumns:
    """The columns as if a node, and others that went before it, weren't there, nor the pods on it.

    gone : bool[N], those that went
    """
    alive = nodes.alive & ~gone
    alive[node_row] = False
    bound = nodes.bound

    def remaining() -> PlacedPods:
        placed = bound() if bound is not None else PlacedPods.none(nodes.schema)
        kept = np.flatnonzero(placed.node_rows != node_row)
        return PlacedPods(_taken(placed.pods, kept), placed.node_rows[kept])

    return replace(nodes, alive=alive, bound=remaining, nominated=None, devices=None)


def without_nodes(nodes: NodeColumns, gone: Mask) -> NodeColumns:
    """The columns as if these nodes weren't there, nor the pods on them. gone : bool[N]"""
    bound = nodes.bound

    def remaining() -> PlacedPods:
        placed = bound() if bound is not None else PlacedPods.none(nodes.schema)
        kept = np.flatnonzero(~gone[placed.node_rows])
        return PlacedPods(_taken(placed.pods, kept), placed.node_rows[kept])

    return replace(nodes, alive=nodes.alive & ~gone, bound=remaining, nominated=None, devices=None)


def _taken(pods: PodColumns, rows: Ints) -> PodColumns:
    return replace(
        pods,
        names=pods.names.take(rows),
        requests=pods.requests[rows],
        rows=pods.rows[rows],
        namespaces=pods.namespaces.take(rows),
        tolerations=pods.tolerations.take(rows),
        priority=pods.priority[rows],
        labels={key: column.take(rows) for key, column in pods.labels.items()},
        specs=pods.specs.take(rows),
        leaving=pods.leaving[rows],
        started_ns=pods.started_ns[rows],
    )
