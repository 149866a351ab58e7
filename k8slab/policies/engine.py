"""How pods are placed: which of four paths runs.

    stepwise   numpy, plug-in by plug-in: any policy, no compilation, no rounding
    scan       one compiled loop over all nodes a pod: all that kube-scheduler does; for a policy that
               samples nodes over those that it comes to
    groups     the same by groups of nodes that are alike for what compares nodes, and by the nodes
               that stand apart: few classes of pods
    tree       one compiled step a pod, whatever the number of nodes: few classes of pods, and
               rules that look at one node at a time

All decide alike, bit for bit; tests say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, get_args

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.errors import InputError
from k8slab.policies import plugins
from k8slab.policies.by_devices import place_by_devices
from k8slab.policies.compiled import KERNEL_OF, NORMALIZED, Problem, active_scores, is_idle, is_static
from k8slab.policies.groups import Groups
from k8slab.policies.policy import Decisions, Path, Policy, Ties
from k8slab.policies.preempting import may_preempt, most_dry_runs
from k8slab.policies.run import Run, place_stepwise
from k8slab.policies.snapshot import Snapshot
from k8slab.policies.tree import place_by_tree, tree_is_faster
from k8slab.policies.user import UserScore

# Up to here numpy answers sooner than numba has loaded.
SMALL_PODS: Final = 512
SMALL_PAIRS: Final = 250_000
SMALL_DRY_RUNS: Final = 1_000

_SAMPLED: Final = "it looks at a sample of the nodes"
_OF_OTHER_PODS: Final = (plugins.NodePorts, plugins.PodTopologySpread, plugins.InterPodAffinity)
_SCANNED: Final = (*NORMALIZED, plugins.ImageLocality)


def place(
    policy: Policy,
    nodes: NodeColumns,
    pods: PodColumns,
    seed: int,
    ties: Ties,
    path: Path | None,
    progress: Callable[[int], None] | None,
    departures: Ints | None = None,
    search_start: int = 0,
) -> Decisions:
    """Place the pods by the path asked for, or by the fastest; see Policy.place."""
    if path not in (None, *get_args(Path)):
        raise InputError(f"path={path!r} is none of {', '.join(map(repr, get_args(Path)))}")
    report = progress or (lambda done: None)
    policy = policy.for_nodes(nodes)
    run = Run(policy, policy.snapshot(nodes, pods), seed, ties, departures)
    run.snapshot.search_start = search_start
    small = len(pods) <= SMALL_PODS and len(pods) * len(nodes) <= SMALL_PAIRS
    if path == "stepwise" or (path is None and small and most_dry_runs(run) <= SMALL_DRY_RUNS):
        return place_stepwise(run, report)
    whole = policy.sampling is None
    devices_asked = path in (None, "scan") and whole and departures is None
    by_devices = place_by_devices(run, report) if devices_asked else None
    if by_devices is not None:
        return by_devices
    reason = _cannot_scan(policy, run.snapshot) or _cannot_see_off(run)
    problem = None if reason else Problem.of(policy, run.snapshot)
    if problem is None:
        reason = no_tree = reason or "its scores or amounts are beyond exact float64"
    else:
        no_tree = _cannot_use_tree(problem, run) if whole else _SAMPLED
    if (path == "tree" and no_tree) or (path in ("scan", "groups") and reason):
        others = "path='stepwise' can" if reason else "path='groups', path='scan' and path='stepwise' can"
        raise InputError(f"policy {policy.name!r} can't run by path {path!r}: {no_tree}; {others}")
    if problem is None:
        return place_stepwise(run, report)
    if path == "tree" or (path is None and not no_tree and tree_is_faster(problem, ties)):
        return place_by_tree(problem, run, report)
    groups = Groups(problem, run)
    refusal = "pods leave while others come" if departures is not None else groups.refusal() if whole else _SAMPLED
    if path == "groups" and refusal:
        others = "path='scan' and path='stepwise' can"
        raise InputError(f"policy {policy.name!r} can't run by path 'groups': {refusal}; {others}")
    if path == "groups" or (path is None and not refusal and groups.pays_off()):
        return groups.place_by_groups(report)
    return groups.place_all(report)


def _cannot_see_off(run: Run) -> str:
    if run.departures is not None and may_preempt(run).any():
        return "pods leave while others may preempt"
    return ""


def tree_problem(run: Run) -> Problem | None:
    """The arrays to place a run's pods by the tree, None if it can't."""
    if _cannot_scan(run.policy, run.snapshot):
        return None
    problem = Problem.of(run.policy, run.snapshot)
    return None if problem is None or _cannot_use_tree(problem, run) else problem


def _cannot_scan(policy: Policy, snapshot: Snapshot) -> str:
    """Why no compiled path can run a policy on these nodes and pods, "" if its plug-ins all can."""
    if not policy.checks_fit:
        return "it has no NodeResourcesFit"
    if len(snapshot.nominated.pods):
        return "a node is promised to a waiting pod"
    if policy.sampling is not None and _narrows(snapshot):
        return "a pod names its nodes, of which alone a sample is taken"
    seen: set[type] = set()
    for item in policy.filters:
        known = type(item) in (plugins.NodeResourcesFit, *_OF_OTHER_PODS) and type(item) not in seen
        if not known and not is_static(item):
            return f"filter {item.name!r} looks at more than the node's own description"
        seen.add(type(item))
    return _cannot_score(policy, snapshot)


def _narrows(snapshot: Snapshot) -> bool:
    """Whether some pod's affinity names the nodes that it may go to."""
    required = [spec.node_required or () for spec in snapshot.pods.specs.values]
    return any(rule.key == "metadata.name" for terms in required for term in terms for rule in term.fields)


def _cannot_score(policy: Policy, snapshot: Snapshot) -> str:
    seen: set[type] = set()
    for score, weight in active_scores(policy, snapshot):
        if isinstance(score, UserScore):
            if not score.plugin.static or score.normalizing is not None:
                return f"score {score.name!r} looks at more than the node's own description"
        elif type(score) not in (*KERNEL_OF, *_SCANNED) or type(score) in seen:
            return f"score {score.name!r} has no kernel"
        if weight != int(weight):
            return f"weight {weight} of {score.name!r} is no whole number"
        seen.add(type(score))
    return ""


def node_by_node(policy: Policy, snapshot: Snapshot) -> str:
    """Why a policy looks at more than one node at a time for these pods, "" if it doesn't."""
    if policy.for_nodes(snapshot.nodes).sampling is not None:
        return _SAMPLED
    return _cannot_scan(policy, snapshot) or _compares(policy, snapshot)


def _cannot_use_tree(problem: Problem, run: Run) -> str:
    """Why a policy that can be scanned has no tree, "" if it has one."""
    if problem.adjusted:
        return "a pod counts for other amounts than it requests"
    return _compares(run.policy, run.snapshot)


def _compares(policy: Policy, snapshot: Snapshot) -> str:
    for item in policy.filters:
        if type(item) in _OF_OTHER_PODS and not is_idle(item, snapshot):
            return f"filter {item.name!r} looks at other pods"
        if isinstance(item, plugins.NodeResourcesFit) and (item.ignored or item.ignored_groups):
            return f"filter {item.name!r} ignores resources"
    for score, _ in active_scores(policy, snapshot):
        if type(score) in _SCANNED:
            return f"score {score.name!r} compares nodes"
    return ""
