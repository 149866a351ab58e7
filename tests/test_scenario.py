"""Scenario files and the command that runs them: every error names the file, the key and the value."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from k8slab import Workload
from k8slab.analysis.frames import check_frame
from k8slab.cli import app
from k8slab.domain.detectors import LeaseMonitor, PhiAccrual
from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError
from k8slab.experiments.scenario import example_scenario, load_scenario
from k8slab.experiments.simulation import Simulation
from k8slab.simulation import Diurnal, LogNormal, Usage

SCENARIO = """
until = "30m"
seed = 4
policy = "most-allocated"

[cluster]
nodes = 4
zones = 2

[[stream]]
name = "batch"
pods = { classes = 3, pods = 20 }
arrivals = { kind = "diurnal", every = "1m", swing = 0.8 }
lifetimes = { kind = "lognormal", median = "5m" }
usage = { cpu = 0.5, spread = 0.2 }

[[deployment]]
name = "web"
count = 2
replicas = 2
requests = { cpu = "500m", memory = "1Gi" }
load = { cpu = "2", swing = 0.5 }
tolerations = ["dedicated=web:NoSchedule"]

[[job]]
name = "train"
requests = { cpu = 1, memory = "1Gi" }
durations = "2m"

[[daemonset]]
name = "agent"
requests = { cpu = "50m", memory = "64Mi" }
"""


def written(folder: Path, text: str = SCENARIO) -> Path:
    path = folder / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_scenario_is_what_it_says(tmp_path):
    told = load_scenario(written(tmp_path))
    setup = told.simulation
    assert (told.until, setup.seed, setup.policy.name, len(setup.cluster)) == ("30m", 4, "most-allocated", 4)
    stream, *rest = setup.parts
    assert stream.arrivals == Diurnal("1m", swing=0.8)
    assert stream.lifetimes == LogNormal("5m")
    assert stream.usage == Usage(cpu=0.5, spread=0.2)
    assert [part.name for part in rest] == ["web-0", "web-1", "train", "agent"]
    assert rest[0].tolerations == ("dedicated=web:NoSchedule",)
    run = setup.run(told.until)
    assert set(run.frames.pods["workload"].dropna()) == {"web-0", "web-1", "train", "agent"}
    other = load_scenario(written(tmp_path), seed=9, policy="best-fit", until="1h")
    assert (other.until, other.simulation.seed, other.simulation.policy.name) == ("1h", 9, "best-fit")


def test_files_are_found_beside_the_scenario(tmp_path):
    trace = Workload.synthetic(6, classes=2).with_times([n * SECOND_NS for n in range(6)], [SECOND_NS] * 6)
    trace.save(tmp_path / "pods.csv")
    (tmp_path / "log.swf").write_text("1 0 0 60 4 -1 -1 4 -1 -1 1 7 -1 -1 -1 -1 -1 -1\n")
    text = '[cluster]\nnodes = 3\n[[trace]]\nfile = "pods.csv"\n[[trace]]\nswf = "log.swf"\ncores_per_pod = 2\n'
    run = load_scenario(written(tmp_path, text)).simulation.run("1m")
    assert run.frames.pods["ended_s"].dropna().tolist() == [1, 2, 3, 4, 5, 6, 60, 60]
    shapes = '[[stream]]\nname = "s"\narrivals = { kind = "poisson", every = 5 }\nlifetimes = 9\npods = { %s }\n'
    for pods in ('requests = { cpu = 1, memory = "1Gi", "nvidia.com/gpu" = 1 }, priority = 7', 'file = "pods.csv"'):
        made = load_scenario(written(tmp_path, "[cluster]\nnodes = 3\n" + shapes % pods)).simulation
        assert made.parts[0].name == "s"
    assert made.parts[0].pods.content_hash() == trace.content_hash()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("replicas = 2", "replcas = 2", "[[deployment]] 'web': unknown key 'replcas'; did you mean 'replicas'?"),
        ("seed = 4", "sede = 4", "scenario.toml: unknown key 'sede'; did you mean 'seed'?"),
        ("zones = 2", "zone = 2", "[cluster]: unknown key 'zone'; did you mean 'zones'?"),
        ('until = "30m"', 'until = "-30m"', "scenario.toml, until: '-30m' is negative"),
        ('every = "1m"', 'every = "-1m"', "[[stream]] 'batch', arrivals: Diurnal, every: '-1m' is negative"),
        ('every = "1m"', 'evry = "1m"', "[[stream]] 'batch', arrivals: unknown key 'evry'; did you mean 'every'?"),
        ('every = "1m", ', "", "[[stream]] 'batch', arrivals: every is missing"),
        ('"diurnal"', '"diurnl"', "arrivals, kind: unknown kind 'diurnl'; did you mean 'diurnal'?"),
        ('kind = "diurnal", ', "", "arrivals: no kind; wanted one of poisson, diurnal, bursts, replay"),
        ("swing = 0.8", "swing = 8", "Diurnal: swing=8; wanted a number from 0 to 1"),
        ("cpu = 0.5, spread", "cpu = -0.5, spread", "[[stream]] 'batch', usage: usage: cpu=-0.5"),
        ('"lognormal"', '"lognormal2"', "lifetimes, kind: unknown kind 'lognormal2'; did you mean 'lognormal'?"),
        ("count = 2", "count = 0", "[[deployment]] 'web': count is 0; wanted a whole number, 1 or more"),
        ("replicas = 2", "replicas = -2", "[[deployment]] 'web': Deployment 'web': replicas=-2"),
        ("count = 2\n", "", "cpu=..."),
        ('cpu = "500m"', 'cpu = "500x"', "'500x' is no quantity"),
        ("most-allocated", "most-alocated", "policy: unknown policy 'most-alocated'; did you mean 'most-allocated'?"),
        ("seed = 4", "seed = -4", "seed=-4: wanted a whole number, 0 or more"),
        ("nodes = 4\n", "", "[cluster]: neither nodes nor file; wanted nodes = 100"),
        ("nodes = 4\n", "nodes = 0\n", "[cluster]: nodes=0: wanted a whole number, 1 or more"),
        ("[cluster]\nnodes = 4\nzones = 2\n", "", "no [cluster]; wanted one with nodes = 100"),
        ("[[job]]", "[job]", "job is no list of tables; wanted [[job]]"),
        ('durations = "2m"', 'durations = "-2m"', "[[job]] 'train': Fixed, value: '-2m' is negative"),
        ("[cluster]", "[cluster", "scenario.toml: it isn't TOML: "),
        ('requests = { cpu = 1, memory = "1Gi" }', "", "[[job]] 'train': requests is missing"),
        ("requests = { cpu = 1,", "requests = { cpu = -1,", "Job 'train': requests, cpu=-1 is negative"),
        ("requests = { cpu = 1,", "requests = { cpus = 1,", "unknown resource 'cpus'; did you mean 'cpu'?"),
        ('["dedicated=web:NoSchedule"]', '["dedicated=web:NoShedule"]', "tolerations, 'dedicated=web:NoShedule'; "),
        ('["dedicated=web:NoSchedule"]', "[{ key = 1 }]", "Deployment 'web': tolerations, {'key': 1}; wanted texts"),
        ("replicas = 2", 'replicas = 2\npriority = "high"', "Deployment 'web': priority='high'; wanted a whole number"),
        ("replicas = 2", 'replicas = 2\nlabels = "app"', "Deployment 'web': labels='app'; wanted keys and values"),
        ("replicas = 2", "replicas = 2\nlabels = { app = 1 }", "Deployment 'web': label app=1; wanted a text"),
        ("replicas = 2", "replicas = 2\nnamespace = 3", "Deployment 'web': namespace=3; wanted a text"),
        ('load = { cpu = "2"', 'load = { cpu = "-2"', "load: cpu='-2' is negative"),
        ('name = "train"', 'name = "agent"', "scenario.toml: two workloads are named 'agent'"),
        ('kind = "diurnal", every = "1m", swing = 0.8', 'kind = "replay"', "arrivals: wanted one of file and swf"),
    ],
)
def test_an_error_names_the_file_the_key_and_the_value(tmp_path, before, after, message):
    assert before in SCENARIO
    path = written(tmp_path, SCENARIO.replace(before, after, 1))
    if message == "cpu=...":
        assert load_scenario(path).simulation.parts[1].name == "web"
        return
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert message in str(caught.value)
    if "Diurnal" not in message and "quantity" not in message:
        assert str(path) in str(caught.value)


FAULTY = SCENARIO + """
[[fault]]
kind = "node"
mtbf = "20m"
repair = "2m"

