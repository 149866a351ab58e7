"""Clusters and workloads from `kubectl get -o json`: dumps made by hand, and real ones where they are at hand."""

from __future__ import annotations

import copy
import gc
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from k8slab import Cluster, Workload
from k8slab.datasets import ZONE
from k8slab.datasets.kubernetes_dump import ApiObject
from k8slab.datasets.kubernetes_requests import pod_request
from k8slab.domain.columns import Taint, Toleration
from k8slab.errors import InputError, QuantityError

SHARED = Path(__file__).parents[2] / "shared"
DUMPS = SHARED / "data" / "kubernetes"
GOLDEN = SHARED / "conformance" / "kube-scheduler"


def node(name, **changes):
    made = {
        "kind": "Node",
        "metadata": {"name": name, "labels": {ZONE: "z1", "role/worker": ""}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "3900m", "memory": "8Gi", "pods": "110", "nvidia.com/gpu": "2", "hugepages-1Gi": 0},
            "conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
        },
    }
    return {**made, **changes}


def container(name="main", cpu=None, memory=None, **more):
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None}
    return {"name": name, "resources": {"requests": requests}, **more}


def pod(name, on=None, phase="Running", namespace="default", containers=None, status=None, **spec):
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "containers": containers or [container(cpu="100m", memory="1Mi")],
            **({"nodeName": on} if on else {}),
            **spec,
        },
        "status": {"phase": phase, **(status or {})},
    }


def dump(*items):
    return {"kind": "List", "apiVersion": "v1", "items": list(items)}


def request(made, bound=False):
    return pod_request(ApiObject("Pod", made), bound=bound)


# -- what a pod asks -------------------------------------------------------


def test_containers_add_up_and_are_rounded_once():
    assert request(pod("p", containers=[container(cpu="0.4m")] * 3)) == {"cpu": 2, "pods": 1}
    both = [container(cpu="100m", memory="1Mi"), container(cpu=1, memory="0.5Mi")]
    assert request(pod("p", containers=both)) == {"cpu": 1100, "memory": 3 * 2**19, "pods": 1}
    assert request(pod("p", containers=[{"name": "main"}])) == {"pods": 1}


def test_init_containers_count_by_their_peak():
    init = [container(cpu="300m"), container(cpu="200m", memory="4Mi")]
    asked = request(pod("p", containers=[container(cpu="250m", memory="1Mi")], initContainers=init))
    assert asked == {"cpu": 300, "memory": 4 * 2**20, "pods": 1}


def test_sidecars_stay_and_stand_beside_later_init_containers():
    init = [
        container(cpu="500m"),  # before the sidecar: alone
        container(cpu="100m", restartPolicy="Always"),
        container(cpu="450m"),  # beside it: 550m
    ]
    assert request(pod("p", containers=[container(cpu="200m")], initContainers=init))["cpu"] == 550
    assert request(pod("p", containers=[container(cpu="480m")], initContainers=init))["cpu"] == 580
    assert request(pod("p", containers=[container(cpu="200m")], initContainers=init[:2]))["cpu"] == 500


def test_pod_level_requests_come_instead_and_overhead_on_top():
    made = pod(
        "p",
        containers=[container(cpu="100m", memory="1Mi")],
        resources={"requests": {"cpu": "1", "ephemeral-storage": "5"}},
        overhead={"cpu": "50m", "memory": "1Mi"},
    )
    assert request(made) == {"cpu": 1050, "memory": 2**21, "pods": 1}


def test_a_resized_container_counts_by_the_largest_of_wish_and_state():
    status = {
        "containerStatuses": [
            {"name": "main", "resources": {"requests": {"cpu": "700m"}}, "allocatedResources": {"memory": "9Mi"}}
        ]
    }
    made = pod("p", "n", containers=[container(cpu="500m", memory="5Mi")], status=status)
    assert request(made, bound=True) == {"cpu": 700, "memory": 9 * 2**20, "pods": 1}
    assert request(made, bound=False) == {"cpu": 500, "memory": 5 * 2**20, "pods": 1}
    infeasible = {"conditions": [{"type": "PodResizePending", "reason": "Infeasible"}]}
    made = pod("p", "n", containers=[container(cpu="5", memory="5Mi")], status={**status, **infeasible})
    assert request(made, bound=True) == {"cpu": 700, "memory": 9 * 2**20, "pods": 1}


