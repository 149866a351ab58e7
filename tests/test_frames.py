"""The dictionary of frames: what it accepts, what it refuses, and the frames of analysis themselves."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import k8slab
from k8slab import raft
from k8slab.analysis import gpu
from k8slab.analysis.frames import FRAMES, check_frame, describe
from k8slab.analysis.utilization import stranded, utilization_over_time, utilization_quantiles
from k8slab.application import QueuedScheduler, SchedulingQueue
from k8slab.application.vertical_recommender import VerticalRecommender
from k8slab.domain.columns import Codes
from k8slab.domain.queueing import PodInfo
from k8slab.errors import UnknownName
from k8slab.experiments.conformance import CaseResult, Conformance, suite
from k8slab.experiments.reproduce import reproduce_fgd
from k8slab.experiments.what_if import weight_flips
from k8slab.infrastructure.clocks import VirtualClock
from k8slab.simulation.instance_catalogue import InstanceCatalogue
from tests.test_detection import small_run
from tests.test_store import stored_run
from tests.test_utilization import small_placement

DIFFERENCES = {
    "policy": ["fgd"],
    "baseline": ["best-fit"],
    "metric": ["placed"],
    "difference": [1.5],
    "low": [-1.0],
    "high": [4.0],
    "p_value": [0.4],
    "distinguishable": [False],
    "verdict": ["not distinguishable"],
}


def test_every_column_says_what_it_is() -> None:
    for kind, columns in FRAMES.items():
        assert len({column.name for column in columns}) == len(columns), kind
        for column in columns:
            assert column.dtype in ("int64", "float64", "bool", "string", "any"), (kind, column)
            assert column.meaning, (kind, column)
            assert column.unit or column.dtype not in ("float64",) or "p_value" in column.name, (kind, column)


def test_units_stand_in_the_names() -> None:
    for columns in FRAMES.values():
        for column in columns:
            if column.unit in ("percent", "ns"):
                assert column.name.endswith(f"_{column.unit}"), column.name


def test_a_frame_as_written_passes() -> None:
    check_frame("comparison.differences", pd.DataFrame(DIFFERENCES))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"policy": None}, "wants"),
        ({"extra": [1]}, "'extra' is not in the dictionary"),
        ({"distinguishable": [0]}, "distinguishable is int64, wants bool"),
        ({"metric": [7]}, "metric is int64, wants string"),
    ],
)
def test_a_frame_that_is_not_as_written_fails(change: dict[str, list[object] | None], complaint: str) -> None:
    columns = {name: values for name, values in {**DIFFERENCES, **change}.items() if values is not None}
    with pytest.raises(AssertionError, match=complaint):
        check_frame("comparison.differences", pd.DataFrame(columns))


def test_order_of_columns_is_part_of_the_promise() -> None:
    with pytest.raises(AssertionError, match="wants"):
        check_frame("comparison.differences", pd.DataFrame(DIFFERENCES)[list(reversed(DIFFERENCES))])


def test_resource_columns_are_told_from_others() -> None:
    cluster = {
        "node": ["a"],
        "zone": ["z"],
        "cpu_milli": [1],
        "nvidia.com/gpu": [2],
        "state": ["ready"],
        "taints": [""],
        "label:example.com/team": ["x"],
        "array:watts": [1.5],
    }
    check_frame("cluster", pd.DataFrame(cluster))
    with pytest.raises(AssertionError, match="'cpu' is not in the dictionary"):
        check_frame("cluster", pd.DataFrame({**cluster, "cpu": [1]}))


def test_describe_is_a_table_and_names_the_nearest_kind() -> None:
    assert list(describe("placement")["column"])[:2] == ["pod", "node"]
    with pytest.raises(UnknownName, match=r"did you mean 'placement'"):
        describe("placment")


@functools.cache
def public_frames() -> Mapping[str, Any]:
    """Every public frame, from a run in which a pod finds no node."""
    small = small_placement()
    placement = k8slab.schedule(small.cluster, small.workload)
    other = k8slab.schedule(small.cluster, small.workload, "best-fit")
    comparison = k8slab.compare(small.cluster, small.workload, ["best-fit", "random"], range(2), progress=False)
    two = k8slab.Workload.of(["low", "high"], [[1, 1, 1]] * 2, priority=np.array([0, 9], dtype=np.int32))
    crowded = k8slab.schedule(k8slab.Cluster.of(["n"], [[1], [1], [1]]), two)
    pods = np.array([[1000, 2**30, 1]]), np.array([0]), np.array([5])
    count = {("NodePorts", "verdicts"): 2}
    case = CaseResult("ports", "ports-0", (), passed=True)
    conformance = Conformance(suite("kube-scheduler"), (case,), count, count, {})
    queue = SchedulingQueue(VirtualClock())
    queue.add(PodInfo("web"))
    clock = VirtualClock()
    state = small.cluster.new_state(clock=clock)
    state.add_pods(["web"], np.zeros((1, len(state.schema)), dtype=np.int64))
    scheduler = QueuedScheduler(state, "kube-default", SchedulingQueue(clock), clock)
    scheduler.run()
    return {
        "cluster": small.cluster.with_arrays(watts=[1.0, 2.0, 3.0, 4.0]).to_frame(),
        "workload": small.workload.to_frame(),
        "placement": placement.to_frame(),
        "utilization.node": placement.utilization(),
        "utilization.zone": placement.utilization("zone"),
        "utilization.namespace": placement.utilization("namespace"),
        "utilization.node_label": placement.utilization("disk"),
        "utilization.pod_label": placement.utilization("app"),
        "utilization.quantiles": utilization_quantiles(placement),
        "utilization.over_time": utilization_over_time(
            *pods, [0, 10], group=Codes.of(["web"]), allocatable=np.array([[4000], [2**32], [0]])
        ),
        "stranded": stranded(placement),
        "unschedulable": placement.unschedulable(),
        "preempted": crowded.preempted(),
        "weight_flips": weight_flips(placement),
        "what_if": k8slab.what_if(small.cluster, small.workload, {"a": {}, "b": {"seed": 1}}).frame,
        "smallest_change": placement.explain(placement.unschedulable()["first_pod"][0]).smallest_change().frame,
        "explanation": placement.explain("a").frame,
        "diff": placement.diff(other).frame,
        "comparison.frame": comparison.frame,
        "comparison.curves": comparison.curves,
        "comparison.timings": comparison.timings,
        "comparison.summary": comparison.summary(),
        "comparison.differences": comparison.differences(),
        "conformance.frame": conformance.frame,
        "conformance.agreement": conformance.agreement,
        "journal": placement.state().journal.to_frame(),
        "scheduling_queue": queue.to_frame(),
        "scheduling_attempts": scheduler.to_frame(),
        **reproduced_frames(),
        **gpu_frames(),
        **raft_frames(),
        **scaling_frames(),
        **healed_frames(),
        **living_frames(),
        **elastic_frames(),
        "instance_types": InstanceCatalogue.example().to_frame(),
    }


def gpu_frames() -> dict[str, Any]:
    """A node with one GPU, and two pods that want it."""
    cluster = k8slab.Cluster.from_frame({"node": ["n"], "cpu_milli": [9], "memory_bytes": [9], "gpu_milli": [1000]})
    pods = {"pod": ["a", "b"], "cpu_milli": [1, 1], "memory_bytes": [1, 1], "gpu_milli": [600, 600]}
    placement = k8slab.schedule(cluster, k8slab.Workload.from_frame(pods), "fgd")
    return {f"gpu.{name}": getattr(gpu, f"gpu_{name}")(placement) for name in ("curves", "classes", "failures")}


def scaling_frames() -> dict[str, Any]:
    """An hour in which a deployment has too few pods for its load."""
    from k8slab.simulation.autoscalers import HorizontalAutoscaler
    from k8slab.simulation.usage import Load
    from k8slab.simulation.workloads import Deployment

    web = Deployment("web", {"cpu": "500m", "memory": "1Gi"}, load=Load("2"))
    run = k8slab.Simulation(
        k8slab.Cluster.synthetic(nodes=3, seed=0), web, autoscalers=[HorizontalAutoscaler("web")]
    ).run(until="1h")
    return {"run_scaling": run.frames.scaling, "run_autoscaling": run.frames.autoscaling}


def elastic_frames() -> dict[str, Any]:
    """An hour in which a deployment asks for more nodes than there are."""
    from k8slab.simulation import ClusterAutoscaler, Deployment, NodeGroup, VerticalAutoscaler, cluster_of

    kind = InstanceCatalogue.example()["general-4"]
    groups = [NodeGroup(name="web", instance_type=kind, initial=1, max_size=3)]
    web = Deployment("web", {"cpu": "1", "memory": "1Gi"}, replicas=9)
    sizes = VerticalAutoscaler("web", "in-place", max_allowed={"cpu": "500m"})
    autoscalers = [ClusterAutoscaler(groups=groups), sizes]
    run = k8slab.Simulation(cluster_of(groups), web, autoscalers=autoscalers).run(until="1h")
    kinds = ("node_scaling", "node_groups", "node_intervals", "right_sizing")
    other = ClusterAutoscaler(groups=groups, expander="random", name="random")
    back = k8slab.backtest(run, [ClusterAutoscaler(groups=groups), other], seeds=range(2), progress=False)
    return {
        **{f"run_{name}": run.frames[name] for name in kinds},
        **moving_frames(),
        "run_disruptions": disruptions_frame(),
        "backtest": back.frame, "backtest.summary": back.summary(), "backtest.differences": back.differences(),
    }  # fmt: skip


def disruptions_frame() -> Any:
    """A node that goes as another holds its pods, and one that stays."""
    from k8slab.simulation import Deployment, Karpenter, NodePool, cluster_of

    autoscaler = Karpenter(node_pools=[NodePool(instance_types=["general-8"], initial={"general-8": 2})])
    web = Deployment("web", {"cpu": "1", "memory": "1Gi"}, replicas=4)
    return k8slab.Simulation(cluster_of(autoscaler.groups), web, autoscalers=[autoscaler]).run("5m").frames.disruptions


def moving_frames() -> dict[str, Any]:
    """What a recommender says that knows nothing, which of two nodes could go, and pods that move and come back."""
    from k8slab.simulation import Deployment, Descheduler

    pair = k8slab.Cluster.of(["a", "b"], [[9000, 9000], [9, 9], [9, 9]])
    web = Deployment("web", {"cpu": "1", "memory": 1}, replicas=4)
    again = Descheduler(strategies=["RemoveDuplicates"])
    run = k8slab.Simulation(pair, web, autoscalers=[again], policy="most-allocated").run(until="7m")
    two = k8slab.Cluster.of(["a", "b"], [[2, 2], [2, 2], [2, 2]])
    placed = k8slab.schedule(two, k8slab.Workload.of(["p", "q"], [[1, 1, 1]] * 2), "least-allocated")
    found = k8slab.removable_nodes(placed, bare_pods_move=True, progress=False)
    return {
        **{f"run_{name}": run.frames[name] for name in ("descheduling", "descheduled")},
        "recommendations": VerticalRecommender(1, 1).recommend().to_frame(["web"]),
        "removable_nodes": found.frame, "removable_nodes.moves": found.moves,
    }  # fmt: skip


def living_frames() -> dict[str, Any]:
    """An hour of a deployment that asks too much, and the same under another policy."""
    from k8slab.simulation.workloads import Deployment

    web = Deployment("web", {"cpu": "20", "memory": "1Gi"}, replicas=9)
    run = k8slab.Simulation(k8slab.Cluster.synthetic(nodes=3, seed=0), web).run(until="1h")
    other = run.counterfactual(policy="most-allocated")
    return {
        **{f"run_{name}": run.frames[name] for name in ("pods", "nodes", "utilization", "events")},
        "run_summary": run.summary(), "counterfactual": other.frame, "counterfactual_pods": other.pods(),
    }  # fmt: skip


def raft_frames() -> dict[str, Any]:
    """A leader that crashes while a client writes; elections, writes and an ablation of a few trials each."""
    write = raft.Request(500 * raft.MS, client=1, kind="put", key="x", value=7)
    run = raft.RaftLab(3, seed=2).run(write, raft.Crash(700 * raft.MS, raft.LEADER, down_ns=400 * raft.MS))
    kinds = (
        "events", "roles", "elections", "messages", "commits", "operations", "leadership", "commit_latency",
    )  # fmt: skip
    return {
        **{f"raft.{kind}": getattr(run, kind)() for kind in kinds},
        "raft.trials": raft.after_crash((150, 300), trials=3).to_frame(),
        "raft.writes": raft.run_replication(raft.ReplicationSetup(), writes=3).to_frame(),
        "raft.ablation": raft.ablate_elections("loss", [0.1], trials=2, minutes=0.1, progress=False).frame,
    }


def reproduced_frames() -> dict[str, Any]:
    """Two runs of the FGD study on the embedded shapes, held against themselves."""
    with tempfile.TemporaryDirectory() as folder:
        result = reproduce_fgd(None, Path(folder), policies=["fgd"], seeds=[0, 1], progress=False)
    result = replace(result, published=result.curves, sources={"default": "a folder"})
    names = ("results", "curves", "failures", "differences")
    return {f"reproduction.{name}": getattr(result, name) for name in names}


def healed_frames() -> dict[str, Any]:
    """Two hours of a cluster in which a node dies and another falls silent."""
    run = small_run()
    kinds = ("healing", "health", "faults", "availability", "detectors", "detections")
    stored = stored_run()
    return {
        **{f"run_{kind}": run.frames[kind] for kind in kinds},
        **{f"run_{kind}": stored.frames[kind] for kind in ("commits", "leaderless")},
    }


@pytest.mark.parametrize("kind", FRAMES)
def test_every_public_frame_is_as_written(kind: str) -> None:
    frame = public_frames()[kind]
    check_frame(kind, frame)
    assert len(frame) or kind == "diff"


def test_usage_of_the_whole_over_time_has_no_group() -> None:
    pods = np.array([[1000, 2**30, 1]]), np.array([0]), np.array([5])
    frame = utilization_over_time(*pods, [0, 10, 20])
    check_frame("utilization.over_time", frame)
    assert frame["cpu_requested_milli"].tolist() == [500.0, 0.0]
