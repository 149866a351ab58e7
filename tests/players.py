"""A placer that is easily understood: the node with the most free cpu, the lowest row among equals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.node_template import NodeTemplate
from k8slab.kernels.course_columns import ADDED, BOUND, ENDED, Course, Lived, Told
from k8slab.policies import Policy
from k8slab.state import ClusterState


class MostFree:
    """Keeps its own count of what nodes hold, from the state's columns at each `place`."""

    def __init__(self, policy: Policy, state: ClusterState, seed: int) -> None:
        self._state = state

    def place(self, pod_rows: Ints) -> Ints:
        free = self._free()
        return np.array([self._decide(free, pod) for pod in np.asarray(pod_rows).tolist()], dtype=np.int64)

    def _free(self) -> Ints:
        free = self._state.allocatable - self._state.requested
        usable = self._state.node_alive & (self._state.node_state == 0)
        return np.where(usable, free, -1)

    def _decide(self, free: Ints, pod: int) -> int:
        request = self._state.pod_request[pod]
        fits = (free >= request[:, None]).all(axis=0)
        if not fits.any():
            return -1
        node = int(np.argmax(np.where(fits, free[0], -1)))
        free[:, node] -= request
        return node


class MostFreePlayer(MostFree):
    """The same, able to live through comings, waits and goings: one instant after another, by lists."""

    def __init__(self, policy: Policy, state: ClusterState, seed: int) -> None:
        super().__init__(policy, state, seed)
        self.played = 0

    def live(self, course: Course, templates: Sequence[NodeTemplate] = ()) -> Lived | None:
        if templates or course.rounds.every_ns:
            return None
        life = _Life(self, course)
        before_ns = course.before_ns
        while (now_ns := life.due_ns()) < course.before_ns:
            if life.late_ns() <= now_ns or not life.step(now_ns):
                before_ns = min(life.late_ns(), now_ns)
                break
        else:
            before_ns = min(before_ns, life.late_ns())
        self.played += life.bound
        told = [np.array(column, dtype=np.int64) for column in zip(*life.told, strict=True)] or [np.zeros(0, int)] * 4
        refused = np.array(life.refused, dtype=np.int64).reshape(-1, 2)
        return Lived(
            Told(told[0], told[1].astype(np.int8), told[2], told[3]), before_ns, np.array(life.line, dtype=np.int64),
            life.sequence, life.tried, refused[:, 0], refused[:, 1],
        )  # fmt: skip

    def settle(self) -> None:
        """It reads the state each time."""


class _Life:
    def __init__(self, player: MostFreePlayer, course: Course) -> None:
        self._decide, self._requests = player._decide, player._state.pod_request
        self._course, self._free = course, player._free()
        self._ends = list(zip(course.ends.at_ns.tolist(), course.ends.row.tolist(), course.ends.node.tolist(),
                              strict=True))  # fmt: skip
        self._come = list(enumerate(course.at_ns.tolist()))
        self.line, self.sequence, self.tried, self.bound = course.line.tolist(), course.sequence, 0, 0
        self.told: list[tuple[int, int, int, int]] = []
        self.refused: list[tuple[int, int]] = []

    def due_ns(self) -> int:
        return min([end[0] for end in self._ends] + [at for _, at in self._come], default=NEVER)

    def late_ns(self) -> int:
        rules = self._course.rules
        since = min((int(self._course.pods.since_ns[k]) for k in self.line), default=None)
        return NEVER if since is None else ((since + rules.late_ns) // rules.every_ns + 1) * rules.every_ns

    def step(self, now_ns: int) -> bool:
        """Live through an instant; False, and nothing done, if something else would follow."""
        pods, free = self._course.pods, self._free.copy()
        over = sorted(end for end in self._ends if end[0] == now_ns)
        told = [(now_ns, ENDED, row, node) for _, row, node in over]
        for _, row, node in over:
            free[:, node] += self._requests[row]
        come = [k for k, at in self._come if at == now_ns]
        told += [(now_ns, ADDED, int(pods.row[k]), -1) for k in come]
        for number, k in enumerate(come):
            pods.sequence[k] = self.sequence + number
        batch = come + (self.line if over else [])
        batch.sort(key=lambda k: (self._window(k, now_ns), -pods.priority[k], pods.sequence[k]))
        ends, refused = [], []
        for k in batch:
            node = self._decide(free, int(pods.row[k]))
            down = self._course.rules.down
            if node < 0 and not pods.may_wait[k]:
                return False
            if node >= 0 and (not pods.may_go[k] or (node < len(down) and down[node])):
                return False
            if node < 0:
                refused.append(k)
            else:
                told.append((now_ns, BOUND, int(pods.row[k]), node))
                ends.append((now_ns + int(pods.lifetime_ns[k]), int(pods.row[k]), node))
        self._free, self.tried, self.bound = free, self.tried + len(batch), self.bound + len(ends)
        self._ends = [end for end in self._ends if end not in over] + [e for e in ends if e[0] < self._course.before_ns]
        self._come = [one for one in self._come if one[1] > now_ns]
        self.sequence += len(come)
        self.line = refused if over else self.line + refused
        for k in refused:
            pods.refusals[k], pods.since_ns[k], pods.sequence[k] = pods.refusals[k] + 1, now_ns, self.sequence
            self.sequence += 1
            self.refused += [(now_ns, k)] if pods.refusals[k] == 1 else []
        self.told += told
        return True

    def _window(self, k: int, now_ns: int) -> int:
        pods, rules = self._course.pods, self._course.rules
        if pods.refusals[k] == 0:
            return -1
        ends_ns = int(pods.since_ns[k]) + int(rules.spans_ns[min(pods.refusals[k], len(rules.spans_ns) - 1)])
        over = ends_ns // rules.window_ns < now_ns // rules.window_ns
        return -1 if over or not rules.backs_off else ends_ns // rules.window_ns
