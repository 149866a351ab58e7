"""Workloads whose pods say where they may run: what the scheduler makes of it in a run, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest

import k8slab
from k8slab.domain.columns import Codes
from k8slab.domain.pod_spec import HOSTNAME, ZONE
from k8slab.errors import InputError
from k8slab.simulation import DaemonSet, Deployment, HorizontalAutoscaler, Job, ListedFailures, Load

WEB = {"matchLabels": {"app": "web"}}
EVEN = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB}
APART = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": HOSTNAME, "labelSelector": WEB}]
    }
}
ONE = {"cpu": "100m", "memory": "64Mi"}


def six_nodes() -> k8slab.Cluster:
    """Two zones, x of two nodes and y of four; of each the last has a disc."""
    names = [f"n{k}" for k in range(6)]
    disc = Codes.of(["", "ssd", "", "", "", "ssd"])
    labels = {ZONE: Codes.of(list("xxyyyy")), HOSTNAME: Codes.of(names), "disc": disc}
    return k8slab.Cluster.of(names, [[8000] * 6, [2**34] * 6, [20] * 6], labels=labels)


def pods_of(*parts, until="10m", **options):
    """Where each pod is that still runs, and how many wait."""
    run = k8slab.Simulation(six_nodes(), [*parts], policy="most-allocated", seed=1, **options).run(until)
    pods = run.frames.pods
    return pods[pods["outcome"] == "running"]["node"].tolist(), int((pods["outcome"] == "pending").sum())


def test_a_deployment_is_spread_over_zones_by_force():
    packed, _ = pods_of(Deployment("web", ONE, replicas=9, labels={"app": "web"}))
    assert len(set(packed)) == 1
    web = Deployment("web", ONE, replicas=9, labels={"app": "web"}, spec={"topologySpreadConstraints": [EVEN]})
    zones = Counter("x" if node in ("n0", "n1") else "y" for node in pods_of(web)[0])
    assert sorted(zones.values()) == [4, 5]


def test_those_that_an_autoscaler_adds_keep_apart_and_find_no_seventh_node():
    web = Deployment(
        "web", ONE, replicas=3, labels={"app": "web"}, load=Load("3"), spec={"affinity": APART}
    )
    found = pods_of(web, autoscalers=[HorizontalAutoscaler("web", 3, 8)], until="1h")
    assert (sorted(found[0]), found[1]) == (["n0", "n1", "n2", "n3", "n4", "n5"], 2)


def test_pods_that_lost_their_zone_wait_rather_than_break_their_rule():
    web = Deployment("web", ONE, replicas=8, labels={"app": "web"}, spec={"topologySpreadConstraints": [EVEN]})
    dark = ListedFailures(events=[{"label": ZONE, "value": "x", "at": "5m", "duration": "2h"}])
    # Those for the dark zone's four: its nodes are still there, with no pod that stays, so that y may have one at most.
    assert pods_of(web, faults=[dark], until="1h")[1] == 4
    soft = {**EVEN, "whenUnsatisfiable": "ScheduleAnyway"}
    rather = Deployment("web", ONE, replicas=8, labels={"app": "web"}, spec={"topologySpreadConstraints": [soft]})
    assert pods_of(rather, faults=[dark], until="1h")[1] == 0


def test_a_job_goes_where_its_selector_says():
    job = Job("index", ONE, completions=4, parallelism=4, durations="1h", spec={"nodeSelector": {"disc": "ssd"}})
    assert set(pods_of(job)[0]) <= {"n1", "n5"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"nodeSelectr": {}}, r"Deployment 'web': spec: unknown key of a template's spec 'nodeSelectr'; did you mean"),
        ({"nodeSelector": ["ssd"]}, r"Deployment default/web: spec\.nodeSelector"),
        ({"topologySpreadConstraints": [{**EVEN, "maxSkew": 0}]}, r"Deployment default/web: .*maxSkew"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, r"topologyKey"),
        ("ssd", r"Deployment 'web': spec='ssd'; wanted keys and values"),
    ],
)
def test_what_cannot_be(spec, message):
    with pytest.raises(InputError, match=message):
        Deployment("web", ONE, spec=spec)


def test_a_daemon_set_is_everywhere():
    with pytest.raises(InputError, match=r"DaemonSet 'agent': spec=.* has a pod on every node here, wanted none"):
        DaemonSet("agent", ONE, spec={"nodeSelector": {"disc": "ssd"}})
