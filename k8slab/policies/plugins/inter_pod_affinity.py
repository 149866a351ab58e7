"""InterPodAffinity: pods that want others near, or far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.domain.pod_spec import PodSpec, PodTerm, Selector
from k8slab.domain.selectors import selects
from k8slab.policies.plugins.base import Decision, Floats, Mask, Refusal
from k8slab.policies.snapshot import Counter, Snapshot

Weighted = tuple[int, PodTerm]


@dataclass(frozen=True, eq=False)
class Neighbour:
    """Pods counted by the domains of one key.

    domain : int32[N]  each node's domain, -1 without the key
    weight : what each counts in the score
    """

    counter: Counter
    domain: npt.NDArray[np.int32]
    weight: int = 0

    @property
    def here(self) -> Ints:
        """int64[N]: how many each node's domain holds."""
        return np.append(self.counter.amounts, 0)[self.domain]

    @property
    def anywhere(self) -> bool:
        """Whether any domain holds one."""
        return bool(self.counter.amounts.any())


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What one kin looks at.

    existing : owners of required anti-affinity terms that mean this kin
    wanted   : pods that match all its required affinity terms, by the key of each
    alone    : it matches all those terms itself, so it may be the first
    unwanted : pods that match a required anti-affinity term of its own
    liked    : what its score sums
    """

    existing: tuple[Neighbour, ...] = ()
    wanted: tuple[Neighbour, ...] = ()
    alone: bool = False
    unwanted: tuple[Neighbour, ...] = ()
    liked: tuple[Neighbour, ...] = ()


_NOBODY: Final = Neighbours()


@dataclass(frozen=True)
class InterPodAffinity:
    """Required pod affinity and anti-affinity filter, on both sides; preferred ones score.

    hard_weight : what an existing pod's required affinity to this pod counts in the score
    ignore_preferred_of_existing : a pod that prefers nothing itself isn't scored
    """

    hard_weight: int = 1
    ignore_preferred_of_existing: bool = False

    name = "InterPodAffinity"
    highest = 100.0

    # -- what is counted ---------------------------------------------------------

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no pod has terms about others."""
        return not any(spec.pod_terms for spec in snapshot.specs)

    def label_keys(self, snapshot: Snapshot) -> set[str]:
        """The label keys that any term's selector asks for."""
        return {rule.key for spec in snapshot.specs for term in spec.pod_terms for rule in term.selector or ()}

    def prepare(self, snapshot: Snapshot) -> dict[int, Neighbours]:
        """What each kin with pods to schedule looks at, with its counters."""
        return _Compiler(snapshot, self.hard_weight, self.ignore_preferred_of_existing).neighbours()

    def _of(self, decision: Decision) -> Neighbours:
        prepared: dict[int, Neighbours] | None = decision.snapshot.prepared(self)
        return prepared[decision.kin] if prepared else _NOBODY

    # -- filter -----------------------------------------------------------------

    def skips(self, decision: Decision) -> bool:
        """Whether the pod requires nothing and nobody anywhere requires it to stay away."""
        kin = self._of(decision)
        return not (kin.wanted or kin.unwanted or any(item.anywhere for item in kin.existing))

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes without the wanted pods, then those near unwanted ones, then those whose pods don't want this."""
        kin = self._of(decision)
        unmet = ~self._satisfied(decision, kin)
        none = np.zeros(len(decision.nodes), dtype=np.bool_)
        near = np.logical_or.reduce([decision.at(item.here) > 0 for item in kin.unwanted] or [none]) & ~unmet
        away = np.logical_or.reduce([decision.at(item.here) > 0 for item in kin.existing] or [none])
        return [
            Refusal("node(s) didn't match pod affinity rules", unmet, final=True),
            Refusal("node(s) didn't match pod anti-affinity rules", near),
            Refusal("node(s) didn't satisfy existing pods anti-affinity rules", away & ~unmet & ~near),
        ]

    @staticmethod
    def _satisfied(decision: Decision, kin: Neighbours) -> Mask:
        has_keys, near = (np.ones(len(decision.nodes), dtype=np.bool_) for _ in range(2))
        for item in kin.wanted:
            has_keys &= decision.at(item.domain) >= 0
            near &= decision.at(item.here) > 0
        # The first of a group that wants its own company may go anywhere.
        first = kin.alone and not any(item.anywhere for item in kin.wanted)
        return has_keys if first else has_keys & near

    # -- score ------------------------------------------------------------------

    def passes_over(self, decision: Decision) -> bool:
        """Whether nobody near or far counts for this pod."""
        return not any(item.anywhere for item in self._of(decision).liked)

    def raw(self, decision: Decision) -> Floats:
        """The sum of the weights of all terms that bind this pod to pods in the node's domains, either way."""
        total = np.zeros(len(decision.nodes), dtype=np.int64)
        for item in self._of(decision).liked:
            total += item.weight * decision.at(item.here)
        return total.astype(np.float64)

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """From 0, the lowest, to 100, the highest; all 0 where these are the same."""
        some = raw[decision.feasible]
        if not len(some) or some.min() == some.max():
            return np.zeros(len(raw))
        least = some.min()
        return np.asarray(np.trunc(100.0 * ((raw - least) / (some.max() - least))))

    def arguments(self) -> dict[str, Any]:
        """What makes this plug-in differ from its default, for manifests."""
        changed = {"hard_weight": self.hard_weight} if self.hard_weight != 1 else {}
        ignoring = {"ignore_preferred_of_existing": True} if self.ignore_preferred_of_existing else {}
        return changed | ignoring


