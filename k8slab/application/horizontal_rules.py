"""How a sync's HorizontalPodAutoscalers are decided: all at once by a compiled pass, or one by one by the scalar rule.

Both take the same columns and fill the same verdict; a property test holds them equal. The
scalar rule needs nothing compiled, so a small live cluster uses it; a simulation with
hundreds of autoscalers uses the pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from k8slab.domain.autoscaling.horizontal import (
    HpaDecision,
    HpaMemory,
    Reading,
    ScaleTarget,
    decide,
    settle,
    tolerance_of,
)
from k8slab.domain.autoscaling.recommendations import Recommendation
from k8slab.domain.autoscaling.values import (
    HorizontalPodAutoscaler,
    HpaConfig,
    MetricSample,
    MetricSpec,
    MetricUnavailable,
    ScaledContainer,
    ScaledPod,
    ScalingRules,
)
from k8slab.domain.columns import NEVER, Codes32
from k8slab.domain.instants import SECOND_NS
from k8slab.kernels.horizontal_columns import (
    ABLE,
    ACTIVE,
    AVERAGE,
    DISABLED_POLICY,
    DOWN,
    FIRST_FAILURE,
    LIMIT_REASON,
    LIMITED,
    MAX,
    MIN,
    SHARED_VALUE,
    UP,
    UTILIZATION,
    VALUE,
    Counts,
    Ints,
    Memory,
    Metrics,
    Pods,
    Rules,
    Sources,
    Verdict,
)

METRIC_TYPES: Final = ("Resource", "ContainerResource", "Pods", "Object", "External")
# The reasons of a verdict's codes, by row of Verdict.reasons; "" where the condition isn't set.
REASONS: Final = (
    ("SucceededGetScale", "ReadyForNewScale", "ScaleDownStabilized", "ScaleUpStabilized", "SucceededRescale",
     "FailedUpdateScale"),
    ("", "ValidMetricFound", "ScalingDisabled", "AmbiguousSelector", "FailedGetResourceMetric",
     "FailedGetContainerResourceMetric", "FailedGetPodsMetric", "FailedGetObjectMetric", "FailedGetExternalMetric",
     "InvalidMetricSourceType"),
    ("", "DesiredWithinRange", "TooFewReplicas", "TooManyReplicas", "ScaleUpLimit", "ScaleDownLimit"),
)  # fmt: skip
CONDITIONS: Final = ("AbleToScale", "ScalingActive", "ScalingLimited")
_SELECT: Final = {"Max": MAX, "Min": MIN, "Disabled": DISABLED_POLICY}
_LONG_AGO: Final = -(2**62)


class HorizontalRules(Protocol):
    """Decides all autoscalers of a sync, and remembers."""

    verdict: Verdict
    counts: Counts

    def decide(self, now_ns: int, rules: Rules, metrics: Metrics, pods: Pods) -> None:
        """One pass, into `verdict`; and `counts`, but for the sums, which only some need."""

    def settle(self, autoscaler: int, spec: int, now_ns: int, *, written: bool) -> None:
        """The step of an autoscaler that the last pass decided was written, or couldn't be."""

    def repeat(self, at_ns: int) -> None:
        """The last pass was repeated until then, and decided the same each time."""

    def kept(self) -> Any:
        """What is remembered now, for `restore`."""

    def restore(self, kept: Any) -> None:
        """Remember what was remembered then. Only steps that were written since can't be undone."""


