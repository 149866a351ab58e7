"""Why a pod went where it went, and where two placements part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.errors import InputError
from k8slab.policies.plugins import SchedulingGates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from k8slab.experiments.placement import Placement
    from k8slab.experiments.smallest_change import SmallestChange
    from k8slab.policies import Evaluation
    from k8slab.policies.policy import Eviction
    from k8slab.policies.preemption import Preemption
    from k8slab.policies.snapshot import Snapshot

# What a node is told that a search didn't come to, where a policy samples nodes.
NOT_LOOKED_AT: Final = "not looked at: enough nodes would do before"
Objects = npt.NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class Explanation:
    """One decision: every node, what each plug-in said of it, and what came of it.

    frame     : one row a node, see FRAMES["explanation"]
    chosen    : the node's name, None if no node fitted
    runner_up : the best of the other feasible nodes, None if there is none
    message   : how many nodes fitted, and why the others didn't, as kube-scheduler's event tells it
    tied      : how many feasible nodes had the highest total
    gate      : "" or why it wasn't tried at all
    victims   : the pods that had to go for it, the most important first
    preemption: why no pod's going could help, in kube-scheduler's words; "" if nobody asked
    gone_for  : the pod that it had to go for later; None if it stayed
    """

    pod: str
    policy: str
    frame: pd.DataFrame
    chosen: str | None
    runner_up: str | None
    message: str
    tied: int
    gate: str = ""
    victims: tuple[str, ...] = ()
    preemption: str = ""
    gone_for: str | None = None
    _change: Callable[[], SmallestChange] | None = None

    @classmethod
    def of(cls, placement: Placement, row: int, number: int) -> Explanation:
        """Make the decision again on the pod of a workload row that arrived as `number`."""
        from k8slab.experiments.smallest_change import smallest_change_on

        snapshot = placement.snapshot(number)
        judged = placement.policy.judge(snapshot, row, seed=placement.seed, ties=placement.ties)
        found = _preemption(placement, snapshot, row, judged)
        lost = lost_to(placement, row)
        names = placement.cluster.names
        node = int(placement.node_rows[row]) if lost is None else lost.node_row
        again = judged.chosen if found is None or judged.chosen >= 0 else found.node_row
        assert again == node, f"pod row {row} went to node row {node}, but is explained by {again}"
        others = np.where(judged.feasible, judged.total, -np.inf)
        best = float(others.max(initial=-np.inf))
        tied = int((others == best).sum()) if judged.chosen >= 0 else 0
        if node >= 0:
            others[node] = -np.inf
        second = int(np.argmax(others)) if np.isfinite(others).any() else -1
        return cls(
            pod=placement.workload.names[row],
            policy=placement.policy.name,
            frame=_frame(judged, names.to_array()),
            chosen=names[node] if node >= 0 else None,
            runner_up=names[second] if second >= 0 else None,
            message=judged.message(),
            tied=tied,
            gate=judged.gate,
            victims=tuple(guest.name for guest in found.victims) if found else (),
            preemption=found.message if found else "",
            gone_for=None if lost is None else placement.workload.names[int(placement.arrival[lost.by])],
            _change=lambda: smallest_change_on(placement.policy, placement.snapshot(number), row),
        )

    @property
    def text(self) -> str:
        """The decision in two or three sentences."""
        if self.gate:
            return f"{self.pod} was not tried under {self.policy}: {self.gate}."
        if self.chosen is None:
            return f"{self.pod} found no node under {self.policy}. {self.message}{self._preemption}"
        if self.victims:
            gone = f"{', '.join(self.victims)} had to go for it"
            return f"{self.pod} went to {self.chosen} under {self.policy}, where {gone}. {self.message}{self._later}"
        return f"{self.pod} went to {self.chosen} under {self.policy}. {self.message}{self._lead}{self._later}"

    @property
    def _preemption(self) -> str:
        return f" {self.preemption}" if self.preemption else ""

    @property
    def _lead(self) -> str:
        if self.tied > 1:
            return f" {self.tied:,} nodes had the same highest total; the tie rule chose."
        if self.runner_up is None:
            return ""
        totals = self.frame.set_index("node")["total"]
        return f" It led {self.runner_up} by {totals[self.chosen] - totals[self.runner_up]:g}."

    @property
    def _later(self) -> str:
        return "" if self.gone_for is None else f" Later it had to go for {self.gone_for}."

    def smallest_change(self) -> SmallestChange:
        """The fewest constraints that would have to be lifted for the pod to run, and on which nodes it then could.

        Each is one that somebody could change: a request, a taint to tolerate, a label, a port, a
        term of affinity or spreading, a cordon. Made when asked for; a few tenths of a second on
        thousands of nodes.
        """
        assert self._change is not None, "an explanation made by hand knows no cluster to try changes on"
        return self._change()

    def plot(self, ax: Axes | None = None) -> Axes:
        """The weighted scores of the chosen node against the runner-up's, as a waterfall."""
        from k8slab.analysis.plots import waterfall

        return waterfall(self, ax=ax)

    def __repr__(self) -> str:
        return f"<Explanation {self.text}>"

    def _repr_html_(self) -> str:
        shown = self.frame.sort_values(["feasible", "total"], ascending=[False, False], kind="stable").head(8)
        rest = len(self.frame) - len(shown)
        more = f"<p>... and {rest:,} more nodes in <code>.frame</code></p>" if rest else ""
        advice = "" if self.chosen else "<p>What would let it run: <code>.smallest_change()</code></p>"
        return f"<p>{escape(self.text)}</p>{advice}{shown.to_html(index=False, na_rep='')}{more}"


