"""Queueing hints: could this event let this pod through the plug-in that refused it?

Each plug-in registers for kinds of events, with a function that looks at the objects. All
of it is as in kube-scheduler v1.34, what it misses included: a pod refused by an existing
pod's anti-affinity isn't woken when that pod goes, nor one whose own labels changed; it
then waits for another event or for five minutes to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from k8slab.domain.columns import Taint
from k8slab.domain.pod_spec import NodeTerm, NodeTerms, PodTerm, SpreadConstraint
from k8slab.domain.queueing.events import (
    NODE_ADD,
    NODE_ALLOCATABLE,
    NODE_DELETE,
    NODE_LABEL,
    NODE_TAINT,
    POD_ADD,
    POD_DELETE,
    POD_GATES_ELIMINATED,
    POD_LABEL,
    POD_SCALE_DOWN,
    POD_TOLERATION,
    Event,
    Forced,
    Kinds,
    NodeAdded,
    NodeDeleted,
    NodeInfo,
    NodeUpdated,
    PodAdded,
    PodDeleted,
    PodInfo,
    PodUpdated,
    kinds_of,
)
from k8slab.domain.resources import PODS
from k8slab.domain.selectors import node_value_matches, selects

HintFunction = Callable[[Event, PodInfo], bool]


@dataclass(frozen=True)
class Registration:
    """Kinds of events that may help a pod which a plug-in refused; `helps` looks closer."""

    kinds: Kinds
    helps: HintFunction


# By plug-in. One that is not in it is registered for every event, and every event may help.
Hints = Mapping[str, tuple[Registration, ...]]


def hint(plugin: str, event: Event, pod: PodInfo, hints: Hints | None = None) -> bool:
    """Whether the event could let the pod through this plug-in, which refused it.

    hints : what plug-ins registered for; None for kube-scheduler's own

    >>> hint("NodeName", NodeAdded(NodeInfo("n")), PodInfo("p"))
    True
    """
    return helps(plugin, event, kinds_of(event), pod, IN_TREE if hints is None else hints)


def helps(plugin: str, event: Event, kinds: Kinds, pod: PodInfo, hints: Hints) -> bool:
    """`hint`, by an event whose kinds are known."""
    if isinstance(event, Forced):
        return event.key in (None, pod.key)
    if plugin not in hints:
        return bool(kinds)
    return any(not kinds.isdisjoint(one.kinds) and one.helps(event, pod) for one in hints[plugin])


def registered(plugin: str, kinds: Kinds, hints: Hints) -> bool:
    """Whether the plug-in wants to hear of events of these kinds at all."""
    return plugin not in hints or any(not kinds.isdisjoint(one.kinds) for one in hints[plugin])


def in_tree_hints(
    added_required: NodeTerms | None = None,
    default_spread: Callable[[PodInfo], tuple[SpreadConstraint, ...]] = lambda pod: (),
) -> dict[str, tuple[Registration, ...]]:
    """What kube-scheduler's plug-ins register for, with QueueingHints on.

    added_required : NodeAffinity's addedAffinity
    default_spread : the hard constraints of a pod that names none; there are none under System defaulting
    """

    def affinity(event: Event, pod: PodInfo) -> bool:
        return _node_affinity(event, pod, added_required)

    def spread(event: Event, pod: PodInfo) -> bool:
        own = tuple(one for one in pod.spec.spread if one.hard)
        return _spreads(event, pod, own if pod.spec.spread else default_spread(pod))

    return {
        "SchedulingGates": (_on(_gates_gone, POD_GATES_ELIMINATED),),
        "NodeUnschedulable": (_on(_unschedulable, NODE_ADD, NODE_TAINT, POD_TOLERATION),),
        "NodeName": (_on(_always, NODE_ADD),),
        "TaintToleration": (_on(_taints, NODE_ADD, NODE_TAINT, POD_TOLERATION),),
        "NodeAffinity": (_on(affinity, NODE_ADD, NODE_LABEL),),
        "NodePorts": (_on(_always, NODE_ADD), _on(_ports_freed, POD_DELETE)),
        "NodeResourcesFit": (
            _on(_node_has_room, NODE_ADD, NODE_ALLOCATABLE), _on(_room_freed, POD_DELETE, POD_SCALE_DOWN),
        ),
        "PodTopologySpread": (
            _on(spread, NODE_ADD, NODE_DELETE, NODE_LABEL, NODE_TAINT, POD_ADD, POD_LABEL, POD_TOLERATION, POD_DELETE),
        ),
        "InterPodAffinity": (_on(_pod_affinity, NODE_ADD, NODE_LABEL, POD_ADD, POD_LABEL, POD_DELETE),),
        # It holds the preemptor back until its victims' deletions are sent. That is a matter of
        # hearing of deletions; the plug-in that refused the pod says which of them helps.
        "DefaultPreemption": (_on(_never, POD_DELETE),),
    }  # fmt: skip


def _on(function: HintFunction, *kinds: str) -> Registration:
    return Registration(frozenset(kinds), function)


def _always(event: Event, pod: PodInfo) -> bool:
    return True


def _never(event: Event, pod: PodInfo) -> bool:
    return False


# -- one node, or the pod itself -----------------------------------------------------

_CORDONED: Final = Taint("node.kubernetes.io/unschedulable")


def _gates_gone(event: Event, pod: PodInfo) -> bool:
    return isinstance(event, PodUpdated) and event.after.key == pod.key and not event.after.spec.gates


def _unschedulable(event: Event, pod: PodInfo) -> bool:
    match event:
        case NodeAdded(node):
            return not node.unschedulable
        case NodeUpdated(before, after):
            return before.unschedulable and not after.unschedulable
        case PodUpdated(_, after):
            return after.key == pod.key and any(one.tolerates(_CORDONED) for one in after.tolerations)
    return False


def _taints(event: Event, pod: PodInfo) -> bool:
    match event:
        case NodeAdded(node):
            return _tolerated(pod, node)
        case NodeUpdated(before, after):
            return not _tolerated(pod, before) and _tolerated(pod, after)
        case PodUpdated(_, after):
            return after.key == pod.key
    return False


def _tolerated(pod: PodInfo, node: NodeInfo) -> bool:
    hard = (taint for taint in node.taints if taint.effect in ("NoSchedule", "NoExecute"))
    return all(any(one.tolerates(taint) for one in pod.tolerations) for taint in hard)


def _node_affinity(event: Event, pod: PodInfo, added: NodeTerms | None) -> bool:
    match event:
        case NodeAdded(node):
            return _terms_match(added, node) and _wanted(pod, node)
        case NodeUpdated(before, after):
            # The profile's own terms are asked of the new node alone: v1.34 sleeps through
            # a change that brings a node into those only.
            return _terms_match(added, after) and _wanted(pod, after) and not _wanted(pod, before)
    return False


def _wanted(pod: PodInfo, node: NodeInfo) -> bool:
    selected = all(node.labels.get(key) == value for key, value in pod.spec.node_selector)
    return selected and _terms_match(pod.spec.node_required, node)


def _terms_match(terms: NodeTerms | None, node: NodeInfo) -> bool:
    return terms is None or any(_term_matches(term, node) for term in terms)


def _term_matches(term: NodeTerm, node: NodeInfo) -> bool:
    if not term.expressions and not term.fields:
        return False
    # A field is the name alone, by In or NotIn of one value; anything else matches nothing.
    return all(node_value_matches(rule, node.labels.get(rule.key)) for rule in term.expressions) and all(
        rule.key == "metadata.name"
        and rule.operator in ("In", "NotIn")
        and len(rule.values) == 1
        and node_value_matches(rule, node.name)
        for rule in term.fields
    )


# -- room ------------------------------------------------------------------------


def _node_has_room(event: Event, pod: PodInfo) -> bool:
    match event:
        case NodeAdded(node):
            return _fits_empty(pod, node)
        case NodeUpdated(before, after):
            return _fits_empty(pod, after) and any(
                after.allocatable.get(name, 0) > before.allocatable.get(name, 0) for name in (PODS, *_wants(pod))
            )
    return False


def _fits_empty(pod: PodInfo, node: NodeInfo) -> bool:
    # An event brings the node without its pods, so room is judged as if none ran there.
    enough = all(amount <= node.allocatable.get(name, 0) for name, amount in _wants(pod).items())
    return enough and node.allocatable.get(PODS, 0) >= 1


def _wants(pod: PodInfo) -> dict[str, int]:
    return {name: amount for name, amount in pod.requests.items() if amount > 0 and name != PODS}


def _room_freed(event: Event, pod: PodInfo) -> bool:
    match event:
        case PodDeleted(gone):
            return _held_a_node(gone)
        case PodUpdated(before, after):
            return after.key == pod.key or (
                after.node != ""
                and any(after.requests.get(name, 0) < before.requests.get(name, 0) for name in _wants(pod))
            )
    return False


def _ports_freed(event: Event, pod: PodInfo) -> bool:
    if not isinstance(event, PodDeleted) or not _held_a_node(event.pod):
        return False
    return any(wanted.conflicts(freed) for wanted in pod.spec.ports for freed in event.pod.spec.ports)


def _held_a_node(pod: PodInfo) -> bool:
    return pod.node != "" or pod.nominated != ""


# -- other pods --------------------------------------------------------------------


def _spreads(event: Event, pod: PodInfo, constraints: tuple[SpreadConstraint, ...]) -> bool:
    match event:
        case NodeAdded(node) | NodeDeleted(node):
            return _has_keys(node, constraints)
        case NodeUpdated(before, after):
            return _domains_changed(before, after, constraints)
        case PodAdded(other) | PodDeleted(other):
            return _spread_together(other, pod) and any(selects(one.selector, other.labels) for one in constraints)
        case PodUpdated(before, after):
            if not (_spread_together(before, pod) and _spread_together(after, pod)):
                return False
            tolerates_more = after.key == pod.key and before.tolerations != after.tolerations
            return any((tolerates_more and one.honor_taints) or _selects_one(one, before, after) for one in constraints)
    return False


def _selects_one(constraint: SpreadConstraint, before: PodInfo, after: PodInfo) -> bool:
    return selects(constraint.selector, before.labels) != selects(constraint.selector, after.labels)


def _spread_together(other: PodInfo, pod: PodInfo) -> bool:
    return other.key == pod.key or (other.node != "" and other.namespace == pod.namespace)


def _has_keys(node: NodeInfo, constraints: tuple[SpreadConstraint, ...]) -> bool:
    return all(one.topology_key in node.labels for one in constraints)


def _domains_changed(before: NodeInfo, after: NodeInfo, constraints: tuple[SpreadConstraint, ...]) -> bool:
    had, has = _has_keys(before, constraints), _has_keys(after, constraints)
    if had != has:
        return True
    moved = any(before.labels.get(one.topology_key) != after.labels.get(one.topology_key) for one in constraints)
    return has and (moved or before.taints != after.taints)


def _pod_affinity(event: Event, pod: PodInfo) -> bool:
    near, far = pod.spec.affinity, pod.spec.anti_affinity
    match event:
        case NodeAdded(node):
            return bool(far) or any(term.topology_key in node.labels for term in near)
        case NodeUpdated(before, after):
            entered = any(_entered(term, before, after) for term in near)
            return entered or any(_left(term, before, after) for term in far)
        case PodAdded(other):
            return other.node != "" and _matches_all(near, other)
        case PodDeleted(other):
            return other.node != "" and _matches_all(far, other)
        case PodUpdated(before, after):
            if before.node == "" or after.node == "":
                return False
            came = not _matches_all(near, before) and _matches_all(near, after)
            went = _matches_all(far, before) and not _matches_all(far, after)
            return came or went
    return False


def _entered(term: PodTerm, before: NodeInfo, after: NodeInfo) -> bool:
    value = after.labels.get(term.topology_key)
    return value is not None and value != before.labels.get(term.topology_key)


def _left(term: PodTerm, before: NodeInfo, after: NodeInfo) -> bool:
    value = before.labels.get(term.topology_key)
    return value is not None and value != after.labels.get(term.topology_key)


def _matches_all(terms: tuple[PodTerm, ...], other: PodInfo) -> bool:
    return bool(terms) and all(_pod_term_matches(term, other) for term in terms)


def _pod_term_matches(term: PodTerm, other: PodInfo) -> bool:
    # A namespace selector is tried against no labels at all here, in v1.34.
    among = other.namespace in term.namespaces or selects(term.among, {})
    return among and selects(term.selector, other.labels)


IN_TREE: Final[Hints] = in_tree_hints()
