"""What a policy's filters leave of nodes to classes of pods, kept in step while both come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes32, Ints, NodeColumns
from k8slab.domain.models import NODE_STATES, NodeState
from k8slab.domain.node_template import NodeTemplate, columns_of
from k8slab.domain.pod_spec import PLAIN, PodSpec
from k8slab.domain.ports import Change, ClusterStatePort
from k8slab.policies.compiled import allowed_nodes, grouped, is_static
from k8slab.policies.descriptions import description, is_blind
from k8slab.policies.plugins import InterPodAffinity, NodePorts, NodeResourcesFit, PodTopologySpread
from k8slab.policies.policy import Policy

Mask = npt.NDArray[np.bool_]
_READY = NODE_STATES.index(NodeState.READY)


class Fits:
    """Classes of pods (equal requests, tolerations and specs), and which nodes and templates each may use at all.

    policy    : its filters are asked
    templates : of the groups, by number
    group_of  : gives int32[N], the group of each node, -1 for none: a group's nodes are as its template

    request     : int64[C, R]
    on_template : bool[C, G]
    relational  : bool[C]      looks at other pods, or at more than a node's description and room
    """

    def __init__(
        self,
        policy: Policy,
        state: ClusterStatePort,
        templates: Sequence[NodeTemplate],
        group_of: Callable[[], Codes32],
    ) -> None:
        self._policy = policy
        self._state = state
        self._group_of = group_of
        self._columns = columns_of(templates, state.schema)
        self._class_of = np.zeros(0, dtype=np.int32)
        self._numbers: dict[tuple[int, ...], int] = {}
        self._sample: list[int] = []
        self._spreading = any(_keeps_others_away(spec) for spec in state.node_columns().bound_specs)
        self._odd_policy = not all(_is_known(item) for item in policy.filters)
        self.request: Ints = np.zeros((0, len(state.schema)), dtype=np.int64)
        self.on_template: Mask = np.zeros((0, len(templates)), dtype=np.bool_)
        self.relational: Mask = np.zeros(0, dtype=np.bool_)
        self._on_node: Mask = np.zeros((0, 0), dtype=np.bool_)
        self._stale: set[int] = set()
        # How a node was described -> bool[C]: nodes that come and go are marked alike.
        self._verdicts: dict[Any, Mask] = {}
        self._blind = False
        self._nodes = 0

    def class_of(self, pod_rows: Ints) -> Codes32:
        """int32[n]: the classes of these pods."""
        self.sync()
        return np.asarray(self._class_of[pod_rows])

    def heed(self, changes: Sequence[Change]) -> None:
        """Take note of what was done to the state."""
        for change in changes:
            if change.verb == "NODE_UPDATED":
                self._stale.update(change.node_rows.tolist())
            elif change.verb == "POD_UPDATED":
                known = change.pod_rows[change.pod_rows < len(self._class_of)]
                self._number(known)

    def on_node(self) -> Mask:
        """bool[C, N]: which nodes each class may use, as far as they are described; their room and state apart."""
        self.sync()
        if self._stale:
            self._describe(np.array(sorted(self._stale), dtype=np.int64))
            self._stale.clear()
        return self._on_node[:, : self._nodes]

    def is_open(self) -> Mask:
        """bool[N]: ready, not cordoned, there."""
        return np.asarray(self._state.node_alive & (self._state.node_state == _READY))

    # -- keeping in step -----------------------------------------------------------------

    def sync(self) -> None:
        """Number new pods and describe new nodes."""
        count = self._state.pod_count
        if count > len(self._class_of):
            rows = np.arange(len(self._class_of), count)
            self._class_of = np.concatenate([self._class_of, np.zeros(len(rows), dtype=np.int32)])
            self._number(rows)
        nodes = self._state.node_count
        if nodes > self._nodes:
            new = np.arange(self._nodes, nodes)
            if nodes > self._on_node.shape[1]:
                more = np.zeros((len(self._sample), max(nodes, 64)), dtype=np.bool_)
                self._on_node = np.concatenate([self._on_node, more], axis=1)
            self._nodes = nodes
            self._describe(new)

    def _number(self, rows: Ints) -> None:
        if not len(rows):
            return
        pods = self._state.pod_columns(rows)
        keys = np.column_stack([pods.requests, pods.tolerations.codes, pods.specs.codes])
        where, first = grouped(keys)
        numbers, new = [], []
        for key, place in zip(map(tuple, keys[first].tolist()), first.tolist(), strict=True):
            if key not in self._numbers:
                self._numbers[key] = len(self._sample)
                self._sample.append(int(rows[place]))
                new.append(int(rows[place]))
            numbers.append(self._numbers[key])
        self._class_of[rows] = np.array(numbers, dtype=np.int32)[where]
        if new:
            self._add_classes(np.array(new, dtype=np.int64))

    def _add_classes(self, sample: Ints) -> None:
        pods = self._state.pod_columns(sample)
        self._blind = is_blind(self._policy, pods)
        self._verdicts.clear()
        specs = [pods.spec(place) for place in range(len(pods))]
        self._spreading = self._spreading or any(_keeps_others_away(spec) for spec in specs)
        odd = self._odd_policy or self._spreading
        self.relational = np.concatenate([self.relational | odd, [odd or _looks_elsewhere(spec) for spec in specs]])
        self.request = np.concatenate([self.request, pods.requests])
        static = self._static(self._columns, sample)
        self.on_template = np.concatenate([self.on_template, static])
        wide = np.zeros((len(sample), self._on_node.shape[1]), dtype=np.bool_)
        if self._nodes:
            wide[:, : self._nodes] = self._static(self._state.node_columns(), sample)
        self._on_node = np.concatenate([self._on_node, wide])

    def _static(self, nodes: NodeColumns, sample: Ints) -> Mask:
        """bool[n, N]: what the filters that look at descriptions leave of nodes to these pods."""
        count = len(nodes)
        # Whether a node is ready changes, and is asked apart.
        ready = replace(
            nodes, state=np.zeros(count, dtype=np.int8), alive=np.ones(count, dtype=np.bool_), bound=None,
            nominated=None, devices=None,
        )  # fmt: skip
        policy = replace(self._policy, filters=tuple(item for item in self._policy.filters if is_static(item)))
        snapshot = policy.snapshot(ready, self._state.pod_columns(sample))
        return np.array([allowed_nodes(policy, snapshot, pod) for pod in range(len(sample))]).reshape(len(sample), -1)

    def _describe(self, nodes: Ints) -> None:
        """Ask the filters of these nodes; a group's are as its template until somebody labels or taints one."""
        group = self._group_of()[nodes]
        fresh = np.array([row not in self._stale for row in nodes.tolist()], dtype=np.bool_) & (group >= 0)
        self._on_node[:, nodes[fresh]] = self.on_template[:, group[fresh]]
        others = nodes[~fresh]
        if not len(others) or not self._sample:
            return
        columns = self._state.node_columns()
        told = [description(columns, row, self._blind) for row in others.tolist()]
        new = {one: row for one, row in zip(told, others.tolist(), strict=True) if one not in self._verdicts}
        if new:
            verdicts = self._static(columns.take(np.array([*new.values()])), np.array(self._sample, dtype=np.int64))
            self._verdicts.update(zip(new, verdicts.T, strict=True))
        self._on_node[:, others] = np.array([self._verdicts[one] for one in told]).T


def _is_known(item: object) -> bool:
    if isinstance(item, NodeResourcesFit):
        return not (item.ignored or item.ignored_groups)
    return is_static(item) or type(item) in (NodePorts, PodTopologySpread, InterPodAffinity)


def _keeps_others_away(spec: PodSpec) -> bool:
    return bool(spec.anti_affinity)


def _looks_elsewhere(spec: PodSpec) -> bool:
    if spec == PLAIN:
        return False
    spreads = any(one.hard for one in spec.spread)
    return bool(spec.ports or spec.affinity or spec.anti_affinity or spreads or spec.adjustments)
