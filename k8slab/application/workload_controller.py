"""Workloads kept at a number of pods: deployments, stateful sets, jobs, daemon sets. Lost pods are made anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from k8slab.application.admission import Admission
from k8slab.application.calendar import Rank
from k8slab.application.stateful_sets import Member, next_step
from k8slab.domain.columns import NEVER, Codes, Codes32, Ints, Names, Tolerations
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.pod_spec import PLAIN, PodSpec
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.errors import InputError, UnknownName

Kind = Literal["Deployment", "StatefulSet", "Job", "DaemonSet"]
_FAILED: Final = POD_PHASES.index(PodPhase.FAILED)
_SUCCEEDED: Final = POD_PHASES.index(PodPhase.SUCCEEDED)
_PENDING: Final = POD_PHASES.index(PodPhase.PENDING)
_ENDS: Final = ("FINISHED", "POD_REMOVED", "LEAVING", "UNBOUND")
# What makes a pod ready, or not: a stateful set's others wait for that.
_READINESS: Final = ("BOUND", "RESTARTED", "READY")
_NODES: Final = ("NODE_ADDED", "NODE_REMOVED", "NODE_STATE", "NODE_UPDATED")
# A daemon set's pod that found no room on its node is tried again so often.
RETRY_NS: Final = 60 * SECOND_NS


@dataclass(frozen=True, eq=False)
class WorkloadSpec:
    """A workload, and what its pods are like.

    request  : int64[R]
    replicas : of a deployment or stateful set; a job's parallelism; a daemon set has as many as there are nodes
    parallel : a stateful set's pods don't wait for one another
    completions, backoff_limit : of a job: how many must succeed, and how many may fail
    start_ns : it has no pods before
    """

    name: str
    kind: Kind
    request: Ints
    replicas: int = 1
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: Tolerations = ()
    priority: int = 0
    spec: PodSpec = PLAIN
    startup_ns: int = 0
    completions: int = 1
    backoff_limit: int = 6
    start_ns: int = 0
    parallel: bool = False


class WorkloadController:
    """Makes and removes pods until every workload has as many as it should.

    born : called with the rows of new pods and their workload's number, before they can be placed; a simulation
           gives them their lifetimes here

    A pod counts while it is there, hasn't ended and isn't leaving. Which go when there are
    too many is kube-controller-manager's order: first those without a node, then those not
    ready, those on a node with more of their kind, those ready for a shorter time, the
    restarted, the younger. They are gone at once. Implements ScalePort.
    """

    # Asked before pods are made, where there is one.
    gate: Admission | None = None
    name = "workloads"
    rank: int = Rank.WORKLOADS

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        specs: Iterable[WorkloadSpec] = (),
        *,
        born: Callable[[Ints, int], None] | None = None,
    ) -> None:
        self._state = state
        self._sink = sink
        self._born = born
        self._specs: list[WorkloadSpec] = []
        self._numbers: dict[str, int] = {}
        self._replicas: list[int] = []
        self._pods: list[list[int]] = []
        self._made: list[int] = []
        self._succeeded: list[int] = []
        self._failed: list[int] = []
        self._dirty: set[int] = set()
        self._starts: list[tuple[int, int]] = []
        self._members: tuple[Ints, Codes32] = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
        self._gone: list[Ints] = []
        self._daemons: list[int] = []
        self._retry_ns: int | None = None
        # Of stateful sets: the number of each pod by row, and when to look at a set again.
        self._numbered: dict[int, dict[int, int]] = {}
        self._again: dict[int, int] = {}
        self._refused: dict[int, str] = {}
        self._seen = state.version
        for spec in specs:
            self.add(spec)

    # -- what others ask and say -----------------------------------------------------

    def add(self, spec: WorkloadSpec) -> int:
        """One more workload; gives its number. InputError if one has its name."""
        if spec.name in self._numbers:
            raise InputError(f"two workloads are named {spec.name!r}; wanted a name of its own for each")
        owner = len(self._specs)
        self._numbers[spec.name] = owner
        self._specs.append(spec)
        self._replicas.append(spec.replicas)
        self._pods.append([])
        for counts in (self._made, self._succeeded, self._failed):
            counts.append(0)
        self._starts.append((spec.start_ns, owner))
        self._starts.sort()
        if spec.kind == "DaemonSet":
            self._daemons.append(owner)
        if spec.kind == "StatefulSet":
            self._numbered[owner] = {}
        return owner

    def owner(self, name: str) -> int:
        """The number of the workload of this name; raises UnknownName if there is none."""
        if name not in self._numbers:
            raise UnknownName("workload", name, self._numbers)
        return self._numbers[name]

    def set_ready_after(self, owner: int, startup_ns: int) -> None:
        """Pods that the workload makes from now on are ready so long after their containers' start."""
        self._specs[owner] = replace(self._specs[owner], startup_ns=startup_ns)

    def spec(self, owner: int) -> WorkloadSpec:
        """What a workload is."""
        return self._specs[owner]

    def request(self, owner: int) -> Ints:
        """int64[R]: what the workload's next pods request."""
        return self._specs[owner].request

    def set_request(self, owner: int, request: Ints) -> None:
        """Pods that the workload makes from now on request this; int64[R]."""
        self._specs[owner] = replace(self._specs[owner], request=request)

    @property
    def names(self) -> tuple[str, ...]:
        """The workloads' names, by number."""
        return tuple(self._numbers)

    def replicas(self, owner: int) -> int:
        """How many pods the workload should have."""
        return self._replicas[owner]

    def all_replicas(self) -> Ints:
        """int64[workloads]: the same of each."""
        return np.array(self._replicas, dtype=np.int64)

    def pods(self, owner: int) -> Ints:
        """int64[]: rows of the pods that the workload has now, in the order they were added."""
        return np.array(self._pods[owner], dtype=np.int64)

    def members(self) -> tuple[Ints, Codes32]:
        """int64[] and int32[]: the pods that all workloads have now, and the workload of each."""
        rows, owners = self._members
        if self._gone:
            # By what is there: with hundreds of workloads, going through all lists would cost a millisecond a change.
            kept = ~np.isin(rows, np.concatenate(self._gone))
            rows, owners = rows[kept], owners[kept]
            self._gone.clear()
            self._members = rows, owners
        return self._members

    def scale(self, owner: int, replicas: int) -> None:
        """Ask for another number of pods."""
        if replicas < 0:
            raise InputError(f"workload {self._specs[owner].name!r}: {replicas} replicas; wanted 0 or more")
        if self._replicas[owner] != replicas:
            self._replicas[owner] = replicas
            self._dirty.add(owner)

    def passed_over(self) -> None:
        """What the state tells up to now concerns no workload."""
        self._seen = self._state.version

    def adopt(self) -> None:
        """Go on for another controller: which pods there are and were is read off the state."""
        state = self._state
        owner_of = state.pod_owner
        rows = np.flatnonzero(state.pod_alive & (owner_of >= 0))
        count = len(self._specs)
        self._pods = [rows[owner_of[rows] == owner].tolist() for owner in range(count)]
        for owner in self._numbered:
            self._numbered[owner] = {row: _number_of(state.pod_name(row)) for row in self._pods[owner]}
        self._made = np.bincount(owner_of[owner_of >= 0], minlength=count).tolist()
        self._members, self._gone = (rows, owner_of[rows].copy()), []
        self._succeeded, self._failed = [0] * count, [0] * count
        self._seen = 0
        self._read()
        self._seen = state.version
        self._dirty.update(range(count))

    # -- the loop ------------------------------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        if self._dirty or self._state.version != self._seen:
            return now_ns
        times = [start for start, _ in self._starts[:1]]
        if self._retry_ns is not None:
            times.append(self._retry_ns)
        if self._again:
            times.append(min(self._again.values()))
        return min(times, default=None)

    def run_once(self, now_ns: int) -> None:
        self._read()
        while self._starts and self._starts[0][0] <= now_ns:
            self._dirty.add(self._starts.pop(0)[1])
        if self._retry_ns is not None and self._retry_ns <= now_ns:
            self._retry_ns = None
            self._dirty.update(self._daemons)
        self._dirty.update(owner for owner, at_ns in self._again.items() if at_ns <= now_ns)
        waiting = {owner for start, owner in self._starts}
        for owner in sorted(self._dirty - waiting):
            self._reconcile(owner, now_ns)
        self._dirty &= waiting
        self._seen = self._state.version

    def _read(self) -> None:
        owner_of = self._state.pod_owner
        for change in self._state.changes(self._seen):
            if change.verb in _ENDS:
                owners = owner_of[change.pod_rows]
                if (owners >= 0).any():
                    self._dirty.update(np.unique(owners[owners >= 0]).tolist())
                    self._count_ends(change.verb, change.value, owners)
            elif change.verb in _NODES:
                self._dirty.update(self._daemons)
            elif self._numbered and change.verb in _READINESS:
                self._dirty.update(self._numbered.keys() & set(owner_of[change.pod_rows].tolist()))

    def _count_ends(self, verb: str, value: int, owners: Codes32) -> None:
        if verb == "FINISHED":
            counts = self._succeeded if value == _SUCCEEDED else self._failed
            for owner in owners[owners >= 0].tolist():
                counts[owner] += 1

    def _reconcile(self, owner: int, now_ns: int) -> None:
        active = self._active(owner)
        spec = self._specs[owner]
        if spec.kind == "DaemonSet":
            self._cover(owner, active, now_ns)
            return
        if spec.kind == "StatefulSet":
            self._go_on(owner, now_ns)
            return
        wanted = self._replicas[owner] if spec.kind == "Deployment" else self._job_wants(owner)
        if len(active) < wanted:
            self._make(owner, self._admitted(owner, wanted - len(active), now_ns))
        elif len(active) > wanted:
            self._remove(owner, self._least_wanted(active, now_ns)[: len(active) - wanted])

    def _active(self, owner: int) -> Ints:
        """The pods that count; those that ended or went are forgotten, those that are leaving are kept in mind."""
        state = self._state
        rows = self.pods(owner)
        phase = state.pod_phase[rows]
        there = state.pod_alive[rows] & (phase != _SUCCEEDED) & (phase != _FAILED)
        if not there.all():
            self._pods[owner] = rows[there].tolist()
            self._gone.append(rows[~there])
        return np.asarray(rows[there & (state.pod_leaving[rows] == 0)])

    def _job_wants(self, owner: int) -> int:
        spec = self._specs[owner]
        if self._failed[owner] > spec.backoff_limit:
            return 0
        return min(self._replicas[owner], spec.completions - self._succeeded[owner])

    def _least_wanted(self, rows: Ints, now_ns: int) -> Ints:
        """int64[]: the pods, those that should go first first (kube-controller-manager's ActivePodsWithRanks)."""
        state = self._state
        columns = (state.pod_node, state.pod_phase, state.pod_ready_ns, state.pod_restarts)
        nodes, phases, ready_ns, restarts = (column[rows].tolist() for column in columns)
        together = Counter(nodes)
        # Lists, as a workload has dozens of pods rather than thousands.
        keys = [
            (node >= 0, phase != _PENDING, at <= now_ns, -together[node], -at if at <= now_ns else 0, -count, -row)
            for node, phase, at, count, row in zip(nodes, phases, ready_ns, restarts, rows.tolist(), strict=True)
        ]
        return -np.array([key[-1] for key in sorted(keys)], dtype=np.int64)

    def try_again(self) -> None:
        """There is room in a quota again: whoever was refused pods asks anew."""
        self._dirty.update(self._refused)
        self._refused.clear()

    def _admitted(self, owner: int, count: int, now_ns: int) -> int:
        """How many of so many pods may be made."""
        if self.gate is None:
            return count
        spec = self._specs[owner]
        verdict = self.gate.ask(spec.namespace, spec.request, spec.priority, count)
        if (verdict.request != spec.request).any():
            self._specs[owner] = replace(spec, request=verdict.request)
        if verdict.admitted == count:
            self._refused.pop(owner, None)
        elif self._refused.get(owner) != verdict.message:
            self._refused[owner] = verdict.message
            self.gate.refused(verdict.message, now_ns, who=spec.name)
        return verdict.admitted

    def _make(self, owner: int, count: int, numbers: Sequence[int] | None = None) -> Ints:
        """So many pods more. numbers : in their names, by default those that nobody had"""
        spec = self._specs[owner]
        first = self._made[owner]
        self._made[owner] += count
        rows = self._state.add_pods(
            Names([f"{spec.name}-{number}" for number in numbers or range(first, first + count)]),
            np.broadcast_to(spec.request, (count, len(spec.request))),
            namespaces=Codes.constant(spec.namespace, count),
            tolerations=Codes.constant(spec.tolerations, count),
            priority=spec.priority,
            labels={key: Codes.constant(value, count) for key, value in spec.labels.items()},
            specs=None if spec.spec == PLAIN else Codes.constant(spec.spec, count),
            owner=owner,
            startup_ns=spec.startup_ns,
        )
        if self.gate is not None:
            self.gate.entered(rows)
        self._pods[owner] += rows.tolist()
        known, owners = self.members()
        self._members = np.concatenate([known, rows]), np.append(owners, np.full(count, owner, dtype=np.int32))
        if self._born is not None:
            self._born(rows, owner)
        return rows

    def _remove(self, owner: int, rows: Ints) -> None:
        self._state.remove_pods(rows)
        gone = set(rows.tolist())
        self._pods[owner] = [row for row in self._pods[owner] if row not in gone]
        self._gone.append(rows)

    # -- stateful sets ----------------------------------------------------------------------

    def _go_on(self, owner: int, now_ns: int) -> None:
        """Make and remove what is next, until somebody has to be waited for."""
        state, spec, numbered = self._state, self._specs[owner], self._numbered[owner]
        while True:
            self._active(owner)
            there = self._pods[owner]
            for row in numbered.keys() - set(there):
                del numbered[row]
            members = {
                numbered[row]: Member(row, int(state.pod_ready_ns[row]), bool(state.pod_leaving[row])) for row in there
            }
            step = next_step(members, self._replicas[owner], now_ns, parallel=spec.parallel)
            made = step.make[: self._admitted(owner, len(step.make), now_ns)] if step.make else ()
            if made:
                numbered.update(zip(self._make(owner, len(made), made).tolist(), made, strict=True))
            if step.remove:
                self._remove(owner, np.array(step.remove, dtype=np.int64))
            if step.again_ns != now_ns:
                break
        self._again.pop(owner, None)
        if step.again_ns != NEVER:
            self._again[owner] = step.again_ns

    # -- daemon sets ------------------------------------------------------------------------

    def _cover(self, owner: int, active: Ints, now_ns: int) -> None:
        """A pod on every node that has none and has room for it."""
        state, request = self._state, self._specs[owner].request
        covered = np.zeros(state.node_count, dtype=np.bool_)
        covered[state.pod_node[active][state.pod_node[active] >= 0]] = True
        bare = np.flatnonzero(state.node_alive & ~covered)
        free = state.allocatable[:, bare] - state.requested[:, bare]
        fits = ((request[:, None] <= free) | (request[:, None] == 0)).all(axis=0)
        self._remove(owner, active[state.pod_node[active] < 0])
        if fits.any():
            there = bare[fits]
            count = self._admitted(owner, len(there), now_ns)
            state.bind(self._make(owner, count), there[:count])
        if not fits.all():
            self._retry_ns = now_ns + RETRY_NS


def _number_of(name: str) -> int:
    return int(name.rpartition("-")[2])