def lost_to(placement: Placement, row: int) -> Eviction | None:
    """How a workload's pod lost its node to a more important one; None if it didn't."""
    return next((e for e in placement.evictions if not e.bound and e.row == row), None)


def _preemption(placement: Placement, snapshot: Snapshot, row: int, judged: Evaluation) -> Preemption | None:
    """What the policy's post_filter made of it; None if it wasn't asked."""
    if judged.chosen >= 0 or judged.gate or placement.policy.post_filter is None:
        return None
    return placement.policy.preempt(snapshot, row, judged, seed=placement.seed, ties=placement.ties)


def _frame(judged: Evaluation, names: Any) -> pd.DataFrame:
    import pandas as pd

    feasible = judged.feasible
    refused_by, reason = _refusals(judged, len(names))
    columns: dict[str, Any] = {
        "node": names,
        "node_row": np.arange(len(names)),
        "feasible": feasible,
        "refused_by": refused_by,
        "reason": reason,
        "total": np.where(feasible, judged.total, np.nan),
    }
    for index, plugin in enumerate(judged.scores):
        told = feasible & judged.took_part[index]
        columns[f"{plugin}:raw"] = np.where(told, judged.raw[index], np.nan)
        columns[f"{plugin}:normalized"] = np.where(told, judged.normalized[index], np.nan)
        columns[f"{plugin}:weighted"] = np.where(told, judged.weights[index] * judged.normalized[index], np.nan)
    return pd.DataFrame(columns)


def _refusals(judged: Evaluation, nodes: int) -> tuple[Objects, Objects]:
    """object[N] each: who refused a node, and its reasons; None where nobody did."""
    refused_by = np.array([*judged.filters, None], dtype=object)[judged.refused_by]
    reasons = np.full(nodes, None, dtype=object)
    for index, refusal in judged.refusals:
        for node in np.flatnonzero(refusal.nodes & (judged.refused_by == index)).tolist():
            reasons[node] = refusal.reason if reasons[node] is None else f"{reasons[node]}, {refusal.reason}"
    if judged.looked_at is not None:
        reasons[~judged.looked_at & judged.alive] = NOT_LOOKED_AT
    if judged.prefilter is not None:
        outside = judged.prefilter.outside
        refused_by[outside], reasons[outside] = judged.prefilter.plugin, judged.prefilter.told
    if judged.gate:
        # A pod that is held back meets no filter.
        refused_by[:], reasons[:] = SchedulingGates().name, judged.gate
    return refused_by, reasons


