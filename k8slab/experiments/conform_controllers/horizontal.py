"""hpa_cases and hpa_extra_cases: HorizontalPodAutoscaler v2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from k8slab.domain.autoscaling.horizontal import (
    HpaDecision,
    HpaMemory,
    Reading,
    ScaleTarget,
    decide,
    settle,
)
from k8slab.domain.autoscaling.pod_groups import group_pods, request_of
from k8slab.domain.autoscaling.proposals import (
    Proposal,
    average_proposal,
    per_pod_proposal,
    usage_ratio,
    utilization_proposal,
    utilization_ratio,
    value_proposal,
)
from k8slab.domain.autoscaling.rates import (
    Events,
    ScaleEvent,
    change_within,
    clamp,
    limit_rate,
    scale_down_limit,
    scale_up_limit,
    store_event,
)
from k8slab.domain.autoscaling.recommendations import Log, Recommendation, stabilize, stabilize_with_behavior
from k8slab.domain.autoscaling.values import (
    Behavior,
    HorizontalPodAutoscaler,
    HpaConfig,
    MetricSample,
    MetricSpec,
    MetricUnavailable,
    Readiness,
    ScaledContainer,
    ScaledPod,
    ScalingPolicy,
    ScalingRules,
    Tolerance,
    with_defaults,
)
from k8slab.experiments.conform_controllers.times import ns

Json = dict[str, Any]
# A condition without a last transition has the zero time.
_EVER_AGO = ns(-10_000_000_000)


# -- reading ---------------------------------------------------------------------


def _pods(case: Json) -> list[ScaledPod]:
    return [_pod(given) for given in case["pods"]]


def _pod(given: Json) -> ScaledPod:
    return ScaledPod(
        given["name"],
        given.get("phase", "Running"),
        given.get("ready"),
        _EVER_AGO if given.get("ready_since") is None else ns(given["ready_since"]),
        ns(given.get("start")),
        given.get("deleted", False),
        _containers(given, "containers"),
        _containers(given, "init_containers"),
        given.get("pod_requests"),
    )


def _containers(given: Json, key: str) -> tuple[ScaledContainer, ...]:
    return tuple(
        ScaledContainer(found["name"], found.get("requests") or {}, bool(found.get("restart_always")))
        for found in given.get(key) or ()
    )


def _resource_samples(rows: list[Json], resource: str, container: str | None) -> dict[str, MetricSample]:
    """Each pod's sample of a resource: of one container, or of all of them; none for a pod that lacks one."""
    samples = {}
    for row in rows:
        wanted = row["containers"] if container is None else {container: row["containers"].get(container, {})}
        if wanted and all(resource in amounts for amounts in wanted.values()):
            used = sum(amounts[resource] for amounts in wanted.values())
            samples[row["pod"]] = MetricSample(used, ns(row["ts"]), ns(row["window"]))
    return samples


def _custom_samples(rows: list[Json]) -> dict[str, MetricSample]:
    return {row["pod"]: MetricSample(row["value"], ns(row["ts"]), ns(row["window"])) for row in rows}


def _tolerance(case: Json) -> Tolerance:
    given = case.get("tolerance")
    return Tolerance(given["down"], given["up"]) if given else Tolerance()


def _readiness(case: Json) -> Readiness:
    return Readiness(ns(case["cpu_initialization_s"]), ns(case["initial_readiness_delay_s"]))


def _config(case: Json) -> HpaConfig:
    return HpaConfig(
        _tolerance(case),
        _readiness(case),
        ns(case.get("downscale_stabilization_s", 300)),
        case.get("scale_up_limit_factor", 2.0),
        case.get("scale_up_limit_minimum", 4.0),
    )


def _rules(given: Json | None) -> ScalingRules | None:
    if given is None:
        return None
    policies = given.get("policies")
    return ScalingRules(
        given.get("stabilization_s"),
        given.get("select_policy"),
        None
        if policies is None
        else tuple(ScalingPolicy(policy["type"], policy["value"], policy["period_s"]) for policy in policies),
        given.get("tolerance"),
    )


def _behavior(given: Json, downscale_stabilization_s: int = 300) -> Behavior:
    return with_defaults(_rules(given.get("scale_up")), _rules(given.get("scale_down")), downscale_stabilization_s)


