"""A simulated run: what comes out of it, the same bytes each time, and what can't be simulated."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from k8slab import Cluster, Simulation, Workload
from k8slab.analysis.frames import check_frame
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError, Interrupted, UnknownName
from k8slab.experiments.simulation_run import Run
from k8slab.simulation import (
    Bursts,
    DaemonSet,
    Deployment,
    DisruptionBudget,
    Diurnal,
    Empirical,
    Exponential,
    Fixed,
    Health,
    HorizontalAutoscaler,
    Job,
    ListedFailures,
    Load,
    LogNormal,
    PodStream,
    Poisson,
    Replay,
    Uniform,
    Usage,
    Weibull,
)

TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"
NODES = Cluster.of(["a", "b"], [[4000, 4000], [8000, 8000], [20, 20]])
SHAPE = Workload.of(["s"], [[500, 500, 1]])


def parts(**more):
    return [
        PodStream("batch", SHAPE, Poisson("1m"), Exponential("4m"), **more),
        Deployment("web", {"cpu": "250m", "memory": "100"}, replicas=3, startup="20s", load=Load(1, swing=0.5)),
        Job("train", {"cpu": "500m", "memory": "10"}, completions=3, parallelism=2, durations="90s", at="5m"),
        DaemonSet("agent", {"cpu": "50m", "memory": "10"}),
    ]


@pytest.fixture(scope="module")
def run() -> Run:
    return Simulation(NODES, parts(), seed=3).run("2h")


# -- what comes out ---------------------------------------------------------------------


def test_every_frame_is_as_the_dictionary_says(run):
    for name in ("pods", "nodes", "utilization", "events"):
        check_frame(f"run_{name}", run.frames[name])
        assert run.frames[name] is getattr(run.frames, name)
    check_frame("run_summary", run.summary())
    with pytest.raises(UnknownName, match="did you mean 'pods'"):
        run.frames["pod"]
    with pytest.raises(AttributeError, match="has no frame 'podz'"):
        _ = run.frames.podz


def test_workloads_are_kept_at_their_number(run):
    pods = run.frames.pods
    assert (pods["workload"] == "web").sum() == 3
    assert (pods["workload"] == "agent").sum() == 2
    train = pods[pods["workload"] == "train"]
    assert train["outcome"].tolist() == ["succeeded"] * 3
    assert train["bound_s"].tolist() == [300.0, 300.0, 390.0]
    assert train["ended_s"].tolist() == [390.0, 390.0, 480.0]
    assert sorted(pods[pods["workload"] == "agent"]["node"]) == ["a", "b"]


def test_bare_pods_run_for_their_lifetime(run):
    pods = run.frames.pods
    batch = pods[pods["workload"].isna() & pods["ended_s"].notna()]
    assert len(batch) > 80
    assert (batch["outcome"] == "succeeded").all()
    assert 150 < (batch["ended_s"] - batch["bound_s"]).mean() < 330
    assert (batch["bound_s"] >= batch["arrived_s"]).all()
    assert batch["pending_s"].to_numpy() == pytest.approx((batch["bound_s"] - batch["arrived_s"]).to_numpy(), abs=1e-6)


def test_means_over_time_are_those_of_the_pods(run):
    pods, until = run.frames.pods, run.until_ns / SECOND_NS
    held = (pods["ended_s"].fillna(until) - pods["bound_s"].fillna(until)).sum()
    value = {name: number for name, (number, _) in run.metrics.items()}
    assert value["running_mean"] == pytest.approx(held / until)
    assert value["waiting_mean"] == pytest.approx(pods["pending_s"].sum() / until)
    assert run.frames.utilization["pods_running"].mean() == pytest.approx(held / until)
    busy = ((pods["ended_s"].fillna(until) - pods["bound_s"].fillna(until)) * pods["cpu_milli"]).sum() / until
    assert value["cpu_requested_mean"] == pytest.approx(100 * busy / 8000, rel=1e-6)
    nodes = run.frames.nodes
    assert nodes["cpu_requested_percent"].mean() == pytest.approx(value["cpu_requested_mean"], rel=1e-6)
    assert nodes["ready_s"].tolist() == [until, until]
    assert nodes["pods_bound"].sum() == pods["bound_s"].notna().sum()


def test_a_deployments_load_is_used_whatever_it_requests(run):
    frame = Simulation(NODES, parts()[1]).run("1h").frames.utilization
    # One core on the mean, of which 0.5 + 0.5 cos swings: 14 h is the peak, so the first hour is near the trough.
    assert 100 * 0.5 / 8 < frame["cpu_used_percent"].mean() < 100 * 0.75 / 8


def test_it_says_what_it_is_to_people(run):
    assert repr(run) == f"<Run kube-default: 2h of 2 nodes, {len(run.frames.pods):,} pods arrived>"
    assert "waiting mean" in run._repr_html_()
    assert run.answer().startswith("In 2h ")
    for plot in (run.plot.timeline, run.plot.utilization, run.plot.pending):
        axes = plot()
        assert axes.get_title(loc="left")
        assert axes.get_xlabel()


# -- the same bytes -----------------------------------------------------------------------


def test_what_was_wanted_and_not_there_is_counted_by_time():
    dark = ListedFailures(events=[{"node": node, "at": "10m", "duration": "2m"} for node in "ab"])
    web = [Deployment(f"web-{n}", {"cpu": "10m"}, replicas=4) for n in range(2)]
    run = Simulation(NODES, web, faults=[dark]).run("40m")
    # Two minutes of forty, for all.
    assert run.metrics["unavailable_mean"] == (5.0, "percent")
    assert run.metrics["restarts"][0] == 8
    # Two of four find no room, until there shall be two alone.
    big = Deployment("big", {"cpu": "3"}, replicas=4)
    run = Simulation(NODES, big, autoscalers=[HorizontalAutoscaler("big", 2, 4)]).run("1h")
    steps = run.frames.scaling.query("desired != replicas")
    assert steps["desired"].tolist()[-1] == 2
    lasted = np.diff([0, *steps["time_ns"], run.until_ns])
    wanted = np.array([4, *steps["desired"]])
    expected = 100 * ((wanted - 2) * lasted).sum() / (wanted * lasted).sum()
    assert run.metrics["unavailable_mean"][0] == pytest.approx(expected)
    assert "unavailable_mean" not in Simulation(NODES, parts()[2]).run("1m").metrics


def test_a_share_of_what_no_node_has_is_shown_as_none():
    asks = Deployment("gpu", {"cpu": "10m", "example.com/gpu": 1})
    run = Simulation(NODES, asks).run("1m")
    assert np.isnan(run.metrics["example.com/gpu_requested_mean"][0])
    assert "<td>-</td>" in run._repr_html_()
    assert "nan" not in run._repr_html_()


def test_the_report_tells_who_watched_and_of_many_alike_the_first(tmp_path):
    web = [Deployment(f"web-{n}", {"cpu": "10m"}) for n in range(9)]
    health = Health(budgets=[DisruptionBudget(name="web", workload="web-1", min_available=1)])
    report = Simulation(NODES, web, health=health).run("1m").to_html(tmp_path / "report.html")
    table = report.read_text(encoding="utf-8").split("What was run")[1].split("Manifest")[0]
    assert "DisruptionBudget(name=" in table
    assert "web-4" in table
    assert "web-5" not in table
    assert "... and 4 more, all in the manifest below" in table


def test_a_seed_gives_the_same_files_to_the_byte(tmp_path):
    def saved(folder: str, *, look: bool) -> dict[str, bytes]:
        made = Simulation(NODES, parts(usage=Usage(spread=0.4)), seed=5).run("1h")
        if look:
            made.plot.timeline()
            made.summary()
        files = made.save(tmp_path / folder)
        return {name: path.read_bytes() for name, path in files.items()}

    assert saved("one", look=False) == saved("two", look=True)
    gz = [Simulation(NODES, parts(), seed=5).run("10m").save(tmp_path / f, suffix=".csv.gz")["pods"] for f in "ab"]
    assert gz[0].read_bytes() == gz[1].read_bytes()


def test_parquet_is_the_same_to_the_byte(tmp_path):
    pytest.importorskip("pyarrow")
    files = [Simulation(NODES, parts(), seed=5).run("10m").save(tmp_path / f, suffix=".parquet") for f in "ab"]
    for name in files[0]:
        assert files[0][name].read_bytes() == files[1][name].read_bytes()


def test_one_more_part_leaves_the_others_draws_as_they_were():
    small = Simulation(NODES, parts()[0], seed=2).run("1h").frames.pods
    large = Simulation(NODES, [*parts(), PodStream("more", SHAPE, Poisson("9m"), "1m")], seed=2).run("1h").frames.pods
    large = large[large["pod"].str.startswith("batch-")]
    assert large["arrived_s"].tolist() == small["arrived_s"].tolist()
    both = small["ended_s"].notna().to_numpy() & large["ended_s"].notna().to_numpy()
    lasted = [(one["ended_s"] - one["bound_s"]).to_numpy()[both] for one in (small, large)]
    assert lasted[0] == pytest.approx(lasted[1], abs=1e-5)


def test_another_seed_is_another_run():
    first, second = (Simulation(NODES, parts()[0], seed=s).run("1h").frames.pods["arrived_s"].tolist() for s in (0, 1))
    assert first != second


# -- another policy on the same time ----------------------------------------------------------


def test_a_counterfactual_has_the_same_arrivals(run):
    other = run.counterfactual(policy="most-allocated")
    check_frame("counterfactual", other.frame)
    check_frame("counterfactual_pods", other.pods())
    values = other.frame.set_index("metric")
    assert values.loc["pods_arrived", "difference"] == 0
    assert other.other.simulation.policy.name == "most-allocated"
    assert (other.pods()["node_base"] != other.pods()["node_other"]).any()
    nodes = other.other.frames.nodes["cpu_requested_percent"].tolist()
    assert max(nodes) - min(nodes) > np.ptp(run.frames.nodes["cpu_requested_percent"])
    assert "difference" in other._repr_html_()
    same = run.counterfactual()
    assert (same.frame["difference"].fillna(0) == 0).all()


# -- interruption ------------------------------------------------------------------------------


def test_ctrl_c_ends_between_two_instants_with_the_frames_so_far():
    def press(at_ns: int) -> None:
        if at_ns > 600 * SECOND_NS:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"interrupted at \d+[hm].* of 2h") as caught:
        Simulation(NODES, parts(), seed=3).run("2h", progress=press)
    partial = caught.value.partial
    assert 600 * SECOND_NS < partial.until_ns < 7200 * SECOND_NS
    assert len(partial.frames.pods) > 5
    assert partial.interrupted
    assert "before it was interrupted" in partial.answer()
    assert signal.getsignal(signal.SIGINT) is before


def test_it_runs_in_any_thread():
    found = []
    worker = threading.Thread(target=lambda: found.append(Simulation(NODES, parts()[1]).run("10m")))
    worker.start()
    worker.join()
    assert len(found[0].frames.pods) == 3


# -- what can't be simulated ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Simulation(NODES, parts()).run("-5m"), "until: '-5m' is negative"),
        (lambda: Simulation(NODES, parts()).run("soon"), "until: 'soon' is no time span; wanted seconds"),
        (lambda: Simulation("nodes.csv", parts()), "cluster is a str; wanted a k8slab.Cluster"),
        (lambda: Simulation(NODES, [3]), "workload holds a int; wanted one of Workload, PodStream"),
        (lambda: Simulation(NODES, parts(), policy="kube-defualt"), "did you mean 'kube-default'"),
        (lambda: Simulation(NODES, parts(), seed=-1), "seed=-1: wanted a whole number"),
        (lambda: Simulation(NODES, [parts()[0]] * 2).run(), "two streams are named 'batch'"),
        (lambda: Simulation(NODES, [parts()[1]] * 2).run(), "two workloads are named 'web'"),
        (lambda: Poisson("-1s"), "Poisson, every: '-1s' is negative"),
        (lambda: Diurnal("1s", swing=1.5), "swing=1.5; wanted a number from 0 to 1"),
        (lambda: Bursts("1s", 0), "Bursts, burst_every: 0 is too short; wanted 1ns or more"),
        (lambda: Replay([-1]), "at_ns holds -1; wanted 0 or more"),
        (lambda: Uniform("2s", "1s"), "low '2s' is above high '1s'"),
        (lambda: Weibull("1s", 0), "Weibull: shape=0; wanted a number above 0"),
        (lambda: LogNormal("1s", float("nan")), "sigma=nan; wanted a number above 0"),
        (lambda: Empirical(()), "Empirical: no values"),
        (lambda: Fixed("x"), "Fixed, value: 'x' is no time span"),
        (lambda: Usage(cpu=-1), "usage: cpu=-1; wanted a number, 0 or more"),
        (lambda: Load("1", swing=2), "load: swing=2; wanted a number from 0 to 1"),
        (lambda: Deployment("web", {}, replicas=-1), "Deployment 'web': replicas=-1; wanted a whole number, 0 or more"),
        (lambda: Job("j", {}, completions=0), "Job 'j': completions=0; wanted a whole number, 1 or more"),
        (lambda: PodStream("s", SHAPE.take([]), Poisson("1s"), "1s"), "pods is an empty workload"),
        (lambda: Simulation(NODES, parts()).run("1m").save("x", suffix=".xlsx"), "suffix='.xlsx'; wanted one of .csv"),
        (lambda: Workload.of(["a"], [[1, 1, 1]], arrival_ns=[-5]), "pod 'a': arrival_ns is -5; wanted 0 or more"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_one_line(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)


# -- times at random ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "mean"),
    [
        (Poisson("10s"), 8640), (Diurnal("10s", swing=1.0), 8640), (Bursts("20s", "2s", "50m", "10m"), 10_800),
    ],
)  # fmt: skip
def test_arrivals_are_sorted_and_as_many_as_they_should_be(process, mean):
    day = 86_400 * SECOND_NS
    counts = []
    for seed in range(8):
        times = process.times(day, np.random.default_rng(seed))
        assert (np.diff(times) >= 0).all()
        assert 0 <= times[0] <= times[-1] < day
        counts.append(len(times))
    assert np.mean(counts) == pytest.approx(mean, rel=0.12)
    assert len(process.times(0, np.random.default_rng(0))) == 0


def test_a_diurnal_process_peaks_when_it_should():
    times = Diurnal("5s", swing=0.9, peak="6h").times(86_400 * SECOND_NS, np.random.default_rng(0))
    by_hour = np.bincount(times // (3600 * SECOND_NS), minlength=24)
    assert abs(int(np.argmax(by_hour)) - 6) <= 2
    assert by_hour[18] < by_hour[6] / 4


@pytest.mark.parametrize(
    ("distribution", "mean_s"),
    [
        (Fixed("2s"), 2.0), (Exponential(2), 2.0), (Weibull("2s", 0.7), 2.0), (Weibull("2s", 3), 2.0),
        (LogNormal("2s", 0.5), 2 * np.exp(0.125)), (Uniform("1s", "3s"), 2.0), (Empirical(("1s", 3)), 2.0),
    ],
)  # fmt: skip
def test_distributions_have_their_means(distribution, mean_s):
    drawn = distribution.draw(20_000, np.random.default_rng(1))
    assert drawn.dtype == np.int64
    assert (drawn >= 0).all()
    assert drawn.mean() / SECOND_NS == pytest.approx(mean_s, rel=0.05)


def test_a_trace_is_replayed_at_its_times():
    trace = SHAPE.take([0, 0, 0]).with_times([30 * SECOND_NS, 0, 7200 * SECOND_NS], [SECOND_NS] * 3)
    pods = Simulation(NODES, trace).run("1h").frames.pods
    assert pods["arrived_s"].tolist() == [0.0, 30.0]
    assert pods["ended_s"].tolist() == [1.0, 31.0]


def test_what_waits_is_placed_when_room_is_freed_the_more_important_first():
    sizes = Workload.of(["a", "b", "low", "high"], [[4000, 1, 1]] * 4, priority=[0, 0, 0, 9])
    trace = sizes.with_times(np.array([0, 0, 1, 2]) * SECOND_NS, np.array([10, 20, 5, 5]) * SECOND_NS)
    run = Simulation(NODES, trace, policy="least-allocated").run("1h")
    assert run.frames.pods.set_index("pod")["bound_s"].to_dict() == {"a": 0, "b": 0, "high": 10, "low": 15}
    assert run.frames.events["pod"].tolist() == ["low", "high"]
    assert run.metrics["pods_never_placed"] == (0, "count")


def test_swf_and_openb_are_readable_with_their_times(tmp_path):
    from k8slab import datasets

    log = tmp_path / "log.swf"
    fields = "-1 -1 -1 -1 -1 -1"
    lines = ("; a header", f" 1 10 5 60 20 -1 1024 20 -1 -1 1 7 {fields}", f" 2 12.5 0 0 1 -1 -1 1 -1 -1 0 7 {fields}",
             f" 3 40 0 9 1 -1 -1 1 -1 2048 1 8 {fields}")  # fmt: skip
    log.write_text("\n".join(lines))
    jobs = datasets.swf(log, cores_per_pod=16)
    assert list(jobs.names) == ["job-1-0", "job-1-1", "job-3-0"]
    assert jobs.requests.tolist() == [[16000, 16 * 2**20, 1], [4000, 4 * 2**20, 1], [1000, 2 * 2**20, 1]]
    assert (jobs.arrival_ns // SECOND_NS).tolist() == [0, 0, 30]
    assert (jobs.duration_ns // SECOND_NS).tolist() == [60, 60, 9]
    for text, message in (
        ("1 2 3", "log.swf, line 1: 3 fields; wanted 18"),
        ("one two", "log.swf, line 1: 'one two' isn't all numbers"),
        ("; nothing", "no job in it; wanted lines of 18 numbers"),
    ):
        log.write_text(text)
        with pytest.raises(InputError, match=message):
            datasets.swf(log)


@pytest.mark.skipif(not TRACES.is_dir(), reason="the published logs aren't here")
def test_the_published_logs_are_read():
    from k8slab import datasets

    gaia = datasets.swf(TRACES / "UniLu-Gaia-2014-2.swf.gz")
    assert len(gaia) > 50_000
    assert (np.diff(gaia.arrival_ns) >= 0).all()
    run = Simulation(Cluster.synthetic(20), gaia).run("1d")
    assert len(run.frames.pods) == (gaia.arrival_ns < 86_400 * SECOND_NS).sum()
    assert len(datasets.swf(TRACES / "nasa.swf.zip")) > 1_000
