"""Admission of every pod that enters a simulated cluster: quotas are charged, never exceeded, and given back."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import k8slab
from k8slab.errors import InputError
from k8slab.simulation import (
    DaemonSet,
    Deployment,
    Exponential,
    Job,
    LimitRange,
    Namespace,
    PodStream,
    Poisson,
    Quota,
)
from k8slab.simulation.autoscalers import HorizontalAutoscaler
from k8slab.simulation.usage import Load

CLUSTER = k8slab.Cluster.synthetic(nodes=6, seed=0)
ONE = {"cpu": "1", "memory": "1Gi"}


def simulated(parts, *namespaces, until="1h", **options):
    run = k8slab.Simulation(CLUSTER, parts, namespaces=namespaces, **options).run(until)
    run._world.state.check()
    return run


def refusals(run):
    events = run.frames.events
    return events[events["event"] == "FailedCreate"]["detail"].tolist()


def held_over_time(run, resource):
    """The most that pods which had come and hadn't ended requested together."""
    pods = run.frames.pods
    amount = np.ones(len(pods)) if resource == "pods" else pods[resource].to_numpy(float)
    end = np.where(pods["ended_s"].isna(), np.inf, pods["ended_s"])
    times = np.concatenate([pods["arrived_s"], end])
    change = np.concatenate([amount, -amount])
    order = np.lexsort((change, times))
    return np.cumsum(change[order]).max()


def test_a_deployment_gets_as_many_pods_as_its_quota_allows_and_says_so_once():
    quota = Namespace(quotas=[Quota(hard={"requests.cpu": "5", "pods": 8})])
    run = simulated(Deployment("web", ONE, replicas=9), quota)
    assert len(run.frames.pods) == 5
    assert refusals(run) == ["web: exceeded quota 'quota': requests.cpu"]
    used = run._world.parts["admission"].quotas("default")[0].used
    assert dict(used) == {"requests.cpu": Fraction(5), "pods": 5}


def test_room_that_comes_back_is_taken_at_once():
    quota = Namespace(quotas=[Quota(hard={"pods": 3})])
    jobs = Job("crunch", ONE, completions=6, parallelism=6, durations="10m")
    run = simulated(jobs, quota)
    pods = run.frames.pods
    assert pods["arrived_s"].tolist() == [0.0] * 3 + [600.0] * 3
    assert (pods["outcome"] == "succeeded").all()
    assert held_over_time(run, "pods") == 3


def test_another_namespace_enters_unasked():
    quota = Namespace(name="team", quotas=[Quota(hard={"pods": 1})])
    parts = [Deployment("a", ONE, replicas=4), Deployment("b", ONE, replicas=4, namespace="team")]
    assert simulated(parts, quota).frames.pods["workload"].value_counts().to_dict() == {"a": 4, "b": 1}


def test_a_scale_up_beyond_the_quota_stays_within_it():
    quota = Namespace(quotas=[Quota(hard={"requests.cpu": "4"})])
    web = Deployment("web", ONE, load=Load("10"))
    run = simulated(web, quota, autoscalers=[HorizontalAutoscaler("web")])
    assert held_over_time(run, "cpu_milli") == 4000
    assert run.frames.scaling["desired"].max() > 4


def test_daemon_sets_are_asked_too():
    quota = Namespace(quotas=[Quota(hard={"pods": 4})])
    assert len(simulated(DaemonSet("agent", ONE), quota).frames.pods) == 4


def test_limit_ranges_fill_in_and_refuse():
    limits = Namespace(limits=[LimitRange(default_request={"cpu": "250m"}, max={"memory": "2Gi"}, default={
        "memory": "2Gi"})])  # fmt: skip
    parts = [
        Deployment("light", {"memory": "1Gi"}, replicas=2),
        Deployment("heavy", {"cpu": "1", "memory": "3Gi"}, replicas=2),
    ]
    run = simulated(parts, limits)
    pods = run.frames.pods
    assert pods["workload"].tolist() == ["light", "light"]
    assert pods["cpu_milli"].tolist() == [250, 250]
    assert refusals(run) == [
        "heavy: a request of 3,221,225,472 memory, 2,147,483,648 at the most"
    ]


def test_a_limit_range_takes_what_it_does_not_say_from_what_it_does():
    rule = LimitRange(min={"cpu": "50m"}, max={"cpu": 8, "memory": "2Gi"}, default={"cpu": 2}).rule()
    assert rule.default == {"cpu": 2, "memory": 2 * 2**30}
    assert rule.default_request == {"cpu": 2, "memory": 2 * 2**30}
    assert LimitRange(min={"cpu": 1}).rule().default_request == {"cpu": 1}
    assert LimitRange(type="Pod", min={"cpu": 1}, max={"cpu": 8}).rule().default == {}
    # So pods without a limit enter where there is a greatest.
    bounds = Namespace(limits=[LimitRange(min={"cpu": "50m"}, max={"cpu": 8})])
    assert len(simulated(Deployment("web", ONE, replicas=3), bounds).frames.pods) == 3


