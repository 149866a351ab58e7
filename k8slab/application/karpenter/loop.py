"""Karpenter as a loop: it launches nodes for batches of pods, and takes away those that cost more than they should."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np

from k8slab.application.calendar import Rank
from k8slab.application.disruption_budgets import DisruptionBudgets
from k8slab.application.evictor import Evictor
from k8slab.application.fits import Fits
from k8slab.application.karpenter.candidates import CandidateFinder
from k8slab.application.karpenter.disruption import METHODS, Command, Disruption
from k8slab.application.karpenter.launching import REGISTRATION_NS, Launcher
from k8slab.application.karpenter.pods import DisruptedPods
from k8slab.application.karpenter.pools import Offerings, Pool
from k8slab.application.karpenter.provisioning import Provisioner
from k8slab.application.karpenter.telling import Teller
from k8slab.application.karpenter.termination import Termination
from k8slab.application.karpenter.trial import TrialScheduler
from k8slab.application.node_provider import LaunchedPort, NodeProviderPort
from k8slab.application.running_pods import MOVES
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.karpenter.batching import IDLE_NS, MOST_NS, BatchWindow
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.policies.policy import Policy
from k8slab.policies.trying import filters_only

STARTS: Final = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday


@dataclass(frozen=True)
class KarpenterConfig:
    """idle_ns, most_ns : of a batch; retry_ns : a pod that still waits opens one again; poll_ns : how often nodes are
    looked at; validation_ns : a decision is looked at again after so long; starts : the date of time 0"""

    idle_ns: int = IDLE_NS
    most_ns: int = MOST_NS
    retry_ns: int = 10 * SECOND_NS
    poll_ns: int = 10 * SECOND_NS
    validation_ns: int = 15 * SECOND_NS
    registration_ns: int = REGISTRATION_NS
    spot_to_spot: bool = False
    starts: datetime = STARTS


@dataclass(frozen=True, eq=False)
class _Replacing:
    """A command whose replacement has yet to come."""

    number: int
    command: Command
    launched: LaunchedPort


@dataclass
class _Looking:
    """Where the disruption loop is: the next look, or a command to be looked at again."""

    next_ns: int
    command: Command | None = None
    method: int = 0
    # The state's version and the nodes that came at the last look that found nothing, and until when it would again.
    fruitless: tuple[int, int] = (-1, 0)
    until_ns: int = 0
    numbers: int = 0
    replacing: list[_Replacing] = field(default_factory=list)


class Karpenter:
    """Keeps node pools as small as the pods allow.

    waiting : gives int64[], the pods that found no node
    pools   : in the order they are asked; pool_of : of each of the provider's groups, as an index into pools

    Pods that come wake it once they found no node; nothing else but time does. Limits on how long upstream may
    compute aren't here, as no virtual time passes meanwhile; nor is drift, as pools don't change during a run.
    """

    rank: int = Rank.AUTOSCALING
    heeds_pods = False
    heeds_waiting = True

    def __init__(
        self,
        state: ClusterStatePort,
        provider: NodeProviderPort,
        sink: EventSinkPort,
        policy: Policy,
        *,
        waiting: Callable[[], Ints],
        pools: Sequence[Pool],
        pool_of: Sequence[int],
        pods: DisruptedPods,
        evictor: Evictor,
        budgets: DisruptionBudgets,
        config: KarpenterConfig | None = None,
        name: str = "karpenter",
    ) -> None:
        self.name = name
        self._config = config = config if config is not None else KarpenterConfig()
        self._state = state
        self._provider = provider
        self._waiting = waiting
        self._pools = tuple(pools)
        self._pods = pods
        tries = filters_only(policy, scoring=False)
        offerings = Offerings.of(provider, pool_of)
        self._fits = Fits(tries, state, [group.template for group in provider.groups], provider.group_of)
        self._termination = Termination(state, provider, evictor, pods)
        marked = self._termination.marked
        trials = TrialScheduler(state, provider, self._fits, pools, offerings, marked, tries)
        self._finder = CandidateFinder(
            state, provider, pods, budgets, self._fits, pools, offerings, marked, config.starts
        )
        self._disruption = Disruption(
            trials, self._finder, provider, pools, offerings, self._unplaced, spot_to_spot=config.spot_to_spot
        )
        self._launcher = Launcher(state, provider, offerings, config.registration_ns)
        self._teller = Teller(name, state, sink, provider, offerings)
        self._provisioner = Provisioner(
            state, trials, self._launcher, self._finder, self._teller, offerings, config.most_ns
        )
        self._window = BatchWindow(config.idle_ns, config.most_ns)
        self._again_ns = NEVER
        self._known: Ints = np.zeros(0, dtype=np.int64)
        self._new = False
        self._looking = _Looking(config.poll_ns)
        self._seen = state.version

    # -- the loop -----------------------------------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        self._look_who_waits()
        if self._new or any(self._is_settled(one) for one in self._looking.replacing):
            return now_ns
        again_ns = self._again_ns if len(self._known) else NEVER
        times = [self._looking.next_ns, again_ns, self._window.closes_ns, self._termination.next_ns()]
        return min(at_ns for at_ns in times if at_ns is not None)

    def run_once(self, now_ns: int) -> None:
        changes = self._state.changes(self._seen)
        self._seen = self._state.version
        self._pods.heed(changes)
        self._fits.heed(changes)
        self._finder.heed(changes)
        self._look_who_waits()
        if self._new or (len(self._known) and self._again_ns <= now_ns):
            self._trigger(now_ns)
        self._proceed(now_ns)
        closes_ns = self._window.closes_ns
        if closes_ns is not None and closes_ns <= now_ns:
            self._window.close()
            self._provisioner.provision(*self._unplaced(), now_ns)
        if self._looking.next_ns <= now_ns:
            self._disrupt(now_ns)

    def _look_who_waits(self) -> None:
        rows = self._waiting()
        if rows is not self._known:
            self._new = self._new or bool(len(np.setdiff1d(rows, self._known)))
            self._known = rows

    def _trigger(self, now_ns: int) -> None:
        self._window.trigger(now_ns)
        self._new = False
        self._again_ns = now_ns + self._config.retry_ns

    def _unplaced(self) -> tuple[Ints, Ints]:
        """int64[], pods that wait; int64[], pods that nodes on their way out still hold."""
        rows = self._pods.rows()
        rows = rows[self._termination.marked()[self._state.pod_node[rows]]]
        return self._waiting(), rows[self._pods.kinds(rows) == MOVES]

    # -- nodes on their way out ----------------------------------------------------------------

    def _is_settled(self, one: _Replacing) -> bool:
        return one.launched.node_row >= 0 or one.launched.ended_ns != NEVER

    def _proceed(self, now_ns: int) -> None:
        for group in self._launcher.give_up_late(now_ns).tolist():
            self._teller.late(group, now_ns)
        settled = [one for one in self._looking.replacing if self._is_settled(one)]
        self._looking.replacing = [one for one in self._looking.replacing if not self._is_settled(one)]
        for one in settled:
            if one.launched.node_row >= 0:
                self._begin(one.command, now_ns)
            else:
                self._undo(one.number, one.command, "its replacement hasn't come in time", now_ns)
        for node, reason in self._termination.proceed(now_ns):
            self._teller.removed(node, reason, now_ns)

    def _begin(self, command: Command, now_ns: int) -> None:
        for node, pool in zip(command.nodes.rows.tolist(), command.nodes.pool.tolist(), strict=True):
            self._termination.begin(node, command.reason, now_ns, self._pools[pool].grace_ns)
        self._trigger(now_ns)

    def _undo(self, number: int, command: Command, why: str, now_ns: int) -> None:
        for node in command.nodes.rows.tolist():
            self._termination.unmark(node)
        self._teller.command(number, command, "failed", why, now_ns)

    # -- disruption ----------------------------------------------------------------------------

    def _disrupt(self, now_ns: int) -> None:
        self._expire(now_ns)
        looking = self._looking
        if looking.command is not None:
            command, looking.command = looking.command, None
            held = self._disruption.still_holds(command, self._launcher.usable(now_ns), now_ns)
            if held is None:
                self._teller.command(-1, command, "invalid", "not so any more when looked at again", now_ns)
            # After a command upstream starts again with the first method at once, else it goes on with the next one.
            looking.method = 0 if held is not None and self._execute(held, now_ns) else looking.method + 1
        looking.command = self._next_command(now_ns)
        wait_ns = self._config.poll_ns if looking.command is None else self._config.validation_ns
        looking.next_ns = now_ns + wait_ns

    def _next_command(self, now_ns: int) -> Command | None:
        """What the first method proposes that proposes anything, from the one on whose turn it is."""
        looking = self._looking
        key = (self._state.version, int(self._provider.upcoming().sum()))
        if key == looking.fruitless and now_ns < looking.until_ns:
            return None
        usable = self._launcher.usable(now_ns)
        found = self._disruption.look(now_ns)
        first, looking.method = looking.method, 0
        for number in range(first, len(METHODS)):
            command = self._disruption.propose(METHODS[number], found, usable, now_ns)
            if command is not None:
                looking.method = number
                return command
        self._teller.kept(self._disruption.why, found, now_ns)
        if not first:
            looking.fruitless = key
            looking.until_ns = min(self._finder.changes_ns, self._launcher.changes_ns(now_ns))
        return None

    def _execute(self, command: Command, now_ns: int) -> bool:
        """Mark the nodes, ask for the replacement, and let them go once it is there. False if none can be had."""
        self._looking.numbers += 1
        number = self._looking.numbers
        for node in command.nodes.rows.tolist():
            self._termination.mark(node)
        if command.options is None:
            self._teller.command(number, command, "delete", "", now_ns)
            self._begin(command, now_ns)
            return True
        option, launched, refused = self._launcher.launch(command.options, now_ns)
        self._teller.refused(refused, now_ns)
        if launched is None:
            self._undo(number, command, "none of its replacements can be had now", now_ns)
            return False
        self._teller.command(number, command, "replace", "", now_ns)
        self._teller.launched(option, len(command.nodes.movers), f"replaces {len(command.nodes.rows)} nodes", now_ns)
        self._looking.replacing.append(_Replacing(number, command, launched))
        return True

    def _expire(self, now_ns: int) -> None:
        """Nodes that are too old go at once, whatever budgets say."""
        spans = np.array([pool.expire_after_ns for pool in self._pools], dtype=np.int64)
        if (spans == NEVER).all():
            return
        old = self._finder.older_than(spans, now_ns)
        if not len(old.rows):
            return
        self._looking.numbers += 1
        for node, pool in zip(old.rows.tolist(), old.pool.tolist(), strict=True):
            self._termination.begin(node, "Expired", now_ns, self._pools[pool].grace_ns)
        self._teller.expired(self._looking.numbers, old, now_ns)
        self._trigger(now_ns)
