"""How good a detector was: counted by division against counted second by second, and a run by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.analysis.frames import check_frame
from k8slab.datasets.cluster import Cluster
from k8slab.datasets.workload import Workload
from k8slab.domain.columns import Codes, Names
from k8slab.domain.detectors import FixedTimeout, LeaseMonitor, Suspicions
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.pod_spec import ZONE
from k8slab.errors import InputError
from k8slab.experiments.simulation import Simulation
from k8slab.simulation.detection import judge
from k8slab.simulation.fault_times import merged
from k8slab.simulation.faults import ListedFailures
from k8slab.simulation.health import Health
from k8slab.simulation.workloads import Deployment

spans = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 9)), max_size=10)


def apart(given_spans):
    node, start, length = (np.array([row[c] for row in given_spans], dtype=np.int64) for c in range(3))
    return merged(node, start * SECOND_NS, (start + length) * SECOND_NS)


@given(spans, spans)
def test_scores_equal_those_counted_second_by_second(down_spans, suspected_spans):
    down, suspected = apart(down_spans), Suspicions(*apart(suspected_spans))
    found = judge(*down, suspected)
    scores = found.scores()

    def seconds(node, start, end):
        return {(int(node), s) for s in range(start // SECOND_NS, end // SECOND_NS)}

    is_down = set().union(*(seconds(*row) for row in zip(*down, strict=True)))
    is_suspected = set().union(*(seconds(*row) for row in zip(*suspected, strict=True)))
    right = [bool(seconds(*row) & is_down) for row in zip(*suspected, strict=True)]
    seen = [sorted(s for _, s in seconds(*row) & is_suspected) for row in zip(*down, strict=True)]
    assert found.right.tolist() == right
    assert scores["found"] == sum(map(bool, seen))
    assert scores["wrong_s"] == len(is_suspected - is_down)
    delays = [at[0] - start // SECOND_NS for at, start in zip(seen, down[1].tolist(), strict=True) if at]
    assert found.delay_s[~np.isnan(found.delay_s)].tolist() == delays
    if right:
        assert scores["precision"] == sum(right) / len(right)
    if seen:
        assert scores["recall"] == sum(map(bool, seen)) / len(seen)


def test_without_outages_or_suspicions_shares_are_missing():
    scores = judge(*apart([]), Suspicions(*apart([]))).scores()
    assert np.isnan(scores["precision"])
    assert np.isnan(scores["recall"])
    assert scores["wrong_s"] == 0


def small_run(**more):
    zone = Codes.of(f"zone-{row % 3}" for row in range(6))
    room = np.tile(np.array([[8000], [2**35], [50]], dtype=np.int64), 6)
    cluster = Cluster.of(Names(prefix="node-", count=6), room, labels={ZONE: zone})
    web = Deployment("web", {"cpu": "1", "memory": "1Gi"}, replicas=12, startup="20s")
    faults = [
        ListedFailures(
            events=[
                {"node": "node-2", "at": "10m", "duration": "20m"},
                {"node": "node-3", "at": "40m", "duration": "10s"},
                {"node": "node-4", "at": "50m", "duration": "8m", "effect": "silent"},
            ]
        )
    ]
    health = Health(compare={"quick": FixedTimeout(15 * SECOND_NS), "slow": LeaseMonitor(600 * SECOND_NS)})
    arguments = {"faults": faults, "health": health, "policy": "least-allocated", **more}
    return Simulation(cluster, web, **arguments).run("2h", progress=False)


def test_what_a_run_says_of_its_detectors():
    run = small_run()
    scores = run.frames.detectors.set_index("detector")
    assert list(scores.index) == ["LeaseMonitor", "quick", "slow"]
    assert scores["acted"].tolist() == [True, False, False]
    assert scores["outages"].tolist() == [2, 2, 2]
    # The outage of 10 s ends before anybody doubts; ten minutes of patience find the first one only.
    assert scores["found"].tolist() == [1, 1, 1]
    assert scores["wrong"].tolist() == [1, 1, 0]
    assert scores["recall"].tolist() == [0.5] * 3
    assert 45 <= scores.loc["LeaseMonitor", "delay_max_s"] <= 60
    assert 5 <= scores.loc["quick", "delay_max_s"] <= 15
    # Two pods of the dead node, and two of the one that was only silent; on others in their 20 s each.
    costs = scores.loc["LeaseMonitor"]
    assert (costs["moved"], costs["moved_for_nothing"]) == (4, 2)
    assert (costs["lost_pod_s"], costs["lost_pod_s_for_nothing"]) == (80, 40)
    assert scores.loc["quick", ["moved", "lost_pod_s"]].isna().all()
    one = run.frames.detections.query("detector == 'quick'")
    assert one["node"].tolist() == ["node-2", "node-3"]
    assert one["delay_s"].isna().tolist() == [False, True]


def test_frames_are_as_the_dictionary_says():
    with_faults, without = small_run(), small_run(faults=(), health=None)
    for name in ("healing", "health", "faults", "availability", "detectors", "detections"):
        check_frame(f"run_{name}", with_faults.frames[name])
        check_frame(f"run_{name}", without.frames[name])
        assert len(with_faults.frames[name])
        assert name == "availability" or not len(without.frames[name])


def test_plots_of_failures_and_detectors():
    run = small_run()
    ax = run.plot.failures()
    assert ax.get_ylabel() == "nodes"
    assert max(patch.get_data().values.max() for patch in ax.patches) == 1
    ax = run.plot.detectors()
    assert ax.get_xlabel() == "after the outage began (s)"
    assert ax.get_legend().get_texts()[0].get_text() == "LeaseMonitor: 1 of 2 wrong"
    assert [patch.get_data().values.max() for patch in ax.patches] == [50.0] * 3


def test_a_run_in_which_nothing_broke_has_nothing_to_draw():
    run = small_run(faults=(), health=None)
    with pytest.raises(InputError, match="no node was down or held to be lost; give the Simulation faults"):
        run.plot.failures()
    with pytest.raises(InputError, match="no node was down; give the Simulation faults such as NodeFailures"):
        run.plot.detectors()


def test_bare_pods_are_counted_by_when_they_run_again():
    zone = Codes.of(["a", "b"])
    room = np.tile(np.array([[4000], [2**34], [50]], dtype=np.int64), 2)
    cluster = Cluster.of(["n1", "n2"], room, labels={ZONE: zone})
    pods = Workload.of(["p1", "p2"], [[3000, 2**30, 1]] * 2)
    faults = [ListedFailures(events=[{"node": "n1", "at": "1m", "duration": "30m", "effect": "silent"}])]
    run = Simulation(cluster, pods, faults=faults, policy="least-allocated").run("1h", progress=False)
    (row,) = run.frames.detectors.to_dict("records")
    # No room elsewhere: the pod waits until its node is back, and has lost its taint at the next pass.
    evicted = run.frames.healing.query("action == 'evict'")["time_ns"].iloc[0] / SECOND_NS
    back = run.frames.events.query("event == 'TaintRemoved'")["time_ns"].iloc[0] / SECOND_NS
    assert row["moved_for_nothing"] == 1
    assert row["lost_pod_s_for_nothing"] == back - evicted
