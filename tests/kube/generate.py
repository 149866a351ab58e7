"""What hypothesis draws: whole scenarios in native Kubernetes objects, small and made to collide.

Few nodes, zones, labels and values, so that selectors, domains, ports and images meet; and what
is missing, empty, spelled oddly or doesn't parse, as each rule has its corners there. A scenario
has the features that it is asked for, each of which an own part of the objects belongs to.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.kube.objects import PREFERRED, REQUIRED

T = TypeVar("T")
Json = dict[str, Any]

HOSTNAME, ZONE, REGION = "kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
TOPOLOGY = (HOSTNAME, ZONE, ZONE, REGION, "rack", "nowhere")
NODES = tuple("abcdefgh")
NAMESPACES = ("default", "default", "default", "prod", "dev")
MIB = 2**20
EXTENDED = ("example.com/gpu", "example.com/fpga", "other.io/gpu")
SCALARS = (*EXTENDED, "hugepages-2Mi", "attachable-volumes-csi", "kubernetes.io/native")
UNCOUNTED = ("requests.example.com/gpu", "odd")
CPU = tuple(Fraction(milli, 10_000) for milli in (0, 4, 25, 1000, 1000, 2500, 5000, 10_000, 15_000))
MEMORY = tuple(map(Fraction, (0, 1, "1/2", 100 * MIB, 100 * MIB, 200 * MIB, 500 * MIB, 2**30)))
COUNT = tuple(map(Fraction, (0, 1, 1, "1/2", 2, 3)))
IMAGES = (
    "app", "app:latest", "web:v1", "reg:5000/web", "reg:5000/web:latest", "reg:5000/web:v1",
    "reg:5000/web@sha256:0123", "lib/app@sha256:4567", "",
)  # fmt: skip
IPS = ("", "0.0.0.0", "10.0.0.1", "10.0.0.2", "::", "127.0.0.1")
TAINTS = ("dedicated", "gpu", "node.kubernetes.io/unschedulable")

# The parts that a scenario may have; `scenarios` takes a choice of them.
FEATURES = (
    "amounts", "resize", "taints", "node affinity", "ports", "images", "spread", "defaults", "pod affinity",
    "nominated", "priorities", "arguments",
)  # fmt: skip


class Maker:
    """Makes objects by choices of numbers. Every choice's first option is the plainest: examples shrink to it.

    number   : gives a number between two, which it may be: hypothesis' or a generator's
    features : some of FEATURES
    """

    def __init__(self, number: Callable[[int, int], int], features: Iterable[str]) -> None:
        self.number = number
        self._features = frozenset(features)
        self._tight = False
        unknown = self._features - set(FEATURES)
        assert not unknown, f"no such features: {sorted(unknown)}"

    def has(self, feature: str) -> bool:
        return feature in self._features

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent

    def pick(self, *options: T) -> T:
        return options[self.number(0, len(options) - 1)]

    def some(self, options: Iterable[T], most: int, least: int = 0) -> list[T]:
        """Distinct ones, in any order."""
        left, taken = list(dict.fromkeys(options)), []
        for _ in range(min(self.number(least, most), len(left))):
            taken.append(left.pop(self.number(0, len(left) - 1)))
        return taken

    # -- quantities ------------------------------------------------------------

    def quantity(self, exact: Fraction) -> Any:
        """A spelling of an amount, as texts and as bare JSON numbers."""
        milli = exact * 1000
        assert milli.denominator <= 10, exact
        decimal = Decimal(int(exact * 10_000)) / 10_000
        spellings: list[Any] = [f"{decimal:f}", f"+0{decimal:f}", f"{int(exact * 10**6)}u", f"{int(exact * 10**9)}n"]
        spellings += [f"{decimal * 1000:f}e-3", f"{decimal * 1000:f}m", f"{decimal / 1000:f}k", float(decimal)]
        if exact.denominator == 1:
            number = int(exact)
            spellings += [number, f"{number}.", f"{number}.0E0", f"{Decimal(number) / 1024:f}Ki"]
            spellings += [f"{number // MIB}Mi"] * (number % MIB == 0)
        return self.pick(*spellings)

    def amounts(self, names: Iterable[str], missing: int = 35) -> Json:
        """A resource list that lacks some of these names."""
        return {name: self.quantity(self.pick(*_amounts_of(name))) for name in names if not self.chance(missing)}

    # -- nodes -----------------------------------------------------------------

    def node(self, name: str) -> Json:
        spec: Json = {}
        if self.chance(3 if self._tight else 10):
            spec["unschedulable"] = True
        if self.has("taints"):
            spec["taints"] = [self.taint() for _ in range(self.pick(0, 0, 1, 1, 2, 3))]
        status = {"allocatable": self.allocatable(), "conditions": [{"type": "Ready", "status": "True"}]}
        if self.has("taints") and self.chance(20):
            self.make_unready(spec, status)
        if self.has("images"):
            status["images"] = [self.image() for _ in range(self.number(0, 3))]
        metadata: Json = {"name": name, "labels": self.node_labels(name)}
        if self.chance(4):
            del metadata["labels"]
        return {"metadata": metadata, "spec": spec, "status": status}

    def node_labels(self, name: str) -> Json:
        labels = {
            HOSTNAME: self.pick(name, name, name, name, "a", None),
            ZONE: self.pick("z1", "z2", "z3", "z2", "", None),
            REGION: self.pick("r1", "r2", "r1", None),
            "rack": self.pick(None, "1", "2", ""),
            "disk": self.pick("ssd", "hdd", "", None),
            "size": self.pick("1", "7", "07", "10", "x9", "", "9223372036854775807", "9223372036854775808", None),
        }
        return {key: value for key, value in labels.items() if value is not None}

    def taint(self) -> Json:
        effect = self.pick("NoSchedule", "PreferNoSchedule", "NoExecute", "PreferNoSchedule")
        taint = {"key": self.pick(*TAINTS), "effect": effect}
        value = self.pick(None, "x", "y", "")
        return taint if value is None else {**taint, "value": value}

    def make_unready(self, spec: Json, status: Json) -> None:
        """The Ready condition and the taints that the control plane sets by it, not always both."""
        said, key = self.pick(("False", "not-ready"), ("Unknown", "unreachable"))
        status["conditions"] = [{"type": "Ready", "status": said}]
        effects = self.pick(("NoSchedule", "NoExecute"), ("NoExecute",), ("PreferNoSchedule",), ())
        spec["taints"] = spec["taints"] + [{"key": f"node.kubernetes.io/{key}", "effect": effect} for effect in effects]

    def allocatable(self) -> Json:
        least, most = (3, 5) if self._tight else (0 if self.has("amounts") else 2, 5)
        cpu, memory = self.number(least, most), self.number(least, most)
        amounts: Json = {"cpu": self.quantity(Fraction(cpu, 2)), "memory": self.quantity(Fraction(memory * 400 * MIB))}
        amounts["pods"] = self.pick("110", 3, "2", "0.003k") if self._tight else self.pick("110", 110, "5", "3", "2")
        if self.has("amounts"):
            amounts |= self.amounts(("ephemeral-storage", *SCALARS, *UNCOUNTED), missing=60)
            for gone in self.some(amounts, 1) if self.chance(10) else ():
                del amounts[gone]
        return amounts

    def image(self) -> Json:
        names = self.some(IMAGES[1:-1], 3, least=1)
        return {"names": names, "sizeBytes": self.pick(0, 10 * MIB, 60 * MIB, 400 * MIB, 900 * MIB, 2500 * MIB + 1)}

    # -- pods ------------------------------------------------------------------

    def pod(self, name: str) -> Json:
        """A pod that waits for a node."""
        containers = [self.container(f"c{i}") for i in range(self.pick(1, 1, 2, 3))]
        labels = self.labels()
        spec: Json = {"containers": containers}
        metadata: Json = {"name": name, "namespace": self.namespace(), "labels": labels}
        if self.has("amounts"):
            spec |= self.pod_amounts()
        if self.has("taints") and self.chance(60):
            spec["tolerations"] = [self.toleration() for _ in range(self.number(0, 3))]
        if self.has("node affinity") and self.chance(50):
            spec["nodeSelector"] = dict([self.pick(("disk", "ssd"), (ZONE, "z1"), ("size", "7"), (ZONE, ""))])
        affinity = self.affinity()
        if affinity:
            spec["affinity"] = affinity
        if self.has("spread"):
            spec["topologySpreadConstraints"] = [self.constraint() for _ in range(self.pick(0, 1, 1, 2, 3))]
        if self.has("defaults"):
            metadata["ownerReferences"] = [self.owner() for _ in range(self.number(0, 2))]
        if self.has("priorities") or self._tight:
            spec |= self.pick({}, {"priority": 0}, {"priority": 5}, {"priority": 5}, {"priority": 10}, {"priority": -3})
        status = self.resize_status(spec) if self.has("resize") and self.chance(60) else {}
        return {"metadata": metadata, "spec": spec, "status": status}

    def namespace(self) -> str:
        return "default" if self._tight and self.chance(60) else self.pick(*NAMESPACES)

    def bound(self, name: str, nodes: list[str]) -> Json:
        """A pod on a node, which may have finished, be leaving, or be of a node that isn't there."""
        pod = self.pod(name)
        pod["spec"]["nodeName"] = "unknown" if self.chance(4) else self.pick(*nodes)
        pod["status"]["phase"] = "Running" if self.chance(75) else self.pick("Pending", "Succeeded", "Failed")
        if self.chance(15):
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            target = self.pick("PreemptionByScheduler", "PreemptionByScheduler", "EvictionByEvictionAPI")
            said = {"type": "DisruptionTarget", "status": self.pick("True", "True", "False"), "reason": target}
            pod["status"].setdefault("conditions", []).append(said)
        # Always a start: of two pods without one, kube-scheduler takes the time of asking, which no verdict says.
        pod["status"]["startTime"] = f"2026-01-01T00:00:0{self.number(0, 2)}Z"
        return pod

    def nominated(self, name: str, nodes: list[str]) -> Json:
        pod = self.pod(name)
        pod["status"]["nominatedNodeName"] = "unknown" if self.chance(5) else self.pick(*nodes)
        return pod

    def container(self, name: str) -> Json:
        container: Json = {"name": name, "image": self.pick(*IMAGES) if self.has("images") else "app"}
        requests = self.amounts(("cpu", "memory"))
        if self.has("amounts"):
            requests |= self.amounts(("ephemeral-storage", *SCALARS, *UNCOUNTED), missing=85)
        container["resources"] = self.pick({"requests": requests}, {"requests": requests}, {"requests": requests}, {})
        if self.has("ports"):
            container["ports"] = [self.port() for _ in range(self.pick(0, 1, 1, 2))]
        return container

    def port(self) -> Json:
        port: Json = {"containerPort": 80}
        if self.chance(85):
            port["hostPort"] = self.pick(80, 80, 443, 0)
        port |= self.pick({}, {"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"})
        ip = self.pick(*IPS)
        return {**port, "hostIP": ip} if ip else port

    def pod_amounts(self) -> Json:
        """Init containers, sidecars, pod-level requests and overhead."""
        more: Json = {}
        if self.chance(40):
            more["initContainers"] = []
            for i in range(self.number(1, 3)):
                always = self.pick({}, {"restartPolicy": "Always"}, {"restartPolicy": "Always"})
                more["initContainers"].append({**self.container(f"i{i}"), **always})
        if self.chance(30):
            more["resources"] = {"requests": self.amounts(("cpu", "memory", "hugepages-2Mi"))}
        if self.chance(20):
            more["overhead"] = self.amounts(("cpu", "memory", "example.com/gpu"), missing=50)
        return more

    def resize_status(self, spec: Json) -> Json:
        """What the kubelet reports of a pod's containers in the course of a resize."""
        reasons = self.some(("Infeasible", "Deferred"), 2)
        status: Json = {"conditions": [{"type": "PodResizePending", "reason": reason} for reason in reasons]}
        for field, containers in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")):
            status[field] = []
            for container in spec.get(containers) or []:
                said: Json = {"name": container["name"]}
                if self.chance(70):
                    said["resources"] = self.pick({}, {"requests": self.amounts(("cpu", "memory", "example.com/gpu"))})
                if self.chance(40):
                    said["allocatedResources"] = self.amounts(("cpu", "memory", "hugepages-2Mi"))
                status[field].append(said)
        return status

    def labels(self) -> Json:
        app, version, team = self.pick("x", "y", "x", "", None), self.pick("1", "2", None), self.pick(None, "a")
        labels = {"app": app, "v": version, "team": team}
        return {key: value for key, value in labels.items() if value is not None}

    def toleration(self) -> Json:
        parts = {
            "key": self.pick(None, *TAINTS, "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", ""),
            "operator": self.pick("Exists", "Equal", "Equal", None),
            "value": self.pick(None, "x", "y", ""),
            "effect": self.pick(None, "NoSchedule", "PreferNoSchedule", "NoExecute", ""),
        }
        return {key: value for key, value in parts.items() if value is not None}

    def owner(self) -> Json:
        version, kind = self.pick(
            ("v1", "ReplicationController"), ("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"), ("batch/v1", "Job"),
            ("apps/v1beta1", "ReplicaSet"),
        )  # fmt: skip
        return {"apiVersion": version, "kind": kind, "name": self.pick("o1", "o2"), "controller": self.chance(80)}

    # -- rules -----------------------------------------------------------------

    def label_selector(self) -> Json | None:
        """Absent, empty, by labels, by expressions; of pods' labels."""
        return self.selector_of((("app", ("x", "y", "")), ("v", ("1", "2")), ("team", ("a", "b")), ("none", ("1",))))

    def selector_of(self, values: tuple[tuple[str, tuple[str, ...]], ...]) -> Json | None:
        kind = self.pick("labels", "labels", "expressions", "expressions", "both", "empty", "nil")
        if kind in ("empty", "nil"):
            return {} if kind == "empty" else None
        selector: Json = {}
        if kind != "expressions":
            key, options = self.pick(values[0], *values)
            selector["matchLabels"] = {key: self.pick(*options)}
        if kind != "labels":
            selector["matchExpressions"] = [self.expression(*self.pick(*values)) for _ in range(self.number(1, 2))]
        return selector

    def expression(self, key: str, values: tuple[str, ...]) -> Json:
        operator = self.pick("In", "NotIn", "Exists", "DoesNotExist")
        rule = {"key": key, "operator": operator}
        return rule if operator in ("Exists", "DoesNotExist") else {**rule, "values": self.some(values, 2, least=1)}

    def node_rule(self, *, sound: bool) -> Json:
        """A requirement of a node selector term; one that isn't `sound` may not parse."""
        if not sound and self.chance(12):
            operator = self.pick("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Near")
            values = self.pick([], ["7"], ["1", "7"], ["x9"], ["9223372036854775808"], ["0x1"], [" 7"], [""])
            return {"key": self.pick("size", "disk"), "operator": operator, "values": values}
        if self.chance(35):
            bound = self.pick("7", "1", "007", "0", "9223372036854775806")
            return {"key": self.pick("size", "size", "none"), "operator": self.pick("Gt", "Lt"), "values": [bound]}
        return self.expression(*self.pick(("disk", ("ssd", "hdd", "")), (ZONE, ("z1", "z2")), ("none", ("1",))))

    def node_field(self, *, sound: bool) -> Json:
        names = self.some(NODES[:4], 2, least=0) if not sound and self.chance(30) else [self.pick(*NODES[:4])]
        key = "metadata.name" if sound or not self.chance(6) else "metadata.namespace"
        return {"key": key, "operator": self.pick("In", "In", "NotIn"), "values": names}

    def node_term(self, *, sound: bool = False) -> Json:
        term: Json = {}
        if self.chance(80):
            term["matchExpressions"] = [self.node_rule(sound=sound) for _ in range(self.pick(1, 1, 2, 0))]
        if self.chance(30):
            term["matchFields"] = [self.node_field(sound=sound) for _ in range(self.pick(1, 1, 2, 0))]
        return term

    def preferred_nodes(self) -> list[Json]:
        # kube-scheduler fails on a preferred term that doesn't parse: no verdict says what then.
        return [
            {"weight": self.pick(1, 2, 50, 100, 0), "preference": self.node_term(sound=True)}
            for _ in range(self.number(1, 3))
        ]

    def affinity(self) -> Json:
        affinity: Json = {}
        if self.has("node affinity"):
            node: Json = {}
            if self.chance(50):
                node[REQUIRED] = {"nodeSelectorTerms": [self.node_term() for _ in range(self.pick(1, 1, 2, 3, 0))]}
            if self.chance(50):
                node[PREFERRED] = self.preferred_nodes()
            affinity["nodeAffinity"] = node
        if self.has("pod affinity"):
            for kind in ("podAffinity", "podAntiAffinity"):
                if self.chance(35):
                    affinity[kind] = {REQUIRED: [self.pod_term() for _ in range(self.pick(1, 1, 2, 3, 0))]}
                if self.chance(35):
                    weighted = [
                        {"weight": self.pick(1, 3, 50, 100), "podAffinityTerm": self.pod_term()}
                        for _ in range(self.number(1, 2))
                    ]
                    affinity.setdefault(kind, {})[PREFERRED] = weighted
        return affinity

    def pod_term(self) -> Json:
        term: Json = {"topologyKey": self.pick(*TOPOLOGY)}
        selector = self.label_selector()
        if selector is not None:
            term["labelSelector"] = selector
        if self.chance(30):
            term["namespaces"] = self.some((*NAMESPACES, "gone"), 2)
        if self.chance(35):
            among = self.selector_of((("team", ("a", "b")), ("env", ("live",)), ("none", ("1",))))
            term |= {} if among is None else {"namespaceSelector": among}
        return term

    def constraint(self) -> Json:
        """One topology spread constraint."""
        when = self.pick("DoNotSchedule", "ScheduleAnyway")
        constraint: Json = {"topologyKey": self.pick(*TOPOLOGY), "maxSkew": self.pick(1, 1, 2, 5)}
        constraint["whenUnsatisfiable"] = when
        selector = self.label_selector()
        if selector is not None:
            constraint["labelSelector"] = selector
        if when == "DoNotSchedule" and self.chance(30):
            constraint["minDomains"] = self.pick(1, 2, 3)
        if self.chance(30):
            constraint["nodeAffinityPolicy"] = self.pick("Honor", "Ignore")
        if self.chance(30):
            constraint["nodeTaintsPolicy"] = self.pick("Honor", "Ignore")
        if self.chance(25):
            constraint["matchLabelKeys"] = self.some(("v", "app", "none"), 2)
        return constraint

    # -- other objects -----------------------------------------------------------

    def namespaces(self) -> list[Json]:
        """Those that are known: not all, or none."""
        known = self.some(("default", "prod", "dev", "empty"), 4)
        return [{"metadata": {"name": name, "labels": self.namespace_labels(name)}} for name in known]

    def namespace_labels(self, name: str) -> Json:
        labels = {"team": self.pick("a", "b", "", None), "env": self.pick(None, "live")}
        named = {"kubernetes.io/metadata.name": name}
        return named | {key: value for key, value in labels.items() if value is not None}

    def plain_selector(self) -> Json | None:
        return self.pick({"app": "x"}, {"v": "1"}, {"app": "x", "v": "1"}, {"app": ""}, {}, None)

    def controllers(self) -> Json:
        """Services, and what pods are owned by."""
        lists: Json = {}
        for kind, plain in (
            ("services", True), ("replicationControllers", True), ("replicaSets", False), ("statefulSets", False),
        ):  # fmt: skip
            lists[kind] = []
            for name in self.some(("o1", "o2"), 2):
                selector = self.plain_selector() if plain else self.label_selector()
                metadata = {"name": name, "namespace": self.pick(*NAMESPACES)}
                spec = {} if selector is None else {"selector": selector}
                lists[kind].append({"metadata": metadata, "spec": spec})
        return lists

    def budget(self, name: str) -> Json:
        status: Json = {"disruptionsAllowed": self.pick(0, 0, 1, 2)}
        if self.chance(30):
            status["disruptedPods"] = dict.fromkeys(self.some(("q0", "q1", "q2", "q3"), 2), "2026-01-01T00:00:00Z")
        selector = self.label_selector()
        spec = {} if selector is None else {"selector": selector}
        return {"metadata": {"name": name, "namespace": self.namespace()}, "spec": spec, "status": status}

    def arguments(self) -> list[Json]:
        """pluginConfig: of each plug-in that takes arguments, some."""
        makers = {
            "NodeAffinity": self.node_affinity_arguments,
            "NodeResourcesFit": self.fit_arguments,
            "NodeResourcesBalancedAllocation": lambda: {"resources": self.resources((1, None))},
            "InterPodAffinity": self.pod_affinity_arguments,
            "PodTopologySpread": self.spread_arguments,
        }
        return [{"name": name, "args": make()} for name, make in makers.items() if self.chance(60)]

    def node_affinity_arguments(self) -> Json:
        added: Json = {}
        if self.chance(10 if self._tight else 25):
            added[REQUIRED] = {"nodeSelectorTerms": [self.node_term(sound=True) for _ in range(self.number(1, 2))]}
        if self.chance(50):
            added[PREFERRED] = self.preferred_nodes()
        return {"addedAffinity": added}

    def resources(self, weights: tuple[int | None, ...]) -> list[Json]:
        """Names in any order, weights that may be missing."""
        names = self.some(("cpu", "memory", "ephemeral-storage", *SCALARS, "pods"), 4)
        weighted = [(name, self.pick(*weights)) for name in names]
        return [{"name": name} | ({} if weight is None else {"weight": weight}) for name, weight in weighted]

    def fit_arguments(self) -> Json:
        kind = self.pick("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
        strategy: Json = {"type": kind, "resources": self.resources((1, 2, 3, 100, None))}
        if kind == "RequestedToCapacityRatio":
            points = sorted(self.some(range(0, 101, 10), 4, least=1))
            shape = [{"utilization": x, "score": self.number(0, 10)} for x in points]
            strategy["requestedToCapacityRatio"] = {"shape": shape}
        args: Json = {"scoringStrategy": strategy}
        if self.chance(40):
            args["ignoredResources"] = self.some((*EXTENDED, "hugepages-2Mi"), 2)
        if self.chance(40):
            args["ignoredResourceGroups"] = self.some(("example.com", "kubernetes.io", "other"), 2)
        return args

    def pod_affinity_arguments(self) -> Json:
        args: Json = {"hardPodAffinityWeight": self.pick(1, 0, 5, 100)}
        return args | self.pick({}, {"ignorePreferredTermsOfExistingPods": True})

    def spread_arguments(self) -> Json:
        if self.chance(30):
            return {"defaultingType": "System"}
        constraints: dict[tuple[str, str], Json] = {}
        for _ in range(self.number(0, 3)):
            constraint = self.constraint()
            for key in ("labelSelector", "matchLabelKeys"):
                constraint.pop(key, None)
            constraints[constraint["topologyKey"], constraint["whenUnsatisfiable"]] = constraint
        return {"defaultingType": "List", "defaultConstraints": list(constraints.values())}

    # -- a whole scenario ---------------------------------------------------------

    def scenario(self, category: str) -> Json:
        self._tight = category == "preemption"
        names = self.some(NODES, 3 if self._tight else 6, least=1 if self.chance(10) else 2)
        count = self.number(4, 12) if self._tight else self.number(0, 8)
        case: Json = {"category": category, "nodes": {"items": [self.node(name) for name in names]}}
        case["pods"] = {"items": [self.bound(f"q{i}", names) for i in range(count)]}
        if category == "sequence":
            case["pending"] = {"items": [self.pod(f"p{i}") for i in range(self.number(1, 4))]}
        else:
            case["pod"] = self.incoming(category, names)
        if self.chance(70):
            case["namespaces"] = {"items": self.namespaces()}
        if self.has("nominated"):
            case["nominatedPods"] = {"items": [self.nominated(f"m{i}", names) for i in range(self.number(0, 3))]}
        if self.has("defaults"):
            case |= {kind: {"items": items} for kind, items in self.controllers().items()}
        if category == "preemption":
            case["podDisruptionBudgets"] = {"items": [self.budget(f"b{i}") for i in range(self.number(0, 3))]}
        if self.has("arguments"):
            case["pluginConfig"] = self.arguments()
        return case

    def incoming(self, category: str, nodes: list[str]) -> Json:
        pod = self.pod("p")
        if category == "gates" and self.chance(50):
            pod["spec"]["schedulingGates"] = [{"name": name} for name in self.some(("quota", "a", "b"), 3)]
        if self.chance(1 if self._tight else 3):
            pod["spec"]["nodeName"] = self.pick(*nodes)
        if category == "preemption":
            pod["spec"]["priority"] = self.pick(10, 10, 10, 5, 0)
            needs = pod["spec"]["containers"][0]["resources"].setdefault("requests", {})
            needs["cpu"] = self.quantity(self.pick(*CPU[-4:-1]))
            needs["memory"] = self.quantity(self.pick(*MEMORY[-3:]))
            pod["spec"] |= self.pick({}, {}, {}, {"preemptionPolicy": "PreemptLowerPriority"}, {})
            if self.chance(6):
                pod["spec"]["preemptionPolicy"] = "Never"
            if self.chance(20):
                pod["status"]["nominatedNodeName"] = self.pick(*nodes)
        return pod


def _amounts_of(name: str) -> tuple[Fraction, ...]:
    return {"cpu": CPU, "memory": MEMORY, "ephemeral-storage": MEMORY}.get(name, COUNT)


@st.composite
def scenarios(draw: st.DrawFn, *features: str, category: str = "mixed") -> Json:
    """Scenarios that have these features."""
    return Maker(_drawn(draw), features).scenario(category)


@st.composite
def mixed_scenarios(draw: st.DrawFn, category: str = "mixed") -> Json:
    """Scenarios that have some of all features."""
    return _mixed(_drawn(draw), category)


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Json:
    """One node with all that nodes may have."""
    return Maker(_drawn(draw), FEATURES).node(name)


def random_scenario(seed: int, category: str = "mixed") -> Json:
    """As `mixed_scenarios`, ten times as fast and evenly: to try very many. It doesn't shrink."""
    return _mixed(random.Random(seed).randint, category)


def _drawn(draw: st.DrawFn) -> Callable[[int, int], int]:
    return lambda low, high: draw(st.integers(low, high))


def _mixed(number: Callable[[int, int], int], category: str) -> Json:
    # All at once, and one hides the other; and where pods can't go anyway, none has to go for them.
    features = [feature for feature in FEATURES if number(0, 2) == 2]
    if category == "preemption" and number(0, 2):
        features = [feature for feature in features if feature not in ("taints", "node affinity")]
    return Maker(number, features).scenario(category)


# A plug-in, or two that answer the same question, and the features that it looks at.
PLUGINS: dict[str, tuple[str, ...]] = {
    "NodeUnschedulable and TaintToleration": ("taints",),
    "NodeAffinity": ("node affinity", "arguments"),
    "NodePorts": ("ports", "nominated", "priorities"),
    "NodeResourcesFit": ("amounts", "resize", "nominated", "priorities"),
    "NodeResourcesFit's strategies and NodeResourcesBalancedAllocation": ("amounts", "resize", "arguments"),
    "ImageLocality": ("images",),
    "PodTopologySpread": ("spread",),
    "PodTopologySpread's node policies": ("spread", "taints", "node affinity"),
    "PodTopologySpread's nominated pods": ("spread", "nominated", "priorities"),
    "PodTopologySpread's defaults": ("defaults", "arguments"),
    "InterPodAffinity": ("pod affinity", "arguments"),
    "InterPodAffinity's nominated pods": ("pod affinity", "nominated", "priorities"),
}
