"""A policy: filters, weighted scores and a tie rule; how it judges one pod, and places many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.errors import InputError, PluginError, UnknownName
from k8slab.policies.filtering import Filtering, PreFilter, fit_message
from k8slab.policies.plugins import (
    SUCCESS,
    UNRESOLVABLE,
    Decision,
    Filter,
    Floats,
    Mask,
    NodeResourcesFit,
    Refusal,
    SchedulingGates,
    Score,
    shipped_score,
)
from k8slab.policies.plugins.base import asks
from k8slab.policies.preemption import DefaultPreemption, Preemption
from k8slab.policies.sampling import Sampling
from k8slab.policies.snapshot import Snapshot
from k8slab.policies.source_code import code_hash
from k8slab.policies.user import UserFilter, UserScore, _check_weight

Ties = Literal["lowest", "random"]
Path = Literal["tree", "groups", "scan", "stepwise"]
TIES = ("lowest", "random")
_WORD = 2**64


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % _WORD
    return x ^ (x >> 31)


def draw01(seed: int, pod_row: int) -> float:
    """A number in [0, 1) from seed and pod alone: the same as kernels.choice.draw01.

    >>> draw01(0, 0) == draw01(0, 0) != draw01(0, 1)
    True
    """
    golden = 0x9E3779B97F4A7C15
    return float(_mix((_mix((seed + golden) % _WORD) + golden * (pod_row + 1)) % _WORD) >> 11) * 2.0**-53


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a policy makes of one pod and every node.

    alive      : bool[N]       the nodes that are there at all
    gate       : "" or why the pod isn't to be scheduled yet; no node is feasible then
    prefilter  : what was decided before the filters, None if nothing was
    feasible   : bool[N]
    refused_by : int8[N]       index into `filters` of the first that refused, -1 where none did
    refusals   : (index into `filters`, Refusal) in the order in which they are told
    active     : indices of the filters that had something to check for this pod
    code       : int8[N]       0 feasible, 1 Unschedulable: preemption might help, 2 UnschedulableAndUnresolvable
    took_part  : bool[K]       False for scores that passed this pod over: they count 0
    raw, normalized : float64[K, N]  as the K scores gave them, before and after normalisation
    weights    : float64[K]
    total      : float64[N]    sum of weight * normalized; only feasible nodes count
    chosen     : the node row by the tie rule, -1 if no node is feasible
    looked_at  : bool[N]       the nodes that a sampling policy came to; the others count as if they weren't feasible;
                 None where all were looked at
    next_start : where a sampling policy's next search starts
    """

    filters: tuple[str, ...]
    scores: tuple[str, ...]
    alive: Mask
    gate: str
    prefilter: PreFilter | None
    feasible: Mask
    refused_by: npt.NDArray[np.int8]
    refusals: tuple[tuple[int, Refusal], ...]
    active: tuple[int, ...]
    code: npt.NDArray[np.int8]
    took_part: Mask
    raw: Floats
    normalized: Floats
    weights: Floats
    total: Floats
    chosen: int
    looked_at: Mask | None = None
    next_start: int = 0

    def reasons(self) -> dict[str, int]:
        """How many nodes each reason holds for, most first; a node counts for each of its first refusing filter's."""
        counts: Counter[str] = Counter()
        if self.prefilter is not None:
            counts[self.prefilter.told] = int((self.prefilter.outside & self.alive).sum())
        for index, refusal in self.refusals:
            counts[refusal.reason] += int((refusal.nodes & (self.refused_by == index)).sum())
        told = [(reason, nodes) for reason, nodes in counts.items() if nodes]
        return dict(sorted(told, key=lambda item: (-item[1], item[0])))

    def message(self) -> str:
        """How many nodes are available and why the others aren't: the text of the scheduler's own event.

        For example "0/15 nodes are available: 12 Too many pods, 3 Insufficient cpu."
        """
        if self.gate:
            return self.gate
        if self.prefilter is not None and self.prefilter.reason:
            return fit_message(0, int(self.alive.sum()), [self.prefilter.reason])
        told = sorted(f"{count} {reason}" for reason, count in self.reasons().items())
        return fit_message(int(self.feasible.sum()), int(self.alive.sum()), told)


class Eviction(NamedTuple):
    """A pod that had to go for a more important one.

    row       : of the pods to schedule, or of those that ran before
    bound     : it ran before
    node_row  : where it was
    by        : index of the pod it made room for
    """

    row: int
    bound: bool
    node_row: int
    by: int


