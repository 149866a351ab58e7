"""The smallest change that would let a pod run that no node takes: which constraints, and on which nodes.

Most constraints refuse a node whatever else is lifted: a taint, a label, a request, a port. What
a node needs lifted of these is read off once, and no set that lacks any of it is tried there.
The others hang together: which nodes a spread constraint counts follows from labels and taints,
and what "near" means from all affinity terms at once. Of these every set is tried, the smallest
first, by putting the relaxed pod to the policy's own filters; and what is told first is put to all
of them once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from k8slab.datasets._parts import counted
from k8slab.domain.columns import Ints, NodeColumns, PodColumns
from k8slab.domain.resources import PODS, unit_of
from k8slab.experiments.constraints import Constraint, Lifted, listed
from k8slab.experiments.relaxed_pod import RelaxedPod, as_it_is
from k8slab.policies.plugins import InterPodAffinity, PodTopologySpread
from k8slab.policies.snapshot import Snapshot
from k8slab.units import format_amount

if TYPE_CHECKING:
    import pandas as pd

    from k8slab.policies import Policy

# A change of more constraints than this is no small one.
MOST: Final = 4
# So many relaxed pods are put to the filters; it takes many constraints that hang together to need more.
TRIED: Final = 300
# The filters that need to see a relaxed pod as a whole. What the others refuse is known by then.
_RELATING: Final = (PodTopologySpread, InterPodAffinity)
_SHOWN: Final = 3


@dataclass(frozen=True, eq=False)
class Change:
    """Constraints that would have to be lifted, all of them, and what that would open.

    constraints : in the order of kube-scheduler's filters; () where the pod fits as it is
    nodes       : names of the nodes that would take it, in row order
    best        : the one where requests would have to be cut least, by the sum of their shares; the first of equals
    cuts        : by how much there, by resource in its unit; of pods how many more the node must allow
    share       : the sum of the shares
    enough      : how many of the nodes these cuts are enough for
    """

    constraints: tuple[Constraint, ...]
    nodes: tuple[str, ...]
    best: str
    cuts: Mapping[str, int]
    share: float
    enough: int

    @property
    def text(self) -> str:
        """What would have to be lifted: "it tolerated {dedicated: gpu} and it asked for 500m less cpu"."""
        told = listed(self._lifted(item) for item in self.constraints)
        more = len(self.nodes) - self.enough
        return f"{told} (on {more:,} of them more than that)" if more else told

    def _lifted(self, item: Constraint) -> str:
        if not item.resource:
            return item.lifted
        cut = self.cuts[item.resource]
        if item.resource == PODS:
            return f"{item.lifted} {counted(cut, 'more pod')}"
        return f"{item.lifted} {format_amount(item.resource, cut)} less {item.resource}"

    @property
    def where(self) -> str:
        """The nodes that it opens: "3 nodes (a, b, ...)", the best first."""
        names = dict.fromkeys([self.best, *self.nodes])
        few = [*names][:_SHOWN]
        return f"{counted(len(names), 'node')} ({', '.join(few)}{', ...' if len(names) > len(few) else ''})"


@dataclass(frozen=True, eq=False)
class SmallestChange:
    """The smallest changes that would let a pod run: all sets of the fewest constraints.

    changes  : those that open most nodes first, of these the one that cuts requests least; () if none is so small
    nodes    : how many nodes there are
    fewest   : no node needs fewer constraints lifted than this, as far as they can be told one by one
    complete : False if the search was broken off: there may be others
    """

    pod: str
    policy: str
    changes: tuple[Change, ...]
    nodes: int
    fewest: int
    complete: bool

    @property
    def size(self) -> int:
        """How many constraints must be lifted: 0 if the pod fits as it is, -1 if no change is known."""
        return len(self.changes[0].constraints) if self.changes else -1

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a change and constraint, see FRAMES["smallest_change"]."""
        import pandas as pd

        rows = [(number, change, item) for number, change in enumerate(self.changes) for item in change.constraints]

        def texts(values: Iterable[str | None]) -> pd.Series:
            return pd.Series(list(values), dtype=object)

        def numbers(values: Iterable[int]) -> pd.Series:
            return pd.Series(list(values), dtype=np.int64)

        return pd.DataFrame(
            {
                "change": numbers(number for number, _, _ in rows),
                "constraint": texts(item.kind for _, _, item in rows),
                "what": texts(item.what for _, _, item in rows),
                "cut": numbers(change.cuts.get(item.resource, 0) for _, change, item in rows),
                "unit": texts(unit_of(item.resource) if item.resource else None for _, _, item in rows),
                "best_node": texts(change.best for _, change, _ in rows),
                "enough_on": numbers(change.enough for _, change, _ in rows),
                "nodes": numbers(len(change.nodes) for _, change, _ in rows),
            }
        )

    @property
    def text(self) -> str:
        """The same in two or three sentences."""
        if not self.nodes:
            return f"{self.pod} can't run: there are no nodes."
        if not self.changes:
            return f"No change of up to {MOST} constraints {self._none_known}"
        if not self.size:
            return f"{self.pod} needs no change: {self.changes[0].where} would take it as it is."
        told = [f"on {change.where} if {change.text}" for change in self.changes[:_SHOWN]]
        rest = len(self.changes) - len(told)
        more = f" Of {counted(rest, 'more change')} as small .frame tells." if rest else ""
        return f"{self.pod} would run {'; or '.join(told)}.{more}{'' if self.complete else self._broken_off}"

    @property
    def _none_known(self) -> str:
        if not self.complete:
            return f"is known that would let {self.pod} run.{self._broken_off}"
        least = f" Each node needs at least {self.fewest} lifted." if self.fewest > MOST else ""
        return f"would let {self.pod} run.{least}"

    @property
    def _broken_off(self) -> str:
        return f" The search was broken off after {TRIED:,} relaxed pods, so there may be others."

    def __repr__(self) -> str:
        return f"<SmallestChange {self.text}>"

    def _repr_html_(self) -> str:
        shown = self.frame.head(12)
        rest = len(self.frame) - len(shown)
        more = f"<p>... and {counted(rest, 'more row')} in <code>.frame</code></p>" if rest else ""
        table = shown.to_html(index=False, na_rep="") if len(shown) else ""
        return f"<p>{escape(self.text)}</p>{table}{more}"


