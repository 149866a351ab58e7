"""nodelifecycle_cases: zones, heartbeats, taints, eviction by taint, the rate-limited queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from k8slab.domain.columns import Taint, Toleration
from k8slab.domain.node_lifecycle.eviction_queue import EvictionQueue
from k8slab.domain.node_lifecycle.heartbeats import HealthChange, NodeHealth, NodeMonitor, NodeSight
from k8slab.domain.node_lifecycle.node_taints import (
    NOT_READY,
    UNREACHABLE,
    excluded_from_disruption,
    no_execute_taints,
    no_schedule_taints,
)
from k8slab.domain.node_lifecycle.taint_eviction import (
    EvictionTimer,
    TimedToleration,
    eviction_timer,
    min_toleration_seconds,
)
from k8slab.domain.node_lifecycle.zones import (
    DisruptionStep,
    EvictionRates,
    ZoneDisruption,
    ZoneState,
    disrupt,
    zone_state,
)
from k8slab.errors import UnknownName
from k8slab.experiments.conform_controllers.times import ns, seconds

Json = dict[str, Any]
_SHORT = {"not-ready": NOT_READY, "unreachable": UNREACHABLE}
_LONG = {key: short for short, key in _SHORT.items()}


def _zone_disruption(case: Json) -> Json:
    # The recorded controller lets a partly disrupted zone evict however small it is.
    rates = EvictionRates(secondary=0.1, large_cluster_size=0)
    threshold = case["unhealthy_zone_threshold"]
    before = disrupt(_counts(case["nodes_before"]), {}, rates, threshold)
    after = disrupt(_counts(case["nodes_after"]), before.states, rates, threshold)
    return {
        "zone_states_before": {zone: state.value for zone, state in before.states.items()},
        "zone_states_after": {zone: state.value for zone, state in after.states.items()},
        "evicts": _evicts(case, {**before.rates, **after.rates}, after),
    }


def _counts(nodes: list[Json]) -> dict[str, tuple[int, int]]:
    counted: Counter[tuple[str, bool]] = Counter()
    for node in nodes:
        counted[node["zone"], node["ready"] == "True"] += not node.get("excluded", False)
    return {zone: (counted[zone, True], counted[zone, False]) for zone in {node["zone"] for node in nodes}}


def _evicts(case: Json, rates: dict[str, float], after: ZoneDisruption) -> bool:
    """Whether a node that was down in both passes waits in a queue that moves."""
    if after.step is DisruptionStep.ENTERED:
        return False
    down = {node["name"] for node in case["nodes_before"] if node["ready"] != "True"}
    silent = [node for node in case["nodes_after"] if node["name"] in down and node["ready"] != "True"]
    return any(rates.get(node["zone"], 0.0) > 0 for node in silent)


def _zone_state(case: Json) -> Json:
    return {"state": zone_state(case["ready"], case["not_ready"], case["unhealthy_zone_threshold"]).value}


def _zone_rate(case: Json) -> Json:
    rates = EvictionRates(case["eviction_rate"], case["secondary_rate"], case["large_cluster_size"])
    state = ZoneState(case["state"])
    return {"rate_per_s": rates.of_zone(state, case["zone_size"], all_zones_full=case["all_zones_full"])}


def _node_status(case: Json) -> Json:
    monitor = NodeMonitor(ns(case["grace_s"]), ns(case["startup_grace_s"]))
    health, change = _pass(monitor, case, case["heartbeat"], case["lease_renewed"], None, 0)
    if case["then_advance_s"]:
        now_ns = ns(case["then_advance_s"])
        _, later = _pass(monitor, case, case["heartbeat_after"], case["lease_renewed_after"], health, now_ns)
        change = later or change
    if change is None:
        return {"changed": False}
    return {
        "changed": True,
        "ready": change.ready,
        "reason": change.reason,
        "pods_marked_not_ready": change.pods_not_ready,
    }


def _pass(
    monitor: NodeMonitor,
    case: Json,
    heartbeat: float | None,
    lease: float | None,
    health: NodeHealth | None,
    now_ns: int,
) -> tuple[NodeHealth, HealthChange | None]:
    sight = NodeSight(ns(case["created"]), None if heartbeat is None else "True", ns(heartbeat), ns(lease))
    return monitor.observe(sight, health, now_ns)


def _taints(case: Json) -> Json:
    before = [Taint(taint["key"], taint.get("value", ""), taint["effect"]) for taint in case["taints_before"]]
    after = no_schedule_taints(case["conditions"], before, unschedulable=case.get("unschedulable", False))
    return {"taints": [{"key": taint.key, "effect": taint.effect} for taint in after]}


def _no_execute_taint(case: Json) -> Json:
    before = [Taint(_SHORT.get(name, name), "", "NoExecute") for name in case["no_execute_before"]]
    after = no_execute_taints(case["ready"], before)
    return {"no_execute": [_LONG.get(taint.key, taint.key) for taint in after]}


def _disruption_exclusion(case: Json) -> Json:
    return {"excluded": excluded_from_disruption(case["labels"] or {})}


def _min_toleration(case: Json) -> Json:
    least = min_toleration_seconds(case["toleration_seconds"])
    return {"seconds": -1 if least is None else least}


def _taint_eviction(case: Json) -> Json:
    cluster = _TaintedCluster()
    for event in sorted(case["events"], key=lambda event: event["t"]):
        cluster.fire(ns(event["t"]))
        cluster.see(event)
    cluster.fire(ns(case["horizon_s"]))
    return {"deleted_at": cluster.deleted_at}


class _TaintedCluster:
    """Nodes, pods and their timers, for the rule to decide on as events come."""

    def __init__(self) -> None:
        self.deleted_at: dict[str, float | None] = {}
        self._taints: dict[str, list[Taint]] = {}
        self._pods: dict[str, tuple[str | None, list[TimedToleration]]] = {}
        self._timers: dict[str, EvictionTimer | None] = {}

    def see(self, event: Json) -> None:
        now_ns = ns(event["t"])
        if event["event"] == "node_taints":
            self._taints[event["node"]] = [_numbered(number) for number in event["no_execute"]]
            changed = [pod for pod, (node, _) in self._pods.items() if node == event["node"]]
        else:
            tolerations = [_tolerating(given) for given in event.get("tolerations", ())]
            self._pods[event["pod"]] = event.get("node"), tolerations
            self.deleted_at.setdefault(event["pod"], None)
            changed = [event["pod"]]
        for pod in changed:
            node, tolerations = self._pods[pod]
            taints = self._taints.get(node or "", [])
            self._timers[pod] = eviction_timer(taints, tolerations, self._timers.get(pod), now_ns)
        self.fire(now_ns)

    def fire(self, now_ns: int) -> None:
        for pod, timer in self._timers.items():
            if timer is not None and timer.fires_ns <= now_ns and self.deleted_at[pod] is None:
                self.deleted_at[pod] = seconds(timer.fires_ns)


def _numbered(number: Any) -> Taint:
    return Taint(f"taint-{number}", "", "NoExecute")


def _tolerating(given: Json) -> TimedToleration:
    return TimedToleration(Toleration(_numbered(given["taint"]).key, "Exists", "", "NoExecute"), given.get("seconds"))


def _queue(case: Json) -> Json:
    queue = EvictionQueue(float("inf"))
    results: list[list[str]] = []
    # The clock moves on, so that what was put back for later is due at the next try.
    for now_ns, operation in enumerate(case["operations"]):
        op = operation["op"]
        if op == "add":
            queue.add(operation["value"], now_ns)
        elif op == "remove":
            queue.remove(operation["value"])
        elif op == "clear":
            queue.clear()
        elif op == "order":
            results.append(list(queue))
        elif op == "try":
            refused = {name for name, answer in operation.get("answers", {}).items() if answer != "success"}
            offered = queue.hand_out(_all_but(refused), now_ns)
            results.append([name for name in offered if name not in refused])
        else:
            raise UnknownName("queue operation", op, ("add", "remove", "clear", "order", "try"))
    return {"results": results}


def _all_but(refused: set[str]) -> Callable[[str], bool]:
    return lambda name: name not in refused


def _queue_rate(case: Json) -> Json:
    queue = EvictionQueue(1.0)
    queue.swap_rate(case["new_rate_per_s"], 0)
    return {"rate_per_s": queue.rate_per_s}


KINDS = {
    "zone_disruption": _zone_disruption,
    "zone_state": _zone_state,
    "zone_rate": _zone_rate,
    "node_status": _node_status,
    "taints": _taints,
    "no_execute_taint": _no_execute_taint,
    "disruption_exclusion": _disruption_exclusion,
    "min_toleration": _min_toleration,
    "taint_eviction": _taint_eviction,
    "queue": _queue,
    "queue_rate": _queue_rate,
}