def static_rules(hpas: Sequence[HorizontalPodAutoscaler], config: HpaConfig, window_ns: int) -> Rules:
    """The columns of what the autoscalers say; spec is set at each sync, ambiguous once."""
    count = len(hpas)
    sides = [[_side(hpa, side) for hpa in hpas] for side in (UP, DOWN)]
    policies = [
        (int(policy.type == "Percent"), policy.value, policy.period_seconds * SECOND_NS)
        for side in sides
        for rules in side
        for policy in rules.policies or ()
    ]
    counts = [len(rules.policies or ()) for side in sides for rules in side]
    ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    windows = [
        [
            (rules.stabilization_window_seconds or 0) * SECOND_NS
            if hpa.behavior is not None
            else (config.downscale_stabilization_ns if side == DOWN else 0)
            for hpa, rules in zip(hpas, sides[side], strict=True)
        ]
        for side in (UP, DOWN)
    ]
    tolerances = [tolerance_of(hpa, config) for hpa in hpas]
    return Rules(
        least=np.array([hpa.min_replicas for hpa in hpas], dtype=np.int64),
        most=np.array([hpa.max_replicas for hpa in hpas], dtype=np.int64),
        spec=np.zeros(count, dtype=np.int64),
        ambiguous=np.zeros(count, dtype=np.bool_),
        by_rules=np.array([hpa.behavior is not None for hpa in hpas], dtype=np.bool_),
        tolerance=np.array([[one.up for one in tolerances], [one.down for one in tolerances]], dtype=np.float64),
        window_ns=np.array(windows, dtype=np.int64).reshape(2, count),
        select=np.array([[_SELECT[rules.select_policy or "Max"] for rules in side] for side in sides], dtype=np.int8)
        .reshape(2, count),
        first=np.stack([ends[: count + 1], ends[count:]]),
        policies=np.array(policies, dtype=np.int64).reshape(len(policies), 3),
        factor=float(config.scale_up_limit_factor),
        minimum=float(config.scale_up_limit_minimum),
        periods_ns=np.array(
            [config.readiness.cpu_initialization_ns, config.readiness.initial_readiness_delay_ns, window_ns],
            dtype=np.int64,
        ),
    )  # fmt: skip


def static_metrics(hpas: Sequence[HorizontalPodAutoscaler], places: Sequence[tuple[int, int, int]]) -> Metrics:
    """The columns of what they look at. places : column, resource and factor of each metric"""
    column, resource, factor = np.array(places, dtype=np.int64).reshape(len(places), 3).T
    specs = [metric for hpa in hpas for metric in hpa.metrics]
    return Metrics(
        first=np.concatenate([[0], np.cumsum([len(hpa.metrics) for hpa in hpas], dtype=np.int64)]).astype(np.int64),
        kind=np.array([_kind(metric) for metric in specs], dtype=np.int8),
        target=np.array([metric.target for metric in specs], dtype=np.int64),
        column=column.copy(),
        resource=resource.copy(),
        factor=factor.copy(),
        is_cpu=np.array([metric.resource == "cpu" and metric.type != "Pods" for metric in specs], dtype=np.bool_),
        value=np.zeros(len(specs), dtype=np.int64),
        failed=np.zeros(len(specs), dtype=np.bool_),
        failure=np.array([_failure(metric) for metric in specs], dtype=np.int8),
    )


def new_verdict(autoscalers: int, metrics: int) -> Verdict:
    """A verdict to fill."""

    def numbers(count: int) -> Ints:
        return np.zeros(count, dtype=np.int64)

    return Verdict(
        numbers(metrics), numbers(metrics), numbers(metrics), numbers(autoscalers), numbers(autoscalers),
        numbers(autoscalers), np.zeros(autoscalers, dtype=np.int8), np.zeros(autoscalers, dtype=np.int8),
        numbers(autoscalers), np.zeros((3, autoscalers), dtype=np.int8), np.zeros(autoscalers, dtype=np.bool_),
    )  # fmt: skip


def new_counts(autoscalers: int, metrics: int) -> Counts:
    """Counts to fill."""
    status, serving, ready, matched = (np.zeros(autoscalers, dtype=np.int64) for _ in range(4))
    return Counts(
        np.zeros((metrics, 8), dtype=np.int64), status, serving, ready, matched, np.zeros(1, dtype=np.bool_),
        np.full(autoscalers, NEVER), np.zeros(autoscalers, dtype=np.bool_),
    )  # fmt: skip


