"""A scenario: a TOML file that says what is to be simulated. Every error names the file, the key and the value."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Final, Never

from k8slab.application.namespaces import LimitRange, Namespace, Quota, all_rules
from k8slab.datasets import Cluster, Workload
from k8slab.datasets.taints import parse_tolerations
from k8slab.domain.columns import Codes
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, K8slabError, UnknownName
from k8slab.experiments.scenario_health import FAULTS, check_faults, health_of
from k8slab.experiments.simulation import Simulation
from k8slab.policies import gpu_policy_names, policy, policy_names
from k8slab.simulation.arrivals import ARRIVALS, Replay
from k8slab.simulation.distributions import DISTRIBUTIONS
from k8slab.simulation.store import Store
from k8slab.simulation.usage import Load, Usage
from k8slab.simulation.workloads import DaemonSet, Deployment, Job, PodStream, StatefulSet
from k8slab.units import amount, duration_ns

Table = Mapping[str, Any]

# kind -> "module:Class", loaded when a scenario names it; its keys are the class's arguments.
AUTOSCALERS: Final[dict[str, str]] = {
    "horizontal": "k8slab.simulation.autoscalers:HorizontalAutoscaler",
    "threshold": "k8slab.simulation.autoscalers:ThresholdAutoscaler",
    "descheduler": "k8slab.simulation.descheduling:Descheduler",
    "vertical": "k8slab.simulation.vertical:VerticalAutoscaler",
    "cluster": "k8slab.simulation.node_autoscalers:ClusterAutoscaler",
    "karpenter": "k8slab.simulation.karpenter:Karpenter",
}

WORKLOADS: Final = {"deployment": Deployment, "statefulset": StatefulSet, "job": Job, "daemonset": DaemonSet}
TOP: Final = ("seed", "until", "policy", "cluster", "trace", "stream", *WORKLOADS,
              "autoscaler", "fault", "health", "budget", "drain", "namespace", "priority_classes", "store")  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """What a scenario file says.

    simulation : ready to run
    until      : how long, as the file has it
    source     : the file
    """

    simulation: Simulation
    until: str | int | float
    source: str


def load_scenario(path: str | Path, **overrides: Any) -> Scenario:
    """Read a scenario file.

    overrides : seed, policy or until that go before what the file says; None leaves the file's

    Raises InputError that names the file, the key and the value for TOML that can't be
    parsed, a key that nothing has (and the nearest that there is), and a value that can't be used.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
        raise InputError(f"cannot read the scenario {str(file)!r}: {reason}") from error
    return parse_scenario(text, str(file), folder=file.parent, **overrides)


