"""Policies from a KubeSchedulerConfiguration: which plug-ins, with which weights and arguments.

Plug-ins are merged and expanded as kube-scheduler does it: the default profile stands under
multiPoint; what a profile enables or disables there changes it; what it enables or disables at
an extension point has the last word at that point. A weight that is 0 or missing is 1, and so
is that of a default plug-in which is enabled anew without one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

from k8slab.domain.api_parsing import (
    choice_of,
    known_only,
    mapping_of,
    node_terms_of,
    objects_of,
    preferred_node_terms_of,
    refuse,
    spread_constraint_of,
    text_of,
    texts_of,
    whole_of,
)
from k8slab.domain.pod_spec import SpreadConstraint
from k8slab.errors import InputError, UnknownName
from k8slab.policies import plugins
from k8slab.policies.policy import Policy
from k8slab.policies.preemption import DefaultPreemption
from k8slab.policies.sampling import Sampling

Source: TypeAlias = str | PathLike[str] | Mapping[str, Any]
Object: TypeAlias = Mapping[str, Any]
Weighted: TypeAlias = dict[str, int]

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
KIND: Final = "KubeSchedulerConfiguration"
DEFAULT_NAME: Final = "default-scheduler"

# Every plug-in of kube-scheduler v1.34 and the extension points it has, in the order of the default profile.
EXTENSION_POINTS: Final[dict[str, tuple[str, ...]]] = {
    "SchedulingGates": ("preEnqueue",),
    "PrioritySort": ("queueSort",),
    "NodeUnschedulable": ("filter",),
    "NodeName": ("filter",),
    "TaintToleration": ("filter", "preScore", "score"),
    "NodeAffinity": ("preFilter", "filter", "preScore", "score"),
    "NodePorts": ("preFilter", "filter"),
    "NodeResourcesFit": ("preFilter", "filter", "preScore", "score"),
    "VolumeRestrictions": ("preFilter", "filter"),
    "NodeVolumeLimits": ("preFilter", "filter"),
    "VolumeBinding": ("preFilter", "filter", "reserve", "preBind", "preScore", "score"),
    "VolumeZone": ("preFilter", "filter"),
    "PodTopologySpread": ("preFilter", "filter", "preScore", "score"),
    "InterPodAffinity": ("preFilter", "filter", "preScore", "score"),
    "DynamicResources": ("preEnqueue", "preFilter", "filter", "postFilter", "reserve", "preBind"),
    "DefaultPreemption": ("preEnqueue", "postFilter"),
    "NodeResourcesBalancedAllocation": ("preScore", "score"),
    "ImageLocality": ("score",),
    "DefaultBinder": ("bind",),
}
DEFAULT_WEIGHTS: Final = {"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2}
# Nothing here has volumes, claims, a binder or another order: these are known, and passed over.
PASSED_OVER: Final = (
    "PrioritySort", "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "DynamicResources",
    "DefaultBinder",
)  # fmt: skip
# Of these the ones that score where there are volumes, with their weight in the default profile.
VOLUME_SCORES: Final = {"VolumeBinding": 1}

_POINTS: Final = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit",
    "preBind", "bind", "postBind", "multiPoint",
)  # fmt: skip
_FIELDS: Final = (
    "apiVersion", "kind", "profiles", "percentageOfNodesToScore", "parallelism", "leaderElection",
    "clientConnection", "enableProfiling", "enableContentionProfiling", "podInitialBackoffSeconds",
    "podMaxBackoffSeconds", "extenders", "delayCacheUntilActive",
)  # fmt: skip
_PROFILE_FIELDS: Final = ("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_CONSTRAINT: Final = (
    "topologyKey", "maxSkew", "whenUnsatisfiable", "labelSelector", "minDomains", "nodeAffinityPolicy",
    "nodeTaintsPolicy", "matchLabelKeys",
)  # fmt: skip
_MOST: Final = 2**31 - 1


def policy_from_configuration(source: Source, profile: str | None = None, *, name: str | None = None) -> Policy:
    """The policy of one profile of a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1).

    source  : the parsed object; its text, JSON or YAML; or a path to it
    profile : which, by its schedulerName; by default the first
    name    : what the policy is called; by default as the profile's scheduler

    A percentageOfNodesToScore of 1 to 99 is heeded, see `Policy.sampled`. Left out, or 0, it leaves every node
    to be looked at: kube-scheduler's own formula is `policy.sampled()`. Plug-ins that need volumes, claims or a
    binder are passed over. A UserWarning says so if the configuration has extenders or switches SchedulingGates
    off: here nobody else is asked, and gates hold.
    Raises UnknownName for a profile, plug-in, field or argument that there isn't, and
    InputError, with the path in the document, for what kube-scheduler would refuse.

    >>> packing = {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}
    >>> policy_from_configuration({"profiles": [{"pluginConfig": [packing]}]}).name
    'default-scheduler'
    """
    document = _document(source)
    known_only(document, "", _FIELDS)
    _check_header(document, KIND, "")
    chosen, path = _profile(document, profile)
    percentage = _percentage(document, chosen, path)
    if document.get("extenders"):
        warnings.warn("extenders are not asked: the policy decides without them", stacklevel=2)
    enabled = _Enabled.of(chosen.get("plugins"), f"{path}.plugins")
    if "SchedulingGates" not in enabled.at("preEnqueue"):
        warnings.warn("SchedulingGates is off: pods with gates wait all the same", stacklevel=2)
    made = _configured(chosen.get("pluginConfig"), f"{path}.pluginConfig")
    known_as = str(chosen.get("schedulerName") or DEFAULT_NAME)
    return Policy(
        name=name or known_as,
        summary=f"The profile {known_as} of a KubeSchedulerConfiguration.",
        filters=tuple(made[plugin] for plugin in enabled.at("filter") if plugin in made),
        scores=tuple((made[plugin], enabled.weight(plugin)) for plugin in enabled.at("score") if plugin in made),
        ties="random",
        post_filter=made["DefaultPreemption"] if "DefaultPreemption" in enabled.at("postFilter") else None,
        sampling=Sampling(percentage) if 0 < percentage < 100 else None,
    )


# -- the document --------------------------------------------------------------


def _document(source: Source) -> Object:
    if isinstance(source, Mapping):
        return mapping_of(source, "the configuration")
    if not isinstance(source, str | PathLike):
        refuse("the configuration", source, "a path, a text or an object")
    text = str(source)
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return _parsed(text, "the configuration")
    path = Path(source)
    try:
        return _parsed(path.read_text(encoding="utf-8-sig"), path.name)
    except OSError as error:
        raise InputError(f"cannot read a configuration from {text!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: no text in UTF-8: {error}") from error


def _parsed(text: str, origin: str) -> Object:
    """JSON where it looks like it, else YAML: one object."""
    if text.lstrip().startswith("{"):
        try:
            return mapping_of(json.loads(text), origin)
        except json.JSONDecodeError as error:
            raise InputError(f"{origin}: not JSON: {error}") from error
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError(f"{origin}: no JSON, and YAML needs pyyaml: pip install 'k8slab[yaml]'") from error
    try:
        return mapping_of(yaml.safe_load(text), origin)
    except yaml.YAMLError as error:
        raise InputError(f"{origin}: not YAML: {error}") from error


def _check_header(found: Object, kind: str, path: str) -> None:
    """apiVersion and kind may be missing, but not be others."""
    for key, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        if found.get(key) not in (None, wanted):
            refuse(_in(path, key), found[key], wanted)


def _profile(document: Object, wanted: str | None) -> tuple[Object, str]:
    """The profile and its path. Without any there is one, which is kube-scheduler's default."""
    found = [(item, path) for path, item in objects_of(document.get("profiles"), "profiles")] or [({}, "profiles[0]")]
    by_name: dict[str, tuple[Object, str]] = {}
    for item, path in found:
        known_only(item, path, _PROFILE_FIELDS)
        name = text_of(item.get("schedulerName") or DEFAULT_NAME, f"{path}.schedulerName")
        if name in by_name:
            refuse(f"{path}.schedulerName", name, "a name of its own for each profile")
        by_name[name] = (item, path)
    if wanted is None:
        return found[0]
    if wanted not in by_name:
        raise UnknownName("profile", wanted, by_name)
    return by_name[wanted]


