"""All HorizontalPodAutoscalers of a sync in one pass: k8slab.domain.autoscaling over columns."""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import borrowing_kernel, inlined_kernel
from k8slab.kernels.horizontal_columns import (
    ABLE,
    ACTIVE,
    AMBIGUOUS,
    ASKED,
    ASKED_MISSING,
    ASKED_UNREADY,
    AVERAGE,
    BOUND,
    COUNTED,
    DISABLED,
    DISABLED_POLICY,
    DOWN,
    DOWN_HELD,
    DOWN_LIMIT,
    FILLED_MISSING,
    GOT_SCALE,
    LIMIT_REASON,
    LIMITED,
    MAX,
    MAX_INT32,
    MAX_INT64,
    MISSING,
    NO_METRICS,
    READY,
    RESCALED,
    SCALED_BY_METRICS,
    SHARED_SELECTOR,
    SHARED_VALUE,
    SWITCHED_OFF,
    TOO_FEW,
    TOO_MANY,
    UNKNOWN_REASON,
    UNREADY,
    UP,
    UP_HELD,
    UP_LIMIT,
    USED,
    UTILIZATION,
    VALID,
    WITHIN,
)
from k8slab.kernels.pod_usage import share_loads, use_of_pods, when_sampled


@borrowing_kernel
def sync(now_ns, rules, metrics, pods, counts, memory, verdict):
    """`count_pods` and then `decide_all`: handing the columns over once is half of the work for a few autoscalers."""
    count_pods(now_ns, pods.row.shape[0], rules, metrics, pods, counts)
    decide_all(now_ns, rules, metrics, counts, memory, verdict)


@borrowing_kernel
def sync_sampled(now_ns, rows, owners, rules, metrics, pods, sources, counts, memory, verdict):
    """`sync`, where what pods use is read here as well, and only pods to which something happened are looked at.

    rows, owners : int64[n], int32[n]  the pods of all workloads
    pods         : row, owner, used and taken_ns have room for n, and are filled
    """
    at_ns = now_ns - now_ns % sources.interval_ns
    share_loads(sources.curve, sources.load_of, rows, owners, pods.ready_ns, at_ns, sources.each)
    keep(now_ns, metrics, sources, counts)
    count = 0
    for i in range(rows.shape[0]):
        h = pods.target[owners[i]]
        if h >= 0 and not counts.kept[h]:
            pods.row[count], pods.owner[count] = rows[i], owners[i]
            count += 1
    left = pods.row[:count]
    for c in range(sources.resource.shape[0]):
        r = sources.resource[c]
        each = sources.each if c == sources.cpu else sources.each[:0]
        use_of_pods(
            left, pods.request[:, r], sources.share[:, r], pods.owner[:count], each, sources.runs_ns, pods.ready_ns,
            at_ns, pods.used[c],
        )  # fmt: skip
    when_sampled(left, sources.node, sources.runs_ns, sources.down, at_ns, sources.interval_ns, pods.taken_ns)
    count_pods(now_ns, count, rules, metrics, pods, counts)
    decide_all(now_ns, rules, metrics, counts, memory, verdict)


@borrowing_kernel
def keep(now_ns, metrics, sources, counts):
    """Whose pods are as they were counted last, but for what they use. Fills `counts.kept`, and that."""
    for h in range(counts.kept.shape[0]):
        owner = sources.owner[h]
        each = sources.each[owner] if owner < sources.each.shape[0] else -1
        kept = counts.settled_ns[h] <= now_ns and each >= 0
        for m in range(metrics.first[h], metrics.first[h + 1]):
            kept = kept and metrics.column[m] == sources.cpu and counts.sums[m, COUNTED] >= 0
        counts.kept[h] = kept
        if kept:
            for m in range(metrics.first[h], metrics.first[h + 1]):
                counts.sums[m, USED] = counts.sums[m, COUNTED] * each * metrics.factor[m]


@inlined_kernel
def decide_all(now_ns, rules, metrics, counts, memory, verdict):
    """One pass of all autoscalers: domain.autoscaling.horizontal.decide for each. Fills `verdict`, writes `memory`.

    The arguments are NamedTuples of kernels.horizontal_columns; `counts` is what `count_pods` filled.
    """
    for h in range(rules.least.shape[0]):
        spec = rules.spec[h]
        verdict.failing[h] = -1
        verdict.proposed[h] = verdict.stabilized[h] = verdict.desired[h] = spec
        verdict.limit[h] = WITHIN
        verdict.steady[h] = True
        for m in range(metrics.first[h], metrics.first[h + 1]):
            verdict.wanted[m], verdict.usage[m], verdict.utilization[m] = -1, 0, -1
        if not memory.seen[h]:
            memory.seen[h] = True
            _remember(h, spec, now_ns, memory)
        if spec == 0 and rules.least[h] != 0:
            verdict.outcome[h] = DISABLED
        elif spec < rules.least[h] or spec > rules.most[h]:
            verdict.outcome[h] = BOUND
            verdict.desired[h] = min(max(spec, rules.least[h]), rules.most[h])
            verdict.steady[h] = False
        elif rules.ambiguous[h]:
            verdict.outcome[h] = AMBIGUOUS
        else:
            _by_metrics(h, now_ns, rules, metrics, counts, memory, verdict)
        _explain(h, rules, metrics, verdict)


