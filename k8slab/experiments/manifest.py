"""What a result was made from: enough to make it again, byte for byte."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from k8slab import __version__
from k8slab.datasets.json_values import from_json
from k8slab.errors import InputError

if TYPE_CHECKING:
    from k8slab.datasets import Cluster, Workload
    from k8slab.policies import Policy

_PACKAGES: Final = ("numpy", "numba", "pandas", "scipy")
_NEEDED: Final = {"versions", "cluster", "workload", "policies", "seeds", "order", "baseline", "result"}


def versions() -> dict[str, str]:
    """The versions of Python and of every package that a result may depend on."""
    # k8slab's own is read from its source: it may run from a tree that isn't installed.
    packages = {name: metadata.version(name) for name in _PACKAGES}
    return {"k8slab": __version__, "python": platform.python_version(), **packages}


def inputs(cluster: Cluster, workload: Workload) -> dict[str, Any]:
    """What went in: hashes of the contents, sizes, and where they come from."""
    return {
        "cluster": {"sha256": cluster.content_hash(), "nodes": len(cluster), "source": cluster.source},
        "workload": {"sha256": workload.content_hash(), "pods": len(workload), "source": workload.source},
    }


def check_inputs(manifest: Mapping[str, Any], cluster: Cluster, workload: Workload) -> None:
    """InputError, naming which, unless these are the inputs that the manifest tells of."""
    found = inputs(cluster, workload)
    for kind, count in (("cluster", "nodes"), ("workload", "pods")):
        want, have = manifest[kind], found[kind]
        if want["sha256"] != have["sha256"]:
            raise InputError(
                f"the {kind} is not the one of the manifest: it has {have[count]:,} {count} and the hash "
                f"{have['sha256'][:12]}..., the manifest's has {want[count]:,} {count} and {want['sha256'][:12]}... "
                f"({want['source']})"
            )


def differing_versions(manifest: Mapping[str, Any]) -> list[str]:
    """One line for each package whose version is not the manifest's, as "numpy 2.4.1 (manifest: 2.3.0)"."""
    now = versions()
    return [
        f"{name} {now.get(name, 'missing')} (manifest: {then})"
        for name, then in manifest["versions"].items()
        if now.get(name) != then
    ]


def read(manifest: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """A manifest from a mapping or a JSON file. InputError for anything else."""
    if isinstance(manifest, Mapping):
        found: Any = dict(manifest)
    else:
        try:
            found = json.loads(Path(manifest).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read the manifest {str(manifest)!r}: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"the manifest {str(manifest)!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"a comparison's manifest is a JSON object; found a {type(found).__name__}")
    missing = _NEEDED - set(found)
    if missing:
        raise InputError(f"the manifest lacks {', '.join(sorted(missing))}; is it that of a k8slab comparison?")
    return found


def policies(manifest: Mapping[str, Any], own: Iterable[Policy] = ()) -> tuple[Policy, ...]:
    """The manifest's policies, in its order: the user's own by name, the others put together from shipped plug-ins.

    InputError for one that has a plug-in k8slab doesn't ship and isn't among `own`, or isn't alike.
    """
    given = {policy.name: policy for policy in own}
    return tuple(given.get(entry["name"]) or _rebuilt(entry) for entry in _checked(manifest["policies"], given))


def _checked(entries: list[dict[str, Any]], given: Mapping[str, Policy]) -> list[dict[str, Any]]:
    for entry in entries:
        policy = given.get(entry["name"])
        if policy is None:
            continue
        here, there = plain(policy.arguments()), _without(entry, "summary")
        if here != there:
            changed = _changed_code(here, there)
            what = f"the code of its plug-in {changed!r} has changed" if changed else f"{here}, there {there}"
            raise InputError(f"the policy {policy.name!r} is not the one of the manifest: {what}")
    return entries


def _changed_code(here: Mapping[str, Any], there: Mapping[str, Any]) -> str | None:
    """The first plug-in whose code differs, None if the two policies differ in anything else."""
    ours, theirs = _plugins(here), _plugins(there)
    if [_without(plugin, "code_sha256") for plugin in ours] != [_without(plugin, "code_sha256") for plugin in theirs]:
        return None
    differing = [str(one["name"]) for one, other in zip(ours, theirs, strict=True) if one != other]
    return differing[0] if differing and here["ties"] == there["ties"] else None


def _plugins(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    after = [entry["post_filter"]] if entry["post_filter"] else []
    return [*entry["filters"], *entry["scores"], *after]


def _rebuilt(entry: Mapping[str, Any]) -> Policy:
    from k8slab.policies import Policy
    from k8slab.policies.policy import check_ties
    from k8slab.policies.sampling import Sampling

    shipped = _shipped_plugins()
    foreign = [name for name in _plugin_names(entry) if name not in shipped]
    if foreign:
        raise InputError(
            f"the policy {entry['name']!r} of the manifest has the plug-in {foreign[0]!r}, which k8slab doesn't ship: "
            f"pass the policy itself, as in rerun(..., policies=[...])"
        )
    return Policy(
        entry["name"],
        entry.get("summary", ""),
        tuple(_made(plugin, shipped) for plugin in entry["filters"]),
        tuple((_made(plugin, shipped), plugin["weight"]) for plugin in entry["scores"]),
        check_ties(entry["ties"]),
        _made(entry["post_filter"], shipped) if entry["post_filter"] else None,
        Sampling(**entry["sampling"]) if "sampling" in entry else None,
    )


def _shipped_plugins() -> dict[str, Any]:
    from k8slab.policies import plugins as p
    from k8slab.policies.preemption import DefaultPreemption

    filters = (p.NodeUnschedulable, p.NodeName, p.TaintToleration, p.NodeAffinity, p.NodePorts, p.NodeResourcesFit,
               p.PodTopologySpread, p.InterPodAffinity, p.GpuDevices)
    scores = (p.LeastAllocated, p.MostAllocated, p.RequestedToCapacityRatio, p.BalancedAllocation, p.ImageLocality,
              p.BestFit, p.WorstFit, p.DotProduct, *p.GPU_SCORES)
    return {plugin.name: plugin for plugin in (*filters, *scores, DefaultPreemption)}


def _plugin_names(entry: Mapping[str, Any]) -> list[str]:
    return [plugin["name"] for plugin in _plugins(entry)]


def _made(plugin: Mapping[str, Any], shipped: Mapping[str, Any]) -> Any:
    """A shipped plug-in with the arguments that a manifest has of it."""
    arguments = {key: value for key, value in plugin.items() if key not in ("name", "weight")}
    try:
        if "strategy" not in arguments:
            return _read(shipped[plugin["name"]], arguments)
        # NodeResourcesFit's strategy is told by its name, and what it weighs stands beside it.
        own: dict[str, Any] = {key: arguments.pop(key) for key in ("resources", "shape") if key in arguments}
        strategy = _read(shipped[arguments.pop("strategy")], own)
        return replace(_read(shipped[plugin["name"]], arguments), strategy=strategy)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the manifest's plug-in {plugin['name']!r} can't be made: {error}") from error


def _read(kind: Any, arguments: Mapping[str, Any]) -> Any:
    return from_json(kind, json.dumps(arguments))


def described(policy: Policy) -> dict[str, Any]:
    """A policy as a manifest has it: all that decides, and the sentence that the report has of it."""
    return {**plain(policy.arguments()), "summary": policy.summary}


def _without(entry: Mapping[str, Any], left_out: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != left_out}


def plain(value: Any) -> Any:
    """The same as JSON would give it back: tuples are lists, keys are text."""
    return json.loads(json.dumps(value))