class ArrayRules:
    """All autoscalers in one compiled pass: kernels.horizontal. `period_ns` bounds what is remembered."""

    def __init__(self, hpas: Sequence[HorizontalPodAutoscaler], rules: Rules, period_ns: int) -> None:
        from k8slab.kernels.horizontal import sync, sync_sampled

        count = len(hpas)
        passes = int(rules.window_ns.max(initial=0)) // period_ns + 3
        steps = int(rules.policies[:, 2].max(initial=0)) // period_ns + 3
        self._sync, self._sync_sampled = sync, sync_sampled
        self._by_rules = rules.by_rules
        self.memory = Memory(
            seen=np.zeros(count, dtype=np.bool_),
            proposed=np.zeros((count, passes), dtype=np.int64),
            proposed_ns=np.full((count, passes), _LONG_AGO),
            at=np.zeros(count, dtype=np.int64),
            steps=np.zeros((2, count, steps), dtype=np.int64),
            steps_ns=np.full((2, count, steps), _LONG_AGO),
            steps_at=np.zeros((2, count), dtype=np.int64),
        )
        metrics = sum(len(hpa.metrics) for hpa in hpas)
        self.verdict, self.counts = new_verdict(count, metrics), new_counts(count, metrics)

    def decide(self, now_ns: int, rules: Rules, metrics: Metrics, pods: Pods) -> None:
        self._sync(now_ns, rules, metrics, pods, self.counts, self.memory, self.verdict)

    def decide_sampled(
        self, now_ns: int, rows: Ints, owners: Codes32, rules: Rules, metrics: Metrics, pods: Pods, sources: Sources
    ) -> None:
        """As `decide`, for pods whose use is known by these sources; `pods` is room for those that are looked at."""
        self._sync_sampled(
            now_ns, rows, owners, rules, metrics, pods, sources, self.counts, self.memory, self.verdict
        )  # fmt: skip

    def settle(self, autoscaler: int, spec: int, now_ns: int, *, written: bool) -> None:
        if not written:
            self.verdict.desired[autoscaler] = spec
            self.verdict.reasons[ABLE, autoscaler] = REASONS[ABLE].index("FailedUpdateScale")
            return
        if not self._by_rules[autoscaler]:
            return
        change = int(self.verdict.desired[autoscaler]) - spec
        side, memory = UP if change > 0 else DOWN, self.memory
        at = (memory.steps_at[side, autoscaler] + 1) % memory.steps.shape[2]
        memory.steps[side, autoscaler, at] = abs(change)
        memory.steps_ns[side, autoscaler, at] = now_ns
        memory.steps_at[side, autoscaler] = at

    def kept(self) -> tuple[npt.NDArray[Any], ...]:
        memory = self.memory
        return memory.seen.copy(), memory.proposed.copy(), memory.proposed_ns.copy(), memory.at.copy()

    def restore(self, kept: tuple[npt.NDArray[Any], ...]) -> None:
        memory = self.memory
        for column, before in zip((memory.seen, memory.proposed, memory.proposed_ns, memory.at), kept, strict=True):
            column[:] = before

    def repeat(self, at_ns: int) -> None:
        told = np.flatnonzero(self.verdict.reasons[LIMITED] != 0)
        self.memory.proposed_ns[told, self.memory.at[told]] = at_ns


