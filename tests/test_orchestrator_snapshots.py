"""A long life of orchestrators: their log is compacted, and who was away comes back by a snapshot."""

from __future__ import annotations

import pytest

from k8slab.application import ConsensusManager
from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler
from k8slab.domain.models import AutoScalingConfig
from k8slab.domain.probe_times import Probes
from k8slab.domain.raft import MemoryLogStore
from k8slab.errors import InputError, StateConflict
from k8slab.facade import KubernetesOrchestrator
from k8slab.infrastructure import LocalNetwork, VirtualClock
from tests.orchestrators import Trio, deploy_once, mind, pod, told

EVERY = 40


def busy(trio, rounds):
    """Leave traces in everything that a snapshot must hold."""
    for number in range(rounds):
        trio.ask(lambda leader, number=number: leader.schedule_pod(pod(f"p-{number}")))
        trio.ask(deploy_once("web", 2 + number % 3))
        trio.health.report_failure(f"p-{number}")
        trio.run(5)


def configured(trio):
    leader = trio.leader()
    leader.deploy("web", pod("t"), 2)
    leader.protect("budget", "web", min_available=1)
    leader.autoscale("web", HorizontalPodAutoscaler(min_replicas=2, max_replicas=6))
    leader.configure_autoscaling(AutoScalingConfig("c", "batch", "default", min_replicas=0, max_replicas=3))
    trio.run(1)
    leader.drain("node-2")


def alike(trio):
    trio.run(10)
    minds = [mind(member) for member in trio.members.values()]
    assert minds[0] == minds[1] == minds[2]
    for member in trio.members.values():
        assert told(member) == told(trio.leader())
        assert member.get_healing_events() == trio.leader().get_healing_events()
        member.pods.state.check()


def first_index(member):
    return member.get_raft_state().log[0]["index"]


@pytest.mark.parametrize("how", ["cut off", "killed"])
def test_a_member_that_was_away_over_a_compaction_comes_back_by_a_snapshot(how):
    trio = Trio(snapshot_every=EVERY)
    configured(trio)
    trio.run(1)
    away = next(name for name, member in trio.members.items() if not member.leads)
    before = trio.members[away].get_raft_state().commit_index
    if how == "cut off":
        trio.network.cut(away)
    else:
        trio.kill(away)
    busy(trio, 8)
    assert first_index(trio.leader()) > before + 1, "nothing was compacted that it lacks"
    if how == "cut off":
        trio.network.heal()
    else:
        trio.start(away)
    trio.run(15)
    assert first_index(trio.members[away]) > before, "it was brought up entry by entry"
    alike(trio)
    # What it holds now it can go on with.
    for name, member in list(trio.members.items()):
        if name != away and member.leads:
            trio.kill(name)
    trio.run(30)
    assert trio.ask(lambda leader: leader.schedule_pod(pod("after")))
    with pytest.raises(InputError, match="'web' has an autoscaler"):
        trio.leader().autoscale("web", HorizontalPodAutoscaler(min_replicas=2, max_replicas=6))
    with pytest.raises(InputError, match="two disruption budgets are named 'budget'"):
        trio.leader().protect("budget", "web", min_available=1)


def test_all_may_begin_again_from_their_snapshots():
    trio = Trio(snapshot_every=EVERY)
    configured(trio)
    busy(trio, 6)
    trio.leader().heal_as_kubernetes()
    trio.run(60)
    alike(trio)
    before = told(trio.leader())
    for name in list(trio.members):
        trio.kill(name)
    for name in trio.stores:
        assert trio.stores[name].base_index > 0, "a log kept whole"
        trio.start(name)
    trio.run(30)
    alike(trio)
    assert told(trio.leader())[0] == before[0]
    with pytest.raises(StateConflict, match="looked after as in Kubernetes already"):
        trio.leader().heal_as_kubernetes()


def test_a_snapshot_that_is_lost_is_sent_again():
    class Lossy(LocalNetwork):
        """Loses the first snapshots."""

        lost = 0

        def send(self, envelope):
            if envelope.message.kind == "snapshot" and self.lost < 2:
                self.lost += 1
                return
            super().send(envelope)

    trio = Trio(Lossy(), snapshot_every=EVERY)
    away = next(name for name, member in trio.members.items() if member is not trio.leader())
    trio.network.cut(away)
    busy(trio, 8)
    trio.network.heal()
    trio.run(40)
    assert trio.network.lost == 2
    alike(trio)


