"""GPU devices in the state: who holds which, as pods come and go; shares, whole ones, memory and slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import k8slab
from k8slab.datasets import Cluster, Workload
from k8slab.domain.columns import Codes
from k8slab.domain.devices import SLICE_LABEL, SLICING_LABEL, SLICINGS, device_capacity, fullest, idlest
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, NotEnoughCapacity
from k8slab.experiments.relaxed_pod import as_it_is
from k8slab.policies import policy
from k8slab.state import ClusterState
from tests import naive_gpu as naive

GPUS = ResourceSchema.of(["gpu"])
FINISHED = 2
WANTS = st.sampled_from([0, 250, 400, 500, 1000, 2000, 3000])


def gpu_state(*gpus: int, schema: ResourceSchema = GPUS, **columns: Any) -> ClusterState:
    """Nodes n0, n1 ... with so many GPUs and plenty of the rest."""
    state = ClusterState(schema)
    amounts = [[10**6] * len(gpus), [10**6] * len(gpus), [99] * len(gpus), [1000 * count for count in gpus]]
    state.add_nodes([f"n{i}" for i in range(len(gpus))], amounts, **columns)
    return state


def add(state: ClusterState, *wants: int, **columns: Any) -> np.ndarray:
    """Pods that ask so many milli."""
    first = state.pod_count
    names = [f"p{first + i}" for i in range(len(wants))]
    return state.add_pods(names, [[1, 1, 1, want] for want in wants], **columns)


def held(state: ClusterState, pod: int) -> list[int]:
    return state.pod_devices.amounts[pod].tolist()


# -- by hand ---------------------------------------------------------------------------


def test_a_share_goes_to_the_fullest_that_has_it_and_comes_back():
    state = gpu_state(2)
    pods = add(state, 600, 500, 300, 400)
    state.bind(pods[:3], [0, 0, 0])
    assert [held(state, pod) for pod in pods] == [[600, 0], [0, 500], [300, 0], [0, 0]]
    assert state.node_devices.used.tolist() == [[900, 500]]
    state.bind(pods[3], 0)
    assert held(state, pods[3]) == [0, 400]
    state.unbind(pods[0])
    state.finish(pods[1])
    state.remove_pods(pods[2])
    assert state.node_devices.used.tolist() == [[0, 400]]
    state.check()
    bound = [change for change in state.changes(0) if change.verb == "BOUND"]
    assert [change.devices.tolist() for change in bound] == [[0b01, 0b10, 0b01], [0b10]]
    assert state.journal.to_frame().query("verb == 'BOUND'")["value"].tolist() == [1, 2, 1, 2]


def test_whole_devices_are_the_first_that_are_free():
    state = gpu_state(4)
    pods = add(state, 100, 2000, 1000)
    state.bind(pods, [0, 0, 0])
    assert [held(state, pod) for pod in pods] == [[100, 0, 0, 0], [0, 1000, 1000, 0], [0, 0, 0, 1000]]


def test_where_no_single_device_will_do_the_idlest_are_held():
    """A policy that tells devices apart by nothing may put a pod there; so may a cluster that was observed."""
    state = gpu_state(2)
    pods = add(state, 600, 600, 500)
    state.bind(pods, [0, 0, 0])
    assert held(state, pods[2]) == [400, 100]
    state.remove_pods(pods[1])
    assert state.node_devices.used.tolist() == [[1000, 100]]
    state.check()


def test_a_policy_says_which_devices():
    state = gpu_state(2)
    pods = add(state, 300, 300)
    state.bind(pods, [0, 0], devices=[[0, 300], [300, 0]])
    assert [held(state, pod) for pod in pods] == [[0, 300], [300, 0]]


def test_devices_that_are_not_free_or_not_asked_are_refused_and_nothing_changes():
    state = gpu_state(2)
    pods = add(state, 800, 300, 0)
    state.bind(pods[0], 0, devices=[[0, 800]])
    before = state.node_devices.used.copy(), state.requested.copy(), len(state.journal)
    with pytest.raises(NotEnoughCapacity, match=r"300 units of device 1 of node row 0: 200 of 1,000 are free"):
        state.bind(pods[1], 0, devices=[[0, 300]])
    with pytest.raises(InputError, match=r"devices\[1\] is \[5, 0\]; wanted units of devices that the pod asks, 0"):
        state.bind(pods[1:], [0, 0], devices=[[0, 0], [5, 0]])
    with pytest.raises(InputError, match=r"devices have shape \(1, 3\); wanted \(1, 2\)"):
        state.bind(pods[1], 0, devices=[[0, 0, 300]])
    assert np.array_equal(before[0], state.node_devices.used)
    assert np.array_equal(before[1], state.requested)
    assert before[2] == len(state.journal)
    state.check()


def test_a_pod_that_grows_and_a_node_that_changes():
    state = gpu_state(1)
    pods = add(state, 300)
    state.bind(pods, [0])
    state.update_pod(int(pods[0]), request=[1, 1, 1, 700])
    assert held(state, pods[0]) == [700]
    state.update_node(0, allocatable=[10**6, 10**6, 99, 3000])
    assert state.node_devices.capacity.tolist() == [[1000, 1000, 1000]]
    state.update_node(0, allocatable=[10**6, 10**6, 99, 0])
    assert state.node_devices.capacity.tolist() == [[0, 0, 0]]
    assert state.node_devices.used.tolist() == [[700, 0, 0]]
    state.check()
    state.remove_pods(pods)
    assert not state.node_devices.used.any()


def test_kubernetes_gpus_are_whole_and_a_state_without_gpus_has_no_columns():
    state = gpu_state(2, schema=ResourceSchema.of(["nvidia.com/gpu"]))
    state.update_node(0, allocatable=[10**6, 10**6, 99, 2])
    pods = add(state, 1, 1)
    state.bind(pods, [0, 0])
    assert [held(state, pod) for pod in pods] == [[1000, 0], [0, 1000]]
    assert ClusterState().node_devices.capacity.shape == (0, 0)


def test_memory_of_gpus_is_shared_like_milli():
    """64 GiB over 4 GPUs are 16 of each; who asks 10 gets them of one."""
    schema = ResourceSchema.of(["aliyun.com/gpu-mem", "aliyun.com/gpu-count"])
    state = ClusterState(schema)
    state.add_nodes(["n"], [[10**6], [10**6], [99], [64], [4]])
    pods = state.add_pods([f"p{i}" for i in range(3)], [[1, 1, 1, 10, 0], [1, 1, 1, 10, 0], [1, 1, 1, 6, 0]])
    state.bind(pods, [0, 0, 0])
    assert state.node_devices.capacity.tolist() == [[16] * 4]
    assert [held(state, pod) for pod in pods] == [[10, 0, 0, 0], [0, 10, 0, 0], [6, 0, 0, 0]]


def test_check_sees_what_is_wrong():
    state = gpu_state(1)
    pods = add(state, 300)
    state.bind(pods, [0])
    state.node_devices.used[0, 0] = 200
    with pytest.raises(AssertionError, match=r"device 0 of node row 0 should have 300 taken but the column says 200"):
        state.check()
    state.node_devices.used[0, 0] = 300
    state.unbind(pods)
    state.pod_devices.amounts[0, 0] = 5
    with pytest.raises(AssertionError, match=r"pod row 0 is on no node but holds \[5\]"):
        state.check()


# -- slices ---------------------------------------------------------------------------


def combinations(slicing):
    """The slow way: all sets of placed slices of a device, by their sorted profiles."""
    found, masks = set(), [(name, ((1 << size) - 1) << start) for name, (size, starts) in slicing.profiles.items()
                           for start in starts]

    def grow(first, taken, names):
        found.add(tuple(sorted(names)))
        for index in range(first, len(masks)):
            name, mask = masks[index]
            if not mask & taken:
                grow(index + 1, taken | mask, [*names, name])

    grow(0, 0, [])
    return found


def test_what_fits_on_a_sliced_gpu():
    """As NVIDIA's manual lists them for the A100: seven of 1g, 3g with 4g, never two of 4g."""
    fit = combinations(SLICINGS["A100-40GB"])
    assert ("1g.5gb",) * 7 in fit
    assert ("1g.5gb",) * 8 not in fit
    assert ("3g.20gb", "4g.20gb") in fit
    assert ("3g.20gb", "3g.20gb") in fit
    assert ("4g.20gb", "4g.20gb") not in fit
    assert ("1g.5gb", "2g.10gb", "4g.20gb") in fit
    assert ("1g.5gb", "7g.40gb") not in fit