@dataclass(frozen=True, eq=False)
class Difference:
    """Where two placements of one workload part.

    frame   : one row a pod that went elsewhere, in order of arrival, see FRAMES["diff"]
    first   : the first pod decided differently, None if there is none
    plugin  : the plug-in that turned that decision, None if a tie or a filter did
    text    : the same in a sentence or two
    """

    frame: pd.DataFrame
    first: str | None
    plugin: str | None
    text: str

    @classmethod
    def of(cls, one: Placement, other: Placement) -> Difference:
        """Compare two placements. Raises InputError unless they placed the same pods in the same order."""
        import pandas as pd

        same_work = one.workload is other.workload or one.workload.content_hash() == other.workload.content_hash()
        same_nodes = one.cluster is other.cluster or one.cluster.content_hash() == other.cluster.content_hash()
        if not same_work or not same_nodes or not np.array_equal(one.arrival, other.arrival):
            raise InputError("only placements of the same pods in the same order on the same cluster can be compared")
        mine, theirs = one.node_rows[one.arrival], other.node_rows[one.arrival]
        moved = np.flatnonzero(mine != theirs)
        nodes = np.array([*one.cluster.names, None], dtype=object)
        frame = pd.DataFrame(
            {
                "pod": one.workload.names.take(one.arrival[moved]).to_array(),
                "arrival": moved,
                "node": nodes[mine[moved]],
                "other_node": nodes[theirs[moved]],
            }
        )
        if not len(moved):
            return cls(frame, None, None, f"{one.policy.name} and {other.policy.name} placed every pod alike.")
        plugin, why = _turned_by(one, other, int(moved[0]))
        first = str(frame["pod"].iloc[0])
        text = (
            f"{len(moved):,} of {len(one):,} pods went elsewhere, first {first} (arrival {int(moved[0]):,}): "
            f"{one.policy.name} put it on {_node(frame['node'].iloc[0])}, {other.policy.name} on "
            f"{_node(frame['other_node'].iloc[0])}; {why}."
        )
        return cls(frame, first, plugin, text)

    def __repr__(self) -> str:
        return f"<Difference {self.text}>"

    def _repr_html_(self) -> str:
        shown = self.frame.head(8).to_html(index=False, na_rep="none")
        return f"<p>{escape(self.text)}</p>{shown if len(self.frame) else ''}"


def _node(name: Any) -> str:
    return name if isinstance(name, str) else "no node"


def _turned_by(one: Placement, other: Placement, arrival: int) -> tuple[str | None, str]:
    """The plug-in that turned the decision: it added most to the first node's lead over the second."""
    row = int(one.arrival[arrival])
    for placement in (one, other):
        lost = lost_to(placement, row)
        if lost is not None:
            by = placement.workload.names[int(placement.arrival[lost.by])]
            return None, f"{placement.policy.name} let it go for {by} (arrival {lost.by:,})"
    mine, theirs = one.evaluate(arrival), one.evaluate(arrival, other.policy)
    here, there = int(one.node_rows[row]), int(other.node_rows[row])
    for placement, judged, node in ((one, mine, here), (other, theirs, there)):
        if judged.chosen < 0 <= node:
            return None, f"{placement.policy.name} let others go for it"
    if here < 0 or there < 0 or not mine.feasible[there] or not theirs.feasible[here]:
        return None, "a filter of one refused the other's node"

    def leads(judged: Evaluation) -> dict[str, float]:
        lead = judged.weights * (judged.normalized[:, here] - judged.normalized[:, there])
        return dict(zip(judged.scores, lead.tolist(), strict=True))

    ours, others = leads(mine), leads(theirs)
    if mine.total[here] == mine.total[there] and theirs.total[here] == theirs.total[there]:
        return None, "both scored these nodes alike, so the tie rule or the seed decided"
    change = {name: ours.get(name, 0.0) - others.get(name, 0.0) for name in (*ours, *others)}
    plugin = max(change, key=lambda name: change[name])
    return plugin, (
        f"{plugin} turned it: its lead of the first node over the second is {ours.get(plugin, 0.0):g} in "
        f"{one.policy.name} and {others.get(plugin, 0.0):g} in {other.policy.name}"
    )