def _events(rows: list[Json] | None) -> Events:
    return tuple(ScaleEvent(row["change"], ns(row["t"]), row.get("outdated", False)) for row in rows or ())


def _log(rows: list[Json]) -> Log:
    return tuple(Recommendation(row["replicas"], ns(row["t"])) for row in rows)


# -- kinds -----------------------------------------------------------------------


def _resource_utilization(case: Json) -> Json:
    samples = _resource_samples(case["metrics"], case["resource"], case["container"])
    proposal = utilization_proposal(
        _pods(case), samples, case["current_replicas"], case["resource"], case["target_utilization"],
        _config(case), 0, container=case["container"],
    )  # fmt: skip
    return {
        "replicas": proposal.replicas,
        "utilization_percent": proposal.utilization,
        "raw_average_milli": proposal.usage,
    }


def _pods_metric(case: Json) -> Json:
    samples = _custom_samples(case["metrics"])
    return _told(
        average_proposal(_pods(case), samples, case["current_replicas"], case["target_average_milli"], _config(case), 0)
    )


def _value(case: Json) -> Json:
    target = case["target_value_milli"]
    return _told(value_proposal(_pods(case), case["values_milli"], case["current_replicas"], target, _tolerance(case)))


def _per_pod(case: Json) -> Json:
    return _told(
        per_pod_proposal(case["values_milli"], case["current_replicas"], case["target_average_milli"], _tolerance(case))
    )


def _told(proposal: Proposal) -> Json:
    return {"replicas": proposal.replicas, "usage_milli": proposal.usage}


def _utilization_ratio(case: Json) -> Json:
    found = utilization_ratio(case["metrics_milli"], case["requests_milli"], case["target_utilization"])
    return {"ratio": found.ratio, "utilization_percent": found.utilization, "raw_average_milli": found.usage}


def _usage_ratio(case: Json) -> Json:
    found = usage_ratio(case["metrics_milli"], case["target_milli"])
    return {"ratio": found.ratio, "usage_milli": found.usage}


def _group_pods(case: Json) -> Json:
    samples = {
        pod: MetricSample(given.get("value", 0), ns(given["ts"]), ns(given["window"]))
        for pod, given in case["metrics"].items()
    }
    groups = group_pods(_pods(case), samples, case["resource"], _readiness(case), 0)
    return {
        "ready_count": groups.ready_count,
        "unready": sorted(groups.unready),
        "missing": sorted(groups.missing),
        "ignored": sorted(groups.ignored),
    }


def _pod_request(case: Json) -> Json:
    enabled = case["pod_level_resources_enabled"]
    return {
        "request_milli": request_of(_pod(case["pod"]), case["resource"], case["container"], pod_level_resources=enabled)
    }


def _clamp_without_behavior(case: Json) -> Json:
    limited = clamp(
        case["current"], case["desired"], case["min"], case["max"],
        case["scale_up_limit_factor"], case["scale_up_limit_minimum"],
    )  # fmt: skip
    return {"replicas": limited.replicas, "reason": limited.reason}


def _scale_limit(case: Json) -> Json:
    limit_of = scale_up_limit if case["direction"] == "up" else scale_down_limit
    rules = _rules({"select_policy": case["select_policy"], "policies": case["policies"]}) or ScalingRules()
    return {"limit": limit_of(case["current"], rules, _events(case["up_events"]), _events(case["down_events"]), 0)}


def _stabilize_without_behavior(case: Json) -> Json:
    found = stabilize(_log(case["recommendations"]), case["desired"], ns(case["window_s"]), 0)
    return {"replicas": found.replicas, "log_length": len(found.log)}


def _stabilize_with_behavior(case: Json) -> Json:
    found = stabilize_with_behavior(
        _log(case["recommendations"]), case["current"], case["desired"],
        ns(case["up_window_s"]), ns(case["down_window_s"]), 0,
    )  # fmt: skip
    return {"replicas": found.replicas, "log": [past.replicas for past in found.log]}


def _rate_limit(case: Json) -> Json:
    limited = limit_rate(
        case["current"], case["desired"], case["min"], case["max"], _behavior(case),
        _events(case["up_events"]), _events(case["down_events"]), 0,
    )  # fmt: skip
    return {"replicas": limited.replicas, "reason": limited.reason}


