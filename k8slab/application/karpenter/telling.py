"""What Karpenter tells: steps of scaling, disruptions and why nodes are kept, pods that it can't help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from k8slab.application.karpenter.candidates import Candidates
from k8slab.application.karpenter.disruption import Command
from k8slab.application.karpenter.pools import Offerings
from k8slab.application.karpenter.trial import Claim
from k8slab.application.node_provider import NodeProviderPort
from k8slab.domain.columns import Ints
from k8slab.domain.ports import ClusterStatePort, EventSinkPort


class Teller:
    """Writes to the sink; what was told of a node or a pod isn't told again until it is otherwise."""

    def __init__(
        self, name: str, state: ClusterStatePort, sink: EventSinkPort, provider: NodeProviderPort, offerings: Offerings
    ) -> None:
        self._name = name
        self._state = state
        self._sink = sink
        self._provider = provider
        self._offerings = offerings
        self._kept: dict[int, str] = {}
        self._unhelped: dict[int, str] = {}

    # -- scaling ----------------------------------------------------------------------------------

    def launched(self, option: int, pods: int, reason: str, now_ns: int) -> None:
        """A node was asked for."""
        self._step("scale-up", option, pods, -1, reason, now_ns)

    def refused(self, options: Sequence[int], now_ns: int) -> None:
        """The cloud hasn't these now."""
        for option in options:
            self._step("scale-up-failed", option, 0, -1, "the cloud has no such instance now", now_ns)

    def late(self, option: int, now_ns: int) -> None:
        """A node was given up."""
        self._step("scale-up-failed", option, 0, -1, "the node hasn't come in time", now_ns)

    def none_left(self, claim: Claim, now_ns: int) -> None:
        """A node that should be launched can't be of any of its types now."""
        reason = f"no instance type would do: {int(claim.options.sum())} can't be had now"
        self.unhelped(claim.pods, reason, now_ns)

    def removed(self, node: int, reason: str, now_ns: int) -> None:
        """A node is gone."""
        self._kept.pop(node, None)
        self._step("removed", int(self._provider.group_of()[node]), 0, node, reason, now_ns)

    def _step(self, action: str, option: int, pods: int, node: int, reason: str, now_ns: int) -> None:
        self._sink.emit(
            "node_scaling", time_ns=now_ns, autoscaler=self._name, action=action,
            group=self._provider.groups[option].name, nodes=1, pods=pods, node_row=node, reason=reason,
        )  # fmt: skip

    # -- disruptions --------------------------------------------------------------------------------

    def command(self, number: int, command: Command, decision: str, detail: str, now_ns: int) -> None:
        """A command was carried out, or came to nothing."""
        types = "" if command.options is None else self._offerings.told(command.options)
        nodes = command.nodes
        self._disruption(
            number, command.method, command.reason, decision, nodes, command.savings, types, detail, now_ns
        )
        if decision in ("delete", "replace"):
            self._going(nodes, f"{command.reason}: {command.method}", now_ns)

    def expired(self, number: int, nodes: Candidates, now_ns: int) -> None:
        """Nodes are too old."""
        self._disruption(number, "expiration", "Expired", "delete", nodes, 0.0, "", "", now_ns)
        self._going(nodes, "Expired", now_ns)

    def kept(self, why: Mapping[int, str], found: Candidates, now_ns: int) -> None:
        """These nodes, by row, are left alone, and why."""
        new = [row for row, reason in why.items() if self._kept.get(row) != reason]
        if not new:
            return
        self._kept.update({row: why[row] for row in new})
        rows = np.array(new, dtype=np.int64)
        place = {row: number for number, row in enumerate(found.rows.tolist())}
        prices = self._offerings.price[self._provider.group_of()[rows]]
        costs = np.array([found.cost[place[row]] if row in place else np.nan for row in new])
        self._sink.emit(
            "disruptions", time_ns=now_ns, autoscaler=self._name, command=-1, method="", reason="", decision="keep",
            node_row=rows, price_per_hour=prices, disruption_cost=costs, savings_per_hour=0.0, replacement="",
            detail=[why[row] for row in new],
        )  # fmt: skip

    def _going(self, nodes: Candidates, reason: str, now_ns: int) -> None:
        of = self._provider.group_of()
        pods = np.bincount(nodes.home, minlength=len(nodes.rows))
        for place, node in enumerate(nodes.rows.tolist()):
            action = "scale-down-empty" if nodes.empty[place] else "scale-down"
            self._step(action, int(of[node]), int(pods[place]), node, reason, now_ns)

    def _disruption(
        self, number: int, method: str, reason: str, decision: str, nodes: Candidates, savings: float, types: str,
        detail: str, now_ns: int,
    ) -> None:  # fmt: skip
        for row in nodes.rows.tolist():
            self._kept.pop(row, None)
        self._sink.emit(
            "disruptions", time_ns=now_ns, autoscaler=self._name, command=number, method=method, reason=reason,
            decision=decision, node_row=nodes.rows, price_per_hour=nodes.price, disruption_cost=nodes.cost,
            savings_per_hour=savings, replacement=types, detail=detail,
        )  # fmt: skip

    # -- pods ---------------------------------------------------------------------------------------

    def unhelped(self, pods: Ints, reason: str, now_ns: int) -> None:
        """No node could be launched for these."""
        new = [row for row in pods.tolist() if self._unhelped.get(row) != reason]
        if new:
            self._unhelped.update(dict.fromkeys(new, reason))
            self._sink.emit(
                "events", time_ns=now_ns, controller=self._name, event="FailedScheduling",
                pod_row=np.array(new, dtype=np.int64), node_row=-1, detail=reason,
            )  # fmt: skip
