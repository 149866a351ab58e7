"""The FGD study's inputs, and its runs held against the published values where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from k8slab.errors import InputError, UnknownName
from k8slab.experiments.fgd_run import POLICIES, curves, printed, run_fgd, summary
from k8slab.experiments.fgd_trace import TRACES, read_trace
from k8slab.kernels import gpu as kernels

SHARED = Path(__file__).parents[2] / "shared"
DATA, PUBLISHED = SHARED / "data" / "openb", SHARED / "conformance" / "fgd"
published = pytest.mark.skipif(
    not (DATA.is_dir() and PUBLISHED.is_dir()), reason="the traces and published values are not part of the project"
)
TABLES = ("allocation", "frag_amount", "frag_ratio")
DETERMINISTIC = tuple(POLICIES)[1:]
PUBLISHED_TRACES = ("default", "cpu100", "gpushare60", "gpuspec20", "multigpu40")


@pytest.fixture(scope="module")
def tables():
    key = ["trace", "policy", "seed"]
    return {name: pd.read_csv(PUBLISHED / f"{name}.csv.gz").set_index(key).sort_index() for name in TABLES}


# -- order, tuning, typical pods -----------------------------------------------------


@published
def test_seed_42_of_default():
    trace = read_trace(DATA, "default")
    arrivals = trace.arrivals(42)
    names = [trace.pod_names[row].removeprefix("openb-pod-") for row in arrivals.pod_rows]
    assert (len(names), names[:5]) == (10866, ["0255", "1685", "6784", "4463", "0602"])
    assert names[8152:8155] == ["3888", "5689", "2936"]
    assert sorted(arrivals.pod_rows[:8152].tolist()) == list(range(8152))
    assert trace.pod_milli[arrivals.pod_rows].sum() == 8_075_080
    ranked = [trace.node_names[row].removeprefix("openb-node-") for row in arrivals.node_rows[:4]]
    assert ranked == ["0260", "0858", "0619", "0582"]
    drawn = kernels._go_intn(arrivals.words.copy(), arrivals.cursors.copy(), 2**31 - 1)
    assert drawn == (7427497515176534052 >> 32) % (2**31 - 1)


@published
@pytest.mark.parametrize(
    ("name", "seed", "pods", "first", "ranks"),
    [
        ("default", 43, 10793, ["2283", "7248", "5897", "4175", "5883"], ["0764", "0033", "1085", "0775"]),
        ("gpushare100", 42, 16629, [], []),
        ("multigpu50", 42, 6361, ["6825", "2707", "5353"], ["0897", "0168", "1149", "0440"]),
    ],
)
def test_other_seeds_and_traces(name, seed, pods, first, ranks):
    trace = read_trace(DATA, name)
    arrivals = trace.arrivals(seed)
    assert len(arrivals.pod_rows) == pods
    assert [trace.pod_names[row][-4:] for row in arrivals.pod_rows[: len(first)]] == first
    assert [trace.node_names[row][-4:] for row in arrivals.node_rows[: len(ranks)]] == ranks


@published
@pytest.mark.parametrize(
    ("name", "taken", "shapes"),
    [("default", 35, 91), ("gpuspec33", 127, 330), ("gpushare100", 21, 49), ("multigpu50", 43, 91)],
)
def test_typical_pods(name, taken, shapes):
    trace = read_trace(DATA, name)
    assert (len(trace.typical.weight), len(trace.shape_names)) == (taken, shapes)
    assert trace.typical.weight.sum() == pytest.approx(1.0)


def test_the_embedded_shapes_make_a_trace_of_the_same_size():
    trace = read_trace(None, "default")
    assert (trace.gpus, len(trace.pod_names), len(trace.shape_names)) == (6212, 8152, 91)
    assert trace.source.startswith("openb, embedded shapes")
    run = run_fgd(trace, "06-FGD", 42)
    row = summary(run, curves(run))
    assert 94 < row["alloc_100"] < 97
    assert run.used[-1] + run.nodes.idle.sum() == 6_212_000


# -- runs ---------------------------------------------------------------------------


@published
@pytest.mark.parametrize(
    ("policy", "nodes", "first_failed", "failed"),
    [
        ("06-FGD", "0260 1080 0260 0260 0260 0292 1141 0260", 7885, 2532),
        ("05-BestFit", "1080 0292 0016 0431 1052 1052 1141 0985", 7727, 2676),
        ("02-DotProd", "0431 1080 0016 1052 0985 1052 0431 0430", 7505, 2874),
        ("03-GpuClustering", "0260 1080 1032 1033 0882 0292 1141 0431", 7592, 2797),
        ("04-GpuPacking", "0260 1080 1032 1033 0882 0882 0292 0431", 7595, 2794),
    ],
)
def test_the_first_placements_and_the_failures(policy, nodes, first_failed, failed):
    trace = read_trace(DATA, "default")
    run = run_fgd(trace, policy, 42)
    assert [trace.node_names[row][-4:] for row in run.node[:8]] == nodes.split()
    assert (int(np.argmax(run.failed)), int(run.failed.sum())) == (first_failed, failed)
    assert sum(count for _, count in run.failed_by_shape()) == failed


@published
def test_the_end_of_the_run_that_the_authors_show():
    trace = read_trace(DATA, "default")
    run = run_fgd(trace, "06-FGD", 42)
    assert printed(run.fragmented)[0] == 866232.55
    assert trace.nodes.cpu.sum() - run.nodes.cpu.sum() == 89_928_302
    assert trace.nodes.memory.sum() - run.nodes.memory.sum() == 328_998_433_325_056
    assert run.used[-1] == 5_919_410
    classes = run.classes()
    assert sum(classes.values()) == pytest.approx(292_590)
    assert sum(classes.values()) - classes["q3_satisfied"] == pytest.approx(run.fragmented[-1], abs=1e-6)
    assert printed(100 * run.fragmented / (6_212_000 - run.used))[-1] == 99.58


def differing(tables, trace, policy, seed, table):
    """Values of the three tables that are not the published ones, and how many were compared."""
    compared, wrong = 0, []
    for name in TABLES:
        expected, got = tables[name].loc[(trace, policy, seed)].to_numpy(), getattr(table, name)
        same = (expected == got) | (np.isnan(expected) & np.isnan(got))
        compared += len(same)
        wrong += [(name, load, expected[load], got[load]) for load in np.flatnonzero(~same).tolist()]
    return compared, wrong


def check_runs(tables, trace, seeds):
    by_seed = pd.read_csv(PUBLISHED / "by_seed.csv").set_index(["trace", "policy", "seed"])
    read = read_trace(DATA, trace)
    for seed in seeds:
        arrivals = read.arrivals(seed)
        for policy in DETERMINISTIC:
            run = run_fgd(read, policy, seed, arrivals)
            table = curves(run)
            assert differing(tables, trace, policy, seed, table) == (3 * 131, [])
            row = summary(run, table)
            expected = by_seed.loc[(trace, policy, seed)].to_dict()
            assert {key: row[key] for key in expected} == expected


@published
@pytest.mark.parametrize("trace", PUBLISHED_TRACES)
def test_every_published_value_of_three_seeds_is_equal(tables, trace):
    # With seeds 45 and 51 of some traces the clones meet the target exactly.
    check_runs(tables, trace, (42, 45, 51))


@published
@pytest.mark.long
@pytest.mark.parametrize("trace", PUBLISHED_TRACES)
def test_every_published_value_is_equal(tables, trace):
    check_runs(tables, trace, range(42, 52))


@published
def test_the_comparison_sees_the_last_digit(tables):
    trace = read_trace(DATA, "default")
    table = curves(run_fgd(trace, "06-FGD", 42))
    table.frag_amount[100] += 0.01
    compared, wrong = differing(tables, "default", "06-FGD", 42, table)
    assert (compared, [(name, load) for name, load, *_ in wrong]) == (393, [("frag_amount", 100)])


@published
def test_random_agrees_in_mean(tables):
    """The law is the same, not the draws: the mean of ten seeds lies within its own standard error."""
    trace = read_trace(DATA, "default")
    ours = np.array([curves(run_fgd(trace, "01-Random", seed)).allocation for seed in range(42, 52)])
    theirs = tables["allocation"].loc[("default", "01-Random")].to_numpy()
    for load in (100, 130):
        spread = np.sqrt((ours[:, load].var(ddof=1) + theirs[:, load].var(ddof=1)) / 10)
        assert abs(ours[:, load].mean() - theirs[:, load].mean()) < 4 * spread


def test_rounding_is_that_of_printf():
    values = np.array([0.125, 0.375, 1.005, 2.675, 866232.545, 1e6 + 0.005, 3.14159, 0.0])
    assert printed(values).tolist() == [float(f"{value:.2f}") for value in values.tolist()]


# -- bad input --------------------------------------------------------------------------

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn-0,8000,32768,1,V100M16\nn-1,32000,131072,2,T4\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
    "p-0,6000,12288,1,460,\n"
    "p-1,12000,16384,2,1000,V100M16|T4\n"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "openb_node_list_gpu_node.csv").write_text(NODES)
    (tmp_path / "openb_pod_list_default.csv").write_text(PODS)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("pod_list_default", "V100M16|T4", "V100M16|T5",
         r"default\.csv, line 3 \(pod 'p-1'\): gpu_spec is 'V100M16\|T5', but no node has the model 'T5'"),
        ("pod_list_default", "2,1000", "2,500",
         r"3 \(pod 'p-1'\): gpu_milli is 500; wanted 1000: who asks several GPUs takes them whole"),
        ("pod_list_default", "1,460", "1,1460", r"2 \(pod 'p-0'\): gpu_milli is 1460; wanted milli of each GPU, 1000"),
        ("pod_list_default", "1,460", "1,0", r"2 \(pod 'p-0'\): num_gpu is 1; wanted 0, or milli of each GPU"),
        ("pod_list_default", "num_gpu", "gpus", r"default\.csv: no column 'num_gpu'; the nearest is"),
        ("node_list_gpu_node", "1,V100M16", "0,", r"node\.csv, line 2 \(node 'n-0'\): gpu is 0; wanted 1 or more"),
        ("node_list_gpu_node", "2,T4", "2,", r"node\.csv, line 3 \(node 'n-1'\): model is missing; wanted the model"),
        ("node_list_gpu_node", "2,T4", "64,T4", r"node\.csv, line 3 \(node 'n-1'\): gpu is 64; wanted 63 or less"),
        ("node_list_gpu_node", "model", "kind", r"gpu_node\.csv: no column 'model'"),
    ],
)  # fmt: skip
def test_a_bad_cell_is_named_by_file_line_and_column(folder, file, old, new, message):
    path = folder / f"openb_{file}.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_trace(folder, "default")


def test_a_wrong_folder_and_a_wrong_trace_are_said(folder):
    with pytest.raises(InputError, match="there is no such folder"):
        read_trace(folder / "nowhere", "default")
    with pytest.raises(UnknownName, match=r"unknown pod list 'gpuspec3'"):
        read_trace(folder, "gpuspec3")


def test_pods_that_never_fill_the_gpus_are_refused(folder):
    pods = PODS.replace("1,460", "0,0").replace("2,1000,V100M16|T4", "0,0,")
    (folder / "openb_pod_list_default.csv").write_text(pods)
    with pytest.raises(InputError, match=r"openb_pod_list_default\.csv: no pod asks a GPU"):
        read_trace(folder, "default")


def test_a_small_trace_runs(folder):
    trace = read_trace(folder, "default")
    run = run_fgd(trace, "06-FGD", 7)
    # 2,460 of 3,000 milli are there; 3,900 are wanted, and the clone that reaches that may overshoot.
    assert sorted(run.pods[:2].tolist()) == [0, 1]
    assert run.arrived[1] == 2460
    assert run.arrived[-1] < 3900 + 2000


def test_the_study_has_17_traces():
    assert len(set(TRACES)) == 17
