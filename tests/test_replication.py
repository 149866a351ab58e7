"""Replication by the million commits against the object core, the published throughput, and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from k8slab.domain.raft import RaftConfig
from k8slab.errors import InputError
from k8slab.simulation.raft_faults import MS, SECOND, ClockModel, DiskModel, NetworkModel, Request, Schedule
from k8slab.simulation.raft_world import World
from k8slab.simulation.replication import ReplicationSetup, log_cabin, run_replication


def run(writes=100, **setup):
    return run_replication(ReplicationSetup(**setup), writes=writes)


# -- by hand ---------------------------------------------------------------------


def test_a_commit_takes_a_way_there_and_back():
    """The first one finds the leader probing: it waits until the followers have met its own entry."""
    done = run(delay=(1.0, 1.0))
    assert done.latency.tolist() == [4.0] + [2.0] * 99
    assert done.answered_at.tolist() == [4.0 + 2.0 * n for n in range(100)]
    assert done.throughput == pytest.approx(500.0)


def test_the_disk_counts_once_when_leader_and_followers_write_at_the_same_time():
    at_once = run(delay=(1.0, 1.0), disk=(3.0, 3.0))
    one_after_the_other = run(delay=(1.0, 1.0), disk=(3.0, 3.0), parallel_write=False)
    assert at_once.quantile(0.5) == pytest.approx(5.0)
    assert one_after_the_other.quantile(0.5) == pytest.approx(8.0)


def test_a_single_member_waits_for_its_disk_alone():
    assert run(members=1, disk=(3.0, 3.0)).latency[1:].tolist() == [3.0] * 99


def test_writes_that_come_while_the_disk_writes_go_together():
    """The first of ten finds the disk idle, the other nine wait and go together: ten in two writes, and so on."""
    alone, together = (run(members=1, clients=clients, disk=(1.0, 1.0), writes=1000) for clients in (1, 10))
    assert together.throughput == pytest.approx(5 * alone.throughput, rel=0.02)


def test_time_to_the_client_and_the_leaders_own_time_are_added():
    done = run(delay=(1.0, 1.0), client_delay=0.5, request_cpu=0.25, message_cpu=0.125)
    # The client's way and the request; the first of two messages, there, the follower's answer, and back; and the
    # followers are told of the commit before the client is.
    assert done.quantile(0.5) == pytest.approx(1.0 + 0.25 + 0.125 + 2.0 + 0.125 + 2 * 0.125)


# -- against the object core -----------------------------------------------------


class _Steady(World):
    """The laboratory with clients that know who leads, as the model's do."""

    def _ask(self, client, serial):
        client.server = self.leader
        super()._ask(client, serial)