def smallest_change(policy: Policy, nodes: NodeColumns, pods: PodColumns, pod: int) -> SmallestChange:
    """The fewest constraints that must be lifted so that some node takes a pod, and all sets as small.

    pod : its index in `pods`; none of the others is looked at

    What lifting a constraint means stands in `Constraint`. Sets of up to MOST are tried. All
    other pods stay where they are: who would have to go is preemption's question. Changes
    nothing. Raises PluginError where a user's plug-in misbehaves.
    """
    return _Search(RelaxedPod(policy, nodes, pods, pod)).run(policy.name)


def smallest_change_on(policy: Policy, snapshot: Snapshot, pod: int) -> SmallestChange:
    """The same for a pod of a snapshot, with the pods that came and went since it was made."""
    return smallest_change(policy, as_it_is(snapshot, pod), snapshot.pods, pod)


class _Search:
    """Sets of constraints in increasing size, until one opens a node."""

    def __init__(self, relaxed: RelaxedPod) -> None:
        self._relaxed = relaxed
        self._order = {item: number for number, item in enumerate(relaxed.constraints.all)}
        self._alive = np.flatnonzero(relaxed.nodes.alive)
        self._needs = self._needed()
        self._groups: dict[Lifted, list[int]] = {}
        for row in self._alive.tolist():
            if len(self._needs[row]) <= MOST:
                self._groups.setdefault(frozenset(self._needs[row]), []).append(row)
        self._together = self._hang_together()
        self._hanging = frozenset((*self._together, *self._decide_who_counts()))
        self._independent = frozenset(self._order) - self._hanging
        self._extras = self._may_help_elsewhere()
        self._asked_before = relaxed.asked

    def run(self, policy: str) -> SmallestChange:
        """The answer."""
        relaxed, changes, complete = self._relaxed, [], True
        for size in range(MOST + 1):
            candidates, complete = self._candidates(size)
            opened = ((lifted, self._opened(lifted)) for lifted in candidates)
            changes = [self._change(lifted, rows) for lifted, rows in opened if len(rows)]
            if changes or not complete:
                break
        changes.sort(key=lambda change: (-len(change.nodes), change.share, self._numbers(change.constraints)))
        fewest = min((len(self._needs[row]) for row in self._alive.tolist()), default=0)
        found = SmallestChange(relaxed.name, policy, tuple(changes), len(self._alive), fewest, complete)
        if changes:
            first = changes[0]
            held = relaxed.holds(frozenset(first.constraints), relaxed.nodes.names.row(first.best))
            assert held, f"the policy's own filters refuse on {first.best} what was found: {found.text}"
        return found

    def _numbers(self, constraints: Iterable[Constraint]) -> list[int]:
        return sorted(self._order[item] for item in constraints)

    def _change(self, lifted: Lifted, rows: Ints) -> Change:
        constraints = tuple(sorted(lifted, key=lambda item: self._order[item]))
        schema, relaxed = self._relaxed.nodes.schema, self._relaxed
        resources = [schema.index(item.resource) for item in constraints if item.resource]
        cuts = relaxed.cuts[resources][:, rows]
        parts = cuts / np.maximum(relaxed.pods.requests[0, resources], 1)[:, None]
        parts[[schema.names[row] == PODS for row in resources]] = 0.0
        shares = parts.sum(axis=0)
        best = int(np.argmin(shares))
        names = relaxed.nodes.names
        return Change(
            constraints=constraints,
            nodes=tuple(names[row] for row in rows.tolist()),
            best=names[int(rows[best])],
            cuts={schema.names[row]: int(cut) for row, cut in zip(resources, cuts[:, best], strict=True)},
            share=float(shares[best]),
            enough=int((cuts <= cuts[:, [best]]).all(axis=0).sum()),
        )

    # -- what each node needs ----------------------------------------------------------

    def _needed(self) -> list[set[Constraint]]:
        """By node row the constraints that refuse it whatever else is lifted."""
        needs: list[set[Constraint]] = [set() for _ in range(len(self._relaxed.nodes))]
        for item, rows in self._relaxed.refusals.items():
            for row in rows.tolist():
                needs[row].add(item)
        near = np.array([row for row in self._alive.tolist() if len(needs[row]) <= MOST], dtype=np.int64)
        for item, rows in self._relaxed.refused_by_users(near):
            for row in rows.tolist():
                needs[row].add(item)
        return needs

    # -- what hangs together ------------------------------------------------------------

    def _hang_together(self) -> list[Constraint]:
        """Those of which one alone may refuse a node or not, as others of them are lifted."""
        found = self._relaxed.constraints
        kinds = ["spread", "default spread", "affinity"]
        if found.promised:
            # A slip of kube-scheduler: nominated pods' terms count only while some other term has to be looked at.
            kinds += ["anti-affinity", "existing anti-affinity"]
        return found.of_kind(*kinds)

    def _decide_who_counts(self) -> list[Constraint]:
        """Those that decide which nodes the pod's spread constraints count."""
        found = self._relaxed.constraints
        spread = [item.value for item in found.of_kind("spread", "default spread")]
        labels = ["node selector", "node affinity"] if any(item.honor_affinity for item in spread) else []
        taints = ["taint"] if any(item.honor_taints for item in spread) else []
        return found.of_kind(*labels, *taints)

    def _may_help_elsewhere(self) -> list[Constraint]:
        """Those whose lifting may open nodes that they don't refuse themselves.

        Where more nodes count in a spread, the least that a domain holds grows only by nodes that
        hold some of the pods that are counted, and how many domains there are by any node.
        """
        deciding = self._hanging.difference(self._together)
        rows = self._relaxed.rows_that_may_count.tolist() if deciding else []
        keeping = [self._needs[row] & deciding for row in rows]
        helpful = {item for need in keeping if len(need) <= MOST for item in need}
        return sorted({*self._together, *helpful}, key=lambda item: self._order[item])

    # -- sets of one size ------------------------------------------------------------------

    def _candidates(self, size: int) -> tuple[list[Lifted], bool]:
        """The sets of a size that may open a node, and whether these are all."""
        found: dict[Lifted, None] = {}
        unknown: dict[Lifted, None] = {}
        left, complete = TRIED - (self._relaxed.asked - self._asked_before), True
        for lifted in self._sets(size):
            key = self._key(lifted)
            if key not in unknown and not self._relaxed.knows(key):
                if len(unknown) == left:
                    complete = False
                    break
                unknown[key] = None
            found[lifted] = None
        self._relaxed.ask(list(unknown), _RELATING)
        return list(found), complete

    def _sets(self, size: int) -> Iterator[Lifted]:
        for need in sorted(self._groups, key=lambda need: (len(need) != size, -len(self._groups[need]))):
            if len(need) <= size:
                others = [item for item in self._extras if item not in need]
                yield from (need.union(extra) for extra in combinations(others, size - len(need)))

    def _key(self, lifted: Lifted) -> Lifted:
        """What is asked for a set: sets that differ only in what stands alone are judged alike."""
        return self._independent | (lifted & self._hanging)

    def _opened(self, lifted: Lifted) -> Ints:
        """The rows of the nodes that a set opens."""
        parts = (frozenset(part) for size in range(len(lifted) + 1) for part in combinations(lifted, size))
        rows = np.array(sorted(row for part in parts for row in self._groups.get(part, ())), dtype=np.int64)
        return np.asarray(rows[self._relaxed.verdict(self._key(lifted))[rows]])
