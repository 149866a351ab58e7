"""How a simulated cluster is watched and healed, as data, and the loops that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from k8slab.application.disruption_budgets import Budget, DisruptionBudgets
from k8slab.application.evictor import Evictor
from k8slab.application.node_health import NodeHealthMonitor
from k8slab.application.node_lifecycle import NodeLifecycleController
from k8slab.application.pod_prober import PodProber, ready_after
from k8slab.application.pod_restarts import PodRestarts
from k8slab.application.preemptor import Preemptor
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.detectors import FailureDetector, LeaseMonitor
from k8slab.domain.disruption import BudgetSpec, IntOrPercent
from k8slab.domain.node_lifecycle.node_taints import UNSCHEDULABLE
from k8slab.domain.node_lifecycle.zones import UNHEALTHY_ZONE_THRESHOLD, EvictionRates
from k8slab.domain.pod_spec import Requirement
from k8slab.domain.probe_times import Probes
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.drains import Drain, Drains
from k8slab.simulation.evicting import evicting
from k8slab.simulation.fault_base import Fault
from k8slab.simulation.fault_times import SLOW, FaultTimes, together
from k8slab.simulation.faults import OomKills, PodCrashes, PodHangs, SlowNodes
from k8slab.simulation.heartbeats import Heartbeats
from k8slab.simulation.kubelets import Starts
from k8slab.simulation.node_faults import NodeFaults, truth_rows
from k8slab.simulation.node_lives import NodeLives, targets_of
from k8slab.simulation.pod_faults import ContainerFaults, CrashTimes, MostlyIdleFaults, OomTimes, seed_of
from k8slab.simulation.world import World
from k8slab.units import duration_ns

if TYPE_CHECKING:
    from k8slab.simulation.faults import Duration

_JOB_POLICY: Final = "Never"


@dataclass(frozen=True, kw_only=True)
class DisruptionBudget:
    """A PodDisruptionBudget of a simulated workload, or of the pods with these labels.

    min_available, max_unavailable : one of them, a number or a percentage such as "80%"
    """

    name: str
    workload: str = ""
    labels: Mapping[str, str] | None = None
    namespace: str = "default"
    min_available: IntOrPercent | None = None
    max_unavailable: IntOrPercent | None = None
    unhealthy_pod_eviction_policy: str | None = None

    def __post_init__(self) -> None:
        if bool(self.workload) == (self.labels is not None):
            raise InputError(f"budget {self.name!r}: wanted either a workload's name or labels")
        if self.min_available is None and self.max_unavailable is None:
            raise InputError(f"budget {self.name!r}: wanted min_available or max_unavailable")
        self.budget()

    def budget(self) -> Budget:
        """As the budgets' keeper wants it."""
        try:
            spec = BudgetSpec(self.min_available, self.max_unavailable, self.unhealthy_pod_eviction_policy)
        except InputError as error:
            raise InputError(f"budget {self.name!r}: {error}") from None
        labels = sorted((self.labels or {}).items())
        selector = tuple(Requirement(key, "In", (value,)) for key, value in labels)
        return Budget(self.name, spec, self.namespace, selector if self.labels is not None else None, self.workload)


