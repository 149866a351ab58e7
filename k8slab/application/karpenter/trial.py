"""Simulated scheduling: where pods would go on the nodes that are there, on those that come, and on new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from k8slab.application.fits import Fits
from k8slab.application.karpenter.pools import UNLIMITED, Offerings, Pool
from k8slab.application.karpenter.relational import LEAVING, MANY, MOVING, PENDING, STUCK, UPCOMING, RelationalTrials
from k8slab.application.node_provider import NodeProviderPort
from k8slab.domain.columns import Codes32, Ints
from k8slab.domain.ports import ClusterStatePort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.policies.policy import Policy

Mask = npt.NDArray[np.bool_]
Duty = npt.NDArray[np.int8]
__all__ = ["LEAVING", "MOVING", "PENDING", "Claim", "Moves", "Scene", "Trial", "TrialScheduler"]
# As kernels.claims has them, which isn't loaded before it is needed.
DELETE, REPLACE, NO_ROOM, TOO_MANY, NOT_YET, TOO_DEAR = range(1, 7)
# Where a pod would go that isn't for a node that is there.
NOWHERE, COMING, ON_CLAIM = -1, -2, -3


@dataclass(frozen=True, eq=False)
class Claim:
    """A node that should be launched. options : bool[G], what it may be; pods : int64[n] rows it is for"""

    options: Mask
    pods: Ints


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of a simulated scheduling.

    pods   : int64[P]  rows in the order of the queue
    node   : int64[P]  where each would go: a node row, or COMING, ON_CLAIM, NOWHERE
    claims : new nodes
    """

    pods: Ints
    node: Ints
    claims: tuple[Claim, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """Pods and nodes at one instant, as the kernels want them.

    pods  : int64[P]     rows in the order of the queue         duty : int8[P]   what becomes of one without a place
    nodes : int64[M]     rows in the order they are tried, -1 for those that come, from `ready` on
    place : int64[N]     where each node row stands among them, -1 if it doesn't
    """

    pods: Ints
    duty: Duty
    classes: Codes32
    nodes: Ints
    place: Ints
    ready: int
    allowed: Mask
    free: Ints
    on_option: Mask
    remaining: Ints
    start: Ints


class TrialScheduler:
    """Makes scenes and tries pods on them.

    pools  : in the order they are asked; marked : gives bool[N], nodes that are on their way out
    policy : whose filters are asked by pods that look at other pods
    """

    def __init__(
        self,
        state: ClusterStatePort,
        provider: NodeProviderPort,
        fits: Fits,
        pools: Sequence[Pool],
        offerings: Offerings,
        marked: Callable[[], Mask],
        policy: Policy,
    ) -> None:
        self._relational = RelationalTrials(policy, state, provider, offerings)
        self._state = state
        self._provider = provider
        self._fits = fits
        self._offerings = offerings
        self._marked = marked
        self._limits = np.stack([pool.limits for pool in pools])
        self._keys = [state.schema.index(name) for name in (CPU, MEMORY)]
        self._named: tuple[bytes, Ints] = (b"", np.zeros(0, dtype=np.int64))

    @property
    def request(self) -> Ints:
        """int64[C, R]: of the classes that scenes speak of."""
        return self._fits.request

    def on_option(self, pod_class: int) -> Mask:
        """bool[G]: which options a class may use, as they are described."""
        return np.asarray(self._fits.on_template[pod_class])

    # -- scenes -------------------------------------------------------------------------------

    def scene(self, pods: Ints, duty: Duty, usable: Mask) -> Scene:
        """Pods to be placed now. usable : bool[G], options that can be had"""
        state, fits = self._state, self._fits
        fits.sync()
        queue = self._queue(pods)
        pods, duty = pods[queue], duty[queue]
        rows = self._in_order(np.flatnonzero(fits.is_open() & ~self._marked()))
        coming = np.repeat(np.arange(len(self._provider.groups)), self._provider.upcoming())
        room = self._offerings.room
        allowed = np.concatenate([fits.on_node()[:, rows], fits.on_template[:, coming]], axis=1)
        free = np.concatenate([(state.allocatable[:, rows] - state.requested[:, rows]).T, room[coming]])
        place = np.full(state.node_count, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        return Scene(
            pods, duty, fits.class_of(pods), np.concatenate([rows, np.full(len(coming), -1)]), place, len(rows),
            allowed, np.ascontiguousarray(free), fits.on_template & usable, self._remaining(),
            np.zeros(len(fits.request), dtype=np.int64),
        )  # fmt: skip

    def _queue(self, pods: Ints) -> Ints:
        """By cpu, then memory, largest first, then by row: who came first."""
        request = self._state.pod_request
        cpu, memory = (-request[pods, key] for key in self._keys)
        return np.lexsort((pods, memory, cpu))

    def _in_order(self, rows: Ints) -> Ints:
        """By name, as upstream sorts them; a set of nodes is sorted once."""
        key = rows.tobytes()
        if key != self._named[0]:
            names = np.array([self._state.node_name(row) for row in rows.tolist()], dtype=np.str_)
            self._named = key, rows[np.argsort(names, kind="stable")]
        return self._named[1]

    def _remaining(self) -> Ints:
        """int64[K, R]: what each pool's limits leave, with nodes that come and nodes that go counted in."""
        offerings, of = self._offerings, self._provider.group_of()
        there = np.bincount(of[self._state.node_alive & (of >= 0)], minlength=len(offerings.pool))
        used = np.zeros_like(self._limits)
        np.add.at(used, offerings.pool, (there + self._provider.upcoming())[:, None] * offerings.capacity)
        return np.where(self._limits < UNLIMITED, self._limits - used, UNLIMITED)

    # -- trying --------------------------------------------------------------------------------

    def place(self, scene: Scene) -> Trial:
        """Where all of them would go; those without a place are left out."""
        found = self._run(scene, np.arange(len(scene.pods)), (), strict=False, most=len(scene.pods))
        assert found is not None
        return found

    def without(self, scene: Scene, nodes: Ints, pods: Ints) -> Trial | None:
        """Where the pods of these nodes would go together with all that must be placed in any case, on one new node at
        the most; None if they wouldn't. pods : int64[n], sorted places in the scene's queue"""
        return self._run(scene, pods, scene.place[nodes].tolist(), strict=True, most=1)

    def _run(self, scene: Scene, queue: Ints, closed: Sequence[int], *, strict: bool, most: int) -> Trial | None:
        if self._slow(scene):
            claims, target, left = self._by_policy(scene, queue, closed, strict=strict, most=most)
            return None if claims < 0 else self._trial(scene, queue, target, left)
        from k8slab.kernels.claims import schedule

        offerings, options = self._offerings, len(self._offerings.pool)
        is_open = np.ones(len(scene.nodes), dtype=np.bool_)
        is_open[list(closed)] = False
        target = np.full(len(scene.pods), -1, dtype=np.int64)
        left = np.zeros((most + 1, options), dtype=np.bool_)
        used = np.zeros((most + 1, self.request.shape[1]), dtype=np.int64)
        claims = schedule(
            queue, scene.duty, strict, scene.classes, self.request, scene.allowed, scene.free.copy(), is_open,
            scene.ready, scene.on_option, offerings.room, offerings.capacity, offerings.pool, scene.remaining.copy(),
            most, target, left, used, np.zeros(most + 1, dtype=np.int64),
        )  # fmt: skip
        return None if claims < 0 else self._trial(scene, queue, target, left[:claims])

    def _slow(self, scene: Scene) -> bool:
        """Whether any of the pods looks at other pods."""
        return bool(self._fits.relational[np.unique(scene.classes)].any())

    def _by_policy(
        self, scene: Scene, queue: Ints, closed: Sequence[int], *, strict: bool, most: int
    ) -> tuple[int, Ints, Mask]:
        gone = self._marked().copy()
        gone[scene.nodes[list(closed)]] = True
        return self._relational.run(scene, self.request, queue.tolist(), gone, closed, strict=strict, most=most)

    def _trial(self, scene: Scene, queue: Ints, target: Ints, left: Mask) -> Trial:
        mine, count = target[queue], len(scene.nodes)
        node = np.full(len(queue), NOWHERE, dtype=np.int64)
        there = (mine >= 0) & (mine < count)
        rows = scene.nodes[mine[there]]
        node[there] = np.where(rows >= 0, rows, COMING)
        node[mine >= count] = ON_CLAIM
        pods = scene.pods[queue]
        claims = [Claim(left[k].copy(), pods[mine == count + k]) for k in range(len(left))]
        return Trial(pods, node, tuple(claims))

    def first_move(self, scene: Scene, moves: Moves, begin: int) -> int:
        """The first candidate, from `begin` on, without which all would do; their number if none is. Fills `moves`."""
        if self._slow(scene):
            return self._first_move_by_policy(scene, moves, begin)
        from k8slab.kernels.claims import first_move

        offerings = self._offerings
        found: int = first_move(
            begin, moves.nodes, moves.price, moves.head, moves.pods, moves.base, scene.duty, scene.classes,
            self.request, scene.start, scene.allowed, scene.free, np.ones(len(scene.nodes), dtype=np.bool_),
            scene.ready, scene.on_option, offerings.room, offerings.capacity, offerings.pool, scene.remaining,
            offerings.price, moves.outcome, moves.target, moves.left,
        )  # fmt: skip
        return found

    def _first_move_by_policy(self, scene: Scene, moves: Moves, begin: int) -> int:
        for n in range(begin, len(moves.nodes)):
            queue = np.sort(np.concatenate([moves.base, moves.pods[moves.head[n] : moves.head[n + 1]]]))
            claims, _, left = self._by_policy(scene, queue, [int(moves.nodes[n])], strict=True, most=1)
            if claims >= 0:
                cheaper = claims == 0 or bool((self._offerings.price[left[0]] < moves.price[n]).any())
                moves.outcome[n] = (REPLACE if claims else DELETE) if cheaper else TOO_DEAR
                if cheaper:
                    return n
            else:
                moves.outcome[n] = {STUCK: NO_ROOM, MANY: TOO_MANY, UPCOMING: NOT_YET}[claims]
        return len(moves.nodes)


@dataclass(frozen=True, eq=False)
class Moves:
    """One candidate after another, for the kernel `first_move`; see there for the columns."""

    nodes: Ints
    price: npt.NDArray[np.float64]
    head: Ints
    pods: Ints
    base: Ints
    outcome: npt.NDArray[np.int8]
    target: Ints
    left: Mask

    @classmethod
    def of(cls, scene: Scene, node_rows: Ints, price: npt.NDArray[np.float64], home: Ints, options: int) -> Moves:
        """home : int64[P], the candidate that each pod of the queue is on, -1 for those to be placed in any case"""
        queue = np.arange(len(home))
        on = queue[home >= 0]
        on = on[np.argsort(home[on], kind="stable")]
        head = np.searchsorted(home[on], np.arange(len(node_rows) + 1))
        return cls(
            scene.place[node_rows], price, head, on, queue[home < 0], np.zeros(len(node_rows), dtype=np.int8),
            np.full(len(home), -1, dtype=np.int64), np.zeros((2, options), dtype=np.bool_),
        )  # fmt: skip


