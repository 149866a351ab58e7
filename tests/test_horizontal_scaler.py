"""The autoscaler's loop: the compiled pass against the scalar rule, timelines by hand, syncs that needn't be made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k8slab.application.event_log import EventLog
from k8slab.application.horizontal_scaler import HorizontalScaler, ScaledWorkload
from k8slab.domain.autoscaling.values import (
    HorizontalPodAutoscaler,
    MetricSpec,
    MetricUnavailable,
    ScalingPolicy,
    ScalingRules,
    with_defaults,
)
from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS as S
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, UnknownName
from k8slab.infrastructure import VirtualClock
from k8slab.state import ClusterState

SCHEMA = ResourceSchema.of({})
FAILED = POD_PHASES.index(PodPhase.FAILED)
CPU_AT_60 = MetricSpec("Resource", "Utilization", 60, "cpu")


class Workloads:
    """A ScalePort of so many workloads, whose pods a test makes and ends itself."""

    def __init__(self, *replicas: int) -> None:
        self.wanted = list(replicas)
        self.rows: list[tuple[int, int]] = []

    def owner(self, name: str) -> int:
        names = [f"w{number}" for number in range(len(self.wanted))]
        if name not in names:
            raise UnknownName("workload", name, names)
        return names.index(name)

    def replicas(self, owner: int) -> int:
        return self.wanted[owner]

    def all_replicas(self):
        return np.array(self.wanted)

    def members(self):
        rows = np.array([row for row, _ in self.rows], dtype=np.int64)
        return rows, np.array([owner for _, owner in self.rows], dtype=np.int32)

    def scale(self, owner: int, replicas: int) -> None:
        self.wanted[owner] = replicas


class Metrics:
    """A MetricsPort: each pod's use as it is set, of both resources and of the container; None where there is none."""

    window_ns = 15 * S

    def __init__(self, steady: bool = False) -> None:
        self.used: dict[int, int | None] = {}
        self.series: int | None = 5000
        self.broken = False
        self.steady = steady

    def resources(self, pod_rows, resources, now_ns):
        if self.broken:
            raise MetricUnavailable("api_error", "the metrics API did not answer")
        used = [self.used.get(row) or 0 for row in pod_rows.tolist()]
        taken = [NEVER if self.used.get(row) is None else now_ns for row in pod_rows.tolist()]
        return np.array([used] * len(resources), dtype=np.int64), np.array(taken, dtype=np.int64)

    def containers(self, container, pod_rows, resource, now_ns):
        used, taken = self.resources(pod_rows, [resource], now_ns)
        return used[0], np.full(len(pod_rows), 700), taken

    def pods(self, name, pod_rows, now_ns):
        used, taken = self.resources(pod_rows, [0], now_ns)
        return used[0], taken

    def values(self, name, now_ns):
        if self.series is None:
            raise MetricUnavailable("no_value", "none")
        return (self.series,)

    def steady_until_ns(self, now_ns):
        return NEVER if self.steady else now_ns


class Bench:
    """A cluster with workloads, driven by hand under one HorizontalScaler."""

    def __init__(self, hpas, replicas, compiled, steady=False, targets=None):
        self.clock = VirtualClock()
        self.state = ClusterState(SCHEMA, clock=self.clock)
        self.state.add_nodes(["n"], SCHEMA.vector({"cpu": 10**9, "memory": 2**60, "pods": 10**6})[:, None])
        self.scale, self.metrics, self.sink = Workloads(*replicas), Metrics(steady), EventLog()
        targets = range(len(hpas)) if targets is None else targets
        workloads = [
            ScaledWorkload(f"a{n}", f"w{w}", hpa) for n, (w, hpa) in enumerate(zip(targets, hpas, strict=True))
        ]
        self.scaler = HorizontalScaler(self.state, self.scale, self.metrics, self.sink, workloads, compiled=compiled)
        self.made = 0

    def pod(self, owner, request=500, startup_s=0, bound=True):
        self.made += 1
        rows = self.state.add_pods(
            [f"p{self.made}"],
            SCHEMA.vector({"cpu": request, "memory": 2**20, "pods": 1})[None],
            owner=owner,
            startup_ns=startup_s * S,
        )
        self.scale.rows = [*self.scale.rows, (int(rows[0]), owner)]
        if bound:
            self.state.bind(rows, np.array([0]))
        return int(rows[0])

    def sync(self):
        self.scaler.run_once(self.clock.now())
        return self.told()

    def told(self):
        verdict = self.scaler.verdict
        names = [one.name for one in self.scaler.autoscalers]
        conditions = [{k: (c.status, c.reason) for k, c in self.scaler.conditions(n).items()} for n in names]
        return (
            list(self.scale.wanted), verdict.wanted.tolist(), verdict.usage.tolist(), verdict.utilization.tolist(),
            verdict.desired.tolist(), conditions, verdict.steady.tolist(),
        )  # fmt: skip