@inlined_kernel
def _explain(h, rules, metrics, verdict):
    """The conditions' reasons, if the scale can be written."""
    outcome, proposed, stabilized = verdict.outcome[h], verdict.proposed[h], verdict.stabilized[h]
    able, active, limited = GOT_SCALE, UNKNOWN_REASON, UNKNOWN_REASON
    if outcome == DISABLED:
        active = SWITCHED_OFF
    elif outcome == AMBIGUOUS:
        active = SHARED_SELECTOR
    elif outcome == NO_METRICS:
        active = metrics.failure[verdict.failing[h]] if verdict.failing[h] >= 0 else UNKNOWN_REASON
    elif outcome == SCALED_BY_METRICS:
        active, limited = VALID, LIMIT_REASON + verdict.limit[h]
        able = READY
        if stabilized != proposed:
            able = UP_HELD if rules.by_rules[h] and proposed >= rules.spec[h] else DOWN_HELD
    if verdict.desired[h] != rules.spec[h]:
        able = RESCALED
    verdict.reasons[ABLE, h], verdict.reasons[ACTIVE, h], verdict.reasons[LIMITED, h] = able, active, limited


@inlined_kernel
def _by_metrics(h, now_ns, rules, metrics, counts, memory, verdict):
    """The largest proposal, unless a metric that failed might have wanted more than what is now."""
    proposed = -1
    for m in range(metrics.first[h], metrics.first[h + 1]):
        if not metrics.failed[m]:
            if metrics.kind[m] <= AVERAGE:
                _of_pods(h, m, rules, metrics, counts, verdict)
            else:
                _of_value(h, m, rules, metrics, counts, verdict)
        if verdict.wanted[m] < 0 and verdict.failing[h] < 0:
            verdict.failing[h] = m
        proposed = max(proposed, verdict.wanted[m])
    if proposed < 0 or (verdict.failing[h] >= 0 and proposed < rules.spec[h]):
        verdict.outcome[h] = NO_METRICS
        return
    verdict.outcome[h] = SCALED_BY_METRICS
    verdict.proposed[h] = proposed
    _stabilize(h, now_ns, rules, memory, verdict)
    _limit(h, now_ns, rules, memory, verdict)


# -- pods -----------------------------------------------------------------------------


@inlined_kernel
def count_pods(now_ns, count, rules, metrics, pods, counts):
    """Sort so many of the targets' pods, and sum what they used and requested by metric: pod_groups. Fills `counts`."""
    counts.alters[0] = False
    for h in range(counts.kept.shape[0]):
        if not counts.kept[h]:
            counts.sums[metrics.first[h] : metrics.first[h + 1]] = 0
            counts.status[h] = counts.serving[h] = counts.ready[h] = counts.matched[h] = 0
            counts.settled_ns[h] = now_ns
    for i in range(count):
        h = pods.target[pods.owner[i]]
        if h < 0:
            continue
        p = pods.row[i]
        phase, ready_ns, start_ns = pods.phase[p], pods.ready_ns[p], pods.started_ns[p]
        gone = not pods.alive[p] or pods.leaving[p] != 0 or phase == pods.failed
        ready = ready_ns <= now_ns
        counts.matched[h] += 1
        if not gone:
            counts.status[h] += phase == pods.pending or phase == pods.running
            counts.serving[h] += phase == pods.running and ready
            counts.ready[h] += ready
        if (now_ns < ready_ns < MAX_INT64) or now_ns - start_ns < rules.periods_ns[0]:
            counts.alters[0] = True
        young = now_ns - start_ns < rules.periods_ns[0]
        seen = pods.taken_ns.shape[0] > 0 and ready_ns <= pods.taken_ns[i] < MAX_INT64
        if gone or young or not seen or phase != pods.running:
            counts.settled_ns[h] = MAX_INT64
        changed_ns = ready_ns if ready else pods.unready_ns[p]
        for m in range(metrics.first[h], metrics.first[h + 1]):
            if metrics.kind[m] <= AVERAGE and not metrics.failed[m]:
                _count(
                    i,
                    p,
                    m,
                    gone,
                    phase == pods.pending,
                    ready,
                    changed_ns,
                    start_ns,
                    now_ns,
                    rules,
                    metrics,
                    pods,
                    counts,
                )


