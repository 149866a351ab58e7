"""What the ready pods of a workload have of its load: the kernel against the plain sum."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.columns import NEVER
from k8slab.domain.instants import SECOND_NS
from k8slab.kernels.pod_usage import share_loads
from k8slab.simulation.usage import Load

HOUR = 3600 * SECOND_NS
LOADS = [Load("3", swing=0.5, peak="8h"), Load("250m", swing=1), Load(0), Load("7", period="1h")]
PODS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 5 * HOUR, NEVER])), max_size=12)


@given(PODS, st.lists(st.integers(-1, len(LOADS) - 1), max_size=5), st.integers(0, 48 * HOUR))
def test_a_load_is_shared_evenly_by_the_ready_pods_of_its_workload(pods, load_of, now_ns):
    curve = np.array([(3000, 0.5, 8 * HOUR, 24 * HOUR), (250, 1, 14 * HOUR, 24 * HOUR), (0, 0, 14 * HOUR, 24 * HOUR),
                      (7000, 0, 14 * HOUR, HOUR)]).T.copy()  # fmt: skip
    # Rows of the state beside those of the workloads' pods.
    ready_ns = np.full(2 * len(pods), NEVER)
    rows = np.arange(len(pods)) * 2
    ready_ns[rows] = [at for _, at in pods]
    owners = np.array([owner for owner, _ in pods], dtype=np.int32)
    each = np.empty(len(load_of), dtype=np.int64)
    share_loads(curve, np.array(load_of, dtype=np.int64), rows, owners, ready_ns, now_ns, each)
    for owner, load in enumerate(load_of):
        ready = sum(at <= now_ns for who, at in pods if who == owner)
        total = int(LOADS[load].at(np.array([now_ns]))[0])
        assert each[owner] == (-1 if load < 0 else total // max(ready, 1))