def object_latencies(seeds, setup, each=60):
    """Latencies in ms under the laboratory's clock, of the writes that come when the cluster is in its stride."""
    names = tuple(f"n{number}" for number in range(setup.members))
    network = NetworkModel(tuple(round(ms * MS) for ms in setup.delay), setup.loss)
    disk = DiskModel(tuple(round(ms * MS) for ms in setup.disk))
    requests = tuple(
        Request(SECOND, client, "put", f"key-{client}", number)
        for client in range(setup.clients)
        for number in range(each)
    )
    for seed in seeds:
        clocks = ClockModel(tick_ns=round(setup.heartbeat * MS))
        schedule = Schedule(names, seed, network, disk, clocks, requests)
        world = _Steady(schedule, RaftConfig(election_ticks=25, check_quorum=True, pre_vote=True), watch=False)
        world.run_until(4 * SECOND)
        answers = [operation for operation in world.history if operation.returned is not None]
        yield from ((one.returned - one.invoked) / MS for one in answers[len(answers) // 2 :: 7])


SETUPS = {
    "plain": ReplicationSetup(),
    "disk": ReplicationSetup(disk=(1.0, 6.0), clients=4),
    "five": ReplicationSetup(members=5, clients=8, disk=(0.0, 2.0), delay=(2.0, 9.0)),
    "loss": ReplicationSetup(clients=3, loss=0.1),
    "ten": ReplicationSetup(clients=10, delay=(0.5, 1.5), disk=(1.0, 2.0)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name != "loss")) for name in SETUPS]
)
def test_the_compiled_model_is_distributed_as_the_object_core(name):
    """Two-sample Kolmogorov-Smirnov over writes far enough apart to be independent."""
    setup = SETUPS[name]
    slow = list(object_latencies(range(60 // setup.clients + 5), setup))
    fast = np.concatenate([run_replication(setup, writes=2000, seed=seed).latency[100::7] for seed in range(20)])
    assert ks_2samp(slow, fast).pvalue > 0.01
    # And the test can tell: a tenth more would not pass.
    assert ks_2samp(slow, fast * 1.1).pvalue < 0.01


# -- the thesis' figure (ch. 10) ---------------------------------------------------

# Thousand writes a second with 1 to 5 servers, by client threads.
MEASURED = {1: (1.5, 1.05, 1.07, 1.03, 1.02), 100: (29.5, 21.0, 19.6, 16.7, 14.6)}


@pytest.mark.parametrize("clients", MEASURED)
def test_throughput_is_as_the_thesis_measured(clients):
    for members, published in enumerate(MEASURED[clients], 1):
        assert log_cabin(members, clients).throughput / 1000 == pytest.approx(published, rel=0.1)


def test_ten_threads_write_less_than_the_model_has_them():
    """Known, and not for want of agreement with the core ("ten" above): costs that are constant don't explain them.

    Measured, a write of ten threads takes twice what one thread's takes (2.1 and 1.0 ms), of one server 1.7 times.
    Waiting for the write and the round before explains half of that. One append at a time to a follower leaves it as it
    is; 0.02 ms of disk a KiB brings one server to what was measured, and takes a fifth from a hundred threads.
    """
    for members, published in enumerate((8.3, 4.8, 5.2, 4.8, 4.8), 1):
        assert 1.1 < log_cabin(members, 10).throughput / 1000 / published < 1.45


def test_latency_is_as_the_thesis_measured():
    assert log_cabin(1, 1).mean == pytest.approx(0.7, abs=0.05)
    for members in (2, 3, 4, 5):
        assert log_cabin(members, 1).mean == pytest.approx(1.0, abs=0.05)


def test_the_shapes_of_the_thesis_figure():
    one = [log_cabin(members, 1).throughput for members in (2, 3, 4, 5)]
    assert max(one) < 1.05 * min(one)
    assert 1 - log_cabin(5, 100).throughput / log_cabin(3, 100).throughput == pytest.approx(0.25, abs=0.07)
    saved = log_cabin(3, 1, parallel_write=False).mean - log_cabin(3, 1).mean
    assert saved == pytest.approx(0.25, abs=0.05)  # one durable write of 1 KiB


# -- properties --------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**63), members=st.integers(1, 7), clients=st.integers(1, 20),
    loss=st.sampled_from([0.0, 0.1, 0.5]), disk=st.sampled_from([(0.1, 0.1), (0.0, 4.0)]),
    max_inflight=st.sampled_from([1, 2, 256]), parallel_write=st.booleans(),
)  # fmt: skip
@settings(max_examples=40)
def test_every_run_is_a_function_of_its_seed_and_answers_in_order(seed, clients, **parts):
    setup = ReplicationSetup(clients=clients, **parts)
    one, other = (run_replication(setup, writes=200, seed=seed) for _ in range(2))
    assert one.latency.tolist() == other.latency.tolist()
    assert len(one.latency) == 200
    assert (np.diff(one.answered_at) >= 0).all()
    # An entry needs the slower of its own write and a follower's way, and no client waits for nothing.
    least = setup.disk[0] if setup.members == 1 else 2 * setup.delay[0] + setup.disk[0]
    assert (one.latency >= least - 1e-9).all()
    # Closed loop: no more in flight than there are clients.
    begun = one.answered_at - one.latency
    assert all((begun <= at).sum() - (one.answered_at <= at).sum() <= clients for at in one.answered_at[::20] - 1e-9)


def test_time_that_is_up_ends_it():
    done = run_replication(ReplicationSetup(), writes=1000, horizon=100.0)
    assert 5 < len(done.latency) < 60
    assert done.answered_at[-1] <= 100.0


def test_frames_have_a_row_a_write():
    frame = run(writes=7).to_frame()
    assert list(frame) == ["write", "latency_ms", "answered_ms"]
    assert frame["write"].tolist() == list(range(7))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"members": 0}, "1 to 63"),
        ({"clients": 0}, "1 to 1000"),
        ({"delay": (5.0, 1.0)}, "low <= high"),
        ({"disk": (0.0, float("inf"))}, "both finite"),
        ({"request_cpu": -1.0}, "request_cpu=-1.0"),
        ({"loss": 1.0}, "probability below 1"),
        ({"max_inflight": 0}, "1 to 1000"),
        ({"members": 1}, "for ever at time 0"),
    ],
)
def test_a_setup_that_cannot_be_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        ReplicationSetup(**wrong)


def test_no_writes_are_refused():
    with pytest.raises(InputError, match="two at least"):
        run(writes=1, disk=(1.0, 1.0))
