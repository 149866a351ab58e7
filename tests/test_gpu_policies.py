"""The FGD study's policies as policies like any other: on any cluster, by either path, beside the others."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import k8slab
from k8slab.datasets import Cluster, Workload
from k8slab.errors import InputError
from k8slab.experiments.fgd_run import POLICIES, run_fgd
from k8slab.experiments.fgd_trace import read_trace
from k8slab.experiments.placement import columns
from k8slab.policies import gpu_policy_names, plugins, policy
from tests import naive_gpu as naive
from tests.test_gpu_kernels import CASES, MODELS, pod_of, typical_of

SCORED = {label: name for label, name in POLICIES.items() if label != "01-Random"}


def cluster_of(rows, resource="gpu_milli", unit=1000):
    """rows : [(cpu, memory, devices, model)]"""
    cpu, memory, devices, model = zip(*rows, strict=True)
    frame = {"node": [f"n-{i}" for i in range(len(rows))], "cpu_milli": cpu, "memory_bytes": memory, "pods": 99,
             resource: [unit * n for n in devices], "label:gpu-model": [MODELS[m] for m in model]}
    return Cluster.from_frame(pd.DataFrame(frame))


def workload_of(shapes, pods, resource="gpu_milli", unit=1):
    asked = [(shapes[s], memory) for s, memory in pods]
    frame = {"pod": [f"p-{i}" for i in range(len(pods))], "cpu_milli": [shape[0] for shape, _ in asked],
             "memory_bytes": [memory for _, memory in asked],
             resource: [shape[1] * shape[2] // unit for shape, _ in asked],
             "label:gpu-spec": [shape[3] or None for shape, _ in asked]}
    return Workload.from_frame(pd.DataFrame(frame))


@pytest.mark.parametrize(("label", "name"), SCORED.items())
@settings(max_examples=25)
@given(case=CASES.filter(lambda case: len(case[1][1])), own=st.booleans())
def test_both_paths_equal_naive(label, name, case, own):
    rows, (shapes, pods, _) = case
    used = list(dict.fromkeys(s for s, _ in pods))
    counts = [sum(s == row for s, _ in pods) for row in used]
    cluster, workload = cluster_of(rows), workload_of(shapes, pods)
    nodes = [naive.Node(cpu, memory, [1000] * devices, model) for cpu, memory, devices, model in rows]
    ranked = sorted(((count, shapes[s]) for s, count in zip(used, counts, strict=True)), reverse=True)
    taken, covered = [], 0
    for count, shape in ranked:
        if 100 * covered >= 95 * len(pods):
            break
        taken.append((shape, count))
        covered += count
    weight = typical_of(taken, len(pods), MODELS).weight.tolist()
    typical = [(share, pod_of(shape)) for share, (shape, _) in zip(weight, taken, strict=True)]
    # By default scores are in parts of the cluster's largest node.
    cpu, milli = max(node.cpu for node in nodes), max(1000 * len(node.gpus) for node in nodes)
    with mock.patch.multiple(naive, C=cpu if own else naive.C, G=max(milli, 1) if own else naive.G):
        expected = naive.naive_place(label, nodes, [pod_of(shapes[s], memory) for s, memory in pods], typical)
    chosen = policy(name, **({} if own else {"largest_cpu_milli": 128_000, "largest_gpus": 8}))
    for path in ("stepwise", "scan"):
        placement = k8slab.schedule(cluster, workload, chosen, path=path)
        assert placement.path == path
        assert placement.node_rows.tolist() == [node for node, *_ in expected]
        held = [np.flatnonzero(row).tolist() for row in placement.devices]
        assert held == [devices for _, devices, _ in expected]


@given(case=CASES, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_random_takes_any_node_with_devices(case, seed):
    rows, (shapes, pods, _) = case
    placement = k8slab.schedule(cluster_of(rows), workload_of(shapes, pods or [(0, 0)]), "fgd-random", seed=seed)
    asked = np.array([shapes[s][1] * shapes[s][2] for s, _ in pods or [(0, 0)]])
    used = np.bincount(placement.node_rows[placement.node_rows >= 0], asked[placement.node_rows >= 0], len(rows))
    assert (used <= [1000 * devices for _, _, devices, _ in rows]).all()


def test_a_run_on_the_embedded_trace_is_the_studys():
    trace = read_trace(None, "default")
    arrivals = trace.arrivals(42)
    cluster, workload = k8slab.datasets.openb()
    row = {name: i for i, name in enumerate(workload.names)}
    node = {name: i for i, name in enumerate(cluster.names)}
    by_rank = [node[trace.node_names[i]] for i in arrivals.node_rows]
    ranked = Cluster.from_frame(cluster.to_frame().iloc[by_rank])
    # The workload's own pods decide what is typical; the clones of the study stay away.
    order = [row[trace.pod_names[i]] for i in arrivals.pod_rows[: len(workload)]]
    for label, name in SCORED.items():
        placement = k8slab.schedule(ranked, workload, name, order=order)
        assert placement.path == "scan"
        expected = run_fgd(trace, label, 42, arrivals).node[: len(workload)]
        rank = np.append(np.argsort(arrivals.node_rows), -1)
        assert placement.node_rows[order].tolist() == rank[expected].tolist()


def test_kubernetes_gpus_are_whole_devices():
    cluster = cluster_of([(64_000, 9, 2, 0), (64_000, 9, 4, 0)], "nvidia.com/gpu", 1)
    workload = workload_of([(1000, 1000, 1, "")], [(0, 0)] * 7, "nvidia.com/gpu", 1000)
    placement = k8slab.schedule(cluster, workload, "fgd-gpu-packing")
    assert np.bincount(placement.node_rows[:6]).tolist() == [2, 4]
    assert placement.node_rows[6] == -1


def test_devices_are_told_apart_where_their_sum_would_do():
    """600 of each of two GPUs are taken: 800 are free together, and none has 500."""
    cluster = cluster_of([(64_000, 9, 2, 0)])
    workload = workload_of([(0, 600, 1, ""), (0, 500, 1, "")], [(0, 0), (0, 0), (1, 0)])
    assert k8slab.schedule(cluster, workload, "fgd").node_rows.tolist() == [0, 0, -1]
    assert k8slab.schedule(cluster, workload, "best-fit").node_rows.tolist() == [0, 0, 0]
    told = k8slab.schedule(cluster, workload, "fgd").explain("p-2")
    assert "0/1 nodes are available: 1 Insufficient free GPU devices." in str(told)


def test_models_are_told_apart():
    cluster = cluster_of([(64_000, 9, 2, 0), (64_000, 9, 2, 1)])
    workload = workload_of([(0, 600, 1, "P100"), (0, 600, 1, "V100")], [(0, 0), (1, 0)])
    placement = k8slab.schedule(cluster, workload, "fgd")
    assert placement.node_rows.tolist() == [1, -1]
    assert "2 node(s) didn't have a GPU of a model that the pod accepts" in str(placement.explain("p-1"))


def snapshot_of(name, rows, shapes, pods):
    nodes, columns_of_pods = columns(cluster_of(rows), workload_of(shapes, pods))
    return policy(name).snapshot(nodes, columns_of_pods)


@pytest.mark.parametrize("name", SCORED.values())
@settings(max_examples=25)
@given(case=CASES.filter(lambda case: len(case[1][1])))
def test_what_comes_and_goes_leaves_nothing(name, case):
    rows, (shapes, pods, _) = case
    snapshot = snapshot_of(name, rows, shapes, pods)
    start = [column.copy() for column in (*snapshot.devices.nodes, snapshot.devices.scratch.before)]
    judge = policy(name)
    there = []
    for pod in range(len(pods)):
        node = judge.judge(snapshot, pod).chosen
        if node >= 0:
            snapshot.assume(pod, node)
            there.append((pod, node))
    full = snapshot.devices.nodes.milli.copy()
    for pod, node in there:
        with snapshot.trial(node) as trial:
            trial.remove(snapshot.incoming, pod)
        assert np.array_equal(snapshot.devices.nodes.milli, full)
    for pod, node in there:
        snapshot.forget(pod, node)
    end = [*snapshot.devices.nodes, snapshot.devices.scratch.before]
    assert all(np.array_equal(a, b) for a, b in zip(start, end, strict=True))


def test_a_pod_that_asks_part_of_a_second_gpu_is_refused():
    with pytest.raises(InputError, match=r"pod 'p-0' requests 1,500 milli-GPU; wanted a share of one GPU, up to 1,000"):
        k8slab.schedule(cluster_of([(9, 9, 2, 0)]), workload_of([(0, 500, 3, "")], [(0, 0)]), "fgd")


def test_typical_pods_are_an_argument():
    """Where all pods to come want whole GPUs, 700 of a used one are lost anyway; by default the shares can use them."""
    cluster = cluster_of([(64_000, 9, 2, 0)])
    bound = [(0, 300, 1, "")]
    workload = workload_of([(0, 300, 1, ""), (0, 100, 1, "")], [(0, 0), (1, 0), (1, 0), (1, 0)])
    whole = policy("fgd", typical=[(0, 1000, 1, "", 1)])
    assert k8slab.schedule(cluster, workload, whole).to_frame()["gpu_index"].tolist() == ["0"] * 4
    asked = policy("fgd", typical=workload)
    assert asked.arguments()["filters"][-1]["typical"] == ((0, 100, 1, "", 3), (0, 300, 1, "", 1))
    default, given = (k8slab.schedule(cluster, workload, name) for name in ("fgd", asked))
    assert default.devices.tolist() == given.devices.tolist()
    frame = pd.DataFrame([(*bound[0], 5)], columns=["cpu_milli", "gpu_milli", "gpus", "models", "pods"])
    assert policy("fgd", typical=frame).arguments()["filters"][-1]["typical"] == ((0, 300, 1, "", 5),)


@pytest.mark.parametrize(
    ("typical", "message"),
    [
        (3, r"typical=3: wanted a Workload, or rows of mCPU"),
        ([(1, 2)], r"wanted a Workload, or rows"),
        ([(0, 500, 2, "", 1)], r"0 mCPU, 500 milli of each of 2 GPUs, 1 of them: wanted no GPU, a share of one"),
        ([(0, 500, 1, "", 0)], r"0 of them: wanted"),
    ],
)
def test_typical_pods_that_are_none(typical, message):
    with pytest.raises(InputError, match=message):
        policy("fgd", typical=typical)


def test_a_largest_node_that_is_not_the_largest():
    cluster, workload = cluster_of([(64_000, 9, 4, 0)]), workload_of([(0, 500, 1, "")], [(0, 0)])
    with pytest.raises(InputError, match=r"node 'n-0' has 4,000 milli of GPUs; the largest node was said"):
        k8slab.schedule(cluster, workload, policy("fgd-best-fit", largest_gpus=2))
    with pytest.raises(InputError, match=r"largest_cpu_milli=0; wanted a whole number, 1 or more"):
        policy("fgd-best-fit", largest_cpu_milli=0)
    with pytest.raises(InputError, match="policy 'fgd' takes typical, largest_cpu_milli, largest_gpus, not"):
        policy("fgd", resources={})


def test_random_draws_the_gpu_of_a_share_by_the_seed():
    cluster = cluster_of([(64_000, 9, 4, 0)])
    workload = workload_of([(0, 1, 1, "")], [(0, 0)] * 90)
    first, again, other = (k8slab.schedule(cluster, workload, "fgd-random", seed=seed).devices for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    # 22.5 pods a GPU, give or take five standard deviations.
    assert (np.abs((first > 0).sum(axis=0) - 22.5) < 5 * np.sqrt(90 * 3 / 16)).all()


def test_a_node_of_more_gpus_than_bits_is_refused():
    with pytest.raises(InputError, match=r"node 'n-0' has 64 GPUs; wanted 63 or less"):
        k8slab.schedule(cluster_of([(9, 9, 64, 0)]), workload_of([(0, 500, 1, "")], [(0, 0)]), "fgd")


def test_a_choice_that_is_none():
    with pytest.raises(InputError, match="choice='best' is none of 'fullest', 'fragmented', 'random'"):
        plugins.GpuDevices("best")


@pytest.mark.parametrize("name", gpu_policy_names())
def test_without_gpus_they_place_like_first_fit_or_random(name):
    cluster, workload = Cluster.synthetic(5, seed=0), Workload.synthetic(40, seed=0)
    other = "random" if name == "fgd-random" else "first-fit"
    expected = k8slab.schedule(cluster, workload, other).node_rows
    assert k8slab.schedule(cluster, workload, name).node_rows.tolist() == expected.tolist()


def test_pods_that_a_node_has_no_room_for_are_counted():
    """The compiled loop counts no pods; where a node runs out of room for them, the other path answers."""
    frame = cluster_of([(64_000, 9, 2, 0)]).to_frame().assign(pods=3)
    workload = workload_of([(0, 1, 1, "")], [(0, 0)] * 5)
    placement = k8slab.schedule(Cluster.from_frame(frame), workload, "fgd")
    assert (placement.placed, placement.path) == (3, "stepwise")


def test_they_compare_with_others_and_run_again_from_the_manifest():
    cluster = cluster_of([(64_000, 2**40, 4, i % 2) for i in range(6)])
    shapes = [(4000, 460, 1, ""), (8000, 1000, 1, ""), (4000, 250, 1, "T4"), (2000, 1000, 2, "")]
    workload = workload_of(shapes, [(i % 4, 2**30) for i in range(40)])
    result = k8slab.compare(cluster, workload, [*gpu_policy_names(), "kube-default"], range(2), progress=False)
    assert len(result.frame) == 14
    again = k8slab.rerun(result.manifest(), cluster, workload, progress=False)
    assert again.content_hash() == result.content_hash()