def test_only_resources_that_the_scheduler_counts():
    amounts = {"cpu": 1, "example.com/fpga": "2", "requests.example.com/x": 1, "odd": 1, "hugepages-2Mi": "4Mi"}
    made = pod("p", containers=[{"name": "main", "resources": {"requests": amounts}}])
    assert request(made) == {"cpu": 1000, "example.com/fpga": 2, "hugepages-2Mi": 2**22, "pods": 1}


# -- clusters --------------------------------------------------------------


def test_a_dump_makes_a_cluster():
    cluster = Cluster.from_kubernetes(
        dump(
            node("a"),
            node("b", spec={"unschedulable": True, "taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}),
            pod("web", "a", namespace="shop"),
            pod("db", "b", containers=[container(cpu="2", memory="1Gi")], tolerations=[{"operator": "Exists"}]),
            pod("starting", "a", phase="Pending"),
            pod("done", "a", phase="Succeeded"),
            pod("broken", "a", phase="Failed"),
            pod("lost", "gone"),
            pod("waits", phase="Pending"),
            {"kind": "Job", "metadata": {"name": "j"}},
        )
    )
    assert cluster.schema.names == ("cpu", "memory", "pods", "nvidia.com/gpu")
    assert cluster.allocatable.T.tolist() == [[3900, 2**33, 110, 2]] * 2
    assert cluster.states.tolist() == [0, 3]
    assert cluster.taints[0] == ()
    assert cluster.taints[1] == (Taint("k", "v", "NoExecute"),)
    assert cluster.zones == ("z1",)
    assert cluster.labels["role/worker"][0] == ""
    assert cluster.bound is not None
    assert list(cluster.bound.names) == ["shop/web", "default/db", "default/starting"]
    assert cluster.bound_node.tolist() == [0, 1, 0]
    assert cluster.bound.tolerations[1] == (Toleration("", "Exists"),)
    assert cluster.requested().T.tolist() == [[200, 2**21, 2, 0], [2000, 2**30, 1, 0]]
    assert cluster.source == (
        "a dump: 2 nodes, 3 bound pods; passed over 1 pod without a node, 2 finished pods, "
        "1 pod on nodes that are not in it, 1 object of other kinds (Job)"
    )
    state = cluster.new_state()
    state.check()
    assert np.array_equal(state.requested, cluster.requested())


UNREACHABLE, AWAY = "node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"


@pytest.mark.parametrize(
    ("ready", "taints", "state"),
    [
        ("False", [AWAY], "not_ready"),
        ("Unknown", [UNREACHABLE], "unknown"),
        ("True", [], "ready"),
        (None, [], "ready"),
        # kube-scheduler looks at taints alone, so a condition or a taint by itself makes no node unready.
        ("False", [], "ready"),
        ("Unknown", ["other"], "ready"),
        ("True", [AWAY, UNREACHABLE], "ready"),
    ],
)
def test_a_node_is_as_ready_as_its_taints_confirm(ready, taints, state):
    conditions = [{"type": "DiskPressure", "status": "True"}, *([{"type": "Ready", "status": ready}] if ready else [])]
    made = node("a", status={"allocatable": {"cpu": 1}, "conditions": conditions})
    made["spec"] = {"taints": [{"key": key, "effect": "NoExecute"} for key in taints]}
    assert Cluster.from_kubernetes(dump(made)).to_frame()["state"].tolist() == [state]
    made["spec"]["unschedulable"] = True
    assert Cluster.from_kubernetes(dump(made)).to_frame()["state"].tolist() == ["cordoned"]


def test_a_node_without_pods_entry_allows_none():
    cluster = Cluster.from_kubernetes(dump(node("a", status={"allocatable": {"cpu": "2", "memory": "1k"}})))
    assert cluster.allocatable[:, 0].tolist() == [2000, 1000, 0]
    assert cluster.bound is None


def test_forms_in_which_a_dump_comes(tmp_path):
    text = json.dumps(dump(node("a"), pod("p", "a")))
    plain, packed = tmp_path / "dump.json", tmp_path / "dump.json.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    expected = Cluster.from_kubernetes(json.loads(text)).content_hash()
    for source in (plain, str(plain), packed, io.StringIO(text), io.BytesIO(packed.read_bytes())):
        assert Cluster.from_kubernetes(source).content_hash() == expected
    with plain.open() as lines:
        assert Cluster.from_kubernetes(lines).source.startswith("dump.json: 1 node, 1 bound pod")


def test_lists_of_one_kind_and_single_objects():
    bare = {key: value for key, value in node("a").items() if key != "kind"}
    assert len(Cluster.from_kubernetes({"kind": "NodeList", "items": [bare]})) == 1
    assert len(Cluster.from_kubernetes(node("a"))) == 1
    assert len(Workload.from_kubernetes({"kind": "PodList", "items": [pod("p", phase="Pending")]})) == 1


def test_lists_of_many_kinds_and_several_documents():
    objects = [node("a"), pod("p", "a"), {"kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "web"}}}]
    once = Cluster.from_kubernetes(dump(*objects))
    assert once.objects.namespaces == {"shop": {"team": "web"}}
    lists = [{"kind": f"{one['kind']}List", "apiVersion": "v1", "items": [{**one, "kind": None}]} for one in objects]
    text = "\n".join(map(json.dumps, lists)) + "\n\n"
    assert Cluster.from_kubernetes(io.StringIO(text)).content_hash() == once.content_hash()
    with pytest.raises(InputError, match="not a JSON dump: Expecting value"):
        Cluster.from_kubernetes(io.StringIO(text + "and more"))


def test_a_kind_of_another_api_group_is_another_kind():
    mesh = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "s"}, "spec": "odd"}
    cluster = Cluster.from_kubernetes(dump(node("a"), mesh))
    assert cluster.objects.services == ()
    assert "passed over 1 object of other kinds (serving.knative.dev/v1 Service)" in cluster.source


def test_yaml_of_several_documents(tmp_path):
    yaml = pytest.importorskip("yaml")
    path = tmp_path / "dump.yaml"
    path.write_text(yaml.safe_dump_all([dump(node("a")), pod("p", "a"), None]))
    assert Cluster.from_kubernetes(path).content_hash() == Cluster.from_kubernetes(
        dump(node("a"), pod("p", "a"))
    ).content_hash()  # fmt: skip
    path.write_text("kind: [")
    with pytest.raises(InputError, match=r"dump\.yaml: neither JSON nor YAML"):
        Cluster.from_kubernetes(path)


def test_yaml_without_pyyaml_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(InputError, match=r"YAML needs pyyaml: pip install 'k8slab\[yaml\]'"):
        Cluster.from_kubernetes(io.StringIO("kind: List"))


# -- workloads -------------------------------------------------------------


def test_pending_pods_and_all_pods():
    old = pod("old", phase="Pending")
    old["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z"
    leaving = pod("leaving", phase="Pending")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    whole = dump(
        node("a"),
        pod("new", phase="Pending", priority=7),
        old,
        leaving,
        pod("held", phase="Pending", schedulingGates=[{"name": "quota"}]),
        pod("there", "a"),
        pod("done", phase="Succeeded"),
    )
    pending = Workload.from_kubernetes(whole)
    assert list(pending.names) == ["default/old", "default/new"]
    assert pending.priority.tolist() == [0, 7]
    everything = Workload.from_kubernetes(whole, which="all")
    assert sorted(everything.names) == [f"default/{name}" for name in ("held", "leaving", "new", "old", "there")]
    assert pending.source == "a dump: 2 pending pods; passed over 4 other pods"
    given = Workload.from_kubernetes(whole, which="given")
    assert list(given.names) == [f"default/{name}" for name in ("new", "old", "leaving", "held", "there")]
    assert given.leaving.tolist() == [0, 0, 1, 0, 0]
    assert [given.specs[row].node_name if given.specs[row] else "" for row in range(5)] == ["", "", "", "", "a"]
    there = list(everything.names).index("default/there")
    assert everything.specs[there] is None or everything.specs[there].node_name == ""


def test_namespaces_labels_and_tolerations_come_along():
    tolerations = [{"key": "gpu", "effect": "NoSchedule"}, {"key": "sla", "operator": "Gt", "value": "5"}]
    made = pod("p", phase="Pending", namespace="ml", tolerations=tolerations)
    made["metadata"]["labels"] = {"app": "train"}
    workload = Workload.from_kubernetes(dump(made))
    assert workload.namespaces[0] == "ml"
    assert workload.labels["app"][0] == "train"
    assert workload.tolerations[0] == (Toleration("gpu", "Equal", "", "NoSchedule"),)


# -- bad dumps -------------------------------------------------------------


def changed(made, path, value):
    made = copy.deepcopy(made)
    *way, last = path
    inside = made
    for key in way:
        inside = inside[key]
    inside[last] = value
    return made


CPU_OF_MAIN = ("spec", "containers", 0, "resources", "requests", "cpu")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (changed(pod("p", "a"), CPU_OF_MAIN, "1x"),
         "Pod default/p: spec.containers[0].resources.requests.cpu: '1x' is no quantity; wanted"),
        (changed(pod("p", "a"), CPU_OF_MAIN, "-1"),
         "Pod default/p: spec.containers[0].resources.requests.cpu is '-1'; wanted 0 or more"),
        (changed(pod("p", "a"), CPU_OF_MAIN, "9E"),
         "Pod default/p: 9,000,000,000,000,000,000,000 of cpu; wanted less than 2^63"),
        (changed(pod("p", "a"), CPU_OF_MAIN[:-1], ["1"]),
         "Pod default/p: spec.containers[0].resources.requests is ['1']; wanted an object"),
        (changed(pod("p", "a"), CPU_OF_MAIN[:-2], "big"),
         "Pod default/p: spec.containers[0].resources is 'big'; wanted an object"),
        (changed(pod("p", "a"), ("spec", "containers"), {}), "Pod default/p: spec.containers is {}; wanted a list"),
        (changed(pod("p", "a"), ("spec", "containers", 0), 3),
         "Pod default/p: spec.containers[0] is 3; wanted an object"),
        (changed(pod("p", "a"), ("spec", "priority"), "high"),
         "Pod default/p: spec.priority is 'high'; wanted a whole number of 32 bits"),
        (changed(pod("p", "a"), ("spec",), "x"), "Pod default/p: spec is 'x'; wanted an object"),
        (changed(pod("p", "a"), ("metadata",), "x"), "Pod number 1 of the dump: metadata is 'x'; wanted an object"),
        (changed(node("b"), ("spec", "unschedulable"), "no"), "Node b: spec.unschedulable is 'no'; wanted true or"),
        (changed(pod("p", "a"), ("spec", "tolerations"), [{"operator": "Is"}]),
         "Pod default/p: spec.tolerations[0].operator is 'Is'; wanted one of Equal, Exists"),
        (changed(pod("p", "a"), ("metadata", "name"), 5),
         "Pod number 1 of the dump: metadata.name is 5; wanted a name"),
        (changed(node("b"), ("status", "allocatable", "memory"), "8Gb"),
         "Node b: status.allocatable.memory: '8Gb' is no quantity"),
        (changed(node("b"), ("spec", "taints"), [{"key": "k", "effect": "Never"}]),
         "Node b: spec.taints[0].effect is 'Never'; wanted one of NoSchedule"),
        (changed(node("b"), ("metadata", "labels"), "x"), "Node b: metadata.labels is 'x'; wanted an object"),
        (node("a"), "Node a stands twice"),
        (3, "List.items[1] is int; wanted an object"),
    ],
)  # fmt: skip
def test_a_bad_object_is_named_with_its_field(made, message):
    with pytest.raises(InputError) as caught:
        Cluster.from_kubernetes(dump(node("a"), made))
    assert message in str(caught.value)
    assert isinstance(caught.value, QuantityError) == ("quantity" in message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.json", "cannot read a dump from 'nowhere.json': No such file"),
        (io.StringIO("{]"), "not a JSON dump"),
        (io.StringIO("[1]"), "no Kubernetes object with a kind"),
        (io.BytesIO(b"\x1f\x8bnonsense"), "not a JSON dump"),
        ({"kind": "List", "items": {}}, "List.items is dict; wanted a list"),
        ({"kind": "List", "items": []}, "no nodes in it (it is empty)"),
        (dump(pod("p")), "no nodes in it (1 Pod)"),
        ({"kind": "NodeList", "items": [], "metadata": {"continue": "x", "remainingItemCount": 7}},
         "NodeList is one page, 7 objects are on the next; wanted the whole list"),
    ],
)  # fmt: skip
def test_what_is_no_dump_says_so(source, message):
    with pytest.raises(InputError) as caught:
        Cluster.from_kubernetes(source)
    assert message in str(caught.value)