# -- the twin ------------------------------------------------------------------------

METRICS = st.one_of(
    st.builds(lambda t: MetricSpec("Resource", "Utilization", t, "cpu"), st.integers(1, 150)),
    st.builds(lambda t: MetricSpec("Resource", "AverageValue", t, "cpu"), st.integers(1, 900)),
    st.builds(lambda t: MetricSpec("Resource", "Utilization", t, "memory"), st.integers(1, 150)),
    st.builds(lambda t: MetricSpec("ContainerResource", "Utilization", t, "cpu", "app"), st.integers(1, 150)),
    st.builds(lambda t: MetricSpec("Pods", "AverageValue", t, name="hits"), st.integers(1, 900)),
    st.builds(
        MetricSpec, st.sampled_from(["Object", "External"]), st.sampled_from(["Value", "AverageValue"]),
        st.integers(1, 9000),
    ),
    st.just(MetricSpec("Weather")),
    st.just(MetricSpec("Resource", "Utilization", 50, "example.com/none")),
)  # fmt: skip
RULES = st.one_of(
    st.none(),
    st.builds(
        ScalingRules, st.one_of(st.none(), st.integers(0, 90)), st.sampled_from([None, "Max", "Min", "Disabled"]),
        st.one_of(
            st.none(),
            st.lists(
                st.builds(ScalingPolicy, st.sampled_from(["Pods", "Percent"]), st.integers(1, 120), st.integers(1, 60)),
                max_size=2,
            ).map(tuple),
        ),
        st.sampled_from([None, 0.0, 0.3]),
    ),
)  # fmt: skip


@st.composite
def autoscalers(draw):
    behavior = draw(st.booleans())
    least = draw(st.integers(0, 3))
    return HorizontalPodAutoscaler(
        max(1, least + draw(st.integers(0, 12))), least, tuple(draw(st.lists(METRICS, min_size=1, max_size=2))),
        with_defaults(draw(RULES), draw(RULES), 60) if behavior else None,
    )  # fmt: skip


ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("pod"), st.integers(0, 2), st.sampled_from([0, 40]), st.booleans(), st.sampled_from([500, 0])
        ),
        st.tuples(
            st.sampled_from(["unready", "ready", "restart", "leave", "fail", "remove", "lose"]), st.integers(0, 9)
        ),
        st.tuples(st.just("use"), st.integers(0, 1500)),
        st.tuples(st.just("series"), st.one_of(st.none(), st.integers(0, 30000))),
        st.tuples(st.just("break"), st.booleans()),
        st.tuples(st.just("scale"), st.integers(0, 2), st.integers(0, 16)),
        st.tuples(st.just("wait"), st.sampled_from([1, 1, 1, 2, 7, 25])),
    ),
    max_size=24,
)


def act(bench: Bench, step) -> None:
    kind, *given = step
    rows = [row for row, _ in bench.scale.rows if bench.state.pod_alive[row] and bench.state.pod_node[row] >= 0]
    if kind == "pod":
        owner, startup, bound, request = given
        bench.metrics.used[bench.pod(owner, request, startup, bound)] = 300
    elif kind == "use":
        for number, row in enumerate(rows):
            bench.metrics.used[row] = given[0] + 50 * number
    elif kind == "series":
        bench.metrics.series = given[0]
    elif kind == "break":
        bench.metrics.broken = given[0]
    elif kind == "scale":
        bench.scale.wanted[given[0]] = given[1]
    elif kind == "wait":
        bench.clock.advance(15 * given[0])
    elif rows:
        row = np.array([rows[given[0] % len(rows)]])
        now = bench.clock.now()
        {
            "unready": lambda: bench.state.set_ready(row, NEVER),
            "ready": lambda: bench.state.set_ready(row, now),
            "restart": lambda: bench.state.restart(row, now + 20 * S),
            "leave": lambda: bench.state.set_leaving(row, 1),
            "fail": lambda: bench.state.finish(row, FAILED),
            "remove": lambda: bench.state.remove_pods(row),
            "lose": lambda: bench.metrics.used.update({int(row[0]): None}),
        }[kind]()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(autoscalers(), min_size=3, max_size=3), st.booleans(), ACTS)
