"""The HorizontalPodAutoscaler controller: all autoscalers, every 15 s, over the state's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from k8slab.application.calendar import Rank, Ticks
from k8slab.application.horizontal_quantities import Quantities, metric_label
from k8slab.application.horizontal_rules import (
    CONDITIONS,
    REASONS,
    ArrayRules,
    HorizontalRules,
    ScalarRules,
    static_metrics,
    static_rules,
)
from k8slab.application.horizontal_sampled import SampledMetrics, SampledSyncs, pods_of
from k8slab.domain.autoscaling.horizontal import Condition
from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler, HpaConfig
from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort, EventSinkPort, MetricsPort, ScalePort
from k8slab.errors import InputError, K8slabError
from k8slab.kernels.horizontal_columns import ABLE, ACTIVE, LIMITED, Ints, Pods, Verdict

SYNC_PERIOD_NS: Final = 15 * SECOND_NS


@dataclass(frozen=True)
class ScaledWorkload:
    """An autoscaler and whose scale it writes.

    workload : the name that the ScalePort knows
    """

    name: str
    workload: str
    hpa: HorizontalPodAutoscaler


@dataclass(frozen=True)
class Sync:
    """What a sync saw and decided, for who records it.

    spec, ready : int64[H]; verdict : of this sync; it is filled anew by the next
    """

    time_ns: int
    spec: Ints
    ready: Ints
    verdict: Verdict


@dataclass(frozen=True)
class _Kept:
    """What was before a look ahead at `now_ns`."""

    now_ns: int
    next_ns: int
    last_ns: int
    quiet: tuple[int, int] | None
    asked_ns: int
    memory: Any


class HorizontalScaler:
    """kube-controller-manager's horizontal pod autoscaling, for any number of autoscalers.

    autoscalers : no two of one name. Two of one workload are both refused its pods, as Kubernetes does
    config      : the flags, for all of them
    period_ns   : how often all are looked at
    compiled    : decide by one compiled pass over arrays; else by the scalar rule, which needs nothing compiled and
                  is as fast for a few pods. Both decide the same
    watch, forget : called after each sync; and with an instant, from which on syncs that were told are to be made anew

    When nothing that it looks at can change before something else happens, no sync is made;
    what those would have remembered is made up for. Raises UnknownName for a workload that
    isn't there.
    """

    name = "horizontal-autoscaler"
    rank: int = Rank.AUTOSCALING
    heeds_pods = False

    def __init__(
        self,
        state: ClusterStatePort,
        scale: ScalePort,
        metrics: MetricsPort,
        sink: EventSinkPort,
        autoscalers: Sequence[ScaledWorkload],
        *,
        config: HpaConfig | None = None,
        period_ns: int = SYNC_PERIOD_NS,
        start_ns: int = 0,
        compiled: bool = True,
        watch: Callable[[Sync], None] | None = None,
        forget: Callable[[int], None] | None = None,
        name: str = "horizontal-autoscaler",
    ) -> None:
        names = [one.name for one in autoscalers]
        for other in names:
            if names.count(other) > 1:
                raise InputError(f"two autoscalers are named {other!r}; wanted a name of its own for each")
        self.name = name
        self._state = state
        self._scale = scale
        self._metrics = metrics
        self._sink = sink
        self._watch = watch
        self._forget = forget
        self._ticks = Ticks(period_ns, start_ns)
        self.autoscalers = tuple(autoscalers)
        hpas = [one.hpa for one in autoscalers]
        flags = config if config is not None else HpaConfig()
        self._owners = [scale.owner(one.workload) for one in autoscalers]
        self._owner_rows = np.array(self._owners, dtype=np.int64)
        self._columns = Quantities(hpas, state.schema.names)
        self._rules = static_rules(hpas, flags, metrics.window_ns)
        self._looked_at = static_metrics(hpas, self._columns.places)
        self._engine: HorizontalRules = (
            ArrayRules(hpas, self._rules, period_ns) if compiled else ScalarRules(hpas, flags)
        )
        self._rules.ambiguous[:] = [self._owners.count(owner) > 1 for owner in self._owners]
        self._target = self._targets(max(self._owners, default=-1) + 1)
        self._told = np.full((3, len(hpas)), -1, dtype=np.int8)
        self._sampled = (
            SampledSyncs(
                state, scale, metrics, self._engine, self._looked_at, self._owners, self._columns.resources
            )
            if isinstance(metrics, SampledMetrics) and isinstance(self._engine, ArrayRules) and self._columns.plain
            else None
        )  # fmt: skip
        # While nothing can change: the version of the state that this holds for, and until when.
        self._quiet: tuple[int, int] | None = None
        # When it was last asked while nothing could change.
        self._asked_ns = start_ns
        self._last_ns = start_ns
        self._kept: _Kept | None = None

    @property
    def verdict(self) -> Verdict:
        """What the last sync decided."""
        return self._engine.verdict

    def conditions(self, name: str) -> Mapping[str, Condition]:
        """An autoscaler's conditions after the last sync, by type."""
        h = [one.name for one in self.autoscalers].index(name)
        codes = self._engine.verdict.reasons[:, h]
        found = {kind: REASONS[row][codes[row]] for row, kind in enumerate(CONDITIONS)}
        status = {
            "AbleToScale": found["AbleToScale"] != "FailedUpdateScale",
            "ScalingActive": found["ScalingActive"] == "ValidMetricFound",
            "ScalingLimited": found["ScalingLimited"] != "DesiredWithinRange",
        }
        return {kind: Condition(str(status[kind]), reason) for kind, reason in found.items() if reason}

    # -- the loop ------------------------------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        if self._quiet is None:
            return self._ticks.next_ns
        version, until_ns = self._quiet
        if self._state.version != version:
            if self._concerned(version):
                # Syncs before this instant would have found nothing new, nor one in it before it changed.
                self._pass_over(self._tick_from(max(now_ns, self._asked_ns + 1)))
                return self._ticks.next_ns
            self._quiet = self._state.version, until_ns
        self._asked_ns = now_ns
        return None if until_ns == NEVER else self._tick_from(until_ns)

    def run_once(self, now_ns: int) -> None:
        if self._quiet is not None:
            self._pass_over(self._tick_from(now_ns - self._ticks.period_ns + 1))
        self._kept = None
        self._look_at_targets()
        moved, changed = self._decide(now_ns)
        if moved.any():
            self._write(np.flatnonzero(moved).tolist(), now_ns)
        self._tell(changed, now_ns)
        self._end_sync(now_ns)

    def look_ahead(self, now_ns: int, before_ns: int) -> int:
        """Make the syncs before an instant that lead to nothing; gives the first that does, or that instant.

        While the pods of targets stay as they are, such a sync concerns nobody else.
        """
        at_ns = self.next_ns(now_ns)
        if at_ns is None or at_ns >= before_ns:
            self._kept = None
            return before_ns
        self._kept = _Kept(
            now_ns, self._ticks.next_ns, self._last_ns, self._quiet, self._asked_ns, self._engine.kept()
        )
        self._look_at_targets()
        while at_ns is not None and at_ns < before_ns:
            remembered = self._engine.kept()
            if self._quiet is not None:
                self._pass_over(at_ns)
            moved, changed = self._decide(at_ns)
            if (moved | changed).any():
                self._engine.restore(remembered)
                return at_ns
            self._end_sync(at_ns)
            at_ns = self.next_ns(at_ns)
        return before_ns

    def go_back(self, to_ns: int) -> None:
        """Something changes at `to_ns` after all: syncs that were made ahead for that instant or later weren't made."""
        kept = self._kept
        if kept is None or self._last_ns < to_ns:
            return
        self._ticks.next_ns, self._last_ns = kept.next_ns, kept.last_ns
        self._quiet, self._asked_ns = kept.quiet, kept.asked_ns
        self._engine.restore(kept.memory)
        if self._forget is not None:
            self._forget(kept.next_ns)
        self.look_ahead(kept.now_ns, to_ns)

    def _pass_over(self, next_ns: int) -> None:
        """The syncs up to this one weren't made, as they would have been like the last."""
        self._ticks.next_ns = next_ns
        if next_ns - self._ticks.period_ns > self._last_ns:
            self._engine.repeat(next_ns - self._ticks.period_ns)
        self._quiet = None

    def _decide(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """bool[H] twice: who is to be scaled, and of whom there is something to tell."""
        if self._sampled is not None:
            self._sampled.decide(now_ns, self._rules)
        else:
            self._engine.decide(now_ns, self._rules, self._looked_at, self._read(now_ns))
        verdict = self._engine.verdict
        moved = verdict.desired != self._rules.spec
        return moved, moved | (verdict.reasons[ACTIVE:] != self._told[ACTIVE:]).any(axis=0)

    def _end_sync(self, now_ns: int) -> None:
        verdict = self._engine.verdict
        self._ticks.take(now_ns)
        self._last_ns = now_ns
        if self._watch is not None:
            self._watch(Sync(now_ns, self._rules.spec, self._engine.counts.ready, verdict))
        self._quiet = None
        if not self._engine.counts.alters[0] and verdict.steady.all():
            until_ns = self._metrics.steady_until_ns(now_ns)
            if until_ns > self._ticks.next_ns:
                self._quiet, self._asked_ns = (self._state.version, until_ns), now_ns

    def _concerned(self, since: int) -> bool:
        """Whether what happened since was about a pod of a target."""
        rows = self._state.touched(since)
        owners = self._state.pod_owner[rows[rows >= 0]]
        mine = owners[(owners >= 0) & (owners < len(self._target))]
        return bool((self._target[mine] >= 0).any())

    def _tick_from(self, at_ns: int) -> int:
        """The first sync that would be made at `at_ns` or after."""
        ticks = self._ticks
        later = max(0, -(-(at_ns - ticks.next_ns) // ticks.period_ns))
        return ticks.next_ns + later * ticks.period_ns

    # -- what is looked at ---------------------------------------------------------------

    def _look_at_targets(self) -> None:
        """What doesn't change by time alone."""
        _, owners = self._scale.members()
        self._rules.spec[:] = self._scale.all_replicas()[self._owner_rows]
        if len(owners) and int(owners.max()) >= len(self._target):
            self._target = self._targets(int(owners.max()) + 1)
        if self._sampled is not None:
            self._sampled.look(self._target)

    def _read(self, now_ns: int) -> Pods:
        """The columns of this sync."""
        rows, owners = self._scale.members()
        read = self._columns.read(self._looked_at, self._metrics, rows, owners, self._owners, now_ns)
        return pods_of(self._state, self._target, rows, owners, read)

    def _targets(self, count: int) -> Ints:
        """int64[owners]: the autoscaler of each workload; of two the last, as both are refused."""
        target = np.full(count, -1, dtype=np.int64)
        target[self._owners] = np.arange(len(self._owners))
        return target

    # -- what is done ----------------------------------------------------------------------

    def _write(self, autoscalers: list[int], now_ns: int) -> None:
        for h in autoscalers:
            spec = int(self._rules.spec[h])
            try:
                self._scale.scale(self._owners[h], int(self._engine.verdict.desired[h]))
            except K8slabError:
                self._engine.settle(h, spec, now_ns, written=False)
            else:
                self._engine.settle(h, spec, now_ns, written=True)

    def _tell(self, changed: np.ndarray, now_ns: int) -> None:
        """A row for each autoscaler that took a step, or whose metrics or limits are others than before."""
        verdict = self._engine.verdict
        reasons = verdict.reasons
        self._told[:] = reasons
        first = self._looked_at.first
        for h in np.flatnonzero(changed).tolist():
            mine = slice(first[h], first[h + 1])
            wins = int(first[h] + np.argmax(verdict.wanted[mine])) if first[h] < first[h + 1] else -1
            valid = reasons[LIMITED, h] != 0
            utilization = int(verdict.utilization[wins]) if valid else -1
            metric = self.autoscalers[h].hpa.metrics[wins - int(first[h])] if valid else None
            self._sink.emit(
                "scaling", time_ns=now_ns, autoscaler=self.autoscalers[h].name, workload=self.autoscalers[h].workload,
                replicas=int(self._rules.spec[h]), desired=int(verdict.desired[h]), proposed=int(verdict.proposed[h]),
                metric=metric_label(metric) if metric is not None else "",
                utilization_percent=float(utilization) if utilization >= 0 else float("nan"),
                able=REASONS[ABLE][reasons[ABLE, h]], active=REASONS[ACTIVE][reasons[ACTIVE, h]],
                limited=REASONS[LIMITED][reasons[LIMITED, h]],
            )  # fmt: skip