def test_what_was_not_let_in_is_said():
    parts = [Deployment("web", ONE, replicas=3), Job("heavy", {"cpu": "9", "memory": "1Gi"})]
    run = simulated(parts, Namespace(quotas=[Quota(hard={"pods": 1})], limits=[LimitRange(max={"cpu": 8})]))
    told = run.metrics["pods_refused"][0]
    assert told == len(refusals(run)) > 0
    assert f" Admission let a pod not in {told} times: " in run.answer()
    assert "the most frequent of 2 reasons" in run.answer()
    free = simulated(parts[0], Namespace())
    assert free.metrics["pods_refused"] == (0, "count")
    assert "Admission" not in free.answer()


def test_pods_of_a_stream_and_of_a_trace_are_asked_and_filled():
    rules = Namespace(quotas=[Quota(hard={"requests.cpu": "3"})], limits=[LimitRange(default_request={"cpu": "1"})])
    trace = k8slab.Workload.from_frame({"pod": list("abcde"), "cpu": [0, 0, 0, 0, 2], "memory": ["1Gi"] * 5})
    run = simulated(trace, rules)
    assert run.frames.pods["pod"].tolist() == ["a", "b", "c"]
    assert run.frames.pods["cpu_milli"].tolist() == [1000] * 3
    assert refusals(run) == ["exceeded quota 'quota': requests.cpu"] * 2


def test_a_container_that_does_not_state_what_a_quota_tracks_is_refused():
    quota = Namespace(quotas=[Quota(hard={"requests.cpu": "3"})])
    run = simulated(Deployment("web", {"memory": "1Gi"}), quota)
    assert refusals(run) == ["web: failed quota 'quota': must specify requests.cpu for main"]


def test_quotas_of_a_priority_class():
    quota = Namespace(quotas=[Quota(hard={"pods": 1}, priority_classes=["high"])])
    parts = [Deployment("vip", ONE, replicas=3, priority=100), Deployment("plain", ONE, replicas=3)]
    run = simulated(parts, quota, priority_classes={"high": 100})
    assert run.frames.pods["workload"].value_counts().to_dict() == {"plain": 3, "vip": 1}


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 12), st.integers(500, 6000), st.integers(0, 5))
def test_no_quota_is_ever_exceeded(pods, cpu_milli, seed):
    quota = Namespace(quotas=[Quota(hard={"pods": pods, "requests.cpu": f"{cpu_milli}m"})])
    shapes = k8slab.Workload.from_frame({"pod": ["a", "b"], "cpu": ["500m", 2], "memory": ["1Gi", "2Gi"]})
    stream = PodStream("batch", shapes, Poisson("30s"), Exponential("5m"))
    run = simulated([stream, Deployment("web", ONE, replicas=2)], quota, until="30m", seed=seed)
    assert held_over_time(run, "pods") <= pods
    assert held_over_time(run, "cpu_milli") <= cpu_milli
    used = run._world.parts["admission"].quotas("default")[0].used
    alive = run.frames.pods[run.frames.pods["ended_s"].isna()]
    assert used["pods"] == len(alive)
    assert used["requests.cpu"] * 1000 == alive["cpu_milli"].sum()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Namespace(quotas=[Quota(hard={"pods": "many"})]), InputError,
         "namespace 'default': quota 'quota', pods"),
        (lambda: Namespace(quotas=[Quota(hard={"pods": -1})]), InputError, "pods: -1 is negative"),
        (lambda: Namespace(quotas=[Quota(hard={}, scopes=["BestEfort"])]), InputError, "did you mean 'BestEffort'"),
        (lambda: Namespace(quotas=[Quota(hard={}), Quota(hard={})]), InputError, "two quotas are named 'quota'"),
        (lambda: Namespace(limits=[LimitRange(min={"cpu": 2}, max={"cpu": 1})]), InputError,
         "min cpu 2 is above max 1"),
        (lambda: Namespace(limits=[LimitRange(type="Pot")]), InputError, "did you mean 'Pod'"),
        (lambda: simulated(Deployment("a", ONE), Namespace(), Namespace()), InputError, "two namespaces are named"),
        (lambda: simulated(Deployment("a", ONE), Namespace(), priority_classes={"x": 2**40}), InputError,
         "priority class 'x': 1099511627776; wanted a whole number within int32"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(make, error, message):
    with pytest.raises(error, match=message):
        make()