@dataclass(frozen=True, kw_only=True)
class Health:
    """Who watches the nodes and pods of a run, and what is done about what they see.

    detector   : who suspects nodes; by default Kubernetes' own, 50 s of grace looked at every 5 s
    compare    : detectors that only watch, for the frame `detectors`: name -> detector
    heartbeat  : how often a healthy node beats
    node_eviction_rate, secondary_node_eviction_rate, large_cluster_size, unhealthy_zone_threshold :
                 the node lifecycle controller's flags
    pod_grace  : how long a pod takes to end once it is told to
    drain_retry: how long a drain waits after it was refused
    budgets    : whose pods may be disrupted how far
    drains     : nodes that are drained, and when
    probes     : workload -> its containers' probes
    move_after : so many restarts on one node, and a pod is placed anew; None for never
    """

    detector: FailureDetector = field(default_factory=LeaseMonitor)
    compare: Mapping[str, FailureDetector] = field(default_factory=dict)
    heartbeat: Duration = "10s"
    node_eviction_rate: float = 0.1
    secondary_node_eviction_rate: float = 0.01
    large_cluster_size: int = 50
    unhealthy_zone_threshold: float = UNHEALTHY_ZONE_THRESHOLD
    pod_grace: Duration = "30s"
    drain_retry: Duration = "5s"
    budgets: Sequence[DisruptionBudget] = ()
    drains: Sequence[Drain] = ()
    probes: Mapping[str, Probes] = field(default_factory=dict)
    move_after: int | None = None

    def __post_init__(self) -> None:
        duration_ns(self.heartbeat, "health, heartbeat", least_ns=1)
        duration_ns(self.pod_grace, "health, pod_grace")
        duration_ns(self.drain_retry, "health, drain_retry", least_ns=1)
        for key in ("node_eviction_rate", "secondary_node_eviction_rate"):
            if not getattr(self, key) >= 0:
                raise InputError(f"health, {key}={getattr(self, key)!r}; wanted nodes a second, 0 or more")
        if not 0 <= self.unhealthy_zone_threshold <= 1:
            raise InputError(f"health, unhealthy_zone_threshold={self.unhealthy_zone_threshold!r}; wanted 0 to 1")
        if self.move_after is not None and self.move_after < 0:
            raise InputError(f"health, move_after={self.move_after!r}; wanted a number of restarts, 0 or more")


def build_health(world: World, faults: Sequence[Fault] = (), health: Health | None = None) -> None:
    """Give a run its faults and all loops that watch and heal.

    Leaves in world.parts: "lives" (NodeLives), "node_faults", "evictor", "health" (the settings).
    Raises InputError for two faults of one name, UnknownName for a fault on what isn't there.
    """
    settings = health if health is not None else Health()
    on = [fault for fault in faults if fault.enabled]
    for fault in on:
        if sum(other.name == fault.name for other in on) > 1:
            raise InputError(f"two faults are named {fault.name!r}; wanted a name of its own for each")
    drawn = _drawn(world, on)
    heartbeat_ns = duration_ns(settings.heartbeat)
    heartbeats = Heartbeats.drawn(
        world.state.node_count, drawn, world.until_ns, world.streams.generator("heartbeats"), heartbeat_ns
    )
    lives = NodeLives(world, on, drawn, heartbeats, settings.detector)
    slow = bool((drawn.effect == SLOW).any()) or any(isinstance(fault, SlowNodes) for fault in on)
    loops = _Loops(world, settings, drawn, lives, slow=slow)
    loops.break_pods(on)
    if len(drawn.start_ns):
        world.sink.emit("faults", **truth_rows(on, drawn, world.until_ns))
    world.on_join.append(lambda rows, now_ns: lives.join(rows, now_ns, loops.node_faults))
    world.parts.update(lives=lives, node_faults=loops.node_faults, evictor=loops.evictor, health=settings)


def build_preemption(world: World) -> None:
    """Let a run without faults preempt, where its policy does."""
    if world.policy.post_filter is not None:
        _let_preempt(world, *evicting(world))


def _let_preempt(world: World, evictor: Evictor, budgets: DisruptionBudgets) -> None:
    world.scheduler.preempt = Preemptor(
        world.state, world.policy, evictor, budgets, world.sink, seed=world.streams.seed,
        namespace_of=lambda name: world.workloads.spec(world.workloads.owner(name)).namespace,
    ).preempt  # fmt: skip


def _drawn(world: World, faults: Sequence[Fault]) -> FaultTimes:
    targets = targets_of(world)
    return together(
        [fault.draw(targets, world.until_ns, world.streams.generator(f"faults/{fault.name}")) for fault in faults]
    )