@pytest.mark.parametrize("kind", SLICINGS)
@given(data=st.data())
@settings(max_examples=40)
def test_slices_are_given_only_in_combinations_that_fit(kind, data):
    slicing, fit = SLICINGS[kind], combinations(SLICINGS[kind])
    taken, given_so_far, there = 0, [], {}
    for step in range(12):
        if there and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(there)))
            taken &= ~there.pop(gone)[1]
        name = data.draw(st.sampled_from(sorted(slicing.profiles)))
        bits = slicing.place(taken, name)
        if bits:
            assert not bits & taken
            there[step] = name, bits
            taken |= bits
        assert tuple(sorted(name for name, _ in there.values())) in fit
        given_so_far.append(bits)
    assert any(given_so_far)


def sliced_state(*profiles: str | None) -> tuple[ClusterState, np.ndarray]:
    """Two sliced GPUs on a node, and pods that ask these profiles."""
    state = gpu_state(2, labels={SLICING_LABEL: Codes.of(["A100-40GB"])})
    return state, add(state, *[125] * len(profiles), labels={SLICE_LABEL: Codes.of(profiles)})


def test_slices_in_the_state():
    state, pods = sliced_state("3g.20gb", "4g.20gb", "1g.5gb", "4g.20gb", None)
    state.bind(pods, [0] * 5)
    # 4g begins at slot 0 alone, which 3g has taken of the first GPU; of the second the other 4g finds it taken.
    assert state.pod_devices.slots.tolist() == [[0b1111, 0], [0, 0b1111], [0b10000, 0], [0, 0], [0b100000, 0]]
    assert state.pod_devices.amounts.tolist() == [[500, 0], [0, 500], [125, 0], [0, 0], [125, 0]]
    state.check()
    state.unbind(pods[0])
    state.unbind(pods[3])
    state.bind(pods[3], 0)
    assert state.pod_devices.slots[3].tolist() == [0b1111, 0]
    state.check()
    assert state.node_devices.slots.tolist() == [[0b111111, 0b1111]]


