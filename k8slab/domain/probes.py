"""Startup, liveness and readiness probes: what one step of the kubelet's probe worker does. Pure.

After pkg/kubelet/prober/worker.go, doProbe. The caller probes (or knows what a probe would
say) and holds the worker's state; a period that changes nothing needs no call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from k8slab.errors import InputError


class ProbeKind(Enum):
    """Which of a container's three probes."""

    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


class ProbeResult(Enum):
    """What a probe said, or what a worker holds to be so."""

    SUCCESS = "Success"
    FAILURE = "Failure"
    UNKNOWN = "Unknown"


class ProbedContainer(Enum):
    """What the kubelet sees of the container it probes."""

    NO_POD_STATUS = "no_pod_status"
    NO_STATUS = "no_status"
    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


INITIAL_RESULT: Final = {
    ProbeKind.STARTUP: ProbeResult.UNKNOWN,
    ProbeKind.LIVENESS: ProbeResult.SUCCESS,
    ProbeKind.READINESS: ProbeResult.FAILURE,
}


@dataclass(frozen=True)
class Probe:
    """A probe as a container states it; the field names are the API's."""

    kind: ProbeKind
    initial_delay_seconds: int = 0
    success_threshold: int = 1
    failure_threshold: int = 3
    period_seconds: int = 10

    def __post_init__(self) -> None:
        if self.period_seconds < 1:
            raise InputError(f"{self}: wanted a period of 1 s or more")
        if self.success_threshold < 1 or self.failure_threshold < 1 or self.initial_delay_seconds < 0:
            raise InputError(f"{self}: wanted thresholds of 1 or more and a delay of 0 s or more")
        if self.kind is not ProbeKind.READINESS and self.success_threshold != 1:
            raise InputError(
                f"success threshold {self.success_threshold} of a {self.kind.value} probe; Kubernetes wants 1"
            )


@dataclass(frozen=True)
class Sight:
    """What a worker sees at one step.

    new_container        : the container's id is another than at the last step, or the first
    container_age_seconds: since it started, whole seconds
    started              : the startup probe has succeeded, or there is none
    result               : what the probe would say; None for a probe that itself broke
    """

    result: ProbeResult | None
    container: ProbedContainer = ProbedContainer.RUNNING
    new_container: bool = False
    container_age_seconds: int = 0
    started: bool = True
    pod_phase: str = "Running"
    deleting: bool = False
    restart_policy: str = "Always"


@dataclass(frozen=True)
class ProbeWorker:
    """Where a worker stands.

    state      : what the probe is held to say; None before the first container
    run_result : what it said last, and `run_length` how often in a row
    on_hold    : nothing is probed until there is another container
    ended      : the worker probes no more
    """

    state: ProbeResult | None = None
    run_result: ProbeResult | None = None
    run_length: int = 0
    on_hold: bool = False
    ended: bool = False


def step(probe: Probe, worker: ProbeWorker, sight: Sight) -> ProbeWorker:
    """The worker after one period.

    A result counts once it came as often in a row as its threshold. A failed liveness or
    startup probe puts the worker on hold, as the container is killed; so does a startup
    probe that succeeded, as it has done its work. Until the startup probe has succeeded
    the two others wait; during the initial delay all do.
    """
    if sight.container is ProbedContainer.NO_POD_STATUS:
        return worker
    if sight.pod_phase in ("Failed", "Succeeded"):
        return replace(worker, ended=True)
    if sight.container is ProbedContainer.NO_STATUS:
        return worker
    if sight.new_container:
        worker = replace(worker, state=INITIAL_RESULT[probe.kind], on_hold=False)
    if worker.on_hold:
        return worker
    if sight.container is not ProbedContainer.RUNNING:
        over = sight.container is ProbedContainer.TERMINATED and sight.restart_policy == "Never"
        return replace(worker, state=ProbeResult.FAILURE, ended=over)
    if sight.deleting and probe.kind is not ProbeKind.READINESS:
        return replace(worker, state=ProbeResult.SUCCESS, ended=True)
    if sight.container_age_seconds < probe.initial_delay_seconds or sight.started == (probe.kind is ProbeKind.STARTUP):
        return worker
    return worker if sight.result is None else _count(probe, worker, sight.result)


def _count(probe: Probe, worker: ProbeWorker, result: ProbeResult) -> ProbeWorker:
    length = worker.run_length + 1 if result is worker.run_result else 1
    threshold = {ProbeResult.SUCCESS: probe.success_threshold, ProbeResult.FAILURE: probe.failure_threshold}
    counted = replace(worker, run_result=result, run_length=length)
    if length < threshold.get(result, 1):
        return counted
    failed_liveness = probe.kind is ProbeKind.LIVENESS and result is ProbeResult.FAILURE
    if failed_liveness or probe.kind is ProbeKind.STARTUP:
        return replace(counted, state=result, on_hold=True, run_length=0)
    return replace(counted, state=result)