[[fault]]
kind = "list"
name = "planned"
events = [{ at = "5m", duration = "3m", node = "node-1" }]

[[fault]]
kind = "pod-crash"
mtbf = "10m"

[health]
pod_grace = "10s"
detector = { kind = "lease", grace = "40s" }

[health.compare]
phi = { kind = "phi", threshold = 5, window = 20 }

[health.probes.web-0]
liveness = { period_seconds = 5, failure_threshold = 2 }
readiness = {}

[[budget]]
name = "keep"
workload = "web-0"
min_available = "50%"

[[drain]]
node = "node-0"
at = "10m"
uncordon = "5m"
"""


def test_faults_and_health_of_a_scenario(tmp_path):
    made = load_scenario(written(tmp_path, FAULTY)).simulation
    assert [fault.name for fault in made.faults] == ["node", "planned", "pod-crash"]
    assert made.health.detector == LeaseMonitor(40 * SECOND_NS)
    assert made.health.compare == {"phi": PhiAccrual(threshold=5, window=20)}
    assert made.health.probes["web-0"].liveness.period_seconds == 5
    run = made.run("30m")
    assert {"evict", "drain", "restart"} <= set(run.frames.healing["action"])
    assert set(run.frames.detectors["detector"]) == {"LeaseMonitor", "phi"}
    events = run.healing_events()
    assert len(events) == len(run.frames.healing)
    told = run.frames.healing[["action", "reason", "success"]].itertuples(index=False, name=None)
    assert [(e.action_taken, e.metadata["reason"], e.success) for e in events] == list(told)
    assert all(event.metadata["reason"] for event in events if event.action_taken != "uncordon")
    assert [event.event_id for event in run.healing_events(2)] == [event.event_id for event in events[-2:]]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('kind = "node"', 'kind = "nod"', "[[fault]] 1, kind: unknown kind 'nod'; did you mean 'node'?"),
        ('mtbf = "20m"', 'mtfb = "20m"', "[[fault]] 1: unknown key 'mtfb'; did you mean 'mtbf'?"),
        ('mtbf = "20m"', 'mtbf = "-20m"', "[[fault]] 1: fault 'node', mtbf: '-20m' is negative"),
        ('repair = "2m"', 'repair = "2m"\nnodes = ["node-77"]', "[[fault]] 1: unknown node 'node-77'; did you mean"),
        ('node = "node-1" }', 'node = "node-9" }', "[[fault]] 'planned': unknown node 'node-9'; did you mean"),
        ('min_available = "50%"', 'min_available = "5o%"', "[[budget]] 'keep': budget 'keep': '5o%' is neither"),
        ('min_available = "50%"', "min_availble = 1", "unknown key 'min_availble'; did you mean 'min_available'?"),
        ('workload = "web-0"', 'workload = "web-7"', "[[budget]] 'keep', workload: unknown workload 'web-7'; did"),
        ('node = "node-0"', 'node = "node-O"', "[[drain]] 1, node: unknown node 'node-O'; did you mean 'node-"),
        ('at = "10m"', 'at = "-10m"', "drain of 'node-0', at: '-10m' is negative"),
        ('pod_grace = "10s"', 'pod_grase = "10s"', "[health]: unknown key 'pod_grase'; did you mean 'pod_grace'?"),
        ('pod_grace = "10s"', 'pod_grace = "-1s"', "[health]: health, pod_grace: '-1s' is negative"),
        ('grace = "40s" }', 'grase = "40s" }', "[health.detector]: unknown key 'grase'; did you mean 'grace'?"),
        ('"lease"', '"leese"', "[health.detector], kind: unknown kind 'leese'; did you mean 'lease'?"),
        ('grace = "40s" }', 'grace = "-4s" }', "[health.detector]: grace: '-4s' is negative"),
        ("[health.probes.web-0]", "[health.probes.web-9]", "[health.probes.web-9]: unknown workload 'web-9'; did"),
        ("period_seconds = 5", "period = 5", "[health.probes.web-0], liveness: unknown key 'period'; did you mean"),
        ("period_seconds = 5", "period_seconds = 0", "wanted a period of 1 s or more"),
    ],
)  # fmt: skip
def test_an_error_of_faults_and_health_names_the_file_the_key_and_the_value(tmp_path, before, after, message):
    assert before in FAULTY
    path = written(tmp_path, FAULTY.replace(before, after, 1))
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


AUTOSCALED = SCENARIO + """
[[autoscaler]]
kind = "horizontal"
deployment = "web-0"
min_replicas = 2
max_replicas = 4
metrics = [{ utilization = 60 }]
"""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("max_replicas = 4", "max_replicas = 1", "autoscaler 'web-0': min_replicas=2 is above max_replicas=1"),
        ("min_replicas = 2", "min_replicas = -2", "autoscaler 'web-0': min_replicas=-2; wanted a whole number"),
        ("utilization = 60", "utilisation = 60", "unknown key 'utilisation'; did you mean 'utilization'?"),
        ("utilization = 60", 'average = "-5"', "autoscaler 'web-0': a Resource metric with target -5,000; wanted more"),
        ('"web-0"', '"web-8"', "unknown deployment 'web-8'; did you mean 'web-"),
    ],
)
def test_an_error_of_an_autoscaler_names_it(tmp_path, before, after, message):
    assert before in AUTOSCALED
    path = written(tmp_path, AUTOSCALED.replace(before, after, 1))
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('instance_type = "general-4"', 'instance_typ = "general-4"', "unknown key 'instance_typ'; did you mean"),
        ('instance_type = "general-4", ', "", "group 'web': instance_type is missing"),
        ("taints = []", "taints = [{ key = 1 }]", "node group 'web': taint {'key': 1}; wanted key=value:Effect"),
        ("groups = [{", "groups = {", "wanted a list of NodeGroups, or of their keys and values"),
        ('catalogue = "types.csv"', "catalogue = 3", "catalogue=3; wanted an InstanceCatalogue, or a file's name"),
        ('"price, least-nodes"', '"price, least-node"', "unknown expander 'least-node'; did you mean 'least-nodes'?"),
    ],
)
def test_an_error_of_a_node_autoscaler_names_it(tmp_path, before, after, message):
    # A catalogue is looked for beside the scenario, and expanders are chained as cluster-autoscaler's flag has them.
    (tmp_path / "types.csv").write_text("instance_type,price_per_hour,cpu,memory\ngeneral-4,0.2,4,16Gi\n")
    text = SCENARIO + """