@inlined_kernel
def _count(i, p, m, gone, pending, ready, changed_ns, start_ns, now_ns, rules, metrics, pods, counts):
    """One pod for one metric."""
    sums, column, resource, factor = counts.sums[m], metrics.column[m], metrics.resource[m], metrics.factor[m]
    if column >= 0:
        request, taken_ns = pods.request[p, resource] * factor, pods.taken_ns[i]
    else:
        request, taken_ns = pods.own_request[resource, i], pods.own_taken_ns[resource, i]
    relative = metrics.kind[m] == UTILIZATION
    if relative and request == 0:
        sums[COUNTED] = -1
    if gone or sums[COUNTED] < 0:
        return
    if pending:
        young = True
    elif taken_ns == MAX_INT64:
        sums[MISSING] += 1
        sums[ASKED_MISSING] += request
        target = metrics.target[m]
        sums[FILLED_MISSING] += request * max(100, target) // 100 if relative else target
        return
    else:
        young = metrics.is_cpu[m] and _too_young(taken_ns, ready, changed_ns, start_ns, now_ns, rules.periods_ns)
    if young:
        sums[UNREADY] += 1
        sums[ASKED_UNREADY] += request
    else:
        sums[COUNTED] += 1
        sums[USED] += pods.used[column, i] * factor if column >= 0 else pods.own[resource, i]
        sums[ASKED] += request


@inlined_kernel
def _too_young(taken_ns, ready, changed_ns, start_ns, now_ns, periods_ns):
    """pod_groups._too_young: whether a cpu sample may be of the pod's start-up."""
    if start_ns == MAX_INT64 or changed_ns == MAX_INT64:
        return True
    if start_ns + periods_ns[0] > now_ns:
        return not ready or taken_ns < changed_ns + periods_ns[2]
    return not ready and start_ns + periods_ns[1] > changed_ns


# -- one metric ---------------------------------------------------------------------


@inlined_kernel
def _of_pods(h, m, rules, metrics, counts, verdict):
    """What a metric of pods wants: proposals.utilization_proposal and average_proposal."""
    sums, target, relative = counts.sums[m], metrics.target[m], metrics.kind[m] == UTILIZATION
    counted, used, asked = sums[COUNTED], sums[USED], sums[ASKED]
    unready, missing = sums[UNREADY], sums[MISSING]
    if counted <= 0:
        return
    verdict.usage[m] = used // counted
    if relative:
        verdict.utilization[m] = used * 100 // asked
    first = _ratio(used, asked, counted, target, relative)
    spec = rules.spec[h]
    rebalance = unready > 0 and first > 1.0
    if not rebalance and missing == 0:
        verdict.wanted[m] = spec if _holds(first, h, rules.tolerance) else _replicas(first * counted)
        return
    if first < 1.0:
        used, asked, counted = used + sums[FILLED_MISSING], asked + sums[ASKED_MISSING], counted + missing
    elif first > 1.0:
        asked, counted = asked + sums[ASKED_MISSING], counted + missing
    if rebalance:
        asked, counted = asked + sums[ASKED_UNREADY], counted + unready
    second = _ratio(used, asked, counted, target, relative)
    wanted = _replicas(second * counted)
    turned = (first < 1.0 and second > 1.0) or (second < 1.0 and first > 1.0)
    other_way = (second < 1.0 and wanted > spec) or (second > 1.0 and wanted < spec)
    verdict.wanted[m] = spec if turned or other_way or _holds(second, h, rules.tolerance) else wanted


@borrowing_kernel
def _of_value(h, m, rules, metrics, counts, verdict):
    """What an Object or External metric wants: proposals.value_proposal and per_pod_proposal."""
    usage, target, spec, status = metrics.value[m], metrics.target[m], rules.spec[h], counts.status[h]
    ratio = usage / target
    # No pod to multiply by is a failed metric, unless nothing is to change.
    podless = metrics.kind[m] != SHARED_VALUE and spec > 0 and counts.matched[h] == 0
    if podless and not _holds(ratio, h, rules.tolerance):
        return
    verdict.usage[m] = usage
    if metrics.kind[m] == SHARED_VALUE:
        if status > 0:
            verdict.usage[m] = np.int64(np.ceil(usage / status))
            ratio = usage / (float(target) * status)
        held = status > 0 and _holds(ratio, h, rules.tolerance)
        verdict.wanted[m] = status if held else _replicas(usage / target)
    elif spec == 0:
        verdict.wanted[m] = _replicas(ratio)
    else:
        held = _holds(ratio, h, rules.tolerance)
        verdict.wanted[m] = spec if held else _replicas(ratio * counts.serving[h])


