"""What keeps a pod away from nodes, one by one: the things that someone could lift, and the words for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from k8slab.datasets._parts import counted
from k8slab.domain.columns import Codes, Ints, NodeColumns, PlacedPods, PodColumns, Taint
from k8slab.domain.pod_spec import HostPort, PodTerm, Requirement, Selector, SpreadConstraint
from k8slab.domain.resources import PODS
from k8slab.domain.selectors import selects
from k8slab.policies.plugins import (
    Decision,
    InterPodAffinity,
    NodeAffinity,
    NodeName,
    NodePorts,
    NodeResourcesFit,
    NodeUnschedulable,
    PodTopologySpread,
    TaintToleration,
)
from k8slab.policies.plugins.node_state import TAINT_OF

if TYPE_CHECKING:
    from k8slab.policies import Policy

Mask = npt.NDArray[np.bool_]
P = TypeVar("P")

SHIPPED: Final = (
    NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, PodTopologySpread,
    InterPodAffinity,
)  # fmt: skip
_SHOWN: Final = 3
# Taints by which a node's state is known: whoever lifts them mends the node.
_MENDED: Final = {
    "node.kubernetes.io/unschedulable": "were uncordoned",
    "node.kubernetes.io/not-ready": "were ready",
    "node.kubernetes.io/unreachable": "were reachable",
}


@dataclass(frozen=True)
class Constraint:
    """One thing that keeps a pod away from nodes, and that someone could lift.

    kind   : see below
    value  : what is lifted: a label, a term, a resource's name, ...
    what   : the same in words, as in frames
    lifted : as it stands after "if": "it tolerated {dedicated: gpu}"; of requests and pods all but the amount

    What lifting it means:
      scheduling gates            they are gone
      node name, node selector, node affinity, host port, affinity, anti-affinity
                                  the pod doesn't say it: one label, port or term, or all of its node affinity
      taint                       the pod tolerates this key and value, whatever the effect
      request                     the pod asks on each node for no more of the resource than is free there
      pods                        the node allows as many pods as it has and this one
      spread, default spread      ScheduleAnyway instead of DoNotSchedule
      existing anti-affinity      no pod that is there has the term
      added node affinity         the profile adds none
      filter                      the policy hasn't this filter of the user's
    """

    kind: str
    value: Any
    what: str = field(compare=False)
    lifted: str = field(compare=False)

    @property
    def resource(self) -> str:
        """The resource that is lifted, "" if it is something else."""
        return str(self.value) if self.kind in ("request", "pods") else ""


# A set of constraints that are lifted together.
Lifted = frozenset[Constraint]


class Constraints:
    """All that may keep one pod away from nodes under a policy.

    all      : in the order of kube-scheduler's filters, users' filters last
    rows     : of taints, gates and existing pods' terms the rows of the nodes that they refuse
    promised : whether a nominated pod has an anti-affinity term that means this one
    """

    def __init__(self, policy: Policy, nodes: NodeColumns, pods: PodColumns) -> None:
        self._policy = policy
        self._nodes = nodes
        self._pods = pods
        self._spec = pods.spec(0)
        self.placed = PlacedPods.none(nodes.schema) if nodes.bound is None else nodes.bound()
        self.rows: dict[Constraint, Ints] = {}
        self.promised = False
        self.all = tuple(dict.fromkeys(self._found()))

    def of_kind(self, *kinds: str) -> list[Constraint]:
        """Those of these kinds."""
        return [item for item in self.all if item.kind in kinds]

    def _filter(self, kind: type[P]) -> P | None:
        return next((item for item in self._policy.filters if isinstance(item, kind)), None)

    def _found(self) -> Iterator[Constraint]:
        yield from self._about_itself()
        yield from self._taints()
        yield from self._about_nodes()
        yield from self._amounts()
        yield from self._about_pods()
        for index, item in enumerate(self._policy.filters):
            if not isinstance(item, SHIPPED):
                yield Constraint("filter", index, item.name, f"the policy had no filter {item.name}")

    def _about_itself(self) -> Iterator[Constraint]:
        spec = self._spec
        if spec.gates:
            what = f"[{' '.join(spec.gates)}]"
            gates = Constraint("scheduling gates", spec.gates, what, f"its scheduling gates {what} were removed")
            self.rows[gates] = np.flatnonzero(self._nodes.alive)
            yield gates
        if spec.node_name and self._filter(NodeName) is not None:
            yield Constraint("node name", spec.node_name, spec.node_name, f"it didn't name {spec.node_name}")

    def _about_nodes(self) -> Iterator[Constraint]:
        plugin, spec = self._filter(NodeAffinity), self._spec
        if plugin is None:
            return
        for key, value in spec.node_selector:
            what = f"{key}={value}"
            yield Constraint("node selector", (key, value), what, f"its node selector didn't ask for {what}")
        if spec.node_required is not None:
            yield Constraint("node affinity", True, "required", "it had no required node affinity")
        if plugin.added_required is not None:
            yield Constraint("added node affinity", True, "required", "the profile added no required node affinity")

    def _amounts(self) -> Iterator[Constraint]:
        if self._filter(NodePorts):
            yield from map(_port, self._spec.ports)
        if self._filter(NodeResourcesFit):
            for name, asked in zip(self._nodes.schema.names, self._pods.requests[0].tolist(), strict=True):
                if asked > 0:
                    kind, told = ("pods", "the node allowed") if name == PODS else ("request", "it asked for")
                    yield Constraint(kind, name, name, told)

    def _about_pods(self) -> Iterator[Constraint]:
        plugin, spec = self._filter(PodTopologySpread), self._spec
        if plugin is not None:
            kind, constraints = ("spread", spec.spread) if spec.spread else ("default spread", plugin.defaults or ())
            yield from (_spread(kind, constraint) for constraint in constraints if constraint.hard)
        if self._filter(InterPodAffinity):
            for kind, terms in ("affinity", spec.affinity), ("anti-affinity", spec.anti_affinity):
                yield from (_term(kind, term) for term in terms)
            yield from self._of_existing_pods()

    # -- taints ------------------------------------------------------------------------

    def _taints(self) -> Iterator[Constraint]:
        """The taints that the pod doesn't tolerate, and the rows of the nodes that have them."""
        found: dict[Constraint, list[Ints]] = {}
        for taint, rows in self._tainted():
            found.setdefault(_taint(taint), []).append(rows)
        self.rows |= {item: np.unique(np.concatenate(rows)) for item, rows in found.items()}
        yield from found

    def _tainted(self) -> Iterator[tuple[Taint, Ints]]:
        nodes, own = self._nodes, self._pods.tolerations[0] or ()
        plugin = self._filter(NodeUnschedulable)
        told = plugin.refuse(Decision.of(nodes, self._pods, 0)) if plugin is not None else ()
        refused = np.logical_or.reduce([np.zeros_like(nodes.alive), *(refusal.nodes for refusal in told)])
        having = [(taint, refused & (nodes.state == state)) for state, taint in TAINT_OF.items()]
        for code, taints in enumerate(nodes.taints.values if self._filter(TaintToleration) is not None else ()):
            keeping = [taint for taint in taints if taint.hard and not any(item.tolerates(taint) for item in own)]
            having += [(taint, nodes.taints.codes == code) for taint in keeping]
        for taint, mask in having:
            rows = np.flatnonzero(mask & nodes.alive)
            if len(rows):
                yield taint, rows

    # -- terms of pods that are there -----------------------------------------------------

    def _of_existing_pods(self) -> Iterator[Constraint]:
        """The anti-affinity terms of existing pods that mean this one."""
        nominated = self._nodes.nominated
        waiting = PodColumns.none(self._nodes.schema) if nominated is None else nominated.pods
        specs = (*self._nodes.bound_specs, *waiting.specs.values)
        for term in dict.fromkeys(term for spec in specs for term in spec.anti_affinity):
            if self._is_meant(term):
                owners = _owners(self.placed.pods, term)
                promised = [row for row in _owners(waiting, term) if waiting.names[row] != self._pods.names[0]]
                self.promised |= bool(promised)
                names = [self.placed.pods.names[row] for row in owners] + [waiting.names[row] for row in promised]
                if names:
                    item = _existing(names, term)
                    self.rows[item] = self._near(self.placed.node_rows[owners], term.topology_key)
                    yield item

    def _is_meant(self, term: PodTerm) -> bool:
        namespace = self._pods.namespaces[0] or ""
        known = self._nodes.objects.namespaces.get(namespace, {})
        there = namespace in term.namespaces or selects(term.among, known)
        return there and selects(term.selector, self._pods.labels_of(0))

    def _near(self, rows: Ints, key: str) -> Ints:
        """The rows of the nodes in the same domains as these."""
        domains, alive = self._nodes.labels.get(key) or Codes.none(len(self._nodes)), self._nodes.alive
        held = np.unique(domains.codes[rows[alive[rows]]])
        return np.flatnonzero(np.isin(domains.codes, held[held >= 0]) & alive)


