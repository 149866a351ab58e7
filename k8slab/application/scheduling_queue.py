"""The scheduling queue with a clock: what a simulation and a live scheduler take their next pod from."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import TimePort
from k8slab.domain.queueing import Backoff, Event, Hints, PodInfo, PodQueue, QueuedPodInfo
from k8slab.domain.queueing.queue import LEFTOVER_AFTER_NS, Place

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20


class SchedulingQueue:
    """kube-scheduler v1.34's queue (see PodQueue for its rules), at the clock's time, for any number of threads.

    clock       : a VirtualClock makes it a simulation, a WallClock real
    backoff     : podInitialBackoffSeconds and podMaxBackoffSeconds, in nanoseconds
    hints       : what plug-ins registered for; None for kube-scheduler's own
    leftover_ns : how long a pod waits for an event at most

    A clock that jumps should stop at `next_flush_ns()` if the scheduler is idle; a
    later call finds the queue as it would be anyhow.

    >>> from k8slab.infrastructure.clocks import VirtualClock
    >>> clock = VirtualClock()
    >>> queue = SchedulingQueue(clock)
    >>> queue.add(PodInfo("web"))
    >>> queue.requeue_error(queue.pop())
    'error'
    >>> clock.sleep_until(queue.next_flush_ns()); clock.now() / SECOND_NS
    2.0
    >>> queue.pop().name
    'web'
    """

    def __init__(
        self,
        clock: TimePort,
        backoff: Backoff | None = None,
        hints: Hints | None = None,
        leftover_ns: int = LEFTOVER_AFTER_NS,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._queue = PodQueue(backoff, hints, clock.now(), leftover_ns)

    def add(self, pod: PodInfo) -> None:
        """A new pod waits."""
        with self._lock:
            self._queue.add(pod, self._clock.now())

    def pop(self) -> PodInfo | None:
        """The pod to be scheduled now, None if there is none; it is in flight from here on."""
        with self._lock:
            return self._queue.pop(self._clock.now())

    def done(self, pod: PodInfo) -> None:
        """A popped pod is bound, or never comes back."""
        with self._lock:
            self._queue.done(pod)

    def requeue_unschedulable(self, pod: PodInfo, rejected_by: Iterable[str], pending: Iterable[str] = ()) -> Place:
        """A popped pod that plug-ins refused comes back; gives where it went."""
        with self._lock:
            return self._queue.requeue_unschedulable(pod, rejected_by, pending, now_ns=self._clock.now())

    def requeue_error(self, pod: PodInfo) -> Place:
        """A popped pod comes back because of an error, or there were no nodes; gives where it went."""
        with self._lock:
            return self._queue.requeue_error(pod, self._clock.now())

    def update(self, pod: PodInfo) -> Place:
        """A pod that waits changed; gives where it is now."""
        with self._lock:
            return self._queue.update(pod, self._clock.now())

    def delete(self, pod: PodInfo) -> bool:
        """Forget a pod that waits; False if there is none."""
        with self._lock:
            return self._queue.delete(pod, self._clock.now())

    def activate(self, pod: PodInfo) -> bool:
        """Try a pod now, whatever it waits for; False if it can't be moved."""
        with self._lock:
            return self._queue.activate(pod, self._clock.now())

    def hold(self, pod: PodInfo) -> None:
        """Keep a preemptor out of the queues while its victims' deletions are sent."""
        with self._lock:
            self._queue.hold(pod)

    def release(self, pod: PodInfo) -> None:
        """They are sent."""
        with self._lock:
            self._queue.release(pod)

    def move_on(self, event: Event) -> int:
        """Something happened in the cluster; gives how many pods it moved."""
        with self._lock:
            return self._queue.move_on(event, self._clock.now())

    def flush(self) -> int:
        """Let happen what is due, as every verb does first; gives how many pods that moved."""
        with self._lock:
            return self._queue.flush(self._clock.now())

    def next_flush_ns(self) -> int | None:
        """When something is due next, None if never."""
        with self._lock:
            return self._queue.next_flush_ns()

    def __len__(self) -> int:
        """How many pods wait, those in flight left out."""
        with self._lock:
            return len(self._queue)

    def counts(self) -> dict[Place, int]:
        """How many pods are where."""
        with self._lock:
            return self._queue.counts()

    def get(self, pod: PodInfo) -> QueuedPodInfo | None:
        """How a pod stands, None if the queue doesn't know it."""
        with self._lock:
            return self._queue.get(pod)

    def pods(self) -> list[QueuedPodInfo]:
        """How all of them stand, the active in the order they go first."""
        with self._lock:
            return self._queue.pods()

    # -- for people ---------------------------------------------------------------------

    def to_frame(self) -> pd.DataFrame:
        """One row a pod, in the order of pods(); `k8slab.analysis.frames.FRAMES` says what the columns mean."""
        import pandas as pd

        pods = self.pods()
        columns = {
            "pod": [one.pod.name for one in pods],
            "namespace": [one.pod.namespace for one in pods],
            "queue": [one.queue for one in pods],
            "attempts": [one.attempts for one in pods],
            "priority": [one.pod.priority for one in pods],
            "since_ns": [one.since_ns for one in pods],
            "next_try_ns": [one.next_try_ns for one in pods],
            "rejected_by": [", ".join(one.rejected_by) for one in pods],
        }
        numbers = ("attempts", "priority", "since_ns", "next_try_ns")
        return pd.DataFrame(columns).astype({name: "int64" if name in numbers else "object" for name in columns})

    def __repr__(self) -> str:
        return f"<SchedulingQueue: {_told(self.counts())}>"

    def _repr_html_(self) -> str:
        pods = self.pods()
        now_ns = self._clock.now()
        blockers = Counter(plugin for one in pods for plugin in one.rejected_by)
        told = "".join(f"<li>{count:,} refused by {escape(plugin)}</li>" for plugin, count in blockers.most_common())
        rows = "".join(_row(one, now_ns) for one in pods[:_SHOWN])
        more = f"<p>and {len(pods) - _SHOWN:,} more</p>" if len(pods) > _SHOWN else ""
        head = "".join(f"<th>{name}</th>" for name in ("pod", "queue", "priority", "attempts", "waits", "refused by"))
        return (
            f"<div><b>Scheduling queue</b>: {escape(_told(self.counts()))}<ul>{told}</ul>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}</div>"
        )


def _told(counts: dict[Place, int]) -> str:
    return ", ".join(f"{count:,} {place}" for place, count in counts.items() if count) or "empty"


def _row(one: QueuedPodInfo, now_ns: int) -> str:
    waits = f"{(now_ns - one.since_ns) / SECOND_NS:,.1f} s"
    name = f"{one.pod.namespace}/{one.pod.name}"
    cells = (name, one.queue, str(one.pod.priority), str(one.attempts), waits, ", ".join(one.rejected_by))
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