@inlined_kernel
def _ratio(used, asked, counted, target, relative):
    return (used * 100 // asked) / target if relative else (used // counted) / target


@inlined_kernel
def _holds(ratio, h, tolerance):
    return 1.0 - tolerance[DOWN, h] <= ratio <= 1.0 + tolerance[UP, h]


@inlined_kernel
def _replicas(wanted):
    return np.int64(max(0.0, min(np.ceil(wanted), float(MAX_INT32))))


# -- windows and limits ---------------------------------------------------------------


@inlined_kernel
def _stabilize(h, now_ns, rules, memory, verdict):
    """recommendations.stabilize and stabilize_with_behavior."""
    proposed, spec = verdict.proposed[h], rules.spec[h]
    up, down = rules.window_ns[UP, h], rules.window_ns[DOWN, h]
    # Without behavior one exactly as old as the window still counts.
    edge = 0 if rules.by_rules[h] else 1
    lowest = highest = proposed
    k = memory.at[h]
    for _ in range(memory.proposed.shape[1]):
        past, age = memory.proposed[h, k], now_ns - memory.proposed_ns[h, k]
        # From the newest back: equal ones in a row being one, two or three are in the windows.
        if age > max(up, down):
            break
        k = k - 1 if k > 0 else memory.proposed.shape[1] - 1
        if age < up:
            lowest = min(lowest, past)
        if age < down + edge:
            highest = max(highest, past)
        # Whatever is still remembered may come into its own, or cease to.
        if past != proposed:
            verdict.steady[h] = False
    if rules.by_rules[h]:
        verdict.stabilized[h] = min(max(spec, lowest), highest)
    else:
        verdict.stabilized[h] = highest
    _remember(h, proposed, now_ns, memory)


@inlined_kernel
def _remember(h, proposed, now_ns, memory):
    """Equal proposals in a row are one: only when it was made last matters to a window."""
    k = memory.at[h]
    if memory.proposed[h, k] != proposed or memory.proposed_ns[h, k] < 0:
        k = (k + 1) % memory.proposed.shape[1]
    memory.proposed[h, k], memory.proposed_ns[h, k], memory.at[h] = proposed, now_ns, k


@inlined_kernel
def _limit(h, now_ns, rules, memory, verdict):
    """rates.clamp and limit_rate; then whether a step is due."""
    wanted, spec = verdict.stabilized[h], rules.spec[h]
    least, most = rules.least[h], rules.most[h]
    if not rules.by_rules[h]:
        by_step = np.int64(max(rules.factor * spec, rules.minimum))
        ceiling, why = (by_step, UP_LIMIT) if most > by_step else (most, TOO_MANY)
        if wanted < least:
            wanted, verdict.limit[h] = least, TOO_FEW
        elif wanted > ceiling:
            wanted, verdict.limit[h] = ceiling, why
    elif wanted > spec:
        allowed = max(spec, _allowed(UP, h, spec, now_ns, rules, memory))
        ceiling, why = (allowed, UP_LIMIT) if most > allowed else (most, TOO_MANY)
        if wanted > ceiling:
            wanted, verdict.limit[h] = ceiling, why
    elif wanted < spec:
        allowed = min(spec, _allowed(DOWN, h, spec, now_ns, rules, memory))
        floor, why = (allowed, DOWN_LIMIT) if least < allowed else (least, TOO_FEW)
        if wanted < floor:
            wanted, verdict.limit[h] = floor, why
    verdict.desired[h] = wanted
    if wanted != spec or verdict.limit[h] == UP_LIMIT or verdict.limit[h] == DOWN_LIMIT:
        verdict.steady[h] = False


@borrowing_kernel
def _allowed(side, h, spec, now_ns, rules, memory):
    """rates.scale_up_limit and scale_down_limit."""
    begin, end = rules.first[side, h], rules.first[side, h + 1]
    if rules.select[side, h] == DISABLED_POLICY or begin == end:
        return spec
    smallest, largest = np.int64(2**62), np.int64(-(2**62))
    for i in range(begin, end):
        percent, value, period_ns = rules.policies[i]
        start = spec - _change_within(UP, h, period_ns, now_ns, memory)
        start += _change_within(DOWN, h, period_ns, now_ns, memory)
        if side == UP:
            limit = np.int64(np.ceil(start * (1 + value / 100))) if percent else start + value
        else:
            limit = np.int64(start * (1 - value / 100)) if percent else start - value
        smallest, largest = min(smallest, limit), max(largest, limit)
    # The largest change is the largest number up, and the smallest down.
    return largest if (rules.select[side, h] == MAX) == (side == UP) else smallest


@borrowing_kernel
def _change_within(side, h, period_ns, now_ns, memory):
    change = np.int64(0)
    for e in range(memory.steps.shape[2]):
        if now_ns - memory.steps_ns[side, h, e] < period_ns:
            change += memory.steps[side, h, e]
    return change