def _owners(pods: PodColumns, term: PodTerm) -> list[int]:
    having = [code for code, spec in enumerate(pods.specs.values) if term in spec.anti_affinity]
    return [int(row) for row in np.flatnonzero(np.isin(pods.specs.codes, having))]


# -- words ------------------------------------------------------------------------


def _taint(taint: Taint) -> Constraint:
    lifted = f"it tolerated {taint}"
    if taint.key in _MENDED:
        lifted = f"the node {_MENDED[taint.key].replace('were', 'was')} or {lifted}"
    return Constraint("taint", (taint.key, taint.value), str(taint), lifted)


def _port(port: HostPort) -> Constraint:
    where = "" if port.ip == "0.0.0.0" else f"{port.ip}:"
    what = f"{where}{port.port}/{port.protocol}"
    return Constraint("host port", port, what, f"it didn't ask for host port {what}")


def _spread(kind: str, constraint: SpreadConstraint) -> Constraint:
    whose = "its" if kind == "spread" else "the profile's default"
    lifted = f"{whose} spread over {constraint.topology_key} were only preferred (ScheduleAnyway)"
    return Constraint(kind, constraint, f"{constraint.topology_key}, max skew {constraint.max_skew}", lifted)


def _term(kind: str, term: PodTerm) -> Constraint:
    what = f"{_selected(term.selector)} over {term.topology_key}"
    return Constraint(kind, term, what, f"it had no {kind} to {what}")


def _existing(names: list[str], term: PodTerm) -> Constraint:
    rest = len(names) - _SHOWN
    whose = listed([*names[:_SHOWN], counted(rest, "more pod")] if rest > 0 else names)
    to = f"to {_selected(term.selector)} over {term.topology_key}"
    return Constraint("existing anti-affinity", term, f"{whose} {to}", f"{whose} had no anti-affinity {to}")


def _selected(selector: Selector | None) -> str:
    if selector is None:
        return "no pods"
    return f"pods of {','.join(map(_rule, selector))}" if selector else "all pods"


def _rule(rule: Requirement) -> str:
    """As kubectl writes it.

    >>> _rule(Requirement("app", "In", ("web",))), _rule(Requirement("app", "NotIn", ("a", "b")))
    ('app=web', 'app notin (a,b)')
    """
    if rule.operator in ("Exists", "DoesNotExist"):
        return rule.key if rule.operator == "Exists" else f"!{rule.key}"
    if rule.operator == "In" and len(rule.values) == 1:
        return f"{rule.key}={rule.values[0]}"
    return f"{rule.key} {rule.operator.lower()} ({','.join(rule.values)})"


def listed(words: Iterable[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