def _percentage(document: Object, chosen: Object, path: str) -> int:
    """percentageOfNodesToScore, the profile's own if it has one."""
    key = "percentageOfNodesToScore"
    holder, where = (chosen, _in(path, key)) if chosen.get(key) is not None else (document, key)
    return whole_of(holder.get(key) or 0, where, 0, 100)


# -- which plug-ins, where -----------------------------------------------------


@dataclass(frozen=True)
class _Set:
    """What a profile enables, by name with its weight, and disables at one point."""

    enabled: Weighted
    disabled: frozenset[str]

    @classmethod
    def of(cls, found: object, path: str) -> _Set:
        content = mapping_of({} if found is None else found, path)
        known_only(content, path, ("enabled", "disabled"))
        enabled: Weighted = {}
        for where, item in objects_of(content.get("enabled"), f"{path}.enabled"):
            known_only(item, where, ("name", "weight"))
            name = _plugin_name(item, where)
            if name in enabled:
                refuse(f"{where}.name", name, "each plug-in once")
            enabled[name] = whole_of(item.get("weight") or 0, f"{where}.weight", 0, _MOST) or 1
        disabled = []
        for where, item in objects_of(content.get("disabled"), f"{path}.disabled"):
            known_only(item, where, ("name", "weight"))
            disabled.append("*" if item.get("name") == "*" else _plugin_name(item, where))
        return cls(enabled, frozenset(disabled))