def _store_event(case: Json) -> Json:
    events = _events(case["prev_events"])
    stored = store_event(events, abs(case["replica_change"]), _rules(case["rules"]), 0)
    return {
        "change_in_query_period_before": change_within(events, case["query_period_s"], 0),
        "events_after": [{"change": event.change, "outdated": event.outdated} for event in stored],
    }


def _reconcile(case: Json) -> Json:
    least = 1 if case["min"] is None else case["min"]
    given = tuple(_metric_spec(given) for given in case["metrics"])
    hpa = HorizontalPodAutoscaler(case["max"], least, given, _hpa_behavior(case))
    metrics = hpa.metrics
    recommendations = case["recommendations"]
    memory = HpaMemory(None if recommendations is None else _log(recommendations))
    faults = case["faults"]
    target = ScaleTarget(case["spec_replicas"], case["status_replicas"], _pods(case), _selector_fault(faults))
    readings = [_reading(metric, case) for metric in metrics]
    decision = decide(hpa, None if "scale_get_error" in faults else target, readings, memory, _config(case), 0)
    settled = settle(hpa, decision, target.spec_replicas, 0, written="scale_update_error" not in faults)
    return {
        # A scale that couldn't be read is the scale that was.
        "desired_replicas": target.spec_replicas if "scale_get_error" in faults else settled.desired_replicas,
        "rescaled": settled.rescale,
        "conditions": {kind: [found.status, found.reason] for kind, found in settled.conditions.items()},
        "cpu_utilization_percent": _cpu_utilization(metrics, settled),
    }


def _hpa_behavior(case: Json) -> Behavior | None:
    return None if case["behavior"] is None else _behavior(case["behavior"], case["downscale_stabilization_s"])


def _metric_spec(given: Json) -> MetricSpec:
    target = given["target"] if "target" in given else given.get("target_milli", 0)
    target_type, resource = given.get("target_type", "Utilization"), given.get("resource", "")
    return MetricSpec(given["type"], target_type, target, resource, given.get("container"))


def _selector_fault(faults: list[str]) -> str:
    if "selector_missing" in faults or "selector_unparsable" in faults:
        return "InvalidSelector"
    return "AmbiguousSelector" if "selector_shared_with_other_hpa" in faults else ""


def _reading(metric: MetricSpec, case: Json) -> Reading:
    broken = "metrics_api_error" in case["faults"]
    if broken or (metric.type == "External" and "external_metrics_error" in case["faults"]):
        return MetricUnavailable("api_error", "the metrics API did not answer")
    if metric.type == "Pods":
        return _custom_samples(case["custom_pod_metrics"])
    if metric.type == "Object":
        value = case["object_value_milli"]
        return MetricUnavailable("no_value", "the object has no such metric") if value is None else (value,)
    if metric.type == "External":
        return tuple(case["external_values_milli"])
    return _resource_samples(case["resource_metrics"], metric.resource, metric.container)


def _cpu_utilization(metrics: tuple[MetricSpec, ...], decision: HpaDecision) -> int | None:
    for metric, proposal in zip(metrics, decision.proposals, strict=False):
        if metric.type == "Resource" and metric.resource == "cpu" and proposal is not None:
            return proposal.utilization
    return None


def _or_error(kind: Callable[[Json], Json]) -> Callable[[Json], Json]:
    """An answer, or the code of why the metric can't be evaluated."""

    def answer(case: Json) -> Json:
        try:
            return kind(case)
        except MetricUnavailable as error:
            return {"error": error.code}

    return answer


KINDS = {
    "resource_utilization": _or_error(_resource_utilization),
    "pods_metric": _or_error(_pods_metric),
    "object_value": _or_error(_value),
    "external_value": _or_error(_value),
    "object_per_pod": _or_error(_per_pod),
    "external_per_pod": _or_error(_per_pod),
    "utilization_ratio": _or_error(_utilization_ratio),
    "usage_ratio": _usage_ratio,
    "group_pods": _group_pods,
    "pod_request": _or_error(_pod_request),
    "clamp_without_behavior": _clamp_without_behavior,
    "scale_limit": _scale_limit,
    "stabilize_without_behavior": _stabilize_without_behavior,
    "stabilize_with_behavior": _stabilize_with_behavior,
    "rate_limit": _rate_limit,
    "store_event": _store_event,
    "reconcile": _reconcile,
}