def test_the_collector_runs_on_after_a_dump_good_or_bad():
    Cluster.from_kubernetes(dump(node("a")))
    assert gc.isenabled()
    with pytest.raises(InputError):
        Cluster.from_kubernetes(dump())
    assert gc.isenabled()


def test_a_dump_without_such_pods_says_so():
    with pytest.raises(InputError, match=r"no pending pods in it \(1 Node, 1 Pod\)"):
        Workload.from_kubernetes(dump(node("a"), pod("p", "a")))
    with pytest.raises(InputError, match='wanted "pending", "all" or "given"'):
        Workload.from_kubernetes(dump(node("a")), which="some")  # type: ignore[arg-type]


# -- real ones -------------------------------------------------------------


@pytest.mark.skipif(not DUMPS.is_dir(), reason="the samples of a real API server are not part of the project")
@pytest.mark.parametrize(
    ("file", "nodes", "bound", "gpus"),
    [
        ("small-kubectl-nodes-pods.json", 5, 24, 4),
        ("medium-kubectl-nodes-pods.json.gz", 100, 260, 48),
        ("medium-kubectl-all.json.gz", 100, 260, 48),
        ("large-kubectl-nodes-pods.json.gz", 1000, 2846, 476),
    ],
)
def test_real_dumps(file, nodes, bound, gpus, tmp_path):
    cluster = Cluster.from_kubernetes(DUMPS / file)
    assert len(cluster) == nodes
    assert cluster.bound is not None
    assert len(cluster.bound) == bound
    assert cluster.totals()[cluster.schema.index("nvidia.com/gpu")] == gpus
    assert (cluster.requested() <= cluster.allocatable).all()
    cluster.new_state().check()
    cluster.save(tmp_path / "nodes.csv")
    assert Cluster.load(tmp_path / "nodes.csv").content_hash() == cluster.content_hash()
    assert len(Workload.from_kubernetes(DUMPS / file)) == 4


