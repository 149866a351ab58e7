"""The orchestrator: where services, repositories and clock are wired together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from math import fsum
from types import TracebackType
from typing import Any, Final

from k8slab.application.admitted_pods import AdmittedPods
from k8slab.application.auto_scaler import AutoScaler
from k8slab.application.background import BackgroundLoop
from k8slab.application.consensus_manager import ELECTION_TICKS, ELECTION_TIMEOUT_S, SNAPSHOT_EVERY, ConsensusManager
from k8slab.application.control_loop import ControlLoop
from k8slab.application.disruption_budgets import Budget
from k8slab.application.health_monitor import HealthMonitor
from k8slab.application.intents import INTENT, Intents
from k8slab.application.ledger import state_of, update
from k8slab.application.live_cluster import LiveCluster
from k8slab.application.namespaces import Namespace, all_rules
from k8slab.application.pod_scheduler import LEAST_USED, PodScheduler
from k8slab.application.self_healer import EVENTS_KEPT, SelfHealer
from k8slab.domain.admission.quota import ResourceQuota
from k8slab.domain.autoscaling.horizontal import Condition
from k8slab.domain.autoscaling.values import HorizontalPodAutoscaler
from k8slab.domain.detectors import FailureDetector, LeaseMonitor
from k8slab.domain.disruption import BudgetSpec
from k8slab.domain.instants import SECOND_NS, from_ns
from k8slab.domain.models import (
    AutoScalingConfig,
    ConsensusRole,
    Node,
    NodeState,
    Pod,
    PodPhase,
    RaftState,
    SelfHealingEvent,
)
from k8slab.domain.ports import (
    ClockPort,
    ControllerPort,
    HealthSourcePort,
    NodeRepositoryPort,
    PodRepositoryPort,
    TimePort,
)
from k8slab.domain.probe_times import Probes
from k8slab.domain.raft import LogStorePort, NetworkPort, RaftConfig
from k8slab.domain.raft.errors import NotLeader
from k8slab.errors import InputError
from k8slab.infrastructure.clocks import WallClock
from k8slab.infrastructure.health import ReportedHealth
from k8slab.infrastructure.in_memory_node_repository import InMemoryNodeRepository
from k8slab.infrastructure.in_memory_pod_repository import InMemoryPodRepository
from k8slab.infrastructure.replicated import ReplicatedNodes, ReplicatedPods, ReplicatedState
from k8slab.infrastructure.reported_heartbeats import ReportedHeartbeats
from k8slab.infrastructure.reported_metrics import ReportedMetrics
from k8slab.policies import Policy
from k8slab.state import ClusterState

OWN_NODES: Final = {"node-1": "zone-2", "node-2": "zone-3", "node-3": "zone-1"}
INTERVAL_S: Final = 5.0


class KubernetesOrchestrator:
    """A small cluster that looks after itself: schedules, scales, heals, and keeps a log by Raft.

    Three ready nodes, node-1 to node-3, are there unless `nodes` brings its own; they
    beat by themselves as long as this process lives. A failed pod goes to the healer
    and a failed node is evacuated; what becomes pending is placed at the next step.

    pods, nodes : repositories; by default two in memory that share one state
    clock       : the wall clock by default. Given another, no thread is started: move
                  it, and call step()
    health      : where news of failures come from; by default `ReportedHealth`, which
                  takes reports. `FaultModel(...)` makes things fail
    policy      : how schedule_pod chooses, see PodScheduler. Under one that preempts, such as "kube-default", pods
                  of lower priority go for one that fits nowhere, as in a simulation: with 30 s of grace, budgets
                  heeded as far as that goes. Not so where the repositories share no state
    background  : whether a daemon thread runs all this: every check each 5 s, other controllers when they are due
    budgets     : disruption budgets that drains honour
    namespaces  : quotas and limit ranges, as in a simulation: whatever enters one of these is asked for. What they
                  refuse raises AdmissionRefused, with what is used and what the limit is; deployments get as
                  many pods as may enter. Pods and nodes must be kept in one state
    priority_classes : name -> value, for quotas of the scope PriorityClass
    peers       : ids of the other members of a cluster of orchestrators; alone by default
    network     : how they reach one another, `LocalNetwork()` within one process
    store       : where this member keeps its log; in memory by default. Given the store of one that was killed,
                  an orchestrator of the same id goes on where that was
    snapshot_every : so many entries after the last snapshot the log is compacted

    With peers, what changes the cluster (a binding, a scaling, a restart) is an intent that the leader decides, Raft
    commits and every member carries out, so that each holds the same pods and nodes. Who doesn't lead answers
    questions, perhaps of a moment ago, and raises NotLeader for anything else; when the leader is gone, another goes
    on in 5 to 10 s. `background=False` lets step() do all, of every member, and waits for nothing.
    A drain under way, a back-off, a node's tainting are such decisions too, so the next leader goes on with them.
    After every `snapshot_every` entries each member keeps a snapshot of all that, and the log from about there on:
    a member that comes back, or lagged behind, begins with a snapshot.

    Safe to call from several threads. close(), or leaving a with block, ends its
    threads; it still answers after that.

    >>> with KubernetesOrchestrator() as orchestrator:
    ...     pod = Pod("web-1", "web-1", "default", "", PodPhase.PENDING, "nginx:1.27")
    ...     orchestrator.schedule_pod(pod), pod.node_id
    (True, 'node-1')
    """

    def __init__(
        self,
        node_id: str = "node-1",
        *,
        pods: PodRepositoryPort | None = None,
        nodes: NodeRepositoryPort | None = None,
        clock: ClockPort | None = None,
        health: HealthSourcePort | None = None,
        policy: str | Policy = LEAST_USED,
        background: bool | None = None,
        budgets: Iterable[Budget] = (),
        namespaces: Iterable[Namespace] = (),
        priority_classes: Mapping[str, int] | None = None,
        peers: Iterable[str] = (),
        network: NetworkPort | None = None,
        store: LogStorePort | None = None,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        self.clock: ClockPort = clock if clock is not None else WallClock()
        in_background = background if background is not None else clock is None
        peers = sorted(peer for peer in peers if peer != node_id)
        self._intents = Intents(self.clock) if peers else None
        self.pods, self.nodes = _repositories(pods, nodes, self.clock, self._intents)
        rules = all_rules(list(namespaces), priority_classes or {})
        door = self._door = _door(self.pods, self.clock) if rules else None
        self.pods = self.pods if door is None else door
        self.health: HealthSourcePort = health if health is not None else ReportedHealth(beating=OWN_NODES)
        self.scheduler = PodScheduler(self.pods, self.nodes, policy=policy)
        self._stamps: TimePort = self.clock if self._intents is None else self._intents
        self.autoscaler = AutoScaler(self.pods, self.nodes, clock=self._stamps)
        self.healer = SelfHealer(self.pods, self.nodes, clock=self._stamps, budgets=budgets)
        self.monitor = HealthMonitor(
            self.pods,
            self.nodes,
            on_pod_failure=self._decided("heal_failed_pod", self.healer.heal_failed_pod),
            on_node_failure=self._decided("evacuate_node", self.healer.evacuate_node),
            health=self.health,
            clock=self.clock,
        )
        self.consensus = _member(node_id, peers, network, store, self.clock, self._intents, snapshot_every)
        shared = state_of(self.nodes)
        self._state = shared if shared is not None and shared is state_of(self.pods) else None
        self._control = ControlLoop(
            self.monitor, self.autoscaler, self.scheduler, self.consensus, self.healer, clock=self.clock,
            interval_s=INTERVAL_S, lock=self._state.lock if self._state is not None else None,
        )  # fmt: skip
        self._live: LiveCluster | None = None
        self._heartbeats: ReportedHeartbeats | None = None
        self._healing: tuple[FailureDetector, Mapping[str, Probes], int | None] | None = None
        self._making = threading.Lock()
        self.metrics = ReportedMetrics(self._state, self.clock) if self._state is not None else None
        self._loop = BackgroundLoop(self._run_due, INTERVAL_S, "k8slab-control")
        self._network = network
        if door is not None:
            door.admission = self._controllers.admitting(rules, priority_classes or {})
        if self.scheduler.policy.post_filter is not None and self._state is not None:
            self.scheduler.preemption = self._controllers.preempting(self.scheduler.policy)
        if self._intents is None:
            self._add_own_nodes()
            self.consensus.start_consensus_protocol()
        else:
            self._join(self._intents, in_background)
        if in_background:
            self._loop.start()

    def __repr__(self) -> str:
        nodes, pods = self.nodes.list_nodes(), self.pods.list_pods()
        ready, running = (
            sum(node.state is NodeState.READY for node in nodes),
            sum(pod.phase is PodPhase.RUNNING for pod in pods),
        )
        return f"<KubernetesOrchestrator: {ready} of {len(nodes)} nodes ready, {running} of {len(pods)} pods running>"

    # -- pods and nodes --------------------------------------------------------

    def schedule_pod(self, pod: Pod) -> bool:
        """Put the pod on its best node and say so in `pod`; False, and nothing changed, if none fits.

        Under a policy that preempts, others may have to go for it: False all the same, but it is stored as
        waiting, and placed by the first step after they have gone. Raises AdmissionRefused for a pod that its
        namespace's quotas or limits keep out; with defaults of a limit range, `pod` says so.
        """
        with self._acting():
            if self._door is None:
                return self.scheduler.schedule_pod(pod)
            entering = self._door.filled(pod)
            placed = self.scheduler.schedule_pod(entering)
            if entering is not pod and (placed or self.pods.get_pod(pod.pod_id) is not None):
                update(pod, entering)
            return placed

    def get_pod_status(self, pod_id: str) -> Pod | None:
        """A snapshot of the pod, None if there is none."""
        self._catch_up()
        return self.pods.get_pod(pod_id)

    def get_node_status(self, node_id: str) -> Node | None:
        """A snapshot of the node, None if there is none."""
        self._catch_up()
        return self.nodes.get_node(node_id)

    # -- scaling, healing --------------------------------------------------------

    def configure_autoscaling(self, config: AutoScalingConfig) -> None:
        """Scale this deployment from now on, by the threshold rule."""
        self._decided("configure_autoscaling", self.autoscaler.configure_autoscaling)(config)

    def check_autoscaling(self) -> None:
        """Take each deployment one step where its rule says so, and place what waits."""
        with self._acting():
            self.autoscaler.check_autoscaling()
            self.scheduler.schedule_pending()

    def drain_node(self, node_id: str) -> bool:
        """Cordon a node and evict its pods as the disruption budgets allow; each step() goes on with it.

        False if there is no such node. Raises InputError where the repositories share no state.
        """
        with self._acting():
            node = self.nodes.get_node(node_id)
            if node is None:
                return False
            self.healer.drain_node(node)
            return True

    def get_healing_events(self, limit: int = 100) -> list[SelfHealingEvent]:
        """The last events, at most `limit`, oldest first."""
        return self.healer.get_healing_events(limit)

    # -- the controllers of simulated runs, live -----------------------------------

    def deploy(self, name: str, template: Pod, replicas: int = 1) -> None:
        """Keep so many pods like `template`, called NAME-0, NAME-1, ...; those that are lost are made anew.

        Raises InputError for a name that is taken, and where pods and nodes are not kept in one state: controllers
        read its columns.
        """
        with self._acting():
            self._controllers.deploy(name, template, replicas)
        self._loop.wake()

    def scale(self, name: str, replicas: int) -> None:
        """Give a deployment another number of pods. Raises UnknownName, which says the nearest."""
        with self._acting():
            self._controllers.scale(name, replicas)
        self._loop.wake()

    def autoscale(self, name: str, hpa: HorizontalPodAutoscaler) -> None:
        """Scale a deployment every 15 s by a HorizontalPodAutoscaler, on what `metrics` is told by reports.

        Pods report with `orchestrator.metrics.report_usage("web-0", cpu=0.4, memory=2**28)`, in cores and bytes,
        every half minute or so; `autoscaler_conditions` says what came of it. One of a simulation will do:

        >>> from k8slab import Pod, PodPhase
        >>> from k8slab.simulation import HorizontalAutoscaler
        >>> with KubernetesOrchestrator() as orchestrator:
        ...     web = Pod("web", "web", "default", "", PodPhase.PENDING, "nginx:1.27", cpu_request=0.5)
        ...     orchestrator.deploy("web", web, replicas=2)
        ...     orchestrator.autoscale("web", HorizontalAutoscaler("web", 2, 8).hpa())
        """
        self._controllers.autoscale(name, hpa)
        self._loop.wake()

    def autoscaler_conditions(self, name: str) -> dict[str, Condition]:
        """AbleToScale, ScalingActive and ScalingLimited of a deployment's autoscaler, after its last sync."""
        return self._controllers.conditions(name)

    def protect(
        self,
        name: str,
        deployment: str,
        *,
        min_available: int | str | None = None,
        max_unavailable: int | str | None = None,
    ) -> None:
        """A disruption budget for a deployment: evictions and drains are held to it. One of the two, as "80%" or 3."""
        if (min_available is None) == (max_unavailable is None):
            raise InputError(f"budget {name!r}: wanted one of min_available and max_unavailable")
        budget = Budget(name, BudgetSpec(min_available, max_unavailable), workload=deployment)
        self._controllers.protect(budget)

    def heal_as_kubernetes(
        self,
        *,
        detector: FailureDetector | None = None,
        probes: Mapping[str, Probes] | None = None,
        move_after: int | None = None,
    ) -> None:
        """From now on look after nodes and pods as Kubernetes does, instead of by the rules of the original service.

        A node that is silent for 50 s is Unknown, its pods not ready; it is tainted, at its zone's rate, and pods
        that don't tolerate that for longer are evicted, after 300 s by default. A container that fails is restarted
        on its node, with a back-off from 10 s to 5 min. `health` says what is heard from and what failed.

        detector   : who suspects nodes; by default Kubernetes' own
        probes     : deployment -> its containers' probes; `report_ill` says that a pod doesn't answer them
        move_after : so many restarts on one node, and a pod is placed anew; None for never

        In a cluster of several this is so for all of them. Who leads listens, and what it makes of that is an intent;
        a new leader begins to listen with patience for all, but knows who is tainted, which pods are to go when, and
        how long each back-off is.

        Raises UnknownName for a deployment that isn't there, StateConflict if this was asked for before.
        """
        chosen = detector if detector is not None else LeaseMonitor()
        self._decided("heal_as_kubernetes", self._heal)(chosen, dict(probes or {}), move_after)
        self._loop.wake()

    def _heal(self, detector: FailureDetector, probes: Mapping[str, Probes], move_after: int | None) -> None:
        live, state = self._controllers, self._state
        assert state is not None, "controllers without a state"
        heartbeats = ReportedHeartbeats(state, self.nodes, self.health, detector, self._stamps.now())
        period_ns = round(INTERVAL_S * SECOND_NS)
        live.watch(self.pods, self.health, heartbeats, type(detector).__name__, probes, move_after, period_ns)
        self._heartbeats, self._healing = heartbeats, (detector, probes, move_after)

    def _heal_like(self, healing: tuple[FailureDetector, Mapping[str, Probes], int | None] | None) -> None:
        if healing is not None and self._healing is None:
            self._heal(*healing)

    def quotas(self, namespace: str) -> tuple[ResourceQuota, ...]:
        """The quotas of a namespace, with what is used of each now. Raises UnknownName for one that has no rules."""
        if self._door is None or self._door.admission is None:
            raise InputError("no quotas: this orchestrator was given no namespaces")
        with self._door.state.lock:
            return self._door.admission.quotas(namespace)

    def report_ill(self, pod_id: str) -> None:
        """Say that a pod's application answers no probe from now on, until it is restarted."""
        self._controllers.report_ill(pod_id)
        self._loop.wake()

    def report_well(self, pod_id: str) -> None:
        """Say that a pod's application answers again."""
        self._controllers.report_well(pod_id)
        self._loop.wake()

    def controller_rows(self, table: str) -> list[dict[str, Any]]:
        """The last thousand rows that controllers told in "scaling", "healing", "health" or "events", oldest first.

        The columns are those of a simulated run's frames of these names, times in nanoseconds.
        """
        return self._controllers.rows(table)

    def evict(self, pod_id: str, reason: str = "eviction") -> bool:
        """End a pod with 30 s of grace; False if a disruption budget forbids it now.

        A deployment's pod is made anew at once, any other waits for a node again.
        """
        with self._acting():
            admitted = self._controllers.evict(pod_id, reason)
        self._loop.wake()
        return admitted

    def drain(self, node_id: str, reason: str = "maintenance") -> None:
        """Cordon a node and evict its pods, again every 5 s until the budgets have admitted all."""
        with self._acting():
            self._controllers.drain(node_id, reason)
        self._loop.wake()

    def uncordon(self, node_id: str) -> None:
        """Let pods come to a node again, and stop draining it."""
        with self._acting():
            self._controllers.uncordon(node_id)

    def add_controller(self, controller: ControllerPort) -> None:
        """Run a controller of your own on the same calendar, in the same thread. StateConflict if its name is taken."""
        self._control.add(controller)
        self._loop.wake()

    @property
    def _controllers(self) -> LiveCluster:
        with self._making:
            if self._live is None:
                if self._state is None or self.metrics is None:
                    raise InputError(
                        "deployments, autoscalers and budgets need pods and nodes that are kept in one state: "
                        "wanted InMemoryPodRepository(state) and InMemoryNodeRepository(state), or neither"
                    )
                record = self.healer.record_healing_event
                self._live = LiveCluster(self._state, self.metrics, self._control, self._stamps, record, self._intents)
            return self._live

    # -- consensus ---------------------------------------------------------------

    def get_raft_state(self) -> RaftState:
        """A snapshot of this member of the Raft cluster; one alone leads."""
        return self.consensus.get_raft_state()

    def append_log_entry(self, entry: dict[str, Any]) -> bool:
        """Append to the log; False unless this member leads.

        Raises InputError for the key "intent" in a cluster of several: that is how decisions are told.
        """
        if self._intents is not None and INTENT in entry:
            raise InputError(f"an entry with the key {INTENT!r} would be carried out as a decision; use another key")
        return self.consensus.append_log_entry(entry)

    # -- a cluster of several ----------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this member decides now."""
        return self.consensus.standing[0] is ConsensusRole.LEADER

    def _join(self, intents: Intents, in_background: bool) -> None:
        """Become a member of a cluster: what there is to be, the log will say."""
        self.healer.join(intents)
        self.autoscaler.join(intents)
        assert self._controllers is not None
        intents.register("heal_as_kubernetes", self._heal)
        intents.keep("healing", lambda: deepcopy(self._healing), self._heal_like)
        assert self._state is not None
        assert self._network is not None
        # Without threads whoever sends also delivers, so an answer that isn't there yet won't come by waiting.
        intents.connect(self.consensus, self._state.lock, self._take_over, INTERVAL_S if in_background else 0.0)
        self._network.join(self.consensus.member_id, self.consensus.receive)
        if in_background:
            self.consensus.start_consensus_protocol()

    def _take_over(self) -> None:
        """Go on where the leader before stopped: all that it decided is known here, not what it had in mind."""
        self._add_own_nodes()
        self._controllers.take_over()
        self.autoscaler.hold()
        if self._heartbeats is not None:
            self._heartbeats.begin_anew()
        for node in self.nodes.list_nodes():
            if node.state is NodeState.NOT_READY:
                # Noticed by the one before, and perhaps no more than that.
                self._decided("evacuate_node", self.healer.evacuate_node)(node)

    def _decided(self, verb: str, act: Callable[..., None]) -> Callable[..., None]:
        """Do this, or where several members decide, have it done by all of them."""
        return act if self._intents is None else partial(self._intents.decide, verb)

    def _acting(self) -> AbstractContextManager[None]:
        return self._intents.acting() if self._intents is not None else nullcontext()

    def _catch_up(self) -> None:
        if self._intents is not None:
            self._intents.catch_up()

    def _run_due(self) -> float | None:
        """One turn of the background thread, if this member leads."""
        if self._intents is None:
            return self._control.run_due()
        try:
            with self._intents.acting():
                return self._control.run_due()
        except NotLeader:
            return ELECTION_TIMEOUT_S / ELECTION_TICKS

    # -- the whole -----------------------------------------------------------------

    def get_cluster_stats(self) -> dict[str, Any]:
        """Counts of nodes, pods and kept healing events; utilization in percent of capacity; Raft's role and term."""
        self._catch_up()
        nodes, pods, (role, term) = self.nodes.list_nodes(), self.pods.list_pods(), self.consensus.standing
        return {
            "total_nodes": len(nodes),
            "ready_nodes": sum(node.state is NodeState.READY for node in nodes),
            "total_pods": len(pods),
            "running_pods": sum(pod.phase is PodPhase.RUNNING for pod in pods),
            "failed_pods": sum(pod.phase is PodPhase.FAILED for pod in pods),
            "cpu_utilization": _percent([n.cpu_used for n in nodes], [n.cpu_capacity for n in nodes]),
            "memory_utilization": _percent([n.memory_used for n in nodes], [n.memory_capacity for n in nodes]),
            "raft_role": role.value,
            "raft_term": term,
            "healing_events": len(self.get_healing_events(EVENTS_KEPT)),
        }

    def step(self) -> None:
        """One control step now: check health, heal, scale, place what waits; other controllers if they are due.

        In a cluster of several, time passes for Raft too, and who doesn't lead only listens.
        """
        if self._intents is None:
            self._control.step()
            return
        if not self._loop.running:
            self.consensus.pass_time()
        # Whoever could not decide now, or lost the lead over it, leaves it to whoever leads next.
        with suppress(NotLeader), self._intents.acting():
            self._control.step()

    def close(self) -> None:
        """End the background threads; returns when they have ended."""
        self._loop.stop()
        self.monitor.stop_monitoring()
        self.consensus.stop()
        if self._network is not None:
            self._network.leave(self.consensus.member_id)

    def __enter__(self) -> KubernetesOrchestrator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_own_nodes(self) -> None:
        if self.nodes.list_nodes():
            return
        now = from_ns(self.clock.now())
        for node_id, zone in OWN_NODES.items():
            labels = {"zone": zone, "node-type": "worker"}
            self.nodes.save_node(Node(node_id, f"k8s-{node_id}", NodeState.READY, labels=labels, last_heartbeat=now))


