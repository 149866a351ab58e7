"""Instance types, node groups and catalogues: what they hold, and how they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from k8slab.analysis.frames import check_frame
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.distributions import Fixed, LogNormal, as_distribution
from k8slab.simulation.instance_catalogue import InstanceCatalogue
from k8slab.simulation.instance_types import InstanceType, NodeGroup, cluster_of

SMALL = InstanceType(name="small", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.2)
TABLE = '[[instance_type]]\nname = "a"\n'
ROW = "instance_type,cpu,memory,price_per_hour,boot,boot_sigma,limit,labels,taints\n"


def test_the_example_has_four_families_and_a_frame():
    catalogue = InstanceCatalogue.example()
    assert {one.family for one in catalogue.values()} == {"general", "compute", "memory", "gpu"}
    frame = catalogue.to_frame()
    check_frame("instance_types", frame)
    assert len(frame) == len(catalogue) == 16
    assert catalogue["gpu-8"].amounts()["nvidia.com/gpu"] == 8
    assert catalogue.family("memory")[0].name == "memory-4"
    assert "general-2" in catalogue._repr_html_()
    with pytest.raises(UnknownName, match=r"unknown instance type 'genral-4'; did you mean 'general-4'"):
        catalogue["genral-4"]
    with pytest.raises(UnknownName, match=r"unknown family 'gpus'; did you mean 'gpu'"):
        catalogue.family("gpus")


def test_csv_and_toml_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text(ROW + "big,8,32Gi,0.4,90s,0.5,3,disk=ssd,gpu:NoSchedule\n")
    (tmp_path / "a.toml").write_text(
        '[[instance_type]]\nname = "big"\nprice_per_hour = 0.4\nlimit = 3\ntaints = ["gpu:NoSchedule"]\n'
        'resources = {cpu = "8", memory = "32Gi"}\nlabels = {disk = "ssd"}\n'
        'boot = {kind = "lognormal", median = "90s", sigma = 0.5}\n'
    )
    by_csv, by_toml = (InstanceCatalogue.load(tmp_path / name)["big"] for name in ("a.csv", "a.toml"))
    assert by_csv.amounts() == by_toml.amounts() == {"cpu": 8000, "memory": 2**35, "pods": 110}
    assert by_csv.boot == by_toml.boot == LogNormal("90s", 0.5)
    groups = [NodeGroup(name="g", instance_type=one) for one in (by_csv, by_toml)]
    assert groups[0].node_taints() == groups[1].node_taints()
    assert groups[0].node_labels() == groups[1].node_labels()
    assert by_csv.limit == by_toml.limit == 3
    assert as_distribution(SMALL.boot) == Fixed("60s")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,4,16Gi,,,,,,", r"line 2: instance type 'a' has no price_per_hour; wanted a number, 0 or more"),
        ("a,4,16Gi,-1,,,,,", r"line 2: instance type 'a': price_per_hour=-1.0; wanted a number, 0 or more"),
        ("a,4,16Gi,cheap,,,,,", r"line 2: instance type 'a', price_per_hour: 'cheap' can't be read"),
        ("a,4,16Gib,1,,,,,", r"line 2: .*memory: '16Gib' is no quantity"),
        ("a,4,16Gi,nan,,,,,", r"price_per_hour=nan; wanted a number"),
        ("a,,16Gi,1,,,,,", r"line 2: instance type 'a': no cpu"),
        ("a,4,16Gi,1,soon,,,,", r"line 2: .*'soon'"),
        ("a,4,16Gi,1,,,-1,,", r"limit=-1; wanted a whole number, 0 or more"),
        ("a,4,16Gi,1,,,,,gpu:Never", r"taint 'gpu:Never'; wanted key=value:Effect"),
        (",4,16Gi,1,,,,,", r"line 2: no instance_type"),
        ("a,4,16Gi,1,,,,,\na,4,16Gi,1,,,,,", r"two instance types are named 'a'"),
        ("", r"no instance types; wanted at least one"),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path, text, message):
    file = tmp_path / "bad.csv"
    file.write_text(ROW + text + "\n")
    with pytest.raises(InputError, match=message):
        InstanceCatalogue.load(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE + "resources = {cpu = 1, memory = 1}", r"\[\[instance_type\]\] 'a': no price_per_hour"),
        (TABLE + "price = 1", r"unknown key 'price'; did you mean 'price_per_hour'"),
        ("[[instances]]\nname = 1", r"unknown key 'instances'; did you mean 'instance_type'"),
        ("x =", r"it isn't TOML"),
        (
            TABLE + 'price_per_hour = 1\nresources = {cpu = 1, memory = 1}\nboot = {kind = "slow"}',
            r"boot: kind='slow'; wanted one of fixed",
        ),
    ],
)
def test_a_bad_table_is_told_with_its_name(tmp_path, text, message):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        InstanceCatalogue.load(file)


def test_columns_and_files_that_are_none(tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("instance_type,cpu,memory,prise_per_hour\n")
    with pytest.raises(InputError, match="unknown column 'prise_per_hour'; did you mean 'price_per_hour'"):
        InstanceCatalogue.load(file)
    file.write_text("instance_type,cpu,memory\n")
    with pytest.raises(InputError, match="no column price_per_hour"):
        InstanceCatalogue.load(file)
    with pytest.raises(InputError, match="No such file"):
        InstanceCatalogue.load(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"wanted a \.csv or \.toml"):
        InstanceCatalogue.load(__file__)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_size": 5, "max_size": 3}, "node group 'g': min_size=5 is above max_size=3"),
        ({"initial": 11}, "initial=11 is not within min_size=0 and max_size=10"),
        ({"max_size": 0}, "max_size=0; wanted a whole number, 1 or more"),
        ({"utilization_threshold": 2}, "utilization_threshold=2; wanted a number from 0 to 1"),
        ({"all_or_nothing": True, "initial": 3}, "all or nothing, but initial=3; wanted 0 or 10"),
        ({"instance_type": "small"}, "instance_type='small'; wanted an InstanceType"),
    ],
)
def test_a_group_that_cannot_be(given, message):
    with pytest.raises(InputError, match=message):
        NodeGroup(**{"name": "g", "instance_type": SMALL, **given})


def test_the_cluster_of_groups():
    gpu = InstanceType(
        name="gpu", resources={"cpu": 8, "memory": "32Gi", "nvidia.com/gpu": 1}, price_per_hour=1, taints="gpu", limit=2
    )
    groups = [
        NodeGroup(name="web", instance_type=SMALL, initial=2, zone="a"),
        NodeGroup(name="ml", instance_type=gpu, min_size=1, labels={"team": "ml"}),
    ]
    cluster = cluster_of(groups)
    assert list(cluster.names) == ["web-0", "web-1", "ml-0"]
    assert cluster.schema.names == ("cpu", "memory", "pods", "nvidia.com/gpu")
    np.testing.assert_array_equal(cluster.allocatable[3], [0, 0, 1])
    assert cluster.labels["node-group"].to_array().tolist() == ["web", "web", "ml"]
    assert cluster.zones == ("a",)
    assert cluster.labels["team"].to_array().tolist() == [None, None, "ml"]
    with pytest.raises(InputError, match="two node groups are named 'web'"):
        cluster_of([groups[0], groups[0]])
    with pytest.raises(InputError, match="no group starts with a node"):
        cluster_of([NodeGroup(name="web", instance_type=SMALL)])
    with pytest.raises(InputError, match="with it 3 of instance type 'gpu' are there from the start, of 2"):
        cluster_of([NodeGroup(name="ml", instance_type=gpu, initial=3)])
