"""Nodes are launched: the cheapest option that can be had, the next one where the cloud refuses."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.karpenter.pools import Offerings
from k8slab.application.node_provider import LaunchedPort, NodeProviderPort
from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.ports import ClusterStatePort

Mask = npt.NDArray[np.bool_]
# An option that was refused isn't asked for again for so long; a node that isn't there after so long is given up.
UNAVAILABLE_NS: Final = 180 * SECOND_NS
REGISTRATION_NS: Final = 900 * SECOND_NS


class Launcher:
    """Asks a provider for nodes, one at a time, and remembers what it refused."""

    def __init__(
        self, state: ClusterStatePort, provider: NodeProviderPort, offerings: Offerings,
        registration_ns: int = REGISTRATION_NS,
    ) -> None:  # fmt: skip
        self._state = state
        self._provider = provider
        self._offerings = offerings
        self._registration_ns = registration_ns
        self._until_ns = np.zeros(len(offerings.pool), dtype=np.int64)
        limits = [NEVER] * len(offerings.kinds)
        for kind, group in zip(offerings.kind.tolist(), provider.groups, strict=True):
            limits[kind] = NEVER if group.limit is None else group.limit
        self._limit = np.array(limits, dtype=np.int64)
        self._most = np.array([group.max_size for group in provider.groups], dtype=np.int64)

    def usable(self, now_ns: int) -> Mask:
        """bool[G]: options that aren't known to be refused, of types and groups that aren't at their limit."""
        of = self._provider.group_of()
        there = np.bincount(of[self._state.node_alive & (of >= 0)], minlength=len(self._most))
        sizes = there + self._provider.upcoming()
        by_kind = np.bincount(self._offerings.kind, weights=sizes, minlength=len(self._limit))
        full = (sizes >= self._most) | (by_kind >= self._limit)[self._offerings.kind]
        return np.asarray((self._until_ns <= now_ns) & ~full)

    def changes_ns(self, now_ns: int) -> int:
        """When something that was refused may be had again; NEVER if all can."""
        later = self._until_ns[self._until_ns > now_ns]
        return int(later.min()) if len(later) else NEVER

    def launch(self, options: Mask, now_ns: int) -> tuple[int, LaunchedPort | None, list[int]]:
        """The option taken, the node that comes, and the options that were refused; -1 and None if none can be had."""
        refused: list[int] = []
        for option in self._offerings.ranked(options & self.usable(now_ns)).tolist():
            launched = self._provider.launch(option, 1, now_ns)
            if launched:
                return option, launched[0], refused
            self._until_ns[option] = now_ns + UNAVAILABLE_NS
            refused.append(option)
        return -1, None, refused

    def give_up_late(self, now_ns: int) -> Ints:
        """int64[]: options of which nodes haven't come in time, one entry a node; they are given up."""
        late = [one for one in self._provider.take_refusals(now_ns - self._registration_ns, now_ns) if one.late]
        return np.array([one.group for one in late for _ in range(one.count)], dtype=np.int64)