def _plugin_name(item: Object, path: str) -> str:
    name = text_of(item.get("name"), f"{path}.name")
    if name not in EXTENSION_POINTS:
        raise UnknownName("plug-in", name, EXTENSION_POINTS, f"It stands in {path}.name.")
    return name


@dataclass(frozen=True)
class _Enabled:
    """All that a profile says about plug-ins. everywhere : multiPoint, the default profile changed by it."""

    sets: Mapping[str, _Set]
    everywhere: Weighted

    @classmethod
    def of(cls, found: object, path: str) -> _Enabled:
        content = mapping_of({} if found is None else found, path)
        known_only(content, path, _POINTS, "extension point")
        sets = {point: _Set.of(content.get(point), f"{path}.{point}") for point in _POINTS}
        for point in _POINTS[:-1]:
            for name in sets[point].enabled:
                if point not in EXTENSION_POINTS[name]:
                    refuse(f"{path}.{point}.enabled", name, f"a plug-in that has {point}")
        enabled = cls(sets, _merged(sets["multiPoint"]))
        enabled._check_prepared(path)
        return enabled

    def at(self, point: str) -> list[str]:
        """The plug-ins of an extension point, in the order that they are asked."""
        here = self.sets[point]
        if "*" in here.disabled:
            return list(here.enabled)
        everywhere = [
            name for name in self.everywhere if point in EXTENSION_POINTS[name] and name not in here.disabled
        ]
        # Who is named here and everywhere goes first, in this point's order; who is named here alone goes last.
        overriding = [name for name in here.enabled if name in everywhere]
        rest = [name for name in everywhere if name not in here.enabled]
        return [*overriding, *rest, *(name for name in here.enabled if name not in everywhere)]

    def weight(self, plugin: str) -> int:
        """A score's weight: the point's own, else that of multiPoint."""
        return self.sets["score"].enabled.get(plugin) or self.everywhere[plugin]

    def _check_prepared(self, path: str) -> None:
        """kube-scheduler's plug-ins fail in a point whose preparation is switched off."""
        for before, after in (("preFilter", "filter"), ("preScore", "score")):
            prepared = self.at(before)
            for name in self.at(after):
                if before in EXTENSION_POINTS[name] and name not in prepared:
                    raise InputError(
                        f"{path}: {name} is off at {before} and on at {after}, which needs it; "
                        f"disable it at {after} too, or enable it at both"
                    )


def _merged(custom: _Set) -> Weighted:
    """The default profile changed by what multiPoint says: in place where it names a default plug-in anew."""
    merged: Weighted = {}
    for name in EXTENSION_POINTS if "*" not in custom.disabled else ():
        if name not in custom.disabled:
            merged[name] = custom.enabled.get(name) or DEFAULT_WEIGHTS.get(name, 1)
    return {**merged, **custom.enabled}