class _Compiler:
    """Makes the counters of all terms, and says which of them each kin looks at."""

    def __init__(self, snapshot: Snapshot, hard_weight: int, ignoring: bool) -> None:
        self._snapshot = snapshot
        self._kin = snapshot.kin
        self._hard_weight = hard_weight
        self._ignoring = ignoring
        self._known = snapshot.nodes.objects.namespaces
        self._matches: dict[PodTerm, Mask] = {}

    def neighbours(self) -> dict[int, Neighbours]:
        """By kin, for those that have pods to schedule."""
        hard = self._hard_weight
        existing = self._owned("anti", lambda spec: [(1, term) for term in spec.anti_affinity])
        liking = self._owned("near", lambda spec: spec.near_preferred)
        liking += self._owned("far", lambda spec: [(-weight, term) for weight, term in spec.far_preferred])
        if hard > 0:
            liking += self._owned("hard", lambda spec: [(hard, term) for term in spec.affinity])
        away, towards = self._meant(existing), self._meant(liking)
        return {
            kin: self._of(
                kin,
                tuple(existing[i][1] for i in np.flatnonzero(away[:, kin])),
                tuple(liking[i][1] for i in np.flatnonzero(towards[:, kin])),
            )
            for kin in self._snapshot.incoming_kin
        }

    def _of(self, kin: int, existing: tuple[Neighbour, ...], liking: tuple[Neighbour, ...]) -> Neighbours:
        spec = self._kin.spec(kin)
        preferred = (*spec.near_preferred, *((-weight, term) for weight, term in spec.far_preferred))
        every = np.logical_and.reduce([self._matched(term) for term in spec.affinity])
        keys = dict.fromkeys(term.topology_key for term in spec.affinity)
        return Neighbours(
            existing=existing,
            wanted=tuple(self._counting(("all", spec.affinity, key), key, every) for key in keys),
            alone=bool(spec.affinity) and bool(every[kin]),
            unwanted=tuple(self._near(term, 0) for term in spec.anti_affinity),
            # A pod that prefers nothing isn't scored by others' terms either, where those are ignored.
            liked=(*(self._near(term, weight) for weight, term in preferred), *liking)
            if preferred or not self._ignoring
            else (),
        )

    # -- terms of pods that are there: the incoming pod must be meant ------------------

    def _owned(
        self, kind: str, terms_of: Callable[[PodSpec], Sequence[Weighted]]
    ) -> list[tuple[PodTerm, Neighbour]]:
        """Each distinct term with its owners, counted as often as they have it."""
        specs = self._kin.specs
        times: dict[Weighted, Ints] = {}
        for code, spec in enumerate(specs.values):
            for weighted in terms_of(spec):
                times.setdefault(weighted, np.zeros(len(specs.values) + 1, dtype=np.int64))[code] += 1
        return [
            (term, self._counting((kind, weight, term), term.topology_key, owners[specs.codes], weight))
            for (weight, term), owners in times.items()
        ]

    def _meant(self, owned: list[tuple[PodTerm, Neighbour]]) -> Mask:
        """bool[T, G]: which kins each existing pods' term means. Of an unknown namespace no labels are known."""
        meant = np.zeros((len(owned), len(self._kin)), dtype=np.bool_)
        for row, (term, _) in enumerate(owned):

            def reaches(namespace: str, term: PodTerm = term) -> bool:
                return namespace in term.namespaces or selects(term.among, self._known.get(namespace, {}))

            meant[row] = self._kin.in_namespaces(reaches) & self._kin.selected(term.selector)
        return meant

    # -- terms of the incoming pod ------------------------------------------------

    def _near(self, term: PodTerm, weight: int) -> Neighbour:
        return self._counting(("term", term), term.topology_key, self._matched(term), weight)

    def _matched(self, term: PodTerm) -> Mask:
        """bool[G]: which kins an incoming pod's term means."""
        if term in self._matches:
            return self._matches[term]
        names = {*term.namespaces, *self._selected_namespaces(term.among)}
        # A slip of v1.34: the namespace selector, resolved to names above, is tried once more against no
        # labels at all, so one of negative rules alone reaches every namespace.
        everywhere = selects(term.among, {})
        there = self._kin.in_namespaces(lambda name: everywhere or name in names)
        self._matches[term] = there & self._kin.selected(term.selector)
        return self._matches[term]

    def _selected_namespaces(self, among: Selector | None) -> list[str]:
        return [name for name, labels in self._known.items() if among and selects(among, labels)]

    def _counting(self, identity: tuple[Any, ...], key: str, gain: npt.NDArray[Any], weight: int = 0) -> Neighbour:
        column = self._snapshot.domains(key)
        counter = self._snapshot.counter(("pods", *identity), (column.codes, len(column.values)), gain)
        return Neighbour(counter, column.codes, weight)
