"""The invariants of a cluster's columns, recomputed the slow way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Names
from k8slab.domain.models import NODE_STATES, POD_PHASES
from k8slab.state.columns import StateColumns


def check(state: StateColumns) -> None:
    """Recompute every aggregate the slow way and assert that the columns agree."""
    with state.lock:
        _check_table("node", state.node_names, state.node_alive, state.node_state, len(NODE_STATES))
        _check_table("pod", state.pod_names, state.pod_alive, state.pod_phase, len(POD_PHASES))
        expected = state.foreign.copy()
        for pod_row, node_row in enumerate(state.pod_node.tolist()):
            if node_row >= 0:
                last = int(state.pod_last_node[pod_row])
                assert state.pod_alive[pod_row], f"pod row {pod_row} was removed but holds node row {node_row}"
                assert state.node_alive[node_row], f"pod row {pod_row} is on removed node row {node_row}"
                assert last == node_row, f"pod row {pod_row} is on node row {node_row}, was last bound to {last}"
                expected[:, node_row] += state.pod_request[pod_row]
        wrong = np.argwhere(expected != state.requested)
        for resource, node_row in wrong[:1].tolist():
            raise AssertionError(
                f"node row {node_row} should have {expected[resource, node_row]:,} of "
                f"{state.schema.columns[resource]} requested but the column says "
                f"{state.requested[resource, node_row]:,}"
            )
        missed = np.setdiff1d(np.flatnonzero(state.pod_node >= 0), state.ever_bound())
        assert not len(missed), f"pod row {missed[:1]} is bound, and nobody remembers that it was"
        promised = (state.pod_nominated >= 0) & (~state.pod_alive | (state.pod_node >= 0))
        assert not promised.any(), f"pod row {np.argmax(promised)} doesn't wait but was promised a node"
        assert (state.allocatable >= 0).all(), "a node has a negative amount allocatable"
        assert (state.foreign >= 0).all(), "a node has negative foreign usage"
        assert (state.pod_request >= 0).all(), "a pod requests a negative amount"


def _check_table(kind: str, names: Names, alive: npt.NDArray[np.bool_], code: npt.NDArray[np.int8], codes: int) -> None:
    assert len(names) == len(alive) == len(code), f"{len(names)} names of {kind}s, {len(alive)} rows"
    assert ((code >= 0) & (code < codes)).all(), f"a {kind}'s code is not one of 0..{codes - 1}"
    repeated = names.take(np.flatnonzero(alive)).repeated()
    assert repeated is None, f"two {kind}s have the name {repeated!r}"