def _repositories(
    pods: PodRepositoryPort | None, nodes: NodeRepositoryPort | None, clock: ClockPort, intents: Intents | None
) -> tuple[PodRepositoryPort, NodeRepositoryPort]:
    """The given ones, or two on one state; replicated ones where several members decide."""
    if intents is None:
        state = ClusterState(clock=clock)
        return pods if pods is not None else InMemoryPodRepository(state), (
            nodes if nodes is not None else InMemoryNodeRepository(state)
        )
    if pods is not None or nodes is not None:
        raise InputError("a cluster of several orchestrators keeps its own pods and nodes: give peers, or repositories")
    replicated = ReplicatedState(intents)
    return ReplicatedPods(replicated, intents), ReplicatedNodes(replicated, intents)


def _door(pods: PodRepositoryPort, clock: ClockPort) -> AdmittedPods:
    state = state_of(pods)
    if state is None:
        raise InputError("namespaces need pods that are kept in a state: wanted InMemoryPodRepository(state), or none")
    return AdmittedPods(pods, state, clock)


def _member(
    node_id: str,
    peers: Sequence[str],
    network: NetworkPort | None,
    store: LogStorePort | None,
    clock: ClockPort,
    intents: Intents | None,
    snapshot_every: int,
) -> ConsensusManager:
    if intents is None:
        return ConsensusManager(node_id, clock=clock, store=store, snapshot_every=snapshot_every)
    if network is None:
        raise InputError(f"member {node_id!r} has peers ({', '.join(peers)}) and no network: give LocalNetwork()")
    config = RaftConfig(election_ticks=ELECTION_TICKS, pre_vote=True, check_quorum=True, forward_proposals=False)
    return ConsensusManager(
        node_id, peers=peers, transport=network, store=store, apply=intents.committed, restore=intents.restored,
        clock=clock, config=config, snapshot_every=snapshot_every,
    )  # fmt: skip


_INSTANCE_LOCK: Final = threading.Lock()
_instance: KubernetesOrchestrator | None = None


def get_kubernetes_orchestrator() -> KubernetesOrchestrator:
    """The process's one orchestrator, made when first asked for, by whichever thread is first."""
    global _instance
    with _INSTANCE_LOCK:
        if _instance is None:
            _instance = KubernetesOrchestrator()
        return _instance


def _percent(used: list[float], capacity: list[float]) -> float:
    whole = fsum(capacity)
    return 100 * fsum(used) / whole if whole > 0 else 0.0