class _Loops:
    """The loops of one run, that know one another."""

    def __init__(self, world: World, settings: Health, drawn: FaultTimes, lives: NodeLives, *, slow: bool) -> None:
        self._world = world
        self._daemon_sets = np.zeros(0, dtype=np.bool_)
        state, sink = world.state, world.sink
        budgets = DisruptionBudgets(state, [b.budget() for b in settings.budgets], scales=world.workloads)
        self.evictor = Evictor(
            state, sink, budgets=budgets, grace_ns=duration_ns(settings.pod_grace),
            retry_ns=duration_ns(settings.drain_retry), daemons=self._daemons,
        )  # fmt: skip
        self.restarts = PodRestarts(
            state, sink, policy_of=self._policies, move_after=settings.move_after, move=self.evictor.delete
        )
        self._answers_after: dict[int, int] = {}
        self._probes = self._known_probes(settings.probes)
        self.prober = PodProber(state, sink, self.restarts, self._probes_of, self._startup_of)
        slow = slow and bool(self._probes)
        self._slow: dict[int, float] = {}
        self.node_faults = NodeFaults(drawn, world.kubelets, self.evictor, self._slowed if slow else None)
        rates = EvictionRates(
            settings.node_eviction_rate, settings.secondary_node_eviction_rate, settings.large_cluster_size
        )
        lifecycle = NodeLifecycleController(
            state, sink, self.evictor, rates=rates, unhealthy_zone_threshold=settings.unhealthy_zone_threshold,
            daemons=self._daemons,
        )  # fmt: skip
        monitor = NodeHealthMonitor(
            state,
            lives.opinions,
            sink,
            detector=type(settings.detector).__name__,
            cordoned=self._cordoned,
            watchers=(lambda row, suspected, now_ns: lifecycle.changed(row, now_ns),),
            truth=self.node_faults.is_up,
        )
        _let_preempt(world, self.evictor, budgets)
        loops: list[Any] = [self.node_faults, self.prober, monitor, lifecycle, self.evictor]
        if settings.drains:
            loops.append(Drains(settings.drains, self.evictor, state))
        for loop in loops:
            world.calendar.add(loop)
        if slow:
            # Only pods of workloads have probes.
            world.kubelets.on_start(self._started, lambda starts: NEVER)

    def break_pods(self, faults: Sequence[Fault]) -> None:
        """Add the loops that end or hang containers."""
        world = self._world
        for fault in faults:
            sequence = world.streams.sequence(f"faults/{fault.name}")
            if isinstance(fault, PodCrashes | PodHangs):
                crash = CrashTimes(seed_of(sequence), fault.ns("mtbf"), fault.shape, fault.share)
                if isinstance(fault, PodHangs):
                    loop: ContainerFaults = self._hangs(fault, crash)
                else:
                    loop = self._ends(fault, crash, "Error", fault.exit_code)
            elif isinstance(fault, OomKills):
                oom = OomTimes(world.usage, world.state, fault.limit_factor, fault.ns("ramp"))
                loop = self._ends(fault, oom, "OOMKilled", 137)
            else:
                continue
            world.calendar.add(loop)
            world.kubelets.on_start(loop.started, loop.foresee)

    def restarts_exited(self, rows: Ints, reason: str, exit_code: int, now_ns: int) -> None:
        """These containers ended."""
        self._truth(rows, self._nodes(rows), reason, now_ns, now_ns)
        self.restarts.exited(rows, reason, now_ns, exit_code)

    def _hangs(self, fault: PodHangs, when: CrashTimes) -> MostlyIdleFaults:
        """Only a probe notices that a container hangs."""
        duration_ns, until_ns = fault.ns("duration"), self._world.until_ns

        def tell(rows: Ints, nodes: Ints, now_ns: int) -> None:
            self._truth(rows, nodes, "hang", now_ns, min(now_ns + duration_ns, until_ns))

        def hang(rows: Ints, reason: str, exit_code: int, now_ns: int) -> None:
            tell(rows, self._nodes(rows), now_ns)
            self.prober.fall_ill(rows, now_ns, now_ns + duration_ns)

        return MostlyIdleFaults(
            fault.name, self._world.state, when, hang, early=True, reason="hang", exit_code=0,
            down=self._world.kubelets.down, concerns=lambda row: self._probes_of(row) is not None, tell=tell,
        )  # fmt: skip

    def _ends(self, fault: Fault, when: CrashTimes | OomTimes, reason: str, exit_code: int) -> ContainerFaults:
        return ContainerFaults(
            fault.name, self._world.state, when, self.restarts_exited, early=isinstance(when, CrashTimes),
            reason=reason, exit_code=exit_code, down=self._world.kubelets.down,
        )  # fmt: skip

    def _nodes(self, rows: Ints) -> Ints:
        return self._world.state.pod_node[rows].astype(np.int64)

    def _truth(self, rows: Ints, nodes: Ints, what: str, start_ns: int, end_ns: int) -> None:
        self._world.sink.emit(
            "faults", start_ns=start_ns, end_ns=end_ns, fault=what, node_row=nodes, pod_row=rows, detail=""
        )

    # -- what the loops ask of one another ------------------------------------------------

    def _daemons(self, rows: Ints) -> np.ndarray:
        workloads = self._world.workloads
        if len(self._daemon_sets) != len(workloads.names) + 1:
            kinds = [workloads.spec(owner).kind == "DaemonSet" for owner in range(len(workloads.names))]
            # The last is for the owner -1, of bare pods.
            self._daemon_sets = np.array([*kinds, False])
        return np.asarray(self._daemon_sets[self._world.state.pod_owner[rows]])

    def _policies(self, rows: Ints) -> list[str]:
        workloads, owners = self._world.workloads, self._world.state.pod_owner[rows].tolist()
        return [
            _JOB_POLICY if owner >= 0 and workloads.spec(owner).kind == "Job" else "Always" for owner in owners
        ]

    def _cordoned(self, row: int) -> bool:
        taints = self._world.state.node_taints(row)
        return any(taint.key == UNSCHEDULABLE for taint in taints)

    def _known_probes(self, probes: Mapping[str, Probes]) -> dict[int, Probes]:
        workloads = self._world.workloads
        known = {}
        for name, own in probes.items():
            if name not in workloads.names:
                raise UnknownName("workload", name, workloads.names, "In health, probes.")
            owner = workloads.owner(name)
            known[owner] = own
            self._answers_after[owner] = answers = workloads.spec(owner).startup_ns
            workloads.set_ready_after(owner, ready_after(own, answers, f"health, probes of {name!r}"))
        return known

    def _probes_of(self, row: int) -> Probes | None:
        return self._probes.get(int(self._world.state.pod_owner[row]))

    def _startup_of(self, row: int) -> int:
        return self._answers_after[int(self._world.state.pod_owner[row])]

    def _slowed(self, rows: Ints, factors: np.ndarray, now_ns: int) -> None:
        state = self._world.state
        for row, factor in zip(rows.tolist(), factors.tolist(), strict=True):
            before = self._slow.pop(row, 1.0)
            if factor > 1:
                self._slow[row] = factor
            for pod in state.pods_on(row).tolist():
                probes = self._probes_of(pod)
                if probes is not None and probes.fail_at(factor) != probes.fail_at(before):
                    one = np.array([pod], dtype=np.int64)
                    if probes.fail_at(factor):
                        self.prober.fall_ill(one, now_ns)
                    else:
                        self.prober.get_well(one, now_ns)

    def _started(self, starts: Starts) -> None:
        """Containers that start on a slow node are ill from the start."""
        if not self._slow:
            return
        rows, nodes = starts.pod_rows, self._world.state.pod_node[starts.pod_rows].tolist()
        for place in [place for place, node in enumerate(nodes) if node in self._slow]:
            start_ns, probes = int(starts.start_ns[place]), self._probes_of(int(rows[place]))
            if probes is not None and start_ns < NEVER and probes.fail_at(self._slow[nodes[place]]):
                self.prober.fall_ill(rows[place : place + 1], start_ns)
