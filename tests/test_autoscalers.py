"""Autoscalers of a simulated run: what they are given, what comes out, and that they disturb nobody."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest

import k8slab
from k8slab.analysis.frames import check_frame
from k8slab.domain.instants import SECOND_NS as S
from k8slab.errors import InputError, UnknownName
from k8slab.experiments.scenario import scenario_of
from k8slab.simulation.arrivals import Poisson
from k8slab.simulation.autoscalers import (
    AutoscalerFlags,
    HorizontalAutoscaler,
    Metric,
    Policy,
    ScalingBehavior,
    ThresholdAutoscaler,
)
from k8slab.simulation.metrics import Series
from k8slab.simulation.usage import Load, Usage
from k8slab.simulation.workloads import Deployment, PodStream

CLUSTER = k8slab.Cluster.synthetic(nodes=6, seed=0)
REQUESTS = {"cpu": "500m", "memory": "1Gi"}


def deployment(name="web", **more):
    return Deployment(name, REQUESTS, **{"replicas": 3, "startup": "20s", "load": Load("3", swing=0.9), **more})


def run(autoscalers=(), parts=None, until="12h", **more):
    given = [deployment()] if parts is None else parts
    return k8slab.Simulation(CLUSTER, given, autoscalers=autoscalers, **more).run(until=until)


def steps(done, name="web"):
    frame = done.frames.scaling
    frame = frame[(frame["autoscaler"] == name) & (frame["desired"] != frame["replicas"])]
    return list(zip((frame["time_ns"] // S).tolist(), frame["desired"].tolist(), strict=True))


# -- what comes out ------------------------------------------------------------------------


def test_replicas_follow_the_load_of_the_day():
    done = run([HorizontalAutoscaler("web", 2, 20, [Metric(utilization=60)])], until="15h")
    seen = done.frames.autoscaling
    check_frame("run_autoscaling", seen)
    check_frame("run_scaling", done.frames.scaling)
    # 3 cores at 60 % of half a core each are 10 pods; at the peak, 5.7 cores, 19; a tolerance of a tenth beside.
    wanted = np.ceil(Load("3", swing=0.9).at(seen["time_ns"].to_numpy()) / 300)
    settled = seen["time_ns"] > 3600 * S
    assert (np.abs(seen["replicas"] - np.maximum(wanted, 2))[settled] <= 0.15 * wanted[settled] + 1).all()
    assert seen["replicas"].max() in (18, 19, 20)
    assert (seen["value"] / seen["target"]).dropna().between(0, 3.5).all()


def test_a_constant_load_is_met_as_soon_as_samples_count_and_nothing_flaps():
    done = run([HorizontalAutoscaler("web", 1, 20, [Metric(utilization=50)])], [deployment(load=Load("2"))], "1h")
    # 2 cores over 3 pods of half a core: 133 %, so 8. Pods are ready after 20 s, and sampled for a whole 15 s at 45 s.
    assert steps(done) == [(45, 6), (60, 8)]
    assert done.frames.scaling["limited"].iloc[-1] == "DesiredWithinRange"


def test_metrics_of_all_kinds():
    custom = {"name": "hits", "source": Series(900)}
    for metric, wanted in (
        (Metric(kind="External", value="300", **custom), None),
        (Metric(kind="External", average="100", **custom), 9),
        (Metric(kind="Object", average="150", **custom), 6),
        (Metric(kind="Pods", average="100", **custom), 9),
        (Metric(kind="ContainerResource", container="web", utilization=60), 3),
        (Metric(resource="memory", average="512Mi"), None),
    ):
        parts = [deployment(load=None, usage=Usage(cpu=0.6, memory=0.8))]
        done = run([HorizontalAutoscaler("web", 1, 12, [metric])], parts, "1h")
        last = done.frames.autoscaling.iloc[-1]
        if wanted is None:
            assert last["replicas"] == 12, metric  # three times the target whatever it does: the most there may be
            assert done.frames.scaling["limited"].iloc[-1] == "TooManyReplicas"
        else:
            assert last["replicas"] == wanted, metric


def test_a_container_that_is_not_there_is_a_condition():
    metric = Metric(kind="ContainerResource", container="sidecar", utilization=50)
    done = run([HorizontalAutoscaler("web", metrics=[metric])], until="10m")
    assert done.frames.scaling["active"].tolist() == ["FailedGetContainerResourceMetric"]
    assert steps(done) == []


def test_a_source_may_be_silent_for_a_while():
    source = lambda now_ns: None if now_ns < 600 * S else 900.0  # noqa: E731
    metric = Metric(kind="External", name="queue", average="100", source=source)
    done = run([HorizontalAutoscaler("web", 1, 20, [metric])], until="1h")
    assert done.frames.scaling["active"].tolist()[0] == "FailedGetExternalMetric"
    assert steps(done) == [(600, 6), (615, 9)]


def test_the_threshold_rule_takes_one_step_at_a_time():
    done = run([ThresholdAutoscaler("web", 1, 20, target_cpu=50)], [deployment(load=Load("2"))], "1h")
    taken = steps(done)
    assert [replicas for _, replicas in taken] == [4, 5, 6, 7, 8]
    assert all(later - before >= 60 for (before, _), (later, _) in pairwise(taken))
    check_frame("run_autoscaling", done.frames.autoscaling)


def test_pictures_can_be_drawn():
    both = [
        HorizontalAutoscaler("web", 2, 20, [Metric(utilization=60), Metric(resource="memory", utilization=90)]),
        ThresholdAutoscaler("api"),
    ]
    done = run(both, [deployment(), deployment("api")], "4h")
    figure = done.plot.autoscaling()
    assert [ax.get_ylabel() for ax in figure.axes] == ["pods", "CPU (% of requests)", "memory (% of requests)"]
    assert figure.axes[0].get_title(loc="left") == "Autoscaler web"
    done.plot.autoscaling("api")
    with pytest.raises(UnknownName, match="unknown autoscaler 'apy'; did you mean 'api'"):
        done.plot.autoscaling("apy")
    with pytest.raises(InputError, match="has no autoscaler"):
        run(until="1m").plot.autoscaling()
    plt.close("all")


# -- the same bytes, and nobody disturbed --------------------------------------------------


def busy():
    shapes = k8slab.Workload.synthetic(pods=20, classes=5, seed=1, cluster=CLUSTER)
    return [PodStream("jobs", shapes, Poisson("5m"), "30m"), deployment(), deployment("api", load=None)]


def test_two_runs_are_the_same():
    autoscalers = [HorizontalAutoscaler("web", 1, 9), ThresholdAutoscaler("api")]
    one, two = (run(autoscalers, busy(), "2h", seed=3) for _ in range(2))
    for name in one.frames:
        assert one.frames[name].equals(two.frames[name]), name


def test_one_autoscaler_more_leaves_the_other_streams_as_they_were():
    without, with_one = run((), busy(), "2h"), run([HorizontalAutoscaler("web", 1, 9)], busy(), "2h")

    def stream(done):
        pods = done.frames.pods
        return pods[pods["workload"].isna() & pods["pod"].str.startswith("jobs")][["pod", "arrived_s", "cpu_milli"]]

    assert len(steps(with_one)) > 0
    assert stream(without).reset_index(drop=True).equals(stream(with_one).reset_index(drop=True))


def test_those_with_the_same_flags_are_one_loop():
    from k8slab.simulation.autoscalers import build_autoscalers
    from k8slab.simulation.engine import new_world

    world = new_world(CLUSTER, [deployment(name) for name in "abc"], k8slab.policy("kube-default"), 0, S)
    slow = AutoscalerFlags(period="1m")
    build_autoscalers(
        [HorizontalAutoscaler("a"), HorizontalAutoscaler("b"), HorizontalAutoscaler("c", flags=slow)], world
    )
    loops = {one.name: one for one in world.calendar.controllers}
    assert [len(loops[name].autoscalers) for name in ("horizontal-autoscaler", "horizontal-autoscaler-2")] == [2, 1]


# -- bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HorizontalAutoscaler("web", 5, 2), "autoscaler 'web': min_replicas=5 is above max_replicas=2"),
        (lambda: ThresholdAutoscaler("web", 5, 2, name="t"), "autoscaler 't': min_replicas=5 is above max_replicas=2"),
        (lambda: HorizontalAutoscaler("web", -1), "min_replicas=-1; wanted a whole number, 0 or more"),
        (lambda: HorizontalAutoscaler("web", 0, 2), "min_replicas=0 needs an Object or External metric"),
        (lambda: HorizontalAutoscaler("web", metrics=[]), "autoscaler 'web': no metrics; wanted at least one"),
        (lambda: HorizontalAutoscaler("web", metrics=[{"kind": "Resorce", "utilization": 5}]),
         "autoscaler 'web': unknown metric kind 'Resorce'; did you mean 'Resource'"),
        (lambda: HorizontalAutoscaler("web", metrics=[{"utilisation": 5}]),
         "unknown key 'utilisation'; did you mean 'utilization'"),
        (lambda: Metric(), "a Resource metric with no target; wanted exactly one of utilization, average"),
        (lambda: Metric(kind="Pods", name="x", source=1, value=5), "a Pods metric with value=5; wanted exactly one of"),
        (lambda: Metric(kind="Pods", average=5), "name='' and source=None; wanted both"),
        (lambda: Metric(utilization=0), "target 0; wanted more than 0"),
        (lambda: Metric(utilization=60.5), "utilization=60.5; wanted a whole number of per cent"),
        (lambda: HorizontalAutoscaler("web", scale_up={"select": "Most"}), "unknown select policy 'Most'"),
        (lambda: HorizontalAutoscaler("web", scale_up={"window": "2h"}), "window='2h'; wanted 0s to 1h"),
        (lambda: HorizontalAutoscaler("web", scale_up={"window": "1.5s"}), "wanted whole seconds"),
        (lambda: HorizontalAutoscaler("web", scale_up={"tolerance": -1}), "tolerance=-1; wanted a fraction"),
        (lambda: HorizontalAutoscaler("web", scale_up={"policies": [Policy(type="Pod", value=1, period=9)]}),
         "unknown scaling policy type 'Pod'; did you mean 'Pods'"),
        (lambda: HorizontalAutoscaler("web", scale_up={"policies": [{"type": "Pods", "value": 1, "period": "1h"}]}),
         "period='1h'; wanted 1s to 30m"),
        (lambda: HorizontalAutoscaler("web", scale_up={"policies": [{"type": "Pods"}]}), "policies: .*missing"),
        (lambda: HorizontalAutoscaler("web", scale_up=3), "scale_up: 3; wanted a ScalingBehavior or its keys"),
        (lambda: AutoscalerFlags(period="-15s"), "flags, period: '-15s' is negative"),
        (lambda: AutoscalerFlags(tolerance=-0.1), "flags: tolerance=-0.1"),
        (lambda: ThresholdAutoscaler("web", target_cpu=0), "target_cpu=0; wanted per cent above 0"),
        (lambda: Series(1, swing=2), "series: swing=2; wanted a number from 0 to 1"),
        (lambda: Series(-1), "series: mean=-1; wanted 0 or more"),
        (lambda: run([HorizontalAutoscaler("wep")]), "deployment 'wep'; did you mean 'web'.*In autoscaler 'wep'"),
        (lambda: run([HorizontalAutoscaler("web")] * 2), "two autoscalers are named 'web'"),
        (lambda: run(["web"]), "autoscalers holds a str; wanted HorizontalAutoscaler or"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


SCENARIO = {
    "until": "10m",
    "cluster": {"nodes": 3},
    "deployment": [{"name": "web", "requests": REQUESTS, "load": {"cpu": "2"}}],
}


def test_a_scenario_has_autoscalers():
    table = {
        **SCENARIO,
        "autoscaler": [
            {
                "kind": "horizontal", "deployment": "web", "min_replicas": 2, "max_replicas": 8,
                "metrics": [
                    {"utilization": 50},
                    {"kind": "External", "name": "queue", "average": "30", "source": {"mean": 60, "swing": 0.5}},
                ],
                "scale_down": {"window": "1m", "policies": [{"type": "Pods", "value": 1, "period": "60s"}]},
                "flags": {"period": "30s"},
            }
        ],
    }  # fmt: skip
    (autoscaler,) = scenario_of(table).simulation.autoscalers
    assert autoscaler == HorizontalAutoscaler(
        "web", 2, 8,
        [Metric(utilization=50), Metric(kind="External", name="queue", average="30", source=Series(60, swing=0.5))],
        scale_down=ScalingBehavior(window="1m", policies=[Policy(type="Pods", value=1, period="60s")]),
        flags=AutoscalerFlags(period="30s"),
    )  # fmt: skip
    for change, message in (
        ({"min_replicas": 9}, r"scenario, \[\[autoscaler\]\] 1: .*min_replicas=9 is above max_replicas=8"),
        ({"kind": "horizonal"}, "unknown kind 'horizonal'; did you mean 'horizontal'"),
        ({"max_replica": 3}, "unknown key 'max_replica'; did you mean 'max_replicas'"),
    ):
        with pytest.raises(InputError, match=message):
            scenario_of({**table, "autoscaler": [{**table["autoscaler"][0], **change}]})


@pytest.mark.long
def test_two_hundred_autoscalers_of_a_week_cost_seconds():
    """Each decides 40,320 times; what a sync costs is measured, not the week's pods."""
    import time

    from k8slab.simulation.autoscalers import build_autoscalers
    from k8slab.simulation.engine import new_world

    cluster = k8slab.Cluster.synthetic(nodes=500, seed=0)
    parts = [deployment(f"d{n}", load=Load(str(2 + n % 5), swing=0.6, peak=f"{n % 24}h")) for n in range(200)]
    world = new_world(cluster, parts, k8slab.policy("kube-default"), 0, 3600 * S)
    build_autoscalers([HorizontalAutoscaler(f"d{n}", 2, 40) for n in range(200)], world)
    world.calendar.run_until(3600 * S)
    (scaler,) = [one for one in world.calendar.controllers if one.name == "horizontal-autoscaler"]
    cost = []
    for _ in range(5):
        began = time.process_time()
        for number in range(200):
            scaler.run_once(world.clock.now() + number * 15 * S)
        cost.append((time.process_time() - began) / 200)
    assert len(world.workloads.members()[0]) > 1500
    assert sorted(cost)[2] * 40_320 < 30
