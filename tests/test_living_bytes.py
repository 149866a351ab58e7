"""A run with everything on is a function of its seed, to the byte; who looks on or joins in changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from k8slab import Cluster, Simulation, Workload
from k8slab.domain.columns import NEVER
from k8slab.domain.detectors import PhiAccrual
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.probe_times import Probes
from k8slab.domain.probes import Probe, ProbeKind
from k8slab.simulation import Deployment, Exponential, Load, PodStream, Poisson, Usage
from k8slab.simulation.autoscalers import HorizontalAutoscaler, Metric
from k8slab.simulation.drains import Drain
from k8slab.simulation.engine import new_world
from k8slab.simulation.faults import (
    FlappingHeartbeats,
    LateHeartbeats,
    LostHeartbeats,
    NodeFailures,
    OomKills,
    PodCrashes,
    PodHangs,
    SlowNodes,
    ZoneFailures,
)
from k8slab.simulation.health import DisruptionBudget, Health, build_health

CLUSTER = Cluster.synthetic(nodes=12, zones=3, seed=0)
PARTS = [
    PodStream("batch", Workload.synthetic(pods=20, classes=3, cluster=CLUSTER, seed=0), Poisson("20s"),
              Exponential("10m"), usage=Usage(memory=1.0, spread=0.3)),
    Deployment("web", {"cpu": "500m", "memory": "512Mi"}, replicas=6, startup="20s",
               load=Load("3", swing=0.6, period="1h", peak="20m")),
]  # fmt: skip
FAULTS = [
    NodeFailures(mtbf="2h", repair="10m"), ZoneFailures(mtbf="8h", repair="15m"), FlappingHeartbeats(mtbf="6h"),
    LostHeartbeats(probability=0.01), LateHeartbeats(probability=0.01), SlowNodes(mtbf="6h"),
    PodCrashes(mtbf="1h"), PodHangs(mtbf="2h"), OomKills(limit_factor=1.2),
]  # fmt: skip
PROBES = Probes(liveness=Probe(ProbeKind.LIVENESS), readiness=Probe(ProbeKind.READINESS))
HEALTH = Health(
    budgets=[DisruptionBudget(name="web", workload="web", max_unavailable="25%")],
    drains=[Drain(node="node-3", at="40m", uncordon="20m")],
    probes={"web": PROBES},
    compare={"phi": PhiAccrual()},
)
SCALERS = [HorizontalAutoscaler("web", 2, 20, [Metric(utilization=60)])]
SIMULATION = Simulation(CLUSTER, PARTS, autoscalers=SCALERS, faults=FAULTS, health=HEALTH, seed=11)


def saved(folder: Path, *, suffix: str = ".csv", look: bool = False) -> dict[str, bytes]:
    run = SIMULATION.run("2h", progress=(lambda at_ns: None) if look else None)
    if look:
        # Everybody who looks: plots, frames, events, the report's words.
        run.plot.timeline(), run.plot.failures(), run.plot.detectors(), run.plot.autoscaling()
        run.healing_events(), run.summary(), run._repr_html_()
    return {name: path.read_bytes() for name, path in run.save(folder, suffix=suffix).items()}


def test_the_same_bytes_under_faults_whoever_looks_on(tmp_path):
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two", look=True)
    assert one == two
    for name in ("healing", "health", "faults", "scaling", "detections"):
        assert one[name].count(b"\n") > 5, name


def test_the_same_parquet_under_faults(tmp_path):
    pytest.importorskip("pyarrow")
    one, two = saved(tmp_path / "one", suffix=".parquet"), saved(tmp_path / "two", suffix=".parquet")
    assert one == two


def test_one_controller_or_fault_more_leaves_the_other_streams_as_they_were():
    """Another fault, a detector beside, an autoscaler, a controller that only counts: node faults and arrivals stay."""

    class Counts:
        name, rank, heeds_pods, seen = "counts", 75, False, 0

        def next_ns(self, now_ns: int) -> int | None:
            return (now_ns // (60 * SECOND_NS) + (self.seen == now_ns)) * 60 * SECOND_NS or 60 * SECOND_NS

        def run_once(self, now_ns: int) -> None:
            self.seen = now_ns

    def drawn(faults, health, extra=False):
        world = new_world(CLUSTER, PARTS, SIMULATION.policy, 11, 7200 * SECOND_NS)
        build_health(world, faults, health)
        if extra:
            world.calendar.add(Counts())
        world.calendar.run_until(world.until_ns)
        told = world.parts["lives"].faults
        mine = told.take(told.source < 2)
        journal = world.state.journal.columns()
        came = journal["time_ns"][(journal["verb"] == 4) & (world.state.pod_owner[journal["pod_row"]] < 0)]
        return [column.tolist() for column in mine[:5]], came.tolist(), journal

    base = drawn(FAULTS, HEALTH)
    fewer = drawn(FAULTS[:2], replace(HEALTH, compare={}))
    assert base[:2] == fewer[:2]
    counted = drawn(FAULTS, HEALTH, extra=True)
    assert all((counted[2][name] == column).all() for name, column in base[2].items())
    assert (base[2]["time_ns"] < NEVER).all()
