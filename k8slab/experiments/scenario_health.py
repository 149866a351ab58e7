"""What a scenario says of health: detectors, budgets, drains and probes; and whether all that it names is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from k8slab.domain.detectors import FailureDetector, FixedTimeout, LeaseMonitor, PhiAccrual
from k8slab.domain.probe_times import Probes
from k8slab.domain.probes import Probe, ProbeKind
from k8slab.errors import UnknownName
from k8slab.simulation.drains import Drain
from k8slab.simulation.fault_times import FaultTargets
from k8slab.simulation.faults import KINDS
from k8slab.simulation.health import DisruptionBudget, Health
from k8slab.simulation.workloads import DaemonSet, Deployment, Job, StatefulSet
from k8slab.units import duration_ns

if TYPE_CHECKING:
    from k8slab.datasets import Cluster
    from k8slab.experiments.scenario import _Reader
    from k8slab.simulation.fault_base import Fault

Table = Mapping[str, Any]
FAULTS: Final = {kind: f"{fault.__module__}:{fault.__name__}" for kind, fault in KINDS.items()}
DETECTORS: Final[dict[str, type]] = {"lease": LeaseMonitor, "timeout": FixedTimeout, "phi": PhiAccrual}
# What [health] says by itself; budgets, drains and probes are tables of their own.
_PLAIN_KEYS: Final = tuple(
    one.name for one in fields(Health) if one.name not in ("detector", "compare", "budgets", "drains", "probes")
)
_TIMES: Final = "_ns"


def health_of(reader: _Reader, settings: Table, cluster: Cluster, parts: Sequence[Any]) -> Health | None:
    """[health], its [health.detector], [health.compare.NAME] and [health.probes.WORKLOAD], [[budget]] and [[drain]].

    None where there is none of these: then Kubernetes' own ways.
    """
    if not {"health", "budget", "drain"} & settings.keys():
        return None
    table = reader.table(settings.get("health", {}), "[health]")
    reader.known_keys(table, (*_PLAIN_KEYS, "detector", "compare", "probes"), "[health]")
    arguments: dict[str, Any] = {key: table[key] for key in _PLAIN_KEYS if key in table}
    if "detector" in table:
        arguments["detector"] = _detector(reader, table["detector"], "[health.detector]")
    compare = reader.table(table.get("compare", {}), "[health.compare]")
    probes = reader.table(table.get("probes", {}), "[health.probes]")
    names = [part.name for part in parts if isinstance(part, Deployment | StatefulSet | Job | DaemonSet)]
    arguments["compare"] = {name: _detector(reader, one, f"[health.compare.{name}]") for name, one in compare.items()}
    arguments["probes"] = {name: _probes(reader, one, f"[health.probes.{name}]") for name, one in probes.items()}
    for name in probes:
        _is_there(reader, f"[health.probes.{name}]", "workload", name, names)
    arguments["budgets"] = tuple(_budgets(reader, settings, names))
    arguments["drains"] = tuple(_drains(reader, settings, cluster))
    made: Health = reader.checked("[health]", Health, **arguments)
    return made


def check_faults(reader: _Reader, settings: Table, faults: Sequence[Fault], cluster: Cluster) -> None:
    """Raise for a fault on a node, label or value that isn't there, before anything runs."""
    targets = FaultTargets(cluster.names, cluster.labels)
    for (_, where), fault in zip(reader.tables(settings, "fault"), faults, strict=True):
        reader.checked(where, fault.draw, targets, 1, np.random.default_rng(0))


def _budgets(reader: _Reader, settings: Table, names: Sequence[str]) -> list[DisruptionBudget]:
    found = []
    for table, where in reader.tables(settings, "budget"):
        budget: DisruptionBudget = reader.build(DisruptionBudget, table, where)
        if budget.workload:
            _is_there(reader, f"{where}, workload", "workload", budget.workload, names)
        found.append(budget)
    return found


def _drains(reader: _Reader, settings: Table, cluster: Cluster) -> list[Drain]:
    found = []
    for table, where in reader.tables(settings, "drain"):
        drain: Drain = reader.build(Drain, table, where)
        _is_there(reader, f"{where}, node", "node", drain.node, list(cluster.names))
        found.append(drain)
    return found


def _is_there(reader: _Reader, where: str, kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        reader.fail(where, UnknownName(kind, name, known))


def _detector(reader: _Reader, value: Any, where: str) -> FailureDetector:
    """{kind = "phi", threshold = 8}; times are called as the detector's without _ns, and are given as "50s"."""
    table = reader.table(value, where)
    kind = DETECTORS[reader.kind_name(table, where, DETECTORS)]
    known = {one.name.removesuffix(_TIMES): one.name for one in fields(kind)}
    reader.known_keys(table, ("kind", *known), where)
    arguments = {
        known[key]: reader.checked(where, duration_ns, given, key) if known[key].endswith(_TIMES) else given
        for key, given in table.items()
        if key != "kind"
    }
    made: FailureDetector = reader.checked(where, kind, **arguments)
    return made


def _probes(reader: _Reader, value: Any, where: str) -> Probes:
    """liveness = {period_seconds = 5}, readiness = {}, startup = {...}, timeout_seconds, latency_seconds."""
    table = reader.table(value, where)
    reader.known_keys(table, tuple(one.name for one in fields(Probes)), where)
    keys = tuple(one.name for one in fields(Probe) if one.name != "kind")
    arguments: dict[str, Any] = {}
    for key, given in table.items():
        if key in (kind.value for kind in ProbeKind):
            one = reader.table(given, f"{where}, {key}")
            reader.known_keys(one, keys, f"{where}, {key}")
            arguments[key] = reader.checked(f"{where}, {key}", Probe, ProbeKind(key), **one)
        else:
            arguments[key] = given
    made: Probes = reader.checked(where, Probes, **arguments)
    return made
