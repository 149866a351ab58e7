"""Why a pod went where it went, and where two placements part."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from k8slab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from k8slab.experiments.placement import Placement
    from k8slab.policies import Evaluation


@dataclass(frozen=True, eq=False)
class Explanation:
    """One decision: every node, what each plug-in said of it, and what came of it.

    frame     : one row a node, see FRAMES["explanation"]
    chosen    : the node's name, None if no node fitted
    runner_up : the best of the other feasible nodes, None if there is none
    message   : how many nodes fitted, and why the others didn't
    tied      : how many feasible nodes had the highest total
    """

    pod: str
    policy: str
    frame: pd.DataFrame
    chosen: str | None
    runner_up: str | None
    message: str
    tied: int

    @classmethod
    def of(cls, placement: Placement, row: int, number: int) -> Explanation:
        """Make the decision again on the pod of a workload row that arrived as `number`."""
        judged = placement.evaluate(number)
        names = placement.cluster.names
        node = int(placement.node_rows[row])
        assert judged.chosen == node, f"pod row {row} went to node row {node}, but is explained by {judged.chosen}"
        others = np.where(judged.feasible, judged.total, -np.inf)
        best = float(others.max(initial=-np.inf))
        tied = int((others == best).sum()) if node >= 0 else 0
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
        )

    @property
    def text(self) -> str:
        """The decision in two or three sentences."""
        if self.chosen is None:
            return f"{self.pod} found no node under {self.policy}. {self.message}."
        told = f"{self.pod} went to {self.chosen} under {self.policy}. {self.message}."
        if self.tied > 1:
            return f"{told} {self.tied:,} nodes had the same highest total; the tie rule chose."
        if self.runner_up is not None:
            totals = self.frame.set_index("node")["total"]
            lead = totals[self.chosen] - totals[self.runner_up]
            return f"{told} It led {self.runner_up} by {lead:g}."
        return told

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
        return f"<p>{escape(self.text)}</p>{shown.to_html(index=False, na_rep='')}{more}"


def _frame(judged: Evaluation, names: Any) -> pd.DataFrame:
    import pandas as pd

    filters = np.array([*judged.filters, None], dtype=object)
    reasons = np.full(len(names), None, dtype=object)
    for index, refusal in judged.refusals:
        for node in np.flatnonzero(refusal.nodes & (judged.refused_by == index)).tolist():
            reasons[node] = refusal.reason if reasons[node] is None else f"{reasons[node]}, {refusal.reason}"
    feasible = judged.feasible
    columns: dict[str, Any] = {
        "node": names,
        "node_row": np.arange(len(names)),
        "feasible": feasible,
        "refused_by": filters[judged.refused_by],
        "reason": reasons,
        "total": np.where(feasible, judged.total, np.nan),
    }
    for index, plugin in enumerate(judged.scores):
        columns[f"{plugin}:raw"] = np.where(feasible, judged.raw[index], np.nan)
        columns[f"{plugin}:normalized"] = np.where(feasible, judged.normalized[index], np.nan)
        columns[f"{plugin}:weighted"] = np.where(feasible, judged.weights[index] * judged.normalized[index], np.nan)
    return pd.DataFrame(columns)


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
    mine, theirs = one.evaluate(arrival), one.evaluate(arrival, other.policy)
    row = int(one.arrival[arrival])
    here, there = int(one.node_rows[row]), int(other.node_rows[row])
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