# -- arguments -----------------------------------------------------------------


def _configured(found: object, path: str) -> dict[str, Any]:
    """Every plug-in that decides something here, with its arguments."""
    arguments: dict[str, dict[str, Any]] = {}
    for where, item in objects_of(found, path):
        known_only(item, where, ("name", "args"))
        name = _plugin_name(item, where)
        if name in arguments:
            refuse(f"{where}.name", name, "each plug-in once")
        arguments[name] = _arguments(name, item.get("args"), f"{where}.args")
    made: dict[str, Callable[..., Any]] = {
        "NodeUnschedulable": plugins.NodeUnschedulable,
        "NodeName": plugins.NodeName,
        "TaintToleration": plugins.TaintToleration,
        "NodeAffinity": plugins.NodeAffinity,
        "NodePorts": plugins.NodePorts,
        "NodeResourcesFit": plugins.NodeResourcesFit,
        "PodTopologySpread": plugins.PodTopologySpread,
        "InterPodAffinity": plugins.InterPodAffinity,
        "NodeResourcesBalancedAllocation": plugins.BalancedAllocation,
        "ImageLocality": plugins.ImageLocality,
        "DefaultPreemption": DefaultPreemption,
    }
    return {name: make(**arguments.get(name, {})) for name, make in made.items()}


def _arguments(name: str, found: object, path: str) -> dict[str, Any]:
    """What the plug-in's class is called with."""
    args = mapping_of({} if found is None else found, path)
    _check_header(args, f"{name}Args", path)
    given = {key: value for key, value in args.items() if key not in ("apiVersion", "kind") and value is not None}
    if name in PASSED_OVER:
        return {}
    known, read = _READERS.get(name, ((), _no_arguments))
    if given and not known:
        refuse(path, dict(found) if isinstance(found, Mapping) else found, f"nothing: {name} takes no arguments")
    known_only(given, path, known, f"argument of {name}")
    return read(given, path)


def _no_arguments(args: Object, path: str) -> dict[str, Any]:
    return {}


def _node_affinity(args: Object, path: str) -> dict[str, Any]:
    path = f"{path}.addedAffinity"
    added = mapping_of(args.get("addedAffinity") or {}, path)
    known_only(added, path, (_REQUIRED, _PREFERRED))
    return {
        "added_required": node_terms_of(added.get(_REQUIRED), f"{path}.{_REQUIRED}", strict=True),
        "added_preferred": preferred_node_terms_of(added.get(_PREFERRED), f"{path}.{_PREFERRED}", strict=True),
    }


def _fit(args: Object, path: str) -> dict[str, Any]:
    groups = texts_of(args.get("ignoredResourceGroups"), f"{path}.ignoredResourceGroups")
    for number, group in enumerate(groups):
        if "/" in group:
            refuse(f"{path}.ignoredResourceGroups[{number}]", group, "a group: what stands before the '/' of a name")
    return {
        "strategy": _strategy(args.get("scoringStrategy"), f"{path}.scoringStrategy"),
        "ignored": texts_of(args.get("ignoredResources"), f"{path}.ignoredResources"),
        "ignored_groups": groups,
    }


def _strategy(found: object, path: str) -> Any:
    content = mapping_of({} if found is None else found, path)
    known_only(content, path, ("type", "resources", "requestedToCapacityRatio"))
    types = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
    kind = choice_of(content.get("type") or types[0], f"{path}.type", types)
    resources = _resources(content.get("resources"), f"{path}.resources", 100)
    if kind == "LeastAllocated":
        return plugins.LeastAllocated(resources)
    if kind == "MostAllocated":
        return plugins.MostAllocated(resources)
    ratio = f"{path}.requestedToCapacityRatio"
    return plugins.RequestedToCapacityRatio(resources, _shape(content.get("requestedToCapacityRatio"), ratio))


def _resources(found: object, path: str, most: int) -> Weighted | None:
    """Name -> weight in the document's order, in which floats are added; None for the default ones."""
    weights: Weighted = {}
    for where, item in objects_of(found, path):
        known_only(item, where, ("name", "weight"))
        name = text_of(item.get("name"), f"{where}.name")
        if name in weights:
            refuse(f"{where}.name", name, "each resource once")
        weights[name] = whole_of(item.get("weight") or 1, f"{where}.weight", 0, most)
    return weights or None


