"""clusterautoscaler_cases: estimator, limits, expanders, scaling down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from k8slab.domain.cluster_autoscaler import expanders
from k8slab.domain.cluster_autoscaler.deletion_budget import (
    AtomicGroup,
    DeletionBudget,
    GroupNodes,
    crop_to_budget,
)
from k8slab.domain.cluster_autoscaler.estimator import PodGroup, decreasing_order, estimate, fastpath_group
from k8slab.domain.cluster_autoscaler.expanders import Chain, ExpansionOption, Pricing
from k8slab.domain.cluster_autoscaler.limiter import (
    EstimationLimiter,
    GroupSize,
    Threshold,
    cluster_capacity_limit,
    min_limit,
    similar_groups_limit,
)
from k8slab.domain.cluster_autoscaler.scale_down import (
    Candidate,
    EligibilityConfig,
    GroupState,
    Unneeded,
    Unremovable,
    eligibility,
    removable,
    removable_at,
)
from k8slab.domain.cluster_autoscaler.snapshot import NodeShape, PodShape, TopologySpread
from k8slab.domain.cluster_autoscaler.utilization import InitContainer, NodePod, Skipped, node_utilization
from k8slab.errors import InputError
from k8slab.experiments.conform_controllers.times import ns

Json = dict[str, Any]
_ZONE = "topology.kubernetes.io/zone"


# -- estimator ---------------------------------------------------------------------


def _node(given: Json) -> NodeShape:
    labels = {_ZONE: given["zone"]} if given.get("zone") else {}
    return NodeShape(given["cpu_milli"], given["memory_bytes"], given.get("max_pods", 110), labels)


def _pod(given: Json) -> PodShape:
    port, spread = given.get("host_port"), given.get("spread")
    return PodShape(
        given.get("cpu_milli") or 0,
        given.get("memory_bytes") or 0,
        (port,) if port else (),
        (_spread(spread),) if spread else (),
    )


def _spread(given: Json) -> TopologySpread:
    return TopologySpread(
        given["topology_key"], given["max_skew"], given.get("min_domains") or 1, given["when_unsatisfiable"]
    )


def _groups(case: Json) -> list[PodGroup]:
    return [PodGroup(_pod(given["pod"]), given["count"]) for given in case["groups"]]


def _binpacking(case: Json) -> Json:
    existing = {given["name"]: _node(given) for given in case["existing_nodes"]}
    limiter = EstimationLimiter([Threshold(case["max_nodes"], 0)])
    found = estimate(_groups(case), _node(case["template"]), existing, limiter)
    return {"nodes": found.nodes, "pods": found.pods, "scheduled_groups": [number for number, _ in found.scheduled]}


def _fastpath_group(case: Json) -> Json:
    return {"group_index": fastpath_group(_groups(case), _node(case["node"]))}


def _pod_order(case: Json) -> Json:
    order = decreasing_order([_pod(given) for given in case["pods"]], _node(case["node"]))
    return {"order": [case["pods"][number]["name"] for number in order]}


def _limiter(case: Json) -> Json:
    thresholds = [Threshold(given["max_nodes"], ns(given["max_duration_s"])) for given in case["thresholds"]]
    limiter, now_ns = EstimationLimiter(thresholds), ns(case["elapsed_at_start_s"])
    for number, operation in enumerate(case["operations"]):
        if operation == "reset":
            limiter.start(now_ns)
        elif limiter.permits(now_ns) != (operation == "allow"):
            return {"node_count": limiter.nodes, "error": f"operation {number} was not answered by {operation!r}"}
    return {"node_count": limiter.nodes}


def _min_limit(case: Json) -> Json:
    return {"limit": min_limit(case["base"], case["target"])}


def _cluster_capacity(case: Json) -> Json:
    return {"limit": cluster_capacity_limit(case["max_nodes_total"], case["current_nodes"])}


def _similar_groups(case: Json) -> Json:
    def size(given: Json) -> GroupSize:
        return GroupSize(given["current"], given["max"])

    return {"limit": similar_groups_limit(size(case["group"]), [size(given) for given in case["similar_groups"]])}


# -- expanders ---------------------------------------------------------------------


def _option(given: Json) -> ExpansionOption:
    pods = given.get("pods") or []
    # Of pods a case gives what its expander looks at: their number, their names or their requests.
    listed = pods if isinstance(pods, list) else [{}] * pods
    shapes = tuple(_pod(pod) for pod in listed if isinstance(pod, dict))
    names = tuple(pod if isinstance(pod, str) else f"pod-{number}" for number, pod in enumerate(listed))
    node = given.get("node")
    if "node_cpu_milli" in given:
        node = {"cpu_milli": given["node_cpu_milli"], "memory_bytes": 0}
    return ExpansionOption(
        given["group"],
        given.get("node_count", 1),
        names,
        shapes,
        _node(node) if node else None,
        given.get("exists", True),
        given.get("gpu", False),
    )


def _expander(case: Json) -> Json:
    options, name = [_option(given) for given in case["options"]], case["expander"]
    if name == "priority":
        priorities = {int(rank): patterns for rank, patterns in (case.get("priorities") or {}).items()}
        best = expanders.priority(options, priorities)
    elif name == "price":
        best = expanders.price(options, _pricing(case))
    else:
        best = _SIMPLE[name](options)
    return {"best": [option.group for option in best]}


_SIMPLE: dict[str, Callable[[Sequence[ExpansionOption]], list[ExpansionOption]]] = {
    "least-waste": expanders.least_waste,
    "most-pods": expanders.most_pods,
    "least-nodes": expanders.least_nodes,
}


def _pricing(case: Json) -> Pricing:
    return Pricing(
        case["node_price"], case["pod_price"], case["stabilization_pod_price"], case["preferred_node_cpu_milli"]
    )


def _expander_chain(case: Json) -> Json:
    def keeping(part: str) -> Callable[[Sequence[str]], list[str]]:
        return lambda names: [name for name in names if part in name]

    def first(names: Sequence[str]) -> str | None:
        return next((name for name in names if case["fallback_first_name_containing"] in name), None)

    chain = Chain([keeping(part) for part in case["filters_keep_names_containing"]], first)
    return {"best": chain.best(case["options"])}


# -- scaling down ------------------------------------------------------------------


def _requests(given: Json) -> dict[str, int]:
    amounts = {"cpu": given.get("cpu_milli"), "memory": given.get("memory_bytes"), "gpu": given.get("gpu")}
    return {name: amount for name, amount in amounts.items() if amount is not None}


def _node_pod(given: Json) -> NodePod:
    deleted = given.get("deleted_s_ago")
    return NodePod(
        _requests(given),
        tuple(InitContainer(_requests(init), init.get("restart_always", False)) for init in given.get("init", ())),
        given.get("daemonset", False) or given.get("daemonset_annotation", False),
        given.get("mirror", False),
        None if deleted is None else -ns(deleted),
        given.get("grace_s", 30),
    )


def _utilization(case: Json) -> Json:
    skipped = Skipped(case["skip_daemonsets"], case["skip_mirror"])
    pods = [_node_pod(given) for given in case["pods"]]
    try:
        found = node_utilization(
            _requests(case["node"]), pods, skipped, 0, has_gpu=case["node"].get("gpu_label", False)
        )
    except InputError:
        return {"error": "missing_allocatable"}
    return {"utilization": found.utilization, **found.by_resource}


def _eligibility(case: Json) -> Json:
    config = EligibilityConfig(
        case["utilization_threshold"],
        case["scale_down_unready_enabled"],
        Skipped(daemon_sets=case["ignore_daemonsets"]),
    )
    loaded = next((given["name"] for given in case["nodes"] if given["name"].startswith("regular")), "")
    found = {}
    for given in case["nodes"]:
        pods = case["pods_on_first_regular_node"] if given["name"] == loaded else []
        found[given["name"]] = eligibility(_candidate(given, pods), config, 0)
    stays = {name: reason.value for name, reason in found.items() if reason is not Unremovable.NO_REASON}
    return {"unneeded": [name for name in found if name not in stays], "unremovable": stays}


def _candidate(given: Json, pods: list[Json]) -> Candidate:
    tainted = given.get("to_be_deleted_taint_s_ago")
    return Candidate(
        given["name"],
        _requests(given),
        [_node_pod(pod) for pod in pods],
        given.get("ready", True),
        None if tainted is None else -ns(tainted),
        given.get("scale_down_disabled", False),
    )


def _removable_count(case: Json) -> Json:
    group = GroupState(case["target_size"], case["min_size"], case["ongoing_deletions"])
    # Long enough unneeded, all of them.
    node = Unneeded(-ns(10**6))
    empty, drain = removable_at([node] * case["empty"], [node] * case["drain"], group, 0)
    return {"empty_removable": len(empty), "drain_removable": len(drain)}


def _unremovable_reason(case: Json) -> Json:
    broken, quota = case["config_error"], case["min_nodes_quota"]
    group = GroupState(
        case["target_size"],
        case["min_size"],
        unneeded_ns=None if broken else ns(case["unneeded_time_s"]),
        unready_ns=None if broken else ns(case["unready_time_s"]),
    )
    node = Unneeded(-ns(case["since_s_ago"]), case["ready"], case["scale_down_disabled"])
    left = None if quota is None else case["target_size"] - quota
    return {"reason": removable(node, group if case["in_node_group"] else None, 0, 0, left).value}


def _deletion_budget(case: Json) -> Json:
    targets = case["atomic_target_sizes"]
    every = [*case["empty"], *case["drain"], *case["other_nodes"]]
    atomic = {
        name: AtomicGroup(size, sum(end - first for group, first, end in every if group == name))
        for name, size in targets.items()
    }
    found = crop_to_budget(
        DeletionBudget(case["max_scale_down_parallelism"], case["max_drain_parallelism"]),
        [_group_nodes(*given) for given in case["empty"]],
        [_group_nodes(*given) for given in case["drain"]],
        atomic,
        case["empty_deletions_in_progress"],
        case["drain_deletions_in_progress"],
    )
    return {"empty": [_range(group) for group in found.empty], "drain": [_range(group) for group in found.drain]}


def _group_nodes(group: str, first: int, end: int) -> GroupNodes:
    return GroupNodes(group, tuple(str(number) for number in range(first, end)))


def _range(group: GroupNodes) -> list[str | int]:
    return [group.group, int(group.nodes[0]), int(group.nodes[-1]) + 1]


KINDS = {
    "binpacking": _binpacking,
    "fastpath_group": _fastpath_group,
    "pod_order": _pod_order,
    "limiter": _limiter,
    "min_limit": _min_limit,
    "cluster_capacity_threshold": _cluster_capacity,
    "similar_groups_threshold": _similar_groups,
    "expander": _expander,
    "expander_chain": _expander_chain,
    "utilization": _utilization,
    "eligibility": _eligibility,
    "removable_count": _removable_count,
    "unremovable_reason": _unremovable_reason,
    "deletion_budget": _deletion_budget,
}