def test_policies_place_slices_as_the_state_holds_them():
    wanted = ["3g.20gb", "4g.20gb", "1g.5gb", "4g.20gb", "7g.40gb"]
    milli = [500, 500, 125, 500, 1000]
    cluster = Cluster.from_frame({"node": ["n"], "cpu": [64], "memory": ["64Gi"], "gpu_milli": [2000],
                                  f"label:{SLICING_LABEL}": ["A100-40GB"]})
    workload = Workload.from_frame({"pod": list("abcde"), "cpu": [1] * 5, "memory": ["1Gi"] * 5, "gpu_milli": milli,
                                    f"label:{SLICE_LABEL}": wanted})
    placement = k8slab.schedule(cluster, workload, "fgd-best-fit")
    assert placement.node_rows.tolist() == [0, 0, 0, -1, -1]
    assert "1 Insufficient free GPU devices" in str(placement.explain("d"))
    state = placement.state()
    state.check()
    assert state.pod_devices.slots[:3].tolist() == [[0b1111, 0], [0, 0b1111], [0b10000, 0]]


# -- any history, and what policies make of it --------------------------------------------


class History(RuleBasedStateMachine):
    """Pods come, go, grow and are bound; the naive twin is a list of free milli a node and a list a pod."""

    @initialize(gpus=st.lists(st.integers(0, 4), min_size=1, max_size=3))
    def begin(self, gpus):
        self.state = gpu_state(*gpus)
        self.free = [[1000] * count for count in gpus]
        self.held: dict[int, tuple[int, list[int]]] = {}

    @rule(wants=st.lists(WANTS, min_size=1, max_size=4), data=st.data())
    def come(self, wants, data):
        pods = add(self.state, *wants)
        nodes = [data.draw(st.integers(0, len(self.free) - 1)) for _ in wants]
        self.state.bind(pods, nodes, force=True)
        for pod, node, want in zip(pods.tolist(), nodes, wants, strict=True):
            self.held[pod] = node, self.naive(self.free[node], want)
            self.free[node] = [free - own for free, own in zip(self.free[node], self.held[pod][1], strict=True)]

    @staticmethod
    def naive(free: list[int], want: int) -> list[int]:
        milli, count = (want, 1) if want < 1000 else (1000, want // 1000)
        pod = naive.Pod(0, 0, milli, count, frozenset({0}))
        node = naive.Node(0, 0, list(free), 0)
        if want == 0:
            return [0] * len(free)
        if naive.naive_fits(node, pod):
            chosen = naive.naive_devices(node, pod)
            return [milli * (j in chosen) for j in range(len(free))]
        taken = [0] * len(free)
        for j in sorted(range(len(free)), key=lambda j: (-free[j], j)):
            taken[j] = min(want - sum(taken), free[j])
        return taken

    @rule(data=st.data(), how=st.sampled_from(["unbind", "finish", "remove_pods"]))
    def go(self, data, how):
        if self.held:
            pods = data.draw(st.lists(st.sampled_from(sorted(self.held)), min_size=1, max_size=3, unique=True))
            getattr(self.state, how)(np.array(pods))
            for pod in pods:
                node, own = self.held.pop(pod)
                self.free[node] = [free + back for free, back in zip(self.free[node], own, strict=True)]

    @rule(count=st.integers(0, 6))
    def another_node(self, count):
        amounts = [[10**6], [10**6], [99], [1000 * count]]
        self.state.add_nodes([f"n{self.state.node_count}"], amounts)
        self.free.append([1000] * count)

    @invariant()
    def as_the_twin_has_it(self):
        self.state.check()
        devices, pods = self.state.node_devices, self.state.pod_devices
        for node, free in enumerate(self.free):
            assert (devices.capacity - devices.used)[node].tolist() == free + [0] * (devices.used.shape[1] - len(free))
        for pod, (_, own) in self.held.items():
            assert pods.amounts[pod].tolist()[: len(own)] == own


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), WANTS)
def test_choosing_takes_what_was_asked_and_never_more_than_is_free(free, want):
    column, capacity = np.array(free), np.full(len(free), 1000)
    units = fullest(column, capacity, want)
    if units is not None:
        assert units.sum() == want
        assert (units <= column).all()
    assert idlest(column, want).sum() == min(want, sum(free))