def test_the_compiled_pass_is_the_scalar_rule(hpas, shared, acts):
    """Over any history: proposals, conditions, what is written, and whether time alone may change it."""
    targets = [0, 1, 1] if shared else [0, 1, 2]
    one, two = (Bench(hpas, [3, 2, 4], compiled, targets=targets) for compiled in (True, False))
    for owner in (0, 0, 0, 1, 1, 2):
        for bench in (one, two):
            act(bench, ("pod", owner, 0, True, 500))
    assert one.sync() == two.sync()
    for step in acts:
        act(one, step)
        act(two, step)
        if step[0] == "wait":
            assert one.sync() == two.sync()
    assert {n: c.tolist() for n, c in one.sink.columns("scaling").items() if n != "utilization_percent"} == {
        n: c.tolist() for n, c in two.sink.columns("scaling").items() if n != "utilization_percent"
    }


# -- by hand ---------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["compiled", "scalar"])
def compiled(request):
    return request.param


def hpa(most=20, least=1, metrics=(CPU_AT_60,), up=None, down=None):
    behavior = with_defaults(up, down) if up is not None or down is not None else None
    return HorizontalPodAutoscaler(most, least, tuple(metrics), behavior)


def old_pods(bench, count, used):
    """Pods that started long ago."""
    rows = [bench.pod(0) for _ in range(count)]
    bench.clock.advance(3600)
    bench.metrics.used = dict.fromkeys(rows, used)
    bench.scale.wanted[0] = count


def keep(bench, used):
    """As a controller would: as many pods as wanted, each using so much."""
    missing = bench.scale.wanted[0] - len(bench.scale.rows)
    for _ in range(missing):
        bench.pod(0)
    bench.metrics.used = {row: used for row, _ in bench.scale.rows}


def test_steps_up_at_most_double_or_go_to_four(compiled):
    bench = Bench([hpa(most=30)], [2], compiled)
    old_pods(bench, 2, 3000)  # 600 %: ten times as many
    wanted = []
    for _ in range(4):  # nobody else is there yet, and what was wanted first still holds
        bench.sync()
        wanted.append(bench.scale.wanted[0])
        bench.clock.advance(15)
    assert wanted == [4, 8, 16, 20]


def test_steps_down_wait_for_five_minutes(compiled):
    bench = Bench([hpa(most=4)], [2], compiled)
    old_pods(bench, 2, 3000)  # 600 %: ten times as many
    bench.sync()
    assert bench.scale.wanted == [4]
    assert bench.scaler.conditions("a0")["ScalingLimited"].reason == "TooManyReplicas"
    keep(bench, 0)
    for seconds in range(15, 301, 15):
        bench.clock.advance(15)
        bench.sync()
        assert bench.scale.wanted == [4], seconds
    # The 20 of 300 s ago still counts; 315 s after it nothing does.
    assert bench.scaler.conditions("a0")["AbleToScale"].reason == "ScaleDownStabilized"
    bench.clock.advance(15)
    bench.sync()
    assert bench.scale.wanted == [1]
    rows = bench.sink.columns("scaling")
    assert rows["replicas"].tolist()[0] == 2
    assert (rows["replicas"][-1], rows["desired"][-1], rows["proposed"][-1]) == (4, 1, 0)


def test_policies_limit_the_steps_of_a_minute(compiled):
    two_a_minute = ScalingRules(policies=(ScalingPolicy("Pods", 2, 60),))
    bench = Bench([hpa(most=50, up=two_a_minute)], [2], compiled)
    old_pods(bench, 2, 3000)
    wanted = []
    for _ in range(9):
        bench.sync()
        wanted.append(bench.scale.wanted[0])
        keep(bench, 3000)
        bench.clock.advance(15)
    # The step of now - 60 s is just forgotten. Pods that were just made are taken to use nothing.
    assert wanted == [4, 4, 4, 4, 6, 6, 6, 6, 8]


def test_young_pods_do_not_count_until_they_are_ready_and_sampled_for_a_window(compiled):
    bench = Bench([hpa()], [2], compiled)
    old_pods(bench, 2, 300)
    young = bench.pod(0, startup_s=20)
    bench.metrics.used[young] = 5000
    bench.clock.advance(30)  # ready for 10 s: its sample began before
    assert bench.sync()[3] == [60]
    bench.clock.advance(15)
    assert bench.sync()[3] == [373]  # (300 + 300 + 5000) / 1500


