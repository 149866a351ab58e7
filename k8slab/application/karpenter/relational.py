"""Simulated scheduling for pods that look at other pods: the rules of kernels.claims, plug-in by plug-in, one pod after
another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from k8slab.application.karpenter.pools import Offerings
from k8slab.application.node_provider import NodeProviderPort
from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.node_template import NodeTemplate, with_templates
from k8slab.domain.pod_spec import HOSTNAME, PodSpec
from k8slab.domain.ports import ClusterStatePort
from k8slab.policies.compiled import is_static
from k8slab.policies.plugins import NodeResourcesFit
from k8slab.policies.policy import Policy
from k8slab.policies.trying import without_nodes

if TYPE_CHECKING:
    from k8slab.application.karpenter.trial import Scene

Mask = npt.NDArray[np.bool_]
# As kernels.claims has them.
PENDING, LEAVING, MOVING = range(3)
STUCK, MANY, UPCOMING = -1, -2, -3


class RelationalTrials:
    """Answers as kernels.claims.schedule does.

    Which domain (zone, rack, ...) a new node is in must be known before pods that compare domains can be counted
    there. So a new node's options are of one domain from its first pod on, that of the cheapest option which will do;
    upstream leaves it open for pods that don't mind.
    """

    def __init__(
        self, policy: Policy, state: ClusterStatePort, provider: NodeProviderPort, offerings: Offerings
    ) -> None:
        # Descriptions and room are looked at by option: a new node has many.
        kept = tuple(item for item in policy.filters if not (is_static(item) or isinstance(item, NodeResourcesFit)))
        self._policy = replace(policy, filters=kept)
        self._state = state
        self._provider = provider
        self._offerings = offerings

    def run(
        self, scene: Scene, request: Ints, queue: Sequence[int], gone: Mask, closed: Sequence[int], *, strict: bool,
        most: int,
    ) -> tuple[int, Ints, Mask]:  # fmt: skip
        """How many claims or how it failed, int64[P] the targets, bool[claims, G] their options.

        queue : places in the scene's queue; gone : bool[N], nodes that count as away, with their pods;
        closed : those of them that the scene has, as it numbers nodes
        """
        nodes = without_nodes(self._state.node_columns(), gone)
        pods = self._state.pod_columns(scene.pods)
        world = _World(self._policy, nodes, pods, self._offerings, self._provider, scene, request, closed)
        for pod in queue:
            failed = world.place(pod, strict=strict, most=most)
            if failed:
                return failed, world.target, world.options()
        return len(world.left), world.target, world.options()


class _World:
    """The nodes that are there, those that come, those that are wanted, and an empty one of each domain."""

    def __init__(
        self, policy: Policy, nodes: NodeColumns, pods: PodColumns, offerings: Offerings, provider: NodeProviderPort,
        scene: Scene, request: Ints, closed: Sequence[int],
    ) -> None:  # fmt: skip
        self._policy = policy
        self._nodes = nodes
        self._pods = pods
        self._offerings = offerings
        self._scene = scene
        self._request = request
        self._free = scene.free.copy()
        self._open = np.ones(len(scene.nodes), dtype=np.bool_)
        self._open[list(closed)] = False
        self._remaining = scene.remaining.copy()
        coming = np.repeat(np.arange(len(provider.groups)), provider.upcoming()).tolist()
        self._coming = [_named(provider.groups[g].template, f"coming-{k}") for k, g in enumerate(coming)]
        self._column = np.where(scene.nodes >= 0, scene.nodes, len(nodes) + np.arange(len(scene.nodes)) - scene.ready)
        self._domain, self._spare = _domains([group.template for group in provider.groups], offerings, nodes, pods)
        self._claims: list[NodeTemplate] = []
        self._count: list[int] = []
        self._order: list[int] = []
        self._used: list[Ints] = []
        self._where: list[tuple[int, int]] = []
        self.left: list[Mask] = []
        self.target = np.full(len(scene.pods), -1, dtype=np.int64)
        self._renew()

    def options(self) -> Mask:
        """bool[claims, G]"""
        return np.array(self.left, dtype=np.bool_).reshape(len(self.left), len(self._offerings.pool))

    def place(self, pod: int, *, strict: bool, most: int) -> int:
        """Find it a place; gives 0, or how it failed."""
        scene, duty = self._scene, int(self._scene.duty[pod])
        c = int(scene.classes[pod])
        feasible = self._policy.judge(self._snapshot, pod).feasible
        request = self._request[c]
        room = ((request <= 0) | (request <= self._free)).all(axis=1)
        nodes = np.flatnonzero(self._open & scene.allowed[c] & room & feasible[self._column])
        if len(nodes):
            if strict and duty == MOVING and nodes[0] >= scene.ready:
                return UPCOMING
            self._free[nodes[0]] -= request
            self._put(pod, int(self._column[nodes[0]]), int(nodes[0]))
            return 0
        if self._on_claim(pod, c, feasible):
            return 0
        opened = self._new(c, feasible)
        if opened is None:
            return STUCK if strict and duty != PENDING else 0
        if len(self.left) == most:
            return MANY
        self._add(pod, c, opened)
        return 0

    def _on_claim(self, pod: int, c: int, feasible: Mask) -> bool:
        self._order.sort(key=lambda claim: self._count[claim])
        for claim in self._order:
            column = self._first_claim + claim
            options = self.left[claim] & self._holds(c, self._used[claim])
            if feasible[column] and options.any():
                self.left[claim] = options
                self._used[claim] = self._used[claim] + self._request[c]
                self._count[claim] += 1
                self._put(pod, column, len(self._scene.nodes) + claim)
                return True
        return False

    def _holds(self, c: int, used: Ints) -> Mask:
        """bool[G]: options that a class may use, with room for it beside what is used."""
        request = self._request[c]
        fits = ((request <= 0) | (used + request <= self._offerings.room)).all(axis=1)
        return np.asarray(fits & self._scene.on_option[c])

    def _new(self, c: int, feasible: Mask) -> Mask | None:
        """bool[G]: the options of a new node, of the first pool that has some, in one domain."""
        offerings = self._offerings
        first_spare = self._first_claim + len(self._claims)
        for k in range(len(self._remaining)):
            able = self._holds(c, np.zeros_like(self._request[c])) & (offerings.pool == k)
            able &= (offerings.capacity <= self._remaining[k]).all(axis=1)
            for option in offerings.ranked(able).tolist():
                if feasible[first_spare + self._domain[option]]:
                    return np.asarray(able & (self._domain == self._domain[option]))
        return None

    def _add(self, pod: int, c: int, options: Mask) -> None:
        offerings, claim = self._offerings, len(self.left)
        option = int(np.flatnonzero(options)[0])
        self._remaining[int(offerings.pool[option])] -= offerings.capacity[options].max(axis=0)
        self._claims.append(_named(self._spare[self._domain[option]], f"claim-{claim}"))
        self.left.append(options)
        self._used.append(self._request[c].copy())
        self._count.append(1)
        self._order.append(claim)
        self._renew()
        self._put(pod, self._first_claim + claim, len(self._scene.nodes) + claim)

    def _put(self, pod: int, column: int, target: int) -> None:
        self.target[pod] = target
        self._where.append((pod, column))
        self._snapshot.assume(pod, column)

    def _renew(self) -> None:
        """The snapshot with the claims that there are by now; the spare nodes come last and never hold a pod."""
        self._first_claim = len(self._nodes) + len(self._coming)
        columns = with_templates(self._nodes, [*self._coming, *self._claims, *self._spare])
        self._snapshot = self._policy.snapshot(columns, self._pods)
        if self._where:
            pods, nodes = (np.array(part, dtype=np.int64) for part in zip(*self._where, strict=True))
            self._snapshot.assume_all(pods, nodes)


def _domains(
    templates: Sequence[NodeTemplate], offerings: Offerings, nodes: NodeColumns, pods: PodColumns
) -> tuple[Ints, list[NodeTemplate]]:
    """int64[G], options that no pod here could tell apart by where they are; and an empty node of each such domain."""
    keys = sorted({key for spec in (*nodes.bound_specs, *pods.specs.values) if spec for key in _topology_keys(spec)})
    values = [
        (pool, *(template.labels.get(key) for key in keys))
        for pool, template in zip(offerings.pool.tolist(), templates, strict=True)
    ]
    distinct = list(dict.fromkeys(values))
    spare = []
    for number, one in enumerate(distinct):
        alike = [template for template, other in zip(templates, values, strict=True) if other == one]
        shared = set.intersection(*(set(template.labels.items()) for template in alike))
        spare.append(_named(replace(alike[0], labels=dict(sorted(shared))), f"spare-{number}"))
    return np.array([distinct.index(one) for one in values], dtype=np.int64), spare


def _topology_keys(spec: PodSpec) -> set[str]:
    terms = {term.topology_key for term in (*spec.affinity, *spec.anti_affinity)}
    return (terms | {one.topology_key for one in spec.spread if one.hard}) - {HOSTNAME}


def _named(template: NodeTemplate, name: str) -> NodeTemplate:
    """The template as a node of its own."""
    return replace(template, name=name, labels={**template.labels, HOSTNAME: name})
