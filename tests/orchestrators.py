"""Three orchestrators in one process, under one virtual clock: what the tests of a cluster share."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from enum import Enum

import numpy as np

from k8slab.domain.models import Pod, PodPhase
from k8slab.domain.raft import MemoryLogStore
from k8slab.domain.raft.errors import NotLeader
from k8slab.errors import UnknownName
from k8slab.facade import OWN_NODES, KubernetesOrchestrator
from k8slab.infrastructure import LocalNetwork, ReportedHealth, VirtualClock
from k8slab.state.journal import Journal

NAMES = ("a", "b", "c")


class Killed(BaseException):
    """The leader's process ends here."""


class Fatal(LocalNetwork):
    """Ends a member at the n-th message that it would send, counted from when it is armed."""

    victim, left = "", -1
    sent = 0

    def send(self, envelope):
        if envelope.message.source == self.victim:
            self.sent += 1
            if self.left == 0:
                self.leave(self.victim)
                raise Killed
            self.left -= 1
        super().send(envelope)


class Trio:
    """Three members under one virtual clock and one source of health.

    Raft's time passes every half second, and in the last of each `run` and every 5 s each is stepped.
    """

    def __init__(self, network=None, names=NAMES, store=MemoryLogStore, **options):
        self.options = options
        self.clock, self.network = VirtualClock(), network if network is not None else LocalNetwork()
        self.health = ReportedHealth(beating=OWN_NODES)
        self.stores = {name: store() for name in names}
        self.members = {}
        for name in names:
            self.start(name)

    def start(self, name):
        self.members[name] = KubernetesOrchestrator(
            name, peers=NAMES, network=self.network, clock=self.clock, health=self.health, store=self.stores[name],
            **self.options,
        )  # fmt: skip

    def kill(self, name):
        self.network.leave(name)
        del self.members[name]

    def run(self, seconds):
        ticks = round(2 * seconds)
        for tick in range(1, ticks + 1):
            self.clock.advance(0.5)
            for name, member in list(self.members.items()):
                try:
                    member.step() if tick == ticks or tick % 10 == 0 else member.consensus.pass_time()
                except Killed:
                    del self.members[name]

    def leader(self):
        for _ in range(60):
            leading = [member for member in self.members.values() if member.leads]
            if leading:
                return max(leading, key=lambda member: member.consensus.standing[1])
            self.run(1)
        raise AssertionError("nobody leads after a minute")

    def ask(self, what):
        """As a client does: ask whoever leads, and if it can't be said whether that was done, ask again."""
        for _ in range(100):
            leader = self.leader()
            try:
                return what(leader)
            except Killed:
                del self.members[leader.consensus.member_id]
            except NotLeader:
                self.run(0.5)
        raise AssertionError("never decided")


def pod(name, **fields):
    return Pod(name, name, "default", "", PodPhase.PENDING, "nginx:1.27", **{"cpu_request": 0.25, **fields})


def told(member):
    """All that a member holds: pods and nodes as values, in order."""
    member.get_cluster_stats()
    return member.pods.list_pods(), member.nodes.list_nodes()


def mind(member):
    """Everything that a member keeps alike with the others, as it goes into a snapshot."""
    member.get_cluster_stats()
    return plain(member._intents._image()["parts"])


# What only who leads keeps count of, and what is looked up anew from time to time.
OWN = {
    "_made", "_pods", "_starts", "_succeeded", "_failed", "_bound", "_all",
    "_values", "_listed", "last_scale_time",
}  # fmt: skip


def plain(value):
    """Values that `==` compares whole: arrays as lists, objects as what they hold."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in OWN}
    if isinstance(value, list | tuple | deque):
        return [plain(one) for one in value]
    if isinstance(value, Journal):
        return plain(value.columns()), value.entries
    if isinstance(value, float) and np.isnan(value):
        return "nan"
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tolist()
    if value is None or isinstance(value, set | frozenset | str | int | float | Enum | datetime):
        return value
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return type(value).__name__, plain({**getattr(value, "__dict__", {}), **{s: getattr(value, s) for s in slots}})


def deploy_once(name, replicas):
    def ask(leader):
        try:
            leader.scale(name, replicas)
        except UnknownName:
            leader.deploy(name, pod("template"), replicas)

    return ask
