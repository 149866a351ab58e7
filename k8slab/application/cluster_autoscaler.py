"""cluster-autoscaler as a loop: it asks for nodes for pods that wait, and gives back those that nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from k8slab.application.calendar import Rank, Ticks
from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.evictor import Evictor
from k8slab.application.fits import Fits
from k8slab.application.node_deletion import DeletionTimes, NodeDeletion
from k8slab.application.node_provider import NodeProviderPort
from k8slab.application.running_pods import RunningPods
from k8slab.application.scale_down import ScaleDown, ScaleDownRules, unready_nodes
from k8slab.application.scale_up import ScaleUp, ScaleUpLimits, ScaleUpPlan
from k8slab.domain.cluster_autoscaler.backoff import GroupBackoff
from k8slab.domain.cluster_autoscaler.expanders import ExpansionOption
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.kernels.course_columns import Rounds
from k8slab.policies.policy import Policy
from k8slab.policies.trying import filters_only

EXPENDABLE_BELOW: Final = -10
# Pods' ends are foreseen for so many scans: more would be put back if the first of them isn't for nothing.
_ROUNDS_AHEAD: Final = 16


@dataclass(frozen=True)
class AutoscalerConfig:
    """Flags of the loop; the rest is in ScaleUpLimits and ScaleDownRules.

    scan_ns              : how often it looks
    new_pod_delay_ns     : pods that wait for less are passed over
    expendable_below     : pods of a lower priority get no nodes
    scoring              : try pods as the scheduler would place them, by its scores, not by first fit
    delay_after_add_ns, delay_after_failure_ns, delay_after_delete_ns : no scaling down for so long after these
    provision_ns         : a node that isn't there after so long has failed
    max_unready_percent, ok_unready : it halts while more nodes than both are unready
    """

    scan_ns: int = 10 * SECOND_NS
    new_pod_delay_ns: int = 0
    expendable_below: int = EXPENDABLE_BELOW
    scoring: bool = False
    scale_down: bool = True
    delay_after_add_ns: int = 600 * SECOND_NS
    delay_after_failure_ns: int = 180 * SECOND_NS
    delay_after_delete_ns: int = 0
    provision_ns: int = 900 * SECOND_NS
    max_unready_percent: float = 45.0
    ok_unready: int = 3
    limits: ScaleUpLimits = field(default_factory=ScaleUpLimits)
    rules: ScaleDownRules = field(default_factory=ScaleDownRules)
    times: DeletionTimes = field(default_factory=DeletionTimes)


class ClusterAutoscaler:
    """Keeps node groups as large as the pods need.

    waiting : gives int64[], the pods that found no node
    choose  : the expanders' choice among options, None for none

    It is woken by its period alone; a pod that no group can help is told of once, as the event
    NotTriggerScaleUp, and asks for no node.
    """

    rank: int = Rank.AUTOSCALING
    heeds_pods = False
    heeds_nodes = False

    def __init__(
        self,
        state: ClusterStatePort,
        provider: NodeProviderPort,
        sink: EventSinkPort,
        policy: Policy,
        *,
        waiting: Callable[[], Ints],
        choose: Callable[[Sequence[ExpansionOption]], ExpansionOption | None],
        running: RunningPods,
        evictor: Evictor,
        budgets: DisruptionBudgets,
        config: AutoscalerConfig | None = None,
        name: str = "cluster-autoscaler",
    ) -> None:
        self.name = name
        self._config = config = config if config is not None else AutoscalerConfig()
        self._state = state
        self._provider = provider
        self._sink = sink
        self._waiting = waiting
        self._running = running
        self._backoff = GroupBackoff()
        tries = filters_only(policy, scoring=config.scoring)
        self._fits = Fits(tries, state, [group.template for group in provider.groups], provider.group_of)
        self._up = ScaleUp(state, provider, self._fits, tries, self._backoff, choose, config.limits)
        self._deletion = NodeDeletion(state, provider, evictor, running, config.times)
        self._down = ScaleDown(
            state, provider, self._fits, tries, running, budgets, config.rules, self._deletion.gone
        )
        self._ticks = Ticks(config.scan_ns, config.scan_ns)
        self._seen = state.version
        self._first_seen: dict[int, int] = {}
        self._told: dict[int, str] = {}
        self._no_down_before_ns = 0
        self._halted = False
        self._looked = -1

    @property
    def unneeded(self) -> dict[str, int]:
        """Nodes that could go, and since when."""
        return {self._state.node_name(row): one.since_ns for row, one in self._down.unneeded.items()}

    def next_ns(self, now_ns: int) -> int | None:
        deletion_ns = self._deletion.next_ns()
        tick_ns = self._ticks.next_ns
        return tick_ns if deletion_ns is None else min(tick_ns, deletion_ns)

    def rounds(self, now_ns: int) -> Rounds | None:
        """Its next scans, if all that could make it act is a pod that waits or a node that grows idle."""
        if self._looked != self._state.version or self._halted or self._first_seen:
            return None
        idle = self._down.idle_at_most()
        if idle is None:
            return None
        next_ns, every_ns = self._ticks.next_ns, self._ticks.period_ns
        ends = (
            self._down.tries_again_ns(), self._deletion.next_ns() or NEVER,
            self._provider.gives_up_ns(self._config.provision_ns), next_ns + _ROUNDS_AHEAD * every_ns,
        )  # fmt: skip
        return Rounds(next_ns, every_ns, min(ends), *idle)

    def skip_rounds(self, before_ns: int) -> None:
        """Those before this instant were for nothing."""
        if self._ticks.next_ns < before_ns:
            self._ticks.take(before_ns - 1)

    def run_once(self, now_ns: int) -> None:
        changes = self._state.changes(self._seen)
        self._running.heed(changes)
        self._fits.heed(changes)
        self._up.heed(changes)
        self._seen = self._state.version
        self._finish_deletions(now_ns)
        if self._ticks.next_ns <= now_ns:
            self._ticks.take(now_ns)
            self._scan(now_ns)

    def _scan(self, now_ns: int) -> None:
        self._take_refusals(now_ns)
        if self._is_halted(now_ns):
            return
        rows = self._asking(now_ns)
        grown = self._grow(rows, now_ns) if len(rows) else False
        if not grown and self._config.scale_down:
            # Where nobody did anything since the last look, and nothing is to be tried again, all is as it was.
            if self._looked != self._state.version or self._down.tries_again_ns() <= now_ns:
                self._down.look(now_ns)
                self._looked = self._state.version
            if now_ns >= self._no_down_before_ns:
                self._shrink(now_ns)

    # -- growing ------------------------------------------------------------------------

    def _take_refusals(self, now_ns: int) -> None:
        for refusal in self._provider.take_refusals(now_ns - self._config.provision_ns, now_ns):
            group = self._provider.groups[refusal.group].name
            until_ns = self._backoff.failed(group, now_ns)
            held = f"; no other for {(until_ns - now_ns) / SECOND_NS:g} s"
            self._tell("scale-up-failed", group, refusal.count, 0, refusal.reason + held, now_ns)

    def _is_halted(self, now_ns: int) -> bool:
        state = self._state
        alive = int(state.node_alive.sum())
        unready = int((state.node_alive & unready_nodes(state)).sum())
        config = self._config
        halted = unready > config.ok_unready and unready > alive * config.max_unready_percent / 100
        if halted != self._halted:
            self._halted = halted
            self._tell("halt" if halted else "resume", "", alive, 0, f"{unready} of {alive} nodes are unready", now_ns)
        return halted

    def _asking(self, now_ns: int) -> Ints:
        """int64[]: the pods that wait and may ask for nodes."""
        rows = self._waiting()
        if not len(rows):
            self._first_seen.clear()
            return rows
        rows = rows[self._state.pod_priority[rows] >= self._config.expendable_below]
        if self._config.new_pod_delay_ns:
            self._first_seen = {row: self._first_seen.get(row, now_ns) for row in rows.tolist()}
            old = [now_ns - self._first_seen[row] >= self._config.new_pod_delay_ns for row in rows.tolist()]
            rows = rows[np.array(old, dtype=np.bool_)]
        return rows

    def _grow(self, rows: Ints, now_ns: int) -> bool:
        plan = self._up.plan(rows, now_ns)
        self._tell_unhelped(plan, now_ns)
        if plan.count < 1:
            return False
        group = self._provider.groups[plan.group]
        self._provider.launch(plan.group, plan.count, now_ns)
        self._no_down_before_ns = max(self._no_down_before_ns, now_ns + self._config.delay_after_add_ns)
        reason = f"{len(plan.helped)} pods wait; the best of {plan.options} groups"
        self._tell("scale-up", group.name, plan.count, len(plan.helped), reason, now_ns)
        return True

    def _tell_unhelped(self, plan: ScaleUpPlan, now_ns: int) -> None:
        reason = plan.told() if len(plan.unhelped) else ""
        new = [row for row in plan.unhelped.tolist() if self._told.get(row) != reason]
        if not new:
            return
        # Each new set of reasons once: groups that are full now, or left alone, may help later.
        self._told.update(dict.fromkeys(new, reason))
        self._sink.emit(
            "events", time_ns=now_ns, controller=self.name, event="NotTriggerScaleUp",
            pod_row=np.array(new, dtype=np.int64), node_row=-1, detail=f"pod didn't trigger scale-up: {reason}",
        )  # fmt: skip

    # -- shrinking ----------------------------------------------------------------------

    def _shrink(self, now_ns: int) -> None:
        if not self._down.longest_unneeded(now_ns):
            return
        due = self._down.due(now_ns, self._up.sizes(), self._deletion.by_group(), self._deletion.in_progress())
        for groups, drained in ((due.empty, False), (due.drain, True)):
            for group in groups:
                for node in map(int, group.nodes):
                    span_ns, used = now_ns - self._down.take(node), self._down.utilization(node)
                    reason = f"unneeded for {span_ns / SECOND_NS:g} s, utilization {used:.2f}"
                    self._deletion.begin(node, reason, now_ns, drained=drained)
                    action = "scale-down" if drained else "scale-down-empty"
                    self._tell(action, group.group, 1, 0, reason, now_ns, node)

    def _finish_deletions(self, now_ns: int) -> None:
        for ended in self._deletion.proceed(now_ns):
            group = self._provider.groups[int(self._provider.group_of()[ended.node])].name
            if ended.removed:
                wait_ns = self._config.delay_after_delete_ns
                self._tell("removed", group, 1, 0, ended.reason, now_ns, ended.node)
            else:
                wait_ns = self._config.delay_after_failure_ns
                self._tell("scale-down-failed", group, 1, 0, "pods are still there", now_ns, ended.node)
            self._no_down_before_ns = max(self._no_down_before_ns, now_ns + wait_ns)

    def _tell(
        self, action: str, group: str, nodes: int, pods: int, reason: str, now_ns: int, node_row: Any = -1
    ) -> None:
        self._sink.emit(
            "node_scaling", time_ns=now_ns, autoscaler=self.name, action=action, group=group, nodes=nodes, pods=pods,
            node_row=node_row, reason=reason,
        )  # fmt: skip
