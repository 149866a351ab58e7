"""backoff_cases: back-off, restart policy, probes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from k8slab.domain.probes import Probe, ProbedContainer, ProbeKind, ProbeResult, ProbeWorker, Sight, step
from k8slab.domain.restart_backoff import Backoff, BackoffEntry, ContainerState, restarts
from k8slab.errors import UnknownName
from k8slab.experiments.conform_controllers.times import ns, seconds

Json = dict[str, Any]


def _backoff(case: Json) -> Json:
    backoff, entry = Backoff(ns(case["initial_s"]), ns(case["max_s"])), None
    results = []
    for operation in case["operations"]:
        entry, answer = _operate(backoff, entry, operation)
        if answer is not None:
            results.append(answer)
    return {"results": results}


def _operate(
    backoff: Backoff, entry: BackoffEntry | None, operation: Json
) -> tuple[BackoffEntry | None, float | bool | None]:
    op, now_ns = operation["op"], ns(operation["t"])
    event_ns = ns(operation["event"]) if "event" in operation else now_ns
    if op == "get":
        return entry, seconds(entry.wait_ns) if entry is not None else 0
    if op == "exists":
        return entry, entry is not None
    if op == "in_backoff_since":
        return entry, backoff.waits(entry, event_ns, now_ns)
    if op == "next":
        return backoff.next(entry, now_ns, event_ns), None
    if op == "gc":
        return None if entry is None or backoff.forgets(entry, now_ns) else entry, None
    if op == "reset":
        return None, None
    raise UnknownName("back-off operation", op, ("get", "exists", "in_backoff_since", "next", "gc", "reset"))


def _backoff_ticks(case: Json) -> Json:
    backoff = Backoff(ns(case["initial_s"]), ns(case["max_s"]))
    entry: BackoffEntry | None = None
    held, values = [], []
    for tick in case["ticks"]:
        waits = backoff.waits_since_update(entry, ns(tick))
        held.append(waits)
        values.append(seconds(entry.wait_ns) if entry is not None and waits else None)
        if not waits:
            entry = backoff.next(entry, ns(tick))
    return {"in_backoff": held, "value_s": values}


def _restart(case: Json) -> Json:
    state, _, ending = case["container"].partition("_")
    if state == "exited":
        return {"restart": restarts(case["restart_policy"], ContainerState.EXITED, int(ending != "0"))}
    return {"restart": restarts(case["restart_policy"], ContainerState(case["container"]))}


def _probe_of(case: Json) -> Probe:
    return Probe(
        ProbeKind(case["probe"]), case.get("initial_delay_s", 0), case["success_threshold"], case["failure_threshold"]
    )


def _result(text: str | None) -> ProbeResult | None:
    return ProbeResult(text) if text in {result.value for result in ProbeResult} else None


def _sight(probe: Probe, given: Json, **more: Any) -> Sight:
    return Sight(
        result=_result(given["probe_returns"]),
        container_age_seconds=int(given.get("container_age_s", probe.initial_delay_seconds)),
        started=given.get("startup_done", probe.kind is not ProbeKind.STARTUP),
        **more,
    )


def _probe(case: Json) -> Json:
    probe = _probe_of(case)
    worker, first = ProbeWorker(), True
    told: Json = {"states": [], "on_hold": [], "run_length": []}
    for given in case["steps"]:
        if first and "initial_state" in case:
            worker, first = replace(worker, state=ProbeResult(case["initial_state"])), False
        worker = step(probe, worker, _sight(probe, given, new_container=first or given.get("new_container", False)))
        first = False
        told["states"].append(worker.state.value if worker.state is not None else None)
        told["on_hold"].append(worker.on_hold)
        told["run_length"].append(worker.run_length)
    return told


def _probe_step(case: Json) -> Json:
    probe = _probe_of(case)
    sight = _sight(
        probe,
        case,
        container=ProbedContainer(case["container"]),
        new_container=True,
        pod_phase=case.get("pod_phase", "Running"),
        deleting=case.get("deleting", False),
        restart_policy=case["restart_policy"],
    )
    worker = step(probe, ProbeWorker(), sight)
    return {"worker_continues": not worker.ended, "state": worker.state.value if worker.state is not None else None}


KINDS = {
    "backoff": _backoff,
    "backoff_ticks": _backoff_ticks,
    "restart": _restart,
    "probe": _probe,
    "probe_step": _probe_step,
}
