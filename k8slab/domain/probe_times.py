"""When probes change their mind: the outcome of `probes.step`, repeated period by period, without repeating it. Pure.

A container's health is a few instants: since when its application answers, from when to when it
is ill. Between them every probe says the same, so verdicts are divisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.probes import INITIAL_RESULT, Probe, ProbeKind, ProbeResult
from k8slab.errors import InputError

_GOOD: Final = ProbeResult.SUCCESS
_BAD: Final = ProbeResult.FAILURE


@dataclass(frozen=True)
class Probes:
    """A container's probes, None for those it doesn't have.

    timeout_seconds : a probe that takes longer has failed
    latency_seconds : how long the application takes to answer; a slow node multiplies it
    """

    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None
    timeout_seconds: float = 1.0
    latency_seconds: float = 0.1

    def __post_init__(self) -> None:
        for kind in ProbeKind:
            probe: Probe | None = getattr(self, kind.value)
            if probe is not None and probe.kind is not kind:
                raise InputError(f"a {probe.kind.value} probe in the place of the {kind.value} probe")
        if not 0 <= self.latency_seconds <= self.timeout_seconds:
            raise InputError(
                f"probes: latency_seconds={self.latency_seconds:g} above timeout_seconds={self.timeout_seconds:g}: "
                "every probe would fail; wanted 0 <= latency <= timeout"
            )

    def fail_at(self, factor: float) -> bool:
        """Whether they fail where everything takes `factor` times as long."""
        return self.latency_seconds * factor > self.timeout_seconds


class Life(NamedTuple):
    """One container.

    worker_ns  : when its pod came to the node: probes tick from then on
    started_ns : when the container started
    up_ns      : since when its application answers
    ill_ns, well_ns : from when to when it doesn't; NEVER
    """

    worker_ns: int
    started_ns: int
    up_ns: int
    ill_ns: int = NEVER
    well_ns: int = NEVER


class Verdicts(NamedTuple):
    """What the kubelet does about a container.

    ready    : (instant, whether it is ready from then on), in order; it isn't ready before the first
    kills_ns : when it is killed, NEVER; nothing is said of later
    killer   : the probe that has it killed
    """

    ready: tuple[tuple[int, bool], ...]
    kills_ns: int
    killer: ProbeKind | None


def verdicts(probes: Probes, life: Life) -> Verdicts:
    """When a container becomes ready and ceases to be, and when it is killed.

    Without a readiness probe it is ready once it has started, which a startup probe says.
    Probes other than the startup probe begin at the tick after the one that found it started.
    """
    started_ns, kills_ns, killer = life.started_ns, NEVER, None
    if probes.startup is not None:
        at_ns, result = next(_verdicts(probes.startup, life, life.started_ns), (NEVER, _BAD))
        if result is _BAD:
            return Verdicts((), at_ns, ProbeKind.STARTUP if at_ns < NEVER else None)
        started_ns = at_ns + 1
    if probes.liveness is not None:
        failures = (at for at, result in _verdicts(probes.liveness, life, started_ns) if result is _BAD)
        kills_ns = next(failures, NEVER)
        killer = ProbeKind.LIVENESS if kills_ns < NEVER else None
    if probes.readiness is None:
        since_ns = life.started_ns if probes.startup is None else started_ns - 1
        return Verdicts(((since_ns, True),) if since_ns < kills_ns else (), kills_ns, killer)
    changes = _verdicts(probes.readiness, life, started_ns)
    ready = tuple((at, result is _GOOD) for at, result in changes if at < kills_ns)
    return Verdicts(ready, kills_ns, killer)


def _verdicts(probe: Probe, life: Life, from_ns: int) -> Iterator[tuple[int, ProbeResult]]:
    """The instants at which a probe that begins at `from_ns` changes what it holds."""
    period_ns = probe.period_seconds * SECOND_NS
    from_ns = max(from_ns, life.started_ns + probe.initial_delay_seconds * SECOND_NS, life.worker_ns)
    needed = {_GOOD: probe.success_threshold, _BAD: probe.failure_threshold}
    held, run, length = INITIAL_RESULT[probe.kind], None, 0
    for begin_ns, end_ns, result in _spells(life):
        first_ns = life.worker_ns + -(-(max(begin_ns, from_ns) - life.worker_ns) // period_ns) * period_ns
        if first_ns >= end_ns:
            continue
        length = length if result is run else 0
        run = result
        at_ns = first_ns + max(needed[result] - length - 1, 0) * period_ns
        if at_ns < end_ns and result is not held:
            held = result
            yield at_ns, result
        length += -(-(end_ns - first_ns) // period_ns)


def _spells(life: Life) -> Iterator[tuple[int, int, ProbeResult]]:
    """The container's life in pieces in which every probe says the same."""
    up_ns = max(life.up_ns, life.started_ns)
    yield life.started_ns, up_ns, _BAD
    ill_ns = max(life.ill_ns, up_ns)
    yield up_ns, ill_ns, _GOOD
    if ill_ns < NEVER:
        well_ns = max(life.well_ns, ill_ns)
        yield ill_ns, well_ns, _BAD
        yield well_ns, NEVER, _GOOD