class ScalarRules:
    """One autoscaler after another by domain.autoscaling.horizontal, which the pass is held against."""

    def __init__(self, hpas: Sequence[HorizontalPodAutoscaler], config: HpaConfig) -> None:
        self._hpas = hpas
        self._config = config
        self._memory = [HpaMemory() for _ in hpas]
        self._decisions: list[HpaDecision] = []
        metrics = sum(len(hpa.metrics) for hpa in hpas)
        self.verdict, self.counts = new_verdict(len(hpas), metrics), new_counts(len(hpas), metrics)

    def decide(self, now_ns: int, rules: Rules, metrics: Metrics, pods: Pods) -> None:
        self._decisions = []
        self.counts.alters[0] = False
        for h, hpa in enumerate(self._hpas):
            numbers = range(metrics.first[h], metrics.first[h + 1])
            mine = np.flatnonzero(pods.target[pods.owner] == h).tolist()
            matched = [scaled_pod(i, pods, metrics, numbers, hpa.metrics, now_ns) for i in mine]
            there = [pod for pod in matched if not pod.deleting]
            self.counts.status[h] = sum(pod.phase in ("Pending", "Running") for pod in there)
            self.counts.serving[h] = sum(pod.phase == "Running" and pod.ready == "True" for pod in there)
            self.counts.ready[h] = sum(pod.ready == "True" for pod in there)
            self.counts.matched[h] = len(matched)
            self.counts.alters[0] |= any(self._alters(pods, i, now_ns) for i in mine)
            fault = "AmbiguousSelector" if rules.ambiguous[h] else ""
            target = ScaleTarget(int(rules.spec[h]), int(self.counts.status[h]), matched, fault)
            readings = [
                reading(m, metric, mine, pods, metrics, int(rules.periods_ns[2]))
                for m, metric in zip(numbers, hpa.metrics, strict=True)
            ]
            decision = decide(hpa, target, readings, self._memory[h], self._config, now_ns)
            self._memory[h] = decision.memory
            self._decisions.append(decision)
            self._tell(h, decision, rules, metrics, now_ns)

    def _alters(self, pods: Pods, i: int, now_ns: int) -> bool:
        """Whether time alone changes what the pod counts as."""
        ready_ns, start_ns = int(pods.ready_ns[pods.row[i]]), int(pods.started_ns[pods.row[i]])
        return now_ns < ready_ns < NEVER or now_ns - start_ns < self._config.readiness.cpu_initialization_ns

    def settle(self, autoscaler: int, spec: int, now_ns: int, *, written: bool) -> None:
        decision = self._decisions[autoscaler]
        settled = settle(self._hpas[autoscaler], decision, spec, now_ns, written=written)
        self._memory[autoscaler] = settled.memory
        self.verdict.desired[autoscaler] = settled.desired_replicas
        able = settled.conditions["AbleToScale"].reason
        self.verdict.reasons[ABLE, autoscaler] = REASONS[ABLE].index(able)

    def kept(self) -> list[HpaMemory]:
        return list(self._memory)

    def restore(self, kept: list[HpaMemory]) -> None:
        self._memory = list(kept)

    def repeat(self, at_ns: int) -> None:
        for h in np.flatnonzero(self.verdict.reasons[LIMITED] != 0).tolist():
            log = self._memory[h].recommendations or ()
            again = Recommendation(int(self.verdict.proposed[h]), at_ns)
            self._memory[h] = HpaMemory((*log, again), self._memory[h].up_events, self._memory[h].down_events)

    def _tell(self, h: int, decision: HpaDecision, rules: Rules, metrics: Metrics, now_ns: int) -> None:
        verdict, spec = self.verdict, int(rules.spec[h])
        for m in range(metrics.first[h], metrics.first[h + 1]):
            verdict.wanted[m], verdict.usage[m], verdict.utilization[m] = -1, 0, -1
        for m, proposal in enumerate(decision.proposals, start=int(metrics.first[h])):
            if proposal is not None:
                verdict.wanted[m], verdict.usage[m] = proposal.replicas, proposal.usage
                verdict.utilization[m] = -1 if proposal.utilization is None else proposal.utilization
        desired = decision.desired_replicas if decision.rescale else spec
        wanted = [proposal.replicas for proposal in decision.proposals if proposal is not None]
        valid = "ScalingLimited" in decision.conditions
        verdict.proposed[h] = max(wanted) if valid else spec
        verdict.desired[h] = desired
        for row, condition in enumerate(CONDITIONS):
            found = decision.conditions.get(condition)
            verdict.reasons[row, h] = 0 if found is None else REASONS[row].index(found.reason)
        if desired != spec:
            verdict.reasons[ABLE, h] = REASONS[ABLE].index("SucceededRescale")
        log = self._memory[h].recommendations or ()
        horizon = int(rules.window_ns[:, h].max())
        alike = all(past.replicas == verdict.proposed[h] or now_ns - past.at_ns > horizon for past in log)
        by_rate = verdict.reasons[LIMITED, h] >= LIMIT_REASON + 3
        verdict.steady[h] = desired == spec and not by_rate and (not valid or alike)


