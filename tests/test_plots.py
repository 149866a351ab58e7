"""Plots show the data they are given, name it with its units, and keep their hands off everything else."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection, QuadMesh

import k8slab
from k8slab.analysis import plots, style, utilization
from k8slab.analysis import stranded as stranded_frame
from k8slab.errors import InputError, UnknownName
from tests.test_utilization import small_placement

GIB = 2**30
CURVES = pd.DataFrame(
    [
        (policy, seed, float(arrived), min(float(arrived), limit + seed), 0.5 * arrived)
        for policy, limit in (("spread", 80.0), ("pack", 90.0))
        for seed in range(3)
        for arrived in range(0, 101, 5)
    ],
    columns=["policy", "seed", "arrived_percent", "gpu_allocated_percent", "cpu_allocated_percent"],
)
SUMMARY = pd.DataFrame(
    [
        ("spread", "gpu_allocated_percent", 81.0, 80.2, 81.8, 3),
        ("pack", "gpu_allocated_percent", 91.0, 90.1, 91.9, 3),
        ("spread", "nodes_used", 1213.0, 1213.0, 1213.0, 3),
        ("pack", "nodes_used", 1150.0, 1140.0, 1160.0, 3),
        ("spread", "stranded_cpu_percent", 12.0, 11.0, 13.0, 3),
        ("pack", "stranded_cpu_percent", 5.0, 4.0, 6.0, 3),
        ("spread", "stranded_gpu_percent", 9.0, 8.0, 10.0, 3),
        ("pack", "stranded_gpu_percent", 2.0, 1.0, 3.0, 3),
    ],
    columns=["policy", "metric", "mean", "low", "high", "seeds"],
)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def decision(**changes: Any) -> Any:
    """An explanation of three nodes and two plug-ins; the third node refused."""
    frame = pd.DataFrame(
        {
            "node": ["a", "b", "c"],
            "reason": [None, None, "Insufficient cpu, Insufficient gpu"],
            "total": [150.0, 148.0, np.nan],
            "Fit:weighted": [60.0, 63.0, np.nan],
            "Balance:weighted": [90.0, 85.0, np.nan],
        }
    )
    told = {"frame": frame, "pod": "web", "policy": "p", "chosen": "a", "runner_up": "b", "tied": 1}
    return SimpleNamespace(**{**told, **changes})


DRAWINGS = {
    "packing": lambda ax: plots.packing(small_placement(), ax=ax),
    "heatmap": lambda ax: plots.heatmap(small_placement(), ax=ax),
    "utilization": lambda ax: plots.utilization_distribution(small_placement(), ax=ax),
    "stranding": lambda ax: plots.stranding_distribution(small_placement(), ax=ax),
    "allocation": lambda ax: plots.allocation_curve(CURVES, ax=ax),
    "policies": lambda ax: plots.policy_comparison(SUMMARY, ax=ax),
    "stranding_comparison": lambda ax: plots.stranding_comparison(SUMMARY, ax=ax),
    "waterfall": lambda ax: plots.waterfall(decision(), ax=ax),
    "no_node": lambda ax: plots.waterfall(decision(chosen=None, runner_up=None), ax=ax),
}


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def legend_texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_plot_is_titled_labelled_and_leaves_settings_alone(name: str) -> None:
    before = dict(mpl.rcParams)
    ax = DRAWINGS[name](None)
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert ax.get_ylabel() or len(ax.get_yticklabels()) >= 2, "a bare vertical axis must name what stands on it"
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_plot_draws_on_the_axes_it_is_given(name: str) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert DRAWINGS[name](right) is right
    assert not left.has_data()
    assert right.has_data()
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", DRAWINGS)
def test_legends_stand_beside_the_data_and_inside_the_picture(name: str) -> None:
    ax = DRAWINGS[name](None)
    ax.figure.canvas.draw()
    if ax.get_legend() is not None:
        box, data = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert box.x0 >= data.x1
        assert box.x1 <= ax.figure.bbox.x1 + 1


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_text_lies_on_another(name: str) -> None:
    ax = DRAWINGS[name](None)
    ax.figure.canvas.draw()
    shown = [*ax.texts, ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown if text.get_text()]
    overlaps = [
        (one, other)
        for i, (one, first) in enumerate(boxes)
        for other, second in boxes[i + 1 :]
        if first.overlaps(second)
    ]
    assert not overlaps


def test_packing_stacks_what_the_pods_request() -> None:
    placement = small_placement()
    ax = plots.packing(placement)
    (blocks,) = [drawn for drawn in ax.collections if isinstance(drawn, PolyCollection)]
    corners = [path.vertices for path in blocks.get_paths()]
    stacked: dict[int, float] = {}
    for block in corners:
        assert block[:, 1].min() == pytest.approx(stacked.get(round(block[:, 0].mean()), 0.0))
        stacked[round(block[:, 0].mean())] = block[:, 1].max()
    # n1 is half full with one pod of 2 cores; n0 holds 1 + 0.5 + 0.25 of 4.
    assert stacked == {0: pytest.approx(2.0), 1: pytest.approx(1.75)}
    assert len(corners) == 4
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["n1", "n0", "n3", "n2"]
    assert ax.get_ylabel() == "CPU (cores)"
    assert ax.get_xlabel() == "4 nodes, fullest first"


def test_packing_hatches_what_is_stranded_and_greys_what_no_pod_explains() -> None:
    placement = small_placement()
    ax = plots.packing(placement, resource="memory")
    _, lost, foreign, outline = ax.containers
    order = ["n0", "n1", "n3", "n2"]
    frame = stranded_frame(placement).set_index("node").loc[order]
    assert [bar.get_height() for bar in lost] == (frame["memory_stranded_bytes"] / GIB).tolist()
    assert all(bar.get_hatch() for bar in lost)
    tops = [bar.get_y() + bar.get_height() for bar in lost]
    assert tops == pytest.approx([bar.get_height() for bar in outline])
    assert [bar.get_height() for bar in foreign] == [0.0, 0.0, 1.0, 0.0]
    assert ax.get_ylabel() == "memory (GiB)"
    assert "free, stranded" in legend_texts(ax)
    assert "no known pod's" in legend_texts(ax)


def test_packing_shows_few_of_many_nodes_and_refuses_what_isnt_there() -> None:
    cluster = k8slab.Cluster.synthetic(100)
    placement = k8slab.schedule(cluster, k8slab.Workload.synthetic(300, cluster=cluster), "first-fit")
    ax = placement.plot.packing(nodes=10)
    assert ax.get_xlabel() == "10 of 100 nodes, fullest first"
    assert len(ax.containers[0]) == 10
    with pytest.raises(UnknownName, match="did you mean 'memory'"):
        placement.plot.packing(resource="memroy")
    with pytest.raises(InputError, match="one node or more"):
        placement.plot.packing(nodes=0)


def test_heatmap_cells_are_the_nodes_utilization() -> None:
    placement = small_placement()
    ax = plots.heatmap(placement)
    (mesh,) = [drawn for drawn in ax.collections if isinstance(drawn, QuadMesh)]
    frame = utilization(placement).set_index("node").loc[["n1", "n0", "n3", "n2"]]
    shown = np.ma.filled(mesh.get_array(), np.nan)
    for row, column in enumerate(("cpu", "memory", "gpu")):
        np.testing.assert_array_equal(shown[row], frame[f"{column}_utilization_percent"])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["CPU", "memory", "GPU"]
    assert [text for text in texts(ax) if text.endswith("%")] == ["16.0 %", "28.1 %", "0.0 %"]
    assert "% of allocatable" in [other.get_ylabel() for other in ax.figure.axes]


def test_heatmap_of_many_nodes_means_several() -> None:
    cluster = k8slab.Cluster.synthetic(1000)
    ax = k8slab.schedule(cluster, k8slab.Workload.synthetic(500, cluster=cluster), "first-fit").plot.heatmap()
    (mesh,) = [drawn for drawn in ax.collections if isinstance(drawn, QuadMesh)]
    assert mesh.get_array().shape == (2, 160)
    assert any("A column is up to 7 nodes." in text for text in texts(ax))


def test_distribution_steps_at_each_nodes_value() -> None:
    ax = plots.utilization_distribution(small_placement())
    assert legend_texts(ax) == ["CPU", "memory", "GPU"]
    x, y = ax.lines[0].get_data()
    assert x.tolist() == [0.0, 0.0, 1.25, 43.75, 50.0, 100.0]
    assert y.tolist() == [0.0, 25.0, 50.0, 75.0, 100.0, 100.0]


def test_distributions_of_several_placements_are_named() -> None:
    several = {"mine": small_placement(), "yours": small_placement()}
    assert legend_texts(plots.stranding_distribution(several, "cpu")) == ["mine", "yours"]
    first, second = small_placement(), small_placement()
    first.policy, second.policy, second.seed = SimpleNamespace(name="pack"), SimpleNamespace(name="pack"), 7
    ax = plots.utilization_distribution([first, second])
    assert legend_texts(ax) == ["pack", "pack, seed 7"]
    assert ax.get_title(loc="left") == "How full the nodes are: memory"
    with pytest.raises(InputError, match="no placements"):
        plots.utilization_distribution([])
    with pytest.raises(UnknownName, match="did you mean 'gpu'"):
        plots.utilization_distribution(small_placement(), "gpus")


def test_allocation_curve_draws_means_and_bands() -> None:
    ax = plots.allocation_curve(CURVES, full=True)
    spread, pack, all_arrived = ax.lines
    assert (spread.get_label(), pack.get_label()) == ("spread", "pack")
    wanted = CURVES[CURVES["policy"] == "spread"].groupby("arrived_percent")["gpu_allocated_percent"].mean()
    np.testing.assert_allclose(spread.get_data(), [wanted.index, wanted])
    np.testing.assert_array_equal(*all_arrived.get_data())
    assert legend_texts(ax) == ["pack", "spread", "all that arrived"]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 100.0, 1].min() == 80.0
    assert band[band[:, 0] == 100.0, 1].max() == 82.0
    assert ax.get_ylabel() == "GPU allocated (% of allocatable)"


def test_allocation_curve_starts_where_policies_part() -> None:
    assert plots.allocation_curve(CURVES).lines[0].get_xdata()[0] == 85.0
    assert plots.allocation_curve(CURVES, "cpu").lines[0].get_xdata()[0] == 0.0
    with pytest.raises(UnknownName, match="resource 'gpus'; did you mean 'gpu'"):
        plots.allocation_curve(CURVES, "gpus")


def test_policies_stand_best_first_with_intervals() -> None:
    ax = plots.policy_comparison(SUMMARY)
    assert ax.get_xlabel() == "GPU allocated (% of allocatable)"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["pack", "spread"]
    assert ax.lines[0].get_xdata().tolist() == [91.0, 81.0]
    assert [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()] == [[90.1, 91.9], [80.2, 81.8]]
    assert texts(ax)[:2] == ["91.00", "81.00"]
    fewer = plots.policy_comparison(SUMMARY, "nodes_used")
    assert fewer.lines[0].get_xdata().tolist() == [1150.0, 1213.0]
    with pytest.raises(UnknownName, match="did you mean 'nodes_used'"):
        plots.policy_comparison(SUMMARY, "nodes_use")


def test_stranding_of_policies_shows_every_resource() -> None:
    ax = plots.stranding_comparison(SUMMARY)
    assert legend_texts(ax) == ["CPU", "GPU"]
    assert [line.get_xdata().tolist() for line in ax.lines] == [[5.0, 12.0], [2.0, 9.0]]
    with pytest.raises(InputError, match="no stranded"):
        plots.stranding_comparison(SUMMARY[:2])


def test_waterfall_adds_up_to_the_totals() -> None:
    ax = plots.waterfall(decision())
    chosen, runner_up = ax.containers
    assert [(bar.get_x(), bar.get_width()) for bar in chosen] == [(0, 60), (60, 90), (0, 150)]
    assert [(bar.get_x(), bar.get_width()) for bar in runner_up] == [(0, 63), (63, 85), (0, 148)]
    assert legend_texts(ax) == ["a (chosen)", "b (runner-up)"]
    assert [text for text in texts(ax) if text[0] in "+\N{MINUS SIGN}"] == ["\N{MINUS SIGN}3", "+5", "+2"]
    assert "It leads the runner-up by 2 points." in texts(ax)


def kube_decision(node: str = "") -> Any:
    """All that kube-default scores, on two nodes; two plug-ins had nothing to say, one gave neither node a point."""
    weighted = {
        "TaintToleration": (300.0, 300.0),
        "NodeAffinity": (200.0, 0.0),
        "PodTopologySpread": (np.nan, np.nan),
        "InterPodAffinity": (np.nan, np.nan),
        "NodeResourcesFit": (61.0, 74.0),
        "NodeResourcesBalancedAllocation": (88.0, 96.0),
        "ImageLocality": (0.0, 0.0),
    }
    columns = {f"{name}:weighted": [*scores, np.nan] for name, scores in weighted.items()}
    nodes = [f"{name}{node}" for name in "abc"]
    frame = pd.DataFrame({"node": nodes, "reason": [None, None, "x"], "total": [649.0, 470.0, np.nan], **columns})
    return decision(frame=frame, chosen=nodes[0], runner_up=nodes[1])


def test_waterfall_leaves_out_what_gave_neither_node_a_point() -> None:
    ax = plots.waterfall(kube_decision())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "TaintToleration", "NodeAffinity", "NodeResourcesFit", "NodeResourcesBalancedAllocation", "total",
    ]  # fmt: skip
    chosen, runner_up = ax.containers
    assert [bar.get_width() for bar in chosen] == [300, 200, 61, 88, 649]
    assert [bar.get_width() for bar in runner_up] == [300, 0, 74, 96, 470]
    assert [bar.get_x() for bar in runner_up] == [0, 300, 300, 374, 0]


@pytest.mark.parametrize("node", ["", "-10-0-1-12.eu-west-1.compute.internal"])
def test_waterfall_leaves_its_bars_room_beside_long_names(node: str) -> None:
    ax = plots.waterfall(kube_decision(node))
    ax.figure.canvas.draw()
    inches = ax.get_window_extent().width / ax.figure.dpi
    assert inches > 3.5
    labels = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(label.x0 >= 0 and label.x1 < ax.get_window_extent().x0 for label in labels)


def test_waterfall_of_one_point() -> None:
    frame = decision().frame.assign(total=[150.0, 149.0, np.nan])
    assert "It leads the runner-up by 1 point." in texts(plots.waterfall(decision(frame=frame)))


def test_a_node_that_others_had_to_leave_shows_what_was_in_the_way() -> None:
    frame = decision().frame.assign(total=np.nan, reason=["Insufficient cpu"] * 3)
    ax = plots.waterfall(decision(frame=frame, runner_up=None))
    assert ax.get_title(loc="left") == "Why web found a only when others had to go"
    assert [bar.get_width() for bar in ax.containers[0]] == [3]


def test_waterfall_without_a_runner_up_or_a_node() -> None:
    alone = plots.waterfall(decision(runner_up=None))
    assert legend_texts(alone) == ["a (chosen)"]
    refused = plots.waterfall(decision(chosen=None, runner_up=None))
    assert [bar.get_width() for bar in refused.containers[0]] == [1, 1]
    assert [tick.get_text() for tick in refused.get_yticklabels()] == ["Insufficient cpu", "Insufficient gpu"]
    assert refused.get_xlabel() == "nodes that refused it, of 3"


def test_results_carry_their_plots() -> None:
    cluster = k8slab.Cluster.synthetic(9)
    workload = k8slab.Workload.synthetic(40, cluster=cluster)
    placement = k8slab.schedule(cluster, workload)
    for draw in (placement.plot.packing, placement.plot.heatmap, placement.plot.utilization, placement.plot.stranding):
        assert draw().has_data()
        assert draw.__doc__
    assert placement.explain(5).plot().has_data()
    assert k8slab.schedule(cluster, workload, "first-fit").explain(5).plot().get_title(loc="left")
    comparison = k8slab.compare(cluster, workload, ["best-fit", "random"], range(2), progress=False)
    for draw in (comparison.plot.allocation, comparison.plot.policies, comparison.plot.stranding):
        assert draw().has_data()
        assert draw.__doc__
    assert ".packing()" in repr(placement.plot)
    assert ".policies()" in repr(comparison.plot)


def test_lines_differ_without_colour() -> None:
    looks = [(str(style.line(i)), str(style.marks(i, 100)["marker"])) for i in range(28)]
    assert len(set(looks)) == 28
    for one, other in zip(range(27), range(1, 28), strict=True):
        assert style.line(one)["linestyle"] != style.line(other)["linestyle"]


def test_metrics_in_words() -> None:
    assert plots.metric_name("memory_allocated_percent") == "memory allocated (% of allocatable)"
    assert plots.metric_name("stranded_gpu_percent", unit=False) == "GPU stranded"
    assert plots.metric_name("placed") == "pods placed"
    assert plots.metric_name("my_own") == "my_own"
