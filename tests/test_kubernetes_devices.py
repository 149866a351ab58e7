"""GPUs in dumps: what device plug-ins count, and what gpu-share schedulers write into annotations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import k8slab
from k8slab import Cluster, Workload
from k8slab.errors import InputError
from tests.test_kubernetes_dump import container, dump, node, pod

A = "alibabacloud.com/"


def gpu_node(name, model="T4", **allocatable):
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", **allocatable}
    return node(name, metadata={"name": name, "labels": {f"{A}gpu-card-model": model}}, status={"allocatable": amounts})


def shared_node(name="n", count="2", model="T4"):
    return gpu_node(name, model, **{f"{A}gpu-count": count, f"{A}gpu-milli": "1000"})


def annotated(name, on=None, **annotations):
    made = pod(name, on, phase="Running" if on else "Pending")
    made["metadata"]["annotations"] = {A + key.replace("_", "-"): value for key, value in annotations.items()}
    return made


def test_gpu_share_annotations_are_gpus():
    source = dump(
        shared_node("a"),
        shared_node("b", "4", "P100"),
        annotated("there", "b", gpu_milli="460", gpu_count="1", gpu_index="2"),
        annotated("whole", "a", gpu_milli="1000", gpu_count="2", gpu_index="0-1"),
        annotated("share", gpu_milli="600", gpu_count="1", gpu_card_model="P100|V100M16"),
        annotated("two", gpu_milli=1000, gpu_count=2),
        annotated("none", gpu_count="0"),
    )
    cluster, workload = Cluster.from_kubernetes(source), Workload.from_kubernetes(source)
    assert cluster.schema.names == ("cpu", "memory", "pods", "gpu")
    assert cluster.allocatable[3].tolist() == [2000, 4000]
    assert cluster.requested()[3].tolist() == [2000, 460]
    assert workload.to_frame()["gpu_milli"].tolist() == [600, 2000, 0]
    assert workload.labels["gpu-spec"].to_array().tolist() == ["P100|V100M16", None, None]
    state = cluster.new_state()
    state.check()
    assert state.node_devices.used.tolist() == [[1000, 1000, 0, 0], [0, 0, 460, 0]]
    placement = k8slab.schedule(cluster, workload, "fgd-best-fit")
    # The model is known by open-gpu-share's own label; of node b GPU 2 has 540 left, so the share goes to another.
    assert placement.to_frame()["gpu_index"].tolist()[:2] == ["0", "1-3"]
    assert np.array(cluster.names)[placement.node_rows].tolist()[:2] == ["b", "b"]


def test_device_plugins_and_slices_are_counted_as_kube_scheduler_does():
    asked = [container(cpu="1", memory="1Gi")]
    asked[0]["resources"]["requests"] |= {"nvidia.com/mig-1g.5gb": "2"}
    has = {"nvidia.com/gpu": "4", "nvidia.com/mig-1g.5gb": "7"}
    source = dump(gpu_node("a", **has), pod("p", "a", containers=asked))
    cluster = Cluster.from_kubernetes(source)
    assert cluster.schema.names[3:] == ("nvidia.com/gpu", "nvidia.com/mig-1g.5gb")
    assert cluster.requested()[3:].tolist() == [[0], [2]]
    assert cluster.new_state().node_devices.capacity.tolist() == [[1000] * 4]


def test_memory_of_gpus_and_the_gpu_that_a_pod_got():
    asked = [container(cpu="1", memory="1Gi")]
    asked[0]["resources"]["requests"] |= {"aliyun.com/gpu-mem": "6"}
    there = pod("p", "a", containers=asked)
    there["metadata"]["annotations"] = {"ALIYUN_COM_GPU_MEM_IDX": "1", "ALIYUN_COM_GPU_MEM_ASSIGNED": "true"}
    source = dump(gpu_node("a", **{"aliyun.com/gpu-mem": "32", "aliyun.com/gpu-count": "2"}), there)
    state = Cluster.from_kubernetes(source).new_state()
    assert state.node_devices.capacity.tolist() == [[16, 16]]
    assert state.pod_devices.amounts.tolist() == [[0, 6]]


def test_bound_devices_survive_a_file(tmp_path):
    source = dump(shared_node("a"), annotated("p", "a", gpu_milli="460", gpu_count="1", gpu_index="1"))
    cluster = Cluster.from_kubernetes(source)
    cluster.save(tmp_path / "nodes.csv")
    again = Cluster.load(tmp_path / "nodes.csv")
    assert again.content_hash() == cluster.content_hash()
    assert again.new_state().node_devices.used.tolist() == [[0, 460]]


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"gpu_milli": "1100", "gpu_count": "1"},
         r"Pod default/p: metadata\.annotations\.alibabacloud\.com/gpu-milli is '1100'; wanted a whole number from"),
        ({"gpu_milli": "half"}, r"gpu-milli is 'half'; wanted a whole number from 0 to 1,000"),
        ({"gpu_milli": "500", "gpu_count": "2"}, r"gpu-milli is '500'; wanted 1000: who asks 2 GPUs takes them whole"),
        ({"gpu_milli": "500", "gpu_count": "-1"}, r"gpu-count is '-1'; wanted a whole number from 0 to 63"),
        ({"gpu_count": "1"}, r"gpu-milli is None; wanted milli of each GPU, 1 to 1000"),
        ({"gpu_milli": "500", "gpu_index": "first"}, r'gpu-index is \'first\'; wanted numbers of GPUs joined by -'),
        ({"gpu_milli": "1000", "gpu_count": "2", "gpu_index": "1-1"}, r"gpu-index is '1-1'; wanted each GPU once"),
        ({"gpu_milli": "500", "gpu_card_model": 4}, r"gpu-card-model is 4; wanted a text"),
        ({"gpu_milli": "500", "gpu_index": "2"},
         r"Pod default/p: its annotations say it has GPU 2, but Node n has 2, from 0 to 1"),
    ],
)  # fmt: skip
def test_what_no_pod_can_ask_is_named_by_object_and_field(annotations, message):
    with pytest.raises(InputError, match=message):
        Cluster.from_kubernetes(dump(shared_node(), annotated("p", "n", **annotations)))


def test_a_node_of_too_many_gpus():
    with pytest.raises(InputError, match=r"Node n: status\.allocatable\.alibabacloud\.com/gpu-count is 64; wanted 63"):
        Cluster.from_kubernetes(dump(shared_node(count="64")))


def test_a_label_that_names_no_device():
    cluster = Cluster.from_kubernetes(
        dump(shared_node("a"), annotated("p", "a", gpu_milli="460", gpu_count="1", gpu_index="1"))
    )
    frame = cluster.bound.to_frame().assign(**{"label:gpu-index": "7"})
    odd = replace(cluster, bound=Workload.from_frame(frame))
    with pytest.raises(InputError, match=r"pod 'default/p': label 'gpu-index' is '7'; wanted devices of node 'a'"):
        odd.new_state()
