"""When probes change their mind: by division against the worker stepped period by period."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.probe_times import Life, Probes, Verdicts, verdicts
from k8slab.domain.probes import Probe, ProbeKind, ProbeResult, ProbeWorker, Sight, step
from k8slab.errors import InputError

HORIZON = 400


def stepped(probes: Probes, life: Life) -> Verdicts:
    """Second by second, all three workers as the kubelet steps them."""
    probe_of = {kind: getattr(probes, kind.value) for kind in ProbeKind}
    workers = {kind: ProbeWorker() for kind, probe in probe_of.items() if probe is not None}
    seen: set[ProbeKind] = set()
    started = probes.startup is None
    ready: list[tuple[int, bool]] = []
    if started and probes.readiness is None:
        ready.append((life.started_ns, True))
    for second in range(HORIZON):
        now = second * SECOND_NS
        was_started = started
        for kind in (ProbeKind.STARTUP, ProbeKind.LIVENESS, ProbeKind.READINESS):
            probe = probe_of[kind]
            if probe is None or now < life.started_ns or (now - life.worker_ns) % (probe.period_seconds * SECOND_NS):
                continue
            well = life.up_ns <= now and not life.ill_ns <= now < life.well_ns
            before = workers[kind]
            sight = Sight(
                ProbeResult.SUCCESS if well else ProbeResult.FAILURE,
                new_container=kind not in seen,
                container_age_seconds=(now - life.started_ns) // SECOND_NS,
                started=was_started,
            )
            seen.add(kind)
            after = workers[kind] = step(probe, before, sight)
            if kind is ProbeKind.STARTUP and after.state is ProbeResult.SUCCESS and not started:
                started = True
                if probes.readiness is None:
                    ready.append((now, True))
            if kind is ProbeKind.READINESS and after.state is not (before.state or ProbeResult.FAILURE):
                ready.append((now, after.state is ProbeResult.SUCCESS))
            if kind is not ProbeKind.READINESS and after.state is ProbeResult.FAILURE:
                return Verdicts(tuple(c for c in ready if c[0] < now), now, kind)
    return Verdicts(tuple(ready), NEVER, None)


def probe(kind: ProbeKind):
    thresholds = st.integers(1, 4)
    return st.none() | st.builds(
        Probe,
        kind=st.just(kind),
        initial_delay_seconds=st.integers(0, 15),
        success_threshold=thresholds if kind is ProbeKind.READINESS else st.just(1),
        failure_threshold=thresholds,
        period_seconds=st.integers(1, 9),
    )


@st.composite
def lives(draw):
    worker = draw(st.integers(0, 20))
    started = worker + draw(st.integers(0, 20))
    up = started + draw(st.integers(0, 40))
    ill = draw(st.none() | st.integers(0, 60))
    well = None if ill is None else draw(st.none() | st.integers(0, 40))
    ill_ns = NEVER if ill is None else (up + ill) * SECOND_NS
    well_ns = NEVER if well is None else ill_ns + well * SECOND_NS
    return Life(worker * SECOND_NS, started * SECOND_NS, up * SECOND_NS, ill_ns, well_ns)


@given(st.builds(Probes, probe(ProbeKind.STARTUP), probe(ProbeKind.LIVENESS), probe(ProbeKind.READINESS)), lives())
def test_divisions_find_what_stepping_finds(probes, life):
    assert verdicts(probes, life) == stepped(probes, life)


def test_by_hand():
    probes = Probes(
        liveness=Probe(ProbeKind.LIVENESS, period_seconds=10, failure_threshold=3),
        readiness=Probe(ProbeKind.READINESS, period_seconds=5, failure_threshold=2),
    )
    s = SECOND_NS
    # Up at 12 s: the tick at 15 s finds it. Ill at 61: readiness fails at 65 and 70, liveness at 70, 80, 90.
    found = verdicts(probes, Life(0, 0, 12 * s, 61 * s))
    assert found == Verdicts(((15 * s, True), (70 * s, False)), 90 * s, ProbeKind.LIVENESS)


def test_liveness_kills_what_starts_slowly_without_a_startup_probe():
    probes = Probes(liveness=Probe(ProbeKind.LIVENESS))
    assert verdicts(probes, Life(0, 0, 60 * SECOND_NS)).kills_ns == 20 * SECOND_NS
    patient = Probes(Probe(ProbeKind.STARTUP, failure_threshold=30), Probe(ProbeKind.LIVENESS))
    assert verdicts(patient, Life(0, 0, 60 * SECOND_NS)) == Verdicts(((60 * SECOND_NS, True),), NEVER, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Probes(startup=Probe(ProbeKind.LIVENESS)), "a liveness probe in the place of the startup probe"),
        (lambda: Probes(latency_seconds=2), r"latency_seconds=2 above timeout_seconds=1: every probe would fail"),
    ],
)
def test_probes_that_cant_work_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
