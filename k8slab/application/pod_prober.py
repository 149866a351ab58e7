"""Probes of containers that fall ill: what they find and when is known at once, only changes are events."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

import numpy as np

from k8slab.application.calendar import Rank
from k8slab.application.pod_restarts import PodRestarts
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.domain.probe_times import Life, Probes, verdicts
from k8slab.errors import InputError

# What the kubelet's kill makes of a container: 128 + SIGKILL.
KILLED: Final = 137


def ready_after(probes: Probes, answers_after_ns: int, where: str) -> int:
    """How long after its start a healthy container is ready, if its application answers that long after it.

    Raises InputError for probes that kill every container.
    """
    found = verdicts(probes, Life(0, 0, answers_after_ns))
    if found.killer is not None:
        raise InputError(
            f"{where}: its {found.killer.value} probe kills every container after "
            f"{found.kills_ns / 1e9:g} s, but it answers after {answers_after_ns / 1e9:g} s"
        )
    return found.ready[0][0] if found.ready else 0


class PodProber:
    """Makes ill pods not ready, and has those restarted that liveness probes give up.

    probes_of : pod row -> its probes, None for a pod without
    startup   : pod row -> how long its application takes to answer after its container's start, ns

    A pod that isn't ill makes no event: that it becomes ready after its start is in the state.
    """

    name = "prober"
    rank: int = Rank.KUBELET
    heeds_pods = False
    # Where several decide: its turns and what it is told, and what it foresees.
    VERBS: Final = ("fall_ill", "get_well", "run_once")
    MEMORY: Final = ("_due", "_ill", "_numbers", "_plan")

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        restarts: PodRestarts,
        probes_of: Callable[[int], Probes | None],
        startup: Callable[[int], int],
    ) -> None:
        self._state = state
        self._sink = sink
        self._restarts = restarts
        self._probes_of = probes_of
        self._startup = startup
        # (when, number, pod, its container's start, what happens); a pod's newest plan alone counts.
        self._due: list[tuple[int, int, int, int, str]] = []
        self._plan: dict[int, int] = {}
        self._ill: dict[int, tuple[int, int]] = {}
        self._numbers = 0

    def fall_ill(self, pod_rows: Ints, now_ns: int, well_ns: int = NEVER) -> None:
        """These pods' applications answer no probe from now on, until `well_ns` or until they are restarted."""
        for row in self._running(pod_rows, now_ns):
            self._ill[row] = now_ns, well_ns
            self._foresee(row, now_ns)

    def get_well(self, pod_rows: Ints, now_ns: int) -> None:
        """These answer again."""
        for row in self._running(pod_rows, now_ns):
            if row in self._ill:
                self._ill[row] = self._ill[row][0], now_ns
                self._foresee(row, now_ns)

    def next_ns(self, now_ns: int) -> int | None:
        return self._due[0][0] if self._due else None

    def run_once(self, now_ns: int) -> None:
        state = self._state
        happens: dict[str, list[int]] = {}
        while self._due and self._due[0][0] <= now_ns:
            _, number, row, start_ns, what = heapq.heappop(self._due)
            same = state.pod_alive[row] and state.pod_node[row] >= 0 and state.pod_runs_ns[row] == start_ns
            if self._plan.get(row) == number and same:
                happens.setdefault(what, []).append(row)
        for what, rows in sorted(happens.items()):
            self._do(what, np.array(sorted(rows), dtype=np.int64), now_ns)

    def _do(self, what: str, rows: Ints, now_ns: int) -> None:
        if what in ("ready", "unready"):
            self._state.set_ready(rows, now_ns if what == "ready" else NEVER)
            self._sink.emit(
                "health", time_ns=now_ns, detector="readiness", node_row=self._state.pod_node[rows].astype(np.int64),
                pod_row=rows, condition="Ready" if what == "ready" else "NotReady", truth="", since_ns=now_ns,
                reason="readiness probe",
            )  # fmt: skip
            return
        for row in rows.tolist():
            self._ill.pop(row, None)
        self._restarts.exited(rows, f"{what} probe failed", now_ns, KILLED)

    def _running(self, pod_rows: Ints, now_ns: int) -> list[int]:
        state = self._state
        rows = pod_rows[state.pod_alive[pod_rows] & (state.pod_node[pod_rows] >= 0)]
        return [int(row) for row in rows[state.pod_runs_ns[rows] <= now_ns]]

    def _foresee(self, row: int, now_ns: int) -> None:
        """Plan what the probes will do about a pod from now on."""
        probes = self._probes_of(row)
        if probes is None:
            return
        state = self._state
        start_ns = int(state.pod_runs_ns[row])
        ill_ns, well_ns = self._ill[row]
        life = Life(int(state.pod_started[row]), start_ns, start_ns + self._startup(row), ill_ns, well_ns)
        found = verdicts(probes, life)
        self._numbers += 1
        self._plan[row] = self._numbers
        for at_ns, ready in found.ready:
            # What lies before the illness has happened.
            if at_ns >= now_ns and at_ns >= ill_ns:
                heapq.heappush(self._due, (at_ns, self._numbers, row, start_ns, "ready" if ready else "unready"))
        if found.killer is not None and found.kills_ns >= now_ns:
            heapq.heappush(self._due, (found.kills_ns, self._numbers, row, start_ns, found.killer.value))