def parse_scenario(text: str, source: str = "scenario", *, folder: Path | None = None, **overrides: Any) -> Scenario:
    """The scenario of a TOML text, by the rules of `load_scenario`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: it isn't TOML: {error}") from error
    return scenario_of(table, source, folder=folder, **overrides)


def example_scenario() -> str:
    """A scenario to begin with, every key of it explained: TOML."""
    return resources.files("k8slab.experiments").joinpath("example_scenario.toml").read_text(encoding="utf-8")


def scenario_of(table: Table, source: str = "scenario", *, folder: Path | None = None, **overrides: Any) -> Scenario:
    """The scenario of a parsed table; other files that it names are looked for in `folder`."""
    reader = _Reader(source, Path() if folder is None else folder)
    settings = {**table, **{key: value for key, value in overrides.items() if value is not None}}
    reader.known_keys(settings, TOP, source)
    cluster = reader.cluster(settings)
    parts = reader.parts(settings, cluster)
    if not parts:
        raise InputError(f"{source}: nothing to run; wanted at least one trace, stream, {', '.join(WORKLOADS)}")
    name = settings.get("policy", "kube-default")
    if not isinstance(name, str) or name not in (*policy_names(), *gpu_policy_names()):
        reader.fail("policy", UnknownName("policy", name, (*policy_names(), *gpu_policy_names())))
    until = settings.get("until", "1d")
    reader.checked("until", duration_ns, until, "", least_ns=1)
    faults = reader.named(settings, "fault", FAULTS)
    check_faults(reader, settings, faults, cluster)
    namespaces = reader.namespaces(settings)
    classes = reader.table(settings.get("priority_classes", {}), "[priority_classes]")
    reader.checked("[priority_classes]" if classes else "", all_rules, namespaces, classes)
    simulation = reader.checked(
        "", Simulation, cluster, parts,
        autoscalers=reader.named(settings, "autoscaler", AUTOSCALERS),
        faults=faults,
        health=health_of(reader, settings, cluster, parts),
        store=reader.build(Store, settings["store"], "[store]") if "store" in settings else None,
        policy=policy(name),
        namespaces=namespaces,
        priority_classes=classes,
        seed=settings.get("seed", 0),
    )  # fmt: skip
    # What only its beginning tells, such as an autoscaler of a deployment that isn't there, with the file's name.
    reader.checked("", simulation.check)
    return Scenario(simulation, until, source)


@dataclass(frozen=True)
class _Reader:
    """Makes values of tables, and says where one can't be made."""

    source: str
    folder: Path

    # -- the parts ---------------------------------------------------------------------

    def cluster(self, settings: Table) -> Cluster:
        """[cluster] nodes = 100, zones = 3, or file = "nodes.csv" (or kubectl's output), or groups = [{...}]."""
        if "cluster" not in settings:
            raise InputError(f'{self.source}: no [cluster]; wanted one with nodes = 100, or file = "nodes.csv"')
        table = self.table(settings["cluster"], "[cluster]")
        if "file" in table:
            self.known_keys(table, ("file",), "[cluster]")
            read: Cluster = self.loaded(Cluster, table["file"], "[cluster] file")
            return read
        if "groups" in table:
            self.known_keys(table, ("groups", "catalogue"), "[cluster]")
            return self.group_cluster(table)
        if "node_pools" in table:
            self.known_keys(table, ("node_pools", "catalogue"), "[cluster]")
            return self.pool_cluster(table)
        self.known_keys(table, ("nodes", "zones", "seed"), "[cluster]")
        if "nodes" not in table:
            wanted = 'wanted nodes = 100 or file = "nodes.csv"'
            raise InputError(f"{self.source}, [cluster]: neither nodes nor file; {wanted}")
        made: Cluster = self.checked("[cluster]", Cluster.synthetic, **table)
        return made

    def group_cluster(self, table: Table) -> Cluster:
        """[cluster] groups = [{name = "web", instance_type = "general-4", initial = 3}], catalogue = "types.csv"."""
        from k8slab.simulation.instance_types import cluster_of
        from k8slab.simulation.node_autoscalers import groups_of

        catalogue = table.get("catalogue")
        path = None if catalogue is None else str(self.folder / str(catalogue))
        groups = self.checked("[cluster] groups", groups_of, table["groups"], path, "[cluster]")
        made: Cluster = self.checked("[cluster] groups", cluster_of, groups)
        return made

    def pool_cluster(self, table: Table) -> Cluster:
        """[cluster] node_pools = [{name = "web", initial = {general-4 = 3}}], as Karpenter has them."""
        from k8slab.simulation.instance_types import cluster_of
        from k8slab.simulation.karpenter import Karpenter

        catalogue = {"catalogue": str(self.folder / str(table["catalogue"]))} if "catalogue" in table else {}
        found = self.build(Karpenter, {**table, **catalogue}, "[cluster]")
        made: Cluster = self.checked("[cluster] node_pools", cluster_of, found.groups)
        return made

    def parts(self, settings: Table, cluster: Cluster) -> list[Any]:
        """All that runs, in the order of the kinds here."""
        found: list[Any] = []
        for table, where in self.tables(settings, "trace"):
            found.append(self.trace(table, where))
        for table, where in self.tables(settings, "stream"):
            found.append(self.stream(table, where, cluster))
        for key, kind in WORKLOADS.items():
            for table, where in self.tables(settings, key):
                found += self.workloads(kind, table, where)
        return found

    def trace(self, table: Table, where: str) -> Workload:
        """[[trace]] file = "pods.csv", a workload with arrival_ns and duration_ns; or swf = "log.swf"."""
        self.known_keys(table, ("file", "swf", "cores_per_pod"), where)
        if ("file" in table) == ("swf" in table):
            raise InputError(f"{self.source}, {where}: wanted one of file and swf")
        if "file" in table:
            self.known_keys(table, ("file",), where)
            read: Workload = self.loaded(Workload, table["file"], f"{where} file")
            return read
        from k8slab.datasets.swf import swf

        options = {key: value for key, value in table.items() if key != "swf"}
        made: Workload = self.checked(f"{where} swf", swf, self.folder / str(table["swf"]), **options)
        return made

    def stream(self, table: Table, where: str, cluster: Cluster) -> PodStream:
        """[[stream]] with pods = {requests = {...}} or {classes = 20} drawn to suit the cluster, or {file = ...}."""
        made: PodStream = self.build(
            PodStream, table, where,
            pods=partial(self.shapes, cluster=cluster),
            arrivals=self.arrivals,
            lifetimes=self.distribution,
            usage=partial(self.build, Usage),
        )  # fmt: skip
        return made

    def arrivals(self, value: Any, where: str) -> Any:
        """{kind = "poisson", every = "5s"}; or {kind = "replay", file = "pods.csv"} (or swf), that trace's times."""
        table = self.table(value, where)
        if table.get("kind") != "replay":
            return self.kind(table, where, kinds={**ARRIVALS, "replay": Replay})
        trace = self.trace({key: given for key, given in table.items() if key != "kind"}, where)
        if trace.arrival_ns is None:
            raise InputError(f"{self.source}, {where}: {table.get('file')!r} has no times; wanted a column arrival_ns")
        return Replay(trace.arrival_ns)

    def workloads(self, kind: type, table: Table, where: str) -> list[Any]:
        """One workload, or `count` of them, which are called NAME-0, NAME-1, ..."""
        count = table.get("count", 1)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{self.source}, {where}: count is {count!r}; wanted a whole number, 1 or more")
        rest = {key: value for key, value in table.items() if key != "count"}
        makers: dict[str, Any] = {"usage": partial(self.build, Usage)}
        if kind is Deployment:
            makers["load"] = partial(self.build, Load)
        if kind is Job:
            makers["durations"] = self.distribution
        made = self.build(kind, rest, where, extra=("count",), **makers)
        if "count" not in table:
            return [made]
        return [self.build(kind, {**rest, "name": f"{made.name}-{n}"}, where, **makers) for n in range(count)]

    def shapes(self, value: Any, where: str, cluster: Cluster) -> Workload:
        """The shapes that a stream's pods are drawn from."""
        table = self.table(value, where)
        if "file" in table:
            self.known_keys(table, ("file",), where)
            read: Workload = self.loaded(Workload, table["file"], f"{where} file")
            return read
        if "requests" in table:
            self.known_keys(table, ("requests", "priority", "tolerations", "namespace", "labels", "spec"), where)
            # Checked as a workload's are, by one that is made for nothing else.
            like = self.build(Deployment, {**table, "name": "pods"}, where)
            schema = ResourceSchema.of(like.requests)
            vector = schema.vector({"pods": 1, **{name: amount(name, value) for name, value in like.requests.items()}})
            tolerated = parse_tolerations(",".join(like.tolerations))
            return Workload.of(
                ["shape"], vector[None], schema, priority=[like.priority],
                namespaces=Codes.constant(like.namespace, 1), tolerations=Codes.constant(tolerated, 1),
                labels={key: Codes.constant(value, 1) for key, value in like.labels.items()},
                specs=Codes.constant(like.pod_spec(), 1) if like.spec else None,
            )  # fmt: skip
        self.known_keys(table, ("classes", "pods", "seed"), where)
        sizes = {"pods": 10 * len(cluster), "classes": 20, "seed": 0, **table}
        made: Workload = self.checked(where, Workload.synthetic, **sizes, cluster=cluster)
        return made

    def distribution(self, value: Any, where: str) -> Any:
        """A time span, or {kind = "exponential", mean = "1h"}."""
        return self.kind(value, where, kinds=DISTRIBUTIONS) if isinstance(value, dict) else value

    def named(self, settings: Table, key: str, kinds: Mapping[str, str]) -> list[Any]:
        """[[autoscaler]] or [[fault]]: of a kind that is loaded when it is named."""
        found = []
        for table, where in self.tables(settings, key):
            name = self.kind_name(table, where, kinds)
            module, _, attribute = kinds[name].partition(":")
            made = getattr(import_module(module), attribute)
            given = {k: v for k, v in table.items() if k != "kind"}
            if isinstance(given.get("catalogue"), str):
                given["catalogue"] = str(self.folder / given["catalogue"])
            found.append(self.build(made, given, where, extra=("kind",)))
        return found

    def namespaces(self, settings: Table) -> list[Namespace]:
        """[[namespace]] name = "team", quotas = [{hard = {"requests.cpu" = "10"}}], limits = [{max = {cpu = 2}}]."""
        return [
            self.build(
                Namespace, table, where, quotas=partial(self.each, Quota), limits=partial(self.each, LimitRange)
            )
            for table, where in self.tables(settings, "namespace")
        ]

    def each(self, kind: type, value: Any, where: str) -> list[Any]:
        """One object for each table of a list."""
        if not isinstance(value, list):
            raise InputError(f"{self.source}, {where}: {value!r} is no list of tables; wanted [{{ ... }}]")
        return [self.build(kind, one, f"{where} {number}") for number, one in enumerate(value, start=1)]

    # -- one value -----------------------------------------------------------------------

    def kind(self, value: Any, where: str, kinds: Mapping[str, type]) -> Any:
        """A table whose `kind` says which class it is, its other keys the arguments."""
        table = self.table(value, where)
        name = self.kind_name(table, where, kinds)
        return self.build(kinds[name], {k: v for k, v in table.items() if k != "kind"}, where, extra=("kind",))

    def kind_name(self, table: Table, where: str, kinds: Mapping[str, Any]) -> str:
        if "kind" not in table:
            raise InputError(f"{self.source}, {where}: no kind; wanted one of {', '.join(kinds)}")
        name = table["kind"]
        if name not in kinds:
            self.fail(f"{where}, kind", UnknownName("kind", name, kinds))
        return str(name)

    def build(
        self, kind: type, value: Any, where: str, *, extra: tuple[str, ...] = (), **makers: Callable[[Any, str], Any]
    ) -> Any:
        """An object whose arguments are a table's keys. makers : what makes an argument of a value"""
        assert is_dataclass(kind), f"{kind} has no fields to read"
        table = self.table(value, where)
        known = {one.name: one for one in fields(kind) if one.init}
        self.known_keys(table, (*known, *extra), where)
        missing = [name for name, one in known.items() if _is_required(one) and name not in table]
        if missing:
            raise InputError(f"{self.source}, {where}: {missing[0]} is missing; wanted {', '.join(missing)}")
        arguments = {
            key: makers[key](given, f"{where}, {key}") if key in makers else _plain(given)
            for key, given in table.items()
        }
        return self.checked(where, kind, **arguments)

    def loaded(self, kind: Any, name: Any, where: str) -> Any:
        """A Cluster or Workload of a file."""
        if not isinstance(name, str):
            raise InputError(f"{self.source}, {where}: {name!r} is no file name")
        path = self.folder / name
        dump = {".json", ".yaml", ".yml"} & {suffix.lower() for suffix in path.suffixes}
        return self.checked(where, kind.from_kubernetes if dump else kind.load, path)

    def table(self, value: Any, where: str) -> Table:
        if not isinstance(value, dict):
            raise InputError(f"{self.source}, {where}: {value!r} is no table; wanted keys and values in {{ }}")
        return value

    def tables(self, settings: Table, key: str) -> list[tuple[Table, str]]:
        """The [[key]] tables, each with the words that errors call it by."""
        listed = settings.get(key, [])
        if not isinstance(listed, list):
            raise InputError(f"{self.source}: {key} is no list of tables; wanted [[{key}]]")
        found = []
        for number, table in enumerate(listed, start=1):
            name = table.get("name") if isinstance(table, dict) else None
            where = f"[[{key}]] {name!r}" if name else f"[[{key}]] {number}"
            found.append((self.table(table, where), where))
        return found

    def known_keys(self, table: Table, known: tuple[str, ...], where: str) -> None:
        for key in table:
            if key not in known:
                self.fail(where if where != self.source else "", UnknownName("key", key, known))

    def checked(self, where: str, make: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What `make` makes; its errors say where."""
        try:
            return make(*arguments, **named)
        except K8slabError as error:
            self.fail(where, error)
        except (TypeError, ValueError) as error:
            self.fail(where, error)

    def fail(self, where: str, error: Exception) -> Never:
        raise InputError(f"{self.source}{', ' + where if where else ''}: {error}") from error


def _is_required(one: Any) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _plain(value: Any) -> Any:
    """TOML's lists as tuples, which values are made of."""
    return tuple(_plain(one) for one in value) if isinstance(value, list) else value
