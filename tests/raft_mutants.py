"""Seeded mistakes: the shipped Raft core with one passage of one module replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from k8slab.simulation.dice import Dice

CORE = "k8slab.domain.raft"
LAB = "k8slab.simulation.raft"


@dataclass(frozen=True)
class Mutant:
    """A mistake: in `module`, `right` is replaced by `wrong`.

    family : the schedules that look for it; random ones, or such as lead where it matters
    """

    name: str
    module: str
    right: str
    wrong: str
    family: str = "random"


MUTANTS = [
    Mutant(
        "the vote is not kept",
        "core",
        "state if state != kept else None",
        "state if state.commit != kept.commit else None",
    ),
    Mutant(
        "it acknowledges before the disk has it",
        "core",
        "self.replies.append(message)",
        "(self.replies if message.target == self.member_id else self.messages).append(message)",
    ),
    Mutant(
        "an entry of an earlier term is committed by counting",
        "log",
        "if index <= self.committed or not self.matches(index, term):",
        "if index <= self.committed:",
        family="figure 8",
    ),
    Mutant(
        "entries are taken wherever the log is long enough",
        "log",
        "if not self.matches(index, term):\n            return None",
        "if index > self.last_index:\n            return None",
    ),
    Mutant(
        "a late message cuts what follows",
        "log",
        "conflict = self.find_conflict(entries)",
        "conflict = index + 1 if entries else 0",
    ),
    Mutant(
        "a leader takes over a newer term and stays leader",
        "core",
        "self.become_follower(message.term, message.source if leads else NOBODY)",
        "self.term, self.vote = message.term, NOBODY",
    ),
    Mutant("several votes a term", "election", "may = raft.vote == message.source or free", "may = True"),
    Mutant(
        "votes for any log",
        "election",
        "if may and raft.log.is_up_to_date(message.index, message.log_term):",
        "if may:",
    ),
    Mutant("an election without a new term", "core", "self._reset(self.term + 1)", "self._reset(self.term)"),
    Mutant(
        "half of the members is a majority", "quorum", "return size // 2 + 1", "return (size + 1) // 2"
    ),
    Mutant(
        "a joint membership commits with the new half alone",
        "tracker",
        "index = min(index, self._majority_has(self.membership.outgoing))",
        "pass",
        family="swap",
    ),
    Mutant(
        "a heartbeat commits what the follower may not have",
        "replication",
        "commit = min(progress.match, raft.log.committed)",
        "commit = raft.log.committed",
    ),
    Mutant(
        "the last entry is applied twice",
        "log",
        "return self.slice(self.applying + 1, last,",
        "return self.slice(max(1, self.applying), last,",
    ),
    Mutant(
        "a leader answers reads without asking whether it still leads",
        "leader",
        "    if raft.config.lease_reads:\n        answer_read",
        "    if True:\n        answer_read",
    ),
    Mutant(
        "a new leader answers reads before it knows what is committed",
        "leader",
        "elif raft.log.term(raft.log.committed) != raft.term:",
        "elif False:",
    ),
    Mutant(
        "a leader's own copy counts before it is stored",
        "replication",
        'raft.reply(Message("append_resp", raft.member_id, raft.member_id, term, last))',
        'raft.step(Message("append_resp", raft.member_id, raft.member_id, term, last))',
    ),
]


@contextmanager
def mutated(mutant: Mutant) -> Iterator[ModuleType]:
    """The laboratory, imported anew over the core with its mistake."""
    package = sys.modules["k8slab.domain"], sys.modules["k8slab.simulation"]
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith((CORE, LAB))}
    finder = _Finder(mutant)
    sys.meta_path.insert(0, finder)
    try:
        yield import_module(f"{LAB}_lab")
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith((CORE, LAB))]:
            del sys.modules[name]
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, child = name.rpartition(".")
            if sys.modules.get(parent) in package:
                setattr(sys.modules[parent], child, module)


class _Finder:
    """Finds the one module that has the mistake, and leaves the others to the rest."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name, path=None, target=None):
        if name != f"{CORE}.{self._mutant.module}":
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = _Loader(name, spec.origin, self._mutant)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname):
        source = Path(self.path).read_text(encoding="utf-8")
        found = source.count(self._mutant.right)
        assert found == 1, f"{self._mutant.right!r} stands {found} times in {self._mutant.module}"
        return compile(source.replace(self._mutant.right, self._mutant.wrong), self.path, "exec")


# -- families of schedules, made of the laboratory's own values -------------------


def runs(lab: ModuleType, family: str, seeds: range) -> Iterator[Any]:
    """Play the schedules of a family."""
    if family == "random":
        yield from lab.RaftLab().search(seeds)
        return
    faults = sys.modules[f"{LAB}_faults"]
    for seed in seeds:
        schedule, config = (figure_8 if family == "figure 8" else swap)(lab, faults, seed)
        yield lab.play(schedule, config)


def figure_8(lab: ModuleType, faults: ModuleType, seed: int) -> tuple[Any, Any]:
    """Leaders that write a little and are cut off, in ever new groups; nobody writes on election (Raft figure 8)."""
    dice = Dice(seed, "figure 8")
    names, ms = ("n1", "n2", "n3", "n4", "n5"), faults.MS
    actions = []
    for turn in range(12):
        at = (500 + 600 * turn) * ms
        few = tuple(name for name in names if dice.chance(0.4))
        actions.append(faults.Partition(at, (few, tuple(name for name in names if name not in few))))
        if dice.chance(0.6):
            actions.append(faults.Request(at + dice.between(1, 20) * ms, client=turn, kind="put", key="x", value=turn))
    actions.sort(key=lambda action: action.at_ns)
    network = lab.NetworkModel((1 * ms, 15 * ms))
    schedule = lab.Schedule(names, seed, network, actions=tuple(actions), faults_until_ns=8 * faults.SECOND)
    config = lab.RaftConfig(election_entry=False, step_down_on_removal=True)
    return schedule, config


def swap(lab: ModuleType, faults: ModuleType, seed: int) -> tuple[Any, Any]:
    """Two of three are to make room for two others; the leader is cut off with these while it happens."""
    dice = Dice(seed, "swap")
    names, spares, ms = ("n1", "n2", "n3"), ("n8", "n9"), faults.MS
    change = sys.modules[f"{CORE}.membership"].Change
    leaving = [name for name in names if name != dice.pick(names)]
    changes = (*(change("voter", name) for name in spares), *(change("remove", name) for name in leaving))
    at = 1000 * ms
    requests = [
        faults.Request(at + dice.between(0, 2000) * ms, client=number, kind="put", key="x", value=number)
        for number in range(20)
    ]
    actions = (
        faults.ChangeMembers(at, changes, "explicit"),
        faults.Partition(at + dice.between(20, 150) * ms, ((faults.LEADER, *spares), names)),
        *requests,
    )
    ordered = tuple(sorted(actions, key=lambda action: action.at_ns))
    schedule = lab.Schedule(names, seed, lab.NetworkModel((20 * ms, 60 * ms)), actions=ordered, spares=spares)
    return schedule, lab.RaftConfig(step_down_on_removal=True)
