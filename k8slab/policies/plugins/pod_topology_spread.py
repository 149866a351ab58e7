"""PodTopologySpread: pods of a kind evenly over zones, hosts or any other domain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.pod_spec import HOSTNAME, ZONE, Requirement, Selector, SpreadConstraint
from k8slab.policies.plugins.base import Decision, Floats, Mask, Refusal
from k8slab.policies.plugins.node_affinity import wanted_nodes
from k8slab.policies.plugins.taint_toleration import tainted
from k8slab.policies.snapshot import Counter, Snapshot

SYSTEM_DEFAULTS: Final = (
    SpreadConstraint(HOSTNAME, 3, False, None),
    SpreadConstraint(ZONE, 5, False, None),
)
_SKEWED: Final = "node(s) didn't match pod topology spread constraints"
# The smallest count where no domain is seen at all.
_NONE_SEEN: Final = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Spread:
    """One constraint of one kin, counted.

    counter : matching pods by domain; for a score by host, by node
    domain  : int32[N]  each node's domain, whether it counts there or not; -1 without the key
    has_key : bool[N]
    itself  : 1 if the pod matches its own constraint
    """

    constraint: SpreadConstraint
    counter: Counter
    domain: npt.NDArray[np.int32]
    has_key: Mask
    itself: int

    @cached_property
    def seen(self) -> Mask:
        """bool[D]: the domains that some node that counts is in."""
        seen = np.zeros(len(self.counter.amounts), dtype=np.bool_)
        seen[self.counter.domain[self.counter.domain >= 0]] = True
        return seen

    @property
    def here(self) -> Ints:
        """int64[N]: matching pods in each node's domain."""
        return np.append(self.counter.amounts, 0)[self.domain]


@dataclass(frozen=True, eq=False)
class Spreads:
    """The constraints of one kin. usable : bool[N], nodes that the score doesn't pass over."""

    hard: tuple[Spread, ...]
    soft: tuple[Spread, ...]
    usable: Mask


_NO_SPREADS: Final = Spreads((), (), np.ones(0, dtype=np.bool_))


