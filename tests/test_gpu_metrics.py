"""What is said of the GPUs of any placement: equal to the study's own numbers, and right by hand."""

from __future__ import annotations

import numpy as np
import pytest

import k8slab
from k8slab.analysis.gpu import fragmentation_curve, gpu_classes, gpu_curves, gpu_failures
from k8slab.errors import InputError
from k8slab.experiments.fgd_run import run_fgd
from k8slab.experiments.fgd_trace import read_trace
from tests.test_gpu_policies import cluster_of, workload_of


@pytest.mark.parametrize(("label", "name"), [("06-FGD", "fgd"), ("04-GpuPacking", "fgd-gpu-packing")])
def test_they_are_the_studys_numbers(label, name):
    trace = read_trace(None, "default")
    arrivals = trace.arrivals(42)
    cluster, workload = k8slab.datasets.openb()
    frame = cluster.to_frame().set_index("node").loc[[trace.node_names[i] for i in arrivals.node_rows]].reset_index()
    row = {pod: i for i, pod in enumerate(workload.names)}
    count = len(workload)
    order = [row[trace.pod_names[i]] for i in arrivals.pod_rows[:count]]
    placement = k8slab.schedule(k8slab.Cluster.from_frame(frame), workload, name, order=order)
    curve, run = gpu_curves(placement), run_fgd(trace, label, 42, arrivals)
    milli = trace.gpus * 1000
    assert np.allclose(curve["arrived_percent"], 100 * run.arrived[:count] / milli)
    assert np.allclose(curve["allocated_percent"], 100 * run.used[:count] / milli)
    assert np.allclose(curve["fragmented_percent"], 100 * run.fragmented[:count] / milli)
    assert curve["pod"].tolist() == [workload.names[i] for i in order]
    failures = gpu_failures(placement)
    assert failures["pods"].sum() == run.failed[:count].sum()
    assert failures["pods"].is_monotonic_decreasing
    classes = gpu_classes(placement)
    fragmented = classes.loc[classes["class"] != "q3_satisfied", "of_idle_percent"].sum()
    assert fragmented == pytest.approx(curve["fragmented_of_idle_percent"].iloc[-1])
    assert classes["gpus"].sum() == pytest.approx((milli - run.used[count - 1]) / 1000)


def test_by_hand():
    """Typical is the pod of 600: after the first, 400 are left that it can't use, and the second changes nothing."""
    cluster = cluster_of([(64_000, 9, 1, 0)])
    placement = k8slab.schedule(cluster, workload_of([(0, 600, 1, "")], [(0, 0)] * 2), "fgd")
    curve = gpu_curves(placement).drop(columns="pod")
    assert curve.to_numpy().tolist() == [[60.0, 60.0, 40.0, 100.0], [120.0, 60.0, 40.0, 100.0]]
    assert gpu_failures(placement).to_numpy().tolist() == [[0, 600, 1, "", 1]]
    lacking = gpu_classes(placement).set_index("class")["gpus"]
    assert lacking["q2_lack_gpu"] == pytest.approx(0.4)


def test_a_policy_that_does_not_tell_devices_apart_is_measured_too():
    cluster = cluster_of([(64_000, 9, 2, 0)])
    workload = workload_of([(0, 600, 1, ""), (0, 500, 1, "")], [(0, 0), (0, 0), (1, 0)])
    curve = gpu_curves(k8slab.schedule(cluster, workload, "best-fit"))
    assert curve["allocated_percent"].tolist() == [30.0, 60.0, 85.0]


def test_the_plot_shows_the_curves():
    cluster, workload = cluster_of([(64_000, 9, 2, 0)]), workload_of([(0, 600, 1, "")], [(0, 0)] * 4)
    placements = {name: k8slab.schedule(cluster, workload, name) for name in ("fgd", "fgd-best-fit")}
    ax = fragmentation_curve(placements)
    for line, placement in zip(ax.get_lines(), placements.values(), strict=True):
        assert line.get_ydata().tolist() == gpu_curves(placement)["fragmented_percent"].tolist()


def test_a_cluster_without_gpus_is_refused():
    placement = k8slab.schedule(k8slab.Cluster.synthetic(3), k8slab.Workload.synthetic(5), "best-fit")
    with pytest.raises(InputError, match="the cluster has no GPUs"):
        gpu_curves(placement)
