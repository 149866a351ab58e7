"""The scheduler's loop: the pod whose turn it is goes to its best node, or back to the queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from k8slab.application.informer import Informer
from k8slab.domain.columns import LEAVING, Codes, Ints, PlacedPods
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClockPort, ClusterStatePort, SchedulingQueuePort
from k8slab.domain.queueing import PodInfo
from k8slab.errors import K8slabError
from k8slab.policies import Policy, as_policy
from k8slab.policies.plugins import SchedulingGates
from k8slab.policies.policy import Evaluation, check_seed
from k8slab.policies.preemption import Preemption
from k8slab.policies.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["bound", "unschedulable", "preempting", "error", "gated"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("bound", "unschedulable", "preempting", "error", "gated")
_NOT_ELIGIBLE: Final = "preemption: not eligible"
_PREEMPTED: Final = LEAVING.index("preempted")
# So many pods share a snapshot at most. Those that differ in what they match are counted apart in it.
_SHARED: Final = 1024
_SHOWN: Final = 20


class Attempt(NamedTuple):
    """What came of one try of a pod.

    outcome : bound, unschedulable, preempting (others leave for it), error, or gated (it came, and isn't tried)
    node    : where it was bound, or which it was promised; "" for neither
    message : why it wasn't bound: the scheduler's event text, or the error
    victims : the names of the pods that were made to leave for it
    """

    time_ns: int
    pod: str
    namespace: str
    outcome: Outcome
    node: str = ""
    message: str = ""
    victims: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Shared:
    """A snapshot that several pods are judged on, as long as nothing happens but their own binding.

    places : the index in the snapshot's pods, by pod row
    """

    snapshot: Snapshot
    places: dict[int, int]


class QueuedScheduler:
    """kube-scheduler's loop on a cluster's state: takes pods from the queue, binds them, preempts, or lets them wait.

    state  : the cluster; what others do to it is read from its journal before each try
    policy : a Policy or its name; its post_filter, if it has one, preempts
    queue  : its own, to which nobody else adds pods. SchedulingQueue(clock)
    clock  : the queue's. A VirtualClock makes it a simulation, a WallClock real
    seed   : for ties that are drawn
    evict  : ends victims of a preemption, given their rows int64[]; they are marked as leaving by then, and hold
             what they have until they are removed, which may be later. By default they go at once

    A policy that samples nodes begins each search where the last one ended. A pod that was promised a node is
    tried there first, alone.

    An error of a plug-in or of binding sends the pod to its back-off, and is told by the attempt; the loop goes on.
    Between steps anybody may change the state, from any thread.

    >>> from k8slab.application import SchedulingQueue
    >>> from k8slab.datasets import Cluster, Workload
    >>> from k8slab.infrastructure.clocks import VirtualClock
    >>> clock = VirtualClock()
    >>> state = Cluster.synthetic(2, seed=0).new_state(clock=clock)
    >>> pod = state.add_pods(["web"], state.schema.vector({"cpu": 500, "pods": 1})[None])
    >>> scheduler = QueuedScheduler(state, "kube-default", SchedulingQueue(clock), clock)
    >>> scheduler.run_once().outcome
    'bound'
    """

    def __init__(
        self,
        state: ClusterStatePort,
        policy: str | Policy,
        queue: SchedulingQueuePort,
        clock: ClockPort,
        *,
        seed: int = 0,
        evict: Callable[[Ints], None] | None = None,
    ) -> None:
        self._state = state
        self._policy = as_policy(policy)
        self._queue = queue
        self._clock = clock
        self._seed = check_seed(seed)
        self._evict = state.remove_pods if evict is None else evict
        self._informer = Informer(state, queue)
        self._shared: _Shared | None = None
        self._search_start = 0
        self._served = 0
        self._served_last = 0
        self._attempts: list[Attempt] = []

    # -- running -------------------------------------------------------------------

    def catch_up(self) -> None:
        """Tell the queue what happened in the cluster since the last time; each try does so first."""
        with self._state.lock:
            happened, came = self._informer.catch_up()
            if happened:
                self._forget_snapshot()
            gates = SchedulingGates()
            for pod in came:
                if pod.spec.gates:
                    self._attempts.append(self._told(pod, "gated", message=gates.holds(pod.spec)))

    def run_once(self) -> Attempt | None:
        """Try the pod whose turn it is; None if it is nobody's now."""
        with self._state.lock:
            self.catch_up()
            pod = self._queue.pop()
            if pod is None:
                return None
            assert pod.row in self._informer.waiting, f"pod {pod.key!r} was added to the queue by somebody else"
            attempt = self._try(pod)
            self._attempts.append(attempt)
            return attempt

    def run(self, until_ns: int | None = None) -> int:
        """Try pods until it is nobody's turn; gives how many tries that took.

        until_ns : go on until then, sleeping while nobody can be tried. What others change meanwhile is noticed
                   at the next `next_ns()`
        """
        tried = 0
        while True:
            while self.run_once() is not None:
                tried += 1
            if until_ns is None:
                return tried
            due_ns = self.next_ns()
            if due_ns is None or due_ns > until_ns:
                self._clock.sleep_until(until_ns)
                return tried
            self._clock.sleep_until(due_ns)

    def next_ns(self) -> int | None:
        """When to come back if nothing else happens, None if never. After run(), nobody can be tried before."""
        return self._queue.next_flush_ns()

    # -- one try ---------------------------------------------------------------------

    def _try(self, pod: PodInfo) -> Attempt:
        try:
            judged, node_row = self._decide(pod)
            if node_row >= 0:
                devices = self._devices(pod, node_row)
                self._state.bind(pod.row, node_row, devices=devices, force=not self._policy.checks_fit)
        except K8slabError as error:
            return self._failed(pod, str(error))
        except BaseException:
            # A fault of a plug-in or Ctrl-C: the loop ends, but the pod isn't lost.
            self._queue.requeue_error(pod)
            raise
        return self._bound(pod, node_row) if node_row >= 0 else self._refused(pod, judged)

    def _decide(self, pod: PodInfo) -> tuple[Evaluation, int]:
        """What the policy makes of a pod, and the row of the node it gets, -1 for none."""
        shared, promised = self._shared_for(pod), self._informer.promised.get(pod.row, -1)
        if promised >= 0:
            # The node that it was promised goes before better ones, and no search begins.
            whole = replace(self._policy, sampling=None)
            judged = whole.judge(shared.snapshot, shared.places[pod.row], seed=self._seed)
            if judged.feasible[promised] or self._policy.sampling is None:
                return judged, promised if judged.feasible[promised] else judged.chosen
        shared.snapshot.search_start = self._search_start
        judged = self._policy.judge(shared.snapshot, shared.places[pod.row], seed=self._seed)
        self._search_start = judged.next_start
        return judged, judged.chosen

    def _devices(self, pod: PodInfo, node_row: int) -> Ints | None:
        """int64[1, D]: which of the node's devices the policy gives the pod; None unless it tells them apart."""
        table = None if self._shared is None else self._shared.snapshot.devices
        if self._shared is None or table is None:
            return None
        chosen: Ints = table.choice(self._shared.places[pod.row], node_row)
        return chosen[None]

    def _bound(self, pod: PodInfo, node_row: int) -> Attempt:
        if self._shared is not None:
            self._shared.snapshot.assume(self._shared.places[pod.row], node_row)
        self._informer.bound(pod, node_row)
        return self._told(pod, "bound", self._state.node_names[node_row])

    def _refused(self, pod: PodInfo, judged: Evaluation) -> Attempt:
        if not judged.alive.any():
            # Nothing refused the pod, so no event could be waited for.
            return self._failed(pod, "no nodes available to schedule pods", "unschedulable")
        if self._policy.post_filter is None:
            return self._wait(pod, judged)
        try:
            found = self._preemption(pod) if self._may_preempt(pod) else None
        except K8slabError as error:
            return self._failed(pod, str(error))
        except BaseException:
            self._queue.requeue_error(pod)
            raise
        if found is not None and found[0].node_row >= 0:
            return self._preempt(pod, judged, *found)
        # Not so where it mustn't ask, or still waits for victims to end.
        if pod.spec.may_preempt and (found is None or not found[0].message.startswith(_NOT_ELIGIBLE)):
            self._take_promise_back(pod)
        return self._wait(pod, judged)

    def _wait(self, pod: PodInfo, judged: Evaluation) -> Attempt:
        self._queue.requeue_unschedulable(pod, _refusing(judged))
        return self._told(pod, "unschedulable", message=judged.message())

    def _failed(self, pod: PodInfo, message: str, outcome: Outcome = "error") -> Attempt:
        self._forget_snapshot()
        self._take_promise_back(pod)
        self._queue.requeue_error(pod)
        return self._told(pod, outcome, message=message)

    def _take_promise_back(self, pod: PodInfo) -> None:
        if self._informer.promised.get(pod.row, -1) >= 0:
            self._state.nominate(pod.row, -1)

    def _told(
        self, pod: PodInfo, outcome: Outcome, node: str = "", message: str = "", victims: tuple[str, ...] = ()
    ) -> Attempt:
        return Attempt(self._clock.now(), pod.name, pod.namespace, outcome, node, message, victims)

    # -- preemption --------------------------------------------------------------------

    def _may_preempt(self, pod: PodInfo) -> bool:
        """Whether any pod that runs matters less, so that it is worth a look at every node."""
        running = self._state.pod_node >= 0
        lowest = self._state.pod_priority.min(where=running, initial=np.iinfo(np.int32).max)
        return bool(lowest < pod.priority)

    def _preemption(self, pod: PodInfo) -> tuple[Preemption, Snapshot]:
        # On a snapshot of its own: which pods have to go must not hang on who was judged together.
        alone = self._state.pod_columns(np.array([pod.row]))
        spec = replace(pod.spec, nominated_to=pod.nominated)
        snapshot = self._policy.snapshot(self._state.node_columns(), replace(alone, specs=Codes.of([spec])))
        judged = self._policy.judge(snapshot, 0, seed=self._seed)
        return self._policy.preempt(snapshot, 0, judged, seed=self._seed), snapshot

    def _preempt(self, pod: PodInfo, judged: Evaluation, found: Preemption, snapshot: Snapshot) -> Attempt:
        node_row = found.node_row
        node = self._state.node_names[node_row]
        running = snapshot.placed.pods
        victims = tuple(guest.name for guest in found.victims)
        # Those that are being deleted already needn't be told again.
        fresh = [int(running.rows[guest.row]) for guest in found.victims if not guest.leaving]
        less = _less_important(snapshot.nodes.nominated, node_row, pod.priority)
        if len(less):
            self._state.nominate(less, -1)
        self._state.nominate(pod.row, node_row)
        self._queue.requeue_unschedulable(pod, _refusing(judged))
        if fresh:
            leaving = np.array(fresh, dtype=np.int64)
            self._state.set_leaving(leaving, _PREEMPTED)
            try:
                self._evict(leaving)
            except K8slabError as error:
                self._queue.activate(pod)
                return self._told(pod, "error", node, str(error), victims)
        return self._told(pod, "preempting", node, judged.message(), victims)

    # -- what is judged on ---------------------------------------------------------------

    def _shared_for(self, pod: PodInfo) -> _Shared:
        shared = self._shared
        if shared is None or pod.row not in shared.places or shared.snapshot.nodes.objects is not self._state.objects:
            self._forget_snapshot()
            shared = self._shared = self._share(pod)
        self._served += 1
        return shared

    def _share(self, pod: PodInfo) -> _Shared:
        """A snapshot for the pod and some that will be tried soon after it: twice as many as the last one served.

        So it costs little where something happens at each try, and nothing to speak of where nothing does.
        """
        rows = np.array([pod.row], dtype=np.int64)
        if self._served_last:
            rows = self._next_in_turn(pod, min(2 * self._served_last, _SHARED))
        places = {row: index for index, row in enumerate(rows.tolist())}
        snapshot = self._policy.snapshot(self._state.node_columns(), self._state.pod_columns(rows))
        snapshot.seed = self._seed
        return _Shared(snapshot, places)

    def _next_in_turn(self, pod: PodInfo, count: int) -> Ints:
        """int64[]: the pod's row and those that go after it, by priority and arrival: a guess, but a good one."""
        waiting = np.fromiter(self._informer.waiting, dtype=np.int64, count=len(self._informer.waiting))
        turn = waiting - (self._state.pod_priority[waiting].astype(np.int64) << 32)
        later = turn >= pod.row - (pod.priority << 32)
        waiting, turn = waiting[later], turn[later]
        if len(waiting) > count:
            waiting = waiting[np.argpartition(turn, count)[:count]]
        return np.sort(waiting)

    def _forget_snapshot(self) -> None:
        if self._shared is not None:
            self._served_last, self._served = self._served, 0
            self._shared = None

    # -- for people ------------------------------------------------------------------------

    @property
    def attempts(self) -> Sequence[Attempt]:
        """What came of each try so far, in order."""
        return tuple(self._attempts)

    def to_frame(self) -> pd.DataFrame:
        """One row a try, in order; `k8slab.analysis.frames.FRAMES` says what the columns mean."""
        import pandas as pd

        frame = pd.DataFrame(self._attempts, columns=list(Attempt._fields), dtype=object)
        frame["node"] = [attempt.node or None for attempt in self._attempts]
        frame["victims"] = [", ".join(attempt.victims) for attempt in self._attempts]
        return frame.astype({name: "int64" if name == "time_ns" else "object" for name in Attempt._fields})

    def __repr__(self) -> str:
        return f"<QueuedScheduler {self._policy.name}: {self._summary()}>"

    def _repr_html_(self) -> str:
        rows = "".join(_row(attempt) for attempt in reversed(self._attempts[-_SHOWN:]))
        head = "".join(f"<th>{name}</th>" for name in ("time", "pod", "outcome", "node", "message"))
        more = len(self._attempts) - _SHOWN
        return (
            f"<div><b>Scheduler, {escape(self._policy.name)}</b>: {escape(self._summary())}"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"{f'<p>and {more:,} before</p>' if more > 0 else ''}</div>"
        )

    def _summary(self) -> str:
        counts = Counter(attempt.outcome for attempt in self._attempts)
        return ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES if counts[outcome]) or "no pod tried"


def _refusing(judged: Evaluation) -> set[str]:
    """The plug-ins that were the first to refuse some node, or that narrowed the nodes."""
    refusing = {judged.filters[index] for index in np.unique(judged.refused_by).tolist() if index >= 0}
    return refusing if judged.prefilter is None else refusing | {judged.prefilter.plugin}


def _less_important(nominated: PlacedPods | None, node_row: int, priority: int) -> Ints:
    """int64[]: rows of the pods that were promised a node, and matter less."""
    if nominated is None:
        return np.zeros(0, dtype=np.int64)
    less = (nominated.node_rows == node_row) & (nominated.pods.priority < priority)
    return np.asarray(nominated.pods.rows[less])


def _row(attempt: Attempt) -> str:
    seconds = f"{attempt.time_ns / SECOND_NS:,.3f} s"
    told = f"{attempt.message}{' for it leave: ' + ', '.join(attempt.victims) if attempt.victims else ''}"
    cells = (seconds, f"{attempt.namespace}/{attempt.pod}", attempt.outcome, attempt.node, told)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