@dataclass(frozen=True)
class PodTopologySpread:
    """DoNotSchedule constraints filter, ScheduleAnyway ones score.

    defaults : for pods without constraints of their own; None for kube-scheduler's system
               defaults (hostname 3, zone 5, ScheduleAnyway), else the profile's list. Their
               selector is that of the services and the controller that the pod belongs to.
    """

    defaults: tuple[SpreadConstraint, ...] | None = None

    name = "PodTopologySpread"
    highest = 100.0

    # -- what is counted ---------------------------------------------------------

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no pod to schedule can have constraints."""
        objects = snapshot.nodes.objects
        by_default = bool(objects.services or objects.controllers) and self.defaults != ()
        return not by_default and not any(spec.spread for spec in snapshot.pods.specs.values)

    def label_keys(self, snapshot: Snapshot) -> set[str]:
        """The label keys that a constraint's selector may ask for."""
        objects = snapshot.nodes.objects
        selectors = [service.selector for service in objects.services]
        selectors += [controller.selector for controller in objects.controllers]
        own = [constraint.selector for spec in snapshot.pods.specs.values for constraint in spec.spread]
        return {rule.key for selector in (*selectors, *own) for rule in selector or ()}

    def prepare(self, snapshot: Snapshot) -> dict[int, Spreads]:
        """The constraints of each kin that has some, with their counters."""
        spreads = {kin: self._spreads(snapshot, kin) for kin in snapshot.incoming_kin}
        return {kin: found for kin, found in spreads.items() if found.hard or found.soft}

    def _spreads(self, snapshot: Snapshot, kin: int) -> Spreads:
        own = snapshot.kin.spec(kin).spread
        constraints = own or self._defaults(snapshot, kin)
        hard, soft = (tuple(c for c in constraints if c.hard is wanted) for wanted in (True, False))
        scope = _keys(soft) if own or self.defaults is not None else None
        return Spreads(
            tuple(_counted(snapshot, kin, constraint, _keys(hard)) for constraint in hard),
            tuple(_scored(snapshot, kin, constraint, scope) for constraint in soft),
            _having(snapshot, scope),
        )

    def _defaults(self, snapshot: Snapshot, kin: int) -> tuple[SpreadConstraint, ...]:
        selector = default_selector(snapshot, kin)
        defaults = SYSTEM_DEFAULTS if self.defaults is None else self.defaults
        return tuple(replace(constraint, selector=selector) for constraint in defaults) if selector else ()

    def _of(self, decision: Decision) -> Spreads:
        prepared: dict[int, Spreads] = decision.snapshot.prepared(self) or {}
        return prepared.get(decision.kin, _NO_SPREADS) if prepared else _NO_SPREADS

    # -- filter -----------------------------------------------------------------

    def skips(self, decision: Decision) -> bool:
        """Whether the pod has no DoNotSchedule constraint."""
        return not self._of(decision).hard

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes that lack a key, and those whose domain would be too full."""
        lacking, skewed = (np.zeros(len(decision.nodes), dtype=np.bool_) for _ in range(2))
        for spread in self._of(decision).hard:
            has_key = decision.at(spread.has_key)
            lacking |= ~has_key & ~skewed
            constraint, counts = spread.constraint, spread.counter.amounts[spread.seen]
            least = int(counts.min(initial=_NONE_SEEN)) if len(counts) >= constraint.min_domains else 0
            skew = decision.at(spread.here) + spread.itself - least
            skewed |= has_key & ~lacking & (skew > constraint.max_skew)
        return [Refusal(f"{_SKEWED} (missing required label)", lacking, final=True), Refusal(_SKEWED, skewed)]

    # -- score ------------------------------------------------------------------

    def passes_over(self, decision: Decision) -> bool:
        """Whether the pod has no ScheduleAnyway constraint."""
        return not self._of(decision).soft

    def raw(self, decision: Decision) -> Floats:
        """The rounded sum over constraints of matching pods * ln(domains + 2) + maxSkew - 1."""
        spreads = self._of(decision)
        candidates = decision.feasible & decision.at(spreads.usable)
        total = np.zeros(len(decision.nodes))
        for spread in spreads.soft:
            by_host = spread.constraint.topology_key == HOSTNAME
            size = int(candidates.sum()) if by_host else len(np.unique(decision.at(spread.domain)[candidates]))
            amount = decision.at(spread.here).astype(np.float64) * math.log(size + 2)
            amount += float(spread.constraint.max_skew - 1)
            total += np.where(decision.at(spread.has_key), amount, 0.0)
        whole = np.trunc(total)
        return np.where(candidates, whole + (total - whole >= 0.5), 0.0)

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """The fullest node gets 100 * least / most, the emptiest 100; a node that lacks a key 0."""
        usable = decision.at(self._of(decision).usable)
        candidates = decision.feasible & usable
        if not candidates.any():
            return np.zeros(len(raw))
        least, most = raw[candidates].min(), raw[candidates].max()
        scaled = np.trunc(100.0 * (most + least - raw) / most) if most > 0 else np.full(len(raw), 100.0)
        return np.where(candidates, scaled, 0.0)

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        return {} if self.defaults is None else {"defaults": [asdict(constraint) for constraint in self.defaults]}


def _keys(constraints: Iterable[SpreadConstraint]) -> tuple[str, ...]:
    return tuple(sorted({constraint.topology_key for constraint in constraints}))


def _having(snapshot: Snapshot, keys: tuple[str, ...] | None) -> Mask:
    """bool[N]: the nodes that have all these labels; None asks for none."""
    mask = np.ones(len(snapshot.nodes), dtype=np.bool_)
    for key in keys or ():
        mask &= snapshot.domains(key).codes >= 0
    return mask


def _counted(snapshot: Snapshot, kin: int, constraint: SpreadConstraint, scope: tuple[str, ...] | None) -> Spread:
    """A constraint counted by domain, over the nodes that have the labels of `scope` and that it includes.

    Without a scope a node that lacks the key is in the domain of the empty value.
    """
    column = snapshot.domains(constraint.topology_key)
    has_key, domain = column.codes >= 0, column.codes
    if scope is None and "" in column.values:
        domain = np.where(has_key, domain, column.values.index("")).astype(np.int32)
    kins, spec = snapshot.kin, snapshot.kin.spec(kin)
    namespace = kins.namespaces[kin]
    tolerations = kins.tolerations[kin] or ()
    identity = (
        "spread",
        namespace,
        constraint.selector,
        constraint.topology_key,
        scope,
        (spec.node_selector, spec.node_required) if constraint.honor_affinity else None,
        tolerations if constraint.honor_taints else None,
    )

    def counting() -> Mask:
        mask = _having(snapshot, scope)
        if constraint.honor_affinity:
            mask &= wanted_nodes(spec, snapshot.nodes)
        if constraint.honor_taints:
            mask &= ~tainted(snapshot.nodes, tolerations)
        return mask

    here, selected = kins.in_namespaces(lambda name: name == namespace), kins.selected(constraint.selector)
    counter = snapshot.counter(
        identity,
        (domain, len(column.values)),
        # A slip of v1.34: a selector that matches all counts none.
        here & selected & ~kins.leaving & bool(constraint.selector),
        counting=counting,
        # And another: neither that nor whether a pod is leaving is asked when it comes or goes within a cycle.
        told=here & selected,
    )
    return Spread(constraint, counter, domain, has_key, int(selected[kin]))


def _scored(snapshot: Snapshot, kin: int, constraint: SpreadConstraint, scope: tuple[str, ...] | None) -> Spread:
    """A constraint counted for its score: on the very node where the domain is the host."""
    if constraint.topology_key != HOSTNAME:
        return _counted(snapshot, kin, constraint, scope)
    kins = snapshot.kin
    namespace, selected = kins.namespaces[kin], kins.selected(constraint.selector)
    here = kins.in_namespaces(lambda name: name == namespace)
    gain = here & selected & ~kins.leaving & bool(constraint.selector)
    rows = np.arange(len(snapshot.nodes), dtype=np.int32)
    counter = snapshot.counter(("node", namespace, constraint.selector), (rows, len(rows)), gain)
    return Spread(constraint, counter, rows, snapshot.domains(HOSTNAME).codes >= 0, int(selected[kin]))


def default_selector(snapshot: Snapshot, kin: int) -> Selector:
    """What default constraints count: the selectors of the kin's services, and that of its controller; () for none."""
    objects, spec = snapshot.nodes.objects, snapshot.kin.spec(kin)
    namespace = snapshot.kin.namespaces[kin]
    equal: dict[str, Requirement] = {}
    for service in objects.services:
        if service.namespace == namespace and snapshot.kin.selected(service.selector)[kin]:
            equal |= {rule.key: rule for rule in service.selector or ()}
    others: Selector = ()
    for controller in objects.controllers:
        if (controller.namespace, controller.owner) == (namespace, spec.owner):
            if controller.owner.kind == "ReplicationController":  # a plain map, as a service's
                equal |= {rule.key: rule for rule in controller.selector or ()}
            else:
                others = controller.selector or ()
    return (*equal.values(), *others)