def scaled_pod(
    i: int, pods: Pods, metrics: Metrics, numbers: range, specs: Sequence[MetricSpec], now_ns: int
) -> ScaledPod:
    """A pod as the scalar rule takes it."""
    row = pods.row[i]
    containers: dict[str, dict[str, int]] = {}
    # What the pod requests as a whole is said by itself, so that its named containers don't add to it.
    whole: dict[str, int] = {}
    for m, metric in zip(numbers, specs, strict=True):
        if metrics.kind[m] <= AVERAGE and not metrics.failed[m]:
            asked = containers.setdefault(metric.container, {}) if metric.container else whole
            request = _request(i, m, pods, metrics)
            if request:
                asked[metric.resource] = request
    phase, ready_ns, start_ns = pods.phase[row], int(pods.ready_ns[row]), int(pods.started_ns[row])
    ready = ready_ns <= now_ns
    changed_ns = ready_ns if ready else int(pods.unready_ns[row])
    return ScaledPod(
        str(i),
        {pods.pending: "Pending", pods.running: "Running", pods.failed: "Failed"}.get(phase, "Succeeded"),
        str(ready),
        None if changed_ns == NEVER else changed_ns,
        None if start_ns == NEVER else start_ns,
        deleting=bool(not pods.alive[row] or pods.leaving[row] or phase == pods.failed),
        containers=tuple(ScaledContainer(name, asked) for name, asked in containers.items()) or (ScaledContainer(""),),
        pod_requests=whole,
    )


def reading(m: int, metric: MetricSpec, mine: Sequence[int], pods: Pods, metrics: Metrics, window_ns: int) -> Reading:
    """What a metric read of these pods, as the scalar rule takes it."""
    if metrics.failed[m]:
        return MetricUnavailable("api_error", f"{metric.type} metric {metric.name!r} can't be read")
    if metrics.kind[m] > AVERAGE:
        return (int(metrics.value[m]),)
    column, resource = metrics.column[m], metrics.resource[m]
    used, taken_ns = (
        (pods.used[column] * metrics.factor[m], pods.taken_ns)
        if column >= 0
        else (pods.own[resource], pods.own_taken_ns[resource])
    )
    return {str(i): MetricSample(int(used[i]), int(taken_ns[i]), window_ns) for i in mine if taken_ns[i] != NEVER}


def _request(i: int, m: int, pods: Pods, metrics: Metrics) -> int:
    resource = metrics.resource[m]
    if metrics.column[m] >= 0:
        return int(pods.request[pods.row[i], resource] * metrics.factor[m])
    return int(pods.own_request[resource, i])


def _side(hpa: HorizontalPodAutoscaler, side: int) -> ScalingRules:
    if hpa.behavior is None:
        return ScalingRules()
    return hpa.behavior.scale_up if side == UP else hpa.behavior.scale_down


def _kind(metric: MetricSpec) -> int:
    if metric.type in ("Object", "External"):
        return SHARED_VALUE if metric.target_type == "AverageValue" else VALUE
    return UTILIZATION if metric.target_type == "Utilization" and metric.type != "Pods" else AVERAGE


def _failure(metric: MetricSpec) -> int:
    known = metric.type in METRIC_TYPES
    return FIRST_FAILURE + (METRIC_TYPES.index(metric.type) if known else len(METRIC_TYPES))


assert len(REASONS[ACTIVE]) == FIRST_FAILURE + len(METRIC_TYPES) + 1
