"""ClusterState: its verbs, what they refuse, its journal; and any history of them, checked the slow way."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from k8slab.analysis.frames import check_frame
from k8slab.domain.columns import NEVER, Codes, Names, Taint, Toleration
from k8slab.domain.models import NODE_STATES, POD_PHASES, NodeState, PodPhase
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, NotEnoughCapacity, StateConflict
from k8slab.state import VERBS, ClusterState, Journal
from k8slab.state.tables import Column, NameTable

PENDING, RUNNING, SUCCEEDED, FAILED, _ = range(len(POD_PHASES))
READY, NOT_READY, _, CORDONED = range(len(NODE_STATES))
ROOM = [1000, 1000, 10]


class Ticks:
    """A clock that goes on by one at each look."""

    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        self.time += 1
        return self.time


def state_of(nodes: int = 2, pods: int = 3) -> ClusterState:
    """Nodes n0, n1, ... of 1,000 cpu, 1,000 memory and 10 pods; pods p0, p1, ... that ask for (100, 200, 1)."""
    state = ClusterState(clock=Ticks())
    state.add_nodes([f"n{i}" for i in range(nodes)], np.tile(ROOM, (nodes, 1)).T)
    state.add_pods([f"p{i}" for i in range(pods)], np.tile([100, 200, 1], (pods, 1)))
    return state


def snapshot(state: ClusterState) -> dict[str, Any]:
    """All that can be read of a state, as plain data."""
    nodes, pods = state.node_columns(), state.pod_columns(np.arange(state.pod_count))
    return {
        "journal": {name: column.tolist() for name, column in state.journal.columns().items()},
        "names": (list(state.node_names), list(state.pod_names)),
        "nodes": [x.tolist() for x in (state.node_alive, state.node_state, state.allocatable, state.requested)],
        "foreign": state.foreign.tolist(),
        "taints": nodes.taints.to_array().tolist(),
        "pods": [x.tolist() for x in (state.pod_alive, state.pod_phase, state.pod_node, state.pod_last_node)],
        "requests": (state.pod_request.tolist(), state.pod_priority.tolist()),
        "labels": [{k: c.to_array().tolist() for k, c in x.labels.items()} for x in (nodes, pods)],
        "texts": (pods.namespaces.to_array().tolist(), pods.tolerations.to_array().tolist()),
    }


# -- nodes -------------------------------------------------------------------------


def test_nodes_are_added_with_all_that_describes_them():
    state = ClusterState(ResourceSchema.of(["gpu"]))
    gpu = (Taint("dedicated", "gpu"),)
    rows = state.add_nodes(
        ["a", "b"],
        [[4000, 8000], [2**33, 2**34], [110, 110], [0, 8000]],
        states=[CORDONED, READY],
        taints=Codes.of([None, gpu]),
        labels={"zone": Codes.of(["x", None])},
        foreign=[[100, 0], [0, 5], [1, 1], [0, 0]],
    )
    assert rows.tolist() == [0, 1]
    columns = state.node_columns()
    assert columns.allocatable.tolist() == [[4000, 8000], [2**33, 2**34], [110, 110], [0, 8000]]
    assert columns.requested.tolist() == [[100, 0], [0, 5], [1, 1], [0, 0]]
    assert columns.schedulable.tolist() == [False, True]
    assert [columns.taints[row] for row in rows] == [None, gpu]
    assert [columns.labels["zone"][row] for row in rows] == ["x", None]
    assert (columns.schema, list(columns.names), len(columns)) == (state.schema, ["a", "b"], 2)
    state.check()


def test_only_ready_nodes_that_are_there_are_schedulable():
    state = state_of(nodes=5, pods=0)
    for row, code in enumerate(range(4)):
        state.set_node_state(row, code)
    state.remove_node(4)
    assert state.node_columns().schedulable.tolist() == [True, False, False, False, False]
    assert [NODE_STATES[code] for code in state.node_state[:4]] == list(NodeState)


def test_a_removed_name_comes_again_on_a_new_row():
    state = state_of()
    state.remove_node(0)
    state.remove_pods(1)
    assert (state.node_row("n0"), state.pod_row("p1")) == (-1, -1)
    assert state.add_nodes(["n0"], np.array([ROOM]).T).tolist() == [2]
    assert state.add_pods(["p1"], [[1, 1, 1]]).tolist() == [3]
    assert (state.node_row("n0"), state.pod_row("p1")) == (2, 3)
    assert list(state.node_names) == ["n0", "n1", "n0"]
    assert [state.pod_name(row) for row in range(4)] == ["p0", "p1", "p2", "p1"]
    assert (state.node_row("none"), state.pod_row("none")) == (-1, -1)
    state.check()


def test_a_node_is_updated_in_part_and_may_shrink_below_its_pods():
    state = state_of()
    state.bind(0, 0)
    state.update_node(0, allocatable=[50, 50, 1])
    state.update_node(0, taints=(Taint("a"),), labels={"zone": "x"})
    state.update_node(0, labels={"rack": "7"})
    columns = state.node_columns()
    assert columns.allocatable[:, 0].tolist() == [50, 50, 1]
    assert columns.taints[0] == (Taint("a"),)
    assert (columns.labels["zone"][0], columns.labels["rack"][0], columns.labels["rack"][1]) == (None, "7", None)
    state.check()
    with pytest.raises(NotEnoughCapacity, match=r"0 of 50 are free"):
        state.bind(1, 0)


def test_foreign_usage_is_charged_once_and_may_exceed_the_node():
    state = state_of()
    state.bind([0, 1], [0, 0])
    state.set_foreign(0, [5000, 1, 2])
    state.set_foreign(0, [3000, 0, 2])
    assert state.requested[:, 0].tolist() == [3200, 400, 4]
    assert state.foreign[:, 0].tolist() == [3000, 0, 2]
    state.check()


# -- pods --------------------------------------------------------------------------


def test_pods_are_added_waiting_with_all_that_describes_them():
    state = state_of(pods=0)
    tolerant = (Toleration("dedicated", "Exists"),)
    rows = state.add_pods(
        ["a", "b"],
        [[1, 2, 1], [3, 4, 1]],
        namespaces=Codes.of(["web", None]),
        tolerations=Codes.of([None, tolerant]),
        priority=[5, -7],
        labels={"app": Codes.of([None, "x"])},
    )
    columns = state.pod_columns(rows[::-1])
    assert list(columns.names) == ["b", "a"]
    assert columns.rows.tolist() == [1, 0]
    assert columns.requests.tolist() == [[3, 4, 1], [1, 2, 1]]
    assert columns.priority.tolist() == [-7, 5]
    assert (columns.namespaces[0], columns.namespaces[1]) == (None, "web")
    assert (columns.tolerations[0], columns.labels["app"][0], columns.labels["app"][1]) == (tolerant, "x", None)
    assert state.pending_rows().tolist() == [0, 1]
    assert state.pod_phase.tolist() == [PENDING, PENDING]
    defaults = state.pod_columns(state.add_pods(["c"], [[0, 0, 1]]))
    assert (defaults.namespaces[0], defaults.tolerations[0], defaults.priority[0]) == ("default", (), 0)
    assert defaults.labels["app"][0] is None


def test_pod_columns_are_of_the_waiting_pods_unless_rows_are_given():
    state = state_of(pods=4)
    state.bind([1], [0])
    assert state.pod_columns().rows.tolist() == [0, 2, 3]
    assert list(state.pod_columns().names) == ["p0", "p2", "p3"]
    assert list(state.pod_columns(np.arange(4)).names) == ["p0", "p1", "p2", "p3"]
    assert len(state.pod_columns(np.empty(0, dtype=np.int64))) == 0


def test_a_pod_from_waiting_to_its_end_and_back():
    state = state_of()
    state.bind([0, 2], [1, 0])
    assert state.pod_node.tolist() == [1, -1, 0]
    assert state.pod_phase.tolist() == [RUNNING, PENDING, RUNNING]
    assert state.requested.tolist() == [[100, 100], [200, 200], [1, 1]]
    assert (state.pods_on(0).tolist(), state.pods_on(1).tolist()) == ([2], [0])
    state.unbind(0)
    assert state.pending_rows().tolist() == [0, 1]
    assert state.pod_last_node.tolist() == [1, -1, 0]
    state.finish(2)
    assert POD_PHASES[state.pod_phase[2]] is PodPhase.SUCCEEDED
    assert state.requested.tolist() == [[0, 0], [0, 0], [0, 0]]
    state.bind(0, 0)
    state.set_phase(0, FAILED)
    assert state.requested[:, 0].tolist() == [100, 200, 1], "what a failed pod holds it keeps"
    state.finish(0, FAILED)
    assert not state.requested.any()
    state.remove_pods([0, 1])
    assert state.pod_alive.tolist() == [False, False, True]
    assert not len(state.pending_rows())
    state.check()


def test_many_pods_on_one_node_are_charged_together():
    state = state_of(nodes=2, pods=5)
    state.bind(np.arange(5), np.zeros(5, dtype=np.int64))
    assert state.requested.tolist() == [[500, 0], [1000, 0], [5, 0]]
    state.remove_pods(np.array([4, 0]))
    assert state.pods_on(0).tolist() == [1, 2, 3]
    assert state.requested[:, 0].tolist() == [300, 600, 3]
    state.check()


def test_a_pod_is_updated_and_its_node_charged_the_difference():
    state = state_of()
    state.bind(0, 0)
    state.update_pod(0, request=[300, 100, 1], priority=9, namespace="web")
    state.update_pod(1, request=[7, 7, 1], labels={"app": "x"}, tolerations=(Toleration("a"),))
    assert state.requested[:, 0].tolist() == [300, 100, 1]
    columns = state.pod_columns(np.arange(3))
    assert columns.requests[:2].tolist() == [[300, 100, 1], [7, 7, 1]]
    assert columns.priority.tolist() == [9, 0, 0]
    assert (columns.namespaces[0], columns.labels["app"][1], columns.tolerations[1]) == ("web", "x", (Toleration("a"),))
    state.update_pod(0, request=[9999, 100, 1], force=True)
    assert state.requested[0, 0] == 9999
    state.update_pod(0, request=[9998, 100, 1])  # less of what is over-committed is no new commitment
    state.check()


def test_force_binds_what_was_observed():
    state = state_of()
    state.update_node(0, allocatable=[0, 0, 0])
    state.bind([0, 1, 2], [0, 0, 0], force=True)
    assert state.requested[:, 0].tolist() == [300, 600, 3]
    state.check()


def test_a_pod_that_asks_for_none_of_an_over_committed_resource_fits():
    state = state_of(pods=0)
    state.set_foreign(0, [5000, 0, 0])
    rows = state.add_pods(["idle", "busy"], [[0, 10, 1], [1, 10, 1]])
    state.bind(rows[0], 0)
    with pytest.raises(NotEnoughCapacity, match="1 more cpu_milli requested but 0 of 1,000 are free"):
        state.bind(rows[1], 0)


def test_empty_batches_do_nothing():
    state, none = state_of(), np.empty(0, dtype=np.int64)
    before = snapshot(state)
    state.bind(none, none)
    for verb in (state.unbind, state.finish, state.remove_pods):
        verb(none)
    state.set_phase(none, RUNNING)
    assert not len(state.add_pods([], np.empty((0, 3), dtype=np.int64)))
    assert not len(state.add_nodes([], np.empty((3, 0), dtype=np.int64)))
    assert snapshot(state) == before


# -- what is refused, and changes nothing ------------------------------------------


def busy_state() -> ClusterState:
    """p0 runs on n0, p1 waits, p2 has succeeded, p3 was removed; n2 was removed."""
    state = state_of(nodes=3, pods=4)
    state.bind([0, 2], [0, 1])
    state.finish(2)
    state.remove_pods(3)
    state.remove_node(2)
    return state


ROOM_COLUMN = np.array([ROOM]).T
REFUSED = {
    "node name taken": (StateConflict, "cannot add node 'n1': row 1 has that name",
                        lambda s: s.add_nodes(["new", "n1"], np.hstack([ROOM_COLUMN] * 2))),
    "node name twice": (InputError, "cannot add node 'x' twice",
                        lambda s: s.add_nodes(["x", "y", "x"], np.hstack([ROOM_COLUMN] * 3))),
    "node negative": (InputError, r"allocatable of nodes: -5 is negative",
                      lambda s: s.add_nodes(["x"], [[1], [-5], [1]])),
    "node absurd": (InputError, r"9,223,372,036,854,775,808 is beyond 9,223,372,036,854,775,807",
                    lambda s: s.add_nodes(["x"], np.array([[1], [2**63], [1]], dtype=np.uint64))),
    "node not whole": (InputError, "allocatable of nodes: float64 where whole numbers are wanted",
                       lambda s: s.add_nodes(["x"], [[0.5], [1], [1]])),
    "node foreign negative": (InputError, "foreign usage of nodes: -1 is negative",
                              lambda s: s.add_nodes(["x"], ROOM_COLUMN, foreign=-ROOM_COLUMN // 1000)),
    "node shape": (AssertionError, r"shape \(2, 1\), not \(3, 1\)", lambda s: s.add_nodes(["x"], [[1], [1]])),
    "node state": (AssertionError, r"node states are not all in 0\.\.3",
                   lambda s: s.add_nodes(["x"], ROOM_COLUMN, states=[4])),
    "node states short": (ValueError, "broadcast", lambda s: s.add_nodes(["x"], ROOM_COLUMN, states=[0, 0])),
    "node taints short": (AssertionError, "taints has 2 rows for 1",
                          lambda s: s.add_nodes(["x"], ROOM_COLUMN, taints=Codes.constant((), 2))),
    "node labels short": (AssertionError, "zone has 0 rows for 1",
                          lambda s: s.add_nodes(["x"], ROOM_COLUMN, labels={"zone": Codes.of([])})),
    "remove used node": (StateConflict, "cannot remove node 'n0': 1 pods are bound to it",
                         lambda s: s.remove_node(0)),
    "remove removed node": (StateConflict, "node 'n2' was removed", lambda s: s.remove_node(2)),
    "remove no node": (StateConflict, "node row -1 is not there: 3 rows", lambda s: s.remove_node(-1)),
    "set state of removed": (StateConflict, "node 'n2' was removed", lambda s: s.set_node_state(2, READY)),
    "set state unknown": (AssertionError, r"node state 4 is not one of 0\.\.3", lambda s: s.set_node_state(0, 4)),
    "update removed node": (StateConflict, "node 'n2' was removed", lambda s: s.update_node(2, labels={})),
    "update negative": (InputError, "allocatable: -1 is negative",
                        lambda s: s.update_node(0, allocatable=[1, -1, 1], labels={"a": "b"})),
    "foreign negative": (InputError, "foreign usage: -1 is negative", lambda s: s.set_foreign(0, [0, -1, 0])),
    "foreign of removed": (StateConflict, "node 'n2' was removed", lambda s: s.set_foreign(2, [0, 0, 0])),
    "pods on no node": (StateConflict, "node row 3 is not there", lambda s: s.pods_on(3)),
    "pod name taken": (StateConflict, "cannot add pod 'p2': row 2 has that name",
                       lambda s: s.add_pods(["x", "p2"], [[1, 1, 1]] * 2)),
    "pod name twice": (InputError, "cannot add pod 'x' twice", lambda s: s.add_pods(["x", "x"], [[1, 1, 1]] * 2)),
    "pod negative": (InputError, "requests of pods: -3 is negative", lambda s: s.add_pods(["x"], [[1, -3, 1]])),
    "pod NaN": (InputError, "float64 where whole numbers", lambda s: s.add_pods(["x"], [[1, np.nan, 1]])),
    "pod shape": (AssertionError, r"shape \(1, 2\), not \(1, 3\)", lambda s: s.add_pods(["x"], [[1, 1]])),
    "pod priority": (InputError, "priority 2,147,483,648 is beyond int32",
                     lambda s: s.add_pods(["x"], [[1, 1, 1]], priority=2**31)),
    "pod namespaces short": (AssertionError, "namespaces has 2 rows for 1",
                             lambda s: s.add_pods(["x"], [[1, 1, 1]], namespaces=Codes.of(["a", "b"]))),
    "bind running": (StateConflict, "cannot bind pod 'p0': it is running on node 'n0', not waiting",
                     lambda s: s.bind([1, 0], [1, 1])),
    "bind finished": (StateConflict, "cannot bind pod 'p2': it is succeeded, not waiting", lambda s: s.bind(2, 1)),
    "bind removed": (StateConflict, "pod 'p3' was removed", lambda s: s.bind(3, 1)),
    "bind no pod": (StateConflict, "pod row 4 is not there: 4 rows", lambda s: s.bind(4, 1)),
    "bind pod -1": (StateConflict, "pod row -1 is not there", lambda s: s.bind(-1, 1)),
    "bind to removed": (StateConflict, "node 'n2' was removed", lambda s: s.bind(1, 2)),
    "bind to -1": (StateConflict, "node row -1 is not there", lambda s: s.bind(1, -1)),
    "bind twice": (StateConflict, "pod 'p1' is named twice in one call", lambda s: s.bind([1, 1], [0, 1])),
    "bind unequal": (AssertionError, "1 pods but 2 nodes", lambda s: s.bind([1], [0, 1])),
    "unbind waiting": (StateConflict, "cannot unbind pod 'p1': it is pending, on no node",
                       lambda s: s.unbind([0, 1])),
    "unbind finished": (StateConflict, "cannot unbind pod 'p2': it is succeeded", lambda s: s.unbind(2)),
    "unbind twice": (StateConflict, "pod 'p0' is named twice", lambda s: s.unbind([0, 0])),
    "finish removed": (StateConflict, "pod 'p3' was removed", lambda s: s.finish([0, 3])),
    "finish as running": (AssertionError, "phase 1 is no end", lambda s: s.finish(0, RUNNING)),
    "finish twice": (StateConflict, "pod 'p0' is named twice", lambda s: s.finish([0, 0])),
    "phase unknown": (AssertionError, r"phase 5 is not one of 0\.\.4", lambda s: s.set_phase(0, 5)),
    "phase of removed": (StateConflict, "pod 'p3' was removed", lambda s: s.set_phase(3, RUNNING)),
    "remove twice": (StateConflict, "pod 'p0' is named twice", lambda s: s.remove_pods([0, 1, 0])),
    "remove removed": (StateConflict, "pod 'p3' was removed", lambda s: s.remove_pods([0, 3])),
    "update removed pod": (StateConflict, "pod 'p3' was removed", lambda s: s.update_pod(3, priority=1)),
    "update absurd priority": (InputError, "priority -2,147,483,649 is beyond int32",
                               lambda s: s.update_pod(0, request=[1, 1, 1], priority=-(2**31) - 1)),
    "update pod negative": (InputError, "request: -1 is negative",
                            lambda s: s.update_pod(0, request=[-1, 1, 1], priority=4)),
    "grow beyond the node": (
        NotEnoughCapacity,
        "cannot grow pod 'p0' on node 'n0': 901 more cpu_milli requested but 900 of 1,000 are free",
        lambda s: s.update_pod(0, request=[1001, 200, 1], priority=4),
    ),
    "columns of no pod": (StateConflict, "pod row -1 is not there", lambda s: s.pod_columns(np.array([0, -1]))),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_verb_refuses_it_names_and_leaves_as_it_was(case):
    error, message, act = REFUSED[case]
    state = busy_state()
    before = snapshot(state)
    with pytest.raises(error, match=message):
        act(state)
    assert snapshot(state) == before
    state.check()


def test_capacity_is_counted_over_the_batch():
    state = state_of(pods=6)
    before = snapshot(state)
    wanted = r"cannot bind 6 pods to node 'n1': 1,200 more memory_bytes requested but 1,000 of 1,000 are free"
    with pytest.raises(NotEnoughCapacity, match=wanted):
        state.bind(np.arange(6), np.ones(6, dtype=np.int64))
    assert snapshot(state) == before
    state.bind(0, 1)
    with pytest.raises(NotEnoughCapacity, match=r"5 pods to node 'n1': 1,000 more memory_bytes .* 800 of 1,000"):
        state.bind([1, 2, 3, 4, 5], [1] * 5)
    state.bind([1, 2, 3, 4, 5], [1, 1, 1, 1, 0])
    state.check()


def test_what_is_handed_out_or_in_is_not_the_states_own():
    state = state_of(nodes=1, pods=0)
    request = np.array([[1, 1, 1]])
    rows = state.add_pods(["a"], request)
    request[:] = 7
    rows += 5
    nodes = np.array([0])
    state.bind(0, nodes)
    nodes[0] = 9
    assert state.pod_request.tolist() == [[1, 1, 1]]
    assert state.journal.columns()["pod_row"].tolist()[-2:] == [0, 0]
    assert state.journal.columns()["node_row"].tolist()[-1] == 0
    state.check()


# -- check() -----------------------------------------------------------------------

FALSE = {
    "requested": (lambda s: s.requested.__setitem__((1, 0), 7), "node row 0 should have 200 of memory_bytes .* 7"),
    "foreign": (lambda s: s.foreign.__setitem__((0, 1), 1), "node row 1 should have 1 of cpu_milli"),
    "pod_request": (lambda s: s.pod_request.__setitem__((0, 0), 99), "should have 99 of cpu_milli"),
    "pod_node": (lambda s: s.pod_node.__setitem__(0, 1), "was last bound to 0"),
    "pod_alive": (lambda s: s.pod_alive.__setitem__(0, False), "pod row 0 was removed but holds node row 0"),
    "node_alive": (lambda s: s.node_alive.__setitem__(0, False), "on removed node row 0"),
    "pod_phase": (lambda s: s.pod_phase.__setitem__(0, 9), "a pod's code is not one of"),
    "node_state": (lambda s: s.node_state.__setitem__(0, -1), "a node's code is not one of"),
    "revived pod": (lambda s: (s.add_pods(["p3"], [[1, 1, 1]]), s.pod_alive.__setitem__(3, True)), "the name 'p3'"),
    "allocatable": (lambda s: s.allocatable.__setitem__((0, 0), -1), "negative amount allocatable"),
}  # fmt: skip


@pytest.mark.parametrize("column", FALSE)
def test_check_finds_a_falsified_column(column):
    falsify, message = FALSE[column]
    state = busy_state()
    state.check()
    falsify(state)
    with pytest.raises(AssertionError, match=message):
        state.check()


# -- journal -----------------------------------------------------------------------


def test_the_journal_tells_every_verb_in_order():
    state = state_of(nodes=2, pods=3)
    state.bind([0, 1], [1, 0])
    state.set_ready(0, NEVER)
    state.restart(0, 70)
    state.unbind(1)
    state.set_phase(0, FAILED)
    state.finish(0, FAILED)
    state.set_node_state(0, CORDONED)
    state.set_node_state(0, CORDONED)  # no change, no entry
    state.update_node(0, labels={"a": "b"})
    state.update_pod(2, priority=1)
    state.nominate(2, 0)
    state.set_leaving(2, 2)
    state.remove_pods([2, 1])
    state.remove_node(1)
    frame = state.journal.to_frame()
    check_frame("journal", frame)
    told = [tuple(row) for row in frame[["verb", "pod_row", "node_row", "value"]].itertuples(index=False)]
    assert told == [
        ("NODE_ADDED", -1, 0, 0), ("NODE_ADDED", -1, 1, 0),
        ("POD_ADDED", 0, -1, 0), ("POD_ADDED", 1, -1, 0), ("POD_ADDED", 2, -1, 0),
        ("BOUND", 0, 1, 0), ("BOUND", 1, 0, 0),
        ("READY", 0, -1, NEVER),
        ("RESTARTED", 0, -1, 70),
        ("UNBOUND", 1, 0, 0),
        ("PHASE", 0, -1, FAILED),
        ("FINISHED", 0, 1, FAILED),
        ("NODE_STATE", -1, 0, CORDONED),
        ("NODE_UPDATED", -1, 0, 0),
        ("POD_UPDATED", 2, -1, 0),
        ("NOMINATED", 2, 0, 0),
        ("LEAVING", 2, -1, 2),
        ("POD_REMOVED", 2, -1, 0), ("POD_REMOVED", 1, -1, 0),
        ("NODE_REMOVED", -1, 1, 0),
    ]  # fmt: skip
    assert set(frame["verb"]) == set(VERBS)
    assert frame["time_ns"].is_monotonic_increasing
    assert frame["time_ns"].nunique() == 15, "one time a verb, whatever its batch"
    assert len(state.journal) == len(frame) == 20


def test_a_pod_runs_and_is_ready_by_arithmetic():
    state = ClusterState(clock=Ticks())
    state.add_nodes(["a"], ROOM_COLUMN)
    pods = state.add_pods(["fast", "slow"], np.tile([100, 200, 1], (2, 1)), startup_ns=[0, 500], owner=[-1, 3])
    assert state.pod_ready_ns.tolist() == state.pod_runs_ns.tolist() == [NEVER, NEVER]
    state.bind(pods, [0, 0])
    at = int(state.pod_runs_ns[0])
    assert state.pod_ready_ns.tolist() == [at, at + 500]
    assert state.pod_started.tolist() == [at, at]
    state.restart(1, at + 30)
    state.set_ready(0, NEVER)
    assert state.pod_ready_ns.tolist() == [NEVER, at + 530]
    assert state.pod_runs_ns.tolist() == [at, at + 30]
    assert state.pod_restarts.tolist() == [0, 1]
    state.unbind(1)
    state.finish(0)
    assert state.pod_runs_ns.tolist() == state.pod_ready_ns.tolist() == [NEVER, NEVER]
    assert state.pod_owner.tolist() == [-1, 3]
    for verb in (state.restart, state.set_ready):
        with pytest.raises(StateConflict, match="pod 'slow': it is pending, on no node"):
            verb(1, 7)


def test_pods_may_get_rows_before_they_arrive():
    state = state_of(nodes=1, pods=1)
    early = state.add_pods(["late-0", "late-1"], np.tile([100, 200, 1], (2, 1)), arrived=False)
    assert state.pending_rows().tolist() == [0]
    assert len(state.journal) == 2
    with pytest.raises(StateConflict, match="'late-0' was removed"):
        state.bind(early[:1], [0])
    state.arrive(early[1])
    assert state.pending_rows().tolist() == [0, 2]
    assert state.journal.to_frame()["verb"].tolist() == ["NODE_ADDED", "POD_ADDED", "POD_ADDED"]
    for row in (0, 2):
        with pytest.raises(StateConflict, match="can't arrive: it is there, or was removed"):
            state.arrive(row)
    state.check()


def test_an_empty_journal_is_a_frame_too():
    journal = Journal()
    check_frame("journal", journal.to_frame())
    journal.append(3, "BOUND", np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    assert len(journal) == 0
    assert not len(journal.to_frame())


def test_without_a_clock_it_is_always_zero():
    state = ClusterState()
    state.add_nodes(["a"], ROOM_COLUMN)
    assert state.journal.columns()["time_ns"].tolist() == [0]


# -- any history -------------------------------------------------------------------


def replayed(journal: Journal, nodes: int, pods: int) -> tuple[list[int], list[bool], list[bool]]:
    """Where every pod is, and which pods and nodes are there: from the journal alone."""
    where, pod_there, node_there = [-1] * pods, [False] * pods, [False] * nodes
    columns = journal.columns()
    for verb, pod, node in zip(*(columns[name].tolist() for name in ("verb", "pod_row", "node_row")), strict=True):
        match VERBS[verb]:
            case "NODE_ADDED" | "NODE_REMOVED" as told:
                node_there[node] = told == "NODE_ADDED"
            case "POD_ADDED":
                pod_there[pod] = True
            case "BOUND":
                where[pod] = node
            case "UNBOUND" | "FINISHED" | "POD_REMOVED" as told:
                assert where[pod] == node, f"pod row {pod} left node row {node} but was on {where[pod]}"
                where[pod] = -1
                pod_there[pod] = told != "POD_REMOVED"
    return where, pod_there, node_there


def total(amounts: Iterable[list[int]]) -> list[int]:
    """The sum of lists of three amounts."""
    return [sum(column) for column in zip([0, 0, 0], *amounts, strict=True)]


AMOUNT = st.one_of(st.integers(0, 4), st.integers(5, 40))
NODES, PODS = st.sampled_from("abcd"), st.sampled_from("pqrstuv")
CODES = st.integers(0, len(NODE_STATES) - 1)


class History(RuleBasedStateMachine):
    """Any verbs in any order, refused ones among them; the state is what a model of dictionaries says."""

    @initialize()
    def begin(self) -> None:
        self.state = ClusterState(clock=Ticks())
        self.rooms: dict[str, list[int]] = {}
        self.foreign: dict[str, list[int]] = {}
        self.pods: dict[str, list[int]] = {}
        self.on: dict[str, str] = {}
        self.waits: set[str] = set()
        self.node_rows: set[int] = set()
        self.pod_rows: set[int] = set()
        for node in "abcd":
            self.add_node(node, (40, 40, 9), 2)
        for pod in "pqrstuv":
            self.add_pod(pod, (7, 5, 1))

    def free(self, node: str) -> list[int]:
        held = total(self.pods[pod] for pod, where in self.on.items() if where == node)
        return [r - f - h for r, f, h in zip(self.rooms[node], self.foreign[node], held, strict=True)]

    def attempt(self, allowed: bool, act: Any, *arguments: Any, **options: Any) -> bool:
        before = None if allowed else snapshot(self.state)
        try:
            act(*arguments, **options)
        except (StateConflict, NotEnoughCapacity):
            assert not allowed
            assert snapshot(self.state) == before
            return False
        assert allowed
        return True

    @rule(name=NODES, room=st.tuples(AMOUNT, AMOUNT, AMOUNT), other=AMOUNT)
    def add_node(self, name, room, other):
        column, foreign = np.array([room]).T, np.array([[0], [other], [0]])
        if self.attempt(name not in self.rooms, self.state.add_nodes, [name], column, foreign=foreign):
            self.rooms[name], self.foreign[name] = list(room), [0, other, 0]
            row = self.state.node_row(name)
            assert row not in self.node_rows
            self.node_rows.add(row)

    @rule(name=PODS, request=st.tuples(AMOUNT, AMOUNT, st.just(1)))
    def add_pod(self, name, request):
        if self.attempt(name not in self.pods, self.state.add_pods, [name], [list(request)]):
            self.pods[name] = list(request)
            self.waits.add(name)
            row = self.state.pod_row(name)
            assert row not in self.pod_rows
            self.pod_rows.add(row)

    @rule(node=NODES)
    def remove_node(self, node):
        allowed = node in self.rooms and node not in self.on.values()
        if self.attempt(allowed, self.state.remove_node, self.state.node_row(node)):
            del self.rooms[node], self.foreign[node]

    @rule(pods=st.lists(PODS, min_size=1, max_size=3), nodes=st.lists(NODES, min_size=3, max_size=3))
    def bind_any(self, pods, nodes):
        self.bind(pods, nodes[: len(pods)])

    @precondition(lambda self: self.waits and self.rooms)
    @rule(data=st.data())
    def bind_what_waits(self, data):
        pods = data.draw(st.lists(st.sampled_from(sorted(self.waits)), min_size=1, max_size=3, unique=True))
        self.bind(pods, [data.draw(st.sampled_from(sorted(self.rooms))) for _ in pods])

    def bind(self, pods, nodes):
        allowed = len(set(pods)) == len(pods) and set(pods) <= self.waits and set(nodes) <= self.rooms.keys()
        for node in set(nodes) if allowed else ():
            asked = total(self.pods[p] for p, n in zip(pods, nodes, strict=True) if n == node)
            allowed &= all(ask == 0 or ask <= free for ask, free in zip(asked, self.free(node), strict=True))
        rows = [self.state.pod_row(pod) for pod in pods], [self.state.node_row(node) for node in nodes]
        if self.attempt(allowed, self.state.bind, *rows):
            self.on |= dict(zip(pods, nodes, strict=True))
            self.waits -= set(pods)

    @rule(pods=st.lists(PODS, min_size=1, max_size=2))
    def unbind(self, pods):
        allowed = len(set(pods)) == len(pods) and set(pods) <= self.on.keys()
        if self.attempt(allowed, self.state.unbind, [self.state.pod_row(pod) for pod in pods]):
            self.leave(pods)
            self.waits |= set(pods)

    @rule(pods=st.lists(PODS, min_size=1, max_size=2), gone=st.booleans())
    def finish_or_remove(self, pods, gone):
        allowed = len(set(pods)) == len(pods) and set(pods) <= self.pods.keys()
        act = self.state.remove_pods if gone else self.state.finish
        if self.attempt(allowed, act, [self.state.pod_row(pod) for pod in pods]):
            self.leave(pods)
            self.waits -= set(pods)
            for pod in pods if gone else ():
                del self.pods[pod]

    def leave(self, pods):
        for pod in pods:
            self.on.pop(pod, None)

    @rule(pod=PODS, request=st.tuples(AMOUNT, AMOUNT, st.just(1)))
    def resize(self, pod, request):
        allowed = pod in self.pods
        if allowed and pod in self.on:
            growth = [new - old for new, old in zip(request, self.pods[pod], strict=True)]
            allowed = all(more <= max(free, 0) for more, free in zip(growth, self.free(self.on[pod]), strict=True))
        if self.attempt(allowed, self.state.update_pod, self.state.pod_row(pod), request=list(request)):
            self.pods[pod] = list(request)

    @rule(node=NODES, room=st.tuples(AMOUNT, AMOUNT, AMOUNT), other=AMOUNT, code=CODES)
    def change_node(self, node, room, other, code):
        if node in self.rooms:
            row = self.state.node_row(node)
            self.state.update_node(row, allocatable=room)
            self.state.set_foreign(row, [other, 0, 0])
            self.state.set_node_state(row, code)
            self.rooms[node], self.foreign[node] = list(room), [other, 0, 0]

    @invariant()
    def the_state_is_as_the_model_says(self) -> None:
        state = self.state
        state.check()
        assert [state.pod_name(row) for row in np.flatnonzero(state.pod_alive)] == sorted(self.pods, key=state.pod_row)
        assert {state.pod_name(row) for row in state.pending_rows()} == self.waits
        for pod in self.pods:
            node = int(state.pod_node[state.pod_row(pod)])
            assert (None if node < 0 else state.node_name(node)) == self.on.get(pod)
        # Conservation: what all nodes hold is what the bound pods and the foreign usage ask for.
        alive = state.requested[:, state.node_alive].sum(axis=1)
        assert alive.tolist() == total([*(self.pods[pod] for pod in self.on), *self.foreign.values()])

    @invariant()
    def the_journal_rebuilds_it(self) -> None:
        state = self.state
        where, pods, nodes = replayed(state.journal, state.node_count, state.pod_count)
        assert where == state.pod_node.tolist()
        assert (pods, nodes) == (state.pod_alive.tolist(), state.node_alive.tolist())


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


# -- threads -----------------------------------------------------------------------


def test_eight_threads_at_once_leave_it_whole():
    state = ClusterState(clock=Ticks())
    state.add_nodes(Names(prefix="n", count=4), np.tile([[10**6], [10**6], [10**6]], 4))
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            start.wait()
            for turn in range(60):
                rows = state.add_pods([f"{number}-{turn}-{i}" for i in range(3)], [[1, 2, 1]] * 3)
                state.bind(rows, (rows + number) % 4)
                state.unbind(rows[0])
                state.finish(rows[1])
                state.remove_pods(rows[2])
                assert rows[0] in state.pending_rows()
                assert state.pod_row(f"{number}-{turn}-0") == rows[0]
                assert len(state.pod_columns()) >= 1
                node = state.add_nodes([f"{number}-{turn}"], ROOM_COLUMN)[0]
                state.remove_node(node)
        except BaseException as failure:  # an assertion in a thread must fail the test
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    state.check()
    assert not state.requested.any()
    assert len(state.pending_rows()) == 8 * 60
    assert (state.pod_count, state.node_count) == (8 * 60 * 3, 4 + 8 * 60)
    assert replayed(state.journal, state.node_count, state.pod_count)[0] == state.pod_node.tolist()


def test_two_threads_never_bind_beyond_capacity():
    state = state_of(nodes=1, pods=40)
    state.update_node(0, allocatable=[10**6, 10**6, 10])
    bound: list[int] = []

    def work(first: int) -> None:
        for row in range(first, 40, 4):
            try:
                state.bind(row, 0)
            except NotEnoughCapacity:
                continue
            bound.append(row)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bound) == 10
    assert state.pods_on(0).tolist() == sorted(bound)
    state.check()


# -- what columns are made of ------------------------------------------------------


def test_codes():
    column = Codes.of(["b", None, "a", "b"])
    assert (column.values, column.codes.tolist(), len(column)) == (("b", "a"), [0, -1, 1, 0], 4)
    assert [column[row] for row in range(4)] == ["b", None, "a", "b"]
    assert column.to_array().tolist() == ["b", None, "a", "b"]
    assert column.take(np.array([3, 1])).to_array().tolist() == ["b", None]
    assert column.equals("b").tolist() == [True, False, False, True]
    assert not column.equals("none").any()
    taints = Codes.of([(Taint("a"),), (), None])
    assert taints.to_array().tolist() == [(Taint("a"),), (), None]
    assert Codes.constant("x", 2).to_array().tolist() == ["x", "x"]
    assert Codes.of([]).to_array().tolist() == []


def test_names_are_listed_generated_or_picked():
    listed, made = Names(["a", "b", "c"]), Names(prefix="pod-", count=12)
    picked = made.take(np.array([11, 0, 3]))
    assert list(picked) == ["pod-11", "pod-0", "pod-3"] == picked.to_array().tolist()
    assert (made[-1], made[2:4], listed[-3], picked[-1]) == ("pod-11", ["pod-2", "pod-3"], "a", "pod-3")
    assert [made.row(name) for name in ("pod-7", "pod-07", "pod-12", "pod-", "pod-x", "x", "pod-٣")] == [7] + [-1] * 6
    assert [picked.row(name) for name in ("pod-3", "pod-4")] == [2, -1]
    assert [listed.row(name) for name in ("c", "d")] == [2, -1]
    assert list(picked.take(np.array([2, 2]))) == ["pod-3", "pod-3"]
    assert repr(made) == "Names(pod-0, pod-1, pod-2, ...; 12 in all)"
    for names in (listed, made, picked):
        with pytest.raises(IndexError):
            names[len(names)]
        assert names.repeated() is None
    assert picked.take(np.array([1, 1])).repeated() == "pod-0"
    assert Names(["a", "b", "a"]).repeated() == "a"
    assert Names(["a", "b", "a"]).take(np.array([0, 1])).repeated() is None


def test_a_column_grows_and_keeps_what_it_has():
    column = Column(np.int64, fill=-1, leading=(2,))
    for count in (3, 0, 1, 40):
        column.extend(count, np.full((2, count), count))
    column.extend(2)
    assert column.view.shape == (2, 46)
    assert column.view[0].tolist() == [3] * 3 + [1] + [40] * 40 + [-1] * 2


def test_names_come_in_batches():
    table = NameTable()
    table.extend(Names(prefix="n", count=3))
    assert table.snapshot() is table.snapshot()
    table.extend(Names(["x", "n1"]))
    assert (len(table), table[1], table[4]) == (5, "n1", "n1")
    assert [table.row(name) for name in ("n1", "n2", "y")] == [4, 2, -1]
    assert list(table.snapshot()) == ["n0", "n1", "n2", "x", "n1"]
    assert list(table.take(np.array([4, 0]))) == ["n1", "n0"]