[[autoscaler]]
kind = "cluster"
expander = "price, least-nodes"
catalogue = "types.csv"
groups = [{ name = "web", instance_type = "general-4", taints = [] }]
"""
    assert load_scenario(written(tmp_path, text)).simulation.autoscalers[0].expander == ("price", "least-nodes")
    wrong = text.replace(before, after, 1)
    wrong = wrong.replace("taints = [] }]", "taints = [] }") if "groups = {" in wrong else wrong
    with pytest.raises(InputError) as caught:
        load_scenario(written(tmp_path, wrong))
    assert message in str(caught.value)
    assert "scenario.toml" in str(caught.value)


def test_the_pods_of_a_stream_are_asked_as_those_of_a_workload(tmp_path):
    shape = 'pods = { requests = { cpu = 1 }, tolerations = ["gpu:NoSchedule"], namespace = "ml", priority = 3 }'
    text = SCENARIO.replace("pods = { classes = 3, pods = 20 }", shape)
    pods = load_scenario(written(tmp_path, text)).simulation.parts[0].pods
    assert (pods.namespaces[0], pods.priority[0], pods.tolerations[0][0].key) == ("ml", 3, "gpu")
    with pytest.raises(InputError, match=r"\[\[stream\]\] 'batch', pods: .*tolerations, 'gpu:NoShedule'; wanted"):
        load_scenario(written(tmp_path, text.replace("NoSchedule", "NoShedule", 1)))


def test_pods_say_where_they_may_run_as_in_a_manifest(tmp_path):
    chosen = 'spec = { nodeSelector = { disc = "ssd" } }'
    text = SCENARIO.replace("pods = { classes = 3, pods = 20 }", f"pods = {{ requests = {{ cpu = 1 }}, {chosen} }}")
    text = text.replace("[[deployment]]\n", f"[[deployment]]\n{chosen}\n")
    stream, web = load_scenario(written(tmp_path, text)).simulation.parts[:2]
    assert stream.pods.specs[0].node_selector == web.pod_spec().node_selector == (("disc", "ssd"),)
    wrong = text.replace("nodeSelector", "nodeSelectr")
    with pytest.raises(InputError, match=r"scenario.toml, \[\[\w+\]\].* spec: unknown key .* 'nodeSelector'"):
        load_scenario(written(tmp_path, wrong))


def test_a_stream_may_come_at_a_traces_times(tmp_path):
    pods = Workload.synthetic(pods=4, seed=1)
    timed = pods.to_frame().assign(arrival_ns=[9, 5, 7, 60])
    Workload.from_frame(timed).save(tmp_path / "pods.csv")
    replayed = SCENARIO.replace('kind = "diurnal", every = "1m", swing = 0.8', 'kind = "replay", file = "pods.csv"')
    stream = load_scenario(written(tmp_path, replayed)).simulation.parts[0]
    assert stream.arrivals.times(50, None).tolist() == [5, 7, 9]
    pods.save(tmp_path / "pods.csv")
    with pytest.raises(InputError, match=r"'pods.csv' has no times; wanted a column arrival_ns"):
        load_scenario(written(tmp_path, replayed))


def test_an_autoscaler_that_never_reaches_its_target_says_so(tmp_path):
    run = load_scenario(written(tmp_path, AUTOSCALED.replace("utilization = 60", "utilization = 5"))).simulation.run()
    last = run.frames.scaling.iloc[-1]
    assert (last["desired"], last["limited"]) == (4, "TooManyReplicas")


def test_a_scenario_without_anything_to_run(tmp_path):
    with pytest.raises(InputError, match="nothing to run"):
        load_scenario(written(tmp_path, "[cluster]\nnodes = 2\n"))
    with pytest.raises(InputError, match=r"cannot read the scenario .*No such file"):
        load_scenario(tmp_path / "missing.toml")


LIMITS = '''limits = [{ default_request = { cpu = "250m" }, default = { memory = "2Gi" }, max = { memory = "2Gi" } }]'''
NAMESPACED = """
until = "30m"