def test_the_log_of_a_long_lived_cluster_stays_short():
    trio = Trio(snapshot_every=EVERY)
    trio.run(300)
    for name, member in trio.members.items():
        decided = member.get_raft_state().commit_index
        assert decided > 4 * EVERY
        # A turn of all controllers may come between two looks.
        assert len(member.get_raft_state().log) <= 2 * EVERY
        assert len(trio.stores[name].entries) <= 2 * EVERY
        assert len(member._intents._outcomes) <= 1
        assert not member._intents._committed
    alike(trio)


def test_the_log_of_one_alone_stays_short_too():
    store = MemoryLogStore()
    alone = KubernetesOrchestrator(clock=VirtualClock(), store=store, snapshot_every=10)
    for number in range(95):
        assert alone.append_log_entry({"number": number})
    numbers = [entry["number"] for entry in alone.get_raft_state().log]
    assert numbers == list(range(85, 95))
    assert alone.get_raft_state().commit_index == 95
    assert len(store.entries) == len(numbers)
    again = KubernetesOrchestrator(clock=VirtualClock(), store=store, snapshot_every=10)
    assert again.append_log_entry({"number": 95})
    assert [entry["number"] for entry in again.get_raft_state().log] == [*numbers, 95]


def test_whoever_makes_something_of_entries_compacts_when_that_is_due():
    store, done = MemoryLogStore(), []
    manager = ConsensusManager("n", store=store, apply=done.append, snapshot_every=4)
    manager.start_consensus_protocol()
    for number in range(4):
        assert not manager.compact(lambda: list(done))
        assert manager.append_log_entry({"number": number})
    assert not manager.compact(lambda: None), "it could not say what it has"
    assert manager.compact(lambda: list(done))
    assert not manager.compact(lambda: list(done))
    manager.append_log_entry({"number": 4})
    # The snapshot, and the entries behind it that are committed again.
    back = []
    again = ConsensusManager("n", store=store, apply=back.append, restore=back.extend, snapshot_every=4)
    again.start_consensus_protocol()
    again.append_log_entry({"number": 5})
    assert [entry["number"] for entry in back] == [0, 1, 2, 3, 4, 5]
    assert [entry["number"] for entry in again.get_raft_state().log] == [2, 3, 4, 5]


def test_nothing_that_an_object_has_in_mind_is_left_out_of_snapshots():
    trio = Trio()
    leader = trio.leader()
    leader.deploy("web", pod("t"), 2)
    leader.heal_as_kubernetes(probes={"web": Probes()})
    live, drains = leader._live, leader.healer._draining
    given = {"_state", "_sink"}
    others = {
        live.evictor: {"budgets", "_grace_ns", "_retry_ns", "_daemons"},
        live.budgets: {"_scales"},
        live._health._monitor: {"_heartbeats", "_detector", "_cordoned", "_watchers", "_truth"},
        live._health._lifecycle: {"_evictor", "_rates", "_threshold", "_period_ns", "_daemons"},
        live._health.prober: {"_restarts", "_probes_of", "_startup"},
        live._health.restarts: {"_backoff", "_policy_of", "_move_after", "_move"},
    }
    for thing, own in others.items():
        assert vars(thing).keys() - set(thing.MEMORY) - given - set(getattr(thing, "VERBS", ())) == own
    assert type(drains.evictor) is type(live.evictor)
    parts = leader._intents._image()["parts"]
    assert parts["state"].keys() == vars(leader.pods.state).keys() - {"_clock", "_intents", "lock", "schema"}
    assert parts["records"].keys() == {"pods", "nodes", "claims", "stranded"}
    # Who asks whom, or what is read off the state by whoever comes to lead.
    assert vars(live.workloads).keys() - parts["workloads"].keys() == {
        "_state", "_sink", "_intents", "_again", "_born", "_dirty", "_members", "_gone", "_refused", "_retry_ns",
        "_seen",
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "many"])
def test_a_wrong_snapshot_every_is_refused(wrong):
    with pytest.raises(InputError, match=r"snapshot_every=.*: wanted a whole number of entries, 1 or more"):
        KubernetesOrchestrator(clock=VirtualClock(), snapshot_every=wrong)