def test_a_node_of_more_devices_than_bits_has_none_to_tell_apart():
    assert device_capacity(GPUS.names, np.array([[1], [1], [1], [64_000]])).shape == (1, 0)


@pytest.mark.parametrize("name", ["fgd", "fgd-best-fit", "fgd-gpu-packing"])
def test_a_policy_goes_on_from_the_devices_that_the_state_says(name):
    """Bound by hand in a way no rule would choose: the policy sees those devices, not ones that it works out."""
    state = gpu_state(2, 2)
    pods = add(state, 500, 500, 1000, 600)
    state.bind(pods[:2], [0, 0], devices=[[500, 0], [0, 500]])
    decided = policy(name).place(state.node_columns(), state.pod_columns(pods[2:]))
    assert decided.node_rows.tolist() == [1, 1]
    assert decided.devices.tolist() == [[1000, 0], [0, 600]]
    state.bind(pods[2:], decided.node_rows, devices=decided.devices)
    state.unbind(pods[:1])
    more = add(state, 1000)
    assert policy(name).place(state.node_columns(), state.pod_columns(more)).devices.tolist() == [[1000, 0]]
    state.check()


@pytest.mark.parametrize("name", ["fgd", "fgd-gpu-clustering", "fgd-random"])
def test_a_placements_state_holds_the_devices_that_the_policy_chose(name):
    cluster, workload = k8slab.datasets.openb()
    placement = k8slab.schedule(cluster, workload.take(np.arange(0, 400)), name, seed=3)
    state = placement.state()
    state.check()
    width = placement.devices.shape[1]
    assert state.pod_devices.amounts[:, :width].tolist() == placement.devices.tolist()
    frame = placement.to_frame()
    row = int(np.argmax((placement.devices > 0).sum(axis=1) > 1))
    assert frame["gpu_index"][row] == "-".join(map(str, np.flatnonzero(placement.devices[row])))


def test_what_would_let_a_pod_run_is_asked_of_the_devices_as_they_are():
    cluster = Cluster.from_frame({"node": ["n"], "cpu": [64], "memory": ["64Gi"], "gpu_milli": [2000]})
    asked = {"pod": list("abc"), "cpu": [1] * 3, "memory": ["1Gi"] * 3, "gpu_milli": [600, 600, 500]}
    placement = k8slab.schedule(cluster, Workload.from_frame(asked), "fgd-best-fit")
    assert placement.node_rows.tolist() == [0, 0, -1]
    there = as_it_is(placement.snapshot(), 2).bound()
    assert there.devices.amounts.tolist() == [[600, 0], [0, 600]]
    assert "n) if the policy had no filter GpuDevices" in str(placement.explain("c").smallest_change())


def test_what_would_let_a_pod_of_several_gpus_run():
    cluster = Cluster.from_frame({"node": ["n"], "cpu": [64], "memory": ["64Gi"], "gpu_milli": [2000]})
    asked = {"pod": list("ab"), "cpu": [1] * 2, "memory": ["1Gi"] * 2, "gpu_milli": [500, 2000]}
    placement = k8slab.schedule(cluster, Workload.from_frame(asked), "fgd")
    assert "it asked for 0.5 less gpu" in str(placement.explain("b").smallest_change())
