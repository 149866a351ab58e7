"""What is said of the GPUs of any placement: equal to the study's own numbers, and right by hand."""

from __future__ import annotations

import numpy as np
import pytest

import k8slab
from k8slab.analysis.gpu import class_bars, failure_bars, gpu_classes, gpu_curve, gpu_curves, gpu_failures
from k8slab.errors import InputError, UnknownName
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


def placements():
    cluster, workload = cluster_of([(64_000, 9, 2, 0)]), workload_of([(0, 600, 1, ""), (0, 1000, 2, "")], [(0, 0)] * 4)
    return {name: k8slab.schedule(cluster, workload, name) for name in ("fgd", "fgd-best-fit")}


@pytest.mark.parametrize("column", ["allocated_percent", "fragmented_percent", "fragmented_of_idle_percent"])
def test_the_plot_shows_the_curves(column):
    ax = gpu_curve(placements(), column)
    for line, placement in zip(ax.get_lines(), placements().values(), strict=True):
        assert line.get_ydata().tolist() == gpu_curves(placement)[column].tolist()


def test_a_curve_that_is_none():
    with pytest.raises(UnknownName, match="unknown curve 'fragmented'; did you mean 'fragmented_percent'"):
        gpu_curve(placements(), "fragmented")


def test_the_bars_show_the_classes_and_the_failures():
    found = placements()
    ax = class_bars(found)
    for y, placement in enumerate(found.values()):
        idle = gpu_classes(placement)["gpus"].sum()
        ends = [bar.get_x() + bar.get_width() for bar in ax.patches if abs(bar.get_y() + 0.31 - y) < 0.1]
        assert max(ends) == pytest.approx(idle)
    ax = failure_bars(found["fgd"])
    assert [bar.get_width() for bar in ax.patches] == gpu_failures(found["fgd"])["pods"].tolist() == [2]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["0 cores, 0.6 of a GPU"]
    nothing = k8slab.schedule(cluster_of([(9, 9, 2, 0)]), workload_of([(0, 600, 1, "")], [(0, 0)]), "fgd")
    assert not failure_bars(nothing).patches


def test_a_cluster_without_gpus_is_refused():
    placement = k8slab.schedule(k8slab.Cluster.synthetic(3), k8slab.Workload.synthetic(5), "best-fit")
    with pytest.raises(InputError, match="the cluster has no GPUs"):
        gpu_curves(placement)