def test_a_target_that_cannot_be_reached_is_a_condition(compiled):
    bench = Bench([hpa(most=4)], [3], compiled)
    old_pods(bench, 3, 5000)
    for _ in range(3):
        bench.sync()
        keep(bench, 5000)
        bench.clock.advance(400)
    conditions = bench.scaler.conditions("a0")
    assert (conditions["ScalingLimited"].status, conditions["ScalingLimited"].reason) == ("True", "TooManyReplicas")
    assert bench.sink.columns("scaling")["limited"].tolist()[-1] == "TooManyReplicas"


def test_two_autoscalers_of_one_workload_are_both_refused(compiled):
    bench = Bench([hpa(), hpa()], [3], compiled, targets=[0, 0])
    old_pods(bench, 3, 5000)
    bench.sync()
    assert bench.scale.wanted == [3]
    for name in ("a0", "a1"):
        assert bench.scaler.conditions(name)["ScalingActive"].reason == "AmbiguousSelector"


def test_a_scale_that_cannot_be_written_is_said_and_tried_again(compiled):
    bench = Bench([hpa(up=ScalingRules(0))], [3], compiled)
    old_pods(bench, 3, 1000)
    write = bench.scale.scale

    def refuse(owner, replicas):
        raise InputError("the API server is away")

    bench.scale.scale = refuse
    bench.sync()
    able = bench.scaler.conditions("a0")["AbleToScale"]
    assert (bench.scale.wanted, able.status, able.reason) == ([3], "False", "FailedUpdateScale")
    bench.scale.scale = write
    bench.clock.advance(15)
    bench.sync()
    assert bench.scale.wanted == [7]  # max(3 + 4, 2 * 3): the failed step was not remembered as one


def test_what_cannot_be_made_is_refused():
    with pytest.raises(UnknownName, match="unknown workload 'w7'; did you mean"):
        Bench([hpa()], [1], False, targets=[7])
    bench = Bench([hpa()], [1], False)
    twice = [ScaledWorkload("a", "w0", hpa())] * 2
    with pytest.raises(InputError, match="two autoscalers are named 'a'"):
        HorizontalScaler(bench.state, bench.scale, bench.metrics, bench.sink, twice, compiled=False)


# -- syncs that needn't be made ----------------------------------------------------------


def live(bench, until_s, changes, steady):
    """Run by the calendar's rule; changes : second -> what happens then, before or after the autoscaler's turn."""
    bench.metrics.steady = steady
    bench.scaler._ticks.next_ns = bench.clock.now()
    start, syncs, told = bench.clock.now() // S, 0, []
    for second in range(start, start + until_s):
        bench.clock.sleep_until(second * S)
        for when in ("before", "after"):
            change = changes.get((second - start, when))
            if when == "after":
                at = bench.scaler.next_ns(second * S)
                if at is not None and at <= second * S:
                    syncs += 1
                    bench.scaler.run_once(second * S)
            if change is not None:
                change(bench)
                # A second round of the instant.
                at = bench.scaler.next_ns(second * S)
                if at is not None and at <= second * S:
                    syncs += 1
                    bench.scaler.run_once(second * S)
        told.append((second - start, bench.scale.wanted[0]))
    return syncs, told, bench.sink.columns("scaling")["time_ns"].tolist()


@settings(max_examples=12, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 1500), st.sampled_from(["before", "after"])), st.integers(0, 1200), max_size=5
    ),
    st.booleans(),
)
def test_leaving_syncs_out_changes_nothing(uses, with_behavior):
    def change(used):
        def to(bench):
            bench.metrics.used = {row: used for row, _ in bench.scale.rows}
            # Something in the state moved: that is what wakes it.
            bench.state.set_ready(np.array([bench.scale.rows[0][0]]), 0)

        return to

    runs = []
    for steady in (True, False):
        rules = ScalingRules(30, policies=(ScalingPolicy("Pods", 1, 60),)) if with_behavior else None
        bench = Bench([hpa(up=rules)], [3], compiled=False)
        old_pods(bench, 3, 300)
        runs.append(live(bench, 1600, {at: change(used) for at, used in uses.items()}, steady))
    (left_out, *quiet), (all_made, *busy) = runs
    assert quiet == busy
    assert all_made == 107
    assert left_out <= all_made


def test_a_cluster_in_which_nothing_happens_costs_nothing(compiled):
    bench = Bench([hpa()], [3], compiled, steady=True)
    old_pods(bench, 3, 300)
    syncs, told, _ = live(bench, 1600, {}, steady=True)
    assert syncs == 1
    assert told[-1] == (1599, 3)
    assert bench.scaler.next_ns(bench.clock.now()) is None
