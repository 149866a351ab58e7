"""The healer: failed pods restart, or are placed anew; failed nodes are emptied."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from k8slab.application.disruption_budgets import Budget
from k8slab.application.draining import Draining
from k8slab.application.evictor import GRACE_NS
from k8slab.application.ledger import Ledger, state_of, update
from k8slab.domain.instants import UtcTime, from_ns
from k8slab.domain.models import Node, NodeState, Pod, PodPhase, SelfHealingEvent
from k8slab.domain.ports import IntentPort, NodeRepositoryPort, PodRepositoryPort, TimePort
from k8slab.domain.replicas import replicate
from k8slab.domain.restart_backoff import moves_on
from k8slab.errors import InputError

MAX_RESTARTS: Final = 3
EVENTS_KEPT: Final = 1000


class SelfHealer:
    """Restarts failed pods where they are, up to three times, then has them placed anew; evacuates and drains nodes.

    What it makes pending waits for whoever schedules. It remembers its last 1,000 events.

    budgets  : disruption budgets that drains honour
    grace_ns : how long a drained pod takes to end
    """

    def __init__(
        self,
        pod_repo: PodRepositoryPort,
        node_repo: NodeRepositoryPort,
        *,
        clock: TimePort | None = None,
        budgets: Iterable[Budget] = (),
        grace_ns: int = GRACE_NS,
    ) -> None:
        self._ledger = Ledger(pod_repo, node_repo)
        self._clock = clock if clock is not None else UtcTime()
        state = state_of(node_repo)
        self._draining: Draining | None = None
        if state is not None and state is state_of(pod_repo):
            self._draining = Draining(state, self.record_healing_event, budgets, grace_ns=grace_ns)
        self._events: deque[SelfHealingEvent] = deque(maxlen=EVENTS_KEPT)
        self._recorded = 0

    def join(self, intents: IntentPort) -> None:
        """Heal alike with others from now on: what is healed, and the events of it, are the same for all."""
        intents.register("heal_failed_pod", self.heal_failed_pod)
        intents.register("evacuate_node", self.evacuate_node)
        replicate(self, "healer", intents, memory=("_events", "_recorded"))
        if self._draining is not None:
            self._draining.join(intents)

    def heal_failed_pod(self, pod: Pod) -> None:
        """Restart the pod on its node; after three restarts make it wait for another instead.

        Stores the pod, updates `pod`, and records a "pod_failure". A pod without a node,
        or on one that is not ready or unknown, waits too. If the stored pod shows that
        this failure was seen to already, `pod` is brought up to date and nothing done.
        """
        with self._ledger.lock:
            stored = self._ledger.pods.get_pod(pod.pod_id)
            if stored is not None and _healed_since(stored, pod):
                update(pod, stored)
                return
            node_id = pod.node_id
            if not moves_on(pod.restart_count, MAX_RESTARTS) and self._can_restart_on(node_id):
                self._restart(pod)
                self._record("pod_failure", pod, node_id, "failed", f"restart {pod.restart_count} of {MAX_RESTARTS}")
            else:
                self._ledger.release(pod)
                self._record("pod_failure", pod, node_id, "failed", "taken off its node, to be placed anew")

    def evacuate_node(self, node: Node) -> None:
        """Cordon the node and empty it: its pods wait for another; one "node_evacuation" is recorded for each.

        Pods that succeeded stay as they are. Stores the node and its pods, updates `node`.
        """
        with self._ledger.lock:
            stored = self._ledger.nodes.get_node(node.node_id)
            emptied = replace(stored if stored is not None else node, state=NodeState.CORDONED)
            self._ledger.nodes.save_node(emptied)
            for pod in self._ledger.pods.list_pods():
                if pod.node_id == node.node_id and pod.phase is not PodPhase.SUCCEEDED:
                    self._ledger.release(pod)
                    self._record("node_evacuation", pod, node.node_id, f"its node is {node.state.value}", "evicted")
            emptied = replace(emptied, pods=[], cpu_used=0, memory_used=0)
            self._ledger.nodes.save_node(emptied)
            update(node, replace(emptied, pods=[]))

    def drain_node(self, node: Node, reason: str = "drain") -> None:
        """Cordon the node and evict its pods as the budgets allow, with their grace; "node_drain"s are recorded.

        Who is refused now is asked for again by `continue_drains`, 5 s later and again, until all
        are gone; they wait for another node then. Updates `node`. Unlike `evacuate_node` it asks. Raises
        UnknownName for a node that isn't there, InputError where the two repositories share no state.
        """
        self._drains().begin(node.node_id, reason, self._clock.now())
        stored = self._ledger.nodes.get_node(node.node_id)
        if stored is not None:
            update(node, stored)

    def continue_drains(self) -> None:
        """Go on with drains that are due; a control loop calls it at each step."""
        if self._draining is not None:
            self._draining.proceed(self._clock.now())

    def drain_lasts(self, node: Node) -> bool:
        """Whether pods of a node that is being drained are there still."""
        return self._drains().lasts(node.node_id)

    def uncordon_node(self, node: Node) -> None:
        """Stop draining the node, and let pods come again. Updates `node`."""
        self._drains().end(node.node_id, self._clock.now())
        stored = self._ledger.nodes.get_node(node.node_id)
        if stored is not None:
            update(node, stored)

    def _drains(self) -> Draining:
        if self._draining is None:
            raise InputError(
                "a drain asks disruption budgets, which count pods in a state that both repositories share; "
                "these have none: use evacuate_node, or the in-memory repositories on one ClusterState"
            )
        return self._draining

    def record_healing_event(self, event: SelfHealingEvent) -> None:
        """Remember the event; the oldest is forgotten beyond 1,000."""
        with self._ledger.lock:
            self._events.append(replace(event, metadata=dict(event.metadata)))

    def get_healing_events(self, limit: int = 100) -> list[SelfHealingEvent]:
        """The last events, at most `limit`, oldest first."""
        with self._ledger.lock:
            last = list(self._events)[-limit:] if limit > 0 else []
            return [replace(event, metadata=dict(event.metadata)) for event in last]

    def _can_restart_on(self, node_id: str) -> bool:
        node = self._ledger.nodes.get_node(node_id) if node_id else None
        # A node that only the pod knows of may be another adapter's: nothing speaks against it.
        away = node is not None and node.state in (NodeState.NOT_READY, NodeState.UNKNOWN)
        return bool(node_id) and not away

    def _restart(self, pod: Pod) -> None:
        restarted = replace(pod, restart_count=pod.restart_count + 1, last_restart=from_ns(self._clock.now()))
        self._ledger.assign(restarted, pod.node_id)
        update(pod, restarted)

    def _record(self, event_type: str, pod: Pod, node_id: str, what: str, action: str) -> None:
        self._recorded += 1
        self.record_healing_event(
            SelfHealingEvent(
                event_id=f"healing-{self._recorded}",
                timestamp=from_ns(self._clock.now()),
                event_type=event_type,
                pod_id=pod.pod_id,
                node_id=node_id,
                description=f"pod {pod.name} {what}",
                action_taken=action,
                success=True,
                metadata={"restart_count": pod.restart_count},
            )
        )


def _healed_since(stored: Pod, seen: Pod) -> bool:
    """Whether the stored pod is past the failure that `seen` shows: two watchers can report one failure."""
    moved = stored.node_id != seen.node_id or stored.restart_count > seen.restart_count
    return moved and stored.phase is not PodPhase.FAILED
