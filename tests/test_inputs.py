"""Cluster and Workload: drawn, from frames and files, and what they say to bad input."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab import Cluster, ResourceSchema, Workload, schedule
from k8slab.analysis.frames import check_frame
from k8slab.datasets import ZONE
from k8slab.domain.columns import Codes, Taint, Toleration
from k8slab.errors import InputError, OutputError, QuantityError

GIB = 2**30


# -- synthetic -------------------------------------------------------------


def naive_place(cluster, workload, key):
    """How many pods fit, each put on the fitting node of the smallest key(free, allocatable)[node]."""
    allocatable = cluster.allocatable.astype(float)
    free, placed = allocatable.copy(), 0
    for request in workload.requests.astype(float):
        fits = (free >= request[:, None]).all(axis=0)
        if fits.any():
            free[:, np.argmin(np.where(fits, key(free, allocatable), np.inf))] -= request
            placed += 1
    return placed


POLICIES = {
    "least-allocated": lambda free, allocatable: -(free / allocatable)[:2].mean(axis=0),
    "most-allocated": lambda free, allocatable: (free / allocatable)[:2].mean(axis=0),
    "worst-fit": lambda free, allocatable: -free[0],
    "first-fit": lambda free, allocatable: np.arange(free.shape[1]),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("nodes", "classes"), [(1, 100), (2, 3), (7, 100), (60, 1), (60, 100), (60, 600)])
def test_synthetic_pods_all_fit_and_fill_most_of_the_cluster(policy, nodes, classes):
    cluster = Cluster.synthetic(nodes, seed=nodes)
    workload = Workload.synthetic(10 * nodes, classes=classes, seed=3, cluster=cluster)
    assert naive_place(cluster, workload, POLICIES[policy]) == 10 * nodes
    assert 0.77 <= (workload.totals() / cluster.totals()).max() <= 0.83


@pytest.mark.parametrize(("pods", "classes"), [(1, 100), (30, 100), (1000, 100), (20_000, 5000), (20_000, 1)])
def test_synthetic_classes_are_distinct_and_all_there(pods, classes):
    table = Workload.synthetic(pods, classes=classes).classes()
    assert len(table) == min(pods, classes)
    assert table["count"].sum() == pods
    assert (table["cpu_milli"] > 0).all()
    assert (table["memory_bytes"] > 0).all()


def test_synthetic_without_a_cluster_is_sized_for_a_tenth_as_many_nodes():
    workload, cluster = Workload.synthetic(100_000), Cluster.synthetic(10_000, seed=5)
    assert 0.79 <= (workload.totals() / cluster.totals()).max() <= 0.81


def test_synthetic_classes_follow_zipf():
    counts = Workload.synthetic(100_000, classes=50, seed=2).classes()["count"].to_numpy()
    expected = 100_000 / np.arange(1, 51) / (1 / np.arange(1, 51)).sum()
    assert np.abs(counts / expected - 1).max() < 0.15


def test_synthetic_requests_are_amounts_that_people_write():
    table = Workload.synthetic(10_000).classes()
    assert (table["cpu_milli"] % 50 == 0).all()
    assert (table["memory_bytes"] % 2**26 == 0).all()


def test_synthetic_pods_are_interleaved():
    first = Workload.synthetic(10_000).take(range(1000)).classes()
    assert len(first) > 60


def test_synthetic_cluster_has_three_shapes_and_its_zones():
    cluster = Cluster.synthetic(90, zones=3)
    assert np.unique(cluster.allocatable.T, axis=0, return_counts=True)[1].tolist() == [30, 30, 30]
    assert np.bincount(cluster.labels[ZONE].codes).tolist() == [30, 30, 30]
    assert cluster.zones == ("zone-1", "zone-2", "zone-3")
    assert Cluster.synthetic(2, zones=3).zones == ("zone-1", "zone-2")


def test_a_seed_draws_the_same_again_and_another_draws_other():
    assert Cluster.synthetic(50, seed=1).content_hash() == Cluster.synthetic(50, seed=1).content_hash()
    assert Cluster.synthetic(50, seed=1).content_hash() != Cluster.synthetic(50, seed=2).content_hash()
    assert Workload.synthetic(50, seed=1).content_hash() == Workload.synthetic(50, seed=1).content_hash()
    assert Workload.synthetic(50, seed=1).content_hash() != Workload.synthetic(50, seed=2).content_hash()


def test_few_pods_on_many_nodes_stay_small_enough_to_fit():
    cluster = Cluster.synthetic(1000)
    workload = Workload.synthetic(10, cluster=cluster)
    assert (workload.requests[:, :2].max(axis=0) <= cluster.allocatable[:2].max(axis=1) / 6 * 1.01).all()


def test_a_workload_is_sized_for_what_is_free_and_open_to_it():
    pods = Workload.of(["old"], [[8000, 0, 1]])
    taints = Codes.of([(Taint("gpu"),), (), ()])
    cluster = dataclasses.replace(
        Cluster.of(["tainted", "half", "free"], [[16_000] * 3, [64 * GIB] * 3, [110] * 3], taints=taints),
        bound=pods,
        bound_node=np.array([1]),
    )
    workload = Workload.synthetic(50, cluster=cluster)
    assert workload.totals()[0] + 8000 == pytest.approx(0.8 * 32_000, rel=0.03)


@pytest.mark.parametrize("policy", ["least-allocated", "most-allocated", "first-fit", "random"])
def test_synthetic_pods_all_fit_nodes_of_very_different_shapes(policy):
    cores, memory = [16_000] * 20 + [64_000] * 10, [32 * GIB] * 30
    cluster = Cluster.of([f"n{row}" for row in range(30)], [cores, memory, [110] * 30])
    placement = schedule(cluster, Workload.synthetic(1000, cluster=cluster), policy)
    assert placement.placed == 1000
    assert 75 <= max(placement.allocated_percent().values()) <= 85


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (Cluster.of(["n"], [[4000], [GIB], [5]]), "nodes allow 5 more pods"),
        (Cluster.of(["n"], [[4000], [GIB], [110]], states=[3]), "no node is ready, uncordoned and untainted"),
        (Cluster.of(["n"], [[4000], [GIB], [110]], foreign=[[3500], [0], [0]]), "its cpu is 80% taken already"),
        (Cluster.of(["n"], [[4000], [0], [110]]), "its memory is 70% taken already"),
    ],
)
def test_a_workload_that_can_not_be_sized_says_why(cluster, message):
    with pytest.raises(InputError, match=message):
        Workload.synthetic(10, cluster=cluster)


@pytest.mark.parametrize("bad", [0, -1, 1.5, "3", True])
def test_counts_are_whole_numbers(bad):
    for make in (Cluster.synthetic, Workload.synthetic, lambda n: Workload.synthetic(5, classes=n)):
        with pytest.raises(InputError, match="wanted a whole number, 1 or more"):
            make(bad)


# -- frames ----------------------------------------------------------------


def test_a_minimal_frame_makes_a_cluster():
    cluster = Cluster.from_frame(pd.DataFrame({"node": ["a", "b"], "cpu_milli": [1000, 2000], "memory_bytes": [1, 2]}))
    assert list(cluster.names) == ["a", "b"]
    assert cluster.allocatable.tolist() == [[1000, 2000], [1, 2], [110, 110]]
    assert cluster.states.tolist() == [0, 0]
    assert cluster.taints[0] == ()
    assert cluster.bound is None
    assert cluster.zones == ()


def test_a_full_frame_makes_a_cluster():
    cluster = Cluster.from_frame(
        {
            "node": ["a", "b"],
            "zone": ["z", None],
            "cpu": ["500m", 2],
            "memory": ["1.5Gi", "1e3"],
            "pods": [10, 20],
            "gpu_milli": [0, 8000],
            "nvidia.com/gpu": [0.0, 8.0],
            "ephemeral_storage_bytes": ["5", "6"],
            "state": ["cordoned", None],
            "taints": ["dedicated=gpu:NoSchedule,old:NoExecute", ""],
            "label:disk": ["ssd", None],
            "foreign:cpu_milli": [100, 0],
            "array:watts": [1.5, float("nan")],
        }
    )
    assert cluster.schema.names == ("cpu", "memory", "pods", "gpu", "nvidia.com/gpu", "ephemeral-storage")
    assert cluster.allocatable.T.tolist() == [[500, 1536 * 2**20, 10, 0, 0, 5], [2000, 1000, 20, 8000, 8, 6]]
    assert (cluster.labels[ZONE][0], cluster.labels[ZONE][1]) == ("z", None)
    assert (cluster.labels["disk"][0], cluster.labels["disk"][1]) == ("ssd", None)
    assert cluster.states.tolist() == [3, 0]
    assert cluster.taints[0] == (Taint("dedicated", "gpu"), Taint("old", "", "NoExecute"))
    assert cluster.taints[1] == ()
    assert cluster.foreign[0].tolist() == [100, 0]
    assert cluster.arrays["watts"][0] == 1.5


def test_a_full_frame_makes_a_workload():
    workload = Workload.from_frame(
        {
            "pod": [17, "b"],
            "cpu_milli": [100, 200],
            "memory_bytes": [1, 2],
            "gpu_milli": [460, 0],
            "namespace": ["ml", None],
            "priority": [-5, None],
            "tolerations": ["gpu,team=ml:NoSchedule", "*:NoExecute"],
            "label:app": ["x", ""],
        }
    )
    assert list(workload.names) == ["17", "b"]
    assert workload.requests.tolist() == [[100, 1, 1, 460], [200, 2, 1, 0]]
    assert workload.namespaces.to_array().tolist() == ["ml", "default"]
    assert workload.priority.tolist() == [-5, 0]
    assert workload.tolerations[0] == (Toleration("gpu", "Exists"), Toleration("team", "Equal", "ml", "NoSchedule"))
    assert workload.tolerations[1] == (Toleration("", "Exists", "", "NoExecute"),)
    assert workload.labels["app"].to_array().tolist() == ["x", ""]


NODES = {"node": ["a", "b", "c"], "cpu_milli": [1000, 2000, 3000], "memory_bytes": [1, 2, 3]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpu_milli": [1000, -5, 3000]}, "row 1 (node 'b'): cpu_milli is -5; wanted a whole number of mCPU, 0 or"),
        ({"cpu_milli": [1000, 2000, float("nan")]}, "row 2 (node 'c'): cpu_milli is missing; wanted a whole number"),
        ({"cpu_milli": [1000, 2000, None]}, "row 2 (node 'c'): cpu_milli is missing"),
        ({"cpu_milli": [1000, 2000, 0.5]}, "row 2 (node 'c'): cpu_milli is 0.5; wanted a whole number of mCPU"),
        ({"cpu_milli": [1000, "500m", 1]}, "row 1 (node 'b'): cpu_milli is '500m'; wanted a whole number of mCPU"),
        ({"memory_bytes": [1, 2, 2**53]}, "memory_bytes is 9007199254740992; wanted a whole number of bytes"),
        ({"memory_bytes": [1, 2, 10**30]}, "row 2 (node 'c'): memory_bytes is 1000"),
        ({"memory_bytes": [1, float("inf"), 2]}, "row 1 (node 'b'): memory_bytes is inf; wanted a whole number"),
        ({"pods": [1, 2, "many"]}, "row 2 (node 'c'): pods is 'many'; wanted a whole number, 0 or more"),
        ({"node": ["a", "b", "a"]}, "row 2: node 'a' stands already in row 0; every node needs a name of its own"),
        ({"node": ["a", None, "c"]}, "row 1: node is missing; wanted a name"),
        ({"node": ["a", "", "c"]}, "row 1: node is ''; wanted a name"),
        ({"state": ["ready", "Ready", None]}, "row 1 (node 'b'): state is 'Ready'; wanted one of ready, not_ready"),
        ({"taints": ["", "a=b:NoSchedul", ""]}, "row 1 (node 'b'): taints is 'a=b:NoSchedul'; wanted key=value:Effect"),
        ({"foreign:fpga": [1, 2, 3]}, "column 'foreign:fpga' names no resource"),
        ({"cpu": ["1", "2", "3"]}, "it has both 'cpu_milli' and 'cpu'; wanted one of them"),
        ({"array:tag": ["x", "y", "z"]}, "array 'tag' holds"),
    ],
)
def test_a_bad_frame_says_where_and_what(change, message):
    with pytest.raises(InputError) as caught:
        Cluster.from_frame({**NODES, **change})
    assert message in str(caught.value)


def test_a_bad_quantity_in_a_frame_says_where():
    frame = {"pod": ["a", "b"], "cpu": ["1", "1x"], "memory": ["1Gi", "2Gi"]}
    with pytest.raises(QuantityError, match=r"a frame, row 1, column cpu: '1x' is no quantity; wanted a Kubernetes"):
        Workload.from_frame(frame)
    with pytest.raises(InputError, match=r"row 1 \(pod 'b'\): cpu is -1; wanted 0 or more and below 2\^53 mCPU"):
        Workload.from_frame({**frame, "cpu": [1, -1]})
    with pytest.raises(InputError, match=r"row 0 \(pod 'a'\): cpu is missing; wanted a quantity such as"):
        Workload.from_frame({**frame, "cpu": [None, 1]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"priority": [0, 2**31]}, "row 1 (pod 'b'): priority is 2147483648; wanted a whole number from -2,147,"),
        ({"priority": [0, "high"]}, "row 1 (pod 'b'): priority is 'high'; wanted a whole number"),
        ({"tolerations": [":NoSchedule", ""]}, "row 0 (pod 'a'): tolerations is ':NoSchedule'; wanted key=value:"),
    ],
)
def test_a_bad_workload_frame_says_where_and_what(change, message):
    with pytest.raises(InputError) as caught:
        Workload.from_frame({"pod": ["a", "b"], "cpu_milli": [1, 2], "memory_bytes": [1, 2], **change})
    assert message in str(caught.value)


def test_a_missing_column_is_named_with_what_was_found_and_the_nearest():
    with pytest.raises(InputError) as caught:
        Cluster.from_frame({"node": ["a"], "cpu_milli": [1], "memory_mib": [1]})
    assert str(caught.value) == (
        "a frame: no column 'memory_bytes' (nor 'memory', which may hold quantities); the nearest is 'memory_mib'. "
        "Found: cpu_milli, memory_mib, node"
    )
    with pytest.raises(InputError, match=r"no column 'pod'\. Found: cpu"):
        Workload.from_frame({"cpu": [1]})


def test_an_empty_frame_is_refused():
    for read in (Cluster.from_frame, Workload.from_frame):
        with pytest.raises(InputError, match="no columns at all"):
            read(pd.DataFrame())
    with pytest.raises(InputError, match="it has no rows; wanted at least one node"):
        Cluster.from_frame(pd.DataFrame(NODES).head(0))
    with pytest.raises(InputError, match="no table of nodes"):
        Cluster.from_frame({"node": ["a"], "cpu_milli": [1, 2]})


def test_a_column_that_stands_twice_is_refused():
    frame = pd.DataFrame([["a", 1, 2, 3]], columns=["node", "cpu_milli", "memory_bytes", "memory_bytes"])
    with pytest.raises(InputError, match="column 'memory_bytes' stands twice"):
        Cluster.from_frame(frame)


def test_columns_that_mean_nothing_are_passed_over_aloud():
    with pytest.warns(UserWarning, match=r"passed over columns rack, owner .*label:KEY"):
        cluster = Cluster.from_frame({**NODES, "rack": [1, 2, 3], "owner": ["x", "y", "z"]})
    assert list(cluster.labels) == []


def test_numbers_as_texts_beside_missing_ones():
    cluster = Cluster.from_frame({**NODES, "zone": [1.0, None, 3.0]})
    assert cluster.zones == ("1", "3")


# -- there and back --------------------------------------------------------

words = st.text("abcxyz019-./", min_size=1, max_size=6) | st.sampled_from(["NA", "null", "nan", "1", "1.0", "True"])
counts = st.integers(0, 2**53 - 1)
maybe = st.none() | words | st.just("")
effects = st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])
schemas = st.sampled_from(
    [(), ("gpu",), ("nvidia.com/gpu", "ephemeral-storage"), ("hugepages-2Mi", "attachable-volumes-csi")]
)


def columns_of(values):
    return lambda count: st.lists(values, min_size=count, max_size=count)


@st.composite
def workloads(draw, schema=None):
    names = draw(st.lists(words, min_size=1, max_size=5, unique=True))
    wide = schema or ResourceSchema.of(draw(schemas))
    each = columns_of(st.lists(counts, min_size=len(wide), max_size=len(wide)))
    requests = np.array(draw(each(len(names))), dtype=np.int64)
    requests[:, 2] = 1
    tolerated = st.builds(Toleration, words, st.just("Exists"), st.just(""), effects | st.just("")) | st.builds(
        Toleration, words, st.just("Equal"), st.just("") | words, effects
    )
    return Workload.of(
        names,
        requests,
        wide,
        namespaces=Codes.of(draw(columns_of(words)(len(names)))),
        tolerations=Codes.of(draw(columns_of(st.lists(tolerated, max_size=2).map(tuple))(len(names)))),
        priority=draw(columns_of(st.integers(-(2**31), 2**31 - 1))(len(names))),
        labels={key: Codes.of(draw(columns_of(maybe)(len(names)))) for key in draw(st.sets(words, max_size=2))},
    )


@st.composite
def clusters(draw):
    names = draw(st.lists(words, min_size=1, max_size=4, unique=True))
    schema = ResourceSchema.of(draw(schemas))
    count = len(names)
    amounts = columns_of(st.lists(counts, min_size=count, max_size=count))
    tainted = st.lists(st.builds(Taint, words, st.just("") | words, effects), max_size=2).map(tuple)
    zones = {ZONE: Codes.of(draw(columns_of(st.none() | words)(count)))} if draw(st.booleans()) else {}
    bound = draw(st.none() | workloads(schema))
    at = draw(columns_of(st.integers(0, count - 1))(len(bound))) if bound is not None else ()
    cluster = Cluster.of(
        names,
        draw(amounts(len(schema))),
        schema,
        states=draw(columns_of(st.integers(0, 3))(count)),
        taints=Codes.of(draw(columns_of(tainted)(count))),
        labels=zones | {key: Codes.of(draw(columns_of(maybe)(count))) for key in draw(st.sets(words, max_size=2))},
        foreign=draw(amounts(len(schema))) if draw(st.booleans()) else None,
        bound=bound,
        bound_node=at,
    )
    kind = draw(st.sampled_from([st.floats(allow_nan=False), st.integers(-(2**60), 2**60), st.booleans()]))
    return cluster.with_arrays(mine=draw(columns_of(kind)(count))) if draw(st.booleans()) else cluster


@given(workloads(), st.sampled_from([".csv", ".csv.gz", ".parquet"]))
@settings(max_examples=60)
def test_a_workload_comes_back_from_its_file(tmp_path_factory, workload, suffix):
    path = tmp_path_factory.mktemp("there") / f"pods{suffix}"
    workload.save(path)
    back = Workload.load(path)
    assert back.content_hash() == workload.content_hash()
    assert back.schema == workload.schema
    assert np.array_equal(back.requests, workload.requests)
    assert list(back.names) == list(workload.names)
    assert Workload.from_frame(workload.to_frame()).content_hash() == workload.content_hash()


@given(clusters(), st.sampled_from([".csv", ".csv.gz", ".parquet"]))
@settings(max_examples=60)
def test_a_cluster_comes_back_from_its_file(tmp_path_factory, cluster, suffix):
    path = tmp_path_factory.mktemp("there") / f"nodes{suffix}"
    cluster.save(path)
    back = Cluster.load(path)
    assert back.content_hash() == cluster.content_hash()
    assert np.array_equal(back.allocatable, cluster.allocatable)
    assert np.array_equal(back.requested(), cluster.requested())
    bare = cluster.without_pods()
    assert Cluster.from_frame(bare.to_frame()).content_hash() == bare.content_hash()


def test_a_cluster_saved_without_pods_does_not_find_an_earlier_ones(tmp_path):
    path = tmp_path / "nodes.csv"
    nodes = Cluster.of(["a"], [[1000], [GIB], [110]])
    full = dataclasses.replace(nodes, bound=Workload.of(["p"], [[1, 1, 1]]), bound_node=np.array([0]))
    full.save(path)
    assert (tmp_path / "nodes.bound.csv").exists()
    nodes.save(path)
    assert Cluster.load(path).bound is None


def test_the_hash_knows_every_part():
    cluster = Cluster.from_frame({**NODES, "zone": ["x", "y", None], "label:a": ["1", None, None]})
    others = [
        Cluster.from_frame({**NODES, "zone": ["x", "y", None], "label:a": ["1", None, None], **change})
        for change in (
            {"node": ["a", "b", "d"]},
            {"cpu_milli": [1000, 2000, 3001]},
            {"pods": [110, 110, 111]},
            {"zone": ["x", "x", None]},
            {"zone": ["x", "y", "y"]},
            {"label:a": ["2", None, None]},
            {"label:a": [None, "1", None]},
            {"label:b": ["1", None, None]},
            {"state": ["ready", "ready", "cordoned"]},
            {"taints": ["a:NoSchedule", "", ""]},
            {"foreign:pods": [1, 0, 0]},
            {"gpu_milli": [0, 0, 0]},
            {"array:x": [1, 2, 3]},
        )
    ]
    assert len({cluster.content_hash(), *(other.content_hash() for other in others)}) == 1 + len(others)


def test_the_hash_does_not_know_how_codes_are_numbered():
    one = Cluster.of(["a", "b"], [[1, 1], [1, 1], [1, 1]], labels={"k": Codes(np.array([1, -1], np.int32), ("y", "x"))})
    labels = {"k": Codes.of(["x", None]), "none": Codes.of([None] * 2)}
    two = Cluster.of(["a", "b"], [[1, 1], [1, 1], [1, 1]], labels=labels)
    assert one.content_hash() == two.content_hash()


def test_frames_have_the_documented_columns():
    cluster = Cluster.synthetic(5).with_schema(ResourceSchema.of(["gpu", "nvidia.com/gpu"]))
    check_frame("cluster", cluster.to_frame())
    check_frame("workload", Workload.synthetic(5).to_frame())
    assert list(Cluster.synthetic(5).to_frame()) == [
        "node", "zone", "cpu_milli", "memory_bytes", "pods", "state", "taints"]  # fmt: skip
    assert list(Workload.synthetic(5).to_frame()) == [
        "pod", "cpu_milli", "memory_bytes", "namespace", "priority", "tolerations"]  # fmt: skip


# -- files -----------------------------------------------------------------


def test_a_bad_line_of_a_csv_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "pods.csv"
    path.write_text("pod,cpu_milli,memory_bytes\na,1,1\n\nb,2,-2\n")
    with pytest.raises(InputError, match=r"pods\.csv, line 3: pod is missing"):
        Workload.load(path)
    path.write_text("pod,cpu_milli,memory_bytes\na,1,1\nb,2,-2\n\n")
    with pytest.raises(InputError, match=r"pods\.csv, line 3 \(pod 'b'\): memory_bytes is -2"):
        Workload.load(path)
    path.write_text("pod,cpu_milli,memory_bytes\na,1,1\nb,2,ten\n")
    with pytest.raises(InputError, match=r"pods\.csv, line 3 \(pod 'b'\): memory_bytes is 'ten'"):
        Workload.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "No columns to parse"),
        (b"pod,cpu_milli,memory_bytes\n", "it has no rows"),
        (b"pod,cpu_milli,memory_bytes\na,1,1\nb,1,1,1,1\n", "line 3"),
        (b"\xff\xfe\x00", "decode"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "pods.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Workload.load(path)
    assert "pods.csv" in str(caught.value)


def test_a_byte_order_mark_and_trailing_blank_lines_do_no_harm(tmp_path):
    path = tmp_path / "pods.csv"
    path.write_bytes(b"\xef\xbb\xbfpod,cpu,memory\r\nNA,500m,1Gi\r\n\r\n")
    assert list(Workload.load(path).names) == ["NA"]


def test_what_is_not_there_or_not_writable_is_said(tmp_path):
    workload = Workload.synthetic(2)
    with pytest.raises(InputError, match="there is no such file"):
        Workload.load(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"wanted a name that ends in \.csv, \.csv\.gz or \.parquet"):
        Workload.load(__file__)
    with pytest.raises(InputError, match=r"wanted a name that ends in \.csv"):
        workload.save(tmp_path / "pods.xlsx")
    with pytest.raises(OutputError, match="cannot write the workload to"):
        workload.save(tmp_path / "no" / "such" / "pods.csv")
    (tmp_path / "pods.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"cannot read a workload from .*pods\.parquet"):
        Workload.load(tmp_path / "pods.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"needs pyarrow: pip install 'k8slab\[parquet\]'"):
        Workload.synthetic(2).save(tmp_path / "pods.parquet")


def test_bound_pods_on_an_unknown_node_are_refused(tmp_path):
    path = tmp_path / "nodes.csv"
    Cluster.of(["a"], [[1000], [GIB], [110]]).save(path)
    (tmp_path / "nodes.bound.csv").write_text("pod,node,cpu_milli,memory_bytes\np,b,1,1\n")
    with pytest.raises(InputError, match=r"nodes\.bound\.csv, line 2 \(pod 'p'\): node is 'b'; wanted a node of the"):
        Cluster.load(path)


# -- the objects -----------------------------------------------------------


def test_nobody_can_write_into_them():
    amounts = np.array([[1000], [GIB], [110]])
    cluster = Cluster.of(["a"], amounts)
    amounts[0, 0] = 5
    assert cluster.allocatable[0, 0] == 1000
    arrays = [cluster.allocatable, cluster.foreign, cluster.states, cluster.taints.codes]
    arrays += [cluster.with_arrays(x=[1]).arrays["x"], Cluster.synthetic(3).labels[ZONE].codes]
    workload = Workload.synthetic(3)
    arrays += [workload.requests, workload.priority, workload.namespaces.codes, workload.tolerations.codes]
    for array in arrays:
        assert not array.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        cluster.source = "elsewhere"  # type: ignore[misc]


def test_take_keeps_rows_together():
    workload = Workload.from_frame(
        {"pod": [*"abc"], "cpu": [1, 2, 3], "memory": [4, 5, 6], "namespace": [*"xyz"], "label:l": ["p", None, "q"]}
    )
    taken = workload.take([2, 0])
    assert list(taken.names) == ["c", "a"]
    assert taken.requests[:, 0].tolist() == [3000, 1000]
    assert taken.namespaces.to_array().tolist() == ["z", "x"]
    assert taken.labels["l"].to_array().tolist() == ["q", "p"]
    assert taken.content_hash() == workload.take(np.array([True, False, True])).take([1, 0]).content_hash()
    assert len(workload.take([])) == 0


@given(st.lists(st.sampled_from(["a", "b", "a/2", "a/2/2"]), unique=True, min_size=1), st.data())
def test_a_pod_taken_again_is_a_pod_of_its_own(names, data):
    workload = Workload.of(names, [[i + 1, 2**20, 1] for i in range(len(names))])
    rows = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=12))
    taken = workload.take(rows)
    told = list(taken.names)
    assert len(set(told)) == len(rows)
    for place, (row, name) in enumerate(zip(rows, told, strict=True)):
        assert taken.requests[place, 0] == row + 1
        assert name == names[row] if row not in rows[:place] else name.startswith(f"{names[row]}/")
    assert taken.take(np.arange(len(rows))).content_hash() == taken.content_hash()


def test_a_sample_with_replacement_runs():
    workload = Workload.synthetic(5).take([4, 0, 4, 4])
    state = Cluster.synthetic(3).new_state(workload.schema)
    assert [state.pod_name(row) for row in workload.add_to(state)] == ["pod-4", "pod-0", "pod-4/2", "pod-4/3"]


def test_a_wider_schema_adds_nothing():
    wider = ResourceSchema.of(["nvidia.com/gpu"])
    cluster, workload = Cluster.synthetic(3).with_schema(wider), Workload.synthetic(3).with_schema(wider)
    assert cluster.allocatable[3].tolist() == [0, 0, 0]
    assert workload.requests[:, 3].tolist() == [0, 0, 0]
    assert cluster.schema == workload.schema == wider


def test_arrays_are_checked():
    cluster = Cluster.synthetic(3)
    with pytest.raises(InputError, match=r"array 'x' has shape \(2,\); wanted one value for each of 3 nodes"):
        cluster.with_arrays(x=[1, 2])
    assert cluster.with_arrays(x=[1, 2, 3]).with_arrays(y=[True] * 3).arrays.keys() == {"x", "y"}
    assert cluster.arrays == {}


def test_new_state_holds_nodes_usage_and_bound_pods():
    cluster = dataclasses.replace(
        Cluster.from_frame({**NODES, "zone": ["x", "y", "y"], "state": ["ready", "cordoned", "not_ready"],
                            "taints": ["a:NoSchedule", "", ""], "foreign:cpu_milli": [0, 7, 0]}),
        bound=Workload.of(["p", "q"], [[900, 5, 1], [10, 0, 1]], namespaces=Codes.of(["n", "m"])),
        bound_node=np.array([0, 2]),
    )  # fmt: skip
    state = cluster.new_state(ResourceSchema.of(["gpu"]))
    state.check()
    assert state.schema.names == ("cpu", "memory", "pods", "gpu")
    assert np.array_equal(state.requested[:3], cluster.requested())
    assert state.requested[0].tolist() == [900, 7, 10]
    assert state.requested[1, 0] == 5  # more than the node's 1 byte: seen in a real cluster, so not refused
    columns = state.node_columns()
    assert list(columns.names) == ["a", "b", "c"]
    assert columns.state.tolist() == [0, 3, 1]
    assert columns.taints[0] == (Taint("a"),)
    assert columns.labels[ZONE].to_array().tolist() == ["x", "y", "y"]
    assert state.pod_node.tolist() == [0, 2]
    assert len(state.pending_rows()) == 0
    assert cluster.new_state() is not cluster.new_state()


def test_they_look_well_in_a_notebook():
    cluster = Cluster.from_frame({"node": ["<b>"], "cpu": [4], "memory": ["8Gi"], "zone": ["<i>"]})
    text = cluster._repr_html_()
    assert "&lt;i&gt;" in text
    assert "<i>" not in text
    assert "8 GiB" in text
    text = Workload.synthetic(1000)._repr_html_()
    assert "1,000 pods" in text
    assert "100" in text
    assert repr(cluster) == "Cluster(1 node in 1 zone, 4 cores, 8 GiB)"