@dataclass(frozen=True, eq=False)
class Decisions:
    """Where the pods go. node_rows : int64[P], -1 for none; path : how it was found; evictions : in their order.

    starts  : int64[P], where each search began by a policy that samples nodes, else None
    next_start : where its next search begins
    devices : int64[P, D], the milli that each pod gets of its node's GPUs; None unless the policy tells them apart
    """

    node_rows: npt.NDArray[np.int64]
    path: Path
    evictions: tuple[Eviction, ...] = ()
    devices: npt.NDArray[np.int64] | None = None
    starts: npt.NDArray[np.int64] | None = None
    next_start: int = 0


@dataclass(frozen=True, eq=False)
class Policy:
    """Filters, weighted scores and a tie rule, by the rules of kube-scheduler's framework.

    A node is feasible if no filter refuses it; the feasible node of the highest
    sum of weight * normalized score is chosen; among equals the lowest row, or one
    drawn by the seed. Immutable: the with_... methods give a new policy.
    """

    name: str
    summary: str
    filters: tuple[Filter, ...]
    scores: tuple[tuple[Score, float], ...]
    ties: Ties = "lowest"
    post_filter: DefaultPreemption | None = None
    sampling: Sampling | None = None

    # -- variations ----------------------------------------------------------

    def with_score(self, plugin: Score | str, weight: float | None = None) -> Policy:
        """This policy with one more score, or another in place of one of its name.

        plugin : a user's, which brings its own weight, or a shipped one by name, such as "BestFit"

        Raises PluginError for what is no score, UnknownName for a name that no shipped one has.
        """
        plugin = shipped_score(plugin) if isinstance(plugin, str) else plugin
        _check_plugin(plugin, "score", "raw")
        weight = (plugin.weight if isinstance(plugin, UserScore) else 1) if weight is None else weight
        _check_weight(plugin.name, weight)
        others = tuple(pair for pair in self.scores if pair[0].name != plugin.name)
        return self._varied(f"+{plugin.name}", scores=(*others, (plugin, weight)))

    def with_filter(self, plugin: UserFilter | Filter) -> Policy:
        """This policy with one more filter, after the others. Raises PluginError for what is no filter."""
        _check_plugin(plugin, "filter", "refuse")
        return self._varied(f"+{plugin.name}", filters=(*self.filters, plugin))

    def with_weight(self, plugin: str, weight: float) -> Policy:
        """This policy with another weight on one of its scores. Raises UnknownName."""
        names = tuple(score.name for score, _ in self.scores)
        if plugin not in names:
            raise UnknownName(f"score of {self.name}", plugin, names)
        _check_weight(plugin, weight)
        scores = tuple((score, weight if score.name == plugin else old) for score, old in self.scores)
        return self._varied(f"({plugin}={weight:g})", scores=scores)

    def without(self, plugin: str) -> Policy:
        """This policy without one of its plug-ins, be it filter, score or both. Raises UnknownName."""
        if plugin not in self.plugin_names:
            raise UnknownName(f"plug-in of {self.name}", plugin, self.plugin_names)
        return self._varied(
            f"-{plugin}",
            filters=tuple(item for item in self.filters if item.name != plugin),
            scores=tuple(pair for pair in self.scores if pair[0].name != plugin),
        )

    def _varied(self, change: str, **fields: Any) -> Policy:
        # The shipped summary is of the shipped policy; of a variation the name says all.
        origin = self.summary if self.summary.startswith("A variation of ") else f"A variation of {self.name}."
        return replace(self, name=f"{self.name}{change}", summary=origin, **fields)

    def with_post_filter(self, plugin: DefaultPreemption | None) -> Policy:
        """This policy with preemption for pods that no node could take, or with None without."""
        change = "-preemption" if plugin is None else "+preemption"
        return self if plugin == self.post_filter else self._varied(change, post_filter=plugin)

    def sampled(self, percentage: int = 0, *, at_least: int = 100) -> Policy:
        """This policy as kube-scheduler runs it on large clusters: a search ends once enough nodes will do.

        percentage : percentageOfNodesToScore, of all nodes; 0 for kube-scheduler's own formula, 100 for all nodes
        at_least   : never fewer nodes; kube-scheduler's 100

        Raises InputError for what is no percentage or number.

        >>> from k8slab.policies import policy
        >>> policy("kube-default").sampled(10).name
        'kube-default+sampled(10%)'
        """
        sampling = Sampling(percentage, at_least)
        return self._varied(f"+sampled({percentage}%)" if percentage else "+sampled", sampling=sampling)

    def with_ties(self, ties: Ties) -> Policy:
        """This policy with ties to the "lowest" row or to a "random" one, drawn by the seed."""
        return replace(self, ties=check_ties(ties))

    def renamed(self, name: str) -> Policy:
        """This policy under another name, as it stands in frames and plots."""
        return replace(self, name=name)

    @property
    def plugin_names(self) -> tuple[str, ...]:
        """The names of its filters and scores."""
        return (*(item.name for item in self.filters), *(score.name for score, _ in self.scores))

    @property
    def checks_fit(self) -> bool:
        """Whether it keeps nodes within what they have."""
        return any(isinstance(item, NodeResourcesFit) for item in self.filters)

    def arguments(self) -> dict[str, Any]:
        """All that decides, as plain data, for manifests."""
        return {
            "name": self.name,
            "filters": [_described(item) for item in self.filters],
            "scores": [
                {"name": score.name, "weight": np.asarray(weight).item(), **_described(score)}
                for score, weight in self.scores
            ],
            "post_filter": None if self.post_filter is None else _described(self.post_filter),
            "ties": self.ties,
            **({} if self.sampling is None else {"sampling": self.sampling.arguments()}),
        }

    def __repr__(self) -> str:
        scores = ", ".join(f"{weight:g} x {score.name}" for score, weight in self.scores) or "none"
        filters = ", ".join(item.name for item in self.filters) or "none"
        preempts = "; preempts" if self.post_filter is not None else ""
        samples = "; samples nodes" if self.sampling is not None else ""
        return f"<Policy {self.name}: filters {filters}; scores {scores}; ties {self.ties}{preempts}{samples}>"

    def _repr_html_(self) -> str:
        from html import escape

        rows = [("filter", item.name, "") for item in self.filters]
        rows += [("score", score.name, f"{weight:g}") for score, weight in self.scores]
        rows += [("post filter", self.post_filter.name, "")] if self.post_filter is not None else []
        cells = "".join(
            f"<tr><td>{kind}</td><td style='text-align:left'>{escape(name)}</td><td>{weight}</td></tr>"
            for kind, name, weight in rows
        )
        return (
            f"<b>{escape(self.name)}</b>: {escape(self.summary)} Ties go to "
            f"{'the lowest row' if self.ties == 'lowest' else 'one drawn by the seed'}."
            f"<table><tr><th></th><th>plug-in</th><th>weight</th></tr>{cells}</table>"
        )

    def for_nodes(self, nodes: NodeColumns) -> Policy:
        """This policy, without its sampling where so few nodes are there that all are looked at, begin where it may."""
        there = int(nodes.alive.sum())
        looks_at_all = self.sampling is not None and self.sampling.wanted(there) >= there
        return replace(self, sampling=None) if looks_at_all else self

    # -- judging one pod -------------------------------------------------------

    def evaluate(
        self, nodes: NodeColumns, pods: PodColumns, pod: int, *, seed: int = 0, ties: Ties | None = None
    ) -> Evaluation:
        """Judge one pod against every node as the columns are, plug-in by plug-in, in numpy.

        pod : its index in `pods`. Raises PluginError where a user's plug-in misbehaves.
        """
        return self.judge(self.snapshot(nodes, pods), pod, seed=seed, ties=ties)

    def snapshot(self, nodes: NodeColumns, pods: PodColumns) -> Snapshot:
        """The cluster, with what this policy's plug-ins count in it, to judge these pods on."""
        return Snapshot(nodes, pods, (*self.filters, *(score for score, _ in self.scores)))

    def judge(self, snapshot: Snapshot, pod: int, *, seed: int = 0, ties: Ties | None = None) -> Evaluation:
        """Judge one of a snapshot's pods against every node as it is; see `evaluate`."""
        decision = Decision.on(snapshot, pod)
        gate = SchedulingGates().holds(decision.spec)
        verdict = Filtering.of(self.filters, decision)
        code = np.where(verdict.code == SUCCESS, UNRESOLVABLE, verdict.code) if gate else verdict.code
        looked_at, next_start = self._look(snapshot, verdict, code == SUCCESS, bool(gate))
        feasible = (code == SUCCESS) if looked_at is None else (code == SUCCESS) & looked_at
        decision = decision.among(feasible)
        raw = np.zeros((len(self.scores), len(snapshot.nodes)))
        normalized, took_part = np.zeros_like(raw), np.zeros(len(raw), dtype=np.bool_)
        total = np.zeros(len(snapshot.nodes))
        for index, (score, weight) in enumerate(self.scores):
            if feasible.any() and not asks(score, "passes_over", decision):
                took_part[index] = True
                raw[index] = score.raw(decision)
                normalized[index] = score.normalize(raw[index], decision)
                total += weight * normalized[index]
        return Evaluation(
            filters=tuple(item.name for item in self.filters),
            scores=tuple(score.name for score, _ in self.scores),
            alive=snapshot.nodes.alive,
            gate=gate,
            prefilter=verdict.prefilter,
            feasible=feasible,
            refused_by=verdict.refused_by if looked_at is None else np.where(looked_at, verdict.refused_by, -1),
            refusals=verdict.refusals,
            active=verdict.active,
            code=(code if looked_at is None else np.where(looked_at, code, UNRESOLVABLE)).astype(np.int8),
            took_part=took_part,
            raw=raw,
            normalized=normalized,
            weights=np.array([weight for _, weight in self.scores], dtype=np.float64),
            total=total,
            chosen=self._choose(total, feasible, seed, int(snapshot.pods.rows[pod]), ties or self.ties),
            looked_at=looked_at,
            next_start=next_start,
        )

    def _look(self, snapshot: Snapshot, verdict: Filtering, feasible: Mask, gated: bool) -> tuple[Mask | None, int]:
        """bool[N] the nodes that a search comes to, None for all; and where the next one starts."""
        rejected = verdict.prefilter is not None and verdict.prefilter.reason
        if self.sampling is None or gated or rejected:
            return None, snapshot.search_start
        among = None if verdict.prefilter is None else ~verdict.prefilter.outside
        looked_at, next_start = self.sampling.look(snapshot.search_order, feasible, snapshot.search_start, among)
        # A search that found nothing came to all of its nodes; those outside keep their reason.
        return (looked_at if feasible.any() else None), next_start

    def preempt(
        self, snapshot: Snapshot, pod: int, judged: Evaluation, *, seed: int = 0, ties: Ties | None = None
    ) -> Preemption:
        """Which pods would have to go, and where, for one that no node could take; changes nothing.

        judged : the evaluation that found no node. Raises InputError for a policy without a post_filter.
        """
        if self.post_filter is None:
            raise InputError(f"policy {self.name!r} preempts no pods: it has no post_filter")
        number = draw01(seed, int(snapshot.pods.rows[pod])) if (ties or self.ties) == "random" else 0.0
        return self.post_filter.preempt(self.filters, snapshot, pod, judged, lambda count: int(number * count))

    @staticmethod
    def _choose(total: Floats, feasible: Mask, seed: int, pod_row: int, ties: Ties) -> int:
        if not feasible.any():
            return -1
        best = np.flatnonzero(feasible & (total == total[feasible].max()))
        return int(best[int(draw01(seed, pod_row) * len(best)) if ties == "random" else 0])

    # -- placing many ------------------------------------------------------------

    def place(
        self,
        nodes: NodeColumns,
        pods: PodColumns,
        *,
        seed: int = 0,
        ties: Ties | None = None,
        path: Path | None = None,
        progress: Callable[[int], None] | None = None,
        departures: Ints | None = None,
        search_start: int = 0,
    ) -> Decisions:
        """Place the pods one after another, each as if it had come alone; changes no argument.

        path     : "tree", "groups" and "scan" are compiled, "stepwise" is numpy; all decide alike.
                   By default the fastest that can run this policy on these inputs.
        progress : called now and then with the number of pods done
        departures : int64[P]  how many of the pods have arrived when a pod leaves, -1 if it stays; none leaves
                   before it comes
        search_start : where the first search of a sampling policy begins: `next_start` of the last decisions

        Raises InputError for a path that can't run this policy or a seed that is none,
        PluginError where a user's plug-in misbehaves.
        """
        assert nodes.schema == pods.schema, f"nodes count {nodes.schema.names}, pods {pods.schema.names}"
        from k8slab.policies import engine

        rule = self.ties if ties is None else check_ties(ties)
        return engine.place(self, nodes, pods, check_seed(seed), rule, path, progress, departures, search_start)


def _described(plugin: Any) -> dict[str, Any]:
    """A plug-in's name, what it was made with, and a hash of its code if it isn't k8slab's own."""
    arguments = getattr(plugin, "arguments", dict)
    ours = type(plugin).__module__.startswith("k8slab.")
    return {"name": plugin.name, **arguments(), **({} if ours else {"code_sha256": code_hash(plugin)})}


def _check_plugin(plugin: object, kind: str, method: str) -> None:
    if not hasattr(plugin, "name") or not hasattr(plugin, method):
        raise PluginError(f"{plugin!r} is no {kind}; make one with @k8slab.{kind}_plugin")


def check_ties(ties: str) -> Ties:
    """A tie rule by its name. Raises UnknownName."""
    if ties not in TIES:
        raise UnknownName("tie rule", ties, TIES)
    return "random" if ties == "random" else "lowest"


def check_seed(seed: object) -> int:
    """A seed as an int. Raises InputError unless it is a whole number from 0 to 2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise InputError(f"seed={seed!r} is not a whole number from 0 to 2**63 - 1")
    return int(seed)
