"""How cluster-autoscaler grows a cluster: which pods no node helps, which groups would, and the expander's choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from k8slab.application.fits import Fits
from k8slab.application.node_provider import ManagedGroup, NodeProviderPort
from k8slab.domain.cluster_autoscaler.backoff import GroupBackoff
from k8slab.domain.cluster_autoscaler.estimator import decreasing_order
from k8slab.domain.cluster_autoscaler.expanders import ExpansionOption
from k8slab.domain.cluster_autoscaler.limiter import cluster_capacity_limit, min_limit
from k8slab.domain.cluster_autoscaler.snapshot import NodeShape, PodShape
from k8slab.domain.columns import Codes32, Ints
from k8slab.domain.ports import Change, ClusterStatePort
from k8slab.domain.resources import CPU, MEMORY, PODS
from k8slab.policies.policy import Policy
from k8slab.policies.trying import fill_by_policy, pack_by_policy

_BACKOFF: Final = "in backoff after failed scale-up"
_AT_MAX: Final = "max node group size reached"
_CLUSTER_FULL: Final = "max cluster size reached"
# After so many changes at which nobody waited all nodes are looked at.
_MOST_TOUCHED: Final = 1000
_NOBODY: Final[Ints] = np.zeros(0, dtype=np.int64)
_DESCRIBED: Final = "node(s) didn't match the pod's tolerations or affinity"


@dataclass(frozen=True)
class ScaleUpLimits:
    """max_nodes_total : of the cluster, 0 for no limit; max_nodes_per_scale_up : of one step"""

    max_nodes_total: int = 0
    max_nodes_per_scale_up: int = 1000


@dataclass(frozen=True, eq=False)
class ScaleUpPlan:
    """What should be launched, and for whom.

    group, count : -1 and 0 for nothing
    helped       : int64[]  pods that would run on the new nodes
    waiting      : int64[]  pods for whom nodes are, or are on their way
    unhelped     : int64[]  pods that no group can help now
    reasons      : of each group that didn't help, by number
    options      : how many groups would help
    """

    group: int
    count: int
    helped: Ints
    waiting: Ints
    unhelped: Ints
    reasons: dict[int, str] = field(default_factory=dict)
    options: int = 0

    def told(self) -> str:
        """Why no group helps: "2 max node group size reached, 1 Insufficient cpu"."""
        counts = Counter(self.reasons.values())
        return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda one: one[::-1]))


class ScaleUp:
    """Plans a step. choose : picks one of several options, None for none."""

    def __init__(
        self,
        state: ClusterStatePort,
        provider: NodeProviderPort,
        fits: Fits,
        policy: Policy,
        backoff: GroupBackoff,
        choose: Callable[[Sequence[ExpansionOption]], ExpansionOption | None],
        limits: ScaleUpLimits,
    ) -> None:
        self._state = state
        self._provider = provider
        self._fits = fits
        self._policy = policy
        self._backoff = backoff
        self._choose = choose
        self._limits = limits
        self._rows = [state.schema.index(name) for name in (CPU, MEMORY, PODS)]
        # bool[C], the classes that had room nowhere at the last look, and the nodes where something was done since.
        self._full = np.zeros(0, dtype=np.bool_)
        self._touched: list[Ints] = []

    def plan(self, pod_rows: Ints, now_ns: int) -> ScaleUpPlan:
        """What should be launched for these pods that wait. Reads only."""
        none: Ints = np.zeros(0, dtype=np.int64)
        pods = pod_rows[np.argsort(-self._state.pod_priority[pod_rows].astype(np.int64), kind="stable")]
        classes = self._fits.class_of(pods)
        room = self._room_anyway(pods, classes)
        left, waiting = pods[~room], pods[room]
        if not len(left):
            return ScaleUpPlan(-1, 0, none, waiting, none)
        return self._best(left, classes[~room], waiting, now_ns)

    # -- who needs new nodes ------------------------------------------------------------

    def _room_anyway(self, pods: Ints, classes: Codes32) -> np.ndarray:
        """bool[n]: who has room on nodes that are there, or that were asked for."""
        coming = np.repeat(np.arange(len(self._provider.groups)), self._provider.upcoming())
        groups, state, fits = self._provider.groups, self._state, self._fits
        if self._slow(classes):
            templates = [groups[group].template for group in coming.tolist()]
            return fill_by_policy(self._policy, state.node_columns(), templates, state.pod_columns(pods)) >= 0
        from k8slab.kernels.refit import fill

        # Few classes wait, and nodes that went keep their rows.
        number = np.full(len(fits.request), -1, dtype=np.int32)
        number[classes] = 0
        kinds = np.flatnonzero(number == 0)
        number[kinds] = np.arange(len(kinds))
        there = _NOBODY if self._fit_nowhere(kinds) else np.flatnonzero(fits.is_open())
        allowed = np.zeros((len(kinds), len(there) + len(coming)), dtype=np.bool_)
        if len(there):
            allowed[:, : len(there)] = fits.on_node()[kinds[:, None], there]
        allowed[:, len(there) :] = fits.on_template[kinds[:, None], coming]
        rooms = np.array([group.template.room for group in groups], dtype=np.int64)
        free = np.concatenate([(state.allocatable[:, there] - state.requested[:, there]).T, rooms[coming]])
        chosen = np.empty(len(pods), dtype=np.int64)
        fill(number[classes], fits.request[kinds], allowed, free, chosen)
        return chosen >= 0

    def heed(self, changes: Sequence[Change]) -> None:
        """Take note of where something was done since the last time."""
        self._touched += [change.node_rows for change in changes]
        updated = [change.pod_rows for change in changes if change.verb == "POD_UPDATED"]
        self._touched += [self._state.pod_node[rows].astype(np.int64) for rows in updated]
        if len(self._touched) > _MOST_TOUCHED:
            self._touched.clear()
            self._full = self._full[:0]

    def _fit_nowhere(self, kinds: Ints) -> bool:
        """Whether no node that is there has room for a pod of any of these classes."""
        # For those that had none at the last look only where something was done since may have some.
        full = np.zeros(len(self._fits.request), dtype=np.bool_)
        full[: len(self._full)] = self._full
        touched = np.concatenate(self._touched) if self._touched else _NOBODY
        self._touched.clear()
        known = full.nonzero()[0]
        if len(known) and len(touched):
            is_open = self._fits.is_open()
            touched = touched[(touched >= 0) & is_open[touched]]
            full[known] = ~self._fit(known, touched)
        new = kinds[~full[kinds]]
        if len(new):
            full[new] = ~self._fit(new, np.flatnonzero(self._fits.is_open()))
        self._full = full
        return bool(full[kinds].all())

    def _fit(self, kinds: Ints, nodes: Ints) -> np.ndarray:
        """bool[K]: which of these classes have room on one of these nodes."""
        fits, state = self._fits, self._state
        found = fits.on_node()[kinds[:, None], nodes]
        for row, free in enumerate(state.allocatable[:, nodes] - state.requested[:, nodes]):
            asked = fits.request[kinds, row][:, None]
            found &= (asked <= free) | (asked <= 0)
        return np.asarray(found.any(axis=1))

    def _slow(self, classes: Codes32) -> bool:
        return bool(self._policy.scores) or bool(self._fits.relational[classes].any())

    # -- what each group would do ---------------------------------------------------------

    def _best(self, pods: Ints, classes: Codes32, waiting: Ints, now_ns: int) -> ScaleUpPlan:
        kinds, first = np.unique(classes, return_index=True)
        kinds = kinds[np.argsort(first, kind="stable")]
        shapes = {c: self._shape(c) for c in kinds.tolist()}
        sizes = self.sizes()
        reasons: dict[int, str] = {}
        options: list[tuple[ExpansionOption, int, Ints]] = []
        helped_by_any = np.zeros(len(pods), dtype=np.bool_)
        for number, group in enumerate(self._provider.groups):
            most, reasons[number] = self._most(group, number, sizes, now_ns)
            if most < 1:
                continue
            count, helped = self._estimate(group, number, pods, classes, kinds, shapes, most)
            if group.all_or_nothing and count:
                count = group.max_size
            if not count or not len(helped):
                reasons[number] = self._why_not(group, number, int(classes[0]))
                continue
            helped_by_any[helped] = True
            rest = np.setdiff1d(np.arange(len(pods)), helped)
            if len(rest):
                why = self._why_not(group, number, int(classes[rest[0]]))
                reasons[number] = _AT_MAX if count >= most else why
            options.append((self._option(group, count, classes[helped], shapes), number, helped))
        best = self._choose([option for option, _, _ in options]) if options else None
        unhelped = pods[~helped_by_any]
        if best is None:
            none: Ints = np.zeros(0, dtype=np.int64)
            return ScaleUpPlan(-1, 0, none, waiting, unhelped, reasons)
        _, number, helped = next(one for one in options if one[0] is best)
        return ScaleUpPlan(number, best.node_count, pods[helped], waiting, unhelped, reasons, len(options))

    def sizes(self) -> Ints:
        """int64[G]: nodes of each group, those asked for included."""
        of = self._provider.group_of()
        there = np.bincount(of[self._state.node_alive & (of >= 0)], minlength=len(self._provider.groups))
        return np.asarray(there + self._provider.upcoming())

    def _most(self, group: ManagedGroup, number: int, sizes: Ints, now_ns: int) -> tuple[int, str]:
        """How many nodes the group may get, and why it may get none."""
        if self._backoff.holds(group.name, now_ns):
            return 0, _BACKOFF
        room = group.max_size - int(sizes[number])
        if group.limit is not None:
            alike = sum(int(sizes[k]) for k, other in enumerate(self._provider.groups) if other.kind == group.kind)
            room = min(room, group.limit - alike)
        whole = int(self._state.node_alive.sum() + self._provider.upcoming().sum())
        of_cluster = cluster_capacity_limit(self._limits.max_nodes_total, whole)
        most = min_limit(self._limits.max_nodes_per_scale_up, of_cluster)
        if room < 1 or (group.all_or_nothing and room < group.max_size):
            return 0, _AT_MAX
        if most < 0 or (group.all_or_nothing and 0 < most < group.max_size):
            return 0, _CLUSTER_FULL
        return min_limit(most, room), ""

    def _estimate(
        self,
        group: ManagedGroup,
        number: int,
        pods: Ints,
        classes: Codes32,
        kinds: Codes32,
        shapes: dict[int, PodShape],
        most: int,
    ) -> tuple[int, Ints]:
        """How many nodes, and which of the pods (by index) would run there. kinds : their classes as they come"""
        if not self._slow(classes) and not self._fits_new(kinds, number).any():
            return 0, _NOBODY
        order = decreasing_order([shapes[int(c)] for c in kinds], self._node_shape(group))
        kinds = kinds[order]
        members = [np.flatnonzero(classes == c) for c in kinds.tolist()]
        if self._slow(classes):
            count, placed = pack_by_policy(
                self._policy, self._state.node_columns(), group.template, self._state.pod_columns(pods), members, most
            )
        else:
            count, placed = self._pack(group, number, kinds, [len(one) for one in members], most)
        helped = [one[:n] for one, n in zip(members, placed, strict=True)]
        return count, np.sort(np.concatenate(helped)).astype(np.int64)

    def _fits_new(self, kinds: Codes32, number: int) -> np.ndarray:
        """bool[K]: which of these classes fit on a new node of a group."""
        asked, room = self._fits.request[kinds], self._provider.groups[number].template.room
        return np.asarray(self._fits.on_template[kinds, number] & ((asked <= room) | (asked <= 0)).all(axis=1))

    def _pack(
        self, group: ManagedGroup, number: int, kinds: Codes32, counts: list[int], most: int
    ) -> tuple[int, list[int]]:
        from k8slab.kernels.refit import pack_new

        fits = self._fits
        placed = np.zeros(len(kinds), dtype=np.int64)
        taken = np.zeros(len(self._state.schema), dtype=np.int64)
        used = pack_new(
            kinds, np.array(counts, dtype=np.int64), fits.request, np.ascontiguousarray(fits.on_template[:, number]),
            group.template.room, min(most, sum(counts) + len(counts)), placed, taken,
        )  # fmt: skip
        return int(used), placed.tolist()

    # -- telling ---------------------------------------------------------------------------

    def _shape(self, pod_class: int) -> PodShape:
        request = self._fits.request[pod_class]
        return PodShape(int(request[self._rows[0]]), int(request[self._rows[1]]))

    def _node_shape(self, group: ManagedGroup) -> NodeShape:
        has = group.template.allocatable[self._rows]
        return NodeShape(int(has[0]), int(has[1]), int(has[2]), group.template.labels)

    def _option(
        self, group: ManagedGroup, count: int, classes: Codes32, shapes: dict[int, PodShape]
    ) -> ExpansionOption:
        kinds, counts = np.unique(classes, return_counts=True)
        # Names and shapes stand for their class: no object a pod.
        names = tuple(name for c, n in zip(kinds, counts, strict=True) for name in (f"class-{c}",) * int(n))
        of = tuple(shape for c, n in zip(kinds, counts, strict=True) for shape in (shapes[int(c)],) * int(n))
        return ExpansionOption(group.name, count, names, of, self._node_shape(group), gpu=group.gpu)

    def _why_not(self, group: ManagedGroup, number: int, pod_class: int) -> str:
        """What the first of the pods lacks of the group's nodes."""
        if not self._fits.on_template[pod_class, number]:
            return _DESCRIBED
        request, room = self._fits.request[pod_class], group.template.room
        names = self._state.schema.names
        short = [name for name, want, has in zip(names, request, room, strict=True) if want > max(has, 0)]
        return f"Insufficient {short[0]}" if short else "node(s) didn't satisfy the pod's rules about other pods"