def fit_reasons(cluster, asked, row):
    """What kube-scheduler's NodeResourcesFit says of a node, None if the pod fits."""
    names = cluster.schema.names
    free = dict(zip(names, (cluster.allocatable - cluster.requested())[:, row].tolist(), strict=True))
    short = {name for name, amount in asked.items() if amount > 0 and amount > free.get(name, 0)}
    first = [name for name in ("pods", "cpu", "memory", "ephemeral-storage") if name in short]
    order = first + sorted(short - set(first))
    return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in order]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="kube-scheduler's recorded answers are not part of the project")
@pytest.mark.parametrize("category", ["resources", "edge", "mixed"])
def test_amounts_are_those_of_kube_scheduler(category):
    """Every node that NodeResourcesFit accepted or refused in recorded runs, with its reasons."""
    checked = 0
    with gzip.open(GOLDEN / f"{category}.jsonl.gz", "rt") as lines:
        for scenario in map(json.loads, lines):
            if "pod" not in scenario or "nominatedPods" in scenario or "int64-overflow" in scenario.get("tags", ()):
                continue
            expected = scenario["expect"].get("filter", {})
            objects = _items(scenario, "nodes", "Node") + _items(scenario, "pods", "Pod")
            cluster = Cluster.from_kubernetes(dump(*objects))
            asked = request(scenario["pod"])
            for row, name in enumerate(cluster.names):
                answer = expected.get(name, {})
                if answer.get("feasible") or answer.get("plugin") == "NodeResourcesFit":
                    assert fit_reasons(cluster, asked, row) == answer.get("reasons", []), (scenario["id"], name)
                    checked += 1
    assert checked > 100


def _items(scenario, key, kind):
    return [{**item, "kind": kind} for item in scenario.get(key, {}).get("items") or ()]
