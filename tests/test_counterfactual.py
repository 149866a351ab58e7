"""The same time lived otherwise: what stays as it was, and what pairs of runs can tell."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from k8slab import Cluster, Simulation, Workload
from k8slab.analysis.frames import check_frame
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError, Interrupted
from k8slab.experiments import counterfactual as module
from k8slab.experiments.statistics import bootstrap_mean
from k8slab.simulation import Deployment, DisruptionBudget, Drain, Exponential, Health, NodeFailures, PodStream, Poisson
from k8slab.simulation.autoscalers import HorizontalAutoscaler
from k8slab.simulation.namespaces import Namespace, Quota
from k8slab.simulation.usage import Load

CLUSTER = Cluster.synthetic(nodes=6, zones=2, seed=0)
SHAPES = Workload.synthetic(pods=20, classes=3, cluster=CLUSTER, seed=0)
PARTS = [
    PodStream("batch", SHAPES, Poisson("20s"), Exponential("10m")),
    Deployment("web", {"cpu": "500m", "memory": "256Mi"}, replicas=3, load=Load("3", swing=0.5, period="1h")),
]


@pytest.fixture(scope="module")
def run():
    return Simulation(
        CLUSTER, PARTS, seed=5,
        autoscalers=[HorizontalAutoscaler("web", 2, 9)],
        faults=[NodeFailures(mtbf="3h", repair="10m")],
        health=Health(
            budgets=[DisruptionBudget(name="web", workload="web", max_unavailable=1)],
            drains=[Drain(node="node-2", at="20m", uncordon="10m")],
        ),
        namespaces=[Namespace(quotas=[Quota(hard={"pods": 400})])],
    ).run("1h")  # fmt: skip


@pytest.fixture(scope="module")
def found(run):
    return run.counterfactual(policy="most-allocated", seeds=3)


def test_all_else_is_as_it_was(run, found):
    base, other = run.simulation, found.other.simulation
    assert (base.policy.name, other.policy.name) == ("kube-default", "most-allocated")
    for name in ("cluster", "parts", "autoscalers", "faults", "health", "store", "namespaces", "priority_classes"):
        assert getattr(base, name) == getattr(other, name), name
    assert (base.seed, found.other.until_ns) == (other.seed, run.until_ns)
    # The same nodes fail at the same times, the same pods come, and every loop is there.
    pd.testing.assert_frame_equal(run.frames.faults, found.other.frames.faults)
    arrived = [one.frames.pods.query("workload.isna()")[["pod", "arrived_s"]] for one in (run, found.other)]
    pd.testing.assert_frame_equal(*arrived)
    loops = [[loop.name for loop in one._world.calendar.controllers] for one in (run, found.other)]
    assert loops[0] == loops[1]
    assert {"admission", "node-health", "evictor", "drains"} <= set(loops[1])
    assert (found.other.frames.healing["action"] == "drain").any()


def test_differences_are_paired_by_seed(run, found):
    check_frame("counterfactual", found.frame)
    rows = found.frame.set_index("metric")
    assert (rows["pairs"] == 3).all()
    metric = "cpu_requested_mean"
    alone = [
        [Simulation(CLUSTER, PARTS, policy=policy, seed=seed, autoscalers=run.simulation.autoscalers,
                    faults=run.simulation.faults, health=run.simulation.health,
                    namespaces=run.simulation.namespaces).run("1h").metrics[metric][0] for seed in (5, 6, 7)]
        for policy in ("kube-default", "most-allocated")
    ]  # fmt: skip
    gaps = np.array(alone[1]) - np.array(alone[0])
    expected = bootstrap_mean(gaps)
    assert rows.loc[metric, ["base", "other"]].tolist() == [np.mean(alone[0]), np.mean(alone[1])]
    assert rows.loc[metric, ["difference", "low", "high"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    assert rows.loc[metric, "verdict"] == "too few seeds"
    assert rows.loc["pods_arrived", "verdict"] in ("equal", "too few seeds")
    assert "3 pairs" in repr(found)


def test_one_pair_alone_has_no_interval(run):
    same = run.counterfactual()
    assert (same.frame["difference"].fillna(0) == 0).all()
    assert set(same.frame["verdict"]) <= {"equal", ""}
    other = run.counterfactual(policy="most-allocated").frame
    assert other.query("verdict == 'too few seeds'")["low"].isna().all()
    with pytest.raises(InputError, match="seeds=0; wanted a whole number, 1 or more"):
        run.counterfactual(seeds=0)


def test_progress_counts_the_time_of_all_runs(run, monkeypatch):
    bars = []

    @contextmanager
    def recorded(label, total, *, show):
        class Bar:
            reached = 0

            def reach(self, done):
                assert done >= self.reached, "it goes back"
                self.reached = done

        bar = Bar()
        bars.append((label, total, show, bar))
        yield bar

    monkeypatch.setattr(module, "progress_bar", recorded)
    run.counterfactual(policy="most-allocated", seeds=2, progress=True)
    ((label, total, show, bar),) = bars
    assert (label, total, show) == ("3 runs of 1h", 3 * run.until_ns, True)
    # The last instant at which anything happened.
    assert 0.9 * total < bar.reached <= total


def test_ctrl_c_keeps_the_pairs_that_are_whole(run, monkeypatch):
    class Bar:
        def reach(self, done):
            if done > 1.5 * 3600 * SECOND_NS:
                os.kill(os.getpid(), signal.SIGINT)

    @contextmanager
    def pressing(label, total, *, show):
        yield Bar()

    monkeypatch.setattr(module, "progress_bar", pressing)
    with pytest.raises(Interrupted, match="after 1 of 4 pairs") as caught:
        run.counterfactual(policy="most-allocated", seeds=4)
    assert (caught.value.partial.frame["pairs"] == 1).all()
