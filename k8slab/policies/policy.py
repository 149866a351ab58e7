"""A policy: filters, weighted scores and a tie rule; how it judges one pod, and places many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NodeColumns, PodColumns
from k8slab.errors import InputError, PluginError, UnknownName
from k8slab.policies.plugins import Decision, Filter, Floats, Mask, NodeResourcesFit, Refusal, Score, shipped_score
from k8slab.policies.user import UserFilter, UserScore, _check_weight

Ties = Literal["lowest", "random"]
Path = Literal["tree", "scan", "stepwise"]
TIES = ("lowest", "random")
_WORD = 2**64


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % _WORD
    return x ^ (x >> 31)


def draw01(seed: int, pod_row: int) -> float:
    """A number in [0, 1) from seed and pod alone: the same as kernels.placement.draw01.

    >>> draw01(0, 0) == draw01(0, 0) != draw01(0, 1)
    True
    """
    golden = 0x9E3779B97F4A7C15
    return float(_mix((_mix((seed + golden) % _WORD) + golden * (pod_row + 1)) % _WORD) >> 11) * 2.0**-53


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a policy makes of one pod and every node.

    feasible   : bool[N]
    refused_by : int8[N]       index into `filters` of the first that refused, -1 where none did
    refusals   : (index into `filters`, Refusal) in the order of the filters
    raw, normalized : float64[K, N]  as the K scores gave them, before and after normalisation
    weights    : float64[K]
    total      : float64[N]    sum of weight * normalized; only feasible nodes count
    chosen     : the node row by the tie rule, -1 if no node is feasible
    """

    filters: tuple[str, ...]
    scores: tuple[str, ...]
    feasible: Mask
    refused_by: npt.NDArray[np.int8]
    refusals: tuple[tuple[int, Refusal], ...]
    raw: Floats
    normalized: Floats
    weights: Floats
    total: Floats
    chosen: int

    def reasons(self) -> dict[str, int]:
        """How many nodes each reason of their first refusing filter holds for, most first."""
        counts: dict[str, int] = {}
        for index, refusal in self.refusals:
            nodes = int((refusal.nodes & (self.refused_by == index)).sum())
            if nodes:
                counts[refusal.reason] = counts.get(refusal.reason, 0) + nodes
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def message(self) -> str:
        """In a line: how many nodes fit, and why the others don't."""
        told = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons().items())
        return f"{int(self.feasible.sum()):,}/{len(self.feasible):,} nodes fit" + (f": {told}" if told else "")


@dataclass(frozen=True, eq=False)
class Decisions:
    """Where the pods go. node_rows : int64[P], -1 for none; path : how it was found."""

    node_rows: npt.NDArray[np.int64]
    path: Path


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
        """This policy without one of its filters or scores. Raises UnknownName."""
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
            "filters": [item.name for item in self.filters],
            "scores": [{"name": s.name, "weight": w, **s.arguments()} for s, w in self.scores],
            "ties": self.ties,
        }

    def __repr__(self) -> str:
        scores = ", ".join(f"{weight:g} x {score.name}" for score, weight in self.scores) or "none"
        filters = ", ".join(item.name for item in self.filters) or "none"
        return f"<Policy {self.name}: filters {filters}; scores {scores}; ties {self.ties}>"

    def _repr_html_(self) -> str:
        from html import escape

        rows = [("filter", item.name, "") for item in self.filters]
        rows += [("score", score.name, f"{weight:g}") for score, weight in self.scores]
        cells = "".join(
            f"<tr><td>{kind}</td><td style='text-align:left'>{escape(name)}</td><td>{weight}</td></tr>"
            for kind, name, weight in rows
        )
        return (
            f"<b>{escape(self.name)}</b>: {escape(self.summary)} Ties go to "
            f"{'the lowest row' if self.ties == 'lowest' else 'one drawn by the seed'}."
            f"<table><tr><th></th><th>plug-in</th><th>weight</th></tr>{cells}</table>"
        )

    # -- judging one pod -------------------------------------------------------

    def evaluate(
        self, nodes: NodeColumns, pods: PodColumns, pod: int, *, seed: int = 0, ties: Ties | None = None
    ) -> Evaluation:
        """Judge one pod against every node as the columns are, plug-in by plug-in, in numpy.

        pod : its index in `pods`. Raises PluginError where a user's plug-in misbehaves.
        """
        decision = Decision(nodes, pods, pod)
        refused_by = np.full(len(nodes), -1, dtype=np.int8)
        refusals: list[tuple[int, Refusal]] = []
        for index, item in enumerate(self.filters):
            for refusal in item.refuse(decision):
                refusals.append((index, refusal))
                refused_by[refusal.nodes & (refused_by < 0)] = index
        feasible = refused_by < 0
        raw = np.zeros((len(self.scores), len(nodes)))
        normalized = np.zeros_like(raw)
        weights = np.array([weight for _, weight in self.scores], dtype=np.float64)
        total = np.zeros(len(nodes))
        for index, (score, weight) in enumerate(self.scores):
            raw[index] = score.raw(decision)
            normalized[index] = score.normalize(raw[index], feasible)
            total += weight * normalized[index]
        chosen = self._choose(total, feasible, seed, int(pods.rows[pod]), ties or self.ties)
        return Evaluation(
            filters=tuple(item.name for item in self.filters),
            scores=tuple(score.name for score, _ in self.scores),
            feasible=feasible,
            refused_by=refused_by,
            refusals=tuple(refusals),
            raw=raw,
            normalized=normalized,
            weights=weights,
            total=total,
            chosen=chosen,
        )

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
    ) -> Decisions:
        """Place the pods one after another, each as if it had come alone; changes no argument.

        path     : "tree" and "scan" are compiled, "stepwise" is numpy; all decide alike.
                   By default the fastest that can run this policy on these inputs.
        progress : called now and then with the number of pods done

        Raises InputError for a path that can't run this policy or a seed that is none,
        PluginError where a user's plug-in misbehaves.
        """
        assert nodes.schema == pods.schema, f"nodes count {nodes.schema.names}, pods {pods.schema.names}"
        from k8slab.policies import engine

        rule = self.ties if ties is None else check_ties(ties)
        return engine.place(self, nodes, pods, check_seed(seed), rule, path, progress)


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