[cluster]
nodes = 4

[priority_classes]
urgent = 1000

[[namespace]]
name = "team"
quotas = [
  { name = "few", hard = { pods = 1 }, priority_classes = ["urgent"] },
  { name = "all", hard = { "requests.cpu" = "2.2", pods = 99 } },
]
limits = [{ default_request = { cpu = "250m" }, default = { memory = "2Gi" }, max = { memory = "2Gi" } }]

[[deployment]]
name = "web"
namespace = "team"
replicas = 12
requests = { memory = "1Gi" }

[[deployment]]
name = "vip"
namespace = "team"
replicas = 3
priority = 1000
requests = { cpu = "100m", memory = "64Mi" }
"""


def test_a_scenario_may_have_namespaces(tmp_path):
    told = load_scenario(written(tmp_path, NAMESPACED))
    run = told.simulation.run(told.until)
    pods = run.frames.pods
    # Eight of 250m are all that 2.2 cores allow; there is room for two of 100m, but not in the class's quota.
    assert pods["workload"].value_counts().to_dict() == {"web": 8, "vip": 1}
    assert (pods[pods["workload"] == "web"]["cpu_milli"] == 250).all()
    refused = run.frames.events.query("event == 'FailedCreate'")["detail"].tolist()
    assert sorted(refused) == ["vip: exceeded quota 'few': pods", "web: exceeded quota 'all': requests.cpu"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("quotas =", "qoutas =", "[[namespace]] 'team': unknown key 'qoutas'; did you mean 'quotas'?"),
        ("pods = 1 }", "pods = 1 }, scope = []", "quotas 1: unknown key 'scope'; did you mean 'scopes'?"),
        ("max =", "maxx =", "[[namespace]] 'team', limits 1: unknown key 'maxx'; did you mean 'max'?"),
        ('"requests.cpu"', '"request.cpu"', "unknown resource of a quota 'request.cpu'; did you mean 'requests.cpu'?"),
        ('["urgent"]', '["urgnt"]', "unknown priority class 'urgnt'; did you mean 'urgent'?"),
        ("urgent = 1000", "urgent = 1.5", "[priority_classes]: priority class 'urgent': 1.5; wanted a whole number"),
        ('cpu" = "2.2"', 'cpu" = "-2"', "namespace 'team': quota 'all', requests.cpu: '-2' is negative"),
        ("[[namespace]]", "[namespace]", "namespace is no list of tables; wanted [[namespace]]"),
        (LIMITS, 'limits = { cpu = "250m" }', "[[namespace]] 'team', limits: {'cpu': '250m'} is no list of tables"),
        ("[{ default_request", '[{ type = "Contaner", default_request', "'Contaner'; did you mean 'Container'?"),
        ('"few"', '"all"', "two quotas are named 'all'"),
    ],
)
def test_what_is_wrong_with_a_namespace_is_named(tmp_path, before, after, message):
    assert before in NAMESPACED
    with pytest.raises(InputError) as error:
        load_scenario(written(tmp_path, NAMESPACED.replace(before, after, 1)))
    assert message in str(error.value)
    assert "scenario.toml" in str(error.value)


# -- the command ------------------------------------------------------------------------------


def simulate(*arguments: str | Path):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_the_command_writes_frames_and_a_report(tmp_path):
    out = tmp_path / "out"
    result = simulate(written(tmp_path), "--out", out, "--against", "kube-default")
    assert result.exit_code == 0, result.output
    assert "Report:" in result.output
    for name in ("pods", "nodes", "utilization", "events", "summary"):
        assert (out / f"{name}.csv").is_file()
    check_frame("counterfactual", pd.read_csv(out / "differences.csv"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "30m of 4 nodes under most-allocated" in page
    assert "pairs of runs" not in page
    assert "<img" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["seed"] == 4
    again = tmp_path / "again"
    assert simulate(written(tmp_path), "--out", again, "--against", "kube-default").exit_code == 0
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {p.name: p.read_bytes() for p in out.iterdir()}


def test_the_report_shows_what_there_is(tmp_path):
    faulty = (
        written(tmp_path).read_text()
        + '[[autoscaler]]\nkind = "horizontal"\ndeployment = "web-0"\nmax_replicas = 9\n'
        + '[[fault]]\nkind = "node"\nmtbf = "10m"\n'
    )
    out = tmp_path / "out"
    result = simulate(written(tmp_path, faulty), "--out", out, "--against", "kube-default", "--seeds", 2)
    assert result.exit_code == 0, result.output
    page = (out / "report.html").read_text(encoding="utf-8")
    for told in ("<h2>Autoscalers", "<h2>Failures", "outages found, by delay", "2 pairs of runs, of the seeds 4 to 5"):
        assert told in page, told
    assert "Nodes that come and go" not in page
    assert "-0.0" not in page
    differences = pd.read_csv(out / "differences.csv")
    assert (differences["pairs"] == 2).all()
    assert differences["low"].notna().any()


def test_a_stranger_is_told_how_to_begin(tmp_path):
    bare = simulate()
    assert bare.exit_code == 2
    assert "k8slab simulate --example > scenario.toml" in " ".join(bare.output.split())
    example = simulate("--example")
    assert example.exit_code == 0
    assert example.stdout == example_scenario()
    # What it prints runs, from stdin too, and knows every kind of table.
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["simulate", "-", "--until", "1h", "--json", "--out", str(out)], input=example.stdout
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["summary"]
    assert told["pods_arrived"]["value"] > 40
    assert (out / "report.html").is_file()
    told_of = {line.strip("[]").split(".")[0] for line in example.stdout.splitlines() if line.startswith("[")}
    assert told_of >= {"cluster", "stream", "deployment", "daemonset", "autoscaler", "fault", "health", "namespace"}


def test_the_command_prints_json_and_nothing_else(tmp_path):
    result = simulate(written(tmp_path), "--out", tmp_path / "out", "--json", "--until", "5m")
    told = json.loads(result.stdout)
    assert told["summary"]["pods_arrived"]["unit"] == "count"
    assert told["answer"].startswith("In 5m ")


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    result = simulate(written(tmp_path, SCENARIO.replace("replicas", "replcas")), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "did you mean 'replicas'" in result.output
    assert not (tmp_path / "out").exists()


def test_ctrl_c_saves_the_frames_so_far(tmp_path, monkeypatch):
    run = Simulation.run

    def press(at_ns: int) -> None:
        if at_ns > 300 * SECOND_NS:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Simulation, "run", lambda self, until: run(self, until, progress=press))
    out = tmp_path / "out"
    result = simulate(written(tmp_path, FAULTY), "--out", out)
    assert result.exit_code == 2
    assert "the frames up to that instant are saved in" in result.output
    assert "interrupted at 5m" in result.output
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))["interrupted"]
    assert len(pd.read_csv(out / "pods.csv")) > 3
    assert (out / "healing.csv").is_file()