def _shape(found: object, path: str) -> tuple[tuple[int, int], ...]:
    content = mapping_of(found, path)
    known_only(content, path, ("shape",))
    points: list[tuple[int, int]] = []
    for where, item in objects_of(content.get("shape"), f"{path}.shape"):
        known_only(item, where, ("utilization", "score"))
        least = points[-1][0] + 1 if points else 0
        # A 0 that Go leaves out of its JSON is a 0.
        x, y = (item.get(key, 0) for key in ("utilization", "score"))
        points.append((whole_of(x, f"{where}.utilization", least, 100), whole_of(y, f"{where}.score", 0, 10)))
    if not points:
        refuse(f"{path}.shape", content.get("shape"), "one point or more")
    return tuple(points)


def _balance(args: Object, path: str) -> dict[str, Any]:
    return {"resources": _resources(args.get("resources"), f"{path}.resources", 1)}


def _spread(args: Object, path: str) -> dict[str, Any]:
    constraints = [
        _default_constraint(item, where)
        for where, item in objects_of(args.get("defaultConstraints"), f"{path}.defaultConstraints")
    ]
    kind = choice_of(args.get("defaultingType") or "System", f"{path}.defaultingType", ("System", "List"))
    if kind == "System" and constraints:
        refuse(f"{path}.defaultingType", kind, "List, as there are defaultConstraints")
    pairs = [(constraint.topology_key, constraint.hard) for constraint in constraints]
    for number, pair in enumerate(pairs):
        if pair in pairs[:number]:
            refuse(f"{path}.defaultConstraints[{number}]", pair[0], "each topologyKey once for each whenUnsatisfiable")
    return {"defaults": None if kind == "System" else tuple(constraints)}


def _default_constraint(item: Object, path: str) -> SpreadConstraint:
    known_only(item, path, _CONSTRAINT)
    if item.get("labelSelector") is not None:
        refuse(f"{path}.labelSelector", item["labelSelector"], "none: it is made from the pod's services and owner")
    return spread_constraint_of(item, path)


def _inter_pod_affinity(args: Object, path: str) -> dict[str, Any]:
    weight = args.get("hardPodAffinityWeight", 1)
    return {
        "hard_weight": whole_of(weight, f"{path}.hardPodAffinityWeight", 0, 100),
        "ignore_preferred_of_existing": _flag(args, "ignorePreferredTermsOfExistingPods", path),
    }


def _preemption(args: Object, path: str) -> dict[str, Any]:
    percent = whole_of(args.get("minCandidateNodesPercentage", 10), f"{path}.minCandidateNodesPercentage", 0, 100)
    least = whole_of(args.get("minCandidateNodesAbsolute", 100), f"{path}.minCandidateNodesAbsolute", 0, _MOST)
    if percent == least == 0:
        refuse(path, dict(args), "minCandidateNodesPercentage or minCandidateNodesAbsolute above 0")
    return {"candidate_percent": percent, "candidates": least}


def _flag(args: Object, key: str, path: str) -> bool:
    found = args.get(key, False)
    if not isinstance(found, bool):
        refuse(f"{path}.{key}", found, "true or false")
    return found


def _in(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


_Reader: TypeAlias = Callable[[Object, str], dict[str, Any]]
# Plug-in -> the arguments that it takes, and what reads them.
_READERS: Final[dict[str, tuple[tuple[str, ...], _Reader]]] = {
    "NodeAffinity": (("addedAffinity",), _node_affinity),
    "NodeResourcesFit": (("ignoredResources", "ignoredResourceGroups", "scoringStrategy"), _fit),
    "NodeResourcesBalancedAllocation": (("resources",), _balance),
    "PodTopologySpread": (("defaultConstraints", "defaultingType"), _spread),
    "InterPodAffinity": (("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"), _inter_pod_affinity),
    "DefaultPreemption": (("minCandidateNodesPercentage", "minCandidateNodesAbsolute"), _preemption),
}
