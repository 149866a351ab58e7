"""openb: the embedded tables, and the published CSVs where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from k8slab import datasets
from k8slab.datasets import OPENB_CARD, openb
from k8slab.errors import InputError, UnknownName

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "openb"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published CSVs are not part of the project")

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn-0,8000,32768,1,V100M16\nn-1,32000,131072,0,\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
    "p-0,6000,12288,1,460,,LS,Running,0,10,0\n"
    "p-1,12000,16384,2,1000,V100M16|T4,BE,Running,5,20,\n"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "openb_node_list_gpu_node.csv").write_text(NODES)
    (tmp_path / "openb_pod_list_default.csv").write_text(PODS)
    return tmp_path


def test_the_embedded_tables_have_the_published_totals():
    cluster, workload = openb()
    gpu = cluster.schema.index("gpu")
    assert (len(cluster), len(workload)) == (1213, 8152)
    assert cluster.totals()[gpu] == 6_212_000
    assert workload.totals()[gpu] == 6_086_800
    assert cluster.totals()[:2].tolist() == [107_018_000, 503_828_480 * 2**20]
    assert workload.totals()[:2].tolist() == [85_436_012, 303_546_211 * 2**20]
    assert len(workload.classes()) == 151
    assert len(np.unique(cluster.allocatable.T, axis=0)) == 15


def test_the_embedded_cluster_knows_its_gpu_models():
    cluster, _ = openb()
    models = cluster.labels["gpu-model"].to_array()
    gpus = cluster.allocatable[cluster.schema.index("gpu")] // 1000
    counts = {model: (int((models == model).sum()), int(gpus[models == model].sum())) for model in set(models)}
    assert counts == {
        "G2": (549, 4392), "T4": (404, 842), "G3": (39, 312), "P100": (134, 265), "V100M32": (30, 204),
        "V100M16": (55, 195), "A10": (2, 2)}  # fmt: skip


def test_the_embedded_order_is_always_the_same_and_mixed():
    (cluster, workload), (again, pods_again) = openb(), openb()
    assert cluster.content_hash() == again.content_hash()
    assert workload.content_hash() == pods_again.content_hash()
    gpu = workload.schema.index("gpu")
    early = workload.requests[:2000, gpu].mean() / workload.requests[:, gpu].mean()
    assert 0.9 < early < 1.1


def test_no_pod_limit_binds():
    cluster, _ = openb()
    assert (cluster.allocatable[2] * 1000 > cluster.allocatable[0]).all()


def test_source_and_terms_come_along():
    for one in openb():
        assert OPENB_CARD in one.source
        assert OPENB_CARD.splitlines()[2] not in one._repr_html_()
    assert "research or study" in OPENB_CARD
    assert "ATC 2023" in OPENB_CARD


@published
def test_the_tables_are_the_published_lists_counted():
    for embedded, read in zip(openb(), openb(PUBLISHED), strict=True):
        amounts = [one.allocatable.T if hasattr(one, "allocatable") else one.requests for one in (embedded, read)]
        shapes = [np.unique(rows[:, [0, 1, 3]], axis=0, return_counts=True) for rows in amounts]
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*shapes, strict=True))
    embedded, read = openb()[0], openb(PUBLISHED)[0]
    ours, theirs = (
        sorted(zip(cluster.labels["gpu-model"].to_array(), *cluster.allocatable.tolist(), strict=True))
        for cluster in (embedded, read)
    )
    assert ours == theirs


@published
def test_other_published_lists():
    cluster, workload = openb(PUBLISHED, pods="gpuspec33", nodes="all")
    assert len(cluster) == 1523
    assert cluster.labels["gpu-model"][0] is None
    assert (workload.labels["gpu-spec"].codes >= 0).sum() == 2388
    assert len(openb(PUBLISHED, pods="multigpu50")[1]) == 9061


def test_the_csvs_are_read_row_by_row(folder):
    cluster, workload = openb(folder)
    assert list(cluster.names) == ["n-0", "n-1"]
    assert cluster.allocatable[[0, 1, 3]].T.tolist() == [[8000, 2**35, 1000], [32_000, 2**37, 0]]
    assert cluster.labels["gpu-model"].to_array().tolist() == ["V100M16", None]
    assert list(workload.names) == ["p-0", "p-1"]
    assert workload.requests.tolist() == [[6000, 12 * 2**30, 1, 460], [12_000, 16 * 2**30, 1, 2000]]
    assert workload.labels["gpu-spec"].to_array().tolist() == [None, "V100M16|T4"]
    assert workload.labels["qos"].to_array().tolist() == ["LS", "BE"]


def test_files_can_be_named(folder, monkeypatch):
    (folder / "mine.csv").write_text(PODS)
    assert len(openb(folder, pods="mine.csv")[1]) == 2
    monkeypatch.chdir(folder)
    assert len(openb(pods="mine.csv", nodes="openb_node_list_gpu_node.csv")[0]) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("12000,", "-12000,", r"default\.csv, line 3 \(pod 'p-1'\): cpu_milli is -12000; wanted a whole number"),
        ("2,1000", "2,1001", r"line 3 \(pod 'p-1'\): gpu_milli is 1001; wanted milli of each GPU, 1000 or less"),
        ("16384", "9007199254740", r"line 3 \(pod 'p-1'\): memory_mib is 9007199254740; wanted MiB that make less"),
        ("p-1", "p-0", r"line 3: pod 'p-0' stands already in line 2"),
        ("num_gpu", "gpus", r"default\.csv: no column 'num_gpu'; the nearest is 'gpus'\. Found: "),
        ("p-1", "", r"line 3: name is missing; wanted a name"),
        ("12288", "12288Mi", r"line 2 \(pod 'p-0'\): memory_mib is '12288Mi'; wanted a whole number"),
    ],
)
def test_a_bad_cell_is_named_by_file_line_and_column(folder, old, new, message):
    (folder / "openb_pod_list_default.csv").write_text(PODS.replace(old, new))
    with pytest.raises(InputError, match=message):
        openb(folder)


def test_what_is_not_there_is_said_with_what_is(folder):
    with pytest.raises(UnknownName, match=r"unknown pod list 'defalt'; did you mean 'default'\?"):
        openb(folder, pods="defalt")
    with pytest.raises(InputError, match="there is no such folder"):
        openb(folder / "nowhere")
    with pytest.raises(InputError, match=r"embedded are pods='default' and nodes='gpu' only; pass path=FOLDER"):
        openb(pods="gpuspec33")
    with pytest.raises(InputError, match="there is no such file"):
        openb(folder, pods="none.csv")


def test_the_module_of_datasets_is_small():
    assert set(datasets.__all__) == {"OPENB_CARD", "ZONE", "Cluster", "Workload", "openb", "swf", "webshop"}
